/* SPDX-License-Identifier: MIT
 *
 * page_tree.h - a radix tree of pointers by index: 64 slots a node, no node without an item.
 *
 *      height 0: empty     height 1: root is a leaf, indices 0..63     height 2: 64 leaves, 0..4095     ...     height 11: every index
 *
 * The tree doesn't look at items but for NULL (page_tree_next_hole() looks whether they are pages). No lock of its own: the caller's, for reading too.
 */
#ifndef MF_MM_PAGE_TREE_H
#define MF_MM_PAGE_TREE_H

#include "mm/filemap.h"
#include "mm/workingset.h"

#pragma GCC visibility push(hidden)

/* What the slots of an address_space hold besides pages, told by the lowest bits: where a page of shared anonymous memory went (01), and the shadow of
 * a file's page that was evicted (11; workingset.h). To who looks for a page both are as good as nothing. */
static inline bool item_is_value(const void *item) { return (uintptr_t)item & 1; }
static inline bool item_is_swap(const void *item) { return ((uintptr_t)item & 3) == 1; }
static inline void *swap_item(swp_entry_t entry) { return (void *)(entry.val << 2 | 1); }
static inline swp_entry_t item_swap(const void *item) { return (swp_entry_t){ (uintptr_t)item >> 2 }; }
static inline bool item_is_shadow(const void *item) { return ((uintptr_t)item & 3) == 3; }
static inline void *shadow_item(shadow_t shadow) { return (void *)((uintptr_t)shadow << 2 | 3); }
static inline shadow_t item_shadow(const void *item) { return (shadow_t)((uintptr_t)item >> 2); }

#define RADIX_SHIFT 6
#define RADIX_SLOTS (1u << RADIX_SHIFT)

void page_tree_init(void); /* its slab; from filemap_init() */

/* => item, or NULL */
void *page_tree_load(const struct page_tree *tree, unsigned long index);
/* => 0, -EEXIST (nothing changed), -ENOMEM (nothing changed). item != NULL */
int page_tree_insert(struct page_tree *tree, unsigned long index, void *item);
/* => what stood there. Something does; item != NULL */
void *page_tree_replace(struct page_tree *tree, unsigned long index, void *item);
/* => what stood there, or NULL. Nodes that become empty are freed, and the tree becomes lower */
void *page_tree_erase(struct page_tree *tree, unsigned long index);
/* The first item at or after *index and not after last; *index becomes its place. NULL: none */
void *page_tree_next(const struct page_tree *tree, unsigned long *index, unsigned long last);
/* The slots from index to the end of its leaf: *n of them. NULL: there is no leaf; the next *n indices are empty (*n 0: all that follow). */
void *const *page_tree_leaf(const struct page_tree *tree, unsigned long index, unsigned long *n);
/* First index >= index without a page, among the next `most`; index + most if there is none */
unsigned long page_tree_next_hole(const struct page_tree *tree, unsigned long index, unsigned long most);
/* => nodes in use (leaves and above), for the tests; every node is checked */
unsigned long page_tree_check(const struct page_tree *tree, unsigned long *items);

#pragma GCC visibility pop

#endif
