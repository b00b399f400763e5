/* SPDX-License-Identifier: MIT
 *
 * same.c - pages that are one word over and over: zeros above all.
 */
#include "swap/codec.h"

#define WORDS (ZPAGE / sizeof(uint64_t))

/*
 * Most pages that are not same-filled differ between their first and last words, or soon after the first; those cost
 * one or two cache lines. A page that is costs one pass of 64 bytes a step.
 */
bool same_filled(const void *page, uint64_t *word)
{
	const uint64_t *p = page;
	uint64_t w = p[0];

	if (p[WORDS - 1] != w || p[WORDS / 2] != w)
		return false;
	for (size_t i = 0; i < WORDS; i += 8) {
		uint64_t d = 0;

		for (size_t j = 0; j < 8; j++)
			d |= p[i + j] ^ w;
		if (d)
			return false;
	}
	*word = w;
	return true;
}

void same_fill(void *page, uint64_t word)
{
	uint64_t *p = page;

	for (size_t i = 0; i < WORDS; i++)
		p[i] = word;
}
