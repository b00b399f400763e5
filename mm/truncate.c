/* SPDX-License-Identifier: MIT
 *
 * truncate.c - a file becomes shorter or longer; pages leave the cache.
 *
 *      vmtruncate          what a fault meets that comes in between
 *        read the last page, if its tail is cut off
 *        i_size falls      the check under the page lock (filemap_fault), or under the page-table lock (filemap_map_pages): SIGBUS
 *        zap all entries   who passed the check before has set his entry by now, or holds the page lock
 *        page by page: lock it, zap what was mapped since, out of the cache
 *        zap once more     private copies that were made of pages while these were still there
 *
 * invalidate_lock is held for writing over all of it: nobody brings a page back that has just gone.
 */
#include "mm/fault/linux_2_6.h"
#include "mm/page_tree.h"

/* ---- entries ----------------------------------------------------------------------------------------------------------- */

struct unmap_range {
	unsigned long first, last;
	bool even_cows;
	struct page *busy; /* an anonymous page among them is being evicted: to be waited for without locks */
};

static bool unmap_vma(struct vm_area_struct *vma, void *arg)
{
	struct unmap_range *u = arg;
	unsigned long pages = (vma->vm_end - vma->vm_start) >> PAGE_SHIFT;
	unsigned long first = max_ul(u->first, vma->vm_pgoff), last = min_ul(u->last, vma->vm_pgoff + pages - 1);
	unsigned long start = vma->vm_start + ((first - vma->vm_pgoff) << PAGE_SHIFT);

	u->busy = zap_file_range(vma, start, start + ((last - first + 1) << PAGE_SHIFT), u->even_cows);
	return !u->busy;
}

void unmap_mapping_range(struct address_space *mapping, unsigned long start, unsigned long end, bool even_cows)
{
	struct unmap_range u = { .first = start, .last = end - 1, .even_cows = even_cows };

	trace_fn(unmap_mapping_range, start, end, even_cows);
	if (start >= end)
		return;
	do {
		u.busy = NULL;
		spin_lock(&mapping->i_mmap_lock);
		vma_interval_tree_foreach(mapping, u.first, u.last, unmap_vma, &u);
		spin_unlock(&mapping->i_mmap_lock);
		if (u.busy) {
			wait_on_page_locked(u.busy);
			put_page(u.busy);
		}
	} while (u.busy);
	if (mapping->i_mmap_nonlinear)
		unmap_mapping_nonlinear(mapping, u.first, u.last);
}

/* ---- pages --------------------------------------------------------------------------------------------------------------- */

/* => page locked and in its cache */
static void truncate_page(struct address_space *mapping, struct page *page)
{
	if (page_mapcount(page))
		unmap_mapping_range(mapping, page->index, page->index + 1, false);
	clear_page_flags(page, PG_dirty);
	delete_from_page_cache(page);
}

/* A page of shared anonymous memory that is in swap, or one of a file that was evicted. */
static void truncate_value(struct address_space *mapping, unsigned long index, void *item)
{
	bool ours;

	spin_lock(&mapping->tree_lock);
	ours = page_tree_load(&mapping->i_pages, index) == item;
	if (ours && item_is_shadow(item))
		page_cache_forget_shadow(mapping, index);
	else if (ours)
		page_tree_erase(&mapping->i_pages, index);
	spin_unlock(&mapping->tree_lock);
	if (ours && item_is_swap(item))
		free_swap_and_cache(item_swap(item));
}

/* The first thing at or after *index; a page with a reference. */
static void *next_item(struct address_space *mapping, unsigned long *index)
{
	void *item;

	spin_lock(&mapping->tree_lock);
	item = page_tree_next(&mapping->i_pages, index, ~0UL - 1);
	if (item && !item_is_value(item))
		get_page(item);
	spin_unlock(&mapping->tree_lock);
	return item;
}

void truncate_inode_pages(struct address_space *mapping, unsigned long start)
{
	unsigned long index = start;
	void *item;

	trace_fn(truncate_inode_pages, start, 0, 0);
	/* From the same place again until nothing stands there: eviction may just have turned a page into a swap entry. */
	while ((item = next_item(mapping, &index))) {
		struct page *page = item;

		if (item_is_value(item)) {
			truncate_value(mapping, index, item);
			continue;
		}
		lock_page(page);
		if (page_mapping(page) == mapping)
			truncate_page(mapping, page);
		unlock_page(page);
		put_page(page);
	}
}

unsigned long invalidate_mapping_pages(struct address_space *mapping, unsigned long start, unsigned long end)
{
	unsigned long dropped = 0;
	struct page *page;

	trace_fn(invalidate_mapping_pages, start, end, 0);
	if (mapping->flags & MAPPING_ANON)
		return 0;
	enter_reclaim();
	while (start < end && find_get_pages(mapping, &start, end - 1, &page, 1)) {
		if (trylock_page(page)) {
			if (page_mapping(page) == mapping && !page_mapcount(page))
				dropped += remove_mapping(mapping, page);
			unlock_page(page);
		}
		put_page(page);
	}
	leave_reclaim();
	return dropped;
}

/* ---- the size ------------------------------------------------------------------------------------------------------------- */

/* Byte by byte, for programs may look at the page meanwhile. */
static void zero_from(struct page *page, unsigned from)
{
	uint8_t *bytes = machine_frame(page_to_pfn(page));

	for (unsigned i = from; i < PAGE_SIZE; i++)
		__atomic_store_n(&bytes[i], 0, __ATOMIC_RELAXED);
}

/* The page in which the new end lies, locked. NULL: it needs no care, or *err */
static struct page *last_page(struct address_space *mapping, uint64_t size, int *err)
{
	unsigned long index = size >> PAGE_SHIFT;
	struct page *page;
	swp_entry_t swap;

	*err = 0;
	if (!(size & ~PAGE_MASK))
		return NULL;
	if (!(mapping->flags & MAPPING_ANON))
		return read_cache_page(mapping, index, err);
	page = find_get_page(mapping, index, &swap);
	if (!page && !swap.val)
		return NULL; /* was never touched: zero */
	if (page)
		put_page(page);
	page = shmem_get_page(mapping, index, err);
	if (page)
		*err = 0;
	return page;
}

static int truncate_down(struct address_space *mapping, uint64_t size)
{
	unsigned long end = (size + PAGE_SIZE - 1) >> PAGE_SHIFT;
	int err;
	struct page *page = last_page(mapping, size, &err);

	if (err)
		return err;
	atomic_store_explicit(&mapping->i_size, size, memory_order_release);
	if (page) {
		zero_from(page, size & ~PAGE_MASK);
		set_page_dirty(page);
		unlock_page(page);
		put_page(page);
	}
	unmap_mapping_range(mapping, end, ~0UL, true);
	truncate_inode_pages(mapping, end);
	unmap_mapping_range(mapping, end, ~0UL, true);
	return 0;
}

/* What was stored behind the old end in its page, through a mapping, must not become part of the file. */
static void truncate_up(struct address_space *mapping, uint64_t size)
{
	uint64_t old = address_space_size(mapping);
	struct page *page = old & ~PAGE_MASK ? find_lock_page(mapping, old >> PAGE_SHIFT) : NULL;

	if (page) {
		if (page_uptodate(page))
			zero_from(page, old & ~PAGE_MASK);
		atomic_store_explicit(&mapping->i_size, size, memory_order_release);
		unlock_page(page);
		put_page(page);
		return;
	}
	atomic_store_explicit(&mapping->i_size, size, memory_order_release);
}

int vmtruncate(struct address_space *mapping, uint64_t size)
{
	int err = 0;

	trace_fn(vmtruncate, size, address_space_size(mapping), 0);
	enter_reclaim();
	down_write(&mapping->invalidate_lock);
	if (size < address_space_size(mapping))
		err = truncate_down(mapping, size);
	else
		truncate_up(mapping, size);
	up_write(&mapping->invalidate_lock);
	leave_reclaim();
	return err;
}
