/* SPDX-License-Identifier: MIT
 *
 * damage.c - a program that writes where it must not: into the compressed pool beside it, and then reads its own memory back.
 *
 *   stdout   "SIGBUS in my memory", "SIGBUS elsewhere", "wrong bytes" or "right"
 *
 * Its pages are random and so kept as they are: each byte of the pool's objects is one of theirs. The pool is by far the largest mapping, and its last
 * 32 GiB are objects (swap/pool.c: as many blocks as slots, and never fewer than 2^20 of these).
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE    4096UL
#define LEN     (24UL << 20)
#define OBJECTS (32UL << 30)
#define STEP    (64UL << 20)

static char *mine;

static void on_bus(int sig, siginfo_t *info, void *context)
{
	const char *at = info->si_addr;

	(void)sig, (void)context;
	if (at >= mine && at < mine + LEN)
		_exit(write(1, "SIGBUS in my memory\n", 20) != 20);
	_exit(write(1, "SIGBUS elsewhere\n", 17) != 17 || 1);
}

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

/* => the end of the largest mapping that may be written to, or 0: none of 32 GiB */
static unsigned long pool_end(void)
{
	unsigned long from, to, largest = OBJECTS, end = 0;
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512], *at;

	while (f && fgets(line, sizeof(line), f)) {
		from = strtoul(line, &at, 16);
		to = strtoul(at + 1, &at, 16);
		if (strncmp(at, " rw-p", 5) == 0 && to - from > largest) {
			largest = to - from;
			end = to;
		}
	}
	if (f)
		fclose(f);
	return end;
}

/* => pages that were damaged */
static unsigned long damage(unsigned long end)
{
	static unsigned char vec[STEP / PAGE];
	unsigned long nr = 0;

	for (unsigned long at = end - OBJECTS; at < end; at += STEP) {
		if (mincore((void *)at, STEP, vec))
			continue;
		for (unsigned long i = 0; i < STEP / PAGE; i++) {
			if (!(vec[i] & 1))
				continue;
			*(volatile char *)(at + i * PAGE + 2000) ^= 1;
			nr++;
		}
	}
	return nr;
}

int main(void)
{
	struct sigaction sa = { .sa_sigaction = on_bus, .sa_flags = SA_SIGINFO };
	unsigned long end;

	sigaction(SIGBUS, &sa, NULL);
	mine = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mine == MAP_FAILED)
		return 2;
	for (size_t i = 0; i < LEN; i += 8)
		*(uint64_t *)(mine + i) = mix(i + 1);
	end = pool_end();
	if (!end || damage(end) < LEN / PAGE / 4)
		return 3;
	for (size_t i = 0; i < LEN; i += 8) {
		if (*(uint64_t *)(mine + i) != mix(i + 1)) {
			puts("wrong bytes");
			return 1;
		}
	}
	puts("right");
	return 1;
}
