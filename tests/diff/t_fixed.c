/* SPDX-License-Identifier: MIT
 *
 * t_fixed - mmap with and without an address, over memory that is managed and memory that isn't, and its flags.
 */
#include "common.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define NR 64UL

static int a_file(size_t len, uint64_t seed)
{
	int fd = memfd_create("t_fixed", MFD_CLOEXEC);
	char *p;

	if (fd < 0 || ftruncate(fd, (off_t)len))
		die("memfd");
	p = mmap(NULL, len, RW, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		die("mmap of memfd");
	fill(p, len, seed);
	munmap(p, len);
	return fd;
}

/* Managed, file, shared and executable mappings over one another, in every order. */
static void kinds(int evicted)
{
	static const char *const names[] = { "anonymous", "private file", "shared file", "shared anonymous", "executable", "none" };
	int fd = a_file(16 * PAGE, 7);

	for (int i = 0; i < 36; i++) {
		char *w = window(NR * PAGE, RW);

		fill(w, NR * PAGE, 1);
		for (int step = 0; step < 2; step++) {
			int kind = step ? i % 6 : i / 6;
			int prot = kind == 5 ? PROT_NONE : kind == 4 ? RW | PROT_EXEC : RW;
			int flags = (kind == 2 || kind == 3 ? MAP_SHARED : MAP_PRIVATE) | MAP_FIXED |
				    (kind == 1 || kind == 2 ? 0 : MAP_ANONYMOUS);

			ADDR(names[kind], w, mmap(w + 16 * PAGE, 16 * PAGE, prot, flags,
						  flags & MAP_ANONYMOUS ? -1 : fd, 0));
			if (kind == 1 || kind == 2)
				holds("file", w + 16 * PAGE, 16 * PAGE, 7);
			else if (kind != 5)
				zeroed("new", w + 16 * PAGE, 16 * PAGE);
			if (kind != 5 && kind != 2)
				fill(w + 16 * PAGE, 16 * PAGE, 3);
			if (evicted)
				pressure();
			if (kind != 5)
				holds("still", w + 16 * PAGE, 16 * PAGE, kind == 2 ? 7 : 3);
		}
		say_rights("rights", w + 12 * PAGE, 24);
		holds("below", w, 16 * PAGE, 1);
		holds_at("above", w + 32 * PAGE, 32 * PAGE, 1, 32);
		munmap(w, NR * PAGE);
		if (evicted)
			i += 2;
	}
	close(fd);
}

static void noreplace(void)
{
	char *w = window(NR * PAGE, RW);

	fill(w, NR * PAGE, 2);
	munmap(w + 16 * PAGE, 16 * PAGE);
	pressure();
	ADDR("onto a mapping", w, mmap(w, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0));
	ADDR("half onto one", w, mmap(w + 24 * PAGE, 16 * PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0));
	ADDR("in the hole", w, mmap(w + 16 * PAGE, 16 * PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0));
	zeroed("in the hole", w + 16 * PAGE, 16 * PAGE);
	ADDR("unaligned", w, mmap(w + 1, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0));
	holds("below", w, 16 * PAGE, 2);
	holds_at("above", w + 32 * PAGE, 32 * PAGE, 2, 32);
	munmap(w, NR * PAGE);
}

/* A call that fails after it has unmapped what stood there: whatever is mapped there next, by a call that nobody sees, is not the
 * old memory. */
static void fails_after_unmapping(int evicted)
{
	char *w = window(NR * PAGE, RW), *p;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0)
		die("socket");
	fill(w, NR * PAGE, 9);
	if (evicted)
		pressure();
	ADDR("mmap of a socket", w, mmap(w + 16 * PAGE, 32 * PAGE, RW, MAP_SHARED | MAP_FIXED, fd, 0));
	close(fd);
	say_rights("gone", w, NR);
	p = mmap(w + 16 * PAGE, 32 * PAGE, RW, ANON | MAP_STACK, -1, 0); /* the hint is free: it goes there */
	if (p != w + 16 * PAGE)
		die("mmap of a stack");
	zeroed("stack", p, 32 * PAGE);
	fill(p, 32 * PAGE, 10);
	pressure();
	holds("stack", p, 32 * PAGE, 10);
	holds("below", w, 16 * PAGE, 9);
	holds_at("above", w + 48 * PAGE, 16 * PAGE, 9, 48);
	munmap(w, NR * PAGE);
}

static void hints(void)
{
	char *w = window(NR * PAGE, RW);

	munmap(w + 16 * PAGE, 16 * PAGE);
	ADDR("hint that is free", w, mmap(w + 16 * PAGE, 8 * PAGE, RW, ANON, -1, 0));
	ADDR("unaligned hint", w, mmap(w + 24 * PAGE + 5, PAGE, RW, ANON, -1, 0));
	ADDR("hint that is taken", w + 16 * PAGE, mmap(w, PAGE, RW, ANON, -1, 0) == MAP_FAILED ? MAP_FAILED : w + 16 * PAGE);
	say_rights("hints", w, NR);
#ifdef MAP_32BIT
	{
		char *low = mmap(NULL, 16 * PAGE, RW, ANON | MAP_32BIT, -1, 0);

		say("below 2G: %d", low != MAP_FAILED && (uintptr_t)low < 1UL << 31);
		fill(low, 16 * PAGE, 3);
		pressure();
		holds("below 2G", low, 16 * PAGE, 3);
		munmap(low, 16 * PAGE);
	}
#endif
	munmap(w, NR * PAGE);
}

static void flags(void)
{
	static const struct { const char *name; int flags; } list[] = {
		{ "POPULATE", MAP_POPULATE }, { "NORESERVE", MAP_NORESERVE }, { "NONBLOCK|POPULATE", MAP_NONBLOCK | MAP_POPULATE },
		{ "STACK", MAP_STACK }, { "LOCKED", MAP_LOCKED }, { "HUGETLB", MAP_HUGETLB }, { "unknown", 1 << 30 },
		{ "NORESERVE|POPULATE", MAP_NORESERVE | MAP_POPULATE }, { "GROWSDOWN", MAP_GROWSDOWN }, { "DENYWRITE", MAP_DENYWRITE },
	};

	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		char *w = window(NR * PAGE, RW);

		fill(w, NR * PAGE, 4);
		ADDR(list[i].name, w, mmap(w + 8 * PAGE, 16 * PAGE, RW, ANONFIXED | list[i].flags, -1, 0));
		if (!(list[i].flags & MAP_HUGETLB)) {
			zeroed("new", w + 8 * PAGE, 16 * PAGE);
			fill(w + 8 * PAGE, 16 * PAGE, 5);
			pressure();
			holds("new", w + 8 * PAGE, 16 * PAGE, 5);
		}
		holds_at("above", w + 24 * PAGE, 40 * PAGE, 4, 24);
		munmap(w, NR * PAGE);
	}
}

static void bad_arguments(void)
{
	char *w = window(NR * PAGE, RW);

	fill(w, NR * PAGE, 6);
	ADDR("no length", w, mmap(NULL, 0, RW, ANON, -1, 0));
	ADDR("neither shared nor private", w, mmap(NULL, PAGE, RW, MAP_ANONYMOUS, -1, 0));
	ADDR("both", w, mmap(w, PAGE, RW, MAP_ANONYMOUS | MAP_FIXED | 7, -1, 0));
	ADDR("fixed, unaligned", w, mmap(w + 1, PAGE, RW, ANONFIXED, -1, 0));
	ADDR("fixed, no length", w, mmap(w, 0, RW, ANONFIXED, -1, 0));
	ADDR("fixed beyond the end", w, mmap((void *)(1UL << 62), PAGE, RW, ANONFIXED, -1, 0));
	ADDR("fixed at the last page", w, mmap((void *)-PAGE, PAGE, RW, ANONFIXED, -1, 0));
	ADDR("128 TiB", w, mmap(NULL, 1UL << 47, RW, ANON | MAP_NORESERVE, -1, 0));
	ADDR("length wraps", w, mmap(NULL, (size_t)-1, RW, ANON, -1, 0));
	ADDR("length wraps a page", w, mmap(NULL, (size_t)-PAGE, RW, ANON, -1, 0));
	ADDR("more than there is", w, mmap(NULL, 1UL << 45, RW, ANON, -1, 0));
	ADDR("no such file", w, mmap(NULL, PAGE, RW, MAP_PRIVATE, 9999, 0));
	ADDR("no file", w, mmap(w, PAGE, RW, ANONFIXED, 9999, 0));
	zeroed("no file", w, PAGE);
	ADDR("odd offset", w, mmap(w, PAGE, RW, ANONFIXED, -1, 1));
	ADDR("odd offset, raw", w, syscall(SYS_mmap, w, PAGE, RW, ANONFIXED, -1, 1));
	ADDR("offset", w, mmap(w, PAGE, RW, ANONFIXED, -1, 3 * PAGE));
	ADDR("unknown rights", w, mmap(w, PAGE, RW | 0x100, ANONFIXED, -1, 0));
	ADDR("validated, unknown flag", w, mmap(w, PAGE, RW, MAP_SHARED_VALIDATE | MAP_ANONYMOUS | MAP_FIXED | 1 << 30, -1, 0));
	ADDR("one byte", w, mmap(w + 8 * PAGE, 1, RW, ANONFIXED, -1, 0));
	zeroed("one byte", w + 8 * PAGE, PAGE);
	holds_at("rest", w + 9 * PAGE, 55 * PAGE, 6, 9);
	say_rights("rest", w, NR);
	munmap(w, NR * PAGE);
}

/* Sixteen tebibytes of address space, of which a few pages are used. */
static void sparse(void)
{
	size_t len = 1UL << 44, step = len / 64;
	char *p = mmap(NULL, len, RW, ANON | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED) {
		say("sparse: %s", strerrorname_np(errno));
		return;
	}
	for (size_t i = 0; i < 64; i++)
		fill_at(p + i * step, PAGE, 8, i);
	pressure();
	for (size_t i = 0; i < 64; i++)
		if (!intact(p + i * step, PAGE, 8, i) || !is_zero(p + i * step + PAGE, PAGE))
			wrong("sparse %zu", i);
	RC("half given up", madvise(p, len / 2, MADV_DONTNEED));
	zeroed("given up", p, PAGE);
	RC("gone", munmap(p, len));
}

static void limited(void *arg)
{
	/* Much less than this is mapped here. What a runtime maps for itself is not the program's. */
	const struct rlimit limit = { .rlim_cur = 768 * MB, .rlim_max = 768 * MB };

	RC("RLIMIT_AS", setrlimit(RLIMIT_AS, &limit));
	ADDR("within", NULL, mmap(NULL, 32 * MB, RW, ANON, -1, 0));
	ADDR("beyond", NULL, mmap(NULL, 1024 * MB, RW, ANON, -1, 0));
	ADDR("beyond, no reserve", NULL, mmap(NULL, 1024 * MB, RW, ANON | MAP_NORESERVE, -1, 0));
}

int main(void)
{
	kinds(0);
	kinds(1);
	noreplace();
	fails_after_unmapping(0);
	fails_after_unmapping(1);
	hints();
	flags();
	bad_arguments();
	sparse();
	in_child("limited", limited, NULL);
	return done();
}
