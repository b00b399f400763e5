/* SPDX-License-Identifier: MIT
 *
 * codec.c - LZ4 and Zstandard over preallocated state.
 *
 * Both libraries can allocate; the calls used here cannot: LZ4 is given its state, Zstandard works in static
 * contexts, which fail instead of growing. tests/unit/swap checks it with an allocator that aborts.
 */
#define LZ4_STATIC_LINKING_ONLY
#define ZSTD_STATIC_LINKING_ONLY
#include <lz4.h>
#include <zstd.h>

#include "mm/errno.h"
#include "swap/codec.h"

#define ZSTD_LEVEL_MAX 19

static size_t round_page(size_t n)
{
	return (n + ZPAGE - 1) & ~(size_t)(ZPAGE - 1);
}

static int effective_level(enum swap_codec kind, int level)
{
	if (level == 0)
		return 1;
	if (level < 0 || (kind == SWAP_ZSTD && level > ZSTD_LEVEL_MAX))
		return -1;
	return level;
}

static size_t pack_bytes(enum swap_codec kind, int level)
{
	switch (kind) {
	case SWAP_LZ4:
		return sizeof(LZ4_stream_t);
	case SWAP_ZSTD:
		return ZSTD_estimateCCtxSize_usingCParams(ZSTD_getCParams(level, ZPAGE, 0));
	case SWAP_NONE:
		break;
	}
	return 0;
}

size_t codec_bytes(enum swap_codec kind, int level)
{
	size_t unpack = kind == SWAP_ZSTD ? round_page(ZSTD_estimateDCtxSize()) : 0;

	level = effective_level(kind, level);
	if (level < 0 || kind > SWAP_NONE)
		return 0;
	return CODEC_STATES * (round_page(pack_bytes(kind, level)) + ZPAGE + unpack);
}

/* ---- states ------------------------------------------------------------------------------------------------------ */

static bool is_ready(const struct codec_state *st)
{
	return atomic_load_explicit(&st->ready, memory_order_relaxed);
}

static void set_ready(struct codec_state *st, bool ready)
{
	atomic_store_explicit(&st->ready, ready, memory_order_relaxed);
}

static bool ready_pack(const struct codec *c, struct codec_state *st)
{
	ZSTD_CCtx *cctx;

	if (c->kind == SWAP_LZ4)
		return LZ4_initStream(st->mem, c->pack_len) != NULL;
	if (c->kind == SWAP_NONE)
		return true;
	cctx = ZSTD_initStaticCCtx(st->mem, c->pack_len);
	/* No magic, size, checksum or dictionary number: the slot knows better, and each byte counts 4096 to 1. */
	return cctx && !ZSTD_isError(ZSTD_CCtx_setParameter(cctx, ZSTD_c_compressionLevel, c->level)) &&
	       !ZSTD_isError(ZSTD_CCtx_setParameter(cctx, ZSTD_c_format, ZSTD_f_zstd1_magicless)) &&
	       !ZSTD_isError(ZSTD_CCtx_setParameter(cctx, ZSTD_c_contentSizeFlag, 0)) &&
	       !ZSTD_isError(ZSTD_CCtx_setParameter(cctx, ZSTD_c_checksumFlag, 0)) &&
	       !ZSTD_isError(ZSTD_CCtx_setParameter(cctx, ZSTD_c_dictIDFlag, 0));
}

static bool ready_unpack(const struct codec *c, struct codec_state *st)
{
	ZSTD_DCtx *dctx;

	if (c->kind != SWAP_ZSTD)
		return true;
	dctx = ZSTD_initStaticDCtx(st->mem, c->unpack_len);
	return dctx && !ZSTD_isError(ZSTD_DCtx_setParameter(dctx, ZSTD_d_format, ZSTD_f_zstd1_magicless));
}

int codec_init(struct codec *c, enum swap_codec kind, int level, char *mem)
{
	c->kind = kind;
	c->level = effective_level(kind, level);
	c->pack_len = pack_bytes(kind, c->level);
	c->unpack_len = kind == SWAP_ZSTD ? ZSTD_estimateDCtxSize() : 0;
	for (int i = 0; i < CODEC_STATES; i++) {
		c->pack[i].mem = mem;
		mem += round_page(c->pack_len);
		c->pack[i].out = mem;
		mem += ZPAGE;
		c->unpack[i].mem = mem;
		mem += round_page(c->unpack_len);
	}
	/* The first of each now: what it does not accept now, none will accept on the other side of a fault. */
	set_ready(&c->pack[0], ready_pack(c, &c->pack[0]));
	set_ready(&c->unpack[0], ready_unpack(c, &c->unpack[0]));
	return is_ready(&c->pack[0]) && is_ready(&c->unpack[0]) ? 0 : -EINVAL;
}

/* A free one, the first first: its tables are the ones in the cache. All taken: wait for one, not the same for every
 * thread. */
static struct codec_state *state_get(struct codec_state *states)
{
	struct codec_state *st;

	for (int i = 0; i < CODEC_STATES; i++)
		if (lock_try(&states[i].lock))
			return &states[i];
	st = &states[((uintptr_t)&st >> 12) % CODEC_STATES];
	lock_take(&st->lock);
	return st;
}

struct codec_state *codec_get(struct codec *c)
{
	struct codec_state *st = state_get(c->pack);

	if (unlikely(!is_ready(st)))
		set_ready(st, ready_pack(c, st));
	return st;
}

void codec_put(struct codec_state *st)
{
	lock_drop(&st->lock);
}

size_t codec_touched(const struct codec *c)
{
	size_t bytes = 0;

	for (int i = 0; i < CODEC_STATES; i++) {
		if (is_ready(&c->pack[i]))
			bytes += round_page(c->pack_len) + ZPAGE;
		if (is_ready(&c->unpack[i]))
			bytes += round_page(c->unpack_len);
	}
	return bytes;
}

/* ---- pages ------------------------------------------------------------------------------------------------------- */

/*
 * Measured on pages of programs, text, numbers and mixtures, 4 KiB each, tables hot (2.5 GHz Cascade Lake; ns to pack
 * python3 / dpkg's status / a 2:1 mixture, lz4 1.9.4):
 *
 *      extState            10434   8894  10987    clears 16 KiB of table for each page
 *      extState_fastReset  10212   8806   9368    this; clears as well from 4 KiB on, but initialises less
 *      stale table         14459  10948   8932    fastReset of 4095 bytes: not cleared, but each distance checked
 *      _continue           15676  12516  15119    stale table of 32-bit offsets; python3 at 1.33:1, not 1.39
 *
 * An output bound below the page costs nothing where the page fits and stops early where it does not. Acceleration 2
 * saves a fifth of the time and loses 7 % of the ratio: it stays the user's choice.
 */
static uint32_t pack_lz4(struct codec_state *st, const void *page, int level)
{
	return (uint32_t)LZ4_compress_fast_extState_fastReset(st->mem, page, st->out, ZPAGE, ZPACKED_MAX, level);
}

uint32_t codec_pack(struct codec *c, struct codec_state *st, const void *page)
{
	size_t n;

	switch (c->kind) {
	case SWAP_LZ4:
		return pack_lz4(st, page, c->level);
	case SWAP_ZSTD:
		n = ZSTD_compress2(st->mem, st->out, ZPACKED_MAX, page, ZPAGE);
		return ZSTD_isError(n) ? 0 : (uint32_t)n;
	case SWAP_NONE:
		break;
	}
	return 0;
}

int codec_unpack(struct codec *c, const void *packed, uint32_t len, void *page)
{
	struct codec_state *st;
	size_t n;

	if (c->kind == SWAP_LZ4)
		return LZ4_decompress_safe(packed, page, (int)len, ZPAGE) == (int)ZPAGE ? 0 : -EIO;
	if (c->kind == SWAP_NONE)
		return -EIO;
	st = state_get(c->unpack);
	if (unlikely(!is_ready(st)))
		set_ready(st, ready_unpack(c, st));
	n = ZSTD_decompressDCtx(st->mem, page, ZPAGE, packed, len);
	lock_drop(&st->lock);
	return n == ZPAGE ? 0 : -EIO;
}
