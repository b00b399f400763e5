/* SPDX-License-Identifier: MIT
 *
 * runtime.h - find the shared library that is preloaded into the program.
 */
#ifndef MF_CMD_RUNTIME_H
#define MF_CMD_RUNTIME_H

#include <limits.h>
#include <stdbool.h>

/* MINFLT_RUNTIME if set; else beside this executable (a build directory), where an installation has put it relative to this executable,
 * where it was configured to be.
 * => a close-on-exec descriptor with its path in `path`; -1 with one line that says what is wrong in `why` */
int runtime_open(char path[PATH_MAX], char why[PATH_MAX + 256]);

#endif
