/* SPDX-License-Identifier: MIT
 *
 * linux_2_6_vmscan.c - what 2.6.24 reclaims: one active and one inactive list for all pages (fault-paths.md 4.3, column 2.6.24).
 *
 *      new          anonymous ones active, those of files inactive
 *      active       mapped     stays while mapped pages are not yet wanted, if there is no swap for it, or if it was used; else inactive
 *                   unmapped   inactive
 *      inactive     used and in use            active
 *                   used, of a file, dirty     stays
 *                   otherwise                  out, by way of swap or the file
 *
 * Mapped pages are wanted when half of what they have of the memory, the distress (100 in the last of the rounds, half of it in the one
 * before, ...) and swappiness (60) together reach 100. Each of the 13 rounds looks at twice as much as the one before; the last at all.
 *
 * An entry that is used between that look and its removal keeps its page (evict_page(), struct unmap).
 *
 * Lock order: whoever reclaims has an mmap_lock or is between enter_reclaim() and leave_reclaim(); page lock (tried) > i_mmap_lock, anon_vma lock
 * > pte lock > LRU.
 *
 * Considered and rejected: zones and kswapd. There is one zone, and the fault that finds no frame reclaims itself.
 */
#include "mm/fault/linux_2_6.h"

#define DEF_PRIORITY     12
#define SWAP_CLUSTER_MAX 32
#define SWAPPINESS       60

static struct {
	atomic_ulong active, inactive; /* still to be looked at: what was too little for a round */
	atomic_int prev_priority;      /* how far the last reclaim had to go */
} zone;

int linux_2_6_vmscan_init(void)
{
	atomic_store(&zone.active, 0);
	atomic_store(&zone.inactive, 0);
	atomic_store(&zone.prev_priority, DEF_PRIORITY);
	return 0;
}

/* Per cent of memory that programs have mapped. (A page that several have counts for each.) */
static unsigned mapped_ratio(void)
{
	unsigned long total = nr_used_frames() + nr_free_frames(), mapped = 0;

	spin_lock(&mmlist_lock);
	for (struct mm_struct *mm = mmlist; mm; mm = mm->next)
		mapped += get_mm_counter(mm, MM_ANONPAGES) + get_mm_counter(mm, MM_FILEPAGES) + get_mm_counter(mm, MM_SHMEMPAGES);
	spin_unlock(&mmlist_lock);
	return min_ul(100, mapped * 100 / (total ? total : 1));
}

bool linux_2_6_reclaim_mapped(int priority)
{
	int prev = atomic_load(&zone.prev_priority);
	unsigned distress = 100 >> (priority < prev ? priority : prev);

	return mapped_ratio() / 2 + distress + SWAPPINESS >= 100;
}

/* Entries that were young, and the page's own mark; both are cleared. => page locked, if it is a file's */
static int referenced(struct page *page)
{
	int n = page_referenced(page);

	if (page_flags(page) & PG_referenced) {
		clear_page_flags(page, PG_referenced);
		n++;
	}
	return n;
}

/* => page isolated */
static bool stays_active(struct page *page, bool reclaim_mapped)
{
	bool used;

	if (!page_mapcount(page))
		return false;
	if (!reclaim_mapped || (!page_is_file(page) && !nr_swap_slots))
		return true;
	if (!trylock_page(page))
		return true; /* somebody is at it */
	used = referenced(page);
	unlock_page(page);
	return used;
}

static void shrink_active(unsigned long nr, int priority)
{
	bool reclaim_mapped = linux_2_6_reclaim_mapped(priority);
	struct page *page;

	trace_fn(shrink_active_list, nr, lru_size(LRU_ACTIVE_ANON), lru_size(LRU_INACTIVE_ANON));
	trace_why(reclaim_mapped ? "mapped pages are wanted too" : "pages that programs have mapped stay for now", 0, 0);
	while (nr-- && (page = isolate_tail(LRU_ACTIVE_ANON))) {
		if (!stays_active(page, reclaim_mapped))
			clear_page_flags(page, PG_active);
		lru_putback(page);
	}
}

/* Would somebody miss it? => page locked */
static bool page_mapping_inuse(struct page *page)
{
	const struct address_space *mapping = page_mapping(page);

	return page_mapcount(page) || page_in_swap_cache(page) || (mapping && (mapping->i_mmap.node || mapping->i_mmap_nonlinear));
}

/* => page isolated; afterwards not. Pages freed */
static unsigned shrink_one(struct page *page)
{
	bool used;

	if (!trylock_page(page)) {
		lru_putback(page);
		return 0;
	}
	if (!page_mapping(page) && !page_mapcount(page) && !page_in_swap_cache(page)) { /* truncated; somebody has a reference yet */
		keep_page(page, 0);
		return 0;
	}
	used = referenced(page);
	if (used && page_mapping_inuse(page)) {
		keep_page(page, PG_active);
		return 0;
	}
	return evict_page(page, used);
}

static unsigned long shrink_inactive(unsigned long nr)
{
	unsigned long freed = 0;
	struct page *page;

	trace_fn(shrink_inactive_list, nr, lru_size(LRU_INACTIVE_ANON), lru_size(LRU_ACTIVE_ANON));
	while (nr-- && (page = isolate_tail(LRU_INACTIVE_ANON)))
		freed += shrink_one(page);
	return freed;
}

unsigned linux_2_6_shrink_inactive_tail(void)
{
	return shrink_inactive(1);
}

void linux_2_6_shrink_active_tail(int priority)
{
	shrink_active(1, priority);
}

/* What a round of this priority owes the list; too little is left for the next one. */
static unsigned long to_scan(atomic_ulong *owed, unsigned long size, int priority)
{
	unsigned long n = atomic_load(owed) + (size >> priority) + 1;

	if (n < SWAP_CLUSTER_MAX && priority) {
		atomic_store(owed, n);
		return 0;
	}
	atomic_store(owed, 0);
	return n;
}

static unsigned long shrink_zone(int priority)
{
	unsigned long active = to_scan(&zone.active, lru_size(LRU_ACTIVE_ANON), priority);
	unsigned long inactive = to_scan(&zone.inactive, lru_size(LRU_INACTIVE_ANON), priority), freed = 0;

	while (active || inactive) {
		unsigned long n = min_ul(active, SWAP_CLUSTER_MAX);

		if (n)
			shrink_active(n, priority);
		active -= n;
		n = min_ul(inactive, SWAP_CLUSTER_MAX);
		freed += shrink_inactive(n);
		inactive -= n;
	}
	return freed;
}

/* => an mmap_lock held, or between enter_reclaim() and leave_reclaim() */
unsigned long linux_2_6_try_to_free_pages(unsigned long nr)
{
	unsigned long freed = 0;
	int priority;

	trace_fn(try_to_free_pages, nr, lru_size(LRU_ACTIVE_ANON), lru_size(LRU_INACTIVE_ANON));
	for (priority = DEF_PRIORITY; priority >= 0; priority--) {
		freed += shrink_zone(priority);
		if (freed >= nr)
			break;
	}
	/* Lists too short for more than one look at each page, and all of them had been used: now they are old. */
	if (!freed)
		freed = shrink_zone(0);
	/* What the last round made inactive has its turn at once if nothing else was to be had. */
	if (!freed)
		freed = shrink_inactive(lru_size(LRU_INACTIVE_ANON));
	atomic_store(&zone.prev_priority, priority < 0 ? 0 : priority);
	return freed;
}
