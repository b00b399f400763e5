/* SPDX-License-Identifier: MIT
 *
 * codec.h - one page in, at most ZPACKED_MAX bytes out, over state that was set up beforehand; and the two things
 * said of a page before it is compressed: its hash, and whether it is one word over and over.
 */
#ifndef MF_SWAP_CODEC_H
#define MF_SWAP_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "swap/lock.h"
#include "swap/swap.h"
#include "swap/zpool.h"

#define CODEC_STATES 4 /* so many threads compress at once, and so many decompress; untouched ones cost nothing */

struct codec_state {
	struct lock lock;
	_Atomic bool ready;      /* the library's state is initialised; set under the lock, read by the statistics without */
	void *mem;               /* the library's state */
	char *out;               /* packing: where the packed bytes are until the state is put back; room for a page */
};

struct codec {
	enum swap_codec kind;
	int level;
	size_t pack_len, unpack_len; /* bytes of one library state; unpack_len 0: needs none */
	struct codec_state pack[CODEC_STATES], unpack[CODEC_STATES];
};

/* => bytes that codec_init() wants, page aligned and zeroed; 0: the level does not exist. */
size_t codec_bytes(enum swap_codec kind, int level);
/* => 0, or -EINVAL when the library does not accept its state. */
int codec_init(struct codec *c, enum swap_codec kind, int level, char *mem);
/* Bytes of states in use so far. */
size_t codec_touched(const struct codec *c);

/* Packs the page; *packed points to the bytes, which stay until codec_put(). => their number, 0: not worth while (or
 * SWAP_NONE). */
struct codec_state *codec_get(struct codec *c);
void codec_put(struct codec_state *st);
uint32_t codec_pack(struct codec *c, struct codec_state *st, const void *page);
/* zstd 1.5.4 looks for a magic number of four bytes even where it was told that there is none: damaged input is read
 * so far beyond its end. */
#define CODEC_OVERREAD 3
/* => 0 when len bytes became exactly one page, else -EIO. Damaged input does no harm; whether the bytes are right,
 * the hash says. */
int codec_unpack(struct codec *c, const void *packed, uint32_t len, void *page);

#define HASH_SECRET 192

struct page_hash {
	uint64_t lo, hi;
};

/* XXH3-128 of a page. */
typedef struct page_hash (*hash_page_fn)(const void *page, const unsigned char *secret);
struct page_hash hash_page(const void *page, const unsigned char *secret);
struct page_hash hash_page_avx2(const void *page, const unsigned char *secret);
/* The fastest of them on this processor. */
hash_page_fn hash_page_best(void);
/* 64 bits over a word and its slot. */
uint64_t hash_word(uint64_t word, uint64_t slot, const unsigned char *secret);

/* Is the page one 64-bit word over and over? */
bool same_filled(const void *page, uint64_t *word);
void same_fill(void *page, uint64_t word);

#endif
