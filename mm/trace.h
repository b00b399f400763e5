/* SPDX-License-Identifier: MIT
 *
 * trace.h - tracepoints: one at every function of the documents and at every decision.
 *
 * When off, a tracepoint costs one load and one branch that is predicted. When on, it calls `mm_trace_fn` with the event and up to
 * three numbers, in the middle of the fault and with its locks held: the function may not call the engine.
 */
#ifndef MF_MM_TRACE_H
#define MF_MM_TRACE_H

#include "mm/mm_types.h"

#pragma GCC visibility push(hidden)

/* X(event) - the numbers are noted where they are not (address, flags or pfn). */
#define MM_TRACE_EVENTS(X)                                                                                        \
	X(leave) /* the event of the function, -, - */                                                            \
	X(do_page_fault) X(__do_page_fault) X(find_vma) X(expand_stack) X(access_error) X(fault_retry)             \
	X(fault_done) /* addr, vm_fault_t, - */                                                                    \
	X(handle_mm_fault) X(__handle_mm_fault) X(pgd_offset) X(p4d_alloc) X(pud_alloc) X(pmd_alloc)               \
	X(handle_pte_fault) X(pte_alloc) X(pte_changed) X(pte_young) X(pte_dirty) X(spurious)                      \
	X(do_anonymous_page) X(zero_page) X(anon_window) /* addr, pages, first */                                  \
	X(alloc_zeroed_user_highpage_movable) X(mk_pte) X(page_add_new_anon_rmap)                                  \
	X(lru_cache_add_inactive_or_unevictable) X(set_pte_at)                                                     \
	X(do_swap_page) X(lookup_swap_cache) X(swapin_window) /* addr, pages, stride */ X(swap_readpage) X(swap_free) \
	X(do_wp_page) X(wp_page_reuse) X(wp_page_copy) X(do_fault)                                                 \
	X(alloc_pages) X(direct_reclaim) X(shrink_inactive_list) X(shrink_active_list) X(page_referenced)          \
	X(add_to_swap) X(try_to_unmap) X(pageout) X(page_stuck) X(page_gone) X(swap_full) X(free_pages)            \
	X(machine_map) X(machine_unmap) X(mmap_region) X(do_munmap) X(vma_merge) X(split_vma) X(zap_pte_range)     \
	X(copy_page_range) X(move_page_tables)

enum mm_trace_event {
#define X(event) TRACE_##event,
	MM_TRACE_EVENTS(X)
#undef X
	NR_TRACE_EVENTS
};

typedef void mm_trace_fn_t(enum mm_trace_event event, unsigned long a, unsigned long b, unsigned long c);

extern _Atomic(mm_trace_fn_t *) mm_trace_fn; /* NULL: off */
const char *mm_trace_name(enum mm_trace_event event);

static inline void mm_trace(enum mm_trace_event event, unsigned long a, unsigned long b, unsigned long c)
{
	mm_trace_fn_t *fn = atomic_load_explicit(&mm_trace_fn, memory_order_relaxed);

	if (unlikely(fn))
		fn(event, a, b, c);
}
#define trace(event, a, b, c) mm_trace(TRACE_##event, (unsigned long)(a), (unsigned long)(b), (unsigned long)(c))

/* At the entry of a function: the event, and in the build for `minflt walk` and the tests (MM_SCOPES) also TRACE_leave when the function is left,
 * so that the calls form a tree. */
#ifdef MM_SCOPES
static inline void mm_trace_leave(const unsigned char *event)
{
	mm_trace(TRACE_leave, *event, 0, 0);
}
#define trace_fn(event, a, b, c)                                                                                  \
	const unsigned char __attribute__((cleanup(mm_trace_leave), unused)) trace_scope = (unsigned char)TRACE_##event; \
	trace(event, a, b, c)
#else
#define trace_fn(event, a, b, c) trace(event, a, b, c)
#endif

#pragma GCC visibility pop

#endif
