/* SPDX-License-Identifier: MIT
 *
 * soft_files.c - the files of a scenario on the software machine: real ones (file.c), read and written by pread and pwrite.
 * The engine's page cache stands between them and memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "scenario/soft.h"

#define MAX_IOV 64
#define BLOCK   1024 /* of linux-2.0's file systems */

/* What an address_space knows as its host; lives as long as that does. */
struct real_file {
	int fd;
};

/* ---- what the engine asks for -------------------------------------------------------------------------------------- */

static int read_pages(int fd, uint64_t off, const struct iovec *iov, unsigned nr)
{
	struct iovec rest[MAX_IOV];
	unsigned i = 0;

	memcpy(rest, iov, nr * sizeof(*iov));
	while (i < nr) {
		ssize_t n = preadv(fd, rest + i, (int)(nr - i), (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -EIO;
		if (n == 0)
			break;
		off += (uint64_t)n;
		for (; i < nr && (size_t)n >= rest[i].iov_len; i++)
			n -= (ssize_t)rest[i].iov_len;
		if (i < nr) {
			rest[i].iov_base = (char *)rest[i].iov_base + n;
			rest[i].iov_len -= (size_t)n;
		}
	}
	for (; i < nr; i++)
		memset(rest[i].iov_base, 0, rest[i].iov_len);
	return 0;
}

static atomic_ulong file_reads;

unsigned long soft_file_reads(void)
{
	return atomic_load_explicit(&file_reads, memory_order_relaxed);
}

static int real_readpages(void *host, unsigned long pgoff, unsigned nr, void *const pages[])
{
	const struct real_file *f = host;
	struct iovec iov[MAX_IOV];

	atomic_fetch_add_explicit(&file_reads, 1, memory_order_relaxed);
	for (unsigned done = 0; done < nr;) {
		unsigned n = nr - done < MAX_IOV ? nr - done : MAX_IOV;
		int err;

		for (unsigned i = 0; i < n; i++)
			iov[i] = (struct iovec){ pages[done + i], SCN_PAGE };
		err = read_pages(f->fd, ((uint64_t)pgoff + done) * SCN_PAGE, iov, n);
		if (err)
			return err;
		done += n;
	}
	return 0;
}

static int real_writepage(void *host, unsigned long pgoff, const void *page, size_t len)
{
	const struct real_file *f = host;

	for (size_t done = 0; done < len;) {
		ssize_t n = pwrite(f->fd, (const char *)page + done, len - done,
				   (off_t)((uint64_t)pgoff * SCN_PAGE + done));

		if (n < 0 && errno != EINTR)
			return errno == ENOSPC ? -ENOSPC : -EIO;
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* The device's numbers of blocks are nobody's business here; whether there is one is: a hole of the file has none. */
static unsigned long real_bmap(void *host, unsigned long block)
{
	const struct real_file *f = host;
	off_t data = lseek(f->fd, (off_t)block * BLOCK, SEEK_DATA);

	return data >= 0 && data < (off_t)(block + 1) * BLOCK ? block + 1 : 0;
}

static void real_update_time(void *host)
{
	const struct real_file *f = host;
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_NOW } };

	futimens(f->fd, times); /* a file whose time can't be set keeps it */
}

static void real_release(void *host)
{
	struct real_file *f = host;

	close(f->fd);
	free(f);
}

static const struct address_space_operations real_ops = {
	.readpages = real_readpages,
	.writepage = real_writepage,
	.update_time = real_update_time,
	.bmap = real_bmap,
	.release = real_release,
};

/* ---- their names --------------------------------------------------------------------------------------------------- */

struct soft_file *soft_file_find(struct soft_files *files, const char *name)
{
	for (unsigned i = 0; i < files->nr; i++)
		if (!strcmp(files->at[i].name, name))
			return &files->at[i];
	return NULL;
}

/* What was just written is in memory, unless it is too much for that. */
static void fill_cache(struct address_space *mapping, uint64_t size, unsigned long nr_frames)
{
	unsigned char page[SCN_PAGE];

	if (size / SCN_PAGE >= nr_frames / 4)
		return;
	for (uint64_t at = 0; at < size; at += SCN_PAGE) {
		scn_file_page(size, at, page);
		if (filemap_add_written(mapping, at / SCN_PAGE, page))
			return;
	}
}

/* => 0 or an errno value; f->mapping has one reference. -1: the machine failed */
static int make(struct soft_files *files, struct soft_file *f, uint64_t size)
{
	struct real_file *host = malloc(sizeof(*host));

	if (!host)
		return ENOMEM;
	f->fd = host->fd = scn_file_make(NULL, size, files->why, sizeof(files->why));
	f->mapping = f->fd < 0 ? NULL : address_space_alloc(&real_ops, host, size, files->flags);
	if (f->mapping)
		return 0;
	if (f->fd >= 0)
		close(f->fd);
	free(host);
	return f->fd < 0 ? -1 : ENOMEM;
}

/* A file of the same name that is still mapped lives on without it. */
static int do_file(struct soft_files *files, const struct scn_op *op)
{
	struct soft_file made = { .fd = -1 }, *f = soft_file_find(files, op->file);
	int err;

	if (op->len > SCN_MAX_FILE)
		return EFBIG;
	if (!f) {
		struct soft_file *more = realloc(files->at, (files->nr + 1) * sizeof(*more));

		if (!more)
			return ENOMEM;
		files->at = more;
	}
	err = make(files, &made, op->len);
	if (err)
		return err;
	if (files->ra_pages)
		address_space_set_readahead(made.mapping, files->ra_pages);
	fill_cache(made.mapping, op->len, files->nr_frames);
	if (f)
		address_space_put(f->mapping);
	else
		f = &files->at[files->nr++];
	made.name = op->file;
	*f = made;
	return 0;
}

void soft_files_forget(struct soft_files *files)
{
	for (unsigned i = 0; i < files->nr; i++)
		address_space_put(files->at[i].mapping);
	free(files->at);
	files->at = NULL;
	files->nr = 0;
}

/* ---- warm, cold, truncate ------------------------------------------------------------------------------------------ */

unsigned long soft_file_pages(const struct soft_file *f)
{
	return (address_space_size(f->mapping) + SCN_PAGE - 1) / SCN_PAGE;
}

static int do_warm(struct soft_file *f)
{
	struct file *file = file_open(f->mapping, 0);

	if (!file)
		return ENOMEM;
	filemap_get_pages(file, 0, soft_file_pages(f));
	fput(file);
	return 0;
}

static int do_cold(struct soft_file *f)
{
	int err = filemap_write_and_wait_range(f->mapping, 0, soft_file_pages(f));

	if (!err)
		invalidate_mapping_pages(f->mapping, 0, soft_file_pages(f));
	return -err;
}

/* The real file is never shorter than what the engine believes. */
static int do_truncate(struct soft_file *f, uint64_t size)
{
	bool grows = size > address_space_size(f->mapping);
	int err;

	if (size > SCN_MAX_FILE)
		return EFBIG;
	if (grows && ftruncate(f->fd, (off_t)size))
		return errno;
	err = vmtruncate(f->mapping, size);
	if (!err && !grows && ftruncate(f->fd, (off_t)size))
		return errno;
	return -err;
}

int soft_file_call(struct soft_files *files, const struct scn_op *op)
{
	struct soft_file *f = soft_file_find(files, op->file);

	if (op->verb == SCN_FILE)
		return do_file(files, op);
	if (!f)
		return ENOENT; /* it could not be made */
	switch (op->verb) {
	case SCN_WARM: return do_warm(f);
	case SCN_COLD: return do_cold(f);
	case SCN_TRUNCATE: return do_truncate(f, op->len);
	default: return ENOSYS;
	}
}
