/* SPDX-License-Identifier: MIT
 *
 * host.c - the controller of the host machine: starts processes, hands out operations, keeps the files. See host.h.
 */
#include "scenario/host.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define STACK_ABOVE (64UL << 10) /* what lies above the frames of those who warm up */
#define PATIENCE_MS 30000 /* for one operation: far more than any takes */

struct host {
	struct host_shared *shared;
	unsigned nr_processes;
	struct host_file *files; /* [nr_files] */
	unsigned nr_files;
	bool has_swap, reuse_main;
	const char *directory;
	char message[400];
};

/* ---- our own mappings -------------------------------------------------------------------------------------------- */

/* Private mappings of files: text is read, data written to, by those who warm up. */
static void note_ranges(struct host_shared *shared)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[600], perms[8];
	unsigned long begin, end, off, inode;

	shared->nr_ranges = 0;
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx %7s %lx %*s %lu", &begin, &end, perms, &off, &inode) != 5)
			continue;
		if (strstr(line, "[stack]") && end - begin > STACK_ABOVE)
			begin = end - STACK_ABOVE;
		else if (!inode)
			continue;
		if (perms[0] != 'r' || perms[3] != 'p' || shared->nr_ranges == HOST_MAX_RANGES)
			continue;
		shared->ranges[shared->nr_ranges++] = (struct host_range){ begin, end, perms[1] == 'w' };
	}
	if (f)
		fclose(f);
}

bool host_has_swap(void)
{
	FILE *f = fopen("/proc/swaps", "r");
	char line[300];
	int lines = 0;

	while (f && fgets(line, sizeof(line), f))
		lines++;
	if (f)
		fclose(f);
	return lines > 1;
}

struct host *host_create(void)
{
	struct host *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->shared = mmap(NULL, sizeof(*h->shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (h->shared == MAP_FAILED) {
		free(h);
		return NULL;
	}
	h->shared->uffd = host_find_runtime();
	h->shared->controller = getpid();
	note_ranges(h->shared);
	prctl(PR_SET_CHILD_SUBREAPER, 1); /* whatever a scenario leaves behind is ours to end */
	return h;
}

void host_destroy(struct host *h)
{
	munmap(h->shared, sizeof(*h->shared));
	free(h);
}

void host_reuse_main(struct host *h)
{
	h->reuse_main = true;
}

void host_set_directory(struct host *h, const char *directory)
{
	h->directory = directory;
}

/* ---- talking to processes ---------------------------------------------------------------------------------------- */

static int note_error(struct host *h, int err, const char *what)
{
	snprintf(h->message, sizeof(h->message), "%s", what);
	return err;
}

static bool has_ended(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return pidfd >= 0 && poll(&p, 1, 0) > 0;
}

/* => 0, -ESRCH it died, -ETIMEDOUT */
static int await(struct host *h, struct host_process *p, unsigned answers)
{
	const struct timespec tick = { .tv_nsec = 100000000 };
	unsigned seen;

	for (int waited = 0; (seen = atomic_load(&p->answered)) != answers; waited += 100) {
		syscall(SYS_futex, &p->answered, FUTEX_WAIT, seen, &tick, NULL, 0);
		if (atomic_load(&p->answered) == answers)
			break;
		if (has_ended(p->pidfd))
			return note_error(h, -ESRCH, "the process died");
		if (waited > PATIENCE_MS)
			return note_error(h, -ETIMEDOUT, "the process does not answer");
	}
	return 0;
}

static void ask(struct host_process *p)
{
	atomic_fetch_add(&p->asked, 1);
	syscall(SYS_futex, &p->asked, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* The process has begun to run: wait for its first word. */
static int admit(struct host *h, struct host_process *p, pid_t pid)
{
	int err;

	if (pid)
		p->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	err = await(h, p, 1);
	if (!err && !pid)
		p->pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
	if (!err && p->pidfd < 0)
		err = note_error(h, -errno, "pidfd_open");
	return err;
}

static void prepare_process(struct host_process *p)
{
	atomic_store(&p->asked, 0);
	atomic_store(&p->answered, 0);
	p->pid = 0;
	p->pidfd = -1;
	p->is_peek = p->is_reset = false;
}

/* Are there huge pages where nobody has asked for them (madvise hugepage)? */
static bool huge_pages_unasked(void)
{
	FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");
	char line[100] = "";

	if (f) {
		if (!fgets(line, sizeof(line), f))
			line[0] = 0;
		fclose(f);
	}
	return strstr(line, "[always]");
}

_Noreturn static void become_main(struct host_shared *shared, bool reuse)
{
	struct rlimit stack;
	unsigned long brk_now = (unsigned long)sbrk(0);

	prctl(PR_SET_PDEATHSIG, SIGKILL); /* in the middle of an access of years, it wouldn't see that nobody waits any more */
	if (getppid() != shared->controller)
		_exit(1);
	if (reuse)
		signal(SIGCHLD, SIG_IGN); /* its children end while it serves */
	if (huge_pages_unasked())
		prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	getrlimit(RLIMIT_STACK, &stack);
	if (stack.rlim_max == RLIM_INFINITY || stack.rlim_max >= 8 << 20)
		stack.rlim_cur = 8 << 20;
	setrlimit(RLIMIT_STACK, &stack);
	/* A page without access keeps the scenario's heap from becoming one mapping with the heap of malloc. */
	shared->processes[0].heap = ((brk_now + SCN_PAGE - 1) & ~(SCN_PAGE - 1UL)) + SCN_PAGE;
	if (brk((void *)shared->processes[0].heap) ||
	    mprotect((void *)(shared->processes[0].heap - SCN_PAGE), SCN_PAGE, PROT_NONE))
		_exit(1);
	host_serve(shared, 0);
}

static int start(void *ctx)
{
	struct host *h = ctx;
	pid_t pid;

	h->message[0] = 0;
	if (h->nr_processes)
		return 0; /* main has been kept */
	h->has_swap = host_has_swap();
	prepare_process(&h->shared->processes[0]);
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return note_error(h, -errno, "fork");
	if (pid == 0)
		become_main(h->shared, h->reuse_main);
	h->nr_processes = 1;
	return admit(h, &h->shared->processes[0], pid);
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

static struct host_file *find_file(const struct host *h, const char *name)
{
	for (unsigned i = 0; i < h->nr_files; i++)
		if (!strcmp(h->files[i].name, name))
			return &h->files[i];
	return NULL;
}

/* Where the processes find it, which may have been made before it. */
static void tell_path(const struct host *h, struct host_process *p, const char *name)
{
	const struct host_file *f = *name ? find_file(h, name) : NULL;

	p->path[0] = 0;
	if (f)
		snprintf(p->path, sizeof(p->path), "/proc/%d/fd/%d", (int)h->shared->controller, f->fd);
}

/* => 0 or an errno value; -1: the machine failed */
static int make_file(struct host *h, const struct scn_op *op)
{
	struct host_file *f = find_file(h, op->file);
	int fd;

	if (op->len > SCN_MAX_FILE)
		return EFBIG;
	if (!f) {
		struct host_file *more = realloc(h->files, (h->nr_files + 1) * sizeof(*more));

		if (!more)
			return ENOMEM;
		h->files = more;
	}
	fd = scn_file_make(h->directory, op->len, h->message, sizeof(h->message));
	if (fd < 0)
		return -1;
	if (f)
		close(f->fd);
	else
		f = &h->files[h->nr_files++];
	*f = (struct host_file){ op->file, fd };
	return 0;
}

/* Page by page, for what is read ahead, at a mark of an earlier window even here, comes in larger folios, of which a fault maps more.
 * WILLNEED brings single pages; reading waits for them. */
static int read_whole(int fd)
{
	char buffer[SCN_PAGE];
	off_t at = 0;
	ssize_t n;

	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	posix_fadvise(fd, 0, 0, POSIX_FADV_WILLNEED);
	while ((n = pread(fd, buffer, sizeof(buffer), at)) > 0)
		at += n;
	return n ? errno : 0;
}

/* warm, cold, truncate. By an opening of their own, as advice belongs to one. => 0 or an errno value */
static int change_file(const struct host *h, const struct scn_op *op)
{
	const struct host_file *f = find_file(h, op->file);
	char path[64];
	int fd, r;

	if (!f)
		return ENOENT; /* it could not be made */
	if (op->verb == SCN_TRUNCATE && op->len > SCN_MAX_FILE)
		return EFBIG;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", f->fd);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return errno;
	if (op->verb == SCN_TRUNCATE)
		r = ftruncate(fd, (off_t)op->len) ? errno : 0;
	else if (op->verb == SCN_COLD)
		r = fsync(fd) ? errno : posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	else
		r = read_whole(fd);
	close(fd);
	return r;
}

/* ---- operations -------------------------------------------------------------------------------------------------- */

static const char *unsupported(void *ctx, const struct scn_op *op)
{
	const struct host *h = ctx;

	if (op->verb == SCN_RECLAIM && !h->shared->uffd)
		return "reclaim: this kernel can't be told to evict pages of its own choice";
	if (op->verb == SCN_MADVISE && op->advice == SCN_PAGEOUT && !*op->file && !h->has_swap && !(h->shared->uffd && op->plain))
		return "madvise pageout: this machine has no swap";
	return NULL;
}

static int end_process(struct host *h, unsigned index)
{
	struct host_process *p = &h->shared->processes[index];

	ask(p);
	for (int waited = 0; !has_ended(p->pidfd); waited += 10) {
		struct pollfd fd = { .fd = p->pidfd, .events = POLLIN };

		poll(&fd, 1, 10);
		if (waited > PATIENCE_MS)
			return note_error(h, -ETIMEDOUT, "the process does not end");
	}
	close(p->pidfd);
	p->pidfd = -1;
	return 0;
}

static int run(void *ctx, unsigned process, const struct scn_op *op, struct scn_outcome *out)
{
	struct host *h = ctx;
	struct host_process *p = &h->shared->processes[op->verb == SCN_EXIT ? op->child : process];
	int err;

	if (op->verb == SCN_FILE || op->verb == SCN_WARM || op->verb == SCN_COLD || op->verb == SCN_TRUNCATE) {
		out->error = op->verb == SCN_FILE ? make_file(h, op) : change_file(h, op);
		return out->error < 0 ? -EIO : 0;
	}
	p->op = *op;
	p->is_peek = false;
	tell_path(h, p, op->file);
	if (op->verb == SCN_EXIT)
		return end_process(h, op->child);
	if (op->verb == SCN_FORK)
		prepare_process(&h->shared->processes[op->child]);
	ask(p);
	err = await(h, p, atomic_load(&p->asked) + 1);
	*out = p->out;
	if (!err && op->verb == SCN_MADVISE && op->advice == SCN_WILLNEED)
		host_await_reads(h->files, h->nr_files, p->pid, op->addr, op->len);
	if (!err && op->verb == SCN_FORK && !out->error) {
		if (op->child >= h->nr_processes)
			h->nr_processes = op->child + 1;
		err = admit(h, &h->shared->processes[op->child], 0);
	}
	return err;
}

static int peek(void *ctx, unsigned process, const struct scn_op *area, uint8_t *value)
{
	struct host *h = ctx;
	struct host_process *p = &h->shared->processes[process];

	p->op = *area;
	p->is_peek = true;
	tell_path(h, p, area->file);
	ask(p);
	if (await(h, p, atomic_load(&p->asked) + 1))
		return -EFAULT;
	*value = p->peeked;
	return p->peek_error;
}

static bool touches(unsigned long begin, unsigned long end, const struct scn_range *ranges, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		if (begin < ranges[i].end && end > ranges[i].begin)
			return true;
	return false;
}

/* smaps walks the page tables: exact, where the counters behind statm and status are allowed to lag. */
static long rss(void *ctx, unsigned process, const struct scn_range *ranges, size_t nr)
{
	const struct host *h = ctx;
	char path[64], line[600];
	unsigned long begin, end, kb;
	bool counts = false;
	long pages = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)h->shared->processes[process].pid);
	f = fopen(path, "r");
	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &begin, &end) == 2)
			counts = touches(begin, end, ranges, nr);
		else if (counts && sscanf(line, "Rss: %lu kB", &kb) == 1)
			pages += (long)(kb / (SCN_PAGE / 1024));
	}
	fclose(f);
	return pages;
}

static unsigned long heap(void *ctx, unsigned process)
{
	const struct host *h = ctx;

	return h->shared->processes[0].heap;
}

static const char *message(void *ctx)
{
	const struct host *h = ctx;

	return h->message;
}

/* => 0, or -errno: it has been ended */
static int reset_main(struct host *h)
{
	struct host_process *p = &h->shared->processes[0];
	int err;

	p->is_reset = true;
	ask(p);
	err = await(h, p, atomic_load(&p->asked) + 1);
	p->is_reset = false;
	if (err) {
		syscall(SYS_pidfd_send_signal, p->pidfd, SIGKILL, NULL, 0);
		close(p->pidfd);
		p->pidfd = -1;
	}
	return err;
}

static void finish(void *ctx)
{
	struct host *h = ctx;

	for (unsigned i = 0; i < h->nr_processes; i++) {
		struct host_process *p = &h->shared->processes[i];

		if (p->pidfd < 0)
			continue;
		if (i == 0 && h->reuse_main)
			continue;
		syscall(SYS_pidfd_send_signal, p->pidfd, SIGKILL, NULL, 0);
		while (h->reuse_main && poll(&(struct pollfd){ .fd = p->pidfd, .events = POLLIN }, 1, -1) < 0)
			;
		close(p->pidfd);
		p->pidfd = -1;
	}
	if (h->reuse_main && h->nr_processes && !reset_main(h)) {
		h->nr_processes = 1;
		while (waitpid(-1, NULL, WNOHANG) > 0) /* grandchildren that became ours */
			;
	} else {
		h->nr_processes = 0;
		while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
			;
	}
	for (unsigned i = 0; i < h->nr_files; i++)
		close(h->files[i].fd);
	free(h->files);
	h->files = NULL;
	h->nr_files = 0;
}

const struct scn_machine host_machine = {
	SCN_HOST, start, unsupported, run, peek, rss, heap, message, finish,
};

static const struct scn_machine uffd_machine = {
	SCN_UFFD, start, unsupported, run, peek, rss, heap, message, finish,
};

const struct scn_machine *host_machine_here(const struct host *h)
{
	return h->shared->uffd ? &uffd_machine : &host_machine;
}
