/* SPDX-License-Identifier: MIT
 * witness.c - a process that shares this one's memory. See witness.h. */
#include "lib/witness.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "lib/pager.h"
#include "lib/thread.h"
#include "machine/machine.h"
#include "machine/sys.h"
#include "mm/errno.h"

#define PLACES 64 /* children at a time; others get none */
#define STACK  (16UL << 10)
#define FIRST_LOOK_NS 10000000L
#define LAST_LOOK_NS  640000000L

struct witness {
	atomic_uint busy; /* the kernel clears it when the thread has ended, whoever ended it */
	unsigned long stack, tls;
	atomic_bool being_made; /* the maker has to do with it */
	atomic_uint dismissed; /* it sleeps on it */
	atomic_long pid;       /* the child */
	int uffd;
	bool shares_files;
	int (*fn)(void *);
	void *arg;
};
static struct witness places[PLACES];
static long owner; /* a forked child has nothing to do with its parent's */

struct witness *witness_prepare(int uffd, bool shares_files, int (*fn)(void *), void *arg)
{
	for (int i = 0; owner != pager_pid() && i < PLACES; i++) {
		atomic_store(&places[i].being_made, false);
		atomic_store(&places[i].busy, 0);
	}
	owner = pager_pid();
	for (struct witness *w = places; w < places + PLACES; w++) {
		unsigned none = 0;

		if (atomic_load(&w->being_made) || !atomic_compare_exchange_strong(&w->busy, &none, 1))
			continue;
		atomic_store(&w->being_made, true);
		w->uffd = uffd;
		w->shares_files = shares_files;
		atomic_store(&w->pid, 0);
		atomic_store(&w->dismissed, 0);
		w->fn = fn;
		w->arg = arg;
		if (!w->stack)
			w->stack = (unsigned long)machine_alloc(STACK);
		if (!w->tls)
			w->tls = (unsigned long)machine_alloc(MACHINE_PAGE_SIZE);
		if (w->stack && w->tls)
			return w;
		atomic_store(&w->being_made, false);
		atomic_store(&w->busy, 0);
		break;
	}
	sys_close(uffd);
	return NULL;
}

static void watch(void)
{
	struct witness *w = (struct witness *)((uint64_t *)__builtin_thread_pointer())[1];
	struct timespec look = { 0, FIRST_LOOK_NS };

	sys_call1(SYS_set_tid_address, (long)&w->busy);
	sys_call5(SYS_prctl, 15 /* PR_SET_NAME */, (long)"minflt-witness", 0, 0, 0);
	sys_close_all_but(w->uffd, w->uffd);
	while (!atomic_load(&w->dismissed)) {
		sys_call4(SYS_futex, (long)&w->dismissed, 128 /* FUTEX_WAIT_PRIVATE */, 0, (long)&look);
		look.tv_nsec = look.tv_nsec * 2 < LAST_LOOK_NS ? look.tv_nsec * 2 : LAST_LOOK_NS;
		pager_orphan_ends();
	}
	for (;;)
		sys_call1(SYS_exit, 0);
}

void witness_begin(struct witness *w)
{
	uint64_t *tls = (uint64_t *)(w->tls + 512);

	tls[0] = tls[2] = (uint64_t)tls;
	tls[1] = (uint64_t)w;
	atomic_store(&w->pid, sys_getpid());
	if (thread_start((void *)(w->stack + STACK), tls, watch) < 0)
		atomic_store(&w->busy, 0);
	sys_close(w->uffd);
}

void witness_dismiss(void)
{
	const long pid = sys_getpid();

	for (struct witness *w = places; w < places + PLACES; w++) {
		if (atomic_load(&w->pid) != pid || !atomic_load(&w->busy))
			continue;
		atomic_store(&w->dismissed, 1);
		sys_futex_wake(&w->dismissed, 1);
	}
}

int witness_run(struct witness *w)
{
	int (*fn)(void *) = w->fn;
	void *arg = w->arg;

	witness_begin(w);
	return fn(arg);
}

void witness_made(struct witness *w, bool made)
{
	if (!made || !w->shares_files)
		sys_close(w->uffd);
	if (!made)
		atomic_store(&w->busy, 0);
	atomic_store(&w->being_made, false);
}
