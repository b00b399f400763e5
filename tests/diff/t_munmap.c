/* SPDX-License-Identifier: MIT
 *
 * t_munmap - what munmap leaves and what it takes, with the pages resident and evicted.
 */
#include "common.h"

#define NR 64UL

static void middle(int evicted)
{
	char *w = window(NR * PAGE, RW);

	fill(w, NR * PAGE, 1);
	if (evicted)
		pressure();
	RC("middle", munmap(w + 16 * PAGE, 16 * PAGE));
	say_rights("middle", w, NR);
	holds("below", w, 16 * PAGE, 1);
	holds_at("above", w + 32 * PAGE, 32 * PAGE, 1, 32);
	RC("again", munmap(w + 16 * PAGE, 16 * PAGE));
	RC("whole", munmap(w, NR * PAGE));
	say_rights("whole", w, NR);
}

static void remapped_is_zero(int evicted)
{
	char *w = window(NR * PAGE, RW);

	fill(w, NR * PAGE, 2);
	if (evicted)
		pressure();
	RC("hole", munmap(w + 8 * PAGE, 8 * PAGE));
	ADDR("fixed into it", w, mmap(w + 8 * PAGE, 4 * PAGE, RW, ANONFIXED, -1, 0));
	zeroed("new", w + 8 * PAGE, 4 * PAGE);
	fill(w + 8 * PAGE, 4 * PAGE, 3);
	say_rights("hole", w, 24);
	pressure();
	holds("new holds", w + 8 * PAGE, 4 * PAGE, 3);
	holds("old below", w, 8 * PAGE, 2);
	holds_at("old above", w + 16 * PAGE, 48 * PAGE, 2, 16);
	munmap(w, NR * PAGE);
}

static void each_page(void)
{
	char *w = window(NR * PAGE, RW);

	fill(w, NR * PAGE, 4);
	pressure();
	for (size_t i = 0; i < NR; i += 2)
		if (munmap(w + i * PAGE, PAGE))
			wrong("page %zu", i);
	say_rights("every other", w, NR);
	for (size_t i = 1; i < NR; i += 2)
		if (!intact(w + i * PAGE, PAGE, 4, i))
			wrong("page %zu lost its contents", i);
	RC("over the holes", munmap(w, NR * PAGE));
	say_rights("over the holes", w, NR);
}

static void lengths(void)
{
	char *w = window(NR * PAGE, RW);

	fill(w, NR * PAGE, 5);
	RC("one byte", munmap(w, 1));
	RC("page and a byte", munmap(w + 4 * PAGE, PAGE + 1));
	say_rights("lengths", w, 8);
	holds_at("rest", w + 6 * PAGE, 58 * PAGE, 5, 6);
	munmap(w, NR * PAGE);
}

/* A system call must see the hole as well: EFAULT, or what could be transferred before it. */
static void seen_by_system_calls(void)
{
	char *w = window(NR * PAGE, RW);
	int fds[2];

	fill(w, NR * PAGE, 6);
	pressure();
	if (pipe(fds))
		die("pipe");
	munmap(w + 4 * PAGE, PAGE);
	RC("write from hole", write(fds[1], w + 4 * PAGE, 16));
	RC("write up to hole", write(fds[1], w + 3 * PAGE + 4000, 4000));
	RC("write before hole", write(fds[1], w + 3 * PAGE, PAGE));
	RC("read into hole", read(fds[0], w + 4 * PAGE, 16));
	close(fds[0]);
	close(fds[1]);
	munmap(w, NR * PAGE);
}

static void many_large(void)
{
	for (int i = 0; i < 24; i++) {
		char *p = map(4 * MB);

		if (!is_zero(p, 4 * MB))
			wrong("mapping %d isn't zero", i);
		fill(p, 4 * MB, (uint64_t)i);
		if (!intact(p, 4 * MB, (uint64_t)i, 0))
			wrong("mapping %d", i);
		if (munmap(p, 4 * MB))
			wrong("munmap %d", i);
	}
	say("many large: done");
}

int main(void)
{
	for (int evicted = 0; evicted < 2; evicted++) {
		middle(evicted);
		remapped_is_zero(evicted);
	}
	each_page();
	lengths();
	seen_by_system_calls();
	many_large();
	return done();
}
