/* SPDX-License-Identifier: MIT
 *
 * t_fork_crowd - a thread forks again and again while others fault: nobody is left asleep, and parent and child find what they stored.
 *
 * The end of a fork wakes all who wait for a page, also threads that wait for a call on the engine to be made, and the forking thread itself. Such
 * a thread faults a second time, and what comes of that must not reach into its next call, or be taken for the call's end.
 */
#include "common.h"

#include <pthread.h>
#include <stdatomic.h>

#define LEN        (12 * MB)
#define NR_PAGES   (LEN / PAGE)
#define NR_THREADS 4
#define FORKS      100
#define SIDE_PAGES 64

static char *area;
static atomic_int stop;
static uint32_t generation[NR_THREADS][NR_PAGES];

/* Words 64 .. 511 of a page never change; thread t has the 64 bytes from 64 * t on. */
static uint64_t constant(size_t page, unsigned word)
{
	return word % 3 ? mix(page * 512 + word) & 0xffff : 0;
}

static size_t constants_wrong(size_t page, unsigned step)
{
	const uint64_t *words = (const uint64_t *)(area + page * PAGE);
	size_t bad = 0;

	for (unsigned i = 64; i < 512; i += step)
		bad += words[i] != constant(page, i);
	return bad;
}

static void *reads_and_stores(void *arg)
{
	const size_t me = (size_t)arg;
	size_t bad = 0;

	for (uint64_t random = me + 1; !atomic_load(&stop); random = mix(random)) {
		size_t page = random % NR_PAGES;
		volatile uint32_t *word = (volatile uint32_t *)(area + page * PAGE) + 16 * me;

		bad += *word != generation[me][page];
		if ((random >> 32) % 4 == 0)
			*word = ++generation[me][page];
	}
	return (void *)bad;
}

/* Calls that the handler makes for the thread: pages given up, read back, thrown away. */
static void *calls(void *arg)
{
	char *side = map(SIDE_PAGES * PAGE);
	size_t bad = 0;

	for (unsigned round = 0; !atomic_load(&stop); round++) {
		for (size_t i = 0; i < SIDE_PAGES; i++)
			side[i * PAGE] = (char)(i + round);
		madvise(side, SIDE_PAGES * PAGE, MADV_PAGEOUT);
		madvise(side, SIDE_PAGES * PAGE / 2, MADV_WILLNEED);
		for (size_t i = 0; i < SIDE_PAGES; i++)
			bad += side[i * PAGE] != (char)(i + round);
		madvise(side, SIDE_PAGES * PAGE, MADV_DONTNEED);
		bad += side[round % SIDE_PAGES * PAGE] != 0;
	}
	munmap(side, SIDE_PAGES * PAGE);
	return (void *)bad;
}

static size_t child_looks(void)
{
	size_t bad = 0;

	for (size_t page = 0; page < NR_PAGES; page += 37)
		bad += constants_wrong(page, 50);
	return bad;
}

static size_t forks(void)
{
	size_t bad = 0;

	for (unsigned i = 0; i < FORKS; i++) {
		int status = 0;
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (!pid)
			_exit(child_looks() ? 1 : 0);
		if (waitpid(pid, &status, 0) != pid || status)
			bad++;
	}
	return bad;
}

int main(void)
{
	pthread_t thread[NR_THREADS + 1];
	size_t bad = 0, lost = 0;

	area = map(LEN);
	for (size_t page = 0; page < NR_PAGES; page++)
		for (unsigned i = 64; i < 512; i++)
			((uint64_t *)(area + page * PAGE))[i] = constant(page, i);
	for (size_t i = 0; i <= NR_THREADS; i++)
		if (pthread_create(&thread[i], NULL, i < NR_THREADS ? reads_and_stores : calls, (void *)i))
			die("pthread_create");
	say("%u forks: %zu children differ", FORKS, forks());
	atomic_store(&stop, 1);
	for (size_t i = 0; i <= NR_THREADS; i++) {
		void *result;

		pthread_join(thread[i], &result);
		bad += (size_t)result;
	}
	say("threads: %zu bad", bad);
	for (size_t page = 0; page < NR_PAGES; page++) {
		lost += constants_wrong(page, 1);
		for (size_t t = 0; t < NR_THREADS; t++)
			lost += ((uint32_t *)(area + page * PAGE))[16 * t] != generation[t][page];
	}
	say("at the end: %zu words differ", lost);
	if (bad || lost)
		wrong("stores were lost");
	return done();
}
