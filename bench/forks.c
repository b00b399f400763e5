/* SPDX-License-Identifier: MIT
 *
 * forks.c BYTES N - N times fork and exit of a process with so much memory in use; one line of JSON with the time of one, from
 * before fork to after wait.
 *
 * A plain program; start.py runs it natively and under `minflt run`.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t fork_once(const unsigned char *memory)
{
	uint64_t start = now_ns();
	int status;
	pid_t child = fork();

	if (!child)
		_exit(memory[0] == 1 ? 0 : 1); /* the child sees what it should */
	if (child < 0 || waitpid(child, &status, 0) != child || status) {
		perror("forks: a child failed");
		exit(1);
	}
	return now_ns() - start;
}

int main(int argc, char **argv)
{
	size_t bytes = argc == 3 ? strtoull(argv[1], NULL, 0) : 0;
	unsigned long n = argc == 3 ? strtoul(argv[2], NULL, 0) : 0;

	if (bytes < 4096 || !n) {
		fprintf(stderr, "usage: forks BYTES N\n");
		return 2;
	}
	unsigned char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t *ns = malloc(n * sizeof(*ns));

	if (memory == MAP_FAILED || !ns || madvise(memory, bytes, MADV_NOHUGEPAGE)) {
		perror("forks");
		free(ns);
		return 2;
	}
	for (size_t i = 0; i < bytes; i += 4096)
		memory[i] = 1;
	fork_once(memory); /* libraries and tables are warm */
	for (unsigned long i = 0; i < n; i++)
		ns[i] = fork_once(memory);
	qsort(ns, n, sizeof(*ns), by_value);
	printf("{\"median_ns\": %llu, \"p90_ns\": %llu}\n", (unsigned long long)ns[n / 2], (unsigned long long)ns[n * 9 / 10]);
	return 0;
}
