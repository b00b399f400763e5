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
	const char *kernel;       /* "5" (NULL), "2.6", "2.0" */
	unsigned rules;           /* set of mm_rule; without one of reuse: MM_REUSE_6, the host's */
	unsigned ra_pages;        /* readahead window of files; 0: the engine's default */
	bool no_notify;           /* files are as on tmpfs: their dirty pages are not counted */
	unsigned check_every;     /* the invariants after every n-th operation; 0: after every one of the first 1024, then more and more rarely */
};

#define SOFT_ALL_CAPS (MACHINE_YOUNG | MACHINE_DIRTY | MACHINE_READONLY | MACHINE_ALIAS | MACHINE_ZERO_PAGE)
#define SOFT_DEFAULTS (struct soft_params){ "x86_64", 8192, SOFT_ALL_CAPS, 65536, NULL, 0, 0, false, 0 }

struct soft;
struct soft *soft_create(const struct soft_params *params); /* NULL: no memory, or no such geometry */
void soft_destroy(struct soft *soft);
extern const struct scn_machine soft_machine;               /* ctx: what soft_create() gave, for kernel 5 */
const struct scn_machine *soft_machine_of(const struct soft *soft); /* for the kernel that was asked for */
/* The address space of a process, and how many there are; NULL: it has ended. For those who draw and print. */
struct mm_struct *soft_mm(const struct soft *soft, unsigned process);
unsigned soft_nr_processes(const struct soft *soft);

/* soft_files.c: real files behind address_spaces. */
struct soft_file {
	const char *name; /* the scenario's */
	struct address_space *mapping;
	int fd; /* the address_space's */
};
struct soft_files {
	unsigned flags; /* enum mapping_flags of new ones */
	unsigned ra_pages; /* of new ones; 0: the default */
	unsigned long nr_frames; /* of the machine */
	unsigned nr;
	struct soft_file *at; /* [nr] */
	char why[400];        /* the machine failed */
};
struct soft_file *soft_file_find(struct soft_files *files, const char *name);
unsigned long soft_file_pages(const struct soft_file *f);
int soft_file_call(struct soft_files *files, const struct scn_op *op); /* file, warm, cold, truncate. => 0 or an errno value, or -1: files->why */
void soft_files_forget(struct soft_files *files);
unsigned long soft_file_reads(void); /* so far, by all machines of this process */

/* soft_calls.c: a system call. => 0 or an errno value; out->result and out->sum as in struct scn_outcome */
struct soft_process {
	struct mm_struct *mm;
	unsigned long brk;
};
struct soft_calls {
	struct soft_files *files;
	unsigned long heap;  /* where the break stood at the start */
};
int soft_call(const struct soft_calls *c, struct soft_process *p, const struct scn_op *op, struct scn_outcome *out);
/* read and write */
void soft_access(struct mm_struct *mm, const struct scn_op *op, struct scn_outcome *out);
/* sweep: one page after the other, signals count into the sum */
void soft_sweep(struct mm_struct *mm, const struct scn_op *op, struct scn_outcome *out);

#endif
