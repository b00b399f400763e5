/* SPDX-License-Identifier: MIT
 *
 * machine.h - everything that the engine in mm/ asks of the world.
 *
 * The engine decides WHICH page stands WHERE with WHAT rights; the machine makes it true. The engine writes its own page
 * tables first and tells the machine in batches. It gives and takes frames by number (pfn) and asks where a frame's bytes
 * can be read. Nothing else of the host is visible from mm/.
 *
 * Implementations:  machine/soft  a software MMU in this process that walks the engine's own tables (the reference)
 *                   machine/uffd  a real Linux process, through userfaultfd
 *
 * Exactly one implementation is linked into a program. All functions may be called from any thread that may run engine
 * code; none of them touches memory that the engine manages, allocates by malloc, or sets errno.
 *
 * Life of a frame, as the machine sees it:
 *
 *        machine_frame()            machine_map()
 *   FREE ---------------> AT HOME ----------------> MAPPED
 *    ^                      |  ^                      |
 *    |   frames_freed()     |  | machine_unmap()      |
 *    +----------------------+  +----------------------+
 *    |                                                |
 *    +------------------------------------------------+ machine_discard(), then frames_freed()
 */
#ifndef MF_MACHINE_MACHINE_H
#define MF_MACHINE_MACHINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MACHINE_PAGE_SHIFT 12
#define MACHINE_PAGE_SIZE  4096UL

struct mm_struct;

/* ---- what the machine can do ------------------------------------------------------------------------------------- */

enum machine_cap {
	MACHINE_YOUNG     = 1 << 0, /* sets the young bit in an entry on access (hardware walker) */
	MACHINE_DIRTY     = 1 << 1, /* sets the dirty bit in an entry on a store */
	MACHINE_READONLY  = 1 << 2, /* can map a page so that loads work and a store faults */
	MACHINE_ALIAS     = 1 << 3, /* can map one frame at several addresses; mapped frames stay readable at home */
	MACHINE_ZERO_PAGE = 1 << 4, /* can map the shared zero page, of which a store faults */
};

/* A constant for the life of the program, a set of machine_cap.
 * Without MACHINE_DIRTY every mapped page counts as dirty (the swap backend recognises unchanged bytes by their hash).
 * Without MACHINE_READONLY a page is mapped with the rights of its mapping, or not at all.
 * Without MACHINE_YOUNG an entry is old only while the engine keeps the page unmapped (its first use then faults into
 * the present branch, as on the ARM of doc 1). */
unsigned machine_caps(void);

/* ---- memory for the engine's own tables -------------------------------------------------------------------------- */

/* => returns `len` bytes of zeroed memory, aligned to 64 bytes (to 4096 when len is a multiple of 4096), or NULL.
 * => the engine's slabs and page tables come from here; it counts as metadata in the budget. */
void *machine_alloc(size_t len);
/* => `len` is what was asked for. The memory may be handed out again. */
void machine_free(void *p, size_t len);

/* ---- frames: pages 0 .. nr_frames-1, nr_frames fixed at mm_init() ------------------------------------------------ */

/* Where the bytes of frame `pfn` can be read and written, 4096 bytes, page aligned.
 * => the frame is allocated and not mapped (or MACHINE_ALIAS). The bytes of a newly allocated frame are undefined. */
void *machine_frame(unsigned long pfn);

/* The engine has put frames [pfn, pfn+nr) on its free lists, or has them there still; their bytes are lost. The machine may give the memory back
 * to the host or keep it for the next use. */
void machine_frames_freed(unsigned long pfn, unsigned nr);

/* ---- translation ------------------------------------------------------------------------------------------------- */

enum machine_how {
	MACHINE_MAP_WRITE = 1 << 0, /* stores are allowed; without it a store faults (only asked of MACHINE_READONLY,
	                               or when the mapping itself is not writable) */
	MACHINE_MAP_ZERO  = 1 << 1, /* the frames must read as zero; the engine has not touched their bytes */
	MACHINE_MAP_SHARED_ZERO = 1 << 2, /* map the shared zero page at all `nr` addresses; pfn is ignored (MACHINE_ZERO_PAGE) */
	MACHINE_MAP_LOOK  = 1 << 3, /* the bytes come from the backend, and nobody stores now: the machine may watch for a store, and
	                               say at the end that there was none (machine_unwritten()) */
};

/* Make [addr, addr + nr pages) stand on frames pfn, pfn+1, ..., pfn+nr-1. The engine's entries are already written.
 * => the range lies in one mapping and one page table; nothing is mapped there; the frames are at home.
 * => returns nr, or how many pages were mapped before the machine failed (the rest are still at home), or -errno when
 *    none was: -ENOENT the host has no such mapping (any more), -EEXIST something stands there, -ENOMEM.
 * => the soft machine has nothing to do but forget its TLB entries. */
int machine_map(struct mm_struct *mm, unsigned long addr, unsigned nr, unsigned long pfn, unsigned how);

/* Take pages away from their addresses and keep their bytes: afterwards no access to the range succeeds in changing
 * them, and the bytes are at machine_frame(pfn + i).
 * => the engine's entries are already written. nr <= 64.
 * => *stuck gets bit i for a page that must stay where it is (pinned for I/O): it is still mapped as before.
 * => *gone gets bit i for a page that the host has lost (a raw system call dropped it): its bytes are no more. */
void machine_unmap(struct mm_struct *mm, unsigned long addr, unsigned nr, unsigned long pfn, uint64_t *stuck, uint64_t *gone);

/* The same for several pieces at once, in one page table and one mapping; by ascending addresses; bits count their pages, 64 at most. */
struct machine_range {
	unsigned long addr, pfn;
	unsigned nr; /* pages */
};
void machine_unmap_ranges(struct mm_struct *mm, const struct machine_range *ranges, unsigned nr, uint64_t *stuck, uint64_t *gone);

/* After machine_unmap(): which of these pages (bit i) were mapped with MACHINE_MAP_LOOK and have certainly not been stored to since. */
uint64_t machine_unwritten(unsigned long pfn, unsigned nr);

/* After machine_unmap(): may the bytes stay in frame `pfn` for as long as the engine likes, and be mapped from there, at any address? false: only until
 * machine_release(), or a machine_map() at the address that they came from. */
bool machine_at_home(unsigned long pfn);

/* After machine_unmap(): do the bytes still stand at their address? Then machine_release() has something to do, and for several pages together does it
 * with less trouble for other processors. */
bool machine_in_place(unsigned long pfn);

/* A store to the page at addr, mapped on frame `pfn`, was stopped because the machine watched for one: it may go on. */
void machine_stored(struct mm_struct *mm, unsigned long addr, unsigned long pfn);

/* After machine_unmap(), when the bytes have been saved elsewhere: they will not be asked for again and the pages will not be
 * mapped back. Must precede the moment from which another fault may fill one of the addresses. nr <= 64; many at once cost less. */
void machine_release(struct mm_struct *mm, const struct machine_range *ranges, unsigned nr);

/* The pages at [addr, addr + nr) are no longer wanted, bytes included (munmap, MADV_DONTNEED, exit). On the host the caller of
 * the engine has already made the system call that drops them. The engine frees the frames afterwards. */
void machine_discard(struct mm_struct *mm, unsigned long addr, unsigned nr, unsigned long pfn);

/* Frames at home or mapped at `from` now belong to `to` (mremap); the host has already moved what was mapped. */
void machine_moved(struct mm_struct *mm, unsigned long from, unsigned long to, unsigned nr, unsigned long pfn);

/* The host has a page of its own at addr, and the engine has just taken frame `pfn` for it (adopt_page): the frame is mapped there.
 * Only hosts that can have such pages implement it; elsewhere it is a bug to call it. */
void machine_adopt(struct mm_struct *mm, unsigned long addr, unsigned long pfn);

/* Rights of mapped pages have changed: `how` as in machine_map (only MACHINE_MAP_WRITE is read). */
void machine_protect(struct mm_struct *mm, unsigned long addr, unsigned nr, unsigned long pfn, unsigned how);

/* ---- processors --------------------------------------------------------------------------------------------------- */

#define MACHINE_MAX_CPUS 32

/* How many processors the machine tells apart, 1 .. MACHINE_MAX_CPUS: a constant for the life of the program. */
unsigned machine_cpus(void);

/* The one on which the caller runs, below machine_cpus(). The engine keeps what is written often once for each, so threads that run side by side should
 * get different numbers, and one thread the same one for a while. Nothing depends on it: several threads may have one number, and it may change at any time.
 * => in the way of every fault: a few instructions */
unsigned machine_cpu(void);

/* ---- waiting and dying ------------------------------------------------------------------------------------------- */

/* Sleep while *word == val (may wake early); wake up to n sleepers; a pause in a spin loop. */
void machine_wait(atomic_uint *word, unsigned val);
void machine_wake(atomic_uint *word, int n);
void machine_relax(void);

/* The engine found itself to be wrong (an invariant does not hold). Prints and does not return. */
_Noreturn void machine_bug(const char *file, int line, const char *what);

#endif
