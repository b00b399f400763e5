/* SPDX-License-Identifier: MIT
 *
 * linux_5.c - the fault path of Linux 5.x (5.15; what 5.4 and 6.x do otherwise stands behind mm_reuse_rule).
 *
 *      do_page_fault                                              fault.c
 *        __do_page_fault ........ vma? stack? allowed?
 *          handle_mm_fault
 *            __handle_mm_fault .. pgd, p4d, pud, pmd
 *              handle_pte_fault
 *                 none, anonymous ..... do_anonymous_page
 *                 none, otherwise ..... do_fault
 *                 not present ......... do_swap_page
 *                 present, write, RO .. do_wp_page
 *                 present ............. young and dirty bits; a spurious fault
 *
 *      entry      access   mapping          machine            result
 *      none       read     anonymous        ZERO_PAGE          zero page, RO, no frame, no rss
 *      none       read     anonymous        -                  zeroed frame with the mapping's rights (as 2.6.24)
 *      none       write    anonymous        any                zeroed frame, W D
 *      none       any      anonymous SHARED any                SIGBUS
 *      swap       any      any              cache hit          minor, the page is mapped again
 *      swap       any      any              cache miss         major, read into a frame; a stream brings more
 *      swap       any      any              damaged            HWPOISON, the entry stays
 *      present    write    RO               READONLY           reuse or copy
 *      present    any      old              no YOUNG           mapped again, young
 *      present    write    clean            no DIRTY           dirty, write access granted
 *
 * Lock order: mmap_lock (read) > page lock > page_table_lock > pte lock > swap, LRU, zone. Whatever sleeps (allocation, reading) is done
 * without the pte lock; under it the entry is compared with what was read at the start, and the loser frees his page.
 *
 * Considered and rejected: machine_map() after the pte lock. It would shorten the time the lock is held, but a second thread that
 * faults on the entry would find it present and not yet mapped, and could not tell that from a page that the host has lost.
 */
#include "mm/fault/fault.h"

enum reuse_rule mm_reuse_rule = REUSE_5_15;
unsigned mm_anon_around = 1, mm_swapin_around = 1;

/* ---- small parts ------------------------------------------------------------------------------------------------------- */

/* => true: no memory. */
static bool vmf_pte_alloc(struct vm_fault *vmf)
{
	trace_fn(pte_alloc, vmf->address, 0, 0);
	return pte_alloc(vmf->vma->vm_mm, vmf->pmd);
}

static void vmf_lock_pte(struct vm_fault *vmf)
{
	vmf->pte = pte_offset_map_lock(vmf->vma->vm_mm, vmf->pmd, vmf->address, &vmf->ptl);
}

static void vmf_unlock_pte(struct vm_fault *vmf)
{
	spin_unlock(vmf->ptl);
	vmf->pte = NULL;
}

/* The page of the faulting address could not be mapped. The host has no mapping there (any more), or something stands there: the
 * caller looks again. */
static vm_fault_t map_error(int err)
{
	return err == -ENOMEM ? VM_FAULT_OOM : VM_FAULT_NOPAGE;
}

/* The entry of an anonymous page of the vma. A neighbour that came along is old where the machine can say so. */
static pte_t mk_pte(const struct vm_area_struct *vma, unsigned long pfn, bool around)
{
	pteval_t flags = vma_prot(vma);

	if (!around || !(mm_caps & MACHINE_YOUNG))
		flags |= _PAGE_ACCESSED;
	if (flags & _PAGE_RW || !(mm_caps & MACHINE_DIRTY))
		flags |= _PAGE_DIRTY;
	return pfn_pte(pfn, around ? flags | _PAGE_AROUND : flags);
}

/* How many pages a window may have at this memory size: neighbours must not push each other out. */
static unsigned window_max(unsigned max)
{
	unsigned long room = (nr_used_frames() + nr_free_frames()) / 16;

	while (max > 1 && max > room)
		max /= 2;
	return max;
}

/* Behind the end of window w of a dense walk stand pages that won't fault (each table of walks has its own kind of
 * entry to wait for): the walk goes on behind them. Looks at one entry mostly, at 64 at most. */
static void skip_standing(struct stream_table *streams, const struct vm_fault *vmf, const struct window *w, bool swapped)
{
	const struct vm_area_struct *vma = vmf->vma;
	const struct ptdesc *table = desc_load(&vmf->pmd->desc);
	unsigned long floor = max_ul(vma->vm_start, pmd_addr_start(vmf->address));
	unsigned long ceiling = pmd_addr_end(vmf->address, vma->vm_end);
	unsigned long end = vmf->address + (long)w->nr * w->stride * (long)PAGE_SIZE, next = end;

	if (w->stride != 1 && w->stride != -1)
		return;
	for (unsigned n = 0; n < MAX_AROUND && next >= floor && next < ceiling; n++, next += w->stride * (long)PAGE_SIZE) {
		pte_t pte = ptep_get(pte_offset(table, next));

		if (swapped ? is_swap_pte(pte) : pte_none(pte))
			break;
	}
	if (next != end)
		stream_reach(streams, w, vmf->address, next);
}

/* ---- do_anonymous_page --------------------------------------------------------------------------------------------------- */

static noinline vm_fault_t do_zero_page(struct vm_fault *vmf)
{
	struct mm_struct *mm = vmf->vma->vm_mm;
	vm_fault_t ret = 0;

	trace(zero_page, vmf->address, 0, 0);
	vmf_lock_pte(vmf);
	if (pte_none(ptep_get(vmf->pte))) {
		set_pte(vmf->pte, pfn_pte(0, _PAGE_SPECIAL | _PAGE_ACCESSED | (vma_prot(vmf->vma) & ~_PAGE_RW)));
		if (map_run(mm, vmf->address, 1, 0, MACHINE_MAP_SHARED_ZERO) != 1) {
			set_pte(vmf->pte, (pte_t){ 0 });
			ret = VM_FAULT_NOPAGE;
		}
	}
	vmf_unlock_pte(vmf);
	return ret;
}

/* How many pages from the faulting one on, in direction *dir, this fault may fill: one; if it continues a stream,
 * more, up to the vma's or the table's end. *want: how many of these have no entry. Entries are read without a lock. */
static unsigned anon_window(struct vm_fault *vmf, int *dir, unsigned *want)
{
	const struct vm_area_struct *vma = vmf->vma;
	unsigned long room;
	struct window w;
	const pte_t *ptep;

	*dir = 1;
	*want = 1;
	if (mm_anon_around == 1 || vma->vm_flags & (VM_RAND_READ | VM_NOFAULTAROUND))
		return 1;
	w = stream_window(&vma->vm_mm->anon_streams, vmf->address, window_max(mm_anon_around),
			  vma->vm_flags & VM_SEQ_READ ? STREAM_SEQUENTIAL : STREAM_DENSE);
	if (!w.stream)
		return 1;
	skip_standing(&vma->vm_mm->anon_streams, vmf, &w, false);
	*dir = w.stride;
	if (w.stride > 0)
		room = (pmd_addr_end(vmf->address, vma->vm_end) - vmf->address) >> PAGE_SHIFT;
	else
		room = ((vmf->address - max_ul(vma->vm_start, pmd_addr_start(vmf->address))) >> PAGE_SHIFT) + 1;
	w.nr = min_ul(w.nr, room);
	ptep = pte_offset(desc_load(&vmf->pmd->desc), vmf->address);
	for (unsigned i = 1; i < w.nr; i++)
		*want += pte_none(ptep_get(ptep + (int)i * w.stride));
	trace(anon_window, vmf->address, w.nr, *want);
	return w.nr;
}

/* Frames for one fault, in pieces of neighbours. */
struct frames {
	unsigned nr, pieces, used; /* frames; pieces; frames of piece[0] that are taken */
	struct { uint32_t pfn, nr; } piece[MAX_AROUND];
};

/* Frames whose first contents are zeros; the machine sees to that (MACHINE_MAP_ZERO). When free memory is in small
 * pieces the window is put together from several: each costs a machine call, which is less than a fault. => false:
 * OOM */
static bool alloc_zeroed_user_highpage_movable(struct vm_fault *vmf, unsigned want, struct frames *f)
{
	unsigned got;
	unsigned long pfn = alloc_run_fault(want, want > 1, &got);

	trace(alloc_zeroed_user_highpage_movable, vmf->address, want, pfn);
	f->nr = f->pieces = f->used = 0;
	while (pfn != -1UL) {
		f->piece[f->pieces].pfn = pfn;
		f->piece[f->pieces++].nr = got;
		f->nr += got;
		if (f->nr == want || !nr_free_frames())
			break;
		pfn = alloc_run(want - f->nr, &got);
	}
	return f->nr;
}

static void free_frames(struct frames *f, unsigned piece)
{
	for (; piece < f->pieces; piece++, f->used = 0)
		free_run(f->piece[piece].pfn + f->used, f->piece[piece].nr - f->used);
}

/* Entries, reverse map, machine and LRU for n pages from addr on. => pte lock held; pages mapped (the rest is undone but not
 * freed), or -errno */
static int install_anon_run(struct vm_fault *vmf, unsigned long pfn, unsigned long addr, unsigned n)
{
	struct vm_area_struct *vma = vmf->vma;
	struct mm_struct *mm = vma->vm_mm;
	struct page *page = pfn_to_page(pfn);
	pte_t *ptep = vmf->pte + ((long)(addr - vmf->address) >> PAGE_SHIFT);
	pte_t pte = mk_pte(vma, pfn, false), around = n > 1 || addr != vmf->address ? mk_pte(vma, pfn, true) : pte;
	int done;

	for (unsigned i = 0; i < n; i++) {
		pte_t this = addr + i * PAGE_SIZE == vmf->address ? pte : around;

		page_add_new_anon_rmap(page + i, vma, addr + i * PAGE_SIZE);
		set_pte(ptep + i, (pte_t){ this.val + ((pteval_t)i << PAGE_SHIFT) });
	}
	trace(set_pte_at, addr, n, pfn);
	done = map_run(mm, addr, n, pfn, pte_how(pte) | MACHINE_MAP_ZERO);
	for (unsigned i = done < 0 ? 0 : done; i < n; i++) {
		set_pte(ptep + i, (pte_t){ 0 });
		page_remove_rmap(page + i);
	}
	if (done > 0) {
		add_mm_counter(mm, MM_ANONPAGES, done);
		lru_cache_add_run(page, done, vma->vm_flags & VM_LOCKED);
		count(zeroed, done);
	}
	return done;
}

/* Fills the first of the `span` pages from the faulting one on that have no entry, as far as the frames go. Starts
 * with the faulting one, and ends at the first that can't be mapped. => pte lock held; 0, or -errno of the faulting
 * page. Frames that are left over are freed. */
static int fill_window(struct vm_fault *vmf, struct frames *f, unsigned span, int dir)
{
	unsigned piece = 0, filled = 0;
	int done = 0;

	for (unsigned i = 0, n; i < span && piece < f->pieces; i += n) {
		unsigned left = f->piece[piece].nr - f->used;
		unsigned long addr;

		for (n = 0; i + n < span && n < left && pte_none(ptep_get(vmf->pte + (int)(i + n) * dir)); n++)
			;
		if (!n) {
			n = 1;
			continue;
		}
		addr = vmf->address + (long)(dir > 0 ? (int)i : -(int)(i + n - 1)) * (long)PAGE_SIZE;
		done = install_anon_run(vmf, f->piece[piece].pfn + f->used, addr, n);
		filled += done > 0 ? done : 0;
		f->used += done > 0 ? done : 0;
		if (unlikely(done < (int)n))
			break;
		if (f->used == f->piece[piece].nr) {
			f->used = 0;
			piece++;
		}
	}
	if (unlikely(piece < f->pieces))
		free_frames(f, piece);
	if (unlikely(pte_none(ptep_get(vmf->pte))))
		return done < 0 ? done : -ENOENT;
	if (filled > 1)
		count(anon_around_pages, filled - 1);
	return 0;
}

static vm_fault_t do_anonymous_page(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct frames frames;
	unsigned span, want;
	int dir, err;

	trace_fn(do_anonymous_page, vmf->address, vmf->flags, 0);
	if (vma->vm_flags & VM_SHARED)
		return VM_FAULT_SIGBUS;
	if (vmf_pte_alloc(vmf))
		return VM_FAULT_OOM;
	if (!(vmf->flags & FAULT_FLAG_WRITE) && !(~mm_caps & (MACHINE_ZERO_PAGE | MACHINE_READONLY)))
		return do_zero_page(vmf);
	if (anon_vma_prepare(vma))
		return VM_FAULT_OOM;
	span = anon_window(vmf, &dir, &want);
	if (!alloc_zeroed_user_highpage_movable(vmf, want, &frames))
		return VM_FAULT_OOM;

	vmf_lock_pte(vmf);
	if (!pte_none(ptep_get(vmf->pte))) { /* another thread was faster */
		vmf_unlock_pte(vmf);
		free_frames(&frames, 0);
		return 0;
	}
	err = fill_window(vmf, &frames, span, dir);
	vmf_unlock_pte(vmf);
	return likely(!err) ? 0 : map_error(err);
}

/* ---- do_swap_page -------------------------------------------------------------------------------------------------------- */

/* One page on its way in. */
struct swapin {
	unsigned long addr;
	pte_t orig;
	struct page *page; /* locked, in the swap cache, one reference of ours */
	pte_t pte;         /* what is to stand there */
	bool leave_cache;  /* the slot is of no more use */
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

/* The entry for a page of the swap cache. => page and pte lock held */
static void swapin_mk_pte(const struct vm_fault *vmf, struct swapin *s, bool write)
{
	swp_entry_t entry = pte_to_swp_entry(s->orig);
	bool alone = page_mapcount(s->page) == 0 && swap_count(entry) == 1;
	pteval_t prot = vma_prot(vmf->vma), flags = prot & ~_PAGE_RW;

	/* What came along is old until somebody uses it, where the machine can tell. */
	if (!(mm_caps & MACHINE_YOUNG) || s->addr == vmf->address)
		flags |= _PAGE_ACCESSED;
	s->leave_cache = vmf->vma->vm_flags & VM_LOCKED && alone;
	if (!(mm_caps & MACHINE_READONLY)) {
		/* All rights at once, and always dirty: the slot stays for the case that nobody stores. It is of no
		 * use to a store, and who stores to one page of a window will store to the others. One that others
		 * still name can't stay, for the page may soon differ from it. */
		flags |= prot | (mm_caps & MACHINE_DIRTY ? 0 : _PAGE_DIRTY);
		s->leave_cache |= !alone || (prot & _PAGE_RW && (write || !swap_keep_copy()));
	} else if (write && alone) {
		flags |= _PAGE_RW | _PAGE_DIRTY;
		s->leave_cache = true;
	}
	s->exclusive = s->orig.val & _PAGE_EXCLUSIVE || flags & _PAGE_RW || (alone && mm_reuse_rule == REUSE_6);
	if (s->exclusive && mm_reuse_rule == REUSE_6)
		flags |= prot; /* a later store needs no fault */
	s->pte = pfn_pte(page_to_pfn(s->page), flags);
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
			    pte_how(s[n].pte) == pte_how(s->pte); n++)
			;
		done = map_run(mm, s->addr, n, page_to_pfn(s->page), pte_how(s->pte));
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
static vm_fault_t do_swap_cached(struct vm_fault *vmf, struct page *page, bool *again)
{
	struct mm_struct *mm = vmf->vma->vm_mm;
	swp_entry_t entry = pte_to_swp_entry(vmf->orig_pte);
	struct swapin_run run;
	int err = 0;

	run.nr = 1;
	run.fault = 0;
	*again = false;
	if (!trylock_page(page)) {
		if ((vmf->flags & (FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_TRIED)) == FAULT_FLAG_ALLOW_RETRY) {
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

static vm_fault_t do_wp_page(struct vm_fault *vmf);

/* A store to a page that came in read-only: do_wp_page() at once, in the same fault. */
static vm_fault_t swapin_pending_write(struct vm_fault *vmf, vm_fault_t ret)
{
	if (!(vmf->flags & FAULT_FLAG_WRITE) || ret & (VM_FAULT_ERROR | VM_FAULT_RETRY | VM_FAULT_NOPAGE))
		return ret;
	vmf_lock_pte(vmf);
	vmf->orig_pte = ptep_get(vmf->pte);
	if (pte_present(vmf->orig_pte) && !pte_write(vmf->orig_pte))
		return ret | do_wp_page(vmf);
	vmf_unlock_pte(vmf);
	return ret;
}

static noinline vm_fault_t do_swap_page(struct vm_fault *vmf)
{
	swp_entry_t entry = pte_to_swp_entry(vmf->orig_pte);
	struct swapin_run run;
	struct page *page;
	bool again;
	int err;

	trace_fn(do_swap_page, vmf->address, entry.val, vmf->flags);
	page = lookup_swap_cache(entry);
	if (page) {
		vm_fault_t ret = do_swap_cached(vmf, page, &again);

		if (again)
			return 0; /* it has left the cache: the entry is looked at anew */
		return swapin_pending_write(vmf, ret);
	}
	swapin_window(vmf, &run);
	if (!swapin_alloc(&run))
		return VM_FAULT_OOM;
	err = swapin_read(&run);
	if (err == -EAGAIN)
		return 0;
	if (err) {
		/* A damaged copy; but only if the entry still asks for it. */
		vmf_lock_pte(vmf);
		again = !pte_same(ptep_get(vmf->pte), vmf->orig_pte);
		vmf_unlock_pte(vmf);
		return again ? 0 : VM_FAULT_HWPOISON;
	}
	return swapin_pending_write(vmf, swapin_map(vmf, &run));
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
	before = read_count(swapped_in);
	switch (swapin_read(&run)) {
	case 0:
		swapin_map(vmf, &run);
		return read_count(swapped_in) - before;
	default: /* the first one is busy or damaged: the others have their turn without it */
		*next = vmf->address + PAGE_SIZE;
		return 0;
	}
}

unsigned long swapin_range(struct mm_struct *mm, unsigned long addr, size_t len)
{
	unsigned long end = addr + len, brought = 0;

	mmap_assert_locked(mm);
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

/* ---- do_wp_page ------------------------------------------------------------------------------------------------------------ */

/* Rules of fault-paths.md 3.8. => pte lock held; page lock tried */
bool can_reuse_anon_page(struct page *page)
{
	bool cached, ok;

	if (!(mm_caps & MACHINE_ALIAS))
		return true; /* never shared: the machine could not map it twice */
	if (mm_reuse_rule == REUSE_6 && page_flags(page) & PG_anon_exclusive)
		return true;
	if (mm_reuse_rule == REUSE_5_15 && (page_count(page) != 1 || page_mapcount(page) != 1))
		return false;
	if (!trylock_page(page))
		return false;
	cached = page_in_swap_cache(page);
	switch (mm_reuse_rule) {
	case REUSE_5_4:
		ok = page_mapcount(page) + (cached ? swap_count(page_swap_entry(page)) : 0) == 1;
		break;
	case REUSE_5_15:
		ok = page_count(page) == 1 && page_mapcount(page) == 1;
		break;
	default:
		ok = page_mapcount(page) == 1 && (!cached || !swap_count(page_swap_entry(page)));
		break;
	}
	if (ok && cached)
		delete_from_swap_cache(page);
	if (ok && mm_reuse_rule == REUSE_6)
		ok = page_count(page) == 1;
	if (ok)
		set_page_flags(page, PG_anon_exclusive);
	unlock_page(page);
	return ok;
}

/* => pte lock held, released */
static vm_fault_t wp_page_reuse(struct vm_fault *vmf)
{
	struct mm_struct *mm = vmf->vma->vm_mm;
	pte_t pte = pte_set(ptep_get(vmf->pte), _PAGE_RW | _PAGE_DIRTY | _PAGE_ACCESSED), old;
	int err = 1;

	trace_fn(wp_page_reuse, vmf->address, pte_pfn(pte), 0);
	old = (pte_t){ __atomic_exchange_n(&vmf->pte->val, pte.val, __ATOMIC_ACQ_REL) };
	if (pte_mapped(old))
		machine_protect(mm, vmf->address, 1, pte_pfn(pte), pte_how(pte));
	else
		err = map_run(mm, vmf->address, 1, pte_pfn(pte), pte_how(pte));
	if (err != 1)
		set_pte(vmf->pte, old);
	vmf_unlock_pte(vmf);
	if (err != 1)
		return map_error(err);
	count(cow_reuse, 1);
	return 0;
}

/* The new page takes the old one's place. => pte lock held; 1, or -errno of the machine (the entry is none then) */
static int wp_install_copy(struct vm_fault *vmf, struct page *old, struct page *new)
{
	struct vm_area_struct *vma = vmf->vma;
	struct mm_struct *mm = vma->vm_mm;
	unsigned long pfn = page_to_pfn(new);
	uint64_t stuck = 0, gone = 0;
	pte_t pte = ptep_get_and_clear(vmf->pte);
	int done;

	/* Cleared and flushed before the new one is set, and the old one's count falls last: until then nobody
	 * else may think that he is its only user. */
	if (!old)
		machine_discard(mm, vmf->address, 1, 0);
	else if (pte_mapped(pte))
		machine_unmap(mm, vmf->address, 1, page_to_pfn(old), &stuck, &gone);
	page_add_new_anon_rmap(new, vma, vmf->address);
	pte = pfn_pte(pfn, vma_prot(vma) | _PAGE_DIRTY | _PAGE_ACCESSED);
	set_pte(vmf->pte, pte);
	if (old)
		done = map_back(mm, vmf->address, pfn, pte_how(pte)) ? 1 : -ENOENT;
	else
		done = map_run(mm, vmf->address, 1, pfn, pte_how(pte) | MACHINE_MAP_ZERO);
	if (done == 1) {
		lru_cache_add_inactive_or_unevictable(new, vma);
	} else {
		set_pte(vmf->pte, (pte_t){ 0 });
		page_remove_rmap(new);
	}
	if (old)
		page_remove_rmap(old);
	add_mm_counter(mm, MM_ANONPAGES, (done == 1) - (old ? 1 : 0));
	return done;
}

/* => pte lock held, released */
static vm_fault_t wp_page_copy(struct vm_fault *vmf)
{
	struct page *old = pte_special(vmf->orig_pte) ? NULL : pfn_to_page(pte_pfn(vmf->orig_pte));
	unsigned long pfn;
	unsigned got;
	int done;

	trace_fn(wp_page_copy, vmf->address, vmf->orig_pte.val, 0);
	if (old)
		get_page(old);
	vmf_unlock_pte(vmf);
	pfn = anon_vma_prepare(vmf->vma) ? -1UL : alloc_run_fault(1, false, &got);
	if (pfn == -1UL) {
		if (old)
			put_page(old);
		return VM_FAULT_OOM;
	}
	if (old)
		memcpy(machine_frame(pfn), machine_frame(page_to_pfn(old)), PAGE_SIZE);
	vmf_lock_pte(vmf);
	if (!pte_same(pte_clear(ptep_get(vmf->pte), _PAGE_ACCESSED), pte_clear(vmf->orig_pte, _PAGE_ACCESSED))) {
		vmf_unlock_pte(vmf);
		free_run(pfn, 1);
		if (old)
			put_page(old);
		return 0;
	}
	done = wp_install_copy(vmf, old, pfn_to_page(pfn));
	vmf_unlock_pte(vmf);
	if (done != 1)
		free_run(pfn, 1);
	if (old) {
		if (page_mapcount(old) == 0)
			free_swap_cache(old);
		put_page(old); /* ours */
		put_page(old); /* the entry's */
		count(copied, 1);
		count(cow_copy, 1);
	} else {
		count(zeroed, 1);
	}
	return done == 1 ? 0 : map_error(done);
}

/* A store to a present entry without write access. => pte lock held, released */
static noinline vm_fault_t do_wp_page(struct vm_fault *vmf)
{
	trace_fn(do_wp_page, vmf->address, vmf->orig_pte.val, 0);
	if (!pte_special(vmf->orig_pte) && can_reuse_anon_page(pfn_to_page(pte_pfn(vmf->orig_pte))))
		return wp_page_reuse(vmf);
	return wp_page_copy(vmf);
}

/* ---- handle_pte_fault -------------------------------------------------------------------------------------------------------- */

/* Mappings that aren't anonymous. */
static vm_fault_t do_fault(struct vm_fault *vmf)
{
	trace_fn(do_fault, vmf->address, vmf->flags, 0);
	if (!vmf->vma->vm_ops->fault)
		return VM_FAULT_SIGBUS;
	return vmf->vma->vm_ops->fault(vmf);
}

/* Young and dirty bits; what the machine can't do itself it is told here. => pte lock held, released */
static vm_fault_t pte_touch(struct vm_fault *vmf, pte_t pte)
{
	struct mm_struct *mm = vmf->vma->vm_mm;
	pte_t new = pte_clear(pte_mkyoung(pte), _PAGE_AROUND);
	int done = 1;

	if (vmf->flags & FAULT_FLAG_WRITE)
		new = pte_mkdirty(new);
	if (pte_same(pte, new)) {
		trace(spurious, vmf->address, 0, 0);
		goto out;
	}
	trace(pte_young, vmf->address, pte.val, new.val);
	__atomic_fetch_or(&vmf->pte->val, new.val & (_PAGE_ACCESSED | _PAGE_DIRTY), __ATOMIC_ACQ_REL);
	__atomic_fetch_and(&vmf->pte->val, ~_PAGE_AROUND, __ATOMIC_ACQ_REL);
	if (!pte_mapped(pte)) {
		done = map_run(mm, vmf->address, 1, pte_special(pte) ? 0 : pte_pfn(pte),
			       pte_special(pte) ? MACHINE_MAP_SHARED_ZERO : pte_how(new));
		if (done != 1)
			set_pte(vmf->pte, pte);
	} else if (pte_how(pte) != pte_how(new)) {
		machine_protect(mm, vmf->address, 1, pte_pfn(pte), pte_how(new));
	}
out:
	vmf_unlock_pte(vmf);
	return done == 1 ? 0 : map_error(done);
}

static vm_fault_t handle_pte_fault(struct vm_fault *vmf)
{
	struct ptdesc *table = desc_load(&vmf->pmd->desc);

	vmf->orig_pte = table ? ptep_get(pte_offset(table, vmf->address)) : (pte_t){ 0 };
	trace_fn(handle_pte_fault, vmf->address, vmf->orig_pte.val, vmf->flags);
	if (pte_none(vmf->orig_pte))
		return vma_is_anonymous(vmf->vma) ? do_anonymous_page(vmf) : do_fault(vmf);
	if (!pte_present(vmf->orig_pte))
		return do_swap_page(vmf);

	vmf_lock_pte(vmf);
	if (!pte_same(ptep_get(vmf->pte), vmf->orig_pte)) {
		trace(pte_changed, vmf->address, vmf->orig_pte.val, 0);
		vmf_unlock_pte(vmf);
		return 0;
	}
	if (vmf->flags & FAULT_FLAG_WRITE && !pte_write(vmf->orig_pte))
		return do_wp_page(vmf);
	return pte_touch(vmf, vmf->orig_pte);
}

static vm_fault_t __handle_mm_fault(struct vm_area_struct *vma, unsigned long addr, unsigned flags)
{
	struct mm_struct *mm = vma->vm_mm;
	struct vm_fault vmf = {
		.vma = vma,
		.address = addr & PAGE_MASK,
		.pgoff = linear_page_index(vma, addr),
		.flags = flags,
	};
	pgd_t *pgd = pgd_offset(mm, addr);
	p4d_t *p4d;
	pud_t *pud;

	trace_fn(__handle_mm_fault, addr, flags, 0);
	p4d = p4d_alloc(mm, pgd, addr);
	if (!p4d)
		return VM_FAULT_OOM;
	pud = pud_alloc(mm, p4d, addr);
	if (!pud)
		return VM_FAULT_OOM;
	vmf.pmd = pmd_alloc(mm, pud, addr);
	if (!vmf.pmd)
		return VM_FAULT_OOM;
	return handle_pte_fault(&vmf);
}

static vm_fault_t handle_mm_fault(struct vm_area_struct *vma, unsigned long addr, unsigned flags)
{
	trace_fn(handle_mm_fault, addr, flags, 0);
	return __handle_mm_fault(vma, addr, flags);
}

/* ---- __do_page_fault ---------------------------------------------------------------------------------------------------------- */

/* Write needs VM_WRITE, instruction fetch VM_EXEC, anything else one of the three: write-only and exec-only are readable. */
static bool access_error(const struct vm_area_struct *vma, unsigned flags)
{
	unsigned long mask = flags & FAULT_FLAG_WRITE       ? VM_WRITE
			     : flags & FAULT_FLAG_INSTRUCTION ? VM_EXEC
							      : VM_ACCESS_FLAGS;

	return !(vma->vm_flags & mask);
}

static vm_fault_t __do_page_fault(struct mm_struct *mm, unsigned long addr, unsigned flags)
{
	struct vm_area_struct *vma;

	trace_fn(__do_page_fault, addr, flags, 0);
	if (unlikely(addr >= TASK_SIZE))
		return VM_FAULT_BADMAP;
	vma = find_vma(mm, addr);
	if (unlikely(!vma))
		return VM_FAULT_BADMAP;
	if (unlikely(addr < vma->vm_start)) {
		if (!(vma->vm_flags & VM_GROWSDOWN))
			return VM_FAULT_BADMAP;
		vma = find_extend_vma(mm, addr);
		if (!vma)
			return VM_FAULT_BADMAP;
	}
	if (unlikely(access_error(vma, flags))) {
		trace(access_error, addr, vma->vm_flags, flags);
		return VM_FAULT_BADACCESS;
	}
	return handle_mm_fault(vma, addr, flags);
}

const struct fault_path linux_5_path = { .name = "linux-5", .fault = __do_page_fault };
