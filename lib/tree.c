/* SPDX-License-Identifier: MIT
 * tree.c - the processes of one run. See tree.h. */
#include "lib/tree.h"

#include <stdatomic.h>
#include <time.h>

#include "lib/tree_pid.h"
#include "machine/sys.h"
#include "mm/errno.h"

#define WORDS     (sizeof(struct mf_counters) / 8)
#define EXEC_NS   10000000000ULL /* a program that was executed has so long to report */
#define DEAD_NS   300000000ULL
#define EARLY_NS  1000000000ULL /* one that has ended within that may have been killed on its way */

_Static_assert(sizeof(struct mf_counters) % 8 == 0, "words of 64 bits");

/* What a counter is: most are sums. Gauges, each at the end of its process, are added up as well, but don't begin anew in a forked child. Of the others
 * the largest counts. */
enum kind { SUM, GAUGE, PEAK };
#define WORD(field) [offsetof(struct mf_counters, field) / 8]
static const unsigned char kinds[WORDS] = {
	WORD(mm.swap_slots_used) = GAUGE, WORD(mm.swap_cached) = GAUGE, WORD(mm.page_tables) = PEAK, WORD(mm.frames_used) = PEAK,
	WORD(mm.frames_peak) = PEAK, WORD(swap.slots_used) = GAUGE, WORD(swap.same_filled) = GAUGE, WORD(swap.incompressible) = GAUGE,
	WORD(swap.bytes_stored) = GAUGE, WORD(swap.bytes_pool) = PEAK, WORD(swap.bytes_pool_peak) = PEAK, WORD(swap.bytes_meta) = PEAK,
	WORD(swap.file_pages) = GAUGE, WORD(swap.file_stored) = GAUGE, WORD(swap.file_bytes) = GAUGE, WORD(swap.file_bytes_peak) = PEAK,
	WORD(swap.file_ring) = PEAK, WORD(frame_limit) = PEAK, WORD(metadata_bytes) = PEAK, WORD(total_bytes) = PEAK, WORD(total_peak) = PEAK,
	WORD(managed_bytes) = PEAK, WORD(managed_peak) = PEAK, WORD(touched_peak) = PEAK, WORD(uses_move) = PEAK, WORD(started_ns) = PEAK,
};

uint64_t tree_now_ns(void)
{
	struct timespec t = { 0, 0 };

	sys_call2(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- counters -------------------------------------------------------------------------------------------------------- */

static void raise_to(_Atomic uint64_t *peak, uint64_t value)
{
	uint64_t seen = atomic_load_explicit(peak, memory_order_relaxed);

	while (seen < value && !atomic_compare_exchange_weak(peak, &seen, value))
		;
}

/* from: one that has ended. */
static void fold(struct mf_counters *into, struct mf_counters *from)
{
	_Atomic uint64_t *to = (_Atomic uint64_t *)into;
	uint64_t *n = (uint64_t *)from;

	for (size_t i = 0; i < WORDS; i++) {
		if (kinds[i] == PEAK)
			raise_to(&to[i], n[i]);
		else if (n[i])
			atomic_fetch_add_explicit(&to[i], n[i], memory_order_relaxed);
		n[i] = 0;
	}
}

void tree_since(struct mf_counters *n, const struct mf_counters *base)
{
	uint64_t *to = (uint64_t *)n;
	const uint64_t *b = (const uint64_t *)base;

	for (size_t i = 0; i < WORDS; i++)
		if (kinds[i] == SUM)
			to[i] -= b[i];
}

struct mf_counters *tree_counters(struct mf_control *c, unsigned slot)
{
	return slot == TREE_MAIN ? &c->counters : &control_tree(c)->process[slot].counters;
}

void tree_sum(struct mf_control *c, struct mf_counters *sum)
{
	struct mf_tree *t = control_tree(c);
	unsigned top = atomic_load(&t->top);

	*sum = t->done;
	if (top > TREE_SLOTS)
		top = TREE_SLOTS;
	for (unsigned i = 0; i < (top ? top : 1); i++) {
		struct mf_counters copy = *tree_counters(c, i);

		if (i == TREE_MAIN || atomic_load(&t->process[i].state) >= TREE_RUNNING)
			fold(sum, &copy);
	}
}

void tree_gauges(struct mf_tree *t, unsigned slot, const uint64_t value[TREE_NR_GAUGES])
{
	struct tree_process *p = &t->process[slot];

	for (int i = 0; i < TREE_NR_GAUGES; i++) {
		uint64_t before;

		if (atomic_load_explicit(&p->gauge[i], memory_order_relaxed) == value[i])
			continue;
		before = atomic_exchange(&p->gauge[i], value[i]); /* several threads of a process may tell at once */
		raise_to(&t->peak[i], atomic_fetch_add(&t->now[i], value[i] - before) + value[i] - before);
	}
}

/* ---- slots ----------------------------------------------------------------------------------------------------------- */

bool tree_is_alive(const struct tree_process *p)
{
	uint32_t owner = atomic_load(&p->link.word);

	return owner && !(owner & TREE_OWNER_DIED);
}

/* The owner is gone. Any number of callers at once. */
static void give_back(struct mf_tree *t, unsigned slot)
{
	static const uint64_t nothing[TREE_NR_GAUGES];
	struct tree_process *p = &t->process[slot];
	uint64_t lease = atomic_exchange(&p->lease, 0);
	uint32_t mailbox = slot + 1;

	if (lease)
		atomic_fetch_sub(&t->leased, lease);
	/* It was there when the tree was found full, so that was before. */
	if (lease > TREE_GIFT && atomic_load(&p->began_ns) < atomic_load(&t->full_ns))
		atomic_fetch_add(&t->given, lease);
	atomic_compare_exchange_strong(&t->mailbox_owner, &mailbox, 0);
	tree_gauges(t, slot, nothing);
	atomic_store(&p->real_pages, 0);
	atomic_store(&p->other_bytes, 0);
	atomic_store(&p->start_bytes, 0);
	if (atomic_exchange(&p->link.word, 0))
		atomic_fetch_sub(&t->alive, 1);
}

/* State BUSY. */
static void settle(struct mf_control *c, unsigned slot)
{
	give_back(control_tree(c), slot);
	fold(&control_tree(c)->done, tree_counters(c, slot));
}

static bool take(struct tree_process *p, uint32_t from)
{
	return atomic_compare_exchange_strong(&p->state, &from, TREE_BUSY);
}

void tree_leave(struct mf_control *c, unsigned slot)
{
	struct tree_process *p = &control_tree(c)->process[slot];

	settle(c, slot);
	atomic_store(&p->since_ns, tree_now_ns());
	atomic_store(&p->state, TREE_ALONE);
}

static atomic_bool at_home;

void tree_at_home(bool home)
{
	atomic_store(&at_home, home);
}

/* This one can be asked about, and has ended and been waited for. */
static bool is_known_gone(const struct tree_process *p)
{
	const int pid = tree_known_pid(p);

	return pid && atomic_load(&at_home) && sys_call2(SYS_kill, pid, 0) == -ESRCH;
}

/* Or nobody can ask, and it is taken for granted after a while. */
static bool is_gone(const struct tree_process *p)
{
	return tree_known_pid(p) ? is_known_gone(p) : tree_now_ns() - atomic_load(&p->since_ns) > EXEC_NS;
}

/* The program that was executed: has it ended, or does it run without having reported? */
static bool exec_is_over(struct mf_tree *t, struct tree_process *p)
{
	const uint64_t since = atomic_load(&p->since_ns), age = tree_now_ns() - since;
	const bool gone = is_known_gone(p);

	if ((!gone && age < EXEC_NS) || !take(p, TREE_EXEC))
		return false;
	if (atomic_load(&p->since_ns) != since) { /* another one's by now */
		atomic_store(&p->state, TREE_EXEC);
		return false;
	}
	if (!gone || age >= EARLY_NS)
		tree_note(t, p->name, TREE_WHY_SILENT);
	return true;
}

unsigned tree_reap(struct mf_control *c)
{
	struct mf_tree *t = control_tree(c);
	unsigned top = atomic_load(&t->top), nr = 0;

	for (unsigned i = 0; i < top && i < TREE_SLOTS; i++) {
		struct tree_process *p = &t->process[i];
		uint32_t state = atomic_load(&p->state);
		bool died = atomic_load(&p->link.word) & TREE_OWNER_DIED;

		if (state == TREE_RUNNING && died && take(p, state)) {
			settle(c, i);
			atomic_store(&p->since_ns, tree_now_ns());
			atomic_store(&p->state, is_gone(p) ? TREE_FREE : TREE_DEAD);
			nr++;
		} else if (state == TREE_ALONE && (died || !atomic_load(&p->link.word)) && take(p, state)) {
			settle(c, i);
			atomic_store(&p->state, is_gone(p) ? TREE_FREE : TREE_ALONE);
		} else if (state == TREE_EXEC && exec_is_over(t, p)) {
			settle(c, i);
			atomic_store(&p->state, is_gone(p) ? TREE_FREE : TREE_ALONE); /* it was noted */
			nr++;
		} else if (state == TREE_EXEC && died) {
			give_back(t, i);
		} else if (state == TREE_DEAD && tree_now_ns() - atomic_load(&p->since_ns) > 4 * DEAD_NS && take(p, TREE_DEAD)) {
			atomic_store(&p->state, TREE_FREE); /* the command has ended */
		}
	}
	return nr;
}

int tree_claim(struct mf_tree *t, uint32_t pid, bool home)
{
	for (uint32_t state = TREE_FREE;; state = TREE_DEAD) {
		for (unsigned i = 1; i < TREE_SLOTS; i++) {
			struct tree_process *p = &t->process[i];
			uint32_t top = atomic_load(&t->top);

			if (atomic_load(&p->state) != state || !take(p, state))
				continue;
			while (top < i + 1 && !atomic_compare_exchange_weak(&t->top, &top, i + 1))
				;
			atomic_store(&p->pid, pid);
			atomic_store(&p->home, home);
			atomic_store(&p->host_pid, 0);
			return (int)i;
		}
		if (state == TREE_DEAD)
			return -ENOSPC;
	}
}

void tree_run(struct mf_tree *t, unsigned slot, uint32_t tid)
{
	struct tree_process *p = &t->process[slot];
	uint32_t alive = atomic_fetch_add(&t->alive, 1) + 1, peak = atomic_load(&t->alive_peak), top = atomic_load(&t->top);

	while (peak < alive && !atomic_compare_exchange_weak(&t->alive_peak, &peak, alive))
		;
	while (top < slot + 1 && !atomic_compare_exchange_weak(&t->top, &top, slot + 1))
		;
	atomic_store(&p->link.word, tid);
	atomic_store(&p->state, TREE_RUNNING);
}

int tree_take_over(struct mf_control *c, unsigned slot, uint32_t pid)
{
	struct tree_process *p;

	if (slot >= TREE_SLOTS)
		return -ENOENT;
	p = &control_tree(c)->process[slot];
	if (atomic_load(&p->pid) != pid || !take(p, TREE_EXEC))
		return -ENOENT;
	settle(c, slot);
	return (int)slot;
}

void tree_free(struct mf_tree *t, unsigned slot)
{
	atomic_store(&t->process[slot].state, TREE_FREE);
}

void tree_unexec(struct mf_tree *t, unsigned slot, uint32_t pid)
{
	struct tree_process *p = &t->process[slot];

	if (atomic_load(&p->pid) == pid && (take(p, TREE_EXEC) || take(p, TREE_ALONE)))
		tree_free(t, slot);
}

/* What its last owner left in the mailbox is worth nothing. => false: the compressor is at work on it and doesn't come to an end */
static bool empty_mailbox(struct mailbox *box, uint32_t nr)
{
	const struct timespec tick = { 0, 100000 };

	for (uint32_t i = 0; i < nr; i++) {
		for (int wait = 0; atomic_load(&box->line[i].state) != MAIL_FREE; wait++) {
			uint32_t ready = MAIL_READY, done = MAIL_DONE;

			if (wait == 100)
				return false;
			if (!atomic_compare_exchange_strong(&box->line[i].state, &ready, MAIL_FREE) &&
			    !atomic_compare_exchange_strong(&box->line[i].state, &done, MAIL_FREE))
				sys_call2(SYS_nanosleep, (long)&tick, 0);
		}
	}
	return true;
}

bool tree_take_mailbox(struct mf_control *c, unsigned slot)
{
	struct mf_tree *t = control_tree(c);
	uint32_t nobody = 0, me = slot + 1;

	if (!c->request.mailbox_entries || c->request.mailbox_entries > MAILBOX_MAX)
		return false;
	if (atomic_load(&t->mailbox_owner))
		tree_reap(c);
	if (!atomic_compare_exchange_strong(&t->mailbox_owner, &nobody, me))
		return false;
	if (empty_mailbox(control_mailbox(c), c->request.mailbox_entries))
		return true;
	atomic_compare_exchange_strong(&t->mailbox_owner, &me, 0);
	return false;
}

/* ---- notes ----------------------------------------------------------------------------------------------------------- */

static const char *last_part(const char *path)
{
	const char *name = path;

	for (; *path; path++)
		if (*path == '/' && path[1])
			name = path + 1;
	return name;
}

static void copy_name(char to[TREE_NAME], const char *path)
{
	size_t n = 0;

	for (path = last_part(path); *path && n < TREE_NAME - 1; path++)
		to[n++] = *path;
	to[n] = 0;
}

void tree_set_name(struct tree_process *p, const char *path)
{
	copy_name(p->name, path);
}

static bool same(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

int tree_note(struct mf_tree *t, const char *path, enum tree_why why)
{
	char name[TREE_NAME];
	uint32_t at;

	copy_name(name, path);
	atomic_fetch_add(&t->alone, 1);
	for (at = 0; at < TREE_NOTES; at++) {
		struct tree_note *n = &t->note[at];

		if (atomic_load(&n->times) && n->why == why && same(n->name, name)) {
			atomic_fetch_add(&n->times, 1);
			return (int)at;
		}
	}
	at = atomic_fetch_add(&t->nr_notes, 1);
	if (at >= TREE_NOTES)
		return -1;
	t->note[at].why = why;
	copy_name(t->note[at].name, name);
	atomic_store(&t->note[at].times, 1);
	return (int)at;
}

void tree_take_back_note(struct mf_tree *t, int note)
{
	atomic_fetch_sub(&t->alone, 1);
	if (note >= 0)
		atomic_fetch_sub(&t->note[note].times, 1);
}
