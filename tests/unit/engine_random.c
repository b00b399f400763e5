/* SPDX-License-Identifier: MIT
 *
 * Everything at once, at random, against a model: address spaces as plain arrays of bytes. Few frames, so that pages leave and come
 * back all the time; forks, so that they are shared; every invariant after every step.
 *
 * A failing run says its seed: engine_random SEED runs it again.
 */
#include "tests/unit/engine.h"

#include <errno.h>

#define BASE   (1UL << 30)
#define PAGES  160
#define NR_MM  4

/* What a page of the model is: mapped?, with what rights, and its bytes (two of them stand for all). */
struct model_page {
	bool mapped, write, none;
	uint8_t first, last;
};

struct space {
	struct mm_struct *mm;
	struct model_page page[PAGES];
};

static struct space space[NR_MM];
static uint64_t seed, state;

static uint32_t rnd(uint32_t n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 32) % n;
}

#define FAIL(...) do { fprintf(stderr, "seed %lu: ", (unsigned long)seed); fprintf(stderr, __VA_ARGS__); fputc('\n', stderr); abort(); } while (0)

static unsigned long at(unsigned page)
{
	return BASE + page * P;
}

static void range(unsigned *from, unsigned *n)
{
	*from = rnd(PAGES);
	*n = 1 + rnd(rnd(3) ? 8 : PAGES - *from);
	if (*from + *n > PAGES)
		*n = PAGES - *from;
}

static void access_page(struct space *s, unsigned i, bool write, bool last)
{
	struct model_page *m = &s->page[i];
	uint8_t v = 0, *want = last ? &m->last : &m->first;
	unsigned long addr = at(i) + (last ? P - 1 : 0);
	vm_fault_t ret, expect = !m->mapped ? VM_FAULT_BADMAP : m->none || (write && !m->write) ? VM_FAULT_BADACCESS : 0;

	if (write) {
		v = rnd(256);
		ret = soft_store(s->mm, addr, v);
		if (!ret)
			*want = v;
	} else {
		ret = soft_load(s->mm, addr, &v);
		if (!ret && v != *want)
			FAIL("page %u reads %u, not %u", i, v, *want);
	}
	if (ret != expect)
		FAIL("page %u, %s: %x, not %x", i, write ? "store" : "load", ret, expect);
}

static void access_some(struct space *s)
{
	unsigned from, n, step = rnd(4) ? 1 : 1 + rnd(3);
	bool down = rnd(3) == 0, write = rnd(2);

	range(&from, &n);
	for (unsigned k = 0; k < n; k += step)
		access_page(s, from + (down ? n - 1 - k : k), write, rnd(2));
}

static void do_map(struct space *s)
{
	unsigned from, n;
	bool write = rnd(4), none = rnd(8) == 0;

	range(&from, &n);
	map(s->mm, at(from), n, none ? RW & ~VM_ACCESS_FLAGS : write ? RW : RO);
	for (unsigned i = from; i < from + n; i++)
		s->page[i] = (struct model_page){ .mapped = true, .write = write, .none = none };
}

static void do_unmap(struct space *s)
{
	unsigned from, n;

	range(&from, &n);
	unmap(s->mm, at(from), n);
	memset(&s->page[from], 0, n * sizeof(s->page[0]));
}

static void do_protect(struct space *s)
{
	unsigned from, n, kind = rnd(4);

	range(&from, &n);
	if (kind == 0)
		protect(s->mm, at(from), n, 0, VM_ACCESS_FLAGS);
	else if (kind == 1)
		protect(s->mm, at(from), n, VM_READ, VM_WRITE | VM_EXEC);
	else
		protect(s->mm, at(from), n, VM_READ | VM_WRITE, VM_EXEC);
	for (unsigned i = from; i < from + n; i++) {
		s->page[i].none = kind == 0;
		s->page[i].write = kind > 1;
	}
}

static void do_dontneed(struct space *s)
{
	unsigned from, n;

	range(&from, &n);
	dontneed(s->mm, at(from), n);
	for (unsigned i = from; i < from + n; i++)
		s->page[i].first = s->page[i].last = 0;
}

static void do_move(struct space *s)
{
	unsigned from, n, to, m;
	struct model_page old[PAGES];
	bool keep = rnd(4) == 0;
	int err;

	range(&from, &n);
	range(&to, &m);
	if (rnd(3) == 0)
		to = from;
	if (to + m > PAGES)
		m = PAGES - to;
	if (to == from && keep)
		return;
	mmap_write_lock(s->mm);
	err = move_vma(s->mm, at(from), n * P, at(to), m * P, keep);
	mmap_write_unlock(s->mm);
	if (to != from && to < from + n && from < to + m) {
		if (err != -EINVAL)
			FAIL("move over itself: %d", err);
		return;
	}
	if (err)
		FAIL("move: %d", err);
	memcpy(old, s->page, sizeof(old));
	memset(&s->page[to], 0, m * sizeof(s->page[0]));
	for (unsigned i = 0; i < n && i < m; i++)
		s->page[to + i] = old[from + i];
	/* What is new looks like the last page of the old. */
	for (unsigned i = n; i < m; i++)
		s->page[to + i] = (struct model_page){ .mapped = old[from + n - 1].mapped, .write = old[from + n - 1].write,
						       .none = old[from + n - 1].none };
	if (to == from) {
		for (unsigned i = m; i < n; i++)
			memset(&s->page[from + i], 0, sizeof(s->page[0]));
		return;
	}
	for (unsigned i = 0; i < n; i++) {
		if (!keep)
			memset(&s->page[from + i], 0, sizeof(s->page[0]));
		else if (i < m)
			s->page[from + i].first = s->page[from + i].last = 0;
	}
}

static void do_fork(struct space *s)
{
	struct space *child = &space[rnd(NR_MM)];

	if (child == s)
		return;
	if (child->mm)
		mmput(child->mm);
	child->mm = fork_mm(s->mm);
	if (!child->mm)
		FAIL("fork failed");
	memcpy(child->page, s->page, sizeof(s->page));
}

static void do_exit(struct space *s)
{
	int others = 0;

	for (int i = 0; i < NR_MM; i++)
		others += space[i].mm && &space[i] != s;
	if (!others)
		return;
	mmput(s->mm);
	memset(s, 0, sizeof(*s));
}

static void do_reclaim(struct space *s)
{
	unsigned from, n;

	range(&from, &n);
	switch (rnd(5)) {
	case 0:
		pageout(s->mm, at(from), n);
		break;
	case 1:
		try_to_free_pages(n);
		break;
	case 2:
		swap_cache_shrink(n);
		break;
	case 3:
		mmap_read_lock(s->mm);
		swapin_range(s->mm, at(from), n * P);
		mmap_read_unlock(s->mm);
		break;
	default:
		mm_set_frame_limit(64 + rnd(48));
	}
}

static void do_lock(struct space *s)
{
	unsigned from, n;

	range(&from, &n);
	if (rnd(2) && nr_unevictable() < 12)
		protect(s->mm, at(from), n > 4 ? 4 : n, VM_LOCKED, 0);
	else
		protect(s->mm, at(from), n, 0, VM_LOCKED);
}

/* Pinned pages stay where they are; the contents must not suffer. */
static void do_pinned_reclaim(struct space *s)
{
	unsigned from, n;

	range(&from, &n);
	soft_pin(s->mm, at(from), n * P, true);
	try_to_free_pages(20);
	pageout(s->mm, at(0), PAGES);
	soft_pin(s->mm, at(from), n * P, false);
}

static void step(void)
{
	struct space *s;

	do
		s = &space[rnd(NR_MM)];
	while (!s->mm);
	switch (rnd(40)) {
	case 0: case 1: case 2: do_map(s); break;
	case 3: case 4: do_unmap(s); break;
	case 5: case 6: do_protect(s); break;
	case 7: do_dontneed(s); break;
	case 8: case 9: do_move(s); break;
	case 10: do_fork(s); break;
	case 11: if (!rnd(4)) do_exit(s); break;
	case 12: case 13: case 14: do_reclaim(s); break;
	case 15: do_lock(s); break;
	case 16: do_pinned_reclaim(s); break;
	default: access_some(s);
	}
}

static void run(uint64_t start, const struct engine *e, enum reuse_rule rule, unsigned steps)
{
	seed = start;
	state = start * 0x9e3779b97f4a7c15ull | 1;
	engine_start(e);
	mm_reuse_rule = rule;
	memset(space, 0, sizeof(space));
	space[0].mm = mm_alloc();
	for (unsigned i = 0; i < steps; i++) {
		step();
		mm_check_invariants();
	}
	for (int i = 0; i < NR_MM; i++) {
		if (!space[i].mm)
			continue;
		for (unsigned p = 0; p < PAGES; p++) {
			access_page(&space[i], p, false, false);
			access_page(&space[i], p, false, true);
		}
		mmput(space[i].mm);
	}
	mm_check_invariants();
	if (nr_used_frames() || mm_stats()->swap_slots_used || memswap.held)
		FAIL("left over: %lu frames, %lu slots, %lu stored pages", nr_used_frames(),
		     (unsigned long)mm_stats()->swap_slots_used, memswap.held);
	engine_stop();
}

static uint64_t only_seed;

static void run_all(unsigned caps, const char *geometry, enum reuse_rule rule)
{
	struct engine e = { .geometry = geometry, .caps = caps, .frames = 120, .limit = 96, .anon_around = 16, .swapin_around = 16 };

	if (only_seed)
		run(only_seed, &e, rule, 3000);
	else
		for (uint64_t s = 1; s <= 4; s++)
			run(s, &e, rule, 1500);
}

static void test_x86(void **s) { run_all(CAPS_X86, "x86_64", REUSE_5_15); }
static void test_x86_5_4(void **s) { run_all(CAPS_X86, "i386", REUSE_5_4); }
static void test_x86_6(void **s) { run_all(CAPS_X86, "x86_64-5", REUSE_6); }
static void test_2_6(void **s) { run_all(CAPS_2_6, "sv39", REUSE_5_15); }
static void test_arm(void **s) { run_all(CAPS_ARM, "arm", REUSE_5_15); }
static void test_arm_6(void **s) { run_all(CAPS_ARM, "arm", REUSE_6); }
static void test_uffd(void **s) { run_all(CAPS_UFFD, "process", REUSE_5_15); }

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_x86), cmocka_unit_test(test_x86_5_4), cmocka_unit_test(test_x86_6), cmocka_unit_test(test_2_6),
		cmocka_unit_test(test_arm), cmocka_unit_test(test_arm_6), cmocka_unit_test(test_uffd),
	};

	only_seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
