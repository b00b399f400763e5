/* SPDX-License-Identifier: MIT
 * swap_spill.h - a pool with a file, for tests. */
#ifndef MF_TESTS_SWAP_SPILL_H
#define MF_TESTS_SWAP_SPILL_H

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "swap/pool.h"

struct spilled {
	struct swap_pool *pool;
	struct swap_pool_params params;
	int fd;
	bool mapped; /* the file is to be mapped, too */
};

/* params.file.bytes and what else differs from zero is set by the caller; the rest here. */
static inline void spilled_open(struct spilled *t)
{
	const uint32_t segments = (uint32_t)(t->params.file.bytes / SWAP_FILE_SEGMENT);
	char name[] = "/tmp/minflt-spill.XXXXXX";
	int err;

	t->fd = mkstemp(name);
	assert_true(t->fd >= 0 && !unlink(name) && !ftruncate(t->fd, (off_t)t->params.file.bytes));
	t->params.file.share = mmap(NULL, share_bytes(segments), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(t->params.file.share, MAP_FAILED);
	if (t->mapped) {
		t->params.file.map = mmap(NULL, t->params.file.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, t->fd, 0);
		assert_ptr_not_equal(t->params.file.map, MAP_FAILED);
	}
	t->pool = swap_pool_create(&t->params, &err);
	assert_non_null(t->pool);
	swap_pool_open_file(t->pool, t->fd);
	assert_false(t->pool->spill->lost);
}

static inline void spilled_close(struct spilled *t)
{
	swap_pool_destroy(t->pool);
	munmap(t->params.file.share, share_bytes((uint32_t)(t->params.file.bytes / SWAP_FILE_SEGMENT)));
	if (t->mapped)
		munmap(t->params.file.map, t->params.file.bytes);
	close(t->fd);
}

#endif
