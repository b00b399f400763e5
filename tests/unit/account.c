/* SPDX-License-Identifier: MIT
 *
 * The account of a tree, from inside: what a forked child may keep beyond its lease, and how long who finds the tree full waits.
 */
#include "lib/account.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define M (1ULL << 20)

static uint64_t now = 1;

uint64_t tree_now_ns(void) { return now; }
static unsigned looks, dies_after;       /* at the tree's dead; slot `dying` dies at this look */
static struct tree_process *dying;
bool tree_is_alive(const struct tree_process *p) { return p != dying || looks < dies_after; }
unsigned tree_reap(struct mf_control *c) { return looks++, 0; }
long thread_start(void *stack_top, void *tls, void (*fn)(void)) { return 1; }
void *machine_alloc(size_t size) { return calloc(1, size); }

static struct mf_control *control(void)
{
	static struct mf_control *c;
	const struct mf_request none = { .memory = 0 };

	memset(&a, 0, sizeof(a));
	free(c);
	c = calloc(1, control_bytes(&none));
	atomic_store(&control_tree(c)->alive, 2);
	return c;
}

/* The parent holds all of 16 MiB, and the child inherits 12. */
static void fork_from_a_full_account(void)
{
	struct mf_control *c = control();

	account_start(c, 0, 16 * M, true);
	assert_int_equal(account_allowance(), 16 * M);
	account_fork(c, 1, 0, 12 * M, 100 * M);
	assert_int_equal(account_credit(), 12 * M);
}

/* Each page that the child evicts is shared no more: what comes in its place needs a lease. */
static void test_evicted_is_not_shared(void **state)
{
	fork_from_a_full_account();
	account_evicted(100 * M);
	assert_int_equal(account_credit(), 12 * M);
	account_evicted(105 * M);
	assert_int_equal(account_credit(), 7 * M);
	account_evicted(105 * M);
	assert_int_equal(account_credit(), 7 * M);
	account_evicted(200 * M);
	assert_int_equal(account_credit(), 0);
	account_evicted(300 * M);
	assert_int_equal(account_credit(), 0);
}

/* A lease that the child got counts first: it has credit for the rest alone. */
static void test_leased_is_no_credit(void **state)
{
	struct mf_control *c = control();

	account_start(c, 0, 16 * M, true);
	account_give(8 * M);
	account_fork(c, 1, 0, 12 * M, 0);
	assert_int_equal(account_credit(), 4 * M);
	account_evicted(6 * M);
	assert_int_equal(account_credit(), 4 * M);
	account_evicted(9 * M);
	assert_int_equal(account_credit(), 3 * M);
}

/* What is shared is looked at soon, and not more often than a tenth of the time. */
static void test_ticks(void **state)
{
	fork_from_a_full_account();
	assert_int_equal(atomic_load(&a.tick_every), TICK_NS);
	now += TICK_NS;
	account_tick(); /* this process shares nothing with anybody */
	assert_true(account_credit() < 12 * M);
	assert_int_equal(a.tick_ns, now + TICK_NS);
}

/* => rounds of 5 ms until this process, in a slot of its own, gave up */
static unsigned rounds_in_vain(struct mf_control *c, unsigned slot)
{
	join(c, slot);
	a.budget = 16 * M;
	looks = 0;
	assert_false(account_wait());
	return looks;
}

/* The first waits for the others to give something. The next wait so long only when something was given since, or long after. */
static void test_a_full_tree_is_known(void **state)
{
	struct mf_control *c = control();

	dying = NULL;
	now += FULL_NS;
	account_start(c, 0, 16 * M, true);
	assert_in_range(rounds_in_vain(c, 1), WAITS, WAITS + 2);
	dying = &control_tree(c)->process[1];
	dies_after = 0;
	for (unsigned slot = 2; slot < 8; slot++) {
		assert_in_range(rounds_in_vain(c, slot), FULL_WAITS, FULL_WAITS + 2);
		dying = &control_tree(c)->process[slot];
		control_tree(c)->given += M; /* what somebody takes and gives back again */
	}
	control_tree(c)->given += 2 * M;
	assert_in_range(rounds_in_vain(c, 2), WAITS, WAITS + 2);
	dying = &control_tree(c)->process[2];
	assert_in_range(rounds_in_vain(c, 3), FULL_WAITS, FULL_WAITS + 2);
	dying = &control_tree(c)->process[3];
	now += FULL_NS;
	assert_in_range(rounds_in_vain(c, 4), WAITS, WAITS + 2);
}

/* Two find the tree full. What the first one held may be enough for the second, which waits until that is free. */
static void test_one_at_a_time_is_ended(void **state)
{
	struct mf_control *c = control();

	now += FULL_NS;
	account_start(c, 0, 16 * M, true);
	dying = NULL;
	rounds_in_vain(c, 1);
	dying = &control_tree(c)->process[1];
	dies_after = 100;
	assert_in_range(rounds_in_vain(c, 2), 95 + FULL_WAITS, 100 + FULL_WAITS);
	dying = &control_tree(c)->process[2];
	dies_after = 0;
	join(c, 3);
	assert_false(give_up(control_tree(c)->full_turn - 1)); /* of whose turn it was, it knew nothing */
	assert_int_not_equal(a.me->began_ns, TREE_ENDING);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_evicted_is_not_shared), cmocka_unit_test(test_leased_is_no_credit), cmocka_unit_test(test_ticks),
		cmocka_unit_test(test_a_full_tree_is_known), cmocka_unit_test(test_one_at_a_time_is_ended),
	};

	return cmocka_run_group_tests_name("account", tests, NULL, NULL);
}
