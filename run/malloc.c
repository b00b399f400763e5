/* SPDX-License-Identifier: MIT
 *
 * malloc.c - the program's malloc: jemalloc, linked into the runtime, over the interposed calls. glibc's own would reach the kernel by
 * internal calls that nobody can interpose.
 *
 * Settings: memory that the program has freed is given back soon (it would only be compressed), by MADV_DONTNEED (muzzy pages would be
 * compressed as well); no huge pages.
 */
#undef _FILE_OFFSET_BITS
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "run/runtime.h"

EXPORT const char *malloc_conf;
EXPORT const char *malloc_conf = "dirty_decay_ms:1000,muzzy_decay_ms:0,thp:never,metadata_thp:disabled,background_thread:false";

/* jemalloc's own, renamed when the runtime is linked. What is added here is what programs have from glibc: 16-byte alignment of the smallest
 * blocks too, errno where jemalloc leaves it, and requests beyond the host's overcommit rule that fail. */
HIDDEN void *jem_malloc(size_t size);
HIDDEN void *jem_calloc(size_t nr, size_t size);
HIDDEN void *jem_realloc(void *p, size_t size);
HIDDEN void *jem_memalign(size_t alignment, size_t size);
HIDDEN void *jem_valloc(size_t size);
HIDDEN void *jem_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off);

#define SMALLEST 16 /* the first size class whose blocks are aligned to 16 */

EXPORT void *malloc(size_t size)
{
	return jem_malloc(size < SMALLEST ? SMALLEST : size);
}

EXPORT void *calloc(size_t nr, size_t size)
{
	size_t bytes;

	if (!__builtin_mul_overflow(nr, size, &bytes) && bytes < SMALLEST)
		return jem_calloc(1, SMALLEST);
	return jem_calloc(nr, size);
}

static void *or_enomem(void *p)
{
	if (!p)
		errno = ENOMEM;
	return p;
}

EXPORT void *realloc(void *p, size_t size)
{
	if (!size && p) { /* frees, as glibc does */
		free(p);
		return NULL;
	}
	return or_enomem(jem_realloc(p, size < SMALLEST ? SMALLEST : size));
}

/* jemalloc wants a power of two; glibc takes the next one. */
EXPORT void *memalign(size_t alignment, size_t size)
{
	size_t power = sizeof(void *);

	if (alignment > SIZE_MAX / 2 + 1) {
		errno = EINVAL;
		return NULL;
	}
	while (power < alignment)
		power *= 2;
	return or_enomem(jem_memalign(power, size));
}

EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
	return memalign(alignment, size);
}

EXPORT void *valloc(size_t size)
{
	return or_enomem(jem_valloc(size));
}

/* jemalloc maps with MAP_NORESERVE where the host overcommits; then nothing would ever be refused. */
void *jem_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	return mmap(addr, len, prot, flags & ~MAP_NORESERVE, fd, off);
}

/* glibc has these beside jemalloc's set; its own would hand out memory that jemalloc's free() doesn't know. */
EXPORT void *pvalloc(size_t size)
{
	size_t rounded = page_up(size ? size : 1);

	if (rounded < size) {
		errno = ENOMEM;
		return NULL;
	}
	return or_enomem(jem_memalign(PAGE, rounded));
}

EXPORT int malloc_trim(size_t pad)
{
	return 0;
}
