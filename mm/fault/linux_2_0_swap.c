/* SPDX-License-Identifier: MIT
 *
 * linux_2_0_swap.c - generation linux-2.0: reclaim by scanning address spaces (fault-paths.md 4.3, last paragraph).
 *
 *      try_to_free_page          priorities 6 to 0: harder each time
 *        shrink_mmap             a clock over the frames: page cache that nobody maps and nobody used lately
 *        swap_out                some processes in turn, each until it has given its share of pages
 *          swap_out_process      from where the last scan ended
 *            try_to_swap_out     one entry:
 *
 *      entry                                1.0                        2.0.33
 *      reserved, locked vma or page         kept                       kept
 *      young                                old now, kept              old now, age + 3 (at most 20), kept
 *      dirty, copy in swap                  -                          copy dropped, as young
 *      old                                  goes                       age - 1; goes when it is 0
 *      dirty, of a shared file              -                          written to the file; entry none
 *      dirty, otherwise                     if its only user: swap     the same
 *      clean, copy in swap, only user       -                          entry names the slot again, no I/O
 *      clean                                entry none                 entry none; leaves the page cache if it was the last user
 *
 * Lock order: the mmap_lock of the task that reclaims (any way) > the victim's (only tried for) > pte lock > page lock (only tried for).
 *
 * Considered and rejected: the lists and the reverse map of later generations. What these kernels evict follows from the order of the tables.
 */
#include "mm/fault/linux_2_0.h"
#include "mm/fault/signals.h"

#define PG_AGE_SHIFT 24
#define PG_AGE (0x1fu << PG_AGE_SHIFT)

unsigned page_age(const struct page *page)
{
	return (page_flags(page) & PG_AGE) >> PG_AGE_SHIFT;
}

void set_page_age(struct page *page, unsigned age)
{
	unsigned flags = page_flags(page);

	while (!atomic_compare_exchange_weak(&page->flags, &flags, (flags & ~PG_AGE) | age << PG_AGE_SHIFT))
		;
}

static void touch_page(struct page *page)
{
	unsigned age = page_age(page) + PAGE_ADVANCE;

	set_page_age(page, age < MAX_PAGE_AGE ? age : MAX_PAGE_AGE);
}

static void age_page(struct page *page)
{
	unsigned age = page_age(page);

	set_page_age(page, age > PAGE_DECLINE ? age - PAGE_DECLINE : 0);
}

/* ---- one entry ------------------------------------------------------------------------------------------------------------- */

enum swapped { KEPT, DROPPED /* and others still use the frame */, FREED };

struct victim {
	struct mm_struct *mm;
	struct vm_area_struct *vma; /* NULL: none there */
	struct ptdesc *table;       /* locked */
	unsigned long addr;
	struct page *page;
	bool force; /* whatever its age: MADV_PAGEOUT */
};

/* A machine without a young bit sees the next use by a fault: the page waits at home. => false: it must stay where it is */
static void make_old(struct victim *v)
{
	pte_t *ptep = pte_of(v->table, v->addr);
	uint64_t stuck = 0, gone = 0;

	__atomic_fetch_and(&ptep->val, ~_PAGE_ACCESSED, __ATOMIC_ACQ_REL);
	if (mm_caps & MACHINE_YOUNG)
		return;
	machine_unmap(v->mm, v->addr, 1, page_to_pfn(v->page), &stuck, &gone);
	if (stuck || gone)
		__atomic_fetch_or(&ptep->val, _PAGE_ACCESSED, __ATOMIC_ACQ_REL);
}

/* => true: it stays for this time */
static bool recently_used(struct victim *v, pte_t pte)
{
	bool young = pte_young(pte);

	if (pte_dirty(pte) && page_in_swap_cache(v->page) && trylock_page(v->page)) {
		if (page_in_swap_cache(v->page)) {
			delete_from_swap_cache(v->page);
			young = true;
		}
		unlock_page(v->page);
	}
	if (v->force)
		return false;
	if (young) {
		make_old(v);
		if (page_cache_rule())
			touch_page(v->page);
		return true;
	}
	if (!page_cache_rule())
		return false;
	age_page(v->page);
	return page_age(v->page);
}

/* The entry names the page's slot from now on, and the frame is free. => page locked and in the swap cache; unlocked */
static enum swapped leave_slot(struct victim *v)
{
	struct page *page = v->page;
	swp_entry_t entry = page_swap_entry(page);

	if (pte_none(remove_page(v->mm, v->table, v->addr))) {
		delete_from_swap_cache(page);
		unlock_page(page);
		return KEPT;
	}
	swap_duplicate(entry, 1);
	set_pte(pte_of(v->table, v->addr), swp_entry_to_pte(entry));
	add_mm_counter(v->mm, MM_SWAPENTS, 1);
	delete_from_swap_cache(page);
	unlock_page(page);
	free_page(page);
	count(evicted, 1);
	return FREED;
}

static enum swapped write_to_swap(struct victim *v)
{
	pte_t *ptep = pte_of(v->table, v->addr), pte = ptep_get(ptep);
	struct page *page = v->page;
	int err;

	if (mem_map_count(page) != 1 || !nr_swap_slots || !trylock_page(page))
		return KEPT;
	if (!add_to_swap(page)) {
		unlock_page(page);
		return KEPT;
	}
	/* No store may change the bytes while they are written. */
	__atomic_fetch_and(&ptep->val, ~_PAGE_RW, __ATOMIC_ACQ_REL);
	if (pte_mapped(pte))
		machine_protect(v->mm, v->addr, 1, page_to_pfn(page), 0);
	err = swap_writepage(page);
	if (err < 0) {
		__atomic_fetch_or(&ptep->val, pte.val & _PAGE_RW, __ATOMIC_ACQ_REL);
		if (pte_mapped(pte))
			machine_protect(v->mm, v->addr, 1, page_to_pfn(page), pte_how(pte));
		delete_from_swap_cache(page);
		unlock_page(page);
		return KEPT;
	}
	count(swapped_out, 1);
	return leave_slot(v);
}

static enum swapped swap_again(struct victim *v)
{
	if (mem_map_count(v->page) != 1 || !trylock_page(v->page))
		return KEPT;
	if (!page_in_swap_cache(v->page)) {
		unlock_page(v->page);
		return KEPT;
	}
	count(clean_evictions, 1);
	return leave_slot(v);
}

/* A page of a shared mapping of a file. 2.0 has a special entry there while the page is written, for the faults that come meanwhile; here they wait
 * for mmap_lock. What could not be written is the task's SIGBUS; it stays dirty in the page cache. => pte lock held, released and held again */
static enum swapped filemap_swapout(struct victim *v)
{
	struct page *page = v->page;

	if (!trylock_page(page))
		return KEPT;
	if (pte_none(remove_page(v->mm, v->table, v->addr))) {
		unlock_page(page);
		return KEPT;
	}
	spin_unlock(&v->table->ptl);
	set_page_dirty(page);
	if (page_mapping(page) && clear_page_dirty_for_io(page) && write_one_page(page)) {
		trace_why("the page can't be written: SIGBUS", 0, 0);
		force_sig_fault(v->mm, v->addr, FAULT_FLAG_USER | FAULT_FLAG_WRITE, SIGBUS, 0);
	}
	unlock_page(page);
	spin_lock(&v->table->ptl);
	free_page(page);
	count(evicted, 1);
	return DROPPED;
}

static enum swapped drop_clean(struct victim *v)
{
	struct address_space *mapping = page_mapping(v->page);
	struct page *page = v->page;
	enum swapped ret = DROPPED;

	if (pte_none(remove_page(v->mm, v->table, v->addr)))
		return KEPT;
	count(evicted, 1);
	if (!mapping) {
		ret = mem_map_count(page) == 1 ? FREED : DROPPED;
	} else if (page_cache_rule() && trylock_page(page)) {
		if (page_mapping(page) == mapping && remove_mapping(mapping, page))
			ret = FREED;
		unlock_page(page);
	}
	free_page(page);
	return ret;
}

static enum swapped try_to_swap_out(struct victim *v)
{
	pte_t pte = ptep_get(pte_of(v->table, v->addr));
	bool shared_file;

	if (!pte_normal(pte))
		return KEPT;
	v->page = pfn_to_page(pte_pfn(pte));
	if (page_flags(v->page) & (PG_reserved | PG_locked) || (v->vma && v->vma->vm_flags & VM_LOCKED))
		return KEPT;
	trace_fn(try_to_swap_out, v->addr, pte.val, page_age(v->page));
	if (recently_used(v, pte))
		return KEPT;
	pte = ptep_get(pte_of(v->table, v->addr));
	shared_file = v->vma && v->vma->vm_flags & VM_SHARED && page_is_file(v->page);
	if (pte_dirty(pte))
		return shared_file ? filemap_swapout(v) : write_to_swap(v);
	if (page_in_swap_cache(v->page))
		return swap_again(v);
	return drop_clean(v);
}

/* ---- one process -------------------------------------------------------------------------------------------------------------- */

static enum swapped swap_out_table(struct victim *v, unsigned long *addr, unsigned long stop)
{
	for (; *addr < stop; *addr += PAGE_SIZE) {
		enum swapped done;

		if (!pte_normal(ptep_get(pte_of(v->table, *addr))))
			continue;
		v->addr = *addr;
		v->vma = vma_at(v->mm, *addr);
		spin_lock(&v->table->ptl);
		done = try_to_swap_out(v);
		spin_unlock(&v->table->ptl);
		if (done == FREED) {
			*addr += PAGE_SIZE;
			return FREED;
		}
	}
	return KEPT;
}

/* => mmap_lock held, either way; true: a frame is free, and the next scan goes on behind it */
static bool swap_out_process(struct mm_struct *mm)
{
	unsigned long addr = __atomic_load_n(&mm->swap_address, __ATOMIC_RELAXED);
	struct victim v = { .mm = mm };
	bool freed = false;

	trace_fn(swap_out_process, addr, 0, 0);
	while (!freed && addr < TASK_SIZE && (v.table = pte_table_next(mm, &addr, TASK_SIZE)))
		freed = swap_out_table(&v, &addr, pmd_addr_end(addr, TASK_SIZE)) == FREED;
	__atomic_store_n(&mm->swap_address, freed ? addr : 0, __ATOMIC_RELAXED);
	return freed;
}

/* ---- all of them ---------------------------------------------------------------------------------------------------------------- */

/* Whose turn it is. The pointer is compared, never followed: who has ended is not found any more, and the round begins anew. */
static _Atomic(struct mm_struct *) swap_task;

/* => with a reference; *nr: how many there are */
static struct mm_struct *find_swap_task(unsigned *nr)
{
	struct mm_struct *turn = atomic_load(&swap_task), *found = NULL, *mm;

	*nr = 0;
	for (mm = task_first(); mm; mm = task_next(mm)) {
		++*nr;
		if (!found || mm == turn) {
			if (found)
				task_put(found);
			atomic_fetch_add(&mm->mm_users, 1);
			found = mm;
		}
	}
	return found;
}

static void next_swap_task(struct mm_struct *mm)
{
	atomic_fetch_add(&mm->mm_users, 1);
	mm = task_next(mm);
	atomic_store(&swap_task, mm);
	if (mm)
		task_put(mm);
}

static unsigned long rss(struct mm_struct *mm)
{
	return get_mm_counter(mm, MM_ANONPAGES) + get_mm_counter(mm, MM_FILEPAGES);
}

/* => true: a frame is free. `current` has its mmap_lock held for writing */
static bool swap_out_one(struct mm_struct *mm, struct mm_struct *current)
{
	unsigned long left = __atomic_load_n(&mm->swap_cnt, __ATOMIC_RELAXED);
	bool freed = false;

	if (mm == current || task_trylock(mm)) {
		if (!left)
			left = max_ul(rss(mm) * 32 / 1024, 4);
		freed = swap_out_process(mm);
		if (mm != current)
			mmap_read_unlock(mm);
	}
	left = freed ? left - 1 : 0;
	__atomic_store_n(&mm->swap_cnt, left, __ATOMIC_RELAXED);
	if (!left)
		next_swap_task(mm);
	return freed;
}

static bool swap_out(unsigned priority, struct mm_struct *current)
{
	struct mm_struct *mm;
	unsigned nr;
	int counter = -1;
	bool freed = false;

	trace_fn(swap_out, priority, 0, 0);
	do {
		mm = find_swap_task(&nr);
		if (!mm)
			return false;
		if (counter < 0)
			counter = (page_cache_rule() ? 8 : 6) * nr >> priority;
		freed = swap_out_one(mm, current);
		task_put(mm);
	} while (!freed && counter-- > 0);
	return freed;
}

/* ---- the page cache --------------------------------------------------------------------------------------------------------------- */

static atomic_ulong clock_hand;

/* => true: the frame is free now */
static bool shrink_page(struct page *page)
{
	struct address_space *mapping;
	bool freed = false;

	if (!page_is_file(page) || page_count(page) != 1 || !get_page_unless_zero(page))
		return false;
	if (!trylock_page(page)) {
		free_page(page);
		return false;
	}
	mapping = page_mapping(page);
	if (mapping && page_count(page) == 2) {
		if (page_flags(page) & PG_referenced) {
			clear_page_flags(page, PG_referenced);
		} else {
			if (page_flags(page) & PG_dirty && clear_page_dirty_for_io(page))
				write_one_page(page);
			freed = remove_mapping(mapping, page);
		}
	}
	unlock_page(page);
	free_page(page);
	return freed;
}

static bool shrink_mmap(unsigned priority)
{
	unsigned long frames = fresh_frames(), look = frames >> priority;

	trace_fn(shrink_mmap, priority, look, 0);
	while (look--) {
		unsigned long pfn = atomic_fetch_add(&clock_hand, 1) % frames;

		if (shrink_page(pfn_to_page(pfn)))
			return true;
	}
	return false;
}

bool try_to_free_page(struct mm_struct *mm)
{
	trace_fn(try_to_free_pages, 1, 0, 0);
	for (int priority = page_cache_rule() ? 6 : 5; priority >= 0; priority--)
		if (shrink_mmap(priority) || swap_out(priority, mm))
			return true;
	return false;
}

unsigned long swap_try_to_free_pages(unsigned long nr)
{
	unsigned long freed = 0;

	while (freed < nr && try_to_free_page(NULL))
		freed++;
	return freed;
}

/* => mmap_lock held, either way. No kernel of this generation has the call; what it evicts goes the way of the others. */
unsigned long swap_pageout_range(struct mm_struct *mm, unsigned long addr, size_t len)
{
	unsigned long end = addr + len, freed = 0;
	struct victim v = { .mm = mm, .force = true };

	while (addr < end && (v.table = pte_table_next(mm, &addr, end))) {
		unsigned long stop = pmd_addr_end(addr, end);

		while (addr < stop)
			freed += swap_out_table(&v, &addr, stop) == FREED;
	}
	return freed;
}

/* => mmap_lock held, either way. As a load of each page would bring it in, and counted so, as long as that takes no frame from anybody: the
 * entries, lists and marks of later kernels' swap-in have no place here. */
unsigned long swap_swapin_range(struct mm_struct *mm, unsigned long addr, size_t len)
{
	unsigned long end = addr + len, brought = 0;
	struct ptdesc *table;

	while (addr < end && (table = pte_table_next(mm, &addr, end))) {
		unsigned long stop = pmd_addr_end(addr, end);

		for (; addr < stop; addr += PAGE_SIZE) {
			if (!is_swap_pte(ptep_get(pte_of(table, addr))))
				continue;
			if (nr_free_frames() <= nr_free_low())
				return brought;
			brought += !(fault_path->fault(mm, addr, 0) & VM_FAULT_ERROR);
		}
	}
	return brought;
}
