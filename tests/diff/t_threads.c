/* SPDX-License-Identifier: MIT
 *
 * t_threads - several threads fault, store to the same pages, and change mappings side by side. Only sums and verdicts are printed:
 * the order is the scheduler's.
 */
#include "common.h"

#include <pthread.h>
#include <stdatomic.h>

#define NR_THREADS 4
#define LEN        (6 * MB)

struct worker {
	pthread_t thread;
	uint64_t id;
	size_t bad;
};

static struct shared {
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	pthread_barrier_t barrier;
	unsigned long turn, counter;
	char *area;
} *shared;

static void start_all(const char *name, void *(*fn)(void *))
{
	struct worker workers[NR_THREADS];
	size_t bad = 0;

	memset(workers, 0, sizeof(workers));
	for (uint64_t i = 0; i < NR_THREADS; i++) {
		workers[i].id = i;
		if (pthread_create(&workers[i].thread, NULL, fn, &workers[i]))
			die("pthread_create");
	}
	for (int i = 0; i < NR_THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		bad += workers[i].bad;
	}
	if (bad)
		wrong("%s: %zu bad", name, bad);
	else
		say("%s: good", name);
}

/* Each its own pages, but neighbours of the others': one fault's batch takes in pages that another thread stores to. */
static void *interleaved(void *arg)
{
	struct worker *me = arg;

	for (uint64_t round = 0; round < 3; round++) {
		for (size_t i = me->id; i < LEN / PAGE; i += NR_THREADS)
			fill_at(shared->area + i * PAGE, PAGE, round * 10 + me->id, i);
		for (size_t i = me->id; i < LEN / PAGE; i += NR_THREADS)
			me->bad += !intact(shared->area + i * PAGE, PAGE, round * 10 + me->id, i);
	}
	return NULL;
}

/* One counter of each page belongs to each thread; a page that went out between a load and a store loses a count. */
static void *same_pages(void *arg)
{
	struct worker *me = arg;

	for (int round = 0; round < 4; round++)
		for (size_t i = 0; i < LEN / PAGE; i++) {
			size_t at = (i * 97 + me->id * 31) % (LEN / PAGE);
			volatile unsigned long *mine = (unsigned long *)(shared->area + at * PAGE) + me->id;

			*mine = *mine + 1;
			atomic_fetch_add((_Atomic unsigned long *)(shared->area + at * PAGE + 2048), 1);
		}
	return NULL;
}

static void counted(void)
{
	size_t bad = 0;

	memset(shared->area, 0, LEN);
	start_all("same pages", same_pages);
	for (size_t i = 0; i < LEN / PAGE; i++) {
		unsigned long *p = (unsigned long *)(shared->area + i * PAGE);

		for (int t = 0; t < NR_THREADS; t++)
			bad += p[t] != 4;
		bad += p[2048 / 8] != 4 * NR_THREADS;
	}
	say("counters: %zu bad", bad);
}

static void *locked(void *arg)
{
	struct worker *me = arg;

	for (int i = 0; i < 300; i++) {
		pthread_mutex_lock(&shared->mutex);
		while (shared->turn % NR_THREADS != me->id)
			pthread_cond_wait(&shared->cond, &shared->mutex);
		shared->turn++;
		shared->counter += shared->turn;
		pthread_cond_broadcast(&shared->cond);
		pthread_mutex_unlock(&shared->mutex);
		if (i % 100 == 0)
			pthread_barrier_wait(&shared->barrier);
	}
	return NULL;
}

/* Its own mappings come and go while the others fault. */
static void *mapping(void *arg)
{
	struct worker *me = arg;

	for (uint64_t i = 0; i < 60; i++) {
		size_t len = (1 + mix(i + me->id) % 64) * PAGE;
		char *p = map(len), *q;

		me->bad += !is_zero(p, len);
		fill(p, len, i);
		if (i % 3 == 0) {
			mprotect(p, len, PROT_READ);
			me->bad += !intact(p, len, i, 0);
			mprotect(p, len, RW);
		}
		if (i % 3 == 1) {
			madvise(p, PAGE, MADV_DONTNEED);
			me->bad += !is_zero(p, PAGE) || !intact(p + PAGE, len - PAGE, i, 1);
			fill(p, PAGE, i);
		}
		q = mremap(p, len, len + 4 * PAGE, MREMAP_MAYMOVE);
		me->bad += q == MAP_FAILED || !intact(q, len, i, 0) || !is_zero(q + len, 4 * PAGE);
		munmap(q, len + 4 * PAGE);
	}
	return NULL;
}

/* One thread gives pages up over and over; what the others read is their own last store or zero. */
static void *given_up(void *arg)
{
	struct worker *me = arg;
	unsigned long *page;

	for (uint64_t i = 0; i < 20000; i++) {
		size_t at = mix(i * 7 + me->id) % 64;

		page = (unsigned long *)(shared->area + at * PAGE);
		if (me->id == 0) {
			if (i % 8 == 0)
				madvise(page, PAGE, MADV_DONTNEED);
			continue;
		}
		__atomic_store_n(&page[me->id], i, __ATOMIC_RELAXED);
		unsigned long got = __atomic_load_n(&page[me->id], __ATOMIC_RELAXED);

		me->bad += got != i && got != 0;
	}
	return NULL;
}

static __thread char large_tls[64 * 1024];

static void *own_stack(void *arg)
{
	struct worker *me = arg;
	volatile char deep[200 * 1024];

	fill((char *)deep, sizeof(deep), me->id);
	me->bad += !is_zero(large_tls, sizeof(large_tls));
	fill(large_tls, sizeof(large_tls), me->id + 10);
	pressure();
	me->bad += !intact((char *)deep, sizeof(deep), me->id, 0);
	me->bad += !intact(large_tls, sizeof(large_tls), me->id + 10, 0);
	return NULL;
}

static void *nothing(void *arg)
{
	return arg;
}

static void many_short_ones(void)
{
	size_t bad = 0;

	for (uintptr_t i = 0; i < 300; i++) {
		pthread_t t;
		void *result;

		if (pthread_create(&t, NULL, nothing, (void *)i) || pthread_join(t, &result) || result != (void *)i)
			bad++;
	}
	say("many short ones: %zu bad", bad);
}

int main(void)
{
	shared = (struct shared *)map(PAGE);
	shared->area = map(LEN);
	pthread_mutex_init(&shared->mutex, NULL);
	pthread_cond_init(&shared->cond, NULL);
	pthread_barrier_init(&shared->barrier, NULL, NR_THREADS);
	start_all("interleaved", interleaved);
	counted();
	start_all("locked", locked);
	say("turns %lu, counter %lu", shared->turn, shared->counter);
	start_all("mapping", mapping);
	start_all("given up", given_up);
	start_all("own stack", own_stack);
	many_short_ones();
	return done();
}
