/* SPDX-License-Identifier: MIT
 *
 * size.h - sizes as people write them.
 */
#ifndef MF_CMD_SIZE_H
#define MF_CMD_SIZE_H

#include <stdint.h>

/* More than a process can address: a size above it is a slip of the pen. */
#define SIZE_LARGEST (1ULL << 47)

/* DIGITS[.DIGITS][K|M|G|T[iB|B]], powers of 1024; without a letter: bytes. The result is rounded down.
 * => 0; -EINVAL: not a size; -EDOM: nothing; -ERANGE: above SIZE_LARGEST. */
int size_parse(const char *text, uint64_t *bytes);

/* "12.3 MiB" into buf, which is returned. */
#define SIZE_TEXT 32
const char *size_format(char buf[SIZE_TEXT], uint64_t bytes);

#endif
