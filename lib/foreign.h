/* SPDX-License-Identifier: MIT
 *
 * foreign.h - programs that the runtime can be preloaded into and that don't run with it:
 *
 *   sanitizers   AddressSanitizer, ThreadSanitizer, MemorySanitizer, LeakSanitizer, HWAddressSanitizer bring a malloc of their own, map memory by bare system
 *                calls at addresses of their own, want to be the first library, and the leak check stops all threads and then reads memory.
 *                (UndefinedBehaviorSanitizer only checks, and is none of them.)
 *   auditors     (LD_AUDIT, DT_AUDIT) glibc lays out the static thread-local storage before it maps what is preloaded: no room for the runtime's
 *
 * System calls only, no memory from anywhere: the command asks, and so does the program's own process, perhaps in a vfork child.
 */
#ifndef MF_LIB_FOREIGN_H
#define MF_LIB_FOREIGN_H

enum foreign { FOREIGN_NOT, FOREIGN_SANITIZER, FOREIGN_AUDIT };

/* fd: a program for this machine that has a dynamic linker. What is damaged is FOREIGN_NOT: others say so. */
enum foreign foreign_program(int fd);
/* value: of LD_PRELOAD */
enum foreign foreign_preload(const char *value);

#endif
