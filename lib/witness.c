/* SPDX-License-Identifier: MIT
 * witness.c - a process that shares this one's memory. See witness.h. */
#include "lib/witness.h"

#include <poll.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/pager.h"
#include "lib/thread.h"
#include "machine/machine.h"
#include "machine/sys.h"
#include "mm/errno.h"

#define PLACES 64 /* children at a time; others get none */
#define STACK  (16UL << 10)

struct witness {
	atomic_uint busy; /* the kernel clears it when the thread has ended, whoever ended it */
	unsigned long stack, tls;
	int uffd, server;
	int (*fn)(void *);
	void *arg;
};
static struct witness places[PLACES];
static long owner; /* a forked child has nothing to do with its parent's */

struct witness *witness_prepare(int uffd, int server, int (*fn)(void *), void *arg)
{
	for (int i = 0; owner != pager_pid() && i < PLACES; i++)
		atomic_store(&places[i].busy, 0);
	owner = pager_pid();
	for (struct witness *w = places; w < places + PLACES; w++) {
		unsigned none = 0;

		if (!atomic_compare_exchange_strong(&w->busy, &none, 1))
			continue;
		w->uffd = uffd;
		w->server = server;
		w->fn = fn;
		w->arg = arg;
		if (!w->stack)
			w->stack = (unsigned long)machine_alloc(STACK);
		if (!w->tls)
			w->tls = (unsigned long)machine_alloc(MACHINE_PAGE_SIZE);
		if (w->stack && w->tls)
			return w;
		atomic_store(&w->busy, 0);
		break;
	}
	return NULL;
}

static void close_both(const struct witness *w)
{
	sys_close(w->uffd);
	sys_close(w->server);
}

static void watch(void)
{
	struct witness *w = (struct witness *)((uint64_t *)__builtin_thread_pointer())[1];
	struct pollfd p = { .fd = w->server, .events = POLLIN };

	sys_call1(SYS_set_tid_address, (long)&w->busy);
	sys_call5(SYS_prctl, 15 /* PR_SET_NAME */, (long)"minflt-witness", 0, 0, 0);
	sys_close_all_but(w->uffd, w->server);
	while (sys_call5(SYS_ppoll, (long)&p, 1, 0, 0, 0) == -EINTR)
		;
	pager_message("a process that shared its memory with another one (clone with CLONE_VM) was ended: that one has ended, and nobody is left to bring back "
		      "what is evicted\n");
	sys_call2(SYS_kill, sys_getpid(), 9);
	sys_exit_group(137);
}

int witness_run(struct witness *w)
{
	uint64_t *tls = (uint64_t *)(w->tls + 512);
	int (*fn)(void *) = w->fn;
	void *arg = w->arg;

	tls[0] = tls[2] = (uint64_t)tls;
	tls[1] = (uint64_t)w;
	if (thread_start((void *)(w->stack + STACK), tls, watch) < 0)
		atomic_store(&w->busy, 0);
	close_both(w);
	return fn(arg);
}

void witness_made(struct witness *w, bool made, bool shares_files)
{
	if (!made || !shares_files)
		close_both(w);
	if (!made)
		atomic_store(&w->busy, 0);
}
