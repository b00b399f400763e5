/* SPDX-License-Identifier: MIT
 *
 * streams.c - is this fault the next step of somebody who walks through memory?
 *
 * A table of 16 walks per address space and kind of fault, so that several interleaved ones (matrix rows, merge sort, threads) are
 * all seen. A fault exactly where a walk was expected continues it, with twice the pages of the last time. A fault one page
 * below the start of a young walk turns it round; one near a walk (strided only) makes the distance its stride, to be confirmed by the next.
 * Anything else is isolated, gets one page, and replaces the entry that the hand points at.
 *
 * Ascending and descending windows end at multiples of their size: windows of 16 are then the clusters in which reclaim takes
 * the pages back, and blocks of the buddy allocator.
 *
 * Cost: one comparison for the walk that matched last, else 16.
 */
#include "mm/internal.h"

#define NEAR 64 /* pages within which a second fault may set a stride */

/* Pages from `page` on (in direction `stride`) up to the end of the aligned window of `size` around it. */
static unsigned aligned_window(unsigned long page, unsigned size, int stride)
{
	if (stride == 1)
		return size - (page & (size - 1));
	if (stride == -1)
		return (page & (size - 1)) + 1;
	return size;
}

static struct window advance(struct fault_stream *s, unsigned long page, unsigned max)
{
	struct window w = { .stride = s->stride, .stream = true };

	s->window = s->window * 2 < max ? s->window * 2 : max;
	w.nr = aligned_window(page, s->window, s->stride);
	s->last = page;
	s->expect = page + (long)w.nr * s->stride;
	return w;
}

static bool turn(struct fault_stream *s, unsigned long page, bool strided)
{
	long d = (long)(page - s->last);

	if (s->window != 1 || !d || d < -NEAR || d > NEAR)
		return false;
	if (d == -1) {
		s->stride = -1;
		return true;
	}
	if (strided) {
		s->stride = d;
		s->last = page;
		s->expect = page + d;
	}
	return false;
}

/* max: power of two. */
struct window stream_window(struct stream_table *table, unsigned long addr, unsigned max, bool strided)
{
	struct window w = { .nr = 1, .stride = 1, .stream = false };
	unsigned long page = addr >> PAGE_SHIFT;
	struct fault_stream *s;
	unsigned i;

	if (max <= 1)
		return w;
	spin_lock(&table->lock);
	s = &table->s[table->latest];
	if (s->expect != page || !s->window) {
		for (i = 0; i < NR_STREAMS; i++)
			if (table->s[i].expect == page && table->s[i].window)
				break;
		for (unsigned j = 0; i == NR_STREAMS && j < NR_STREAMS; j++) {
			unsigned long last = table->s[j].last;

			if (!table->s[j].window || !turn(&table->s[j], page, strided)) {
				if (table->s[j].window && table->s[j].last != last) {
					table->latest = j; /* its stride was set by this fault */
					goto out;
				}
				continue;
			}
			i = j;
		}
		if (i == NR_STREAMS) {
			table->latest = table->hand;
			table->hand = (table->hand + 1) % NR_STREAMS;
			table->s[table->latest] = (struct fault_stream){ .expect = page + 1, .last = page, .stride = 1, .window = 1 };
			goto out;
		}
		table->latest = i;
		s = &table->s[i];
	}
	w = advance(s, page, max);
out:
	spin_unlock(&table->lock);
	return w;
}
