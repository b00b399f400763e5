/* SPDX-License-Identifier: MIT
 *
 * spill_io.h - bytes to the swap file and back: writes that go on while the program does, reads that somebody waits for.
 *
 * Writes go through an io_uring; where that is refused (seccomp, kernel.io_uring_disabled) they are done on the spot. So are those that
 * the ring took and did not carry out: where the file wants a thread of the kernel for it, and RLIMIT_NPROC or a cgroup allows none, it cancels. Everything
 * here runs on threads that have the descriptors in their table; one at a time, but for reads.
 *
 * The file is mapped as well, for processes that have no descriptor of it (a program that has set RLIMIT_NOFILE to 0 and forks) or may not write
 * so far (RLIMIT_FSIZE, which doesn't bind mappings). The mapping is reached by process_vm_readv and process_vm_writev, which report
 * a bad spot instead of dying of it.
 *
 * Where the program has installed a seccomp filter, only calls that reach nobody else's memory or descriptors are made (the list is in run/filter.c):
 * pread64 and pwrite64 of the file; of the mapping, pages are had by madvise first, which reports the bad spot, and then copied.
 *
 * Trouble is made here for tests: every n-th write or read fails with an error, or every n-th write stops half way.
 */
#ifndef MF_SWAP_SPILL_IO_H
#define MF_SWAP_SPILL_IO_H

#include <liburing.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "swap/look.h"
#include "swap/swap.h"

#define SPILL_IO_MOST 8u /* writes under way at once */
#define SPILL_GRAIN   4096u /* direct I/O: addresses, and positions and lengths of writes, are multiples of it */

struct spill_io {
	int fd;                /* -1: none */
	uint32_t grain;        /* positions and lengths of reads are multiples of it: a sector, mostly */
	char *map;             /* of the whole file; NULL: none */
	bool by_map;           /* writes by descriptor are refused */
	bool filtered;         /* by a filter of the program; its children inherit both */
	bool use_ring, ring_is_made;
	struct io_uring ring;  /* of writes */
	struct look look;      /* of reads */
	unsigned under_way;    /* in the ring */
	struct { const void *bytes; size_t len; uint64_t at; } in_ring[SPILL_IO_MOST]; /* by tag */
	struct { unsigned tag; int result; } done[SPILL_IO_MOST]; /* done on the spot, not yet told */
	unsigned nr_done;
	struct swap_trouble trouble;
	_Atomic uint64_t writes, reads;
	_Atomic uint64_t waited_ns; /* asleep: for reads, and for writes that could not go on meanwhile */
};

static inline bool spill_io_usable(const struct spill_io *io)
{
	return io->fd >= 0 || io->map;
}

/* => on the thread that does the I/O from now on. fd stays the caller's; -1: by the mapping */
void spill_io_open(struct spill_io *io, int fd, bool no_ring);
void spill_io_close(struct spill_io *io);
/* The program is about to install a filter; nothing is under way. */
void spill_io_filtered(struct spill_io *io);
/* In a forked child: what was the parent's is not ours. */
void spill_io_forget(struct spill_io *io);

/* At most SPILL_IO_MOST at once. The bytes stay as they are until spill_io_done() has told the tag. */
void spill_io_write(struct spill_io *io, unsigned tag, const void *bytes, size_t len, uint64_t at);
/* => true: the write of *tag is over, *result bytes of it written, or -errno. wait: there is one under way; until it is */
bool spill_io_done(struct spill_io *io, bool wait, unsigned *tag, int *result);
/* A write came out with this error: may it be tried another way from now on? */
bool spill_io_otherwise(struct spill_io *io, int err);
/* Several threads may. => 0: all of it, or -errno */
int spill_io_read(struct spill_io *io, void *bytes, size_t len, uint64_t at);

#endif
