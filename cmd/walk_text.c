/* SPDX-License-Identifier: MIT
 *
 * walk_text.c - the walk as text: the control flow of each fault, indented as in the documents.
 *
 *      line 3: read A 0 2P                                              the statement
 *        0x40000000, read: minor                                        a fault
 *          do_page_fault                                                a function, and what it is about
 *              --> why it goes on as it does
 *               =  what has changed
 */
#include <string.h>

#include "cmd/walk.h"
#include "mm/trace.h"

struct printer {
	FILE *to;
	const struct text_options *options;
	bool explained[NR_TRACE_EVENTS];
};

enum colour { PLAIN, BOLD, NAME, REASON, CHANGE, FAINT, BAD };

static void colour(const struct printer *p, enum colour c)
{
	static const char *const codes[] = {
		[PLAIN] = "\033[0m", [BOLD] = "\033[1m", [NAME] = "\033[36m", [REASON] = "\033[33m",
		[CHANGE] = "\033[32m", [FAINT] = "\033[2m", [BAD] = "\033[31m",
	};

	if (p->options->colour)
		fputs(codes[c], p->to);
}

static void coloured(const struct printer *p, enum colour c, const char *text)
{
	colour(p, c);
	fputs(text, p->to);
	colour(p, PLAIN);
}

static void indent(const struct printer *p, unsigned depth)
{
	fprintf(p->to, "%*s", (int)(4 * depth), "");
}

/* ---- trees --------------------------------------------------------------------------------------------------------- */

static bool same_shape(const struct walk_node *x, const struct walk_node *y)
{
	const struct walk_node *i = x->first, *j = y->first;

	if (x->kind != y->kind || x->event != y->event || (x->kind != NODE_CALL && x->a != y->a))
		return false;
	for (; i && j; i = i->next, j = j->next)
		if (!same_shape(i, j))
			return false;
	return !i && !j;
}

/* How many nodes from n on are the same calls over and over, with a period of one or two (a call, and a change after it)? */
static unsigned repetitions(const struct walk_node *n, unsigned period)
{
	const struct walk_node *ahead = n;
	unsigned same = 0;

	for (unsigned i = 0; i < period && ahead; i++)
		ahead = ahead->next;
	while (ahead && same_shape(n, ahead)) {
		same++;
		n = n->next;
		ahead = ahead->next;
	}
	return same / period;
}

static void explain(struct printer *p, const struct walk_node *n, unsigned depth)
{
	const char *sentence = p->explained[n->event] ? NULL : explain_function(mm_trace_name(n->event));

	p->explained[n->event] = true;
	if (!sentence)
		return;
	indent(p, depth);
	colour(p, FAINT);
	fprintf(p->to, "  . %s", sentence);
	colour(p, PLAIN);
	putc('\n', p->to);
}

static void print_line(struct printer *p, const struct walk_node *n, unsigned depth, unsigned more)
{
	indent(p, depth);
	switch (n->kind) {
	case NODE_CALL:
		coloured(p, NAME, mm_trace_name(n->event));
		if (n->text)
			fprintf(p->to, " (%s)", n->text);
		break;
	case NODE_REASON:
		colour(p, REASON);
		fprintf(p->to, "--> %s", n->text);
		colour(p, PLAIN);
		break;
	case NODE_CHANGE:
		colour(p, CHANGE);
		fprintf(p->to, " =  %s", n->text);
		for (; n->next && n->next->kind == NODE_CHANGE; n = n->next)
			fprintf(p->to, "; %s", n->next->text);
		colour(p, PLAIN);
		break;
	}
	if (more)
		fprintf(p->to, "   [and %u more]", more);
	putc('\n', p->to);
	if (n->kind == NODE_CALL && p->options->explain)
		explain(p, n, depth);
}

/* Changes follow each other on one line. => the last node of what n begins */
static const struct walk_node *end_of_line(const struct walk_node *n)
{
	while (n->kind == NODE_CHANGE && n->next && n->next->kind == NODE_CHANGE)
		n = n->next;
	return n;
}

static const struct walk_node *advance(const struct walk_node *n, unsigned steps)
{
	while (n && steps--)
		n = n->next;
	return n;
}

static void print_node(struct printer *p, const struct walk_node *n, unsigned depth, unsigned more);

/* From n on: a line, or a group of calls that comes several times. => the last node of it */
static const struct walk_node *print_group(struct printer *p, const struct walk_node *n, unsigned depth)
{
	unsigned period = 0, more = 0;
	const struct walk_node *after;

	for (unsigned i = 1; i <= 8 && !more && n->kind == NODE_CALL; i++)
		more = repetitions(n, period = i);
	if (!more) {
		print_node(p, n, depth, 0);
		return end_of_line(n);
	}
	after = advance(n, period);
	for (const struct walk_node *i = n; i != after; i = end_of_line(i)->next)
		print_node(p, i, depth, i == n ? more : 0);
	return advance(n, period * (more + 1) - 1);
}

static void print_children(struct printer *p, const struct walk_node *parent, unsigned depth)
{
	for (const struct walk_node *n = parent->first; n; n = n->next)
		n = print_group(p, n, depth);
}

static void print_node(struct printer *p, const struct walk_node *n, unsigned depth, unsigned more)
{
	print_line(p, n, depth, more);
	print_children(p, n, depth + 1);
}

/* ---- faults, steps ------------------------------------------------------------------------------------------------- */

static const struct walk_fault *fault_of(const struct walk_step *step, const struct walk_node *n)
{
	for (const struct walk_fault *f = step->faults; f; f = f->next)
		if (f->calls == n)
			return f;
	return NULL;
}

static void print_fault(struct printer *p, const struct walk_fault *f)
{
	fprintf(p->to, "  %#lx, %s: ", f->addr, f->write ? "write" : "read");
	coloured(p, f->result > FAULT_MAJOR ? BAD : BOLD, fault_result_name(f->result));
	putc('\n', p->to);
	if (f->calls)
		print_node(p, f->calls, 1, 0);
	if (f->before) {
		colour(p, CHANGE);
		if (strcmp(f->before, f->after))
			fprintf(p->to, "  entry before: %s; after: %s", f->before, f->after);
		else
			fprintf(p->to, "  entry before and after: %s", f->before);
		colour(p, PLAIN);
		putc('\n', p->to);
	}
	if (f->repeated)
		fprintf(p->to, "  ... and %lu more like it, up to %#lx\n", f->repeated, f->last_addr);
}

static void print_outcome(struct printer *p, const struct walk_step *step)
{
	const struct walk_counts *c = &step->counts;
	const struct { const char *what; uint64_t n; } parts[] = {
		{ "minor", c->minflt }, { "major", c->majflt },     { "zeroed", c->zeroed },
		{ "copied", c->copied }, { "read", c->read }, { "written", c->written },
	};
	const char *comma = "";

	fputs("  -- ", p->to);
	for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		if (parts[i].n) {
			fprintf(p->to, "%s%llu %s", comma, (unsigned long long)parts[i].n, parts[i].what);
			comma = ", ";
		}
	}
	if (step->error)
		fprintf(p->to, "%s%s", comma, step->error);
	else if (step->signal)
		fprintf(p->to, "%s%s", comma, scn_signal_name(step->signal));
	else if (!*comma)
		fputs("no fault", p->to);
	putc('\n', p->to);
}

static void print_step(struct printer *p, const struct walk_step *step)
{
	const struct walk_fault *host_fault = step->faults;

	colour(p, BOLD);
	fprintf(p->to, "line %u: ", step->line);
	if (strcmp(step->process, "main"))
		fprintf(p->to, "in %s: ", step->process);
	fputs(step->statement, p->to);
	colour(p, PLAIN);
	putc('\n', p->to);
	for (const struct walk_node *n = step->calls ? step->calls->first : NULL; n; n = n->next) {
		const struct walk_fault *f = n->kind == NODE_CALL && n->event == TRACE_do_page_fault ? fault_of(step, n) : NULL;

		if (f)
			print_fault(p, f);
		else
			n = print_group(p, n, 1);
	}
	for (; !step->calls && host_fault; host_fault = host_fault->next)
		print_fault(p, host_fault);
	print_outcome(p, step);
}

void walk_print_text(FILE *to, const struct walk *walk, const struct text_options *options)
{
	struct printer p = { .to = to, .options = options };
	const struct walk_counts *t = &walk->totals;

	for (const struct walk_step *s = walk->steps; s; s = s->next)
		print_step(&p, s);
	fprintf(to, "%s%s: %llu minor, %llu major", strcmp(walk->kernel, "host") ? "linux-" : "", walk->kernel,
		(unsigned long long)t->minflt, (unsigned long long)t->majflt);
	if (strcmp(walk->kernel, "host"))
		fprintf(to, "; pages: %llu zeroed, %llu copied, %llu read, %llu written; at most %llu frames and %llu page-table pages",
			(unsigned long long)t->zeroed, (unsigned long long)t->copied, (unsigned long long)t->read,
			(unsigned long long)t->written, (unsigned long long)t->frames, (unsigned long long)t->page_tables);
	putc('\n', to);
}
