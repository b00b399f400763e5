/* SPDX-License-Identifier: MIT
 *
 * sys.h - raw system calls of the host, for code on the other side of a fault.
 *
 * No libc, no errno, no lazily bound symbol, no thread-local storage: every call returns its value or -errno. One block per
 * architecture; everything below the block is common.
 */
#ifndef MF_MACHINE_SYS_H
#define MF_MACHINE_SYS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
/* One copy, and so one instruction that makes all of them, in each module; behind it the kernel sees the program counter at sys_call6_at.
 * (A filter that the program installs knows the runtime's calls by that: run/filter.c.) */
__attribute__((visibility("hidden"))) long sys_call6(long nr, long a, long b, long c, long d, long e, long f);
extern __attribute__((visibility("hidden"))) const char sys_call6_at[];
__asm__(".pushsection .text.sys_call6,\"axG\",@progbits,sys_call6,comdat\n"
	".weak sys_call6\n"
	".hidden sys_call6\n"
	".type sys_call6,@function\n"
	"sys_call6:\n"
	"	.cfi_startproc\n"
	"	mov %rdi, %rax\n"
	"	mov %rsi, %rdi\n"
	"	mov %rdx, %rsi\n"
	"	mov %rcx, %rdx\n"
	"	mov %r8, %r10\n"
	"	mov %r9, %r8\n"
	"	mov 8(%rsp), %r9\n"
	"	syscall\n"
	".weak sys_call6_at\n"
	".hidden sys_call6_at\n"
	"sys_call6_at:\n"
	"	ret\n"
	"	.cfi_endproc\n"
	".size sys_call6,.-sys_call6\n"
	".popsection\n");
#else
#error "machine/sys.h has no system-call sequence for this architecture yet"
#endif

#define sys_call5(nr, a, b, c, d, e) sys_call6(nr, a, b, c, d, e, 0)
#define sys_call4(nr, a, b, c, d)    sys_call6(nr, a, b, c, d, 0, 0)
#define sys_call3(nr, a, b, c)       sys_call6(nr, a, b, c, 0, 0, 0)
#define sys_call2(nr, a, b)          sys_call6(nr, a, b, 0, 0, 0, 0)
#define sys_call1(nr, a)             sys_call6(nr, a, 0, 0, 0, 0, 0)
#define sys_call0(nr)                sys_call6(nr, 0, 0, 0, 0, 0, 0)

/* A pointer-returning call failed? (the last page of the address space holds the error numbers) */
static inline int sys_is_err(long r)
{
	return (unsigned long)r >= (unsigned long)-4095L;
}

static inline long sys_mmap(unsigned long addr, size_t len, int prot, int flags, int fd, long off)
{
	return sys_call6(SYS_mmap, (long)addr, (long)len, prot, flags, fd, off);
}

static inline long sys_munmap(unsigned long addr, size_t len)
{
	return sys_call2(SYS_munmap, (long)addr, (long)len);
}

static inline long sys_madvise(unsigned long addr, size_t len, int advice)
{
	return sys_call3(SYS_madvise, (long)addr, (long)len, advice);
}

static inline long sys_mprotect(unsigned long addr, size_t len, int prot)
{
	return sys_call3(SYS_mprotect, (long)addr, (long)len, prot);
}

static inline long sys_mincore(unsigned long addr, size_t len, unsigned char *vec)
{
	return sys_call3(SYS_mincore, (long)addr, (long)len, (long)vec);
}

static inline long sys_ioctl(int fd, unsigned long request, void *arg)
{
	return sys_call3(SYS_ioctl, fd, (long)request, (long)arg);
}

static inline long sys_read(int fd, void *buf, size_t len)
{
	return sys_call3(SYS_read, fd, (long)buf, (long)len);
}

static inline long sys_write(int fd, const void *buf, size_t len)
{
	return sys_call3(SYS_write, fd, (long)buf, (long)len);
}

static inline long sys_pread(int fd, void *buf, size_t len, unsigned long off)
{
	return sys_call4(SYS_pread64, fd, (long)buf, (long)len, (long)off);
}

static inline long sys_open(const char *path, int flags)
{
	return sys_call4(SYS_openat, -100 /* AT_FDCWD */, (long)path, flags, 0);
}

/* All descriptors but these two. */
static inline void sys_close_all_but(int one, int other)
{
	const int low = one < other ? one : other, high = one < other ? other : one;

	if (low > 0)
		sys_call3(SYS_close_range, 0, low - 1, 0);
	if (high > low + 1)
		sys_call3(SYS_close_range, low + 1, high - 1, 0);
	sys_call3(SYS_close_range, high + 1, 0xffffffffL, 0);
}

static inline long sys_close(int fd)
{
	return sys_call1(SYS_close, fd);
}

/* FUTEX_WAIT_PRIVATE 128, FUTEX_WAKE_PRIVATE 129 */
static inline long sys_futex_wait(void *word, unsigned val)
{
	return sys_call4(SYS_futex, (long)word, 128, (long)val, 0);
}

static inline long sys_futex_wake(void *word, int n)
{
	return sys_call3(SYS_futex, (long)word, 129, n);
}

static inline long sys_gettid(void)
{
	return sys_call0(SYS_gettid);
}

static inline long sys_getpid(void)
{
	return sys_call0(SYS_getpid);
}

_Noreturn static inline void sys_exit_group(int status)
{
	for (;;)
		sys_call1(SYS_exit_group, status);
}

#endif
