/* SPDX-License-Identifier: MIT
 *
 * walk.c - `minflt walk`: the command line, and what is to be done with a scenario.
 */
#include "cmd/walk.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "mm/mm.h"

#define EXIT_USAGE 2

const char walk_usage[] =
	"usage: minflt walk [OPTIONS] SCENARIO\n"
	"       minflt walk [OPTIONS] -e 'STATEMENT; STATEMENT; ...'\n"
	"\n"
	"Show how a kernel resolves the page faults of a scenario (see minflt-scenario(5)), call by call.\n"
	"\n"
	"  --kernel KERNEL    2.0, 2.6, 5 (the default) or host: the kernel of this machine\n"
	"  --arch ARCH        i386, i386-pae, arm, x86_64 (the default), x86_64-5, sv39, sv48 or process\n"
	"  --rule RULE        5.4, 5.15 or 6 (the default; how 5 reuses pages after a fork); page-cache (2.0.33 instead of 1.0)\n"
	"  --frames N         so many frames of memory\n"
	"  --explain          a sentence about each function, where it appears first\n"
	"  --table            compare the kernels instead, a line each\n"
	"  --json             everything as one JSON object\n"
	"  --svg FILE         draw memory before and after each step\n"
	"  --color WHEN       auto (the default: on a terminal), always or never\n"
	"  -e TEXT            the scenario itself; more than one are joined\n"
	"\n"
	"SCENARIO may be - for standard input. For example:\n"
	"  minflt walk -e 'mmap A 4P rw private anon; read A 0; write A 0 1'\n";

struct options {
	struct walk_params walk;
	const char *svg, *file;
	char *text; /* of -e; owned */
	bool table, json, explain, help;
	enum { COLOUR_AUTO, COLOUR_ALWAYS, COLOUR_NEVER } colour;
};

enum { OPT_KERNEL = 256, OPT_ARCH, OPT_RULE, OPT_FRAMES, OPT_EXPLAIN, OPT_TABLE, OPT_JSON, OPT_SVG, OPT_COLOUR, OPT_HELP };

static const struct option long_options[] = {
	{ "kernel", required_argument, NULL, OPT_KERNEL },  { "arch", required_argument, NULL, OPT_ARCH },
	{ "rule", required_argument, NULL, OPT_RULE },      { "frames", required_argument, NULL, OPT_FRAMES },
	{ "explain", no_argument, NULL, OPT_EXPLAIN },      { "table", no_argument, NULL, OPT_TABLE },
	{ "json", no_argument, NULL, OPT_JSON },            { "svg", required_argument, NULL, OPT_SVG },
	{ "color", required_argument, NULL, OPT_COLOUR },   { "colour", required_argument, NULL, OPT_COLOUR },
	{ "help", no_argument, NULL, OPT_HELP },            { NULL, 0, NULL, 0 },
};

/* ---- options ------------------------------------------------------------------------------------------------------- */

static int parse_rule(const char *text, unsigned *rules)
{
	static const struct { const char *word; unsigned rule; } all[] = {
		{ "5.4", MM_REUSE_5_4 }, { "5.15", MM_REUSE_5_15 }, { "6", MM_REUSE_6 }, { "page-cache", MM_2_0_PAGE_CACHE },
	};
	const unsigned reuse = MM_REUSE_5_4 | MM_REUSE_5_15 | MM_REUSE_6;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (!strcmp(text, all[i].word)) {
			if (*rules & reuse & ~all[i].rule && all[i].rule & reuse)
				return complain(EXIT_USAGE, "--rule %s: another of 5.4, 5.15 and 6 was given before; leave one out", text);
			*rules |= all[i].rule;
			return 0;
		}
	}
	return complain(EXIT_USAGE, "--rule '%s' is unknown; give 5.4, 5.15, 6 or page-cache", text);
}

static int parse_frames(const char *text, unsigned long *frames)
{
	char *end;

	errno = 0;
	*frames = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || *frames < 64 || *frames > 1UL << 22)
		return complain(EXIT_USAGE, "--frames '%s' is not a number from 64 to 4194304", text);
	return 0;
}

static int parse_kernel(const char *text, const char **kernel)
{
	static const char *const all[] = { "2.0", "2.6", "5", "host" };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (!strcmp(text, all[i])) {
			*kernel = all[i];
			return 0;
		}
	}
	return complain(EXIT_USAGE, "--kernel '%s' is unknown; give 2.0, 2.6, 5 or host", text);
}

static int parse_colour(const char *text, struct options *o)
{
	if (!strcmp(text, "always"))
		o->colour = COLOUR_ALWAYS;
	else if (!strcmp(text, "never"))
		o->colour = COLOUR_NEVER;
	else if (strcmp(text, "auto"))
		return complain(EXIT_USAGE, "--color '%s' is unknown; give auto, always or never", text);
	else
		o->colour = COLOUR_AUTO;
	return 0;
}

/* A semicolon ends a line, outside of comments, so that a scenario fits on one. */
static int add_text(struct options *o, const char *text)
{
	size_t before = o->text ? strlen(o->text) : 0, len = strlen(text);
	char *all = realloc(o->text, before + len + 2);
	bool comment = false;

	if (!all)
		return complain(EXIT_MINFLT, "no memory for the scenario");
	o->text = all;
	for (size_t i = 0; i < len; i++) {
		comment = text[i] == '#' || (comment && text[i] != '\n');
		all[before + i] = text[i] == ';' && !comment ? '\n' : text[i];
	}
	strcpy(all + before + len, "\n");
	return 0;
}

static int unknown_option(char **argv)
{
	if (optopt > 0 && optopt < 256)
		return complain(EXIT_USAGE, "unknown option '-%c'; 'minflt help walk' lists them", optopt);
	if (optopt >= 256)
		return complain(EXIT_USAGE, "option '%s' takes no value; 'minflt help walk' shows it", argv[optind - 1]);
	return complain(EXIT_USAGE, "unknown option '%s'; 'minflt help walk' lists them", argv[optind - 1]);
}

static int one_option(struct options *o, int opt, char **argv)
{
	switch (opt) {
	case OPT_KERNEL: return parse_kernel(optarg, &o->walk.kernel);
	case OPT_ARCH:
		o->walk.arch = optarg;
		return mm_geometry_find(optarg) ? 0
						: complain(EXIT_USAGE, "--arch '%s' is unknown; give i386, i386-pae, arm, x86_64, x86_64-5, sv39, sv48 or process",
							   optarg);
	case OPT_RULE: return parse_rule(optarg, &o->walk.rules);
	case OPT_FRAMES: return parse_frames(optarg, &o->walk.frames);
	case OPT_EXPLAIN: o->explain = true; return 0;
	case OPT_TABLE: o->table = true; return 0;
	case OPT_JSON: o->json = true; return 0;
	case OPT_SVG:
		o->svg = optarg;
		return *optarg ? 0 : complain(EXIT_USAGE, "--svg needs the name of a file");
	case OPT_COLOUR: return parse_colour(optarg, o);
	case OPT_HELP: o->help = true; return 0;
	case 'e': return add_text(o, optarg);
	case ':': return complain(EXIT_USAGE, "option '%s' needs a value; 'minflt help walk' shows it", argv[optind - 1]);
	default: return unknown_option(argv);
	}
}

static int check_options(const struct options *o, const char *extra)
{
	if (!o->text && !o->file)
		return complain(EXIT_USAGE, "no scenario given; name a file, or write one: minflt walk -e 'mmap A 4P rw private anon; read A 0'");
	if (o->text && o->file)
		return complain(EXIT_USAGE, "'%s': a scenario was given by -e already; leave one of them out", o->file);
	if (extra)
		return complain(EXIT_USAGE, "'%s': one scenario at a time; put them into one file, or walk twice", extra);
	if (o->table && (o->json || o->svg || o->explain))
		return complain(EXIT_USAGE, "--table goes with none of --json, --svg and --explain; leave them out");
	if (o->svg && !strcmp(o->walk.kernel, "host"))
		return complain(EXIT_USAGE, "--svg: nobody can look into the host's kernel; give another --kernel");
	return 0;
}

/* ---- the scenario -------------------------------------------------------------------------------------------------- */

/* => the whole file, or NULL after having said why */
static char *read_scenario(const char *path, size_t *len)
{
	FILE *f = strcmp(path, "-") ? fopen(path, "r") : stdin;
	size_t room = 1 << 16, n;
	char *text = f ? malloc(room) : NULL;
	bool no_memory = false;
	struct stat st;

	*len = 0;
	if (f && !fstat(fileno(f), &st) && S_ISDIR(st.st_mode))
		errno = EISDIR;
	else if (text) {
		while ((n = fread(text + *len, 1, room - *len, f)) > 0 && *len <= SCN_MAX_TEXT) {
			*len += n;
			if (*len == room) {
				char *more = realloc(text, room *= 2);

				no_memory = !more;
				if (no_memory)
					break;
				text = more;
			}
		}
		if (!ferror(f) && !no_memory) {
			if (f != stdin)
				fclose(f);
			return text;
		}
	}
	complain(EXIT_USAGE, "%s: %s; give the name of a scenario, or write one with -e", *path ? path : "''", strerror(errno));
	free(text);
	if (f && f != stdin)
		fclose(f);
	return NULL;
}

static int parse(const struct options *o, struct scn *scn)
{
	const char *name = o->text || !o->file ? "-e" : strcmp(o->file, "-") ? o->file : "standard input";
	size_t len = o->text ? strlen(o->text) : 0;
	char *text = o->text || !o->file ? o->text : read_scenario(o->file, &len); /* check_options() saw one of them */
	struct scn_error err;
	int status = 0;

	if (!text)
		return EXIT_USAGE;
	switch (scn_parse(text, len, scn, &err)) {
	case 0: break;
	case -ENOMEM: status = complain(EXIT_MINFLT, "%s: no memory for the scenario", name); break;
	default: status = complain(EXIT_USAGE, "%s:%u:%u: %s", name, err.line, err.column, err.message); break;
	}
	if (!o->text)
		free(text);
	return status;
}

/* ---- what is done with it ------------------------------------------------------------------------------------------- */

static int flushed(FILE *to, const char *name)
{
	if (fflush(to) == 0 && !ferror(to))
		return 0;
	return complain(EXIT_MINFLT, "cannot write to %s: %s", name, strerror(errno));
}

static int compare_kernels(const struct options *o, const struct scn *scn)
{
	static const char *const kernels[] = { "2.0", "2.6", "5", "host" };
	struct walk_row rows[4];
	struct walk walks[4];
	int worst = 0;

	for (size_t i = 0; i < 4; i++) {
		struct walk_params params = o->walk;
		const char *why;
		int status;

		params.kernel = kernels[i];
		params.ignore_expect = params.quiet = true;
		params.record = 0;
		status = walk_run(scn, &params, &walks[i], &why);
		rows[i] = (struct walk_row){ kernels[i], status ? why ? why : "no reason given" : NULL, walks[i].totals };
		if (status == EXIT_MINFLT)
			worst = status;
	}
	walk_print_table(stdout, rows, 4);
	for (size_t i = 0; i < 4; i++)
		arena_free(&walks[i].arena);
	return flushed(stdout, "standard output") ? EXIT_MINFLT : worst;
}

static int draw(const struct options *o, const struct walk *walk)
{
	FILE *f = fopen(o->svg, "w");
	int status;

	if (!f)
		return complain(EXIT_MINFLT, "--svg %s: %s; name a file that can be written", o->svg, strerror(errno));
	walk_print_svg(f, walk);
	status = flushed(f, o->svg);
	if (fclose(f) && !status)
		status = complain(EXIT_MINFLT, "cannot write to %s: %s", o->svg, strerror(errno));
	return status;
}

static bool wants_colour(const struct options *o)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	if (o->colour != COLOUR_AUTO)
		return o->colour == COLOUR_ALWAYS;
	return isatty(STDOUT_FILENO) && !(no && *no) && !(term && !strcmp(term, "dumb"));
}

static int show(const struct options *o, const struct scn *scn)
{
	const struct text_options text = { .colour = wants_colour(o), .explain = o->explain };
	struct walk_params params = o->walk;
	struct walk walk;
	const char *why;
	int status, written;

	params.record = o->json ? RECORD_ALL : RECORD_REASONS;
	params.snapshots = o->svg;
	status = walk_run(scn, &params, &walk, &why);
	if (o->json)
		walk_print_json(stdout, &walk);
	else
		walk_print_text(stdout, &walk, &text);
	written = flushed(stdout, "standard output");
	if (!written && o->svg)
		written = draw(o, &walk);
	if (status == 77)
		complain(status, "%s (on --kernel %s)", why ? why : "it can't be done", params.kernel);
	arena_free(&walk.arena);
	return written ? written : status;
}

int cmd_walk(int argc, char **argv)
{
	struct options o = { .walk = { .kernel = "5", .arch = "x86_64" } };
	struct scn scn = { 0 };
	int opt, status = 0;

	opterr = 0;
	optind = 0;
	while (!status && (opt = getopt_long(argc, argv, ":e:", long_options, NULL)) != -1)
		status = one_option(&o, opt, argv);
	if (!status && o.help) {
		fputs(walk_usage, stdout);
		status = flushed(stdout, "standard output");
		free(o.text);
		return status;
	}
	if (optind < argc)
		o.file = argv[optind];
	o.walk.file = o.text ? "-e" : o.file;
	if (!status)
		status = check_options(&o, optind + 1 < argc ? argv[optind + 1] : NULL);
	if (!status)
		status = parse(&o, &scn);
	if (!status)
		status = o.table ? compare_kernels(&o, &scn) : show(&o, &scn);
	scn_free(&scn);
	free(o.text);
	return status;
}
