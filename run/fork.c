/* SPDX-License-Identifier: MIT
 *
 * fork.c - a child has right memory before any other code runs in it.
 *
 *   prepare   jemalloc's locks; no call on the engine under way; the handler serves this thread alone; nothing is evicted
 *   (clone)   the host copies the engine, the pool and every mapped page, copy-on-write; the arena does not come along
 *   child     a userfaultfd and a handler of its own, every mapping armed anew; then jemalloc; then everybody else's hooks
 *
 * fork(), daemon() and forkpty() of libc run the hooks of pthread_atfork; ours are registered first, so they run last before the clone and first after it.
 * _Fork(), clone() and syscall() run none: they are interposed. Children of vfork() and posix_spawn() share the address space
 * and are served by its handler; who watches over them stands below (lib/witness.h).
 *
 * Between our prepare and the clone, and between the clone and our child hook, libc itself touches memory: with several threads, the lock of every
 * FILE. In the child nobody could serve a fault on them, so they are touched before, when nothing is evicted any more.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>

#include "lib/pager.h"
#include "lib/pin.h"
#include "lib/witness.h"
#include "machine/sys.h"
#include "run/exec.h"
#include "run/runtime.h"

typedef void (*hook)(void);
static hook malloc_prepare, malloc_parent, malloc_child;
static pid_t (*next_Fork)(void);

extern FILE *_IO_list_all __attribute__((weak));
extern void _IO_list_lock(void) __attribute__((weak));
extern void _IO_list_unlock(void) __attribute__((weak));
extern void _IO_list_resetlock(void) __attribute__((weak));

extern char __libc_single_threaded __attribute__((weak));

/* With one thread, nobody else is in malloc or stdio: the hooks and locks for that are left out, as libc does (dozens of pages less that parent and child write). */
static bool alone; /* from prepare to the end; guarded as mask_before */

static bool has_one_thread(void)
{
	return &__libc_single_threaded && __libc_single_threaded;
}

static uint64_t mask_before; /* signals, from prepare to the end; guarded by the gate, or by libc's own lock of fork */

static bool have_files(void)
{
	return &_IO_list_all && _IO_list_lock && _IO_list_unlock && _IO_list_resetlock;
}

/* The list is locked. */
static void touch_files(void)
{
	for (FILE *f = _IO_list_all; f; f = f->_chain)
		if (f->_lock)
			(void)*(volatile char *)f->_lock;
}

static long send_lent(struct rt_call *c)
{
	((void (*)(void *))c->a[0])((void *)c->a[1]);
	return 0;
}

static void on_handler(void (*fn)(void *), void *arg)
{
	rt_run(send_lent, RT_REMOTE, RT_ARGS((long)fn, (long)arg), NULL);
}

static struct lend lent; /* for the child: guarded by the gate */
static struct lend_post post; /* the same */

static void quiet(void)
{
	pin_lift();
	rt_gate_close();
	pager_lend(&lent, rt_filtered, &post, on_handler);
	pager_fork_prepare(&lent);
}

static void go_on(void)
{
	pager_fork_parent();
	rt_gate_open();
}

static long child_side(struct rt_call *c)
{
	return pager_fork_child();
}

/* A child that can't be served has all of its memory, and is from here on a process like any other. On a stack of the runtime: until the handler serves, a new page of the program's stack would be a page of zeros. */
static void take_over(void)
{
	static const char text[] = "minflt: a forked child can't get a userfaultfd of its own; it was ended\n";
	long r;

	rt_gate_reset();
	rt_exec_forked();
	witness_forked();
	r = rt_run(child_side, RT_HERE, RT_ARGS(0), NULL);
	if (r == 1)
		atomic_store(&rt_active, false);
	if (r < 0) {
		sys_write(2, text, sizeof(text) - 1);
		sys_exit_group(125);
	}
}

/* Locks in libc's order: the list of FILEs, then malloc. A thread that holds the list may wait for a page, so it must have gone on before only this thread
 * is served. (libc's lock of the name-service database comes after all hooks and can't be taken here: a thread that faults while it holds
 * that waits for the fork, and the fork for it.) No signal handler may run in the child before take_over(). */
static void prepare(void)
{
	uint64_t all = ~0ULL, before = 0;

	if (!atomic_load(&rt_active)) {
		if (malloc_prepare)
			malloc_prepare();
		return;
	}
	sys_call4(SYS_rt_sigprocmask, 0, (long)&all, (long)&before, 8);
	if (has_one_thread()) {
		quiet();
		mask_before = before;
		alone = true;
		return;
	}
	if (have_files())
		_IO_list_lock();
	if (malloc_prepare)
		malloc_prepare();
	quiet();
	mask_before = before;
	alone = false;
	if (have_files())
		touch_files();
}

static void parent(void)
{
	uint64_t before = mask_before;
	bool was_alone = alone;

	if (!atomic_load(&rt_active)) {
		if (malloc_parent)
			malloc_parent();
		return;
	}
	go_on();
	if (!was_alone && malloc_parent)
		malloc_parent();
	if (!was_alone && have_files())
		_IO_list_unlock();
	sys_call4(SYS_rt_sigprocmask, 2, (long)&before, 0, 8);
}

static void child(void)
{
	bool ours = atomic_load(&rt_active);

	if (ours)
		take_over();
	if (malloc_child && !(ours && alone))
		malloc_child();
	if (!ours)
		return;
	if (!alone && have_files())
		_IO_list_resetlock();
	sys_call4(SYS_rt_sigprocmask, 2, (long)&mask_before, 0, 8);
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

/* What makes the child: _Fork, or a system call that forks. => as it returns */
static long forked(long (*make)(const long a[6]), const long a[6])
{
	uint64_t all = ~0ULL, old;
	long pid;

	sys_call4(SYS_rt_sigprocmask, 0, (long)&all, (long)&old, 8);
	quiet();
	pid = make(a);
	if (pid)
		go_on();
	else
		take_over();
	sys_call4(SYS_rt_sigprocmask, 2, (long)&old, 0, 8);
	return pid;
}

static long make_Fork(const long a[6])
{
	return next_Fork();
}

EXPORT pid_t _Fork(void);
EXPORT pid_t _Fork(void)
{
	if (!atomic_load(&rt_active))
		return next_Fork ? next_Fork() : (pid_t)rt_errno(sys_call0(SYS_fork));
	return (pid_t)forked(make_Fork, NULL);
}

static long make_by_call(const long a[6])
{
	return sys_call5(a[5], a[0], a[1], a[2], a[3], a[4]);
}

/* fork, or clone and clone3 without CLONE_VM, as bare system calls: the child goes on where the parent is. => as the system call */
long rt_fork_call(long nr, const long a[5])
{
	if (!atomic_load(&rt_active))
		return sys_call5(nr, a[0], a[1], a[2], a[3], a[4]);
	return forked(make_by_call, RT_ARGS(a[0], a[1], a[2], a[3], a[4], nr));
}

/* ---- clone() ----------------------------------------------------------------------------------------------------- */

struct start {
	int (*fn)(void *);
	void *arg;
	uint64_t mask;
};

/* The first that runs in the child, on the stack that the program gave: the page at its top has just been written by the parent. */
static int begin(void *arg)
{
	struct start s = *(struct start *)arg;

	take_over();
	sys_call4(SYS_rt_sigprocmask, 2, (long)&s.mask, 0, 8);
	sys_exit_group(s.fn(s.arg)); /* libc would end this thread alone, and the handler would keep the process */
}

/* In a child that shares the memory and goes on beside its maker. */
static int begin_sharing(void *arg)
{
	sys_exit_group(witness_run(arg)); /* as above, for the witness */
}

/* => NULL: none is to be had, or a filter of the program forbids it */
static struct witness *get_witness(bool shares_files, int (*fn)(void *), void *arg)
{
	if (!atomic_load(&rt_active) || rt_filtered || sys_getpid() != pager_pid())
		return NULL;
	return witness_prepare(shares_files, fn, arg, on_handler);
}

typedef int (*clone_function)(int (*)(void *), void *, int, void *, ...);

EXPORT int clone(int (*fn)(void *), void *stack, int flags, void *arg, ...)
{
	static clone_function next;
	uint64_t all = ~0ULL;
	struct start s = { fn, arg, 0 };
	va_list ap;
	struct witness *witness;
	pid_t *ptid, *ctid;
	void *tls;
	int pid, err;

	va_start(ap, arg);
	ptid = va_arg(ap, pid_t *);
	tls = va_arg(ap, void *);
	ctid = va_arg(ap, pid_t *);
	va_end(ap);
	pin_lift();
	if (!next)
		next = (clone_function)dlsym(RTLD_NEXT, "clone");
	if ((flags & (CLONE_VM | CLONE_THREAD)) == CLONE_VM && fn && stack && (witness = get_witness(flags & CLONE_FILES, fn, arg))) {
		pid = next(begin_sharing, stack, flags, witness, ptid, tls, ctid);
		err = errno;
		witness_made(witness, pid);
		errno = err;
		return pid;
	}
	if (flags & CLONE_VM || !atomic_load(&rt_active) || !fn || !stack)
		return next(fn, stack, flags, arg, ptid, tls, ctid);
	sys_call4(SYS_rt_sigprocmask, 0, (long)&all, (long)&s.mask, 8);
	quiet();
	pid = next(begin, stack, flags, &s, ptid, tls, ctid);
	err = errno;
	go_on();
	sys_call4(SYS_rt_sigprocmask, 2, (long)&s.mask, 0, 8);
	errno = err;
	return pid;
}

/* ---- vfork(), and clone() and clone3() with CLONE_VM by syscall(): they return twice -------------------------------------------------------- */

HIDDEN struct witness *rt_vfork_begin(void);
HIDDEN struct witness *rt_vfork_begin(void)
{
	if (atomic_load_explicit(&rt_active, memory_order_relaxed))
		pin_lift();
	return get_witness(false, NULL, NULL);
}

HIDDEN void *rt_real_vfork(void);
HIDDEN void *rt_real_vfork(void)
{
	return dlsym(RTLD_NEXT, "vfork");
}

/* In the child, on the stack that it has. */
HIDDEN void rt_child_shares(struct witness *w);
HIDDEN void rt_child_shares(struct witness *w)
{
	witness_begin(w);
}

/* r: of the system call. => as libc's function */
HIDDEN long rt_made(struct witness *w, long r);
HIDDEN long rt_made(struct witness *w, long r)
{
	witness_made(w, r);
	return rt_errno(r);
}

/* => a witness for the child of this call; NULL: none, it is a call like others; RT_NOT_SHARED: for rt_syscall() */
#define RT_NOT_SHARED ((struct witness *)-1L)
HIDDEN struct witness *rt_shares(long nr, long a, long b);
HIDDEN struct witness *rt_shares(long nr, long a, long b)
{
	uint64_t flags = (uint64_t)a;

	if (nr == SYS_clone3) {
		if (!a || b < (long)sizeof(flags) || !rt_word_readable((const char *)a))
			return NULL;
		flags = *(const uint64_t *)a;
	}
	if (!(flags & CLONE_VM))
		return RT_NOT_SHARED;
	if (flags & CLONE_THREAD)
		return NULL;
	if (atomic_load_explicit(&rt_active, memory_order_relaxed))
		pin_lift();
	return get_witness(flags & CLONE_FILES, NULL, NULL);
}

#if defined(__x86_64__)
_Static_assert(SYS_vfork == 58, "below");
/* No frame of ours may be left on the stack, and what the child calls writes over the return address: it waits in a register, as the witness does. */
__asm__(".text\n"
	".globl vfork\n"
	".type vfork,@function\n"
	"vfork:\n"
	"	sub $8, %rsp\n"
	"	call rt_vfork_begin\n"
	"	test %rax, %rax\n"
	"	jz 2f\n"
	"	add $8, %rsp\n"
	"	mov %rax, %rsi\n"
	"	pop %rdi\n"
	"	mov $58, %eax\n"
	"	syscall\n"
	"	push %rdi\n"
	"	sub $8, %rsp\n"
	"	mov %rsi, %rdi\n"
	"	test %rax, %rax\n"
	"	jz 1f\n"
	"	mov %rax, %rsi\n"
	"	call rt_made\n"
	"	add $8, %rsp\n"
	"	ret\n"
	"1:	call rt_child_shares\n"
	"	xor %eax, %eax\n"
	"	add $8, %rsp\n"
	"	ret\n"
	"2:	call rt_real_vfork\n"
	"	add $8, %rsp\n"
	"	jmp *%rax\n"
	".size vfork,.-vfork\n");
#endif
