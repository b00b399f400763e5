/* SPDX-License-Identifier: MIT
 *
 * vma.c - mappings: the tree of an address space, and Linux's rules for splitting and merging.
 *
 *      mmap AAA___ + BBB   same flags and adjacent:          AAABBB -> AAAAAA     (merge with the one before, after, or both)
 *      munmap ***  of      AAAAAAAAA                      -> AAA***AAA            (a split makes two of one)
 *      mprotect    of      AAAAAAAAA                      -> AAABBBAAA, and back to AAAAAAAAA when the flags are equal again
 *
 * Two vmas merge when they are adjacent, have equal flags, vm_ops and file, consecutive page offsets, and one anon_vma (or one of them has
 * none and no fork came in between). An anonymous vma's offset is its address at the time it was made, a file's is where it maps the file.
 *
 * A vma of a file has a reference to it, and stands in the i_mmap tree of its address_space from vma_link() to vma_remove(); its bounds
 * change under i_mmap_lock. A new piece enters the tree before the old one leaves: the reverse map misses no page at any time.
 */
#include "mm/fault/fault.h"
#include "mm/filemap.h"

struct vm_area_struct *vma_of(struct tree_node *node)
{
	return node ? container_of(node, struct vm_area_struct, vm_rb) : NULL;
}

struct vm_area_struct *vma_first(struct mm_struct *mm)
{
	return vma_of(tree_first(&mm->mm_rb));
}

struct vm_area_struct *vma_next(struct mm_struct *mm, struct vm_area_struct *vma)
{
	(void)mm;
	return vma_of(tree_next(&vma->vm_rb));
}

struct vm_area_struct *vma_prev(struct vm_area_struct *vma)
{
	return vma_of(tree_prev(&vma->vm_rb));
}

unsigned long vma_start(const struct vm_area_struct *vma)
{
	return vma->vm_start;
}

unsigned long vma_end(const struct vm_area_struct *vma)
{
	return vma->vm_end;
}

unsigned long vma_flags(const struct vm_area_struct *vma)
{
	return vma->vm_flags;
}

struct vm_area_struct vma_nowhere;

/* First vma with end > addr, by the tree: O(log n). */
noinline struct vm_area_struct *find_vma_tree(struct mm_struct *mm, unsigned long addr)
{
	struct tree_node *node = mm->mm_rb.node;
	struct vm_area_struct *vma = NULL;

	while (node) {
		struct vm_area_struct *at = vma_of(node);

		if (addr < at->vm_end) {
			vma = at;
			if (addr >= at->vm_start)
				break;
			node = node->left;
		} else {
			node = node->right;
		}
	}
	if (vma)
		atomic_store_explicit(&this_percpu(mm)->vmacache, vma, memory_order_relaxed);
	return vma;
}

struct vm_area_struct *find_vma(struct mm_struct *mm, unsigned long addr)
{
	return find_vma_after(mm, addr, vma_remembered(mm, this_percpu(mm), addr), mm_tracing());
}

/* ---- one vma --------------------------------------------------------------------------------------------------------- */

struct vm_area_struct *vma_alloc(struct mm_struct *mm, unsigned long start, unsigned long end, unsigned long flags,
				 unsigned long pgoff)
{
	struct vm_area_struct *vma = kmem_cache_alloc(&vma_cache);

	if (!vma)
		return NULL;
	vma->vm_mm = mm;
	vma->vm_start = start;
	vma->vm_end = end;
	vma->vm_flags = flags;
	vma->vm_pgoff = pgoff;
	return vma;
}

void vma_free(struct vm_area_struct *vma)
{
	if (vma->vm_file)
		fput(vma->vm_file);
	kmem_cache_free(&vma_cache, vma);
}

void vma_copy_backing(struct vm_area_struct *new, const struct vm_area_struct *vma)
{
	new->vm_ops = vma->vm_ops;
	new->vm_private_data = vma->vm_private_data;
	new->vm_file = vma->vm_file ? get_file(vma->vm_file) : NULL;
	new->swap_readahead_info = __atomic_load_n(&vma->swap_readahead_info, __ATOMIC_RELAXED);
}

/* What the reverse map reads of a vma changes under both of these. */
static void vma_lock_rmap(struct vm_area_struct *vma)
{
	if (unlikely(vma->vm_file))
		spin_lock(&vma->vm_file->f_mapping->i_mmap_lock);
	anon_vma_lock_vma(vma);
}

static void vma_unlock_rmap(struct vm_area_struct *vma)
{
	anon_vma_unlock_vma(vma);
	if (unlikely(vma->vm_file))
		spin_unlock(&vma->vm_file->f_mapping->i_mmap_lock);
}

bool vma_wants_writenotify(const struct vm_area_struct *vma)
{
	const struct address_space *mapping;

	if ((vma->vm_flags & (VM_WRITE | VM_SHARED)) != (VM_WRITE | VM_SHARED) || !vma->vm_file)
		return false;
	if (fault_path->no_rmap)
		return false; /* nobody could take W away again when the page is clean */
	mapping = vma->vm_file->f_mapping;
	return mapping->flags & MAPPING_NOTIFY || (mapping->a_ops && mapping->a_ops->page_mkwrite);
}

static void account_pages(const struct vm_area_struct *vma, long pages)
{
	vma->vm_mm->total_vm += pages;
	if (vma->vm_flags & VM_LOCKED)
		vma->vm_mm->locked_vm += pages;
}

void vma_link(struct mm_struct *mm, struct vm_area_struct *vma)
{
	struct tree_node **link = &mm->mm_rb.node, *parent = NULL;

	mmap_assert_write_locked(mm);
	while (*link) {
		parent = *link;
		link = vma->vm_start < vma_of(parent)->vm_start ? &parent->left : &parent->right;
	}
	tree_insert(&mm->mm_rb, &vma->vm_rb, parent, link, NULL);
	if (unlikely(vma->vm_file)) {
		spin_lock(&vma->vm_file->f_mapping->i_mmap_lock);
		vma_interval_tree_insert(vma);
		spin_unlock(&vma->vm_file->f_mapping->i_mmap_lock);
	}
	mm->map_count++;
	account_pages(vma, (long)((vma->vm_end - vma->vm_start) >> PAGE_SHIFT));
}

/* Out of the tree, out of the reverse map, gone. => nothing is mapped in it, or another vma covers the range */
void vma_remove(struct vm_area_struct *vma)
{
	struct mm_struct *mm = vma->vm_mm;

	tree_erase(&mm->mm_rb, &vma->vm_rb, NULL);
	mm->map_count--;
	account_pages(vma, -(long)((vma->vm_end - vma->vm_start) >> PAGE_SHIFT));
	for_each_cpu(cpu)
		atomic_store_explicit(&mm->percpu[cpu].vmacache, &vma_nowhere, memory_order_relaxed);
	unlink_anon_vmas(vma);
	if (unlikely(vma->vm_file)) {
		spin_lock(&vma->vm_file->f_mapping->i_mmap_lock);
		vma_interval_tree_remove(vma);
		spin_unlock(&vma->vm_file->f_mapping->i_mmap_lock);
	}
	if (vma->vm_ops && vma->vm_ops->close)
		vma->vm_ops->close(vma);
	vma_free(vma);
}

/* New bounds; the order in the tree stays. */
void vma_adjust(struct vm_area_struct *vma, unsigned long start, unsigned long end)
{
	vma_lock_rmap(vma);
	anon_vma_interval_tree_pre_update_vma(vma);
	if (unlikely(vma->vm_file))
		vma_interval_tree_remove(vma);
	account_pages(vma, (long)((end - start) - (vma->vm_end - vma->vm_start)) >> PAGE_SHIFT);
	vma->vm_pgoff += (long)(start - vma->vm_start) >> PAGE_SHIFT;
	vma->vm_start = start;
	vma->vm_end = end;
	if (unlikely(vma->vm_file))
		vma_interval_tree_insert(vma);
	anon_vma_interval_tree_post_update_vma(vma);
	vma_unlock_rmap(vma);
}

/* ---- merge ------------------------------------------------------------------------------------------------------------- */

static unsigned long pgoff_end(const struct vm_area_struct *vma)
{
	return vma->vm_pgoff + ((vma->vm_end - vma->vm_start) >> PAGE_SHIFT);
}

bool vma_mergeable(struct vm_area_struct *a, struct vm_area_struct *b);

/* b follows a at once, and one vma could be both. */
bool vma_mergeable(struct vm_area_struct *a, struct vm_area_struct *b)
{
	return a && b && a->vm_end == b->vm_start && a->vm_flags == b->vm_flags && a->vm_ops == b->vm_ops &&
	       a->vm_private_data == b->vm_private_data && a->vm_file == b->vm_file && pgoff_end(a) == b->vm_pgoff && anon_vma_mergeable(a, b);
}

/* a takes over b, if it can; b is gone then. (No memory for the anon_vma chain: they stay two, which is also right.) */
static bool vma_merge(struct vm_area_struct *a, struct vm_area_struct *b)
{
	unsigned long end;

	if (!vma_mergeable(a, b))
		return false;
	if (!a->anon_vma_chain && b->anon_vma_chain) {
		/* Set before the clone, so that it counts a as a user. */
		atomic_store_explicit(&a->anon_vma, atomic_load(&b->anon_vma), memory_order_relaxed);
		if (anon_vma_clone(a, b)) {
			atomic_store_explicit(&a->anon_vma, NULL, memory_order_relaxed);
			return false;
		}
	}
	trace(vma_merge, a->vm_start, b->vm_start, b->vm_end);
	end = b->vm_end;
	vma_adjust(a, a->vm_start, end); /* first: at no time may the reverse map miss a page of b */
	vma_remove(b);
	return true;
}

/* ---- split -------------------------------------------------------------------------------------------------------------- */

/* vma keeps [start, addr), a new one gets the rest. => 0, -ENOMEM (nothing changed) */
static int split_vma(struct vm_area_struct *vma, unsigned long addr)
{
	struct vm_area_struct *new = vma_alloc(vma->vm_mm, addr, vma->vm_end, vma->vm_flags, linear_page_index(vma, addr));

	if (!new)
		return -ENOMEM;
	trace(split_vma, vma->vm_start, addr, vma->vm_end);
	vma_copy_backing(new, vma);
	atomic_store_explicit(&new->anon_vma, atomic_load(&vma->anon_vma), memory_order_relaxed);
	if (anon_vma_clone(new, vma)) {
		vma_free(new);
		return -ENOMEM;
	}
	if (new->vm_ops && new->vm_ops->open)
		new->vm_ops->open(new);
	vma_link(vma->vm_mm, new);
	vma_adjust(vma, vma->vm_start, addr);
	return 0;
}

static struct vm_area_struct *find_vma_intersection(struct mm_struct *mm, unsigned long start, unsigned long end)
{
	struct vm_area_struct *vma = find_vma(mm, start);

	return vma && vma->vm_start < end ? vma : NULL;
}

static void try_merge_at(struct mm_struct *mm, unsigned long addr)
{
	struct vm_area_struct *b = find_vma(mm, addr);

	if (b && b->vm_start == addr)
		vma_merge(vma_prev(b), b);
}

/* Cuts so that no vma reaches across start or end. => 0, -ENOMEM (nothing changed) */
static int isolate_range(struct mm_struct *mm, unsigned long start, unsigned long end)
{
	struct vm_area_struct *vma = find_vma_intersection(mm, start, end);
	bool cut = false;

	if (vma && vma->vm_start < start) {
		if (split_vma(vma, start))
			return -ENOMEM;
		cut = true;
	}
	vma = find_vma_intersection(mm, end - 1, end);
	if (vma && vma->vm_end > end && split_vma(vma, end)) {
		if (cut)
			try_merge_at(mm, start);
		return -ENOMEM;
	}
	return 0;
}

/* ---- munmap ------------------------------------------------------------------------------------------------------------ */

static int check_range(unsigned long addr, size_t len)
{
	if ((addr | len) & ~PAGE_MASK || !len || addr >= TASK_SIZE || len > TASK_SIZE - addr)
		return -EINVAL;
	return 0;
}

/* => no vma reaches across start or end */
static void unmap_isolated(struct mm_struct *mm, unsigned long start, unsigned long end)
{
	struct vm_area_struct *vma = find_vma_intersection(mm, start, end), *prev, *next = vma;
	unsigned long last = start;

	if (!vma)
		return;
	prev = vma_prev(vma);
	while (next && next->vm_start < end) {
		vma = next;
		next = vma_next(mm, vma);
		last = vma->vm_end;
		unmap_region(vma, vma->vm_start, vma->vm_end);
		vma_remove(vma);
	}
	if (!fault_path->bare_pages) /* who knows what stands between the mappings */
		free_pgtables(mm, start, last, prev ? prev->vm_end : 0, next ? next->vm_start : ~0UL);
}

int do_munmap(struct mm_struct *mm, unsigned long addr, size_t len)
{
	int err = check_range(addr, len);

	mmap_assert_write_locked(mm);
	trace_fn(do_munmap, addr, len, 0);
	if (!err)
		err = isolate_range(mm, addr, addr + len);
	if (!err)
		unmap_isolated(mm, addr, addr + len);
	if (!err && fault_path->bare_pages)
		zap_page_range(mm, addr, len);
	return err;
}

/* ---- mmap -------------------------------------------------------------------------------------------------------------- */

/* A new vma in a free place, merged with its neighbours. => `vma` belongs to the tree, or is gone in a neighbour */
static void vma_link_merge(struct mm_struct *mm, struct vm_area_struct *vma)
{
	struct vm_area_struct *prev;

	vma_link(mm, vma);
	if (fault_path->mapped)
		fault_path->mapped(vma);
	prev = vma_prev(vma);
	if (prev && vma_merge(prev, vma))
		vma = prev;
	vma_merge(vma, vma_next(mm, vma));
}

int mmap_region(struct mm_struct *mm, unsigned long addr, size_t len, unsigned long vm_flags)
{
	struct vm_area_struct *vma;
	int err = check_range(addr, len);

	mmap_assert_write_locked(mm);
	if (err)
		return err;
	trace_fn(mmap_region, addr, len, vm_flags);
	vma = vma_alloc(mm, addr, addr + len, vm_flags, addr >> PAGE_SHIFT);
	if (!vma)
		return -ENOMEM;
	err = do_munmap(mm, addr, len);
	if (err) {
		vma_free(vma);
		return err;
	}
	vma_link_merge(mm, vma);
	return 0;
}

/* Who may write to a file through memory: MAP_SHARED of a file that is open for reading alone is as good as private. => 0, -EACCES */
static int file_vm_flags(const struct file *file, unsigned long *vm_flags)
{
	*vm_flags |= VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC;
	if (!(*vm_flags & VM_SHARED))
		return 0;
	*vm_flags |= VM_MAYSHARE;
	if (file->f_flags & FILE_WRITE)
		return 0;
	if (*vm_flags & VM_WRITE)
		return -EACCES;
	*vm_flags &= ~(VM_MAYWRITE | VM_SHARED);
	return 0;
}

/* Shared anonymous memory is a file that has no name. => NULL: no memory */
static struct file *shmem_zero_setup(size_t len)
{
	struct address_space *mapping = address_space_alloc(NULL, NULL, len, MAPPING_ANON);
	struct file *file = mapping ? file_open(mapping, FILE_WRITE) : NULL;

	if (mapping)
		address_space_put(mapping);
	return file;
}

static const struct vm_operations_struct *file_vm_ops(const struct file *file)
{
	if (file->f_mapping->flags & MAPPING_ANON)
		return &shmem_vm_ops;
	return fault_path->file_vm_ops ? fault_path->file_vm_ops : &generic_file_vm_ops;
}

/* Takes over the reference to the file. */
static int mmap_file(struct mm_struct *mm, unsigned long addr, size_t len, unsigned long vm_flags, struct file *file, unsigned long pgoff)
{
	struct vm_area_struct *vma = vma_alloc(mm, addr, addr + len, vm_flags, pgoff);
	int err;

	if (!vma) {
		fput(file);
		return -ENOMEM;
	}
	vma->vm_file = file;
	vma->vm_ops = file_vm_ops(file);
	err = do_munmap(mm, addr, len);
	if (err) {
		vma_free(vma);
		return err;
	}
	if (vma->vm_ops->open)
		vma->vm_ops->open(vma);
	vma_link_merge(mm, vma);
	return 0;
}

int mmap_region_file(struct mm_struct *mm, unsigned long addr, size_t len, unsigned long vm_flags, struct file *file, unsigned long pgoff)
{
	int err = check_range(addr, len);

	mmap_assert_write_locked(mm);
	if (!file && !(vm_flags & VM_SHARED))
		return mmap_region(mm, addr, len, vm_flags);
	if (!err && pgoff + (len >> PAGE_SHIFT) < pgoff)
		err = -EINVAL;
	if (!err && !machine_has_files())
		err = -ENOSYS;
	if (!err && fault_path->mmap_check)
		err = fault_path->mmap_check(file, &vm_flags);
	else if (!err && file)
		err = file_vm_flags(file, &vm_flags);
	if (err)
		return err;
	trace_fn(mmap_region, addr, len, vm_flags);
	if (file) {
		get_file(file);
	} else {
		file = shmem_zero_setup(len);
		pgoff = 0;
		if (!file)
			return -ENOMEM;
	}
	return mmap_file(mm, addr, len, vm_flags, file, pgoff);
}

void exit_mmap(struct mm_struct *mm)
{
	struct vm_area_struct *vma;

	while ((vma = vma_first(mm))) {
		unmap_region(vma, vma->vm_start, vma->vm_end);
		vma_remove(vma);
	}
	if (fault_path->bare_pages)
		zap_page_range(mm, 0, TASK_SIZE);
	pgd_free(mm);
}

/* ---- mprotect, mlock, madvise ------------------------------------------------------------------------------------------ */

static void set_vma_flags(struct vm_area_struct *vma, unsigned long flags)
{
	unsigned long old = vma->vm_flags;

	account_pages(vma, -(long)((vma->vm_end - vma->vm_start) >> PAGE_SHIFT));
	vma_lock_rmap(vma);
	__atomic_store_n(&vma->vm_flags, flags, __ATOMIC_RELAXED);
	vma_unlock_rmap(vma);
	account_pages(vma, (long)((vma->vm_end - vma->vm_start) >> PAGE_SHIFT));
	if ((old ^ flags) & VM_ACCESS_FLAGS)
		change_protection(vma, vma->vm_start, vma->vm_end, old);
	if ((old ^ flags) & VM_LOCKED)
		mlock_range(vma, vma->vm_start, vma->vm_end);
}

int vma_modify_flags(struct mm_struct *mm, unsigned long addr, size_t len, unsigned long set, unsigned long clear)
{
	unsigned long end = addr + len;
	struct vm_area_struct *vma;
	int err = check_range(addr, len);
	bool changes = false;

	mmap_assert_write_locked(mm);
	if (err)
		return err;
	/* A range that already has the flags is not cut. */
	for (vma = find_vma_intersection(mm, addr, end); vma && vma->vm_start < end; vma = vma_next(mm, vma)) {
		if (set & VM_WRITE && vma->vm_file && !(vma->vm_flags & VM_MAYWRITE))
			return -EACCES;
		changes |= ((vma->vm_flags & ~clear) | set) != vma->vm_flags;
	}
	if (!changes)
		return 0;
	err = isolate_range(mm, addr, end);
	if (err)
		return err;
	for (vma = find_vma_intersection(mm, addr, end); vma && vma->vm_start < end; vma = vma_next(mm, vma)) {
		struct vm_area_struct *prev;

		set_vma_flags(vma, (vma->vm_flags & ~clear) | set);
		prev = vma_prev(vma);
		if (prev && vma_merge(prev, vma))
			vma = prev;
	}
	try_merge_at(mm, end);
	return 0;
}

/* ---- stack ------------------------------------------------------------------------------------------------------------- */

#define STACK_GUARD_GAP (256 * PAGE_SIZE)
#define MMAP_MIN_ADDR   65536UL /* vm.mmap_min_addr */

/* More than there is of memory and swap together is refused, as the heuristic overcommit does it. */
static bool enough_memory(unsigned long grow)
{
	return grow <= nr_used_frames() + nr_free_frames() + nr_swap_slots;
}

/* The limits of a stack that is to have `size` bytes, of which `grow` pages are new: RLIMIT_AS, RLIMIT_STACK, RLIMIT_MEMLOCK, overcommit.
 * => mmap_lock held for writing; 0, -ENOMEM */
int acct_stack_growth(const struct vm_area_struct *vma, unsigned long size, unsigned long grow)
{
	const struct mm_struct *mm = vma->vm_mm;

	if (mm->total_vm + grow > mm->rlimit_as >> PAGE_SHIFT) {
		trace_why("%lu pages more are more than RLIMIT_AS, %lu", grow, mm->rlimit_as);
		return -ENOMEM;
	}
	if (size > mm->rlimit_stack) {
		trace_why("%lu bytes are more than RLIMIT_STACK, %lu", size, mm->rlimit_stack);
		return -ENOMEM;
	}
	if (vma->vm_flags & VM_LOCKED && mm->locked_vm + grow > mm->rlimit_memlock >> PAGE_SHIFT) {
		trace_why("%lu locked pages more are more than RLIMIT_MEMLOCK, %lu", grow, mm->rlimit_memlock);
		return -ENOMEM;
	}
	return enough_memory(grow) ? 0 : -ENOMEM;
}

/* => mmap_lock held for writing; 0, -ENOMEM (a limit, the gap, or memory) */
int expand_downwards(struct vm_area_struct *vma, unsigned long addr)
{
	struct vm_area_struct *prev = vma_prev(vma);
	unsigned long grow;

	addr &= PAGE_MASK;
	if (addr < MMAP_MIN_ADDR)
		return -EPERM;
	if (addr >= vma->vm_start)
		return 0;
	trace_fn(expand_stack, addr, vma->vm_start, vma->vm_end);
	if (prev && prev->vm_end > addr)
		return -ENOMEM;
	if (prev && !(prev->vm_flags & VM_GROWSDOWN) && (prev->vm_flags & VM_ACCESS_FLAGS) && addr - prev->vm_end < STACK_GUARD_GAP)
		return -ENOMEM;
	/* Before the limit is asked, as in Linux: a fork copies the entries of a mapping that has an anon_vma, even of one that may not grow. */
	if (anon_vma_prepare(vma))
		return -ENOMEM;
	grow = (vma->vm_start - addr) >> PAGE_SHIFT;
	if (grow > vma->vm_pgoff || acct_stack_growth(vma, vma->vm_end - addr, grow))
		return -ENOMEM;
	vma_adjust(vma, addr, vma->vm_end);
	return 0;
}

/* ---- mremap ------------------------------------------------------------------------------------------------------------ */

struct vm_area_struct *vma_copy(struct vm_area_struct *vma, unsigned long start, unsigned long end, unsigned long to);

/* A vma at `to` that maps what `vma` maps in [start, end). Its page offset is the old one, so that pages that are already
 * in the reverse map are found through it; only an anonymous vma without pages counts from its new address. => NULL: no memory */
struct vm_area_struct *vma_copy(struct vm_area_struct *vma, unsigned long start, unsigned long end, unsigned long to)
{
	struct anon_vma *av = atomic_load(&vma->anon_vma);
	unsigned long pgoff = av || vma->vm_file ? linear_page_index(vma, start) : to >> PAGE_SHIFT;
	struct vm_area_struct *new = vma_alloc(vma->vm_mm, to, to + (end - start), vma->vm_flags, pgoff);

	if (!new)
		return NULL;
	vma_copy_backing(new, vma);
	atomic_store_explicit(&new->anon_vma, av, memory_order_relaxed);
	if (anon_vma_clone(new, vma)) {
		vma_free(new);
		return NULL;
	}
	if (new->vm_ops && new->vm_ops->open)
		new->vm_ops->open(new);
	return new;
}

/* Grow in place: the last vma of the range reaches further. => the new part is free */
static int grow_in_place(struct mm_struct *mm, unsigned long from, unsigned long old_end, unsigned long new_end)
{
	struct vm_area_struct *vma = find_vma_intersection(mm, from, old_end), *next;

	if (!vma)
		return 0; /* nothing stood there */
	vma = find_vma_intersection(mm, old_end - 1, old_end);
	if (!vma || vma->vm_end != old_end)
		return 0;
	vma_adjust(vma, vma->vm_start, new_end);
	next = vma_next(mm, vma);
	if (next)
		vma_merge(vma, next);
	return 0;
}

static int resize_in_place(struct mm_struct *mm, unsigned long addr, size_t old_len, size_t new_len)
{
	int err;

	if (new_len < old_len)
		return do_munmap(mm, addr + new_len, old_len - new_len);
	if (new_len == old_len)
		return 0;
	/* A vma that already reaches beyond the old end is cut there: the new part replaces what stood there. */
	err = do_munmap(mm, addr + old_len, new_len - old_len);
	return err ? err : grow_in_place(mm, addr, addr + old_len, addr + new_len);
}

/* Undo: what was moved goes back, the copies go away. */
static void move_back(struct mm_struct *mm, unsigned long from, unsigned long to, unsigned long done)
{
	struct vm_area_struct *vma, *next;

	for (vma = find_vma_intersection(mm, to, to + done); vma && vma->vm_start < to + done; vma = next) {
		unsigned long old = vma->vm_start - to + from;

		next = vma_next(mm, vma);
		/* The tables of the old place still stand: this can't fail. */
		move_page_tables(vma, vma->vm_start, find_vma(mm, old), old, vma->vm_end - vma->vm_start);
		vma_remove(vma);
	}
}

/* The vmas of [from, from+len) get copies at `to`, and their pages follow. => 0, -ENOMEM (all of them are where they were, but
 * what stood at `to` is gone: the caller has unmapped it) */
static int move_pieces(struct mm_struct *mm, unsigned long from, unsigned long to, unsigned long len)
{
	struct vm_area_struct *vma, *new;

	for (vma = find_vma_intersection(mm, from, from + len); vma && vma->vm_start < from + len; vma = vma_next(mm, vma)) {
		unsigned long start = max_ul(vma->vm_start, from), end = min_ul(vma->vm_end, from + len);

		new = vma_copy(vma, start, end, start - from + to);
		if (!new) {
			move_back(mm, from, to, start - from);
			return -ENOMEM;
		}
		vma_link(mm, new);
		if (move_page_tables(vma, start, new, new->vm_start, end - start)) {
			move_back(mm, from, to, end - from);
			return -ENOMEM;
		}
	}
	return 0;
}

int move_vma(struct mm_struct *mm, unsigned long from, size_t old_len, unsigned long to, size_t new_len, bool keep_old)
{
	unsigned long len = min_ul(old_len, new_len);
	struct vm_area_struct *vma, *next;
	int err;

	mmap_assert_write_locked(mm);
	if (check_range(from, old_len) || check_range(to, new_len))
		return -EINVAL;
	if (to == from)
		return resize_in_place(mm, from, old_len, new_len);
	if (to < from + old_len && from < to + new_len)
		return -EINVAL;
	/* The old range is cut before anything is lost, so that unmapping it later needs no memory. */
	err = keep_old ? 0 : isolate_range(mm, from, from + old_len);
	if (!err)
		err = do_munmap(mm, to, new_len);
	if (!err)
		err = move_pieces(mm, from, to, len);
	if (err) {
		try_merge_at(mm, from);
		try_merge_at(mm, from + old_len);
		return err;
	}
	if (!keep_old)
		unmap_isolated(mm, from, from + old_len);
	if (new_len > len)
		grow_in_place(mm, to, to + len, to + new_len);
	for (vma = find_vma(mm, to ? to - 1 : 0); vma && (next = vma_next(mm, vma)) && vma->vm_start < to + new_len;)
		if (!vma_merge(vma, next))
			vma = next;
	return 0;
}

/* ---- remap_file_pages -------------------------------------------------------------------------------------------------- */

#define MAX_FILE_PAGES (1UL << 51) /* of a file of 2^63 bytes; many file systems have fewer */

/* As since 4.0: the pages get a mapping of their own, and are brought in at once. An entry whose position doesn't tell its page is no longer
 * known. The range may be several mappings of one file with equal flags, without holes. */
static int emulate_remap_file_pages(struct mm_struct *mm, unsigned long addr, size_t len, unsigned long pgoff, bool nonblock)
{
	struct vm_area_struct *vma = find_vma_intersection(mm, addr, addr + 1), *next;
	struct file *file;
	unsigned long flags;
	int err;

	trace_fn(remap_file_pages, addr, len, pgoff);
	if (!vma || !(vma->vm_flags & VM_SHARED) || !vma->vm_file)
		return -EINVAL;
	for (; vma->vm_end < addr + len; vma = next) {
		next = vma_next(mm, vma);
		if (!next || next->vm_start != vma->vm_end || next->vm_file != vma->vm_file || next->vm_flags != vma->vm_flags)
			return -EINVAL;
	}
	if (pgoff + (len >> PAGE_SHIFT) > MAX_FILE_PAGES)
		return -EOVERFLOW;
	file = get_file(vma->vm_file);
	flags = vma->vm_flags & ~(VM_DONTCOPY | VM_WIPEONFORK | VM_SEQ_READ | VM_RAND_READ); /* advice was for the old mapping */
	err = mmap_file(mm, addr, len, flags, file, pgoff);
	for (unsigned long end = addr + len; !err && !nonblock && addr < end; addr += PAGE_SIZE)
		if (mm_residency(mm, addr) != MM_PRESENT && populate_page(mm, addr) & VM_FAULT_ERROR)
			break; /* beyond the end of the file: the call has succeeded nevertheless */
	return err;
}

int sys_remap_file_pages(struct mm_struct *mm, unsigned long addr, size_t len, unsigned long pgoff, unsigned prot, bool nonblock)
{
	mmap_assert_write_locked(mm);
	addr &= PAGE_MASK;
	len &= PAGE_MASK;
	if (prot || check_range(addr, len) || pgoff + (len >> PAGE_SHIFT) < pgoff)
		return -EINVAL;
	if (fault_path->remap_file_pages)
		return fault_path->remap_file_pages(mm, addr, len, pgoff, prot, nonblock);
	return emulate_remap_file_pages(mm, addr, len, pgoff, nonblock);
}
