/* SPDX-License-Identifier: MIT
 *
 * fault.c - the entry of a fault: lock, retry, accounting. The one place for each of these.
 *
 *      fault_path.fault() says        what happens here
 *      0, MAJOR                       counted: minor, major
 *      RETRY                          mmap_lock was released: taken again, and from the start, once (6.x: twice); not if a signal is waiting
 *      COMPLETED                      mmap_lock was released, and all is done: taken again, counted
 *      an error                       not counted; the generation's error() records the signal
 *
 * Lock order: mmap_lock is the outermost; held for reading before and after, either way inside. Nothing else is held here.
 *
 * What is counted, unless the generation counts by itself: one minor or one major fault for every one that ended without an error; major if
 * the page had to be read, or if the first try let go of mmap_lock (5.9 and later). A try that ends in RETRY counts nothing.
 *
 * Considered and rejected: to count at the entry, as PGFAULT does. The common fault would pay for a second counter; tries that are in none of the
 * two are counted where they go wrong (mm_pgfault()).
 */
#include "mm/fault/fault.h"
#include "mm/fault/signals.h"

const struct fault_path *fault_path = &linux_5_path;
unsigned mm_check_every, mm_rules;

/* PGFAULT counts tries; a fault that is counted as minor or major was at least one of them, so that only the others are counted here. */
static void count_try(vm_fault_t ret)
{
	if (fault_path->no_rmap || ret & (VM_FAULT_BADMAP | VM_FAULT_BADACCESS))
		return; /* there was no handle_mm_fault() */
	if (ret & VM_FAULT_RETRY ? mm_reuse_rule != REUSE_6 : ret & VM_FAULT_ERROR)
		count(uncounted_tries, 1);
}

static void mm_account_fault(struct mm_struct *mm, vm_fault_t ret, unsigned flags)
{
	if (!(ret & (VM_FAULT_ERROR | VM_FAULT_RETRY)))
		count_fault(mm, ret & VM_FAULT_MAJOR || flags & FAULT_FLAG_TRIED);
}

/* 5.4 let the architectures count. ARM: by the first try, whatever came of it. x86: once, and major if any of the tries was; that somebody
 * else was waited for makes no major fault. A second try was not allowed to let go of mmap_lock. */
static vm_fault_t retry_5_4(struct mm_struct *mm, unsigned long addr, unsigned *flags, vm_fault_t ret)
{
	vm_fault_t first = ret;

	if (pt.arch == ARCH_ARM)
		mm_account_fault(mm, first & ~VM_FAULT_RETRY, 0);
	mmap_read_lock(mm);
	*flags = (*flags & ~FAULT_FLAG_ALLOW_RETRY) | FAULT_FLAG_TRIED;
	ret = fault_path->fault(mm, addr, *flags);
	if (pt.arch != ARCH_ARM)
		mm_account_fault(mm, ret | (first & VM_FAULT_MAJOR), 0);
	return ret;
}

/* Populate goes on: the system call looks for signals itself. */
static bool fault_signal_pending(const struct mm_struct *mm, unsigned flags)
{
	return !(flags & FAULT_FLAG_POPULATE) && atomic_load_explicit(&((struct mm_struct *)mm)->signal_pending, memory_order_relaxed);
}

/* What the next try is told. 6.x makes a program's first try with the lock of its mapping alone; when that had to be released, and nothing was
 * read, the next one is the first with mmap_lock. */
static inline unsigned retry_flags(unsigned flags, vm_fault_t ret, bool first)
{
	if (flags & FAULT_FLAG_POPULATE)
		return flags;
	if (first && mm_reuse_rule == REUSE_6 && (flags & (FAULT_FLAG_USER | FAULT_FLAG_GUP)) == FAULT_FLAG_USER && !(ret & VM_FAULT_MAJOR))
		return flags;
	return flags | FAULT_FLAG_TRIED;
}

/* mmap_lock was released: take it, and look for everything again. There is one retry, because only a first try lets go of it (in 6.x there are
 * two kinds of first tries). => the end of the fault; *counted: it has been counted */
static noinline vm_fault_t fault_retry(struct mm_struct *mm, unsigned long addr, unsigned *flags, vm_fault_t ret, bool *counted)
{
	for (bool first = true; ret & VM_FAULT_RETRY; first = false) {
		trace(fault_retry, addr, ret, 0);
		count_try(ret);
		if (fault_signal_pending(mm, *flags)) {
			trace_why("a signal is waiting: it is taken first", 0, 0);
			mmap_read_lock(mm);
			return *flags & FAULT_FLAG_USER ? VM_FAULT_RETRY : VM_FAULT_RETRY | VM_FAULT_SIGSEGV;
		}
		if (mm_reuse_rule == REUSE_5_4 && !fault_path->account) {
			*counted = true;
			ret = retry_5_4(mm, addr, flags, ret);
			continue;
		}
		*flags = retry_flags(*flags, ret, first);
		mmap_read_lock(mm);
		ret = fault_path->fault(mm, addr, *flags);
	}
	if (ret & VM_FAULT_COMPLETED)
		mmap_read_lock(mm);
	return ret & ~VM_FAULT_COMPLETED;
}

/* Whatever is not the common end of a fault. */
static noinline vm_fault_t fault_end_slow(struct mm_struct *mm, unsigned long addr, unsigned flags, vm_fault_t ret)
{
	bool counted = false;

	if (ret & (VM_FAULT_RETRY | VM_FAULT_COMPLETED))
		ret = fault_retry(mm, addr, &flags, ret, &counted);
	if (fault_path->account)
		fault_path->account(mm, ret, flags);
	else if (!counted)
		mm_account_fault(mm, ret, flags);
	if (ret & VM_FAULT_ERROR) {
		if (!(ret & VM_FAULT_RETRY)) /* else it has been */
			count_try(ret);
		if (fault_path->error)
			fault_path->error(mm, addr, ret, flags);
	}
	return ret;
}

/* do_page_fault(), mmap_lock held. Inline in both entries. */
static inline vm_fault_t __do_page_fault_locked(struct mm_struct *mm, unsigned long addr, unsigned flags, unsigned cpu,
						struct mm_percpu *percpu)
{
	vm_fault_t ret;

	flags |= FAULT_FLAG_ALLOW_RETRY;
	trace_fn(do_page_fault, addr, flags, 0);
	flags |= cpu << FAULT_CPU_SHIFT;
	ret = fault_path->fault(mm, addr, flags);
	if (unlikely(ret & (VM_FAULT_RETRY | VM_FAULT_COMPLETED | VM_FAULT_ERROR | VM_FAULT_MAJOR)) || unlikely(fault_path->account))
		ret = fault_end_slow(mm, addr, flags, ret);
	else
		count_minor_fault(percpu); /* the first try */
	trace(fault_done, addr, ret, 0);
	return ret;
}

vm_fault_t do_page_fault_locked(struct mm_struct *mm, unsigned long addr, unsigned flags)
{
	unsigned cpu = machine_cpu();

	return __do_page_fault_locked(mm, addr, flags, cpu, &mm->percpu[cpu]);
}

vm_fault_t populate_page(struct mm_struct *mm, unsigned long addr)
{
	vm_fault_t ret;

	mmap_assert_locked(mm);
	ret = fault_path->fault(mm, addr, 0);
	count_try(ret);
	if (fault_path->account)
		fault_path->account(mm, ret, 0);
	else
		mm_account_fault(mm, ret & ~VM_FAULT_MAJOR, 0); /* as if repeated from the start after the reading: FAULT_FLAG_POPULATE */
	return ret;
}

/* The tree may only change with the lock held for writing (as since 6.5): let go, take it, look again. */
noinline struct vm_area_struct *find_extend_vma(struct mm_struct *mm, unsigned long addr)
{
	struct vm_area_struct *vma;
	int err = -EFAULT;

	mmap_read_unlock(mm);
	mmap_write_lock(mm);
	vma = find_vma(mm, addr);
	if (vma && addr < vma->vm_start && vma->vm_flags & VM_GROWSDOWN)
		err = fault_path->expand_stack ? fault_path->expand_stack(vma, addr) : expand_downwards(vma, addr);
	mmap_write_unlock(mm);
	mmap_read_lock(mm);
	vma = find_vma(mm, addr);
	if (!vma || addr < vma->vm_start) {
		trace(expand_stack, addr, err, 0);
		return NULL;
	}
	return vma;
}

/* ---- signals ---------------------------------------------------------------------------------------------------------------- */

bool address_is_canonical(unsigned long addr)
{
	unsigned unused = 64 - PAGE_SHIFT;

	if (pt.arch != ARCH_X86_64)
		return true;
	for (unsigned level = PT_PTE; level < NR_PT_LEVELS; level++)
		unused -= pt.bits[level];
	return (unsigned long)((long)(addr << unused) >> unused) == addr;
}

/* Bit 0: the entry was there; 1: a store; 2: a program; 4: a fetch. */
static unsigned x86_error_code(struct mm_struct *mm, unsigned long addr, unsigned flags)
{
	struct ptdesc *table = addr < TASK_SIZE ? pte_table(mm, addr) : NULL;
	pte_t pte = table ? ptep_get(pte_offset(table, addr)) : (pte_t){ 0 };

	return (pte_present(pte) && !(pte.val & _PAGE_PROTNONE) ? 1 : 0) | (flags & FAULT_FLAG_WRITE ? 2 : 0) |
	       (flags & FAULT_FLAG_USER ? 4 : 0) | (flags & FAULT_FLAG_INSTRUCTION ? 16 : 0);
}

#define TRAP_GENERAL_PROTECTION 13
#define TRAP_PAGE_FAULT         14

/* Threads of one program may fail side by side: the last one is remembered. */
void force_sig_fault(struct mm_struct *mm, unsigned long addr, unsigned flags, int sig, int code)
{
	bool canonical = address_is_canonical(addr);

	__atomic_store_n(&mm->thread.address, canonical ? addr : 0, __ATOMIC_RELAXED);
	__atomic_store_n(&mm->thread.error_code, canonical ? x86_error_code(mm, addr, flags) : 0, __ATOMIC_RELAXED);
	__atomic_store_n(&mm->thread.trap_no, canonical ? TRAP_PAGE_FAULT : TRAP_GENERAL_PROTECTION, __ATOMIC_RELAXED);
	__atomic_store_n(&mm->thread.sig, sig, __ATOMIC_RELAXED);
	__atomic_store_n(&mm->thread.code, canonical ? code : SI_KERNEL, __ATOMIC_RELAXED);
}

static __cold void check_every(void)
{
	static atomic_uint faults;

	if ((atomic_fetch_add(&faults, 1) + 1) % mm_check_every == 0)
		mm_check_invariants();
}

vm_fault_t do_page_fault(struct mm_struct *mm, unsigned long addr, unsigned flags)
{
	unsigned cpu = machine_cpu();
	struct mm_percpu *percpu = &mm->percpu[cpu];
	vm_fault_t ret;

	mmap_read_lock_on(mm, percpu);
	ret = __do_page_fault_locked(mm, addr, flags, cpu, percpu);
	mmap_read_unlock_on(mm, percpu);
	if (unlikely(mm_check_every))
		check_every();
	return ret;
}
