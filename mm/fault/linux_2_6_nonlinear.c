/* SPDX-License-Identifier: MIT
 *
 * linux_2_6_nonlinear.c - mappings in which the entries say which page of the file belongs where (remap_file_pages).
 *
 *      linear       page at addr = vm_pgoff + (addr - vm_start) / P      the vma stands in the file's interval tree: the page's entries are
 *                                                                        computed
 *      nonlinear    page at addr = what the entry says: the page itself  the vma stands on the file's list: the page's entries are anywhere
 *                   while it is present, its offset while it is absent
 *
 *      absent entry as the hardware's table has it ("bit 0 clear" is all that the hardware asks for)
 *              31                         8 7 6 5     1 0
 *      i386   | pgoff 28..5, or swap offset |0|F|pgoff 4..0, or swap type|0|       F: a file's
 *              31                9 8       2 1 0
 *      PAE    | pgoff 31..0, or swap offset and type | low word: F bit 6 |
 *      ARM    | pgoff 29..0: from bit 2  |F|0|      swap: offset from 9, type 2..8, F clear
 *      x86-64 | pgoff or swap offset from bit 12, F bit 6, swap type 1..5
 *
 * The engine's entries have 64 bits everywhere: a 32-bit one stands in the upper half, and _PAGE_FILE in the lower.
 *
 * Lock order: mmap_lock (write for remap_file_pages) > page lock > i_mmap_lock > pte lock. The list of nonlinear vmas and their cursors are
 * i_mmap_lock's.
 *
 * Considered and rejected: a page that remembers where its entries are. Reclaim would take the right ones, and no longer what 2.6.24 takes.
 *
 * Nobody can find the entries of one page: reclaim walks all nonlinear vmas of the file, cluster after cluster, and unmaps what it meets.
 */
#include "mm/fault/linux_2_6.h"

/* ---- encodings (2.4) ------------------------------------------------------------------------------------------------------- */

#define I386_FILE   (1u << 6)
#define ARM_FILE    (1u << 1)
#define X86_64_FILE (1ul << 6)

unsigned pte_file_max_bits(void)
{
	switch (pt.arch) {
	case ARCH_I386: return 29;
	case ARCH_I386_PAE: return 32;
	case ARCH_ARM: return 30;
	default: return 34; /* bits 12..45 */
	}
}

static uint32_t i386_file_word(unsigned long pgoff)
{
	return (pgoff & 31) << 1 | pgoff >> 5 << 8 | I386_FILE;
}

static uint32_t arm_file_word(unsigned long pgoff)
{
	return pgoff << 2 | ARM_FILE;
}

pte_t pgoff_to_pte(unsigned long pgoff)
{
	MM_DEBUG_ON(pgoff >> pte_file_max_bits());
	switch (pt.arch) {
	case ARCH_I386: return (pte_t){ (pteval_t)i386_file_word(pgoff) << 32 | _PAGE_FILE };
	case ARCH_I386_PAE: return (pte_t){ (pteval_t)pgoff << 32 | _PAGE_FILE };
	case ARCH_ARM: return (pte_t){ (pteval_t)arm_file_word(pgoff) << 32 | _PAGE_FILE };
	default: return (pte_t){ (pteval_t)pgoff << PAGE_SHIFT | _PAGE_FILE };
	}
}

unsigned long pte_to_pgoff(pte_t pte)
{
	uint32_t word = pte.val >> 32;

	switch (pt.arch) {
	case ARCH_I386: return (word >> 1 & 31) | (unsigned long)(word >> 8) << 5;
	case ARCH_I386_PAE: return word;
	case ARCH_ARM: return word >> 2;
	default: return pte.val >> PAGE_SHIFT;
	}
}

static uint64_t hw_file_entry(unsigned long pgoff)
{
	switch (pt.arch) {
	case ARCH_I386: return i386_file_word(pgoff);
	case ARCH_I386_PAE: return (uint64_t)pgoff << 32 | I386_FILE;
	case ARCH_ARM: return arm_file_word(pgoff);
	default: return pgoff << PAGE_SHIFT | X86_64_FILE;
	}
}

/* There is one swap area, of type 0. PAE: the whole of it in the high word, the type in five bits below the offset. */
static uint64_t hw_swap_entry(unsigned long offset)
{
	switch (pt.arch) {
	case ARCH_I386: return offset << 8;
	case ARCH_I386_PAE: return (uint64_t)offset << 5 << 32;
	case ARCH_ARM: return offset << 9;
	default: return offset << PAGE_SHIFT;
	}
}

uint64_t linux_2_6_hw_entry(pte_t pte)
{
	if (pte_file(pte))
		return hw_file_entry(pte_to_pgoff(pte));
	return is_swap_pte(pte) ? hw_swap_entry(pte_to_swp_entry(pte).val) : pte.val;
}

/* ---- remap_file_pages ------------------------------------------------------------------------------------------------------ */

bool vma_can_nonlinear(const struct vm_area_struct *vma)
{
	return vma->vm_file && (vma->vm_ops == &linux_2_6_file_vm_ops || vma->vm_ops == &shmem_vm_ops);
}

/* A page of a file leaves its entry, for `new`: nothing, or its offset. => pte lock held */
static void zap_file_page(struct vm_area_struct *vma, unsigned long addr, pte_t *ptep, struct page *page, pte_t new)
{
	struct mm_struct *mm = vma->vm_mm;
	pte_t pte = (pte_t){ __atomic_exchange_n(&ptep->val, new.val, __ATOMIC_ACQ_REL) };

	if (pte_mapped(pte))
		machine_discard(mm, addr, 1, page_to_pfn(page));
	if (pte_dirty(pte))
		set_page_dirty(page);
	add_mm_counter(mm, mm_counter_file(page), -1);
	page_remove_rmap(page);
	put_page(page);
}

/* => true: the page was used since the last look; it is old now. pte lock held */
static bool ptep_clear_flush_young(struct vm_area_struct *vma, unsigned long addr, pte_t *ptep)
{
	uint64_t stuck = 0, gone = 0;

	if (!pte_young(ptep_get(ptep)))
		return false;
	__atomic_fetch_and(&ptep->val, ~_PAGE_ACCESSED, __ATOMIC_ACQ_REL);
	/* Where nobody sets the bit only a fault tells of the next use. */
	if (!(mm_caps & MACHINE_YOUNG))
		machine_unmap(vma->vm_mm, addr, 1, pte_pfn(ptep_get(ptep)), &stuck, &gone);
	if (stuck)
		__atomic_fetch_or(&ptep->val, _PAGE_ACCESSED, __ATOMIC_ACQ_REL);
	return true;
}

/* What stands there goes; `pgoff` is all that is left. => 0, -ENOMEM: no table */
static int install_file_pte(struct vm_area_struct *vma, unsigned long addr, unsigned long pgoff)
{
	struct ptdesc *table = pte_table_alloc(vma->vm_mm, addr);
	pte_t *ptep, pte, new = pgoff_to_pte(pgoff);

	trace_leaf(install_file_pte, addr, pgoff, linux_2_6_hw_entry(new));
	if (!table)
		return -ENOMEM;
	spin_lock(&table->ptl);
	ptep = pte_offset(table, addr);
	pte = ptep_get(ptep);
	if (pte_normal(pte))
		zap_file_page(vma, addr, ptep, pfn_to_page(pte_pfn(pte)), new);
	else
		set_pte(ptep, new);
	spin_unlock(&table->ptl);
	return 0;
}

static int populate_range(struct vm_area_struct *vma, unsigned long addr, unsigned long len, unsigned long pgoff)
{
	int err = 0;

	trace_fn(populate_range, addr, len, pgoff);
	for (unsigned long end = addr + len; addr < end && !err; addr += PAGE_SIZE)
		err = install_file_pte(vma, addr, pgoff++);
	return err;
}

/* What the program could ask for by faults; for a store where it may store. Each fault counts. => mmap_lock held, either way */
static void make_pages_present(struct vm_area_struct *vma, unsigned long addr, unsigned long end)
{
	bool write = vma->vm_flags & VM_WRITE;

	for (; addr < end; addr += PAGE_SIZE) {
		for (;;) {
			struct ptdesc *table = pte_table(vma->vm_mm, addr);
			pte_t pte = table ? ptep_get(pte_offset(table, addr)) : (pte_t){ 0 };
			vm_fault_t ret;

			if (pte_present(pte) && (!write || pte_write(pte)))
				break;
			ret = linux_2_6_handle_mm_fault(vma->vm_mm, vma, addr, write);
			linux_2_6_account(vma->vm_mm, ret, 0);
			if (ret & VM_FAULT_ERROR)
				return;
		}
	}
}

/* From now on the entries say what stands where. */
static void make_nonlinear(struct vm_area_struct *vma)
{
	struct address_space *mapping = vma->vm_file->f_mapping;

	spin_lock(&mapping->i_mmap_lock);
	vma_interval_tree_remove(vma);
	__atomic_store_n(&vma->vm_flags, vma->vm_flags | VM_NONLINEAR, __ATOMIC_RELAXED);
	vma->nonlinear_cursor = 0;
	vma_interval_tree_insert(vma); /* puts it on the list now */
	spin_unlock(&mapping->i_mmap_lock);
}

/* A nonlinear vma's dirty pages could not be found for cleaning; so a file that counts them gets a linear vma of its own there. */
static int remap_linear(struct mm_struct *mm, struct vm_area_struct *vma, unsigned long addr, unsigned long len, unsigned long pgoff)
{
	struct file *file = get_file(vma->vm_file); /* the vma may go */
	int err;

	trace_why("the file counts its dirty pages: a linear mapping instead", 0, 0);
	err = mmap_region_file(mm, addr, len, vma->vm_flags, file, pgoff);
	fput(file);
	return err;
}

static bool remap_range_is_good(const struct vm_area_struct *vma, unsigned long addr, unsigned long len)
{
	return vma && vma->vm_flags & VM_SHARED && vma_can_nonlinear(vma) && addr >= vma->vm_start && addr + len <= vma->vm_end;
}

/* => mmap_lock held for writing */
int linux_2_6_remap_file_pages(struct mm_struct *mm, unsigned long addr, size_t len, unsigned long pgoff, unsigned prot, bool nonblock)
{
	struct vm_area_struct *vma;
	int err;

	trace_fn(remap_file_pages, addr, len, pgoff);
	mmap_assert_write_locked(mm);
	addr &= PAGE_MASK;
	len &= PAGE_MASK;
	if (prot || addr + len <= addr || pgoff + (len >> PAGE_SHIFT) < pgoff || (pgoff + (len >> PAGE_SHIFT)) >> pte_file_max_bits())
		return -EINVAL;
	vma = find_vma(mm, addr);
	if (!remap_range_is_good(vma, addr, len))
		return -EINVAL;
	if (!(vma->vm_flags & VM_NONLINEAR)) {
		if (pgoff == linear_page_index(vma, addr)) {
			trace_why("the pages are where they belong already", 0, 0);
			return 0;
		}
		if (vma->vm_file->f_mapping->flags & MAPPING_NOTIFY) {
			err = remap_linear(mm, vma, addr, len, pgoff);
			vma = err ? NULL : find_vma(mm, addr);
			if (!err && !nonblock)
				make_pages_present(vma, addr, addr + len);
			return err;
		}
		make_nonlinear(vma);
	}
	err = populate_range(vma, addr, len, pgoff);
	if (!err && !nonblock)
		make_pages_present(vma, addr, addr + len);
	return err;
}

/* ---- zap ------------------------------------------------------------------------------------------------------------------- */

/* Pages [first, last] of the file leave the entries of [start, end); where the position isn't the linear one, their offset stays behind, and
 * what has left before keeps its offset too: the mapping is the same afterwards. => mmap_lock or i_mmap_lock held */
void zap_nonlinear_range(struct vm_area_struct *vma, unsigned long start, unsigned long end, unsigned long first, unsigned long last)
{
	struct ptdesc *table;

	trace_fn(zap_pte_range, start, end, first);
	while ((table = pte_table_next(vma->vm_mm, &start, end))) {
		unsigned long stop = pmd_addr_end(start, end);

		spin_lock(&table->ptl);
		for (; start < stop; start += PAGE_SIZE) {
			pte_t *ptep = pte_offset(table, start), pte = ptep_get(ptep), new = { 0 };
			struct page *page;

			if (!pte_normal(pte))
				continue;
			page = pfn_to_page(pte_pfn(pte));
			if (page->index < first || page->index > last)
				continue;
			if (page->index != linear_page_index(vma, start))
				new = pgoff_to_pte(page->index);
			if (pte_young(pte))
				set_page_flags(page, PG_referenced);
			zap_file_page(vma, start, ptep, page, new);
		}
		spin_unlock(&table->ptl);
	}
}

/* Truncation. => no lock from i_mmap_lock on held; pages [first, last] */
void unmap_mapping_nonlinear(struct address_space *mapping, unsigned long first, unsigned long last)
{
	spin_lock(&mapping->i_mmap_lock);
	for (struct vm_area_struct *vma = mapping->i_mmap_nonlinear; vma; vma = vma->nonlinear_next)
		zap_nonlinear_range(vma, vma->vm_start, vma->vm_end, first, last);
	spin_unlock(&mapping->i_mmap_lock);
}

/* ---- reclaim (4.3) --------------------------------------------------------------------------------------------------------- */

#define CLUSTER_SIZE (32 * PAGE_SIZE)

/* One cluster: what was used since the last visit stays, and is old from now on; the rest goes. *mapcount is how much is still to do.
 * => i_mmap_lock held */
static void try_to_unmap_cluster(struct vm_area_struct *vma, unsigned long cursor, long *mapcount)
{
	unsigned long addr = (vma->vm_start + cursor) & ~(CLUSTER_SIZE - 1), end = addr + CLUSTER_SIZE;
	struct ptdesc *table;

	trace_fn(try_to_unmap_cluster, vma->vm_start, cursor, *mapcount);
	addr = max_ul(addr, vma->vm_start);
	end = min_ul(end, vma->vm_end);
	table = pte_table(vma->vm_mm, addr); /* a cluster lies in one */
	if (!table)
		return;
	spin_lock(&table->ptl);
	for (; addr < end; addr += PAGE_SIZE) {
		pte_t *ptep = pte_offset(table, addr), pte = ptep_get(ptep), new = { 0 };
		struct page *page;

		if (!pte_normal(pte))
			continue;
		page = pfn_to_page(pte_pfn(pte));
		if (ptep_clear_flush_young(vma, addr, ptep))
			continue;
		if (page->index != linear_page_index(vma, addr))
			new = pgoff_to_pte(page->index);
		zap_file_page(vma, addr, ptep, page, new);
		--*mapcount;
	}
	spin_unlock(&table->ptl);
}

struct nonlinear_walk {
	unsigned long max_cursor, max_size; /* how far the farthest of them has come; the largest */
};

static void nonlinear_bounds(const struct address_space *mapping, struct nonlinear_walk *w)
{
	w->max_cursor = w->max_size = 0;
	for (const struct vm_area_struct *vma = mapping->i_mmap_nonlinear; vma; vma = vma->nonlinear_next) {
		if (vma->vm_flags & VM_LOCKED)
			continue;
		w->max_cursor = max_ul(w->max_cursor, vma->nonlinear_cursor);
		w->max_size = max_ul(w->max_size, vma->vm_end - vma->vm_start);
	}
	w->max_size = (w->max_size + CLUSTER_SIZE - 1) & ~(CLUSTER_SIZE - 1);
	if (!w->max_cursor)
		w->max_cursor = CLUSTER_SIZE;
}

/* Up to the common cursor. => true: enough has been unmapped */
static bool nonlinear_round(struct address_space *mapping, unsigned long max_cursor, long *mapcount)
{
	for (struct vm_area_struct *vma = mapping->i_mmap_nonlinear; vma; vma = vma->nonlinear_next) {
		if (vma->vm_flags & VM_LOCKED)
			continue;
		for (unsigned long cursor = vma->nonlinear_cursor; cursor < max_cursor && cursor < vma->vm_end - vma->vm_start;) {
			try_to_unmap_cluster(vma, cursor, mapcount);
			cursor += CLUSTER_SIZE;
			vma->nonlinear_cursor = cursor;
			if (*mapcount <= 0)
				return true;
		}
		vma->nonlinear_cursor = max_cursor;
	}
	return false;
}

/* The page's own entries are not searched for. Its map count says how many entries of whatever pages to take.
 * => page locked; i_mmap_lock not held. false: all such vmas are locked (SWAP_FAIL) */
bool try_to_unmap_nonlinear(struct address_space *mapping, struct page *page)
{
	long mapcount = page_mapcount(page);
	struct nonlinear_walk w;
	bool done = false;

	if (!mapping->i_mmap_nonlinear || !mapcount)
		return true;
	spin_lock(&mapping->i_mmap_lock);
	nonlinear_bounds(mapping, &w);
	if (!w.max_size) {
		spin_unlock(&mapping->i_mmap_lock);
		return false;
	}
	do {
		done = nonlinear_round(mapping, w.max_cursor, &mapcount);
		w.max_cursor += CLUSTER_SIZE;
	} while (!done && w.max_cursor <= w.max_size);
	/* Once round and still not enough: all begin anew, who had fallen behind too. */
	for (struct vm_area_struct *vma = mapping->i_mmap_nonlinear; vma && !done; vma = vma->nonlinear_next)
		if (!(vma->vm_flags & VM_LOCKED))
			vma->nonlinear_cursor = 0;
	spin_unlock(&mapping->i_mmap_lock);
	return true;
}
