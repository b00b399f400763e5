/* SPDX-License-Identifier: MIT
 *
 * A fault during any step of eviction finds the swap-cache page: minor, and nothing is read (fault-paths.md 4.3). And what takes such a page out of the
 * swap cache in the end.
 */
#include <pthread.h>
#include <sched.h>

#include "tests/unit/engine.h"
#include "mm/filemap.h"

#define B 0x40000000UL

static struct mm_struct *mm, *child;

static pte_t entry(struct mm_struct *m, unsigned long addr)
{
	return ptep_get(pte_offset(pte_table(m, addr), addr));
}

/* ---- somebody faults while a step is under way ----------------------------------------------------------------------------- */

static struct {
	enum mm_trace_event event;
	bool write, ran;
	pthread_t thread;
} step;

/* In the address space that has lost its entry already, as if its processor had forgotten the translation. */
static void *fault_in(void *arg)
{
	struct mm_struct *m = child && !pte_present(entry(child, B)) ? child : mm;
	unsigned flags = FAULT_FLAG_USER | FAULT_FLAG_ALLOW_RETRY | (step.write ? FAULT_FLAG_WRITE : 0);

	do
		do_page_fault(m, B, flags);
	while (!pte_present(entry(m, B)));
	return NULL;
}

/* Until the other one has found the page, and sleeps for its lock. */
static void step_hook(enum mm_trace_event event, unsigned long a, unsigned long b, unsigned long c)
{
	struct page *page;
	int count;

	if (step.ran || (event & ~TRACE_ENTER) != step.event)
		return;
	step.ran = true;
	page = pfn_to_page(event == TRACE_pageout ? a : event == TRACE_machine_unmap ? c : b);
	count = page_count(page);
	pthread_create(&step.thread, NULL, fault_in, NULL);
	while (page_count(page) == count)
		sched_yield();
}

static void step_at(enum mm_trace_event event, bool write)
{
	step.event = event;
	step.write = write;
	step.ran = false;
	faults();
	atomic_store(&mm_trace_fn, step_hook);
}

static void step_done(unsigned long freed, uint64_t want)
{
	atomic_store(&mm_trace_fn, NULL);
	assert_true(step.ran);
	pthread_join(step.thread, NULL);
	assert_int_equal(freed, 0);
	assert_int_equal(faults(), want);
	assert_int_equal(memswap.loads, 0);
	assert_int_equal(mm_stats()->swapped_in, 0);
	mm_check_invariants();
}

static void begin(const char *kernel, unsigned rules, unsigned long flags)
{
	engine_start(&(struct engine){ .caps = CAPS_X86, .kernel = kernel, .rules = rules, .swapin_around = 1 });
	mm = mm_alloc();
	child = NULL;
	mmap_write_lock(mm);
	if (flags & VM_SHARED)
		assert_int_equal(mmap_region_file(mm, B, P, flags, NULL, 0), 0);
	else
		assert_int_equal(mmap_region(mm, B, P, flags), 0);
	mmap_write_unlock(mm);
	put(mm, B, 7);
}

static void end(void)
{
	if (child)
		mmput(child);
	mmput(mm);
	mm_check_invariants();
	assert_int_equal(mm_stats()->swap_slots_used, 0);
	assert_int_equal(nr_used_frames(), 0);
}

static const char *const kernels[] = { "5", "2.6" };

static void test_fault_during_each_step(void **state)
{
	static const enum mm_trace_event steps[] = { TRACE_try_to_unmap, TRACE_machine_unmap, TRACE_pageout };

	for (unsigned k = 0; k < 2; k++)
		for (unsigned s = 0; s < 3; s++)
			for (int write = 0; write < 2; write++) {
				begin(kernels[k], 0, RW);
				step_at(steps[s], write);
				step_done(pageout(mm, B, 1), MINOR(1));
				assert_int_equal(get(mm, B), 7);
				if (write)
					put(mm, B, 8);
				assert_int_equal(faults(), 0);
				/* it leaves for good when nobody wants it, unchanged without a store */
				memswap.unchanged = memswap.stores = 0;
				assert_int_equal(pageout(mm, B, 1), 1);
				assert_int_equal(memswap.stores, write);
				assert_int_equal(get(mm, B), write ? 8 : 7);
				assert_int_equal(faults(), MAJOR(1));
				end();
			}
}

/* The first of two entries is gone, the second goes while the fault waits. */
static void test_fault_while_a_shared_page_leaves(void **state)
{
	for (unsigned k = 0; k < 2; k++) {
		begin(kernels[k], k ? 0 : MM_REUSE_5_4, RW);
		child = fork_mm(mm);
		step_at(TRACE_try_to_unmap, false);
		step_done(pageout(mm, B, 1), MINOR(1));
		assert_int_equal(get(mm, B), 7);
		assert_int_equal(get(child, B), 7);
		assert_int_equal(faults(), MINOR(1)); /* for the other one it is there as well */
		assert_int_equal(memswap.loads, 0);
		end();
	}
}

static void test_fault_while_shared_memory_leaves(void **state)
{
	for (unsigned k = 0; k < 2; k++) {
		begin(kernels[k], 0, RW | VM_SHARED);
		step_at(TRACE_pageout, false);
		step_done(pageout(mm, B, 1), MINOR(1));
		assert_int_equal(pageout(mm, B, 1), 1);
		assert_int_equal(get(mm, B), 7);
		assert_int_equal(faults(), MAJOR(1));
		end();
	}
}

/* ---- the end of it: remove_mapping ------------------------------------------------------------------------------------------ */

/* A page that nobody maps any more, in the swap cache: two entries name its slot, the fault of one has read it, and unmapped it again. */
static struct page *page_in_cache_alone(void)
{
	begin("5", MM_REUSE_5_4, RW);
	child = fork_mm(mm);
	assert_int_equal(pageout(mm, B, 1), 1);
	assert_int_equal(get(child, B), 7);
	dontneed(child, B, 1);
	mm_check_invariants();
	return lookup_swap_cache(pte_to_swp_entry(entry(mm, B)));
}

static void test_remove_mapping_wants_the_last_reference(void **state)
{
	struct page *page = page_in_cache_alone();

	assert_non_null(page);
	assert_int_equal(page_mapcount(page), 0);
	assert_int_equal(shrink_tail(LRU_INACTIVE_ANON), 0); /* we have it too */
	assert_true(page_in_swap_cache(page));
	put_page(page);
	faults();
	assert_int_equal(get(mm, B), 7);
	assert_int_equal(faults(), MINOR(1));
	end();

	page = page_in_cache_alone();
	put_page(page);
	assert_int_equal(shrink_tail(LRU_INACTIVE_ANON), 1);
	assert_int_equal(mm_stats()->swap_cached, 0);
	mm_check_invariants();
	faults();
	assert_int_equal(get(mm, B), 7);
	assert_int_equal(faults(), MAJOR(1));
	end();
}

/* Its slot may have been lost meanwhile: then the bytes are stored first. */
static void test_dirty_page_alone_is_stored_first(void **state)
{
	struct page *page = page_in_cache_alone();
	unsigned long stores = memswap.stores + memswap.unchanged;

	set_page_flags(page, PG_dirty);
	put_page(page);
	assert_int_equal(shrink_tail(LRU_INACTIVE_ANON), 1);
	assert_int_equal(memswap.stores + memswap.unchanged, stores + 1);
	assert_int_equal(get(mm, B), 7);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fault_during_each_step),
		cmocka_unit_test(test_fault_while_a_shared_page_leaves),
		cmocka_unit_test(test_fault_while_shared_memory_leaves),
		cmocka_unit_test(test_remove_mapping_wants_the_last_reference),
		cmocka_unit_test(test_dirty_page_alone_is_stored_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
