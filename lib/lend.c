/* SPDX-License-Identifier: MIT
 * lend.c - descriptors of the handler in the table of another thread. See lend.h. */
#include "lib/lend.h"

#include <sys/socket.h>

#include "machine/sys.h"

void lend_close(const struct lend *l)
{
	for (int i = 0; i < LEND_NR; i++)
		if (l->fd[i] >= 0)
			sys_close(l->fd[i]);
}

bool lend_fetch(struct lend *to, const struct lend *from, long handler_tid)
{
	long pidfd = sys_call2(SYS_pidfd_open, handler_tid, PIDFD_THREAD);
	bool all = true;

	*to = LEND_NOTHING;
	if (pidfd < 0)
		return false;
	for (int i = 0; i < LEND_NR; i++) {
		if (from->fd[i] >= 0)
			to->fd[i] = (int)sys_call3(SYS_pidfd_getfd, pidfd, from->fd[i], 0);
		all &= to->fd[i] >= 0 || from->fd[i] < 0;
	}
	sys_close((int)pidfd);
	if (all)
		return true;
	lend_close(to);
	*to = LEND_NOTHING;
	return false;
}

bool lend_open_post(struct lend_post *post)
{
	int pair[2] = { -1, -1 };

	if (sys_call4(SYS_socketpair, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, (long)pair) < 0)
		return false;
	*post = (struct lend_post){ pair[0], pair[1], sys_getpid() };
	return true;
}

union envelope {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(LEND_NR * sizeof(int))];
};

/* On the handler. What fails here is missed by the borrower, who finds nothing to receive. */
void lend_send(const struct lend_post *post, const struct lend *from)
{
	union envelope e = { .header = { .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS } };
	char byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &e };
	int *fds = (int *)CMSG_DATA(&e.header), nr = 0;
	long pidfd = sys_call2(SYS_pidfd_open, post->pid, 0), sock;

	if (pidfd < 0)
		return;
	sock = sys_call3(SYS_pidfd_getfd, pidfd, post->theirs, 0);
	sys_close((int)pidfd);
	if (sock < 0)
		return;
	for (int i = 0; i < LEND_NR; i++)
		if (from->fd[i] >= 0)
			fds[nr++] = from->fd[i];
	e.header.cmsg_len = CMSG_LEN((size_t)nr * sizeof(int));
	m.msg_controllen = CMSG_SPACE((size_t)nr * sizeof(int));
	sys_call3(SYS_sendmsg, sock, (long)&m, MSG_DONTWAIT | MSG_NOSIGNAL);
	sys_close((int)sock);
}

bool lend_receive(struct lend *to, const struct lend_post *post, const struct lend *from)
{
	union envelope e;
	char byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &e, .msg_controllen = sizeof(e) };
	long n = sys_call3(SYS_recvmsg, post->mine, (long)&m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	const int *fds = (const int *)CMSG_DATA(&e.header);
	int nr = 0, got;

	sys_close(post->mine);
	sys_close(post->theirs);
	*to = LEND_NOTHING;
	if (n <= 0 || m.msg_controllen < sizeof(e.header) || e.header.cmsg_type != SCM_RIGHTS)
		return false;
	got = (int)((e.header.cmsg_len - CMSG_LEN(0)) / sizeof(int));
	for (int i = 0; i < LEND_NR && nr < got; i++)
		if (from->fd[i] >= 0)
			to->fd[i] = fds[nr++];
	return true;
}
