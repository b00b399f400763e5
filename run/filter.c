/* SPDX-License-Identifier: MIT
 *
 * filter.c - seccomp filters that the program installs.
 *
 * Such a filter allows what the program does by itself. What the runtime does for it in its own threads, in the handler's thread (SECCOMP_FILTER_FLAG_TSYNC) and
 * in the handlers of forked children (which inherit the filter) would be killed. The filter therefore gets a preface: a call from the one instruction of
 * this module that makes the runtime's calls (machine/sys.h, lib/thread.c), and that is in the list below, is allowed; everything else is for the
 * program's own filter to judge, unchanged, syscall(2) of the program included.
 *
 * The list holds what manages this process's memory and this thread, and nothing by which a filtered program could do to others what its filter forbids: no
 * new executable memory, files only under names that stand in this module, and not for writing but for the swap file. An io_uring would do whatever is
 * put into it, so there is none in a filtered process (swap/spill_io.h).
 *
 * SECCOMP_RET_KILL_THREAD becomes KILL_PROCESS: a program of one thread is to end by it, and the handler would keep the process alive. Strict mode
 * becomes the filter that means the same.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/pager.h"
#include "lib/thread.h"
#include "machine/sys.h"
#include "machine/uffd/uffd_abi.h"
#include "run/runtime.h"

#ifndef SECCOMP_RET_KILL_PROCESS
#define SECCOMP_RET_KILL_PROCESS 0x80000000U
#endif
bool rt_filtered;

#define MOST_PREFACE 128
#define ALLOW 254 /* jump targets; resolved by preface_end() */
#define PASS  255 /* the program's own filter */

#define NR       offsetof(struct seccomp_data, nr)
#define ARCH     offsetof(struct seccomp_data, arch)
#define IP_LOW   offsetof(struct seccomp_data, instruction_pointer)
#define IP_HIGH  (IP_LOW + 4)
#define ARG(i)   (offsetof(struct seccomp_data, args) + 8 * (i))
#define HIGH(x)  ((uint32_t)((uint64_t)(x) >> 32))
#define LOW(x)   ((uint32_t)(uint64_t)(x))

static const int harmless[] = {
	SYS_read, SYS_close, SYS_munmap, SYS_mremap, SYS_madvise, SYS_mincore, SYS_brk, SYS_munlock, SYS_process_madvise,
	SYS_rt_sigprocmask, SYS_gettid, SYS_getpid, SYS_getppid, SYS_futex, SYS_clock_gettime, SYS_nanosleep, SYS_sched_yield,
	SYS_sched_getaffinity, SYS_sched_setaffinity, SYS_pread64, SYS_close_range, SYS_userfaultfd, SYS_get_robust_list, SYS_ppoll,
	SYS_exit, SYS_exit_group, SYS_set_robust_list, SYS_getcpu, SYS_msync, SYS_dup,
};

struct preface {
	struct sock_filter at[MOST_PREFACE];
	unsigned nr;
};

static void emit(struct preface *p, unsigned code, uint32_t k, unsigned yes, unsigned no)
{
	if (p->nr == MOST_PREFACE)
		machine_bug(__FILE__, __LINE__, "the preface of a filter is too long");
	p->at[p->nr++] = (struct sock_filter){ (uint16_t)code, (uint8_t)yes, (uint8_t)no, k };
}

static void load(struct preface *p, size_t offset)
{
	emit(p, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

/* yes, no: instructions to leap over, or ALLOW or PASS. 0: go on. */
static void equal(struct preface *p, uint32_t k, unsigned yes, unsigned no)
{
	emit(p, BPF_JMP | BPF_JEQ | BPF_K, k, yes, no);
}

static void any_bit(struct preface *p, uint32_t k, unsigned yes, unsigned no)
{
	emit(p, BPF_JMP | BPF_JSET | BPF_K, k, yes, no);
}

static void below(struct preface *p, uint32_t k, unsigned yes, unsigned no)
{
	emit(p, BPF_JMP | BPF_JGE | BPF_K, k, no, yes);
}

/* The rest of the preface decides about this call; nr is loaded. `len`: of the instructions that do. */
static void for_call(struct preface *p, int nr, unsigned len)
{
	equal(p, (uint32_t)nr, 0, len);
}

/* ---- what stands in this module ------------------------------------------------------------------------------------ */

static unsigned long names_from, names_to; /* read-only data: the names of the files that the runtime opens */

static int find_names(struct dl_phdr_info *info, size_t size, void *data)
{
	unsigned long one = (unsigned long)harmless;

	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		unsigned long start = info->dlpi_addr + ph->p_vaddr;

		if (ph->p_type != PT_LOAD || ph->p_flags & (PF_W | PF_X) || one < start || one >= start + ph->p_memsz)
			continue;
		names_from = start;
		names_to = start + ph->p_memsz;
		return 1;
	}
	return 0;
}

void rt_filter_init(void)
{
	dl_iterate_phdr(find_names, NULL);
}

/* ---- the preface --------------------------------------------------------------------------------------------------- */

static void by_argument(struct preface *p)
{
	for_call(p, SYS_mmap, 4);
	load(p, ARG(2));
	any_bit(p, PROT_EXEC, PASS, 0);
	load(p, ARG(3));
	any_bit(p, MAP_ANONYMOUS, ALLOW, PASS);
	for_call(p, SYS_mprotect, 2);
	load(p, ARG(2));
	any_bit(p, PROT_EXEC, PASS, ALLOW);
	for_call(p, SYS_ioctl, 4); /* userfaultfd's, and the pagemap's; machine/uffd/meta.c */
	load(p, ARG(1));
	equal(p, (uint32_t)PM_SCAN, ALLOW, 0);
	emit(p, BPF_ALU | BPF_AND | BPF_K, 0xff00, 0, 0);
	equal(p, 0xaa00, ALLOW, PASS);
	for_call(p, SYS_mlock2, 2);
	load(p, ARG(2));
	equal(p, MLOCK_ONFAULT, ALLOW, PASS);
	for_call(p, SYS_prctl, 2);
	load(p, ARG(0));
	equal(p, PR_SET_NAME, ALLOW, PASS);
	for_call(p, SYS_pidfd_open, 2); /* of the handler, for a child's userfaultfd */
	load(p, ARG(1));
	equal(p, O_EXCL, ALLOW, PASS);
	for_call(p, SYS_pidfd_getfd, 3);
	load(p, ARG(1));
	equal(p, (uint32_t)pager_kept_descriptor(LEND_DEV), ALLOW, 0);
	equal(p, (uint32_t)pager_kept_descriptor(LEND_SWAP), ALLOW, PASS);
	for_call(p, SYS_pwrite64, 2); /* the swap file; -1: there is none */
	load(p, ARG(0));
	equal(p, (uint32_t)pager_kept_descriptor(LEND_SWAP), ALLOW, PASS);
	for_call(p, SYS_fcntl, 6); /* run/splice.c; --memory auto */
	load(p, ARG(1));
	equal(p, F_GETFL, ALLOW, 0);
	equal(p, F_GETPIPE_SZ, ALLOW, 0);
	equal(p, F_SETFL, 0, PASS);
	load(p, ARG(2));
	equal(p, O_RDWR | O_NONBLOCK, ALLOW, PASS);
	for_call(p, SYS_prlimit64, 2); /* machine/uffd/meta.c */
	load(p, ARG(1));
	equal(p, RLIMIT_DATA, ALLOW, PASS);
	for_call(p, SYS_kill, 2); /* does it live? */
	load(p, ARG(1));
	equal(p, 0, ALLOW, PASS);
	for_call(p, SYS_dup3, 3);
	load(p, ARG(1));
	equal(p, (uint32_t)pager_kept_descriptor(LEND_DEV), ALLOW, 0);
	equal(p, (uint32_t)pager_kept_descriptor(LEND_SWAP), ALLOW, PASS);
	for_call(p, SYS_openat, 7);
	load(p, ARG(2));
	any_bit(p, ~(uint32_t)(O_CLOEXEC | O_PATH), PASS, 0);
	load(p, ARG(1) + 4);
	equal(p, HIGH(names_from), 0, PASS);
	load(p, ARG(1));
	below(p, LOW(names_from), PASS, 0);
	below(p, LOW(names_to), ALLOW, PASS);
}

/* ALLOW and PASS stand behind it: `ret`, and the first instruction of the program's filter. */
static void preface_end(struct preface *p)
{
	emit(p, BPF_JMP | BPF_JA, 1, 0, 0);
	for (unsigned i = 0; i < p->nr; i++) {
		struct sock_filter *f = &p->at[i];

		if (BPF_CLASS(f->code) != BPF_JMP || BPF_OP(f->code) == BPF_JA)
			continue;
		f->jt = (uint8_t)(f->jt == ALLOW ? p->nr - i - 1 : f->jt == PASS ? p->nr - i : f->jt);
		f->jf = (uint8_t)(f->jf == ALLOW ? p->nr - i - 1 : f->jf == PASS ? p->nr - i : f->jf);
	}
	emit(p, BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
}

static void make_preface(struct preface *p)
{
	unsigned long call = (unsigned long)sys_call6_at, thread = (unsigned long)thread_clone_at;

	p->nr = 0;
	load(p, ARCH);
	equal(p, AUDIT_ARCH_X86_64, 0, PASS);
	load(p, IP_HIGH);
	equal(p, HIGH(thread), 0, 6);
	load(p, IP_LOW);
	equal(p, LOW(thread), 0, 4);
	load(p, NR);
	equal(p, SYS_clone, 0, PASS);
	load(p, ARG(0));
	any_bit(p, CLONE_THREAD, ALLOW, PASS);
	load(p, IP_HIGH);
	equal(p, HIGH(call), 0, PASS);
	load(p, IP_LOW);
	equal(p, LOW(call), 0, PASS);
	load(p, NR);
	for (unsigned i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
		equal(p, (uint32_t)harmless[i], ALLOW, 0);
	by_argument(p);
	preface_end(p);
}

/* ---- installing ---------------------------------------------------------------------------------------------------- */

/* p is not NULL. The kernel reads the set before it looks at what is to be done with it: EFAULT, or EINVAL, and nothing done. */
bool rt_word_readable(const char *p)
{
	return sys_call4(SYS_rt_sigprocmask, 99, (long)p, 0, 8) != -EFAULT;
}

static bool readable(const void *p, size_t len)
{
	for (size_t at = 0; at < len; at += PAGE)
		if (!rt_word_readable((const char *)p + at))
			return false;
	return rt_word_readable((const char *)p + len - 8);
}

static uint32_t ends_the_process(const struct sock_filter *f)
{
	bool kill = f->code == (BPF_RET | BPF_K) && (f->k & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_KILL_THREAD;

	return kill ? f->k | SECCOMP_RET_KILL_PROCESS : f->k;
}

/* By the call that the program made: another may be forbidden already. */
static long install_as_it_is(long nr, unsigned long flags, const struct sock_fprog *prog)
{
	if (nr == SYS_prctl)
		return sys_call5(nr, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, (long)prog, 0, 0);
	return sys_call3(nr, SECCOMP_SET_MODE_FILTER, (long)flags, (long)prog);
}

static long before_filter(struct rt_call *c)
{
	pager_before_filter();
	return 0;
}

/* nr: SYS_prctl or SYS_seccomp. => as the call */
static long install(long nr, unsigned long flags, const struct sock_fprog *prog)
{
	size_t size = sizeof(struct preface) + BPF_MAXINSNS * sizeof(struct sock_filter);
	struct sock_fprog both;
	struct preface *p;
	unsigned nr_own;
	long r;

	if (!readable(prog, sizeof(*prog)) || !prog->len || prog->len > BPF_MAXINSNS || !readable(prog->filter, prog->len * sizeof(*prog->filter)))
		return install_as_it_is(nr, flags, prog);
	p = (struct preface *)sys_mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (sys_is_err((long)p))
		return -ENOMEM;
	make_preface(p);
	nr_own = p->nr; /* what follows may be written over it */
	both.filter = p->at;
	both.len = (unsigned short)(nr_own + prog->len);
	for (unsigned i = 0; i < prog->len; i++) {
		both.filter[nr_own + i] = prog->filter[i];
		both.filter[nr_own + i].k = ends_the_process(&prog->filter[i]);
	}
	if (nr_own + prog->len > BPF_MAXINSNS)
		pager_message("a seccomp filter of the program is too long for what minflt would add to it; the program may be killed by it\n");
	rt_run(before_filter, RT_REMOTE, RT_ARGS(0), NULL);
	r = install_as_it_is(nr, flags, nr_own + prog->len > BPF_MAXINSNS ? prog : &both);
	if (!r)
		rt_filtered = true;
	sys_munmap((unsigned long)p, size);
	return r;
}

/* As strict mode: read, write, exit and rt_sigreturn. */
static long install_strict(long nr)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, NR),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_read, 4, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { sizeof(f) / sizeof(f[0]), f };

	sys_call5(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return install(nr, 0, &prog);
}

/* => as the system call. */
long rt_seccomp(unsigned long op, unsigned long flags, const void *args)
{
	if (atomic_load_explicit(&rt_active, memory_order_relaxed)) {
		if (op == SECCOMP_SET_MODE_FILTER)
			return install(SYS_seccomp, flags, args);
		if (op == SECCOMP_SET_MODE_STRICT && !flags && !args)
			return install_strict(SYS_seccomp);
	}
	return sys_call3(SYS_seccomp, (long)op, (long)flags, (long)args);
}

/* a: as of prctl(PR_SET_SECCOMP). => as the system call. */
long rt_prctl_seccomp(const long a[5])
{
	if (atomic_load_explicit(&rt_active, memory_order_relaxed)) {
		if (a[1] == SECCOMP_MODE_FILTER)
			return install(SYS_prctl, 0, (const struct sock_fprog *)a[2]);
		if (a[1] == SECCOMP_MODE_STRICT)
			return install_strict(SYS_prctl);
	}
	return sys_call5(SYS_prctl, a[0], a[1], a[2], a[3], a[4]);
}

EXPORT int prctl(int option, ...)
{
	static int (*next)(int option, ...);
	unsigned long a[4];
	va_list ap;

	va_start(ap, option);
	for (int i = 0; i < 4; i++)
		a[i] = va_arg(ap, unsigned long);
	va_end(ap);
	if (option == PR_SET_SECCOMP)
		return (int)rt_errno(rt_prctl_seccomp(RT_ARGS(option, (long)a[0], (long)a[1], (long)a[2], (long)a[3])));
	if (!next)
		next = (int (*)(int, ...))dlsym(RTLD_NEXT, "prctl");
	return next(option, a[0], a[1], a[2], a[3]);
}
