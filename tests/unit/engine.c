/* SPDX-License-Identifier: MIT */
#include "tests/unit/engine.h"

#include <errno.h>
#include <pthread.h>

struct memswap memswap;
static pthread_mutex_t swap_mutex = PTHREAD_MUTEX_INITIALIZER;

static void begin(unsigned long slot)
{
	pthread_mutex_lock(&swap_mutex);
	if (memswap.in_use[slot]) {
		fprintf(stderr, "two calls at once for slot %lu\n", slot);
		abort();
	}
	memswap.in_use[slot] = true;
	pthread_mutex_unlock(&swap_mutex);
}

static int end(unsigned long slot, unsigned long *counter, int ret)
{
	pthread_mutex_lock(&swap_mutex);
	memswap.in_use[slot] = false;
	++*counter;
	pthread_mutex_unlock(&swap_mutex);
	return ret;
}

static void drop(unsigned long slot)
{
	if (!memswap.page[slot])
		return;
	free(memswap.page[slot]);
	memswap.page[slot] = NULL;
	__atomic_fetch_sub(&memswap.held, 1, __ATOMIC_RELAXED);
}

static int mem_store(void *ctx, unsigned long slot, const void *page)
{
	begin(slot);
	if (memswap.page[slot] && !memcmp(memswap.page[slot], page, P))
		return end(slot, &memswap.unchanged, 1);
	drop(slot);
	if (memswap.limit && __atomic_load_n(&memswap.held, __ATOMIC_RELAXED) >= memswap.limit)
		return end(slot, &memswap.stores, -ENOSPC);
	memswap.page[slot] = malloc(P);
	memcpy(memswap.page[slot], page, P);
	__atomic_fetch_add(&memswap.held, 1, __ATOMIC_RELAXED);
	return end(slot, &memswap.stores, 0);
}

static int mem_load(void *ctx, unsigned long slot, void *page)
{
	begin(slot);
	if (!memswap.page[slot]) {
		fprintf(stderr, "load of slot %lu, which holds nothing\n", slot);
		abort();
	}
	if (slot == memswap.bad)
		return end(slot, &memswap.loads, -EIO);
	memcpy(page, memswap.page[slot], P);
	return end(slot, &memswap.loads, 0);
}

static void mem_free(void *ctx, unsigned long slot)
{
	begin(slot);
	drop(slot);
	end(slot, &memswap.frees, 0);
}

const struct swap_ops memswap_ops = { .store = mem_store, .load = mem_load, .free = mem_free };

void engine_start(const struct engine *e)
{
	struct mm_params params = {
		.geometry = e->geometry ? mm_geometry_find(e->geometry) : NULL,
		.nr_frames = e->frames ? e->frames : 256,
		.frame_limit = e->limit,
		.nr_swap_slots = e->slots ? e->slots : 4096,
		.swap = &memswap_ops,
		.anon_around = e->anon_around,
		.swapin_around = e->swapin_around,
		.kernel = e->kernel,
		.rules = e->rules,
		.copies_cost_frames = e->copies_cost_frames,
	};

	engine_stop();
	assert_int_equal(soft_machine_init(params.nr_frames, e->caps), 0);
	assert_int_equal(mm_init(&params), 0);
}

void engine_stop(void)
{
	for (unsigned i = 0; i < 65536; i++)
		free(memswap.page[i]);
	memset(&memswap, 0, sizeof(memswap));
	soft_machine_exit();
}

void map(struct mm_struct *mm, unsigned long addr, unsigned long pages, unsigned long flags)
{
	mmap_write_lock(mm);
	assert_int_equal(mmap_region(mm, addr, pages * P, flags), 0);
	mmap_write_unlock(mm);
}

void unmap(struct mm_struct *mm, unsigned long addr, unsigned long pages)
{
	mmap_write_lock(mm);
	assert_int_equal(do_munmap(mm, addr, pages * P), 0);
	mmap_write_unlock(mm);
}

int protect(struct mm_struct *mm, unsigned long addr, unsigned long pages, unsigned long set, unsigned long clear)
{
	int err;

	mmap_write_lock(mm);
	err = vma_modify_flags(mm, addr, pages * P, set, clear);
	mmap_write_unlock(mm);
	return err;
}

struct mm_struct *fork_mm(struct mm_struct *mm)
{
	struct mm_struct *child;

	mmap_write_lock(mm);
	child = dup_mm(mm);
	mmap_write_unlock(mm);
	return child;
}

unsigned long pageout(struct mm_struct *mm, unsigned long addr, unsigned long pages)
{
	unsigned long n;

	mmap_read_lock(mm);
	n = pageout_range(mm, addr, pages * P);
	mmap_read_unlock(mm);
	return n;
}

void dontneed(struct mm_struct *mm, unsigned long addr, unsigned long pages)
{
	mmap_read_lock(mm);
	zap_page_range(mm, addr, pages * P);
	mmap_read_unlock(mm);
}

enum mm_residency residency(struct mm_struct *mm, unsigned long addr)
{
	enum mm_residency r;

	mmap_read_lock(mm);
	r = mm_residency(mm, addr);
	mmap_read_unlock(mm);
	return r;
}

uint8_t get(struct mm_struct *mm, unsigned long addr)
{
	uint8_t v;

	assert_int_equal(soft_load(mm, addr, &v), 0);
	return v;
}

void put(struct mm_struct *mm, unsigned long addr, uint8_t value)
{
	assert_int_equal(soft_store(mm, addr, value), 0);
}

uint64_t faults(void)
{
	static uint64_t min, maj;
	const struct mm_stats *s = mm_stats();
	uint64_t d;

	if (s->min_flt < min || s->maj_flt < maj)
		min = maj = 0; /* the engine has started over */
	d = MINOR(s->min_flt - min) | MAJOR(s->maj_flt - maj);
	min = s->min_flt;
	maj = s->maj_flt;
	return d;
}

/* ---- somebody else is faster --------------------------------------------------------------------------------------------- */

static struct {
	enum mm_trace_event event;
	void (*act)(void);
	bool ran;
} race;

static void *race_thread(void *arg)
{
	race.act();
	return NULL;
}

static void race_hook(enum mm_trace_event event, unsigned long a, unsigned long b, unsigned long c)
{
	pthread_t t;

	if (race.ran || (event & ~TRACE_ENTER) != race.event)
		return;
	race.ran = true;
	pthread_create(&t, NULL, race_thread, NULL);
	pthread_join(t, NULL);
}

void race_at(enum mm_trace_event event, void (*act)(void))
{
	race.event = event;
	race.act = act;
	race.ran = false;
	atomic_store(&mm_trace_fn, race_hook);
}

void race_done(void)
{
	atomic_store(&mm_trace_fn, NULL);
	assert_true(race.ran);
}

const char *drawing(struct mm_struct *mm, unsigned long from, unsigned long pages)
{
	static char text[256];
	char letter = 'A';

	memset(text, '.', pages);
	text[pages] = 0;
	mmap_read_lock(mm);
	for (struct vm_area_struct *vma = find_vma(mm, from); vma && vma_start(vma) < from + pages * P; vma = vma_next(mm, vma)) {
		for (unsigned long a = vma_start(vma); a < vma_end(vma); a += P)
			if (a >= from && a < from + pages * P)
				text[(a - from) / P] = letter;
		letter++;
	}
	mmap_read_unlock(mm);
	return text;
}
