/* SPDX-License-Identifier: MIT
 *
 * swap_malloc.c - nothing of the pool's life may allocate: malloc and its relatives end the test, and so does stdio's
 * first buffer.
 *
 * The functions below replace libc's for the whole program. Plain exit codes, because cmocka allocates.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "swap/swap.h"
#include "tests/unit/swap/swap_pages.h"

static volatile int forbidden;
static char heap[1 << 20];
static size_t heap_used;

static void *give(size_t len, const char *name)
{
	void *p = heap + heap_used;

	if (forbidden) {
		if (write(2, name, strlen(name)) >= 0)
			(void)!write(2, ": called by the pool\n", 21);
		_exit(1);
	}
	heap_used += (len + 63) & ~(size_t)63;
	return heap_used <= sizeof(heap) ? p : NULL;
}

void *malloc(size_t len)
{
	return give(len, "malloc");
}

void *calloc(size_t n, size_t len)
{
	return give(n * len, "calloc");
}

void *realloc(void *p, size_t len)
{
	void *q = give(len, "realloc");

	if (p && q)
		memmove(q, p, len < (size_t)(heap + sizeof(heap) - (char *)p) ? len : (size_t)(heap + sizeof(heap) - (char *)p));
	return q;
}

void *aligned_alloc(size_t align, size_t len)
{
	return give(len + align, "aligned_alloc");
}

int posix_memalign(void **p, size_t align, size_t len)
{
	*p = aligned_alloc(align, len);
	return 0;
}

void free(void *p)
{
	if (forbidden && p)
		_exit(1);
}

static unsigned char page[PAGE] __attribute__((aligned(PAGE))), back[PAGE] __attribute__((aligned(PAGE)));

static int live(enum swap_codec codec, int level)
{
	struct swap_pool_params q = { .codec = codec, .level = level, .nr_slots = 1000, .limit = 400 << 10 };
	struct swap_pool_stats s;
	struct swap_pool *pool;
	int err;

	pool = swap_pool_create(&q, &err);
	if (!pool)
		return 2;
	for (unsigned long i = 1; i <= 400; i++) {
		int kind = (int)(i % NR_PAGE_KINDS);

		if (kind == PAGE_TEXT)
			kind = PAGE_NOISE; /* text is made with stdio */
		page_make(page, (enum page_kind)kind, i);
		if (swap_pool_ops.store(pool, i, page) == 0 && (swap_pool_ops.load(pool, i, back) || memcmp(page, back, PAGE)))
			return 3;
		if (i % 3 == 0)
			swap_pool_ops.free(pool, i);
		if (i % 100 == 0)
			swap_pool_compact(pool);
	}
	swap_pool_stats(pool, &s);
	swap_pool_damage(pool, 1);
	swap_pool_ops.load(pool, 1, back);
	swap_pool_destroy(pool);
	return 0;
}

int main(void)
{
	int ret;

	/* The guard itself: malloc reaches the function above. */
	void *volatile p = malloc(10);

	if ((char *)p < heap || (char *)p >= heap + sizeof(heap))
		return 4;
	forbidden = 1;
	ret = live(SWAP_LZ4, 0);
	ret = ret ? ret : live(SWAP_NONE, 0);
	for (int level = 1; level <= 19 && !ret; level++)
		ret = live(SWAP_ZSTD, level);
	forbidden = 0;
	return ret;
}
