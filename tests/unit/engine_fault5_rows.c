/* SPDX-License-Identifier: MIT
 *
 * linux-5: rows of fault-paths.md section 3 that only show when somebody else is at work in the middle of a fault: the re-checks, page locks that
 * are waited for, old translations.
 */
#include "tests/unit/engine_disk.h"

#define RULES 3
static const unsigned rules[RULES] = { MM_REUSE_5_4, MM_REUSE_5_15, MM_REUSE_6 };

static void begin(unsigned rule)
{
	start_engine(&(struct engine){ .caps = CAPS_X86, .frames = 1024, .rules = rule }, N, 0, &disk_ops);
}

static pte_t *ptep_of(unsigned long addr)
{
	return pte_offset(pte_table(mm, addr), addr);
}

static struct page *page_at(unsigned long addr)
{
	pte_t pte = entry(mm, addr);

	assert_true(pte_normal(pte));
	return pfn_to_page(pte_pfn(pte));
}

static void expect_faults(uint64_t wanted)
{
	mm_check_invariants();
	assert_int_equal(faults(), wanted);
}

/* ---- do_wp_page (3.8) -------------------------------------------------------------------------------------------------------------- */

static struct page *held;
static bool zap_first;

static void *unlock_soon(void *arg)
{
	usleep(20000);
	if (zap_first)
		dontneed(mm, B, 1);
	unlock_page(held);
	return NULL;
}

/* A page of ours alone, read-only since a fork whose child has ended. Its lock is somebody's. */
static void start_held(unsigned rule)
{
	begin(rule);
	map(mm, B, 1, RW);
	put(mm, B, 1);
	mmput(fork_mm(mm));
	held = page_at(B);
	assert_true(trylock_page(held));
	faults();
}

/* 5.4 waits for it, and reuses the page; the others copy. */
static void test_wp_page_locked(void **state)
{
	for (unsigned r = 0; r < RULES; r++) {
		bool waits = rules[r] == MM_REUSE_5_4;
		pthread_t thread;

		zap_first = false;
		start_held(rules[r]);
		get_page(held);
		pthread_create(&thread, NULL, unlock_soon, NULL);
		put(mm, B + 1, 2);
		pthread_join(thread, NULL);
		put_page(held);
		expect_faults(MINOR(1));
		assert_int_equal(mm_stats()->cow_reuse, waits);
		assert_int_equal(mm_stats()->cow_copy, !waits);
		assert_int_equal(get(mm, B), 1);
		finish();
	}
}

/* When the lock is ours the entry is none: looked at anew. */
static void test_wp_page_locked_and_gone(void **state)
{
	pthread_t thread;

	zap_first = true;
	start_held(MM_REUSE_5_4);
	pthread_create(&thread, NULL, unlock_soon, NULL);
	put(mm, B + 1, 2);
	pthread_join(thread, NULL);
	expect_faults(MINOR(2));
	assert_int_equal(get(mm, B), 0);
	assert_int_equal(get(mm, B + 1), 2);
	assert_int_equal(mm_stats()->cow_reuse + mm_stats()->cow_copy, 0);
	finish();
}

static void write_7(void) { put(mm, B, 7); }
static void drop_0(void) { dontneed(mm, B, 1); }

/* wp_page_copy: another thread's copy stands there first; ours is freed. */
static void test_wp_copy_lost_race(void **state)
{
	for (unsigned r = 0; r < RULES; r++) {
		struct mm_struct *child;

		begin(rules[r]);
		map(mm, B, 1, RW);
		put(mm, B, 1);
		child = fork_mm(mm);
		faults();
		race_at(TRACE_alloc_pages, write_7);
		put(mm, B + 1, 2);
		race_done();
		expect_faults(MINOR(2));
		assert_int_equal(get(mm, B), 7);
		assert_int_equal(get(mm, B + 1), 2);
		assert_int_equal(get(child, B), 1);
		assert_int_equal(nr_used_frames(), 2);
		mmput(child);
		finish();
	}
}

/* The zero page's copy, likewise. */
static void test_wp_zero_page_lost_race(void **state)
{
	begin(MM_REUSE_5_15);
	map(mm, B, 1, RW);
	get(mm, B);
	faults();
	race_at(TRACE_alloc_pages, write_7);
	put(mm, B + 1, 2);
	race_done();
	expect_faults(MINOR(2));
	assert_int_equal(get(mm, B), 7);
	assert_int_equal(nr_used_frames(), 1);
	assert_int_equal(get_mm_counter(mm, MM_ANONPAGES), 1);
	finish();
}

/* ---- handle_pte_fault, do_anonymous_page (3.3, 3.4) --------------------------------------------------------------------------------- */

/* One page survives, the loser frees his, and both are counted. */
static void test_anon_lost_race(void **state)
{
	for (unsigned r = 0; r < RULES; r++) {
		begin(rules[r]);
		map(mm, B, 1, RW);
		race_at(TRACE_alloc_pages, write_7);
		put(mm, B + 1, 2);
		race_done();
		expect_faults(MINOR(2));
		assert_int_equal(get(mm, B), 7);
		assert_int_equal(nr_used_frames(), 1);
		finish();
	}
}

/* A read that finds a page there when it has the lock maps no zero page. */
static void test_zero_page_lost_race(void **state)
{
	begin(MM_REUSE_5_15);
	map(mm, B, 1, RW);
	race_at(TRACE_zero_page, write_7);
	assert_int_equal(get(mm, B), 7);
	race_done();
	expect_faults(MINOR(2));
	finish();
}

/* Present when it was read, gone when the lock is held: nothing is done, and the access is made again. */
static void test_present_changed(void **state)
{
	begin(MM_REUSE_5_15);
	map(mm, B, 1, RW);
	put(mm, B, 1);
	mmput(fork_mm(mm));
	faults();
	race_at(TRACE_handle_pte_fault, drop_0);
	put(mm, B + 1, 2);
	race_done();
	expect_faults(MINOR(2));
	assert_int_equal(get(mm, B), 0);
	assert_int_equal(mm_stats()->cow_reuse, 0);
	finish();
}

/* 5.4 takes new pages for active, later kernels don't. */
static void test_new_pages_list(void **state)
{
	for (unsigned r = 0; r < RULES; r++) {
		bool active = rules[r] == MM_REUSE_5_4;

		begin(rules[r]);
		filemap_populate(file, 0, 1);
		map(mm, B, 1, RW);
		map_file(mm, 2 * B, 1, RW, 0);
		put(mm, B, 1);     /* do_anonymous_page */
		put(mm, 2 * B, 1); /* do_cow_fault */
		assert_int_equal(!!(page_flags(page_at(B)) & PG_active), active);
		assert_int_equal(!!(page_flags(page_at(2 * B)) & PG_active), active);
		assert_int_equal(lru_size(active ? LRU_ACTIVE_ANON : LRU_INACTIVE_ANON), 2);
		mmput(fork_mm(mm));
		assert_true(trylock_page(page_at(B)));
		held = page_at(B);
		if (!active) { /* wp_page_copy */
			put(mm, B, 2);
			assert_int_equal(mm_stats()->cow_copy, 1);
			assert_false(page_flags(page_at(B)) & PG_active);
		}
		if (active)
			unlock_page(held);
		finish();
	}
}

/* A store that faults although its entry allows it forgets the old translation, but not right after a retry. */
static void test_spurious_store(void **state)
{
	for (unsigned tried = 0; tried < 2; tried++) {
		pte_t a, b;

		begin(MM_REUSE_5_15);
		map(mm, B, 2, RW);
		put(mm, B, 1);
		put(mm, B + P, 2);
		a = entry(mm, B);
		b = entry(mm, B + P);
		set_pte(ptep_of(B), b); /* behind the machine's back */
		assert_int_equal(get(mm, B), 1);
		mmap_read_lock(mm);
		assert_int_equal(fault_path->fault(mm, B, FAULT_FLAG_USER | FAULT_FLAG_WRITE | (tried ? FAULT_FLAG_TRIED : 0)), 0);
		mmap_read_unlock(mm);
		assert_int_equal(get(mm, B), tried ? 1 : 2);
		set_pte(ptep_of(B), a);
		machine_protect(mm, B, 1, pte_pfn(a), MACHINE_MAP_WRITE);
		finish();
	}
}

/* ---- do_fault (3.5) ------------------------------------------------------------------------------------------------------------------- */

static const struct vm_operations_struct no_ops;

static void set_entry(void)
{
	set_pte(ptep_of(B), pfn_pte(0, _PAGE_SPECIAL | _PAGE_ACCESSED));
}

/* Without ->fault: SIGBUS, unless somebody has set the entry meanwhile. */
static void test_no_fault_handler_race(void **state)
{
	begin(MM_REUSE_5_15);
	map(mm, B, 2, RW);
	get(mm, B + P);
	mmap_write_lock(mm);
	find_vma(mm, B)->vm_ops = &no_ops;
	mmap_write_unlock(mm);
	faults();
	race_at(TRACE_do_fault, set_entry);
	assert_int_equal(get(mm, B), 0);
	race_done();
	expect_faults(MINOR(1));
	finish();
}

static void read_same(void) { get(mm, B); }

/* finish_fault: no longer none. The page is let go; of a private store, the copy too. */
static void test_finish_fault_lost_race(void **state)
{
	static const unsigned long flags[] = { RO, RW };

	for (unsigned kind = 0; kind < 2; kind++) {
		struct page *page;

		begin(MM_REUSE_6);
		map_file(mm, B, 1, flags[kind] | VM_RAND_READ, 0);
		filemap_populate(file, 0, 1);
		page = find_lock_page(mapping, 0);
		set_page_flags(page, PG_readahead); /* so that fault-around leaves it alone */
		unlock_page(page);
		put_page(page);
		race_at(TRACE_filemap_fault, kind ? write_7 : read_same);
		if (kind)
			put(mm, B + 1, 2);
		else
			assert_int_equal(get(mm, B), byte_of(0));
		race_done();
		expect_faults(MINOR(2));
		assert_int_equal(get(mm, B), kind ? 7 : byte_of(0));
		assert_int_equal(nr_used_frames(), kind ? 2 : 1);
		finish();
	}
}

/* Who meets the readahead mark lets go of mmap_lock (3.6): a retry (3.9), which is a major fault in 5.15. In 6.x a program's first try was with the
 * lock of its mapping, so that it stays minor; not so a system call's, unless it begins anew. */
static void test_mark_lets_go(void **state)
{
	static const unsigned how[] = { 0, FAULT_FLAG_GUP, FAULT_FLAG_POPULATE };
	static const bool major[RULES][3] = { { false, false, false }, { true, true, false }, { false, true, false } };

	for (unsigned r = 0; r < RULES; r++)
		for (unsigned i = 0; i < 3; i++) {
			struct page *page;

			begin(rules[r]);
			map_file(mm, B, N, RO, 0);
			filemap_populate(file, 0, N);
			page = find_lock_page(mapping, 3);
			set_page_flags(page, PG_readahead);
			unlock_page(page);
			faults();
			assert_int_equal(do_page_fault(mm, B + 3 * P, FAULT_FLAG_USER | how[i]) & VM_FAULT_ERROR, 0);
			assert_true(pte_present(entry(mm, B + 3 * P)));
			assert_false(page_flags(page) & PG_readahead);
			put_page(page);
			expect_faults(major[r][i] ? MAJOR(1) : MINOR(1));
			finish();
		}
}

/* fault_around_bytes: the window; with one page there is none. */
static void test_fault_around_bytes(void **state)
{
	static const struct { unsigned long pages; unsigned faults; } rows[] = { { 1, N }, { 4, N / 4 }, { 16, N / 16 }, { 32, N / 32 } };

	for (unsigned r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
		begin(MM_REUSE_5_15);
		mm_fault_around = rows[r].pages;
		filemap_populate(file, 0, N);
		map_file(mm, B, N, RO, 0);
		for (unsigned i = 0; i < N; i++)
			assert_int_equal(get(mm, B + i * P), byte_of(i));
		expect_faults(MINOR(rows[r].faults));
		finish();
		mm_fault_around = 16;
	}
}

/* The table is got in advance, and given back when neither the window nor the fault has a page for it. */
static void test_table_in_advance(void **state)
{
	for (unsigned r = 0; r < RULES; r++) {
		uint64_t tables;
		uint8_t v;

		begin(rules[r]);
		vmtruncate(mapping, 4 * P);
		map_file(mm, B, N, RO, 0);
		map(mm, 2 * B, 1, RW);
		put(mm, 2 * B, 1); /* the upper levels are there */
		tables = mm_stats()->page_tables;
		assert_int_equal(soft_load(mm, B + 32 * P, &v), VM_FAULT_SIGBUS);
		assert_int_equal(mm_stats()->page_tables, tables);
		assert_null(pte_table(mm, B));
		assert_int_equal(get(mm, B), byte_of(0)); /* nothing cached: __do_fault uses the same table */
		assert_non_null(pte_table(mm, B));
		finish();
	}
}

static unsigned times;
static void count_time(void *host) { times++; }

/* A store changes the file: its time is set by page_mkwrite, or else with the dirty page. */
static void test_file_times(void **state)
{
	struct address_space_operations ops = disk_ops;

	ops.update_time = count_time;
	start_engine(&(struct engine){ .caps = CAPS_X86, .frames = 1024, .rules = MM_REUSE_6 }, N, MAPPING_NOTIFY, &ops);
	filemap_populate(file, 0, N);
	map_file(mm, B, N, SHARED, 0);
	map_file(mm, 2 * B, N, RW, 0);
	times = 0;
	get(mm, B);
	get(mm, 2 * B);
	put(mm, 2 * B, 1); /* private */
	assert_int_equal(times, 0);
	put(mm, B, 1); /* wp_page_shared */
	put(mm, B, 2);
	assert_int_equal(times, 1);
	put(mm, B + 20 * P, 1); /* do_shared_fault */
	assert_int_equal(times, 2);
	finish();
}

/* ---- what has no struct page (3.8) ----------------------------------------------------------------------------------------------------- */

static unsigned long device; /* a frame out of circulation */
static unsigned mkwrites;
static vm_fault_t mkwrite_says;

static vm_fault_t device_fault(struct vm_fault *vmf)
{
	return vmf_insert_pfn(vmf->vma, vmf->address, device);
}

static vm_fault_t device_mkwrite(struct vm_fault *vmf)
{
	mkwrites++;
	return mkwrite_says;
}

static const struct vm_operations_struct device_ops = { .fault = device_fault },
	asking_ops = { .fault = device_fault, .pfn_mkwrite = device_mkwrite };

static void start_device(unsigned long flags, const struct vm_operations_struct *ops, unsigned caps)
{
	start_engine(&(struct engine){ .caps = caps, .frames = 64, .rules = MM_REUSE_5_15 }, 1, 0, &disk_ops);
	device = reserve_frame();
	assert_int_not_equal(device, -1UL);
	memset(machine_frame(device), 42, P);
	map(mm, B, 4, flags | VM_PFNMAP);
	mmap_write_lock(mm);
	find_vma(mm, B)->vm_ops = ops;
	mmap_write_unlock(mm);
	mkwrites = 0;
	mkwrite_says = 0;
	faults();
}

static uint8_t device_byte(unsigned i) { return ((uint8_t *)machine_frame(device))[i]; }

/* A private store to what has no struct page: its owner fills the copy and enters it (DONE_COW). */
static bool entered_meanwhile;

static vm_fault_t device_cow_fault(struct vm_fault *vmf)
{
	vm_fault_t ret;

	if (!vmf->cow_page)
		return vmf_insert_pfn(vmf->vma, vmf->address, device);
	memcpy(machine_frame(page_to_pfn(vmf->cow_page)), machine_frame(device), P);
	if (entered_meanwhile)
		vmf_insert_pfn(vmf->vma, vmf->address, device);
	ret = finish_fault(vmf);
	return ret ? ret : VM_FAULT_DONE_COW;
}

static const struct vm_operations_struct cow_ops = { .fault = device_cow_fault };

static void test_done_cow(void **state)
{
	start_device(RW, &cow_ops, CAPS_X86);
	entered_meanwhile = false;
	put(mm, B, 7);
	expect_faults(MINOR(1));
	assert_int_equal(get(mm, B + 1), 42);
	assert_int_equal(device_byte(0), 42);
	assert_int_equal(get_mm_counter(mm, MM_ANONPAGES), 1);
	assert_int_equal(mm_stats()->copied, 1);
	mm_check_invariants();
	assert_int_equal(get(mm, B + P), 42);
	/* somebody was faster: the copy is freed, and the store makes another one of what stands there */
	entered_meanwhile = true;
	put(mm, B + 2 * P, 8);
	assert_int_equal(device_byte(0), 42);
	assert_int_equal(get(mm, B + 2 * P + 1), 42);
	assert_int_equal(get_mm_counter(mm, MM_ANONPAGES), 2);
	mm_check_invariants();
	finish();
}

/* Shared: writable at once if nobody wants to see the first store; else ->pfn_mkwrite, and reused. No counter of memory knows of it. */
static void test_pfn_shared(void **state)
{
	struct mm_struct *child;
	uint8_t v;

	start_device(SHARED, &device_ops, CAPS_X86);
	assert_int_equal(get(mm, B), 42);
	put(mm, B, 7);
	expect_faults(MINOR(1));
	assert_int_equal(device_byte(0), 7);
	child = fork_mm(mm); /* entries are copied, for faults could not know them */
	mm_check_invariants();
	assert_int_equal(get(child, B), 7);
	expect_faults(0);
	assert_int_equal(get_mm_counter(child, MM_ANONPAGES) + get_mm_counter(child, MM_FILEPAGES), 0);
	mmput(child);
	protect(mm, B, 4, 0, VM_WRITE);
	assert_int_equal(soft_store(mm, B, 1), VM_FAULT_BADACCESS);
	protect(mm, B, 4, VM_WRITE, 0);
	put(mm, B, 8);
	expect_faults(0);
	assert_int_equal(try_to_free_pages(4), 0);
	finish();

	start_device(SHARED, &asking_ops, CAPS_X86);
	assert_int_equal(get(mm, B), 42);
	mkwrite_says = VM_FAULT_SIGBUS;
	assert_int_equal(soft_store(mm, B, 1), VM_FAULT_SIGBUS);
	assert_int_equal(device_byte(0), 42);
	mkwrite_says = 0;
	put(mm, B, 9);
	put(mm, B, 10);
	expect_faults(MINOR(2));
	assert_int_equal(mkwrites, 2);
	assert_int_equal(soft_load(mm, B, &v), 0);
	assert_int_equal(v, 10);
	finish();
}

static void drop_entry(void) { dontneed(mm, B, 1); }

/* finish_mkwrite_fault: the entry has gone while the owner was asked. */
static void test_pfn_shared_race(void **state)
{
	start_device(SHARED, &asking_ops, CAPS_X86);
	get(mm, B);
	race_at(TRACE_finish_mkwrite_fault, drop_entry);
	put(mm, B, 9);
	race_done();
	expect_faults(MINOR(4)); /* the load, the store in vain, the page, the store */
	assert_int_equal(mkwrites, 2);
	finish();
}

/* Private: a copy, which is anonymous memory. */
static void test_pfn_private(void **state)
{
	start_device(RW, &device_ops, CAPS_X86);
	assert_int_equal(get(mm, B), 42);
	assert_false(pte_write(entry(mm, B)));
	put(mm, B + 1, 7);
	expect_faults(MINOR(2));
	assert_int_equal(get(mm, B), 42);
	assert_int_equal(device_byte(1), 42);
	assert_int_equal(get_mm_counter(mm, MM_ANONPAGES), 1);
	assert_int_equal(mm_stats()->cow_copy, 1);
	assert_int_equal(mm_stats()->zeroed, 0);
	mm_check_invariants();
	assert_int_equal(pageout(mm, B, 4), 1);
	assert_int_equal(get(mm, B + 1), 7);
	finish();
}

/* ARM: its first store to a clean entry is a fault, and nothing else. */
static void test_pfn_arm(void **state)
{
	start_device(SHARED, &device_ops, CAPS_ARM);
	assert_int_equal(get(mm, B), 42);
	put(mm, B, 7);
	put(mm, B, 8);
	expect_faults(MINOR(2));
	assert_int_equal(device_byte(0), 8);
	finish();
}

/* ---- PGFAULT (3.2) ------------------------------------------------------------------------------------------------------------------------ */

/* At the entry of each try; 6.x at its end, if it is one. Errors count that come from handle_mm_fault. */
static void test_pgfault(void **state)
{
	for (unsigned r = 0; r < RULES; r++) {
		uint8_t v;

		begin(rules[r]);
		map(mm, B, 2, RW);
		map_file(mm, 2 * B, N + 1, RO | VM_RAND_READ, 0);
		put(mm, B, 1);
		put(mm, B + P, 1);
		assert_int_equal(mm_pgfault(mm_stats()), 2);
		soft_load(mm, B + 9 * P, &v);
		soft_store(mm, 2 * B, 1);
		assert_int_equal(mm_pgfault(mm_stats()), 2); /* no mapping, no right */
		assert_int_equal(soft_load(mm, 2 * B + N * P, &v), VM_FAULT_SIGBUS);
		assert_int_equal(mm_pgfault(mm_stats()), 3);
		get(mm, 2 * B); /* cold: mmap_lock is released, and the fault repeated */
		assert_int_equal(mm_pgfault(mm_stats()), rules[r] == MM_REUSE_6 ? 4 : 5);
		assert_int_equal(mm_stats()->min_flt + mm_stats()->maj_flt, 3);
		finish();
	}
}

/* ---- a signal in the middle (3.1) ------------------------------------------------------------------------------------------------------------ */

static void send_signal(void) { mm_set_signal_pending(mm, true); }

/* It arrives while a page is read: no second try before it has been taken, and no count. The kernel's own access fails; populate goes on. */
static void test_signal_pending(void **state)
{
	for (unsigned r = 0; r < RULES; r++) {
		uint8_t v;

		begin(rules[r]);
		map_file(mm, B, N, RO | VM_RAND_READ, 0);
		race_at(TRACE_readpages, send_signal);
		assert_int_equal(soft_load(mm, B, &v), VM_FAULT_RETRY);
		race_done();
		assert_true(pte_none(entry(mm, B)));
		assert_int_equal(mm->thread.sig, 0);
		expect_faults(0);
		assert_int_equal(do_page_fault(mm, B + 40 * P, 0) & VM_FAULT_ERROR, VM_FAULT_SIGSEGV);
		expect_faults(0);
		assert_int_equal(do_page_fault(mm, B + 20 * P, FAULT_FLAG_POPULATE) & (VM_FAULT_ERROR | VM_FAULT_RETRY), 0);
		assert_true(pte_present(entry(mm, B + 20 * P)));
		faults();
		mm_set_signal_pending(mm, false);
		assert_int_equal(get(mm, B), byte_of(0)); /* the page has come meanwhile */
		expect_faults(MINOR(1));
		finish();
	}
}

/* ---- the stack's limits (3.1) --------------------------------------------------------------------------------------------------------------- */

static vm_fault_t store_at(unsigned long addr)
{
	vm_fault_t ret = soft_store(mm, addr, 1);

	mm_check_invariants();
	return ret;
}

static void test_stack_limits(void **state)
{
	begin(MM_REUSE_5_15);
	map(mm, B, 4, RW | VM_GROWSDOWN);
	map(mm, 2 * B, 6, RW);
	mm->rlimit_as = 14 * P;
	assert_int_equal(store_at(B - 5 * P), VM_FAULT_BADMAP); /* 15 pages */
	assert_int_equal(store_at(B - 4 * P), 0);
	mm->rlimit_as = ~0UL;
	mm->rlimit_memlock = 10 * P;
	protect(mm, B - 4 * P, 8, VM_LOCKED, 0);
	assert_int_equal(store_at(B - 7 * P), VM_FAULT_BADMAP);
	assert_int_equal(store_at(B - 6 * P), 0);
	assert_int_equal(mm->locked_vm, 10);
	protect(mm, B - 6 * P, 10, 0, VM_LOCKED);
	assert_int_equal(store_at(B - 7 * P), 0);
	finish();

	/* vm.mmap_min_addr */
	begin(MM_REUSE_5_15);
	map(mm, 20 * P, 4, RW | VM_GROWSDOWN);
	assert_int_equal(store_at(16 * P - 1), VM_FAULT_BADMAP);
	assert_int_equal(store_at(16 * P), 0);
	finish();

	/* more than there is of memory and swap */
	start_engine(&(struct engine){ .caps = CAPS_X86, .frames = 64, .slots = 64 }, 1, 0, &disk_ops);
	map(mm, B, 4, RW | VM_GROWSDOWN);
	assert_int_equal(store_at(B - 129 * P), VM_FAULT_BADMAP);
	assert_int_equal(store_at(B - 128 * P), 0);
	finish();
}

/* ---- do_swap_page (3.7) ------------------------------------------------------------------------------------------------------------------ */

/* The cached page is locked: the first try lets go of mmap_lock. */
static void test_swap_page_locked(void **state)
{
	for (unsigned r = 0; r < RULES; r++) {
		struct mm_struct *child;
		pthread_t thread;

		begin(rules[r]);
		map(mm, B, 1, RW);
		put(mm, B, 5);
		assert_int_equal(pageout(mm, B, 1), 1);
		child = fork_mm(mm);
		get(child, B); /* in the swap cache, for ours names the slot */
		held = lookup_swap_cache(pte_to_swp_entry(entry(mm, B)));
		assert_non_null(held);
		lock_page(held);
		zap_first = false;
		faults();
		pthread_create(&thread, NULL, unlock_soon, NULL);
		assert_int_equal(get(mm, B), 5);
		pthread_join(thread, NULL);
		put_page(held);
		expect_faults(rules[r] == MM_REUSE_5_15 ? MAJOR(1) : MINOR(1));
		assert_int_equal(memswap.loads, 1);
		mmput(child);
		finish();
	}
}

/* Swap is more than half full: a copy of a page that came back is not worth its slot. */
static void test_swap_full(void **state)
{
	start_engine(&(struct engine){ .caps = CAPS_X86, .frames = 1024, .slots = 8, .rules = MM_REUSE_5_15 }, N, 0, &disk_ops);
	map(mm, B, 5, RW);
	for (unsigned i = 0; i < 5; i++)
		put(mm, B + i * P, i + 1);
	assert_int_equal(pageout(mm, B, 5), 5);
	assert_int_equal(get(mm, B), 1); /* 5 of 8 */
	assert_int_equal(mm_stats()->swap_slots_used, 4);
	assert_int_equal(get(mm, B + P), 2); /* 4 of 8 */
	assert_int_equal(mm_stats()->swap_slots_used, 4);
	assert_int_equal(pageout(mm, B, 5), 2);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(get(mm, B + i * P), i + 1);
	finish();
}

/* ---- folding (3.2) ------------------------------------------------------------------------------------------------------------------------ */

/* What a geometry hasn't, its *_alloc gives back as it got it. */
static void test_folding(void **state)
{
	static const struct { const char *name; bool p4d, pud, pmd; unsigned ptes; } rows[] = {
		{ "i386", 0, 0, 0, 1024 }, { "i386-pae", 0, 0, 1, 512 }, { "arm", 0, 0, 0, 512 }, { "x86_64", 0, 1, 1, 512 }, { "x86_64-5", 1, 1, 1, 512 },
		{ "sv39", 0, 0, 1, 512 }, { "sv48", 0, 1, 1, 512 }, { "process", 1, 1, 1, 512 },
	};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		pgd_t *pgd;
		p4d_t *p4d;
		pud_t *pud;
		pmd_t *pmd;

		start_engine(&(struct engine){ .geometry = rows[i].name, .caps = CAPS_X86 }, 1, 0, &disk_ops);
		map(mm, B, 1, RW);
		mmap_read_lock(mm);
		pgd = pgd_offset(mm, B);
		p4d = p4d_alloc(mm, pgd, B);
		pud = pud_alloc(mm, p4d, B);
		pmd = pmd_alloc(mm, pud, B);
		assert_int_equal((void *)p4d != (void *)pgd, rows[i].p4d);
		assert_int_equal((void *)pud != (void *)p4d, rows[i].pud);
		assert_int_equal((void *)pmd != (void *)pud, rows[i].pmd);
		assert_true(pmd_none(pmd));
		mmap_read_unlock(mm);
		put(mm, B, 1);
		assert_false(pmd_none(pmd));
		assert_int_equal(pt.mask[PT_PTE] + 1, rows[i].ptes);
		finish();
	}
}

int main(void)
{
#define T(f) cmocka_unit_test(test_##f)
	const struct CMUnitTest tests[] = {
		T(wp_page_locked), T(wp_page_locked_and_gone), T(wp_copy_lost_race), T(wp_zero_page_lost_race), T(anon_lost_race),
		T(zero_page_lost_race), T(present_changed), T(new_pages_list), T(spurious_store), T(no_fault_handler_race),
		T(finish_fault_lost_race), T(mark_lets_go), T(swap_page_locked), T(swap_full), T(folding),
		T(fault_around_bytes), T(table_in_advance), T(file_times), T(done_cow), T(pfn_shared), T(pfn_shared_race), T(pfn_private), T(pfn_arm), T(pgfault),
		T(stack_limits), T(signal_pending),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
