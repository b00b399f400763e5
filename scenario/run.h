/* SPDX-License-Identifier: MIT
 *
 * run.h - a scenario on a machine: names become addresses, outcomes are compared with what was expected.
 *
 * What is common to all machines lives here, so that a scenario means the same everywhere:
 *
 *   - The plan of addresses. An area without `at` stands at the next multiple of 2 MiB from 1 GiB on, at least 1 MiB
 *     behind the one before (a growsdown area: 16 MiB), in every process and on every machine. So mappings merge, grow
 *     and collide alike.
 *   - Names: areas belong to a process and are copied by fork. After `mremap A OFF ..` that moved, OFF of A is the
 *     first byte of what moved.
 *   - Counters: the faults of a statement are added to the process that it ran in; `mark` sets all of them to zero.
 *
 * A machine does single operations in numbered processes (0: main) and knows nothing of names.
 */
#ifndef MF_SCENARIO_RUN_H
#define MF_SCENARIO_RUN_H

#include "scenario/parse.h"

#define SCN_MAX_PROCESSES 64
#define SCN_PLAN_BEGIN    0x40000000UL

/* Of a file, so that a slip of the pen doesn't fill the disk. Beyond it: EFBIG. */
#define SCN_MAX_FILE (1ULL << 32)

/* One operation, names resolved. */
struct scn_op {
	enum scn_verb verb;
	unsigned long addr;   /* brk: the new break */
	size_t len;           /* mremap: old length; file, truncate: size; reclaim: pages */
	size_t new_len;       /* mremap; remap_file_pages: page offset; pread, pwrite: offset in the file */
	unsigned long to;     /* mremap with SCN_AT: the new address */
	unsigned prot, flags;
	unsigned char value;
	enum scn_advice advice;
	const char *file;     /* mmap, file, warm, cold, truncate, pread, pwrite; of the area otherwise; "": anonymous memory */
	int64_t file_off;
	bool plain;           /* ordinary private anonymous memory: not growsdown, not executable */
	unsigned child;       /* fork, exit: the process */
};

struct scn_outcome {
	int error;              /* a call: 0 or an errno value */
	enum scn_signal signal; /* an access */
	unsigned long at;       /* the address that the signal reported; to scn_watch: from the access's first byte on */
	uint64_t min_flt, maj_flt;
	uint64_t sum;           /* a hash of the bytes read; sweep: and of the signals; mincore: of its vector */
	unsigned long result;   /* mremap: where it stands now; pread, pwrite: bytes; mincore: resident pages */
	unsigned long reads;    /* of files' pages, a neighbouring lot each; 0 where the machine doesn't know */
};

/* Addresses that areas have had. */
struct scn_range {
	unsigned long begin, end;
};

struct scn_machine {
	enum scn_kernel kernel;
	/* => 0: process 0 is there, nothing mapped in it; or -errno */
	int (*start)(void *ctx);
	/* => why it can't do this, or NULL */
	const char *(*unsupported)(void *ctx, const struct scn_op *op);
	/* => 0: *out tells what happened; -errno: the machine itself failed, and message() says how */
	int (*run)(void *ctx, unsigned process, const struct scn_op *op, struct scn_outcome *out);
	/* The byte at addr, without a fault that counts. `area` tells what is behind it (file, file_off of addr). => 0,
	 * -EFAULT nothing is mapped there */
	int (*peek)(void *ctx, unsigned process, const struct scn_op *area, uint8_t *value);
	/* Resident pages of the process in mappings that touch one of the ranges; zero pages don't count. => < 0:
	 * -errno */
	long (*rss)(void *ctx, unsigned process, const struct scn_range *ranges, size_t nr);
	/* The initial break, page aligned. */
	unsigned long (*heap)(void *ctx, unsigned process);
	const char *(*message)(void *ctx);
	/* Ends all processes. Called once after every start. */
	void (*finish)(void *ctx);
};

/* ---- file.c: for the machines ------------------------------------------------------------------------------------- */

/* One page of a new file. => bytes of it; zeros follow */
size_t scn_file_page(uint64_t size, uint64_t at, unsigned char page[SCN_PAGE]);
/* A file without a name in the directory (NULL: $TMPDIR, /var/tmp), filled. => a descriptor, or -1: `why` says what to do about it */
int scn_file_make(const char *directory, uint64_t size, char *why, size_t len);

enum scn_verdict { SCN_PASSED, SCN_FAILED, SCN_SKIPPED, SCN_BROKEN };

/* Called after each statement that was carried out (not for expect, mark). */
typedef void (*scn_watch)(void *arg, const struct scn_stmt *stmt, const struct scn_outcome *outcome);
/* Called for each complaint: "wanted .., saw ..". */
typedef void (*scn_complain)(void *arg, const struct scn_stmt *stmt, const char *text);

struct scn_run_params {
	const struct scn_machine *machine;
	void *ctx;
	bool strict;           /* a call that fails must be followed by `expect error` */
	bool ignore_expect;    /* for comparing machines: expectations are passed over */
	bool ignore_faults;    /* ... those of fault counts only */
	scn_watch watch;       /* may be NULL */
	scn_complain complain;
	void *arg;
};

/* Starts the machine, runs the scenario, finishes the machine. SCN_SKIPPED and SCN_BROKEN have told why through
 * complain(). */
enum scn_verdict scn_run(const struct scn *scn, const struct scn_run_params *params);

/* ---- a program around it ----------------------------------------------------------------------------------------- */

struct scn_main_params {
	const char *name;      /* of the program and machine, for messages */
	const struct scn_machine *machine;
	void *ctx;
};

/* FILE or directory (all its *.scn, sorted) arguments, of which argv[first] is the first; --tap, --strict, --no-counts
 * and -v may stand before.
 * => exit status: 0 all passed (or some skipped), 1 one failed, 2 usage or syntax, 77 all skipped */
int scn_main(const struct scn_main_params *params, int argc, char **argv, int first);

#endif
