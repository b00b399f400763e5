/* SPDX-License-Identifier: MIT
 *
 * t_brk - the break: growing, shrinking, what is in it then, and what else can be done to its pages. Nothing here may call malloc, which would
 * move the break as well.
 */
#include "common.h"

#include <sys/resource.h>
#include <sys/syscall.h>

static char *start;

static char *aligned_break(void)
{
	char *now = sbrk(0);
	size_t odd = (size_t)((uintptr_t)now % PAGE);

	if (odd && sbrk((intptr_t)(PAGE - odd)) == (void *)-1)
		die("sbrk");
	return sbrk(0);
}

static void where(const char *name)
{
	say("%s: break at %+td", name, (char *)sbrk(0) - start);
}

static void grow_and_shrink(void)
{
	start = aligned_break();
	ADDR("grow", start, sbrk(8 * MB));
	where("grown");
	zeroed("new", start, 8 * MB);
	fill(start, 8 * MB, 1);
	pressure();
	holds("grown", start, 8 * MB, 1);
	ADDR("shrink", start, sbrk(-(intptr_t)(6 * MB)));
	where("shrunk");
	holds("what is left", start, 2 * MB, 1);
	say_rights("at the break", start + 2 * MB - 4 * PAGE, 8);
	ADDR("grow again", start, sbrk(6 * MB));
	zeroed("regrown", start + 2 * MB, 6 * MB);
	fill(start + 2 * MB, 6 * MB, 2);
	pressure();
	holds("first", start, 2 * MB, 1);
	holds("second", start + 2 * MB, 6 * MB, 2);
	RC("brk back", brk(start));
	where("back");
	say_rights("back", start, 4);
}

/* The break is a byte address: the rest of its last page keeps its bytes until that page goes. */
static void odd_steps(void)
{
	RC("brk +100", brk(start + 100));
	memset(start, 0x5a, 100);
	start[2000] = 0x5b;
	RC("brk +5000", brk(start + 5000));
	say("bytes: %x %x %x", start[99] & 0xff, start[2000] & 0xff, start[4999] & 0xff);
	RC("brk +10", brk(start + 10));
	say_rights("one page", start, 2);
	RC("brk +5000", brk(start + 5000));
	say("bytes: %x %x %x", start[99] & 0xff, start[2000] & 0xff, start[4999] & 0xff);
	for (int i = 0; i < 1000; i++)
		if (sbrk(777) == (void *)-1)
			wrong("sbrk %d", i);
	where("a thousand steps");
	fill(start, 777000, 3);
	pressure();
	holds("a thousand steps", start, 777000, 3);
	RC("back", brk(start));
}

static void errors(void)
{
	RC("brk 0", brk(NULL));
	RC("brk 1", brk((void *)1));
	RC("brk everything", brk((void *)(1UL << 62)));
	ADDR("sbrk too much", start, sbrk((intptr_t)(1UL << 46)));
	ADDR("sbrk most", start, sbrk(INTPTR_MAX));
	ADDR("sbrk least", start, sbrk(INTPTR_MIN));
	where("errors");
	say("raw brk says where it is: %d", (char *)syscall(SYS_brk, 0) == (char *)sbrk(0));
	say("raw brk says where it stays: %d", (char *)syscall(SYS_brk, 1) == (char *)sbrk(0));
}

static void mapped_over(void)
{
	char *p;

	RC("grow", brk(start + 64 * PAGE));
	fill(start, 64 * PAGE, 4);
	pressure();
	ADDR("mapped into", start, mmap(start + 16 * PAGE, 8 * PAGE, RW, ANONFIXED, -1, 0));
	zeroed("mapped into", start + 16 * PAGE, 8 * PAGE);
	RC("unmapped", munmap(start + 32 * PAGE, 8 * PAGE));
	RC("protected", mprotect(start + 48 * PAGE, 4 * PAGE, PROT_READ));
	RC("given up", madvise(start + 56 * PAGE, 4 * PAGE, MADV_DONTNEED));
	zeroed("given up", start + 56 * PAGE, 4 * PAGE);
	say_rights("mixed", start, 66);
	holds("below", start, 16 * PAGE, 4);
	RC("grow over it", brk(start + 80 * PAGE));
	zeroed("grown", start + 64 * PAGE, 16 * PAGE);
	RC("shrink over it", brk(start + 8 * PAGE));
	say_rights("shrunk", start, 66);
	RC("grow again", brk(start + 64 * PAGE));
	say_rights("grown", start, 66);
	zeroed("grown", start + 8 * PAGE, 56 * PAGE);
	p = mmap(start + 80 * PAGE, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);
	ADDR("in the way", start, p);
	RC("grow into it", brk(start + 96 * PAGE));
	RC("grow below it", brk(start + 72 * PAGE));
	munmap(start + 80 * PAGE, PAGE);
	RC("back", brk(start));
}

static void moved_by_mremap(void)
{
	char *w = window(64 * PAGE, RW);

	RC("grow", brk(start + 64 * PAGE));
	fill(start, 64 * PAGE, 5);
	pressure();
	ADDR("moved", w, mremap(start + 8 * PAGE, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, w));
	holds_at("moved", w, 8 * PAGE, 5, 8);
	say_rights("left", start, 20);
	RC("back", brk(start));
	say_rights("back", start, 20);
	munmap(w, 64 * PAGE);
}

static void child(void *arg)
{
	holds("child", start, 1 * MB, 6);
	where("child");
	RC("child grows", brk(start + 4 * MB));
	zeroed("child's", start + MB, 3 * MB);
	fill(start, 4 * MB, 7);
	pressure();
	holds("child's", start, 4 * MB, 7);
	RC("child shrinks", brk(start));
}

static void limited(void *arg)
{
	struct rlimit none = { 0, 0 };

	RC("RLIMIT_DATA", setrlimit(RLIMIT_DATA, &none));
	RC("beyond it", brk(start + 64 * MB));
	where("limited");
}

int main(void)
{
	grow_and_shrink();
	odd_steps();
	errors();
	mapped_over();
	moved_by_mremap();
	RC("grow", brk(start + MB));
	fill(start, MB, 6);
	in_child("child", child, NULL);
	where("parent");
	holds("parent", start, MB, 6);
	in_child("limited", limited, NULL);
	return done();
}
