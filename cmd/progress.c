/* SPDX-License-Identifier: MIT
 *
 * progress.c - one live status line on standard error: written over the last one, erased in the end. On a terminal only while minflt is in its foreground.
 */
#include "cmd/progress.h"

#include <inttypes.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd/size.h"
#include "lib/tree.h"

#define PAGE 4096ULL
#define LONGEST 79

static struct {
	uint64_t ns, faults; /* of the last line */
	int width;           /* of what stands there; 0: nothing */
} shown;

static void put(const char *text, int len)
{
	struct pollfd out = { .fd = STDERR_FILENO, .events = POLLOUT };

	if (isatty(STDERR_FILENO) && tcgetpgrp(STDERR_FILENO) != getpgrp())
		return;
	if (poll(&out, 1, 0) == 1 && out.revents & POLLOUT && write(STDERR_FILENO, text, (size_t)len) < 0)
		shown.width = 0;
}

void progress_show(struct mf_control *c)
{
	const struct mf_tree *t = control_tree(c);
	const uint64_t now = tree_now_ns(), since = now - shown.ns;
	char resident[SIZE_TEXT], pool[SIZE_TEXT], ratio[32] = "-", text[LONGEST + 1], line[2 * LONGEST + 2];
	struct mf_counters sum;
	uint64_t faults;
	int len;

	if (since < PROGRESS_MS * 1000000ULL)
		return;
	tree_sum(c, &sum);
	faults = sum.mm.maj_flt + sum.mm.min_flt;
	if (sum.swap.bytes_stored && sum.swap.slots_used > sum.swap.same_filled)
		snprintf(ratio, sizeof(ratio), "%.2f", (double)((sum.swap.slots_used - sum.swap.same_filled) * PAGE) / (double)sum.swap.bytes_stored);
	len = snprintf(text, sizeof(text), "minflt: resident %s, pool %s, ratio %s, %.0f faults/s", size_format(resident, t->now[TREE_FRAMES]),
		       size_format(pool, t->now[TREE_POOL]), ratio,
		       shown.ns && faults > shown.faults ? (double)(faults - shown.faults) * 1e9 / (double)since : 0.0);
	len = len < LONGEST ? len : LONGEST;
	snprintf(line, sizeof(line), "\r%-*s", shown.width > len ? shown.width : len, text);
	shown.ns = now;
	shown.faults = faults;
	shown.width = len;
	put(line, (int)strlen(line));
}

void progress_erase(void)
{
	char line[LONGEST + 3];
	int width = shown.width;

	if (!width)
		return;
	shown.width = 0;
	snprintf(line, sizeof(line), "\r%*s\r", width, "");
	put(line, (int)strlen(line));
}
