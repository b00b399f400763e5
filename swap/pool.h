/* SPDX-License-Identifier: MIT
 *
 * pool.h - the pool's own structures; for pool.c and for tests that check them from inside.
 *
 *   slots_used     = same_filled + objects of all classes + pending in the mailbox + objects in the file
 *   bytes_stored   = sum of SLOT_LEN over slots with an object + 4096 * pending
 *   a slot with an object is the owner of exactly that object, and the other way round
 */
#ifndef MF_SWAP_POOL_H
#define MF_SWAP_POOL_H

#include "swap/codec.h"
#include "swap/mailbox.h"
#include "swap/spill.h"
#include "swap/swap.h"
#include "swap/zpool.h"

#define POOL_MAX_SLOTS (1UL << 28)

/* from MAILED on: has the hash of the page; from PACKED on: has an object in memory. MAILED: block is the entry of the mailbox; FILED: block and
 * index are spill_block() and spill_index() */
enum slot_kind { SLOT_NONE, SLOT_SAME, SLOT_MAILED, SLOT_FILED, SLOT_PACKED, SLOT_RAW };

/* slot.state:  REF | len 13 bits | index 9 bits | kind 3 bits | WAIT | PIN */
#define SLOT_REF  0x8000000u /* used since the hand of spill_out.c last passed */
#define SLOT_PIN  0x1u
#define SLOT_WAIT 0x2u
#define SLOT_KIND(state)  ((state) >> 2 & 0x7u)
#define SLOT_INDEX(state) ((state) >> 5 & 0x1ffu)
#define SLOT_LEN(state)   ((state) >> 14 & 0x1fffu)
#define SLOT_STATE(kind, index, len) ((uint32_t)(kind) << 2 | (index) << 5 | (len) << 14)

struct slot {                    /* all but state: whoever has it pinned */
	uint64_t hash[2];
	uint32_t block;
	_Atomic uint32_t state;
};
_Static_assert(sizeof(struct slot) == 24, "what each evicted page costs");

struct mail {                    /* see mail.c; lock, unless atomic */
	struct mailbox *box;     /* NULL: none. Changes only while no call runs */
	uint32_t nr;
	struct lock lock;
	uint32_t head, tail;
	_Atomic uint32_t pending, touched;
	_Atomic bool resting;    /* see swap_pool_use_mailbox() */
	_Atomic bool full;       /* a page found no room; mail_drain() clears it and stops at it */
	uint32_t owner[MAILBOX_MAX];
};

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
	_Atomic uint64_t packed, packed_bytes; /* pages that got an object, and what these took */
	_Atomic unsigned long highest;   /* slot ever stored to */
	_Atomic uint64_t loads __attribute__((aligned(64)));
	_Atomic uint64_t damaged;

	struct mail mail __attribute__((aligned(64)));
	struct spill *spill;     /* NULL: no file */

	struct zpool zpool;
};

/* ---- pins; for whoever works on a slot --------------------------------------------------------------------------- */

uint32_t slot_pin_slow(struct slot *s);

/* => the state, without the bits of the pin */
static inline uint32_t slot_pin(struct slot *s)
{
	uint32_t old = atomic_fetch_or_explicit(&s->state, SLOT_PIN, memory_order_acquire);

	return likely(!(old & SLOT_PIN)) ? old : slot_pin_slow(s);
}

static inline bool slot_try_pin(struct slot *s, uint32_t *state)
{
	*state = atomic_load_explicit(&s->state, memory_order_relaxed);
	return !(*state & SLOT_PIN) && atomic_compare_exchange_strong_explicit(&s->state, state, *state | SLOT_PIN,
									      memory_order_acquire, memory_order_relaxed);
}

static inline void slot_unpin(struct slot *s, uint32_t state)
{
	if (unlikely(atomic_exchange_explicit(&s->state, state, memory_order_release) & SLOT_WAIT))
		sys_futex_wake(&s->state, INT32_MAX);
}

/* Pinned. Afterwards it holds nothing, whatever the state word says. */
void slot_clear(struct swap_pool *p, struct slot *s, uint32_t state);

/* ---- mail.c ------------------------------------------------------------------------------------------------------ */

/* Pinned. The page waits in the mailbox from here on. => false: no entry, or not room enough at worst */
bool mail_post(struct swap_pool *p, struct slot *s, uint32_t *state, unsigned long nr, const void *page,
	       struct page_hash hash);
/* Pinned, mailed. The page is not wanted any more. */
void mail_cancel(struct swap_pool *p, const struct slot *s);
/* Pinned, mailed. Its page; constant until the pin goes. */
const void *mail_page(const struct swap_pool *p, const struct slot *s);
/* Pinned, mailed. It gets its object now. => 0, -ENOSPC */
int mail_recall(struct swap_pool *p, struct slot *s, uint32_t *state, unsigned long nr);
/* Not pinned. A few of those that were answered get their objects. */
void mail_harvest(struct swap_pool *p);
/* All, unless the pool has no room. */
void mail_drain(struct swap_pool *p);
uint64_t mail_touched(const struct swap_pool *p);

static inline void count_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static inline void count_packed(struct swap_pool *p, uint32_t len)
{
	count_add(&p->packed, 1);
	count_add(&p->packed_bytes, len);
}

#endif
