/* SPDX-License-Identifier: MIT
 * frames.c - frames, their places in the arena, and the staging area. */
#include "machine/uffd/internal.h"

#include <sys/mman.h>

#include "machine/sys.h"

struct uffd_machine uffd = { .fd = -1 };
struct uffd_stats uffd_stats;

static unsigned long reserve(size_t len, int prot)
{
	long p = sys_mmap(0, len, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return sys_is_err(p) ? 0 : (unsigned long)p;
}

static int arena_reserve(unsigned long where)
{
	size_t len = uffd.nr_frames * PAGE;
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (where ? MAP_FIXED_NOREPLACE : 0);
	long p = sys_mmap(where, len, PROT_READ | PROT_WRITE, flags, -1, 0);

	if (sys_is_err(p))
		return (int)p;
	uffd.arena = (unsigned long)p;
	/* Pages shared by a fork can't be moved any more, and a huge page would have to be split first. */
	sys_madvise(uffd.arena, len, MADV_DONTFORK);
	sys_madvise(uffd.arena, len, MADV_NOHUGEPAGE);
	return 0;
}

int uffd_machine_init(unsigned long nr_frames)
{
	int err;

	uffd.nr_frames = nr_frames;
	uffd.state = machine_alloc(nr_frames);
	uffd.at = machine_alloc((nr_frames * sizeof(unsigned long) + PAGE - 1) & ~(PAGE - 1));
	uffd.staging = reserve(NR_STAGES * PAGE, PROT_READ | PROT_WRITE);
	uffd.zeros = reserve(NR_ZEROS * PAGE, PROT_READ);
	if (!uffd.state || !uffd.at || !uffd.staging || !uffd.zeros)
		return -12; /* ENOMEM */
	sys_madvise(uffd.staging, NR_STAGES * PAGE, MADV_NOHUGEPAGE);
	atomic_store(&uffd.real_limit, nr_frames);
	atomic_store(&uffd.dropped, false);
	err = arena_reserve(0);
	return err;
}

int uffd_machine_after_fork(unsigned long nr)
{
	for (unsigned long pfn = 0; pfn < nr; pfn++) {
		/* Most are holes where the budget is large: eight at a time. */
		if (pfn % 8 == 0 && pfn + 8 <= nr && *(const uint64_t *)(const void *)(uffd.state + pfn) == 0 /* HOLE */) {
			pfn += 7;
			continue;
		}
		switch (uffd.state[pfn]) {
		case FREE_HOME:
		case HOME:
			count_real(-1);
			/* fall through */
		case STAGED:
			uffd.state[pfn] = HOLE;
			break;
		case WATCHED: /* the write protection did not come along */
			uffd.state[pfn] = MAPPED;
			break;
		default:
			break;
		}
	}
	atomic_store(&uffd.crowded, false);
	stage_reset();
	return arena_reserve(uffd.arena);
}

void uffd_machine_plain(void)
{
	uffd.fd = -1;
	uffd.move = false;
	uffd.plain = true;
}

int uffd_machine_ask_by_move(void)
{
	if (!uffd.aside)
		uffd.aside = reserve(NR_STAGES * PAGE, PROT_READ | PROT_WRITE);
	if (!uffd.aside)
		return -12; /* ENOMEM */
	sys_madvise(uffd.aside, NR_STAGES * PAGE, MADV_NOHUGEPAGE);
	return uffd_arm(uffd.aside, NR_STAGES * PAGE);
}

unsigned uffd_own_ranges(struct uffd_own own[])
{
	own[0] = (struct uffd_own){ uffd.arena, uffd.nr_frames * PAGE };
	own[1] = (struct uffd_own){ uffd.staging, NR_STAGES * PAGE };
	own[2] = (struct uffd_own){ uffd.zeros, NR_ZEROS * PAGE };
	own[3] = meta_range();
	own[4] = (struct uffd_own){ uffd.aside, uffd.aside ? NR_STAGES * PAGE : 0 };
	return 5;
}

void uffd_set_real_limit(unsigned long nr_pages)
{
	atomic_store_explicit(&uffd.real_limit, nr_pages, memory_order_relaxed);
}

/* ---- staging ----------------------------------------------------------------------------------------------------- */

static atomic_uint stages_high;

unsigned stages_touched(void)
{
	return atomic_load_explicit(&stages_high, memory_order_relaxed);
}

static bool is_staged_address(unsigned long addr)
{
	return addr - uffd.staging < NR_STAGES * PAGE;
}

static bool stage_try(unsigned slot, unsigned long pfn)
{
	unsigned high = stages_touched();
	uint32_t none = 0;

	if (!atomic_compare_exchange_strong(&uffd.stage_owner[slot], &none, (uint32_t)pfn + 1))
		return false;
	while (slot >= high && !atomic_compare_exchange_weak(&stages_high, &high, slot + 1))
		;
	uffd.at[pfn] = uffd.staging + slot * PAGE;
	return true;
}

/* The slot after the one of the frame before: a window of pages is then one UFFDIO_COPY. NR_STAGES: that frame has none. Its owner may give it
 * back meanwhile; then the guess is as good as any other. */
static unsigned stage_next_to(unsigned long pfn)
{
	const unsigned long before = pfn && uffd.state[pfn - 1] == STAGED ? __atomic_load_n(&uffd.at[pfn - 1], __ATOMIC_RELAXED) : 0;

	return is_staged_address(before) ? (unsigned)((before - uffd.staging) / PAGE) + 1 : NR_STAGES;
}

/* Otherwise the lowest one, so that no more of the area is touched than is in use at one time. */
unsigned long stage_get(unsigned long pfn)
{
	const unsigned next = stage_next_to(pfn);

	if (next < NR_STAGES && stage_try(next, pfn))
		return uffd.at[pfn];
	for (unsigned slot = 0; slot < NR_STAGES; slot++)
		if (stage_try(slot, pfn))
			return uffd.at[pfn];
	machine_bug(__FILE__, __LINE__, "all staging slots are taken");
}

bool stage_holds(unsigned long pfn)
{
	return is_staged_address(uffd.at[pfn]);
}

void stage_put(unsigned long pfn)
{
	if (stage_holds(pfn))
		atomic_store(&uffd.stage_owner[(uffd.at[pfn] - uffd.staging) / PAGE], 0);
	uffd.at[pfn] = 0;
}

void stage_reset(void)
{
	for (unsigned slot = 0; slot < NR_STAGES; slot++)
		atomic_store(&uffd.stage_owner[slot], 0);
}

/* ---- the engine's view ------------------------------------------------------------------------------------------- */

void *machine_frame(unsigned long pfn)
{
	switch (uffd.state[pfn]) {
	case FREE_HOME:
		uffd.state[pfn] = HOME;
		/* fall through */
	case HOME:
		return (void *)home_of(pfn);
	case HOLE:
		uffd.state[pfn] = STAGED;
		return (void *)stage_get(pfn);
	case STAGED:
	case FROZEN:
	case UNWRITTEN:
		return (void *)uffd.at[pfn];
	default:
		machine_bug(__FILE__, __LINE__, "the bytes of a mapped frame were asked for");
	}
}

void home_drop(unsigned long pfn, unsigned nr)
{
	sys_madvise(home_of(pfn), nr * PAGE, MADV_DONTNEED);
	for (unsigned i = 0; i < nr; i++)
		uffd.state[pfn + i] = HOLE;
	count_real(-(long)nr);
}

/* Runs of freed frames that are at home stay there for the next use while the limit allows it: taking one again then costs a
 * memset instead of an allocation (0.1 against 0.8 us). Not while the next one to use it shall enter by COPY, nor if somebody else may have the page. A page
 * that is lent now was in the program when uffd_pages_are_lent() returned; so it has left, and its frame is freed, after that store. */
void machine_frames_freed(unsigned long pfn, unsigned nr)
{
	unsigned long limit = atomic_load_explicit(&uffd.real_limit, memory_order_relaxed);
	unsigned excess = 0, run = 0;

	for (unsigned i = 0; i < nr; i++) {
		unsigned long p = pfn + i;

		switch (uffd.state[p]) {
		case STAGED:
			stage_put(p);
			uffd.state[p] = HOLE;
			break;
		case HOME:
			uffd.state[p] = FREE_HOME;
			break;
		case MAPPED:
		case WATCHED:
			uffd.state[p] = HOLE;
			count_real(-1);
			break;
		case FROZEN:
		case UNWRITTEN:
			machine_bug(__FILE__, __LINE__, "a frozen frame was freed without machine_release()");
		default:
			break;
		}
	}
	if (atomic_load(&uffd.lent) || uffd_copies())
		excess = nr;
	else if (uffd_stats.real_pages > limit)
		excess = uffd_stats.real_pages - limit < nr ? (unsigned)(uffd_stats.real_pages - limit) : nr;
	for (unsigned i = 0; excess && i < nr; i += run ? run : 1) {
		for (run = 0; run < excess && i + run < nr && uffd.state[pfn + i + run] == FREE_HOME;)
			run++;
		if (run)
			home_drop(pfn + i, run);
		excess -= run;
	}
}
