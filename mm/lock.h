/* SPDX-License-Identifier: MIT
 *
 * lock.h - the engine's locks, and their order in one place.
 *
 * Outer to inner. A thread that holds one may take only those below it; page locks below a page-table lock are only tried.
 *
 *      mmap_lock            mm_struct, reader/writer, sleeps       the mapping tree; readers are counted for each processor
 *      invalidate_lock      address_space, reader/writer, sleeps   page cache: who fills it against who truncates it
 *      page lock            struct page, PG_locked, sleeps         identity in the swap cache and in the page cache, eviction, I/O
 *      i_mmap_lock          address_space                          reverse map of a file
 *      anon_vma lock        anon_vma root                          reverse map
 *      page_table_lock      mm_struct                              upper tables, vma->anon_vma
 *      pte lock             ptdesc, one per last-level table       entries; held over machine_map() and machine_unmap()
 *      swap_lock            global                                 slots and swap cache
 *      tree_lock            address_space                          the tree of its pages
 *      cpu lock             mm_cpu                                 free frames of a processor, and its pages on their way to the LRU lists
 *      lru.lock             global                                 LRU lists
 *      zone lock            global                                 buddy lists, frames in use
 *      leaf locks           slabs, streams, list of mms            nothing is taken below them
 */
#ifndef MF_MM_LOCK_H
#define MF_MM_LOCK_H

#include "mm/mm_types.h"

/* What is declared here belongs to the engine alone: no detour over the global offset table. */
#pragma GCC visibility push(hidden)

enum lock_order {
	ORDER_NONE, ORDER_I_MMAP, ORDER_ANON_VMA, ORDER_PAGE_TABLE, ORDER_PTE, ORDER_PTE_NESTED, ORDER_SWAP, ORDER_TREE, ORDER_CPU, ORDER_LRU,
	ORDER_ZONE, ORDER_LEAF, NR_LOCK_ORDER
};

#define SPIN_HELD  1u
#define SPIN_SLEEP 2u

void spin_lock_slow(spinlock_t *lock);
void spin_unlock_slow(spinlock_t *lock);
void spin_unlock_global_slow(spinlock_t *lock);

#ifdef MM_DEBUG
/* Debug builds keep the set of held orders per thread and stop at the first lock that is taken out of order. */
void lock_acquired(unsigned order);
void lock_released(unsigned order);
void lock_assert_none_held(void);
#define lock_order_set(lock, n) ((lock)->order = (n))
#else
#define lock_acquired(order) do { } while (0)
#define lock_released(order) do { } while (0)
#define lock_assert_none_held() do { } while (0)
#define lock_order_set(lock, n) do { } while (0)
#endif

static inline void spin_lock_init(spinlock_t *lock, enum lock_order order)
{
	atomic_init(&lock->state, 0);
	lock_order_set(lock, order);
	(void)order;
}

static inline bool spin_trylock(spinlock_t *lock)
{
	if (atomic_fetch_or_explicit(&lock->state, SPIN_HELD, memory_order_acquire) & SPIN_HELD)
		return false;
	lock_acquired(lock->order);
	return true;
}

static inline void spin_lock(spinlock_t *lock)
{
	if (unlikely(atomic_fetch_or_explicit(&lock->state, SPIN_HELD, memory_order_acquire) & SPIN_HELD))
		spin_lock_slow(lock);
	lock_acquired(lock->order);
}

static inline void spin_unlock(spinlock_t *lock)
{
	lock_released(lock->order);
	if (unlikely(atomic_exchange_explicit(&lock->state, 0, memory_order_release) != SPIN_HELD))
		spin_unlock_slow(lock);
}

/* The same for a lock that is never freed, two instructions instead of four: it is looked at again after it is free. */
static inline void spin_unlock_global(spinlock_t *lock)
{
	lock_released(lock->order);
	if (unlikely(atomic_fetch_sub_explicit(&lock->state, SPIN_HELD, memory_order_release) != SPIN_HELD))
		spin_unlock_global_slow(lock);
}

/* A second page-table lock, of another address space or of the other end of a move. mmap_lock is held for writing, so
 * that nobody takes the two in the other order. */
static inline void spin_lock_nested(spinlock_t *lock)
{
	if (unlikely(atomic_fetch_or_explicit(&lock->state, SPIN_HELD, memory_order_acquire) & SPIN_HELD))
		spin_lock_slow(lock);
	lock_acquired(ORDER_PTE_NESTED);
}

static inline void spin_unlock_nested(spinlock_t *lock)
{
	lock_released(ORDER_PTE_NESTED);
	if (unlikely(atomic_exchange_explicit(&lock->state, 0, memory_order_release) != SPIN_HELD))
		spin_unlock_slow(lock);
}

static inline bool spin_is_locked(spinlock_t *lock)
{
	return atomic_load_explicit(&lock->state, memory_order_relaxed) & SPIN_HELD;
}

/* Bits of the word; lock.c tells what they are for. */
#define RWSEM_WRITER  (1u << 31)
#define RWSEM_WWAIT   (1u << 30)
#define RWSEM_RWAIT   (1u << 29)
#define RWSEM_RTURN   (1u << 28)
#define RWSEM_READERS (RWSEM_RTURN - 1)

void down_read_slow(struct rw_semaphore *sem);
void up_read_slow(struct rw_semaphore *sem);

static inline void down_read(struct rw_semaphore *sem)
{
	unsigned c = atomic_load_explicit(&sem->state, memory_order_relaxed);

	lock_assert_none_held();
	if (unlikely(c & ~RWSEM_READERS) ||
	    unlikely(!atomic_compare_exchange_strong_explicit(&sem->state, &c, c + 1, memory_order_acquire, memory_order_relaxed)))
		down_read_slow(sem);
}

static inline void up_read(struct rw_semaphore *sem)
{
	unsigned c = atomic_load_explicit(&sem->state, memory_order_relaxed);

	if (unlikely(c & ~RWSEM_READERS) ||
	    unlikely(!atomic_compare_exchange_strong_explicit(&sem->state, &c, c - 1, memory_order_release, memory_order_relaxed)))
		up_read_slow(sem);
}

void down_write(struct rw_semaphore *sem);
void up_write(struct rw_semaphore *sem);
bool rwsem_is_locked(struct rw_semaphore *sem);

/* mmap_lock: the flags are those of the word above, but the readers stand in mm->percpu, one count for each processor. Instead of their bits: */
#define MMAP_LOOK (1u << 27)        /* a writer looks whether readers are in: nobody comes in meanwhile */
#define MMAP_LEFT (MMAP_LOOK - 1)   /* goes round when a reader leaves while flags are set, so that who waits for it doesn't sleep over it */

void mmap_read_lock_slow(struct mm_struct *mm, struct mm_percpu *percpu);
void mmap_read_unlock_slow(struct mm_struct *mm);
bool mmap_read_trylock(struct mm_struct *mm); /* goes before writers that wait; spinlocks may be held */
bool mmap_is_locked(struct mm_struct *mm);
bool mmap_is_write_locked(struct mm_struct *mm);

/* One line of memory that is the processor's own, and one that is only read. The two steps must be seen in this order by a writer, which sets a flag
 * and then looks at the counts. */
static inline void mmap_read_lock_on(struct mm_struct *mm, struct mm_percpu *percpu)
{
	lock_assert_none_held();
	atomic_fetch_add_explicit(&percpu->readers, 1, memory_order_seq_cst);
	if (unlikely(atomic_load_explicit(&mm->mmap_lock.state, memory_order_seq_cst) & ~MMAP_LEFT))
		mmap_read_lock_slow(mm, percpu);
}

/* The count may be another one than at the beginning: the sum is what counts. => somebody has a reference to mm for a moment longer */
static inline void mmap_read_unlock_on(struct mm_struct *mm, struct mm_percpu *percpu)
{
	atomic_fetch_sub_explicit(&percpu->readers, 1, memory_order_seq_cst);
	if (unlikely(atomic_load_explicit(&mm->mmap_lock.state, memory_order_seq_cst) & ~MMAP_LEFT))
		mmap_read_unlock_slow(mm);
}

#define mmap_assert_locked(mm)       MM_DEBUG_ON(!mmap_is_locked(mm))
#define mmap_assert_write_locked(mm) MM_DEBUG_ON(!mmap_is_write_locked(mm))
#define assert_spin_locked(lock)     MM_DEBUG_ON(!spin_is_locked(lock))

/* The page lock. Nobody who holds a lock from anon_vma lock downwards may sleep for it. */
void __lock_page(struct page *page);
void unlock_page(struct page *page);
void wait_on_page_locked(struct page *page);

static inline bool trylock_page(struct page *page)
{
	return !(atomic_fetch_or_explicit(&page->flags, PG_locked, memory_order_acquire) & PG_locked);
}

static inline void lock_page(struct page *page)
{
	if (!trylock_page(page))
		__lock_page(page);
}

#pragma GCC visibility pop

#endif
