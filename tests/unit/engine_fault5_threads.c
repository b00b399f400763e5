/* SPDX-License-Identifier: MIT
 *
 * linux-5 and files, several threads: faults on one entry at the same moment, and faults while mappings of the same pages are split, moved,
 * forked and truncated. Also for ThreadSanitizer.
 */
#include "tests/unit/engine_disk.h"

#define THREADS 3
#define PAGES   96
#define ROUNDS  60

static pthread_barrier_t together;
static atomic_bool stop;

/* ---- the same entry --------------------------------------------------------------------------------------------------- */

struct racer {
	pthread_t thread;
	unsigned long addr, pages;
	bool write;
};

static void *race(void *arg)
{
	struct racer *r = arg;
	uint8_t v;

	for (unsigned long i = 0; i < r->pages; i++) {
		pthread_barrier_wait(&together);
		if (r->write ? soft_store(mm, r->addr + i * P, 1) : soft_load(mm, r->addr + i * P, &v))
			abort();
	}
	return NULL;
}

static void race_all(unsigned long addr, const bool *write)
{
	struct racer racers[THREADS];

	pthread_barrier_init(&together, NULL, THREADS);
	for (unsigned i = 0; i < THREADS; i++) {
		racers[i] = (struct racer){ .addr = addr, .pages = N, .write = write[i] };
		pthread_create(&racers[i].thread, NULL, race, &racers[i]);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(racers[i].thread, NULL);
	pthread_barrier_destroy(&together);
	mm_check_invariants();
}

/* Of all that was allocated one page survives. */
static void test_same_entry(void **state)
{
	static const bool stores[] = { true, true, true }, both[] = { true, false, false }, loads[] = { false, false, false };
	static const bool *const kinds[] = { stores, both, loads };

	for (unsigned kind = 0; kind < 3; kind++)
		for (unsigned notify = 0; notify < 2; notify++) {
			start_engine(&(struct engine){ .caps = CAPS_X86, .frames = 2048, .rules = MM_REUSE_5_15 << notify }, N,
				     notify ? MAPPING_NOTIFY : 0, &disk_ops);
			map_file(mm, B, N, RW, 0);
			map_file(mm, 2 * B, N, SHARED, 0);
			map_shared_anon(mm, 3 * B, N);
			for (unsigned m = 1; m <= 3; m++)
				race_all(m * B, kinds[kind]);
			assert_int_equal(get_mm_counter(mm, MM_ANONPAGES), kind < 2 ? N : 0);
			assert_int_equal(get_mm_counter(mm, MM_SHMEMPAGES), N);
			assert_int_equal(get_mm_counter(mm, MM_FILEPAGES), kind < 2 ? N : 2 * N);
			finish();
		}
}

/* ---- beside changes of the mappings ------------------------------------------------------------------------------------- */

struct user {
	pthread_t thread;
	unsigned id;
	unsigned long signals;
};

static uint32_t next(uint32_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 17;
	*x ^= *x << 5;
	return *x;
}

/* A byte is the file's or one that a thread stored: never another page's. Page i's bytes have i in their upper bits. */
static uint8_t mark(unsigned long page, unsigned n) { return (uint8_t)(page << 2 | n); }

static void *use(void *arg)
{
	struct user *u = arg;
	uint32_t x = 99 + u->id;

	while (!atomic_load(&stop)) {
		unsigned long page = next(&x) % PAGES, base = next(&x) & 1 ? B : 2 * B;
		unsigned long addr = base + page * P + u->id;
		vm_fault_t ret;
		uint8_t v = 0;

		ret = next(&x) & 1 ? soft_store(mm, addr, mark(page, u->id)) : soft_load(mm, addr, &v);
		if (ret & ~(VM_FAULT_SIGBUS | VM_FAULT_BADMAP | VM_FAULT_BADACCESS))
			abort();
		u->signals += !!ret;
		if (v && v >> 2 != (page & 63)) {
			fprintf(stderr, "page %lu has byte %u, page %u's\n", page, v, v >> 2);
			abort();
		}
	}
	return NULL;
}

static void write_locked(int (*change)(unsigned long), unsigned long arg)
{
	int err;

	mmap_write_lock(mm);
	err = change(arg);
	mmap_write_unlock(mm);
	assert_true(!err || err == -ENOMEM);
}

static int away(unsigned long base) { return move_vma(mm, base, PAGES * P, 8 * B, PAGES * P, false); }
static int back(unsigned long base) { return move_vma(mm, 8 * B, PAGES * P, base, PAGES * P, false); }
static int freeze(unsigned long base) { return vma_modify_flags(mm, base + 10 * P, 20 * P, 0, VM_WRITE); }
static int thaw(unsigned long base) { return vma_modify_flags(mm, base + 10 * P, 20 * P, VM_WRITE, 0); }

static void disturb(unsigned i, unsigned long base)
{
	struct mm_struct *child;
	uint8_t v = 0;

	write_locked(freeze, base);
	child = fork_mm(mm);
	if (child) {
		for (unsigned long p = 0; p < PAGES; p += 7)
			if (!soft_load(child, base + p * P, &v))
				assert_true(!v || v >> 2 == (p & 63));
		soft_store(child, base + 3 * P, mark(3, 3));
	}
	write_locked(away, base);
	assert_int_equal(vmtruncate(mapping, (i % 3) * 30 * P + 11), 0);
	mm_check_invariants();
	assert_int_equal(vmtruncate(mapping, PAGES * P), 0);
	write_locked(back, base);
	write_locked(thaw, base);
	if (child)
		mmput(child);
	assert_int_equal(filemap_write_and_wait_range(mapping, 0, NONE), 0);
	dontneed(mm, base + 40 * P, 9);
	mm_check_invariants();
}

static void run(unsigned rule, unsigned flags, unsigned long frames)
{
	struct user users[THREADS];
	uint8_t bytes[P];

	start_engine(&(struct engine){ .caps = CAPS_X86, .frames = frames, .rules = rule }, PAGES, flags, &disk_ops);
	for (unsigned long i = 0; i < PAGES; i++) {
		memset(bytes, mark(i, 3), P);
		assert_int_equal(pwrite(disk.fd, bytes, P, (off_t)(i * P)), P);
	}
	map_file(mm, B, PAGES, RW, 0);
	map_file(mm, 2 * B, PAGES, SHARED, 0);
	atomic_store(&stop, false);
	for (unsigned i = 0; i < THREADS; i++) {
		users[i] = (struct user){ .id = i };
		pthread_create(&users[i].thread, NULL, use, &users[i]);
	}
	for (unsigned i = 0; i < ROUNDS; i++)
		disturb(i, i & 1 ? B : 2 * B);
	atomic_store(&stop, true);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(users[i].thread, NULL);
	finish();
}

/* All with notice of first stores: elsewhere a page may be stored to while it is written to the file, and the next write brings the rest. */
static void test_changes_5_4(void **state) { run(MM_REUSE_5_4, MAPPING_NOTIFY, 2048); }
static void test_changes_5_15(void **state) { run(MM_REUSE_5_15, MAPPING_NOTIFY, 2048); }
static void test_changes_6(void **state) { run(MM_REUSE_6, MAPPING_NOTIFY, 2048); }
/* Frames for a third of it: reclaim in the middle of everything. */
static void test_changes_reclaim(void **state) { run(MM_REUSE_6, MAPPING_NOTIFY, 160); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_entry), cmocka_unit_test(test_changes_5_4), cmocka_unit_test(test_changes_5_15),
		cmocka_unit_test(test_changes_6),  cmocka_unit_test(test_changes_reclaim),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
