/* SPDX-License-Identifier: MIT
 *
 * internal.h - what the files of mm/ offer each other.
 */
#ifndef MF_MM_INTERNAL_H
#define MF_MM_INTERNAL_H

#include "mm/lock.h"
#include "mm/percpu.h"
#include "mm/pgtable.h"
#include "mm/trace.h"

#pragma GCC visibility push(hidden)

/* The compiler asks for these anyway; the program that the engine is linked into has them. */
#pragma GCC visibility push(default)
void *memset(void *s, int c, size_t n);
void *memcpy(void *restrict dst, const void *restrict src, size_t n);
#pragma GCC visibility pop

/* ---- address spaces (init.c) --------------------------------------------------------------------------------------- */

/* All address spaces, for the invariants and after fork. */
extern struct mm_struct *mmlist;
extern spinlock_t mmlist_lock;

/* ---- slab.c -------------------------------------------------------------------------------------------------------- */

struct kmem_cache {
	spinlock_t lock;
	size_t size, link;
	bool typesafe;
	void *free;
	unsigned long in_use;
};
extern struct kmem_cache mm_cache, vma_cache, anon_vma_cache, avc_cache, ptdesc_cache;

void kmem_cache_init(struct kmem_cache *cache, size_t size, size_t link, bool typesafe);
void *kmem_cache_alloc(struct kmem_cache *cache);
void kmem_cache_free(struct kmem_cache *cache, void *obj);

/* ---- page_alloc.c: frames ------------------------------------------------------------------------------------------ */

#define MAX_ORDER 6
#define NR_PAGE_HEADS (NR_LRU_LISTS + MAX_ORDER + 1)

extern struct page *mem_map; /* frame 0; list heads stand at [-NR_PAGE_HEADS, 0) */

static inline struct page *pfn_to_page(unsigned long pfn) { return mem_map + pfn; }
static inline unsigned long page_to_pfn(const struct page *page) { return page - mem_map; }
static inline struct page *page_head(unsigned list) { return mem_map - NR_PAGE_HEADS + list; }
#define BUDDY_LIST(order) (NR_LRU_LISTS + (order))

static inline uint32_t page_link(const struct page *page) { return page - (mem_map - NR_PAGE_HEADS); }
static inline struct page *link_page(uint32_t link) { return mem_map - NR_PAGE_HEADS + link; }

static inline void page_list_init(struct page *head)
{
	head->next = head->prev = page_link(head);
}
static inline bool page_list_empty(const struct page *head)
{
	return head->next == page_link(head);
}
static inline void page_list_add(struct page *page, struct page *head)
{
	uint32_t link = page_link(page), next = head->next;

	link_page(next)->prev = link;
	head->next = link;
	page->next = next;
	page->prev = page_link(head);
}
static inline void page_list_add_tail(struct page *page, struct page *head)
{
	page_list_add(page, link_page(head->prev));
}
static inline void page_list_del(struct page *page)
{
	link_page(page->next)->prev = page->prev;
	link_page(page->prev)->next = page->next;
}

static inline unsigned page_flags(const struct page *page)
{
	return atomic_load_explicit(&((struct page *)page)->flags, memory_order_relaxed);
}
static inline void set_page_flags(struct page *page, unsigned flags)
{
	atomic_fetch_or_explicit(&page->flags, flags, memory_order_relaxed);
}
static inline void clear_page_flags(struct page *page, unsigned flags)
{
	atomic_fetch_and_explicit(&page->flags, ~flags, memory_order_relaxed);
}
static inline int page_mapcount(struct page *page)
{
	return atomic_load_explicit(&page->_mapcount, memory_order_acquire) + 1;
}
static inline int page_count(struct page *page)
{
	return atomic_load_explicit(&page->_refcount, memory_order_relaxed);
}
static inline void get_page(struct page *page)
{
	atomic_fetch_add_explicit(&page->_refcount, 1, memory_order_relaxed);
}
bool get_page_unless_zero(struct page *page);
/* Drops references; the last one frees the frame. => no lock from a processor's downwards held */
void free_last_page(struct page *page);
static inline void put_page_refs(struct page *page, int nr)
{
	if (unlikely(atomic_fetch_sub_explicit(&page->_refcount, nr, memory_order_acq_rel) == nr))
		free_last_page(page);
}
void put_page(struct page *page);

/* Drops many references at once; frames that become free go back as whole runs. */
struct page_batch {
	unsigned nr;
	uint32_t pfn[MAX_AROUND];
};
void put_page_batch(struct page_batch *batch);
static inline void page_batch_add(struct page_batch *batch, unsigned long pfn)
{
	batch->pfn[batch->nr++] = pfn;
	if (batch->nr == MAX_AROUND)
		put_page_batch(batch);
}

int page_alloc_init(unsigned long nr_frames, unsigned long limit);
void page_alloc_reinit_locks(void);
/* linux-2.0: the last frame leaves the circulation for good, PG_reserved. Before any is in use. => its number; -1UL: there are too few */
unsigned long reserve_frame(void);
/* A run of up to `want` neighbours (1..64), never more than are free under the limit; each page has one reference.
 * => first pfn and *got >= 1, or -1UL. Doesn't reclaim. */
unsigned long alloc_run(unsigned want, unsigned *got);
/* The same inside a fault: reclaims when nothing is free. `stream`: reclaim also for the neighbours. => -1UL: OOM. */
unsigned long alloc_run_fault(unsigned want, bool stream, unsigned *got);
static inline void prep_new_page(struct page *page)
{
	atomic_store_explicit(&page->flags, PG_used, memory_order_relaxed);
	atomic_store_explicit(&page->_mapcount, -1, memory_order_relaxed);
	atomic_store_explicit(&page->mapping, 0, memory_order_relaxed);
	page->private = 0;
	atomic_store_explicit(&page->_refcount, 1, memory_order_release);
}
/* The stack is empty. => the processor's lock held, and still held if there is a frame on the stack now. false: there is none anywhere */
bool hot_refill(struct mm_cpu *cpu);
/* alloc_run(1), without the tracepoint. => NULL: none. 20 instructions, every 64th time 300 more */
static inline_hot struct page *alloc_one(struct mm_cpu *cpu, unsigned long *pfn)
{
	struct page *page;
	unsigned left;

	spin_lock(&cpu->lock);
	left = cpu->nr_hot;
	if (unlikely(!left)) {
		if (!hot_refill(cpu))
			return NULL;
		left = cpu->nr_hot;
	}
	*pfn = cpu->hot[--left];
	__atomic_store_n(&cpu->nr_hot, left, __ATOMIC_RELAXED);
	spin_unlock_global(&cpu->lock);
	page = pfn_to_page(*pfn);
	prep_new_page(page);
	return page;
}
/* alloc_run_fault(1, false) */
static inline_hot struct page *alloc_one_fault(struct mm_cpu *cpu, unsigned long *pfn, bool traced)
{
	struct page *page = alloc_one(cpu, pfn);
	unsigned got;

	if (unlikely(!page)) {
		*pfn = alloc_run_fault(1, false, &got);
		return *pfn == -1UL ? NULL : pfn_to_page(*pfn);
	}
	if (traced)
		trace(alloc_pages, *pfn, 1, 1);
	return page;
}
uint64_t note_frames(void); /* nr_used_frames(), with its peak noted */
/* Gives [pfn, pfn + nr) back: pages with their only reference, never published. */
void free_run(unsigned long pfn, unsigned nr);
unsigned long nr_free_low(void); /* watermark: below it nothing is taken for neighbours */
bool mm_is_quiet(void);
void check_frames(void);

/* ---- vma.c --------------------------------------------------------------------------------------------------------- */

struct vm_area_struct *vma_of(struct tree_node *node);
struct vm_area_struct *vma_prev(struct vm_area_struct *vma);
struct vm_area_struct *vma_first(struct mm_struct *mm);
static inline unsigned long linear_page_index(const struct vm_area_struct *vma, unsigned long addr)
{
	return vma->vm_pgoff + ((addr - vma->vm_start) >> PAGE_SHIFT);
}
static inline bool vma_is_anonymous(const struct vm_area_struct *vma) { return !vma->vm_ops; }
struct vm_area_struct *find_vma_tree(struct mm_struct *mm, unsigned long addr);
/* The last one found is asked first: most faults come from where the previous one came from. => mmap_lock held; NULL: it isn't that one */
static inline struct vm_area_struct *vma_remembered(struct mm_struct *mm, const struct mm_percpu *percpu, unsigned long addr)
{
	struct vm_area_struct *vma = atomic_load_explicit(&((struct mm_percpu *)percpu)->vmacache, memory_order_relaxed);

	mmap_assert_locked(mm);
	(void)mm;
	return likely(addr >= vma->vm_start && addr < vma->vm_end) ? vma : NULL;
}
/* find_vma(), when it is known what vma_remembered() says */
static inline_hot struct vm_area_struct *find_vma_after(struct mm_struct *mm, unsigned long addr, struct vm_area_struct *vma, bool traced)
{
	hot_trace_fn(traced, find_vma, addr, 0, 0);
	return likely(vma) ? vma : find_vma_tree(mm, addr);
}
extern struct vm_area_struct vma_nowhere; /* covers nothing: vmacache when there is none */
int expand_downwards(struct vm_area_struct *vma, unsigned long addr);
int acct_stack_growth(const struct vm_area_struct *vma, unsigned long size, unsigned long grow);
struct vm_area_struct *vma_alloc(struct mm_struct *mm, unsigned long start, unsigned long end, unsigned long flags,
				 unsigned long pgoff);
void vma_link(struct mm_struct *mm, struct vm_area_struct *vma);
void vma_remove(struct vm_area_struct *vma);
void vma_free(struct vm_area_struct *vma); /* not linked; its file's reference goes with it */
void vma_copy_backing(struct vm_area_struct *new, const struct vm_area_struct *vma); /* vm_ops, vm_private_data, vm_file with a reference */
/* New bounds, the order in the tree stays. => mmap_lock held for writing */
void vma_adjust(struct vm_area_struct *vma, unsigned long start, unsigned long end);
void exit_mmap(struct mm_struct *mm);

/* ---- rmap.c -------------------------------------------------------------------------------------------------------- */

int anon_vma_prepare_slow(struct vm_area_struct *vma);
static inline int anon_vma_prepare(struct vm_area_struct *vma)
{
	return likely(atomic_load_explicit(&vma->anon_vma, memory_order_acquire)) ? 0 : anon_vma_prepare_slow(vma);
}
int anon_vma_clone(struct vm_area_struct *dst, struct vm_area_struct *src);
int anon_vma_fork(struct vm_area_struct *vma, struct vm_area_struct *pvma);
void unlink_anon_vmas(struct vm_area_struct *vma);
/* The lock of all vmas of a chain; vma->anon_vma may be NULL (then nothing is locked). */
void anon_vma_lock_vma(struct vm_area_struct *vma);
void anon_vma_unlock_vma(struct vm_area_struct *vma);
void anon_vma_interval_tree_pre_update_vma(struct vm_area_struct *vma);
void anon_vma_interval_tree_post_update_vma(struct vm_area_struct *vma);
bool anon_vma_mergeable(struct vm_area_struct *a, struct vm_area_struct *b);

/* => locked root, or NULL when the page is not mapped (any more) */
struct anon_vma *page_lock_anon_vma(struct page *page);
void page_unlock_anon_vma(struct anon_vma *anon_vma);
/* Calls fn for every vma that may map the page, until it returns false. => anon_vma locked */
typedef bool rmap_fn_t(struct page *page, struct vm_area_struct *vma, unsigned long addr, void *arg);
void rmap_walk_locked(struct page *page, struct anon_vma *anon_vma, rmap_fn_t *fn, void *arg);
/* => the entry that maps the page at addr, locked (*ptl); or NULL, nothing locked */
pte_t *page_vma_mapped(struct page *page, struct vm_area_struct *vma, unsigned long addr, spinlock_t **ptl);
int page_referenced(struct page *page);
/* A page that nobody else can see yet. => pte lock held, vma->anon_vma set */
static inline void page_add_new_anon_rmap(struct page *page, const struct vm_area_struct *vma, unsigned long addr)
{
	/* Was looked at before, and doesn't change any more: no need for an atomic load, for which the compiler would keep its address. */
	struct anon_vma *av = *(struct anon_vma *const *)&vma->anon_vma;

	trace_leaf(page_add_new_anon_rmap, addr, page_to_pfn(page), 0);
	page->index = linear_page_index(vma, addr);
	atomic_store_explicit(&page->mapping, (uintptr_t)av | PAGE_MAPPING_ANON, memory_order_release);
	set_page_flags(page, PG_anon_exclusive | PG_dirty);
	atomic_store_explicit(&page->_mapcount, 0, memory_order_release);
}
void page_add_anon_rmap(struct page *page, struct vm_area_struct *vma, unsigned long addr);
void page_remove_rmap(struct page *page);

/* ---- swap.c -------------------------------------------------------------------------------------------------------- */

extern struct swap_slot *swap_map;
extern unsigned long nr_swap_slots;

int swap_init(const struct mm_params *params);
void swap_reinit_locks(void);
/* Slots. */
void swap_duplicate(swp_entry_t entry, int n);
void swap_free(swp_entry_t entry);
int swap_count(swp_entry_t entry);
bool swap_slot_used(swp_entry_t entry); /* false also for slots that don't exist */
/* Swap cache. add_to_swap: => true: the page (locked) has a slot now. */
bool add_to_swap(struct page *page);
/* Slots for pages that leave: all of them have a slot and swap cache afterwards, and its count has risen by one. One turn of the lock.
 * => how many of the first ones; the slots ran out if less. Pages locked. */
unsigned add_to_swap_for_unmap(struct page *const *pages, unsigned nr);
/* The end of an eviction: entries still name the slots. Drops the cache's references, which are not the
 * last ones. Pages locked. */
void delete_evicted_from_swap_cache(struct page *const *pages, unsigned nr);
/* remove_mapping() of a page of the swap cache: only if nobody but the cache and the caller has it, and its slot has its bytes. Entries name the
 * slot. => page locked; true: gone, and with it the cache's reference */
bool remove_swap_mapping(struct page *page);
bool add_to_swap_cache(struct page *page, swp_entry_t entry); /* false: the entry is gone or has a page already */
void delete_from_swap_cache(struct page *page);               /* page locked; drops the cache's reference */
struct page *lookup_swap_cache(swp_entry_t entry);            /* with a reference */
/* Swap-entry gone from a table: drops its count, and the page if nobody else needs it. */
void free_swap_and_cache(swp_entry_t entry);
/* => true: entry's page is on its way out (then it was waited for, and the caller looks at the entry again) */
bool wait_on_swap_writeback(swp_entry_t entry, spinlock_t *ptl);
bool swap_writeback(swp_entry_t entry); /* is its page on its way out? */
bool unmapped_page_stays(struct page *page); /* in the swap cache, for those who name its slot. => page locked */
void free_swap_cache(struct page *page); /* page no longer mapped: leave the cache if nobody is in it */
bool swap_keep_copy(bool writable, bool write); /* is a copy of a page that comes in, and may be (is) written unseen, worth its room? */
void swap_copy_was_true(void);     /* by which that is judged */
static inline bool vm_swap_full(void) /* more than half of it: copies of pages that came back are not worth their slots */
{
	return read_gauge(swap_slots_used) * 2 > nr_swap_slots;
}
static inline bool page_in_swap_cache(struct page *page) { return page_flags(page) & PG_swapcache; }
static inline swp_entry_t page_swap_entry(struct page *page) { return (swp_entry_t){ page->private }; }
int swap_readpage(struct page *page);                         /* 0, -EIO */
int swap_writepage(struct page *page);                        /* 0, 1, -ENOSPC */
/* One byte of what a slot's page holds, for soft_peek(). => 0, -EIO, -ENOMEM */
int swap_peek(swp_entry_t entry, unsigned offset, uint8_t *value);
void check_swap(void);
unsigned long slots_ever_used(void);                          /* the others' part of the table was never touched */
unsigned long __swap_cache_shrink(unsigned long nr); /* from inside reclaim: looks at a bounded number of slots */

/* ---- vmscan.c ------------------------------------------------------------------------------------------------------ */

void vmscan_init(void);
void vmscan_reinit_locks(void);
void lru_cache_add_run(struct page *page, unsigned nr, bool unevictable);
void lru_cache_add_inactive_or_unevictable(struct page *page, const struct vm_area_struct *vma);
/* A new page that is to come to the inactive list, not at once. 14 instructions, and 14 more in its turn */
void lru_drain_locked(struct mm_cpu *cpu);
static inline_hot void lru_cache_add_new(struct mm_cpu *cpu, struct page *page, unsigned long pfn)
{
	unsigned n;

	MM_DEBUG_ON(page_flags(page) & (PG_lru | PG_active | PG_unevictable | PG_CPU_MASK));
	spin_lock(&cpu->lock);
	set_page_flags(page, cpu->on_the_way);
	n = cpu->nr_lru;
	cpu->lru[n++] = (uint32_t)pfn;
	__atomic_store_n(&cpu->nr_lru, n, __ATOMIC_RELAXED);
	if (unlikely(n == LRU_BATCH_MAX))
		lru_drain_locked(cpu);
	spin_unlock_global(&cpu->lock);
}
/* Pages on their way to the lists get there. */
void lru_drain_all(void);
void lru_cache_add_file(struct page *page); /* a page of an address_space; which list its flags say */
void activate_page(struct page *page);
/* A page that reclaim would have taken if it had been clean is clean now: to the end of the inactive list. => page locked */
void rotate_reclaimable_page(struct page *page);
/* Used: inactive -> referenced -> active. By who unmaps a young entry of a file (fault-paths.md 4.3) */
void mark_page_accessed(struct page *page);
/* try_to_free_pages() for who holds an mmap_lock or has entered reclaim already. */
unsigned long __try_to_free_pages(unsigned long nr);
/* For generations with a choice of their own: the last page of a list, isolated (or NULL); back to the list that its flags say; the same for a
 * locked one, with more flags; and out. evict_page: page isolated and locked, afterwards neither; only_clean: no writing. => pages freed */
struct page *isolate_tail(enum lru_list list);
void lru_putback(struct page *page);
void keep_page(struct page *page, unsigned flags);
unsigned evict_page(struct page *page, bool only_clean);
/* Takes freed pages off their lists; => pages without references */
void lru_del_batch(const uint32_t *pfn, unsigned nr);
void page_set_unevictable(struct page *page, bool on);
void clear_page_stuck(struct page *page);
unsigned long lru_size(enum lru_list list);
unsigned shrink_tail(enum lru_list list); /* one look at the last page of an inactive list: for the tests. => pages freed */
void shrink_active_tail(enum lru_list list); /* and of an active one */
/* Waits for another thread's evictions to end, if there are any. => false: there were none */
bool wait_for_evictions(void);
void check_lru(void);

/* ---- streams.c ----------------------------------------------------------------------------------------------------- */

struct window {
	unsigned nr;   /* pages, the faulting one included */
	int stride;    /* in pages, from the faulting one on */
	bool stream;   /* a continued one */
	unsigned walk; /* then: which */
};
enum stream_kind {
	STREAM_DENSE,      /* page after page, up or down */
	STREAM_STRIDED,    /* or every n-th page */
	STREAM_SEQUENTIAL, /* dense, and whatever the first fault is, a walk begins there */
};
void stream_table_init(struct stream_table *table);
struct window stream_window(struct stream_table *table, unsigned long addr, unsigned max, enum stream_kind kind);
void stream_reach(struct stream_table *table, const struct window *w, unsigned long addr, unsigned long next);

/* ---- memory.c ------------------------------------------------------------------------------------------------------ */

void unmap_region(struct vm_area_struct *vma, unsigned long start, unsigned long end);
int move_page_tables(struct vm_area_struct *vma, unsigned long from, struct vm_area_struct *new_vma, unsigned long to,
		     unsigned long len);
int copy_page_range(struct vm_area_struct *dst, struct vm_area_struct *src);
void change_protection(struct vm_area_struct *vma, unsigned long start, unsigned long end, unsigned long old_flags);
void mlock_range(struct vm_area_struct *vma, unsigned long start, unsigned long end);
/* vm_page_prot: what an entry of the vma may grant at most */
static inline pteval_t vma_prot(const struct vm_area_struct *vma)
{
	if (likely(vma->vm_flags & VM_WRITE))
		return _PAGE_RW;
	return vma->vm_flags & VM_ACCESS_FLAGS ? 0 : _PAGE_PROTNONE;
}
/* machine_map() for present entries: contiguous frames, one call. => pages mapped, or -errno */
static inline int map_run(struct mm_struct *mm, unsigned long addr, unsigned nr, unsigned long pfn, unsigned how)
{
	int n = machine_map(mm, addr, nr, pfn, how);

	trace(machine_map, addr, nr, pfn);
	return n;
}

/* A page whose only bytes are in its frame must stand at its address again. => false: the host has no place for it any more. pte lock held, entry set */
bool map_back_slow(struct mm_struct *mm, unsigned long addr, unsigned long pfn, unsigned how, int n);
static inline bool map_back(struct mm_struct *mm, unsigned long addr, unsigned long pfn, unsigned how)
{
	int n = map_run(mm, addr, 1, pfn, how);

	return likely(n == 1) || map_back_slow(mm, addr, pfn, how, n);
}

/* ---- fault/ -------------------------------------------------------------------------------------------------------- */

/* Which rule decides that a page may be written in place although it may have been shared (fault-paths.md 3.8). */
enum reuse_rule { REUSE_5_4, REUSE_5_15, REUSE_6 };
extern enum reuse_rule mm_reuse_rule;
extern unsigned mm_anon_around, mm_swapin_around;
extern unsigned long mm_fault_around; /* pages; power of two */

/* ---- invariants.c ------------------------------------------------------------------------------------------------------- */

void enter_reclaim(void);
void leave_reclaim(void);

#pragma GCC visibility pop

#endif
