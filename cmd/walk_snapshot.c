/* SPDX-License-Identifier: MIT
 *
 * walk_snapshot.c - looks at mappings, tables and frames. Between two operations nobody changes them, so no lock is taken.
 */
#include "cmd/walk_snapshot.h"

#include "mm/filemap.h"
#include "scenario/soft.h"

const char *table_level_name(unsigned level)
{
	static const char *const names[NR_PT_LEVELS] = { "pte", "pmd", "pud", "p4d", "pgd" };

	return names[level];
}

/* ---- tables -------------------------------------------------------------------------------------------------------- */

static enum pt_level below(enum pt_level level)
{
	do
		level--;
	while (level > PT_PTE && !pt.bits[level]);
	return level;
}

/* Level by level, so that parents come first and neighbours stand side by side. => the last of the list */
static struct seen_table *see_level(struct arena *a, struct seen_table *first, struct seen_table *last, enum pt_level level,
				    struct mm_struct *mm)
{
	struct seen_table *end = last;

	for (struct seen_table *t = first; t; t = t->next) {
		struct ptdesc *desc = mm->pgd;

		if (t->level != level)
			break;
		for (enum pt_level l = PT_PGD; l != level; l = below(l))
			desc = ((struct ptdesc **)desc->table)[pt_index(l, t->start)];
		for (unsigned i = 0; i <= pt.mask[level]; i++) {
			struct seen_table *child;

			if (!((struct ptdesc **)desc->table)[i])
				continue;
			child = arena_alloc(a, sizeof(*child));
			*child = (struct seen_table){ below(level), t->start + ((unsigned long)i << pt.shift[level]), t, NULL };
			end = end->next = child;
		}
		if (t == last)
			break;
	}
	return end;
}

static struct seen_table *see_tables(struct arena *a, struct mm_struct *mm)
{
	struct seen_table *root = arena_alloc(a, sizeof(*root)), *first = root, *last = root;

	root->level = PT_PGD;
	for (enum pt_level level = PT_PGD; level > PT_PTE; level = below(level)) {
		struct seen_table *end = see_level(a, first, last, level, mm);

		if (end == last)
			break;
		first = last->next;
		last = end;
	}
	return root;
}

/* ---- mappings ------------------------------------------------------------------------------------------------------ */

static struct seen_entry *see_entries(struct arena *a, struct mm_struct *mm, const struct vm_area_struct *vma)
{
	struct seen_entry *first = NULL, **at = &first;
	unsigned long addr = vma->vm_start;
	struct ptdesc *table;

	while (addr < vma->vm_end && (table = pte_table_next(mm, &addr, vma->vm_end))) {
		unsigned long end = pmd_addr_end(addr, vma->vm_end);

		for (; addr < end; addr += PAGE_SIZE) {
			pte_t pte = ptep_get(pte_offset(table, addr));

			if (pte_none(pte))
				continue;
			*at = arena_alloc(a, sizeof(**at));
			**at = (struct seen_entry){ addr, pte.val, NULL };
			at = &(*at)->next;
		}
	}
	return first;
}

static struct seen_vma *see_vmas(struct arena *a, struct mm_struct *mm)
{
	struct seen_vma *first = NULL, **at = &first;

	for (struct vm_area_struct *vma = vma_first(mm); vma; vma = vma_next(mm, vma)) {
		*at = arena_alloc(a, sizeof(**at));
		**at = (struct seen_vma){
			.start = vma->vm_start, .end = vma->vm_end, .flags = vma->vm_flags,
			.is_file = vma->vm_file, .pgoff = vma->vm_pgoff, .entries = see_entries(a, mm, vma),
		};
		at = &(*at)->next;
	}
	return first;
}

/* ---- frames -------------------------------------------------------------------------------------------------------- */

static struct seen_frame *see_frames(struct arena *a)
{
	struct seen_frame *first = NULL, **at = &first;

	for (unsigned long pfn = 0; pfn < fresh_frames(); pfn++) {
		struct page *page = pfn_to_page(pfn);

		if (page_count(page) <= 0)
			continue;
		*at = arena_alloc(a, sizeof(**at));
		**at = (struct seen_frame){ pfn, page_count(page), page_mapcount(page), page_flags(page), page_is_file(page), NULL };
		at = &(*at)->next;
	}
	return first;
}

struct walk_snapshot *walk_take_snapshot(struct arena *a, const struct soft *soft, const char *const names[])
{
	struct walk_snapshot *s = arena_alloc(a, sizeof(*s));
	struct seen_process **at = &s->processes;

	for (unsigned i = 0; i < soft_nr_processes(soft); i++) {
		struct mm_struct *mm = soft_mm(soft, i);

		if (!mm)
			continue;
		*at = arena_alloc(a, sizeof(**at));
		**at = (struct seen_process){ i, names[i], see_vmas(a, mm), see_tables(a, mm), NULL };
		at = &(*at)->next;
	}
	s->frames = see_frames(a);
	return s;
}
