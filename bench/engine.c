/* SPDX-License-Identifier: MIT
 *
 * engine.c - what a fault costs in the engine, on a machine that costs nothing: bytes don't exist, nothing is mapped.
 *
 *      engine MODE N               N accesses or pages: nanoseconds each, single thread
 *      engine threads-MODE N       the same by one thread, then by two side by side: the ratio of what they got done
 *      engine MODE N M             with M mappings or resident pages beside
 *      valgrind --tool=callgrind --toggle-collect=do_page_fault engine MODE N      instructions (engine.py takes the difference of two N)
 *
 * Modes, each access one fault:
 *      anon        a store to a page that was never touched
 *      file        a load of a page of a file that is cached, its neighbours are not: one page is mapped
 *      around      a load that maps 16 cached pages of a file; figures are per page
 *      cow-reuse   a store to a page that was shared with a child that has ended
 *      cow-copy    a store to a page that is shared with a child
 *      fork        dup_mm() of N pages; figures are per page
 *      maps        anon, in an order at random among M mappings of one page
 *      resident    anon, beside M resident pages
 */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "mm/mm.h"

#define PAGE 4096UL
#define BASE (1UL << 40)

static uint8_t two_frames[2][PAGE] __attribute__((aligned(4096)));

/* ---- the machine that costs nothing, with what an x86 can ------------------------------------------------------------------ */

unsigned machine_caps(void)
{
	return MACHINE_YOUNG | MACHINE_DIRTY | MACHINE_READONLY | MACHINE_ALIAS | MACHINE_ZERO_PAGE;
}

/* Tables are faulted in here, so that the host's faults are in no figure. */
void *machine_alloc(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

void machine_free(void *p, size_t len) { munmap(p, len); }
void *machine_frame(unsigned long pfn) { return two_frames[pfn & 1]; } /* somewhere: nobody looks */
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
void machine_wait(atomic_uint *word, unsigned val) { syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, val, NULL, NULL, 0); }
void machine_wake(atomic_uint *word, int n) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0); }
void machine_relax(void) { __builtin_ia32_pause(); }

static _Thread_local unsigned cpu;

unsigned machine_cpus(void) { return 2; }
unsigned machine_cpu(void) { return cpu; }

void machine_bug(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: %s\n", file, line, what);
	abort();
}

/* ---- parts ---------------------------------------------------------------------------------------------------------------------- */

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static void die(const char *what)
{
	fprintf(stderr, "engine: %s\n", what);
	exit(1);
}

static void fault(struct mm_struct *mm, unsigned long addr, unsigned flags)
{
	if (do_page_fault(mm, addr, flags | FAULT_FLAG_USER) & VM_FAULT_ERROR)
		die("a fault failed");
}

static void store_all(struct mm_struct *mm, unsigned long n)
{
	for (unsigned long i = 0; i < n; i++)
		fault(mm, BASE + i * PAGE, FAULT_FLAG_WRITE);
}

/* By the other entry: what is done beforehand is not counted. */
static void prepare(struct mm_struct *mm, unsigned long first, unsigned long n)
{
	mmap_read_lock(mm);
	for (unsigned long i = first; i < first + n; i++)
		if (do_page_fault_locked(mm, BASE + i * PAGE, FAULT_FLAG_WRITE | FAULT_FLAG_USER) & VM_FAULT_ERROR)
			die("a fault failed");
	mmap_read_unlock(mm);
}

static struct mm_struct *space(unsigned long addr, unsigned long pages)
{
	struct mm_struct *mm = mm_alloc();

	if (!mm)
		die("out of memory");
	mmap_write_lock(mm);
	if (pages && mmap_region(mm, addr, pages * PAGE, VM_READ | VM_WRITE))
		die("mmap_region");
	mmap_write_unlock(mm);
	return mm;
}

static struct mm_struct *fork_mm(struct mm_struct *mm)
{
	struct mm_struct *child;

	mmap_write_lock(mm);
	child = dup_mm(mm);
	mmap_write_unlock(mm);
	if (!child)
		die("dup_mm: out of memory");
	return child;
}

static int readpages(void *host, unsigned long pgoff, unsigned nr, void *const pages[]) { return 0; }
static int writepage(void *host, unsigned long pgoff, const void *page, size_t len) { return 0; }
static const struct address_space_operations no_bytes = { .readpages = readpages, .writepage = writepage };

/* n pages of a file; of each 16 so many are cached. */
static struct mm_struct *file_space(unsigned long n, unsigned cached)
{
	struct mm_struct *mm = space(0, 0);
	struct address_space *mapping = address_space_alloc(&no_bytes, NULL, n * PAGE, 0);
	struct file *file = mapping ? file_open(mapping, 0) : NULL;

	if (!file)
		die("out of memory");
	address_space_set_readahead(mapping, 0);
	for (unsigned long i = 0; i < n; i += 16)
		filemap_populate(file, i, i + cached);
	mmap_write_lock(mm);
	if (mmap_region_file(mm, BASE, n * PAGE, VM_READ, file, 0))
		die("mmap_region_file");
	mmap_write_unlock(mm);
	return mm;
}

/* ---- one thread ------------------------------------------------------------------------------------------------------------------ */

/* => nanoseconds for all of it */
static double run_maps(unsigned long n, unsigned long m)
{
	struct mm_struct *mm = space(0, 0);
	unsigned long x = 1, done = 0;
	double t;

	if (!m)
		die("no mappings");
	mmap_write_lock(mm);
	for (unsigned long i = 0; i < m; i++) /* a hole between them */
		if (mmap_region(mm, BASE + 2 * i * PAGE, PAGE, VM_READ | VM_WRITE))
			die("mmap_region");
	mmap_write_unlock(mm);
	/* The page is given back for the next time, so that there are enough faults with few mappings too. */
	for (t = 0; done < n; done++) {
		unsigned long addr;
		double from;

		x = x * 6364136223846793005UL + 1442695040888963407UL;
		addr = BASE + 2 * ((x >> 33) % m) * PAGE;
		mmap_read_lock(mm);
		zap_page_range(mm, addr, PAGE);
		find_vma(mm, BASE + 2 * ((x >> 13) % m) * PAGE); /* no help from the last one found */
		mmap_read_unlock(mm);
		from = now();
		fault(mm, addr, FAULT_FLAG_WRITE);
		t += now() - from;
	}
	return t;
}

static double run(const char *mode, unsigned long n, unsigned long m)
{
	bool around = !strcmp(mode, "around");
	struct mm_struct *mm, *child;
	double t;

	if (!strcmp(mode, "maps"))
		return run_maps(n, m);
	if (!strcmp(mode, "file") || around) {
		unsigned long pages = around ? n : 16 * n;

		mm = file_space(pages, around ? 16 : 1);
		t = now();
		for (unsigned long i = 0; i < pages; i += 16)
			fault(mm, BASE + i * PAGE, 0);
		return now() - t;
	}
	mm = space(BASE, n + m);
	if (!strcmp(mode, "resident"))
		prepare(mm, n, m);
	else if (strcmp(mode, "anon"))
		prepare(mm, 0, n);
	t = now();
	if (!strcmp(mode, "fork")) {
		fork_mm(mm);
		return now() - t;
	}
	if (!strncmp(mode, "cow", 3)) {
		child = fork_mm(mm);
		if (!strcmp(mode, "cow-reuse"))
			mmput(child);
		t = now();
	}
	store_all(mm, n);
	return now() - t;
}

/* ---- two threads ------------------------------------------------------------------------------------------------------------------ */

struct worker {
	pthread_t thread;
	struct mm_struct *mm;
	unsigned long addr, n;
	unsigned nr;
	pthread_barrier_t *start;
	bool calibrate; /* no fault: arithmetic in registers */
};

/* Each on a processor of its own from the start: moving one there takes the kernel longer than the race. */
static void pin(unsigned nr)
{
	cpu_set_t all, one;

	if (sched_getaffinity(0, sizeof(all), &all))
		return;
	CPU_ZERO(&one);
	for (unsigned cpu = 0, nth = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &all) && nth++ == nr % (unsigned)CPU_COUNT(&all))
			CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	volatile unsigned long sink;

	pin(w->nr);
	cpu = w->nr;
	pthread_barrier_wait(w->start);
	if (w->calibrate) {
		unsigned long x = 1;

		for (unsigned long i = 0; i < w->n * 100; i++)
			x = x * 6364136223846793005UL + 1;
		sink = x;
		(void)sink;
		return NULL;
	}
	for (unsigned long i = 0; i < w->n; i++)
		fault(w->mm, w->addr + i * PAGE, FAULT_FLAG_WRITE);
	return NULL;
}

static void prepare_tables(struct worker *w)
{
	mmap_read_lock(w->mm);
	for (unsigned long i = 0; i < w->n; i += 512) {
		if (do_page_fault_locked(w->mm, w->addr + i * PAGE, FAULT_FLAG_WRITE | FAULT_FLAG_USER) & VM_FAULT_ERROR)
			die("a fault failed");
		zap_page_range(w->mm, w->addr + i * PAGE, PAGE);
	}
	mmap_read_unlock(w->mm);
}

/* => nanoseconds from the common start to the end of the last */
static double race(const char *mode, unsigned threads, unsigned long n)
{
	struct mm_struct *one = space(BASE, 4 * n);
	pthread_barrier_t start;
	struct worker w[2];
	double t;

	pthread_barrier_init(&start, NULL, threads + 1);
	/* The tables are there already: making them is the host's work. */
	for (unsigned i = 0; i < threads; i++) {
		bool apart = !strcmp(mode, "threads-spaces");

		w[i] = (struct worker){ .mm = apart ? space(BASE, n) : one, .addr = apart ? BASE : BASE + i * 2 * n * PAGE, .n = n, .nr = i,
					.start = &start, .calibrate = !strcmp(mode, "threads-nothing") };
		prepare_tables(&w[i]);
		if (pthread_create(&w[i].thread, NULL, work, &w[i]))
			die("pthread_create");
	}
	pthread_barrier_wait(&start);
	t = now();
	for (unsigned i = 0; i < threads; i++)
		pthread_join(w[i].thread, NULL);
	t = now() - t;
	pthread_barrier_destroy(&start);
	return t;
}

static void start(unsigned long frames)
{
	struct mm_params params = { .nr_frames = frames, .nr_swap_slots = 0 };

	if (mm_init(&params))
		die("mm_init");
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "anon";
	unsigned long n = argc > 2 ? strtoul(argv[2], NULL, 0) : 100000, m = argc > 3 ? strtoul(argv[3], NULL, 0) : 0;

	if (!n)
		die("usage: engine [threads-]MODE N [M]");
	start(4 * n + m + 65536);
	if (!strncmp(mode, "threads-", 8)) {
		double one = race(mode, 1, n), two = race(mode, 2, n);

		printf("%s: %.1f ns one, %.1f ns two, ratio %.2f\n", mode, one / n, two / n, 2 * one / two);
		return 0;
	}
	printf("%s: %.1f ns\n", mode, run(mode, n, m) / n);
	return 0;
}
