/* SPDX-License-Identifier: MIT
 *
 * spill.c - segments, buffers and windows; see spill.h.
 *
 * Considered and rejected: a thread for the I/O in the program's address space (each UFFDIO_MOVE would interrupt its processor); the command as
 * the file's owner (a read would cost two switches between processes, a daemon outlives the command, and a forked child would have
 * to be made known to it); one file for each process (a fork would copy it).
 */
#include <string.h>
#include <time.h>

#include "mm/errno.h"
#include "swap/spill.h"

#define AGAIN_NS  1000000000ULL /* between two tries of a write that failed */
#define MOVES     3u            /* other parts of the file that are tried at once */
#define NEAR      (16u << 10)   /* a read so near to what a window holds continues it */
#define GROWTH    4u

static uint64_t now_ns(void)
{
	struct timespec t = { 0, 0 };

	sys_call2(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static size_t round_grain(size_t n)
{
	return (n + SPILL_GRAIN - 1) & ~(size_t)(SPILL_GRAIN - 1);
}

/* ---- entries ----------------------------------------------------------------------------------------------------- */

static uint32_t entry_take(struct spill *s)
{
	uint32_t e = s->free;
	uint64_t n;

	if (e)
		s->free = s->segment[e].next;
	else if (s->fresh < s->nr_segments)
		e = s->fresh++;
	else
		return 0;
	add(&s->segments, 1);
	n = atomic_load_explicit(&s->segments, memory_order_relaxed);
	if (n > atomic_load_explicit(&s->segments_peak, memory_order_relaxed))
		atomic_store_explicit(&s->segments_peak, n, memory_order_relaxed);
	return e;
}

static void entry_release(struct spill *s, uint32_t e)
{
	struct spill_segment *g = &s->segment[e];

	share_drop(&s->share, g->where);
	*g = (struct spill_segment){ .next = s->free };
	s->free = e;
	add(&s->segments, -1);
}

void spill_forget(struct spill *s, uint32_t segment, uint32_t units)
{
	struct spill_segment *g = &s->segment[segment];

	g->live = (uint16_t)(g->live - units);
	if (!g->live && !g->buffer)
		entry_release(s, segment);
}

void spill_free(struct spill *s, uint32_t block, uint32_t index, uint32_t len)
{
	lock_take(&s->lock);
	spill_forget(s, block >> 3, spill_units(len));
	add(&s->objects, -1);
	add(&s->bytes, -(uint64_t)len);
	lock_drop(&s->lock);
}

/* ---- who may -------------------------------------------------------------------------------------------------------- */

void spill_thread(struct spill *s, bool alone)
{
	for (unsigned i = 0; alone && i < SPILL_THREADS; i++)
		atomic_store(&s->thread[i], 0);
	for (unsigned i = 0; i < SPILL_THREADS; i++) {
		long nobody = 0;

		if (atomic_compare_exchange_strong(&s->thread[i], &nobody, sys_gettid()))
			return;
	}
}

static bool may_do_io(const struct spill *s)
{
	const long me = sys_gettid();

	for (unsigned i = 0; i < SPILL_THREADS; i++) {
		long thread = atomic_load_explicit(&s->thread[i], memory_order_relaxed);

		if (thread == me || !thread)
			return thread == me;
	}
	return false;
}

/* ---- writing; all locked ----------------------------------------------------------------------------------------- */

static void write_rest(struct spill *s, struct spill_buffer *b)
{
	const struct spill_segment *g = &s->segment[b->segment];

	b->state = BUFFER_WRITING;
	spill_io_write(&s->io, (unsigned)(b - s->buffer), b->bytes + b->done, b->len - b->done, g->where * SPILL_SEGMENT + b->done);
}

static void written(struct spill *s, struct spill_buffer *b)
{
	struct spill_segment *g = &s->segment[b->segment];

	add(&s->bytes_out, b->len);
	g->buffer = 0;
	b->state = BUFFER_FREE;
	b->moves = 0;
	if (!g->live)
		entry_release(s, b->segment);
}

/* A bad spot, perhaps, or one that the disk below has no room for (a file with holes, a thin device): another part of the file. The bad one stays
 * taken. => false: there is none, or enough were tried */
static bool move_on(struct spill *s, struct spill_buffer *b, int err)
{
	const uint32_t before = s->segment[b->segment].where;
	uint32_t where;

	if ((err != -EIO && err != -ENOSPC) || b->moves >= MOVES)
		return false;
	where = share_take(&s->share, 0);
	if (!where)
		return false;
	s->segment[b->segment].where = where;
	if (err == -ENOSPC)
		share_drop(&s->share, before); /* there may be room later */
	b->moves++;
	b->done = 0;
	write_rest(s, b);
	return true;
}

static void failed(struct spill *s, struct spill_buffer *b, int err)
{
	add(&s->write_errors, 1);
	if (spill_io_otherwise(&s->io, err)) {
		write_rest(s, b);
		return;
	}
	if (move_on(s, b, err))
		return;
	b->state = BUFFER_WAITING;
	b->again = now_ns() + AGAIN_NS;
	if (s->segment[b->segment].live)
		return;
	/* Nobody wants it any more. */
	s->segment[b->segment].buffer = 0;
	b->state = BUFFER_FREE;
	entry_release(s, b->segment);
}

static void ended(struct spill *s, struct spill_buffer *b, int result)
{
	size_t n = result > 0 ? (size_t)result & ~(size_t)(SPILL_GRAIN - 1) : 0;

	if (result < 0) {
		failed(s, b, result);
	} else if (b->done + (size_t)result >= b->len) {
		written(s, b);
	} else if (!n) {
		failed(s, b, -ENOSPC); /* neither an error nor any progress */
	} else {
		b->done += n;
		write_rest(s, b);
	}
}

void spill_reap(struct spill *s, bool wait)
{
	unsigned tag;
	int result;

	while (spill_io_done(&s->io, wait, &tag, &result)) {
		wait = false;
		ended(s, &s->buffer[tag], result);
	}
}

bool spill_under_way(const struct spill *s)
{
	for (unsigned i = 0; i < s->nr_buffers; i++)
		if (s->buffer[i].state == BUFFER_WRITING)
			return true;
	return false;
}

void spill_try_again(struct spill *s, bool at_once)
{
	for (unsigned i = 0; i < s->nr_buffers; i++) {
		struct spill_buffer *b = &s->buffer[i];

		if (b->state != BUFFER_WAITING || (!at_once && now_ns() < b->again))
			continue;
		b->done = 0;
		b->moves = 0;
		write_rest(s, b);
		if (!at_once)
			return; /* one tells whether it is any better */
	}
}

static struct spill_buffer *free_buffer(struct spill *s)
{
	for (unsigned i = 0; i < s->nr_buffers; i++)
		if (s->buffer[i].state == BUFFER_FREE)
			return &s->buffer[i];
	return NULL;
}

struct spill_buffer *spill_begin(struct spill *s, uint32_t keep, int *err)
{
	struct spill_buffer *b;
	uint32_t where, e;

	spill_reap(s, false);
	spill_try_again(s, false);
	*err = -EIO;
	if (s->lost || !spill_io_usable(&s->io) || !may_do_io(s))
		return NULL;
	b = free_buffer(s);
	if (!b) {
		*err = spill_under_way(s) ? -EAGAIN : -EIO;
		return NULL;
	}
	*err = -ENOSPC;
	where = share_take(&s->share, keep);
	e = where ? entry_take(s) : 0;
	if (!e) {
		share_drop(&s->share, where);
		return NULL;
	}
	s->segment[e] = (struct spill_segment){ .where = where, .buffer = (uint8_t)(b - s->buffer + 1) };
	b->segment = e;
	b->state = BUFFER_FILLING;
	b->touched = true;
	return b;
}

void spill_write(struct spill *s, struct spill_buffer *b, uint32_t end, uint32_t nr)
{
	struct spill_segment *g = &s->segment[b->segment];

	if (!nr) {
		g->buffer = 0;
		b->state = BUFFER_FREE;
		entry_release(s, b->segment);
		return;
	}
	memcpy(b->bytes + end * SPILL_UNIT, s->owner, nr * sizeof(s->owner[0]));
	g->end = (uint16_t)end;
	g->owners = (uint16_t)nr;
	g->generation = share_generation(&s->share);
	b->len = round_grain(end * SPILL_UNIT + nr * sizeof(s->owner[0]));
	b->done = 0;
	b->moves = 0;
	if (!s->plain)
		cipher_apply(&s->cipher, g->generation, 0, b->bytes, b->len);
	write_rest(s, b);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static int read_file(struct spill *s, uint32_t where, uint32_t from, uint32_t to, char *bytes)
{
	int err = may_do_io(s) ? spill_io_read(&s->io, bytes, to - from, where * SPILL_SEGMENT + from) : -EIO;

	if (err) {
		add(&s->read_errors, 1);
		atomic_store_explicit(&s->read_error, -err, memory_order_relaxed);
	} else {
		add(&s->bytes_in, to - from);
	}
	return err;
}

int spill_fetch(struct spill *s, uint32_t segment, struct spill_buffer *into)
{
	const struct spill_segment *g = &s->segment[segment];
	size_t len = round_grain(g->end * SPILL_UNIT + g->owners * sizeof(s->owner[0]));

	if (read_file(s, g->where, 0, (uint32_t)len, into->bytes)) {
		/* Nobody waits for these bytes: who does will be told. */
		atomic_store_explicit(&s->read_error, 0, memory_order_relaxed);
		return -EIO;
	}
	into->touched = true;
	if (!s->plain)
		cipher_apply(&s->cipher, g->generation, 0, into->bytes, len);
	return 0;
}

static bool holds(const struct spill *s, const struct spill_window *w)
{
	return !w->busy && w->generation && s->segment[w->segment].generation == w->generation && !s->segment[w->segment].buffer;
}

static struct spill_window *window_with(struct spill *s, uint32_t segment, uint32_t from, uint32_t to)
{
	for (unsigned i = 0; i < s->nr_windows; i++) {
		struct spill_window *w = &s->window[i];

		if (w->segment == segment && w->from <= from && to <= w->to && holds(s, w))
			return w;
	}
	return NULL;
}

static struct spill_window *window_for_new(struct spill *s)
{
	struct spill_window *oldest = NULL;

	for (unsigned i = 0; i < s->nr_windows; i++) {
		struct spill_window *w = &s->window[i];

		if (!w->busy && (!oldest || w->used < oldest->used))
			oldest = w;
	}
	return oldest;
}

static uint32_t content(const struct spill_segment *g)
{
	return (uint32_t)round_grain(g->end * SPILL_UNIT);
}

/* Does the reader come from this window? => 1 upwards, -1 downwards, 0 no. Who reads at random comes from one of them only by a chance of 1:100:
 * the end of a segment is reached by who has read to its very end. */
static int comes_from(const struct spill *s, const struct spill_window *w, uint32_t segment, uint32_t from, uint32_t to)
{
	if (!holds(s, w))
		return 0;
	if (w->segment == segment)
		return from >= w->to && from - w->to < NEAR ? 1 : to <= w->from && w->from - to < NEAR ? -1 : 0;
	/* Segments are read in the order in which they were written, or the other way round, wherever they are. */
	if (from < NEAR && w->to + SPILL_GRAIN > content(&s->segment[w->segment]))
		return 1;
	return to + NEAR > content(&s->segment[segment]) && !w->from ? -1 : 0;
}

/* To whole sectors. */
static void widen(const struct spill *s, uint32_t *from, uint32_t *to)
{
	*from = *from / s->io.grain * s->io.grain;
	*to = (*to + s->io.grain - 1) / s->io.grain * s->io.grain;
}

/* The object alone, or more of what lies in the reader's way: up to a whole window. */
static void choose_range(const struct spill *s, uint32_t segment, uint32_t *from, uint32_t *to)
{
	const uint32_t end = content(&s->segment[segment]);
	uint32_t size = 0;
	int way = 0;

	for (unsigned i = 0; i < s->nr_windows && !way; i++) {
		way = comes_from(s, &s->window[i], segment, *from, *to);
		size = (uint32_t)round_grain(s->window[i].to - s->window[i].from) * GROWTH;
	}
	widen(s, from, to);
	if (!way)
		return;
	size = size > s->window_size ? s->window_size : size;
	if (way > 0 && *to - *from < size)
		*to = *from + size < end ? *from + size : end;
	if (way < 0 && *to - *from < size)
		*from = *to > size ? *to - size : 0;
}

/* Locked; not while it reads. The window holds the object afterwards. => NULL: it can't be read */
static struct spill_window *window_read(struct spill *s, struct spill_window *w, uint32_t segment, uint32_t from, uint32_t to)
{
	const uint32_t where = s->segment[segment].where;
	uint32_t a = from, z = to;
	int err;

	choose_range(s, segment, &a, &z);
	w->busy = true;
	w->generation = 0;
	lock_drop(&s->lock);
	err = read_file(s, where, a, z, w->bytes);
	if (err) {
		/* Once more, and no more than is asked for: the trouble may be a neighbour's. */
		a = from;
		z = to;
		widen(s, &a, &z);
		err = read_file(s, where, a, z, w->bytes);
	}
	lock_take(&s->lock);
	w->busy = false;
	if (err)
		return NULL;
	atomic_store_explicit(&s->read_error, 0, memory_order_relaxed);
	w->segment = segment;
	w->generation = s->segment[segment].generation;
	w->from = a;
	w->to = z;
	return w;
}

/* Locked. => the window that holds it, or NULL */
static struct spill_window *find(struct spill *s, uint32_t segment, uint32_t from, uint32_t to)
{
	for (;;) {
		struct spill_window *w = window_with(s, segment, from, to);

		if (w)
			return w;
		w = window_for_new(s);
		if (w)
			return window_read(s, w, segment, from, to);
		lock_drop(&s->lock);
		sys_relax();
		lock_take(&s->lock);
	}
}

int spill_read(struct spill *s, uint32_t block, uint32_t index, uint32_t len, void *bytes)
{
	const uint32_t segment = block >> 3, from = ((block & 7) << 9 | index) * SPILL_UNIT;
	struct spill_segment *g = &s->segment[segment];
	struct spill_window *w = NULL;
	const char *at = NULL;
	uint64_t generation;

	lock_take(&s->lock);
	if (g->buffer) {
		at = s->buffer[g->buffer - 1].bytes + from;
	} else if (!s->lost && spill_io_usable(&s->io)) {
		w = find(s, segment, from, from + len);
		at = w ? w->bytes + (from - w->from) : NULL;
	} else {
		atomic_store_explicit(&s->read_error, EIO, memory_order_relaxed);
	}
	if (w)
		w->used = ++s->turn;
	if (at)
		memcpy(bytes, at, len);
	generation = g->generation;
	lock_drop(&s->lock);
	if (!at)
		return -EIO;
	if (!s->plain)
		cipher_apply(&s->cipher, generation, from, bytes, len);
	add(&s->pages_in, 1);
	return 0;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static uint32_t segments_of(const struct swap_file *f)
{
	uint64_t n = f->bytes / SPILL_SEGMENT;

	return n > SPILL_MOST ? SPILL_MOST : (uint32_t)n;
}

/* Little memory: two buffers (emptying a segment needs two) and windows of half the size. */
static bool is_little(const struct swap_file *f)
{
	return f->memory < SPILL_BUFFERS * SPILL_SEGMENT + SPILL_WINDOWS * SPILL_WINDOW;
}

static size_t head_bytes(const struct swap_file *f)
{
	return round_grain(sizeof(struct spill)) + round_grain(segments_of(f) * sizeof(struct spill_segment));
}

size_t spill_bytes(const struct swap_file *f)
{
	return f->bytes ? head_bytes(f) + SPILL_BUFFERS * SPILL_SEGMENT + SPILL_WINDOWS * SPILL_WINDOW : 0;
}

int spill_init(struct spill *s, const struct swap_file *f, char *mem)
{
	char *bytes = mem + head_bytes(f);
	uint32_t member;

	if (f->bytes < SWAP_FILE_LEAST || !f->share)
		return -EINVAL;
	s->segment = (struct spill_segment *)(mem + round_grain(sizeof(*s)));
	s->nr_segments = segments_of(f);
	s->fresh = 1;
	s->plain = f->plain;
	s->io.fd = -1;
	s->io.map = f->map;
	s->io.trouble = f->trouble;
	s->no_ring = f->no_ring;
	s->nr_buffers = is_little(f) ? 2 : SPILL_BUFFERS;
	s->nr_windows = is_little(f) ? 2 : SPILL_WINDOWS;
	s->window_size = is_little(f) ? SPILL_WINDOW / 2 : SPILL_WINDOW;
	for (unsigned i = 0; i < SPILL_BUFFERS; i++, bytes += SPILL_SEGMENT)
		s->buffer[i].bytes = bytes;
	for (unsigned i = 0; i < SPILL_WINDOWS; i++, bytes += SPILL_WINDOW)
		s->window[i].bytes = bytes;
	/* The key is here: neither in a core dump nor, if the limits allow, in the host's swap. */
	sys_madvise((unsigned long)s, SPILL_GRAIN, MADV_DONTDUMP);
	sys_call2(SYS_mlock, (long)s, SPILL_GRAIN);
	s->share = (struct share_view){ f->share, s->nr_segments, SHARE_NOBODY };
	member = share_invite(&s->share);
	if (member == SHARE_NOBODY)
		return -EAGAIN;
	s->invited = member;
	return s->plain ? 0 : cipher_init(&s->cipher);
}

size_t spill_touched(const struct spill *s)
{
	size_t bytes = round_grain(sizeof(*s)) + round_grain(s->fresh * sizeof(s->segment[0]));

	for (unsigned i = 0; i < s->nr_buffers; i++)
		bytes += s->buffer[i].touched ? SPILL_SEGMENT : 0;
	for (unsigned i = 0; i < s->nr_windows; i++)
		bytes += s->window[i].used ? s->window_size : 0;
	/* Of what is shared with other processes: this one's names, and who names what. */
	return bytes + round_grain(s->fresh / 8) + round_grain(s->fresh * sizeof(uint32_t)) + SPILL_GRAIN;
}
