/* SPDX-License-Identifier: MIT
 *
 * file.c - the files of a scenario, for all machines: real ones, without a name, so that nothing is left of them however the run ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "scenario/run.h"

size_t scn_file_page(uint64_t size, uint64_t at, unsigned char page[SCN_PAGE])
{
	size_t n = size - at < SCN_PAGE ? (size_t)(size - at) : SCN_PAGE;

	memset(page, (int)((at / SCN_PAGE * 37 + 11) & 255), n);
	memset(page + n, 0, SCN_PAGE - n);
	return n;
}

/* => false: errno. Page by page: no larger folios come into the page cache. */
static bool fill(int fd, uint64_t size)
{
	unsigned char page[SCN_PAGE];

	for (uint64_t at = 0; at < size; at += SCN_PAGE) {
		size_t n = scn_file_page(size, at, page);

		errno = ENOSPC; /* a part was written */
		if (write(fd, page, n) != (ssize_t)n)
			return false;
	}
	return true;
}

int scn_file_make(const char *directory, uint64_t size, char *why, size_t len)
{
	const char *dir = directory ? directory : getenv("TMPDIR");
	char path[256];
	int fd;

	if (!dir || !*dir)
		dir = "/var/tmp";
	snprintf(path, sizeof(path), "%.200s/minflt-scenario-XXXXXX", dir);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	if (fd >= 0 && fill(fd, size))
		return fd;
	snprintf(why, len, "no file of %llu bytes can be made in %.100s: %s; name another directory by TMPDIR", (unsigned long long)size, dir, strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}
