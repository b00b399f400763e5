/* SPDX-License-Identifier: MIT
 *
 * pattern.c - one access pattern over one private anonymous region, timed and verified.
 *
 * A plain program: it knows nothing of minflt and runs the same natively, in a memory cgroup with swap, and under
 * `minflt run`.
 *
 *   fill (every page written) -> one warm-up pass of the pattern -> the timed passes -> every byte verified
 *
 * For `fill` the fill itself is what is timed. The names with `fit-` do the same as those without; they are there so
 * that a table of results can tell a working set that fits from one that doesn't. One line of JSON on standard
 * output; a wrong byte is status 1.
 *
 * The region is MADV_NOHUGEPAGE: pages of 4 KiB for everyone. An access is the page's number and one word of its text
 * (a read), or an atomic add to its generation (a write, whose fault is a write fault from the first). At the end the
 * generations must add up to the writes made, so a page that came back old is noticed without a table of expectations
 * beside the region.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "histogram.h"
#include "page.h"

#define MAX_THREADS 2
/* An access without a fault is faster than this, even one that misses all caches; no fault is, neither in the kernel nor
 * outside. Both are counted, so that a table can tell whether it was so. */
#define SLOW_NS 1000

struct options {
	const char *name;
	const struct pattern *pattern;
	uint64_t size, reserve, touch, ops, seed, passes;
	bool latency, hold;
};

/* One thread's part of the work. */
struct walker {
	pthread_t thread;
	const struct pattern *pattern;
	uint64_t *region;
	uint64_t pages, ops, seed, writes;
	uint64_t bad;            /* 1 + number of the first page found wrong; 0: none */
	struct histogram *hist;  /* [0] of all accesses, [1] of those slower than SLOW_NS; NULL: not wanted */
};

struct pattern {
	const char *name;
	uint64_t (*page)(const struct walker *w, uint64_t i); /* the page of access i */
	bool write, fill;
	unsigned threads;
};

struct zipf {
	double zetan, alpha, eta, half;
};
static struct zipf zipf;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t page_sequential(const struct walker *w, uint64_t i)
{
	return i % w->pages;
}

static uint64_t page_random(const struct walker *w, uint64_t i)
{
	return (uint64_t)(((unsigned __int128)mix64(w->seed + i) * w->pages) >> 64);
}

/* Every 8th page, then the ones beside them: eight rounds touch all. */
static uint64_t page_stride(const struct walker *w, uint64_t i)
{
	uint64_t column = w->pages / 8, at = i % (column * 8);

	return at % column * 8 + at / column;
}

static uint64_t page_two_streams(const struct walker *w, uint64_t i)
{
	uint64_t half = w->pages / 2;

	return i / 2 % half + (i & 1) * half;
}

/* Zipf with exponent 0.99 after Gray et al., "Quickly generating billion-record synthetic databases" (1994); hot pages
 * lie scattered. */
#define ZIPF_THETA 0.99
static void zipf_init(uint64_t n)
{
	double zeta2 = 1 + pow(0.5, ZIPF_THETA);

	for (uint64_t i = 1; i <= n; i++)
		zipf.zetan += pow(1.0 / (double)i, ZIPF_THETA);
	zipf.alpha = 1 / (1 - ZIPF_THETA);
	zipf.eta = (1 - pow(2.0 / (double)n, 1 - ZIPF_THETA)) / (1 - zeta2 / zipf.zetan);
	zipf.half = 1 + pow(0.5, ZIPF_THETA);
}

static uint64_t page_zipf(const struct walker *w, uint64_t i)
{
	double u = (double)(mix64(w->seed + i) >> 11) * 0x1p-53, uz = u * zipf.zetan;
	uint64_t rank;

	if (uz < 1)
		rank = 0;
	else if (uz < zipf.half)
		rank = 1;
	else
		rank = (uint64_t)((double)w->pages * pow(zipf.eta * u - zipf.eta + 1, zipf.alpha));
	return mix64(rank) % w->pages;
}

static const struct pattern patterns[] = {
	{ .name = "seq-read", .page = page_sequential },
	{ .name = "rand-read", .page = page_random },
	{ .name = "rand-write", .page = page_random, .write = true },
	{ .name = "fill", .page = page_sequential, .fill = true },
	{ .name = "stride", .page = page_stride },
	{ .name = "two-streams", .page = page_two_streams },
	{ .name = "threads-rand-read", .page = page_random, .threads = 2 },
	{ .name = "zipf", .page = page_zipf },
};

static inline bool access_page(struct walker *w, uint64_t nr)
{
	uint64_t *page = w->region + nr * PAGE_WORDS;

	if (w->pattern->fill) {
		page_fill(page, nr);
		return true;
	}
	if (w->pattern->write) {
		__atomic_fetch_add(&page[1], 1, __ATOMIC_RELAXED);
		w->writes++;
	}
	return page_glance(page, nr);
}

static void add_latency(struct histogram *h, uint64_t ns)
{
	hist_add(&h[0], ns);
	if (ns > SLOW_NS)
		hist_add(&h[1], ns);
}

static void *walk(void *arg)
{
	struct walker *w = arg;
	const struct pattern *pattern = w->pattern;
	uint64_t before = w->hist ? now_ns() : 0;

	for (uint64_t i = 0; i < w->ops; i++) {
		uint64_t nr = pattern->page(w, i);

		if (w->hist)
			before = now_ns();
		if (!access_page(w, nr) && !w->bad)
			w->bad = nr + 1;
		if (w->hist)
			add_latency(w->hist, now_ns() - before);
	}
	return NULL;
}

static void die(const char *what)
{
	fprintf(stderr, "pattern: %s: %s\n", what, strerror(errno));
	exit(2);
}

static void wrong(uint64_t nr, const char *when)
{
	fprintf(stderr, "pattern: page %" PRIu64 " holds wrong bytes (%s)\n", nr, when);
	exit(1);
}

/* Runs the pattern in as many threads as it wants, the main thread being the first. */
static uint64_t walk_all(const struct pattern *pattern, struct walker *w)
{
	uint64_t start = now_ns();

	for (unsigned t = 1; t < pattern->threads; t++)
		if ((errno = pthread_create(&w[t].thread, NULL, walk, &w[t])))
			die("pthread_create");
	walk(&w[0]);
	for (unsigned t = 1; t < pattern->threads; t++)
		pthread_join(w[t].thread, NULL);
	start = now_ns() - start;
	for (unsigned t = 0; t < MAX_THREADS; t++)
		if (w[t].bad)
			wrong(w[t].bad - 1, "while timed");
	return start;
}

static void verify(const uint64_t *region, uint64_t pages, uint64_t writes)
{
	uint64_t generations = 0;

	for (uint64_t nr = 0; nr < pages; nr++) {
		if (!page_whole(region + nr * PAGE_WORDS, nr))
			wrong(nr, "in the last pass");
		generations += region[nr * PAGE_WORDS + 1];
	}
	if (generations != writes) {
		fprintf(stderr, "pattern: %" PRIu64 " writes made, %" PRIu64 " found: pages came back old\n",
			writes, generations);
		exit(1);
	}
}

static uint64_t *map_region(uint64_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	if (madvise(p, bytes, MADV_NOHUGEPAGE) && errno != EINVAL) /* EINVAL: a kernel without huge pages */
		die("madvise(MADV_NOHUGEPAGE)");
	return p;
}

static long micros(struct timeval from, struct timeval to)
{
	return (to.tv_sec - from.tv_sec) * 1000000 + to.tv_usec - from.tv_usec;
}

static void report_latency(const char *which, const struct histogram *h)
{
	printf(", \"%scount\": %" PRIu64 ", \"%sp50_ns\": %" PRIu64 ", \"%sp99_ns\": %" PRIu64 ", \"%sp999_ns\": %" PRIu64
	       ", \"%smax_ns\": %" PRIu64, which, h->count, which, hist_percentile(h, 0.5), which, hist_percentile(h, 0.99),
	       which, hist_percentile(h, 0.999), which, h->max);
}

/* Called when the timed part has just ended: from_ns and to_ns tell a profiler which part that was. */
static void report(const struct options *o, uint64_t ops, uint64_t ns, const struct rusage *before,
		   const struct histogram *h)
{
	uint64_t to = now_ns();
	struct rusage after;

	getrusage(RUSAGE_SELF, &after);
	printf("{\"pattern\": \"%s\", \"pages\": %" PRIu64 ", \"ops\": %" PRIu64 ", \"ns\": %" PRIu64
	       ", \"ns_per_op\": %.1f, \"minflt\": %ld, \"majflt\": %ld, \"user_us\": %ld, \"system_us\": %ld",
	       o->name, o->size / PAGE_BYTES, ops, ns, (double)ns / (double)ops, after.ru_minflt - before->ru_minflt,
	       after.ru_majflt - before->ru_majflt,
	       micros(before->ru_utime, after.ru_utime), micros(before->ru_stime, after.ru_stime));
	printf(", \"from_ns\": %" PRIu64 ", \"to_ns\": %" PRIu64, to - ns, to);
	if (h)
		report_latency("", &h[0]);
	if (h)
		report_latency("slow_", &h[1]);
	printf("}\n");
	fflush(stdout);
}

static void run_pattern(const struct options *o)
{
	static struct histogram hist[MAX_THREADS][2];
	static struct walker w[MAX_THREADS];
	const struct pattern *pattern = o->pattern;
	unsigned threads = pattern->threads ? pattern->threads : 1;
	uint64_t pages = o->size / PAGE_BYTES, writes = 0, ops, ns;
	uint64_t *region = map_region(o->size);
	struct rusage before;

	if (pattern->page == page_zipf)
		zipf_init(pages);
	if (!pattern->fill)
		for (uint64_t nr = 0; nr < pages; nr++)
			page_fill(region + nr * PAGE_WORDS, nr);
	ops = pattern->fill ? pages : (o->ops ? o->ops : pages * o->passes) / threads;
	for (unsigned t = 0; t < threads; t++)
		w[t] = (struct walker){ .pattern = pattern, .region = region, .pages = pages, .ops = pages / threads,
					.seed = mix64(o->seed + 2 * t) };
	if (!pattern->fill)
		walk_all(pattern, w); /* into steady state */
	for (unsigned t = 0; t < threads; t++) {
		w[t].ops = ops;
		w[t].seed = mix64(o->seed + 2 * t + 1);
		w[t].hist = o->latency ? hist[t] : NULL;
	}
	getrusage(RUSAGE_SELF, &before);
	ns = walk_all(pattern, w);
	for (unsigned t = 1; t < threads; t++)
		for (unsigned which = 0; which < 2; which++)
			hist_merge(&hist[0][which], &hist[t][which]);
	report(o, ops * threads, ns, &before, o->latency ? hist[0] : NULL);
	for (unsigned t = 0; t < threads; t++)
		writes += w[t].writes;
	if (o->hold)
		pause();
	verify(region, pages, writes);
}

/* A reservation far larger than what is touched: 16 stretches, spread evenly. The caller reads what it costs. */
static void run_reserve(const struct options *o)
{
	const unsigned stretches = 16;
	uint64_t *region = map_region(o->reserve), pages = o->touch / PAGE_BYTES / stretches;
	uint64_t apart = o->reserve / PAGE_BYTES / stretches;
	uint64_t start = now_ns();
	struct rusage before;

	getrusage(RUSAGE_SELF, &before);
	for (unsigned s = 0; s < stretches; s++)
		for (uint64_t nr = s * apart; nr < s * apart + pages; nr++)
			page_fill(region + nr * PAGE_WORDS, nr);
	report(o, pages * stretches, now_ns() - start, &before, NULL);
	for (unsigned s = 0; s < stretches; s++)
		for (uint64_t nr = s * apart; nr < s * apart + pages; nr++)
			if (!page_whole(region + nr * PAGE_WORDS, nr))
				wrong(nr, "in a large reservation");
	if (o->hold)
		pause();
}

static uint64_t parse_size(const char *text)
{
	char *end;
	uint64_t n = strtoull(text, &end, 0);

	switch (*end) {
	case 'T': n <<= 10; /* fall through */
	case 'G': n <<= 10; /* fall through */
	case 'M': n <<= 10; /* fall through */
	case 'K': n <<= 10; end++; break;
	default: break;
	}
	if (*end || end == text) {
		fprintf(stderr, "pattern: '%s' is no size: give a number, with K, M, G or T behind it if you like\n", text);
		exit(2);
	}
	return n;
}

static void usage(void)
{
	fprintf(stderr, "usage: pattern --pattern NAME [--size 256M] [--ops N | --passes N] [--seed N] [--latency] [--hold]\n"
			"       pattern --reserve 1T [--touch 64M]\nNAME, or fit-NAME:");
	for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++)
		fprintf(stderr, " %s", patterns[i].name);
	fprintf(stderr, "\n");
	exit(2);
}

static const struct pattern *find_pattern(const char *name)
{
	if (!strncmp(name, "fit-", 4))
		name += 4;
	for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++)
		if (!strcmp(name, patterns[i].name))
			return &patterns[i];
	usage();
	return NULL;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "pattern", 1, NULL, 'p' }, { "size", 1, NULL, 's' }, { "ops", 1, NULL, 'o' }, { "passes", 1, NULL, 'n' },
		{ "seed", 1, NULL, 'r' }, { "latency", 0, NULL, 'l' }, { "hold", 0, NULL, 'h' },
		{ "reserve", 1, NULL, 'R' }, { "touch", 1, NULL, 't' }, { NULL, 0, NULL, 0 } };
	struct options o = { .size = 256u << 20, .touch = 64u << 20, .seed = 1 };

	for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1; )
		switch (c) {
		case 'p': o.name = optarg; o.pattern = find_pattern(optarg); break;
		case 's': o.size = parse_size(optarg); break;
		case 'o': o.ops = parse_size(optarg); break;
		case 'n': o.passes = parse_size(optarg); break;
		case 'r': o.seed = parse_size(optarg); break;
		case 'l': o.latency = true; break;
		case 'h': o.hold = true; break;
		case 'R': o.reserve = parse_size(optarg); break;
		case 't': o.touch = parse_size(optarg); break;
		default: usage();
		}
	if (!o.passes) /* without faults a pass is over in less than a millisecond */
		o.passes = o.name && !strncmp(o.name, "fit-", 4) ? 100 : 2;
	if (!o.reserve == !o.pattern || optind != argc || o.size < 16 * PAGE_BYTES)
		usage();
	page_templates_init(o.seed);
	if (o.reserve) {
		o.name = "reserve";
		o.size = o.reserve;
		run_reserve(&o);
	} else if (o.pattern) {
		run_pattern(&o);
	}
	return 0;
}
