/* SPDX-License-Identifier: MIT
 *
 * pin.h - keeping the program's thread on the handler's processor while it faults often.
 *
 * A thread that is woken while its waker still runs is placed on an idle processor if there is one: a halted one has to be started by an
 * interrupt, and the next fault comes from there. Measured on two processors, otherwise idle: 30 us a fault and a migration each, against 14 us when both
 * stay on one. userfaultfd has no synchronous wake-up, so the affinity of the thread is narrowed:
 *
 *   - only while the program has one thread, and faults more than 5000 times a second (32 faults tell; of a program that has just started, 4);
 *   - for at most 10 ms after it has stopped doing so: a watch looks every 10 ms while a thread is pinned, and sleeps otherwise;
 *   - never across anything that would show or hand on the mask: sched_getaffinity, sched_setaffinity, fork, vfork, posix_spawn,
 *     exec, pthread_create lift it first (run/affinity.c), and it stays lifted for 20 ms.
 */
#ifndef MF_LIB_PIN_H
#define MF_LIB_PIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* `cpu`: where the kernel writes the main thread's processor, or NULL: then nothing is ever pinned. The watch starts with the first pin. */
void pin_start(long main_tid, const volatile uint32_t *cpu);
/* The handler serves a fault of this thread now. */
void pin_fault(long tid);
/* The mask as the program knows it, for the next 20 ms at least. Any thread. */
void pin_lift(void);
/* The calling thread's mask as the program knows it, without lifting anything. => false: the kernel knows the same */
bool pin_own_mask(void *mask, size_t size);
/* The program's thread and the handler share a processor now, by us. */
bool pin_holds(void);
/* Threads of this process, ours included. 0: unknown */
unsigned pin_nr_threads(void);
/* Threads of ours: the handler, its helpers, and the watch and the account's warden when they have been started. */
unsigned pin_own_threads(void);
/* A forked child: nothing is pinned, and there is no watch. */
void pin_forget(void);

#endif
