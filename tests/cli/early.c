/* SPDX-License-Identifier: MIT
 *
 * early.c - when does a program that has just started get a narrow affinity? Prints, after its first allocation: pages touched until then (0: none did
 * it), the microseconds that took, and whether sched_getaffinity() shows the mask it started with all the same.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGES 100
#define APART (37 * 4096L) /* no stream: a fault each */

static long micros(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* By the kernel's own words; asking it by a call would widen the mask. */
static void allowed(char list[256])
{
	char text[8192];
	int fd = open("/proc/thread-self/status", O_RDONLY);
	ssize_t n = read(fd, text, sizeof(text) - 1);
	char *at;

	close(fd);
	text[n > 0 ? n : 0] = 0;
	at = strstr(text, "Cpus_allowed_list:");
	snprintf(list, 256, "%.*s", at ? (int)strcspn(at, "\n") : 0, at ? at : "");
}

int main(void)
{
	char now[256];
	long start = micros(), took = 0;
	int touched = 0;
	cpu_set_t set;
	char *p = mmap(NULL, PAGES * APART, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *volatile small;

	if (p == MAP_FAILED || madvise(p, PAGES * APART, MADV_RANDOM))
		return 1;
	small = malloc(10);
	for (int i = 0; i < PAGES && !touched; i++) {
		p[i * APART] = 1;
		allowed(now);
		if (!strchr(now, '-') && !strchr(now, ','))
			touched = i + 1;
	}
	took = micros() - start;
	free(small);
	if (sched_getaffinity(0, sizeof(set), &set))
		return 1;
	allowed(now);
	printf("%d %ld %d\n", touched, took, CPU_COUNT(&set) > 1 && (strchr(now, '-') || strchr(now, ',')));
	return 0;
}
