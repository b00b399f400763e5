/* SPDX-License-Identifier: MIT
 *
 * soft.h - the software MMU: the reference machine, deterministic, in this process.
 *
 * It walks the engine's own page tables as hardware would, sets young and dirty bits (where its capabilities say so), keeps a small TLB that
 * only machine_map/unmap/discard/protect/release invalidate (so a forgotten flush shows), and calls do_page_fault() when an access is not allowed.
 */
#ifndef MF_MACHINE_SOFT_SOFT_H
#define MF_MACHINE_SOFT_SOFT_H

#include <stdint.h>

#include "mm/mm.h"

/* Start over: frames' bytes, TLB, metadata. Call before mm_init(). caps: a set of enum machine_cap that the machine is to have.
 * => 0 or -ENOMEM. */
int soft_machine_init(unsigned long nr_frames, unsigned caps);
void soft_machine_exit(void);

/* One access by a program running in `mm`. => 0, or the error bits of the fault that could not be resolved (VM_FAULT_BADMAP, ...);
 * then *value is unchanged and nothing was stored; likewise VM_FAULT_RETRY: a signal is to be taken first (mm_set_signal_pending()). Several threads may access side by side. */
vm_fault_t soft_load(struct mm_struct *mm, unsigned long addr, uint8_t *value);
vm_fault_t soft_store(struct mm_struct *mm, unsigned long addr, uint8_t value);

/* What a load would see, without a fault and without touching young bits; swapped pages are looked at through `swap_peek`.
 * => 0, or -EFAULT when no mapping covers addr. A hole in a mapping reads 0. */
int soft_peek(struct mm_struct *mm, unsigned long addr, uint8_t *value);

/* Fault injection: machine_alloc() fails at the n-th call from now (0: never again). */
void soft_fail_alloc(unsigned long nth);
/* The n-th call from now (0: never) runs fn first: somebody else is faster with what the memory is for. */
void soft_at_alloc(unsigned long nth, void (*fn)(void));
/* The next `times` calls of machine_map() return err (0: nothing mapped, no reason given). One thread. */
void soft_fail_map(unsigned times, int err);
/* Pages of [addr, addr+len) behave as pinned for I/O: machine_unmap reports them stuck. */
void soft_pin(struct mm_struct *mm, unsigned long addr, unsigned long len, bool on);
/* The page at addr was dropped behind the engine's back: the next machine_unmap() of it reports it gone. One at a time. */
void soft_lose(struct mm_struct *mm, unsigned long addr);

#endif
