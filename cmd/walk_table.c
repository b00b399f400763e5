/* SPDX-License-Identifier: MIT
 *
 * walk_table.c - several kernels on one scenario, a line each.
 */
#include <inttypes.h>
#include <string.h>

#include "cmd/walk.h"

void walk_print_table(FILE *to, const struct walk_row *rows, size_t nr)
{
	fprintf(to, "%-8s %8s %8s %8s %8s %8s %8s %8s %8s\n", "kernel", "minor", "major", "zeroed", "copied", "read", "written", "frames",
		"tables");
	for (size_t i = 0; i < nr; i++) {
		const struct walk_counts *c = &rows[i].counts;

		if (rows[i].why) {
			fprintf(to, "%-8s stopped: %s\n", rows[i].kernel, rows[i].why);
			continue;
		}
		fprintf(to, "%-8s %8" PRIu64 " %8" PRIu64, rows[i].kernel, c->minflt, c->majflt);
		if (!strcmp(rows[i].kernel, "host")) /* nobody tells what it did inside */
			fprintf(to, " %8s %8s %8s %8s %8s %8s\n", "-", "-", "-", "-", "-", "-");
		else
			fprintf(to, " %8" PRIu64 " %8" PRIu64 " %8" PRIu64 " %8" PRIu64 " %8" PRIu64 " %8" PRIu64 "\n", c->zeroed, c->copied, c->read,
				c->written, c->frames, c->page_tables);
	}
}
