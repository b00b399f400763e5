/* SPDX-License-Identifier: MIT
 *
 * scenario_soft.c - any bytes as a scenario on the engine over the software MMU: linux-5, 2.6 and 2.0, with all invariants after every
 * statement. With FAIL_ALLOC the n-th allocation of the machine fails, n from the bytes.
 *
 * With clang -fsanitize=fuzzer it is a libFuzzer target. Built with -DSTANDALONE it has a main of its own:
 *   scenario_soft FILE|DIRECTORY...                   replays each
 *   scenario_soft --mix SEED ROUNDS DIRECTORY...      scenarios put together from lines of those in the directories
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine/soft/soft.h"
#include "scenario/soft.h"

#define MAX_SIZE (64l * SCN_PAGE) /* of anything: a walk over terabytes finds nothing new */
#define MAX_STATEMENTS 300

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct scn_machine *machine;
static unsigned long fail_at;

static int start(void *ctx)
{
	int err = machine->start(ctx);

#ifdef FAIL_ALLOC
	if (!err)
		soft_fail_alloc(fail_at);
#endif
	return err;
}

static void finish(void *ctx)
{
	soft_fail_alloc(0);
	machine->finish(ctx);
}

static void complain(void *arg, const struct scn_stmt *stmt, const char *text)
{
	if (getenv("VERBOSE"))
		fprintf(stderr, "# line %u: %s\n", stmt ? stmt->line : 0, text);
}

static bool is_small(const struct scn *scn)
{
	for (size_t i = 0; i < scn->nr; i++) {
		const struct scn_stmt *s = &scn->stmts[i];

		if (s->len > MAX_SIZE || s->new_len > MAX_SIZE || s->off > 1l << 40 || s->off < -(1l << 40))
			return false;
	}
	return scn->nr <= MAX_STATEMENTS;
}

static uint64_t hash(const uint8_t *data, size_t size)
{
	uint64_t h = 0xcbf29ce484222325ULL;

	for (size_t i = 0; i < size; i++)
		h = (h ^ data[i]) * 0x100000001b3ULL;
	return h ^ h >> 29;
}

static void run(const struct scn *scn, const char *kernel, uint64_t h)
{
	static const char *const archs[] = { "x86_64", "i386", "arm", "x86_64-5", "sv39", "sv48" };
	struct scn_run_params params = { .ignore_expect = true, .complain = complain };
	struct soft_params sp = SOFT_DEFAULTS;
	struct scn_machine wrapped;

	sp.arch = archs[h % 6];
	sp.nr_frames = h / 6 % 3 ? 1024 : 192;
	sp.nr_slots = h / 18 % 4 ? 1024 : 0;
	sp.caps = h / 72 % 4 ? SOFT_ALL_CAPS : SOFT_ALL_CAPS & ~(unsigned)(MACHINE_YOUNG | MACHINE_DIRTY);
	sp.kernel = kernel;
	fail_at = 1 + h / 288 % 400;
	params.ctx = soft_create(&sp);
	if (!params.ctx)
		abort();
	machine = soft_machine_of(params.ctx);
	wrapped = *machine;
	wrapped.start = start;
	wrapped.finish = finish;
	params.machine = &wrapped;
	scn_run(scn, &params);
	soft_destroy(params.ctx);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const kernels[] = { "5", "2.6", "2.0" };
	struct scn_error err;
	struct scn scn;

	if (scn_parse((const char *)data, size, &scn, &err))
		return 0;
	for (unsigned i = 0; i < 3 && is_small(&scn); i++)
		run(&scn, kernels[i], hash(data, size));
	scn_free(&scn);
	return 0;
}

#ifdef STANDALONE
#include <dirent.h>

#define MAX_LINES  20000
#define INPUT_SIZE 65536

static char *lines[MAX_LINES];
static unsigned nr_lines;
static uint64_t state;

static uint64_t next(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static size_t read_file(const char *path, char *to)
{
	FILE *f = fopen(path, "r");
	size_t n;

	if (!f) {
		perror(path);
		exit(2);
	}
	n = fread(to, 1, INPUT_SIZE - 1, f);
	fclose(f);
	to[n] = 0;
	return n;
}

static void take_lines(const char *path)
{
	static char text[INPUT_SIZE];
	char *save = NULL;

	read_file(path, text);
	for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
		if (*l != '#' && strncmp(l, "only", 4) && strncmp(l, "for", 3) && strncmp(l, "expect", 6) && nr_lines < MAX_LINES)
			lines[nr_lines++] = strdup(l);
}

static void replay(const char *path)
{
	static char text[INPUT_SIZE];
	size_t n = read_file(path, text);

	LLVMFuzzerTestOneInput((uint8_t *)text, n);
}

static void each(const char *path, void (*fn)(const char *))
{
	DIR *dir = opendir(path);
	struct dirent *d;
	char file[1024];

	if (!dir) {
		fn(path);
		return;
	}
	while ((d = readdir(dir))) {
		size_t len = strlen(d->d_name);

		snprintf(file, sizeof(file), "%s/%s", path, d->d_name);
		if (len > 4 && !strcmp(d->d_name + len - 4, ".scn"))
			fn(file);
	}
	closedir(dir);
}

/* Lines that the parser takes one after the other; what it refuses is left out. Numbers change a little. */
static void mix(void)
{
	static char text[INPUT_SIZE], one[600];
	unsigned wanted = 5 + (unsigned)(next() % 60), len = 0;

	for (unsigned tries = 0, got = 0; got < wanted && tries < 4000 && len < INPUT_SIZE - 700; tries++) {
		char *digit;
		struct scn_error err;
		struct scn scn;
		int n;

		n = snprintf(one, sizeof(one), "%s\n", lines[next() % nr_lines]);
		digit = one + next() % (unsigned)n;
		if (*digit >= '0' && *digit <= '9' && next() % 2)
			*digit = (char)('0' + next() % 10);
		memcpy(text + len, one, (size_t)n + 1);
		if (scn_parse(text, len + (unsigned)n, &scn, &err))
			continue;
		scn_free(&scn);
		len += (unsigned)n;
		got++;
	}
	if (getenv("LAST")) { /* for whoever looks for what ended it */
		FILE *f = fopen(getenv("LAST"), "w");

		if (f) {
			fwrite(text, 1, len, f);
			fclose(f);
		}
	}
	LLVMFuzzerTestOneInput((uint8_t *)text, len);
}

int main(int argc, char **argv)
{
	unsigned long rounds;

	if (argc < 2 || (!strcmp(argv[1], "--mix") && argc < 5)) {
		fprintf(stderr, "usage: scenario_soft FILE|DIRECTORY... | --mix SEED ROUNDS DIRECTORY...\n");
		return 2;
	}
	if (strcmp(argv[1], "--mix")) {
		for (int i = 1; i < argc; i++)
			each(argv[i], replay);
		return 0;
	}
	state = strtoull(argv[2], NULL, 0) * 2 + 1;
	rounds = strtoul(argv[3], NULL, 0);
	for (int i = 4; i < argc; i++)
		each(argv[i], take_lines);
	for (unsigned long i = 0; i < rounds && nr_lines; i++)
		mix();
	printf("%lu scenarios from %u lines\n", rounds, nr_lines);
	while (nr_lines)
		free(lines[--nr_lines]);
	return 0;
}
#endif
