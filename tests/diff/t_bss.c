/* SPDX-License-Identifier: MIT
 *
 * t_bss - forty megabytes of bss between data that is read-only, data that is initialised and a bss of an odd size.
 */
#include "common.h"

static const char constant[3 * PAGE] = "constant";
static char initialised[5 * PAGE] = "initialised";
static char large[40 * MB];
static char aligned[64 * PAGE] __attribute__((aligned(4096)));
static char odd[12345];
static char *pointer = initialised + PAGE;

static void child(void *arg)
{
	holds("child", large, 8 * MB, 2);
	fill(large, 8 * MB, 5);
	pressure();
	holds("child's own", large, 8 * MB, 5);
}

static void calls_on_it(void)
{
	fill(aligned, sizeof(aligned), 3);
	pressure();
	RC("mprotect", mprotect(aligned + 8 * PAGE, 8 * PAGE, PROT_READ));
	RC("DONTNEED", madvise(aligned + 16 * PAGE, 8 * PAGE, MADV_DONTNEED));
	zeroed("given up", aligned + 16 * PAGE, 8 * PAGE);
	ADDR("mapped over", aligned, mmap(aligned + 32 * PAGE, 8 * PAGE, RW, ANONFIXED, -1, 0));
	zeroed("mapped over", aligned + 32 * PAGE, 8 * PAGE);
	RC("munmap", munmap(aligned + 48 * PAGE, 8 * PAGE));
	say_rights("calls", aligned, 64);
	holds("below", aligned, 16 * PAGE, 3);
	holds_at("above", aligned + 56 * PAGE, 8 * PAGE, 3, 56);
}

int main(void)
{
	zeroed("large", large, sizeof(large));
	zeroed("odd", odd, sizeof(odd));
	fill(odd, sizeof(odd), 1);
	for (size_t i = 0; i < sizeof(large); i += 8 * MB)
		fill(large + i, 8 * MB, i / (8 * MB) + 2);
	for (size_t i = 0; i < sizeof(large); i += 8 * MB)
		holds("large", large + i, 8 * MB, i / (8 * MB) + 2);
	pressure();
	say("%s, %s, %d", constant, initialised, (int)(pointer - initialised));
	zeroed("rest of initialised", initialised + 16, sizeof(initialised) - 16);
	holds("odd", odd, sizeof(odd), 1);
	in_child("child", child, NULL);
	holds("large after the child", large, 8 * MB, 2);
	calls_on_it();
	RC("DONTNEED of most", madvise((void *)(((uintptr_t)large + PAGE - 1) & -PAGE), sizeof(large) - PAGE, MADV_DONTNEED));
	zeroed("given up", large + PAGE, sizeof(large) - 2 * PAGE);
	holds("odd", odd, sizeof(odd), 1);
	return done();
}
