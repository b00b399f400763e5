/* SPDX-License-Identifier: MIT
 *
 * page_tree.c - the radix tree of the page cache. See page_tree.h.
 *
 * Considered and rejected: no lock for readers (RCU). Nodes would have to outlive their last reader, which the engine has no means to
 * know; a look-up holds tree_lock for some 20 instructions, and who maps many pages takes it once for all of them.
 */
#include "mm/page_tree.h"

#define MAX_HEIGHT ((64 + RADIX_SHIFT - 1) / RADIX_SHIFT)

struct radix_node {
	void *slot[RADIX_SLOTS]; /* items in a leaf, nodes above */
	unsigned count;          /* slots that are not NULL */
};

static struct kmem_cache node_cache;

void page_tree_init(void)
{
	kmem_cache_init(&node_cache, sizeof(struct radix_node), 0, false);
}

static unsigned long max_index(unsigned height)
{
	return height * RADIX_SHIFT >= 64 ? ~0UL : (1UL << height * RADIX_SHIFT) - 1;
}

/* Which slot of a node `level` levels above the leaves. */
static unsigned slot_of(unsigned long index, unsigned level)
{
	return index >> level * RADIX_SHIFT & (RADIX_SLOTS - 1);
}

static struct radix_node *find_leaf(const struct page_tree *tree, unsigned long index)
{
	struct radix_node *node = tree->root;

	if (!node || index > max_index(tree->height))
		return NULL;
	for (unsigned level = tree->height - 1; level && node; level--)
		node = node->slot[slot_of(index, level)];
	return node;
}

void *page_tree_load(const struct page_tree *tree, unsigned long index)
{
	struct radix_node *leaf = find_leaf(tree, index);

	return leaf ? leaf->slot[slot_of(index, 0)] : NULL;
}

/* ---- change ------------------------------------------------------------------------------------------------------------ */

/* One more level on top. => false: no memory */
static bool grow(struct page_tree *tree)
{
	struct radix_node *top;

	if (tree->root) {
		top = kmem_cache_alloc(&node_cache);
		if (!top)
			return false;
		top->slot[0] = tree->root;
		top->count = 1;
		tree->root = top;
	}
	tree->height++;
	return true;
}

/* A root whose only child is the first one is not needed. */
static void shrink(struct page_tree *tree)
{
	while (tree->root && tree->height > 1 && tree->root->count == 1 && tree->root->slot[0]) {
		struct radix_node *top = tree->root;

		tree->root = top->slot[0];
		tree->height--;
		kmem_cache_free(&node_cache, top);
	}
	if (!tree->root)
		tree->height = 0;
}

/* Frees the empty nodes on the way to index, from the leaf up. */
static void prune(struct page_tree *tree, unsigned long index)
{
	struct radix_node *path[MAX_HEIGHT], *node = tree->root;
	unsigned n = 0;

	for (unsigned level = tree->height; level-- && node; node = level ? node->slot[slot_of(index, level)] : NULL)
		path[n++] = node;
	while (n && !path[n - 1]->count) {
		kmem_cache_free(&node_cache, path[--n]);
		if (!n) {
			tree->root = NULL;
			break;
		}
		path[n - 1]->slot[slot_of(index, tree->height - n)] = NULL;
		path[n - 1]->count--;
	}
	shrink(tree);
}

/* The leaf of index; what is missing above it is made. => NULL: no memory (then empty nodes may hang about: prune()) */
static struct radix_node *make_leaf(struct page_tree *tree, unsigned long index)
{
	struct radix_node **link = &tree->root, *parent = NULL;

	while (!tree->height || index > max_index(tree->height))
		if (!grow(tree))
			return NULL;
	for (unsigned level = tree->height; level--;) {
		if (!*link) {
			*link = kmem_cache_alloc(&node_cache);
			if (!*link)
				return NULL;
			if (parent)
				parent->count++;
		}
		parent = *link;
		if (level)
			link = (struct radix_node **)&parent->slot[slot_of(index, level)];
	}
	return parent;
}

int page_tree_insert(struct page_tree *tree, unsigned long index, void *item)
{
	struct radix_node *leaf = make_leaf(tree, index);
	void **slot;

	MM_DEBUG_ON(!item);
	if (!leaf) {
		prune(tree, index);
		return -ENOMEM;
	}
	slot = &leaf->slot[slot_of(index, 0)];
	if (*slot)
		return -EEXIST;
	*slot = item;
	leaf->count++;
	return 0;
}

void *page_tree_replace(struct page_tree *tree, unsigned long index, void *item)
{
	struct radix_node *leaf = find_leaf(tree, index);
	void *old;

	MM_BUG_ON(!leaf || !item);
	old = leaf->slot[slot_of(index, 0)];
	MM_BUG_ON(!old);
	leaf->slot[slot_of(index, 0)] = item;
	return old;
}

void *page_tree_erase(struct page_tree *tree, unsigned long index)
{
	struct radix_node *leaf = find_leaf(tree, index);
	void *old = leaf ? leaf->slot[slot_of(index, 0)] : NULL;

	if (!old)
		return NULL;
	leaf->slot[slot_of(index, 0)] = NULL;
	if (--leaf->count == 0)
		prune(tree, index);
	return old;
}

/* ---- ranges -------------------------------------------------------------------------------------------------------------- */

void *const *page_tree_leaf(const struct page_tree *tree, unsigned long index, unsigned long *n)
{
	struct radix_node *node = tree->root;

	*n = 0;
	if (!node || index > max_index(tree->height))
		return NULL;
	for (unsigned level = tree->height - 1; level; level--) {
		node = node->slot[slot_of(index, level)];
		if (!node) {
			*n = (1UL << level * RADIX_SHIFT) - (index & ((1UL << level * RADIX_SHIFT) - 1));
			return NULL;
		}
	}
	*n = RADIX_SLOTS - slot_of(index, 0);
	return &node->slot[slot_of(index, 0)];
}

void *page_tree_next(const struct page_tree *tree, unsigned long *index, unsigned long last)
{
	unsigned long at = *index, n;

	while (at <= last) {
		void *const *slot = page_tree_leaf(tree, at, &n);

		if (!n)
			return NULL;
		for (unsigned long i = 0; slot && i < n && i <= last - at; i++)
			if (slot[i]) {
				*index = at + i;
				return slot[i];
			}
		if (n > last - at)
			return NULL;
		at += n;
	}
	return NULL;
}

unsigned long page_tree_next_hole(const struct page_tree *tree, unsigned long index, unsigned long most)
{
	unsigned long end = index + most;

	for (; index < end; index++) {
		const void *item = page_tree_load(tree, index);

		if (!item || item_is_value(item))
			break;
	}
	return index;
}

/* ---- for the tests ------------------------------------------------------------------------------------------------------- */

static unsigned long check_node(const struct radix_node *node, unsigned level, unsigned long *items)
{
	unsigned long nodes = 1;
	unsigned used = 0;

	for (unsigned i = 0; i < RADIX_SLOTS; i++) {
		if (!node->slot[i])
			continue;
		used++;
		if (level)
			nodes += check_node(node->slot[i], level - 1, items);
		else
			++*items;
	}
	MM_BUG_ON(used != node->count || !used);
	return nodes;
}

unsigned long page_tree_check(const struct page_tree *tree, unsigned long *items)
{
	*items = 0;
	MM_BUG_ON(!tree->root != !tree->height);
	if (!tree->root)
		return 0;
	MM_BUG_ON(tree->height > 1 && tree->root->count == 1 && tree->root->slot[0]);
	return check_node(tree->root, tree->height - 1, items);
}
