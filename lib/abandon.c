/* SPDX-License-Identifier: MIT
 *
 * abandon.c - a forked child that can't be served goes on without an engine, with all of its memory where it belongs.
 *
 * Nothing is armed in it (userfaultfd's registrations don't come along), so a page that is stored to is made by the kernel: what is swapped out is loaded
 * and stored. It costs the memory that the budget would have saved.
 */
#include "lib/abandon.h"

#include "machine/sys.h"
#include "machine/uffd/uffd.h"
#include "mm/errno.h"

#define PAGE    MACHINE_PAGE_SIZE
#define PROT_RW 3

static int host_rights(unsigned long vm_flags)
{
	return (vm_flags & VM_READ ? 1 : 0) | (vm_flags & VM_WRITE ? 2 : 0) | (vm_flags & VM_EXEC ? 4 : 0);
}

static bool any_swapped(struct mm_struct *mm, unsigned long start, unsigned long end)
{
	for (unsigned long at = start; at < end; at += PAGE)
		if (mm_residency(mm, at) == MM_SWAPPED)
			return true;
	return false;
}

/* The engine forgets the pages that are there; they stay. */
static void let_go(struct mm_struct *mm, const struct vm_area_struct *vma)
{
	for (unsigned long at = vma_start(vma); at < vma_end(vma); at += PAGE) {
		enum mm_residency r = mm_residency(mm, at);

		if (r == MM_PRESENT || r == MM_AROUND)
			zap_page_range(mm, at, PAGE);
	}
}

/* => 0 or -errno. Neighbours may come along; they are let go when it is their turn. */
static int bring_all(struct mm_struct *mm, unsigned long start, unsigned long end)
{
	for (unsigned long at = start; at < end; at += PAGE) {
		enum mm_residency r = mm_residency(mm, at);

		if (r == MM_SWAPPED && do_page_fault_locked(mm, at, FAULT_FLAG_USER) & VM_FAULT_ERROR)
			return -EIO;
		if (r != MM_NONE)
			zap_page_range(mm, at, PAGE);
	}
	return 0;
}

static int restore(struct mm_struct *mm, unsigned long start, unsigned long end, unsigned long flags)
{
	bool closed = (flags & (VM_READ | VM_WRITE)) != (VM_READ | VM_WRITE);
	int err;

	if (!any_swapped(mm, start, end))
		return 0;
	/* The engine, too, asks whether its mapping may be stored to. */
	if (closed && (sys_mprotect(start, end - start, PROT_RW) || vma_modify_flags(mm, start, end - start, VM_READ | VM_WRITE, 0)))
		return -ENOMEM;
	err = bring_all(mm, start, end);
	if (closed)
		sys_mprotect(start, end - start, host_rights(flags));
	return err;
}

int abandon_all(struct mm_struct *mm)
{
	struct vm_area_struct *vma;
	unsigned long at = 0;
	int err = 0;

	uffd_machine_plain();
	mmap_write_lock(mm);
	for (vma = find_vma(mm, 0); vma; vma = vma_next(mm, vma))
		let_go(mm, vma);
	while (!err && (vma = find_vma(mm, at))) {
		unsigned long start = vma_start(vma) > at ? vma_start(vma) : at;

		at = vma_end(vma);
		err = restore(mm, start, at, vma_flags(vma));
	}
	mmap_write_unlock(mm);
	return err;
}
