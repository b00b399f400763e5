/* SPDX-License-Identifier: MIT
 *
 * compare.h - one scenario on several machines, statement by statement.
 *
 * Equal must be: the error of a call; the signal, its code and address; the bytes; the residency that mincore tells; and, where they can be
 * compared, the faults. The host runs everything twice: counts that differ between the two are not the engine's to explain and are
 * left out; so are those that differ from the engine's after a read that no fault waits for.
 */
#ifndef MF_ORACLE_COMPARE_H
#define MF_ORACLE_COMPARE_H

#include "scenario/host.h"
#include "scenario/soft.h"
#include "tests/oracle/sequence.h"

struct record {
	unsigned line;
	enum scn_verb verb;
	struct scn_outcome outcome;
};

struct recording {
	struct record at[SEQ_MAX_LINES];
	unsigned nr;
	bool too_long; /* for `at` */
	enum scn_verdict verdict;
	char complaint[300];
};

struct counts {
	uint64_t statements, faults, signals, errors;
	uint64_t counts_compared, counts_left_out; /* statements with faults, on the host; of these, with others the second time */
	uint64_t counts_under_way;                 /* left out as well: they depend on when the disk has answered */
	uint64_t host_unstable;                    /* sequences whose contents differed between two runs of the host */
	uint64_t sequences, divergences, crashes, not_run;
};

struct comparison {
	struct host *host;          /* NULL: the generations among themselves */
	const char *tmpfs;          /* a directory on tmpfs, or NULL */
	unsigned ra_pages;          /* the host's readahead window */
	const char *kernels[3];     /* of the engine; NULL-terminated when fewer */
	unsigned nr_frames;         /* of the engine; 0: as many as sequences need */
	unsigned check_every;       /* the engine's invariants: after every n-th statement */
	bool ignore_faults;
	bool swap;                  /* the host has some: so does the engine */
	struct recording host_did[2], soft_did;
	struct counts *counts;      /* NULL: don't count */
	char how[600];              /* what differs */
	unsigned line;              /* where; 0: nowhere in particular */
};

enum result { SAME, DIFFERENT, NOT_RUN };

/* The lines of q that are kept (NULL: all). */
enum result compare(struct comparison *c, const struct sequence *q, const bool *keep);
/* A scenario from elsewhere, for the machine that q describes. */
enum result compare_text(struct comparison *c, const struct sequence *q, const char *text);
/* They as text, to be freed. */
char *sequence_text(const struct sequence *q, const bool *keep);

#endif
