/* SPDX-License-Identifier: MIT
 *
 * t_mincore - which pages have been touched. Natively an anonymous page that was touched stays in core while nothing presses; an
 * evicted one may be reported either way. So the vectors are compared with the budget empty, and only return codes afterwards.
 * Pages that were filled in around a fault must look untouched, though.
 */
#include "common.h"

#include <sys/prctl.h>

#define NR 64UL

static void vector(const char *name, char *p, size_t nr)
{
	unsigned char vec[256];
	char letters[257];

	memset(vec, 0xee, sizeof(vec));
	RC(name, mincore(p, nr * PAGE, vec));
	for (size_t i = 0; i < nr; i++)
		letters[i] = vec[i] == 0xee ? '?' : vec[i] & 1 ? 'x' : '.';
	letters[nr] = '\0';
	say("%s: %s", name, letters);
	say("beyond the end: %x", vec[nr]);
}

static void touched(void)
{
	char *w = window(NR * PAGE, RW);

	vector("new", w, NR);
	w[5 * PAGE] = 1;
	vector("one written", w, NR);
	for (size_t i = 16; i < 48; i += 4)
		w[i * PAGE + 7] = 1;
	vector("every fourth written", w, NR);
	for (size_t i = 48; i < 64; i += 3)
		(void)*(volatile char *)(w + i * PAGE);
	vector("every third read", w, NR);
	RC("DONTNEED", madvise(w, 32 * PAGE, MADV_DONTNEED));
	vector("half given up", w, NR);
	RC("POPULATE_WRITE", madvise(w + 8 * PAGE, 8 * PAGE, MADV_POPULATE_WRITE));
	vector("populated", w, NR);
	RC("POPULATE_READ", madvise(w, 4 * PAGE, MADV_POPULATE_READ));
	vector("populated for reading", w, NR);
	mprotect(w + 40 * PAGE, 4 * PAGE, PROT_NONE);
	vector("with PROT_NONE", w, NR);
	ADDR("moved", w, mremap(w + 16 * PAGE, 32 * PAGE, 32 * PAGE, MREMAP_MAYMOVE));
	munmap(w, NR * PAGE);
}

static void moved(void)
{
	char *w = window(NR * PAGE, RW);

	for (size_t i = 0; i < 16; i += 2)
		w[i * PAGE] = 1;
	ADDR("moved", w, mremap(w, 16 * PAGE, 24 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, w + 32 * PAGE));
	vector("moved", w + 32 * PAGE, 32);
	mmap(w + 32 * PAGE, 4 * PAGE, RW, ANONFIXED, -1, 0);
	vector("mapped over", w + 32 * PAGE, 32);
	mmap(w, 16 * PAGE, RW, ANONFIXED | MAP_POPULATE, -1, 0);
	vector("MAP_POPULATE", w, 16);
	mmap(w, 16 * PAGE, PROT_NONE, ANONFIXED | MAP_POPULATE, -1, 0);
	vector("MAP_POPULATE of PROT_NONE", w, 16);
	munmap(w, NR * PAGE);
}

static void errors(const char *when)
{
	char *w = window(NR * PAGE, RW);
	unsigned char vec[64], *in_window = (unsigned char *)w;

	say("errors %s", when);
	fill(w, NR * PAGE, 1);
	RC("unaligned", mincore(w + 1, PAGE, vec));
	RC("no length", mincore(w, 0, vec));
	RC("one byte", mincore(w, 1, vec));
	RC("bad vector", mincore(w, PAGE, (unsigned char *)8));
	RC("wraps", mincore(w, (size_t)-1, vec));
	RC("beyond the address space", mincore(w, 1UL << 62, vec));
	munmap(w + 32 * PAGE, PAGE);
	RC("over a hole", mincore(w, 64 * PAGE, vec));
	RC("in a hole", mincore(w + 32 * PAGE, PAGE, vec));
	mprotect(w + 48 * PAGE, PAGE, PROT_READ);
	RC("vector is read-only", mincore(w, PAGE, in_window + 48 * PAGE));
	RC("vector in a hole", mincore(w, PAGE, in_window + 32 * PAGE));
	pressure();
	RC("vector is evicted", mincore(w, 16 * PAGE, in_window + 33 * PAGE));
	holds("rest", w, 32 * PAGE, 1);
	munmap(w, NR * PAGE);
}

int main(void)
{
	/* A host that gives out large folios would report their untouched pages as in core. */
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	touched();
	moved();
	errors("before pressure");
	pressure();
	errors("after pressure");
	return done();
}
