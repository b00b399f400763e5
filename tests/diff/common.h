/* SPDX-License-Identifier: MIT
 *
 * common.h - what the differential tests share.
 *
 * Each t_*.c is run by run.py twice, natively and under `minflt run`, and must print the same lines and end in the same way. So it
 * prints nothing that may rightly differ between two runs: no absolute address, no pid, no time. Addresses are printed relative
 * to the test's own window. It also checks itself: a line that says WRONG makes the exit status 1, natively too.
 *
 * Lines go out by write(2) at once: a buffer of stdio's would be printed twice after fork, or never after a crash.
 */
#ifndef MF_TESTS_DIFF_COMMON_H
#define MF_TESTS_DIFF_COMMON_H

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096UL
#define MB   (1024UL * 1024)

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE  103
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

#define RW        (PROT_READ | PROT_WRITE)
#define ANON      (MAP_PRIVATE | MAP_ANONYMOUS)
#define ANONFIXED (ANON | MAP_FIXED)

void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void say_rc(const char *name, long rc);

/* Result and errno of one call, with errno cleared before: a call that succeeds must not be blamed for an old one. */
#define RC(name, call) do { errno = 0; long rc_ = (long)(call); say_rc(name, rc_); } while (0)

/* The same for calls that give an address: "+8192" inside the window at `base` (64 MB are looked at), "elsewhere", or the error. */
#define ADDR(name, base, call) do { errno = 0; void *at_ = (void *)(call); say_addr(name, base, at_); } while (0)
void say_addr(const char *name, const void *base, const void *at);

/* Where only "did it work" may be printed, as with an address that the kernel is free to choose. */
void wrong(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
#define EXPECT(cond) do { if (!(cond)) wrong("%s:%d: %s", __FILE__, __LINE__, #cond); } while (0)
int done(void);                     /* the last line and the exit status of main */
void die(const char *what) __attribute__((noreturn));

/* A pattern in which each page can be told from every other: zero, one repeated byte, random, or compressible. `first` is the
 * number, in the pattern, of the page that `p` begins. */
void fill(void *p, size_t len, uint64_t seed);
void fill_at(void *p, size_t len, uint64_t seed, size_t first);
void holds(const char *name, const void *p, size_t len, uint64_t seed);      /* says "name: holds", or which byte is WRONG */
void holds_at(const char *name, const void *p, size_t len, uint64_t seed, size_t first);
int  intact(const void *p, size_t len, uint64_t seed, size_t first);         /* the same without a line; 1 or 0 */
/* A file without a name in the current folder that holds fill(p, len, seed), which p then holds, too. => two descriptors: one buffered, and in *direct
 * one for flags | O_DIRECT, where the file system can. */
int  direct_file(void *p, size_t len, uint64_t seed, int flags, int *direct);
void zeroed(const char *name, const void *p, size_t len);
int  is_zero(const void *p, size_t len);
uint64_t digest(const void *p, size_t len);
uint64_t mix(uint64_t x);

/* Touches and checks MF_PRESSURE_MB (default 4) of other memory, so that what is under test gets evicted; natively it only takes
 * a moment. The pattern compresses about eightfold, or the pool would have to hold all of it. */
void pressure(void);

char *map(size_t len);              /* private, anonymous, RW; dies on failure */

/* A window for MAP_FIXED play: mapped PROT_NONE or RW. The free range of 32 MB above it takes whatever anyone maps without an
 * address (the kernel looks from the top), so a hole made in the window stays one. */
char *window(size_t len, int prot);

/* One letter a page: w writable, r read-only, a SEGV_ACCERR, m SEGV_MAPERR, b SIGBUS. Writes back what it read. */
void say_rights(const char *name, void *p, size_t nr_pages);
char right_of(volatile char *p);

/* Runs fn in a forked child, waits, and says how it ended. */
void in_child(const char *name, void (*fn)(void *), void *arg);
void say_end(const char *name, int status);
int  is_root(void);

#endif
