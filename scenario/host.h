/* SPDX-License-Identifier: MIT
 *
 * host.h - the machine that is the kernel of this host: real processes, real system calls, real faults.
 *
 *   controller (this program)                         process i (a child, or a child's child)
 *   ---------------------------                       ---------------------------------------
 *   resolves names, compares outcomes                 waits on a futex in its block of shared memory
 *   writes an operation into the block, wakes  ---->  counters; the one system call or the accesses; counters
 *   reads the outcome                          <----  writes the outcome, wakes
 *
 * What is measured are the process's own faults, so the process must not take any for its own sake: everything that it
 * uses lies in the shared block, in initialised data or on its stack, and is touched once after each fork (warm_up).
 * None of that is memory that the engine manages when the program runs under `minflt run`; there the faults of ordinary
 * memory are counted by the engine, all others by the kernel.
 */
#ifndef MF_SCENARIO_HOST_H
#define MF_SCENARIO_HOST_H

#include <stdatomic.h>
#include <sys/types.h>

#include "scenario/run.h"

#define HOST_MAX_RANGES 512
#define HOST_ALT_STACK  32768

/* A mapping of the program's own files, to be touched after a fork. */
struct host_range {
	unsigned long begin, end;
	bool write;
};

struct host_process {
	atomic_uint asked;    /* number of operations asked for; the process sleeps on it */
	atomic_uint answered; /* number of answers; the controller sleeps on it */
	pid_t pid;
	int pidfd;            /* controller's */
	bool is_peek, is_reset;
	struct scn_op op;     /* op.file is not used here: */
	char path[256];       /* of the file behind the area, or "" */
	struct scn_outcome out;
	int peek_error;
	uint8_t peeked;
	unsigned long heap;   /* the break at the start, page aligned */
	_Alignas(64) char alt_stack[HOST_ALT_STACK];
} __attribute__((aligned(4096)));

struct host_file {
	const char *name; /* the scenario's */
	int fd;           /* the controller's */
};

struct host_shared {
	struct host_process processes[SCN_MAX_PROCESSES];
	struct host_range ranges[HOST_MAX_RANGES];
	unsigned nr_ranges;
	pid_t controller;
	bool uffd;            /* the runtime of minflt is here */
};

extern const struct scn_machine host_machine;      /* ctx: what host_create() gave */
struct host;
struct host *host_create(void);                    /* NULL: errno */
void host_destroy(struct host *host);
/* For many short scenarios: the process `main` lives on and gives up its mappings instead. */
void host_reuse_main(struct host *host);
/* Files are made in this directory from now on. NULL: $TMPDIR, /var/tmp */
void host_set_directory(struct host *host, const char *directory);
/* The same machine as it calls itself under `minflt run`. */
const struct scn_machine *host_machine_here(const struct host *host);

/* Can pages be swapped out here? */
bool host_has_swap(void);

/* child.c. Does not return. */
_Noreturn void host_serve(struct host_shared *shared, unsigned index);
/* => the runtime of minflt serves this process */
bool host_find_runtime(void);
/* host_reads.c. For the controller: what MADV_WILLNEED over this range of process `pid` has begun to read has come. */
void host_await_reads(const struct host_file *files, unsigned nr_files, pid_t pid, unsigned long addr, size_t len);

#endif
