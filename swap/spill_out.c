/* SPDX-License-Identifier: MIT
 *
 * spill_out.c - what goes to the file, and when a segment is emptied for its room.
 *
 * The oldest first: a hand goes round the slots. Slots are given out in the order in which pages are evicted, and taken again in that
 * order, so the hand finds the longest stored first, and what was evicted together lies together in the file. An object that was
 * loaded or found unchanged since the hand last passed is left for another round (SLOT_REF), and so is one stored just before the hand.
 *
 * Little room in the file: the emptiest segments, if only this process names them, are read and what is live in them is written anew, together.
 */
#include <string.h>

#include "mm/errno.h"
#include "swap/pool.h"

#define LOOKS       (1UL << 17)         /* slots, for one call that is not to wait */
#define CLEAN_BELOW (SPILL_UNITS / 4 * 3) /* live units: fuller ones gain too little */
#define CLEAN_ROUNDS 4

struct filling {
	struct swap_pool *pool;
	struct spill *s;
	struct spill_buffer *b;
	uint32_t end, nr;     /* units, objects so far */
	unsigned long bytes;  /* of objects that left the pool */
};

static bool fits(const struct filling *f, uint32_t units)
{
	return (f->end + units) * SPILL_UNIT + (f->nr + 1) * sizeof(f->s->owner[0]) <= SPILL_SEGMENT;
}

/* Pinned. The object goes to the end of what is there. => the slot's new state */
static uint32_t put(struct filling *f, uint32_t slot, uint32_t len, const void *bytes)
{
	struct slot *s = &f->pool->slots[slot];
	const uint32_t units = spill_units(len);

	memcpy(f->b->bytes + f->end * SPILL_UNIT, bytes, len);
	f->s->owner[f->nr++] = slot;
	s->block = spill_block(f->b->segment, f->end);
	f->s->segment[f->b->segment].live = (uint16_t)(f->s->segment[f->b->segment].live + units);
	f->end += units;
	return SLOT_STATE(SLOT_FILED, spill_index(f->end - units), len);
}

/* ---- from the pool ----------------------------------------------------------------------------------------------- */

/* Pinned. */
static void take_object(struct filling *f, uint32_t slot, uint32_t state)
{
	struct slot *s = &f->pool->slots[slot];
	const struct zobj obj = { s->block, SLOT_INDEX(state) };
	const uint32_t len = SLOT_LEN(state);
	uint32_t now = put(f, slot, len, zpool_data(&f->pool->zpool, obj));

	zpool_free(&f->pool->zpool, obj, len);
	count_add(&f->s->objects, 1);
	count_add(&f->s->bytes, len);
	count_add(&f->s->pages_out, 1);
	f->bytes += len;
	slot_unpin(s, now);
}

/* => false: it has no room any more */
static bool look_at(struct filling *f, uint32_t slot)
{
	struct slot *s = &f->pool->slots[slot];
	uint32_t state = atomic_load_explicit(&s->state, memory_order_relaxed);

	if (SLOT_KIND(state) < SLOT_PACKED || !slot_try_pin(s, &state))
		return true;
	if (SLOT_KIND(state) < SLOT_PACKED) {
		slot_unpin(s, state);
	} else if (state & SLOT_REF) {
		slot_unpin(s, state & ~SLOT_REF);
	} else if (!fits(f, spill_units(SLOT_LEN(state)))) {
		slot_unpin(s, state);
		return false;
	} else {
		take_object(f, slot, state);
	}
	return true;
}

static void fill_from_pool(struct filling *f, bool all)
{
	unsigned long high = atomic_load_explicit(&f->pool->highest, memory_order_relaxed);
	unsigned long looks = all || 2 * high < LOOKS ? 2 * high : LOOKS;

	for (; looks; looks--) {
		if (f->s->hand > high || !f->s->hand)
			f->s->hand = 1;
		if (!look_at(f, (uint32_t)f->s->hand))
			return;
		f->s->hand++;
	}
}

/* ---- from other segments ----------------------------------------------------------------------------------------- */

static uint32_t emptiest(const struct spill *s)
{
	uint32_t best = 0;

	for (uint32_t e = 1; e < s->fresh; e++) {
		const struct spill_segment *g = &s->segment[e];

		if (g->where && !g->buffer && !g->unreadable && g->live && g->live <= CLEAN_BELOW &&
		    (!best || g->live < s->segment[best].live) && share_alone(&s->share, g->where))
			best = e;
	}
	return best;
}

/* => false: it has no room any more */
static bool move_object(struct filling *f, uint32_t slot, uint32_t segment, const char *bytes)
{
	struct slot *s = &f->pool->slots[slot];
	uint32_t state, unit;

	if (slot == 0 || slot > f->pool->nr_slots || !slot_try_pin(s, &state))
		return true;
	if (SLOT_KIND(state) != SLOT_FILED || s->block >> 3 != segment) {
		slot_unpin(s, state);
		return true;
	}
	if (!fits(f, spill_units(SLOT_LEN(state)))) {
		slot_unpin(s, state);
		return false;
	}
	unit = (s->block & 7) << 9 | SLOT_INDEX(state);
	slot_unpin(s, put(f, slot, SLOT_LEN(state), bytes + unit * SPILL_UNIT));
	spill_forget(f->s, segment, spill_units(SLOT_LEN(state)));
	return true;
}

static struct spill_buffer *spare_buffer(struct spill *s)
{
	for (unsigned i = 0; i < s->nr_buffers; i++)
		if (s->buffer[i].state == BUFFER_FREE)
			return &s->buffer[i];
	return NULL;
}

/* => false: full, or there is nothing to gain */
static bool fill_from_segment(struct filling *f)
{
	struct spill *s = f->s;
	struct spill_buffer *spare = spare_buffer(s);
	uint32_t from = spare ? emptiest(s) : 0, nr;
	const uint32_t *owner;
	bool room = true;

	if (!from)
		return false;
	if (spill_fetch(s, from, spare)) {
		s->segment[from].unreadable = true;
		return true;
	}
	owner = (const uint32_t *)(spare->bytes + s->segment[from].end * SPILL_UNIT);
	nr = s->segment[from].owners;
	for (uint32_t i = 0; room && i < nr; i++)
		room = move_object(f, owner[i], from, spare->bytes);
	/* What is left is in use at this moment. */
	if (room && s->segment[from].where && s->segment[from].live)
		return false;
	count_add(&s->cleaned, room);
	return room;
}

/* Until more than a few segments of the file are free again, or there is nothing to gain. */
static void clean(struct swap_pool *p, struct spill *s)
{
	const uint32_t low = s->nr_segments / 32 + 2;

	for (int i = 0; i < CLEAN_ROUNDS && share_free(&s->share) <= low; i++) {
		struct filling f = { .pool = p, .s = s };
		int err;

		while (spill_under_way(s) && !spare_buffer(s))
			spill_reap(s, true);
		if (!emptiest(s))
			return;
		f.b = spill_begin(s, 0, &err);
		if (!f.b)
			return;
		while (fill_from_segment(&f))
			;
		if (!f.nr)
			i = CLEAN_ROUNDS;
		spill_write(s, f.b, f.end, f.nr);
	}
}

/* ---- the pool's calls -------------------------------------------------------------------------------------------- */

static long one_segment(struct swap_pool *p, struct spill *s, bool all)
{
	struct filling f = { .pool = p, .s = s };
	int err;

	if (share_free(&s->share) <= s->nr_segments / 32 + 2)
		clean(p, s);
	f.b = spill_begin(s, 1, &err);
	if (!f.b)
		return err;
	fill_from_pool(&f, all);
	spill_write(s, f.b, f.end, f.nr);
	return (long)f.bytes;
}

long swap_pool_spill(struct swap_pool *p, bool wait)
{
	struct spill *s = p->spill;
	bool retried = false;
	long ret;

	if (!s)
		return 0;
	lock_take(&s->lock);
	for (;;) {
		ret = one_segment(p, s, wait);
		if (!wait || (ret != -EAGAIN && ret != -EIO))
			break;
		if (ret == -EIO) {
			if (retried)
				break;
			retried = true;
			spill_try_again(s, true);
		}
		if (!spill_under_way(s))
			break;
		spill_reap(s, true);
	}
	lock_drop(&s->lock);
	return ret;
}

void swap_pool_settle(struct swap_pool *p)
{
	if (!p->spill)
		return;
	lock_take(&p->spill->lock);
	while (spill_under_way(p->spill))
		spill_reap(p->spill, true);
	lock_drop(&p->spill->lock);
}

uint64_t swap_pool_waited(const struct swap_pool *p)
{
	return p->spill ? atomic_load_explicit(&p->spill->io.waited_ns, memory_order_relaxed) : 0;
}

void swap_pool_before_filter(struct swap_pool *p)
{
	swap_pool_settle(p);
	if (!p->spill)
		return;
	lock_take(&p->spill->lock);
	spill_io_filtered(&p->spill->io);
	lock_drop(&p->spill->lock);
}

void swap_pool_open_file(struct swap_pool *p, int fd)
{
	struct spill *s = p->spill;

	if (!s)
		return;
	lock_take(&s->lock);
	spill_thread(s, true);
	s->lost = (fd < 0 && !s->io.map) || s->invited == SHARE_NOBODY || !share_enter(&s->share, s->invited);
	s->invited = SHARE_NOBODY;
	if (!s->lost)
		spill_io_open(&s->io, fd, s->no_ring);
	lock_drop(&s->lock);
}

void swap_pool_join_file(struct swap_pool *p)
{
	if (p->spill)
		spill_thread(p->spill, false);
}

void swap_pool_before_fork(struct swap_pool *p)
{
	struct spill *s = p->spill;

	if (!s)
		return;
	lock_take(&s->lock);
	/* A segment that is in a buffer only is written by both, the same bytes to the same place. */
	s->invited = s->lost ? SHARE_NOBODY : share_invite(&s->share);
	lock_drop(&s->lock);
}

void swap_pool_in_child(struct swap_pool *p)
{
	struct spill *s = p->spill;

	if (!s)
		return;
	memset((void *)s->thread, 0, sizeof(s->thread));
	s->share.me = SHARE_NOBODY;
	spill_io_forget(&s->io);
}

void swap_pool_read_file(struct swap_pool *p, int fd)
{
	if (!p->spill)
		return;
	spill_thread(p->spill, true);
	p->spill->io.fd = fd;
}

void swap_pool_leave_file(struct swap_pool *p)
{
	struct spill *s = p->spill;

	if (!s)
		return;
	share_decline(&s->share, s->invited);
	s->lost = true;
	spill_io_forget(&s->io);
}

int swap_pool_read_error(struct swap_pool *p)
{
	return p->spill ? atomic_exchange(&p->spill->read_error, 0) : 0;
}
