/* SPDX-License-Identifier: MIT
 *
 * t_mlockall - mlockall(MCL_CURRENT), which must not lock what minflt works with, MCL_FUTURE, and locking the same memory again. Runs under a budget that the
 * whole program fits in, or MCL_CURRENT would be refused.
 */
#include "common.h"

static size_t in_core(const char *p, size_t len)
{
	static unsigned char vec[4096];
	size_t sum = 0;

	if (mincore((void *)p, len, vec))
		die("mincore");
	for (size_t i = 0; i < len / PAGE; i++)
		sum += vec[i] & 1;
	return sum;
}

static void again(void *arg)
{
	char *w = window(4096 * PAGE, RW);

	fill(w, 4096 * PAGE, 1);
	for (int i = 0; i < 4; i++)
		RC("mlock", mlock(w, 3300 * PAGE));
	RC("a part of it", mlock(w + 100 * PAGE, 1000 * PAGE));
	RC("across its end", mlock(w + 3000 * PAGE, 400 * PAGE));
	holds("locked", w, 3400 * PAGE, 1);
	RC("munlock", munlock(w, 3400 * PAGE));
	munmap(w, 4096 * PAGE);
}

/* Work that makes the other side map, unmap, evict and reuse its own memory. */
static void work(void)
{
	size_t len = 48 * MB;
	char *p, *q[80];

	for (int i = 0; i < 80; i++) {
		q[i] = map(64 * PAGE);
		*q[i] = 1;
	}
	p = map(len);
	fill(p, len, 2);
	holds("mapped after", p, len, 2);
	for (size_t i = 0; i < len / PAGE; i += 64)
		madvise(p + i * PAGE, 32 * PAGE, MADV_DONTNEED);
	pressure();
	for (size_t i = 0; i < len / PAGE; i += 64)
		if (!is_zero(p + i * PAGE, 32 * PAGE) || !intact(p + (i + 32) * PAGE, 32 * PAGE, 2, i + 32))
			wrong("page %zu", i);
	munmap(p, len);
	for (int i = 0; i < 80; i++) {
		if (*q[i] != 1)
			wrong("mapping %d", i);
		munmap(q[i], 64 * PAGE);
	}
}

static void current(void *arg)
{
	char *w = window(64 * PAGE, RW);

	fill(w, 64 * PAGE, 3);
	RC("MCL_CURRENT", mlockall(MCL_CURRENT));
	RC("DONTNEED of locked", madvise(w, PAGE, MADV_DONTNEED));
	work();
	RC("MCL_CURRENT again", mlockall(MCL_CURRENT | MCL_ONFAULT));
	work();
	holds("locked", w, 64 * PAGE, 3);
	RC("munlockall", munlockall());
	work();
	holds("unlocked", w, 64 * PAGE, 3);
	RC("DONTNEED of unlocked", madvise(w, PAGE, MADV_DONTNEED));
}

static void not_inherited(void *arg)
{
	char *p = map(64 * PAGE);

	say("in core: %zu", in_core(p, 64 * PAGE));
	fill(p, 64 * PAGE, 4);
	RC("DONTNEED", madvise(p, PAGE, MADV_DONTNEED));
	work();
	holds_at("mapped in the child", p + PAGE, 63 * PAGE, 4, 1);
}

static void future(void *arg)
{
	char *p, *heap = sbrk(0);

	heap += -(unsigned long)heap & (PAGE - 1);
	RC("MCL_FUTURE|ONFAULT", mlockall(MCL_FUTURE | MCL_ONFAULT));
	p = map(1024 * PAGE);
	say("in core: %zu", in_core(p, 1024 * PAGE));
	RC("DONTNEED", madvise(p, PAGE, MADV_DONTNEED));
	RC("brk", brk(heap + 64 * PAGE));
	say("heap in core: %zu", in_core(heap, 64 * PAGE));
	RC("DONTNEED of the heap", madvise(heap, PAGE, MADV_DONTNEED));
	RC("MCL_FUTURE", mlockall(MCL_FUTURE));
	munmap(p, 1024 * PAGE);
	p = map(1024 * PAGE);
	say("in core: %zu", in_core(p, 1024 * PAGE));
	RC("DONTNEED", madvise(p, PAGE, MADV_DONTNEED));
	RC("brk", brk(heap + 128 * PAGE));
	say("heap in core: %zu", in_core(heap + 64 * PAGE, 64 * PAGE));
	RC("DONTNEED of the heap", madvise(heap + 64 * PAGE, PAGE, MADV_DONTNEED));
	in_child("not inherited", not_inherited, NULL);
	RC("munlockall", munlockall());
	RC("DONTNEED", madvise(p, PAGE, MADV_DONTNEED));
	RC("DONTNEED of the heap", madvise(heap, 128 * PAGE, MADV_DONTNEED));
	work();
	RC("brk", brk(heap));
}

int main(void)
{
	in_child("again", again, NULL);
	in_child("current", current, NULL);
	in_child("future", future, NULL);
	work();
	return done();
}
