/* SPDX-License-Identifier: MIT
 *
 * summary.c - the summary on standard error, in the manner of time -v.
 */
#include "cmd/summary.h"

#include <inttypes.h>
#include <string.h>
#include <sys/wait.h>

#include "cmd/size.h"

#define PAGE 4096ULL

double compression_ratio(const struct mf_control *c)
{
	const struct swap_pool_stats *s = &c->counters.swap;

	/* Same-filled pages take no pool memory at all and would flatter the codec. */
	if (!(s->bytes_stored + s->file_stored) || s->slots_used < s->same_filled)
		return 0;
	return (double)((s->slots_used - s->same_filled) * PAGE) / (double)(s->bytes_stored + s->file_stored);
}

const char *codec_name(uint32_t codec)
{
	return codec == SWAP_LZ4 ? "lz4" : codec == SWAP_ZSTD ? "zstd" : "none";
}

/* A word that a shell would read back as it is. */
static void write_word(FILE *to, const char *word)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./,:@%";

	if (*word && word[strspn(word, plain)] == '\0') {
		fputs(word, to);
		return;
	}
	putc('\'', to);
	for (; *word; word++) {
		if (*word == '\'')
			fputs("'\\''", to);
		else
			putc(*word, to);
	}
	putc('\'', to);
}

static void line_size(FILE *to, const char *label, uint64_t bytes)
{
	char text[SIZE_TEXT];

	fprintf(to, "\t%s: %s\n", label, size_format(text, bytes));
}

static void line_count(FILE *to, const char *label, uint64_t n)
{
	fprintf(to, "\t%s: %" PRIu64 "\n", label, n);
}

double timeval_seconds(struct timeval tv)
{
	return (double)tv.tv_sec + (double)tv.tv_usec / 1e6;
}

/* h:mm:ss or m:ss.cc, as time -v has it */
static void write_elapsed(FILE *to, double s)
{
	const uint64_t whole = (uint64_t)s, minutes = whole / 60;

	fputs("\tElapsed (wall clock) time (h:mm:ss or m:ss): ", to);
	if (whole >= 3600)
		fprintf(to, "%" PRIu64 ":%02u:%02u\n", minutes / 60, (unsigned)(minutes % 60), (unsigned)(whole % 60));
	else
		fprintf(to, "%u:%05.2f\n", (unsigned)minutes, s - 60.0 * (double)minutes);
}

static void write_process(FILE *to, const struct run_options *o, const struct outcome *out)
{
	const double user = timeval_seconds(out->usage.ru_utime), sys = timeval_seconds(out->usage.ru_stime);

	if (WIFSIGNALED(out->wait_status))
		fprintf(to, "Command terminated by signal %d (%s)\n", WTERMSIG(out->wait_status), strsignal(WTERMSIG(out->wait_status)));
	else if (WEXITSTATUS(out->wait_status))
		fprintf(to, "Command exited with non-zero status %d\n", WEXITSTATUS(out->wait_status));
	fputs("\tCommand being run: ", to);
	for (char **arg = o->program; *arg; arg++) {
		if (arg != o->program)
			putc(' ', to);
		write_word(to, *arg);
	}
	putc('\n', to);
	fprintf(to, "\tUser time (seconds): %.2f\n\tSystem time (seconds): %.2f\n", user, sys);
	if (out->seconds > 0)
		fprintf(to, "\tPercent of CPU this job got: %.0f%%\n", 100 * (user + sys) / out->seconds);
	write_elapsed(to, out->seconds);
	fprintf(to, "\tMaximum resident set size (kbytes): %ld\n", out->usage.ru_maxrss);
	fprintf(to, "\tMajor (requiring I/O) page faults of the kernel: %ld\n", out->usage.ru_majflt);
	fprintf(to, "\tMinor (reclaiming a frame) page faults of the kernel: %ld\n", out->usage.ru_minflt);
	fprintf(to, "\tExit status: %d\n", out->status);
}

static void write_budget(FILE *to, const struct mf_request *r)
{
	if (r->auto_permille)
		fprintf(to, "\tMemory budget: as little as loses at most %.1f%% of the time\n", r->auto_permille / 10.0);
	else if (r->memory)
		line_size(to, "Memory budget", r->memory);
	if (r->resident)
		line_size(to, "Limit of uncompressed pages", r->resident);
	if (r->pool)
		line_size(to, "Limit of the compressed pool", r->pool);
}

static void write_tree(FILE *to, const struct mf_tree *t)
{
	line_count(to, "Processes, in all", t->started);
	line_count(to, "Processes, at once at most", t->alive_peak);
	line_count(to, "Programs executed (followed)", t->execs);
	if (t->alone)
		line_count(to, "Programs executed that ran without minflt", t->alone);
	line_size(to, "Anonymous memory outside of minflt, peak", t->unmanaged_peak);
}

static void write_swap(FILE *to, const struct mf_control *c)
{
	const struct mm_stats *mm = &c->counters.mm;
	const struct swap_pool_stats *s = &c->counters.swap;
	const double ratio = compression_ratio(c);

	line_count(to, "Pages swapped out", mm->swapped_out);
	line_count(to, "Pages swapped in", mm->swapped_in);
	line_count(to, "Of these brought along by a neighbour", mm->swapin_around_pages);
	line_count(to, "Evictions of clean pages (stored copy still true)", mm->clean_evictions);
	fprintf(to, "\tCompression: %s", codec_name(c->request.codec));
	if (c->request.codec == SWAP_ZSTD && c->request.level)
		fprintf(to, ":%d", c->request.level);
	if (ratio > 0)
		fprintf(to, ", ratio %.2f", ratio);
	putc('\n', to);
	line_count(to, "Stored pages, same-filled", s->same_filled);
	line_count(to, "Stored pages, incompressible", s->incompressible);
	line_count(to, "Damaged pages", s->damaged);
}

#define CURVE_LINES 12u

static uint64_t kept(const struct mf_auto_sample *s)
{
	return ((uint64_t)s->frames + s->pool) * PAGE;
}

/* What was kept over time, in a dozen lines at most; the JSON has all. Several samples: the last one's size, the mean of what was lost. */
static void write_curve(FILE *to, const struct mf_auto_curve *c, double elapsed)
{
	const unsigned nr = c->nr < MF_AUTO_SAMPLES ? c->nr : MF_AUTO_SAMPLES, step = nr / CURVE_LINES + 1;
	char text[SIZE_TEXT];

	if (elapsed > 0)
		fprintf(to, "\tTime lost to bringing pages back and evicting: %.1f%%\n", (double)c->lost_ns / 1e7 / elapsed);
	for (unsigned i = step - 1; i < nr; i += step) {
		double lost = 0;

		for (unsigned j = i + 1 - step; j <= i; j++)
			lost += c->sample[j].lost_permille / 10.0 / step;
		fprintf(to, "\tKept after %.1f s: %s, %.1f%% lost\n", c->sample[i].at_ms / 1000.0, size_format(text, kept(&c->sample[i])), lost);
	}
}

static void write_file(FILE *to, const struct mf_control *c)
{
	const struct swap_pool_stats *s = &c->counters.swap;
	char text[SIZE_TEXT];

	if (!c->request.swap_bytes)
		return;
	fprintf(to, "\tSwap file: %s, %s, %s\n", size_format(text, c->request.swap_bytes), c->request.swap_plain ? "plain" : "encrypted",
		s->file_ring ? "io_uring" : "no io_uring");
	line_size(to, "Swap file, peak", s->file_bytes_peak);
	line_count(to, "Pages to the swap file", s->file_pages_out);
	line_count(to, "Pages back from the swap file", s->file_pages_in);
	line_size(to, "Written to the swap file", s->file_bytes_out);
	line_size(to, "Read from the swap file", s->file_bytes_in);
	line_count(to, "Failed writes to the swap file", s->file_write_errors);
	line_count(to, "Failed reads from the swap file", s->file_read_errors);
}

void summary_write(FILE *to, const struct run_options *o, const struct outcome *out, const struct mf_control *c)
{
	const struct mf_counters *n = &c->counters;

	write_process(to, o, out);
	write_budget(to, &c->request);
	if (c->request.auto_permille)
		write_curve(to, &c->curve, out->seconds);
	line_size(to, "Most kept at any time (pages, pool, tables)", n->total_peak);
	line_size(to, "Uncompressed pages, peak", n->mm.frames_peak * PAGE);
	line_size(to, "Compressed pool, peak", n->swap.bytes_pool_peak);
	line_size(to, "Tables and state of minflt", n->metadata_bytes);
	line_size(to, "Would have needed without minflt", n->touched_peak);
	line_count(to, "Major page faults of the program (from swap)", n->mm.maj_flt);
	line_count(to, "Minor page faults of the program", n->mm.min_flt);
	write_swap(to, c);
	write_file(to, c);
	write_tree(to, control_tree((struct mf_control *)(uintptr_t)c));
	fprintf(to, "\tPages come and go by: %s\n", n->uses_move ? "UFFDIO_MOVE" : "UFFDIO_COPY");
}
