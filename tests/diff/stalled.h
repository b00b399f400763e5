/* SPDX-License-Identifier: MIT
 *
 * stalled.h - a TCP connection whose receiver doesn't read yet: what is sent waits in the sender's queue. */
#ifndef MF_TESTS_DIFF_STALLED_H
#define MF_TESTS_DIFF_STALLED_H

#include "common.h"

#include <linux/errqueue.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define NR_SENT 40UL /* pages: more than the receiver has room for, and no more than the sender may have waiting */

struct stalled { int sender, receiver; };

static struct stalled stalled_open(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int door = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), little = 4096, much = 1 << 20, one = 1;
	struct stalled s = { .sender = socket(AF_INET, SOCK_STREAM, 0) };
	socklen_t len = sizeof(at);

	if (door < 0 || s.sender < 0 || setsockopt(door, SOL_SOCKET, SO_RCVBUF, &little, sizeof(little)) || bind(door, (struct sockaddr *)&at, len) ||
	    listen(door, 1) || getsockname(door, (struct sockaddr *)&at, &len) || setsockopt(s.sender, SOL_SOCKET, SO_SNDBUF, &much, sizeof(much)) ||
	    setsockopt(s.sender, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)) || connect(s.sender, (struct sockaddr *)&at, len))
		die("socket");
	s.receiver = accept(door, NULL, NULL);
	if (s.receiver < 0)
		die("accept");
	close(door);
	return s;
}

/* What was sent from w, filled by `seed`, arrives as it was, whatever has been done with other memory meanwhile. */
static void stalled_receive(struct stalled s, const char *w, uint64_t seed)
{
	char *got = map(NR_SENT * PAGE);

	for (int i = 0; i < 3; i++)
		pressure();
	RC("received", recv(s.receiver, got, NR_SENT * PAGE, MSG_WAITALL));
	holds("at the peer", got, NR_SENT * PAGE, seed);
	holds("source", w, NR_SENT * PAGE, seed);
	munmap(got, NR_SENT * PAGE);
	close(s.receiver);
	close(s.sender);
}

#endif
