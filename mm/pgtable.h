/* SPDX-License-Identifier: MIT
 *
 * pgtable.h - page tables: radix tables of two to five levels, by a table of geometries.
 *
 *                pgd     p4d    pud    pmd    pte     page
 *   i386         10      -      -      -      10      12
 *   i386-pae      2      -      -      9       9      12
 *   arm          11      -      -      -       9      12     (Linux's view: 2048 pairs of section entries, 512 entries each)
 *   x86_64        9      -      9      9       9      12
 *   x86_64-5      9      9      9      9       9      12
 *   sv39          9      -      -      9       9      12
 *   sv48          9      -      9      9       9      12
 *   process       7      7      6      6       9      12     (no hardware's: that of `minflt run`, whose programs touch a little here and there;
 *                                                             the four upper tables of a far-off page have 2.5 KiB instead of 12)
 *
 * A missing level is folded: it has no bits, *_alloc() and *_offset() of it return their argument.
 *
 * An upper entry points to a descriptor (struct ptdesc), which has the table and its lock. Upper entries are published under
 * page_table_lock, read without a lock, and removed only by free_pgtables(), when no vma that the reverse map could find covers
 * the table's range and mmap_lock is held for writing.
 */
#ifndef MF_MM_PGTABLE_H
#define MF_MM_PGTABLE_H

#include "mm/lock.h"

#pragma GCC visibility push(hidden)

enum pt_level { PT_PTE, PT_PMD, PT_PUD, PT_P4D, PT_PGD, NR_PT_LEVELS };

enum mm_arch { ARCH_I386, ARCH_I386_PAE, ARCH_ARM, ARCH_X86_64, ARCH_RISCV };

struct mm_geometry {
	const char *name;
	unsigned char arch;               /* enum mm_arch: whose bits an entry has, whose rules a stack */
	unsigned char bits[NR_PT_LEVELS]; /* index bits per level; 0: folded */
	unsigned long task_size;          /* addresses below it belong to programs */
};

/* The geometry of this mm_init(), spread out for the walkers. */
struct pt_layout {
	unsigned char bits[NR_PT_LEVELS], shift[NR_PT_LEVELS];
	unsigned mask[NR_PT_LEVELS];
	enum mm_arch arch;
	unsigned long task_size;
	enum pt_level pmd_level; /* the level above the last: PT_PMD, or what it is folded into */
	unsigned pmd_shift;      /* of its entries */
	unsigned long pmd_span;  /* bytes that one table of it covers */
};
extern struct pt_layout pt;

#define TASK_SIZE (pt.task_size)

void pgtable_init(const struct mm_geometry *geometry);

static inline unsigned pt_index(enum pt_level level, unsigned long addr)
{
	return (addr >> pt.shift[level]) & pt.mask[level];
}

/* First address after the range of the entry of `level` that covers addr; `end` if that is smaller (or the address wraps). */
static inline unsigned long pt_addr_end(enum pt_level level, unsigned long addr, unsigned long end)
{
	unsigned long next = ((addr >> pt.shift[level]) + 1) << pt.shift[level];

	return next && next < end ? next : end;
}
/* The same for the whole last-level table. */
static inline unsigned long pmd_addr_end(unsigned long addr, unsigned long end)
{
	unsigned long size = 1UL << (pt.shift[PT_PTE] + pt.bits[PT_PTE]);
	unsigned long next = (addr & ~(size - 1)) + size;

	return next && next < end ? next : end;
}

static inline unsigned long pmd_addr_start(unsigned long addr)
{
	return addr & -(1UL << (pt.shift[PT_PTE] + pt.bits[PT_PTE]));
}

static inline struct ptdesc *desc_load(struct ptdesc *const *entry)
{
	return __atomic_load_n(entry, __ATOMIC_ACQUIRE);
}

/* => NULL: no memory. Allocates and publishes the next table if there is none. */
struct ptdesc *__pt_alloc(struct mm_struct *mm, struct ptdesc **entry, enum pt_level level);

static inline struct ptdesc *pt_alloc(struct mm_struct *mm, struct ptdesc **entry, enum pt_level level)
{
	struct ptdesc *desc = desc_load(entry);

	return likely(desc) ? desc : __pt_alloc(mm, entry, level);
}

static inline pgd_t *pgd_offset(struct mm_struct *mm, unsigned long addr)
{
	return (pgd_t *)mm->pgd->table + pt_index(PT_PGD, addr);
}

static inline p4d_t *p4d_alloc(struct mm_struct *mm, pgd_t *pgd, unsigned long addr)
{
	struct ptdesc *desc;

	if (!pt.bits[PT_P4D])
		return (p4d_t *)pgd;
	desc = pt_alloc(mm, &pgd->desc, PT_P4D);
	return desc ? (p4d_t *)desc->table + pt_index(PT_P4D, addr) : NULL;
}

static inline pud_t *pud_alloc(struct mm_struct *mm, p4d_t *p4d, unsigned long addr)
{
	struct ptdesc *desc;

	if (!pt.bits[PT_PUD])
		return (pud_t *)p4d;
	desc = pt_alloc(mm, &p4d->desc, PT_PUD);
	return desc ? (pud_t *)desc->table + pt_index(PT_PUD, addr) : NULL;
}

static inline pmd_t *pmd_alloc(struct mm_struct *mm, pud_t *pud, unsigned long addr)
{
	struct ptdesc *desc;

	if (!pt.bits[PT_PMD])
		return (pmd_t *)pud;
	desc = pt_alloc(mm, &pud->desc, PT_PMD);
	return desc ? (pmd_t *)desc->table + pt_index(PT_PMD, addr) : NULL;
}

/* pgd, p4d, pud, pmd in one step, where the last walk has been to the same table of pmds (1 GiB on x86-64): 9 instructions for 60, and no
 * other two lines of memory for each level. A table is freed with mmap_lock held for writing, and is forgotten then. => mmap_lock held;
 * false: another one, walk */
static inline bool pmd_remembered(const struct mm_percpu *percpu, unsigned long addr, pmd_t **pmd)
{
	const struct ptdesc *desc = atomic_load_explicit(&((struct mm_percpu *)percpu)->pmd_table, memory_order_acquire);

	addr -= __atomic_load_n(&desc->base, __ATOMIC_RELAXED);
	if (unlikely(addr >= pt.pmd_span))
		return false;
	*pmd = (pmd_t *)desc->table + (addr >> pt.pmd_shift);
	return true;
}
/* After a walk. */
void pmd_remember(struct mm_struct *mm, unsigned long addr);

static inline bool pmd_none(const pmd_t *pmd)
{
	return !desc_load(&pmd->desc);
}

/* => true: no memory. (Linux's sense: pte_alloc() is an error code.) */
static inline bool pte_alloc(struct mm_struct *mm, pmd_t *pmd)
{
	return !pt_alloc(mm, &pmd->desc, PT_PTE);
}

static inline pte_t *pte_offset(const struct ptdesc *table, unsigned long addr)
{
	return (pte_t *)table->table + (addr >> PAGE_SHIFT & pt.mask[PT_PTE]);
}

static inline pte_t *pte_offset_map_lock(struct mm_struct *mm, pmd_t *pmd, unsigned long addr, spinlock_t **ptl)
{
	struct ptdesc *desc = desc_load(&pmd->desc);

	(void)mm;
	*ptl = &desc->ptl;
	spin_lock(*ptl);
	return pte_offset(desc, addr);
}

/* A last-level table before it is known where it goes. NULL: no memory */
struct ptdesc *pte_alloc_one(void);
void pte_free_one(struct ptdesc *table);
/* *table goes where there is none yet, and is NULL then. => pmd has a table */
void pmd_install(struct mm_struct *mm, pmd_t *pmd, struct ptdesc **table);

/* All levels at once. => the last-level table that covers addr, or NULL (none; pte_table_alloc: no memory). */
struct ptdesc *pte_table(struct mm_struct *mm, unsigned long addr);
struct ptdesc *pte_table_alloc(struct mm_struct *mm, unsigned long addr);
/* The first last-level table that covers something of [*addr, end); *addr rises to where it starts to. NULL: no more. */
struct ptdesc *pte_table_next(struct mm_struct *mm, unsigned long *addr, unsigned long end);

bool pgd_alloc(struct mm_struct *mm); /* false: no memory */
void pgd_free(struct mm_struct *mm);
/* Free the tables between `start` and `end` that lie wholly in the hole [floor, ceiling) between mappings.
 * => mmap_lock held for writing; all entries of the hole are none. */
void free_pgtables(struct mm_struct *mm, unsigned long start, unsigned long end, unsigned long floor, unsigned long ceiling);

/* ---- entries ------------------------------------------------------------------------------------------------------- */

extern unsigned mm_caps; /* machine_caps(), read once */

static inline pte_t ptep_get(const pte_t *ptep)
{
	return (pte_t){ __atomic_load_n(&ptep->val, __ATOMIC_RELAXED) };
}
static inline void set_pte(pte_t *ptep, pte_t pte)
{
	__atomic_store_n(&ptep->val, pte.val, __ATOMIC_RELEASE);
}
/* Takes the entry away in one step, so that no young or dirty bit that the machine sets is lost. */
static inline pte_t ptep_get_and_clear(pte_t *ptep)
{
	return (pte_t){ __atomic_exchange_n(&ptep->val, 0, __ATOMIC_ACQ_REL) };
}

static inline bool pte_same(pte_t a, pte_t b) { return a.val == b.val; }
static inline bool pte_none(pte_t pte) { return !pte.val; }
static inline bool pte_present(pte_t pte) { return pte.val & _PAGE_PRESENT; }
static inline bool pte_write(pte_t pte) { return pte.val & _PAGE_RW; }
static inline bool pte_dirty(pte_t pte) { return pte.val & _PAGE_DIRTY; }
static inline bool pte_young(pte_t pte) { return pte.val & _PAGE_ACCESSED; }
static inline bool pte_special(pte_t pte) { return pte.val & _PAGE_SPECIAL; }
static inline bool pte_zero_page(pte_t pte) { return (pte.val & (_PAGE_SPECIAL | _PAGE_PFN)) == _PAGE_SPECIAL; }
static inline bool pte_file(pte_t pte) { return pte.val & _PAGE_FILE; }
static inline bool is_swap_pte(pte_t pte) { return pte.val & _PAGE_SWAP; }
static inline unsigned long pte_pfn(pte_t pte) { return pte.val >> PAGE_SHIFT; }
static inline bool pte_normal(pte_t pte) /* present and a frame behind it */
{
	return (pte.val & (_PAGE_PRESENT | _PAGE_SPECIAL)) == _PAGE_PRESENT;
}

static inline pte_t pfn_pte(unsigned long pfn, pteval_t flags)
{
	return (pte_t){ (pteval_t)pfn << PAGE_SHIFT | flags | _PAGE_PRESENT };
}
static inline pte_t pte_set(pte_t pte, pteval_t flags) { return (pte_t){ pte.val | flags }; }
static inline pte_t pte_clear(pte_t pte, pteval_t flags) { return (pte_t){ pte.val & ~flags }; }
static inline pte_t pte_mkyoung(pte_t pte) { return pte_set(pte, _PAGE_ACCESSED); }
static inline pte_t pte_mkdirty(pte_t pte) { return pte_set(pte, _PAGE_DIRTY); }
static inline pte_t pte_wrprotect(pte_t pte) { return pte_clear(pte, _PAGE_RW); }

static inline swp_entry_t pte_to_swp_entry(pte_t pte) { return (swp_entry_t){ pte.val >> PAGE_SHIFT }; }
static inline pte_t swp_entry_to_pte(swp_entry_t entry)
{
	return (pte_t){ (pteval_t)entry.val << PAGE_SHIFT | _PAGE_SWAP };
}

/* What the machine is to be told about an entry. Where it doesn't set dirty bits by itself, a page whose entry is clean is
 * mapped without write access, so that its first store faults into the present branch (ARM). */
static inline unsigned pte_how(pte_t pte)
{
	return pte_write(pte) && (pte_dirty(pte) || (mm_caps & MACHINE_DIRTY)) ? MACHINE_MAP_WRITE : 0;
}
/* Does the machine map the page? Where it sets no young bits, an old entry's page waits at home for its first use. */
static inline bool pte_mapped(pte_t pte)
{
	return pte_young(pte) || (mm_caps & MACHINE_YOUNG);
}

/* The two for any present entry: the zero page has no frame */
static inline unsigned long pte_machine_pfn(pte_t pte)
{
	return pte_zero_page(pte) ? 0 : pte_pfn(pte);
}
static inline unsigned pte_machine_how(pte_t pte)
{
	return pte_zero_page(pte) ? MACHINE_MAP_SHARED_ZERO : pte_how(pte);
}

#pragma GCC visibility pop

#endif
