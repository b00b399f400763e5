/* SPDX-License-Identifier: MIT
 *
 * engine.h - what the engine's tests share: a software machine of chosen capabilities, and a swap in plain memory.
 */
#ifndef MF_TESTS_UNIT_ENGINE_H
#define MF_TESTS_UNIT_ENGINE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "machine/soft/soft.h"
#include "mm/fault/fault.h"

#define P 4096UL

#define CAPS_X86  (MACHINE_YOUNG | MACHINE_DIRTY | MACHINE_READONLY | MACHINE_ALIAS | MACHINE_ZERO_PAGE)
#define CAPS_ARM  (MACHINE_READONLY | MACHINE_ALIAS | MACHINE_ZERO_PAGE) /* no young, no dirty bit: doc 1 */
#define CAPS_2_6  (MACHINE_YOUNG | MACHINE_DIRTY | MACHINE_READONLY | MACHINE_ALIAS) /* no zero page: 2.6.24 */
#define CAPS_UFFD 0u

#define RW (VM_READ | VM_WRITE | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC)
#define RO (RW & ~VM_WRITE)

/* A swap that keeps every page as it is. Counts calls; fails on demand. */
struct memswap {
	uint8_t *page[65536]; /* by slot; NULL: holds nothing */
	unsigned long stores, unchanged, loads, frees, held;
	unsigned long limit;  /* -ENOSPC when so many are held (0: none) */
	unsigned long bad;    /* loads of this slot give -EIO */
	bool in_use[65536];   /* a call for the slot is under way: two at once are the engine's fault */
};
extern struct memswap memswap;
extern const struct swap_ops memswap_ops;

struct engine {
	const char *geometry;
	unsigned caps;
	unsigned long frames, limit, slots;
	unsigned anon_around, swapin_around;
	const char *kernel; /* NULL: 5 */
	unsigned rules;
	bool copies_cost_frames;
};

/* Starts over. */
void engine_start(const struct engine *e);
void engine_stop(void);

/* A mapping, locked as the engine asks. */
void map(struct mm_struct *mm, unsigned long addr, unsigned long pages, unsigned long flags);
void unmap(struct mm_struct *mm, unsigned long addr, unsigned long pages);
int protect(struct mm_struct *mm, unsigned long addr, unsigned long pages, unsigned long set, unsigned long clear);
struct mm_struct *fork_mm(struct mm_struct *mm);
unsigned long pageout(struct mm_struct *mm, unsigned long addr, unsigned long pages);
void dontneed(struct mm_struct *mm, unsigned long addr, unsigned long pages);
enum mm_residency residency(struct mm_struct *mm, unsigned long addr);

uint8_t get(struct mm_struct *mm, unsigned long addr);
void put(struct mm_struct *mm, unsigned long addr, uint8_t value);
/* Faults since the last call: minor | major << 32 */
uint64_t faults(void);
#define MINOR(n) ((uint64_t)(n))
#define MAJOR(n) ((uint64_t)(n) << 32)

/* Somebody else is faster: the next time that `event` is met, `act` runs to its end in another thread. No lock of act's may be held at that
 * point. race_done() asks that it has. */
void race_at(enum mm_trace_event event, void (*act)(void));
void race_done(void);

/* The mappings of mm between `from` and `pages` pages further, one character a page: '.' a hole; vmas are A, B, C, ... in order. */
const char *drawing(struct mm_struct *mm, unsigned long from, unsigned long pages);

#endif
