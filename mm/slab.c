/* SPDX-License-Identifier: MIT
 *
 * slab.c - objects of fixed size out of chunks of machine_alloc().
 *
 * Chunks are never given back, and an object's memory stays of its type: a free anon_vma's lock may still be taken by somebody
 * who has read a stale pointer (rmap.c). Free objects are linked through a field of their own (`link`), the rest of the
 * object keeps what it had. Debug builds poison the rest where that is allowed.
 */
#include "mm/internal.h"

#define CHUNK 4096UL /* a cache touches all of its chunk: 7 of 16 KiB were a tenth of what 32 MiB of frames cost */

void kmem_cache_init(struct kmem_cache *cache, size_t size, size_t link, bool typesafe)
{
	spin_lock_init(&cache->lock, ORDER_LEAF);
	cache->size = (size + 7) & ~7UL;
	cache->link = link;
	cache->typesafe = typesafe;
	cache->free = NULL;
	cache->in_use = 0;
}

static void **link_of(const struct kmem_cache *cache, void *obj)
{
	return (void **)((char *)obj + cache->link);
}

/* => cache->lock held; something is free afterwards, or false */
static bool refill(struct kmem_cache *cache)
{
#ifdef MM_DEBUG
	size_t chunk = cache->size; /* every allocation may fail */
#else
	size_t chunk = cache->size < CHUNK ? CHUNK : cache->size;
#endif
	char *mem = machine_alloc(chunk);

	if (!mem)
		return false;
	for (size_t at = 0; at + cache->size <= chunk; at += cache->size) {
		*link_of(cache, mem + at) = cache->free;
		cache->free = mem + at;
	}
	return true;
}

/* => zeroed but for `typesafe` caches (only fresh memory is zero there), or NULL */
void *kmem_cache_alloc(struct kmem_cache *cache)
{
	void *obj = NULL;

	spin_lock(&cache->lock);
	if (cache->free || refill(cache)) {
		obj = cache->free;
		cache->free = *link_of(cache, obj);
		cache->in_use++;
	}
	spin_unlock(&cache->lock);
	if (obj && !cache->typesafe)
		memset(obj, 0, cache->size);
	return obj;
}

void kmem_cache_free(struct kmem_cache *cache, void *obj)
{
#ifdef MM_DEBUG
	if (!cache->typesafe)
		memset(obj, 0x6b, cache->size);
#endif
	spin_lock(&cache->lock);
	*link_of(cache, obj) = cache->free;
	cache->free = obj;
	cache->in_use--;
	spin_unlock(&cache->lock);
}
