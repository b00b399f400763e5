/* SPDX-License-Identifier: MIT
 *
 * meta.c - memory for the engine's tables: one reserved area, cut from the front; what is freed is kept on lists by size.
 *
 * Requests below a page are rounded to a power of two of at least 64 bytes and cut from pages; others to whole pages. Fresh memory is zero because the host
 * gives it so; memory that comes back is cleared when it goes out again.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "machine/sys.h"
#include "machine/uffd/internal.h"

#define META_RESERVE (8UL << 30)  /* address space only: tables for 1 TiB touched densely, or 2 million pages anywhere */
#define META_STEP    (64UL << 20) /* made accessible at a time: what is not, does not count for RLIMIT_DATA */
#define NR_CLASSES   7            /* 64 .. 4096 */
#define MAX_RUNS     64           /* freed ranges of more than a page that are remembered */
#define LAZY_FROM    (32UL << 10) /* requests from here on (tables by frame and by slot, stacks) are touched bit by bit */

static struct {
	atomic_flag lock;
	unsigned long base, next, open, end; /* [base, next) is handed out, [base, open) accessible */
	void *free[NR_CLASSES]; /* first word: the next one */
	struct { unsigned long addr; size_t len; } run[MAX_RUNS];
	unsigned nr_runs;
	size_t counted;         /* bytes in requests below LAZY_FROM, and those of a page and less that came back: they stay touched */
} meta;

static void lock(void)
{
	while (atomic_flag_test_and_set_explicit(&meta.lock, memory_order_acquire))
		machine_relax();
}

static void unlock(void)
{
	atomic_flag_clear_explicit(&meta.lock, memory_order_release);
}

static bool meta_reserve(void)
{
	size_t len = META_RESERVE;

	for (; len >= (64UL << 20); len /= 2) {
		long p = sys_mmap(0, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		if (sys_is_err(p))
			continue;
		sys_madvise((unsigned long)p, len, MADV_NOHUGEPAGE);
		meta.base = meta.next = meta.open = (unsigned long)p;
		meta.end = meta.base + len;
		return true;
	}
	return false;
}

/* RLIMIT_DATA counts what is writable, and the program may have lowered it: the soft limit is raised by as much. */
static bool open_in_spite_of_limit(unsigned long open)
{
	struct { uint64_t soft, hard; } limit;

	if (sys_call4(SYS_prlimit64, 0, RLIMIT_DATA, 0, (long)&limit) || limit.soft >= limit.hard)
		return false;
	limit.soft = limit.hard - limit.soft > open - meta.open ? limit.soft + (open - meta.open) : limit.hard;
	return sys_call4(SYS_prlimit64, 0, RLIMIT_DATA, (long)&limit, 0) == 0 &&
	       sys_mprotect(meta.open, open - meta.open, PROT_READ | PROT_WRITE) == 0;
}

size_t uffd_meta_closed(void)
{
	return meta.end - meta.open;
}

static unsigned long cut(size_t len, size_t align)
{
	unsigned long at;

	if (!meta.base && !meta_reserve())
		return 0;
	at = (meta.next + align - 1) & ~(align - 1);
	if (at + len > meta.end || at + len < at)
		return 0;
	if (at + len > meta.open) {
		unsigned long open = (at + len + META_STEP - 1) & ~(META_STEP - 1);

		open = open > meta.end ? meta.end : open;
		if (sys_mprotect(meta.open, open - meta.open, PROT_READ | PROT_WRITE) && !open_in_spite_of_limit(open))
			return 0;
		meta.open = open;
	}
	meta.next = at + len;
	return at;
}

static unsigned class_of(size_t len)
{
	unsigned c = 0;

	while ((64UL << c) < len)
		c++;
	return c;
}

/* A block of 64 << c bytes; what is below a page is cut from one, by halves, so that no page is left half used between others. => locked */
static unsigned long take_small(unsigned c, bool *fresh)
{
	unsigned long at = (unsigned long)meta.free[c];

	*fresh = !at;
	if (at) {
		meta.free[c] = *(void **)at;
		return at;
	}
	if (c == NR_CLASSES - 1) {
		at = cut(PAGE, PAGE);
		meta.counted += at ? PAGE : 0;
		return at;
	}
	at = take_small(c + 1, fresh);
	if (at) {
		void *rest = (void *)(at + (64UL << c));

		*(void **)rest = meta.free[c];
		meta.free[c] = rest;
	}
	return at;
}

/* locked */
static unsigned long take_run(size_t len, bool *fresh)
{
	for (unsigned i = 0; i < meta.nr_runs; i++) {
		unsigned long at = meta.run[i].addr;

		if (meta.run[i].len != len)
			continue;
		meta.run[i] = meta.run[--meta.nr_runs];
		*fresh = true; /* was given back to the host when it was freed */
		return at;
	}
	*fresh = true;
	return cut(len, PAGE);
}

void *machine_alloc(size_t len)
{
	size_t rounded = (len + PAGE - 1) & ~(PAGE - 1);
	unsigned long at;
	bool fresh;

	if (!len || rounded < len)
		return NULL;
	lock();
	at = len <= PAGE ? take_small(class_of(len), &fresh) : take_run(rounded, &fresh);
	if (at && len > PAGE && rounded < LAZY_FROM)
		meta.counted += rounded;
	unlock();
	if (at && !fresh)
		memset((void *)at, 0, len);
	return (void *)at;
}

void machine_free(void *p, size_t len)
{
	size_t rounded = (len + PAGE - 1) & ~(PAGE - 1);

	if (!p)
		return;
	lock();
	if (len <= PAGE) {
		unsigned c = class_of(len);

		*(void **)p = meta.free[c];
		meta.free[c] = p;
	} else {
		sys_madvise((unsigned long)p, rounded, MADV_DONTNEED);
		if (meta.nr_runs < MAX_RUNS) {
			meta.run[meta.nr_runs].addr = (unsigned long)p;
			meta.run[meta.nr_runs++].len = rounded;
		}
		if (rounded < LAZY_FROM)
			meta.counted -= rounded;
	}
	unlock();
}

struct uffd_own meta_range(void)
{
	return (struct uffd_own){ meta.base, meta.end - meta.base };
}

static size_t resident(unsigned long from, unsigned long to)
{
	static unsigned char vec[4096];
	size_t pages = 0;

	for (unsigned long at = from & ~(PAGE - 1); at < to; at += sizeof(vec) * PAGE) {
		size_t len = to - at < sizeof(vec) * PAGE ? to - at : sizeof(vec) * PAGE;

		if (sys_mincore(at, len, vec))
			return (to - from) / PAGE;
		for (size_t i = 0; i < (len + PAGE - 1) / PAGE; i++)
			pages += vec[i] & 1;
	}
	return pages;
}

/* The same, once the program reads memory of ours: tables that it alone has looked at are the host's page of zeros. => false: this kernel doesn't tell */
static bool resident_without_zeros(unsigned long from, unsigned long to, size_t *pages)
{
	static struct page_region vec[128];
	struct pm_scan scan = { .size = sizeof(scan), .start = from, .end = to, .vec = (uint64_t)(uintptr_t)vec, .vec_len = sizeof(vec) / sizeof(vec[0]),
				.category_inverted = PM_IS_ZERO_PAGE, .category_mask = PM_IS_PRESENT | PM_IS_ZERO_PAGE, .return_mask = PM_IS_PRESENT };
	long fd = sys_open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), n = fd < 0 ? fd : 0;

	*pages = 0;
	while (n >= 0 && scan.start < scan.end) {
		n = sys_ioctl((int)fd, PM_SCAN, &scan);
		for (long i = 0; i < n; i++)
			*pages += (vec[i].end - vec[i].start) / PAGE;
		if (n >= 0 && scan.walk_end <= scan.start)
			n = -1;
		scan.start = scan.walk_end;
	}
	if (fd >= 0)
		sys_close((int)fd);
	return n >= 0;
}

/* The rough figure counts the lazily touched tables (frames, slots) by what was found at the last exact look. An exact look takes 20 us and
 * more: one system call for each 16 MiB ever handed out. */
size_t uffd_meta_bytes(bool exact)
{
	static size_t lazy_touched;
	size_t bytes;

	lock();
	if (exact) {
		size_t all;

		if (!atomic_load_explicit(&uffd.shown, memory_order_relaxed) || !resident_without_zeros(meta.base, (meta.next + PAGE - 1) & ~(PAGE - 1), &all))
			all = resident(meta.base, meta.next);
		all *= PAGE;
		lazy_touched = all > meta.counted ? all - meta.counted : 0;
	}
	bytes = meta.counted + lazy_touched;
	unlock();
	return bytes + stages_touched() * PAGE;
}
