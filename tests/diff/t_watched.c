/* SPDX-License-Identifier: MIT
 *
 * t_watched - waits with most of its memory evicted while others look into it: outside.py. It tells where its memory is; on a line from standard input it
 * says what its memory is then.
 */
#include "common.h"

#define LEN (4 * MB)

char *watched_area; /* gdb asks for it by name */

int main(void)
{
	char line[16];

	watched_area = map(LEN);
	fill(watched_area, LEN, 1);
	pressure();
	say("%d %lx %lu", (int)getpid(), (unsigned long)watched_area, LEN);
	while (read(0, line, sizeof(line)) > 0) {
		say("digest %016lx", digest(watched_area, LEN));
		pressure();
	}
	return done();
}
