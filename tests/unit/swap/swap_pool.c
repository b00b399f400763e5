/* SPDX-License-Identifier: MIT
 * swap_pool.c - each path of the swap pool once, under each codec. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "mm/errno.h"
#include "tests/unit/swap/swap_check.h"
#include "tests/unit/swap/swap_pages.h"

static const enum swap_codec codecs[] = { SWAP_LZ4, SWAP_ZSTD, SWAP_NONE };
#define FOR_EACH_CODEC(i) for (size_t i = 0; i < sizeof(codecs) / sizeof(codecs[0]); i++)

static unsigned char page[PAGE] __attribute__((aligned(PAGE))), back[PAGE] __attribute__((aligned(PAGE)));

static struct swap_pool *create(enum swap_codec codec, int level, unsigned long nr_slots, size_t limit)
{
	struct swap_pool_params q = { .codec = codec, .level = level, .nr_slots = nr_slots, .limit = limit };
	int err = 1;
	struct swap_pool *pool = swap_pool_create(&q, &err);

	assert_non_null(pool);
	assert_int_equal(err, 0);
	return pool;
}

static int store(struct swap_pool *pool, unsigned long slot, enum page_kind kind, uint64_t number)
{
	page_make(page, kind, number);
	return swap_pool_ops.store(pool, slot, page);
}

static void assert_holds(struct swap_pool *pool, unsigned long slot, enum page_kind kind, uint64_t number)
{
	page_make(page, kind, number);
	memset(back, 0xa5, PAGE);
	assert_int_equal(swap_pool_ops.load(pool, slot, back), 0);
	assert_memory_equal(back, page, PAGE);
}

static struct swap_pool_stats stats(const struct swap_pool *pool)
{
	struct swap_pool_stats s;

	swap_pool_stats(pool, &s);
	return s;
}

static void test_store_and_load(void **state)
{
	FOR_EACH_CODEC(c) {
		struct swap_pool *pool = create(codecs[c], 0, 1000, 0);
		struct swap_pool_stats s;

		for (unsigned long i = 1; i <= 700; i++)
			assert_int_equal(store(pool, i, i % NR_PAGE_KINDS, i), 0);
		swap_check(pool);
		for (unsigned long i = 1; i <= 700; i++)
			assert_holds(pool, i, i % NR_PAGE_KINDS, i);
		for (unsigned long i = 1; i <= 700; i++)
			assert_int_equal(store(pool, i, i % NR_PAGE_KINDS, i), 1);
		s = stats(pool);
		assert_int_equal(s.slots_used, 700);
		assert_int_equal(s.same_filled, 200);
		assert_int_equal(s.incompressible, codecs[c] == SWAP_NONE ? 500 : 100);
		assert_int_equal(s.stores, 1400);
		assert_int_equal(s.store_unchanged, 700);
		assert_int_equal(s.loads, 700);
		assert_int_equal(s.damaged, 0);
		for (unsigned long i = 1; i <= 1000; i++)
			swap_pool_ops.free(pool, i);
		s = stats(pool);
		assert_int_equal(s.frees, 1000);
		assert_int_equal(s.slots_used, 0);
		assert_int_equal(s.bytes_stored, 0);
		swap_check(pool);
		swap_pool_compact(pool);
		assert_int_equal(stats(pool).bytes_pool, 0);
		assert_int_equal(swap_resident_blocks(pool), 0);
		swap_pool_destroy(pool);
	}
}

/* Every kind over every kind, to and fro. */
static void test_overwrite(void **state)
{
	FOR_EACH_CODEC(c) {
		struct swap_pool *pool = create(codecs[c], 0, 10, 0);

		for (int a = 0; a < NR_PAGE_KINDS; a++) {
			for (int b = 0; b < NR_PAGE_KINDS; b++) {
				swap_pool_ops.free(pool, 3);
				assert_int_equal(store(pool, 3, (enum page_kind)a, 17), 0);
				assert_int_equal(store(pool, 3, (enum page_kind)b, 18), a == b && b == PAGE_ZERO ? 1 : 0);
				assert_holds(pool, 3, (enum page_kind)b, 18);
				swap_check(pool);
				assert_int_equal(stats(pool).slots_used, 1);
			}
		}
		swap_pool_destroy(pool);
	}
}

static void test_overwrite_in_place(void **state)
{
	struct swap_pool *pool = create(SWAP_LZ4, 0, 10, 0);
	uint32_t block;

	assert_int_equal(store(pool, 1, PAGE_NOISE, 1), 0);
	block = pool->slots[1].block;
	assert_int_equal(store(pool, 2, PAGE_NOISE, 2), 0);
	assert_int_equal(store(pool, 1, PAGE_NOISE, 3), 0);
	assert_int_equal(pool->slots[1].block, block);
	assert_int_equal(SLOT_INDEX(pool->slots[1].state), 0);
	assert_holds(pool, 1, PAGE_NOISE, 3);
	assert_holds(pool, 2, PAGE_NOISE, 2);
	swap_check(pool);
	swap_pool_destroy(pool);
}

static void test_zstd_levels(void **state)
{
	for (int level = 1; level <= 19; level++) {
		struct swap_pool *pool = create(SWAP_ZSTD, level, 100, 0);

		for (unsigned long i = 1; i <= 70; i++)
			assert_int_equal(store(pool, i, i % NR_PAGE_KINDS, i), 0);
		assert_int_equal(stats(pool).incompressible, 10);
		for (unsigned long i = 1; i <= 70; i++)
			assert_holds(pool, i, i % NR_PAGE_KINDS, i);
		swap_pool_destroy(pool);
	}
}

static void test_lz4_acceleration(void **state)
{
	for (int level = 1; level <= 64; level *= 4) {
		struct swap_pool *pool = create(SWAP_LZ4, level, 100, 0);

		for (unsigned long i = 1; i <= 70; i++)
			assert_int_equal(store(pool, i, i % NR_PAGE_KINDS, i), 0);
		for (unsigned long i = 1; i <= 70; i++)
			assert_holds(pool, i, i % NR_PAGE_KINDS, i);
		swap_pool_destroy(pool);
	}
}

static void test_bad_parameters(void **state)
{
	static const struct swap_pool_params bad[] = {
		{ .codec = SWAP_LZ4, .nr_slots = 0 },
		{ .codec = SWAP_LZ4, .nr_slots = (1UL << 28) + 1 },
		{ .codec = SWAP_ZSTD, .level = 20, .nr_slots = 1 },
		{ .codec = SWAP_ZSTD, .level = -1, .nr_slots = 1 },
		{ .codec = SWAP_LZ4, .level = -1, .nr_slots = 1 },
		{ .codec = (enum swap_codec)7, .nr_slots = 1 },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int err = 0;

		assert_null(swap_pool_create(&bad[i], &err));
		assert_int_equal(err, -EINVAL);
	}
	swap_pool_destroy(NULL);
}

static void test_slots_that_do_not_exist(void **state)
{
	struct swap_pool *pool = create(SWAP_LZ4, 0, 10, 0);
	static const unsigned long bad[] = { 0, 11, ~0UL };

	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(store(pool, bad[i], PAGE_TEXT, 1), -ENOSPC);
		assert_int_equal(swap_pool_ops.load(pool, bad[i], back), -EIO);
		swap_pool_ops.free(pool, bad[i]);
		assert_int_equal(swap_pool_damage(pool, bad[i]), -ENOENT);
	}
	assert_int_equal(swap_pool_ops.load(pool, 5, back), -EIO); /* holds nothing */
	assert_int_equal(swap_pool_damage(pool, 5), -ENOENT);
	assert_int_equal(stats(pool).damaged, 0);
	assert_int_equal(store(pool, 10, PAGE_TEXT, 1), 0);
	assert_holds(pool, 10, PAGE_TEXT, 1);
	swap_check(pool);
	swap_pool_destroy(pool);
}

/* The largest pool: costs what is touched, and the far end works like the near one. */
static void test_largest(void **state)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	skip(); /* their shadow leaves too little address space */
#endif
	struct swap_pool *pool = create(SWAP_LZ4, 0, 1UL << 28, 0);

	assert_int_equal(store(pool, 1, PAGE_TEXT, 1), 0);
	assert_true(stats(pool).bytes_meta < 256 << 10);
	assert_true(swap_resident_meta(pool) * PAGE <= stats(pool).bytes_meta);
	for (unsigned long i = 0; i < 100; i++)
		assert_int_equal(store(pool, (1UL << 28) - i, PAGE_HALF, i), 0);
	for (unsigned long i = 0; i < 100; i++)
		assert_holds(pool, (1UL << 28) - i, PAGE_HALF, i);
	assert_holds(pool, 1, PAGE_TEXT, 1);
	swap_pool_destroy(pool);
}

static void test_memory_is_what_is_said(void **state)
{
	FOR_EACH_CODEC(c) {
		struct swap_pool *pool = create(codecs[c], 0, 100000, 0);
		size_t meta;

		for (unsigned long i = 1; i <= 3000; i++)
			assert_int_equal(store(pool, i, i % NR_PAGE_KINDS, i), 0);
		assert_true(swap_resident_blocks(pool) * PAGE <= stats(pool).bytes_pool);
		for (unsigned long i = 1; i <= 3000; i++)
			if (i % 5)
				swap_pool_ops.free(pool, i);
		assert_true(swap_resident_blocks(pool) * PAGE <= stats(pool).bytes_pool);
		while (swap_pool_compact(pool))
			swap_check(pool);
		assert_true(swap_resident_blocks(pool) * PAGE <= stats(pool).bytes_pool);
		for (unsigned long i = 1; i <= 3000; i++)
			if (i % 5 == 0)
				assert_holds(pool, i, i % NR_PAGE_KINDS, i);
		meta = swap_resident_meta(pool) * PAGE;
		/* Codec states count whole from their first use on, and zstd leaves part of them untouched. */
		assert_in_range(stats(pool).bytes_meta, meta, meta + (128 << 10));
		swap_pool_destroy(pool);
	}
}

/* The owners of raw objects cost what raw blocks touch of them: nothing without raw pages, and never more than is said. */
static void test_owners_of_raw_pages(void **state)
{
	struct swap_pool *pool = create(SWAP_LZ4, 0, 100000, 0);
	const struct zpool *z = &pool->zpool;
	const char *owners = (const char *)z->raw_owner;

	for (unsigned long i = 1; i <= 2000; i++)
		assert_int_equal(store(pool, i, PAGE_HALF, i), 0);
	assert_int_equal(zpool_owners_touched(z), 0);
	assert_int_equal(swap_resident(owners, z->base - owners), 0);
	for (unsigned long round = 1; round <= 5; round++) {
		for (unsigned long i = 1; i <= 6000; i++)
			assert_int_equal(store(pool, i, (i + round) % 3 ? PAGE_NOISE : PAGE_HALF, i + 10000 * round), 0);
		assert_true(swap_resident(owners, z->base - owners) * PAGE <= zpool_owners_touched(z));
		assert_true(zpool_owners_touched(z) <= z->fresh * sizeof(z->raw_owner[0]) + PAGE);
		assert_true(swap_resident(owners, z->base - owners) > 0);
		while (swap_pool_compact(pool))
			swap_check(pool);
	}
	swap_check(pool);
	swap_pool_destroy(pool);
}

static void test_compaction_gives_back(void **state)
{
	FOR_EACH_CODEC(c) {
		struct swap_pool *pool = create(codecs[c], 0, 4000, 0);
		struct swap_pool_stats before, after;
		size_t bytes = 0, step;

		for (unsigned long i = 1; i <= 4000; i++)
			assert_int_equal(store(pool, i, PAGE_TEXT, i), 0);
		for (unsigned long i = 1; i <= 4000; i++)
			if (i % 4)
				swap_pool_ops.free(pool, i);
		before = stats(pool);
		while ((step = swap_pool_compact(pool)))
			bytes += step;
		after = stats(pool);
		swap_check(pool);
		assert_int_equal(before.bytes_pool - after.bytes_pool, bytes);
		assert_true(after.bytes_stored * 100 > after.bytes_pool * 80);
		assert_true(after.moved_objects > 0 && after.compactions > 0);
		for (unsigned long i = 4; i <= 4000; i += 4)
			assert_holds(pool, i, PAGE_TEXT, i);
		swap_pool_destroy(pool);
	}
}

static void test_full(void **state)
{
	FOR_EACH_CODEC(c) {
		struct swap_pool *pool = create(codecs[c], 0, 1000, 256 << 10);
		unsigned long full = 0;

		for (unsigned long i = 1; i <= 1000 && !full; i++) {
			int ret = store(pool, i, PAGE_HALF, i);

			if (ret) {
				assert_int_equal(ret, -ENOSPC);
				full = i;
			}
			assert_true(stats(pool).bytes_pool <= 256 << 10);
		}
		assert_true(full > 60);
		assert_int_equal(stats(pool).slots_used, full - 1);
		assert_int_equal(swap_pool_ops.load(pool, full, back), -EIO);
		assert_int_equal(stats(pool).damaged, 0);
		/* Same-filled pages need no room. */
		assert_int_equal(store(pool, full, PAGE_FILLED, 1), 0);
		assert_holds(pool, full, PAGE_FILLED, 1);
		/* A slot that is overwritten without room holds nothing, not its old bytes. */
		if (codecs[c] != SWAP_NONE) {
			swap_pool_set_limit(pool, 1);
			swap_pool_compact(pool);
			assert_int_equal(store(pool, 1, PAGE_NOISE, 1), -ENOSPC);
			assert_int_equal(swap_pool_ops.load(pool, 1, back), -EIO);
			swap_pool_set_limit(pool, 256 << 10);
		}
		swap_check(pool);
		for (unsigned long i = 2; i < full; i++)
			assert_holds(pool, i, PAGE_HALF, i);
		swap_pool_set_limit(pool, 0);
		for (unsigned long i = 1; i <= 1000; i++)
			assert_true(store(pool, i, PAGE_HALF, i) >= 0);
		for (unsigned long i = 1; i <= 1000; i++)
			assert_holds(pool, i, PAGE_HALF, i);
		swap_check(pool);
		swap_pool_destroy(pool);
	}
}

/* Blocks in reserve must not stand in the way of a store of another class. */
static void test_reserve_yields(void **state)
{
	struct swap_pool *pool = create(SWAP_LZ4, 0, 1000, 64 << 10);

	for (unsigned long i = 1; i <= 16; i++)
		assert_int_equal(store(pool, i, PAGE_NOISE, i), 0);
	for (unsigned long i = 1; i <= 16; i++)
		swap_pool_ops.free(pool, i);
	assert_int_equal(stats(pool).bytes_pool, 64 << 10); /* both blocks are in reserve */
	assert_int_equal(store(pool, 1, PAGE_TEXT, 1), 0);
	assert_true(stats(pool).bytes_pool <= 64 << 10);
	assert_holds(pool, 1, PAGE_TEXT, 1);
	swap_check(pool);
	swap_pool_destroy(pool);
}

/* A lower limit takes what is in reserve at once. */
static void test_limit_takes_reserve(void **state)
{
	struct swap_pool *pool = create(SWAP_LZ4, 0, 1000, 0);

	assert_int_equal(store(pool, 1, PAGE_NOISE, 1), 0);
	swap_pool_ops.free(pool, 1);
	assert_true(stats(pool).bytes_pool > 0);
	swap_pool_set_limit(pool, PAGE);
	assert_int_equal(stats(pool).bytes_pool, 0);
	assert_int_equal(swap_resident_blocks(pool), 0);
	swap_check(pool);
	swap_pool_destroy(pool);
}

/* Unchanged means all 128 bits of the hash. */
static void test_unchanged_is_the_whole_hash(void **state)
{
	struct swap_pool *pool = create(SWAP_LZ4, 0, 10, 0);

	assert_int_equal(store(pool, 1, PAGE_HALF, 1), 0);
	for (int half = 0; half < 2; half++) {
		pool->slots[1].hash[half] ^= 1;
		assert_int_equal(store(pool, 1, PAGE_HALF, 1), 0);
		assert_int_equal(store(pool, 1, PAGE_HALF, 1), 1);
	}
	swap_pool_destroy(pool);
}

/* No block may be had, none of the class has room: a larger one has. */
static void test_larger_class(void **state)
{
	struct swap_pool *pool = create(SWAP_LZ4, 0, 1000, 0);
	struct zobj other;
	uint32_t len, size;

	assert_int_equal(store(pool, 1, PAGE_HALF, 1), 0);
	len = SLOT_LEN(pool->slots[1].state);
	swap_pool_ops.free(pool, 1);
	swap_pool_compact(pool);
	assert_int_equal(stats(pool).bytes_pool, 0);
	/* A block of the class after the page's own, with one object in it. */
	size = pool->zpool.class[zpool_class_for(&pool->zpool, len)].size;
	assert_int_equal(zpool_alloc(&pool->zpool, size, 5, &other), 0);
	swap_pool_set_limit(pool, 1);
	assert_int_equal(store(pool, 1, PAGE_HALF, 1), 0);
	assert_holds(pool, 1, PAGE_HALF, 1);
	assert_int_equal(pool->zpool.blocks[pool->slots[1].block].class, zpool_class_for(&pool->zpool, len) + 1);
	/* With a limit that allows it, the next store moves it to where it belongs. */
	swap_pool_set_limit(pool, 0);
	assert_int_equal(swap_pool_damage(pool, 1), 0);
	pool->slots[1].hash[0] ^= 1;
	assert_int_equal(store(pool, 1, PAGE_HALF, 1), 0);
	assert_int_equal(pool->zpool.blocks[pool->slots[1].block].class, zpool_class_for(&pool->zpool, len));
	assert_holds(pool, 1, PAGE_HALF, 1);
	swap_pool_destroy(pool);
}

static void test_damage(void **state)
{
	FOR_EACH_CODEC(c) {
		struct swap_pool *pool = create(codecs[c], 0, 1000, 0);
		unsigned long damaged = 0;

		for (unsigned long i = 1; i <= 700; i++)
			assert_int_equal(store(pool, i, i % NR_PAGE_KINDS, i), 0);
		for (unsigned long i = 1; i <= 700; i++) {
			if (i % 3 == 0)
				continue;
			assert_int_equal(swap_pool_damage(pool, i), 0);
			assert_int_equal(swap_pool_ops.load(pool, i, back), -EIO);
			assert_int_equal(swap_pool_ops.load(pool, i, back), -EIO);
			damaged += 2;
			assert_int_equal(stats(pool).damaged, damaged);
		}
		for (unsigned long i = 3; i <= 700; i += 3)
			assert_holds(pool, i, i % NR_PAGE_KINDS, i);
		swap_check(pool);
		swap_pool_destroy(pool);
	}
}

/* Any one byte of an object, of a hash or of a word: refused, or (a byte that means nothing) still the right page.
 * Never another. */
static void test_damage_anywhere(void **state)
{
	FOR_EACH_CODEC(c) {
		struct swap_pool *pool = create(codecs[c], 0, NR_PAGE_KINDS, 0);

		for (unsigned long i = 1; i <= NR_PAGE_KINDS; i++) {
			struct slot *s = &pool->slots[i];
			char *bytes;
			uint32_t len;

			assert_int_equal(store(pool, i, (enum page_kind)(i - 1), i), 0);
			len = SLOT_LEN(s->state);
			bytes = len ? zpool_data(&pool->zpool, (struct zobj){ s->block, SLOT_INDEX(s->state) }) : NULL;
			for (uint32_t at = 0; at < len + sizeof(s->hash); at++) {
				char *b = at < len ? &bytes[at] : (char *)s->hash + (at - len);
				char was = *b;
				int ret;

				*b = (char)(was ^ (1 << at % 8));
				ret = swap_pool_ops.load(pool, i, back);
				assert_true(ret == -EIO || (ret == 0 && at < len && !memcmp(back, page, PAGE)));
				*b = was;
			}
			assert_holds(pool, i, (enum page_kind)(i - 1), i);
		}
		swap_pool_destroy(pool);
	}
}

/* Two same-filled slots whose entries were exchanged: each entry is true in itself, but not of its slot. */
static void test_exchanged_entries(void **state)
{
	struct swap_pool *pool = create(SWAP_LZ4, 0, 10, 0);
	struct slot t;

	assert_int_equal(store(pool, 1, PAGE_FILLED, 1), 0);
	assert_int_equal(store(pool, 2, PAGE_FILLED, 2), 0);
	t = pool->slots[1];
	pool->slots[1] = pool->slots[2];
	pool->slots[2] = t;
	assert_int_equal(swap_pool_ops.load(pool, 1, back), -EIO);
	assert_int_equal(swap_pool_ops.load(pool, 2, back), -EIO);
	swap_pool_destroy(pool);
}

static void test_fork(void **state)
{
	FOR_EACH_CODEC(c) {
		struct swap_pool *pool = create(codecs[c], 0, 1000, 0);
		int status;
		pid_t pid;

		for (unsigned long i = 1; i <= 700; i++)
			assert_int_equal(store(pool, i, i % NR_PAGE_KINDS, i), 0);
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			for (unsigned long i = 1; i <= 700; i++) {
				page_make(page, i % NR_PAGE_KINDS, i);
				if (swap_pool_ops.load(pool, i, back) || memcmp(back, page, PAGE))
					_exit(1);
				if (i % 2)
					swap_pool_ops.free(pool, i);
				else if (store(pool, i, PAGE_TEXT, i + 1000) < 0)
					_exit(2);
			}
			while (swap_pool_compact(pool))
				;
			swap_check(pool);
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
		for (unsigned long i = 1; i <= 700; i++)
			assert_holds(pool, i, i % NR_PAGE_KINDS, i);
		swap_check(pool);
		swap_pool_destroy(pool);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_store_and_load),
		cmocka_unit_test(test_overwrite),
		cmocka_unit_test(test_overwrite_in_place),
		cmocka_unit_test(test_zstd_levels),
		cmocka_unit_test(test_lz4_acceleration),
		cmocka_unit_test(test_bad_parameters),
		cmocka_unit_test(test_slots_that_do_not_exist),
		cmocka_unit_test(test_largest),
		cmocka_unit_test(test_memory_is_what_is_said),
		cmocka_unit_test(test_owners_of_raw_pages),
		cmocka_unit_test(test_compaction_gives_back),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_reserve_yields),
		cmocka_unit_test(test_limit_takes_reserve),
		cmocka_unit_test(test_unchanged_is_the_whole_hash),
		cmocka_unit_test(test_larger_class),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_damage_anywhere),
		cmocka_unit_test(test_exchanged_entries),
		cmocka_unit_test(test_fork),
	};

	return cmocka_run_group_tests_name("swap_pool", tests, NULL, NULL);
}
