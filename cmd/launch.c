/* SPDX-License-Identifier: MIT
 *
 * launch.c - start the program with the runtime preloaded, wait for it, and tell how it went.
 *
 * Signals: those that the terminal sends reach the program by itself, as it is in the same process group. What is sent to minflt alone (TERM,
 * HUP, USR1, USR2, and INT, QUIT and TSTP by kill(2)) is passed on. A kill(2) of the whole group looks the same (si_code is SI_USER, and the sender may be
 * anybody), so what it sends reaches the program twice; not to pass it on would lose what was meant for minflt alone. When the terminal stops the program, minflt stops too, so that the shell sees it;
 * when minflt is continued, so is the program. All of them are blocked and taken one by one: no handler, no race.
 */
#include "cmd/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/compressor.h"
#include "cmd/gate.h"
#include "cmd/guard.h"
#include "cmd/progress.h"
#include "cmd/tree_watch.h"
#include "lib/tree.h"

extern char **environ;

#define LOOK_FIRST_MS  10
#define LOOK_LAST_MS   1000
#define LOOK_WAITS_MS  200
#define INHERITED_FROM 200 /* programs that count on low numbers find them free */

static const int waited[] = { SIGCHLD, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGINT, SIGQUIT, SIGTSTP };

/* What the child has to tell when it could not execute the program; shared memory. */
struct child_report {
	int exec_errno;
	int setup_errno;
	bool polling;
};

struct run {
	const struct launch *l;
	struct outcome *out;
	struct gate gate;
	struct child_report *report;
	struct timespec start;
	sigset_t set, old_set;
	struct sigaction old_chld;
	long look_ms;       /* time to the next look at the tree */
	bool told_waiting;  /* that the program waits for room */
	bool owes_continue; /* minflt had stopped along with the program */
	bool over;
};

struct mf_control *control_create(int *fd, const struct mf_request *request)
{
	const char *preload = getenv("LD_PRELOAD");
	struct mf_control *c;
	int memfd = memfd_create("minflt-control", MFD_CLOEXEC | 0x8 /* MFD_NOEXEC_SEAL, Linux 6.3 */);

	if (memfd < 0 && errno == EINVAL)
		memfd = memfd_create("minflt-control", MFD_CLOEXEC);
	memfd = fd_raise(memfd);
	if (memfd < 0) {
		errno = -memfd;
		return NULL;
	}
	if (ftruncate(memfd, (off_t)control_bytes(request)))
		goto failed;
	c = mmap(NULL, control_bytes(request), PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	if (c == MAP_FAILED)
		goto failed;
	c->magic = MF_CONTROL_MAGIC;
	c->version = MF_CONTROL_VERSION;
	c->request = *request;
	if (preload) {
		c->had_ld_preload = 1;
		snprintf(c->ld_preload, sizeof(c->ld_preload), "%s", preload);
	}
	*fd = memfd;
	return c;
failed:
	close(memfd);
	return NULL;
}

/* A copy that the program inherits, at a number that it hardly uses itself. => -1 with errno */
static int inheritable(int fd)
{
	for (int from = INHERITED_FROM; from > STDERR_FILENO; from /= 2) {
		int high = fcntl(fd, F_DUPFD, from);

		if (high >= 0)
			return high;
		if (errno != EINVAL && errno != EMFILE)
			return -1; /* those two: RLIMIT_NOFILE is below, try lower */
	}
	return fcntl(fd, F_DUPFD, STDERR_FILENO + 1);
}

static int set_environment(int runtime_fd, int control_fd, int swap_fd, const struct mf_control *c)
{
	char preload[sizeof(c->ld_preload) + 64], control[48];

	snprintf(preload, sizeof(preload), "/proc/self/fd/%d%s%s", runtime_fd, c->had_ld_preload && c->ld_preload[0] ? ":" : "",
		 c->had_ld_preload ? c->ld_preload : "");
	snprintf(control, sizeof(control), swap_fd < 0 ? "%d:%d" : "%d:%d:%d", control_fd, runtime_fd, swap_fd);
	return setenv("LD_PRELOAD", preload, 1) || setenv("MINFLT_CONTROL", control, 1) ? -1 : 0;
}

static void silence(void)
{
	int null = open("/dev/null", O_RDWR);

	if (null < 0)
		return;
	dup2(null, STDOUT_FILENO);
	dup2(null, STDERR_FILENO);
	if (null > STDERR_FILENO)
		close(null);
}

_Noreturn static void child(struct run *run, pid_t parent)
{
	const struct launch *l = run->l;
	int runtime_fd = -1, control_fd = -1, swap_fd = -1;

	/* If minflt is killed, nobody would be left to tell what happened: the program goes too. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent)
		_exit(EXIT_MINFLT);
	run->report->polling = !gate_enter();
	runtime_fd = inheritable(l->runtime_fd);
	control_fd = runtime_fd < 0 ? -1 : inheritable(l->control_fd);
	if (control_fd >= 0 && l->swap_fd >= 0)
		swap_fd = inheritable(l->swap_fd);
	if (control_fd < 0 || (l->swap_fd >= 0 && swap_fd < 0) || set_environment(runtime_fd, control_fd, swap_fd, l->control)) {
		run->report->setup_errno = errno;
		_exit(EXIT_MINFLT);
	}
	if (l->silent)
		silence();
	sigaction(SIGCHLD, &run->old_chld, NULL);
	sigprocmask(SIG_SETMASK, &run->old_set, NULL);
	execve(l->path, l->argv, environ);
	run->report->exec_errno = errno;
	_exit(EXIT_MINFLT);
}

static double seconds_since(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) / 1e9;
}

/* The terminal has stopped the program: as a job, minflt stops with it. Who stops the program alone by SIGSTOP will continue it alone, and
 * would leave minflt behind stopped. */
static void stop_along(struct run *run, int sig)
{
	if (sig == SIGSTOP)
		return;
	progress_erase();
	raise(SIGSTOP);
	run->owes_continue = true;
}

static void reap(struct run *run)
{
	struct gate *g = &run->gate;
	int status;

	for (;;) {
		pid_t pid = wait4(g->pid, &status, WNOHANG | WUNTRACED | WCONTINUED, &run->out->usage);

		if (pid <= 0) {
			/* minflt alone was continued. (Continued as a group, the program is on its way already, and a late SIGCONT could
			 * undo the next stop.) */
			if (run->owes_continue)
				kill(g->pid, SIGCONT);
			run->owes_continue = false;
			return;
		}
		if (WIFCONTINUED(status)) {
			run->owes_continue = false;
			continue;
		}
		if (!WIFSTOPPED(status)) {
			run->out->wait_status = status;
			run->out->seconds = seconds_since(&run->start);
			run->over = true;
			return;
		}
		if (g->state == GATE_HANDSHAKE && run->report->polling)
			g->state = GATE_POLLING;
		if (g->state == GATE_POLLING || g->state == GATE_OPEN)
			stop_along(run, WSTOPSIG(status));
		else
			gate_stopped(g, status);
	}
}

static void pass_on(const struct run *run, const siginfo_t *info)
{
	switch (info->si_signo) {
	case SIGCHLD:
		return;
	case SIGINT:
	case SIGQUIT:
	case SIGTSTP:
		if (info->si_code > 0)
			return; /* the terminal has sent it to the program as well */
		break;
	default:
		break;
	}
	kill(run->gate.pid, info->si_signo);
}

/* Soon after the start, then ever more seldom. */
static void look(struct run *run)
{
	tree_watch(run->l->control, run->l->control_fd);
	run->look_ms = run->look_ms * 2 < LOOK_LAST_MS ? run->look_ms * 2 : LOOK_LAST_MS;
}

/* Once: nobody would know why the program stands still. */
static void look_at_waits(struct run *run)
{
	const struct mf_control *c = run->l->control;

	if (!c->request.full_waits || run->told_waiting || !atomic_load_explicit(&c->waits, memory_order_relaxed))
		return;
	run->told_waiting = true;
	complain(0, "%s: memory%s full, and the program waits until there is room; end it, or let something of it end", run->l->name,
		 c->request.swap_bytes ? " and the swap file are" : " is");
}

static struct timespec next_look(const struct run *run)
{
	long ms = 200;

	if (run->gate.state == GATE_POLLING || run->gate.state == GATE_HANDSHAKE)
		ms = 5; /* the program may be running without the runtime */
	else if (run->gate.state == GATE_OPEN)
		ms = run->look_ms;
	if (run->l->control->request.full_waits && !run->told_waiting && ms > LOOK_WAITS_MS)
		ms = LOOK_WAITS_MS;
	if (run->l->progress && ms > PROGRESS_MS)
		ms = PROGRESS_MS;
	return (struct timespec){ ms / 1000, ms % 1000 * 1000000L };
}

static void supervise(struct run *run)
{
	struct gate *g = &run->gate;

	while (!run->over) {
		siginfo_t info;
		struct timespec tick;
		int sig;

		tick = next_look(run);
		look_at_waits(run);
		sig = sigtimedwait(&run->set, &info, &tick);
		if (sig < 0 && g->state == GATE_OPEN)
			look(run);
		if (run->l->progress && g->state == GATE_OPEN)
			progress_show(run->l->control);
		if (sig > 0)
			pass_on(run, &info);
		if (g->state == GATE_HANDSHAKE && run->report->polling)
			g->state = GATE_POLLING;
		reap(run);
		if (!run->over)
			gate_tick(g, seconds_since(&run->start));
	}
}

static void block_signals(struct run *run)
{
	const struct sigaction dfl = { .sa_handler = SIG_DFL };

	sigemptyset(&run->set);
	for (size_t i = 0; i < sizeof(waited) / sizeof(waited[0]); i++)
		sigaddset(&run->set, waited[i]);
	sigprocmask(SIG_BLOCK, &run->set, &run->old_set);
	/* Ignored (a parent may leave it so), children would vanish without a status. */
	sigaction(SIGCHLD, &dfl, &run->old_chld);
}

static void unblock_signals(struct run *run)
{
	const struct timespec at_once = { 0, 0 };

	/* What came too late for the program must not end minflt before the summary. */
	while (sigtimedwait(&run->set, NULL, &at_once) > 0)
		;
	sigaction(SIGCHLD, &run->old_chld, NULL);
	sigprocmask(SIG_SETMASK, &run->old_set, NULL);
}

static void __attribute__((format(printf, 3, 4))) fail(struct outcome *out, int status, const char *fmt, ...)
{
	va_list ap;

	out->status = status;
	va_start(ap, fmt);
	vsnprintf(out->why, sizeof(out->why), fmt, ap);
	va_end(ap);
}

/* The program could not be executed. */
static void exec_failed(struct outcome *out, const struct launch *l, int err)
{
	if (err == ENOEXEC)
		fail(out, EXIT_NOT_EXEC, "%s: is neither an ELF program nor a script that begins with #!; name its interpreter", l->name);
	else if (err == E2BIG)
		fail(out, EXIT_NOT_EXEC, "%s: the arguments and the environment are too long; make them shorter", l->name);
	else if (err == ENOENT)
		fail(out, EXIT_MISSING, "%s: no such program, or its interpreter is missing", l->name);
	else
		fail(out, EXIT_NOT_EXEC, "%s: cannot be executed: %s", l->name, strerror(err));
}

/* The first line of what the runtime said, for a line of ours. */
static void first_line(const struct mf_control *c, char *buf, size_t len)
{
	size_t n = strnlen(c->message, sizeof(c->message));
	const char *nl = memchr(c->message, '\n', n);

	if (nl)
		n = (size_t)(nl - c->message);
	snprintf(buf, len, "%.*s", (int)n, n ? c->message : "it did not say why");
}

static void judge(struct run *run)
{
	const struct launch *l = run->l;
	struct outcome *out = run->out;
	const uint32_t state = atomic_load_explicit(&l->control->state, memory_order_acquire);
	const int ws = out->wait_status;
	char text[1024];

	if (run->report->setup_errno) {
		fail(out, EXIT_MINFLT, "%s: cannot be prepared: %s; raise the limits of this process (ulimit -n)", l->name,
				       strerror(run->report->setup_errno));
	} else if (run->report->exec_errno) {
		exec_failed(out, l, run->report->exec_errno);
	} else if (run->gate.state == GATE_REFUSED) {
		fail(out, EXIT_MINFLT, "%s: %s", l->name, run->gate.reason);
	} else if (state == MF_STATE_ASKED && WIFSIGNALED(ws)) {
		fail(out, EXIT_MINFLT, "%s: the runtime did not report for duty: the program died of signal %d (%s) before; 'minflt doctor' tries the runtime out",
				       l->name,
				       WTERMSIG(ws), strsignal(WTERMSIG(ws)));
	} else if (state == MF_STATE_ASKED) {
		fail(out, EXIT_MINFLT, "%s: the runtime did not report for duty: the program ended with status %d before; 'minflt doctor' tries the runtime out",
				       l->name, WEXITSTATUS(ws));
	} else if (state == MF_STATE_FAILED) {
		first_line(l->control, text, sizeof(text));
		fail(out, EXIT_MINFLT, "%s: the runtime could not start: %s%s", l->name, text,
		     strchr(text, ';') ? "" : "; 'minflt doctor' looks at the limits and tries the runtime out");
	} else {
		out->ran = true;
		out->status = WIFSIGNALED(ws) ? 128 + WTERMSIG(ws) : WEXITSTATUS(ws);
	}
}

void launch(const struct launch *l, struct outcome *out)
{
	struct run run = { .l = l, .out = out, .look_ms = LOOK_FIRST_MS,
			   .gate = { .state = GATE_HANDSHAKE, .control = l->control } };
	const pid_t parent = getpid();
	pid_t pid;

	memset(out, 0, sizeof(*out));
	out->status = EXIT_MINFLT;
	run.report = mmap(NULL, sizeof(*run.report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (run.report == MAP_FAILED) {
		fail(out, EXIT_MINFLT, "no memory for minflt itself: %s; raise the limits of this process (ulimit -v)", strerror(errno));
		return;
	}
	tree_at_home(true);
	block_signals(&run);
	clock_gettime(CLOCK_MONOTONIC, &run.start);
	pid = fork();
	if (pid == 0)
		child(&run, parent);
	if (pid < 0) {
		fail(out, EXIT_MINFLT, "cannot start a process: %s; raise the limits of this user (ulimit -u)", strerror(errno));
	} else {
		run.gate.pid = pid;
		compressor_start(l->control);
		guard_start(l->control, l->control_fd);
		supervise(&run);
		progress_erase();
		guard_stop();
		compressor_stop();
		judge(&run);
		tree_end(l->control, pid);
	}
	unblock_signals(&run);
	munmap(run.report, sizeof(*run.report));
}
