/* SPDX-License-Identifier: MIT
 *
 * linux-5 and files: the rows of fault-paths.md section 3 that do_fault and do_wp_page decide, over a real file of this host, through the
 * software MMU. The invariants hold after every step.
 */
#include "tests/unit/engine_disk.h"

#define RULES 3
static const unsigned rules[RULES] = { MM_REUSE_5_4, MM_REUSE_5_15, MM_REUSE_6 };

static long rss(struct mm_struct *m, int member)
{
	return get_mm_counter(m, member);
}

static unsigned present(struct mm_struct *m, unsigned long addr, unsigned long pages)
{
	unsigned n = 0;

	for (unsigned long i = 0; i < pages; i++)
		n += pte_present(entry(m, addr + i * P));
	return n;
}

/* One byte of each page, which must be the file's. => faults */
static uint64_t read_all(struct mm_struct *m, unsigned long addr, unsigned long pages, unsigned long pgoff)
{
	faults();
	for (unsigned long i = 0; i < pages; i++)
		assert_int_equal(get(m, addr + i * P + 5), byte_of(pgoff + i));
	mm_check_invariants();
	return faults();
}

static uint64_t write_all(struct mm_struct *m, unsigned long addr, unsigned long pages, uint8_t value)
{
	faults();
	for (unsigned long i = 0; i < pages; i++)
		put(m, addr + i * P + 9, value);
	mm_check_invariants();
	return faults();
}

static vm_fault_t load(unsigned long addr)
{
	vm_fault_t ret;
	uint8_t v;

	faults();
	ret = soft_load(mm, addr, &v);
	mm_check_invariants();
	return ret;
}

static vm_fault_t store(unsigned long addr)
{
	vm_fault_t ret;

	faults();
	ret = soft_store(mm, addr, 1);
	mm_check_invariants();
	return ret;
}

static void sync_file(void)
{
	assert_int_equal(filemap_write_and_wait_range(mapping, 0, NONE), 0);
	mm_check_invariants();
}

static void start_warm(unsigned long pages, unsigned flags, unsigned rule)
{
	start_engine(&(struct engine){ .caps = CAPS_X86, .frames = 2048, .rules = rule ? rule : MM_REUSE_5_15 }, pages, flags, &disk_ops);
	assert_int_equal(filemap_populate(file, 0, pages), pages);
}

/* ---- do_read_fault, do_fault_around ------------------------------------------------------------------------------------------------- */

/* Rows 6 and 8: a mapping that begins in the middle of a window needs one fault more. */
static void test_around_counts(void **state)
{
	for (unsigned a = 0; a < 16; a += 5) {
		start_warm(256, 0, 0);
		map_file(mm, B + a * P, 256, RO, 0);
		assert_int_equal(read_all(mm, B + a * P, 256, 0), MINOR(a ? 17 : 16));
		assert_int_equal(rss(mm, MM_FILEPAGES), 256);
		assert_int_equal(rss(mm, MM_ANONPAGES), 0);
		assert_int_equal(mm_stats()->file_around_pages, a ? 256 - 17 : 256 - 16);
		finish();
	}
}

/* Row 7, and where the mapping begins: so many pages from there. */
static void test_around_window(void **state)
{
	unsigned long start = B + 8 * P, faulted = 0, at[8];

	start_warm(N, 0, 0);
	map_file(mm, start, N, RO, 0);
	get(mm, start + 20 * P);
	assert_int_equal(present(mm, start, N), 16);
	assert_int_equal(present(mm, start + 8 * P, 16), 16);
	for (unsigned long i = 0; i < N; i++) {
		faults();
		get(mm, start + i * P);
		if (faults())
			at[faulted++] = i;
	}
	assert_int_equal(faulted, 4);
	assert_true(at[0] == 0 && at[1] == 24 && at[2] == 40 && at[3] == 56);
	dontneed(mm, start, N);
	get(mm, start);
	assert_int_equal(present(mm, start, 16), 16); /* 8 beyond the aligned window */
	assert_int_equal(present(mm, start, N), 16);
	finish();
}

/* The last entry of a table, the end of the mapping, the end of the file. */
static void test_around_ends(void **state)
{
	unsigned long end_of_table = B + 512 * P, start = end_of_table - 8 * P;

	start_warm(20, 0, 0);
	map_file(mm, start, N, RO, 0);
	get(mm, start);
	assert_int_equal(present(mm, start, N), 8);
	get(mm, end_of_table);
	assert_int_equal(present(mm, start, N), 20);
	unmap(mm, start, N);
	map_file(mm, start, 5, RO, 0);
	get(mm, start + 4 * P);
	assert_int_equal(present(mm, start, N), 5);
	finish();
}

/* What isn't cached is not brought by others, and the slow path maps one page. */
static void test_around_holes(void **state)
{
	start(N, 0);
	address_space_set_readahead(mapping, 0);
	filemap_populate(file, 0, 4);
	filemap_populate(file, 6, 7);
	map_file(mm, B, N, RO, 0);
	get(mm, B);
	assert_int_equal(present(mm, B, 16), 5);
	faults();
	get(mm, B + 5 * P);
	assert_int_equal(faults(), MAJOR(1));
	assert_int_equal(present(mm, B, 16), 6);
	finish();
}

/* A mapping over all of a table's neighbours' geometries: one entry of a table of 1024, of 512. */
static void test_geometries(void **state)
{
	static const char *const names[] = { "i386", "arm", "x86_64", "x86_64-5", "sv39", "sv48", "i386-pae", "process" };

	for (unsigned i = 0; i < 8; i++) {
		start_engine(&(struct engine){ .geometry = names[i], .caps = i == 1 ? CAPS_ARM : CAPS_X86, .frames = 2048 }, N, 0, &disk_ops);
		filemap_populate(file, 0, N);
		map_file(mm, B, N, RO, 0);
		assert_int_equal(read_all(mm, B, N, 0), MINOR(4));
		map_file(mm, 2 * B, N, RW, 0);
		assert_int_equal(write_all(mm, 2 * B, N, 1), MINOR(N));
		assert_int_equal(read_all(mm, 2 * B, N, 0), 0);
		finish();
	}
}

/* ---- major faults, and one retry (3.9) ----------------------------------------------------------------------------------------------- */

static void test_cold(void **state)
{
	for (unsigned arm = 0; arm < 2; arm++)
		for (unsigned r = 0; r < RULES; r++) {
			start_engine(&(struct engine){ .geometry = arm ? "arm" : NULL, .caps = arm ? CAPS_ARM : CAPS_X86, .frames = 2048,
						       .rules = rules[r] }, N, 0, &disk_ops);
			map_file(mm, B, N, RO | VM_RAND_READ, 0);
			assert_int_equal(read_all(mm, B, N, 0), MAJOR(N)); /* row 11 */
			assert_int_equal(disk.calls, N);
			finish();
		}
}

/* Somebody else is reading the page: the first try lets go and waits. 5.9 and later call that major, 5.4 doesn't; nor does 6.x, whose first try
 * was with the lock of the mapping. */
static struct page *held;

static void *unlock_soon(void *arg)
{
	usleep(20000);
	unlock_page(held);
	return NULL;
}

static unsigned retries, holds;

/* Between two tries no lock is held: the page is locked again, so often. */
static void hold_again(enum mm_trace_event event, unsigned long a, unsigned long b, unsigned long c)
{
	pthread_t thread;

	if ((event & ~TRACE_ENTER) != TRACE_fault_retry)
		return;
	retries++;
	if (!holds)
		return;
	holds--;
	lock_page(held);
	pthread_create(&thread, NULL, unlock_soon, NULL);
	pthread_detach(thread);
}

static void wait_row(unsigned rule, unsigned again, unsigned wanted_retries, uint64_t wanted)
{
	pthread_t thread;

	start_warm(N, 0, rule);
	map_file(mm, B, N, RO | VM_RAND_READ, 0);
	held = find_lock_page(mapping, 3);
	retries = 0;
	holds = again;
	atomic_store(&mm_trace_fn, hold_again);
	pthread_create(&thread, NULL, unlock_soon, NULL);
	faults();
	get(mm, B + 3 * P);
	atomic_store(&mm_trace_fn, NULL);
	assert_int_equal(faults(), wanted);
	assert_int_equal(retries, wanted_retries);
	pthread_join(thread, NULL);
	put_page(held);
	finish();
}

static void test_wait_for_page(void **state)
{
	wait_row(MM_REUSE_5_4, 0, 1, MINOR(1));
	wait_row(MM_REUSE_5_15, 0, 1, MAJOR(1));
	wait_row(MM_REUSE_6, 0, 1, MINOR(1));
	/* locked again: the second try waits with mmap_lock held, there is no third (6.x: the third, for the first with mmap_lock may let go) */
	wait_row(MM_REUSE_5_4, 3, 1, MINOR(1));
	wait_row(MM_REUSE_5_15, 3, 1, MAJOR(1));
	wait_row(MM_REUSE_6, 3, 2, MAJOR(1));
}

static void test_bad_read(void **state)
{
	start(N, 0);
	disk.bad_read = 7;
	map_file(mm, B, N, RO | VM_RAND_READ, 0);
	assert_int_equal(load(B + 7 * P + 3), VM_FAULT_SIGBUS);
	assert_int_equal(faults(), 0);
	assert_int_equal(mm->thread.sig, 7);
	assert_int_equal(mm->thread.code, 2);
	assert_int_equal(mm->thread.address, B + 7 * P + 3);
	disk.bad_read = NONE;
	/* the page is there without its bytes, so that it is no miss: 6.x's first try was with the lock of the mapping, and the second finds them */
	assert_int_equal(read_all(mm, B, N, 0), MAJOR(N - 1) | MINOR(1));
	finish();
}

/* ---- beyond the end, and who is told what (3.1, section 5) ------------------------------------------------------------------------------ */

static void signal_is(unsigned long addr, int sig, int code)
{
	assert_int_equal(mm->thread.address, addr);
	assert_int_equal(mm->thread.sig, sig);
	assert_int_equal(mm->thread.code, code);
	assert_int_equal(mm->thread.trap_no, 14);
	mm->thread = (struct thread_struct){ .sig = 0 };
}

static void test_signals(void **state)
{
	uint64_t tables;

	start_warm(10, 0, 0);
	map_file(mm, B, N, RO, 0);
	map_file(mm, 2 * B, N, RW, 0);
	map_file(mm, 3 * B, N, SHARED, 0);
	map_file(mm, 4 * B, N, RW & ~(VM_READ | VM_WRITE), 0);
	assert_int_equal(load(B + 10 * P + 1), VM_FAULT_SIGBUS);
	signal_is(B + 10 * P + 1, 7, 2);
	tables = mm_stats()->page_tables;
	assert_int_equal(store(2 * B + 10 * P), VM_FAULT_SIGBUS);
	signal_is(2 * B + 10 * P, 7, 2);
	assert_int_equal(store(3 * B + 63 * P), VM_FAULT_SIGBUS);
	assert_int_equal(mm_stats()->page_tables, tables); /* the table got in advance has been given back */
	assert_int_equal(store(B), VM_FAULT_BADACCESS);
	signal_is(B, 11, 2);
	assert_int_equal(load(4 * B), VM_FAULT_BADACCESS);
	signal_is(4 * B, 11, 2);
	assert_int_equal(load(5 * B + 77), VM_FAULT_BADMAP);
	signal_is(5 * B + 77, 11, 1);
	assert_int_equal(faults(), 0); /* error faults raise neither counter */
	/* user access to the kernel's addresses; what isn't an address is a general protection fault (SI_KERNEL), and names none */
	assert_int_equal(load(~0UL << 47), VM_FAULT_BADMAP);
	signal_is(~0UL << 47, 11, 1);
	assert_int_equal(load(1UL << 47), VM_FAULT_BADMAP);
	assert_int_equal(mm->thread.address, 0);
	assert_int_equal(mm->thread.sig, 11);
	assert_int_equal(mm->thread.code, 0x80);
	assert_int_equal(mm->thread.trap_no, 13);
	mm->thread.sig = 0;
	/* the kernel's own access raises no signal */
	assert_int_equal(do_page_fault(mm, 5 * B, 0), VM_FAULT_BADMAP);
	assert_int_equal(mm->thread.sig, 0);
	finish();
}

/* The tail of the last page: zeros, may be written, no signal, and never in the file. */
static void test_tail(void **state)
{
	start_warm(4, MAPPING_NOTIFY, 0);
	assert_int_equal(vmtruncate(mapping, 3 * P + 100), 0);
	map_file(mm, B, 8, SHARED, 0);
	assert_int_equal(get(mm, B + 3 * P + 99), byte_of(3));
	assert_int_equal(get(mm, B + 3 * P + 100), 0);
	put(mm, B + 3 * P + 100, 5);
	assert_int_equal(get(mm, B + 3 * P + 100), 5);
	sync_file();
	assert_int_equal(disk.last_len, 100);
	assert_int_equal(load(B + 4 * P), VM_FAULT_SIGBUS);
	finish();
}

static const struct vm_operations_struct no_ops;

static void test_no_fault_handler(void **state)
{
	start(1, 0);
	map(mm, B, 4, RW);
	mmap_write_lock(mm);
	find_vma(mm, B)->vm_ops = &no_ops;
	mmap_write_unlock(mm);
	assert_int_equal(load(B), VM_FAULT_SIGBUS);
	assert_int_equal(store(B + P), VM_FAULT_SIGBUS);
	finish();
}

/* ---- do_cow_fault, and wp_page_copy of a file's page -------------------------------------------------------------------------------------- */

/* Row 8: a store maps one page, and the file never hears of it. */
static void test_cow_fault(void **state)
{
	start_warm(N, MAPPING_NOTIFY, 0);
	map_file(mm, B, N, RW, 0);
	assert_int_equal(write_all(mm, B, N, 200), MINOR(N));
	assert_int_equal(rss(mm, MM_ANONPAGES), N);
	assert_int_equal(rss(mm, MM_FILEPAGES), 0);
	assert_int_equal(mm_stats()->copied, N);
	assert_int_equal(mm_stats()->cow_copy, 0);
	assert_true(pte_write(entry(mm, B)) && pte_dirty(entry(mm, B)));
	assert_int_equal(get(mm, B + 9), 200);
	assert_int_equal(get(mm, B + 8), byte_of(0));
	assert_int_equal(page_flag(0, PG_dirty), 0);
	sync_file();
	assert_int_equal(disk.written, 0);
	dontneed(mm, B, N);
	assert_int_equal(read_all(mm, B, N, 0), MINOR(4)); /* row 22 */
	finish();
}

static void test_read_then_write(void **state)
{
	start_warm(N, MAPPING_NOTIFY, 0);
	map_file(mm, B, N, RW, 0);
	read_all(mm, B, N, 0);
	assert_false(pte_write(entry(mm, B)));
	for (unsigned long i = 0; i < N; i++) {
		put(mm, B + i * P, 1);
		assert_int_equal(rss(mm, MM_ANONPAGES), i + 1); /* rss goes over from one kind to the other */
		assert_int_equal(rss(mm, MM_FILEPAGES), N - i - 1);
		mm_check_invariants();
	}
	assert_int_equal(faults(), MINOR(N));
	assert_int_equal(mm_stats()->cow_copy, N);
	assert_int_equal(cached(N), N); /* nobody maps them, they stay */
	assert_int_equal(write_all(mm, B, N, 2), 0);
	finish();
}

/* A cold page: read, copied, and the copy is what counts as major. */
static void test_cow_cold(void **state)
{
	start(N, 0);
	map_file(mm, B, N, RW | VM_RAND_READ, 0);
	assert_int_equal(write_all(mm, B, N, 3), MAJOR(N));
	assert_int_equal(rss(mm, MM_ANONPAGES), N);
	assert_int_equal(cached(N), N);
	finish();
}

/* Whatever fails on the way, nothing is lost and the next try succeeds. */
static void test_failures(void **state)
{
	static const unsigned long flags[] = { RO, RW, SHARED };

	for (unsigned kind = 0; kind < 3; kind++)
		for (unsigned long nth = 1; nth < 9; nth++) {
			vm_fault_t ret;

			start_warm(N, MAPPING_NOTIFY, MM_REUSE_6);
			map_file(mm, B, N, flags[kind], 0);
			soft_fail_alloc(nth);
			ret = kind ? store(B) : load(B);
			soft_fail_alloc(0);
			assert_true(!ret || ret == VM_FAULT_OOM);
			mm_check_invariants();
			soft_fail_map(1, -EEXIST); /* taken back, and faulted again */
			assert_int_equal(kind ? store(B + 20 * P) : load(B + 20 * P), 0);
			soft_fail_map(1, -ENOMEM);
			ret = kind ? store(B + 40 * P) : load(B + 40 * P);
			assert_true(ret == VM_FAULT_OOM || !ret);
			soft_fail_map(0, 0);
			assert_int_equal(kind ? store(B) : load(B), 0);
			finish();
		}
}

/* ---- do_shared_fault, wp_page_shared ------------------------------------------------------------------------------------------------------- */

/* Row 9 on a disk file system. That the lock is released before throttling makes a second try of it, which 5.15 counts as major; 6.x doesn't
 * repeat what is done, 5.4 never let go. */
static void notify_row(unsigned rule)
{
	uint64_t n = rule == MM_REUSE_5_15 ? MAJOR(N) : MINOR(N);

	start_warm(N, MAPPING_NOTIFY, rule);
	map_file(mm, B, N, SHARED, 0);
	assert_int_equal(read_all(mm, B, N, 0), MINOR(4));
	assert_false(pte_write(entry(mm, B)));
	assert_int_equal(write_all(mm, B, N, 100), n);
	assert_true(pte_write(entry(mm, B)) && pte_dirty(entry(mm, B)));
	assert_true(page_flag(0, PG_dirty));
	assert_int_equal(rss(mm, MM_FILEPAGES), N); /* the same pages */
	assert_int_equal(mm_stats()->copied, 0);
	sync_file();
	assert_int_equal(disk.written, N);
	assert_int_equal(on_disk(9), 100);
	assert_false(pte_write(entry(mm, B)) || pte_dirty(entry(mm, B)) || page_flag(0, PG_dirty));
	assert_int_equal(write_all(mm, B, N, 101), n);
	assert_int_equal(write_all(mm, B, N, 102), 0);
	dontneed(mm, B, N);
	assert_int_equal(write_all(mm, B, N, 103), n); /* do_shared_fault: no fault-around for a store */
	finish();
	assert_int_equal(disk.written, 2 * N);
}

static void test_shared_notify(void **state)
{
	for (unsigned r = 0; r < RULES; r++)
		notify_row(rules[r]);
}

/* Row 9 on a file system that doesn't count: a read maps it writable. */
static void test_shared_plain(void **state)
{
	uint8_t v;

	start_warm(N, 0, MM_REUSE_6);
	map_file(mm, B, N, SHARED, 0);
	assert_int_equal(read_all(mm, B, N, 0), MINOR(4));
	assert_true(pte_write(entry(mm, B)));
	assert_false(pte_dirty(entry(mm, B)));
	assert_int_equal(write_all(mm, B, N, 100), 0);
	assert_int_equal(filemap_peek(mapping, 9, &v), 0);
	assert_int_equal(v, 100); /* read(2) sees it at once */
	assert_false(page_flag(0, PG_dirty)); /* only the entry knows */
	unmap(mm, B, 1);
	assert_true(page_flag(0, PG_dirty)); /* and tells it when it goes */
	assert_true(page_flag(0, PG_referenced));
	dontneed(mm, B + P, 1);
	assert_true(page_flag(1, PG_dirty));
	sync_file();
	assert_int_equal(disk.written, N);
	assert_int_equal(write_all(mm, B + P, N - 1, 101), MINOR(1)); /* page 1 is no longer mapped */
	finish();
}

/* Row 5. */
static void test_shared_anon(void **state)
{
	struct mm_struct *child;

	start_engine(&(struct engine){ .caps = CAPS_X86, .frames = 2048, .rules = MM_REUSE_6 }, 1, 0, &disk_ops);
	map_shared_anon(mm, B, N);
	faults();
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(get(mm, B + i * P), 0);
	assert_int_equal(faults(), MINOR(N));
	assert_int_equal(write_all(mm, B, N, 1), 0);
	assert_int_equal(rss(mm, MM_SHMEMPAGES), N);
	assert_int_equal(rss(mm, MM_ANONPAGES), 0);
	map_shared_anon(mm, 2 * B, N);
	assert_int_equal(write_all(mm, 2 * B, N, 1), MINOR(N));
	child = fork_mm(mm);
	assert_int_equal(rss(child, MM_SHMEMPAGES), 0); /* no anon_vma: left to faults */
	put(child, B + 9, 77);
	assert_int_equal(get(mm, B + 9), 77);
	mm_check_invariants();
	mmput(child);
	finish();
}

/* ->page_mkwrite decides. */
static void (*mkwrite_hook)(void);
static int mkwrites;

static int hooked_mkwrite(void *host, unsigned long pgoff)
{
	void (*hook)(void) = mkwrite_hook;

	mkwrites++;
	mkwrite_hook = NULL;
	if (hook)
		hook();
	return disk.mkwrite;
}

static const struct address_space_operations hooked_ops = {
	.readpages = disk_readpages, .writepage = disk_writepage, .page_mkwrite = hooked_mkwrite, .release = disk_release,
};

static void start_hooked(void (*hook)(void))
{
	start_engine(&(struct engine){ .caps = CAPS_X86, .frames = 2048, .rules = MM_REUSE_6 }, N, 0, &hooked_ops);
	filemap_populate(file, 0, N);
	map_file(mm, B, N, SHARED, 0);
	mkwrite_hook = hook;
	mkwrites = 0;
}

static void test_mkwrite_refuses(void **state)
{
	start_hooked(NULL);
	disk.mkwrite = -ENOSPC;
	assert_int_equal(store(B), VM_FAULT_SIGBUS); /* do_shared_fault */
	assert_true(pte_none(entry(mm, B)));
	assert_int_equal(load(B), 0); /* it may be read */
	assert_false(pte_write(entry(mm, B))); /* who has page_mkwrite wants to be asked */
	assert_int_equal(store(B), VM_FAULT_SIGBUS); /* wp_page_shared */
	assert_int_equal(faults(), 0);
	assert_int_equal(get(mm, B), byte_of(0));
	assert_int_equal(page_flag(0, PG_dirty), 0);
	disk.mkwrite = 0;
	assert_int_equal(store(B), 0);
	assert_int_equal(faults(), MINOR(1));
	assert_int_equal(mkwrites, 3);
	finish();
}

static void truncate_now(void) { vmtruncate(mapping, 0); }
static void zap_now(void) { zap_page_range(mm, B, P); }
static void read_now(void) { get(mm, B); }

/* While the owner is asked no lock is held but mmap_lock: the page goes, the entry goes, the entry comes. */
static void test_mkwrite_races(void **state)
{
	start_hooked(truncate_now);
	assert_int_equal(store(B), VM_FAULT_SIGBUS); /* NOPAGE, and the second time there is no page */
	assert_int_equal(mkwrites, 1);
	finish();

	start_hooked(NULL);
	get(mm, B);
	mkwrite_hook = truncate_now;
	assert_int_equal(store(B), VM_FAULT_SIGBUS);
	finish();

	start_hooked(NULL);
	get(mm, B);
	mkwrite_hook = zap_now;
	assert_int_equal(store(B), 0); /* finish_mkwrite_fault: NOPAGE. Then do_shared_fault */
	assert_int_equal(faults(), MINOR(2));
	assert_int_equal(mkwrites, 2);
	finish();

	start_hooked(read_now);
	assert_int_equal(store(B), 0); /* finish_fault: no longer none. Then wp_page_shared */
	assert_int_equal(faults(), MINOR(3)); /* the one in between included */
	assert_int_equal(mkwrites, 2);
	finish();
}

/* ---- ARM: young and dirty bits by faults ------------------------------------------------------------------------------------------------- */

static void test_arm(void **state)
{
	start_engine(&(struct engine){ .geometry = "arm", .caps = CAPS_ARM, .frames = 2048, .rules = MM_REUSE_6 }, N, 0, &disk_ops);
	filemap_populate(file, 0, N);
	map_file(mm, B, N, SHARED, 0);
	assert_int_equal(read_all(mm, B, N, 0), MINOR(4)); /* those around are young */
	assert_true(pte_write(entry(mm, B)) && !pte_dirty(entry(mm, B)));
	assert_int_equal(write_all(mm, B, N, 1), MINOR(N)); /* the first store to a clean entry */
	assert_true(pte_dirty(entry(mm, B)));
	assert_int_equal(write_all(mm, B, N, 2), 0);
	sync_file();
	assert_int_equal(on_disk(9), 2);
	assert_int_equal(write_all(mm, B, N, 3), MINOR(N)); /* cleaned, so the next store is seen */
	finish();
	assert_int_equal(on_disk(9), 3);
}

/* ---- mprotect ------------------------------------------------------------------------------------------------------------------------------ */

static void test_mprotect_shared(void **state)
{
	start_warm(N, MAPPING_NOTIFY, MM_REUSE_6);
	map_file(mm, B, N, SHARED, 0);
	write_all(mm, B, 8, 1);
	get(mm, B + 8 * P);
	protect(mm, B, N, 0, VM_WRITE);
	mm_check_invariants();
	assert_int_equal(store(B), VM_FAULT_BADACCESS);
	protect(mm, B, N, VM_WRITE, 0);
	mm_check_invariants();
	assert_int_equal(write_all(mm, B, 8, 2), 0);         /* dirty: it had been asked for */
	assert_int_equal(write_all(mm, B + 8 * P, 1, 2), MINOR(1)); /* clean: its first store must be seen */
	protect(mm, B, N, 0, VM_ACCESS_FLAGS);
	mm_check_invariants();
	assert_int_equal(load(B), VM_FAULT_BADACCESS);
	protect(mm, B, N, VM_READ, 0);
	assert_int_equal(get(mm, B + 9), 2);
	assert_int_equal(faults(), 0);
	finish();

	start_warm(N, 0, MM_REUSE_6);
	map_file(mm, B, N, SHARED & ~VM_WRITE, 0);
	read_all(mm, B, N, 0);
	protect(mm, B, N, VM_WRITE, 0);
	assert_int_equal(write_all(mm, B, N, 2), 0); /* nobody wants to see it */
	finish();
}

static void test_mprotect_private(void **state)
{
	start_warm(N, MAPPING_NOTIFY, MM_REUSE_6);
	map_file(mm, B, N, RO, 0);
	read_all(mm, B, N, 0);
	protect(mm, B, N, VM_WRITE, 0);
	mm_check_invariants();
	assert_int_equal(write_all(mm, B, N, 2), MINOR(N)); /* copies: the cache's pages are not ours to write */
	protect(mm, B, N, 0, VM_WRITE);
	protect(mm, B, N, VM_WRITE, 0);
	assert_int_equal(write_all(mm, B, N, 3), 0); /* row 21 */
	sync_file();
	assert_int_equal(disk.written, 0);
	finish();
}

/* Opened for reading: a shared mapping may not be written, and is as good as a private one. */
static void test_read_only_file(void **state)
{
	struct file *ro;

	start_warm(N, MAPPING_NOTIFY, 0);
	ro = file_open(mapping, 0);
	mmap_write_lock(mm);
	assert_int_equal(mmap_region_file(mm, B, N * P, SHARED, ro, 0), -EACCES);
	assert_int_equal(mmap_region_file(mm, B, N * P, SHARED & ~VM_WRITE, ro, 0), 0);
	assert_int_equal(vma_modify_flags(mm, B, N * P, VM_WRITE, 0), -EACCES);
	mmap_write_unlock(mm);
	fput(ro); /* the mapping has a reference of its own */
	assert_int_equal(read_all(mm, B, N, 0), MINOR(4));
	mmap_read_lock(mm);
	assert_false(vma_flags(find_vma(mm, B)) & VM_SHARED);
	mmap_read_unlock(mm);
	finish();
}

/* ---- fork (3.10) ---------------------------------------------------------------------------------------------------------------------------- */

static void test_fork(void **state)
{
	static const unsigned long flags[] = { SHARED, RO, RW };
	struct mm_struct *child;

	for (unsigned i = 0; i < 3; i++) { /* row 15: left to faults */
		start_warm(N, 0, 0);
		map_file(mm, B, N, flags[i], 0);
		read_all(mm, B, N, 0);
		child = fork_mm(mm);
		assert_int_equal(rss(child, MM_FILEPAGES), 0);
		assert_int_equal(read_all(child, B, N, 0), MINOR(4));
		mmput(child);
		finish();
	}
	start_warm(N, 0, 0);
	map_file(mm, B, N, RW, 0);
	read_all(mm, B, N, 0);
	put(mm, B + 9, 99); /* one private copy, and all entries are copied */
	child = fork_mm(mm);
	mm_check_invariants();
	assert_int_equal(rss(child, MM_FILEPAGES), N - 1);
	assert_int_equal(rss(child, MM_ANONPAGES), 1);
	assert_int_equal(read_all(child, B, N, 0), 0);
	put(child, B + 9, 98);
	put(child, B + P + 9, 97);
	assert_int_equal(get(mm, B + 9), 99);
	assert_int_equal(get(mm, B + P + 9), byte_of(1));
	mm_check_invariants();
	mmput(mm); /* the parent first */
	mm = child;
	assert_int_equal(get(mm, B + 9), 98);
	finish();
}

static void test_fork_shared_writes(void **state)
{
	struct mm_struct *child;

	start_warm(N, MAPPING_NOTIFY, MM_REUSE_6);
	map_file(mm, B, N, SHARED, 0);
	write_all(mm, B, N, 1);
	child = fork_mm(mm);
	faults();
	put(child, B + 9, 2);
	assert_int_equal(get(mm, B + 9), 2);
	sync_file(); /* both are read-only again */
	assert_false(pte_write(entry(mm, B)) || pte_write(entry(child, B)));
	faults();
	put(mm, B + 9, 3);
	put(child, B + 9, 4);
	assert_int_equal(faults(), MINOR(2));
	mmput(child);
	finish();
	assert_int_equal(on_disk(9), 4);
}

/* ---- truncate --------------------------------------------------------------------------------------------------------------------------------- */

static void test_truncate(void **state)
{
	struct mm_struct *child;

	start_warm(N, MAPPING_NOTIFY, 0);
	map_file(mm, B, N, RW, 0);
	map_file(mm, 2 * B, N, SHARED, 0);
	read_all(mm, B, N, 0);
	write_all(mm, B + 40 * P, 4, 1); /* private copies, two of them in swap */
	assert_int_equal(pageout(mm, B + 42 * P, 2), 2);
	write_all(mm, 2 * B, N, 2);
	child = fork_mm(mm);
	mm_check_invariants();
	assert_int_equal(vmtruncate(mapping, 20 * P), 0);
	mm_check_invariants();
	assert_int_equal(rss(mm, MM_ANONPAGES), 0);
	assert_int_equal(rss(mm, MM_SWAPENTS), 0);
	assert_int_equal(rss(mm, MM_FILEPAGES), 40);
	assert_int_equal(rss(child, MM_FILEPAGES), 20);
	assert_int_equal(load(B + 40 * P), VM_FAULT_SIGBUS); /* the copy went too */
	assert_int_equal(load(2 * B + 20 * P), VM_FAULT_SIGBUS);
	assert_int_equal(get(mm, B + 19 * P + 9), 2); /* never copied: the file's */
	assert_int_equal(ftruncate(disk.fd, 20 * P), 0);
	assert_int_equal(vmtruncate(mapping, N * P), 0);
	assert_int_equal(get(mm, B + 40 * P), 0);
	mmput(child);
	finish();
}

/* ---- mappings: references, split, merge, move --------------------------------------------------------------------------------------------------- */

static void test_split_merge(void **state)
{
	struct file *other;

	start_warm(N, 0, 0);
	map_file(mm, B, 8, RW, 0);
	map_file(mm, B + 8 * P, 8, RW, 8);
	assert_string_equal(drawing(mm, B, 18), "AAAAAAAAAAAAAAAA..");
	map_file(mm, B + 16 * P, 2, RW, 30); /* other pages of the file */
	assert_string_equal(drawing(mm, B, 18), "AAAAAAAAAAAAAAAABB");
	protect(mm, B + 4 * P, 4, 0, VM_WRITE);
	mm_check_invariants();
	assert_string_equal(drawing(mm, B, 18), "AAAABBBBCCCCCCCCDD");
	read_all(mm, B, 16, 0);
	protect(mm, B + 4 * P, 4, VM_WRITE, 0);
	mm_check_invariants();
	assert_string_equal(drawing(mm, B, 18), "AAAAAAAAAAAAAAAABB");
	unmap(mm, B + 4 * P, 2);
	mm_check_invariants();
	map_file(mm, B + 4 * P, 2, RW, 4);
	assert_string_equal(drawing(mm, B, 18), "AAAAAAAAAAAAAAAABB");
	read_all(mm, B, 16, 0);
	other = file_open(mapping, FILE_WRITE); /* another opening */
	mmap_write_lock(mm);
	assert_int_equal(mmap_region_file(mm, B + 18 * P, 2 * P, RW, other, 32), 0);
	mmap_write_unlock(mm);
	fput(other);
	mm_check_invariants();
	assert_string_equal(drawing(mm, B, 21), "AAAAAAAAAAAAAAAABBCC.");
	assert_int_equal(get(mm, B + 18 * P), byte_of(32));
	finish();
}

static int move(unsigned long from, unsigned long old, unsigned long to, unsigned long new)
{
	int err;

	mmap_write_lock(mm);
	err = move_vma(mm, from, old * P, to, new * P, false);
	mmap_write_unlock(mm);
	mm_check_invariants();
	return err;
}

static void test_move(void **state)
{
	start_warm(N, MAPPING_NOTIFY, MM_REUSE_6);
	map_file(mm, B, 16, SHARED, 4);
	map_file(mm, 2 * B, 16, RW, 4);
	read_all(mm, B, 16, 4);
	write_all(mm, B, 4, 1);
	read_all(mm, 2 * B + 4 * P, 8, 8);
	write_all(mm, 2 * B + 8 * P, 4, 2);
	assert_int_equal(move(B, 16, 3 * B + 5 * P, 20), 0);
	assert_int_equal(move(2 * B, 16, 4 * B + 5 * P, 16), 0);
	assert_int_equal(load(B), VM_FAULT_BADMAP);
	assert_int_equal(read_all(mm, 3 * B + 5 * P, 16, 4), 0); /* the pages came along */
	assert_int_equal(get(mm, 3 * B + 5 * P + 17 * P), byte_of(21)); /* and where it grew stands the file */
	assert_int_equal(get(mm, 4 * B + 13 * P + 9), 2);
	sync_file();
	assert_int_equal(on_disk(4 * P + 9), 1);
	assert_int_equal(vmtruncate(mapping, 0), 0); /* the reverse map finds them in the new place */
	assert_int_equal(rss(mm, MM_FILEPAGES) + rss(mm, MM_ANONPAGES), 0);
	finish();
}

static int remap(unsigned long addr, unsigned long pages, unsigned long pgoff, unsigned prot, bool nonblock)
{
	int err;

	mmap_write_lock(mm);
	err = sys_remap_file_pages(mm, addr, pages * P, pgoff, prot, nonblock);
	mmap_write_unlock(mm);
	mm_check_invariants();
	return err;
}

/* One remap makes three mappings of one, and brings the pages in. */
static void test_remap_file_pages(void **state)
{
	start_warm(N, 0, 0);
	map_file(mm, B, 16, SHARED, 0);
	map_file(mm, 2 * B, 16, RW, 0);
	faults();
	assert_int_equal(remap(B + 4 * P, 2, 40, 0, false), 0);
	assert_string_equal(drawing(mm, B, 16), "AAAABBCCCCCCCCCC");
	assert_int_equal(faults(), MINOR(1)); /* both by one, as with MAP_POPULATE over a window */
	assert_int_equal(read_all(mm, B + 4 * P, 2, 40), 0);
	assert_int_equal(read_all(mm, B, 4, 0), MINOR(1));
	put(mm, B + 4 * P + 9, 9);
	assert_int_equal(remap(B + 8 * P, 1, 40, 0, true), 0);
	assert_int_equal(present(mm, B + 8 * P, 1), 0);
	assert_int_equal(get(mm, B + 8 * P + 9), 9); /* the same page twice */
	assert_int_equal(remap(B + 4 * P, 2, 4, 0, true), 0); /* where it was: one mapping again */
	assert_int_equal(remap(B + 8 * P, 1, 8, 0, true), 0);
	assert_string_equal(drawing(mm, B, 16), "AAAAAAAAAAAAAAAA");
	assert_int_equal(remap(B, 1, 4, 1, true), -EINVAL);
	assert_int_equal(remap(2 * B, 1, 4, 0, true), -EINVAL); /* private */
	assert_int_equal(remap(3 * B, 1, 4, 0, true), -EINVAL);
	assert_int_equal(remap(B + 15 * P, 2, 4, 0, true), -EINVAL); /* a hole behind it */
	assert_int_equal(remap(B, 1, NONE, 0, true), -EINVAL);
	finish();
}

/* The mapping alone keeps the file. */
static void test_file_lives_in_mapping(void **state)
{
	start_warm(N, MAPPING_NOTIFY, MM_REUSE_6);
	map_file(mm, B, N, SHARED, 0);
	fput(file);
	address_space_put(mapping);
	assert_int_equal(write_all(mm, B, N, 42), MINOR(N));
	assert_int_equal(disk.released, 0);
	unmap(mm, B, N);
	assert_int_equal(disk.released, 1);
	assert_int_equal(on_disk(9), 42);
	mm_check_invariants();
	mapping = address_space_alloc(&disk_ops, &disk, N * P, 0);
	file = file_open(mapping, 0);
	disk.released = 0;
	finish();
}

/* ---- swap in a mapping of a file ------------------------------------------------------------------------------------------------------------------ */

static void test_swap(void **state)
{
	for (unsigned r = 0; r < RULES; r++) {
		start_warm(N, 0, rules[r]);
		map_file(mm, B, N, RW, 0);
		write_all(mm, B, N, 5);
		assert_int_equal(pageout(mm, B, N), N);
		mm_check_invariants();
		assert_int_equal(rss(mm, MM_SWAPENTS), N);
		faults();
		for (unsigned i = 0; i < N; i++)
			assert_int_equal(get(mm, B + i * P + 9), 5);
		assert_int_equal(faults(), MAJOR(N));
		assert_int_equal(rss(mm, MM_ANONPAGES), N);
		finish();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_around_counts),   cmocka_unit_test(test_around_window),   cmocka_unit_test(test_around_ends),
		cmocka_unit_test(test_around_holes),    cmocka_unit_test(test_geometries),      cmocka_unit_test(test_cold),
		cmocka_unit_test(test_wait_for_page),   cmocka_unit_test(test_bad_read),        cmocka_unit_test(test_signals),
		cmocka_unit_test(test_tail),            cmocka_unit_test(test_no_fault_handler), cmocka_unit_test(test_cow_fault),
		cmocka_unit_test(test_read_then_write), cmocka_unit_test(test_cow_cold),        cmocka_unit_test(test_failures),
		cmocka_unit_test(test_shared_notify),   cmocka_unit_test(test_shared_plain),    cmocka_unit_test(test_shared_anon),
		cmocka_unit_test(test_mkwrite_refuses), cmocka_unit_test(test_mkwrite_races),   cmocka_unit_test(test_arm),
		cmocka_unit_test(test_mprotect_shared), cmocka_unit_test(test_mprotect_private), cmocka_unit_test(test_read_only_file),
		cmocka_unit_test(test_fork),            cmocka_unit_test(test_fork_shared_writes), cmocka_unit_test(test_truncate),
		cmocka_unit_test(test_split_merge),     cmocka_unit_test(test_move),            cmocka_unit_test(test_remap_file_pages),
		cmocka_unit_test(test_file_lives_in_mapping), cmocka_unit_test(test_swap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
