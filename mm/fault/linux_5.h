/* SPDX-License-Identifier: MIT
 *
 * linux_5.h - what the fault path of 5.x and its two helpers, which bring more than one page at a time, offer each other.
 *
 *      linux_5.c       the documents' functions, one page at a time
 *      anon_window.c   an anonymous fault that continues a walk through memory fills several pages
 *      swapin.c        reading from swap, for one fault or a walk
 */
#ifndef MF_MM_FAULT_LINUX_5_H
#define MF_MM_FAULT_LINUX_5_H

#include "mm/fault/fault.h"

#pragma GCC visibility push(hidden)

/* => there is a table */
static inline void vmf_find_pte(struct vm_fault *vmf, struct ptdesc *table)
{
	vmf->table = table;
	vmf->ptl = &table->ptl;
	vmf->pte = pte_offset(table, vmf->address);
}

static inline void vmf_lock_pte(struct vm_fault *vmf)
{
	if (unlikely(!vmf->table))
		vmf_find_pte(vmf, desc_load(&vmf->pmd->desc));
	spin_lock(vmf->ptl);
}

static inline void vmf_unlock_pte(struct vm_fault *vmf)
{
	spin_unlock(vmf->ptl);
}

/* The page of the faulting address could not be mapped. The host has no mapping there (any more), or something stands there: the
 * caller looks again. */
static inline vm_fault_t map_error(int err)
{
	return err == -ENOMEM ? VM_FAULT_OOM : VM_FAULT_NOPAGE;
}

/* The entry of an anonymous page of the vma; dirty where the mapping may be written, or where nobody would say so later. *how: pte_how() of it */
static inline pte_t mk_pte(const struct vm_area_struct *vma, unsigned long pfn, unsigned *how)
{
	trace_leaf(mk_pte, pfn, vma_prot(vma) | _PAGE_ACCESSED, 0);
	if (likely(vma->vm_flags & VM_WRITE)) {
		*how = MACHINE_MAP_WRITE;
		return pfn_pte(pfn, _PAGE_RW | _PAGE_ACCESSED | _PAGE_DIRTY);
	}
	*how = 0;
	return pfn_pte(pfn, vma_prot(vma) | _PAGE_ACCESSED | (mm_caps & MACHINE_DIRTY ? 0 : _PAGE_DIRTY));
}

/* ---- anon_window.c: do_anonymous_page() of a mapping that may get several pages a fault ------------------------------ */

/* Most pages of a window at this memory size: neighbours must not push each other out. */
unsigned window_max(unsigned max);
/* Behind the end of window w of a dense walk stand pages that won't fault: the walk goes on behind them. Each table of walks has its own kind of
 * entry to wait for (`swapped`). */
void skip_standing(struct stream_table *streams, const struct vm_fault *vmf, const struct window *w, bool swapped);
/* => the last-level table and vma->anon_vma exist; nothing locked */
vm_fault_t do_anonymous_window(struct vm_fault *vmf);

/* ---- swapin.c --------------------------------------------------------------------------------------------------------- */

/* The entry's page is in the swap cache; the caller's reference is taken over. => *again: it has left it, the entry is to be looked at anew.
 * VM_FAULT_RETRY: mmap_lock was released */
vm_fault_t do_swap_cached(struct vm_fault *vmf, struct page *page, bool *again);
/* It isn't: read it, and for a walk those after it. => VM_FAULT_MAJOR, 0 (another thread was faster), or an error */
vm_fault_t swapin_readahead(struct vm_fault *vmf);

/* ---- swap_readahead.c --------------------------------------------------------------------------------------------------- */

/* The entry's page was found in the swap cache: if it came as a neighbour, that was a hit. */
void swap_readahead_hit(struct vm_fault *vmf, struct page *page);
/* => the entry's page, read into the swap cache, and its neighbours; with a reference. NULL: nothing was changed, or somebody else was faster */
struct page *swap_vma_readahead(struct vm_fault *vmf);

#pragma GCC visibility pop

#endif
