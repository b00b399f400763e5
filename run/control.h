/* SPDX-License-Identifier: MIT
 *
 * control.h - the memory that the command and the runtimes of all its processes share.
 *
 * `minflt run` makes a memfd of control_bytes(), fills in the request, and starts the program with
 *
 *     LD_PRELOAD=/proc/self/fd/R:<what LD_PRELOAD was>   R: the runtime, opened O_RDONLY (no path, so no spaces or colons)
 *     MINFLT_CONTROL=C:R[:S]                             C: the memfd; S: the swap file, where there is one
 *
 * all descriptors inheritable. Behind the control page lies the tree (one slot a process, see lib/tree.h), and behind that the mailbox
 * (swap/mailbox.h), unless the request says that there is none: the command compresses what the runtime evicts. Behind that, where there is a swap file,
 * the table of who has what of it (swap/share.h); the file is locked through the open file that all processes of the run share. The runtime maps C shared,
 * closes all, puts LD_PRELOAD back to `ld_preload` (or removes it), removes MINFLT_CONTROL, starts the engine and sets `state` to MF_STATE_RUNNING.
 * Counters are written by the runtime with plain relaxed stores and survive the program's death, SIGKILL included; the command reads them at the end.
 *
 * A program that is executed later is started by run/exec.c in the same manner, with
 *
 *     MINFLT_CONTROL=C:R:W:D:N:P   W: the swap file; D: /dev/userfaultfd, if the first program could open it (-1: none); N: its slot, in state
 *                                  TREE_EXEC; P: 1: the program had an LD_PRELOAD, which is what follows R in LD_PRELOAD
 *
 * If the program ends (or execs) while `state` is still MF_STATE_ASKED, the runtime was never loaded: status 125.
 * If `state` is MF_STATE_FAILED, `message` says why, and the runtime has ended the program with status 125.
 */
#ifndef MF_RUN_CONTROL_H
#define MF_RUN_CONTROL_H

#include <stdint.h>

#include "mm/mm.h"
#include "swap/mailbox.h"
#include "swap/robust.h"
#include "swap/share.h"
#include "swap/swap.h"

#define MF_CONTROL_MAGIC   0x746c666e696d0001ULL
#define MF_CONTROL_VERSION 3u

enum mf_state {
	MF_STATE_ASKED = 0,   /* written by the command */
	MF_STATE_RUNNING,     /* the engine serves the program */
	MF_STATE_FAILED,      /* could not start; `message` */
	MF_STATE_FULL,        /* the pool was full: the program was ended as the OOM killer would; `message` */
	MF_STATE_BROKEN,      /* an internal error ended the program; `message` */
};

struct mf_request {               /* all sizes in bytes; the command has validated and rounded them to pages */
	uint64_t memory;          /* --memory: frames + pool + metadata; 0: not given, then resident and pool are */
	uint64_t resident;        /* --resident: uncompressed pages; 0: not given (the runtime balances within memory) */
	uint64_t pool;            /* --pool: compressed pool; 0: not given */
	uint32_t codec;           /* enum swap_codec */
	int32_t  level;
	uint32_t no_move;         /* 1: --no-move: UFFDIO_COPY even where UFFDIO_MOVE is there; 2: nor a MOVE that asks for pins (tests) */
	uint32_t check_every;     /* run the invariants after every n-th fault (tests); 0: never */
	uint32_t around;          /* most pages one fault may fill; 0: the default, 1: one by one (tests) */
	uint32_t uffd_source;     /* enum mf_uffd_source that the command found to work */
	uint32_t mailbox_entries; /* pages that may wait for the compressor in the command; 0: none */
	uint32_t auto_permille;   /* --memory auto: the share of wall-clock time that may be lost; memory is then all that the machine has. 0: off */
	uint64_t swap_bytes;      /* --swap: of the file, head included; 0: no file */
	uint32_t swap_plain;      /* --swap-plain: not encrypted */
	uint32_t swap_no_ring;    /* without io_uring (tests) */
	uint32_t full_waits;      /* --on-full=wait */
	struct swap_trouble swap_trouble; /* tests */
	uint32_t no_follow;       /* --no-follow: programs that the program executes run without the runtime */
};

enum mf_uffd_source { MF_UFFD_SYSCALL = 0, MF_UFFD_DEV = 1 };

/* Words of 64 bits, nothing else: they are added up over the processes of a tree. lib/tree.c knows which of them are gauges or peaks. */
struct mf_counters {
	struct mm_stats mm;
	struct swap_pool_stats swap;
	uint64_t frame_limit;         /* pages */
	uint64_t metadata_bytes;      /* engine tables + swap tables, touched */
	uint64_t total_bytes;         /* frames in use + pool + metadata, now */
	uint64_t total_peak;          /* its peak */
	uint64_t managed_bytes;       /* address space under management, now */
	uint64_t managed_peak;
	uint64_t touched_peak;        /* peak of (resident + swapped) pages, bytes: what the program would have needed */
	uint64_t calls;               /* memory calls that went through the runtime */
	uint64_t faults_read;         /* messages read from userfaultfd */
	uint64_t move_in, move_out, copy_in, copy_out; /* pages */
	uint64_t stuck_pinned;        /* evictions refused because a page was pinned */
	uint64_t forks;               /* children that took over an engine of their own */
	uint64_t uses_move;           /* 1: UFFDIO_MOVE is in use */
	uint64_t started_ns;          /* what the start of the runtime cost */
};

/* What `--memory auto` has found, over time (lib/auto.h). nr is written last. */
#define MF_AUTO_SAMPLES 256u
struct mf_auto_sample {
	uint32_t at_ms;               /* since the start, milliseconds */
	uint32_t lost_permille;       /* of the time since the sample before */
	uint32_t frames, pool;        /* pages */
};
struct mf_auto_curve {
	uint64_t lost_ns;             /* in all */
	uint32_t nr;
	struct mf_auto_sample sample[MF_AUTO_SAMPLES];
};

/* ---- the tree -------------------------------------------------------------------------------------------------------- */

#define TREE_SLOTS 1024u
#define TREE_NOTES 8u
#define TREE_NAME  40u

enum tree_state {
	TREE_FREE = 0,
	TREE_BUSY,    /* being claimed or freed */
	TREE_RUNNING, /* its runtime serves it; or it has ended and nobody has looked yet: `owner` tells */
	TREE_EXEC,    /* has executed another program, whose runtime is to take the slot over */
	TREE_ALONE,   /* runs without the runtime, most often a program that was executed; that was noted */
	TREE_DEAD,    /* ended, its share is returned; kept for a moment for the command to look at */
};

/* Why a program runs without the runtime. */
enum tree_why {
	TREE_WHY_STATIC, TREE_WHY_CLASS, TREE_WHY_MACHINE, TREE_WHY_LINKER, TREE_WHY_PRIVILEGED, TREE_WHY_NO_PROC, TREE_WHY_NO_FD, TREE_WHY_TOO_LONG,
	TREE_WHY_START, TREE_WHY_SILENT, TREE_WHY_BARE, TREE_WHY_FULL, TREE_WHY_FILTER,
	TREE_WHY_SANITIZER, TREE_WHY_AUDIT, TREE_NR_WHY
};

/* What one process keeps, as far as it has told the tree. */
enum tree_gauge { TREE_KEPT, TREE_FRAMES, TREE_POOL, TREE_TOUCHED, TREE_MANAGED, TREE_NR_GAUGES };

struct tree_process {
	struct robust_word link;      /* the word is the thread id of the handler: the kernel sets FUTEX_OWNER_DIED when it ends, however it ends */
	_Atomic uint32_t state;
	_Atomic uint32_t pid;         /* what the process itself calls it */
	_Atomic uint32_t home;        /* 1: the command as well */
	_Atomic uint64_t host_pid;    /* else, once it is known: what the command calls it << 32 | pid; lib/tree_pid.h */
	_Atomic uint32_t bell;        /* what an idle process waits on: somebody needs memory */
	_Atomic uint64_t lease;       /* bytes of the budget that it holds; lib/account.c */
	_Atomic uint64_t began_ns;    /* when it took its lease; TREE_ENDING: it is being ended for want of memory */
	_Atomic uint64_t since_ns;    /* EXEC, ALONE, DEAD: since when */
	_Atomic uint64_t gauge[TREE_NR_GAUGES];
	_Atomic uint64_t real_pages;  /* frames that the host has given memory */
	_Atomic uint64_t other_bytes; /* pool and tables */
	_Atomic uint64_t start_bytes; /* anonymous memory beside those that it had when its runtime started */
	char name[TREE_NAME];         /* EXEC: the program */
	struct mf_counters counters;  /* slot 0: in `struct mf_control` */
};

struct tree_note {
	_Atomic uint32_t times;       /* 0: not written yet */
	uint32_t why;
	char name[TREE_NAME];
};

struct mf_tree {
	_Atomic uint32_t top;         /* slots below it have been used */
	_Atomic uint32_t alive, alive_peak;
	_Atomic uint32_t nr_notes;
	_Atomic uint64_t started, forks, execs, alone; /* processes; forked children; programs executed with and without the runtime */
	_Atomic uint64_t leased;      /* sum of the leases, <= the budget */
	_Atomic uint64_t now[TREE_NR_GAUGES], peak[TREE_NR_GAUGES];
	_Atomic uint64_t unmanaged_peak; /* anonymous memory outside of management; measured by the command */
	_Atomic uint64_t excess_peak;    /* of that, without what every program has: libraries' data, stacks */
	_Atomic uint64_t pressed;     /* times that somebody found the tree at its limit */
	_Atomic uint64_t given;       /* bytes that were given back since the start */
	_Atomic uint64_t full_ns, full_given; /* when somebody waited in vain last, and what `given` was then */
	_Atomic uint64_t full_turn;   /* how many did << 32 | the slot of the last */
	_Atomic uint32_t mailbox_owner; /* slot + 1 */
	struct mf_counters done;      /* of processes that have ended; added to atomically */
	struct tree_note note[TREE_NOTES];
	struct tree_process process[TREE_SLOTS];
};

struct mf_control {
	uint64_t magic;
	uint32_t version;
	_Atomic uint32_t state;       /* enum mf_state */
	struct mf_request request;
	char ld_preload[4096];        /* what LD_PRELOAD was before; used when had_ld_preload */
	uint32_t had_ld_preload;
	_Atomic uint32_t nr_messages; /* damaged pages and the like: further lines, see `message` */
	_Atomic uint32_t waits;       /* times that a process began to wait for room (full_waits) */
	struct mf_counters counters;
	struct mf_auto_curve curve;
	char message[2048];           /* lines for the user, each ended by \n, for standard error at the end */
};

/* Where tree, mailbox and the table of the swap file begin, and where all of it ends. */
#define MF_TREE_AT    ((sizeof(struct mf_control) + 4095) & ~(size_t)4095)
#define MF_MAILBOX_AT ((MF_TREE_AT + sizeof(struct mf_tree) + 4095) & ~(size_t)4095)
static inline size_t control_share_at(const struct mf_request *request)
{
	return MF_MAILBOX_AT + ((mailbox_bytes(request->mailbox_entries) + 4095) & ~(size_t)4095);
}
static inline size_t control_bytes(const struct mf_request *request)
{
	if (request->swap_bytes)
		return control_share_at(request) + share_bytes((uint32_t)(request->swap_bytes / SWAP_FILE_SEGMENT));
	return MF_MAILBOX_AT + mailbox_bytes(request->mailbox_entries);
}
static inline struct mf_tree *control_tree(struct mf_control *c)
{
	return (struct mf_tree *)((char *)c + MF_TREE_AT);
}
static inline struct share *control_share(struct mf_control *c, const struct mf_request *request)
{
	return (struct share *)((char *)c + control_share_at(request));
}
static inline struct mailbox *control_mailbox(struct mf_control *c)
{
	return (struct mailbox *)((char *)c + MF_MAILBOX_AT);
}

#endif
