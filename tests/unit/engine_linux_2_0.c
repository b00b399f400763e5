/* SPDX-License-Identifier: MIT
 *
 * The generation linux-2.0: one test for each row and rule of fault-paths.md, section 1 and the last paragraph of 4.3, by the control flow of 1.0
 * (test_10_*) and of 2.0.33 (test_20_*). Geometry i386 unless a test says otherwise; files are real ones.
 */
#include "tests/unit/engine_disk.h"

#include "mm/fault/linux_2_0.h"

#undef put_page

#define ONE_0 0u
#define TWO_0 ((unsigned)MM_2_0_PAGE_CACHE)
#define F(minor, major) (MINOR(minor) | MAJOR(major))
#define S (B + 64 * P) /* for the mappings beside the one at B */

static void begin_with(unsigned rules, unsigned long frames, unsigned long pages, const struct address_space_operations *ops)
{
	start_engine(&(struct engine){ .geometry = "i386", .caps = CAPS_X86, .frames = frames, .kernel = "2.0", .rules = rules }, pages, 0, ops);
}
static void begin(unsigned rules)
{
	begin_with(rules, 512, 16, &disk_ops);
}

#define expect(f)                                    \
	do {                                         \
		mm_check_invariants();               \
		assert_int_equal(faults(), (f));     \
	} while (0)

static vm_fault_t load(struct mm_struct *m, unsigned long addr)
{
	uint8_t v;

	return soft_load(m, addr, &v);
}

static long rss(struct mm_struct *m)
{
	return get_mm_counter(m, MM_ANONPAGES) + get_mm_counter(m, MM_FILEPAGES) + get_mm_counter(m, MM_MISCOUNTED);
}

static struct page *page_at(struct mm_struct *m, unsigned long addr)
{
	pte_t pte = entry(m, addr);

	assert_true(pte_normal(pte));
	return pfn_to_page(pte_pfn(pte));
}

static void set_brk(unsigned long end_data, unsigned long brk)
{
	mmap_write_lock(mm);
	assert_int_equal(fault_path->brk(mm, end_data, brk), 0);
	mmap_write_unlock(mm);
}

static int try_map(unsigned long addr, unsigned long flags, struct file *f)
{
	int err;

	mmap_write_lock(mm);
	err = mmap_region_file(mm, addr, P, flags, f, 0);
	mmap_write_unlock(mm);
	return err;
}

/* No frame can be had: every one is in use by a mapping that is locked. */
static void use_all_frames(void)
{
	map(mm, S + (1UL << 22), 512, RW | VM_LOCKED);
	for (unsigned i = 0; nr_free_frames(); i++)
		put(mm, S + (1UL << 22) + i * P, 1);
	faults();
}

/* ---- 1.0: do_page_fault, do_no_page (1.1, 1.3) ------------------------------------------------------------------------------------ */

/* A private anonymous mapping is full of the zero page: loads never fault, a store is a copy of it. */
static void test_10_anonymous(void **state)
{
	begin(ONE_0);
	map(mm, B, 8, RW);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(get(mm, B + i * P), 0);
	expect(F(0, 0));
	assert_int_equal(rss(mm), 0);
	assert_int_equal(nr_used_frames(), 0);
	assert_true(pte_special(entry(mm, B)));
	for (unsigned i = 0; i < 8; i++)
		put(mm, B + i * P, i + 1);
	expect(F(8, 0));
	assert_int_equal(rss(mm), 8);
	assert_true(pte_write(entry(mm, B)));
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(get(mm, B + i * P), i + 1);
	expect(F(0, 0));
	finish();
}

/* Bit 0 of the error code decides, no vma is asked: a store to what may not be copied finds out in do_wp_page. */
static void test_10_protection(void **state)
{
	begin(ONE_0);
	map(mm, B, 1, RO);
	map(mm, B + P, 1, 0);
	assert_int_equal(get(mm, B), 0);
	assert_int_equal(soft_store(mm, B, 1), VM_FAULT_BADACCESS);
	assert_int_equal(load(mm, B + P), VM_FAULT_BADACCESS); /* PROT_NONE: present, not for users */
	assert_int_equal(soft_store(mm, B + P, 1), VM_FAULT_BADACCESS);
	expect(F(0, 0));
	map(mm, B + 2 * P, 1, VM_WRITE | VM_MAYWRITE);
	assert_int_equal(get(mm, B + 2 * P), 0); /* write-only is readable */
	put(mm, B + 2 * P, 1);
	expect(F(1, 0));
	assert_int_equal(do_page_fault(mm, 0xc0000000UL, FAULT_FLAG_USER), VM_FAULT_BADMAP); /* the kernel's own */
	expect(F(0, 0));
	finish();
}

/* A page that is there already: silence. */
static void test_10_present(void **state)
{
	begin(ONE_0);
	map(mm, B, 1, RW);
	put(mm, B, 1);
	expect(F(1, 0));
	assert_int_equal(do_page_fault(mm, B, FAULT_FLAG_USER), 0);
	assert_int_equal(do_page_fault(mm, B, FAULT_FLAG_USER | FAULT_FLAG_WRITE), 0);
	expect(F(0, 0));
	finish();
}

/* A vma without ->nopage and without the zero page (the stack): an empty page, writable at once, clean. */
static void test_10_empty_page(void **state)
{
	begin(ONE_0);
	map(mm, B, 2, RW | VM_GROWSDOWN);
	assert_int_equal(get(mm, B), 0);
	expect(F(1, 0));
	assert_true(pte_write(entry(mm, B)) && !pte_dirty(entry(mm, B)));
	put(mm, B, 7);
	put(mm, B + P, 8);
	expect(F(1, 0));
	assert_int_equal(rss(mm), 2);
	assert_int_equal(mm_stats()->zeroed, 2);
	finish();
}

/* ---- 1.0: stack and brk (1.2) ---------------------------------------------------------------------------------------------------- */

static void test_10_brk(void **state)
{
	struct mm_struct *child;

	begin(ONE_0);
	set_brk(B, B + 4 * P);
	assert_int_equal(get(mm, B), 0);
	put(mm, B + 3 * P, 9);
	expect(F(2, 0));
	assert_string_equal(drawing(mm, B, 4), "...."); /* no vma */
	assert_int_equal(load(mm, B + 4 * P), VM_FAULT_BADMAP);
	assert_int_equal(load(mm, B - P), VM_FAULT_BADMAP);
	expect(F(0, 0));
	child = fork_mm(mm); /* the whole tree of tables, with and without vmas */
	mm_check_invariants();
	put(child, B + 3 * P, 5);
	assert_int_equal(get(mm, B + 3 * P), 9);
	mmput(child);
	faults();
	assert_int_equal(pageout(mm, B, 4), 2); /* the page that was never written to is clean: dropped */
	assert_true(pte_none(entry(mm, B)) && is_swap_pte(entry(mm, B + 3 * P)));
	assert_int_equal(get(mm, B + 3 * P), 9);
	expect(F(0, 1));
	set_brk(B, B + P);
	mm_check_invariants();
	assert_int_equal(load(mm, B + 3 * P), VM_FAULT_BADMAP);
	set_brk(B, B + 4 * P);
	assert_int_equal(get(mm, B + 3 * P), 0);
	map(mm, B + 2 * P, 2, RW); /* takes the place of what stood there */
	mm_check_invariants();
	unmap(mm, B + 2 * P, 2);
	finish();
}

static void test_10_stack(void **state)
{
	begin(ONE_0);
	map(mm, B, 1, RW);
	map(mm, B + 100 * P, 2, RW | VM_GROWSDOWN);
	assert_int_equal(load(mm, B + 50 * P), VM_FAULT_BADMAP); /* 49 pages above the mapping below, 50 below the stack */
	assert_int_equal(load(mm, B + 51 * P - 1), VM_FAULT_BADMAP);
	put(mm, B + 51 * P + 5, 3); /* 50 above, 49 below; how far below the stack pointer nobody asks */
	expect(F(1, 0));
	assert_string_equal(drawing(mm, B + 50 * P, 4), ".AAA");
	put(mm, B + 27 * P + 5, 3); /* 26 above, 24 below */
	assert_int_equal(load(mm, B + 13 * P), VM_FAULT_BADMAP);
	finish();

	begin(ONE_0);
	map(mm, B, 1, RW);
	map(mm, B + 101 * P, 2, RW | VM_GROWSDOWN);
	assert_int_equal(load(mm, B + 51 * P), VM_FAULT_BADMAP); /* as far from the one as from the other */
	assert_int_equal(load(mm, B + 52 * P), 0);
	finish();

	begin(ONE_0);
	map(mm, B + 100 * P, 2, RW | VM_GROWSDOWN);
	mm->rlimit_stack = 8 * P;
	assert_int_equal(load(mm, B + 94 * P), VM_FAULT_BADMAP); /* the limit must be more than the stack then has */
	assert_int_equal(get(mm, B + 95 * P), 0);
	expect(F(1, 0));
	finish();
}

/* rss counts the failed fault too. In kernel mode the page comes all the same. */
static void test_10_no_vma(void **state)
{
	begin(ONE_0);
	assert_int_equal(load(mm, B), VM_FAULT_BADMAP);
	expect(F(0, 0));
	assert_int_equal(rss(mm), 1);
	assert_int_equal(do_page_fault(mm, B, FAULT_FLAG_WRITE), VM_FAULT_BADMAP);
	expect(F(1, 0));
	assert_true(pte_write(entry(mm, B)));
	assert_int_equal(rss(mm), 2);
	assert_int_equal(do_page_fault(mm, B + P, FAULT_FLAG_USER | FAULT_FLAG_REMOTE), 0); /* for another task: an empty page */
	expect(F(1, 0));
	finish();
}

/* ---- 1.0: get_empty_pgtable, get_empty_page, oom (1.4) ----------------------------------------------------------------------------- */

static void test_10_bad_pagetable(void **state)
{
	struct mm_struct *other;

	begin(ONE_0);
	map(mm, B, 4, RW | VM_GROWSDOWN);
	soft_fail_alloc(1);
	assert_int_equal(load(mm, B), VM_FAULT_OOM);
	mm_check_invariants();
	assert_int_equal(get(mm, B + P), 0); /* the directory's entry is BAD_PAGETABLE: nothing faults there any more */
	put(mm, B + 2 * P, 5);
	assert_int_equal(get(mm, B + 3 * P), 5); /* all of it is one page */
	expect(F(0, 0));
	other = mm_alloc();
	map(other, B, 4, RW | VM_GROWSDOWN);
	soft_fail_alloc(1);
	assert_int_equal(load(other, B), VM_FAULT_OOM);
	assert_int_equal(get(other, B + P), 0); /* cleared when it is handed out */
	mm_check_invariants();
	mmput(other);
	assert_int_equal(get(mm, B + P), 0);
	assert_int_equal(nr_used_frames(), 0);
	finish();
}

static void test_10_no_frame(void **state)
{
	begin_with(ONE_0, 64, 1, &disk_ops);
	map(mm, B, 4, RW | VM_GROWSDOWN);
	use_all_frames();
	assert_int_equal(load(mm, B), VM_FAULT_OOM);
	assert_int_equal(pte_pfn(entry(mm, B)), BAD_PAGE);
	put(mm, B, 5); /* who is killed does not fault again */
	expect(F(1, 0));
	assert_int_equal(soft_store(mm, B + P, 1), VM_FAULT_OOM);
	assert_int_equal(get(mm, B), 0);
	map_file(mm, S, 1, RW, 0);
	assert_int_equal(load(mm, S), VM_FAULT_OOM);
	assert_int_equal(pte_pfn(entry(mm, S)), BAD_PAGE);
	assert_int_equal(faults(), F(1, 1)); /* the store's, and the file's before it knew */
	finish();
}

/* do_wp_page without a frame: BAD_PAGE takes the place of the page. */
static void test_10_wp_no_frame(void **state)
{
	struct mm_struct *child;

	begin_with(ONE_0, 64, 1, &disk_ops);
	map(mm, B, 1, RW | VM_GROWSDOWN);
	put(mm, B, 3);
	child = fork_mm(mm);
	use_all_frames();
	assert_int_equal(soft_store(mm, B, 4), VM_FAULT_OOM);
	expect(F(1, 0));
	assert_int_equal(pte_pfn(entry(mm, B)), BAD_PAGE);
	assert_int_equal(get(child, B), 3);
	mmput(child);
	finish();
}

/* ---- 1.0: swap_in (1.5) --------------------------------------------------------------------------------------------------------- */

static void test_10_swap_in(void **state)
{
	struct mm_struct *child;

	begin(ONE_0);
	map(mm, B, 2, RW);
	put(mm, B, 7);
	put(mm, B + P, 8);
	assert_int_equal(pageout(mm, B, 2), 2);
	assert_int_equal(rss(mm), 0);
	child = fork_mm(mm);
	faults();
	assert_int_equal(get(mm, B), 7);
	expect(F(0, 1));
	assert_true(pte_write(entry(mm, B)) && pte_dirty(entry(mm, B))); /* writable for a load too */
	put(mm, B, 9);
	expect(F(0, 0));
	assert_int_equal(get(child, B), 7); /* a page of its own, read again: no look-up by slot */
	expect(F(0, 1));
	assert_true(page_at(mm, B) != page_at(child, B));
	assert_int_equal(memswap.loads, 2);
	assert_int_equal(mm_stats()->swap_slots_used, 1); /* B's is free; B + P's has two users */
	mmput(child);
	/* damaged: the entry stays */
	memswap.bad = pte_to_swp_entry(entry(mm, B + P)).val;
	assert_int_equal(load(mm, B + P), VM_FAULT_HWPOISON);
	memswap.bad = 0;
	mm_check_invariants();
	assert_int_equal(get(mm, B + P), 8);
	finish();
}

static void test_10_swap_in_no_frame(void **state)
{
	begin_with(ONE_0, 64, 1, &disk_ops);
	map(mm, B, 1, RW);
	put(mm, B, 7);
	assert_int_equal(pageout(mm, B, 1), 1);
	use_all_frames();
	assert_int_equal(load(mm, B), VM_FAULT_OOM);
	expect(F(0, 1));
	assert_int_equal(pte_pfn(entry(mm, B)), BAD_PAGE);
	assert_int_equal(mm_stats()->swap_slots_used, 0); /* swap_free() all the same */
	finish();
}

/* 1.0 and 2.0.33 differ in where the offset begins. Type 0: the only swap area. */
static void test_swap_encoding(void **state)
{
	for (unsigned rules = 0; rules <= TWO_0; rules += TWO_0) {
		begin(rules);
		assert_int_equal(linux_2_0_hw_entry(swp_entry_to_pte((swp_entry_t){ 5 })), rules ? 5 << 8 : 5 << 12);
		finish();
	}
}

static pte_t raced;

/* Somebody changes the entry while its page is read. */
static void change_entry(enum mm_trace_event event, unsigned long a, unsigned long b, unsigned long c)
{
	pte_t *ptep;

	if ((event & ~TRACE_ENTER) != TRACE_swap_readpage)
		return;
	ptep = pte_offset(pte_table(mm, B), B);
	raced = ptep_get(ptep);
	set_pte(ptep, pfn_pte(0, _PAGE_SPECIAL | _PAGE_ACCESSED));
}

static void test_swap_in_recheck(void **state)
{
	for (unsigned rules = 0; rules <= TWO_0; rules += TWO_0) {
		begin(rules);
		map(mm, B, 1, RW);
		put(mm, B, 7);
		assert_int_equal(pageout(mm, B, 1), 1);
		faults();
		atomic_store(&mm_trace_fn, change_entry);
		assert_int_equal(get(mm, B), 0);
		atomic_store(&mm_trace_fn, NULL);
		assert_int_equal(nr_used_frames(), 0);
		assert_int_equal(faults(), rules ? F(0, 0) : F(0, 1)); /* 1.0 has counted before it knew */
		assert_int_equal(rss(mm), rules ? 0 : 1);
		mmap_write_lock(mm);
		set_pte(pte_offset(pte_table(mm, B), B), raced);
		machine_discard(mm, B, 1, 0);
		mmap_write_unlock(mm);
		assert_int_equal(get(mm, B), 7);
		finish();
	}
}

/* Read-only since it was swapped out: no W, and the store that follows gets its signal. */
static void test_10_swap_in_readonly(void **state)
{
	begin(ONE_0);
	map(mm, B, 1, RW);
	put(mm, B, 7);
	pageout(mm, B, 1);
	protect(mm, B, 1, 0, VM_WRITE);
	faults();
	assert_int_equal(soft_store(mm, B, 1), VM_FAULT_BADACCESS);
	assert_int_equal(get(mm, B), 7);
	expect(F(0, 1));
	finish();
}

/* ---- 1.0: files (1.6, 1.7) ----------------------------------------------------------------------------------------------------- */

static void test_10_mmap(void **state)
{
	begin(ONE_0);
	assert_int_equal(try_map(B, SHARED, file), -EINVAL); /* shared and writable */
	assert_int_equal(try_map(B, SHARED, NULL), -EINVAL);
	assert_int_equal(try_map(B, SHARED & ~VM_WRITE, file), 0);
	assert_int_equal(get(mm, B), byte_of(0));
	assert_int_equal(soft_store(mm, B, 1), VM_FAULT_BADACCESS);
	finish();
}

/* Cold: file_mmap_nopage counts, and bread_page counts the load; our frame becomes the cache's. */
static void test_10_file_cold(void **state)
{
	begin(ONE_0);
	map_file(mm, B, 16, RW, 0);
	assert_int_equal(get(mm, B + 3 * P), byte_of(3));
	expect(F(0, 2));
	assert_int_equal(disk.read, 1); /* no read-ahead */
	assert_int_equal(cached(16), 1);
	assert_int_equal(nr_used_frames(), 1);
	assert_int_equal(page_count(page_at(mm, B + 3 * P)), 2);
	assert_false(pte_write(entry(mm, B + 3 * P)));
	assert_int_equal(rss(mm), 1);
	finish();
}

/* Warm: the frame of the buffers is shared: one of each. */
static void test_10_file_warm(void **state)
{
	begin(ONE_0);
	map_file(mm, B, 16, RW, 2); /* block = (addr - start + offset) / blocksize */
	filemap_populate(file, 0, 16);
	assert_int_equal(get(mm, B), byte_of(2));
	expect(F(1, 1));
	assert_int_equal(nr_used_frames(), 16);
	put(mm, B, 1); /* the cache has it too: a copy */
	expect(F(1, 0));
	filemap_peek(mapping, 2 * P, &(uint8_t){ 0 });
	assert_int_equal(on_disk(2 * P), byte_of(2));
	assert_int_equal(get(mm, B), 1);
	assert_int_equal(get(mm, B + P), byte_of(3));
	finish();
}

/* A store: W D, copied buffer by buffer, never shared with the cache; warm or cold makes no difference to the counters. */
static void test_10_file_write(void **state)
{
	begin(ONE_0);
	map_file(mm, B, 16, RW, 0);
	put(mm, B, 99);
	expect(F(0, 2));
	assert_true(pte_write(entry(mm, B)) && pte_dirty(entry(mm, B)));
	assert_int_equal(get(mm, B + 1), byte_of(0));
	filemap_populate(file, 0, 16);
	put(mm, B + P, 99);
	expect(F(0, 2));
	assert_int_equal(get(mm, B + P + 1), byte_of(1));
	assert_false(page_is_file(page_at(mm, B + P)));
	finish();
}

static unsigned long bmap_holes(void *host, unsigned long block)
{
	return block == 5 ? 0 : block + 100;
}

/* A hole: zeros, and never the cache's frame. So the end of the file, and beyond it. */
static void test_10_file_holes(void **state)
{
	struct address_space_operations ops = disk_ops;

	ops.bmap = bmap_holes;
	begin_with(ONE_0, 512, 16, &ops);
	map_file(mm, B, 20, RW, 0);
	assert_int_equal(get(mm, B + P), byte_of(1));
	expect(F(0, 2));
	assert_int_equal(get(mm, B + P + 1024), 0); /* block 5 */
	assert_int_equal(get(mm, B + P + 2048), byte_of(1));
	assert_false(page_is_file(page_at(mm, B + P)));
	vmtruncate(mapping, 15 * P + 1500);
	assert_int_equal(get(mm, B + 15 * P), byte_of(15));
	assert_int_equal(get(mm, B + 15 * P + 1500), 0);
	expect(F(0, 2));
	assert_int_equal(get(mm, B + 17 * P), 0); /* private beyond the end: zeros, no signal */
	expect(F(0, 2));
	finish();
}

/* What can't be read is zero. */
static void test_10_file_error(void **state)
{
	begin(ONE_0);
	map_file(mm, B, 16, RW, 0);
	disk.bad_read = 4;
	assert_int_equal(get(mm, B + 4 * P), 0);
	mm_check_invariants();
	finish();
}

/* Another task has the page: one minor fault, one frame for both, nothing read. */
static void test_10_share(void **state)
{
	struct address_space_operations ops = disk_ops;
	struct mm_struct *other;

	ops.bmap = bmap_holes;
	begin_with(ONE_0, 512, 16, &ops);
	map_file(mm, B, 16, RW, 0);
	other = mm_alloc();
	map_file(other, B, 16, RW, 0);
	get(mm, B);
	get(mm, B + P); /* with a hole: in no cache */
	faults();
	assert_int_equal(get(other, B), byte_of(0));
	assert_int_equal(get(other, B + P), byte_of(1));
	expect(F(2, 0));
	assert_ptr_equal(page_at(mm, B + P), page_at(other, B + P));
	assert_int_equal(page_count(page_at(mm, B + P)), 2);
	assert_false(pte_write(entry(mm, B + P)) || pte_write(entry(other, B + P)));
	put(mm, B + P, 1); /* two users: a copy */
	expect(F(1, 0));
	put(other, B + P, 2); /* the only one now: in place, and nobody counts */
	expect(F(0, 0));
	assert_int_equal(get(mm, B + P), 1);
	assert_int_equal(get(other, B + P), 2);
	mmput(other);
	finish();
}

/* For a store the other's page is copied: W, and not dirty until the store itself. */
static void test_10_share_write(void **state)
{
	struct mm_struct *other;

	begin(ONE_0);
	map_file(mm, B, 16, RW, 0);
	other = mm_alloc();
	map_file(other, B, 16, RW, 0);
	get(mm, B);
	faults();
	put(other, B, 7);
	expect(F(1, 0));
	assert_int_equal(disk.read, 1);
	assert_int_equal(get(other, B + 1), byte_of(0));
	assert_int_equal(get(mm, B), byte_of(0));
	mmput(other);
	finish();
}

/* Who doesn't qualify: nobody there; a dirty page; other bounds, offset or rights; the same file mapped elsewhere. */
static void test_10_share_not(void **state)
{
	struct mm_struct *other;

	begin(ONE_0);
	filemap_populate(file, 0, 16);
	map_file(mm, B, 16, RW, 0);
	other = mm_alloc();
	map_file(other, B, 16, RW, 0);
	put(mm, B, 7); /* dirty */
	faults();
	assert_int_equal(get(other, B), byte_of(0));
	expect(F(1, 1));
	get(mm, B + P);
	get(mm, B + 2 * P);
	mmput(other);

	other = mm_alloc();
	map_file(other, B, 15, RW, 0); /* ends elsewhere */
	faults();
	get(other, B + P);
	expect(F(1, 1));
	unmap(other, B, 15);
	map_file(other, B, 16, RO, 0); /* other rights */
	faults();
	get(other, B + P);
	expect(F(1, 1));
	unmap(other, B, 16);
	map_file(other, B, 16, RW, 1); /* other offset */
	faults();
	assert_int_equal(get(other, B + P), byte_of(2));
	expect(F(1, 1));
	mmput(other);
	finish();
}

/* A task that executes the file: its page is shared whatever the bounds and rights of its mapping are, as long as it is the file's page. */
static void test_10_share_executable(void **state)
{
	struct mm_struct *other, *child;

	begin(ONE_0);
	map_file(mm, B, 16, RW, 0);
	get(mm, B + P);
	get(mm, B + 2 * P);
	other = mm_alloc();
	map_file(other, B, 8, RO, 0);
	faults();
	assert_int_equal(get(other, B + P), byte_of(1));
	expect(F(1, 1)); /* by the buffer cache */
	mmap_write_lock(mm);
	mm_set_executable(mm, mapping);
	mmap_write_unlock(mm);
	assert_int_equal(get(other, B + 2 * P), byte_of(2));
	expect(F(1, 0)); /* try_to_share */
	unmap(other, B, 8);
	map_file(other, B, 8, RW, 1); /* other pages of the file: not what stands there */
	faults();
	assert_int_equal(get(other, B + P), byte_of(2));
	expect(F(1, 1));
	child = fork_mm(mm); /* executes it too */
	unmap(mm, B, 16);
	unmap(other, B, 8);
	map_file(other, B, 8, RO, 0);
	faults();
	assert_int_equal(get(other, B + 2 * P), byte_of(2));
	expect(F(1, 0));
	mmput(child);
	mmput(other);
	finish();
}

/* A page that may be written but hasn't been: W leaves both entries, so that whoever stores first gets a copy. */
static void test_10_share_takes_write_away(void **state)
{
	struct mm_struct *other;

	begin(ONE_0);
	map_file(mm, B, 16, RW, 0);
	get(mm, B);
	other = mm_alloc();
	map_file(other, B, 16, RW, 0);
	assert_int_equal(do_page_fault(other, B, FAULT_FLAG_USER | FAULT_FLAG_WRITE), 0); /* try_to_share for a store that never comes */
	assert_true(pte_write(entry(other, B)) && !pte_dirty(entry(other, B)));
	unmap(mm, B, 16);
	map_file(mm, B, 16, RW, 0);
	faults();
	assert_int_equal(get(mm, B), byte_of(0));
	expect(F(1, 0));
	assert_ptr_equal(page_at(mm, B), page_at(other, B));
	assert_false(pte_write(entry(mm, B)) || pte_write(entry(other, B)));
	put(other, B, 77);
	expect(F(1, 0));
	assert_int_equal(get(mm, B), byte_of(0));
	mmput(other);
	finish();
}

/* No frame can be had: a load needs none if somebody has the page. BAD_PAGE is nobody's to share. */
static void test_10_share_without_frame(void **state)
{
	struct mm_struct *other;

	begin_with(ONE_0, 64, 4, &disk_ops);
	map_file(mm, B, 4, RW | VM_LOCKED, 0);
	get(mm, B);
	other = mm_alloc();
	map_file(other, B, 4, RW | VM_LOCKED, 0);
	use_all_frames();
	assert_int_equal(get(other, B), byte_of(0));
	expect(F(1, 0));
	assert_int_equal(soft_store(other, B + P, 1), VM_FAULT_OOM);
	assert_int_equal(pte_pfn(entry(other, B + P)), BAD_PAGE);
	unmap(mm, S + (1UL << 22), 512);
	faults();
	assert_int_equal(get(mm, B + P), byte_of(1));
	expect(F(0, 2));
	mmput(other);
	finish();
}

static void occupy(unsigned long pgoff)
{
	disk.hook = NULL;
	set_pte(pte_offset(pte_table(mm, B), B), pfn_pte(0, _PAGE_SPECIAL | _PAGE_ACCESSED));
}

/* What stands at S comes to B: a page, or a page in swap. */
static void occupy_with_page(unsigned long pgoff)
{
	pte_t *from = pte_offset(pte_table(mm, S), S);

	disk.hook = NULL;
	set_pte(pte_offset(pte_table(mm, B), B), ptep_get(from));
	set_pte(from, (pte_t){ 0 });
	machine_moved(mm, S, B, 1, 0);
}

/* Whatever it is, it is freed. */
static void test_10_put_page_over_page(void **state)
{
	for (unsigned swapped = 0; swapped < 2; swapped++) {
		begin(ONE_0);
		map_file(mm, B, 16, RW, 0);
		map(mm, S, 1, RW);
		put(mm, S, 9);
		if (swapped)
			assert_int_equal(pageout(mm, S, 1), 1);
		faults();
		disk.hook = occupy_with_page;
		assert_int_equal(get(mm, B), byte_of(0));
		expect(F(0, 2));
		assert_int_equal(rss(mm), 1);
		assert_int_equal(mm_stats()->swap_slots_used, 0);
		assert_int_equal(nr_used_frames(), 1);
		finish();
	}
}

/* put_page(): what stands there is cleared, and the page installed all the same (1.9). 2.0: whoever comes second has lost. */
static void test_put_page_occupied(void **state)
{
	begin(ONE_0);
	map_file(mm, B, 16, RW, 0);
	disk.hook = occupy;
	assert_int_equal(get(mm, B), byte_of(0));
	expect(F(0, 2));
	finish();

	begin(TWO_0);
	map_file(mm, B, 16, RW, 0);
	disk.hook = occupy;
	assert_int_equal(get(mm, B), 0);
	expect(F(0, 1));
	assert_true(pte_special(entry(mm, B)));
	finish();
}

/* ---- 1.0: do_wp_page (1.8), fork (1.10) -------------------------------------------------------------------------------------------- */

static void test_10_wp(void **state)
{
	struct mm_struct *child;

	begin(ONE_0);
	map(mm, B, 2, RW);
	put(mm, B, 1);
	child = fork_mm(mm);
	mm_check_invariants();
	assert_int_equal(mm_min_flt(child), 0);
	assert_int_equal(rss(child), 1);
	assert_true(pte_dirty(entry(child, B)) && pte_young(entry(child, B))); /* the entry as it was, but for W */
	assert_false(pte_write(entry(mm, B)) || pte_write(entry(child, B)));
	faults();
	put(mm, B, 2); /* copied */
	expect(F(1, 0));
	put(child, B, 3); /* its only user: no counter */
	expect(F(0, 0));
	assert_int_equal(mm_stats()->copied, 1);
	assert_int_equal(get(mm, B), 2);
	put(child, B + P, 5); /* the zero page, copied into the child: one fault, one page of rss */
	expect(F(1, 0));
	assert_int_equal(rss(child), 2);
	assert_int_equal(get(mm, B + P), 0);
	mmput(child);
	finish();
}

static void test_10_fork_swap(void **state)
{
	struct mm_struct *child;

	begin(ONE_0);
	map(mm, B, 3, RW);
	put(mm, B, 1);
	pageout(mm, B, 1);
	load(mm, 5 * P);
	protect(mm, B + 2 * P, 1, VM_LOCKED, 0);
	child = fork_mm(mm);
	mm_check_invariants();
	assert_int_equal(swap_count(pte_to_swp_entry(entry(child, B))), 2);
	assert_int_equal(rss(child), rss(mm)); /* with what was counted wrongly */
	assert_int_equal(rss(child), 1);
	mmap_read_lock(child);
	assert_false(vma_flags(find_vma(child, B + 2 * P)) & VM_LOCKED);
	mmap_read_unlock(child);
	mmput(mm);
	mm = child;
	assert_int_equal(get(mm, B), 1);
	finish();
}

/* To get the frame for the copy, the very page is swapped out: everything is looked at again, and nothing done. */
static void test_10_wp_recheck(void **state)
{
	struct mm_struct *child;

	begin_with(ONE_0, 9, 1, &disk_ops);
	map(mm, B, 8, RW);
	for (unsigned i = 0; i < 7; i++)
		put(mm, B + i * P, i + 1);
	child = fork_mm(mm);
	put(mm, B + 7 * P, 8);
	assert_int_equal(nr_free_frames(), 0);
	put(mm, B, 11);
	mm_check_invariants();
	assert_int_equal(get(mm, B), 11);
	assert_int_equal(get(child, B), 1);
	for (unsigned i = 1; i < 8; i++)
		assert_int_equal(get(mm, B + i * P), i + 1);
	mmput(child);
	finish();
}

/* ---- reclaim, 1.0 (4.3) ------------------------------------------------------------------------------------------------------------ */

static void clear_young(unsigned long addr, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		__atomic_fetch_and(&pte_offset(pte_table(mm, addr + i * P), addr + i * P)->val, ~_PAGE_ACCESSED, __ATOMIC_RELAXED);
}

/* An old page goes at once, a young one has one pass; a locked one, a shared dirty one and a reserved one stay. */
static void test_10_swap_out(void **state)
{
	struct mm_struct *child;

	begin(ONE_0);
	map(mm, B, 4, RW);
	put(mm, B, 1);
	put(mm, B + P, 2);
	get(mm, B + 2 * P);
	clear_young(B + P, 1);
	assert_int_equal(try_to_free_pages(1), 1);
	mm_check_invariants();
	assert_true(is_swap_pte(entry(mm, B + P)));
	assert_true(pte_present(entry(mm, B)) && !pte_young(entry(mm, B)));
	assert_int_equal(try_to_free_pages(1), 1); /* from where the scan ended, round to B */
	assert_true(is_swap_pte(entry(mm, B)));
	assert_int_equal(memswap.stores, 2);
	assert_int_equal(try_to_free_pages(1), 0); /* the zero page is nobody's */
	assert_true(pte_special(entry(mm, B + 2 * P)));

	assert_int_equal(get(mm, B), 1);
	child = fork_mm(mm);
	assert_int_equal(try_to_free_pages(4), 0); /* dirty, two users */
	mmput(child);
	protect(mm, B, 1, VM_LOCKED, 0);
	assert_int_equal(try_to_free_pages(4), 0);
	protect(mm, B, 1, 0, VM_LOCKED);
	assert_int_equal(try_to_free_pages(4), 1);
	finish();
}

/* Clean pages are dropped, from one entry at a time; buffers that nobody maps go first. */
static void test_10_swap_out_clean(void **state)
{
	struct mm_struct *other;

	begin(ONE_0);
	map_file(mm, B, 2, RW, 0);
	other = mm_alloc();
	map_file(other, B, 2, RW, 0);
	get(mm, B);
	get(other, B);
	assert_int_equal(nr_used_frames(), 1);
	assert_int_equal(try_to_free_pages(1), 1); /* unmapped twice, then it is a buffer like any other */
	mm_check_invariants();
	assert_true(pte_none(entry(mm, B)) && pte_none(entry(other, B)));
	assert_int_equal(nr_used_frames(), 0);
	assert_int_equal(rss(mm) + rss(other), 0);
	assert_int_equal(memswap.stores, 0);
	mmput(other);
	finish();
}

/* A store that finds no room in swap: the page stays, and is written to as before. */
static void test_10_swap_full(void **state)
{
	begin(ONE_0);
	map(mm, B, 2, RW);
	put(mm, B, 1);
	put(mm, B + P, 2);
	memswap.limit = 1;
	faults();
	assert_int_equal(try_to_free_pages(2), 1);
	mm_check_invariants();
	put(mm, B + P, 3);
	expect(F(0, 0));
	finish();
}

/* Tasks take turns: each gives max(rss / 32, 4) pages, then the next. */
static void test_swap_out_turns(void **state)
{
	unsigned long addr = B;

	for (unsigned rules = 0; rules <= TWO_0; rules += TWO_0) {
		struct mm_struct *task[3];

		begin(rules);
		for (unsigned t = 0; t < 3; t++) {
			task[t] = t ? mm_alloc() : mm;
			map(task[t], addr, 16, RW);
			for (unsigned i = 0; i < 16; i++)
				put(task[t], addr + i * P, i);
		}
		assert_int_equal(try_to_free_pages(12), 12);
		mm_check_invariants();
		for (unsigned t = 0; t < 3; t++)
			assert_int_equal(rss(task[t]), 12);
		for (unsigned t = 0; t < 3; t++)
			for (unsigned i = 0; i < 16; i++)
				assert_int_equal(get(task[t], addr + i * P), i);
		mmput(task[1]);
		mmput(task[2]);
		finish();
	}
}

/* ---- 2.0.33: do_page_fault (1.1) --------------------------------------------------------------------------------------------------- */

static void test_20_access(void **state)
{
	begin(TWO_0);
	assert_int_equal(load(mm, B), VM_FAULT_BADMAP); /* no vma */
	map(mm, B + P, 1, RO);
	assert_int_equal(load(mm, B), VM_FAULT_BADMAP); /* below one that doesn't grow */
	assert_int_equal(soft_store(mm, B + P, 1), VM_FAULT_BADACCESS); /* write, absent */
	assert_int_equal(get(mm, B + P), 0);
	assert_int_equal(soft_store(mm, B + P, 1), VM_FAULT_BADACCESS); /* write, present */
	map(mm, B + 2 * P, 1, VM_WRITE | VM_MAYWRITE);
	assert_int_equal(load(mm, B + 2 * P), VM_FAULT_BADACCESS); /* read, absent: needs READ or EXEC */
	put(mm, B + 2 * P, 1);
	assert_int_equal(get(mm, B + 2 * P), 1); /* present: no 386 could refuse it */
	map(mm, B + 3 * P, 1, VM_EXEC);
	assert_int_equal(get(mm, B + 3 * P), 0);
	map(mm, B + 4 * P, 1, RW);
	put(mm, B + 4 * P, 1);
	protect(mm, B + 4 * P, 1, 0, VM_ACCESS_FLAGS);
	assert_int_equal(load(mm, B + 4 * P), VM_FAULT_BADACCESS); /* read, present */
	assert_int_equal(do_page_fault(mm, 0xc0000000UL, FAULT_FLAG_USER), VM_FAULT_BADMAP);
	expect(F(2, 0));
	assert_int_equal(rss(mm), 2); /* failed faults leave it alone */
	finish();
}

/* 32 bytes below the stack pointer, the limit inclusive, no gap (1.2). */
static void test_20_stack(void **state)
{
	begin(TWO_0);
	map(mm, B, 1, RW);
	map(mm, B + 100 * P, 2, RW | VM_GROWSDOWN);
	put(mm, B + 50 * P, 1); /* nobody knows the stack pointer */
	expect(F(1, 0));
	mm_set_stack_pointer(mm, B + 40 * P);
	assert_int_equal(load(mm, B + 40 * P - 33), VM_FAULT_BADMAP);
	assert_int_equal(load(mm, B + 40 * P - 32), 0);
	assert_string_equal(drawing(mm, B + 38 * P, 3), ".AA");
	assert_int_equal(do_page_fault(mm, B + 10 * P, FAULT_FLAG_WRITE), 0); /* kernel mode is not asked */
	mm_set_stack_pointer(mm, B);
	put(mm, B + P, 4); /* up to the mapping below */
	assert_string_equal(drawing(mm, B, 3), "ABB");
	finish();

	begin(TWO_0);
	map(mm, B + 100 * P, 2, RW | VM_GROWSDOWN);
	mm->rlimit_as = 4 * P;
	assert_int_equal(load(mm, B + 97 * P), VM_FAULT_BADMAP);
	assert_int_equal(load(mm, B + 98 * P), 0);
	finish();

	begin(TWO_0);
	map(mm, B + 100 * P, 2, RW | VM_GROWSDOWN);
	mm->rlimit_stack = 8 * P;
	assert_int_equal(load(mm, B + 93 * P), VM_FAULT_BADMAP);
	put(mm, B + 94 * P, 1);
	finish();
}

/* brk is a mapping like any other. */
static void test_20_brk(void **state)
{
	begin(TWO_0);
	assert_null(fault_path->brk);
	assert_false(fault_path->bare_pages);
	finish();
}

/* ---- 2.0.33: do_no_page (1.3) ------------------------------------------------------------------------------------------------------ */

static void test_20_anonymous(void **state)
{
	begin(TWO_0);
	map(mm, B, 4, RW);
	assert_true(pte_none(entry(mm, B)));
	assert_int_equal(get(mm, B), 0);
	expect(F(0, 0)); /* the zero page: no counter at all */
	assert_int_equal(rss(mm), 0);
	assert_true(pte_special(entry(mm, B)) && !pte_write(entry(mm, B)));
	put(mm, B, 1);
	expect(F(1, 0));
	put(mm, B + P, 2);
	expect(F(1, 0));
	assert_true(pte_write(entry(mm, B + P)) && pte_dirty(entry(mm, B + P)));
	assert_int_equal(rss(mm), 2);
	assert_int_equal(mm_stats()->zeroed, 2);
	finish();
}

/* No memory for an anonymous page: SIGBUS, and BAD_PAGE; no table: SIGKILL. */
static void test_20_no_frame(void **state)
{
	begin_with(TWO_0, 64, 1, &disk_ops);
	map(mm, B, 4, RW);
	use_all_frames();
	assert_int_equal(soft_store(mm, B, 1), VM_FAULT_SIGBUS);
	expect(F(0, 0));
	assert_int_equal(pte_pfn(entry(mm, B)), BAD_PAGE);
	put(mm, B, 2);
	assert_int_equal(get(mm, B + P), 0);
	assert_int_equal(soft_store(mm, B + P, 1), VM_FAULT_OOM); /* do_wp_page of the zero page */
	expect(F(1, 0));
	map_file(mm, S, 1, RW, 0);
	assert_int_equal(load(mm, S), VM_FAULT_SIGBUS);
	expect(F(0, 0));
	map(mm, B + (16UL << 22), 1, RW);
	soft_fail_alloc(1);
	assert_int_equal(load(mm, B + (16UL << 22)), VM_FAULT_OOM);
	assert_int_equal(get(mm, B + (16UL << 22)), 0);
	expect(F(0, 0));
	finish();
}

/* Every fault on a file is major, cached or not; a miss brings the next page too. */
static void test_20_file(void **state)
{
	begin(TWO_0);
	map_file(mm, B, 16, RW, 0);
	assert_int_equal(get(mm, B), byte_of(0));
	expect(F(0, 1));
	assert_int_equal(cached(16), 2);
	assert_int_equal(get(mm, B + P), byte_of(1)); /* a hit reads nothing ahead */
	expect(F(0, 1));
	assert_int_equal(disk.read, 2);
	assert_int_equal(get(mm, B + 15 * P), byte_of(15)); /* nothing behind the end */
	assert_int_equal(disk.read, 3);
	assert_false(pte_write(entry(mm, B)));
	assert_int_equal(page_count(page_at(mm, B)), 2);
	assert_int_equal(rss(mm), 3);
	faults();
	put(mm, B, 7); /* the cache has it too */
	expect(F(1, 0));
	put(mm, B + P * 2, 7); /* no_share: a copy at once */
	expect(F(0, 1));
	assert_true(pte_write(entry(mm, B + 2 * P)) && pte_dirty(entry(mm, B + 2 * P)));
	assert_false(page_is_file(page_at(mm, B + 2 * P)));
	assert_true(filemap_cached(mapping, 2));
	assert_int_equal(get(mm, B + 2 * P + 1), byte_of(2));
	assert_int_equal(disk.written, 0);
	finish();
}

/* Two tasks have one frame without looking for each other. */
static void test_20_file_shared_frame(void **state)
{
	struct mm_struct *other;

	begin(TWO_0);
	map_file(mm, B, 16, RW, 0);
	other = mm_alloc();
	map_file(other, S, 16, RW, 0);
	get(mm, B);
	get(other, S);
	expect(F(0, 2));
	assert_ptr_equal(page_at(mm, B), page_at(other, S));
	mmput(other);
	finish();
}

/* A shared mapping: stores go to the cache's frame, and to the file when it is written. */
static void test_20_file_shared(void **state)
{
	uint8_t v;

	begin(TWO_0);
	map_file(mm, B, 16, SHARED, 0);
	get(mm, B);
	assert_true(pte_write(entry(mm, B)) && !pte_dirty(entry(mm, B))); /* page_prot has W: nobody follows what is dirty */
	put(mm, B, 1);
	put(mm, B + P, 2);
	expect(F(0, 2));
	filemap_peek(mapping, P, &v);
	assert_int_equal(v, 2);
	assert_int_equal(on_disk(0), byte_of(0));
	assert_int_equal(msync_range(mm, B, P), 0);
	mm_check_invariants();
	assert_int_equal(on_disk(0), 1);
	assert_int_equal(disk.written, 1);
	put(mm, B, 3); /* no fault: it is still writable */
	expect(F(0, 0));
	unmap(mm, B, 16); /* the entries' dirty bits are not lost */
	assert_int_equal(filemap_write_and_wait_range(mapping, 0, 16), 0);
	assert_int_equal(on_disk(0), 3);
	assert_int_equal(on_disk(P), 2);
	finish();
}

/* mprotect() there and back: shared pages stay the file's. */
static void test_20_file_shared_mprotect(void **state)
{
	begin(TWO_0);
	map_file(mm, B, 16, SHARED, 0);
	put(mm, B, 1);
	protect(mm, B, 16, 0, VM_WRITE);
	assert_int_equal(soft_store(mm, B, 2), VM_FAULT_BADACCESS);
	protect(mm, B, 16, VM_WRITE, 0);
	faults();
	put(mm, B, 3);
	expect(F(0, 0));
	assert_true(page_is_file(page_at(mm, B)));
	finish();
}

/* Beyond the end: shared: SIGBUS and BAD_PAGE; private: zeros. */
static void test_20_file_end(void **state)
{
	begin(TWO_0);
	map_file(mm, B, 20, SHARED, 0);
	assert_int_equal(load(mm, B + 16 * P), VM_FAULT_SIGBUS);
	expect(F(0, 0));
	assert_int_equal(pte_pfn(entry(mm, B + 16 * P)), BAD_PAGE);
	assert_int_equal(get(mm, B + 16 * P), 0); /* the next access meets that */
	map_file(mm, S, 20, RW, 0);
	assert_int_equal(get(mm, S + 16 * P), 0);
	put(mm, S + 17 * P, 5);
	expect(F(0, 2));
	assert_int_equal(cached(20), 0);
	finish();
}

static void test_20_file_error(void **state)
{
	begin(TWO_0);
	map_file(mm, B, 16, RW, 0);
	disk.bad_read = 4;
	assert_int_equal(get(mm, B + 3 * P), byte_of(3)); /* the page read ahead is nobody's trouble yet */
	assert_int_equal(load(mm, B + 4 * P), VM_FAULT_SIGBUS);
	expect(F(0, 1));
	disk.bad_read = 8;
	disk.calls = 0;
	assert_int_equal(load(mm, B + 8 * P), VM_FAULT_SIGBUS);
	assert_int_equal(disk.calls, 3); /* once, once again, and the page behind it */
	assert_int_equal(pte_pfn(entry(mm, B + 8 * P)), BAD_PAGE);
	finish();
}

static void test_20_mmap(void **state)
{
	struct file *reader;

	begin(TWO_0);
	reader = file_open(mapping, 0);
	assert_int_equal(try_map(B, SHARED, NULL), -EINVAL);
	assert_int_equal(try_map(B, SHARED, reader), -EACCES);
	assert_int_equal(try_map(B, SHARED & ~VM_WRITE, reader), 0);
	mmap_read_lock(mm);
	assert_int_equal(vma_flags(find_vma(mm, B)) & (VM_SHARED | VM_MAYSHARE | VM_MAYWRITE), VM_MAYSHARE); /* a private one */
	mmap_read_unlock(mm);
	assert_int_equal(try_map(B, SHARED, file), 0);
	fput(reader);
	finish();
}

/* ---- 2.0.33: swap_in (1.5) --------------------------------------------------------------------------------------------------------- */

/* For a load: read-only, clean, and the slot stays, so that it goes again without being written. */
static void test_20_swap_in_read(void **state)
{
	begin(TWO_0);
	map(mm, B, 1, RW);
	put(mm, B, 7);
	assert_int_equal(pageout(mm, B, 1), 1);
	faults();
	assert_int_equal(get(mm, B), 7);
	expect(F(0, 1));
	assert_false(pte_write(entry(mm, B)) || pte_dirty(entry(mm, B)));
	assert_int_equal(mm_stats()->swap_slots_used, 1);
	assert_int_equal(rss(mm), 1);
	assert_int_equal(pageout(mm, B, 1), 1);
	assert_int_equal(memswap.stores + memswap.unchanged, 1);
	assert_int_equal(get(mm, B), 7);
	put(mm, B, 8); /* its only user: in place, counted */
	expect(F(1, 1));
	assert_int_equal(pageout(mm, B, 1), 1); /* the copy in swap is dropped */
	assert_int_equal(memswap.stores, 2);
	assert_int_equal(get(mm, B), 8);
	finish();
}

static void test_20_swap_in_write(void **state)
{
	begin(TWO_0);
	map(mm, B, 1, RW);
	put(mm, B, 7);
	pageout(mm, B, 1);
	faults();
	put(mm, B + 1, 9);
	expect(F(0, 1));
	assert_true(pte_write(entry(mm, B)) && pte_dirty(entry(mm, B)));
	assert_int_equal(mm_stats()->swap_slots_used, 0);
	assert_int_equal(get(mm, B), 7);
	finish();
}

/* Two users of a slot: each reads a page of his own; one of these is remembered as its copy. */
static void test_20_swap_in_shared(void **state)
{
	struct mm_struct *child;

	begin(TWO_0);
	map(mm, B, 1, RW);
	put(mm, B, 7);
	pageout(mm, B, 1);
	child = fork_mm(mm);
	faults();
	get(mm, B);
	mm_check_invariants();
	put(mm, B, 8); /* while the child's entry names the slot */
	mm_check_invariants();
	assert_int_equal(get(child, B), 7);
	expect(F(1, 2));
	assert_int_equal(memswap.loads, 2);
	mmput(child);
	finish();
}

static void test_20_swap_in_errors(void **state)
{
	begin_with(TWO_0, 64, 1, &disk_ops);
	map(mm, B, 2, RW);
	put(mm, B, 7);
	put(mm, B + P, 8);
	assert_int_equal(pageout(mm, B, 2), 2);
	memswap.bad = pte_to_swp_entry(entry(mm, B)).val;
	assert_int_equal(load(mm, B), VM_FAULT_HWPOISON);
	memswap.bad = 0;
	assert_int_equal(get(mm, B), 7);
	protect(mm, B, 1, VM_LOCKED, 0);
	use_all_frames();
	assert_int_equal(load(mm, B + P), VM_FAULT_OOM);
	expect(F(0, 0));
	assert_int_equal(pte_pfn(entry(mm, B + P)), BAD_PAGE);
	finish();
}

/* ---- 2.0.33: do_wp_page (1.8), fork (1.10) -------------------------------------------------------------------------------------------- */

static void test_20_wp(void **state)
{
	struct mm_struct *child;

	begin(TWO_0);
	map(mm, B, 3, RW);
	put(mm, B, 1);
	get(mm, B + P);
	child = fork_mm(mm);
	mm_check_invariants();
	assert_false(pte_young(entry(child, B)));
	assert_true(pte_young(entry(mm, B)));
	assert_true(pte_special(entry(child, B + P))); /* reserved: as it is */
	assert_int_equal(rss(child), 1);
	assert_int_equal(mm_min_flt(child), 0);
	faults();
	put(mm, B, 2);
	expect(F(1, 0));
	assert_true(pte_dirty(entry(mm, B)));
	put(child, B, 3); /* its only user: counted all the same */
	expect(F(1, 0));
	assert_int_equal(mm_stats()->copied, 1);
	put(child, B + P, 4);
	expect(F(1, 0));
	assert_int_equal(rss(child), 2);
	assert_int_equal(get(mm, B), 2);
	assert_int_equal(get(mm, B + P), 0);
	mmput(child);
	/* mprotect: page_prot of a private mapping has no W */
	protect(mm, B, 1, 0, VM_WRITE);
	protect(mm, B, 1, VM_WRITE, 0);
	faults();
	put(mm, B, 5);
	expect(F(1, 0));
	finish();
}

/* The copy in swap is given up, because two tables know the page now: it is dirty instead. Every vma is copied, read or written. */
static void test_20_fork(void **state)
{
	struct mm_struct *child;

	begin(TWO_0);
	map(mm, B, 2, RW);
	put(mm, B, 1);
	put(mm, B + P, 2);
	pageout(mm, B, 2);
	get(mm, B);
	map_file(mm, S, 2, RO, 0);
	get(mm, S);
	child = fork_mm(mm);
	mm_check_invariants();
	assert_true(pte_dirty(entry(mm, B)) && pte_dirty(entry(child, B)));
	assert_int_equal(mm_stats()->swap_slots_used, 1);
	assert_int_equal(swap_count(pte_to_swp_entry(entry(child, B + P))), 2);
	assert_true(pte_present(entry(child, S)));
	faults();
	assert_int_equal(get(child, S), byte_of(0));
	expect(F(0, 0));
	mmput(child);
	finish();
}

/* ---- 2.0.33: reclaim (4.3) ------------------------------------------------------------------------------------------------------------ */

/* New pages are 3 years old; a look that finds the young bit adds 3, any other takes 1; who is 0 goes. */
static void test_20_ages(void **state)
{
	begin(TWO_0);
	map(mm, B, 1, RW);
	put(mm, B, 1);
	assert_int_equal(page_age(page_at(mm, B)), 3);
	set_page_age(page_at(mm, B), 19);
	assert_int_equal(try_to_free_pages(1), 1); /* 19 + 3 is 20, at most: twenty looks later it goes */
	assert_true(is_swap_pte(entry(mm, B)));
	get(mm, B);
	assert_int_equal(page_age(page_at(mm, B)), 6); /* few pages, much memory: a larger start */
	finish();
}

static void test_20_swap_out(void **state)
{
	struct mm_struct *child;

	begin(TWO_0);
	map(mm, B, 3, RW);
	put(mm, B, 1);
	put(mm, B + P, 2);
	get(mm, B + 2 * P);
	child = fork_mm(mm);
	assert_int_equal(try_to_free_pages(2), 0); /* two users, dirty */
	mmput(child);
	protect(mm, B, 1, VM_LOCKED, 0);
	assert_int_equal(try_to_free_pages(3), 1);
	assert_true(pte_present(entry(mm, B)));
	assert_true(pte_special(entry(mm, B + 2 * P)));
	mm_check_invariants();
	assert_int_equal(rss(mm), 1);
	finish();
}

/* Dirty, of a shared file: to the file. Clean, of a file: gone, and out of the cache with its last user. */
static void test_20_swap_out_file(void **state)
{
	begin(TWO_0);
	map_file(mm, B, 4, SHARED, 0);
	put(mm, B, 9);
	assert_int_equal(pageout(mm, B, 1), 0); /* it is in the cache still */
	mm_check_invariants();
	assert_int_equal(on_disk(0), 9);
	assert_true(pte_none(entry(mm, B)));
	assert_true(filemap_cached(mapping, 0));
	faults();
	assert_int_equal(get(mm, B), 9);
	expect(F(0, 1));
	assert_int_equal(disk.written, 1);
	disk.bad_write = 0;
	put(mm, B, 10);
	pageout(mm, B, 1);
	disk.bad_write = NONE;
	assert_int_equal(get(mm, B), 10); /* not lost */
	mm_check_invariants();
	map_file(mm, S, 4, RW, 0);
	get(mm, S + 2 * P);
	assert_int_equal(pageout(mm, S, 4), 1);
	assert_false(filemap_cached(mapping, 2));
	assert_int_equal(memswap.stores, 0);
	finish();
}

/* The clock: pages that nobody maps; who was looked up since the last round has one more. */
static void test_20_shrink_mmap(void **state)
{
	begin(TWO_0);
	filemap_populate(file, 0, 4);
	filemap_poke(mapping, 0, 5); /* dirty: written first */
	map_file(mm, B, 4, RW | VM_LOCKED, 0);
	get(mm, B + 3 * P);
	assert_int_equal(try_to_free_pages(4), 3);
	mm_check_invariants();
	assert_int_equal(on_disk(0), 5);
	assert_true(pte_present(entry(mm, B + 3 * P)));
	finish();
}

/* A signal has a number in this generation and no code. What can't be written at swap-out is the task's SIGBUS. */
static void test_signals(void **state)
{
	for (unsigned rules = 0; rules <= TWO_0; rules += TWO_0) {
		begin(rules);
		assert_int_equal(load(mm, B + 5), VM_FAULT_BADMAP);
		assert_int_equal(mm->thread.sig, 11);
		assert_int_equal(mm->thread.code, 0);
		assert_int_equal(mm->thread.address, B + 5);
		assert_int_equal(mm->thread.trap_no, 14);
		assert_int_equal(mm->thread.error_code, 4);
		map(mm, B, 1, RO);
		assert_int_equal(get(mm, B), 0);
		assert_int_equal(soft_store(mm, B, 1), VM_FAULT_BADACCESS);
		assert_int_equal(mm->thread.error_code, 7); /* there, a store, a program */
		mm->thread.sig = 0;
		assert_int_equal(do_page_fault(mm, B + (8UL << 22), FAULT_FLAG_WRITE), VM_FAULT_BADMAP); /* the kernel's own */
		assert_int_equal(mm->thread.sig, 0);
		finish();
	}
	begin_with(ONE_0, 64, 1, &disk_ops);
	map(mm, B, 4, RW | VM_GROWSDOWN);
	use_all_frames();
	assert_int_equal(load(mm, B), VM_FAULT_OOM);
	assert_int_equal(mm->thread.sig, 9);
	finish();

	begin(TWO_0);
	map_file(mm, B, 20, SHARED, 0);
	assert_int_equal(load(mm, B + 16 * P), VM_FAULT_SIGBUS);
	assert_int_equal(mm->thread.sig, 7);
	mm->thread.sig = 0;
	put(mm, B, 9);
	disk.bad_write = 0;
	pageout(mm, B, 1);
	disk.bad_write = NONE;
	assert_int_equal(mm->thread.sig, 7);
	assert_int_equal(get(mm, B), 9);
	finish();
}

/* A mapping that brings its pages back by itself. */
static struct page *own_page;
static bool own_extra, own_races;

static struct page *own_swapin(struct vm_area_struct *vma, unsigned long pgoff, unsigned long slot)
{
	struct page *page = __get_free_page(vma->vm_mm);

	assert_int_equal(read_swap_page((swp_entry_t){ slot }, page), 0);
	if (own_extra)
		get_page(page);
	if (own_races)
		set_pte(pte_offset(pte_table(mm, B), B), pfn_pte(0, _PAGE_SPECIAL | _PAGE_ACCESSED));
	return own_page = page;
}

static const struct vm_operations_struct own_ops = { .swapin = own_swapin };

/* 1.0: an entry of shared memory. Writable, whoever else has the page. */
static void test_10_shm_entry(void **state)
{
	for (unsigned races = 0; races < 2; races++) {
		pte_t swapped;

		begin(ONE_0);
		map(mm, B, 1, RW);
		put(mm, B, 7);
		assert_int_equal(pageout(mm, B, 1), 1);
		swapped = entry(mm, B);
		mmap_write_lock(mm);
		find_vma(mm, B)->vm_ops = &own_ops;
		mmap_write_unlock(mm);
		own_extra = !races;
		own_races = races;
		faults();
		assert_int_equal(get(mm, B), races ? 0 : 7);
		assert_int_equal(faults(), F(0, 1));
		assert_int_equal(mm_stats()->swap_slots_used, races);
		if (races) { /* the entry has changed meanwhile: back to what it was, for the end */
			set_pte(pte_offset(pte_table(mm, B), B), swapped);
			machine_discard(mm, B, 1, 0);
		} else {
			assert_true(pte_write(entry(mm, B)) && pte_dirty(entry(mm, B)));
			free_page(own_page);
		}
		own_extra = own_races = false;
		finish();
	}
}

static void test_20_vma_swapin(void **state)
{
	for (unsigned extra = 0; extra < 2; extra++) {
		begin(TWO_0);
		map(mm, B, 1, RW);
		put(mm, B, 7);
		assert_int_equal(pageout(mm, B, 1), 1);
		mmap_write_lock(mm);
		find_vma(mm, B)->vm_ops = &own_ops;
		mmap_write_unlock(mm);
		own_extra = extra;
		own_races = false;
		faults();
		assert_int_equal(get(mm, B), 7);
		assert_int_equal(faults(), F(0, 1));
		assert_int_equal(rss(mm), 1);
		assert_int_equal(!!pte_write(entry(mm, B)), !extra); /* somebody else has it: read-only */
		assert_int_equal(mm_stats()->swap_slots_used, 0);
		if (extra)
			free_page(own_page);
		own_extra = false;
		finish();
	}
	begin(TWO_0); /* the entry has changed meanwhile */
	map(mm, B, 1, RW);
	put(mm, B, 7);
	pageout(mm, B, 1);
	raced = entry(mm, B);
	mmap_write_lock(mm);
	find_vma(mm, B)->vm_ops = &own_ops;
	mmap_write_unlock(mm);
	own_races = true;
	faults();
	assert_int_equal(get(mm, B), 0);
	assert_int_equal(faults(), F(0, 0));
	assert_int_equal(rss(mm), 0);
	assert_int_equal(nr_used_frames(), 0);
	own_races = false;
	set_pte(pte_offset(pte_table(mm, B), B), raced);
	machine_discard(mm, B, 1, 0);
	finish();
}

/* ---- both ------------------------------------------------------------------------------------------------------------------------------ */

/* Contents, whatever the geometry and the machine, with less memory than is in use. */
static void test_contents(void **state)
{
	static const char *const geometry[] = { "i386", "arm", "x86_64", "x86_64-5", "sv39", "sv48", "i386-pae", "process" };

	for (unsigned i = 0; i < 16; i++) {
		struct mm_struct *child;

		/* Dirty pages of two users can't go: some more frames than these. */
		start_engine(&(struct engine){ .geometry = geometry[i / 2], .caps = i / 2 == 1 ? CAPS_ARM : CAPS_X86, .frames = 44,
					       .kernel = "2.0", .rules = i % 2 ? TWO_0 : ONE_0 }, 16, 0, &disk_ops);
		map(mm, B, 24, RW);
		map_file(mm, S, 16, RW, 0);
		for (unsigned k = 0; k < 24; k++)
			put(mm, B + k * P, k + 1);
		mm_check_invariants();
		child = fork_mm(mm);
		assert_non_null(child);
		for (unsigned k = 0; k < 24; k += 3)
			put(child, B + k * P, k + 100);
		for (unsigned k = 0; k < 16; k++) {
			assert_int_equal(get(child, S + k * P), byte_of(k));
			if (k % 2)
				put(mm, S + k * P, k);
		}
		mm_check_invariants();
		for (unsigned k = 0; k < 24; k++) {
			assert_int_equal(get(child, B + k * P), k % 3 ? k + 1 : k + 100);
			assert_int_equal(get(mm, B + k * P), k + 1);
		}
		for (unsigned k = 0; k < 16; k++)
			assert_int_equal(get(mm, S + k * P), k % 2 ? k : byte_of(k));
		mm_check_invariants();
		mmput(child);
		finish();
	}
}

/* A machine without young and dirty bits: they are set by faults, and those are counted. */
static void test_arm(void **state)
{
	for (unsigned rules = 0; rules <= TWO_0; rules += TWO_0) {
		start_engine(&(struct engine){ .geometry = "arm", .caps = CAPS_ARM, .frames = 64, .kernel = "2.0", .rules = rules }, 1, 0,
			     &disk_ops);
		map(mm, B, 2, RW | VM_GROWSDOWN);
		get(mm, B);
		if (rules)
			expect(F(0, 0));
		else
			expect(F(1, 0));
		put(mm, B, 1);
		expect(F(1, 0)); /* 1.0: writable and clean; 2.0: the zero page */
		put(mm, B + P, 2);
		if (rules)
			expect(F(1, 0));
		else
			expect(F(2, 0)); /* W, and then D by a fault of its own */
		try_to_free_pages(1);
		mm_check_invariants();
		assert_int_equal(get(mm, B), 1);
		assert_int_equal(get(mm, B + P), 2);
		finish();
	}
}

/* ---- at random, against a model ---------------------------------------------------------------------------------------------------------- */

#define NR_TASKS 3
#define ANON 40  /* pages at B */
#define FILES 16 /* at S: private; at S + 32 pages: shared (2.0) */
#define BRK_BASE (B - (8UL << 20))
#define BRK_PAGES 8

struct model {
	struct mm_struct *mm;
	uint8_t anon[ANON], brk[BRK_PAGES], file[FILES];
	bool writable[ANON], own[FILES]; /* own: this task's copy */
};
static struct model model[NR_TASKS];
static uint8_t model_file[FILES];
static unsigned long seed;

static unsigned rnd(unsigned n)
{
	seed = seed * 6364136223846793005UL + 1442695040888963407UL;
	return (seed >> 33) % n;
}

static void random_anon(struct model *m)
{
	unsigned i = rnd(ANON), n = 1 + rnd(ANON - i);
	uint8_t v = rnd(256);

	switch (rnd(8)) {
	case 0:
		for (unsigned k = i; k < i + n; k++)
			m->writable[k] = v & 1;
		protect(m->mm, B + i * P, n, v & 1 ? VM_WRITE : 0, v & 1 ? 0 : VM_WRITE);
		break;
	case 1:
		map(m->mm, B + i * P, n, RW);
		memset(m->anon + i, 0, n);
		memset(m->writable + i, true, n);
		break;
	case 2:
		pageout(m->mm, B + i * P, n);
		break;
	default:
		if (soft_store(m->mm, B + i * P + v, v))
			assert_false(m->writable[i]);
		else
			assert_true(m->writable[i]);
		m->anon[i] = m->writable[i] ? v : m->anon[i];
		assert_int_equal(soft_store(m->mm, B + i * P, m->anon[i]) != 0, !m->writable[i]);
	}
}

static void random_file(struct model *m, unsigned rules)
{
	unsigned i = rnd(FILES);
	uint8_t v = rnd(256);

	switch (rnd(5)) {
	case 0:
		put(m->mm, S + i * P, v);
		m->own[i] = true;
		m->file[i] = v;
		break;
	case 1:
		filemap_poke(mapping, i * P, v);
		model_file[i] = v;
		break;
	case 2:
		if (rules) {
			put(m->mm, S + (32 + i) * P, v);
			model_file[i] = v;
		} else {
			put(m->mm, BRK_BASE + i / 2 * P, v);
			m->brk[i / 2] = v;
		}
		break;
	case 3:
		pageout(m->mm, S, 48);
		break;
	default:
		assert_int_equal(get(m->mm, S + i * P), m->own[i] ? m->file[i] : model_file[i]);
		if (rules)
			assert_int_equal(get(m->mm, S + (32 + i) * P), model_file[i]);
		else
			assert_int_equal(get(m->mm, BRK_BASE + i / 2 * P), m->brk[i / 2]);
	}
}

static void random_task(void)
{
	struct model *m = &model[rnd(NR_TASKS)], *from = &model[rnd(NR_TASKS)];

	if (m == from || !from->mm)
		return;
	if (m->mm)
		mmput(m->mm);
	*m = *from;
	m->mm = fork_mm(from->mm);
	assert_non_null(m->mm);
}

static void random_step(unsigned rules)
{
	struct model *m = &model[rnd(NR_TASKS)];
	unsigned i = rnd(ANON);

	if (!m->mm)
		return random_task();
	switch (rnd(16)) {
	case 0: random_task(); break;
	case 1: try_to_free_pages(1 + rnd(20)); break;
	case 2: msync_range(m->mm, S + 32 * P, FILES * P); break;
	case 3:
	case 4:
	case 5:
	case 6: random_file(m, rules); break;
	case 7:
	case 8:
	case 9: assert_int_equal(get(m->mm, B + i * P), m->anon[i]); break;
	default: random_anon(m);
	}
	mm_check_invariants();
}

static void random_begin(unsigned rules, unsigned i)
{
	static const char *const geometry[] = { "i386", "arm", "x86_64" };

	start_engine(&(struct engine){ .geometry = geometry[i % 3], .caps = i % 3 == 1 ? CAPS_ARM : CAPS_X86, .frames = 256,
				       .kernel = "2.0", .rules = rules }, FILES, i % 2 ? MAPPING_NOTIFY : 0, &disk_ops);
	seed = i * 2 + rules;
	memset(model, 0, sizeof(model));
	model[0].mm = mm;
	map(mm, B, ANON, RW);
	memset(model[0].writable, true, ANON);
	map_file(mm, S, FILES, RW, 0);
	for (unsigned k = 0; k < FILES; k++)
		model_file[k] = byte_of(k);
	if (rules)
		map_file(mm, S + 32 * P, FILES, SHARED, 0);
	else
		set_brk(BRK_BASE, BRK_BASE + BRK_PAGES * P);
}

static void test_random(void **state)
{
	for (unsigned rules = 0; rules <= TWO_0; rules += TWO_0)
		for (unsigned i = 0; i < 12; i++) {
			random_begin(rules, i);
			for (unsigned step = 0; step < 1500; step++)
				random_step(rules);
			mm = NULL;
			for (unsigned t = 0; t < NR_TASKS; t++) {
				if (mm && model[t].mm)
					mmput(model[t].mm);
				else if (!mm)
					mm = model[t].mm;
			}
			unmap(mm, S, 48);
			for (unsigned k = 0; k < FILES; k++) {
				assert_int_equal(filemap_write_and_wait_range(mapping, k, k + 1), 0);
				assert_int_equal(on_disk(k * P), model_file[k]);
			}
			finish();
		}
}

static void *hammer(void *arg)
{
	struct mm_struct *m = arg;

	for (unsigned round = 0; round < 200; round++)
		for (unsigned k = 0; k < 24; k++) {
			uint8_t v;

			if (soft_load(m, B + k * P, &v) || (v && v != k + 1) || soft_store(m, B + k * P, k + 1))
				return "wrong";
		}
	return NULL;
}

/* Threads of one task, and a task beside it, under pressure. */
static void test_threads(void **state)
{
	for (unsigned rules = 0; rules <= TWO_0; rules += TWO_0) {
		struct mm_struct *child;
		pthread_t t[3];

		begin_with(rules, 32, 1, &disk_ops);
		map(mm, B, 24, RW);
		child = fork_mm(mm);
		for (unsigned i = 0; i < 3; i++)
			pthread_create(&t[i], NULL, hammer, i < 2 ? mm : child);
		for (unsigned i = 0; i < 3; i++) {
			void *bad;

			pthread_join(t[i], &bad);
			assert_null(bad);
		}
		mm_check_invariants();
		mmput(child);
		finish();
	}
}

/* Every allocation may fail, and a machine may refuse a page: nothing is lost. */
static void test_injected_failures(void **state)
{
	for (unsigned rules = 0; rules <= TWO_0; rules += TWO_0)
		for (unsigned nth = 1; nth < 30; nth++) {
			struct mm_struct *child;

			begin(rules);
			map(mm, B, 4, RW);
			soft_fail_alloc(nth);
			mmap_write_lock(mm);
			mmap_region_file(mm, S, 4 * P, RW, file, 0);
			mmap_write_unlock(mm);
			for (unsigned i = 0; i < 4; i++) {
				soft_store(mm, B + i * P, 1);
				load(mm, S + i * P);
			}
			child = fork_mm(mm);
			soft_fail_alloc(0);
			mm_check_invariants();
			if (child)
				mmput(child);
			finish();
		}
}

static void test_refused_map(void **state)
{
	for (unsigned rules = 0; rules <= TWO_0; rules += TWO_0) {
		begin(rules);
		map(mm, B, 2, RW | VM_GROWSDOWN);
		soft_fail_map(1, -ENOMEM);
		assert_int_equal(soft_store(mm, B, 1), VM_FAULT_OOM);
		mm_check_invariants();
		put(mm, B, 1);
		assert_int_equal(pageout(mm, B, 1), 1);
		soft_fail_map(1, -ENOMEM);
		assert_int_equal(load(mm, B) & VM_FAULT_OOM, VM_FAULT_OOM);
		mm_check_invariants();
		assert_int_equal(get(mm, B), 1);
		soft_pin(mm, B, P, true);
		get(mm, B);
		assert_int_equal(pageout(mm, B, 1), 0);
		soft_pin(mm, B, P, false);
		finish();
	}
}

/* What the machine must be able to do. */
static void test_machine(void **state)
{
	struct mm_params params = { .nr_frames = 16, .kernel = "2.0" };

	assert_int_equal(soft_machine_init(16, CAPS_UFFD), 0);
	assert_int_equal(mm_init(&params), -EINVAL);
	assert_int_equal(soft_machine_init(16, CAPS_X86), 0);
	assert_int_equal(mm_init(&params), 0);
	params.nr_frames = 1; /* the only one would be BAD_PAGE */
	assert_int_equal(soft_machine_init(1, CAPS_X86), 0);
	assert_int_equal(mm_init(&params), -EINVAL);
	soft_machine_exit();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test(test_##name)
		T(10_anonymous), T(10_protection), T(10_present), T(10_empty_page), T(10_brk), T(10_stack), T(10_no_vma),
		T(10_bad_pagetable), T(10_no_frame), T(10_wp_no_frame), T(10_swap_in), T(10_swap_in_no_frame), T(10_swap_in_readonly), T(swap_in_recheck),
		T(10_mmap), T(10_file_cold), T(10_file_warm), T(10_file_write), T(10_file_holes), T(10_file_error), T(10_share),
		T(10_share_write), T(10_share_not), T(10_share_executable), T(10_share_takes_write_away), T(10_share_without_frame),
		T(put_page_occupied), T(10_put_page_over_page), T(swap_encoding), T(signals), T(20_vma_swapin), T(10_shm_entry), T(10_wp), T(10_fork_swap), T(10_wp_recheck), T(10_swap_out),
		T(10_swap_out_clean), T(10_swap_full), T(swap_out_turns),
		T(20_access), T(20_stack), T(20_brk), T(20_anonymous), T(20_no_frame), T(20_file), T(20_file_shared_frame),
		T(20_file_shared), T(20_file_shared_mprotect), T(20_file_end), T(20_file_error), T(20_mmap), T(20_swap_in_read),
		T(20_swap_in_write), T(20_swap_in_shared), T(20_swap_in_errors), T(20_wp), T(20_fork), T(20_ages), T(20_swap_out),
		T(20_swap_out_file), T(20_shrink_mmap),
		T(contents), T(arm), T(random), T(threads), T(injected_failures), T(refused_map), T(machine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
