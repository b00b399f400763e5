/* SPDX-License-Identifier: MIT
 *
 * walk_json.c - the walk as one JSON object; minflt-walk(1) describes it. Keys are never renamed; new ones may come.
 */
#include "cmd/json.h"
#include "cmd/walk.h"
#include "mm/trace.h"

static void print_calls(FILE *to, const struct walk_node *n)
{
	bool first = true;

	fprintf(to, "{ \"fn\": \"%s\", \"calls\": [", mm_trace_name(n->event));
	for (const struct walk_node *c = n->first; c; c = c->next) {
		if (c->kind != NODE_CALL)
			continue;
		fputs(first ? " " : ", ", to);
		print_calls(to, c);
		first = false;
	}
	fputs(first ? "] }" : " ] }", to);
}

static void print_fault(FILE *to, const struct walk_fault *f)
{
	fprintf(to, "\n        { \"addr\": %lu, \"write\": %s, \"result\": \"%s\", \"calls\": [", f->addr, f->write ? "true" : "false",
		fault_result_name(f->result));
	if (f->calls) {
		putc(' ', to);
		print_calls(to, f->calls);
		putc(' ', to);
	}
	fputs("] }", to);
}

static void print_step(FILE *to, const struct walk_step *s)
{
	fprintf(to, "\n    { \"line\": %u, \"process\": ", s->line);
	json_string(to, s->process);
	fputs(", \"statement\": ", to);
	json_string(to, s->statement);
	fputs(",\n      \"faults\": [", to);
	for (const struct walk_fault *f = s->faults; f; f = f->next) {
		if (f != s->faults)
			putc(',', to);
		print_fault(to, f);
	}
	fputs(s->faults ? "\n      ] }" : "] }", to);
}

void walk_print_json(FILE *to, const struct walk *walk)
{
	const struct walk_counts *t = &walk->totals;

	fputs("{ \"kernel\": ", to);
	json_string(to, walk->kernel);
	fputs(", \"arch\": ", to);
	json_string(to, walk->arch);
	fputs(",\n  \"steps\": [", to);
	for (const struct walk_step *s = walk->steps; s; s = s->next) {
		if (s != walk->steps)
			putc(',', to);
		print_step(to, s);
	}
	fputs(walk->steps ? "\n  ],\n" : "],\n", to);
	fprintf(to, "  \"totals\": { \"minflt\": %llu, \"majflt\": %llu, \"zeroed\": %llu, \"copied\": %llu, \"read\": %llu, \"written\": %llu, "
		    "\"frames\": %llu, \"page_tables\": %llu } }\n",
		(unsigned long long)t->minflt, (unsigned long long)t->majflt, (unsigned long long)t->zeroed, (unsigned long long)t->copied,
		(unsigned long long)t->read, (unsigned long long)t->written, (unsigned long long)t->frames,
		(unsigned long long)t->page_tables);
}
