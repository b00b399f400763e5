/* SPDX-License-Identifier: MIT
 *
 * vmscan.c - LRU lists and reclaim. What is decided stands in policy.h; this is how it is done.
 *
 * Victims leave in clusters. The page at the tail of the inactive list brings along its neighbours in the page table (same aligned
 * window, mapped once, on the inactive list, not locked), because what was used together is used together again, and because
 * machine_unmap() of 16 neighbours costs little more than of one.
 *
 *      inactive tail --isolate, lock--> victim --collect--> cluster
 *        pte lock:    slot and swap cache; entry -> swap entry; machine_unmap()        stuck: entry restored, active list
 *                                                                                      gone: entry cleared, frame freed
 *        no lock:     store the bytes                                                  full: mapped back
 *                     has nobody but us and the cache a reference?                     wanted: unlock, stays in the swap cache
 *                     machine_release(); out of the swap cache; unlock; frames freed as runs
 *
 * Pages that machine_unmap() has frozen where they stand are released for several clusters together (struct departure), because that call interrupts other
 * processors; until then they are locked.
 *
 * From the swap entry until the page lock is released the page has PG_writeback: whoever meets the swap entry waits for the page
 * lock first. So nobody uses the address while a machine call for it is under way, and page tables stay until the end.
 *
 * Who waits for the page lock has found the page in the swap cache, and finds it there when he gets the lock: a fault maps it again without reading
 * it (do_swap_cached(): minor). A page that nobody waits for is taken out at once; Linux lets it lie until reclaim comes by again.
 *
 * Pages of files stand on lists of their own, shared anonymous memory on the anonymous ones. They go one by one (free_file_page): entries
 * become none, a clean page is dropped, one of shared anonymous memory goes to swap, a dirty one of a file stays (4.3).
 *
 * A page that several tables map (after fork) goes alone and in another order: it is read-only everywhere and its page lock keeps
 * it so, hence its bytes are stored first and the entries change one by one afterwards; any number of them may fail.
 */
#include "mm/fault/linux_2_6.h"
#include "mm/filemap.h"
#include "mm/policy.h"
#include "mm/workingset.h"

static struct {
	spinlock_t lock;
	unsigned long nr[NR_LRU_LISTS]; /* read without the lock */
} lru __cacheline_aligned;
static unsigned long nr_stuck __cacheline_aligned; /* pages with PG_stuck; atomic */

/* Evictions under way, for those who found nothing to reclaim. */
static atomic_uint evicting, evict_seq, evict_waiters;

void vmscan_init(void)
{
	for (int i = 0; i < NR_LRU_LISTS; i++)
		lru.nr[i] = 0;
	nr_stuck = 0;
	vmscan_reinit_locks();
}

void vmscan_reinit_locks(void)
{
	spin_lock_init(&lru.lock, ORDER_LRU);
	atomic_store(&evicting, 0);
	atomic_store(&evict_waiters, 0);
}

/* With those on their way there: they are new, and nobody has used them a second time. */
unsigned long lru_size(enum lru_list list)
{
	unsigned long n = __atomic_load_n(&lru.nr[list], __ATOMIC_RELAXED);

	if (list == LRU_INACTIVE_ANON)
		for_each_cpu(cpu)
			n += __atomic_load_n(&mm_cpus[cpu].nr_lru, __ATOMIC_RELAXED);
	return n;
}

unsigned long nr_unevictable(void)
{
	return lru_size(LRU_UNEVICTABLE) + __atomic_load_n(&nr_stuck, __ATOMIC_RELAXED);
}

unsigned long nr_stuck_pages(void)
{
	return __atomic_load_n(&nr_stuck, __ATOMIC_RELAXED);
}

/* ---- lists ------------------------------------------------------------------------------------------------------------- */

static inline enum lru_list page_lru(const struct page *page)
{
	unsigned f = page_flags(page);

	if (f & PG_unevictable)
		return LRU_UNEVICTABLE;
	return (f & PG_swapbacked || fault_path->one_lru ? LRU_INACTIVE_ANON : LRU_INACTIVE_FILE) + !!(f & PG_active);
}

/* => lru.lock held */
static inline void lru_count(enum lru_list list, long n)
{
	__atomic_store_n(&lru.nr[list], lru.nr[list] + n, __ATOMIC_RELAXED);
}

/* PG_lru is set already */
static inline void lru_link(struct page *page)
{
	enum lru_list list = page_lru(page);

	page_list_add(page, page_head(list));
	lru_count(list, 1);
}

static void lru_add(struct page *page)
{
	MM_DEBUG_ON(page_flags(page) & PG_lru);
	set_page_flags(page, PG_lru);
	lru_link(page);
}

static void lru_del(struct page *page)
{
	page_list_del(page);
	clear_page_flags(page, PG_lru);
	lru_count(page_lru(page), -1);
}

/* ---- on the way to the lists ----------------------------------------------------------------------------------------------
 *
 * New anonymous pages, one at a time, wait with their processor until there are as many as fit, and take the lock once for all. The flags of such a page
 * name the processor, and PG_lru is not set: it is as if isolated. It has no reference for that. Whoever frees it, or wants it on another list, has
 * the processor emptied first, so that all that wait go to the same list. To one thread alone it seems as if there was no wait: whatever it does to the
 * lists, what it has there comes first; and before anything is reclaimed or checked, what all have there. */

/* The one before in the array is the next one in the list. => the processor's lock held; not empty */
noinline void lru_drain_locked(struct mm_cpu *cpu)
{
	const unsigned change = (cpu->on_the_way & PG_CPU_MASK) | PG_lru; /* one is set, the other is not */
	struct page *head = page_head(LRU_INACTIVE_ANON);
	uint32_t next, link = cpu->lru[0] + NR_PAGE_HEADS;
	unsigned nr = cpu->nr_lru;

	cpu->lru[nr] = page_link(head) - NR_PAGE_HEADS;
	spin_lock(&lru.lock);
	next = head->next;
	link_page(next)->prev = link;
	for (unsigned i = 1; i <= nr; i++) {
		struct page *page = link_page(link);

		page->next = next;
		next = link;
		page->prev = link = cpu->lru[i] + NR_PAGE_HEADS;
		atomic_fetch_xor_explicit(&page->flags, change, memory_order_relaxed);
	}
	head->next = next;
	lru_count(LRU_INACTIVE_ANON, nr);
	__atomic_store_n(&cpu->nr_lru, 0, __ATOMIC_RELAXED);
	spin_unlock(&lru.lock);
}

static void lru_drain_cpu(struct mm_cpu *cpu)
{
	if (!__atomic_load_n(&cpu->nr_lru, __ATOMIC_RELAXED))
		return;
	spin_lock(&cpu->lock);
	if (cpu->nr_lru)
		lru_drain_locked(cpu);
	spin_unlock_global(&cpu->lock);
}

/* => the page stands on its list, if it was on the way there */
static void lru_drain_page(const struct page *page)
{
	unsigned cpu = (page_flags(page) & PG_CPU_MASK) >> PG_CPU_SHIFT;

	if (unlikely(cpu))
		lru_drain_cpu(&mm_cpus[cpu - 1]);
}

void lru_drain_all(void)
{
	for_each_cpu(cpu)
		lru_drain_cpu(&mm_cpus[cpu]);
}

/* => the lists are locked, and what this thread has done before stands there */
static void lock_lru(void)
{
	lru_drain_cpu(this_mm_cpu());
	spin_lock(&lru.lock);
}

/* New anonymous pages, `nr` neighbours with equal flags, in one go: the last one is first in the list. */
static void __lru_cache_add_run(struct page *page, unsigned nr, bool unevictable)
{
	unsigned flags = PG_lru | PG_swapbacked | (unevictable ? PG_unevictable : 0);
	uint32_t link = page_link(page), next, head_link;
	enum lru_list list;
	struct page *head;

	lock_lru();
	MM_DEBUG_ON(page_flags(page) & PG_lru);
	set_page_flags(page, flags);
	list = page_lru(page);
	head = page_head(list);
	head_link = page_link(head);
	next = head->next;
	link_page(next)->prev = link;
	page->next = next;
	page->prev = head_link;
	for (unsigned i = 1; i < nr; i++) {
		MM_DEBUG_ON(page_flags(page + i) & PG_lru);
		set_page_flags(page + i, flags);
		MM_DEBUG_ON(page_lru(page + i) != list);
		page[i - 1].prev = link + i;
		page[i].next = link + i - 1;
		page[i].prev = head_link;
	}
	head->next = link + nr - 1;
	lru_count(list, nr);
	spin_unlock(&lru.lock);
}

void lru_cache_add_run(struct page *page, unsigned nr, bool unevictable)
{
	trace(lru_cache_add_inactive_or_unevictable, page_to_pfn(page), nr, unevictable);
	__lru_cache_add_run(page, nr, unevictable);
}

void lru_cache_add_file(struct page *page)
{
	lock_lru();
	lru_add(page);
	spin_unlock(&lru.lock);
}

void lru_cache_add_inactive_or_unevictable(struct page *page, const struct vm_area_struct *vma)
{
	bool unevictable = vma->vm_flags & VM_LOCKED;

	trace(lru_cache_add_inactive_or_unevictable, page_to_pfn(page), 1, unevictable);
	if (unlikely(unevictable) || unlikely(page_flags(page) & (PG_unevictable | PG_active)))
		__lru_cache_add_run(page, 1, unevictable);
	else
		lru_cache_add_new(this_mm_cpu(), page, page_to_pfn(page));
}

/* => true: it is off the lists, and ours with a reference of its own */
static bool lru_isolate_locked(struct page *page)
{
	if (!(page_flags(page) & PG_lru) || !get_page_unless_zero(page))
		return false;
	lru_del(page);
	return true;
}

void lru_putback(struct page *page)
{
	lock_lru();
	lru_add(page);
	spin_unlock(&lru.lock);
	put_page(page);
}

static void move_to(struct page *page, unsigned set, unsigned clear)
{
	lru_drain_page(page);
	lock_lru();
	if (page_flags(page) & PG_lru) {
		lru_del(page);
		clear_page_flags(page, clear);
		set_page_flags(page, set);
		lru_add(page);
	} else {
		clear_page_flags(page, clear); /* isolated: it returns to the list that its flags say */
		set_page_flags(page, set);
	}
	spin_unlock(&lru.lock);
}

void activate_page(struct page *page)
{
	move_to(page, PG_active, PG_referenced);
}

void mark_page_accessed(struct page *page)
{
	unsigned f = page_flags(page);

	trace_leaf(mark_page_accessed, page_to_pfn(page), f & PG_active, f & PG_referenced);
	if (!(f & PG_referenced))
		set_page_flags(page, PG_referenced);
	else if (!(f & (PG_active | PG_unevictable))) {
		activate_page(page);
		workingset_activation();
	}
}

void rotate_reclaimable_page(struct page *page)
{
	trace_leaf(rotate_reclaimable_page, page_to_pfn(page), page->index, 0);
	lock_lru();
	clear_page_flags(page, PG_reclaim);
	if ((page_flags(page) & (PG_lru | PG_unevictable | PG_dirty)) == PG_lru) {
		lru_del(page);
		clear_page_flags(page, PG_active);
		set_page_flags(page, PG_lru);
		page_list_add_tail(page, page_head(page_lru(page)));
		lru_count(page_lru(page), 1);
	}
	spin_unlock(&lru.lock);
}

void page_set_unevictable(struct page *page, bool on)
{
	if (!!(page_flags(page) & PG_unevictable) != on)
		move_to(page, on ? PG_unevictable : 0, on ? PG_active : PG_unevictable);
}

static void set_page_stuck(struct page *page)
{
	if (!(atomic_fetch_or(&page->flags, PG_stuck) & PG_stuck))
		__atomic_fetch_add(&nr_stuck, 1, __ATOMIC_RELAXED);
}

void clear_page_stuck(struct page *page)
{
	if (page_flags(page) & PG_stuck && atomic_fetch_and(&page->flags, ~PG_stuck) & PG_stuck)
		__atomic_fetch_sub(&nr_stuck, 1, __ATOMIC_RELAXED);
}

void lru_del_batch(const uint32_t *pfn, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++)
		lru_drain_page(pfn_to_page(pfn[i]));
	spin_lock(&lru.lock);
	for (unsigned i = 0; i < nr; i++) {
		struct page *page = pfn_to_page(pfn[i]);

		if (page_flags(page) & PG_lru)
			lru_del(page);
		clear_page_stuck(page);
	}
	spin_unlock(&lru.lock);
}

/* ---- a cluster ---------------------------------------------------------------------------------------------------------- */

struct victim {
	struct page *page; /* locked, isolated */
	unsigned long addr;
	pte_t old;
	enum { V_UNMAPPED, V_STORED, V_FROZEN, V_WANTED, V_BACK, V_STUCK, V_GONE } state; /* V_FROZEN: stored, and machine_in_place() */
};

struct cluster {
	struct mm_struct *mm;
	struct ptdesc *table;
	unsigned nr;
	struct victim v[MAX_AROUND]; /* ascending addresses */
};

/* Stored and frozen pages of several clusters, locked: they leave together. */
#define DEPARTURE_MAX 64 /* what machine_release() takes at once */
struct departure {
	struct mm_struct *mm;
	unsigned nr, nr_ranges;
	struct machine_range ranges[DEPARTURE_MAX];
	struct page *pages[DEPARTURE_MAX];
};

/* What one call of reclaim has seen so far. */
struct scan {
	struct departure *departure; /* NULL: each cluster leaves at once */
	unsigned long looked; /* pages */
	bool full;            /* the last cluster had pages that the backend, or the slots, had no room for */
	bool shrunk;          /* the swap cache had nothing to give: not asked again */
	unsigned long seen[2]; /* pages looked at: anonymous, of files */
	unsigned long pressure[2]; /* policy_pressure() */
	bool dirty;           /* dirty pages of files were met and left alone */
	bool may_writepage;   /* they are written now */
	bool alone;           /* page by page: no neighbours */
	bool young_stays;     /* 2.6: an entry that was used since it was last looked at keeps its page */
};

/* Room by dropping copies of resident pages. => false: there was nothing to drop */
static bool make_room(struct scan *scan)
{
	if (!scan->shrunk && __swap_cache_shrink(2 * RECLAIM_CLUSTER))
		return true;
	scan->shrunk = true;
	return false;
}

static void evictions_begin(unsigned n)
{
	atomic_fetch_add(&evicting, n);
}

static void evictions_end(unsigned n)
{
	atomic_fetch_sub(&evicting, n);
	atomic_fetch_add(&evict_seq, 1);
	if (atomic_load(&evict_waiters))
		machine_wake(&evict_seq, 1 << 30);
}

bool wait_for_evictions(void)
{
	unsigned seq;
	bool any;

	lock_assert_none_held();
	atomic_fetch_add(&evict_waiters, 1);
	seq = atomic_load(&evict_seq);
	any = atomic_load(&evicting);
	if (any)
		machine_wait(&evict_seq, seq);
	atomic_fetch_sub(&evict_waiters, 1);
	return any;
}

/* Length of the piece from v[i] on whose addresses and frames are contiguous and that is in `state`. */
static unsigned piece(const struct cluster *c, unsigned i, int state)
{
	unsigned n = 1;

	while (i + n < c->nr && (int)c->v[i + n].state == state && c->v[i + n].addr == c->v[i].addr + n * PAGE_SIZE &&
	       c->v[i + n].page == c->v[i].page + n && pte_mapped(c->v[i + n].old) == pte_mapped(c->v[i].old))
		n++;
	return n;
}

/* Entry of v, locked table. */
static pte_t *victim_pte(const struct cluster *c, const struct victim *v)
{
	return pte_offset(c->table, v->addr);
}

/* May the page behind the entry leave with the cluster? => locked, if so. pte lock held */
static bool victim_eligible(pte_t pte, unsigned lists)
{
	struct page *page;

	if (!pte_normal(pte))
		return false;
	page = pfn_to_page(pte_pfn(pte));
	if (!(page_flags(page) & PG_lru) || !(lists & 1u << page_lru(page)) || page_mapcount(page) != 1 || page_is_file(page))
		return false;
	return trylock_page(page);
}

/* Fills c with what may leave of [lo, hi); `seed` (may be NULL) is isolated and locked already. => pte lock held */
static void collect(struct cluster *c, struct page *seed, unsigned long lo, unsigned long hi, unsigned lists)
{
	unsigned kept = 0;

	c->nr = 0;
	for (unsigned long addr = lo; addr < hi; addr += PAGE_SIZE) {
		pte_t pte = ptep_get(pte_offset(c->table, addr));
		bool is_seed = seed && pte_normal(pte) && pfn_to_page(pte_pfn(pte)) == seed;

		if (!is_seed && seed && policy_second_chance() && pte_young(pte))
			continue;
		if (is_seed || victim_eligible(pte, lists))
			c->v[c->nr++] = (struct victim){ .page = pfn_to_page(pte_pfn(pte)), .addr = addr };
	}
	lock_lru();
	for (unsigned i = 0; i < c->nr; i++) {
		struct page *page = c->v[i].page;

		if (page == seed || lru_isolate_locked(page))
			c->v[kept++] = c->v[i];
		else
			unlock_page(page);
	}
	spin_unlock(&lru.lock);
	c->nr = kept;
}

/* The page can't leave now: back to the lists. Page locked. If its tables have let go of it meanwhile, the swap cache has
 * the last reference; they could not drop that because we have the lock. */
void keep_page(struct page *page, unsigned flags)
{
	if (page_in_swap_cache(page) && page_mapcount(page) == 0 && !unmapped_page_stays(page))
		delete_from_swap_cache(page);
	set_page_flags(page, flags);
	if (flags & PG_active)
		workingset_activation();
	unlock_page(page);
	lru_putback(page);
}

/* Slot, swap cache and the entry's count for all; who gets none stays. => pte lock held */
static void give_slots(struct cluster *c, struct scan *scan)
{
	struct page *pages[MAX_AROUND];
	unsigned got = 0;

	for (unsigned i = 0; i < c->nr; i++)
		pages[i] = c->v[i].page;
	do {
		if (got < c->nr)
			got += add_to_swap_for_unmap(pages + got, c->nr - got);
	} while (got < c->nr && make_room(scan));
	scan->full |= got < c->nr;
	for (unsigned i = got; i < c->nr; i++)
		keep_page(c->v[i].page, 0);
	c->nr = got;
}

/* Entry -> swap entry. => pte lock held; machine_unmap() follows */
static void unmap_entry(struct cluster *c, struct victim *v)
{
	swp_entry_t entry = page_swap_entry(v->page);
	pte_t *ptep = victim_pte(c, v);
	pte_t swp = swp_entry_to_pte(entry);

	if (page_flags(v->page) & PG_anon_exclusive)
		swp = pte_set(swp, _PAGE_EXCLUSIVE);
	set_page_flags(v->page, PG_writeback);
	v->old = (pte_t){ __atomic_exchange_n(&ptep->val, swp.val, __ATOMIC_ACQ_REL) };
	page_remove_rmap(v->page);
	atomic_fetch_sub(&v->page->_refcount, 1);
	v->state = V_UNMAPPED;
	trace(try_to_unmap, v->addr, page_to_pfn(v->page), entry.val);
}

/* Swap entry -> what stood there. => pte lock held */
static void restore_entry(struct cluster *c, struct victim *v)
{
	swp_entry_t entry = page_swap_entry(v->page);

	get_page(v->page);
	atomic_fetch_add(&v->page->_mapcount, 1);
	set_pte(victim_pte(c, v), v->old);
	add_mm_counter(c->mm, MM_ANONPAGES, 1);
	add_mm_counter(c->mm, MM_SWAPENTS, -1);
	clear_page_flags(v->page, PG_writeback);
	swap_free(entry);
	/* The slot holds nothing, or something older than the page. */
	delete_from_swap_cache(v->page);
}

static void forget_entry(struct cluster *c, struct victim *v)
{
	swp_entry_t entry = page_swap_entry(v->page);

	set_pte(victim_pte(c, v), (pte_t){ 0 });
	add_mm_counter(c->mm, MM_SWAPENTS, -1);
	clear_page_flags(v->page, PG_writeback);
	swap_free(entry);
	delete_from_swap_cache(v->page);
}

/* What machine_unmap() said of v[i .. i+n). => pte lock held */
static void take_verdict(struct cluster *c, unsigned i, unsigned n, uint64_t stuck, uint64_t gone)
{
	for (unsigned k = 0; k < n; k++) {
		struct victim *v = &c->v[i + k];

		if (stuck >> k & 1) {
			trace(page_stuck, v->addr, page_to_pfn(v->page), 0);
			count(stuck, 1);
			set_page_stuck(v->page);
			restore_entry(c, v);
			v->state = V_STUCK;
			keep_page(v->page, PG_active);
		} else if (gone >> k & 1) {
			trace(page_gone, v->addr, page_to_pfn(v->page), 0);
			count(gone, 1);
			forget_entry(c, v);
			v->state = V_GONE;
			unlock_page(v->page);
			put_page(v->page);
		}
	}
}

/* The entries of v[i .. i+n) were dirty, but the machine may know better. */
static void take_dirty(struct cluster *c, unsigned i, unsigned n, uint64_t unwritten)
{
	for (unsigned k = 0; k < n; k++)
		if (pte_dirty(c->v[i + k].old) && !(unwritten >> k & 1))
			set_page_flags(c->v[i + k].page, PG_dirty);
}

/* => pte lock held */
static void unmap_cluster(struct cluster *c)
{
	struct machine_range ranges[MAX_AROUND];
	unsigned first[MAX_AROUND], nr = 0, at = 0;
	uint64_t stuck = 0, gone = 0;

	for (unsigned i = 0; i < c->nr; i++)
		unmap_entry(c, &c->v[i]);
	add_mm_counter(c->mm, MM_ANONPAGES, -(long)c->nr);
	add_mm_counter(c->mm, MM_SWAPENTS, c->nr);
	for (unsigned i = 0, n; i < c->nr; i += n) {
		unsigned long pfn = page_to_pfn(c->v[i].page);

		n = piece(c, i, V_UNMAPPED);
		if (!pte_mapped(c->v[i].old)) { /* old, and at home already */
			take_dirty(c, i, n, 0);
			continue;
		}
		trace(machine_unmap, c->v[i].addr, n, pfn);
		first[nr] = i;
		ranges[nr++] = (struct machine_range){ c->v[i].addr, pfn, n };
	}
	if (nr)
		machine_unmap_ranges(c->mm, ranges, nr, &stuck, &gone);
	for (unsigned k = 0; k < nr; at += ranges[k++].nr) {
		take_dirty(c, first[k], ranges[k].nr, machine_unwritten(ranges[k].pfn, ranges[k].nr));
		if (unlikely((stuck | gone) >> at))
			take_verdict(c, first[k], ranges[k].nr, stuck >> at, gone >> at);
	}
}

/* => 0, or -ENOSPC after the backend was helped once */
static int store_page(struct page *page, struct scan *scan)
{
	int err;

	if (!(page_flags(page) & PG_dirty)) {
		count(clean_evictions, 1);
		swap_copy_was_true();
		return 0;
	}
	err = swap_writepage(page);
	if (err == -ENOSPC && make_room(scan))
		err = swap_writepage(page);
	if (err < 0) {
		scan->full = true;
		return err;
	}
	if (err == 1) {
		count(clean_evictions, 1);
		swap_copy_was_true();
	}
	clear_page_flags(page, PG_dirty);
	count(swapped_out, 1);
	return 0;
}

/* The backend is full: the pages stand at their addresses again. Nobody has touched the entries, for all who meet
 * them wait for the page lock. */
static void cluster_back(struct cluster *c)
{
	for (unsigned i = 0; i < c->nr; i++) {
		struct victim *v = &c->v[i];

		if (v->state != V_BACK)
			continue;
		spin_lock(&c->table->ptl);
		restore_entry(c, v);
		if (pte_mapped(v->old) && !map_back(c->mm, v->addr, page_to_pfn(v->page), pte_how(v->old))) {
			set_pte(victim_pte(c, v), (pte_t){ 0 }); /* the host has no place for it any more */
			add_mm_counter(c->mm, MM_ANONPAGES, -1);
			page_remove_rmap(v->page);
			atomic_fetch_sub(&v->page->_refcount, 1);
			count(gone, 1);
			spin_unlock(&c->table->ptl);
			unlock_page(v->page);
			put_page(v->page);
			continue;
		}
		spin_unlock(&c->table->ptl);
		keep_page(v->page, PG_active);
	}
}

/* Stored and unmapped. Has somebody found the page in the swap cache meanwhile, who waits for its lock? He gets it, where its bytes can stay in
 * the frame. */
static bool page_wanted(struct page *page)
{
	return unlikely(page_count(page) != 2) && machine_at_home(page_to_pfn(page));
}

/* => page isolated and locked; afterwards neither: in the swap cache */
static void leave_in_swap_cache(struct page *page)
{
	trace_why("somebody has found frame %lu in the swap cache: it stays there", page_to_pfn(page), 0);
	clear_page_flags(page, PG_writeback | PG_anon_exclusive); /* the swap entry knows the latter */
	unlock_page(page);
	lru_putback(page);
}

/* Nobody needs their addresses any more. => locked before, freed afterwards */
static void free_evicted(struct page *const *pages, unsigned nr)
{
	struct page_batch batch;

	batch.nr = 0;
	delete_evicted_from_swap_cache(pages, nr);
	for (unsigned i = 0; i < nr; i++) {
		unlock_page(pages[i]);
		page_batch_add(&batch, page_to_pfn(pages[i]));
	}
	put_page_batch(&batch);
	count(evicted, nr);
}

static void depart(struct departure *d)
{
	if (!d->nr)
		return;
	machine_release(d->mm, d->ranges, d->nr_ranges);
	free_evicted(d->pages, d->nr);
	evictions_end(d->nr);
	d->nr = d->nr_ranges = 0;
}

/* What is stored, and still stands at its address, leaves with the next clusters. => so many pages */
static unsigned let_frozen_wait(struct cluster *c, struct scan *scan)
{
	struct departure *d = scan->departure;
	unsigned before;

	if (!d)
		return 0;
	if (d->mm != c->mm || d->nr + c->nr > DEPARTURE_MAX)
		depart(d);
	d->mm = c->mm;
	before = d->nr;
	for (unsigned i = 0; i < c->nr; i++)
		if (c->v[i].state == V_STORED && pte_mapped(c->v[i].old) && machine_in_place(page_to_pfn(c->v[i].page)))
			c->v[i].state = V_FROZEN;
	for (unsigned i = 0, n; i < c->nr; i += n) {
		n = piece(c, i, c->v[i].state);
		if (c->v[i].state != V_FROZEN)
			continue;
		d->ranges[d->nr_ranges++] = (struct machine_range){ c->v[i].addr, page_to_pfn(c->v[i].page), n };
		for (unsigned k = 0; k < n; k++)
			d->pages[d->nr++] = c->v[i + k].page;
	}
	return d->nr - before;
}

/* => no lock held but the pages'; the cluster's evictions are over. Frames freed, those included that wait in scan->departure, whose evictions go on */
static unsigned store_cluster(struct cluster *c, struct scan *scan)
{
	struct machine_range ranges[MAX_AROUND];
	struct page *pages[MAX_AROUND];
	unsigned freed = 0, nr_ranges = 0, frozen;

	for (unsigned i = 0; i < c->nr; i++) {
		if (c->v[i].state != V_UNMAPPED)
			continue;
		c->v[i].state = store_page(c->v[i].page, scan) ? V_BACK : V_STORED;
	}
	for (unsigned i = 0; i < c->nr; i++)
		if (c->v[i].state == V_STORED && page_wanted(c->v[i].page))
			c->v[i].state = V_WANTED;
	frozen = let_frozen_wait(c, scan);
	for (unsigned i = 0, n; i < c->nr; i += n) {
		n = piece(c, i, c->v[i].state);
		if (c->v[i].state == V_STORED && pte_mapped(c->v[i].old))
			ranges[nr_ranges++] = (struct machine_range){ c->v[i].addr, page_to_pfn(c->v[i].page), n };
	}
	if (nr_ranges)
		machine_release(c->mm, ranges, nr_ranges);
	cluster_back(c);
	for (unsigned i = 0; i < c->nr; i++) {
		if (c->v[i].state == V_STORED)
			pages[freed++] = c->v[i].page;
		else if (c->v[i].state == V_WANTED)
			leave_in_swap_cache(c->v[i].page);
	}
	free_evicted(pages, freed);
	evictions_end(c->nr - frozen);
	return freed + frozen;
}

/* => pte lock held, released; anon_vma root lock may be held (`root`), released. Pages freed */
static unsigned evict_cluster(struct cluster *c, struct anon_vma *root, struct scan *scan)
{
	unsigned freed = 0;

	scan->looked += c->nr;
	give_slots(c, scan);
	evictions_begin(c->nr);
	unmap_cluster(c);
	spin_unlock(&c->table->ptl);
	if (root)
		page_unlock_anon_vma(root);
	for (unsigned i = 0; i < c->nr; i++)
		freed += c->v[i].state == V_GONE;
	return freed + store_cluster(c, scan);
}

/* The entry is old afterwards; where only a fault can tell of the next use, the page waits at home. => pte lock held */
static void forget_young(struct vm_area_struct *vma, unsigned long addr, pte_t *ptep, pte_t pte)
{
	uint64_t stuck = 0, gone = 0;

	if (!pte_young(pte))
		return;
	__atomic_fetch_and(&ptep->val, ~_PAGE_ACCESSED, __ATOMIC_ACQ_REL);
	if (mm_caps & MACHINE_YOUNG) {
		machine_protect(vma->vm_mm, addr, 1, pte_pfn(pte), pte_how(pte));
		return;
	}
	machine_unmap(vma->vm_mm, addr, 1, pte_pfn(pte), &stuck, &gone);
	if (stuck || gone)
		__atomic_fetch_or(&ptep->val, _PAGE_ACCESSED, __ATOMIC_ACQ_REL);
}

static void release_page(struct mm_struct *mm, unsigned long addr, const struct page *page)
{
	const struct machine_range range = { addr, page_to_pfn(page), 1 };

	machine_release(mm, &range, 1);
}

/* ---- a page with several mappings ----------------------------------------------------------------------------------------- */

/* What keeps a page from leaving. */
struct unmap {
	bool young_stays; /* struct scan */
	bool locked, stuck, used;
};

/* => pte lock held; true: it stays, and is old now */
static bool stays_for_use(struct vm_area_struct *vma, unsigned long addr, pte_t *ptep, bool young_stays)
{
	pte_t pte = ptep_get(ptep);

	if (!young_stays || !pte_young(pte))
		return false;
	trace_why("it was used since the last look", 0, 0);
	forget_young(vma, addr, ptep, pte);
	return true;
}

/* A page that no entry maps; what names its slot is to find its bytes there. => page isolated and locked; afterwards neither. 1: freed; 0: it stays
 * in the swap cache, because somebody has found it there, or the backend is full */
static unsigned free_unmapped_page(struct page *page, struct scan *scan)
{
	if (page_in_swap_cache(page)) {
		if (!swap_count(page_swap_entry(page))) {
			delete_from_swap_cache(page);
		} else if ((page_flags(page) & PG_dirty && store_page(page, scan)) || !remove_swap_mapping(page)) {
			leave_in_swap_cache(page);
			return 0;
		}
	}
	unlock_page(page);
	put_page(page);
	count(evicted, 1);
	return 1;
}

static bool unmap_one_of_many(struct page *page, struct vm_area_struct *vma, unsigned long addr, void *arg)
{
	swp_entry_t entry = page_swap_entry(page);
	uint64_t stuck = 0, gone = 0;
	struct unmap *u = arg;
	spinlock_t *ptl;
	pte_t *ptep = page_vma_mapped(page, vma, addr, &ptl), old;

	if (!ptep)
		return true;
	u->locked = vma->vm_flags & VM_LOCKED;
	u->used = stays_for_use(vma, addr, ptep, u->young_stays);
	if (u->locked || u->used) {
		spin_unlock(ptl);
		return false;
	}
	old = ptep_get(ptep);
	swap_duplicate(entry, 1);
	set_pte(ptep, swp_entry_to_pte(entry));
	if (pte_mapped(old))
		machine_unmap(vma->vm_mm, addr, 1, page_to_pfn(page), &stuck, &gone);
	if (stuck) {
		set_pte(ptep, old);
		swap_free(entry);
		count(stuck, 1);
		set_page_stuck(page);
		spin_unlock(ptl);
		return false;
	}
	if (pte_mapped(old))
		release_page(vma->vm_mm, addr, page);
	page_remove_rmap(page);
	atomic_fetch_sub(&page->_refcount, 1);
	add_mm_counter(vma->vm_mm, MM_ANONPAGES, -1);
	add_mm_counter(vma->vm_mm, MM_SWAPENTS, 1);
	trace(try_to_unmap, addr, page_to_pfn(page), entry.val);
	spin_unlock(ptl);
	return page_mapcount(page) > 0;
}

/* => page isolated and locked; afterwards neither. Pages freed: 0 or 1 */
static unsigned evict_shared(struct page *page, struct scan *scan)
{
	struct unmap u = { .young_stays = scan->young_stays };
	struct anon_vma *root;

	if (!page_in_swap_cache(page) && !add_to_swap(page)) {
		scan->full = true;
		keep_page(page, 0);
		return 0;
	}
	evictions_begin(1);
	set_page_flags(page, PG_writeback);
	if (store_page(page, scan)) {
		if (!swap_count(page_swap_entry(page)))
			delete_from_swap_cache(page);
	} else if ((root = page_lock_anon_vma(page))) {
		rmap_walk_locked(page, root, unmap_one_of_many, &u);
		page_unlock_anon_vma(root);
	}
	clear_page_flags(page, PG_writeback);
	evictions_end(1);
	if (page_mapcount(page)) {
		keep_page(page, u.locked ? PG_unevictable : PG_active);
		return 0;
	}
	return free_unmapped_page(page, scan);
}

/* ---- an anonymous page ---------------------------------------------------------------------------------------------------- */

struct found {
	struct vm_area_struct *vma;
	unsigned long addr;
	spinlock_t *ptl;
	pte_t *ptep;
	bool hit;
};

static bool find_mapping(struct page *page, struct vm_area_struct *vma, unsigned long addr, void *arg)
{
	struct found *f = arg;

	f->ptep = page_vma_mapped(page, vma, addr, &f->ptl);
	if (!f->ptep)
		return true;
	f->vma = vma;
	f->addr = addr;
	f->hit = true;
	return false;
}

/* The aligned window around addr, within the vma and the page table. */
static void cluster_bounds(const struct vm_area_struct *vma, unsigned long addr, unsigned long *lo, unsigned long *hi)
{
	unsigned long size = RECLAIM_CLUSTER * PAGE_SIZE;

	*lo = max_ul(addr & ~(size - 1), vma->vm_start);
	*hi = min_ul((addr & ~(size - 1)) + size, vma->vm_end);
}

/* => page isolated and locked, mapped once; afterwards neither. Pages freed */
static unsigned evict_around(struct page *page, struct scan *scan)
{
	struct found f = { .hit = false };
	struct anon_vma *root = page_lock_anon_vma(page);
	struct cluster c;
	unsigned long lo, hi;
	bool used;

	if (root)
		rmap_walk_locked(page, root, find_mapping, &f);
	used = f.hit && stays_for_use(f.vma, f.addr, f.ptep, scan->young_stays);
	if (!f.hit || used || f.vma->vm_flags & VM_LOCKED) {
		bool locked = f.hit && f.vma->vm_flags & VM_LOCKED;

		if (f.hit)
			spin_unlock(f.ptl);
		if (root)
			page_unlock_anon_vma(root);
		keep_page(page, locked ? PG_unevictable : used ? PG_active : 0);
		return 0;
	}
	c.mm = f.vma->vm_mm;
	c.table = container_of(f.ptl, struct ptdesc, ptl);
	cluster_bounds(f.vma, f.addr, &lo, &hi);
	if (scan->alone) {
		lo = f.addr;
		hi = f.addr + PAGE_SIZE;
	}
	collect(&c, page, lo, hi, 1u << LRU_INACTIVE_ANON);
	return evict_cluster(&c, root, scan);
}

/* ---- pages of files and of shared anonymous memory ------------------------------------------------------------------------ */

static bool unmap_file_one(struct page *page, struct vm_area_struct *vma, unsigned long addr, void *arg)
{
	struct unmap *u = arg;
	uint64_t stuck = 0, gone = 0;
	spinlock_t *ptl;
	pte_t *ptep = page_vma_mapped(page, vma, addr, &ptl), old;

	if (!ptep)
		return true;
	u->locked = vma->vm_flags & VM_LOCKED;
	u->used = stays_for_use(vma, addr, ptep, u->young_stays);
	if (u->locked || u->used) {
		spin_unlock(ptl);
		return false;
	}
	old = ptep_get_and_clear(ptep);
	if (pte_mapped(old))
		machine_unmap(vma->vm_mm, addr, 1, page_to_pfn(page), &stuck, &gone);
	if (stuck) {
		set_pte(ptep, old);
		count(stuck, 1);
		set_page_stuck(page);
		u->stuck = true;
		spin_unlock(ptl);
		return false;
	}
	if (pte_mapped(old))
		release_page(vma->vm_mm, addr, page);
	if (pte_dirty(old))
		set_page_dirty(page);
	page_remove_rmap(page);
	add_mm_counter(vma->vm_mm, mm_counter_file(page), -1);
	atomic_fetch_sub(&page->_refcount, 1);
	spin_unlock(ptl);
	return page_mapcount(page) > 0;
}

/* All entries of the page become none. => page locked; false: some stay */
static bool try_to_unmap_file(struct page *page, struct unmap *u)
{
	struct address_space *mapping = page_mapping(page);

	trace_fn(try_to_unmap, page->index, page_to_pfn(page), page_mapcount(page));
	rmap_walk(page, unmap_file_one, u);
	if (page_mapcount(page) && !u->locked && !u->stuck && !u->used && mapping->i_mmap_nonlinear)
		try_to_unmap_nonlinear(mapping, page);
	return page_mapcount(page) == 0;
}

/* A page that nobody maps, and its bytes. => page locked; true: they are safe where they came from */
static bool clean_file_page(struct page *page, struct scan *scan, bool only_clean)
{
	if (page_flags(page) & PG_swapbacked) {
		if (!(page_flags(page) & PG_dirty))
			return true; /* never stored to: it will begin as zeros again */
		if (nr_swap_slots && (!shmem_writepage(page) || (make_room(scan) && !shmem_writepage(page))))
			return true;
		scan->full = true;
		return false;
	}
	if (!(page_flags(page) & PG_dirty))
		return true;
	if (!scan->may_writepage || only_clean) {
		scan->dirty = true;
		if (!fault_path->one_lru)
			set_page_flags(page, PG_reclaim);
		return false;
	}
	if (page_count(page) != 2) { /* somebody has it: it could not go afterwards */
		trace_why("frame %lu has %lu references: not written", page_to_pfn(page), page_count(page));
		return false;
	}
	return !clear_page_dirty_for_io(page) || !write_one_page(page);
}

/* => page locked, mapped nowhere, out of its cache and of the swap cache in the end. 1: freed; 0: kept */
static unsigned free_file_page(struct page *page, struct scan *scan, bool only_clean)
{
	struct address_space *mapping;

	if (!clean_file_page(page, scan, only_clean)) {
		/* A dirty page of a file: until it was written there is nothing to win here. */
		keep_page(page, scan->may_writepage && only_clean ? 0 : PG_active);
		return 0;
	}
	mapping = page_mapping(page);
	if (mapping && !__remove_mapping(mapping, page, true)) {
		keep_page(page, 0);
		return 0;
	}
	return free_unmapped_page(page, scan); /* shmem_writepage(): it is in the swap cache, and the tree names the slot */
}

static bool vma_is_exec(struct page *page, struct vm_area_struct *vma, unsigned long addr, void *arg)
{
	bool *exec = arg;

	*exec = vma->vm_flags & VM_EXEC;
	return !*exec;
}

/* Is it program text? => page locked */
static bool page_is_exec_file(struct page *page)
{
	bool exec = false;

	if (!(page_flags(page) & PG_swapbacked) && page_mapcount(page))
		rmap_walk(page, vma_is_exec, &exec);
	return exec;
}

/* What the entries and the marks say (policy.h). => page locked */
static enum page_references page_check_references(struct page *page)
{
	int referenced = page_referenced(page);
	bool marked = page_flags(page) & PG_referenced;
	enum page_references verdict = policy_file_references(referenced, marked, referenced && page_is_exec_file(page),
							       page_flags(page) & PG_swapbacked);

	clear_page_flags(page, PG_referenced);
	if (referenced)
		set_page_flags(page, PG_referenced);
	return verdict;
}

/* => page isolated, locked and in its cache; afterwards none of it. 1: freed */
static unsigned unmap_and_free_file_page(struct page *page, struct scan *scan, bool only_clean)
{
	struct unmap u = { .young_stays = scan->young_stays };

	if (page_mapcount(page) && !try_to_unmap_file(page, &u)) {
		keep_page(page, u.locked ? PG_unevictable : PG_active);
		return 0;
	}
	return free_file_page(page, scan, only_clean);
}

/* => page isolated and locked; afterwards neither. 1: freed */
static unsigned shrink_file_page(struct page *page, struct scan *scan)
{
	enum page_references verdict;

	if (!page_mapping(page)) { /* truncated; somebody has a reference yet */
		keep_page(page, 0);
		return 0;
	}
	verdict = page_check_references(page);
	if (verdict == PAGEREF_KEEP || verdict == PAGEREF_ACTIVATE) {
		keep_page(page, verdict == PAGEREF_ACTIVATE ? PG_active : 0);
		return 0;
	}
	return unmap_and_free_file_page(page, scan, verdict == PAGEREF_RECLAIM_CLEAN);
}

/* ---- inactive and active list --------------------------------------------------------------------------------------------- */

/* => page isolated and locked, anonymous; afterwards neither. Pages freed */
static unsigned shrink_anon_page(struct page *page, struct scan *scan)
{
	if (policy_second_chance()) {
		int referenced = page_referenced(page);
		bool marked = page_flags(page) & PG_referenced;

		clear_page_flags(page, PG_referenced);
		switch (policy_references(referenced, marked)) {
		case PAGEREF_KEEP:
			keep_page(page, PG_referenced);
			return 0;
		case PAGEREF_ACTIVATE:
			keep_page(page, PG_active);
			return 0;
		default:
			break;
		}
	}
	if (page_mapcount(page) == 0)
		return free_unmapped_page(page, scan);
	return page_mapcount(page) == 1 ? evict_around(page, scan) : evict_shared(page, scan);
}

/* => page isolated; afterwards not. Pages freed */
static unsigned shrink_page(struct page *page, struct scan *scan)
{
	scan->looked++;
	if (!trylock_page(page)) {
		lru_putback(page);
		return 0;
	}
	if (unlikely(page_is_file(page)))
		return shrink_file_page(page, scan);
	if (unlikely(!page_mapcount(page) && !page_in_swap_cache(page))) { /* truncated */
		keep_page(page, 0);
		return 0;
	}
	return shrink_anon_page(page, scan);
}

/* Does anybody but its entries, its cache and us have a reference? His frame would not be free, and if he is the fault that waits for it he
 * would find his page gone, bring it back, and wait again. => page isolated and locked, anonymous */
static bool page_in_use(struct page *page)
{
	return page_count(page) > page_mapcount(page) + page_in_swap_cache(page) + 1;
}

/* For a generation that has made its choice. */
unsigned evict_page(struct page *page, bool only_clean)
{
	struct scan scan = { .alone = true, .may_writepage = true, .young_stays = fault_path->one_lru };

	if (page_is_file(page))
		return unmap_and_free_file_page(page, &scan, only_clean);
	if (page_in_use(page)) {
		keep_page(page, PG_active);
		return 0;
	}
	if (!page_mapcount(page))
		return free_unmapped_page(page, &scan);
	return page_mapcount(page) == 1 ? evict_around(page, &scan) : evict_shared(page, &scan);
}

/* The last page of a list, isolated. => NULL: the list is empty */
struct page *isolate_tail(enum lru_list list)
{
	struct page *page = NULL;

	lock_lru();
	while (!page_list_empty(page_head(list))) {
		page = link_page(page_head(list)->prev);
		if (lru_isolate_locked(page))
			break;
		/* Being freed at this moment: out of the way. */
		lru_del(page);
		page = NULL;
	}
	spin_unlock(&lru.lock);
	return page;
}

/* => page isolated, anonymous. The same; only where no use is seen, what came back soon more than once (workingset.h) */
static bool keep_active_anon(struct page *page)
{
	const unsigned again = PG_workingset | PG_referenced;
	bool keep = !policy_second_chance() && (page_flags(page) & again) == again;

	if (policy_second_chance())
		page_referenced(page);
	clear_page_flags(page, PG_referenced);
	return keep;
}

/* => page isolated. Does it stay on the active list? Of files only program text that was used. */
static bool keep_active(struct page *page)
{
	bool keep;

	if (!page_is_file(page))
		return keep_active_anon(page);
	if (!trylock_page(page))
		return true; /* somebody reads or writes it; its mapping may change */
	keep = page_mapping(page) && page_referenced(page) && page_is_exec_file(page);
	unlock_page(page);
	return keep;
}

static void shrink_active_list(unsigned nr, enum lru_list list)
{
	struct page *page;

	trace_fn(shrink_active_list, nr, lru_size(list), lru_size(list - 1));
	while (nr-- && (page = isolate_tail(list))) {
		if (keep_active(page)) {
			workingset_activation();
		} else {
			clear_page_flags(page, PG_active);
			workingset_deactivation(page);
		}
		lru_putback(page);
	}
}

/* From which of the two inactive lists the next page comes; its active list has lost some to it, if that was needed.
 * => LRU_INACTIVE_ANON or LRU_INACTIVE_FILE */
static enum lru_list choose_list(struct scan *scan)
{
	unsigned long anon = nr_swap_slots ? lru_size(LRU_INACTIVE_ANON) + lru_size(LRU_ACTIVE_ANON) : 0;
	unsigned long file = lru_size(LRU_INACTIVE_FILE) + lru_size(LRU_ACTIVE_FILE);
	enum lru_list list = policy_take_file(scan->seen, anon, file, scan->pressure) ? LRU_INACTIVE_FILE : LRU_INACTIVE_ANON;

	scan->seen[list == LRU_INACTIVE_FILE]++;
	if (policy_inactive_is_low(lru_size(list), lru_size(list + 1)))
		shrink_active_list(RECLAIM_CLUSTER, list + 1);
	return list;
}

unsigned shrink_tail(enum lru_list list)
{
	struct page *page = isolate_tail(list);
	struct scan scan = { .looked = 0 };

	return page ? shrink_page(page, &scan) : 0;
}

void shrink_active_tail(enum lru_list list)
{
	shrink_active_list(1, list);
}

static unsigned long reclaimable(void)
{
	unsigned long n = lru_size(LRU_INACTIVE_FILE) + lru_size(LRU_ACTIVE_FILE);

	return nr_swap_slots ? n + lru_size(LRU_INACTIVE_ANON) + lru_size(LRU_ACTIVE_ANON) : n;
}

#define BARREN_CLUSTERS 8

/* Ends when every page has had four looks on the average, for all may be stuck, in use or locked; and after eight
 * clusters in a row of which the full backend took nothing: each costs 16 attempts to store, and the others fare no
 * better. These pages stand on the active list then, so that the next call tries others. */
static unsigned long shrink_inactive_list(unsigned long nr, struct scan *scan)
{
	unsigned long freed = 0, budget = 4 * reclaimable() + 64;
	struct departure departure;
	unsigned barren = 0;

	trace_fn(shrink_inactive_list, nr, lru_size(LRU_INACTIVE_ANON), lru_size(LRU_ACTIVE_ANON));
	scan->looked = 0;
	departure.mm = NULL;
	departure.nr = departure.nr_ranges = 0;
	scan->departure = &departure;
	workingset_pressure(scan->pressure);
	while (freed < nr && scan->looked < budget && barren < BARREN_CLUSTERS) {
		enum lru_list list = choose_list(scan);
		struct page *page = isolate_tail(list);
		unsigned got;

		if (!page) { /* what there is of this kind is isolated by others, or the active list was rotated */
			if (!reclaimable())
				break;
			scan->looked += RECLAIM_CLUSTER;
			continue;
		}
		scan->full = false;
		if (page_is_file(page)) /* its backend may take its time */
			depart(&departure);
		got = shrink_page(page, scan);
		barren = got ? 0 : barren + scan->full;
		freed += got;
	}
	depart(&departure);
	scan->departure = NULL;
	return freed;
}

/* Dirty pages of files are somebody else's business: who stores to files has them written (msync, the last close). But when there was nothing
 * else to take, they are written here, for nobody would otherwise, and the fault that waits would fail. */
unsigned long __try_to_free_pages(unsigned long nr)
{
	struct scan scan = { .looked = 0 };
	unsigned long freed;

	if (mm_is_quiet())
		return 0;
	lru_drain_all();
	if (fault_path->try_to_free_pages)
		return fault_path->try_to_free_pages(nr);
	freed = shrink_inactive_list(nr, &scan);
	if (!freed && scan.dirty) {
		scan.may_writepage = true;
		freed = shrink_inactive_list(nr, &scan);
	}
	if (workingset.file)
		workingset_shrink();
	return freed;
}

unsigned long try_to_free_pages(unsigned long nr)
{
	unsigned long freed;

	enter_reclaim();
	freed = __try_to_free_pages(nr);
	leave_reclaim();
	return freed;
}

/* ---- MADV_PAGEOUT --------------------------------------------------------------------------------------------------------- */

/* Who gives up his pages has no say in other people's: a page that more than one table maps stays, in kernels later than 5.4. */
static bool pageout_spares_shared(void)
{
	return fault_path == &linux_5_path && mm_reuse_rule != REUSE_5_4;
}

/* Pages of [lo, hi) that several tables map. => one of them, isolated and locked, or NULL. pte lock held */
static struct page *isolate_shared(struct cluster *c, unsigned long *lo, unsigned long hi)
{
	for (; *lo < hi; *lo += PAGE_SIZE) {
		pte_t pte = ptep_get(pte_offset(c->table, *lo));
		struct page *page;
		bool ours;

		if (!pte_normal(pte))
			continue;
		page = pfn_to_page(pte_pfn(pte));
		if (page_mapcount(page) < 2 || page_is_file(page) || !trylock_page(page))
			continue;
		lock_lru();
		ours = lru_isolate_locked(page);
		spin_unlock(&lru.lock);
		*lo += PAGE_SIZE;
		if (ours)
			return page;
		unlock_page(page);
	}
	return NULL;
}

/* Pages of [*lo, hi) that belong to a file. Having been used from here is forgotten. => one of them, isolated and locked, or NULL.
 * pte lock held */
static struct page *isolate_file(struct vm_area_struct *vma, struct ptdesc *table, unsigned long *lo, unsigned long hi)
{
	for (; *lo < hi; *lo += PAGE_SIZE) {
		pte_t *ptep = pte_offset(table, *lo), pte = ptep_get(ptep);
		struct page *page;
		bool ours;

		if (!pte_normal(pte) || !page_is_file(pfn_to_page(pte_pfn(pte))))
			continue;
		page = pfn_to_page(pte_pfn(pte));
		if ((page_mapcount(page) > 1 && pageout_spares_shared()) || !trylock_page(page))
			continue;
		lock_lru();
		ours = lru_isolate_locked(page);
		spin_unlock(&lru.lock);
		if (ours) {
			forget_young(vma, *lo, ptep, pte);
			clear_page_flags(page, PG_referenced | PG_active);
			*lo += PAGE_SIZE;
			return page;
		}
		unlock_page(page);
	}
	return NULL;
}

static unsigned long pageout_files(struct vm_area_struct *vma, struct ptdesc *table, unsigned long lo, unsigned long hi, struct scan *scan)
{
	unsigned long freed = 0;
	struct page *page;

	for (;;) {
		spin_lock(&table->ptl);
		page = isolate_file(vma, table, &lo, hi);
		spin_unlock(&table->ptl);
		if (!page)
			return freed;
		freed += shrink_file_page(page, scan);
	}
}

static unsigned long pageout_anon(struct vm_area_struct *vma, struct ptdesc *table, unsigned long lo, unsigned long hi, struct scan *scan)
{
	struct cluster c;
	unsigned long freed;
	struct page *page;

	c.mm = vma->vm_mm;
	c.table = table;
	spin_lock(&table->ptl);
	collect(&c, NULL, lo, hi, 1u << LRU_INACTIVE_ANON | 1u << LRU_ACTIVE_ANON);
	freed = evict_cluster(&c, NULL, scan);
	while (!pageout_spares_shared()) {
		spin_lock(&table->ptl);
		page = isolate_shared(&c, &lo, hi);
		spin_unlock(&table->ptl);
		if (!page)
			break;
		freed += evict_shared(page, scan);
	}
	return freed;
}

unsigned long pageout_range(struct mm_struct *mm, unsigned long addr, size_t len)
{
	unsigned long freed = 0, end = addr + len;
	struct scan scan = { .looked = 0 };

	mmap_assert_locked(mm);
	if (mm_is_quiet())
		return 0;
	lru_drain_all();
	if (fault_path->pageout_range)
		return fault_path->pageout_range(mm, addr, len);
	for (struct vm_area_struct *vma = find_vma(mm, addr); vma && vma->vm_start < end; vma = vma_next(mm, vma)) {
		unsigned long at = max_ul(addr, vma->vm_start), stop = min_ul(end, vma->vm_end);
		struct ptdesc *table;

		if (vma->vm_flags & VM_LOCKED)
			continue;
		while ((table = pte_table_next(mm, &at, stop))) {
			unsigned long lo, hi;

			cluster_bounds(vma, at, &lo, &hi);
			lo = max_ul(lo, at);
			hi = min_ul(hi, stop);
			if (nr_swap_slots)
				freed += pageout_anon(vma, table, lo, hi, &scan);
			if (vma->vm_file)
				freed += pageout_files(vma, table, lo, hi, &scan);
			at = hi;
		}
	}
	return freed;
}

/* ---- I7 -------------------------------------------------------------------------------------------------------------------- */

/* => lru_drain_all() */
void check_lru(void)
{
	for (int list = 0; list < NR_LRU_LISTS; list++) {
		unsigned long n = 0;
		struct page *head = page_head(list);

		for (struct page *p = link_page(head->next); p != head; p = link_page(p->next), n++) {
			MM_BUG_ON(!(page_flags(p) & PG_lru) || (int)page_lru(p) != list);
			MM_BUG_ON(!page_mapcount(p) && !page_in_swap_cache(p) && !page_is_file(p)); /* the second goes at the next look */
			MM_BUG_ON(link_page(p->next)->prev != page_link(p));
		}
		MM_BUG_ON(n != lru.nr[list]);
	}
}
