/* SPDX-License-Identifier: MIT
 *
 * t_mremap - grow, shrink, move, move over something, DONTUNMAP, and ranges of several mappings.
 */
#include "common.h"

#include <pthread.h>
#include <stdatomic.h>

#define NR 64UL

static void grow_in_place(int evicted)
{
	char *w = window(NR * PAGE, RW);

	fill(w, NR * PAGE, 1);
	munmap(w + 32 * PAGE, 32 * PAGE);
	if (evicted)
		pressure();
	ADDR("grow in place", w, mremap(w, 32 * PAGE, 48 * PAGE, 0));
	holds("old part", w, 32 * PAGE, 1);
	zeroed("new part", w + 32 * PAGE, 16 * PAGE);
	fill_at(w + 32 * PAGE, 16 * PAGE, 1, 32);
	pressure();
	holds("all", w, 48 * PAGE, 1);
	say_rights("grown", w, NR);
	ADDR("shrink", w, mremap(w, 48 * PAGE, 16 * PAGE, 0));
	say_rights("shrunk", w, NR);
	holds("what is left", w, 16 * PAGE, 1);
	ADDR("grow again", w, mremap(w, 16 * PAGE, NR * PAGE, 0));
	zeroed("regrown part", w + 16 * PAGE, 48 * PAGE);
	munmap(w, NR * PAGE);
}

static void grow_blocked(int evicted)
{
	char *w = window(NR * PAGE, RW), *p;

	fill(w, NR * PAGE, 2);
	if (evicted)
		pressure();
	mprotect(w + 32 * PAGE, PAGE, PROT_READ);
	ADDR("no room, may not move", w, mremap(w, 32 * PAGE, 33 * PAGE, 0));
	p = mremap(w, 32 * PAGE, 512 * PAGE, MREMAP_MAYMOVE);
	if (p == MAP_FAILED)
		die("mremap");
	say("moved away: %d", p != w);
	say_rights("left behind", w, NR);
	holds("moved", p, 32 * PAGE, 2);
	zeroed("grown", p + 32 * PAGE, 480 * PAGE);
	fill(p, 512 * PAGE, 3);
	pressure();
	holds("rewritten", p, 512 * PAGE, 3);
	holds_at("neighbour", w + 32 * PAGE, 32 * PAGE, 2, 32);
	munmap(p, 512 * PAGE);
	munmap(w, NR * PAGE);
}

static void move_fixed(int evicted)
{
	char *w = window(2 * NR * PAGE, RW);

	fill(w, 2 * NR * PAGE, 4);
	if (evicted)
		pressure();
	ADDR("fixed over managed", w, mremap(w, 16 * PAGE, 16 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, w + NR * PAGE));
	say_rights("fixed", w, 96);
	holds("moved", w + NR * PAGE, 16 * PAGE, 4);
	holds_at("after it", w + 80 * PAGE, 48 * PAGE, 4, 80);
	ADDR("smaller", w, mremap(w + NR * PAGE, 16 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, w));
	holds("smaller", w, 8 * PAGE, 4);
	say_rights("smaller", w, 96);
	ADDR("larger", w, mremap(w, 8 * PAGE, 24 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, w + 100 * PAGE));
	holds("larger", w + 100 * PAGE, 8 * PAGE, 4);
	zeroed("larger", w + 108 * PAGE, 16 * PAGE);
	ADDR("overlap", w, mremap(w + 100 * PAGE, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, w + 104 * PAGE));
	holds("after overlap", w + 100 * PAGE, 8 * PAGE, 4);
	ADDR("unaligned", w, mremap(w + 100 * PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, w + 1));
	munmap(w, 2 * NR * PAGE);
}

/* A hundred steps of one page each: the page keeps its contents, its neighbours theirs. */
static void walk(void)
{
	char *w = window(128 * PAGE, PROT_NONE);

	mmap(w, 4 * PAGE, RW, ANONFIXED, -1, 0);
	fill(w, 4 * PAGE, 5);
	for (size_t i = 0; i < 100; i++) {
		size_t to = (i * 37 + 8) % 120, from = i ? ((i - 1) * 37 + 8) % 120 : 0;

		if (to + 4 > from && from + 4 > to)
			continue;
		if (mremap(w + from * PAGE, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, w + to * PAGE) == MAP_FAILED)
			die("mremap");
		if (i % 25 == 0)
			pressure();
		if (!intact(w + to * PAGE, 4 * PAGE, 5, 0))
			wrong("step %zu", i);
	}
	say_rights("walk", w, 128);
	munmap(w, 128 * PAGE);
}

static void dontunmap(int evicted)
{
	char *w = window(NR * PAGE, RW);

	fill(w, NR * PAGE, 6);
	if (evicted)
		pressure();
	ADDR("dontunmap", w, mremap(w, 16 * PAGE, 16 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP | MREMAP_FIXED, w + 32 * PAGE));
	say_rights("dontunmap", w, NR);
	zeroed("source", w, 16 * PAGE);
	holds("target", w + 32 * PAGE, 16 * PAGE, 6);
	fill(w, 16 * PAGE, 7);
	pressure();
	holds("source rewritten", w, 16 * PAGE, 7);
	holds("target still", w + 32 * PAGE, 16 * PAGE, 6);
	ADDR("dontunmap grows", w, mremap(w, 8 * PAGE, 16 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP));
	ADDR("dontunmap alone", w, mremap(w, 8 * PAGE, 8 * PAGE, MREMAP_DONTUNMAP));
	munmap(w, NR * PAGE);
}

static void several_mappings(void)
{
	char *w = window(NR * PAGE, RW);

	fill(w, NR * PAGE, 8);
	mprotect(w + 4 * PAGE, 4 * PAGE, PROT_READ);
	munmap(w + 40 * PAGE, 24 * PAGE);
	ADDR("move two", w, mremap(w, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, w + 48 * PAGE));
	say_rights("two", w, NR);
	ADDR("grow two", w, mremap(w + 12 * PAGE, 28 * PAGE, 29 * PAGE, 0));
	ADDR("over a hole", w, mremap(w + 36 * PAGE, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE));
	ADDR("shrink over a hole", w, mremap(w + 36 * PAGE, 8 * PAGE, 2 * PAGE, 0));
	say_rights("after", w, NR);
	ADDR("read-only part", w, mremap(w + 20 * PAGE, 4 * PAGE, 4 * PAGE, 0));
	holds_at("untouched", w + 20 * PAGE, 4 * PAGE, 8, 20);
	munmap(w, NR * PAGE);
}

/* Linux 6.17 moves several mappings at once, with the holes between them; what stands at the new place of a hole stays. Kernels before refuse. */
static void over_holes(int evicted)
{
	char *w = window(3 * NR * PAGE, RW);

	fill(w, 3 * NR * PAGE, 10);
	munmap(w + 8 * PAGE, 4 * PAGE);
	mprotect(w + 16 * PAGE, 4 * PAGE, PROT_READ);
	if (mmap(w + 20 * PAGE, 4 * PAGE, RW, ANONFIXED | MAP_STACK, -1, 0) == MAP_FAILED)
		die("mmap");
	fill_at(w + 20 * PAGE, 4 * PAGE, 10, 20);
	munmap(w + 28 * PAGE, 4 * PAGE);
	if (evicted)
		pressure();
	ADDR("with holes", w, mremap(w, 32 * PAGE, 32 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, w + NR * PAGE));
	say_rights("with holes", w, 128);
	pressure();
	for (size_t i = 0; i < 3 * NR; i++) {
		char letter = right_of(w + i * PAGE);

		if (letter == 'w' || letter == 'r')
			say("page %zu: that of %s", i, intact(w + i * PAGE, PAGE, 10, i) ? "here" :
			    i >= NR && intact(w + i * PAGE, PAGE, 10, i - NR) ? "there" : "nowhere");
	}
	munmap(w, 3 * NR * PAGE);

	w = window(3 * NR * PAGE, RW);
	fill(w, 3 * NR * PAGE, 11);
	munmap(w, 4 * PAGE);
	munmap(w + 8 * PAGE, 4 * PAGE);
	ADDR("begins with a hole", w, mremap(w, 32 * PAGE, 32 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, w + NR * PAGE));
	say_rights("begins with a hole", w, 128);
	ADDR("not fixed", w, mremap(w + 4 * PAGE, 32 * PAGE, 32 * PAGE, MREMAP_MAYMOVE));
	ADDR("onto itself", w, mremap(w + 4 * PAGE, 16 * PAGE, 16 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, w + 10 * PAGE));
	say_rights("refused", w, 128);
	munmap(w, 3 * NR * PAGE);
}

/* Refused: before or after the new place was cleared, by kernel. */
static void refused(void)
{
	char *w = window(2 * NR * PAGE, RW);

	fill(w, 2 * NR * PAGE, 12);
	pressure();
	ADDR("too much at the old place", w,
	     mremap(w, 1UL << 46, 32 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, w + NR * PAGE));
	munmap(w + 16 * PAGE, 4 * PAGE);
	ADDR("grows over a hole", w, mremap(w + 8 * PAGE, 16 * PAGE, 32 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, w + NR * PAGE));
	ADDR("shrinks over a hole", w, mremap(w + 8 * PAGE, 16 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, w + NR * PAGE));
	say_rights("after", w, 128);
	pressure();
	for (size_t i = 0; i < 2 * NR; i++)
		if (right_of(w + i * PAGE) == 'w')
			say("page %zu: that of %s", i, intact(w + i * PAGE, PAGE, 12, i) ? "here" :
			    i >= NR && intact(w + i * PAGE, PAGE, 12, i - NR + 8) ? "there" : "nowhere");
	munmap(w, 2 * NR * PAGE);
}

static char *watched;
static atomic_bool stop;

static void *reads_it(void *arg)
{
	unsigned r = 1;

	while (!atomic_load(&stop)) {
		r = r * 1103515245 + 12345;
		(void)*(volatile char *)(watched + (r >> 8) % 512 * PAGE);
	}
	return arg;
}

/* Evicted memory takes the place of memory that another thread is reading: none of it may turn into zeros. */
static void while_it_is_read(void)
{
	size_t len = 512 * PAGE;
	pthread_t reader[2];

	watched = map(len);
	fill(watched, len, 14);
	for (int i = 0; i < 2; i++)
		pthread_create(&reader[i], NULL, reads_it, NULL);
	for (unsigned round = 0; round < 8; round++) {
		char *p = map(len);

		fill(p, len, 20 + round);
		pressure();
		usleep(30000); /* the readers bring theirs back, and read without a fault */
		if (mremap(p, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, watched) != watched)
			die("mremap");
		holds("over memory that is read", watched, len, 20 + round);
	}
	atomic_store(&stop, 1);
	for (int i = 0; i < 2; i++)
		pthread_join(reader[i], NULL);
	munmap(watched, len);
}

static void rights_move_along(void)
{
	char *w = window(NR * PAGE, RW);

	fill(w, NR * PAGE, 9);
	mprotect(w, 8 * PAGE, PROT_READ);
	mprotect(w + 8 * PAGE, 8 * PAGE, PROT_NONE);
	pressure();
	ADDR("read-only", w, mremap(w, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, w + 32 * PAGE));
	ADDR("none", w, mremap(w + 8 * PAGE, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, w + 40 * PAGE));
	say_rights("moved", w, NR);
	mprotect(w + 40 * PAGE, 8 * PAGE, PROT_READ);
	holds("both", w + 32 * PAGE, 16 * PAGE, 9);
	munmap(w, NR * PAGE);
}

int main(void)
{
	for (int evicted = 0; evicted < 2; evicted++) {
		grow_in_place(evicted);
		grow_blocked(evicted);
		move_fixed(evicted);
		dontunmap(evicted);
	}
	walk();
	several_mappings();
	over_holes(0);
	over_holes(1);
	refused();
	rights_move_along();
	while_it_is_read();
	return done();
}
