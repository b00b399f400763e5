/* SPDX-License-Identifier: MIT
 * bell.c - calls on the handler's thread, by a fault. See bell.h. */
#include "lib/bell.h"

#include <stdatomic.h>
#include <sys/mman.h>

#include "lib/pager.h"
#include "machine/machine.h"
#include "machine/sys.h"
#include "machine/uffd/uffd_abi.h"
#include "mm/errno.h"

#define PAGE      MACHINE_PAGE_SIZE
#define PAGES     32u /* of one slot, used one after the other: so many calls to one MADV_DONTNEED */
#define SLOT_SIZE (PAGES * PAGE)

enum { IDLE, ASKED, RUNNING, AWAITED /* RUNNING, and the caller sleeps on the state */ };

static struct {
	unsigned long at;
	struct {
		atomic_uint state;
		unsigned next;          /* page; the caller's, as are the others until the state is ASKED */
		void (*fn)(void *);
		void *arg;
	} slot[BELL_SLOTS];
} bell;

int bell_init(void)
{
	long p = sys_mmap(0, BELL_SLOTS * SLOT_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (sys_is_err(p))
		return (int)p;
	bell.at = (unsigned long)p;
	return 0;
}

void bell_range(unsigned long *addr, size_t *len)
{
	*addr = bell.at;
	*len = BELL_SLOTS * SLOT_SIZE;
}

bool bell_is(unsigned long addr)
{
	return addr - bell.at < BELL_SLOTS * SLOT_SIZE;
}

unsigned bell_slot(unsigned long addr)
{
	return (unsigned)((addr - bell.at) / SLOT_SIZE);
}

/* It wakes who waits for the page; where it is mapped already, nobody does. */
static void map_page(int uffd, unsigned long addr)
{
	struct uffd_zeropage z = { .range = { addr & ~(PAGE - 1), PAGE } };

	while (sys_ioctl(uffd, UFFD_ZEROPAGE, &z) == -EAGAIN)
		;
}

void bell_serve(int uffd, unsigned long addr)
{
	unsigned slot = bell_slot(addr), state = ASKED;

	if (atomic_compare_exchange_strong(&bell.slot[slot].state, &state, RUNNING)) {
		bell.slot[slot].fn(bell.slot[slot].arg);
		if (atomic_exchange(&bell.slot[slot].state, IDLE) == AWAITED)
			sys_futex_wake(&bell.slot[slot].state, 1);
	} else if (state != IDLE) {
		return; /* who runs it maps the page */
	}
	map_page(uffd, addr);
}

static void take_away(unsigned long addr, size_t len)
{
	if (sys_madvise(addr, len, MADV_DONTNEED))
		machine_bug(__FILE__, __LINE__, "the pages that reach the handler can't be reset");
}

void bell_call(unsigned slot, void (*fn)(void *arg), void *arg)
{
	const unsigned long mine = bell.at + slot * SLOT_SIZE, page = mine + bell.slot[slot].next * PAGE;
	unsigned state, next;

	bell.slot[slot].fn = fn;
	bell.slot[slot].arg = arg;
	atomic_store(&bell.slot[slot].state, ASKED);
	(void)*(volatile char *)page;
	while ((state = atomic_load(&bell.slot[slot].state)) != IDLE) {
		if (state == ASKED) {
			pager_orphan_ends();
			take_away(page, PAGE);
			(void)*(volatile char *)page;
		} else if (state == AWAITED || atomic_compare_exchange_strong(&bell.slot[slot].state, &state, AWAITED)) {
			pager_wait(&bell.slot[slot].state, AWAITED);
		}
	}
	next = bell.slot[slot].next + 1;
	if (next == PAGES) { /* whoever is killed in here leaves `next` in the range */
		take_away(mine, SLOT_SIZE);
		next = 0;
	}
	bell.slot[slot].next = next;
}

void bell_inherit(unsigned slot)
{
	unsigned state = ASKED;

	while (!atomic_compare_exchange_strong(&bell.slot[slot].state, &state, IDLE) && state != IDLE) {
		pager_orphan_ends();
		sys_call0(SYS_sched_yield);
		state = ASKED;
	}
}

void bell_reset(unsigned slot)
{
	atomic_store(&bell.slot[slot].state, IDLE);
	bell.slot[slot].next = 0;
	take_away(bell.at + slot * SLOT_SIZE, SLOT_SIZE);
}
