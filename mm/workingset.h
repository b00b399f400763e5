/* SPDX-License-Identifier: MIT
 *
 * workingset.h - is a page that comes back one that should never have left? (fault-paths.md 4.3; linux-5)
 *
 * One clock, nonresident_age, goes on with every page that is evicted and with every one that becomes active. An evicted page leaves a shadow
 * where it was found: what the clock showed.
 *
 *      page cache ...... a slot of i_pages (item_shadow()), until the page comes back, the file is truncated, or it is too old to tell anything
 *      swap cache ...... slot.cache of its swap slot (SLOT_SHADOW): no memory of its own, and it goes with the slot
 *
 *      evicted          shadow: age, and whether the page had been active before
 *      comes back       distance = age now - age then: so many pages would have had to stay as well for this one to be found
 *        distance <= what it competes with (policy_workingset_size()) ....... active list at once
 *          and it had been active ........................................... it was thrashed: its kind costs more from now on (policy_pressure())
 *        otherwise ............................................................ inactive list, like a new one
 *
 * Only linux-5. Where nothing tells of a use (policy_second_chance()), the active list is no measure of what is in use, and Linux's distance would never be
 * short enough; there the shadows of anonymous pages are all that tells hot pages from others (policy_workingset_blind()). None of them is known to have been
 * active by right: bit 0 says that it came back soon when it came, and who does so twice in a row stays for one more round on the active list, by PG_referenced.
 * 5.4 has shadows of file pages alone.
 */
#ifndef MF_MM_WORKINGSET_H
#define MF_MM_WORKINGSET_H

#include "mm/internal.h"

#pragma GCC visibility push(hidden)

/* 0: none. Bit 0: PG_workingset; above it the age, modulo 2^31. */
typedef uint32_t shadow_t;

struct workingset {
	bool file, anon;             /* who leaves shadows; constants */
	atomic_ulong nonresident_age;
	atomic_ulong nr_shadows;     /* in page caches; changes under the tree_lock of one */
	atomic_ulong cost[2];        /* anonymous, file: pages that were thrashed of late (lru_note_cost()) */
	atomic_ulong refault[2], activate[2], restore[2]; /* since mm_init(): pages that came back; of these, active; of these, had been active */
};
extern struct workingset workingset;

void workingset_init(void); /* after the generation is chosen */
/* The page is about to leave its cache. => its shadow, 0: none */
shadow_t workingset_eviction(const struct page *page, bool file);
/* It is back, under another frame, on no list yet, and not known to others. */
void workingset_refault(struct page *page, bool file, shadow_t shadow);
/* A page has become active, or stays so. */
void workingset_activation(void);
/* A page leaves the active list: should it be evicted and come back, that was wrong. */
void workingset_deactivation(struct page *page);

/* policy_pressure() by what was thrashed of late. */
void workingset_pressure(unsigned long pressure[2]);

/* filemap.c: drops what is too old, if there are too many. => reclaim entered or an mmap_lock held, no spinlock */
void workingset_shrink(void);
/* Age at which a shadow tells nothing any more: nobody competes with so many pages. */
unsigned long shadow_lifetime(void);
static inline unsigned long shadow_age(shadow_t shadow)
{
	return (atomic_load_explicit(&workingset.nonresident_age, memory_order_relaxed) - (shadow >> 1)) & (UINT32_MAX >> 1);
}

#pragma GCC visibility pop

#endif
