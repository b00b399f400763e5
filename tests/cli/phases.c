/* SPDX-License-Identifier: MIT
 * phases.c - phases MIB HOT_MIB SECONDS: fills MIB, works on the first HOT_MIB alone, then on all of it, so long each. Prints a sum of all bytes. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#define PAGE 4096u

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t next(void)
{
	static uint64_t x = 1;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x;
}

/* Reads all of a page now and then, as programs do that compute. */
static uint64_t work(const uint64_t *memory, size_t pages, double seconds)
{
	const double end = now() + seconds;
	uint64_t sum = 0;

	do {
		for (int i = 0; i < 100; i++) {
			const uint64_t *page = memory + next() % pages * (PAGE / 8);

			for (unsigned j = 0; j < PAGE / 8; j += 4)
				sum += page[j];
		}
	} while (now() < end);
	return sum;
}

int main(int argc, char **argv)
{
	const size_t len = argc == 4 ? strtoul(argv[1], NULL, 10) << 20 : 0, hot = argc == 4 ? strtoul(argv[2], NULL, 10) << 20 : 0;
	const double seconds = argc == 4 ? strtod(argv[3], NULL) : 0;
	uint64_t *memory, sum = 0, used;

	if (!len || !hot || hot > len)
		return 2;
	memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return 1;
	for (size_t i = 0; i < len / 8; i++) /* half of a page is random, half is not */
		memory[i] = i % (PAGE / 8) < PAGE / 16 ? next() : i / (PAGE / 8);
	used = work(memory, hot / PAGE, seconds);
	used += work(memory, len / PAGE, seconds);
	for (size_t i = 0; i < len / 8; i++)
		sum = sum * 31 + memory[i];
	printf("%016llx\n", (unsigned long long)sum);
	return used == 0;
}
