/* SPDX-License-Identifier: MIT
 *
 * swap_file.h - the file of --swap FILE[:SIZE]: is it fit for it, and whose is it?
 */
#ifndef MF_CMD_SWAP_FILE_H
#define MF_CMD_SWAP_FILE_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct swap_target {
	char path[PATH_MAX];
	int fd;          /* close-on-exec; -1: none */
	uint64_t bytes;  /* that may be used */
	bool created;    /* by this run, which removes it */
	bool regular;
};

/* Opens, checks and locks what `spec` names. memory: the budget, for the size where none is given. => 0, or the exit status after having said
 * what is wrong; then nothing has been changed */
int swap_file_open(struct swap_target *t, const char *spec, uint64_t memory);
/* After the run: gives the room back, unless a process of the run (a daemon) goes on with it; then it comes back when that has ended, if the file was made by
 * this run. in_use: there are such processes */
void swap_file_finish(struct swap_target *t, bool in_use);

#endif
