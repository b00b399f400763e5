/* SPDX-License-Identifier: MIT
 *
 * t_cancel - threads that end in the middle of things: cancelled while they wait for a page or make a memory call, with cleanup handlers in evicted
 * memory; stacks in managed memory; robust mutexes left locked.
 */
#include "common.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>

#define LEN    (6 * MB)
#define ROUNDS 120

enum how { TOUCHES, READS, PROTECTS, MAPS, WAITS, NR_HOW };

struct victim {
	pthread_t thread;
	enum how how;
	int asynchronous;
	atomic_int started, cleaned;
};

static char *area;
static int pipe_fds[2];

static void clean_up(void *arg)
{
	struct victim *v = arg;
	volatile char *p = area;

	for (size_t i = 0; i < 64; i++)
		p[LEN / 2 + i * 7 % 64 * PAGE] = (char)i;
	atomic_store(&v->cleaned, 1);
}

static void go(struct victim *v)
{
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	volatile char *p = area;

	/* Descriptor and mapping of the round are lost to an asynchronous cancellation; there are few. */
	for (size_t i = 0;; i++) {
		atomic_store(&v->started, 1);
		if (!v->asynchronous)
			pthread_testcancel();
		switch (v->how) {
		case TOUCHES:
			p[i * 17 % (LEN / 2 / PAGE) * PAGE]++;
			break;
		case READS:
			if (read(zero, area, 64 * PAGE) < 0)
				wrong("read");
			break;
		case PROTECTS:
			mprotect(area + LEN - MB, MB, PROT_READ);
			mprotect(area + LEN - MB, MB, RW);
			break;
		case MAPS:
			madvise(area + LEN - MB, MB, MADV_DONTNEED);
			p[LEN - MB + i % 256 * PAGE] = 1;
			break;
		default:
			if (read(pipe_fds[0], area, PAGE) >= 0)
				wrong("nothing was ever written there");
		}
	}
}

static void *victim(void *arg)
{
	struct victim *v = arg;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	pthread_cleanup_push(clean_up, v);
	pthread_setcanceltype(v->asynchronous ? PTHREAD_CANCEL_ASYNCHRONOUS : PTHREAD_CANCEL_DEFERRED, NULL);
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	go(v);
	pthread_cleanup_pop(0);
	return NULL;
}

static void cancelled(int asynchronous)
{
	size_t bad = 0;

	for (uint64_t round = 0; round < ROUNDS; round++) {
		struct victim v = { .how = (enum how)(round % NR_HOW), .asynchronous = asynchronous };
		struct timespec rest = { 0, (long)(mix(round) % 2000000) };
		void *result = NULL;

		if (pthread_create(&v.thread, NULL, victim, &v))
			die("pthread_create");
		while (!atomic_load(&v.started))
			sched_yield();
		nanosleep(&rest, NULL);
		pthread_cancel(v.thread);
		pthread_join(v.thread, &result);
		bad += result != PTHREAD_CANCELED || !v.cleaned;
		mprotect(area, LEN, RW);
		if (round % 20 == 0)
			pressure();
	}
	say("cancelled, %s: %zu bad", asynchronous ? "asynchronously" : "deferred", bad);
}

/* Nobody waits for these; their last act is a fault. */
static atomic_int left;

static void *ends(void *arg)
{
	volatile char *p = area;

	for (size_t i = 0; i < 40; i++)
		p[mix(i + (uintptr_t)arg) % (LEN / PAGE) * PAGE] = 3;
	atomic_fetch_sub(&left, 1);
	pthread_exit(NULL);
}

static void detached(void)
{
	pthread_attr_t attr;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	for (uintptr_t i = 0; i < 200; i++) {
		pthread_t t;

		while (atomic_load(&left) > 12)
			sched_yield();
		atomic_fetch_add(&left, 1);
		if (pthread_create(&t, &attr, ends, (void *)i))
			die("pthread_create");
	}
	while (atomic_load(&left))
		sched_yield();
	pthread_attr_destroy(&attr);
	say("detached ones are gone");
}

static void *deep(void *arg)
{
	volatile char local[100 * 1024];
	uint64_t id = (uintptr_t)arg;

	fill((char *)local, sizeof(local), id);
	for (int i = 0; i < 3; i++) {
		for (size_t k = 0; k < LEN / PAGE; k += 3)
			((volatile char *)area)[k * PAGE] = 1;
		if (!intact((char *)local, sizeof(local), id, 0))
			return (void *)1;
	}
	return NULL;
}

/* The stack, and with it what libc and the kernel know of the thread, is managed memory. */
static void on_managed_stacks(void)
{
	size_t bad = 0;

	for (uint64_t round = 0; round < 12; round++) {
		pthread_t t[6];
		char *stack[6];

		for (uintptr_t i = 0; i < 6; i++) {
			pthread_attr_t attr;

			stack[i] = map(256 * 1024);
			pthread_attr_init(&attr);
			pthread_attr_setstack(&attr, stack[i], 256 * 1024);
			if (pthread_create(&t[i], &attr, deep, (void *)(round * 6 + i)))
				die("pthread_create");
			pthread_attr_destroy(&attr);
		}
		for (int i = 0; i < 6; i++) {
			void *result;

			bad += pthread_join(t[i], &result) != 0 || result;
			munmap(stack[i], 256 * 1024);
		}
	}
	say("stacks in managed memory: %zu bad", bad);
}

static void *leaves_locked(void *arg)
{
	pthread_mutex_t *m = arg;

	for (int i = 0; i < 4; i++)
		pthread_mutex_lock((pthread_mutex_t *)((char *)m + (size_t)i * 9 * PAGE));
	pressure();
	return NULL;
}

/* The kernel tells the next owner; it reads the mutexes as the thread ends, and can't wait for a page then. */
static void robust(void)
{
	char *p = map(64 * PAGE);
	pthread_mutexattr_t attr;
	pthread_t t;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	for (size_t i = 0; i < 4; i++)
		pthread_mutex_init((pthread_mutex_t *)(p + i * 9 * PAGE), &attr);
	if (pthread_create(&t, NULL, leaves_locked, p) || pthread_join(t, NULL))
		die("pthread_create");
	for (size_t i = 0; i < 4; i++) {
		pthread_mutex_t *m = (pthread_mutex_t *)(p + i * 9 * PAGE);
		struct timespec until;
		int r;

		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += 3;
		r = pthread_mutex_timedlock(m, &until);
		say("robust mutex: %s", r ? strerrorname_np(r) : "-");
		if (r == EOWNERDEAD)
			pthread_mutex_consistent(m);
		pthread_mutex_unlock(m);
	}
	munmap(p, 64 * PAGE);
}

static void still_forks(void *arg)
{
	fill(area, LEN, 7);
	pressure();
	holds("in a child", area, LEN, 7);
}

int main(void)
{
	area = map(LEN);
	if (pipe(pipe_fds))
		die("pipe");
	cancelled(0);
	cancelled(1);
	detached();
	on_managed_stacks();
	robust();
	in_child("still forks", still_forks, NULL);
	return done();
}
