/* SPDX-License-Identifier: MIT
 *
 * fork.c - a child has right memory before any other code runs in it.
 *
 *   prepare   jemalloc's locks; no call on the engine under way; the handler serves this thread alone; nothing is evicted
 *   (clone)   the host copies the engine, the pool and every mapped page, copy-on-write; the arena does not come along
 *   child     a userfaultfd and a handler of its own, every mapping armed anew; then jemalloc; then everybody else's hooks
 *
 * fork(), daemon() and forkpty() of libc run the hooks of pthread_atfork; ours are registered first, so they run last before the clone and first after it.
 * _Fork() runs none: it is interposed. Threads of vfork() and posix_spawn() share the address space and need nothing.
 *
 * Between our prepare and the clone, and between the clone and our child hook, libc itself touches memory: with several threads, the lock of every
 * FILE. In the child nobody could serve a fault on them, so they are touched before, when nothing is evicted any more.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

#include "lib/pager.h"
#include "machine/sys.h"
#include "run/runtime.h"

typedef void (*hook)(void);
static hook malloc_prepare, malloc_parent, malloc_child;
static pid_t (*next_Fork)(void);

extern FILE *_IO_list_all __attribute__((weak));
extern void _IO_list_lock(void) __attribute__((weak));
extern void _IO_list_unlock(void) __attribute__((weak));

static void touch_files(void)
{
	if (!&_IO_list_all || !_IO_list_lock || !_IO_list_unlock)
		return;
	_IO_list_lock();
	for (FILE *f = _IO_list_all; f; f = f->_chain)
		if (f->_lock)
			(void)*(volatile char *)f->_lock;
	_IO_list_unlock();
}

static void quiet(void)
{
	rt_gate_close();
	pager_fork_prepare();
}

static void go_on(void)
{
	pager_fork_parent();
	rt_gate_open();
}

static void take_over(void)
{
	static const char text[] = "minflt: a forked child can't get a userfaultfd of its own; it was ended\n";

	rt_gate_reset();
	if (pager_fork_child()) {
		sys_write(2, text, sizeof(text) - 1);
		sys_exit_group(125);
	}
}

static void prepare(void)
{
	if (malloc_prepare)
		malloc_prepare();
	if (!atomic_load(&rt_active))
		return;
	quiet();
	touch_files();
}

static void parent(void)
{
	if (atomic_load(&rt_active))
		go_on();
	if (malloc_parent)
		malloc_parent();
}

static void child(void)
{
	if (atomic_load(&rt_active))
		take_over();
	if (malloc_child)
		malloc_child();
}

/* jemalloc's registration ends here (the linker wraps it): its hooks run inside ours, in the right order. */
int __wrap_pthread_atfork(hook before, hook in_parent, hook in_child);
int __wrap_pthread_atfork(hook before, hook in_parent, hook in_child)
{
	malloc_prepare = before;
	malloc_parent = in_parent;
	malloc_child = in_child;
	return 0;
}

int __real_pthread_atfork(hook before, hook in_parent, hook in_child);

void rt_fork_init(void)
{
	next_Fork = (pid_t (*)(void))dlsym(RTLD_NEXT, "_Fork");
	__real_pthread_atfork(prepare, parent, child);
}

EXPORT pid_t _Fork(void);
EXPORT pid_t _Fork(void)
{
	uint64_t all = ~0ULL, old;
	pid_t pid;

	if (!atomic_load(&rt_active))
		return next_Fork ? next_Fork() : (pid_t)rt_errno(sys_call0(SYS_fork));
	sys_call4(SYS_rt_sigprocmask, 0, (long)&all, (long)&old, 8);
	quiet();
	pid = next_Fork();
	if (pid)
		go_on();
	else
		take_over();
	sys_call4(SYS_rt_sigprocmask, 2, (long)&old, 0, 8);
	return pid;
}
