/* SPDX-License-Identifier: MIT
 *
 * t_malloc - malloc and friends: what the standard and glibc's manual promise, not what one allocator happens to do.
 */
#include "common.h"

#include <malloc.h>
#include <pthread.h>

#define NR 4000

static char *blocks[NR];
static size_t sizes[NR];

static size_t size_of(size_t i)
{
	uint64_t r = mix(i);

	return r % 16 == 0 ? r % 300000 : r % 16 < 4 ? r % 20000 : r % 700;
}

static void churn(void)
{
	size_t bad = 0, odd = 0;

	for (size_t i = 0; i < NR; i++) {
		sizes[i] = size_of(i);
		blocks[i] = malloc(sizes[i]);
		fill(blocks[i], sizes[i], i);
		bad += malloc_usable_size(blocks[i]) < sizes[i];
		odd += (uintptr_t)blocks[i] % 16 != 0;
	}
	for (int round = 1; round < 4; round++) {
		for (size_t i = 0; i < NR; i += 3) {
			if (!intact(blocks[i], sizes[i], i, 0))
				bad++;
			free(blocks[i]);
			sizes[i] = size_of(i + (size_t)round * NR);
			blocks[i] = round == 2 ? calloc(1, sizes[i]) : malloc(sizes[i]);
			if (round == 2 && !is_zero(blocks[i], sizes[i]))
				bad++;
			fill(blocks[i], sizes[i], i);
		}
		for (size_t i = 1; i < NR; i += 5) {
			size_t n = size_of(i + (size_t)round * 2 * NR), both = n < sizes[i] ? n : sizes[i];

			blocks[i] = realloc(blocks[i], n ? n : 1);
			if (!intact(blocks[i], both / 8 * 8, i, 0))
				bad++;
			sizes[i] = n;
			fill(blocks[i], n, i);
		}
		pressure();
	}
	for (size_t i = 0; i < NR; i++) {
		if (!intact(blocks[i], sizes[i], i, 0))
			bad++;
		free(blocks[i]);
	}
	say("churn: %zu bad", bad);
	/* glibc's manual: always a multiple of sixteen, however small the block. */
	say("not aligned to 16: %zu", odd);
	malloc_trim(0);
}

static void zeroed_again(void)
{
	size_t bad = 0;

	for (int i = 0; i < 40; i++) {
		char *p = calloc(300, 1024);

		if (!is_zero(p, 300 * 1024))
			bad++;
		memset(p, 0xa5, 300 * 1024);
		free(p);
		p = calloc(50, 20);
		if (!is_zero(p, 1000))
			bad++;
		memset(p, 0xa5, 1000);
		free(p);
	}
	say("calloc after free: %zu not zero", bad);
}

static void large_realloc(void)
{
	char *p = NULL;

	for (size_t n = 1 * MB; n <= 16 * MB; n += MB) {
		p = realloc(p, n);
		fill_at(p + n - MB, MB, 9, (n - MB) / PAGE);
	}
	holds("grown to 16 MB", p, 16 * MB, 9);
	pressure();
	p = realloc(p, 3 * MB);
	holds("shrunk to 3 MB", p, 3 * MB, 9);
	p = realloc(p, 5 * MB);
	holds("grown to 5 MB", p, 3 * MB, 9);
	free(p);
}

/* No power of two: the next one is taken. */
static void odd_alignment(void)
{
	volatile size_t too_much = SIZE_MAX / 2 + 2;
	int bad = 0;
	void *p;

	for (volatile size_t align = 0, power = 1; align < 20000; align = align * 5 / 3 + 1) {
		while (power < align)
			power *= 2;
		p = memalign(align, 100);
		bad += !p || (uintptr_t)p % power;
		memset(p, 1, 100);
		free(p);
	}
	say("odd alignment: %d bad", bad);
	errno = 0;
	p = memalign(too_much, 100);
	say("memalign of more than there is: %s %s", p ? "a block" : "NULL", strerrorname_np(errno));
}

static void alignment(void)
{
	void *p = (void *)1;
	int bad = 0, rc;

	for (size_t align = sizeof(void *); align <= 4 * MB; align *= 2) {
		if (posix_memalign(&p, align, 3 * align + 8) || (uintptr_t)p % align)
			bad++;
		memset(p, 1, 100);
		free(p);
		p = aligned_alloc(align, align);
		if (!p || (uintptr_t)p % align)
			bad++;
		free(p);
		p = memalign(align, 100);
		if (!p || (uintptr_t)p % align)
			bad++;
		free(p);
	}
	p = valloc(100);
	bad += !p || (uintptr_t)p % PAGE;
	free(p);
	p = pvalloc(100);
	bad += !p || (uintptr_t)p % PAGE || malloc_usable_size(p) < PAGE;
	free(p);
	say("alignment: %d bad", bad);
	odd_alignment();
	p = (void *)1;
	rc = posix_memalign(&p, 3, 100);
	say("posix_memalign 3: %s, pointer left alone %d", strerrorname_np(rc), p == (void *)1);
	rc = posix_memalign(&p, 4, 100);
	say("posix_memalign 4: %s", strerrorname_np(rc));
	rc = posix_memalign(&p, 16, (size_t)-64);
	say("posix_memalign too much: %s", strerrorname_np(rc));
}

/* The compiler must not know the sizes, or it warns, or takes the calls for successful. */
static void failing(void)
{
	volatile size_t most = SIZE_MAX, half = (size_t)PTRDIFF_MAX, one = 1, zero = 0;
	char *volatile keep = malloc(1000), *p;

	fill(keep, 1000, 10);
#define FAILS(name, call) do { errno = 0; p = (call); \
		say("%s: %s %s", name, p ? "a block" : "NULL", errno ? strerrorname_np(errno) : "-"); } while (0)
	FAILS("malloc SIZE_MAX", malloc(most));
	FAILS("malloc PTRDIFF_MAX + 1", malloc(half + one));
	FAILS("malloc PTRDIFF_MAX", malloc(half));
	FAILS("malloc 32 TiB", malloc(one << 45));
	FAILS("calloc SIZE_MAX, 1", calloc(most, one));
	FAILS("calloc overflow", calloc(half, 3));
	FAILS("calloc 2^32, 2^32", calloc(one << 32, one << 32));
	FAILS("realloc SIZE_MAX", realloc(keep, most));
	FAILS("realloc 32 TiB", realloc(keep, one << 45));
	FAILS("reallocarray overflow", reallocarray(keep, half, 4));
	FAILS("reallocarray 2^32, 2^32", reallocarray(keep, one << 32, one << 32));
	FAILS("aligned_alloc too much", aligned_alloc(64, most - 63));
	FAILS("memalign too much", memalign(4096, half + one));
	FAILS("valloc too much", valloc(most));
	FAILS("pvalloc too much", pvalloc(most));
	holds("kept through failures", keep, 1000, 10);
	FAILS("realloc to 0", realloc(keep, zero));
	free(p);
	FAILS("malloc 0", malloc(zero));
	free(p);
	FAILS("calloc 0", calloc(zero, one));
	free(p);
	FAILS("realloc NULL", realloc(NULL, 10 * one));
	free(p);
	free(NULL);
	say("usable size of NULL: %zu", malloc_usable_size(NULL));
	errno = EDOM;
	p = malloc(3 * MB * one);
	free(p);
	say("free keeps errno: %d", errno == EDOM);
}

static void *thread(void *arg)
{
	uint64_t seed = (uint64_t)(uintptr_t)arg;
	size_t bad = 0;
	char *mine[64] = { NULL };

	for (uint64_t i = 0; i < 6000; i++) {
		size_t at = mix(seed + i) % 64, n = mix(seed * i) % 9000 + 1;

		if (mine[at] && !intact(mine[at] + 8, *(size_t *)mine[at], seed + at, 0))
			bad++;
		free(mine[at]);
		mine[at] = malloc(n + 8);
		*(size_t *)mine[at] = n;
		fill(mine[at] + 8, n, seed + at);
	}
	for (int i = 0; i < 64; i++)
		free(mine[i]);
	return (void *)bad;
}

static void in_threads(void)
{
	pthread_t threads[4];
	size_t bad = 0;

	for (uintptr_t i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, thread, (void *)(i * 1000 + 1));
	pressure();
	for (int i = 0; i < 4; i++) {
		void *result;

		pthread_join(threads[i], &result);
		bad += (size_t)result;
	}
	say("threads: %zu bad", bad);
}

static void child(void *arg)
{
	churn();
	holds("inherited", arg, 3 * MB, 11);
	free(arg);
	in_threads();
}

int main(void)
{
	char *p;

	churn();
	zeroed_again();
	large_realloc();
	alignment();
	failing();
	in_threads();
	p = malloc(3 * MB);
	fill(p, 3 * MB, 11);
	in_child("child", child, p);
	holds("parent", p, 3 * MB, 11);
	free(p);
	return done();
}
