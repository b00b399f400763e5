/* SPDX-License-Identifier: MIT
 *
 * tree_watch.c - the command looks after the tree of processes. See tree_watch.h; the tree itself is lib/tree.h.
 */
#include "cmd/tree_watch.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/size.h"
#include "cmd/strangers.h"
#include "lib/tree.h"
#include "lib/tree_pid.h"

#define PAGE         4096ULL
#define DEAD_NS      300000000ULL /* a process whose threads end one after the other has ended after that */
#define USUAL        (2ULL << 20) /* what every program has: libraries' data, stacks */

static const char *const reasons[TREE_NR_WHY] = {
	[TREE_WHY_STATIC] = "statically linked",
	[TREE_WHY_CLASS] = "a 32-bit program",
	[TREE_WHY_MACHINE] = "for another architecture",
	[TREE_WHY_LINKER] = "for another libc",
	[TREE_WHY_PRIVILEGED] = "runs with other privileges",
	[TREE_WHY_NO_PROC] = "no /proc where it was executed",
	[TREE_WHY_NO_FD] = "no descriptors to be had where it was executed",
	[TREE_WHY_TOO_LONG] = "its arguments and environment leave no room",
	[TREE_WHY_START] = "its runtime could not start",
	[TREE_WHY_SILENT] = "its runtime did not report for duty",
	[TREE_WHY_BARE] = "executed by a system call outside of libc",
	[TREE_WHY_FILTER] = "under a seccomp filter",
	[TREE_WHY_SANITIZER] = "built with a sanitizer",
	[TREE_WHY_AUDIT] = "audited by LD_AUDIT",
	[TREE_WHY_FULL] = "too many processes at once",
};

/* => false: there is no such process (0: nobody knows which), or it has ended and waits for its parent */
static bool runs(pid_t pid)
{
	char name[64], text[512];
	const char *paren;
	FILE *f;
	size_t n;

	if (pid <= 0 || (kill(pid, 0) && errno == ESRCH))
		return false;
	snprintf(name, sizeof(name), "/proc/%d/stat", (int)pid);
	f = fopen(name, "re");
	if (!f)
		return false;
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	paren = strrchr(text, ')');
	return paren && paren[1] && paren[2] && paren[2] != 'Z' && paren[2] != 'X';
}

/* Its handler has ended and the process has not: another program runs in its place, unseen by the runtime. */
static void look_at_dead(struct mf_control *c, unsigned slot)
{
	struct mf_tree *t = control_tree(c);
	struct tree_process *p = &t->process[slot];
	const pid_t pid = tree_known_pid(p);
	char name[64] = "?", path[64];
	uint32_t dead = TREE_DEAD;
	FILE *f;

	if (tree_now_ns() - atomic_load(&p->since_ns) < DEAD_NS || !atomic_compare_exchange_strong(&p->state, &dead, TREE_BUSY))
		return;
	if (runs(pid)) {
		snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
		f = fopen(path, "re");
		if (f && fgets(name, sizeof(name), f))
			name[strcspn(name, "\n")] = '\0';
		if (f)
			fclose(f);
		strangers_met(pid);
		tree_note(t, name, TREE_WHY_BARE);
	}
	tree_free(t, slot);
}

/* Anonymous memory of this process beside what its runtime keeps, and what it had when that started. */
static uint64_t unmanaged(const struct tree_process *p, pid_t pid)
{
	char name[64], text[256], *at;
	unsigned long resident = 0, shared = 0;
	uint64_t ours;
	FILE *f;

	if (!atomic_load(&p->start_bytes) || pid <= 0)
		return 0; /* not started yet, or who knows where */
	snprintf(name, sizeof(name), "/proc/%d/statm", (int)pid);
	f = fopen(name, "re");
	if (!f)
		return 0;
	if (fgets(text, sizeof(text), f)) {
		(void)strtoul(text, &at, 10); /* the address space */
		resident = strtoul(at, &at, 10);
		shared = strtoul(at, &at, 10);
	}
	fclose(f);
	ours = atomic_load(&p->real_pages) * PAGE + atomic_load(&p->other_bytes) + atomic_load(&p->start_bytes);
	return (resident - shared) * PAGE > ours ? (resident - shared) * PAGE - ours : 0;
}

/* Only what is there at two looks: figures that come one after the other from a process at work fit together only nearly. */
static uint64_t unmanaged_twice(const struct tree_process *p, unsigned slot, pid_t pid)
{
	static struct { uint64_t bytes; uint32_t pid; } before[TREE_SLOTS];
	const uint32_t own = atomic_load(&p->pid);
	const uint64_t now = unmanaged(p, pid), then = before[slot].pid == own ? before[slot].bytes : 0;

	before[slot].bytes = now;
	before[slot].pid = own;
	return now < then ? now : then;
}

void tree_watch(struct mf_control *c, int control_fd)
{
	struct mf_tree *t = control_tree(c);
	unsigned top = atomic_load(&t->top);
	uint64_t sum = 0, excess = 0, one;

	tree_reap(c);
	for (unsigned i = 0; i < top && i < TREE_SLOTS; i++) {
		struct tree_process *p = &t->process[i];

		if (atomic_load(&p->state) == TREE_DEAD)
			look_at_dead(c, i);
		if (atomic_load(&p->state) != TREE_RUNNING || !tree_is_alive(p))
			continue;
		one = unmanaged_twice(p, i, tree_host_pid(t, i, control_fd));
		sum += one;
		excess += one > USUAL ? one - USUAL : 0;
	}
	if (sum > atomic_load(&t->unmanaged_peak))
		atomic_store(&t->unmanaged_peak, sum);
	if (excess > atomic_load(&t->excess_peak))
		atomic_store(&t->excess_peak, excess);
	strangers_look(c, control_fd);
}

static void raise_to(uint64_t *value, uint64_t least)
{
	if (*value < least)
		*value = least;
}

/* Who has executed something that never reported: the program itself, and then whom nobody can ask about. */
static void end_executions(struct mf_tree *t, pid_t main_pid, bool others)
{
	for (unsigned i = 0; i < atomic_load(&t->top) && i < TREE_SLOTS; i++) {
		struct tree_process *p = &t->process[i];
		const pid_t pid = tree_known_pid(p);
		uint32_t state = TREE_EXEC;

		if ((pid == main_pid || (others && !runs(pid))) && atomic_compare_exchange_strong(&p->state, &state, TREE_BUSY)) {
			tree_note(t, p->name, TREE_WHY_SILENT);
			tree_free(t, i);
		}
	}
}

void tree_end(struct mf_control *c, pid_t main_pid)
{
	struct mf_tree *t = control_tree(c);
	struct mf_counters sum;

	end_executions(t, main_pid, false);
	tree_reap(c);
	end_executions(t, main_pid, true);
	tree_sum(c, &sum);
	raise_to(&sum.total_peak, t->peak[TREE_KEPT]);
	raise_to(&sum.mm.frames_peak, t->peak[TREE_FRAMES] / PAGE);
	raise_to(&sum.swap.bytes_pool_peak, t->peak[TREE_POOL]);
	raise_to(&sum.touched_peak, t->peak[TREE_TOUCHED]);
	raise_to(&sum.managed_peak, t->peak[TREE_MANAGED]);
	c->counters = sum;
}

static void tell_notes(const struct mf_tree *t)
{
	char text[1024];
	size_t at = 0;
	uint64_t told = 0;

	for (unsigned i = 0; i < TREE_NOTES && at < sizeof(text) - 128; i++) {
		const struct tree_note *n = &t->note[i];

		if (!n->times || n->why >= TREE_NR_WHY)
			continue;
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%.*s (%s", told ? ", " : "", TREE_NAME, n->name, reasons[n->why]);
		if (n->times > 1)
			at += (size_t)snprintf(text + at, sizeof(text) - at, ", %" PRIu32 " times", n->times);
		at += (size_t)snprintf(text + at, sizeof(text) - at, ")");
		told += n->times;
	}
	if (told && t->alone > told)
		complain(0, "ran without minflt: %s and %" PRIu64 " more", text, t->alone - told);
	else if (told)
		complain(0, "ran without minflt: %s", text);
}

void tree_tell(const struct mf_control *control)
{
	struct mf_control *c = (struct mf_control *)(uintptr_t)control;
	const struct mf_tree *t = control_tree(c);
	const uint64_t budget = c->request.memory ? c->request.memory : c->request.resident + c->request.pool;
	char size[SIZE_TEXT];

	tell_notes(t);
	if (t->excess_peak > budget / 10)
		complain(0, "%s of anonymous memory was outside of minflt (stacks, executable memory, changed pages of file mappings, or mapped by system calls "
			    "outside of libc, as Go's runtime does) and beside the budget", size_format(size, t->unmanaged_peak));
}
