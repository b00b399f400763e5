/* SPDX-License-Identifier: MIT
 *
 * swap_spill.c - pages that go from the pool to a file and come back: order, room, trouble, forks, and what an onlooker sees.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "mm/errno.h"
#include "tests/unit/swap/swap_check.h"
#include "tests/unit/swap/swap_pages.h"
#include "tests/unit/swap/swap_spill.h"

#define M (1UL << 20)

static unsigned char page[PAGE] __attribute__((aligned(PAGE))), back[PAGE] __attribute__((aligned(PAGE)));

static struct spilled fresh(unsigned long slots, uint64_t bytes, enum swap_codec codec)
{
	struct spilled t = { .params = { .codec = codec, .nr_slots = slots, .file = { .bytes = bytes, .memory = 2 * M } } };

	spilled_open(&t);
	return t;
}

static void store(struct spilled *t, unsigned long slot, enum page_kind kind, uint64_t number)
{
	page_make(page, kind, number);
	assert_int_equal(swap_pool_ops.store(t->pool, slot, page), 0);
}

static void right(struct spilled *t, unsigned long slot, enum page_kind kind, uint64_t number)
{
	page_make(page, kind, number);
	assert_int_equal(swap_pool_ops.load(t->pool, slot, back), 0);
	assert_memory_equal(back, page, PAGE);
}

static enum page_kind kind_of(unsigned long slot)
{
	static const enum page_kind kinds[] = { PAGE_NOISE, PAGE_HALF, PAGE_TEXT, PAGE_NUMBERS, PAGE_SPARSE };

	return kinds[slot % 5];
}

static void store_many(struct spilled *t, unsigned long from, unsigned long to)
{
	for (unsigned long i = from; i <= to; i++)
		store(t, i, kind_of(i), i);
}

static void right_many(struct spilled *t, unsigned long from, unsigned long to)
{
	for (unsigned long i = from; i <= to; i++)
		right(t, i, kind_of(i), i);
}

static void spill_all(struct spilled *t)
{
	while (swap_pool_spill(t->pool, true) > 0)
		;
	swap_check(t->pool);
}

static bool is_filed(const struct spilled *t, unsigned long slot)
{
	return SLOT_KIND(t->pool->slots[slot].state) == SLOT_FILED;
}

/* RFC 8439, 2.3.2, by way of libcrypto's routine as we call it: key 00..1f, nonce 000000090000004a00000000, block 1. */
static void test_cipher_vector(void **state)
{
	static const unsigned char expect[16] = { 0x10, 0xf1, 0xe7, 0xe4, 0xd1, 0x3b, 0x59, 0x15, 0x50, 0x0f, 0xdd, 0x1f, 0xa3, 0x20, 0x71, 0xc4 };
	unsigned char block[64] = { 0 };
	struct cipher c;

	for (int i = 0; i < 32; i++)
		((unsigned char *)c.key)[i] = (unsigned char)i;
	cipher_apply(&c, 0x4a00000009000000u, 64, block, sizeof(block));
	assert_memory_equal(block, expect, sizeof(expect));
	cipher_apply(&c, 0x4a00000009000000u, 64, block, sizeof(block));
	for (size_t i = 0; i < sizeof(block); i++)
		assert_int_equal(block[i], 0);
}

static void there_and_back(enum swap_codec codec, bool plain, bool no_ring)
{
	struct spilled t = { .params = { .codec = codec, .nr_slots = 3000,
					 .file = { .bytes = 32 * M, .memory = 2 * M, .plain = plain, .no_ring = no_ring } } };
	struct swap_pool_stats s;

	spilled_open(&t);
	store_many(&t, 1, 3000);
	swap_check(t.pool);
	right_many(&t, 1, 3000);
	spill_all(&t);
	swap_pool_stats(t.pool, &s);
	assert_int_equal(s.file_pages, 3000);
	assert_int_equal(s.bytes_stored, 0);
	assert_true(no_ring ? !s.file_ring : true);
	right_many(&t, 1, 3000);
	swap_pool_settle(t.pool);
	for (unsigned long i = 3000; i; i--)
		right(&t, i, kind_of(i), i);
	swap_pool_stats(t.pool, &s);
	assert_int_equal(s.file_read_errors + s.file_write_errors + s.damaged, 0);
	for (unsigned long i = 1; i <= 3000; i++)
		swap_pool_ops.free(t.pool, i);
	swap_check(t.pool);
	swap_pool_stats(t.pool, &s);
	assert_int_equal(s.file_pages + s.file_bytes + s.slots_used, 0);
	spilled_close(&t);
}

static void test_there_and_back(void **state)
{
	there_and_back(SWAP_LZ4, false, false);
	there_and_back(SWAP_LZ4, true, false);
	there_and_back(SWAP_ZSTD, false, false);
	there_and_back(SWAP_NONE, false, true);
	there_and_back(SWAP_LZ4, true, true);
}

static void test_unchanged_stays_in_the_file(void **state)
{
	struct spilled t = fresh(100, 4 * M, SWAP_LZ4);

	store_many(&t, 1, 100);
	spill_all(&t);
	for (unsigned long i = 1; i <= 100; i++) {
		page_make(page, kind_of(i), i);
		assert_int_equal(swap_pool_ops.store(t.pool, i, page), 1);
		assert_true(is_filed(&t, i));
	}
	store(&t, 7, PAGE_NOISE, 12345);
	assert_false(is_filed(&t, 7));
	swap_check(t.pool);
	right(&t, 7, PAGE_NOISE, 12345);
	spilled_close(&t);
}

/* The oldest first, and what was used since the hand passed not at all in this round. */
static void test_oldest_first(void **state)
{
	struct spilled t = fresh(1000, 32 * M, SWAP_LZ4);

	for (unsigned long i = 1; i <= 1000; i++)
		store(&t, i, PAGE_NOISE, i);
	for (unsigned long i = 1; i <= 20; i++)
		right(&t, i, PAGE_NOISE, i);
	assert_true(swap_pool_spill(t.pool, true) > 0);
	for (unsigned long i = 1; i <= 1000; i++)
		assert_int_equal(is_filed(&t, i), i > 20 && i <= 20 + 63); /* 63 pages and their owners fill a segment */
	spill_all(&t);
	assert_true(is_filed(&t, 1));
	spilled_close(&t);
}

/* Nothing that was stored may be seen in the file. */
static bool file_shows(const struct spilled *t, const unsigned char *bytes)
{
	static unsigned char buf[PAGE * 2];
	bool shows = false;
	off_t end = lseek(t->fd, 0, SEEK_END);

	for (off_t at = 0; at < end && !shows; at += PAGE) {
		ssize_t n = pread(t->fd, buf, sizeof(buf), at);

		shows = n > 0 && memmem(buf, (size_t)n, bytes, 32) != NULL;
	}
	return shows;
}

static void test_secret(void **state)
{
	for (int plain = 0; plain < 2; plain++) {
		struct spilled t = { .params = { .codec = SWAP_NONE, .nr_slots = 200, .file = { .bytes = 4 * M, .memory = 2 * M, .plain = (uint32_t)plain } } };

		spilled_open(&t);
		for (unsigned long i = 1; i <= 200; i++)
			store(&t, i, PAGE_TEXT, i);
		spill_all(&t);
		swap_pool_settle(t.pool);
		page_make(page, PAGE_TEXT, 100);
		assert_int_equal(file_shows(&t, page + 1000), plain);
		spilled_close(&t);
	}
}

/* A stream is read with its neighbours, up and down; a page here and there alone. */
static void test_neighbours(void **state)
{
	struct spilled t = fresh(1200, 32 * M, SWAP_LZ4);
	struct swap_pool_stats a, b;
	uint64_t rnd = 5;

	for (unsigned long i = 1; i <= 1200; i++)
		store(&t, i, PAGE_NOISE, i);
	spill_all(&t);
	swap_pool_settle(t.pool);
	for (unsigned long i = 1; i <= 1200; i++)
		right(&t, i, PAGE_NOISE, i);
	swap_pool_stats(t.pool, &a);
	assert_true(t.pool->spill->io.reads < 1200 / 16);
	assert_true(a.file_bytes_in < 1200 * PAGE + 64 * SWAP_FILE_SEGMENT / 16);
	for (unsigned long i = 1200; i; i--)
		right(&t, i, PAGE_NOISE, i);
	assert_true(t.pool->spill->io.reads < 2 * 1200 / 16);
	swap_pool_stats(t.pool, &a);
	for (int n = 0; n < 200; n++) {
		unsigned long i = random_next(&rnd) % 1200 + 1;

		right(&t, i, PAGE_NOISE, i);
	}
	swap_pool_stats(t.pool, &b);
	assert_true(b.file_bytes_in - a.file_bytes_in < 200 * 3 * PAGE);
	spilled_close(&t);
}

/* Twice as much goes through the file as it has room for, because most of it is not needed any more. */
static void test_room_comes_back(void **state)
{
	struct spilled t = fresh(4000, 4 * M, SWAP_LZ4);
	struct swap_pool_stats s;

	for (unsigned long round = 0; round < 8; round++) {
		for (unsigned long i = 1; i <= 500; i++)
			store(&t, round * 500 + i, PAGE_NOISE, i);
		while (swap_pool_spill(t.pool, true) > 0)
			;
		swap_check(t.pool);
		/* Three of four go, so that no segment is empty. */
		for (unsigned long i = 1; i <= 500; i++)
			if (i % 4)
				swap_pool_ops.free(t.pool, round * 500 + i);
		swap_check(t.pool);
	}
	for (unsigned long i = 4; i <= 4000; i += 4)
		right(&t, i, PAGE_NOISE, (i - 1) % 500 + 1);
	swap_pool_stats(t.pool, &s);
	assert_true(s.file_cleaned > 0);
	assert_true(s.file_bytes_peak <= 4 * M);
	spilled_close(&t);
}

static void test_full(void **state)
{
	struct spilled t = fresh(2000, SWAP_FILE_LEAST, SWAP_LZ4);
	struct swap_pool_stats s;
	long ret;

	for (unsigned long i = 1; i <= 2000; i++)
		store(&t, i, PAGE_NOISE, i);
	while ((ret = swap_pool_spill(t.pool, true)) > 0)
		;
	assert_int_equal(ret, -ENOSPC);
	swap_check(t.pool);
	swap_pool_stats(t.pool, &s);
	assert_true(s.file_pages >= 5 * 63 && s.file_pages < 8 * 63);
	for (unsigned long i = 1; i <= 2000; i++)
		right(&t, i, PAGE_NOISE, i);
	/* Room again, and it goes on. */
	for (unsigned long i = 1; i <= 400; i++)
		swap_pool_ops.free(t.pool, i);
	assert_true(swap_pool_spill(t.pool, true) > 0);
	swap_check(t.pool);
	spilled_close(&t);
}

/* Each so many-th write fails, for every such number and several errors: nothing is lost. */
static void test_write_errors(void **state)
{
	static const int errors[] = { EIO, ENOSPC, EINVAL };

	for (uint32_t every = 1; every <= 12; every++) {
		for (int e = 0; e < 3; e++) {
			struct spilled t = { .params = { .codec = SWAP_LZ4, .nr_slots = 1500, .file = { .bytes = 16 * M, .memory = 2 * M,
				.no_ring = every % 2, .trouble = { .write_every = every, .write_errno = errors[e] } } } };
			struct swap_pool_stats s;

			spilled_open(&t);
			store_many(&t, 1, 1500);
			for (int i = 0; i < 60; i++)
				swap_pool_spill(t.pool, i % 2);
			swap_check(t.pool);
			right_many(&t, 1, 1500);
			for (unsigned long i = 1; i <= 1500; i += 3)
				swap_pool_ops.free(t.pool, i);
			swap_pool_settle(t.pool);
			swap_check(t.pool);
			for (unsigned long i = 2; i <= 1500; i += 3)
				right(&t, i, kind_of(i), i);
			swap_pool_stats(t.pool, &s);
			assert_true(s.file_write_errors > 0);
			assert_int_equal(s.damaged + s.file_read_errors, 0);
			spilled_close(&t);
		}
	}
}

static void test_short_writes(void **state)
{
	for (uint32_t every = 1; every <= 5; every++) {
		struct spilled t = { .params = { .codec = SWAP_LZ4, .nr_slots = 1500,
			.file = { .bytes = 16 * M, .memory = 2 * M, .no_ring = every % 2, .trouble = { .short_every = every } } } };
		struct swap_pool_stats s;

		spilled_open(&t);
		store_many(&t, 1, 1500);
		spill_all(&t);
		swap_pool_settle(t.pool);
		right_many(&t, 1, 1500);
		swap_pool_stats(t.pool, &s);
		assert_int_equal(s.file_pages, 1500);
		assert_int_equal(s.file_write_errors, 0);
		spilled_close(&t);
	}
}

/* The kernel needs a thread for a write through its cache, and may make none: the ring cancels what it was given. */
static void test_ring_without_a_thread(void **state)
{
	const struct rlimit none = { 0, 0 };
	struct swap_pool_stats s;
	struct spilled t;
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		t = (struct spilled){ .params = { .codec = SWAP_LZ4, .nr_slots = 1500, .file = { .bytes = 16 * M, .memory = 2 * M } } };
		spilled_open(&t);
		if (setrlimit(RLIMIT_NPROC, &none) || (!getuid() && setuid(65534))) /* root is not bound by it */
			_exit(1);
		for (unsigned long i = 1; i <= 1500; i++) {
			page_make(page, kind_of(i), i);
			swap_pool_ops.store(t.pool, i, page);
		}
		while (swap_pool_spill(t.pool, true) > 0)
			;
		swap_pool_settle(t.pool);
		swap_pool_stats(t.pool, &s);
		_exit(s.file_pages == 1500 && !s.file_write_errors ? 0 : 2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* While nothing can be written, what went into the buffers is there; when it can be again, it goes on. */
static void test_disk_full_for_a_while(void **state)
{
	struct spilled t = { .params = { .codec = SWAP_LZ4, .nr_slots = 1500,
		.file = { .bytes = 16 * M, .memory = 2 * M, .trouble = { .write_every = 1, .write_errno = ENOSPC } } } };
	struct swap_pool_stats s;

	spilled_open(&t);
	store_many(&t, 1, 1500);
	for (int i = 0; i < 20; i++)
		swap_pool_spill(t.pool, true);
	assert_int_equal(swap_pool_spill(t.pool, true), -EIO);
	swap_pool_stats(t.pool, &s);
	assert_int_equal(s.file_bytes, SPILL_BUFFERS * SPILL_SEGMENT);
	assert_int_equal(s.file_bytes_out, 0);
	right_many(&t, 1, 1500);
	t.pool->spill->io.trouble.write_every = 0;
	spill_all(&t);
	swap_pool_settle(t.pool);
	swap_check(t.pool);
	swap_pool_stats(t.pool, &s);
	assert_int_equal(s.file_pages, 1500);
	right_many(&t, 1, 1500);
	spilled_close(&t);
}

/* What can't be read is an error, never other bytes, and the pages that can be are right. */
static void test_read_errors(void **state)
{
	struct spilled t = fresh(600, 8 * M, SWAP_LZ4);

	store_many(&t, 1, 600);
	spill_all(&t);
	swap_pool_settle(t.pool);
	t.pool->spill->io.trouble = (struct swap_trouble){ .read_every = 3, .read_errno = EIO }; /* the second try succeeds */
	right_many(&t, 1, 600);
	assert_int_equal(swap_pool_read_error(t.pool), 0);
	t.pool->spill->io.trouble.read_every = 1;
	for (unsigned i = 0; i < SPILL_WINDOWS; i++)
		t.pool->spill->window[i].generation = 0;
	assert_int_equal(swap_pool_ops.load(t.pool, 300, back), -EIO);
	assert_int_equal(swap_pool_read_error(t.pool), EIO);
	assert_int_equal(swap_pool_read_error(t.pool), 0);
	t.pool->spill->io.trouble.read_every = 0;
	right_many(&t, 1, 600);
	spilled_close(&t);
}

static void test_damaged_in_the_file(void **state)
{
	struct spilled t = fresh(64, 4 * M, SWAP_LZ4);
	unsigned char byte;
	off_t at = (off_t)SWAP_FILE_SEGMENT * 2 + 10 * PAGE + 5;

	for (unsigned long i = 1; i <= 60; i++)
		store(&t, i, PAGE_NOISE, i);
	spill_all(&t);
	swap_pool_settle(t.pool);
	at = (off_t)(t.pool->spill->segment[t.pool->slots[11].block >> 3].where * SPILL_SEGMENT) + 10 * PAGE + 5;
	assert_int_equal(pread(t.fd, &byte, 1, at), 1);
	byte ^= 1;
	assert_int_equal(pwrite(t.fd, &byte, 1, at), 1);
	for (unsigned long i = 1; i <= 60; i++) {
		if (i != 11)
			right(&t, i, PAGE_NOISE, i);
	}
	assert_int_equal(swap_pool_ops.load(t.pool, 11, back), -EIO);
	assert_int_equal(swap_pool_read_error(t.pool), 0);
	assert_int_equal(swap_pool_damage(t.pool, 12), 0);
	assert_int_equal(swap_pool_ops.load(t.pool, 12, back), -EIO);
	spilled_close(&t);
}

static void child_works(struct spilled *t)
{
	swap_pool_in_child(t->pool);
	swap_pool_open_file(t->pool, t->fd);
	right_many(t, 1, 1000);
	for (unsigned long i = 1; i <= 1000; i += 2)
		store(t, i, PAGE_NOISE, 5000 + i);
	spill_all(t);
	swap_pool_settle(t->pool);
	for (unsigned long i = 1; i <= 1000; i++) {
		if (i % 2)
			right(t, i, PAGE_NOISE, 5000 + i);
		else
			right(t, i, kind_of(i), i);
	}
}

/* Parent and child go on from the same file, change what they had, and neither sees the other's. */
static void test_fork(void **state)
{
	struct spilled t = fresh(1000, 24 * M, SWAP_LZ4);
	struct swap_pool_stats s;
	int status;
	pid_t pid;

	store_many(&t, 1, 1000);
	spill_all(&t);
	for (int round = 0; round < 3; round++) {
		swap_pool_settle(t.pool);
		swap_pool_before_fork(t.pool);
		pid = fork();
		if (pid == 0) {
			child_works(&t);
			_exit(0);
		}
		right_many(&t, 1, 1000);
		for (unsigned long i = 1; i <= 1000; i++)
			swap_pool_ops.free(t.pool, i);
		store_many(&t, 1, 1000);
		spill_all(&t);
		right_many(&t, 1, 1000);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
	/* What the children had can be had again. */
	right_many(&t, 1, 1000);
	swap_pool_settle(t.pool);
	for (unsigned long i = 1; i <= 1000; i++)
		swap_pool_ops.free(t.pool, i);
	assert_int_equal(share_take(&t.pool->spill->share, 1u << 30), 0); /* buries */
	swap_check(t.pool);
	swap_pool_stats(t.pool, &s);
	assert_int_equal(s.file_bytes, 0);
	spilled_close(&t);
}

static void test_child_without_the_file(void **state)
{
	struct spilled t = fresh(200, 4 * M, SWAP_LZ4);
	int status;
	pid_t pid;

	store_many(&t, 1, 200);
	spill_all(&t);
	swap_pool_settle(t.pool);
	swap_pool_before_fork(t.pool);
	pid = fork();
	if (pid == 0) {
		swap_pool_in_child(t.pool);
		swap_pool_open_file(t.pool, -1);
		assert_int_equal(swap_pool_ops.load(t.pool, 5, back), -EIO);
		assert_int_equal(swap_pool_read_error(t.pool), EIO);
		store(&t, 5, PAGE_NOISE, 9);
		right(&t, 5, PAGE_NOISE, 9);
		assert_int_equal(swap_pool_spill(t.pool, true), -EIO);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	right_many(&t, 1, 200);
	spilled_close(&t);
}

/* By the mapping it can do all that it could by a descriptor. */
static void test_child_with_the_mapping(void **state)
{
	struct spilled t = { .params = { .codec = SWAP_LZ4, .nr_slots = 1000, .file = { .bytes = 24 * M, .memory = 2 * M } }, .mapped = true };
	int status;
	pid_t pid;

	spilled_open(&t);
	store_many(&t, 1, 1000);
	spill_all(&t);
	swap_pool_settle(t.pool);
	swap_pool_before_fork(t.pool);
	pid = fork();
	if (pid == 0) {
		close(t.fd);
		t.fd = -1;
		child_works(&t);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	right_many(&t, 1, 1000);
	spilled_close(&t);
}

/* A program that has lowered RLIMIT_FSIZE: writes by the descriptor are refused from then on. */
static void test_file_size_limit(void **state)
{
	struct spilled t = { .params = { .codec = SWAP_LZ4, .nr_slots = 1000,
		.file = { .bytes = 24 * M, .memory = 2 * M, .trouble = { .write_every = 3, .write_errno = EFBIG } } }, .mapped = true };
	struct swap_pool_stats s;

	spilled_open(&t);
	store_many(&t, 1, 1000);
	spill_all(&t);
	swap_pool_settle(t.pool);
	swap_pool_stats(t.pool, &s);
	assert_true(t.pool->spill->io.by_map);
	assert_int_equal(s.file_pages, 1000);
	right_many(&t, 1, 1000);
	spilled_close(&t);
}

/* A child that has no handler reads everything on its own thread and leaves. */
static void test_child_that_leaves(void **state)
{
	struct spilled t = fresh(200, 4 * M, SWAP_LZ4);
	int status;
	pid_t pid;

	store_many(&t, 1, 200);
	spill_all(&t);
	swap_pool_settle(t.pool);
	swap_pool_before_fork(t.pool);
	pid = fork();
	if (pid == 0) {
		swap_pool_in_child(t.pool);
		swap_pool_read_file(t.pool, t.fd);
		right_many(&t, 1, 200);
		swap_pool_leave_file(t.pool);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	for (unsigned long i = 1; i <= 200; i++)
		swap_pool_ops.free(t.pool, i);
	assert_int_equal(share_take(&t.pool->spill->share, 1u << 30), 0);
	assert_int_equal(t.pool->spill->share.share->used, 0);
	spilled_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cipher_vector), cmocka_unit_test(test_there_and_back), cmocka_unit_test(test_unchanged_stays_in_the_file),
		cmocka_unit_test(test_oldest_first), cmocka_unit_test(test_secret), cmocka_unit_test(test_neighbours),
		cmocka_unit_test(test_room_comes_back), cmocka_unit_test(test_full), cmocka_unit_test(test_write_errors),
		cmocka_unit_test(test_short_writes), cmocka_unit_test(test_ring_without_a_thread), cmocka_unit_test(test_disk_full_for_a_while),
		cmocka_unit_test(test_read_errors),
		cmocka_unit_test(test_damaged_in_the_file), cmocka_unit_test(test_fork), cmocka_unit_test(test_child_without_the_file),
		cmocka_unit_test(test_child_that_leaves), cmocka_unit_test(test_child_with_the_mapping), cmocka_unit_test(test_file_size_limit),
	};

	return cmocka_run_group_tests_name("swap_spill", tests, NULL, NULL);
}
