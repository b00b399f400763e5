/* SPDX-License-Identifier: MIT
 *
 * tree.h - the processes of one run, in memory that they all share with the command (run/control.h).
 *
 *   FREE --claim--> CLAIMED --> RUNNING --its handler ends--> DEAD --a moment later--> FREE
 *                    |  ^          |
 *    its claimer ends|  |execve()  v
 *                    v  +-------- EXEC --- nothing comes ----> FREE, or ALONE while it lives; and a note
 *                  DEAD    the new program's runtime starts
 *
 * A process that dies can't say so, SIGKILL least of all. The kernel says it: `owner` is a robust futex of the handler's thread, which the kernel
 * marks when the thread ends, whoever ended it. Everybody who needs memory, and the command, looks for such slots and returns what they held.
 * `claim` is the same for the time before there is a handler: who claims or takes over a slot sets this word first, from nobody's to its own thread's id, and
 * only then the state; the handler then takes the word, and only then the slot. Who finds the word marked takes it likewise before it looks at the state, so a slot
 * can't be another living process's by then. (Considered and rejected: to ask for the process by its number, which says nothing from
 * within another pid namespace, nor when the number has been given away again.)
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

/* => a slot in state CLAIMED for process `pid`, or -ENOSPC. home: the command calls it so, too (tree_pid.h). stay: this thread's, so that the kernel tells when it
 * ends; from here until the slot is in another state. NULL: there is none, and the slot is lost if it ends then */
int tree_claim(struct mf_tree *t, uint32_t pid, bool home, struct robust_stay *stay);
/* CLAIMED -> RUNNING, held by the thread `tid`, on whose robust list are `link` and, behind that, `claim`. claimer: the thread that claimed the slot; 0: nobody did,
 * it is TREE_MAIN, and nothing was executed there. => false: the claimer has ended, and so does this process */
bool tree_run(struct mf_tree *t, unsigned slot, uint32_t tid, uint32_t claimer);
/* The slot that `pid` left in state EXEC, or -ENOENT. What the old program held is returned, what it counted is kept: CLAIMED */
int tree_take_over(struct mf_control *c, unsigned slot, uint32_t pid, struct robust_stay *stay);
/* CLAIMED by this process, or its own -> EXEC or ALONE: it is about to execute a program. */
void tree_exec(struct mf_tree *t, unsigned slot, enum tree_state state);
/* BUSY -> FREE, nothing held. */
void tree_free(struct mf_tree *t, unsigned slot);
/* EXEC or ALONE -> FREE: nothing came of the execution. Nothing happens if the slot has been given to another process meanwhile. */
void tree_unexec(struct mf_tree *t, unsigned slot, uint32_t pid);
/* This process goes by its own pid where the command runs, and so can ask the kernel about those that do, too. */
void tree_at_home(bool home);
/* CLAIMED or RUNNING -> ALONE, nothing held: a process that was to be served and can't be. It is known as long as it lives. */
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
