/* SPDX-License-Identifier: MIT
 *
 * swap_readahead.c - swapped pages that more than one entry names (after a fork) come by way of the swap cache, with their neighbours
 * in the mapping (fault-paths.md 3.7). The compressed pool answers at once, so that a page of a single entry is read past the cache, alone.
 *
 *      last fault or hit     this fault        pages, of a window of w
 *      one page below        f                 f .. f+w-1
 *      one page above        f                 f-w+1 .. f
 *      elsewhere             f                 f-(w-1)/2 .. f+w/2
 *
 * w: hits since the last window, and 2, rounded up to a power of two from 4 on; 1 without a hit, unless the last fault was next to this one;
 * not below half the last w, not above 8. A mapping begins as if it had had 4 hits.
 *
 * Lock order: mmap_lock (read) > page lock of a fresh frame > swap. Entries are read without their lock: a hint.
 *
 * Considered and rejected: neighbours by slot, as on rotating devices. The pool doesn't rotate.
 *
 * Only for the machines of scenarios: elsewhere streams.c knows walks better than this does.
 */
#include "mm/fault/linux_5.h"

#define PAGE_CLUSTER 3

/* vma->swap_readahead_info: page address | window | hits; a hint that faults of several threads may overwrite. */
#define RA_HITS_MAX  63UL
#define RA_WIN_SHIFT 6
#define RA_INITIAL   4UL

static unsigned long ra_load(const struct vm_area_struct *vma)
{
	unsigned long info = __atomic_load_n(&vma->swap_readahead_info, __ATOMIC_RELAXED);

	return info ? info : RA_INITIAL;
}

static void ra_store(struct vm_area_struct *vma, unsigned long addr, unsigned long win, unsigned long hits)
{
	__atomic_store_n(&vma->swap_readahead_info, addr | win << RA_WIN_SHIFT | hits, __ATOMIC_RELAXED);
}

void swap_readahead_hit(struct vm_fault *vmf, struct page *page)
{
	unsigned long info = ra_load(vmf->vma), hits = info & RA_HITS_MAX;

	if (page_flags(page) & PG_readahead) {
		clear_page_flags(page, PG_readahead);
		hits = min_ul(hits + 1, RA_HITS_MAX);
	}
	ra_store(vmf->vma, vmf->address, (info & ~PAGE_MASK) >> RA_WIN_SHIFT, hits);
}

static unsigned long window_size(unsigned long prev, unsigned long addr, unsigned long hits, unsigned long last)
{
	unsigned long pages = hits + 2, round = 4;

	if (!hits) {
		if (addr != prev + PAGE_SIZE && addr + PAGE_SIZE != prev)
			pages = 1;
	} else {
		while (round < pages)
			round *= 2;
		pages = round;
	}
	return max_ul(min_ul(pages, 1UL << PAGE_CLUSTER), last / 2);
}

/* Within the mapping and the page table. */
static void readahead_window(struct vm_fault *vmf, unsigned long *start, unsigned long *end)
{
	unsigned long info = ra_load(vmf->vma), prev = info & PAGE_MASK, addr = vmf->address, before;
	unsigned long win = window_size(prev, addr, info & RA_HITS_MAX, (info & ~PAGE_MASK) >> RA_WIN_SHIFT);

	ra_store(vmf->vma, addr, win, 0);
	if (addr == prev + PAGE_SIZE)
		before = 0;
	else if (addr + PAGE_SIZE == prev)
		before = win - 1;
	else
		before = (win - 1) / 2;
	before = min_ul(before, addr >> PAGE_SHIFT);
	*end = min_ul(addr + (win - before) * PAGE_SIZE, pmd_addr_end(addr, vmf->vma->vm_end));
	*start = max_ul(addr - before * PAGE_SIZE, max_ul(vmf->vma->vm_start, pmd_addr_start(addr)));
}

/* Into the swap cache, and onto the lists. => unlocked, with a reference; NULL: no frame, somebody was faster, or it is damaged */
static struct page *read_swap_page(swp_entry_t entry, bool wanted)
{
	unsigned got;
	unsigned long pfn = wanted ? alloc_run_fault(1, false, &got) : alloc_run(1, &got);
	struct page *page;

	if (pfn == -1UL)
		return NULL;
	page = pfn_to_page(pfn);
	trylock_page(page); /* nobody else knows it */
	if (!add_to_swap_cache(page, entry)) {
		unlock_page(page);
		free_run(pfn, 1);
		return NULL;
	}
	if (swap_readpage(page)) {
		delete_from_swap_cache(page);
		unlock_page(page);
		put_page(page);
		return NULL;
	}
	if (!wanted)
		set_page_flags(page, PG_readahead);
	clear_page_flags(page, PG_dirty);
	lru_cache_add_run(page, 1, false);
	count(swapped_in, 1);
	unlock_page(page);
	return page;
}

struct page *swap_vma_readahead(struct vm_fault *vmf)
{
	const struct ptdesc *table = desc_load(&vmf->pmd->desc);
	struct page *page, *wanted;
	unsigned long addr, end;

	readahead_window(vmf, &addr, &end);
	trace_fn(swap_vma_readahead, vmf->address, addr, end);
	/* Who waits for his page is served before those whom nobody has asked for. */
	wanted = read_swap_page(pte_to_swp_entry(vmf->orig_pte), true);
	for (; wanted && addr < end; addr += PAGE_SIZE) {
		pte_t pte = ptep_get(pte_offset(table, addr));

		if (addr == vmf->address || !is_swap_pte(pte))
			continue;
		page = read_swap_page(pte_to_swp_entry(pte), false);
		if (!page)
			continue;
		count(swapin_around_pages, 1);
		put_page(page);
	}
	return wanted;
}
