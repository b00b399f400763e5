/* SPDX-License-Identifier: MIT
 *
 * zpool.h - objects of 1 to 4096 bytes in blocks of whole pages.
 *
 *   block  1..8 pages of one class, at a fixed stride of 8 pages of address space:
 *
 *          |owner|bytes .....|owner|bytes .....| ... |tail|          ordinary class: owner and object side by side
 *          |bytes 4096|bytes 4096| ...                    |          raw class: a page each, owners in an array of their own
 *
 * A class is (pages of a block, objects in a block); its object size follows. Blocks stand at a fixed stride so that
 * a block number is an address, whatever the class; the unused pages of a stride are never touched and cost address
 * space alone. An object is named by its block and its index. Each carries its owner (a slot number, never 0), so
 * that compaction, which starts from blocks, finds the one reference to the object.
 *
 *   free object:       owner 0, then the index + 1 of the next free object of the block
 *   block:             used = n - (freed objects) - (n - fresh)
 *   class:             objects = sum of used over its blocks
 *   pool:              pages_used = sum of pages over blocks in a class or in the reserve
 *                      pages_used + promised <= limit for each allocation that makes a block and each new promise
 *
 * All of it lies in memory handed over by the caller: zeroed, lazily touched.
 */
#ifndef MF_SWAP_ZPOOL_H
#define MF_SWAP_ZPOOL_H

#include <stddef.h>
#include <stdint.h>

#include "swap/lock.h"

#define ZPAGE         4096u
#define ZBLOCK_PAGES  8u                         /* stride, and most pages of a block */
#define ZBLOCK_STRIDE ((size_t)ZBLOCK_PAGES * ZPAGE)
#define ZOWNER        4u                         /* bytes before each object of an ordinary class */
#define ZCLASS_MIN    48u                        /* smallest object with its owner; LZ4 makes nothing useful below */
#define ZPACKED_MAX   (ZPAGE / 8 * 7 - ZOWNER)   /* larger ones are kept as they are: the raw class */
#define ZCLASS_GRAIN  8u                         /* object sizes are multiples of it */
#define ZCLASS_RAW    0u                         /* number of the raw class */
#define ZCLASSES      128u                       /* room for so many; zpool_init() uses what it finds worth while */
#define ZCLASS_LARGER 8u                         /* so many of the next larger classes help out in a full pool */
#define ZGROUPS       4u                         /* lists by fullness: below 1/4, 1/2, 3/4, all. Full ones: none */
#define ZGROUP_FULL   ZGROUPS
#define ZGROUP_UNUSED 0xffu                      /* in no class */
#define ZRESERVE      16u                        /* empty blocks kept for the next allocation, not given back */

struct zobj {
	uint32_t block;
	uint32_t index;
};

struct zblock {                  /* class lock, once in a class; before, block lock */
	uint32_t next, prev;     /* list of its group, of the reserve, of unused blocks; 0: end (block 0 does not exist) */
	uint16_t used;
	uint16_t fresh;          /* objects from here on have never been handed out */
	uint16_t free;           /* index + 1 of the first freed object */
	uint8_t class;
	uint8_t group;
};
_Static_assert(sizeof(struct zblock) == 16, "what each block costs");

struct zclass {
	struct lock lock;
	uint32_t size;                   /* of an object, with owner */
	uint16_t n;                      /* objects in a block */
	uint8_t pages;                   /* of a block */
	uint8_t owner_bytes;             /* ZOWNER, or 0 for raw */
	uint32_t group[ZGROUPS];         /* first block of each; class lock */
	_Atomic uint32_t blocks;         /* written under class lock */
	_Atomic uint64_t objects;        /* written under class lock */
	_Atomic uint64_t bytes;          /* asked for, without owner and rounding */
} __attribute__((aligned(64)));

struct zpool {
	char *base;                      /* of block 0 */
	struct zblock *blocks;
	uint32_t (*raw_owner)[ZBLOCK_PAGES]; /* by block; only those of raw blocks are ever touched */
	uint32_t nr_blocks;              /* block numbers 1 .. nr_blocks - 1 */
	uint32_t nr_classes;
	uint8_t class_of[(ZPACKED_MAX + ZOWNER) / ZCLASS_GRAIN + 1]; /* by bytes + owner in grains, rounded up */
	_Atomic size_t limit;            /* bytes, 0: none */
	struct lock lock;                /* the rest */
	uint32_t unused;                 /* list of blocks that were used and went back to the host */
	_Atomic uint32_t fresh;          /* blocks from here on have never been used */
	uint32_t reserve[ZBLOCK_PAGES + 1]; /* by pages */
	uint32_t nr_reserve;
	_Atomic uint64_t pages_used, pages_peak;
	uint64_t promised;               /* pages that allocations to come have a right to; block lock */
	_Atomic uint64_t compactions, moved;
	_Atomic uint32_t raw_made;       /* blocks that became raw ones so far, however often; lock of the raw class */
	_Atomic uint32_t compact_next;   /* class to go on with */
	struct zclass class[ZCLASSES];
};

/* How compaction reaches the reference to an object. Both run under the class lock. */
struct zpool_mover {
	/* Hold the owner still: nobody reads or writes its object until moved(). false: it is busy, leave it. */
	bool (*pin)(void *ctx, uint32_t owner, struct zobj at);
	void (*moved)(void *ctx, uint32_t owner, struct zobj to);
	void *ctx;
};

/* base: nr_blocks * ZBLOCK_STRIDE bytes of address space; blocks, raw_owner: of nr_blocks each. All zeroed and lazily
 * touched. */
void zpool_init(struct zpool *z, char *base, struct zblock *blocks, uint32_t (*raw_owner)[ZBLOCK_PAGES], uint32_t nr_blocks,
		size_t limit);
/* What of raw_owner is touched: at most so many bytes. */
size_t zpool_owners_touched(const struct zpool *z);

/* Room for len bytes (1 .. ZPACKED_MAX, or ZPAGE). => 0, -ENOSPC: limit or address space. O(1), and a new block now
 * and then. */
int zpool_alloc(struct zpool *z, uint32_t len, uint32_t owner, struct zobj *obj);
void zpool_free(struct zpool *z, struct zobj obj, uint32_t len);
/* An object that holds old bytes may hold len now? Then it counts as len from here on. */
bool zpool_reuse(struct zpool *z, struct zobj obj, uint32_t old, uint32_t len);

/* So many pages more are kept for allocations to come. => false: not within the limit; then nothing changed */
bool zpool_promise(struct zpool *z, uint32_t pages);
/* So many less; negative: the promise stands after all, whatever the limit has become. */
void zpool_redeem(struct zpool *z, int pages);

void zpool_set_limit(struct zpool *z, size_t bytes);
/* Empties sparse blocks into fuller ones, until about `enough` bytes went back to the host. => bytes; 0: nothing
 * (more) to gain. */
size_t zpool_compact(struct zpool *z, const struct zpool_mover *mover, size_t enough);

static inline const struct zclass *zpool_class(const struct zpool *z, uint32_t block)
{
	return &z->class[z->blocks[block].class];
}

static inline char *zpool_data(const struct zpool *z, struct zobj obj)
{
	const struct zclass *c = zpool_class(z, obj.block);

	return z->base + obj.block * ZBLOCK_STRIDE + (size_t)obj.index * c->size + c->owner_bytes;
}

static inline uint32_t zpool_class_for(const struct zpool *z, uint32_t len)
{
	return len > ZPACKED_MAX ? ZCLASS_RAW : z->class_of[(len + ZOWNER + ZCLASS_GRAIN - 1) / ZCLASS_GRAIN];
}

#endif
