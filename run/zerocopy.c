/* SPDX-License-Identifier: MIT
 *
 * zerocopy.c - sends that leave the program's pages with the kernel: MSG_ZEROCOPY, and io_uring's SEND_ZC.
 *
 * The socket's queue holds the pages by references, for as long as the peer likes. UFFDIO_MOVE sees pins alone, and moves them away. So before the first
 * such send the machine is told that pages are lent, and from then on uses none again that has left the program. Copies, as for vmsplice, would have to be kept
 * until the notification on the socket's error queue, or cost what the program wants to save.
 *
 * The flag in a send is the place where it is sure to be seen: the socket may have been inherited or received, SO_ZEROCOPY set by anybody. What is put into an
 * io_uring isn't seen, and liburing makes its calls by instructions of its own: a program that is linked with it lends pages from the start.
 */
#include <dlfcn.h>
#include <link.h>
#include <string.h>
#include <sys/socket.h>

#include "machine/sys.h"
#include "machine/uffd/uffd.h"
#include "run/runtime.h"

/* libc's, which are cancellation points. Looked up at the start: a signal handler may send, and must not look up. */
static struct {
	__typeof__(&send) send;
	__typeof__(&sendto) sendto;
	__typeof__(&sendmsg) sendmsg;
	__typeof__(&sendmmsg) sendmmsg;
} next;

static void note(int flags)
{
	if (flags & MSG_ZEROCOPY && atomic_load_explicit(&rt_active, memory_order_relaxed))
		uffd_pages_are_lent();
}

void rt_zerocopy_call(long nr, const long a[6])
{
	if (nr == SYS_sendto || nr == SYS_sendmmsg)
		note((int)a[3]);
	else if (nr == SYS_sendmsg)
		note((int)a[2]);
	else if (nr == SYS_io_uring_setup)
		note(MSG_ZEROCOPY);
}

static int is_liburing(struct dl_phdr_info *info, size_t size, void *data)
{
	const char *slash = strrchr(info->dlpi_name, '/'), *name = slash ? slash + 1 : info->dlpi_name;

	return !strncmp(name, "liburing", strlen("liburing"));
}

void rt_zerocopy_init(void)
{
	next.send = (__typeof__(&send))dlsym(RTLD_NEXT, "send");
	next.sendto = (__typeof__(&sendto))dlsym(RTLD_NEXT, "sendto");
	next.sendmsg = (__typeof__(&sendmsg))dlsym(RTLD_NEXT, "sendmsg");
	next.sendmmsg = (__typeof__(&sendmmsg))dlsym(RTLD_NEXT, "sendmmsg");
	if (dl_iterate_phdr(is_liburing, NULL))
		uffd_pages_are_lent();
}

EXPORT ssize_t send(int fd, const void *from, size_t len, int flags)
{
	note(flags);
	return next.send ? next.send(fd, from, len, flags) : rt_errno(sys_call6(SYS_sendto, fd, (long)from, (long)len, flags, 0, 0));
}

EXPORT ssize_t sendto(int fd, const void *from, size_t len, int flags, __CONST_SOCKADDR_ARG to, socklen_t to_len)
{
	note(flags);
	if (next.sendto)
		return next.sendto(fd, from, len, flags, to, to_len);
	return rt_errno(sys_call6(SYS_sendto, fd, (long)from, (long)len, flags, (long)to.__sockaddr__, to_len));
}

EXPORT ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	note(flags);
	return next.sendmsg ? next.sendmsg(fd, message, flags) : rt_errno(sys_call3(SYS_sendmsg, fd, (long)message, flags));
}

EXPORT int sendmmsg(int fd, struct mmsghdr *messages, unsigned nr, int flags)
{
	note(flags);
	return next.sendmmsg ? next.sendmmsg(fd, messages, nr, flags) : (int)rt_errno(sys_call4(SYS_sendmmsg, fd, (long)messages, nr, flags));
}
