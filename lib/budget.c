/* SPDX-License-Identifier: MIT
 *
 * budget.c - how the budget is divided between frames and pool.
 *
 *     memory:   |<- metadata ->|<------ pool ------>|<------------- frames ------------->|
 *                               grows as pages go out       limit = what is left, >= floor
 *
 * An evicted page of ratio r frees 4096 bytes and takes 4096/r, so the frames that are left shrink by the pool's growth alone. At the floor
 * (a sixteenth of the budget) the pool is full: a program with fewer frames would do nothing but fault. A part that was given by hand stays as it is, and the
 * other one takes what is left; without --memory there is nothing to balance.
 */
#include "lib/budget.h"

#include "lib/auto.h"
#include "lib/pager.h"
#include "machine/uffd/uffd.h"
#include "mm/errno.h"
#include "swap/swap.h"

#define PAGE          MACHINE_PAGE_SIZE
#define RECLAIM_BATCH 64UL
#define EXACT_EVERY   4096 /* calls of budget_balance() between two exact looks at the metadata; more often at first */

static struct {
	uint64_t memory;            /* 0: not given */
	bool fixed_frames, fixed_pool;
	unsigned long max_frames, floor;
	unsigned long limit;        /* of frames, now */
	unsigned long allowed;      /* what the limit would be without lib/auto.c */
	unsigned long low;          /* keep so many frames free */
	struct swap_pool *pool;
	uint64_t pool_limit;        /* when fixed */
	unsigned calls;
} b;

int budget_init(const struct mf_request *request, unsigned long *nr_frames)
{
	unsigned long frames;

	b.memory = request->memory;
	b.fixed_frames = request->resident != 0;
	b.fixed_pool = request->pool != 0;
	b.pool_limit = request->pool;
	frames = (request->resident ? request->resident : request->memory) / PAGE;
	if (frames < PAGER_MIN_FRAMES)
		return -EINVAL;
	b.max_frames = b.limit = b.allowed = frames;
	b.floor = frames / 16 > PAGER_MIN_FRAMES && !request->auto_permille ? frames / 16 : PAGER_MIN_FRAMES;
	if (b.fixed_frames)
		b.floor = frames;
	b.low = frames / 32 > RECLAIM_BATCH ? RECLAIM_BATCH : frames / 32;
	/* The engine may go over the limit for a moment when nothing may be evicted (fork). */
	*nr_frames = frames + frames / 16 + 256;
	return 0;
}

void budget_attach(struct swap_pool *pool)
{
	b.pool = pool;
}

uint64_t budget_pool_bytes(void)
{
	struct swap_pool_stats s;

	swap_pool_stats(b.pool, &s);
	return s.bytes_pool;
}

unsigned long budget_frame_limit(void)
{
	return b.limit;
}

static void set_limit(unsigned long frames)
{
	if (frames > b.max_frames)
		frames = b.max_frames;
	if (frames < b.floor)
		frames = b.floor;
	if (frames == b.limit)
		return;
	b.limit = frames;
	mm_set_frame_limit(frames);
	uffd_set_real_limit(frames);
}

/* An exact look at the first call and at each doubling, while the tables grow fast, and then now and then. Multiples of 16 are never left out
 * (see budget_balance()). */
static bool exact_due(unsigned calls)
{
	return calls % EXACT_EVERY == 0 || (calls >= 16 && calls < EXACT_EVERY && !(calls & (calls - 1)));
}

void budget_fit(void)
{
	struct swap_pool_stats s;
	uint64_t other;

	if (!b.memory)
		return;
	swap_pool_stats(b.pool, &s);
	/* One batch on its way out may grow the pool before its frames are counted as free. */
	other = s.bytes_meta + uffd_meta_bytes(exact_due(b.calls++)) + RECLAIM_BATCH * PAGE;
	if (!b.fixed_pool)
		swap_pool_set_limit(b.pool, b.memory > other + b.floor * PAGE ? b.memory - other - b.floor * PAGE : PAGE);
	if (b.fixed_frames)
		return;
	other += b.fixed_pool ? b.pool_limit : s.bytes_pool;
	b.allowed = b.memory > other ? (unsigned long)((b.memory - other) / PAGE) : 0;
	set_limit(auto_limit(b.allowed));
}

void budget_balance(void)
{
	if (auto_on() && auto_balance())
		set_limit(auto_limit(b.allowed));
	if (nr_free_frames() >= b.low && b.calls % 16) {
		b.calls++;
		return;
	}
	budget_fit();
	while (nr_free_frames() < b.low) {
		if (!try_to_free_pages(RECLAIM_BATCH))
			return;
		budget_fit();
	}
}

bool budget_rescue(void)
{
	if (try_to_free_pages(RECLAIM_BATCH))
		return true;
	if (swap_pool_compact(b.pool) || swap_cache_shrink(4 * RECLAIM_BATCH)) {
		budget_fit();
		return try_to_free_pages(RECLAIM_BATCH) > 0;
	}
	return false;
}
