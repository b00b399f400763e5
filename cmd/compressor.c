/* SPDX-License-Identifier: MIT
 * compressor.c - see compressor.h. The work itself is swap/compressor.c; here is its thread. */
#include "cmd/compressor.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/prctl.h>

#include "swap/mailbox.h"

/* An entry is two pages: a 256th of the budget. */
#define PAGES_PER_ENTRY 512
#define LEAST_ENTRIES   (2 * MAILBOX_BATCH)
#define LEAST_PAGES     2048 /* a smaller budget has no mailbox */

static struct {
	struct mailbox *box;
	uint32_t nr;
	enum swap_codec codec;
	int level;
	atomic_bool stop;
	bool running;
	pthread_t thread;
} compressor;

uint32_t compressor_entries(const struct mf_request *request)
{
	uint64_t budget = request->memory ? request->memory : request->resident;
	uint64_t entries = budget / 4096 / PAGES_PER_ENTRY;
	cpu_set_t cpus;

	if (request->codec == SWAP_NONE || sched_getaffinity(0, sizeof(cpus), &cpus) || CPU_COUNT(&cpus) < 2)
		return 0;
	if (budget / 4096 < LEAST_PAGES)
		return 0;
	if (entries < LEAST_ENTRIES)
		return LEAST_ENTRIES;
	return entries > MAILBOX_MAX ? MAILBOX_MAX : (uint32_t)entries;
}

static void *compress(void *arg)
{
	prctl(PR_SET_NAME, "minflt-compress");
	mailbox_compress(compressor.box, compressor.nr, compressor.codec, compressor.level, &compressor.stop);
	return NULL;
}

void compressor_start(struct mf_control *control)
{
	const struct mf_request *r = &control->request;

	/* Read once: from here on the program may write there. */
	compressor.nr = r->mailbox_entries;
	compressor.codec = (enum swap_codec)r->codec;
	compressor.level = r->level;
	compressor.box = control_mailbox(control);
	if (!compressor.nr)
		return;
	atomic_store(&compressor.stop, false);
	compressor.running = !pthread_create(&compressor.thread, NULL, compress, NULL);
}

void compressor_stop(void)
{
	if (!compressor.running)
		return;
	atomic_store(&compressor.stop, true);
	mailbox_wake(compressor.box);
	pthread_join(compressor.thread, NULL);
	compressor.running = false;
}
