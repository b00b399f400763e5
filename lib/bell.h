/* SPDX-License-Identifier: MIT
 *
 * bell.h - calls on the handler's thread, by a fault.
 *
 * A thread that needs the handler leaves what is to be done in a slot and touches a page that is missing; the fault's message brings the handler, and
 * the page that it maps lets the thread go on. That costs as much as a fault, and serialises with faults.
 *
 *      caller                               handler
 *      IDLE -> ASKED, touch ............... message
 *                                           ASKED -> RUNNING, call, RUNNING -> IDLE, map the page
 *      until IDLE: touch, or wait
 *
 * The page is only what the message comes by. Whether a call has been made is what the slot says, because messages don't follow calls one to one: a
 * thread that is woken while it waits (by the end of another thread's fork, say) faults again, another handler reads that second message, and may come to it
 * when the thread has gone on, and even asked for something else. So a message of a slot that is not ASKED does nothing but map the page, one
 * of a slot that is RUNNING not even that, and a caller who finds his page mapped and his call not made takes the page away and touches it again. (A process
 * that shares its maker's memory, and whose maker has ended, would do so for good: it is ended.)
 */
#ifndef MF_LIB_BELL_H
#define MF_LIB_BELL_H

#include <stdbool.h>
#include <stddef.h>

#define BELL_SLOTS 82u

/* => 0 or -errno */
int bell_init(void);
/* The memory by which it works: the handler arms it. */
void bell_range(unsigned long *addr, size_t *len);
bool bell_is(unsigned long addr);
unsigned bell_slot(unsigned long addr);
/* The handler: a message for an address of ours. */
void bell_serve(int uffd, unsigned long addr);
/* Runs fn(arg) on the handler's thread and waits for it. The slot is the caller's alone until the return. The caller holds no lock. */
void bell_call(unsigned slot, void (*fn)(void *arg), void *arg);
/* A forked child: the caller of this slot was a thread of the parent. */
void bell_reset(unsigned slot);
/* The slot's last caller may have been killed in its call. What it asked for is not begun any more after the return. */
void bell_inherit(unsigned slot);

#endif
