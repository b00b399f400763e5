/* SPDX-License-Identifier: MIT
 *
 * memory.c - mmap, munmap, mremap, mprotect, madvise, mlock, mincore: the program's calls.
 *
 *   call           the host                            the engine, under the same lock
 *   mmap           mmap without MAP_POPULATE           new vma, armed; populated afterwards by MADV_POPULATE_*
 *   munmap         munmap                              vmas, entries, frames, slots go
 *   mremap         mremap (piece by piece when armed)  entries move, the new range is armed
 *   mprotect       mprotect                            vm_flags
 *   DONTNEED       madvise                             entries, frames, slots go
 *   FREE           MADV_COLD where it is managed       swapped copies go; resident pages stay until evicted
 *   PAGEOUT        MADV_COLD where it is managed       evicted into our own swap
 *   WILLNEED       madvise                             swapped in while frames are free
 *   POPULATE_*     madvise, without a lock: it faults
 *   mlock          mlock2(ONFAULT), then mlock         VM_LOCKED; refused (ENOMEM) above three quarters of the frames
 *   mincore        mincore                             pages that only a neighbour's fault brought are taken out
 *
 * When the host did a part of what was asked (a hole in the range, say), the engine looks at what was done and follows.
 */
#undef _FILE_OFFSET_BITS /* mmap and mmap64 are both defined here, under their own names */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "lib/budget.h"
#include "lib/pager.h"
#include "machine/sys.h"
#include "machine/uffd/uffd.h"
#include "run/runtime.h"
#include "swap/swap.h"

#ifndef MADV_COLD
#define MADV_COLD 20
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#define ADV_DONTNEED_LOCKED 24
#define ADV_GUARD_INSTALL   102
#define EVERYTHING          ((1UL << 47) - PAGE)

atomic_bool rt_active;
/* mlockall(MCL_FUTURE): its flags, and above them the process they hold for; a forked child does not inherit them. */
static atomic_long lock_future;

long rt_errno(long r)
{
	if (sys_is_err(r)) {
		errno = (int)-r;
		return -1;
	}
	return r;
}

unsigned long rt_prot_flags(int prot)
{
	return (prot & PROT_READ ? VM_READ : 0) | (prot & PROT_WRITE ? VM_WRITE : 0) | (prot & PROT_EXEC ? VM_EXEC : 0);
}

/* ---- bookkeeping shared by the calls ----------------------------------------------------------------------------- */

/* mmap_lock held. Bytes of [addr, addr+len) under management in mappings that have all of these flags. */
static size_t flagged_in(unsigned long addr, size_t len, unsigned long flags)
{
	size_t sum = 0;

	for (struct vm_area_struct *v = find_vma(pager_mm, addr); v && vma_start(v) < addr + len; v = vma_next(pager_mm, v)) {
		unsigned long from = vma_start(v) > addr ? vma_start(v) : addr;
		unsigned long to = vma_end(v) < addr + len ? vma_end(v) : addr + len;

		if ((vma_flags(v) & flags) == flags)
			sum += to - from;
	}
	return sum;
}

static size_t managed_in(unsigned long addr, size_t len)
{
	return flagged_in(addr, len, 0);
}

static uint64_t managed_bytes;

static void count_managed(long delta)
{
	managed_bytes += (uint64_t)delta;
	pager_count_managed(managed_bytes);
}

/* The pages that the host has at [addr, addr+len) already. */
static int adopt_pages(unsigned long addr, size_t len)
{
	for (unsigned long at = addr; at < addr + len; at += 64 * PAGE) {
		unsigned char vec[64] = { 0 };
		size_t n = addr + len - at < 64 * PAGE ? addr + len - at : 64 * PAGE;
		long r = sys_mincore(at, n, vec);

		if (r)
			return (int)r;
		for (size_t i = 0; i < n / PAGE; i++) {
			int err = vec[i] & 1 ? adopt_page(pager_mm, at + i * PAGE) : 0;

			if (err == -ENOMEM && budget_rescue())
				err = adopt_page(pager_mm, at + i * PAGE);
			if (err)
				return err;
		}
	}
	return 0;
}

int rt_manage(unsigned long addr, size_t len, unsigned long vm_flags, bool adopt)
{
	int err;

	/* Armed before anything else: until then another thread's touch gets a page that the engine knows nothing of. */
	err = uffd_arm(addr, len);
	if (err)
		return err;
	count_managed(-(long)managed_in(addr, len));
	err = mmap_region(pager_mm, addr, len, vm_flags | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC);
	if (err)
		return err;
	count_managed((long)len);
	if (adopt)
		err = adopt_pages(addr, len);
	return err;
}

void rt_unmanage(unsigned long addr, size_t len)
{
	count_managed(-(long)managed_in(addr, len));
	if (do_munmap(pager_mm, addr, len))
		machine_bug(__FILE__, __LINE__, "no memory left to split a mapping");
}

/* mmap_lock held for writing. A call failed, but the host may have unmapped [addr, addr+len) or a part of it before: MAP_FIXED and MREMAP_FIXED
 * unmap first. What is gone there is forgotten, or the engine would take its pages out of whatever comes to stand there. */
static void forget_gone(unsigned long addr, size_t len)
{
	static unsigned char vec[4096];
	unsigned long at = page_down(addr), end = page_up(addr + len);
	struct vm_area_struct *v;
	size_t n = sizeof(vec);

	while (at < end && (v = find_vma(pager_mm, at)) && vma_start(v) < end) {
		unsigned long to = vma_end(v) < end ? vma_end(v) : end;

		at = vma_start(v) > at ? vma_start(v) : at;
		n = n < (to - at) / PAGE ? n : (to - at) / PAGE;
		if (sys_mincore(at, n * PAGE, vec) != -ENOMEM) {
			at += n * PAGE;
			n = n * 2 < sizeof(vec) ? n * 2 : sizeof(vec);
		} else if (n > 1) {
			n /= 2;
		} else {
			rt_unmanage(at, PAGE);
			at += PAGE;
		}
	}
}

static void modify(unsigned long addr, size_t len, unsigned long set, unsigned long clear)
{
	if (len && addr + len > addr && vma_modify_flags(pager_mm, addr, len, set, clear))
		machine_bug(__FILE__, __LINE__, "no memory left to split a mapping");
}

/* mmap_lock held. [addr, addr+len), of which `bytes` are or will be managed, may be locked: locked pages never leave, and a quarter of the frames stays
 * for the others. What is locked counts whether it has been touched or not; what the range has locked already does not count twice. */
static bool may_lock(unsigned long addr, size_t len, size_t bytes)
{
	size_t others = flagged_in(0, EVERYTHING, VM_LOCKED) - flagged_in(addr, len, VM_LOCKED);
	unsigned long frames;

	if (others + bytes < bytes)
		return false;
	do {
		frames = nr_free_frames() + nr_used_frames();
		if ((others + bytes) / PAGE <= frames - frames / 4)
			return true;
	} while (budget_grow());
	return false;
}

/* => MCL_FUTURE, with MCL_ONFAULT perhaps, or 0 */
static int future_lock(void)
{
	long set = atomic_load_explicit(&lock_future, memory_order_relaxed);

	return set && set >> 8 == sys_getpid() ? (int)(set & 0xff) : 0;
}

unsigned long rt_future_flags(void)
{
	return future_lock() ? VM_LOCKED : 0;
}

bool rt_may_lock_new(unsigned long addr, size_t len)
{
	return !len || may_lock(addr, len, len);
}

bool rt_future_populates(void)
{
	return future_lock() && !(future_lock() & MCL_ONFAULT);
}

/* Faults in what an madvise(MADV_POPULATE_*) or mlock does, by the calling thread and without a lock. Pages that a neighbour's fault
 * has brought before count from now on as asked for. */
static long do_mark(struct rt_call *c)
{
	mmap_read_lock(pager_mm);
	mark_range_used(pager_mm, (unsigned long)c->a[0], (size_t)c->a[1]);
	mmap_read_unlock(pager_mm);
	return 0;
}

static long populate(unsigned long addr, size_t len, int advice)
{
	long r = sys_madvise(addr, len, advice);

	if (!r)
		rt_run(do_mark, RT_HERE, RT_ARGS((long)addr, (long)page_up(len)), NULL);
	return r;
}

void rt_populate(unsigned long addr, size_t len)
{
	populate(addr, len, MADV_POPULATE_WRITE);
}

/* ---- the host's mappings, from /proc/self/maps --------------------------------------------------------------------- */

struct host_maps {
	int fd;
	size_t have, at;              /* of maps_text: bytes read, bytes parsed */
	unsigned long start, end;     /* of this mapping, clipped */
	unsigned long rights;         /* VM_READ | VM_WRITE | VM_EXEC */
};
static char maps_text[16384]; /* mmap_lock is held for writing */

static void maps_open(struct host_maps *m)
{
	*m = (struct host_maps){ .fd = (int)sys_open("/proc/self/maps", O_CLOEXEC) };
}

static void maps_close(struct host_maps *m)
{
	if (m->fd >= 0)
		sys_close(m->fd);
}

/* => the length of the next line, which begins at m->at, with its end; 0: no more */
static size_t maps_line(struct host_maps *m)
{
	size_t eol = m->at;

	for (;;) {
		long n;

		for (; eol < m->have; eol++)
			if (maps_text[eol] == '\n')
				return eol + 1 - m->at;
		for (size_t i = m->at; i < m->have; i++)
			maps_text[i - m->at] = maps_text[i];
		m->have -= m->at;
		eol -= m->at;
		m->at = 0;
		n = m->fd < 0 ? 0 : sys_read(m->fd, maps_text + m->have, sizeof(maps_text) - m->have);
		if (n <= 0)
			return 0;
		m->have += (size_t)n;
	}
}

/* The next mapping that has a part in [from, to). */
static bool maps_next(struct host_maps *m, unsigned long from, unsigned long to)
{
	size_t len;

	while ((len = maps_line(m))) {
		const char *c = maps_text + m->at;
		unsigned long v[2] = { 0, 0 };

		for (int i = 0; i < 2; i++, c++)
			for (; *c != '-' && *c != ' '; c++)
				v[i] = v[i] * 16 + (unsigned long)(*c <= '9' ? *c - '0' : *c - 'a' + 10);
		m->at += len;
		if (v[1] <= from || v[0] >= to)
			continue;
		m->start = v[0] > from ? v[0] : from;
		m->end = v[1] < to ? v[1] : to;
		m->rights = (c[0] == 'r' ? VM_READ : 0) | (c[1] == 'w' ? VM_WRITE : 0) | (c[2] == 'x' ? VM_EXEC : 0);
		return true;
	}
	return false;
}

/* ---- mmap, munmap ------------------------------------------------------------------------------------------------ */

static bool is_ours(int prot, int flags)
{
	return (flags & (MAP_SHARED | MAP_PRIVATE)) == MAP_PRIVATE && (flags & MAP_ANONYMOUS) && !(prot & PROT_EXEC) &&
	       !(flags & (MAP_STACK | MAP_GROWSDOWN | MAP_HUGETLB));
}

/* a: addr, len, prot, flags, fd, off */
static long do_mmap(struct rt_call *c)
{
	size_t len = page_up((size_t)c->a[1]);
	int prot = (int)c->a[2], flags = (int)c->a[3];
	bool ours = is_ours(prot, flags);
	unsigned long vm_flags = rt_prot_flags(prot) | (flags & MAP_NORESERVE ? VM_NORESERVE : 0);
	bool fill = flags & (MAP_LOCKED | MAP_POPULATE) || rt_future_populates();
	long p, err;

	vm_flags |= flags & MAP_LOCKED ? VM_LOCKED : rt_future_flags();
	mmap_write_lock(pager_mm);
	if (ours && vm_flags & VM_LOCKED && len && !may_lock((unsigned long)c->a[0], flags & MAP_FIXED ? len : 0, len)) {
		mmap_write_unlock(pager_mm);
		return -EAGAIN;
	}
	/* MAP_LOCKED populates at once, before the new mapping is armed; those pages are adopted. */
	p = sys_mmap((unsigned long)c->a[0], (size_t)c->a[1], prot, ours ? flags & ~MAP_POPULATE : flags, (int)c->a[4], c->a[5]);
	if (sys_is_err(p)) {
		if (flags & MAP_FIXED && !(c->a[0] & (long)(PAGE - 1)) && len && (unsigned long)c->a[0] + len > len)
			forget_gone((unsigned long)c->a[0], len);
		mmap_write_unlock(pager_mm);
		return p;
	}
	if (ours) {
		err = rt_manage((unsigned long)p, len, vm_flags, vm_flags & VM_LOCKED);
		if (err) {
			sys_munmap((unsigned long)p, len);
			rt_unmanage((unsigned long)p, len);
			p = -ENOMEM;
		}
	} else if (flags & MAP_FIXED) {
		rt_unmanage((unsigned long)p, len);
	}
	mmap_write_unlock(pager_mm);
	if (ours && !sys_is_err(p) && fill && prot & (PROT_READ | PROT_WRITE))
		c->advice = prot & PROT_WRITE ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;
	return p;
}

EXPORT void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	struct rt_call out;
	long p;

	if (!atomic_load_explicit(&rt_active, memory_order_relaxed)) {
		p = sys_mmap((unsigned long)addr, len, prot, flags, fd, off);
		if (!sys_is_err(p) && flags & MAP_FIXED)
			rt_forget_early((unsigned long)p, len);
		if (!sys_is_err(p) && is_ours(prot, flags))
			rt_note_early((unsigned long)p, len, prot);
		return (void *)rt_errno(p);
	}
	if (!is_ours(prot, flags) && !(flags & MAP_FIXED))
		return (void *)rt_errno(sys_mmap((unsigned long)addr, len, prot, flags, fd, off));
	if (flags & MAP_LOCKED && is_ours(prot, flags)) {
		/* The handler may have rights that this thread has given up: whether it may lock so much is asked here. */
		p = sys_mmap(0, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0);
		if (sys_is_err(p))
			return (void *)rt_errno(p);
		sys_munmap((unsigned long)p, len);
	}
	p = rt_run(do_mmap, is_ours(prot, flags) ? RT_REMOTE : RT_HERE, RT_ARGS((long)addr, (long)len, prot, flags, fd, off), &out);
	if (!sys_is_err(p) && out.advice)
		populate((unsigned long)p, page_up(len), out.advice);
	return (void *)rt_errno(p);
}

EXPORT void *mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t off);
EXPORT void *mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	return mmap(addr, len, prot, flags, fd, off);
}

static long do_munmap_call(struct rt_call *c)
{
	long r;

	mmap_write_lock(pager_mm);
	r = sys_munmap((unsigned long)c->a[0], (size_t)c->a[1]);
	if (!r)
		rt_unmanage((unsigned long)c->a[0], page_up((size_t)c->a[1]));
	mmap_write_unlock(pager_mm);
	return r;
}

EXPORT int munmap(void *addr, size_t len)
{
	long r;

	if (!atomic_load_explicit(&rt_active, memory_order_relaxed)) {
		r = sys_munmap((unsigned long)addr, len);
		if (!r)
			rt_forget_early((unsigned long)addr, len);
		return (int)rt_errno(r);
	}
	return (int)rt_errno(rt_run(do_munmap_call, RT_HERE, RT_ARGS((long)addr, (long)len), NULL));
}

/* ---- mremap ------------------------------------------------------------------------------------------------------ */

/* mmap_lock held for writing. The host has moved [from, from+len) to `to`, which is disarmed by that and armed again here, first of all. In between,
 * a touch of the new place by another thread finds a page that is evicted missing, and gets a page of zeros from the host. With MREMAP_FIXED
 * over memory in use that can happen: those pages are dropped again, so that the next touch brings the right bytes. (What the
 * other thread read in that moment stays read, and a store of its own into such a page is lost: the host has no way to move an
 * armed mapping.) */
static void arm_moved(unsigned long from, size_t len, unsigned long to, size_t new_len, bool known_place)
{
	if (uffd_arm(to, new_len))
		machine_bug(__FILE__, __LINE__, "a moved mapping can't be armed");
	if (to == from || !known_place)
		return;
	for (unsigned long at = 0; at < len; at += 64 * PAGE) {
		unsigned char vec[64] = { 0 };
		size_t n = len - at < 64 * PAGE ? (len - at) / PAGE : 64;

		if (sys_mincore(to + at, n * PAGE, vec))
			continue;
		for (size_t i = 0; i < n; i++)
			if (vec[i] & 1 && mm_residency(pager_mm, from + at + i * PAGE) == MM_SWAPPED &&
			    sys_madvise(to + at + i * PAGE, PAGE, MADV_DONTNEED)) /* locked */
				sys_madvise(to + at + i * PAGE, PAGE, ADV_DONTNEED_LOCKED);
	}
}

/* mmap_lock held for writing. The host has moved a piece that is managed. */
static void follow_move(unsigned long from, size_t old_len, unsigned long to, size_t new_len, int flags)
{
	long before = (long)managed_in(from, old_len) + (to == from ? 0 : (long)managed_in(to, new_len));
	long after = (long)new_len + (flags & MREMAP_DONTUNMAP ? (long)old_len : 0);

	arm_moved(from, old_len < new_len ? old_len : new_len, to, new_len, flags & MREMAP_FIXED);
	if (move_vma(pager_mm, from, old_len, to, new_len, flags & MREMAP_DONTUNMAP))
		machine_bug(__FILE__, __LINE__, "no memory left to move a mapping");
	count_managed(after - before);
}

/* Does this kernel move several mappings by one call (Linux 6.17)? */
static bool host_moves_several(void)
{
	static int known; /* mmap_lock is held for writing */
	long p;

	if (known)
		return known > 0;
	p = sys_mmap(0, 4 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (sys_is_err(p))
		return false;
	sys_mprotect((unsigned long)p, PAGE, PROT_READ);
	known = sys_is_err(sys_call5(SYS_mremap, p, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p + 2 * (long)PAGE)) ? -1 : 1;
	sys_munmap((unsigned long)p, 4 * PAGE);
	return known > 0;
}

/* Where the host moves several mappings by one call, it refuses when one of them is armed: then each is moved by a call of its own,
 * with what lies between them left out, as the host does it. => the new address or -errno: then those before have moved, natively too. */
static long move_pieces(unsigned long from, size_t len, int flags, unsigned long to)
{
	struct host_maps m;
	long r = 0;

	for (maps_open(&m); maps_next(&m, from, from + len);) {
		size_t piece = m.end - m.start;
		unsigned long place = to + (m.start - from);
		size_t ours = managed_in(m.start, piece);

		r = sys_call5(SYS_mremap, (long)m.start, (long)piece, (long)piece, flags, (long)place);
		if (sys_is_err(r)) {
			forget_gone(place, piece);
			break;
		}
		if (ours)
			follow_move(m.start, piece, place, piece, flags);
		else
			rt_unmanage(place, piece);
	}
	maps_close(&m);
	return sys_is_err(r) ? r : (long)to;
}

/* The call may concern several mappings of the host, one of them managed. */
static bool may_be_several(unsigned long from, size_t old_len, size_t new_len, int flags)
{
	struct vm_area_struct *v = find_vma(pager_mm, from);
	unsigned char vec;

	if (!(flags & MREMAP_FIXED) || old_len != new_len || !old_len || from & (PAGE - 1) || from + old_len < from)
		return false;
	return v && vma_start(v) < from + old_len && (vma_start(v) > from || vma_end(v) < from + old_len) &&
	       !sys_mincore(from, PAGE, &vec);
}

/* a: addr, old_len, new_len, flags, new_addr */
static long do_mremap(struct rt_call *c)
{
	unsigned long from = (unsigned long)c->a[0];
	size_t old_len = page_up((size_t)c->a[1]), new_len = page_up((size_t)c->a[2]);
	int flags = (int)c->a[3];
	struct vm_area_struct *v;
	bool ours, several;
	long to;

	mmap_write_lock(pager_mm);
	v = find_vma(pager_mm, from);
	ours = v && vma_start(v) <= from && old_len;
	several = may_be_several(from, old_len, new_len, flags);
	to = sys_call5(SYS_mremap, (long)from, c->a[1], c->a[2], flags, c->a[4]);
	if (to == -EFAULT && several && host_moves_several()) {
		to = move_pieces(from, old_len, flags, (unsigned long)c->a[4]);
	} else if (sys_is_err(to)) {
		/* shrinking unmaps the tail first, MREMAP_FIXED what stands at the new place */
		if (!(from & (PAGE - 1)) && from + old_len > from && new_len < old_len)
			forget_gone(from, old_len);
		if (flags & MREMAP_FIXED && !(c->a[4] & (long)(PAGE - 1)) && (unsigned long)c->a[4] + new_len > (unsigned long)c->a[4])
			forget_gone((unsigned long)c->a[4], new_len);
	} else if (ours) {
		follow_move(from, old_len, (unsigned long)to, new_len, flags);
		if (vma_flags(find_vma(pager_mm, (unsigned long)to)) & VM_LOCKED && new_len > old_len)
			c->advice = MADV_POPULATE_WRITE;
	} else if (flags & MREMAP_FIXED) {
		rt_unmanage((unsigned long)to, new_len);
	}
	mmap_write_unlock(pager_mm);
	return to;
}

EXPORT void *mremap(void *addr, size_t old_len, size_t new_len, int flags, ...)
{
	struct rt_call out;
	void *to = NULL;
	va_list ap;
	long p;

	va_start(ap, flags);
	if (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP))
		to = va_arg(ap, void *);
	va_end(ap);
	if (!atomic_load_explicit(&rt_active, memory_order_relaxed)) {
		p = sys_call5(SYS_mremap, (long)addr, (long)old_len, (long)new_len, flags, (long)to);
		if (!sys_is_err(p)) {
			rt_forget_early((unsigned long)addr, old_len);
			rt_note_early((unsigned long)p, new_len, PROT_READ | PROT_WRITE);
		}
		return (void *)rt_errno(p);
	}
	p = rt_run(do_mremap, RT_REMOTE, RT_ARGS((long)addr, (long)old_len, (long)new_len, flags, (long)to), &out);
	if (!sys_is_err(p) && out.advice)
		populate((unsigned long)p, page_up(new_len), out.advice);
	return (void *)rt_errno(p);
}

/* ---- mprotect ---------------------------------------------------------------------------------------------------- */

/* The host did only a part: what it did ends where the mappings end (ENOMEM) or where one refused. The engine asks the host what the rights are
 * now. Rare and slow. */
static void resync_prot(unsigned long addr, size_t len)
{
	struct host_maps m;

	for (maps_open(&m); maps_next(&m, addr, addr + len);)
		modify(m.start, m.end - m.start, m.rights, VM_ACCESS_FLAGS & ~m.rights);
	maps_close(&m);
}

/* a: addr, len, prot, pkey (or -2: plain mprotect) */
static long do_mprotect(struct rt_call *c)
{
	unsigned long addr = (unsigned long)c->a[0];
	size_t len = page_up((size_t)c->a[1]);
	unsigned long set = rt_prot_flags((int)c->a[2]);
	long r;

	mmap_write_lock(pager_mm);
	if (c->a[3] == -2)
		r = sys_mprotect(addr, (size_t)c->a[1], (int)c->a[2]);
	else
		r = sys_call4(SYS_pkey_mprotect, (long)addr, c->a[1], c->a[2], c->a[3]);
	/* A thread of the runtime may have no right to read behind a key; VM_NOFAULTAROUND marks what untouched() leaves alone. */
	if (c->a[3] > 0 && len && addr + len > addr)
		modify(addr, len, VM_NOFAULTAROUND, 0);
	if (!r && len && addr + len > addr)
		modify(addr, len, set, VM_ACCESS_FLAGS & ~set);
	else if (r && r != -EINVAL)
		resync_prot(addr, len);
	mmap_write_unlock(pager_mm);
	return r;
}

EXPORT int mprotect(void *addr, size_t len, int prot)
{
	if (!atomic_load_explicit(&rt_active, memory_order_relaxed))
		return (int)rt_errno(sys_mprotect((unsigned long)addr, len, prot));
	return (int)rt_errno(rt_run(do_mprotect, RT_HERE, RT_ARGS((long)addr, (long)len, prot, -2), NULL));
}

EXPORT int pkey_mprotect(void *addr, size_t len, int prot, int pkey)
{
	if (!atomic_load_explicit(&rt_active, memory_order_relaxed))
		return (int)rt_errno(sys_call4(SYS_pkey_mprotect, (long)addr, (long)len, prot, pkey));
	return (int)rt_errno(rt_run(do_mprotect, RT_HERE, RT_ARGS((long)addr, (long)len, prot, pkey), NULL));
}

/* ---- madvise ----------------------------------------------------------------------------------------------------- */

/* EINVAL from an advice that drops pages can mean a locked mapping in the middle: what stands before it is done. */
static size_t done_before_locked(unsigned long addr, size_t len)
{
	struct vm_area_struct *v = find_vma(pager_mm, addr);

	for (; v && vma_start(v) < addr + len; v = vma_next(pager_mm, v))
		if (vma_flags(v) & VM_LOCKED)
			return vma_start(v) > addr ? vma_start(v) - addr : 0;
	return len;
}

static void follow_flags(unsigned long addr, size_t len, int advice)
{
	switch (advice) {
	case MADV_NORMAL:
		modify(addr, len, 0, VM_SEQ_READ | VM_RAND_READ);
		break;
	case MADV_RANDOM:
		modify(addr, len, VM_RAND_READ, VM_SEQ_READ);
		break;
	case MADV_SEQUENTIAL:
		modify(addr, len, VM_SEQ_READ, VM_RAND_READ);
		break;
	case MADV_DONTFORK:
		modify(addr, len, VM_DONTCOPY, 0);
		break;
	case MADV_DOFORK:
		modify(addr, len, 0, VM_DONTCOPY);
		break;
	case MADV_WIPEONFORK:
		modify(addr, len, VM_WIPEONFORK, 0);
		break;
	case MADV_KEEPONFORK:
		modify(addr, len, 0, VM_WIPEONFORK);
		break;
	default:
		break;
	}
}

/* MADV_FREE, MADV_PAGEOUT: the host may do it where nothing is managed only; for managed memory MADV_COLD judges the arguments. A hole
 * (ENOMEM) does not stop the host either; any other refusal does. */
static long advise_pieces(unsigned long addr, size_t len, int advice)
{
	unsigned long at = addr, end = addr + page_up(len);
	long result = 0;

	if (addr & (PAGE - 1) || !page_up(len) || end < addr || end > EVERYTHING || managed_in(addr, page_up(len)) == page_up(len))
		return sys_madvise(addr, len, MADV_COLD);
	while (at < end) {
		struct vm_area_struct *v = find_vma(pager_mm, at);
		bool ours = v && vma_start(v) <= at;
		unsigned long to = ours ? vma_end(v) : v ? vma_start(v) : end;
		long r;

		to = to < end ? to : end;
		r = sys_madvise(at, to - at, ours ? MADV_COLD : advice);
		if (r == -ENOMEM)
			result = r;
		else if (r)
			return r;
		at = to;
	}
	return result;
}

static long do_madvise(struct rt_call *c)
{
	unsigned long addr = (unsigned long)c->a[0];
	size_t len = page_up((size_t)c->a[1]);
	int advice = (int)c->a[2];
	bool did;
	long r;

	mmap_write_lock(pager_mm);
	if (advice == MADV_FREE || advice == MADV_PAGEOUT)
		r = advise_pieces(addr, (size_t)c->a[1], advice);
	else
		r = sys_madvise(addr, (size_t)c->a[1], advice);
	did = len && addr + len > addr && !(addr & (PAGE - 1)) && (!r || r == -ENOMEM);
	switch (advice) {
	case MADV_DONTNEED:
	case ADV_DONTNEED_LOCKED:
		if (r == -EINVAL && !(addr & (PAGE - 1)) && len && addr + len > addr)
			zap_page_range(pager_mm, addr, done_before_locked(addr, len));
		if (did)
			zap_page_range(pager_mm, addr, len);
		break;
	case ADV_GUARD_INSTALL:
		if (did) {
			zap_page_range(pager_mm, addr, len);
			modify(addr, len, VM_NOFAULTAROUND, 0);
		}
		break;
	case MADV_FREE:
		if (did)
			zap_swap_range(pager_mm, addr, len);
		break;
	case MADV_PAGEOUT:
		if (did)
			pageout_range(pager_mm, addr, len);
		break;
	case MADV_WILLNEED:
		if (did)
			swapin_range(pager_mm, addr, len);
		break;
	default:
		if (did)
			follow_flags(addr, len, advice);
		break;
	}
	mmap_write_unlock(pager_mm);
	return r;
}

EXPORT int madvise(void *addr, size_t len, int advice)
{
	enum rt_where where = advice == MADV_PAGEOUT || advice == MADV_WILLNEED ? RT_REMOTE : RT_HERE;

	if (!atomic_load_explicit(&rt_active, memory_order_relaxed))
		return (int)rt_errno(sys_madvise((unsigned long)addr, len, advice));
	if (advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE)
		return (int)rt_errno(populate((unsigned long)addr, len, advice));
	return (int)rt_errno(rt_run(do_madvise, where, RT_ARGS((long)addr, (long)len, advice), NULL));
}

EXPORT int posix_madvise(void *addr, size_t len, int advice)
{
	int before = errno, r;

	if (advice == POSIX_MADV_DONTNEED) /* destroys nothing here, as in glibc */
		return 0;
	r = madvise(addr, len, advice) ? errno : 0;
	errno = before;
	return r;
}

/* A thread or process id in /proc/self/fdinfo of a pidfd that is one of ours. Its pid namespace and that of /proc/self/task are the same. */
static bool is_own_pidfd(int fd)
{
	char path[64] = "/proc/self/fdinfo/", text[512], *to = path + sizeof("/proc/self/fdinfo/") - 1;
	const char *pid = NULL;
	long in, n, task;

	if (fd == -10000 || fd == -10001 || fd == -20000) /* PIDFD_SELF_THREAD, PIDFD_SELF_THREAD_GROUP, the latter in Linux 6.14 */
		return true;
	if (fd < 0)
		return false;
	for (int div = 1000000000; div; div /= 10)
		if (fd >= div || div == 1)
			*to++ = (char)('0' + fd / div % 10);
	*to = 0;
	in = sys_open(path, O_CLOEXEC);
	n = in < 0 ? in : sys_read((int)in, text, sizeof(text) - 1);
	if (in >= 0)
		sys_close((int)in);
	text[n > 0 ? n : 0] = 0;
	for (const char *c = text; *c && !pid; c++)
		if (c[0] == '\n' && c[1] == 'P' && c[2] == 'i' && c[3] == 'd' && c[4] == ':' && c[5] == '\t')
			pid = c + 6;
	if (!pid || *pid < '0' || *pid > '9')
		return false;
	to = path;
	for (const char *c = "/proc/self/task/"; *c;)
		*to++ = *c++;
	while (*pid >= '0' && *pid <= '9')
		*to++ = *pid++;
	*to = 0;
	task = sys_open(path, O_CLOEXEC | O_PATH);
	if (task >= 0)
		sys_close((int)task);
	return task >= 0;
}

/* The host says whether it would: with nothing to do for this advice, and with the ranges for an advice that changes nothing. Then range by range, until one
 * fails; as natively, the bytes of those before count. */
static ssize_t advise_self(int fd, const struct iovec *iov, size_t count, int advice, unsigned flags)
{
	size_t left = 0x7ffff000, done = 0; /* MAX_RW_COUNT */
	long r = sys_call5(SYS_process_madvise, fd, (long)iov, 0, advice, flags);

	if (r)
		return rt_errno(r);
	r = sys_call5(SYS_process_madvise, fd, (long)iov, (long)count, MADV_WILLNEED, flags);
	if (r == -EFAULT || (r < 0 && count > IOV_MAX))
		return rt_errno(r);
	for (size_t i = 0; i < count; i++)
		if ((ssize_t)iov[i].iov_len < 0)
			return rt_errno(-EINVAL);
	for (size_t i = 0; i < count && left; i++) {
		size_t len = iov[i].iov_len < left ? iov[i].iov_len : left;

		if (len && madvise(iov[i].iov_base, len, advice))
			return done ? (ssize_t)done : -1;
		done += len;
		left -= len;
	}
	return (ssize_t)done;
}

EXPORT ssize_t process_madvise(int fd, const struct iovec *iov, size_t count, int advice, unsigned flags)
{
	if (atomic_load_explicit(&rt_active, memory_order_relaxed) && is_own_pidfd(fd))
		return advise_self(fd, iov, count, advice, flags);
	return rt_errno(sys_call5(SYS_process_madvise, fd, (long)iov, (long)count, advice, flags));
}

/* ---- mlock ------------------------------------------------------------------------------------------------------- */

/* mmap_lock held. From addr on without a hole, at most len. */
static size_t without_hole(unsigned long addr, size_t len)
{
	unsigned long at = addr;
	struct vm_area_struct *v = find_vma(pager_mm, at);

	for (; v && vma_start(v) <= at && at < addr + len; v = vma_next(pager_mm, v))
		at = vma_end(v);
	return at - addr < len ? at - addr : len;
}

/* a: addr, len, mlock2 flags */
static long do_mlock(struct rt_call *c)
{
	unsigned long addr = page_down((unsigned long)c->a[0]);
	size_t len = page_up((size_t)c->a[1] + ((unsigned long)c->a[0] & (PAGE - 1)));
	long r = -ENOMEM;

	mmap_write_lock(pager_mm);
	if (may_lock(addr, len, managed_in(addr, len))) {
		r = sys_call3(SYS_mlock2, c->a[0], c->a[1], MLOCK_ONFAULT);
		if (!r && len)
			modify(addr, len, VM_LOCKED, 0);
		else if (r == -ENOMEM && managed_in(addr, len) != len)
			modify(addr, without_hole(addr, len), VM_LOCKED, 0);
	}
	mmap_write_unlock(pager_mm);
	return r;
}

static int lock_range(const void *addr, size_t len, int flags)
{
	long r;

	if (!atomic_load_explicit(&rt_active, memory_order_relaxed))
		return (int)rt_errno(sys_call3(SYS_mlock2, (long)addr, (long)len, flags));
	if (flags & ~MLOCK_ONFAULT)
		return (int)rt_errno(-EINVAL);
	r = rt_run(do_mlock, RT_HERE, RT_ARGS((long)addr, (long)len), NULL);
	if (!r && !(flags & MLOCK_ONFAULT))
		r = sys_call2(SYS_mlock, (long)addr, (long)len); /* faults everything in: no lock is held */
	if (!r && !(flags & MLOCK_ONFAULT) && len)
		rt_run(do_mark, RT_HERE, RT_ARGS((long)page_down((unsigned long)addr), (long)page_up(len + ((unsigned long)addr & (PAGE - 1)))),
		       NULL);
	return (int)rt_errno(r);
}

EXPORT int mlock(const void *addr, size_t len)
{
	return lock_range(addr, len, 0);
}

EXPORT int mlock2(const void *addr, size_t len, unsigned flags)
{
	return lock_range(addr, len, (int)flags);
}

static long do_munlock(struct rt_call *c)
{
	unsigned long addr = page_down((unsigned long)c->a[0]);
	size_t len = page_up((size_t)c->a[1] + ((unsigned long)c->a[0] & (PAGE - 1)));
	long r;

	mmap_write_lock(pager_mm);
	r = sys_call2(SYS_munlock, c->a[0], c->a[1]);
	if (!r || r == -ENOMEM)
		modify(addr, r ? without_hole(addr, len) : len, 0, VM_LOCKED);
	mmap_write_unlock(pager_mm);
	return r;
}

EXPORT int munlock(const void *addr, size_t len)
{
	if (!atomic_load_explicit(&rt_active, memory_order_relaxed))
		return (int)rt_errno(sys_call2(SYS_munlock, (long)addr, (long)len));
	return (int)rt_errno(rt_run(do_munlock, RT_HERE, RT_ARGS((long)addr, (long)len), NULL));
}

/* What the runtime itself has mapped and gives back in parts must not be locked: MADV_DONTNEED would be refused there, and UFFDIO_MOVE between locked and
 * other memory. */
static void unlock_own(void)
{
	struct uffd_own own[RT_OWN_RANGES];
	unsigned n = rt_own_ranges(own);

	for (unsigned i = 0; i < n; i++)
		if (own[i].len)
			sys_call2(SYS_munlock, (long)own[i].addr, (long)own[i].len);
}

/* The host is asked to lock on fault: it must not populate the arena, whose holes are ours. a: flags */
static long do_mlockall(struct rt_call *c)
{
	int flags = (int)c->a[0];
	long r = -ENOMEM;

	if (!flags || flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) || flags == MCL_ONFAULT)
		return -EINVAL;
	mmap_write_lock(pager_mm);
	if (!(flags & MCL_CURRENT) || may_lock(0, EVERYTHING, managed_bytes))
		r = sys_call1(SYS_mlockall, flags | MCL_ONFAULT);
	if (!r) {
		atomic_store(&lock_future, flags & MCL_FUTURE ? sys_getpid() << 8 | (flags & ~MCL_CURRENT) : 0);
		if (flags & MCL_CURRENT) {
			unlock_own();
			modify(0, EVERYTHING, VM_LOCKED, 0);
		}
	}
	mmap_write_unlock(pager_mm);
	return r;
}

static long do_munlockall(struct rt_call *c)
{
	long r;

	mmap_write_lock(pager_mm);
	r = sys_call0(SYS_munlockall);
	if (!r) {
		atomic_store(&lock_future, 0);
		modify(0, EVERYTHING, 0, VM_LOCKED);
	}
	mmap_write_unlock(pager_mm);
	return r;
}

static long next_range(struct rt_call *c)
{
	struct vm_area_struct *v;

	mmap_read_lock(pager_mm);
	v = find_vma(pager_mm, (unsigned long)c->a[0]);
	c->len = 0;
	if (v) {
		c->addr = vma_start(v);
		c->len = vma_end(v) - vma_start(v);
		c->advice = vma_flags(v) & VM_WRITE ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;
	}
	mmap_read_unlock(pager_mm);
	return 0;
}

EXPORT int mlockall(int flags)
{
	struct rt_call out;
	long r;

	if (!atomic_load_explicit(&rt_active, memory_order_relaxed))
		return (int)rt_errno(sys_call1(SYS_mlockall, flags));
	r = rt_run(do_mlockall, RT_HERE, RT_ARGS(flags), NULL);
	if (r || !(flags & MCL_CURRENT) || flags & MCL_ONFAULT)
		return (int)rt_errno(r);
	out.addr = out.len = 0;
	do {
		rt_run(next_range, RT_HERE, RT_ARGS((long)(out.addr + out.len)), &out);
		if (out.len)
			populate(out.addr, out.len, out.advice);
	} while (out.len);
	return 0;
}

EXPORT int munlockall(void)
{
	if (!atomic_load_explicit(&rt_active, memory_order_relaxed))
		return (int)rt_errno(sys_call0(SYS_munlockall));
	return (int)rt_errno(rt_run(do_munlockall, RT_HERE, RT_ARGS(0), NULL));
}

/* ---- mincore ----------------------------------------------------------------------------------------------------- */

static bool is_zero(unsigned long addr)
{
	const uint64_t *w = (const uint64_t *)addr;

	for (unsigned i = 0; i < PAGE / 8; i++)
		if (w[i])
			return false;
	return true;
}

/* Which of 64 pages from a[0] on were brought by a neighbour's fault and hold nothing: the program never touched them. */
static long untouched(struct rt_call *c)
{
	unsigned long addr = (unsigned long)c->a[0];

	mmap_write_lock(pager_mm);
	for (unsigned i = 0; i < 64 && i < (unsigned long)c->a[1]; i++) {
		unsigned long at = addr + i * PAGE;

		if (mm_residency(pager_mm, at) != MM_AROUND)
			continue;
		if ((vma_flags(find_vma(pager_mm, at)) & (VM_READ | VM_NOFAULTAROUND)) == VM_READ && is_zero(at))
			c->bits |= 1ULL << i;
	}
	mmap_write_unlock(pager_mm);
	return 0;
}

EXPORT int mincore(void *addr, size_t len, unsigned char *vec)
{
	long r = sys_mincore((unsigned long)addr, len, vec);

	if (r || !atomic_load_explicit(&rt_active, memory_order_relaxed))
		return (int)rt_errno(r);
	for (size_t i = 0; i < page_up(len) / PAGE; i += 64) {
		struct rt_call out;

		rt_run(untouched, RT_HERE, RT_ARGS((long)((unsigned long)addr + i * PAGE), (long)(page_up(len) / PAGE - i)), &out);
		for (unsigned k = 0; out.bits; k++, out.bits >>= 1)
			if (out.bits & 1)
				vec[i + k] = 0;
	}
	return 0;
}
