/* SPDX-License-Identifier: MIT
 *
 * main.c - the table of subcommands.
 */
#include <stdio.h>
#include <string.h>

#include "cmd/cmd.h"

static const struct subcommand {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *usage;
	const char *summary;
} subcommands[] = {
	{ "run", cmd_run, run_usage, "run a program within a memory budget" },
	{ "walk", cmd_walk, walk_usage, "show how a kernel resolves the page faults of a scenario" },
	{ "doctor", cmd_doctor, doctor_usage, "say whether this machine can do it, and what to change if not" },
	{ "help", cmd_help, "usage: minflt help [SUBCOMMAND]\n", "show how a subcommand is used" },
};
#define NR_SUBCOMMANDS (sizeof(subcommands) / sizeof(subcommands[0]))

static const struct subcommand *find(const char *name)
{
	for (size_t i = 0; i < NR_SUBCOMMANDS; i++)
		if (strcmp(subcommands[i].name, name) == 0)
			return &subcommands[i];
	return NULL;
}

/* "a, b, c", for the line that refuses something else. */
static const char *names(char *buf, size_t len)
{
	size_t at = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < NR_SUBCOMMANDS && at < len; i++)
		at += (size_t)snprintf(buf + at, len - at, "%s%s", i ? ", " : "", subcommands[i].name);
	return buf;
}

static int unknown(const char *name)
{
	char list[128];

	return complain(EXIT_MINFLT, "unknown %s '%s'; the subcommands are: %s", name[0] == '-' ? "option" : "subcommand", name,
			names(list, sizeof(list)));
}

/* => 0, or 125 when standard output took nothing (a full disk, a closed descriptor) */
static int flushed(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return 0;
	return complain(EXIT_MINFLT, "cannot write to standard output");
}

static int overview(void)
{
	puts("usage: minflt SUBCOMMAND ...\n"
	     "       minflt --help | --version\n");
	for (size_t i = 0; i < NR_SUBCOMMANDS; i++)
		printf("  %-8s %s\n", subcommands[i].name, subcommands[i].summary);
	puts("\n'minflt help SUBCOMMAND' tells more; so do the manual pages minflt(1), minflt-run(1) and minflt-walk(1).");
	return flushed();
}

static int surplus(const char *word)
{
	return complain(EXIT_MINFLT, "'%s' is one word too many; 'minflt --help' shows the usage", word);
}

int cmd_help(int argc, char **argv)
{
	const struct subcommand *sub;

	if (argc < 2 || strcmp(argv[1], "--help") == 0)
		return overview();
	if (argc > 2)
		return surplus(argv[2]);
	sub = find(argv[1]);
	if (!sub)
		return unknown(argv[1]);
	fputs(sub->usage, stdout);
	return flushed();
}

int main(int argc, char **argv)
{
	const struct subcommand *sub;
	char list[128];

	if (argc < 2)
		return complain(EXIT_MINFLT, "no subcommand given; the subcommands are: %s (minflt --help tells more)",
				names(list, sizeof(list)));
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		return argc > 2 ? surplus(argv[2]) : overview();
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
		if (argc > 2)
			return surplus(argv[2]);
		puts("minflt " MF_VERSION);
		return flushed();
	}
	sub = find(argv[1]);
	if (!sub)
		return unknown(argv[1]);
	return sub->run(argc - 1, argv + 1);
}
