/* SPDX-License-Identifier: MIT
 *
 * swap.h - where evicted pages go: same-filled pages, compressed RAM, and from there to a file.
 *
 * A swap_pool implements the engine's `struct swap_ops` (mm/mm.h): 4096 bytes under a slot number, verified on the
 * way back.
 *
 *   page --> XXH3-128 --> same as what the slot holds? nothing to do
 *                     --> all words equal? 8 bytes in the slot table, no pool memory (same-filled)
 *                     --> mailbox attached and room in it? copied there, compressed by another process, then as below
 *                     --> compress (lz4, zstd, none) --> object of a size class in the pool, or raw
 *
 * Memory: everything comes from mmap at swap_pool_create(), is reserved (NORESERVE) and costs by what is touched.
 * Nothing here calls malloc, stdio, locale or a lazily bound symbol; system calls are raw; compressors work in
 * preallocated state. Store, load and free may run on the other side of a fault.
 *
 * Threads: calls for different slots may run side by side.
 */
#ifndef MF_SWAP_SWAP_H
#define MF_SWAP_SWAP_H

#include <stddef.h>
#include <stdint.h>

#include "mm/mm.h"

enum swap_codec { SWAP_LZ4, SWAP_ZSTD, SWAP_NONE };

struct swap_pool;
struct share;

#define SWAP_FILE_SEGMENT (256u << 10)
#define SWAP_FILE_LEAST   (8 * SWAP_FILE_SEGMENT) /* bytes of a file that is of any use */

/* Trouble to make in the file's I/O, for tests; all 0: none. */
struct swap_trouble {
	uint32_t write_every, read_every, short_every; /* each so many-th */
	int32_t write_errno, read_errno;
};

/* A file for what the pool has no room for. */
struct swap_file {
	uint64_t bytes;            /* of it that may be used, head included; 0: no file */
	struct share *share;       /* share_bytes() of memory, zeroed by who made it, for all processes of the run */
	char *map;                 /* the file, mapped shared, from its beginning; NULL: not mapped. For who has no descriptor */
	uint32_t plain;            /* not encrypted */
	uint32_t no_ring;          /* no io_uring (tests) */
	size_t memory;             /* about so much for buffers */
	struct swap_trouble trouble;
};

struct swap_pool_params {
	enum swap_codec codec;
	int level;                 /* zstd: 1..19, 0 = default (1); lz4: acceleration, 0 = 1 */
	unsigned long nr_slots;    /* slots 1 .. nr_slots */
	size_t limit;              /* bytes of pool memory (objects in whole blocks) that may be in use; 0: no limit */
	struct swap_file file;
};

/* => a pool, or NULL with *err = -errno. The pool's own description is in its own mapping. */
struct swap_pool *swap_pool_create(const struct swap_pool_params *params, int *err);
void swap_pool_destroy(struct swap_pool *pool);
/* The mapping of the pool that was made last (a process that pages has one); len 0: none. */
void swap_pool_range(unsigned long *addr, size_t *len);

extern const struct swap_ops swap_pool_ops; /* ctx: the swap_pool */

/* The limit may be raised and lowered at any time. Below what is in use, each store that would need one more block
 * fails with -ENOSPC; one that finds room in the blocks there are still succeeds. */
void swap_pool_set_limit(struct swap_pool *pool, size_t bytes);
/* Move objects together so that whole blocks become free. => bytes given back to the host, 0: nothing more to gain.
 * Called by the owner when it is short; one call stops after some megabytes, because a fault may wait for it. */
size_t swap_pool_compact(struct swap_pool *pool);

struct swap_pool_stats {
	uint64_t slots_used;        /* slots that hold something */
	uint64_t same_filled;       /* of these, same-filled */
	uint64_t incompressible;    /* of these, kept raw */
	uint64_t bytes_stored;      /* compressed bytes of all objects, without rounding to classes */
	uint64_t bytes_pool;        /* memory in use for objects: whole blocks */
	uint64_t bytes_pool_peak;
	uint64_t bytes_meta;        /* slot table, block table, codec state: touched bytes */
	uint64_t packed, packed_bytes; /* since the start: pages that got an object, and what these took */
	uint64_t stores, store_unchanged, loads, frees; /* calls */
	uint64_t damaged;           /* loads refused because the checksum did not match */
	uint64_t compactions, moved_objects;
	/* the file; all 0 without one */
	uint64_t file_pages;        /* slots whose object is in the file, or on its way */
	uint64_t file_stored;       /* bytes of these objects */
	uint64_t file_bytes, file_bytes_peak; /* of the file in use by this process: whole segments */
	uint64_t file_pages_out, file_pages_in; /* pages that went and came */
	uint64_t file_bytes_out, file_bytes_in; /* bytes written and read */
	uint64_t file_write_errors, file_read_errors;
	uint64_t file_cleaned;      /* segments emptied to make room */
	uint64_t file_ring;         /* 1: writes go through an io_uring */
};
/* Cheap (reads counters); the numbers may be a moment old. */
void swap_pool_stats(const struct swap_pool *pool, struct swap_pool_stats *out);

struct mailbox;
/* Pages that need compression go to a compressor in another process, over memory shared with it (swap/mailbox.h), as
 * long as it keeps up. NULL: no longer. => 0, -EINVAL, -EBUSY: pages are in the mailbox that is attached; drain first.
 * No other call runs meanwhile. */
int swap_pool_attach_mailbox(struct swap_pool *pool, struct mailbox *box, unsigned nr);
/* Is there a processor for the compressor at present? false: all is compressed on the spot. At first there is. Any thread. */
void swap_pool_use_mailbox(struct swap_pool *pool, bool use);
/* Wait until no page is in the mailbox; what isn't answered within a millisecond or so is compressed here. Before a
 * fork: the child has no part in the mailbox. => 0, -ENOSPC: out of address space */
int swap_pool_drain(struct swap_pool *pool);
/* There is nothing to wait for. Any thread, without a lock; stays true while nothing is stored. */
bool swap_pool_is_drained(const struct swap_pool *pool);

/* The thread that calls does the file's I/O from now on, by fd: store, load, spill and settle are its calls alone. Others may free. */
void swap_pool_open_file(struct swap_pool *pool, int fd);
/* The calling thread, which has the same descriptors, does so as well. */
void swap_pool_join_file(struct swap_pool *pool);
/* About a segment's worth of the objects that were not used for longest goes to the file. wait: until that is possible; else
 * what is under way may go on. => bytes that left the pool's objects (whole blocks are free only when empty: compact); 0: there is
 * nothing to take; -EAGAIN: all buffers are being written; -ENOSPC: the file is full; -EIO: it takes nothing now */
long swap_pool_spill(struct swap_pool *pool, bool wait);
/* Until nothing is being written: before a fork. */
void swap_pool_settle(struct swap_pool *pool);
/* The program is about to install a seccomp filter: from now on, here and in children, the file is used by calls that the filter's preface allows
 * (run/filter.c). On the thread that does the I/O. */
void swap_pool_before_filter(struct swap_pool *pool);
/* fork: the parent, when no call runs, makes the child a part in the file; the child calls the other one, on any thread, and then
 * swap_pool_open_file() (fd -1: it has none, and goes by the mapping). Without a part, or without both, what is in the file can't be read: -EIO. */
void swap_pool_before_fork(struct swap_pool *pool);
void swap_pool_in_child(struct swap_pool *pool);
/* So long the calling process has waited for the file, ns. */
uint64_t swap_pool_waited(const struct swap_pool *pool);
/* A child that can't have a handler: reads by fd on the calling thread, and when it has read all, gives up its part. */
void swap_pool_read_file(struct swap_pool *pool, int fd);
void swap_pool_leave_file(struct swap_pool *pool);
/* errno of the last read that failed since the last call, positive; 0: none. A load that fails without was damaged. */
int swap_pool_read_error(struct swap_pool *pool);

/* For tests and the `doctor`: damage one stored byte of the slot, so that the next load must notice. => 0, -ENOENT. */
int swap_pool_damage(struct swap_pool *pool, unsigned long slot);

#endif
