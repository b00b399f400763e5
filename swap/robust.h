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

/* For a thread that has a list of libc's, or none: a single word of ours in its place, for a while in which it locks nothing else. */
struct robust_stay {
	uint64_t next, futex_offset; /* struct robust_list_head */
	_Atomic uint64_t pending;
	uint64_t before;
};

/* The memory must be there however the thread ends: not managed, and not on a stack that is. */
void robust_stay(struct robust_stay *s);
void robust_leave(struct robust_stay *s);
/* This is the word from here on. In the word itself nothing changes: it tells of this thread as soon as, and as long as, it holds this thread's id. */
static inline void robust_stay_with(struct robust_stay *s, struct robust_word *w)
{
	atomic_store(&s->pending, (uint64_t)(uintptr_t)&w->next);
}

/* By the thread whose end it is to tell; `word` gets its id by the caller. Stays on the list until then. */
void robust_hold(struct robust_word *w);

#endif
