/* SPDX-License-Identifier: MIT
 * look.c - see look.h. */
#include "swap/look.h"

#include <linux/fs.h>
#include <sys/uio.h>
#include <time.h>

#include "mm/errno.h"
#include "swap/sys.h"

#define MOST        200000u /* ns; a read that takes longer is slept for */
#define LATE        100000u /* ns between two looks: somebody else had the processor. Interrupts and the host's own work take less */
#define LEAST_SLEEP 4u      /* reads */
#define MOST_SLEEP  4096u
#define ASK_EVERY   16u     /* looks */
#define CALM        512u    /* looks */

static uint64_t now_ns(void)
{
	struct timespec t = { 0, 0 };

	sys_call2(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Else the ring has a thread of the kernel read, which costs two switches more than it saves. */
static bool begins_at_once(int fd)
{
	const struct iovec nowhere = { NULL, 1 };

	return sys_call6(SYS_preadv2, fd, (long)&nowhere, 1, 0, 0, RWF_NOWAIT) != -EOPNOTSUPP;
}

/* A completion doesn't interrupt the thread that looks, it is there after the next system call: asking for the time is one. */
void look_open(struct look *l, int fd)
{
	struct io_uring_params p = { .flags = IORING_SETUP_COOP_TASKRUN };
	int err;

	look_forget(l);
	if (!begins_at_once(fd))
		return;
	err = io_uring_queue_init_params(1, &l->ring, &p);
	if (err == -EINVAL)
		err = io_uring_queue_init(1, &l->ring, 0);
	l->asleep = l->calm = l->looks = 0;
	l->slow = l->busy = LEAST_SLEEP;
	atomic_store(&l->taken, false);
	l->made = !err;
	if (l->made && io_uring_ring_dontfork(&l->ring))
		look_close(l);
}

void look_close(struct look *l)
{
	if (l->made)
		io_uring_queue_exit(&l->ring);
	l->made = false;
}

void look_forget(struct look *l)
{
	l->made = false;
}

static bool submit(struct look *l, int fd, void *bytes, size_t len, uint64_t at)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&l->ring);

	if (!sqe)
		return false;
	io_uring_prep_read(sqe, fd, bytes, (unsigned)len, at);
	return io_uring_submit(&l->ring) == 1;
}

/* Who wants the processor gets it mostly when this thread waits for the next fault, and isn't seen here: now and then it is offered.
 * => false: it takes too long. *late: the longest time between two looks */
static bool look_for(struct look *l, uint64_t *late)
{
	const uint64_t begin = now_ns();
	uint64_t before = begin, now;
	bool over;

	if (l->looks++ % ASK_EVERY == 0)
		sys_call0(SYS_sched_yield);
	do {
		over = io_uring_cq_ready(&l->ring);
		now = now_ns();
		*late = now - before > *late ? now - before : *late;
		before = now;
	} while (!over && now - begin <= MOST);
	return over;
}

static unsigned sleep_after(struct look *l, unsigned *penalty)
{
	l->asleep = *penalty;
	return *penalty < MOST_SLEEP ? 2 * *penalty : MOST_SLEEP;
}

/* One slow read among fast ones is forgiven soon: a write was under way. */
static void note(struct look *l, bool over, bool late)
{
	if (late) {
		l->busy = sleep_after(l, &l->busy);
		l->calm = 0;
		return;
	}
	if (++l->calm == CALM) {
		l->calm = 0;
		l->busy = l->busy / 2 > LEAST_SLEEP ? l->busy / 2 : LEAST_SLEEP;
	}
	if (!over)
		l->slow = sleep_after(l, &l->slow);
	else if (l->slow > LEAST_SLEEP)
		l->slow--;
}

/* The bytes belong to the kernel until it is over: there is no other way out. */
static void sleep_for(struct look *l, _Atomic uint64_t *slept)
{
	const uint64_t begin = now_ns();
	struct io_uring_cqe *cqe;

	while (!io_uring_cq_ready(&l->ring))
		io_uring_wait_cqe(&l->ring, &cqe);
	*slept += now_ns() - begin;
}

static long result(struct look *l)
{
	struct io_uring_cqe *cqe = NULL;
	long res;

	io_uring_peek_cqe(&l->ring, &cqe);
	res = cqe->res;
	io_uring_cqe_seen(&l->ring, cqe);
	return res;
}

/* Taken. */
static long read_by_ring(struct look *l, int fd, void *bytes, size_t len, uint64_t at, _Atomic uint64_t *slept)
{
	uint64_t late = 0;
	bool over;

	if (l->asleep) {
		l->asleep--;
		return -EAGAIN;
	}
	if (!submit(l, fd, bytes, len, at)) {
		look_close(l); /* with what may still stand in it */
		return -EAGAIN;
	}
	over = look_for(l, &late);
	note(l, over, late >= LATE);
	if (!over)
		sleep_for(l, slept);
	return result(l);
}

long look_read(struct look *l, int fd, void *bytes, size_t len, uint64_t at, _Atomic uint64_t *slept)
{
	long res;

	if (atomic_exchange_explicit(&l->taken, true, memory_order_acquire))
		return -EAGAIN;
	res = l->made ? read_by_ring(l, fd, bytes, len, at, slept) : -EAGAIN;
	atomic_store_explicit(&l->taken, false, memory_order_release);
	return res;
}
