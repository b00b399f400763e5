/* SPDX-License-Identifier: MIT
 *
 * syscall.c - syscall(2): a program that names its memory calls by number gets what it would get by name.
 *
 * Everything else is passed to the kernel without a stack frame, as in libc: a call that returns twice (clone with CLONE_VM) finds its return address where
 * the program put it. The bare instruction, outside of libc, is seen by nobody but the kernel.
 */
#include <errno.h>
#include <sched.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/pager.h"
#include "lib/pin.h"
#include "machine/sys.h"
#include "run/runtime.h"

long rt_syscall(long nr, long a, long b, long c, long d, long e, long f);

/* clone: flags are the first argument; clone3: the first word of the struct, which the kernel may refuse (EINVAL, EFAULT). */
static bool is_fork(long nr, long a, long b)
{
	if (nr == SYS_clone)
		return !(a & CLONE_VM);
	if (nr == SYS_clone3)
		return a && b >= (long)sizeof(uint64_t) && rt_word_readable((const char *)a) && !(*(const uint64_t *)a & CLONE_VM);
	return nr == SYS_fork;
}

/* => like the function of that name; *known is false for all that don't concern us */
static long by_name(long nr, const long a[6], bool *known)
{
	void *at = (void *)a[0];
	size_t len = (size_t)a[1];

	*known = true;
	switch (nr) {
	case SYS_mmap:
		return (long)mmap(at, len, (int)a[2], (int)a[3], (int)a[4], a[5]);
	case SYS_munmap:
		return munmap(at, len);
	case SYS_mremap:
		return (long)mremap(at, len, (size_t)a[2], (int)a[3], (void *)a[4]);
	case SYS_mprotect:
		return mprotect(at, len, (int)a[2]);
	case SYS_pkey_mprotect:
		return pkey_mprotect(at, len, (int)a[2], (int)a[3]);
	case SYS_madvise:
		return madvise(at, len, (int)a[2]);
	case SYS_mlock:
		return mlock(at, len);
	case SYS_mlock2:
		return mlock2(at, len, (unsigned)a[2]);
	case SYS_munlock:
		return munlock(at, len);
	case SYS_mlockall:
		return mlockall((int)a[0]);
	case SYS_munlockall:
		return munlockall();
	case SYS_mincore:
		return mincore(at, len, (unsigned char *)a[2]);
	case SYS_process_madvise:
		return process_madvise((int)a[0], (const struct iovec *)a[1], (size_t)a[2], (int)a[3], (unsigned)a[4]);
	case SYS_vmsplice:
		return vmsplice((int)a[0], (const struct iovec *)a[1], (size_t)a[2], (unsigned)a[3]);
	case SYS_seccomp:
		return rt_errno(rt_seccomp((unsigned long)a[0], (unsigned long)a[1], (const void *)a[2]));
	case SYS_execve:
		return execve(at, (char *const *)a[1], (char *const *)a[2]);
	case SYS_execveat:
		return execveat((int)a[0], (const char *)a[1], (char *const *)a[2], (char *const *)a[3], (int)a[4]);
	case SYS_getrlimit:
		return rt_errno(rt_prlimit(0, a[0], NULL, (void *)a[1]));
	case SYS_setrlimit:
		return rt_errno(rt_prlimit(0, a[0], (const void *)a[1], NULL));
	case SYS_prlimit64:
		return rt_errno(rt_prlimit(a[0], a[1], (const void *)a[2], (void *)a[3]));
	case SYS_brk:
		return rt_brk_call((unsigned long)a[0]);
	case SYS_prctl:
		if (a[0] == PR_SET_SECCOMP)
			return rt_errno(rt_prctl_seccomp(a));
		/* fall through */
	default:
		*known = false;
		return 0;
	}
}

/* The process lives as long as one of its threads, the handler among them: the last one of the program to end ends it. One that shares its maker's memory
 * has perhaps a witness. */
static bool last_thread(void)
{
	if (sys_getpid() != pager_pid())
		return pin_nr_threads() <= 2;
	return pin_nr_threads() == 1 + pin_own_threads();
}

HIDDEN long rt_syscall(long nr, long a, long b, long c, long d, long e, long f)
{
	bool known;
	long r;

	if (nr == SYS_exit && atomic_load(&rt_active) && last_thread())
		sys_exit_group((int)a);
	if (is_fork(nr, a, b))
		return rt_errno(rt_fork_call(nr, RT_ARGS(a, b, c, d, e)));
	rt_zerocopy_call(nr, RT_ARGS(a, b, c, d, e, f));
	r = by_name(nr, RT_ARGS(a, b, c, d, e, f), &known);
	return known ? r : rt_errno(sys_call6(nr, a, b, c, d, e, f));
}

/* => VM_READ and VM_WRITE of the mapping around a[0] */
static long rights(struct rt_call *c)
{
	struct vm_area_struct *v;
	long r;

	mmap_read_lock(pager_mm);
	v = find_vma(pager_mm, (unsigned long)c->a[0]);
	r = v && vma_start(v) <= (unsigned long)c->a[0] ? (long)(vma_flags(v) & (VM_READ | VM_WRITE)) : 0;
	mmap_read_unlock(pager_mm);
	return r;
}

/* A futex operation that changes the word (WAKE_OP, LOCK_PI and those like them) has answered EFAULT: in the kernel it can't wait for a page that is evicted, nor
 * for one that is watched for stores. The words are brought here, by a store that changes nothing where the program may store, and it is tried once more. EFAULT
 * comes before any waiting, so nothing is done twice. */
long rt_futex_again(long word, long op, long val, long timeout, long word2, long val3);
HIDDEN long rt_futex_again(long word, long op, long val, long timeout, long word2, long val3)
{
	const long words[2] = { word, word2 };

	for (int i = 0; i < 2 && atomic_load_explicit(&rt_active, memory_order_relaxed); i++) {
		const long may = words[i] & 3 ? 0 : rt_run(rights, RT_HERE, RT_ARGS(words[i]), NULL);

		if (may & VM_WRITE)
			__atomic_fetch_or((int *)words[i], 0, __ATOMIC_RELAXED);
		else if (may & VM_READ)
			(void)*(volatile int *)words[i];
	}
	return rt_errno(sys_call6(SYS_futex, word, op, val, timeout, word2, val3));
}

#if defined(__x86_64__)
/* Numbers below 64 that concern us: mmap 9, mprotect 10, munmap 11, brk 12, mremap 25, mincore 27, madvise 28, sendto 44, sendmsg 46, clone 56, fork 57, execve 59, exit 60;
 * above: getrlimit 97, setrlimit 160, prlimit64 302, mlock..munlockall 149-152, prctl 157, futex 202 (only when it answers EFAULT), vmsplice 278, sendmmsg 307, seccomp 317, execveat 322, mlock2 325,
 * pkey_mprotect 329, io_uring_setup 425, clone3 435, process_madvise 440. */
_Static_assert(SYS_mmap == 9 && SYS_fork == 57 && SYS_execve == 59 && SYS_exit == 60 && SYS_mlock == 149 && SYS_munlockall == 152 && SYS_mlock2 == 325 &&
	       SYS_futex == 202 && SYS_vmsplice == 278 && SYS_prctl == 157 && SYS_seccomp == 317 && SYS_execveat == 322 && SYS_getrlimit == 97 && SYS_setrlimit == 160 && SYS_prlimit64 == 302 &&
	       SYS_sendto == 44 && SYS_sendmsg == 46 && SYS_sendmmsg == 307 && SYS_io_uring_setup == 425 && SYS_pkey_mprotect == 329 && SYS_clone3 == 435 && SYS_process_madvise == 440, "the table in the code below");
__asm__(".text\n"
	".globl syscall\n"
	".type syscall,@function\n"
	"syscall:\n"
	"	.cfi_startproc\n"
	"	cmp $56, %rdi\n"
	"	je 7f\n"
	"	cmp $435, %rdi\n"
	"	je 7f\n"
	"	cmp $63, %rdi\n"
	"	ja 1f\n"
	"	movabs $0x1a0050001a001e00, %rax\n"
	"	bt %rdi, %rax\n"
	"	jc 3f\n"
	"	jmp 2f\n"
	"1:	cmp $202, %rdi\n"
	"	je 5f\n"
	"	cmp $97, %rdi\n"
	"	je 3f\n"
	"	cmp $157, %rdi\n"
	"	je 3f\n"
	"	cmp $160, %rdi\n"
	"	je 3f\n"
	"	cmp $302, %rdi\n"
	"	je 3f\n"
	"	lea -149(%rdi), %rax\n"
	"	cmp $3, %rax\n"
	"	jbe 3f\n"
	"	cmp $278, %rdi\n"
	"	je 3f\n"
	"	cmp $307, %rdi\n"
	"	je 3f\n"
	"	cmp $425, %rdi\n"
	"	je 3f\n"
	"	cmp $317, %rdi\n"
	"	je 3f\n"
	"	cmp $322, %rdi\n"
	"	je 3f\n"
	"	cmp $325, %rdi\n"
	"	je 3f\n"
	"	cmp $329, %rdi\n"
	"	je 3f\n"
	"	cmp $440, %rdi\n"
	"	je 3f\n"
	"2:	mov %rdi, %rax\n"
	"	mov %rsi, %rdi\n"
	"	mov %rdx, %rsi\n"
	"	mov %rcx, %rdx\n"
	"	mov %r8, %r10\n"
	"	mov %r9, %r8\n"
	"	mov 8(%rsp), %r9\n"
	"	syscall\n"
	"	cmp $-4095, %rax\n"
	"	jae 4f\n"
	"	ret\n"
	"3:	jmp rt_syscall\n" /* the seventh argument stands where C expects it */
	"4:	mov %rax, %rdi\n"
	"	jmp rt_errno\n"
	"5:	mov %edi, %eax\n" /* futex: as above, but its arguments are kept where C expects them */
	"	mov %rsi, %rdi\n"
	"	mov %rdx, %rsi\n"
	"	mov %rcx, %rdx\n"
	"	mov %r8, %r10\n"
	"	mov %r9, %r8\n"
	"	mov 8(%rsp), %r9\n"
	"	syscall\n"
	"	cmp $-14, %rax\n" /* EFAULT */
	"	je 6f\n"
	"	cmp $-4095, %rax\n"
	"	jae 4b\n"
	"	ret\n"
	"6:	mov %r10, %rcx\n"
	"	jmp rt_futex_again\n"
	"7:	push %rdi\n" /* clone, clone3: with CLONE_VM the child goes on where its maker does, often on another stack */
	"	push %rsi\n"
	"	push %rdx\n"
	"	push %rcx\n"
	"	push %r8\n"
	"	push %r9\n"
	"	sub $8, %rsp\n"
	"	.cfi_adjust_cfa_offset 56\n"
	"	call rt_shares\n"
	"	add $8, %rsp\n"
	"	pop %r9\n"
	"	pop %r8\n"
	"	pop %rcx\n"
	"	pop %rdx\n"
	"	pop %rsi\n"
	"	pop %rdi\n"
	"	.cfi_adjust_cfa_offset -56\n"
	"	cmp $-1, %rax\n"
	"	je 3b\n"
	"	test %rax, %rax\n"
	"	jz 2b\n"
	"	mov %r9, %r11\n"
	"	mov %rax, %r9\n" /* the sixth argument of neither call */
	"	mov %rdi, %rax\n"
	"	mov %rsi, %rdi\n"
	"	mov %rdx, %rsi\n"
	"	mov %rcx, %rdx\n"
	"	mov %r8, %r10\n"
	"	mov %r11, %r8\n"
	"	syscall\n"
	"	test %rax, %rax\n"
	"	jz 8f\n"
	"	mov %r9, %rdi\n"
	"	mov %rax, %rsi\n"
	"	jmp rt_made\n"
	"8:	push %rbp\n"
	"	mov %rsp, %rbp\n"
	"	and $-16, %rsp\n"
	"	mov %r9, %rdi\n"
	"	call rt_child_shares\n"
	"	mov %rbp, %rsp\n"
	"	pop %rbp\n"
	"	xor %eax, %eax\n"
	"	ret\n"
	"	.cfi_endproc\n"
	".size syscall,.-syscall\n");
#endif
