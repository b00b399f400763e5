/* SPDX-License-Identifier: MIT
 *
 * The account of a tree, from inside: what a forked child may keep beyond its lease.
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
bool tree_is_alive(const struct tree_process *p) { return true; }
unsigned tree_reap(struct mf_control *c) { return 0; }
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_evicted_is_not_shared), cmocka_unit_test(test_leased_is_no_credit), cmocka_unit_test(test_ticks),
	};

	return cmocka_run_group_tests_name("account", tests, NULL, NULL);
}
