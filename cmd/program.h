/* SPDX-License-Identifier: MIT
 *
 * program.h - find the program, and judge whether the runtime can be preloaded into it.
 */
#ifndef MF_CMD_PROGRAM_H
#define MF_CMD_PROGRAM_H

#include <limits.h>
#include <stdbool.h>

struct program {
	char path[PATH_MAX]; /* what execve() gets */
};

/* As execvp() would: a name with a slash is a path, another one is looked for in PATH.
 * => 0; 126 or 127 after having said what is wrong */
int program_find(struct program *p, const char *name);

/* The dynamic linker heeds LD_PRELOAD for 64-bit dynamically linked programs of this architecture that gain no privileges. A script is judged by its
 * interpreter. => 0; 125 or 126 after having said what is wrong */
int program_judge(const struct program *p);
/* What the dynamic linker is told by the environment. => why no program can run under minflt then, and what helps; NULL: nothing is wrong */
const char *program_environment_fault(const char **remedy);
/* => 0 or 125, likewise */
int program_judge_environment(void);

#endif
