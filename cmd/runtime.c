/* SPDX-License-Identifier: MIT
 *
 * runtime.c - find the shared library that is preloaded into the program.
 */
#include "cmd/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/elf.h"

#define LIBRARY "libminflt-run.so"
#define WHY_LEN (PATH_MAX + 256)

/* => the descriptor, or -1 with `why` */
static int usable(int fd, const char *path, char *why)
{
	struct statvfs vfs;

	if (elf_judge_library(fd) != ELF_OK) {
		snprintf(why, WHY_LEN, "the runtime %s is not a shared library for this machine; build or install minflt anew", path);
	} else if (fstatvfs(fd, &vfs) == 0 && (vfs.f_flag & ST_NOEXEC)) {
		snprintf(why, WHY_LEN, "the runtime %s is on a file system mounted noexec; put minflt elsewhere or remount it with exec", path);
	} else {
		return fd;
	}
	close(fd);
	return -1;
}

/* The folder of this executable. => false: /proc is not there */
static bool own_folder(char folder[PATH_MAX])
{
	ssize_t n = readlink("/proc/self/exe", folder, PATH_MAX - 1);
	char *slash;

	if (n < 0)
		return false;
	folder[n] = '\0';
	slash = strrchr(folder, '/');
	if (!slash)
		return false;
	*slash = '\0';
	return true;
}

int runtime_open(char path[PATH_MAX], char why[PATH_MAX + 256])
{
	static const char *const beside[] = { "/" LIBRARY, "/run/" LIBRARY, "/" MF_LIBDIR_FROM_BINDIR "/minflt/" LIBRARY };
	const char *given = getenv("MINFLT_RUNTIME");
	char folder[PATH_MAX];
	int fd;

	if (given) {
		snprintf(path, PATH_MAX, "%s", given);
		fd = fd_raise(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
		if (fd >= 0)
			return usable(fd, path, why);
		snprintf(why, WHY_LEN, "the runtime %s, named by MINFLT_RUNTIME: %s; unset it or correct it", path, strerror(-fd));
		return -1;
	}
	for (size_t i = 0; own_folder(folder) && i < sizeof(beside) / sizeof(beside[0]); i++) {
		if (snprintf(path, PATH_MAX, "%s%s", folder, beside[i]) >= PATH_MAX)
			continue;
		fd = fd_raise(open(path, O_RDONLY | O_CLOEXEC));
		if (fd >= 0)
			return usable(fd, path, why);
	}
	snprintf(path, PATH_MAX, "%s", MF_LIBDIR "/minflt/" LIBRARY);
	fd = fd_raise(open(path, O_RDONLY | O_CLOEXEC));
	if (fd >= 0)
		return usable(fd, path, why);
	snprintf(why, WHY_LEN, "the runtime %s is neither beside this command nor at %s; build or install minflt anew, or set MINFLT_RUNTIME",
		 LIBRARY, path);
	return -1;
}
