/* SPDX-License-Identifier: MIT
 *
 * swap_mail.c - the pool with a mailbox: a compressor that works, one that never answers, one that answers nonsense, one
 * that answers late, one that reads nonsense; and that no page is ever without room.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "mm/errno.h"
#include "tests/unit/swap/swap_check.h"
#include "tests/unit/swap/swap_pages.h"

#define NR 64u

static unsigned char page[PAGE] __attribute__((aligned(PAGE))), back[PAGE] __attribute__((aligned(PAGE)));

struct rig {
	struct swap_pool *pool;
	struct mailbox *box;
	pthread_t thread;
	atomic_bool stop;
	enum swap_codec codec;
};

static void *compress(void *arg)
{
	struct rig *r = arg;

	return (void *)(intptr_t)mailbox_compress(r->box, NR, r->codec, 0, &r->stop);
}

static void rig_up(struct rig *r, enum swap_codec codec, size_t limit)
{
	struct swap_pool_params q = { .codec = codec, .nr_slots = 2000, .limit = limit };
	int err;

	memset(r, 0, sizeof(*r));
	r->codec = codec;
	r->pool = swap_pool_create(&q, &err);
	assert_non_null(r->pool);
	r->box = mmap(NULL, mailbox_bytes(NR), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(r->box, MAP_FAILED);
	assert_int_equal(swap_pool_attach_mailbox(r->pool, r->box, NR), 0);
}

static void worker_start(struct rig *r)
{
	atomic_store(&r->stop, false);
	assert_int_equal(pthread_create(&r->thread, NULL, compress, r), 0);
}

static void worker_stop(struct rig *r)
{
	void *ret;

	atomic_store(&r->stop, true);
	mailbox_wake(r->box);
	assert_int_equal(pthread_join(r->thread, &ret), 0);
	assert_null(ret);
}

static void rig_down(struct rig *r)
{
	swap_pool_destroy(r->pool);
	munmap(r->box, mailbox_bytes(NR));
}

static int store(struct rig *r, unsigned long slot, enum page_kind kind, uint64_t number)
{
	page_make(page, kind, number);
	return swap_pool_ops.store(r->pool, slot, page);
}

static void assert_holds(struct rig *r, unsigned long slot, enum page_kind kind, uint64_t number)
{
	page_make(page, kind, number);
	assert_int_equal(swap_pool_ops.load(r->pool, slot, back), 0);
	assert_memory_equal(back, page, PAGE);
}

static uint32_t pending(const struct rig *r)
{
	return atomic_load(&r->pool->mail.pending);
}

static void test_works(void **state)
{
	for (int codec = SWAP_LZ4; codec <= SWAP_ZSTD; codec++) {
		struct swap_pool_stats s;
		struct rig r;

		rig_up(&r, (enum swap_codec)codec, 0);
		worker_start(&r);
		for (unsigned long i = 1; i <= 1400; i++) {
			assert_int_equal(store(&r, i, i % NR_PAGE_KINDS, i), 0);
			assert_int_equal(store(&r, i, i % NR_PAGE_KINDS, i), 1); /* pending or not */
			assert_holds(&r, i / 2 + 1, (i / 2 + 1) % NR_PAGE_KINDS, i / 2 + 1);
			if (i % 100 == 0)
				swap_check(r.pool);
		}
		assert_int_equal(swap_pool_drain(r.pool), 0);
		assert_int_equal(pending(&r), 0);
		swap_pool_stats(r.pool, &s);
		assert_int_equal(s.slots_used, 1400);
		assert_int_equal(s.incompressible, 200);
		assert_true(r.pool->mail.head > 0);
		worker_stop(&r);
		for (unsigned long i = 1; i <= 1400; i++)
			assert_holds(&r, i, i % NR_PAGE_KINDS, i);
		swap_check(r.pool);
		rig_down(&r);
	}
}

/* The mailbox fills up, the rest is compressed here; what is in it can be read, changed, freed, damaged and drained. */
static void test_never_answers(void **state)
{
	struct rig r;
	struct swap_pool_stats s;

	rig_up(&r, SWAP_LZ4, 0);
	for (unsigned long i = 1; i <= 200; i++)
		assert_int_equal(store(&r, i, PAGE_TEXT, i), 0);
	assert_int_equal(pending(&r), NR);
	swap_pool_stats(r.pool, &s);
	assert_int_equal(s.slots_used, 200);
	assert_true(s.bytes_stored > NR * PAGE && s.bytes_pool >= NR * PAGE);
	for (unsigned long i = 1; i <= 200; i++)
		assert_holds(&r, i, PAGE_TEXT, i);
	swap_pool_ops.free(r.pool, 1);
	assert_int_equal(swap_pool_ops.load(r.pool, 1, back), -EIO);
	assert_int_equal(store(&r, 2, PAGE_ZERO, 0), 0);
	assert_int_equal(store(&r, 3, PAGE_TEXT, 1003), 0);
	assert_holds(&r, 3, PAGE_TEXT, 1003);
	assert_int_equal(swap_pool_damage(r.pool, 4), 0);
	assert_int_equal(swap_pool_ops.load(r.pool, 4, back), -EIO);
	assert_int_equal(swap_pool_attach_mailbox(r.pool, NULL, 0), -EBUSY);
	swap_check(r.pool);
	assert_int_equal(swap_pool_drain(r.pool), 0);
	assert_int_equal(pending(&r), 0);
	assert_int_equal(swap_pool_attach_mailbox(r.pool, NULL, 0), 0);
	for (unsigned long i = 5; i <= 200; i++)
		assert_holds(&r, i, PAGE_TEXT, i);
	swap_check(r.pool);
	rig_down(&r);
}

/* There is no processor for the compressor: what comes is compressed here, and what is in the mailbox is still to be had; later it is used again. */
static void test_no_processor(void **state)
{
	struct rig r;

	rig_up(&r, SWAP_LZ4, 0);
	assert_int_equal(store(&r, 1, PAGE_TEXT, 1), 0);
	assert_int_equal(pending(&r), 1);
	swap_pool_use_mailbox(r.pool, false);
	for (unsigned long i = 2; i <= 20; i++)
		assert_int_equal(store(&r, i, PAGE_TEXT, i), 0);
	assert_int_equal(store(&r, 1, PAGE_TEXT, 1), 1);
	assert_int_equal(pending(&r), 1);
	assert_int_equal(store(&r, 1, PAGE_TEXT, 1001), 0); /* another page: its place in the mailbox is free */
	assert_int_equal(pending(&r), 0);
	swap_pool_use_mailbox(r.pool, true);
	assert_int_equal(store(&r, 21, PAGE_TEXT, 21), 0);
	assert_int_equal(pending(&r), 1);
	assert_holds(&r, 1, PAGE_TEXT, 1001);
	for (unsigned long i = 2; i <= 21; i++)
		assert_holds(&r, i, PAGE_TEXT, i);
	swap_check(r.pool);
	rig_down(&r);
}

/* It took pages, and the pool went on without it; what it says afterwards concerns nobody, and the entries come back. */
static void test_answers_late(void **state)
{
	struct rig r;

	rig_up(&r, SWAP_LZ4, 0);
	for (unsigned long i = 1; i <= NR; i++)
		assert_int_equal(store(&r, i, PAGE_TEXT, i), 0);
	for (unsigned i = 0; i < NR; i += 2)
		atomic_store(&r.box->line[i].state, MAIL_BUSY);
	swap_pool_ops.free(r.pool, 1);
	assert_int_equal(swap_pool_drain(r.pool), 0);
	for (unsigned long i = 100; i < 200; i++) /* the first entry is still away: no room */
		assert_int_equal(store(&r, i, PAGE_TEXT, i), 0);
	assert_int_equal(pending(&r), 0);
	for (unsigned i = 0; i < NR; i += 2) {
		memset(r.box->bytes[i].out, 0xee, PAGE);
		atomic_store(&r.box->line[i].length, 100);
		atomic_store(&r.box->line[i].state, MAIL_DONE);
	}
	for (unsigned long i = 200; i < 400; i++)
		assert_int_equal(store(&r, i, PAGE_TEXT, i), 0);
	assert_int_equal(pending(&r), NR);
	for (unsigned long i = 2; i < 400; i++)
		if (i <= NR || i >= 100)
			assert_holds(&r, i, PAGE_TEXT, i);
	swap_check(r.pool);
	rig_down(&r);
}

static void test_answers_nonsense(void **state)
{
	static const uint32_t lengths[] = { 0, 1, ZPACKED_MAX, ZPACKED_MAX + 1, PAGE, PAGE + 1, 0x80000000u, UINT32_MAX };
	struct rig r;

	rig_up(&r, SWAP_LZ4, 0);
	for (unsigned long i = 1; i <= 8; i++)
		assert_int_equal(store(&r, i, PAGE_TEXT, i), 0);
	for (unsigned i = 0; i < 8; i++) {
		memset(r.box->bytes[i].out, (int)i + 1, PAGE);
		atomic_store(&r.box->line[i].length, lengths[i]);
		atomic_store(&r.box->line[i].state, MAIL_DONE);
	}
	assert_int_equal(swap_pool_drain(r.pool), 0);
	for (unsigned long i = 1; i <= 8; i++) {
		if (i == 2 || i == 3) /* a length that could be: the checksum tells */
			assert_int_equal(swap_pool_ops.load(r.pool, i, back), -EIO);
		else
			assert_holds(&r, i, PAGE_TEXT, i);
	}
	for (unsigned i = 0; i < NR; i++)
		atomic_store(&r.box->line[i].state, 77); /* no state at all */
	for (unsigned long i = 20; i < 200; i++)
		assert_int_equal(store(&r, i, PAGE_TEXT, i), 0);
	for (unsigned long i = 20; i < 200; i++)
		assert_holds(&r, i, PAGE_TEXT, i);
	swap_check(r.pool);
	rig_down(&r);
}

/* The program's side scribbles over everything: the compressor works on and ends when it is told to. */
static void test_compressor_reads_nonsense(void **state)
{
	uint64_t rnd = 7;
	struct rig r;

	rig_up(&r, SWAP_ZSTD, 0);
	worker_start(&r);
	for (int i = 0; i < 20000; i++) {
		unsigned e = random_next(&rnd) % NR;

		fill_noise(r.box->bytes[e].in + random_next(&rnd) % 4000, 64, &rnd);
		atomic_store(&r.box->line[e].state, random_next(&rnd) % 5);
		atomic_store(&r.box->line[e].length, (uint32_t)random_next(&rnd));
		atomic_store(&r.box->cpu, (uint32_t)random_next(&rnd));
		atomic_store(&r.box->head, (uint32_t)random_next(&rnd));
	}
	worker_stop(&r);
	rig_down(&r);
}

/* Whatever was accepted finds room under the limit, and what is refused is refused only when there is none. */
static void test_limit(void **state)
{
	for (size_t pages = 8; pages <= 600; pages += 37) {
		struct swap_pool_stats s;
		unsigned long held = 0;
		struct rig r;

		rig_up(&r, SWAP_LZ4, pages * PAGE);
		worker_start(&r);
		for (unsigned long i = 1; i <= 1000; i++) {
			int ret = store(&r, i, i % 3 ? PAGE_TEXT : i % 2 ? PAGE_NOISE : PAGE_NUMBERS, i);

			assert_true(ret == 0 || ret == -ENOSPC);
			held += ret == 0;
			swap_pool_stats(r.pool, &s);
			assert_true(s.bytes_pool <= pages * PAGE);
			assert_int_equal(s.slots_used, held);
		}
		mail_drain(r.pool);
		assert_int_equal(pending(&r), 0);
		assert_int_equal(r.pool->zpool.promised, 0);
		worker_stop(&r);
		swap_check(r.pool);
		rig_down(&r);
	}
}

/* Lowered below what was promised: pages stay in the mailbox; a drain before a fork still gets them out. */
static void test_limit_lowered(void **state)
{
	struct rig r;

	rig_up(&r, SWAP_LZ4, 1000 * PAGE);
	for (unsigned long i = 1; i <= NR; i++)
		assert_int_equal(store(&r, i, PAGE_NOISE, i), 0);
	swap_pool_set_limit(r.pool, PAGE);
	assert_int_equal(store(&r, 100, PAGE_TEXT, 100), -ENOSPC);
	assert_int_equal(pending(&r), NR);
	for (unsigned long i = 1; i <= NR; i++)
		assert_holds(&r, i, PAGE_NOISE, i);
	assert_int_equal(swap_pool_drain(r.pool), 0);
	assert_int_equal(pending(&r), 0);
	assert_int_equal(r.pool->zpool.promised, 0);
	assert_int_equal(r.pool->zpool.limit, PAGE);
	for (unsigned long i = 1; i <= NR; i++)
		assert_holds(&r, i, PAGE_NOISE, i);
	swap_check(r.pool);
	rig_down(&r);
}

static void test_fork(void **state)
{
	struct rig r;
	int status;
	pid_t pid;

	rig_up(&r, SWAP_LZ4, 0);
	worker_start(&r);
	for (unsigned long i = 1; i <= 300; i++)
		assert_int_equal(store(&r, i, PAGE_TEXT, i), 0);
	assert_int_equal(swap_pool_drain(r.pool), 0);
	pid = fork();
	if (pid == 0) {
		assert_int_equal(swap_pool_attach_mailbox(r.pool, NULL, 0), 0);
		for (unsigned long i = 301; i <= 600; i++)
			assert_int_equal(store(&r, i, PAGE_TEXT, i), 0);
		for (unsigned long i = 1; i <= 600; i++)
			assert_holds(&r, i, PAGE_TEXT, i);
		_exit(0);
	}
	for (unsigned long i = 301; i <= 600; i++)
		assert_int_equal(store(&r, i, PAGE_TEXT, 5000 + i), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	for (unsigned long i = 301; i <= 600; i++)
		assert_holds(&r, i, PAGE_TEXT, 5000 + i);
	worker_stop(&r);
	rig_down(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_works),           cmocka_unit_test(test_never_answers),
		cmocka_unit_test(test_no_processor),
		cmocka_unit_test(test_answers_late),    cmocka_unit_test(test_answers_nonsense),
		cmocka_unit_test(test_compressor_reads_nonsense),
		cmocka_unit_test(test_limit),           cmocka_unit_test(test_limit_lowered),
		cmocka_unit_test(test_fork),
	};

	return cmocka_run_group_tests_name("swap_mail", tests, NULL, NULL);
}
