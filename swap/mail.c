/* SPDX-License-Identifier: MIT
 *
 * mail.c - the pool's side of the mailbox.
 *
 *   a mailed slot            holds the hash, and the number of the entry where its page is
 *   owner[entry]             the slot, or 0: free, or abandoned while the compressor has it
 *   pending                  = owners that are not 0 = mailed slots
 *   tail .. head             positions that may have an owner; head - tail <= nr
 *   promised pages           ZBLOCK_PAGES for each pending page: the room that its object takes at worst, so that a page
 *                            that was accepted finds a place later
 *
 * The lock (below the pin, above the classes) guards all of it; whoever holds it only tries pins. `in` of an entry is
 * constant while its slot is pinned and mailed: reading it needs no lock. The mailbox belongs to one process: a forked
 * child has drained before and detaches.
 */
#include <string.h>
#include <time.h>

#include "mm/errno.h"
#include "swap/pool.h"

#define HARVEST_STEP 4u        /* at each store: more than come in, and never a burst of its own */
#define PATIENCE_NS  1000000ULL /* without an answer; a page takes the compressor 10 us, zstd at its worst 100 */

static uint64_t now_ns(void)
{
	struct timespec t = { 0, 0 };

	sys_call2(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline _Atomic uint32_t *state_of(const struct mail *m, uint32_t entry)
{
	return &m->box->line[entry].state;
}

const void *mail_page(const struct swap_pool *p, const struct slot *s)
{
	return p->mail.box->bytes[s->block].in;
}

static void tell_cpu(struct mail *m)
{
	uint32_t cpu = 0;

	if (!sys_is_err(sys_call3(SYS_getcpu, (long)&cpu, 0, 0)))
		atomic_store_explicit(&m->box->cpu, cpu + 1, memory_order_relaxed);
}

static void wake_compressor(struct mail *m, uint32_t at_least)
{
	if (m->head - m->tail < at_least || !atomic_load(&m->box->sleeping))
		return;
	tell_cpu(m);
	mailbox_wake(m->box);
}

/* Locked. The entry has no slot any more. What the compressor has stays its own until it answers. */
static void entry_release(struct swap_pool *p, uint32_t entry)
{
	struct mail *m = &p->mail;
	uint32_t state = MAIL_READY;

	m->owner[entry] = 0;
	if (!atomic_compare_exchange_strong(state_of(m, entry), &state, MAIL_FREE) && state == MAIL_DONE)
		atomic_store_explicit(state_of(m, entry), MAIL_FREE, memory_order_relaxed);
	atomic_fetch_sub_explicit(&m->pending, 1, memory_order_relaxed);
}

/* Pinned, mailed. */
void mail_cancel(struct swap_pool *p, const struct slot *s)
{
	lock_take(&p->mail.lock);
	entry_release(p, s->block);
	zpool_redeem(&p->zpool, ZBLOCK_PAGES);
	lock_drop(&p->mail.lock);
}

/* Pinned, locked. Put the bytes where they stay. => 0, -ENOSPC: nothing has changed */
static int entry_place(struct swap_pool *p, struct slot *s, uint32_t *state, uint32_t nr, const void *bytes, uint32_t len)
{
	struct zobj obj;

	zpool_redeem(&p->zpool, ZBLOCK_PAGES);
	if (zpool_alloc(&p->zpool, len, nr, &obj)) {
		zpool_redeem(&p->zpool, -(int)ZBLOCK_PAGES);
		p->mail.full = true;
		return -ENOSPC;
	}
	memcpy(zpool_data(&p->zpool, obj), bytes, len);
	count_packed(p, len);
	entry_release(p, s->block);
	s->block = obj.block;
	*state = SLOT_STATE(len == ZPAGE ? SLOT_RAW : SLOT_PACKED, obj.index, len) | (*state & SLOT_REF);
	return 0;
}

/* Pinned, locked: as entry_place(), but packed here, without the compressor. */
static int entry_pack(struct swap_pool *p, struct slot *s, uint32_t *state, uint32_t nr)
{
	const void *page = mail_page(p, s);
	struct codec_state *cs = codec_get(&p->codec);
	uint32_t len = codec_pack(&p->codec, cs, page);
	int ret = entry_place(p, s, state, nr, len ? cs->out : page, len ? len : ZPAGE);

	codec_put(cs);
	return ret;
}

static int entry_take_answer(struct swap_pool *p, struct slot *s, uint32_t *state, uint32_t nr)
{
	const uint32_t entry = s->block;
	const struct mail_bytes *bytes = &p->mail.box->bytes[entry];
	uint32_t len = atomic_load_explicit(&p->mail.box->line[entry].length, memory_order_relaxed);

	if (len == 0 || len > ZPACKED_MAX)
		return entry_place(p, s, state, nr, bytes->in, ZPAGE);
	return entry_place(p, s, state, nr, bytes->out, len);
}

int mail_recall(struct swap_pool *p, struct slot *s, uint32_t *state, unsigned long nr)
{
	int ret;

	lock_take(&p->mail.lock);
	ret = entry_pack(p, s, state, (uint32_t)nr);
	lock_drop(&p->mail.lock);
	return ret;
}

typedef int (*settle_fn)(struct swap_pool *p, struct slot *s, uint32_t *state, uint32_t nr);

/* Locked. The owner of the entry gets an object. => false: its slot is busy, or there is no room */
static bool entry_settle(struct swap_pool *p, uint32_t entry, settle_fn settle)
{
	const uint32_t nr = p->mail.owner[entry];
	struct slot *s = &p->slots[nr];
	uint32_t state;
	int ret;

	if (!slot_try_pin(s, &state))
		return false;
	ret = settle(p, s, &state, nr);
	slot_unpin(s, state);
	return !ret;
}

/* Locked. Gives objects to what was answered, in order, and leaves behind what is free. => so many */
static uint32_t harvest(struct swap_pool *p, uint32_t most)
{
	struct mail *m = &p->mail;
	uint32_t n = 0;

	while (n < most && m->tail != m->head) {
		uint32_t entry = m->tail % m->nr;
		uint32_t state = atomic_load_explicit(state_of(m, entry), memory_order_acquire);

		if (m->owner[entry]) {
			if (state != MAIL_DONE || !entry_settle(p, entry, entry_take_answer))
				break;
		} else if (state == MAIL_DONE) {
			atomic_store_explicit(state_of(m, entry), MAIL_FREE, memory_order_relaxed);
		} else if (state != MAIL_FREE) {
			break; /* abandoned, and still in the compressor's hands */
		}
		m->tail++;
		n++;
	}
	return n;
}

void mail_harvest(struct swap_pool *p)
{
	lock_take(&p->mail.lock);
	harvest(p, HARVEST_STEP);
	lock_drop(&p->mail.lock);
}

/* Pinned. What the slot holds goes when the page is accepted. */
bool mail_post(struct swap_pool *p, struct slot *s, uint32_t *state, unsigned long nr, const void *page,
	       struct page_hash hash)
{
	struct mail *m = &p->mail;
	uint32_t entry;

	if (atomic_load_explicit(&m->resting, memory_order_relaxed))
		return false;
	lock_take(&m->lock);
	entry = m->head % m->nr;
	if (m->head - m->tail >= m->nr || atomic_load_explicit(state_of(m, entry), memory_order_acquire) != MAIL_FREE ||
	    !zpool_promise(&p->zpool, ZBLOCK_PAGES)) {
		lock_drop(&m->lock);
		return false;
	}
	if (SLOT_KIND(*state) == SLOT_MAILED) {
		entry_release(p, s->block);
		zpool_redeem(&p->zpool, ZBLOCK_PAGES);
	} else {
		slot_clear(p, s, *state);
	}
	memcpy(m->box->bytes[entry].in, page, ZPAGE);
	s->hash[0] = hash.lo;
	s->hash[1] = hash.hi;
	s->block = entry;
	*state = SLOT_STATE(SLOT_MAILED, 0, 0);
	m->owner[entry] = (uint32_t)nr;
	atomic_fetch_add_explicit(&m->pending, 1, memory_order_relaxed);
	if (atomic_load_explicit(&m->touched, memory_order_relaxed) <= entry)
		atomic_store_explicit(&m->touched, entry + 1, memory_order_relaxed);
	atomic_store_explicit(state_of(m, entry), MAIL_READY, memory_order_release);
	if (entry == 0)
		tell_cpu(m);
	atomic_store(&m->box->head, ++m->head);
	wake_compressor(m, MAILBOX_BATCH);
	lock_drop(&m->lock);
	return true;
}

/* ---- to the end -------------------------------------------------------------------------------------------------- */

/* Locked. All that is pending, compressed here. */
static void recall_all(struct swap_pool *p)
{
	struct mail *m = &p->mail;

	for (uint32_t at = m->tail; at != m->head; at++)
		if (m->owner[at % m->nr])
			entry_settle(p, at % m->nr, entry_pack);
}

void mail_drain(struct swap_pool *p)
{
	struct mail *m = &p->mail;
	uint64_t since = now_ns();

	m->full = false;
	while (m->box && !m->full && atomic_load_explicit(&m->pending, memory_order_relaxed)) {
		lock_take(&m->lock);
		wake_compressor(m, 1);
		if (harvest(p, m->nr))
			since = now_ns();
		else if (now_ns() - since > PATIENCE_NS)
			recall_all(p);
		lock_drop(&m->lock);
		sys_relax();
	}
}

int swap_pool_drain(struct swap_pool *p)
{
	size_t limit = atomic_load_explicit(&p->zpool.limit, memory_order_relaxed);

	mail_drain(p);
	if (!atomic_load_explicit(&p->mail.pending, memory_order_relaxed))
		return 0;
	/* The limit was lowered below what was promised: a page can't stay here, so it goes over the limit. */
	atomic_store_explicit(&p->zpool.limit, 0, memory_order_relaxed);
	mail_drain(p);
	atomic_store_explicit(&p->zpool.limit, limit, memory_order_relaxed);
	return atomic_load_explicit(&p->mail.pending, memory_order_relaxed) ? -ENOSPC : 0;
}

void swap_pool_use_mailbox(struct swap_pool *p, bool use)
{
	atomic_store_explicit(&p->mail.resting, !use, memory_order_relaxed);
}

bool swap_pool_is_drained(const struct swap_pool *p)
{
	return !atomic_load_explicit(&p->mail.pending, memory_order_acquire);
}

int swap_pool_attach_mailbox(struct swap_pool *p, struct mailbox *box, unsigned nr)
{
	struct mail *m = &p->mail;

	if (atomic_load_explicit(&m->pending, memory_order_relaxed))
		return -EBUSY;
	if (box && (!nr || nr > MAILBOX_MAX || p->codec.kind == SWAP_NONE))
		return -EINVAL;
	m->box = box;
	m->nr = box ? nr : 0;
	m->head = m->tail = box ? atomic_load(&box->head) : 0;
	memset(m->owner, 0, sizeof(m->owner));
	atomic_store_explicit(&m->touched, 0, memory_order_relaxed);
	return 0;
}

uint64_t mail_touched(const struct swap_pool *p)
{
	const struct mail *m = &p->mail;

	const size_t head = offsetof(struct mailbox, line) + m->nr * sizeof(m->box->line[0]);

	if (!m->box)
		return 0;
	return (head + ZPAGE - 1) / ZPAGE * ZPAGE + atomic_load_explicit(&m->touched, memory_order_relaxed) * sizeof(struct mail_bytes);
}
