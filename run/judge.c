/* SPDX-License-Identifier: MIT
 *
 * judge.c - can the runtime be preloaded into a program that is about to be executed? As cmd/program.c judges the one on the command line, but in the
 * program's own process, perhaps on the small stack of a vfork child: system calls only, no memory from anywhere.
 *
 * What slips through (a file that may be executed and not read, an interpreter of binfmt_misc) is found out later: nothing reports for duty.
 */
#include <elf.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "machine/sys.h"
#include "mm/errno.h"
#include "run/exec.h"

#define SCRIPT_LINE  256
#define SCRIPT_DEPTH 5
#define LINKER       "ld-linux-x86-64.so.2" /* another one belongs to another libc, and can't load the runtime */

static bool ends_with(const char *text, size_t len, const char *end, size_t end_len)
{
	if (len < end_len)
		return false;
	for (size_t i = 0; i < end_len; i++)
		if (text[len - end_len + i] != end[i])
			return false;
	return true;
}

int rt_judge_foreign(enum foreign kind)
{
	return kind == FOREIGN_SANITIZER ? (int)TREE_WHY_SANITIZER : kind == FOREIGN_AUDIT ? (int)TREE_WHY_AUDIT : RT_FOLLOW;
}

static int judge_linker(int fd, const Elf64_Phdr *ph)
{
	char name[128];
	size_t len = ph->p_filesz < sizeof(name) ? ph->p_filesz : sizeof(name);

	if (sys_pread(fd, name, len, ph->p_offset) != (long)len || !len)
		return RT_FOLLOW;
	if (!ends_with(name, len - 1, LINKER, sizeof(LINKER) - 1))
		return TREE_WHY_LINKER;
	return rt_judge_foreign(foreign_program(fd));
}

static int judge_elf(int fd, const Elf64_Ehdr *eh)
{
	if (eh->e_ident[EI_CLASS] == ELFCLASS32)
		return TREE_WHY_CLASS;
	if (eh->e_machine != EM_X86_64 || eh->e_phentsize != sizeof(Elf64_Phdr))
		return TREE_WHY_MACHINE;
	for (unsigned i = 0; i < eh->e_phnum; i++) {
		Elf64_Phdr ph;

		if (sys_pread(fd, &ph, sizeof(ph), eh->e_phoff + i * sizeof(ph)) != (long)sizeof(ph))
			return RT_FOLLOW; /* damaged: the kernel will say so */
		if (ph.p_type == PT_INTERP)
			return judge_linker(fd, &ph);
	}
	return TREE_WHY_STATIC;
}

/* Will the kernel announce a secure execution? The dynamic linker then ignores the runtime. */
static bool is_privileged(int fd)
{
	long uid = sys_call0(SYS_getuid), euid = sys_call0(SYS_geteuid), gid = sys_call0(SYS_getgid), egid = sys_call0(SYS_getegid);
	char caps[64];
	struct stat st;
	bool set;

	if (uid != euid || gid != egid)
		return true;
	if (sys_call2(SYS_fstat, fd, (long)&st))
		return false;
	set = (st.st_mode & S_ISUID && st.st_uid != (uid_t)euid) ||
	      ((st.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && st.st_gid != (gid_t)egid);
	if (!set && uid)
		set = sys_call4(SYS_fgetxattr, fd, (long)"security.capability", (long)caps, sizeof(caps)) > 0;
	return set && sys_call5(SYS_prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1;
}

static bool blank(char c)
{
	return c == ' ' || c == '\t';
}

/* The interpreter's path, cut out of the first line in place. => NULL: none */
static const char *interpreter(char line[SCRIPT_LINE + 1])
{
	char *from = line + 2, *to;

	while (blank(*from))
		from++;
	for (to = from; *to && *to != '\n' && !blank(*to);)
		to++;
	*to = 0;
	return to > from ? from : NULL;
}

static int judge_open(int fd, bool ours, int depth)
{
	union { Elf64_Ehdr eh; char line[SCRIPT_LINE + 1]; } u;
	long n = sys_pread(fd, &u, SCRIPT_LINE, 0);
	const char *next = NULL;
	int why = RT_FOLLOW;

	if (n > 0)
		u.line[n] = 0;
	if (n > 2 && u.line[0] == '#' && u.line[1] == '!')
		next = interpreter(u.line);
	else if (n < 0)
		why = RT_FOLLOW;
	else if (is_privileged(fd))
		why = TREE_WHY_PRIVILEGED;
	else if (n >= (long)sizeof(u.eh) && u.line[0] == ELFMAG0 && ends_with(u.line + 1, 3, "ELF", 3))
		why = judge_elf(fd, &u.eh);
	if (ours)
		sys_close(fd);
	if (!next)
		return why;
	return depth < SCRIPT_DEPTH ? rt_judge(AT_FDCWD, next, 0, depth + 1) : RT_FOLLOW;
}

int rt_judge(int dirfd, const char *path, int flags, int depth)
{
	long fd;

	if (flags & AT_EMPTY_PATH && path && !*path)
		return judge_open(dirfd, false, depth);
	fd = sys_call4(SYS_openat, dirfd, (long)path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (flags & AT_SYMLINK_NOFOLLOW ? O_NOFOLLOW : 0), 0);
	if (fd == -EACCES) /* perhaps it may be executed */
		return RT_FOLLOW;
	return fd < 0 ? RT_PLAIN : judge_open((int)fd, true, depth);
}
