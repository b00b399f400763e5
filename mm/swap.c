/* SPDX-License-Identifier: MIT
 *
 * swap.c - slots and the swap cache.
 *
 * A slot is 8 bytes: the number of swap entries that name it, and the page that holds the same content, if one is resident (the swap
 * cache); else, in linux-5, the shadow of the page that has left (workingset.h). Its life:
 *
 *      free --add_to_swap----> cache           the page is about to be written out
 *           --try_to_unmap---> cache + count   its entries name the slot
 *           --pageout--------> count           stored; the page is gone
 *           --do_swap_page---> cache (+ count) resident again, the stored copy still true
 *           --zap, write-----> free            nobody needs it
 *
 * A page that came in keeps its slot: evicting it again unchanged stores nothing. (Not if it comes for a store, or may
 * be stored to unseen and such copies have turned out useless, or if frames pay for them: then the slot is free at once.) Where the machine sets
 * dirty bits, clean entries tell that; elsewhere swap_ops->store() recognises the bytes. When the backend is short,
 * __swap_cache_shrink() drops such copies.
 *
 * Lock: swap_lock guards all slots. PG_swapcache and page.private change under the page lock and swap_lock.
 */
#include "mm/fault/fault.h"
#include "mm/workingset.h"

struct swap_slot *swap_map;
unsigned long nr_swap_slots;

static spinlock_t swap_lock;
static const struct swap_ops *ops;
static void *ops_ctx;
static unsigned long fresh_slot; /* slots from here on were never used */
static uint32_t free_slots;      /* list through .cache; 0 ends it */
static unsigned long shrink_hand;

/* Evictions of pages that had kept their copy, and how many of these found it still true. Both are halved every
 * 1024, so that the program's present counts. */
static struct { atomic_uint kept, still_true, turn; bool cost_frames; } copies;

int swap_init(const struct mm_params *params)
{
	ops = params->swap;
	ops_ctx = params->swap_ctx;
	nr_swap_slots = ops ? params->nr_swap_slots : 0;
	fresh_slot = 1;
	free_slots = 0;
	shrink_hand = 1;
	atomic_store(&copies.kept, 0);
	atomic_store(&copies.still_true, 0);
	copies.cost_frames = params->copies_cost_frames;
	swap_reinit_locks();
	if (nr_swap_slots >= UINT32_MAX)
		return -EINVAL;
	swap_map = NULL;
	if (nr_swap_slots) {
		swap_map = machine_alloc((nr_swap_slots + 1) * sizeof(struct swap_slot));
		if (!swap_map)
			return -ENOMEM;
	}
	return 0;
}

void swap_reinit_locks(void)
{
	spin_lock_init(&swap_lock, ORDER_SWAP);
}

static struct swap_slot *slot_of(swp_entry_t entry)
{
	MM_DEBUG_ON(!entry.val || entry.val > nr_swap_slots);
	return &swap_map[entry.val];
}

/* pfn + 1 of the page in the cache, 0: none. => swap_lock held */
static inline uint32_t slot_page(const struct swap_slot *slot)
{
	return likely(!(slot->flags & SLOT_SHADOW)) ? slot->cache : 0;
}

/* The page has left the cache; entries name the slot. => swap_lock held */
static inline void slot_leave_shadow(struct swap_slot *slot, const struct page *page)
{
	slot->cache = workingset.anon ? workingset_eviction(page, false) : 0;
	if (unlikely(slot->cache))
		slot->flags |= SLOT_SHADOW;
}

/* => swap_lock held */
static swp_entry_t take_slot(void)
{
	swp_entry_t entry = { free_slots };

	if (entry.val)
		free_slots = swap_map[entry.val].cache;
	else if (fresh_slot <= nr_swap_slots)
		entry.val = fresh_slot++;
	else
		return entry;
	/* A fault that read its entry before the slot was free may look at the count still; it finds out later. */
	__atomic_store_n(&swap_map[entry.val].count, 0, __ATOMIC_RELAXED);
	swap_map[entry.val].cache = 0;
	swap_map[entry.val].flags = SLOT_USED;
	add_gauge(swap_slots_used, 1);
	return entry;
}

/* The last user has gone. The slot returns to the list only when the backend has forgotten its content.
 * => swap_lock held, and held again afterwards; count and cache of the slot are 0, so nobody can find it */
static void release_slot(swp_entry_t entry)
{
	struct swap_slot *slot = slot_of(entry);

	if (slot->count || slot_page(slot))
		return;
	spin_unlock(&swap_lock);
	ops->free(ops_ctx, entry.val);
	spin_lock(&swap_lock);
	slot->flags = 0;
	slot->cache = free_slots;
	free_slots = entry.val;
	add_gauge(swap_slots_used, -1);
}

int swap_count(swp_entry_t entry)
{
	return __atomic_load_n(&slot_of(entry)->count, __ATOMIC_RELAXED);
}

bool swap_slot_used(swp_entry_t entry)
{
	bool used = false;

	spin_lock(&swap_lock);
	if (entry.val && entry.val < fresh_slot)
		used = slot_of(entry)->flags & SLOT_USED;
	spin_unlock(&swap_lock);
	return used;
}

void swap_duplicate(swp_entry_t entry, int n)
{
	struct swap_slot *slot = slot_of(entry);

	spin_lock(&swap_lock);
	MM_BUG_ON(slot->count + n > UINT16_MAX);
	__atomic_store_n(&slot->count, slot->count + n, __ATOMIC_RELAXED);
	spin_unlock(&swap_lock);
}

void swap_free(swp_entry_t entry)
{
	struct swap_slot *slot = slot_of(entry);

	trace_fn(swap_free, entry.val, 0, 0);
	spin_lock(&swap_lock);
	MM_BUG_ON(!slot->count);
	__atomic_store_n(&slot->count, slot->count - 1, __ATOMIC_RELAXED);
	release_slot(entry);
	spin_unlock(&swap_lock);
}

/* ---- are copies of resident pages worth their room? ------------------------------------------------------------- */

static void copies_were_kept(unsigned n)
{
	unsigned kept = atomic_fetch_add_explicit(&copies.kept, n, memory_order_relaxed) + n;

	if (kept < 1024)
		return;
	atomic_store_explicit(&copies.kept, kept / 2, memory_order_relaxed);
	atomic_store_explicit(&copies.still_true, atomic_load_explicit(&copies.still_true, memory_order_relaxed) / 2,
			      memory_order_relaxed);
}

void swap_copy_was_true(void)
{
	atomic_fetch_add_explicit(&copies.still_true, 1, memory_order_relaxed);
}

/* For a page that comes in. Where frames pay for the copy, it isn't worth while: each frame less is a fault more for every so many accesses, and it
 * comes with a compression of another page. Else it takes room that other pages could have: it is of no use to a store, and if fewer than one of eight
 * of the pages that may be written without another fault found it true lately, only every 16th of these is kept, by which it is seen when that
 * changes. */
bool swap_keep_copy(bool writable, bool write)
{
	unsigned kept = atomic_load_explicit(&copies.kept, memory_order_relaxed);

	if (copies.cost_frames)
		return false;
	if (!writable)
		return true;
	if (write)
		return false;
	if (kept < 64 || 8 * atomic_load_explicit(&copies.still_true, memory_order_relaxed) >= kept)
		return true;
	return atomic_fetch_add_explicit(&copies.turn, 1, memory_order_relaxed) % 16 == 0;
}

/* ---- swap cache -------------------------------------------------------------------------------------------------------- */

/* => swap_lock and the page lock held; no shadow stands there */
static void cache_insert(struct page *page, swp_entry_t entry)
{
	get_page(page);
	page->private = entry.val;
	slot_of(entry)->cache = page_to_pfn(page) + 1;
	set_page_flags(page, PG_swapcache);
	add_gauge(swap_cached, 1);
}

bool add_to_swap(struct page *page)
{
	swp_entry_t entry;

	spin_lock(&swap_lock);
	entry = take_slot();
	if (entry.val)
		cache_insert(page, entry);
	spin_unlock(&swap_lock);
	trace(add_to_swap, page_to_pfn(page), entry.val, 0);
	if (entry.val)
		set_page_flags(page, PG_dirty);
	return entry.val;
}

unsigned add_to_swap_for_unmap(struct page *const *pages, unsigned nr)
{
	unsigned i, kept = 0;

	spin_lock(&swap_lock);
	for (i = 0; i < nr; i++) {
		struct swap_slot *slot;

		if (!page_in_swap_cache(pages[i])) {
			swp_entry_t entry = take_slot();

			if (!entry.val)
				break;
			cache_insert(pages[i], entry);
			set_page_flags(pages[i], PG_dirty);
		} else {
			kept++;
		}
		slot = slot_of(page_swap_entry(pages[i]));
		__atomic_store_n(&slot->count, slot->count + 1, __ATOMIC_RELAXED);
	}
	spin_unlock(&swap_lock);
	if (kept)
		copies_were_kept(kept);
	trace(add_to_swap, page_to_pfn(pages[0]), nr, i);
	return i;
}

void delete_evicted_from_swap_cache(struct page *const *pages, unsigned nr)
{
	spin_lock(&swap_lock);
	for (unsigned i = 0; i < nr; i++) {
		struct swap_slot *slot = slot_of(page_swap_entry(pages[i]));

		MM_DEBUG_ON(!slot->count || slot->cache != page_to_pfn(pages[i]) + 1);
		slot_leave_shadow(slot, pages[i]);
		clear_page_flags(pages[i], PG_swapcache | PG_writeback);
		pages[i]->private = 0;
	}
	add_gauge(swap_cached, -(uint64_t)nr);
	spin_unlock(&swap_lock);
	/* Not the last ones: whoever isolated the pages has another. */
	for (unsigned i = 0; i < nr; i++)
		atomic_fetch_sub_explicit(&pages[i]->_refcount, 1, memory_order_release);
}

/* Whoever looks a page up has taken swap_lock before us and has a reference, or comes after us and finds nothing. */
bool remove_swap_mapping(struct page *page)
{
	swp_entry_t entry = page_swap_entry(page);
	bool gone;

	MM_DEBUG_ON(!(page_flags(page) & PG_locked) || !page_in_swap_cache(page));
	spin_lock(&swap_lock);
	gone = page_count(page) == 2 && !(page_flags(page) & PG_dirty);
	if (gone) {
		slot_leave_shadow(slot_of(entry), page);
		clear_page_flags(page, PG_swapcache);
		page->private = 0;
		add_gauge(swap_cached, -(uint64_t)1);
		release_slot(entry);
	}
	spin_unlock(&swap_lock);
	trace_leaf(remove_mapping, page_to_pfn(page), page->index, gone);
	if (gone)
		put_page(page);
	return gone;
}

bool add_to_swap_cache(struct page *page, swp_entry_t entry)
{
	struct swap_slot *slot = slot_of(entry);
	shadow_t shadow = 0;
	bool ok;

	spin_lock(&swap_lock);
	if (unlikely(slot->flags & SLOT_SHADOW)) {
		shadow = slot->cache;
		slot->cache = 0;
		slot->flags = SLOT_USED;
	}
	ok = slot->count && !slot->cache;
	if (ok)
		cache_insert(page, entry);
	spin_unlock(&swap_lock);
	if (unlikely(shadow))
		workingset_refault(page, false, shadow);
	return ok;
}

void delete_from_swap_cache(struct page *page)
{
	swp_entry_t entry = page_swap_entry(page);

	MM_DEBUG_ON(!(page_flags(page) & PG_locked) || !page_in_swap_cache(page));
	spin_lock(&swap_lock);
	clear_page_flags(page, PG_swapcache);
	page->private = 0;
	slot_of(entry)->cache = 0;
	add_gauge(swap_cached, -(uint64_t)1);
	release_slot(entry);
	spin_unlock(&swap_lock);
	set_page_flags(page, PG_dirty);
	put_page(page);
}

struct page *lookup_swap_cache(swp_entry_t entry)
{
	struct page *page = NULL;
	uint32_t cache;

	spin_lock(&swap_lock);
	cache = slot_of(entry)->cache;
	if (cache && slot_of(entry)->flags == SLOT_USED) {
		page = pfn_to_page(cache - 1);
		get_page(page);
	}
	spin_unlock(&swap_lock);
	trace(lookup_swap_cache, entry.val, page ? cache : 0, 0);
	return page;
}

/* A page that no table maps any more stays only if swap entries still name its slot, and either somebody works on it or faults are to find
 * there what Linux leaves there. A program that runs under the engine has better use for the frame; 2.0 doesn't look there. */
bool unmapped_page_stays(struct page *page)
{
	return mm_swapin_around == 1 && !fault_path->no_rmap && swap_count(page_swap_entry(page));
}

void free_swap_cache(struct page *page)
{
	if (!page_in_swap_cache(page) || !trylock_page(page))
		return; /* whoever holds the lock looks when he is done */
	if (page_in_swap_cache(page) && page_mapcount(page) == 0 && !unmapped_page_stays(page))
		delete_from_swap_cache(page);
	unlock_page(page);
}

void free_swap_and_cache(swp_entry_t entry)
{
	struct page *page = lookup_swap_cache(entry);

	swap_free(entry);
	if (page) {
		free_swap_cache(page);
		put_page(page);
	}
}

bool swap_writeback(swp_entry_t entry)
{
	struct page *page = lookup_swap_cache(entry);
	bool out = page && page_flags(page) & PG_writeback;

	if (page)
		put_page(page);
	return out;
}

/* The evicting thread has a machine call for the address under way. Nothing may be done to the range before it has ended,
 * or it would hit what stands there next. => ptl held; released if true */
bool wait_on_swap_writeback(swp_entry_t entry, spinlock_t *ptl)
{
	struct page *page = lookup_swap_cache(entry);

	if (!page)
		return false;
	if (!(page_flags(page) & PG_writeback)) {
		put_page(page);
		return false;
	}
	spin_unlock(ptl);
	wait_on_page_locked(page);
	put_page(page);
	return true;
}

unsigned long slots_ever_used(void)
{
	unsigned long n;

	spin_lock(&swap_lock);
	n = fresh_slot - 1;
	spin_unlock(&swap_lock);
	return n;
}

/* Drops up to nr copies among the next `most` slots; the hand goes round all slots, turn after turn. A slot must not
 * be dropped while somebody else has the page locked. => dropped; *most: slots that were not looked at any more */
static unsigned long shrink_turn(unsigned long nr, unsigned long *most)
{
	unsigned long dropped = 0;

	spin_lock(&swap_lock);
	for (; *most && dropped < nr && read_gauge(swap_cached); --*most) {
		swp_entry_t entry = { shrink_hand };
		struct swap_slot *slot = &swap_map[shrink_hand];
		struct page *page;

		if (++shrink_hand >= fresh_slot)
			shrink_hand = 1;
		if (entry.val >= fresh_slot || slot->flags != SLOT_USED || slot->count || !slot->cache)
			continue;
		page = pfn_to_page(slot->cache - 1);
		if (!get_page_unless_zero(page))
			continue;
		spin_unlock(&swap_lock);
		if (trylock_page(page)) {
			/* Without its slot the page is dirty again: delete_from_swap_cache() says so. */
			if (page_in_swap_cache(page) && page->private == entry.val && !swap_count(entry)) {
				delete_from_swap_cache(page);
				dropped++;
			}
			unlock_page(page);
		}
		put_page(page);
		spin_lock(&swap_lock);
	}
	if (!read_gauge(swap_cached))
		*most = 0;
	spin_unlock(&swap_lock);
	return dropped;
}

/* A fault waits for this: 32768 slots are 256 KiB, some 20 microseconds. */
#define SHRINK_TURN 32768

unsigned long __swap_cache_shrink(unsigned long nr)
{
	unsigned long most = min_ul(SHRINK_TURN, slots_ever_used()), dropped = shrink_turn(nr, &most);

	trace(swap_full, nr, dropped, 0);
	return dropped;
}

/* All slots, if need be. */
unsigned long swap_cache_shrink(unsigned long nr)
{
	unsigned long dropped = 0;

	enter_reclaim();
	for (unsigned long left = slots_ever_used(), most, turn; left && dropped < nr; left -= turn - most) {
		most = turn = min_ul(SHRINK_TURN, left);
		dropped += shrink_turn(nr - dropped, &most);
		if (most)
			break; /* enough, or there are no more */
	}
	leave_reclaim();
	trace(swap_full, nr, dropped, 0);
	return dropped;
}

/* ---- bytes; page locked and in the swap cache -------------------------------------------------------------------------- */

int swap_readpage(struct page *page)
{
	trace_fn(swap_readpage, page_to_pfn(page), page->private, 0);
	return ops->load(ops_ctx, page->private, machine_frame(page_to_pfn(page)));
}

int swap_writepage(struct page *page)
{
	int err = ops->store(ops_ctx, page->private, machine_frame(page_to_pfn(page)));

	trace(pageout, page_to_pfn(page), page->private, err);
	return err;
}

/* => nothing evicts or brings in the slot meanwhile (pte lock, one thread) */
int swap_peek(swp_entry_t entry, unsigned offset, uint8_t *value)
{
	uint32_t cache = slot_page(slot_of(entry));
	uint8_t *buf;
	int err;

	if (cache) {
		*value = ((uint8_t *)machine_frame(cache - 1))[offset];
		return 0;
	}
	buf = machine_alloc(PAGE_SIZE);
	if (!buf)
		return -ENOMEM;
	err = ops->load(ops_ctx, entry.val, buf);
	*value = buf[offset];
	machine_free(buf, PAGE_SIZE);
	return err;
}

/* I3 and I4 from the slots' side. => nothing else runs; entries were counted by the caller */
void check_swap(void)
{
	uint64_t used = 0;

	for (unsigned long i = 1; i < fresh_slot; i++) {
		struct swap_slot *slot = &swap_map[i];

		if (!(slot->flags & SLOT_USED)) {
			MM_BUG_ON(slot->count);
			continue;
		}
		used++;
		MM_BUG_ON(!slot->count && !slot_page(slot));
		MM_BUG_ON(slot->flags & SLOT_SHADOW && (!slot->cache || !workingset.anon));
		if (slot_page(slot)) {
			struct page *page = pfn_to_page(slot->cache - 1);

			MM_BUG_ON(!page_in_swap_cache(page) || page->private != i);
		}
	}
	MM_BUG_ON(used != read_gauge(swap_slots_used));
}
