/* SPDX-License-Identifier: MIT
 *
 * walk_words.c - what the events of mm/trace.h are called, say, and mean.
 */
#include <string.h>

#include "cmd/walk.h"
#include "mm/fault/linux_2_6.h"
#include "mm/filemap.h"

/* ---- entries ------------------------------------------------------------------------------------------------------- */

static const char *rights(pteval_t pte)
{
	return pte & _PAGE_PROTNONE ? " no access" : pte & _PAGE_RW ? " RW" : " RO";
}

const char *describe_pte(struct arena *a, uint64_t pte)
{
	const char *young = pte & _PAGE_ACCESSED ? " young" : "", *dirty = pte & _PAGE_DIRTY ? " dirty" : "";
	unsigned long n = pte >> PAGE_SHIFT;

	if (!pte)
		return "none";
	if (pte & _PAGE_SPECIAL)
		return arena_printf(a, "zero page%s%s%s", rights(pte), young, dirty);
	if (pte & _PAGE_PRESENT)
		return arena_printf(a, "frame %lu%s%s%s", n, rights(pte), young, dirty);
	if (pte & _PAGE_FILE)
		return arena_printf(a, "page %lu of the file", pte_to_pgoff((pte_t){ pte }));
	if (pte & _PAGE_SWAP)
		return arena_printf(a, "swap slot %lu%s", n, pte & _PAGE_EXCLUSIVE ? " exclusive" : "");
	return arena_printf(a, "%#lx", (unsigned long)pte);
}

/* ---- functions ----------------------------------------------------------------------------------------------------- */

/* detail: beside the name. $1, $2, $3 are the event's numbers, followed by how they are to be read: x hexadecimal, u decimal, e an entry,
 * w write or read, z pages (with the unit). sentence: what the function is for. */
static const struct words {
	const char *detail, *sentence;
} words[NR_TRACE_EVENTS] = {
	/* the way in */
	[TRACE_do_page_fault] = { "$1x, $2w", "The entry from the trap: takes the lock of the address space, has the fault resolved, repeats if asked to, and counts it." },
	[TRACE___do_page_fault] = { NULL, "Finds out whether the address belongs to the program and the access is allowed there, before anything is done about it." },
	[TRACE_find_vma] = { NULL, "Looks for the first mapping that ends above the address; whether it also begins below it the caller has to see." },
	[TRACE_expand_stack] = { "to $1x", "Lets a mapping that grows downwards begin at the page of the address, if limits and neighbours allow it." },
	[TRACE___do_user_fault] = { NULL, "Nothing could be done for a program: it gets a signal with the address and the reason." },
	[TRACE_pagefault_out_of_memory] = { "$1x", "No frame was to be had: somebody is killed, and if it wasn't this program, it makes the access again." },
	[TRACE___do_kernel_fault] = { NULL, "Nothing could be done for the kernel itself: it looks for a place prepared for that, or dies." },
	[TRACE_handle_mm_fault] = { NULL, "From here on nothing depends on the processor: the address is good, a page has to come." },
	[TRACE___set_current_state] = { NULL, "Marks the task as running: resolving a fault may have to sleep later." },
	[TRACE___handle_mm_fault] = { NULL, "Walks down the page tables and makes the levels that are missing." },
	[TRACE_pgd_offset] = { NULL, "The entry of the top level for the address." },
	[TRACE_p4d_alloc] = { NULL, "The next level; where the processor has none its argument comes back." },
	[TRACE_pud_alloc] = { NULL, "The next level; where the processor has none its argument comes back." },
	[TRACE_pmd_alloc] = { NULL, "The level above the entries of pages; folded like the others where it does not exist." },
	[TRACE_pud_offset] = { NULL, "The entry of the upper level for the address." },
	[TRACE_handle_pte_fault] = { "entry: $2e", "Decides by the entry what kind of fault it is: nothing there, elsewhere, or present and not allowed." },
	[TRACE_pte_alloc] = { NULL, "Makes sure that there is a table of entries, another thread's being as good as one's own." },
	/* anonymous memory */
	[TRACE_do_anonymous_page] = { NULL, "First touch of memory that no file stands behind: zeros, shared for a read, a page of its own for a write." },
	[TRACE_alloc_zeroed_user_highpage_movable] = { NULL, "A frame filled with zeros, from where a kernel without a direct view of all memory would take it." },
	[TRACE_mk_pte] = { NULL, "Puts frame and protection together into an entry that nobody sees yet." },
	[TRACE_page_add_new_anon_rmap] = { NULL, "Writes down in the page which mapping has it, so that reclaim can find the entry from the page." },
	[TRACE_lru_cache_add_inactive_or_unevictable] = { NULL, "Puts the page on the list from which reclaim takes, or on the one that it leaves alone if it is locked." },
	[TRACE_lru_cache_add_active] = { NULL, "Puts the page on the list of pages in use, from which reclaim does not take directly." },
	[TRACE_set_pte_at] = { "$1x", "Publishes the entry: from now on the processor finds the page." },
	[TRACE_anon_vma_prepare] = { NULL, "Gives the mapping what its private pages will point back to." },
	/* files, linux-5 */
	[TRACE_do_fault] = { NULL, "First touch of a mapping with operations of its own: read, private write and shared write part here." },
	[TRACE_do_read_fault] = { NULL, "A read: first whatever is cached around the address, then, if that was not enough, the page itself." },
	[TRACE_do_fault_around] = { NULL, "Sets the bounds of the window, 16 pages aligned by address, within the mapping and one table." },
	[TRACE_filemap_map_pages] = { "pages $2u to $3u", "Maps those pages of the window that are cached and can be had without waiting." },
	[TRACE_do_cow_fault] = { NULL, "A write to a private mapping: the copy is made at once, so that the file's page is never mapped." },
	[TRACE_do_shared_fault] = { NULL, "A write to a shared mapping: the file's own page, which will have to be written back." },
	[TRACE___do_fault] = { NULL, "Asks the mapping for its page and takes care that it comes back locked." },
	[TRACE_finish_fault] = { NULL, "Installs the page under the lock of the table, if the entry is still empty." },
	[TRACE_do_set_pte] = { NULL, "One page into one entry: protection, reverse map, counters." },
	[TRACE_page_mkwrite] = { NULL, "Tells the file system that the page is about to be written, which may refuse." },
	[TRACE_fault_dirty_shared_page] = { NULL, "Marks the page as to be written back and lets it go." },
	[TRACE_pfn_mkwrite] = { NULL, "The same question for memory that has no page behind it." },
	[TRACE_filemap_fault] = { "page $2u", "Finds the page in the page cache, or reads it together with what will be wanted next." },
	[TRACE_shmem_fault] = { "page $2u", "Finds the page of shared anonymous memory, brings it back from swap, or makes a zeroed one." },
	[TRACE_find_get_page] = { "page $1u", "Looks the page up in the cache of the file." },
	[TRACE_find_lock_page] = { "page $1u", "The same, and locks it; whoever holds the lock keeps it in the file." },
	[TRACE_add_to_page_cache_lru] = { "frame $1u as page $2u", "Makes a fresh page the file's, locked until its bytes are there." },
	[TRACE_lock_page] = { "frame $1u", "Waits for whoever reads or truncates the page." },
	[TRACE_do_sync_mmap_readahead] = { "page $1u, $2u misses", "The page is missing: chooses what is read with it, by advice and by how often this went wrong." },
	[TRACE_do_async_mmap_readahead] = { "page $1u", "The page is there: if it carries the mark, the next window is asked for before it is missed." },
	[TRACE_page_cache_sync_readahead] = { "from page $1u", "Somebody waits for the page: read it and what follows." },
	[TRACE_page_cache_async_readahead] = { "from page $1u", "Nobody waits yet: read the window after this one." },
	[TRACE_ondemand_readahead] = { "page $1u", "Makes windows larger while accesses are sequential, and small again when they are not." },
	[TRACE_do_page_cache_readahead] = { "pages from $1u, $2z", "Reads the missing pages of the window, never beyond the end of the file." },
	[TRACE_readpages] = { "pages from $1u, $2z", "The read itself, from the file on disk." },
	[TRACE_readpage] = { "page $1u", "The read itself, from the file on disk." },
	[TRACE_page_cache_read] = { "page $1u", "Reads one page alone." },
	[TRACE_mark_page_accessed] = { "frame $1u", "Remembers that the page was used: once referenced, twice active." },
	[TRACE_rotate_reclaimable_page] = { "frame $1u, page $2u", "Reclaim had met the page dirty and left it to be written: now it is the next to go." },
	/* writing back, truncating */
	[TRACE_set_page_dirty] = { "frame $1u, page $2u", "The page differs from the file now." },
	[TRACE_set_page_dirty_balance] = { "frame $1u", "The same, and slows the writer down if there is too much to write back." },
	[TRACE_balance_dirty_pages] = { NULL, "Makes those who dirty pages wait for those who write them." },
	[TRACE_clear_page_dirty_for_io] = { "page $2u", "About to be written: every entry becomes read-only and clean first, so that no later store is missed." },
	[TRACE_page_mkclean] = { "frame $1u", "Takes write access away from all entries of the page." },
	[TRACE_write_one_page] = { "page $2u", "Writes the page to the file and waits." },
	[TRACE_writepage] = { "page $1u, $2u bytes", "The write itself, to the file on disk." },
	[TRACE_filemap_write_and_wait_range] = { NULL, "Writes all dirty pages of the range." },
	[TRACE_msync_range] = { NULL, "Writes what the mappings of the range have changed." },
	[TRACE_vmtruncate] = { "to $1u bytes", "Gives the file another size and takes away what is beyond it, from entries and cache alike." },
	[TRACE_unmap_mapping_range] = { NULL, "Removes the entries of a range of the file from every mapping of it." },
	[TRACE_truncate_inode_pages] = { NULL, "Removes pages beyond the end from the cache and clears the rest of the last one." },
	[TRACE_invalidate_mapping_pages] = { NULL, "Drops cached pages that are clean and that nobody uses." },
	[TRACE_delete_from_page_cache] = { "frame $1u, page $2u", "The page is the file's no longer." },
	[TRACE_remove_mapping] = { "frame $1u, page $2u", "Takes a page out of the cache if nobody but the cache and the caller has it." },
	[TRACE_add_to_page_cache] = { NULL, "Makes a fresh page the file's." },
	/* swap */
	[TRACE_do_swap_page] = { "slot $2u", "The entry names a place in swap: the page comes from the swap cache, or is read." },
	[TRACE_lookup_swap_cache] = { "slot $1u", "Is the page still, or already, in memory?" },
	[TRACE_swap_vma_readahead] = { NULL, "Others name the page too: it is read into the swap cache, where they will find it, with its neighbours in the mapping." },
	[TRACE_swapin_readahead] = { NULL, "Reads the neighbours of the slot too: what went out together is likely to be wanted together." },
	[TRACE_read_swap_cache_async] = { "slot $1u", "Takes a frame for the slot, makes it known in the swap cache and starts to read." },
	[TRACE_swap_readpage] = { "frame $1u from slot $2u", "The read itself, from swap." },
	[TRACE_swap_free] = { "slot $1u", "One entry less names the slot; the last one frees it." },
	[TRACE_swap_duplicate] = { "slot $1u", "One entry more names the slot." },
	[TRACE_add_to_swap] = { "frame $1u", "Finds a slot for a page and puts it into the swap cache under it." },
	[TRACE_delete_from_swap_cache] = { NULL, "Page and slot go separate ways." },
	[TRACE_remove_exclusive_swap_page] = { "frame $1u", "Gives the slot up if nobody else names it." },
	[TRACE_can_share_swap_page] = { "frame $1u: $2u users", "Is there anybody else, by an entry or by a name in swap, who could see a store?" },
	[TRACE_reuse_swap_page] = { "frame $1u", "Is there anybody else, by an entry or by a name in swap, who could see a store?" },
	[TRACE_page_add_anon_rmap] = { NULL, "One entry more maps the page." },
	[TRACE_page_add_file_rmap] = { "frame $1u", "One entry more maps the page of a file." },
	[TRACE_page_remove_rmap] = { "frame $1u", "One entry less maps the page." },
	/* copy on write */
	[TRACE_do_wp_page] = { "entry: $2e", "A store to a page that is mapped read-only in a writable mapping: reuse it, tell the file, or copy." },
	[TRACE_wp_page_reuse] = { "frame $2u", "Nobody else has the page: it becomes writable where it stands." },
	[TRACE_wp_page_shared] = { NULL, "The first store to a clean page of a shared mapping: the file is told, then the page is reused." },
	[TRACE_wp_pfn_shared] = { NULL, "The first store to memory without pages behind it, in a shared mapping: its owner is asked." },
	[TRACE_vmf_insert_pfn] = { "$1x: frame $2u", "Enters a frame that nobody counts." },
	[TRACE_file_update_time] = { NULL, "The file changes, and its time says so." },
	[TRACE_finish_mkwrite_fault] = { NULL, "The lock was open meanwhile: only if the entry is unchanged it becomes writable." },
	[TRACE_wp_page_copy] = { NULL, "Somebody else has the page too: a copy is made, and the entry turned to it." },
	[TRACE_cow_user_page] = { "frame $2u to frame $3u", "The copy itself." },
	/* linux-2.6 */
	[TRACE_do_linear_fault] = { "page $3u", "The page of the file is found by where the address lies in the mapping." },
	[TRACE_do_nonlinear_fault] = { "entry: $3e", "The page of the file is not where the address says; the entry has kept its number." },
	[TRACE_do_no_pfn] = { NULL, "A mapping of memory without pages behind it." },
	[TRACE_remap_file_pages] = { "$1x to page $3u", "Lets a piece of a mapping show other pages of the file, by entries instead of a mapping of its own." },
	[TRACE_populate_range] = { "$1x from page $3u", "Brings the pages in at once, before anybody has asked." },
	[TRACE_install_file_pte] = { "$1x: page $2u", "Writes the page's number into the entry, for the fault to come." },
	[TRACE_try_to_unmap_cluster] = { NULL, "No entry can be found from a nonlinear page: a piece of the mapping is searched instead." },
	[TRACE_print_bad_pte] = { NULL, "An entry that can't be: it is reported." },
	/* linux-2.0 */
	[TRACE_do_no_page] = { NULL, "Nothing is there: from swap, from the file, zeros, or, if the stack or the heap does not reach, a signal." },
	[TRACE_get_empty_pgtable] = { NULL, "Makes sure that there is a table of entries, and looks again after it may have slept." },
	[TRACE_get_empty_page] = { NULL, "A zeroed page of one's own." },
	[TRACE_swap_in] = { "slot $2u, entry $3x", "Reads the page from swap; a copy of one's own for each who asks." },
	[TRACE_shm_no_page] = { NULL, "The page of a shared memory segment, which looks after its pages in swap itself." },
	[TRACE_file_mmap_nopage] = { NULL, "The page of a file: shared with another task that has it, or read block by block." },
	[TRACE_filemap_nopage] = { NULL, "The page of a file, from the page cache." },
	[TRACE_share_page] = { NULL, "Goes round all tasks in search of one that executes the file, or maps it in the same way." },
	[TRACE_file_mmap_share] = { NULL, "Is the other task's mapping the same: same part of the file, same place, same rights?" },
	[TRACE_copy_page] = { "frame $1u to frame $2u", "The copy itself." },
	[TRACE_try_to_share] = { NULL, "Takes the other task's page if it is there and clean, read-only for both." },
	[TRACE_bmap] = { NULL, "Where the block of the file stands on the device; nowhere, if it is a hole." },
	[TRACE_bread_page] = { NULL, "Reads the four blocks of a page." },
	[TRACE_put_page] = { NULL, "Installs the page, after a last look at what has come there meanwhile." },
	[TRACE_oom] = { NULL, "No memory: the task is killed." },
	[TRACE_zeromap_page_range] = { NULL, "Fills a new anonymous mapping with the zero page, so that reads never fault." },
	[TRACE_swap_out] = { NULL, "Goes round the tasks and takes pages from the large ones." },
	[TRACE_swap_out_process] = { NULL, "Goes on in a task's memory where it stopped the last time." },
	[TRACE_try_to_swap_out] = { "$1x", "One entry: used since the last visit, it ages up; otherwise down, and out at zero." },
	[TRACE_shrink_mmap] = { NULL, "Goes round the frames and frees cached pages that nobody has used." },
	/* frames, reclaim */
	[TRACE_alloc_pages] = { "frame $1u, $2z", "Takes free frames, after reclaim if there are none." },
	[TRACE_free_pages] = { "frame $1u, $2z", "Nobody refers to the frames any more." },
	[TRACE_try_to_free_pages] = { "$1z", "Reclaim: makes frames free by the kernel's own choice." },
	[TRACE_shrink_active_list] = { "$1z of $2u", "Moves pages from the list of those in use to the one from which reclaim takes." },
	[TRACE_shrink_inactive_list] = { "$1z of $2u", "Takes pages from the end of the list, gives those that were used another round, evicts the others." },
	[TRACE_workingset_eviction] = { "frame $1u, age $2u", "Leaves a shadow in the page's place: when it went, by a clock of evictions." },
	[TRACE_workingset_refault] = { "frame $1u", "The page was in memory before. If little has gone since then, it should have stayed: it is active at once." },
	[TRACE_lru_note_cost] = { NULL, "A page in use was evicted: the kind of pages that it is of is taken less readily from now on." },
	[TRACE_page_referenced] = { "frame $1u: $2u of $3u entries", "Looks at the young bits of all entries of the page and clears them." },
	[TRACE_try_to_unmap] = { "frame $2u", "Removes all entries of the page, each leaving behind where it can be found again." },
	[TRACE_pageout] = { "frame $1u to slot $2u", "Writes the page to where it will be found again." },
	[TRACE_shmem_writepage] = { "frame $1u, page $2u", "A page of shared anonymous memory leaves for swap; the cache keeps its slot's number." },
	/* mappings */
	[TRACE_copy_page_range] = { "$1x to $2x", "Copies a mapping's entries to the child, and takes write access from both where pages are private." },
	[TRACE_dup_mm] = { NULL, "Makes the child's address space." },
	[TRACE_mmap_region] = { "$1x, $2u bytes", "Makes a mapping; what stood there goes." },
	[TRACE_do_munmap] = { "$1x, $2u bytes", "Removes mappings, splitting those that reach beyond." },
	[TRACE_vma_merge] = { "at $2x", "Two neighbours become one mapping." },
	[TRACE_split_vma] = { "at $2x", "One mapping becomes two." },
	[TRACE_zap_pte_range] = { "$1x to $2x", "Removes entries and lets their pages go." },
	[TRACE_move_page_tables] = { "$1x to $2x", "Moves entries to another place; the pages stay where they are." },
	[TRACE_machine_map] = { "$1x, $2z", "Tells the processor about new entries." },
	[TRACE_machine_unmap] = { "$1x, $2z", "Has the processor forget translations." },
};

const char *explain_function(const char *name)
{
	for (unsigned i = 0; i < NR_TRACE_EVENTS; i++)
		if (words[i].sentence && !strcmp(name, mm_trace_name(i)))
			return words[i].sentence;
	return NULL;
}

static const char *one_number(struct arena *a, unsigned long n, char as)
{
	switch (as) {
	case 'x': return arena_printf(a, "%#lx", n);
	case 'e': return describe_pte(a, n);
	case 'w': return n & FAULT_FLAG_WRITE ? "write" : "read";
	case 'z': return arena_printf(a, n == 1 ? "%lu page" : "%lu pages", n);
	default: return arena_printf(a, "%lu", n);
	}
}

static const char *fill_in(struct arena *a, const char *detail, const unsigned long n[3])
{
	char text[200];
	size_t at = 0;

	for (const char *s = detail; *s && at + 1 < sizeof(text); s++) {
		if (*s == '$' && s[1] >= '1' && s[1] <= '3' && s[2]) {
			at += (size_t)snprintf(text + at, sizeof(text) - at, "%s", one_number(a, n[s[1] - '1'], s[2]));
			s += 2;
			if (at >= sizeof(text))
				at = sizeof(text) - 1;
		} else {
			text[at++] = *s;
		}
	}
	text[at] = 0;
	return arena_printf(a, "%s", text);
}

/* ---- decisions ----------------------------------------------------------------------------------------------------- */

static const char *rights_of(unsigned long flags)
{
	static const char *const names[] = { "none", "r", "w", "rw", "x", "rx", "wx", "rwx" };

	return names[flags & VM_ACCESS_FLAGS];
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* trace_why() has checked it */
static const char *reason_text(struct arena *a, const char *format, unsigned long b, unsigned long c)
{
	return arena_printf(a, format, b, c);
}
#pragma GCC diagnostic pop

static const char *describe_decision(struct arena *a, unsigned event, unsigned long n1, unsigned long n2, unsigned long n3)
{
	switch (event) {
	case TRACE_why: return reason_text(a, (const char *)n1, n2, n3);
	case TRACE_access_error:
		return arena_printf(a, "the mapping allows %s, and this is a %s", rights_of(n2), n3 & FAULT_FLAG_WRITE ? "write" : "read");
	case TRACE_fault_retry: return "the lock was released while waiting: once more from the start";
	case TRACE_pte_changed: return "the entry has changed meanwhile: nothing left to do";
	case TRACE_pte_young:
		return n2 & _PAGE_ACCESSED ? "present, and clean to a processor without a dirty bit: the fault sets it"
					   : "present, and old to a processor without a young bit: the fault sets it";
	case TRACE_spurious: return "the entry allows it already: a spurious fault";
	case TRACE_zero_page: return "a read: the zero page will do";
	case TRACE_anon_window: return n2 > 1 ? arena_printf(a, "a walk through memory: %lu pages at once", n2) : NULL;
	case TRACE_swapin_window: return n2 > 1 ? arena_printf(a, "a walk through memory: %lu pages at once", n2) : NULL;
	case TRACE_direct_reclaim: return arena_printf(a, "%lu frames of %lu are in use: reclaim first", n1, n2);
	case TRACE_page_stuck: return arena_printf(a, "the page at %#lx is pinned and stays", n1);
	case TRACE_page_gone: return arena_printf(a, "the page at %#lx is gone", n1);
	case TRACE_swap_full: return arena_printf(a, "room in swap is wanted: %lu copies of resident pages dropped", n2);
	default: return NULL;
	}
}

const char *describe_event(struct arena *a, unsigned event, unsigned long n1, unsigned long n2, unsigned long n3)
{
	const unsigned long n[3] = { n1, n2, n3 };

	if ((event == TRACE_p4d_alloc && !pt.bits[PT_P4D]) || (event == TRACE_pud_alloc && !pt.bits[PT_PUD]) ||
	    (event == TRACE_pmd_alloc && !pt.bits[PT_PMD]))
		return "folded: the entry above is the entry";
	if (!mm_trace_is_function(event))
		return describe_decision(a, event, n1, n2, n3);
	return words[event].detail ? fill_in(a, words[event].detail, n) : NULL;
}

const char *fault_result_name(enum fault_result result)
{
	static const char *const names[] = { "minor", "major", "SIGSEGV/MAPERR", "SIGSEGV/ACCERR", "SIGBUS/ADRERR", "oom" };

	return names[result];
}
