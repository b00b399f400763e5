/* SPDX-License-Identifier: MIT
 *
 * t_errors - what munmap, mprotect, madvise, mremap and msync answer to bad arguments, as a table: each call on each bad range. The window is looked at after every
 * call, for a call that fails may have done half its work, and must have done the same half.
 */
#include "common.h"

#include <limits.h>
#include <sys/syscall.h>

#define NR 32UL

static char *w;

/* 8 pages writable, 4 read-only, 4 hole, 4 none, 4 file, 8 writable */
static void lay_out(void)
{
	static int fd = -1;

	if (fd < 0) {
		fd = memfd_create("t_errors", MFD_CLOEXEC);
		if (fd < 0 || ftruncate(fd, (off_t)(4 * PAGE)))
			die("memfd");
	}
	if (mmap(w, NR * PAGE, RW, ANONFIXED, -1, 0) != w)
		die("mmap");
	fill(w, NR * PAGE, 1);
	mprotect(w + 8 * PAGE, 4 * PAGE, PROT_READ);
	munmap(w + 12 * PAGE, 4 * PAGE);
	mprotect(w + 16 * PAGE, 4 * PAGE, PROT_NONE);
	if (mmap(w + 20 * PAGE, 4 * PAGE, RW, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
		die("mmap of memfd");
	fill(w + 20 * PAGE, 4 * PAGE, 2);
}

static const struct range {
	const char *name;
	long from;              /* bytes from the window, or an absolute address when `absolute` */
	unsigned long len;
	int absolute;
} ranges[] = {
	{ "a page", 0, PAGE, 0 },
	{ "no length", 0, 0, 0 },
	{ "unaligned", 1, PAGE, 0 },
	{ "unaligned, no length", 17, 0, 0 },
	{ "one byte", 4 * PAGE, 1, 0 },
	{ "a page and a byte", 2 * PAGE, PAGE + 1, 0 },
	{ "hole", 12 * PAGE, 4 * PAGE, 0 },
	{ "into the hole", 6 * PAGE, 8 * PAGE, 0 },
	{ "out of the hole", 14 * PAGE, 4 * PAGE, 0 },
	{ "over the hole", 10 * PAGE, 8 * PAGE, 0 },
	{ "everything", 0, NR * PAGE, 0 },
	{ "file and more", 18 * PAGE, 8 * PAGE, 0 },
	{ "two rights", 4 * PAGE, 8 * PAGE, 0 },
	{ "most of it", 0, (unsigned long)LONG_MAX, 0 },
	{ "all of it", 0, ULONG_MAX, 0 },
	{ "wraps", 0, -PAGE, 0 },
	{ "just wraps", 0, -PAGE + 1, 0 },
	{ "null", 0, PAGE, 1 },
	{ "the last page", -(long)PAGE, PAGE, 1 },
	{ "above user space", 1L << 47, PAGE, 1 },
	{ "up to the end", (1L << 47) - (long)PAGE, PAGE, 1 },
	{ "far out", 1L << 60, 16 * PAGE, 1 },
};

static void state(void)
{
	char letters[NR + 1], kept[NR + 1];

	for (size_t i = 0; i < NR; i++) {
		letters[i] = right_of(w + i * PAGE);
		kept[i] = '-';
		if (letters[i] != 'w' && letters[i] != 'r')
			continue;
		kept[i] = intact(w + i * PAGE, PAGE, 1, i) ? 'k' : i >= 20 && intact(w + i * PAGE, PAGE, 2, i - 20) ? 'f' :
			  is_zero(w + i * PAGE, PAGE) ? '0' : '?';
	}
	letters[NR] = kept[NR] = '\0';
	say("    %s %s", letters, kept);
}

static long munmap_it(void *p, size_t len) { return munmap(p, len); }
static long protect_read(void *p, size_t len) { return mprotect(p, len, PROT_READ); }
static long protect_none(void *p, size_t len) { return mprotect(p, len, PROT_NONE); }
static long protect_write(void *p, size_t len) { return mprotect(p, len, RW); }
static long protect_bad(void *p, size_t len) { return mprotect(p, len, 0x700); }
static long protect_down(void *p, size_t len) { return mprotect(p, len, PROT_READ | PROT_GROWSDOWN); }
static long protect_both(void *p, size_t len) { return mprotect(p, len, PROT_READ | PROT_GROWSDOWN | PROT_GROWSUP); }
static long dontneed(void *p, size_t len) { return madvise(p, len, MADV_DONTNEED); }
static long willneed(void *p, size_t len) { return madvise(p, len, MADV_WILLNEED); }
static long populate_read(void *p, size_t len) { return madvise(p, len, MADV_POPULATE_READ); }
static long populate_write(void *p, size_t len) { return madvise(p, len, MADV_POPULATE_WRITE); }
static long pageout(void *p, size_t len) { return madvise(p, len, MADV_PAGEOUT); }
static long removed(void *p, size_t len) { return madvise(p, len, MADV_REMOVE); }
static long bad_advice(void *p, size_t len) { return madvise(p, len, 77); }
static long advice_posix(void *p, size_t len) { return posix_madvise(p, len, POSIX_MADV_DONTNEED); }
static long advice_posix_bad(void *p, size_t len) { return posix_madvise(p, len, 99); }
static long synced(void *p, size_t len) { return msync(p, len, MS_SYNC); }
static long synced_bad(void *p, size_t len) { return msync(p, len, 64); }
static long synced_both(void *p, size_t len) { return msync(p, len, MS_SYNC | MS_ASYNC); }
static long resized(void *p, size_t len) { return mremap(p, len, len, 0) == MAP_FAILED ? -1 : 0; }
static long shrunk(void *p, size_t len) { return mremap(p, len, PAGE, 0) == MAP_FAILED ? -1 : 0; }
static long grown(void *p, size_t len) { return mremap(p, len, len + PAGE, 0) == MAP_FAILED ? -1 : 0; }
static long to_nothing(void *p, size_t len) { return mremap(p, len, 0, MREMAP_MAYMOVE) == MAP_FAILED ? -1 : 0; }
static long fixed_only(void *p, size_t len) { return mremap(p, len, len, MREMAP_FIXED, w) == MAP_FAILED ? -1 : 0; }
static long flags_bad(void *p, size_t len) { return mremap(p, len, len, 8) == MAP_FAILED ? -1 : 0; }
static long too_large(void *p, size_t len) { return mremap(p, len, 1UL << 46, MREMAP_MAYMOVE) == MAP_FAILED ? -1 : 0; }
static long out_of_space(void *p, size_t len)
{
	return mremap(p, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)(1UL << 47)) == MAP_FAILED ? -1 : 0;
}
static long onto_itself(void *p, size_t len)
{
	return mremap(p, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, p) == MAP_FAILED ? -1 : 0;
}
static long remapped_pages(void *p, size_t len) { return remap_file_pages(p, len, 0, 0, 0); }

static const struct call {
	const char *name;
	long (*fn)(void *, size_t);
	int spares_endless;     /* not called on a range that has no end: it would change the program's stack as well */
} calls[] = {
	{ "munmap", munmap_it, 0 },
	{ "mprotect read", protect_read, 0 },
	{ "mprotect none", protect_none, 0 },
	{ "mprotect write", protect_write, 0 },
	{ "mprotect, unknown rights", protect_bad, 0 },
	{ "mprotect, grows down", protect_down, 0 },
	{ "mprotect, grows both ways", protect_both, 0 },
	{ "madvise DONTNEED", dontneed, 1 },
	{ "madvise WILLNEED", willneed, 1 },
	{ "madvise POPULATE_READ", populate_read, 1 },
	{ "madvise POPULATE_WRITE", populate_write, 1 },
	{ "madvise PAGEOUT", pageout, 1 },
	{ "madvise REMOVE", removed, 1 },
	{ "madvise, unknown", bad_advice, 0 },
	{ "posix_madvise", advice_posix, 1 },
	{ "posix_madvise, unknown", advice_posix_bad, 0 },
	{ "msync", synced, 1 },
	{ "msync, unknown", synced_bad, 0 },
	{ "msync, both", synced_both, 0 },
	{ "mremap, same size", resized, 0 },
	{ "mremap, to a page", shrunk, 1 },
	{ "mremap, a page more", grown, 0 },
	{ "mremap, to nothing", to_nothing, 0 },
	{ "mremap, fixed only", fixed_only, 0 },
	{ "mremap, unknown flag", flags_bad, 0 },
	{ "mremap, too large", too_large, 0 },
	{ "mremap, out of space", out_of_space, 0 },
	{ "mremap, onto itself", onto_itself, 0 },
	{ "remap_file_pages", remapped_pages, 0 },
};

/* A range that goes on for ever from the window would reach the program's own stack. */
static int endless(const struct range *r)
{
	return r->len > 1UL << 40 && r->len <= LONG_MAX;
}

int main(void)
{
	w = window(NR * PAGE, RW);
	for (size_t c = 0; c < sizeof(calls) / sizeof(calls[0]); c++) {
		say("%s", calls[c].name);
		for (size_t r = 0; r < sizeof(ranges) / sizeof(ranges[0]); r++) {
			char *p = ranges[r].absolute ? (char *)ranges[r].from : w + ranges[r].from;

			if (calls[c].spares_endless && endless(&ranges[r]))
				continue;
			lay_out();
			RC(ranges[r].name, calls[c].fn(p, ranges[r].len));
			state();
		}
		pressure();
	}
	return done();
}
