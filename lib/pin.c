/* SPDX-License-Identifier: MIT
 * pin.c - keeping threads of the program on their handlers' processors while they fault often. See pin.h. */
#include "lib/pin.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

#include "lib/account.h"
#include "lib/crowd.h"
#include "lib/thread.h"
#include "machine/machine.h"
#include "machine/sys.h"

#define STACK      (32UL << 10)
#define TLS        1024        /* of its top: the thread area, so that both are one page */
#define MASK_WORDS 16          /* 1024 processors */
#define PINS       8           /* threads pinned at one time */
#define WINDOW     32          /* faults of a thread whose pace is looked at */
#define FIRST      4           /* the same, of a program that has just started: it will go on */
#define PACE_NS    (WINDOW * 200000ULL)
#define TICK_NS    10000000L
#define TICK_FEW   50u         /* faults of a thread in one tick: it is let go */
#define HOLD_NS    20000000ULL
#define NOWHERE    (~0u)

/* tid: 0 while free. `faults` is its handler's, the rest the lock's. */
struct pinned {
	atomic_long tid;
	atomic_uint faults;
	unsigned seen;               /* of them, at the watch's last look */
	unsigned home;
	uint32_t cpu;
	uint64_t mask[MASK_WORDS];   /* what the program's mask is */
};

static struct {
	atomic_bool ready;
	long pid, main_tid;
	const volatile uint32_t *cpu;  /* the main thread's processor; NULL: not known */
	uint64_t all[MASK_WORDS];      /* what the program started with */
	unsigned cpus;                 /* in it */
	atomic_uint nr;                /* pinned threads. The watch sleeps on it while 0. */
	atomic_uint lock;              /* pinning and lifting, one at a time; held for a few system calls */
	_Atomic uint64_t hold;         /* nobody is pinned before this time */
	struct pinned at[PINS];
	/* Of each handler: the processor where it is to be, where it has put itself (its own word), and the threads pinned there (lock). */
	struct {
		atomic_uint cpu;
		uint32_t own;
		unsigned threads;
	} home[CROWD_MOST];
	/* Threads that aren't pinned and have faulted of late. One handler at a time looks. */
	atomic_uint looking;
	struct {
		long tid;
		unsigned faults;
		uint64_t since;
	} fresh[PINS];
	unsigned next_fresh;
	unsigned long stack;
	atomic_uint watched;           /* the watch has been started */
} pin;

static uint64_t now_ns(void)
{
	struct timespec t = { 0, 0 };

	sys_call2(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void lock(void)
{
	while (atomic_exchange(&pin.lock, 1))
		sys_futex_wait(&pin.lock, 1);
}

static void unlock(void)
{
	atomic_store(&pin.lock, 0);
	sys_futex_wake(&pin.lock, 1);
}

static bool in(const uint64_t *mask, uint32_t cpu)
{
	return cpu < MASK_WORDS * 64 && (mask[cpu / 64] >> cpu % 64 & 1);
}

static unsigned count_cpus(const uint64_t *mask)
{
	unsigned bits = 0;

	for (int i = 0; i < MASK_WORDS; i++)
		bits += (unsigned)__builtin_popcountll(mask[i]);
	return bits;
}

static bool get_mask(long tid, uint64_t *mask)
{
	for (int i = 0; i < MASK_WORDS; i++)
		mask[i] = 0;
	return sys_call3(SYS_sched_getaffinity, tid, MASK_WORDS * 8, (long)mask) > 0;
}

static bool set_cpu(long tid, uint32_t cpu)
{
	uint64_t mask[MASK_WORDS] = { 0 };

	mask[cpu / 64] = 1ULL << (cpu % 64);
	return sys_call3(SYS_sched_setaffinity, tid, sizeof(mask), (long)mask) == 0;
}

/* Field 20 of /proc/self/stat. */
unsigned pin_nr_threads(void)
{
	char text[1024] = { 0 };
	long fd = sys_open("/proc/self/stat", O_RDONLY | O_CLOEXEC), n, at = 0;
	unsigned threads = 0, field = 0;

	if (fd < 0)
		return 0;
	n = sys_read((int)fd, text, sizeof(text));
	sys_close((int)fd);
	for (long i = 0; i < n; i++)
		at = text[i] == ')' ? i : at;
	for (; at < n && field < 18; at++)
		field += text[at] == ' ';
	for (; at < n && text[at] >= '0' && text[at] <= '9'; at++)
		threads = threads * 10 + (unsigned)(text[at] - '0');
	return threads;
}

/* ---- lifting, and the watch ---------------------------------------------------------------------------------------- */

/* Locked. A thread that has ended, or whose mask is not ours any more, is left alone: its number may be another's. */
static void let_go(struct pinned *p)
{
	const long tid = atomic_load(&p->tid);
	uint64_t now[MASK_WORDS];

	if (get_mask(tid, now) && count_cpus(now) == 1 && in(now, p->cpu))
		sys_call3(SYS_sched_setaffinity, tid, sizeof(p->mask), (long)p->mask);
	atomic_store(&p->tid, 0);
	pin.home[p->home].threads--;
	atomic_fetch_sub(&pin.nr, 1);
}

/* Who doesn't fault often any more, or whose handler sleeps. */
static void let_idle_go(void)
{
	lock();
	for (struct pinned *p = pin.at; p < pin.at + PINS; p++) {
		const unsigned faults = atomic_load(&p->faults);

		if (atomic_load(&p->tid) && (faults - p->seen < TICK_FEW || p->home >= crowd_handlers()))
			let_go(p);
		p->seen = faults;
	}
	unlock();
}

static void watch(void)
{
	struct timespec tick = { 0, TICK_NS };

	sys_call3(SYS_close_range, 0, 0xffffffffL, 0);
	sys_call5(SYS_prctl, 15 /* PR_SET_NAME */, (long)"minflt-watch", 0, 0, 0);
	for (;;) {
		while (!atomic_load(&pin.nr))
			sys_futex_wait(&pin.nr, 0);
		sys_call2(SYS_nanosleep, (long)&tick, 0);
		let_idle_go();
	}
}

/* => false: no thread to be had */
static bool start_watch(void)
{
	uint64_t *tls;

	if (!pin.stack)
		pin.stack = (unsigned long)machine_alloc(STACK);
	if (!pin.stack)
		return false;
	tls = (uint64_t *)(pin.stack + STACK - TLS / 2);
	tls[0] = tls[2] = (unsigned long)tls;
	if (thread_start((void *)(pin.stack + STACK - TLS), tls, watch) < 0)
		return false;
	atomic_store(&pin.watched, 1);
	return true;
}

/* ---- pinning: the handlers ----------------------------------------------------------------------------------------- */

/* A home for one more thread: one for each handler, and several only where there are no other processors. => its number, or -1 */
static int choose_home(void)
{
	const unsigned handlers = crowd_handlers();
	unsigned best = 0;

	for (unsigned i = 1; i < handlers; i++)
		best = pin.home[i].threads < pin.home[best].threads ? i : best;
	return pin.home[best].threads && (handlers == 1 || handlers < pin.cpus) ? -1 : (int)best;
}

static bool is_taken(uint32_t cpu)
{
	for (unsigned i = 0; i < CROWD_MOST; i++)
		if (pin.home[i].threads && atomic_load(&pin.home[i].cpu) == cpu)
			return true;
	return false;
}

/* Where the thread is, if that is known; where its fault is served, otherwise; and any other processor if another handler is there. */
static uint32_t choose_cpu(long tid, const uint64_t *mask)
{
	uint32_t cpu = NOWHERE;

	if (tid == pin.main_tid && pin.cpu)
		cpu = *pin.cpu;
	else
		sys_call3(SYS_getcpu, (long)&cpu, 0, 0);
	for (uint32_t i = 0; (!in(mask, cpu) || is_taken(cpu)) && i < MASK_WORDS * 64; i++)
		cpu = i;
	return in(mask, cpu) && !is_taken(cpu) ? cpu : NOWHERE;
}

/* Locked. */
static void pin_thread(struct pinned *p, long tid)
{
	const int home = choose_home();
	uint32_t cpu;

	if (home < 0 || !get_mask(tid, p->mask) || count_cpus(p->mask) < 2)
		return;
	cpu = pin.home[home].threads ? atomic_load(&pin.home[home].cpu) : choose_cpu(tid, p->mask);
	if (!in(p->mask, cpu) || !set_cpu(tid, cpu))
		return;
	atomic_store(&pin.home[home].cpu, cpu);
	pin.home[home].threads++;
	p->home = (unsigned)home;
	p->cpu = cpu;
	p->seen = 0;
	atomic_store(&p->faults, TICK_FEW * 2);
	atomic_store(&p->tid, tid);
	if (atomic_fetch_add(&pin.nr, 1) == 0)
		sys_futex_wake(&pin.nr, 1);
}

/* A handler doesn't wait for the lock: who has it may wait for a page. */
static void try_to_pin(long tid)
{
	const uint64_t now = now_ns();
	struct pinned *p = pin.at;

	if (now < atomic_load(&pin.hold) || (!atomic_load(&pin.watched) && !start_watch()) || atomic_exchange(&pin.lock, 1))
		return;
	while (p < pin.at + PINS && atomic_load(&p->tid))
		p++;
	if (p < pin.at + PINS && now >= atomic_load(&pin.hold))
		pin_thread(p, tid);
	unlock();
}

/* Not pinned, the handler still goes where the main thread is, if it stays there for a while: a wake-up across processors costs five times a fault. */
static void follow(void)
{
	static unsigned away;
	uint32_t cpu = pin.cpu ? *pin.cpu : NOWHERE;

	if (cpu == atomic_load(&pin.home[0].cpu) || cpu >= MASK_WORDS * 64) {
		away = 0;
	} else if (++away >= 4) {
		away = 0;
		if (!atomic_load(&pin.nr))
			atomic_store(&pin.home[0].cpu, cpu);
	}
}

/* => it has faulted WINDOW times in less than PACE_NS */
static bool faults_often(long tid)
{
	unsigned i = 0;

	while (i < PINS && pin.fresh[i].tid != tid)
		i++;
	if (i == PINS) {
		i = pin.next_fresh++ % PINS;
		pin.fresh[i].tid = tid;
		pin.fresh[i].faults = 0;
	}
	if (pin.fresh[i].faults++ == 0)
		pin.fresh[i].since = now_ns();
	if (pin.fresh[i].faults < WINDOW)
		return false;
	pin.fresh[i].faults = 0;
	return now_ns() - pin.fresh[i].since < PACE_NS;
}

void pin_fault(long tid, unsigned number)
{
	if (!atomic_load_explicit(&pin.ready, memory_order_relaxed) || pin.cpus < 2)
		return;
	for (struct pinned *p = pin.at; p < pin.at + PINS; p++) {
		if (atomic_load_explicit(&p->tid, memory_order_relaxed) == tid) {
			atomic_store_explicit(&p->faults, atomic_load_explicit(&p->faults, memory_order_relaxed) + 1, memory_order_relaxed);
			return;
		}
	}
	if (atomic_exchange_explicit(&pin.looking, 1, memory_order_acquire))
		return;
	if (number == 0 && tid == pin.main_tid && crowd_handlers() == 1)
		follow();
	if (faults_often(tid))
		try_to_pin(tid);
	atomic_store_explicit(&pin.looking, 0, memory_order_release);
}

void pin_handler(unsigned number)
{
	const uint32_t cpu = atomic_load_explicit(&pin.home[number].cpu, memory_order_relaxed);

	if (cpu != pin.home[number].own && (cpu == NOWHERE || set_cpu(0, cpu)))
		pin.home[number].own = cpu;
}

void pin_helper(unsigned number)
{
	pin.home[number].own = NOWHERE; /* where the handler was that has started it, rather */
	sys_call3(SYS_sched_setaffinity, 0, sizeof(pin.all), (long)pin.all);
}

/* ---- the program's threads ----------------------------------------------------------------------------------------- */

/* By a process that shares this one's memory. It may be killed at any moment, and the lock would be held for good: its own mask, and what is noted of it is left to
 * the watch. */
static void lift_own(void)
{
	const long tid = sys_gettid();

	for (const struct pinned *p = pin.at; p < pin.at + PINS; p++)
		if (atomic_load(&p->tid) == tid)
			sys_call3(SYS_sched_setaffinity, 0, sizeof(p->mask), (long)p->mask);
}

void pin_lift(void)
{
	if (!atomic_load(&pin.ready))
		return;
	atomic_store(&pin.hold, now_ns() + HOLD_NS);
	if (sys_getpid() != pin.pid) {
		lift_own();
		return;
	}
	lock();
	for (struct pinned *p = pin.at; p < pin.at + PINS; p++)
		if (atomic_load(&p->tid))
			let_go(p);
	unlock();
}

bool pin_own_mask(void *mask, size_t size)
{
	const long tid = sys_gettid();
	bool pinned = false;

	if (!atomic_load(&pin.ready))
		return false;
	lock();
	for (const struct pinned *p = pin.at; p < pin.at + PINS; p++) {
		if (atomic_load(&p->tid) != tid)
			continue;
		pinned = true;
		for (size_t i = 0; i < size / 8; i++)
			((uint64_t *)mask)[i] = i < MASK_WORDS ? p->mask[i] : 0;
	}
	unlock();
	return pinned;
}

bool pin_holds(void)
{
	return atomic_load_explicit(&pin.nr, memory_order_relaxed) != 0;
}

void pin_start(long main_tid, const volatile uint32_t *cpu)
{
	pin.pid = sys_getpid();
	pin.main_tid = main_tid;
	pin.cpu = cpu;
	pin.cpus = get_mask(0, pin.all) ? count_cpus(pin.all) : 0;
	for (unsigned i = 0; i < CROWD_MOST; i++) {
		atomic_store(&pin.home[i].cpu, NOWHERE);
		pin.home[i].own = NOWHERE;
		pin.home[i].threads = 0;
	}
	pin.fresh[0].tid = main_tid;
	pin.fresh[0].faults = WINDOW - FIRST;
	pin.fresh[0].since = now_ns();
	atomic_store(&pin.ready, true);
}

void pin_forget(void)
{
	atomic_store(&pin.ready, false);
	atomic_store(&pin.nr, 0);
	atomic_store(&pin.lock, 0);
	atomic_store(&pin.looking, 0);
	atomic_store(&pin.watched, 0);
	for (struct pinned *p = pin.at; p < pin.at + PINS; p++)
		atomic_store(&p->tid, 0);
	for (unsigned i = 0; i < PINS; i++)
		pin.fresh[i].tid = 0;
}

unsigned pin_own_threads(void)
{
	return 1 + atomic_load(&pin.watched) + account_threads() + crowd_threads();
}
