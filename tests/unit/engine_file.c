/* SPDX-License-Identifier: MIT
 *
 * The page cache: look-up, readahead, filemap_fault and filemap_map_pages, by the rows of fault-paths.md 3.5 and 3.6 over a real file of
 * this host. The functions are called as a generation calls them.
 */
#include "tests/unit/engine_disk.h"

/* ---- the cache ----------------------------------------------------------------------------------------------------------------- */

static void test_cache(void **state)
{
	uint8_t v;

	start(N, MAPPING_NOTIFY);
	assert_int_equal(filemap_peek(mapping, 5 * P + 7, &v), 0);
	assert_int_equal(v, byte_of(5));
	assert_int_equal(cached(N), 0); /* looking changes nothing */
	assert_int_equal(filemap_populate(file, 0, N / 2), N / 2);
	assert_int_equal(filemap_populate(file, 0, N + 100), N / 2); /* the other half, and nothing beyond the end */
	assert_int_equal(cached(N + 100), N);
	assert_int_equal(disk.read, N + 1);
	assert_int_equal(filemap_poke(mapping, 5 * P + 7, 99), 0);
	assert_int_equal(filemap_poke(mapping, N * P, 99), -EFAULT);
	filemap_peek(mapping, 5 * P + 7, &v);
	assert_int_equal(v, 99);
	assert_int_equal(on_disk(5 * P + 7), byte_of(5));
	mm_check_invariants();
	assert_int_equal(invalidate_mapping_pages(mapping, 4, 8), 3); /* not the dirty one */
	assert_int_equal(filemap_write_and_wait_range(mapping, 0, 5), 0);
	assert_int_equal(disk.written, 0);
	assert_int_equal(filemap_write_and_wait_range(mapping, 5, 6), 0);
	assert_int_equal(disk.written, 1);
	assert_int_equal(on_disk(5 * P + 7), 99);
	assert_int_equal(invalidate_mapping_pages(mapping, 0, N), N - 3);
	assert_int_equal(cached(N), 0);
	assert_int_equal(nr_used_frames(), 0);
	finish();
}

/* The last reference writes back what is dirty. */
static void test_last_reference(void **state)
{
	start(3, MAPPING_NOTIFY);
	vmtruncate(mapping, 2 * P + 100);
	filemap_poke(mapping, 2 * P + 99, 77);
	finish();
	assert_int_equal(disk.written, 1);
	assert_int_equal(disk.last_len, 100); /* of the last page only what belongs to the file */
}

static void test_no_memory(void **state)
{
	for (unsigned nth = 1; nth < 12; nth++) {
		uint8_t v;
		int err;

		start(N, 0);
		soft_fail_alloc(nth);
		err = filemap_poke(mapping, 60 * P, 1);
		soft_fail_alloc(0);
		assert_true(!err || err == -ENOMEM);
		mm_check_invariants();
		filemap_peek(mapping, 60 * P, &v);
		assert_int_equal(v, err ? byte_of(60) : 1);
		finish();
	}
}

/* ---- readahead (3.6) -------------------------------------------------------------------------------------------------------------- */

static void ra(unsigned start, unsigned size, unsigned async)
{
	assert_int_equal(file->f_ra.start, start);
	assert_int_equal(file->f_ra.size, size);
	assert_int_equal(file->f_ra.async_size, async);
}

/* The program reads on to the page with the mark. => which */
static unsigned long meet_mark(void)
{
	for (unsigned long i = 0; i < 4096; i++) {
		struct page *page = find_get_page(mapping, i, NULL);

		if (page && page_flags(page) & PG_readahead) {
			page_cache_async_readahead(file, page, i, 1);
			put_page(page);
			mm_check_invariants();
			return i;
		}
		if (page)
			put_page(page);
	}
	return NONE;
}

/* One page at a time: 4, 8, 16, 32, 32. */
static void test_windows_sequential(void **state)
{
	start(256, 0);
	mmap_read_lock(mm);
	page_cache_sync_readahead(file, 0, 1);
	mmap_read_unlock(mm);
	ra(0, 4, 3);
	assert_int_equal(cached(256), 4);
	assert_int_equal(meet_mark(), 1);
	ra(4, 8, 8);
	assert_int_equal(meet_mark(), 4);
	ra(12, 16, 16);
	assert_int_equal(meet_mark(), 12);
	ra(28, 32, 32);
	assert_int_equal(meet_mark(), 28);
	ra(60, 32, 32);
	assert_int_equal(cached(256), 92);
	assert_int_equal(disk.calls, 5); /* one call a window */
	finish();
}

static void test_windows_others(void **state)
{
	start(256, 0);
	/* isolated: just what was asked for, no mark */
	page_cache_sync_readahead(file, 100, 2);
	assert_int_equal(cached(256), 2);
	ra(0, 0, 0);
	/* the page after the last one that was read: sequential */
	file->f_ra.prev_pos = 119;
	page_cache_sync_readahead(file, 120, 1);
	ra(120, 4, 3);
	/* where the window ends, without having met the mark */
	page_cache_sync_readahead(file, 124, 1);
	ra(124, 24, 16); /* 8, whose mark would be its first page: joined with the next 16 */
	finish();

	start(256, 0);
	/* r = 8: s <= 32/4 -> 16; r = 16: 32; and the mark at start + size - async */
	file->f_ra.prev_pos = 9;
	page_cache_sync_readahead(file, 10, 8);
	ra(10, 16, 8);
	assert_true(page_flag(18, PG_readahead));
	file->f_ra.prev_pos = 49;
	page_cache_sync_readahead(file, 50, 16);
	ra(50, 32, 16);
	/* more than a window: the window, with the mark in its middle */
	page_cache_sync_readahead(file, 150, 40);
	ra(150, 32, 16);
	assert_true(page_flag(166, PG_readahead));
	finish();

	/* a mark of which the state says nothing (another opening's): from the first hole on */
	start(256, 0);
	filemap_populate(file, 40, 50);
	{
		struct page *page = find_get_page(mapping, 42, NULL);

		set_page_flags(page, PG_readahead);
		page_cache_async_readahead(file, page, 42, 1);
		put_page(page);
	}
	ra(50, 18, 18); /* 50 - 42 + 1 = 9, twice */
	assert_false(page_flag(42, PG_readahead));
	finish();
}

static void test_windows_ends(void **state)
{
	start(256, 0);
	page_cache_read_around(file, 100, 32);
	ra(84, 32, 8);
	assert_true(page_flag(108, PG_readahead));
	assert_int_equal(cached(256), 32);
	page_cache_read_around(file, 110, 32); /* what is there already is not read again */
	assert_int_equal(disk.read, 42);
	address_space_set_readahead(mapping, 0);
	page_cache_sync_readahead(file, 0, 1);
	assert_int_equal(disk.read, 42);
	finish();
}

/* A window that goes on behind the file's end: each kernel has its own place for the mark. `there`: a page that isn't missing, or NONE.
 * => the page with the mark, or NONE */
static unsigned long mark_at_end(enum reuse_rule rule, unsigned long there)
{
	unsigned long mark = NONE;

	start(20, 0);
	mm_reuse_rule = rule;
	if (there != NONE)
		filemap_populate(file, there, there + 1);
	page_cache_read_around(file, 10, 32);
	ra(0, 32, 8);
	assert_int_equal(cached(64), 20); /* never past the last page */
	for (unsigned i = 0; i < 20; i++)
		if (page_flag(i, PG_readahead))
			mark = mark == NONE ? i : N;
	finish();
	mm_reuse_rule = REUSE_5_15;
	return mark;
}

static void test_window_over_the_end(void **state)
{
	assert_int_equal(mark_at_end(REUSE_5_4, NONE), NONE); /* 24 would be it */
	assert_int_equal(mark_at_end(REUSE_5_4, 3), NONE);
	assert_int_equal(mark_at_end(REUSE_5_15, NONE), 12);
	assert_int_equal(mark_at_end(REUSE_5_15, 3), 12);
	assert_int_equal(mark_at_end(REUSE_5_15, 12), NONE); /* a page that was there gets none */
	assert_int_equal(mark_at_end(REUSE_6, NONE), NONE);
	assert_int_equal(mark_at_end(REUSE_6, 3), 12); /* from 3 on it is a window of its own */
	assert_int_equal(mark_at_end(REUSE_6, 14), NONE); /* of less than 8 pages */
}

/* Who reads the page, or stores to it, takes the mark off. */
static void test_mark_goes(void **state)
{
	start(256, 0);
	page_cache_read_around(file, 16, 32);
	assert_true(page_flag(24, PG_readahead));
	filemap_populate(file, 0, 32);
	assert_true(page_flag(24, PG_readahead));
	assert_int_equal(filemap_get_pages(file, 0, 34), 2);
	assert_false(page_flag(24, PG_readahead));
	page_cache_read_around(file, 116, 32);
	assert_true(page_flag(124, PG_readahead));
	assert_int_equal(filemap_poke(mapping, 124 * P, 1), 0);
	assert_false(page_flag(124, PG_readahead));
	finish();
}

/* One page of a window is bad: the others come. */
static void test_window_with_bad_page(void **state)
{
	start(64, 0);
	disk.bad_read = 7;
	assert_int_equal(filemap_populate(file, 0, 16), 15);
	assert_int_equal(cached(64), 15);
	assert_true(page_flag(7, PG_error));
	mm_check_invariants();
	disk.bad_read = NONE;
	map_file(mm, B, 16, RO, 0);
	assert_int_equal(fault_at(B + 7 * P, SECOND, NULL), VM_FAULT_LOCKED); /* read once more */
	assert_false(page_flag(7, PG_error));
	finish();
}

/* ---- filemap_fault, row by row (3.6) -------------------------------------------------------------------------------------------------- */

static void test_fault_beyond_end(void **state)
{
	start(10, 0);
	map_file(mm, B, N, RO, 0);
	assert_int_equal(fault_at(B + 10 * P, FIRST, NULL), VM_FAULT_SIGBUS);
	vmtruncate(mapping, 10 * P + 1); /* part of a page is a page */
	assert_int_equal(fault_at(B + 10 * P, SECOND, NULL), VM_FAULT_LOCKED | VM_FAULT_MAJOR);
	assert_int_equal(fault_at(B + 11 * P, FIRST, NULL), VM_FAULT_SIGBUS);
	finish();
}

static void test_fault_cached(void **state)
{
	start(N, 0);
	map_file(mm, B, N, RO, 0);
	filemap_populate(file, 0, N);
	file->f_ra.mmap_miss = 5;
	assert_int_equal(fault_at(B + 3 * P, FIRST, NULL), VM_FAULT_LOCKED);
	assert_int_equal(file->f_ra.mmap_miss, 4); /* a hit */
	assert_int_equal(fault_at(B + 3 * P, SECOND, NULL), VM_FAULT_LOCKED);
	assert_int_equal(file->f_ra.mmap_miss, 4); /* no async step on the second try */
	finish();
}

static void test_fault_miss(void **state)
{
	start(256, 0);
	map_file(mm, B, 256, RO, 0);
	/* mmap_lock is dropped for the reading: RETRY; the second try finds the page */
	assert_int_equal(fault_at(B + 100 * P, FIRST, NULL), VM_FAULT_MAJOR | VM_FAULT_RETRY);
	ra(84, 32, 8); /* read-around */
	assert_int_equal(cached(256), 32);
	assert_int_equal(file->f_ra.mmap_miss, 1);
	assert_int_equal(fault_at(B + 100 * P, SECOND, NULL), VM_FAULT_LOCKED);
	assert_int_equal(file->f_ra.mmap_miss, 1);
	/* a try that may not be repeated holds on to it */
	assert_int_equal(fault_at(B + 200 * P, 0, NULL), VM_FAULT_MAJOR | VM_FAULT_LOCKED);
	assert_int_equal(fault_at(B + 10 * P, SECOND, NULL), VM_FAULT_MAJOR | VM_FAULT_LOCKED);
	/* the mark: the next window is asked for, without mmap_lock */
	assert_int_equal(fault_at(B + 108 * P, FIRST, NULL), VM_FAULT_RETRY);
	assert_int_equal(fault_at(B + 108 * P, SECOND, NULL), VM_FAULT_LOCKED);
	finish();
}

static void test_fault_mark(void **state)
{
	start(256, 0);
	map_file(mm, B, 256, RO, 0);
	fault_at(B, FIRST, NULL);
	ra(0, 32, 8);
	assert_int_equal(fault_at(B + 24 * P, SECOND, NULL), VM_FAULT_LOCKED); /* the second try doesn't look at it */
	assert_true(page_flag(24, PG_readahead));
	assert_int_equal(fault_at(B + 24 * P, FIRST, NULL), VM_FAULT_RETRY);
	assert_false(page_flag(24, PG_readahead));
	ra(32, 32, 32);
	assert_int_equal(cached(256), 64);
	finish();
}

static void test_fault_random_hint(void **state)
{
	start(N, 0);
	map_file(mm, B, N, RO | VM_RAND_READ, 0);
	assert_int_equal(fault_at(B + 9 * P, FIRST, NULL), VM_FAULT_MAJOR | VM_FAULT_RETRY);
	assert_int_equal(cached(N), 1);
	assert_int_equal(file->f_ra.mmap_miss, 0);
	assert_int_equal(fault_at(B + 9 * P, SECOND, NULL), VM_FAULT_LOCKED);
	finish();
	start(N, 0); /* the same without readahead */
	map_file(mm, B, N, RO, 0);
	address_space_set_readahead(mapping, 0);
	assert_int_equal(fault_at(B + 9 * P, FIRST, NULL), VM_FAULT_MAJOR | VM_FAULT_RETRY);
	assert_int_equal(cached(N), 1);
	finish();
}

static void test_fault_sequential_hint(void **state)
{
	start(256, 0);
	map_file(mm, B, 256, RO | VM_SEQ_READ, 0);
	assert_int_equal(fault_at(B, FIRST, NULL), VM_FAULT_MAJOR | VM_FAULT_RETRY);
	ra(0, 32, 16); /* a request of a whole window; the mark in its middle */
	assert_int_equal(file->f_ra.mmap_miss, 0);
	assert_int_equal(fault_at(B + 16 * P, FIRST, NULL), VM_FAULT_RETRY);
	ra(32, 32, 32);
	finish();
}

static void test_fault_too_many_misses(void **state)
{
	start(256, 0);
	map_file(mm, B, 256, RO, 0);
	file->f_ra.mmap_miss = 99;
	fault_at(B + 50 * P, FIRST, NULL); /* the 100th still reads around */
	assert_int_equal(cached(256), 32);
	assert_int_equal(fault_at(B + 150 * P, FIRST, NULL), VM_FAULT_MAJOR | VM_FAULT_RETRY);
	assert_int_equal(cached(256), 33); /* the 101st: the page alone */
	file->f_ra.mmap_miss = 5000;
	fault_at(B + 200 * P, FIRST, NULL);
	assert_int_equal(file->f_ra.mmap_miss, 5000); /* no higher than 1000 by misses */
	file->f_ra.mmap_miss = 999;
	fault_at(B + 202 * P, FIRST, NULL);
	fault_at(B + 204 * P, FIRST, NULL);
	assert_int_equal(file->f_ra.mmap_miss, 1000);
	finish();
}

/* EIO: the first try has let go of mmap_lock and ends in RETRY, the second reads once more and says SIGBUS. */
static void test_fault_eio(void **state)
{
	start(N, 0);
	map_file(mm, B, N, RO | VM_RAND_READ, 0);
	disk.bad_read = 5;
	assert_int_equal(fault_at(B + 5 * P, FIRST, NULL), VM_FAULT_MAJOR | VM_FAULT_RETRY);
	assert_int_equal(fault_at(B + 5 * P, SECOND, NULL), VM_FAULT_SIGBUS);
	assert_int_equal(fault_at(B + 5 * P, 0, NULL), VM_FAULT_SIGBUS);
	assert_true(page_flag(5, PG_error));
	disk.bad_read = NONE;
	assert_int_equal(fault_at(B + 5 * P, SECOND, NULL), VM_FAULT_LOCKED);
	finish();
}

static void test_fault_no_frame(void **state)
{
	start_engine(&(struct engine){ .caps = CAPS_X86, .frames = 64, .limit = 2 }, N, 0, &disk_ops);
	map_file(mm, B, N, RO | VM_LOCKED, 0);
	map(mm, 2 * B, 2, RW | VM_LOCKED);
	put(mm, 2 * B, 1);
	put(mm, 2 * B + P, 1);
	assert_int_equal(fault_at(B, 0, NULL), VM_FAULT_OOM);
	finish();
}

/* Another thread has the page locked. */
static void *unlock_later(void *arg)
{
	usleep(20000);
	unlock_page(arg);
	return NULL;
}

static void test_fault_page_lock(void **state)
{
	struct page *page;
	pthread_t t;

	start(N, 0);
	map_file(mm, B, N, RO, 0);
	filemap_populate(file, 0, N);
	for (int try = 0; try < 2; try++) {
		page = find_lock_page(mapping, 3);
		pthread_create(&t, NULL, unlock_later, page);
		put_page(page);
		assert_int_equal(fault_at(B + 3 * P, try ? SECOND : FIRST, NULL), try ? VM_FAULT_LOCKED : VM_FAULT_RETRY);
		pthread_join(t, NULL);
	}
	finish();
}

/* The page is truncated while the fault waits for it. As in truncation itself, whoever looks at the invariants waits for the last reference,
 * which outlives the page lock for a moment. */
static void *truncate_later(void *arg)
{
	struct page *page = arg;

	usleep(20000);
	enter_reclaim();
	atomic_store(&mapping->i_size, 2 * P);
	delete_from_page_cache(page);
	unlock_page(page);
	usleep(5000);
	put_page(page);
	leave_reclaim();
	return NULL;
}

static void test_fault_truncated(void **state)
{
	struct page *page;
	pthread_t t;

	start(N, 0);
	map_file(mm, B, N, RO, 0);
	filemap_populate(file, 0, N);
	page = find_lock_page(mapping, 3);
	pthread_create(&t, NULL, truncate_later, page);
	assert_int_equal(fault_at(B + 3 * P, SECOND, NULL), VM_FAULT_SIGBUS);
	pthread_join(t, NULL);
	/* still cached, but beyond the end when the lock is ours */
	assert_int_equal(fault_at(B + 4 * P, FIRST, NULL), VM_FAULT_SIGBUS);
	atomic_store(&mapping->i_size, N * P);
	finish();
}

/* ---- filemap_map_pages (3.5) ------------------------------------------------------------------------------------------------------------ */

static void test_map_pages(void **state)
{
	struct page *page;
	bool hit;

	start(N, 0);
	map_file(mm, B, N, RO, 0);
	assert_int_equal(map_around(B + 5 * P, 0, 15, &hit), 0); /* nothing cached: nothing read */
	assert_false(hit);
	assert_int_equal(disk.read, 0);
	filemap_populate(file, 0, N);
	file->f_ra.mmap_miss = 40;
	/* not: locked, with the mark, not uptodate, an entry that is there */
	page = find_lock_page(mapping, 2);
	set_page_flags(find_get_page(mapping, 3, NULL), PG_readahead);
	clear_page_flags(find_get_page(mapping, 4, NULL), PG_uptodate);
	for (unsigned i = 3; i < 5; i++) {
		struct page *p = find_get_page(mapping, i, NULL);

		put_page(p);
		put_page(p);
	}
	unlock_page(page); /* the invariants want it so; locked again below */
	put_page(page);
	assert_int_equal(map_around(B + 5 * P, 5, 5, &hit), 1);
	assert_true(hit);
	assert_int_equal(file->f_ra.mmap_miss, 39);
	assert_int_equal(map_around(B + 5 * P, 0, 15, &hit), 13); /* 16 less 3, 4, 5 */
	assert_false(hit); /* it was mapped before */
	assert_int_equal(file->f_ra.mmap_miss, 26);
	assert_int_equal(map_around(B + 3 * P, 0, 20, &hit), 5);
	assert_false(hit);
	assert_true(pte_young(entry(mm, B + 20 * P)) && !pte_write(entry(mm, B + 20 * P)) && !pte_dirty(entry(mm, B + 20 * P)));
	assert_int_equal(get_mm_counter(mm, MM_FILEPAGES), 19);
	assert_int_equal(mm_stats()->file_around_pages, 18);
	set_page_flags(page = find_lock_page(mapping, 4), PG_uptodate);
	unlock_page(page);
	put_page(page);
	finish();
}

static void test_map_pages_locked(void **state)
{
	struct vm_area_struct *vma;
	struct page *page;
	struct vm_fault vmf;
	pmd_t pmd;

	start(N, 0);
	map_file(mm, B, N, RO, 0);
	filemap_populate(file, 0, N);
	page = find_lock_page(mapping, 6);
	mmap_read_lock(mm);
	vma = find_vma(mm, B);
	pmd.desc = pte_table_alloc(mm, B);
	vmf = (struct vm_fault){ .vma = vma, .address = B + 6 * P, .pgoff = 6, .pmd = &pmd };
	assert_int_equal(filemap_map_pages(&vmf, 0, 15), 0);
	mmap_read_unlock(mm);
	assert_true(pte_none(entry(mm, B + 6 * P)));
	assert_true(pte_present(entry(mm, B + 7 * P)));
	unlock_page(page);
	put_page(page);
	finish();
}

static void test_map_pages_end(void **state)
{
	bool hit;

	start(N, 0);
	map_file(mm, B, N, RO, 0);
	filemap_populate(file, 0, N);
	atomic_store(&mapping->i_size, 10 * P); /* truncate has come this far */
	assert_int_equal(map_around(B, 0, 15, &hit), 10);
	assert_true(hit);
	atomic_store(&mapping->i_size, N * P);
	finish();
}

/* The machine fails in the middle: nothing stays half done. */
static void test_map_pages_machine_fails(void **state)
{
	bool hit;

	start(N, 0);
	map_file(mm, B, N, RO, 0);
	filemap_populate(file, 0, N);
	soft_fail_map(1, -ENOMEM);
	assert_int_equal(map_around(B, 0, 15, &hit), 0);
	assert_false(hit);
	soft_fail_map(1, 4);
	assert_int_equal(map_around(B + 5 * P, 0, 15, &hit), 4);
	assert_false(hit);
	finish();
}

static void test_map_pages_prot(void **state)
{
	bool hit;

	for (int notify = 0; notify < 2; notify++) {
		start(N, notify ? MAPPING_NOTIFY : 0);
		filemap_populate(file, 0, N);
		map_file(mm, B, 16, SHARED, 0);
		map_file(mm, 2 * B, 16, RW, 0);
		map_file(mm, 3 * B, 16, RO & ~VM_ACCESS_FLAGS, 0);
		map_around(B, 0, 15, &hit);
		map_around(2 * B, 0, 15, &hit);
		map_around(3 * B, 0, 15, &hit);
		assert_int_equal(!!pte_write(entry(mm, B)), !notify);
		assert_false(pte_write(entry(mm, 2 * B)));
		assert_true(entry(mm, 3 * B).val & _PAGE_PROTNONE);
		finish();
	}
}



int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cache), cmocka_unit_test(test_last_reference), cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_windows_sequential), cmocka_unit_test(test_windows_others), cmocka_unit_test(test_windows_ends),
		cmocka_unit_test(test_window_over_the_end), cmocka_unit_test(test_mark_goes),
		cmocka_unit_test(test_window_with_bad_page), cmocka_unit_test(test_fault_beyond_end), cmocka_unit_test(test_fault_cached),
		cmocka_unit_test(test_fault_miss), cmocka_unit_test(test_fault_mark), cmocka_unit_test(test_fault_random_hint),
		cmocka_unit_test(test_fault_sequential_hint), cmocka_unit_test(test_fault_too_many_misses), cmocka_unit_test(test_fault_eio),
		cmocka_unit_test(test_fault_no_frame), cmocka_unit_test(test_fault_page_lock), cmocka_unit_test(test_fault_truncated),
		cmocka_unit_test(test_map_pages), cmocka_unit_test(test_map_pages_locked), cmocka_unit_test(test_map_pages_end),
		cmocka_unit_test(test_map_pages_machine_fails), cmocka_unit_test(test_map_pages_prot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
