/* SPDX-License-Identifier: MIT
 *
 * malloc.c - the program's malloc: jemalloc, linked into the runtime, over the interposed calls. glibc's own would reach the kernel by
 * internal calls that nobody can interpose.
 *
 * Settings: memory that the program has freed is given back soon (it would only be compressed), by MADV_DONTNEED (muzzy pages would be
 * compressed as well); no huge pages.
 */
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "run/runtime.h"

EXPORT const char *malloc_conf;
EXPORT const char *malloc_conf = "dirty_decay_ms:1000,muzzy_decay_ms:0,thp:never,metadata_thp:disabled,background_thread:false";

/* glibc has these beside jemalloc's set; its own would hand out memory that jemalloc's free() doesn't know. */
EXPORT void *pvalloc(size_t size)
{
	size_t rounded = page_up(size ? size : 1);

	if (rounded < size) {
		errno = ENOMEM;
		return NULL;
	}
	return memalign(PAGE, rounded);
}

EXPORT int malloc_trim(size_t pad)
{
	return 0;
}
