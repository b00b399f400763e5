/* SPDX-License-Identifier: MIT
 *
 * calls.c - how a call of the program gets to work on the engine: gate, slot, stack.
 *
 * Cost of a call beside the system call itself: two sigprocmask (0.2 us) and four atomic operations; on the handler's thread, a fault more.
 */
#include "lib/pager.h"
#include "machine/sys.h"
#include "run/runtime.h"

#define NR_SLOTS   PAGER_NR_SLOTS
#define STACK_SIZE (32UL << 10)

static struct {
	unsigned long stacks;          /* NR_SLOTS stacks; the call's description lies at the top of each */
	_Atomic uint64_t taken;        /* bit i: slot i is in use */
	atomic_uint freed;             /* changes when a slot is given back while somebody waits */
	atomic_uint calls;             /* calls between gate_enter() and gate_leave() */
	atomic_uint closed;            /* 1: the gate is closed */
	atomic_long owner;             /* thread that closed it */
} rt;

#if defined(__x86_64__)
HIDDEN long rt_on_stack(struct rt_call *call, rt_fn fn);
/* rdi: the call, which is also where the stack begins (it grows down from there); rsi: fn */
__asm__(".text\n"
	".hidden rt_on_stack\n"
	".globl rt_on_stack\n"
	".type rt_on_stack,@function\n"
	"rt_on_stack:\n"
	"	.cfi_startproc\n"
	"	push %rbp\n"
	"	.cfi_def_cfa_offset 16\n"
	"	.cfi_offset %rbp, -16\n"
	"	mov %rsp, %rbp\n"
	"	.cfi_def_cfa_register %rbp\n"
	"	mov %rdi, %rsp\n"
	"	and $-16, %rsp\n"
	"	call *%rsi\n"
	"	mov %rbp, %rsp\n"
	"	pop %rbp\n"
	"	.cfi_def_cfa %rsp, 8\n"
	"	ret\n"
	"	.cfi_endproc\n"
	".size rt_on_stack,.-rt_on_stack\n");
#endif

int rt_calls_init(void)
{
	rt.stacks = (unsigned long)machine_alloc(NR_SLOTS * STACK_SIZE);
	return rt.stacks ? 0 : -12;
}

/* ---- gate -------------------------------------------------------------------------------------------------------- */

static void gate_enter(void)
{
	for (;;) {
		if (!atomic_load(&rt.closed) || atomic_load(&rt.owner) == sys_gettid()) {
			atomic_fetch_add(&rt.calls, 1);
			if (!atomic_load(&rt.closed) || atomic_load(&rt.owner) == sys_gettid())
				return;
			atomic_fetch_sub(&rt.calls, 1);
			sys_futex_wake(&rt.calls, 1);
		}
		sys_futex_wait(&rt.closed, 1);
	}
}

static void gate_leave(void)
{
	atomic_fetch_sub(&rt.calls, 1);
	if (atomic_load(&rt.closed))
		sys_futex_wake(&rt.calls, 1);
}

void rt_gate_close(void)
{
	unsigned one = 0, n;

	while (!atomic_compare_exchange_strong(&rt.closed, &one, 1)) {
		sys_futex_wait(&rt.closed, 1);
		one = 0;
	}
	atomic_store(&rt.owner, sys_gettid());
	while ((n = atomic_load(&rt.calls)) != 0)
		sys_futex_wait(&rt.calls, n);
}

void rt_gate_open(void)
{
	atomic_store(&rt.owner, 0);
	atomic_store(&rt.closed, 0);
	sys_futex_wake(&rt.closed, 1 << 30);
}

void rt_gate_reset(void)
{
	atomic_store(&rt.owner, 0);
	atomic_store(&rt.closed, 0);
	atomic_store(&rt.calls, 0);
	atomic_store(&rt.taken, 0);
}

/* ---- slots ------------------------------------------------------------------------------------------------------- */

static unsigned slot_take(void)
{
	uint64_t taken = atomic_load(&rt.taken);

	for (;;) {
		unsigned free, seen;

		if (taken == ~0ULL) {
			seen = atomic_load(&rt.freed);
			taken = atomic_load(&rt.taken);
			if (taken == ~0ULL)
				sys_futex_wait(&rt.freed, seen);
			taken = atomic_load(&rt.taken);
			continue;
		}
		free = (unsigned)__builtin_ctzll(~taken);
		if (atomic_compare_exchange_weak(&rt.taken, &taken, taken | 1ULL << free))
			return free;
	}
}

static void slot_give(unsigned slot)
{
	uint64_t before = atomic_fetch_and(&rt.taken, ~(1ULL << slot));

	if (before == ~0ULL) {
		atomic_fetch_add(&rt.freed, 1);
		sys_futex_wake(&rt.freed, 1);
	}
}

static void on_handler(void *arg)
{
	struct rt_call *call = arg;

	call->ret = call->fn(call);
}

long rt_run(rt_fn fn, enum rt_where where, const long a[6], struct rt_call *out)
{
	uint64_t all = ~0ULL, old = 0;
	struct rt_call *call;
	unsigned slot;
	long r;

	sys_call4(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, (long)&all, (long)&old, 8);
	gate_enter();
	slot = slot_take();
	call = (struct rt_call *)(rt.stacks + (slot + 1) * STACK_SIZE) - 1;
	*call = (struct rt_call){ .a = { a[0], a[1], a[2], a[3], a[4], a[5] }, .fn = fn };
	if (where == RT_REMOTE)
		pager_call(slot, on_handler, call);
	else
		call->ret = rt_on_stack(call, fn);
	r = call->ret;
	if (out)
		*out = *call;
	slot_give(slot);
	gate_leave();
	sys_call4(SYS_rt_sigprocmask, 2, (long)&old, 0, 8);
	return r;
}
