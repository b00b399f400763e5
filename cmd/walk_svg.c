/* SPDX-License-Identifier: MIT
 *
 * walk_svg.c - the walk as a drawing: for each step, memory before (left) and after it (right).
 *
 *      +-- line 3: read A 0 2P --------------------------------------------------+
 *      |  main                                |                                   |
 *      |  0x40000000 rw- private    [][][][]  |  one cell a page of a mapping     |
 *      |  pgd - pud - pmd - pte               |  one box a table                  |
 *      |  frames  [12 r1 m1] [13 r2 m1]       |  one box a frame in use           |
 *      +--------------------------------------------------------------------------+
 *
 * What differs from the other side has a thick border. Hovering tells the details.
 */
#include <string.h>

#include "cmd/walk_snapshot.h"
#include "mm/filemap.h"

#define COLUMN     620 /* width of one side */
#define MARGIN     12
#define CELL       14
#define CELLS_ROW  40
#define MAX_CELLS  (4 * CELLS_ROW) /* of one mapping; the rest is told as a number */
#define FRAME_W    58
#define FRAMES_ROW ((COLUMN - 2 * MARGIN) / (FRAME_W + 4))
#define MAX_FRAMES (8 * FRAMES_ROW)
#define MAX_TABLES 12 /* of one level */
#define LINE       16

/* Draws, or with `to` NULL only measures. */
struct pen {
	FILE *to;
	struct arena *arena; /* for texts */
	const struct walk *walk;
	int x, y;
};

/* ---- primitives ---------------------------------------------------------------------------------------------------- */

static void escaped(FILE *to, const char *s)
{
	for (; *s; s++) {
		switch (*s) {
		case '<': fputs("&lt;", to); break;
		case '>': fputs("&gt;", to); break;
		case '&': fputs("&amp;", to); break;
		case '"': fputs("&quot;", to); break;
		default: /* a byte that is no character of XML 1.0 or not ASCII */
			putc((unsigned char)*s < 0x20 || (unsigned char)*s >= 0x7f ? '?' : *s, to);
		}
	}
}

static void text(const struct pen *p, int dx, const char *class, const char *s)
{
	if (!p->to)
		return;
	fprintf(p->to, "<text x=\"%d\" y=\"%d\" class=\"%s\">", p->x + dx, p->y, class);
	escaped(p->to, s);
	fputs("</text>\n", p->to);
}

static void box(const struct pen *p, int dx, int dy, int w, int h, const char *class, bool changed, const char *title)
{
	if (!p->to)
		return;
	fprintf(p->to, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" class=\"%s%s\"><title>", p->x + dx, p->y + dy, w, h, class,
		changed ? " changed" : "");
	escaped(p->to, title);
	fputs("</title></rect>\n", p->to);
}

/* ---- mappings ------------------------------------------------------------------------------------------------------ */

static const char *entry_class(uint64_t pte)
{
	if (!pte)
		return "none";
	if (pte & _PAGE_SPECIAL)
		return "zero";
	if (pte & _PAGE_PRESENT)
		return pte & _PAGE_PROTNONE ? "noaccess" : pte & _PAGE_RW ? "rw" : "ro";
	return pte & _PAGE_FILE ? "fileentry" : "swapped";
}

static const struct seen_process *find_process(const struct walk_snapshot *s, unsigned index)
{
	for (const struct seen_process *p = s ? s->processes : NULL; p; p = p->next)
		if (p->index == index)
			return p;
	return NULL;
}

static uint64_t find_entry(const struct seen_process *p, unsigned long addr)
{
	for (const struct seen_vma *v = p ? p->vmas : NULL; v; v = v->next) {
		if (addr < v->start || addr >= v->end)
			continue;
		for (const struct seen_entry *e = v->entries; e; e = e->next)
			if (e->addr == addr)
				return e->pte;
	}
	return 0;
}

static bool has_vma(const struct seen_process *p, const struct seen_vma *v)
{
	for (const struct seen_vma *i = p ? p->vmas : NULL; i; i = i->next)
		if (i->start == v->start && i->end == v->end && i->flags == v->flags && i->is_file == v->is_file && i->pgoff == v->pgoff)
			return true;
	return false;
}

static void draw_vma(struct pen *p, const struct seen_vma *v, const struct seen_process *other)
{
	unsigned long pages = (v->end - v->start) / SCN_PAGE, drawn = pages < MAX_CELLS ? pages : MAX_CELLS;
	const struct seen_entry *e = v->entries;

	p->y += LINE;
	text(p, 0, has_vma(other, v) ? "label" : "label differs",
	     arena_printf(p->arena, "%#lx - %#lx %c%c%c %s %s%s", v->start, v->end, v->flags & VM_READ ? 'r' : '-',
			  v->flags & VM_WRITE ? 'w' : '-', v->flags & VM_EXEC ? 'x' : '-', v->flags & VM_SHARED ? "shared" : "private",
			  v->is_file ? arena_printf(p->arena, "file from page %lu", v->pgoff) : "anonymous",
			  pages > drawn ? arena_printf(p->arena, " (the first %lu of %lu pages)", drawn, pages) : ""));
	p->y += 6; /* below the letters that hang down */
	for (unsigned long i = 0; i < drawn; i++) {
		unsigned long addr = v->start + i * SCN_PAGE;
		uint64_t pte = 0;

		if (e && e->addr == addr) {
			pte = e->pte;
			e = e->next;
		}
		box(p, (int)(i % CELLS_ROW) * CELL, (int)(i / CELLS_ROW) * CELL, CELL - 2, CELL - 2, entry_class(pte),
		    pte != find_entry(other, addr), arena_printf(p->arena, "%#lx: %s", addr, describe_pte(p->arena, pte)));
	}
	p->y += (int)((drawn + CELLS_ROW - 1) / CELLS_ROW) * CELL;
}

/* ---- tables -------------------------------------------------------------------------------------------------------- */

static bool has_table(const struct seen_process *p, const struct seen_table *t)
{
	for (const struct seen_table *i = p ? p->tables : NULL; i; i = i->next)
		if (i->level == t->level && i->start == t->start)
			return true;
	return false;
}

/* Where the table's box stands in its row. */
static int place(const struct seen_process *p, const struct seen_table *t)
{
	int n = 0;

	for (const struct seen_table *i = p->tables; i != t; i = i->next)
		n += i->level == t->level;
	return n < MAX_TABLES ? n : MAX_TABLES - 1;
}

static void draw_tables(struct pen *p, const struct seen_process *process, const struct seen_process *other)
{
	unsigned level = NR_PT_LEVELS;

	p->y += 8;
	for (const struct seen_table *t = process->tables; t; t = t->next) {
		int x = 34 + place(process, t) * 46;

		if (t->level != level) {
			p->y += level == NR_PT_LEVELS ? 0 : 24;
			level = t->level;
			p->y += 10;
			text(p, 0, "label", table_level_name(level));
			p->y -= 10;
		}
		if (p->to && t->parent)
			fprintf(p->to, "<line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\"/>\n", p->x + 34 + place(process, t->parent) * 46 + 20,
				p->y - 10, p->x + x + 20, p->y);
		box(p, x, 0, 40, 14, "table", !has_table(other, t), arena_printf(p->arena, "%s from %#lx", table_level_name(level), t->start));
	}
	p->y += 24;
}

/* ---- frames -------------------------------------------------------------------------------------------------------- */

static const struct seen_frame *find_frame(const struct walk_snapshot *s, unsigned long pfn)
{
	for (const struct seen_frame *f = s ? s->frames : NULL; f; f = f->next)
		if (f->pfn == pfn)
			return f;
	return NULL;
}

static void draw_frames(struct pen *p, const struct walk_snapshot *s, const struct walk_snapshot *other)
{
	unsigned n = 0;

	p->y += LINE;
	text(p, 0, "label", "frames in use: number, references (r), entries (m)");
	p->y += 4;
	for (const struct seen_frame *f = s->frames; f; f = f->next, n++) {
		const struct seen_frame *was = find_frame(other, f->pfn);
		struct pen inside = *p;
		int x = (int)(n % FRAMES_ROW) * (FRAME_W + 4), y = (int)(n / FRAMES_ROW) * 18;

		if (n >= MAX_FRAMES)
			continue;
		box(p, x, y, FRAME_W, 15, f->is_file ? "filepage" : "anonpage",
		    !was || was->refs != f->refs || was->maps != f->maps || was->flags != f->flags,
		    arena_printf(p->arena, "frame %lu: %s%s%s, %d references, mapped %d times", f->pfn, f->is_file ? "file" : "anonymous",
				 f->flags & PG_dirty ? ", dirty" : "", f->flags & PG_swapcache ? ", in the swap cache" : "", f->refs, f->maps));
		inside.y += y + 11;
		text(&inside, x + 3, "small", arena_printf(p->arena, "%lu r%d m%d", f->pfn, f->refs, f->maps));
	}
	p->y += ((n < MAX_FRAMES ? (int)n : MAX_FRAMES) + FRAMES_ROW - 1) / FRAMES_ROW * 18;
	if (n > MAX_FRAMES) {
		p->y += LINE;
		text(p, 0, "label", arena_printf(p->arena, "and %u more", n - MAX_FRAMES));
	}
}

/* ---- steps --------------------------------------------------------------------------------------------------------- */

static void draw_side(struct pen *p, const struct walk_snapshot *s, const struct walk_snapshot *other)
{
	for (const struct seen_process *i = s ? s->processes : NULL; i; i = i->next) {
		const struct seen_process *was = find_process(other, i->index);

		p->y += LINE + 4;
		text(p, 0, "process", i->name);
		for (const struct seen_vma *v = i->vmas; v; v = v->next)
			draw_vma(p, v, was);
		draw_tables(p, i, was);
	}
	if (s)
		draw_frames(p, s, other);
}

/* => the height */
static int draw_step(FILE *to, struct arena *arena, const struct walk *walk, const struct walk_step *step, int y)
{
	struct pen left = { to, arena, walk, MARGIN, y + 2 * LINE }, right = left;
	bool is_main = !strcmp(step->process, "main");
	int bottom;

	right.x += COLUMN;
	if (to) {
		struct pen head = { to, arena, walk, MARGIN, y + LINE };

		fprintf(to, "<line x1=\"0\" y1=\"%d\" x2=\"%d\" y2=\"%d\" class=\"rule\"/>\n", y, 2 * COLUMN + MARGIN, y);
		text(&head, 0, "statement",
		     arena_printf(arena, "line %u: %s%s%s%.300s", step->line, is_main ? "" : "in ", is_main ? "" : step->process, is_main ? "" : ": ",
				  step->statement));
		head.y += LINE;
		text(&head, 0, "side", "before");
		text(&head, COLUMN, "side", "after");
	}
	draw_side(&left, step->before, step->after);
	draw_side(&right, step->after, step->before);
	bottom = left.y > right.y ? left.y : right.y;
	return bottom + 2 * LINE - y;
}

static const char style[] =
	"<style>\n"
	"text{font:11px monospace;fill:#222}.statement{font:bold 14px monospace}.side{font:italic 11px monospace;fill:#777}\n"
	".process{font:bold 12px monospace}.small{font:9px monospace}.label{fill:#444}\n"
	".differs{fill:#c00}\n"
	"rect{stroke:#999;stroke-width:.6}.changed{stroke:#c00;stroke-width:2.2}\n"
	".none{fill:#fff}.zero{fill:#ddd}.ro{fill:#9ecae1}.rw{fill:#74c476}.noaccess{fill:#444}.swapped{fill:#fdae6b}.fileentry{fill:#bcbddc}\n"
	".table{fill:#f7f3e3}.anonpage{fill:#e5f5e0}.filepage{fill:#deebf7}\n"
	"line{stroke:#bbb;stroke-width:1}.rule{stroke:#222}\n"
	"</style>\n";

static void draw_legend(FILE *to, struct arena *arena, const struct walk *walk)
{
	static const char *const items[][2] = {
		{ "none", "no entry" }, { "zero", "zero page" }, { "ro", "read-only" }, { "rw", "writable" },
		{ "noaccess", "no access" }, { "swapped", "in swap" }, { "fileentry", "file offset" },
	};
	struct pen p = { to, arena, walk, MARGIN, 24 };

	text(&p, 0, "statement", arena_printf(arena, "%s%s on %s", strcmp(walk->kernel, "host") ? "linux-" : "", walk->kernel, walk->arch));
	p.y = 44;
	for (size_t i = 0; i < sizeof(items) / sizeof(items[0]); i++) {
		box(&p, (int)i * 110, -10, CELL - 2, CELL - 2, items[i][0], false, items[i][1]);
		text(&p, (int)i * 110 + CELL + 2, "label", items[i][1]);
	}
	box(&p, 7 * 110, -10, CELL - 2, CELL - 2, "none", true, "changed");
	text(&p, 7 * 110 + CELL + 2, "label", "differs from the other side");
}

void walk_print_svg(FILE *to, const struct walk *walk)
{
	struct arena arena = { NULL };
	int height = 60;

	for (const struct walk_step *s = walk->steps; s; s = s->next)
		height += draw_step(NULL, &arena, walk, s, 0);
	fprintf(to, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\">\n%s"
		    "<rect x=\"0\" y=\"0\" width=\"100%%\" height=\"100%%\" style=\"fill:#fff;stroke:none\"/>\n",
		2 * COLUMN + MARGIN, height, 2 * COLUMN + MARGIN, height, style);
	draw_legend(to, &arena, walk);
	height = 60;
	for (const struct walk_step *s = walk->steps; s; s = s->next) {
		height += draw_step(to, &arena, walk, s, height);
		arena_free(&arena);
	}
	fputs("</svg>\n", to);
	arena_free(&arena);
}
