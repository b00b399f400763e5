/* SPDX-License-Identifier: MIT
 *
 * percpu.h - what each processor has for itself, so that a common fault writes to no cache line that another one writes to.
 *
 *      struct mm_cpu          of the engine      free frames, new pages on their way to the LRU lists, events
 *      struct mm_percpu       of a mm_struct     readers of mmap_lock, the last vma and table of pmds found, rss, faults
 *
 * A line that comes from another processor costs as much as a whole fault. So what belongs to all is touched once for a batch: the zone when
 * the free frames of a processor run out, the LRU lists when its new pages are as many as fit. What is counted is added up by who reads it.
 *
 * Which processor a thread belongs to is the machine's choice (machine_cpu()), and any choice is right: two threads with one number get in each
 * other's way, a thread whose number changes leaves frames and pages behind that others find. Whoever needs the frames of the others takes them
 * (page_alloc.c); whoever reclaims first has all pages put on their lists (vmscan.c).
 */
#ifndef MF_MM_PERCPU_H
#define MF_MM_PERCPU_H

#include "mm/lock.h"

#pragma GCC visibility push(hidden)

#define MAX_HOT       128 /* free frames of one processor, at most */
#define LRU_BATCH_MAX 64

struct mm_cpu {
	spinlock_t lock;              /* of what follows up to the events; taken from outside to empty it */
	unsigned nr_hot, nr_lru;      /* read without */
	unsigned on_the_way;          /* the flags of a page in lru: a constant */
	uint32_t hot[MAX_HOT];        /* free frames, in no list; the next one last (page_alloc.c) */
	uint32_t lru[LRU_BATCH_MAX + 1]; /* new pages, the oldest first, and room for an end (vmscan.c) */
	struct mm_stats events;       /* added to by whoever has this number: atomic */
} __cacheline_aligned;

extern struct mm_cpu mm_cpus[MACHINE_MAX_CPUS]; /* untouched from nr_cpus on */
extern unsigned nr_cpus;

static inline struct mm_cpu *this_mm_cpu(void) { return &mm_cpus[machine_cpu()]; }
static inline struct mm_percpu *this_percpu(struct mm_struct *mm) { return &mm->percpu[machine_cpu()]; }
#define for_each_cpu(cpu)          for (unsigned cpu = 0; cpu < nr_cpus; cpu++)

/* ---- events (init.c) ----------------------------------------------------------------------------------------------- */

extern struct mm_stats mm_gauges; /* what rises and sinks, and is read often: not per processor; the other fields stay 0 */

#define count_on(cpu, field, n) ((void)__atomic_fetch_add(&(cpu)->events.field, (uint64_t)(n), __ATOMIC_RELAXED))
#define count(field, n)         count_on(this_mm_cpu(), field, n)
#define add_gauge(field, n)     ((void)__atomic_fetch_add(&mm_gauges.field, (uint64_t)(n), __ATOMIC_RELAXED))
#define read_gauge(field)       __atomic_load_n(&mm_gauges.field, __ATOMIC_RELAXED)
void fold_events(struct mm_stats *sum); /* without a lock */

/* ---- of an address space ------------------------------------------------------------------------------------------- */

static inline void add_percpu_counter(struct mm_percpu *percpu, int member, long n)
{
	atomic_fetch_add_explicit(&percpu->rss[member], n, memory_order_relaxed);
}
static inline void add_mm_counter(struct mm_struct *mm, int member, long n)
{
	add_percpu_counter(this_percpu(mm), member, n);
}
static inline long get_mm_counter(const struct mm_struct *mm, int member)
{
	long sum = 0;

	for_each_cpu(cpu)
		sum += atomic_load_explicit(&((struct mm_struct *)mm)->percpu[cpu].rss[member], memory_order_relaxed);
	return sum;
}

unsigned long mm_min_flt(const struct mm_struct *mm);
unsigned long mm_maj_flt(const struct mm_struct *mm);
/* One fault, for the address space and in all. */
static inline void count_minor_fault(struct mm_percpu *percpu)
{
	atomic_fetch_add_explicit(&percpu->min_flt, 1, memory_order_relaxed);
	count_on(percpu->cpu, min_flt, 1);
}
static inline void count_fault(struct mm_struct *mm, bool major)
{
	struct mm_percpu *percpu = this_percpu(mm);

	if (!major) {
		count_minor_fault(percpu);
		return;
	}
	atomic_fetch_add_explicit(&percpu->maj_flt, 1, memory_order_relaxed);
	count_on(percpu->cpu, maj_flt, 1);
}

#pragma GCC visibility pop

#endif
