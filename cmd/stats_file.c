/* SPDX-License-Identifier: MIT
 *
 * stats_file.c - the file of --stats=FILE.
 *
 * Whether it can be written is tried out before the program starts, by a temporary file in the same folder that is removed again at
 * once: while the program runs nothing of ours lies around, so nothing stays if minflt is killed.
 */
#include "cmd/stats_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/cmd.h"

static int create_temp(struct stats_file *f)
{
	int fd;

	for (unsigned i = 0; i < 100; i++) {
		snprintf(f->temp, sizeof(f->temp), ".minflt-stats.%d.%u", (int)getpid(), i);
		fd = fd_raise(openat(f->folder, f->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, f->mode));
		if (fd != -EEXIST)
			return fd;
	}
	return -EEXIST;
}

/* The target as it is now: what mode to give, and is it a file at all? => 0, 1: not a regular file, -errno */
static int look_at_target(struct stats_file *f, const char *path)
{
	struct stat st;

	if (stat(path, &st)) {
		const mode_t mask = umask(0);

		umask(mask);
		f->mode = 0666 & ~mask;
		return errno == ENOENT ? 0 : -errno;
	}
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	f->mode = st.st_mode & 0777;
	/* Replacing needs no permission on the file itself; who took it away from us meant it. */
	if (access(path, W_OK))
		return -errno;
	return !S_ISREG(st.st_mode);
}

/* `name` is not there yet; if it is a link, it says where the file is to be. One step: longer chains end at a link that is
 * replaced. => false: too long */
static bool follow_dangling(const char *name, char real[PATH_MAX])
{
	char target[PATH_MAX];
	const char *slash = strrchr(name, '/');
	ssize_t n = readlink(name, target, sizeof(target) - 1);
	int len;

	if (n < 0) {
		strcpy(real, name);
		return true;
	}
	target[n] = '\0';
	/* A relative target counts from the folder of the link. */
	len = snprintf(real, PATH_MAX, "%.*s%s", target[0] == '/' || !slash ? 0 : (int)(slash + 1 - name), name, target);
	return len < PATH_MAX;
}

int stats_file_prepare(struct stats_file *f, const char *name)
{
	char real[PATH_MAX], folder[PATH_MAX], base[PATH_MAX];
	int fd, err;

	memset(f, 0, sizeof(*f));
	f->folder = f->direct = -1;
	snprintf(f->name, sizeof(f->name), "%s", name);
	if (strlen(name) >= PATH_MAX)
		return -ENAMETOOLONG;
	/* A symbolic link keeps pointing where it points: its target is replaced. */
	strcpy(real, name);
	err = look_at_target(f, name);
	if (err < 0)
		return err;
	if (err) {
		f->direct = fd_raise(open(name, O_WRONLY | O_CLOEXEC | O_NOCTTY | O_APPEND));
		return f->direct < 0 ? f->direct : 0;
	}
	if (!realpath(name, real) && !follow_dangling(name, real))
		return -ENAMETOOLONG;
	strcpy(folder, real);
	strcpy(base, real);
	if (strlen(basename(base)) > NAME_MAX)
		return -ENAMETOOLONG;
	strcpy(base, real);
	strcpy(f->base, basename(base));
	f->folder = fd_raise(open(dirname(folder), O_PATH | O_DIRECTORY | O_CLOEXEC));
	if (f->folder < 0)
		return f->folder;
	fd = create_temp(f);
	if (fd < 0)
		return fd;
	close(fd);
	return unlinkat(f->folder, f->temp, 0) ? -errno : 0;
}

FILE *stats_file_open(struct stats_file *f)
{
	int fd = f->direct >= 0 ? f->direct : create_temp(f);
	FILE *stream;

	if (fd < 0) {
		errno = -fd;
		return NULL;
	}
	stream = fdopen(fd, "w");
	if (!stream) {
		close(fd);
		if (f->direct < 0)
			unlinkat(f->folder, f->temp, 0);
		return NULL;
	}
	/* As the file that it replaces; past the umask, which has had its say for a new one. */
	if (f->direct < 0 && fchmod(fd, f->mode))
		f->mode = 0; /* a file system without modes: nothing lost */
	return stream;
}

int stats_file_finish(struct stats_file *f, FILE *stream)
{
	int err = ferror(stream) ? EIO : 0;

	if (fclose(stream) && !err)
		err = errno;
	if (f->direct >= 0)
		return -err;
	if (!err && renameat(f->folder, f->temp, f->folder, f->base))
		err = errno;
	if (err)
		unlinkat(f->folder, f->temp, 0);
	return -err;
}
