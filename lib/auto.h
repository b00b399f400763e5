/* SPDX-License-Identifier: MIT
 *
 * auto.h - `--memory auto`: the program shrinks to what it needs.
 *
 * The controller looks at the share of wall-clock time that is lost to what the program would not have without minflt: faults that bring
 * a page back, and evictions. While that share is well below the given one it takes memory away, the longest unused first; when the share passes it,
 * memory is given back, so phases are followed up and down. First touches are never slowed down by it: they raise the limit.
 *
 *     share lost     0 .. 3/4 of the given one              .. the given one   above
 *     limit          sinks by a 16th in a tick .. not       stays              rises by a 16th; before the tick ends when twice its
 *                                                                              allowance is used up
 *
 * All of it runs on the handler's thread. Evictions run in slices between faults, and use at most half of the share themselves.
 */
#ifndef MF_LIB_AUTO_H
#define MF_LIB_AUTO_H

#include <stdbool.h>

#include "run/control.h"

/* permille: of wall-clock time. Does nothing when it is 0. most: frames */
void auto_init(uint32_t permille, unsigned long most, struct mf_auto_curve *curve);
/* In a forked child: the same anew, without a record. */
void auto_after_fork(void);
bool auto_on(void);
/* The limit of frames, given what the budget allows. */
unsigned long auto_limit(unsigned long allowed);

/* Before and after the handler is at work on a batch of messages. */
uint64_t auto_begin(void);
void auto_end(uint64_t begin);
/* How long the handler may wait for the next message, milliseconds. -1: as long as it takes */
int auto_patience(void);
/* Nothing came for that long. Locked: mmap_lock for reading. */
void auto_idle(void);
/* A fault is resolved; called before frames are looked for. Locked: mmap_lock for reading. => true: the limit has changed */
bool auto_balance(void);

#endif
