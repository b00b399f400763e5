/* SPDX-License-Identifier: MIT
 *
 * memory.c - whole ranges of entries: zap, move, copy at fork, change of rights.
 *
 * All of these meet swap entries whose page is just being evicted. The evicting thread then has a machine call for the address under way,
 * and may still put the page back; they let go of the table, wait for the page, and look at the entry again.
 */
#include "mm/fault/linux_2_6.h"
#include "mm/filemap.h"

#define MAP_BACK_TRIES 1000

/* Only the host's word that there is no such mapping, or that something else stands there, means that nobody wants the page; anything else passes, or
 * is the end, for going on would turn the page into zeros. n: what it has said */
__cold bool map_back_slow(struct mm_struct *mm, unsigned long addr, unsigned long pfn, unsigned how, int n)
{
	for (unsigned i = 0; i < MAP_BACK_TRIES; i++) {
		if (n == -ENOENT || n == -EEXIST)
			return false;
		machine_relax();
		n = map_run(mm, addr, 1, pfn, how);
		if (n == 1)
			return true;
	}
	machine_bug(__FILE__, __LINE__,
		    "the host does not take a page back to its address (out of memory?): its content would be lost");
}

/* ---- zap ------------------------------------------------------------------------------------------------------------------ */

/* Entries that are cleared but of which the machine hasn't heard; contiguous frames at contiguous addresses. */
struct discard {
	struct mm_struct *mm;
	unsigned long addr, pfn;
	unsigned nr;
	struct page_batch batch; /* their frames, to be freed afterwards */
	bool only_swap;          /* what is present stays */
	bool keep_cows;          /* only pages of the file go: private copies stay, swapped ones too */
	bool no_wait;            /* a spinlock is held: an entry whose page is on its way out is left to the caller, in `busy` */
	bool once;               /* young entries of the mapping say nothing: it is read once (VM_SEQ_READ) */
	struct page *busy;
};

static void discard_init(struct discard *d, struct mm_struct *mm)
{
	d->mm = mm;
	d->nr = d->batch.nr = 0;
	d->only_swap = d->keep_cows = d->no_wait = d->once = false;
	d->busy = NULL;
}

static void discard_flush(struct discard *d)
{
	if (d->nr)
		machine_discard(d->mm, d->addr, d->nr, d->pfn);
	d->nr = 0;
	put_page_batch(&d->batch);
}

static void discard_add(struct discard *d, unsigned long addr, unsigned long pfn, bool mapped)
{
	if (mapped) {
		if (d->nr && (addr != d->addr + d->nr * PAGE_SIZE || pfn != d->pfn + d->nr)) {
			machine_discard(d->mm, d->addr, d->nr, d->pfn);
			d->nr = 0;
		}
		if (!d->nr) {
			d->addr = addr;
			d->pfn = pfn;
		}
		d->nr++;
	}
	d->batch.pfn[d->batch.nr++] = pfn;
	if (d->batch.nr == MAX_AROUND)
		discard_flush(d);
}

/* What the entry knows of the page goes over to the page. A store through an old translation must not come after that: the machine hears of
 * writable entries first. */
static void zap_file_page(struct discard *d, struct page *page, unsigned long addr, pte_t pte)
{
	bool mapped = pte_mapped(pte);

	if (pte_write(pte) && mapped) {
		machine_discard(d->mm, addr, 1, pte_pfn(pte));
		mapped = false;
	}
	if (pte_dirty(pte))
		set_page_dirty(page);
	if (pte_young(pte) && !d->once)
		mark_page_accessed(page);
	if (unlikely(page_flags(page) & PG_unevictable))
		page_set_unevictable(page, false); /* who locks it too is found by reclaim */
	add_mm_counter(d->mm, mm_counter_file(page), -1);
	page_remove_rmap(page);
	discard_add(d, addr, pte_pfn(pte), mapped);
}

static void zap_present(struct discard *d, pte_t *ptep, unsigned long addr)
{
	pte_t pte = ptep_get_and_clear(ptep);
	struct page *page;

	if (pte_special(pte)) {
		machine_discard(d->mm, addr, 1, pte_machine_pfn(pte));
		return;
	}
	page = pfn_to_page(pte_pfn(pte));
	if (unlikely(page_flags(page) & PG_reserved)) { /* BAD_PAGE of linux-2.0: nobody counts it */
		machine_discard(d->mm, addr, 1, pte_pfn(pte));
		return;
	}
	if (unlikely(page_is_file(page))) {
		zap_file_page(d, page, addr, pte);
		return;
	}
	add_mm_counter(d->mm, MM_ANONPAGES, -1);
	page_remove_rmap(page);
	/* Its slot goes with it, unless another thread holds the page: then that one looks when it is done. */
	if (page_mapcount(page) == 0)
		free_swap_cache(page);
	discard_add(d, addr, pte_pfn(pte), pte_mapped(pte));
}

/* => pte lock held; false: nothing was done, the page is on its way out and was waited for, or is the caller's to wait for (d->busy);
 * the lock is released then */
static bool zap_swap_pte(struct discard *d, struct ptdesc *table, pte_t *ptep, pte_t pte)
{
	swp_entry_t entry = pte_to_swp_entry(pte);

	if (unlikely(swap_writeback(entry))) {
		discard_flush(d);
		if (d->no_wait) {
			d->busy = lookup_swap_cache(entry);
			if (d->busy) {
				spin_unlock(&table->ptl);
				return false;
			}
		} else if (wait_on_swap_writeback(entry, &table->ptl)) {
			return false;
		}
	}
	set_pte(ptep, (pte_t){ 0 });
	add_mm_counter(d->mm, MM_SWAPENTS, -1);
	free_swap_and_cache(entry);
	return true;
}

/* Entries of one table. => false: had to wait, *addr is where to go on; ptl released */
static bool zap_pte_range(struct discard *d, struct ptdesc *table, unsigned long *addr, unsigned long end)
{
	for (; *addr < end; *addr += PAGE_SIZE) {
		pte_t *ptep = pte_offset(table, *addr), pte = ptep_get(ptep);

		if (pte_none(pte))
			continue;
		if (pte_present(pte)) {
			if (d->only_swap || (d->keep_cows && !(pte_normal(pte) && page_is_file(pfn_to_page(pte_pfn(pte))))))
				continue;
			zap_present(d, ptep, *addr);
		} else if (is_swap_pte(pte)) {
			if (!d->keep_cows && !zap_swap_pte(d, table, ptep, pte))
				return false;
		} else {
			set_pte(ptep, (pte_t){ 0 });
		}
	}
	discard_flush(d);
	spin_unlock(&table->ptl);
	return true;
}

/* The frames are freed only after the machine has heard of it, and that before the table's lock is released: nobody may fill an
 * address of which the machine still thinks that something stands there. */
static void zap_range(struct discard *d, unsigned long start, unsigned long end)
{
	struct ptdesc *table;

	trace_fn(zap_pte_range, start, end, d->only_swap);
	while ((table = pte_table_next(d->mm, &start, end))) {
		unsigned long stop = pmd_addr_end(start, end);
		bool done;

		do {
			unsigned long chunk = min_ul(stop, start + MAX_AROUND * PAGE_SIZE);

			spin_lock(&table->ptl);
			done = zap_pte_range(d, table, &start, chunk);
			if (unlikely(d->busy))
				return;
		} while (!done || start < stop);
	}
}

void unmap_region(struct vm_area_struct *vma, unsigned long start, unsigned long end)
{
	struct discard d;

	discard_init(&d, vma->vm_mm);
	d.once = vma->vm_flags & VM_SEQ_READ;
	zap_range(&d, start, end);
}

/* i_mmap_lock keeps the vma and its tables where they are. */
struct page *zap_file_range(struct vm_area_struct *vma, unsigned long start, unsigned long end, bool even_cows)
{
	struct discard d;

	assert_spin_locked(&vma->vm_file->f_mapping->i_mmap_lock);
	discard_init(&d, vma->vm_mm);
	d.keep_cows = !even_cows;
	d.no_wait = true;
	d.once = vma->vm_flags & VM_SEQ_READ;
	zap_range(&d, start, end);
	return d.busy;
}

void zap_page_range(struct mm_struct *mm, unsigned long addr, size_t len)
{
	struct discard d;

	mmap_assert_locked(mm);
	discard_init(&d, mm);
	if (fault_path->remap_file_pages) { /* pages of a nonlinear mapping leave their offsets behind */
		unsigned long end = addr + len;

		for (struct vm_area_struct *vma = find_vma(mm, addr); vma && vma->vm_start < end; vma = vma_next(mm, vma)) {
			if (!(vma->vm_flags & VM_NONLINEAR))
				continue;
			if (addr < vma->vm_start)
				zap_range(&d, addr, vma->vm_start);
			zap_nonlinear_range(vma, max_ul(addr, vma->vm_start), min_ul(end, vma->vm_end), 0, ~0UL);
			addr = min_ul(end, vma->vm_end);
		}
		len = end - addr;
	}
	zap_range(&d, addr, addr + len);
}

void zap_swap_range(struct mm_struct *mm, unsigned long addr, size_t len)
{
	struct discard d;

	mmap_assert_locked(mm);
	discard_init(&d, mm);
	d.only_swap = true;
	zap_range(&d, addr, addr + len);
}

/* ---- frames without struct pages ---------------------------------------------------------------------------------------- */

/* What a clean entry of such a frame may grant: stores in a shared mapping, unless somebody wants to see the first one. */
static pteval_t pfn_prot(const struct vm_area_struct *vma)
{
	if (!(vma->vm_flags & VM_ACCESS_FLAGS))
		return _PAGE_PROTNONE;
	if ((vma->vm_flags & (VM_WRITE | VM_SHARED)) != (VM_WRITE | VM_SHARED) || (vma->vm_ops && vma->vm_ops->pfn_mkwrite))
		return 0;
	return _PAGE_RW;
}

vm_fault_t vmf_insert_pfn(struct vm_area_struct *vma, unsigned long addr, unsigned long pfn)
{
	struct ptdesc *table = pte_table_alloc(vma->vm_mm, addr);
	pte_t pte = pfn_pte(pfn, pfn_prot(vma) | _PAGE_SPECIAL | _PAGE_PFN | _PAGE_ACCESSED), *ptep;
	int done = 1;

	trace_fn(vmf_insert_pfn, addr, pfn, 0);
	MM_BUG_ON(!(vma->vm_flags & VM_PFNMAP));
	if (!table)
		return VM_FAULT_OOM;
	spin_lock(&table->ptl);
	ptep = pte_offset(table, addr);
	if (pte_none(ptep_get(ptep))) {
		set_pte(ptep, pte);
		done = map_run(vma->vm_mm, addr & PAGE_MASK, 1, pfn, pte_how(pte));
		if (done != 1)
			set_pte(ptep, (pte_t){ 0 });
	}
	spin_unlock(&table->ptl);
	return done == -ENOMEM ? VM_FAULT_OOM : VM_FAULT_NOPAGE;
}

/* ---- rights ------------------------------------------------------------------------------------------------------------- */

/* May an entry of a mapping that allows stores have its W at once, without a fault that finds the same out? Where the
 * machine has no read-only mappings, it must. 6.x: the page is known to be ours alone; once shared, only do_wp_page() finds that
 * out again. Before: nobody else has a reference, reclaim (which may be storing the bytes of a page that was shared) included.
 * => pte lock held */
static bool can_change_pte_writable(const struct vm_area_struct *vma, pte_t pte)
{
	struct page *page;

	if (pte_special(pte))
		return !pte_zero_page(pte) && pfn_prot(vma) & _PAGE_RW;
	page = pfn_to_page(pte_pfn(pte));
	/* A shared page whose first store has been seen since it was cleaned, or of which nobody wants to see it. */
	if (unlikely(page_is_file(page)))
		return vma->vm_flags & VM_SHARED && (pte_dirty(pte) || !vma_wants_writenotify(vma));
	if (mm_caps & MACHINE_READONLY) {
		if (mm_reuse_rule == REUSE_6)
			return page_flags(page) & PG_anon_exclusive;
		if (!pte_dirty(pte) || page_mapcount(page) != 1 || page_count(page) != 1)
			return false;
	}
	if (!(page_flags(page) & PG_anon_exclusive))
		set_page_flags(page, PG_anon_exclusive);
	return true;
}

static pte_t new_protection(const struct vm_area_struct *vma, pte_t pte)
{
	pteval_t prot = vma_prot(vma);

	if (unlikely(fault_path->pte_modify))
		return fault_path->pte_modify(vma, pte);
	pte = pte_clear(pte, _PAGE_PROTNONE);
	if (!(prot & _PAGE_RW))
		pte = pte_wrprotect(pte);
	else if (!pte_write(pte) && can_change_pte_writable(vma, pte))
		pte = pte_set(pte, _PAGE_RW);
	return pte_set(pte, prot & _PAGE_PROTNONE);
}

static bool change_pte_range(struct vm_area_struct *vma, struct ptdesc *table, unsigned long *addr, unsigned long end)
{
	for (; *addr < end; *addr += PAGE_SIZE) {
		pte_t *ptep = pte_offset(table, *addr), pte = ptep_get(ptep), new;

		if (is_swap_pte(pte) && wait_on_swap_writeback(pte_to_swp_entry(pte), &table->ptl))
			return false;
		if (!pte_present(pte))
			continue;
		pte = ptep_get_and_clear(ptep); /* no young or dirty bit may be lost in between */
		new = new_protection(vma, pte);
		set_pte(ptep, new);
		if (!pte_same(pte, new) && pte_mapped(pte))
			machine_protect(vma->vm_mm, *addr, 1, pte_machine_pfn(pte), pte_how(new));
	}
	spin_unlock(&table->ptl);
	return true;
}

/* vma->vm_flags are the new ones. => mmap_lock held for writing */
void change_protection(struct vm_area_struct *vma, unsigned long start, unsigned long end, unsigned long old_flags)
{
	struct ptdesc *table;

	if (!((old_flags ^ vma->vm_flags) & VM_WRITE) && !(old_flags & VM_ACCESS_FLAGS) == !(vma->vm_flags & VM_ACCESS_FLAGS) &&
	    !fault_path->pte_modify)
		return;
	while ((table = pte_table_next(vma->vm_mm, &start, end))) {
		unsigned long stop = pmd_addr_end(start, end);

		do
			spin_lock(&table->ptl);
		while (!change_pte_range(vma, table, &start, stop));
	}
}

/* VM_LOCKED has changed: pages go to the unevictable list, or come back. */
void mlock_range(struct vm_area_struct *vma, unsigned long start, unsigned long end)
{
	bool on = vma->vm_flags & VM_LOCKED;
	struct ptdesc *table;

	if (fault_path->no_rmap)
		return; /* who scans the tables asks the vma */
	while ((table = pte_table_next(vma->vm_mm, &start, end))) {
		unsigned long stop = pmd_addr_end(start, end);

		spin_lock(&table->ptl);
		for (; start < stop; start += PAGE_SIZE) {
			pte_t pte = ptep_get(pte_offset(table, start));

			if (pte_normal(pte))
				page_set_unevictable(pfn_to_page(pte_pfn(pte)), on);
		}
		spin_unlock(&table->ptl);
	}
}

/* ---- mremap ------------------------------------------------------------------------------------------------------------- */

/* Whoever looks for the pages of a file by its vmas (truncate) must not come too early for the new place and too late for the old one. */
static void lock_tables(struct vm_area_struct *vma, struct ptdesc *src, struct ptdesc *dst)
{
	if (unlikely(vma->vm_file))
		spin_lock(&vma->vm_file->f_mapping->i_mmap_lock);
	spin_lock(&src->ptl);
	if (dst != src)
		spin_lock_nested(&dst->ptl);
}

static void unlock_tables(struct vm_area_struct *vma, struct ptdesc *src, struct ptdesc *dst)
{
	if (dst != src)
		spin_unlock_nested(&dst->ptl);
	spin_unlock(&src->ptl);
	if (unlikely(vma->vm_file))
		spin_unlock(&vma->vm_file->f_mapping->i_mmap_lock);
}

/* => tables locked, released; false: had to wait */
static bool move_ptes(struct vm_area_struct *vma, struct ptdesc *src, unsigned long *from, unsigned long end, struct ptdesc *dst,
		      long delta)
{
	struct mm_struct *mm = vma->vm_mm;

	for (; *from < end; *from += PAGE_SIZE) {
		pte_t *ptep = pte_offset(src, *from), pte = ptep_get(ptep);

		if (pte_none(pte))
			continue;
		if (is_swap_pte(pte)) {
			struct page *page = lookup_swap_cache(pte_to_swp_entry(pte));
			bool out = page && page_flags(page) & PG_writeback;

			if (out) {
				unlock_tables(vma, src, dst);
				wait_on_page_locked(page);
			}
			if (page)
				put_page(page);
			if (out)
				return false;
		}
		pte = ptep_get_and_clear(ptep);
		set_pte(pte_offset(dst, *from + delta), pte);
		if (pte_present(pte))
			machine_moved(mm, *from, *from + delta, 1, pte_machine_pfn(pte));
	}
	unlock_tables(vma, src, dst);
	return true;
}

/* The entries of [from, from+len) of vma move to `to`. => 0; -ENOMEM: some have moved, move them back */
int move_page_tables(struct vm_area_struct *vma, unsigned long from, struct vm_area_struct *new_vma, unsigned long to,
		     unsigned long len)
{
	struct mm_struct *mm = vma->vm_mm;
	unsigned long end = from + len;
	long delta = (long)(to - from);
	struct ptdesc *src, *dst;

	(void)new_vma;
	trace_fn(move_page_tables, from, to, len);
	while ((src = pte_table_next(mm, &from, end))) {
		unsigned long stop = pmd_addr_end(from, end);

		/* The piece must lie in one table on the other side too. */
		stop = min_ul(stop, pmd_addr_end(from + delta, end + delta) - delta);
		dst = pte_table_alloc(mm, from + delta);
		if (!dst)
			return -ENOMEM;
		do
			lock_tables(vma, src, dst);
		while (!move_ptes(vma, src, &from, stop, dst, delta));
	}
	return 0;
}

/* ---- fork --------------------------------------------------------------------------------------------------------------- */

/* A page that may not be shared (no read-only mappings, or pinned) is copied at once. => 0, -ENOMEM */
static int copy_present_page(struct vm_area_struct *dst, struct page *page, pte_t *dst_pte, pte_t pte, unsigned long addr)
{
	unsigned got;
	unsigned long pfn = alloc_run(1, &got);
	struct page *new;

	if (pfn == -1UL)
		return -EAGAIN; /* the caller reclaims without locks and comes again */
	new = pfn_to_page(pfn);
	memcpy(machine_frame(pfn), machine_frame(page_to_pfn(page)), PAGE_SIZE);
	count(copied, 1);
	page_add_new_anon_rmap(new, dst, addr);
	lru_cache_add_inactive_or_unevictable(new, dst);
	add_mm_counter(dst->vm_mm, MM_ANONPAGES, 1);
	pte = pfn_pte(pfn, (pte.val & (_PAGE_RW | _PAGE_PROTNONE)) | _PAGE_DIRTY | _PAGE_ACCESSED);
	set_pte(dst_pte, pte);
	map_run(dst->vm_mm, addr, 1, pfn, pte_how(pte));
	return 0;
}

/* A page of the cache, in a vma with private copies beside it, or one of 2.x. The child's entry is old; a shared one is clean, for the
 * parent's knows already that the page is dirty. A private one has no W to lose. */
static void copy_file_pte(struct vm_area_struct *dst, struct page *page, pte_t *dst_pte, pte_t pte, unsigned long addr)
{
	pte = pte_clear(pte, _PAGE_ACCESSED | (dst->vm_flags & VM_SHARED ? _PAGE_DIRTY : 0));
	get_page(page);
	page_add_file_rmap(page);
	add_mm_counter(dst->vm_mm, mm_counter_file(page), 1);
	set_pte(dst_pte, pte);
	if (mm_caps & MACHINE_YOUNG)
		map_run(dst->vm_mm, addr, 1, pte_pfn(pte), pte_how(pte));
}

/* rss: what the child has more now. => 0; -EAGAIN: no frame */
static int copy_one_pte(struct vm_area_struct *dst, struct vm_area_struct *src, pte_t *dst_pte, pte_t *src_pte, unsigned long addr, long *rss)
{
	pte_t pte = ptep_get(src_pte);
	struct page *page;

	if (is_swap_pte(pte)) {
		pte = pte_clear(pte, _PAGE_EXCLUSIVE);
		swap_duplicate(pte_to_swp_entry(pte), 1);
		set_pte(src_pte, pte);
		set_pte(dst_pte, pte);
		rss[MM_SWAPENTS]++;
		return 0;
	}
	if (!pte_present(pte) || pte_special(pte)) {
		set_pte(dst_pte, pte);
		if (pte_present(pte))
			map_run(dst->vm_mm, addr, 1, pte_machine_pfn(pte), pte_machine_how(pte));
		return 0;
	}
	page = pfn_to_page(pte_pfn(pte));
	if (unlikely(page_is_file(page))) {
		copy_file_pte(dst, page, dst_pte, pte, addr);
		return 0;
	}
	if ((mm_caps & (MACHINE_READONLY | MACHINE_ALIAS)) != (MACHINE_READONLY | MACHINE_ALIAS) || page_flags(page) & PG_stuck)
		return copy_present_page(dst, page, dst_pte, pte, addr);
	if (pte_write(pte)) {
		__atomic_fetch_and(&src_pte->val, ~_PAGE_RW, __ATOMIC_ACQ_REL);
		if (pte_mapped(pte))
			machine_protect(src->vm_mm, addr, 1, pte_pfn(pte), 0);
		pte = ptep_get(src_pte); /* with the last store's dirty bit */
	}
	/* Which of the entries is the dirty one is soon forgotten; the page remembers. */
	if (pte_dirty(pte))
		set_page_flags(page, PG_dirty);
	clear_page_flags(page, PG_anon_exclusive);
	get_page(page);
	atomic_fetch_add(&page->_mapcount, 1);
	rss[MM_ANONPAGES]++;
	set_pte(dst_pte, pte_clear(pte, _PAGE_ACCESSED));
	if (mm_caps & MACHINE_YOUNG)
		map_run(dst->vm_mm, addr, 1, pte_pfn(pte), 0);
	return 0;
}

/* One table. => 0, -ENOMEM */
static int copy_pte_range(struct vm_area_struct *dst, struct vm_area_struct *src, struct ptdesc *from, struct ptdesc *to,
			  unsigned long addr, unsigned long end)
{
	while (addr < end) {
		long rss[NR_MM_COUNTERS] = { 0 };
		int err = 0;

		spin_lock(&from->ptl);
		for (; addr < end && !err; addr += PAGE_SIZE) {
			pte_t *src_pte = pte_offset(from, addr), pte = ptep_get(src_pte);

			if (pte_none(pte))
				continue;
			if (is_swap_pte(pte) && wait_on_swap_writeback(pte_to_swp_entry(pte), &from->ptl)) {
				spin_lock(&from->ptl);
				addr -= PAGE_SIZE; /* again */
				continue;
			}
			spin_lock_nested(&to->ptl);
			err = copy_one_pte(dst, src, pte_offset(to, addr), src_pte, addr, rss);
			spin_unlock_nested(&to->ptl);
			if (err)
				addr -= PAGE_SIZE;
		}
		spin_unlock(&from->ptl);
		for (int i = 0; i < NR_MM_COUNTERS; i++)
			if (rss[i])
				add_mm_counter(dst->vm_mm, i, rss[i]);
		if (err && !try_to_free_pages(32) && !wait_for_evictions())
			return -ENOMEM;
	}
	return 0;
}

/* => both mms locked for writing; dst is not yet in use; 0, -ENOMEM (dst is to be thrown away) */
int copy_page_range(struct vm_area_struct *dst, struct vm_area_struct *src)
{
	unsigned long addr = src->vm_start;
	struct ptdesc *from, *to;

	/* Without an anon_vma nothing was ever written; what reads have mapped will be mapped again by faults. (Not so in a nonlinear
	 * mapping, or one of frames: only its entries know what stands there.) */
	if (!atomic_load(&src->anon_vma) && !(src->vm_flags & (VM_NONLINEAR | VM_PFNMAP)))
		return 0;
	trace_fn(copy_page_range, src->vm_start, src->vm_end, 0);
	while ((from = pte_table_next(src->vm_mm, &addr, src->vm_end))) {
		unsigned long stop = pmd_addr_end(addr, src->vm_end);

		to = pte_table_alloc(dst->vm_mm, addr);
		if (!to || copy_pte_range(dst, src, from, to, addr, stop))
			return -ENOMEM;
		addr = stop;
	}
	return 0;
}

/* ---- what the host did by itself ------------------------------------------------------------------------------------------ */

int adopt_page(struct mm_struct *mm, unsigned long addr)
{
	struct vm_area_struct *vma = find_vma(mm, addr);
	struct ptdesc *table;
	unsigned long pfn;
	unsigned got;
	pte_t *ptep;

	addr &= PAGE_MASK;
	if (!vma || addr < vma->vm_start)
		return -EFAULT;
	table = pte_table_alloc(mm, addr);
	if (!table || anon_vma_prepare(vma))
		return -ENOMEM;
	pfn = alloc_run(1, &got);
	if (pfn == -1UL)
		return -ENOMEM;
	spin_lock(&table->ptl);
	ptep = pte_offset(table, addr);
	if (!pte_none(ptep_get(ptep))) {
		spin_unlock(&table->ptl);
		free_run(pfn, 1);
		return -EEXIST;
	}
	page_add_new_anon_rmap(pfn_to_page(pfn), vma, addr);
	set_pte(ptep, pfn_pte(pfn, vma_prot(vma) | _PAGE_DIRTY | _PAGE_ACCESSED));
	machine_adopt(mm, addr, pfn);
	add_mm_counter(mm, MM_ANONPAGES, 1);
	lru_cache_add_inactive_or_unevictable(pfn_to_page(pfn), vma);
	spin_unlock(&table->ptl);
	return 0;
}

void forget_page(struct mm_struct *mm, unsigned long addr)
{
	struct ptdesc *table = pte_table(mm, addr);
	struct discard d;
	uint64_t stuck = 0, gone = 0;
	pte_t *ptep, pte;

	if (!table)
		return;
	discard_init(&d, mm);
	addr &= PAGE_MASK;
	spin_lock(&table->ptl);
	ptep = pte_offset(table, addr);
	pte = ptep_get(ptep);
	if (pte_normal(pte) && pte_mapped(pte)) {
		/* The caller has looked without the lock; the page may just have come. The machine knows. */
		machine_unmap(mm, addr, 1, pte_pfn(pte), &stuck, &gone);
		if (!stuck && !gone && !map_back(mm, addr, pte_pfn(pte), pte_how(pte)))
			gone = 1;
		if (gone) {
			zap_present(&d, ptep, addr);
			count(gone, 1);
		}
	}
	discard_flush(&d);
	spin_unlock(&table->ptl);
}

bool page_stored(struct mm_struct *mm, unsigned long addr)
{
	struct ptdesc *table = pte_table(mm, addr);
	bool there;
	pte_t pte;

	mmap_assert_locked(mm);
	if (!table)
		return false;
	spin_lock(&table->ptl);
	pte = ptep_get(pte_offset(table, addr));
	there = pte_normal(pte) && pte_mapped(pte);
	if (there)
		machine_stored(mm, addr & PAGE_MASK, pte_pfn(pte));
	spin_unlock(&table->ptl);
	return there;
}

void mark_range_used(struct mm_struct *mm, unsigned long addr, size_t len)
{
	unsigned long at = addr & PAGE_MASK, end = min_ul(PAGE_ALIGN(addr + len), TASK_SIZE);
	struct ptdesc *table;

	while ((table = pte_table_next(mm, &at, end))) {
		unsigned long stop = pmd_addr_end(at, end);

		spin_lock(&table->ptl);
		for (; at < stop; at += PAGE_SIZE) {
			pte_t *ptep = pte_offset(table, at);

			if (pte_present(ptep_get(ptep)))
				__atomic_fetch_and(&ptep->val, ~_PAGE_AROUND, __ATOMIC_ACQ_REL);
		}
		spin_unlock(&table->ptl);
	}
}

enum mm_residency mm_residency(struct mm_struct *mm, unsigned long addr)
{
	struct ptdesc *table = pte_table(mm, addr);
	pte_t pte = table ? ptep_get(pte_offset(table, addr)) : (pte_t){ 0 };

	if (pte_present(pte))
		return pte.val & _PAGE_AROUND ? MM_AROUND : MM_PRESENT;
	return is_swap_pte(pte) ? MM_SWAPPED : MM_NONE;
}
