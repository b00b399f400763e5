/* SPDX-License-Identifier: MIT
 *
 * run.c - `minflt run`: the order of things. Everything that can be refused is refused before the program starts.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/compressor.h"
#include "cmd/launch.h"
#include "cmd/options.h"
#include "cmd/probe.h"
#include "cmd/program.h"
#include "cmd/runtime.h"
#include "cmd/stats_file.h"
#include "cmd/summary.h"
#include "cmd/swap_file.h"
#include "cmd/tree_watch.h"

struct prepared {
	struct run_options o;
	struct program program;
	struct stats_file stats;
	struct swap_target swap;
	struct launch l;
};

/* => 0, or the exit status after having said what is wrong */
static int prepare_machine(struct prepared *p)
{
	char path[PATH_MAX], text[PATH_MAX + 256];
	const char *preload = getenv("LD_PRELOAD");
	struct probe probe;

	probe_userfaultfd(&probe);
	if (probe.source < 0 || probe_missing_feature(&probe))
		return complain(EXIT_MINFLT, "%s", probe_explain(&probe, text, sizeof(text)));
	p->o.request.uffd_source = (uint32_t)probe.source;
	if (preload && strlen(preload) >= sizeof(p->l.control->ld_preload))
		return complain(EXIT_MINFLT, "LD_PRELOAD is longer than %zu bytes; make it shorter", sizeof(p->l.control->ld_preload) - 1);
	p->l.runtime_fd = runtime_open(path, text);
	if (p->l.runtime_fd < 0)
		return complain(EXIT_MINFLT, "%s", text);
	p->o.request.mailbox_entries = compressor_entries(&p->o.request);
	p->l.control = control_create(&p->l.control_fd, &p->o.request);
	if (!p->l.control)
		return complain(EXIT_MINFLT, "cannot make the page shared with the runtime: %s; raise the limits of this process (ulimit -n, -v)",
				strerror(errno));
	return 0;
}

static int prepare(struct prepared *p, int argc, char **argv)
{
	int status = options_parse(&p->o, argc, argv);
	int err;

	if (status || p->o.help)
		return status;
	status = program_find(&p->program, p->o.program[0]);
	if (!status)
		status = program_judge(&p->program);
	if (!status)
		status = program_judge_environment();
	if (status)
		return status;
	if (p->o.stats_file) {
		err = stats_file_prepare(&p->stats, p->o.stats_file);
		if (err)
			return complain(EXIT_MINFLT, "--stats=%s cannot be written: %s; name a file in a folder that you may write to",
					p->o.stats_file, strerror(-err));
	}
	if (p->o.swap) {
		status = swap_file_open(&p->swap, p->o.swap, p->o.request.memory ? p->o.request.memory : p->o.request.resident + p->o.request.pool);
		if (status)
			return status;
		p->o.request.swap_bytes = p->swap.bytes;
	}
	p->l.swap_fd = p->swap.fd;
	p->l.path = p->program.path;
	p->l.argv = p->o.program;
	p->l.name = p->o.program[0];
	p->l.progress = p->o.progress;
	return prepare_machine(p);
}

/* Each line of the runtime's, with ours in front. Comes with -q, too: these are things that went wrong. */
static void tell_messages(const struct mf_control *c)
{
	size_t len = strnlen(c->message, sizeof(c->message));

	for (const char *line = c->message; len;) {
		const char *nl = memchr(line, '\n', len);
		const size_t n = nl ? (size_t)(nl - line) : len;

		if (n)
			complain(0, "%.*s", (int)n, line);
		len -= nl ? n + 1 : n;
		line += nl ? n + 1 : n;
	}
}

/* => the exit status: the program's, unless its figures, which were asked for, could not be kept */
static int tell_stats(struct prepared *p, const struct outcome *out)
{
	FILE *to;
	int err;

	if (!p->o.stats_file) {
		json_write(stderr, &p->o, out, p->l.control);
		fflush(stderr);
		return out->status;
	}
	to = stats_file_open(&p->stats);
	if (to)
		json_write(to, &p->o, out, p->l.control);
	err = to ? stats_file_finish(&p->stats, to) : -errno;
	if (!err)
		return out->status;
	/* The program's own failure tells more than ours. */
	complain(EXIT_MINFLT, "--stats=%s could not be written: %s; the program has run", p->o.stats_file, strerror(-err));
	return out->status ? out->status : EXIT_MINFLT;
}

int cmd_run(int argc, char **argv)
{
	static struct prepared p; /* paths make it large */
	static struct outcome out;
	int status;

	p.swap.fd = -1;
	status = prepare(&p, argc, argv);
	if (p.o.help && !status) {
		fputs(run_usage, stdout);
		return fflush(stdout) ? complain(EXIT_MINFLT, "cannot write to standard output") : 0;
	}
	if (!status)
		launch(&p.l, &out);
	swap_file_finish(&p.swap, p.l.control && atomic_load(&control_tree(p.l.control)->alive));
	if (status)
		return status;
	if (!out.ran)
		return complain(out.status, "%s", out.why);
	assert(p.l.control);
	tell_messages(p.l.control);
	tree_tell(p.l.control);
	if (!p.o.quiet) {
		setvbuf(stderr, NULL, _IOFBF, 8192); /* one write, not mixed with what others say */
		summary_write(stderr, &p.o, &out, p.l.control);
		fflush(stderr);
	}
	if (p.o.stats)
		return tell_stats(&p, &out);
	return out.status;
}
