/* SPDX-License-Identifier: MIT
 *
 * gate.h - the program does not run unmanaged.
 *
 * A dynamic linker that can't or won't load the preloaded runtime says at most a line about it and starts the program without. So the
 * command stops the program twice by ptrace(2): when execve() has succeeded (has the kernel announced a secure execution? is there a dynamic linker at
 * all?), and at the program's entry point, which the dynamic linker jumps to when the constructors of all libraries, the runtime's among them, are
 * done. If the runtime has not reported for duty by then, the program is killed before it has run an instruction of its own. Then the
 * command lets go: it traces nothing while the program runs.
 *
 *   HANDSHAKE --SIGSTOP--> EXEC --execve()--> ENTRY --breakpoint--> OPEN
 *
 * Where ptrace is forbidden (a seccomp profile, a tracer that is already there), the gate only looks at the control page every few
 * milliseconds, and kills the program when nothing has come within GATE_PATIENCE_POLLING: a program without the runtime then runs for
 * that long, or to its end.
 */
#ifndef MF_CMD_GATE_H
#define MF_CMD_GATE_H

#include <stdbool.h>
#include <sys/types.h>

#include "run/control.h"

#define GATE_PATIENCE         30 /* seconds from the start to the entry point */
#define GATE_PATIENCE_POLLING 5

enum gate_state { GATE_HANDSHAKE, GATE_EXEC, GATE_ENTRY, GATE_POLLING, GATE_OPEN, GATE_REFUSED };

struct gate {
	enum gate_state state;
	pid_t pid;
	struct mf_control *control;
	int owes_stop;         /* this job-control stop came while the gate was closed: to be made up for; 0: none */
	unsigned long entry;   /* address of the breakpoint */
	long text;             /* what stood there */
	const char *reason;    /* GATE_REFUSED: why */
};

/* In the child, before execve(): let the parent trace it, and wait for the parent. => false: not possible, polling */
bool gate_enter(void);

/* The child has stopped with this wait status and the gate is neither POLLING nor OPEN. Continues it, or kills it and becomes REFUSED. */
void gate_stopped(struct gate *g, int wait_status);

/* Time has passed. `seconds` since the start. */
void gate_tick(struct gate *g, double seconds);

#endif
