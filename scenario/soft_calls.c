/* SPDX-License-Identifier: MIT
 *
 * soft_calls.c - mmap, munmap, mprotect, mremap, madvise, mlock, brk on an mm_struct: which arguments are refused, and
 * what has been done by then.
 *
 *   call       a hole in the range                      then
 *   munmap     is passed over                           0
 *   mprotect   ends it, what stands before is changed   ENOMEM
 *   mlock      ends it, what stands before is locked    ENOMEM, nothing is brought in
 *   madvise    is passed over                           ENOMEM at the end
 *   mremap     refuses it                               EFAULT
 */
#include <errno.h>

#include "machine/soft/soft.h"
#include "mm/fault/fault.h"
#include "mm/filemap.h" /* what a mapping is of, and its entries */
#include "scenario/soft.h"

#define MAY_FLAGS (VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC)

/* Memory that the kernel has promised (overcommit accounting). The engine promises nothing, but mappings that differ in
 * this flag don't merge, and what has merged decides what fork copies and what mremap refuses. */
#define VM_ACCOUNT 0x00100000UL

static unsigned long page_up(unsigned long x)
{
	return (x + SCN_PAGE - 1) & ~(SCN_PAGE - 1UL);
}

/* A new private mapping is accounted for when it can be written. */
static unsigned long accounted(unsigned long vm_flags)
{
	return (vm_flags & (VM_WRITE | VM_NORESERVE | VM_SHARED)) == VM_WRITE ? vm_flags | VM_ACCOUNT : vm_flags;
}

static bool is_aligned(unsigned long x)
{
	return !(x & (SCN_PAGE - 1));
}

static unsigned long vm_prot(unsigned prot)
{
	return (prot & SCN_R ? VM_READ : 0) | (prot & SCN_W ? VM_WRITE : 0) | (prot & SCN_X ? VM_EXEC : 0);
}

/* mmap_lock held. Where the first hole in [addr, end) begins. */
static unsigned long first_hole(struct mm_struct *mm, unsigned long addr, unsigned long end)
{
	struct vm_area_struct *v = find_vma(mm, addr);

	for (; v && vma_start(v) <= addr && addr < end; v = vma_next(mm, v))
		addr = vma_end(v);
	return addr < end ? addr : end;
}

/* mmap_lock held. */
static bool is_free(struct mm_struct *mm, unsigned long addr, unsigned long end)
{
	struct vm_area_struct *v = find_vma(mm, addr);

	return !v || vma_start(v) >= end;
}

/* No lock held. Is there an entry with which the kernel itself would read, or write? */
static bool is_mapped(struct mm_struct *mm, unsigned long addr, bool write)
{
	struct ptdesc *table = pte_table(mm, addr);
	pte_t pte = table ? ptep_get(pte_offset(table, addr)) : (pte_t){ 0 };

	return pte_present(pte) && !(pte.val & _PAGE_PROTNONE) && (!write || pte_write(pte));
}

/* No lock held. Fault in what an access would fault in, changing nothing there.  how: FAULT_FLAG_POPULATE, FAULT_FLAG_GUP or 0. => 0, EFAULT when it is refused, ENOMEM in a hole */
static int populate(struct mm_struct *mm, unsigned long addr, unsigned long end, bool write, unsigned how)
{
	for (; addr < end; addr += SCN_PAGE) {
		while (!is_mapped(mm, addr, write)) {
			vm_fault_t err = do_page_fault(mm, addr, FAULT_FLAG_USER | how | (write ? FAULT_FLAG_WRITE : 0));

			if (err & VM_FAULT_BADMAP)
				return ENOMEM;
			if (err & VM_FAULT_ERROR)
				return EFAULT;
		}
	}
	return 0;
}

static bool fits(unsigned long addr, unsigned long len)
{
	return page_up(len) <= TASK_SIZE && addr <= TASK_SIZE - page_up(len);
}

/* As mmap with MAP_POPULATE and mlock do: by writes where writing is allowed and what is written is one's own. */
static int populate_by_rights(struct mm_struct *mm, unsigned long addr, unsigned long end)
{
	while (addr < end) {
		unsigned long flags = 0, part = end;
		struct vm_area_struct *v;
		int err;

		mmap_read_lock(mm);
		v = find_vma(mm, addr);
		if (v && vma_start(v) <= addr) {
			flags = vma_flags(v);
			part = vma_end(v) < end ? vma_end(v) : end;
		}
		mmap_read_unlock(mm);
		if (!(flags & VM_ACCESS_FLAGS))
			return ENOMEM;
		err = populate(mm, addr, part, (flags & (VM_WRITE | VM_SHARED)) == VM_WRITE, FAULT_FLAG_POPULATE);
		if (err)
			return err;
		addr = part;
	}
	return 0;
}

/* What mmap refuses whatever stands there; what doesn't fit between 0 and the end of the program's addresses isn't EINVAL since 2.6. => 0 or an
 * errno value */
static int check_mmap(const struct scn_op *op)
{
	if (!op->len || !is_aligned(op->file_off))
		return EINVAL;
	if (!fits(op->addr, op->len))
		return fault_path == &linux_5_path || fault_path == &linux_2_6_path ? ENOMEM : EINVAL;
	if (!is_aligned(op->addr))
		return EINVAL;
	if (op->flags & SCN_GROWSDOWN && (*op->file || op->flags & SCN_SHARED))
		return EINVAL;
	return 0;
}

/* mmap_lock held for writing. => 0 or -errno */
static int map_new(const struct soft_calls *c, struct mm_struct *mm, const struct scn_op *op, unsigned long flags)
{
	struct soft_file *f = soft_file_find(c->files, op->file);
	unsigned long len = page_up(op->len);
	struct file *file;
	int err;

	if (!*op->file && !(op->flags & SCN_SHARED))
		return mmap_region(mm, op->addr, len, flags);
	if (!*op->file)
		return mmap_region_file(mm, op->addr, len, flags, NULL, 0);
	if (!f)
		return -ENOENT;
	file = file_open(f->mapping, FILE_WRITE);
	if (!file)
		return -ENOMEM;
	err = mmap_region_file(mm, op->addr, len, flags, file, op->file_off / SCN_PAGE);
	fput(file);
	return err;
}

static int call_mmap(const struct soft_calls *c, struct mm_struct *mm, const struct scn_op *op)
{
	unsigned long len = page_up(op->len);
	unsigned long flags = vm_prot(op->prot) | MAY_FLAGS | (op->flags & SCN_GROWSDOWN ? VM_GROWSDOWN : 0) |
			      (op->flags & SCN_NORESERVE ? VM_NORESERVE : 0) |
			      (op->flags & SCN_SHARED ? VM_SHARED | VM_MAYSHARE : 0);
	int err = check_mmap(op);

	if (err)
		return err;
	mmap_write_lock(mm);
	if (!(op->flags & SCN_AT) && !is_free(mm, op->addr, op->addr + len))
		err = -EEXIST;
	else
		err = map_new(c, mm, op, accounted(flags));
	mmap_write_unlock(mm);
	if (!err && op->flags & SCN_POPULATE)
		populate_by_rights(mm, op->addr, op->addr + len); /* as far as it goes: mmap has succeeded */
	return -err;
}

static int call_munmap(struct mm_struct *mm, const struct scn_op *op)
{
	int err;

	if (!is_aligned(op->addr) || !op->len)
		return EINVAL;
	mmap_write_lock(mm);
	err = do_munmap(mm, op->addr, page_up(op->len));
	mmap_write_unlock(mm);
	return -err;
}

/* mmap_lock held for writing; [addr, addr+len) lies in one vma. => 0 or -errno; *locked: these pages are to be made
 * writable now, because what is locked shall not fault later */
static int protect_vma(struct mm_struct *mm, unsigned long addr, size_t len, unsigned long set, bool *locked)
{
	const struct vm_area_struct *v = find_vma(mm, addr);
	unsigned long flags = vma_flags(v), clear = VM_ACCESS_FLAGS & ~set;

	*locked = (flags & (VM_LOCKED | VM_WRITE | VM_SHARED)) == VM_LOCKED && set & VM_WRITE;
	if (set & VM_WRITE && !(flags & (VM_NORESERVE | VM_SHARED)))
		set |= VM_ACCOUNT;
	else if (!(set & VM_WRITE) && !v->vm_file && !atomic_load(&v->anon_vma))
		clear |= VM_ACCOUNT; /* nothing was ever written, nothing can be: the promise is taken back */
	return vma_modify_flags(mm, addr, len, set, clear);
}

static int call_mprotect(struct mm_struct *mm, const struct scn_op *op)
{
	unsigned long addr = op->addr, end = op->addr + page_up(op->len), part;

	if (!is_aligned(op->addr))
		return EINVAL;
	for (; addr < end; addr = part) {
		struct vm_area_struct *v;
		bool locked = false;
		int err = -ENOMEM;

		part = end;
		mmap_write_lock(mm);
		v = find_vma(mm, addr);
		if (v && vma_start(v) <= addr) {
			part = vma_end(v) < end ? vma_end(v) : end;
			err = protect_vma(mm, addr, part - addr, vm_prot(op->prot), &locked);
		}
		mmap_write_unlock(mm);
		if (err)
			return -err;
		if (locked)
			populate(mm, addr, part, true, 0);
	}
	return 0;
}

static int call_mlock(struct mm_struct *mm, const struct scn_op *op)
{
	unsigned long begin = op->addr & ~(SCN_PAGE - 1UL), end = page_up(op->addr + op->len), hole;
	bool lock = op->verb == SCN_MLOCK;
	int err = 0;

	if (begin == end)
		return 0;
	mmap_write_lock(mm);
	hole = first_hole(mm, begin, end);
	if (hole > begin)
		err = vma_modify_flags(mm, begin, hole - begin, lock ? VM_LOCKED : 0, lock ? 0 : VM_LOCKED);
	mmap_write_unlock(mm);
	if (err || hole < end)
		return err ? -err : ENOMEM;
	return lock && populate_by_rights(mm, begin, end) ? ENOMEM : 0; /* whatever was refused there */
}

static int call_msync(struct mm_struct *mm, const struct scn_op *op)
{
	return !is_aligned(op->addr) ? EINVAL : -msync_range(mm, op->addr, page_up(op->len));
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

/* Where it is an mmap, the pages are brought in like those of an mmap, without the lock. */
static int call_remap_file_pages(struct mm_struct *mm, const struct scn_op *op)
{
	unsigned long begin = op->addr & ~(SCN_PAGE - 1UL);
	bool later = !fault_path->remap_file_pages;
	int err;

	mmap_write_lock(mm);
	err = sys_remap_file_pages(mm, op->addr, op->len, op->new_len, 0, later);
	mmap_write_unlock(mm);
	if (!err && later)
		populate(mm, begin, begin + (op->len & ~(SCN_PAGE - 1UL)), false, FAULT_FLAG_POPULATE);
	return -err;
}

/* The kernel's own access to the program's page. => false: refused */
static bool kernel_reaches(struct mm_struct *mm, unsigned long addr, bool write)
{
	for (;;) {
		struct ptdesc *table = pte_table(mm, addr);
		pte_t pte = table ? ptep_get(pte_offset(table, addr)) : (pte_t){ 0 };

		if (pte_present(pte) && pte_mapped(pte) && !(pte.val & _PAGE_PROTNONE) && (!write || pte_how(pte) & MACHINE_MAP_WRITE))
			return true;
		if (do_page_fault(mm, addr, write ? FAULT_FLAG_WRITE : 0) & VM_FAULT_ERROR)
			return false;
	}
}

/* read(2) and write(2) of a page's part. What the kernel can't reach in memory ends it. => bytes */
static size_t transfer(struct mm_struct *mm, struct soft_file *f, bool to_memory, unsigned long addr, uint64_t off, size_t len)
{
	size_t done;

	if (len && !kernel_reaches(mm, addr, to_memory))
		return 0;
	for (done = 0; done < len; done++) {
		uint8_t byte;

		if (to_memory ? filemap_peek(f->mapping, off + done, &byte) || soft_store(mm, addr + done, byte)
			      : soft_load(mm, addr + done, &byte) || filemap_poke(f->mapping, off + done, byte))
			break;
	}
	return done;
}

/* Nothing grows. An error that stops it after the first byte is not one. */
static int call_transfer(const struct soft_calls *c, struct mm_struct *mm, const struct scn_op *op, unsigned long *result)
{
	struct soft_file *f = soft_file_find(c->files, op->file);
	uint64_t size = f ? address_space_size(f->mapping) : 0;
	struct file *file = f ? file_open(f->mapping, FILE_WRITE) : NULL;
	size_t len = op->len;

	if (!file)
		return f ? ENOMEM : EBADF;
	if (op->verb == SCN_PWRITE && op->new_len + op->len > size) {
		fput(file);
		return EINVAL;
	}
	if (op->new_len + len > size)
		len = size > op->new_len ? size - op->new_len : 0;
	for (*result = 0; *result < len;) {
		size_t room = SCN_PAGE - (op->addr + *result) % SCN_PAGE, n = len - *result < room ? len - *result : room, done;

		if (op->verb == SCN_PWRITE && kernel_reaches(mm, op->addr + *result, false)) {
			uint8_t byte;

			soft_load(mm, op->addr + *result, &byte); /* as write(2): the memory first, then the file */
		}
		(op->verb == SCN_PREAD ? filemap_get_pages : filemap_populate)(file, (op->new_len + *result) / SCN_PAGE,
									       (op->new_len + *result + n - 1) / SCN_PAGE + 1);
		done = transfer(mm, f, op->verb == SCN_PREAD, op->addr + *result, op->new_len + *result, n);
		*result += done;
		if (done < n)
			break;
	}
	fput(file);
	return len && !*result ? EFAULT : 0;
}

/* mmap_lock held. */
static bool in_core(struct mm_struct *mm, struct vm_area_struct *v, unsigned long addr)
{
	if (mm_residency(mm, addr) == MM_PRESENT)
		return true;
	return v->vm_file && filemap_cached(v->vm_file->f_mapping, linear_page_index(v, addr));
}

static int call_mincore(struct mm_struct *mm, const struct scn_op *op, struct scn_outcome *out)
{
	unsigned long end = op->addr + page_up(op->len);
	int err = 0;

	if (!is_aligned(op->addr))
		return EINVAL;
	if (!fits(op->addr, op->len))
		return ENOMEM;
	mmap_read_lock(mm);
	for (unsigned long addr = op->addr; addr < end && !err; addr += SCN_PAGE) {
		struct vm_area_struct *v = find_vma(mm, addr);
		bool is_in;

		if (!v || vma_start(v) > addr) {
			err = ENOMEM;
			break;
		}
		is_in = in_core(mm, v, addr);
		out->result += is_in;
		out->sum = out->sum * 2 + is_in;
	}
	mmap_read_unlock(mm);
	return err;
}

/* ---- mremap ------------------------------------------------------------------------------------------------------ */

/* mmap_lock held for writing. Where it stands. */
static int resize_in_place(struct mm_struct *mm, const struct scn_op *op, struct vm_area_struct *v)
{
	unsigned long old_len = page_up(op->len), new_len = page_up(op->new_len);

	if (old_len >= new_len)
		return old_len == new_len ? 0 : do_munmap(mm, op->addr + new_len, old_len - new_len);
	if (old_len > vma_end(v) - op->addr)
		return -EFAULT;
	if (vma_end(v) != op->addr + old_len || !is_free(mm, op->addr + old_len, op->addr + new_len))
		return -ENOMEM;
	return move_vma(mm, op->addr, old_len, op->addr, new_len, false);
}

/* mmap_lock held for writing. To an address of the caller's choice. */
static int move_to(struct mm_struct *mm, const struct scn_op *op, struct vm_area_struct *v)
{
	unsigned long old_len = page_up(op->len), new_len = page_up(op->new_len);

	if (old_len > new_len && vma_end(v) - op->addr >= new_len) {
		int err = do_munmap(mm, op->addr + new_len, old_len - new_len);

		if (err)
			return err;
		old_len = new_len;
	}
	if (old_len > vma_end(v) - op->addr)
		return -EFAULT;
	return move_vma(mm, op->addr, old_len, op->to, new_len, false);
}

/* mmap_lock held for writing. An old length of 0: the same pages of a shared mapping at another place as well. */
static int duplicate(struct mm_struct *mm, const struct scn_op *op, struct vm_area_struct *v)
{
	if (!(vma_flags(v) & VM_SHARED) || !(op->flags & SCN_AT))
		return op->flags & SCN_AT ? -EINVAL : -ENOMEM;
	return mmap_region_file(mm, op->to, page_up(op->new_len), vma_flags(v), v->vm_file, linear_page_index(v, op->addr));
}

/* What is seen without a look at the mappings. (A size that can't fit when no address is given: since 6.17; earlier kernels find ENOMEM, or EFAULT.) */
static bool mremap_is_wrong(const struct scn_op *op)
{
	unsigned long old_len = page_up(op->len), new_len = page_up(op->new_len);

	if (!is_aligned(op->addr) || !op->new_len || !fits(op->flags & SCN_AT ? op->to : 0, op->new_len))
		return true;
	return op->flags & SCN_AT && (!is_aligned(op->to) || (op->to < op->addr + old_len && op->addr < op->to + new_len));
}

static int call_mremap(struct mm_struct *mm, const struct scn_op *op, unsigned long *result)
{
	unsigned long old_len = page_up(op->len), new_len = page_up(op->new_len), flags = 0;
	struct vm_area_struct *v;
	int err;

	if (mremap_is_wrong(op))
		return EINVAL;
	mmap_write_lock(mm);
	v = find_vma(mm, op->addr);
	if (!v || vma_start(v) > op->addr) {
		err = -EFAULT;
	} else if (!old_len) {
		err = vma_flags(v) & VM_SHARED ? duplicate(mm, op, v) : -EINVAL;
	} else {
		flags = vma_flags(v);
		err = op->flags & SCN_AT ? move_to(mm, op, v) : resize_in_place(mm, op, v);
	}
	mmap_write_unlock(mm);
	*result = op->flags & SCN_AT ? op->to : op->addr;
	if (!err && flags & VM_LOCKED && new_len > old_len)
		populate_by_rights(mm, *result + old_len, *result + new_len);
	return -err;
}

/* ---- madvise ----------------------------------------------------------------------------------------------------- */

static void will_need(struct mm_struct *mm, struct vm_area_struct *v, unsigned long addr, unsigned long end)
{
	if (v->vm_file && !(v->vm_file->f_mapping->flags & MAPPING_ANON))
		filemap_populate(v->vm_file, linear_page_index(v, addr), linear_page_index(v, end));
	else
		swapin_range(mm, addr, end - addr);
}

/* mmap_lock held for writing; [addr, end) lies in one vma. => 0 or -errno */
static int advise_vma(struct mm_struct *mm, struct vm_area_struct *v, unsigned long addr, unsigned long end, enum scn_advice advice)
{
	bool is_locked = vma_flags(v) & VM_LOCKED;
	size_t len = end - addr;

	switch (advice) {
	case SCN_DONTNEED:
		if (!is_locked)
			zap_page_range(mm, addr, len);
		return is_locked ? -EINVAL : 0;
	case SCN_FREE:
		if (is_locked || v->vm_file)
			return -EINVAL;
		zap_swap_range(mm, addr, len);
		return 0;
	case SCN_PAGEOUT:
		if (!is_locked)
			pageout_range(mm, addr, len);
		return is_locked ? -EINVAL : 0;
	case SCN_COLD_PAGES:
		return is_locked ? -EINVAL : 0;
	case SCN_WILLNEED:
		will_need(mm, v, addr, end);
		return 0;
	case SCN_NORMAL: return vma_modify_flags(mm, addr, len, 0, VM_SEQ_READ | VM_RAND_READ);
	case SCN_RANDOM: return vma_modify_flags(mm, addr, len, VM_RAND_READ, VM_SEQ_READ);
	case SCN_SEQUENTIAL: return vma_modify_flags(mm, addr, len, VM_SEQ_READ, VM_RAND_READ);
	case SCN_DONTFORK: return vma_modify_flags(mm, addr, len, VM_DONTCOPY, 0);
	case SCN_DOFORK: return vma_modify_flags(mm, addr, len, 0, VM_DONTCOPY);
	case SCN_WIPEONFORK: return v->vm_file ? -EINVAL : vma_modify_flags(mm, addr, len, VM_WIPEONFORK, 0);
	case SCN_KEEPONFORK: return vma_modify_flags(mm, addr, len, 0, VM_WIPEONFORK);
	case SCN_HUGEPAGE:
	case SCN_NOHUGEPAGE: return 0; /* there are none */
	default: return -EINVAL;
	}
}

/* Looks for the next vma by address each time: what was done to one may have joined it with its neighbours. */
static int advise_range(struct mm_struct *mm, unsigned long addr, unsigned long end, enum scn_advice advice)
{
	bool hole = false;

	while (addr < end) {
		struct vm_area_struct *v = find_vma(mm, addr);
		unsigned long part;
		int err;

		if (!v || vma_start(v) >= end)
			return -ENOMEM;
		if (vma_start(v) > addr) {
			hole = true;
			addr = vma_start(v);
		}
		part = vma_end(v) < end ? vma_end(v) : end;
		err = advise_vma(mm, v, addr, part, advice);
		if (err)
			return err;
		addr = part;
	}
	return hole ? -ENOMEM : 0;
}

/* MADV_POPULATE_*: the right that is named has to be there, even where a plain load would do with another one. */
static int populate_exactly(struct mm_struct *mm, unsigned long addr, unsigned long end, bool write)
{
	while (addr < end) {
		unsigned long part = end;
		struct vm_area_struct *v;
		bool hole, refused;
		int err;

		mmap_read_lock(mm);
		v = find_vma(mm, addr);
		hole = !v || vma_start(v) > addr;
		refused = !hole && !(vma_flags(v) & (write ? VM_WRITE : VM_READ));
		if (!hole && vma_end(v) < end)
			part = vma_end(v);
		mmap_read_unlock(mm);
		if (hole || refused)
			return hole ? ENOMEM : EINVAL;
		err = populate(mm, addr, part, write, FAULT_FLAG_GUP);
		if (err)
			return err;
		addr = part;
	}
	return 0;
}

static int call_madvise(struct mm_struct *mm, const struct scn_op *op)
{
	unsigned long end = op->addr + page_up(op->len);
	int err;

	if (!is_aligned(op->addr))
		return EINVAL;
	if (op->advice == SCN_POPULATE_READ || op->advice == SCN_POPULATE_WRITE)
		return populate_exactly(mm, op->addr, end, op->advice == SCN_POPULATE_WRITE);
	mmap_write_lock(mm);
	err = advise_range(mm, op->addr, end, op->advice);
	mmap_write_unlock(mm);
	return -err;
}

/* ---- brk --------------------------------------------------------------------------------------------------------- */

static int call_brk(struct mm_struct *mm, unsigned long to, unsigned long *brk, unsigned long heap)
{
	unsigned long from = page_up(*brk), end = page_up(to);
	const struct vm_area_struct *vma;
	int err = 0;

	if (to < heap)
		return ENOMEM;
	mmap_write_lock(mm);
	vma = find_vma(mm, end);
	if (fault_path->brk)
		err = fault_path->brk(mm, heap, end);
	else if (end < from) /* 6.x: what is given back must not be one hole */
		err = vma && vma_start(vma) < from ? do_munmap(mm, end, from - end) : -ENOMEM;
	else if (end > from)
		err = is_free(mm, from, end)
			      ? mmap_region(mm, from, end - from, accounted(VM_READ | VM_WRITE | MAY_FLAGS))
			      : -ENOMEM;
	mmap_write_unlock(mm);
	if (!err)
		*brk = to;
	return err ? ENOMEM : 0;
}

/* ---- all of them ------------------------------------------------------------------------------------------------- */

int soft_call(const struct soft_calls *c, struct soft_process *p, const struct scn_op *op, struct scn_outcome *out)
{
	struct mm_struct *mm = p->mm;

	switch (op->verb) {
	case SCN_MMAP: return call_mmap(c, mm, op);
	case SCN_MUNMAP: return call_munmap(mm, op);
	case SCN_MPROTECT: return call_mprotect(mm, op);
	case SCN_MREMAP: return call_mremap(mm, op, &out->result);
	case SCN_MADVISE: return call_madvise(mm, op);
	case SCN_MSYNC: return call_msync(mm, op);
	case SCN_MLOCK:
	case SCN_MUNLOCK: return call_mlock(mm, op);
	case SCN_REMAP_FILE_PAGES: return call_remap_file_pages(mm, op);
	case SCN_PREAD:
	case SCN_PWRITE: return call_transfer(c, mm, op, &out->result);
	case SCN_MINCORE: return call_mincore(mm, op, out);
	case SCN_BRK: return call_brk(mm, op->addr, &p->brk, c->heap);
	default: return ENOSYS;
	}
}

static enum scn_signal which_signal(vm_fault_t err)
{
	if (err & VM_FAULT_OOM)
		return SCN_OOM;
	if (err & VM_FAULT_BADMAP)
		return SCN_SEGV_MAPERR;
	if (err & (VM_FAULT_BADACCESS | VM_FAULT_SIGSEGV))
		return SCN_SEGV_ACCERR;
	return err & VM_FAULT_SIGBUS ? SCN_BUS_ADRERR : SCN_OTHER_SIGNAL;
}

void soft_access(struct mm_struct *mm, const struct scn_op *op, struct scn_outcome *out)
{
	for (size_t o = 0; o < op->len; o += SCN_PAGE) {
		uint8_t byte = 0;
		vm_fault_t err;

		if (op->verb == SCN_WRITE)
			err = soft_store(mm, op->addr + o, op->value);
		else
			err = soft_load(mm, op->addr + o, &byte);
		if (err) {
			out->signal = which_signal(err);
			out->at = op->addr + o;
			return;
		}
		if (op->verb == SCN_READ)
			out->sum = out->sum * 0x100000001b3ULL + byte + 1;
	}
}

void soft_sweep(struct mm_struct *mm, const struct scn_op *op, struct scn_outcome *out)
{
	struct scn_op one = *op;
	uint64_t sum = 0;

	one.verb = SCN_READ;
	one.len = 1;
	for (size_t o = 0; o < op->len; o += SCN_PAGE) {
		struct scn_outcome got = { 0 };

		one.addr = op->addr + o;
		soft_access(mm, &one, &got);
		sum = sum * 0x100000001b3ULL + (got.signal ? 1000 + got.signal : got.sum);
		if (got.signal == SCN_OOM)
			out->signal = got.signal;
	}
	out->sum = sum;
}
