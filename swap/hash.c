/* SPDX-License-Identifier: MIT
 *
 * hash.c - XXH3 of a page, keyed by the pool.
 *
 * A random secret instead of a seed: a seed would be spread over a secret anew for every page.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "swap/codec.h"

_Static_assert(HASH_SECRET >= XXH3_SECRET_SIZE_MIN, "XXH3 wants a longer secret");

struct page_hash hash_page(const void *page, const unsigned char *secret)
{
	XXH128_hash_t h = XXH3_128bits_withSecret(page, ZPAGE, secret, HASH_SECRET);

	return (struct page_hash){ h.low64, h.high64 };
}

uint64_t hash_word(uint64_t word, uint64_t slot, const unsigned char *secret)
{
	uint64_t in[2] = { word, slot };

	return XXH3_64bits_withSecret(in, sizeof(in), secret, HASH_SECRET);
}
