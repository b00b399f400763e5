/* SPDX-License-Identifier: MIT
 * swap_check.c - see swap_check.h. Own arithmetic throughout: nothing of zpool.c is called. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/unit/swap/swap_check.h"

#define CHECK(cond, ...)                                                    \
	do {                                                                \
		if (!(cond)) {                                              \
			fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #cond); \
			fprintf(stderr, __VA_ARGS__);                       \
			fputc('\n', stderr);                                \
			abort();                                            \
		}                                                           \
	} while (0)

struct sums {
	uint64_t objects[ZCLASSES], bytes[ZCLASSES], blocks[ZCLASSES], same, pages, out_of_class, mailed, filed, filed_bytes;
	uint16_t *live; /* units, by segment; NULL: no file */
};

static char *object_start(const struct swap_pool *p, uint32_t block, uint32_t index)
{
	return p->zpool.base + block * ZBLOCK_STRIDE + (size_t)index * p->zpool.class[p->zpool.blocks[block].class].size;
}

static uint32_t owner(const struct swap_pool *p, uint32_t block, uint32_t index)
{
	const struct zblock *b = &p->zpool.blocks[block];
	uint32_t o;

	if (b->class == ZCLASS_RAW)
		return p->zpool.raw_owner[block][index];
	memcpy(&o, object_start(p, block, index), sizeof(o));
	return o;
}

/* An object of a segment that is in use, inside of it; segments are added up and compared by check_file(). */
static void check_filed(const struct swap_pool *p, unsigned long nr, struct sums *sum)
{
	const struct slot *s = &p->slots[nr];
	const uint32_t segment = s->block >> 3, unit = (s->block & 7) << 9 | SLOT_INDEX(s->state), len = SLOT_LEN(s->state);

	CHECK(p->spill && segment > 0 && segment < p->spill->fresh && p->spill->segment[segment].where, "slot %lu: segment %u", nr, segment);
	CHECK(len > 0 && len <= ZPAGE && unit + (len + 63) / 64 <= p->spill->segment[segment].end, "slot %lu: %u bytes at unit %u", nr, len, unit);
	sum->filed++;
	sum->filed_bytes += len;
	sum->live[segment] = (uint16_t)(sum->live[segment] + (len + 63) / 64);
}

/* Each segment counts what slots name of it, and is named in the shared table; nothing else is. */
static void check_file(const struct swap_pool *p, const struct swap_pool_stats *st, const struct sums *sum)
{
	const struct spill *s = p->spill;
	uint64_t used = 0, waiting = 0;

	for (uint32_t e = 1; e < s->fresh; e++) {
		const struct spill_segment *g = &s->segment[e];

		CHECK(g->live == sum->live[e], "segment %u: %u units, %u counted", e, g->live, sum->live[e]);
		CHECK(!g->where == (!g->live && !g->buffer), "segment %u: where %u, live %u", e, g->where, g->live);
		if (!g->where)
			continue;
		CHECK(s->share.share->refs[g->where] >= 1, "segment %u: nobody's", e);
		if (g->buffer)
			CHECK(s->buffer[g->buffer - 1].segment == e && s->buffer[g->buffer - 1].state != BUFFER_FREE, "segment %u: buffer", e);
		used++;
	}
	for (unsigned i = 0; i < s->nr_buffers; i++)
		waiting += s->buffer[i].state == BUFFER_WAITING;
	CHECK(st->file_pages == sum->filed && st->file_stored == sum->filed_bytes, "%lu pages in the file", (unsigned long)st->file_pages);
	CHECK(st->file_bytes == used * SPILL_SEGMENT, "%lu segments", (unsigned long)used);
	CHECK(s->share.share->used >= used && (st->file_write_errors || s->share.share->members > 1 || s->share.share->used == used), "%u segments taken, %lu used",
	      s->share.share->used, (unsigned long)used);
	CHECK(!waiting || st->file_write_errors, "a write waits without an error");
}

static void check_slot(const struct swap_pool *p, unsigned long nr, struct sums *sum)
{
	const struct slot *s = &p->slots[nr];
	uint32_t state = s->state, kind = SLOT_KIND(state), index = SLOT_INDEX(state), len = SLOT_LEN(state), class;

	CHECK(!(state & (SLOT_PIN | SLOT_WAIT)), "slot %lu is pinned", nr);
	if (kind == SLOT_SAME)
		sum->same++;
	if (kind == SLOT_MAILED) {
		CHECK(s->block < p->mail.nr && p->mail.owner[s->block] == nr, "slot %lu: not in entry %u", nr, s->block);
		sum->mailed++;
	}
	if (kind == SLOT_FILED)
		check_filed(p, nr, sum);
	if (kind < SLOT_PACKED)
		return;
	CHECK(s->block > 0 && s->block < p->zpool.fresh, "slot %lu: block %u", nr, s->block);
	class = p->zpool.blocks[s->block].class;
	CHECK(p->zpool.blocks[s->block].group <= ZGROUP_FULL, "slot %lu: block %u is in no class", nr, s->block);
	CHECK(index < p->zpool.blocks[s->block].fresh, "slot %lu: index %u", nr, index);
	CHECK(owner(p, s->block, index) == nr, "slot %lu: its object belongs to %u", nr, owner(p, s->block, index));
	CHECK((kind == SLOT_RAW) == (class == ZCLASS_RAW), "slot %lu: kind %u in class %u", nr, kind, class);
	CHECK(len > 0 && len <= (kind == SLOT_RAW ? ZPAGE : ZPACKED_MAX), "slot %lu: %u bytes", nr, len);
	CHECK(len + (kind == SLOT_RAW ? 0 : ZOWNER) <= p->zpool.class[class].size, "slot %lu: %u bytes in class %u", nr, len,
	      class);
	sum->objects[class]++;
	sum->bytes[class] += len;
}

static void check_block(const struct swap_pool *p, uint32_t nr, struct sums *sum)
{
	const struct zblock *b = &p->zpool.blocks[nr];
	const struct zclass *c = &p->zpool.class[b->class];
	uint32_t used = 0, freed = 0;
	uint16_t link = b->free;

	if (b->group == ZGROUP_UNUSED) {
		sum->out_of_class++;
		return;
	}
	CHECK(b->class < p->zpool.nr_classes && b->fresh <= c->n,
	      "block %u: class %u, %u of %u", nr, b->class, b->fresh, c->n);
	for (uint32_t i = 0; i < b->fresh; i++)
		used += owner(p, nr, i) != 0;
	for (; link; freed++) {
		CHECK(link <= b->fresh && owner(p, nr, link - 1u) == 0 && freed < c->n, "block %u: free list at %u", nr, link);
		memcpy(&link, object_start(p, nr, link - 1u) + c->owner_bytes, sizeof(link));
	}
	CHECK(used == b->used && used > 0, "block %u: %u objects, %u counted", nr, used, b->used);
	CHECK(used + freed == b->fresh, "block %u: %u used, %u free of %u", nr, used, freed, b->fresh);
	CHECK(b->group == (used == c->n ? ZGROUP_FULL : used * ZGROUPS / c->n),
	      "block %u: group %u for %u of %u", nr, b->group, used, c->n);
	sum->blocks[b->class]++;
	sum->pages += c->pages;
}

/* Each block of a group is in its list, once; with the counts of check_block() that makes the lists complete. */
static void check_lists(const struct swap_pool *p, uint32_t class)
{
	const struct zclass *c = &p->zpool.class[class];
	uint64_t listed = 0, full = 0;

	for (uint32_t g = 0; g < ZGROUPS; g++) {
		uint32_t prev = 0;

		for (uint32_t b = c->group[g]; b; prev = b, b = p->zpool.blocks[b].next, listed++) {
			CHECK(p->zpool.blocks[b].group == g && p->zpool.blocks[b].class == class, "block %u in a list not its own", b);
			CHECK(p->zpool.blocks[b].prev == prev, "block %u: prev", b);
			CHECK(listed < p->zpool.fresh, "class %u: a list without end", class);
		}
	}
	for (uint32_t b = 1; b < p->zpool.fresh; b++)
		full += p->zpool.blocks[b].class == class && p->zpool.blocks[b].group == ZGROUP_FULL;
	CHECK(listed + full == c->blocks, "class %u: %lu listed, %lu full of %u", class, (unsigned long)listed,
	      (unsigned long)full, c->blocks);
}

static void check_unused(const struct swap_pool *p, struct sums *sum)
{
	uint64_t unused = 0, reserve = 0;

	for (uint32_t b = p->zpool.unused; b; b = p->zpool.blocks[b].next, unused++)
		CHECK(p->zpool.blocks[b].group == ZGROUP_UNUSED && unused < p->zpool.fresh, "unused block %u", b);
	for (uint32_t k = 1; k <= ZBLOCK_PAGES; k++) {
		for (uint32_t b = p->zpool.reserve[k]; b; b = p->zpool.blocks[b].next, reserve++) {
			CHECK(p->zpool.blocks[b].group == ZGROUP_UNUSED && reserve <= ZRESERVE, "reserve block %u", b);
			sum->pages += k;
		}
	}
	CHECK(reserve == p->zpool.nr_reserve, "reserve %lu", (unsigned long)reserve);
	CHECK(unused + reserve == sum->out_of_class, "%lu blocks out of class, %lu unused, %lu in reserve",
	      (unsigned long)sum->out_of_class, (unsigned long)unused, (unsigned long)reserve);
}

void swap_check(const struct swap_pool *p)
{
	struct sums *sum = calloc(1, sizeof(*sum));
	struct swap_pool_stats s;
	uint64_t objects = 0, bytes = 0;

	CHECK(sum, "no memory");
	if (p->spill)
		sum->live = calloc(p->spill->nr_segments, sizeof(*sum->live));
	for (unsigned long nr = 1; nr <= p->highest; nr++)
		check_slot(p, nr, sum);
	for (uint32_t b = 1; b < p->zpool.fresh; b++)
		check_block(p, b, sum);
	check_unused(p, sum);
	for (uint32_t c = 0; c < p->zpool.nr_classes; c++) {
		check_lists(p, c);
		CHECK(p->zpool.class[c].objects == sum->objects[c], "class %u: %lu objects", c, (unsigned long)sum->objects[c]);
		CHECK(p->zpool.class[c].bytes == sum->bytes[c], "class %u: %lu bytes", c, (unsigned long)sum->bytes[c]);
		CHECK(p->zpool.class[c].blocks == sum->blocks[c], "class %u: %lu blocks", c, (unsigned long)sum->blocks[c]);
		objects += sum->objects[c];
		bytes += sum->bytes[c];
	}
	swap_pool_stats(p, &s);
	CHECK(s.same_filled == sum->same, "%lu same-filled", (unsigned long)sum->same);
	CHECK(s.slots_used == sum->same + objects + sum->mailed + sum->filed, "%lu slots used", (unsigned long)s.slots_used);
	CHECK(s.incompressible == sum->objects[ZCLASS_RAW], "%lu raw", (unsigned long)s.incompressible);
	CHECK(s.bytes_stored == bytes + sum->mailed * ZPAGE, "%lu bytes stored, %lu counted", (unsigned long)bytes, (unsigned long)s.bytes_stored);
	CHECK(s.bytes_pool == (sum->pages + sum->mailed) * ZPAGE, "%lu pages", (unsigned long)sum->pages);
	CHECK(p->zpool.promised == sum->mailed * ZBLOCK_PAGES, "%lu mailed, %lu pages promised", (unsigned long)sum->mailed,
	      (unsigned long)p->zpool.promised);
	CHECK(s.bytes_pool_peak >= s.bytes_pool, "peak %lu", (unsigned long)s.bytes_pool_peak);
	if (p->spill)
		check_file(p, &s, sum);
	free(sum->live);
	free(sum);
}

size_t swap_resident(const char *from, size_t len)
{
	static unsigned char vec[1 << 16];
	size_t pages = 0;

	while (len) {
		size_t step = len < sizeof(vec) * ZPAGE ? len : sizeof(vec) * ZPAGE;

		CHECK(mincore((void *)(uintptr_t)from, step, vec) == 0, "mincore");
		for (size_t i = 0; i < step / ZPAGE; i++)
			pages += vec[i] & 1;
		from += step;
		len -= step;
	}
	return pages;
}

size_t swap_resident_blocks(const struct swap_pool *p)
{
	return swap_resident(p->zpool.base, p->zpool.fresh * ZBLOCK_STRIDE);
}

size_t swap_resident_meta(const struct swap_pool *p)
{
	return swap_resident((const char *)p, (size_t)(p->zpool.base - (const char *)p));
}
