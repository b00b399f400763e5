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
#include "mm/internal.h" /* the counters of one mm */

#define HEAP_BEGIN 0x10000000UL

struct soft {
	struct soft_params params;
	struct soft_process processes[SCN_MAX_PROCESSES];
	unsigned nr_processes;
	struct soft_files files;
	struct soft_calls calls;
	unsigned long nr_operations;
	unsigned char **slots; /* [nr_slots + 1], NULL: holds nothing */
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

static enum scn_kernel kernel_of(const struct soft_params *p)
{
	return !p->kernel || !strcmp(p->kernel, "5") ? SCN_5 : !strcmp(p->kernel, "2.6") ? SCN_2_6 : SCN_2_0;
}

struct soft *soft_create(const struct soft_params *params)
{
	struct soft *s = mm_geometry_find(params->arch) ? calloc(1, sizeof(*s)) : NULL;

	if (!s)
		return NULL;
	s->params = *params;
	s->files.flags = params->no_notify ? 0 : MAPPING_NOTIFY;
	s->files.ra_pages = params->ra_pages;
	s->files.nr_frames = params->nr_frames;
	s->calls = (struct soft_calls){ &s->files, HEAP_BEGIN };
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

/* Without a word about it, pages are reused as the host's kernel does, whose faults are compared. */
static unsigned rules_of(const struct soft_params *p)
{
	const unsigned reuse = MM_REUSE_5_4 | MM_REUSE_5_15 | MM_REUSE_6;

	return p->rules & reuse ? p->rules : p->rules | MM_REUSE_6;
}

static int start(void *ctx)
{
	struct soft *s = ctx;
	const struct mm_params params = {
		.geometry = mm_geometry_find(s->params.arch),
		.nr_frames = s->params.nr_frames,
		.nr_swap_slots = s->params.nr_slots,
		.swap = s->params.nr_slots ? &slot_ops : NULL,
		.swap_ctx = s,
		.anon_around = 1,
		.swapin_around = 1,
		.kernel = s->params.kernel,
		.rules = rules_of(&s->params),
	};
	int err;

	s->nr_processes = 0;
	s->nr_operations = 0;
	s->files.why[0] = 0;
	err = soft_machine_init(s->params.nr_frames, s->params.caps);
	if (!err)
		err = mm_init(&params);
	if (err)
		return err;
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
	soft_files_forget(&s->files);
	if (s->nr_processes)
		mm_check_invariants();
	soft_machine_exit();
	forget_slots(s);
}

/* ---- operations -------------------------------------------------------------------------------------------------- */

static const char *unsupported(void *ctx, const struct scn_op *op)
{
	return NULL;
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
	if (child >= s->nr_processes)
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

/* A check goes through all mappings and frames: in long scenarios the checks grow farther apart, so that their number grows by the logarithm of
 * the length only. */
static unsigned long check_interval(const struct soft *s)
{
	return s->params.check_every ? s->params.check_every : s->nr_operations < 1024 ? 1 : s->nr_operations / 128;
}

static int run(void *ctx, unsigned process, const struct scn_op *op, struct scn_outcome *out)
{
	struct soft *s = ctx;
	struct soft_process *p = &s->processes[process];
	struct mm_struct *mm = p->mm;
	unsigned long minor = mm_min_flt(mm), major = mm_maj_flt(mm), reads = soft_file_reads();

	switch (op->verb) {
	case SCN_READ:
	case SCN_WRITE:
		soft_access(mm, op, out);
		break;
	case SCN_SWEEP:
		soft_sweep(mm, op, out);
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
	case SCN_FILE:
	case SCN_WARM:
	case SCN_COLD:
	case SCN_TRUNCATE:
		out->error = soft_file_call(&s->files, op);
		if (out->error < 0)
			return -EIO;
		break;
	default:
		out->error = soft_call(&s->calls, p, op, out);
		break;
	}
	out->min_flt = mm_min_flt(mm) - minor;
	out->maj_flt = mm_maj_flt(mm) - major;
	out->reads = soft_file_reads() - reads;
	if (++s->nr_operations % check_interval(s) == 0)
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
	const struct mm_struct *mm = s->processes[process].mm;

	return get_mm_counter(mm, MM_ANONPAGES) + get_mm_counter(mm, MM_FILEPAGES) + get_mm_counter(mm, MM_SHMEMPAGES);
}

static unsigned long heap(void *ctx, unsigned process)
{
	return HEAP_BEGIN;
}

static const char *message(void *ctx)
{
	const struct soft *s = ctx;

	return s->files.why;
}

const struct scn_machine soft_machine = {
	SCN_5, start, unsupported, run, peek, rss, heap, message, finish,
};
static const struct scn_machine soft_machine_2_6 = {
	SCN_2_6, start, unsupported, run, peek, rss, heap, message, finish,
};
static const struct scn_machine soft_machine_2_0 = {
	SCN_2_0, start, unsupported, run, peek, rss, heap, message, finish,
};

const struct scn_machine *soft_machine_of(const struct soft *s)
{
	enum scn_kernel kernel = kernel_of(&s->params);

	return kernel == SCN_5 ? &soft_machine : kernel == SCN_2_6 ? &soft_machine_2_6 : &soft_machine_2_0;
}

struct mm_struct *soft_mm(const struct soft *s, unsigned process)
{
	return s->processes[process].mm;
}

unsigned soft_nr_processes(const struct soft *s)
{
	return s->nr_processes;
}
