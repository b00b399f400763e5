/* SPDX-License-Identifier: MIT
 *
 * exec.h - programs that the program executes.
 */
#ifndef MF_RUN_EXEC_H
#define MF_RUN_EXEC_H

#include "lib/foreign.h"
#include "run/control.h"
#include "run/runtime.h"

/* judge.c: can the runtime be preloaded? => enum tree_why: no; RT_FOLLOW: yes; RT_PLAIN: it can't be executed either, execve() will say why;
 * RT_UNNOTED: no, and nobody needs to know */
#define RT_FOLLOW  (-1)
#define RT_PLAIN   (-2)
#define RT_UNNOTED (-3)
HIDDEN int rt_judge(int dirfd, const char *path, int flags, int depth);
HIDDEN int rt_judge_foreign(enum foreign kind);

/* execve and execveat of the program, followed. => as the system call */
HIDDEN long rt_exec(int dirfd, const char *path, char *const argv[], char *const envp[], int flags);
/* libc's own execve comes here as well: what posix_spawn, system and popen call inside of libc. Once, before the program's code runs. */
HIDDEN void rt_exec_init(void);
HIDDEN void rt_exec_forked(void); /* in a forked child */
/* libc's functions end in rt_exec() */
extern HIDDEN bool rt_exec_diverted;

#endif
