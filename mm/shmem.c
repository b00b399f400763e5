/* SPDX-License-Identifier: MIT
 *
 * shmem.c - shared anonymous memory: an address_space without a file. Its pages begin as zeros and go to swap.
 *
 *      slot of the tree    empty ---first touch---> page ---shmem_writepage---> swap entry ---shmem_get_page---> page
 *                                                    |                                            (major)
 *                                                    +--- clean, so never stored to: reclaim drops it; it begins as zeros again
 *
 * A page on its way out has a slot beside its place in the tree until its bytes are stored; then the tree's slot names the swap slot,
 * which counts as one user of it. A page that came in leaves its slot at once and is dirty.
 *
 * Entries never hold the swap entry: zapped by eviction they are none, and a fault looks into the tree.
 */
#include "mm/fault/fault.h"
#include "mm/page_tree.h"

/* => locked, with a reference; or NULL: -EAGAIN (look again), -ENOMEM */
static struct page *shmem_zeroed(struct address_space *mapping, unsigned long index, int *err)
{
	struct page *page = page_cache_alloc();

	if (!page) {
		*err = -ENOMEM;
		return NULL;
	}
	memset(machine_frame(page_to_pfn(page)), 0, PAGE_SIZE);
	set_page_uptodate(page);
	*err = add_to_page_cache_lru(page, mapping, index);
	if (*err) {
		unlock_page(page);
		put_page(page);
		*err = *err == -EEXIST ? -EAGAIN : -ENOMEM;
		return NULL;
	}
	count(zeroed, 1);
	return page;
}

/* The tree's swap entry becomes the page again. => page locked and in the swap cache; false: somebody else did it, or it was truncated */
static bool shmem_replace(struct address_space *mapping, unsigned long index, swp_entry_t entry, struct page *page)
{
	bool ok;

	page->index = index;
	set_page_flags(page, PG_uptodate | PG_swapbacked);
	spin_lock(&mapping->tree_lock);
	ok = page_tree_load(&mapping->i_pages, index) == swap_item(entry);
	if (ok) {
		page_tree_replace(&mapping->i_pages, index, page);
		get_page(page);
		mapping->nrpages++;
		atomic_store_explicit(&page->mapping, (uintptr_t)mapping, memory_order_release);
	}
	spin_unlock(&mapping->tree_lock);
	if (ok)
		swap_free(entry);
	return ok;
}

/* The page of a slot: out of the swap cache, or read. => locked, in the swap cache, with a reference; or NULL: *err */
static struct page *shmem_swap_page(swp_entry_t entry, int *err)
{
	struct page *page = lookup_swap_cache(entry);

	*err = -EAGAIN;
	if (page) { /* being evicted at this moment, or another thread brings it in, or has read it along with its neighbours (2.6) */
		lock_page(page);
		if (page_in_swap_cache(page) && page_swap_entry(page).val == entry.val && !page_is_file(page)) {
			*err = page_flags(page) & PG_error ? -EIO : 0;
			if (!*err)
				return page;
		}
		unlock_page(page);
		put_page(page);
		return NULL;
	}
	page = page_cache_alloc();
	if (!page) {
		*err = -ENOMEM;
		return NULL;
	}
	if (add_to_swap_cache(page, entry)) {
		*err = swap_readpage(page) ? -EIO : 1;
		if (*err == 1)
			return page;
		delete_from_swap_cache(page);
	}
	unlock_page(page);
	put_page(page);
	return NULL;
}

static struct page *shmem_swapin(struct address_space *mapping, unsigned long index, swp_entry_t entry, int *err)
{
	struct page *page = shmem_swap_page(entry, err);
	bool ok;

	if (!page)
		return NULL;
	ok = shmem_replace(mapping, index, entry, page);
	delete_from_swap_cache(page); /* dirty from now on */
	if (ok) {
		if (*err == 1) { /* else it was counted, and has a list, since it was read */
			count(swapped_in, 1);
			lru_cache_add_file(page);
		}
		return page;
	}
	unlock_page(page);
	put_page(page);
	*err = -EAGAIN;
	return NULL;
}

/* By way of a page that is in the swap cache for a moment: so that nobody else asks the backend for the slot meanwhile. */
int shmem_peek_swap(swp_entry_t entry, unsigned at, uint8_t *value)
{
	struct page *page;
	int err;

	page = shmem_swap_page(entry, &err);
	if (!page)
		return err;
	*value = ((uint8_t *)machine_frame(page_to_pfn(page)))[at];
	delete_from_swap_cache(page);
	unlock_page(page);
	put_page(page);
	return 0;
}

struct page *shmem_get_page(struct address_space *mapping, unsigned long index, int *err)
{
	for (;;) {
		swp_entry_t swap;
		struct page *page = find_get_page(mapping, index, &swap);

		*err = 0;
		if (page) {
			lock_page(page);
			if (page_mapping(page) == mapping)
				return page;
			unlock_page(page);
			put_page(page);
			continue;
		}
		page = swap.val ? shmem_swapin(mapping, index, swap, err) : shmem_zeroed(mapping, index, err);
		if (page || *err != -EAGAIN)
			return page;
	}
}

vm_fault_t shmem_fault(struct vm_fault *vmf)
{
	struct address_space *mapping = vmf->vma->vm_file->f_mapping;
	struct page *page = NULL;
	int err = -EFAULT;

	trace_fn(shmem_fault, vmf->address, vmf->pgoff, vmf->flags);
	down_read(&mapping->invalidate_lock);
	if (vmf->pgoff < i_pages_end(mapping))
		page = shmem_get_page(mapping, vmf->pgoff, &err);
	up_read(&mapping->invalidate_lock);
	if (!page)
		return err == -ENOMEM ? VM_FAULT_OOM : err == -EIO ? VM_FAULT_HWPOISON : VM_FAULT_SIGBUS;
	if (vmf->pgoff >= i_pages_end(mapping)) {
		unlock_page(page);
		put_page(page);
		return VM_FAULT_SIGBUS;
	}
	vmf->page = page;
	return VM_FAULT_LOCKED | (err == 1 ? VM_FAULT_MAJOR : 0);
}

/* => page locked, isolated and mapped nowhere: nobody can change its bytes. -ENOSPC: as before */
int shmem_writepage(struct page *page)
{
	struct address_space *mapping = page_mapping(page);
	swp_entry_t entry;

	trace_fn(shmem_writepage, page_to_pfn(page), page->index, 0);
	if (!page_in_swap_cache(page) && !add_to_swap(page))
		return -ENOSPC;
	entry = page_swap_entry(page);
	if (swap_writepage(page) < 0) {
		delete_from_swap_cache(page);
		return -ENOSPC;
	}
	clear_page_flags(page, PG_dirty);
	count(swapped_out, 1);
	swap_duplicate(entry, 1);
	spin_lock(&mapping->tree_lock);
	page_tree_replace(&mapping->i_pages, page->index, swap_item(entry));
	mapping->nrpages--;
	atomic_store_explicit(&page->mapping, 0, memory_order_release);
	spin_unlock(&mapping->tree_lock);
	put_page(page);
	return 0;
}

const struct vm_operations_struct shmem_vm_ops = {
	.fault = shmem_fault,
	.map_pages = filemap_map_pages,
};
