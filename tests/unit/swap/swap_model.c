/* SPDX-License-Identifier: MIT
 *
 * swap_model.c - random calls against a plain array that knows what each slot must hold; the pool is checked from
 * inside on the way.
 *
 *   swap_model [SEED [STEPS]]
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "mm/errno.h"
#include "tests/unit/swap/swap_check.h"
#include "tests/unit/swap/swap_pages.h"
#include "tests/unit/swap/swap_spill.h"

#define SLOTS 600

static uint64_t seed = 1;
static unsigned long steps = 30000;

struct model {
	struct swap_pool *pool;
	uint64_t rnd;
	struct {
		bool held;
		enum page_kind kind;
		uint64_t number;
	} slot[SLOTS + 1];
	size_t limit;
	bool limit_lowered;      /* since the pool was last within it */
	struct mailbox *box;
	atomic_bool stop;
	enum swap_codec codec;
};

static unsigned char page[PAGE] __attribute__((aligned(PAGE))), back[PAGE] __attribute__((aligned(PAGE)));

static void do_store(struct model *m, unsigned long i)
{
	enum page_kind kind = (enum page_kind)(random_next(&m->rnd) % NR_PAGE_KINDS);
	uint64_t number = random_next(&m->rnd) % 4; /* few, so that the same bytes come again */
	bool same = m->slot[i].held && m->slot[i].kind == kind && (m->slot[i].number == number || kind == PAGE_ZERO);
	int ret;

	page_make(page, kind, number);
	ret = swap_pool_ops.store(m->pool, i, page);
	if (ret == -ENOSPC) {
		assert_true(m->limit && !same && kind != PAGE_ZERO && kind != PAGE_FILLED);
		m->slot[i].held = false;
		return;
	}
	assert_int_equal(ret, same);
	m->slot[i].held = true;
	m->slot[i].kind = kind;
	m->slot[i].number = number;
}

static void do_load(struct model *m, unsigned long i)
{
	if (!m->slot[i].held) {
		assert_int_equal(swap_pool_ops.load(m->pool, i, back), -EIO);
		return;
	}
	page_make(page, m->slot[i].kind, m->slot[i].number);
	assert_int_equal(swap_pool_ops.load(m->pool, i, back), 0);
	assert_memory_equal(back, page, PAGE);
}

static void do_free(struct model *m, unsigned long i)
{
	swap_pool_ops.free(m->pool, i);
	m->slot[i].held = false;
}

static void do_limit(struct model *m)
{
	m->limit = random_next(&m->rnd) % 4 ? (random_next(&m->rnd) % 400 + 1) * PAGE : 0;
	swap_pool_set_limit(m->pool, m->limit);
	m->limit_lowered = true;
}

static void check(struct model *m)
{
	struct swap_pool_stats s;
	uint64_t held = 0;

	swap_check(m->pool);
	swap_pool_stats(m->pool, &s);
	for (unsigned long i = 1; i <= SLOTS; i++)
		held += m->slot[i].held;
	assert_int_equal(s.slots_used, held);
	if (!m->limit || s.bytes_pool <= m->limit)
		m->limit_lowered = false;
	assert_true(!m->limit || m->limit_lowered || s.bytes_pool <= m->limit);
	assert_int_equal(s.damaged, 0);
}

static void step(struct model *m)
{
	uint64_t r = random_next(&m->rnd) % 1000;
	unsigned long i = random_next(&m->rnd) % SLOTS + 1;

	if (r < 450) {
		do_store(m, i);
	} else if (r < 750) {
		do_load(m, i);
	} else if (r < 980) {
		do_free(m, i);
	} else if (r < 985) {
		swap_pool_compact(m->pool);
	} else if (r < 990) {
		swap_pool_spill(m->pool, r % 2);
	} else if (r < 996) {
		do_limit(m);
	} else {
		for (unsigned long k = 0; k < SLOTS; k++) /* a program ends: blocks empty in numbers */
			if (random_next(&m->rnd) % 4)
				do_free(m, k + 1);
	}
}

static void *compress(void *arg)
{
	struct model *m = arg;

	mailbox_compress(m->box, MAILBOX_MAX, m->codec, 0, &m->stop);
	return NULL;
}

/* A compressor in a thread of its own: its timing is not in the seed, what the pool must say is. */
static pthread_t with_mailbox(struct model *m, enum swap_codec codec)
{
	pthread_t thread;

	m->codec = codec;
	m->box = mmap(NULL, mailbox_bytes(MAILBOX_MAX), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(m->box, MAP_FAILED);
	assert_int_equal(swap_pool_attach_mailbox(m->pool, m->box, MAILBOX_MAX), 0);
	assert_int_equal(pthread_create(&thread, NULL, compress, m), 0);
	return thread;
}

/* file: bytes of the swap file, the smallest there is among them; 0: none */
static void run(enum swap_codec codec, bool mailbox, uint64_t file)
{
	struct spilled t = { .params = { .codec = codec, .nr_slots = SLOTS, .file = { .bytes = file, .no_ring = mailbox } } };
	struct model *m = calloc(1, sizeof(*m));
	pthread_t thread = 0;
	int err;

	m->rnd = seed + (uint64_t)codec;
	if (file)
		spilled_open(&t);
	else
		t.pool = swap_pool_create(&t.params, &err);
	m->pool = t.pool;
	assert_non_null(m->pool);
	if (mailbox)
		thread = with_mailbox(m, codec);
	for (unsigned long i = 0; i < steps; i++) {
		step(m);
		if (i % 25 == 0)
			check(m);
	}
	for (unsigned long i = 1; i <= SLOTS; i++)
		do_load(m, i);
	check(m);
	if (mailbox) {
		assert_int_equal(swap_pool_drain(m->pool), 0);
		check(m);
		atomic_store(&m->stop, true);
		mailbox_wake(m->box);
		pthread_join(thread, NULL);
		munmap(m->box, mailbox_bytes(MAILBOX_MAX));
	}
	if (file)
		spilled_close(&t);
	else
		swap_pool_destroy(m->pool);
	free(m);
}

static void test_lz4(void **state)
{
	run(SWAP_LZ4, false, 0);
}

static void test_zstd(void **state)
{
	run(SWAP_ZSTD, false, 0);
}

static void test_none(void **state)
{
	run(SWAP_NONE, false, 0);
}

static void test_lz4_mailbox(void **state)
{
	run(SWAP_LZ4, true, 0);
}

static void test_zstd_mailbox(void **state)
{
	run(SWAP_ZSTD, true, 0);
}

static void test_file(void **state)
{
	run(SWAP_LZ4, false, SWAP_FILE_LEAST);
	run(SWAP_NONE, false, 2 * SWAP_FILE_LEAST);
}

static void test_file_mailbox(void **state)
{
	run(SWAP_LZ4, true, SWAP_FILE_LEAST);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_lz4), cmocka_unit_test(test_zstd),
					    cmocka_unit_test(test_none), cmocka_unit_test(test_lz4_mailbox),
					    cmocka_unit_test(test_zstd_mailbox),
					    cmocka_unit_test(test_file), cmocka_unit_test(test_file_mailbox) };

	if (argc > 1)
		seed = strtoull(argv[1], NULL, 0);
	if (argc > 2)
		steps = strtoul(argv[2], NULL, 0);
	print_message("seed %lu, %lu steps\n", (unsigned long)seed, steps);
	return cmocka_run_group_tests_name("swap_model", tests, NULL, NULL);
}
