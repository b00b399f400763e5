/* SPDX-License-Identifier: MIT
 *
 * invariants.c - the equations of mm_types.h and filemap.h, as code.
 *
 * Everything stands still meanwhile: all address spaces are locked for writing, which stops faults and changes of mappings, and
 * reclaim from outside a fault waits at enter_reclaim().
 */
#include "mm/fault/fault.h"
#include "mm/filemap.h"
#include "mm/workingset.h"

static atomic_uint checking, reclaiming;

/* ---- the gate ---------------------------------------------------------------------------------------------------------------- */

/* Around everything that moves pages without an mmap_lock. Inside a fault it can't meet a check: that has all mmap_locks first. */
void enter_reclaim(void)
{
	for (;;) {
		atomic_fetch_add(&reclaiming, 1);
		if (likely(!atomic_load(&checking)))
			return;
		leave_reclaim();
		machine_wait(&checking, 1);
	}
}

void leave_reclaim(void)
{
	if (atomic_fetch_sub(&reclaiming, 1) == 1 && atomic_load(&checking))
		machine_wake(&reclaiming, 1);
}

static void stop_the_world(void)
{
	for (struct mm_struct *mm = mmlist; mm; mm = mm->next)
		mmap_write_lock(mm);
	atomic_store(&checking, 1);
	for (unsigned n; (n = atomic_load(&reclaiming));)
		machine_wait(&reclaiming, n);
}

static void start_the_world(void)
{
	atomic_store(&checking, 0);
	machine_wake(&checking, 1 << 30);
	for (struct mm_struct *mm = mmlist; mm; mm = mm->next)
		mmap_write_unlock(mm);
}

/* ---- entries -------------------------------------------------------------------------------------------------------------------- */

struct tally {
	uint32_t *map;   /* per frame: entries that name it */
	uint8_t *cached; /* per frame: places in page caches, which may be one */
	uint16_t *slot;  /* per slot */
	long rss[NR_MM_COUNTERS]; /* of one address space */
	unsigned long file_vmas;  /* of all of them */
};

struct rmap_probe {
	struct vm_area_struct *vma;
	unsigned long addr;
	bool found;
};

static bool probe_one(struct page *page, struct vm_area_struct *vma, unsigned long addr, void *arg)
{
	struct rmap_probe *probe = arg;

	(void)page;
	probe->found |= vma == probe->vma && addr == probe->addr;
	return !probe->found;
}

/* I10. The entries of a nonlinear vma are not found by their place */
static void check_rmap(struct vm_area_struct *vma, unsigned long addr, struct page *page)
{
	struct rmap_probe probe = { .vma = vma, .addr = addr, .found = vma->vm_flags & VM_NONLINEAR };

	if (!probe.found)
		rmap_walk(page, probe_one, &probe);
	MM_BUG_ON(!probe.found);
	MM_BUG_ON(!(page_flags(page) & PG_lru));
}

/* F4, F5. Generations without a reverse map don't see the first stores. */
static void check_file_entry(struct vm_area_struct *vma, unsigned long addr, pte_t pte, struct page *page)
{
	MM_BUG_ON(page->index >= i_pages_end(page_mapping(page)));
	MM_BUG_ON(!vma || !vma->vm_file || vma->vm_file->f_mapping != page_mapping(page));
	MM_BUG_ON(page->index != linear_page_index(vma, addr) && !(vma->vm_flags & VM_NONLINEAR));
	if (!pte_write(pte))
		return;
	MM_BUG_ON((vma->vm_flags & (VM_WRITE | VM_SHARED)) != (VM_WRITE | VM_SHARED));
	MM_BUG_ON(!fault_path->no_rmap && vma_wants_writenotify(vma) && !(page_flags(page) & PG_dirty));
}

/* I6, I10. vma NULL: a page without one (fault_path->bare_pages) */
static void check_present(struct vm_area_struct *vma, unsigned long addr, pte_t pte)
{
	struct page *page = pfn_to_page(pte_pfn(pte));

	if (!fault_path->no_rmap)
		check_rmap(vma, addr, page);
	MM_BUG_ON(page_flags(page) & (PG_locked | PG_writeback | PG_buddy));
	if (page_is_file(page)) {
		check_file_entry(vma, addr, pte, page);
	} else if (pte_write(pte)) {
		MM_BUG_ON(vma && !(vma->vm_flags & VM_WRITE));
		MM_BUG_ON(page_mapcount(page) != 1);
		MM_BUG_ON(!fault_path->no_rmap && !(page_flags(page) & PG_anon_exclusive));
		MM_BUG_ON(page_in_swap_cache(page) && swap_count(page_swap_entry(page)));
	}
	MM_BUG_ON(vma && !(vma->vm_flags & VM_ACCESS_FLAGS) != !!(pte.val & _PAGE_PROTNONE));
	if (!(mm_caps & MACHINE_READONLY))
		MM_BUG_ON(!pte_dirty(pte) && !(mm_caps & MACHINE_DIRTY));
}

static void check_entry(struct vm_area_struct *vma, unsigned long addr, pte_t pte, struct tally *t)
{
	if (pte_normal(pte) && page_flags(pfn_to_page(pte_pfn(pte))) & PG_reserved) {
		MM_BUG_ON(page_count(pfn_to_page(pte_pfn(pte))) != 1); /* BAD_PAGE: neither counted nor freed */
	} else if (pte_normal(pte)) {
		t->map[pte_pfn(pte)]++;
		t->rss[mm_counter(pfn_to_page(pte_pfn(pte)))]++;
		check_present(vma, addr, pte);
	} else if (is_swap_pte(pte)) {
		unsigned long slot = pte_to_swp_entry(pte).val;

		MM_BUG_ON(!slot || slot > slots_ever_used());
		MM_BUG_ON(pte.val & _PAGE_EXCLUSIVE && swap_map[slot].count != 1); /* I11 */
		t->slot[slot]++;
		t->rss[MM_SWAPENTS]++;
	} else if (pte_file(pte)) {
		MM_BUG_ON(!vma || !(vma->vm_flags & VM_NONLINEAR));
	} else {
		MM_BUG_ON(!pte_special(pte));
		MM_BUG_ON(pte_zero_page(pte) ? pte_write(pte) : !vma || !(vma->vm_flags & VM_PFNMAP));
		MM_BUG_ON(pte_write(pte) && (vma->vm_flags & (VM_WRITE | VM_SHARED)) != (VM_WRITE | VM_SHARED));
	}
}

/* I9: entries stand only inside vmas. */
static void check_tables(struct mm_struct *mm, struct tally *t)
{
	struct vm_area_struct *vma = vma_first(mm);
	unsigned long addr = 0;
	struct ptdesc *table;

	for (int i = 0; i < NR_MM_COUNTERS; i++)
		t->rss[i] = 0;
	while ((table = pte_table_next(mm, &addr, TASK_SIZE))) {
		unsigned long stop = pmd_addr_end(addr, TASK_SIZE);

		MM_BUG_ON(spin_is_locked(&table->ptl));
		for (; addr < stop; addr += PAGE_SIZE) {
			pte_t pte = ptep_get(pte_offset(table, addr));

			if (pte_none(pte))
				continue;
			while (vma && vma->vm_end <= addr)
				vma = vma_next(mm, vma);
			MM_BUG_ON((!vma || addr < vma->vm_start) && !fault_path->bare_pages);
			check_entry(vma && addr >= vma->vm_start ? vma : NULL, addr, pte, t);
		}
	}
	for (int i = 0; i <= MM_SHMEMPAGES; i++)
		MM_BUG_ON(t->rss[i] != get_mm_counter(mm, i)); /* I5 */
}

/* ---- mappings --------------------------------------------------------------------------------------------------------------------- */

static int check_subtree(struct tree_node *node, struct tree_node *parent)
{
	int l, r;

	if (!node)
		return 0;
	MM_BUG_ON(node->parent != parent);
	l = check_subtree(node->left, node);
	r = check_subtree(node->right, node);
	MM_BUG_ON(l - r > 1 || r - l > 1);
	MM_BUG_ON(node->height != (l > r ? l : r) + 1);
	return node->height;
}

static bool same_vma(struct vm_area_struct *vma, void *arg)
{
	struct vm_area_struct **wanted = arg;

	if (vma == *wanted)
		*wanted = NULL;
	return *wanted;
}

/* F3: it stands where truncate and reclaim look for it. */
static void check_file_vma(struct vm_area_struct *vma)
{
	struct address_space *mapping = vma->vm_file->f_mapping;
	struct vm_area_struct *wanted = vma, *at;

	MM_BUG_ON(!vma->vm_ops);
	spin_lock(&mapping->i_mmap_lock);
	if (vma->vm_flags & VM_NONLINEAR) {
		for (at = mapping->i_mmap_nonlinear; at && at != vma; at = at->nonlinear_next)
			;
		MM_BUG_ON(!at);
	} else {
		vma_interval_tree_foreach(mapping, vma->vm_pgoff, vma->vm_pgoff, same_vma, &wanted);
		MM_BUG_ON(wanted);
	}
	spin_unlock(&mapping->i_mmap_lock);
}

struct tree_count {
	struct address_space *mapping;
	unsigned long nr;
};

static bool count_vma(struct vm_area_struct *vma, void *arg)
{
	struct tree_count *count = arg;

	MM_BUG_ON(vma->vm_file->f_mapping != count->mapping || vma->vm_flags & VM_NONLINEAR);
	count->nr++;
	return true;
}

/* F3, the other way round: nobody stands there who is in no address space. */
static void check_i_mmap(unsigned long file_vmas)
{
	unsigned long found = 0;

	for (struct address_space *mapping = mapping_list; mapping; mapping = mapping->next) {
		struct tree_count count = { .mapping = mapping };
		unsigned long nonlinear = 0;

		check_subtree(mapping->i_mmap.node, NULL);
		spin_lock(&mapping->i_mmap_lock);
		vma_interval_tree_foreach(mapping, 0, ~0UL, count_vma, &count);
		for (struct vm_area_struct *vma = mapping->i_mmap_nonlinear; vma; vma = vma->nonlinear_next, nonlinear++)
			MM_BUG_ON(vma->vm_file->f_mapping != mapping || !(vma->vm_flags & VM_NONLINEAR));
		spin_unlock(&mapping->i_mmap_lock);
		MM_BUG_ON(nonlinear != mapping->nr_nonlinear);
		found += count.nr + nonlinear;
	}
	MM_BUG_ON(found != file_vmas);
}

static void check_mappings(struct mm_struct *mm, struct tally *t)
{
	unsigned long last = 0, n = 0, pages = 0, locked = 0;

	check_subtree(mm->mm_rb.node, NULL);
	for (struct vm_area_struct *vma = vma_first(mm); vma; vma = vma_next(mm, vma)) {
		bool own = !atomic_load(&vma->anon_vma);

		MM_BUG_ON(vma->vm_mm != mm || vma->vm_start < last || vma->vm_end <= vma->vm_start || vma->vm_end > TASK_SIZE);
		for (struct anon_vma_chain *avc = vma->anon_vma_chain; avc; avc = avc->next) {
			MM_BUG_ON(avc->vma != vma || avc->rb_start != vma->vm_pgoff);
			own |= avc->anon_vma == atomic_load(&vma->anon_vma);
		}
		MM_BUG_ON(!own);
		if (vma->vm_file) {
			check_file_vma(vma);
			t->file_vmas++;
		}
		last = vma->vm_end;
		n++;
		pages += (vma->vm_end - vma->vm_start) >> PAGE_SHIFT;
		locked += vma->vm_flags & VM_LOCKED ? (vma->vm_end - vma->vm_start) >> PAGE_SHIFT : 0;
	}
	MM_BUG_ON(n != mm->map_count || pages != mm->total_vm || locked != mm->locked_vm);
}

/* ---- pages and slots ------------------------------------------------------------------------------------------------------------------ */

/* I1, I2, I4, I7, I11 from the pages' side. */
static void check_pages(const struct tally *t, unsigned long nr)
{
	for (unsigned long pfn = 0; pfn < nr; pfn++) {
		struct page *page = pfn_to_page(pfn);
		int cached = !!page_in_swap_cache(page);

		if (page_count(page) == 0) {
			MM_BUG_ON(t->map[pfn]);
			continue;
		}
		MM_BUG_ON((int)t->map[pfn] != page_mapcount(page));
		MM_BUG_ON(page_count(page) != page_mapcount(page) + cached + t->cached[pfn]); /* F2 */
		MM_BUG_ON(t->cached[pfn] != page_is_file(page));
		MM_BUG_ON(!fault_path->no_rmap && !(page_flags(page) & PG_lru));
		if (cached) { /* whether an eviction has left it there or a fault has brought it */
			MM_BUG_ON(swap_map[page->private].cache != pfn + 1 || swap_map[page->private].flags != SLOT_USED);
			MM_BUG_ON(page_flags(page) & (PG_locked | PG_writeback));
		}
		MM_BUG_ON(page_flags(page) & PG_workingset && !workingset.file && !workingset.anon);
		MM_BUG_ON(page_flags(page) & PG_reclaim && (!page_is_file(page) || page_flags(page) & PG_swapbacked));
		if (page_flags(page) & PG_anon_exclusive) { /* I11 */
			MM_BUG_ON(page_mapcount(page) > 1 || !(atomic_load(&page->mapping) & PAGE_MAPPING_ANON));
			MM_BUG_ON(cached && swap_count(page_swap_entry(page)));
		}
	}
}

static void check_slots(const struct tally *t)
{
	for (unsigned long i = slots_ever_used(); i; i--)
		MM_BUG_ON(t->slot[i] != swap_map[i].count && (swap_map[i].flags & SLOT_USED || t->slot[i]));
	check_swap();
}

static void check_all(struct tally *t)
{
	for (struct mm_struct *mm = mmlist; mm; mm = mm->next) {
		check_mappings(mm, t);
		check_tables(mm, t);
	}
	check_i_mmap(t->file_vmas);
	check_frames();
	check_lru();
	check_page_cache(t->slot, t->cached);
	check_pages(t, fresh_frames());
	check_slots(t);
	count(invariant_checks, 1);
}

void mm_check_invariants(void)
{
	size_t map_len, slot_len;
	struct tally t = { .file_vmas = 0 };

	stop_the_world();
	lru_drain_all();
	map_len = (fresh_frames() + 1) * sizeof(*t.map);
	slot_len = (slots_ever_used() + 1) * sizeof(*t.slot); /* all of them would be megabytes of the budget */
	t.map = machine_alloc(map_len);
	t.slot = machine_alloc(slot_len);
	t.cached = machine_alloc(fresh_frames() + 1);
	if (t.map && t.slot && t.cached)
		check_all(&t);
	if (t.map)
		machine_free(t.map, map_len);
	if (t.slot)
		machine_free(t.slot, slot_len);
	if (t.cached)
		machine_free(t.cached, fresh_frames() + 1);
	start_the_world();
}
