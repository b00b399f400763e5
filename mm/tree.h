/* SPDX-License-Identifier: MIT
 *
 * tree.h - balanced search trees (AVL) for objects that carry their node: vmas by address, and the vmas of an anon_vma by
 * page index with an augmented value per subtree.
 *
 * The user descends by himself and links the node; insertion and removal rebalance in O(log n), and call `augment` for every
 * node whose children may have changed, bottom up.
 */
#ifndef MF_MM_TREE_H
#define MF_MM_TREE_H

#include <stddef.h>

#pragma GCC visibility push(hidden)

struct tree_node {
	struct tree_node *parent, *left, *right;
	int height; /* of the subtree; a leaf has 1 */
};

struct tree_root {
	struct tree_node *node;
};

typedef void tree_augment_t(struct tree_node *node); /* may be NULL */

/* => `link` is the empty child pointer of `parent` (or &root->node with parent NULL) where the node belongs. */
void tree_insert(struct tree_root *root, struct tree_node *node, struct tree_node *parent, struct tree_node **link,
		 tree_augment_t *augment);
void tree_erase(struct tree_root *root, struct tree_node *node, tree_augment_t *augment);
/* The node's own value has changed, its place has not. */
void tree_update(struct tree_node *node, tree_augment_t *augment);

struct tree_node *tree_first(const struct tree_root *root);
struct tree_node *tree_last(const struct tree_root *root);
struct tree_node *tree_next(const struct tree_node *node);
struct tree_node *tree_prev(const struct tree_node *node);

#pragma GCC visibility pop

#endif
