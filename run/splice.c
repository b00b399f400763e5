/* SPDX-License-Identifier: MIT
 *
 * splice.c - vmsplice into a pipe: the pipe would hold the program's pages themselves, by references that UFFDIO_MOVE does not see (they are no
 * pins). Once such a page had been evicted, its frame would be filled with other bytes under the reader's eyes. So the bytes are copied into the pipe, which is
 * what vmsplice promises a program that leaves its buffer alone until it was read.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>

#include "machine/sys.h"
#include "run/runtime.h"

#define NOWAIT 8 /* RWF_NOWAIT */

EXPORT ssize_t vmsplice(int fd, const struct iovec *iov, size_t count, unsigned flags)
{
	long mode = sys_call3(SYS_fcntl, fd, F_GETFL, 0);

	if (!atomic_load_explicit(&rt_active, memory_order_relaxed) || mode < 0 || (mode & O_ACCMODE) == O_RDONLY ||
	    flags & ~0xfu || sys_call3(SYS_fcntl, fd, F_GETPIPE_SZ, 0) < 0)
		return rt_errno(sys_call4(SYS_vmsplice, fd, (long)iov, (long)count, flags));
	return rt_errno(sys_call6(SYS_pwritev2, fd, (long)iov, (long)count, -1, -1, flags & SPLICE_F_NONBLOCK ? NOWAIT : 0));
}
