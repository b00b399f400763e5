/* SPDX-License-Identifier: MIT
 *
 * swap_bench.c - what a store, a load and an unchanged store cost, and how well the pool is filled.
 *
 *   swap_bench [PAGES [CODEC...]]      CODEC: lz4 lz4:N zstd zstd:N none
 *
 * Times are processor time of one call in nanoseconds, the best of three rounds over PAGES different pages (default
 * 4096: more than the second-level cache holds), read and written in a shuffled order; stores go into a fresh pool, the
 * host's work for its memory included. "filled", "freed", "compct" are bytes stored / bytes of pool: after filling,
 * after random frees of half the pages, after compaction.
 */
#include <stdlib.h>
#include <time.h>

#include "swap/swap.h"
#include "tests/unit/swap/swap_pages.h"

static unsigned long nr_pages = 4096;
static unsigned char *pages, *back;
static uint32_t *order;

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static void shuffle(uint64_t seed)
{
	for (uint32_t i = 0; i < nr_pages; i++)
		order[i] = i;
	for (uint32_t i = nr_pages ? (uint32_t)nr_pages - 1 : 0; i > 0 && i < UINT32_MAX; i--) {
		uint32_t j = (uint32_t)(random_next(&seed) % (i + 1)), t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
}

static double use(const struct swap_pool *pool)
{
	struct swap_pool_stats s;

	swap_pool_stats(pool, &s);
	return s.bytes_pool ? 100.0 * (double)s.bytes_stored / (double)s.bytes_pool : 100.0;
}

static double time_stores(struct swap_pool *pool, int want)
{
	double t = now();

	for (unsigned long i = 0; i < nr_pages; i++)
		if (swap_pool_ops.store(pool, order[i] + 1ul, pages + (size_t)order[i] * PAGE) != want)
			abort();
	return (now() - t) / (double)nr_pages;
}

static double time_loads(struct swap_pool *pool)
{
	double t = now();

	for (unsigned long i = 0; i < nr_pages; i++)
		if (swap_pool_ops.load(pool, order[i] + 1ul, back + (i % 64) * PAGE))
			abort();
	t = (now() - t) / (double)nr_pages;
	for (unsigned long i = nr_pages - 64; i < nr_pages; i++)
		if (memcmp(back + (i % 64) * PAGE, pages + (size_t)order[i] * PAGE, PAGE))
			abort();
	return t;
}

static double least(double a, double b)
{
	return b < a ? b : a;
}

/* The pages are in `pages`. */
static void measure(const char *name, enum swap_codec codec, int level)
{
	double store = 1e18, load = 1e18, unchanged = 1e18, filled, freed, moved = 0;
	struct swap_pool_params q = { .codec = codec, .level = level, .nr_slots = nr_pages };
	struct swap_pool_stats s;
	int err;

	for (int round = 0;; round++) {
		struct swap_pool *pool = swap_pool_create(&q, &err);

		if (!pool)
			abort();
		shuffle((uint64_t)round);
		store = least(store, time_stores(pool, 0));
		shuffle((uint64_t)round + 10);
		load = least(load, time_loads(pool));
		unchanged = least(unchanged, time_stores(pool, 1));
		if (round < 2) {
			swap_pool_destroy(pool);
			continue;
		}
		swap_pool_stats(pool, &s);
		filled = use(pool);
		for (unsigned long i = 0; i < nr_pages / 2; i++)
			swap_pool_ops.free(pool, order[i] + 1ul);
		freed = use(pool);
		moved = now();
		while (swap_pool_compact(pool))
			;
		moved = now() - moved;
		printf("%-16s %6.0f %6.0f %9.0f   %5.2f:1  %5.1f%% %5.1f%% %5.1f%%  %7.1f\n", name, store, load, unchanged,
		       s.bytes_stored ? (double)nr_pages * PAGE / (double)s.bytes_stored : 0, filled, freed, use(pool), moved / 1e6);
		fflush(stdout);
		swap_pool_destroy(pool);
		return;
	}
}

/* The file's pages, over and over but each a little different, so that no page is stored twice. => was it there? */
static int read_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	size_t got = f ? fread(pages, PAGE, nr_pages, f) : 0;

	if (f)
		fclose(f);
	for (size_t i = got; got && i < nr_pages; i++)
		memcpy(pages + i * PAGE, pages + (i - got) * PAGE, PAGE);
	for (size_t i = got; got && i < nr_pages; i++)
		pages[i * PAGE + i % PAGE] ^= (unsigned char)(1 + i / got);
	return got > 0;
}

static void measure_all(const char *codec_name)
{
	static const char *const files[] = { "/usr/bin/python3", "/usr/bin/gcc", "/usr/share/common-licenses/GPL-3",
					     "/usr/include/zstd.h", "/usr/lib/x86_64-linux-gnu/libc.so.6", "/var/lib/dpkg/status" };
	enum swap_codec codec = codec_name[0] == 'l' ? SWAP_LZ4 : codec_name[0] == 'z' ? SWAP_ZSTD : SWAP_NONE;
	const char *colon = strchr(codec_name, ':');
	int level = colon ? atoi(colon + 1) : 0;

	printf("\n%-16s %6s %6s %9s   %7s  %6s %6s %6s  %s\n", codec_name, "store", "load", "unchanged", "packed",
	       "filled", "freed", "compct", "compaction ms");
	for (int kind = 0; kind < NR_PAGE_KINDS; kind++) {
		for (unsigned long i = 0; i < nr_pages; i++)
			page_make(pages + i * PAGE, (enum page_kind)kind, i);
		measure(page_kind_name[kind], codec, level);
	}
	for (unsigned long i = 0; i < nr_pages; i++)
		page_make(pages + i * PAGE, (enum page_kind)(random_next(&(uint64_t){ i }) % NR_PAGE_KINDS), i);
	measure("all of these", codec, level);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		if (read_file(files[i]))
			measure(strrchr(files[i], '/') + 1, codec, level);
}

static double time_copies(void)
{
	double t = now();

	for (unsigned long i = 0; i < nr_pages; i++)
		memcpy(back + (i % 64) * PAGE, pages + (size_t)order[i] * PAGE, PAGE);
	return (now() - t) / (double)nr_pages;
}

int main(int argc, char **argv)
{
	if (argc > 1)
		nr_pages = strtoul(argv[1], NULL, 0);
	if (nr_pages < 64)
		return 2;
	pages = aligned_alloc(PAGE, nr_pages * PAGE);
	back = aligned_alloc(PAGE, 64ul * PAGE);
	order = calloc(nr_pages, sizeof(*order));
	if (!pages || !back || !order)
		return 2;
	memset(pages, 1, nr_pages * PAGE);
	memset(back, 1, 64ul * PAGE);
	shuffle(1);
	time_copies();
	printf("%lu pages; memcpy of a page, shuffled: %.0f ns\n", nr_pages, time_copies());
	if (argc > 2)
		for (int i = 2; i < argc; i++)
			measure_all(argv[i]);
	else
		for (int i = 0; i < 3; i++)
			measure_all((const char *const[]){ "lz4", "zstd", "none" }[i]);
	return 0;
}
