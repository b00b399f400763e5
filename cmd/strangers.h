/* SPDX-License-Identifier: MIT
 *
 * strangers.h - programs that run in the tree and are in no slot of it: a bare system call has started them, as Go's runtime starts all of its children.
 */
#ifndef MF_CMD_STRANGERS_H
#define MF_CMD_STRANGERS_H

#include <sys/types.h>

#include "run/control.h"

/* Looks at the children of managed processes, a few at a time, and notes those that nobody knows. */
void strangers_look(struct mf_control *c, int control_fd);
/* This one has been noted. */
void strangers_met(pid_t pid);

#endif
