/* SPDX-License-Identifier: MIT
 *
 * t_mprotect - rights taken away and given back, of pages that are resident, evicted, or were never touched.
 */
#include "common.h"

#include <sys/syscall.h>

#define NR 64UL

static void there_and_back(int evicted)
{
	static const int rights[] = { PROT_NONE, PROT_READ, PROT_WRITE, RW, PROT_EXEC | PROT_READ, PROT_NONE, RW };
	char *w = window(NR * PAGE, RW);

	fill(w, NR * PAGE, 1);
	for (size_t i = 0; i < sizeof(rights) / sizeof(rights[0]); i++) {
		RC("mprotect", mprotect(w + 8 * PAGE, 16 * PAGE, rights[i]));
		if (evicted)
			pressure();
		say_rights("rights", w, NR);
	}
	holds("contents", w, NR * PAGE, 1);
	munmap(w, NR * PAGE);
}

static void written_between(void)
{
	char *w = window(NR * PAGE, RW);

	fill(w, NR * PAGE, 2);
	mprotect(w, NR * PAGE, PROT_READ);
	pressure();
	holds("read-only", w, NR * PAGE, 2);
	mprotect(w, NR * PAGE, RW);
	fill(w, NR * PAGE, 3);
	mprotect(w, NR * PAGE, PROT_NONE);
	pressure();
	mprotect(w, NR * PAGE, PROT_READ);
	holds("after none", w, NR * PAGE, 3);
	munmap(w, NR * PAGE);
}

static void untouched(void)
{
	char *w = window(NR * PAGE, PROT_NONE);

	RC("to read", mprotect(w, 16 * PAGE, PROT_READ));
	zeroed("read-only", w, 16 * PAGE);
	RC("to write", mprotect(w, 32 * PAGE, RW));
	zeroed("writable", w, 32 * PAGE);
	fill(w, 32 * PAGE, 4);
	pressure();
	holds("written", w, 32 * PAGE, 4);
	say_rights("untouched", w, NR);
	munmap(w, NR * PAGE);
}

/* Every page its own mapping, as a garbage collector's card marking leaves it. */
static void checkerboard(void)
{
	char *w = window(NR * PAGE, RW);

	fill(w, NR * PAGE, 5);
	for (size_t i = 0; i < NR; i++)
		if (mprotect(w + i * PAGE, PAGE, i % 3 == 0 ? PROT_NONE : i % 3 == 1 ? PROT_READ : RW))
			wrong("page %zu", i);
	pressure();
	say_rights("checkerboard", w, NR);
	RC("all back", mprotect(w, NR * PAGE, RW));
	holds("checkerboard", w, NR * PAGE, 5);
	munmap(w, NR * PAGE);
}

static void holes(void)
{
	char *w = window(NR * PAGE, RW);

	munmap(w + 8 * PAGE, 4 * PAGE);
	RC("up to a hole", mprotect(w, 16 * PAGE, PROT_READ));
	say_rights("up to a hole", w, 24);
	RC("from a hole", mprotect(w + 10 * PAGE, 8 * PAGE, PROT_READ));
	say_rights("from a hole", w, 24);
	RC("odd length", mprotect(w + 16 * PAGE, PAGE + 1, PROT_READ));
	say_rights("odd length", w, 24);
	munmap(w, NR * PAGE);
}

/* A system call meets the rights, too. */
static void system_calls(void)
{
	char *w = window(NR * PAGE, RW);
	int fds[2];

	if (pipe(fds))
		die("pipe");
	fill(w, NR * PAGE, 6);
	mprotect(w + 4 * PAGE, 4 * PAGE, PROT_NONE);
	mprotect(w + 8 * PAGE, 4 * PAGE, PROT_READ);
	pressure();
	RC("write from none", write(fds[1], w + 4 * PAGE, 10));
	RC("write from read-only", write(fds[1], w + 8 * PAGE, 10));
	RC("read into read-only", read(fds[0], w + 8 * PAGE, 4));
	RC("read into writable", read(fds[0], w, 10));
	say("read bytes are those written: %d", memcmp(w, w + 8 * PAGE, 4) == 0 || memcmp(w, w + 8 * PAGE + 4, 6) == 0);
	close(fds[0]);
	close(fds[1]);
	munmap(w, NR * PAGE);
}

#ifdef __x86_64__
/* A just-in-time compiler's way: write, take the right to write, run; then patch and run again. */
static void generated_code(void)
{
	static const unsigned char code[] = { 0xb8, 0x2a, 0, 0, 0, 0xc3 };      /* mov $42, %eax; ret */
	char *w = window(NR * PAGE, RW);
	int (*fn)(void);

	fill(w, NR * PAGE, 7);
	memcpy(w + 5 * PAGE + 128, code, sizeof(code));
	pressure();
	RC("executable", mprotect(w + 4 * PAGE, 4 * PAGE, PROT_READ | PROT_EXEC));
	pressure();
	*(void **)&fn = w + 5 * PAGE + 128;
	say("generated code: %d", fn());
	RC("writable", mprotect(w + 4 * PAGE, 4 * PAGE, RW));
	w[5 * PAGE + 129] = 43;
	RC("both", mprotect(w + 4 * PAGE, 4 * PAGE, RW | PROT_EXEC));
	pressure();
	say("patched code: %d", fn());
	holds("around the code", w, 5 * PAGE, 7);
	holds_at("after the code", w + 6 * PAGE, (NR - 6) * PAGE, 7, 6);
	munmap(w, NR * PAGE);
}
#endif

static void with_key(void)
{
	char *w = window(NR * PAGE, RW);

	fill(w, NR * PAGE, 8);
	RC("no key", syscall(SYS_pkey_mprotect, w, PAGE, PROT_READ, -1));
	RC("bad key", syscall(SYS_pkey_mprotect, w, PAGE, PROT_READ, 99));
	say_rights("with a key", w, 4);
	holds("contents", w, NR * PAGE, 8);
	munmap(w, NR * PAGE);
}

/* With a key of one's own, where the processor has them: few pages, which may stay in memory. */
static void with_own_key(void)
{
	int key = (int)syscall(SYS_pkey_alloc, 0, 0);
	char *w = window(NR * PAGE, RW);
	unsigned char vec[64];

	if (key >= 0) {
		w[20 * PAGE] = 1; /* its neighbours may be filled along with it */
		RC("a key", syscall(SYS_pkey_mprotect, w, NR * PAGE, RW, key));
		RC("mincore", mincore(w, NR * PAGE, vec));
		fill(w, NR * PAGE, 9);
		pressure();
		holds("behind a key", w, NR * PAGE, 9);
		RC("mincore", mincore(w, NR * PAGE, vec));
		syscall(SYS_pkey_mprotect, w, NR * PAGE, RW, 0);
		pressure();
		holds("without it", w, NR * PAGE, 9);
		syscall(SYS_pkey_free, key);
	}
	munmap(w, NR * PAGE);
}

int main(void)
{
	there_and_back(0);
	there_and_back(1);
	written_between();
	untouched();
	checkerboard();
	holes();
	system_calls();
#ifdef __x86_64__
	generated_code();
#endif
	with_key();
	with_own_key();
	return done();
}
