/* SPDX-License-Identifier: MIT
 *
 * filemap.c - the page cache: address_spaces, files, pages by offset, and the faults that end there (fault-paths.md 3.5, 3.6).
 *
 *      filemap_fault                                                       what it may wait for
 *        beyond the end ................ SIGBUS
 *        cached ........................ async step (readahead.c)          reading the next window
 *        not cached .................... MAJOR, sync step                  reading a window; mmap_lock released before, once
 *        find it, or make it ........... invalidate_lock for reading       truncate
 *        lock the page ................. truncated: from the start         its reader; mmap_lock released before, once
 *        not uptodate .................. read, once; error: SIGBUS         the disk; mmap_lock released before, once
 *        beyond the end now ............ SIGBUS
 *
 * mmap_lock is released at most once in a fault, on its first try, and such a try ends in RETRY whatever it found; the second try
 * holds on to it. In the async step it is not released: 5.15 does that too, and its retry then counts as a major fault, but no later
 * kernel counts it so (6.4 and later: a retry is major only if a page was read), and a marked page must not cost a major fault.
 *
 * A try that has released mmap_lock stands between enter_reclaim() and leave_reclaim(), because it holds references that the invariants
 * would miss.
 */
#include "mm/fault/fault.h"
#include "mm/page_tree.h"

#define RA_PAGES_DEFAULT 32

static struct kmem_cache mapping_cache, file_cache;
struct address_space *mapping_list;
spinlock_t mapping_list_lock;

/* Where workingset_shrink() goes on. => mapping_list_lock */
static struct sweep {
	struct address_space *mapping; /* NULL: from the start of the list */
	unsigned long index;
} sweep;

void filemap_init(void)
{
	kmem_cache_init(&mapping_cache, sizeof(struct address_space), offsetof(struct address_space, next), false);
	kmem_cache_init(&file_cache, sizeof(struct file), 0, false);
	page_tree_init();
	spin_lock_init(&mapping_list_lock, ORDER_LEAF);
	mapping_list = NULL;
	sweep = (struct sweep){ .mapping = NULL };
}

bool machine_has_files(void)
{
	unsigned need = MACHINE_ALIAS | MACHINE_READONLY;

	return (mm_caps & need) == need;
}

/* ---- address spaces and files -------------------------------------------------------------------------------------------- */

struct address_space *address_space_alloc(const struct address_space_operations *ops, void *host, uint64_t size, unsigned flags)
{
	struct address_space *mapping = kmem_cache_alloc(&mapping_cache);

	if (!mapping)
		return NULL;
	atomic_init(&mapping->refs, 1);
	mapping->flags = flags;
	mapping->a_ops = ops;
	mapping->host = host;
	atomic_init(&mapping->i_size, size);
	atomic_store(&mapping->invalidate_lock.state, 0);
	spin_lock_init(&mapping->tree_lock, ORDER_TREE);
	spin_lock_init(&mapping->i_mmap_lock, ORDER_I_MMAP);
	mapping->ra_pages = RA_PAGES_DEFAULT;
	spin_lock(&mapping_list_lock);
	mapping->prev = NULL;
	mapping->next = mapping_list;
	if (mapping_list)
		mapping_list->prev = mapping;
	mapping_list = mapping;
	spin_unlock(&mapping_list_lock);
	return mapping;
}

/* => nobody sweeps it, or will */
static void mapping_unlink(struct address_space *mapping)
{
	spin_lock(&mapping_list_lock);
	while (mapping->sweepers) { /* for some microseconds */
		spin_unlock(&mapping_list_lock);
		machine_relax();
		spin_lock(&mapping_list_lock);
	}
	if (sweep.mapping == mapping)
		sweep = (struct sweep){ .mapping = mapping->next };
	if (mapping->prev)
		mapping->prev->next = mapping->next;
	else
		mapping_list = mapping->next;
	if (mapping->next)
		mapping->next->prev = mapping->prev;
	spin_unlock(&mapping_list_lock);
}

/* Nobody maps or opens it any more. Reclaim may still hold pages of it; it is waited for, page by page. */
void address_space_put(struct address_space *mapping)
{
	if (atomic_fetch_sub(&mapping->refs, 1) != 1)
		return;
	MM_BUG_ON(mapping->i_mmap.node || mapping->i_mmap_nonlinear);
	enter_reclaim();
	write_mapping_pages(mapping, 0, ~0UL);
	truncate_inode_pages(mapping, 0);
	MM_BUG_ON(mapping->nrpages || mapping->i_pages.root);
	mapping_unlink(mapping);
	leave_reclaim();
	if (mapping->a_ops && mapping->a_ops->release)
		mapping->a_ops->release(mapping->host);
	kmem_cache_free(&mapping_cache, mapping);
}

void address_space_set_readahead(struct address_space *mapping, unsigned ra_pages)
{
	__atomic_store_n(&mapping->ra_pages, ra_pages, __ATOMIC_RELAXED);
}

uint64_t address_space_size(const struct address_space *mapping)
{
	return atomic_load_explicit(&((struct address_space *)mapping)->i_size, memory_order_acquire);
}

struct file *file_open(struct address_space *mapping, unsigned file_flags)
{
	struct file *file = kmem_cache_alloc(&file_cache);

	if (!file)
		return NULL;
	atomic_init(&file->refs, 1);
	file->f_mapping = mapping;
	file->f_flags = file_flags;
	file->f_ra.prev_pos = ~0UL; /* no page was read: the one after it is not a sequential miss */
	atomic_fetch_add(&mapping->refs, 1);
	return file;
}

struct file *get_file(struct file *file)
{
	atomic_fetch_add_explicit(&file->refs, 1, memory_order_relaxed);
	return file;
}

/* => no spinlock, no page lock held, and not between enter_reclaim() and leave_reclaim() */
void fput(struct file *file)
{
	struct address_space *mapping = file->f_mapping;

	if (atomic_fetch_sub(&file->refs, 1) != 1)
		return;
	kmem_cache_free(&file_cache, file);
	address_space_put(mapping);
}

/* ---- pages by offset ------------------------------------------------------------------------------------------------------ */

struct page *page_cache_alloc(void)
{
	unsigned long pfn;
	unsigned got;

	while ((pfn = alloc_run(1, &got)) == -1UL) {
		if (mm_is_quiet())
			return NULL;
		if (__try_to_free_pages(32) || wait_for_evictions() || __swap_cache_shrink(32))
			continue;
		pfn = alloc_run(1, &got); /* somebody else's reclaim may have been faster than ours */
		if (pfn == -1UL)
			return NULL;
		break;
	}
	set_page_flags(pfn_to_page(pfn), PG_locked);
	return pfn_to_page(pfn);
}

struct page *find_get_page(struct address_space *mapping, unsigned long index, swp_entry_t *swap)
{
	struct page *page;
	void *item;

	if (swap)
		swap->val = 0;
	spin_lock(&mapping->tree_lock);
	item = page_tree_load(&mapping->i_pages, index);
	page = item_is_value(item) ? NULL : item;
	if (page)
		get_page(page); /* the cache's reference can't go meanwhile */
	else if (item_is_swap(item) && swap)
		*swap = item_swap(item);
	spin_unlock(&mapping->tree_lock);
	trace_leaf(find_get_page, index, page ? page_to_pfn(page) : -1UL, 0);
	return page;
}

struct page *find_lock_page(struct address_space *mapping, unsigned long index)
{
	struct page *page;

	trace_fn(find_lock_page, index, 0, 0);
	while ((page = find_get_page(mapping, index, NULL))) {
		lock_page(page);
		if (page_mapping(page) == mapping)
			return page;
		unlock_page(page);
		put_page(page);
	}
	return NULL;
}

void page_cache_forget_shadow(struct address_space *mapping, unsigned long index)
{
	page_tree_erase(&mapping->i_pages, index);
	mapping->nrshadows--;
	atomic_fetch_sub_explicit(&workingset.nr_shadows, 1, memory_order_relaxed);
}

/* => tree_lock held. *shadow: what had stood there, or 0; -EEXIST: a page stands there */
static int page_cache_insert(struct address_space *mapping, unsigned long index, struct page *page, shadow_t *shadow)
{
	int err = page_tree_insert(&mapping->i_pages, index, page);
	void *there;

	*shadow = 0;
	if (likely(err != -EEXIST))
		return err;
	there = page_tree_load(&mapping->i_pages, index);
	if (!item_is_shadow(there))
		return err;
	*shadow = item_shadow(there);
	page_tree_replace(&mapping->i_pages, index, page);
	mapping->nrshadows--;
	atomic_fetch_sub_explicit(&workingset.nr_shadows, 1, memory_order_relaxed);
	return 0;
}

/* => page locked, known to nobody. On the lists: anonymous ones for shared anonymous memory, else those of files */
int add_to_page_cache_lru(struct page *page, struct address_space *mapping, unsigned long index)
{
	shadow_t shadow;
	int err;

	trace_fn(add_to_page_cache_lru, page_to_pfn(page), index, 0);
	MM_DEBUG_ON(!(page_flags(page) & PG_locked));
	page->index = index;
	if (mapping->flags & MAPPING_ANON)
		set_page_flags(page, PG_swapbacked);
	spin_lock(&mapping->tree_lock);
	err = page_cache_insert(mapping, index, page, &shadow);
	if (!err) {
		get_page(page);
		mapping->nrpages++;
		atomic_store_explicit(&page->mapping, (uintptr_t)mapping, memory_order_release);
	}
	spin_unlock(&mapping->tree_lock);
	if (err)
		return err;
	if (unlikely(shadow))
		workingset_refault(page, true, shadow);
	lru_cache_add_file(page);
	return 0;
}

/* => tree_lock and the page lock held; the cache's reference is the caller's now. shadow 0: nothing is left */
static void page_cache_unlink(struct address_space *mapping, struct page *page, shadow_t shadow)
{
	void *old = shadow ? page_tree_replace(&mapping->i_pages, page->index, shadow_item(shadow)) :
			     page_tree_erase(&mapping->i_pages, page->index);

	MM_BUG_ON(old != page);
	if (shadow) {
		mapping->nrshadows++;
		atomic_fetch_add_explicit(&workingset.nr_shadows, 1, memory_order_relaxed);
	}
	mapping->nrpages--;
	atomic_store_explicit(&page->mapping, 0, memory_order_release);
}

void delete_from_page_cache(struct page *page)
{
	struct address_space *mapping = page_mapping(page);

	trace_leaf(delete_from_page_cache, page_to_pfn(page), page->index, 0);
	MM_DEBUG_ON(!(page_flags(page) & PG_locked) || !mapping || page_mapcount(page));
	spin_lock(&mapping->tree_lock);
	page_cache_unlink(mapping, page, 0);
	spin_unlock(&mapping->tree_lock);
	put_page(page);
}

/* While tree_lock is held nobody can find the page in the tree; an entry that might have been dirty has given its bit to the page before it
 * dropped its reference. Reclaim may isolate the page meanwhile: whoever locks it later sees that it has no mapping any more. */
bool __remove_mapping(struct address_space *mapping, struct page *page, bool reclaimed)
{
	bool gone, shadow = reclaimed && !(mapping->flags & MAPPING_ANON);

	spin_lock(&mapping->tree_lock);
	gone = atomic_load_explicit(&page->_refcount, memory_order_acquire) == 2 && !(page_flags(page) & PG_dirty);
	if (gone)
		page_cache_unlink(mapping, page, shadow ? workingset_eviction(page, true) : 0);
	spin_unlock(&mapping->tree_lock);
	trace_leaf(remove_mapping, page_to_pfn(page), page->index, gone);
	if (gone)
		put_page(page);
	return gone;
}

void page_cache_for_each(struct address_space *mapping, unsigned long first, unsigned long last, page_tree_fn *fn, void *arg)
{
	struct page *page;

	spin_lock(&mapping->tree_lock);
	for (unsigned long i = first; i <= last && (page = page_tree_next(&mapping->i_pages, &i, last)); i++)
		if ((!item_is_value(page) && !fn(page, i, arg)) || i == ~0UL)
			break;
	spin_unlock(&mapping->tree_lock);
}

struct gang {
	struct page **pages;
	unsigned nr, max;
	unsigned long next;
};

static bool gang_add(struct page *page, unsigned long index, void *arg)
{
	struct gang *g = arg;

	get_page(page);
	g->pages[g->nr++] = page;
	g->next = index;
	return g->nr < g->max;
}

unsigned find_get_pages(struct address_space *mapping, unsigned long *index, unsigned long last, struct page **pages, unsigned max)
{
	struct gang g = { .pages = pages, .max = max };

	page_cache_for_each(mapping, *index, last, gang_add, &g);
	if (g.nr)
		*index = g.next + 1;
	return g.nr;
}

/* ---- shadows that tell nothing any more --------------------------------------------------------------------------------------
 *
 * No more than one frame's worth of evictions can be of interest, so with twice as many shadows at least half are too old. A hand goes round all
 * caches; it looks at SWEEP items at a time, which is some ten times as many as one reclaim leaves behind. */

#define SWEEP 1024

/* => where to go on, 0: at the start of the next mapping; *left is what is left of the turn. The mapping stays (sweepers) */
static unsigned long sweep_mapping(struct address_space *mapping, unsigned long index, unsigned *left)
{
	unsigned long life = shadow_lifetime();
	void *item = NULL;

	spin_lock(&mapping->tree_lock);
	for (; *left && (item = page_tree_next(&mapping->i_pages, &index, ~0UL - 1)); index++, --*left)
		if (item_is_shadow(item) && shadow_age(item_shadow(item)) > life)
			page_cache_forget_shadow(mapping, index);
	spin_unlock(&mapping->tree_lock);
	return item ? index : 0;
}

/* => the next one to be swept, which stays until sweep_end(); NULL: there is none */
static struct address_space *sweep_begin(unsigned long *index)
{
	struct address_space *mapping;

	spin_lock(&mapping_list_lock);
	mapping = sweep.mapping;
	*index = mapping ? sweep.index : 0;
	if (!mapping)
		mapping = mapping_list;
	if (mapping)
		mapping->sweepers++;
	spin_unlock(&mapping_list_lock);
	return mapping;
}

static void sweep_end(struct address_space *mapping, unsigned long index)
{
	spin_lock(&mapping_list_lock);
	mapping->sweepers--;
	sweep = (struct sweep){ index ? mapping : mapping->next, index };
	spin_unlock(&mapping_list_lock);
}

void workingset_shrink(void)
{
	unsigned left = SWEEP;

	if (likely(atomic_load_explicit(&workingset.nr_shadows, memory_order_relaxed) <= 2 * shadow_lifetime()))
		return;
	for (unsigned mappings = 0; left && mappings < SWEEP; mappings++) {
		unsigned long index;
		struct address_space *mapping = sweep_begin(&index);

		if (!mapping)
			return;
		sweep_end(mapping, sweep_mapping(mapping, index, &left));
	}
}

bool filemap_cached(struct address_space *mapping, unsigned long pgoff)
{
	struct page *page = find_get_page(mapping, pgoff, NULL);
	bool cached = page && page_uptodate(page);

	if (page)
		put_page(page);
	return cached;
}

/* ---- reading one page ------------------------------------------------------------------------------------------------------ */

/* => page locked; 0 (uptodate), -EIO; still locked */
int filemap_read_page(struct page *page)
{
	struct address_space *mapping = page_mapping(page);
	void *bytes = machine_frame(page_to_pfn(page));
	int err;

	trace_fn(readpages, page->index, 1, page_to_pfn(page));
	err = mapping->a_ops->readpages(mapping->host, page->index, 1, &bytes);
	if (err) {
		set_page_flags(page, PG_error);
		return -EIO;
	}
	clear_page_flags(page, PG_error);
	set_page_uptodate(page);
	count(file_read, 1);
	return 0;
}

/* => the page with a reference, not locked, maybe not uptodate; NULL: no frame. invalidate_lock held for reading */
struct page *find_or_create_page(struct address_space *mapping, unsigned long index)
{
	for (;;) {
		struct page *page = find_get_page(mapping, index, NULL), *fresh;
		int err;

		if (page)
			return page;
		fresh = page_cache_alloc();
		if (!fresh)
			return NULL;
		err = add_to_page_cache_lru(fresh, mapping, index);
		unlock_page(fresh);
		if (!err)
			return fresh;
		put_page(fresh);
		if (err != -EEXIST)
			return NULL;
	}
}

/* The page, read if need be. => locked, with a reference; NULL: *err is -ENOMEM or -EIO. invalidate_lock held */
struct page *read_cache_page(struct address_space *mapping, unsigned long index, int *err)
{
	struct page *page;

	*err = -ENOMEM;
	while ((page = find_or_create_page(mapping, index))) {
		lock_page(page);
		*err = 0;
		if (page_mapping(page) == mapping && (page_uptodate(page) || !(*err = filemap_read_page(page))))
			return page;
		unlock_page(page);
		put_page(page);
		if (*err)
			return NULL;
		*err = -ENOMEM;
	}
	return NULL;
}

static int peek_file(struct address_space *mapping, unsigned long index, unsigned at, uint8_t *value)
{
	void *buf = machine_alloc(PAGE_SIZE);
	int err;

	if (!buf)
		return -ENOMEM;
	err = mapping->a_ops->readpages(mapping->host, index, 1, &buf);
	*value = ((uint8_t *)buf)[at];
	machine_free(buf, PAGE_SIZE);
	return err;
}

/* => reclaim entered. -EAGAIN: it changed places meanwhile */
static int peek_page(struct address_space *mapping, unsigned long index, unsigned at, uint8_t *value)
{
	swp_entry_t swap;
	struct page *page = find_get_page(mapping, index, &swap);
	bool uptodate = page && page_uptodate(page);

	if (uptodate)
		*value = __atomic_load_n((uint8_t *)machine_frame(page_to_pfn(page)) + at, __ATOMIC_RELAXED);
	if (page)
		put_page(page);
	if (uptodate)
		return 0;
	if (swap.val) {
		int err = shmem_peek_swap(swap, at, value);
		swp_entry_t now;

		page = find_get_page(mapping, index, &now);
		if (page)
			put_page(page);
		return now.val == swap.val ? err : -EAGAIN; /* the slot may have been somebody else's by then */
	}
	if (!(mapping->flags & MAPPING_ANON))
		return peek_file(mapping, index, at, value);
	*value = 0;
	return 0;
}

int filemap_peek(struct address_space *mapping, uint64_t offset, uint8_t *value)
{
	int err = -EFAULT;

	enter_reclaim();
	if (offset < address_space_size(mapping))
		while ((err = peek_page(mapping, offset >> PAGE_SHIFT, offset & ~PAGE_MASK, value)) == -EAGAIN)
			;
	leave_reclaim();
	return err;
}

int filemap_poke(struct address_space *mapping, uint64_t offset, uint8_t value)
{
	struct page *page = NULL;
	int err = -EFAULT;

	enter_reclaim();
	down_read(&mapping->invalidate_lock);
	if (offset < address_space_size(mapping)) {
		if (mapping->flags & MAPPING_ANON)
			page = shmem_get_page(mapping, offset >> PAGE_SHIFT, &err);
		else
			page = read_cache_page(mapping, offset >> PAGE_SHIFT, &err);
	}
	if (page) {
		__atomic_store_n((uint8_t *)machine_frame(page_to_pfn(page)) + (offset & ~PAGE_MASK), value, __ATOMIC_RELAXED);
		set_page_dirty(page);
		unlock_page(page);
		put_page(page);
	}
	up_read(&mapping->invalidate_lock);
	leave_reclaim();
	return err < 0 ? err : 0; /* 1: out of swap */
}

/* Nobody asks for what it was: that it comes back so soon tells nothing. */
static void forget_shadow(struct address_space *mapping, unsigned long index)
{
	spin_lock(&mapping->tree_lock);
	if (item_is_shadow(page_tree_load(&mapping->i_pages, index)))
		page_cache_forget_shadow(mapping, index);
	spin_unlock(&mapping->tree_lock);
}

int filemap_add_written(struct address_space *mapping, unsigned long pgoff, const void *bytes)
{
	struct page *page = NULL;

	enter_reclaim();
	down_read(&mapping->invalidate_lock);
	forget_shadow(mapping, pgoff);
	if (pgoff < i_pages_end(mapping))
		page = find_or_create_page(mapping, pgoff);
	if (page) {
		lock_page(page);
		if (page_mapping(page) == mapping && !page_uptodate(page)) {
			memcpy(machine_frame(page_to_pfn(page)), bytes, PAGE_SIZE);
			set_page_uptodate(page);
		}
		unlock_page(page);
		put_page(page);
	}
	up_read(&mapping->invalidate_lock);
	leave_reclaim();
	return page ? 0 : -ENOMEM;
}

/* ---- filemap_fault --------------------------------------------------------------------------------------------------------- */

/* One try of a fault. The vma may only be looked at until mmap_lock has been released. */
struct fault_try {
	struct address_space *mapping;
	struct file *file;
	struct mm_struct *mm;
	unsigned long pgoff, vm_flags;
	unsigned long end; /* page of the file behind the mapping's last one */
	bool may_drop; /* a first try that may be repeated, and mmap_lock is still held */
	bool dropped;  /* `file` is pinned, and reclaim entered, instead of it */
	bool held;     /* invalidate_lock, for reading */
};

static void maybe_unlock_mmap_for_io(struct fault_try *t)
{
	if (!t->may_drop)
		return;
	trace_why("mmap_lock is released before waiting", 0, 0);
	get_file(t->file);
	enter_reclaim();
	mmap_read_unlock(t->mm);
	t->may_drop = false;
	t->dropped = true;
}

static void do_async_mmap_readahead(struct fault_try *t, struct page *page)
{
	struct file_ra_state *ra = &t->file->f_ra;
	unsigned miss = __atomic_load_n(&ra->mmap_miss, __ATOMIC_RELAXED), ra_pages = t->mapping->ra_pages;

	trace_fn(do_async_mmap_readahead, t->pgoff, miss, 0);
	if (t->vm_flags & VM_RAND_READ || !ra_pages)
		return;
	if (miss)
		__atomic_store_n(&ra->mmap_miss, miss - 1, __ATOMIC_RELAXED);
	if (page_flags(page) & PG_readahead) {
		trace_why("page %lu carries the readahead mark", t->pgoff, 0);
		maybe_unlock_mmap_for_io(t);
		page_cache_async_readahead(t->file, page, t->pgoff, ra_pages);
	}
}

static void do_sync_mmap_readahead(struct fault_try *t)
{
	struct file_ra_state *ra = &t->file->f_ra;
	unsigned miss = __atomic_load_n(&ra->mmap_miss, __ATOMIC_RELAXED), ra_pages = t->mapping->ra_pages;

	trace_fn(do_sync_mmap_readahead, t->pgoff, miss, ra_pages);
	if (t->vm_flags & VM_RAND_READ || !ra_pages)
		return;
	if (t->vm_flags & VM_SEQ_READ) {
		maybe_unlock_mmap_for_io(t);
		page_cache_sync_readahead(t->file, t->pgoff, ra_pages);
		return;
	}
	if (miss < 10 * MMAP_LOTSAMISS)
		__atomic_store_n(&ra->mmap_miss, ++miss, __ATOMIC_RELAXED);
	if (miss > MMAP_LOTSAMISS) {
		trace_why("%lu misses more than hits: no readahead", miss, 0);
		return;
	}
	maybe_unlock_mmap_for_io(t);
	if (t->vm_flags & VM_EXEC && mm_reuse_rule == REUSE_6) {
		trace_why("program text is read ahead to the end of its mapping", 0, 0); /* since 6.16 */
		page_cache_read_ahead(t->file, t->pgoff, min_ul(t->end - t->pgoff, ra_pages));
		return;
	}
	page_cache_read_around(t->file, t->pgoff, ra_pages);
}

/* => the page locked and uptodate, or NULL: *ret says why */
static struct page *filemap_get_locked(struct fault_try *t, struct page *page, vm_fault_t *ret)
{
	for (;; page = NULL) {
		bool read_it = !page || !(page_uptodate(page));
		int err;

		if (read_it && !t->held) {
			down_read(&t->mapping->invalidate_lock);
			t->held = true;
		}
		if (!page) {
			/* No page is made beyond the end; under invalidate_lock that stays where it is. */
			if (t->pgoff >= i_pages_end(t->mapping)) {
				*ret = VM_FAULT_SIGBUS;
				return NULL;
			}
			page = find_or_create_page(t->mapping, t->pgoff);
			if (!page) {
				*ret = VM_FAULT_OOM;
				return NULL;
			}
		}
		if (!trylock_page(page)) {
			maybe_unlock_mmap_for_io(t);
			trace_leaf(lock_page, page_to_pfn(page), t->pgoff, 0);
			__lock_page(page);
		}
		if (page_mapping(page) == t->mapping) {
			if (page_uptodate(page))
				return page;
			if (t->held) {
				maybe_unlock_mmap_for_io(t);
				err = filemap_read_page(page);
				if (!err)
					return page;
				*ret = VM_FAULT_SIGBUS;
				unlock_page(page);
				put_page(page);
				return NULL;
			}
		}
		/* Truncated, or reclaimed and no longer uptodate when the lock was ours. */
		unlock_page(page);
		put_page(page);
	}
}

/* Back to do_page_fault(), which takes mmap_lock and finds the vma again. Afterwards nothing may be held that the invariants would miss. */
static vm_fault_t filemap_retry(struct fault_try *t, struct vm_fault *vmf, struct page *page)
{
	if (vmf->cow_page) {
		free_run(page_to_pfn(vmf->cow_page), 1);
		vmf->cow_page = NULL;
	}
	if (page) {
		unlock_page(page);
		put_page(page);
	}
	leave_reclaim();
	fput(t->file);
	return VM_FAULT_RETRY;
}

vm_fault_t filemap_fault(struct vm_fault *vmf)
{
	struct file *file = vmf->vma->vm_file;
	struct fault_try t = {
		.mapping = file->f_mapping, .file = file, .mm = vmf->vma->vm_mm, .pgoff = vmf->pgoff, .vm_flags = vmf->vma->vm_flags,
		.end = vmf->pgoff + ((vmf->vma->vm_end - vmf->address) + PAGE_SIZE - 1) / PAGE_SIZE,
		.may_drop = (vmf->flags & (FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_TRIED)) == FAULT_FLAG_ALLOW_RETRY,
	};
	vm_fault_t ret = 0, err = 0;
	struct page *page;

	trace_fn(filemap_fault, vmf->address, vmf->pgoff, vmf->flags);
	if (t.pgoff >= i_pages_end(t.mapping)) {
		trace_why("page %lu is beyond the end of the file", t.pgoff, 0);
		return VM_FAULT_SIGBUS;
	}
	page = find_get_page(t.mapping, t.pgoff, NULL);
	if (page) {
		if (!(vmf->flags & FAULT_FLAG_TRIED))
			do_async_mmap_readahead(&t, page);
	} else {
		ret = VM_FAULT_MAJOR;
		do_sync_mmap_readahead(&t);
	}
	page = filemap_get_locked(&t, page, &err);
	if (t.held)
		up_read(&t.mapping->invalidate_lock);
	if (t.dropped)
		return ret | filemap_retry(&t, vmf, page);
	if (!page)
		return err;
	if (t.pgoff >= i_pages_end(t.mapping)) {
		unlock_page(page);
		put_page(page);
		return VM_FAULT_SIGBUS;
	}
	vmf->page = page;
	return ret | VM_FAULT_LOCKED;
}

/* ---- filemap_map_pages ------------------------------------------------------------------------------------------------------- */

/* What is the same for all pages of one call, and what was done. */
struct map_pages {
	struct vm_area_struct *vma;
	struct ptdesc *table;
	pteval_t prot;
	unsigned long fault; /* the faulting address */
	unsigned mapped;
	bool hit;            /* the faulting address is among them */
};

/* What the machine did not take is undone. => pte lock held */
static noinline void map_pages_undo(struct map_pages *m, unsigned long addr, struct page *page, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++) {
		set_pte(pte_offset(m->table, addr + i * PAGE_SIZE), (pte_t){ 0 });
		page_remove_rmap(page + i);
		atomic_fetch_sub(&page[i]._refcount, 1); /* the cache has another, which tree_lock keeps */
	}
}

/* Entries that are written but of which the machine hasn't heard: neighbours on neighbouring frames. => pte lock held */
static void map_pages_flush(struct map_pages *m, unsigned long addr, struct page *page, unsigned nr)
{
	int done = map_run(m->vma->vm_mm, addr, nr, page_to_pfn(page), pte_how((pte_t){ m->prot }));

	if (unlikely(done != (int)nr)) {
		done = done > 0 ? done : 0;
		map_pages_undo(m, addr + (unsigned)done * PAGE_SIZE, page + done, nr - (unsigned)done);
		nr = (unsigned)done;
	}
	m->mapped += nr;
	m->hit |= m->fault - addr < nr * PAGE_SIZE;
	for (unsigned i = 0; unlikely(m->vma->vm_flags & VM_LOCKED) && i < nr; i++)
		page_set_unevictable(page + i, true);
}

/* `f`: its flags before it was locked. Mostly nobody has touched them since, and waits. */
static inline void unlock_page_fast(struct page *page, unsigned f)
{
	unsigned locked = f | PG_locked;

	if (unlikely(!atomic_compare_exchange_strong_explicit(&page->flags, &locked, f, memory_order_release, memory_order_relaxed)))
		unlock_page(page);
}

static inline bool is_ready(unsigned f)
{
	return (f & (PG_locked | PG_uptodate | PG_readahead)) == PG_uptodate;
}

/* Can the page be mapped without waiting, and its entry is none? A page that is locked is being read or thrown away; one with the readahead
 * mark has to be met by a fault. => true: locked; *f: its flags before */
static inline_hot bool map_page_trylock(struct page *page, const pte_t *ptep, unsigned *f)
{
	*f = page_flags(page);
	return is_ready(*f) && pte_none(ptep_get(ptep)) && trylock_page(page);
}

/* The slots of one leaf, from `addr` on. Neighbours on neighbouring frames, as readahead leaves them, are a run: 26 instructions a page; most of
 * what a program sees of its files comes this way. => pte lock and tree_lock held */
static void map_leaf(struct map_pages *m, void *const *slot, unsigned n, unsigned long addr)
{
	pte_t *ptep = pte_offset(m->table, addr);

	for (unsigned i = 0, first; i < n; i++) {
		struct page *page = slot[i];
		pteval_t val;
		unsigned f;

		if (!page || item_is_value(page) || !map_page_trylock(page, &ptep[i], &f))
			continue;
		val = pfn_pte(page_to_pfn(page), m->prot).val;
		first = i;
		for (;;) {
			get_page(page);
			atomic_fetch_add_explicit(&page->_mapcount, 1, memory_order_acq_rel);
			set_pte(&ptep[i], (pte_t){ val });
			unlock_page_fast(page, f);
			val += PAGE_SIZE;
			page++;
			if (++i == n || slot[i] != page || !map_page_trylock(page, &ptep[i], &f))
				break;
		}
		map_pages_flush(m, addr + first * PAGE_SIZE, page - (i - first), i - first);
		i--; /* it has not been looked at, or by the wrong measure */
	}
}

/* A hit is a miss that readahead has saved. No lock: a hint. */
static void mmap_hits(struct file_ra_state *ra, unsigned n)
{
	unsigned miss = __atomic_load_n(&ra->mmap_miss, __ATOMIC_RELAXED);

	if (miss)
		__atomic_store_n(&ra->mmap_miss, miss > n ? miss - n : 0, __ATOMIC_RELAXED);
}

static bool page_is_ready(struct address_space *mapping, unsigned long index)
{
	const void *item;
	bool ready;

	spin_lock(&mapping->tree_lock);
	item = page_tree_load(&mapping->i_pages, index);
	ready = item && !item_is_value(item) && is_ready(page_flags(item));
	spin_unlock(&mapping->tree_lock);
	return ready;
}

/* There is no table yet, and one was got in advance: it is installed if the window has a page. 6.x (6.18) installs none where the first such page is
 * the last one of a disk's file. => NULL: nothing to map */
static noinline struct ptdesc *map_pages_table(struct vm_fault *vmf, unsigned long index, unsigned long end_pgoff)
{
	struct address_space *mapping = vmf->vma->vm_file->f_mapping;
	unsigned long end = min_ul(i_pages_end(mapping), end_pgoff + 1);

	while (index < end && !page_is_ready(mapping, index))
		index++;
	if (index >= end || !vmf->prealloc_pte)
		return NULL;
	if (mm_reuse_rule == REUSE_6 && mapping->flags & MAPPING_NOTIFY && index + 1 == i_pages_end(mapping)) {
		trace_why("page %lu is the file's last: no table for it alone", index, 0);
		return NULL;
	}
	pmd_install(vmf->vma->vm_mm, vmf->pmd, &vmf->prealloc_pte);
	return desc_load(&vmf->pmd->desc);
}

vm_fault_t filemap_map_pages(struct vm_fault *vmf, unsigned long start_pgoff, unsigned long end_pgoff)
{
	struct vm_area_struct *vma = vmf->vma;
	struct address_space *mapping = vma->vm_file->f_mapping;
	struct ptdesc *table = desc_load(&vmf->pmd->desc);
	struct map_pages m = { .vma = vma, .fault = vmf->address, .prot = file_page_prot(vma) | _PAGE_ACCESSED };
	unsigned long index = start_pgoff, n;

	trace_fn(filemap_map_pages, vmf->address, start_pgoff, end_pgoff);
	if (unlikely(!table) && !(table = map_pages_table(vmf, start_pgoff, end_pgoff)))
		return 0;
	m.table = table;
	spin_lock(&table->ptl);
	spin_lock(&mapping->tree_lock);
	for (; index <= end_pgoff && index < i_pages_end(mapping); index += n) {
		void *const *slot = page_tree_leaf(&mapping->i_pages, index, &n);

		if (!n)
			break;
		n = min_ul(n, min_ul(end_pgoff + 1, i_pages_end(mapping)) - index);
		if (slot)
			map_leaf(&m, slot, n, vmf->address + ((index - vmf->pgoff) << PAGE_SHIFT));
	}
	spin_unlock(&mapping->tree_lock);
	if (m.mapped)
		add_mm_counter(vma->vm_mm, mapping->flags & MAPPING_ANON ? MM_SHMEMPAGES : MM_FILEPAGES, m.mapped);
	spin_unlock(&table->ptl);
	mmap_hits(&vma->vm_file->f_ra, m.mapped);
	if (m.mapped > m.hit)
		count(file_around_pages, m.mapped - m.hit);
	return m.hit ? VM_FAULT_NOPAGE : 0;
}

/* ---- filemap_page_mkwrite ------------------------------------------------------------------------------------------------------ */

vm_fault_t filemap_page_mkwrite(struct vm_fault *vmf)
{
	struct page *page = vmf->page;
	struct address_space *mapping = vmf->vma->vm_file->f_mapping;

	trace_fn(page_mkwrite, vmf->address, page_to_pfn(page), page->index);
	if (mapping->a_ops && mapping->a_ops->page_mkwrite && mapping->a_ops->page_mkwrite(mapping->host, page->index)) {
		trace_why("the file system refuses: no space", 0, 0);
		return VM_FAULT_SIGBUS;
	}
	file_update_time(vmf->vma);
	lock_page(page);
	if (page_mapping(page) != mapping) {
		unlock_page(page);
		return VM_FAULT_NOPAGE;
	}
	set_page_dirty(page);
	return VM_FAULT_LOCKED;
}

const struct vm_operations_struct generic_file_vm_ops = {
	.fault = filemap_fault,
	.map_pages = filemap_map_pages,
	.page_mkwrite = filemap_page_mkwrite,
};

/* ---- F1, F5, F6 ---------------------------------------------------------------------------------------------------------------------- */

static void check_cached_page(struct address_space *mapping, struct page *page, unsigned long index)
{
	unsigned lru = mapping->flags & MAPPING_ANON ? PG_swapbacked : 0;

	MM_BUG_ON(page_mapping(page) != mapping || page->index != index);
	MM_BUG_ON(page_count(page) < page_mapcount(page) + 1);
	MM_BUG_ON((page_flags(page) & PG_swapbacked) != lru);
	MM_BUG_ON(page_flags(page) & (PG_locked | PG_writeback | PG_buddy | PG_anon_exclusive));
	MM_BUG_ON(page_mapcount(page) && index >= i_pages_end(mapping));
}

void check_page_cache(uint16_t *slots, uint8_t *cached)
{
	unsigned long shadows = 0;

	for (struct address_space *mapping = mapping_list; mapping; mapping = mapping->next) {
		unsigned long pages = 0, swapped = 0, mine = 0, items;
		void *item;

		MM_BUG_ON(spin_is_locked(&mapping->tree_lock) || spin_is_locked(&mapping->i_mmap_lock));
		MM_BUG_ON(rwsem_is_locked(&mapping->invalidate_lock));
		page_tree_check(&mapping->i_pages, &items);
		for (unsigned long i = 0; (item = page_tree_next(&mapping->i_pages, &i, ~0UL - 1)); i++) {
			if (item_is_swap(item)) {
				MM_BUG_ON(!(mapping->flags & MAPPING_ANON) || i >= i_pages_end(mapping));
				swapped++;
				MM_BUG_ON(item_swap(item).val > slots_ever_used());
				if (slots)
					slots[item_swap(item).val]++;
				continue;
			}
			if (item_is_shadow(item)) {
				MM_BUG_ON(!workingset.file || mapping->flags & MAPPING_ANON || i >= i_pages_end(mapping));
				mine++;
				continue;
			}
			pages++;
			check_cached_page(mapping, item, i);
			if (cached)
				cached[page_to_pfn(item)]++;
		}
		MM_BUG_ON(pages != mapping->nrpages || mine != mapping->nrshadows || pages + swapped + mine != items || mapping->sweepers);
		shadows += mine;
	}
	MM_BUG_ON(shadows != atomic_load(&workingset.nr_shadows));
}
