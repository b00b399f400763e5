/* SPDX-License-Identifier: MIT
 *
 * size.c - sizes as people write them.
 */
#include "cmd/size.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* => the power of 1024 that the suffix means, or -1 */
static int suffix_power(const char *s)
{
	static const char letters[] = "KMGT";
	const char *at;

	if (*s == '\0')
		return 0;
	at = strchr(letters, *s >= 'a' && *s <= 'z' ? *s - 'a' + 'A' : *s);
	if (!at)
		return -1;
	s++;
	if (*s == '\0' || strcmp(s, "B") == 0 || strcmp(s, "iB") == 0)
		return (int)(at - letters) + 1;
	return -1;
}

int size_parse(const char *text, uint64_t *bytes)
{
	const char *s = text;
	uint64_t whole = 0, fraction = 0, scale = 1, unit, total;
	int power;

	if (*s < '0' || *s > '9')
		return -EINVAL; /* a sign, a space, a bare suffix, nothing at all */
	for (; *s >= '0' && *s <= '9'; s++)
		/* Saturates: what is out of range anyway stays so. */
		whole = whole > SIZE_LARGEST ? whole : whole * 10 + (uint64_t)(*s - '0');
	if (*s == '.') {
		s++;
		if (*s < '0' || *s > '9')
			return -EINVAL;
		for (; *s >= '0' && *s <= '9'; s++) {
			if (scale >= 1000000)
				continue; /* finer than a page even of a T; 10^6 * 2^40 fits 64 bits */
			fraction = fraction * 10 + (uint64_t)(*s - '0');
			scale *= 10;
		}
	}
	power = suffix_power(s);
	if (power < 0)
		return -EINVAL;
	unit = 1ULL << (10 * power);
	if (whole > SIZE_LARGEST / unit)
		return -ERANGE;
	total = whole * unit + fraction * unit / scale;
	if (total == 0)
		return -EDOM;
	if (total > SIZE_LARGEST)
		return -ERANGE;
	*bytes = total;
	return 0;
}

const char *size_format(char buf[SIZE_TEXT], uint64_t bytes)
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB" };
	double value = (double)bytes;
	unsigned i = 0;

	for (; value >= 1024 && i < 4; i++)
		value /= 1024;
	snprintf(buf, SIZE_TEXT, i ? "%.1f %s" : "%.0f %s", value, units[i]);
	return buf;
}
