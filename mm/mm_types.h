/* SPDX-License-Identifier: MIT
 *
 * mm_types.h - the engine's data. Read this first.
 *
 *   mm_struct ---- tree ----> vm_area_struct ---- chain of anon_vma_chain ----> anon_vma ---- interval tree ----> (vmas)
 *      |                                                                          ^
 *      +-- pgd --> tables --> pte --+-- present: pfn ------> struct page ---------+ mapping, index
 *                                   +-- swapped: slot -----> swap_slot ----- swap cache ----> struct page
 *
 * The equations that hold whenever no function of the engine is running (mm_check_invariants() tests each of them):
 *
 *   I1  number of present, not special entries that name a frame  =  _mapcount + 1 of its page
 *   I2  _refcount  =  mapcount + (1 when in the swap cache)
 *   I3  count of a slot  =  number of swap entries that name it;  slot in use  <=>  count > 0 or cache
 *   I4  slot.cache = pfn  <=>  PG_swapcache of that page is set and page.private = slot; a shadow stands there (linux-5) only if swap entries name
 *       the slot
 *   I5  (each the sum over the processors) rss[MM_ANONPAGES] = present, not special entries of the mm;  rss[MM_SWAPENTS] = its swap entries
 *   I6  a writable entry lies in a VM_WRITE vma, and its page is exclusive, mapped once and has no swap entries beside it
 *   I7  a mapped page is on exactly one LRU list, when all that were on their way there have arrived; a free one is on exactly one buddy list or a
 *       processor's stack; the lists' lengths are their counters
 *   I8  frames in use = pages with a reference; in use + free in the buddy lists and on the stacks + never used = nr_frames
 *   I9  entries stand only inside vmas; vmas don't overlap, are in order and not empty; neighbours that could merge have
 *   I10 the page of every entry is found by the reverse map: some vma of page.mapping puts page.index at that address
 *   I11 an exclusive page is anonymous, mapped at most once, and no swap entry names its slot; an exclusive swap entry is its slot's only one
 */
#ifndef MF_MM_MM_TYPES_H
#define MF_MM_MM_TYPES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "machine/machine.h"
#include "mm/errno.h"
#include "mm/mm.h"
#include "mm/tree.h"

#define PAGE_SHIFT    MACHINE_PAGE_SHIFT
#define PAGE_SIZE     MACHINE_PAGE_SIZE
#define PAGE_MASK     (~(PAGE_SIZE - 1))
#define PAGE_ALIGN(x) (((x) + PAGE_SIZE - 1) & PAGE_MASK)

#define MAX_AROUND 64 /* most pages that one fault brings, most that one machine_unmap() takes */

#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))
#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define noinline    __attribute__((noinline))
#define inline_hot  inline __attribute__((__always_inline__)) /* part of the common path of a fault */
#define CACHE_LINE  64
#define __cacheline_aligned __attribute__((__aligned__(CACHE_LINE)))
#define __cold      __attribute__((__cold__, __noinline__)) /* out of the way of those that are called all the time */

#define MM_BUG_ON(cond)                                            \
	do {                                                       \
		if (unlikely(cond))                                \
			machine_bug(__FILE__, __LINE__, #cond);    \
	} while (0)
#ifdef MM_DEBUG
#define MM_DEBUG_ON(cond) MM_BUG_ON(cond)
#else
#define MM_DEBUG_ON(cond) do { } while (0)
#endif

static inline unsigned long min_ul(unsigned long a, unsigned long b) { return a < b ? a : b; }
static inline unsigned long max_ul(unsigned long a, unsigned long b) { return a > b ? a : b; }

/* ---- locks (mm/lock.h has the operations and the order) ------------------------------------------------------------ */

/* Spins a little, then sleeps by machine_wait(): the holder may be in machine_map(), or may have lost its CPU. */
typedef struct {
	atomic_uint state; /* bit 0: held; bit 1: somebody may sleep */
#ifdef MM_DEBUG
	unsigned char order; /* enum lock_order, for the assertion */
#endif
} spinlock_t;

/* Sleeping reader/writer lock; writers and readers take turns. */
struct rw_semaphore {
	atomic_uint state;
};

/* ---- page-table entries (mm/pgtable.h) ------------------------------------------------------------------------------ */

/* All entries have 64 bits in memory, whatever the geometry. A table's entries are read and written as atomics: the
 * software MMU sets young and dirty bits beside the engine.
 *
 *    none      0
 *    present   pfn << 12 | flags | _PAGE_PRESENT
 *    swap      slot << 12 | _PAGE_SWAP (| _PAGE_EXCLUSIVE)
 *    file      pgoff << 12 | _PAGE_FILE          (nonlinear mappings of 2.x)
 */
typedef uint64_t pteval_t;
typedef struct { pteval_t val; } pte_t;

#define _PAGE_PRESENT   (1UL << 0)
#define _PAGE_RW        (1UL << 1)
#define _PAGE_DIRTY     (1UL << 2)
#define _PAGE_ACCESSED  (1UL << 3)
#define _PAGE_SPECIAL   (1UL << 4) /* the zero page: no struct page stands behind the entry */
#define _PAGE_PROTNONE  (1UL << 5) /* present, but the mapping grants nothing */
#define _PAGE_AROUND    (1UL << 6) /* came along with a neighbour's fault; no fault of its own yet */
#define _PAGE_SWAP      (1UL << 7)
#define _PAGE_FILE      (1UL << 8)
#define _PAGE_EXCLUSIVE (1UL << 9) /* the swapped page belonged to this entry alone */
#define _PAGE_PFN       (1UL << 10) /* beside _PAGE_SPECIAL: not the zero page, but a frame that the engine doesn't count (VM_PFNMAP) */

/* Entries above the last level: NULL, or the descriptor of the next table. */
struct ptdesc;
typedef struct { struct ptdesc *desc; } pgd_t;
typedef struct { struct ptdesc *desc; } p4d_t;
typedef struct { struct ptdesc *desc; } pud_t;
typedef struct { struct ptdesc *desc; } pmd_t;

/* One table. 32 bytes beside a table of 4 KiB (8 KiB for i386's 1024 entries, 16 KiB for ARM's 2048). */
struct ptdesc {
	void *table;    /* array of pte_t, or of pointers to ptdesc */
	spinlock_t ptl; /* last level: guards the entries and is held over machine_map() and machine_unmap() for them */
	uint16_t level; /* enum pt_level */
	bool reserved;  /* linux-2.0: BAD_PAGETABLE, in any number of address spaces; walks of a range leave it out, nobody frees it */
	unsigned long base; /* where its range begins; known of tables that mm->pmd_table has named */
};

typedef struct { unsigned long val; } swp_entry_t;

/* ---- frames -------------------------------------------------------------------------------------------------------- */

enum pageflags {
	PG_locked     = 1 << 0,  /* sleeping lock: identity in the swap cache, I/O */
	PG_waiters    = 1 << 1,  /* somebody sleeps for PG_locked */
	PG_lru        = 1 << 2,  /* on an LRU list (lru.lock) */
	PG_active     = 1 << 3,  /* on the active one, or meant for it */
	PG_unevictable = 1 << 4, /* on the unevictable one, or meant for it */
	PG_referenced = 1 << 5,
	PG_swapcache  = 1 << 6,  /* private is a slot (page lock and swap_lock to change) */
	PG_dirty      = 1 << 7,  /* the slot's copy is not known to be true */
	PG_writeback  = 1 << 8,  /* on its way out: entries are swap entries already, bytes not yet stored (page lock) */
	PG_buddy      = 1 << 9,  /* first page of a free block, private is its order (zone lock) */
	PG_stuck      = 1 << 10, /* machine_unmap() could not take it the last time */
	PG_anon_exclusive = 1 << 11, /* known to belong to one entry (I11); cleared by fork. 6.x decides by it (mm_reuse_rule) */
	PG_used       = 1 << 12, /* allocated; for the invariants */
	PG_uptodate   = 1 << 13, /* page cache: its bytes are the file's (page lock to set) */
	PG_readahead  = 1 << 14, /* page cache: who meets it asks for the next window */
	PG_error      = 1 << 15, /* page cache: reading or writing it failed */
	PG_reserved   = 1 << 16, /* linux-2.0: neither counted nor freed (zero page, BAD_PAGE) */
	PG_swapbacked = 1 << 17, /* on the anonymous lists: anonymous, or shared anonymous */
	PG_workingset = 1 << 29, /* was active once, here or before it was evicted (workingset.h) */
	PG_reclaim    = 1 << 30, /* reclaim has met it dirty: first to go when it is written */
};
/* Beside the flags: the processor with which the page waits for its LRU list, plus one (vmscan.c). linux-2.0 keeps the page's age above, in 5 bits. */
#define PG_CPU_SHIFT 18
#define PG_CPU_MASK  (0x3fu << PG_CPU_SHIFT)

/* 40 bytes a frame. Links are indices into the array that mem_map ends: list heads stand before frame 0. */
struct page {
	atomic_uint flags;          /* enum pageflags */
	atomic_int _refcount;       /* I2 */
	atomic_int _mapcount;       /* entries that name the frame, minus one; changes under a page-table lock */
	uint32_t next, prev;        /* LRU (lru.lock) or buddy list (zone.lock) */
	uint32_t private;           /* slot, or order of a free block */
	_Atomic(uintptr_t) mapping; /* anon_vma | PAGE_MAPPING_ANON, or the address_space; page lock to change the latter */
	unsigned long index;        /* linear_page_index() in the vma that first mapped it, or offset in the file; set before the page is published */
};
#define PAGE_MAPPING_ANON 1UL
_Static_assert(sizeof(struct page) <= 48, "struct page counts for every frame");

enum lru_list { LRU_INACTIVE_ANON, LRU_ACTIVE_ANON, LRU_INACTIVE_FILE, LRU_ACTIVE_FILE, LRU_UNEVICTABLE, NR_LRU_LISTS };

/* ---- mappings ------------------------------------------------------------------------------------------------------ */

struct vm_fault;

/* What a mapping that is not anonymous does itself. NULL in a vma: anonymous. */
struct vm_operations_struct {
	vm_fault_t (*fault)(struct vm_fault *vmf);
	vm_fault_t (*map_pages)(struct vm_fault *vmf, unsigned long start_pgoff, unsigned long end_pgoff);
	vm_fault_t (*page_mkwrite)(struct vm_fault *vmf);
	vm_fault_t (*pfn_mkwrite)(struct vm_fault *vmf); /* the first store to what has no struct page. => nothing locked; 0 */
	/* linux-2.6: the older way to ->fault: a page with a reference, or one of NOPAGE_; *type gets MAJOR. And memory without struct pages: a frame,
	 * or one of NOPFN_ */
	struct page *(*nopage)(struct vm_area_struct *vma, unsigned long addr, vm_fault_t *type);
	unsigned long (*nopfn)(struct vm_area_struct *vma, unsigned long addr);
	/* linux-2.0: may `area` have the page that `from`, another task's, has at addr? (1.0) A page for the slot that stands in an entry of the
	 * vma, with a reference (1.0: of shared memory); NULL: it can't be had */
	bool (*share)(const struct vm_area_struct *from, const struct vm_area_struct *area, unsigned long addr);
	struct page *(*swapin)(struct vm_area_struct *vma, unsigned long pgoff, unsigned long slot);
	void (*open)(struct vm_area_struct *vma);
	void (*close)(struct vm_area_struct *vma);
};

#define NOPAGE_SIGBUS ((struct page *)0)
#define NOPAGE_OOM    ((struct page *)-1L)
#define NOPFN_SIGBUS  (~0UL)
#define NOPFN_OOM     (~1UL)
#define NOPFN_REFAULT (~2UL) /* the entry was set, or the access is to be made again */

struct vm_area_struct {
	struct tree_node vm_rb;         /* in mm->mm_rb by vm_start; mmap_lock */
	unsigned long vm_start, vm_end; /* mmap_lock; also the anon_vma lock, because the reverse map reads them */
	unsigned long vm_flags;         /* mmap_lock; changes also under the anon_vma lock */
	unsigned long vm_pgoff;         /* page index of vm_start: I10; as vm_start */
	struct mm_struct *vm_mm;
	_Atomic(struct anon_vma *) anon_vma;     /* set once by anon_vma_prepare() under page_table_lock */
	struct anon_vma_chain *anon_vma_chain;   /* mmap_lock for writing, or page_table_lock */
	const struct vm_operations_struct *vm_ops;
	void *vm_private_data;
	struct file *vm_file;           /* NULL: anonymous. A reference */
	struct tree_node i_mmap;        /* in vm_file->f_mapping->i_mmap by vm_pgoff; i_mmap_lock */
	unsigned long i_mmap_last;      /* augmented: the last page offset below */
	struct vm_area_struct *nonlinear_next; /* on i_mmap_nonlinear; i_mmap_lock */
	unsigned long swap_readahead_info; /* swap_readahead.c; a hint, without a lock */
	unsigned long nonlinear_cursor; /* where reclaim goes on in a VM_NONLINEAR vma: an offset from vm_start */
};

/* All vmas that may map the pages of one. The slab never gives an anon_vma's memory to anything else and never
 * initialises `lock` again, so that the lock may be taken before it is known that the object still lives. */
struct anon_vma {
	spinlock_t lock;                 /* used in the root only; for the whole family */
	_Atomic(struct anon_vma *) root;
	struct anon_vma *parent;
	unsigned long refcount;          /* root: anon_vmas of the family; root lock */
	unsigned long num_children;      /* incl. itself for a root */
	unsigned long num_active_vmas;   /* vmas whose anon_vma points here */
	struct tree_root rb_root;        /* avcs by start, augmented with the last index below */
	struct anon_vma *next_free;      /* collects the empty ones while a chain is taken apart */
};

struct anon_vma_chain {
	struct tree_node rb;             /* root lock */
	unsigned long rb_start, rb_subtree_last; /* page indices; the root's lock */
	struct vm_area_struct *vma;
	struct anon_vma *anon_vma;
	struct anon_vma_chain *next;     /* vma->anon_vma_chain */
};

/* ---- streams: who walks through memory page after page ------------------------------------------------------------- */

/* One walk through memory; it brings twice as many pages each time. Page numbers modulo 2^32. */
struct fault_stream {
	uint32_t last;   /* page of the last fault */
	int stride;      /* in pages */
	unsigned window; /* pages that the last fault was allowed; 1: not confirmed; 0: none */
	bool used;       /* continued since the hand came by */
};
#define NR_STREAMS 16
struct stream_table {
	spinlock_t lock;
	unsigned latest, hand, young_hand; /* most recently matched; next to be replaced */
	uint32_t young[NR_STREAMS];        /* isolated faults, of which some are the first of a walk */
	uint32_t from[NR_STREAMS], reach[NR_STREAMS]; /* walk i goes on with a fault in [from, from + reach] */
	struct fault_stream s[NR_STREAMS];
};

/* ---- address spaces ------------------------------------------------------------------------------------------------ */

enum { MM_ANONPAGES, MM_SWAPENTS, MM_FILEPAGES, MM_SHMEMPAGES, MM_MISCOUNTED /* 1.0: faults that count as rss and mapped nothing */,
       NR_MM_COUNTERS };

/* The last fault that ended in a signal. Several threads: any of theirs. */
struct thread_struct {
	unsigned long address;        /* to the byte */
	unsigned error_code, trap_no; /* as x86 pushes them */
	int sig, code;
};

struct mm_cpu;

/* What faults write to, once for each processor (percpu.h); a common one finds all that it needs in the first cache line. */
struct mm_percpu {
	atomic_uint readers;                       /* of mmap_lock (lock.c) */
	_Atomic(struct vm_area_struct *) vmacache; /* last one found, or &vma_nowhere; reset when one goes away */
	_Atomic(struct ptdesc *) pmd_table;        /* where the last walk found its pmd; pgd: none. Reset when tables go away */
	struct mm_cpu *cpu;                        /* what this processor has beside; a constant */
	atomic_ulong min_flt;
	atomic_long rss[NR_MM_COUNTERS];           /* the sum over all processors counts: one alone may be negative */
	atomic_ulong maj_flt;
} __cacheline_aligned;
_Static_assert(offsetof(struct mm_percpu, rss[MM_FILEPAGES]) + sizeof(long) <= CACHE_LINE, "one line for a common fault");

struct mm_struct {
	struct rw_semaphore mmap_lock;
	atomic_uint mm_users;
	struct tree_root mm_rb;                    /* mmap_lock */
	struct ptdesc *pgd;
	spinlock_t page_table_lock;                /* entries above the last level; anon_vma of vmas */
	unsigned long map_count, total_vm, locked_vm; /* vmas; pages; pages of VM_LOCKED ones. mmap_lock */
	unsigned long rlimit_as, rlimit_memlock;   /* bytes; what a stack that grows must not exceed */
	unsigned long rlimit_stack;                /* bytes that a VM_GROWSDOWN vma may reach */
	atomic_ulong stack_pointer;                /* of the program; 0: not known */
	struct stream_table anon_streams, swap_streams;
	struct thread_struct thread;
	atomic_bool signal_pending;
	/* linux-2.0 */
	unsigned long end_data, brk;               /* mmap_lock */
	struct address_space *executable;          /* the file that the program executes; a reference. mmap_lock */
	unsigned long swap_address, swap_cnt;      /* where the scan for pages to swap out goes on; pages before the next process has its turn */
	struct mm_struct *next, *prev;             /* all of them; mmlist_lock */
	struct mm_percpu percpu[];                 /* nr_cpus of them */
};

/* ---- swap ---------------------------------------------------------------------------------------------------------- */

/* 8 bytes a slot. */
struct swap_slot {
	uint32_t cache; /* pfn + 1 of the page in the swap cache, 0: none; link of a free slot; SLOT_SHADOW: the shadow of the page that has left */
	uint16_t count; /* swap entries, I3 */
	uint16_t flags; /* enum swap_slot_flags */
};
enum swap_slot_flags { SLOT_USED = 1, SLOT_SHADOW = 2 };
_Static_assert(sizeof(struct swap_slot) <= 8, "one for every page in swap");

#endif
