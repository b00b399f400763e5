/* SPDX-License-Identifier: MIT
 * witness.c - a process that shares this one's memory. See witness.h. */
#include "lib/witness.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "lib/lend.h"
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
	atomic_bool being_made; /* the maker has to do with it */
	atomic_uint busy;       /* the kernel clears it when the thread has ended, whoever ended it */
	atomic_long made;       /* the child, as its maker calls it */
	atomic_long pid;        /* as it calls itself; its thread runs */
	atomic_uint dismissed;  /* the thread sleeps on it */
	atomic_bool closed;     /* the descriptor, where the child shares the maker's */
	unsigned long stack, tls;
	struct lend_post post;
	int uffd;
	bool shares_files;
	int (*fn)(void *);
	void *arg;
};
static struct witness places[PLACES];

void witness_forked(void)
{
	for (struct witness *w = places; w < places + PLACES; w++) {
		atomic_store(&w->being_made, false);
		atomic_store(&w->busy, 0);
		atomic_store(&w->closed, true);
	}
}

/* In the table that maker and child share: by one of them. */
static void close_shared(struct witness *w)
{
	if (!atomic_exchange(&w->closed, true))
		sys_close(w->uffd);
}

/* A child that was killed before its thread started leaves the word, and a shared descriptor. */
static bool never_began(struct witness *w)
{
	const long made = atomic_load(&w->made);

	return !atomic_load(&w->pid) && made && sys_call2(SYS_kill, made, 0) == -ESRCH;
}

static bool is_free(struct witness *w)
{
	if (atomic_load(&w->busy) && !never_began(w))
		return false;
	if (w->shares_files)
		close_shared(w);
	return true;
}

static void give(struct witness *w)
{
	atomic_store(&w->busy, 0);
	atomic_store(&w->being_made, false);
}

/* => being made, or NULL */
static struct witness *find(void)
{
	for (struct witness *w = places; w < places + PLACES; w++) {
		if (atomic_exchange(&w->being_made, true))
			continue;
		if (is_free(w))
			return w;
		atomic_store(&w->being_made, false);
	}
	return NULL;
}

struct witness *witness_prepare(bool shares_files, int (*fn)(void *), void *arg, void (*here)(void (*fn)(void *), void *arg))
{
	struct witness *w = find();

	if (!w)
		return NULL;
	atomic_store(&w->made, 0);
	atomic_store(&w->pid, 0);
	atomic_store(&w->dismissed, 0);
	atomic_store(&w->busy, 1);
	w->shares_files = shares_files;
	w->fn = fn;
	w->arg = arg;
	if (!w->stack)
		w->stack = (unsigned long)machine_alloc(STACK);
	if (!w->tls)
		w->tls = (unsigned long)machine_alloc(MACHINE_PAGE_SIZE);
	w->uffd = w->stack && w->tls ? pager_lend_userfaultfd(&w->post, here) : -1;
	atomic_store(&w->closed, w->uffd < 0);
	if (w->uffd >= 0)
		return w;
	give(w);
	return NULL;
}

static void watch(void)
{
	struct witness *w = (struct witness *)((uint64_t *)__builtin_thread_pointer())[1];
	struct timespec look = { 0, FIRST_LOOK_NS };

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
	if (thread_start_cleared((void *)(w->stack + STACK), tls, watch, &w->busy) < 0)
		atomic_store(&w->busy, 0);
	else
		atomic_store(&w->pid, sys_getpid());
	if (w->shares_files)
		close_shared(w);
	else
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

void witness_made(struct witness *w, long child)
{
	if (!w->shares_files)
		sys_close(w->uffd);
	else if (child <= 0)
		close_shared(w);
	if (child <= 0)
		atomic_store(&w->busy, 0);
	atomic_store(&w->made, child > 0 ? child : 0);
	atomic_store(&w->being_made, false);
}
