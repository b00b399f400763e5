/* SPDX-License-Identifier: MIT
 *
 * The radix tree of the page cache alone, against a plain array: insertion, removal, replacement, walks of ranges, holes, nodes that are
 * freed, and memory that runs out at every allocation.
 */
#include "tests/unit/engine.h"

#include "mm/page_tree.h"

#define N 9000

static uint32_t seed = 20;

static uint32_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return seed;
}

static void *item(unsigned long i)
{
	return (void *)((i + 1) << 4);
}

static void start(void)
{
	engine_start(&(struct engine){ .caps = CAPS_X86 });
}

static void check(const struct page_tree *tree, unsigned long want)
{
	unsigned long items;

	page_tree_check(tree, &items);
	assert_int_equal(items, want);
}

static void test_against_an_array(void **state)
{
	static void *model[N];
	struct page_tree tree = { NULL, 0 };
	unsigned long used = 0;

	start();
	memset(model, 0, sizeof(model));
	for (int step = 0; step < 60000; step++) {
		unsigned long i = step % 3000 < 1500 ? rnd() % N : rnd() % 200, at, last;
		void *found;

		switch (rnd() % 6) {
		case 0: case 1:
			assert_int_equal(page_tree_insert(&tree, i, item(i)), model[i] ? -EEXIST : 0);
			used += !model[i];
			model[i] = model[i] ? model[i] : item(i);
			break;
		case 2:
			assert_ptr_equal(page_tree_erase(&tree, i), model[i]);
			used -= !!model[i];
			model[i] = NULL;
			break;
		case 3:
			if (model[i]) {
				assert_ptr_equal(page_tree_replace(&tree, i, item(i + N)), model[i]);
				model[i] = item(i + N);
			}
			break;
		case 4:
			at = i;
			last = i + rnd() % 300;
			found = page_tree_next(&tree, &at, last);
			while (i <= last && i < N && !model[i])
				i++;
			assert_ptr_equal(found, i <= last && i < N ? model[i] : NULL);
			if (found)
				assert_int_equal(at, i);
			break;
		default:
			at = page_tree_next_hole(&tree, i, 70);
			for (last = i; last < i + 70 && last < N && model[last]; last++)
				;
			assert_int_equal(at, last);
		}
		if (step % 500 == 0)
			check(&tree, used);
	}
	for (unsigned long i = 0; i < N; i++)
		assert_ptr_equal(page_tree_load(&tree, i), model[i]);
	for (unsigned long i = 0; i < N; i++)
		page_tree_erase(&tree, i);
	assert_null(tree.root);
	assert_int_equal(tree.height, 0);
	engine_stop();
}

/* Offsets as of a file of 2^63 bytes, and the greatest there is. */
static void test_far_apart(void **state)
{
	static const unsigned long at[] = { 0, 63, 64, 4095, 4096, 1UL << 30, (1UL << 51) - 1, 1UL << 60, ~0UL - 1, ~0UL };
	struct page_tree tree = { NULL, 0 };
	unsigned long n = sizeof(at) / sizeof(at[0]), i = 0, found = 0;

	start();
	for (unsigned long k = 0; k < n; k++) {
		assert_int_equal(page_tree_insert(&tree, at[k], item(k)), 0);
		check(&tree, k + 1);
	}
	assert_int_equal(tree.height, 11);
	for (;; i++) {
		assert_ptr_equal(page_tree_next(&tree, &i, ~0UL), item(found));
		assert_int_equal(i, at[found++]);
		if (i == ~0UL)
			break;
	}
	assert_int_equal(found, n);
	for (unsigned long k = n; k-- > 1;) {
		assert_ptr_equal(page_tree_erase(&tree, at[k]), item(k));
		check(&tree, k);
	}
	assert_int_equal(tree.height, 1); /* lower again */
	page_tree_erase(&tree, 0);
	assert_null(tree.root);
	engine_stop();
}

static void test_leaves(void **state)
{
	struct page_tree tree = { NULL, 0 };
	unsigned long n;
	void *const *slot;

	start();
	assert_null(page_tree_leaf(&tree, 0, &n));
	assert_int_equal(n, 0);
	page_tree_insert(&tree, 70, item(70));
	assert_null(page_tree_leaf(&tree, 3, &n));
	assert_int_equal(n, 61); /* the next leaf begins at 64 */
	slot = page_tree_leaf(&tree, 66, &n);
	assert_int_equal(n, 62);
	assert_ptr_equal(slot[4], item(70));
	page_tree_insert(&tree, 64 * 64 * 5, item(1));
	assert_null(page_tree_leaf(&tree, 64 * 64 + 1, &n));
	assert_int_equal(n, 64 * 64 - 1); /* a whole node is missing */
	assert_null(page_tree_leaf(&tree, 1UL << 40, &n));
	assert_int_equal(n, 0);
	page_tree_erase(&tree, 70);
	page_tree_erase(&tree, 64 * 64 * 5);
	engine_stop();
}

/* The n-th allocation fails: nothing has changed. */
static void test_no_memory(void **state)
{
	for (unsigned nth = 1;; nth++) {
		struct page_tree tree = { NULL, 0 };
		int err;

		start();
		assert_int_equal(page_tree_insert(&tree, 5, item(5)), 0);
		soft_fail_alloc(nth);
		err = page_tree_insert(&tree, 1UL << 40, item(6));
		soft_fail_alloc(0);
		check(&tree, err ? 1 : 2);
		assert_ptr_equal(page_tree_load(&tree, 5), item(5));
		if (err) {
			assert_int_equal(err, -ENOMEM);
			assert_int_equal(tree.height, 1);
		}
		engine_stop();
		if (!err) {
			assert_true(nth > 6);
			break;
		}
	}
	for (unsigned nth = 1; nth < 3; nth++) { /* the first of all */
		struct page_tree tree = { NULL, 0 };

		start();
		soft_fail_alloc(nth);
		assert_int_equal(page_tree_insert(&tree, 70, item(6)), -ENOMEM);
		soft_fail_alloc(0);
		assert_null(tree.root);
		assert_int_equal(tree.height, 0);
		engine_stop();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_an_array), cmocka_unit_test(test_far_apart), cmocka_unit_test(test_leaves),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
