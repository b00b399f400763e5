/* SPDX-License-Identifier: MIT
 *
 * linux_2_0.c - the fault path of doc 0: its names, with the control flow of 1.0 that the lines it quotes are from.
 *
 *      do_page_fault ............................. present: do_wp_page; absent: do_no_page
 *        do_no_page
 *          get_empty_pgtable
 *          swap entry ............................ swap_in; of shared memory: shm_no_page
 *          in a vma without ->nopage ............. get_empty_page
 *          in a vma with ->nopage ................ file_mmap_nopage
 *                                                    share_page, try_to_share: another task's page
 *                                                    bmap, bread_page: out of the buffer cache, or read
 *                                                    put_page
 *          between end_data and brk .............. get_empty_page, no vma needed
 *          near the stack, below it .............. the stack reaches down to here; get_empty_page
 *          anywhere else ......................... SIGSEGV (and in kernel mode an empty page all the same)
 *        do_wp_page .............................. written in place by its only user, copied otherwise
 *
 * No vma is asked whether the access is allowed: entries say it, with a software bit for what may be copied (pte_cow). Private anonymous
 * mappings are filled with the read-only zero page when they are made, so that reading them never faults.
 *
 * The buffer cache: a page of a file whose four blocks of 1 KiB are all on the device is cached as four buffers in one frame, and that frame
 * may be mapped. It stands in i_pages. A page with a hole, or that ends the file, is never cached so, and always copied.
 *
 * Lock order: mmap_lock (write: one task at a time is in the kernel) > another task's mmap_lock (only tried for) > invalidate_lock > page lock >
 * pte lock.
 *
 * Considered and rejected: prot sets in the entries (PRIVATE, COPY, SHARED, with the software bit COW). The mapping implies them, and entries
 * that say it too could contradict it after mprotect(). And to search all mappings of the other tasks: the one that can agree begins where ours
 * does.
 *
 * Not here, because the tables hold nothing else than what the engine has put there: corrupt directories and frames beyond the end of memory, which
 * 1.0 warns of and clears, or kills the task for.
 *
 * Where this is stricter than 1.0: an entry never gets W in a mapping that can't be written (swap_in, get_empty_page and a write fault on a
 * read-only file would give it); the store then finds the entry read-only and gets its SIGSEGV a fault later. What put_page() finds in an
 * occupied entry is freed, not lost. And a task that executes the file shares only what is still the file's page at that place.
 */
#include "mm/fault/linux_2_0.h"

#define BLOCK_SIZE 1024
#define BLOCKS (PAGE_SIZE / BLOCK_SIZE)

/* ---- put_page, get_empty_page ---------------------------------------------------------------------------------------------- */

/* => 0: the entry has the reference; otherwise it is still the caller's */
static vm_fault_t put_page(struct task_fault *f, struct page *page, pteval_t prot)
{
	vm_fault_t ret;

	trace_fn(put_page, f->address, page_to_pfn(page), 0);
	f->table = pte_table(f->mm, f->address);
	if (!f->table)
		return no_page_table(f);
	spin_lock(&f->table->ptl);
	if (!pte_none(ptep_get(pte_of(f->table, f->address)))) {
		trace_why("a page is there already: cleared", 0, 0);
		clear_entry(f);
	}
	ret = install_page(f, page, prot);
	spin_unlock(&f->table->ptl);
	return ret;
}

/* oom() has been called; whoever is killed shall not fault again on his way out. */
static vm_fault_t put_bad_page(struct task_fault *f)
{
	spin_lock(&f->table->ptl);
	if (!pte_none(ptep_get(pte_of(f->table, f->address))))
		clear_entry(f);
	install_bad_page(f);
	spin_unlock(&f->table->ptl);
	return VM_FAULT_OOM;
}

static vm_fault_t get_empty_page(struct task_fault *f)
{
	struct page *page;
	vm_fault_t ret;

	trace_fn(get_empty_page, f->address, 0, 0);
	page = get_free_page(f->mm);
	if (!page) {
		oom(f->mm);
		return put_bad_page(f);
	}
	count(zeroed, 1);
	ret = put_page(f, page, page_prot(f->mm, f->address));
	if (ret)
		free_page(page);
	return ret;
}

/* ---- swap_in --------------------------------------------------------------------------------------------------------------- */

static vm_fault_t swap_in(struct task_fault *f, pte_t orig)
{
	swp_entry_t entry = pte_to_swp_entry(orig);
	struct page *page;
	vm_fault_t ret = VM_FAULT_MAJOR;

	trace_fn(swap_in, f->address, entry.val, linux_2_0_hw_entry(orig));
	page = __get_free_page(f->mm);
	if (!page) {
		oom(f->mm);
		return put_bad_page(f);
	}
	if (read_swap_page(entry, page)) {
		free_page(page);
		return VM_FAULT_HWPOISON;
	}
	spin_lock(&f->table->ptl);
	if (!pte_same(ptep_get(pte_of(f->table, f->address)), orig)) {
		trace_why("the entry has changed while the page was read", 0, 0);
		free_page(page);
	} else {
		ret = install_page(f, page, page_prot(f->mm, f->address) | _PAGE_DIRTY);
		if (ret) {
			set_pte(pte_of(f->table, f->address), orig);
			free_page(page);
		} else {
			add_mm_counter(f->mm, MM_SWAPENTS, -1);
			swap_free(entry);
			ret = VM_FAULT_MAJOR;
		}
	}
	spin_unlock(&f->table->ptl);
	return ret;
}

/* An entry of the reserved type SHM: shared memory looks after its pages in swap itself. Here the mapping says so, by ->swapin. Whoever has the segment
 * has the same page. */
static vm_fault_t shm_no_page(struct task_fault *f, struct vm_area_struct *vma, pte_t orig)
{
	struct page *page;
	vm_fault_t ret = 0;

	trace_fn(shm_no_page, f->address, orig.val, 0);
	page = vma->vm_ops->swapin(vma, linear_page_index(vma, f->address), pte_to_swp_entry(orig).val);
	if (!page) {
		oom(f->mm);
		return put_bad_page(f);
	}
	spin_lock(&f->table->ptl);
	if (!pte_same(ptep_get(pte_of(f->table, f->address)), orig)) {
		trace_why("the entry has changed while the page was got", 0, 0);
		ret = VM_FAULT_NOPAGE;
	} else {
		ret = install_page(f, page, page_prot(f->mm, f->address) | _PAGE_DIRTY);
		if (ret)
			set_pte(pte_of(f->table, f->address), orig);
	}
	if (!ret) {
		add_mm_counter(f->mm, MM_SWAPENTS, -1);
		swap_free(pte_to_swp_entry(orig));
	}
	spin_unlock(&f->table->ptl);
	if (ret)
		free_page(page);
	return ret;
}

static void copy_page(struct page *to, struct page *from)
{
	trace_fn(copy_page, page_to_pfn(from), page_to_pfn(to), 0);
	memcpy(machine_frame(page_to_pfn(to)), machine_frame(page_to_pfn(from)), PAGE_SIZE);
	count(copied, 1);
}

/* ---- share_page ------------------------------------------------------------------------------------------------------------ */

/* Who executes a file has its pages where they belong, or has mapped something else there meanwhile. (1.0 doesn't look.) => p's mmap_lock held */
static bool same_place(struct mm_struct *p, const struct task_fault *f)
{
	const struct vm_area_struct *theirs = vma_at(p, f->address), *ours = vma_at(f->mm, f->address);

	return theirs && theirs->vm_file && theirs->vm_file->f_mapping == ours->vm_file->f_mapping &&
	       linear_page_index(theirs, f->address) == linear_page_index(ours, f->address);
}

/* The page that p has at the address, if it is as the file has it. => with a reference, and nobody can write to it; or NULL */
static struct page *page_to_share(struct mm_struct *p, unsigned long addr)
{
	struct ptdesc *table = pte_table(p, addr);
	struct page *page = NULL;
	pte_t *ptep, from;

	if (!table) {
		trace_why("the other task has no table there", 0, 0);
		return NULL;
	}
	ptep = pte_of(table, addr);
	spin_lock(&table->ptl);
	from = ptep_get(ptep);
	if (!pte_normal(from) || pte_dirty(from) || page_reserved(pfn_to_page(pte_pfn(from)))) {
		trace_why("the other task's page is absent, dirty, or reserved", 0, 0);
	} else {
		page = pfn_to_page(pte_pfn(from));
		get_page(page);
		if (pte_write(from)) {
			from = (pte_t){ __atomic_and_fetch(&ptep->val, ~_PAGE_RW, __ATOMIC_ACQ_REL) };
			machine_protect(p, addr, 1, pte_pfn(from), 0);
			if (pte_dirty(from)) { /* a store on another processor came first */
				free_page(page);
				page = NULL;
			}
		}
	}
	spin_unlock(&table->ptl);
	return page;
}

/* newpage: a frame for the copy that a store needs; it has gone when this succeeds. => p's mmap_lock held */
static bool try_to_share(struct mm_struct *p, struct task_fault *f, struct page *newpage)
{
	bool write = f->flags & FAULT_FLAG_WRITE;
	struct page *from, *to;
	vm_fault_t ret = VM_FAULT_NOPAGE;

	trace_fn(try_to_share, f->address, write, 0);
	if (!same_place(p, f)) {
		trace_why("the other task has something else there", 0, 0);
		return false;
	}
	from = page_to_share(p, f->address);
	if (!from)
		return false;
	to = from;
	trace_why(write ? "the other task has it, clean: a copy for the store" : "the other task has it, clean: read-only for both", 0, 0);
	if (write) {
		if (newpage)
			copy_page(newpage, from);
		free_page(from);
		to = newpage;
	}
	spin_lock(&f->table->ptl);
	if (to && pte_none(ptep_get(pte_of(f->table, f->address))))
		ret = install_page(f, to, write ? page_prot(f->mm, f->address) : page_prot(f->mm, f->address) & ~_PAGE_RW);
	spin_unlock(&f->table->ptl);
	if (ret) {
		if (!write)
			free_page(from);
		return false;
	}
	if (!write && newpage)
		free_page(newpage);
	return true;
}

/* ->share: the same part of the same file at the same place with the same rights. */
static bool file_mmap_share(const struct vm_area_struct *from, const struct vm_area_struct *area, unsigned long addr)
{
	trace_leaf(file_mmap_share, addr, from->vm_start, area->vm_start);
	return from->vm_start == area->vm_start && from->vm_end == area->vm_end && from->vm_pgoff == area->vm_pgoff &&
	       !((from->vm_flags ^ area->vm_flags) & (VM_ACCESS_FLAGS | VM_SHARED));
}

/* Does p execute the file, or has it a mapping with the same operations and file that agrees? 1.0 goes through all of p's mappings; the one that
 * can agree begins where ours does. => p's mmap_lock held */
static bool task_qualifies(struct mm_struct *p, const struct vm_area_struct *area, unsigned long addr)
{
	struct vm_area_struct *mpnt;

	if (p->executable == area->vm_file->f_mapping) {
		trace_why("the other task executes the file", 0, 0);
		return true;
	}
	mpnt = find_vma(p, area->vm_start);
	return mpnt && mpnt->vm_ops && mpnt->vm_ops == area->vm_ops && mpnt->vm_file->f_mapping == area->vm_file->f_mapping &&
	       mpnt->vm_ops->share && mpnt->vm_ops->share(mpnt, area, addr);
}

static bool share_page(struct vm_area_struct *area, struct task_fault *f, struct page *newpage)
{
	struct file *file = area->vm_file;
	struct mm_struct *p;
	bool done = false;

	trace_fn(share_page, f->address, 0, 0);
	if (atomic_load(&file->refs) + atomic_load(&file->f_mapping->refs) - 1 < 2) {
		trace_why("nobody else uses the file", 0, 0);
		return false;
	}
	for (p = task_first(); p && !done; p = task_next(p)) {
		if (p == f->mm || !task_trylock(p))
			continue;
		if (task_qualifies(p, area, f->address))
			done = try_to_share(p, f, newpage);
		mmap_read_unlock(p);
	}
	if (p)
		task_put(p);
	return done;
}

/* ---- the buffer cache ------------------------------------------------------------------------------------------------------ */

/* Where the block stands on the device; 0: a hole, or beyond the end. */
static unsigned long bmap(struct address_space *mapping, unsigned long block)
{
	trace_leaf(bmap, block, mapping->a_ops->bmap != NULL, 0);
	if (block >= (address_space_size(mapping) + BLOCK_SIZE - 1) / BLOCK_SIZE)
		return 0;
	return mapping->a_ops->bmap ? mapping->a_ops->bmap(mapping->host, block) : block + 1;
}

/* Frames for read_cache_page(), which doesn't take them from this task. */
static void make_room(struct mm_struct *mm)
{
	while (!nr_free_frames() && try_to_free_page(mm))
		;
}

/* Our own frame becomes four buffers of the cache. => it, with another reference; NULL: others were faster, or it can't be read */
static struct page *try_to_load_aligned(struct task_fault *f, struct page *page, struct address_space *mapping, unsigned long pgoff)
{
	int err;

	maj_flt(f->mm);
	trylock_page(page); /* nobody knows it */
	err = add_to_page_cache_lru(page, mapping, pgoff);
	if (err) {
		unlock_page(page);
		return NULL;
	}
	err = filemap_read_page(page);
	if (err)
		delete_from_page_cache(page);
	unlock_page(page);
	return err ? NULL : page;
}

/* All four blocks in one frame of the cache, or in none of it. => the frame to map instead of ours, or NULL. invalidate_lock held */
static struct page *try_to_share_buffers(struct task_fault *f, struct page *page, struct address_space *mapping, unsigned long pgoff,
					 const unsigned long *b)
{
	struct page *cached;

	for (unsigned i = 0; i < BLOCKS; i++)
		if (!b[i]) {
			trace_why("block %lu is a hole", i, 0);
			return NULL;
		}
	cached = find_get_page(mapping, pgoff, NULL);
	if (!cached) {
		trace_why("none of it is in memory: read into our frame, which the buffers share", 0, 0);
		return try_to_load_aligned(f, page, mapping, pgoff);
	}
	if (!(page_flags(cached) & PG_uptodate)) {
		free_page(cached);
		return NULL;
	}
	trace_why("the buffers are in memory, in one frame: that one is mapped", 0, 0);
	set_page_flags(cached, PG_referenced);
	min_flt(f->mm);
	free_page(page);
	return cached;
}

/* The bytes of the blocks in `page`, or in another frame: that is the one to use, with the caller's reference. */
static struct page *bread_page(struct task_fault *f, struct page *page, struct address_space *mapping, unsigned long pgoff,
			       const unsigned long *b, pteval_t prot)
{
	uint8_t *to = machine_frame(page_to_pfn(page)), *from;
	struct page *where = NULL;
	int err;

	trace_fn(bread_page, f->address, pgoff, page_to_pfn(page));
	down_read(&mapping->invalidate_lock);
	if (!(prot & _PAGE_RW))
		where = try_to_share_buffers(f, page, mapping, pgoff, b);
	if (where) {
		up_read(&mapping->invalidate_lock);
		return where;
	}
	trace_why("the bytes of the buffers are copied", 0, 0);
	maj_flt(f->mm);
	make_room(f->mm);
	where = b[0] || b[1] || b[2] || b[3] ? read_cache_page(mapping, pgoff, &err) : NULL;
	memset(to, 0, PAGE_SIZE);
	if (where) { /* what can't be read stays zero */
		from = machine_frame(page_to_pfn(where));
		for (unsigned i = 0; i < BLOCKS; i++)
			if (b[i])
				memcpy(to + i * BLOCK_SIZE, from + i * BLOCK_SIZE, BLOCK_SIZE);
		count(copied, 1);
		set_page_flags(where, PG_referenced);
		unlock_page(where);
		free_page(where);
	}
	up_read(&mapping->invalidate_lock);
	return page;
}

/* ---- file_mmap_nopage ------------------------------------------------------------------------------------------------------ */

/* It counts and maps by itself. */
static vm_fault_t file_mmap_nopage(struct vm_fault *vmf)
{
	struct vm_area_struct *area = vmf->vma;
	struct address_space *mapping = area->vm_file->f_mapping;
	struct task_fault f = {
		.mm = area->vm_mm, .address = vmf->address, .flags = vmf->flags, .table = pte_table(area->vm_mm, vmf->address),
	};
	unsigned long pgoff = linear_page_index(area, vmf->address), nr[BLOCKS];
	pteval_t prot = vma_prot(area) & ~_PAGE_RW;
	struct page *page;
	vm_fault_t ret;

	trace_fn(file_mmap_nopage, vmf->address, pgoff, vmf->flags);
	page = get_free_page(f.mm);
	if (share_page(area, &f, page)) {
		min_flt(f.mm);
		goto installed;
	}
	maj_flt(f.mm);
	if (!page) {
		oom(f.mm);
		return put_bad_page(&f);
	}
	for (unsigned i = 0; i < BLOCKS; i++)
		nr[i] = bmap(mapping, pgoff * BLOCKS + i);
	if (vmf->flags & FAULT_FLAG_WRITE && area->vm_flags & VM_WRITE)
		prot |= _PAGE_RW | _PAGE_DIRTY;
	page = bread_page(&f, page, mapping, pgoff, nr, prot);
	/* Somebody may have mapped it while it was read. */
	if (!(prot & _PAGE_RW) && share_page(area, &f, page))
		goto installed;
	ret = put_page(&f, page, prot);
	if (!ret)
		goto installed;
	free_page(page);
	return ret;
installed:
	vmf->pte = pte_of(f.table, f.address);
	return 0;
}

static const struct vm_operations_struct file_mmap_ops = { .fault = file_mmap_nopage, .share = file_mmap_share };

/* ---- do_no_page ------------------------------------------------------------------------------------------------------------ */

static vm_fault_t empty_page_fault(struct task_fault *f)
{
	min_flt(f->mm);
	return get_empty_page(f);
}

/* The vma above the address is the stack, it is nearer to the address than the mapping below, and its limit allows it. */
static bool stack_may_grow(const struct task_fault *f, struct vm_area_struct *stack)
{
	struct vm_area_struct *prev;
	unsigned long below;

	if (!stack || !(stack->vm_flags & VM_GROWSDOWN))
		return false;
	prev = vma_prev(stack);
	below = prev ? prev->vm_end : 0;
	trace_fn(expand_stack, f->address, f->address - below, stack->vm_start - f->address);
	if (f->address - below <= stack->vm_start - f->address) {
		trace_why("%lu bytes above the mapping below, %lu below the stack", f->address - below, stack->vm_start - f->address);
		return false;
	}
	if (f->mm->rlimit_stack <= stack->vm_end - f->address) {
		trace_why("the stack's limit is %lu bytes, it would have %lu", f->mm->rlimit_stack, stack->vm_end - f->address);
		return false;
	}
	return true;
}

/* No vma covers the address. */
static vm_fault_t no_vma(struct task_fault *f, struct vm_area_struct *next)
{
	if (f->flags & FAULT_FLAG_REMOTE) {
		trace_why("for another task: an empty page", 0, 0);
		return empty_page_fault(f);
	}
	if (f->address >= f->mm->end_data && f->address < f->mm->brk) {
		trace_why("between end_data and brk (%lx): an empty page", f->mm->brk, 0);
		return empty_page_fault(f);
	}
	if (stack_may_grow(f, next)) {
		vma_adjust(next, f->address, next->vm_end);
		return empty_page_fault(f);
	}
	trace_why("neither in a mapping nor below brk nor at the stack: SIGSEGV", 0, 0);
	if (!(f->flags & FAULT_FLAG_USER))
		return VM_FAULT_BADMAP | empty_page_fault(f);
	return VM_FAULT_BADMAP;
}

static vm_fault_t __do_no_page(struct task_fault *f, pte_t pte)
{
	struct vm_area_struct *vma;

	if (!pte_none(pte)) {
		trace_why("the entry says where in swap it is", 0, 0);
		maj_flt(f->mm);
		vma = vma_at(f->mm, f->address);
		return vma && vma->vm_ops && vma->vm_ops->swapin ? shm_no_page(f, vma, pte) : swap_in(f, pte);
	}
	vma = find_vma(f->mm, f->address);
	if (!vma || f->address < vma->vm_start)
		return no_vma(f, vma);
	if (!vma->vm_ops || !vma->vm_ops->fault) {
		trace_why("a mapping without ->nopage", 0, 0);
		return empty_page_fault(f);
	} else {
		struct vm_fault vmf = { .vma = vma, .address = f->address, .flags = f->flags };
		vm_fault_t ret;

		trace_why("a mapping with ->nopage", 0, 0);
		ret = vma->vm_ops->fault(&vmf);
		f->installed = vmf.pte;
		return ret;
	}
}

static vm_fault_t do_no_page(struct task_fault *f)
{
	unsigned long major = mm_maj_flt(f->mm);
	vm_fault_t ret;
	pte_t pte;

	trace_fn(do_no_page, f->address, f->flags, 0);
	if (!get_empty_pgtable(f))
		return VM_FAULT_OOM;
	pte = ptep_get(pte_of(f->table, f->address));
	if (pte_present(pte))
		return 0;
	ret = __do_no_page(f, pte);
	/* rss rises before anybody knows what comes of it. */
	if (!f->installed)
		add_mm_counter(f->mm, MM_MISCOUNTED, 1);
	return mm_maj_flt(f->mm) != major ? ret | VM_FAULT_MAJOR : ret;
}

/* ---- do_wp_page ------------------------------------------------------------------------------------------------------------ */

/* Needed by more than one, or by nobody that counts (RESERVED). => pte lock held */
static bool only_user(pte_t pte)
{
	struct page *page = pfn_to_page(pte_pfn(pte));

	return !pte_special(pte) && !page_reserved(page) && mem_map_count(page) == 1;
}

static void fill_copy(pte_t from, struct page *to)
{
	if (pte_special(from)) {
		memset(machine_frame(page_to_pfn(to)), 0, PAGE_SIZE);
		count(zeroed, 1);
		return;
	}
	copy_page(to, pfn_to_page(pte_pfn(from)));
	count(cow_copy, 1);
}

/* A frame first, and then everything anew: to get it, this page may have been swapped out. */
static vm_fault_t __do_wp_page(struct task_fault *f)
{
	struct page *new_page = __get_free_page(f->mm);
	vm_fault_t ret = 0;
	pte_t old;

	spin_lock(&f->table->ptl);
	old = ptep_get(pte_of(f->table, f->address));
	if (!pte_present(old) || pte_write(old)) {
		trace_why("the entry has changed while a frame was got", 0, 0);
	} else {
		min_flt(f->mm);
		if (only_user(old)) {
			trace_why("the others have gone meanwhile: written in place", 0, 0);
			make_writable(f);
		} else if (new_page) {
			fill_copy(old, new_page);
			/* D comes along with the other bits: mlock's copy may be followed by no store. */
			ret = replace_page(f, new_page, _PAGE_RW | (old.val & _PAGE_DIRTY));
			if (!ret)
				new_page = NULL;
		} else {
			clear_entry(f);
			ret = oom(f->mm);
			install_bad_page(f);
		}
	}
	spin_unlock(&f->table->ptl);
	if (new_page)
		free_page(new_page);
	return ret;
}

static vm_fault_t do_wp_page(struct task_fault *f)
{
	pte_t pte;

	f->table = pte_table(f->mm, f->address);
	pte = f->table ? ptep_get(pte_of(f->table, f->address)) : (pte_t){ 0 };
	trace_fn(do_wp_page, f->address, pte.val, 0);
	if (!pte_present(pte) || pte_write(pte))
		return 0;
	/* 1.0 lets kernel mode go on, whose stores no 386 stopped. */
	if (!pte_cow(f->mm, f->address)) {
		trace_why("not to be copied: SIGSEGV", 0, 0);
		return VM_FAULT_BADACCESS;
	}
	if (!only_user(pte)) {
		trace_why("other users, or reserved: a copy", 0, 0);
		return __do_wp_page(f);
	}
	trace_why("its only user: written in place", 0, 0);
	spin_lock(&f->table->ptl);
	make_writable(f);
	spin_unlock(&f->table->ptl);
	return 0;
}

/* ---- do_page_fault --------------------------------------------------------------------------------------------------------- */

static bool present(const struct task_fault *f)
{
	const struct ptdesc *table = pte_table(f->mm, f->address);

	return table && pte_present(ptep_get(pte_of(table, f->address)));
}

static vm_fault_t do_page_fault_1_0(struct mm_struct *mm, unsigned long addr, unsigned flags)
{
	struct task_fault f = { .mm = mm, .address = addr & PAGE_MASK, .flags = flags };
	vm_fault_t ret = 0;
	bool released;

	if (addr >= TASK_SIZE)
		return VM_FAULT_BADMAP; /* the kernel's own addresses: it dies */
	released = lock_fault(mm, flags);
	if (touch_entry(&f)) {
		trace_why("the entry allows it by now", 0, 0);
	} else if (present(&f)) {
		trace_why("error code: protection", 0, 0);
		ret = do_wp_page(&f);
	} else {
		trace_why("error code: not present", 0, 0);
		ret = do_no_page(&f);
	}
	lock_fault_done(mm, released);
	return ret;
}

/* ---- mappings -------------------------------------------------------------------------------------------------------------- */

#define ZEROMAP_MAX (4UL << 30) /* more than there was in a 1.0 machine; beyond it, faults fill in what is touched */

/* A new anonymous mapping: the zero page everywhere, read-only. The stack is made without it. */
static void zeromap_page_range(struct vm_area_struct *vma)
{
	pte_t zero = pfn_pte(0, _PAGE_SPECIAL | _PAGE_ACCESSED | (vma_prot(vma) & ~_PAGE_RW));
	unsigned long addr = vma->vm_start;

	if (vma->vm_ops || vma->vm_flags & VM_GROWSDOWN || vma->vm_end - addr > ZEROMAP_MAX)
		return;
	trace_fn(zeromap_page_range, addr, vma->vm_end, 0);
	while (addr < vma->vm_end) {
		struct ptdesc *table = pte_table_alloc(vma->vm_mm, addr);
		unsigned long stop = pmd_addr_end(addr, vma->vm_end);

		if (!table)
			return;
		spin_lock(&table->ptl);
		map_run(vma->vm_mm, addr, (stop - addr) >> PAGE_SHIFT, 0, MACHINE_MAP_SHARED_ZERO);
		for (; addr < stop; addr += PAGE_SIZE)
			set_pte(pte_of(table, addr), zero);
		spin_unlock(&table->ptl);
	}
}

/* Nothing can be shared and writable. */
static int mmap_check_1_0(const struct file *file, unsigned long *vm_flags)
{
	if (*vm_flags & VM_SHARED && (!file || *vm_flags & VM_WRITE))
		return -EINVAL;
	if (*vm_flags & VM_SHARED)
		*vm_flags &= ~VM_MAYWRITE;
	return 0;
}

static int sys_brk(struct mm_struct *mm, unsigned long start, unsigned long end)
{
	struct vm_area_struct *vma = find_vma(mm, mm->brk ? mm->brk : start);
	int err = 0;

	mmap_assert_write_locked(mm);
	if (end < start || end > TASK_SIZE || (vma && end > vma->vm_start))
		return -ENOMEM;
	if (end < mm->brk)
		err = do_munmap(mm, end, mm->brk - end);
	if (!err) {
		mm->end_data = start;
		mm->brk = end;
	}
	return err;
}

static int init_2_0(void)
{
	unsigned need = MACHINE_READONLY | MACHINE_ALIAS;

	if ((mm_caps & need) != need)
		return -EINVAL;
	if (page_cache_rule())
		fault_path = &linux_2_0_33_path;
	return frames_init();
}

const struct fault_path linux_2_0_path = {
	.name = "linux-2.0",
	.fault = do_page_fault_1_0,
	.account = counted_already,
	.error = bad_area_2_0,
	.copy_page_range = copy_page_tables,
	.try_to_free_pages = swap_try_to_free_pages,
	.pageout_range = swap_pageout_range,
	.swapin_range = swap_swapin_range,
	.mapped = zeromap_page_range,
	.file_vm_ops = &file_mmap_ops,
	.init = init_2_0,
	.mmap_check = mmap_check_1_0,
	.brk = sys_brk,
	.pte_modify = pte_modify_2_0,
	.dup_mm = copy_bare_pages,
	.no_rmap = true,
	.bare_pages = true,
};
