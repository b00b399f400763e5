/* SPDX-License-Identifier: MIT
 *
 * walk_record.c - from tracepoints to trees.
 *
 * A tracepoint fires in the middle of the engine, with its locks held, so nothing here calls the engine; it looks at the engine's data, which
 * nobody else changes: there is one thread. What has changed since the event before has been changed by the innermost function that
 * is open, or by a small one that it has called without a tracepoint of its own.
 */
#include <stdarg.h>
#include <string.h>

#include "cmd/walk.h"
#include "mm/fault/fault.h"

#define MAX_WATCHED 2 /* the page of the entry, and the one that stood there before */

/* What is compared from event to event. */
struct state {
	pteval_t pte;
	struct { unsigned long pfn; int refs, maps; } page[MAX_WATCHED];
	unsigned nr_pages;
	long rss[NR_MM_COUNTERS];
	unsigned long min_flt, maj_flt;
	struct mm_stats stats;
};

static struct {
	struct walk *walk;
	struct walk_step *step;
	struct mm_struct *mm;
	unsigned what;
	struct walk_node *open;         /* innermost function */
	struct walk_fault *fault;       /* under way, or NULL */
	struct arena_mark fault_mark;   /* before it */
	struct walk_node *fault_before; /* the root's last child before it */
	unsigned long maj_before;
	vm_fault_t ret;
	struct state last;
	uint64_t page_tables;
} rec;

/* ---- nodes --------------------------------------------------------------------------------------------------------- */

static struct walk_node *add_node(enum node_kind kind, unsigned event, const char *text)
{
	struct walk_node *n = arena_alloc(&rec.walk->arena, sizeof(*n));

	n->kind = kind;
	n->event = event;
	n->text = text;
	n->parent = rec.open;
	if (rec.open->last)
		rec.open->last->next = n;
	else
		rec.open->first = n;
	rec.open->last = n;
	return n;
}

static void mix(uint64_t value)
{
	if (rec.fault)
		rec.fault->shape = (rec.fault->shape ^ value) * 0x100000001b3ULL;
}

/* ---- changes ------------------------------------------------------------------------------------------------------- */

static pteval_t look_at_entry(void)
{
	struct ptdesc *table = pte_table(rec.mm, rec.fault->addr);

	return table ? ptep_get(pte_offset(table, rec.fault->addr)).val : 0;
}

static void look_at_page(struct state *s, unsigned long pfn)
{
	for (unsigned i = 0; i < s->nr_pages; i++)
		if (s->page[i].pfn == pfn)
			return;
	if (s->nr_pages == MAX_WATCHED)
		return;
	s->page[s->nr_pages].pfn = pfn;
	s->page[s->nr_pages].refs = page_count(pfn_to_page(pfn));
	s->page[s->nr_pages++].maps = page_mapcount(pfn_to_page(pfn));
}

static void look(struct state *s)
{
	*s = (struct state){ .nr_pages = 0 };
	fold_events(&s->stats);
	if (!rec.fault)
		return;
	s->pte = look_at_entry();
	if (pte_normal((pte_t){ s->pte }))
		look_at_page(s, s->pte >> PAGE_SHIFT);
	for (unsigned i = 0; i < rec.last.nr_pages; i++)
		look_at_page(s, rec.last.page[i].pfn);
	for (unsigned i = 0; i < NR_MM_COUNTERS; i++)
		s->rss[i] = get_mm_counter(rec.mm, i);
	s->min_flt = mm_min_flt(rec.mm);
	s->maj_flt = mm_maj_flt(rec.mm);
}

__attribute__((format(printf, 2, 3))) static void changed(uint64_t kind, const char *format, ...)
{
	char text[300];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	add_node(NODE_CHANGE, 0, arena_printf(&rec.walk->arena, "%s", text))->a = kind;
	mix(kind);
}

static void compare_pages(const struct state *old, const struct state *new)
{
	for (unsigned i = 0; i < new->nr_pages; i++) {
		int refs = 0, maps = 0;
		bool known = false;

		for (unsigned j = 0; j < old->nr_pages; j++) {
			if (old->page[j].pfn == new->page[i].pfn) {
				refs = old->page[j].refs;
				maps = old->page[j].maps;
				known = true;
			}
		}
		if (!known)
			changed(2, "frame %lu: refs %d, map %d", new->page[i].pfn, new->page[i].refs, new->page[i].maps);
		else if (refs != new->page[i].refs && maps != new->page[i].maps)
			changed(3, "frame %lu: refs %d -> %d, map %d -> %d", new->page[i].pfn, refs, new->page[i].refs, maps,
				new->page[i].maps);
		else if (refs != new->page[i].refs)
			changed(4, "frame %lu: refs %d -> %d", new->page[i].pfn, refs, new->page[i].refs);
		else if (maps != new->page[i].maps)
			changed(5, "frame %lu: map %d -> %d", new->page[i].pfn, maps, new->page[i].maps);
	}
}

static void compare_counter(const char *name, uint64_t before, uint64_t now)
{
	if (before != now)
		changed((uintptr_t)name, "%s %llu -> %llu", name, (unsigned long long)before, (unsigned long long)now);
}

static void compare_global(const struct mm_stats *old, const struct mm_stats *new)
{
	compare_counter("pages zeroed", old->zeroed, new->zeroed);
	compare_counter("pages copied", old->copied, new->copied);
	compare_counter("pages read from swap", old->swapped_in, new->swapped_in);
	compare_counter("pages written to swap", old->swapped_out, new->swapped_out);
	compare_counter("pages read from files", old->file_read, new->file_read);
	compare_counter("pages written to files", old->file_written, new->file_written);
	compare_counter("page-table pages", old->page_tables, new->page_tables);
	compare_counter("pages evicted", old->evicted, new->evicted);
}

static void note_changes(void)
{
	static const char *const rss_names[NR_MM_COUNTERS] = {
		[MM_ANONPAGES] = "rss anon",
		[MM_SWAPENTS] = "swap entries",
		[MM_FILEPAGES] = "rss file",
		[MM_SHMEMPAGES] = "rss shmem",
		[MM_MISCOUNTED] = "rss of nothing",
	};
	struct arena *a = &rec.walk->arena;
	struct state now;

	if (read_gauge(page_tables) > rec.page_tables)
		rec.page_tables = read_gauge(page_tables);
	if (!(rec.what & RECORD_REASONS))
		return;
	look(&now);
	if (rec.fault) {
		if (now.pte != rec.last.pte)
			changed(1 ^ (now.pte & ~PAGE_MASK) << 16 ^ (rec.last.pte & ~PAGE_MASK) << 32, "entry: %s -> %s",
				describe_pte(a, rec.last.pte), describe_pte(a, now.pte));
		compare_pages(&rec.last, &now);
		for (unsigned i = 0; i < NR_MM_COUNTERS; i++)
			compare_counter(rss_names[i], (uint64_t)rec.last.rss[i], (uint64_t)now.rss[i]);
		compare_counter("minor faults", rec.last.min_flt, now.min_flt);
		compare_counter("major faults", rec.last.maj_flt, now.maj_flt);
	}
	compare_global(&rec.last.stats, &now.stats);
	rec.last = now;
}

/* ---- faults -------------------------------------------------------------------------------------------------------- */

static void begin_fault(unsigned long addr, unsigned flags)
{
	struct walk_fault *f;

	rec.fault_mark = arena_mark(&rec.walk->arena);
	rec.fault_before = rec.open->last;
	f = arena_alloc(&rec.walk->arena, sizeof(*f));
	f->addr = f->last_addr = addr;
	f->write = flags & FAULT_FLAG_WRITE;
	f->shape = 0xcbf29ce484222325ULL;
	rec.fault = f;
	rec.ret = 0;
	rec.maj_before = mm_maj_flt(rec.mm);
	rec.last.nr_pages = 0;
	look(&rec.last);
	f->before = describe_pte(&rec.walk->arena, look_at_entry());
}

static enum fault_result fault_result(void)
{
	if (rec.ret & VM_FAULT_OOM)
		return FAULT_OOM_KILL;
	if (rec.ret & VM_FAULT_BADMAP)
		return FAULT_MAPERR;
	if (rec.ret & (VM_FAULT_BADACCESS | VM_FAULT_SIGSEGV))
		return FAULT_ACCERR;
	if (rec.ret & VM_FAULT_ERROR)
		return FAULT_BUS;
	return mm_maj_flt(rec.mm) != rec.maj_before ? FAULT_MAJOR : FAULT_MINOR;
}

/* A fault like the one before it is only counted. */
static bool forget_repetition(struct walk_fault *f)
{
	struct walk_fault *before = rec.step->last_fault;
	struct walk_node *root = rec.step->calls;

	if (rec.what & RECORD_ALL || !before || before->shape != f->shape || before->result != f->result ||
	    before->write != f->write || before->calls != rec.fault_before || f->calls->parent != root)
		return false;
	before->repeated++;
	before->last_addr = f->addr;
	root->last = rec.fault_before;
	rec.fault_before->next = NULL;
	arena_release(&rec.walk->arena, rec.fault_mark);
	return true;
}

static void end_fault(void)
{
	struct walk_fault *f = rec.fault;

	f->after = describe_pte(&rec.walk->arena, look_at_entry());
	f->result = fault_result();
	rec.fault = NULL;
	look(&rec.last);
	if (forget_repetition(f))
		return;
	if (rec.step->last_fault)
		rec.step->last_fault->next = f;
	else
		rec.step->faults = f;
	rec.step->last_fault = f;
}

/* ---- events -------------------------------------------------------------------------------------------------------- */

static void leave(unsigned event)
{
	struct walk_node *n = rec.open;

	while (n->parent && n->event != event)
		n = n->parent;
	if (!n->parent)
		return; /* it was entered before the recording */
	mix(0xff);
	rec.open = n->parent;
	if (rec.fault && rec.fault->calls == n)
		end_fault();
}

static void enter(unsigned event, unsigned long a, unsigned long b, unsigned long c, bool scope)
{
	bool is_fault = event == TRACE_do_page_fault && !rec.fault && scope;
	struct walk_node *n;

	if (is_fault)
		begin_fault(a, (unsigned)b);
	mix(event);
	n = add_node(NODE_CALL, event, rec.what & RECORD_REASONS ? describe_event(&rec.walk->arena, event, a, b, c) : NULL);
	n->a = a;
	n->b = b;
	n->c = c;
	if (is_fault)
		rec.fault->calls = n;
	if (scope)
		rec.open = n;
}

static void reason(unsigned event, unsigned long a, unsigned long b, unsigned long c)
{
	const char *text;

	if (event == TRACE_fault_done)
		rec.ret = (vm_fault_t)b;
	if (!(rec.what & RECORD_REASONS))
		return;
	text = describe_event(&rec.walk->arena, event, a, b, c);
	if (!text)
		return;
	mix(event);
	mix(event == TRACE_why ? a : 0);
	add_node(NODE_REASON, event, text);
}

static void on_event(enum mm_trace_event e, unsigned long a, unsigned long b, unsigned long c)
{
	unsigned event = e & ~(unsigned)TRACE_ENTER;

	note_changes();
	if (event == TRACE_leave)
		leave((unsigned)a);
	else if (mm_trace_is_function(event))
		enter(event, a, b, c, e & TRACE_ENTER);
	else
		reason(event, a, b, c);
}

void record_begin(struct walk *walk, struct walk_step *step, struct mm_struct *mm, unsigned what)
{
	rec.walk = walk;
	rec.step = step;
	rec.mm = mm;
	rec.what = what;
	rec.fault = NULL;
	if (!step->calls)
		step->calls = arena_alloc(&walk->arena, sizeof(*step->calls));
	rec.open = step->calls;
	look(&rec.last);
	atomic_store(&mm_trace_fn, on_event);
}

void record_end(void)
{
	atomic_store(&mm_trace_fn, NULL);
	note_changes();
}

uint64_t record_page_tables(void)
{
	return rec.page_tables;
}

void record_reset(void)
{
	rec.page_tables = 0;
}
