/* SPDX-License-Identifier: MIT
 *
 * engine_bench - what a fault costs in the engine, without the machine's part. A tool, not a test:
 *
 *      valgrind --tool=callgrind --toggle-collect=do_page_fault engine_bench anon N      instructions of N anonymous faults
 *      engine_bench MODE N                                                               nanoseconds per page
 *
 * Modes: anon (one page a fault), around (windows of 16), swap (random), stream (sequential, windows of 16), maps (anon among N
 * mappings).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "mm/mm.h"

/* The machine costs nothing here: bytes don't exist. */
static unsigned nr_frames;
static uint8_t one_frame[4096] __attribute__((aligned(4096)));

unsigned machine_caps(void) { return 0; }
void *machine_alloc(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}
void machine_free(void *p, size_t len) { munmap(p, len); }
void *machine_frame(unsigned long pfn) { return one_frame; }
void machine_frames_freed(unsigned long pfn, unsigned nr) { }
int machine_map(struct mm_struct *mm, unsigned long addr, unsigned nr, unsigned long pfn, unsigned how) { return nr; }
void machine_unmap(struct mm_struct *mm, unsigned long addr, unsigned nr, unsigned long pfn, uint64_t *s, uint64_t *g) { }
void machine_unmap_ranges(struct mm_struct *mm, const struct machine_range *ranges, unsigned nr, uint64_t *s, uint64_t *g) { *s = *g = 0; }
void machine_release(struct mm_struct *mm, const struct machine_range *ranges, unsigned nr) { }
bool machine_at_home(unsigned long pfn) { return true; }
bool machine_in_place(unsigned long pfn) { return false; }
uint64_t machine_unwritten(unsigned long pfn, unsigned nr) { return 0; }
void machine_stored(struct mm_struct *mm, unsigned long addr, unsigned long pfn) { }
void machine_discard(struct mm_struct *mm, unsigned long addr, unsigned nr, unsigned long pfn) { }
void machine_moved(struct mm_struct *mm, unsigned long from, unsigned long to, unsigned nr, unsigned long pfn) { }
void machine_protect(struct mm_struct *mm, unsigned long addr, unsigned nr, unsigned long pfn, unsigned how) { }
void machine_adopt(struct mm_struct *mm, unsigned long addr, unsigned long pfn) { }
void machine_wait(atomic_uint *word, unsigned val) { }
void machine_wake(atomic_uint *word, int n) { }
void machine_relax(void) { }
unsigned machine_cpus(void) { return 1; }
unsigned machine_cpu(void) { return 0; }

void machine_bug(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: %s\n", file, line, what);
	abort();
}

static int store(void *ctx, unsigned long slot, const void *page) { return 0; }
static int load(void *ctx, unsigned long slot, void *page) { return 0; }
static void forget(void *ctx, unsigned long slot) { }
static const struct swap_ops no_bytes = { store, load, forget };

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static void fault(struct mm_struct *mm, unsigned long addr)
{
	vm_fault_t ret = 0;

	if (mm_residency(mm, addr) != MM_PRESENT && mm_residency(mm, addr) != MM_AROUND)
		ret = do_page_fault(mm, addr, FAULT_FLAG_WRITE | FAULT_FLAG_USER);
	if (ret & VM_FAULT_ERROR) {
		fprintf(stderr, "fault at %lx: %x\n", addr, ret);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "anon";
	unsigned long n = argc > 2 ? strtoul(argv[2], NULL, 0) : 100000, base = 1UL << 40, x = 1, before;
	bool swap = !strcmp(mode, "swap") || !strcmp(mode, "stream"), random = !strcmp(mode, "swap");
	unsigned around = !strcmp(mode, "around") || !strcmp(mode, "stream") ? 16 : 1;
	struct mm_params params = { .nr_frames = 2 * n + 4096, .frame_limit = swap ? n / 2 : 0, .nr_swap_slots = 4 * n, .swap = &no_bytes,
				    .anon_around = around, .swapin_around = around };
	struct mm_struct *mm;
	double t;

	nr_frames = params.nr_frames;
	if (mm_init(&params) || !(mm = mm_alloc()))
		return 1;
	mmap_write_lock(mm);
	if (!strcmp(mode, "maps")) /* one page each, a hole between */
		for (unsigned long i = 0; i < n; i++)
			mmap_region(mm, base + 2 * i * 4096, 4096, VM_READ | VM_WRITE);
	else
		mmap_region(mm, base, n * 4096, VM_READ | VM_WRITE);
	mmap_write_unlock(mm);
	if (swap)
		for (unsigned long i = 0; i < n; i++)
			fault(mm, base + i * 4096);
	before = mm_stats()->min_flt + mm_stats()->maj_flt;
	t = now();
	for (unsigned long i = 0; i < n; i++) {
		unsigned long page = i;

		if (random)
			page = (x = x * 6364136223846793005ul + 1442695040888963407ul) >> 33;
		fault(mm, base + (!strcmp(mode, "maps") ? 2 * i : page % n) * 4096);
	}
	t = now() - t;
	printf("%s: %lu accesses, %lu faults, %.1f ns per access\n", mode, n,
	       (unsigned long)(mm_stats()->min_flt + mm_stats()->maj_flt - before), t / n);
	return 0;
}
