/* SPDX-License-Identifier: MIT
 * crowd.c - how many handlers are awake. See crowd.h. */
#include "lib/crowd.h"

#include <stdatomic.h>
#include <stdbool.h>

#include "lib/thread.h"
#include "machine/machine.h"
#include "machine/sys.h"
#include "machine/uffd/uffd.h"

#define STACK       (128UL << 10)
#define MAX_HELPERS (CROWD_MOST - 1)
#define MASK_WORDS  16  /* 1024 processors */
#define WINDOW      64u /* faults */
#define TURNS_MANY  8u  /* of a window in which another thread than before faults */
#define TURNS_FEW   1u
#define CALM        32u /* windows with few turns, in a row, until the helpers go: other programs on the machine make such, too */

static struct {
	void (*loop)(void);
	void (*filled)(bool all_processors);
	unsigned cpus;
	unsigned most;                 /* helpers that processors are there for */
	atomic_uint started, joined;   /* helpers */
	atomic_uint wanted;            /* of them; they sleep on it */
	atomic_long last;              /* the thread whose fault was the last */
	atomic_uint faults, turns;     /* in this window */
	atomic_uint calm;              /* windows with few turns, in a row */
	_Atomic uint64_t seen;         /* threads in this window, by a hash */
	atomic_uint starting;          /* one handler starts helpers */
	unsigned long stack[MAX_HELPERS], tls[MAX_HELPERS];
} crowd;

static unsigned processors(void)
{
	uint64_t mask[MASK_WORDS] = { 0 };
	unsigned n = 0;

	if (sys_call3(SYS_sched_getaffinity, 0, sizeof(mask), (long)mask) <= 0)
		return 1;
	for (int i = 0; i < MASK_WORDS; i++)
		n += (unsigned)__builtin_popcountll(mask[i]);
	return n;
}

void crowd_start(void (*loop)(void), void (*filled)(bool all_processors))
{
	crowd.cpus = processors();
	crowd.loop = loop;
	crowd.filled = filled;
	crowd.most = crowd.cpus - 1 < MAX_HELPERS ? crowd.cpus - 1 : MAX_HELPERS;
}

static bool start_one(unsigned i)
{
	uint64_t *tls;

	if (!crowd.stack[i]) {
		crowd.stack[i] = (unsigned long)machine_alloc(STACK);
		crowd.tls[i] = (unsigned long)machine_alloc(MACHINE_PAGE_SIZE);
	}
	if (!crowd.stack[i] || !crowd.tls[i])
		return false;
	tls = (uint64_t *)(crowd.tls[i] + 512);
	tls[0] = tls[2] = crowd.tls[i] + 512;
	if (thread_start_sharing((void *)(crowd.stack[i] + STACK), tls, crowd.loop) < 0)
		return false;
	/* Not before: who counts the program's threads must not find too few. Too many for a moment does no harm, for the thread whose fault this is
	 * can't end meanwhile. */
	atomic_store(&crowd.started, i + 1);
	return true;
}

static void want(unsigned helpers)
{
	unsigned i;

	if (helpers > crowd.most)
		helpers = crowd.most;
	if (helpers == atomic_load_explicit(&crowd.wanted, memory_order_relaxed) || atomic_exchange(&crowd.starting, 1))
		return;
	while ((i = atomic_load(&crowd.started)) < helpers && start_one(i))
		;
	uffd_set_crowded(helpers > 0);
	crowd.filled(helpers + 1 >= crowd.cpus);
	if (atomic_exchange(&crowd.wanted, helpers) < helpers)
		sys_futex_wake(&crowd.wanted, MAX_HELPERS);
	atomic_store(&crowd.starting, 0);
}

void crowd_fault(long tid)
{
	const uint64_t bit = 1ULL << ((uint64_t)tid * 0x9e3779b97f4a7c15u >> 58);
	unsigned turns;

	if (!crowd.most)
		return;
	if (atomic_load_explicit(&crowd.last, memory_order_relaxed) != tid) {
		atomic_store_explicit(&crowd.last, tid, memory_order_relaxed);
		atomic_fetch_add_explicit(&crowd.turns, 1, memory_order_relaxed);
		atomic_fetch_or_explicit(&crowd.seen, bit, memory_order_relaxed);
	}
	if ((atomic_fetch_add_explicit(&crowd.faults, 1, memory_order_relaxed) + 1) % WINDOW)
		return;
	turns = atomic_exchange_explicit(&crowd.turns, 0, memory_order_relaxed);
	if (turns > TURNS_FEW)
		atomic_store_explicit(&crowd.calm, 0, memory_order_relaxed);
	else if (atomic_fetch_add_explicit(&crowd.calm, 1, memory_order_relaxed) + 1 >= CALM)
		want(0);
	if (turns >= TURNS_MANY)
		want((unsigned)__builtin_popcountll(atomic_load_explicit(&crowd.seen, memory_order_relaxed)) - 1);
	atomic_store_explicit(&crowd.seen, 0, memory_order_relaxed);
}

unsigned crowd_join(void)
{
	return atomic_fetch_add(&crowd.joined, 1);
}

void crowd_wait(unsigned number)
{
	unsigned wanted;

	while ((wanted = atomic_load(&crowd.wanted)) <= number)
		sys_futex_wait(&crowd.wanted, wanted);
}

unsigned crowd_handlers(void)
{
	return 1 + atomic_load_explicit(&crowd.wanted, memory_order_relaxed);
}

unsigned crowd_threads(void)
{
	return atomic_load(&crowd.started);
}

void crowd_forget(void)
{
	atomic_store(&crowd.started, 0);
	atomic_store(&crowd.joined, 0);
	atomic_store(&crowd.wanted, 0);
	atomic_store(&crowd.starting, 0);
	uffd_set_crowded(false);
}
