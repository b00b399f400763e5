/* SPDX-License-Identifier: MIT
 *
 * mailbox.h - pages on their way to a compressor in another process.
 *
 * A thread that compressed on another processor in the program's own address space would make each UFFDIO_MOVE pay an
 * interrupt there. So another process does it (`minflt run`, which only waits otherwise), over memory shared with it:
 *
 *      header | entry lines | in[0] out[0] in[1] out[1] ...         position n is in entry n % nr
 *
 *      FREE --pool: in, head--> READY --compressor--> BUSY --compressor: out, length--> DONE --pool: object--> FREE
 *                                 '--pool takes it back--> FREE
 *
 * Neither side believes the other: lengths and positions are bounded where they are read, each side knows the number
 * of entries for itself, the compressor works on a copy of `in`, and the pool keeps the hash of the page. A page is
 * whole in `in` until its entry is FREE, so an answer that never comes costs time and nothing else.
 */
#ifndef MF_SWAP_MAILBOX_H
#define MF_SWAP_MAILBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "swap/swap.h"

#define MAILBOX_MAX   64u
#define MAILBOX_BATCH 8u /* entries that are worth a system call to wake the compressor */

enum mail_state { MAIL_FREE, MAIL_READY, MAIL_BUSY, MAIL_DONE };

struct mail_line {
	_Atomic uint32_t state;
	_Atomic uint32_t length; /* of out; 0: did not become smaller */
} __attribute__((aligned(64)));

struct mail_bytes {
	unsigned char in[4096], out[4096];
};

struct mailbox {
	_Atomic uint32_t head __attribute__((aligned(64)));     /* positions filled so far; pool */
	_Atomic uint32_t sleeping __attribute__((aligned(64))); /* the compressor waits on it (shared futex) while 1 */
	_Atomic uint32_t cpu __attribute__((aligned(64)));      /* + 1: where the pool works; the compressor keeps away. 0: unknown */
	struct mail_line line[MAILBOX_MAX];
	struct mail_bytes bytes[] __attribute__((aligned(4096)));
};

static inline size_t mailbox_bytes(uint32_t nr)
{
	return nr ? sizeof(struct mailbox) + nr * sizeof(struct mail_bytes) : 0;
}

/* The compressor, in its own process and thread: works until *stop is set and the futex woken (looks once a second
 * anyway). => 0, or -errno when there is no memory for its state or the codec packs nothing. */
int mailbox_compress(struct mailbox *box, uint32_t nr, enum swap_codec codec, int level, const atomic_bool *stop);
/* To be called after *stop is set. */
void mailbox_wake(struct mailbox *box);

#endif
