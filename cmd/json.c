/* SPDX-License-Identifier: MIT
 *
 * json.c - the figures as one JSON object. Keys are never renamed or given another unit; new ones may come. The ends of their names
 * tell the unit: _bytes, _pages, _seconds, _ns; others are counts.
 */
#include <inttypes.h>
#include <string.h>
#include <sys/wait.h>

#include "cmd/json.h"
#include "cmd/summary.h"

/* => the length of a valid UTF-8 sequence at s, or 0 */
static unsigned utf8_length(const unsigned char *s)
{
	const unsigned n = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;

	for (unsigned i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0) || (s[0] == 0xf0 && s[1] < 0x90) ||
	    (s[0] == 0xf4 && s[1] >= 0x90))
		return 0; /* overlong, a surrogate, or beyond U+10FFFF */
	return n;
}

void json_string(FILE *to, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;

	putc('"', to);
	while (*s) {
		unsigned n = utf8_length(s);

		if (n == 0)
			fputs("\\ufffd", to);
		else if (*s == '"' || *s == '\\')
			fprintf(to, "\\%c", *s);
		else if (*s < 0x20 || *s == 0x7f)
			fprintf(to, "\\u%04x", *s);
		else
			fwrite(s, 1, n, to);
		s += n ? n : 1;
	}
	putc('"', to);
}

static void number(FILE *to, const char *key, uint64_t value)
{
	fprintf(to, ",\n    \"%s\": %" PRIu64, key, value);
}

/* A limit that was not given is null, so that nobody takes it for zero. */
static void limit(FILE *to, const char *key, uint64_t value)
{
	if (value)
		number(to, key, value);
	else
		fprintf(to, ",\n    \"%s\": null", key);
}

static void write_process(FILE *to, const struct run_options *o, const struct outcome *out)
{
	const int ws = out->wait_status;

	fputs("  \"version\": 1,\n  \"command\": [", to);
	for (char **arg = o->program; *arg; arg++) {
		if (arg != o->program)
			fputs(", ", to);
		json_string(to, *arg);
	}
	fputs("],\n  \"process\": {\n", to);
	fprintf(to, "    \"status\": %d", out->status);
	if (WIFSIGNALED(ws))
		fprintf(to, ",\n    \"signal\": %d", WTERMSIG(ws));
	else
		fputs(",\n    \"signal\": null", to);
	fprintf(to, ",\n    \"elapsed_seconds\": %.6f", out->seconds);
	fprintf(to, ",\n    \"user_seconds\": %.6f", timeval_seconds(out->usage.ru_utime));
	fprintf(to, ",\n    \"system_seconds\": %.6f", timeval_seconds(out->usage.ru_stime));
	number(to, "max_resident_bytes", (uint64_t)out->usage.ru_maxrss * 1024);
	number(to, "kernel_major_faults", (uint64_t)out->usage.ru_majflt);
	number(to, "kernel_minor_faults", (uint64_t)out->usage.ru_minflt);
	number(to, "voluntary_context_switches", (uint64_t)out->usage.ru_nvcsw);
	number(to, "involuntary_context_switches", (uint64_t)out->usage.ru_nivcsw);
	fputs("\n  },\n", to);
}

static void write_budget(FILE *to, const struct mf_control *c)
{
	const struct mf_request *r = &c->request;
	const struct mf_counters *n = &c->counters;

	fprintf(to, "  \"budget\": {\n    \"compress\": \"%s\",\n    \"level\": %d", codec_name(r->codec), r->level);
	limit(to, "memory_bytes", r->auto_permille ? 0 : r->memory);
	limit(to, "resident_bytes", r->resident);
	limit(to, "pool_bytes", r->pool);
	number(to, "frame_limit_pages", n->frame_limit);
	fputs("\n  },\n  \"kept\": {\n", to);
	fprintf(to, "    \"total_peak_bytes\": %" PRIu64, n->total_peak);
	number(to, "total_bytes", n->total_bytes);
	number(to, "frames_peak_pages", n->mm.frames_peak);
	number(to, "frames_pages", n->mm.frames_used);
	number(to, "pool_peak_bytes", n->swap.bytes_pool_peak);
	number(to, "pool_bytes", n->swap.bytes_pool);
	number(to, "metadata_bytes", n->metadata_bytes);
	number(to, "managed_peak_bytes", n->managed_peak);
	number(to, "touched_peak_bytes", n->touched_peak);
	fputs("\n  },\n", to);
}

static void write_faults(FILE *to, const struct mf_counters *n)
{
	fprintf(to, "  \"faults\": {\n    \"major\": %" PRIu64, n->mm.maj_flt);
	number(to, "minor", n->mm.min_flt);
	number(to, "messages", n->faults_read);
	number(to, "zeroed_pages", n->mm.zeroed);
	number(to, "zeroed_around_pages", n->mm.anon_around_pages);
	number(to, "cow_copied_pages", n->mm.cow_copy);
	number(to, "cow_reused_pages", n->mm.cow_reuse);
	number(to, "moved_in_pages", n->move_in);
	number(to, "moved_out_pages", n->move_out);
	number(to, "copied_in_pages", n->copy_in);
	number(to, "copied_out_pages", n->copy_out);
	fputs("\n  },\n", to);
}

static void write_swap(FILE *to, const struct mf_control *c)
{
	const struct mf_counters *n = &c->counters;
	const struct swap_pool_stats *s = &n->swap;
	const double ratio = compression_ratio(c);

	fprintf(to, "  \"swap\": {\n    \"swapped_out_pages\": %" PRIu64, n->mm.swapped_out);
	number(to, "swapped_in_pages", n->mm.swapped_in);
	number(to, "swapped_in_around_pages", n->mm.swapin_around_pages);
	number(to, "evicted_pages", n->mm.evicted);
	number(to, "clean_evictions_pages", n->mm.clean_evictions);
	number(to, "pinned_refusals", n->stuck_pinned);
	number(to, "stored_pages", s->slots_used);
	number(to, "same_filled_pages", s->same_filled);
	number(to, "incompressible_pages", s->incompressible);
	number(to, "stored_bytes", s->bytes_stored);
	if (ratio > 0)
		fprintf(to, ",\n    \"compression_ratio\": %.4f", ratio);
	else
		fputs(",\n    \"compression_ratio\": null", to);
	number(to, "packed_pages", s->packed);
	number(to, "packed_bytes", s->packed_bytes);
	number(to, "damaged_pages", s->damaged);
	number(to, "compactions", s->compactions);
	fputs("\n  },\n", to);
}

/* Of --memory auto alone. */
static void write_auto(FILE *to, const struct mf_control *c)
{
	const struct mf_auto_curve *curve = &c->curve;
	const uint32_t nr = curve->nr < MF_AUTO_SAMPLES ? curve->nr : MF_AUTO_SAMPLES;

	if (!c->request.auto_permille)
		return;
	fprintf(to, "  \"auto\": {\n    \"share\": %.3f,\n    \"lost_ns\": %" PRIu64 ",\n    \"curve\": [", c->request.auto_permille / 1000.0,
		curve->lost_ns);
	for (uint32_t i = 0; i < nr; i++)
		fprintf(to, "%s\n      { \"at_seconds\": %.3f, \"frames_pages\": %" PRIu32 ", \"pool_pages\": %" PRIu32 ", \"lost_share\": %.3f }",
			i ? "," : "", curve->sample[i].at_ms / 1000.0, curve->sample[i].frames, curve->sample[i].pool,
			curve->sample[i].lost_permille / 1000.0);
	fputs(nr ? "\n    ]\n  },\n" : "]\n  },\n", to);
}

static void write_file(FILE *to, const struct mf_control *c)
{
	const struct swap_pool_stats *s = &c->counters.swap;

	fprintf(to, "  \"swap_file\": {\n    \"size_bytes\": %" PRIu64, c->request.swap_bytes);
	fprintf(to, ",\n    \"encrypted\": %s", c->request.swap_bytes && !c->request.swap_plain ? "true" : "false");
	fprintf(to, ",\n    \"io_uring\": %s", s->file_ring ? "true" : "false");
	number(to, "stored_in_file_pages", s->file_pages);
	number(to, "used_bytes", s->file_bytes);
	number(to, "used_peak_bytes", s->file_bytes_peak);
	number(to, "to_file_pages", s->file_pages_out);
	number(to, "from_file_pages", s->file_pages_in);
	number(to, "written_bytes", s->file_bytes_out);
	number(to, "read_bytes", s->file_bytes_in);
	number(to, "write_errors", s->file_write_errors);
	number(to, "read_errors", s->file_read_errors);
	number(to, "cleaned_segments", s->file_cleaned);
	number(to, "waits", atomic_load_explicit(&c->waits, memory_order_relaxed));
	fputs("\n  },\n", to);
}

static void write_tree(FILE *to, const struct mf_tree *t)
{
	fprintf(to, "  \"tree\": {\n    \"processes\": %" PRIu64, t->started);
	number(to, "processes_peak", t->alive_peak);
	number(to, "forks", t->forks);
	number(to, "execs", t->execs);
	number(to, "unfollowed", t->alone);
	number(to, "unmanaged_peak_bytes", t->unmanaged_peak);
	number(to, "pressed", t->pressed);
	fputs("\n  },\n", to);
}

void json_write(FILE *to, const struct run_options *o, const struct outcome *out, const struct mf_control *c)
{
	const struct mf_counters *n = &c->counters;

	fputs("{\n", to);
	write_process(to, o, out);
	write_budget(to, c);
	write_auto(to, c);
	write_faults(to, n);
	write_swap(to, c);
	write_file(to, c);
	write_tree(to, control_tree((struct mf_control *)(uintptr_t)c));
	fprintf(to, "  \"runtime\": {\n    \"mode\": \"%s\"", n->uses_move ? "move" : "copy");
	number(to, "start_ns", n->started_ns);
	number(to, "memory_calls", n->calls);
	number(to, "forks", n->forks);
	number(to, "invariant_checks", n->mm.invariant_checks);
	fputs("\n  }\n}\n", to);
}
