/* SPDX-License-Identifier: MIT
 *
 * pager.c - the fault loop.
 *
 * The way of one fault: the program's thread stops in the kernel; a message; read() returns in the handler; the engine finds the mapping,
 * walks the tables, takes a frame, fills it, tells the machine; the machine's ioctl makes it true; the wake; the program goes on. Then, out of the
 * fault's way but on the same processor: counters, reclaim. One handler, one fault at a time, and helpers that do the same beside it while several
 * threads of the program fault (crowd.h).
 *
 * Locks: the handler takes mmap_lock for reading around each fault and around reclaim. Calls of the program that change mappings take it for
 * writing, on a stack of the runtime, with signals blocked, so the owner never faults on managed memory itself.
 */
#include "lib/pager.h"

#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>

#include "lib/abandon.h"
#include "lib/account.h"
#include "lib/auto.h"
#include "lib/bell.h"
#include "lib/budget.h"
#include "lib/crowd.h"
#include "lib/pin.h"
#include "lib/lend.h"
#include "lib/thread.h"
#include "lib/tree.h"
#include "lib/tree_pid.h"
#include "machine/sys.h"
#include "machine/uffd/uffd.h"
#include "machine/uffd/uffd_abi.h"
#include "mm/errno.h"
#include "swap/robust.h"
#include "swap/swap.h"

#define PAGE          MACHINE_PAGE_SIZE
#define HANDLER_STACK (128UL << 10)
/* Swap slots for 64 times the budget, 4 GiB at least, 256 GiB at most: address space, not memory. */
#define SLOTS_PER_FRAME 64
#define MIN_SLOTS       (1UL << 20)
#define MAX_SLOTS       (1UL << 26)
#define MAX_READ      16
#define PUBLISH_EVERY 16  /* faults; a program that is killed may have had so many more than its summary says */
#define EXACT_EVERY   4096 /* faults; a look at what of the metadata is touched */
#define WARDEN_SLOT   PAGER_NR_SLOTS       /* of the bell: the account's warden */
#define FORK_SLOT     (PAGER_NR_SLOTS + 1) /* and who forks */
#define PLACE_SLOT    (PAGER_NR_SLOTS + 2) /* the first of those for processes that share this one's memory */
_Static_assert(PLACE_SLOT + PAGER_NR_PLACES == BELL_SLOTS, "each has a slot of its own");
#define ORPHAN_LOOKS_NS 50000000L

struct mm_struct *pager_mm;

static struct {
	struct mf_control *control;
	struct mf_counters *counters;     /* shared: the control page's, or the slot's */
	struct mf_counters base;          /* a forked child: what its parent had counted before */
	unsigned slot;
	long pid;
	struct mf_request request;
	struct swap_pool *pool;
	int uffd;                         /* a number in the handler's table */
	struct lend fds;                  /* the same; while the handler starts: in the caller's */
	const struct lend *borrowed;      /* copies of them in the program's table, from fork's prepare to its end */
	long handler_tid;
	uint64_t exact_at;                /* faults / EXACT_EVERY at the last exact look at the metadata */
	size_t file_mapped;               /* of the swap file */
	unsigned long stack, tls;
	atomic_uint ready;
	int start_error;
	bool waiting;                     /* for room (full_waits) */
	/* fork: see pager_fork_prepare() */
	atomic_long fork_tid;             /* the only thread that is served; 0: all */
	atomic_uint busy;                 /* handlers at work on the engine */
	atomic_uint deferred;             /* somebody's message was dropped meanwhile */
	/* One handler at a time divides the budget anew and counts; outer to all locks but mmap_lock. */
	atomic_uint balancing;
} pg;

/* ---- messages and death ------------------------------------------------------------------------------------------ */

/* Once is enough: many processes may end for one reason. */
static bool was_said(const char *said, const char *text)
{
	for (; *said; said++) {
		size_t n = 0;

		while (text[n] && said[n] == text[n])
			n++;
		if (!text[n])
			return true;
	}
	return false;
}

void pager_message(const char *text)
{
	struct mf_control *c = pg.control;
	size_t at = 0;

	if (!c)
		return;
	atomic_fetch_add(&c->nr_messages, 1);
	if (was_said(c->message, text))
		return;
	while (at < sizeof(c->message) - 1 && c->message[at])
		at++;
	while (*text && at < sizeof(c->message) - 1)
		c->message[at++] = *text++;
	c->message[at] = 0;
}

_Noreturn void pager_die(enum mf_state state, const char *text)
{
	pager_message(text);
	pager_publish();
	if (pg.control && pg.slot == TREE_MAIN)
		atomic_store(&pg.control->state, state);
	sys_call2(SYS_kill, sys_getpid(), 9);
	sys_exit_group(137);
}

void uffd_last_words(const char *text);
void uffd_last_words(const char *text)
{
	pager_die(MF_STATE_BROKEN, text);
}

const struct mf_counters *pager_counters(void)
{
	return pg.counters;
}

void pager_count_managed(uint64_t bytes)
{
	pg.counters->managed_bytes = bytes;
	if (bytes > pg.counters->managed_peak)
		pg.counters->managed_peak = bytes;
	pg.counters->calls++;
}

/* What this process keeps, to the tree. */
static void tell_tree(const struct mf_counters *c, uint64_t touched)
{
	struct tree_process *p = &control_tree(pg.control)->process[pg.slot];
	const uint64_t gauges[TREE_NR_GAUGES] = {
		[TREE_KEPT] = c->total_bytes, [TREE_FRAMES] = c->mm.frames_used * PAGE, [TREE_POOL] = c->swap.bytes_pool,
		[TREE_TOUCHED] = touched, [TREE_MANAGED] = c->managed_bytes,
	};

	tree_gauges(control_tree(pg.control), pg.slot, gauges);
	atomic_store_explicit(&p->real_pages, uffd_stats.real_pages, memory_order_relaxed);
	atomic_store_explicit(&p->other_bytes, c->swap.bytes_pool + c->metadata_bytes, memory_order_relaxed);
}

/* Counted by engine, pool and machine since the process began; in a forked child they go on where the parent was. */
static void collect(struct mf_counters *n)
{
	*n = (struct mf_counters){ .mm = *mm_stats(), .move_in = uffd_stats.move_in, .move_out = uffd_stats.move_out,
				   .copy_in = uffd_stats.copy_in, .copy_out = uffd_stats.copy_out, .stuck_pinned = uffd_stats.pinned };
	swap_pool_stats(pg.pool, &n->swap);
}

/* Pages that another handler evicts between the look at the engine and that at the pool would count in both: this thread may have lost its processor
 * for milliseconds there. => false: more than a few, whenever it was tried */
static bool collect_at_one_time(struct mf_counters *n)
{
	for (int i = 0; i < 4; i++) {
		collect(n);
		if (mm_stats()->evicted - n->mm.evicted <= 8)
			return true;
	}
	return false;
}

static void publish(bool exact)
{
	struct mf_counters *c = pg.counters, n;
	uint64_t total, touched;
	bool sure;

	if (!c)
		return;
	sure = collect_at_one_time(&n);
	tree_since(&n, &pg.base);
	c->mm = n.mm;
	c->swap = n.swap;
	c->metadata_bytes = uffd_meta_bytes(exact) + c->swap.bytes_meta;
	total = c->mm.frames_used * PAGE + c->swap.bytes_pool + c->metadata_bytes;
	total -= account_credit() < total ? account_credit() : total; /* counted by the parent */
	c->total_bytes = total;
	touched = (c->mm.frames_used + c->mm.swap_slots_used - c->mm.swap_cached) * PAGE;
	touched = (int64_t)touched > 0 ? touched : 0;
	if (touched > c->touched_peak)
		c->touched_peak = touched;
	c->frame_limit = budget_frame_limit();
	if (total > c->total_peak && sure)
		c->total_peak = total;
	c->move_in = n.move_in;
	c->move_out = n.move_out;
	c->copy_in = n.copy_in;
	c->copy_out = n.copy_out;
	c->stuck_pinned = n.stuck_pinned;
	tell_tree(c, touched);
}

/* Exact at the start and the end, which are not the handler's, and now and then between. */
void pager_publish(void)
{
	uint64_t turn;

	if (!pg.counters)
		return;
	turn = pg.counters->faults_read / EXACT_EVERY;
	publish(sys_gettid() != pg.handler_tid || turn != pg.exact_at);
	pg.exact_at = turn;
}

/* ---- one fault --------------------------------------------------------------------------------------------------- */

static char *hex(char *to, unsigned long v)
{
	*to++ = '0';
	*to++ = 'x';
	for (int shift = 60, seen = 0; shift >= 0; shift -= 4) {
		unsigned digit = (v >> shift) & 15;

		seen |= digit || !shift;
		if (seen)
			*to++ = "0123456789abcdef"[digit];
	}
	*to = 0;
	return to;
}

static char *decimal(char *to, unsigned v)
{
	if (v >= 10)
		to = decimal(to, v / 10);
	*to++ = (char)('0' + v % 10);
	*to = 0;
	return to;
}

static char *str(char *to, const char *s)
{
	while (*s)
		*to++ = *s++;
	*to = 0;
	return to;
}

/* The stored bytes of this page are wrong. Nobody may read anything there. */
static void damaged(unsigned long addr)
{
	char text[256], *at = text;
	int err = swap_pool_read_error(pg.pool);

	at = str(at, err ? "the page at " : "the stored copy of the page at ");
	at = hex(at, addr);
	if (err) {
		at = str(at, " can't be read back from the swap file (error ");
		at = decimal(at, (unsigned)err);
		at = str(at, ")");
	} else {
		at = str(at, " is damaged (checksum mismatch)");
	}
	str(at, "; its bytes are lost, and the program gets a SIGBUS when it reads them\n");
	/* Before the poison, which lets the program go on: it may be at its end before this thread runs again. */
	pager_message(text);
	pager_publish();
	if (uffd_poison(addr))
		pager_die(MF_STATE_BROKEN, "this kernel has no UFFDIO_POISON (Linux 6.6): the program was ended instead\n");
}

/* Anonymous memory of this process, from /proc/self/statm: resident - shared. 0: not to be had */
static uint64_t anonymous_bytes(void)
{
	char text[128] = { 0 }, *c = text;
	long fd = sys_open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	uint64_t field[3] = { 0 };

	if (fd < 0)
		return 0;
	sys_read((int)fd, text, sizeof(text) - 1);
	sys_close((int)fd);
	for (int i = 0; i < 3; i++, c += *c == ' ')
		for (; *c >= '0' && *c <= '9'; c++)
			field[i] = field[i] * 10 + (uint64_t)(*c - '0');
	return field[1] > field[2] ? (field[1] - field[2]) * PAGE : 0;
}

void pager_started(void)
{
	struct tree_process *p = &control_tree(pg.control)->process[pg.slot];
	uint64_t anonymous = anonymous_bytes(), ours;

	pager_publish();
	ours = atomic_load(&p->real_pages) * PAGE + atomic_load(&p->other_bytes);
	atomic_store(&p->start_bytes, anonymous > ours ? anonymous - ours : 1);
}

static _Noreturn void full(void)
{
	if (pg.request.swap_bytes && pg.counters->swap.file_write_errors)
		pager_die(MF_STATE_FULL,
			  "out of memory: the compressed pool is full and writing to the swap file fails; the program was ended "
			  "(see to the disk of --swap, or give it more with --memory)\n");
	if (pg.request.memory && atomic_load(&control_tree(pg.control)->alive) > 1)
		pager_die(MF_STATE_FULL,
			  "out of memory: the processes of this run together have all of --memory in use and no page of this one can be evicted; it "
			  "was ended (give them more with --memory: each takes about a MiB for itself)\n");
	if (pg.request.swap_bytes)
		pager_die(MF_STATE_FULL,
			  "out of memory: the compressed pool and the swap file are full and no page can be evicted; the program was ended "
			  "(give it more with --swap FILE:SIZE or --memory)\n");
	pager_die(MF_STATE_FULL,
		  "out of memory: the compressed pool is full and no page can be evicted; the program was ended "
		  "(give it more with --memory, or a stronger --compress zstd)\n");
}

/* Everything is full, and the program is to wait: this fault comes again in a moment. Meanwhile others are served, who may free memory. */
static void wait_for_room(void)
{
	struct timespec moment = { 0, 50000000 };

	if (!pg.waiting)
		atomic_fetch_add(&pg.control->waits, 1);
	pg.waiting = true;
	pager_publish();
	sys_call2(SYS_nanosleep, (long)&moment, 0);
}

/* A fault on a page that the engine believes present: another thread's fault brought it meanwhile, or it is write-protected, or a raw
 * system call dropped it behind our back. => false: it is gone, fault it in anew. Locked: mmap_lock. */
static bool still_there(unsigned long addr, uint64_t flags)
{
	unsigned char vec = 0;

	if (flags & UFFD_PAGEFAULT_WP)
		return page_stored(pager_mm, addr);
	if (sys_mincore(addr, PAGE, &vec) == 0 && (vec & 1))
		return true;
	uffd_dropped();
	forget_page(pager_mm, addr);
	return false;
}

/* The program is at memory of the runtime's own. Looking is harmless. */
static bool looks_at_ours(unsigned long addr, unsigned flags)
{
	return !(flags & FAULT_FLAG_WRITE) && uffd_show_zeros(addr);
}

/* The host lets the program at this page, the engine does not. It may have been unmapped between the fault and now; if it goes on, somebody has changed
 * the mapping by a system call that we did not see. */
static void refused(unsigned long addr)
{
	static atomic_ulong last;
	static atomic_uint times;
	char text[256], *at = text;

	if (atomic_exchange(&last, addr) != addr)
		atomic_store(&times, 0);
	if (atomic_fetch_add(&times, 1) < 1000)
		return;
	at = str(at, "the program uses memory at ");
	at = hex(at, addr);
	str(at, " that it has mapped or protected by a system call of its own, outside of libc; it was ended\n");
	pager_die(MF_STATE_BROKEN, text);
}

enum { UNHELD, HELD, CONTENDED };

static bool try_balance(void)
{
	unsigned unheld = UNHELD;

	return atomic_compare_exchange_strong(&pg.balancing, &unheld, HELD);
}

static void lock_balance(void)
{
	if (!try_balance())
		while (atomic_exchange(&pg.balancing, CONTENDED) != UNHELD)
			sys_futex_wait(&pg.balancing, CONTENDED);
}

static void unlock_balance(void)
{
	if (atomic_exchange(&pg.balancing, UNHELD) == CONTENDED)
		sys_futex_wake(&pg.balancing, 1);
}

static bool rescue(void)
{
	bool found;

	lock_balance();
	found = budget_rescue();
	unlock_balance();
	return found;
}

static void serve(const struct uffd_msg *msg)
{
	unsigned long addr = (unsigned long)msg->address & ~(PAGE - 1);
	unsigned flags = FAULT_FLAG_USER | (msg->flags & UFFD_PAGEFAULT_WRITE ? FAULT_FLAG_WRITE : 0);
	enum mm_residency there;
	vm_fault_t fault = 0;

	mmap_read_lock(pager_mm);
	there = mm_residency(pager_mm, addr);
	if ((there != MM_PRESENT && there != MM_AROUND) || !still_there(addr, msg->flags)) {
		do {
			fault = do_page_fault_locked(pager_mm, addr, flags);
		} while ((fault & VM_FAULT_OOM) && rescue());
	}
	if (fault & VM_FAULT_OOM) {
		pager_publish();
		if (!pg.request.full_waits)
			full();
		mmap_read_unlock(pager_mm);
		wait_for_room();
		uffd_wake(addr);
		return;
	}
	pg.waiting = false;
	if (fault & VM_FAULT_HWPOISON)
		damaged(addr);
	else if (fault & VM_FAULT_ERROR && !looks_at_ours(addr, flags))
		refused(addr);
	mmap_read_unlock(pager_mm);
	uffd_wake(addr);
}

/* ---- the loop ---------------------------------------------------------------------------------------------------- */

/* Another handler may be at it, which will do for as many pages as the budget has to spare for each handler. */
static void balance(void)
{
	static atomic_uint faults, passed_over;
	struct tree_process *me = &control_tree(pg.control)->process[pg.slot];
	bool mine;

	mmap_read_lock(pager_mm);
	mine = try_balance();
	if (!mine && atomic_fetch_add(&passed_over, 1) >= RECLAIM_BATCH) {
		lock_balance();
		mine = true;
	}
	if (mine) {
		atomic_store(&passed_over, 0);
		if (budget_balance())
			atomic_store_explicit(&me->other_bytes, budget_other(), memory_order_relaxed);
		unlock_balance();
	}
	mmap_read_unlock(pager_mm);
	atomic_store_explicit(&me->real_pages, uffd_stats.real_pages, memory_order_relaxed);
	if (pg.request.check_every && (atomic_fetch_add(&faults, 1) + 1) % pg.request.check_every == 0)
		mm_check_invariants();
}

/* While a thread forks, others wait: their messages are dropped, and at the end everybody is woken and faults anew. => true: dropped */
static bool defer(const struct uffd_msg *msg)
{
	if (!atomic_load(&pg.fork_tid) || (long)msg->tid == atomic_load(&pg.fork_tid))
		return false;
	atomic_store(&pg.deferred, 1);
	return atomic_load(&pg.fork_tid) != 0; /* else the fork ended in between, and nobody will knock */
}

void pager_call(unsigned slot, void (*fn)(void *arg), void *arg)
{
	bell_call(slot, fn, arg);
}

void pager_call_from(unsigned place, void (*fn)(void *arg), void *arg)
{
	bell_inherit(PLACE_SLOT + place);
	bell_call(PLACE_SLOT + place, fn, arg);
}

void pager_bell_range(unsigned long *addr, size_t *len)
{
	bell_range(addr, len);
}

static void answer(void *arg)
{
	mmap_read_lock(pager_mm);
	lock_balance();
	budget_answer();
	unlock_balance();
	mmap_read_unlock(pager_mm);
	pager_publish();
}

/* The warden's thread. */
static void knock(void)
{
	pager_call(WARDEN_SLOT, answer, NULL);
}

/* What the handler does beside serving a fault it does while it is counted as busy, and not while somebody forks: the child would find its locks held. */
static void handle(const struct uffd_msg *msg, unsigned number)
{
	static unsigned since; /* the first handler's */
	const unsigned long addr = (unsigned long)msg->address;

	if (msg->event != UFFD_EVENT_PAGEFAULT)
		return;
	atomic_fetch_add(&pg.busy, 1);
	if (!defer(msg)) {
		if (!atomic_load(&pg.fork_tid)) {
			pin_fault((long)msg->tid, number);
			crowd_fault((long)msg->tid);
		}
		if (bell_is(addr))
			bell_serve(pg.uffd, addr);
		else
			serve(msg);
		/* The warden knocks when others need memory: not the moment to take some. */
		if (!atomic_load(&pg.fork_tid) && !(bell_is(addr) && bell_slot(addr) == WARDEN_SLOT))
			balance();
	}
	__atomic_fetch_add(&pg.counters->faults_read, 1, __ATOMIC_RELAXED);
	if (number == 0 && ++since >= PUBLISH_EVERY && !atomic_load(&pg.fork_tid)) {
		since = 0;
		pager_publish();
	}
	atomic_fetch_sub(&pg.busy, 1);
	if (atomic_load(&pg.fork_tid))
		sys_futex_wake(&pg.busy, 1);
}

/* All descriptors of this thread but these. */
static void close_others(const struct lend *keep)
{
	int from = 0, next;

	do {
		next = -1;
		for (int i = 0; i < LEND_NR; i++)
			if (keep->fd[i] >= from && (next < 0 || keep->fd[i] < next))
				next = keep->fd[i];
		if (next < 0)
			sys_call3(SYS_close_range, from, 0xffffffffL, 0);
		else if (next > from)
			sys_call3(SYS_close_range, from, next - 1, 0);
		from = next + 1;
	} while (next >= 0);
}

/* Memory with a protection key is no secret to whom the kernel lets pass: pages are moved, or read in place before they go. */
static void open_protection_keys(void)
{
#if defined(__x86_64__)
	unsigned a = 7, b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	if (c & 1u << 4) /* OSPKE */
		__asm__ volatile(".byte 0x0f, 0x01, 0xef" : : "a"(0), "c"(0), "d"(0)); /* wrpkru */
#endif
}

/* Filters know the descriptors that forked children need by their numbers (run/filter.c), and are inherited: they are the same in every descendant. */
static void keep_numbers(void)
{
	static struct lend number = { .fd = { -1, -1, -1, -1 } };
	int *fd = pg.fds.fd;

	for (int what = LEND_DEV; what <= LEND_SWAP; what++) {
		if (number.fd[what] < 0)
			number.fd[what] = fd[what];
		if (fd[what] < 0 || fd[what] == number.fd[what])
			continue;
		for (int i = 0; i < LEND_NR; i++)
			if (fd[i] == number.fd[what])
				fd[i] = (int)sys_call1(SYS_dup, fd[i]);
		if (sys_call3(SYS_dup3, fd[what], number.fd[what], O_CLOEXEC) == number.fd[what])
			fd[what] = number.fd[what];
	}
}

static int arm_all(void)
{
	for (struct vm_area_struct *vma = find_vma(pager_mm, 0); vma; vma = vma_next(pager_mm, vma)) {
		int err = uffd_arm(vma_start(vma), vma_end(vma) - vma_start(vma));

		if (err)
			return err;
	}
	return 0;
}

static int arm_bell(void)
{
	unsigned long addr;
	size_t len;

	bell_range(&addr, &len);
	return uffd_arm(addr, len);
}

/* In the handler's own descriptor table: the program's never sees a descriptor of ours. */
static int open_uffd(void)
{
	bool move = false, ask;
	int err;

	if (pg.fds.fd[LEND_DEV] < 0)
		pg.fds.fd[LEND_DEV] = (int)sys_open("/dev/userfaultfd", O_RDONLY | O_CLOEXEC);
	keep_numbers();
	pg.uffd = uffd_open((int)pg.request.uffd_source, -1, &move);
	if (pg.uffd < 0 && pg.fds.fd[LEND_DEV] >= 0)
		pg.uffd = uffd_open(MF_UFFD_DEV, pg.fds.fd[LEND_DEV], &move);
	if (pg.uffd < 0)
		return pg.uffd;
	ask = move && pg.request.no_move == 1;
	move = move && !pg.request.no_move;
	pg.counters->uses_move = move;
	err = uffd_machine_attach(pg.uffd, move);
	if (!err && ask)
		err = uffd_machine_ask_by_move();
	if (!err && auto_on()) /* to be waited for with poll() */
		err = (int)sys_call3(SYS_fcntl, pg.uffd, F_SETFL, O_RDWR | O_NONBLOCK);
	if (!err)
		err = arm_bell();
	return err ? err : arm_all();
}

/* Between faults the handler looks after the limit. Not while somebody forks: nothing may be evicted then, and the fork waits for faults alone. */
static void wait_a_while(void)
{
	struct pollfd p = { .fd = pg.uffd, .events = POLLIN };
	const int ms = auto_patience();
	struct timespec t = { ms / 1000, ms % 1000 * 1000000L };

	if (sys_call5(SYS_ppoll, (long)&p, 1, (long)&t, 0, 0))
		return;
	atomic_fetch_add(&pg.busy, 1);
	if (!atomic_load(&pg.fork_tid)) {
		mmap_read_lock(pager_mm);
		auto_idle();
		mmap_read_unlock(pager_mm);
		pager_publish();
	}
	atomic_fetch_sub(&pg.busy, 1);
	if (atomic_load(&pg.fork_tid))
		sys_futex_wake(&pg.busy, 1);
}

/* This thread's death is the process's: the kernel then marks the slot. */
static void own_slot(void)
{
	robust_hold(&control_tree(pg.control)->process[pg.slot].link);
	tree_hold_pid(control_tree(pg.control), pg.slot, pg.fds.fd[LEND_CONTROL]);
	tree_run(control_tree(pg.control), pg.slot, (uint32_t)sys_gettid());
}

/* One message at a time while several handlers read: each thread is to be served on its own processor. */
static void read_and_handle(unsigned number)
{
	struct uffd_msg msgs[MAX_READ];
	uint64_t begin;
	long n;

	pin_handler(number);
	if (auto_on())
		wait_a_while();
	n = sys_read(pg.uffd, msgs, crowd_handlers() > 1 ? sizeof(msgs[0]) : sizeof(msgs));
	if (n < 0 && n != -EINTR && n != -EAGAIN)
		machine_bug(__FILE__, __LINE__, "the userfaultfd can't be read any more");
	begin = auto_begin();
	for (long i = 0; i < n / (long)sizeof(msgs[0]); i++)
		handle(&msgs[i], number);
	auto_end(begin);
}

static void helper(void)
{
	unsigned number = 1 + crowd_join();

	sys_call5(SYS_prctl, 15 /* PR_SET_NAME */, (long)"minflt-helper", 0, 0, 0);
	open_protection_keys();
	swap_pool_join_file(pg.pool);
	pin_helper(number);
	for (;;) {
		crowd_wait(number - 1);
		read_and_handle(number);
	}
}

/* The compressor in the command needs a processor, too. While a handler and a thread that faults keep each one busy it would take turns with them, and
 * what it saves would be less than the copies to it and back, and the switches. */
static void filled(bool all_processors)
{
	swap_pool_use_mailbox(pg.pool, !all_processors);
}

static void handler(void)
{
	sys_call5(SYS_prctl, 15 /* PR_SET_NAME */, (long)"minflt", 0, 0, 0);
	open_protection_keys();
	keep_numbers();
	close_others(&pg.fds);
	pg.start_error = open_uffd();
	if (!pg.start_error) {
		swap_pool_open_file(pg.pool, pg.fds.fd[LEND_SWAP]);
		own_slot();
	}
	atomic_store(&pg.ready, 1);
	sys_futex_wake(&pg.ready, 1);
	if (pg.start_error)
		for (;;)
			sys_call1(SYS_exit, 0);
	if (!auto_on()) /* which measures one handler's time */
		crowd_start(helper, filled);
	for (;;)
		read_and_handle(0);
}

/* ---- start ------------------------------------------------------------------------------------------------------- */

static int start_handler(void)
{
	uint64_t *tls = (uint64_t *)pg.tls;
	long tid;

	tls[512 / 8] = pg.tls + 512; /* %fs:0 and %fs:16 point to themselves, as the ABI wants */
	tls[512 / 8 + 2] = pg.tls + 512;
	atomic_store(&pg.ready, 0);
	tid = thread_start((void *)(pg.stack + HANDLER_STACK), (void *)(pg.tls + 512), handler);
	if (tid < 0)
		return (int)tid;
	pg.handler_tid = tid;
	while (!atomic_load(&pg.ready))
		sys_futex_wait(&pg.ready, 0);
	return pg.start_error;
}

extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned __rseq_size __attribute__((weak));

/* Where the kernel writes the processor that this thread runs on (rseq, registered by libc). NULL: nowhere, or in managed memory (a thread on a
 * stack from malloc), which the handler must not read. */
static const volatile uint32_t *own_cpu(void)
{
	unsigned long at = (unsigned long)__builtin_thread_pointer();
	struct vm_area_struct *vma;

	if (!&__rseq_offset || !&__rseq_size || !__rseq_size)
		return NULL;
	at += (unsigned long)__rseq_offset + 4;
	vma = find_vma(pager_mm, at);
	return vma && vma_start(vma) <= at ? NULL : (const volatile uint32_t *)at;
}

/* For processes without a descriptor; pages of the kernel's cache come into being only by their use of it. */
static char *map_file(void)
{
	size_t len = pg.request.swap_bytes;
	long at;

	if (!len || pg.fds.fd[LEND_SWAP] < 0)
		return NULL;
	at = sys_mmap(0, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, pg.fds.fd[LEND_SWAP], 0);
	if (sys_is_err(at))
		return NULL;
	sys_madvise((unsigned long)at, len, MADV_RANDOM);
	sys_madvise((unsigned long)at, len, MADV_DONTDUMP);
	pg.file_mapped = len;
	return (char *)at;
}

size_t pager_file_mapped(void)
{
	return pg.file_mapped;
}

static int start_engine(unsigned long nr_frames, const char **what)
{
	const struct mf_request *q = &pg.request;
	unsigned long slots = nr_frames * SLOTS_PER_FRAME < MIN_SLOTS   ? MIN_SLOTS
			      : nr_frames * SLOTS_PER_FRAME > MAX_SLOTS ? MAX_SLOTS
									: nr_frames * SLOTS_PER_FRAME;
	struct swap_pool_params sp = { .codec = (enum swap_codec)q->codec, .level = q->level, .nr_slots = slots,
				       .limit = q->pool,
				       .file = { .bytes = q->swap_bytes, .share = control_share(pg.control, q), .map = map_file(), .plain = q->swap_plain,
						 .no_ring = q->swap_no_ring, .memory = nr_frames * PAGE / 32, .trouble = q->swap_trouble } };
	struct mm_params mp = { .geometry = mm_geometry_find("process"), .nr_frames = nr_frames + BUDGET_PINNED, .nr_swap_slots = slots, .swap = &swap_pool_ops,
				.anon_around = q->around ? q->around : 64, .swapin_around = q->around ? q->around : 32,
				.copies_cost_frames = budget_is_shared(), .check_every = q->check_every };
	int err = 0;

	*what = "compressed pool";
	pg.pool = swap_pool_create(&sp, &err);
	if (!pg.pool)
		return err;
	if (!tree_take_mailbox(pg.control, pg.slot) || swap_pool_attach_mailbox(pg.pool, control_mailbox(pg.control), q->mailbox_entries))
		pg.request.mailbox_entries = 0;
	budget_attach(pg.pool);
	*what = "engine";
	mp.frame_limit = (q->resident ? q->resident : q->memory) / PAGE;
	mp.swap_ctx = pg.pool;
	err = mm_init(&mp);
	if (err)
		return err;
	pager_mm = mm_alloc();
	return pager_mm ? 0 : -ENOMEM;
}

int pager_start(struct mf_control *control, const struct pager_place *place, const char **what)
{
	unsigned long nr_frames;
	int err;

	pg.control = control;
	pg.slot = place->slot;
	pg.pid = sys_getpid();
	pg.fds = place->fds;
	tree_at_home(atomic_load(&control_tree(control)->process[pg.slot].home));
	pg.counters = tree_counters(control, pg.slot);
	pg.request = control->request;
	*what = "budget too small";
	err = budget_init(&pg.request, &nr_frames);
	if (err)
		return err;
	auto_init(pg.request.auto_permille, nr_frames, pg.slot == TREE_MAIN ? &control->curve : NULL);
	account_start(control, pg.slot, pg.request.memory, pg.request.resident || pg.request.pool);
	*what = "address space";
	err = uffd_machine_init(nr_frames + BUDGET_PINNED);
	if (err)
		return err;
	uffd_set_real_limit(nr_frames);
	pg.stack = (unsigned long)machine_alloc(HANDLER_STACK);
	pg.tls = (unsigned long)machine_alloc(PAGE);
	if (bell_init() || !pg.stack || !pg.tls)
		return -ENOMEM;
	err = start_engine(nr_frames, what);
	if (err)
		return err;
	budget_fit();
	*what = "userfaultfd and its handler";
	err = start_handler();
	pin_start(sys_gettid(), own_cpu());
	if (!err && (pg.slot != TREE_MAIN || atomic_load(&control_tree(control)->alive) > 1))
		account_company(knock);
	if (!err)
		pager_publish();
	return err;
}

/* ---- fork -------------------------------------------------------------------------------------------------------- */

static void send_post(void *arg)
{
	account_company(knock);
	lend_send(arg, &pg.fds);
}

bool pager_lend(struct lend *to, bool device_only, struct lend_post *post, void (*here)(void (*fn)(void *), void *arg))
{
	struct lend from = device_only ? LEND_NOTHING : pg.fds;

	from.fd[LEND_DEV] = pg.fds.fd[LEND_DEV];
	from.fd[LEND_SWAP] = pg.fds.fd[LEND_SWAP];
	if (sys_getpid() == pg.pid && lend_fetch(to, &from, pg.handler_tid))
		return true;
	*to = LEND_NOTHING;
	if (sys_getpid() != pg.pid && !sys_call0(SYS_getppid))
		return false; /* a vfork child in a pid namespace of its own: the handler would fetch from another process */
	if (device_only || !lend_open_post(post))
		return false;
	here(send_post, post);
	return lend_receive(to, post, &pg.fds);
}

static void send_uffd(void *arg)
{
	struct lend only = LEND_NOTHING;

	only.fd[0] = pg.uffd;
	lend_send(arg, &only);
}

int pager_lend_userfaultfd(struct lend_post *post, void (*here)(void (*fn)(void *), void *arg))
{
	struct lend to, only = LEND_NOTHING;

	only.fd[0] = pg.uffd;
	if (lend_fetch(&to, &only, pg.handler_tid))
		return to.fd[0];
	if (!lend_open_post(post))
		return -1;
	here(send_uffd, post);
	lend_receive(&to, post, &only);
	return to.fd[0];
}

bool pager_orphaned(void)
{
	return sys_getpid() != pg.pid && atomic_load(&control_tree(pg.control)->process[pg.slot].link.word) != (uint32_t)pg.handler_tid;
}

void pager_orphan_ends(void)
{
	if (!pager_orphaned())
		return;
	pager_message("a process that shared its memory with another one (vfork, or clone with CLONE_VM) was ended: that one has ended, and nobody is left to bring "
		      "back what is evicted\n");
	sys_call2(SYS_kill, sys_getpid(), 9);
	sys_exit_group(137);
}

void pager_wait(void *word, unsigned val)
{
	const struct timespec now_and_then = { 0, ORPHAN_LOOKS_NS };

	if (sys_getpid() == pg.pid) {
		sys_futex_wait(word, val);
		return;
	}
	sys_call4(SYS_futex, (long)word, 128 /* FUTEX_WAIT_PRIVATE */, (long)val, (long)&now_and_then);
	pager_orphan_ends();
}

void pager_before_filter(void)
{
	swap_pool_before_filter(pg.pool);
}

struct mf_control *pager_control(void)
{
	return pg.control;
}

unsigned pager_slot(void)
{
	return pg.slot;
}

long pager_pid(void)
{
	return pg.pid;
}

int pager_kept_descriptor(enum lend_what what)
{
	return pg.fds.fd[what];
}

/* The mailbox is shared with the command and must not be with the child as well: nothing is in it when the host copies the pool. The handler does
 * it, because this thread's stack may be managed and the pool's locks must not wait for a page. */
static void drain(void *arg)
{
	if (swap_pool_drain(pg.pool))
		pager_die(MF_STATE_FULL, "no room for the pages that were being compressed when the program forked; give it more memory\n");
	swap_pool_settle(pg.pool);
	swap_pool_before_fork(pg.pool);
}

static void end_waits(void *arg)
{
	uffd_wake_all();
}

void pager_fork_prepare(const struct lend *lent)
{
	pg.borrowed = lent;
	mm_quiet(true);
	atomic_store(&pg.fork_tid, sys_gettid());
	for (unsigned n; (n = atomic_load(&pg.busy));)
		sys_futex_wait(&pg.busy, n);
	/* Mostly the mailbox is empty: the way to the handler and back would be a tenth of a small process's fork. */
	if (pg.request.swap_bytes || !swap_pool_is_drained(pg.pool))
		bell_call(FORK_SLOT, drain, NULL);
}

void pager_fork_parent(void)
{
	lend_close(pg.borrowed);
	mm_quiet(false);
	account_company(knock);
	atomic_store(&pg.fork_tid, 0);
	if (atomic_exchange(&pg.deferred, 0))
		bell_call(FORK_SLOT, end_waits, NULL);
}

static int unserved(int why)
{
	static const char text[] = "a forked child could not be served (no userfaultfd, thread or address space to be had there), and ran without a budget\n";

	pin_forget();
	swap_pool_read_file(pg.pool, pg.fds.fd[LEND_SWAP]);
	if (abandon_all(pager_mm))
		return why;
	swap_pool_leave_file(pg.pool);
	pager_message(text);
	return 1;
}

/* A slot and counters of its own. */
static int join_tree(void)
{
	struct mf_tree *t = control_tree(pg.control);
	const bool home = tree_child_is_home(t, pg.slot, pg.pid);
	uint64_t before;
	int slot;

	__atomic_fetch_add(&pg.counters->forks, 1, __ATOMIC_RELAXED);
	pg.pid = sys_getpid();
	tree_at_home(home);
	before = atomic_load(&t->process[pg.slot].start_bytes);
	tree_reap(pg.control);
	slot = tree_claim(t, (uint32_t)pg.pid, home);
	if (slot < 0)
		return slot;
	atomic_fetch_add(&t->started, 1);
	atomic_fetch_add(&t->forks, 1);
	pg.slot = (unsigned)slot;
	atomic_store(&t->process[slot].start_bytes, before);
	pg.counters = tree_counters(pg.control, pg.slot);
	collect(&pg.base);
	return 0;
}

int pager_fork_child(void)
{
	unsigned parent = pg.slot;
	int err, bare;

	pin_forget();
	crowd_forget();
	err = join_tree();
	swap_pool_attach_mailbox(pg.pool, NULL, 0);
	swap_pool_in_child(pg.pool);
	pg.request.mailbox_entries = 0;
	atomic_store(&pg.fork_tid, 0);
	atomic_store(&pg.busy, 0);
	atomic_store(&pg.deferred, 0);
	atomic_store(&pg.balancing, UNHELD);
	bare = uffd_machine_after_fork(fresh_frames());
	err = err ? err : bare;
	mm_after_host_fork(pager_mm);
	mm_quiet(false);
	auto_after_fork();
	if (!err) {
		account_fork(pg.control, pg.slot, parent, budget_kept(), mm_stats()->evicted * PAGE);
		budget_fit();
		publish(false); /* what the parent knew of its tables is near enough */
	}
	bell_reset(WARDEN_SLOT); /* the parent's may have been knocking */
	for (unsigned i = 0; i < PAGER_NR_PLACES; i++)
		bell_inherit(PLACE_SLOT + i);
	pin_start(sys_gettid(), own_cpu());
	pg.fds = *pg.borrowed;
	if (!err)
		err = start_handler();
	if (err && pg.slot != parent)
		tree_leave(pg.control, pg.slot);
	if (err)
		err = unserved(err);
	else
		account_company(knock);
	lend_close(pg.borrowed);
	return err;
}
