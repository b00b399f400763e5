/* SPDX-License-Identifier: MIT
 *
 * robust.h - words by which others learn that a thread has ended, however it ended.
 *
 * The kernel walks a thread's robust list when the thread ends (by exit, SIGKILL, or an execve of its process) and sets FUTEX_OWNER_DIED in
 * every word on it that holds its thread id. For threads that libc knows nothing of; one such thread a process.
 */
#ifndef MF_SWAP_ROBUST_H
#define MF_SWAP_ROBUST_H

#include <stdatomic.h>
#include <stdint.h>

struct robust_word {
	uint64_t next;         /* of the list; an address of the holder's process */
	_Atomic uint32_t word; /* the thread id */
};

/* By the thread whose end it is to tell; `word` gets its id by the caller. Stays on the list until then. */
void robust_hold(struct robust_word *w);

#endif
