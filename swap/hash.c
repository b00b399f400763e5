/* SPDX-License-Identifier: MIT
 *
 * hash.c - XXH3 of a page, keyed by the pool.
 *
 * A random secret instead of a seed: a seed would be spread over a secret anew for every page.
 *
 * The file is compiled twice where the build's target knows AVX2 as an option: as it is, and as hash_page_avx2(), for
 * processors that have it (a page in 130 ns instead of 337, both hot). Both give the same hash.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "swap/codec.h"

_Static_assert(HASH_SECRET >= XXH3_SECRET_SIZE_MIN, "XXH3 wants a longer secret");

#ifdef HASH_AVX2
#include <immintrin.h>
#define hash_page hash_page_avx2
/* gcc 12 leaves the upper halves of the registers dirty here: SSE code after it may pay for that (no difference was
 * measured). */
#define hash_leave() _mm256_zeroupper()
#else
#define hash_leave() do { } while (0)
#endif

struct page_hash hash_page(const void *page, const unsigned char *secret)
{
	XXH128_hash_t h = XXH3_128bits_withSecret(page, ZPAGE, secret, HASH_SECRET);

	hash_leave();
	return (struct page_hash){ h.low64, h.high64 };
}

#ifndef HASH_AVX2
#ifdef HAVE_HASH_AVX2
hash_page_fn hash_page_best(void)
{
	__builtin_cpu_init();
	return __builtin_cpu_supports("avx2") ? hash_page_avx2 : hash_page;
}
#else
hash_page_fn hash_page_best(void)
{
	return hash_page;
}
#endif

uint64_t hash_word(uint64_t word, uint64_t slot, const unsigned char *secret)
{
	uint64_t in[2] = { word, slot };

	return XXH3_64bits_withSecret(in, sizeof(in), secret, HASH_SECRET);
}
#endif
