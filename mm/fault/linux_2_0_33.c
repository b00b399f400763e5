/* SPDX-License-Identifier: MIT
 *
 * linux_2_0_33.c - the fault path of 2.0.33 proper: what it does otherwise than the kernel doc 0 quotes (MM_2_0_PAGE_CACHE).
 *
 *      do_page_fault ... no vma, too far below the stack, or not allowed: SIGSEGV
 *        write ......... present: do_wp_page; absent: do_no_page
 *        read .......... present: SIGSEGV; absent: do_no_page
 *
 *      do_no_page      access   action                                                       entry                   counters
 *      swap entry      any      swap_in                                                      RO; W D for a store     rss, maj_flt
 *      the same        any      ->swapin, if the mapping has it                              page_prot, RO if        rss, maj_flt
 *                                                                                            private and shared
 *      no ->nopage     read     zero page                                                    RO                      none
 *      no ->nopage     write    get_empty_page                                               W D                     rss, min_flt
 *      ->nopage        read     filemap_nopage: the frame of the page cache                  page_prot, RO if        rss, maj_flt
 *                                                                                            private and shared
 *      ->nopage        write    the same, or for a private mapping a copy of it              W D                     rss, maj_flt
 *      either          any      it has no page: SIGBUS                                       BAD_PAGE
 *
 * Lock order: mmap_lock (write, as mmap_sem over the whole fault) > invalidate_lock > page lock > pte lock.
 *
 * Considered and rejected: the special entry that 2.0 has while a page of a shared file is written at swap-out, and filemap_swapin() for who
 * meets it. Such a fault waits for mmap_lock here; ->swapin is there for mappings that have one.
 */
#include "mm/fault/linux_2_0.h"

/* Frees the page if somebody was faster: the last re-check there is. */
static vm_fault_t put_page(struct task_fault *f, struct page *page, pteval_t prot)
{
	vm_fault_t ret = 0;

	trace_fn(put_page, f->address, page_to_pfn(page), 0);
	spin_lock(&f->table->ptl);
	if (!pte_none(ptep_get(pte_of(f->table, f->address)))) {
		trace_why("somebody was faster", 0, 0);
		free_page(page);
	} else {
		ret = install_page(f, page, prot);
		if (ret)
			free_page(page);
	}
	spin_unlock(&f->table->ptl);
	return ret;
}

static vm_fault_t sigbus(struct task_fault *f)
{
	trace_why("no page: SIGBUS, and BAD_PAGE is mapped", 0, 0);
	spin_lock(&f->table->ptl);
	if (pte_none(ptep_get(pte_of(f->table, f->address))))
		install_bad_page(f);
	spin_unlock(&f->table->ptl);
	return VM_FAULT_SIGBUS;
}

/* ---- anonymous ------------------------------------------------------------------------------------------------------------- */

static vm_fault_t map_zero_page(struct task_fault *f, struct vm_area_struct *vma)
{
	pte_t *ptep = pte_of(f->table, f->address);

	trace(zero_page, f->address, 0, 0);
	spin_lock(&f->table->ptl);
	if (pte_none(ptep_get(ptep))) {
		set_pte(ptep, pfn_pte(0, _PAGE_SPECIAL | _PAGE_ACCESSED | (vma_prot(vma) & ~_PAGE_RW)));
		map_run(f->mm, f->address, 1, 0, MACHINE_MAP_SHARED_ZERO);
	}
	spin_unlock(&f->table->ptl);
	return 0;
}

static vm_fault_t get_empty_page(struct task_fault *f, struct vm_area_struct *vma)
{
	struct page *page;

	trace_fn(get_empty_page, f->address, 0, 0);
	page = get_free_page(f->mm);
	if (!page)
		return sigbus(f);
	count(zeroed, 1);
	min_flt(f->mm);
	return put_page(f, page, vma_prot(vma) | _PAGE_DIRTY);
}

/* ---- swap_in --------------------------------------------------------------------------------------------------------------- */

/* For a load the frame is remembered as a copy of the slot, so that it needs no writing when it goes again unchanged. There can be one such
 * frame for a slot; further sharers' frames are dirty from the start. => pte lock held; what the entry may say */
static pteval_t swap_cache_or_dirty(struct page *page, swp_entry_t entry, pteval_t prot, bool write)
{
	bool kept;

	if (write)
		return prot | _PAGE_DIRTY;
	trylock_page(page); /* nobody knows it */
	kept = add_to_swap_cache(page, entry);
	unlock_page(page);
	return (prot & ~_PAGE_RW) | (kept ? 0 : _PAGE_DIRTY);
}

static vm_fault_t swap_in_oom(struct task_fault *f, pte_t orig)
{
	spin_lock(&f->table->ptl);
	if (pte_same(ptep_get(pte_of(f->table, f->address)), orig)) {
		clear_entry(f); /* swap_free() as well */
		install_bad_page(f);
	}
	spin_unlock(&f->table->ptl);
	return oom(f->mm);
}

/* => pte lock held, the entry is still the swap entry */
static vm_fault_t map_swapped(struct task_fault *f, struct page *page, pte_t orig)
{
	swp_entry_t entry = pte_to_swp_entry(orig);
	pteval_t prot = swap_cache_or_dirty(page, entry, page_prot(f->mm, f->address), f->flags & FAULT_FLAG_WRITE);
	vm_fault_t ret;

	ret = install_page(f, page, prot);
	if (ret) {
		set_pte(pte_of(f->table, f->address), orig);
		return ret;
	}
	add_mm_counter(f->mm, MM_SWAPENTS, -1);
	swap_free(entry);
	maj_flt(f->mm);
	return VM_FAULT_MAJOR;
}

/* A vma that looks after its pages in swap itself. => pte lock not held; as swap_in() */
static vm_fault_t vma_swap_in(struct task_fault *f, struct vm_area_struct *vma, pte_t orig)
{
	struct page *page = vma->vm_ops->swapin(vma, linear_page_index(vma, f->address), pte_to_swp_entry(orig).val);
	pteval_t prot = vma_prot(vma);
	vm_fault_t ret = 0;

	trace_why("the mapping has ->swapin", 0, 0);
	if (!page)
		return swap_in_oom(f, orig);
	spin_lock(&f->table->ptl);
	if (!pte_same(ptep_get(pte_of(f->table, f->address)), orig)) {
		trace_why("the entry has changed while the page was got", 0, 0);
	} else {
		if (mem_map_count(page) > 1 && !(vma->vm_flags & VM_SHARED))
			prot &= ~_PAGE_RW;
		ret = install_page(f, page, prot | _PAGE_DIRTY);
		if (ret) {
			set_pte(pte_of(f->table, f->address), orig);
		} else {
			add_mm_counter(f->mm, MM_SWAPENTS, -1);
			swap_free(pte_to_swp_entry(orig));
			maj_flt(f->mm);
			ret = VM_FAULT_MAJOR;
		}
	}
	if (!(ret & VM_FAULT_MAJOR))
		free_page(page);
	spin_unlock(&f->table->ptl);
	return ret;
}

static vm_fault_t swap_in(struct task_fault *f, pte_t orig)
{
	unsigned long memory = nr_used_frames() + nr_free_frames();
	struct page *page;
	vm_fault_t ret = 0;

	trace_fn(swap_in, f->address, pte_to_swp_entry(orig).val, linux_2_0_hw_entry(orig));
	page = __get_free_page(f->mm);
	if (!page)
		return swap_in_oom(f, orig);
	if (read_swap_page(pte_to_swp_entry(orig), page)) {
		free_page(page);
		return VM_FAULT_HWPOISON;
	}
	if ((unsigned long)get_mm_counter(f->mm, MM_ANONPAGES) < memory / 4)
		set_page_age(page, PAGE_INITIAL_AGE + PAGE_ADVANCE);
	spin_lock(&f->table->ptl);
	if (pte_same(ptep_get(pte_of(f->table, f->address)), orig))
		ret = map_swapped(f, page, orig);
	else
		trace_why("the entry has changed while the page was read", 0, 0);
	if (!(ret & VM_FAULT_MAJOR)) {
		if (page_in_swap_cache(page) && trylock_page(page)) {
			delete_from_swap_cache(page);
			unlock_page(page);
		}
		free_page(page);
	}
	spin_unlock(&f->table->ptl);
	return ret;
}

/* ---- filemap_nopage -------------------------------------------------------------------------------------------------------- */

/* A page that isn't cached: into the cache and read. => with a reference, not locked; the frame is used up, or freed when another was faster */
static struct page *add_to_page_cache(struct address_space *mapping, unsigned long pgoff, struct page *fresh)
{
	trace_fn(add_to_page_cache, page_to_pfn(fresh), pgoff, 0);
	trylock_page(fresh); /* nobody knows it */
	if (add_to_page_cache_lru(fresh, mapping, pgoff)) {
		unlock_page(fresh);
		free_page(fresh);
		return find_get_page(mapping, pgoff, NULL);
	}
	filemap_read_page(fresh);
	unlock_page(fresh);
	return fresh;
}

/* Exactly one page, the following one. Reading takes no time here: it counts as pending, as it would be on any disk. */
static void try_to_read_ahead(struct mm_struct *mm, struct address_space *mapping, unsigned long pgoff)
{
	struct page *page = pgoff < i_pages_end(mapping) ? find_get_page(mapping, pgoff, NULL) : NULL;

	if (!page && pgoff < i_pages_end(mapping)) {
		page = __get_free_page(mm);
		if (page)
			page = add_to_page_cache(mapping, pgoff, page);
	}
	if (page)
		free_page(page);
}

/* => with a reference, uptodate; NULL: no frame, or it can't be read. invalidate_lock held */
static struct page *cached_page(struct mm_struct *mm, struct address_space *mapping, unsigned long pgoff)
{
	struct page *page = find_get_page(mapping, pgoff, NULL), *fresh;
	bool ok;

	if (!page) {
		fresh = __get_free_page(mm);
		if (!fresh)
			return NULL;
		page = find_get_page(mapping, pgoff, NULL); /* getting the frame may have taken its time */
		if (page)
			free_page(fresh);
		else
			page = add_to_page_cache(mapping, pgoff, fresh);
		if (!page)
			return NULL;
		try_to_read_ahead(mm, mapping, pgoff + 1);
	}
	set_page_flags(page, PG_referenced);
	lock_page(page);
	ok = page_flags(page) & PG_uptodate || !filemap_read_page(page);
	unlock_page(page);
	if (ok)
		return page;
	free_page(page);
	return NULL;
}

/* The copy that a store to a private page needs. => NULL: no frame */
static struct page *no_share_copy(struct mm_struct *mm, struct page *page)
{
	struct page *new_page = __get_free_page(mm);

	if (new_page) {
		memcpy(machine_frame(page_to_pfn(new_page)), machine_frame(page_to_pfn(page)), PAGE_SIZE);
		count(copied, 1);
	}
	free_page(page);
	return new_page;
}

/* => vmf->page with a reference, NULL: there is none (SIGBUS) */
static vm_fault_t filemap_nopage(struct vm_fault *vmf)
{
	struct vm_area_struct *area = vmf->vma;
	struct address_space *mapping = area->vm_file->f_mapping;
	bool no_share = vmf->flags & FAULT_FLAG_WRITE && !(area->vm_flags & VM_SHARED);

	trace_fn(filemap_nopage, vmf->address, vmf->pgoff, no_share);
	down_read(&mapping->invalidate_lock);
	if (vmf->pgoff >= i_pages_end(mapping)) {
		vmf->page = NULL;
		if (!(area->vm_flags & VM_SHARED)) {
			trace_why("beyond the end, private: zeros", 0, 0);
			vmf->page = get_free_page(area->vm_mm);
		}
	} else {
		vmf->page = cached_page(area->vm_mm, mapping, vmf->pgoff);
		if (vmf->page && no_share)
			vmf->page = no_share_copy(area->vm_mm, vmf->page);
	}
	up_read(&mapping->invalidate_lock);
	return vmf->page ? VM_FAULT_MAJOR : VM_FAULT_SIGBUS;
}

static const struct vm_operations_struct filemap_ops = { .fault = filemap_nopage };

/* ---- do_no_page ------------------------------------------------------------------------------------------------------------ */

static vm_fault_t map_nopage(struct task_fault *f, struct vm_area_struct *vma)
{
	struct vm_fault vmf = {
		.vma = vma, .address = f->address, .pgoff = linear_page_index(vma, f->address), .flags = f->flags,
	};
	pteval_t prot = vma_prot(vma);
	vm_fault_t ret;

	trace_why("a mapping with ->nopage", 0, 0);
	vma->vm_ops->fault(&vmf);
	if (!vmf.page)
		return sigbus(f);
	maj_flt(f->mm); /* even if it was in the page cache */
	if (f->flags & FAULT_FLAG_WRITE)
		prot |= _PAGE_DIRTY;
	else if (!(vma->vm_flags & VM_SHARED))
		prot &= ~_PAGE_RW; /* page_prot of a private mapping has no W, whoever else uses the frame */
	ret = put_page(f, vmf.page, prot);
	return ret ? ret : VM_FAULT_MAJOR;
}

static vm_fault_t do_no_page(struct task_fault *f, struct vm_area_struct *vma)
{
	pte_t pte;

	trace_fn(do_no_page, f->address, f->flags, 0);
	if (!get_empty_pgtable(f)) /* pmd_alloc, pte_alloc */
		return VM_FAULT_OOM;
	pte = ptep_get(pte_of(f->table, f->address));
	if (pte_present(pte))
		return 0;
	if (!pte_none(pte))
		return vma->vm_ops && vma->vm_ops->swapin ? vma_swap_in(f, vma, pte) : swap_in(f, pte);
	if (vma->vm_ops && vma->vm_ops->fault)
		return map_nopage(f, vma);
	return f->flags & FAULT_FLAG_WRITE ? get_empty_page(f, vma) : map_zero_page(f, vma);
}

/* ---- do_wp_page ------------------------------------------------------------------------------------------------------------ */

/* => pte lock held */
static bool in_place(const struct vm_area_struct *vma, pte_t pte)
{
	struct page *page = pfn_to_page(pte_pfn(pte));

	if (pte_special(pte) || page_reserved(page))
		return false;
	/* A shared mapping that has been read-only for a while: its entries get W by a fault, and not at the mprotect() as in 2.0. */
	return mem_map_count(page) == 1 || (vma->vm_flags & VM_SHARED && page_is_file(page));
}

static vm_fault_t copy_to(struct task_fault *f, struct page *new_page, pte_t old)
{
	void *to = machine_frame(page_to_pfn(new_page));

	if (pte_special(old)) {
		memset(to, 0, PAGE_SIZE);
		count(zeroed, 1);
	} else {
		memcpy(to, machine_frame(pte_pfn(old)), PAGE_SIZE);
		count(copied, 1);
		count(cow_copy, 1);
	}
	return replace_page(f, new_page, _PAGE_RW | _PAGE_DIRTY);
}

/* The frame is got before anything is looked at. => the caller has checked that the vma may be written */
static vm_fault_t do_wp_page(struct task_fault *f, struct vm_area_struct *vma)
{
	struct page *new_page;
	vm_fault_t ret = 0;
	pte_t old;

	f->table = pte_table(f->mm, f->address);
	trace_fn(do_wp_page, f->address, ptep_get(pte_of(f->table, f->address)).val, 0);
	new_page = __get_free_page(f->mm);
	spin_lock(&f->table->ptl);
	old = ptep_get(pte_of(f->table, f->address));
	if (!pte_present(old) || pte_write(old)) {
		trace_why("the entry has changed while a frame was got", 0, 0);
	} else {
		min_flt(f->mm);
		if (in_place(vma, old)) {
			trace_why("its only user: written in place", 0, 0);
			make_writable(f);
		} else if (new_page) {
			trace_why("other users, or reserved: a copy", 0, 0);
			ret = copy_to(f, new_page, old);
			if (!ret)
				new_page = NULL;
		} else {
			clear_entry(f);
			ret = oom(f->mm);
			install_bad_page(f);
		}
	}
	spin_unlock(&f->table->ptl);
	if (new_page)
		free_page(new_page);
	return ret;
}

/* ---- do_page_fault --------------------------------------------------------------------------------------------------------- */

#define STACK_SLACK 32 /* bytes below the stack pointer that a push of registers may reach */

/* No guard gap. => mmap_lock held for writing; 0, -ENOMEM */
static int expand_stack(struct vm_area_struct *vma, unsigned long addr)
{
	addr &= PAGE_MASK;
	trace_fn(expand_stack, addr, vma->vm_start, vma->vm_end);
	if (vma->vm_end - addr > vma->vm_mm->rlimit_stack) {
		trace_why("the stack's limit is %lu bytes, it would have %lu", vma->vm_mm->rlimit_stack, vma->vm_end - addr);
		return -ENOMEM;
	}
	if (vma->vm_mm->total_vm + ((vma->vm_start - addr) >> PAGE_SHIFT) > vma->vm_mm->rlimit_as >> PAGE_SHIFT) {
		trace_why("more than RLIMIT_AS, %lu", vma->vm_mm->rlimit_as, 0);
		return -ENOMEM;
	}
	vma_adjust(vma, addr, vma->vm_end);
	return 0;
}

/* => the vma that covers the address, or NULL: bad area */
static struct vm_area_struct *covering_vma(struct mm_struct *mm, unsigned long addr, unsigned flags)
{
	struct vm_area_struct *vma = find_vma(mm, addr);
	unsigned long sp = atomic_load(&mm->stack_pointer);

	if (!vma || addr >= vma->vm_start)
		return vma;
	if (!(vma->vm_flags & VM_GROWSDOWN))
		return NULL;
	if (flags & FAULT_FLAG_USER && sp && addr + STACK_SLACK < sp) {
		trace_why("%lx is more than 32 bytes below the stack pointer, %lx", addr, sp);
		return NULL;
	}
	return expand_stack(vma, addr) ? NULL : vma;
}

static vm_fault_t resolve(struct task_fault *f, unsigned long addr)
{
	struct vm_area_struct *vma = covering_vma(f->mm, addr, f->flags);
	struct ptdesc *table = pte_table(f->mm, f->address);
	bool present = table && pte_present(ptep_get(pte_of(table, f->address)));

	if (!vma)
		return VM_FAULT_BADMAP;
	if (f->flags & FAULT_FLAG_WRITE) {
		trace_why(present ? "a write, present: needs VM_WRITE" : "a write, absent: needs VM_WRITE", 0, 0);
		if (vma->vm_flags & VM_WRITE)
			return present ? do_wp_page(f, vma) : do_no_page(f, vma);
	} else if (!present && vma->vm_flags & (VM_READ | VM_EXEC)) {
		trace_why("a read, absent: has VM_READ or VM_EXEC", 0, 0);
		return do_no_page(f, vma);
	}
	trace(access_error, addr, vma->vm_flags, f->flags);
	return VM_FAULT_BADACCESS;
}

static vm_fault_t do_page_fault_2_0_33(struct mm_struct *mm, unsigned long addr, unsigned flags)
{
	struct task_fault f = { .mm = mm, .address = addr & PAGE_MASK, .flags = flags };
	vm_fault_t ret = 0;
	bool released;

	if (addr >= TASK_SIZE)
		return VM_FAULT_BADMAP;
	released = lock_fault(mm, flags);
	if (!touch_entry(&f))
		ret = resolve(&f, addr);
	lock_fault_done(mm, released);
	return ret;
}

/* Nothing anonymous can be shared. A shared mapping of what isn't open for writing becomes a private one. */
static int mmap_check_2_0_33(const struct file *file, unsigned long *vm_flags)
{
	if (!(*vm_flags & VM_SHARED))
		return 0;
	if (!file)
		return -EINVAL;
	if (!(file->f_flags & FILE_WRITE)) {
		if (*vm_flags & VM_WRITE)
			return -EACCES;
		*vm_flags &= ~(VM_SHARED | VM_MAYWRITE);
	}
	return 0;
}

const struct fault_path linux_2_0_33_path = {
	.name = "linux-2.0",
	.fault = do_page_fault_2_0_33,
	.account = counted_already,
	.error = bad_area_2_0,
	.copy_page_range = copy_page_tables,
	.try_to_free_pages = swap_try_to_free_pages,
	.pageout_range = swap_pageout_range,
	.swapin_range = swap_swapin_range,
	.expand_stack = expand_stack,
	.file_vm_ops = &filemap_ops,
	.mmap_check = mmap_check_2_0_33,
	.pte_modify = pte_modify_2_0,
	.dup_mm = copy_bare_pages,
	.no_rmap = true,
};
