/* SPDX-License-Identifier: MIT
 *
 * uffd.h - the machine that is a real Linux process, through userfaultfd.
 *
 * A frame is one real page that the engine accounts for. Where its memory is:
 *
 *   state        memory                         becomes
 *   HOLE         none                           STAGED by machine_frame(), MAPPED by a zero-filling machine_map()
 *   STAGED       a slot of the staging area     MAPPED by UFFDIO_COPY (the kernel allocates)
 *   FREE_HOME    its place in the arena; free   HOME by machine_frame(), MAPPED by machine_map()
 *   HOME         its place in the arena         MAPPED by UFFDIO_MOVE (nothing allocated, copied or zeroed)
 *   MAPPED       at the program's address       HOME by UFFDIO_MOVE, FROZEN by write-protecting, HOLE by machine_discard()
 *   WATCHED      the same, write-protected      MAPPED by a store (its fault comes to us), UNWRITTEN when it leaves
 *                since UFFDIO_COPY
 *   FROZEN       at the program's address,      MAPPED (put back), HOLE by machine_release() (MADV_DONTNEED)
 *                write-protected
 *   UNWRITTEN    the same, and never stored to  WATCHED (put back), HOLE by machine_release()
 *
 * Two ways in and out. MOVE (Linux 6.8): frames travel between arena and program. COPY: the kernel allocates on the way in, the page
 * is write-protected, read in place and dropped on the way out. COPY is also what serves mappings that MOVE refuses: those that are not
 * writable; and mappings that are locked or executable, whose pages then stay.
 *
 * Without MOVE it can't be known whether a page is pinned for a device that stores into it (O_DIRECT reads, registered buffers): such a store after the
 * page was copied is lost. So where the kernel has MOVE and pages are copied all the same (--no-move), a MOVE asks.
 *
 * A MOVE has to interrupt every other processor that runs the program (10 us against 1). While several do (uffd_set_crowded()), pages from the backend
 * enter by COPY, write-protected if the fault is no store: WATCHED. One that still is when it leaves can't have been stored to or pinned for I/O that
 * writes to it, for both would have been faults. It needs no MOVE and no hash, and all of a cluster go by one process_madvise(MADV_DONTNEED). What was
 * stored to leaves by MOVE as before: only MOVE tells what is pinned. Every frame finds its way by its state, so the two modes may change at any time. Pages
 * that come back one by one to be read are watched also while one processor runs the program: no MOVE, no hash, and bytes that nobody looks at.
 *
 * MOVE doesn't see references to a page that are no pins (MSG_ZEROCOPY). Where the program may have given such (uffd_pages_are_lent()), a page that has left
 * is never used for other bytes: it is given back to the host when its frame is freed, and who has a reference keeps the page as it was.
 *
 * EBUSY from MOVE means shared since a fork, or pinned for I/O. The page is made exclusive by an atomic OR with 0 and tried again; still
 * EBUSY means pinned: `stuck`.
 *
 * Considered and rejected: events (REMOVE, REMAP, FORK): they block the caller until read, arrive after faults that they precede, and FORK needs a
 * capability; the runtime sees the calls themselves. UFFDIO_ZEROPAGE: a store to the shared zero page allocates in the kernel unseen.
 */
#ifndef MF_MACHINE_UFFD_UFFD_H
#define MF_MACHINE_UFFD_UFFD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "machine/machine.h"

struct uffd_stats {
	uint64_t move_in, move_out, copy_in, copy_out; /* pages */
	uint64_t unwritten;                            /* pages that left without a look at their bytes */
	uint64_t pinned;                               /* pages that stayed because they were pinned */
	uint64_t real_pages;                           /* gauge: frames that hold memory */
};
extern struct uffd_stats uffd_stats;

/* Reserve the arena, the staging area and the metadata area; nothing is touched yet. => 0 or -errno. */
int uffd_machine_init(unsigned long nr_frames);

/* Take `fd` (a userfaultfd on which UFFDIO_API has succeeded) into use and arm the arena.
 * move: UFFDIO_MOVE may be used. => 0 or -errno. Called at start and, in a forked child, again. */
int uffd_machine_attach(int fd, bool move);
/* After uffd_machine_attach(fd, false), where the kernel has MOVE: pages are copied, but none that is pinned leaves. => 0 or -errno. */
int uffd_machine_ask_by_move(void);
/* In a forked child, before uffd_machine_attach(): the arena did not come along. nr: the frames from this one on were never in use. => 0 or -errno. */
int uffd_machine_after_fork(unsigned long nr);

/* In a forked child that has no userfaultfd and nothing armed: from now on pages enter by stores. None leaves. */
void uffd_machine_plain(void);

/* Ask for `fd` by the system call or the device, negotiate. *move says whether MOVE is there. => fd or -errno.
 * source: enum mf_uffd_source; kept: an open descriptor of /dev/userfaultfd to use instead (it works after the rights to open it are
 * gone), or -1. Runs anywhere. */
int uffd_open(int source, int kept, bool *move);

/* Put [addr, addr+len) under the machine: faults on missing pages come to us. => 0 or -errno. */
int uffd_arm(unsigned long addr, size_t len);
int uffd_disarm(unsigned long addr, size_t len);
/* Let the threads that wait for addr try again. */
void uffd_wake(unsigned long addr);
void uffd_wake_all(void);
/* Several threads of the program run at one time, or no longer. Any time. */
void uffd_set_crowded(bool crowded);
/* The program drops pages by raw system calls: from now on none is read where it stands. */
void uffd_dropped(void);
/* From now on, in this process and in those that it forks, the kernel may hold pages of the program by references that aren't pins. Any time; a page that is
 * lent after the return of this call keeps its bytes for who it is lent to. */
void uffd_pages_are_lent(void);
/* The program looks at a page of the machine's own that isn't there, as one does that reads all its mappings: zeros, until a frame needs the place. (Waiters
 * stay asleep.) => false: no such page */
bool uffd_show_zeros(unsigned long addr);
/* From now on an access to addr is a SIGBUS. => 0 or -errno (a kernel before 6.6). */
int uffd_poison(unsigned long addr);

/* What the machine has mapped for itself: arena, staging, zeros, metadata. => how many, at most 6 */
struct uffd_own { unsigned long addr; size_t len; };
unsigned uffd_own_ranges(struct uffd_own own[]);
/* Of these, bytes of the metadata area that are not accessible yet. */
size_t uffd_meta_closed(void);

/* At most so many frames may hold memory; free ones above it are given back to the host. */
void uffd_set_real_limit(unsigned long nr_pages);
/* Memory touched by machine_alloc() users and the machine itself, bytes. `exact` asks the host (mincore). */
size_t uffd_meta_bytes(bool exact);

#endif
