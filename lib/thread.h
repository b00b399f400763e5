/* SPDX-License-Identifier: MIT
 * thread.h - a thread that libc knows nothing of. */
#ifndef MF_LIB_THREAD_H
#define MF_LIB_THREAD_H

#include <stddef.h>

/* Starts fn() on the given stack in this address space, with a descriptor table of its own (a copy), and `tls` as thread area.
 * All signals are blocked in it. fn must not return. => its thread id, or -errno. */
long thread_start(void *stack_top, void *tls, void (*fn)(void));
/* The same; the kernel clears the 32 bits at `word` and wakes a waiter when the thread has ended, also if it never ran. */
long thread_start_cleared(void *stack_top, void *tls, void (*fn)(void), void *word);
/* As thread_start(), with the descriptor table of the caller. */
long thread_start_sharing(void *stack_top, void *tls, void (*fn)(void));
/* Where the kernel sees the program counter when a thread is made. */
extern __attribute__((visibility("hidden"))) const char thread_clone_at[];

#endif
