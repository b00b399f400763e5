/* SPDX-License-Identifier: MIT
 *
 * host_reads.c - MADV_WILLNEED begins to read files and doesn't wait for the disk: what the next statement finds would depend on the time. Here is
 * waited until all of it has come, as on the software machine, whose reads are over when they are begun. See host.h.
 */
#include <linux/magic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "scenario/host.h"

#define PATIENCE 10000 /* looks, 100 us apart: the host may also decide not to read */

static bool has_come(unsigned char *at, size_t len)
{
	for (size_t o = 0; o < len; o += SCN_PAGE) {
		unsigned char vec;

		if (!mincore(at + o, SCN_PAGE, &vec) && !(vec & 1))
			return false;
	}
	return true;
}

/* What is beyond the file's end is not read, and of a tmpfs only what is swapped out. */
static void await_pages(int fd, off_t off, size_t len)
{
	struct statfs fs;
	struct stat st;
	void *at;

	if (fstat(fd, &st) || st.st_size <= off || fstatfs(fd, &fs) || fs.f_type == TMPFS_MAGIC)
		return;
	len = (size_t)(st.st_size - off) < len ? (size_t)(st.st_size - off) : len;
	at = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, off);
	for (int i = 0; at != MAP_FAILED && i < PATIENCE && !has_come(at, len); i++)
		usleep(100);
	if (at != MAP_FAILED)
		munmap(at, len);
}

/* => the scenario's file that is mapped there, or -1: it is none */
static int file_of(const struct host_file *files, unsigned nr_files, unsigned long inode)
{
	struct stat st;

	for (unsigned i = 0; i < nr_files; i++)
		if (!fstat(files[i].fd, &st) && st.st_ino == inode)
			return files[i].fd;
	return -1;
}

void host_await_reads(const struct host_file *files, unsigned nr_files, pid_t pid, unsigned long addr, size_t len)
{
	char line[600], path[64];
	unsigned long begin, end, off, inode;
	int fd;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx %*s %lx %*s %lu", &begin, &end, &off, &inode) != 4 || !inode || begin >= addr + len || end <= addr)
			continue;
		fd = file_of(files, nr_files, inode);
		if (fd < 0)
			continue;
		off += addr > begin ? addr - begin : 0;
		begin = addr > begin ? addr : begin;
		await_pages(fd, (off_t)off, (addr + len < end ? addr + len : end) - begin);
	}
	if (f)
		fclose(f);
}
