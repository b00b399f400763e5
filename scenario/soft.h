/* SPDX-License-Identifier: MIT
 *
 * soft.h - the machine that is the engine over the software MMU, in this process: an mm_struct a process, swap in
 * ordinary memory.
 *
 * The engine's calls expect that somebody has judged the arguments before, as the host does for it elsewhere: here that
 * is soft_calls.c, by the rules of Linux.
 */
#ifndef MF_SCENARIO_SOFT_H
#define MF_SCENARIO_SOFT_H

#include "mm/mm.h"
#include "scenario/run.h"

struct soft_params {
	const char *arch;         /* a geometry of mm_geometry_find() */
	unsigned long nr_frames;
	unsigned caps;            /* set of machine_cap */
	unsigned long nr_slots;
};

#define SOFT_ALL_CAPS (MACHINE_YOUNG | MACHINE_DIRTY | MACHINE_READONLY | MACHINE_ALIAS | MACHINE_ZERO_PAGE)
#define SOFT_DEFAULTS (struct soft_params){ "x86_64", 8192, SOFT_ALL_CAPS, 65536 }

struct soft;
struct soft *soft_create(const struct soft_params *params); /* NULL: no memory, or no such geometry */
void soft_destroy(struct soft *soft);
extern const struct scn_machine soft_machine;               /* ctx: what soft_create() gave */

/* soft_calls.c: a system call on `mm`. => 0 or an errno value; *result as in struct scn_outcome */
int soft_call(struct mm_struct *mm, const struct scn_op *op, unsigned long *brk, unsigned long heap,
	      unsigned long *result);
/* read and write */
void soft_access(struct mm_struct *mm, const struct scn_op *op, struct scn_outcome *out);

#endif
