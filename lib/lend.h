/* SPDX-License-Identifier: MIT
 *
 * lend.h - descriptors of the handler, for a moment, in the table of another thread.
 *
 * The handler's table is its own, so that the program can neither see nor close what is in it. A forked child, and a program that is executed, need what
 * is there: fetched, inherited, and closed again before the program's own code runs. Two ways:
 *
 *   pidfd_getfd of the handler's thread      a thread of one's own process may always; pidfds of threads: Linux 6.9
 *   a pair of sockets, made by the borrower  older kernels; and a vfork child, which is a process of its own and may have dropped the rights to look
 *                                            into its parent: the handler, which kept them, fetches one end and sends the descriptors
 */
#ifndef MF_LIB_LEND_H
#define MF_LIB_LEND_H

#include <fcntl.h>
#include <stdbool.h>

#define PIDFD_THREAD O_EXCL

enum lend_what { LEND_CONTROL, LEND_RUNTIME, LEND_DEV, LEND_SWAP, LEND_NR }; /* /dev/userfaultfd and the swap file: perhaps -1 */
struct lend { int fd[LEND_NR]; };
#define LEND_NOTHING ((struct lend){ .fd = { -1, -1, -1, -1 } })

/* By a thread of the handler's own process. => false: this kernel can't, or not this thread */
bool lend_fetch(struct lend *to, const struct lend *from, long handler_tid);

/* The other way: the borrower's part before, the handler's part, the borrower's part after. */
struct lend_post { int mine, theirs; long pid; };
bool lend_open_post(struct lend_post *post);
void lend_send(const struct lend_post *post, const struct lend *from);
bool lend_receive(struct lend *to, const struct lend_post *post, const struct lend *from);

/* The borrower's copies. */
void lend_close(const struct lend *l);

#endif
