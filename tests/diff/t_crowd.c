/* SPDX-License-Identifier: MIT
 *
 * t_crowd - very many threads on the same and on different pages, while others take rights away, give pages up and unmap. A thread whose page is
 * write-protected or gone finds that out by its SIGSEGV, with address and code as natively.
 */
#include "common.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>

#define LEN      (4 * MB)
#define NR_PAGES (LEN / PAGE)
#define MOST     64

struct one {
	pthread_t thread;
	uint64_t id, nr;
	size_t bad;
};

static char *area, *hole;
static atomic_int stop;
static atomic_size_t strange;

static void together(const char *name, unsigned nr, void *(*fn)(void *), void *(*first)(void *))
{
	struct one all[MOST] = { 0 };
	size_t bad = 0;

	for (unsigned i = 0; i < nr; i++) {
		all[i].id = i;
		all[i].nr = nr;
		if (pthread_create(&all[i].thread, NULL, i || !first ? fn : first, &all[i]))
			die("pthread_create");
	}
	for (unsigned i = 0; i < nr; i++) {
		pthread_join(all[i].thread, NULL);
		bad += all[i].bad;
	}
	atomic_store(&stop, 0);
	say("%s, %u threads: %zu bad, %zu strange signals", name, nr, bad, atomic_load(&strange));
}

/* Every page has a word of each thread, and one of all. */
static void *counts(void *arg)
{
	struct one *me = arg;

	for (size_t i = 0; i < 2 * NR_PAGES; i++) {
		_Atomic uint64_t *page = (_Atomic uint64_t *)(area + mix(i / 8 * me->nr + me->id % 4) % NR_PAGES * PAGE);
		uint64_t mine = atomic_load_explicit(&page[me->id], memory_order_relaxed);

		atomic_store_explicit(&page[me->id], mine + 1, memory_order_relaxed);
		atomic_fetch_add(&page[MOST], 1);
		me->bad += atomic_load_explicit(&page[me->id], memory_order_relaxed) != mine + 1;
	}
	return NULL;
}

static void counters(unsigned nr)
{
	uint64_t mine = 0, all = 0;

	memset(area, 0, LEN);
	together("counting", nr, counts, NULL);
	for (size_t i = 0; i < NR_PAGES; i++) {
		const uint64_t *page = (const uint64_t *)(area + i * PAGE);

		for (unsigned t = 0; t < MOST; t++)
			mine += page[t];
		all += page[MOST];
	}
	say("counted %lu and %lu", mine / nr, all / nr);
}

/* A collector's write barrier: the page is opened by whoever runs into it, and closed by the first thread. */
static void opens(int sig, siginfo_t *info, void *context)
{
	char *page = (char *)((uintptr_t)info->si_addr & -PAGE);

	if (page < area || page >= area + LEN || info->si_code != SEGV_ACCERR) {
		atomic_fetch_add(&strange, 1);
		_exit(70);
	}
	mprotect(page, PAGE, RW);
}

static void *stores(void *arg)
{
	struct one *me = arg;
	size_t own = NR_PAGES / me->nr;

	for (uint64_t round = 0; round < 24; round++) {
		for (size_t i = 0; i < own; i++)
			*(uint64_t *)(area + (i * me->nr + me->id) * PAGE + 8 * me->id) = mix(round * 100 + me->id + i);
		for (size_t i = 0; i < own; i++)
			me->bad += *(volatile uint64_t *)(area + (i * me->nr + me->id) * PAGE + 8 * me->id) != mix(round * 100 + me->id + i);
	}
	if (me->id == 1)
		atomic_store(&stop, 1);
	return NULL;
}

static void *closes(void *arg)
{
	for (uint64_t i = 0; !atomic_load(&stop); i++) {
		mprotect(area + mix(i) % (NR_PAGES - 16) * PAGE, 16 * PAGE, PROT_READ);
		if (i % 5 == 0)
			mprotect(area, LEN, PROT_READ);
	}
	return NULL;
}

/* Pages are given up under everybody's hands: what is read is zero or what somebody stored there. */
static void *reads_given_up(void *arg)
{
	struct one *me = arg;

	for (uint64_t i = 0; i < 6000; i++) {
		uint64_t page = mix(i + me->id * 7) % NR_PAGES;
		_Atomic uint64_t *word = (_Atomic uint64_t *)(area + page * PAGE) + 9;
		uint64_t got = atomic_load(word);

		me->bad += got != 0 && got != mix(page);
		atomic_store(word, mix(page));
	}
	if (me->id == 1)
		atomic_store(&stop, 1);
	return NULL;
}

static void *gives_up(void *arg)
{
	static const int advice[] = { MADV_DONTNEED, MADV_DONTNEED, MADV_FREE, MADV_PAGEOUT, MADV_WILLNEED, MADV_COLD };

	for (uint64_t i = 0; !atomic_load(&stop); i++)
		madvise(area + mix(i) % (NR_PAGES - 32) * PAGE, 32 * PAGE, advice[i % 6]);
	return NULL;
}

/* A mapping comes and goes; who touches it gets SEGV_MAPERR at that address, or the bytes. */
static __thread sigjmp_buf out;
static __thread char *expected;

static void jumps(int sig, siginfo_t *info, void *context)
{
	if ((char *)info->si_addr != expected || info->si_code != SEGV_MAPERR) {
		atomic_fetch_add(&strange, 1);
		_exit(71);
	}
	siglongjmp(out, 1);
}

static void *runs_into_holes(void *arg)
{
	struct one *me = arg;
	volatile uint64_t i;

	for (i = 0; i < 4000; i++) {
		expected = hole + mix(i + me->id * 3) % 64 * PAGE + 16 * me->id;
		if (sigsetjmp(out, 1) == 0) {
			uint64_t got = *(volatile uint64_t *)expected;

			me->bad += got != 0 && got != me->id + 1;
			*(volatile uint64_t *)expected = me->id + 1;
		}
		((volatile char *)area)[mix(i) % NR_PAGES * PAGE + 1024 + me->id]++;
	}
	if (me->id == 1)
		atomic_store(&stop, 1);
	return NULL;
}

static void *makes_holes(void *arg)
{
	struct one *me = arg;

	for (uint64_t i = 0; !atomic_load(&stop); i++) {
		char *at = hole + mix(i) % 64 * PAGE;
		size_t len = (size_t)(hole + 64 * PAGE - at) < 8 * PAGE ? PAGE : 8 * PAGE;

		if (i % 2)
			munmap(at, len);
		else
			me->bad += mmap(at, len, RW, ANONFIXED, -1, 0) == MAP_FAILED;
	}
	return NULL;
}

static void catches(void (*fn)(int, siginfo_t *, void *))
{
	struct sigaction act = { .sa_sigaction = fn, .sa_flags = SA_SIGINFO | SA_NODEFER };

	sigemptyset(&act.sa_mask);
	sigaction(SIGSEGV, &act, NULL);
}

int main(void)
{
	area = map(LEN);
	hole = window(64 * PAGE, RW);
	counters(8);
	counters(64);
	catches(opens);
	memset(area, 0, LEN);
	together("write barrier", 8, stores, closes);
	together("write barrier", 32, stores, closes);
	mprotect(area, LEN, RW);
	memset(area, 0, LEN);
	together("given up", 9, reads_given_up, gives_up);
	together("given up", 64, reads_given_up, gives_up);
	catches(jumps);
	together("holes", 9, runs_into_holes, makes_holes);
	together("holes", 48, runs_into_holes, makes_holes);
	return done();
}
