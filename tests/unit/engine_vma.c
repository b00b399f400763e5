/* SPDX-License-Identifier: MIT
 *
 * Mappings, drawn one character a page (see drawing()), the page tables of every geometry, and the buddy allocator.
 */
#include "tests/unit/engine.h"

#include <errno.h>

#define B (1UL << 24)

static struct mm_struct *mm;

static int setup(void **state)
{
	engine_start(&(struct engine){ .caps = CAPS_X86 });
	mm = mm_alloc();
	return 0;
}

static int teardown(void **state)
{
	mm_check_invariants();
	mmput(mm);
	mm_check_invariants();
	assert_int_equal(nr_used_frames(), 0);
	engine_stop();
	return 0;
}

#define assert_drawn(text) assert_string_equal(drawing(mm, B, strlen(text)), text)

static void test_merge_new(void **state)
{
	map(mm, B, 3, RW);
	map(mm, B + 6 * P, 3, RW);
	assert_drawn("AAA...BBB");
	map(mm, B + 3 * P, 3, RW); /* both sides */
	assert_drawn("AAAAAAAAA");
	map(mm, B + 9 * P, 1, RO);
	assert_drawn("AAAAAAAAAB");
	map(mm, B + 10 * P, 1, RO); /* with the one before */
	assert_drawn("AAAAAAAAABB");
}

static void test_replace(void **state)
{
	map(mm, B, 9, RW);
	map(mm, B + 3 * P, 3, RO);
	assert_drawn("AAABBBCCC");
	map(mm, B + 3 * P, 3, RW);
	assert_drawn("AAAAAAAAA");
}

static void test_unmap_splits(void **state)
{
	map(mm, B, 9, RW);
	unmap(mm, B + 3 * P, 3);
	assert_drawn("AAA...BBB");
	unmap(mm, B + 1 * P, 7);
	assert_drawn("A.......B");
	unmap(mm, B, 20); /* holes are passed over */
	assert_drawn(".........");
}

static void test_protect(void **state)
{
	map(mm, B, 9, RW);
	assert_int_equal(protect(mm, B + 3 * P, 3, 0, VM_WRITE), 0);
	assert_drawn("AAABBBCCC");
	assert_int_equal(protect(mm, B + 5 * P, 2, 0, VM_WRITE), 0); /* the border moves */
	assert_drawn("AAABBBBCC");
	assert_int_equal(protect(mm, B, 9, VM_WRITE, 0), 0);
	assert_drawn("AAAAAAAAA");
	assert_int_equal(protect(mm, B + 1, 1, 0, 0), -EINVAL);
}

/* Pages written before keep one anon_vma on both sides, so that the pieces merge again. */
static void test_protect_with_pages(void **state)
{
	map(mm, B, 9, RW);
	for (int i = 0; i < 9; i++)
		put(mm, B + i * P, i);
	protect(mm, B + 3 * P, 3, 0, VM_WRITE);
	assert_drawn("AAABBBCCC");
	protect(mm, B + 3 * P, 3, VM_WRITE, 0);
	assert_drawn("AAAAAAAAA");
	faults();
	for (int i = 0; i < 9; i++)
		put(mm, B + i * P, i); /* row 21: no fault after mprotect back and forth */
	assert_int_equal(faults(), 0);
}

static void test_move(void **state)
{
	map(mm, B, 4, RW);
	for (int i = 0; i < 4; i++)
		put(mm, B + i * P, 10 + i);
	mmap_write_lock(mm);
	assert_int_equal(move_vma(mm, B, 4 * P, B + 8 * P, 6 * P, false), 0);
	mmap_write_unlock(mm);
	assert_drawn("........AAAAAA");
	faults();
	for (int i = 0; i < 4; i++)
		assert_int_equal(get(mm, B + (8 + i) * P), 10 + i);
	assert_int_equal(faults(), 0);
	assert_int_equal(get(mm, B + 13 * P), 0);
	mmap_write_lock(mm);
	assert_int_equal(move_vma(mm, B + 8 * P, 6 * P, B + 8 * P, 2 * P, false), 0); /* shrink in place */
	mmap_write_unlock(mm);
	assert_drawn("........AA....");
	mmap_write_lock(mm);
	assert_int_equal(move_vma(mm, B + 8 * P, 2 * P, B, 2 * P, true), 0); /* MREMAP_DONTUNMAP */
	mmap_write_unlock(mm);
	assert_drawn("AA......BB");
	assert_int_equal(get(mm, B), 10);
	assert_int_equal(get(mm, B + 8 * P), 0);
}

/* A moved page is found by reclaim, comes back, and is found again. */
static void test_move_swapped(void **state)
{
	map(mm, B, 4, RW);
	for (int i = 0; i < 4; i++)
		put(mm, B + i * P, 10 + i);
	assert_int_equal(pageout(mm, B, 2), 2);
	mmap_write_lock(mm);
	assert_int_equal(move_vma(mm, B, 4 * P, B + 512 * P, 4 * P, false), 0);
	mmap_write_unlock(mm);
	assert_int_equal(residency(mm, B + 512 * P), MM_SWAPPED);
	assert_int_equal(residency(mm, B + 515 * P), MM_PRESENT);
	assert_int_equal(pageout(mm, B + 512 * P, 4), 2);
	for (int i = 0; i < 4; i++)
		assert_int_equal(get(mm, B + (512 + i) * P), 10 + i);
	while (try_to_free_pages(4))
		;
	assert_int_equal(residency(mm, B + 512 * P), MM_SWAPPED);
	assert_int_equal(get(mm, B + 512 * P), 10);
}

/* Thousands of pieces: finding, faulting and evicting must not get slow, and the tree must stay balanced (mm_check_invariants). */
static void test_many_pieces(void **state)
{
	map(mm, B, 8192, RW);
	put(mm, B, 1);
	for (unsigned long i = 1; i < 8192; i += 2)
		protect(mm, B + i * P, 1, 0, VM_WRITE);
	mmap_read_lock(mm);
	unsigned n = 0;
	for (struct vm_area_struct *v = find_vma(mm, B); v; v = vma_next(mm, v))
		n++;
	mmap_read_unlock(mm);
	assert_int_equal(n, 8192);
	for (unsigned long i = 0; i < 100; i += 2)
		put(mm, B + i * P, i);
	assert_int_equal(pageout(mm, B, 100), 50);
	protect(mm, B, 8192, VM_WRITE, 0);
	assert_drawn("AAAAAAAA");
	assert_int_equal(get(mm, B + 98 * P), 98);
}

static void test_stack(void **state)
{
	unsigned long top = B + 4096 * P;

	mm->rlimit_stack = 512 * P;
	map(mm, top - 2 * P, 2, RW | VM_GROWSDOWN);
	faults();
	put(mm, top - 100 * P, 1); /* one fault, all the way down */
	assert_int_equal(faults(), MINOR(1));
	mmap_read_lock(mm);
	assert_int_equal(vma_start(find_vma(mm, top - 1)), top - 100 * P);
	mmap_read_unlock(mm);
	assert_int_equal(soft_store(mm, top - 513 * P, 1), VM_FAULT_BADMAP); /* the limit is inclusive */
	put(mm, top - 512 * P, 1);
	assert_int_equal(soft_store(mm, top + P, 1), VM_FAULT_BADMAP);
	assert_int_equal(faults(), MINOR(1)); /* errors count nothing */
}

/* A stack that the limit has refused is one whose entries a fork copies (6.18): the child's read of the zero page is free. */
static void test_stack_refused_then_fork(void **state)
{
	unsigned long top = B + 4096 * P;
	struct mm_struct *child;

	mm->rlimit_stack = 512 * P;
	map(mm, top - 2 * P, 2, RW | VM_GROWSDOWN);
	assert_int_equal(soft_store(mm, top - 513 * P, 1), VM_FAULT_BADMAP);
	assert_int_equal(get(mm, top - P), 0);
	child = fork_mm(mm);
	faults();
	assert_int_equal(get(child, top - P), 0);
	assert_int_equal(faults(), 0);
	mmput(child);
}

static void test_stack_gap(void **state)
{
	unsigned long top = B + 4096 * P, low = top - 1000 * P;

	mm->rlimit_stack = 4096 * P;
	map(mm, top - 2 * P, 2, RW | VM_GROWSDOWN);
	map(mm, low, 1, RW);
	assert_int_equal(soft_store(mm, low + P + 255 * P, 1), VM_FAULT_BADMAP);
	put(mm, low + P + 256 * P, 1);
	protect(mm, low, 1, 0, VM_ACCESS_FLAGS); /* a PROT_NONE neighbour needs no gap */
	put(mm, low + P + 10 * P, 1);
}

/* ---- page tables ------------------------------------------------------------------------------------------------------- */

static void test_geometries(void **state)
{
	static const struct { const char *name; unsigned tables; unsigned long span; } g[] = {
		/* page-table pages for one fault (i386's tables have 8 KiB here, ARM's directory 16), reach of the last-level table */
		{ "i386", 2 + 2, 1024 }, { "i386-pae", 2 /* the directory has 32 bytes */, 512 }, { "arm", 4 + 1, 512 }, { "x86_64", 4, 512 }, { "x86_64-5", 5, 512 }, { "sv39", 3, 512 }, { "sv48", 4, 512 },
		{ "process", 1 /* the upper ones are smaller than a page */, 512 },
	};

	for (unsigned i = 0; i < sizeof(g) / sizeof(g[0]); i++) {
		struct mm_struct *m;
		unsigned long edge;
		uint8_t v;

		engine_start(&(struct engine){ .geometry = g[i].name, .caps = CAPS_X86 });
		m = mm_alloc();
		edge = g[i].span * P * 3; /* a border between two last-level tables */
		map(m, edge - 4 * P, 8, RW);
		put(m, edge - P, 1);
		assert_int_equal(mm_stats()->page_tables, g[i].tables);
		put(m, edge, 2);
		assert_int_equal(get(m, edge - P), 1);
		assert_int_equal(get(m, edge), 2);
		map(m, TASK_SIZE - P, 1, RW);
		put(m, TASK_SIZE - 1, 9);
		assert_int_equal(get(m, TASK_SIZE - 1), 9);
		assert_int_equal(soft_load(m, TASK_SIZE, &v), VM_FAULT_BADMAP);
		mm_check_invariants();
		unmap(m, edge - 4 * P, 8);
		unmap(m, TASK_SIZE - P, 1);
		/* All tables but the top one are gone. */
		assert_int_equal(mm_stats()->page_tables, i == 0 ? 2 : i == 1 || i == 7 ? 0 : i == 2 ? 4 : 1);
		mm_check_invariants();
		mmput(m);
		assert_int_equal(mm_stats()->page_tables, 0);
	}
	setup(state); /* for the teardown */
}

static void test_folding(void **state)
{
	pgd_t *pgd;
	p4d_t *p4d;
	pud_t *pud;

	engine_start(&(struct engine){ .geometry = "x86_64", .caps = CAPS_X86 });
	mm = mm_alloc();
	pgd = pgd_offset(mm, B);
	p4d = p4d_alloc(mm, pgd, B);
	assert_ptr_equal(p4d, pgd);
	pud = pud_alloc(mm, p4d, B);
	assert_ptr_not_equal(pud, p4d);
	mmput(mm);

	engine_start(&(struct engine){ .geometry = "i386", .caps = CAPS_X86 });
	mm = mm_alloc();
	pgd = pgd_offset(mm, B);
	assert_ptr_equal(pmd_alloc(mm, pud_alloc(mm, p4d_alloc(mm, pgd, B), B), B), pgd);
	assert_int_equal(pt_index(PT_PGD, 0xbfffffff), 767);
	mmput(mm);
	setup(state);
}

/* A table stays as long as a neighbour's page may stand in it. */
static void test_tables_of_neighbours(void **state)
{
	map(mm, B, 512, RW);
	put(mm, B, 1);
	put(mm, B + 511 * P, 2);
	unmap(mm, B + P, 510);
	assert_int_equal(get(mm, B), 1);
	assert_int_equal(get(mm, B + 511 * P), 2);
	unmap(mm, B, 1);
	assert_int_equal(mm_stats()->page_tables, 4);
	unmap(mm, B + 511 * P, 1);
	assert_int_equal(mm_stats()->page_tables, 1);
}

/* ---- buddy --------------------------------------------------------------------------------------------------------------- */

static void test_buddy(void **state)
{
	unsigned long pfn[200];
	unsigned got;

	/* 256 frames. Runs are aligned and contiguous; what is left over is found again. */
	assert_int_equal(alloc_run(64, &got), 0);
	assert_int_equal(got, 64);
	assert_int_equal(alloc_run(16, &got), 64);
	assert_int_equal(got, 16);
	assert_int_equal(alloc_run(5, &got), 80);
	assert_int_equal(got, 5);
	assert_int_equal(alloc_run(1, &got), 85);
	mm_set_frame_limit(87);
	assert_int_equal(alloc_run(16, &got), 86); /* never more than the limit allows */
	assert_int_equal(got, 1);
	assert_int_equal(alloc_run(1, &got), -1UL);
	mm_set_frame_limit(0);
	check_frames();
	free_run(86, 1);
	free_run(85, 1);
	free_run(80, 5);
	free_run(64, 16);
	free_run(0, 64);
	check_frames();
	assert_int_equal(alloc_run(64, &got), 0); /* recycled before fresh, and whole again */
	assert_int_equal(got, 64);
	free_run(0, 64);
	/* Every second frame: no run of two anywhere, but single frames go on. */
	for (unsigned i = 0; i < 128; i++)
		pfn[i] = alloc_run(1, &got);
	for (unsigned i = 0; i < 128; i += 2)
		free_run(pfn[i], 1);
	check_frames();
	for (unsigned i = 0; i < 128; i += 2)
		assert_int_not_equal(pfn[i] = alloc_run(1, &got), -1UL);
	for (unsigned i = 0; i < 128; i++)
		free_run(pfn[i], 1);
	check_frames();
	assert_int_equal(nr_used_frames(), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_merge_new), T(test_replace), T(test_unmap_splits), T(test_protect), T(test_protect_with_pages), T(test_move),
		T(test_move_swapped), T(test_many_pieces), T(test_stack), T(test_stack_refused_then_fork), T(test_stack_gap), T(test_geometries), T(test_folding),
		T(test_tables_of_neighbours), T(test_buddy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
