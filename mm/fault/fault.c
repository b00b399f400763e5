/* SPDX-License-Identifier: MIT
 *
 * fault.c - the entry of a fault: lock, retry, accounting. The one place for each of these.
 *
 * What is counted: one minor or one major fault for every one that ended without an error; major if the page had to be read, or if the
 * first try waited for somebody else to read it (5.9 and later). A try that ends in RETRY counts nothing.
 */
#include "mm/fault/fault.h"

const struct fault_path *fault_path = &linux_5_path;
unsigned mm_check_every, mm_rules;

static void mm_account_fault(struct mm_struct *mm, vm_fault_t ret, unsigned flags)
{
	if (ret & (VM_FAULT_ERROR | VM_FAULT_RETRY))
		return;
	if (ret & VM_FAULT_MAJOR || flags & FAULT_FLAG_TRIED) {
		atomic_fetch_add_explicit(&mm->maj_flt, 1, memory_order_relaxed);
		count(maj_flt, 1);
	} else {
		atomic_fetch_add_explicit(&mm->min_flt, 1, memory_order_relaxed);
		count(min_flt, 1);
	}
}

vm_fault_t do_page_fault_locked(struct mm_struct *mm, unsigned long addr, unsigned flags)
{
	vm_fault_t ret;

	trace_fn(do_page_fault, addr, flags, 0);
	flags |= FAULT_FLAG_ALLOW_RETRY;
	while ((ret = fault_path->fault(mm, addr, flags)) & VM_FAULT_RETRY) {
		trace(fault_retry, addr, ret, 0);
		flags |= FAULT_FLAG_TRIED;
		mmap_read_lock(mm);
	}
	if (unlikely(fault_path->account))
		fault_path->account(mm, ret, flags);
	else
		mm_account_fault(mm, ret, flags);
	trace(fault_done, addr, ret, 0);
	return ret;
}

vm_fault_t do_page_fault(struct mm_struct *mm, unsigned long addr, unsigned flags)
{
	static atomic_uint faults;
	vm_fault_t ret;

	mmap_read_lock(mm);
	ret = do_page_fault_locked(mm, addr, flags);
	mmap_read_unlock(mm);
	if (unlikely(mm_check_every) && (atomic_fetch_add(&faults, 1) + 1) % mm_check_every == 0)
		mm_check_invariants();
	return ret;
}
