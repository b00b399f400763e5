/* SPDX-License-Identifier: MIT
 *
 * guard.h - when minflt is killed by SIGKILL, the processes of its tree go too.
 *
 * The first program's death follows from PR_SET_PDEATHSIG; its children would live on. So a process of its own waits for the end of minflt, in a session of its
 * own, where no signal to a group reaches it. If minflt ends without a word, the guard kills what the tree has in the session of
 * minflt. Daemons, which have left that session, go on.
 */
#ifndef MF_CMD_GUARD_H
#define MF_CMD_GUARD_H

#include "run/control.h"

/* Without a guard (no process to be had) the first program alone is killed. */
void guard_start(struct mf_control *control, int control_fd);
/* minflt ends as it should. */
void guard_stop(void);

#endif
