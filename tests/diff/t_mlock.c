/* SPDX-License-Identifier: MIT
 *
 * t_mlock - mlock, mlock2, munlock, mlockall: what they return and that nothing is lost. The pages that are locked are few, so that
 * a small budget can hold them.
 */
#include "common.h"

#include <sys/resource.h>
#include <sys/syscall.h>

#define NR 64UL

static void lock_and_unlock(int evicted)
{
	char *w = window(NR * PAGE, RW);

	fill(w, NR * PAGE, 1);
	if (evicted)
		pressure();
	RC("mlock", mlock(w + 8 * PAGE, 16 * PAGE));
	holds("locked", w, NR * PAGE, 1);
	RC("DONTNEED of locked", madvise(w + 8 * PAGE, PAGE, MADV_DONTNEED));
	RC("FREE of locked", madvise(w + 8 * PAGE, PAGE, MADV_FREE));
	RC("PAGEOUT of locked", madvise(w + 8 * PAGE, PAGE, MADV_PAGEOUT));
	RC("COLD of locked", madvise(w + 8 * PAGE, PAGE, MADV_COLD));
	RC("DONTNEED partly locked", madvise(w, 16 * PAGE, MADV_DONTNEED));
	zeroed("below was given up", w, 8 * PAGE);
	RC("DONTNEED_LOCKED", madvise(w + 20 * PAGE, 4 * PAGE, MADV_DONTNEED_LOCKED));
	zeroed("given up though locked", w + 20 * PAGE, 4 * PAGE);
	fill(w, NR * PAGE, 2);
	pressure();
	holds("under pressure", w, NR * PAGE, 2);
	RC("munlock", munlock(w + 8 * PAGE, 16 * PAGE));
	RC("munlock again", munlock(w + 8 * PAGE, 16 * PAGE));
	pressure();
	holds("unlocked", w, NR * PAGE, 2);
	RC("DONTNEED of unlocked", madvise(w + 8 * PAGE, PAGE, MADV_DONTNEED));
	munmap(w, NR * PAGE);
}

static void on_fault(void)
{
	char *w = window(NR * PAGE, RW);
	unsigned char in_core[64];

	RC("mlock2 ONFAULT", mlock2(w, 32 * PAGE, MLOCK_ONFAULT));
	mincore(w, 32 * PAGE, in_core);
	say("in core before a touch: %d", in_core[3] & 1);
	fill(w, 32 * PAGE, 3);
	pressure();
	holds("on fault", w, 32 * PAGE, 3);
	RC("mlock2 0", mlock2(w, 32 * PAGE, 0));
	RC("mlock2 2", mlock2(w, 32 * PAGE, 2));
	RC("untouched", mlock(w + 32 * PAGE, 32 * PAGE));
	mincore(w + 32 * PAGE, 32 * PAGE, in_core);
	say("in core after mlock: %d", in_core[31] & 1);
	zeroed("untouched", w + 32 * PAGE, 32 * PAGE);
	munmap(w, NR * PAGE);
}

static void errors(void)
{
	char *w = window(NR * PAGE, RW);

	RC("unaligned", mlock(w + 100, 10));
	RC("munlock unaligned", munlock(w + 100, 10));
	RC("no length", mlock(w, 0));
	RC("munlock no length", munlock(w, 0));
	RC("wraps", mlock(w, (size_t)-1));
	RC("wraps a page", mlock(w, (size_t)-(long)PAGE));
	RC("munlock wraps", munlock(w, (size_t)-(long)PAGE));
	munmap(w + 16 * PAGE, PAGE);
	RC("over a hole", mlock(w, 32 * PAGE));
	RC("munlock over a hole", munlock(w, 32 * PAGE));
	mprotect(w + 32 * PAGE, 16 * PAGE, PROT_NONE);
	RC("of PROT_NONE", mlock(w + 24 * PAGE, 16 * PAGE));
	RC("munlock of PROT_NONE", munlock(w + 24 * PAGE, 16 * PAGE));
	mprotect(w + 32 * PAGE, 16 * PAGE, PROT_READ);
	RC("of PROT_READ", mlock(w + 32 * PAGE, 16 * PAGE));
	RC("mlockall 0", mlockall(0));
	RC("mlockall ONFAULT", mlockall(MCL_ONFAULT));
	RC("mlockall 8", mlockall(8));
	RC("munlockall", munlockall());
	munmap(w, NR * PAGE);
}

/* Without the privilege, RLIMIT_MEMLOCK counts what the program itself has locked. */
static void limited(void *arg)
{
	struct rlimit limit = { 64 * PAGE, 64 * PAGE }, none = { 0, 0 };
	char *w = window(256 * PAGE, RW);

	RC("setrlimit", setrlimit(RLIMIT_MEMLOCK, &limit));
	if (is_root() && setresuid(65534, 65534, 65534))
		die("setresuid");
	RC("within", mlock(w, 60 * PAGE));
	RC("the same again", mlock(w, 60 * PAGE));
	RC("beyond", mlock(w + 64 * PAGE, 8 * PAGE));
	RC("far beyond", mlock(w, 256 * PAGE));
	RC("munlock", munlock(w, 60 * PAGE));
	RC("elsewhere", mlock(w + 64 * PAGE, 60 * PAGE));
	RC("MAP_LOCKED", mmap(w, 8 * PAGE, RW, ANONFIXED | MAP_LOCKED, -1, 0) == MAP_FAILED ? -1 : 0);
	munlock(w + 64 * PAGE, 60 * PAGE);
	RC("no limit left", setrlimit(RLIMIT_MEMLOCK, &none));
	RC("mlock", mlock(w, PAGE));
	RC("mlockall", mlockall(MCL_FUTURE));
	RC("munlock", munlock(w, PAGE));
}

static void future(void *arg)
{
	char *p;

	RC("mlockall FUTURE", mlockall(MCL_FUTURE));
	p = map(16 * PAGE);
	zeroed("mapped after", p, 16 * PAGE);
	RC("DONTNEED of it", madvise(p, PAGE, MADV_DONTNEED));
	fill(p, 16 * PAGE, 4);
	RC("munlockall", munlockall());
	RC("DONTNEED of it", madvise(p, PAGE, MADV_DONTNEED));
	holds_at("it", p + PAGE, 15 * PAGE, 4, 1);
	/* Not here: MCL_CURRENT, which minflt refuses when the program has more than it may keep resident. */
}

static void not_inherited(void *arg)
{
	char *w = arg;

	holds("in the child", w, NR * PAGE, 6);
	RC("DONTNEED in the child", madvise(w, PAGE, MADV_DONTNEED));
	zeroed("given up", w, PAGE);
}

int main(void)
{
	char *w = window(NR * PAGE, RW);

	lock_and_unlock(0);
	lock_and_unlock(1);
	on_fault();
	errors();
	in_child("limited", limited, NULL);
	in_child("future", future, NULL);
	fill(w, NR * PAGE, 6);
	mlock(w, 16 * PAGE);
	in_child("not inherited", not_inherited, w);
	holds("in the parent", w, NR * PAGE, 6);
	return done();
}
