/* SPDX-License-Identifier: MIT
 *
 * policy.h - what reclaim decides, apart from how it does it (vmscan.c).
 *
 *                        machine sets young bits, or          neither: nothing tells of a use
 *                        faults tell of the first use
 *      new page          inactive list                        inactive list
 *      inactive tail     used since the last look? (below)    evicted
 *      active list       shrunk when it outgrows              pages that came back soon, stuck ones, and those that a full backend
 *                                                             did not take; shrunk when it outgrows
 *
 * A page that comes back soon after it was evicted is no new page but active at once (workingset.h). On a machine that tells of no use, one that did so
 * twice in a row goes round the active list twice.
 *
 * used since the last look, by Linux 5.15: used now and marked from before -> active list; used by several entries -> active list; used
 * now -> marked, one more round; not used -> evicted. Pages of files: policy_file_references().
 */
#ifndef MF_MM_POLICY_H
#define MF_MM_POLICY_H

#include "mm/internal.h"

/* Pages of one aligned window that leave together: one machine_unmap() for a contiguous piece. Power of two, at most 64. */
#define RECLAIM_CLUSTER 16

/* Second chance on a machine without young bits costs an unmap and a fault for every page that is looked at. It is on where the
 * machine can at least map read-only (the ARM of doc 1), off elsewhere (userfaultfd: the fault costs more than what it saves). */
#define EMULATE_YOUNG_WITHOUT_READONLY false

static inline bool policy_second_chance(void)
{
	return (mm_caps & MACHINE_YOUNG) || (mm_caps & MACHINE_READONLY) || EMULATE_YOUNG_WITHOUT_READONLY;
}

enum page_references { PAGEREF_RECLAIM, PAGEREF_RECLAIM_CLEAN, PAGEREF_KEEP, PAGEREF_ACTIVATE };

/* `referenced_ptes` entries were young, `marked`: PG_referenced was set at the last look. */
static inline enum page_references policy_references(int referenced_ptes, bool marked)
{
	if (!referenced_ptes)
		return PAGEREF_RECLAIM;
	return marked || referenced_ptes > 1 ? PAGEREF_ACTIVATE : PAGEREF_KEEP;
}

/* Pages of an address_space: as above, but program text that was used once is active at once, and a page that was marked and not used
 * since goes only if that costs no writing (`anon`: shared anonymous memory, which always does). */
static inline enum page_references policy_file_references(int referenced_ptes, bool marked, bool exec, bool anon)
{
	if (!referenced_ptes)
		return marked && !anon ? PAGEREF_RECLAIM_CLEAN : PAGEREF_RECLAIM;
	return marked || referenced_ptes > 1 || exec ? PAGEREF_ACTIVATE : PAGEREF_KEEP;
}

/* A page comes back (workingset.h). Had it stayed, so many pages could have gone in its place: the active ones of its own kind, and all of the other
 * kind; anonymous ones only if there is swap for them. The inactive ones of its own kind it had outlived already. 5.4 (`old`) thinks of active
 * file pages alone. size: by list */
static inline unsigned long policy_workingset_size(const unsigned long size[], bool file, bool swap, bool old)
{
	unsigned long n = size[LRU_ACTIVE_FILE];

	if (old)
		return n;
	if (!file)
		n += size[LRU_INACTIVE_FILE];
	if (swap)
		n += size[LRU_ACTIVE_ANON] + (file ? size[LRU_INACTIVE_ANON] : 0);
	return n;
}

/* The same where no use is seen, and pages leave in the order in which they came. One that comes back before all that is resident has gone once is used
 * more often than the average one; among the active ones it stays for two rounds instead of one, and for a third when it came back so soon the last time,
 * too. A page that has stayed away for longer begins anew. */
static inline unsigned long policy_workingset_blind(unsigned long resident)
{
	return resident;
}

/* How hard each kind is pressed. By swappiness, 7 times for 3: a clean page of a file costs nothing to drop, and no more to bring back than one in
 * swap. And the harder, the less of what came back of late had been in use (cost: pages thrashed); but the dearer kind at half of what the
 * other gets at least. */
#define SWAPPINESS_5 60

static inline void policy_pressure(const unsigned long cost[2], unsigned long pressure[2])
{
	unsigned long total = cost[0] + cost[1], anon = total + cost[0], file = total + cost[1];

	total = anon + file;
	pressure[0] = SWAPPINESS_5 * (total + 1) / (anon + 1);
	pressure[1] = (200 - SWAPPINESS_5) * (total + 1) / (file + 1);
}

/* Anonymous or file pages next? Each kind is looked at in proportion to how many there are of it and to the pressure. seen: looked at so far in this
 * call. */
static inline bool policy_take_file(const unsigned long seen[2], unsigned long anon, unsigned long file, const unsigned long pressure[2])
{
	if (!file || !anon)
		return file;
	return seen[1] * anon * pressure[0] <= seen[0] * file * pressure[1];
}

/* Below 1 GiB Linux keeps the two lists equal; above, the active one may be larger: inactive * sqrt(10 * GiB) < active. Where no use is seen, what stands
 * there is all that is known to be hot, and no accident of a single look: twice as large at least. */
static inline bool policy_inactive_is_low(unsigned long inactive, unsigned long active)
{
	unsigned long gb = (inactive + active) >> (30 - PAGE_SHIFT), ratio = policy_second_chance() ? 1 : 2;

	while (gb && (ratio + 1) * (ratio + 1) <= 10 * gb)
		ratio++;
	return inactive * ratio < active;
}

#endif
