/* SPDX-License-Identifier: MIT
 *
 * linux_2_0_frames.c - generation linux-2.0: frames and the entries that name them, the reserved ones, out of memory, fork.
 *
 *      fork, an entry      1.0                                2.0.33
 *      none                skipped                            skipped
 *      swap                slot's count + 1, copied           the same
 *      reserved frame      copied, not counted                the same
 *      may be copied, W    read-only in both                  the same; the copy in swap is given up, and the page dirty; the child's is old
 *      otherwise           copied, frame's count + 1          the same; the child's is old
 *
 *      no frame            oom(): SIGKILL; BAD_PAGE stands in the entry, so that who is killed doesn't fault again
 *      no page table       oom(): SIGKILL; BAD_PAGETABLE, of which all entries are BAD_PAGE
 *
 * Lock order: mmap_lock (write) > page lock (tried) > pte lock, the child's after the parent's. mmlist_lock is a leaf.
 *
 * Considered and rejected: a struct page without mapcount, as these kernels have it. The invariants count entries, and would have nothing to
 * compare with.
 */
#define LATER_PUT_PAGE
#include "mm/fault/linux_2_0.h"
#include "mm/fault/signals.h"

unsigned long BAD_PAGE;
static struct ptdesc BAD_PAGETABLE;

/* BAD_PAGETABLE: every entry of it is BAD_PAGE. Its memory is the engine's until the next mm_init(). */
int frames_init(void)
{
	pteval_t *entries;

	BAD_PAGE = reserve_frame();
	if (BAD_PAGE == -1UL)
		return -EINVAL;
	entries = machine_alloc(sizeof(pteval_t) << pt.bits[PT_PTE]);
	if (!entries)
		return -ENOMEM;
	for (unsigned i = 0; i <= pt.mask[PT_PTE]; i++)
		entries[i] = pfn_pte(BAD_PAGE, _PAGE_RW | _PAGE_DIRTY | _PAGE_ACCESSED).val;
	BAD_PAGETABLE.table = entries;
	BAD_PAGETABLE.level = PT_PTE;
	BAD_PAGETABLE.reserved = true;
	spin_lock_init(&BAD_PAGETABLE.ptl, ORDER_PTE);
	return 0;
}

void bad_area_2_0(struct mm_struct *mm, unsigned long addr, vm_fault_t ret, unsigned flags)
{
	int sig = ret & VM_FAULT_OOM ? SIGKILL : ret & (VM_FAULT_SIGBUS | VM_FAULT_HWPOISON) ? SIGBUS : SIGSEGV;

	if (flags & FAULT_FLAG_USER)
		force_sig_fault(mm, addr, flags, sig, 0);
}

void counted_already(struct mm_struct *mm, vm_fault_t ret, unsigned flags)
{
	(void)mm;
	(void)ret;
	(void)flags;
}

bool lock_fault(struct mm_struct *mm, unsigned flags)
{
	if (!(flags & FAULT_FLAG_ALLOW_RETRY) || mmap_is_write_locked(mm))
		return false;
	mmap_read_unlock(mm);
	mmap_write_lock(mm);
	return true;
}

void lock_fault_done(struct mm_struct *mm, bool released)
{
	if (!released)
		return;
	mmap_write_unlock(mm);
	mmap_read_lock(mm);
}

/* ---- frames -------------------------------------------------------------------------------------------------------------- */

void free_page(struct page *page)
{
	put_page(page);
}

struct page *__get_free_page(struct mm_struct *mm)
{
	unsigned long pfn;
	unsigned got;

	while ((pfn = alloc_run(1, &got)) == -1UL)
		if (mm_is_quiet() || !try_to_free_page(mm))
			return NULL;
	set_page_age(pfn_to_page(pfn), PAGE_INITIAL_AGE);
	return pfn_to_page(pfn);
}

struct page *get_free_page(struct mm_struct *mm)
{
	struct page *page = __get_free_page(mm);

	if (page)
		memset(machine_frame(page_to_pfn(page)), 0, PAGE_SIZE);
	return page;
}

vm_fault_t oom(struct mm_struct *mm)
{
	trace_fn(oom, get_mm_counter(mm, MM_ANONPAGES), 0, 0);
	trace_why("no frame, and nothing to take one from: SIGKILL", 0, 0);
	return VM_FAULT_OOM;
}

/* ---- entries ------------------------------------------------------------------------------------------------------------- */

/* What an entry says in these kernels, asked of the mapping instead: no search of theirs, so not find_vma(), which would be traced. */
struct vm_area_struct *vma_at(struct mm_struct *mm, unsigned long addr)
{
	struct tree_node *node = mm->mm_rb.node;

	while (node) {
		struct vm_area_struct *vma = vma_of(node);

		if (addr >= vma->vm_start && addr < vma->vm_end)
			return vma;
		node = addr < vma->vm_start ? node->left : node->right;
	}
	return NULL;
}

pteval_t page_prot(struct mm_struct *mm, unsigned long addr)
{
	struct vm_area_struct *vma = vma_at(mm, addr);

	return vma ? vma_prot(vma) : _PAGE_RW;
}

/* mprotect: page_prot of a private mapping has no W, so that the next store to a page that was written to before faults again. */
pte_t pte_modify_2_0(const struct vm_area_struct *vma, pte_t pte)
{
	pteval_t prot = vma_prot(vma);

	if (!(vma->vm_flags & VM_SHARED) || pte_special(pte))
		prot &= ~_PAGE_RW;
	return pte_set(pte_clear(pte, _PAGE_RW | _PAGE_PROTNONE), prot);
}

bool pte_cow(struct mm_struct *mm, unsigned long addr)
{
	struct vm_area_struct *vma = vma_at(mm, addr);

	return !vma || (vma->vm_flags & (VM_WRITE | VM_SHARED)) == VM_WRITE;
}

static vm_fault_t map_error(int done)
{
	return done == -ENOMEM ? VM_FAULT_OOM : VM_FAULT_NOPAGE;
}

vm_fault_t install_page(struct task_fault *f, struct page *page, pteval_t flags)
{
	pte_t pte = pfn_pte(page_to_pfn(page), flags | _PAGE_ACCESSED), *ptep = pte_of(f->table, f->address);
	int done;

	set_pte(ptep, pte);
	trace_leaf(set_pte_at, f->address, 1, page_to_pfn(page));
	done = map_run(f->mm, f->address, 1, page_to_pfn(page), pte_how(pte));
	if (done != 1) {
		set_pte(ptep, (pte_t){ 0 });
		return map_error(done);
	}
	atomic_fetch_add_explicit(&page->_mapcount, 1, memory_order_acq_rel);
	add_mm_counter(f->mm, mm_counter(page), 1);
	f->installed = true;
	return 0;
}

pte_t remove_page(struct mm_struct *mm, struct ptdesc *table, unsigned long addr)
{
	pte_t *ptep = pte_of(table, addr), pte = ptep_get_and_clear(ptep);
	struct page *page = pfn_to_page(pte_pfn(pte));
	uint64_t stuck = 0, gone = 0;

	if (pte_special(pte) || page_reserved(page)) {
		machine_discard(mm, addr, 1, pte_special(pte) ? 0 : pte_pfn(pte));
		return pte;
	}
	if (pte_mapped(pte)) {
		machine_unmap(mm, addr, 1, pte_pfn(pte), &stuck, &gone);
		if (stuck) {
			set_pte(ptep, pte);
			return (pte_t){ 0 };
		}
		machine_release(mm, &(struct machine_range){ addr, pte_pfn(pte), 1 }, 1);
	}
	page_remove_rmap(page);
	add_mm_counter(mm, mm_counter(page), -1);
	return pte;
}

vm_fault_t replace_page(struct task_fault *f, struct page *page, pteval_t flags)
{
	pte_t old = remove_page(f->mm, f->table, f->address);

	if (pte_none(old))
		return VM_FAULT_NOPAGE; /* pinned where it is */
	if (!pte_special(old) && !page_reserved(pfn_to_page(pte_pfn(old))))
		put_page(pfn_to_page(pte_pfn(old)));
	return install_page(f, page, flags);
}

void clear_entry(struct task_fault *f)
{
	pte_t *ptep = pte_of(f->table, f->address), pte = ptep_get(ptep);

	if (pte_present(pte)) {
		pte = remove_page(f->mm, f->table, f->address);
		if (pte_normal(pte) && !page_reserved(pfn_to_page(pte_pfn(pte))))
			put_page(pfn_to_page(pte_pfn(pte)));
		return;
	}
	set_pte(ptep, (pte_t){ 0 });
	if (is_swap_pte(pte)) {
		add_mm_counter(f->mm, MM_SWAPENTS, -1);
		swap_free(pte_to_swp_entry(pte));
	}
}

/* One read at a time: two tasks may want the same slot. */
static struct rw_semaphore swap_read;

int read_swap_page(swp_entry_t entry, struct page *page)
{
	int err;

	down_write(&swap_read);
	page->private = entry.val;
	err = swap_readpage(page);
	page->private = 0;
	up_write(&swap_read);
	if (!err)
		count(swapped_in, 1);
	return err;
}

uint32_t linux_2_0_hw_entry(pte_t pte)
{
	return (uint32_t)pte_to_swp_entry(pte).val << (page_cache_rule() ? 8 : 12);
}

void install_bad_page(struct task_fault *f)
{
	memset(machine_frame(BAD_PAGE), 0, PAGE_SIZE);
	set_pte(pte_of(f->table, f->address),
		pfn_pte(BAD_PAGE, page_prot(f->mm, f->address) | _PAGE_DIRTY | _PAGE_ACCESSED));
	map_run(f->mm, f->address, 1, BAD_PAGE, MACHINE_MAP_WRITE);
}

/* A page that is written to in place is no copy of its slot any more. That alone would show at the next look of the scan (its entry is
 * dirty); but another task's entry may still name the slot. */
static void leave_shared_slot(struct page *page)
{
	if (!page_in_swap_cache(page) || !trylock_page(page))
		return;
	if (page_in_swap_cache(page) && swap_count(page_swap_entry(page)))
		delete_from_swap_cache(page);
	unlock_page(page);
}

void make_writable(struct task_fault *f)
{
	pte_t *ptep = pte_of(f->table, f->address);
	pte_t old = { __atomic_fetch_or(&ptep->val, _PAGE_RW | _PAGE_DIRTY | _PAGE_ACCESSED, __ATOMIC_ACQ_REL) };

	leave_shared_slot(pfn_to_page(pte_pfn(old)));
	if (pte_mapped(old))
		machine_protect(f->mm, f->address, 1, pte_pfn(old), MACHINE_MAP_WRITE);
	else
		map_run(f->mm, f->address, 1, pte_pfn(old), MACHINE_MAP_WRITE);
	count(cow_reuse, 1);
}

bool touch_entry(struct task_fault *f)
{
	struct ptdesc *table = pte_table(f->mm, f->address);
	pte_t *ptep, old, new;

	if (!table)
		return false;
	ptep = pte_of(table, f->address);
	spin_lock(&table->ptl);
	old = ptep_get(ptep);
	if (!pte_present(old) || old.val & _PAGE_PROTNONE || (f->flags & FAULT_FLAG_WRITE && !pte_write(old))) {
		spin_unlock(&table->ptl);
		return false;
	}
	new = pte_set(old, _PAGE_ACCESSED | (f->flags & FAULT_FLAG_WRITE ? _PAGE_DIRTY : 0));
	trace(pte_young, f->address, old.val, new.val);
	if (!pte_same(old, new)) {
		__atomic_fetch_or(&ptep->val, new.val & (_PAGE_ACCESSED | _PAGE_DIRTY), __ATOMIC_ACQ_REL);
		if (pte_special(old))
			map_run(f->mm, f->address, 1, 0, MACHINE_MAP_SHARED_ZERO);
		else if (!pte_mapped(old))
			map_run(f->mm, f->address, 1, pte_pfn(old), pte_how(new));
		else
			machine_protect(f->mm, f->address, 1, pte_pfn(old), pte_how(new));
		min_flt(f->mm); /* these bits are set by faults here: they are seen in the count */
	}
	spin_unlock(&table->ptl);
	return true;
}

/* ---- page tables ----------------------------------------------------------------------------------------------------------- */

/* pde := BAD_PAGETABLE. Where a level above is missing too there is no place for it. */
static void install_bad_pagetable(struct mm_struct *mm, unsigned long addr)
{
	struct ptdesc *desc = mm->pgd, **entry;

	for (;;) {
		unsigned below = desc->level;

		entry = (struct ptdesc **)desc->table + pt_index(desc->level, addr);
		do
			below--;
		while (!pt.bits[below]);
		if (below == PT_PTE)
			break;
		desc = desc_load(entry);
		if (!desc)
			return;
	}
	memset(machine_frame(BAD_PAGE), 0, PAGE_SIZE);
	spin_lock(&mm->page_table_lock);
	if (!*entry)
		__atomic_store_n(entry, &BAD_PAGETABLE, __ATOMIC_RELEASE);
	spin_unlock(&mm->page_table_lock);
	map_run(mm, addr, 1, BAD_PAGE, MACHINE_MAP_WRITE);
}

vm_fault_t no_page_table(struct task_fault *f)
{
	vm_fault_t ret = oom(f->mm);

	install_bad_pagetable(f->mm, f->address);
	return ret;
}

/* Another may fill the directory's entry while a table is got: pte_table_alloc() looks again before it installs its own. */
bool get_empty_pgtable(struct task_fault *f)
{
	trace_fn(get_empty_pgtable, f->address, 0, 0);
	f->table = pte_table(f->mm, f->address);
	if (f->table) {
		trace_why("the directory has a table", 0, 0);
		return true;
	}
	f->table = pte_table_alloc(f->mm, f->address);
	if (f->table)
		return true;
	no_page_table(f);
	return false;
}

/* ---- fork (1.10) ----------------------------------------------------------------------------------------------------------- */

static pte_t copy_present(struct mm_struct *dst, struct mm_struct *src, pte_t *src_pte, unsigned long addr, pte_t pte)
{
	struct page *page = pfn_to_page(pte_pfn(pte));

	if (pte_write(pte) && pte_cow(src, addr)) {
		__atomic_fetch_and(&src_pte->val, ~_PAGE_RW, __ATOMIC_ACQ_REL);
		if (pte_mapped(pte))
			machine_protect(src, addr, 1, pte_pfn(pte), 0);
		pte = ptep_get(src_pte); /* with the last store's dirty bit */
	}
	if (page_cache_rule()) {
		if (page_in_swap_cache(page) && trylock_page(page)) {
			if (page_in_swap_cache(page)) {
				delete_from_swap_cache(page);
				pte = (pte_t){ __atomic_or_fetch(&src_pte->val, _PAGE_DIRTY, __ATOMIC_ACQ_REL) };
			}
			unlock_page(page);
		}
		pte = pte_clear(pte, _PAGE_ACCESSED);
	}
	get_page(page);
	atomic_fetch_add_explicit(&page->_mapcount, 1, memory_order_acq_rel);
	add_mm_counter(dst, mm_counter(page), 1);
	return pte;
}

/* => both tables locked */
static void copy_one_pte(struct mm_struct *dst, struct mm_struct *src, pte_t *dst_pte, pte_t *src_pte, unsigned long addr)
{
	pte_t pte = ptep_get(src_pte);

	if (is_swap_pte(pte)) {
		swap_duplicate(pte_to_swp_entry(pte), 1);
		add_mm_counter(dst, MM_SWAPENTS, 1);
		set_pte(dst_pte, pte);
		return;
	}
	if (pte_normal(pte) && !page_reserved(pfn_to_page(pte_pfn(pte))))
		pte = copy_present(dst, src, src_pte, addr, pte);
	set_pte(dst_pte, pte);
	if (!pte_mapped(pte))
		return;
	map_run(dst, addr, 1, pte_special(pte) ? 0 : pte_pfn(pte), pte_special(pte) ? MACHINE_MAP_SHARED_ZERO : pte_how(pte));
}

/* => 0, -ENOMEM (dst is to be thrown away) */
static int copy_range(struct mm_struct *dst, struct mm_struct *src, unsigned long addr, unsigned long end)
{
	struct ptdesc *from, *to;

	while (addr < end && (from = pte_table_next(src, &addr, end))) {
		unsigned long stop = pmd_addr_end(addr, end);

		for (to = NULL; addr < stop; addr += PAGE_SIZE) {
			if (pte_none(ptep_get(pte_of(from, addr))))
				continue;
			if (!to && !(to = pte_table_alloc(dst, addr)))
				return -ENOMEM;
			spin_lock(&from->ptl);
			spin_lock_nested(&to->ptl);
			copy_one_pte(dst, src, pte_of(to, addr), pte_of(from, addr), addr);
			spin_unlock_nested(&to->ptl);
			spin_unlock(&from->ptl);
		}
	}
	return 0;
}

/* No vma is left out, whatever was done to it (2.6 and later leave out what faults can bring again). */
int copy_page_tables(struct vm_area_struct *dst, struct vm_area_struct *src)
{
	trace_fn(copy_page_tables, src->vm_start, src->vm_end, 0);
	return copy_range(dst->vm_mm, src->vm_mm, src->vm_start, src->vm_end);
}

/* What stands between the mappings, and what the copy of the task structure brings: rss counts what it counted wrongly too. */
int copy_bare_pages(struct mm_struct *dst, struct mm_struct *src)
{
	unsigned long at = 0;
	int err = 0;

	dst->end_data = src->end_data;
	dst->brk = src->brk;
	add_mm_counter(dst, MM_MISCOUNTED, get_mm_counter(src, MM_MISCOUNTED)); /* dst is new */
	if (!fault_path->bare_pages)
		return 0;
	for (struct vm_area_struct *vma = vma_first(src); vma && !err; vma = vma_next(src, vma)) {
		err = copy_range(dst, src, at, vma->vm_start);
		at = vma->vm_end;
	}
	return err ? err : copy_range(dst, src, at, TASK_SIZE);
}

/* ---- the other tasks --------------------------------------------------------------------------------------------------------- */

/* => mmlist_lock held */
static struct mm_struct *first_alive(struct mm_struct *mm)
{
	for (; mm; mm = mm->next) {
		unsigned users = atomic_load(&mm->mm_users);

		while (users)
			if (atomic_compare_exchange_weak(&mm->mm_users, &users, users + 1))
				return mm;
	}
	return NULL;
}

struct mm_struct *task_first(void)
{
	struct mm_struct *mm;

	spin_lock(&mmlist_lock);
	mm = first_alive(mmlist);
	spin_unlock(&mmlist_lock);
	return mm;
}

struct mm_struct *task_next(struct mm_struct *mm)
{
	struct mm_struct *next;

	spin_lock(&mmlist_lock);
	next = first_alive(mm->next);
	spin_unlock(&mmlist_lock);
	mmput(mm);
	return next;
}

void task_put(struct mm_struct *mm)
{
	mmput(mm);
}

bool task_trylock(struct mm_struct *mm)
{
	return mmap_read_trylock(mm);
}
