/* SPDX-License-Identifier: MIT
 *
 * t_zerocopy - sends with MSG_ZEROCOPY: the socket's queue has the program's pages by references. What was in them is what the peer gets, however much memory
 * has come and gone before it reads, and the notification comes. Each way of sending has a process of its own: the first such send is what counts.
 */
#include "stalled.h"

#include <linux/io_uring.h>
#include <sys/syscall.h>
#include <sys/uio.h>

enum way { SEND, SENDTO, SENDMSG, SENDMMSG, NR_SENDTO, NR_SENDMSG, NR_SENDMMSG, FORKED };

static long send_by(enum way way, int fd, char *w, size_t len)
{
	struct iovec v = { w, len };
	struct mmsghdr m = { .msg_hdr = { .msg_iov = &v, .msg_iovlen = 1 } };

	switch (way) {
	case SENDTO:
		return sendto(fd, w, len, MSG_ZEROCOPY, NULL, 0);
	case SENDMSG:
		return sendmsg(fd, &m.msg_hdr, MSG_ZEROCOPY);
	case SENDMMSG:
		return sendmmsg(fd, &m, 1, MSG_ZEROCOPY) == 1 ? (long)m.msg_len : -1;
	case NR_SENDTO:
		return syscall(SYS_sendto, fd, w, len, MSG_ZEROCOPY, NULL, 0);
	case NR_SENDMSG:
		return syscall(SYS_sendmsg, fd, &m.msg_hdr, MSG_ZEROCOPY);
	case NR_SENDMMSG:
		return syscall(SYS_sendmmsg, fd, &m, 1, MSG_ZEROCOPY) == 1 ? (long)m.msg_len : -1;
	default:
		return send(fd, w, len, MSG_ZEROCOPY);
	}
}

static void notified(int fd)
{
	char room[256];
	struct msghdr m = { .msg_control = room, .msg_controllen = sizeof(room) };
	int tries = 1000;

	while (recvmsg(fd, &m, MSG_ERRQUEUE) < 0 && errno == EAGAIN && tries--)
		usleep(1000);
	say("notified %d", m.msg_controllen > 0 && tries > 0);
}

static void one_way(void *arg)
{
	const enum way way = *(const enum way *)arg;
	struct stalled s = stalled_open();
	char *w = map(NR_SENT * PAGE);
	int fd = dup(s.sender);

	fill(w, NR_SENT * PAGE, 1 + way);
	pressure();
	RC("sent", send_by(way, s.sender, w, NR_SENT * PAGE));
	if (way == FORKED) {
		pid_t pid = fork();

		if (!pid) {
			pressure();
			holds("source, in the child", w, NR_SENT * PAGE, 1 + way);
			memset(w, 9, NR_SENT * PAGE);
			pressure();
			_exit(0);
		}
		waitpid(pid, NULL, 0);
	}
	stalled_receive(s, w, 1 + way);
	notified(fd);
}

/* The socket is set up by a program, and used by the next one. */
static void next_program(void *arg)
{
	struct stalled s = stalled_open();
	char numbers[2][16];

	snprintf(numbers[0], sizeof(numbers[0]), "%d", s.sender);
	snprintf(numbers[1], sizeof(numbers[1]), "%d", s.receiver);
	execl("/proc/self/exe", "t_zerocopy", numbers[0], numbers[1], NULL);
	die("execl");
}

static int inherited(char **numbers)
{
	struct stalled s = { atoi(numbers[0]), atoi(numbers[1]) };
	char *w = map(NR_SENT * PAGE);

	fill(w, NR_SENT * PAGE, 21);
	pressure();
	RC("sent", send(s.sender, w, NR_SENT * PAGE, MSG_ZEROCOPY));
	stalled_receive(s, w, 21);
	return done();
}

/* ---- a ring made by syscall(2) ---------------------------------------------------------------------------------------- */

static char *ring_part(int fd, size_t len, off_t which)
{
	char *p = mmap(NULL, len, RW, MAP_SHARED | MAP_POPULATE, fd, which);

	if (p == MAP_FAILED)
		die("ring");
	return p;
}

/* => what io_uring_enter() says */
static long submit_send(int ring, const struct io_uring_params *p, int fd, const char *w)
{
	char *sq = ring_part(ring, p->sq_off.array + p->sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
	struct io_uring_sqe *sqe = (struct io_uring_sqe *)(void *)ring_part(ring, p->sq_entries * sizeof(*sqe), IORING_OFF_SQES);

	*sqe = (struct io_uring_sqe){ .opcode = IORING_OP_SEND_ZC, .fd = fd, .addr = (uintptr_t)w, .len = NR_SENT * PAGE };
	*(unsigned *)(void *)(sq + p->sq_off.array) = 0;
	__atomic_store_n((unsigned *)(void *)(sq + p->sq_off.tail), 1, __ATOMIC_RELEASE);
	return syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0);
}

static void by_own_ring(void *arg)
{
	struct stalled s = stalled_open();
	struct io_uring_params p = { 0 };
	char *w = map(NR_SENT * PAGE);
	int ring = (int)syscall(SYS_io_uring_setup, 4, &p);

	if (ring < 0) {
		say("no ring");
		return;
	}
	fill(w, NR_SENT * PAGE, 31);
	pressure();
	RC("submitted", submit_send(ring, &p, s.sender, w));
	stalled_receive(s, w, 31);
	close(ring);
}

int main(int argc, char **argv)
{
	if (argc == 3)
		return inherited(argv + 1);
	for (enum way way = SEND; way <= FORKED; way++) {
		say("way %d", (int)way);
		in_child("sender", one_way, &way);
	}
	in_child("by the next program", next_program, NULL);
	in_child("by a ring", by_own_ring, NULL);
	return done();
}
