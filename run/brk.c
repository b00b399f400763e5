/* SPDX-License-Identifier: MIT
 *
 * brk.c - brk and sbrk. The heap grows as the host's own; its new part is armed like any mapping. (malloc does not use it: see malloc.c.)
 */
#include <errno.h>
#include <unistd.h>

#include "lib/pager.h"
#include "machine/sys.h"
#include "machine/uffd/uffd.h"
#include "run/runtime.h"

static unsigned long heap_end; /* the break; guarded by mmap_lock once active, by the only thread before */

static long sys_brk(unsigned long to)
{
	return sys_call1(SYS_brk, (long)to);
}

void rt_brk_init(void)
{
	heap_end = (unsigned long)sys_brk(0);
}

/* mmap_lock held for writing. The host answers with the break as it then is: below what was asked means refused; above means that it was asked to
 * go below the start of the heap, which changes nothing and is no error. => 0 or -ENOMEM; c->addr, c->len: to be faulted in */
static long set_break(struct rt_call *c, unsigned long asked)
{
	unsigned long from = heap_end, to, lock = rt_future_flags();

	if (lock && asked > from && !rt_may_lock_new(page_up(from), page_up(asked) - page_up(from)))
		return -ENOMEM;
	to = (unsigned long)sys_brk(asked);
	if (to < asked)
		return -ENOMEM;
	heap_end = to;
	if (page_up(to) > page_up(from)) {
		if (rt_manage(page_up(from), page_up(to) - page_up(from), VM_READ | VM_WRITE | lock, lock)) {
			heap_end = (unsigned long)sys_brk(from);
			rt_unmanage(page_up(from), page_up(to) - page_up(from));
			return -ENOMEM;
		}
		if (rt_future_populates()) {
			c->addr = page_up(from);
			c->len = page_up(to) - page_up(from);
		}
	} else if (page_up(to) < page_up(from)) {
		rt_unmanage(page_up(to), page_up(from) - page_up(to));
	}
	return 0;
}

static long do_brk(struct rt_call *c)
{
	long r;

	mmap_write_lock(pager_mm);
	r = set_break(c, (unsigned long)c->a[0]);
	mmap_write_unlock(pager_mm);
	return r;
}

/* => the old break or -ENOMEM */
static long do_sbrk(struct rt_call *c)
{
	unsigned long old;
	long r = 0;

	mmap_write_lock(pager_mm);
	old = heap_end;
	if (c->a[0] > 0 ? old + (unsigned long)c->a[0] < old : (unsigned long)-c->a[0] > old)
		r = -ENOMEM;
	else if (c->a[0])
		r = set_break(c, old + (unsigned long)c->a[0]);
	mmap_write_unlock(pager_mm);
	return r ? r : (long)old;
}

static long run_and_fill(rt_fn fn, long arg, enum rt_where where)
{
	struct rt_call out;
	long r = rt_run(fn, where, RT_ARGS(arg), &out);

	if (out.len)
		rt_populate(out.addr, out.len);
	return r;
}

EXPORT int brk(void *to)
{
	if (atomic_load_explicit(&rt_active, memory_order_relaxed))
		return (int)rt_errno(run_and_fill(do_brk, (long)to, RT_REMOTE));
	return (unsigned long)sys_brk((unsigned long)to) >= (unsigned long)to ? 0 : (int)rt_errno(-ENOMEM);
}

EXPORT void *sbrk(intptr_t increment)
{
	unsigned long old;

	if (atomic_load_explicit(&rt_active, memory_order_relaxed))
		return (void *)rt_errno(run_and_fill(do_sbrk, increment, increment > 0 ? RT_REMOTE : RT_HERE));
	old = (unsigned long)sys_brk(0);
	if (increment && (unsigned long)sys_brk(old + (unsigned long)increment) != old + (unsigned long)increment)
		return (void *)rt_errno(-ENOMEM);
	return (void *)old;
}

/* The bare system call answers with the break. */
long rt_brk_call(unsigned long to)
{
	if (!atomic_load_explicit(&rt_active, memory_order_relaxed))
		return sys_brk(to);
	run_and_fill(do_brk, (long)to, RT_REMOTE);
	return sys_brk(0);
}
