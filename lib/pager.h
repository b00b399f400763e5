/* SPDX-License-Identifier: MIT
 *
 * pager.h - the engine, the userfaultfd machine and the swap pool put together, and the thread that serves faults.
 *
 * One pager a process. The handler is a thread of the process (UFFDIO_MOVE works only from inside) with a descriptor table of its
 * own, so that a program that closes everything can't take the userfaultfd away; all signals blocked; its own stack and thread area.
 *
 * The budget:  frames in use * 4096 + pool blocks + metadata <= memory.  The pool grows as pages go out, and the limit of frames sinks by as
 * much; it rises again when the pool shrinks. Below a floor of frames the pool is full. With `resident` and `pool` both parts are fixed.
 */
#ifndef MF_LIB_PAGER_H
#define MF_LIB_PAGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/lend.h"
#include "mm/mm.h"
#include "run/control.h"

#define PAGER_MIN_FRAMES 128UL /* the fewest frames that faults, windows and reclaim batches can live with: 512 KiB */

extern struct mm_struct *pager_mm;

/* Where a process stands in its tree, and the descriptors that later processes need. */
struct pager_place {
	unsigned slot;     /* BUSY */
	struct lend fds;   /* open in the caller's table; the handler keeps copies in its own */
};

/* Start everything. `control` stays mapped for the life of the process. => 0 or -errno; *what then names the step. */
int pager_start(struct mf_control *control, const struct pager_place *place, const char **what);

/* fork: prepare waits until no fault but this thread's own is being served, and nothing is evicted from then on; then either `parent`
 * or, in the child, `child` (which takes the copied engine over: a userfaultfd and a handler of its own). Between prepare and the others the
 * caller's own faults are served. `lent`: what pager_lend() gave; the parent closes it. => child: 0; 1: it can't be served, and all of its memory
 * has been brought back: the engine is not to be used any more; -errno: not even that. */
void pager_fork_prepare(const struct lend *lent);
void pager_fork_parent(void);
int pager_fork_child(void);

/* Run fn(arg) on the handler's thread and wait for it: for what needs the userfaultfd, which only the handler has. slot < PAGER_NR_SLOTS is
 * the caller's alone until the return. Costs as much as a fault. The caller holds no lock. */
#define PAGER_NR_SLOTS 64u
void pager_call(unsigned slot, void (*fn)(void *arg), void *arg);
/* The same for a process that shares this one's memory and may be killed alone, in a slot of PAGER_NR_PLACES others: who had it before may have been. */
#define PAGER_NR_PLACES 16u
void pager_call_from(unsigned place, void (*fn)(void *arg), void *arg);
/* The memory by which that works. */
void pager_bell_range(unsigned long *addr, size_t *len);
/* Address space that the swap file is mapped in, bytes: shared, so no data by the host's account. */
size_t pager_file_mapped(void);

/* The handler's descriptor, a number in its own table; -1: none. */
int pager_kept_descriptor(enum lend_what what);
/* The program is about to install a seccomp filter. On the handler's thread. */
void pager_before_filter(void);
/* The descriptors that a new process needs, in the table of the calling thread, close-on-exec; the thread may belong to this process or share its
 * memory (vfork). device_only: a filter allows no more. `here` runs a function on the handler's thread, for where the kernel gives no direct way; `post`: for that,
 * memory of the runtime's own, the caller's alone. => false: can't be had */
bool pager_lend(struct lend *to, bool device_only, struct lend_post *post, void (*here)(void (*fn)(void *), void *arg));
/* By a thread of this process: the userfaultfd, likewise. => or -1: can't be had */
int pager_lend_userfaultfd(struct lend_post *post, void (*here)(void (*fn)(void *), void *arg));

/* This process shares the memory of another one (vfork, CLONE_VM), and that one's handler has ended: what is missing is zeros from here on. What was read before
 * `false` was answered is right: a thread's robust words are marked before its descriptors are closed. */
bool pager_orphaned(void);
/* It is ended then, with a message. */
void pager_orphan_ends(void);
/* futex(FUTEX_WAIT), for what a thread of the maker might owe: an orphan doesn't wait for good. */
void pager_wait(void *word, unsigned val);
/* The program's own code may run from now on: what the process has in memory without us is known. */
void pager_started(void);
struct mf_control *pager_control(void);
unsigned pager_slot(void);
long pager_pid(void);

/* End the program: `text` goes to the user by the control page. Callable from any thread. */
_Noreturn void pager_die(enum mf_state state, const char *text);
/* A line for the user at the end. */
void pager_message(const char *text);

/* The counters of this process (in a forked child its own, not the control page's). */
const struct mf_counters *pager_counters(void);
/* Bytes of address space under management, now. */
void pager_count_managed(uint64_t bytes);
/* Copy the engine's counters to the control page. */
void pager_publish(void);

#endif
