/* SPDX-License-Identifier: MIT
 *
 * Refault shadows (fault-paths.md 4.3; mm/workingset.h): who leaves one, what the distance decides, how reclaim is pressed, and where shadows go.
 */
#include "tests/unit/engine_disk.h"

#include "mm/page_tree.h"
#include "mm/policy.h"

#define A 0x40000000UL /* anonymous */
#define ACTIVE_OF(page) (page_flags(page) & PG_active)

static unsigned long stat(const atomic_ulong *n)
{
	return atomic_load((atomic_ulong *)n);
}

static void *item_at(unsigned long pgoff)
{
	return page_tree_load(&mapping->i_pages, pgoff);
}

static const struct swap_slot *slot_at(unsigned long addr)
{
	return &swap_map[pte_to_swp_entry(entry(mm, addr)).val];
}

static struct page *page_at(unsigned long addr)
{
	return pfn_to_page(pte_pfn(entry(mm, addr)));
}

/* One page of the file, alone. */
static void touch(unsigned long pgoff)
{
	assert_int_equal(get(mm, B + pgoff * P), byte_of(pgoff));
	mm_check_invariants();
}

static void evict(unsigned long addr)
{
	assert_int_equal(pageout(mm, addr, 1), 1);
	mm_check_invariants();
}

static void start_files(unsigned long pages, const struct engine *e)
{
	start_engine(e, pages, 0, &disk_ops);
	mm_fault_around = 1;
	address_space_set_readahead(mapping, 0);
	map_file(mm, B, pages, RO, 0);
}

#define X86(...) (&(struct engine){ .caps = CAPS_X86, .slots = 4096, ##__VA_ARGS__ })

/* ---- the decisions alone -------------------------------------------------------------------------------------------------------- */

static void test_workingset_size(void **state)
{
	static const unsigned long size[] = { [LRU_INACTIVE_ANON] = 1, [LRU_ACTIVE_ANON] = 10, [LRU_INACTIVE_FILE] = 100, [LRU_ACTIVE_FILE] = 1000 };
	static const struct { bool file, swap, old; unsigned long want; } rows[] = {
		{ true, true, false, 1011 }, { true, false, false, 1000 },
		{ false, true, false, 1110 }, { false, false, false, 1100 },
		{ true, true, true, 1000 }, { true, false, true, 1000 },
	};

	for (unsigned r = 0; r < sizeof(rows) / sizeof(rows[0]); r++)
		assert_int_equal(policy_workingset_size(size, rows[r].file, rows[r].swap, rows[r].old), rows[r].want);
}

static void test_pressure(void **state)
{
	static const struct { unsigned long cost[2], want[2]; } rows[] = {
		{ { 0, 0 }, { 60, 140 } },           /* swappiness */
		{ { 10, 10 }, { 118, 275 } },        /* both cost the same: 3 to 7 as well */
		{ { 1000000, 0 }, { 90, 420 } },     /* anonymous pages come back: a third of the pressure, before swappiness */
		{ { 0, 1000000 }, { 180, 210 } },    /* those of files do */
	};

	for (unsigned r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
		unsigned long pressure[2];

		policy_pressure(rows[r].cost, pressure);
		for (int i = 0; i < 2; i++)
			assert_in_range(pressure[i], rows[r].want[i] - rows[r].want[i] / 40, rows[r].want[i] + rows[r].want[i] / 40);
	}
}

static void test_take_file(void **state)
{
	static const unsigned long even[2] = { 100, 100 }, files[2] = { 100, 300 };
	unsigned long seen[2] = { 0, 0 };

	assert_false(policy_take_file(seen, 5, 0, even));
	assert_true(policy_take_file(seen, 0, 5, even));
	for (int i = 0; i < 400; i++)
		seen[policy_take_file(seen, 50, 50, files)]++;
	assert_in_range(seen[1], 299, 301);
	seen[0] = seen[1] = 0;
	for (int i = 0; i < 400; i++)
		seen[policy_take_file(seen, 300, 100, even)]++;
	assert_in_range(seen[1], 99, 101);
}

/* ---- who leaves a shadow ---------------------------------------------------------------------------------------------------------- */

static void test_who_leaves_shadows(void **state)
{
	static const struct { const char *kernel; unsigned rules, caps; bool file, anon; } rows[] = {
		{ "5", 0, CAPS_X86, true, true }, { "5", MM_REUSE_6, CAPS_X86, true, true }, { "5", MM_REUSE_5_4, CAPS_X86, true, false },
		{ "5", 0, CAPS_ARM, true, true },
		{ "2.6", 0, CAPS_2_6, false, false }, { "2.0", MM_2_0_PAGE_CACHE, CAPS_2_6, false, false },
	};

	for (unsigned r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
		start_files(8, &(struct engine){ .caps = rows[r].caps, .frames = 512, .kernel = rows[r].kernel, .rules = rows[r].rules });
		map(mm, A, 1, RW);
		put(mm, A, 5);
		touch(2);
		for (int i = 0; i < 9 && filemap_cached(mapping, 2); i++) /* 2.0: it ages first */
			try_to_free_pages(8);
		if (pte_present(entry(mm, A)))
			pageout(mm, A, 1);
		mm_check_invariants();
		assert_false(filemap_cached(mapping, 2));
		assert_int_equal(item_is_shadow(item_at(2)), rows[r].file);
		assert_int_equal(stat(&workingset.nr_shadows), rows[r].file);
		if (is_swap_pte(entry(mm, A)))
			assert_int_equal(slot_at(A)->flags, SLOT_USED | (rows[r].anon ? SLOT_SHADOW : 0));
		assert_int_equal(get(mm, A), 5);
		touch(2);
		assert_int_equal(stat(&workingset.refault[1]), rows[r].file);
		assert_int_equal(stat(&workingset.refault[0]), rows[r].anon);
		finish();
	}
}

static bool is_active(unsigned long addr)
{
	return page_flags(pfn_to_page(pte_pfn(entry(mm, addr)))) & PG_active;
}

/* On a machine that tells of no use, a page that is back before all that is resident has gone once is active; and nothing is thrashed, for no page is
 * known to have been active by right. */
static void test_distance_where_nothing_tells_of_a_use(void **state)
{
	engine_start(&(struct engine){ .caps = CAPS_UFFD, .frames = 64 });
	mm = mm_alloc();
	map(mm, A, 20, RW);
	for (unsigned i = 0; i < 20; i++)
		put(mm, A + i * P, i);
	assert_int_equal(pageout(mm, A, 10), 10);
	assert_int_equal(slot_at(A)->flags, SLOT_USED | SLOT_SHADOW);
	assert_int_equal(get(mm, A), 0); /* 10 have gone since, 10 and itself are here */
	assert_true(is_active(A));
	assert_int_equal(pageout(mm, A, 20), 11);
	assert_int_equal(get(mm, A + 9 * P), 9);
	assert_false(is_active(A + 9 * P));
	assert_int_equal(stat(&workingset.refault[0]), 2);
	assert_int_equal(stat(&workingset.activate[0]), 1);
	assert_int_equal(stat(&workingset.restore[0]), 0);
	mm_check_invariants();
	mmput(mm);
	engine_stop();
}

/* Only reclaim leaves them: who throws pages away doesn't want them back. */
static void test_who_comes_back_again_and_again_stays_longer(void **state)
{
	const unsigned flags = PG_active | PG_workingset | PG_referenced;

	engine_start(&(struct engine){ .caps = CAPS_UFFD, .frames = 64 });
	mm = mm_alloc();
	map(mm, A, 20, RW);
	for (unsigned i = 0; i < 20; i++)
		put(mm, A + i * P, i);
	evict(A);
	get(mm, A);
	assert_int_equal(page_flags(page_at(A)) & flags, PG_active | PG_workingset);
	shrink_active_tail(LRU_ACTIVE_ANON);
	assert_int_equal(page_flags(page_at(A)) & flags, PG_workingset); /* one more round only */
	evict(A);
	assert_int_equal(get(mm, A), 0);
	assert_int_equal(page_flags(page_at(A)) & flags, flags);
	shrink_active_tail(LRU_ACTIVE_ANON);
	assert_int_equal(page_flags(page_at(A)) & flags, PG_active | PG_workingset); /* two */
	shrink_active_tail(LRU_ACTIVE_ANON);
	assert_int_equal(page_flags(page_at(A)) & flags, PG_workingset);
	assert_int_equal(stat(&workingset.restore[0]), 1);
	assert_int_equal(stat(&workingset.cost[0]), 0); /* nobody's mistake */
	/* Away for long: all begins anew. */
	evict(A);
	assert_int_equal(pageout(mm, A, 20), 19);
	get(mm, A);
	assert_int_equal(page_flags(page_at(A)) & flags, 0);
	evict(A);
	get(mm, A);
	assert_int_equal(page_flags(page_at(A)) & flags, PG_active | PG_workingset);
	mm_check_invariants();
	mmput(mm);
	engine_stop();
}

static void test_invalidated_pages_leave_none(void **state)
{
	start_files(4, X86());
	touch(1);
	dontneed(mm, B, 4);
	assert_int_equal(invalidate_mapping_pages(mapping, 0, 4), 1);
	assert_null(item_at(1));
	touch(1);
	assert_int_equal(stat(&workingset.refault[1]), 0);
	finish();
}

/* ---- what the distance decides --------------------------------------------------------------------------------------------------------- */

/* Page 0 goes, `others` go, it comes back; 10 anonymous pages are in memory, which could have gone instead if there was swap. */
static void test_distance_of_a_file_page(void **state)
{
	static const struct { unsigned others; bool swap, active; } rows[] = {
		{ 0, true, true }, { 9, true, true }, { 10, true, false }, { 40, true, false }, { 0, false, false },
	};

	for (unsigned r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
		struct page *page;
		unsigned long slots;

		start_files(64, X86());
		slots = nr_swap_slots;
		nr_swap_slots = rows[r].swap ? slots : 0;
		map(mm, A, 10, RW);
		for (unsigned i = 0; i < 10; i++)
			put(mm, A + i * P, 1);
		touch(0);
		evict(B);
		for (unsigned i = 1; i <= rows[r].others; i++) {
			touch(i);
			evict(B + i * P);
		}
		assert_true(item_is_shadow(item_at(0)));
		assert_int_equal(shadow_age(item_shadow(item_at(0))), rows[r].others + 1);
		touch(0);
		page = page_at(B);
		assert_int_equal(!!ACTIVE_OF(page), rows[r].active);
		assert_int_equal(stat(&workingset.refault[1]), 1);
		assert_int_equal(stat(&workingset.activate[1]), rows[r].active);
		assert_int_equal(stat(&workingset.restore[1]), 0);
		assert_int_equal(stat(&workingset.nr_shadows), rows[r].others);
		nr_swap_slots = slots;
		finish();
	}
}

/* An anonymous page competes with the pages of files, and with active ones of its kind. */
static void test_distance_of_an_anonymous_page(void **state)
{
	static const struct { unsigned files, active_anon, others; bool active; } rows[] = {
		{ 0, 0, 0, false }, { 1, 0, 0, true }, { 5, 0, 4, true }, { 5, 0, 5, false }, { 0, 3, 2, true }, { 0, 3, 3, false },
	};

	for (unsigned r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
		start_files(64, X86());
		map(mm, A, 40, RW);
		for (unsigned i = 0; i < 40; i++)
			put(mm, A + i * P, (uint8_t)i);
		lru_drain_all();
		for (unsigned i = 0; i < rows[r].files; i++)
			touch(i);
		for (unsigned i = 0; i < rows[r].active_anon; i++)
			activate_page(page_at(A + (39 - i) * P));
		for (unsigned i = 0; i <= rows[r].others; i++)
			evict(A + i * P);
		assert_int_equal(slot_at(A)->flags, SLOT_USED | SLOT_SHADOW);
		assert_int_equal(get(mm, A), 0);
		mm_check_invariants();
		assert_int_equal(!!ACTIVE_OF(page_at(A)), rows[r].active);
		assert_int_equal(stat(&workingset.activate[0]), rows[r].active);
		finish();
	}
}

/* So does shared anonymous memory. */
static void test_shared_anonymous_memory(void **state)
{
	start_files(4, X86());
	map_shared_anon(mm, A, 2);
	put(mm, A, 9);
	touch(0);
	evict(A);
	assert_int_equal(get(mm, A), 9);
	assert_int_equal(stat(&workingset.activate[0]), 1);
	assert_int_equal(page_flags(page_at(A)) & (PG_active | PG_lru | PG_swapbacked), PG_active | PG_lru | PG_swapbacked);
	finish();
}

/* 5.4 knows active pages of files and nothing else. */
static void test_distance_5_4(void **state)
{
	for (unsigned active = 0; active < 2; active++) {
		start_files(8, X86(.rules = MM_REUSE_5_4));
		map(mm, A, 10, RW);
		for (unsigned i = 0; i < 10; i++)
			put(mm, A + i * P, 1);
		touch(0);
		touch(1);
		if (active)
			activate_page(page_at(B + P));
		evict(B);
		touch(0);
		assert_int_equal(!!ACTIVE_OF(page_at(B)), active);
		set_page_flags(page_at(B), PG_workingset);
		evict(B);
		touch(0);
		assert_int_equal(stat(&workingset.restore[1]), active);
		assert_int_equal(stat(&workingset.cost[1]), 0); /* pressure by costs came with 5.9 */
		finish();
	}
}

/* What becomes active, or stays so, is older news too: the clock goes on. */
static void test_clock(void **state)
{
	struct page *page;

	start_files(4, X86());
	touch(0);
	page = page_at(B);
	assert_int_equal(stat(&workingset.nonresident_age), 1); /* as at the start */
	mark_page_accessed(page);
	assert_int_equal(stat(&workingset.nonresident_age), 1);
	mark_page_accessed(page);
	assert_true(ACTIVE_OF(page));
	assert_int_equal(stat(&workingset.nonresident_age), 2);
	touch(1);
	evict(B + P);
	assert_int_equal(stat(&workingset.nonresident_age), 3);
	touch(1); /* comes back, competes with one active page, and becomes active */
	assert_true(ACTIVE_OF(page_at(B + P)));
	assert_int_equal(stat(&workingset.nonresident_age), 4);
	finish();
}

/* ---- thrashing ---------------------------------------------------------------------------------------------------------------------------- */

/* A page that had been active comes back: its kind is dearer to take from now on. */
static void test_restore(void **state)
{
	for (int file = 0; file < 2; file++) {
		unsigned long addr = file ? B : A, pressure[2];

		start_files(8, X86());
		map(mm, A, 8, RW);
		for (unsigned i = 0; i < 4; i++) {
			put(mm, A + i * P, 1);
			touch(i);
		}
		activate_page(page_at(addr));
		shrink_active_tail(file ? LRU_ACTIVE_FILE : LRU_ACTIVE_ANON);
		assert_int_equal(page_flags(page_at(addr)) & (PG_active | PG_workingset), PG_workingset);
		evict(addr);
		assert_int_equal(stat(&workingset.cost[file]), 0);
		get(mm, addr);
		mm_check_invariants();
		assert_int_equal(page_flags(page_at(addr)) & (PG_active | PG_workingset), PG_active | PG_workingset);
		assert_int_equal(stat(&workingset.restore[file]), 1);
		assert_int_equal(stat(&workingset.cost[file]), 1);
		assert_int_equal(stat(&workingset.cost[!file]), 0);
		workingset_pressure(pressure);
		assert_true(file ? pressure[1] * 60 < pressure[0] * 140 : pressure[1] * 60 > pressure[0] * 140);
		finish();
	}
}

/* Old costs fade: what both come to stays below a quarter of the pages. */
static void test_costs_fade(void **state)
{
	start_files(16, X86());
	for (unsigned i = 0; i < 16; i++)
		touch(i);
	for (unsigned turn = 0; turn < 20; turn++) {
		activate_page(page_at(B));
		shrink_active_tail(LRU_ACTIVE_FILE);
		activate_page(page_at(B + P)); /* to compete with */
		evict(B);
		touch(0);
		assert_in_range(stat(&workingset.cost[1]), 1, 4);
	}
	assert_int_equal(stat(&workingset.restore[1]), 20);
	finish();
}

/* Pages that are in use come back active, and then stay while a stream goes by that is larger than memory. */
static void test_working_set_survives_a_stream(void **state)
{
	unsigned long before;

	start_files(600, X86(.limit = 128));
	for (unsigned turn = 0; turn < 12; turn++) {
		for (unsigned i = 0; i < 20; i++)
			touch(i);
		for (unsigned i = 0; i < 40; i++)
			touch(40 + (turn * 40 + i) % 500);
	}
	before = disk.read;
	for (unsigned turn = 0; turn < 4; turn++) {
		for (unsigned i = 0; i < 20; i++)
			touch(i);
		for (unsigned i = 0; i < 40; i++)
			touch(40 + (turn * 40 + i) % 500);
	}
	assert_in_range(disk.read - before, 0, 4 * 40 + 8);
	assert_true(nr_used_frames() <= 128);
	finish();
}

/* ---- where shadows go ------------------------------------------------------------------------------------------------------------------------- */

static void test_shadows_go_with_the_file(void **state)
{
	start_files(8, X86());
	for (unsigned i = 0; i < 8; i++) {
		touch(i);
		evict(B + i * P);
	}
	assert_int_equal(stat(&workingset.nr_shadows), 8);
	assert_int_equal(vmtruncate(mapping, 5 * P), 0);
	mm_check_invariants();
	assert_int_equal(stat(&workingset.nr_shadows), 5);
	assert_null(item_at(6));
	assert_int_equal(vmtruncate(mapping, 8 * P), 0);
	get(mm, B + 6 * P); /* (the test's disk has not become shorter) */
	assert_int_equal(stat(&workingset.refault[1]), 0);
	finish(); /* the others */
	assert_int_equal(stat(&workingset.nr_shadows), 0);
}

static void test_shadow_goes_with_the_slot(void **state)
{
	start_files(1, X86());
	map(mm, A, 2, RW);
	put(mm, A, 1);
	put(mm, A + P, 1);
	assert_int_equal(pageout(mm, A, 2), 2);
	dontneed(mm, A, 1);
	mm_check_invariants();
	assert_int_equal(mm_stats()->swap_slots_used, 1);
	put(mm, A, 2); /* the slot is another page's now, and has nothing to tell of it */
	evict(A);
	assert_int_equal(stat(&workingset.refault[0]), 0);
	finish();
}

/* Two entries name the slot: who reads it takes the shadow, the other one finds the page. */
static void test_shadow_of_a_shared_page(void **state)
{
	struct mm_struct *child;

	start_files(2, X86());
	map(mm, A, 1, RW);
	put(mm, A, 7);
	evict(A);
	child = fork_mm(mm);
	assert_int_equal(get(child, A), 7);
	assert_int_equal(stat(&workingset.refault[0]), 1);
	faults();
	assert_int_equal(get(mm, A), 7);
	assert_int_equal(faults(), MINOR(1));
	assert_int_equal(stat(&workingset.refault[0]), 1);
	mm_check_invariants();
	mmput(child);
	finish();
}

/* Rewritten as a whole: nobody asked for what it was. */
static void test_rewritten_page_is_new(void **state)
{
	static const uint8_t bytes[P] = { 1 };

	start_files(2, X86());
	touch(1);
	evict(B + P);
	assert_int_equal(filemap_add_written(mapping, 1, bytes), 0);
	mm_check_invariants();
	assert_int_equal(stat(&workingset.refault[1]), 0);
	assert_int_equal(stat(&workingset.nr_shadows), 0);
	assert_true(filemap_cached(mapping, 1));
	finish();
}

/* A shadow is a hole to who looks for pages: readahead reads it, fault-around and mincore pass over it. */
static void test_shadows_are_holes(void **state)
{
	bool hit;

	start_files(64, X86());
	for (unsigned i = 0; i < 64; i++) {
		touch(i);
		evict(B + i * P);
	}
	assert_int_equal(stat(&workingset.nr_shadows), 64);
	assert_int_equal(cached(64), 0);
	assert_int_equal(page_tree_next_hole(&mapping->i_pages, 3, 20), 3);
	assert_int_equal(map_around(B, 0, 15, &hit), 0);
	disk.read = 0;
	address_space_set_readahead(mapping, 32);
	touch(32);
	assert_int_equal(disk.read, 32);
	assert_int_equal(cached(64), 32);
	assert_int_equal(stat(&workingset.refault[1]), 32);
	assert_int_equal(stat(&workingset.nr_shadows), 32);
	finish();
}

/* However large the files: no more than a few times as many as there are frames, and those that still tell something. */
static void test_shadows_are_bounded(void **state)
{
	unsigned long most = 0;

	start_files(8192, X86(.frames = 128, .limit = 64));
	for (unsigned long i = 0; i < 8192; i++) {
		assert_int_equal(get(mm, B + i * P), byte_of(i));
		most = max_ul(most, stat(&workingset.nr_shadows));
	}
	mm_check_invariants();
	assert_in_range(most, 2 * 64, 4 * 64);
	assert_null(item_at(0));
	assert_true(item_is_shadow(item_at(8192 - 64 - 1))); /* the last one that went, or so */
	finish();
}

/* Files that nobody uses any more keep no shadows, though only reclaim of other files' pages looks. */
static void test_hand_goes_round_all_files(void **state)
{
	struct address_space *others[8];

	start_files(2048, X86(.frames = 128, .limit = 64));
	for (unsigned i = 0; i < 8; i++) {
		struct file *f;

		others[i] = address_space_alloc(&disk_ops, &disk, 32 * P, 0);
		f = file_open(others[i], 0);
		filemap_populate(f, 0, 32);
		fput(f);
	}
	for (unsigned long i = 0; i < 2048; i++)
		assert_int_equal(get(mm, B + i * P), byte_of(i));
	mm_check_invariants();
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(others[i]->nrshadows, 0);
		address_space_put(others[i]);
	}
	disk.released = 0;
	finish();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_workingset_size), cmocka_unit_test(test_pressure), cmocka_unit_test(test_take_file),
		cmocka_unit_test(test_who_leaves_shadows), cmocka_unit_test(test_distance_where_nothing_tells_of_a_use),
		cmocka_unit_test(test_who_comes_back_again_and_again_stays_longer),
		cmocka_unit_test(test_invalidated_pages_leave_none), cmocka_unit_test(test_distance_of_a_file_page),
		cmocka_unit_test(test_distance_of_an_anonymous_page), cmocka_unit_test(test_shared_anonymous_memory),
		cmocka_unit_test(test_distance_5_4), cmocka_unit_test(test_clock), cmocka_unit_test(test_restore), cmocka_unit_test(test_costs_fade),
		cmocka_unit_test(test_working_set_survives_a_stream), cmocka_unit_test(test_shadows_go_with_the_file),
		cmocka_unit_test(test_shadow_goes_with_the_slot), cmocka_unit_test(test_shadow_of_a_shared_page),
		cmocka_unit_test(test_rewritten_page_is_new), cmocka_unit_test(test_shadows_are_holes), cmocka_unit_test(test_shadows_are_bounded),
		cmocka_unit_test(test_hand_goes_round_all_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
