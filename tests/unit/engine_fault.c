/* SPDX-License-Identifier: MIT
 *
 * Faults on anonymous memory, by the rows of the decision tables (fault-paths.md 3 and 5); swap, streams, reclaim and what can go wrong.
 */
#include "tests/unit/engine.h"

#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

#define B (1UL << 24)
#define N 64

static struct mm_struct *mm;

static void start(unsigned caps, unsigned around, unsigned long limit)
{
	engine_start(&(struct engine){ .caps = caps, .frames = 1024, .limit = limit, .anon_around = around, .swapin_around = around });
	mm = mm_alloc();
	map(mm, B, N, RW);
	faults();
}

static void finish(void)
{
	mm_check_invariants();
	mmput(mm);
	mm_check_invariants();
	assert_int_equal(nr_used_frames(), 0);
	assert_int_equal(mm_stats()->swap_slots_used, 0);
	assert_int_equal(memswap.held, 0);
	engine_stop();
}

static void read_all(struct mm_struct *m, unsigned n, int first)
{
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(get(m, B + i * P), first < 0 ? 0 : (first + i) & 255);
}

static void write_all(struct mm_struct *m, unsigned n, int first)
{
	for (unsigned i = 0; i < n; i++)
		put(m, B + i * P, first + i);
}

/* ---- anonymous -------------------------------------------------------------------------------------------------------------- */

static void test_row1_zero_page(void **state)
{
	start(CAPS_X86, 1, 0);
	read_all(mm, N, -1);
	assert_int_equal(faults(), MINOR(N));
	assert_int_equal(nr_used_frames(), 0); /* RSS +0 */
	write_all(mm, N, 1);
	assert_int_equal(faults(), MINOR(N));
	assert_int_equal(nr_used_frames(), N);
	write_all(mm, N, 2);
	assert_int_equal(faults(), 0);
	finish();
	/* 2.6.24 has no zero page: the read already allocates, with the mapping's rights. */
	start(CAPS_2_6, 1, 0);
	read_all(mm, N, -1);
	assert_int_equal(nr_used_frames(), N);
	write_all(mm, N, 1);
	assert_int_equal(faults(), MINOR(N));
	finish();
}

static void test_rows_2_3(void **state)
{
	start(CAPS_X86, 1, 0);
	write_all(mm, N, 1);
	read_all(mm, N, 1);
	assert_int_equal(faults(), MINOR(N));
	dontneed(mm, B, N);
	assert_int_equal(nr_used_frames(), 0);
	read_all(mm, N, -1);
	assert_int_equal(faults(), MINOR(N));
	finish();
}

static void test_errors(void **state)
{
	uint8_t v;

	start(CAPS_X86, 1, 0);
	assert_int_equal(soft_load(mm, B - 1, &v), VM_FAULT_BADMAP);
	map(mm, B + N * P, 1, RO);
	assert_int_equal(soft_store(mm, B + N * P, 1), VM_FAULT_BADACCESS);
	put(mm, B, 5);
	protect(mm, B, 1, 0, VM_ACCESS_FLAGS);
	assert_int_equal(soft_load(mm, B, &v), VM_FAULT_BADACCESS); /* PROT_NONE, page present */
	protect(mm, B, 1, VM_READ, 0);
	faults();
	assert_int_equal(get(mm, B), 5);
	assert_int_equal(do_page_fault(mm, B, FAULT_FLAG_INSTRUCTION), VM_FAULT_BADACCESS);
	map(mm, B + (N + 1) * P, 1, VM_WRITE);
	assert_int_equal(get(mm, B + (N + 1) * P), 0); /* write-only is readable */
	map(mm, B + (N + 2) * P, 1, RW | VM_SHARED);
	assert_int_equal(soft_load(mm, B + (N + 2) * P, &v), VM_FAULT_SIGBUS);
	assert_int_equal(faults(), MINOR(1)); /* errors are not counted */
	finish();
}

/* ---- ARM: neither young nor dirty bits ------------------------------------------------------------------------------------------ */

static void test_arm_old(void **state)
{
	start(CAPS_ARM, 1, 0);
	write_all(mm, N, 1);
	assert_int_equal(faults(), MINOR(N));
	/* The first look makes every page old, and keeps it; first use faults into the present branch. */
	try_to_free_pages(1);
	assert_true(nr_used_frames() >= N - 16);
	read_all(mm, N, 1);
	assert_true(faults() != 0);
	read_all(mm, N, 1);
	assert_int_equal(faults(), 0);
	finish();
}

static void test_arm_dirty(void **state)
{
	start(CAPS_ARM, 1, 0);
	mm_reuse_rule = REUSE_6;
	write_all(mm, 4, 1);
	pageout(mm, B, 4);
	faults();
	read_all(mm, 4, 1);
	assert_int_equal(faults(), MAJOR(4));
	put(mm, B, 9); /* writable, clean: the store must fault to set D */
	assert_int_equal(faults(), MINOR(1));
	put(mm, B + 1, 9);
	assert_int_equal(faults(), 0);
	assert_int_equal(pageout(mm, B, 4), 4);
	assert_int_equal(mm_stats()->clean_evictions, 3);
	assert_int_equal(get(mm, B), 9);
	finish();
}

/* ---- swap ------------------------------------------------------------------------------------------------------------------------ */

static void test_row18_swap(void **state)
{
	start(CAPS_X86, 1, 0);
	write_all(mm, N, 1);
	faults();
	assert_int_equal(pageout(mm, B, N), N);
	assert_int_equal(residency(mm, B), MM_SWAPPED);
	assert_int_equal(nr_used_frames(), 0);
	read_all(mm, N, 1);
	assert_int_equal(faults(), MAJOR(N));
	write_all(mm, N, 3);
	assert_int_equal(faults(), MINOR(N)); /* 5.15: the swap cache's reference forces a copy */
	finish();

	start(CAPS_X86, 1, 0);
	mm_reuse_rule = REUSE_6;
	write_all(mm, N, 1);
	pageout(mm, B, N);
	faults();
	read_all(mm, N, 1);
	write_all(mm, N, 3);
	assert_int_equal(faults(), MAJOR(N)); /* 6.x: writable at once */
	finish();
}

/* A page that comes back keeps its slot; evicting it unchanged stores nothing. */
static void test_clean_eviction(void **state)
{
	start(CAPS_X86, 1, 0);
	write_all(mm, N, 1);
	pageout(mm, B, N);
	read_all(mm, N, 1);
	assert_int_equal(memswap.stores, N);
	assert_int_equal(pageout(mm, B, N), N);
	assert_int_equal(memswap.stores + memswap.unchanged, N); /* the dirty bit tells: the backend isn't asked */
	assert_int_equal(mm_stats()->clean_evictions, N);
	read_all(mm, N, 1);
	finish();

	start(CAPS_UFFD, 1, 0);
	write_all(mm, N, 1);
	pageout(mm, B, N);
	read_all(mm, N, 1);
	put(mm, B, 77);
	assert_int_equal(pageout(mm, B, N), N);
	assert_int_equal(memswap.stores, N + 1);
	assert_int_equal(memswap.unchanged, N - 1); /* the bytes tell */
	assert_int_equal(get(mm, B), 77);
	finish();
}

static unsigned random_page(unsigned n)
{
	static uint32_t x = 7;

	return ((x = x * 1103515245 + 12345) >> 8) % n;
}

/* A stored copy of a resident page that has been written since is of no use and takes room. Where no store is seen:
 * it goes at once when the page comes in for a store; when pages come in by loads and are stored to afterwards, that
 * is learned, and unlearned. */
static void test_useless_copies(void **state)
{
	start(CAPS_UFFD, 1, 128);
	map(mm, B, 512, RW);
	for (unsigned i = 0; i < 4000; i++) /* stores only: what is stored is what is swapped out */
		put(mm, B + random_page(512) * P, i);
	assert_int_equal(mm_stats()->swap_cached, 0);
	assert_int_equal(memswap.held, 512 - nr_used_frames());
	memswap.unchanged = memswap.stores = 0;
	for (unsigned i = 0; i < 4000; i++) /* loads only: nothing need be stored again */
		get(mm, B + random_page(512) * P);
	assert_int_equal(mm_stats()->swap_cached, nr_used_frames());
	assert_true(memswap.unchanged > 2000 && memswap.stores < 200);
	for (unsigned i = 0; i < 4000; i++) { /* loads before stores */
		unsigned long addr = B + random_page(512) * P;

		put(mm, addr, get(mm, addr) + 1);
	}
	assert_true(mm_stats()->swap_cached < 128 / 8);
	for (unsigned i = 0; i < 40000; i++)
		get(mm, B + random_page(512) * P);
	assert_int_equal(mm_stats()->swap_cached, nr_used_frames());
	finish();
}

/* Where frames and backend share a budget, what is resident is nowhere else: neither pages that come alone nor those of a window, nor those that can't
 * be stored to. */
static void test_copies_cost_frames(void **state)
{
	for (unsigned around = 1; around <= 16; around *= 16) {
		engine_start(&(struct engine){ .caps = CAPS_UFFD, .frames = 1024, .limit = 128, .anon_around = around, .swapin_around = around,
					       .copies_cost_frames = true });
		mm = mm_alloc();
		map(mm, B, 512, RW);
		write_all(mm, 512, 1);
		protect(mm, B + 256 * P, 256, 0, VM_WRITE);
		for (unsigned i = 0; i < 3; i++) {
			read_all(mm, 512, 1);
			assert_int_equal(mm_stats()->swap_cached, 0);
			assert_int_equal(memswap.held, 512 - nr_used_frames());
			mm_check_invariants();
		}
		assert_int_equal(memswap.unchanged, 0);
		finish();
	}
}

/* Windows want neighbours. Where free frames lie scattered, they get pieces, and not one fresh frame after the other. */
static void test_scattered_frames_suffice(void **state)
{
	start(CAPS_UFFD, 16, 128);
	map(mm, B, 512, RW);
	write_all(mm, 512, 1);
	for (unsigned turn = 0; turn < 20; turn++) {
		for (unsigned i = 0; i < 500; i++)
			put(mm, B + random_page(512) * P, 1);
		for (unsigned i = 0; i < 512; i++)
			put(mm, B + i * P, 1 + i);
		read_all(mm, 512, 1);
	}
	assert_in_range(fresh_frames(), 128, 128 + 128 / 4 + 64);
	finish();
}

static void test_damaged(void **state)
{
	uint8_t v;

	start(CAPS_UFFD, 16, 0);
	write_all(mm, N, 1);
	pageout(mm, B, N);
	faults();
	memswap.bad = 5; /* slots count from 1, pages were evicted in order */
	for (unsigned i = 0; i < N; i++) {
		if (i == 4)
			assert_int_equal(soft_load(mm, B + i * P, &v), VM_FAULT_HWPOISON);
		else
			assert_int_equal(get(mm, B + i * P), 1 + i); /* a damaged neighbour is no reason to fail */
	}
	assert_int_equal(residency(mm, B + 4 * P), MM_SWAPPED);
	memswap.bad = 0;
	assert_int_equal(get(mm, B + 4 * P), 5);
	finish();
}

/* The backend is full: pages are put back, nothing is lost; with room again they go. */
static void test_backend_full(void **state)
{
	start(CAPS_UFFD, 16, 0);
	write_all(mm, N, 1);
	memswap.limit = 10;
	assert_int_equal(pageout(mm, B, N), 10);
	assert_int_equal(nr_used_frames(), N - 10);
	mm_check_invariants();
	read_all(mm, N, 1); /* the ten come back and keep their slots ... */
	mm_check_invariants();
	put(mm, B + 40 * P, 99);
	assert_true(pageout(mm, B + 32 * P, 16) > 0); /* ... which are dropped when others need the room */
	assert_true(memswap.held <= 10);
	assert_int_equal(get(mm, B + 40 * P), 99);
	memswap.limit = 0;
	pageout(mm, B, N);
	assert_int_equal(nr_used_frames(), 0);
	finish();
}

/* A call that finds the backend full tries some clusters, not every page again and again; with copies to drop it
 * goes on. */
static void test_backend_full_ends_soon(void **state)
{
	unsigned long before;

	start(CAPS_UFFD, 16, 0);
	map(mm, B, 768, RW);
	write_all(mm, 768, 1);
	memswap.limit = 100;
	while (try_to_free_pages(64))
		;
	assert_int_equal(nr_used_frames(), 668);
	before = memswap.stores;
	assert_int_equal(try_to_free_pages(64), 0);
	assert_in_range(memswap.stores - before, 8, 8 * 16);
	mm_check_invariants();
	read_all(mm, 768, 1);
	assert_int_equal(mm_stats()->swap_cached, 100);
	assert_true(try_to_free_pages(64) >= 64); /* at the expense of the copies */
	assert_true(mm_stats()->swap_cached <= 36);
	memswap.limit = 0;
	assert_true(try_to_free_pages(768) > 600);
	read_all(mm, 768, 1);
	finish();
}

static void test_no_slots(void **state)
{
	engine_start(&(struct engine){ .caps = CAPS_UFFD, .frames = 128, .slots = 8, .anon_around = 16, .swapin_around = 16 });
	mm = mm_alloc();
	map(mm, B, N, RW);
	write_all(mm, N, 1);
	assert_int_equal(pageout(mm, B, N), 8);
	read_all(mm, N, 1);
	finish();
}

static void test_madv_free_and_willneed(void **state)
{
	start(CAPS_UFFD, 16, 0);
	write_all(mm, N, 1);
	pageout(mm, B, N / 2);
	mmap_read_lock(mm);
	zap_swap_range(mm, B + 16 * P, (N - 16) * P);
	assert_int_equal(swapin_range(mm, B, N * P), 16);
	mmap_read_unlock(mm);
	faults();
	for (int i = 0; i < N; i++)
		assert_int_equal(get(mm, B + i * P), i >= 16 && i < N / 2 ? 0 : i + 1);
	assert_true((faults() >> 32) == 0);
	finish();
}

/* No two free frames are neighbours: nobody is passed over. */
static void test_willneed_on_fragmented_frames(void **state)
{
	engine_start(&(struct engine){ .caps = CAPS_UFFD, .frames = 160, .anon_around = 1, .swapin_around = 32 });
	mm = mm_alloc();
	map(mm, B, 192, RW);
	write_all(mm, N, 1);
	pageout(mm, B, N);
	for (unsigned i = 64; i < 192; i++)
		put(mm, B + i * P, i);
	for (unsigned i = 64; i < 192; i += 2)
		dontneed(mm, B + i * P, 1);
	mmap_read_lock(mm);
	assert_int_equal(swapin_range(mm, B, N * P), N);
	mmap_read_unlock(mm);
	faults();
	read_all(mm, N, 1);
	assert_int_equal(faults(), 0);
	finish();
}

/* Looks at tables, not at every page of a range that has none. */
static void test_mark_range_used(void **state)
{
	start(CAPS_UFFD, 16, 0);
	write_all(mm, 5, 1); /* the fifth fault has brought 5..7 */
	assert_int_equal(residency(mm, B + 5 * P), MM_AROUND);
	mmap_read_lock(mm);
	mark_range_used(mm, B + 6 * P, 1UL << 45);
	mmap_read_unlock(mm);
	assert_int_equal(residency(mm, B + 5 * P), MM_AROUND);
	assert_int_equal(residency(mm, B + 6 * P), MM_PRESENT);
	assert_int_equal(residency(mm, B + 7 * P), MM_PRESENT);
	assert_int_equal(residency(mm, B + 8 * P), MM_NONE);
	finish();
}

/* ---- streams ------------------------------------------------------------------------------------------------------------------- */

static void test_streams(void **state)
{
	static const struct { int first, step; } way[] = { { 0, 1 }, { 255, -1 }, { 0, 3 } };

	for (unsigned w = 0; w < 3; w++) {
		unsigned n = way[w].step == 3 ? 80 : 256;
		uint64_t f;

		start(CAPS_UFFD, 16, 0);
		map(mm, B, 256, RW);
		for (unsigned i = 0; i < n; i++)
			put(mm, B + (way[w].first + (int)i * way[w].step) * (long)P, i);
		f = faults();
		if (way[w].step != 3) { /* 1, 1, 2, 4, 8, then sixteen at a time */
			assert_true(f <= MINOR(5 + 256 / 16));
			assert_int_equal(mm_stats()->anon_around_pages, 256 - f);
		}
		pageout(mm, B, 256);
		for (unsigned i = 0; i < n; i++)
			assert_int_equal(get(mm, B + (way[w].first + (int)i * way[w].step) * (long)P), i & 255);
		f = faults() >> 32;
		assert_true(f <= 6 + n / 16 + (way[w].step == 3 ? 4 : 0));
		assert_int_equal(mm_stats()->swapin_around_pages, n - f);
		finish();
	}
}

/* Three at once don't disturb each other; a random access gets one page. */
static void test_interleaved(void **state)
{
	uint64_t f;

	start(CAPS_UFFD, 16, 0);
	map(mm, B, 768, RW);
	for (int i = 0; i < 256; i++)
		for (int k = 0; k < 3; k++)
			put(mm, B + (k * 256 + i) * P, i + k);
	f = faults();
	assert_true(f <= 3 * (5 + 256 / 16));
	pageout(mm, B, 768);
	for (int i = 0; i < 256; i++)
		for (int k = 0; k < 3; k++)
			assert_int_equal(get(mm, B + (k * 256 + i) * P), (i + k) & 255);
	assert_true(faults() >> 32 <= 3 * (6 + 256 / 16));
	dontneed(mm, B, 768);
	for (int i = 0; i < 20; i++)
		put(mm, B + (i * 389 % 768) * P, 1);
	assert_int_equal(nr_used_frames(), 20);
	finish();
}

static bool after_one(void)
{
	static unsigned calls;

	return calls++ % 2;
}

/* Of those that were offered to the software machine the bytes are lost. */
static unsigned offered_frames(void)
{
	unsigned n = 0;

	for (unsigned long pfn = 0; pfn < fresh_frames(); pfn++)
		n += !(page_flags(pfn_to_page(pfn)) & PG_used) && *(uint8_t *)machine_frame(pfn) == 0x6b;
	return n;
}

/* Free frames are offered in turn, until it is enough; those on a stack, which are used next, are not. */
static void test_offered_in_turn(void **state)
{
	unsigned stacks = 0, before;

	start(CAPS_UFFD, 1, 0);
	map(mm, B + N * P, 256 - N, RW);
	write_all(mm, 256, 1);
	for (int i = 1; i < 256; i += 2)
		dontneed(mm, B + i * P, 1);
	for_each_cpu(cpu)
		stacks += mm_cpus[cpu].nr_hot;
	for (unsigned long pfn = 0; pfn < fresh_frames(); pfn++)
		if (!(page_flags(pfn_to_page(pfn)) & PG_used))
			memset(machine_frame(pfn), 1, P);
	for (unsigned i = 0; i < fresh_frames() / 2; i++)
		mm_offer_free_frames(after_one);
	before = offered_frames();
	assert_in_range(before, 1, 127 - stacks);
	for (unsigned i = 0; i < fresh_frames() / 2; i++)
		mm_offer_free_frames(after_one);
	assert_int_equal(offered_frames(), fresh_frames() - nr_used_frames() - stacks);
	assert_true(offered_frames() > before);
	finish();
}

static void test_no_around_where_told(void **state)
{
	start(CAPS_UFFD, 16, 0);
	protect(mm, B, N, VM_NOFAULTAROUND, 0);
	for (int i = 0; i < 32; i++)
		put(mm, B + i * P, 1);
	assert_int_equal(faults(), MINOR(32));
	assert_int_equal(residency(mm, B + 32 * P), MM_NONE);
	finish();
}

/* As a pager does: some frames are free before every fault. */
static void touch_paged(unsigned page, bool write)
{
	while (nr_free_frames() < 64 && try_to_free_pages(64))
		;
	if (write)
		put(mm, B + page * P, page);
	else
		assert_int_equal(get(mm, B + page * P), page & 255);
}

/* Random faults leave no two free frames side by side. A walk still gets whole windows, put together from pieces,
 * both for pages in swap and for new ones, up and down. */
static void test_streams_on_fragmented_frames(void **state)
{
	uint64_t f;
	uint32_t x = 1;

	/* So many frames that the 64 of the pager are below the watermark for neighbours. */
	engine_start(&(struct engine){ .caps = CAPS_UFFD, .frames = 2560, .limit = 2048, .slots = 16384,
				      .anon_around = 32, .swapin_around = 32 });
	mm = mm_alloc();
	map(mm, B, 12288, RW);
	for (unsigned i = 0; i < 8192; i++)
		touch_paged(i, true);
	for (int pass = 0; pass < 4; pass++) {
		for (unsigned i = 0; i < 4096; i++)
			touch_paged((x = x * 1103515245 + 12345) >> 11 & 8191, false);
		faults();
		for (unsigned i = 0; i < 4096; i++)
			touch_paged(pass & 1 ? 4095 - i : pass & 2 ? 8192 + i : i, pass & 2);
		f = faults();
		assert_true((f & 0xffffffff) + (f >> 32) <= 2 * 4096 / 32);
		if (pass == 2)
			dontneed(mm, B + 8192 * P, 4096);
	}
	finish();
}

/* Pages that stand already cut no window, and a walk goes on behind them. */
static void test_streams_over_standing_pages(void **state)
{
	start(CAPS_UFFD, 16, 0);
	map(mm, B, 1024, RW);
	for (unsigned i = 0; i < 512; i += 10)
		put(mm, B + i * P, i);
	for (unsigned i = 560; i < 600; i++) /* more than two windows */
		put(mm, B + i * P, i);
	faults();
	for (unsigned i = 0; i < 1024; i++)
		put(mm, B + i * P, i);
	assert_true(faults() <= 6 + 1024 / 16);
	pageout(mm, B, 1024);
	for (unsigned i = 0; i < 512; i += 70)
		assert_int_equal(get(mm, B + i * P), i & 255);
	faults();
	for (unsigned i = 0; i < 1024; i++)
		assert_int_equal(get(mm, B + i * P), i & 255);
	assert_true(faults() >> 32 <= 6 + 1024 / 16);
	finish();
}

/* A walk goes on in the next mapping, and over the end of a page table. */
static void test_streams_over_ends(void **state)
{
	start(CAPS_UFFD, 16, 0);
	for (unsigned i = 0; i < 32; i++) /* 31 pages each, in turn of different rights */
		map(mm, B + (500 + i * 31) * P, 31, i & 1 ? RW : RW | VM_EXEC);
	for (unsigned i = 0; i < 31 * 32 - 1; i++)
		put(mm, B + (500 + i) * P, i);
	assert_true(faults() <= 6 + 31 * 32 / 16 + 32 + 2);
	finish();
}

/* The program has said that it will walk: the first fault brings a window. */
static void test_sequential_advice(void **state)
{
	start(CAPS_UFFD, 16, 0);
	protect(mm, B, N, VM_SEQ_READ, 0);
	write_all(mm, N, 1);
	assert_int_equal(faults(), MINOR(N / 16));
	pageout(mm, B, N);
	read_all(mm, N, 1);
	assert_int_equal(faults(), MAJOR(N / 16));
	finish();
}

/* ---- fork ------------------------------------------------------------------------------------------------------------------------- */

static void fork_rows(enum reuse_rule rule)
{
	struct mm_struct *child;

	start(CAPS_X86, 1, 0);
	mm_reuse_rule = rule;
	write_all(mm, N, 1);
	child = fork_mm(mm);
	faults();
	read_all(child, N, 1);
	assert_int_equal(faults(), 0); /* row 13 */
	write_all(child, N, 50);
	assert_int_equal(faults(), MINOR(N));
	assert_int_equal(mm_stats()->cow_copy, N);
	read_all(mm, N, 1);
	mmput(child);
	write_all(mm, N, 2); /* alone again: no copy */
	assert_int_equal(faults(), MINOR(N));
	assert_int_equal(mm_stats()->cow_reuse, N);
	write_all(mm, N, 3);
	assert_int_equal(faults(), 0);
	finish();
}

static void test_fork(void **state)
{
	fork_rows(REUSE_5_4);
	fork_rows(REUSE_5_15);
	fork_rows(REUSE_6);
}

/* Rows 14 and 16, and what the flags say. */
static void test_fork_more(void **state)
{
	struct mm_struct *child;
	uint8_t v;

	start(CAPS_X86, 1, 0);
	write_all(mm, 8, 1);
	assert_int_equal(get(mm, B + 8 * P), 0); /* a zero page */
	map(mm, B + 20 * P, 2, RW | VM_DONTCOPY);
	map(mm, B + 30 * P, 2, RW | VM_WIPEONFORK);
	put(mm, B + 20 * P, 1);
	put(mm, B + 30 * P, 1);
	child = fork_mm(mm);
	faults();
	assert_int_equal(get(child, B + 8 * P), 0);
	assert_int_equal(faults(), 0);
	assert_int_equal(soft_load(child, B + 20 * P, &v), VM_FAULT_BADMAP);
	assert_int_equal(get(child, B + 30 * P), 0);
	faults();
	write_all(mm, 8, 100);
	write_all(child, 8, 200);
	assert_int_equal(faults(), MINOR(16));
	read_all(mm, 8, 100);
	read_all(child, 8, 200);
	assert_int_equal(mm_stats()->cow_copy + mm_stats()->cow_reuse, 16);
	mmput(child);
	finish();
}

/* Row 19's core: swapped, forked, read by both: one reads, the other finds the page in the swap cache. */
static void test_fork_swapped(void **state)
{
	struct mm_struct *child;

	start(CAPS_X86, 1, 0);
	write_all(mm, N, 1);
	pageout(mm, B, N);
	child = fork_mm(mm);
	faults();
	read_all(child, N, 1); /* 5 pages, and then windows of 8 */
	assert_int_equal(faults(), MAJOR(1 + (N - 5 + 7) / 8) + MINOR(N - 1 - (N - 5 + 7) / 8));
	read_all(mm, N, 1);
	assert_int_equal(faults(), MINOR(N));
	assert_int_equal(nr_used_frames(), N);
	write_all(mm, N, 9);
	read_all(child, N, 1);
	/* A page that two map is spared by MADV_PAGEOUT, but for 5.4, where it leaves from both. */
	read_all(mm, N, 9);
	mmput(child);
	child = fork_mm(mm);
	assert_int_equal(pageout(child, B, N), 0);
	mm_reuse_rule = REUSE_5_4;
	assert_int_equal(pageout(child, B, N), N);
	assert_int_equal(residency(mm, B), MM_SWAPPED);
	read_all(mm, N, 9);
	read_all(child, N, 9);
	mmput(child);
	finish();
}

/* ---- rights, taken away and given back ------------------------------------------------------------------------------------------ */

static void away_and_back(void)
{
	assert_int_equal(protect(mm, B, 8, 0, VM_WRITE), 0);
	mm_check_invariants();
	assert_int_equal(protect(mm, B, 8, VM_WRITE, 0), 0);
	mm_check_invariants();
	faults();
}

/* Row 21, and what a fork changes about it. 6.x: only a store finds out that the pages are alone again. */
static void mprotect_rows(enum reuse_rule rule)
{
	start(CAPS_X86, 1, 0);
	mm_reuse_rule = rule;
	write_all(mm, 8, 1);
	away_and_back();
	write_all(mm, 8, 2);
	assert_int_equal(faults(), 0);
	mmput(fork_mm(mm));
	away_and_back();
	write_all(mm, 8, 3);
	assert_int_equal(faults(), MINOR(rule == REUSE_6 ? 8 : 0));
	assert_int_equal(mm_stats()->cow_copy, 0);
	away_and_back();
	write_all(mm, 8, 4);
	assert_int_equal(faults(), 0);
	finish();
}

static void test_mprotect(void **state)
{
	mprotect_rows(REUSE_5_4);
	mprotect_rows(REUSE_5_15);
	mprotect_rows(REUSE_6);
}

/* 6.x: that a page is nobody else's outlives its time in swap, unless a fork came in between. */
static void test_mprotect_swapped(void **state)
{
	struct mm_struct *child;

	start(CAPS_X86, 1, 0);
	mm_reuse_rule = REUSE_6;
	write_all(mm, 8, 1);
	pageout(mm, B, 8);
	assert_int_equal(protect(mm, B, 8, 0, VM_WRITE), 0);
	read_all(mm, 8, 1);
	away_and_back();
	write_all(mm, 8, 2);
	assert_int_equal(faults(), 0);

	pageout(mm, B, 8);
	child = fork_mm(mm);
	mm_check_invariants();
	read_all(mm, 8, 2);
	mmput(child);
	away_and_back();
	write_all(mm, 8, 3);
	assert_int_equal(faults(), MINOR(8));
	assert_int_equal(mm_stats()->cow_reuse, 8);
	finish();
}

/* 5.15: who has a reference may be reclaim, storing the bytes of a page that was shared a moment ago: no store may get by. */
static void test_mprotect_held(void **state)
{
	struct page *page;

	start(CAPS_X86, 1, 0);
	put(mm, B, 1);
	page = pfn_to_page(pte_pfn(ptep_get(pte_offset(pte_table(mm, B), B))));
	get_page(page);
	protect(mm, B, 1, 0, VM_WRITE);
	protect(mm, B, 1, VM_WRITE, 0);
	faults();
	put(mm, B, 2);
	assert_int_equal(faults(), MINOR(1));
	assert_int_equal(mm_stats()->cow_copy, 1);
	assert_int_equal(*(uint8_t *)machine_frame(page_to_pfn(page)), 1);
	put_page(page);
	finish();
}

/* ---- reclaim -------------------------------------------------------------------------------------------------------------------- */

static void test_limit(void **state)
{
	start(CAPS_UFFD, 16, 128);
	map(mm, B, 1024, RW);
	for (int r = 0; r < 2; r++)
		for (unsigned i = 0; i < 1024; i++)
			put(mm, B + i * P + r, i + r);
	assert_true(nr_used_frames() <= 128 && mm_stats()->frames_peak <= 128);
	for (unsigned i = 0; i < 1024; i++)
		assert_int_equal(get(mm, B + i * P + 1), (i + 1) & 255);
	mm_set_frame_limit(40); /* the next allocation makes room */
	put(mm, B + 2000 * 0, 1);
	assert_int_equal(get(mm, B + 500 * P), 500 & 255);
	assert_true(nr_used_frames() <= 40);
	finish();
}

static void test_stuck(void **state)
{
	start(CAPS_UFFD, 1, 0);
	write_all(mm, N, 1);
	soft_pin(mm, B, N * P, true);
	assert_int_equal(try_to_free_pages(10), 0);
	assert_true(mm_stats()->stuck > 0);
	assert_int_equal(nr_unevictable(), N);
	assert_int_equal(mm_stats()->swap_slots_used, 0);
	mm_check_invariants();
	faults();
	read_all(mm, N, 1);
	assert_int_equal(faults(), 0); /* they have never left */
	soft_pin(mm, B, N * P, false);
	assert_true(try_to_free_pages(N) >= N);
	assert_int_equal(nr_unevictable(), 0);
	read_all(mm, N, 1);
	finish();
}

static void test_gone(void **state)
{
	start(CAPS_UFFD, 1, 0);
	write_all(mm, 16, 1);
	soft_lose(mm, B + 5 * P);
	assert_int_equal(pageout(mm, B, 16), 16);
	assert_int_equal(mm_stats()->gone, 1);
	assert_int_equal(residency(mm, B + 5 * P), MM_NONE);
	assert_int_equal(get(mm, B + 5 * P), 0);
	assert_int_equal(get(mm, B + 6 * P), 7);
	/* Found by a fault: only if the machine agrees. */
	mmap_read_lock(mm);
	forget_page(mm, B + 6 * P);
	mmap_read_unlock(mm);
	assert_int_equal(get(mm, B + 6 * P), 7);
	soft_lose(mm, B + 6 * P);
	mmap_read_lock(mm);
	forget_page(mm, B + 6 * P);
	mmap_read_unlock(mm);
	assert_int_equal(residency(mm, B + 6 * P), MM_NONE);
	finish();
}

static int status_of_child(void (*fn)(void))
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		if (!freopen("/dev/null", "w", stderr))
			_exit(1);
		fn();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void evict_into_full(void)
{
	pageout(mm, B, 1);
}

/* A page that can't be stored goes back to its address. Only -ENOENT and -EEXIST say that it isn't wanted there any
 * more. */
static void test_map_back(void **state)
{
	static const int passes[] = { -ENOMEM, -EAGAIN, 0 }, gone[] = { -ENOENT, -EEXIST };

	start(CAPS_UFFD, 1, 0);
	memswap.limit = 1;
	write_all(mm, 3, 7);
	assert_int_equal(pageout(mm, B + 2 * P, 1), 1);
	for (unsigned i = 0; i < 3; i++) {
		soft_fail_map(20, passes[i]);
		evict_into_full();
		assert_int_equal(mm_stats()->gone, 0);
		assert_int_equal(get(mm, B), 7);
		/* The same where a fault suspects that the host has lost the page. */
		soft_fail_map(20, passes[i]);
		mmap_read_lock(mm);
		forget_page(mm, B);
		mmap_read_unlock(mm);
		assert_int_equal(get(mm, B), 7);
		soft_fail_map(1u << 31, passes[i]); /* for ever: rather stop than go on with zeros */
		assert_true(WIFSIGNALED(status_of_child(evict_into_full)));
		soft_fail_map(0, 0);
	}
	for (unsigned i = 0; i < 2; i++) {
		soft_fail_map(1, gone[i]);
		pageout(mm, B + i * P, 1);
		assert_int_equal(mm_stats()->gone, i + 1);
		assert_int_equal(residency(mm, B + i * P), MM_NONE);
	}
	finish();
}

static void test_locked(void **state)
{
	start(CAPS_UFFD, 16, 0);
	write_all(mm, 8, 1);
	protect(mm, B, N, VM_LOCKED, 0);
	put(mm, B + 9 * P, 10);
	assert_int_equal(nr_unevictable(), 9);
	assert_int_equal(try_to_free_pages(5), 0);
	assert_int_equal(pageout(mm, B, N), 0);
	protect(mm, B, N, 0, VM_LOCKED);
	assert_int_equal(nr_unevictable(), 0);
	assert_true(try_to_free_pages(9) >= 9);
	finish();
}

static void test_quiet(void **state)
{
	start(CAPS_UFFD, 1, 64);
	map(mm, B, 1024, RW);
	for (unsigned i = 0; i < 64; i++)
		put(mm, B + i * P, 1);
	mm_quiet(true);
	assert_int_equal(try_to_free_pages(10), 0);
	for (unsigned i = 64; i < 64 + 68; i++) /* the reserve: 64 and a sixteenth */
		put(mm, B + i * P, 1);
	assert_int_equal(soft_store(mm, B + 200 * P, 1), VM_FAULT_OOM);
	mm_quiet(false);
	put(mm, B + 200 * P, 1);
	assert_true(nr_used_frames() <= 64);
	finish();
}

static void test_adopt(void **state)
{
	start(CAPS_UFFD, 1, 0);
	put(mm, B, 1);
	mmap_read_lock(mm);
	assert_int_equal(adopt_page(mm, B), -EEXIST);
	assert_int_equal(adopt_page(mm, B + P), 0);
	assert_int_equal(adopt_page(mm, B - P), -EFAULT);
	mmap_read_unlock(mm);
	assert_int_equal(residency(mm, B + P), MM_PRESENT);
	put(mm, B + P, 3);
	assert_int_equal(pageout(mm, B, 2), 2);
	assert_int_equal(get(mm, B + P), 3);
	finish();
}

static void test_host_fork(void **state)
{
	start(CAPS_UFFD, 1, 0);
	write_all(mm, 8, 1);
	protect(mm, B + 2 * P, 2, VM_DONTCOPY, 0);
	protect(mm, B + 4 * P, 2, VM_WIPEONFORK, 0);
	protect(mm, B + 6 * P, 2, VM_LOCKED, 0);
	pageout(mm, B, 1);
	mm_after_host_fork(mm);
	mm_check_invariants();
	assert_string_equal(drawing(mm, B, 10), "AA..BBCCCC");
	assert_int_equal(nr_unevictable(), 0);
	assert_int_equal(get(mm, B), 1);
	assert_int_equal(get(mm, B + 4 * P), 0);
	assert_int_equal(get(mm, B + 6 * P), 7);
	finish();
}

/* ---- no memory for tables --------------------------------------------------------------------------------------------------------- */

/* All that needs memory, in one run whose n-th allocation fails. => true: it had that many */
static bool run_with_failure(unsigned caps, unsigned long nth)
{
	struct mm_struct *m, *child;
	bool failed = false;
	uint8_t v;

	engine_start(&(struct engine){ .caps = caps, .anon_around = 16, .swapin_around = 16 });
	soft_fail_alloc(nth);
	m = mm_alloc();
	if (!m) {
		soft_fail_alloc(0);
		return true;
	}
	mmap_write_lock(m);
	failed |= mmap_region(m, B, 64 * P, RW) != 0;
	mmap_write_unlock(m);
	for (int i = 0; i < 64; i++)
		failed |= soft_store(m, B + i * P, i) != 0;
	failed |= protect(m, B + 10 * P, 10, 0, VM_WRITE) != 0;
	pageout(m, B + 5 * P, 10);
	child = fork_mm(m);
	failed |= !child;
	if (child)
		failed |= soft_store(child, B + P, 99) != 0;
	mmap_write_lock(m);
	failed |= move_vma(m, B + 4 * P, 20 * P, B + 2048 * P, 30 * P, false) != 0;
	failed |= do_munmap(m, B + 30 * P, 4 * P) != 0;
	mmap_write_unlock(m);
	soft_fail_alloc(0);
	mm_check_invariants();
	/* What succeeded is right, what failed has left the old. */
	for (int i = 0; i < 4; i++)
		if (!soft_load(m, B + i * P, &v) && !failed)
			assert_int_equal(v, i);
	if (child)
		mmput(child);
	mmput(m);
	mm_check_invariants();
	assert_int_equal(nr_used_frames(), 0);
	assert_int_equal(mm_stats()->page_tables, 0);
	assert_int_equal(vma_cache.in_use + avc_cache.in_use + anon_vma_cache.in_use + mm_cache.in_use + ptdesc_cache.in_use, 0);
	return failed;
}

static void test_no_memory(void **state)
{
	static const unsigned caps[] = { CAPS_X86, CAPS_UFFD };

	for (unsigned c = 0; c < 2; c++) {
		unsigned long n = 1;

		while (run_with_failure(caps[c], n))
			n++;
		assert_true(n > 30);
	}
	engine_stop();
}

int main(void)
{
#define T(f) cmocka_unit_test(f)
	const struct CMUnitTest tests[] = {
		T(test_row1_zero_page), T(test_rows_2_3), T(test_errors), T(test_arm_old), T(test_arm_dirty), T(test_row18_swap),
		T(test_clean_eviction), T(test_useless_copies), T(test_copies_cost_frames), T(test_scattered_frames_suffice), T(test_damaged), T(test_backend_full), T(test_backend_full_ends_soon), T(test_no_slots), T(test_madv_free_and_willneed),
		T(test_willneed_on_fragmented_frames), T(test_mark_range_used),
		T(test_streams), T(test_interleaved), T(test_offered_in_turn), T(test_no_around_where_told), T(test_streams_on_fragmented_frames),
		T(test_streams_over_standing_pages), T(test_streams_over_ends), T(test_sequential_advice), T(test_fork), T(test_fork_more), T(test_fork_swapped),
		T(test_mprotect), T(test_mprotect_swapped), T(test_mprotect_held),
		T(test_limit), T(test_stuck), T(test_gone), T(test_map_back), T(test_locked), T(test_quiet), T(test_adopt), T(test_host_fork), T(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
