/* SPDX-License-Identifier: MIT
 *
 * mm.h - what the engine offers to those who stand above it (lib/, run/, tests, the scenario runner).
 *
 * One engine a process: global state, as in a kernel (mem_map, free lists, LRU lists, the swap map), and any number of address
 * spaces (mm_struct) over it. Names are Linux's; errors are -errno (numbers in mm/errno.h), faults return vm_fault_t.
 * Everything may be called from several threads; "locked" says which lock the caller holds.
 */
#ifndef MF_MM_MM_H
#define MF_MM_MM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "machine/machine.h"

struct mm_struct;
struct vm_area_struct;
struct page;

/* ---- start ------------------------------------------------------------------------------------------------------- */

/* Geometries of page tables, by name: "i386" "i386-pae" "arm" "x86_64" "x86_64-5" "sv39" "sv48" "process". */
struct mm_geometry;
const struct mm_geometry *mm_geometry_find(const char *name);

struct swap_ops; /* below */

struct mm_params {
	const struct mm_geometry *geometry; /* NULL: x86_64 */
	unsigned long nr_frames;            /* frames 0..nr_frames-1 exist */
	unsigned long frame_limit;          /* at most so many are in use at once (0: all); see mm_set_frame_limit */
	unsigned long nr_swap_slots;        /* highest number of swap slots; their table costs by what is touched */
	const struct swap_ops *swap;        /* NULL: no swap */
	void *swap_ctx;
	unsigned anon_around;               /* most pages one anonymous fault may fill, 1..64, power of two (1: as Linux 5.15) */
	unsigned swapin_around;             /* most pages one swap-in may bring and map, 1..64, power of two (1: one by one) */
	unsigned fault_around;              /* fault_around_bytes: pages of the window in which a read of a file maps what is cached, 1..64, power of
	                                       two (0: 16; 1: only the page itself) */
	bool copies_cost_frames;            /* frames and backend share a budget: a swapped copy of a resident page takes the place of others, and none
	                                       is kept. Off: such a page needs no storing when it goes again unchanged */
	unsigned check_every;               /* run mm_check_invariants() after every n-th fault (0: never) */
	const char *kernel;                 /* generation of the fault path: "5" (NULL), "2.6", "2.0" */
	unsigned rules;                     /* set of enum mm_rule; 0: the generation's own */
};

/* Sets up the global state; may be called again to start over (everything from before is forgotten).
 * => 0, -EINVAL (a parameter), -ENOMEM (machine_alloc). */
int mm_init(const struct mm_params *params);

/* ---- address spaces ---------------------------------------------------------------------------------------------- */

struct mm_struct *mm_alloc(void);      /* one reference; NULL: no memory */
void mmput(struct mm_struct *mm);      /* drops it; the last one unmaps everything */

/* mmap_lock: a sleeping reader/writer lock; those who wait take turns, a writer, then readers. Faults take it for reading by themselves. */
void mmap_read_lock(struct mm_struct *mm);
void mmap_read_unlock(struct mm_struct *mm);
void mmap_write_lock(struct mm_struct *mm);
void mmap_write_unlock(struct mm_struct *mm);

/* vm_flags */
#define VM_READ       0x00000001UL
#define VM_WRITE      0x00000002UL
#define VM_EXEC       0x00000004UL
#define VM_SHARED     0x00000008UL
#define VM_MAYREAD    0x00000010UL
#define VM_MAYWRITE   0x00000020UL
#define VM_MAYEXEC    0x00000040UL
#define VM_MAYSHARE   0x00000080UL
#define VM_GROWSDOWN  0x00000100UL
#define VM_PFNMAP     0x00000400UL /* entries name frames that the engine doesn't count: vmf_insert_pfn() */
#define VM_LOCKED     0x00002000UL /* pages are never evicted */
#define VM_SEQ_READ   0x00008000UL
#define VM_RAND_READ  0x00010000UL /* faults fill one page at a time */
#define VM_DONTCOPY   0x00020000UL
#define VM_NORESERVE  0x00200000UL
#define VM_WIPEONFORK 0x02000000UL
#define VM_NONLINEAR  0x00800000UL /* linux-2.6: entries may hold file offsets (remap_file_pages) */
#define VM_NOFAULTAROUND 0x04000000UL /* ours: holes must stay holes (guard pages were installed by the host) */

#define VM_ACCESS_FLAGS (VM_READ | VM_WRITE | VM_EXEC)

/* First vma with end > addr, or NULL. Locked: mmap_lock, either way. The range of a vma is [vma_start, vma_end). */
struct vm_area_struct *find_vma(struct mm_struct *mm, unsigned long addr);
struct vm_area_struct *vma_next(struct mm_struct *mm, struct vm_area_struct *vma);
unsigned long vma_start(const struct vm_area_struct *vma);
unsigned long vma_end(const struct vm_area_struct *vma);
unsigned long vma_flags(const struct vm_area_struct *vma);

/* All of these: mmap_lock held for writing; addr and len page aligned; 0 or -errno; on error nothing has changed.
 * They split and merge vmas by Linux's rules. Parts of the range where no vma stands are passed over (the host has
 * already said what it thinks of holes). */
int mmap_region(struct mm_struct *mm, unsigned long addr, size_t len, unsigned long vm_flags); /* anonymous; replaces what stood there */
int do_munmap(struct mm_struct *mm, unsigned long addr, size_t len);
int vma_modify_flags(struct mm_struct *mm, unsigned long addr, size_t len, unsigned long set, unsigned long clear); /* mprotect, mlock, madvise */
/* The first min(old_len, new_len) bytes stand at `to` afterwards, with their pages (moved, not copied) and flags; the rest of
 * the old range is unmapped, or the new one is extended. to == from: shrink or grow in place. `keep_old`: MREMAP_DONTUNMAP.
 * What stood at the new range is unmapped first. */
int move_vma(struct mm_struct *mm, unsigned long from, size_t old_len, unsigned long to, size_t new_len, bool keep_old);

/* mmap_lock held, either way. */
void zap_page_range(struct mm_struct *mm, unsigned long addr, size_t len);   /* MADV_DONTNEED: entries, frames and slots go */
void zap_swap_range(struct mm_struct *mm, unsigned long addr, size_t len);   /* MADV_FREE: only what is swapped out goes */
/* The host has a page at addr that came there without the engine: take it into the books as a present, dirty page.
 * => 0, -EEXIST (an entry is there), -ENOMEM (no frame; the caller may reclaim and repeat), -EFAULT (no vma). */
int adopt_page(struct mm_struct *mm, unsigned long addr);
/* The host seems to have lost the page that the engine believes at addr (found by a fault on a present entry). The machine is asked
 * once more, under the entry's lock, because the page may just have come by another thread's fault; if it is gone: forget it. */
void forget_page(struct mm_struct *mm, unsigned long addr);
/* A store to addr was stopped because the machine watches for one (MACHINE_MAP_LOOK): it may go on, if the page is still there. => false: it is
 * not, fault it in. Locked: mmap_lock. */
bool page_stored(struct mm_struct *mm, unsigned long addr);
/* Bring what is swapped out in the range back in while free frames last (MADV_WILLNEED). Returns pages read. */
unsigned long swapin_range(struct mm_struct *mm, unsigned long addr, size_t len);
/* Evict what can be evicted in the range (MADV_PAGEOUT). Returns pages evicted. */
unsigned long pageout_range(struct mm_struct *mm, unsigned long addr, size_t len);

/* What stands at addr, for mincore and tests. Locked: mmap_lock. */
enum mm_residency {
	MM_NONE,      /* nothing: reads as zero */
	MM_PRESENT,   /* a page is mapped */
	MM_AROUND,    /* a zero page that a neighbour's fault brought along; nobody has asked for it yet by a fault of its own */
	MM_SWAPPED,   /* in swap (or only in the swap cache) */
};
enum mm_residency mm_residency(struct mm_struct *mm, unsigned long addr);
/* The program has asked for every page of the range (populate, mlock): MM_AROUND becomes MM_PRESENT. Locked: mmap_lock. */
void mark_range_used(struct mm_struct *mm, unsigned long addr, size_t len);

/* fork on machines where the engine copies: dup_mmap + copy_page_range by the 5.x rules. src: locked for writing. */
struct mm_struct *dup_mm(struct mm_struct *src);
/* fork on the host: this process is the child; the host has duplicated every mapped page and dropped everything that was at home.
 * Zaps VM_WIPEONFORK vmas, removes VM_DONTCOPY ones, clears VM_LOCKED. Single-threaded, no locks held. */
void mm_after_host_fork(struct mm_struct *mm);

/* ---- faults ------------------------------------------------------------------------------------------------------ */

typedef unsigned vm_fault_t;
#define VM_FAULT_OOM    0x0001u
#define VM_FAULT_SIGBUS 0x0002u
#define VM_FAULT_MAJOR  0x0004u
#define VM_FAULT_WRITE  0x0008u /* 2.6: the store needs no other fault */
#define VM_FAULT_HWPOISON 0x0010u /* the swapped copy of this page is damaged: its bytes are lost */
#define VM_FAULT_SIGSEGV 0x0040u
#define VM_FAULT_NOPAGE 0x0100u
#define VM_FAULT_LOCKED 0x0200u
#define VM_FAULT_RETRY  0x0400u
#define VM_FAULT_DONE_COW 0x1000u   /* ->fault has filled the private copy and entered it; not seen outside the engine */
#define VM_FAULT_COMPLETED 0x4000u /* 6.x: done, and mmap_lock is released already; not seen outside the engine */
#define VM_FAULT_BADMAP 0x10000u    /* SIGSEGV, SEGV_MAPERR */
#define VM_FAULT_BADACCESS 0x20000u /* SIGSEGV, SEGV_ACCERR */
#define VM_FAULT_ERROR (VM_FAULT_OOM | VM_FAULT_SIGBUS | VM_FAULT_HWPOISON | VM_FAULT_SIGSEGV | VM_FAULT_BADMAP | VM_FAULT_BADACCESS)

#define FAULT_FLAG_WRITE       0x01u
#define FAULT_FLAG_ALLOW_RETRY 0x04u
#define FAULT_FLAG_KILLABLE    0x10u
#define FAULT_FLAG_TRIED       0x20u
#define FAULT_FLAG_USER        0x40u
#define FAULT_FLAG_REMOTE      0x80u /* for another process (ptrace) */
#define FAULT_FLAG_INSTRUCTION 0x100u
#define FAULT_FLAG_GUP         0x400u /* for a system call that goes on with the same page after a retry: with mmap_lock from its first try on */
#define FAULT_FLAG_POPULATE    0x200u /* populate, mlock: a retry is a new fault, which finds the page that the first one read: minor */

/* The entry of a fault: takes mmap_lock for reading, resolves, accounts, retries. No lock held.
 * => without an error bit the access may be repeated. Fault counters rise by exactly one for every fault without error. */
vm_fault_t do_page_fault(struct mm_struct *mm, unsigned long addr, unsigned fault_flags);
/* The same for a caller that already holds mmap_lock for reading; it is still held afterwards. */
vm_fault_t do_page_fault_locked(struct mm_struct *mm, unsigned long addr, unsigned fault_flags);

/* Where the stack of the program that runs in mm ends, for the kernels that let a stack grow only near its pointer (2.0: 32 bytes, 2.6 on x86:
 * 64 KiB and 32 words below it). 0, as at the start: the machine doesn't know, and every distance is near enough. */
void mm_set_stack_pointer(struct mm_struct *mm, unsigned long sp);

/* A signal waits for the program, which may be sleeping in a fault: linux-5 doesn't repeat a fault that has released mmap_lock. It returns
 * VM_FAULT_RETRY, not counted, and the access is made again when the signal has been taken; the kernel's own access fails (__do_kernel_fault). */
void mm_set_signal_pending(struct mm_struct *mm, bool pending);

/* ---- frames and reclaim ------------------------------------------------------------------------------------------ */

/* From now on at most `nr` frames may be in use. If more are, the next allocations reclaim; nothing is evicted here. */
void mm_set_frame_limit(unsigned long nr);
/* Tell the machine once more of free frames, block by block until it is enough: it may keep less of them than when they were freed. Not of those that a
 * processor has on its stack, which are the next to be used. Goes on where it ended the last time; costs by the frames that were ever in use at most. */
void mm_offer_free_frames(bool (*enough)(void));
/* Free frames on the processors' stacks. */
unsigned long nr_hot_frames(void);
/* Evict about `nr` pages by the engine's own choice (inactive list, second chance). No lock held (or mmap_lock for reading).
 * Returns how many became free. 0 with everything stuck. */
unsigned long try_to_free_pages(unsigned long nr);
/* Free frames under the limit. A caller that runs after each fault keeps this above its own watermark by try_to_free_pages. */
unsigned long nr_free_frames(void);
unsigned long nr_used_frames(void);
/* Pages that reclaim can't take: locked and stuck ones. */
unsigned long nr_unevictable(void);
/* Of these, the ones that the machine refused the last time: pinned, mostly. */
unsigned long nr_stuck_pages(void);
/* Frames from this one on were never in use. */
unsigned long fresh_frames(void);
/* While set, nothing is evicted; allocation takes from the reserve below the watermarks, then fails with OOM. */
void mm_quiet(bool quiet);

/* ---- swap -------------------------------------------------------------------------------------------------------- */

/* Where evicted pages go. `slot` counts from 1. Calls for different slots may run side by side, for one slot they don't.
 * None of them touches managed memory. */
struct swap_ops {
	/* Keep the 4096 bytes at `page` as the content of `slot`. If the slot already holds exactly these bytes nothing is done
	 * (the engine leaves a slot in place while its page is resident). => 0 stored, 1 was already there unchanged, -ENOSPC full
	 * (the slot then holds nothing). */
	int (*store)(void *ctx, unsigned long slot, const void *page);
	/* Put them back. The content stays stored. => 0, -EIO: the stored bytes are damaged (the page must not be used). */
	int (*load)(void *ctx, unsigned long slot, void *page);
	/* Forget the content of the slot. A slot that holds nothing is allowed. */
	void (*free)(void *ctx, unsigned long slot);
};

/* Drop the swapped copies of resident pages (swap cache) to make room in the backend; about `nr` of them, going round the slots.
 * Returns how many were dropped. */
unsigned long swap_cache_shrink(unsigned long nr);

/* ---- files ---------------------------------------------------------------------------------------------------------
 *
 * An address_space is what an inode is to memory: a size, a page cache, and a way to the real bytes. Source: fault-paths.md 3.5, 3.6,
 * 4.1, 4.2 for 5.x, 2.3 to 2.7 for 2.6, 1.6 and 1.7 for 2.0. */

struct address_space;
struct file; /* one opening of it: has its own readahead state */

struct address_space_operations {
	/* Bytes of the pages pgoff .. pgoff + nr - 1; what lies behind the end of the file is zero. May take its time; no lock is held but page
	 * locks. => 0, -EIO */
	int (*readpages)(void *host, unsigned long pgoff, unsigned nr, void *const pages[]);
	/* The first `len` bytes (1 .. 4096) of page pgoff to the file. Without MAPPING_NOTIFY programs may store to the page meanwhile, as to one that a
	 * device reads: it is written again then. => 0, -EIO, -ENOSPC */
	int (*writepage)(void *host, unsigned long pgoff, const void *page, size_t len);
	/* The first store to a page of a shared mapping is about to be allowed. => 0, or -errno: SIGBUS. May be NULL */
	int (*page_mkwrite)(void *host, unsigned long pgoff);
	/* The file is about to be changed through memory: its times. May be NULL */
	void (*update_time)(void *host);
	/* linux-2.0: where the block of 1024 bytes stands on the device; 0: a hole. May be NULL: no holes */
	unsigned long (*bmap)(void *host, unsigned long block);
	/* The last reference is gone. May be NULL */
	void (*release)(void *host);
};

enum mapping_flags {
	MAPPING_NOTIFY = 1 << 0, /* counts its dirty pages (disk file systems): shared writable mappings are read-only until a page's first store */
	MAPPING_ANON   = 1 << 1, /* shared anonymous memory: no file; pages go to swap. ops and host NULL */
};

/* => one reference, NULL: no memory. size in bytes */
struct address_space *address_space_alloc(const struct address_space_operations *ops, void *host, uint64_t size, unsigned flags);
void address_space_put(struct address_space *mapping); /* the last one (no file, no vma) writes back what is dirty and frees the pages */
void address_space_set_readahead(struct address_space *mapping, unsigned ra_pages); /* 0: none; default 32 */
uint64_t address_space_size(const struct address_space *mapping);

enum file_flags { FILE_WRITE = 1 << 0 }; /* opened for writing */
struct file *file_open(struct address_space *mapping, unsigned file_flags); /* one reference (and one on mapping); NULL: no memory */
void fput(struct file *file);

/* mmap of a file: as mmap_region(); the vma takes a reference. pgoff: page of the file at addr. With file NULL and VM_SHARED: shared anonymous
 * memory, an address_space of its own is made. mmap_lock held for writing. */
int mmap_region_file(struct mm_struct *mm, unsigned long addr, size_t len, unsigned long vm_flags, struct file *file, unsigned long pgoff);

/* No lock held for all of these. Page offsets [start, end). */
int vmtruncate(struct address_space *mapping, uint64_t size);               /* 0, -ENOMEM, -EIO (the last page can't be read) */
unsigned long filemap_populate(struct file *file, unsigned long start, unsigned long end); /* read into the cache; pages read */
unsigned long filemap_get_pages(struct file *file, unsigned long start, unsigned long end); /* as read(2) does, which takes off a readahead mark that it meets */
unsigned long invalidate_mapping_pages(struct address_space *mapping, unsigned long start, unsigned long end); /* drop clean, unmapped ones */
int filemap_write_and_wait_range(struct address_space *mapping, unsigned long start, unsigned long end);       /* 0, -EIO */
bool filemap_cached(struct address_space *mapping, unsigned long pgoff);    /* mincore */
int filemap_peek(struct address_space *mapping, uint64_t offset, uint8_t *value); /* what read(2) would give, changing nothing. 0, -EFAULT beyond the end */
int filemap_poke(struct address_space *mapping, uint64_t offset, uint8_t value);  /* write(2) of one byte inside the file, through the cache */
/* A page that somebody has written to the file goes into the cache without being read: clean, PAGE_SIZE bytes (0 behind the end). 0, -ENOMEM */
int filemap_add_written(struct address_space *mapping, unsigned long pgoff, const void *bytes);
/* msync(MS_SYNC) of a range. No lock held. => 0, -ENOMEM (a hole; the rest was written), -EIO */
int msync_range(struct mm_struct *mm, unsigned long addr, size_t len);
/* mmap_lock held for writing. linux-2.6: entries with file offsets (2.4); later: mappings are split. => 0, -EINVAL, -ENOMEM */
int sys_remap_file_pages(struct mm_struct *mm, unsigned long addr, size_t len, unsigned long pgoff, unsigned prot, bool nonblock);

/* ---- generations --------------------------------------------------------------------------------------------------- */

/* "5" "2.6" "2.0"; mm_params.kernel, NULL: 5. What a kernel of the family did otherwise is a rule: */
enum mm_rule {
	MM_REUSE_5_4 = 1 << 0, MM_REUSE_5_15 = 1 << 1, MM_REUSE_6 = 1 << 2, /* when a page is written in place after a fork (3.8); default 5.15 */
	MM_2_0_PAGE_CACHE = 1 << 3, /* linux-2.0: the page cache of 2.0.33 instead of sharing by searching the other tasks (section 1) */
};

/* linux-2.0: the file that the program executes, whose tasks share its pages wherever they have mapped them. Takes a reference; NULL: none. fork
 * hands it on. mmap_lock held for writing */
void mm_set_executable(struct mm_struct *mm, struct address_space *mapping);

/* ---- counters ---------------------------------------------------------------------------------------------------- */

/* Global, since mm_init; monotonous but for the gauges. Without a lock. What mm_stats() points to is what it was at this call: later calls, of any
 * thread, bring it up to date. */
struct mm_stats {
	uint64_t min_flt, maj_flt;          /* completed faults */
	uint64_t uncounted_tries;           /* of handle_mm_fault, that ended in an error, or (not in 6.x) in RETRY; mm_pgfault() */
	uint64_t zeroed, copied;            /* pages filled with zeros / copied (COW) */
	uint64_t swapped_in, swapped_out;   /* pages read from / stored to swap */
	uint64_t swapin_around_pages;       /* of these, brought along by a neighbour's fault */
	uint64_t anon_around_pages;         /* zero pages brought along */
	uint64_t clean_evictions;           /* evictions whose stored copy was still true */
	uint64_t cow_reuse, cow_copy;
	uint64_t file_read, file_written;   /* pages read from and written to files */
	uint64_t file_around_pages;         /* cached pages mapped by a neighbour's fault */
	uint64_t evicted, stuck, gone;
	uint64_t swap_slots_used;           /* gauge */
	uint64_t swap_cached;               /* gauge: slots whose page is in a frame as well */
	uint64_t page_tables;               /* gauge: page-table pages */
	uint64_t frames_used, frames_peak;  /* gauge, peak */
	uint64_t invariant_checks;
};
const struct mm_stats *mm_stats(void);
uint64_t mm_evicted(void); /* mm_stats()->evicted alone, for those who ask at every fault */
/* PGFAULT of linux-2.6 and 5: calls of handle_mm_fault(); 6.x leaves those out that end in RETRY. */
static inline uint64_t mm_pgfault(const struct mm_stats *s)
{
	return s->min_flt + s->maj_flt + s->uncounted_tries;
}

/* Every equation of the invariants; stops at the first that fails by machine_bug(). Takes what locks it needs. */
void mm_check_invariants(void);

/* ---- tracepoints --------------------------------------------------------------------------------------------------
 * Compiled in at every function of the documents and every decision; one predictable branch when off. See mm/trace.h. */

#endif
