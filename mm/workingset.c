/* SPDX-License-Identifier: MIT
 *
 * workingset.c - shadows of evicted pages, and what is made of them when the pages come back. See workingset.h; policy.h decides.
 *
 * The clock has 31 bits in a shadow: one that lies there for 2^31 evictions seems young again, and activates a page that isn't worth it. (Linux's
 * wraps, too.) That is all that can go wrong, so nothing here takes a lock: counts that are read while they change are hints.
 */
#include "mm/workingset.h"

#include "mm/fault/fault.h"
#include "mm/policy.h"

struct workingset workingset;

static unsigned long load(const atomic_ulong *n)
{
	return atomic_load_explicit((atomic_ulong *)n, memory_order_relaxed);
}

static void add(atomic_ulong *n, unsigned long by)
{
	atomic_fetch_add_explicit(n, by, memory_order_relaxed);
}

void workingset_init(void)
{
	memset(&workingset, 0, sizeof(workingset));
	atomic_init(&workingset.nonresident_age, 1); /* an age is never 0, but for a moment every 2^31 evictions */
	workingset.file = fault_path == &linux_5_path && policy_second_chance();
	workingset.anon = fault_path == &linux_5_path && mm_reuse_rule != REUSE_5_4;
}

unsigned long shadow_lifetime(void)
{
	return nr_used_frames() + nr_free_frames();
}

static void workingset_age_nonresident(void)
{
	add(&workingset.nonresident_age, 1);
}

void workingset_activation(void)
{
	if (workingset.file)
		workingset_age_nonresident();
}

void workingset_deactivation(struct page *page)
{
	if (workingset.file)
		set_page_flags(page, PG_workingset);
}

shadow_t workingset_eviction(const struct page *page, bool file)
{
	bool active = page_flags(page) & PG_workingset;
	unsigned long age;

	if (!(file ? workingset.file : workingset.anon))
		return 0;
	/* A quarter of them at most can be of use; the others go with the next reclaims (workingset_shrink()). */
	if (file && load(&workingset.nr_shadows) >= 4 * shadow_lifetime())
		return 0;
	age = atomic_fetch_add_explicit(&workingset.nonresident_age, 1, memory_order_relaxed);
	trace(workingset_eviction, page_to_pfn(page), age, active);
	age &= UINT32_MAX >> 1;
	return (shadow_t)((age ? age : 1) << 1 | active);
}

/* Old events weigh less and less: both are halved when they are a quarter of what is on the lists. */
static void lru_note_cost(bool file)
{
	unsigned long all = 0;

	trace_leaf(lru_note_cost, file, load(&workingset.cost[0]), load(&workingset.cost[1]));
	add(&workingset.cost[file], 1);
	for (int list = LRU_INACTIVE_ANON; list <= LRU_ACTIVE_FILE; list++)
		all += lru_size(list);
	if (load(&workingset.cost[0]) + load(&workingset.cost[1]) <= all / 4)
		return;
	for (int i = 0; i < 2; i++)
		atomic_store_explicit(&workingset.cost[i], load(&workingset.cost[i]) / 2, memory_order_relaxed);
}

static unsigned long competitors(bool file)
{
	unsigned long size[NR_LRU_LISTS];

	if (!policy_second_chance())
		return policy_workingset_blind(nr_used_frames());
	for (int list = LRU_INACTIVE_ANON; list <= LRU_ACTIVE_FILE; list++)
		size[list] = lru_size(list);
	return policy_workingset_size(size, file, nr_swap_slots, mm_reuse_rule == REUSE_5_4);
}

void workingset_refault(struct page *page, bool file, shadow_t shadow)
{
	unsigned long distance = shadow_age(shadow), size = competitors(file);

	trace_fn(workingset_refault, page_to_pfn(page), distance, size);
	add(&workingset.refault[file], 1);
	if (distance > size) {
		trace_why("since it went %lu have gone or become active, %lu could have made room: as a new page", distance, size);
		return;
	}
	trace_why("since it went %lu have gone or become active, %lu could have made room: active at once", distance, size);
	set_page_flags(page, PG_active);
	workingset_age_nonresident();
	add(&workingset.activate[file], 1);
	if (!policy_second_chance())
		set_page_flags(page, PG_workingset); /* for its next shadow */
	if (!(shadow & 1))
		return;
	add(&workingset.restore[file], 1);
	if (!policy_second_chance()) {
		trace_why("it was active the last time, too: it stays for one more round", 0, 0);
		set_page_flags(page, PG_referenced);
		return;
	}
	trace_why("it had been active before it was evicted: that was a mistake", 0, 0);
	set_page_flags(page, PG_workingset);
	if (workingset.anon) /* since 5.9 */
		lru_note_cost(file);
}

void workingset_pressure(unsigned long pressure[2])
{
	const unsigned long cost[2] = { load(&workingset.cost[0]), load(&workingset.cost[1]) };

	policy_pressure(cost, pressure);
	trace_why("pressure on anonymous pages and on those of files is %lu to %lu", pressure[0], pressure[1]);
}
