/* SPDX-License-Identifier: MIT
 *
 * tree.h - the processes of one run, in memory that they all share with the command (run/control.h).
 *
 *   FREE --claim--> BUSY --> RUNNING --its handler ends--> DEAD --a moment later--> FREE
 *                               |  ^
 *                     execve()  v  |  the new program's runtime starts
 *                              EXEC ------- nothing comes ----------------> FREE, or ALONE while it lives; and a note
 *
 * A process that dies can't say so, SIGKILL least of all. The kernel says it: `owner` is a robust futex of the handler's thread, which the kernel
 * marks when the thread ends, whoever ended it. Everybody who needs memory, and the command, looks for such slots and returns what they held.
 *
 * No libc: the runtime's handler and the command use the same functions. Nobody ever waits for a lock in here.
 */
#ifndef MF_LIB_TREE_H
#define MF_LIB_TREE_H

#include <stdbool.h>
#include <stddef.h>

#include "run/control.h"

#define TREE_MAIN     0u /* the slot of the program that the command started */
#define TREE_OWNER_DIED 0x40000000u
#define TREE_ENDING     UINT64_MAX
#define TREE_GIFT       (2ULL << 20) /* what a process needs to exist, twice: a share that returns and is no larger makes no room for anybody else */

/* => a slot in state BUSY for process `pid`, or -ENOSPC. home: the command calls it so, too (tree_pid.h) */
int tree_claim(struct mf_tree *t, uint32_t pid, bool home);
/* BUSY -> RUNNING, held by the thread `tid`, which has made `owner` its robust futex. */
void tree_run(struct mf_tree *t, unsigned slot, uint32_t tid);
/* The slot that `pid` left in state EXEC, or -ENOENT. What the old program held is returned, what it counted is kept: BUSY */
int tree_take_over(struct mf_control *c, unsigned slot, uint32_t pid);
/* BUSY -> FREE, nothing held. */
void tree_free(struct mf_tree *t, unsigned slot);
/* EXEC or ALONE -> FREE: nothing came of the execution. Nothing happens if the slot has been given to another process meanwhile. */
void tree_unexec(struct mf_tree *t, unsigned slot, uint32_t pid);
/* This process goes by its own pid where the command runs, and so can ask the kernel about those that do, too. */
void tree_at_home(bool home);
/* BUSY -> ALONE, nothing held: a process that was to be served and can't be. It is known as long as it lives. */
void tree_leave(struct mf_control *c, unsigned slot);
/* Return what ended processes held. => their number */
unsigned tree_reap(struct mf_control *c);
/* The owner lives. */
bool tree_is_alive(const struct tree_process *p);
uint64_t tree_now_ns(void);

/* One process at a time has the command compress for it. => false: another one has it */
bool tree_take_mailbox(struct mf_control *c, unsigned slot);

void tree_set_name(struct tree_process *p, const char *path);
/* `path` is executed and runs without the runtime. => for taking it back, when it could not be executed */
int tree_note(struct mf_tree *t, const char *path, enum tree_why why);
void tree_take_back_note(struct mf_tree *t, int note);

/* A process tells what it keeps now. */
void tree_gauges(struct mf_tree *t, unsigned slot, const uint64_t value[TREE_NR_GAUGES]);
/* Where the process in this slot counts. */
struct mf_counters *tree_counters(struct mf_control *c, unsigned slot);
/* Everything that has been counted: by those that ended, and by those that run. */
void tree_sum(struct mf_control *c, struct mf_counters *sum);
/* n - base for what is counted, n for gauges and peaks: what a forked child has done itself. */
void tree_since(struct mf_counters *n, const struct mf_counters *base);

#endif
