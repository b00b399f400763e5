/* SPDX-License-Identifier: MIT
 *
 * Several threads on one address space and few frames: faults side by side on the same pages, reclaim beside them, mappings that come and
 * go. Every thread owns the bytes at its own offset of each page, so that each knows what it must read. Also for ThreadSanitizer.
 */
#include "tests/unit/engine.h"

#include <pthread.h>

#define B     (1UL << 30)
#define PAGES 200
#define STEPS 6000

static struct mm_struct *mm;
static atomic_bool stop;

struct worker {
	pthread_t thread;
	unsigned id;
	uint8_t want[PAGES];
};

static uint32_t next(uint32_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 17;
	*x ^= *x << 5;
	return *x;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	uint32_t x = 77 + w->id;
	unsigned long run = 0;

	for (int i = 0; i < STEPS; i++) {
		unsigned page = i % 64 < 32 ? run++ % PAGES : next(&x) % PAGES; /* a stream, then at random */
		unsigned long addr = B + page * P + w->id * 8;
		uint8_t v;

		if (next(&x) & 1) {
			v = next(&x);
			if (soft_store(mm, addr, v))
				abort();
			w->want[page] = v;
		} else {
			if (soft_load(mm, addr, &v))
				abort();
			if (v != w->want[page]) {
				fprintf(stderr, "thread %u, page %u: %u, not %u\n", w->id, page, v, w->want[page]);
				abort();
			}
		}
	}
	return NULL;
}

/* Beside the workers: reclaim, mappings elsewhere, changes of rights there, and looks at the invariants. */
static void *disturb(void *arg)
{
	unsigned long far = B + (1UL << 21);
	uint32_t x = 5;

	while (!atomic_load(&stop)) {
		unsigned long at = far + next(&x) % 64 * P;

		switch (next(&x) % 8) {
		case 0: try_to_free_pages(20); break;
		case 1: map(mm, at, 1 + next(&x) % 16, RW); break;
		case 2: unmap(mm, at, 1 + next(&x) % 16); break;
		case 3: pageout(mm, B + next(&x) % PAGES * P, 16); break;
		case 4: swap_cache_shrink(8); break;
		case 5: {
			uint8_t v;

			if (!soft_store(mm, at, 3) && (soft_load(mm, at, &v) || v != 3))
				abort();
			break;
		}
		case 6: mm_check_invariants(); break;
		default: protect(mm, at, 4, VM_READ, VM_WRITE); break;
		}
	}
	return NULL;
}

static void run(unsigned caps, unsigned around)
{
	struct worker w[3] = { { .id = 0 }, { .id = 1 }, { .id = 2 } };
	pthread_t d;

	engine_start(&(struct engine){ .caps = caps, .frames = 160, .limit = 128, .anon_around = around, .swapin_around = around });
	mm = mm_alloc();
	map(mm, B, PAGES, RW);
	atomic_store(&stop, false);
	pthread_create(&d, NULL, disturb, NULL);
	for (int i = 0; i < 3; i++)
		pthread_create(&w[i].thread, NULL, work, &w[i]);
	for (int i = 0; i < 3; i++)
		pthread_join(w[i].thread, NULL);
	atomic_store(&stop, true);
	pthread_join(d, NULL);
	mm_check_invariants();
	mmput(mm);
	assert_int_equal(nr_used_frames(), 0);
	assert_int_equal(mm_stats()->swap_slots_used, 0);
	engine_stop();
}

static void test_x86(void **state) { run(CAPS_X86, 1); }
static void test_x86_windows(void **state) { run(CAPS_X86, 16); }
static void test_arm(void **state) { run(CAPS_ARM, 16); }
static void test_uffd(void **state) { run(CAPS_UFFD, 16); }

/* Two threads fault on the same untouched pages at the same time: one page survives, both are counted. */
static pthread_barrier_t barrier;

static void *touch(void *arg)
{
	for (int i = 0; i < 64; i++) {
		pthread_barrier_wait(&barrier);
		if (do_page_fault(mm, B + i * P, FAULT_FLAG_WRITE))
			abort();
	}
	return NULL;
}

static void test_same_page(void **state)
{
	pthread_t a, b;

	engine_start(&(struct engine){ .caps = CAPS_X86 });
	mm = mm_alloc();
	map(mm, B, 64, RW);
	pthread_barrier_init(&barrier, NULL, 2);
	pthread_create(&a, NULL, touch, NULL);
	pthread_create(&b, NULL, touch, NULL);
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	assert_int_equal(nr_used_frames(), 64);
	assert_int_equal(mm_stats()->min_flt, 128);
	mm_check_invariants();
	mmput(mm);
	engine_stop();
}

/* A writer that comes again at once lets the readers that wait go first. */
static atomic_bool been_in;

static void *read_once(void *arg)
{
	mmap_read_lock(mm);
	atomic_store(&been_in, true);
	mmap_read_unlock(mm);
	return NULL;
}

static void test_readers_have_their_turn(void **state)
{
	engine_start(&(struct engine){ .caps = CAPS_X86 });
	mm = mm_alloc();
	for (int i = 0; i < 200; i++) {
		pthread_t t;
		atomic_store(&been_in, false);
		mmap_write_lock(mm);
		pthread_create(&t, NULL, read_once, NULL);
		while (!(atomic_load(&mm->mmap_lock.state) & RWSEM_RWAIT))
			machine_relax();
		mmap_write_unlock(mm);
		mmap_write_lock(mm);
		assert_true(atomic_load(&been_in));
		mmap_write_unlock(mm);
		pthread_join(t, NULL);
		assert_int_equal(atomic_load(&mm->mmap_lock.state) & ~MMAP_LEFT, 0);
	}
	mmput(mm);
	engine_stop();
}

/* ---- what lies with another processor ------------------------------------------------------------------------------ */

struct elsewhere {
	void (*fn)(void);
	unsigned not_here;
	bool done;
};

static void *run_elsewhere(void *arg)
{
	struct elsewhere *e = arg;

	e->done = machine_cpu() != e->not_here;
	if (e->done)
		e->fn();
	return NULL;
}

/* By a thread that belongs to another processor than this one, which has ended then. */
static void elsewhere(void (*fn)(void))
{
	struct elsewhere e = { fn, machine_cpu(), false };
	pthread_t t;

	while (!e.done) {
		pthread_create(&t, NULL, run_elsewhere, &e);
		pthread_join(t, NULL);
	}
}

#define FEW 10

static void start_few(unsigned long limit)
{
	engine_start(&(struct engine){ .caps = CAPS_X86, .frames = 8192, .limit = limit });
	mm = mm_alloc();
	map(mm, B, 100, RW);
}

static void finish_few(void)
{
	mm_check_invariants();
	mmput(mm);
	mm_check_invariants();
	assert_int_equal(nr_used_frames(), 0);
	engine_stop();
}

static void store_few(void)
{
	for (int i = 0; i < FEW; i++)
		put(mm, B + i * P, 1);
}

static void store_and_drop_few(void)
{
	store_few();
	for (int i = 0; i < FEW; i++) /* one by one: they go to the stack */
		dontneed(mm, B + i * P, 1);
}

/* Frames on its stack are free, whoever needs them: nothing is evicted while there are any. */
static void test_frames_of_another(void **state)
{
	start_few(40);
	elsewhere(store_and_drop_few);
	assert_int_equal(nr_used_frames(), 0);
	assert_int_equal(nr_free_frames(), 40);
	for (int i = 0; i < 40; i++)
		put(mm, B + i * P, 2);
	assert_int_equal(nr_used_frames(), 40);
	assert_int_equal(mm_stats()->evicted, 0);
	assert_int_equal(mm_stats()->frames_peak, 40);
	elsewhere(store_and_drop_few);
	mm_set_frame_limit(20); /* what is over it is on no stack */
	finish_few();
}

/* The same for a run of neighbours, whose frames all lie there. */
static void test_run_of_another(void **state)
{
	unsigned long pfn;
	unsigned got;

	start_few(FEW);
	elsewhere(store_and_drop_few);
	pfn = alloc_run(8, &got);
	assert_int_not_equal(pfn, -1UL);
	assert_int_equal(got, 8);
	free_run(pfn, got);
	finish_few();
}

/* Pages that wait there are reclaimed, go to the list of those that can't be, are freed, and leave nothing behind. */
static void test_pages_of_another(void **state)
{
	start_few(0);
	elsewhere(store_few);
	assert_int_equal(lru_size(LRU_INACTIVE_ANON), FEW);
	assert_int_equal(try_to_free_pages(FEW), FEW);
	elsewhere(store_few);
	mmap_write_lock(mm);
	assert_int_equal(vma_modify_flags(mm, B, FEW * P, VM_LOCKED, 0), 0);
	mmap_write_unlock(mm);
	assert_int_equal(nr_unevictable(), FEW);
	unmap(mm, B, FEW);
	map(mm, B, FEW, RW);
	elsewhere(store_few);
	unmap(mm, B, FEW);
	assert_int_equal(nr_used_frames(), 0);
	assert_int_equal(lru_size(LRU_INACTIVE_ANON), 0);
	mm_check_invariants();
	map(mm, B, FEW, RW);
	elsewhere(store_few);
	finish_few();
}

/* Its readers are seen by writers, and what is counted there is in the sum. */
static void read_and_stay(void) { mmap_read_lock(mm); }

static void test_readers_of_another(void **state)
{
	start_few(0);
	elsewhere(store_few);
	assert_int_equal(get_mm_counter(mm, MM_ANONPAGES), FEW);
	assert_int_equal(mm_min_flt(mm), FEW);
	assert_int_equal(mm_stats()->min_flt, FEW);
	assert_int_equal(mm_stats()->zeroed, FEW);
	dontneed(mm, B, FEW);
	assert_int_equal(get_mm_counter(mm, MM_ANONPAGES), 0);
	assert_false(mmap_is_locked(mm));
	elsewhere(read_and_stay);
	assert_true(mmap_is_locked(mm) && !mmap_is_write_locked(mm));
	assert_true(mmap_read_trylock(mm));
	mmap_read_unlock(mm);
	mmap_read_unlock(mm); /* the other one's, from here */
	assert_false(mmap_is_locked(mm));
	mmap_write_lock(mm);
	assert_false(mmap_read_trylock(mm));
	mmap_write_unlock(mm);
	finish_few();
}

/* Readers and writers without a pause: a writer is alone, and nobody sleeps for ever. */
static unsigned long alone[2];

static void *lock_in_turn(void *arg)
{
	uint32_t x = 9 + (uint32_t)(uintptr_t)arg;

	for (int i = 0; i < 20000; i++) {
		if (next(&x) % 4) {
			if (next(&x) % 4)
				mmap_read_lock(mm);
			else if (!mmap_read_trylock(mm))
				continue;
			if (alone[0] != alone[1])
				abort();
			mmap_read_unlock(mm);
		} else {
			mmap_write_lock(mm);
			alone[0]++;
			machine_relax();
			alone[1]++;
			mmap_write_unlock(mm);
		}
	}
	return NULL;
}

static void test_readers_and_writers(void **state)
{
	pthread_t t[4];

	start_few(0);
	for (uintptr_t i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, lock_in_turn, (void *)i);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	assert_false(mmap_is_locked(mm));
	assert_int_equal(atomic_load(&mm->mmap_lock.state) & ~MMAP_LEFT, 0);
	finish_few();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_page), cmocka_unit_test(test_readers_have_their_turn), cmocka_unit_test(test_x86), cmocka_unit_test(test_x86_windows), cmocka_unit_test(test_arm),
		cmocka_unit_test(test_uffd),
		cmocka_unit_test(test_frames_of_another), cmocka_unit_test(test_run_of_another), cmocka_unit_test(test_pages_of_another),
		cmocka_unit_test(test_readers_of_another), cmocka_unit_test(test_readers_and_writers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
