/* SPDX-License-Identifier: MIT
 *
 * spill.h - objects of the pool that have gone to a file.
 *
 *   file       | head | segment 1 | segment 2 | ...                    256 KiB each; who has which: share.h
 *   segment    |object|object |obj|...  |owners|                       each object begins at a multiple of 64 bytes
 *
 * A segment is filled in a buffer in one go, encrypted there, and written with one write. A slot names it by a number of this process' own (an
 * entry of `segment`), so that it can be written elsewhere when a part of the file proves bad, and a forked child goes on with a copy.
 *
 *      buffer FREE --> FILLING --> WRITING --written--> FREE      the bytes are in the file
 *                                  WRITING --error--> WAITING --later--> WRITING
 *
 * While a segment is in a buffer, its objects are read from there: until the file has them, memory has them.
 *
 *      segment.live = units of its objects that slots name; 0 and not in a buffer: the segment is free
 *
 * Reads go to the file in windows: just the object, or, where the reader follows the file, ever more of its neighbours; what was
 * read stays in the window for the next ones.
 *
 * Lock: below a slot's pin, above the class locks. It guards everything here. Not held over a read: the pinned slot keeps the segment where it is.
 */
#ifndef MF_SWAP_SPILL_H
#define MF_SWAP_SPILL_H

#include "swap/cipher.h"
#include "swap/lock.h"
#include "swap/share.h"
#include "swap/spill_io.h"
#include "swap/swap.h"
#include "swap/zpool.h"

#define SPILL_SEGMENT  ((size_t)SWAP_FILE_SEGMENT)
#define SPILL_UNIT     CIPHER_BLOCK
#define SPILL_UNITS    (SPILL_SEGMENT / SPILL_UNIT)
#define SPILL_MOST     (1u << 22) /* segments: 1 TiB */
#define SPILL_BUFFERS  4u
#define SPILL_WINDOWS  4u
#define SPILL_THREADS  64u
#define SPILL_WINDOW   (128u << 10)

struct spill_segment {
	uint64_t generation;     /* of its encryption; written once with it, the same bytes however often */
	uint32_t where;          /* segment of the file; 0: this entry is free */
	uint32_t next;           /* free entries */
	uint16_t live;           /* units; see above */
	uint16_t end;            /* units before the owners */
	uint16_t owners;         /* one for each object that was put in */
	uint8_t buffer;          /* + 1; 0: it is in the file */
	bool unreadable;         /* not worth another try to empty it */
};

enum spill_state { BUFFER_FREE, BUFFER_FILLING, BUFFER_WRITING, BUFFER_WAITING };

struct spill_buffer {
	char *bytes;             /* SPILL_SEGMENT */
	enum spill_state state;
	uint32_t segment;        /* entry */
	size_t len, done;
	unsigned moves;          /* to other parts of the file, since the last success */
	uint64_t again;          /* WAITING: not before this time */
	bool touched;
};

struct spill_window {
	char *bytes;
	uint32_t segment;        /* entry, with this generation: else the window holds nothing */
	uint64_t generation;
	uint32_t from, to;       /* bytes of the segment */
	uint64_t used;           /* when; by count */
	bool busy;               /* somebody reads into it */
};

struct spill {
	struct lock lock;
	struct cipher cipher;
	bool plain, no_ring;
	bool lost;               /* a forked child without a part in the file: nothing can be read or written */
	struct share_view share;
	struct spill_io io;
	_Atomic long thread[SPILL_THREADS]; /* which alone may do I/O, as they have the descriptors; 0: none */
	uint32_t invited;        /* member for the child that is being made */
	struct spill_segment *segment;
	uint32_t nr_segments, fresh, free; /* entries: from fresh on never used; free: list; 0 ends it */
	unsigned nr_buffers, nr_windows, window_size;
	struct spill_buffer buffer[SPILL_BUFFERS];
	struct spill_window window[SPILL_WINDOWS];
	uint64_t turn;           /* counts uses of windows */
	_Atomic unsigned long hand; /* the slot that the search for the oldest goes on with */
	uint32_t owner[SPILL_UNITS]; /* of the segment that is being filled */
	_Atomic int read_error;  /* the last one, for who tells the user; 0: none */
	/* numbers */
	_Atomic uint64_t objects, bytes, segments, segments_peak;
	_Atomic uint64_t pages_out, pages_in, bytes_out, bytes_in, write_errors, read_errors, cleaned;
};

/* ---- for pool.c -------------------------------------------------------------------------------------------------- */

size_t spill_bytes(const struct swap_file *file);
/* mem: zeroed, lazily touched, page aligned. => 0, -EINVAL, -EIO, -EAGAIN: too many processes use the file */
int spill_init(struct spill *s, const struct swap_file *file, char *mem);
/* What of that is touched. */
size_t spill_touched(const struct spill *s);

/* Where an object is: entry of the segment and unit in it, as a slot has room for it. */
static inline uint32_t spill_block(uint32_t segment, uint32_t unit)
{
	return segment << 3 | unit >> 9;
}
static inline uint32_t spill_index(uint32_t unit)
{
	return unit & 0x1ff;
}

/* The calling thread may do I/O; alone, or beside others. */
void spill_thread(struct spill *s, bool alone);
/* Pinned slot. The object's bytes. => 0, -EIO */
int spill_read(struct spill *s, uint32_t block, uint32_t index, uint32_t len, void *bytes);
/* Pinned slot. */
void spill_free(struct spill *s, uint32_t block, uint32_t index, uint32_t len);

/* ---- for spill_out.c; all locked --------------------------------------------------------------------------------- */

/* Takes note of writes that have ended. wait: until one has. */
void spill_reap(struct spill *s, bool wait);
bool spill_under_way(const struct spill *s);
/* Those that failed are tried again, if it is time (or at once). */
void spill_try_again(struct spill *s, bool at_once);
/* A buffer and a segment for it. keep: leave so many of the file's segments free. => NULL with *err: -EAGAIN: all buffers are being written;
 * -ENOSPC: the file is full; -EIO: the file takes nothing at the moment */
struct spill_buffer *spill_begin(struct spill *s, uint32_t keep, int *err);
/* The buffer holds `end` units, `nr` objects with their owners in s->owner; 0: nothing came of it. */
void spill_write(struct spill *s, struct spill_buffer *b, uint32_t end, uint32_t nr);
/* The whole segment into the bytes of `into`, in plain. => 0, -EIO */
int spill_fetch(struct spill *s, uint32_t segment, struct spill_buffer *into);
/* So many units of the segment are not named any more. */
void spill_forget(struct spill *s, uint32_t segment, uint32_t units);

static inline uint32_t spill_units(uint32_t len)
{
	return (len + SPILL_UNIT - 1) / SPILL_UNIT;
}

#endif
