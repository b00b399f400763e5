/* SPDX-License-Identifier: MIT
 *
 * account.h - one budget for all processes of a tree.
 *
 * The account is the sum of leases in the shared memory (run/control.h): a process may keep what its lease allows, and the leases together never exceed
 * --memory, but for the little that each process needs to exist (ACCOUNT_LEAST). lib/budget.c divides the lease between frames and pool.
 *
 *   need      a process that runs short asks for more lease, in steps, as long as the account has room
 *   reap      no room: what ended processes held is returned first (lib/tree.h)
 *   press     still none: all others are asked to give back, and the process evicts pages of its own meanwhile
 *   give      who is asked returns what it doesn't use; if it had no fault since it was last asked, it is idle, and evicts an eighth of its lease;
 *             if it holds more than its fair share (the budget over the number of processes), a sixteenth, not below that share
 *   wait      a process that can evict nothing any more waits for the others, for a while, before it is ended: one at a time, for what it held may be
 *             enough for the others. That it waited in vain is remembered: the next ones don't wait so long for what nobody has
 *
 * An idle process has a handler that sleeps: a second thread, the warden, waits for the bell in its slot and knocks. It exists from when the process
 * has company and holds more than a little.
 *
 * A forked child shares its pages with its parent until one of them writes; the parent's lease holds them. While there is room, the child leases as much
 * again, for it may write at once and without a fault of ours. For what it gets no lease it has credit: it may keep so much more than its lease, as long as
 * it is still shared. That sinks with each page that the child evicts, and is measured now and then (smaps_rollup: a few ms for a GiB; every 2 ms if that takes
 * a tenth of it). What a child stores to between two measurements is beyond the budget until then. When others ask, what is still shared turns into credit.
 * Who then keeps more than it may, evicts, and asks the others until it has what it needs, be it idle or not.
 */
#ifndef MF_LIB_ACCOUNT_H
#define MF_LIB_ACCOUNT_H

#include <stdbool.h>

#include "run/control.h"

#define ACCOUNT_LEAST (1ULL << 20)

/* budget: --memory; 0: there is no account, every process has limits of its own. all: take all there is at once (the division is fixed by hand). */
void account_start(struct mf_control *c, unsigned slot, uint64_t budget, bool all);
/* The same in a forked child, which keeps `inherited` bytes that it shares with its parent. evicted: where account_evicted() counts from */
void account_fork(struct mf_control *c, unsigned slot, unsigned parent, uint64_t inherited, uint64_t evicted);

/* What this process may keep now. */
uint64_t account_allowance(void);
uint64_t account_credit(void);
/* So many bytes have left this process' frames since it began: what it has evicted, it shares no more. */
void account_evicted(uint64_t bytes);
/* Does this process have the whole account for itself? */
bool account_alone(void);
/* More of it. => false: the account has no room; the others have been asked. */
bool account_grow(void);
/* Nothing can be evicted: waits until there is more, as long as somebody gives something every two seconds. => false: this process is to end (not with
 * full_waits), and the others count on it */
bool account_wait(void);
/* Give back `bytes` of the lease. */
void account_give(uint64_t bytes);

/* Has somebody asked since the last call? Then so many bytes are to be given back, of which `unused` are not used. */
uint64_t account_asked(uint64_t unused, uint64_t faults);
/* This process keeps so many bytes more than it may (0: none): it goes on asking the others, also when it does nothing else. Handler only. */
void account_short(uint64_t bytes);
/* Time has passed: look at what is shared. Handler only. */
void account_tick(void);

/* This process is not, or will not be, the only one. `knock` makes the handler call budget_answer(); it runs on the warden's thread. */
void account_company(void (*knock)(void));
/* Threads of ours for this: 0 or 1. */
unsigned account_threads(void);

#endif
