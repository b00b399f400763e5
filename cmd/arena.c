/* SPDX-License-Identifier: MIT
 *
 * arena.c - memory that is freed as a whole, or back to a mark.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/walk.h"

#define CHUNK 65536

struct arena_chunk {
	struct arena_chunk *before;
	size_t used, room;
	_Alignas(16) char bytes[];
};

static void add_chunk(struct arena *a, size_t len)
{
	size_t room = len > CHUNK ? len : CHUNK;
	struct arena_chunk *c = malloc(sizeof(*c) + room);

	if (!c) {
		fputs("minflt: no memory for the walk; make the scenario smaller\n", stderr);
		exit(125);
	}
	*c = (struct arena_chunk){ a->last, 0, room };
	a->last = c;
}

void *arena_alloc(struct arena *a, size_t len)
{
	void *p;

	len = (len + 15) & ~(size_t)15;
	if (!a->last || a->last->room - a->last->used < len)
		add_chunk(a, len);
	p = a->last->bytes + a->last->used;
	a->last->used += len;
	return memset(p, 0, len);
}

char *arena_printf(struct arena *a, const char *format, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	return arena_copy(a, text);
}

char *arena_copy(struct arena *a, const char *text)
{
	size_t len = strlen(text) + 1;

	return memcpy(arena_alloc(a, len), text, len);
}

struct arena_mark arena_mark(const struct arena *a)
{
	return (struct arena_mark){ a->last, a->last ? a->last->used : 0 };
}

void arena_release(struct arena *a, struct arena_mark mark)
{
	while (a->last != mark.chunk) {
		struct arena_chunk *before = a->last->before;

		free(a->last);
		a->last = before;
	}
	if (a->last)
		a->last->used = mark.used;
}

void arena_free(struct arena *a)
{
	arena_release(a, (struct arena_mark){ NULL, 0 });
}
