/* SPDX-License-Identifier: MIT
 *
 * linux_2_6.h - what the files of the generation linux-2.6 (2.6.24) offer each other and the engine.
 *
 *      linux_2_6.c            the fault path
 *      linux_2_6_file.c       filemap_fault with the readahead of that time, and the way to the first store to a page of a file
 *      linux_2_6_nonlinear.c  mappings whose entries say themselves which page of the file belongs there
 *      linux_2_6_vmscan.c     one active and one inactive list for all pages
 */
#ifndef MF_MM_FAULT_LINUX_2_6_H
#define MF_MM_FAULT_LINUX_2_6_H

#include "mm/fault/fault.h"
#include "mm/filemap.h"

#pragma GCC visibility push(hidden)

/* ---- linux_2_6.c ------------------------------------------------------------------------------------------------------- */

/* What an entry of the vma grants before anything was stored to its page: stores only where nobody wants to hear of the first one. */
static inline pteval_t vm_page_prot(const struct vm_area_struct *vma)
{
	if (!(vma->vm_flags & VM_ACCESS_FLAGS))
		return _PAGE_PROTNONE;
	return (vma->vm_flags & (VM_SHARED | VM_WRITE)) == (VM_SHARED | VM_WRITE) && !vma_wants_writenotify(vma) ? _PAGE_RW : 0;
}

/* => mmap_lock held, either way; VM_FAULT_ bits */
vm_fault_t linux_2_6_handle_mm_fault(struct mm_struct *mm, struct vm_area_struct *vma, unsigned long addr, bool write_access);
/* One fault or error for the books. */
void linux_2_6_account(struct mm_struct *mm, vm_fault_t ret, unsigned flags);

void lru_cache_add_active(struct page *page, const struct vm_area_struct *vma);

/* ---- linux_2_6_file.c -------------------------------------------------------------------------------------------------- */

extern const struct vm_operations_struct linux_2_6_file_vm_ops;
/* Does the file want to hear of first stores beforehand, and may it refuse? */
static inline bool vma_has_page_mkwrite(const struct vm_area_struct *vma)
{
	const struct address_space_operations *ops = vma->vm_file ? vma->vm_file->f_mapping->a_ops : NULL;

	return ops && ops->page_mkwrite;
}
/* The first store to a page of a shared mapping. => nothing locked, page referenced; 0, -errno: SIGBUS */
int linux_2_6_page_mkwrite(struct vm_area_struct *vma, struct page *page);
/* After the entry has its W and D. => nothing locked but mmap_lock, page referenced */
void set_page_dirty_balance(struct page *page);

/* ---- linux_2_6_nonlinear.c --------------------------------------------------------------------------------------------- */

/* Page offsets in entries, as the architecture's 32 or 64 bits have room for them. */
unsigned pte_file_max_bits(void);
pte_t pgoff_to_pte(unsigned long pgoff);
unsigned long pte_to_pgoff(pte_t pte);
/* The entry of an absent page as the hardware's table would hold it: i386 and ARM in 32 bits. */
uint64_t linux_2_6_hw_entry(pte_t pte);
/* Could it be made nonlinear? (VM_CAN_NONLINEAR) */
bool vma_can_nonlinear(const struct vm_area_struct *vma);

/* MADV_DONTNEED and truncation: pages [first, last] of the file leave the range; their offsets stay where the position isn't linear.
 * => mmap_lock or i_mmap_lock held */
void zap_nonlinear_range(struct vm_area_struct *vma, unsigned long start, unsigned long end, unsigned long first, unsigned long last);
void unmap_mapping_nonlinear(struct address_space *mapping, unsigned long first, unsigned long last);
/* Reclaim: takes as many entries as the page has from wherever the cursors are. => page locked; false: all such vmas are VM_LOCKED */
bool try_to_unmap_nonlinear(struct address_space *mapping, struct page *page);

int linux_2_6_remap_file_pages(struct mm_struct *mm, unsigned long addr, size_t len, unsigned long pgoff, unsigned prot, bool nonblock);

/* ---- linux_2_6_vmscan.c ------------------------------------------------------------------------------------------------ */

int linux_2_6_vmscan_init(void);
/* Are pages that are mapped to leave the active list in a round of this priority (12, 11, ... 0)? */
bool linux_2_6_reclaim_mapped(int priority);
/* One look at the last page of a list: for the tests. => pages freed */
unsigned linux_2_6_shrink_inactive_tail(void);
void linux_2_6_shrink_active_tail(int priority);
unsigned long linux_2_6_try_to_free_pages(unsigned long nr);

#pragma GCC visibility pop

#endif
