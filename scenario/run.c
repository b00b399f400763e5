/* SPDX-License-Identifier: MIT
 *
 * run.c - names, addresses, counters, expectations. See run.h.
 */
#include "scenario/run.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLAN_STEP       (2UL << 20)
#define PLAN_GAP        (1UL << 20)
#define GROWSDOWN_SPACE (16UL << 20)

struct area {
	const char *name; /* the scenario's */
	unsigned long base;
	size_t len;
	bool plain, shared;
	const char *file; /* "": anonymous memory */
	int64_t file_off;
};

struct process {
	const char *name;
	bool alive;
	struct area *areas;
	size_t nr_areas;
	uint64_t min_flt, maj_flt; /* since the last mark */
	long rss_then;             /* at the last mark */
	unsigned long heap, brk;   /* 0: not asked yet */
};

struct run {
	const struct scn_run_params *p;
	const struct scn_machine *m;
	struct process processes[SCN_MAX_PROCESSES];
	unsigned nr_processes;
	unsigned long plan;
	struct scn_range *ranges;
	size_t nr_ranges;
	int last_error;            /* of the last call */
	unsigned long last_resident; /* of the last mincore */
	enum scn_signal last_signal;
	bool failed, skipped, broken;
};

static unsigned long page_up(unsigned long x)
{
	return (x + SCN_PAGE - 1) & ~(SCN_PAGE - 1UL);
}

__attribute__((format(printf, 3, 4))) static void complain(struct run *r, const struct scn_stmt *s, const char *format,
							   ...)
{
	char text[400];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	r->p->complain(r->p->arg, s, text);
}

__attribute__((format(printf, 3, 4))) static void fail(struct run *r, const struct scn_stmt *s, const char *format, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	r->p->complain(r->p->arg, s, text);
	r->failed = true;
}

static void *xrealloc(void *p, size_t len)
{
	p = realloc(p, len);
	if (!p) {
		fputs("scenario: no memory\n", stderr);
		exit(1);
	}
	return p;
}

/* ---- names ------------------------------------------------------------------------------------------------------- */

static int find_process(const struct run *r, const char *name)
{
	for (unsigned i = 0; i < r->nr_processes; i++)
		if (r->processes[i].alive && !strcmp(r->processes[i].name, name))
			return (int)i;
	return -1;
}

static struct area *find_area(struct process *p, const char *name)
{
	for (size_t i = 0; i < p->nr_areas; i++)
		if (p->areas[i].name == name)
			return &p->areas[i];
	return NULL;
}

static struct area *name_area(struct process *p, const char *name)
{
	struct area *a = find_area(p, name);

	if (!a) {
		p->areas = xrealloc(p->areas, (p->nr_areas + 1) * sizeof(*p->areas));
		a = &p->areas[p->nr_areas++];
	}
	*a = (struct area){ .name = name, .file = "" };
	return a;
}

/* ---- addresses --------------------------------------------------------------------------------------------------- */

static void note_range(struct run *r, unsigned long begin, size_t len)
{
	if (!len)
		return;
	r->ranges = xrealloc(r->ranges, (r->nr_ranges + 1) * sizeof(*r->ranges));
	r->ranges[r->nr_ranges++] = (struct scn_range){ begin, begin + len };
	if (begin >= SCN_PLAN_BEGIN && begin <= r->plan + (1UL << 30) && begin + len > r->plan)
		r->plan = begin + len;
}

static unsigned long plan_place(struct run *r, size_t len, bool growsdown)
{
	unsigned long gap = growsdown ? GROWSDOWN_SPACE : r->plan == SCN_PLAN_BEGIN ? 0 : PLAN_GAP;
	unsigned long at = (r->plan + gap + PLAN_STEP - 1) & ~(PLAN_STEP - 1);

	r->plan = at + page_up(len);
	return at;
}

/* For `expect rss`; asking costs the host more than a fork. */
static long rss(const struct run *r, unsigned process)
{
	return r->p->ignore_expect ? 0 : r->m->rss(r->p->ctx, process, r->ranges, r->nr_ranges);
}

/* ---- statements -------------------------------------------------------------------------------------------------- */

/* => false: the scenario can't go on */
static bool perform(struct run *r, const struct scn_stmt *s, unsigned process, const struct scn_op *op,
		    struct scn_outcome *out)
{
	const char *why = r->m->unsupported(r->p->ctx, op);
	struct process *p = &r->processes[process];

	*out = (struct scn_outcome){ 0 };
	if (why) {
		complain(r, s, "%s", why);
		r->skipped = true;
		return false;
	}
	if (r->m->run(r->p->ctx, process, op, out)) {
		complain(r, s, "the machine failed: %s", r->m->message(r->p->ctx));
		r->broken = true;
		return false;
	}
	p->min_flt += out->min_flt;
	p->maj_flt += out->maj_flt;
	return true;
}

static void op_fill(struct scn_op *op, const struct scn_stmt *s, const struct area *a)
{
	*op = (struct scn_op){
		.verb = s->verb,
		.addr = a ? a->base + (unsigned long)s->off : 0,
		.len = (size_t)s->len,
		.new_len = (size_t)s->new_len,
		.to = s->at,
		.prot = s->prot,
		.flags = s->flags | (a && a->shared ? SCN_SHARED : 0),
		.value = s->value,
		.advice = s->advice,
		.file = a ? a->file : "",
		.file_off = a ? a->file_off + s->off : 0,
		.plain = a && a->plain,
	};
}

static bool do_mmap(struct run *r, const struct scn_stmt *s, unsigned process, struct scn_outcome *out)
{
	struct scn_op op;
	struct area *a;

	op_fill(&op, s, NULL);
	op.file = s->file;
	op.file_off = s->off;
	op.addr = s->flags & SCN_AT ? s->at : plan_place(r, op.len, s->flags & SCN_GROWSDOWN);
	op.plain = !*s->file && !(s->flags & (SCN_SHARED | SCN_GROWSDOWN)) && !(s->prot & SCN_X);
	if (!perform(r, s, process, &op, out))
		return false;
	if (out->error)
		return true;
	a = name_area(&r->processes[process], s->name);
	a->base = op.addr;
	a->len = page_up(op.len);
	a->plain = op.plain;
	a->shared = s->flags & SCN_SHARED;
	a->file = s->file;
	a->file_off = s->off;
	note_range(r, a->base, a->len);
	return true;
}

/* In place first; where that is impossible, to the next place of the plan: a kernel's own choice could not be foreseen.
 */
static bool do_mremap(struct run *r, const struct scn_stmt *s, unsigned process, struct area *a,
		      struct scn_outcome *out)
{
	struct scn_op op;

	op_fill(&op, s, a);
	op.flags &= ~(unsigned)SCN_MAYMOVE;
	if (!perform(r, s, process, &op, out))
		return false;
	if (out->error == ENOMEM && s->flags & SCN_MAYMOVE && !(s->flags & SCN_AT)) {
		op.flags |= SCN_AT;
		op.to = plan_place(r, op.new_len, false);
		if (!perform(r, s, process, &op, out))
			return false;
	}
	if (out->error || !a)
		return true;
	a->base = out->result - (unsigned long)s->off;
	a->len = (size_t)s->off + page_up(op.new_len);
	note_range(r, out->result, op.new_len);
	return true;
}

static bool do_brk(struct run *r, const struct scn_stmt *s, unsigned process, struct scn_outcome *out)
{
	struct process *p = &r->processes[process];
	struct scn_op op;
	struct area *a;

	if (!p->heap)
		p->heap = p->brk = r->m->heap(r->p->ctx, process);
	op_fill(&op, s, NULL);
	op.addr = p->brk + (unsigned long)s->off;
	op.plain = true;
	if (op.addr < p->heap) {
		*out = (struct scn_outcome){
			.error = ENOMEM
		}; /* below it is the heap of malloc, whose end a kernel would move */
		return true;
	}
	if (!perform(r, s, process, &op, out) || out->error)
		return !r->skipped && !r->broken;
	p->brk = op.addr;
	a = name_area(p, s->name);
	a->base = p->heap;
	a->len = p->brk - p->heap;
	a->plain = true;
	return true;
}

/* A number that nobody has, or has no more. */
static unsigned free_process(const struct run *r)
{
	unsigned i = 0;

	while (i < r->nr_processes && r->processes[i].alive)
		i++;
	return i;
}

static bool do_fork(struct run *r, const struct scn_stmt *s, unsigned process, struct scn_outcome *out)
{
	const unsigned nr = free_process(r);
	struct process *parent = &r->processes[process], *child = &r->processes[nr];
	struct scn_op op;

	if (nr == SCN_MAX_PROCESSES || find_process(r, s->name) >= 0) {
		fail(r, s, nr == SCN_MAX_PROCESSES ? "more than 64 processes at once; end some by `exit` before" : "a process of this name is running");
		return false;
	}
	op_fill(&op, s, NULL);
	op.child = nr;
	if (!perform(r, s, process, &op, out))
		return false;
	if (out->error)
		return true;
	if (nr == r->nr_processes)
		r->nr_processes++;
	*child = *parent;
	child->name = s->name;
	child->areas = xrealloc(NULL, (parent->nr_areas + 1) * sizeof(*parent->areas));
	if (parent->nr_areas)
		memcpy(child->areas, parent->areas, parent->nr_areas * sizeof(*parent->areas));
	child->min_flt = child->maj_flt = 0;
	child->rss_then = rss(r, op.child);
	return true;
}

static bool do_exit(struct run *r, const struct scn_stmt *s, unsigned process, struct scn_outcome *out)
{
	int child = find_process(r, s->name);
	struct scn_op op;

	if (child <= 0) {
		fail(r, s, child ? "no process of this name is running" : "main can't be ended");
		return false;
	}
	op_fill(&op, s, NULL);
	op.child = (unsigned)child;
	free(r->processes[child].areas);
	r->processes[child] = (struct process){ .name = s->name };
	return perform(r, s, process, &op, out);
}

static bool do_plain(struct run *r, const struct scn_stmt *s, unsigned process, struct area *a, struct scn_outcome *out)
{
	struct scn_op op;

	op_fill(&op, s, a);
	if (!a && s->verb != SCN_RECLAIM)
		op.file = s->name;
	if (s->verb == SCN_PREAD || s->verb == SCN_PWRITE)
		op.file = s->file;
	if (!perform(r, s, process, &op, out))
		return false;
	if (out->signal && (out->at < op.addr || out->at >= op.addr + op.len || (out->at - op.addr) % SCN_PAGE)) {
		fail(r, s, "%s reported address %#lx, which was not touched", scn_signal_name(out->signal), out->at);
		return false;
	}
	out->at -= out->signal ? op.addr : 0;
	return true;
}

static bool takes_area(const struct scn_stmt *s)
{
	switch (s->verb) {
	case SCN_MUNMAP:
	case SCN_MPROTECT:
	case SCN_MREMAP:
	case SCN_MADVISE:
	case SCN_MSYNC:
	case SCN_MLOCK:
	case SCN_MUNLOCK:
	case SCN_REMAP_FILE_PAGES:
	case SCN_PREAD:
	case SCN_PWRITE:
	case SCN_MINCORE:
	case SCN_SWEEP:
	case SCN_READ:
	case SCN_WRITE:
		return true;
	case SCN_EXPECT:
		return s->expect == SCN_EXPECT_BYTE;
	default:
		return false;
	}
}

/* => false: the scenario can't go on */
static bool carry_out(struct run *r, const struct scn_stmt *s, unsigned process, struct area *a)
{
	struct scn_outcome out;
	bool on;

	switch (s->verb) {
	case SCN_MMAP: on = do_mmap(r, s, process, &out); break;
	case SCN_MREMAP: on = do_mremap(r, s, process, a, &out); break;
	case SCN_BRK: on = do_brk(r, s, process, &out); break;
	case SCN_FORK: on = do_fork(r, s, process, &out); break;
	case SCN_EXIT: on = do_exit(r, s, process, &out); break;
	default: on = do_plain(r, s, process, a, &out); break;
	}
	if (!on)
		return false;
	if (s->verb == SCN_READ || s->verb == SCN_WRITE)
		r->last_signal = out.signal;
	else
		r->last_error = out.error;
	if (s->verb == SCN_MINCORE)
		r->last_resident = out.error ? 0 : out.result;
	if (out.signal == SCN_OOM) {
		fail(r, s, "out of memory");
		return false;
	}
	if (r->p->watch)
		r->p->watch(r->p->arg, s, &out);
	return true;
}

/* ---- expectations ------------------------------------------------------------------------------------------------ */

static void mark(struct run *r)
{
	for (unsigned i = 0; i < r->nr_processes; i++) {
		struct process *p = &r->processes[i];

		if (!p->alive)
			continue;
		p->min_flt = p->maj_flt = 0;
		p->rss_then = rss(r, i);
	}
}

static void expect_number(struct run *r, const struct scn_stmt *s, const char *what, int64_t seen)
{
	if (seen != s->len)
		fail(r, s, "wanted %lld %s, saw %lld", (long long)s->len, what, (long long)seen);
}

static void expect_byte(struct run *r, const struct scn_stmt *s, unsigned process, const struct area *a)
{
	struct scn_op op;
	uint8_t value;

	op_fill(&op, s, a);
	if (r->m->peek(r->p->ctx, process, &op, &value))
		fail(r, s, "wanted the byte %u, saw nothing mapped there", s->value);
	else if (value != s->value)
		fail(r, s, "wanted the byte %u, saw %u", s->value, value);
}

static const char *error_name(int error)
{
	return !error ? "success" : scn_errno_name(error) ? scn_errno_name(error) : strerror(error);
}

static void expect(struct run *r, const struct scn_stmt *s, unsigned process, const struct area *a)
{
	const struct process *p = &r->processes[process];

	switch (s->expect) {
	case SCN_EXPECT_BYTE:
		expect_byte(r, s, process, a);
		break;
	case SCN_EXPECT_MINFLT:
		if (r->p->ignore_faults)
			break;
		expect_number(r, s, "minor faults", (int64_t)p->min_flt);
		break;
	case SCN_EXPECT_MAJFLT:
		if (r->p->ignore_faults)
			break;
		expect_number(r, s, "major faults", (int64_t)p->maj_flt);
		break;
	case SCN_EXPECT_RSS:
		expect_number(r, s, "pages", r->m->rss(r->p->ctx, process, r->ranges, r->nr_ranges) - p->rss_then);
		break;
	case SCN_EXPECT_OK:
	case SCN_EXPECT_SIGNAL:
		if (r->last_signal != s->signal)
			fail(r, s, "wanted %s, saw %s", scn_signal_name(s->signal), scn_signal_name(r->last_signal));
		break;
	case SCN_EXPECT_RESIDENT:
		expect_number(r, s, "resident pages", (int64_t)r->last_resident);
		break;
	case SCN_EXPECT_ERROR:
		if (r->last_error != s->error)
			fail(r, s, "wanted %s, saw %s", error_name(s->error), error_name(r->last_error));
		break;
	}
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

/* => false: the scenario can't go on */
static bool one(struct run *r, const struct scn_stmt *s)
{
	int process = find_process(r, s->process);
	struct area *a = NULL;

	if (process < 0) {
		fail(r, s, "no process '%s' is running", s->process);
		return false;
	}
	if (takes_area(s)) {
		a = find_area(&r->processes[process], s->name);
		if (!a) {
			fail(r, s, "process '%s' has no area '%s': no mmap of it has succeeded there", s->process, s->name);
			return false;
		}
	}
	if (s->verb == SCN_MARK)
		mark(r);
	else if (s->verb != SCN_EXPECT)
		return carry_out(r, s, (unsigned)process, a);
	else if (!r->p->ignore_expect)
		expect(r, s, (unsigned)process, a);
	return true;
}

static bool is_call(const struct scn_stmt *s)
{
	return s->verb != SCN_READ && s->verb != SCN_WRITE && s->verb != SCN_SWEEP && s->verb != SCN_MARK && s->verb != SCN_EXPECT;
}

static void all(struct run *r, const struct scn *scn)
{
	const struct scn_stmt *call = NULL; /* that failed, with nobody having expected it yet */

	for (size_t i = 0; i < scn->nr; i++) {
		const struct scn_stmt *s = &scn->stmts[i];

		if (!(s->only & r->m->kernel))
			continue;
		if (call && !(s->verb == SCN_EXPECT && s->expect == SCN_EXPECT_ERROR))
			fail(r, call, "failed with %s, which nobody expected", error_name(r->last_error));
		call = NULL;
		if (!one(r, s))
			return;
		if (r->p->strict && is_call(s) && r->last_error)
			call = s;
	}
	if (call)
		fail(r, call, "failed with %s, which nobody expected", error_name(r->last_error));
}

enum scn_verdict scn_run(const struct scn *scn, const struct scn_run_params *params)
{
	struct run *r = xrealloc(NULL, sizeof(*r));
	enum scn_verdict verdict;
	int err;

	if (!(scn->kernels & params->machine->kernel)) {
		params->complain(params->arg, NULL, "it is for other kernels");
		free(r);
		return SCN_SKIPPED;
	}
	*r = (struct run){ .p = params, .m = params->machine, .nr_processes = 1, .plan = SCN_PLAN_BEGIN };
	r->processes[0] = (struct process){ .name = "main", .alive = true };
	err = r->m->start(params->ctx);
	if (err) {
		complain(r, NULL, "the machine does not start: %s: %s", r->m->message(params->ctx), strerror(-err));
		r->broken = true;
	} else {
		unsigned long heap = r->m->heap(params->ctx, 0);

		note_range(r, heap,
			   1); /* the heap's mapping belongs to the areas from the start: others may use it before */
		mark(r);
		all(r, scn);
	}
	r->m->finish(params->ctx);
	verdict = r->broken ? SCN_BROKEN : r->failed ? SCN_FAILED : r->skipped ? SCN_SKIPPED : SCN_PASSED;
	for (unsigned i = 0; i < r->nr_processes; i++)
		free(r->processes[i].areas);
	free(r->ranges);
	free(r);
	return verdict;
}
