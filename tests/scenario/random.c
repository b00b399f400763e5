/* SPDX-License-Identifier: MIT
 *
 * scenario-random - random scenarios of anonymous memory, on the engine over the software MMU and on the kernel of this
 * host, side by side.
 *
 *   scenario-random N SEED     sequence i has the seed SEED + i; a failing one is repeated by scenario-random 1 SEED+i
 *   scenario-random emit SEED  prints the sequence with what this host's kernel made of it as expectations: bytes,
 *                              signals and errors, for machines that run in a process of their own (`uffd`)
 *
 * After each statement these must be equal: the error of a call; the signal, its code and address; the bytes read; the
 * faults. Half of the sequences let the engine evict pages as well (`only 5 reclaim`), some of them on hardware without
 * young and dirty bits: there all but the faults must be equal. A sequence that differs is shrunk, by leaving out
 * statements while it still differs, and printed as a scenario.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scenario/host.h"
#include "scenario/soft.h"

#define MAX_LINES     2000
#define MAX_AREAS     6
#define MAX_PROCESSES 5
#define LINE_SIZE     80

/* ---- what is generated ------------------------------------------------------------------------------------------- */

struct model_area {
	bool there, stack, heap;
	unsigned pages; /* as far as it was ever made; holes are not followed */
};

struct model_process {
	bool alive;
	char name[8];
	struct model_area areas[MAX_AREAS];
};

struct sequence {
	char lines[MAX_LINES][LINE_SIZE];
	unsigned nr;
	bool with_swap; /* faults are not compared */
	unsigned caps;
	const char *arch;
	/* while it is made: */
	uint64_t state;
	struct model_process processes[MAX_PROCESSES];
	unsigned nr_processes, value;
};

static uint64_t next(struct sequence *q)
{
	uint64_t z = q->state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

static unsigned below(struct sequence *q, unsigned n)
{
	return (unsigned)(next(q) % n);
}

/* `in NAME:` is put before it unless the process is main. */
__attribute__((format(printf, 3, 4))) static void emit(struct sequence *q, const struct model_process *p,
						       const char *format, ...)
{
	char *line = q->lines[q->nr];
	int n = 0;
	va_list ap;

	if (q->nr == MAX_LINES)
		return;
	if (p && strcmp(p->name, "main"))
		n = snprintf(line, LINE_SIZE, "in %s: ", p->name);
	va_start(ap, format);
	vsnprintf(line + n, (size_t)(LINE_SIZE - n), format, ap);
	va_end(ap);
	q->nr++;
}

static const char *area_name(const struct model_process *p, unsigned i)
{
	static const char *const names[] = { "A", "B", "C", "D", "E", "F" };

	return p->areas[i].heap ? "heap" : names[i];
}

static const char *random_prot(struct sequence *q)
{
	static const char *const prots[] = { "rw", "rw", "rw", "r", "none", "w", "rwx" };

	return prots[below(q, sizeof(prots) / sizeof(prots[0]))];
}

static void make_area(struct sequence *q, struct model_process *p, unsigned i)
{
	struct model_area *a = &p->areas[i];
	unsigned kind = below(q, 10);

	*a = (struct model_area){ .there = true, .pages = 1 + below(q, 24) };
	if (kind == 0 && i == MAX_AREAS - 1) {
		a->heap = true;
		emit(q, p, "brk %uP", a->pages);
	} else if (kind == 1) {
		a->stack = true;
		emit(q, p, "mmap %s %uP rw private anon growsdown", area_name(p, i), a->pages);
	} else {
		emit(q, p, "mmap %s %uP %s private anon%s%s", area_name(p, i), a->pages,
		     kind < 7 ? "rw" : random_prot(q), below(q, 6) ? "" : " populate", below(q, 8) ? "" : " noreserve");
	}
}

/* A range in the area, now and then reaching out of it. */
static void range(struct sequence *q, const struct model_area *a, int *off, unsigned *len)
{
	*off = (int)below(q, a->pages);
	*len = 1 + below(q, a->pages - (unsigned)*off);
	if (!below(q, 12))
		*len += 1 + below(q, 3);
	if (a->stack && !below(q, 3))
		*off -= (int)below(q, 40);
}

static void access(struct sequence *q, struct model_process *p, unsigned i)
{
	unsigned len;
	int off;

	range(q, &p->areas[i], &off, &len);
	if (below(q, 2))
		emit(q, p, "read %s %dP %uP", area_name(p, i), off, len);
	else
		emit(q, p, "write %s %dP %uP %u", area_name(p, i), off, len, q->value = q->value % 255 + 1);
}

static void advise(struct sequence *q, struct model_process *p, unsigned i)
{
	static const char *const advices[] = {
		"dontneed", "dontneed",   "dontneed",   "populate_read", "populate_write", "dontfork",
		"dofork",   "wipeonfork", "keeponfork", "willneed",      "random",         "normal",
	};
	unsigned len;
	int off;

	range(q, &p->areas[i], &off, &len);
	emit(q, p, "madvise %s %dP %uP %s", area_name(p, i), off, len,
	     advices[below(q, sizeof(advices) / sizeof(advices[0]))]);
}

static void remap(struct sequence *q, struct model_process *p, unsigned i)
{
	struct model_area *a = &p->areas[i];
	unsigned new_pages = 1 + below(q, 32);

	if (a->stack || a->heap)
		return;
	if (below(q, 3)) {
		emit(q, p, "mremap %s 0 %uP %uP%s", area_name(p, i), a->pages, new_pages,
		     below(q, 2) ? " maymove" : "");
		a->pages = new_pages > a->pages ? new_pages : a->pages;
	} else {
		unsigned len;
		int off;

		range(q, a, &off, &len);
		emit(q, p, "mremap %s %dP %uP %uP", area_name(p, i), off, len, new_pages);
	}
}

static void resize_heap(struct sequence *q, struct model_process *p, unsigned i)
{
	struct model_area *a = &p->areas[i];
	unsigned delta = 1 + below(q, 12);

	if (!a->heap)
		return;
	emit(q, p, "brk %s%uP", below(q, 2) ? "-" : "", delta);
	a->pages += delta; /* an upper bound */
}

static void lock(struct sequence *q, struct model_process *p, unsigned i)
{
	unsigned len;
	int off;

	if (p->areas[i].stack)
		return;
	range(q, &p->areas[i], &off, &len);
	emit(q, p, "%s %s %dP %uP", below(q, 2) ? "mlock" : "munlock", area_name(p, i), off, len);
}

static void fork_or_exit(struct sequence *q, struct model_process *p)
{
	struct model_process *c = &q->processes[q->nr_processes];

	if (q->nr_processes < MAX_PROCESSES && below(q, 3)) {
		*c = *p;
		snprintf(c->name, sizeof(c->name), "p%u", q->nr_processes);
		emit(q, p, "fork %s", c->name);
		q->nr_processes++;
		return;
	}
	c = &q->processes[below(q, q->nr_processes)];
	if (c != &q->processes[0] && c->alive) {
		emit(q, NULL, "exit %s", c->name);
		c->alive = false;
	}
}

static void step(struct sequence *q)
{
	struct model_process *p = &q->processes[below(q, q->nr_processes)];
	unsigned i = below(q, MAX_AREAS), what = below(q, 100), len;
	int off;

	if (!p->alive)
		return;
	if (!p->areas[i].there) {
		make_area(q, p, i);
		return;
	}
	if (what < 50) {
		access(q, p, i);
	} else if (what < 62) {
		range(q, &p->areas[i], &off, &len);
		emit(q, p, "mprotect %s %dP %uP %s", area_name(p, i), off, len, random_prot(q));
	} else if (what < 67) {
		range(q, &p->areas[i], &off, &len);
		emit(q, p, "munmap %s %dP %uP", area_name(p, i), off, len);
	} else if (what < 77) {
		advise(q, p, i);
	} else if (what < 83) {
		remap(q, p, i);
	} else if (what < 87) {
		lock(q, p, i);
	} else if (what < 89) {
		resize_heap(q, p, i);
	} else if (what < 94 || !q->with_swap) {
		fork_or_exit(q, p);
	} else {
		emit(q, NULL, "only 5 uffd");
		if (below(q, 2))
			emit(q, NULL, "reclaim %u", 1 + below(q, 200));
		else
			emit(q, p, "madvise %s 0 %uP pageout", area_name(p, i), p->areas[i].pages);
	}
}

/* Every page of every process, one by one: a read of many ends at the first signal. */
static void read_all(struct sequence *q)
{
	for (unsigned i = 0; i < q->nr_processes; i++) {
		const struct model_process *p = &q->processes[i];

		for (unsigned k = 0; p->alive && k < MAX_AREAS; k++)
			for (unsigned page = 0; p->areas[k].there && page < p->areas[k].pages; page++)
				emit(q, p, "read %s %uP", area_name(p, k), page);
	}
}

static void generate(struct sequence *q, uint64_t seed)
{
	static const char *const archs[] = { "x86_64", "i386", "arm", "x86_64-5", "sv39", "sv48" };
	unsigned steps;

	memset(q, 0, sizeof(*q));
	q->state = seed;
	q->arch = archs[below(q, 6)];
	q->with_swap = below(q, 2);
	q->caps = SOFT_ALL_CAPS;
	if (q->with_swap && below(q, 2))
		q->caps &= ~(unsigned)(MACHINE_YOUNG | MACHINE_DIRTY);
	q->processes[0] = (struct model_process){ .alive = true, .name = "main" };
	q->nr_processes = 1;
	steps = 30 + below(q, 90);
	for (unsigned i = 0; i < steps; i++)
		step(q);
	read_all(q);
}

/* ---- comparing --------------------------------------------------------------------------------------------------- */

struct record {
	unsigned line;
	struct scn_outcome outcome;
};

struct recording {
	struct record at[MAX_LINES];
	unsigned nr;
	char complaint[500];
};

static void note(void *arg, const struct scn_stmt *stmt, const struct scn_outcome *outcome)
{
	struct recording *r = arg;

	if (stmt->only == SCN_ALL_KERNELS && r->nr < MAX_LINES)
		r->at[r->nr++] = (struct record){ stmt->line, *outcome };
}

static void complain(void *arg, const struct scn_stmt *stmt, const char *text)
{
	struct recording *r = arg;

	snprintf(r->complaint, sizeof(r->complaint), "line %u: %.400s", stmt ? stmt->line : 0, text);
}

struct session {
	struct host *host;
	struct recording soft, host_did;
	uint64_t nr_statements, nr_faults, nr_signals, nr_errors, nr_divergences, nr_runs;
};

static void describe(char *to, size_t len, const struct scn_outcome *o)
{
	snprintf(to, len, "%s%s%s at byte %#lx, bytes %#llx, %llu minor, %llu major",
		 o->error ? scn_errno_name(o->error) : "", o->error ? ", " : "", scn_signal_name(o->signal), o->at,
		 (unsigned long long)o->sum, (unsigned long long)o->min_flt, (unsigned long long)o->maj_flt);
}

static bool equal(const struct record *a, const struct record *b, bool faults_too)
{
	const struct scn_outcome *x = &a->outcome, *y = &b->outcome;

	return a->line == b->line && x->error == y->error && x->signal == y->signal && x->at == y->at &&
	       x->sum == y->sum && (!faults_too || (x->min_flt == y->min_flt && x->maj_flt == y->maj_flt));
}

/* => 1 they differ: *line and `how` tell; 0 equal; -1 it could not be run */
static int compare(struct session *s, const struct sequence *q, const struct scn *scn, unsigned *line, char *how,
		   size_t how_len)
{
	struct soft_params sp = SOFT_DEFAULTS;
	struct scn_run_params run = { .ignore_expect = true, .watch = note, .complain = complain };
	enum scn_verdict by_soft, by_host;
	char a[200], b[200];

	sp.arch = q->arch;
	sp.nr_frames = 3072; /* enough for all, and quick to check after every step */
	sp.caps = q->caps;
	s->soft.nr = s->host_did.nr = 0;
	s->soft.complaint[0] = s->host_did.complaint[0] = 0;
	run.machine = &host_machine;
	run.ctx = s->host;
	run.arg = &s->host_did;
	by_host = scn_run(scn, &run);
	if (by_host != SCN_PASSED)
		return -1;
	run.machine = &soft_machine;
	run.ctx = soft_create(&sp);
	if (!run.ctx)
		return -1;
	run.arg = &s->soft;
	by_soft = scn_run(scn, &run);
	soft_destroy(run.ctx);
	s->nr_runs++;
	for (unsigned i = 0; i < s->soft.nr && i < s->host_did.nr; i++) {
		if (equal(&s->soft.at[i], &s->host_did.at[i], !q->with_swap))
			continue;
		*line = s->soft.at[i].line;
		describe(a, sizeof(a), &s->soft.at[i].outcome);
		describe(b, sizeof(b), &s->host_did.at[i].outcome);
		snprintf(how, how_len, "soft %s: %s; host: %s", q->arch, a, b);
		return 1;
	}
	*line = 0;
	snprintf(how, how_len, "soft %s: %.300s", q->arch, s->soft.complaint);
	return by_soft != SCN_PASSED;
}

/* The lines that are kept, as text. */
static char *text_of(const struct sequence *q, const bool *keep)
{
	char *text = malloc(MAX_LINES * (LINE_SIZE + 1) + 1), *to = text;

	if (!text)
		exit(1);
	for (unsigned i = 0; i < q->nr; i++)
		if (keep[i])
			to += sprintf(to, "%s\n", q->lines[i]);
	*to = 0;
	return text;
}

static int try(struct session *s, const struct sequence *q, const bool *keep, unsigned *line, char *how, size_t how_len)
{
	char *text = text_of(q, keep);
	struct scn_error err;
	struct scn scn;
	int r = -1;

	if (!scn_parse(text, strlen(text), &scn, &err)) {
		r = compare(s, q, &scn, line, how, how_len);
		scn_free(&scn);
	} else {
		snprintf(how, how_len, "line %u: %s", err.line, err.message);
	}
	free(text);
	return r;
}

/* Leave out runs of lines, long ones first, as long as what remains still differs. */
static void shrink(struct session *s, const struct sequence *q, bool *keep)
{
	bool without[MAX_LINES];
	unsigned line;
	char how[600];

	for (unsigned chunk = q->nr / 2; chunk; chunk /= 2) {
		for (unsigned from = 0; from < q->nr; from += chunk) {
			bool any = false;

			memcpy(without, keep, sizeof(without));
			for (unsigned i = from; i < from + chunk && i < q->nr; i++) {
				any |= without[i];
				without[i] = false;
			}
			if (any && try(s, q, without, &line, how, sizeof(how)) == 1)
				memcpy(keep, without, sizeof(without));
		}
	}
}

static void report(struct session *s, const struct sequence *q, uint64_t seed)
{
	bool keep[MAX_LINES];
	unsigned line = 0;
	char how[600], *text;

	memset(keep, true, sizeof(keep));
	shrink(s, q, keep);
	shrink(s, q, keep);
	if (try(s, q, keep, &line, how, sizeof(how)) != 1)
		snprintf(how, sizeof(how), "it does not differ every time");
	text = text_of(q, keep);
	printf("# seed %llu: the machines differ%s: %s\n", (unsigned long long)seed,
	       q->caps == SOFT_ALL_CAPS ? "" : " (without young and dirty bits)", how);
	printf("# in line %u of:\n%s\n", line, text);
	free(text);
}

static void one_sequence(struct session *s, uint64_t seed)
{
	static struct sequence q;
	bool keep[MAX_LINES];
	unsigned line;
	char how[600] = "";
	int r;

	generate(&q, seed);
	memset(keep, true, sizeof(keep));
	r = try(s, &q, keep, &line, how, sizeof(how));
	for (unsigned i = 0; i < s->host_did.nr; i++) {
		s->nr_statements++;
		s->nr_faults += s->host_did.at[i].outcome.min_flt + s->host_did.at[i].outcome.maj_flt;
		s->nr_signals += s->host_did.at[i].outcome.signal != SCN_NO_SIGNAL;
		s->nr_errors += s->host_did.at[i].outcome.error != 0;
	}
	if (!r)
		return;
	s->nr_divergences++;
	if (r > 0)
		report(s, &q, seed);
	else
		printf("# seed %llu: could not be run: %s %s\n", (unsigned long long)seed, how, s->host_did.complaint);
}

/* The statement, then what came of it. A read of one page is known byte for byte by its sum (see child.c). */
static void print_expecting(const char *text, const struct scn_stmt *s, const struct scn_outcome *o)
{
	printf("%s\n", text);
	if (o->error)
		printf("expect error %s\n", scn_errno_name(o->error));
	if (s->verb != SCN_READ && s->verb != SCN_WRITE)
		return;
	if (o->signal)
		printf("expect signal %s\n", scn_signal_name(o->signal));
	else
		printf("expect ok\n");
	if (s->verb == SCN_READ && !o->signal && s->len == 1)
		printf("in %s: expect byte %s %lld %u\n", s->process, s->name, (long long)s->off, (unsigned)(o->sum - 1));
}

/* => exit status */
static int emit_sequence(struct session *s, uint64_t seed)
{
	static struct sequence q;
	struct scn_run_params run = {
		.machine = &host_machine, .ctx = s->host, .ignore_expect = true, .watch = note, .complain = complain,
		.arg = &s->host_did,
	};
	bool keep[MAX_LINES];
	struct scn_error err;
	struct scn scn;
	unsigned at = 0;
	size_t stmt = 0;
	char *text;

	generate(&q, seed);
	memset(keep, true, sizeof(keep));
	for (unsigned i = 0; i < q.nr; i++)
		if (strstr(q.lines[i], " pageout")) /* could fail, and nobody here knows how */
			strcpy(q.lines[i], "reclaim 50");
	text = text_of(&q, keep);
	if (scn_parse(text, strlen(text), &scn, &err) || scn_run(&scn, &run) != SCN_PASSED)
		return 1;
	for (unsigned line = 1; line <= q.nr; line++) {
		while (stmt < scn.nr && scn.stmts[stmt].line < line)
			stmt++;
		if (at < s->host_did.nr && s->host_did.at[at].line == line)
			print_expecting(q.lines[line - 1], &scn.stmts[stmt], &s->host_did.at[at++].outcome);
		else
			printf("%s\n", q.lines[line - 1]);
	}
	scn_free(&scn);
	free(text);
	return 0;
}

int main(int argc, char **argv)
{
	static struct session s;
	uint64_t nr, seed;

	if (argc != 3) {
		fprintf(stderr, "usage: scenario-random SEQUENCES SEED | scenario-random emit SEED\n");
		return 2;
	}
	nr = strtoull(argv[1], NULL, 0);
	seed = strtoull(argv[2], NULL, 0);
	s.host = host_create();
	if (!s.host || host_machine_here(s.host) != &host_machine) {
		fprintf(stderr, "scenario-random: compares with the kernel of this host, so it must not run under "
				"`minflt run`\n");
		return 1;
	}
	if (!strcmp(argv[1], "emit"))
		return emit_sequence(&s, seed);
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (uint64_t i = 0; i < nr; i++)
		one_sequence(&s, seed + i);
	printf("%llu sequences from seed %llu: %llu statements, %llu faults, %llu signals, %llu errors, %llu "
	       "divergences\n",
	       (unsigned long long)nr, (unsigned long long)seed, (unsigned long long)s.nr_statements,
	       (unsigned long long)s.nr_faults, (unsigned long long)s.nr_signals, (unsigned long long)s.nr_errors,
	       (unsigned long long)s.nr_divergences);
	host_destroy(s.host);
	return s.nr_divergences ? 1 : 0;
}
