/* SPDX-License-Identifier: MIT
 *
 * tree_pid.h - what the command calls a process of the tree.
 *
 * A process may be in a pid namespace of its own: its own getpid() then names another process, or nobody, where the command runs. `home` says that this is not
 * so. It is known of the program that the command starts, goes from parent to child while getppid() names the parent (in a new namespace it is 0),
 * and doesn't change when a program is executed. Of the others (and of orphans, of whom it can't be known) the kernel tells: the handler holds a lock on the
 * control memory's byte of its slot's number, and who asks for the holder of a lock (F_GETLK) learns its number in the asker's namespace. The lock
 * ends with the handler; what was learnt until then is kept.
 */
#ifndef MF_LIB_TREE_PID_H
#define MF_LIB_TREE_PID_H

#include <stdbool.h>

#include "run/control.h"

/* May a child of the process `pid` in this slot, which is the caller, go by its own pid? */
bool tree_child_is_home(const struct mf_tree *t, unsigned parent, long pid);
/* By the handler, with a descriptor of the control memory in a table that only it uses, which is never closed. */
void tree_hold_pid(const struct mf_tree *t, unsigned slot, int control_fd);
/* By the command and its guard. => 0: not known */
int tree_host_pid(struct mf_tree *t, unsigned slot, int control_fd);
/* What is known without asking. */
int tree_known_pid(const struct tree_process *p);

#endif
