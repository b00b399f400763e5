/* SPDX-License-Identifier: MIT
 * budget.h - how the budget is divided between frames and pool. */
#ifndef MF_LIB_BUDGET_H
#define MF_LIB_BUDGET_H

#include <stdbool.h>

#include "run/control.h"

struct swap_pool;

/* Frames that exist beyond what budget_init() says: for pages that are pinned. 1 GiB */
#define BUDGET_PINNED (1UL << 18)

/* Pages evicted at a time; so many of each handler may be on their way beyond what is counted. */
#define RECLAIM_BATCH 64UL

/* How many frames there are, and what the pool may take at first. => 0, -EINVAL when the budget is too small. */
int budget_init(const struct mf_request *request, unsigned long *nr_frames);
void budget_attach(struct swap_pool *pool);
/* What the pool takes, is that taken from the frames? Not where a part was given by hand, or a file takes what is too much. */
bool budget_is_shared(void);
/* Pages, pool and tables of this process, bytes. */
uint64_t budget_kept(void);
/* Of these, what is no pages. */
uint64_t budget_other(void);
/* More frames, if the tree's account has room. Caller: mmap_lock held. */
bool budget_grow(void);
/* After faults: fit the limits to what the pool takes now, and keep some frames free. Caller: mmap_lock held for reading.
 * => true: something may have been evicted */
bool budget_balance(void);
/* Fit the limits to what the pool takes now. */
void budget_fit(void);
uint64_t budget_pool_bytes(void);
/* What the pool should not hold goes to the swap file. Caller: mmap_lock held for reading. */
void budget_spill(void);
/* So long this process has waited for the swap file, ns. */
uint64_t budget_waited(void);
/* Frames that may be in use now. */
unsigned long budget_frame_limit(void);
/* Another process of the tree has asked for memory, perhaps: give some back. Caller: mmap_lock held for reading. */
void budget_answer(void);
/* A fault found no frame: try everything that could make one free. Caller: mmap_lock held for reading. => false: full. */
bool budget_rescue(void);

#endif
