/* SPDX-License-Identifier: MIT
 *
 * crowd.h - how many handlers are awake: as many as threads fault at one time, processors permitting.
 *
 * A fault wakes everybody who reads the userfaultfd: with one thread that faults and two readers each fault costs twice as much (16 us against
 * 8), with two threads and one reader one of them always waits. So the helpers read only while several threads take turns in faulting, and sleep
 * otherwise; and meanwhile the machine is told that other processors run the program (uffd_set_crowded()), and who wants a processor beside the handlers,
 * whether there is one.
 *
 *      64 faults, other thread than the one before in 8 or more of them --> crowded, helpers = threads seen - 1
 *              32 times in a row in 1 or none                           --> one handler
 *
 * A helper that is not wanted any more may be asleep in its read; it takes part in one more fault and leaves then.
 */
#ifndef MF_LIB_CROWD_H
#define MF_LIB_CROWD_H

#include <stdbool.h>
#include <stdint.h>

#define CROWD_MOST 4u /* handlers */

/* The calling thread is the first handler; helpers run `loop` as threads that share its descriptors. `filled` is called when the number of handlers that are
 * awake changes: is there one for each processor now? */
void crowd_start(void (*loop)(void), void (*filled)(bool all_processors));
/* A handler serves a fault of this thread now. */
void crowd_fault(long tid);
/* The calling helper gets its number, before anything else. */
unsigned crowd_join(void);
/* Helpers, before they read: sleeps while there is no need of this one. */
void crowd_wait(unsigned number);
/* Handlers that are to be awake now, the first one included. */
unsigned crowd_handlers(void);
/* Threads of ours that crowd.c has started. */
unsigned crowd_threads(void);
/* A forked child: there are no helpers. */
void crowd_forget(void);

#endif
