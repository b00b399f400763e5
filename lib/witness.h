/* SPDX-License-Identifier: MIT
 *
 * witness.h - a process that shares this one's memory: made by clone() with CLONE_VM, and without CLONE_THREAD.
 *
 * It is served by the handler of its maker. When that has ended, the last descriptor of the userfaultfd is closed, and the kernel gives pages of zeros for
 * what is missing. So a thread of the child's own, with a table of descriptors of its own, keeps the userfaultfd open, whereby who touches a missing
 * page waits for good; and ends the process when the handler has ended.
 *
 * Considered and rejected: PR_SET_PDEATHSIG: it is sent when the thread that made the child ends, and after the descriptors of the process were closed.
 */
#ifndef MF_LIB_WITNESS_H
#define MF_LIB_WITNESS_H

#include <stdbool.h>

struct witness;

/* In the maker, before clone(), by one thread at a time: descriptors of the userfaultfd and of who serves it, in the caller's table, and what the child is to
 * do. => NULL: none can be had */
struct witness *witness_prepare(int uffd, int server, int (*fn)(void *), void *arg);
/* In the child: the thread starts, the descriptors leave the table, and fn runs. => what it returns */
int witness_run(struct witness *w);
/* In the maker, afterwards. made: there is a child; shares_files: which closes the descriptors for both */
void witness_made(struct witness *w, bool made, bool shares_files);

#endif
