/* SPDX-License-Identifier: MIT
 *
 * swap_check.h - the pool from inside: every equation of swap/pool.h and swap/zpool.h. The pool must be quiet.
 */
#ifndef MF_TESTS_SWAP_CHECK_H
#define MF_TESTS_SWAP_CHECK_H

#include <stddef.h>

#include "swap/pool.h"

/* Prints what does not hold and aborts. */
void swap_check(const struct swap_pool *pool);

/* Pages of a range that the host really keeps. */
size_t swap_resident(const char *from, size_t len);
/* Pages of the pool that the host really keeps: of blocks, and of everything before them. */
size_t swap_resident_blocks(const struct swap_pool *pool);
size_t swap_resident_meta(const struct swap_pool *pool);

#endif
