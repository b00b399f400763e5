/* SPDX-License-Identifier: MIT
 *
 * streams.c - is this fault the next step of somebody who walks through memory?
 *
 *      isolated fault --> young ring --next page, or the one before--> walk, window 2 --each further fault--> 4, 8, ... max
 *                                    --some pages away (strided)-----> walk, window 1, to be confirmed by the third fault
 *
 * 16 walks and 16 young faults per address space and kind of fault, so that interleaved walks (matrix rows, merge sort,
 * threads) are all seen, and isolated faults push out each other, not the walks.
 *
 * A fault continues a walk when it lies behind the walk's last fault and not beyond the end of the window that this one
 * asked for. It need not lie at that end, for the window may have been cut short (no frames, the end of the mapping or
 * of the table); and where the end is a page that stands already, the caller says by stream_reach() which page will be
 * the next to fault. So a walk outlives whatever its windows really brought.
 *
 * Ascending and descending windows end at multiples of their size: windows of 16 are then the clusters in which reclaim takes
 * the pages back, and blocks of the buddy allocator.
 *
 * Page numbers are kept modulo 2^32: a walk may be mistaken for one 16 TiB away, which costs a window. Cost: one
 * comparison for the walk that matched last, else 32, which fit into vector registers.
 */
#include "mm/internal.h"

#define NEAR  64          /* pages within which a second fault may set a stride */
#define NEVER 0x80000000u /* fill of empty places */

void stream_table_init(struct stream_table *table)
{
	spin_lock_init(&table->lock, ORDER_LEAF);
	table->latest = table->hand = table->young_hand = 0;
	for (unsigned i = 0; i < NR_STREAMS; i++) {
		table->young[i] = table->from[i] = NEVER;
		table->reach[i] = 0;
		table->s[i] = (struct fault_stream){ .window = 0 };
	}
}

/* Pages from `page` on (in direction `stride`) up to the end of the aligned window of `size` around it. */
static unsigned aligned_window(unsigned long page, unsigned size, int stride)
{
	if (stride == 1)
		return size - (page & (size - 1));
	if (stride == -1)
		return (page & (size - 1)) + 1;
	return size;
}

/* The next fault of walk i is expected 1..pages beyond `page`, in its direction. */
static void expect(struct stream_table *table, unsigned i, unsigned long page, unsigned pages)
{
	table->from[i] = table->s[i].stride > 0 ? (uint32_t)page + 1 : (uint32_t)page - pages;
	table->reach[i] = pages - 1;
	table->s[i].last = (uint32_t)page;
}

static struct window advance(struct stream_table *table, unsigned i, unsigned long page, unsigned max)
{
	struct fault_stream *s = &table->s[i];
	struct window w = { .stride = s->stride, .stream = true };
	unsigned step = s->stride < 0 ? -s->stride : s->stride;

	s->window = s->window * 2 < max ? s->window * 2 : max;
	s->used = true;
	w.nr = aligned_window(page, s->window, s->stride);
	expect(table, i, page, w.nr * step);
	table->latest = w.walk = i;
	return w;
}

static bool continues(const struct stream_table *table, unsigned i, uint32_t page)
{
	const struct fault_stream *s = &table->s[i];

	if (page - table->from[i] > table->reach[i] || !s->window)
		return false;
	if (s->stride == 1 || s->stride == -1)
		return true;
	return s->window == 1 ? page == s->last + (uint32_t)s->stride : (int32_t)(page - s->last) % s->stride == 0;
}

typedef uint32_t v4 __attribute__((vector_size(16), aligned(4), may_alias));
typedef uint64_t v2 __attribute__((vector_size(16)));

/* Is page one of from[i] .. from[i] + reach, for any i? `reach` by walk, or NULL: then all have `same`. Four at a
 * time. */
static inline bool within_any(const uint32_t *from, const uint32_t *reach, uint32_t same, uint32_t page)
{
	v4 any = { 0 }, most = { same, same, same, same };
	v2 both;

	for (unsigned i = 0; i < NR_STREAMS; i += 4) {
		if (reach)
			most = *(const v4 *)(reach + i);
		any |= (v4)(page - *(const v4 *)(from + i) <= most);
	}
	both = (v2)any;
	return both[0] | both[1];
}

/* A place for a new walk: walks that were continued since the hand's last round stay. */
static unsigned replace(struct stream_table *table)
{
	while (table->s[table->hand].used) {
		table->s[table->hand].used = false;
		table->hand = (table->hand + 1) % NR_STREAMS;
	}
	table->hand = (table->hand + 1) % NR_STREAMS;
	return (table->hand + NR_STREAMS - 1) % NR_STREAMS;
}

static unsigned new_walk(struct stream_table *table, int stride)
{
	unsigned i = replace(table);

	table->s[i] = (struct fault_stream){ .stride = stride, .window = 1 };
	return i;
}

/* The walk that the fault continues, or NR_STREAMS. */
static unsigned find_walk(const struct stream_table *table, uint32_t page)
{
	unsigned i;

	if (continues(table, table->latest, page))
		return table->latest;
	if (likely(!within_any(table->from, table->reach, 0, page)))
		return NR_STREAMS;
	for (i = 0; i < NR_STREAMS; i++)
		if (continues(table, i, page))
			break;
	return i;
}

/* The young fault that this one is `*d` pages away from, next to it if possible; or NR_STREAMS. */
static unsigned find_young(const struct stream_table *table, uint32_t page, bool strided, int *d)
{
	uint32_t near = strided ? NEAR : 1;
	unsigned found = NR_STREAMS;

	if (likely(!within_any(table->young, NULL, 2 * near, page + near)))
		return found;
	for (unsigned i = 0; i < NR_STREAMS; i++) {
		int32_t dist = (int32_t)(page - table->young[i]);

		if (!dist || dist < -(int32_t)near || dist > (int32_t)near)
			continue;
		*d = dist;
		found = i;
		if (dist == 1 || dist == -1)
			break;
	}
	return found;
}

/* The walk of window w, which began at addr, won't fault before `next`. */
void stream_reach(struct stream_table *table, const struct window *w, unsigned long addr, unsigned long next)
{
	unsigned long page = addr >> PAGE_SHIFT;
	long d = (long)((next >> PAGE_SHIFT) - page);

	spin_lock(&table->lock);
	if (table->s[w->walk].last == (uint32_t)page && table->s[w->walk].stride == w->stride)
		expect(table, w->walk, page, d < 0 ? -d : d);
	spin_unlock(&table->lock);
}

/* max: power of two. */
struct window stream_window(struct stream_table *table, unsigned long addr, unsigned max, enum stream_kind kind)
{
	struct window w = { .nr = 1, .stride = 1, .stream = false };
	unsigned long page = addr >> PAGE_SHIFT;
	unsigned i;
	int d;

	if (max <= 1)
		return w;
	spin_lock(&table->lock);
	i = find_walk(table, page);
	if (i == NR_STREAMS && kind == STREAM_SEQUENTIAL) { /* the program has said so: no need to find out */
		i = new_walk(table, 1);
		table->s[i].window = max;
	}
	if (i == NR_STREAMS) {
		unsigned young = find_young(table, page, kind == STREAM_STRIDED, &d);

		if (young == NR_STREAMS) {
			young = table->young_hand;
			table->young_hand = (young + 1) % NR_STREAMS;
			table->young[young] = page;
			goto out;
		}
		i = new_walk(table, d);
		if (d != 1 && d != -1) { /* the third fault will tell whether this is a stride */
			table->young[young] = page;
			expect(table, i, page, d < 0 ? -d : d);
			goto out;
		}
		table->young[young] = NEVER;
	}
	w = advance(table, i, page, max);
out:
	spin_unlock(&table->lock);
	return w;
}
