/* SPDX-License-Identifier: MIT
 *
 * The generation linux-2.6: one test for each row of the tables of fault-paths.md, section 2 (and of the column 2.6.24 of 4.3), on the
 * geometries that it knew. Files are real ones.
 */
#include "tests/unit/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "mm/fault/linux_2_6.h"

#define B (1UL << 24)
#define N 32

static const struct world {
	const char *geometry;
	unsigned caps;
} worlds[] = { { "x86_64", CAPS_X86 }, { "i386", CAPS_X86 }, { "i386-pae", CAPS_X86 }, { "arm", CAPS_ARM } };
#define NR_WORLDS (sizeof(worlds) / sizeof(worlds[0]))
#define for_each_world(w) for (const struct world *w = worlds; w < worlds + NR_WORLDS; w++)

#define SHARED (RW | VM_SHARED | VM_MAYSHARE)

static struct mm_struct *mm;

static void start_limited(const struct world *w, unsigned long frames, unsigned long slots)
{
	engine_start(&(struct engine){ .geometry = w->geometry, .caps = w->caps, .frames = frames, .slots = slots, .kernel = "2.6" });
	mm = mm_alloc();
	faults();
}

static void start(const struct world *w)
{
	start_limited(w, 1024, 0);
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

static uint64_t expect_faults(uint64_t n)
{
	uint64_t seen = faults();

	mm_check_invariants();
	assert_int_equal(seen, n);
	return seen;
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

static pte_t *ptep_of(struct mm_struct *m, unsigned long addr)
{
	struct ptdesc *table = pte_table(m, addr);

	return table ? pte_offset(table, addr) : NULL;
}

static pte_t pte_of(struct mm_struct *m, unsigned long addr)
{
	pte_t *ptep = ptep_of(m, addr);

	return ptep ? ptep_get(ptep) : (pte_t){ 0 };
}

static struct page *page_of(struct mm_struct *m, unsigned long addr)
{
	pte_t pte = pte_of(m, addr);

	assert_true(pte_normal(pte));
	return pfn_to_page(pte_pfn(pte));
}

static vm_fault_t try_read(unsigned long addr)
{
	uint8_t v;

	return soft_load(mm, addr, &v);
}

static vm_fault_t try_write(unsigned long addr)
{
	return soft_store(mm, addr, 1);
}

static struct vm_area_struct *vma_at(struct mm_struct *m, unsigned long addr)
{
	struct vm_area_struct *vma;

	mmap_read_lock(m);
	vma = find_vma(m, addr);
	mmap_read_unlock(m);
	return vma;
}

/* ---- the architecture's part: vma, stack, rights --------------------------------------------------------------------------------- */

static void test_no_vma_maperr(void **state)
{
	for_each_world(w) {
		start(w);
		map(mm, B, 1, RW);
		assert_int_equal(try_read(B - 1), VM_FAULT_BADMAP);
		assert_int_equal(try_write(B + P), VM_FAULT_BADMAP);
		assert_int_equal(try_read(TASK_SIZE), VM_FAULT_BADMAP);
		expect_faults(0); /* errors count nothing */
		finish();
	}
}

static void test_rights_accerr(void **state)
{
	for_each_world(w) {
		start(w);
		map(mm, B, 1, RO);
		map(mm, B + P, 1, RW & ~VM_ACCESS_FLAGS);
		map(mm, B + 2 * P, 1, (RW & ~VM_ACCESS_FLAGS) | VM_WRITE);
		map(mm, B + 3 * P, 1, (RW & ~VM_ACCESS_FLAGS) | VM_EXEC);
		assert_int_equal(try_write(B), VM_FAULT_BADACCESS);
		assert_int_equal(try_read(B + P), VM_FAULT_BADACCESS);
		assert_int_equal(try_write(B + P), VM_FAULT_BADACCESS);
		assert_int_equal(try_write(B + 3 * P), VM_FAULT_BADACCESS);
		expect_faults(0);
		/* An absent page is read into any mapping that grants something. */
		assert_int_equal(try_read(B + 2 * P), 0);
		assert_int_equal(try_read(B + 3 * P), 0);
		expect_faults(MINOR(2));
		finish();
	}
}

/* A fetch brings the page in where no fetch is allowed, and is refused when the page is there. i386 can't tell. */
static void test_fetch(void **state)
{
	for_each_world(w) {
		bool nx = strcmp(w->geometry, "i386");

		start(w);
		map(mm, B, 1, RW);
		assert_int_equal(do_page_fault(mm, B, FAULT_FLAG_USER | FAULT_FLAG_INSTRUCTION), 0);
		assert_int_equal(do_page_fault(mm, B, FAULT_FLAG_USER | FAULT_FLAG_INSTRUCTION), nx ? VM_FAULT_BADACCESS : 0);
		expect_faults(MINOR(nx ? 1 : 2));
		finish();
	}
}

static void signal_is(unsigned long addr, int sig, int code, unsigned error_code)
{
	assert_int_equal(mm->thread.address, addr);
	assert_int_equal(mm->thread.sig, sig);
	assert_int_equal(mm->thread.code, code);
	assert_int_equal(mm->thread.error_code, error_code);
	mm->thread.sig = 0;
}

static void test_signals(void **state)
{
	for_each_world(w) {
		start(w);
		map(mm, B, 1, RO);
		map(mm, B + P, 1, RW & ~VM_ACCESS_FLAGS);
		try_read(B - 3);
		signal_is(B - 3, 11, 1, 4); /* MAPERR until a mapping is found */
		try_write(B + 9);
		signal_is(B + 9, 11, 2, 6); /* then ACCERR */
		get(mm, B);
		try_write(B + 9);
		signal_is(B + 9, 11, 2, 7);
		try_read(B + P);
		signal_is(B + P, 11, 2, 4);
		assert_int_equal(do_page_fault(mm, B - 3, 0), VM_FAULT_BADMAP); /* the kernel's own access */
		assert_int_equal(mm->thread.sig, 0);
		finish();
	}
	/* what isn't an address: a general protection fault, which names none */
	start(&worlds[0]);
	try_read(1UL << 47);
	signal_is(0, 11, 0x80, 0);
	try_read(~0UL << 47);
	signal_is(~0UL << 47, 11, 1, 4); /* the kernel's */
	finish();
}

static void test_stack_slack(void **state)
{
	for_each_world(w) {
		unsigned long slack = 65536 + 32 * (strncmp(w->geometry, "i386", 4) ? 8 : 4), sp = B + 64 * P - 64;
		bool x86 = strcmp(w->geometry, "arm");

		start(w);
		map(mm, B + 60 * P, 40, RW | VM_GROWSDOWN);
		mm_set_stack_pointer(mm, sp);
		assert_int_equal(try_write(sp - slack - 1), x86 ? VM_FAULT_BADMAP : 0);
		assert_int_equal(try_write(sp - slack), 0);
		expect_faults(MINOR(sp - slack - 1 < ((sp - slack) & ~(P - 1)) && !x86 ? 2 : 1));
		/* The kernel itself may go farther, and nobody knows better when the pointer isn't known. */
		assert_int_equal(do_page_fault(mm, B + 30 * P, FAULT_FLAG_WRITE), 0);
		mm_set_stack_pointer(mm, 0);
		assert_int_equal(try_write(B + 10 * P), 0);
		assert_string_equal(drawing(mm, B + 8 * P, 4), "..AA");
		finish();
	}
}

static void test_stack_no_guard_gap(void **state)
{
	for_each_world(w) {
		start(w);
		map(mm, B, 4, RW);
		map(mm, B + 16 * P, 4, RW | VM_GROWSDOWN);
		assert_int_equal(try_write(B + 4 * P), 0); /* until it touches the neighbour */
		assert_string_equal(drawing(mm, B, 20), "AAAABBBBBBBBBBBBBBBB");
		assert_int_equal(try_write(B + 3 * P), 0);
		expect_faults(MINOR(2));
		finish();
	}
}

static void test_stack_other_limits(void **state)
{
	for_each_world(w) {
		start(w);
		map(mm, B, 4, RW | VM_GROWSDOWN);
		mm->rlimit_as = 8 * P;
		assert_int_equal(try_write(B - 5 * P), VM_FAULT_BADMAP);
		assert_int_equal(try_write(B - 4 * P), 0);
		mm->rlimit_as = ~0UL;
		mm->rlimit_memlock = 10 * P;
		protect(mm, B - 4 * P, 8, VM_LOCKED, 0);
		assert_int_equal(try_write(B - 7 * P), VM_FAULT_BADMAP);
		assert_int_equal(try_write(B - 6 * P), 0);
		finish();
	}
}

static void test_stack_limit(void **state)
{
	for_each_world(w) {
		start(w);
		mm->rlimit_stack = 16 * P;
		map(mm, B + 60 * P, 4, RW | VM_GROWSDOWN);
		map(mm, B + 70 * P, 1, RW); /* no stack */
		assert_int_equal(try_write(B + 48 * P - 1), VM_FAULT_BADMAP);
		expect_faults(0);
		assert_int_equal(try_write(B + 48 * P), 0); /* 16 pages exactly */
		expect_faults(MINOR(1));
		assert_int_equal(try_write(B + 69 * P), VM_FAULT_BADMAP);
		finish();
	}
}

/* ---- 2.1 handle_mm_fault, handle_pte_fault ----------------------------------------------------------------------------------------- */

static void test_tables_first(void **state)
{
	for_each_world(w) {
		unsigned tables = !strcmp(w->geometry, "x86_64") ? 3 : !strcmp(w->geometry, "i386-pae") ? 2 : 1; /* pud, pmd, pte; or the folded ones */

		for (unsigned n = 1; n <= tables; n++) {
			start(w);
			map(mm, B, 1, RW);
			for (unsigned k = 0; k < 2; k++) { /* a descriptor and a table each */
				soft_fail_alloc(2 * n - k);
				if (try_write(B) == 0)
					break; /* descriptors come from slabs: not every one is an allocation */
				soft_fail_alloc(0);
			}
			soft_fail_alloc(0);
			faults();
			assert_int_equal(try_write(B), 0);
			finish();
		}
	}
}

static bool other_ran;

static void *write_first(void *arg)
{
	put(mm, B, 7);
	other_ran = true;
	return NULL;
}

static void other_is_faster(void)
{
	pthread_t t;

	pthread_create(&t, NULL, write_first, NULL);
	pthread_join(t, NULL);
}

/* Somebody else fills the directory's entry while a table is got: ours is freed. */
static void test_table_race(void **state)
{
	for_each_world(w) {
		uint64_t tables;

		start(w);
		map(mm, B, 1, RW);
		put(mm, B, 1);
		tables = mm_stats()->page_tables;
		unmap(mm, B, 1); /* the descriptors serve again: what is allocated next is a table itself */
		map(mm, B, 1, RW);
		faults();
		other_ran = false;
		soft_at_alloc(1, other_is_faster);
		put(mm, B + 1, 2);
		assert_true(other_ran);
		assert_int_equal(get(mm, B), 7);
		assert_int_equal(get(mm, B + 1), 2);
		expect_faults(MINOR(2));
		assert_int_equal(nr_used_frames(), 1);
		assert_int_equal(mm_stats()->page_tables, tables); /* none is left over */
		finish();
	}
}

static void test_no_memory_for_tables(void **state)
{
	for_each_world(w) {
		unsigned long n;

		start(w);
		map(mm, B, 1, RW);
		for (n = 1;; n++) {
			vm_fault_t ret;

			soft_fail_alloc(n);
			ret = try_write(B);
			soft_fail_alloc(0);
			mm_check_invariants();
			if (!ret)
				break;
			assert_int_equal(ret, VM_FAULT_OOM);
		}
		assert_true(n > 1);
		expect_faults(MINOR(1));
		finish();
	}
}

/* Where the hardware has no young and dirty bits, faults on present entries set them. */
static void test_present_young_dirty(void **state)
{
	for_each_world(w) {
		bool arm = !strcmp(w->geometry, "arm");
		pte_t *ptep;

		start(w);
		map(mm, B, 1, RW);
		put(mm, B, 5);
		expect_faults(MINOR(1));
		ptep = ptep_of(mm, B);
		page_referenced(page_of(mm, B)); /* old now */
		machine_protect(mm, B, 1, pte_pfn(*ptep), pte_how(*ptep));
		assert_false(pte_young(*ptep));
		assert_int_equal(get(mm, B), 5);
		assert_true(pte_young(*ptep));
		expect_faults(MINOR(arm ? 1 : 0));
		/* a clean one */
		__atomic_fetch_and(&ptep->val, ~_PAGE_DIRTY, __ATOMIC_SEQ_CST);
		machine_protect(mm, B, 1, pte_pfn(*ptep), pte_how(*ptep));
		assert_int_equal(get(mm, B), 5);
		expect_faults(0);
		put(mm, B, 6);
		assert_true(pte_dirty(*ptep));
		expect_faults(MINOR(arm ? 1 : 0));
		finish();
	}
}

static void test_present_spurious(void **state)
{
	for_each_world(w) {
		start(w);
		map(mm, B, 1, RW);
		put(mm, B, 5);
		assert_int_equal(do_page_fault(mm, B, FAULT_FLAG_USER | FAULT_FLAG_WRITE), 0);
		assert_int_equal(do_page_fault(mm, B, FAULT_FLAG_USER), 0);
		expect_faults(MINOR(3)); /* counted, and nothing else */
		assert_int_equal(get(mm, B), 5);
		finish();
	}
}

/* ---- 2.2 do_anonymous_page ----------------------------------------------------------------------------------------------------------- */

static void test_anon_read_allocates(void **state)
{
	for_each_world(w) {
		start(w);
		map(mm, B, N, RW);
		read_all(mm, N, -1);
		expect_faults(MINOR(N));
		assert_int_equal(nr_used_frames(), N); /* no zero page, although the machine could have one */
		assert_int_equal(get_mm_counter(mm, MM_ANONPAGES), N);
		assert_int_equal(mm_stats()->zeroed, N);
		for (unsigned i = 0; i < N; i++) {
			pte_t pte = pte_of(mm, B + i * P);

			assert_true(pte_write(pte) && pte_dirty(pte) && pte_young(pte));
			assert_true(page_flags(page_of(mm, B + i * P)) & PG_active); /* new ones are active */
			assert_int_equal(page_mapcount(page_of(mm, B + i * P)), 1);
		}
		write_all(mm, N, 1);
		read_all(mm, N, 1);
		expect_faults(0);
		finish();
	}
}

static void test_anon_readonly(void **state)
{
	for_each_world(w) {
		start(w);
		map(mm, B, 1, RO);
		assert_int_equal(get(mm, B), 0);
		assert_false(pte_write(pte_of(mm, B)));
		assert_true(pte_dirty(pte_of(mm, B)));
		assert_int_equal(protect(mm, B, 1, VM_WRITE, 0), 0);
		put(mm, B, 1);
		/* The entry stays read-only until a store asks. */
		expect_faults(MINOR(2));
		assert_int_equal(mm_stats()->cow_reuse, 1);
		finish();
	}
}

static void test_anon_dontneed(void **state)
{
	for_each_world(w) {
		start(w);
		map(mm, B, N, RW);
		write_all(mm, N, 1);
		dontneed(mm, B, N);
		read_all(mm, N, -1);
		expect_faults(MINOR(2 * N));
		finish();
	}
}

static void other_writes_8(void)
{
	put(mm, B + P, 8);
}

static void other_writes_7(void)
{
	put(mm, B, 7);
}

static void test_anon_lost_race(void **state)
{
	for_each_world(w) {
		start(w);
		map(mm, B, 1, RW);
		race_at(TRACE_alloc_pages, other_writes_7);
		assert_int_equal(get(mm, B), 7);
		race_done();
		expect_faults(MINOR(2)); /* both are counted, one page survives */
		assert_int_equal(nr_used_frames(), 1);
		finish();
	}
}

static void test_anon_oom(void **state)
{
	for_each_world(w) {
		start_limited(w, 4, 0);
		map(mm, B, 8, RW);
		mm_quiet(true); /* nothing can be evicted */
		for (unsigned i = 0; i < 4; i++)
			put(mm, B + i * P, i);
		assert_int_equal(try_read(B + 4 * P), VM_FAULT_OOM);
		expect_faults(MINOR(4));
		mm_quiet(false);
		assert_int_equal(try_read(B + 4 * P), 0);
		finish();
	}
}

/* ---- 2.5 do_swap_page ------------------------------------------------------------------------------------------------------------------ */

/* Pages 0..n-1 written with `first`.. and all of them in slots 1..n, in this order. */
static void swapped_out(unsigned n, int first)
{
	map(mm, B, n, RW);
	for (unsigned i = 0; i < n; i++) {
		put(mm, B + i * P, first + i);
		assert_int_equal(pageout(mm, B + i * P, 1), 1);
		assert_int_equal(pte_to_swp_entry(pte_of(mm, B + i * P)).val, i + 1);
	}
	faults();
	mm_check_invariants();
}

static bool cached(unsigned long slot)
{
	struct page *page = lookup_swap_cache((swp_entry_t){ slot });

	if (page)
		put_page(page);
	return page;
}

static void test_swap_cluster(void **state)
{
	for_each_world(w) {
		start(w);
		swapped_out(20, 1);
		/* Slot 3 lies in 0..7; slot 0 is none. */
		assert_int_equal(get(mm, B + 2 * P), 3);
		expect_faults(MAJOR(1));
		for (unsigned slot = 1; slot <= 7; slot++)
			assert_true(cached(slot));
		assert_false(cached(8));
		assert_int_equal(memswap.loads, 7);
		for (unsigned i = 0; i < 7; i++)
			assert_int_equal(get(mm, B + i * P), 1 + i);
		expect_faults(MINOR(6));
		assert_int_equal(memswap.loads, 7);
		assert_int_equal(get(mm, B + 15 * P), 16); /* slot 16, of 16..23; 21 and on are not in use */
		expect_faults(MAJOR(1));
		assert_int_equal(memswap.loads, 12);
		finish();
	}
}

static void test_swap_cluster_ends_at_free_slot(void **state)
{
	for_each_world(w) {
		start(w);
		swapped_out(20, 1);
		dontneed(mm, B + 9 * P, 1); /* slot 10 */
		assert_int_equal(get(mm, B + 11 * P), 12); /* slot 12 of 8..15: 8, 9, and itself */
		expect_faults(MAJOR(1));
		assert_true(cached(8) && cached(9) && cached(12));
		assert_false(cached(11) || cached(13));
		assert_int_equal(memswap.loads, 3);
		finish();
	}
}

static void test_swap_read_then_write(void **state)
{
	for_each_world(w) {
		start(w);
		swapped_out(1, 9);
		assert_int_equal(get(mm, B), 9);
		assert_false(pte_write(pte_of(mm, B)));
		assert_true(cached(1)); /* the slot stays while the page is clean */
		assert_int_equal(get_mm_counter(mm, MM_ANONPAGES), 1);
		assert_int_equal(get_mm_counter(mm, MM_SWAPENTS), 0);
		expect_faults(MAJOR(1));
		put(mm, B, 10);
		expect_faults(MINOR(1)); /* reuse */
		assert_int_equal(mm_stats()->cow_reuse, 1);
		assert_int_equal(mm_stats()->copied, 0);
		assert_true(pte_write(pte_of(mm, B)));
		assert_int_equal(pageout(mm, B, 1), 1); /* the store is not lost */
		assert_int_equal(get(mm, B), 10);
		finish();
	}
}

static void test_swap_write_alone(void **state)
{
	for_each_world(w) {
		start(w);
		swapped_out(1, 9);
		put(mm, B + 1, 10);
		expect_faults(MAJOR(1));
		assert_true(pte_write(pte_of(mm, B)) && pte_dirty(pte_of(mm, B)));
		assert_int_equal(get(mm, B), 9);
		assert_int_equal(pageout(mm, B, 1), 1);
		assert_int_equal(get(mm, B), 9);
		assert_int_equal(get(mm, B + 1), 10);
		finish();
	}
}

/* Another process's entry names the slot too: the page is not ours to write, and is copied within the same fault. */
static void test_swap_write_shared(void **state)
{
	for_each_world(w) {
		struct mm_struct *child;

		start(w);
		swapped_out(1, 9);
		child = fork_mm(mm);
		assert_int_equal(swap_count((swp_entry_t){ 1 }), 2);
		mm_check_invariants();
		put(mm, B, 10);
		expect_faults(MAJOR(1));
		assert_int_equal(mm_stats()->copied, 1);
		assert_int_equal(get(child, B), 9);
		expect_faults(MINOR(1)); /* still in the swap cache */
		assert_int_equal(get(mm, B), 10);
		mmput(child);
		finish();
	}
}

static void test_swap_full_drops_the_slot(void **state)
{
	for_each_world(w) {
		start_limited(w, 1024, 8);
		swapped_out(5, 1); /* more than half of 8 */
		dontneed(mm, B + P, 1); /* alone in its cluster */
		dontneed(mm, B + 2 * P, 1);
		assert_int_equal(mm_stats()->swap_slots_used, 3);
		assert_int_equal(get(mm, B), 1);
		assert_true(cached(1)); /* 3 of 8 */
		put(mm, B + P, 1);
		assert_int_equal(pageout(mm, B + P, 1), 1);
		put(mm, B + 2 * P, 1);
		assert_int_equal(pageout(mm, B + 2 * P, 1), 1); /* 5 of 8 */
		assert_int_equal(mm_stats()->swap_slots_used, 5);
		assert_int_equal(get(mm, B + 4 * P), 5);
		assert_false(cached(5));
		assert_int_equal(mm_stats()->swap_slots_used, 4);
		assert_int_equal(get(mm, B + 3 * P), 4); /* 4 of 8 */
		assert_true(cached(4));
		finish();
	}
}

static void test_swap_damaged_sigbus(void **state)
{
	for_each_world(w) {
		start(w);
		swapped_out(3, 1);
		memswap.bad = 2;
		assert_int_equal(get(mm, B), 1); /* brings the damaged one along, harmlessly */
		expect_faults(MAJOR(1));
		assert_int_equal(try_read(B + P), VM_FAULT_SIGBUS);
		assert_int_equal(try_write(B + P), VM_FAULT_SIGBUS);
		assert_int_equal(get(mm, B + 2 * P), 3);
		expect_faults(MINOR(1));
		finish();
	}
}

static void test_swap_oom(void **state)
{
	for_each_world(w) {
		start_limited(w, 4, 0);
		swapped_out(1, 1);
		map(mm, B + N * P, 8, RW);
		mm_quiet(true);
		for (unsigned i = 0; i < 4; i++)
			put(mm, B + (N + i) * P, i);
		assert_int_equal(try_read(B), VM_FAULT_OOM);
		mm_quiet(false);
		assert_int_equal(get(mm, B), 1);
		finish();
	}
}

static void other_drops_page_0(void)
{
	dontneed(mm, B, 1);
}

static void test_swap_lost_race(void **state)
{
	for_each_world(w) {
		start(w);
		swapped_out(2, 1);
		/* read, and zapped meanwhile: zeros, no page and no slot left over */
		race_at(TRACE_swap_readpage, other_drops_page_0);
		assert_int_equal(get(mm, B), 0);
		race_done();
		dontneed(mm, B, 2);
		mm_check_invariants();
		assert_int_equal(nr_used_frames(), 0);
		assert_int_equal(mm_stats()->swap_slots_used, 0);
		finish();
	}
}

/* A neighbour in swap may belong to shared memory: it waits in the swap cache, on a list already, until its own fault. */
static void test_swap_cluster_brings_shared_memory(void **state)
{
	for_each_world(w) {
		start(w);
		map(mm, B, 1, RW);
		mmap_write_lock(mm);
		assert_int_equal(mmap_region_file(mm, B + 16 * P, 2 * P, RW | VM_SHARED | VM_MAYSHARE, NULL, 0), 0);
		mmap_write_unlock(mm);
		put(mm, B, 1);
		put(mm, B + 16 * P, 2);
		put(mm, B + 17 * P, 3);
		assert_int_equal(pageout(mm, B, 1), 1);
		for (unsigned tries = 0; residency(mm, B + 17 * P) == MM_PRESENT && tries < 3; tries++)
			pageout(mm, B + 16 * P, 2); /* on ARM the first only makes them old */
		faults();
		memswap.bad = 3;
		assert_int_equal(get(mm, B), 1);
		expect_faults(MAJOR(1));
		assert_true(cached(2));
		assert_int_equal(get(mm, B + 16 * P), 2);
		expect_faults(MINOR(1));
		assert_int_equal(try_read(B + 17 * P), VM_FAULT_SIGBUS); /* not what happens to be in the frame */
		memswap.bad = 0;
		mm_check_invariants();
		finish();
	}
}

/* ---- 2.6 do_wp_page ---------------------------------------------------------------------------------------------------------------------- */

static void test_wp_copy_and_reuse(void **state)
{
	for_each_world(w) {
		struct mm_struct *child;

		start(w);
		map(mm, B, N, RW);
		write_all(mm, N, 1);
		faults();
		child = fork_mm(mm);
		mm_check_invariants();
		for (unsigned i = 0; i < N; i++) {
			assert_false(pte_write(pte_of(mm, B + i * P)) || pte_write(pte_of(child, B + i * P)));
			assert_false(pte_young(pte_of(child, B + i * P)));
		}
		write_all(mm, N, 100);
		expect_faults(MINOR(N)); /* copies */
		assert_int_equal(mm_stats()->cow_copy, N);
		read_all(child, N, 1);
		faults(); /* ARM: the child's entries were old */
		write_all(child, N, 50);
		expect_faults(MINOR(N)); /* alone now: in place */
		assert_int_equal(mm_stats()->cow_copy, N);
		assert_int_equal(mm_stats()->cow_reuse, N);
		read_all(mm, N, 100);
		mmput(child);
		finish();
	}
}

static void test_wp_reuse_after_exit(void **state)
{
	for_each_world(w) {
		struct mm_struct *child;

		start(w);
		map(mm, B, 1, RW);
		put(mm, B, 1);
		child = fork_mm(mm);
		mmput(child);
		faults();
		put(mm, B, 2);
		expect_faults(MINOR(1));
		assert_int_equal(mm_stats()->cow_reuse, 1);
		assert_int_equal(mm_stats()->cow_copy, 0);
		finish();
	}
}

static void test_wp_locked_page_is_copied(void **state)
{
	for_each_world(w) {
		struct mm_struct *child;
		struct page *page;

		start(w);
		map(mm, B, 1, RW);
		put(mm, B, 1);
		child = fork_mm(mm);
		mmput(child);
		page = page_of(mm, B);
		get_page(page);
		assert_true(trylock_page(page));
		put(mm, B + 1, 2);
		assert_ptr_not_equal(page_of(mm, B), page);
		assert_int_equal(get(mm, B), 1);
		unlock_page(page);
		put_page(page);
		assert_int_equal(mm_stats()->cow_copy, 1);
		finish();
	}
}

/* In the swap cache, and another entry names the slot: map 1 + 1. */
static void test_wp_swap_users_count(void **state)
{
	for_each_world(w) {
		struct mm_struct *child;

		start(w);
		swapped_out(1, 1);
		child = fork_mm(mm);
		assert_int_equal(get(mm, B), 1); /* the child's entry still names the slot */
		put(mm, B, 2);
		assert_int_equal(mm_stats()->cow_copy, 1);
		assert_int_equal(get(child, B), 1);
		mm_check_invariants();
		mmput(child);
		finish();
	}
}

static struct mm_struct *the_child;

static void other_exits(void)
{
	mmput(the_child);
}

static void test_wp_lost_race(void **state)
{
	for_each_world(w) {
		start(w);
		map(mm, B, 1, RW);
		put(mm, B, 1);
		the_child = fork_mm(mm);
		/* Another thread of ours has its copy in place first. */
		race_at(TRACE_alloc_pages, other_writes_7);
		put(mm, B + 1, 2);
		race_done();
		assert_int_equal(get(mm, B), 7);
		assert_int_equal(get(mm, B + 1), 2);
		assert_int_equal(get(the_child, B), 1);
		assert_int_equal(nr_used_frames(), 2);
		mm_check_invariants();
		mmput(the_child);
		/* The other user goes while we copy: still a copy, and the old page is freed. */
		the_child = fork_mm(mm);
		race_at(TRACE_alloc_pages, other_exits);
		put(mm, B, 8);
		race_done();
		assert_int_equal(get(mm, B + 1), 2);
		assert_int_equal(nr_used_frames(), 1);
		finish();
	}
}

static void test_wp_oom(void **state)
{
	for_each_world(w) {
		struct mm_struct *child;

		start_limited(w, 64, 0);
		map(mm, B, 64, RW);
		write_all(mm, 64, 1);
		child = fork_mm(mm);
		mm_quiet(true);
		faults();
		assert_int_equal(try_write(B), VM_FAULT_OOM);
		expect_faults(0);
		mm_quiet(false);
		put(mm, B, 9);
		assert_int_equal(get(child, B), 1);
		mmput(child);
		finish();
	}
}

/* ---- files: real ones -------------------------------------------------------------------------------------------------------------------- */

static struct disk {
	int fd;
	unsigned reads, bad, writes; /* calls; page that can't be read, plus one */
	int mkwrite;                 /* what page_mkwrite says */
	unsigned mkwrites;
} disk;

static int disk_readpages(void *host, unsigned long pgoff, unsigned nr, void *const pages[])
{
	struct disk *d = host;

	d->reads++;
	for (unsigned i = 0; i < nr; i++) {
		ssize_t n = pread(d->fd, pages[i], P, (off_t)(pgoff + i) * P);

		if (n < 0 || d->bad == pgoff + i + 1)
			return -EIO;
		memset((char *)pages[i] + n, 0, P - n);
	}
	return 0;
}

static int disk_writepage(void *host, unsigned long pgoff, const void *page, size_t len)
{
	struct disk *d = host;

	d->writes++;
	return pwrite(d->fd, page, len, (off_t)pgoff * P) == (ssize_t)len ? 0 : -EIO;
}

static int disk_mkwrite(void *host, unsigned long pgoff)
{
	struct disk *d = host;

	d->mkwrites++;
	return d->mkwrite;
}

static const struct address_space_operations disk_ops = { .readpages = disk_readpages, .writepage = disk_writepage };
static const struct address_space_operations hooked_ops = {
	.readpages = disk_readpages, .writepage = disk_writepage, .page_mkwrite = disk_mkwrite,
};

static struct address_space *mapping;
static struct file *file;

/* Byte 0 of page i is i + 1. */
static void with_file(const struct world *w, unsigned pages, const struct address_space_operations *ops, unsigned flags)
{
	char name[] = "/tmp/linux_2_6.XXXXXX";
	char page[P];

	start(w);
	disk = (struct disk){ .fd = mkstemp(name) };
	assert_true(disk.fd >= 0);
	unlink(name);
	for (unsigned i = 0; i < pages; i++) {
		memset(page, i + 1, P);
		assert_int_equal(pwrite(disk.fd, page, P, i * P), P);
	}
	mapping = address_space_alloc(ops, &disk, pages * P, flags);
	file = file_open(mapping, FILE_WRITE);
	assert_non_null(file);
}

static void finish_file(void)
{
	mm_check_invariants();
	mmput(mm);
	fput(file);
	address_space_put(mapping);
	mm_check_invariants();
	assert_int_equal(nr_used_frames(), 0);
	assert_int_equal(mm_stats()->swap_slots_used, 0);
	close(disk.fd);
	engine_stop();
}

static void map_file(unsigned long addr, unsigned pages, unsigned long flags, unsigned long pgoff)
{
	mmap_write_lock(mm);
	assert_int_equal(mmap_region_file(mm, addr, pages * P, flags, file, pgoff), 0);
	mmap_write_unlock(mm);
}

static uint8_t on_disk(unsigned long offset)
{
	uint8_t v;

	assert_int_equal(pread(disk.fd, &v, 1, offset), 1);
	return v;
}

/* 2.3, read: page_prot, file_rss, the reference stays with the entry; no fault-around. */
static void test_file_read(void **state)
{
	for_each_world(w) {
		with_file(w, N, &disk_ops, MAPPING_NOTIFY);
		assert_int_equal(filemap_populate(file, 0, N), N);
		map_file(B, N, RW, 0);
		map_file(B + N * P, N, SHARED, 0);
		read_all(mm, N, 1);
		expect_faults(MINOR(N));
		assert_int_equal(get_mm_counter(mm, MM_FILEPAGES), N);
		assert_int_equal(page_count(page_of(mm, B)), 2);
		assert_int_equal(get(mm, B + N * P), 1);
		assert_int_equal(page_mapcount(page_of(mm, B)), 2);
		assert_false(pte_write(pte_of(mm, B)) || pte_write(pte_of(mm, B + N * P))); /* private; notified */
		faults();
		finish_file();
	}
}

/* 2.3, write to a private mapping: early COW, one fault. */
static void test_file_private_write(void **state)
{
	for_each_world(w) {
		with_file(w, 4, &disk_ops, MAPPING_NOTIFY);
		filemap_populate(file, 0, 4);
		map_file(B, 4, RW, 0);
		put(mm, B + 1, 77);
		expect_faults(MINOR(1));
		assert_int_equal(mm_stats()->copied, 1);
		assert_int_equal(get_mm_counter(mm, MM_ANONPAGES), 1);
		assert_int_equal(get_mm_counter(mm, MM_FILEPAGES), 0);
		assert_true(page_flags(page_of(mm, B)) & PG_active);
		assert_true(pte_write(pte_of(mm, B)) && pte_dirty(pte_of(mm, B)));
		assert_int_equal(get(mm, B), 1);
		/* read first: 2.6, other file page: copy; file_rss -> anon_rss */
		assert_int_equal(get(mm, B + P), 2);
		put(mm, B + P + 1, 78);
		expect_faults(MINOR(2));
		assert_int_equal(get_mm_counter(mm, MM_ANONPAGES), 2);
		assert_int_equal(get_mm_counter(mm, MM_FILEPAGES), 0);
		assert_int_equal(on_disk(1), 1);
		/* MADV_DONTNEED: the file's bytes again */
		dontneed(mm, B, 1);
		assert_int_equal(get(mm, B + 1), 1);
		finish_file();
	}
}

/* 2.3 and 2.6, shared: the first store is seen, sets W D and the page's dirty bit; writeback makes the entry clean again. */
static void test_file_shared_write(void **state)
{
	for_each_world(w) {
		with_file(w, 4, &disk_ops, MAPPING_NOTIFY);
		filemap_populate(file, 0, 4);
		map_file(B, 4, SHARED, 0);
		put(mm, B, 50); /* none -> W D */
		expect_faults(MINOR(1));
		assert_int_equal(get(mm, B + P), 2);
		put(mm, B + P, 51); /* RO -> reuse */
		expect_faults(MINOR(2));
		assert_int_equal(mm_stats()->copied, 0);
		assert_true(page_flags(page_of(mm, B)) & PG_dirty && page_flags(page_of(mm, B + P)) & PG_dirty);
		assert_int_equal(filemap_write_and_wait_range(mapping, 0, 4), 0);
		assert_int_equal(on_disk(0), 50);
		assert_int_equal(on_disk(P), 51);
		assert_false(pte_write(pte_of(mm, B)));
		mm_check_invariants();
		put(mm, B, 52);
		put(mm, B, 53);
		expect_faults(MINOR(1));
		finish_file();
	}
}

/* Who doesn't count his dirty pages maps them writable at once. */
static void test_file_shared_unnotified(void **state)
{
	for_each_world(w) {
		with_file(w, 4, &disk_ops, 0);
		filemap_populate(file, 0, 4);
		map_file(B, 4, SHARED, 0);
		assert_int_equal(get(mm, B), 1);
		put(mm, B, 50);
		expect_faults(MINOR(strcmp(w->geometry, "arm") ? 1 : 2)); /* ARM: the dirty bit */
		unmap(mm, B, 4);
		assert_int_equal(filemap_write_and_wait_range(mapping, 0, 4), 0);
		assert_int_equal(on_disk(0), 50);
		finish_file();
	}
}

static void test_page_mkwrite(void **state)
{
	for_each_world(w) {
		with_file(w, 4, &hooked_ops, MAPPING_NOTIFY);
		filemap_populate(file, 0, 4);
		map_file(B, 4, SHARED, 0);
		disk.mkwrite = -ENOSPC;
		assert_int_equal(try_write(B), VM_FAULT_SIGBUS); /* __do_fault */
		assert_int_equal(get(mm, B), 1);
		assert_int_equal(try_write(B), VM_FAULT_SIGBUS); /* do_wp_page */
		expect_faults(MINOR(1));
		disk.mkwrite = 0;
		put(mm, B, 9);
		put(mm, B + P, 9);
		put(mm, B + P, 10);
		expect_faults(MINOR(2));
		assert_int_equal(disk.mkwrites, 4);
		finish_file();
	}
}

static void truncate_all(void) { vmtruncate(mapping, 0); }
static void drop_entry_0(void) { dontneed(mm, B, 1); }
static void read_entry_0(void) { get(mm, B); }

/* While the file is asked no lock is held but mmap_lock: the page leaves the file, or the entry changes. */
static void test_page_mkwrite_races(void **state)
{
	for_each_world(w) {
		with_file(w, 4, &hooked_ops, MAPPING_NOTIFY);
		filemap_populate(file, 0, 4);
		map_file(B, 4, SHARED, 0);
		race_at(TRACE_page_mkwrite, truncate_all);
		assert_int_equal(try_write(B), VM_FAULT_SIGBUS); /* __do_fault: nothing is done; the second time there is no page */
		race_done();
		assert_int_equal(disk.mkwrites, 1);
		expect_faults(MINOR(1));
		finish_file();

		with_file(w, 4, &hooked_ops, MAPPING_NOTIFY);
		filemap_populate(file, 0, 4);
		map_file(B, 4, SHARED, 0);
		get(mm, B);
		faults();
		race_at(TRACE_page_mkwrite, drop_entry_0);
		put(mm, B, 9); /* do_wp_page: the entry is another one; then __do_fault */
		race_done();
		assert_int_equal(disk.mkwrites, 2);
		expect_faults(MINOR(2));
		assert_int_equal(get(mm, B), 9);
		finish_file();
	}
}

/* __do_fault: the entry is no longer what it was. The page, or its copy, is let go. */
static void test_file_lost_race(void **state)
{
	for_each_world(w)
		for (unsigned write = 0; write < 2; write++) {
			with_file(w, 4, &disk_ops, MAPPING_NOTIFY);
			filemap_populate(file, 0, 4);
			map_file(B, 4, RW, 0);
			race_at(TRACE_filemap_fault, write ? other_writes_7 : read_entry_0);
			if (write)
				put(mm, B + 1, 9);
			else
				assert_int_equal(get(mm, B), 1);
			race_done();
			expect_faults(MINOR(2));
			assert_int_equal(get(mm, B), write ? 7 : 1);
			assert_int_equal(nr_used_frames(), 4 + write);
			finish_file();
		}
}

/* handle_pte_fault: present when it was read, and gone when the lock is held. */
static void test_present_changed(void **state)
{
	for_each_world(w) {
		start(w);
		map(mm, B, 1, RW);
		put(mm, B, 1);
		mmput(fork_mm(mm));
		faults();
		race_at(TRACE_handle_pte_fault, other_drops_page_0);
		put(mm, B + 1, 2);
		race_done();
		expect_faults(MINOR(2));
		assert_int_equal(get(mm, B), 0);
		assert_int_equal(mm_stats()->cow_reuse, 0);
		finish();
	}
}

/* ---- mappings with ->nopage and ->nopfn (2.1, 2.3) ------------------------------------------------------------------------------------------ */

static struct page *nopage_says;
static vm_fault_t nopage_type;

static struct page *own_nopage(struct vm_area_struct *vma, unsigned long addr, vm_fault_t *type)
{
	if (nopage_says == NOPAGE_SIGBUS || nopage_says == NOPAGE_OOM)
		return nopage_says;
	*type = nopage_type;
	return find_get_page(vma->vm_file->f_mapping, linear_page_index(vma, addr), NULL);
}

static const struct vm_operations_struct nopage_ops = { .nopage = own_nopage };

static void test_nopage(void **state)
{
	for_each_world(w) {
		with_file(w, 4, &disk_ops, MAPPING_NOTIFY);
		filemap_populate(file, 0, 4);
		map_file(B, 4, RW, 0);
		mmap_write_lock(mm);
		find_vma(mm, B)->vm_ops = &nopage_ops;
		mmap_write_unlock(mm);
		nopage_says = NOPAGE_SIGBUS;
		assert_int_equal(try_read(B), VM_FAULT_SIGBUS);
		nopage_says = NOPAGE_OOM;
		assert_int_equal(try_read(B), VM_FAULT_OOM);
		expect_faults(0);
		nopage_says = NULL + 1;
		nopage_type = 0;
		assert_int_equal(get(mm, B), 1);
		expect_faults(MINOR(1));
		nopage_type = VM_FAULT_MAJOR;
		assert_int_equal(get(mm, B + P), 2);
		put(mm, B + 2 * P + 1, 9); /* early COW */
		expect_faults(MAJOR(2));
		assert_int_equal(get(mm, B + 2 * P), 3);
		assert_int_equal(get_mm_counter(mm, MM_FILEPAGES), 2);
		assert_int_equal(get_mm_counter(mm, MM_ANONPAGES), 1);
		finish_file();
	}
}

static unsigned long device, nopfn_says;

static unsigned long own_nopfn(struct vm_area_struct *vma, unsigned long addr)
{
	unsigned long says = nopfn_says;

	nopfn_says = device;
	return says;
}

static const struct vm_operations_struct nopfn_ops = { .nopfn = own_nopfn };

static void start_device(const struct world *w, unsigned long flags)
{
	start(w);
	device = nopfn_says = reserve_frame();
	memset(machine_frame(device), 42, P);
	map(mm, B, 2, flags | VM_PFNMAP);
	mmap_write_lock(mm);
	find_vma(mm, B)->vm_ops = &nopfn_ops;
	mmap_write_unlock(mm);
}

static void test_no_pfn(void **state)
{
	for_each_world(w) {
		struct mm_struct *child;

		start_device(w, SHARED);
		nopfn_says = NOPFN_SIGBUS;
		assert_int_equal(try_read(B), VM_FAULT_SIGBUS);
		nopfn_says = NOPFN_OOM;
		assert_int_equal(try_read(B), VM_FAULT_OOM);
		expect_faults(0);
		nopfn_says = NOPFN_REFAULT;
		put(mm, B, 7);
		expect_faults(MINOR(2));
		assert_int_equal(*(uint8_t *)machine_frame(device), 7);
		assert_true(pte_write(pte_of(mm, B)) && pte_dirty(pte_of(mm, B)) && pte_special(pte_of(mm, B)));
		assert_int_equal(get_mm_counter(mm, MM_ANONPAGES) + get_mm_counter(mm, MM_FILEPAGES), 0);
		child = fork_mm(mm); /* PFNMAP: entries are copied */
		mm_check_invariants();
		assert_true(pte_present(pte_of(child, B)));
		assert_int_equal(get(child, B), 7);
		mmput(child);
		race_at(TRACE_do_no_pfn, other_writes_8);
		assert_int_equal(get(mm, B + P), 8); /* somebody was faster */
		race_done();
		assert_int_equal(nr_used_frames(), 0);
		finish();
	}
}

/* do_wp_page without a struct page: a copy, always. */
static void test_wp_no_struct_page(void **state)
{
	for_each_world(w) {
		start_device(w, RW);
		assert_int_equal(get(mm, B), 42);
		put(mm, B + 1, 7);
		expect_faults(MINOR(2));
		assert_int_equal(get(mm, B), 42);
		assert_int_equal(((uint8_t *)machine_frame(device))[1], 42);
		assert_int_equal(get_mm_counter(mm, MM_ANONPAGES), 1);
		assert_int_equal(mm_stats()->cow_copy, 1);
		finish();
	}
}

static void test_pgfault(void **state)
{
	for_each_world(w) {
		with_file(w, 2, &disk_ops, 0);
		map_file(B, 4, RO, 0);
		get(mm, B);
		assert_int_equal(mm_pgfault(mm_stats()), 1);
		try_read(B + 2 * P); /* SIGBUS */
		assert_int_equal(mm_pgfault(mm_stats()), 2);
		try_write(B); /* no right: handle_mm_fault is not called */
		assert_int_equal(mm_pgfault(mm_stats()), 2);
		faults();
		finish_file();
	}
}

/* ---- 2.7 filemap_fault -------------------------------------------------------------------------------------------------------------------- */

static void test_beyond_end(void **state)
{
	for_each_world(w) {
		with_file(w, 2, &disk_ops, MAPPING_NOTIFY);
		map_file(B, 4, RW, 0);
		map_file(B + 8 * P, 4, SHARED, 0);
		assert_int_equal(try_read(B + 2 * P), VM_FAULT_SIGBUS);
		assert_int_equal(try_write(B + 10 * P), VM_FAULT_SIGBUS);
		expect_faults(0);
		assert_non_null(pte_table(mm, B)); /* the tables came first (2.1) */
		finish_file();
	}
}

static void shorten(void) { atomic_store(&mapping->i_size, 2 * P); }

/* The end is looked at again when the page is locked. */
static void test_end_under_the_lock(void **state)
{
	for_each_world(w) {
		with_file(w, 4, &disk_ops, MAPPING_NOTIFY);
		filemap_populate(file, 0, 4);
		map_file(B, 4, RO, 0);
		race_at(TRACE_find_lock_page, shorten); /* the page is still in the cache */
		assert_int_equal(try_read(B + 3 * P), VM_FAULT_SIGBUS);
		race_done();
		expect_faults(0);
		atomic_store(&mapping->i_size, 4 * P);
		finish_file();
	}
}

static void test_read_around(void **state)
{
	for_each_world(w) {
		with_file(w, 100, &disk_ops, MAPPING_NOTIFY);
		map_file(B, 100, RO, 0);
		assert_int_equal(get(mm, B + 50 * P), 51);
		expect_faults(MAJOR(1));
		assert_true(page_flags(page_of(mm, B + 50 * P)) & PG_referenced); /* marked as used */
		assert_int_equal(mm_stats()->file_read, 32);
		assert_true(filemap_cached(mapping, 34) && filemap_cached(mapping, 65));
		assert_false(filemap_cached(mapping, 33) || filemap_cached(mapping, 66));
		assert_int_equal(get(mm, B + 51 * P), 52);
		expect_faults(MINOR(1));
		assert_int_equal((int)file->f_ra.mmap_miss, 0); /* a miss, a hit */
		assert_int_equal(get(mm, B + 5 * P), 6);
		assert_true(filemap_cached(mapping, 0) && filemap_cached(mapping, 31));
		expect_faults(MAJOR(1));
		finish_file();
	}
}

/* The quirk: what is read without reading around counts minor. */
static void test_cold_hints_are_minor(void **state)
{
	for_each_world(w) {
		with_file(w, 64, &disk_ops, MAPPING_NOTIFY);
		map_file(B, 64, RO | VM_RAND_READ, 0);
		for (unsigned i = 0; i < 8; i++)
			assert_int_equal(get(mm, B + i * P), i + 1);
		expect_faults(MINOR(8));
		assert_int_equal(mm_stats()->file_read, 8);
		unmap(mm, B, 64);
		map_file(B, 64, RO | VM_SEQ_READ, 0);
		for (unsigned i = 8; i < 64; i++)
			assert_int_equal(get(mm, B + i * P), i + 1);
		expect_faults(MINOR(56));
		assert_int_equal(mm_stats()->file_read, 64);
		assert_true(disk.reads < 8 + 28); /* by windows */
		finish_file();
	}
}

static void test_lots_of_misses(void **state)
{
	for_each_world(w) {
		with_file(w, 64, &disk_ops, MAPPING_NOTIFY);
		map_file(B, 64, RO, 0);
		file->f_ra.mmap_miss = 100;
		assert_int_equal(get(mm, B + 40 * P), 41);
		expect_faults(MINOR(1));
		assert_int_equal(mm_stats()->file_read, 1);
		file->f_ra.mmap_miss = 99;
		assert_int_equal(get(mm, B + 10 * P), 11);
		expect_faults(MAJOR(1));
		finish_file();
	}
}

static void test_not_uptodate(void **state)
{
	for_each_world(w) {
		with_file(w, 4, &disk_ops, MAPPING_NOTIFY);
		address_space_set_readahead(mapping, 0);
		map_file(B, 4, RO, 0);
		disk.bad = 3;
		assert_int_equal(try_read(B + 2 * P), VM_FAULT_SIGBUS);
		assert_int_equal(disk.reads, 2); /* and once more */
		expect_faults(0);
		disk.bad = 0;
		assert_int_equal(get(mm, B + 2 * P), 3);
		expect_faults(MAJOR(1));
		finish_file();
	}
}

/* ---- 2.4 nonlinear mappings ---------------------------------------------------------------------------------------------------------------- */

static int remap(unsigned long addr, unsigned pages, unsigned long pgoff, unsigned prot, bool nonblock)
{
	int err;

	mmap_write_lock(mm);
	err = sys_remap_file_pages(mm, addr, pages * P, pgoff, prot, nonblock);
	mmap_write_unlock(mm);
	mm_check_invariants();
	return err;
}

static void test_pte_file_bits(void **state)
{
	for_each_world(w) {
		unsigned long some[] = { 0, 1, 31, 32, 33, 0x12345, (1ul << 29) - 1 };

		start(w);
		for (unsigned i = 0; i < sizeof(some) / sizeof(some[0]); i++) {
			pte_t pte = pgoff_to_pte(some[i]);
			uint64_t hw = linux_2_6_hw_entry(pte);

			assert_true(pte_file(pte) && !pte_present(pte) && !is_swap_pte(pte) && !pte_none(pte));
			assert_int_equal(pte_to_pgoff(pte), some[i]);
			if (!strcmp(w->geometry, "i386"))
				assert_int_equal(hw, 1u << 6 | (some[i] & 31) << 1 | some[i] >> 5 << 8);
			else if (!strcmp(w->geometry, "i386-pae"))
				assert_int_equal(hw, 1u << 6 | some[i] << 32);
			else if (!strcmp(w->geometry, "arm"))
				assert_int_equal(hw, 2 | some[i] << 2);
			else
				assert_int_equal(hw, 1u << 6 | some[i] << 12);
		}
		assert_int_equal(pte_file_max_bits(), w == worlds + 1 ? 29 : w == worlds + 2 ? 32 : w == worlds + 3 ? 30 : 34);
		assert_int_equal(linux_2_6_hw_entry(swp_entry_to_pte((swp_entry_t){ 5 })),
				 w == worlds + 1 ? 5ul << 8 : w == worlds + 2 ? 5ul << 37 : w == worlds + 3 ? 5ul << 9 : 5ul << 12);
		finish();
	}
}

static void test_remap_einval(void **state)
{
	for_each_world(w) {
		with_file(w, 8, &disk_ops, 0);
		map_file(B, 8, SHARED, 0);
		map_file(B + 16 * P, 8, RW, 0);
		map(mm, B + 32 * P, 8, RW);
		assert_int_equal(remap(B, 1, 5, 1, false), -EINVAL);           /* a protection */
		assert_int_equal(remap(B + 16 * P, 1, 5, 0, false), -EINVAL);  /* private */
		assert_int_equal(remap(B + 32 * P, 1, 5, 0, false), -EINVAL);  /* no file */
		assert_int_equal(remap(B + 48 * P, 1, 5, 0, false), -EINVAL);  /* no mapping */
		assert_int_equal(remap(B + 7 * P, 2, 5, 0, false), -EINVAL);   /* beyond the vma */
		assert_int_equal(remap(B, 1, 1ul << pte_file_max_bits(), 0, false), -EINVAL); /* no room in an entry */
		assert_int_equal(remap(B + P, 2, 1, 0, false), 0);             /* where it is already */
		assert_false(vma_at(mm, B)->vm_flags & VM_NONLINEAR);
		expect_faults(0);
		finish_file();
	}
}

static void test_remap_nonlinear(void **state)
{
	for_each_world(w) {
		with_file(w, 8, &disk_ops, 0);
		filemap_populate(file, 0, 8);
		map_file(B, 8, SHARED, 0);
		assert_int_equal(get(mm, B), 1);
		faults();
		assert_int_equal(remap(B, 2, 6, 0, true), 0);
		expect_faults(0);
		assert_true(vma_at(mm, B)->vm_flags & VM_NONLINEAR);
		assert_int_equal(mapping->nr_nonlinear, 1);
		assert_true(pte_file(pte_of(mm, B)));
		assert_int_equal(pte_to_pgoff(pte_of(mm, B)), 6);
		assert_int_equal(get(mm, B), 7); /* do_nonlinear_fault */
		assert_int_equal(get(mm, B + P), 8);
		assert_int_equal(get(mm, B + 2 * P), 3); /* do_linear_fault as ever */
		expect_faults(MINOR(3));
		put(mm, B, 99);
		assert_int_equal(get(mm, B + 6 * P), 99); /* the same page */
		faults();
		/* Without NONBLOCK the pages come at once, by faults that count; writable ones for a store. */
		assert_int_equal(remap(B + 4 * P, 2, 0, 0, false), 0);
		expect_faults(MINOR(2));
		assert_int_equal(get(mm, B + 4 * P), 1);
		assert_int_equal(get(mm, B + 5 * P), 2);
		expect_faults(0);
		assert_true(page_flags(page_of(mm, B + 4 * P)) & PG_dirty);
		finish_file();
	}
}

static void test_remap_linear_exception(void **state)
{
	for_each_world(w) {
		with_file(w, 8, &disk_ops, MAPPING_NOTIFY);
		map_file(B, 8, SHARED, 0);
		assert_int_equal(remap(B + 2 * P, 2, 6, 0, true), 0);
		assert_string_equal(drawing(mm, B, 8), "AABBCCCC");
		assert_int_equal(mapping->nr_nonlinear, 0);
		assert_int_equal(get(mm, B + 2 * P), 7);
		assert_int_equal(get(mm, B + 4 * P), 5);
		finish_file();
	}
}

static void test_corrupt_file_pte(void **state)
{
	for_each_world(w) {
		start(w);
		map(mm, B, 2, RW);
		put(mm, B, 1);
		set_pte(ptep_of(mm, B + P), pgoff_to_pte(3));
		assert_int_equal(try_read(B + P), VM_FAULT_OOM);
		set_pte(ptep_of(mm, B + P), (pte_t){ 0 });
		expect_faults(MINOR(1));
		finish();
	}
}

static void test_nonlinear_zap(void **state)
{
	for_each_world(w) {
		with_file(w, 8, &disk_ops, 0);
		map_file(B, 8, SHARED, 0);
		assert_int_equal(remap(B, 1, 6, 0, true), 0);
		assert_int_equal(get(mm, B), 7);
		assert_int_equal(get(mm, B + P), 2);
		dontneed(mm, B, 8);
		assert_int_equal(pte_to_pgoff(pte_of(mm, B)), 6); /* its place is nowhere else */
		assert_true(pte_none(pte_of(mm, B + P)));
		assert_int_equal(get(mm, B), 7);
		/* Truncation below the page: the offset stays, and the fault finds the end of the file. */
		assert_int_equal(vmtruncate(mapping, 6 * P), 0);
		mm_check_invariants();
		assert_true(pte_file(pte_of(mm, B)));
		assert_int_equal(try_read(B), VM_FAULT_SIGBUS);
		unmap(mm, B, 8);
		assert_int_equal(mapping->nr_nonlinear, 0);
		finish_file();
	}
}

/* 4.3: the cursor takes clusters of 32; what is young has one pass. */
static void test_nonlinear_reclaim(void **state)
{
	for_each_world(w) {
		with_file(w, 64, &disk_ops, 0);
		map_file(B, 64, SHARED & ~VM_WRITE, 0);
		assert_int_equal(remap(B, 1, 63, 0, true), 0);
		for (unsigned i = 0; i < 63; i++)
			assert_int_equal(get(mm, B + i * P), i ? i + 1 : 64);
		assert_true(try_to_unmap_nonlinear(mapping, page_of(mm, B)));
		assert_true(pte_present(pte_of(mm, B)) && !pte_young(pte_of(mm, B))); /* once round: all were young */
		assert_true(try_to_unmap_nonlinear(mapping, page_of(mm, B)));
		assert_true(pte_file(pte_of(mm, B))); /* one cluster, the first, although one entry would have done */
		assert_int_equal(pte_to_pgoff(pte_of(mm, B)), 63);
		assert_true(pte_none(pte_of(mm, B + P)) && pte_none(pte_of(mm, B + 31 * P)));
		assert_true(pte_present(pte_of(mm, B + 32 * P)));
		assert_int_equal(vma_at(mm, B)->nonlinear_cursor, 32 * P);
		mm_check_invariants();
		faults();
		assert_int_equal(get(mm, B), 64);
		expect_faults(MINOR(1));
		protect(mm, B, 64, VM_LOCKED, 0);
		assert_false(try_to_unmap_nonlinear(mapping, page_of(mm, B + 40 * P)));
		protect(mm, B, 64, 0, VM_LOCKED);
		assert_true(try_to_free_pages(64) > 0);
		mm_check_invariants();
		for (unsigned i = 0; i < 63; i++)
			assert_int_equal(get(mm, B + i * P), i ? i + 1 : 64);
		finish_file();
	}
}

/* ---- 2.8 fork -------------------------------------------------------------------------------------------------------------------------------- */

static void test_fork_rules(void **state)
{
	for_each_world(w) {
		struct mm_struct *child;

		with_file(w, 8, &disk_ops, 0);
		filemap_populate(file, 0, 8);
		map(mm, B, 2, RW | VM_LOCKED);
		map(mm, B + 4 * P, 2, RW | VM_DONTCOPY);
		map_file(B + 8 * P, 4, SHARED, 0);
		map_file(B + 16 * P, 8, RW, 0);
		put(mm, B, 1);
		put(mm, B + 8 * P, 1);
		get(mm, B + 16 * P);
		child = fork_mm(mm);
		mm_check_invariants();
		assert_ptr_equal(atomic_load(&vma_at(child, B)->anon_vma), atomic_load(&vma_at(mm, B)->anon_vma)); /* one for all */
		assert_false(vma_at(child, B)->vm_flags & VM_LOCKED);
		assert_true(vma_at(child, B + 4 * P)->vm_start > B + 5 * P);
		assert_true(pte_none(pte_of(child, B + 8 * P)) && pte_none(pte_of(child, B + 16 * P))); /* no anon_vma: by faults */
		mmput(child);
		/* one copied page: all entries are copied; so are those of a nonlinear mapping, its offsets too */
		put(mm, B + 17 * P, 1);
		assert_int_equal(remap(B + 8 * P, 1, 3, 0, true), 0);
		put(mm, B + 9 * P, 5);
		child = fork_mm(mm);
		mm_check_invariants();
		assert_true(pte_present(pte_of(child, B + 16 * P)) && pte_present(pte_of(child, B + 17 * P)));
		assert_int_equal(pte_to_pgoff(pte_of(child, B + 8 * P)), 3);
		assert_true(pte_dirty(pte_of(mm, B + 9 * P)) && !pte_dirty(pte_of(child, B + 9 * P))); /* SHARED: clean */
		assert_true(pte_write(pte_of(child, B + 9 * P)) && !pte_young(pte_of(child, B + 9 * P)));
		assert_int_equal(get(child, B + 8 * P), 4);
		mmput(child);
		finish_file();
	}
}

/* ---- 4.3, column 2.6.24 -------------------------------------------------------------------------------------------------------------------- */

static void test_one_pair_of_lists(void **state)
{
	for_each_world(w) {
		with_file(w, 8, &disk_ops, 0);
		filemap_populate(file, 0, 8);
		map(mm, B, 8, RW);
		write_all(mm, 8, 1);
		assert_int_equal(lru_size(LRU_ACTIVE_ANON), 8);   /* new anonymous ones */
		assert_int_equal(lru_size(LRU_INACTIVE_ANON), 8); /* those of the file */
		assert_int_equal(lru_size(LRU_ACTIVE_FILE) + lru_size(LRU_INACTIVE_FILE), 0);
		finish_file();
	}
}

static void test_reclaim_mapped(void **state)
{
	for_each_world(w) {
		start_limited(w, 1000, 0);
		map(mm, B, 1000, RW);
		assert_false(linux_2_6_reclaim_mapped(12)); /* 0 + 0 + 60 */
		assert_false(linux_2_6_reclaim_mapped(2));  /* 0 + 25 + 60 */
		assert_true(linux_2_6_reclaim_mapped(1));   /* 0 + 50 + 60 */
		write_all(mm, 780, 1);
		assert_false(linux_2_6_reclaim_mapped(12)); /* 39 + 0 + 60 */
		assert_true(linux_2_6_reclaim_mapped(6));   /* 39 + 1 + 60 */
		write_all(mm, 800, 1);
		assert_true(linux_2_6_reclaim_mapped(12));  /* 40 + 0 + 60 */
		finish();
	}
}

/* The active list, row by row: what stays? */
static void test_active_scan(void **state)
{
	static const struct { bool mapped, wanted, swap, young, marked, stays; } rows[] = {
		{ true, false, true, false, false, true },  /* mapped pages are not wanted yet */
		{ true, true, false, false, false, true },  /* anonymous, and there is no swap */
		{ true, true, true, true, false, true },    /* used */
		{ true, true, true, false, true, true },    /* the page's own mark counts too */
		{ true, true, true, false, false, false },
		{ false, false, true, false, true, false }, /* not mapped */
	};

	for_each_world(w)
		for (unsigned r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
			unsigned long slots;
			struct page *page;

			with_file(w, 1, &disk_ops, 0);
			slots = nr_swap_slots;
			if (rows[r].mapped) {
				map(mm, B, 1, RW);
				put(mm, B, 1);
				page = page_of(mm, B);
				if (!rows[r].young)
					page_referenced(page);
			} else {
				filemap_populate(file, 0, 1);
				page = find_get_page(mapping, 0, NULL);
				activate_page(page);
				put_page(page);
			}
			if (rows[r].marked)
				set_page_flags(page, PG_referenced);
			if (!rows[r].swap)
				nr_swap_slots = 0;
			linux_2_6_shrink_active_tail(rows[r].wanted ? 0 : 12);
			nr_swap_slots = slots;
			assert_int_equal(!!(page_flags(page) & PG_active), rows[r].stays);
			faults();
			finish_file();
		}
}

/* The inactive list. */
static void test_inactive_scan(void **state)
{
	enum { ANON, MAPPED_FILE, FILE_ALONE };
	enum { GONE, ACTIVE, KEPT };
	static const struct { unsigned kind; bool young, marked, dirty; unsigned end; } rows[] = {
		{ ANON, true, false, true, ACTIVE }, { ANON, false, true, true, ACTIVE }, /* referenced and in use */
		{ ANON, false, false, true, GONE },        /* to swap */
		{ MAPPED_FILE, true, false, false, ACTIVE }, { MAPPED_FILE, false, true, false, ACTIVE }, { MAPPED_FILE, false, false, false, GONE },
		{ FILE_ALONE, false, true, false, GONE },  /* referenced, but nobody uses the file */
		{ FILE_ALONE, false, true, true, KEPT },   /* referenced and dirty: not written now */
		{ FILE_ALONE, false, false, true, GONE },  /* dirty: written */
	};

	for_each_world(w)
		for (unsigned r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
			struct page *page;
			unsigned freed;

			with_file(w, 1, &disk_ops, 0);
			if (rows[r].kind == ANON) {
				map(mm, B, 1, RW);
				put(mm, B, 1);
			} else {
				filemap_populate(file, 0, 1);
				if (rows[r].kind == MAPPED_FILE)
					map_file(B, 1, RO, 0), get(mm, B);
				if (rows[r].dirty)
					filemap_poke(mapping, 0, 9);
			}
			page = rows[r].kind == FILE_ALONE ? find_get_page(mapping, 0, NULL) : page_of(mm, B);
			if (rows[r].kind == FILE_ALONE)
				put_page(page);
			if (!rows[r].young)
				page_referenced(page);
			clear_page_flags(page, PG_referenced);
			if (rows[r].kind == ANON) {
				struct page *same = isolate_tail(LRU_ACTIVE_ANON);

				assert_ptr_equal(same, page);
				clear_page_flags(page, PG_active);
				lru_putback(page);
			}
			if (rows[r].marked)
				set_page_flags(page, PG_referenced);
			freed = linux_2_6_shrink_inactive_tail();
			assert_int_equal(freed, rows[r].end == GONE);
			if (rows[r].end != GONE)
				assert_int_equal(!!(page_flags(page) & PG_active), rows[r].end == ACTIVE);
			assert_int_equal(disk.writes, rows[r].kind == FILE_ALONE && rows[r].dirty && rows[r].end == GONE);
			faults();
			finish_file();
		}
}

static unsigned evict_tail(enum lru_list list)
{
	struct page *page = isolate_tail(list);

	assert_non_null(page);
	assert_true(trylock_page(page));
	return evict_page(page, false);
}

/* try_to_unmap: an entry that was used since the last look keeps its page, of one table or of two, or of a file. */
static void test_unmap_sees_use(void **state)
{
	for_each_world(w)
		for (unsigned kind = 0; kind < 3; kind++) {
			struct mm_struct *child = NULL;
			enum lru_list list = kind == 2 ? LRU_INACTIVE_ANON : LRU_ACTIVE_ANON;
			struct page *page;

			with_file(w, 1, &disk_ops, 0);
			if (kind == 2) {
				filemap_populate(file, 0, 1);
				map_file(B, 1, RO, 0);
				get(mm, B);
			} else {
				map(mm, B, 1, RW);
				put(mm, B, 1);
			}
			if (kind == 1)
				child = fork_mm(mm);
			page = page_of(mm, B);
			assert_int_equal(evict_tail(list), 0);
			assert_true(page_flags(page) & PG_active);
			assert_true(pte_present(pte_of(mm, B)) && !pte_young(pte_of(mm, B)));
			mm_check_invariants();
			assert_int_equal(evict_tail(LRU_ACTIVE_ANON), 1);
			mm_check_invariants();
			assert_int_equal(get(mm, B), 1);
			if (child) {
				assert_int_equal(get(child, B), 1);
				mmput(child);
			}
			faults();
			finish_file();
		}
}

/* Unmapped pages of files go before those that a program has mapped. */
static void test_reclaim_takes_unmapped_first(void **state)
{
	for_each_world(w) {
		with_file(w, 64, &disk_ops, 0);
		filemap_populate(file, 0, 64);
		map(mm, B, 64, RW);
		write_all(mm, 64, 1);
		faults();
		assert_true(try_to_free_pages(32) >= 32);
		assert_int_equal(get_mm_counter(mm, MM_ANONPAGES), 64);
		read_all(mm, 64, 1);
		expect_faults(0);
		finish_file();
	}
}

/* More memory than there is, dirty and shared: everything comes back as it was. */
static void test_reclaim_under_pressure(void **state)
{
	for_each_world(w) {
		struct mm_struct *child;

		start_limited(w, 128, 0);
		map(mm, B, 256, RW);
		write_all(mm, 256, 3);
		mm_check_invariants();
		assert_true(mm_stats()->swapped_out >= 128);
		read_all(mm, 256, 3);
		child = fork_mm(mm);
		write_all(mm, 256, 90);
		read_all(child, 256, 3);
		mm_check_invariants();
		read_all(mm, 256, 90);
		mmput(child);
		finish();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_vma_maperr),
		cmocka_unit_test(test_rights_accerr),
		cmocka_unit_test(test_fetch),
		cmocka_unit_test(test_signals),
		cmocka_unit_test(test_stack_slack),
		cmocka_unit_test(test_stack_no_guard_gap),
		cmocka_unit_test(test_stack_limit),
		cmocka_unit_test(test_stack_other_limits),
		cmocka_unit_test(test_page_mkwrite_races),
		cmocka_unit_test(test_file_lost_race),
		cmocka_unit_test(test_present_changed),
		cmocka_unit_test(test_nopage),
		cmocka_unit_test(test_no_pfn),
		cmocka_unit_test(test_wp_no_struct_page),
		cmocka_unit_test(test_pgfault),
		cmocka_unit_test(test_end_under_the_lock),
		cmocka_unit_test(test_tables_first),
		cmocka_unit_test(test_no_memory_for_tables),
		cmocka_unit_test(test_present_young_dirty),
		cmocka_unit_test(test_present_spurious),
		cmocka_unit_test(test_anon_read_allocates),
		cmocka_unit_test(test_anon_readonly),
		cmocka_unit_test(test_anon_dontneed),
		cmocka_unit_test(test_anon_lost_race),
		cmocka_unit_test(test_anon_oom),
		cmocka_unit_test(test_swap_cluster),
		cmocka_unit_test(test_swap_cluster_ends_at_free_slot),
		cmocka_unit_test(test_swap_read_then_write),
		cmocka_unit_test(test_swap_write_alone),
		cmocka_unit_test(test_swap_write_shared),
		cmocka_unit_test(test_swap_full_drops_the_slot),
		cmocka_unit_test(test_swap_damaged_sigbus),
		cmocka_unit_test(test_swap_oom),
		cmocka_unit_test(test_swap_lost_race),
		cmocka_unit_test(test_swap_cluster_brings_shared_memory),
		cmocka_unit_test(test_wp_copy_and_reuse),
		cmocka_unit_test(test_wp_reuse_after_exit),
		cmocka_unit_test(test_wp_locked_page_is_copied),
		cmocka_unit_test(test_wp_swap_users_count),
		cmocka_unit_test(test_wp_lost_race),
		cmocka_unit_test(test_wp_oom),
		cmocka_unit_test(test_file_read),
		cmocka_unit_test(test_file_private_write),
		cmocka_unit_test(test_file_shared_write),
		cmocka_unit_test(test_file_shared_unnotified),
		cmocka_unit_test(test_page_mkwrite),
		cmocka_unit_test(test_beyond_end),
		cmocka_unit_test(test_read_around),
		cmocka_unit_test(test_cold_hints_are_minor),
		cmocka_unit_test(test_lots_of_misses),
		cmocka_unit_test(test_not_uptodate),
		cmocka_unit_test(test_pte_file_bits),
		cmocka_unit_test(test_remap_einval),
		cmocka_unit_test(test_remap_nonlinear),
		cmocka_unit_test(test_remap_linear_exception),
		cmocka_unit_test(test_corrupt_file_pte),
		cmocka_unit_test(test_nonlinear_zap),
		cmocka_unit_test(test_nonlinear_reclaim),
		cmocka_unit_test(test_fork_rules),
		cmocka_unit_test(test_one_pair_of_lists),
		cmocka_unit_test(test_reclaim_mapped),
		cmocka_unit_test(test_active_scan),
		cmocka_unit_test(test_inactive_scan),
		cmocka_unit_test(test_unmap_sees_use),
		cmocka_unit_test(test_table_race),
		cmocka_unit_test(test_reclaim_takes_unmapped_first),
		cmocka_unit_test(test_reclaim_under_pressure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
