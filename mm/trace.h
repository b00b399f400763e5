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

/* Functions: shown as calls. X(event) - the numbers are noted where they are not (address, flags or pfn). */
#define MM_TRACE_FUNCTIONS(X)                                                                                     \
	/* every generation */                                                                                     \
	X(do_page_fault) X(find_vma) X(expand_stack) X(handle_mm_fault) X(handle_pte_fault) X(do_anonymous_page)   \
	X(do_swap_page) X(do_wp_page) X(__do_fault) X(page_mkwrite) X(copy_page_range) X(dup_mm)                   \
	/* linux-5 */                                                                                              \
	X(__do_page_fault) X(__set_current_state) X(__handle_mm_fault) X(__do_user_fault) X(__do_kernel_fault) X(pagefault_out_of_memory) \
	X(pgd_offset) X(p4d_alloc) X(pud_alloc) X(pmd_alloc) X(pte_alloc)                                          \
	X(alloc_zeroed_user_highpage_movable) X(mk_pte) X(page_add_new_anon_rmap)                                  \
	X(lru_cache_add_inactive_or_unevictable) X(set_pte_at) /* addr, pages, pfn */                              \
	X(do_fault) X(do_read_fault) X(do_fault_around) X(filemap_map_pages) X(do_cow_fault) X(do_shared_fault)    \
	X(fault_dirty_shared_page) X(finish_fault) X(do_set_pte) X(reuse_swap_page)                                \
	X(wp_page_reuse) X(wp_page_shared) X(wp_page_copy) X(finish_mkwrite_fault) X(wp_pfn_shared) X(vmf_insert_pfn) X(pfn_mkwrite) X(file_update_time)                \
	/* linux-2.6 */                                                                                            \
	X(do_linear_fault) X(do_nonlinear_fault) X(do_no_pfn) X(swapin_readahead) X(swap_vma_readahead) X(can_share_swap_page)           \
	X(read_swap_cache_async) X(remove_exclusive_swap_page) X(cow_user_page) X(lru_cache_add_active)             \
	X(set_page_dirty_balance) X(page_cache_read) X(print_bad_pte)                                              \
	X(remap_file_pages) X(populate_range) X(install_file_pte) X(try_to_unmap_cluster) X(pud_offset)            \
	/* linux-2.0 */                                                                                            \
	X(do_no_page) X(get_empty_pgtable) X(get_empty_page) X(swap_in) X(file_mmap_nopage) X(filemap_nopage)      \
	X(share_page) X(file_mmap_share) X(try_to_share) X(copy_page) X(bmap) X(bread_page) X(put_page) X(oom) X(zeromap_page_range) X(shm_no_page) \
	X(copy_page_tables) X(swap_out) X(swap_out_process) X(try_to_swap_out) X(shrink_mmap) X(add_to_page_cache) X(readpage)         \
	/* the page cache */                                                                                       \
	X(filemap_fault) X(shmem_fault) X(find_get_page) X(find_lock_page) X(add_to_page_cache_lru) X(lock_page)   \
	X(do_sync_mmap_readahead) X(do_async_mmap_readahead) X(page_cache_sync_readahead)                          \
	X(page_cache_async_readahead) X(ondemand_readahead) X(do_page_cache_readahead) /* start, pages, async */   \
	X(readpages) X(writepage) X(set_page_dirty) X(balance_dirty_pages) X(clear_page_dirty_for_io)              \
	X(page_mkclean) X(write_one_page) X(filemap_write_and_wait_range) X(msync_range) X(delete_from_page_cache) \
	X(remove_mapping) X(invalidate_mapping_pages) X(vmtruncate) X(unmap_mapping_range) X(truncate_inode_pages) \
	X(shmem_writepage) X(mark_page_accessed) X(rotate_reclaimable_page)                                                                   \
	/* reverse map, swap, reclaim */                                                                           \
	X(anon_vma_prepare) X(page_add_anon_rmap) X(page_add_file_rmap) X(page_remove_rmap)                        \
	X(lookup_swap_cache) X(swap_readpage) X(swap_free) X(swap_duplicate) X(add_to_swap)                        \
	X(delete_from_swap_cache) X(try_to_free_pages) X(shrink_active_list) X(shrink_inactive_list)               \
	X(workingset_eviction) X(workingset_refault) /* pfn, distance, pages */ X(lru_note_cost)                      \
	X(page_referenced) X(try_to_unmap) X(pageout)                                                              \
	/* mappings */                                                                                             \
	X(mmap_region) X(do_munmap) X(vma_merge) X(split_vma) X(zap_pte_range) X(move_page_tables)                 \
	X(machine_map) X(machine_unmap)                                                                            \
	X(alloc_pages) /* pfn, pages, wanted */ X(free_pages) /* pfn, pages, - */

/* Decisions: shown in the function in which they are made. */
#define MM_TRACE_DECISIONS(X)                                                                                     \
	X(access_error) X(fault_retry) X(fault_done) /* addr, vm_fault_t, - */                                     \
	X(pte_changed) X(pte_young) X(pte_dirty) X(spurious) X(zero_page)                                          \
	X(anon_window) /* addr, pages, first */ X(swapin_window) /* addr, pages, stride */                         \
	X(direct_reclaim) X(page_stuck) X(page_gone) X(swap_full)                                                  \
	X(why) /* trace_why() */

#define MM_TRACE_EVENTS(X) X(leave) /* the event of the function, -, - */ MM_TRACE_FUNCTIONS(X) MM_TRACE_DECISIONS(X)

enum mm_trace_event {
#define X(event) TRACE_##event,
	MM_TRACE_EVENTS(X)
#undef X
	NR_TRACE_EVENTS,
	TRACE_ENTER = 1 << 12, /* beside the event, in builds with MM_SCOPES: a TRACE_leave will follow */
};
#define X(event) +1
static inline bool mm_trace_is_function(enum mm_trace_event event)
{
	return event > TRACE_leave && event <= 0 MM_TRACE_FUNCTIONS(X);
}
#undef X

typedef void mm_trace_fn_t(enum mm_trace_event event, unsigned long a, unsigned long b, unsigned long c);

extern _Atomic(mm_trace_fn_t *) mm_trace_fn; /* NULL: off */
const char *mm_trace_name(enum mm_trace_event event);

void mm_trace_call(enum mm_trace_event event, unsigned long a, unsigned long b, unsigned long c) __attribute__((cold));

/* Not an atomic load: compilers make two instructions of a comparison with memory and three of an atomic load and a test, and there are
 * fifteen of these in a fault. It may see the pointer late; mm_trace_call() looks again. */
static inline bool mm_tracing(void)
{
#ifdef __SANITIZE_THREAD__
	return atomic_load_explicit(&mm_trace_fn, memory_order_relaxed);
#else
	return *(mm_trace_fn_t *const *)&mm_trace_fn;
#endif
}

static inline void mm_trace(enum mm_trace_event event, unsigned long a, unsigned long b, unsigned long c)
{
	if (unlikely(mm_tracing()))
		mm_trace_call(event, a, b, c);
}
#define trace(event, a, b, c) mm_trace(TRACE_##event, (unsigned long)(a), (unsigned long)(b), (unsigned long)(c))

/* Three more, for the build in which the calls form a tree and the reasons are told (MM_SCOPES: `minflt walk` and the tests); there
 *   trace_fn     stands at the entry of a function, and is followed by TRACE_leave when the function is left
 *   trace_leaf   is trace() for a small function without calls of its own
 *   trace_why    tells the reason of a decision: a printf format with at most two numbers (%lu, %lx)
 * Elsewhere trace_fn is trace(), and the others are nothing. */
#ifdef MM_SCOPES
static inline void mm_trace_leave(const unsigned short *event)
{
	mm_trace(TRACE_leave, *event, 0, 0);
}
#define trace_fn(event, a, b, c)                                                                                  \
	const unsigned short __attribute__((cleanup(mm_trace_leave), unused)) trace_scope = TRACE_##event;         \
	mm_trace((enum mm_trace_event)(TRACE_##event | TRACE_ENTER), (unsigned long)(a), (unsigned long)(b), (unsigned long)(c))
#define trace_leaf(event, a, b, c) trace(event, a, b, c)
#define trace_why(text, b, c) trace(why, text, b, c)
/* In the common path of a fault, which is compiled twice (linux_5.c): `traced` is a constant in both. */
#define hot_trace_fn(traced, event, a, b, c) trace_fn(event, a, b, c)
#else
#define trace_fn(event, a, b, c) trace(event, a, b, c)
#define hot_trace_fn(traced, event, a, b, c)                                                                      \
	do {                                                                                                       \
		if (traced)                                                                                        \
			mm_trace_call(TRACE_##event, (unsigned long)(a), (unsigned long)(b), (unsigned long)(c));  \
	} while (0)
#define trace_leaf(event, a, b, c) ((void)0)
#define trace_why(text, b, c) ((void)0)
#endif

#pragma GCC visibility pop

#endif
