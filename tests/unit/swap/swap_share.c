/* SPDX-License-Identifier: MIT
 *
 * swap_share.c - who has what of the swap file: segments, forks, and processes that are killed.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "swap/share.h"

#define SEGMENTS 200u

static struct share_view fresh_view(void)
{
	void *p = mmap(NULL, share_bytes(SEGMENTS), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct share_view v = { p, SEGMENTS, SHARE_NOBODY };

	assert_ptr_not_equal(p, MAP_FAILED);
	assert_true(share_enter(&v, share_invite(&v)));
	return v;
}

static void done(struct share_view *v)
{
	munmap(v->share, share_bytes(SEGMENTS));
}

static void test_segments(void **state)
{
	struct share_view v = fresh_view();
	bool seen[SEGMENTS] = { false };

	assert_int_equal(share_free(&v), SEGMENTS - 1);
	for (uint32_t i = 1; i < SEGMENTS; i++) {
		uint32_t s = share_take(&v, 0);

		assert_true(s > 0 && s < SEGMENTS && !seen[s] && share_alone(&v, s));
		seen[s] = true;
	}
	assert_int_equal(share_take(&v, 0), 0);
	share_drop(&v, 17);
	share_drop(&v, 17); /* not named any more: nothing happens */
	assert_int_equal(share_free(&v), 1);
	assert_int_equal(share_take(&v, 1), 0);
	assert_int_equal(share_take(&v, 0), 17);
	done(&v);
}

static void test_generations_never_twice(void **state)
{
	struct share_view v = fresh_view();
	uint64_t last = 0;

	for (int i = 0; i < 1000; i++) {
		uint64_t g = share_generation(&v);

		assert_true(g > last);
		last = g;
	}
	done(&v);
}

/* In a child process, which then waits to be killed. => its pid */
static pid_t child_with(struct share_view *v, uint32_t member, void (*act)(struct share_view *v))
{
	int ready[2];
	char c;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		if (!share_enter(v, member))
			_exit(1);
		act(v);
		if (write(ready[1], "", 1) != 1)
			_exit(2);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	return pid;
}

static void end(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
}

static void take_ten(struct share_view *v)
{
	for (int i = 0; i < 10; i++)
		share_take(v, 0);
}

static void nothing(struct share_view *v)
{
}

static void take_rest(const struct share_view *v, uint32_t nr)
{
	for (uint32_t i = 0; i < nr; i++)
		assert_true(share_take(v, 0) > 0);
	assert_int_equal(share_take(v, 0), 0);
}

/* What parent and child both name stays until both have let go, in either order; what a killed child had is free again. */
static void test_killed_child(void **state)
{
	struct share_view v = fresh_view();
	uint32_t a = share_take(&v, 0), b = share_take(&v, 0);
	pid_t pid = child_with(&v, share_invite(&v), take_ten);

	assert_false(share_alone(&v, a));
	assert_int_equal(share_free(&v), SEGMENTS - 1 - 12);
	share_drop(&v, a); /* the child still names it */
	assert_int_equal(share_free(&v), SEGMENTS - 1 - 12);
	end(pid);
	/* b is ours, and everything else is to be had. */
	take_rest(&v, SEGMENTS - 2);
	assert_true(share_alone(&v, b));
	done(&v);
}

static void test_child_outlives_parent(void **state)
{
	struct share_view v = fresh_view(), other = v;
	uint32_t a = share_take(&v, 0);
	pid_t parent = child_with(&other, share_invite(&v), nothing);
	pid_t child;

	/* The first one names `a` no more; its child does, and so would that one's. */
	share_drop(&v, a);
	assert_int_equal(v.share->refs[a], 1);
	other.me = 1;
	child = child_with(&v, share_invite(&other), nothing);
	end(parent);
	take_rest(&v, SEGMENTS - 2);
	assert_int_equal(v.share->refs[a], 1);
	end(child);
	assert_int_equal(share_take(&v, 0), a);
	done(&v);
}

static void test_declined(void **state)
{
	struct share_view v = fresh_view();
	uint32_t a = share_take(&v, 0), guest = share_invite(&v);
	struct share_view late = v;

	assert_int_equal(v.share->refs[a], 2);
	share_decline(&v, guest);
	take_rest(&v, SEGMENTS - 2);
	assert_true(share_alone(&v, a));
	assert_false(share_enter(&late, guest));
	assert_int_equal(late.me, SHARE_NOBODY);
	done(&v);
}

/* An invitation that nobody took is withdrawn in time, and who comes too late finds that out. */
static void test_withdrawn(void **state)
{
	struct share_view v = fresh_view(), late = v;
	uint32_t a = share_take(&v, 0), guest = share_invite(&v);

	take_rest(&v, SEGMENTS - 2);
	assert_false(share_alone(&v, a));
	v.share->member[guest].since -= 61000000000ULL;
	assert_int_equal(share_take(&v, 0), 0);
	assert_true(share_alone(&v, a));
	assert_false(share_enter(&late, guest));
	done(&v);
}

static void test_too_many(void **state)
{
	struct share_view v = fresh_view();
	uint32_t last = 0;

	for (uint32_t i = 1; i < SHARE_MEMBERS; i++) {
		last = share_invite(&v);
		assert_true(last != SHARE_NOBODY);
	}
	assert_int_equal(share_invite(&v), SHARE_NOBODY);
	share_decline(&v, last);
	assert_int_equal(share_invite(&v), last);
	done(&v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_segments), cmocka_unit_test(test_generations_never_twice), cmocka_unit_test(test_killed_child),
		cmocka_unit_test(test_child_outlives_parent), cmocka_unit_test(test_declined), cmocka_unit_test(test_withdrawn),
		cmocka_unit_test(test_too_many),
	};

	return cmocka_run_group_tests_name("swap_share", tests, NULL, NULL);
}
