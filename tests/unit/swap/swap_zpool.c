/* SPDX-License-Identifier: MIT
 * swap_zpool.c - the table of classes, what a class wastes, and codecs fed with damaged input. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "mm/errno.h"
#include "tests/unit/swap/swap_check.h"
#include "tests/unit/swap/swap_pages.h"

static struct swap_pool *create(enum swap_codec codec)
{
	struct swap_pool_params q = { .codec = codec, .nr_slots = 100 };
	int err;
	struct swap_pool *pool = swap_pool_create(&q, &err);

	assert_non_null(pool);
	return pool;
}

static void test_classes(void **state)
{
	struct swap_pool *pool = create(SWAP_NONE);
	const struct zpool *z = &pool->zpool;

	assert_true(z->nr_classes > 20 && z->nr_classes < ZCLASSES);
	for (uint32_t i = 0; i < z->nr_classes; i++) {
		const struct zclass *c = &z->class[i];

		assert_in_range(c->pages, 1, ZBLOCK_PAGES);
		assert_true((size_t)c->n * c->size <= (size_t)c->pages * ZPAGE);
		assert_true((size_t)(c->n + 1) * c->size > (size_t)c->pages * ZPAGE);
		assert_true(c->n <= SLOT_INDEX(~0u) + 1);
		assert_true(c->size - c->owner_bytes >= 2); /* the link of a free object */
		assert_int_equal(c->size % ZCLASS_GRAIN, 0);
		assert_true(i < 2 || c->size > z->class[i - 1].size);
	}
	swap_pool_destroy(pool);
}

/* Each length fits its class, and no smaller class would do. What it costs beyond its length, tail and owner
 * included, stays small. */
static void test_waste(void **state)
{
	struct swap_pool *pool = create(SWAP_NONE);
	const struct zpool *z = &pool->zpool;
	double bytes = 0, cost = 0;

	for (uint32_t len = 1; len <= ZPACKED_MAX; len++) {
		uint32_t nr = zpool_class_for(z, len);
		const struct zclass *c = &z->class[nr];
		double one = (double)c->pages * ZPAGE / c->n;

		assert_true(nr > 0 && nr < z->nr_classes);
		assert_true(c->size >= len + ZOWNER);
		assert_true(nr == 1 || z->class[nr - 1].size < len + ZOWNER);
		assert_true(len < 256 || one < 1.12 * len);
		bytes += len;
		cost += one;
	}
	print_message("all lengths alike: %.2f %% of a full pool is object bytes\n", 100 * bytes / cost);
	assert_true(bytes / cost > 0.97);
	assert_int_equal(zpool_class_for(z, ZPACKED_MAX + 1), ZCLASS_RAW);
	assert_int_equal(zpool_class_for(z, ZPAGE), ZCLASS_RAW);
	assert_int_equal(z->class[ZCLASS_RAW].pages, z->class[ZCLASS_RAW].n);
	swap_pool_destroy(pool);
}

static void test_same_filled(void **state)
{
	static uint64_t words[ZPAGE / 8];
	uint64_t word;

	for (size_t i = 0; i < ZPAGE / 8; i++)
		words[i] = 0x1122334455667788;
	assert_true(same_filled(words, &word));
	assert_true(word == 0x1122334455667788);
	for (size_t bit = 0; bit < ZPAGE * 8; bit++) {
		words[bit / 64] ^= 1ull << bit % 64;
		assert_false(same_filled(words, &word));
		words[bit / 64] ^= 1ull << bit % 64;
	}
	same_fill(words, 7);
	for (size_t i = 0; i < ZPAGE / 8; i++)
		assert_true(words[i] == 7);
}

/* Both ways to hash agree, and one bit anywhere makes another hash. */
static void test_hash(void **state)
{
	static unsigned char page[ZPAGE], secret[HASH_SECRET];
	struct page_hash h, k;
	uint64_t rnd = 3;

	fill_noise(page, ZPAGE, &rnd);
	fill_noise(secret, HASH_SECRET, &rnd);
	h = hash_page(page, secret);
	for (size_t bit = 0; bit < ZPAGE * 8; bit += 7) {
		page[bit / 8] ^= (unsigned char)(1 << bit % 8);
		k = hash_page(page, secret);
		assert_true(k.lo != h.lo && k.hi != h.hi);
		h = hash_page_best()(page, secret);
		assert_true(k.lo == h.lo && k.hi == h.hi);
	}
	assert_true(hash_word(1, 2, secret) != hash_word(1, 3, secret) && hash_word(1, 2, secret) != hash_word(2, 2, secret));
}

/* Input of any bytes, at the end of what may be read (but for CODEC_OVERREAD), into a page at the end of what may be
 * written. */
static void test_garbage(void **state)
{
	char *end, *map = mmap(NULL, 4 * ZPAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t rnd = 5;

	assert_ptr_not_equal(map, MAP_FAILED);
	assert_int_equal(mprotect(map + ZPAGE, ZPAGE, PROT_NONE), 0);
	assert_int_equal(mprotect(map + 3 * ZPAGE, ZPAGE, PROT_NONE), 0);
	for (int c = SWAP_LZ4; c <= SWAP_NONE; c++) {
		struct swap_pool *pool = create((enum swap_codec)c);

		end = map + ZPAGE - (c == SWAP_ZSTD ? CODEC_OVERREAD : 0);
		for (int i = 0; i < 20000; i++) {
			uint32_t len = (uint32_t)(random_next(&rnd) % ZPACKED_MAX + 1);
			unsigned char page[ZPAGE];
			struct codec_state *cs;
			char *in;

			page_make(page, (enum page_kind)(PAGE_HALF + i % 4), (uint64_t)i % 8);
			cs = codec_get(&pool->codec);
			if (c != SWAP_NONE && i % 2) { /* a good one, a few bits of it changed, or cut short */
				len = codec_pack(&pool->codec, cs, page);
				in = end - len;
				memcpy(in, cs->out, len);
				for (int k = 0; k < i % 5; k++)
					in[random_next(&rnd) % len] ^= (char)(1 << random_next(&rnd) % 8);
				len -= (uint32_t)(i % 3 == 0 ? random_next(&rnd) % len : 0);
				in = memmove(end - len, in, len);
			} else {
				in = end - len;
				fill_noise((unsigned char *)in, len, &rnd);
			}
			codec_put(cs);
			if (len)
				codec_unpack(&pool->codec, in, len, map + 2 * ZPAGE);
		}
		swap_pool_destroy(pool);
	}
	munmap(map, 4 * ZPAGE);
}

/* All states taken: the next thread waits for one, and states used for the first time work like the first. */
static void test_states(void **state)
{
	for (int c = SWAP_LZ4; c <= SWAP_ZSTD; c++) {
		struct swap_pool *pool = create((enum swap_codec)c);
		size_t touched = codec_touched(&pool->codec);
		struct codec_state *cs[CODEC_STATES];
		unsigned char page[ZPAGE], back[ZPAGE];

		page_make(page, PAGE_HALF, 1);
		for (int i = 0; i < CODEC_STATES; i++) {
			uint32_t len;

			cs[i] = codec_get(&pool->codec);
			len = codec_pack(&pool->codec, cs[i], page);
			assert_true(len > 0 && len <= ZPACKED_MAX);
			assert_int_equal(codec_unpack(&pool->codec, cs[i]->out, len, back), 0);
			assert_memory_equal(page, back, ZPAGE);
		}
		assert_true(codec_touched(&pool->codec) > touched);
		for (int i = 0; i < CODEC_STATES; i++)
			codec_put(cs[i]);
		swap_pool_destroy(pool);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_classes), cmocka_unit_test(test_waste),   cmocka_unit_test(test_same_filled),
		cmocka_unit_test(test_hash),    cmocka_unit_test(test_garbage), cmocka_unit_test(test_states),
	};

	return cmocka_run_group_tests_name("swap_zpool", tests, NULL, NULL);
}
