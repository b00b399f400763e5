/* SPDX-License-Identifier: MIT
 * internal.h - what the files of this machine share. Nobody else includes it. */
#ifndef MF_UFFD_INTERNAL_H
#define MF_UFFD_INTERNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "machine/uffd/uffd.h"
#include "machine/uffd/uffd_abi.h"

#define PAGE MACHINE_PAGE_SIZE

/* Equation: every frame is in one state; uffd_stats.real_pages = frames in FREE_HOME, HOME, MAPPED, WATCHED, FROZEN or UNWRITTEN. */
enum frame_state { HOLE, STAGED, FREE_HOME, HOME, MAPPED, WATCHED, FROZEN, UNWRITTEN };

#define NR_STAGES 512 /* staging slots: more than the pages that can be on their way at one time */
#define NR_ZEROS  64  /* pages of zeros, the source of a zero-filling UFFDIO_COPY */

struct uffd_machine {
	int fd;
	bool move;
	bool plain;                  /* see uffd_machine_plain() */
	atomic_bool crowded;         /* other processors run the program: a MOVE interrupts them */
	atomic_bool dropped;         /* see uffd_dropped() */
	atomic_bool lent;            /* see uffd_pages_are_lent() */
	atomic_bool shown;           /* the program reads memory of this machine: see uffd_show_zeros() */
	int pidfd;                   /* this process, for process_madvise(); -1: none */
	atomic_int watching;         /* has watching for stores been of use lately? see watch() */
	atomic_int looks;            /* do pages of late come one by one, to be read? see note_way_in() */
	unsigned long nr_frames;
	unsigned long arena;         /* nr_frames places, place i for frame i */
	unsigned long staging;       /* NR_STAGES pages */
	unsigned long zeros;         /* NR_ZEROS pages, never written */
	unsigned long aside;         /* a place for each staging slot, armed: where a MOVE that only asks takes pages; 0: it doesn't */
	uint8_t *state;              /* [nr_frames], enum frame_state; owned by who owns the frame */
	unsigned long *at;           /* [nr_frames]: where the bytes of a STAGED or FROZEN frame are; costs by what is touched */
	_Atomic uint32_t stage_owner[NR_STAGES]; /* pfn + 1; 0: free */
	atomic_ulong real_limit;     /* pages */
};
extern struct uffd_machine uffd;

static inline unsigned long home_of(unsigned long pfn)
{
	return uffd.arena + pfn * PAGE;
}

static inline void count_real(long delta)
{
	__atomic_fetch_add(&uffd_stats.real_pages, (uint64_t)delta, __ATOMIC_RELAXED);
}

static inline void count(uint64_t *counter, uint64_t n)
{
	__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

/* Do pages from the backend enter by COPY now, to be watched? */
bool uffd_copies(void);
/* Give the places of [pfn, pfn+nr) back to the host and make the frames holes. */
void home_drop(unsigned long pfn, unsigned nr);
/* The frame's staging slot, taken now. => its address. */
unsigned long stage_get(unsigned long pfn);
void stage_put(unsigned long pfn);
bool stage_holds(unsigned long pfn);
void stage_reset(void);
/* Slots that were ever taken: so many pages of the staging area are touched at most. */
unsigned stages_touched(void);
/* The area of machine_alloc(). */
struct uffd_own meta_range(void);
/* The host's own swap has the page at addr. */
bool in_host_swap(unsigned long addr);
/* Reads a page of this process whatever its protection. => 0 or -errno. */
int read_protected(unsigned long addr, void *to);

#endif
