/* SPDX-License-Identifier: MIT
 *
 * writeback.c - dirty pages of files: who marks them, and how they get to the file (fault-paths.md 4.1).
 *
 *      store ---> fault (the entry was read-only) ---> entry W D, page dirty ---> store goes through, and all that follow
 *                    ^                                                                                        |
 *                    +---- entries read-only and clean <--- clear_page_dirty_for_io <--- msync, truncate, ... +
 *
 * All of it under the page lock: a store that comes while the bytes are on their way faults and waits for the lock, then marks the page
 * dirty again. The page's dirty bit is looked at after the entries, so that a store in between is either in the bytes or seen.
 *
 * A file whose file system doesn't count dirty pages (no MAPPING_NOTIFY) has writable entries over clean pages; its entries' dirty bits are
 * collected here all the same, but they stay writable.
 *
 * Writing is synchronous. What could not be written is dirty again, and the error is kept: who asks next is told.
 */
#include "mm/fault/fault.h"
#include "mm/page_tree.h"

bool set_page_dirty(struct page *page)
{
	bool was = page_flags(page) & PG_dirty || atomic_fetch_or_explicit(&page->flags, PG_dirty, memory_order_acq_rel) & PG_dirty;

	if (unlikely(page_flags(page) & (PG_reclaim | PG_readahead))) /* used again; one bit in Linux, with two meanings */
		clear_page_flags(page, fault_path == &linux_5_path ? PG_reclaim | PG_readahead : PG_reclaim);
	trace_leaf(set_page_dirty, page_to_pfn(page), page->index, !was);
	return !was;
}

static bool page_mkclean_one(struct page *page, struct vm_area_struct *vma, unsigned long addr, void *arg)
{
	bool *dirty = arg, notify;
	pte_t *ptep, old, new;
	spinlock_t *ptl;

	if (!(vma->vm_flags & VM_SHARED))
		return true; /* its entries are clean and read-only */
	ptep = page_vma_mapped(page, vma, addr, &ptl);
	if (!ptep)
		return true;
	notify = vma_wants_writenotify(vma);
	if (pte_dirty(ptep_get(ptep)) || (notify && pte_write(ptep_get(ptep)))) {
		old = ptep_get_and_clear(ptep);
		new = pte_clear(old, _PAGE_DIRTY | (notify ? _PAGE_RW : 0));
		set_pte(ptep, new);
		if (pte_mapped(old))
			machine_protect(vma->vm_mm, addr, 1, page_to_pfn(page), pte_how(new));
		*dirty |= notify || pte_dirty(old);
	}
	spin_unlock(ptl);
	return true;
}

/* => true: one of the entries was dirty, or might have been */
static bool page_mkclean(struct page *page)
{
	bool dirty = false;

	trace_fn(page_mkclean, page_to_pfn(page), page_mapcount(page), 0);
	rmap_walk(page, page_mkclean_one, &dirty);
	return dirty;
}

bool clear_page_dirty_for_io(struct page *page)
{
	trace_fn(clear_page_dirty_for_io, page_to_pfn(page), page->index, 0);
	MM_DEBUG_ON(!(page_flags(page) & PG_locked));
	if (page_mapcount(page) && page_mkclean(page))
		set_page_dirty(page);
	return atomic_fetch_and_explicit(&page->flags, ~PG_dirty, memory_order_acq_rel) & PG_dirty;
}

int write_one_page(struct page *page)
{
	struct address_space *mapping = page_mapping(page);
	uint64_t size = address_space_size(mapping), start = (uint64_t)page->index << PAGE_SHIFT;
	int err;

	trace_fn(write_one_page, page_to_pfn(page), page->index, 0);
	if (start >= size)
		return 0; /* nothing of it is in the file */
	trace_leaf(writepage, page->index, min_ul(PAGE_SIZE, size - start), 0);
	err = mapping->a_ops->writepage(mapping->host, page->index, machine_frame(page_to_pfn(page)), min_ul(PAGE_SIZE, size - start));
	if (err) {
		set_page_flags(page, PG_error);
		atomic_store_explicit(&mapping->wb_err, true, memory_order_relaxed);
		set_page_dirty(page);
		return -EIO;
	}
	clear_page_flags(page, PG_error);
	count(file_written, 1);
	if (page_flags(page) & PG_reclaim)
		rotate_reclaimable_page(page);
	return 0;
}

/* Where dirty pages are counted, a page that isn't marked has no dirty entry. (linux-2.0 counts none.) */
static bool may_be_dirty(const struct address_space *mapping, struct page *page)
{
	return page_flags(page) & PG_dirty || ((!(mapping->flags & MAPPING_NOTIFY) || fault_path->no_rmap) && page_mapcount(page));
}

#define GANG 32

int write_mapping_pages(struct address_space *mapping, unsigned long first, unsigned long last)
{
	struct page *pages[GANG];
	int err = 0;
	unsigned n;

	if (mapping->flags & MAPPING_ANON || !mapping->a_ops)
		return 0;
	while (first <= last && (n = find_get_pages(mapping, &first, last, pages, GANG))) {
		for (unsigned i = 0; i < n; i++) {
			if (may_be_dirty(mapping, pages[i])) {
				lock_page(pages[i]);
				if (page_mapping(pages[i]) == mapping && clear_page_dirty_for_io(pages[i]) && write_one_page(pages[i]))
					err = -EIO;
				unlock_page(pages[i]);
			}
			put_page(pages[i]);
		}
		if (!first)
			break; /* the last index there is */
	}
	return err;
}

/* => reclaim entered */
static int write_and_wait(struct address_space *mapping, unsigned long start, unsigned long end)
{
	int err;

	trace_fn(filemap_write_and_wait_range, start, end, 0);
	err = start < end ? write_mapping_pages(mapping, start, end - 1) : 0;
	if (atomic_exchange_explicit(&mapping->wb_err, false, memory_order_relaxed))
		err = -EIO;
	return err;
}

int filemap_write_and_wait_range(struct address_space *mapping, unsigned long start, unsigned long end)
{
	int err;

	enter_reclaim();
	err = write_and_wait(mapping, start, end);
	leave_reclaim();
	return err;
}

/* One vma's part. => mmap_lock held for reading; released meanwhile and held again, so that what was found in it is gone */
static int msync_vma(struct mm_struct *mm, struct vm_area_struct *vma, unsigned long start, unsigned long end)
{
	unsigned long first = linear_page_index(vma, start), last = first + ((end - start) >> PAGE_SHIFT);
	struct file *file;
	int err;

	if (!vma->vm_file || !(vma->vm_flags & VM_SHARED))
		return 0;
	if (vma->vm_flags & VM_NONLINEAR) { /* which pages stand there only the entries know */
		first = 0;
		last = ~0UL;
	}
	file = get_file(vma->vm_file);
	enter_reclaim();
	mmap_read_unlock(mm);
	err = write_and_wait(file->f_mapping, first, last);
	leave_reclaim();
	fput(file);
	mmap_read_lock(mm);
	return err;
}

int msync_range(struct mm_struct *mm, unsigned long addr, size_t len)
{
	unsigned long end = addr + len;
	bool hole = false;
	int err = 0;

	trace_fn(msync_range, addr, len, 0);
	mmap_read_lock(mm);
	while (addr < end) {
		struct vm_area_struct *vma = find_vma(mm, addr);
		unsigned long stop;

		if (!vma || vma->vm_start > addr) {
			hole = true;
			if (!vma || vma->vm_start >= end)
				break;
			addr = vma->vm_start;
		}
		stop = min_ul(end, vma->vm_end);
		if (msync_vma(mm, vma, addr, stop)) {
			err = -EIO;
			break;
		}
		addr = stop;
	}
	mmap_read_unlock(mm);
	return err ? err : hole ? -ENOMEM : 0;
}
