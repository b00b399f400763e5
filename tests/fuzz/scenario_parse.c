/* SPDX-License-Identifier: MIT
 *
 * scenario_parse.c - any bytes through the parser of scenarios.
 *
 * With clang -fsanitize=fuzzer it is a libFuzzer target. Built with -DSTANDALONE it has a main of its own:
 * scenario_parse SEED ROUNDS FILE|DIRECTORY... parses each file, then mutates them with a fixed seed, so that a failure
 * repeats; a single file and 0 rounds replay one input.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "scenario/parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is promised about the result, whatever the input. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct scn_error err;
	struct scn scn;
	int r = scn_parse((const char *)data, size, &scn, &err);

	if (r) {
		assert(r == -EINVAL || r == -EFBIG || r == -ENOMEM);
		assert(!scn.stmts && !scn.text && !scn.nr);
		if (r == -EINVAL)
			assert(err.line && err.column && *err.message && memchr(err.message, 0, sizeof(err.message)));
		return 0;
	}
	for (size_t i = 0; i < scn.nr; i++) {
		const struct scn_stmt *s = &scn.stmts[i];

		assert(s->line && *s->process && s->only && !(s->only & ~(unsigned)SCN_ALL_KERNELS));
		assert(!i || s->line > scn.stmts[i - 1].line);
		assert(*s->text && s->text + strlen(s->text) <= scn.text + size);
		assert(s->verb == SCN_EXPECT || (s->len >= 0 && s->new_len >= 0));
	}
	scn_free(&scn);
	return 0;
}

#ifdef STANDALONE
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_INPUTS 256
#define MAX_SIZE   65536

static struct input {
	uint8_t *data;
	size_t len;
} inputs[MAX_INPUTS];
static unsigned nr_inputs;
static uint64_t state;

static uint64_t next(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static void load(const char *path)
{
	FILE *f = fopen(path, "r");
	struct input *in = &inputs[nr_inputs];

	if (!f || nr_inputs == MAX_INPUTS) {
		perror(path);
		exit(1);
	}
	in->data = malloc(MAX_SIZE);
	if (!in->data)
		exit(1);
	in->len = fread(in->data, 1, MAX_SIZE, f);
	fclose(f);
	nr_inputs++;
}

static void load_all(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *d;
	char file[1024];

	if (!dir) {
		load(path);
		return;
	}
	while ((d = readdir(dir))) {
		snprintf(file, sizeof(file), "%s/%s", path, d->d_name);
		if (d->d_name[0] != '.')
			load(file);
	}
	closedir(dir);
}

/* Somewhere in `to`, which has room: a byte, a word of the language, a piece of another input, or less. */
static size_t mutate(uint8_t *to, size_t len)
{
	static const char *const words[] = {
		"in ",     "main:",   "only ",    "5 ",   "-",      "0x",   "P",       "99999999999999999999",
		"\n",      "#",       " mmap A ", "heap", "shared", "anon", "expect ", "byte",
		"SIGSEGV", "maymove", " at ",     "rwx",  "none",
	};
	const struct input *other = &inputs[next() % nr_inputs];
	size_t at = len ? next() % len : 0, n;
	const char *w;

	switch (next() % 5) {
	case 0:
		if (len)
			to[at] = (uint8_t)next();
		return len;
	case 1:
		w = words[next() % (sizeof(words) / sizeof(words[0]))];
		n = strlen(w);
		memmove(to + at + n, to + at, len - at);
		memcpy(to + at, w, n);
		return len + n;
	case 2:
		n = len - at ? next() % (len - at) : 0;
		memmove(to + at, to + at + n, len - at - n);
		return len - n;
	case 3:
		n = other->len ? next() % other->len : 0;
		n = n < 200 ? n : 200;
		memmove(to + at + n, to + at, len - at);
		memcpy(to + at, other->data + (other->len - n), n);
		return len + n;
	default:
		return at;
	}
}

int main(int argc, char **argv)
{
	static uint8_t work[2 * MAX_SIZE];
	unsigned long rounds;

	if (argc < 4) {
		fprintf(stderr, "usage: scenario_parse SEED ROUNDS FILE|DIRECTORY...\n");
		return 2;
	}
	state = strtoull(argv[1], NULL, 0) * 2 + 1;
	rounds = strtoul(argv[2], NULL, 0);
	for (int i = 3; i < argc; i++)
		load_all(argv[i]);
	for (unsigned i = 0; i < nr_inputs; i++)
		LLVMFuzzerTestOneInput(inputs[i].data, inputs[i].len);
	for (unsigned long i = 0; i < rounds && nr_inputs; i++) {
		const struct input *in = &inputs[next() % nr_inputs];
		size_t len = in->len;
		uint8_t *exact;

		memcpy(work, in->data, len);
		for (unsigned k = 1 + (unsigned)(next() % 6); k && len < MAX_SIZE - 256; k--)
			len = mutate(work, len);
		exact = malloc(len ? len : 1); /* of exactly this size, so that a sanitizer sees the byte behind it */
		if (!exact)
			return 1;
		memcpy(exact, work, len);
		LLVMFuzzerTestOneInput(exact, len);
		free(exact);
	}
	printf("%u inputs, %lu mutations\n", nr_inputs, rounds);
	for (unsigned i = 0; i < nr_inputs; i++)
		free(inputs[i].data);
	return 0;
}
#endif
