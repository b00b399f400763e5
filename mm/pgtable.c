/* SPDX-License-Identifier: MIT
 *
 * pgtable.c - making, finding and freeing page tables of any geometry.
 */
#include "mm/pgtable.h"

#include "mm/internal.h"

/* bits[]: pte, pmd, pud, p4d, pgd */
static const struct mm_geometry geometries[] = {
	{ "i386",     ARCH_I386,   { 10, 0, 0, 0, 10 }, 0xc0000000UL },
	{ "i386-pae", ARCH_I386_PAE, { 9, 9, 0, 0, 2 }, 0xc0000000UL },
	{ "arm",      ARCH_ARM,    {  9, 0, 0, 0, 11 }, 0xbf000000UL },
	{ "x86_64",   ARCH_X86_64, {  9, 9, 9, 0,  9 }, (1UL << 47) - PAGE_SIZE },
	{ "x86_64-5", ARCH_X86_64, {  9, 9, 9, 9,  9 }, (1UL << 56) - PAGE_SIZE },
	{ "sv39",     ARCH_RISCV,  {  9, 9, 0, 0,  9 }, 1UL << 38 },
	{ "sv48",     ARCH_RISCV,  {  9, 9, 9, 0,  9 }, 1UL << 47 },
	{ "process",  ARCH_X86_64, {  9, 6, 6, 7,  7 }, (1UL << 47) - PAGE_SIZE },
};

struct pt_layout pt;
unsigned mm_caps;

const struct mm_geometry *mm_geometry_find(const char *name)
{
	for (size_t i = 0; i < sizeof(geometries) / sizeof(geometries[0]); i++) {
		const char *a = geometries[i].name, *b = name;

		while (*a && *a == *b)
			a++, b++;
		if (*a == *b)
			return &geometries[i];
	}
	return NULL;
}

static enum pt_level level_above(enum pt_level level)
{
	do
		level++;
	while (!pt.bits[level]);
	return level;
}

void pgtable_init(const struct mm_geometry *geometry)
{
	unsigned shift = PAGE_SHIFT;

	if (!geometry)
		geometry = mm_geometry_find("x86_64");
	for (int level = PT_PTE; level < NR_PT_LEVELS; level++) {
		pt.bits[level] = geometry->bits[level];
		pt.shift[level] = shift;
		pt.mask[level] = (1u << geometry->bits[level]) - 1;
		shift += geometry->bits[level];
	}
	pt.pmd_level = level_above(PT_PTE);
	pt.pmd_shift = pt.shift[pt.pmd_level];
	pt.pmd_span = 1UL << (pt.pmd_shift + pt.bits[pt.pmd_level]);
	pt.task_size = geometry->task_size;
	pt.arch = geometry->arch;
	mm_caps = machine_caps();
}

static size_t table_size(enum pt_level level)
{
	return sizeof(pteval_t) << pt.bits[level];
}

static struct ptdesc *table_alloc(enum pt_level level)
{
	struct ptdesc *desc = kmem_cache_alloc(&ptdesc_cache);

	if (!desc)
		return NULL;
	desc->table = machine_alloc(table_size(level));
	if (!desc->table) {
		kmem_cache_free(&ptdesc_cache, desc);
		return NULL;
	}
	spin_lock_init(&desc->ptl, ORDER_PTE);
	desc->level = level;
	add_gauge(page_tables, table_size(level) / PAGE_SIZE);
	return desc;
}

static void table_free(struct ptdesc *desc)
{
	if (desc->reserved)
		return;
	add_gauge(page_tables, -(table_size(desc->level) / PAGE_SIZE));
	machine_free(desc->table, table_size(desc->level));
	kmem_cache_free(&ptdesc_cache, desc);
}

/* Allocates without a lock, then installs under page_table_lock, or frees when another was first (doc 0's get_empty_pgtable
 * has the same re-check). */
struct ptdesc *__pt_alloc(struct mm_struct *mm, struct ptdesc **entry, enum pt_level level)
{
	struct ptdesc *new = table_alloc(level), *old;

	if (!new)
		return NULL;
	spin_lock(&mm->page_table_lock);
	old = *entry;
	if (!old)
		__atomic_store_n(entry, new, __ATOMIC_RELEASE);
	spin_unlock(&mm->page_table_lock);
	if (!old)
		return new;
	table_free(new);
	return old;
}

struct ptdesc *pte_alloc_one(void)
{
	return table_alloc(PT_PTE);
}

void pte_free_one(struct ptdesc *table)
{
	table_free(table);
}

void pmd_install(struct mm_struct *mm, pmd_t *pmd, struct ptdesc **table)
{
	spin_lock(&mm->page_table_lock);
	if (!pmd->desc) {
		__atomic_store_n(&pmd->desc, *table, __ATOMIC_RELEASE);
		*table = NULL;
	}
	spin_unlock(&mm->page_table_lock);
}

/* The level of the tables that entries of `level` point to: the next one that is not folded. */
static enum pt_level level_below(enum pt_level level)
{
	do
		level--;
	while (!pt.bits[level]);
	return level;
}

static struct ptdesc **entry_of(const struct ptdesc *desc, unsigned long addr)
{
	return (struct ptdesc **)desc->table + pt_index(desc->level, addr);
}

struct ptdesc *pte_table(struct mm_struct *mm, unsigned long addr)
{
	struct ptdesc *desc = mm->pgd;

	while (desc && desc->level != PT_PTE)
		desc = desc_load(entry_of(desc, addr));
	return desc;
}

void pmd_remember(struct mm_struct *mm, unsigned long addr)
{
	struct ptdesc *desc = mm->pgd;

	while (desc && desc->level != pt.pmd_level)
		desc = desc_load(entry_of(desc, addr));
	if (!desc)
		return;
	__atomic_store_n(&desc->base, addr & -pt.pmd_span, __ATOMIC_RELAXED);
	atomic_store_explicit(&this_percpu(mm)->pmd_table, desc, memory_order_release);
}

struct ptdesc *pte_table_alloc(struct mm_struct *mm, unsigned long addr)
{
	struct ptdesc *desc = mm->pgd;

	while (desc && desc->level != PT_PTE)
		desc = pt_alloc(mm, entry_of(desc, addr), level_below(desc->level));
	return desc;
}

struct ptdesc *pte_table_next(struct mm_struct *mm, unsigned long *addr, unsigned long end)
{
	while (*addr < end) {
		struct ptdesc *desc = mm->pgd, *below;

		while ((below = desc_load(entry_of(desc, *addr)))) {
			desc = below;
			if (desc->level != PT_PTE)
				continue;
			if (!desc->reserved)
				return desc;
			break;
		}
		if (desc->level == PT_PTE) {
			*addr = pmd_addr_end(*addr, end);
			continue;
		}
		*addr = pt_addr_end(desc->level, *addr, end);
	}
	return NULL;
}

/* The topmost table stands for "none", because its base is above all addresses (unless it is the table of pmds itself). */
static void pmd_forget(struct mm_struct *mm)
{
	for_each_cpu(cpu)
		atomic_store_explicit(&mm->percpu[cpu].pmd_table, mm->pgd, memory_order_relaxed);
}

bool pgd_alloc(struct mm_struct *mm)
{
	mm->pgd = table_alloc(PT_PGD);
	if (!mm->pgd)
		return false;
	if (pt.pmd_level != PT_PGD)
		mm->pgd->base = 1UL << 63;
	pmd_forget(mm);
	return true;
}

static void free_subtree(struct ptdesc *desc)
{
	if (desc->level != PT_PTE) {
		struct ptdesc **entries = desc->table;

		for (unsigned i = 0; i <= pt.mask[desc->level]; i++)
			if (entries[i])
				free_subtree(entries[i]);
	}
	table_free(desc);
}

void pgd_free(struct mm_struct *mm)
{
	if (mm->pgd)
		free_subtree(mm->pgd);
	mm->pgd = NULL;
}

static void free_below(struct ptdesc *desc, unsigned long start, unsigned long end, unsigned long floor, unsigned long ceiling)
{
	unsigned long next;

	for (unsigned long addr = start; addr < end; addr = next) {
		struct ptdesc **entry = entry_of(desc, addr), *below = *entry;
		unsigned long first = addr >> pt.shift[desc->level] << pt.shift[desc->level];
		unsigned long size = 1UL << pt.shift[desc->level];

		next = pt_addr_end(desc->level, addr, end);
		if (!below)
			continue;
		if (first >= floor && first + size - 1 < ceiling) {
			__atomic_store_n(entry, NULL, __ATOMIC_RELAXED);
			free_subtree(below);
		} else if (below->level != PT_PTE) {
			free_below(below, addr, next, floor, ceiling);
		}
	}
}

void free_pgtables(struct mm_struct *mm, unsigned long start, unsigned long end, unsigned long floor, unsigned long ceiling)
{
	mmap_assert_write_locked(mm);
	pmd_forget(mm);
	free_below(mm->pgd, start, end, floor, ceiling);
}
