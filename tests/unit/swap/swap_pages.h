/* SPDX-License-Identifier: MIT
 *
 * swap_pages.h - pages of known kinds, the same ones for the same number: for the tests and the benchmark of the swap
 * pool.
 */
#ifndef MF_TESTS_SWAP_PAGES_H
#define MF_TESTS_SWAP_PAGES_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define PAGE 4096u

enum page_kind {
	PAGE_ZERO,       /* same-filled */
	PAGE_FILLED,     /* same-filled with a word of its own */
	PAGE_HALF,       /* halves under LZ4: short runs of noise, each followed by bytes seen before */
	PAGE_TEXT,       /* words */
	PAGE_NUMBERS,    /* a sorted array of 8-byte numbers */
	PAGE_SPARSE,     /* zeros but for a few words */
	PAGE_NOISE,      /* incompressible */
	NR_PAGE_KINDS
};

static const char *const page_kind_name[NR_PAGE_KINDS] = {
	"zero", "filled", "2:1", "text-like", "sorted numbers", "sparse", "noise"
};

/* splitmix64 */
static inline uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static inline void fill_noise(unsigned char *p, size_t len, uint64_t *state)
{
	for (size_t i = 0; i < len; i += 8) {
		uint64_t r = random_next(state);

		memcpy(p + i, &r, len - i < 8 ? len - i : 8);
	}
}

static inline void fill_half(unsigned char *p, uint64_t *state)
{
	size_t at = 0;

	while (at < PAGE) {
		size_t noise = 8 + random_next(state) % 48, copy = 12 + random_next(state) % 56, from;

		noise = noise < PAGE - at ? noise : PAGE - at;
		fill_noise(p + at, noise, state);
		at += noise;
		from = random_next(state) % at;
		for (size_t i = 0; i < copy && at < PAGE; i++)
			p[at++] = p[from + i];
	}
}

static inline void fill_text(unsigned char *p, uint64_t *state)
{
	static const char *const words[] = { "the ", "page ", "of ", "memory ", "is ", "swapped ", "and ", "a ", "fault ",
					     "when ",
					     "returns ", "with ", "kernel ", "table, ", "entry. ", "in ", "which ", "process ", "to ",
					     "address ", "under ", "its ", "mapping ", "for ", "every ", "that\n" };
	size_t at = 0;

	while (at < PAGE) {
		uint64_t r = random_next(state);
		char number[24];
		const char *w = words[r % (sizeof(words) / sizeof(words[0]))];

		if (r >> 32 & 1) { /* names and numbers: what real text has and word lists have not */
			snprintf(number, sizeof(number), "%c%c%c%c%c ", (int)('a' + (r >> 33) % 26), (int)('a' + (r >> 38) % 26),
				 (int)('a' + (r >> 43) % 26), (int)('a' + (r >> 48) % 26), (int)('a' + (r >> 53) % 26));
			w = number;
		}
		for (; *w && at < PAGE; w++)
			p[at++] = (unsigned char)*w;
	}
}

static inline void page_make(unsigned char *p, enum page_kind kind, uint64_t number)
{
	uint64_t state = number * 0x2545f4914f6cdd1du + (uint64_t)kind, word;

	switch (kind) {
	case PAGE_ZERO:
		memset(p, 0, PAGE);
		break;
	case PAGE_FILLED:
		word = random_next(&state);
		for (size_t i = 0; i < PAGE; i += 8)
			memcpy(p + i, &word, 8);
		break;
	case PAGE_HALF:
		fill_half(p, &state);
		break;
	case PAGE_TEXT:
		fill_text(p, &state);
		break;
	case PAGE_NUMBERS:
		word = number << 32;
		for (size_t i = 0; i < PAGE; i += 8) {
			word += random_next(&state) % 1000;
			memcpy(p + i, &word, 8);
		}
		break;
	case PAGE_SPARSE:
		memset(p, 0, PAGE);
		for (int i = 0; i < 12; i++) {
			word = random_next(&state);
			memcpy(p + word % 511 * 8, &word, 8);
		}
		break;
	case PAGE_NOISE:
	case NR_PAGE_KINDS:
		fill_noise(p, PAGE, &state);
		break;
	}
}

#endif
