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
	bool traced;            /* hot_trace_fn() */
	pmd_t *pmd;             /* what points to the last-level table, if there is one */
	struct ptdesc *table;   /* linux-5: the last-level table, when there is one; it stays while mmap_lock is held */
	pte_t *pte;             /* its value is valid while ptl is held */
	pte_t orig_pte;         /* read without a lock; compared again under the lock before anything is installed */
	spinlock_t *ptl;
	struct page *page;      /* ->fault: the page of the mapping */
	struct page *cow_page;  /* the private copy to be, got before ->fault */
	struct ptdesc *prealloc_pte; /* a table got before the page was locked; NULL: there is one already, or it has been installed */
};

struct fault_path {
	const char *name;
	/* => mmap_lock held for reading. VM_FAULT_RETRY, VM_FAULT_COMPLETED: it was released; otherwise still held. RETRY only when the
	 * flags have ALLOW_RETRY */
	vm_fault_t (*fault)(struct mm_struct *mm, unsigned long addr, unsigned flags);
	/* Who counts: NULL: one fault, minor or major, for each that ended without error (5.x). Otherwise called once a fault, with the flags of
	 * the last try; it counts by its own rules (or has done so already). */
	void (*account)(struct mm_struct *mm, vm_fault_t ret, unsigned flags);
	/* The fault ended in an error: what the program is told, or the kernel. May be NULL */
	void (*error)(struct mm_struct *mm, unsigned long addr, vm_fault_t ret, unsigned flags);
	/* fork: the entries of one vma. => both mms locked for writing; 0, -ENOMEM */
	int (*copy_page_range)(struct vm_area_struct *dst, struct vm_area_struct *src);
	/* Reclaim of about nr pages. NULL: by the LRU lists and the reverse map (vmscan.c) */
	unsigned long (*try_to_free_pages)(unsigned long nr);
	/* A new vma has been linked (1.0 fills anonymous ones with the zero page at once). May be NULL. mmap_lock held for writing */
	void (*mapped)(struct vm_area_struct *vma);
	/* The stack: may the vma grow down to addr? mmap_lock held for writing. => 0, -errno. NULL: expand_downwards() */
	int (*expand_stack)(struct vm_area_struct *vma, unsigned long addr);
	/* The next may all be NULL: what 5.x does */
	const struct vm_operations_struct *file_vm_ops;                                /* of mappings of files; NULL: generic_file_vm_ops */
	int (*anon_vma_fork)(struct vm_area_struct *vma, struct vm_area_struct *pvma); /* the child's vma joins the reverse map */
	pte_t (*pte_modify)(const struct vm_area_struct *vma, pte_t pte);              /* mprotect: a present entry under the vma's new rights */
	int (*remap_file_pages)(struct mm_struct *mm, unsigned long addr, size_t len, unsigned long pgoff, unsigned prot, bool nonblock);
	int (*init)(void);                                                   /* the last step of mm_init() */
	int (*mmap_check)(const struct file *file, unsigned long *vm_flags); /* may this be mapped (file NULL: anonymous)? It may change the flags */
	int (*brk)(struct mm_struct *mm, unsigned long start, unsigned long end); /* what sys_brk() does; end: page aligned */
	int (*dup_mm)(struct mm_struct *dst, struct mm_struct *src);         /* the end of a fork: what belongs to no vma. => both locked for writing */
	unsigned long (*pageout_range)(struct mm_struct *mm, unsigned long addr, size_t len);
	unsigned long (*swapin_range)(struct mm_struct *mm, unsigned long addr, size_t len); /* MADV_WILLNEED */
	bool one_lru;    /* pages of files stand on the same two lists as anonymous ones (LRU_*_ANON) */
	bool no_rmap;    /* pages are found through the tables alone: no anon_vma, and no LRU list has anonymous pages */
	bool bare_pages; /* pages may stand where no vma is (the data segment of 1.0) */
};

/* One page of a range that the program wants to have (populate), as a read. => mmap_lock held, either way, and held afterwards */
vm_fault_t populate_page(struct mm_struct *mm, unsigned long addr);
/* For the ->fault of a VM_PFNMAP mapping: an entry that is none names the frame, which was taken out of circulation by reserve_frame(). => NOPAGE
 * (also if something stands there), OOM */
vm_fault_t vmf_insert_pfn(struct vm_area_struct *vma, unsigned long addr, unsigned long pfn);
/* linux-5, for the ->fault of a mapping whose pages have no struct page, after it has filled vmf->cow_page itself: enters the copy. => 0: then ->fault
 * returns VM_FAULT_DONE_COW; or NOPAGE, OOM, which it returns */
vm_fault_t finish_fault(struct vm_fault *vmf);
/* An address below a mapping that grows down: lets go of mmap_lock, takes it for writing, asks the generation, takes it for reading again.
 * => the vma that covers addr, or NULL */
struct vm_area_struct *find_extend_vma(struct mm_struct *mm, unsigned long addr);

/* What a signal handler would find in mm->thread; numbers: signals.h. code 0: this generation has no si_code. => mmap_lock held */
void force_sig_fault(struct mm_struct *mm, unsigned long addr, unsigned flags, int sig, int code);
/* x86-64: not even an address. The processor raises a general protection fault, which names none. */
bool address_is_canonical(unsigned long addr);

extern const struct fault_path linux_5_path, linux_2_6_path, linux_2_0_path;
extern const struct fault_path *fault_path; /* the one in use */
extern unsigned mm_rules;                   /* set of enum mm_rule */

/* Beside FAULT_FLAG_: the processor (machine_cpu()) on which the fault began. Where it isn't known it is 0, which is right too. */
#define FAULT_CPU_SHIFT 24
static inline struct mm_percpu *fault_percpu(struct mm_struct *mm, unsigned flags) { return &mm->percpu[flags >> FAULT_CPU_SHIFT]; }

/* Every so many faults, the invariants are checked (0: never). */
extern unsigned mm_check_every;

#pragma GCC visibility pop

#endif
