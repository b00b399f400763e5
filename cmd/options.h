/* SPDX-License-Identifier: MIT
 *
 * options.h - the command line of `minflt run`.
 */
#ifndef MF_CMD_OPTIONS_H
#define MF_CMD_OPTIONS_H

#include <stdbool.h>

#include "run/control.h"

/* Less than this and the engine's own tables would take what the program needs. The runtime may still refuse more. */
#define SMALLEST_MEMORY   (4ULL << 20)
#define SMALLEST_RESIDENT (1ULL << 20)
#define SMALLEST_POOL     (1ULL << 20)
#define AUTO_PERCENT      5 /* --memory auto: of the time */

struct run_options {
	struct mf_request request;
	bool help;
	bool quiet;
	bool progress;
	bool stats;
	const char *stats_file; /* NULL: standard error */
	const char *swap;       /* FILE[:SIZE]; NULL: none */
	char **program;         /* the program and its arguments, NULL at the end */
};

/* => 0, or the exit status after having said what is wrong */
int options_parse(struct run_options *o, int argc, char **argv);

#endif
