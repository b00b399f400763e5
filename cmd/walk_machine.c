/* SPDX-License-Identifier: MIT
 *
 * walk_machine.c - a machine around a machine: each operation is recorded, and a statement's operations make up a step.
 */
#include <errno.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/walk.h"
#include "cmd/walk_snapshot.h"
#include "machine/soft/soft.h"
#include "scenario/host.h"
#include "scenario/soft.h"

struct recorder {
	const struct walk_params *params;
	struct walk *walk;
	const struct scn_machine *inner;
	void *inner_ctx;
	struct soft *soft;       /* NULL on host */
	struct walk_step *step;  /* of the statement under way */
	struct walk_snapshot *last;
	const char *names[SCN_MAX_PROCESSES]; /* of processes, by number: one that has ended leaves its number to another */
	unsigned child;          /* of the last fork */
	bool unsupported;        /* the complaint to come is that */
	bool told;               /* a complaint was printed */
	const char *why;
};

/* What the machine's functions get as their ctx. */
static struct recorder *recorder_of(void *ctx)
{
	return ctx;
}

/* ---- counters ------------------------------------------------------------------------------------------------------ */

static struct walk_counts engine_counts(void)
{
	const struct mm_stats *s = mm_stats();

	return (struct walk_counts){
		.zeroed = s->zeroed, .copied = s->copied,
		.read = s->swapped_in + s->file_read, .written = s->swapped_out + s->file_written,
		.frames = s->frames_used, .page_tables = s->page_tables,
	};
}

static void add_difference(struct walk_counts *to, const struct walk_counts *before, const struct walk_counts *after)
{
	to->zeroed += after->zeroed - before->zeroed;
	to->copied += after->copied - before->copied;
	to->read += after->read - before->read;
	to->written += after->written - before->written;
	to->frames = after->frames;
	to->page_tables = after->page_tables;
}

/* ---- the machine --------------------------------------------------------------------------------------------------- */

static struct walk_step *this_step(struct recorder *r)
{
	if (!r->step)
		r->step = arena_alloc(&r->walk->arena, sizeof(*r->step));
	return r->step;
}

/* One access to one page on the host: what it cost tells what kind of fault it was. */
static void note_host_fault(struct recorder *r, const struct scn_op *op, const struct scn_outcome *out)
{
	static const enum fault_result of_signal[] = {
		[SCN_SEGV_MAPERR] = FAULT_MAPERR, [SCN_SEGV_ACCERR] = FAULT_ACCERR, [SCN_BUS_ADRERR] = FAULT_BUS,
		[SCN_OOM] = FAULT_OOM_KILL, [SCN_OTHER_SIGNAL] = FAULT_BUS,
	};
	uint64_t nr = out->min_flt + out->maj_flt + (out->signal != SCN_NO_SIGNAL);
	struct walk_step *step = this_step(r);

	for (uint64_t i = 0; i < nr; i++) {
		struct walk_fault *f = arena_alloc(&r->walk->arena, sizeof(*f));

		f->addr = f->last_addr = op->addr;
		f->write = op->verb == SCN_WRITE;
		f->result = i < out->maj_flt ? FAULT_MAJOR : i < out->maj_flt + out->min_flt ? FAULT_MINOR : of_signal[out->signal];
		if (step->last_fault)
			step->last_fault->next = f;
		else
			step->faults = f;
		step->last_fault = f;
	}
}

/* A page at a time, so that each fault is seen by itself. */
static int host_access(struct recorder *r, unsigned process, const struct scn_op *op, struct scn_outcome *out)
{
	for (size_t o = 0; o < op->len; o += SCN_PAGE) {
		struct scn_outcome one = { 0 };
		struct scn_op page = *op;
		int err;

		page.addr += o;
		page.file_off += (int64_t)o;
		page.len = 1;
		err = r->inner->run(r->inner_ctx, process, &page, &one);
		if (err)
			return err;
		note_host_fault(r, &page, &one);
		out->min_flt += one.min_flt;
		out->maj_flt += one.maj_flt;
		out->sum = out->sum * 0x100000001b3ULL + one.sum;
		if (one.signal) {
			out->signal = one.signal;
			out->at = one.at;
			break;
		}
	}
	return 0;
}

static int engine_run(struct recorder *r, unsigned process, const struct scn_op *op, struct scn_outcome *out)
{
	struct walk_counts before = engine_counts(), after;
	struct walk_step *step = this_step(r);
	int err;

	if (r->params->snapshots && !step->before)
		step->before = r->last ? r->last : walk_take_snapshot(&r->walk->arena, r->soft, r->names);
	record_begin(r->walk, step, soft_mm(r->soft, process), r->params->record);
	err = r->inner->run(r->inner_ctx, process, op, out);
	record_end();
	after = engine_counts();
	add_difference(&step->counts, &before, &after);
	if (r->params->snapshots)
		step->after = r->last = walk_take_snapshot(&r->walk->arena, r->soft, r->names);
	return err;
}

static int run(void *ctx, unsigned process, const struct scn_op *op, struct scn_outcome *out)
{
	struct recorder *r = recorder_of(ctx);
	const bool is_access = op->verb == SCN_READ || op->verb == SCN_WRITE;
	int err = r->soft	? engine_run(r, process, op, out)
		  : is_access ? host_access(r, process, op, out)
			      : r->inner->run(r->inner_ctx, process, op, out);

	if (op->verb == SCN_FORK)
		r->child = op->child;
	this_step(r)->counts.minflt += out->min_flt;
	this_step(r)->counts.majflt += out->maj_flt;
	return err;
}

static int start(void *ctx)
{
	record_reset();
	return recorder_of(ctx)->inner->start(recorder_of(ctx)->inner_ctx);
}

static const char *unsupported(void *ctx, const struct scn_op *op)
{
	const char *why = recorder_of(ctx)->inner->unsupported(recorder_of(ctx)->inner_ctx, op);

	recorder_of(ctx)->unsupported = why;
	return why;
}

static int peek(void *ctx, unsigned process, const struct scn_op *area, uint8_t *value)
{
	return recorder_of(ctx)->inner->peek(recorder_of(ctx)->inner_ctx, process, area, value);
}

static long rss(void *ctx, unsigned process, const struct scn_range *ranges, size_t nr)
{
	return recorder_of(ctx)->inner->rss(recorder_of(ctx)->inner_ctx, process, ranges, nr);
}

static unsigned long heap(void *ctx, unsigned process)
{
	return recorder_of(ctx)->inner->heap(recorder_of(ctx)->inner_ctx, process);
}

static const char *message(void *ctx)
{
	return recorder_of(ctx)->inner->message(recorder_of(ctx)->inner_ctx);
}

/* The processes are still there: now is the time for what they have used at most. */
static void finish(void *ctx)
{
	struct recorder *r = recorder_of(ctx);

	if (r->soft) {
		r->walk->totals.frames = mm_stats()->frames_peak;
		r->walk->totals.page_tables = record_page_tables();
	}
	r->inner->finish(r->inner_ctx);
}

/* "in NAME: STATEMENT" without what comes before the statement: the process is told beside it. */
static const char *without_process(const char *text)
{
	const char *colon = strchr(text, ':');

	if (strncmp(text, "in", 2) || (text[2] != ' ' && text[2] != '\t') || !colon)
		return text;
	for (text = colon + 1; *text == ' ' || *text == '\t'; text++)
		;
	return text;
}

/* ---- statements ---------------------------------------------------------------------------------------------------- */

static void end_step(struct recorder *r, const struct scn_stmt *stmt, int error, enum scn_signal signal)
{
	struct walk_step *step = this_step(r);
	struct walk_counts *totals = &r->walk->totals;
	const char *name = error ? scn_errno_name(error) : NULL;

	step->line = stmt->line;
	step->process = arena_copy(&r->walk->arena, stmt->process);
	step->statement = arena_copy(&r->walk->arena, without_process(stmt->text));
	step->error = error && !name ? strerror(error) : name;
	step->signal = signal;
	totals->minflt += step->counts.minflt;
	totals->majflt += step->counts.majflt;
	totals->zeroed += step->counts.zeroed;
	totals->copied += step->counts.copied;
	totals->read += step->counts.read;
	totals->written += step->counts.written;
	if (r->walk->last_step)
		r->walk->last_step->next = step;
	else
		r->walk->steps = step;
	r->walk->last_step = step;
	r->step = NULL;
}

/* The machine has seen it without its name. */
static void name_child(struct recorder *r, const char *name)
{
	r->names[r->child] = arena_copy(&r->walk->arena, name);
	for (struct seen_process *p = r->last ? r->last->processes : NULL; p; p = p->next)
		if (p->index == r->child)
			p->name = r->names[r->child];
}

static void on_statement(void *arg, const struct scn_stmt *stmt, const struct scn_outcome *out)
{
	struct recorder *r = arg;

	if (stmt->verb == SCN_FORK && !out->error)
		name_child(r, stmt->name);
	end_step(r, stmt, out->error, out->signal);
}

static void on_complaint(void *arg, const struct scn_stmt *stmt, const char *text)
{
	struct recorder *r = arg;

	const char *line = stmt ? arena_printf(&r->walk->arena, "%s:%u: %.200s: %.250s", r->params->file, stmt->line, stmt->text, text)
				: arena_printf(&r->walk->arena, "%s: %.400s", r->params->file, text);

	if (!r->why)
		r->why = line;
	if (stmt && !r->unsupported && !r->params->quiet)
		r->told = complain(1, "%s", line);
	if (stmt && r->step) /* it was under way: out of memory, for one */
		end_step(r, stmt, 0, r->step->last_fault && r->step->last_fault->result == FAULT_OOM_KILL ? SCN_OOM : SCN_NO_SIGNAL);
}

static int run_with(struct recorder *r, const struct scn *scn)
{
	const struct scn_machine machine = {
		r->inner->kernel, start, unsupported, run, peek, rss, heap, message, finish,
	};
	const struct scn_run_params params = {
		.machine = &machine, .ctx = r, .ignore_expect = r->params->ignore_expect,
		.watch = on_statement, .complain = on_complaint, .arg = r,
	};

	switch (scn_run(scn, &params)) {
	case SCN_PASSED: return 0;
	case SCN_FAILED: return 1;
	case SCN_SKIPPED: return 77;
	default: return r->told ? EXIT_MINFLT : complain(EXIT_MINFLT, "%s", r->why);
	}
}

static int run_on_host(struct recorder *r, const struct scn *scn)
{
	struct host *host = host_create();
	int status;

	if (!host)
		return complain(EXIT_MINFLT, "cannot prepare processes on the host: %s; free some memory", strerror(errno));
	r->inner = &host_machine;
	r->inner_ctx = host;
	status = run_with(r, scn);
	host_destroy(host);
	return status;
}

#define ARM_CAPS (MACHINE_READONLY | MACHINE_ALIAS | MACHINE_ZERO_PAGE) /* its entries have neither a young nor a dirty bit */

static int run_on_engine(struct recorder *r, const struct scn *scn)
{
	struct soft_params p = SOFT_DEFAULTS;
	int status;

	p.arch = r->params->arch;
	p.kernel = r->params->kernel;
	p.rules = r->params->rules;
	if (r->params->frames)
		p.nr_frames = r->params->frames;
	if (!strcmp(p.arch, "arm"))
		p.caps = ARM_CAPS;
	r->soft = soft_create(&p);
	if (!r->soft)
		return complain(EXIT_MINFLT, "no memory for %lu frames; give fewer with --frames", p.nr_frames);
	r->inner = soft_machine_of(r->soft);
	r->inner_ctx = r->soft;
	status = run_with(r, scn);
	soft_destroy(r->soft);
	return status;
}

#define HOST_ARCH "x86_64" /* minflt runs on no other */

int walk_run(const struct scn *scn, const struct walk_params *params, struct walk *walk, const char **why)
{
	const bool on_host = !strcmp(params->kernel, "host");
	struct recorder r = { .params = params, .walk = walk, .names = { "main" } };
	int status;

	*walk = (struct walk){ .kernel = params->kernel, .arch = on_host ? HOST_ARCH : params->arch };
	status = on_host ? run_on_host(&r, scn) : run_on_engine(&r, scn);
	*why = r.why;
	return status;
}
