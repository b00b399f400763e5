/* SPDX-License-Identifier: MIT
 *
 * options.c - the command line of `minflt run`.
 */
#include "cmd/options.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/size.h"
#include "cmd/there.h"

const char run_usage[] =
	"usage: minflt run --memory SIZE [OPTIONS] [--] PROGRAM [ARGUMENT...]\n"
	"       minflt run --memory auto[:PERCENT%] [OPTIONS] [--] PROGRAM [ARGUMENT...]\n"
	"       minflt run --resident SIZE [--pool SIZE] [OPTIONS] [--] PROGRAM [ARGUMENT...]\n"
	"\n"
	"Run PROGRAM with its memory under minflt: at most SIZE of it is kept, what doesn't fit is compressed.\n"
	"\n"
	"  --memory SIZE      everything that is kept: uncompressed pages, compressed pool, tables\n"
	"  --memory auto[:P%] as little as the program gets along with, when at most P percent of the time (5)\n"
	"                     may be lost to bringing pages back\n"
	"  --resident SIZE    uncompressed pages\n"
	"  --pool SIZE        compressed pool\n"
	"  --compress HOW     lz4 (the default), zstd, zstd:LEVEL (1 to 19) or none\n"
	"  --swap FILE[:SIZE] what the pool has no room for goes to FILE, encrypted\n"
	"  --swap-plain       ... not encrypted\n"
	"  --on-full=wait     when all of it is full, wait for room instead of ending the program\n"
	"  --stats[=FILE]     the figures as JSON at the end, on standard error or in FILE\n"
	"  --no-follow        programs that PROGRAM executes run without minflt\n"
	"  --no-move          copy pages even where the kernel can move them\n"
	"  --progress         a status line on standard error while it runs\n"
	"  -q, --quiet        no summary\n"
	"\n"
	"SIZE: a number with K, M, G or T (powers of 1024). For example:\n"
	"  minflt run --memory 256M -- sort -S 1G big.txt\n";

enum {
	OPT_MEMORY = 256, OPT_RESIDENT, OPT_POOL, OPT_COMPRESS, OPT_STATS, OPT_NO_FOLLOW, OPT_NO_MOVE, OPT_NO_PIN_CHECK, OPT_PROGRESS,
	OPT_CHECK_EVERY, OPT_AROUND, OPT_HELP,
	OPT_SWAP, OPT_SWAP_PLAIN, OPT_SWAP_TROUBLE, OPT_ON_FULL,
};

static const struct option long_options[] = {
	{ "memory", required_argument, NULL, OPT_MEMORY },
	{ "resident", required_argument, NULL, OPT_RESIDENT },
	{ "pool", required_argument, NULL, OPT_POOL },
	{ "compress", required_argument, NULL, OPT_COMPRESS },
	{ "swap", required_argument, NULL, OPT_SWAP },
	{ "swap-plain", no_argument, NULL, OPT_SWAP_PLAIN },
	{ "swap-trouble", required_argument, NULL, OPT_SWAP_TROUBLE },
	{ "on-full", required_argument, NULL, OPT_ON_FULL },
	{ "stats", optional_argument, NULL, OPT_STATS },
	{ "no-follow", no_argument, NULL, OPT_NO_FOLLOW },
	{ "no-move", no_argument, NULL, OPT_NO_MOVE },
	{ "no-pin-check", no_argument, NULL, OPT_NO_PIN_CHECK },
	{ "progress", no_argument, NULL, OPT_PROGRESS },
	{ "check-every", required_argument, NULL, OPT_CHECK_EVERY },
	{ "around", required_argument, NULL, OPT_AROUND },
	{ "quiet", no_argument, NULL, 'q' },
	{ "help", no_argument, NULL, OPT_HELP },
	{ NULL, 0, NULL, 0 },
};

static int parse_size(const char *option, const char *text, uint64_t smallest, uint64_t *bytes)
{
	char least[SIZE_TEXT];
	int err = size_parse(text, bytes);

	if (err == -EINVAL)
		return complain(EXIT_MINFLT, "%s '%s' is not a size; write a number with K, M, G or T, such as 256M", option, text);
	if (err == -ERANGE)
		return complain(EXIT_MINFLT, "%s '%s' is more than a process can address; give at most 128T", option, text);
	if (err == 0)
		*bytes &= ~4095ULL; /* a budget is a promise: down to whole pages */
	if (err || *bytes < smallest)
		return complain(EXIT_MINFLT, "%s '%s' is too small for the engine; give at least %s", option, text,
				size_format(least, smallest));
	return 0;
}

static int parse_number(const char *option, const char *text, uint32_t largest, uint32_t *out)
{
	char *end;
	unsigned long value;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end || errno || value > largest)
		return complain(EXIT_MINFLT, "%s '%s' is not a number from 0 to %" PRIu32, option, text, largest);
	*out = (uint32_t)value;
	return 0;
}

/* auto, auto:2.5, auto:2.5% */
static int parse_auto(const char *text, struct mf_request *r)
{
	const char *s = text + strlen("auto");
	double percent = AUTO_PERCENT;

	if (*s == ':') {
		char *end;
		/* Digits and a point: strtod() knows more, such as 0x10. */
		const size_t digits = strspn(s + 1, "0123456789.");

		percent = strtod(s + 1, &end);
		if (end != s + 1 + digits || strcmp(end + (*end == '%'), "") != 0 || !(percent >= 0.1 && percent <= 90))
			return complain(EXIT_MINFLT, "--memory '%s': the share of time that may be lost is a percentage from 0.1 to 90, such as auto:5%%",
					text);
	}
	r->auto_permille = (uint32_t)(percent * 10 + 0.5);
	r->memory = memory_there(SMALLEST_MEMORY);
	return 0;
}

static bool is_auto(const char *text)
{
	return strncmp(text, "auto", 4) == 0 && (text[4] == ':' || !text[4]);
}

static int parse_memory(const char *text, struct mf_request *r)
{
	r->auto_permille = 0;
	return is_auto(text) ? parse_auto(text, r) : parse_size("--memory", text, SMALLEST_MEMORY, &r->memory);
}

static int parse_compress(const char *text, struct mf_request *r)
{
	uint32_t level = 0;

	r->level = 0;
	if (strcmp(text, "lz4") == 0) {
		r->codec = SWAP_LZ4;
	} else if (strcmp(text, "none") == 0) {
		r->codec = SWAP_NONE;
	} else if (strcmp(text, "zstd") == 0) {
		r->codec = SWAP_ZSTD;
	} else if (strncmp(text, "zstd:", 5) == 0) {
		char *end;

		r->codec = SWAP_ZSTD;
		level = (uint32_t)strtoul(text + 5, &end, 10);
		if (text[5] < '1' || text[5] > '9' || strlen(text + 5) > 2 || *end || level > 19)
			return complain(EXIT_MINFLT, "--compress '%s': the level of zstd is a number from 1 to 19", text);
		r->level = (int32_t)level;
	} else {
		return complain(EXIT_MINFLT, "--compress '%s' is unknown; give lz4, zstd, zstd:LEVEL or none", text);
	}
	return 0;
}

/* around: as machine and engine want it, 0 or a power of two up to 64 */
static int parse_around(const char *text, uint32_t *out)
{
	int status = parse_number("--around", text, 64, out);

	if (status == 0 && (*out & (*out - 1)))
		return complain(EXIT_MINFLT, "--around '%s' is not a power of two up to 64", text);
	return status;
}

static bool is_word(const char *text, size_t len, const char *word)
{
	return len == strlen(word) && strncmp(text, word, len) == 0;
}

/* For tests: WHAT:EVERY[:ERRNO], such as write:7:28; no-ring. */
static int parse_trouble(const char *text, struct mf_request *r)
{
	struct swap_trouble *t = &r->swap_trouble;
	const size_t len = strcspn(text, ":");
	unsigned long every, err = EIO;
	char *end;

	if (strcmp(text, "no-ring") == 0) {
		r->swap_no_ring = 1;
		return 0;
	}
	every = strtoul(text + len + (text[len] == ':'), &end, 10);
	if (*end == ':')
		err = strtoul(end + 1, &end, 10);
	if (!every || every > UINT32_MAX || !err || err > 4095 || *end)
		return complain(EXIT_MINFLT, "--swap-trouble '%s': write no-ring, or write, read or short, and each so many-th: write:7", text);
	if (is_word(text, len, "write")) {
		t->write_every = (unsigned)every;
		t->write_errno = (int)err;
	} else if (is_word(text, len, "read")) {
		t->read_every = (unsigned)every;
		t->read_errno = (int)err;
	} else if (is_word(text, len, "short")) {
		t->short_every = (unsigned)every;
	} else {
		return complain(EXIT_MINFLT, "--swap-trouble '%s' is unknown; there are write, read, short and no-ring", text);
	}
	return 0;
}

static int parse_on_full(const char *text, struct mf_request *r)
{
	r->full_waits = strcmp(text, "wait") == 0;
	if (!r->full_waits && strcmp(text, "end") != 0)
		return complain(EXIT_MINFLT, "--on-full '%s' is unknown; give wait, or end (the default)", text);
	return 0;
}

static int one_option(struct run_options *o, int opt, char **argv)
{
	struct mf_request *r = &o->request;

	switch (opt) {
	case OPT_MEMORY:
		return parse_memory(optarg, r);
	case OPT_RESIDENT:
		return parse_size("--resident", optarg, SMALLEST_RESIDENT, &r->resident);
	case OPT_POOL:
		return parse_size("--pool", optarg, SMALLEST_POOL, &r->pool);
	case OPT_COMPRESS:
		return parse_compress(optarg, r);
	case OPT_SWAP:
		o->swap = optarg;
		return 0;
	case OPT_SWAP_PLAIN:
		r->swap_plain = 1;
		return 0;
	case OPT_SWAP_TROUBLE:
		return parse_trouble(optarg, r);
	case OPT_ON_FULL:
		return parse_on_full(optarg, r);
	case OPT_STATS:
		o->stats = true;
		o->stats_file = optarg;
		if (optarg && !*optarg)
			return complain(EXIT_MINFLT, "--stats= needs the name of a file; --stats alone writes to standard error");
		return 0;
	case OPT_NO_FOLLOW:
		r->no_follow = 1;
		return 0;
	case OPT_NO_MOVE:
		r->no_move = r->no_move ? r->no_move : 1;
		return 0;
	case OPT_NO_PIN_CHECK:
		r->no_move = 2;
		return 0;
	case OPT_PROGRESS:
		o->progress = true;
		return 0;
	case OPT_CHECK_EVERY:
		return parse_number("--check-every", optarg, UINT32_MAX, &r->check_every);
	case OPT_AROUND:
		return parse_around(optarg, &r->around);
	case 'q':
		o->quiet = true;
		return 0;
	case OPT_HELP:
		o->help = true;
		return 0;
	case ':':
		return complain(EXIT_MINFLT, "option '%s' needs a value; 'minflt help run' shows it", argv[optind - 1]);
	default:
		break;
	}
	/* getopt_long() leaves the letter of a short option in optopt and, for a long one, has moved on. */
	if (optopt > 0 && optopt < 256)
		return complain(EXIT_MINFLT, "unknown option '-%c'; 'minflt help run' lists them", optopt);
	if (optopt >= 256)
		return complain(EXIT_MINFLT, "option '%s' takes no value; 'minflt help run' shows it", argv[optind - 1]);
	return complain(EXIT_MINFLT, "unknown option '%s'; 'minflt help run' lists them", argv[optind - 1]);
}

/* What no option alone can tell: do they make a budget together? */
static int check_budget(const struct run_options *o)
{
	const struct mf_request *r = &o->request;

	if (!r->memory && !r->resident && !r->pool)
		return complain(EXIT_MINFLT, "no budget given; say how much memory the program may keep, such as --memory 256M");
	if (!r->memory && !r->resident)
		return complain(EXIT_MINFLT, "--pool alone limits nothing; give --memory or --resident with it");
	if (r->auto_permille && (r->resident || r->pool))
		return complain(EXIT_MINFLT, "--memory auto divides by itself; leave --resident and --pool out, or give --memory a size");
	if (o->swap && !r->memory && !r->pool)
		return complain(EXIT_MINFLT, "--swap needs a limit, or nothing would ever go to the file; give --memory SIZE, or --pool");
	if (r->swap_plain && !o->swap)
		return complain(EXIT_MINFLT, "--swap-plain says how a file is written, and there is none; give --swap FILE with it");
	if (r->memory && r->resident + r->pool > r->memory)
		return complain(EXIT_MINFLT, "--resident and --pool do not fit into --memory; make them smaller or leave --memory out");
	return 0;
}

int options_parse(struct run_options *o, int argc, char **argv)
{
	int opt, status;

	memset(o, 0, sizeof(*o));
	o->request.codec = SWAP_LZ4;
	opterr = 0;
	optind = 0; /* start over, whoever has parsed before */
	/* '+': options end where the program begins. */
	while ((opt = getopt_long(argc, argv, "+:q", long_options, NULL)) != -1) {
		status = one_option(o, opt, argv);
		if (status)
			return status;
	}
	if (o->help)
		return 0;
	status = check_budget(o);
	if (status)
		return status;
	if (optind >= argc)
		return complain(EXIT_MINFLT, "no program given; it comes after the options, such as: minflt run --memory 256M -- sort");
	if (!argv[optind][0])
		return complain(EXIT_MISSING, "'': the name of the program is empty");
	o->program = argv + optind;
	return 0;
}
