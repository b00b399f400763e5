/* SPDX-License-Identifier: MIT
 *
 * pool.h - the pool's own structures; for pool.c and for tests that check them from inside.
 *
 *   slots_used     = same_filled + objects of all classes
 *   bytes_stored   = sum of SLOT_LEN over slots with an object
 *   a slot with an object is the owner of exactly that object, and the other way round
 */
#ifndef MF_SWAP_POOL_H
#define MF_SWAP_POOL_H

#include "swap/codec.h"
#include "swap/swap.h"
#include "swap/zpool.h"

#define POOL_MAX_SLOTS (1UL << 28)

enum slot_kind { SLOT_NONE, SLOT_SAME, SLOT_PACKED, SLOT_RAW };

/* slot.state:  len 13 bits | index 9 bits | kind 2 bits | WAIT | PIN */
#define SLOT_PIN  0x1u
#define SLOT_WAIT 0x2u
#define SLOT_KIND(state)  ((state) >> 2 & 0x3u)
#define SLOT_INDEX(state) ((state) >> 4 & 0x1ffu)
#define SLOT_LEN(state)   ((state) >> 13 & 0x1fffu)
#define SLOT_STATE(kind, index, len) ((uint32_t)(kind) << 2 | (index) << 4 | (len) << 13)

struct slot {                    /* all but state: whoever has it pinned */
	uint64_t hash[2];
	uint32_t block;
	_Atomic uint32_t state;
};
_Static_assert(sizeof(struct slot) == 24, "what each evicted page costs");

struct swap_pool {
	/* constant after creation */
	size_t map_len;
	unsigned long nr_slots;
	struct slot *slots;
	hash_page_fn hash_page;
	unsigned char secret[HASH_SECRET];

	struct codec codec;

	/* counted by every call; away from what every call only reads */
	_Atomic uint64_t stores __attribute__((aligned(64)));
	_Atomic uint64_t store_unchanged, same_filled, frees;
	_Atomic unsigned long highest;   /* slot ever stored to */
	_Atomic uint64_t loads __attribute__((aligned(64)));
	_Atomic uint64_t damaged;

	struct zpool zpool;
};

static inline void count_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

#endif
