/* SPDX-License-Identifier: MIT
 *
 * there.h - how much memory there is for this process.
 */
#ifndef MF_CMD_THERE_H
#define MF_CMD_THERE_H

#include <stdint.h>

/* What the machine has, or the least that a memory cgroup of this process (v1 or v2, or one above it) leaves of it; limits below `least` bytes
 * are passed over. => bytes, whole pages */
uint64_t memory_there(uint64_t least);

#endif
