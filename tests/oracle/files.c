/* SPDX-License-Identifier: MIT
 *
 * files.c - scenarios that somebody has written, on the engine under the host's rules and on the host, statement by statement.
 *
 * Their own expectations are tested elsewhere (tests/scenario). Here every statement has to have done the same on both sides, whether anything was
 * expected of it or not.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/oracle/files.h"

#define MAX_TEXT (256 << 10)

static bool read_text(const char *path, char *to)
{
	FILE *f = fopen(path, "r");
	size_t n = f ? fread(to, 1, MAX_TEXT, f) : 0;
	bool fits = f && !ferror(f) && n < MAX_TEXT;

	if (f)
		fclose(f);
	to[fits ? n : 0] = 0;
	return fits;
}

/* `# oracle: no counts`, and why, for those whose faults are not the engine's to know. */
static bool has_counts(const char *text)
{
	return !strstr(text, "\n# oracle: no counts");
}

static void one_file(struct comparison *c, const char *path, struct files_result *sum)
{
	static char text[MAX_TEXT + 1];
	static const struct sequence q = { .arch = "x86_64", .caps = SOFT_ALL_CAPS };
	enum result r = NOT_RUN;

	if (!read_text(path, text)) {
		printf("not ok %u - %s: can't be read: %s\n", ++sum->nr, path, strerror(errno));
		sum->different++;
		return;
	}
	c->ignore_faults = !has_counts(text);
	r = compare_text(c, &q, text);
	if (r == SAME && (c->host_did[0].too_long || c->soft_did.too_long)) {
		snprintf(c->how, sizeof(c->how), "it has more statements than can be compared (%d)", SEQ_MAX_LINES);
		r = DIFFERENT;
	}
	sum->different += r == DIFFERENT;
	sum->skipped += r == NOT_RUN;
	if (r == NOT_RUN)
		printf("ok %u - %s # SKIP %s\n", ++sum->nr, path, c->how);
	else
		printf("%s %u - %s%s\n", r == SAME ? "ok" : "not ok", ++sum->nr, path, c->ignore_faults ? " (without counts)" : "");
	if (r == DIFFERENT)
		printf("# line %u: %s\n", c->line, c->how);
}

static int is_scenario(const struct dirent *d)
{
	size_t n = strlen(d->d_name);

	return n > 4 && !strcmp(d->d_name + n - 4, ".scn");
}

void compare_files(struct comparison *c, const char *path, struct files_result *sum)
{
	struct dirent **names;
	int nr = scandir(path, &names, is_scenario, alphasort);

	if (nr < 0) {
		one_file(c, path, sum);
		return;
	}
	for (int i = 0; i < nr; i++) {
		char *file = NULL;

		if (asprintf(&file, "%s/%s", path, names[i]->d_name) >= 0)
			one_file(c, file, sum);
		free(file);
		free(names[i]);
	}
	free(names);
}
