/* SPDX-License-Identifier: MIT
 *
 * sequence.h - random scenarios: from a seed, the same on every machine.
 */
#ifndef MF_ORACLE_SEQUENCE_H
#define MF_ORACLE_SEQUENCE_H

#include <stdbool.h>
#include <stdint.h>

#define SEQ_MAX_LINES 700
#define SEQ_LINE_SIZE 96

/* What a sequence may contain. */
enum seq_parts {
	SEQ_FILES = 1 << 0,   /* files, shared memory, truncation */
	SEQ_FORKS = 1 << 1,
	SEQ_RECLAIM = 1 << 2, /* the engine evicts as well: faults can't be compared */
	SEQ_COLD = 1 << 3,    /* files leave memory */
	SEQ_TMPFS = 1 << 4,   /* files without write notification */
	SEQ_OLD = 1 << 5,     /* only what 2.0 knows: no shared writable memory, no stack rules */
	SEQ_ONE_BY_ONE = 1 << 6, /* at the end each page is read by a statement of its own, instead of `sweep` */
	SEQ_UNCOUNTED = 1 << 8, /* a host's reclaim leaves marks on dirty pages that the next faults see: faults aren't compared */
	SEQ_SAME_CONTENTS = 1 << 7, /* only what every generation answers alike: no stack rules */
};

struct sequence {
	char lines[SEQ_MAX_LINES][SEQ_LINE_SIZE];
	unsigned nr;
	unsigned parts;    /* set of seq_parts */
	unsigned caps;     /* of the software machine */
	const char *arch;
};

/* What the seed itself chooses, or exactly `parts`. */
#define SEQ_BY_SEED (~0u)
void sequence_generate(struct sequence *q, uint64_t seed, unsigned parts);

#endif
