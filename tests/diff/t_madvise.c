/* SPDX-License-Identifier: MIT
 *
 * t_madvise - every advice, on pages that are resident, evicted and untouched: what it returns and what the bytes are then.
 */
#include "common.h"

#include <sys/syscall.h>
#include <sys/uio.h>

#define NR 64UL

static const struct advice {
	const char *name;
	int advice;
	int keeps;              /* the contents must be as before */
} advices[] = {
	{ "NORMAL", MADV_NORMAL, 1 },
	{ "RANDOM", MADV_RANDOM, 1 },
	{ "SEQUENTIAL", MADV_SEQUENTIAL, 1 },
	{ "WILLNEED", MADV_WILLNEED, 1 },
	{ "DONTNEED", MADV_DONTNEED, 0 },
	{ "DONTNEED_LOCKED", MADV_DONTNEED_LOCKED, 0 },
	{ "REMOVE", MADV_REMOVE, 1 },
	{ "DONTFORK", MADV_DONTFORK, 1 },
	{ "DOFORK", MADV_DOFORK, 1 },
	{ "WIPEONFORK", MADV_WIPEONFORK, 1 },
	{ "KEEPONFORK", MADV_KEEPONFORK, 1 },
	{ "HUGEPAGE", MADV_HUGEPAGE, 1 },
	{ "NOHUGEPAGE", MADV_NOHUGEPAGE, 1 },
	{ "COLD", MADV_COLD, 1 },
	{ "PAGEOUT", MADV_PAGEOUT, 1 },
	{ "MERGEABLE", MADV_MERGEABLE, 1 },
	{ "UNMERGEABLE", MADV_UNMERGEABLE, 1 },
	{ "DONTDUMP", MADV_DONTDUMP, 1 },
	{ "DODUMP", MADV_DODUMP, 1 },
	{ "POPULATE_READ", MADV_POPULATE_READ, 1 },
	{ "POPULATE_WRITE", MADV_POPULATE_WRITE, 1 },
	{ "5", 5, 1 },
	{ "-1", -1, 1 },
	{ "99", 99, 1 },
	{ "1000", 1000, 1 },
};

static void one_advice(const struct advice *a, int evicted)
{
	char *w = window(NR * PAGE, RW);

	fill(w, 32 * PAGE, 1);
	if (evicted)
		pressure();
	RC(a->name, madvise(w + 8 * PAGE, 40 * PAGE, a->advice));
	RC("no length", madvise(w, 0, a->advice));
	RC("unaligned", madvise(w + 1, PAGE, a->advice));
	if (a->keeps) {
		holds("contents", w, 32 * PAGE, 1);
	} else {
		holds("below", w, 8 * PAGE, 1);
		zeroed("given up", w + 8 * PAGE, 24 * PAGE);
	}
	zeroed("untouched", w + 32 * PAGE, 32 * PAGE);
	say_rights(a->name, w, NR);
	fill(w, NR * PAGE, 2);
	if (evicted)
		pressure();
	holds("rewritten", w, NR * PAGE, 2);
	munmap(w, NR * PAGE);
}

/* Pages given up by FREE read as they were or as zero, one way or the other until written; written ones hold. */
static void lazily_freed(void)
{
	char *w = window(NR * PAGE, RW);
	size_t torn = 0;

	fill(w, NR * PAGE, 3);
	RC("FREE", madvise(w + 8 * PAGE, 48 * PAGE, MADV_FREE));
	fill(w + 16 * PAGE, 16 * PAGE, 4);
	pressure();
	holds("written after", w + 16 * PAGE, 16 * PAGE, 4);
	for (size_t i = 8; i < 56; i++) {
		if (i >= 16 && i < 32)
			continue;
		if (!intact(w + i * PAGE, PAGE, 3, i) && !is_zero(w + i * PAGE, PAGE))
			torn++;
	}
	say("neither old nor zero: %zu", torn);
	holds("below", w, 8 * PAGE, 3);
	holds_at("above", w + 56 * PAGE, 8 * PAGE, 3, 56);
	fill(w, NR * PAGE, 5);
	pressure();
	holds("rewritten", w, NR * PAGE, 5);
	munmap(w, NR * PAGE);
}

static void holes(void)
{
	static const int list[] = { MADV_DONTNEED, MADV_WILLNEED, MADV_FREE, MADV_POPULATE_READ, MADV_POPULATE_WRITE,
				    MADV_COLD, MADV_PAGEOUT, MADV_HUGEPAGE, MADV_DONTFORK, MADV_RANDOM };

	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		char *w = window(NR * PAGE, RW);

		fill(w, NR * PAGE, 6);
		munmap(w + 16 * PAGE, 4 * PAGE);
		say("advice %d", list[i]);
		RC("over a hole", madvise(w + 8 * PAGE, 24 * PAGE, list[i]));
		if (list[i] == MADV_DONTNEED) {
			zeroed("before the hole", w + 8 * PAGE, 8 * PAGE);
			zeroed("after the hole", w + 20 * PAGE, 12 * PAGE);
		}
		RC("hole alone", madvise(w + 16 * PAGE, 4 * PAGE, list[i]));
		holds_at("rest", w + 32 * PAGE, 32 * PAGE, 6, 32);
		say_rights("holes", w, NR);
		munmap(w, NR * PAGE);
	}
}

static void rights(void)
{
	static const int list[] = { MADV_DONTNEED, MADV_FREE, MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_PAGEOUT };

	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		char *w = window(NR * PAGE, RW);

		fill(w, NR * PAGE, 7);
		mprotect(w, 16 * PAGE, PROT_READ);
		mprotect(w + 16 * PAGE, 16 * PAGE, PROT_NONE);
		pressure();
		say("advice %d", list[i]);
		RC("read-only", madvise(w, 8 * PAGE, list[i]));
		RC("none", madvise(w + 16 * PAGE, 8 * PAGE, list[i]));
		mprotect(w, NR * PAGE, RW);
		if (list[i] == MADV_DONTNEED) {
			zeroed("read-only", w, 8 * PAGE);
			zeroed("none", w + 16 * PAGE, 8 * PAGE);
		}
		holds_at("kept", w + 8 * PAGE, 8 * PAGE, 7, 8);
		holds_at("kept", w + 24 * PAGE, 40 * PAGE, 7, 24);
		munmap(w, NR * PAGE);
	}
}

static void in_the_child(void *arg)
{
	char *w = arg;

	say_rights("child", w, 48);
	holds("kept", w, 16 * PAGE, 8);
	zeroed("wiped", w + 32 * PAGE, 16 * PAGE);
	fill(w + 32 * PAGE, 16 * PAGE, 9);
	pressure();
	holds("wiped, rewritten", w + 32 * PAGE, 16 * PAGE, 9);
}

static void over_fork(int evicted)
{
	char *w = window(NR * PAGE, RW);

	fill(w, NR * PAGE, 8);
	RC("DONTFORK", madvise(w + 16 * PAGE, 16 * PAGE, MADV_DONTFORK));
	RC("WIPEONFORK", madvise(w + 32 * PAGE, 16 * PAGE, MADV_WIPEONFORK));
	if (evicted)
		pressure();
	in_child("child", in_the_child, w);
	holds("parent", w, NR * PAGE, 8);
	madvise(w, NR * PAGE, MADV_DOFORK);
	RC("KEEPONFORK", madvise(w + 32 * PAGE, 16 * PAGE, MADV_KEEPONFORK));
	munmap(w, NR * PAGE);
}

/* Managed memory, a stack and, if asked for, a hole in one range. A page that was freed holds its old bytes or zeros until it is written. */
static void partly_managed(int advice, const char *name, int hole)
{
	char *w = window(NR * PAGE, RW);
	size_t odd = 0;

	fill(w, NR * PAGE, 11);
	if (mmap(w + 16 * PAGE, 16 * PAGE, RW, ANONFIXED | MAP_STACK, -1, 0) == MAP_FAILED)
		die("mmap");
	fill_at(w + 16 * PAGE, 16 * PAGE, 11, 16);
	if (hole)
		munmap(w + 36 * PAGE, 4 * PAGE);
	RC(name, madvise(w + 8 * PAGE, 40 * PAGE, advice));
	fill_at(w + 12 * PAGE, 8 * PAGE, 12, 12);
	fill_at(w + 30 * PAGE, 4 * PAGE, 12, 30);
	pressure();
	holds_at("written again", w + 12 * PAGE, 8 * PAGE, 12, 12);
	holds_at("written again", w + 30 * PAGE, 4 * PAGE, 12, 30);
	for (size_t i = 8; i < 48; i++)
		if (!(i >= 12 && i < 20) && !(i >= 30 && i < 34) && !(hole && i >= 36 && i < 40))
			odd += !intact(w + i * PAGE, PAGE, 11, i) && !is_zero(w + i * PAGE, PAGE);
	say("neither old nor zero: %zu", odd);
	holds("below", w, 8 * PAGE, 11);
	holds_at("above", w + 48 * PAGE, 16 * PAGE, 11, 48);
	munmap(w, NR * PAGE);
}

static void by_pidfd(int evicted)
{
	int fd = (int)syscall(SYS_pidfd_open, getpid(), 0), other;
	char *w = window(NR * PAGE, RW);
	struct iovec v[4] = { { w + 2 * PAGE, 4 * PAGE }, { w + 8 * PAGE, PAGE }, { w + 16 * PAGE, 0 }, { w + 20 * PAGE, 10 * PAGE } };
	struct iovec unaligned[3] = { { w + 32 * PAGE, PAGE }, { w + 34 * PAGE + 1, PAGE }, { w + 36 * PAGE, PAGE } };
	struct iovec hole[2] = { { w + 38 * PAGE, 4 * PAGE }, { w + 44 * PAGE, PAGE } };
	static struct iovec many[1025];
	pid_t child;

	if (fd < 0)
		die("pidfd_open");
	fill(w, NR * PAGE, 13);
	if (evicted)
		pressure();
	RC("DONTNEED of oneself", process_madvise(fd, v, 4, MADV_DONTNEED, 0));
	zeroed("given up", w + 2 * PAGE, 4 * PAGE);
	zeroed("given up", w + 8 * PAGE, PAGE);
	zeroed("given up", w + 20 * PAGE, 10 * PAGE);
	holds_at("between", w + 9 * PAGE, 11 * PAGE, 13, 9);
	RC("unaligned after one", process_madvise(fd, unaligned, 3, MADV_DONTNEED, 0));
	RC("unaligned", process_madvise(fd, unaligned + 1, 2, MADV_DONTNEED, 0));
	zeroed("before it", w + 32 * PAGE, PAGE);
	holds_at("after it", w + 34 * PAGE, 4 * PAGE, 13, 34);
	munmap(w + 40 * PAGE, PAGE);
	RC("over a hole", process_madvise(fd, hole, 2, MADV_DONTNEED, 0));
	holds_at("after the hole", w + 44 * PAGE, PAGE, 13, 44);
	RC("by number", syscall(SYS_process_madvise, fd, &hole[1], 1, MADV_DONTNEED, 0));
	zeroed("by number", w + 44 * PAGE, PAGE);
	RC("PAGEOUT", process_madvise(fd, v, 2, MADV_PAGEOUT, 0));
	RC("none", process_madvise(fd, v, 0, MADV_DONTNEED, 0));
	RC("unknown advice", process_madvise(fd, v, 1, 12345, 0));
	RC("flags", process_madvise(fd, v, 1, MADV_DONTNEED, 1));
	RC("bad vector", process_madvise(fd, (void *)8, 1, MADV_DONTNEED, 0));
	RC("too many", process_madvise(fd, many, 1025, MADV_DONTNEED, 0));
	RC("no pidfd", process_madvise(0, v, 1, MADV_DONTNEED, 0));
	RC("no descriptor", process_madvise(-1, v, 1, MADV_DONTNEED, 0));
	holds_at("rest", w + 45 * PAGE, 19 * PAGE, 13, 45);
	child = fork();
	if (!child) {
		pause();
		_exit(0);
	}
	other = (int)syscall(SYS_pidfd_open, child, 0);
	RC("DONTNEED of another", process_madvise(other, v, 1, MADV_DONTNEED, 0));
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	holds_at("rest", w + 45 * PAGE, 19 * PAGE, 13, 45);
	close(other);
	close(fd);
	munmap(w, NR * PAGE);
}

static void guards(int evicted)
{
	char *w = window(NR * PAGE, RW);

	fill(w, NR * PAGE, 10);
	if (evicted)
		pressure();
	RC("guard", madvise(w + 8 * PAGE, 8 * PAGE, MADV_GUARD_INSTALL));
	pressure();
	say_rights("guarded", w, 24);
	RC("DONTNEED around", madvise(w + 4 * PAGE, 16 * PAGE, MADV_DONTNEED));
	say_rights("still guarded", w, 24);
	RC("no guard", madvise(w + 8 * PAGE, 8 * PAGE, MADV_GUARD_REMOVE));
	say_rights("unguarded", w, 24);
	zeroed("unguarded", w + 4 * PAGE, 16 * PAGE);
	holds("below", w, 4 * PAGE, 10);
	holds_at("above", w + 20 * PAGE, 44 * PAGE, 10, 20);
	munmap(w, NR * PAGE);
}

int main(void)
{
	for (size_t i = 0; i < sizeof(advices) / sizeof(advices[0]); i++)
		one_advice(&advices[i], 0);
	for (size_t i = 0; i < sizeof(advices) / sizeof(advices[0]); i++)
		if (i % 2 || !advices[i].keeps)
			one_advice(&advices[i], 1);
	lazily_freed();
	holes();
	rights();
	over_fork(0);
	over_fork(1);
	guards(0);
	guards(1);
	partly_managed(MADV_FREE, "FREE", 0);
	partly_managed(MADV_FREE, "FREE over a hole", 1);
	partly_managed(MADV_PAGEOUT, "PAGEOUT", 0);
	by_pidfd(0);
	by_pidfd(1);
	return done();
}
