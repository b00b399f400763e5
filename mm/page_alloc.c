/* SPDX-License-Identifier: MIT
 *
 * page_alloc.c - frames: a buddy allocator over mem_map.
 *
 *      0                        fresh                        nr_frames
 *      +--------------------------+------------------------------+
 *      | in use, or on free lists | never used: mem_map untouched|
 *      +--------------------------+------------------------------+
 *
 * Free frames stand in lists by order (0..6), so that a run of 16 or 64 neighbours is taken and given back at once: one
 * machine_map() maps a run. Frames that were never used cost nothing, not even their struct page: the free lists are
 * asked first, and the boundary `fresh` rises by blocks of 64 only when they have nothing of the size.
 *
 * Single frames come from a small stack of free ones that each processor has (struct mm_cpu), and go back there, the last freed first: a list of
 * blocks costs six times as many instructions (196 -> 31 for a frame), a frame that was just freed is still in the cache, and nothing is
 * written that another processor writes. When the stack is empty, a run of neighbours is taken from the blocks; when it is full, its older half goes
 * back to them. Frames are charged to the limit when they come to a stack, so that who takes one from there has nothing to compare.
 *
 * Frames on stacks are free all the same: nr_used_frames() doesn't count them. Who gets nothing from the blocks, or would exceed the limit, takes them
 * off all the stacks first.
 *
 * At most `limit` frames are in use. While mm_quiet() is set nothing can be evicted, so that allocation may exceed the limit by a
 * reserve, as far as there are frames.
 */
#include "mm/internal.h"

#include <limits.h>

struct page *mem_map;

static struct {
	spinlock_t lock;
	unsigned nonempty;     /* bit per order */
	unsigned long nr_frames, fresh;
	atomic_ulong charged;  /* frames in use, and those on the stacks */
	atomic_ulong limit;
	atomic_ulong now;      /* what may be in use at this moment: limit, and while mm_quiet() is set more */
	unsigned long nr_free; /* in the lists */
	unsigned long offer_hand; /* where mm_offer_free_frames() goes on; a hint, without the lock */
	struct {               /* changes seldom */
		unsigned hot_fill, hot_max; /* frames that a stack gets at a time, and has at most */
		atomic_bool quiet;
	} __cacheline_aligned;
} zone __cacheline_aligned;

/* Of a small memory only a small part lies on stacks. A single processor has nobody to share the zone with. */
static void set_hot_sizes(void)
{
	unsigned long share = zone.nr_frames / (32 * nr_cpus);

	zone.hot_max = nr_cpus > 1 ? MAX_HOT : MAX_HOT / 2;
	while (zone.hot_max > 2 && zone.hot_max > share)
		zone.hot_max /= 2;
	zone.hot_fill = zone.hot_max / 2;
}

int page_alloc_init(unsigned long nr_frames, unsigned long limit)
{
	struct page *map;

	if (!nr_frames || nr_frames > UINT32_MAX - NR_PAGE_HEADS)
		return -EINVAL;
	map = machine_alloc((nr_frames + NR_PAGE_HEADS) * sizeof(struct page));
	if (!map)
		return -ENOMEM;
	mem_map = map + NR_PAGE_HEADS;
	for (unsigned i = 0; i < NR_PAGE_HEADS; i++)
		page_list_init(page_head(i));
	zone.nr_frames = nr_frames;
	zone.fresh = zone.nr_free = zone.offer_hand = 0;
	zone.nonempty = 0;
	set_hot_sizes();
	page_alloc_reinit_locks();
	atomic_store(&zone.charged, 0);
	atomic_store(&zone.quiet, false);
	mm_set_frame_limit(limit);
	return 0;
}

unsigned long reserve_frame(void)
{
	struct page *page = pfn_to_page(zone.nr_frames - 1);

	if (zone.nr_frames < 2 || zone.fresh)
		return -1UL;
	zone.nr_frames--;
	mm_set_frame_limit(atomic_load(&zone.limit));
	atomic_store(&page->flags, PG_reserved);
	atomic_store(&page->_refcount, 1);
	atomic_store(&page->_mapcount, -1);
	return zone.nr_frames;
}

void page_alloc_reinit_locks(void)
{
	spin_lock_init(&zone.lock, ORDER_ZONE);
}

static void hot_trim(unsigned long want);

/* What may be in use at this moment. */
static void set_current_limit(void)
{
	unsigned long limit = atomic_load_explicit(&zone.limit, memory_order_relaxed);

	if (mm_is_quiet())
		limit += 64 + limit / 16;
	spin_lock(&zone.lock);
	atomic_store_explicit(&zone.now, min_ul(limit, zone.nr_frames), memory_order_relaxed);
	spin_unlock(&zone.lock);
	hot_trim(0);
}

void mm_set_frame_limit(unsigned long nr)
{
	atomic_store_explicit(&zone.limit, nr && nr < zone.nr_frames ? nr : zone.nr_frames, memory_order_relaxed);
	set_current_limit();
}

void mm_quiet(bool quiet)
{
	atomic_store(&zone.quiet, quiet);
	set_current_limit();
}

bool mm_is_quiet(void)
{
	return atomic_load_explicit(&zone.quiet, memory_order_relaxed);
}

unsigned long nr_hot_frames(void)
{
	unsigned long n = 0;

	for_each_cpu(cpu)
		n += __atomic_load_n(&mm_cpus[cpu].nr_hot, __ATOMIC_RELAXED);
	return n;
}

/* As of a moment ago; exact when nothing else runs. */
unsigned long nr_used_frames(void)
{
	unsigned long charged = atomic_load_explicit(&zone.charged, memory_order_relaxed), hot = nr_hot_frames();

	return charged > hot ? charged - hot : 0;
}

/* Only a free makes fewer, so that before it is early enough to look for a peak. */
static void note_peak(void)
{
	uint64_t peak = read_gauge(frames_peak);
	unsigned long used;

	if (atomic_load_explicit(&zone.charged, memory_order_relaxed) <= peak)
		return;
	used = nr_used_frames();
	while (used > peak && !__atomic_compare_exchange_n(&mm_gauges.frames_peak, &peak, used, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

uint64_t note_frames(void)
{
	note_peak();
	return nr_used_frames();
}

/* zone.lock held */
static inline void charge(long n)
{
	atomic_store_explicit(&zone.charged, atomic_load_explicit(&zone.charged, memory_order_relaxed) + n, memory_order_relaxed);
}

static inline bool over_limit(void)
{
	return atomic_load_explicit(&zone.charged, memory_order_relaxed) > atomic_load_explicit(&zone.now, memory_order_relaxed);
}

static inline unsigned long current_limit(void)
{
	return atomic_load_explicit(&zone.now, memory_order_relaxed);
}

unsigned long nr_free_frames(void)
{
	unsigned long used = nr_used_frames(), limit = atomic_load_explicit(&zone.limit, memory_order_relaxed);

	return used < limit ? limit - used : 0;
}

unsigned long nr_free_low(void)
{
	return min_ul(atomic_load_explicit(&zone.limit, memory_order_relaxed) / 32, 256);
}

bool get_page_unless_zero(struct page *page)
{
	int ref = page_count(page);

	while (ref > 0)
		if (atomic_compare_exchange_weak_explicit(&page->_refcount, &ref, ref + 1, memory_order_acquire,
							  memory_order_relaxed))
			return true;
	return false;
}

/* ---- buddy lists; zone.lock held ----------------------------------------------------------------------------------- */

static void buddy_add(unsigned long pfn, unsigned order)
{
	struct page *page = pfn_to_page(pfn);

	page->private = order;
	atomic_store_explicit(&page->flags, PG_buddy, memory_order_relaxed);
	page_list_add(page, page_head(BUDDY_LIST(order)));
	zone.nonempty |= 1u << order;
}

static void buddy_del(struct page *page, unsigned order)
{
	page_list_del(page);
	atomic_store_explicit(&page->flags, 0, memory_order_relaxed);
	if (page_list_empty(page_head(BUDDY_LIST(order))))
		zone.nonempty &= ~(1u << order);
}

static void free_block(unsigned long pfn, unsigned order)
{
	zone.nr_free += 1UL << order;
	for (; order < MAX_ORDER; order++) {
		unsigned long other = pfn ^ (1UL << order);
		struct page *buddy = pfn_to_page(other);

		if (other + (1UL << order) > zone.fresh || !(page_flags(buddy) & PG_buddy) || buddy->private != order)
			break;
		buddy_del(buddy, order);
		pfn &= ~(1UL << order);
	}
	buddy_add(pfn, order);
}

/* [pfn, pfn + nr) as the fewest aligned blocks. */
static void free_blocks(unsigned long pfn, unsigned long nr)
{
	while (nr) {
		unsigned order = pfn ? __builtin_ctzl(pfn) : MAX_ORDER;
		unsigned fits = 63 - __builtin_clzl(nr);

		order = order < fits ? order : fits;
		order = order < MAX_ORDER ? order : MAX_ORDER;
		free_block(pfn, order);
		pfn += 1UL << order;
		nr -= 1UL << order;
	}
}

/* One more block of frames that were never used. => false: there is none */
static bool take_fresh(void)
{
	unsigned long pfn = zone.fresh, nr = min_ul(1UL << MAX_ORDER, zone.nr_frames - pfn);

	if (!nr)
		return false;
	zone.fresh += nr;
	free_blocks(pfn, nr);
	return true;
}

/* ---- stacks; order of locks: the processor's, zone.lock -------------------------------------------------------------- */

static inline void set_nr_hot(struct mm_cpu *cpu, unsigned n)
{
	__atomic_store_n(&cpu->nr_hot, n, __ATOMIC_RELAXED);
}

/* The n oldest go to the blocks. => both locks held */
static void hot_to_blocks(struct mm_cpu *cpu, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		free_blocks(cpu->hot[i], 1);
	for (unsigned i = n; i < cpu->nr_hot; i++)
		cpu->hot[i - n] = cpu->hot[i];
	set_nr_hot(cpu, cpu->nr_hot - n);
	charge(-(long)n);
}

/* `want` more frames are to be charged, or the limit has sunk: what is over it comes off the stacks. */
static void hot_trim(unsigned long want)
{
	for_each_cpu(i) {
		struct mm_cpu *cpu = &mm_cpus[i];
		long over;

		if (!__atomic_load_n(&cpu->nr_hot, __ATOMIC_RELAXED))
			continue;
		spin_lock(&cpu->lock);
		spin_lock(&zone.lock);
		over = (long)(atomic_load_explicit(&zone.charged, memory_order_relaxed) + want - current_limit());
		if (over > 0)
			hot_to_blocks(cpu, min_ul(over, cpu->nr_hot));
		spin_unlock(&zone.lock);
		spin_unlock_global(&cpu->lock);
	}
}

/* All of them, for what they make together. */
static void hot_drain(void)
{
	hot_trim(LONG_MAX / 2);
}

/* Neighbours for a window are worth frames that were never used before, but each costs its struct page for good: a quarter more than may be in
 * use. From there on a window comes in pieces. => zone.lock held */
static inline unsigned long most_fresh(void)
{
	return current_limit() + current_limit() / 4;
}

/* The smallest free block of at least `order`, else fresh frames, else the largest smaller block. => zone.lock held; pfn, or -1UL */
static unsigned long rmqueue(unsigned *order)
{
	unsigned fit = zone.nonempty >> *order << *order, o;
	struct page *page;
	unsigned long pfn;

	while (!fit && (!zone.nonempty || zone.fresh < most_fresh()) && take_fresh())
		fit = zone.nonempty >> *order << *order;
	if (!zone.nonempty)
		return -1UL;
	o = fit ? (unsigned)__builtin_ctz(fit) : 31u - __builtin_clz(zone.nonempty);
	if (!fit)
		*order = o;
	page = link_page(page_head(BUDDY_LIST(o))->next);
	pfn = page_to_pfn(page);
	buddy_del(page, o);
	while (o > *order) {
		o--;
		buddy_add(pfn + (1UL << o), o);
	}
	zone.nr_free -= 1UL << *order;
	return pfn;
}

/* The stack is empty: the smallest block there is, as far as the limit allows. => its lock held; false: none */
static noinline bool hot_fill(struct mm_cpu *cpu)
{
	unsigned long pfn = -1UL;
	unsigned order = 0;
	long room;

	spin_lock(&zone.lock);
	room = (long)(current_limit() - atomic_load_explicit(&zone.charged, memory_order_relaxed));
	if (room > 0) {
		order = 63 - __builtin_clzl(min_ul(room, zone.hot_fill));
		if (zone.nonempty) /* large ones stay whole */
			order = min_ul(order, __builtin_ctz(zone.nonempty));
		pfn = rmqueue(&order);
	}
	if (pfn != -1UL)
		charge(1L << order);
	spin_unlock(&zone.lock);
	if (pfn == -1UL)
		return false;
	for (uint32_t i = 0, n = 1u << order; i < n; i++) /* they go out in ascending order */
		cpu->hot[i] = (uint32_t)pfn + n - 1 - i;
	set_nr_hot(cpu, 1u << order);
	return true;
}

/* ---- allocation ---------------------------------------------------------------------------------------------------- */

noinline bool hot_refill(struct mm_cpu *cpu)
{
	if (hot_fill(cpu))
		return true;
	spin_unlock_global(&cpu->lock);
	if (!nr_hot_frames())
		return false;
	hot_drain(); /* what is left is on other stacks */
	spin_lock(&cpu->lock);
	if (cpu->nr_hot || hot_fill(cpu))
		return true;
	spin_unlock_global(&cpu->lock);
	return false;
}

/* => zone.lock held: the room under the limit, or as much as `want`, may be charged, and if frames on stacks could make a block of `order`, they
 * have been asked */
static void zone_lock_for(unsigned long want, unsigned order)
{
	bool fits, room;

	spin_lock(&zone.lock);
	fits = zone.nonempty >> order;
	room = atomic_load_explicit(&zone.charged, memory_order_relaxed) + want <= current_limit();
	if (likely(fits && room) || !nr_hot_frames())
		return;
	spin_unlock(&zone.lock);
	if (!fits)
		hot_drain();
	else
		hot_trim(want);
	spin_lock(&zone.lock);
}

unsigned long alloc_run(unsigned want, unsigned *got)
{
	unsigned long pfn = -1UL, used, limit = current_limit();
	unsigned order, nr;
	long room;

	if (want == 1) {
		*got = 1;
		if (!alloc_one(this_mm_cpu(), &pfn))
			return -1UL;
		trace(alloc_pages, pfn, 1, 1);
		return pfn;
	}
	used = nr_used_frames();
	if (used >= limit)
		return -1UL;
	want = min_ul(want, limit - used);
	order = want > 1 ? 32 - __builtin_clz(want - 1) : 0;
	zone_lock_for(want, order);
	room = (long)(current_limit() - atomic_load_explicit(&zone.charged, memory_order_relaxed));
	if (room > 0)
		pfn = rmqueue(&order);
	if (pfn == -1UL) {
		spin_unlock(&zone.lock);
		return -1UL;
	}
	nr = min_ul(min_ul(want, room), 1u << order);
	if (nr < 1u << order)
		free_blocks(pfn + nr, (1u << order) - nr);
	charge(nr);
	spin_unlock(&zone.lock);

	for (unsigned i = 0; i < nr; i++)
		prep_new_page(pfn_to_page(pfn + i));
	trace(alloc_pages, pfn, nr, want);
	*got = nr;
	return pfn;
}

unsigned long alloc_run_fault(unsigned want, bool stream, unsigned *got)
{
	unsigned long pfn;

	if (want > 1 && !stream && nr_free_frames() < want + nr_free_low())
		want = 1;
	/* A stream under pressure has its whole window freed at once, by clusters. */
	if (want > 1 && stream && nr_free_frames() < want && !mm_is_quiet())
		try_to_free_pages(max_ul(want, 32));
	for (;;) {
		unsigned long used, limit;

		pfn = alloc_run(want, got);
		if (likely(pfn != -1UL))
			return pfn;
		if (mm_is_quiet())
			return -1UL;
		used = nr_used_frames();
		limit = current_limit();
		trace(direct_reclaim, used, limit, want);
		if (!try_to_free_pages(max_ul(32, used + want > limit ? used + want - limit : 0)) && !wait_for_evictions() &&
		    !swap_cache_shrink(32)) /* the last resort: reclaim itself looks for copies to drop for a short while only */
			return alloc_run(1, got); /* somebody else's reclaim may have been faster than ours */
	}
}

/* One frame goes to the stack, if it isn't over the limit. */
static bool give_to_stack(unsigned long pfn)
{
	struct mm_cpu *cpu = this_mm_cpu();
	bool over;

	spin_lock(&cpu->lock);
	over = over_limit();
	if (!over) {
		if (cpu->nr_hot == zone.hot_max) {
			spin_lock(&zone.lock);
			hot_to_blocks(cpu, zone.hot_max - zone.hot_fill);
			spin_unlock(&zone.lock);
		}
		cpu->hot[cpu->nr_hot] = (uint32_t)pfn;
		set_nr_hot(cpu, cpu->nr_hot + 1);
	}
	spin_unlock_global(&cpu->lock);
	return !over;
}

static void give_back(unsigned long pfn, unsigned long nr)
{
	for (unsigned long i = 0; i < nr; i++)
		atomic_store_explicit(&pfn_to_page(pfn + i)->flags, 0, memory_order_relaxed);
	machine_frames_freed(pfn, nr);
	note_peak();
	if (nr != 1 || !give_to_stack(pfn)) {
		spin_lock(&zone.lock);
		free_blocks(pfn, nr);
		charge(-(long)nr);
		spin_unlock(&zone.lock);
	}
	trace(free_pages, pfn, nr, 0);
}

/* The block that begins at pfn, if one does. A frame on the lists is nobody's while the zone lock is held, which is dropped after each block: the host's
 * work is long. => frames looked at */
static unsigned long offer_block(unsigned long pfn)
{
	struct page *page = pfn_to_page(pfn);
	unsigned long nr = 1;

	if (!(page_flags(page) & PG_buddy))
		return nr;
	spin_lock(&zone.lock);
	if (page_flags(page) & PG_buddy) {
		nr = 1UL << page->private;
		machine_frames_freed(pfn, nr);
	}
	spin_unlock(&zone.lock);
	return nr;
}

void mm_offer_free_frames(bool (*enough)(void))
{
	const unsigned long fresh = __atomic_load_n(&zone.fresh, __ATOMIC_RELAXED);
	unsigned long hand = __atomic_load_n(&zone.offer_hand, __ATOMIC_RELAXED);

	for (unsigned long looked = 0, nr; looked < fresh && !enough(); looked += nr) {
		if (hand >= fresh)
			hand = 0;
		nr = offer_block(hand);
		hand += nr;
	}
	__atomic_store_n(&zone.offer_hand, hand, __ATOMIC_RELAXED);
}

void free_run(unsigned long pfn, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++)
		atomic_store_explicit(&pfn_to_page(pfn + i)->_refcount, 0, memory_order_relaxed);
	if (nr)
		give_back(pfn, nr);
}

/* Insertion sort: batches come nearly sorted, because neighbours in a table mostly stand on neighbouring frames. */
static void sort_pfns(uint32_t *pfn, unsigned nr)
{
	for (unsigned i = 1; i < nr; i++) {
		uint32_t v = pfn[i];
		unsigned j = i;

		for (; j && pfn[j - 1] > v; j--)
			pfn[j] = pfn[j - 1];
		pfn[j] = v;
	}
}

/* Pages without references: off the LRU lists, and back as runs. */
static void free_batch(struct page_batch *batch)
{
	lru_del_batch(batch->pfn, batch->nr);
	sort_pfns(batch->pfn, batch->nr);
	for (unsigned i = 0, n; i < batch->nr; i += n) {
		for (n = 1; i + n < batch->nr && batch->pfn[i + n] == batch->pfn[i] + n; n++)
			;
		give_back(batch->pfn[i], n);
	}
	batch->nr = 0;
}

void put_page_batch(struct page_batch *batch)
{
	unsigned nr = 0;

	for (unsigned i = 0; i < batch->nr; i++) {
		struct page *page = pfn_to_page(batch->pfn[i]);

		if (atomic_fetch_sub_explicit(&page->_refcount, 1, memory_order_acq_rel) == 1)
			batch->pfn[nr++] = batch->pfn[i];
	}
	batch->nr = nr;
	if (nr)
		free_batch(batch);
}

void put_page(struct page *page)
{
	put_page_refs(page, 1);
}

void free_last_page(struct page *page)
{
	struct page_batch batch;

	batch.nr = 1;
	batch.pfn[0] = page_to_pfn(page);
	free_batch(&batch);
}

unsigned long fresh_frames(void)
{
	return zone.fresh;
}

/* I8. => nothing else runs */
void check_frames(void)
{
	unsigned long used = 0, free = 0, listed = 0;

	for (unsigned long pfn = 0; pfn < zone.fresh; pfn++) {
		struct page *page = pfn_to_page(pfn);

		MM_BUG_ON((page_count(page) > 0) != !!(page_flags(page) & PG_used));
		used += page_count(page) > 0;
		if (page_flags(page) & PG_buddy)
			free += 1UL << page->private;
	}
	for (unsigned order = 0; order <= MAX_ORDER; order++) {
		struct page *head = page_head(BUDDY_LIST(order));

		for (struct page *p = link_page(head->next); p != head; p = link_page(p->next)) {
			MM_BUG_ON(!(page_flags(p) & PG_buddy) || p->private != order);
			MM_BUG_ON(page_to_pfn(p) & ((1UL << order) - 1));
			listed += 1UL << order;
		}
	}
	MM_BUG_ON(used != nr_used_frames());
	MM_BUG_ON(free != zone.nr_free || listed != free);
	for_each_cpu(cpu)
		for (unsigned i = 0; i < mm_cpus[cpu].nr_hot; i++)
			MM_BUG_ON(mm_cpus[cpu].hot[i] >= zone.fresh || page_flags(pfn_to_page(mm_cpus[cpu].hot[i])));
	MM_BUG_ON(nr_hot_frames() && over_limit());
	MM_BUG_ON(used + free + nr_hot_frames() != zone.fresh);
}
