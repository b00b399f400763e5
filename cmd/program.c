/* SPDX-License-Identifier: MIT
 *
 * program.c - find the program, and judge whether the runtime can be preloaded into it.
 *
 * What is refused here would run without the runtime and say nothing about it. What slips through (the file changes between this look and
 * execve(), a dynamic linker of another kind) is caught by the gate, see gate.h.
 */
#include "cmd/program.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/elf.h"
#include "lib/foreign.h"

#define SCRIPT_LINE  256 /* the kernel reads so much of the first line */
#define SCRIPT_DEPTH 4   /* scripts run by scripts; the kernel stops soon after */

/* => 0, or the errno that execve() would fail with as far as permissions go */
static int executable(const char *path)
{
	struct stat st;

	if (stat(path, &st))
		return errno;
	if (!S_ISREG(st.st_mode) || faccessat(AT_FDCWD, path, X_OK, AT_EACCESS))
		return EACCES;
	return 0;
}

static int refuse_missing(const char *name, int err)
{
	struct stat st;

	if (err == ENOENT && strchr(name, '/'))
		return complain(EXIT_MISSING, "%s: no such program; check the path", name);
	if (err == ENOENT)
		return complain(EXIT_MISSING, "%s: no such program in PATH; check the name or give the path", name);
	if (err == EACCES && stat(name, &st) == 0 && S_ISDIR(st.st_mode))
		return complain(EXIT_NOT_EXEC, "%s: is a directory; give a program", name);
	if (err == EACCES)
		return complain(EXIT_NOT_EXEC, "%s: not executable for this user; chmod +x may be missing", name);
	return complain(err == ENOTDIR ? EXIT_MISSING : EXIT_NOT_EXEC, "%s: cannot be executed: %s", name, strerror(err));
}

int program_find(struct program *p, const char *name)
{
	const char *path = getenv("PATH");
	int worst = ENOENT;

	if (strlen(name) >= sizeof(p->path))
		return refuse_missing(name, ENAMETOOLONG);
	if (strchr(name, '/')) {
		strcpy(p->path, name);
		worst = executable(p->path);
		return worst ? refuse_missing(name, worst) : 0;
	}
	if (!path)
		path = "/bin:/usr/bin"; /* what confstr(_CS_PATH) says */
	for (;;) {
		size_t len = strcspn(path, ":");
		/* An empty element is the current directory; "./" keeps a program that begins with '-' a path. */
		int n = snprintf(p->path, sizeof(p->path), "%.*s/%s", len ? (int)len : 1, len ? path : ".", name);
		int err = n < (int)sizeof(p->path) ? executable(p->path) : ENAMETOOLONG;

		if (err == 0)
			return 0;
		if (err == EACCES)
			worst = EACCES;
		if (!path[len])
			break;
		path += len + 1;
	}
	return refuse_missing(name, worst);
}

/* Would execve() give the program other privileges than ours? Then the dynamic linker drops LD_PRELOAD. */
static int refuse_privileged(const char *path, int fd)
{
	struct stat st;
	const char *what = NULL;

	if (fstat(fd, &st))
		return complain(EXIT_NOT_EXEC, "%s: %s", path, strerror(errno));
	if ((st.st_mode & S_ISUID) && st.st_uid != getuid())
		what = "is setuid";
	else if ((st.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && st.st_gid != getgid())
		what = "is setgid";
	else if (getuid() != 0 && fgetxattr(fd, "security.capability", NULL, 0) > 0)
		what = "has file capabilities";
	if (!what)
		return 0;
	return complain(EXIT_MINFLT, "%s: %s, so the system ignores the preloaded runtime; run it as its owner, or a copy without the privilege",
			path, what);
}

static int refuse_elf(const char *path, int fd)
{
	enum elf_kind kind = elf_judge(fd);

	switch (kind) {
	case ELF_OK:
		return refuse_privileged(path, fd);
	case ELF_STATIC:
		return complain(EXIT_MINFLT, "%s: is statically linked, so the runtime cannot be preloaded; use a dynamically linked build", path);
	case ELF_CLASS:
		return complain(EXIT_MINFLT, "%s: is a 32-bit program; minflt runs 64-bit programs", path);
	case ELF_MACHINE:
		return complain(EXIT_MINFLT, "%s: is a program for another architecture; use a build for this machine", path);
	case ELF_SANITIZER:
		return complain(EXIT_MINFLT, "%s: is built with a sanitizer, which brings a malloc of its own and stops all threads; use a build without "
				"-fsanitize=address, thread, memory, leak or hwaddress", path);
	case ELF_AUDIT:
		return complain(EXIT_MINFLT, "%s: asks for an auditor (DT_AUDIT), beside which the runtime cannot be preloaded; use a build without", path);
	case ELF_BROKEN:
		return complain(EXIT_NOT_EXEC, "%s: is a damaged ELF file", path);
	case ELF_NOT:
		break;
	}
	return complain(EXIT_NOT_EXEC, "%s: is neither an ELF program nor a script that begins with #!; name its interpreter", path);
}

/* The interpreter in the first line, by the kernel's rules: blanks around, up to the next blank. => false: none */
static bool script_interpreter(const char *line, char interpreter[SCRIPT_LINE])
{
	const char *s = line + 2;
	size_t len;

	s += strspn(s, " \t");
	len = strcspn(s, " \t\n");
	memcpy(interpreter, s, len);
	interpreter[len] = '\0';
	return len > 0;
}

static int judge(const char *path, int depth)
{
	char line[SCRIPT_LINE + 1] = "", interpreter[SCRIPT_LINE + 1];
	int fd = fd_raise(open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY));
	ssize_t n;
	int status, err;

	if (fd == -EACCES)
		return 0; /* may be executed but not read: the gate decides */
	if (fd < 0)
		return complain(EXIT_NOT_EXEC, "%s: cannot be opened: %s", path, strerror(-fd));
	n = pread(fd, line, SCRIPT_LINE, 0);
	if (n < 2 || line[0] != '#' || line[1] != '!') {
		status = n < 0 ? complain(EXIT_NOT_EXEC, "%s: cannot be read: %s", path, strerror(errno)) : refuse_elf(path, fd);
		close(fd);
		return status;
	}
	close(fd);
	if (!script_interpreter(line, interpreter))
		return complain(EXIT_NOT_EXEC, "%s: its first line names no interpreter", path);
	if (depth >= SCRIPT_DEPTH)
		return complain(EXIT_NOT_EXEC, "%s: scripts run by scripts, more than %d deep", path, SCRIPT_DEPTH);
	err = executable(interpreter);
	if (err)
		return complain(err == ENOENT ? EXIT_MISSING : EXIT_NOT_EXEC, "%s: its interpreter %s: %s", path, interpreter,
				strerror(err));
	return judge(interpreter, depth + 1);
}

const char *program_environment_fault(const char **remedy)
{
	const char *preload = getenv("LD_PRELOAD"), *audit = getenv("LD_AUDIT");

	if (audit && *audit) {
		*remedy = "unset LD_AUDIT";
		return "LD_AUDIT is set, and the runtime cannot be preloaded beside an auditor";
	}
	if (preload && foreign_preload(preload) != FOREIGN_NOT) {
		*remedy = "unset LD_PRELOAD";
		return "LD_PRELOAD names the runtime of a sanitizer, which brings a malloc of its own";
	}
	return NULL;
}

int program_judge_environment(void)
{
	const char *remedy, *fault = program_environment_fault(&remedy);

	return fault ? complain(EXIT_MINFLT, "%s; %s", fault, remedy) : 0;
}

int program_judge(const struct program *p)
{
	return judge(p->path, 0);
}
