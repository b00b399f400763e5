/* SPDX-License-Identifier: MIT
 *
 * oracle - random scenarios on the engine over the software MMU and on the kernel of this host, side by side; or on the engine's three
 * generations.
 *
 *   oracle [OPTION...] N SEED   sequence i has the seed SEED + i; a failing one is repeated by oracle 1 SEED+i
 *   oracle files PATH...        scenarios in files and directories, engine against host, as TAP; the host's swap, if it has any, is used
 *   oracle print SEED           prints the sequence
 *   oracle emit SEED            prints it with what this host's kernel made of it as expectations: bytes, signals and errors, for
 *                               machines that run in a process of their own (`uffd`)
 *
 *   --generations     2.6 and 2.0 against 5: contents and signals, as far as the specification wants them alike
 *   --no-counts       faults are not compared
 *   --jobs J          processes, each on a processor of its own (default: as many as there are)
 *   --parts N         a set of enum seq_parts, for all sequences
 *   --check-every N   the engine's invariants after every n-th statement (default 8)
 *   --save DIRECTORY  every divergence as a scenario
 *   --stop N          give up after so many divergences (default 20)
 *   --fast            don't shrink
 *
 * Files are made in $TMPDIR or /var/tmp, which should be on a disk's file system, and in /dev/shm.
 * A sequence that differs is shrunk, by leaving out statements while it still differs, and printed as a scenario. One on which the engine
 * stops (a broken invariant, a crash) is shrunk likewise, in processes of its own. Status: 0 no divergence, 1 some, 2 usage.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/oracle/compare.h"
#include "tests/oracle/files.h"

#define MAX_JOBS   16
#define TMPFS      "/dev/shm"
#define PATIENCE   120 /* seconds for one sequence, which takes milliseconds: the engine waits for itself */

struct options {
	bool generations, no_counts, fast;
	unsigned jobs, parts, check_every;
	uint64_t nr, seed, stop;
	const char *save;
};

/* Shared by all. */
struct worker {
	atomic_ullong current; /* index of the sequence under way */
	struct counts counts;
};
struct shared {
	atomic_ullong divergences;
	struct worker workers[MAX_JOBS];
};

static struct options options = { .check_every = 8, .parts = SEQ_BY_SEED, .stop = 20 };
static struct shared *shared;

/* ---- shrinking --------------------------------------------------------------------------------------------------- */

/* In a process of its own, because it may end it. => how it went; c->how and c->line come back through `back` */
struct back {
	enum result result;
	unsigned line;
	char how[600];
};

static enum result compare_apart(struct comparison *c, const struct sequence *q, const bool *keep, struct back *back)
{
	pid_t pid;
	int status;

	back->result = DIFFERENT; /* unless it lives to tell */
	back->line = 0;
	snprintf(back->how, sizeof(back->how), "the engine stopped");
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, 2);
		alarm(PATIENCE);
		c->host = c->host ? host_create() : NULL;
		back->result = compare(c, q, keep);
		back->line = c->line;
		memcpy(back->how, c->how, sizeof(back->how));
		_exit(0);
	}
	waitpid(pid, &status, 0);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		back->result = DIFFERENT;
	return back->result;
}

struct shrinker {
	struct comparison *c;
	const struct sequence *q;
	bool apart;
	struct back *back;
};

static bool still_differs(struct shrinker *s, const bool *keep)
{
	if (s->apart)
		return compare_apart(s->c, s->q, keep, s->back) == DIFFERENT;
	return compare(s->c, s->q, keep) == DIFFERENT;
}

/* Leave out runs of lines, long ones first, as long as what remains still differs. */
static void shrink(struct shrinker *s, bool *keep)
{
	bool without[SEQ_MAX_LINES];

	for (unsigned chunk = s->q->nr / 2; chunk; chunk /= 2) {
		for (unsigned from = 0; from < s->q->nr; from += chunk) {
			bool any = false;

			memcpy(without, keep, sizeof(without));
			for (unsigned i = from; i < from + chunk && i < s->q->nr; i++) {
				any |= without[i];
				without[i] = false;
			}
			if (any && still_differs(s, without))
				memcpy(keep, without, sizeof(without));
		}
	}
}

static void report(struct comparison *c, const struct sequence *q, uint64_t seed, bool apart)
{
	struct back *back = mmap(NULL, sizeof(*back), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct shrinker s = { c, q, apart, back };
	struct counts *counts = c->counts;
	bool keep[SEQ_MAX_LINES];
	char path[300], once[sizeof(c->how)], *text;
	const unsigned line = c->line;
	FILE *f;

	memcpy(once, c->how, sizeof(once));
	c->counts = NULL;
	memset(keep, true, sizeof(keep));
	if (!options.fast) {
		shrink(&s, keep);
		shrink(&s, keep);
	}
	if (!still_differs(&s, keep)) {
		snprintf(apart ? back->how : c->how, sizeof(c->how), "not every time; once: %.560s", once);
		c->line = line;
	}
	text = sequence_text(q, keep);
	printf("# seed %llu, parts %#x, caps %#x: line %u: %s\n%s\n", (unsigned long long)seed, q->parts, q->caps, apart ? back->line : c->line,
	       apart ? back->how : c->how, text);
	if (options.save) {
		snprintf(path, sizeof(path), "%.250s/seed-%llu.scn", options.save, (unsigned long long)seed);
		f = fopen(path, "w");
		if (f) {
			fprintf(f, "# SPDX-License-Identifier: MIT\n# seed %llu: %s\n%s", (unsigned long long)seed, apart ? back->how : c->how, text);
			fclose(f);
		}
	}
	fflush(stdout);
	free(text);
	munmap(back, sizeof(*back));
	c->counts = counts;
}

/* ---- workers ----------------------------------------------------------------------------------------------------- */

static unsigned generations_parts(uint64_t seed, bool *old)
{
	struct sequence *q = malloc(sizeof(*q));
	unsigned parts;

	if (!q)
		exit(2);
	sequence_generate(q, seed, SEQ_BY_SEED);
	parts = (q->parts | SEQ_SAME_CONTENTS) & ~(unsigned)SEQ_COLD;
	free(q);
	*old = seed % 2;
	return *old ? parts | SEQ_OLD : parts;
}

/* The sequence, and with which kernels. */
static void prepare(struct comparison *c, struct sequence *q, uint64_t seed)
{
	bool old = false;
	unsigned parts = options.parts;

	if (options.generations && parts == SEQ_BY_SEED)
		parts = generations_parts(seed, &old);
	c->kernels[0] = "5";
	c->kernels[1] = options.generations ? "2.6" : NULL;
	c->kernels[2] = options.generations && old ? "2.0" : NULL;
	sequence_generate(q, seed, parts);
}

static void set_up(struct comparison *c, struct worker *w)
{
	*c = (struct comparison){ .tmpfs = TMPFS, .check_every = options.check_every, .ignore_faults = options.no_counts };
	c->counts = w ? &w->counts : NULL;
	if (options.generations)
		return;
	c->host = host_create();
	if (!c->host || host_machine_here(c->host) != &host_machine) {
		fprintf(stderr, "oracle: compares with the kernel of this host, so it must not run under `minflt run`\n");
		exit(2);
	}
}

/* Pages that the device of our files reads ahead. */
static unsigned host_readahead(void)
{
	const char *dir = getenv("TMPDIR");
	char path[100], line[40] = "";
	struct stat st;
	FILE *f;

	if (stat(dir && *dir ? dir : "/var/tmp", &st))
		return 32;
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/queue/read_ahead_kb", major(st.st_dev), minor(st.st_dev));
	f = fopen(path, "r");
	if (!f) {
		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/../queue/read_ahead_kb", major(st.st_dev), minor(st.st_dev));
		f = fopen(path, "r");
	}
	if (!f)
		return 32;
	if (!fgets(line, sizeof(line), f))
		line[0] = 0;
	fclose(f);
	return (unsigned)atoi(line) / 4;
}

/* Sequences begin, begin + jobs, ... */
static void work(struct worker *w, uint64_t begin)
{
	static struct sequence q;
	struct comparison c;

	set_up(&c, w);
	if (c.host)
		host_reuse_main(c.host);
	c.ra_pages = host_readahead();
	for (uint64_t i = begin; i < options.nr && atomic_load(&shared->divergences) < options.stop; i += options.jobs) {
		atomic_store(&w->current, i);
		alarm(PATIENCE);
		prepare(&c, &q, options.seed + i);
		w->counts.sequences++;
		switch (compare(&c, &q, NULL)) {
		case SAME:
			break;
		case DIFFERENT:
			w->counts.divergences++;
			atomic_fetch_add(&shared->divergences, 1);
			report(&c, &q, options.seed + i, false);
			break;
		case NOT_RUN:
			w->counts.not_run++;
			printf("# seed %lu: not compared: line %u: %s\n", (unsigned long)options.seed + i, c.line, c.how);
			break;
		}
	}
	if (c.host)
		host_destroy(c.host);
	fflush(stdout);
	_exit(0);
}

static void pin(unsigned job)
{
	cpu_set_t all, one;
	unsigned nth = 0;

	if (sched_getaffinity(0, sizeof(all), &all))
		return;
	CPU_ZERO(&one);
	for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &all) && nth++ == job % (unsigned)CPU_COUNT(&all))
			CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

static pid_t spawn(unsigned job, uint64_t begin)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pin(job);
		work(&shared->workers[job], begin);
	}
	return pid;
}

/* A worker ended on its sequence: that is a finding too. */
static void report_crash(struct worker *w, int status)
{
	static struct sequence q;
	struct comparison c;
	uint64_t i = atomic_load(&w->current);

	w->counts.divergences++;
	w->counts.crashes++;
	atomic_fetch_add(&shared->divergences, 1);
	set_up(&c, NULL);
	if (c.host)
		host_reuse_main(c.host);
	c.ra_pages = host_readahead();
	prepare(&c, &q, options.seed + i);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		snprintf(c.how, sizeof(c.how), "it did not come to an end in %u s", PATIENCE);
	else
		snprintf(c.how, sizeof(c.how), "the engine stopped: %s %d", WIFSIGNALED(status) ? "signal" : "status",
			 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	report(&c, &q, options.seed + i, true);
	if (c.host)
		host_destroy(c.host);
}

static void run_all(void)
{
	pid_t pids[MAX_JOBS];
	unsigned alive = 0;

	for (unsigned j = 0; j < options.jobs; j++) {
		pids[j] = spawn(j, j);
		alive += pids[j] > 0;
	}
	while (alive) {
		int status;
		pid_t pid = wait(&status);
		unsigned j = 0;

		if (pid < 0 && errno != EINTR)
			break;
		while (j < options.jobs && pids[j] != pid)
			j++;
		if (j == options.jobs)
			continue;
		alive--;
		if (WIFEXITED(status) && !WEXITSTATUS(status))
			continue;
		if (WIFEXITED(status) && WEXITSTATUS(status) == 2)
			exit(2);
		report_crash(&shared->workers[j], status);
		if (atomic_load(&shared->divergences) >= options.stop)
			continue;
		pids[j] = spawn(j, atomic_load(&shared->workers[j].current) + options.jobs);
		alive += pids[j] > 0;
	}
}

static void add(struct counts *sum, const struct counts *n)
{
	uint64_t *to = (uint64_t *)sum;
	const uint64_t *from = (const uint64_t *)n;

	for (size_t i = 0; i < sizeof(*sum) / sizeof(*to); i++)
		to[i] += from[i];
}

/* => exit status */
static int summary(void)
{
	struct counts n = { 0 };

	for (unsigned j = 0; j < options.jobs; j++)
		add(&n, &shared->workers[j].counts);
	printf("%llu sequences from seed %llu (%s): %llu statements, %llu faults, %llu signals, %llu errors\n", (unsigned long long)n.sequences,
	       (unsigned long long)options.seed, options.generations ? "2.6 and 2.0 against 5" : "5 against the host", (unsigned long long)n.statements,
	       (unsigned long long)n.faults, (unsigned long long)n.signals, (unsigned long long)n.errors);
	if (!options.generations)
		printf("fault counts left out because the host's two runs differed: %llu of %llu (%.3f %%), because a read was under way: %llu; "
		       "sequences not compared: %llu\n",
		       (unsigned long long)n.counts_left_out, (unsigned long long)n.counts_compared,
		       n.counts_compared ? 100.0 * (double)n.counts_left_out / (double)n.counts_compared : 0.0,
		       (unsigned long long)n.counts_under_way, (unsigned long long)n.not_run);
	printf("divergences: %llu (of these, the engine stopped: %llu)\n", (unsigned long long)n.divergences, (unsigned long long)n.crashes);
	if (n.not_run > n.sequences / 100 + 1 || (n.counts_left_out + n.counts_under_way) * 100 > n.counts_compared + 100) {
		printf("too much could not be compared\n");
		return 1;
	}
	return n.divergences ? 1 : 0;
}

/* ---- emit -------------------------------------------------------------------------------------------------------- */

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

static void note(void *arg, const struct scn_stmt *stmt, const struct scn_outcome *outcome)
{
	struct recording *r = arg;

	if (stmt->only == SCN_ALL_KERNELS && r->nr < SEQ_MAX_LINES)
		r->at[r->nr++] = (struct record){ stmt->line, stmt->verb, *outcome };
}

static void ignore(void *arg, const struct scn_stmt *stmt, const char *text)
{
}

/* => exit status */
static int print_sequence(uint64_t seed)
{
	static struct sequence q;
	char *text;

	sequence_generate(&q, seed, options.parts);
	text = sequence_text(&q, NULL);
	printf("# seed %llu, parts %#x, caps %#x, %s\n%s", (unsigned long long)seed, q.parts, q.caps, q.arch, text);
	free(text);
	return 0;
}

/* => exit status */
static int emit_sequence(uint64_t seed)
{
	static struct sequence q;
	static struct recording did;
	struct scn_run_params run = { .machine = &host_machine, .ignore_expect = true, .watch = note, .complain = ignore, .arg = &did };
	struct scn_error err;
	struct scn scn;
	unsigned at = 0;
	size_t stmt = 0;
	char *text;

	sequence_generate(&q, seed, SEQ_FORKS | SEQ_ONE_BY_ONE | (seed % 2 ? SEQ_RECLAIM : 0));
	for (unsigned i = 0; i < q.nr; i++)
		if (strstr(q.lines[i], " pageout")) /* could fail, and nobody here knows how */
			strcpy(q.lines[i], "only 2.0 2.6 5 uffd\nreclaim 50");
	text = sequence_text(&q, NULL);
	run.ctx = host_create();
	if (!run.ctx || scn_parse(text, strlen(text), &scn, &err) || scn_run(&scn, &run) != SCN_PASSED)
		return 1;
	for (unsigned i = 0, line = 1; i < q.nr; i++, line++) {
		while (stmt < scn.nr && scn.stmts[stmt].line < line)
			stmt++;
		if (at < did.nr && did.at[at].line == line)
			print_expecting(q.lines[i], &scn.stmts[stmt], &did.at[at++].outcome);
		else
			printf("%s\n", q.lines[i]);
		line += !!strchr(q.lines[i], '\n'); /* one with `only` before it */
	}
	scn_free(&scn);
	free(text);
	host_destroy(run.ctx);
	return 0;
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

/* => exit status */
static int all_files(char **paths, int nr)
{
	struct files_result sum = { 0 };
	struct comparison c;

	setvbuf(stdout, NULL, _IOLBF, 0);
	set_up(&c, NULL);
	pin(0);
	c.kernels[0] = "5";
	c.nr_frames = 8192;
	c.ra_pages = host_readahead();
	c.swap = host_has_swap();
	for (int i = 0; i < nr; i++)
		compare_files(&c, paths[i], &sum);
	host_destroy(c.host);
	printf("1..%u\n# %u of %u not for this host\n", sum.nr, sum.skipped, sum.nr);
	return sum.different ? 1 : 0;
}

/* ---- options ----------------------------------------------------------------------------------------------------- */

static int usage(void)
{
	fprintf(stderr, "usage: oracle [--generations] [--no-counts] [--jobs J] [--parts N] [--check-every N] [--save DIRECTORY] [--stop N] [--fast] N SEED\n"
			"       oracle files PATH...\n"
			"       oracle print SEED\n       oracle emit SEED\n");
	return 2;
}

/* => index of the first operand, or -1 */
static int parse_options(int argc, char **argv)
{
	int i;

	options.jobs = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	for (i = 1; i < argc && argv[i][0] == '-'; i++) {
		bool more = i + 1 < argc;

		if (!strcmp(argv[i], "--generations"))
			options.generations = true;
		else if (!strcmp(argv[i], "--fast"))
			options.fast = true;
		else if (!strcmp(argv[i], "--no-counts"))
			options.no_counts = true;
		else if (!strcmp(argv[i], "--jobs") && more)
			options.jobs = (unsigned)strtoul(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--parts") && more)
			options.parts = (unsigned)strtoul(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--check-every") && more)
			options.check_every = (unsigned)strtoul(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--save") && more)
			options.save = argv[++i];
		else if (!strcmp(argv[i], "--stop") && more)
			options.stop = strtoull(argv[++i], NULL, 0);
		else
			return -1;
	}
	if (!options.jobs || options.jobs > MAX_JOBS)
		options.jobs = MAX_JOBS;
	return i;
}

int main(int argc, char **argv)
{
	int i = parse_options(argc, argv);

	if (i == 1 && argc > 2 && !strcmp(argv[1], "files"))
		return all_files(argv + 2, argc - 2);
	if (i < 0 || argc - i != 2)
		return usage();
	options.seed = strtoull(argv[i + 1], NULL, 0);
	if (!strcmp(argv[i], "print"))
		return print_sequence(options.seed);
	if (!strcmp(argv[i], "emit"))
		return emit_sequence(options.seed);
	options.nr = strtoull(argv[i], NULL, 0);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return 2;
	if (options.save)
		mkdir(options.save, 0777);
	run_all();
	return summary();
}
