/* SPDX-License-Identifier: MIT
 *
 * files.h - scenarios in files, engine against host.
 */
#ifndef MF_ORACLE_FILES_H
#define MF_ORACLE_FILES_H

#include "tests/oracle/compare.h"

struct files_result {
	unsigned nr, different, skipped;
};

/* The file, or every *.scn of the directory; a line of TAP for each. */
void compare_files(struct comparison *c, const char *path, struct files_result *sum);

#endif
