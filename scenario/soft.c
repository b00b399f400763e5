/* SPDX-License-Identifier: MIT
 *
 * soft.c - processes as address spaces of the engine; every equation of its invariants holds after every step. See
 * soft.h.
 */
#include "scenario/soft.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine/soft/soft.h"
#include "mm/internal.h" /* the rule of reuse, the counters of one mm */

#define HEAP_BEGIN 0x10000000UL

struct soft_process {
	struct mm_struct *mm;
	unsigned long brk;
};

struct soft {
	struct soft_params params;
	struct soft_process processes[SCN_MAX_PROCESSES];
	unsigned nr_processes;
	unsigned char **slots; /* [nr_slots + 1], NULL: holds nothing */
	char message[100];
};

/* ---- swap in ordinary memory ------------------------------------------------------------------------------------- */

static int slot_store(void *ctx, unsigned long slot, const void *page)
{
	struct soft *s = ctx;

	if (s->slots[slot] && !memcmp(s->slots[slot], page, SCN_PAGE))
		return 1;
	if (!s->slots[slot])
		s->slots[slot] = malloc(SCN_PAGE);
	if (!s->slots[slot])
		return -ENOSPC;
	memcpy(s->slots[slot], page, SCN_PAGE);
	return 0;
}

static int slot_load(void *ctx, unsigned long slot, void *page)
{
	const struct soft *s = ctx;

	if (!s->slots[slot])
		return -EIO;
	memcpy(page, s->slots[slot], SCN_PAGE);
	return 0;
}

static void slot_free(void *ctx, unsigned long slot)
{
	struct soft *s = ctx;

	free(s->slots[slot]);
	s->slots[slot] = NULL;
}

static const struct swap_ops slot_ops = { slot_store, slot_load, slot_free };

/* ---- life -------------------------------------------------------------------------------------------------------- */

struct soft *soft_create(const struct soft_params *params)
{
	struct soft *s = mm_geometry_find(params->arch) ? calloc(1, sizeof(*s)) : NULL;

	if (!s)
		return NULL;
	s->params = *params;
	s->slots = calloc(params->nr_slots + 1, sizeof(*s->slots));
	if (!s->slots) {
		free(s);
		return NULL;
	}
	return s;
}

static void forget_slots(struct soft *s)
{
	for (unsigned long i = 0; i <= s->params.nr_slots; i++) {
		free(s->slots[i]);
		s->slots[i] = NULL;
	}
}

void soft_destroy(struct soft *s)
{
	forget_slots(s);
	free(s->slots);
	free(s);
}

static int start(void *ctx)
{
	struct soft *s = ctx;
	const struct mm_params params = {
		.geometry = mm_geometry_find(s->params.arch),
		.nr_frames = s->params.nr_frames,
		.nr_swap_slots = s->params.nr_slots,
		.swap = &slot_ops,
		.swap_ctx = s,
		.anon_around = 1,
		.swapin_around = 1,
	};
	int err;

	s->nr_processes = 0;
	s->message[0] = 0;
	err = soft_machine_init(s->params.nr_frames, s->params.caps);
	if (!err)
		err = mm_init(&params);
	if (err)
		return err;
	mm_reuse_rule = REUSE_6; /* the host's, whose faults are compared */
	s->processes[0] = (struct soft_process){ mm_alloc(), HEAP_BEGIN };
	if (!s->processes[0].mm)
		return -ENOMEM;
	s->nr_processes = 1;
	return 0;
}

static void finish(void *ctx)
{
	struct soft *s = ctx;

	for (unsigned i = 0; i < s->nr_processes; i++)
		if (s->processes[i].mm)
			mmput(s->processes[i].mm);
	if (s->nr_processes)
		mm_check_invariants();
	soft_machine_exit();
	forget_slots(s);
}

/* ---- operations -------------------------------------------------------------------------------------------------- */

static const char *unsupported(void *ctx, const struct scn_op *op)
{
	switch (op->verb) {
	case SCN_FILE:
	case SCN_WARM:
	case SCN_COLD:
	case SCN_TRUNCATE:
	case SCN_REMAP_FILE_PAGES:
	case SCN_PREAD:
	case SCN_PWRITE:
	case SCN_MINCORE:
		return "files: the engine has none yet";
	case SCN_MMAP:
		if (*op->file)
			return "files: the engine has none yet";
		return op->flags & SCN_SHARED ? "shared anonymous memory: the engine has none yet" : NULL;
	default:
		return NULL;
	}
}

/* => ENOMEM or 0 */
static int do_fork(struct soft *s, struct soft_process *parent, unsigned child)
{
	struct mm_struct *mm;

	mmap_write_lock(parent->mm);
	mm = dup_mm(parent->mm);
	mmap_write_unlock(parent->mm);
	if (!mm)
		return ENOMEM;
	s->processes[child] = (struct soft_process){ mm, parent->brk };
	s->nr_processes = child + 1;
	return 0;
}

static void do_reclaim(unsigned long nr)
{
	while (nr) {
		unsigned long done = try_to_free_pages(nr);

		if (!done)
			break;
		nr -= done < nr ? done : nr;
	}
}

static int run(void *ctx, unsigned process, const struct scn_op *op, struct scn_outcome *out)
{
	struct soft *s = ctx;
	struct soft_process *p = &s->processes[process];
	struct mm_struct *mm = p->mm;
	unsigned long minor = atomic_load(&mm->min_flt), major = atomic_load(&mm->maj_flt);

	switch (op->verb) {
	case SCN_READ:
	case SCN_WRITE:
		soft_access(mm, op, out);
		break;
	case SCN_FORK:
		out->error = do_fork(s, p, op->child);
		break;
	case SCN_EXIT:
		mmput(s->processes[op->child].mm);
		s->processes[op->child].mm = NULL;
		break;
	case SCN_RECLAIM:
		do_reclaim(op->len);
		break;
	default:
		out->error = soft_call(mm, op, &p->brk, HEAP_BEGIN, &out->result);
		break;
	}
	out->min_flt = atomic_load(&mm->min_flt) - minor;
	out->maj_flt = atomic_load(&mm->maj_flt) - major;
	mm_check_invariants();
	return 0;
}

static int peek(void *ctx, unsigned process, const struct scn_op *area, uint8_t *value)
{
	const struct soft *s = ctx;

	return soft_peek(s->processes[process].mm, area->addr, value);
}

static long rss(void *ctx, unsigned process, const struct scn_range *ranges, size_t nr)
{
	const struct soft *s = ctx;

	return atomic_load(&s->processes[process].mm->rss[MM_ANONPAGES]);
}

static unsigned long heap(void *ctx, unsigned process)
{
	return HEAP_BEGIN;
}

static const char *message(void *ctx)
{
	const struct soft *s = ctx;

	return s->message;
}

const struct scn_machine soft_machine = {
	SCN_5, start, unsupported, run, peek, rss, heap, message, finish,
};
