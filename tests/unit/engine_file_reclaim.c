/* SPDX-License-Identifier: MIT
 *
 * Files as programs see them: the rows of fault-paths.md 5 that concern files, dirty pages and writeback (4.1), truncation, shared
 * anonymous memory, and reclaim (4.3), over a real file of this host.
 */
#include "tests/unit/engine_disk.h"

static void read_pages(struct mm_struct *m, unsigned long addr, unsigned long n, unsigned long pgoff)
{
	for (unsigned long i = 0; i < n; i++)
		assert_int_equal(get(m, addr + i * P), byte_of(pgoff + i));
	mm_check_invariants();
}

static void write_pages(struct mm_struct *m, unsigned long addr, unsigned long n, uint8_t v)
{
	for (unsigned long i = 0; i < n; i++)
		put(m, addr + i * P, v);
	mm_check_invariants();
}

static vm_fault_t load(unsigned long addr)
{
	uint8_t v;
	vm_fault_t ret = soft_load(mm, addr, &v);

	mm_check_invariants();
	return ret;
}

/* ---- rows of section 5 -------------------------------------------------------------------------------------------------------- */

static void test_row6_cached(void **state)
{
	for (unsigned a = 0; a < 16; a += 5) {
		start(256, MAPPING_NOTIFY);
		filemap_populate(file, 0, 256);
		map_file(mm, B + a * P, 256, RO, 0);
		read_pages(mm, B + a * P, 256, 0);
		assert_int_equal(faults(), MINOR(a ? 17 : 16));
		finish();
	}
	start(256, 0);
	filemap_populate(file, 0, 256);
	map_file(mm, B, 40, RO, 0);
	for (unsigned i = 0; i < 40; i++) {
		get(mm, B + i * P);
		assert_int_equal(faults(), MINOR(i % 16 == 0));
	}
	finish();
}

static void test_row7_around(void **state)
{
	start(256, 0);
	filemap_populate(file, 0, 256);
	map_file(mm, B + 8 * P, 64, RO, 0);
	get(mm, B + 28 * P);
	assert_int_equal(faults(), MINOR(1));
	for (unsigned i = 0; i < 64; i++) {
		assert_int_equal(!!pte_present(entry(mm, B + (8 + i) * P)), (i >= 8 && i < 24) || (i && i < 8) || (i >= 24 && i % 16 != 8));
		get(mm, B + (8 + i) * P);
		assert_int_equal(faults(), MINOR(i == 0 || i == 24 || i == 40 || i == 56));
	}
	finish();
}

static void test_row8_private(void **state)
{
	start(256, MAPPING_NOTIFY);
	filemap_populate(file, 0, 256);
	map_file(mm, B, 64, RW, 0);
	read_pages(mm, B, 64, 0);
	assert_int_equal(faults(), MINOR(4));
	write_pages(mm, B, 64, 200);
	assert_int_equal(faults(), MINOR(64));
	map_file(mm, 2 * B, 64, RW, 64);
	write_pages(mm, 2 * B, 64, 201); /* no fault-around on a write */
	assert_int_equal(faults(), MINOR(64));
	assert_int_equal(get_mm_counter(mm, MM_ANONPAGES), 128);
	assert_int_equal(get_mm_counter(mm, MM_FILEPAGES), 0);
	assert_int_equal(filemap_write_and_wait_range(mapping, 0, 256), 0);
	assert_int_equal(disk.written, 0); /* private stores never reach the file */
	finish();
}

/* Row 9 and the table of 4.1. */
static void test_row9_write_notification(void **state)
{
	start(N, MAPPING_NOTIFY);
	filemap_populate(file, 0, N);
	map_file(mm, B, N, SHARED, 0);
	read_pages(mm, B, N, 0);
	assert_int_equal(faults(), MINOR(4));
	assert_false(pte_write(entry(mm, B)));
	write_pages(mm, B, N, 9);
	assert_int_equal(faults(), MINOR(N));
	assert_true(page_flag(5, PG_dirty));
	assert_int_equal(msync_range(mm, B, N * P), 0);
	mm_check_invariants();
	assert_int_equal(disk.written, N);
	assert_int_equal(on_disk(5 * P), 9);
	assert_false(pte_write(entry(mm, B)) || pte_dirty(entry(mm, B)) || page_flag(0, PG_dirty));
	assert_int_equal(msync_range(mm, B, N * P), 0);
	assert_int_equal(disk.written, N); /* nothing is dirty any more */
	write_pages(mm, B, N, 10);
	assert_int_equal(faults(), MINOR(N)); /* the next store faults again */
	write_pages(mm, B, N, 11);
	assert_int_equal(faults(), 0);
	finish();
	assert_int_equal(disk.written, 2 * N); /* the last reference */
}

/* 5.15 lets go of mmap_lock to be throttled, and counts the second try as major; 6.x is done after the first. */
static void test_throttled_store(void **state)
{
	start(N, MAPPING_NOTIFY);
	mm_reuse_rule = REUSE_5_15;
	filemap_populate(file, 0, N);
	map_file(mm, B, N, SHARED, 0);
	write_pages(mm, B, N, 9);
	assert_int_equal(faults(), MAJOR(N));
	write_pages(mm, B, N, 9);
	assert_int_equal(faults(), 0);
	finish();
}

static void test_row9_without_notification(void **state)
{
	start(N, 0);
	filemap_populate(file, 0, N);
	map_file(mm, B, N, SHARED, 0);
	read_pages(mm, B, N, 0);
	assert_int_equal(faults(), MINOR(4));
	write_pages(mm, B, N, 9);
	assert_int_equal(faults(), 0);
	assert_int_equal(msync_range(mm, B, N * P), 0); /* found by the entries' dirty bits */
	assert_int_equal(disk.written, N);
	assert_true(pte_write(entry(mm, B)) && !pte_dirty(entry(mm, B)));
	write_pages(mm, B, N, 10);
	assert_int_equal(faults(), 0);
	assert_int_equal(msync_range(mm, B, N * P), 0);
	assert_int_equal(disk.written, 2 * N);
	finish();
}

static void test_row10_cold_sequential(void **state)
{
	start(256, 0);
	address_space_set_readahead(mapping, 2048); /* as the host whose row it is */
	map_file(mm, B, 256, RO, 0);
	read_pages(mm, B, 256, 0);
	assert_int_equal(faults(), MINOR(15) | MAJOR(1));
	finish();
	start(256, 0); /* windows of 32: the mark of the first is met at 24, then each window's first page carries one */
	map_file(mm, B, 256, RO, 0);
	read_pages(mm, B, 256, 0);
	assert_int_equal(faults(), MINOR(16) | MAJOR(1));
	assert_int_equal(disk.read, 256);
	finish();
}

static void test_rows_11_12_cold(void **state)
{
	start(256, 0);
	map_file(mm, B, 64, RO | VM_RAND_READ, 0);
	read_pages(mm, B, 64, 0);
	assert_int_equal(faults(), MAJOR(64));
	finish();
	start(256, 0);
	map_file(mm, B, 256, RO, 0);
	get(mm, B + 128 * P);
	assert_int_equal(faults(), MAJOR(1));
	assert_int_equal(cached(256), 32);
	finish();
}

static void test_row15_fork(void **state)
{
	struct mm_struct *child;

	start(N, MAPPING_NOTIFY);
	filemap_populate(file, 0, N);
	map_file(mm, B, N, SHARED, 0);
	map_file(mm, 2 * B, N, RW, 0);
	read_pages(mm, B, N, 0);
	read_pages(mm, 2 * B, N, 0);
	faults();
	child = fork_mm(mm);
	mm_check_invariants();
	read_pages(child, B, N, 0);
	read_pages(child, 2 * B, N, 0);
	assert_int_equal(faults(), MINOR(8)); /* no entry was copied */
	mmput(child);
	put(mm, 2 * B, 7);
	faults();
	child = fork_mm(mm);
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(get(child, 2 * B + i * P), i ? byte_of(i) : 7);
	assert_int_equal(faults(), 0); /* one private copy: all entries */
	mm_check_invariants();
	mmput(child);
	finish();
}

static void test_row20_pageout(void **state)
{
	start(N, MAPPING_NOTIFY);
	filemap_populate(file, 0, N);
	map_file(mm, B, N, SHARED, 0);
	read_pages(mm, B, N, 0);
	put(mm, B + 5 * P, 1);
	assert_int_equal(pageout(mm, B, N), N - 1);
	mm_check_invariants();
	assert_int_equal(cached(N), 1); /* the dirty one, unmapped and not written */
	assert_true(filemap_cached(mapping, 5));
	assert_int_equal(disk.written, 0);
	assert_true(pte_none(entry(mm, B + 5 * P)));
	faults();
	assert_int_equal(get(mm, B + 5 * P), 1);
	assert_int_equal(faults(), MINOR(1));
	read_pages(mm, B, 5, 0);
	assert_int_equal(faults() >> 32, 1);
	finish();
}

static void test_row22_dontneed(void **state)
{
	start(N, 0);
	filemap_populate(file, 0, N);
	map_file(mm, B, N, RW, 0);
	write_pages(mm, B, N, 99);
	faults();
	dontneed(mm, B, N);
	read_pages(mm, B, N, 0);
	assert_int_equal(faults(), MINOR(4));
	finish();
}

/* ---- signals ------------------------------------------------------------------------------------------------------------------- */

static void test_signals(void **state)
{
	start_engine(&(struct engine){ .caps = CAPS_X86, .frames = 1024 }, 4, MAPPING_NOTIFY, &disk_mkwrite_ops);
	vmtruncate(mapping, 3 * P + 10);
	map_file(mm, B, 8, SHARED, 0);
	map_file(mm, 2 * B, 8, RW, 0);
	faults();
	assert_int_equal(load(B + 4 * P), VM_FAULT_SIGBUS);
	assert_int_equal(load(2 * B + 4 * P), VM_FAULT_SIGBUS);
	assert_int_equal(soft_store(mm, 2 * B + 4 * P, 1), VM_FAULT_SIGBUS);
	assert_int_equal(faults(), 0);
	assert_int_equal(get(mm, B + 3 * P + 10), 0); /* the tail of the last page is zero, and may be written */
	put(mm, B + 3 * P + 20, 5);
	assert_int_equal(get(mm, B + 3 * P + 20), 5);
	disk.mkwrite = -ENOSPC;
	assert_int_equal(soft_store(mm, B, 1), VM_FAULT_SIGBUS); /* the page is absent */
	assert_int_equal(get(mm, B), byte_of(0));
	assert_int_equal(soft_store(mm, B, 1), VM_FAULT_SIGBUS); /* and present, read-only */
	mm_check_invariants();
	disk.mkwrite = 0;
	put(mm, B, 1);
	disk.bad_read = 1;
	invalidate_mapping_pages(mapping, 0, 8);
	dontneed(mm, B, 8);
	invalidate_mapping_pages(mapping, 0, 8);
	address_space_set_readahead(mapping, 0);
	assert_int_equal(load(B + P), VM_FAULT_SIGBUS); /* EIO */
	disk.bad_read = NONE;
	assert_int_equal(get(mm, B + P), byte_of(1));
	finish();
}

/* ---- writeback (4.1) -------------------------------------------------------------------------------------------------------------- */

static void test_write_error(void **state)
{
	start(N, MAPPING_NOTIFY);
	map_file(mm, B, N, SHARED, 0);
	write_pages(mm, B, 4, 9);
	disk.bad_write = 2;
	assert_int_equal(msync_range(mm, B, N * P), -EIO);
	mm_check_invariants();
	assert_int_equal(disk.written, 3); /* the others were */
	assert_true(page_flag(2, PG_dirty));
	assert_false(page_flag(1, PG_dirty));
	assert_int_equal(get(mm, B + 2 * P), 9);
	disk.bad_write = NONE;
	assert_int_equal(msync_range(mm, B, N * P), 0);
	assert_int_equal(on_disk(2 * P), 9);
	/* an error that nobody was told of: the next one to ask is */
	put(mm, B, 11);
	disk.bad_write = 0;
	{
		struct page *page = find_lock_page(mapping, 0);

		assert_true(clear_page_dirty_for_io(page));
		assert_int_equal(write_one_page(page), -EIO);
		unlock_page(page);
		put_page(page);
	}
	disk.bad_write = NONE;
	assert_int_equal(filemap_write_and_wait_range(mapping, 30, 31), -EIO);
	assert_int_equal(filemap_write_and_wait_range(mapping, 30, 31), 0);
	finish();
	assert_int_equal(on_disk(0), 11); /* it was dirty again */
}

static void test_msync_ranges(void **state)
{
	start(N, MAPPING_NOTIFY);
	map_file(mm, B, 8, SHARED, 0);
	map_file(mm, B + 16 * P, 8, SHARED, 16);
	write_pages(mm, B, 8, 1);
	write_pages(mm, B + 16 * P, 8, 1);
	assert_int_equal(msync_range(mm, B + 2 * P, 2 * P), 0);
	assert_int_equal(disk.written, 2);
	assert_int_equal(msync_range(mm, B, 24 * P), -ENOMEM); /* a hole; but all is written */
	assert_int_equal(disk.written, 16);
	finish();
}

/* All sharers' entries are cleaned, and private ones left. */
static void test_mkclean_everywhere(void **state)
{
	struct mm_struct *child;

	start(N, MAPPING_NOTIFY);
	map_file(mm, B, 8, SHARED, 0);
	map_file(mm, 2 * B, 8, SHARED, 0);
	child = fork_mm(mm);
	put(mm, B, 1);
	put(mm, 2 * B, 2);
	put(child, B, 3);
	assert_true(pte_write(entry(mm, B)) && pte_write(entry(mm, 2 * B)) && pte_write(entry(child, B)));
	msync_range(mm, B, P);
	mm_check_invariants();
	assert_false(pte_write(entry(mm, B)) || pte_write(entry(mm, 2 * B)) || pte_write(entry(child, B)));
	faults();
	put(child, B, 4);
	assert_int_equal(faults(), MINOR(1));
	assert_int_equal(get(mm, 2 * B), 4);
	mmput(child);
	assert_true(page_flag(0, PG_dirty)); /* unmap has brought the dirty bit along */
	finish();
	assert_int_equal(on_disk(0), 4);
}

/* ARM: no dirty bits in hardware; the first store after cleaning faults. */
static void test_arm(void **state)
{
	start_engine(&(struct engine){ .caps = CAPS_ARM, .frames = 1024 }, N, MAPPING_NOTIFY, &disk_ops);
	filemap_populate(file, 0, N);
	map_file(mm, B, N, SHARED, 0);
	read_pages(mm, B, N, 0);
	assert_int_equal(faults(), MINOR(4)); /* mapped young */
	write_pages(mm, B, N, 3);
	assert_int_equal(faults(), MINOR(N));
	msync_range(mm, B, N * P);
	write_pages(mm, B, N, 4);
	assert_int_equal(faults(), MINOR(N));
	assert_int_equal(pageout(mm, B, N), 0); /* all dirty */
	mm_check_invariants();
	finish();
	assert_int_equal(on_disk(7 * P), 4);
}

/* ---- truncation --------------------------------------------------------------------------------------------------------------------- */

static void test_truncate(void **state)
{
	uint8_t v;

	start(N, MAPPING_NOTIFY);
	map_file(mm, B, N, SHARED, 0);
	map_file(mm, 2 * B, N, RW, 0);
	read_pages(mm, B, N, 0);
	read_pages(mm, 2 * B, 8, 0);
	put(mm, 2 * B + 20 * P, 5); /* private copies, on both sides of the new end */
	put(mm, 2 * B + 3 * P, 5);
	put(mm, B + 21 * P, 6);
	assert_int_equal(vmtruncate(mapping, 10 * P + 100), 0);
	mm_check_invariants();
	assert_int_equal(cached(N), 11);
	assert_int_equal(load(B + 11 * P), VM_FAULT_SIGBUS);
	assert_int_equal(load(2 * B + 20 * P), VM_FAULT_SIGBUS); /* the copy is gone too */
	assert_int_equal(get(mm, 2 * B + 3 * P), 5);
	assert_int_equal(get(mm, B + 10 * P + 99), byte_of(10));
	assert_int_equal(get(mm, B + 10 * P + 100), 0); /* the tail is zero, where it is mapped too */
	put(mm, B + 10 * P + 200, 44);
	assert_int_equal(filemap_peek(mapping, 10 * P + 200, &v), -EFAULT);
	assert_int_equal(msync_range(mm, B, P * 11), 0);
	assert_int_equal(disk.last_len, 100); /* what was stored behind the end isn't written */
	/* longer again: what was behind the end is no part of the file */
	assert_int_equal(vmtruncate(mapping, 20 * P), 0);
	assert_int_equal(get(mm, B + 10 * P + 200), 0);
	assert_int_equal(filemap_peek(mapping, 10 * P + 200, &v), 0);
	assert_int_equal(v, 0);
	assert_int_equal(load(B + 20 * P), VM_FAULT_SIGBUS);
	assert_int_equal(load(B + 19 * P), 0);
	assert_int_equal(vmtruncate(mapping, 0), 0);
	mm_check_invariants();
	assert_int_equal(cached(N), 0);
	finish();
}

static void test_truncate_errors(void **state)
{
	start(N, 0);
	map_file(mm, B, N, SHARED, 0);
	disk.bad_read = 10;
	assert_int_equal(vmtruncate(mapping, 10 * P + 100), -EIO);
	assert_int_equal(address_space_size(mapping), N * P); /* as before */
	assert_int_equal(vmtruncate(mapping, 10 * P), 0);     /* needs no reading */
	assert_int_equal(disk.read, 0);
	finish();
}

/* unmap_mapping_range alone: private copies go only if asked. */
static void test_unmap_mapping_range(void **state)
{
	start(N, 0);
	filemap_populate(file, 0, N);
	map_file(mm, B, N, SHARED, 0);
	map_file(mm, 2 * B + P, 20, RW, 10);
	read_pages(mm, B, N, 0);
	read_pages(mm, 2 * B + P, 20, 10);
	put(mm, 2 * B + 6 * P, 9); /* page 15 */
	pageout(mm, 2 * B + 6 * P, 1);
	put(mm, 2 * B + 7 * P, 9); /* page 16 */
	unmap_mapping_range(mapping, 14, 18, false);
	mm_check_invariants();
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(!pte_none(entry(mm, B + i * P)), i < 14 || i >= 18);
	for (unsigned i = 10; i < 30; i++)
		assert_int_equal(!pte_none(entry(mm, 2 * B + P + (i - 10) * P)), i < 14 || i >= 18 || i == 15 || i == 16);
	unmap_mapping_range(mapping, 14, 18, true);
	mm_check_invariants();
	assert_true(pte_none(entry(mm, 2 * B + 6 * P)) && pte_none(entry(mm, 2 * B + 7 * P)));
	assert_int_equal(mm_stats()->swap_slots_used, 0);
	finish();
}

/* ---- shared anonymous memory ------------------------------------------------------------------------------------------------------------ */

static void test_row5_shared_anon(void **state)
{
	struct mm_struct *child;

	start(1, 0);
	map_shared_anon(mm, B, N);
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(get(mm, B + i * P), 0);
	assert_int_equal(faults(), MINOR(N));
	write_pages(mm, B, N, 5);
	assert_int_equal(faults(), 0);
	assert_int_equal(get_mm_counter(mm, MM_SHMEMPAGES), N);
	map_shared_anon(mm, 2 * B, N);
	write_pages(mm, 2 * B, N, 6);
	assert_int_equal(faults(), MINOR(N));
	child = fork_mm(mm);
	put(child, B + 3 * P, 77);
	assert_int_equal(get(mm, B + 3 * P), 77); /* one memory */
	assert_int_equal(faults(), MINOR(1));
	mm_check_invariants();
	mmput(child);
	finish();
}

static void test_shmem_swap(void **state)
{
	struct mm_struct *child;
	swp_entry_t slot;

	start(1, 0);
	map_shared_anon(mm, B, N);
	write_pages(mm, B, N / 2, 5);
	child = fork_mm(mm);
	for (unsigned i = N / 2; i < N; i++)
		get(mm, B + i * P); /* never stored to */
	faults();
	assert_int_equal(pageout(mm, B + P, N - 1), N - 1);
	mm_check_invariants();
	assert_int_equal(memswap.held, N / 2 - 1); /* the clean ones cost nothing: they are zeros again */
	assert_int_equal(get_mm_counter(mm, MM_SHMEMPAGES), 1);
	assert_int_equal(get_mm_counter(mm, MM_SWAPENTS), 0); /* the tree has the slot, no entry */
	assert_true(pte_none(entry(mm, B + P)));
	assert_int_equal(get(child, B + P), 5);
	assert_int_equal(faults(), MAJOR(1)); /* read from swap */
	assert_int_equal(get(mm, B + P), 5);
	assert_int_equal(faults(), MINOR(1));
	assert_int_equal(memswap.held, N / 2 - 2); /* the slot is free at once */
	assert_int_equal(get(mm, B + (N - 1) * P), 0);
	/* a mapping that goes while its pages are in swap gives the slots back: finish() looks */
	mm_check_invariants();
	/* nothing more to store: full */
	memswap.limit = memswap.held;
	assert_int_equal(pageout(mm, B + P, 1), 0);
	mm_check_invariants();
	memswap.limit = 0;
	assert_int_equal(get(mm, B + P), 5);
	/* damaged: as with anonymous memory */
	mmput(child);
	pageout(mm, B + P, 1);
	mmap_read_lock(mm);
	assert_null(find_get_page(find_vma(mm, B)->vm_file->f_mapping, 1, &slot));
	mmap_read_unlock(mm);
	memswap.bad = slot.val;
	assert_int_equal(load(B + P), VM_FAULT_HWPOISON);
	memswap.bad = 0;
	assert_int_equal(get(mm, B + P), 5);
	finish();
}

static void test_shmem_truncate(void **state)
{
	struct address_space *shm;
	struct file *f;
	uint8_t v;

	start(1, 0);
	shm = address_space_alloc(NULL, NULL, N * P, MAPPING_ANON);
	f = file_open(shm, FILE_WRITE);
	mmap_write_lock(mm);
	assert_int_equal(mmap_region_file(mm, B, N * P, SHARED, f, 0), 0);
	mmap_write_unlock(mm);
	write_pages(mm, B, N, 5);
	for (unsigned i = 0; i < N; i++)
		put(mm, B + i * P + 100, 6);
	assert_int_equal(pageout(mm, B, N), N);
	assert_int_equal(filemap_peek(shm, 5 * P, &v), 0); /* out of swap, changing nothing */
	assert_int_equal(v, 5);
	assert_int_equal(memswap.held, N);
	assert_int_equal(vmtruncate(shm, 10 * P + 50), 0); /* brings the last page in and cuts it */
	mm_check_invariants();
	assert_int_equal(memswap.held, 10);
	assert_int_equal(get(mm, B + 10 * P), 5);
	assert_int_equal(get(mm, B + 10 * P + 100), 0);
	assert_int_equal(load(B + 11 * P), VM_FAULT_SIGBUS);
	assert_int_equal(filemap_poke(shm, 3 * P, 9), 0);
	assert_int_equal(get(mm, B + 3 * P), 9);
	fput(f);
	address_space_put(shm);
	finish();
}

/* ---- reclaim (4.3) ------------------------------------------------------------------------------------------------------------------------ */

static void make_old(struct mm_struct *m, unsigned long addr)
{
	struct ptdesc *table = pte_table(m, addr);

	__atomic_fetch_and(&pte_offset(table, addr)->val, ~_PAGE_ACCESSED, __ATOMIC_ACQ_REL);
}

/* The inactive scan: one page, one row. */
static void test_inactive_scan(void **state)
{
	struct { int ptes; bool marked, exec, dirty; unsigned want; } rows[] = {
		{ 0, false, false, false, 0 },              /* not used: reclaimed */
		{ 0, true, false, false, 0 },               /* marked, not used since, clean: reclaimed */
		{ 0, true, false, true, PG_lru | PG_active }, /* and dirty: stays */
		{ 0, false, false, true, PG_lru | PG_active }, /* dirty: unmapped, active, for who writes it */
		{ 1, false, false, false, PG_lru | PG_referenced },
		{ 1, true, false, false, PG_lru | PG_active | PG_referenced },
		{ 2, false, false, false, PG_lru | PG_active | PG_referenced },
		{ 1, false, true, false, PG_lru | PG_active | PG_referenced },
	};

	for (unsigned r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
		struct page *page;

		start(1, MAPPING_NOTIFY);
		filemap_populate(file, 0, 1);
		map_file(mm, B, 1, (rows[r].exec ? VM_EXEC : 0) | RO, 0);
		map_file(mm, 2 * B, 1, SHARED, 0);
		get(mm, B);
		get(mm, 2 * B);
		if (rows[r].dirty)
			put(mm, 2 * B, 1);
		if (rows[r].ptes < 2)
			make_old(mm, 2 * B);
		if (rows[r].ptes < 1)
			make_old(mm, B);
		page = find_get_page(mapping, 0, NULL);
		put_page(page);
		if (rows[r].marked)
			set_page_flags(page, PG_referenced);
		shrink_tail(LRU_INACTIVE_FILE);
		mm_check_invariants();
		assert_int_equal(cached(1), rows[r].want != 0);
		if (rows[r].want)
			assert_int_equal(page_flag(0, PG_lru | PG_active | PG_referenced), rows[r].want);
		assert_int_equal(disk.written, 0);
		finish();
	}
}

/* The same for anonymous pages, which have no list to wait for a writer on. */
static void test_inactive_scan_anon(void **state)
{
	static const struct { int ptes; bool marked; unsigned want; } rows[] = {
		{ 0, false, 0 }, { 0, true, 0 }, /* not used: to swap, whatever the mark says */
		{ 1, false, PG_lru | PG_referenced }, { 1, true, PG_lru | PG_active }, { 2, false, PG_lru | PG_active },
	};

	for (unsigned r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
		struct mm_struct *child;
		struct page *page;

		start(1, 0);
		map(mm, B, 1, RW);
		put(mm, B, 1);
		child = fork_mm(mm);
		page = pfn_to_page(pte_pfn(entry(mm, B)));
		if (rows[r].ptes > 1)
			get(child, B);
		if (rows[r].ptes < 1)
			make_old(mm, B);
		if (rows[r].marked)
			set_page_flags(page, PG_referenced);
		assert_int_equal(shrink_tail(LRU_INACTIVE_ANON), !rows[r].want);
		mm_check_invariants();
		assert_int_equal(!!pte_present(entry(mm, B)), rows[r].want != 0);
		if (rows[r].want)
			assert_int_equal(page_flags(page) & (PG_lru | PG_active | PG_referenced), rows[r].want);
		assert_int_equal(get(child, B), 1);
		mmput(child);
		finish();
	}
}

/* The active list keeps program text that was used, and nothing else. */
static void test_active_scan(void **state)
{
	static const struct { bool file, exec, young, stays; } rows[] = {
		{ true, true, true, true }, { true, true, false, false }, { true, false, true, false }, { false, false, true, false },
	};

	for (unsigned r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
		struct page *page;

		start(1, 0);
		filemap_populate(file, 0, 1);
		if (rows[r].file)
			map_file(mm, B, 1, (rows[r].exec ? VM_EXEC : 0) | RO, 0);
		else
			map(mm, B, 1, RW);
		load(B);
		if (!rows[r].file)
			put(mm, B, 1);
		page = pfn_to_page(pte_pfn(entry(mm, B)));
		activate_page(page);
		if (!rows[r].young)
			make_old(mm, B);
		shrink_active_tail(rows[r].file ? LRU_ACTIVE_FILE : LRU_ACTIVE_ANON);
		mm_check_invariants();
		assert_int_equal(!!(page_flags(page) & PG_active), rows[r].stays);
		assert_false(pte_young(entry(mm, B)));
		finish();
	}
}

/* Nothing but dirty pages: then they are written, for the fault that waits would fail. */
static void test_dirty_pages_only(void **state)
{
	start_engine(&(struct engine){ .caps = CAPS_X86, .frames = 64, .limit = 32 }, 256, MAPPING_NOTIFY, &disk_ops);
	address_space_set_readahead(mapping, 8);
	map_file(mm, B, 256, SHARED, 0);
	write_pages(mm, B, 256, 7);
	assert_true(disk.written >= 224);
	assert_true(nr_used_frames() <= 32);
	for (unsigned i = 0; i < 256; i++)
		assert_int_equal(get(mm, B + i * P), 7);
	mm_check_invariants();
	/* and if they can't be: no memory, but nothing lost */
	write_pages(mm, B + 250 * P, 4, 8);
	finish();
	for (unsigned i = 0; i < 250; i++)
		assert_int_equal(on_disk(i * P), 7);
	assert_int_equal(on_disk(250 * P), 8);
}

/* A dirty page that reclaim met is the next to go once it is written; not if it was used meanwhile. */
static void test_marked_for_reclaim(void **state)
{
	for (int used = 0; used < 2; used++) {
		start(4, MAPPING_NOTIFY);
		map_file(mm, B, 4, SHARED, 0);
		write_pages(mm, B, 4, 5);
		for (unsigned i = 0; i < 4; i++)
			make_old(mm, B + i * P);
		shrink_tail(LRU_INACTIVE_FILE); /* page 0 */
		assert_int_equal(page_flag(0, PG_reclaim | PG_active | PG_dirty), PG_reclaim | PG_active | PG_dirty);
		assert_true(pte_none(entry(mm, B)));
		if (used) {
			put(mm, B, 6);
			assert_int_equal(page_flag(0, PG_reclaim), 0);
		}
		assert_int_equal(filemap_write_and_wait_range(mapping, 0, 4), 0);
		mm_check_invariants();
		assert_int_equal(page_flag(0, PG_reclaim | PG_active | PG_dirty), used ? PG_active : 0);
		assert_int_equal(shrink_tail(LRU_INACTIVE_FILE), 1);
		mm_check_invariants();
		assert_int_equal(filemap_cached(mapping, 0), used);
		assert_int_equal(cached(4), 3);
		finish();
	}
}

/* Nobody writes a page that could not go afterwards, because somebody has it. */
static void test_pageout_wants_no_reference(void **state)
{
	for (unsigned k = 0; k < 2; k++) {
		struct page *page;

		start_engine(&(struct engine){ .caps = CAPS_2_6, .frames = 64, .limit = 40, .kernel = k ? "2.6" : "5" }, 32, MAPPING_NOTIFY, &disk_ops);
		map_file(mm, B, 1, SHARED, 0);
		address_space_set_readahead(mapping, 0);
		put(mm, B, 5);
		make_old(mm, B);
		page = find_get_page(mapping, 0, NULL);
		for (int i = 0; i < 3; i++)
			try_to_free_pages(1);
		assert_int_equal(disk.written, 0);
		assert_true(page_flags(page) & PG_dirty);
		put_page(page);
		for (int i = 0; i < 3; i++)
			try_to_free_pages(1);
		assert_int_equal(disk.written, 1);
		assert_int_equal(cached(1), 0);
		finish();
	}
}

static void test_locked_pages_stay(void **state)
{
	start_engine(&(struct engine){ .caps = CAPS_X86, .frames = 64, .limit = 32 }, 256, 0, &disk_ops);
	address_space_set_readahead(mapping, 4);
	map_file(mm, B, 16, RO | VM_LOCKED, 0);
	read_pages(mm, B, 16, 0);
	map_file(mm, 2 * B, 256, RO, 0);
	read_pages(mm, 2 * B, 256, 0);
	faults();
	read_pages(mm, B, 16, 0);
	assert_int_equal(faults(), 0);
	unmap(mm, B, 16);
	mm_check_invariants();
	assert_int_equal(lru_size(LRU_UNEVICTABLE), 0);
	finish();
}

/* A file larger than memory, anonymous memory beside it: both lose pages, the file more. */
static void test_balance(void **state)
{
	start_engine(&(struct engine){ .caps = CAPS_X86, .frames = 512, .limit = 256 }, 1024, 0, &disk_ops);
	map(mm, 2 * B, 128, RW);
	write_pages(mm, 2 * B, 128, 3);
	map_file(mm, B, 1024, RO, 0);
	for (unsigned turn = 0; turn < 3; turn++)
		read_pages(mm, B, 1024, 0);
	assert_true(nr_used_frames() <= 256);
	assert_true(get_mm_counter(mm, MM_ANONPAGES) < 128);
	for (unsigned i = 0; i < 128; i++)
		assert_int_equal(get(mm, 2 * B + i * P), 3);
	mm_check_invariants();
	finish();
}

/* Without swap, only files. */
static void test_no_swap(void **state)
{
	start_engine(&(struct engine){ .caps = CAPS_X86, .frames = 64, .limit = 48, .slots = 0 }, 256, 0, &disk_ops);
	nr_swap_slots = 0;
	map(mm, 2 * B, 16, RW);
	write_pages(mm, 2 * B, 16, 3);
	map_file(mm, B, 256, RO, 0);
	read_pages(mm, B, 256, 0);
	faults();
	write_pages(mm, 2 * B, 16, 4);
	assert_int_equal(faults(), 0);
	finish();
}

/* A reference from elsewhere: it can't go, and comes back to its list. */
static void test_remove_mapping(void **state)
{
	struct page *page;

	start(4, 0);
	filemap_populate(file, 0, 4);
	page = find_lock_page(mapping, 1);
	get_page(page);
	assert_false(remove_mapping(mapping, page)); /* a third one */
	put_page(page);
	set_page_dirty(page);
	assert_false(remove_mapping(mapping, page));
	assert_int_equal(page_count(page), 2);
	clear_page_flags(page, PG_dirty);
	assert_true(remove_mapping(mapping, page));
	assert_int_equal(page_count(page), 1);
	assert_false(filemap_cached(mapping, 1));
	unlock_page(page);
	put_page(page);
	finish();
}

static void test_mark_page_accessed(void **state)
{
	start(N, 0);
	filemap_populate(file, 0, N);
	map_file(mm, B, N, RO, 0);
	get(mm, B);
	assert_int_equal(page_flag(0, PG_referenced | PG_active), 0);
	dontneed(mm, B, N); /* a young entry goes: the page was used */
	assert_int_equal(page_flag(0, PG_referenced | PG_active), PG_referenced);
	get(mm, B);
	dontneed(mm, B, N);
	assert_int_equal(page_flag(0, PG_referenced | PG_active), PG_active);
	finish();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_row6_cached), cmocka_unit_test(test_row7_around), cmocka_unit_test(test_row8_private),
		cmocka_unit_test(test_row9_write_notification), cmocka_unit_test(test_throttled_store), cmocka_unit_test(test_row9_without_notification),
		cmocka_unit_test(test_row10_cold_sequential), cmocka_unit_test(test_rows_11_12_cold), cmocka_unit_test(test_row15_fork),
		cmocka_unit_test(test_row20_pageout), cmocka_unit_test(test_row22_dontneed), cmocka_unit_test(test_signals),
		cmocka_unit_test(test_write_error), cmocka_unit_test(test_msync_ranges), cmocka_unit_test(test_mkclean_everywhere),
		cmocka_unit_test(test_arm), cmocka_unit_test(test_truncate), cmocka_unit_test(test_truncate_errors),
		cmocka_unit_test(test_unmap_mapping_range), cmocka_unit_test(test_row5_shared_anon), cmocka_unit_test(test_shmem_swap),
		cmocka_unit_test(test_shmem_truncate), cmocka_unit_test(test_inactive_scan), cmocka_unit_test(test_inactive_scan_anon), cmocka_unit_test(test_active_scan), cmocka_unit_test(test_dirty_pages_only),
		cmocka_unit_test(test_marked_for_reclaim), cmocka_unit_test(test_pageout_wants_no_reference),
		cmocka_unit_test(test_locked_pages_stay), cmocka_unit_test(test_balance), cmocka_unit_test(test_no_swap),
		cmocka_unit_test(test_remove_mapping), cmocka_unit_test(test_mark_page_accessed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
