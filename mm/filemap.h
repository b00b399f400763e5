/* SPDX-License-Identifier: MIT
 *
 * filemap.h - files in memory: an address_space with its page cache, the mappings of it, and the way there and back.
 *
 *      vma -- vm_file --> file -- f_mapping --> address_space -- a_ops, host --> the real file (pread, pwrite)
 *       ^                  f_ra                    |   |
 *       |                                          |   +-- i_pages: page offset --> page (or the swap entry of a shared anonymous page)
 *       +--------------- i_mmap -------------------+
 *
 *   F1  a page in i_pages at offset n: page.mapping = the address_space, page.index = n, one reference for the cache
 *   F2  _refcount = mapcount + 1 (cache) (+ 1 in the swap cache) + transient
 *   F3  each vma with vm_file is in the i_mmap tree of its f_mapping (or on i_mmap_nonlinear: VM_NONLINEAR), and in no other
 *   F4  a clean page of a mapping with MAPPING_NOTIFY has no writable entry in a shared vma
 *   F5  no entry names a page of an address_space beyond its end; the bytes behind the end in the last page are zero in the cache
 *       when it is truncated or read
 *   F6  shadows stand in the caches of files alone (linux-5), as many as nrshadows; the sum over all is workingset.nr_shadows
 *
 * Locks, outer to inner: mmap_lock > invalidate_lock > page lock > i_mmap_lock, anon_vma lock > page-table lock > swap > tree_lock > LRU.
 */
#ifndef MF_MM_FILEMAP_H
#define MF_MM_FILEMAP_H

#include "mm/internal.h"

#pragma GCC visibility push(hidden)

/* Radix tree of pages by offset (page_tree.h). A slot: NULL, a struct page, a swap entry, or a shadow. */
struct radix_node;
struct page_tree {
	struct radix_node *root;
	unsigned height;
};

struct address_space {
	atomic_uint refs;                     /* files, vmas through their files, the creator */
	unsigned flags;                       /* enum mapping_flags */
	const struct address_space_operations *a_ops; /* NULL: shared anonymous memory */
	void *host;
	_Atomic uint64_t i_size;              /* bytes; rises and falls under invalidate_lock for writing */
	struct rw_semaphore invalidate_lock;  /* who brings pages in holds it for reading, truncate for writing */
	spinlock_t tree_lock;                 /* i_pages, nrpages, nrshadows */
	struct page_tree i_pages;
	unsigned long nrpages, nrshadows;
	spinlock_t i_mmap_lock;               /* the two below; and the bounds of the vmas in them, as with an anon_vma */
	struct tree_root i_mmap;              /* vmas by vm_pgoff, an interval tree */
	struct vm_area_struct *i_mmap_nonlinear; /* linked by vma->nonlinear_next */
	unsigned long nr_nonlinear;
	struct address_space *next, *prev;    /* all of them; mapping_list_lock */
	unsigned sweepers;                    /* of workingset_shrink(): it stays until they have left. mapping_list_lock */
	unsigned ra_pages;                    /* largest readahead window; 32 */
	atomic_bool wb_err;                   /* writing has failed, and nobody was told yet */
};

/* One opening of it. */
struct file_ra_state {
	unsigned long start;     /* where the current window begins */
	unsigned size;           /* pages of it */
	unsigned async_size;     /* the next window is asked for when so many are left */
	unsigned mmap_miss;      /* cache misses of mapped accesses, less the hits */
	unsigned long prev_pos;  /* last page read */
};
struct file {
	atomic_uint refs;
	struct address_space *f_mapping;
	struct file_ra_state f_ra; /* no lock: a hint */
	unsigned f_flags;          /* enum file_flags */
};

static inline unsigned long i_pages_end(const struct address_space *mapping) /* first page offset beyond the end */
{
	return (atomic_load_explicit(&((struct address_space *)mapping)->i_size, memory_order_acquire) + PAGE_SIZE - 1) >> PAGE_SHIFT;
}

/* ---- pages and their mapping --------------------------------------------------------------------------------------- */

static inline bool page_is_file(const struct page *page) /* of an address_space (shared anonymous ones too), not of an anon_vma */
{
	uintptr_t m = atomic_load_explicit(&((struct page *)page)->mapping, memory_order_acquire);

	return m && !(m & PAGE_MAPPING_ANON);
}
static inline struct address_space *page_mapping(const struct page *page) /* NULL: anonymous, or truncated */
{
	uintptr_t m = atomic_load_explicit(&((struct page *)page)->mapping, memory_order_acquire);

	return m & PAGE_MAPPING_ANON ? NULL : (struct address_space *)m;
}

/* Its bytes are in the frame: who sees that sees them too, also without the page lock. */
static inline void set_page_uptodate(struct page *page)
{
	atomic_fetch_or_explicit(&page->flags, PG_uptodate, memory_order_release);
}
static inline bool page_uptodate(const struct page *page)
{
	return atomic_load_explicit(&((struct page *)page)->flags, memory_order_acquire) & PG_uptodate;
}
/* rss counter of a page of an address_space */
static inline int mm_counter_file(const struct page *page)
{
	return page_flags(page) & PG_swapbacked ? MM_SHMEMPAGES : MM_FILEPAGES;
}
/* rss counter of any page that an entry names; looked up before the entry's reference is dropped */
static inline int mm_counter(const struct page *page)
{
	return page_is_file(page) ? mm_counter_file(page) : MM_ANONPAGES;
}

/* ---- filemap.c: the page cache ---------------------------------------------------------------------------------------
 *
 * All address_spaces, for the invariants. A page that is allocated for a cache may cost reclaim: who asks for one holds an mmap_lock, or is
 * between enter_reclaim() and leave_reclaim(). */
extern struct address_space *mapping_list;
extern spinlock_t mapping_list_lock;
void filemap_init(void); /* from mm_init() */
/* Can this machine show files? (They need MACHINE_ALIAS and MACHINE_READONLY.) mmap of a file: -ENOSYS if not */
bool machine_has_files(void);
/* A frame for a cache: one reference, locked; NULL: none to be had */
struct page *page_cache_alloc(void);
/* The page, made if it isn't there: with a reference, not locked, maybe not uptodate; NULL: no frame. invalidate_lock held for reading */
struct page *find_or_create_page(struct address_space *mapping, unsigned long index);
/* Reads a page that isn't uptodate. => page locked and in its cache; 0, -EIO; still locked */
int filemap_read_page(struct page *page);
/* Both: locked, with a reference, uptodate; NULL: *err is -ENOMEM or -EIO. invalidate_lock held */
struct page *read_cache_page(struct address_space *mapping, unsigned long index, int *err);
/* Up to `max` pages of [*index, last] with a reference each; *index is where to go on. => how many */
unsigned find_get_pages(struct address_space *mapping, unsigned long *index, unsigned long last, struct page **pages, unsigned max);
/* F1, F5, F6 from the caches' side; swap entries in the caches are added to `slots` (may be NULL), pages in them to `cached` (one byte a frame).
 * => nothing else runs */
void check_page_cache(uint16_t *slots, uint8_t *cached);

/* => with a reference, or NULL (a swap entry counts as nothing; *swap gets it when swap is not NULL) */
struct page *find_get_page(struct address_space *mapping, unsigned long index, swp_entry_t *swap);
/* => with a reference and locked, and still in the mapping; or NULL */
struct page *find_lock_page(struct address_space *mapping, unsigned long index);
/* A page that nobody else knows, locked, goes in; it gets the cache's reference. => 0, -EEXIST, -ENOMEM */
int add_to_page_cache_lru(struct page *page, struct address_space *mapping, unsigned long index);
/* => page locked; drops the cache's reference. The caller has one of his own */
void delete_from_page_cache(struct page *page);
/* Only if nobody but the cache and the caller has it and it is clean. reclaimed: a file's page leaves its shadow. => page locked; true: gone from
 * the cache */
bool __remove_mapping(struct address_space *mapping, struct page *page, bool reclaimed);
static inline bool remove_mapping(struct address_space *mapping, struct page *page) { return __remove_mapping(mapping, page, false); }
/* The shadow that stands there goes, without its page having come back. => tree_lock held */
void page_cache_forget_shadow(struct address_space *mapping, unsigned long index);
/* Calls fn for the pages of [first, last] in order, with tree_lock held, until it returns false. */
typedef bool page_tree_fn(struct page *page, unsigned long index, void *arg);
void page_cache_for_each(struct address_space *mapping, unsigned long first, unsigned long last, page_tree_fn *fn, void *arg);

/* vm_operations of files and of shared anonymous memory (fault-paths.md 3.5, 3.6). */
extern const struct vm_operations_struct generic_file_vm_ops, shmem_vm_ops;
/* => VM_FAULT_LOCKED: vmf->page is there, locked, uptodate, with a reference; VM_FAULT_RETRY: mmap_lock was released,
 * and vmf->cow_page freed */
vm_fault_t filemap_fault(struct vm_fault *vmf);
/* Maps what is cached and needs no waiting, from start_pgoff to end_pgoff, around the faulting address.
 * => VM_FAULT_NOPAGE: the faulting address is mapped now; 0: it is not. Nothing locked before and after. */
vm_fault_t filemap_map_pages(struct vm_fault *vmf, unsigned long start_pgoff, unsigned long end_pgoff);
/* => vmf->page with a reference and unlocked. VM_FAULT_LOCKED: may be written, dirty; NOPAGE: it left the mapping; SIGBUS */
vm_fault_t filemap_page_mkwrite(struct vm_fault *vmf);
vm_fault_t shmem_fault(struct vm_fault *vmf);
/* vm_page_prot of a vma of a file, for a page that is mapped clean (3.5, 4.1): W only in a shared mapping whose first stores nobody wants to see */
static inline pteval_t file_page_prot(const struct vm_area_struct *vma);
/* Shared anonymous memory: the page at index, zeroed or out of swap. => locked, with a reference; NULL: *err is -ENOMEM or -EIO; 1 in *err: read
 * from swap */
struct page *shmem_get_page(struct address_space *mapping, unsigned long index, int *err);
/* One byte of a page that is in swap. => reclaim entered; 0, -EAGAIN (it has moved: look again), -EIO, -ENOMEM */
int shmem_peek_swap(swp_entry_t entry, unsigned at, uint8_t *value);
/* Reclaim: the cache's slot gets a swap entry. => page locked and in the swap cache afterwards; 0, -ENOSPC */
int shmem_writepage(struct page *page);

/* ---- readahead.c ------------------------------------------------------------------------------------------------------- */

void page_cache_sync_readahead(struct file *file, unsigned long index, unsigned nr);
void page_cache_async_readahead(struct file *file, struct page *page, unsigned long index, unsigned nr);
/* Read what is missing of [start, start + nr) into the cache, at most to the end of the file; the page at start + nr - async
 * gets PG_readahead (async 0: none). => pages read */
unsigned do_page_cache_readahead(struct file *file, unsigned long start, unsigned nr, unsigned async);

/* nr pages from index on, and no mark: a miss of program text (Linux 6.16). */
void page_cache_read_ahead(struct file *file, unsigned long index, unsigned nr);
/* A window around index after a miss of a mapped access (3.6). */
void page_cache_read_around(struct file *file, unsigned long index, unsigned ra_pages);
#define MMAP_LOTSAMISS 100 /* more misses than hits by so many: mapped accesses are at random */

/* ---- writeback.c ------------------------------------------------------------------------------------------------------- */

/* => true: it was clean before */
bool set_page_dirty(struct page *page);
/* => page locked. All entries of it become read-only and clean (4.1). true: it was dirty, and is the caller's to write */
bool clear_page_dirty_for_io(struct page *page);
/* => page locked, dirty bit cleared. 0, -EIO (dirty again) */
int write_one_page(struct page *page);
/* All dirty pages of [first, last]. => mmap_lock or reclaim entered; 0, -EIO (the first error; the others were tried) */
int write_mapping_pages(struct address_space *mapping, unsigned long first, unsigned long last);

/* ---- truncate.c -------------------------------------------------------------------------------------------------------- */

/* Zap the entries of all mappings of [start, end) (page offsets); even_cows: private copies too. */
void unmap_mapping_range(struct address_space *mapping, unsigned long start, unsigned long end, bool even_cows);

/* All pages and swap entries from page offset start on leave the cache. => nobody brings pages in; unmaps what is mapped */
void truncate_inode_pages(struct address_space *mapping, unsigned long start);

/* ---- rmap.c, vma.c, memory.c: the other side --------------------------------------------------------------------------- */

void vma_interval_tree_insert(struct vm_area_struct *vma); /* i_mmap_lock held */
void vma_interval_tree_remove(struct vm_area_struct *vma);
/* Every vma of i_mmap that covers a page of [first, last], until fn returns false. => i_mmap_lock held */
typedef bool vma_fn(struct vm_area_struct *vma, void *arg);
void vma_interval_tree_foreach(struct address_space *mapping, unsigned long first, unsigned long last, vma_fn *fn, void *arg);
/* Calls fn for every vma that may map the page, whatever kind it is of; takes and releases the lock of the reverse map. */
void rmap_walk(struct page *page, rmap_fn_t *fn, void *arg);
void page_add_file_rmap(struct page *page); /* pte lock held */
/* Does a clean page of this vma have to be read-only, so that its first store is seen? (4.1) */
bool vma_wants_writenotify(const struct vm_area_struct *vma);
/* Entries of [start, end) of a vma of a truncated file; even_cows: private copies too. Doesn't wait: => NULL, or a page with a reference that is being
 * evicted from one of the entries, and must be waited for without locks before the call is repeated. i_mmap_lock held */
struct page *zap_file_range(struct vm_area_struct *vma, unsigned long start, unsigned long end, bool even_cows);
/* One page of the cache into an entry that is none (do_set_pte, 3.5). => pte lock held, page locked; 1: the caller's
 * reference is the entry's now; -errno: the machine could not, nothing has changed */
int do_set_pte(struct vm_fault *vmf, struct page *page, unsigned long addr);

static inline pteval_t file_page_prot(const struct vm_area_struct *vma)
{
	if (!(vma->vm_flags & VM_ACCESS_FLAGS))
		return _PAGE_PROTNONE;
	if ((vma->vm_flags & (VM_WRITE | VM_SHARED)) != (VM_WRITE | VM_SHARED) || vma_wants_writenotify(vma))
		return 0;
	return _PAGE_RW;
}

/* The file of a shared mapping is changed by a store. */
static inline void file_update_time(const struct vm_area_struct *vma)
{
	const struct address_space *mapping = vma->vm_file ? vma->vm_file->f_mapping : NULL;

	if (!mapping || !mapping->a_ops || !mapping->a_ops->update_time)
		return;
	trace_leaf(file_update_time, 0, 0, 0);
	mapping->a_ops->update_time(mapping->host);
}

struct file *get_file(struct file *file);

#pragma GCC visibility pop

#endif
