/* SPDX-License-Identifier: MIT
 *
 * swap_look.c - reads that are waited for by looking: the bytes, slow ones, and several threads.
 */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <pthread.h>

#include "swap/look.h"

#define BLOCK  4096
#define BLOCKS 64
#define READS  2000

static struct look look;
static _Atomic uint64_t slept;
static int file;

static int opens(void **state)
{
	char name[] = "/tmp/minflt-look.XXXXXX", block[BLOCK];

	file = mkstemp(name);
	if (file < 0 || unlink(name))
		return -1;
	for (int i = 0; i < BLOCKS; i++) {
		memset(block, i, BLOCK);
		if (write(file, block, BLOCK) != BLOCK)
			return -1;
	}
	slept = 0;
	look_open(&look, file);
	if (!look.made)
		print_message("no io_uring here: all reads are made by calls that sleep\n");
	return 0;
}

static int closes(void **state)
{
	look_close(&look);
	return close(file);
}

static bool is_all(const char *bytes, size_t len, int value)
{
	for (size_t i = 0; i < len; i++)
		if (bytes[i] != (char)value)
			return false;
	return true;
}

static void test_bytes(void **state)
{
	char bytes[BLOCK];

	for (int i = 0; look.made && i < READS; i++) {
		int block = i * 7 % BLOCKS;
		long n = look_read(&look, file, bytes, BLOCK, (uint64_t)block * BLOCK, &slept);

		assert_true(n == BLOCK || n == -EAGAIN);
		assert_true(n == -EAGAIN || is_all(bytes, BLOCK, block));
	}
	if (look.made) {
		look.asleep = 0;
		assert_int_equal(look_read(&look, file, bytes, BLOCK, BLOCKS * BLOCK - 512, &slept), 512);
		look.asleep = 0;
		assert_int_equal(look_read(&look, file, bytes, BLOCK, BLOCKS * BLOCK, &slept), 0);
		look.asleep = 0;
		assert_int_equal(look_read(&look, -1, bytes, BLOCK, 0, &slept), -9 /* EBADF */);
	}
	look_close(&look);
	assert_int_equal(look_read(&look, file, bytes, BLOCK, 0, &slept), -EAGAIN);
}

static void *writes_late(void *to)
{
	const struct timespec moment = { 0, 20000000 };

	nanosleep(&moment, NULL);
	return write(*(int *)to, "late", 4) == 4 ? to : NULL;
}

/* => how many reads in a row are to sleep after one that took long */
static unsigned after_a_slow_one(void)
{
	const uint64_t before = slept;
	pthread_t thread;
	char bytes[16];
	int end[2];
	void *wrote;
	unsigned n;

	assert_int_equal(pipe(end), 0);
	assert_int_equal(pthread_create(&thread, NULL, writes_late, &end[1]), 0);
	assert_int_equal(look_read(&look, end[0], bytes, sizeof(bytes), 0, &slept), 4);
	assert_memory_equal(bytes, "late", 4);
	assert_true(slept - before > 10000000);
	assert_int_equal(pthread_join(thread, &wrote), 0);
	assert_non_null(wrote);
	for (n = 0; look.asleep; n++)
		assert_int_equal(look_read(&look, file, bytes, 1, 0, &slept), -EAGAIN);
	close(end[0]);
	close(end[1]);
	return n;
}

/* Where reads are slow, looking is given up for ever longer; where they are fast again, for ever less. On a busy machine a look may come late besides, which
 * is another matter. */
static void test_slow(void **state)
{
	char byte;
	int good = 0;

	if (!look.made)
		skip();
	for (int tries = 0; tries < 100 && good < 3; tries++) {
		const unsigned slow = look.slow, busy = look.busy, n = after_a_slow_one();

		if (look.busy == busy) {
			assert_int_equal(n, slow);
			assert_int_equal(look.slow, 2 * slow);
			good++;
		}
	}
	assert_int_equal(good, 3);
	for (int i = 0; i < 1000 * READS && look.slow > 4; i++)
		look_read(&look, file, &byte, 1, 0, &slept);
	assert_int_equal(look.slow, 4);
}

static void *hogs(void *end)
{
	while (!atomic_load((_Atomic int *)end))
		;
	return NULL;
}

/* Somebody else wants the processor: he is let on it, and the next reads sleep. */
static void test_busy(void **state)
{
	_Atomic int end = 0;
	pthread_t thread;
	cpu_set_t one;
	char byte;

	if (!look.made)
		skip();
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	assert_int_equal(pthread_create(&thread, NULL, hogs, &end), 0);
	for (int i = 0; i < 1000 * READS && look.busy == 4; i++)
		look_read(&look, file, &byte, 1, 0, &slept);
	atomic_store(&end, 1);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(look.busy > 4);
	assert_true(look.asleep > 0);
}

/* A file of which reads can't begin without waiting (tmpfs, on Linux 6.18) would be read by a thread of the kernel: 7 us instead of 1. */
static void test_file_that_waits(void **state)
{
	int fd = memfd_create("look", MFD_CLOEXEC);
	struct iovec here = { &(char){ 0 }, 1 };
	bool waits;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "x", 1), 1);
	waits = preadv2(fd, &here, 1, 0, RWF_NOWAIT) < 0 && errno == EOPNOTSUPP;
	closes(state);
	file = fd;
	look_open(&look, fd);
	assert_true(!waits || !look.made);
}

static void *reads(void *arg)
{
	const int start = *(int *)arg;
	char bytes[BLOCK];
	intptr_t by_ring = 0;

	for (int i = start; i < start + READS; i++) {
		long n = look_read(&look, file, bytes, BLOCK, (uint64_t)(i % BLOCKS) * BLOCK, &slept);

		if (n != -EAGAIN && (n != BLOCK || !is_all(bytes, BLOCK, i % BLOCKS)))
			return (void *)-1;
		by_ring += n == BLOCK;
	}
	return (void *)by_ring;
}

/* One at a time by the ring, the others by calls; nobody gets what another has read. */
static void test_threads(void **state)
{
	int start[3] = { 0, 20, 40 };
	pthread_t thread[3];
	intptr_t sum = 0;

	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, reads, &start[i]), 0);
	for (int i = 0; i < 3; i++) {
		void *by_ring;

		assert_int_equal(pthread_join(thread[i], &by_ring), 0);
		assert_int_not_equal((intptr_t)by_ring, -1);
		sum += (intptr_t)by_ring;
	}
	assert_true(sum > 0 || !look.made);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_bytes, opens, closes),
		cmocka_unit_test_setup_teardown(test_slow, opens, closes),
		cmocka_unit_test_setup_teardown(test_file_that_waits, opens, closes),
		cmocka_unit_test_setup_teardown(test_threads, opens, closes),
		cmocka_unit_test_setup_teardown(test_busy, opens, closes),
	};

	return cmocka_run_group_tests_name("swap_look", tests, NULL, NULL);
}
