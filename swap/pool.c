/* SPDX-License-Identifier: MIT
 *
 * pool.c - the swap pool: slots, and the way of a page in and out.
 *
 *   slot holds    hash[0], hash[1]              block, index       len
 *   nothing       -                             -                  -
 *   same-filled   check of word and slot, word  -                  -
 *   mailed        XXH3-128 of the page          entry of mailbox   -
 *   packed        XXH3-128 of the page          the object         packed bytes
 *   raw           XXH3-128 of the page          the object         4096
 *   filed         XXH3-128 of the page          place in the file  packed bytes, or 4096
 *
 * A slot is pinned by whoever works on it: a call of the engine, which by contract is the only one for this slot, or
 * compaction, which moves its object. The pin costs no cache line of its own and no call for one slot ever waits for
 * a call for another.
 *
 * One mapping holds everything, in this order: struct swap_pool, codec states, the file's buffers, slots, block descriptors, owners of raw
 * objects, blocks. It is private and anonymous: a forked child has its own copy, content and all.
 */
#include <string.h>

#include "mm/errno.h"
#include "swap/codec.h"
#include "swap/pool.h"

#define COMPACT_STEP (4UL << 20) /* a call of swap_pool_compact() gives back about so much: a fault may wait for it */

/* ---- pins -------------------------------------------------------------------------------------------------------- */

__attribute__((noinline)) uint32_t slot_pin_slow(struct slot *s)
{
	for (int i = 0;; i++) {
		uint32_t old = atomic_load_explicit(&s->state, memory_order_relaxed);

		if (!(old & SLOT_PIN)) {
			if (atomic_compare_exchange_weak_explicit(&s->state, &old, old | SLOT_PIN, memory_order_acquire,
								  memory_order_relaxed))
				return old & ~SLOT_WAIT;
		} else if (i < LOCK_SPINS) {
			sys_relax();
		} else if ((old & SLOT_WAIT) ||
			   atomic_compare_exchange_weak_explicit(&s->state, &old, old | SLOT_WAIT, memory_order_relaxed,
								 memory_order_relaxed)) {
			sys_futex_wait(&s->state, old | SLOT_WAIT);
		}
	}
}

static inline struct zobj slot_obj(const struct slot *s, uint32_t state)
{
	return (struct zobj){ s->block, SLOT_INDEX(state) };
}

static inline struct slot *slot_of(const struct swap_pool *p, unsigned long nr)
{
	return nr - 1 < p->nr_slots ? &p->slots[nr] : NULL;
}

/* ---- what a slot holds ------------------------------------------------------------------------------------------- */

void slot_clear(struct swap_pool *p, struct slot *s, uint32_t state)
{
	switch (SLOT_KIND(state)) {
	case SLOT_SAME:
		count_add(&p->same_filled, -1);
		break;
	case SLOT_MAILED:
		mail_cancel(p, s);
		break;
	case SLOT_FILED:
		spill_free(p->spill, s->block, SLOT_INDEX(state), SLOT_LEN(state));
		break;
	case SLOT_PACKED:
	case SLOT_RAW:
		zpool_free(&p->zpool, slot_obj(s, state), SLOT_LEN(state));
		break;
	}
}

static int store_same(struct swap_pool *p, struct slot *s, uint32_t *state, unsigned long nr, uint64_t word)
{
	if (SLOT_KIND(*state) == SLOT_SAME && s->hash[1] == word && s->hash[0] == hash_word(word, nr, p->secret))
		return 1;
	slot_clear(p, s, *state);
	s->hash[0] = hash_word(word, nr, p->secret);
	s->hash[1] = word;
	*state = SLOT_STATE(SLOT_SAME, 0, 0);
	count_add(&p->same_filled, 1);
	return 0;
}

/* Pinned. An object of len bytes for the slot: the one it has, if that is of the right class. => 0, -ENOSPC: it has
 * none now. */
static int slot_room(struct swap_pool *p, struct slot *s, uint32_t *state, unsigned long nr, uint32_t kind,
		     uint32_t len)
{
	struct zobj obj = slot_obj(s, *state);

	if (SLOT_KIND(*state) < SLOT_PACKED || !zpool_reuse(&p->zpool, obj, SLOT_LEN(*state), len)) {
		slot_clear(p, s, *state);
		if (zpool_alloc(&p->zpool, len, (uint32_t)nr, &obj)) {
			*state = SLOT_STATE(SLOT_NONE, 0, 0);
			return -ENOSPC;
		}
		s->block = obj.block;
	}
	*state = SLOT_STATE(kind, obj.index, len);
	return 0;
}

static int store_packed(struct swap_pool *p, struct slot *s, uint32_t *state, unsigned long nr, const void *page,
			struct page_hash hash)
{
	struct codec_state *cs = NULL;
	const void *bytes = page;
	uint32_t len = 0;
	int ret;

	if (p->mail.box && mail_post(p, s, state, nr, page, hash))
		return 0;
	if (p->codec.kind != SWAP_NONE) {
		cs = codec_get(&p->codec);
		len = codec_pack(&p->codec, cs, page);
		bytes = len ? cs->out : page;
	}
	ret = slot_room(p, s, state, nr, len ? SLOT_PACKED : SLOT_RAW, len ? len : ZPAGE);
	if (unlikely(ret) && p->mail.box) {
		/* What is promised to pages in the mailbox is more than they will take. */
		mail_drain(p);
		ret = slot_room(p, s, state, nr, len ? SLOT_PACKED : SLOT_RAW, len ? len : ZPAGE);
	}
	if (!ret) {
		memcpy(zpool_data(&p->zpool, slot_obj(s, *state)), bytes, len ? len : ZPAGE);
		count_packed(p, len ? len : ZPAGE);
		s->hash[0] = hash.lo;
		s->hash[1] = hash.hi;
	}
	if (cs)
		codec_put(cs);
	return ret;
}

/* ---- the engine's operations ------------------------------------------------------------------------------------ */

static void note_highest(struct swap_pool *p, unsigned long nr)
{
	unsigned long high = atomic_load_explicit(&p->highest, memory_order_relaxed);

	while (nr > high && !atomic_compare_exchange_weak_explicit(&p->highest, &high, nr, memory_order_relaxed,
								   memory_order_relaxed))
		;
}

/* A slot that the hand would reach soon is passed once. */
static uint32_t fresh_state(const struct swap_pool *p, unsigned long nr, uint32_t state)
{
	unsigned long high = atomic_load_explicit(&p->highest, memory_order_relaxed);
	unsigned long hand = atomic_load_explicit(&p->spill->hand, memory_order_relaxed);
	unsigned long ahead = nr >= hand ? nr - hand : nr + high - hand;

	return ahead < high / 2 ? state | SLOT_REF : state & ~SLOT_REF;
}

static int pool_store(void *ctx, unsigned long nr, const void *page)
{
	struct swap_pool *p = ctx;
	struct slot *s = slot_of(p, nr);
	struct page_hash hash;
	uint32_t state;
	uint64_t word;
	int ret;

	count_add(&p->stores, 1);
	if (unlikely(!s))
		return -ENOSPC;
	if (unlikely(nr > atomic_load_explicit(&p->highest, memory_order_relaxed)))
		note_highest(p, nr);
	if (p->mail.box)
		mail_harvest(p);
	state = slot_pin(s);
	if (same_filled(page, &word)) {
		ret = store_same(p, s, &state, nr, word);
	} else {
		hash = p->hash_page(page, p->secret);
		if (SLOT_KIND(state) >= SLOT_MAILED && s->hash[0] == hash.lo && s->hash[1] == hash.hi)
			ret = 1;
		else
			ret = store_packed(p, s, &state, nr, page, hash);
	}
	if (p->spill)
		state = ret == 1 ? state | SLOT_REF : fresh_state(p, nr, state);
	slot_unpin(s, state);
	if (ret == 1)
		count_add(&p->store_unchanged, 1);
	return ret;
}

/* Pinned. => 0, or -EIO when what is stored is not what was stored. */
static int slot_read(struct swap_pool *p, const struct slot *s, uint32_t state, unsigned long nr, void *page)
{
	char filed[ZPAGE + CODEC_OVERREAD];
	const uint32_t len = SLOT_LEN(state);
	const char *bytes;
	struct page_hash hash;

	if (SLOT_KIND(state) == SLOT_SAME) {
		if (s->hash[0] != hash_word(s->hash[1], nr, p->secret))
			return -EIO;
		same_fill(page, s->hash[1]);
		return 0;
	}
	if (SLOT_KIND(state) == SLOT_FILED) {
		bytes = len == ZPAGE ? page : filed;
		if (spill_read(p->spill, s->block, SLOT_INDEX(state), len, len == ZPAGE ? page : filed))
			return -EIO;
	} else {
		bytes = SLOT_KIND(state) == SLOT_MAILED ? mail_page(p, s) : zpool_data(&p->zpool, slot_obj(s, state));
	}
	if (SLOT_KIND(state) == SLOT_MAILED || len == ZPAGE) {
		if (bytes != page)
			memcpy(page, bytes, ZPAGE);
	} else if (codec_unpack(&p->codec, bytes, len, page)) {
		return -EIO;
	}
	hash = p->hash_page(page, p->secret);
	return hash.lo == s->hash[0] && hash.hi == s->hash[1] ? 0 : -EIO;
}

/* A slot that holds nothing has no bytes to give: -EIO as well, but nothing is damaged. */
static int pool_load(void *ctx, unsigned long nr, void *page)
{
	struct swap_pool *p = ctx;
	struct slot *s = slot_of(p, nr);
	uint32_t state;
	int ret = -EIO;

	count_add(&p->loads, 1);
	if (unlikely(!s))
		return -EIO;
	state = slot_pin(s);
	if (likely(SLOT_KIND(state) != SLOT_NONE)) {
		ret = slot_read(p, s, state, nr, page);
		if (unlikely(ret))
			count_add(&p->damaged, 1);
		if (p->spill)
			state |= SLOT_REF;
	}
	slot_unpin(s, state);
	return ret;
}

static void pool_free(void *ctx, unsigned long nr)
{
	struct swap_pool *p = ctx;
	struct slot *s = slot_of(p, nr);

	count_add(&p->frees, 1);
	/* Slots above the highest were never stored to: looking would touch their page. */
	if (unlikely(!s) || nr > atomic_load_explicit(&p->highest, memory_order_relaxed))
		return;
	slot_clear(p, s, slot_pin(s));
	slot_unpin(s, SLOT_STATE(SLOT_NONE, 0, 0));
}

const struct swap_ops swap_pool_ops = { .store = pool_store, .load = pool_load, .free = pool_free };

/* ---- compaction -------------------------------------------------------------------------------------------------- */

static bool mover_pin(void *ctx, uint32_t owner, struct zobj at)
{
	struct slot *s = &((struct swap_pool *)ctx)->slots[owner];
	uint32_t state;

	/* A slot in the middle of a store is pinned before its object has an owner: unpinned means that slot and
	 * object agree. */
	return slot_try_pin(s, &state);
}

static void mover_moved(void *ctx, uint32_t owner, struct zobj to)
{
	struct slot *s = &((struct swap_pool *)ctx)->slots[owner];
	uint32_t state = atomic_load_explicit(&s->state, memory_order_relaxed);

	s->block = to.block;
	slot_unpin(s, SLOT_STATE(SLOT_KIND(state), to.index, SLOT_LEN(state)) | (state & SLOT_REF));
}

size_t swap_pool_compact(struct swap_pool *p)
{
	const struct zpool_mover mover = { .pin = mover_pin, .moved = mover_moved, .ctx = p };

	return zpool_compact(&p->zpool, &mover, COMPACT_STEP);
}

void swap_pool_set_limit(struct swap_pool *p, size_t bytes)
{
	zpool_set_limit(&p->zpool, bytes);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

struct layout {
	size_t codec, spill, slots, blocks, owners, objects, end; /* offsets */
	uint32_t nr_blocks;
};

static size_t round_page(size_t n)
{
	return (n + ZPAGE - 1) & ~(size_t)(ZPAGE - 1);
}

static struct layout layout_for(const struct swap_pool_params *q, size_t codec_len, uint32_t nr_blocks)
{
	struct layout l = { .nr_blocks = nr_blocks };

	l.codec = round_page(sizeof(struct swap_pool));
	l.spill = l.codec + codec_len;
	l.slots = l.spill + spill_bytes(&q->file);
	l.blocks = l.slots + round_page((q->nr_slots + 1) * sizeof(struct slot));
	l.owners = l.blocks + round_page(nr_blocks * sizeof(struct zblock));
	l.objects = l.owners + round_page(nr_blocks * sizeof(uint32_t[ZBLOCK_PAGES]));
	l.end = l.objects + nr_blocks * ZBLOCK_STRIDE + round_page(CODEC_OVERREAD);
	return l;
}

/*
 * A block for each slot, if the host lets us: then address space never runs out, however thinly frees leave the
 * blocks filled. With less, compaction has to come first; an eighth is what raw pages need, packed without a gap.
 */
static struct swap_pool *reserve_space(const struct swap_pool_params *q, size_t codec_len, struct layout *l)
{
	for (unsigned part = 1; part <= ZBLOCK_PAGES; part *= 2) {
		long at;

		*l = layout_for(q, codec_len, (uint32_t)(q->nr_slots / part) + ZCLASSES + ZRESERVE + 1);
		at = sys_mmap(0, l->end, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (!sys_is_err(at))
			return (struct swap_pool *)at;
	}
	return NULL;
}

static struct { unsigned long addr; size_t len; } newest;

void swap_pool_range(unsigned long *addr, size_t *len)
{
	*addr = newest.addr;
	*len = newest.len;
}

struct swap_pool *swap_pool_create(const struct swap_pool_params *q, int *err)
{
	size_t codec_len = codec_bytes(q->codec, q->level);
	struct swap_pool *p;
	struct layout l;

	*err = -EINVAL;
	if (q->nr_slots == 0 || q->nr_slots > POOL_MAX_SLOTS || codec_len == 0)
		return NULL;
	*err = -ENOMEM;
	p = reserve_space(q, codec_len, &l);
	if (!p)
		return NULL;
	/* Huge pages would make memory of what was never used, and what is counted here untrue. A host without them
	 * refuses: fine. */
	sys_madvise((unsigned long)p, l.end, MADV_NOHUGEPAGE);
	p->map_len = l.end;
	p->nr_slots = q->nr_slots;
	p->hash_page = hash_page_best();
	p->slots = (struct slot *)((char *)p + l.slots);
	*err = codec_init(&p->codec, q->codec, q->level, (char *)p + l.codec);
	if (!*err && sys_getrandom(p->secret, sizeof(p->secret)) != sizeof(p->secret))
		*err = -EIO;
	if (!*err && q->file.bytes) {
		p->spill = (struct spill *)((char *)p + l.spill);
		*err = spill_init(p->spill, &q->file, (char *)p + l.spill);
	}
	if (*err) {
		swap_pool_destroy(p);
		return NULL;
	}
	newest.addr = (unsigned long)p;
	newest.len = l.end;
	zpool_init(&p->zpool, (char *)p + l.objects, (struct zblock *)((char *)p + l.blocks),
		   (uint32_t(*)[ZBLOCK_PAGES])((char *)p + l.owners), l.nr_blocks, q->limit);
	return p;
}

void swap_pool_destroy(struct swap_pool *p)
{
	if (!p)
		return;
	if (newest.addr == (unsigned long)p)
		newest.addr = newest.len = 0;
	if (p->spill)
		spill_io_close(&p->spill->io);
	sys_munmap((unsigned long)p, p->map_len);
}

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

#define READ(x) atomic_load_explicit(&(x), memory_order_relaxed)

static void file_stats(const struct spill *s, struct swap_pool_stats *out)
{
	out->file_pages = READ(s->objects);
	out->file_stored = READ(s->bytes);
	out->file_bytes = READ(s->segments) * SPILL_SEGMENT;
	out->file_bytes_peak = READ(s->segments_peak) * SPILL_SEGMENT;
	out->file_pages_out = READ(s->pages_out);
	out->file_pages_in = READ(s->pages_in);
	out->file_bytes_out = READ(s->bytes_out);
	out->file_bytes_in = READ(s->bytes_in);
	out->file_write_errors = READ(s->write_errors);
	out->file_read_errors = READ(s->read_errors);
	out->file_cleaned = READ(s->cleaned);
	out->file_ring = s->io.use_ring;
	out->slots_used += out->file_pages;
	out->bytes_meta += spill_touched(s);
}

void swap_pool_stats(const struct swap_pool *p, struct swap_pool_stats *out)
{
	const struct zpool *z = &p->zpool;
	const uint32_t pending = READ(p->mail.pending);

	*out = (struct swap_pool_stats){ 0 };
	out->same_filled = READ(p->same_filled);
	out->incompressible = READ(z->class[ZCLASS_RAW].objects);
	out->slots_used = out->same_filled + pending;
	out->bytes_stored = (uint64_t)pending * ZPAGE;
	for (uint32_t i = 0; i < z->nr_classes; i++) {
		out->slots_used += READ(z->class[i].objects);
		out->bytes_stored += READ(z->class[i].bytes);
	}
	out->bytes_pool = (READ(z->pages_used) + pending) * ZPAGE;
	out->bytes_pool_peak = READ(z->pages_peak) * ZPAGE;
	if (out->bytes_pool_peak < out->bytes_pool)
		out->bytes_pool_peak = out->bytes_pool;
	out->bytes_meta = round_page(sizeof(*p)) + codec_touched(&p->codec) +
			  round_page((READ(p->highest) + 1) * sizeof(struct slot)) + round_page(READ(z->fresh) * sizeof(struct zblock)) +
			  zpool_owners_touched(z);
	/* A pending page is counted as the pool's already. */
	if (p->mail.box)
		out->bytes_meta += mail_touched(p) - (uint64_t)pending * ZPAGE;
	if (p->spill)
		file_stats(p->spill, out);
	out->stores = READ(p->stores);
	out->store_unchanged = READ(p->store_unchanged);
	out->loads = READ(p->loads);
	out->frees = READ(p->frees);
	out->packed = READ(p->packed);
	out->packed_bytes = READ(p->packed_bytes);
	out->damaged = READ(p->damaged);
	out->compactions = READ(z->compactions);
	out->moved_objects = READ(z->moved);
}

/* ---- damage ------------------------------------------------------------------------------------------------------ */

/* Some bytes can be changed without a change to the page (a match of another copy of the same bytes): look for one
 * that matters. */
static int damage_object(struct swap_pool *p, struct slot *s, uint32_t state, unsigned long nr)
{
	char page[ZPAGE] __attribute__((aligned(64)));
	char *bytes = zpool_data(&p->zpool, slot_obj(s, state));
	uint32_t len = SLOT_LEN(state);

	for (uint32_t i = 0; i < len; i++) {
		char *b = &bytes[(i + len / 2) % len];

		*b ^= 0x55;
		if (slot_read(p, s, state, nr, page))
			return 0;
		*b ^= 0x55;
	}
	return -ENOENT;
}

int swap_pool_damage(struct swap_pool *p, unsigned long nr)
{
	struct slot *s = slot_of(p, nr);
	uint32_t state;
	int ret = -ENOENT;

	if (!s)
		return -ENOENT;
	state = slot_pin(s);
	if (SLOT_KIND(state) == SLOT_MAILED && mail_recall(p, s, &state, nr)) {
		slot_unpin(s, state);
		return -ENOENT;
	}
	if (SLOT_KIND(state) == SLOT_SAME) {
		s->hash[1] ^= 0x55;
		ret = 0;
	} else if (SLOT_KIND(state) == SLOT_FILED) {
		s->hash[0] ^= 0x55; /* what is in the file isn't this any more */
		ret = 0;
	} else if (SLOT_KIND(state) != SLOT_NONE) {
		ret = damage_object(p, s, state, nr);
	}
	slot_unpin(s, state);
	return ret;
}
