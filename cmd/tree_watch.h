/* SPDX-License-Identifier: MIT
 *
 * tree_watch.h - the command looks after the tree of processes: what only somebody outside can see.
 */
#ifndef MF_CMD_TREE_WATCH_H
#define MF_CMD_TREE_WATCH_H

#include <sys/types.h>

#include "run/control.h"

/* Now and then: ended processes, programs that run without the runtime, anonymous memory that nobody manages. */
void tree_watch(struct mf_control *c, int control_fd);
/* `main_pid` has been waited for. The counters of the control page become those of the whole tree. */
void tree_end(struct mf_control *c, pid_t main_pid);
/* To the user: what ran without minflt, and memory outside of management that is more than a tenth of the budget. */
void tree_tell(const struct mf_control *c);

#endif
