/* SPDX-License-Identifier: MIT
 *
 * noise.c - a program whose data don't compress, and which knows each byte of them.
 *
 *   noise MB [FORKS [ROUNDS]]     fills MB, then changes and checks pages at random, ROUNDS times (1) as many as there are, in FORKS children as well
 *   noise MB daemon FILE          a child goes on in a session of its own after its parent has ended, and writes its verdict to FILE
 *   noise MB say TEXT             pages that hold TEXT all over; waits for a line between
 *   noise MB wait                 fills a quarter, waits for a line, goes on
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORDS 512

static uint64_t *area;
static unsigned char *generation;
static size_t pages;

static uint64_t mix(uint64_t z)
{
	z += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static uint64_t word(size_t page, size_t i)
{
	return mix(page * WORDS + i + ((uint64_t)generation[page] << 40));
}

static void fill(size_t page)
{
	for (size_t i = 0; i < WORDS; i++)
		area[page * WORDS + i] = word(page, i);
}

static int check(size_t page)
{
	for (size_t i = 0; i < WORDS; i++)
		if (area[page * WORDS + i] != word(page, i)) {
			fprintf(stderr, "page %zu, word %zu\n", page, i);
			return 1;
		}
	return 0;
}

static int work(uint64_t seed, unsigned long rounds)
{
	int wrong = 0;

	for (uint64_t n = 0; n < rounds * pages; n++) {
		size_t page = mix(n * 7 + seed) % pages;

		wrong |= check(page);
		if (n % 3 == 0) {
			generation[page]++;
			fill(page);
		}
	}
	for (size_t page = 0; page < pages; page++)
		wrong |= check(page);
	return wrong;
}

static void wait_for_line(void)
{
	puts("ready");
	fflush(stdout);
	while (getchar() != '\n' && !feof(stdin))
		;
}

static int say(const char *text)
{
	size_t len = strlen(text);

	for (size_t at = 0; at + len < pages * 4096; at += len + 1)
		memcpy((char *)area + at, text, len);
	wait_for_line();
	return memcmp(area, text, len) != 0;
}

static int daemonize(const char *path)
{
	char temp[4096];
	FILE *f;

	if (fork())
		return 0;
	setsid();
	/* Who reads the parent's output is not to wait for this one. */
	if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr))
		_exit(2);
	usleep(500000); /* minflt has ended */
	snprintf(temp, sizeof(temp), "%s.new", path);
	f = fopen(temp, "w");
	if (!f || fprintf(f, "%s\n", work(3, 1) ? "wrong" : "right") < 0 || fclose(f) || rename(temp, path))
		_exit(1);
	_exit(0);
}

int main(int argc, char **argv)
{
	const char *how = argc > 2 ? argv[2] : "0";
	int forks = atoi(how), status, wrong = 0;
	unsigned long rounds = argc > 3 ? strtoul(argv[3], NULL, 10) : 1;

	pages = strtoul(argv[1], NULL, 10) * 256;
	area = mmap(NULL, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	generation = calloc(pages, 1);
	if (area == MAP_FAILED || !generation)
		return 2;
	if (strcmp(how, "say") == 0)
		return say(argv[3]);
	for (size_t page = 0; page < pages; page++) {
		if (page == pages / 4 && strcmp(how, "wait") == 0)
			wait_for_line();
		fill(page);
	}
	if (strcmp(how, "daemon") == 0)
		return daemonize(argv[3]);
	for (int i = 0; i < forks; i++)
		if (!fork())
			_exit(work((uint64_t)i + 100, rounds));
	wrong = work(1, rounds);
	while (wait(&status) > 0)
		wrong |= status;
	puts(wrong ? "wrong" : "right");
	return wrong != 0;
}
