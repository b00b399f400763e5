/* SPDX-License-Identifier: MIT
 *
 * child.c - a process of the host machine: does one operation at a time and counts its faults. See host.h.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "run/control.h"
#include "scenario/host.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif

/* Not in .bss, which the engine manages under `minflt run`. */
#define IN_DATA __attribute__((section(".data")))

static struct host_process *self IN_DATA = NULL;
static sigjmp_buf *landing IN_DATA = NULL;
static const struct mf_counters *(*run_counters)(void)IN_DATA = NULL;
static unsigned long (*run_reclaim)(unsigned long nr)IN_DATA = NULL;
static int (*run_residency)(const void *addr)IN_DATA = NULL;

bool host_find_runtime(void)
{
	run_counters = (const struct mf_counters *(*)(void))dlsym(RTLD_DEFAULT, "mf_run_counters");
	run_reclaim = (unsigned long (*)(unsigned long))dlsym(RTLD_DEFAULT, "mf_run_reclaim");
	run_residency = (int (*)(const void *))dlsym(RTLD_DEFAULT, "mf_run_residency");
	if (!run_counters || !run_reclaim || !run_residency || !run_counters())
		run_counters = NULL;
	return run_counters;
}

/* ---- no faults of our own ---------------------------------------------------------------------------------------- */

__attribute__((noinline)) static void touch_stack(void)
{
	volatile char room[64 << 10];

	for (size_t i = 0; i < sizeof(room); i += 512)
		room[i] = 0;
}

/* A fork leaves the child without entries for text and shared memory, and both sides with read-only ones for data and
 * stack. The OR with 0 is atomic: other threads (of the runtime) may be at work on the same page. */
static void warm_up(const struct host_shared *shared)
{
	for (unsigned i = 0; i < shared->nr_ranges; i++) {
		const struct host_range *r = &shared->ranges[i];

		for (unsigned long at = r->begin; at < r->end; at += SCN_PAGE) {
			if (r->write)
				atomic_fetch_or((_Atomic unsigned char *)at, 0);
			else
				(void)*(volatile const unsigned char *)at;
		}
	}
	for (size_t i = 0; i < sizeof(*self); i += SCN_PAGE)
		atomic_fetch_or((_Atomic unsigned char *)self + i, 0);
	atomic_fetch_or((_Atomic int *)&errno, 0);
	touch_stack();
}

struct count {
	uint64_t minor, major;
};

static struct count count_faults(bool by_engine)
{
	struct rusage usage;

	if (by_engine) {
		const struct mf_counters *c = run_counters();

		return (struct count){ c->mm.min_flt, c->mm.maj_flt };
	}
	getrusage(RUSAGE_THREAD, &usage);
	return (struct count){ (uint64_t)usage.ru_minflt, (uint64_t)usage.ru_majflt };
}

/* ---- accesses ---------------------------------------------------------------------------------------------------- */

static enum scn_signal which_signal(int signo, int code)
{
	if (signo == SIGSEGV && code == SEGV_MAPERR)
		return SCN_SEGV_MAPERR;
	if (signo == SIGSEGV && code == SEGV_ACCERR)
		return SCN_SEGV_ACCERR;
	if (signo == SIGBUS && code == BUS_ADRERR)
		return SCN_BUS_ADRERR;
	return SCN_OTHER_SIGNAL;
}

static void on_signal(int signo, siginfo_t *info, void *context)
{
	if (!landing) {
		signal(signo, SIG_DFL); /* a fault of ours: repeat it and die */
		return;
	}
	self->out.signal = which_signal(signo, info->si_code);
	self->out.at = (unsigned long)info->si_addr;
	siglongjmp(*landing, 1);
}

static void catch_signals(void)
{
	const stack_t stack = { .ss_sp = self->alt_stack, .ss_size = sizeof(self->alt_stack) };
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };

	sigaltstack(&stack, NULL);
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
}

/* One byte a page. Sanitizers keep a shadow, whose faults would be counted: none here. */
__attribute__((noinline, no_sanitize("address", "undefined"))) static void access_pages(const struct scn_op *op)
{
	sigjmp_buf here;

	if (sigsetjmp(here, 0) == 0) {
		landing = &here;
		for (size_t o = 0; o < op->len; o += SCN_PAGE) {
			volatile unsigned char *at = (volatile unsigned char *)(op->addr + o);

			if (op->verb == SCN_WRITE)
				*at = op->value;
			else
				self->out.sum = self->out.sum * 0x100000001b3ULL + *at + 1;
		}
	}
	landing = NULL;
}

/* Every page, whatever it raises: the signal counts into the sum. */
static void sweep_pages(const struct scn_op *op)
{
	struct scn_op one = *op;
	uint64_t sum = 0;

	one.verb = SCN_READ;
	one.len = 1;
	for (size_t o = 0; o < op->len; o += SCN_PAGE) {
		one.addr = op->addr + o;
		self->out.sum = 0;
		self->out.signal = SCN_NO_SIGNAL;
		access_pages(&one);
		sum = sum * 0x100000001b3ULL + (self->out.signal ? 1000 + self->out.signal : self->out.sum);
	}
	self->out.signal = SCN_NO_SIGNAL;
	self->out.at = 0;
	self->out.sum = sum;
}

/* ---- calls ------------------------------------------------------------------------------------------------------- */

static int host_prot(unsigned prot)
{
	return (prot & SCN_R ? PROT_READ : 0) | (prot & SCN_W ? PROT_WRITE : 0) | (prot & SCN_X ? PROT_EXEC : 0);
}

static int host_advice(enum scn_advice advice)
{
	static const int table[] = {
		[SCN_NORMAL] = MADV_NORMAL,
		[SCN_RANDOM] = MADV_RANDOM,
		[SCN_SEQUENTIAL] = MADV_SEQUENTIAL,
		[SCN_WILLNEED] = MADV_WILLNEED,
		[SCN_DONTNEED] = MADV_DONTNEED,
		[SCN_FREE] = MADV_FREE,
		[SCN_PAGEOUT] = MADV_PAGEOUT,
		[SCN_COLD_PAGES] = MADV_COLD,
		[SCN_POPULATE_READ] = MADV_POPULATE_READ,
		[SCN_POPULATE_WRITE] = MADV_POPULATE_WRITE,
		[SCN_DONTFORK] = MADV_DONTFORK,
		[SCN_DOFORK] = MADV_DOFORK,
		[SCN_WIPEONFORK] = MADV_WIPEONFORK,
		[SCN_KEEPONFORK] = MADV_KEEPONFORK,
		[SCN_HUGEPAGE] = MADV_HUGEPAGE,
		[SCN_NOHUGEPAGE] = MADV_NOHUGEPAGE,
	};

	return table[advice];
}

/* => 0 or -1 with errno */
static int call_mmap(const struct scn_op *op, int fd)
{
	int flags = op->flags & SCN_SHARED ? MAP_SHARED : MAP_PRIVATE;

	flags |= op->flags & SCN_AT ? MAP_FIXED : MAP_FIXED_NOREPLACE;
	flags |= op->flags & SCN_GROWSDOWN ? MAP_GROWSDOWN : 0;
	flags |= op->flags & SCN_POPULATE ? MAP_POPULATE : 0;
	flags |= op->flags & SCN_NORESERVE ? MAP_NORESERVE : 0;
	flags |= fd < 0 ? MAP_ANONYMOUS : 0;
	return mmap((void *)op->addr, op->len, host_prot(op->prot), flags, fd, fd < 0 ? 0 : op->file_off) == MAP_FAILED
		       ? -1
		       : 0;
}

static int call_mremap(const struct scn_op *op)
{
	void *to;

	if (op->flags & SCN_AT)
		to = mremap((void *)op->addr, op->len, op->new_len, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)op->to);
	else
		to = mremap((void *)op->addr, op->len, op->new_len, 0);
	self->out.result = (unsigned long)to;
	return to == MAP_FAILED ? -1 : 0;
}

/* libc's brk() keeps the break in a variable of its own, which costs a fault after each fork; the runtime's has to be
 * used where it is. */
static int call_brk(const struct scn_op *op)
{
	if (run_counters)
		return brk((void *)op->addr);
	errno = ENOMEM;
	return (unsigned long)syscall(SYS_brk, op->addr) == op->addr ? 0 : -1;
}

/* read(2) and write(2) of the file behind fd, page by page, so that no larger folios come into the page cache. Nothing grows. The bytes
 * transferred are the result; an error that stops it after the first is not one, as with the calls themselves. */
static int call_transfer(const struct scn_op *op, int fd)
{
	off_t size = lseek(fd, 0, SEEK_END);
	size_t done = 0;

	if (op->verb == SCN_PWRITE && (off_t)(op->new_len + op->len) > size) {
		errno = EINVAL;
		return -1;
	}
	while (done < op->len) {
		size_t room = SCN_PAGE - (op->addr + done) % SCN_PAGE, n = op->len - done < room ? op->len - done : room;
		void *at = (void *)(op->addr + done);
		off_t off = (off_t)(op->new_len + done);
		ssize_t r = op->verb == SCN_PREAD ? pread(fd, at, n, off) : pwrite(fd, at, n, off);

		if (r < 0 && !done)
			return -1;
		if (r > 0)
			done += (size_t)r;
		if (r != (ssize_t)n)
			break;
	}
	self->out.result = done;
	return 0;
}

static int call_mincore(const struct scn_op *op)
{
	size_t nr = (op->len + SCN_PAGE - 1) / SCN_PAGE;

	if (!nr) /* the address is looked at all the same */
		return mincore((void *)op->addr, 0, NULL);
	for (size_t i = 0; i < nr; i++) {
		unsigned char vec;

		if (mincore((void *)(op->addr + i * SCN_PAGE), SCN_PAGE, &vec))
			return -1;
		self->out.result += vec & 1;
		self->out.sum = self->out.sum * 2 + (vec & 1);
	}
	return 0;
}

static void reclaim(unsigned long nr)
{
	while (nr) {
		unsigned long done = run_reclaim(nr);

		if (!done)
			break;
		nr -= done < nr ? done : nr;
	}
}

/* => 0 or -1 with errno */
static int call(const struct scn_op *op, int fd)
{
	void *at = (void *)op->addr;

	switch (op->verb) {
	case SCN_MMAP: return call_mmap(op, fd);
	case SCN_MUNMAP: return munmap(at, op->len);
	case SCN_MPROTECT: return mprotect(at, op->len, host_prot(op->prot));
	case SCN_MREMAP: return call_mremap(op);
	case SCN_MADVISE: return madvise(at, op->len, host_advice(op->advice));
	case SCN_MSYNC: return msync(at, op->len, MS_SYNC);
	case SCN_MLOCK: return mlock(at, op->len);
	case SCN_MUNLOCK: return munlock(at, op->len);
	case SCN_REMAP_FILE_PAGES: return (int)syscall(SYS_remap_file_pages, at, op->len, 0, op->new_len, 0);
	case SCN_BRK: return call_brk(op);
	case SCN_PREAD:
	case SCN_PWRITE: return call_transfer(op, fd);
	case SCN_MINCORE: return call_mincore(op);
	case SCN_RECLAIM: reclaim(op->len); return 0;
	default: errno = ENOSYS; return -1;
	}
}

/* Not inlined: what it keeps on the stack would stand in the caller's frame, above what warm_up() has touched, and where a page ends in
 * between, the first access after a fork would copy that page as well. */
__attribute__((noinline)) static void operate(void)
{
	const struct scn_op *op = &self->op;
	bool by_engine = run_counters && (op->plain || op->verb == SCN_RECLAIM);
	bool needs_file = op->verb == SCN_MMAP || op->verb == SCN_PREAD || op->verb == SCN_PWRITE;
	int fd = needs_file && *self->path ? open(self->path, O_RDWR | O_CLOEXEC) : -1;
	struct count before = count_faults(by_engine), after;

	if (op->verb == SCN_READ || op->verb == SCN_WRITE)
		access_pages(op);
	else if (op->verb == SCN_SWEEP)
		sweep_pages(op);
	else
		self->out.error = call(op, fd) ? errno : 0;
	after = count_faults(by_engine);
	self->out.min_flt = after.minor - before.minor;
	self->out.maj_flt = after.major - before.major;
	if (fd >= 0)
		close(fd);
}

/* ---- looking without touching ------------------------------------------------------------------------------------ */

/* => 0 or -errno */
static int read_at(const char *path, uint64_t off, void *to, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = pread(fd, to, len, (off_t)off);
	close(fd);
	return n == (ssize_t)len ? 0 : -EFAULT;
}

/* Is there a page or a swapped one? Neither of the two ways of asking brings it in. */
static bool is_there(const struct scn_op *op)
{
	uint64_t entry = 0;

	if (run_counters && op->plain)
		return run_residency((void *)op->addr) != MM_NONE;
	read_at("/proc/self/pagemap", op->addr / SCN_PAGE * 8, &entry, 8);
	return entry >> 62;
}

/* A page in the engine's swap can't be read through /proc: the kernel doesn't wait for userfaultfd there. => false: no
 * right to read */
static bool load(const struct scn_op *op, uint8_t *value)
{
	struct scn_op one = *op;

	self->out = (struct scn_outcome){ 0 };
	one.verb = SCN_READ;
	one.len = 1;
	access_pages(&one);
	*value = (uint8_t)(self->out.sum - 1);
	return !self->out.signal;
}

/* A page that was not there must not be there afterwards. Private anonymous memory without a page is zero; a file can
 * be read beside the mapping; shared memory comes in and is dropped again, which costs it nothing but the entry. */
static int peek(const struct scn_op *op, uint8_t *value)
{
	void *page = (void *)(op->addr & ~(SCN_PAGE - 1UL));
	unsigned char vec;
	int err;

	*value = 0;
	if (mincore(page, SCN_PAGE, &vec))
		return -EFAULT;
	if (is_there(op)) {
		if (run_counters && op->plain && load(op, value))
			return 0;
		return read_at("/proc/self/mem", op->addr, value, 1);
	}
	if (*self->path)
		return read_at(self->path, (uint64_t)op->file_off, value, 1);
	if (!(op->flags & SCN_SHARED))
		return 0;
	err = read_at("/proc/self/mem", op->addr, value, 1);
	madvise(page, SCN_PAGE, MADV_DONTNEED);
	return err;
}

/* ---- serving ----------------------------------------------------------------------------------------------------- */

static void answer(void)
{
	atomic_fetch_add(&self->answered, 1);
	syscall(SYS_futex, &self->answered, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void settle(struct host_shared *shared, unsigned index)
{
	self = &shared->processes[index];
	self->pid = (pid_t)syscall(SYS_getpid);
	catch_signals();
	warm_up(shared);
	answer();
}

/* The child answers for itself; the controller waits for both. */
static void do_fork(struct host_shared *shared)
{
	pid_t pid = fork();

	if (pid == 0) {
		settle(shared, self->op.child);
		return;
	}
	self->out.error = pid < 0 ? errno : 0;
	warm_up(shared);
	answer();
}

/* Everything that a scenario can have mapped: the plan's addresses grow from its begin, far below the process's own. */
static void reset(void)
{
	munmap((void *)SCN_PLAN_BEGIN, (64UL << 30) - SCN_PLAN_BEGIN);
	if ((unsigned long)syscall(SYS_brk, self->heap) != self->heap)
		_exit(0); /* it doesn't fall when its end has been unmapped: a new process then */
}

void host_serve(struct host_shared *shared, unsigned index)
{
	settle(shared, index);
	for (;;) {
		unsigned done = atomic_load(&self->answered) - 1; /* the first answer was to no question */

		while (atomic_load(&self->asked) == done) {
			const struct timespec patience = { .tv_sec = 5 };

			if (!syscall(SYS_futex, &self->asked, FUTEX_WAIT, done, &patience, NULL, 0) || errno != ETIMEDOUT)
				continue;
			if (syscall(SYS_kill, shared->controller, 0))
				_exit(1); /* nobody is left to ask */
		}
		self->out = (struct scn_outcome){ 0 };
		if (self->is_reset) {
			reset();
			answer();
		} else if (self->is_peek) {
			self->peek_error = peek(&self->op, &self->peeked);
			answer();
		} else if (self->op.verb == SCN_FORK) {
			do_fork(shared);
		} else if (self->op.verb == SCN_EXIT) {
			_exit(0);
		} else {
			operate();
			answer();
		}
	}
}
