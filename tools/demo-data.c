/* SPDX-License-Identifier: MIT
 *
 * demo-data.c - the data of the demonstration: structured logs (a JSON object a line) and a table of orders, made of
 * the words of real texts.
 *
 *   demo-data log|csv BYTES TEXT...      writes about BYTES to standard output; the same texts give the same bytes
 *
 * `log` is what several web servers' logs look like when they are put together: each server's part is in order of
 * time, the parts follow one another. Paths, agents and messages come from pools and the popular ones come often, as
 * in real logs; addresses, sizes and times don't repeat.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_WORDS 200000u
#define POOL      600u
#define SERVERS   12u

static char *words[MAX_WORDS];
static unsigned nr_words;
static char messages[POOL][160], paths[POOL][96];
static uint64_t state = 20260314;

static uint64_t draw(uint64_t below)
{
	uint64_t z = (state += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return (uint64_t)(((unsigned __int128)(z ^ (z >> 31)) * below) >> 64);
}

static uint64_t draw_popular(uint64_t below) /* the first ones far more often than the last */
{
	return draw(draw(below) + 1);
}

static void read_words(const char *path)
{
	FILE *f = fopen(path, "re");
	char word[24];

	if (!f)
		return;
	while (nr_words < MAX_WORDS && fscanf(f, "%*[^A-Za-z]") != EOF && fscanf(f, "%20[A-Za-z]", word) == 1)
		if (strlen(word) > 2 && !(words[nr_words++] = strdup(word)))
			exit(1);
	fclose(f);
}

static void make_pools(void)
{
	for (unsigned i = 0; i < POOL; i++) {
		unsigned at = (unsigned)draw(nr_words - 16), n = 4 + (unsigned)draw(8);
		size_t len = 0;

		for (unsigned w = 0; w < n && len < sizeof(messages[0]) - 24; w++)
			len += (size_t)sprintf(messages[i] + len, w ? " %s" : "%s", words[at + w]);
		at = (unsigned)draw(nr_words - 16);
		n = 1 + (unsigned)draw(3);
		for (len = 0; n--; at++)
			len += (size_t)sprintf(paths[i] + len, "/%s", words[at]);
	}
}

static int write_log(uint64_t bytes)
{
	static const char *const methods[] = { "GET", "GET", "GET", "GET", "POST", "HEAD" };
	static const unsigned statuses[] = { 200, 200, 200, 200, 200, 304, 302, 404, 500 };

	for (unsigned server = 0; server < SERVERS; server++) {
		uint64_t ms = 0, gap = 86400000ULL * 450 / (bytes / SERVERS) * 2; /* lines have about 450 bytes; one day */

		for (uint64_t done = 0; done < bytes / SERVERS; ) {
			ms += draw(gap + 1);
			int len = printf("{\"time\":\"2026-03-14T%02u:%02u:%02u.%03uZ\",\"host\":\"web%02u\","
				"\"service\":\"frontend\",\"pid\":%u,"
				"\"level\":\"info\",\"logger\":\"access\","
				"\"kubernetes\":{\"namespace\":\"production\",\"container\":\"frontend\",\"image\":\"frontend:4.11.2\"},"
				"\"remote_addr\":\"10.%u.%u.%u\",\"request\":{\"method\":\"%s\",\"path\":\"%s\",\"id\":%" PRIu64 "},"
				"\"response\":{\"status\":%u,\"bytes\":%" PRIu64 ",\"seconds\":0.%03u},\"user_agent\":"
				"\"Mozilla/5.0 (X11; Linux x86_64) %s\",\"message\":\"%s\"}\n",
				(unsigned)(ms / 3600000), (unsigned)(ms / 60000 % 60), (unsigned)(ms / 1000 % 60), (unsigned)(ms % 1000),
				server, 4000 + server * 17, (unsigned)draw(8), (unsigned)draw(256), (unsigned)draw(256),
				methods[draw(6)], paths[draw_popular(POOL)], draw_popular(100000), statuses[draw(9)], draw(60000),
				(unsigned)draw(1000), words[draw_popular(40)], messages[draw_popular(POOL)]);
			if (len < 0)
				return 1;
			done += (uint64_t)len;
		}
	}
	return 0;
}

static int write_csv(uint64_t bytes)
{
	static const char *const countries[] = { "Germany", "France", "Japan", "Brazil", "Kenya", "Canada", "India",
						 "Norway" };

	printf("id,day,customer,country,product,quantity,cents,note\n");
	for (uint64_t id = 1, done = 0; done < bytes; id++) {
		unsigned day = (unsigned)draw(364);
		int len = printf("%" PRIu64 ",2025-%02u-%02u,C%05" PRIu64 ",%s,%s,%" PRIu64 ",%" PRIu64 ",%s\n", id,
			day / 31 + 1, day % 28 + 1, draw_popular(40000), countries[draw_popular(8)],
			paths[draw_popular(POOL)] + 1, 1 + draw_popular(20), 99 + draw(200000), messages[draw_popular(POOL)]);

		if (len < 0)
			return 1;
		done += (uint64_t)len;
	}
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t bytes = argc > 2 ? strtoull(argv[2], NULL, 0) : 0;

	for (int i = 3; i < argc; i++)
		read_words(argv[i]);
	if (bytes < 100000 || (strcmp(argv[1], "log") && strcmp(argv[1], "csv"))) {
		fprintf(stderr, "usage: demo-data log|csv BYTES TEXT...\n");
		return 2;
	}
	if (nr_words < 1000) {
		fprintf(stderr, "demo-data: fewer than 1000 words in the texts given; name files with plain English text\n");
		return 2;
	}
	make_pools();
	setvbuf(stdout, NULL, _IOFBF, 1 << 20);
	if (*argv[1] == 'l' ? write_log(bytes) : write_csv(bytes))
		return 1;
	return fflush(stdout) ? 1 : 0;
}
