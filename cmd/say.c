/* SPDX-License-Identifier: MIT
 *
 * say.c - lines for the user, and descriptors that keep out of the program's way.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"

int complain(int status, const char *fmt, ...)
{
	char line[4096 + 512]; /* a path and what is wrong with it */
	static const char prefix[] = "minflt: ";
	const size_t room = sizeof(line) - sizeof(prefix) - 1;
	va_list ap;
	int len;

	memcpy(line, prefix, sizeof(prefix));
	va_start(ap, fmt);
	len = vsnprintf(line + sizeof(prefix) - 1, room, fmt, ap);
	va_end(ap);
	if (len < 0)
		len = 0;
	if ((size_t)len >= room)
		len = (int)room - 1;
	/* One line, whatever the name of a file contains. */
	for (int i = 0; i < len; i++)
		if (line[sizeof(prefix) - 1 + i] == '\n')
			line[sizeof(prefix) - 1 + i] = ' ';
	line[sizeof(prefix) - 1 + len] = '\n';
	if (write(STDERR_FILENO, line, sizeof(prefix) + (size_t)len) < 0)
		return status; /* nowhere left to say it: the status has to do */
	return status;
}

int fd_raise(int fd)
{
	int high;

	if (fd < 0)
		return -errno;
	if (fd > STDERR_FILENO)
		return fd;
	high = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (high < 0)
		high = -errno;
	close(fd);
	return high;
}
