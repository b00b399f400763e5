/* SPDX-License-Identifier: MIT
 *
 * zpool.c - the allocator of compressed pages: blocks, classes, compaction.
 *
 * Considered and rejected: objects that cross from one page into any other (no tail at all, but every access copies
 * twice); a buddy of fractions of a page (rounding alone costs a fifth); one block size for all classes (32 KiB
 * leaves nine sizes above half a page, where 1..8 pages have twice as many, in smaller blocks).
 */
#include <string.h>

#include "mm/errno.h"
#include "swap/zpool.h"

static inline uint32_t *owner_of(const struct zpool *z, uint32_t block, uint32_t index)
{
	const struct zclass *c = zpool_class(z, block);

	if (!c->owner_bytes)
		return &z->raw_owner[block][index];
	return (uint32_t *)(z->base + block * ZBLOCK_STRIDE + (size_t)index * c->size);
}

/* The link of a free object lies where its bytes would. */
static inline uint16_t *link_of(const struct zpool *z, uint32_t block, uint32_t index)
{
	return (uint16_t *)zpool_data(z, (struct zobj){ block, index });
}

/* ---- classes ----------------------------------------------------------------------------------------------------- */

/*
 * The block for objects of at least `size`: what an object costs, its share of the tail included, should be near its
 * size; a page more in a block must save more than ZPAGE_WEIGHT bytes an object, because each class has a block that
 * is only half full. A block of one page is made one of ZPAGE_LEAST: its descriptor would be 8 bytes for each object of
 * half a page, which is what most data become.
 */
#define ZPAGE_WEIGHT 4u
#define ZPAGE_LEAST  4u

static void class_fit(uint32_t size, uint32_t *best_pages, uint32_t *best_n)
{
	uint32_t best = UINT32_MAX;

	for (uint32_t pages = 1; pages <= ZBLOCK_PAGES; pages++) {
		uint32_t n = pages * ZPAGE / size;
		uint32_t cost = n ? pages * ZPAGE / n + pages * ZPAGE_WEIGHT : UINT32_MAX;

		if (cost < best) {
			best = cost;
			*best_pages = pages;
			*best_n = n;
		}
	}
	if (*best_pages == 1) {
		*best_pages = ZPAGE_LEAST;
		*best_n = ZPAGE_LEAST * ZPAGE / (ZPAGE / *best_n / ZCLASS_GRAIN * ZCLASS_GRAIN); /* rounded down, more may fit */
	}
}

static void class_add(struct zpool *z, uint32_t pages, uint32_t n, uint32_t size, uint32_t owner_bytes)
{
	struct zclass *c = &z->class[z->nr_classes++];

	c->size = size;
	c->n = (uint16_t)n;
	c->pages = (uint8_t)pages;
	c->owner_bytes = (uint8_t)owner_bytes;
}

/* Spacing: a step below 1/32 of the size gains less than the half-filled block of one more class costs in a pool of
 * 64 MiB. */
static uint32_t class_step(uint32_t size)
{
	uint32_t step = size / 32 / ZCLASS_GRAIN * ZCLASS_GRAIN;

	return step < 2 * ZCLASS_GRAIN ? 2 * ZCLASS_GRAIN : step;
}

static void classes_init(struct zpool *z)
{
	uint32_t from = 0; /* first entry of class_of that has no class yet */

	class_add(z, ZBLOCK_PAGES, ZBLOCK_PAGES, ZPAGE, 0);
	for (uint32_t want = ZCLASS_MIN; from < sizeof(z->class_of); want += class_step(want)) {
		uint32_t pages = 1, n = 1, size;

		class_fit(want, &pages, &n);
		size = pages * ZPAGE / n / ZCLASS_GRAIN * ZCLASS_GRAIN;
		if (size / ZCLASS_GRAIN < from)
			continue; /* the class before is just as good */
		class_add(z, pages, n, size, ZOWNER);
		for (; from <= size / ZCLASS_GRAIN && from < sizeof(z->class_of); from++)
			z->class_of[from] = (uint8_t)(z->nr_classes - 1);
		if (want < size)
			want = size;
	}
}

void zpool_init(struct zpool *z, char *base, struct zblock *blocks, uint32_t (*raw_owner)[ZBLOCK_PAGES], uint32_t nr_blocks,
		size_t limit)
{
	z->base = base;
	z->blocks = blocks;
	z->raw_owner = raw_owner;
	z->nr_blocks = nr_blocks;
	atomic_init(&z->limit, limit);
	atomic_init(&z->fresh, 1);
	classes_init(z);
}

/* A raw block touches one page, and none lies beyond the blocks ever used. */
size_t zpool_owners_touched(const struct zpool *z)
{
	const size_t fresh = atomic_load_explicit(&z->fresh, memory_order_relaxed) * sizeof(z->raw_owner[0]);
	const size_t pages = (fresh + ZPAGE - 1) / ZPAGE;
	const size_t made = atomic_load_explicit(&z->raw_made, memory_order_relaxed);

	return (made < pages ? made : pages) * ZPAGE;
}

/* ---- blocks ------------------------------------------------------------------------------------------------------ */

static void block_to_host(struct zpool *z, uint32_t b, uint32_t pages)
{
	sys_madvise((unsigned long)z->base + b * ZBLOCK_STRIDE, (size_t)pages * ZPAGE, MADV_DONTNEED);
	z->blocks[b].next = z->unused;
	z->unused = b;
	atomic_fetch_sub_explicit(&z->pages_used, pages, memory_order_relaxed);
}

/* Locked: block lock. => bytes that went back. */
static size_t reserve_to_host(struct zpool *z)
{
	size_t pages = 0;

	for (uint32_t k = 1; z->nr_reserve && k <= ZBLOCK_PAGES; k++) {
		while (z->reserve[k]) {
			uint32_t b = z->reserve[k];

			z->reserve[k] = z->blocks[b].next;
			z->nr_reserve--;
			block_to_host(z, b, k);
			pages += k;
		}
	}
	return pages * ZPAGE;
}

/* Locked: block lock. May so many pages more be in use? */
static bool within_limit(struct zpool *z, uint32_t pages)
{
	size_t limit = atomic_load_explicit(&z->limit, memory_order_relaxed);

	return !limit || (atomic_load_explicit(&z->pages_used, memory_order_relaxed) + z->promised + pages) * ZPAGE <= limit;
}

/* A block of so many pages, or 0. *resident: the host has already given its pages. Called with the lock of the class
 * that wants it. */
static uint32_t block_get(struct zpool *z, uint32_t pages, bool *resident)
{
	uint32_t b;
	uint64_t used;

	lock_take(&z->lock);
	b = z->reserve[pages];
	*resident = b && within_limit(z, 0);
	if (*resident) {
		z->reserve[pages] = z->blocks[b].next;
		z->nr_reserve--;
		goto out;
	}
	b = 0;
	if (!within_limit(z, pages) && (!reserve_to_host(z) || !within_limit(z, pages)))
		goto out;
	if (z->unused) {
		b = z->unused;
		z->unused = z->blocks[b].next;
	} else if (atomic_load_explicit(&z->fresh, memory_order_relaxed) < z->nr_blocks) {
		b = atomic_fetch_add_explicit(&z->fresh, 1, memory_order_relaxed);
	} else {
		goto out;
	}
	used = atomic_fetch_add_explicit(&z->pages_used, pages, memory_order_relaxed) + pages;
	if (used > atomic_load_explicit(&z->pages_peak, memory_order_relaxed))
		atomic_store_explicit(&z->pages_peak, used, memory_order_relaxed);
out:
	lock_drop(&z->lock);
	return b;
}

/* An empty block leaves its class. keep: it may stay in the reserve. */
static void block_put(struct zpool *z, uint32_t b, uint32_t pages, bool keep)
{
	lock_take(&z->lock);
	z->blocks[b].group = ZGROUP_UNUSED;
	if (keep && z->nr_reserve < ZRESERVE && within_limit(z, 0)) {
		z->blocks[b].next = z->reserve[pages];
		z->reserve[pages] = b;
		z->nr_reserve++;
	} else {
		block_to_host(z, b, pages);
	}
	lock_drop(&z->lock);
}

bool zpool_promise(struct zpool *z, uint32_t pages)
{
	bool fits;

	lock_take(&z->lock);
	fits = within_limit(z, pages) || (reserve_to_host(z) && within_limit(z, pages));
	if (fits)
		z->promised += pages;
	lock_drop(&z->lock);
	return fits;
}

void zpool_redeem(struct zpool *z, int pages)
{
	lock_take(&z->lock);
	z->promised -= (uint64_t)(int64_t)pages;
	lock_drop(&z->lock);
}

void zpool_set_limit(struct zpool *z, size_t bytes)
{
	atomic_store_explicit(&z->limit, bytes, memory_order_relaxed);
	lock_take(&z->lock);
	if (!within_limit(z, 0))
		reserve_to_host(z);
	lock_drop(&z->lock);
}

/* ---- lists of a class; all locked: class lock ------------------------------------------------------------------- */

static void list_add(struct zpool *z, struct zclass *c, uint32_t b, uint32_t group)
{
	struct zblock *blk = &z->blocks[b];

	blk->group = (uint8_t)group;
	if (group == ZGROUP_FULL)
		return;
	blk->prev = 0;
	blk->next = c->group[group];
	if (blk->next)
		z->blocks[blk->next].prev = b;
	c->group[group] = b;
}

static void list_del(struct zpool *z, struct zclass *c, uint32_t b)
{
	struct zblock *blk = &z->blocks[b];

	if (blk->group >= ZGROUPS)
		return;
	if (blk->prev)
		z->blocks[blk->prev].next = blk->next;
	else
		c->group[blk->group] = blk->next;
	if (blk->next)
		z->blocks[blk->next].prev = blk->prev;
}

static uint32_t group_for(const struct zclass *c, uint32_t used)
{
	return used * ZGROUPS / c->n; /* used == n: ZGROUP_FULL */
}

/* The fullest block with room that is not `but`, or 0. */
static uint32_t class_fullest(const struct zpool *z, const struct zclass *c, uint32_t but)
{
	for (uint32_t g = ZGROUPS; g-- > 0;) {
		uint32_t b = c->group[g];

		if (b == but && b)
			b = z->blocks[b].next;
		if (b)
			return b;
	}
	return 0;
}

static uint32_t class_new_block(struct zpool *z, struct zclass *c)
{
	bool resident;
	uint32_t b = block_get(z, c->pages, &resident);
	struct zblock *blk = &z->blocks[b];

	if (!b)
		return 0;
	/* All of it will be used soon: one call instead of a host fault for each page (none: 3.05 -> 2.63 us a store
	 * into a fresh pool). Hosts before 5.14 refuse, and the pages come one by one. */
	if (c->pages > 1 && !resident)
		sys_madvise((unsigned long)z->base + b * ZBLOCK_STRIDE, (size_t)c->pages * ZPAGE, MADV_POPULATE_WRITE);
	blk->used = blk->fresh = blk->free = 0;
	blk->class = (uint8_t)(c - z->class);
	if (blk->class == ZCLASS_RAW && z->raw_made < UINT32_MAX)
		atomic_fetch_add_explicit(&z->raw_made, 1, memory_order_relaxed);
	list_add(z, c, b, 0);
	atomic_fetch_add_explicit(&c->blocks, 1, memory_order_relaxed);
	return b;
}

static struct zobj object_take(struct zpool *z, struct zclass *c, uint32_t b, uint32_t owner)
{
	struct zblock *blk = &z->blocks[b];
	struct zobj obj = { .block = b };
	uint32_t group;

	if (blk->free) {
		obj.index = blk->free - 1u;
		blk->free = *link_of(z, b, obj.index);
	} else {
		obj.index = blk->fresh++;
	}
	*owner_of(z, b, obj.index) = owner;
	group = group_for(c, ++blk->used);
	if (group != blk->group) {
		list_del(z, c, b);
		list_add(z, c, b, group);
	}
	return obj;
}

/* => the block is empty now and has left the class; the caller gives it away. */
static bool object_drop(struct zpool *z, struct zclass *c, struct zobj obj)
{
	struct zblock *blk = &z->blocks[obj.block];
	uint32_t group;

	*owner_of(z, obj.block, obj.index) = 0;
	*link_of(z, obj.block, obj.index) = blk->free;
	blk->free = (uint16_t)(obj.index + 1);
	if (!--blk->used) {
		list_del(z, c, obj.block);
		atomic_fetch_sub_explicit(&c->blocks, 1, memory_order_relaxed);
		return true;
	}
	group = group_for(c, blk->used);
	if (group != blk->group) {
		list_del(z, c, obj.block);
		list_add(z, c, obj.block, group);
	}
	return false;
}

/* ---- objects ----------------------------------------------------------------------------------------------------- */

/* => 0, or -ENOSPC: no block has room, and no new one may be had (or was asked for). */
static int class_alloc(struct zpool *z, struct zclass *c, uint32_t len, uint32_t owner, bool new_block,
		       struct zobj *obj)
{
	uint32_t b;

	lock_take(&c->lock);
	b = class_fullest(z, c, 0);
	if (unlikely(!b) && new_block)
		b = class_new_block(z, c);
	if (likely(b)) {
		*obj = object_take(z, c, b, owner);
		atomic_store_explicit(&c->objects, c->objects + 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&c->bytes, len, memory_order_relaxed);
	}
	lock_drop(&c->lock);
	return b ? 0 : -ENOSPC;
}

/* When no block may be had any more, a place that is too large is better than none. */
int zpool_alloc(struct zpool *z, uint32_t len, uint32_t owner, struct zobj *obj)
{
	uint32_t class = zpool_class_for(z, len), last = class + ZCLASS_LARGER;
	int ret = class_alloc(z, &z->class[class], len, owner, true, obj);

	if (likely(!ret) || class == ZCLASS_RAW)
		return ret;
	while (ret && ++class < z->nr_classes && class <= last)
		ret = class_alloc(z, &z->class[class], len, owner, false, obj);
	return ret;
}

void zpool_free(struct zpool *z, struct zobj obj, uint32_t len)
{
	struct zclass *c = &z->class[z->blocks[obj.block].class];
	bool empty;

	lock_take(&c->lock);
	empty = object_drop(z, c, obj);
	atomic_store_explicit(&c->objects, c->objects - 1, memory_order_relaxed);
	atomic_fetch_sub_explicit(&c->bytes, len, memory_order_relaxed);
	lock_drop(&c->lock);
	if (unlikely(empty))
		block_put(z, obj.block, c->pages, true);
}

bool zpool_reuse(struct zpool *z, struct zobj obj, uint32_t old, uint32_t len)
{
	struct zclass *c = &z->class[z->blocks[obj.block].class];

	if (c != &z->class[zpool_class_for(z, len)])
		return false;
	atomic_fetch_add_explicit(&c->bytes, (uint64_t)len - old, memory_order_relaxed);
	return true;
}

/* ---- compaction -------------------------------------------------------------------------------------------------- */

/* Locked: class lock. The emptiest block, if its objects have room in the others; else 0. */
static uint32_t class_victim(const struct zpool *z, const struct zclass *c)
{
	uint64_t room = (uint64_t)c->blocks * c->n - c->objects;

	for (uint32_t g = 0; g < ZGROUPS; g++) {
		uint32_t b = c->group[g];

		if (b)
			return room >= c->n ? b : 0; /* room - (n - used) >= used */
	}
	return 0;
}

/* Locked: class lock. Moves what can be moved. => the block is empty and has left the class. */
static bool block_evacuate(struct zpool *z, struct zclass *c, uint32_t from, const struct zpool_mover *m)
{
	for (uint32_t i = 0; i < z->blocks[from].fresh; i++) {
		struct zobj old = { from, i }, new;
		uint32_t owner = *owner_of(z, from, i);
		uint32_t to;

		if (!owner || !m->pin(m->ctx, owner, old))
			continue;
		to = class_fullest(z, c, from);
		new = object_take(z, c, to, owner);
		memcpy(zpool_data(z, new), zpool_data(z, old), c->size - c->owner_bytes);
		m->moved(m->ctx, owner, new);
		atomic_fetch_add_explicit(&z->moved, 1, memory_order_relaxed);
		if (object_drop(z, c, old))
			return true;
	}
	return false;
}

/* The lock is dropped between blocks, so that nobody waits for longer than the copying of one. => bytes given back. */
static size_t class_compact(struct zpool *z, struct zclass *c, const struct zpool_mover *m, size_t enough)
{
	size_t bytes = 0;

	while (bytes < enough) {
		uint32_t b;
		bool empty;

		lock_take(&c->lock);
		b = class_victim(z, c);
		empty = b && block_evacuate(z, c, b, m);
		lock_drop(&c->lock);
		if (!empty)
			break; /* nothing to gain, or an object is in use at this moment */
		block_put(z, b, c->pages, false);
		bytes += (size_t)c->pages * ZPAGE;
	}
	return bytes;
}

size_t zpool_compact(struct zpool *z, const struct zpool_mover *mover, size_t enough)
{
	size_t bytes;

	atomic_fetch_add_explicit(&z->compactions, 1, memory_order_relaxed);
	lock_take(&z->lock);
	bytes = reserve_to_host(z);
	lock_drop(&z->lock);
	for (uint32_t i = 0; i < z->nr_classes && bytes < enough; i++) {
		uint32_t nr = atomic_load_explicit(&z->compact_next, memory_order_relaxed);

		bytes += class_compact(z, &z->class[nr % z->nr_classes], mover, enough - bytes);
		if (bytes < enough)
			atomic_store_explicit(&z->compact_next, (nr + 1) % z->nr_classes, memory_order_relaxed);
	}
	return bytes;
}
