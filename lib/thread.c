/* SPDX-License-Identifier: MIT
 * thread.c - a thread that libc knows nothing of: clone without CLONE_FILES and CLONE_FS, so that its descriptors (and root) are not the
 * program's. */
#include "lib/thread.h"

#include <linux/sched.h>
#include <stdint.h>

#include "machine/sys.h"

#if defined(__x86_64__)
long thread_clone(unsigned long flags, void *stack, void *tls, void (*fn)(void), void *cleared);
__asm__(".text\n"
	".hidden thread_clone\n"
	".globl thread_clone\n"
	".type thread_clone,@function\n"
	"thread_clone:\n"
	"	mov %r8, %r10\n"  /* cleared */
	"	mov %rdx, %r8\n"  /* tls */
	"	mov %rcx, %r9\n"  /* fn, kept over the call */
	"	xor %edx, %edx\n"
	"	mov $56, %eax\n"  /* clone */
	"	syscall\n"
	".hidden thread_clone_at\n"
	".globl thread_clone_at\n"
	"thread_clone_at:\n"
	"	test %rax, %rax\n"
	"	jnz 1f\n"
	"	xor %ebp, %ebp\n"
	"	call *%r9\n"
	"	ud2\n"
	"1:	ret\n"
	".size thread_clone,.-thread_clone\n");
#endif

static long start(unsigned long more, void *stack_top, void *tls, void (*fn)(void), void *cleared)
{
	/* CLONE_UNTRACED: a tracer that follows threads would stop this one with the others, and then wait for a page itself. */
	const unsigned long flags = CLONE_VM | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS | CLONE_UNTRACED | more;
	uint64_t all = ~0ULL, old;
	long tid;

	sys_call4(SYS_rt_sigprocmask, 0 /* SIG_BLOCK */, (long)&all, (long)&old, 8);
	tid = thread_clone(flags, (void *)((uintptr_t)stack_top & ~15UL), tls, fn, cleared);
	sys_call4(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, (long)&old, 0, 8);
	return tid;
}

long thread_start(void *stack_top, void *tls, void (*fn)(void))
{
	return start(0, stack_top, tls, fn, NULL);
}

long thread_start_cleared(void *stack_top, void *tls, void (*fn)(void), void *word)
{
	return start(CLONE_CHILD_CLEARTID, stack_top, tls, fn, word);
}

long thread_start_sharing(void *stack_top, void *tls, void (*fn)(void))
{
	return start(CLONE_FILES | CLONE_FS, stack_top, tls, fn, NULL);
}
