/* SPDX-License-Identifier: MIT
 *
 * fault.h - one fault, one context; and the table by which a generation of Linux resolves it.
 *
 *      do_page_fault()      takes mmap_lock, calls the generation, repeats on RETRY, accounts      (fault.c)
 *        fault_path.fault() everything else                                                        (linux_5.c, ...)
 *
 * The generations work on the same mappings, tables, frames, reverse map and swap.
 */
#ifndef MF_MM_FAULT_FAULT_H
#define MF_MM_FAULT_FAULT_H

#include "mm/internal.h"

#pragma GCC visibility push(hidden)

struct vm_fault {
	struct vm_area_struct *vma;
	unsigned long address;  /* page aligned */
	unsigned long pgoff;
	unsigned flags;         /* FAULT_FLAG_ */
	pmd_t *pmd;             /* what points to the last-level table, if there is one */
	pte_t *pte;             /* valid while ptl is held */
	pte_t orig_pte;         /* read without a lock; compared again under the lock before anything is installed */
	spinlock_t *ptl;
};

struct fault_path {
	const char *name;
	/* => mmap_lock held for reading. VM_FAULT_RETRY: it was released; otherwise still held. */
	vm_fault_t (*fault)(struct mm_struct *mm, unsigned long addr, unsigned flags);
};

extern const struct fault_path linux_5_path;
extern const struct fault_path *fault_path; /* the one in use */

/* Every so many faults, the invariants are checked (0: never). */
extern unsigned mm_check_every;

#pragma GCC visibility pop

#endif
