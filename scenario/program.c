/* SPDX-License-Identifier: MIT
 *
 * program.c - the command line that all runners share: files, directories, TAP.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scenario/run.h"

struct session {
	const struct scn_main_params *params;
	bool tap, strict, verbose, no_counts;
	const char *file;     /* the one that runs */
	char reason[512];     /* its last complaint */
	unsigned nr, passed, failed, skipped, syntax;
};

static void say(const struct session *s, const char *line)
{
	if (s->tap)
		printf("# %s\n", line);
	else
		fprintf(stderr, "%s\n", line);
}

static void complain(void *arg, const struct scn_stmt *stmt, const char *text)
{
	struct session *s = arg;
	char line[1200];

	if (stmt)
		snprintf(s->reason, sizeof(s->reason), "line %u: %.200s: %.250s", stmt->line, stmt->text, text);
	else
		snprintf(s->reason, sizeof(s->reason), "%.500s", text);
	snprintf(line, sizeof(line), "%s: %.400s: %s", s->params->name, s->file, s->reason);
	say(s, line);
}

static void watch(void *arg, const struct scn_stmt *stmt, const struct scn_outcome *o)
{
	struct session *s = arg;
	char line[600];

	snprintf(line, sizeof(line), "%5u  %s: %.300s  -> %llu minor, %llu major%s%s%s%s", stmt->line, stmt->process,
		 stmt->text, (unsigned long long)o->min_flt, (unsigned long long)o->maj_flt, o->signal ? ", " : "",
		 o->signal ? scn_signal_name(o->signal) : "", o->error ? ", " : "", o->error ? strerror(o->error) : "");
	say(s, line);
}

/* => the whole file, NUL-terminated, or NULL with errno */
static char *read_whole(const char *path, size_t *len)
{
	FILE *f = fopen(path, "r");
	char *text = NULL;
	size_t room = 0, n = 0;

	*len = 0;
	if (!f)
		return NULL;
	do {
		if (room - *len < 4096) {
			char *more = realloc(text, room = room * 2 + 8192);

			if (!more) {
				errno = ENOMEM;
				break;
			}
			text = more;
		}
		n = fread(text + *len, 1, room - *len - 1, f);
		*len += n;
	} while (n && *len <= SCN_MAX_TEXT);
	if (!text || ferror(f) || n) {
		free(text);
		text = NULL;
	} else {
		text[*len] = 0;
	}
	fclose(f);
	return text;
}

static void result(struct session *s, bool ok, const char *skip)
{
	if (s->tap)
		printf("%s %u - %s%s%s\n", ok ? "ok" : "not ok", ++s->nr, s->file, skip ? " # SKIP " : "",
		       skip ? skip : "");
	else
		printf("%s: %s: %s\n", s->params->name, s->file, skip ? "skipped" : ok ? "passed" : "FAILED");
	fflush(stdout);
}

static void one_file(struct session *s, const char *path)
{
	const struct scn_run_params run = {
		.machine = s->params->machine, .ctx = s->params->ctx, .strict = s->strict,
		.ignore_faults = s->no_counts, .watch = s->verbose ? watch : NULL,
		.complain = complain, .arg = s,
	};
	struct scn_error err;
	struct scn scn;
	size_t len;
	char *text = read_whole(path, &len), line[1024];

	s->file = path;
	s->reason[0] = 0;
	if (!text || scn_parse(text, len, &scn, &err)) {
		if (text)
			snprintf(line, sizeof(line), "%s: %.400s:%u:%u: %s", s->params->name, path, err.line,
				 err.column, err.message);
		else
			snprintf(line, sizeof(line), "%s: %.400s: can't be read: %s", s->params->name, path,
				 strerror(errno));
		say(s, line);
		s->syntax++;
		result(s, false, NULL);
		free(text);
		return;
	}
	free(text);
	switch (scn_run(&scn, &run)) {
	case SCN_PASSED:
		s->passed++;
		result(s, true, NULL);
		break;
	case SCN_SKIPPED:
		s->skipped++;
		result(s, true, s->reason);
		break;
	default:
		s->failed++;
		result(s, false, NULL);
		break;
	}
	scn_free(&scn);
}

static int is_scenario(const struct dirent *d)
{
	size_t n = strlen(d->d_name);

	return n > 4 && !strcmp(d->d_name + n - 4, ".scn");
}

static void file_or_directory(struct session *s, const char *path)
{
	struct dirent **names;
	int nr = scandir(path, &names, is_scenario, alphasort);

	if (nr < 0) {
		one_file(s, path);
		return;
	}
	for (int i = 0; i < nr; i++) {
		char *file = NULL;

		if (asprintf(&file, "%s/%s", path, names[i]->d_name) >= 0)
			one_file(s, file);
		free(file);
		free(names[i]);
	}
	free(names);
}

int scn_main(const struct scn_main_params *params, int argc, char **argv, int first)
{
	struct session s = { .params = params };

	for (; first < argc && argv[first][0] == '-'; first++) {
		if (!strcmp(argv[first], "--tap")) {
			s.tap = true;
		} else if (!strcmp(argv[first], "--strict")) {
			s.strict = true;
		} else if (!strcmp(argv[first], "--no-counts")) {
			s.no_counts = true;
		} else if (!strcmp(argv[first], "-v")) {
			s.verbose = true;
		} else {
			fprintf(stderr,
				"%s: unknown option %s; usage: %s [--tap] [--strict] [--no-counts] [-v] "
				"FILE|DIRECTORY...\n",
				params->name, argv[first], params->name);
			return 2;
		}
	}
	if (first >= argc) {
		fprintf(stderr,
			"%s: no scenario given; usage: %s [--tap] [--strict] [--no-counts] [-v] FILE|DIRECTORY...\n",
			params->name, params->name);
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (; first < argc; first++)
		file_or_directory(&s, argv[first]);
	if (s.tap)
		printf("1..%u\n", s.nr);
	if (s.tap && s.nr)
		return s.syntax || s.failed ? 1 : 0; /* what was skipped stands in the lines */
	if (s.syntax || s.failed)
		return s.syntax ? 2 : 1;
	return !s.passed ? 77 : 0;
}
