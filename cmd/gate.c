/* SPDX-License-Identifier: MIT
 *
 * gate.c - the program does not run unmanaged; gate.h tells how.
 */
#include "cmd/gate.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/cmd.h"

#if defined(__x86_64__)
#define BREAKPOINT      0xccL /* int3: one byte, and the program counter stands behind it */
#define BREAKPOINT_MASK 0xffL
#else
#error "cmd/gate.c has no breakpoint for this architecture yet"
#endif

bool gate_enter(void)
{
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
		return false;
	return raise(SIGSTOP) == 0;
}

static void refuse(struct gate *g, const char *reason)
{
	g->state = GATE_REFUSED;
	g->reason = reason;
	kill(g->pid, SIGKILL);
}

/* Trace no longer. A stop that the tracing swallowed is sent again, to a program that is now like any other. */
static void let_go(struct gate *g, enum gate_state next, int sig)
{
	g->state = next;
	ptrace(PTRACE_DETACH, g->pid, NULL, (void *)(long)sig);
	if (g->owes_stop)
		kill(g->pid, g->owes_stop);
}

static void go_on(const struct gate *g, int sig)
{
	ptrace(PTRACE_CONT, g->pid, NULL, (void *)(long)sig);
}

/* => false: not readable */
static bool read_auxv(pid_t pid, unsigned long *secure, unsigned long *base, unsigned long *entry)
{
	char name[64];
	Elf64_auxv_t aux[64];
	ssize_t n;
	int fd;

	snprintf(name, sizeof(name), "/proc/%d/auxv", (int)pid);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, aux, sizeof(aux));
	close(fd);
	*secure = *base = *entry = 0;
	for (size_t i = 0; n > 0 && i < (size_t)n / sizeof(aux[0]); i++) {
		if (aux[i].a_type == AT_SECURE)
			*secure = aux[i].a_un.a_val;
		else if (aux[i].a_type == AT_BASE)
			*base = aux[i].a_un.a_val;
		else if (aux[i].a_type == AT_ENTRY)
			*entry = aux[i].a_un.a_val;
	}
	return *entry != 0;
}

/* execve() has succeeded, no instruction of the new image has run. */
static void at_exec(struct gate *g)
{
	unsigned long secure, base;

	if (!read_auxv(g->pid, &secure, &base, &g->entry)) {
		let_go(g, GATE_POLLING, 0);
		return;
	}
	if (secure) {
		refuse(g, "the system runs it with other privileges and ignores the preloaded runtime; run it as its owner, or a copy without the privilege");
		return;
	}
	if (!base) {
		refuse(g, "it has no dynamic linker, so the runtime cannot be preloaded; use a dynamically linked build");
		return;
	}
	errno = 0;
	g->text = ptrace(PTRACE_PEEKTEXT, g->pid, (void *)g->entry, NULL);
	if (errno || ptrace(PTRACE_POKETEXT, g->pid, (void *)g->entry, (void *)((g->text & ~BREAKPOINT_MASK) | BREAKPOINT))) {
		let_go(g, GATE_POLLING, 0);
		return;
	}
	g->state = GATE_ENTRY;
	go_on(g, 0);
}

/* => true: this SIGTRAP is our breakpoint, and the program stands before its first instruction again */
static bool at_entry(const struct gate *g)
{
	struct user_regs_struct regs;

	if (ptrace(PTRACE_GETREGS, g->pid, NULL, &regs) || regs.rip != g->entry + 1)
		return false;
	regs.rip = g->entry;
	return ptrace(PTRACE_POKETEXT, g->pid, (void *)g->entry, (void *)g->text) == 0 &&
	       ptrace(PTRACE_SETREGS, g->pid, NULL, &regs) == 0;
}

static bool reported(const struct gate *g)
{
	return atomic_load_explicit(&g->control->state, memory_order_acquire) != MF_STATE_ASKED;
}

#define UNREPORTED "the runtime did not report for duty before the program's first instruction; the dynamic linker did not load it ('minflt doctor' tries it out)"

/* A stop that is none of the gate's own: a signal on its way to the program, or a job-control stop. */
static void other_stop(struct gate *g, int sig)
{
	siginfo_t info;

	if (ptrace(PTRACE_GETSIGINFO, g->pid, NULL, &info) && errno == EINVAL) {
		g->owes_stop = sig;
		go_on(g, 0);
		return;
	}
	go_on(g, sig);
}

void gate_stopped(struct gate *g, int wait_status)
{
	const int sig = WSTOPSIG(wait_status);

	switch (g->state) {
	case GATE_HANDSHAKE:
		if (sig != SIGSTOP) {
			other_stop(g, sig);
			return;
		}
		g->state = GATE_EXEC;
		ptrace(PTRACE_SETOPTIONS, g->pid, NULL, (void *)(long)(PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL));
		go_on(g, 0);
		return;
	case GATE_EXEC:
		if (wait_status >> 8 == (SIGTRAP | (PTRACE_EVENT_EXEC << 8)))
			at_exec(g);
		else
			other_stop(g, sig);
		return;
	case GATE_ENTRY:
		if (wait_status >> 8 == (SIGTRAP | (PTRACE_EVENT_EXEC << 8)))
			refuse(g, UNREPORTED); /* a constructor has replaced the program */
		else if (sig != SIGTRAP || !at_entry(g))
			other_stop(g, sig);
		else if (reported(g))
			let_go(g, GATE_OPEN, 0);
		else
			refuse(g, UNREPORTED);
		return;
	default:
		go_on(g, 0); /* REFUSED: SIGKILL is on its way */
	}
}

void gate_tick(struct gate *g, double seconds)
{
	if (g->state == GATE_OPEN || g->state == GATE_REFUSED)
		return;
	if (g->state == GATE_POLLING && reported(g)) {
		g->state = GATE_OPEN;
		return;
	}
	if (seconds > (g->state == GATE_POLLING ? GATE_PATIENCE_POLLING : GATE_PATIENCE))
		refuse(g, "the runtime did not report for duty in time, and the program was killed");
}
