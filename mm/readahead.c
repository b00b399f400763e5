/* SPDX-License-Identifier: MIT
 *
 * readahead.c - which pages of a file are read before anybody asks for them (fault-paths.md 3.6).
 *
 *      start                    start + size - async_size          start + size
 *      |------------------------M----------------------------------|
 *      the window that was read  the page with the mark: whoever meets it asks for the next window
 *
 *      request of r pages at index, at most m               window
 *      0, next to the last one, or r > m                    initial: s = pow2ceil(r); 4s if s <= m/32, 2s if s <= m/4, else m
 *      at the mark, or where the window ends                the next: 4 times as long below m/16, else twice, at most m
 *      at a mark of which the state says nothing            the next, from the first page on that isn't cached
 *      otherwise                                            just r pages
 *
 * The last page that was read (prev_pos) is what read(2) leaves behind; faults neither set it nor does a window begin with them by it.
 * A window whose own first page would carry the mark is joined with the next at once, or has its mark in the middle. What lies beyond the
 * last page of the file is not read; whether such a window has its mark see cuts_window().
 */
#include "mm/fault/fault.h"
#include "mm/page_tree.h"

#define BATCH 64 /* pages that are asked of the file at once */

struct read_batch {
	struct address_space *mapping;
	unsigned long first;
	unsigned nr, done; /* pages in it; read altogether */
	struct page *page[BATCH];
	void *bytes[BATCH];
};

static int read_pages(struct read_batch *b, unsigned i, unsigned nr)
{
	trace_fn(readpages, b->first + i, nr, page_to_pfn(b->page[i]));
	return b->mapping->a_ops->readpages(b->mapping->host, b->first + i, nr, &b->bytes[i]);
}

/* When the whole can't be read, page by page: only those that are bad stay without their bytes, for a fault to try again. */
static void batch_flush(struct read_batch *b)
{
	bool whole = b->nr && !read_pages(b, 0, b->nr);

	for (unsigned i = 0; i < b->nr; i++) {
		if (whole || !read_pages(b, i, 1)) {
			set_page_uptodate(b->page[i]);
			b->done++;
		} else {
			set_page_flags(b->page[i], PG_error);
		}
		unlock_page(b->page[i]);
		put_page(b->page[i]);
	}
	b->nr = 0;
}

/* => false: no memory */
static bool batch_add(struct read_batch *b, unsigned long index, bool mark)
{
	struct page *page = page_cache_alloc();
	int err;

	if (!page)
		return false;
	if (mark)
		set_page_flags(page, PG_readahead);
	err = add_to_page_cache_lru(page, b->mapping, index);
	if (err) {
		unlock_page(page);
		put_page(page);
		return err == -EEXIST;
	}
	if (!b->nr)
		b->first = index;
	b->page[b->nr] = page;
	b->bytes[b->nr++] = machine_frame(page_to_pfn(page));
	return true;
}

static bool page_is_cached(struct address_space *mapping, unsigned long index)
{
	const void *item;

	spin_lock(&mapping->tree_lock);
	item = page_tree_load(&mapping->i_pages, index);
	spin_unlock(&mapping->tree_lock);
	return item && !item_is_value(item);
}

#define NO_MARK ~0UL

static unsigned long mark_of(unsigned long start, unsigned long end, unsigned async)
{
	return async && async <= end - start ? end - async : NO_MARK;
}

/*
 * A window may go on behind the end of its file. 2.6 and 5.4 count its mark from the end of the window: most often nobody meets it. 5.15 cuts the
 * window first, and the mark lies in front of the end of the file. 6.x (for files that may have large folios: XFS, ext4 since 6.16) does as 5.4
 * until it meets a page that is there already; what is left from there on is a window of its own, and cut.
 */
static bool cuts_window(enum reuse_rule rule)
{
	return fault_path == &linux_5_path && mm_reuse_rule == rule;
}

unsigned do_page_cache_readahead(struct file *file, unsigned long start, unsigned nr, unsigned async)
{
	struct address_space *mapping = file->f_mapping;
	unsigned long mark = mark_of(start, start + nr, async), end;
	struct read_batch b = { .mapping = mapping };
	bool met_page = false;

	trace_fn(do_page_cache_readahead, start, nr, async);
	if (mapping->flags & MAPPING_ANON)
		return 0;
	down_read(&mapping->invalidate_lock);
	end = min_ul(start + nr, i_pages_end(mapping));
	if (start < end && cuts_window(REUSE_5_15))
		mark = mark_of(start, end, async);
	for (unsigned long index = start; index < end; index++) {
		if (b.nr && (b.nr == BATCH || index != b.first + b.nr))
			batch_flush(&b);
		if (page_is_cached(mapping, index)) {
			if (!met_page && cuts_window(REUSE_6))
				mark = mark_of(index, end, async);
			met_page = true;
			continue;
		}
		if (!batch_add(&b, index, index == mark))
			break;
	}
	batch_flush(&b);
	up_read(&mapping->invalidate_lock);
	count(file_read, b.done);
	return b.done;
}

/* ---- windows ------------------------------------------------------------------------------------------------------------- */

static unsigned pow2ceil(unsigned n)
{
	return n > 1 ? 1u << (32 - __builtin_clz(n - 1)) : 1;
}

static unsigned init_window(unsigned r, unsigned max)
{
	unsigned s = pow2ceil(r);

	if (s <= max / 32)
		return 4 * s;
	if (s <= max / 4)
		return 2 * s;
	return max;
}

static unsigned next_window(unsigned cur, unsigned max)
{
	if (cur < max / 16)
		return 4 * cur;
	return cur <= max / 2 ? 2 * cur : max;
}

/* The state has no lock: two threads on one opening may spoil each other's guess, and nothing else. Each works on a copy. */
static struct file_ra_state ra_get(const struct file *file)
{
	const struct file_ra_state *ra = &file->f_ra;

	return (struct file_ra_state){
		.start = __atomic_load_n(&ra->start, __ATOMIC_RELAXED),
		.size = __atomic_load_n(&ra->size, __ATOMIC_RELAXED),
		.async_size = __atomic_load_n(&ra->async_size, __ATOMIC_RELAXED),
		.prev_pos = __atomic_load_n(&ra->prev_pos, __ATOMIC_RELAXED),
	};
}

static void ra_submit(struct file *file, const struct file_ra_state *w)
{
	__atomic_store_n(&file->f_ra.start, w->start, __ATOMIC_RELAXED);
	__atomic_store_n(&file->f_ra.size, w->size, __ATOMIC_RELAXED);
	__atomic_store_n(&file->f_ra.async_size, w->async_size, __ATOMIC_RELAXED);
	do_page_cache_readahead(file, w->start, w->size, w->async_size);
}

static void initial_window(struct file_ra_state *ra, unsigned long index, unsigned r, unsigned max)
{
	ra->start = index;
	ra->size = init_window(r, max);
	ra->async_size = ra->size > r ? ra->size - r : ra->size;
}

static void following_window(struct file_ra_state *ra, unsigned long start, unsigned cur, unsigned max)
{
	ra->start = start;
	ra->size = next_window(cur, max);
	ra->async_size = ra->size;
}

static unsigned long next_hole(struct address_space *mapping, unsigned long index, unsigned max)
{
	unsigned long hole;

	spin_lock(&mapping->tree_lock);
	hole = page_tree_next_hole(&mapping->i_pages, index, max);
	spin_unlock(&mapping->tree_lock);
	return hole;
}

static void ondemand_readahead(struct file *file, unsigned long index, unsigned r, bool mark)
{
	struct file_ra_state state = ra_get(file), *ra = &state;
	unsigned max = file->f_mapping->ra_pages;

	trace_fn(ondemand_readahead, index, r, mark);
	if (index && (index == ra->start + ra->size - ra->async_size || index == ra->start + ra->size)) {
		following_window(ra, ra->start + ra->size, ra->size, max);
	} else if (index && mark) {
		unsigned long hole = next_hole(file->f_mapping, index + 1, max);

		if (hole - index > max)
			return;
		following_window(ra, hole, hole - index + r, max);
	} else if (!index || r > max || index - ra->prev_pos <= 1) {
		initial_window(ra, index, r, max);
	} else {
		trace_why("neither sequential nor at a mark: only what was asked for", 0, 0);
		do_page_cache_readahead(file, index, r, 0);
		return;
	}
	/* A mark on the very page that is asked for would be met by this request itself. */
	if (index == ra->start && ra->size == ra->async_size) {
		unsigned more = next_window(ra->size, max);

		if (ra->size + more <= max) {
			ra->async_size = more;
			ra->size += more;
		} else {
			ra->size = max;
			ra->async_size = max / 2;
		}
	}
	ra_submit(file, ra);
}

void page_cache_sync_readahead(struct file *file, unsigned long index, unsigned nr)
{
	trace_fn(page_cache_sync_readahead, index, nr, 0);
	if (file->f_mapping->ra_pages)
		ondemand_readahead(file, index, nr, false);
}

void page_cache_async_readahead(struct file *file, struct page *page, unsigned long index, unsigned nr)
{
	trace_fn(page_cache_async_readahead, index, nr, page_to_pfn(page));
	if (!file->f_mapping->ra_pages)
		return;
	clear_page_flags(page, PG_readahead);
	ondemand_readahead(file, index, nr, true);
}

void page_cache_read_ahead(struct file *file, unsigned long index, unsigned nr)
{
	ra_submit(file, &(struct file_ra_state){ .start = index, .size = nr });
}

void page_cache_read_around(struct file *file, unsigned long index, unsigned ra_pages)
{
	ra_submit(file, &(struct file_ra_state){
		.start = index > ra_pages / 2 ? index - ra_pages / 2 : 0,
		.size = ra_pages,
		.async_size = ra_pages / 4,
	});
}

unsigned long filemap_populate(struct file *file, unsigned long start, unsigned long end)
{
	unsigned long done = 0;

	enter_reclaim();
	for (; start < end && start < i_pages_end(file->f_mapping); start += BATCH)
		done += do_page_cache_readahead(file, start, min_ul(BATCH, end - start), 0);
	leave_reclaim();
	return done;
}

unsigned long filemap_get_pages(struct file *file, unsigned long start, unsigned long end)
{
	struct address_space *mapping = file->f_mapping;
	unsigned long done = filemap_populate(file, start, end);

	spin_lock(&mapping->tree_lock);
	for (; start < end && start < i_pages_end(mapping); start++) {
		struct page *page = page_tree_load(&mapping->i_pages, start);

		if (page && !item_is_value(page) && page_flags(page) & PG_readahead)
			clear_page_flags(page, PG_readahead);
	}
	spin_unlock(&mapping->tree_lock);
	return done;
}
