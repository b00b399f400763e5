/* SPDX-License-Identifier: MIT
 *
 * walk.h - `minflt walk`: a scenario step by step, each fault as the tree of the calls that resolved it.
 *
 *      scenario/run.h ----> walk_machine.c ----> scenario/soft.h ----> the engine
 *                             |  snapshots         (or host.h)           |  tracepoints, mm/trace.h
 *                             v                                          v
 *                           struct walk <------------------------- walk_record.c
 *                             |
 *                             +--> walk_text.c, walk_json.c, walk_svg.c, walk_table.c
 */
#ifndef MF_CMD_WALK_H
#define MF_CMD_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "scenario/run.h"

/* ---- memory that is freed as a whole ------------------------------------------------------------------------------- */

struct arena_chunk;
struct arena {
	struct arena_chunk *last;
};
struct arena_mark {
	struct arena_chunk *chunk;
	size_t used;
};
void *arena_alloc(struct arena *a, size_t len); /* zeroed; ends the program when there is none */
char *arena_printf(struct arena *a, const char *format, ...) __attribute__((format(printf, 2, 3))); /* at most 511 bytes */
char *arena_copy(struct arena *a, const char *text); /* of any length */
struct arena_mark arena_mark(const struct arena *a);
void arena_release(struct arena *a, struct arena_mark mark); /* forgets what came after the mark */
void arena_free(struct arena *a);

/* ---- what was seen ------------------------------------------------------------------------------------------------- */

enum node_kind {
	NODE_CALL,   /* a function: `event` with three numbers, and what it did */
	NODE_REASON, /* why it goes on as it does */
	NODE_CHANGE, /* what has changed: an entry, a page, a counter */
};

struct walk_node {
	enum node_kind kind;
	unsigned event;
	unsigned long a, b, c;
	const char *text; /* reason, change; of a call: what is to be said beside its name, or NULL */
	struct walk_node *parent, *first, *last, *next;
};

enum fault_result { FAULT_MINOR, FAULT_MAJOR, FAULT_MAPERR, FAULT_ACCERR, FAULT_BUS, FAULT_OOM_KILL };
const char *fault_result_name(enum fault_result result);

struct walk_fault {
	unsigned long addr, last_addr; /* of the last one like it */
	bool write;
	enum fault_result result;
	unsigned long repeated;        /* so many more came directly after it with the same calls, for the same reasons */
	uint64_t shape;                /* hash of calls and reasons, without numbers */
	const char *before, *after;    /* the entry; NULL on host */
	struct walk_node *calls;       /* do_page_fault and what it called; NULL on host */
	struct walk_fault *next;
};

struct walk_counts {
	uint64_t minflt, majflt, zeroed, copied, read, written, frames, page_tables;
};

struct walk_snapshot; /* walk_svg.c */

struct walk_step {
	unsigned line;
	const char *process, *statement;
	const char *error;               /* the name of the error that the call returned, or NULL */
	enum scn_signal signal;
	struct walk_node *calls;         /* root: its children are calls and faults (as nodes of do_page_fault) */
	struct walk_fault *faults, *last_fault;
	struct walk_counts counts;       /* what this step added */
	struct walk_snapshot *before, *after;
	struct walk_step *next;
};

struct walk {
	const char *kernel, *arch;
	struct walk_step *steps, *last_step;
	struct walk_counts totals;
	struct arena arena;
};

/* ---- walk_record.c ------------------------------------------------------------------------------------------------- */

struct mm_struct;

enum record_what {
	RECORD_REASONS = 1 << 0, /* reasons and changes as well as calls */
	RECORD_ALL = 1 << 1,     /* also the faults that are like the one before */
};
/* From now on the tracepoints' events go into `step`; one recording at a time. mm: whose faults they are */
void record_begin(struct walk *walk, struct walk_step *step, struct mm_struct *mm, unsigned what);
void record_end(void);
/* Most page-table pages there were at any event since record_reset(). */
uint64_t record_page_tables(void);
void record_reset(void);

/* ---- walk_words.c -------------------------------------------------------------------------------------------------- */

const char *describe_pte(struct arena *a, uint64_t pte);
/* Beside the name of a function, or the text of a decision; NULL: nothing to say */
const char *describe_event(struct arena *a, unsigned event, unsigned long n1, unsigned long n2, unsigned long n3);
const char *explain_function(const char *name); /* one sentence, or NULL */

/* ---- walk_machine.c ------------------------------------------------------------------------------------------------ */

struct walk_params {
	const char *kernel, *arch; /* "2.0" "2.6" "5" "host"; a geometry */
	unsigned rules;            /* enum mm_rule */
	unsigned long frames;      /* 0: the default */
	unsigned record;           /* enum record_what; */
	bool snapshots;
	bool ignore_expect;
	bool quiet;                /* nothing is printed; *why tells it */
	const char *file;          /* for complaints */
};
/* => 0 passed, 1 it failed (an expectation, a name), 77 something can't be done on this kernel, 125; messages have been printed except for
 * 77. *why: the first one of them, in the walk's arena, or NULL. walk->arena is to be freed in any case. */
int walk_run(const struct scn *scn, const struct walk_params *params, struct walk *walk, const char **why);

/* ---- output -------------------------------------------------------------------------------------------------------- */

struct text_options {
	bool colour, explain;
};
void walk_print_text(FILE *to, const struct walk *walk, const struct text_options *options);
void walk_print_json(FILE *to, const struct walk *walk);
struct walk_row {
	const char *kernel;
	const char *why; /* it was not run to the end; or NULL */
	struct walk_counts counts;
};
void walk_print_table(FILE *to, const struct walk_row *rows, size_t nr);
void walk_print_svg(FILE *to, const struct walk *walk);
struct soft;
/* names: of the processes, by number */
struct walk_snapshot *walk_take_snapshot(struct arena *a, const struct soft *soft, const char *const names[]);

#endif
