/* SPDX-License-Identifier: MIT
 * pin.c - keeping the program's thread on the handler's processor while it faults often. See pin.h. */
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
#define WINDOW     32          /* faults in a row whose pace is looked at */
#define FIRST      4           /* the same, of a program that has just started: it will go on */
#define PACE_NS    (WINDOW * 200000ULL)
#define TICK_NS    10000000L
#define HOLD_NS    20000000ULL

static struct {
	long main_tid;
	const volatile uint32_t *cpu;
	atomic_uint pinned;            /* 1: main_tid runs on one processor, by us. The watch sleeps on it while 0. */
	atomic_uint lock;              /* pinning and lifting, one at a time; held for a few system calls */
	uint64_t mask[MASK_WORDS];     /* lock: what the program's mask is */
	_Atomic uint64_t hold;         /* not before this time */
	atomic_uint faults;            /* of the main thread, in all */
	uint64_t window_start;         /* handler only */
	unsigned window_faults;
	uint32_t own;                  /* handler only: its processor */
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

static int set_cpu(long tid, uint32_t cpu)
{
	uint64_t mask[MASK_WORDS] = { 0 };

	mask[cpu / 64] = 1ULL << (cpu % 64);
	return (int)sys_call3(SYS_sched_setaffinity, tid, sizeof(mask), (long)mask);
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

static bool several(void)
{
	int words = 0;
	unsigned bits = 0;

	for (; words < MASK_WORDS; words++)
		bits += (unsigned)__builtin_popcountll(pin.mask[words]);
	return bits > 1;
}

/* ---- the watch ----------------------------------------------------------------------------------------------------- */

static void lift(void);

static void watch(void)
{
	struct timespec tick = { 0, TICK_NS };
	unsigned before = 0;

	sys_call3(SYS_close_range, 0, 0xffffffffL, 0);
	sys_call5(SYS_prctl, 15 /* PR_SET_NAME */, (long)"minflt-watch", 0, 0, 0);
	for (;;) {
		unsigned seen;

		while (!atomic_load(&pin.pinned)) {
			sys_futex_wait(&pin.pinned, 0);
			before = atomic_load(&pin.faults) - WINDOW * 2;
		}
		sys_call2(SYS_nanosleep, (long)&tick, 0);
		seen = atomic_load(&pin.faults);
		if (seen - before < 50 || pin_nr_threads() != 1 + pin_own_threads())
			lift();
		before = seen;
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

/* ---- pinning: the handler ------------------------------------------------------------------------------------------ */

static void try_to_pin(uint64_t now)
{
	uint32_t cpu = *pin.cpu;

	if (cpu >= MASK_WORDS * 64 || now < atomic_load(&pin.hold) || pin_nr_threads() != 1 + pin_own_threads() ||
	    (!atomic_load(&pin.watched) && !start_watch()))
		return;
	lock();
	for (int i = 0; i < MASK_WORDS; i++)
		pin.mask[i] = 0;
	if (sys_call3(SYS_sched_getaffinity, pin.main_tid, sizeof(pin.mask), (long)pin.mask) > 0 && several() &&
	    now >= atomic_load(&pin.hold) && set_cpu(0, cpu) == 0 && set_cpu(pin.main_tid, cpu) == 0) {
		pin.own = cpu;
		atomic_store(&pin.pinned, 1);
		sys_futex_wake(&pin.pinned, 1);
	}
	unlock();
}

/* Not pinned, the handler still goes where the thread is, if it stays there for a while: a wake-up across processors costs five times a fault. */
static void follow(void)
{
	static unsigned away;
	uint32_t cpu = *pin.cpu;

	if (cpu == pin.own || cpu >= MASK_WORDS * 64) {
		away = 0;
	} else if (++away >= 4) {
		away = 0;
		if (set_cpu(0, cpu) == 0)
			pin.own = cpu;
	}
}

void pin_fault(long tid)
{
	uint64_t now;

	if (!pin.cpu || tid != pin.main_tid)
		return;
	atomic_store_explicit(&pin.faults, atomic_load_explicit(&pin.faults, memory_order_relaxed) + 1, memory_order_relaxed);
	if (atomic_load_explicit(&pin.pinned, memory_order_relaxed))
		return;
	follow();
	if (++pin.window_faults < WINDOW)
		return;
	now = now_ns();
	if (now - pin.window_start < PACE_NS)
		try_to_pin(now);
	pin.window_faults = 0;
	pin.window_start = now;
}

/* ---- lifting: the watch, and the program's threads ---------------------------------------------------------------- */

static void lift(void)
{
	lock();
	if (atomic_load(&pin.pinned)) {
		sys_call3(SYS_sched_setaffinity, pin.main_tid, sizeof(pin.mask), (long)pin.mask);
		atomic_store(&pin.pinned, 0);
	}
	unlock();
}

void pin_lift(void)
{
	if (!pin.cpu)
		return;
	atomic_store(&pin.hold, now_ns() + HOLD_NS);
	lift();
}

bool pin_own_mask(void *mask, size_t size)
{
	bool pinned;

	if (!pin.cpu)
		return false;
	lock();
	pinned = atomic_load(&pin.pinned);
	for (size_t i = 0; pinned && i < size / 8; i++)
		((uint64_t *)mask)[i] = i < MASK_WORDS ? pin.mask[i] : 0;
	unlock();
	return pinned;
}

bool pin_holds(void)
{
	return atomic_load_explicit(&pin.pinned, memory_order_relaxed);
}

void pin_start(long main_tid, const volatile uint32_t *cpu)
{
	pin.main_tid = main_tid;
	pin.own = ~0u;
	pin.window_faults = WINDOW - FIRST;
	pin.window_start = now_ns();
	pin.cpu = cpu;
}

void pin_forget(void)
{
	pin.cpu = NULL;
	atomic_store(&pin.pinned, 0);
	atomic_store(&pin.lock, 0);
	atomic_store(&pin.watched, 0);
}

unsigned pin_own_threads(void)
{
	return 1 + atomic_load(&pin.watched) + account_threads() + crowd_threads();
}
