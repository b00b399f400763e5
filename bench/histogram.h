/* SPDX-License-Identifier: MIT
 *
 * histogram.h - latencies in log-linear buckets: 32 to a power of two, so a percentile is right to about 3 %.
 */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

#define HIST_SUB 32u

struct histogram {
	uint32_t bucket[64 * HIST_SUB];
	uint64_t count, max;
};

static inline void hist_add(struct histogram *h, uint64_t ns)
{
	unsigned shift = ns < HIST_SUB ? 0 : 63 - (unsigned)__builtin_clzll(ns) - 5;

	h->bucket[shift * HIST_SUB + (ns >> shift)]++; /* ns >> shift is 32..63 from the second power of two on */
	h->count++;
	if (ns > h->max)
		h->max = ns;
}

static inline void hist_merge(struct histogram *to, const struct histogram *from)
{
	for (unsigned i = 0; i < 64 * HIST_SUB; i++)
		to->bucket[i] += from->bucket[i];
	to->count += from->count;
	if (from->max > to->max)
		to->max = from->max;
}

/* => the lower end of the bucket where `share` (0..1) of the values lie below or in it; 0 when empty */
static inline uint64_t hist_percentile(const struct histogram *h, double share)
{
	uint64_t want = (uint64_t)(share * (double)h->count), seen = 0;

	for (unsigned i = 0; i < 64 * HIST_SUB; i++) {
		seen += h->bucket[i];
		if (h->bucket[i] && seen > want) {
			unsigned shift = i < 2 * HIST_SUB ? 0 : i / HIST_SUB - 1;
			return (uint64_t)(i - shift * HIST_SUB) << shift;
		}
	}
	return h->max;
}

#endif
