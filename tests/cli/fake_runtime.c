/* SPDX-License-Identifier: MIT
 *
 * fake_runtime.c - a runtime that manages nothing, for testing the command: it keeps the contract of run/control.h and, told so by
 * MINFLT_FAKE, breaks it in the ways that the command has to notice.
 *
 *   (unset)  reports RUNNING with figures that a test can recognise
 *   mute     never reports
 *   failed   reports FAILED with a message and ends the program with status 125
 *   full     reports FULL with a message and ends the program by SIGKILL
 *   messages reports RUNNING and leaves two messages
 *   hang     never returns from the constructor
 *   crash    dies of SIGSEGV in the constructor
 *   request  prints the request as JSON on standard output
 */
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "run/control.h"

static void fill(struct mf_counters *n)
{
	n->mm.maj_flt = 1001;
	n->mm.min_flt = 1002;
	n->mm.swapped_out = 1003;
	n->mm.swapped_in = 1004;
	n->mm.clean_evictions = 1005;
	n->mm.swapin_around_pages = 1006;
	n->mm.frames_peak = 1024;
	n->swap.slots_used = 300;
	n->swap.same_filled = 100;
	n->swap.incompressible = 7;
	n->swap.bytes_stored = 200 * 1024; /* 200 pages: ratio 4 */
	n->swap.bytes_pool_peak = 5 << 20;
	n->swap.damaged = 3;
	n->metadata_bytes = 1 << 20;
	n->total_peak = 10 << 20;
	n->touched_peak = 32 << 20;
	n->uses_move = 1;
}

static void print_request(const struct mf_request *r)
{
	char line[512];
	int len = snprintf(line, sizeof(line),
		"{\"memory\": %" PRIu64 ", \"resident\": %" PRIu64 ", \"pool\": %" PRIu64 ", \"codec\": %" PRIu32 ", \"level\": %" PRId32
		", \"no_move\": %" PRIu32 ", \"check_every\": %" PRIu32 ", \"around\": %" PRIu32 ", \"uffd_source\": %" PRIu32 "}\n",
		r->memory, r->resident, r->pool, r->codec, r->level, r->no_move, r->check_every, r->around, r->uffd_source);

	if (write(STDOUT_FILENO, line, (size_t)len) != len)
		_exit(99);
}

/* Descriptors in the range that the contract promises, unless the limit leaves no such room. */
static int check_contract(const struct mf_control *c, int control_fd, int runtime_fd)
{
	char name[64], start[96];
	const char *preload = getenv("LD_PRELOAD");
	struct stat st;

	snprintf(name, sizeof(name), "/proc/self/fd/%d", runtime_fd);
	snprintf(start, sizeof(start), "%s:", name);
	if (!preload || (strcmp(preload, name) != 0 && strncmp(preload, start, strlen(start)) != 0))
		return 91;
	if (c->magic != MF_CONTROL_MAGIC || c->version != MF_CONTROL_VERSION || c->state != MF_STATE_ASKED)
		return 92;
	if (fstat(control_fd, &st) || (size_t)st.st_size != control_bytes(&c->request))
		return 93;
	return 0;
}

static void act(struct mf_control *c, const char *how)
{
	fill(&c->counters);
	if (strcmp(how, "failed") == 0) {
		strcpy(c->message, "the budget is too small; give at least 6M\n");
		atomic_store(&c->state, MF_STATE_FAILED);
		_exit(125);
	}
	if (strcmp(how, "full") == 0) {
		strcpy(c->message, "the pool is full; give more --memory\n");
		atomic_store(&c->state, MF_STATE_FULL);
		raise(SIGKILL);
	}
	if (strcmp(how, "messages") == 0) {
		strcpy(c->message, "page 0x1000 is damaged\npage 0x2000 is damaged\n");
		c->nr_messages = 2;
	}
	if (strcmp(how, "request") == 0)
		print_request(&c->request);
	if (strcmp(how, "hang") == 0)
		for (;;)
			pause();
	if (strcmp(how, "crash") == 0)
		raise(SIGSEGV);
	if (strcmp(how, "mute") != 0)
		atomic_store(&c->state, MF_STATE_RUNNING);
}

__attribute__((constructor)) static void start(void)
{
	const char *control = getenv("MINFLT_CONTROL");
	const char *how = getenv("MINFLT_FAKE");
	struct mf_control *c;
	int control_fd, runtime_fd, wrong;

	if (!control || sscanf(control, "%d:%d", &control_fd, &runtime_fd) != 2)
		return;
	c = mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE, MAP_SHARED, control_fd, 0);
	if (c == MAP_FAILED)
		_exit(90);
	wrong = check_contract(c, control_fd, runtime_fd);
	if (wrong)
		_exit(wrong);
	close(control_fd);
	close(runtime_fd);
	unsetenv("MINFLT_CONTROL");
	if (c->had_ld_preload)
		setenv("LD_PRELOAD", c->ld_preload, 1);
	else
		unsetenv("LD_PRELOAD");
	act(c, how ? how : "");
}
