/* SPDX-License-Identifier: MIT
 *
 * rmap.c - from a page to the entries that map it.
 *
 * A page of a file (or of shared anonymous memory):
 *
 *      page.mapping ---> address_space, i_mmap_lock
 *                           |
 *                           +-- i_mmap: vmas by page offset --> addr = vm_start + (page.index - vm_pgoff) * PAGE_SIZE
 *
 * An anonymous page:
 *
 *      page.mapping ---> anon_vma ---> root.lock
 *                           |
 *                           +-- rb_root: avcs by page index --> vma: addr = vm_start + (page.index - vm_pgoff) * PAGE_SIZE
 *
 * A vma has a chain of avcs: one for its own anon_vma, and since a fork one for each anon_vma of its ancestors. A page that was made
 * before the fork hangs on the ancestor's anon_vma, whose tree has all descendants' vmas; a page made by copy on write hangs on
 * the child's own. A vma that was cut into thousands of pieces costs O(log n) to walk, because the tree is an interval tree.
 *
 * Lock: the root's, for a whole family. It also keeps the vmas and page tables that the walk meets from going away: a vma
 * leaves the trees before its tables are freed.
 */
#include "mm/filemap.h"

/* ---- vmas of a file: an interval tree; i_mmap_lock held ------------------------------------------------------------ */

static struct vm_area_struct *i_mmap_of(struct tree_node *node)
{
	return node ? container_of(node, struct vm_area_struct, i_mmap) : NULL;
}

static unsigned long vma_last(const struct vm_area_struct *vma)
{
	return vma->vm_pgoff + ((vma->vm_end - vma->vm_start) >> PAGE_SHIFT) - 1;
}

static void i_mmap_augment(struct tree_node *node)
{
	struct vm_area_struct *vma = i_mmap_of(node);
	unsigned long last = vma_last(vma);

	if (node->left)
		last = max_ul(last, i_mmap_of(node->left)->i_mmap_last);
	if (node->right)
		last = max_ul(last, i_mmap_of(node->right)->i_mmap_last);
	vma->i_mmap_last = last;
}

/* Behind those with the same offset: a walk meets the parent before the child, so that an entry that fork copies after its own was looked
 * at is met in the child's. The entries of a nonlinear mapping say nothing by their place: a list. */
void vma_interval_tree_insert(struct vm_area_struct *vma)
{
	struct address_space *mapping = vma->vm_file->f_mapping;
	struct tree_node **link = &mapping->i_mmap.node, *parent = NULL;

	assert_spin_locked(&mapping->i_mmap_lock);
	if (unlikely(vma->vm_flags & VM_NONLINEAR)) {
		vma->nonlinear_next = mapping->i_mmap_nonlinear;
		mapping->i_mmap_nonlinear = vma;
		mapping->nr_nonlinear++;
		return;
	}
	while (*link) {
		parent = *link;
		link = vma->vm_pgoff < i_mmap_of(parent)->vm_pgoff ? &parent->left : &parent->right;
	}
	tree_insert(&mapping->i_mmap, &vma->i_mmap, parent, link, i_mmap_augment);
}

void vma_interval_tree_remove(struct vm_area_struct *vma)
{
	struct address_space *mapping = vma->vm_file->f_mapping;
	struct vm_area_struct **link = &mapping->i_mmap_nonlinear;

	assert_spin_locked(&mapping->i_mmap_lock);
	if (likely(!(vma->vm_flags & VM_NONLINEAR))) {
		tree_erase(&mapping->i_mmap, &vma->i_mmap, i_mmap_augment);
		return;
	}
	while (*link != vma)
		link = &(*link)->nonlinear_next;
	*link = vma->nonlinear_next;
	mapping->nr_nonlinear--;
}

/* Depth is the tree's height. => false: fn asked to stop */
static bool i_mmap_visit(struct tree_node *node, unsigned long first, unsigned long last, vma_fn *fn, void *arg)
{
	struct vm_area_struct *vma = i_mmap_of(node);

	if (!node || vma->i_mmap_last < first)
		return true;
	if (!i_mmap_visit(node->left, first, last, fn, arg))
		return false;
	if (vma->vm_pgoff > last)
		return true;
	if (first <= vma_last(vma) && !fn(vma, arg))
		return false;
	return i_mmap_visit(node->right, first, last, fn, arg);
}

void vma_interval_tree_foreach(struct address_space *mapping, unsigned long first, unsigned long last, vma_fn *fn, void *arg)
{
	assert_spin_locked(&mapping->i_mmap_lock);
	i_mmap_visit(mapping->i_mmap.node, first, last, fn, arg);
}

static struct anon_vma_chain *avc_of(struct tree_node *node)
{
	return node ? container_of(node, struct anon_vma_chain, rb) : NULL;
}

/* ---- vmas of an anon_vma: an interval tree; root lock held ----------------------------------------------------------- */

static unsigned long avc_last(const struct anon_vma_chain *avc)
{
	return vma_last(avc->vma);
}

static void avc_augment(struct tree_node *node)
{
	struct anon_vma_chain *avc = avc_of(node);
	unsigned long last = avc_last(avc);

	if (node->left)
		last = max_ul(last, avc_of(node->left)->rb_subtree_last);
	if (node->right)
		last = max_ul(last, avc_of(node->right)->rb_subtree_last);
	avc->rb_subtree_last = last;
}

static void interval_insert(struct anon_vma_chain *avc)
{
	struct tree_node **link = &avc->anon_vma->rb_root.node, *parent = NULL;

	avc->rb_start = avc->vma->vm_pgoff;
	while (*link) {
		parent = *link;
		link = avc->rb_start < avc_of(parent)->rb_start ? &parent->left : &parent->right;
	}
	tree_insert(&avc->anon_vma->rb_root, &avc->rb, parent, link, avc_augment);
}

static void interval_remove(struct anon_vma_chain *avc)
{
	tree_erase(&avc->anon_vma->rb_root, &avc->rb, avc_augment);
}

/* Visits every avc below `node` whose vma has `index`. Depth is the tree's height. => false: fn asked to stop */
static bool interval_visit(struct tree_node *node, unsigned long index, struct page *page, rmap_fn_t *fn, void *arg)
{
	struct anon_vma_chain *avc = avc_of(node);

	if (!node || avc->rb_subtree_last < index)
		return true;
	if (!interval_visit(node->left, index, page, fn, arg))
		return false;
	if (avc->rb_start > index)
		return true;
	if (index <= avc_last(avc)) {
		struct vm_area_struct *vma = avc->vma;

		if (!fn(page, vma, vma->vm_start + ((index - vma->vm_pgoff) << PAGE_SHIFT), arg))
			return false;
	}
	return interval_visit(node->right, index, page, fn, arg);
}

void rmap_walk_locked(struct page *page, struct anon_vma *anon_vma, rmap_fn_t *fn, void *arg)
{
	uintptr_t mapping = atomic_load_explicit(&page->mapping, memory_order_relaxed);
	struct anon_vma *av = (struct anon_vma *)(mapping & ~PAGE_MAPPING_ANON);

	assert_spin_locked(&anon_vma->lock);
	(void)anon_vma;
	interval_visit(av->rb_root.node, page->index, page, fn, arg);
}

/* ---- anon_vma ------------------------------------------------------------------------------------------------------ */

/* => a root of its own; `lock` is left alone (mm_types.h) */
static struct anon_vma *anon_vma_alloc(void)
{
	struct anon_vma *av = kmem_cache_alloc(&anon_vma_cache);

	if (!av)
		return NULL;
	lock_order_set(&av->lock, ORDER_ANON_VMA);
	atomic_store_explicit(&av->root, av, memory_order_release);
	av->parent = av;
	av->refcount = 1;
	av->num_children = 0;
	av->num_active_vmas = 0;
	av->rb_root.node = NULL;
	return av;
}

static struct anon_vma *root_of(struct anon_vma *av)
{
	return atomic_load_explicit(&av->root, memory_order_acquire);
}

static void lock_root(struct anon_vma *root)
{
	spin_lock(&root->lock);
}

static void unlock_root(struct anon_vma *root)
{
	spin_unlock(&root->lock);
}

/* => root lock not held; av has no avcs and no children */
static void anon_vma_free(struct anon_vma *av)
{
	struct anon_vma *root = root_of(av);
	bool last;

	lock_root(root);
	last = --root->refcount == 0;
	unlock_root(root);
	if (av != root)
		kmem_cache_free(&anon_vma_cache, av);
	if (last)
		kmem_cache_free(&anon_vma_cache, root);
}

static struct anon_vma *vma_anon(struct vm_area_struct *vma)
{
	return atomic_load_explicit(&vma->anon_vma, memory_order_acquire);
}

/* => root lock held, and the chain's lock (mmap_lock for writing or page_table_lock) */
static void chain_link(struct vm_area_struct *vma, struct anon_vma_chain *avc, struct anon_vma *av)
{
	avc->vma = vma;
	avc->anon_vma = av;
	avc->next = vma->anon_vma_chain;
	vma->anon_vma_chain = avc;
	interval_insert(avc);
}

static bool chain_singular(struct vm_area_struct *vma)
{
	return vma->anon_vma_chain && !vma->anon_vma_chain->next;
}

/* May the two share one anon_vma? Only while there was no fork in between. */
bool anon_vma_mergeable(struct vm_area_struct *a, struct vm_area_struct *b)
{
	struct anon_vma *x = vma_anon(a), *y = vma_anon(b);

	if (x && y)
		return x == y;
	if (x)
		return chain_singular(a);
	return !y || chain_singular(b);
}

/* They may differ in rights alone: a lock keeps them apart, also after it is gone. */
static struct anon_vma *reusable_anon_vma(struct vm_area_struct *vma, struct vm_area_struct *near)
{
	struct anon_vma *av;

	if (!near || near->vm_ops != vma->vm_ops || near->vm_file != vma->vm_file ||
	    ((near->vm_flags ^ vma->vm_flags) & ~VM_ACCESS_FLAGS))
		return NULL;
	if (near->vm_end == vma->vm_start) {
		if (near->vm_pgoff + ((near->vm_end - near->vm_start) >> PAGE_SHIFT) != vma->vm_pgoff)
			return NULL;
	} else if (vma->vm_end != near->vm_start ||
		   vma->vm_pgoff + ((vma->vm_end - vma->vm_start) >> PAGE_SHIFT) != near->vm_pgoff) {
		return NULL;
	}
	av = vma_anon(near);
	return av && chain_singular(near) ? av : NULL;
}

/* A neighbour that differs only in rights gives its anon_vma, so that a later mprotect can merge the two. */
static struct anon_vma *find_mergeable_anon_vma(struct vm_area_struct *vma)
{
	struct anon_vma *av = reusable_anon_vma(vma, vma_next(vma->vm_mm, vma));

	return av ? av : reusable_anon_vma(vma, vma_prev(vma));
}

/* => mmap_lock held, either way; may race with itself on the same vma. 0, -ENOMEM */
int anon_vma_prepare_slow(struct vm_area_struct *vma)
{
	struct mm_struct *mm = vma->vm_mm;
	struct anon_vma_chain *avc = kmem_cache_alloc(&avc_cache);
	struct anon_vma *av, *own = NULL, *root;

	if (!avc)
		return -ENOMEM;
	av = find_mergeable_anon_vma(vma);
	if (!av) {
		av = own = anon_vma_alloc();
		if (!av) {
			kmem_cache_free(&avc_cache, avc);
			return -ENOMEM;
		}
		own->num_children++; /* itself */
	}
	root = root_of(av);
	lock_root(root);
	spin_lock(&mm->page_table_lock);
	if (!vma_anon(vma)) {
		chain_link(vma, avc, av);
		av->num_active_vmas++;
		atomic_store_explicit(&vma->anon_vma, av, memory_order_release);
		own = NULL;
		avc = NULL;
	}
	spin_unlock(&mm->page_table_lock);
	unlock_root(root);
	if (own)
		anon_vma_free(own);
	if (avc)
		kmem_cache_free(&avc_cache, avc);
	return 0;
}

/* dst gets src's whole chain (split, merge, move, fork). => mmap_lock of both held for writing; 0, -ENOMEM (dst as before).
 * At fork, dst may take over an ancestor's anon_vma that no vma uses any more, so that a chain of forks doesn't grow without end. */
int anon_vma_clone(struct vm_area_struct *dst, struct vm_area_struct *src)
{
	struct anon_vma_chain *fresh = NULL, *avc;
	struct anon_vma *src_av = vma_anon(src), *root;

	if (!src->anon_vma_chain)
		return 0;
	for (struct anon_vma_chain *p = src->anon_vma_chain; p; p = p->next) {
		avc = kmem_cache_alloc(&avc_cache);
		if (!avc)
			goto nomem;
		avc->next = fresh;
		fresh = avc;
	}
	root = root_of(src->anon_vma_chain->anon_vma);
	lock_root(root);
	for (struct anon_vma_chain *p = src->anon_vma_chain; p; p = p->next) {
		struct anon_vma *av = p->anon_vma;

		avc = fresh;
		fresh = avc->next;
		chain_link(dst, avc, av);
		if (!vma_anon(dst) && src_av && av != src_av && av->num_children < 2 && av->num_active_vmas == 0)
			atomic_store_explicit(&dst->anon_vma, av, memory_order_release);
	}
	if (vma_anon(dst))
		vma_anon(dst)->num_active_vmas++;
	unlock_root(root);
	return 0;
nomem:
	while ((avc = fresh)) {
		fresh = avc->next;
		kmem_cache_free(&avc_cache, avc);
	}
	return -ENOMEM;
}

/* fork: the child's vma joins the parent's anon_vmas and gets one of its own for what it will copy. */
int anon_vma_fork(struct vm_area_struct *vma, struct vm_area_struct *pvma)
{
	struct anon_vma *pav = vma_anon(pvma), *av, *root;
	struct anon_vma_chain *avc;

	if (!pav)
		return 0;
	atomic_store_explicit(&vma->anon_vma, NULL, memory_order_relaxed);
	if (anon_vma_clone(vma, pvma))
		return -ENOMEM;
	if (vma_anon(vma))
		return 0; /* took one over */
	av = anon_vma_alloc();
	avc = kmem_cache_alloc(&avc_cache);
	if (!av || !avc) {
		if (av)
			kmem_cache_free(&anon_vma_cache, av);
		if (avc)
			kmem_cache_free(&avc_cache, avc);
		unlink_anon_vmas(vma);
		return -ENOMEM;
	}
	root = root_of(pav);
	lock_root(root);
	atomic_store_explicit(&av->root, root, memory_order_release);
	av->refcount = 0;
	root->refcount++;
	av->parent = pav;
	pav->num_children++;
	av->num_active_vmas = 1;
	atomic_store_explicit(&vma->anon_vma, av, memory_order_release);
	chain_link(vma, avc, av);
	unlock_root(root);
	return 0;
}

/* => mmap_lock held for writing; nothing is mapped in the vma any more, or another vma covers it */
void unlink_anon_vmas(struct vm_area_struct *vma)
{
	struct anon_vma_chain *avc = vma->anon_vma_chain;
	struct anon_vma *root, *av, *empty = NULL;

	if (!avc)
		return;
	root = root_of(avc->anon_vma);
	lock_root(root);
	while ((avc = vma->anon_vma_chain)) {
		av = avc->anon_vma;
		vma->anon_vma_chain = avc->next;
		interval_remove(avc);
		kmem_cache_free(&avc_cache, avc);
		if (!av->rb_root.node) {
			av->parent->num_children--;
			av->next_free = empty;
			empty = av;
		}
	}
	av = vma_anon(vma);
	if (av)
		av->num_active_vmas--;
	atomic_store_explicit(&vma->anon_vma, NULL, memory_order_relaxed);
	unlock_root(root);
	while ((av = empty)) {
		empty = av->next_free;
		anon_vma_free(av);
	}
}

void anon_vma_lock_vma(struct vm_area_struct *vma)
{
	if (vma->anon_vma_chain)
		lock_root(root_of(vma->anon_vma_chain->anon_vma));
}

void anon_vma_unlock_vma(struct vm_area_struct *vma)
{
	if (vma->anon_vma_chain)
		unlock_root(root_of(vma->anon_vma_chain->anon_vma));
}

/* Around a change of vm_start, vm_end or vm_pgoff. => root lock held */
void anon_vma_interval_tree_pre_update_vma(struct vm_area_struct *vma)
{
	for (struct anon_vma_chain *avc = vma->anon_vma_chain; avc; avc = avc->next)
		interval_remove(avc);
}

void anon_vma_interval_tree_post_update_vma(struct vm_area_struct *vma)
{
	for (struct anon_vma_chain *avc = vma->anon_vma_chain; avc; avc = avc->next)
		interval_insert(avc);
}

/* ---- pages --------------------------------------------------------------------------------------------------------- */

/* The anon_vma may be freed, and be another family's by now, between the look at page.mapping and the lock. While the lock is held
 * and the page is mapped through it, it can't: unlink_anon_vmas() needs the lock. */
struct anon_vma *page_lock_anon_vma(struct page *page)
{
	uintptr_t mapping = atomic_load_explicit(&page->mapping, memory_order_acquire);
	struct anon_vma *av = (struct anon_vma *)(mapping & ~PAGE_MAPPING_ANON), *root;

	if (!(mapping & PAGE_MAPPING_ANON) || !page_mapcount(page))
		return NULL;
	root = root_of(av);
	lock_root(root);
	if (page_mapcount(page) && root_of(av) == root &&
	    atomic_load_explicit(&page->mapping, memory_order_relaxed) == mapping)
		return root;
	unlock_root(root);
	return NULL;
}

void page_unlock_anon_vma(struct anon_vma *root)
{
	unlock_root(root);
}

pte_t *page_vma_mapped(struct page *page, struct vm_area_struct *vma, unsigned long addr, spinlock_t **ptl)
{
	struct ptdesc *table;
	pte_t *ptep, pte;

	if (addr < vma->vm_start || addr >= vma->vm_end || !(table = pte_table(vma->vm_mm, addr)))
		return NULL;
	ptep = pte_offset(table, addr);
	*ptl = &table->ptl;
	spin_lock(*ptl);
	pte = ptep_get(ptep);
	if (pte_normal(pte) && pte_pfn(pte) == page_to_pfn(page))
		return ptep;
	spin_unlock(*ptl);
	return NULL;
}

/* ---- both kinds ---------------------------------------------------------------------------------------------------- */

struct file_walk {
	struct page *page;
	rmap_fn_t *fn;
	void *arg;
};

static bool file_walk_one(struct vm_area_struct *vma, void *arg)
{
	struct file_walk *walk = arg;
	unsigned long addr = vma->vm_start + ((walk->page->index - vma->vm_pgoff) << PAGE_SHIFT);

	return walk->fn(walk->page, vma, addr, walk->arg);
}

/* => page locked, or of an anon_vma: otherwise its address_space may go away meanwhile */
void rmap_walk(struct page *page, rmap_fn_t *fn, void *arg)
{
	struct address_space *mapping = page_mapping(page);
	struct file_walk walk = { page, fn, arg };
	struct anon_vma *av;

	if (mapping) {
		spin_lock(&mapping->i_mmap_lock);
		vma_interval_tree_foreach(mapping, page->index, page->index, file_walk_one, &walk);
		spin_unlock(&mapping->i_mmap_lock);
	} else if ((av = page_lock_anon_vma(page))) {
		rmap_walk_locked(page, av, fn, arg);
		page_unlock_anon_vma(av);
	}
}

struct referenced {
	int young, mapped;
};

static bool page_referenced_one(struct page *page, struct vm_area_struct *vma, unsigned long addr, void *arg)
{
	struct referenced *ref = arg;
	spinlock_t *ptl;
	pte_t *ptep = page_vma_mapped(page, vma, addr, &ptl);

	if (!ptep)
		return true;
	ref->mapped++;
	if (pte_young(ptep_get(ptep))) {
		uint64_t stuck = 0, gone = 0;

		__atomic_fetch_and(&ptep->val, ~_PAGE_ACCESSED, __ATOMIC_ACQ_REL);
		ref->young++;
		/* Where nobody sets the bit, only a fault can tell of the next use: the page waits at home. */
		if (!(mm_caps & MACHINE_YOUNG)) {
			machine_unmap(vma->vm_mm, addr, 1, page_to_pfn(page), &stuck, &gone);
			if (stuck || gone)
				__atomic_fetch_or(&ptep->val, _PAGE_ACCESSED, __ATOMIC_ACQ_REL);
		}
	}
	spin_unlock(ptl);
	return ref->mapped < page_mapcount(page);
}

/* Clears the young bit of all entries. => how many had it. Anonymous: page locked or isolated. Of a file: locked */
int page_referenced(struct page *page)
{
	struct referenced ref = { 0, 0 };

	if (!page_mapcount(page))
		return 0;
	rmap_walk(page, page_referenced_one, &ref);
	trace(page_referenced, page_to_pfn(page), ref.young, ref.mapped);
	return ref.young;
}

static void set_anon_rmap(struct page *page, struct vm_area_struct *vma, unsigned long addr, struct anon_vma *av)
{
	page->index = linear_page_index(vma, addr);
	atomic_store_explicit(&page->mapping, (uintptr_t)av | PAGE_MAPPING_ANON, memory_order_release);
}

/* A page out of the swap cache. When nobody maps it, it is not known whose it was: its family's root gets it.
 * => pte and page lock held */
void page_add_anon_rmap(struct page *page, struct vm_area_struct *vma, unsigned long addr)
{
	if (page_mapcount(page) == 0) {
		bool alone = swap_count(page_swap_entry(page)) <= 1;

		set_anon_rmap(page, vma, addr, alone ? vma_anon(vma) : root_of(vma_anon(vma)));
	}
	atomic_fetch_add_explicit(&page->_mapcount, 1, memory_order_acq_rel);
}

/* => pte lock held, page locked: it can't leave its mapping */
void page_add_file_rmap(struct page *page)
{
	trace_leaf(page_add_file_rmap, page_to_pfn(page), 0, 0);
	atomic_fetch_add_explicit(&page->_mapcount, 1, memory_order_acq_rel);
}

/* => pte lock held */
void page_remove_rmap(struct page *page)
{
	atomic_fetch_sub_explicit(&page->_mapcount, 1, memory_order_acq_rel);
}
