/* SPDX-License-Identifier: MIT
 * abandon.h - a forked child without an engine. */
#ifndef MF_LIB_ABANDON_H
#define MF_LIB_ABANDON_H

#include "mm/mm.h"

/* All of mm's memory back to its place, by stores; from then on nobody may use the engine. => 0 or -errno: the memory is not complete.
 * Called in a forked child after mm_after_host_fork(), with one thread, on memory that is not armed. */
int abandon_all(struct mm_struct *mm);

#endif
