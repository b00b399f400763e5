/* SPDX-License-Identifier: MIT
 *
 * compare.c - see compare.h.
 */
#include "tests/oracle/compare.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void note(void *arg, const struct scn_stmt *stmt, const struct scn_outcome *outcome)
{
	struct recording *r = arg;

	if (stmt->only != SCN_ALL_KERNELS)
		return;
	if (r->nr < SEQ_MAX_LINES)
		r->at[r->nr++] = (struct record){ stmt->line, stmt->verb, *outcome };
	else
		r->too_long = true;
}

static void complain(void *arg, const struct scn_stmt *stmt, const char *text)
{
	struct recording *r = arg;

	snprintf(r->complaint, sizeof(r->complaint), "line %u: %.250s", stmt ? stmt->line : 0, text);
}

static void record(struct recording *r, const struct scn *scn, const struct scn_machine *machine, void *ctx)
{
	const struct scn_run_params params = {
		.machine = machine, .ctx = ctx, .ignore_expect = true, .watch = note, .complain = complain, .arg = r,
	};

	r->nr = 0;
	r->too_long = false;
	r->complaint[0] = 0;
	r->verdict = scn_run(scn, &params);
}

static void record_soft(struct comparison *c, const struct sequence *q, const struct scn *scn, const char *kernel)
{
	struct soft_params sp = SOFT_DEFAULTS;
	struct soft *soft;

	sp.arch = q->arch;
	sp.nr_frames = c->nr_frames ? c->nr_frames : 1536; /* enough for all sequences, and quick to check */
	sp.nr_slots = q->parts & SEQ_RECLAIM || c->swap ? 4096 : 0;
	sp.caps = q->caps;
	sp.kernel = kernel;
	sp.rules = strcmp(kernel, "5") ? 0 : MM_REUSE_6;
	sp.ra_pages = c->host ? c->ra_pages : 0;
	sp.no_notify = q->parts & SEQ_TMPFS;
	sp.check_every = c->check_every;
	soft = soft_create(&sp);
	if (!soft) {
		fprintf(stderr, "oracle: no memory\n");
		exit(2);
	}
	record(&c->soft_did, scn, soft_machine_of(soft), soft);
	soft_destroy(soft);
}

/* ---- two recordings ---------------------------------------------------------------------------------------------- */

static void describe(char *to, size_t len, const struct record *r)
{
	const struct scn_outcome *o = &r->outcome;
	int n = snprintf(to, len, "%s%s%s", o->error ? scn_errno_name(o->error) : "", o->error ? ", " : "", scn_signal_name(o->signal));

	if (o->signal)
		n += snprintf(to + n, len - (size_t)n, " at byte %#lx", o->at);
	snprintf(to + n, len - (size_t)n, ", bytes %#llx, result %#lx, %llu minor, %llu major", (unsigned long long)o->sum, o->result,
		 (unsigned long long)o->min_flt, (unsigned long long)o->maj_flt);
}

/* 2.0 knows no codes of signals. */
static bool same_signal(enum scn_signal x, enum scn_signal y, bool codes)
{
	bool segv = (x == SCN_SEGV_MAPERR || x == SCN_SEGV_ACCERR) && (y == SCN_SEGV_MAPERR || y == SCN_SEGV_ACCERR);

	return x == y || (!codes && segv);
}

/* The result of a call that only a machine's own choice determines is none: mremap's address is the plan's. */
static bool same_contents(const struct record *a, const struct record *b, bool codes)
{
	const struct scn_outcome *x = &a->outcome, *y = &b->outcome;

	return a->line == b->line && x->error == y->error && same_signal(x->signal, y->signal, codes) && x->at == y->at && x->sum == y->sum &&
	       (x->error || x->result == y->result);
}

static bool same_faults(const struct record *a, const struct record *b)
{
	return a->outcome.min_flt == b->outcome.min_flt && a->outcome.maj_flt == b->outcome.maj_flt;
}

static enum result differs_at(struct comparison *c, const struct record *a, const char *name_a, const struct record *b, const char *name_b)
{
	char x[200], y[200];

	describe(x, sizeof(x), a);
	describe(y, sizeof(y), b);
	c->line = a->line;
	snprintf(c->how, sizeof(c->how), "%s: %s; %s: %s", name_a, x, name_b, y);
	return DIFFERENT;
}

/* A fault waits for the read that has its page. What read-ahead has asked for besides, where a page that was there parts its window, may be there when the
 * fault is tried again, or not yet: then it isn't mapped along. (The host's major faults, for the engine's are what is examined.) */
static bool leaves_reads_under_way(const struct record *engine, const struct record *host)
{
	bool waits = engine->verb == SCN_WARM || engine->verb == SCN_PREAD || engine->verb == SCN_PWRITE;

	return !waits && engine->outcome.reads > host->outcome.maj_flt;
}

/* What happened after the first difference says nothing. */
static enum result compare_recordings(struct comparison *c, const struct recording *a, const char *name_a, const struct recording *b,
				      const char *name_b, bool faults_too, const struct recording *again)
{
	bool in_time = true;

	for (unsigned i = 0; i < a->nr && i < b->nr; i++) {
		bool stable = !again || (i < again->nr && same_faults(&b->at[i], &again->at[i])), counted = faults_too && stable;

		in_time &= !again || !leaves_reads_under_way(&a->at[i], &b->at[i]);
		if (counted && !in_time && !same_faults(&a->at[i], &b->at[i])) {
			counted = false;
			if (c->counts)
				c->counts->counts_under_way++;
		}
		if (!same_contents(&a->at[i], &b->at[i], strcmp(name_a, "2.0")) || (counted && !same_faults(&a->at[i], &b->at[i])))
			return differs_at(c, &a->at[i], name_a, &b->at[i], name_b);
	}
	if (a->nr == b->nr && a->verdict == SCN_PASSED)
		return SAME;
	c->line = 0;
	snprintf(c->how, sizeof(c->how), "%s went on for %u statements: %.200s; %s for %u: %.200s", name_a, a->nr, a->complaint, name_b, b->nr,
		 b->complaint);
	return DIFFERENT;
}

static void count(struct comparison *c, const struct recording *r, const struct recording *again)
{
	struct counts *n = c->counts;

	for (unsigned i = 0; n && i < r->nr; i++) {
		const struct scn_outcome *o = &r->at[i].outcome;

		n->statements++;
		n->faults += o->min_flt + o->maj_flt;
		n->signals += o->signal != SCN_NO_SIGNAL;
		n->errors += o->error != 0;
		if (!again || i >= again->nr)
			continue;
		n->counts_compared++;
		n->counts_left_out += !same_faults(&r->at[i], &again->at[i]);
	}
}

/* The disk is full: what a machine made of that is not what is compared. */
static bool no_space(const struct recording *r)
{
	for (unsigned i = 0; i < r->nr; i++)
		if (r->at[i].outcome.error == ENOSPC)
			return true;
	return false;
}

/* ---- one sequence ------------------------------------------------------------------------------------------------ */

static enum result against_host(struct comparison *c, const struct sequence *q, const struct scn *scn)
{
	struct recording *first = &c->host_did[0], *second = &c->host_did[1];
	char name[32];

	host_set_directory(c->host, q->parts & SEQ_TMPFS ? c->tmpfs : NULL);
	record(first, scn, &host_machine, c->host);
	record(second, scn, &host_machine, c->host);
	if (no_space(first) || no_space(second)) {
		snprintf(c->how, sizeof(c->how), "the disk is full");
		return NOT_RUN;
	}
	if (first->verdict != SCN_PASSED || second->verdict != SCN_PASSED || first->nr != second->nr) {
		snprintf(c->how, sizeof(c->how), "the host could not run it: %.250s %.250s", first->complaint, second->complaint);
		return NOT_RUN;
	}
	for (unsigned i = 0; i < first->nr; i++) {
		/* what is in memory while reading is under way depends on the time */
		if (first->at[i].verb == SCN_MINCORE && q->parts & SEQ_COLD)
			continue;
		if (!same_contents(&first->at[i], &second->at[i], true)) {
			if (c->counts)
				c->counts->host_unstable++;
			differs_at(c, &first->at[i], "host", &second->at[i], "host again");
			return NOT_RUN;
		}
	}
	count(c, first, second);
	record_soft(c, q, scn, c->kernels[0]);
	snprintf(name, sizeof(name), "%s %s", c->kernels[0], q->arch);
	if (no_space(&c->soft_did)) {
		snprintf(c->how, sizeof(c->how), "the disk is full");
		return NOT_RUN;
	}
	if (c->soft_did.verdict == SCN_SKIPPED) {
		snprintf(c->how, sizeof(c->how), "the engine can't run it: %.250s", c->soft_did.complaint);
		return NOT_RUN;
	}
	return compare_recordings(c, &c->soft_did, name, first, "host", !c->ignore_faults && !(q->parts & (SEQ_RECLAIM | SEQ_UNCOUNTED)), second);
}

static enum result among_generations(struct comparison *c, const struct sequence *q, const struct scn *scn)
{
	struct recording *reference = &c->host_did[0];
	enum result r = SAME;

	record_soft(c, q, scn, c->kernels[0]);
	*reference = c->soft_did;
	count(c, reference, NULL);
	for (unsigned i = 1; i < 3 && c->kernels[i] && r == SAME; i++) {
		record_soft(c, q, scn, c->kernels[i]);
		r = compare_recordings(c, &c->soft_did, c->kernels[i], reference, c->kernels[0], false, NULL);
	}
	return r;
}

char *sequence_text(const struct sequence *q, const bool *keep)
{
	char *text = malloc(SEQ_MAX_LINES * (SEQ_LINE_SIZE + 1) + 1), *to = text;

	if (!text)
		exit(2);
	for (unsigned i = 0; i < q->nr; i++)
		if (!keep || keep[i])
			to += sprintf(to, "%s\n", q->lines[i]);
	*to = 0;
	return text;
}

enum result compare_text(struct comparison *c, const struct sequence *q, const char *text)
{
	enum result r = NOT_RUN;
	struct scn_error err;
	struct scn scn;

	if (!scn_parse(text, strlen(text), &scn, &err)) {
		r = c->host ? against_host(c, q, &scn) : among_generations(c, q, &scn);
		scn_free(&scn);
	} else {
		snprintf(c->how, sizeof(c->how), "line %u: %s", err.line, err.message);
	}
	return r;
}

enum result compare(struct comparison *c, const struct sequence *q, const bool *keep)
{
	char *text = sequence_text(q, keep);
	enum result r = compare_text(c, q, text);

	free(text);
	return r;
}
