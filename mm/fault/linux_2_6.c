/* SPDX-License-Identifier: MIT
 *
 * linux_2_6.c - the fault path of Linux 2.6.24, the kernel of doc 2.
 *
 *      do_page_fault                                              fault.c
 *        __do_page_fault ........ vma? stack? allowed?            (do_page_fault() of the architecture)
 *          handle_mm_fault ...... pud, pmd and the last table, always
 *            handle_pte_fault
 *               none, ->fault, ->nopage . do_linear_fault ----+
 *               none, ->nopfn ........... do_no_pfn           |
 *               none, otherwise ......... do_anonymous_page   +--> __do_fault
 *               absent, pte_file ........ do_nonlinear_fault -+
 *               absent, otherwise ....... do_swap_page
 *               present, write, RO ...... do_wp_page
 *               present ................. young and dirty bits; a spurious fault
 *
 *      entry     access        mapping                 result
 *      none      any           ->nopfn                 the frame that it names, page_prot, W D for a store; it has no struct page
 *      none      any           anonymous               zeroed page, D, W if the mapping may be written: there is no zero page
 *      none      read          file                    page of the cache, page_prot
 *      none      write         file, private           copy of it at once, W D
 *      none      write         file, shared            ->page_mkwrite; page of the cache, W D; page dirty
 *      file      any           VM_NONLINEAR            as the three above, with the offset that the entry says
 *      file      any           otherwise               the table is corrupt: OOM
 *      swap      any           any                     swap cache: minor. Else major: a cluster of 8 slots is read
 *      swap      write         any                     alone: W D. Else read-only, and do_wp_page at once
 *      present   write         RO anonymous            reuse when map + other swap refs == 1, else copy
 *      present   write         RO file, shared         ->page_mkwrite; reuse; page dirty
 *      present   write         RO file, private        copy
 *      present   write         RO, no struct page      copy
 *
 * Lock order: mmap_lock (read) > page lock > anon_vma lock > page_table_lock > pte lock. Whatever sleeps is done without the pte lock; under
 * it the entry is compared with what was read at the start, and the loser frees his page. No fault lets go of mmap_lock: there is no RETRY.
 *
 * Considered and rejected: entries in the hardware's 32 bits. Reverse map, reclaim and the machine are those of all generations, and know one
 * format; linux_2_6_hw_entry() says what the hardware's table would hold. And an entry for the zero page: 2.6.24 had none.
 */
#include "mm/fault/linux_2_6.h"
#include "mm/fault/signals.h"

#define PAGE_CLUSTER 3 /* swap is read by 8 slots */

/* ---- small parts --------------------------------------------------------------------------------------------------------- */

static void lock_pte(struct vm_fault *vmf)
{
	vmf->pte = pte_offset_map_lock(vmf->vma->vm_mm, vmf->pmd, vmf->address, &vmf->ptl);
}

static void unlock_pte(struct vm_fault *vmf)
{
	spin_unlock(vmf->ptl);
	vmf->pte = NULL;
}

static bool write_access(const struct vm_fault *vmf)
{
	return vmf->flags & FAULT_FLAG_WRITE;
}

/* The machine could not do it: it has no memory, or no such mapping (any more) and the caller looks again. */
static vm_fault_t map_error(int err)
{
	return err == -ENOMEM ? VM_FAULT_OOM : VM_FAULT_NOPAGE;
}

/* Young, as all protections of this generation. */
static pte_t mk_pte(const struct page *page, pteval_t prot)
{
	trace_leaf(mk_pte, page_to_pfn(page), prot, 0);
	return pfn_pte(page_to_pfn(page), prot | _PAGE_ACCESSED);
}

static pte_t maybe_mkwrite(pte_t pte, const struct vm_area_struct *vma)
{
	return vma->vm_flags & VM_WRITE ? pte_set(pte, _PAGE_RW) : pte;
}

/* A new entry in an absent one's place, and the machine told of it. => pte lock held; 1, or -errno: what stood there stands there again */
static int set_pte_at(struct vm_fault *vmf, pte_t pte, unsigned how)
{
	pte_t old = ptep_get(vmf->pte);
	int done;

	set_pte(vmf->pte, pte);
	trace_leaf(set_pte_at, vmf->address, 1, pte_pfn(pte));
	done = map_run(vmf->vma->vm_mm, vmf->address, 1, pte_pfn(pte), pte_how(pte) | how);
	if (likely(done == 1))
		return 1;
	set_pte(vmf->pte, old);
	return done ? done : -ENOENT;
}

/* More rights and bits for a present entry. => pte lock held; 1, or the entry as it was */
static int ptep_set_access_flags(struct vm_fault *vmf, pte_t old, pte_t new)
{
	struct mm_struct *mm = vmf->vma->vm_mm;
	int done = 1;

	/* Bits are only added, so that one that the hardware sets meanwhile is not lost. */
	__atomic_fetch_or(&vmf->pte->val, new.val & (_PAGE_ACCESSED | _PAGE_DIRTY | _PAGE_RW), __ATOMIC_ACQ_REL);
	if (!pte_mapped(old))
		done = map_run(mm, vmf->address, 1, pte_pfn(new), pte_how(new));
	else
		machine_protect(mm, vmf->address, 1, pte_pfn(new), pte_how(new));
	if (unlikely(done != 1))
		set_pte(vmf->pte, old);
	return done;
}

static struct page *alloc_page(void)
{
	unsigned got;
	unsigned long pfn = alloc_run_fault(1, false, &got);

	return pfn == -1UL ? NULL : pfn_to_page(pfn);
}

static void free_new_page(struct page *page)
{
	free_run(page_to_pfn(page), 1);
}

void lru_cache_add_active(struct page *page, const struct vm_area_struct *vma)
{
	trace_leaf(lru_cache_add_active, page_to_pfn(page), 0, 0);
	set_page_flags(page, PG_active);
	lru_cache_add_run(page, 1, vma && vma->vm_flags & VM_LOCKED);
}

/* A page of an anon_vma. => pte lock held; it is not on a list yet */
static int install_anon_page(struct vm_fault *vmf, struct page *page, pte_t pte, unsigned how)
{
	int done;

	page_add_new_anon_rmap(page, vmf->vma, vmf->address);
	done = set_pte_at(vmf, pte, how);
	if (unlikely(done != 1)) {
		page_remove_rmap(page);
		return done;
	}
	add_mm_counter(vmf->vma->vm_mm, MM_ANONPAGES, 1);
	lru_cache_add_active(page, vmf->vma);
	return 1;
}

/* ---- do_anonymous_page (2.2) ----------------------------------------------------------------------------------------------- */

/* The zeros are the machine's part (MACHINE_MAP_ZERO). */
static struct page *alloc_zeroed_user_highpage_movable(struct vm_fault *vmf)
{
	trace_fn(alloc_zeroed_user_highpage_movable, vmf->address, 1, 0);
	return alloc_page();
}

static vm_fault_t do_anonymous_page(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct page *page;
	int done;

	trace_fn(do_anonymous_page, vmf->address, vmf->flags, 0);
	if (anon_vma_prepare(vma))
		return VM_FAULT_OOM;
	page = alloc_zeroed_user_highpage_movable(vmf);
	if (!page)
		return VM_FAULT_OOM;
	lock_pte(vmf);
	if (!pte_none(ptep_get(vmf->pte))) {
		trace_why("another thread has filled the entry meanwhile: the page is freed", 0, 0);
		unlock_pte(vmf);
		free_new_page(page);
		return 0;
	}
	done = install_anon_page(vmf, page, maybe_mkwrite(pte_mkdirty(mk_pte(page, vm_page_prot(vma))), vma), MACHINE_MAP_ZERO);
	unlock_pte(vmf);
	if (unlikely(done != 1)) {
		free_new_page(page);
		return map_error(done);
	}
	count(zeroed, 1);
	return 0;
}

/* ---- __do_fault (2.3) ------------------------------------------------------------------------------------------------------ */

static void cow_user_page(struct page *to, struct page *from, unsigned long addr)
{
	trace_fn(cow_user_page, addr, page_to_pfn(from), page_to_pfn(to));
	memcpy(machine_frame(page_to_pfn(to)), machine_frame(page_to_pfn(from)), PAGE_SIZE);
	count(copied, 1);
}


/* The page, or its copy, into the entry, if that is still what it was. => vmf->page locked. 1: it stands there (the copy's only reference is
 * the entry's now); 0: the entry has changed; -errno */
static int install_fault_page(struct vm_fault *vmf)
{
	struct page *page = vmf->cow_page ? vmf->cow_page : vmf->page;
	struct vm_area_struct *vma = vmf->vma;
	int done = 0;
	pte_t pte;

	lock_pte(vmf);
	if (!pte_same(ptep_get(vmf->pte), vmf->orig_pte)) {
		trace_why("the entry has changed meanwhile: the page is let go", 0, 0);
		unlock_pte(vmf);
		return 0;
	}
	pte = mk_pte(page, vm_page_prot(vma));
	if (write_access(vmf))
		pte = maybe_mkwrite(pte_mkdirty(pte), vma);
	if (vmf->cow_page) {
		done = install_anon_page(vmf, page, pte, 0);
	} else {
		get_page(page);
		page_add_file_rmap(page);
		done = set_pte_at(vmf, pte, 0);
		if (likely(done == 1)) {
			add_mm_counter(vma->vm_mm, mm_counter_file(page), 1);
		} else {
			page_remove_rmap(page);
			put_page(page); /* not the last: the caller has one */
		}
	}
	unlock_pte(vmf);
	return done;
}

/* A store to a private mapping gets its copy before anything is mapped. => vmf->page locked; VM_FAULT_OOM or 0 */
static vm_fault_t early_cow(struct vm_fault *vmf)
{
	if (anon_vma_prepare(vmf->vma))
		return VM_FAULT_OOM;
	vmf->cow_page = alloc_page();
	if (!vmf->cow_page)
		return VM_FAULT_OOM;
	cow_user_page(vmf->cow_page, vmf->page, vmf->address);
	return 0;
}

/* A store to a page of a shared mapping is announced; without the page lock, for that may take its time. => vmf->page locked, and again
 * afterwards unless there is an error. VM_FAULT_NOPAGE: the page has left the file meanwhile */
static vm_fault_t announce_write(struct vm_fault *vmf)
{
	unlock_page(vmf->page);
	if (linux_2_6_page_mkwrite(vmf->vma, vmf->page) < 0)
		return VM_FAULT_SIGBUS;
	lock_page(vmf->page);
	return page_mapping(vmf->page) ? 0 : VM_FAULT_NOPAGE;
}

/* vmf->page is there and locked, with a reference: what has to happen before it is mapped? => VM_FAULT_ bits: it isn't to be mapped */
static vm_fault_t prepare_write(struct vm_fault *vmf)
{
	if (!write_access(vmf)) {
		trace_why("a read: the page itself", 0, 0);
		return 0;
	}
	if (!(vmf->vma->vm_flags & VM_SHARED)) {
		trace_why("a write, and the mapping is private: a copy at once", 0, 0);
		return early_cow(vmf);
	}
	trace_why("a write, and the mapping is shared: the page itself, which becomes dirty", 0, 0);
	return vma_has_page_mkwrite(vmf->vma) ? announce_write(vmf) : 0;
}

/* The older operation says in the page what went wrong. */
static vm_fault_t call_nopage(struct vm_fault *vmf)
{
	vm_fault_t type = 0;

	trace_why("a mapping with ->nopage", 0, 0);
	vmf->page = vmf->vma->vm_ops->nopage(vmf->vma, vmf->address, &type);
	if (vmf->page == NOPAGE_SIGBUS)
		return VM_FAULT_SIGBUS;
	return vmf->page == NOPAGE_OOM ? VM_FAULT_OOM : type & VM_FAULT_MAJOR;
}

/* vmf->pgoff into the entry that was vmf->orig_pte (nothing, or the offset itself). => no lock but mmap_lock */
static vm_fault_t __do_fault(struct vm_fault *vmf)
{
	vm_fault_t ret, stop;
	int done = 0;

	trace_fn(__do_fault, vmf->address, vmf->pgoff, vmf->flags);
	ret = vmf->vma->vm_ops->fault ? vmf->vma->vm_ops->fault(vmf) : call_nopage(vmf);
	if (unlikely(ret & (VM_FAULT_ERROR | VM_FAULT_NOPAGE)))
		return ret & VM_FAULT_HWPOISON ? VM_FAULT_SIGBUS : ret; /* one signal for every page that can't be read */
	if (!(ret & VM_FAULT_LOCKED))
		lock_page(vmf->page);
	ret &= ~VM_FAULT_LOCKED;
	stop = prepare_write(vmf);
	if (!stop)
		done = install_fault_page(vmf);
	if (stop != VM_FAULT_SIGBUS)
		unlock_page(vmf->page);
	if (vmf->cow_page && done != 1)
		free_new_page(vmf->cow_page);
	if (!vmf->cow_page && done == 1 && write_access(vmf)) {
		file_update_time(vmf->vma);
		set_page_dirty_balance(vmf->page);
	}
	put_page(vmf->page);
	if (stop)
		return stop & VM_FAULT_ERROR; /* NOPAGE: truncated; the next try sees the new end */
	return done < 0 ? map_error(done) : ret;
}

static vm_fault_t do_linear_fault(struct vm_fault *vmf)
{
	trace_fn(do_linear_fault, vmf->address, vmf->flags, vmf->pgoff);
	vmf->pgoff = linear_page_index(vmf->vma, vmf->address);
	return __do_fault(vmf);
}

/* Memory that has no struct pages: the mapping names a frame. */
static vm_fault_t do_no_pfn(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	unsigned long pfn = vma->vm_ops->nopfn(vma, vmf->address);
	int done = 1;

	trace_fn(do_no_pfn, vmf->address, pfn, vmf->flags);
	if (pfn == NOPFN_OOM)
		return VM_FAULT_OOM;
	if (pfn == NOPFN_SIGBUS)
		return VM_FAULT_SIGBUS;
	if (pfn == NOPFN_REFAULT)
		return 0;
	lock_pte(vmf);
	if (pte_none(ptep_get(vmf->pte))) { /* else somebody was faster */
		pte_t pte = pfn_pte(pfn, vm_page_prot(vma) | _PAGE_SPECIAL | _PAGE_PFN | _PAGE_ACCESSED);

		done = set_pte_at(vmf, write_access(vmf) ? maybe_mkwrite(pte_mkdirty(pte), vma) : pte, 0);
	}
	unlock_pte(vmf);
	return done == 1 ? 0 : map_error(done);
}

/* The entry says itself which page of the file belongs here. */
static vm_fault_t do_nonlinear_fault(struct vm_fault *vmf)
{
	trace_fn(do_nonlinear_fault, vmf->address, vmf->flags, vmf->orig_pte.val);
	if (unlikely(!(vmf->vma->vm_flags & VM_NONLINEAR) || !vma_can_nonlinear(vmf->vma))) {
		trace_leaf(print_bad_pte, vmf->address, vmf->orig_pte.val, vmf->vma->vm_flags);
		return VM_FAULT_OOM;
	}
	vmf->pgoff = pte_to_pgoff(vmf->orig_pte);
	return __do_fault(vmf);
}

/* ---- do_swap_page (2.5) ---------------------------------------------------------------------------------------------------- */

/* A page of the swap cache for the slot, read if it wasn't there. => unlocked, with a reference; NULL: no memory, or nobody has the slot */
static struct page *read_swap_cache_async(swp_entry_t entry)
{
	struct page *page, *new = NULL;

	trace_fn(read_swap_cache_async, entry.val, 0, 0);
	for (;;) {
		page = lookup_swap_cache(entry);
		if (page)
			break;
		if (!new && !(new = alloc_page()))
			break;
		trylock_page(new); /* nobody else knows it */
		if (add_to_swap_cache(new, entry)) {
			lru_cache_add_active(new, NULL);
			if (swap_readpage(new))
				set_page_flags(new, PG_error);
			else
				count(swapped_in, 1);
			unlock_page(new);
			return new;
		}
		unlock_page(new);
		if (!swap_count(entry))
			break;
	}
	if (new)
		free_new_page(new);
	return page;
}

/* The slots of one aligned cluster from its beginning to the first that is not in use: pages that left one after the other are
 * neighbours here, and may be wanted together again. */
static void swapin_readahead(swp_entry_t entry)
{
	unsigned long first = entry.val >> PAGE_CLUSTER << PAGE_CLUSTER, end = first + (1UL << PAGE_CLUSTER), slot;

	trace_fn(swapin_readahead, entry.val, first, end);
	for (slot = first ? first : 1; slot < end && swap_slot_used((swp_entry_t){ slot }); slot++) {
		struct page *page = read_swap_cache_async((swp_entry_t){ slot });

		if (!page)
			break;
		if (slot != entry.val)
			count(swapin_around_pages, 1);
		put_page(page);
	}
}

/* Is nobody beside this entry interested in the page? => page locked; anonymous */
static bool can_share_swap_page(struct page *page)
{
	int users = page_mapcount(page);

	trace_fn(can_share_swap_page, page_to_pfn(page), users, 0);
	if (users <= 1 && page_in_swap_cache(page))
		users += swap_count(page_swap_entry(page));
	trace_why("users of the page, by entries that map it and that name its slot: %lu", users, 0);
	return users == 1;
}

/* Its slot is wanted for other pages, and of no use if nobody else names it. => page locked, mapped */
static void remove_exclusive_swap_page(struct page *page)
{
	trace_fn(remove_exclusive_swap_page, page_to_pfn(page), 0, 0);
	if (page_in_swap_cache(page) && !swap_count(page_swap_entry(page)) && page_count(page) == 2)
		delete_from_swap_cache(page);
}

/* Nobody maps it and nobody names its slot: 2.6.24 leaves such a page to reclaim, here its slot is free at once. */
static void drop_unused_swap_page(struct page *page)
{
	if (!page_in_swap_cache(page) || !trylock_page(page))
		return; /* whoever has the lock looks when he is done */
	if (page_in_swap_cache(page) && !page_mapcount(page) && !swap_count(page_swap_entry(page)))
		delete_from_swap_cache(page);
	unlock_page(page);
}

/* => page locked, of the swap cache, for vmf->orig_pte. *mapped: it is, the caller's reference is the entry's now, and the pte lock is held;
 * FAULT_FLAG_WRITE is cleared if the store can go ahead. Else: nothing has changed, and the result of the fault if it is an error */
static vm_fault_t install_swap_page(struct vm_fault *vmf, struct page *page, bool *mapped)
{
	struct vm_area_struct *vma = vmf->vma;
	swp_entry_t entry = pte_to_swp_entry(vmf->orig_pte);
	pte_t pte;
	int done;

	*mapped = false;
	lock_pte(vmf);
	if (!pte_same(ptep_get(vmf->pte), vmf->orig_pte)) {
		trace_why("the entry has changed meanwhile: the page is let go", 0, 0);
		unlock_pte(vmf);
		return 0;
	}
	if (page_flags(page) & PG_error) {
		unlock_pte(vmf);
		return VM_FAULT_SIGBUS;
	}
	pte = mk_pte(page, vm_page_prot(vma));
	if (write_access(vmf) && can_share_swap_page(page)) {
		pte = maybe_mkwrite(pte_mkdirty(pte), vma);
		vmf->flags &= ~FAULT_FLAG_WRITE;
	}
	done = set_pte_at(vmf, pte, 0);
	if (unlikely(done != 1)) {
		unlock_pte(vmf);
		return map_error(done);
	}
	add_mm_counter(vma->vm_mm, MM_ANONPAGES, 1);
	add_mm_counter(vma->vm_mm, MM_SWAPENTS, -1);
	page_add_anon_rmap(page, vma, vmf->address);
	if (pte_write(pte))
		set_page_flags(page, PG_anon_exclusive);
	swap_free(entry);
	if (vma->vm_flags & VM_LOCKED)
		page_set_unevictable(page, true);
	if (vm_swap_full())
		remove_exclusive_swap_page(page);
	vmf->orig_pte = pte;
	*mapped = true;
	return 0;
}

/* The page for the entry. => locked, with a reference, of the swap cache; *ret gets MAJOR; NULL: *ret is the fault's result */
static struct page *get_swap_page(struct vm_fault *vmf, vm_fault_t *ret)
{
	swp_entry_t entry = pte_to_swp_entry(vmf->orig_pte);
	struct page *page;

	for (;;) {
		page = lookup_swap_cache(entry);
		if (page)
			trace_why("it is still, or already, in memory", 0, 0);
		if (!page) {
			trace_why("it is not in memory: read, and what is in the slots around it", 0, 0);
			swapin_readahead(entry);
			page = read_swap_cache_async(entry);
			if (!page) {
				lock_pte(vmf);
				*ret = pte_same(ptep_get(vmf->pte), vmf->orig_pte) ? VM_FAULT_OOM : 0;
				unlock_pte(vmf);
				return NULL;
			}
			*ret = VM_FAULT_MAJOR;
		}
		mark_page_accessed(page);
		lock_page(page);
		if (page_in_swap_cache(page) && page_swap_entry(page).val == entry.val)
			return page;
		/* It has left the swap cache for good (somebody stored to it, or nobody names the slot any more), or its bytes could not stay. */
		unlock_page(page);
		put_page(page);
	}
}

static vm_fault_t do_wp_page(struct vm_fault *vmf);

static vm_fault_t do_swap_page(struct vm_fault *vmf)
{
	vm_fault_t ret = 0, err;
	struct page *page;
	bool mapped;

	trace_fn(do_swap_page, vmf->address, pte_to_swp_entry(vmf->orig_pte).val, vmf->flags);
	page = get_swap_page(vmf, &ret);
	if (!page)
		return ret;
	err = install_swap_page(vmf, page, &mapped);
	unlock_page(page);
	if (!mapped) {
		drop_unused_swap_page(page); /* the entry may have been zapped while we had the page locked */
		put_page(page);
		return err ? err : ret;
	}
	if (write_access(vmf)) {
		trace_why("read-only, and the store is still to be done", 0, 0);
		if (do_wp_page(vmf) & VM_FAULT_OOM)
			return VM_FAULT_OOM;
		return ret;
	}
	unlock_pte(vmf);
	return ret;
}

/* ---- do_wp_page (2.6) ------------------------------------------------------------------------------------------------------ */

/* => pte lock held. Anonymous: only tried, for somebody who has it may be about to share the page. */
static bool wp_can_reuse(struct page *page)
{
	bool reuse;

	if (!trylock_page(page)) {
		trace_why("the page is locked: nobody knows who else will use it", 0, 0);
		return false;
	}
	reuse = can_share_swap_page(page);
	unlock_page(page);
	return reuse;
}

/* => pte lock held, released */
static vm_fault_t wp_reuse(struct vm_fault *vmf, struct page *page, bool shared)
{
	pte_t pte = maybe_mkwrite(pte_mkdirty(pte_mkyoung(vmf->orig_pte)), vmf->vma);
	int done;

	if (shared)
		get_page(page);
	done = ptep_set_access_flags(vmf, vmf->orig_pte, pte);
	if (done == 1 && !shared)
		set_page_flags(page, PG_anon_exclusive);
	unlock_pte(vmf);
	if (shared && done == 1) {
		file_update_time(vmf->vma);
		set_page_dirty_balance(page);
	}
	if (shared)
		put_page(page);
	if (unlikely(done != 1))
		return map_error(done);
	count(cow_reuse, 1);
	return VM_FAULT_WRITE;
}

/* The new page takes the old one's place. => pte lock held; 1, or -errno of the machine (the entry is none then) */
static int wp_install_copy(struct vm_fault *vmf, struct page *old, struct page *new)
{
	struct mm_struct *mm = vmf->vma->vm_mm;
	uint64_t stuck = 0, gone = 0;
	pte_t pte = ptep_get_and_clear(vmf->pte);
	int done;

	/* Cleared and flushed before the new one is set, and the old one's count falls last: until then nobody else may think that he
	 * is its only user. */
	if (!old)
		machine_discard(mm, vmf->address, 1, 0);
	else if (pte_mapped(pte))
		machine_unmap(mm, vmf->address, 1, page_to_pfn(old), &stuck, &gone);
	if (old)
		add_mm_counter(mm, mm_counter(old), -1);
	done = install_anon_page(vmf, new, maybe_mkwrite(pte_mkdirty(mk_pte(new, vm_page_prot(vmf->vma))), vmf->vma), 0);
	if (old)
		page_remove_rmap(old);
	return done;
}

static void copy_pfn(struct page *to, unsigned long pfn)
{
	memcpy(machine_frame(page_to_pfn(to)), machine_frame(pfn), PAGE_SIZE);
	count(copied, 1);
}

/* => pte lock held, released. old: NULL if no struct page stands behind the entry */
static vm_fault_t wp_copy(struct vm_fault *vmf, struct page *old)
{
	struct page *new = NULL;
	int done = 0;

	if (old)
		get_page(old);
	unlock_pte(vmf);
	if (!anon_vma_prepare(vmf->vma))
		new = alloc_page();
	if (!new) {
		if (old)
			put_page(old);
		return VM_FAULT_OOM;
	}
	if (old)
		cow_user_page(new, old, vmf->address);
	else
		copy_pfn(new, pte_pfn(vmf->orig_pte));
	lock_pte(vmf);
	if (pte_same(ptep_get(vmf->pte), vmf->orig_pte)) {
		done = wp_install_copy(vmf, old, new);
		unlock_pte(vmf);
		count(cow_copy, done == 1);
		if (old) {
			drop_unused_swap_page(old);
			put_page(old); /* the entry's */
		}
	} else {
		trace_why("the entry has changed meanwhile: the copy is freed", 0, 0);
		unlock_pte(vmf);
	}
	if (done != 1)
		free_new_page(new);
	if (old)
		put_page(old);
	return done == 1 ? VM_FAULT_WRITE : done ? map_error(done) : 0;
}

/* The first store to a page of a shared mapping is announced to its file. => pte lock held; true: it still is, and the entry is what it was.
 * false: released, *ret is the result */
static bool wp_announce(struct vm_fault *vmf, struct page *page, vm_fault_t *ret)
{
	int err;

	if (!vma_has_page_mkwrite(vmf->vma))
		return true;
	get_page(page);
	unlock_pte(vmf);
	err = linux_2_6_page_mkwrite(vmf->vma, page);
	put_page(page);
	*ret = VM_FAULT_SIGBUS;
	if (err < 0)
		return false;
	lock_pte(vmf);
	if (pte_same(ptep_get(vmf->pte), vmf->orig_pte))
		return true;
	unlock_pte(vmf);
	*ret = 0;
	return false;
}

/* A store to a present entry without write access. => pte lock held, released */
static vm_fault_t do_wp_page(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct page *old = pte_special(vmf->orig_pte) ? NULL : pfn_to_page(pte_pfn(vmf->orig_pte));
	vm_fault_t ret;

	trace_fn(do_wp_page, vmf->address, vmf->orig_pte.val, vmf->flags);
	if (!old) {
		trace_why("no page stands behind the entry: a copy", 0, 0);
		return wp_copy(vmf, NULL);
	}
	if (!page_is_file(old)) {
		if (wp_can_reuse(old))
			return wp_reuse(vmf, old, false);
		trace_why("an anonymous page that others may have: a copy", 0, 0);
	} else if ((vma->vm_flags & (VM_WRITE | VM_SHARED)) == (VM_WRITE | VM_SHARED)) {
		trace_why("a page of a file that is shared: its first store since it was clean", 0, 0);
		return wp_announce(vmf, old, &ret) ? wp_reuse(vmf, old, true) : ret;
	} else {
		trace_why("a page of a file, and the mapping is private: a copy", 0, 0);
	}
	return wp_copy(vmf, old);
}

/* ---- handle_mm_fault (2.1) ------------------------------------------------------------------------------------------------- */

/* Present and allowed: only bits to set, if any. => pte lock held, released */
static vm_fault_t touch_pte(struct vm_fault *vmf)
{
	pte_t pte = vmf->orig_pte, new = pte_mkyoung(pte);
	int done = 1;

	if (write_access(vmf))
		new = pte_mkdirty(new);
	if (!pte_same(pte, new)) {
		trace(pte_young, vmf->address, pte.val, new.val);
		done = ptep_set_access_flags(vmf, pte, new);
	} else {
		trace(spurious, vmf->address, 0, 0);
		if (write_access(vmf)) /* an old translation without W may have caused it */
			machine_protect(vmf->vma->vm_mm, vmf->address, 1, pte_pfn(pte), pte_how(pte));
	}
	unlock_pte(vmf);
	return done == 1 ? 0 : map_error(done);
}

static vm_fault_t handle_pte_fault(struct vm_fault *vmf)
{
	const struct vm_operations_struct *ops = vmf->vma->vm_ops;
	pte_t entry = ptep_get(pte_offset(desc_load(&vmf->pmd->desc), vmf->address));

	trace_fn(handle_pte_fault, vmf->address, entry.val, vmf->flags);
	vmf->orig_pte = entry;
	if (pte_none(entry)) {
		if (ops && (ops->fault || ops->nopage)) {
			trace_why("nothing there, and the mapping has operations: demand paging", 0, 0);
			return do_linear_fault(vmf);
		}
		if (ops && ops->nopfn) {
			trace_why("nothing there, and the mapping names frames", 0, 0);
			return do_no_pfn(vmf);
		}
		trace_why("nothing there, and no operations in the mapping: anonymous", 0, 0);
		return do_anonymous_page(vmf);
	}
	if (!pte_present(entry)) {
		if (pte_file(entry)) {
			trace_why("not present, and the entry holds a place in the file: nonlinear", 0, 0);
			return do_nonlinear_fault(vmf);
		}
		trace_why("not present, and the entry holds a place in swap", 0, 0);
		return do_swap_page(vmf);
	}
	lock_pte(vmf);
	if (!pte_same(ptep_get(vmf->pte), entry)) {
		trace(pte_changed, vmf->address, entry.val, 0);
		unlock_pte(vmf);
		return 0;
	}
	if (write_access(vmf) && !pte_write(entry)) {
		trace_why("present and read-only, and this is a write", 0, 0);
		return do_wp_page(vmf);
	}
	return touch_pte(vmf);
}

/* All tables down to the last one come first, whatever the fault will turn out to be. */
static vm_fault_t handle_mm_fault(struct mm_struct *mm, struct vm_area_struct *vma, unsigned long addr, unsigned flags)
{
	struct vm_fault vmf = { .vma = vma, .address = addr & PAGE_MASK, .pgoff = linear_page_index(vma, addr), .flags = flags };
	p4d_t *p4d;
	pud_t *pud;

	trace_fn(handle_mm_fault, addr, flags, 0);
	p4d = p4d_alloc(mm, pgd_offset(mm, addr), addr);
	if (!p4d)
		return VM_FAULT_OOM;
	pud = pud_alloc(mm, p4d, addr);
	if (!pud)
		return VM_FAULT_OOM;
	vmf.pmd = pmd_alloc(mm, pud, addr);
	if (!vmf.pmd || pte_alloc(mm, vmf.pmd))
		return VM_FAULT_OOM;
	return handle_pte_fault(&vmf);
}

vm_fault_t linux_2_6_handle_mm_fault(struct mm_struct *mm, struct vm_area_struct *vma, unsigned long addr, bool write)
{
	mmap_assert_locked(mm);
	return handle_mm_fault(mm, vma, addr, write ? FAULT_FLAG_WRITE : 0);
}

/* ---- do_page_fault of the architecture ------------------------------------------------------------------------------------- */

/* Far below the stack pointer is no use of the stack; `enter` with its 32 words and 64 KiB is the farthest. ARM doesn't ask. */
static bool beyond_stack_slack(const struct mm_struct *mm, unsigned long addr, unsigned flags)
{
	unsigned long sp = atomic_load_explicit(&((struct mm_struct *)mm)->stack_pointer, memory_order_relaxed);
	unsigned word = pt.arch == ARCH_X86_64 ? 8 : 4;

	if (!(flags & FAULT_FLAG_USER) || !sp || pt.arch == ARCH_ARM || pt.arch == ARCH_RISCV)
		return false;
	return addr + 65536 + 32 * word < sp;
}

/* 2.6.24 moves the start of the vma under the anon_vma lock; here the tree may only change with mmap_lock held for writing (find_extend_vma).
 * No guard gap: a stack may grow until it touches its neighbour.
 * => mmap_lock held for writing; 0, -ENOMEM */
static int expand_stack(struct vm_area_struct *vma, unsigned long addr)
{
	unsigned long grow;

	trace_fn(expand_stack, addr, vma->vm_start, vma->vm_end);
	if (anon_vma_prepare(vma))
		return -ENOMEM;
	addr &= PAGE_MASK;
	if (addr >= vma->vm_start)
		return 0;
	grow = (vma->vm_start - addr) >> PAGE_SHIFT;
	if (grow > vma->vm_pgoff || acct_stack_growth(vma, vma->vm_end - addr, grow))
		return -ENOMEM;
	vma_adjust(vma, addr, vma->vm_end);
	return 0;
}

/* A store needs VM_WRITE; a load whose page is absent any of the three: write-only mappings can be read, and pages come in for a fetch
 * that will not be allowed. A fetch of a present page that mustn't be executed is a protection fault. */
static bool access_error(struct mm_struct *mm, const struct vm_area_struct *vma, unsigned long addr, unsigned flags)
{
	struct ptdesc *table;

	if (flags & FAULT_FLAG_WRITE)
		return !(vma->vm_flags & VM_WRITE);
	if (!(vma->vm_flags & VM_ACCESS_FLAGS))
		return true;
	if (!(flags & FAULT_FLAG_INSTRUCTION) || vma->vm_flags & VM_EXEC || pt.arch == ARCH_I386)
		return false;
	table = pte_table(mm, addr);
	return table && pte_present(ptep_get(pte_offset(table, addr)));
}

/* => mmap_lock held for reading */
static vm_fault_t __do_page_fault(struct mm_struct *mm, unsigned long addr, unsigned flags)
{
	struct vm_area_struct *vma;

	trace_fn(__do_page_fault, addr, flags, 0);
	if (addr >= TASK_SIZE)
		return VM_FAULT_BADMAP;
	vma = find_vma(mm, addr);
	if (!vma) {
		trace_why("no mapping ends above it", 0, 0);
		return VM_FAULT_BADMAP;
	}
	if (addr < vma->vm_start) {
		if (!(vma->vm_flags & VM_GROWSDOWN)) {
			trace_why("below the next mapping, 0x%lx, which does not grow", vma->vm_start, 0);
			return VM_FAULT_BADMAP;
		}
		trace_why("below a mapping that grows downwards, 0x%lx", vma->vm_start, 0);
		if (beyond_stack_slack(mm, addr, flags)) {
			trace_why("too far below the stack pointer, 0x%lx", atomic_load(&mm->stack_pointer), 0);
			return VM_FAULT_BADMAP;
		}
		vma = find_extend_vma(mm, addr);
		if (!vma)
			return VM_FAULT_BADMAP;
	}
	trace_why("in the mapping 0x%lx to 0x%lx", vma->vm_start, vma->vm_end);
	if (access_error(mm, vma, addr, flags)) {
		trace(access_error, addr, vma->vm_flags, flags);
		return VM_FAULT_BADACCESS;
	}
	return handle_mm_fault(mm, vma, addr, flags & FAULT_FLAG_WRITE);
}

/* The architecture's code counts: nothing for an error, and whatever waited without reading is minor. */
void linux_2_6_account(struct mm_struct *mm, vm_fault_t ret, unsigned flags)
{
	(void)flags;
	if (ret & VM_FAULT_ERROR)
		return;
	count_fault(mm, ret & VM_FAULT_MAJOR);
}

/* The end of a fault that can't be resolved: of a program, a signal with si_code; when there is no memory, SIGKILL (init, which tries again, isn't
 * here). Of the kernel itself: whoever made the access has an exception-table entry, and returns -EFAULT. */
static void bad_area(struct mm_struct *mm, unsigned long addr, vm_fault_t ret, unsigned flags)
{
	if (!(flags & FAULT_FLAG_USER))
		return;
	if (ret & VM_FAULT_OOM)
		force_sig_fault(mm, addr, flags, SIGKILL, SI_KERNEL);
	else if (ret & (VM_FAULT_SIGBUS | VM_FAULT_HWPOISON))
		force_sig_fault(mm, addr, flags, SIGBUS, BUS_ADRERR);
	else
		force_sig_fault(mm, addr, flags, SIGSEGV, ret & VM_FAULT_BADACCESS ? SEGV_ACCERR : SEGV_MAPERR);
}

/* ---- mprotect -------------------------------------------------------------------------------------------------------------- */

/* The new page_prot: private pages become read-only by any change, and are written again after a fault. A shared page whose first store was
 * seen needs no other. */
static pte_t pte_modify(const struct vm_area_struct *vma, pte_t pte)
{
	pte = pte_set(pte_clear(pte, _PAGE_RW | _PAGE_PROTNONE), vm_page_prot(vma));
	return vma_wants_writenotify(vma) && pte_dirty(pte) ? pte_set(pte, _PAGE_RW) : pte;
}

/* ---- fork (2.8) ------------------------------------------------------------------------------------------------------------ */

/* One anon_vma for the whole family: the child's vma joins the list that the parent's is on. */
static int anon_vma_link(struct vm_area_struct *vma, struct vm_area_struct *pvma)
{
	atomic_store_explicit(&vma->anon_vma, atomic_load(&pvma->anon_vma), memory_order_relaxed);
	if (!anon_vma_clone(vma, pvma))
		return 0;
	atomic_store_explicit(&vma->anon_vma, NULL, memory_order_relaxed);
	return -ENOMEM;
}

const struct fault_path linux_2_6_path = {
	.name = "linux-2.6",
	.fault = __do_page_fault,
	.account = linux_2_6_account,
	.error = bad_area,
	.init = linux_2_6_vmscan_init,
	.copy_page_range = copy_page_range,
	.try_to_free_pages = linux_2_6_try_to_free_pages,
	.one_lru = true,
	.expand_stack = expand_stack,
	.file_vm_ops = &linux_2_6_file_vm_ops,
	.anon_vma_fork = anon_vma_link,
	.pte_modify = pte_modify,
	.remap_file_pages = linux_2_6_remap_file_pages,
};
