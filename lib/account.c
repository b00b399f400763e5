/* SPDX-License-Identifier: MIT
 * account.c - one budget for all processes of a tree. See account.h. */
#include "lib/account.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <time.h>

#include "lib/thread.h"
#include "lib/tree.h"
#include "machine/machine.h"
#include "machine/sys.h"

#define STACK       (32UL << 10)
#define STEPS       64             /* of the budget, in which a lease grows */
#define LEAST_STEP  (256ULL << 10)
#define PRESS_NS    2000000ULL     /* the others are asked no more often */
#define WAITS       400            /* of 5 ms, since somebody gave something */
#define MOST_ROUNDS 4000
#define FULL_WAITS  20             /* of these, where somebody else has waited in vain */
#define FULL_NS     20000000000ULL /* no longer ago than this */
#define TICK_NS     2000000L       /* looks at what is shared; a tenth of the time at most */
#define MOST_TICK   900000000ULL
#define WATCHED     (2ULL << 20)   /* a lease that is worth a warden */

static struct {
	struct mf_control *control;
	struct mf_tree *tree;
	struct tree_process *me;
	unsigned slot, parent;
	uint64_t budget;
	_Atomic uint64_t credit; /* <= inherited */
	uint64_t inherited;      /* and still shared */
	uint64_t evicted;        /* as told last */
	uint32_t heard;          /* the bell, when it was last answered. Handler */
	uint64_t faults;         /* at that time */
	uint64_t pressed_ns, tick_ns;
	_Atomic uint64_t tick_every; /* ns; below a second */
	_Atomic uint64_t short_every; /* the same, while this process keeps more than it may; 0: it doesn't */
	uint64_t short_by;
	void (*_Atomic knock)(void);
	atomic_uint warded;
	unsigned long stack, tls;
} a;

uint64_t account_allowance(void)
{
	return atomic_load_explicit(&a.me->lease, memory_order_relaxed) + atomic_load_explicit(&a.credit, memory_order_relaxed);
}

uint64_t account_credit(void)
{
	return atomic_load_explicit(&a.credit, memory_order_relaxed);
}

/* => bytes that were had, at most `most`; 0 when less than `least` are left */
static uint64_t take(uint64_t most, uint64_t least)
{
	uint64_t leased = atomic_load(&a.tree->leased), n;

	do {
		n = leased < a.budget ? a.budget - leased : 0;
		n = n < most ? n : most;
		if (n < least || !n)
			return 0;
	} while (!atomic_compare_exchange_weak(&a.tree->leased, &leased, leased + n));
	atomic_fetch_add(&a.me->lease, n);
	return n;
}

static void take_anyway(uint64_t bytes)
{
	atomic_fetch_add(&a.tree->leased, bytes);
	atomic_fetch_add(&a.me->lease, bytes);
}

static uint64_t step(void)
{
	return a.budget / STEPS > LEAST_STEP ? a.budget / STEPS / MACHINE_PAGE_SIZE * MACHINE_PAGE_SIZE : LEAST_STEP;
}

static uint64_t least(void)
{
	return a.budget < 4 * ACCOUNT_LEAST ? a.budget / 4 : ACCOUNT_LEAST;
}

static void join(struct mf_control *c, unsigned slot)
{
	a.control = c;
	a.tree = control_tree(c);
	a.slot = slot;
	a.me = &a.tree->process[slot];
	a.heard = atomic_load(&a.me->bell);
	a.faults = 0;
	atomic_store(&a.me->began_ns, tree_now_ns());
	atomic_store(&a.short_every, 0);
	atomic_store(&a.knock, NULL);
	atomic_store(&a.warded, 0);
}

void account_start(struct mf_control *c, unsigned slot, uint64_t budget, bool all)
{
	join(c, slot);
	a.budget = budget;
	a.parent = slot;
	if (!budget)
		return;
	if (all)
		take(budget, 1);
	if (atomic_load(&a.me->lease) < least() && !take(least(), least())) {
		tree_reap(c);
		if (!take(least(), least()))
			take_anyway(least());
	}
}

void account_fork(struct mf_control *c, unsigned slot, unsigned parent, uint64_t inherited, uint64_t evicted)
{
	join(c, slot);
	a.parent = parent;
	if (!a.budget)
		return;
	a.inherited = inherited;
	a.evicted = evicted;
	atomic_store(&a.credit, 0);
	atomic_store(&a.credit, inherited - take(inherited, MACHINE_PAGE_SIZE));
	atomic_store(&a.tick_every, TICK_NS);
	a.tick_ns = tree_now_ns() + TICK_NS;
	take_anyway(LEAST_STEP);
}

void account_evicted(uint64_t bytes)
{
	uint64_t gone = bytes - a.evicted;

	a.evicted = bytes;
	if (!a.inherited || !gone)
		return;
	a.inherited -= gone < a.inherited ? gone : a.inherited;
	if (account_credit() > a.inherited)
		atomic_store(&a.credit, a.inherited);
}

/* ---- asking and being asked --------------------------------------------------------------------------------------------- */

static void wake(_Atomic uint32_t *bell)
{
	atomic_fetch_add(bell, 1);
	sys_call3(SYS_futex, (long)bell, 1 /* FUTEX_WAKE, shared */, 1);
}

/* The warden looks again, soon as long as that helps. It may be asleep for good. */
void account_short(uint64_t bytes)
{
	const uint64_t before = atomic_load_explicit(&a.short_every, memory_order_relaxed);
	uint64_t every = bytes ? TICK_NS : 0;

	if (before && bytes >= a.short_by)
		every = 2 * before < MOST_TICK ? 2 * before : MOST_TICK;
	a.short_by = bytes;
	atomic_store(&a.short_every, every);
	if (!before && every)
		sys_call3(SYS_futex, (long)&a.me->bell, 1 /* FUTEX_WAKE, shared */, 1);
}

static void press(void)
{
	uint64_t now = tree_now_ns();
	unsigned top = atomic_load(&a.tree->top);

	if (now - a.pressed_ns < PRESS_NS)
		return;
	a.pressed_ns = now;
	atomic_fetch_add(&a.tree->pressed, 1);
	for (unsigned i = 0; i < top && i < TREE_SLOTS; i++) {
		struct tree_process *p = &a.tree->process[i];

		if (i != a.slot && atomic_load(&p->state) == TREE_RUNNING && atomic_load(&p->lease) > least())
			wake(&p->bell);
	}
}

bool account_grow(void)
{
	void (*knock)(void);

	if (!a.budget)
		return false;
	if (!take(step(), MACHINE_PAGE_SIZE)) {
		tree_reap(a.control);
		if (!take(step(), MACHINE_PAGE_SIZE)) {
			press();
			return false;
		}
	}
	knock = atomic_load(&a.knock);
	if (knock && !atomic_load(&a.warded))
		account_company(knock);
	return true;
}

/* Somebody waited in vain, and what has been given back since is nothing to speak of. */
static bool is_full(void)
{
	const uint64_t since = atomic_load(&a.tree->full_ns), some = a.budget / 8 > TREE_GIFT ? a.budget / 8 : TREE_GIFT;

	return since && atomic_load(&a.tree->given) - atomic_load(&a.tree->full_given) < some && tree_now_ns() - since < FULL_NS;
}

/* Who waited in vain last is still on its way out, and what it holds will be free. */
static bool another_ends(uint64_t turn)
{
	const struct tree_process *p = &a.tree->process[(uint32_t)turn % TREE_SLOTS];

	return turn && (uint32_t)turn != a.slot && atomic_load(&p->began_ns) == TREE_ENDING && tree_is_alive(p);
}

/* One at a time: what it held may be enough for the others. => false: it has been another one's turn since */
static bool give_up(uint64_t turn)
{
	const uint64_t began = atomic_load(&a.me->began_ns);

	if (a.control->request.full_waits)
		return true;
	atomic_store(&a.me->began_ns, TREE_ENDING);
	if (!atomic_compare_exchange_strong(&a.tree->full_turn, &turn, ((turn >> 32) + 1) << 32 | a.slot)) {
		atomic_store(&a.me->began_ns, began);
		return false;
	}
	atomic_store(&a.tree->full_given, atomic_load(&a.tree->given));
	atomic_store(&a.tree->full_ns, tree_now_ns());
	return true;
}

bool account_alone(void)
{
	return !a.budget || atomic_load_explicit(&a.tree->alive, memory_order_relaxed) < 2;
}

bool account_wait(void)
{
	const struct timespec tick = { 0, 5000000 };
	uint64_t given = atomic_load(&a.tree->given), turn = atomic_load(&a.tree->full_turn);
	unsigned rounds = 0;

	if (account_alone())
		return account_grow();
	for (int i = 0; i < (is_full() ? FULL_WAITS : WAITS) || !give_up(turn); i++) {
		const uint64_t now = atomic_load(&a.tree->given), last = atomic_load(&a.tree->full_turn);

		if (account_grow())
			return true;
		if ((now != given || last != turn || another_ends(last)) && rounds++ < MOST_ROUNDS)
			i = 0;
		given = now;
		turn = last;
		sys_call2(SYS_nanosleep, (long)&tick, 0);
	}
	return false;
}

void account_give(uint64_t bytes)
{
	uint64_t lease = atomic_load(&a.me->lease);

	bytes = bytes < lease ? bytes : lease;
	atomic_fetch_sub(&a.me->lease, bytes);
	atomic_fetch_sub(&a.tree->leased, bytes);
	atomic_fetch_add(&a.tree->given, bytes);
}

uint64_t account_asked(uint64_t unused, uint64_t faults)
{
	uint32_t bell = a.budget ? atomic_load_explicit(&a.me->bell, memory_order_relaxed) : a.heard;
	uint64_t lease, alive, fair, give = 0, since;

	if (bell == a.heard)
		return 0;
	a.heard = bell;
	since = faults - a.faults;
	a.faults = faults;
	lease = atomic_load(&a.me->lease);
	alive = atomic_load(&a.tree->alive);
	fair = a.budget / (alive ? alive : 1);
	if (unused >= LEAST_STEP)
		give = unused;
	else if (!since)
		give = lease / 8 > LEAST_STEP ? lease / 8 : LEAST_STEP;
	else if (lease > fair)
		give = lease / 16 < lease - fair ? lease / 16 : lease - fair;
	if (lease < least() + give)
		give = lease > least() ? lease - least() : 0;
	return give / MACHINE_PAGE_SIZE * MACHINE_PAGE_SIZE;
}

/* ---- what is shared with the parent --------------------------------------------------------------------------------------- */

/* The number of kB behind `name` in the text. */
static uint64_t field(const char *text, const char *name)
{
	uint64_t n = 0;

	for (; *text; text++) {
		const char *t = text, *m = name;

		while (*m && *t == *m)
			t++, m++;
		if (*m || (text[-1] != '\n'))
			continue;
		for (; *t == ' '; t++)
			;
		for (; *t >= '0' && *t <= '9'; t++)
			n = n * 10 + (uint64_t)(*t - '0');
		return n << 10;
	}
	return 0;
}

/* Bytes shared with the parent. With two who share a page, each has half of it in its Pss; what the parent's lease holds is the whole page. Without
 * the parent nobody's does. => false: not to be had */
static bool measure(uint64_t *shared)
{
	static char text[2048];
	uint64_t all, mine;
	long n = 0, fd = sys_open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		n = sys_read((int)fd, text + 1, sizeof(text) - 2);
		sys_close((int)fd);
	}
	if (n <= 0)
		return false;
	text[0] = '\n';
	text[n + 1] = 0;
	all = field(text + 1, "Anonymous:");
	mine = field(text + 1, "Pss_Anon:");
	*shared = all > mine ? all - mine : 0;
	if (tree_is_alive(&a.tree->process[a.parent]))
		*shared *= 2;
	return true;
}

void account_tick(void)
{
	uint64_t now, credit = atomic_load_explicit(&a.credit, memory_order_relaxed), shared, every;
	bool asked = a.inherited && atomic_load_explicit(&a.me->bell, memory_order_relaxed) != a.heard;

	if ((!credit && !asked) || (now = tree_now_ns()) < a.tick_ns)
		return;
	if (measure(&shared)) {
		if (shared < a.inherited)
			a.inherited = shared;
		/* Asked, what is shared need not be leased. */
		if (asked || credit > a.inherited)
			atomic_store(&a.credit, a.inherited);
	}
	every = 10 * (tree_now_ns() - now);
	atomic_store(&a.tick_every, every > (uint64_t)TICK_NS ? every : TICK_NS);
	a.tick_ns = now + atomic_load(&a.tick_every);
}

/* ---- the warden ------------------------------------------------------------------------------------------------------------ */

/* => nanoseconds until it looks without being asked; 0: never */
static uint64_t patience(void)
{
	const uint64_t is_short = atomic_load(&a.short_every);

	if (atomic_load(&a.credit))
		return atomic_load(&a.tick_every) % 1000000000;
	return is_short;
}

static void warden(void)
{
	uint32_t seen = atomic_load(&a.me->bell);

	sys_call3(SYS_close_range, 0, 0xffffffffL, 0);
	sys_call5(SYS_prctl, 15 /* PR_SET_NAME */, (long)"minflt-warden", 0, 0, 0);
	for (;;) {
		const uint64_t ns = patience();
		const struct timespec tick = { 0, (long)ns };

		sys_call4(SYS_futex, (long)&a.me->bell, 0 /* FUTEX_WAIT, shared */, (long)seen, ns ? (long)&tick : 0);
		if (atomic_load(&a.me->bell) == seen && !ns)
			continue;
		seen = atomic_load(&a.me->bell);
		atomic_load(&a.knock)();
	}
}

void account_company(void (*knock)(void))
{
	uint32_t none = 0;
	uint64_t *tls;

	if (!a.budget)
		return;
	atomic_store(&a.knock, knock);
	if (account_allowance() < WATCHED || !atomic_compare_exchange_strong(&a.warded, &none, 1))
		return;
	if (!a.stack) {
		a.stack = (unsigned long)machine_alloc(STACK);
		a.tls = (unsigned long)machine_alloc(MACHINE_PAGE_SIZE);
	}
	if (!a.stack || !a.tls) {
		atomic_store(&a.warded, 0);
		return;
	}
	tls = (uint64_t *)(a.tls + 512);
	tls[0] = tls[2] = a.tls + 512;
	if (thread_start((void *)(a.stack + STACK), tls, warden) < 0)
		atomic_store(&a.warded, 0);
}

unsigned account_threads(void)
{
	return atomic_load_explicit(&a.warded, memory_order_relaxed);
}
