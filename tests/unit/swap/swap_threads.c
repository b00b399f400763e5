/* SPDX-License-Identifier: MIT
 *
 * swap_threads.c - threads over slots of their own, and one that does nothing but compact, move the limit and read
 * the numbers. Built a second time under the thread sanitizer, where the compiler has it.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/swap/swap_check.h"
#include "tests/unit/swap/swap_pages.h"

#define THREADS 3
#define SLOTS   400 /* of each */
#define STEPS   6000

static struct swap_pool *pool;
static _Atomic int running;
static _Atomic bool limited;

struct worker {
	pthread_t thread;
	unsigned long number, wrong, refused;
	uint64_t held[SLOTS]; /* 0: nothing, else what page_make() was given, + 1 */
};

static enum page_kind kind_of(uint64_t number)
{
	return (enum page_kind)(number % NR_PAGE_KINDS);
}

/* Slots of different threads are neighbours, so that they share lines and objects of one block. */
static unsigned long slot_of(const struct worker *w, unsigned long i)
{
	return i * THREADS + w->number + 1;
}

static void verify(struct worker *w, unsigned long i)
{
	unsigned char page[PAGE] __attribute__((aligned(64))), back[PAGE] __attribute__((aligned(64)));

	if (!w->held[i])
		return;
	page_make(page, kind_of(w->held[i] - 1), w->held[i] - 1);
	w->wrong += swap_pool_ops.load(pool, slot_of(w, i), back) != 0 || memcmp(page, back, PAGE) != 0;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	uint64_t rnd = w->number + 1;
	unsigned char page[PAGE] __attribute__((aligned(64)));

	for (unsigned long s = 0; s < STEPS; s++) {
		unsigned long i = random_next(&rnd) % SLOTS;
		uint64_t what = random_next(&rnd) % 10, number = random_next(&rnd) % 100;

		if (what < 5) {
			int ret;

			page_make(page, kind_of(number), number);
			ret = swap_pool_ops.store(pool, slot_of(w, i), page);
			w->wrong += ret == 1 && kind_of(number) && w->held[i] != number + 1;
			w->wrong += ret < 0 && !limited;
			w->refused += ret < 0;
			w->held[i] = ret < 0 ? 0 : number + 1;
		} else if (what < 8) {
			verify(w, i);
		} else {
			swap_pool_ops.free(pool, slot_of(w, i));
			w->held[i] = 0;
		}
	}
	for (unsigned long i = 0; i < SLOTS; i++)
		verify(w, i);
	running--;
	return NULL;
}

static void run(enum swap_codec codec, bool limit)
{
	struct swap_pool_params q = { .codec = codec, .nr_slots = THREADS * SLOTS };
	struct worker *w = calloc(THREADS, sizeof(*w));
	struct swap_pool_stats s;
	int err;

	pool = swap_pool_create(&q, &err);
	assert_non_null(pool);
	running = THREADS;
	limited = limit;
	for (unsigned long t = 0; t < THREADS; t++) {
		w[t].number = t;
		assert_int_equal(pthread_create(&w[t].thread, NULL, work, &w[t]), 0);
	}
	for (unsigned long i = 0; running; i++) {
		swap_pool_compact(pool);
		swap_pool_stats(pool, &s);
		if (limit)
			swap_pool_set_limit(pool, i % 2 ? 600 << 10 : 1 << 20);
	}
	for (unsigned long t = 0; t < THREADS; t++) {
		pthread_join(w[t].thread, NULL);
		assert_int_equal(w[t].wrong, 0);
	}
	swap_check(pool);
	swap_pool_stats(pool, &s);
	assert_int_equal(s.damaged, 0);
	assert_true(limit || s.moved_objects > 0); /* within a limit blocks are full, and there may be nothing to move */
	swap_pool_destroy(pool);
	free(w);
}

static void test_lz4(void **state)
{
	run(SWAP_LZ4, false);
}

static void test_zstd(void **state)
{
	run(SWAP_ZSTD, false);
}

static void test_none_limited(void **state)
{
	run(SWAP_NONE, true);
}

static void test_lz4_limited(void **state)
{
	run(SWAP_LZ4, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_lz4), cmocka_unit_test(test_zstd),
					    cmocka_unit_test(test_none_limited), cmocka_unit_test(test_lz4_limited) };

	return cmocka_run_group_tests_name("swap_threads", tests, NULL, NULL);
}
