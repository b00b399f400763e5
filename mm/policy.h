/* SPDX-License-Identifier: MIT
 *
 * policy.h - what reclaim decides, apart from how it does it (vmscan.c).
 *
 *                        machine sets young bits, or          neither: nothing tells of a use
 *                        faults tell of the first use
 *      new page          inactive list                        inactive list
 *      inactive tail     used since the last look? (below)    evicted
 *      active list       shrunk when it outgrows              stuck pages, and those that a full backend did not take; shrunk
 *                                                             when it outgrows
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

/* Anonymous or file pages next? Each kind is looked at in proportion to how many there are of it, those of files 7 times for 3: a clean one costs
 * nothing to drop, and no more to bring back than one in swap (Linux's swappiness of 60). seen: looked at so far in this call. */
#define WEIGHT_ANON 60
#define WEIGHT_FILE 140

static inline bool policy_take_file(const unsigned long seen[2], unsigned long anon, unsigned long file)
{
	if (!file || !anon)
		return file;
	return seen[1] * anon * WEIGHT_ANON <= seen[0] * file * WEIGHT_FILE;
}

/* Below 1 GiB Linux keeps the two lists equal; above, the active one may be larger: inactive * sqrt(10 * GiB) < active. */
static inline bool policy_inactive_is_low(unsigned long inactive, unsigned long active)
{
	unsigned long gb = (inactive + active) >> (30 - PAGE_SHIFT), ratio = 1;

	while (gb && (ratio + 1) * (ratio + 1) <= 10 * gb)
		ratio++;
	return inactive * ratio < active;
}

#endif
