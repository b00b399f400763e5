/* SPDX-License-Identifier: MIT
 *
 * engine_host.c - the access patterns of engine.c against the host's own kernel, in pages of 4 KiB: nanoseconds per page.
 *
 *      engine-host anon|file|around|cow-reuse|cow-copy|fork N
 *
 * Status 77: this host can't.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void store_all(char *p, unsigned long n)
{
	for (unsigned long i = 0; i < n; i++)
		((volatile char *)p)[i * PAGE] = 1;
}

static char *anonymous(unsigned long n)
{
	char *p = mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	madvise(p, n * PAGE, MADV_NOHUGEPAGE);
	return p;
}

/* A file of n pages in the page cache, without a name. */
static int cached_file(unsigned long n)
{
	char name[] = "/tmp/minflt-engine.XXXXXX", page[PAGE];
	int fd = mkstemp(name);

	if (fd < 0)
		die(name);
	unlink(name);
	memset(page, 1, sizeof(page));
	for (unsigned long i = 0; i < n; i++)
		if (write(fd, page, PAGE) != (ssize_t)PAGE)
			die("write");
	return fd;
}

static double load_every(char *p, unsigned long n, unsigned long step)
{
	double t = now();

	for (unsigned long i = 0; i < n; i += step)
		(void)((volatile char *)p)[i * PAGE];
	return now() - t;
}

static double file_pages(unsigned long n)
{
	int fd = cached_file(n);
	char *at = mmap(NULL, 2 * n * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		die("mmap");
	munmap(at, 2 * n * PAGE);
	for (unsigned long i = 0; i < n; i++)
		if (mmap(at + 2 * i * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, i * PAGE) == MAP_FAILED) {
			fprintf(stderr, "more mappings than this host allows (vm.max_map_count)\n");
			exit(77);
		}
	return load_every(at, 2 * n, 2);
}

static double around(unsigned long n)
{
	int fd = cached_file(n);
	char *p = mmap(NULL, n * PAGE, PROT_READ, MAP_PRIVATE, fd, 0);

	if (p == MAP_FAILED)
		die("mmap");
	return load_every(p, n, 16);
}

/* mode 'f': the time of fork(2); 'c': stores while the child lives; 'r': after its end */
static double forked(unsigned long n, char mode)
{
	char *p = anonymous(n);
	double t;
	pid_t child;

	store_all(p, n);
	t = now();
	child = fork();
	if (child < 0)
		die("fork");
	if (!child) {
		if (mode == 'c')
			pause();
		_exit(0);
	}
	if (mode == 'f')
		t = now() - t;
	if (mode == 'r')
		waitpid(child, NULL, 0);
	if (mode != 'f') {
		t = now();
		store_all(p, n);
		t = now() - t;
	}
	if (mode == 'c')
		kill(child, SIGKILL);
	if (mode != 'r')
		waitpid(child, NULL, 0);
	return t;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	unsigned long n = argc > 2 ? strtoul(argv[2], NULL, 0) : 0;
	double t;

	if (!n) {
		fprintf(stderr, "usage: engine-host anon|file|around|cow-reuse|cow-copy|fork N\n");
		return 2;
	}
	if (!strcmp(mode, "anon")) {
		char *p = anonymous(n);

		t = now();
		store_all(p, n);
		t = now() - t;
	} else if (!strcmp(mode, "file")) {
		t = file_pages(n);
	} else if (!strcmp(mode, "around")) {
		t = around(n);
	} else if (!strcmp(mode, "cow-reuse") || !strcmp(mode, "cow-copy") || !strcmp(mode, "fork")) {
		t = forked(n, mode[0] == 'f' ? 'f' : mode[4]);
	} else {
		fprintf(stderr, "engine-host: no such mode: %s\n", mode);
		return 2;
	}
	printf("%s: %.1f ns\n", mode, t / n);
	return 0;
}
