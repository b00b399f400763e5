/* SPDX-License-Identifier: MIT
 *
 * swap_file.c - see swap_file.h.
 *
 * A file that holds something is not touched: it must be new, empty, or begin with the mark that an earlier run has left (killed, it could not clean up).
 * Of a block device, the beginning must be zeros or the mark, as wherever a file system, a partition table or a volume would have begun it isn't.
 *
 * The lock belongs to the open file, which all processes of the run share: it goes when the last of them has gone, a daemon included. A file that this run has
 * made loses its name when the command ends, whoever still uses it: nobody could remove it later.
 */
#include "cmd/swap_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/size.h"
#include "swap/swap.h"

#define LOCK_TRIES 1000 /* 5 s */
#define HEAD        4096u
#define LOOK        (128u << 10) /* of a device: file systems keep their marks in the first 64 KiB and a bit */
#define TIMES       4            /* budgets: the size where none is given */

static const char mark[] = "minflt swap\nIf no program runs under minflt with this file, its content is of no use.\n";

static _Alignas(HEAD) char page[LOOK];

/* FILE or FILE:SIZE. *bytes: 0 when not given */
static int parse(struct swap_target *t, const char *spec, uint64_t *bytes)
{
	const char *colon = strrchr(spec, ':');
	size_t len = strlen(spec);
	char least[SIZE_TEXT];
	int err;

	*bytes = 0;
	if (colon) {
		err = size_parse(colon + 1, bytes);
		if (err == -ERANGE)
			return complain(EXIT_MINFLT, "--swap '%s': the size is more than a file can have; give less", spec);
		if (err == -EDOM || (!err && *bytes < SWAP_FILE_LEAST))
			return complain(EXIT_MINFLT, "--swap '%s': the size is too small; give at least %s", spec, size_format(least, SWAP_FILE_LEAST));
		if (!err)
			len = (size_t)(colon - spec);
	}
	if (!len)
		return complain(EXIT_MINFLT, "--swap '%s' names no file; write --swap FILE or --swap FILE:SIZE", spec);
	if (len >= sizeof(t->path))
		return complain(EXIT_MINFLT, "--swap: the name of the file is too long; give a shorter one");
	memcpy(t->path, spec, len);
	t->path[len] = '\0';
	return 0;
}

static int open_direct(const char *path, int flags)
{
	int fd = open(path, flags | O_DIRECT, 0600);

	/* File systems without direct I/O. */
	return fd < 0 && errno == EINVAL ? open(path, flags, 0600) : fd;
}

static int open_it(struct swap_target *t)
{
	const int flags = O_RDWR | O_CLOEXEC | O_NOCTTY;
	struct stat st;

	t->created = false;
	if (!stat(t->path, &st)) {
		if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
			return complain(EXIT_MINFLT, "--swap %s: is %s; name a file or a block device", t->path,
					S_ISDIR(st.st_mode) ? "a folder" : "no file");
		/* O_EXCL on a device: not while it is mounted, swap, or a part of another one. */
		t->fd = fd_raise(open_direct(t->path, flags | (S_ISBLK(st.st_mode) ? O_EXCL : 0)));
	} else if (errno == ENOENT) {
		t->fd = fd_raise(open_direct(t->path, flags | O_CREAT | O_EXCL));
		t->created = t->fd >= 0;
	} else {
		t->fd = -errno;
	}
	if (t->fd == -EBUSY)
		return complain(EXIT_MINFLT, "--swap %s: the device is in use (mounted, or swap); name another one", t->path);
	if (t->fd < 0)
		return complain(EXIT_MINFLT, "--swap %s: cannot be opened for reading and writing: %s; name a file in a folder that you may write to",
				t->path, strerror(-t->fd));
	return 0;
}

static int take_lock(int fd)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	return fcntl(fd, F_OFD_SETLK, &lock) ? -errno : 0;
}

/* Is the open file still the one of that name? */
static bool is_current(const struct swap_target *t, struct stat *st)
{
	struct stat named;

	return !fstat(t->fd, st) && !stat(t->path, &named) && st->st_dev == named.st_dev && st->st_ino == named.st_ino;
}

static bool is_zero(const char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (bytes[i])
			return false;
	return true;
}

static int check_content(const struct swap_target *t, const struct stat *st)
{
	ssize_t n = pread(t->fd, page, t->regular ? HEAD : LOOK, 0);

	if (n < 0)
		return complain(EXIT_MINFLT, "--swap %s: cannot be read: %s; name another file", t->path, strerror(errno));
	if ((size_t)n >= sizeof(mark) && memcmp(page, mark, sizeof(mark)) == 0)
		return 0;
	if (t->regular && st->st_size)
		return complain(EXIT_MINFLT, "--swap %s: holds something, which would be lost; name a new file, or empty it: truncate -s 0 %s", t->path, t->path);
	if (!t->regular && !is_zero(page, (size_t)n))
		return complain(EXIT_MINFLT, "--swap %s: the device holds something, which would be lost; name another one, or clear it: wipefs -a %s; dd if=/dev/zero of=%s bs=128K count=1",
				t->path, t->path, t->path);
	return 0;
}

/* What there is room for. */
static int find_room(const struct swap_target *t, const struct stat *st, uint64_t *room)
{
	struct statvfs fs;

	*room = 0;
	if (!t->regular)
		return ioctl(t->fd, BLKGETSIZE64, room) ? -errno : 0;
	if (fstatvfs(t->fd, &fs))
		return -errno;
	*room = (uint64_t)fs.f_bavail * fs.f_frsize + (uint64_t)st->st_blocks * 512;
	return 0;
}

static int choose_size(struct swap_target *t, const struct stat *st, uint64_t asked, uint64_t memory)
{
	char a[SIZE_TEXT], b[SIZE_TEXT];
	struct rlimit limit;
	uint64_t room;
	int err = find_room(t, st, &room);

	if (err)
		return complain(EXIT_MINFLT, "--swap %s: its size is unknown: %s; name another file", t->path, strerror(-err));
	if (asked > room)
		return complain(EXIT_MINFLT, "--swap %s: %s are asked for and there is room for %s; give a smaller size or name another file",
				t->path, size_format(a, asked), size_format(b, room));
	t->bytes = asked;
	if (!asked && t->regular)
		t->bytes = TIMES * memory < room / 16 * 15 ? TIMES * memory : room / 16 * 15;
	else if (!asked)
		t->bytes = room;
	t->bytes = t->bytes / SWAP_FILE_SEGMENT * SWAP_FILE_SEGMENT;
	if (t->bytes < SWAP_FILE_LEAST)
		return complain(EXIT_MINFLT, "--swap %s: there is room for %s, which is too small; at least %s are needed", t->path,
				size_format(a, room), size_format(b, SWAP_FILE_LEAST));
	if (t->regular && !getrlimit(RLIMIT_FSIZE, &limit) && limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < t->bytes)
		return complain(EXIT_MINFLT, "--swap %s: files of this process may have %s at most; raise the limit (ulimit -f unlimited) or give a smaller size",
				t->path, size_format(a, limit.rlim_cur));
	return 0;
}

static int write_head(const struct swap_target *t)
{
	memset(page, 0, HEAD);
	memcpy(page, mark, sizeof(mark));
	if (pwrite(t->fd, page, HEAD, 0) == HEAD)
		return 0;
	/* A device with larger sectors. */
	if (errno == EINVAL && !fcntl(t->fd, F_SETFL, fcntl(t->fd, F_GETFL) & ~O_DIRECT) && pwrite(t->fd, page, HEAD, 0) == HEAD)
		return 0;
	return -errno;
}

static int claim(struct swap_target *t, uint64_t asked, uint64_t memory)
{
	struct stat st;
	int err = take_lock(t->fd), status;

	if (err == -EAGAIN || err == -EACCES)
		return complain(EXIT_MINFLT, "--swap %s: is in use by another run of minflt; name another file, or wait until it has ended", t->path);
	if (err)
		return complain(EXIT_MINFLT, "--swap %s: cannot be locked: %s; name a file on another file system", t->path, strerror(-err));
	if (!is_current(t, &st))
		return complain(EXIT_MINFLT, "--swap %s: another run of minflt has just removed it; try again", t->path);
	t->regular = S_ISREG(st.st_mode);
	status = check_content(t, &st);
	if (!status)
		status = choose_size(t, &st, asked, memory);
	if (status)
		return status;
	if (t->regular && (ftruncate(t->fd, 0) || ftruncate(t->fd, (off_t)t->bytes)))
		err = -errno;
	if (!err)
		err = write_head(t);
	if (err)
		return complain(EXIT_MINFLT, "--swap %s: cannot be written: %s; name another file", t->path, strerror(-err));
	return 0;
}

int swap_file_open(struct swap_target *t, const char *spec, uint64_t memory)
{
	uint64_t asked;
	int status;

	t->fd = -1;
	status = parse(t, spec, &asked);
	if (!status)
		status = open_it(t);
	if (status)
		return status;
	status = claim(t, asked, memory);
	if (!status)
		return 0;
	if (t->created)
		unlink(t->path);
	close(t->fd);
	t->fd = -1;
	return status;
}

/* The kernel takes down the rings of a process that has ended a little later, and they hold the file, and so the lock. */
static bool lock_again(int fd, bool in_use)
{
	const struct timespec pause = { 0, 5000000 };

	for (unsigned i = 0; take_lock(fd); i++) {
		if (in_use || i == LOCK_TRIES)
			return false;
		nanosleep(&pause, NULL);
	}
	return true;
}

void swap_file_finish(struct swap_target *t, bool in_use)
{
	struct stat st;
	bool unused;

	if (t->fd < 0)
		return;
	/* By another open file: the lock of the first is held by whoever still has it. */
	close(t->fd);
	t->fd = t->regular ? open(t->path, O_RDWR | O_CLOEXEC | O_NOCTTY) : -1;
	if (t->fd < 0)
		return;
	unused = lock_again(t->fd, in_use);
	if (is_current(t, &st)) {
		if (unused && ftruncate(t->fd, 0))
			complain(0, "--swap %s: cannot be emptied: %s; remove it", t->path, strerror(errno));
		if (t->created)
			unlink(t->path);
	}
	close(t->fd);
	t->fd = -1;
}
