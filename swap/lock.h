/* SPDX-License-Identifier: MIT
 *
 * lock.h - the pool's locks: one word, spin a moment, then sleep on a futex.
 *
 * Order, outer to inner. A thread that holds one may take only those below it.
 *
 *      slot pin       bit in a slot (pool.c)     the slot and the bytes of its object; compaction only tries it
 *      mail lock      struct mail                the mailbox; whoever has it only tries pins
 *      file lock      struct spill               segments, buffers, windows; whoever has it only tries pins
 *      codec state    struct codec_state         one compression
 *      class lock     struct zclass              blocks of one class: lists, free objects, owners
 *      block lock     struct zpool               unused blocks, reserve, bytes in use
 *
 * Compaction goes against the order - it finds a slot by its object, under the class lock - and therefore passes over
 * a slot that is pinned. All are free while no call runs: a process that forks between calls leaves its child a
 * usable pool.
 */
#ifndef MF_SWAP_LOCK_H
#define MF_SWAP_LOCK_H

#include <stdatomic.h>
#include <stdbool.h>

#include "swap/sys.h"

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define LOCK_SPINS 200 /* 0.9 us at 2.5 GHz: longer than an allocation; for a page being compressed it pays to sleep */

struct lock {
	_Atomic uint32_t word; /* 0 free, 1 held, 2 held and somebody sleeps */
};

static inline bool lock_try(struct lock *l)
{
	uint32_t free = 0;

	return atomic_compare_exchange_strong_explicit(&l->word, &free, 1, memory_order_acquire, memory_order_relaxed);
}

static __attribute__((noinline, unused)) void lock_slow(struct lock *l)
{
	for (int i = 0; i < LOCK_SPINS; i++) {
		if (atomic_load_explicit(&l->word, memory_order_relaxed) == 0 && lock_try(l))
			return;
		sys_relax();
	}
	while (atomic_exchange_explicit(&l->word, 2, memory_order_acquire) != 0)
		sys_futex_wait(&l->word, 2);
}

static inline void lock_take(struct lock *l)
{
	if (unlikely(!lock_try(l)))
		lock_slow(l);
}

static inline void lock_drop(struct lock *l)
{
	if (unlikely(atomic_exchange_explicit(&l->word, 0, memory_order_release) == 2))
		sys_futex_wake(&l->word, 1);
}

#endif
