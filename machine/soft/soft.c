/* SPDX-License-Identifier: MIT
 *
 * soft.c - the software MMU.
 *
 *      soft_load, soft_store ---> TLB ---> hit: the frame
 *                                  |
 *                                  +-----> miss: walk the engine's tables as hardware would, set young and dirty bits
 *                                              |
 *                                              +--> not allowed: do_page_fault(), and again
 *
 * The walker reads the tables by the geometry, without the engine's locks. A translation and the access through it are one step to
 * the rest of the world: an access holds its address's lock in `tlb_lock` for reading, and every call that changes a translation
 * takes it for writing, which is what an interrupt to the other CPUs does on hardware. Only such calls forget TLB entries; an engine
 * that forgets to make one is caught with stale entries.
 *
 * The TLB is direct mapped, 64 entries for all address spaces.
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
#include <unistd.h>

#include "machine/soft/soft.h"
#include "mm/fault/fault.h"
#include "mm/fault/linux_2_6.h" /* file offsets in entries */

#define NR_TLB 64

struct tlb_entry {
	struct mm_struct *mm; /* NULL: empty */
	unsigned long page;   /* address >> PAGE_SHIFT */
	unsigned long pfn;    /* ZERO_PFN: the zero page */
	bool write;
};
#define ZERO_PFN (~0UL)

static struct {
	unsigned caps;
	unsigned long nr_frames;
	uint8_t *frames;
	uint8_t *seen; /* per frame: machine_map() has been called since it was allocated */
	pthread_rwlock_t tlb_lock;
	struct tlb_entry tlb[NR_TLB];
	pthread_mutex_t tlb_fill; /* entries are written by those who hold tlb_lock for reading only */
	struct { struct mm_struct *mm; unsigned long start, end; } pin[16];
	struct { struct mm_struct *mm; unsigned long addr; } lost;
	struct { unsigned times; int err; } fail_map;
} soft;

static const uint8_t zero_page[MACHINE_PAGE_SIZE];

/* ---- memory for tables, with injected failures -------------------------------------------------------------------------- */

/* All blocks, so that starting over can free them. */
struct block {
	struct block *next, *prev;
	size_t len;
	char pad[40];
};
_Static_assert(sizeof(struct block) == 64, "what follows keeps its alignment");

static pthread_mutex_t alloc_lock = PTHREAD_MUTEX_INITIALIZER;
static struct block *blocks;
static unsigned long fail_after;
static struct { unsigned long after; void (*fn)(void); } at_alloc;

/* Tables are aligned to pages, the rest to cache lines; the header stands before either. */
void *machine_alloc(size_t len)
{
	size_t lead = len % MACHINE_PAGE_SIZE ? sizeof(struct block) : MACHINE_PAGE_SIZE;
	struct block *b = NULL;
	char *mem;
	void (*first)(void);
	bool fail;

	pthread_mutex_lock(&alloc_lock);
	fail = fail_after && --fail_after == 0;
	first = at_alloc.after && --at_alloc.after == 0 ? at_alloc.fn : NULL;
	pthread_mutex_unlock(&alloc_lock);
	if (first)
		first();
	if (fail)
		return NULL;
	mem = aligned_alloc(lead, (lead + len + lead - 1) / lead * lead);
	if (!mem)
		return NULL;
	memset(mem, 0, lead + len);
	b = (struct block *)(mem + lead - sizeof(*b));
	b->len = len;
	pthread_mutex_lock(&alloc_lock);
	b->next = blocks;
	if (blocks)
		blocks->prev = b;
	blocks = b;
	pthread_mutex_unlock(&alloc_lock);
	return mem + lead;
}

static void free_block(struct block *b)
{
	size_t lead = b->len % MACHINE_PAGE_SIZE ? sizeof(*b) : MACHINE_PAGE_SIZE;

	free((char *)(b + 1) - lead);
}

void machine_free(void *p, size_t len)
{
	struct block *b = (struct block *)p - 1;

	if (b->len != len)
		machine_bug(__FILE__, __LINE__, "machine_free() with another length than machine_alloc()");
	/* A page table: let the walkers that have just read the entry above it come to their end. */
	if (len % MACHINE_PAGE_SIZE == 0) {
		pthread_rwlock_wrlock(&soft.tlb_lock);
		pthread_rwlock_unlock(&soft.tlb_lock);
	}
	pthread_mutex_lock(&alloc_lock);
	if (b->prev)
		b->prev->next = b->next;
	else
		blocks = b->next;
	if (b->next)
		b->next->prev = b->prev;
	pthread_mutex_unlock(&alloc_lock);
	free_block(b);
}

void soft_fail_alloc(unsigned long nth)
{
	pthread_mutex_lock(&alloc_lock);
	fail_after = nth;
	pthread_mutex_unlock(&alloc_lock);
}

void soft_at_alloc(unsigned long nth, void (*fn)(void))
{
	pthread_mutex_lock(&alloc_lock);
	at_alloc.after = nth;
	at_alloc.fn = fn;
	pthread_mutex_unlock(&alloc_lock);
}

/* ---- start and end ------------------------------------------------------------------------------------------------------- */

int soft_machine_init(unsigned long nr_frames, unsigned caps)
{
	soft_machine_exit();
	soft.frames = mmap(NULL, nr_frames * MACHINE_PAGE_SIZE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (soft.frames == MAP_FAILED) {
		soft.frames = NULL;
		return -ENOMEM;
	}
	soft.seen = calloc(nr_frames, 1);
	if (!soft.seen)
		return -ENOMEM;
	soft.nr_frames = nr_frames;
	soft.caps = caps;
	pthread_rwlock_init(&soft.tlb_lock, NULL);
	pthread_mutex_init(&soft.tlb_fill, NULL);
	return 0;
}

void soft_machine_exit(void)
{
	struct block *b;

	while ((b = blocks)) {
		blocks = b->next;
		free_block(b);
	}
	fail_after = at_alloc.after = 0;
	if (soft.frames)
		munmap(soft.frames, soft.nr_frames * MACHINE_PAGE_SIZE);
	free(soft.seen);
	memset(&soft, 0, sizeof(soft));
}

unsigned machine_caps(void)
{
	return soft.caps;
}

/* ---- frames ---------------------------------------------------------------------------------------------------------------- */

static uint8_t *frame(unsigned long pfn)
{
	if (pfn >= soft.nr_frames)
		machine_bug(__FILE__, __LINE__, "a frame that doesn't exist");
	return soft.frames + pfn * MACHINE_PAGE_SIZE;
}

void *machine_frame(unsigned long pfn)
{
	return frame(pfn);
}

/* Freed bytes are lost: make sure that nobody counts on them. */
void machine_frames_freed(unsigned long pfn, unsigned nr)
{
	frame(pfn + nr - 1);
	memset(frame(pfn), 0x6b, nr * MACHINE_PAGE_SIZE);
	for (unsigned i = 0; i < nr; i++)
		__atomic_store_n(&soft.seen[pfn + i], 0, __ATOMIC_RELAXED);
}

/* ---- TLB --------------------------------------------------------------------------------------------------------------------- */

static struct tlb_entry *tlb_slot(struct mm_struct *mm, unsigned long page)
{
	return &soft.tlb[(page ^ (uintptr_t)mm >> 8) % NR_TLB];
}

/* Afterwards no access through an old translation is under way. */
static void tlb_flush(struct mm_struct *mm, unsigned long addr, unsigned nr)
{
	unsigned long page = addr >> PAGE_SHIFT;

	pthread_rwlock_wrlock(&soft.tlb_lock);
	for (unsigned i = 0; i < NR_TLB; i++)
		if (soft.tlb[i].mm == mm && soft.tlb[i].page - page < nr)
			soft.tlb[i].mm = NULL;
	pthread_rwlock_unlock(&soft.tlb_lock);
}

static bool pinned(struct mm_struct *mm, unsigned long addr)
{
	for (unsigned i = 0; i < sizeof(soft.pin) / sizeof(soft.pin[0]); i++)
		if (soft.pin[i].mm == mm && addr >= soft.pin[i].start && addr < soft.pin[i].end)
			return true;
	return false;
}

void soft_pin(struct mm_struct *mm, unsigned long addr, unsigned long len, bool on)
{
	for (unsigned i = 0; i < sizeof(soft.pin) / sizeof(soft.pin[0]); i++) {
		if (on && !soft.pin[i].mm) {
			soft.pin[i].mm = mm;
			soft.pin[i].start = addr;
			soft.pin[i].end = addr + len;
			return;
		}
		if (!on && soft.pin[i].mm == mm && soft.pin[i].start == addr && soft.pin[i].end == addr + len) {
			soft.pin[i].mm = NULL;
			return;
		}
	}
	machine_bug(__FILE__, __LINE__, on ? "soft_pin(): more than 16 ranges" : "soft_pin(): this range was not pinned");
}

void soft_lose(struct mm_struct *mm, unsigned long addr)
{
	soft.lost.mm = mm;
	soft.lost.addr = addr;
}

void soft_fail_map(unsigned times, int err)
{
	soft.fail_map.times = times;
	soft.fail_map.err = err;
}

int machine_map(struct mm_struct *mm, unsigned long addr, unsigned nr, unsigned long pfn, unsigned how)
{
	if (soft.fail_map.times) {
		soft.fail_map.times--;
		return soft.fail_map.err;
	}
	if (how & MACHINE_MAP_ZERO)
		memset(frame(pfn), 0, nr * MACHINE_PAGE_SIZE);
	tlb_flush(mm, addr, nr);
	for (unsigned i = 0; i < nr && !(how & MACHINE_MAP_SHARED_ZERO); i++) {
		frame(pfn + i);
		__atomic_store_n(&soft.seen[pfn + i], 1, __ATOMIC_RELEASE);
	}
	return nr;
}

void machine_unmap(struct mm_struct *mm, unsigned long addr, unsigned nr, unsigned long pfn, uint64_t *stuck, uint64_t *gone)
{
	tlb_flush(mm, addr, nr);
	*stuck = *gone = 0;
	for (unsigned i = 0; i < nr; i++)
		if (pinned(mm, addr + i * PAGE_SIZE)) {
			*stuck |= 1ull << i;
		} else if (soft.lost.mm == mm && soft.lost.addr == addr + i * PAGE_SIZE) {
			*gone |= 1ull << i;
			soft.lost.mm = NULL;
		}
}

void machine_unmap_ranges(struct mm_struct *mm, const struct machine_range *ranges, unsigned nr, uint64_t *stuck, uint64_t *gone)
{
	*stuck = *gone = 0;
	for (unsigned i = 0, at = 0; i < nr; at += ranges[i++].nr) {
		uint64_t s, g;

		machine_unmap(mm, ranges[i].addr, ranges[i].nr, ranges[i].pfn, &s, &g);
		*stuck |= s << at;
		*gone |= g << at;
	}
}

void machine_release(struct mm_struct *mm, const struct machine_range *ranges, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++)
		tlb_flush(mm, ranges[i].addr, ranges[i].nr);
}

/* Dirty bits tell that, or the hash of the backend. */
uint64_t machine_unwritten(unsigned long pfn, unsigned nr)
{
	return 0;
}

bool machine_in_place(unsigned long pfn)
{
	return false;
}

bool machine_at_home(unsigned long pfn)
{
	return true;
}

void machine_stored(struct mm_struct *mm, unsigned long addr, unsigned long pfn)
{
	machine_bug(__FILE__, __LINE__, "this machine watches for no stores");
}

void machine_discard(struct mm_struct *mm, unsigned long addr, unsigned nr, unsigned long pfn)
{
	tlb_flush(mm, addr, nr);
}

void machine_adopt(struct mm_struct *mm, unsigned long addr, unsigned long pfn)
{
	tlb_flush(mm, addr, 1);
	__atomic_store_n(&soft.seen[pfn], 1, __ATOMIC_RELEASE);
}

void machine_moved(struct mm_struct *mm, unsigned long from, unsigned long to, unsigned nr, unsigned long pfn)
{
	tlb_flush(mm, from, nr);
	tlb_flush(mm, to, nr);
}

void machine_protect(struct mm_struct *mm, unsigned long addr, unsigned nr, unsigned long pfn, unsigned how)
{
	tlb_flush(mm, addr, nr);
}

/* ---- the walker ----------------------------------------------------------------------------------------------------------------- */

/* What the hardware does with an entry. => true: *out may be used. The entry's bits are set in one step with the look at it, so
 * that an entry that the engine takes away meanwhile is not brought back. */
static bool hw_access(pte_t *ptep, bool write, struct tlb_entry *out)
{
	pteval_t old = __atomic_load_n(&ptep->val, __ATOMIC_ACQUIRE), new;

	do {
		if (!(old & _PAGE_PRESENT) || old & _PAGE_PROTNONE)
			return false;
		if (write && !(old & _PAGE_RW))
			return false;
		if (!(old & _PAGE_ACCESSED) && !(soft.caps & MACHINE_YOUNG))
			return false;
		if (write && !(old & _PAGE_DIRTY) && !(soft.caps & MACHINE_DIRTY))
			return false;
		new = old | _PAGE_ACCESSED | (write ? _PAGE_DIRTY : 0);
	} while (new != old &&
		 !__atomic_compare_exchange_n(&ptep->val, &old, new, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
	out->pfn = pte_zero_page((pte_t){ new }) ? ZERO_PFN : new >> PAGE_SHIFT;
	out->write = new & _PAGE_RW && new & _PAGE_DIRTY;
	return true;
}

/* The engine writes entries before it calls machine_map(), and that may still have zeros to write: an access in between has to
 * wait, for real hardware would see the entry and the zeros together. */
static bool frame_seen(unsigned long pfn)
{
	frame(pfn);
	return __atomic_load_n(&soft.seen[pfn], __ATOMIC_ACQUIRE);
}

enum translation { T_FAULT, T_WAIT, T_OK };

/* => tlb_lock held for reading */
static enum translation translate(struct mm_struct *mm, unsigned long addr, bool write, unsigned long *pfn)
{
	unsigned long page = addr >> PAGE_SHIFT;
	struct tlb_entry *t = tlb_slot(mm, page), found = { .mm = mm, .page = page };
	struct ptdesc *table;
	bool hit;

	pthread_mutex_lock(&soft.tlb_fill);
	hit = t->mm == mm && t->page == page && (!write || t->write);
	if (hit)
		*pfn = t->pfn;
	pthread_mutex_unlock(&soft.tlb_fill);
	if (hit)
		return T_OK;
	table = pte_table(mm, addr);
	if (!table || !hw_access(pte_offset(table, addr), write, &found))
		return T_FAULT;
	if (found.pfn != ZERO_PFN && !frame_seen(found.pfn))
		return T_WAIT;
	pthread_mutex_lock(&soft.tlb_fill);
	*t = found;
	pthread_mutex_unlock(&soft.tlb_fill);
	*pfn = found.pfn;
	return T_OK;
}

static vm_fault_t soft_access(struct mm_struct *mm, unsigned long addr, bool write, uint8_t *value)
{
	for (unsigned waited = 0;;) {
		enum translation t;
		unsigned long pfn;
		vm_fault_t ret;
		bool ok;

		pthread_rwlock_rdlock(&soft.tlb_lock);
		t = addr < TASK_SIZE ? translate(mm, addr, write, &pfn) : T_FAULT;
		ok = t == T_OK;
		if (ok && write)
			__atomic_store_n(frame(pfn) + addr % PAGE_SIZE, *value, __ATOMIC_RELAXED);
		else if (ok)
			*value = pfn == ZERO_PFN ? zero_page[addr % PAGE_SIZE]
						 : __atomic_load_n(frame(pfn) + addr % PAGE_SIZE, __ATOMIC_RELAXED);
		pthread_rwlock_unlock(&soft.tlb_lock);
		if (ok)
			return 0;
		if (t == T_WAIT) {
			if (++waited > 100000000)
				machine_bug(__FILE__, __LINE__, "a present entry of which machine_map() has not been told");
			machine_relax();
			continue;
		}
		ret = do_page_fault(mm, addr, FAULT_FLAG_USER | (write ? FAULT_FLAG_WRITE : 0));
		if (ret & VM_FAULT_ERROR)
			return ret & VM_FAULT_ERROR;
		if (ret & VM_FAULT_RETRY)
			return VM_FAULT_RETRY; /* a signal first */
	}
}

vm_fault_t soft_load(struct mm_struct *mm, unsigned long addr, uint8_t *value)
{
	return soft_access(mm, addr, false, value);
}

vm_fault_t soft_store(struct mm_struct *mm, unsigned long addr, uint8_t value)
{
	return soft_access(mm, addr, true, &value);
}

/* A byte of a file that no entry names: from its cache, where the last page has bytes behind the file's end too, or from the file.
 * => mmap_lock held */
static int peek_file(const struct vm_area_struct *vma, unsigned long pgoff, unsigned offset, uint8_t *value)
{
	struct address_space *mapping = vma->vm_file->f_mapping;
	struct page *page;

	if (pgoff >= i_pages_end(mapping))
		return -EFAULT;
	page = find_get_page(mapping, pgoff, NULL);
	if (page) {
		bool uptodate = page_flags(page) & PG_uptodate;

		*value = frame(page_to_pfn(page))[offset];
		put_page(page);
		if (uptodate)
			return 0;
	}
	*value = 0;
	if (((uint64_t)pgoff << PAGE_SHIFT) + offset >= address_space_size(mapping))
		return 0;
	return filemap_peek(mapping, ((uint64_t)pgoff << PAGE_SHIFT) + offset, value);
}

/* Without a fault. The engine's locks are taken, so that nothing changes meanwhile. */
int soft_peek(struct mm_struct *mm, unsigned long addr, uint8_t *value)
{
	struct vm_area_struct *vma;
	struct ptdesc *table;
	int err = -EFAULT;
	pte_t pte = { 0 };

	mmap_read_lock(mm);
	vma = find_vma(mm, addr);
	if ((vma && addr >= vma->vm_start) || (addr >= mm->end_data && addr < mm->brk)) {
		err = 0;
		*value = 0;
		table = pte_table(mm, addr);
		if (table) {
			spin_lock(&table->ptl);
			pte = ptep_get(pte_offset(table, addr));
			if (pte_present(pte) && !pte_zero_page(pte))
				*value = frame(pte_pfn(pte))[addr % PAGE_SIZE];
			else if (is_swap_pte(pte))
				err = swap_peek(pte_to_swp_entry(pte), addr % PAGE_SIZE, value);
			spin_unlock(&table->ptl);
		}
		if (vma && addr >= vma->vm_start && vma->vm_file && (pte_none(pte) || pte_file(pte)))
			err = peek_file(vma, pte_file(pte) ? pte_to_pgoff(pte) : linear_page_index(vma, addr), addr % PAGE_SIZE, value);
	}
	mmap_read_unlock(mm);
	return err;
}

/* ---- processors ------------------------------------------------------------------------------------------------------------------ */

#define NR_CPUS 8

unsigned machine_cpus(void)
{
	return NR_CPUS;
}

/* Each thread has one; beyond eight they share. */
unsigned machine_cpu(void)
{
	static atomic_uint threads;
	static _Thread_local unsigned cpu; /* plus one; 0: none yet */

	if (!cpu)
		cpu = atomic_fetch_add(&threads, 1) % NR_CPUS + 1;
	return cpu - 1;
}

/* ---- waiting and dying -------------------------------------------------------------------------------------------------------------- */

void machine_wait(atomic_uint *word, unsigned val)
{
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, val, NULL, NULL, 0);
}

void machine_wake(atomic_uint *word, int n)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

void machine_relax(void)
{
	sched_yield();
}

void machine_bug(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: the engine is wrong: %s\n", file, line, what);
	abort();
}
