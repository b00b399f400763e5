/* SPDX-License-Identifier: MIT
 *
 * runtime.h - the preloaded runtime: what its files share.
 *
 * Every call of the program that changes its memory comes through here. The rule: first the host does it, then the engine follows, both
 * under mmap_lock held for writing, so that no fault is served in between. The host's answer is the program's answer.
 *
 * A call runs on a stack of the runtime with all signals blocked: the program's own stack may be managed memory (coroutines, stacks from malloc),
 * and a fault on it while the lock is held could not be served.
 */
#ifndef MF_RUN_RUNTIME_H
#define MF_RUN_RUNTIME_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mm/mm.h"

#define PAGE MACHINE_PAGE_SIZE
#define HIDDEN __attribute__((visibility("hidden")))
#define EXPORT __attribute__((visibility("default")))

/* The runtime serves this process. Before, and in a process that was not started by `minflt run`, calls pass straight through. */
extern HIDDEN atomic_bool rt_active;

/* One call under way, in the runtime's own memory. */
struct rt_call {
	long a[6];          /* arguments of the system call */
	long ret;
	long (*fn)(struct rt_call *call);
	uint64_t bits;      /* a result that goes back beside the return value */
	unsigned long addr, len; /* a range for the caller to work on afterwards */
	int advice;         /* ... by this madvise; 0: nothing */
};

typedef long (*rt_fn)(struct rt_call *call);

/* Runs fn on a stack of the runtime, signals blocked. `out` (may be NULL) receives the call's fields afterwards.
 * RT_REMOTE: on the handler's thread instead, for what needs the userfaultfd (arming, evicting, reading back). */
enum rt_where { RT_HERE, RT_REMOTE };
HIDDEN long rt_run(rt_fn fn, enum rt_where where, const long a[6], struct rt_call *out);
#define RT_ARGS(...) ((const long[6]){ __VA_ARGS__ })
/* No call is under way, and none begins until rt_gate_open(); calls of this thread pass. */
HIDDEN void rt_gate_close(void);
HIDDEN void rt_gate_open(void);
HIDDEN void rt_gate_reset(void); /* in a forked child */
HIDDEN int rt_calls_init(void);

/* mmap_lock held for writing. Take [addr, addr+len), which the host has just made (or made earlier: `adopt` takes over the
 * pages that stand there), under management. => 0 or -errno */
HIDDEN int rt_manage(unsigned long addr, size_t len, unsigned long vm_flags, bool adopt);
/* mmap_lock held for writing. The host has unmapped or replaced this range. */
HIDDEN void rt_unmanage(unsigned long addr, size_t len);
HIDDEN unsigned long rt_prot_flags(int prot);

/* After mlockall(MCL_FUTURE): the flags of a new mapping (VM_LOCKED or 0), whether it is faulted in, whether so much more may be locked
 * (mmap_lock held). rt_populate: no lock held. */
HIDDEN unsigned long rt_future_flags(void);
HIDDEN bool rt_future_populates(void);
HIDDEN bool rt_may_lock_new(unsigned long addr, size_t len);
HIDDEN void rt_populate(unsigned long addr, size_t len);

/* adopt.c */
HIDDEN void rt_note_early(unsigned long addr, size_t len, int prot); /* a private anonymous mapping made before the start */
HIDDEN void rt_forget_early(unsigned long addr, size_t len);
HIDDEN void rt_adopt_early(void);
HIDDEN void rt_note_bss(void); /* large bss segments, as early mappings; takes the loader's lock */

/* The program has installed a filter: what the runtime may do from now on is in its preface, and a program that is executed inherits the filter
 * and not the preface. */
extern HIDDEN bool rt_filtered;

/* fork.c */
HIDDEN void rt_fork_init(void);
HIDDEN long rt_fork_call(long nr, const long a[5]);

/* threads.c */
HIDDEN void rt_threads_init(void);

/* filter.c */
HIDDEN void rt_filter_init(void);
HIDDEN long rt_seccomp(unsigned long op, unsigned long flags, const void *args);
HIDDEN long rt_prctl_seccomp(const long a[5]);
HIDDEN bool rt_word_readable(const char *p); /* eight bytes */

/* zerocopy.c */
HIDDEN void rt_zerocopy_init(void);
HIDDEN void rt_zerocopy_call(long nr, const long a[6]); /* a system call that the program is about to make */

/* limits.c */
struct uffd_own;
#define RT_OWN_RANGES 8
/* What machine, pager and pool have mapped for themselves. => how many */
HIDDEN unsigned rt_own_ranges(struct uffd_own *own);
HIDDEN void rt_limits_init(void);
HIDDEN long rt_prlimit(long pid, long resource, const void *set, void *old);
HIDDEN void rt_limits_exec(bool begins);

/* brk.c */
HIDDEN void rt_brk_init(void);
HIDDEN long rt_brk_call(unsigned long to);

/* what libc's callers expect */
HIDDEN long rt_errno(long r);

static inline unsigned long page_up(unsigned long x)
{
	return (x + PAGE - 1) & ~(PAGE - 1);
}

static inline unsigned long page_down(unsigned long x)
{
	return x & ~(PAGE - 1);
}

#endif
