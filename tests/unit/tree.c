/* SPDX-License-Identifier: MIT
 *
 * The slots of a tree, and processes that are killed while they claim one: with the kernel's own marks, so in processes.
 */
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/tree.c"
#include "swap/robust.h"

#include <cmocka.h>

#define M      (1ULL << 20)
#define STORM  500
#define HOLDERS 4

static struct mf_control *c;
static struct mf_tree *t;
static struct robust_stay stay;
static _Atomic uint32_t *who; /* shared: who believes to have the slot */

static int begin(void **state)
{
	const struct mf_request none = { .memory = 0 };

	c = mmap(NULL, control_bytes(&none), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	who = mmap(NULL, TREE_SLOTS * sizeof(*who), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	t = control_tree(c);
	tree_at_home(true);
	return c == MAP_FAILED || who == MAP_FAILED;
}

static int end(void **state)
{
	const struct mf_request none = { .memory = 0 };

	return munmap(c, control_bytes(&none)) || munmap(who, TREE_SLOTS * sizeof(*who));
}

static void take_a_lease(int slot)
{
	atomic_fetch_add(&t->leased, M);
	atomic_fetch_add(&t->process[slot].lease, M);
}

static int claim_one(bool home)
{
	int slot;

	robust_stay(&stay);
	slot = tree_claim(t, (uint32_t)sys_getpid(), home, &stay);
	if (slot < 0)
		_exit(1);
	take_a_lease(slot);
	return slot;
}

/* Of nobody but a child: a failed fork's -1 would be everybody. */
static bool ends_child(pid_t pid)
{
	int status;

	return pid > 1 && kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid && WIFSIGNALED(status);
}

/* => a child that has done so and waits, or -1. It never comes back from here, so no assertion may stand in what it does. */
static pid_t child_of(void (*does)(void))
{
	pid_t pid;

	atomic_store(&who[0], 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		does();
		atomic_store(&who[0], 1);
		for (;;)
			pause();
	}
	while (pid > 0 && !atomic_load(&who[0]))
		if (waitpid(pid, NULL, WNOHANG) == pid)
			return -1;
	return pid;
}

static pid_t child_that(void (*does)(void))
{
	const pid_t pid = child_of(does);

	assert_true(pid > 1);
	return pid;
}

static void kill_it(pid_t pid)
{
	assert_true(ends_child(pid));
}

static void assert_kept(unsigned slot, uint32_t state)
{
	for (int i = 0; i < 1000; i++)
		assert_int_equal(tree_reap(c), 0);
	assert_int_equal(t->process[slot].state, state);
	assert_int_equal(t->process[slot].lease, M);
	assert_int_equal(t->leased, M);
}

static void assert_returned(unsigned slot, uint32_t state)
{
	assert_int_equal(tree_reap(c), 1);
	assert_int_equal(t->process[slot].state, state);
	assert_int_equal(t->process[slot].lease, 0);
	assert_int_equal(t->leased, 0);
	assert_int_equal(t->alive, 0);
	assert_int_equal(tree_reap(c), 0);
}

static void claims(void) { claim_one(true); }
static void claims_abroad(void) { claim_one(false); }

/* It can do so for any time, as long as it lives: stopped, too. */
static void test_killed_with_a_claimed_slot(void **state)
{
	const pid_t pid = child_that(claims);

	assert_kept(1, TREE_CLAIMED);
	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_int_equal(waitpid(pid, NULL, WUNTRACED), pid);
	assert_kept(1, TREE_CLAIMED);
	kill_it(pid);
	assert_returned(1, TREE_FREE);
	assert_int_equal(tree_claim(t, 1, true, NULL), 1);
}

/* => as an exit status: 77: it may not */
static int ends_abroad(void)
{
	pid_t pid;

	if (unshare(CLONE_NEWPID))
		return 77;
	pid = child_of(claims_abroad);
	if (pid <= 1)
		return 1;
	for (int i = 0; i < 1000; i++)
		if (tree_reap(c))
			return 2;
	return !ends_child(pid) ? 3 : t->process[1].pid != 1 ? 4 : 0;
}

/* Nobody can ask about it by its number: in a namespace of its own, and with the number of a process that lives here. */
static void test_killed_in_another_pid_namespace(void **state)
{
	int status;
	const pid_t pid = fork();

	if (pid == 0)
		_exit(ends_abroad());
	assert_true(pid > 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(status, 0);
	assert_returned(1, TREE_DEAD);
}

/* It held the word, and had not yet said so in the state. */
static void takes_the_word(void)
{
	robust_stay(&stay);
	if (!claim_word(&t->process[1], &stay))
		_exit(1);
}

static void test_killed_before_the_state_is_set(void **state)
{
	const pid_t pid = child_that(takes_the_word);

	assert_int_equal(tree_claim(t, 1, true, NULL), 2);
	kill_it(pid);
	assert_int_equal(tree_reap(c), 0);
	assert_int_equal(tree_claim(t, 1, true, NULL), 1);
}

static void takes_over(void)
{
	int slot = claim_one(true);

	tree_exec(t, (unsigned)slot, TREE_EXEC);
	if (tree_take_over(c, (unsigned)slot, (uint32_t)sys_getpid(), &stay) != slot)
		_exit(1);
	take_a_lease(slot);
}

/* The runtime of a program that was executed, before it serves. */
static void test_killed_after_taking_over(void **state)
{
	const pid_t pid = child_that(takes_over);

	assert_kept(1, TREE_CLAIMED);
	kill_it(pid);
	assert_returned(1, TREE_FREE);
}

static void runs_it(void)
{
	int slot = claim_one(true);

	robust_leave(&stay);
	robust_hold(&t->process[slot].link);
	robust_hold(&t->process[slot].claim);
	if (!tree_run(t, (unsigned)slot, (uint32_t)sys_gettid(), (uint32_t)sys_gettid()))
		_exit(1);
}

/* From then on the other word counts, and the first one is free. */
static void test_killed_when_it_runs(void **state)
{
	const pid_t pid = child_that(runs_it);

	assert_int_equal(t->process[1].claim.word, 0);
	assert_kept(1, TREE_RUNNING);
	kill_it(pid);
	assert_returned(1, TREE_FREE);
	assert_int_equal(t->process[1].claim.word, 0);
}

/* A handler that is late, in a process whose claimer has ended: the slot may be another one's by then. */
static void test_a_late_handler(void **state)
{
	const pid_t pid = child_that(claims);

	kill_it(pid);
	assert_false(tree_run(t, 1, (uint32_t)pid + 1, (uint32_t)pid));
	assert_returned(1, TREE_FREE);
	assert_false(tree_run(t, 1, (uint32_t)pid + 1, (uint32_t)pid));
	assert_int_equal(t->process[1].state, TREE_FREE);
	assert_int_equal(t->alive, 0);
}

static void executes(void)
{
	tree_exec(t, (unsigned)claim_one(true), TREE_EXEC);
	atomic_store(&who[0], 1);
	execl("/bin/sleep", "sleep", "1000", (char *)NULL);
	_exit(1);
}

/* Its claimer's thread has executed another program, which is to report. */
static void test_executed(void **state)
{
	const pid_t pid = child_that(executes);

	assert_int_equal(t->process[1].claim.word, 0);
	assert_int_equal(tree_reap(c), 0);
	assert_int_equal(t->process[1].state, TREE_EXEC);
	kill_it(pid);
	assert_returned(1, TREE_FREE);
}

/* Claims again and again, and looks whether it is alone. Ends by itself only when it is not. */
static _Noreturn void claim_for_good(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	robust_stay(&stay);
	for (uint32_t me = (uint32_t)sys_getpid();;) {
		int slot = tree_claim(t, me, false, &stay);

		if (slot < 0)
			_exit(2);
		atomic_store(&who[slot], me);
		take_a_lease(slot);
		for (int i = 0; i < 200; i++)
			if (atomic_load(&who[slot]) != me || atomic_load(&t->process[slot].state) != TREE_CLAIMED)
				_exit(1);
		tree_leave(c, (unsigned)slot);
		tree_unexec(t, (unsigned)slot, me);
		tree_reap(c);
	}
}

/* Killed at any moment, with others that reap at the same time: of nobody who lives is a slot taken, and none stays taken. */
static void test_killed_at_random(void **state)
{
	pid_t pid[HOLDERS] = { 0 };
	unsigned random = 1;

	for (int i = 0; i < STORM + HOLDERS; i++) {
		pid_t *p = &pid[i % HOLDERS];

		if (*p)
			kill_it(*p);
		*p = i < STORM ? fork() : 0;
		if (*p == 0 && i < STORM)
			claim_for_good();
		assert_true(*p > 1 || i >= STORM);
		random = random * 1103515245 + 12345;
		usleep((random >> 8) % 300);
		tree_reap(c);
	}
	tree_reap(c);
	for (int i = 1; i < (int)TREE_SLOTS; i++)
		assert_int_not_equal(t->process[i].state, TREE_CLAIMED);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(test_killed_with_a_claimed_slot), TEST(test_killed_in_another_pid_namespace), TEST(test_killed_before_the_state_is_set),
		TEST(test_killed_after_taking_over), TEST(test_killed_when_it_runs), TEST(test_a_late_handler), TEST(test_executed), TEST(test_killed_at_random),
	};

	return cmocka_run_group_tests_name("tree", tests, NULL, NULL);
}
