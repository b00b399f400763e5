/* SPDX-License-Identifier: MIT
 *
 * tree.c - AVL trees with parent pointers.
 *
 * Considered and rejected: red-black trees (two colours of special cases for one rotation fewer at removal), treaps (need random
 * numbers and give no bound), B-trees as Linux's maple tree (better caching; matters with RCU readers, which we don't have).
 */
#include "mm/tree.h"

static int height(const struct tree_node *node)
{
	return node ? node->height : 0;
}

static void update(struct tree_node *node, tree_augment_t *augment)
{
	int l = height(node->left), r = height(node->right);

	node->height = (l > r ? l : r) + 1;
	if (augment)
		augment(node);
}

static void replace_child(struct tree_root *root, struct tree_node *parent, struct tree_node *old, struct tree_node *new)
{
	if (!parent)
		root->node = new;
	else if (parent->left == old)
		parent->left = new;
	else
		parent->right = new;
	if (new)
		new->parent = parent;
}

/* The right child of `node` takes its place. => the new top */
static struct tree_node *rotate_left(struct tree_root *root, struct tree_node *node, tree_augment_t *augment)
{
	struct tree_node *top = node->right;

	replace_child(root, node->parent, node, top);
	node->right = top->left;
	if (node->right)
		node->right->parent = node;
	top->left = node;
	node->parent = top;
	update(node, augment);
	update(top, augment);
	return top;
}

static struct tree_node *rotate_right(struct tree_root *root, struct tree_node *node, tree_augment_t *augment)
{
	struct tree_node *top = node->left;

	replace_child(root, node->parent, node, top);
	node->left = top->right;
	if (node->left)
		node->left->parent = node;
	top->right = node;
	node->parent = top;
	update(node, augment);
	update(top, augment);
	return top;
}

/* From `node` up to the root: heights, augmented values, and a rotation wherever two sides differ by two. */
static void rebalance(struct tree_root *root, struct tree_node *node, tree_augment_t *augment)
{
	for (; node; node = node->parent) {
		int balance = height(node->left) - height(node->right);

		if (balance > 1) {
			if (height(node->left->left) < height(node->left->right))
				rotate_left(root, node->left, augment);
			node = rotate_right(root, node, augment);
		} else if (balance < -1) {
			if (height(node->right->right) < height(node->right->left))
				rotate_right(root, node->right, augment);
			node = rotate_left(root, node, augment);
		} else {
			update(node, augment);
		}
	}
}

void tree_insert(struct tree_root *root, struct tree_node *node, struct tree_node *parent, struct tree_node **link,
		 tree_augment_t *augment)
{
	node->parent = parent;
	node->left = node->right = NULL;
	*link = node;
	rebalance(root, node, augment);
}

void tree_erase(struct tree_root *root, struct tree_node *node, tree_augment_t *augment)
{
	struct tree_node *low; /* deepest node whose children change */

	if (node->left && node->right) {
		struct tree_node *next = node->right;

		while (next->left)
			next = next->left;
		low = next->parent == node ? next : next->parent;
		if (next->parent != node) {
			replace_child(root, next->parent, next, next->right);
			next->right = node->right;
			next->right->parent = next;
		}
		next->left = node->left;
		next->left->parent = next;
		replace_child(root, node->parent, node, next);
	} else {
		low = node->parent;
		replace_child(root, low, node, node->left ? node->left : node->right);
	}
	rebalance(root, low, augment);
}

void tree_update(struct tree_node *node, tree_augment_t *augment)
{
	for (; node; node = node->parent)
		augment(node);
}

struct tree_node *tree_first(const struct tree_root *root)
{
	struct tree_node *node = root->node;

	while (node && node->left)
		node = node->left;
	return node;
}

struct tree_node *tree_last(const struct tree_root *root)
{
	struct tree_node *node = root->node;

	while (node && node->right)
		node = node->right;
	return node;
}

struct tree_node *tree_next(const struct tree_node *node)
{
	const struct tree_node *child = node;

	if (node->right) {
		node = node->right;
		while (node->left)
			node = node->left;
		return (struct tree_node *)node;
	}
	while ((node = node->parent) && child == node->right)
		child = node;
	return (struct tree_node *)node;
}

struct tree_node *tree_prev(const struct tree_node *node)
{
	const struct tree_node *child = node;

	if (node->left) {
		node = node->left;
		while (node->right)
			node = node->right;
		return (struct tree_node *)node;
	}
	while ((node = node->parent) && child == node->left)
		child = node;
	return (struct tree_node *)node;
}
