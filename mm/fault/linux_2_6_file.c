/* SPDX-License-Identifier: MIT
 *
 * linux_2_6_file.c - pages of files as 2.6.24 brings them in, and what it does about the first store to one.
 *
 *      page is         hint          what is read                                                fault is
 *      cached          any           nothing; sequential and marked: the next window             minor
 *      missing         random        the page                                                    minor (!)
 *      missing         sequential    a window by page_cache_sync_readahead()                     minor (!)
 *      missing         -             ra_pages around it, if fewer than 100 misses more than hits major
 *      missing         -             the page, after that                                        minor (!)
 *      not uptodate    any           the page, once more                                         major, or SIGBUS
 *      beyond the end  any           nothing                                                     SIGBUS
 *
 * Lock order: mmap_lock (read) > invalidate_lock (read) > page lock > tree_lock. A page is returned locked.
 *
 * Considered and rejected: filemap_fault() of 5.x with other windows. What it counts as major, where it looks for the end of the file, and that it
 * never lets go of mmap_lock are what this one is about; the windows themselves (readahead.c) are common.
 *
 * (!) MAJOR is set where pages around are read and where a page is read again, and nowhere else.
 */
#include "mm/fault/linux_2_6.h"

#define MMAP_LOTSAMISS 100

/* ---- filemap_fault (2.7) ------------------------------------------------------------------------------------------------- */

/* Reads the page at index, whatever comes of it; the caller looks for it again. => 0, OOM; SIGBUS: the file ends before */
static vm_fault_t page_cache_read(struct address_space *mapping, unsigned long index)
{
	vm_fault_t ret = 0;
	struct page *page;

	trace_fn(page_cache_read, index, 0, 0);
	page = page_cache_alloc();
	if (!page)
		return VM_FAULT_OOM;
	down_read(&mapping->invalidate_lock);
	if (index >= i_pages_end(mapping)) {
		ret = VM_FAULT_SIGBUS;
	} else {
		switch (add_to_page_cache_lru(page, mapping, index)) {
		case 0:
			filemap_read_page(page);
			break;
		case -EEXIST: /* another thread was faster */
			break;
		default:
			ret = VM_FAULT_OOM;
		}
	}
	up_read(&mapping->invalidate_lock);
	unlock_page(page);
	put_page(page);
	return ret;
}

/* No more than half of what could be had by throwing away what isn't used. */
static unsigned max_sane_readahead(unsigned nr)
{
	return min_ul(nr, (lru_size(LRU_INACTIVE_ANON) + lru_size(LRU_INACTIVE_FILE) + nr_free_frames()) / 2);
}

/* The mapping is said to be read from one end to the other. => as find_lock_page() */
static struct page *sequential_page(struct file *file, unsigned long index)
{
	struct page *page = find_lock_page(file->f_mapping, index);

	if (!page) {
		trace_why("it is not in memory, and the mapping is read in order: a window that grows", 0, 0);
		page_cache_sync_readahead(file, index, 1);
		page = find_lock_page(file->f_mapping, index);
	}
	if (page && page_flags(page) & PG_readahead) {
		trace_why("page %lu carries the readahead mark", index, 0);
		/* Reading may need memory and wait for other pages: not with this one locked. */
		unlock_page(page);
		page_cache_async_readahead(file, page, index, 1);
		lock_page(page);
		if (page_mapping(page) != file->f_mapping) {
			unlock_page(page);
			put_page(page);
			page = NULL;
		}
	}
	return page;
}

/* Not in the cache, and no hint: what lies around it. => as find_lock_page() */
static struct page *read_around(struct file *file, unsigned long index, vm_fault_t *ret, bool *did_readaround)
{
	unsigned ra_pages = max_sane_readahead(file->f_mapping->ra_pages);

	file->f_ra.mmap_miss++;
	if ((int)file->f_ra.mmap_miss > MMAP_LOTSAMISS) {
		trace_why("%lu misses more than hits: no readahead any more", file->f_ra.mmap_miss, 0);
		return NULL;
	}
	trace_why("it is not in memory: what lies around it is read", 0, 0);
	if (!*did_readaround)
		*ret = VM_FAULT_MAJOR;
	*did_readaround = true;
	if (ra_pages)
		do_page_cache_readahead(file, index > ra_pages / 2 ? index - ra_pages / 2 : 0, ra_pages, 0);
	return find_lock_page(file->f_mapping, index);
}

/* A page without its bytes. => page locked; released. 0: read, look again */
static vm_fault_t read_again(struct page *page)
{
	int err;

	trace_why("the page is there without its bytes: one more attempt", 0, 0);
	err = filemap_read_page(page);
	unlock_page(page);
	put_page(page);
	return err ? VM_FAULT_SIGBUS : 0;
}

static vm_fault_t linux_2_6_filemap_fault(struct vm_fault *vmf)
{
	struct file *file = vmf->vma->vm_file;
	struct address_space *mapping = file->f_mapping;
	bool random = vmf->vma->vm_flags & VM_RAND_READ, did_readaround = false, read_it = random;
	vm_fault_t ret = 0, err;
	struct page *page;

	trace_fn(filemap_fault, vmf->address, vmf->pgoff, vmf->flags);
	if (vmf->pgoff >= i_pages_end(mapping)) {
		trace_why("page %lu is beyond the end of the file", vmf->pgoff, 0);
		return VM_FAULT_SIGBUS;
	}
	if (random)
		trace_why("the mapping is read at random: this page alone", 0, 0);
	for (;;) {
		if (read_it) {
			err = page_cache_read(mapping, vmf->pgoff);
			if (err)
				return err;
		}
		page = vmf->vma->vm_flags & VM_SEQ_READ ? sequential_page(file, vmf->pgoff) : find_lock_page(mapping, vmf->pgoff);
		if (!page && !(vmf->vma->vm_flags & VM_SEQ_READ))
			page = read_around(file, vmf->pgoff, &ret, &did_readaround);
		read_it = !page;
		if (!page)
			continue;
		if (!did_readaround)
			file->f_ra.mmap_miss--;
		if (page_flags(page) & PG_uptodate)
			break;
		if (!did_readaround)
			ret = VM_FAULT_MAJOR;
		err = read_again(page);
		if (err)
			return err;
	}
	if (vmf->pgoff >= i_pages_end(mapping)) {
		unlock_page(page);
		put_page(page);
		return VM_FAULT_SIGBUS;
	}
	mark_page_accessed(page);
	file->f_ra.prev_pos = page->index;
	vmf->page = page;
	return ret | VM_FAULT_LOCKED;
}

/* ---- the first store ------------------------------------------------------------------------------------------------------- */

int linux_2_6_page_mkwrite(struct vm_area_struct *vma, struct page *page)
{
	struct address_space *mapping = vma->vm_file->f_mapping;

	trace_fn(page_mkwrite, page->index, page_to_pfn(page), 0);
	return mapping->a_ops->page_mkwrite(mapping->host, page->index);
}

/* Whoever makes a page dirty waits for the page lock first: a page that is being written or truncated is let go by then. (There are
 * no limits for dirty memory.) */
void set_page_dirty_balance(struct page *page)
{
	trace_fn(set_page_dirty_balance, page_to_pfn(page), page->index, 0);
	wait_on_page_locked(page);
	set_page_dirty(page);
}

const struct vm_operations_struct linux_2_6_file_vm_ops = { .fault = linux_2_6_filemap_fault };
