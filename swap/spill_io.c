/* SPDX-License-Identifier: MIT
 * spill_io.c - see spill_io.h. */
#include "swap/spill_io.h"

#include <fcntl.h>
#include <linux/stat.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

#include "mm/errno.h"
#include "swap/sys.h"

static uint64_t now_ns(void)
{
	struct timespec t = { 0, 0 };

	sys_call2(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Any handler submits, any handler looks. Completions don't interrupt a thread that is at work (Linux 5.19). */
static int make_ring(struct io_uring *ring)
{
	struct io_uring_params p = { .flags = IORING_SETUP_COOP_TASKRUN };
	int err = io_uring_queue_init_params(SPILL_IO_MOST, ring, &p);

	if (err == -EINVAL)
		err = io_uring_queue_init(SPILL_IO_MOST, ring, 0);
	if (err)
		return err;
	return io_uring_ring_dontfork(ring);
}

/* What direct I/O asks of a read. A page of 2:1 takes five sectors, but one or two blocks of 4096. */
static uint32_t grain_of(int fd)
{
	struct statx st = { 0 };

	if (sys_call5(SYS_statx, fd, (long)"", 0x1000 /* AT_EMPTY_PATH */, STATX_DIOALIGN, (long)&st) || !(st.stx_mask & STATX_DIOALIGN))
		return SPILL_GRAIN;
	return st.stx_dio_offset_align && SPILL_GRAIN % st.stx_dio_offset_align == 0 ? st.stx_dio_offset_align : SPILL_GRAIN;
}

void spill_io_open(struct spill_io *io, int fd, bool no_ring)
{
	io->fd = fd;
	if (!io->grain)
		io->grain = fd >= 0 && !io->filtered ? grain_of(fd) : SPILL_GRAIN;
	io->ring_is_made = fd >= 0 && !no_ring && !io->filtered && !make_ring(&io->ring);
	io->use_ring = io->ring_is_made;
	io->under_way = io->nr_done = 0;
	if (io->ring_is_made)
		look_open(&io->look, fd);
}

void spill_io_close(struct spill_io *io)
{
	if (io->ring_is_made)
		io_uring_queue_exit(&io->ring);
	look_close(&io->look);
	spill_io_forget(io);
}

/* liburing makes calls by itself, and a ring takes whatever is put into it: no filter could allow that. */
void spill_io_filtered(struct spill_io *io)
{
	if (io->ring_is_made)
		io_uring_queue_exit(&io->ring);
	look_close(&io->look);
	io->use_ring = io->ring_is_made = false;
	io->filtered = true;
}

void spill_io_forget(struct spill_io *io)
{
	io->fd = -1;
	look_forget(&io->look);
	io->use_ring = io->ring_is_made = false;
	io->under_way = io->nr_done = 0;
}

static bool is_due(uint32_t every, uint64_t n)
{
	return every && n % every == 0;
}

static void tell(struct spill_io *io, unsigned tag, int result)
{
	io->done[io->nr_done].tag = tag;
	io->done[io->nr_done++].result = result;
}

/* Between this process' own buffers and the mapping. => as read and write; -EFAULT: the page can't be had */
static long copy(long nr, const void *bytes, size_t len, const void *mapped)
{
	const struct iovec here = { (void *)(uintptr_t)bytes, len }, there = { (void *)(uintptr_t)mapped, len };

	return sys_call6(nr, sys_getpid(), (long)&here, 1, (long)&there, 1, 0);
}

static long copy_out(const struct spill_io *io, const void *bytes, size_t len, char *mapped)
{
	long err;

	if (!io->filtered)
		return copy(SYS_process_vm_writev, bytes, len, mapped);
	err = sys_madvise((unsigned long)mapped, len, MADV_POPULATE_WRITE);
	if (err)
		return err;
	memcpy(mapped, bytes, len);
	return (long)len;
}

static long copy_in(const struct spill_io *io, void *bytes, size_t len, const char *mapped)
{
	long err;

	if (!io->filtered)
		return copy(SYS_process_vm_readv, bytes, len, mapped);
	err = sys_madvise((unsigned long)mapped, len, MADV_POPULATE_READ);
	if (err)
		return err;
	memcpy(bytes, mapped, len);
	return (long)len;
}

/* Room first: a hole that can't be filled would be an error in the middle. */
static int write_by_map(const struct spill_io *io, const void *bytes, size_t len, uint64_t at)
{
	char *to = io->map + at;
	long n;

	if (io->fd >= 0 && !io->filtered) {
		n = sys_call4(SYS_fallocate, io->fd, FALLOC_FL_KEEP_SIZE, (long)at, (long)len);
		if (n == -ENOSPC)
			return (int)n;
	}
	n = copy_out(io, bytes, len, to);
	if (n <= 0)
		return n == -EFAULT || !n ? -ENOSPC : (int)n;
	if (sys_call3(SYS_msync, (long)to, (long)len, MS_SYNC))
		return -EIO;
	sys_madvise((unsigned long)to, len, MADV_DONTNEED);
	return (int)n;
}

bool spill_io_otherwise(struct spill_io *io, int err)
{
	if (err != -EFBIG || !io->map || io->by_map)
		return false;
	io->by_map = true;
	return true;
}

static int write_here(const struct spill_io *io, const void *bytes, size_t len, uint64_t at)
{
	long n;

	if (io->by_map || io->fd < 0)
		return io->map ? write_by_map(io, bytes, len, at) : -EIO;
	do
		n = sys_call4(SYS_pwrite64, io->fd, (long)bytes, (long)len, (long)at);
	while (n == -EINTR);
	return (int)n;
}

static bool write_by_ring(struct spill_io *io, unsigned tag, const void *bytes, size_t len, uint64_t at)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&io->ring);

	if (!sqe)
		return false;
	io_uring_prep_write(sqe, io->fd, bytes, (unsigned)len, at);
	io_uring_sqe_set_data64(sqe, tag);
	io->in_ring[tag].bytes = bytes;
	io->in_ring[tag].len = len;
	io->in_ring[tag].at = at;
	io->under_way++;
	if (io_uring_submit(&io->ring) >= 0)
		return true;
	/* Not taken: it stays in the queue as it is, so it is made harmless, and the ring is not used for another. */
	io_uring_prep_nop(sqe);
	io_uring_sqe_set_data64(sqe, SPILL_IO_MOST);
	io->under_way--;
	io->use_ring = false;
	return false;
}

void spill_io_write(struct spill_io *io, unsigned tag, const void *bytes, size_t len, uint64_t at)
{
	const struct swap_trouble *t = &io->trouble;

	const uint64_t begin = now_ns();

	io->writes++;
	if (is_due(t->write_every, io->writes) && !(io->by_map && t->write_errno == EFBIG)) {
		tell(io, tag, -t->write_errno);
		return;
	}
	if (is_due(t->short_every, io->writes) && len > 4096)
		len = len / 8192 * 4096; /* as direct I/O wants it */
	if (io->use_ring && !io->by_map && write_by_ring(io, tag, bytes, len, at))
		return;
	tell(io, tag, write_here(io, bytes, len, at));
	io->waited_ns += now_ns() - begin;
}

static int next_completion(struct spill_io *io, bool wait, struct io_uring_cqe **cqe)
{
	const uint64_t begin = wait ? now_ns() : 0;
	int err = wait ? io_uring_wait_cqe(&io->ring, cqe) : io_uring_peek_cqe(&io->ring, cqe);

	if (wait)
		io->waited_ns += now_ns() - begin;
	return err;
}

/* Says nothing of the file. */
static bool not_carried_out(int result)
{
	return result == -ECANCELED || result == -EAGAIN || result == -EINTR || result == -ENOMEM;
}

/* The ring's answer to the write of this tag. => what became of it in the end */
static int outcome(struct spill_io *io, unsigned tag, int result)
{
	const uint64_t begin = now_ns();

	if (!not_carried_out(result))
		return result;
	result = write_here(io, io->in_ring[tag].bytes, io->in_ring[tag].len, io->in_ring[tag].at);
	io->waited_ns += now_ns() - begin;
	return result;
}

bool spill_io_done(struct spill_io *io, bool wait, unsigned *tag, int *result)
{
	struct io_uring_cqe *cqe = NULL;
	int err;

	if (io->nr_done) {
		*tag = io->done[--io->nr_done].tag;
		*result = io->done[io->nr_done].result;
		return true;
	}
	while (io->under_way) {
		err = next_completion(io, wait, &cqe);
		if (err == -EINTR)
			continue;
		if (err || !cqe)
			return false;
		*tag = (unsigned)io_uring_cqe_get_data64(cqe);
		*result = cqe->res;
		io_uring_cqe_seen(&io->ring, cqe);
		if (*tag >= SPILL_IO_MOST)
			continue;
		io->under_way--;
		*result = outcome(io, *tag, *result);
		return true;
	}
	return false;
}

/* => as pread */
static long read_asleep(struct spill_io *io, void *bytes, size_t len, uint64_t at)
{
	const uint64_t begin = now_ns();
	long n;

	do
		n = sys_pread(io->fd, bytes, len, at);
	while (n == -EINTR);
	io->waited_ns += now_ns() - begin;
	return n;
}

static int read_by_map(struct spill_io *io, void *bytes, size_t len, uint64_t at)
{
	const uint64_t begin = now_ns();
	long n = io->map ? copy_in(io, bytes, len, io->map + at) : -EIO;

	io->waited_ns += now_ns() - begin;
	return n == (long)len ? 0 : -EIO;
}

int spill_io_read(struct spill_io *io, void *bytes, size_t len, uint64_t at)
{
	long n;

	io->reads++;
	if (is_due(io->trouble.read_every, io->reads))
		return -io->trouble.read_errno;
	if (io->fd < 0)
		return read_by_map(io, bytes, len, at);
	n = look_read(&io->look, io->fd, bytes, len, at, &io->waited_ns);
	if (not_carried_out((int)n))
		n = 0;
	for (size_t done = 0; n >= 0; ) {
		done += (size_t)n;
		if (done == len)
			return 0;
		n = read_asleep(io, (char *)bytes + done, len - done, at + done);
		if (!n)
			return -EIO; /* the file has become shorter */
	}
	return (int)n;
}
