/* SPDX-License-Identifier: MIT
 *
 * walk_snapshot.h - what memory looks like at one moment: for drawing it.
 */
#ifndef MF_CMD_WALK_SNAPSHOT_H
#define MF_CMD_WALK_SNAPSHOT_H

#include "cmd/walk.h"

struct seen_entry {
	unsigned long addr;
	uint64_t pte;
	struct seen_entry *next;
};
struct seen_vma {
	unsigned long start, end, flags;
	bool is_file;
	unsigned long pgoff;
	struct seen_entry *entries; /* by address; only those that are not none */
	struct seen_vma *next;
};
struct seen_table {
	unsigned level;
	unsigned long start; /* first address that it covers */
	struct seen_table *parent, *next;
};
struct seen_process {
	unsigned index;
	const char *name;
	struct seen_vma *vmas;
	struct seen_table *tables; /* each after its parent, by level and address */
	struct seen_process *next;
};
struct seen_frame {
	unsigned long pfn;
	int refs, maps;
	unsigned flags; /* enum pageflags */
	bool is_file;
	struct seen_frame *next;
};
struct walk_snapshot {
	struct seen_process *processes;
	struct seen_frame *frames;
};

const char *table_level_name(unsigned level);

#endif
