/* SPDX-License-Identifier: MIT
 * map.c - pages in and out of the program's address space.
 *
 *                 way in                                       way out
 *   writable      HOME  MOVE            0.8 us, 0.17 in 16s    MOVE            0.8 us, 0.17 in 16s
 *                 HOLE  COPY of zeros   1.1 us, 0.78
 *                 STAGED COPY           1.1 us, 0.78
 *   several run,  STAGED COPY, write-protected   1.2 us        DONTNEED of all at once, if never stored to
 *   or for a look
 *   no MOVE       STAGED COPY                                  WRITEPROTECT, read in place, DONTNEED
 *   MOVE to ask   STAGED COPY                                  MOVE aside, copied to staging, DONTNEED  (EBUSY: pinned)
 *   not writable  COPY, from home or staging                   read in place, DONTNEED
 *   locked, exec  COPY                                         stays (stuck)
 *
 * Every ioctl leaves the waiters asleep; the fault loop wakes them when all is done. One that wakes saves a call (0.1 us of 6.2), but the thread takes the
 * processor at once, while the handler holds the lock of the page table, and another handler would spin for it.
 */
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "machine/sys.h"
#include "machine/uffd/internal.h"
#include "mm/errno.h"
#include "mm/mm.h"

#define MAX_RANGES 64 /* of one process_madvise() */
#define MAX_PAGES  64 /* that leave at once */
#define RETRIES 1000 /* of a transient EAGAIN (the host's mapping is locked for a moment) */

/* COPY and MOVE want a range inside one mapping of the host (ENOENT, EINVAL), and the host merges its mappings by rules of its own: what is one mapping
 * to the engine can be several there. A refused range is tried again by half. */
static bool across_mappings(long r, unsigned nr)
{
	return (r == -ENOENT || r == -EINVAL) && nr > 1;
}

/* mode: 0 or UFFD_COPY_WP. => pages copied, at least 1, or -errno when none was. */
static int copy_in(unsigned long dst, unsigned long src, unsigned nr, unsigned mode)
{
	unsigned done = 0, ask = nr;

	if (uffd.plain) {
		memcpy((void *)dst, (const void *)src, nr * PAGE);
		return (int)nr;
	}
	for (int tries = 0; done < nr && tries < RETRIES; tries++) {
		unsigned now = ask < nr - done ? ask : nr - done;
		struct uffd_copy c = { .dst = dst + done * PAGE, .src = src + done * PAGE, .len = now * PAGE,
				       .mode = UFFD_DONTWAKE | mode };
		long r = sys_ioctl(uffd.fd, UFFD_COPY, &c);

		if (r == 0) {
			done += now;
		} else if (across_mappings(r, now)) {
			ask = now / 2;
		} else if (r == -EAGAIN) {
			if (c.copied > 0)
				done += (unsigned)(c.copied / (int64_t)PAGE);
		} else {
			if (!done)
				return (int)r;
			break;
		}
	}
	count(&uffd_stats.copy_in, done);
	return done ? (int)done : -EAGAIN;
}

static bool resident(unsigned long addr)
{
	unsigned char there = 0;

	return sys_mincore(addr, PAGE, &there) == 0 && (there & 1);
}

/* Seen on Linux 6.18, with another thread in MADV_DONTNEED on the source: EAGAIN, nothing moved, it says, and the page has been. The next try (the kernel's
 * own, or ours) finds the destination taken, which was empty before. */
static bool has_moved(unsigned long dst, unsigned long src)
{
	return resident(dst) && !resident(src);
}

void uffd_dropped(void)
{
	if (!atomic_load_explicit(&uffd.dropped, memory_order_relaxed))
		atomic_store_explicit(&uffd.dropped, true, memory_order_relaxed);
}

static bool is_own(unsigned long addr)
{
	return addr - uffd.arena < uffd.nr_frames * PAGE || (uffd.aside && addr - uffd.aside < NR_STAGES * PAGE);
}

bool uffd_show_zeros(unsigned long addr)
{
	struct uffd_zeropage z = { .range = { addr & ~(PAGE - 1), PAGE }, .mode = UFFD_DONTWAKE };

	if (uffd.fd < 0 || !is_own(addr))
		return false;
	atomic_store_explicit(&uffd.shown, true, memory_order_relaxed);
	return sys_ioctl(uffd.fd, UFFD_ZEROPAGE, &z) != -ENOENT;
}

/* => pages moved, at least 1, or -errno when none was. */
static int move_pages(unsigned long dst, unsigned long src, unsigned nr)
{
	unsigned done = 0, ask = nr;

	for (int tries = 0; done < nr && tries < RETRIES; tries++) {
		unsigned now = ask < nr - done ? ask : nr - done;
		struct uffd_move m = { .dst = dst + done * PAGE, .src = src + done * PAGE, .len = now * PAGE,
				       .mode = UFFD_DONTWAKE };
		long r = sys_ioctl(uffd.fd, UFFD_MOVE, &m);

		if (r == 0) {
			done += now;
		} else if (across_mappings(r, now)) {
			ask = now / 2;
		} else if (r == -EAGAIN) {
			if (m.moved > 0)
				done += (unsigned)(m.moved / (int64_t)PAGE);
		} else if (has_moved(m.dst, m.src)) {
			done++;
		} else if (r == -EEXIST && is_own(m.dst)) {
			sys_madvise(m.dst, PAGE, MADV_DONTNEED); /* uffd_show_zeros() */
		} else {
			if (!done)
				return (int)r;
			break;
		}
	}
	return done ? (int)done : -EAGAIN;
}

static int write_protect(unsigned long addr, unsigned nr, bool on)
{
	struct uffd_writeprotect w = { .range = { addr, nr * PAGE },
				       .mode = (on ? UFFD_WP_PROTECT : UFFD_WP_DONTWAKE) };
	long r;
	int tries = 0;

	do
		r = sys_ioctl(uffd.fd, UFFD_WRITEPROTECT, &w);
	while (r == -EAGAIN && ++tries < RETRIES);
	return (int)r;
}

/* ---- watching for stores ----------------------------------------------------------------------------------------- */

/* A page that is stored to after all costs a second fault. What its leaving without a look at its bytes saves is as much while other processors run
 * the program, and a sixth of that otherwise; so a score of the pages of late decides: up with each that is watched, down with each that is stored to. While it
 * is bad one call of 64 finds out whether that has changed. It goes up on the way in, for until the page has left a whole generation of others has entered; and
 * it is never so bad that a few tries can't mend it, for a program's first stores aren't what it is like. */
#define SCORE       64 /* at most, up or down */
#define WATCH_WORST (-16)
#define WATCH_TRIES 64

static int bounded(int n)
{
	return n > SCORE ? SCORE : n < -SCORE ? -SCORE : n;
}

static void watch_score(int delta)
{
	int now = bounded(atomic_load_explicit(&uffd.watching, memory_order_relaxed) + delta);

	atomic_store_explicit(&uffd.watching, now < WATCH_WORST ? WATCH_WORST : now, memory_order_relaxed);
}

static bool is_crowded(void)
{
	return atomic_load_explicit(&uffd.crowded, memory_order_relaxed);
}

/* Do pages come back for a look, one by one? Neighbours are faster by MOVE, and for zeros and stores frames are best at home. */
static void note_way_in(unsigned nr, unsigned how)
{
	int old = atomic_load_explicit(&uffd.looks, memory_order_relaxed);

	atomic_store_explicit(&uffd.looks, bounded(nr == 1 && how & MACHINE_MAP_LOOK ? old + 1 : old - (int)nr), memory_order_relaxed);
}

bool uffd_copies(void)
{
	return is_crowded() || (atomic_load_explicit(&uffd.looks, memory_order_relaxed) > 0 &&
				atomic_load_explicit(&uffd.watching, memory_order_relaxed) >= 0);
}

static bool watch(unsigned nr, unsigned how)
{
	static atomic_uint turn;

	if (!(how & MACHINE_MAP_LOOK) || !(how & MACHINE_MAP_WRITE) || (!is_crowded() && nr > 1))
		return false;
	return atomic_load_explicit(&uffd.watching, memory_order_relaxed) >= 0 ||
	       atomic_fetch_add_explicit(&turn, 1, memory_order_relaxed) % WATCH_TRIES == 0;
}

void machine_stored(struct mm_struct *mm, unsigned long addr, unsigned long pfn)
{
	write_protect(addr, 1, false);
	if (uffd.state[pfn] != WATCHED)
		return;
	uffd.state[pfn] = MAPPED;
	watch_score(is_crowded() ? -2 : -6);
}

uint64_t machine_unwritten(unsigned long pfn, unsigned nr)
{
	uint64_t same = 0;

	for (unsigned i = 0; i < nr; i++)
		same |= (uint64_t)(uffd.state[pfn + i] == UNWRITTEN) << i;
	return same;
}

/* ---- in ---------------------------------------------------------------------------------------------------------- */

static bool at_home(unsigned long pfn)
{
	return uffd.state[pfn] == HOME || uffd.state[pfn] == FREE_HOME;
}

static void set_states(unsigned long pfn, unsigned nr, enum frame_state state)
{
	for (unsigned i = 0; i < nr; i++)
		uffd.state[pfn + i] = (uint8_t)state;
}

/* One run of frames that are at home. MOVE where it may; what it refuses (the mapping is locked, or of another kind than the
 * arena) enters by copy, and what is to be watched. */
static int map_home(unsigned long addr, unsigned nr, unsigned long pfn, unsigned how)
{
	const bool watched = watch(nr, how);
	int r;

	if (how & MACHINE_MAP_ZERO)
		memset((void *)home_of(pfn), 0, nr * PAGE);
	if (how & MACHINE_MAP_WRITE && !watched) {
		r = move_pages(addr, home_of(pfn), nr);
		if (r > 0) {
			set_states(pfn, (unsigned)r, MAPPED);
			count(&uffd_stats.move_in, (unsigned)r);
			return r;
		}
		if (r != -EINVAL)
			return r;
	}
	r = copy_in(addr, home_of(pfn), nr, watched ? UFFD_COPY_WP : 0);
	if (r > 0) {
		watch_score(watched ? r : 0);
		home_drop(pfn, (unsigned)r);
		set_states(pfn, (unsigned)r, watched ? WATCHED : MAPPED);
		count_real(r);
	}
	return r;
}

static int map_zeros(unsigned long addr, unsigned nr, unsigned long pfn)
{
	int r;

	if (nr > NR_ZEROS)
		nr = NR_ZEROS;
	r = copy_in(addr, uffd.zeros, nr, 0);
	for (int i = 0; i < r; i++) {
		if (uffd.state[pfn + (unsigned)i] == STAGED)
			stage_put(pfn + (unsigned)i);
		uffd.state[pfn + (unsigned)i] = MAPPED;
	}
	if (r > 0)
		count_real(r);
	return r;
}

static int map_staged(unsigned long addr, unsigned nr, unsigned long pfn, unsigned how)
{
	const bool watched = watch(nr, how);
	unsigned run = 1;
	int r;

	while (run < nr && uffd.at[pfn + run] == uffd.at[pfn] + run * PAGE)
		run++;
	r = copy_in(addr, uffd.at[pfn], run, watched ? UFFD_COPY_WP : 0);
	for (int i = 0; i < r; i++) {
		stage_put(pfn + (unsigned)i);
		uffd.state[pfn + (unsigned)i] = watched ? WATCHED : MAPPED;
	}
	if (r > 0) {
		watch_score(watched ? r : 0);
		count_real(r);
	}
	return r;
}

bool machine_at_home(unsigned long pfn)
{
	return uffd.state[pfn] == HOME;
}

/* Put back what machine_unmap() froze. */
static int map_frozen(unsigned long addr, unsigned nr, unsigned long pfn)
{
	const bool watched = uffd.state[pfn] == UNWRITTEN;

	if (!watched)
		write_protect(addr, nr, false);
	for (unsigned i = 0; i < nr; i++)
		stage_put(pfn + i);
	set_states(pfn, nr, watched ? WATCHED : MAPPED);
	return (int)nr;
}

static bool is_frozen(unsigned long pfn)
{
	return uffd.state[pfn] == FROZEN || uffd.state[pfn] == UNWRITTEN;
}

bool machine_in_place(unsigned long pfn)
{
	return is_frozen(pfn) && !stage_holds(pfn);
}

static bool same_way(unsigned long a, unsigned long b)
{
	if (at_home(a) || at_home(b))
		return at_home(a) && at_home(b);
	return uffd.state[a] == uffd.state[b];
}

int machine_map(struct mm_struct *mm, unsigned long addr, unsigned nr, unsigned long pfn, unsigned how)
{
	unsigned done = 0;

	note_way_in(nr, how);
	while (done < nr) {
		unsigned long first = pfn + done;
		unsigned run = 1;
		int r;

		while (done + run < nr && same_way(first, first + run))
			run++;
		if (at_home(first))
			r = map_home(addr + done * PAGE, run, first, how);
		else if (is_frozen(first))
			r = map_frozen(addr + done * PAGE, run, first);
		else if (how & MACHINE_MAP_ZERO)
			r = map_zeros(addr + done * PAGE, run, first);
		else if (uffd.state[first] == STAGED)
			r = map_staged(addr + done * PAGE, run, first, how);
		else
			machine_bug(__FILE__, __LINE__, "a frame without bytes was mapped");
		if (r <= 0)
			return done ? (int)done : r;
		done += (unsigned)r;
	}
	return (int)nr;
}

/* ---- out --------------------------------------------------------------------------------------------------------- */

/* A page shared since a fork becomes this process's own by a store that changes nothing. */
static void make_exclusive(unsigned long addr)
{
	__atomic_fetch_or((unsigned *)addr, 0u, __ATOMIC_RELAXED);
}

/* What the host has of the pages between the first and the last that are to leave: asked for when it is needed, and once. */
struct look {
	unsigned long from;
	unsigned nr;
	bool asked, answered;
	unsigned char vec[MAX_PAGES];
};

static struct look look_between(unsigned long from, unsigned long end)
{
	return (struct look){ .from = from, .nr = (unsigned)((end - from) / PAGE) };
}

static bool look_answered(struct look *look)
{
	if (!look->asked)
		look->answered = look->nr <= MAX_PAGES && !sys_mincore(look->from, look->nr * PAGE, look->vec);
	look->asked = true;
	return look->answered;
}

/* How many pages from addr on the host still has; those that its own swap has taken count, and are touched, which brings them back. Reading a
 * missing page would be a fault of the handler itself. */
static unsigned still_here(struct look *look, unsigned long addr, unsigned nr)
{
	unsigned char own[MAX_PAGES] = { 0 };
	const unsigned char *vec = own;
	unsigned n = 0;

	if (look_answered(look))
		vec = look->vec + (addr - look->from) / PAGE;
	else if (sys_mincore(addr, nr * PAGE, own)) /* there is a hole between the pages; here, too */
		return 0;
	while (n < nr && (vec[n] & 1 || in_host_swap(addr + n * PAGE)))
		n++;
	return n;
}

/* Freeze [addr, addr+nr), all of them WATCHED or none: nobody can change the bytes, and they can be read. => pages frozen from the start, or
 * -errno. Who drops pages by raw system calls might do so while they are read in place, and the handler would wait for itself: once that has been seen,
 * they are read by a call that fails then (1.4 us a page). */
static int freeze(struct mm_struct *mm, struct look *look, unsigned long addr, unsigned nr, unsigned long pfn)
{
	const bool watched = uffd.state[pfn] == WATCHED;
	struct vm_area_struct *vma = find_vma(mm, addr);
	unsigned long flags = vma && vma_start(vma) <= addr ? vma_flags(vma) : 0;

	if (!vma || vma_start(vma) > addr)
		return -ENOENT;
	if (flags & VM_LOCKED)
		return -EPERM;
	if (flags & VM_WRITE && !watched) {
		int r;

		if (uffd.move) /* MOVE has refused it, and it can be written: of a kind we can't take */
			return -EPERM;
		r = write_protect(addr, nr, true);
		if (r)
			return r;
	}
	nr = still_here(look, addr, nr);
	if (!nr)
		return -ENOENT;
	for (unsigned i = 0; i < nr; i++) {
		if (flags & VM_READ && !atomic_load_explicit(&uffd.dropped, memory_order_relaxed)) {
			uffd.at[pfn + i] = addr + i * PAGE;
		} else if (read_protected(addr + i * PAGE, (void *)stage_get(pfn + i))) {
			stage_put(pfn + i);
			return i ? (int)i : -EPERM;
		}
		uffd.state[pfn + i] = watched ? UNWRITTEN : FROZEN;
	}
	count(&uffd_stats.copy_out, nr);
	if (watched)
		count(&uffd_stats.unwritten, nr);
	return (int)nr;
}

/* Pages are copied, but only a MOVE tells what is pinned for a device that stores into it: out of the program's sight by a MOVE, one by one, and from
 * there as if it had been copied. => pages taken, from the start, or -errno when none was. */
static int move_aside(unsigned long addr, unsigned nr, unsigned long pfn)
{
	for (unsigned i = 0; i < nr; i++) {
		unsigned long stage = stage_get(pfn + i), aside = uffd.aside + (stage - uffd.staging);
		int r = move_pages(aside, addr + i * PAGE, 1);

		if (r < 0) {
			stage_put(pfn + i);
			return i ? (int)i : r;
		}
		memcpy((void *)stage, (const void *)aside, PAGE);
		sys_madvise(aside, PAGE, MADV_DONTNEED);
		uffd.state[pfn + i] = STAGED;
		count_real(-1);
		count(&uffd_stats.copy_out, 1);
	}
	return (int)nr;
}

/* How many frames from pfn on are as the first one is: watched, or not. */
static unsigned watched_run(unsigned long pfn, unsigned nr)
{
	unsigned n = 1;

	while (n < nr && (uffd.state[pfn + n] == WATCHED) == (uffd.state[pfn] == WATCHED))
		n++;
	return n;
}

static int take_out(struct mm_struct *mm, struct look *look, unsigned long addr, unsigned nr, unsigned long pfn)
{
	int r;

	nr = watched_run(pfn, nr);
	if (uffd.aside && uffd.state[pfn] != WATCHED) {
		r = move_aside(addr, nr, pfn);
		if (r != -EINVAL)
			return r;
	}
	if (uffd.move && uffd.state[pfn] != WATCHED) { /* making that one exclusive would be a fault of the handler's own */
		r = move_pages(home_of(pfn), addr, nr);
		if (r > 0) {
			set_states(pfn, (unsigned)r, HOME);
			count(&uffd_stats.move_out, (unsigned)r);
		}
		if (r != -EINVAL)
			return r;
	}
	return freeze(mm, look, addr, nr, pfn);
}

static void take_piece(struct mm_struct *mm, struct look *look, const struct machine_range *p, uint64_t *stuck, uint64_t *gone)
{
	unsigned done = 0;

	while (done < p->nr) {
		const unsigned long addr = p->addr + done * PAGE, pfn = p->pfn + done;
		int r = take_out(mm, look, addr, p->nr - done, pfn);

		if (r == -EBUSY) {
			const unsigned run = watched_run(pfn, p->nr - done);
			struct look now = look_between(addr, addr + run * PAGE);
			unsigned here = still_here(&now, addr, run);

			/* A store to one that is watched would be a fault of the handler itself. */
			for (unsigned i = 0; i < here && uffd.state[pfn + i] != WATCHED; i++)
				make_exclusive(addr + i * PAGE);
			r = take_out(mm, look, addr, p->nr - done, pfn);
		}
		if (r > 0) {
			done += (unsigned)r;
			continue;
		}
		if (r == -ENOENT) {
			uffd_dropped();
			*gone |= 1ULL << done;
		} else {
			*stuck |= 1ULL << done;
			count(&uffd_stats.pinned, 1);
		}
		done++;
	}
}

void machine_unmap_ranges(struct mm_struct *mm, const struct machine_range *ranges, unsigned nr, uint64_t *stuck, uint64_t *gone)
{
	const struct machine_range *last = &ranges[nr - 1];
	struct look look = look_between(ranges[0].addr, last->addr + last->nr * PAGE);
	unsigned at = 0;

	*stuck = 0;
	*gone = 0;
	for (unsigned i = 0; i < nr; at += ranges[i++].nr) {
		uint64_t s = 0, g = 0;

		take_piece(mm, &look, &ranges[i], &s, &g);
		*stuck |= s << at;
		*gone |= g << at;
	}
}

void machine_unmap(struct mm_struct *mm, unsigned long addr, unsigned nr, unsigned long pfn, uint64_t *stuck, uint64_t *gone)
{
	const struct machine_range range = { addr, pfn, nr };

	machine_unmap_ranges(mm, &range, 1, stuck, gone);
}

/* One call for all: the processors that run the program are interrupted once. Kernels before 6.13 refuse this advice to process_madvise(). */
static void drop_all(const struct iovec *v, unsigned nr, size_t bytes)
{
	if (nr > 1 && sys_call5(SYS_process_madvise, uffd.pidfd, (long)v, nr, MADV_DONTNEED, 0) == (long)bytes)
		return;
	for (unsigned i = 0; i < nr; i++)
		sys_madvise((unsigned long)v[i].iov_base, v[i].iov_len, MADV_DONTNEED);
}

void machine_release(struct mm_struct *mm, const struct machine_range *ranges, unsigned nr)
{
	struct iovec v[MAX_RANGES];
	unsigned n = 0;
	size_t bytes = 0;

	for (const struct machine_range *r = ranges; r < ranges + nr; r++) {
		for (unsigned i = 0, run; i < r->nr; i += run ? run : 1) {
			for (run = 0; i + run < r->nr && is_frozen(r->pfn + i + run); run++) {
				stage_put(r->pfn + i + run);
				uffd.state[r->pfn + i + run] = HOLE;
			}
			if (!run)
				continue;
			if (n == MAX_RANGES) {
				drop_all(v, n, bytes);
				n = 0;
				bytes = 0;
			}
			v[n++] = (struct iovec){ (void *)(r->addr + i * PAGE), run * PAGE };
			bytes += run * PAGE;
			count_real(-(long)run);
		}
	}
	drop_all(v, n, bytes);
}

void machine_discard(struct mm_struct *mm, unsigned long addr, unsigned nr, unsigned long pfn)
{
	for (unsigned i = 0; i < nr; i++) {
		unsigned long p = pfn + i;

		if (uffd.state[p] == MAPPED || uffd.state[p] == WATCHED || is_frozen(p)) {
			if (is_frozen(p))
				stage_put(p);
			uffd.state[p] = HOLE;
			count_real(-1);
		}
	}
}

/* The host has moved what was mapped, and frames are not bound to addresses. Newer kernels lift the write protection then. */
void machine_moved(struct mm_struct *mm, unsigned long from, unsigned long to, unsigned nr, unsigned long pfn)
{
	for (unsigned i = 0; i < nr; i++)
		if (uffd.state[pfn + i] == WATCHED)
			uffd.state[pfn + i] = MAPPED;
}

/* The host's mapping carries the rights. */
void machine_protect(struct mm_struct *mm, unsigned long addr, unsigned nr, unsigned long pfn, unsigned how)
{
}

void machine_adopt(struct mm_struct *mm, unsigned long addr, unsigned long pfn)
{
	if (at_home(pfn))
		home_drop(pfn, 1);
	uffd.state[pfn] = MAPPED;
	count_real(1);
}
