/* SPDX-License-Identifier: MIT
 *
 * page.h - what the pages of the benchmark hold: compressible about 2:1 by LZ4, all different, checkable.
 *
 *   word 0   number of the page, mixed (so that a page at the wrong place is noticed)
 *   word 1   generation: how often the page was written since the fill (so that a lost write is noticed)
 *   rest     one of PAGE_TEMPLATES texts: short literal runs and short matches, as program data have them. "Half noise,
 *            half zero" would give the same ratio, but its decompression is two memcpy; that would flatter whoever
 *            decompresses.
 */
#ifndef BENCH_PAGE_H
#define BENCH_PAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define PAGE_BYTES     4096u
#define PAGE_WORDS     (PAGE_BYTES / 8)
#define PAGE_TEMPLATES 16u /* 64 KiB: stays in the L2 cache */

static _Alignas(4096) uint64_t page_template[PAGE_TEMPLATES][PAGE_WORDS];

static inline uint64_t mix64(uint64_t x) /* splitmix64's finisher */
{
	x += 0x9e3779b97f4a7c15ULL;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

static void page_templates_init(uint64_t seed)
{
	for (unsigned t = 0; t < PAGE_TEMPLATES; t++) {
		unsigned char *p = (unsigned char *)page_template[t];
		uint64_t r = seed * PAGE_TEMPLATES + t;
		unsigned at = 0;

		while (at < PAGE_BYTES) {
			unsigned literals = 4 + mix64(r++) % 17, match = 8 + mix64(r++) % 31;

			for (; literals && at < PAGE_BYTES; literals--)
				p[at++] = (unsigned char)mix64(r++);
			unsigned from = (unsigned)(mix64(r++) % at);
			for (; match && at < PAGE_BYTES; match--)
				p[at++] = p[from++];
		}
	}
}

static inline const uint64_t *page_text(uint64_t nr)
{
	return page_template[nr % PAGE_TEMPLATES];
}

static inline void page_fill(uint64_t *page, uint64_t nr)
{
	page[0] = mix64(nr);
	page[1] = 0;
	memcpy(page + 2, page_text(nr) + 2, PAGE_BYTES - 16);
}

/* The number and one word of the text, another one for each page: what a timed access reads. */
static inline bool page_glance(const uint64_t *page, uint64_t nr)
{
	unsigned word = 2 + (unsigned)(nr % (PAGE_WORDS - 2));

	return page[0] == mix64(nr) && page[word] == page_text(nr)[word];
}

static inline bool page_whole(const uint64_t *page, uint64_t nr)
{
	return page[0] == mix64(nr) && !memcmp(page + 2, page_text(nr) + 2, PAGE_BYTES - 16);
}

#endif
