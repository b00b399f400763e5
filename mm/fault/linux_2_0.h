/* SPDX-License-Identifier: MIT
 *
 * linux_2_0.h - what the parts of generation linux-2.0 share.
 *
 *      linux_2_0.c         doc 0: its names with the control flow of 1.0; pages are shared by searching the other tasks
 *      linux_2_0_33.c      the same by 2.0.33 (MM_2_0_PAGE_CACHE): vma checks, zero page, page cache
 *      linux_2_0_frames.c  frames and entries, the reserved ones, fork
 *      linux_2_0_swap.c    reclaim by scanning address spaces
 *
 * These kernels run one task at a time in kernel mode, until it sleeps. Here a fault holds mmap_lock for writing (as 2.0 holds mmap_sem over
 * the whole fault), so that the only one who may change its entries under way is reclaim, which it runs itself when it needs a frame:
 * that is the sleep after which everything is looked at again. Another address space is looked at with its mmap_lock held for reading,
 * which is only ever tried for: who is busy has nothing to share and nothing to give.
 *
 * A frame has one counter. Its mapcount is kept beside it, for the invariants alone. There is no reverse map; what belongs to whom is found
 * through the tables.
 */
#ifndef MF_MM_FAULT_LINUX_2_0_H
#define MF_MM_FAULT_LINUX_2_0_H

/* In doc 0 put_page() enters a page into a table. What later kernels call so, dropping a reference, was free_page(): here both have the names of
 * their time. free_page() is defined in linux_2_0_frames.c, where this header is read without the change. */
#ifndef LATER_PUT_PAGE
#define put_page free_page
#include "mm/fault/fault.h"
#include "mm/filemap.h"
#undef put_page
#else
#include "mm/fault/fault.h"
#include "mm/filemap.h"
#endif

#pragma GCC visibility push(hidden)

void free_page(struct page *page);

/* One address being resolved. */
struct task_fault {
	struct mm_struct *mm;
	unsigned long address; /* page aligned */
	unsigned flags;        /* FAULT_FLAG_ */
	struct ptdesc *table;  /* the last-level table */
	bool installed;        /* an entry was made: rss has risen */
};

static inline pte_t *pte_of(const struct ptdesc *table, unsigned long addr)
{
	return pte_offset(table, addr);
}

/* ---- counting: in this generation by whoever knows, not at one place ----------------------------------------------------- */

static inline void min_flt(struct mm_struct *mm) { count_fault(mm, false); }
static inline void maj_flt(struct mm_struct *mm) { count_fault(mm, true); }
/* force_sig(): a signal has a number in this generation, and nothing else says why. In kernel mode: the task ends, for there is no exception table */
void bad_area_2_0(struct mm_struct *mm, unsigned long addr, vm_fault_t ret, unsigned flags);
void counted_already(struct mm_struct *mm, vm_fault_t ret, unsigned flags);

/* ---- linux_2_0_frames.c -------------------------------------------------------------------------------------------------- */

extern unsigned long BAD_PAGE; /* frame: RESERVED, zeros whenever it is handed out */

int frames_init(void);
/* A frame with one reference, bytes undefined; reclaims if need be, also from mm (whose mmap_lock is held for writing; NULL: from
 * the others alone). NULL: none to be had */
struct page *__get_free_page(struct mm_struct *mm);
struct page *get_free_page(struct mm_struct *mm); /* filled with zeros */
/* References by entries, the page cache and whoever is at work on it; the swap cache of these kernels is an array beside the frames. */
static inline int mem_map_count(struct page *page)
{
	return page_count(page) - page_in_swap_cache(page);
}
static inline bool page_reserved(struct page *page) { return page_flags(page) & PG_reserved; }

/* The fault needs mmap_lock for writing; it comes held for reading, or for writing already (populate). A caller that can't do without it for a
 * moment (no ALLOW_RETRY) keeps it as it is. => was it released? for lock_fault_done() */
bool lock_fault(struct mm_struct *mm, unsigned flags);
void lock_fault_done(struct mm_struct *mm, bool released);
pte_t pte_modify_2_0(const struct vm_area_struct *vma, pte_t pte);

struct vm_area_struct *vma_at(struct mm_struct *mm, unsigned long addr); /* that covers addr, or NULL. => mmap_lock held, either way */
/* What an entry of a private page may grant at addr: everything, but for what the vma there refuses. No vma: everything. */
pteval_t page_prot(struct mm_struct *mm, unsigned long addr);
/* The software bit COW that 1.0 has in its entries: what it can be copied for. The mapping implies it. */
bool pte_cow(struct mm_struct *mm, unsigned long addr);

/* An entry that is none, or the swap entry of the page, names the page from now on; takes over the caller's reference. => pte lock held; 0, or
 * VM_FAULT_ bits of a machine that refused (the entry is none, the reference still the caller's) */
vm_fault_t install_page(struct task_fault *f, struct page *page, pteval_t flags);
/* An entry names it no more: none, flushed, out of rss. The reference is the caller's now. => pte lock held; the entry as it was last */
pte_t remove_page(struct mm_struct *mm, struct ptdesc *table, unsigned long addr);
void install_bad_page(struct task_fault *f); /* pte lock held; the entry is none */
/* Another page takes the place of the one that stands there, whose reference is dropped. => pte lock held; as install_page() */
vm_fault_t replace_page(struct task_fault *f, struct page *page, pteval_t flags);
/* An entry becomes none, whatever it names. => pte lock held */
void clear_entry(struct task_fault *f);
/* Its page may be written to from now on. => pte lock held */
void make_writable(struct task_fault *f);
/* A machine without young and dirty bits, or a fault that somebody has resolved meanwhile. => true: nothing else is to do */
bool touch_entry(struct task_fault *f);

/* The bytes of a swapped page into a frame that nobody knows. There is no way from a slot to a frame that holds the same: every sharer of a
 * slot reads a page of his own. => 0, -EIO */
int read_swap_page(swp_entry_t entry, struct page *page);

/* A swap entry as the hardware's table has it: bit 0 clear, type in bits 1-7, offset from bit 12 (1.0) or 8 (2.0.33). There is one swap area, of
 * type 0. */
uint32_t linux_2_0_hw_entry(pte_t pte);

/* The table for the fault, made if need be. => false: oom() was called, and the directory has BAD_PAGETABLE */
bool get_empty_pgtable(struct task_fault *f);
vm_fault_t no_page_table(struct task_fault *f); /* oom(), and BAD_PAGETABLE */
/* Message and a SIGKILL that nothing blocks. */
vm_fault_t oom(struct mm_struct *mm);

int copy_page_tables(struct vm_area_struct *dst, struct vm_area_struct *src);
int copy_bare_pages(struct mm_struct *dst, struct mm_struct *src);

/* Another address space, held while its tables are looked at. */
struct mm_struct *task_first(void);                 /* with a reference */
struct mm_struct *task_next(struct mm_struct *mm);  /* drops the one on mm. NULL: that was the last one */
void task_put(struct mm_struct *mm);
bool task_trylock(struct mm_struct *mm);

/* ---- linux_2_0_swap.c ---------------------------------------------------------------------------------------------------- */

#define PAGE_INITIAL_AGE 3
#define PAGE_ADVANCE 3
#define PAGE_DECLINE 1
#define MAX_PAGE_AGE 20
unsigned page_age(const struct page *page);
void set_page_age(struct page *page, unsigned age);

/* One frame more, by any means. mm: as for __get_free_page(). => false: there is none */
bool try_to_free_page(struct mm_struct *mm);
unsigned long swap_try_to_free_pages(unsigned long nr);
unsigned long swap_pageout_range(struct mm_struct *mm, unsigned long addr, size_t len);
unsigned long swap_swapin_range(struct mm_struct *mm, unsigned long addr, size_t len);

/* ---- linux_2_0.c, linux_2_0_33.c ----------------------------------------------------------------------------------------- */

extern const struct fault_path linux_2_0_33_path;
static inline bool page_cache_rule(void) { return mm_rules & MM_2_0_PAGE_CACHE; }

#pragma GCC visibility pop

#endif
