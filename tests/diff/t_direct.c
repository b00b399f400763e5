/* SPDX-License-Identifier: MIT
 *
 * t_direct - devices that work on managed memory while everything around it is evicted: O_DIRECT reads and writes, io_uring with registered buffers,
 * direct and buffered requests in flight. What is read must be in the program's page and not in one that was its page before.
 */
#include "common.h"

#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <stdatomic.h>

#define LEN     (4 * MB)
#define BUFFERS 8UL
#define BUFFER  (128UL * 1024)

static int fd, buffered;
static char *area, *fixed;
static atomic_int stop;

/* Everything else goes out all the time. */
static void *pushes(void *arg)
{
	char *p = map(6 * MB);

	for (uint64_t i = 0; !atomic_load(&stop); i++)
		for (size_t at = 0; at < 6 * MB && !atomic_load(&stop); at += PAGE)
			*(uint64_t *)(p + at) = mix(i + at);
	munmap(p, 6 * MB);
	return NULL;
}

static void *reads(void *arg)
{
	size_t first = (uintptr_t)arg * (MB / PAGE), bad = 0;
	char *mine = area + first * PAGE;

	for (int round = 0; round < 6; round++) {
		for (size_t at = 0; at < MB; at += 256 * 1024) {
			struct iovec v[2] = { { mine + at, 64 * 1024 }, { mine + at + 64 * 1024, 192 * 1024 } };

			memset(mine + at, round, 256 * 1024);
			if (round % 2)
				bad += pread(fd, mine + at, 256 * 1024, (off_t)(first * PAGE + at)) != 256 * 1024;
			else
				bad += preadv(fd, v, 2, (off_t)(first * PAGE + at)) != 256 * 1024;
		}
		bad += !intact(mine, MB, 1, first);
	}
	return (void *)bad;
}

static void by_threads(void)
{
	pthread_t pushing, t[3];
	size_t bad = 0;
	void *result;

	atomic_store(&stop, 0);
	pthread_create(&pushing, NULL, pushes, NULL);
	for (uintptr_t i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, reads, (void *)i);
	for (int i = 0; i < 3; i++) {
		pthread_join(t[i], &result);
		bad += (size_t)result;
	}
	atomic_store(&stop, 1);
	pthread_join(pushing, NULL);
	say("direct reads: %zu bad", bad);
}

static void finish(struct io_uring *ring, unsigned nr, size_t len)
{
	for (unsigned i = 0; i < nr; i++) {
		struct io_uring_cqe *cqe;

		if (io_uring_wait_cqe(ring, &cqe))
			die("io_uring_wait_cqe");
		if (cqe->res != (int)len)
			wrong("request %u: %d", (unsigned)cqe->user_data, cqe->res);
		io_uring_cqe_seen(ring, cqe);
	}
}

static void push_out(void)
{
	pressure();
	pressure();
}

/* The kernel has the pages from registration on; the program's must be the same ones for as long. */
static void registered(struct io_uring *ring)
{
	struct iovec v[BUFFERS];
	int rc;

	fill(fixed, BUFFERS * BUFFER, 2);
	push_out();
	for (size_t i = 0; i < BUFFERS; i++)
		v[i] = (struct iovec){ fixed + i * BUFFER, BUFFER };
	rc = io_uring_register_buffers(ring, v, BUFFERS);
	say("registered: %d", rc);
	for (uint64_t round = 0; round < 4 && !rc; round++) {
		fill(fixed, BUFFERS * BUFFER, 100 + round);
		push_out();
		for (size_t i = 0; i < BUFFERS; i++) {
			struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

			io_uring_prep_write_fixed(sqe, fd, fixed + i * BUFFER, BUFFER, i * BUFFER, (int)i);
			sqe->user_data = i;
		}
		io_uring_submit(ring);
		finish(ring, BUFFERS, BUFFER);
		if (pread(fd, area, BUFFERS * BUFFER, 0) < 0 || !intact(area, BUFFERS * BUFFER, 100 + round, 0))
			wrong("what the device read in round %d", (int)round);
		memset(fixed, 0, BUFFERS * BUFFER);
		push_out();
		for (size_t i = 0; i < BUFFERS; i++) {
			struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

			io_uring_prep_read_fixed(sqe, fd, fixed + i * BUFFER, BUFFER, (BUFFERS - 1 - i) * BUFFER, (int)i);
			sqe->user_data = i;
		}
		io_uring_submit(ring);
		push_out();
		finish(ring, BUFFERS, BUFFER);
		push_out();
		for (size_t i = 0; i < BUFFERS; i++)
			if (!intact(fixed + i * BUFFER, BUFFER, 100 + round, (BUFFERS - 1 - i) * (BUFFER / PAGE)))
				wrong("what the device wrote to buffer %zu in round %d", i, (int)round);
	}
	io_uring_unregister_buffers(ring);
	push_out();
	say("registered buffers are done");
}

/* Requests on their way, with buffers that nobody registered. */
static void in_flight(struct io_uring *ring, int from, unsigned flags)
{
	size_t bad = 0;

	fill(area, LEN, 3);
	if (pwrite(buffered, area, LEN, 0) != (ssize_t)LEN || fsync(buffered))
		die("write");
	for (uint64_t round = 0; round < 4; round++) {
		memset(area, (int)round, LEN);
		for (size_t i = 0; i < LEN / BUFFER; i++) {
			struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

			io_uring_prep_read(sqe, from, area + i * BUFFER, BUFFER, i * BUFFER);
			io_uring_sqe_set_flags(sqe, flags);
			sqe->user_data = i;
		}
		io_uring_submit(ring);
		push_out();
		finish(ring, LEN / BUFFER, BUFFER);
		push_out();
		bad += !intact(area, LEN, 3, 0);
	}
	say("in flight: %zu bad", bad);
}

int main(void)
{
	struct io_uring ring;
	int rc;

	area = map(LEN);
	fixed = map(BUFFERS * BUFFER);
	buffered = direct_file(area, LEN, 1, O_RDWR, &fd);
	by_threads();
	rc = io_uring_queue_init(64, &ring, 0);
	if (rc) {
		say("io_uring: %d", rc);
		return done();
	}
	registered(&ring);
	in_flight(&ring, fd, 0);
	in_flight(&ring, buffered, 0);
	in_flight(&ring, buffered, IOSQE_ASYNC);
	io_uring_queue_exit(&ring);
	return done();
}
