/* SPDX-License-Identifier: MIT
 * guard.c - when minflt is killed by SIGKILL, the processes of its tree go too. See guard.h. */
#include "cmd/guard.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/tree.h"
#include "lib/tree_pid.h"
#include "machine/sys.h"

#define ROUNDS 200 /* of 5 ms: a process that forks at the moment it is killed leaves a child */

static struct {
	pid_t pid;
	int end; /* of a socket pair: its closing is the end of minflt */
} guard = { -1, -1 };

/* => somebody was still there */
static bool kill_session(struct mf_control *c, int control_fd, pid_t session)
{
	struct mf_tree *t = control_tree(c);
	unsigned top = atomic_load(&t->top);
	bool some = false;

	for (unsigned i = 0; i < top && i < TREE_SLOTS; i++) {
		struct tree_process *p = &t->process[i];
		uint32_t state = atomic_load(&p->state);
		pid_t pid;

		if (state == TREE_FREE || state == TREE_DEAD || (state == TREE_RUNNING && !tree_is_alive(p)))
			continue;
		pid = tree_host_pid(t, i, control_fd);
		if (pid <= 1 || getsid(pid) != session)
			continue;
		some |= kill(pid, SIGKILL) == 0;
	}
	return some;
}

_Noreturn static void stand_guard(struct mf_control *c, int control_fd, int end, pid_t session)
{
	const struct timespec tick = { 0, 5000000 };
	char byte;
	ssize_t n;

	setsid();
	prctl(PR_SET_NAME, "minflt-guard");
	sys_close_all_but(end, control_fd);
	do
		n = read(end, &byte, 1);
	while (n < 0 && errno == EINTR);
	for (int i = 0, quiet = 0; n == 0 && i < ROUNDS && quiet < 3; i++) {
		quiet = kill_session(c, control_fd, session) ? 0 : quiet + 1;
		nanosleep(&tick, NULL);
	}
	_exit(0);
}

void guard_start(struct mf_control *control, int control_fd)
{
	int ends[2];
	pid_t session = getsid(0);

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return;
	guard.pid = fork();
	if (guard.pid == 0) {
		close(ends[1]);
		stand_guard(control, control_fd, ends[0], session);
	}
	close(ends[0]);
	guard.end = ends[1];
	if (guard.pid < 0) {
		close(guard.end);
		guard.end = -1;
	}
}

void guard_stop(void)
{
	if (guard.pid < 0)
		return;
	/* It may have been killed: no SIGPIPE for that. */
	if (send(guard.end, "", 1, MSG_NOSIGNAL) == 1 || errno == EPIPE)
		while (waitpid(guard.pid, NULL, 0) < 0 && errno == EINTR)
			;
	close(guard.end);
	guard.pid = guard.end = -1;
}
