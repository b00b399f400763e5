/* SPDX-License-Identifier: MIT
 * auto.c - see auto.h. */
#include "lib/auto.h"

#include <time.h>

#include "lib/budget.h"
#include "lib/pager.h"
#include "lib/pin.h"
#include "machine/sys.h"

#define TICK_NS    100000000ULL /* the share is looked at so often */
#define SLICE_MS   2            /* between two slices of eviction */
#define SLICE      64UL         /* pages */
#define SHRINK     16           /* at most this part of the limit, in a tick */
#define GROW       16
#define ASIDE      8            /* evicting on another processor than the program's: this part of it is lost to interrupts */
#define COPIES     16           /* of resident pages: this part of them */
#define LEAST      512UL        /* frames: with fewer the program would only fault */
/* What a fault costs the program besides the handler's own work: entry, two switches, the message. A round trip on one processor is 7.5 to 9 us, of
 * which the handler sees less than half. */
#define ROUND_TRIP_NS 4000

static struct {
	uint32_t permille;
	unsigned long limit, most;
	uint64_t start;              /* of everything */
	uint64_t tick, lost;         /* this tick: when it began, what was lost in it */
	uint64_t evicting;           /* this tick: what was lost by slices of eviction */
	uint64_t average;            /* share lost, in millionths: half a second or so */
	uint64_t majors, zeroed, evicted; /* of mm_stats(), as last seen */
	uint64_t waited;             /* for the swap file, as last seen */
	struct mf_auto_curve *curve;
	uint64_t every, sample;      /* samples: how far apart, and when the last one was */
	uint64_t sample_lost;
} a;

static uint64_t clock_ns(int clock)
{
	struct timespec t = { 0, 0 };

	sys_call2(SYS_clock_gettime, clock, (long)&t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

/* What the handler works, whatever else the machine has to do meanwhile. */
static uint64_t work_ns(void)
{
	return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

static void see(const struct mm_stats *s)
{
	a.majors = s->maj_flt;
	a.zeroed = s->zeroed;
	a.evicted = s->evicted;
}

void auto_init(uint32_t permille, unsigned long most, struct mf_auto_curve *curve)
{
	a.permille = permille;
	a.limit = a.most = most;
	a.curve = curve;
	if (!permille)
		return;
	a.start = a.tick = a.sample = now_ns();
	a.every = TICK_NS;
}

void auto_after_fork(void)
{
	if (!a.permille)
		return;
	a.curve = NULL;
	a.tick = a.sample = now_ns();
	a.lost = a.evicting = 0;
	see(mm_stats());
}

bool auto_on(void)
{
	return a.permille != 0;
}

unsigned long auto_limit(unsigned long allowed)
{
	return a.permille && a.limit < allowed ? a.limit : allowed;
}

static void set(unsigned long limit)
{
	limit = limit < LEAST ? LEAST : limit;
	a.limit = limit > a.most ? a.most : limit;
}

/* Compressed copies of pages that are back are kept while they are few: they spare a compression, and are memory too. */
static void drop_copies(const struct mm_stats *s)
{
	const unsigned long few = nr_used_frames() / COPIES;

	if (s->swap_cached > few + SLICE)
		swap_cache_shrink(SLICE);
}

bool auto_balance(void)
{
	const struct mm_stats *s = mm_stats();
	const uint64_t fresh = s->zeroed - a.zeroed;

	a.zeroed = s->zeroed;
	drop_copies(s);
	if (!fresh)
		return false;
	set(a.limit + fresh);
	return true;
}

/* ---- the record -------------------------------------------------------------------------------------------------- */

/* What was lost before each of two samples, for both together. */
static uint32_t mean_lost(const struct mf_auto_sample *s, uint64_t before_ms)
{
	const uint64_t first = s[0].at_ms - before_ms, second = s[1].at_ms - s[0].at_ms;

	return first + second ? (uint32_t)((s[0].lost_permille * first + s[1].lost_permille * second) / (first + second)) : s[1].lost_permille;
}

/* Full: of two samples each the later one stays, and from now on they come half as often. Nothing is to be seen half thinned out, should the program be
 * killed meanwhile: then the curve is short. */
static void thin_out(struct mf_auto_curve *c)
{
	uint32_t before_ms = 0;

	__atomic_store_n(&c->nr, 0, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < MF_AUTO_SAMPLES / 2; i++) {
		const uint32_t lost = mean_lost(&c->sample[2 * i], before_ms);

		c->sample[i] = c->sample[2 * i + 1];
		c->sample[i].lost_permille = lost;
		before_ms = c->sample[i].at_ms;
	}
	__atomic_store_n(&c->nr, MF_AUTO_SAMPLES / 2, __ATOMIC_RELEASE);
	a.every *= 2;
}

static void record(uint64_t now)
{
	struct mf_auto_curve *c = a.curve;
	struct mf_auto_sample *s;

	if (!c)
		return;
	c->lost_ns += a.lost;
	a.sample_lost += a.lost;
	if (now - a.sample < a.every)
		return;
	if (c->nr == MF_AUTO_SAMPLES)
		thin_out(c);
	s = &c->sample[c->nr];
	s->at_ms = (uint32_t)((now - a.start) / 1000000);
	s->lost_permille = (uint32_t)(a.sample_lost * 1000 / (now - a.sample));
	s->frames = (uint32_t)nr_used_frames();
	s->pool = (uint32_t)(budget_pool_bytes() / MACHINE_PAGE_SIZE);
	a.sample = now;
	a.sample_lost = 0;
	__atomic_store_n(&c->nr, c->nr + 1, __ATOMIC_RELEASE);
}

/* ---- the controller ---------------------------------------------------------------------------------------------- */

/* Half a second or so is what the average looks back on. */
static void look_back(uint64_t share, uint64_t passed)
{
	const int64_t weight = (int64_t)(passed < 4 * TICK_NS ? passed : 4 * TICK_NS), diff = (int64_t)share - (int64_t)a.average;

	a.average = (uint64_t)((int64_t)a.average + diff * (weight / 1000) / (int64_t)(4 * TICK_NS / 1000));
}

static void decide(uint64_t now)
{
	const uint64_t passed = now - a.tick, given = (uint64_t)a.permille * 1000, enough = given / 4 * 3;
	const unsigned long used = nr_used_frames(), from = used < a.limit ? used : a.limit;

	if (!passed)
		return;
	look_back(a.lost * 1000000 / passed, passed);
	if (a.average > given)
		set(a.limit + a.limit / GROW);
	else if (a.average < enough)
		set(from - (unsigned long)(from / SHRINK * (enough - a.average) / enough));
	record(now);
	a.tick = now;
	a.lost = a.evicting = 0;
}

/* The handler's clock stands still while it waits for the swap file. */
static uint64_t waited(void)
{
	const uint64_t before = a.waited;

	a.waited = budget_waited();
	return a.waited - before;
}

uint64_t auto_begin(void)
{
	return a.permille ? work_ns() : 0;
}

void auto_end(uint64_t begin)
{
	const struct mm_stats *s;
	uint64_t now, majors, allowance;

	if (!a.permille)
		return;
	s = mm_stats();
	majors = s->maj_flt - a.majors;
	now = now_ns();
	if (majors || s->evicted != a.evicted)
		a.lost += work_ns() - begin + majors * ROUND_TRIP_NS + waited();
	a.majors = s->maj_flt;
	a.evicted = s->evicted;
	allowance = TICK_NS / 1000 * a.permille;
	if (now - a.tick >= TICK_NS) {
		decide(now);
	} else if (a.lost > 2 * allowance) { /* a new phase: not only at the end of the tick */
		decide(now);
		set(a.limit + a.limit / GROW);
	}
}

static bool wants_less(void)
{
	return nr_used_frames() > a.limit && a.evicting < TICK_NS / 2000 * a.permille;
}

int auto_patience(void)
{
	if (!a.permille)
		return -1;
	return wants_less() ? SLICE_MS : (int)(TICK_NS / 1000000);
}

void auto_idle(void)
{
	uint64_t now, took;

	if (wants_less()) {
		took = work_ns();
		budget_fit();
		try_to_free_pages(SLICE);
		budget_spill();
		took = work_ns() - took;
		if (!pin_holds())
			took /= ASIDE;
		a.evicting += took;
		a.lost += took;
		a.evicted = mm_stats()->evicted;
	}
	drop_copies(mm_stats());
	now = now_ns();
	if (now - a.tick >= TICK_NS)
		decide(now);
}
