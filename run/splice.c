/* SPDX-License-Identifier: MIT
 *
 * splice.c - vmsplice into a pipe: the pipe would hold the program's pages themselves, by references that UFFDIO_MOVE does not see (they are no
 * pins). Once such a page had been evicted, its frame would be filled with other bytes under the reader's eyes. So the pipe gets pages of the runtime's own with
 * the same bytes, which is what vmsplice promises a program that leaves its buffer alone until it was read. By vmsplice: a filter of the program allows
 * that, and perhaps nothing else that fills a pipe.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "machine/sys.h"
#include "run/runtime.h"

#define PIECE (16 * PAGE) /* as much as a pipe holds, mostly */

/* What of [from, from + len) can be read from its beginning on. */
static size_t readable(unsigned long from, size_t len)
{
	unsigned long at = from;

	while (at < from + len && rt_word_readable((const char *)(at & ~7UL)))
		at = page_down(at) + PAGE;
	return at < from + len ? at - from : len;
}

/* Copies of the next bytes, each page of the program's a page of its own as in the program's vector. => bytes; 0: they can't be read */
static size_t gather(unsigned long to, const struct iovec *iov, size_t offset)
{
	size_t len = iov->iov_len - offset;
	unsigned long from = (unsigned long)iov->iov_base + offset;

	if (len > PIECE - from % PAGE)
		len = PIECE - from % PAGE;
	len = readable(from, len);
	memcpy((void *)(to + from % PAGE), (const void *)from, len);
	return len;
}

/* The call waits for room for its first bytes only. => bytes in the pipe, or -errno */
static long splice_one(int fd, const struct iovec *iov, unsigned flags)
{
	size_t done = 0;

	while (done < iov->iov_len) {
		long copies = sys_mmap(0, PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), n;
		struct iovec v;

		if (sys_is_err(copies))
			return done ? (long)done : copies;
		v.iov_base = (void *)((unsigned long)copies + ((unsigned long)iov->iov_base + done) % PAGE);
		v.iov_len = gather((unsigned long)copies, iov, done);
		n = v.iov_len ? sys_call4(SYS_vmsplice, fd, (long)&v, 1, flags) : -EFAULT;
		sys_munmap((unsigned long)copies, PIECE);
		if (n <= 0)
			return done ? (long)done : n;
		done += (size_t)n;
		flags |= SPLICE_F_NONBLOCK;
		if ((size_t)n < v.iov_len)
			break;
	}
	return (long)done;
}

static bool all_readable(const struct iovec *iov, size_t count)
{
	return readable((unsigned long)iov, count * sizeof(*iov)) == count * sizeof(*iov);
}

EXPORT ssize_t vmsplice(int fd, const struct iovec *iov, size_t count, unsigned flags)
{
	long mode = sys_call3(SYS_fcntl, fd, F_GETFL, 0), n = 0, done = 0;

	if (!atomic_load_explicit(&rt_active, memory_order_relaxed) || mode < 0 || (mode & O_ACCMODE) == O_RDONLY || flags & ~0xfu || count > IOV_MAX ||
	    sys_call3(SYS_fcntl, fd, F_GETPIPE_SZ, 0) < 0 || !all_readable(iov, count))
		return rt_errno(sys_call4(SYS_vmsplice, fd, (long)iov, (long)count, flags));
	for (size_t i = 0; i < count; i++) {
		n = splice_one(fd, &iov[i], done ? flags | SPLICE_F_NONBLOCK : flags);
		if (n < 0)
			break;
		done += n;
		if ((size_t)n < iov[i].iov_len)
			break;
	}
	return rt_errno(done ? done : n);
}
