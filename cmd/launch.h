/* SPDX-License-Identifier: MIT
 *
 * launch.h - start the program with the runtime preloaded, wait for it, and tell how it went.
 */
#ifndef MF_CMD_LAUNCH_H
#define MF_CMD_LAUNCH_H

#include <stdbool.h>
#include <sys/resource.h>
#include <time.h>

#include "run/control.h"

struct launch {
	const char *path;      /* for execve() */
	char **argv;
	const char *name;      /* as the user wrote it, for messages */
	int runtime_fd;        /* close-on-exec */
	int control_fd;        /* close-on-exec */
	int swap_fd;           /* close-on-exec; -1: no swap file */
	struct mf_control *control;
	bool progress;         /* a status line on standard error */
	bool silent;           /* the program's standard output and error go to /dev/null (doctor) */
};

struct outcome {
	int status;            /* what minflt exits with */
	int wait_status;       /* of the program, when it ran */
	bool ran;              /* the runtime reported for duty and the program's own code ran */
	double seconds;        /* wall clock */
	struct rusage usage;
	char why[4096 + 512];  /* it did not run: one line, the thing and the remedy */
};

/* => the page, with its descriptor (above 2, close-on-exec) in *fd; NULL with errno */
struct mf_control *control_create(int *fd, const struct mf_request *request);

/* Runs it to its end. `status` is 125, 126 or 127, with `why`, when it did not run. */
void launch(const struct launch *l, struct outcome *out);

#endif
