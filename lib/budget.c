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
 *
 * With a swap file the pool isn't to grow so far. What it may hold before its oldest objects go to the file depends on what it gains: an eighth of the
 * budget where pages hardly shrink (they are better off as frames), up to three quarters where they shrink to half. A margin above that is
 * for what comes while the file is being written. When the file takes no more, the pool grows as without one. With --memory auto, the budget is whatever
 * is kept at the moment.
 * Pinned pages (O_DIRECT, registered buffers, process_vm_writev) can't leave, however many a call of the program pins; the kernel would go on to the end of
 * memory. When nothing else can be evicted, the limit of frames is exceeded by as many as there are of them, and falls back with them.
 * With --memory, the budget is the whole tree's (lib/account.h): `memory` here is what this process may keep of it now, which grows while there is room.
 */
#include "lib/budget.h"

#include "lib/account.h"
#include "lib/auto.h"
#include "lib/crowd.h"
#include "lib/pager.h"
#include "lib/tree.h"
#include "machine/uffd/uffd.h"
#include "mm/errno.h"
#include "swap/swap.h"

#define PAGE          MACHINE_PAGE_SIZE
#define SPILLS        8  /* segments in one go */
#define PIECE         (1ULL << 20)
#define RETRY_NS      10000000ULL /* until pinned pages are tried again; longer, if that takes longer than a 20th of it */
#define EXACT_EVERY   4096 /* calls of budget_balance() between two exact looks at the metadata; more often at first */

static struct {
	uint64_t budget;            /* --memory, the tree's; 0: not given */
	uint64_t memory;            /* of that, what this process may keep now */
	bool fixed_frames, fixed_pool, is_auto;
	unsigned long max_frames, floor;
	unsigned long limit;        /* of frames, now */
	unsigned long over;         /* beyond it, for pinned pages */
	uint64_t retry_ns;          /* when these are tried again */
	unsigned long allowed;      /* what the limit would be without lib/auto.c */
	struct swap_pool *pool;
	uint64_t pool_limit;        /* when fixed */
	bool spills;                /* there is a file, and it took what it was given last */
	bool has_file;
	uint64_t spill_above;       /* bytes of the pool */
	unsigned calls;
	uint64_t evicted;           /* at the last look at the pool */
	bool full;                  /* then a window's worth of free frames could not be had without eviction */
} b;

int budget_init(const struct mf_request *request, unsigned long *nr_frames)
{
	unsigned long frames;

	b.budget = b.memory = request->memory;
	b.fixed_frames = request->resident != 0;
	b.fixed_pool = request->pool != 0;
	b.has_file = b.spills = request->swap_bytes != 0;
	b.pool_limit = request->pool;
	b.is_auto = request->auto_permille != 0;
	frames = (request->resident ? request->resident : request->memory) / PAGE;
	if (frames < PAGER_MIN_FRAMES)
		return -EINVAL;
	b.max_frames = b.limit = b.allowed = frames;
	b.floor = frames / 16 > PAGER_MIN_FRAMES && !request->auto_permille ? frames / 16 : PAGER_MIN_FRAMES;
	if (b.fixed_frames)
		b.floor = frames;
	/* The engine may go over the limit for a moment when nothing may be evicted (fork). */
	*nr_frames = frames + frames / 16 + 256;
	return 0;
}

void budget_attach(struct swap_pool *pool)
{
	b.pool = pool;
}

bool budget_is_shared(void)
{
	return b.budget && !b.fixed_frames && !b.fixed_pool && !b.has_file && !b.is_auto;
}

uint64_t budget_waited(void)
{
	return swap_pool_waited(b.pool);
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

/* Evicted at a time, and kept free. Of few frames few: those that are free are no use to the program. More in company, where what one gives back
 * another has at once, and what all keep is a sum of figures some faults old. */
static unsigned long batch(void)
{
	const unsigned long n = b.limit / (account_alone() ? 64 : 32);

	return n < 8 ? 8 : n > RECLAIM_BATCH ? RECLAIM_BATCH : n;
}

static void set_limit(unsigned long frames)
{
	if (frames > b.max_frames)
		frames = b.max_frames;
	if (frames < b.floor)
		frames = b.floor;
	if (frames == b.limit && b.over <= nr_stuck_pages())
		return;
	b.limit = frames;
	b.over = b.over < nr_stuck_pages() ? b.over : nr_stuck_pages();
	mm_set_frame_limit(frames + b.over);
	uffd_set_real_limit(frames + b.over);
}

static bool within_real_limit(void)
{
	return uffd_stats.real_pages <= b.limit + b.over;
}

/* The machine keeps free frames for the next use, as many as the limit allowed when they were freed. It has sunk since: they would be kept by nobody's leave,
 * and instead of those that are used next: each page that leaves would be given back to the host, and the next one that comes would have to be asked for
 * (random writes to 256 MiB in 193: four pages of five entered by COPY). */
static void return_free_frames(void)
{
	/* What isn't in use or on a stack lies in the blocks; it takes a look through all frames to find it. */
	if (!within_real_limit() && uffd_stats.real_pages > nr_used_frames() + nr_hot_frames() + RECLAIM_BATCH)
		mm_offer_free_frames(within_real_limit);
}

/* Nothing can be evicted. => true: there is room for as much again as is pinned */
static bool exceed(void)
{
	unsigned long stuck = nr_stuck_pages();

	if (stuck > BUDGET_PINNED)
		stuck = BUDGET_PINNED;
	if (stuck <= b.over)
		return false;
	b.over = stuck;
	b.retry_ns = tree_now_ns() + RETRY_NS;
	mm_set_frame_limit(b.limit + b.over);
	uffd_set_real_limit(b.limit + b.over);
	return true;
}

/* Reclaim finds out what isn't pinned any more: now and then, and as long as there is something to find. */
static void fall_back(void)
{
	unsigned long stuck = nr_stuck_pages();
	uint64_t begin, took;

	if (!b.over || (begin = tree_now_ns()) < b.retry_ns)
		return;
	try_to_free_pages(RECLAIM_BATCH);
	took = tree_now_ns() - begin;
	if (nr_stuck_pages() >= stuck)
		b.retry_ns = begin + took + (20 * took > RETRY_NS ? 20 * took : RETRY_NS);
	set_limit(b.limit);
}

/* An exact look at the first call and at each doubling, while the tables grow fast, and then now and then. Multiples of 16 are never left out
 * (see budget_balance()). */
static bool exact_due(unsigned calls)
{
	return calls % EXACT_EVERY == 0 || (calls >= 16 && calls < EXACT_EVERY && !(calls & (calls - 1)));
}

/* A program with fewer frames would do nothing but fault. Parts that were given by hand need the whole budget. */
static unsigned long floor_frames(void)
{
	unsigned long frames = (unsigned long)(b.memory / PAGE);

	if (b.fixed_frames && b.memory >= b.budget)
		return b.max_frames;
	return frames / 16 > PAGER_MIN_FRAMES && !b.is_auto ? frames / 16 : PAGER_MIN_FRAMES;
}

/* Of so many bytes for frames and pool, how many for the pool before objects go to the file? */
static uint64_t pool_share(const struct swap_pool_stats *s, uint64_t bytes)
{
	const uint64_t pages = s->slots_used - s->same_filled - s->file_pages;
	uint64_t ratio = s->bytes_pool ? pages * PAGE * 256 / s->bytes_pool : 512; /* 256: not smaller at all */

	ratio = ratio < 280 ? 280 : ratio > 512 ? 512 : ratio;
	return bytes / 8 + bytes * 5 / 8 * (ratio - 280) / (512 - 280);
}

/* => what the pool may take at most */
static uint64_t pool_most(const struct swap_pool_stats *s, uint64_t other)
{
	uint64_t most = b.memory > other + b.floor * PAGE ? b.memory - other - b.floor * PAGE : PAGE;
	uint64_t margin = b.memory / 16 > 4 * SWAP_FILE_SEGMENT ? b.memory / 16 : 4 * SWAP_FILE_SEGMENT;

	if (!b.has_file)
		return most;
	if (b.is_auto) {
		b.spill_above = pool_share(s, nr_used_frames() * PAGE + s->bytes_pool);
		return most;
	}
	b.spill_above = pool_share(s, b.memory > other ? b.memory - other : 0);
	if (b.spill_above + margin / 2 > most)
		b.spill_above = most > margin ? most - margin / 2 : most / 2;
	return b.spills && b.spill_above + margin < most ? b.spill_above + margin : most;
}

/* Where another limit is the narrower one (lib/auto.c, --resident), there is nothing to grow. */
static bool may_grow(void)
{
	return b.limit >= b.allowed;
}

/* The pool is above what it should hold: the oldest to the file. Half way to its limit, wait for the file. */
void budget_spill(void)
{
	struct swap_pool_stats s;

	if (!b.has_file)
		return;
	if (b.fixed_pool)
		b.spill_above = b.pool_limit / 8 * 7;
	for (int i = 0; i < SPILLS; i++) {
		long ret;

		swap_pool_stats(b.pool, &s);
		if (s.bytes_pool <= b.spill_above)
			return;
		if (!b.is_auto && may_grow() && budget_grow())
			continue;
		ret = swap_pool_spill(b.pool, s.bytes_pool > b.spill_above + 2 * SWAP_FILE_SEGMENT);
		b.spills = ret >= 0 || ret == -EAGAIN;
		if (ret <= 0)
			return;
		if (s.bytes_pool > s.bytes_stored + s.bytes_stored / 4 + (uint64_t)ret)
			swap_pool_compact(b.pool);
	}
}

void budget_fit(void)
{
	struct swap_pool_stats s;
	uint64_t other, most;

	if (!b.budget)
		return;
	b.evicted = mm_evicted();
	account_evicted(b.evicted * PAGE);
	b.memory = account_allowance();
	b.floor = floor_frames();
	swap_pool_stats(b.pool, &s);
	/* One batch on its way out may grow the pool before its frames are counted as free: one of each handler. */
	other = s.bytes_meta + uffd_meta_bytes(exact_due(b.calls++)) + (1 + crowd_threads()) * RECLAIM_BATCH * PAGE;
	most = pool_most(&s, other);
	if (!b.fixed_pool)
		swap_pool_set_limit(b.pool, most);
	if (b.fixed_frames && b.memory >= b.budget) {
		set_limit(b.max_frames);
		return;
	}
	other += b.fixed_pool && b.memory >= b.budget ? b.pool_limit : s.bytes_pool;
	b.allowed = b.memory > other ? (unsigned long)((b.memory - other) / PAGE) : 0;
	set_limit(auto_limit(b.allowed));
	return_free_frames();
}

bool budget_grow(void)
{
	if (!account_grow())
		return false;
	budget_fit();
	return true;
}

/* More frames free: from the account while it has room, else by eviction. => false: there is no more */
static bool free_some(void)
{
	if (may_grow() && budget_grow())
		return true;
	if (!try_to_free_pages(batch()))
		return false;
	budget_fit();
	return true;
}

/* A window that needed more frames than there were has had pages evicted on its way: the pool has grown. */
static bool is_balanced(void)
{
	return nr_free_frames() >= (b.full ? batch() : RECLAIM_BATCH) && (!b.budget || mm_evicted() == b.evicted) && b.calls % 16;
}

bool budget_balance(void)
{
	if (auto_on() && auto_balance())
		set_limit(auto_limit(b.allowed));
	fall_back();
	if (is_balanced()) {
		b.calls++;
		return false;
	}
	budget_answer();
	budget_fit();
	budget_spill();
	/* Before windows have pages evicted: the engine doesn't know that there may be more. */
	while (nr_free_frames() < RECLAIM_BATCH && may_grow() && budget_grow())
		;
	b.full = nr_free_frames() < RECLAIM_BATCH;
	while (nr_free_frames() < batch()) {
		if (!free_some() && !exceed())
			return true;
		budget_spill();
	}
	return true;
}

/* Something of the pool to the file, however long it takes. */
static bool make_room(void)
{
	long ret = swap_pool_spill(b.pool, true);

	b.spills = ret >= 0;
	if (ret <= 0)
		return false;
	swap_pool_compact(b.pool);
	budget_fit();
	return try_to_free_pages(RECLAIM_BATCH) > 0;
}

bool budget_rescue(void)
{
	if (free_some())
		return true;
	for (int i = 0; b.has_file && i < SPILLS; i++) {
		if (make_room())
			return true;
		if (!b.spills)
			break;
	}
	if (swap_pool_compact(b.pool) || swap_cache_shrink(4 * RECLAIM_BATCH)) {
		budget_fit();
		if (try_to_free_pages(RECLAIM_BATCH) > 0)
			return true;
	}
	if (exceed())
		return true;
	if (!account_wait())
		return false;
	budget_fit();
	return true;
}

/* ---- the others ---------------------------------------------------------------------------------------------------------- */

uint64_t budget_other(void)
{
	struct swap_pool_stats s;

	swap_pool_stats(b.pool, &s);
	return s.bytes_pool + s.bytes_meta + uffd_meta_bytes(false);
}

uint64_t budget_kept(void)
{
	return nr_used_frames() * PAGE + budget_other();
}

/* Frames go until what is kept fits into `memory`. The pool takes whole blocks, and pages may wait for the compressor, so one batch alone may not show;
 * several do, or the pages don't compress. */
static void shrink_to(uint64_t memory)
{
	uint64_t best = budget_kept();

	for (int idle = 0; best > memory && idle < 8; idle++) {
		uint64_t now;

		if (!try_to_free_pages(RECLAIM_BATCH))
			return;
		now = budget_kept();
		if (now < best) {
			best = now;
			idle = 0;
		}
	}
}

/* What is given back must not be needed again by the next fault: some frames stay free. In pieces, as somebody waits for it. */
void budget_answer(void)
{
	const uint64_t slack = (batch() + 2 * RECLAIM_BATCH) * PAGE;
	uint64_t memory, now, give;

	if (!b.budget)
		return;
	account_tick();
	/* What was shared with the parent counts from now on, perhaps. */
	while (budget_kept() > account_allowance() && account_grow())
		;
	memory = account_allowance();
	if (budget_kept() > memory)
		shrink_to(memory);
	now = budget_kept() + slack;
	give = account_asked(memory > now ? memory - now : 0, mm_stats()->maj_flt + mm_stats()->min_flt);
	while (give) {
		uint64_t piece = give < PIECE ? give : PIECE;

		if (now + piece > memory)
			shrink_to(memory > piece + slack ? memory - piece - slack : 0);
		now = budget_kept() + slack;
		if (now + piece > memory) {
			piece = memory > now ? memory - now : 0;
			give = piece;
		}
		pager_publish(); /* first: who takes it tells at once, and the sum of what all keep has a peak */
		account_give(piece);
		give -= piece;
		memory = account_allowance();
	}
	budget_fit();
	memory = account_allowance();
	account_short(budget_kept() > memory ? budget_kept() - memory : 0);
}
