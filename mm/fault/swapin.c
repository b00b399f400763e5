/* SPDX-License-Identifier: MIT
 *
 * swapin.c - from swap into frames: for one fault, for a walk through swapped memory (streams.c), for MADV_WILLNEED.
 *
 *      window ---> frames ---> swap cache, read ---> entries, machine ---> reverse map, LRU, slot's count
 *      (no lock)   (reclaims)  (page locks)          (pte lock)
 *
 *      the faulting page            result
 *      read, entry unchanged        mapped: MAJOR
 *      entry changed meanwhile      let go: 0, and the access is made again
 *      slot taken by another        0, as above
 *      damaged                      HWPOISON, the entry stays; 0 if the entry has changed
 *      no frame                     OOM
 *      in the swap cache, locked    a first try lets go of mmap_lock and waits: RETRY; a second waits
 *      and on its way out           waits, and maps it: 0
 *
 * Lock order: mmap_lock (read) > page locks, in ascending order of addresses, of frames that nobody knows yet > pte lock > swap.
 *
 * Considered and rejected: to free the slot of every page that comes in, as the kernels do with a page of one user on a synchronous device. The
 * slot stays while the page is unchanged, and such a page needs no storing when it goes again; unless its memory is taken from the frames
 * (mm_params.copies_cost_frames).
 *
 * Each page of a window stands or falls alone: who finds its entry changed, its slot taken by another thread or its copy damaged leaves it out;
 * only what befalls the faulting page is the fault's result.
 */
#include "mm/fault/linux_5.h"

/* One page on its way in. */
struct swapin {
	unsigned long addr;
	pte_t orig;
	struct page *page; /* locked, in the swap cache, one reference of ours */
	pte_t pte;         /* what is to stand there */
	bool leave_cache;  /* the slot is of no more use */
	bool look;         /* nobody stores now, and a later store may take a fault more */
	bool exclusive;    /* nobody else has the page, or can get it by way of the slot */
	bool mapped;
};

struct swapin_run {
	unsigned nr, fault; /* s[fault] is the one that was asked for; NO_FAULT: it is no longer among them */
	struct swapin s[MAX_AROUND]; /* the first nr; the others were never written */
};
#define NO_FAULT MAX_AROUND

/* The faulting page, and if it continues a stream the swapped pages after it, by ascending address. Read without a lock. */
static void swapin_window(struct vm_fault *vmf, struct swapin_run *run)
{
	struct vm_area_struct *vma = vmf->vma;
	unsigned max = vma->vm_flags & VM_RAND_READ ? 1 : window_max(mm_swapin_around);
	struct window w = stream_window(&vma->vm_mm->swap_streams, vmf->address, max,
					vma->vm_flags & VM_SEQ_READ ? STREAM_SEQUENTIAL : STREAM_STRIDED);
	unsigned long lo = max_ul(vma->vm_start, pmd_addr_start(vmf->address)), hi = pmd_addr_end(vmf->address, vma->vm_end);
	const struct ptdesc *table = desc_load(&vmf->pmd->desc);
	unsigned long step = (unsigned long)w.stride << PAGE_SHIFT, addr = vmf->address;
	unsigned n = 0;

	if (w.stream)
		skip_standing(&vma->vm_mm->swap_streams, vmf, &w, true);
	for (unsigned i = 0; i < w.nr && addr >= lo && addr < hi; i++, addr += step) {
		pte_t pte = i ? ptep_get(pte_offset(table, addr)) : vmf->orig_pte;

		if (is_swap_pte(pte))
			run->s[n++] = (struct swapin){ .addr = addr, .orig = pte };
	}
	run->nr = n;
	run->fault = 0;
	if (w.stride < 0) {
		for (unsigned i = 0; i < n / 2; i++) {
			struct swapin t = run->s[i];

			run->s[i] = run->s[n - 1 - i];
			run->s[n - 1 - i] = t;
		}
		run->fault = n - 1;
	}
	trace(swapin_window, vmf->address, n, w.stride);
}

static void swapin_drop(struct swapin_run *run, unsigned i)
{
	struct page *page = run->s[i].page;

	/* Others may have looked it up and wait for the lock: the frame is free when they have let go. */
	if (page_in_swap_cache(page))
		delete_from_swap_cache(page);
	unlock_page(page);
	put_page(page);
	run->s[i].page = NULL;
}

/* Only s[i] with a page stay. */
static void swapin_compact(struct swapin_run *run)
{
	unsigned kept = 0, fault = NO_FAULT;

	for (unsigned i = 0; i < run->nr; i++) {
		if (!run->s[i].page)
			continue;
		if (i == run->fault)
			fault = kept;
		run->s[kept++] = run->s[i];
	}
	run->nr = kept;
	run->fault = fault;
}

/* Frames for all of the window; contiguous ones as far as there are. The faulting page is served first. => false: OOM */
static bool swapin_alloc(struct swapin_run *run)
{
	unsigned done = 0, got, from;
	unsigned long pfn = alloc_run_fault(run->nr, run->nr > 1, &got);

	if (pfn == -1UL)
		return false;
	if (run->nr == 1) {
		run->s[0].page = pfn_to_page(pfn);
		return true;
	}
	/* In pieces, where free memory is in pieces; from the fault on, so that those farthest from it miss out if
	 * it does not suffice. */
	from = run->fault ? run->nr - got : 0;
	for (unsigned i = 0; i < got; i++)
		run->s[from + i].page = pfn_to_page(pfn + i);
	done = got;
	while (done < run->nr && nr_free_frames()) {
		pfn = alloc_run(run->nr - done, &got);
		if (pfn == -1UL)
			break;
		from = run->fault ? run->nr - done - got : done;
		for (unsigned i = 0; i < got; i++)
			run->s[from + i].page = pfn_to_page(pfn + i);
		done += got;
	}
	if (done < run->nr)
		swapin_compact(run);
	return true;
}

/* Swap cache and bytes. => 0; -EAGAIN: another thread was faster with the faulting page; -EIO: it is damaged */
static int swapin_read(struct swapin_run *run)
{
	unsigned lost = 0;
	int err = 0;

	for (unsigned i = 0; i < run->nr; i++) {
		struct swapin *s = &run->s[i];

		trylock_page(s->page);
		if (!add_to_swap_cache(s->page, pte_to_swp_entry(s->orig))) {
			if (i == run->fault)
				err = -EAGAIN;
			unlock_page(s->page);
			free_run(page_to_pfn(s->page), 1);
			s->page = NULL;
			lost++;
		}
	}
	for (unsigned i = 0; i < run->nr; i++) {
		int bad;

		if (!run->s[i].page)
			continue;
		bad = err ? err : swap_readpage(run->s[i].page);
		if (likely(!bad))
			continue;
		if (i == run->fault)
			err = bad;
		swapin_drop(run, i);
		lost++;
	}
	for (unsigned i = 0; err && i < run->nr; i++)
		if (run->s[i].page)
			swapin_drop(run, i);
	if (unlikely(lost || err))
		swapin_compact(run);
	return err;
}

/* Is there nobody else, by an entry or by the slot's name, who could see a store? => page and pte lock held; the entry still names the slot */
static bool reuse_swap_page(struct page *page, swp_entry_t entry)
{
	bool alone = page_mapcount(page) == 0 && swap_count(entry) == 1;

	trace_leaf(reuse_swap_page, page_to_pfn(page), entry.val, alone);
	return alone;
}

/* The entry for a page of the swap cache. => page and pte lock held */
static void swapin_mk_pte(const struct vm_fault *vmf, struct swapin *s, bool write)
{
	swp_entry_t entry = pte_to_swp_entry(s->orig);
	bool alone = reuse_swap_page(s->page, entry);
	/* A page that came back while it was being evicted may have somebody who copies it, since before: he has a reference, and will take what he has
	 * read for the page's when he finds his entry again as it was. Nobody stores to it before he is done. */
	bool unread = alone && page_count(s->page) <= 2; /* the cache, and ours */
	pteval_t prot = vma_prot(vmf->vma), flags = prot & ~_PAGE_RW;

	/* What came along is old until somebody uses it, where the machine can tell. */
	if (!(mm_caps & MACHINE_YOUNG) || s->addr == vmf->address)
		flags |= _PAGE_ACCESSED;
	s->leave_cache = (vmf->vma->vm_flags & VM_LOCKED || (mm_caps & MACHINE_READONLY && vm_swap_full())) && alone;
	if (!(mm_caps & MACHINE_READONLY)) {
		/* All rights at once, and always dirty: the slot stays for the case that nobody stores. It is of no
		 * use to a store, and who stores to one page of a window will store to the others. One that others
		 * still name can't stay, for the page may soon differ from it. */
		flags |= prot | (mm_caps & MACHINE_DIRTY ? 0 : _PAGE_DIRTY);
		s->leave_cache |= !alone || !swap_keep_copy(prot & _PAGE_RW, write);
	} else if (write && unread) {
		flags |= _PAGE_RW | _PAGE_DIRTY;
		s->leave_cache = true;
	}
	s->exclusive = s->orig.val & _PAGE_EXCLUSIVE || flags & _PAGE_RW || (unread && mm_reuse_rule == REUSE_6);
	if (s->exclusive && mm_reuse_rule == REUSE_6)
		flags |= prot; /* a later store needs no fault */
	s->pte = pfn_pte(page_to_pfn(s->page), flags);
}

static unsigned swapin_how(const struct swapin *s)
{
	return pte_how(s->pte) | (s->look ? MACHINE_MAP_LOOK : 0);
}

/* Entries and machine. => pte lock held; swap entries that nobody could map stand there again. Error of the faulting page or 0 */
static int swapin_install(struct vm_fault *vmf, struct swapin_run *run)
{
	struct mm_struct *mm = vmf->vma->vm_mm;
	int fault_err = 0;

	for (unsigned i = 0; i < run->nr; i++)
		set_pte(vmf->pte + ((long)(run->s[i].addr - vmf->address) >> PAGE_SHIFT), run->s[i].pte);
	for (unsigned i = 0, n; i < run->nr; i += n) {
		struct swapin *s = &run->s[i];
		int done;

		for (n = 1; i + n < run->nr && s[n].addr == s->addr + n * PAGE_SIZE && s[n].page == s->page + n &&
			    swapin_how(&s[n]) == swapin_how(s); n++)
			;
		done = map_run(mm, s->addr, n, page_to_pfn(s->page), swapin_how(s));
		for (unsigned k = 0; k < n; k++) {
			s[k].mapped = (int)k < done;
			if (s[k].mapped)
				continue;
			set_pte(vmf->pte + ((long)(s[k].addr - vmf->address) >> PAGE_SHIFT), s[k].orig);
			if (i + k == run->fault)
				fault_err = done < 0 ? done : -ENOENT;
		}
	}
	return fault_err;
}

/* Reverse map and LRU; the slot's count falls. => page and pte lock held; both ours afterwards */
static void swapin_finish(struct vm_fault *vmf, struct swapin *s, bool fresh)
{
	struct vm_area_struct *vma = vmf->vma;
	swp_entry_t entry = pte_to_swp_entry(s->orig);

	page_add_anon_rmap(s->page, vma, s->addr);
	get_page(s->page);
	clear_page_flags(s->page, PG_dirty);
	if (s->exclusive)
		set_page_flags(s->page, PG_anon_exclusive);
	swap_free(entry);
	if (s->leave_cache)
		delete_from_swap_cache(s->page);
	if (fresh)
		lru_cache_add_inactive_or_unevictable(s->page, vma);
}

static void swapin_account(struct mm_struct *mm, long n)
{
	add_mm_counter(mm, MM_ANONPAGES, n);
	add_mm_counter(mm, MM_SWAPENTS, -n);
}

/* The page was already in the cache: shared with another entry, or on its way out or in by another thread. */
vm_fault_t do_swap_cached(struct vm_fault *vmf, struct page *page, bool *again)
{
	struct mm_struct *mm = vmf->vma->vm_mm;
	swp_entry_t entry = pte_to_swp_entry(vmf->orig_pte);
	bool may_drop = (vmf->flags & (FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_TRIED)) == FAULT_FLAG_ALLOW_RETRY;
	struct swapin_run run;
	int err = 0;

	run.nr = 1;
	run.fault = 0;
	*again = false;
	if (!trylock_page(page)) {
		/* Linux doesn't hold the lock while a page is written out: that wait is none of its retries, which may count as major. */
		if (may_drop && !(page_flags(page) & PG_writeback)) {
			enter_reclaim(); /* a reference outside mmap_lock */
			mmap_read_unlock(mm);
			wait_on_page_locked(page);
			put_page(page);
			leave_reclaim();
			return VM_FAULT_RETRY;
		}
		lock_page(page);
	}
	*again = !page_in_swap_cache(page) || page_swap_entry(page).val != entry.val;
	if (!*again) {
		vmf_lock_pte(vmf);
		if (pte_same(ptep_get(vmf->pte), vmf->orig_pte)) {
			run.s[0] = (struct swapin){ .addr = vmf->address, .orig = vmf->orig_pte, .page = page };
			swapin_mk_pte(vmf, &run.s[0], vmf->flags & FAULT_FLAG_WRITE);
			err = swapin_install(vmf, &run);
			if (!err) {
				swapin_finish(vmf, &run.s[0], false);
				swapin_account(mm, 1);
			}
		}
		vmf_unlock_pte(vmf);
		if (page_in_swap_cache(page) && page_mapcount(page) == 0)
			delete_from_swap_cache(page);
	}
	unlock_page(page);
	put_page(page);
	return err ? map_error(err) : 0;
}

/* => pages read and locked; unlocked and mapped or freed afterwards */
static vm_fault_t swapin_map(struct vm_fault *vmf, struct swapin_run *run)
{
	vm_fault_t ret = VM_FAULT_MAJOR;
	unsigned in = 0, around = 0, lost = 0;
	int err = 0;

	vmf_lock_pte(vmf);
	for (unsigned i = 0; i < run->nr; i++) {
		struct swapin *s = &run->s[i];

		if (!pte_same(ptep_get(vmf->pte + ((long)(s->addr - vmf->address) >> PAGE_SHIFT)), s->orig)) {
			if (i == run->fault)
				ret = 0; /* resolved, or zapped, by somebody else */
			swapin_drop(run, i);
			lost++;
			continue;
		}
		swapin_mk_pte(vmf, s, vmf->flags & FAULT_FLAG_WRITE && (i == run->fault || !(mm_caps & MACHINE_READONLY)));
		/* Whether the slot stays or not: one that is watched leaves without a MOVE, even if its bytes are stored anew then. */
		s->look = !(vmf->flags & FAULT_FLAG_WRITE || vmf->vma->vm_flags & VM_LOCKED);
	}
	if (unlikely(lost))
		swapin_compact(run);
	if (likely(run->nr))
		err = swapin_install(vmf, run);
	for (unsigned i = 0; i < run->nr; i++) {
		struct swapin *s = &run->s[i];

		if (!s->mapped) {
			swapin_drop(run, i);
			continue;
		}
		swapin_finish(vmf, s, true);
		unlock_page(s->page);
		put_page(s->page);
		in++;
		around += s->addr != vmf->address;
	}
	swapin_account(vmf->vma->vm_mm, in);
	vmf_unlock_pte(vmf);
	count(swapped_in, in);
	if (around)
		count(swapin_around_pages, around);
	return err ? map_error(err) : ret;
}

vm_fault_t swapin_readahead(struct vm_fault *vmf)
{
	struct swapin_run run;
	bool changed;
	int err;

	trace_fn(swapin_readahead, vmf->address, vmf->orig_pte.val, 0);
	swapin_window(vmf, &run);
	if (!swapin_alloc(&run))
		return VM_FAULT_OOM;
	err = swapin_read(&run);
	if (err == -EAGAIN)
		return 0;
	if (!err)
		return swapin_map(vmf, &run);
	/* A damaged copy; but only if the entry still asks for it. */
	vmf_lock_pte(vmf);
	changed = !pte_same(ptep_get(vmf->pte), vmf->orig_pte);
	vmf_unlock_pte(vmf);
	return changed ? 0 : VM_FAULT_HWPOISON;
}

static uint64_t swapped_in(void)
{
	struct mm_stats sum;

	fold_events(&sum);
	return sum.swapped_in;
}

/* MADV_WILLNEED: up to `nr` swapped pages from vmf->address on. => pages brought in; *next is where to go on */
static unsigned swapin_ahead(struct vm_fault *vmf, unsigned nr, unsigned long end, unsigned long *next)
{
	struct swapin_run run;
	const struct ptdesc *table = desc_load(&vmf->pmd->desc);
	unsigned long addr = vmf->address;
	uint64_t before;
	unsigned asked;

	run.nr = run.fault = 0;
	for (; addr < end && run.nr < nr; addr += PAGE_SIZE) {
		pte_t pte = ptep_get(pte_offset(table, addr));

		if (is_swap_pte(pte))
			run.s[run.nr++] = (struct swapin){ .addr = addr, .orig = pte };
	}
	*next = addr;
	if (!run.nr)
		return 0;
	vmf->address = run.s[0].addr;
	asked = run.nr;
	if (!swapin_alloc(&run))
		return 0;
	if (run.nr < asked) /* who got no frame has his turn with the next ones */
		*next = run.s[run.nr - 1].addr + PAGE_SIZE;
	before = swapped_in();
	switch (swapin_read(&run)) {
	case 0:
		swapin_map(vmf, &run);
		return swapped_in() - before;
	default: /* the first one is busy or damaged: the others have their turn without it */
		*next = vmf->address + PAGE_SIZE;
		return 0;
	}
}

unsigned long swapin_range(struct mm_struct *mm, unsigned long addr, size_t len)
{
	unsigned long end = addr + len, brought = 0;

	mmap_assert_locked(mm);
	if (fault_path->swapin_range)
		return fault_path->swapin_range(mm, addr, len);
	for (struct vm_area_struct *vma = find_vma(mm, addr); vma && vma->vm_start < end; vma = vma_next(mm, vma)) {
		unsigned long at = max_ul(addr, vma->vm_start), stop = min_ul(end, vma->vm_end);
		struct ptdesc *table;

		while ((table = pte_table_next(mm, &at, stop))) {
			pmd_t pmd = { table };
			struct vm_fault vmf = { .vma = vma, .address = at, .pmd = &pmd };
			unsigned long free = nr_free_frames(), low = nr_free_low();

			if (free <= low)
				return brought;
			brought += swapin_ahead(&vmf, min_ul(16, free - low), pmd_addr_end(at, stop), &at);
		}
	}
	return brought;
}
