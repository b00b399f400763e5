/* SPDX-License-Identifier: MIT
 *
 * placed.c N - where do N threads run that fault all the time, beside one that doesn't? Waits until each has a narrow affinity (at most ten seconds), prints
 * how many have, how many processors that are, and whether sched_getaffinity() and, after it, the kernel show all processors for each.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOST  8
#define PAGES 2000
#define APART (37 * 4096L) /* no stream: a fault each */

static atomic_int tid[MOST];
static atomic_bool over;

static void *fault(void *number)
{
	char *p = mmap(NULL, PAGES * APART, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED || madvise(p, PAGES * APART, MADV_RANDOM))
		exit(1);
	atomic_store(&tid[(long)number], (int)syscall(SYS_gettid));
	while (!atomic_load(&over)) {
		for (int i = 0; i < PAGES && !atomic_load(&over); i++)
			p[i * APART] = 1;
		madvise(p, PAGES * APART, MADV_DONTNEED);
	}
	return NULL;
}

/* By the kernel's own words; asking it by a call would widen the mask. => the processor, or -1: several */
static int processor(int thread)
{
	char name[64], text[8192];
	const char *at;
	ssize_t n;
	int fd;

	snprintf(name, sizeof(name), "/proc/self/task/%d/status", thread);
	fd = open(name, O_RDONLY);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	at = strstr(text, "Cpus_allowed_list:");
	if (!at)
		exit(1);
	at += strlen("Cpus_allowed_list:");
	return memchr(at, '-', strcspn(at, "\n")) || memchr(at, ',', strcspn(at, "\n")) ? -1 : atoi(at);
}

int main(int argc, char **argv)
{
	const int threads = argc > 1 ? atoi(argv[1]) : 1;
	int narrow = 0, whole = 1;
	pthread_t thread[MOST];
	cpu_set_t set, where;

	for (long i = 0; i < threads && i < MOST; i++)
		if (pthread_create(&thread[i], NULL, fault, (void *)i))
			return 1;
	for (int tries = 0; tries < 10000 && narrow < threads; tries++) {
		usleep(1000);
		narrow = 0;
		CPU_ZERO(&where);
		for (int i = 0; i < threads; i++) {
			const int cpu = atomic_load(&tid[i]) ? processor(atomic_load(&tid[i])) : -1;

			narrow += cpu >= 0;
			if (cpu >= 0)
				CPU_SET(cpu, &where);
		}
	}
	for (int i = 0; i < threads; i++) {
		if (sched_getaffinity(atomic_load(&tid[i]), sizeof(set), &set))
			return 1;
		whole = whole && CPU_COUNT(&set) > 1 && processor(atomic_load(&tid[i])) < 0;
	}
	atomic_store(&over, true);
	for (int i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
	printf("%d %d %d\n", narrow, CPU_COUNT(&where), whole);
	return 0;
}
