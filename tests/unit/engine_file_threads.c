/* SPDX-License-Identifier: MIT
 *
 * Several threads on one file and few frames: faults on the same pages through several mappings, reclaim, writeback, readahead and truncation
 * beside them. Every thread owns the bytes at its own offset of each page, so that each knows what it must read. Also for ThreadSanitizer.
 */
#include "tests/unit/engine_disk.h"

#define PAGES 160
#define STEPS 4000
#define WORKERS 3

static atomic_bool stop;

struct worker {
	pthread_t thread;
	unsigned id;
	unsigned long base;
	uint8_t want[PAGES];
};

static uint32_t next(uint32_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 17;
	*x ^= *x << 5;
	return *x;
}

/* Shared mappings of one file at different addresses; worker 2 has a private one, of which nobody else may see anything. */
static void *work(void *arg)
{
	struct worker *w = arg;
	uint32_t x = 77 + w->id;
	unsigned long run = 0;

	for (int i = 0; i < STEPS; i++) {
		unsigned page = i % 64 < 32 ? run++ % PAGES : next(&x) % PAGES;
		unsigned long addr = w->base + page * P + w->id * 8;
		uint8_t v;

		if (next(&x) % 3 == 0) {
			v = next(&x);
			if (soft_store(mm, addr, v))
				abort();
			w->want[page] = v;
		} else {
			if (soft_load(mm, addr, &v))
				abort();
			if (v != w->want[page]) {
				fprintf(stderr, "worker %u, page %u: %u, not %u\n", w->id, page, v, w->want[page]);
				abort();
			}
		}
	}
	return NULL;
}

static void *disturb(void *arg)
{
	struct address_space *shm = arg;
	uint32_t x = 5;
	uint8_t v;

	while (!atomic_load(&stop)) {
		unsigned long at = next(&x) % PAGES;

		switch (next(&x) % 10) {
		case 0: try_to_free_pages(20); break;
		case 1: filemap_write_and_wait_range(shm, at, at + 20); break;
		case 2: invalidate_mapping_pages(shm, at, at + 20); break;
		case 3: pageout(mm, B + at * P, 16); break;
		case 4: msync_range(mm, 2 * B + at * P, 8 * P); break;
		case 5: mm_check_invariants(); break;
		case 6: filemap_peek(shm, at * P + 4000, &v); break;
		case 7: filemap_poke(shm, at * P + 4001, 1); break;
		case 8: dontneed(mm, B + at * P, 4); break; /* shared: the pages stay what they are */
		default: /* the end comes and goes, behind what the workers use */
			vmtruncate(shm, (PAGES + 4 + next(&x) % 4) * P + next(&x) % P);
			if (soft_load(mm, 3 * B + (PAGES + 4) * P, &v))
				abort();
			soft_load(mm, 3 * B + (PAGES + 6) * P, &v); /* may be SIGBUS */
		}
	}
	return NULL;
}

static void run(unsigned caps, unsigned flags, bool anon)
{
	struct worker w[WORKERS] = { { .id = 0, .base = B }, { .id = 1, .base = 2 * B }, { .id = 2, .base = 3 * B } };
	struct address_space *shm;
	struct file *f;
	pthread_t d;

	start_engine(&(struct engine){ .caps = caps, .frames = 160, .limit = 112 }, PAGES + 8, flags, &disk_ops);
	address_space_set_readahead(mapping, 16);
	shm = anon ? address_space_alloc(NULL, NULL, (PAGES + 8) * P, MAPPING_ANON) : mapping;
	f = anon ? file_open(shm, FILE_WRITE) : file;
	for (int i = 0; i < WORKERS; i++) {
		mmap_write_lock(mm);
		assert_int_equal(mmap_region_file(mm, w[i].base, (PAGES + 8) * P, i == 2 && !anon ? RW : SHARED, f, 0), 0);
		mmap_write_unlock(mm);
		for (unsigned p = 0; p < PAGES; p++)
			w[i].want[p] = anon ? 0 : byte_of(p);
	}
	atomic_store(&stop, false);
	pthread_create(&d, NULL, disturb, shm);
	for (int i = 0; i < WORKERS; i++)
		pthread_create(&w[i].thread, NULL, work, &w[i]);
	for (int i = 0; i < WORKERS; i++)
		pthread_join(w[i].thread, NULL);
	atomic_store(&stop, true);
	pthread_join(d, NULL);
	mm_check_invariants();
	if (anon) {
		fput(f);
		address_space_put(shm);
	}
	finish();
	for (unsigned p = 0; p < PAGES && !anon; p++)
		for (int i = 0; i < 2; i++)
			assert_int_equal(on_disk(p * P + i * 8), w[i].want[p]);
}

static void test_notified(void **state) { run(CAPS_X86, MAPPING_NOTIFY, false); }
static void test_plain(void **state) { run(CAPS_X86, 0, false); }
static void test_arm(void **state) { run(CAPS_ARM, MAPPING_NOTIFY, false); }
static void test_shared_anon(void **state) { run(CAPS_X86, 0, true); }

/* Two threads fault on the same cold pages at the same time: each page is read once, and each fault counted. */
static pthread_barrier_t barrier;

static void *touch(void *arg)
{
	for (int i = 0; i < N; i++) {
		uint8_t v;

		pthread_barrier_wait(&barrier);
		if (soft_load(mm, B + i * P, &v) || v != byte_of(i))
			abort();
	}
	return NULL;
}

static void test_same_page(void **state)
{
	pthread_t a, b;

	start(N, 0);
	map_file(mm, B, N, RO | VM_RAND_READ, 0);
	pthread_barrier_init(&barrier, NULL, 2);
	pthread_create(&a, NULL, touch, NULL);
	pthread_create(&b, NULL, touch, NULL);
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	assert_int_equal(disk.read, N);
	assert_int_equal(nr_used_frames(), N);
	finish();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_page), cmocka_unit_test(test_notified), cmocka_unit_test(test_plain), cmocka_unit_test(test_arm),
		cmocka_unit_test(test_shared_anon),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
