/* SPDX-License-Identifier: MIT
 *
 * linux_5.c - the fault path of Linux 5.x (5.15), from the processor's exception to the entry, in the order of doc 1.
 *
 *      do_page_fault                                              fault.c: mmap_lock, one retry, accounting
 *        __do_page_fault ........ vma? stack? allowed?
 *          handle_mm_fault
 *            __handle_mm_fault .. pgd, p4d, pud, pmd
 *              handle_pte_fault
 *                 none, anonymous ..... do_anonymous_page ......... anon_window.c, where a fault may fill more than one page
 *                 none, otherwise ..... do_fault
 *                    read ............. do_read_fault ............. do_fault_around, else __do_fault
 *                    write, private ... do_cow_fault .............. __do_fault, copy
 *                    write, shared .... do_shared_fault ........... __do_fault, ->page_mkwrite, fault_dirty_shared_page
 *                 not present ......... do_swap_page .............. swapin.c
 *                 present, write, RO .. do_wp_page ................ wp_page_reuse, wp_page_shared, wp_page_copy, wp_pfn_shared
 *                 present ............. young and dirty bits; a spurious fault
 *        __do_user_fault, __do_kernel_fault ... when it ended in an error
 *
 *      entry      access   mapping          machine            result
 *      none       read     anonymous        ZERO_PAGE          zero page, RO, no frame, no rss
 *      none       read     anonymous        -                  zeroed frame with the mapping's rights (as 2.6.24)
 *      none       write    anonymous        any                zeroed frame, W D
 *      none       any      anonymous SHARED any                SIGBUS (shared anonymous memory has vm_ops)
 *      none       read     file             any                what is cached of the 16 pages around; or the page, read if need be.
 *                                                              RO; W too where shared stores need no notice (4.1)
 *      none       write    file, private    any                a copy of the page, W D: anonymous from now on
 *      none       write    file, shared     any                the page, W D, and marked dirty
 *      none       any      file, beyond end any                SIGBUS
 *      swap       any      any              cache hit          minor, the page is mapped again
 *      swap       any      any              cache miss         major, read into a frame; a stream brings more
 *      swap       any      any              damaged            HWPOISON, the entry stays
 *      present    write    RO, zero page    READONLY           a zeroed page instead
 *      present    write    RO, no struct page READONLY         shared: in place, after ->pfn_mkwrite; private: a copy
 *      present    write    RO, anonymous    READONLY           in place, if nobody else has it (the rule below); else a copy
 *      present    write    RO, file shared  READONLY           in place, after ->page_mkwrite; the page is marked dirty
 *      present    write    RO, file private READONLY           a copy: anonymous from now on
 *      present    any      old              no YOUNG           mapped again, young
 *      present    write    clean            no DIRTY           dirty, write access granted
 *
 * One switch, mm_params.rules, for what differs within the family (mm_reuse_rule):
 *
 *                                   MM_REUSE_5_4           MM_REUSE_5_15 (default)       MM_REUSE_6
 *      in place after a fork        map + swap refs == 1   ref == 1 and map == 1         exclusive, or ref == 1 without its swap copy
 *      the page is locked           waited for             a copy                        a copy, unless it is exclusive
 *      swap-in by a read            RO                     RO                            W, if the page is known to be ours
 *      mprotect back to writable    dirty and not shared   dirty and not shared          exclusive
 *      new anonymous pages          active list            inactive                      inactive
 *      a miss of program text       around                 around                        ahead, to the end of the mapping (6.16)
 *      readahead's mark at the end  of the window          of the part within the file   of the window; of that part behind a page that was there
 *      around it is but the last    mapped, in a new table if need be                    mapped if there is a table (6.18; tmpfs: always)
 *        page of a file
 *      store made a page dirty      throttled at once      mmap_lock released: RETRY     mmap_lock released: COMPLETED
 *      major fault                  any try was (ARM: the  the last try was, or there    the last try was, or a page was read, or
 *                                   first)                 was a retry                   there were two retries
 *
 * Lock order: mmap_lock (read) > page lock > page_table_lock > pte lock > swap, LRU, zone. Whatever sleeps (allocation, reading) is done
 * without the pte lock; under it the entry is compared with what was read at the start, and the loser frees his page.
 *
 * Not here, because no machine has it: huge pages, migration, NUMA hints, an OOM reaper. A task that faults is running already: __set_current_state() has nothing to do.
 *
 * Considered and rejected: machine_map() after the pte lock. It would shorten the time the lock is held, but a second thread that
 * faults on the entry would find it present and not yet mapped, and could not tell that from a page that the host has lost.
 */
#include "mm/fault/linux_5.h"
#include "mm/filemap.h"
#include "mm/fault/signals.h"

enum reuse_rule mm_reuse_rule = REUSE_5_15;
unsigned mm_anon_around = 1, mm_swapin_around = 1;
unsigned long mm_fault_around = 16; /* fault_around_bytes: 64 KiB */

/* ---- small parts ------------------------------------------------------------------------------------------------------- */

/* => true: no memory. */
static inline_hot bool vmf_pte_alloc(struct vm_fault *vmf)
{
	hot_trace_fn(vmf->traced, pte_alloc, vmf->address, 0, 0);
	if (likely(vmf->table))
		return false;
	if (pte_alloc(vmf->vma->vm_mm, vmf->pmd))
		return true;
	vmf_find_pte(vmf, desc_load(&vmf->pmd->desc));
	return false;
}

/* The calls of the common path that are not inline get a copy: so the context whose address nobody has lives in registers, and what it
 * doesn't need is not computed. */
static inline struct vm_fault vmf_copy(const struct vm_fault *vmf)
{
	struct vm_fault copy = *vmf;

	copy.pgoff = linear_page_index(vmf->vma, vmf->address);
	return copy;
}

/* An entry that is none gets its value, and the machine hears of it (how: pte_how(), and what else). => pte lock held; 1, or -errno: it is none
 * again */
static inline_hot int set_pte_at(const struct vm_fault *vmf, unsigned long addr, pte_t *ptep, pte_t pte, unsigned long pfn, unsigned how)
{
	int done;

	hot_trace_fn(vmf->traced, set_pte_at, addr, 1, pfn);
	set_pte(ptep, pte);
	done = machine_map(vmf->vma->vm_mm, addr, 1, pfn, how);
	if (vmf->traced)
		trace(machine_map, addr, 1, pfn);
	if (likely(done == 1))
		return 1;
	set_pte(ptep, (pte_t){ 0 });
	return done ? done : -ENOENT;
}

/* A new anonymous page joins the lists. 5.4 took it for active. */
static inline_hot void lru_add_new_anon(const struct vm_fault *vmf, struct mm_cpu *cpu, struct page *page, unsigned long pfn)
{
	if (unlikely(mm_reuse_rule == REUSE_5_4))
		set_page_flags(page, PG_active);
	else if (likely(!(vmf->vma->vm_flags & VM_LOCKED))) {
		if (vmf->traced)
			trace(lru_cache_add_inactive_or_unevictable, pfn, 1, 0);
		lru_cache_add_new(cpu, page, pfn);
		return;
	}
	lru_cache_add_inactive_or_unevictable(page, vmf->vma);
}

/* => NULL: OOM. Never published: free_new_page() takes it back */
static struct page *alloc_page_vma(const struct vm_fault *vmf)
{
	unsigned long pfn;

	return alloc_one_fault(fault_percpu(vmf->vma->vm_mm, vmf->flags)->cpu, &pfn, vmf->traced);
}

static void free_new_page(struct page *page)
{
	free_run(page_to_pfn(page), 1);
}

/* A page of a file may be stored to meanwhile, through another mapping: each word of the copy is an old or a new one. */
static void copy_user_highpage(struct page *to, struct page *from)
{
	uint64_t *dst = machine_frame(page_to_pfn(to)), *src = machine_frame(page_to_pfn(from));

	if (!page_is_file(from)) {
		memcpy(dst, src, PAGE_SIZE);
		return;
	}
	for (unsigned i = 0; i < PAGE_SIZE / sizeof(*dst); i++)
		dst[i] = __atomic_load_n(&src[i], __ATOMIC_RELAXED);
}

/* ---- do_anonymous_page --------------------------------------------------------------------------------------------------- */

/* A frame whose first contents are zeros; the machine sees to that when it maps it (MACHINE_MAP_ZERO). => NULL: OOM */
static inline_hot struct page *alloc_zeroed_user_highpage_movable(const struct vm_fault *vmf, struct mm_cpu *cpu, unsigned long *pfn)
{
	hot_trace_fn(vmf->traced, alloc_zeroed_user_highpage_movable, vmf->address, 1, 0);
	return alloc_one_fault(cpu, pfn, vmf->traced);
}

/* A read of what was never written: one page of zeros serves all. */
static noinline vm_fault_t do_zero_page(struct vm_fault *vmf)
{
	pte_t pte = pfn_pte(0, _PAGE_SPECIAL | _PAGE_ACCESSED | (vma_prot(vmf->vma) & ~_PAGE_RW));
	int done = 1;

	trace(zero_page, vmf->address, 0, 0);
	vmf_lock_pte(vmf);
	if (pte_none(ptep_get(vmf->pte)))
		done = set_pte_at(vmf, vmf->address, vmf->pte, pte, 0, pte_how(pte) | MACHINE_MAP_SHARED_ZERO);
	vmf_unlock_pte(vmf);
	return done == 1 ? 0 : VM_FAULT_NOPAGE;
}

static inline_hot vm_fault_t do_anonymous_page(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct mm_percpu *percpu;
	struct vm_fault copy;
	struct mm_cpu *cpu;
	unsigned long pfn;
	struct page *page;
	unsigned how;
	pte_t pte;
	int done;

	hot_trace_fn(vmf->traced, do_anonymous_page, vmf->address, vmf->flags, 0);
	if (vma->vm_flags & VM_SHARED)
		return VM_FAULT_SIGBUS;
	if (vmf_pte_alloc(vmf))
		return VM_FAULT_OOM;
	if (unlikely(!(vmf->flags & FAULT_FLAG_WRITE)) && !(~mm_caps & (MACHINE_ZERO_PAGE | MACHINE_READONLY))) {
		copy = vmf_copy(vmf);
		return do_zero_page(&copy);
	}
	trace_why("a page of its own", 0, 0);
	if (anon_vma_prepare(vma))
		return VM_FAULT_OOM;
	if (unlikely(mm_anon_around > 1) && !(vma->vm_flags & (VM_RAND_READ | VM_NOFAULTAROUND))) {
		copy = vmf_copy(vmf);
		return do_anonymous_window(&copy);
	}
	percpu = fault_percpu(vma->vm_mm, vmf->flags);
	cpu = percpu->cpu;
	page = alloc_zeroed_user_highpage_movable(vmf, cpu, &pfn);
	if (unlikely(!page))
		return VM_FAULT_OOM;

	spin_lock(vmf->ptl);
	if (unlikely(!pte_none(ptep_get(vmf->pte)))) {
		trace_why("another thread was faster", 0, 0);
		vmf_unlock_pte(vmf);
		free_new_page(page);
		return 0;
	}
	page_add_new_anon_rmap(page, vma, vmf->address);
	pte = mk_pte(vma, pfn, &how);
	done = set_pte_at(vmf, vmf->address, vmf->pte, pte, pfn, how | MACHINE_MAP_ZERO);
	if (unlikely(done != 1)) {
		page_remove_rmap(page);
		vmf_unlock_pte(vmf);
		free_new_page(page);
		return map_error(done);
	}
	add_percpu_counter(percpu, MM_ANONPAGES, 1);
	lru_add_new_anon(vmf, cpu, page, pfn);
	vmf_unlock_pte(vmf);
	count_on(cpu, zeroed, 1);
	return 0;
}

/* ---- do_fault: mappings of files and of shared anonymous memory -------------------------------------------------------------- */

#define VM_FAULT_NO_PAGE (VM_FAULT_ERROR | VM_FAULT_NOPAGE | VM_FAULT_RETRY)

/* => vmf->page locked, with a reference; or one of VM_FAULT_NO_PAGE, or DONE_COW. RETRY: mmap_lock was released, vmf->vma may be gone */
static vm_fault_t __do_fault(struct vm_fault *vmf)
{
	vm_fault_t ret;

	trace_fn(__do_fault, vmf->address, vmf->pgoff, vmf->flags);
	/* Before the page is locked: an allocation may have to write pages out, and would wait for that one. */
	if (pmd_none(vmf->pmd) && !vmf->prealloc_pte) {
		vmf->prealloc_pte = pte_alloc_one();
		if (!vmf->prealloc_pte)
			return VM_FAULT_OOM;
	}
	ret = vmf->vma->vm_ops->fault(vmf);
	if (ret & (VM_FAULT_NO_PAGE | VM_FAULT_DONE_COW))
		return ret;
	if (unlikely(!(ret & VM_FAULT_LOCKED)))
		lock_page(vmf->page);
	return ret | VM_FAULT_LOCKED;
}

/* Not one that came along with a neighbour: it is young, for it is used at once. A store's page has W and D at once: the private copy, which is
 * anonymous, or the shared page, whose owner has agreed. */
int do_set_pte(struct vm_fault *vmf, struct page *page, unsigned long addr)
{
	struct vm_area_struct *vma = vmf->vma;
	struct mm_struct *mm = vma->vm_mm;
	bool write = vmf->flags & FAULT_FLAG_WRITE && addr == vmf->address, cow = write && !(vma->vm_flags & VM_SHARED);
	pte_t *ptep = pte_offset(desc_load(&vmf->pmd->desc), addr);
	pte_t pte = pfn_pte(page_to_pfn(page), file_page_prot(vma) | _PAGE_ACCESSED);
	struct mm_percpu *percpu;
	int done;

	trace_fn(do_set_pte, addr, page_to_pfn(page), write);
	if (write)
		pte = pte_set(pte, _PAGE_DIRTY | (vma->vm_flags & VM_WRITE ? _PAGE_RW : 0));
	if (cow)
		page_add_new_anon_rmap(page, vma, addr);
	else
		page_add_file_rmap(page);
	done = set_pte_at(vmf, addr, ptep, pte, page_to_pfn(page), pte_how(pte));
	if (unlikely(done != 1)) {
		page_remove_rmap(page);
		return done;
	}
	percpu = fault_percpu(mm, vmf->flags);
	add_percpu_counter(percpu, cow ? MM_ANONPAGES : mm_counter_file(page), 1);
	if (cow)
		lru_add_new_anon(vmf, percpu->cpu, page, page_to_pfn(page));
	else if (unlikely(vma->vm_flags & VM_LOCKED))
		page_set_unevictable(page, true);
	return 1;
}

/* The page, or its copy, stands at the address. => page locked; 0: its reference is the entry's now; NOPAGE: somebody was faster, or the
 * machine could not; or OOM */
vm_fault_t finish_fault(struct vm_fault *vmf)
{
	struct page *page = vmf->flags & FAULT_FLAG_WRITE && !(vmf->vma->vm_flags & VM_SHARED) ? vmf->cow_page : vmf->page;
	vm_fault_t ret = 0;
	int done;

	trace_fn(finish_fault, vmf->address, page_to_pfn(page), 0);
	if (vmf->prealloc_pte)
		pmd_install(vmf->vma->vm_mm, vmf->pmd, &vmf->prealloc_pte);
	vmf_lock_pte(vmf);
	if (pte_none(ptep_get(vmf->pte))) {
		done = do_set_pte(vmf, page, vmf->address);
		if (unlikely(done != 1))
			ret = map_error(done);
	} else {
		trace_why("the entry is no longer none", 0, 0);
		ret = VM_FAULT_NOPAGE;
	}
	vmf_unlock_pte(vmf);
	return ret;
}

/* What is in the cache of the aligned 16 pages around the address, as far as the vma and the table go. The window is aligned in virtual
 * addresses; where the vma begins inside it, it reaches as much further. A table is got in advance, and becomes one when a page is found.
 * => NOPAGE: the faulting address is served */
static vm_fault_t do_fault_around(struct vm_fault *vmf)
{
	const struct vm_area_struct *vma = vmf->vma;
	unsigned long address = max_ul(vmf->address & -(mm_fault_around * PAGE_SIZE), vma->vm_start);
	unsigned long start_pgoff = vmf->pgoff - ((vmf->address - address) >> PAGE_SHIFT), end_pgoff;

	trace_fn(do_fault_around, vmf->address, address, start_pgoff);
	end_pgoff = start_pgoff + pt.mask[PT_PTE] - pt_index(PT_PTE, address); /* the last entry of this table */
	end_pgoff = min_ul(end_pgoff, vma->vm_pgoff + ((vma->vm_end - vma->vm_start) >> PAGE_SHIFT) - 1);
	end_pgoff = min_ul(end_pgoff, start_pgoff + mm_fault_around - 1);
	if (pmd_none(vmf->pmd)) {
		vmf->prealloc_pte = pte_alloc_one();
		if (!vmf->prealloc_pte)
			return VM_FAULT_OOM;
	}
	return vma->vm_ops->map_pages(vmf, start_pgoff, end_pgoff);
}

static vm_fault_t do_read_fault(struct vm_fault *vmf)
{
	vm_fault_t ret;

	trace_fn(do_read_fault, vmf->address, vmf->pgoff, vmf->flags);
	if (vmf->vma->vm_ops->map_pages && mm_fault_around > 1) {
		ret = do_fault_around(vmf);
		if (ret)
			return ret;
	}
	ret = __do_fault(vmf);
	if (unlikely(ret & VM_FAULT_NO_PAGE))
		return ret;
	ret |= finish_fault(vmf);
	unlock_page(vmf->page);
	if (unlikely(ret & VM_FAULT_NO_PAGE))
		put_page(vmf->page);
	return ret;
}

/* A store to a private mapping: the copy is made at once, the page of the cache is never mapped. */
static vm_fault_t do_cow_fault(struct vm_fault *vmf)
{
	vm_fault_t ret;

	trace_fn(do_cow_fault, vmf->address, vmf->pgoff, vmf->flags);
	if (anon_vma_prepare(vmf->vma))
		return VM_FAULT_OOM;
	vmf->cow_page = alloc_page_vma(vmf); /* before the page of the cache is locked */
	if (!vmf->cow_page)
		return VM_FAULT_OOM;
	ret = __do_fault(vmf);
	if (unlikely(ret & VM_FAULT_NO_PAGE)) {
		if (vmf->cow_page) /* else ->fault has let go of it together with mmap_lock */
			free_new_page(vmf->cow_page);
		return ret;
	}
	count(copied, 1);
	if (ret & VM_FAULT_DONE_COW)
		return ret;
	copy_user_highpage(vmf->cow_page, vmf->page);
	ret |= finish_fault(vmf);
	unlock_page(vmf->page);
	put_page(vmf->page);
	if (unlikely(ret & VM_FAULT_NO_PAGE))
		free_new_page(vmf->cow_page);
	return ret;
}

/* The owner of the page is asked before its first store. => vmf->page locked (LOCKED); 0 or NO_PAGE: not to be mapped */
static vm_fault_t do_page_mkwrite(struct vm_fault *vmf)
{
	vm_fault_t ret = vmf->vma->vm_ops->page_mkwrite(vmf);

	if (unlikely(ret & VM_FAULT_NO_PAGE) || ret & VM_FAULT_LOCKED)
		return ret;
	lock_page(vmf->page);
	if (page_is_file(vmf->page))
		return ret | VM_FAULT_LOCKED;
	unlock_page(vmf->page); /* truncated meanwhile */
	return 0;
}

/* Who makes pages dirty may be held up until enough are written. Nothing here is ever held up: reclaim and msync write. What the kernels do
 * beside waiting stays: 5.4 waits where it is, later ones let go of mmap_lock on a first try, and 6.x doesn't repeat the fault after that. */
static vm_fault_t balance_dirty_pages(struct vm_fault *vmf)
{
	trace_fn(balance_dirty_pages, vmf->address, 0, 0);
	if (mm_reuse_rule == REUSE_5_4 || (vmf->flags & (FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_TRIED)) != FAULT_FLAG_ALLOW_RETRY)
		return 0;
	trace_why("mmap_lock is released before waiting", 0, 0);
	mmap_read_unlock(vmf->vma->vm_mm);
	return mm_reuse_rule == REUSE_6 ? VM_FAULT_COMPLETED : VM_FAULT_RETRY;
}

/* A store to a shared page is allowed from now on. => page locked, released; the entry holds the only reference of the fault. RETRY or
 * COMPLETED: mmap_lock was released */
static vm_fault_t fault_dirty_shared_page(struct vm_fault *vmf)
{
	struct page *page = vmf->page;
	bool dirtied, in_file = page_is_file(page);

	trace_fn(fault_dirty_shared_page, vmf->address, page_to_pfn(page), 0);
	dirtied = set_page_dirty(page);
	unlock_page(page);
	if (!vmf->vma->vm_ops->page_mkwrite)
		file_update_time(vmf->vma);
	return in_file && (dirtied || vmf->vma->vm_ops->page_mkwrite) ? balance_dirty_pages(vmf) : 0;
}

static vm_fault_t do_shared_fault(struct vm_fault *vmf)
{
	vm_fault_t ret, mkwrite;

	trace_fn(do_shared_fault, vmf->address, vmf->pgoff, vmf->flags);
	ret = __do_fault(vmf);
	if (unlikely(ret & VM_FAULT_NO_PAGE))
		return ret;
	if (vmf->vma->vm_ops->page_mkwrite) {
		unlock_page(vmf->page);
		mkwrite = do_page_mkwrite(vmf);
		if (unlikely(!mkwrite || mkwrite & VM_FAULT_NO_PAGE)) {
			put_page(vmf->page);
			return mkwrite;
		}
	}
	ret |= finish_fault(vmf);
	if (unlikely(ret & VM_FAULT_NO_PAGE)) {
		unlock_page(vmf->page);
		put_page(vmf->page);
		return ret;
	}
	return ret | fault_dirty_shared_page(vmf);
}

/* A mapping whose owner brings no pages: somebody else may have set the entry meanwhile. */
static vm_fault_t no_fault_handler(struct vm_fault *vmf)
{
	vm_fault_t ret = VM_FAULT_SIGBUS;

	if (pmd_none(vmf->pmd))
		return ret;
	vmf_lock_pte(vmf);
	if (!pte_none(ptep_get(vmf->pte)))
		ret = VM_FAULT_NOPAGE;
	vmf_unlock_pte(vmf);
	return ret;
}

static noinline vm_fault_t do_fault(struct vm_fault *vmf)
{
	vm_fault_t ret;

	trace_fn(do_fault, vmf->address, vmf->pgoff, vmf->flags);
	if (!vmf->vma->vm_ops->fault) {
		ret = no_fault_handler(vmf);
	} else if (!(vmf->flags & FAULT_FLAG_WRITE)) {
		trace_why("a read", 0, 0);
		ret = do_read_fault(vmf);
	} else if (!(vmf->vma->vm_flags & VM_SHARED)) {
		trace_why("a write, and the mapping is private", 0, 0);
		ret = do_cow_fault(vmf);
	} else {
		trace_why("a write, and the mapping is shared", 0, 0);
		ret = do_shared_fault(vmf);
	}
	if (vmf->prealloc_pte)
		pte_free_one(vmf->prealloc_pte);
	return ret;
}

/* ---- do_wp_page ------------------------------------------------------------------------------------------------------------ */

/* 5.15: nobody else has it. Whoever has a page locked has a reference of his own, so that the lock needs no taking: under the pte lock nobody can come to
 * have the page. => pte lock held */
static inline bool reuse_by_5_15(struct page *page)
{
	if (atomic_load_explicit(&page->_refcount, memory_order_acquire) != 1 || page_mapcount(page) != 1 || page_flags(page) & PG_locked)
		return false;
	set_page_flags(page, PG_anon_exclusive);
	return true;
}

/* 5.4 waits for whoever has the page locked, 6.x takes it as somebody's. => pte lock held. *same: it still is, and the entry is what it
 * was. true: the page is locked */
static bool wp_lock_page(struct vm_fault *vmf, struct page *page, bool *same)
{
	*same = true;
	if (trylock_page(page))
		return true;
	if (mm_reuse_rule != REUSE_5_4) {
		trace_why("somebody has the page locked", 0, 0);
		return false;
	}
	trace_why("somebody has the page locked: waited for", 0, 0);
	get_page(page);
	vmf_unlock_pte(vmf);
	lock_page(page);
	vmf_lock_pte(vmf);
	*same = pte_same(ptep_get(vmf->pte), vmf->orig_pte);
	if (!*same) {
		vmf_unlock_pte(vmf);
		unlock_page(page);
	}
	put_page(page);
	return *same;
}

/* Rules of fault-paths.md 3.8, 5.4 and 6.x. => pte and page lock held; the latter released */
static bool reuse_locked_page(struct page *page)
{
	bool cached = page_in_swap_cache(page), ok;

	if (mm_reuse_rule == REUSE_5_4)
		ok = page_mapcount(page) + (cached ? swap_count(page_swap_entry(page)) : 0) == 1;
	else
		ok = page_mapcount(page) == 1 && (!cached || !swap_count(page_swap_entry(page)));
	if (ok && cached)
		delete_from_swap_cache(page);
	if (ok && mm_reuse_rule == REUSE_6)
		ok = page_count(page) == 1;
	if (ok)
		set_page_flags(page, PG_anon_exclusive);
	unlock_page(page);
	return ok;
}

/* => pte lock held; *same false: released, the entry has changed */
static noinline bool reuse_by_lock(struct vm_fault *vmf, struct page *page, bool *same)
{
	if (mm_reuse_rule == REUSE_6 && page_flags(page) & PG_anon_exclusive)
		return true;
	return wp_lock_page(vmf, page, same) && reuse_locked_page(page);
}

/* May an anonymous page be written where it stands? As above */
static inline bool wp_can_reuse(struct vm_fault *vmf, struct page *page, bool *same)
{
	*same = true;
	if (!(mm_caps & MACHINE_ALIAS))
		return true; /* never shared: the machine could not map it twice */
	return likely(mm_reuse_rule == REUSE_5_15) ? reuse_by_5_15(page) : reuse_by_lock(vmf, page, same);
}

/* The entry was old on a machine that shows it by not mapping the page. => pte lock held; not 0: the entry is what it was */
static noinline vm_fault_t wp_map_old(struct vm_fault *vmf, pte_t pte, pte_t old)
{
	int err = map_run(vmf->vma->vm_mm, vmf->address, 1, pte_pfn(pte), pte_how(pte));

	if (likely(err == 1))
		return 0;
	set_pte(vmf->pte, old);
	return map_error(err);
}

/* Y D W where it stands. => pte lock held, released */
static inline_hot vm_fault_t wp_page_reuse(struct vm_fault *vmf)
{
	struct mm_struct *mm = vmf->vma->vm_mm;
	pte_t pte = pte_set(ptep_get(vmf->pte), _PAGE_RW | _PAGE_DIRTY | _PAGE_ACCESSED), old;
	vm_fault_t ret = 0;

	trace_fn(wp_page_reuse, vmf->address, pte_pfn(pte), 0);
	old = (pte_t){ __atomic_exchange_n(&vmf->pte->val, pte.val, __ATOMIC_ACQ_REL) };
	if (likely(pte_mapped(old)))
		machine_protect(mm, vmf->address, 1, pte_pfn(pte), MACHINE_MAP_WRITE);
	else
		ret = wp_map_old(vmf, pte, old);
	vmf_unlock_pte(vmf);
	return ret;
}

/* The owner has agreed, without the pte lock: is it still his page? => pte lock not held */
static vm_fault_t finish_mkwrite_fault(struct vm_fault *vmf)
{
	trace_fn(finish_mkwrite_fault, vmf->address, vmf->orig_pte.val, 0);
	vmf_lock_pte(vmf);
	if (!pte_same(ptep_get(vmf->pte), vmf->orig_pte)) {
		trace(pte_changed, vmf->address, vmf->orig_pte.val, 0);
		vmf_unlock_pte(vmf);
		return VM_FAULT_NOPAGE;
	}
	return wp_page_reuse(vmf);
}

/* The first store to a frame that has no struct page. => pte lock held, released */
static vm_fault_t wp_pfn_shared(struct vm_fault *vmf)
{
	vm_fault_t ret;

	trace_fn(wp_pfn_shared, vmf->address, vmf->orig_pte.val, 0);
	if (!vmf->vma->vm_ops || !vmf->vma->vm_ops->pfn_mkwrite)
		return wp_page_reuse(vmf);
	vmf_unlock_pte(vmf);
	trace_leaf(pfn_mkwrite, vmf->address, pte_pfn(vmf->orig_pte), 0);
	ret = vmf->vma->vm_ops->pfn_mkwrite(vmf);
	return ret & VM_FAULT_NO_PAGE ? ret : finish_mkwrite_fault(vmf);
}

/* The first store to a page of a shared mapping since it was mapped or cleaned. => pte lock held, released */
static vm_fault_t wp_page_shared(struct vm_fault *vmf)
{
	vm_fault_t ret;

	trace_fn(wp_page_shared, vmf->address, vmf->orig_pte.val, 0);
	vmf->page = pfn_to_page(pte_pfn(vmf->orig_pte));
	get_page(vmf->page);
	if (vmf->vma->vm_ops->page_mkwrite) {
		vmf_unlock_pte(vmf);
		ret = do_page_mkwrite(vmf);
		if (unlikely(!ret || ret & VM_FAULT_NO_PAGE)) {
			put_page(vmf->page);
			return ret;
		}
		ret = finish_mkwrite_fault(vmf);
		if (unlikely(ret & VM_FAULT_NO_PAGE)) {
			unlock_page(vmf->page);
			put_page(vmf->page);
			return ret;
		}
	} else {
		ret = wp_page_reuse(vmf);
		lock_page(vmf->page);
	}
	put_page(vmf->page); /* the lock keeps it in its cache */
	return ret | fault_dirty_shared_page(vmf);
}

/* The new page takes the old one's place. => pte lock held; 1, or -errno of the machine (the entry is none then) */
static inline int wp_install_copy(struct vm_fault *vmf, struct mm_percpu *percpu, struct page *old, bool from_file, struct page *new)
{
	struct vm_area_struct *vma = vmf->vma;
	struct mm_struct *mm = vma->vm_mm;
	unsigned long pfn = page_to_pfn(new);
	uint64_t stuck = 0, gone = 0;
	pte_t pte = ptep_get_and_clear(vmf->pte);
	int done;

	/* Cleared and flushed before the new one is set, and the old one's count falls last: until then nobody
	 * else may think that he is its only user. */
	if (!old)
		machine_discard(mm, vmf->address, 1, 0);
	else if (pte_mapped(pte))
		machine_unmap(mm, vmf->address, 1, page_to_pfn(old), &stuck, &gone);
	page_add_new_anon_rmap(new, vma, vmf->address);
	pte = pfn_pte(pfn, vma_prot(vma) | _PAGE_DIRTY | _PAGE_ACCESSED);
	set_pte(vmf->pte, pte);
	if (old)
		done = map_back(mm, vmf->address, pfn, pte_how(pte)) ? 1 : -ENOENT;
	else
		done = map_run(mm, vmf->address, 1, pfn, pte_how(pte) | (pte_zero_page(vmf->orig_pte) ? MACHINE_MAP_ZERO : 0));
	/* Of a file: its rss becomes anonymous. */
	if (likely(done == 1)) {
		lru_add_new_anon(vmf, percpu->cpu, new, pfn);
		if (!old || unlikely(from_file))
			add_percpu_counter(percpu, MM_ANONPAGES, 1);
	} else {
		set_pte(vmf->pte, (pte_t){ 0 });
		page_remove_rmap(new);
	}
	if (old) {
		if (unlikely(done != 1) || unlikely(from_file))
			add_percpu_counter(percpu, mm_counter(old), -1);
		page_remove_rmap(old);
	}
	return done;
}

/* => pte lock held, released */
static vm_fault_t wp_page_copy(struct vm_fault *vmf)
{
	struct page *old = pte_special(vmf->orig_pte) ? NULL : pfn_to_page(pte_pfn(vmf->orig_pte)), *new;
	struct mm_percpu *percpu = fault_percpu(vmf->vma->vm_mm, vmf->flags);
	bool from_file = old && page_is_file(old); /* it may be truncated meanwhile: then its entry goes too */
	int done;

	trace_fn(wp_page_copy, vmf->address, vmf->orig_pte.val, 0);
	if (old)
		get_page(old);
	vmf_unlock_pte(vmf);
	new = anon_vma_prepare(vmf->vma) ? NULL : alloc_page_vma(vmf);
	if (!new) {
		if (old)
			put_page(old);
		return VM_FAULT_OOM;
	}
	if (old)
		copy_user_highpage(new, old);
	else if (!pte_zero_page(vmf->orig_pte))
		memcpy(machine_frame(page_to_pfn(new)), machine_frame(pte_pfn(vmf->orig_pte)), PAGE_SIZE);
	vmf_lock_pte(vmf);
	if (!pte_same(pte_clear(ptep_get(vmf->pte), _PAGE_ACCESSED), pte_clear(vmf->orig_pte, _PAGE_ACCESSED))) {
		trace(pte_changed, vmf->address, vmf->orig_pte.val, 0);
		vmf_unlock_pte(vmf);
		free_new_page(new);
		if (old)
			put_page(old);
		return 0;
	}
	done = wp_install_copy(vmf, percpu, old, from_file, new);
	vmf_unlock_pte(vmf);
	if (done != 1)
		free_new_page(new);
	if (old) {
		if (!from_file && unlikely(page_in_swap_cache(old)) && page_mapcount(old) == 0)
			free_swap_cache(old);
		put_page_refs(old, 2); /* ours, and the entry's */
	}
	if (pte_zero_page(vmf->orig_pte)) {
		count_on(percpu->cpu, zeroed, 1);
	} else {
		count_on(percpu->cpu, copied, 1);
		count_on(percpu->cpu, cow_copy, 1);
	}
	return done == 1 ? 0 : map_error(done);
}

/* A store to a present entry without write access. => pte lock held, released */
static noinline vm_fault_t do_wp_page(struct vm_fault *vmf)
{
	struct page *page = pfn_to_page(pte_pfn(vmf->orig_pte));
	bool reuse, same;
	vm_fault_t ret;

	trace_fn(do_wp_page, vmf->address, vmf->orig_pte.val, 0);
	if (pte_special(vmf->orig_pte)) {
		if (!pte_zero_page(vmf->orig_pte) && (vmf->vma->vm_flags & (VM_WRITE | VM_SHARED)) == (VM_WRITE | VM_SHARED)) {
			trace_why("a frame without a struct page, and the mapping is shared: written in place", 0, 0);
			vmf->pgoff = linear_page_index(vmf->vma, vmf->address);
			return wp_pfn_shared(vmf);
		}
		trace_why(pte_zero_page(vmf->orig_pte) ? "the zero page" : "a frame without a struct page: a copy", 0, 0);
		return wp_page_copy(vmf);
	}
	if (page_is_file(page)) {
		if (vmf->vma->vm_flags & VM_SHARED) {
			trace_why("a page of a file, and the mapping is shared: written in place", 0, 0);
			vmf->pgoff = linear_page_index(vmf->vma, vmf->address);
			return wp_page_shared(vmf);
		}
		trace_why("a page of a file, and the mapping is private: a copy", 0, 0);
		return wp_page_copy(vmf);
	}
	reuse = wp_can_reuse(vmf, page, &same);
	if (unlikely(!same)) {
		trace(pte_changed, vmf->address, vmf->orig_pte.val, 0);
		return 0;
	}
	if (!reuse) {
		trace_why("an anonymous page that others may have (%lu references, %lu entries): a copy", page_count(page), page_mapcount(page));
		return wp_page_copy(vmf);
	}
	trace_why("an anonymous page that nobody else has: reused", 0, 0);
	ret = wp_page_reuse(vmf);
	if (likely(!ret))
		count_on(fault_percpu(vmf->vma->vm_mm, vmf->flags)->cpu, cow_reuse, 1);
	return ret;
}

/* ---- do_swap_page -------------------------------------------------------------------------------------------------------- */

static noinline vm_fault_t do_swap_page(struct vm_fault *vmf)
{
	swp_entry_t entry = pte_to_swp_entry(vmf->orig_pte);
	struct page *page;
	bool again = false;
	vm_fault_t major = 0, ret;

	trace_fn(do_swap_page, vmf->address, entry.val, vmf->flags);
	page = lookup_swap_cache(entry);
	if (page) {
		trace_why("it is still, or already, in memory", 0, 0);
		if (mm_swapin_around == 1)
			swap_readahead_hit(vmf, page);
	} else if (mm_swapin_around == 1 && mm_caps & MACHINE_ALIAS && swap_count(entry) > 1) {
		trace_why("it is not in memory, and %lu entries name it: read into the swap cache", swap_count(entry), 0);
		page = swap_vma_readahead(vmf);
		major = page ? VM_FAULT_MAJOR : 0;
	} else {
		trace_why("it is not in memory: to be read", 0, 0);
	}
	ret = page ? major | do_swap_cached(vmf, page, &again) : swapin_readahead(vmf);
	if (again)
		return 0; /* it has left the cache: the entry is looked at anew */
	if (!(vmf->flags & FAULT_FLAG_WRITE) || ret & VM_FAULT_NO_PAGE)
		return ret;
	/* A store to a page that came in read-only: in the same fault. */
	vmf_lock_pte(vmf);
	vmf->orig_pte = ptep_get(vmf->pte);
	if (pte_present(vmf->orig_pte) && !pte_write(vmf->orig_pte))
		return ret | do_wp_page(vmf);
	vmf_unlock_pte(vmf);
	return ret;
}

/* ---- handle_pte_fault -------------------------------------------------------------------------------------------------------- */

/* Young and dirty bits; what the machine can't do itself it is told here. => pte lock held, released */
static noinline vm_fault_t pte_touch(struct vm_fault *vmf, pte_t pte)
{
	struct mm_struct *mm = vmf->vma->vm_mm;
	pte_t new = pte_clear(pte_mkyoung(pte), _PAGE_AROUND);
	int done = 1;

	if (vmf->flags & FAULT_FLAG_WRITE)
		new = pte_mkdirty(new);
	if (pte_same(pte, new)) {
		/* An old translation without W may have caused it. After a retry the store is tried first. */
		trace(spurious, vmf->address, 0, 0);
		if ((vmf->flags & (FAULT_FLAG_WRITE | FAULT_FLAG_TRIED)) == FAULT_FLAG_WRITE && mm_caps & MACHINE_READONLY)
			machine_protect(mm, vmf->address, 1, pte_pfn(pte), pte_how(pte));
		goto out;
	}
	trace(pte_young, vmf->address, pte.val, new.val);
	__atomic_fetch_or(&vmf->pte->val, new.val & (_PAGE_ACCESSED | _PAGE_DIRTY), __ATOMIC_ACQ_REL);
	__atomic_fetch_and(&vmf->pte->val, ~_PAGE_AROUND, __ATOMIC_ACQ_REL);
	if (!pte_mapped(pte)) {
		done = map_run(mm, vmf->address, 1, pte_machine_pfn(pte), pte_machine_how(new));
		if (done != 1)
			set_pte(vmf->pte, pte);
	} else if (pte_how(pte) != pte_how(new)) {
		machine_protect(mm, vmf->address, 1, pte_pfn(pte), pte_how(new));
	}
out:
	vmf_unlock_pte(vmf);
	return done == 1 ? 0 : map_error(done);
}

static inline_hot vm_fault_t handle_pte_fault(struct vm_fault *vmf)
{
	struct vm_fault copy;

	/* Without a table there is no entry yet; who needs one makes it. */
	vmf->table = desc_load(&vmf->pmd->desc);
	vmf->orig_pte = (pte_t){ 0 };
	if (likely(vmf->table)) {
		vmf_find_pte(vmf, vmf->table);
		vmf->orig_pte = ptep_get(vmf->pte);
	}
	hot_trace_fn(vmf->traced, handle_pte_fault, vmf->address, vmf->orig_pte.val, vmf->flags);
	if (pte_none(vmf->orig_pte)) {
		if (vma_is_anonymous(vmf->vma)) {
			trace_why("nothing there, and nothing behind the mapping: anonymous", 0, 0);
			return do_anonymous_page(vmf);
		}
		trace_why("nothing there, and the mapping knows where its pages come from", 0, 0);
		copy = vmf_copy(vmf);
		return do_fault(&copy);
	}
	if (!pte_present(vmf->orig_pte)) {
		trace_why("not present: it says where the page is", 0, 0);
		copy = vmf_copy(vmf);
		return do_swap_page(&copy);
	}

	vmf_lock_pte(vmf);
	if (!pte_same(ptep_get(vmf->pte), vmf->orig_pte)) {
		trace(pte_changed, vmf->address, vmf->orig_pte.val, 0);
		vmf_unlock_pte(vmf);
		return 0;
	}
	if (vmf->flags & FAULT_FLAG_WRITE && !pte_write(vmf->orig_pte)) {
		trace_why("present and read-only, and this is a write", 0, 0);
		copy = *vmf; /* pgoff is for those to whom it matters: do_wp_page() */
		return do_wp_page(&copy);
	}
	copy = *vmf;
	return pte_touch(&copy, vmf->orig_pte);
}

/* => NULL: no memory */
static noinline pmd_t *walk_to_pmd(struct mm_struct *mm, unsigned long addr)
{
	pgd_t *pgd;
	p4d_t *p4d;
	pud_t *pud;
	pmd_t *pmd;

	trace_leaf(pgd_offset, addr, 0, 0);
	pgd = pgd_offset(mm, addr);
	trace_leaf(p4d_alloc, addr, 0, 0);
	p4d = p4d_alloc(mm, pgd, addr);
	if (!p4d)
		return NULL;
	trace_leaf(pud_alloc, addr, 0, 0);
	pud = pud_alloc(mm, p4d, addr);
	if (!pud)
		return NULL;
	trace_leaf(pmd_alloc, addr, 0, 0);
	pmd = pmd_alloc(mm, pud, addr);
	if (pmd)
		pmd_remember(mm, addr);
	return pmd;
}

static inline_hot vm_fault_t __handle_mm_fault(struct vm_area_struct *vma, unsigned long addr, unsigned flags, bool traced)
{
	struct mm_struct *mm = vma->vm_mm;
	struct vm_fault vmf;

	hot_trace_fn(traced, __handle_mm_fault, addr, flags, 0);
	vmf.vma = vma;
	vmf.address = addr & PAGE_MASK;
	vmf.flags = flags;
	vmf.traced = traced;
	vmf.page = vmf.cow_page = NULL;
	vmf.pgoff = 0; /* vmf_copy() */
	vmf.pte = NULL;
	vmf.ptl = NULL;
	vmf.prealloc_pte = NULL;
	if (unlikely(!pmd_remembered(fault_percpu(mm, flags), addr, &vmf.pmd))) {
		vmf.pmd = walk_to_pmd(mm, addr);
		if (!vmf.pmd)
			return VM_FAULT_OOM;
	} else { /* these levels are there */
		trace_leaf(pgd_offset, addr, 0, 0);
		trace_leaf(p4d_alloc, addr, 0, 0);
		trace_leaf(pud_alloc, addr, 0, 0);
		trace_leaf(pmd_alloc, addr, 0, 0);
	}
	return handle_pte_fault(&vmf);
}

static inline_hot vm_fault_t handle_mm_fault(struct vm_area_struct *vma, unsigned long addr, unsigned flags, bool traced)
{
	hot_trace_fn(traced, handle_mm_fault, addr, flags, 0);
	trace_leaf(__set_current_state, 0, 0, 0);
	return __handle_mm_fault(vma, addr, flags, traced);
}

/* ---- __do_page_fault ---------------------------------------------------------------------------------------------------------- */

/* Write needs VM_WRITE, instruction fetch VM_EXEC, anything else one of the three: write-only and exec-only are readable. */
static inline bool access_error(const struct vm_area_struct *vma, unsigned flags)
{
	if (likely(flags & FAULT_FLAG_WRITE))
		return !(vma->vm_flags & VM_WRITE);
	return !(vma->vm_flags & (flags & FAULT_FLAG_INSTRUCTION ? VM_EXEC : VM_ACCESS_FLAGS));
}

#define FIRST_USER_ADDRESS (pt.arch == ARCH_ARM ? PAGE_SIZE : 0) /* the processor's vectors may stand below */

/* The common fault, to its end. An anonymous one that finds its levels there costs 240 instructions from do_page_fault() on, those of the
 * machine apart: 55 at the entry (fault.c), 125 here, 25 for a frame, 35 for the LRU list. It writes to its table, to the frame's struct page, and else
 * only to what belongs to the processor (percpu.h). */
static inline_hot vm_fault_t resolve(struct mm_struct *mm, unsigned long addr, unsigned flags, bool traced)
{
	struct vm_area_struct *vma;

	hot_trace_fn(traced, __do_page_fault, addr, flags, 0);
	vma = vma_remembered(mm, fault_percpu(mm, flags), addr);
	if (unlikely(!vma) && addr >= TASK_SIZE) {
		trace_why("programs end at 0x%lx", TASK_SIZE, 0);
		return VM_FAULT_BADMAP;
	}
	vma = find_vma_after(mm, addr, vma, traced);
	if (unlikely(!vma)) {
		trace_why("no mapping ends above it", 0, 0);
		return VM_FAULT_BADMAP;
	}
	if (unlikely(addr < vma->vm_start)) {
		if (!(vma->vm_flags & VM_GROWSDOWN) || addr < FIRST_USER_ADDRESS) {
			trace_why("below the next mapping, 0x%lx, which does not grow", vma->vm_start, 0);
			return VM_FAULT_BADMAP;
		}
		trace_why("below a mapping that grows downwards, 0x%lx", vma->vm_start, 0);
		vma = find_extend_vma(mm, addr);
		if (!vma)
			return VM_FAULT_BADMAP;
	}
	trace_why("in the mapping 0x%lx to 0x%lx", vma->vm_start, vma->vm_end);
	if (unlikely(access_error(vma, flags))) {
		trace(access_error, addr, vma->vm_flags, flags);
		return VM_FAULT_BADACCESS;
	}
	return handle_mm_fault(vma, addr, flags, traced);
}

static __cold vm_fault_t resolve_traced(struct mm_struct *mm, unsigned long addr, unsigned flags)
{
	return resolve(mm, addr, flags, true);
}

/* Whether somebody listens is asked once for the functions that are inline here, instead of eight times. */
static vm_fault_t __do_page_fault(struct mm_struct *mm, unsigned long addr, unsigned flags)
{
	return unlikely(mm_tracing()) ? resolve_traced(mm, addr, flags) : resolve(mm, addr, flags, false);
}

/* ---- errors ------------------------------------------------------------------------------------------------------------------- */

/* A program's: the signal, with the exact address. */
static void __do_user_fault(struct mm_struct *mm, unsigned long addr, unsigned flags, int sig, int code)
{
	trace_fn(__do_user_fault, addr, sig, code);
	force_sig_fault(mm, addr, flags, sig, code);
}

/* An access of the kernel's own on behalf of the program (read(2) into its memory): whoever made it is told, and returns -EFAULT. */
static void __do_kernel_fault(unsigned long addr, unsigned flags)
{
	trace_fn(__do_kernel_fault, addr, flags, 0);
}

/* Whoever runs the program chooses whom to kill, itself mostly; who is spared makes the access again. */
static void pagefault_out_of_memory(unsigned long addr)
{
	trace_leaf(pagefault_out_of_memory, addr, 0, 0);
	(void)addr;
}

static void bad_fault(struct mm_struct *mm, unsigned long addr, vm_fault_t ret, unsigned flags)
{
	if (!(flags & FAULT_FLAG_USER))
		__do_kernel_fault(addr, flags);
	else if (ret & VM_FAULT_OOM)
		pagefault_out_of_memory(addr);
	else if (ret & (VM_FAULT_SIGBUS | VM_FAULT_HWPOISON))
		__do_user_fault(mm, addr, flags, SIGBUS, BUS_ADRERR);
	else
		__do_user_fault(mm, addr, flags, SIGSEGV, ret & VM_FAULT_BADACCESS ? SEGV_ACCERR : SEGV_MAPERR);
}

const struct fault_path linux_5_path = {
	.name = "linux-5", .fault = __do_page_fault, .error = bad_fault, .copy_page_range = copy_page_range,
};
