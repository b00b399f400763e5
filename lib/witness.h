/* SPDX-License-Identifier: MIT
 *
 * witness.h - a process that shares this one's memory: made by clone() with CLONE_VM, and without CLONE_THREAD.
 *
 * It is served by the handler of its maker. When that has ended, the last descriptor of the userfaultfd is closed, and the kernel gives pages of zeros for
 * what is missing. So a thread of the child's own, with a table of descriptors of its own, keeps the userfaultfd open, whereby who touches a missing
 * page waits; looks now and then whether the handler lives, and ends the process when it doesn't. A vfork child has one, too: its maker may be killed. It is
 * dismissed before the child executes, for the kernel would wait until it has ended (50 us).
 *
 * Considered and rejected: PR_SET_PDEATHSIG: it is sent when the thread that made the child ends, and after the descriptors of the process were closed.
 */
#ifndef MF_LIB_WITNESS_H
#define MF_LIB_WITNESS_H

#include <stdbool.h>

struct witness;

/* In the maker, before the child is made: whether it shares the maker's descriptors, and what it is to do, or NULL. `here` runs a function on the handler's
 * thread (pager_lend()). Any number of callers at once, signal handlers among them. => NULL: none can be had */
struct witness *witness_prepare(bool shares_files, int (*fn)(void *), void *arg, void (*here)(void (*fn)(void *), void *arg));
/* In the child: the thread starts, and the descriptor leaves the table. */
void witness_begin(struct witness *w);
/* The same, and fn runs. => what it returns */
int witness_run(struct witness *w);
/* In the child: it reads nothing any more. */
void witness_dismiss(void);
/* In the maker, afterwards. child: its number; <= 0: there is none */
void witness_made(struct witness *w, long child);
/* In a forked child: it has nothing to do with its parent's. */
void witness_forked(void);

#endif
