/* SPDX-License-Identifier: MIT
 *
 * The record of `--memory auto`, from inside: what is told of each span of time stays true when the record is thinned out.
 */
#include "lib/auto.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct mm_stats stats;

const struct mm_stats *mm_stats(void) { return &stats; }
unsigned long nr_used_frames(void) { return 1000; }
unsigned long try_to_free_pages(unsigned long nr) { return nr; }
unsigned long swap_cache_shrink(unsigned long nr) { return nr; }
void budget_fit(void) { }
uint64_t budget_pool_bytes(void) { return 0; }
uint64_t budget_waited(void) { return 0; }
void budget_spill(void) { }
bool pin_holds(void) { return true; }

/* Lost by all samples together, in microseconds. */
static uint64_t sum_lost(const struct mf_auto_curve *c)
{
	uint64_t sum = 0, before = 0;

	for (uint32_t i = 0; i < c->nr; i++) {
		assert_true(c->sample[i].at_ms > before);
		sum += (c->sample[i].at_ms - before) * c->sample[i].lost_permille;
		before = c->sample[i].at_ms;
	}
	return sum;
}

static void test_thin_out(void **state)
{
	static struct mf_auto_curve c;
	uint64_t lost, at = 0;
	uint32_t last;

	auto_init(50, 10000, &c);
	for (uint32_t i = 0; i < MF_AUTO_SAMPLES; i++) /* spans of different lengths; only every other one lost anything */
		c.sample[i] = (struct mf_auto_sample){ .at_ms = (uint32_t)(at += 100 + i % 3 * 50), .lost_permille = i % 2 ? 0 : 400 };
	c.nr = MF_AUTO_SAMPLES;
	lost = sum_lost(&c);
	last = c.sample[c.nr - 1].at_ms;
	thin_out(&c);
	assert_int_equal(c.nr, MF_AUTO_SAMPLES / 2);
	assert_int_equal(c.sample[c.nr - 1].at_ms, last);
	assert_int_equal(a.every, 2 * TICK_NS);
	/* Rounding takes less than one permille of each span. */
	assert_in_range(sum_lost(&c), lost - last, lost);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_thin_out) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
