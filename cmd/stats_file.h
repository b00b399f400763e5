/* SPDX-License-Identifier: MIT
 *
 * stats_file.h - the file of --stats=FILE: refused before the program starts, complete or not there at the end.
 */
#ifndef MF_CMD_STATS_FILE_H
#define MF_CMD_STATS_FILE_H

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

struct stats_file {
	char name[PATH_MAX];   /* as the user gave it */
	char base[NAME_MAX + 1];
	char temp[64];         /* "" : `direct` */
	int folder;            /* the folder, O_PATH: the file lands there whatever becomes of the path meanwhile */
	int direct;            /* not a regular file (a pipe, /dev/null): written to as it is; -1 otherwise */
	mode_t mode;
};

/* => 0; -errno when the file could not be written at the end */
int stats_file_prepare(struct stats_file *f, const char *name);

/* => a stream to write the figures to, NULL with errno */
FILE *stats_file_open(struct stats_file *f);
/* The stream is closed and the file takes its place; on failure nothing is left behind. => 0 or -errno */
int stats_file_finish(struct stats_file *f, FILE *stream);

#endif
