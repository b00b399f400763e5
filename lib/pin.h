/* SPDX-License-Identifier: MIT
 *
 * pin.h - keeping threads of the program on their handlers' processors while they fault often.
 *
 * A thread that is woken while its waker still runs is placed on an idle processor if there is one: a halted one has to be started by an
 * interrupt, and the next fault comes from there. Measured on two processors, otherwise idle: 30 us a fault and a migration each, against 9 to 14 us when both
 * stay on one. userfaultfd has no synchronous wake-up, so the affinity of the thread is narrowed:
 *
 *   - only while it faults more than 5000 times a second (32 faults tell; of a program that has just started, 4). One handler: one thread, whatever
 *     other threads there are. Several (crowd.h): each has a processor of its own and one of the threads that fault; more than one only if the handlers
 *     have all processors between them;
 *   - for at most 10 ms after it has stopped doing so: a watch looks every 10 ms while a thread is pinned, and sleeps otherwise;
 *   - never across anything that would show or hand on the mask: sched_getaffinity, sched_setaffinity, fork, vfork, posix_spawn,
 *     exec, pthread_create lift it first (run/affinity.c), and it stays lifted for 20 ms.
 */
#ifndef MF_LIB_PIN_H
#define MF_LIB_PIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* `cpu`: where the kernel writes the main thread's processor, or NULL: not known. Before the program's own code; the watch starts with the first pin. */
void pin_start(long main_tid, const volatile uint32_t *cpu);
/* This handler, 0 for the first one, serves a fault of this thread now. */
void pin_fault(long tid, unsigned number);
/* A handler, before it waits: goes where its threads are. */
void pin_handler(unsigned number);
/* A helper, at its start: it may run everywhere. */
void pin_helper(unsigned number);
/* The mask as the program knows it, for the next 20 ms at least. Any thread. */
void pin_lift(void);
/* The calling thread's mask as the program knows it, without lifting anything. => false: the kernel knows the same */
bool pin_own_mask(void *mask, size_t size);
/* A thread of the program and its handler share a processor now, by us. */
bool pin_holds(void);
/* Threads of this process, ours included. 0: unknown */
unsigned pin_nr_threads(void);
/* Threads of ours: the handler, its helpers, and the watch and the account's warden when they have been started. */
unsigned pin_own_threads(void);
/* A forked child: nothing is pinned, and there is no watch. */
void pin_forget(void);

#endif
