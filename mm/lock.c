/* SPDX-License-Identifier: MIT
 *
 * lock.c - sleeping and spinning over machine_wait() and machine_wake().
 *
 * The reader/writer lock is one word:
 *
 *      bit 31   a writer holds it
 *      bit 30   a writer waits: no new readers (writers first)
 *      bit 29   readers wait
 *      bit 28   the readers' turn: a writer has let go while readers waited; no writer until one reader has been in
 *      0..27    readers that hold it
 *
 * So writers in a loop and readers in a loop take turns. The turn begins in up_write() and ends when the first reader
 * leaves: those who come in until then share it, those who come later wait behind the writers.
 *
 * Every unlock that makes room while somebody waits wakes all of them; they compete anew. With the few threads of one process this
 * is cheaper than queues.
 */
#include "mm/lock.h"

#include <limits.h>

#define SPINS 100

void spin_lock_slow(spinlock_t *lock)
{
	for (int i = 0; i < SPINS; i++) {
		machine_relax();
		if (!(atomic_load_explicit(&lock->state, memory_order_relaxed) & SPIN_HELD) &&
		    !(atomic_fetch_or_explicit(&lock->state, SPIN_HELD, memory_order_acquire) & SPIN_HELD))
			return;
	}
	/* Who has slept can't know whether others still do: he says that somebody does. */
	while (atomic_fetch_or_explicit(&lock->state, SPIN_HELD | SPIN_SLEEP, memory_order_acquire) & SPIN_HELD)
		machine_wait(&lock->state, SPIN_HELD | SPIN_SLEEP);
}

/* The lock is free already, and may be gone: only its address counts. */
void spin_unlock_slow(spinlock_t *lock)
{
	machine_wake(&lock->state, 1);
}

/* The lock is free already, and may be somebody else's by now. The one who is woken sets the bit again. */
void spin_unlock_global_slow(spinlock_t *lock)
{
	atomic_fetch_and_explicit(&lock->state, ~SPIN_SLEEP, memory_order_relaxed);
	machine_wake(&lock->state, 1);
}

#ifdef MM_DEBUG
static _Thread_local unsigned char held[NR_LOCK_ORDER];

void lock_acquired(unsigned order)
{
	MM_BUG_ON(order == ORDER_NONE);
	for (unsigned i = order; i < NR_LOCK_ORDER; i++)
		MM_BUG_ON(held[i]);
	held[order]++;
}

void lock_released(unsigned order)
{
	MM_BUG_ON(!held[order]);
	held[order]--;
}

void lock_assert_none_held(void)
{
	for (unsigned i = 0; i < NR_LOCK_ORDER; i++)
		MM_BUG_ON(held[i]);
}
#endif

#define WRITER  RWSEM_WRITER
#define WWAIT   RWSEM_WWAIT
#define RWAIT   RWSEM_RWAIT
#define RTURN   RWSEM_RTURN
#define READERS RWSEM_READERS

void down_read_slow(struct rw_semaphore *sem)
{
	unsigned c = atomic_load_explicit(&sem->state, memory_order_relaxed);

	for (;;) {
		if (!(c & (WRITER | WWAIT)) || (c & RTURN)) {
			if (atomic_compare_exchange_weak_explicit(&sem->state, &c, c + 1, memory_order_acquire,
								  memory_order_relaxed))
				return;
		} else if (!(c & RWAIT)) {
			atomic_compare_exchange_weak_explicit(&sem->state, &c, c | RWAIT, memory_order_relaxed,
							      memory_order_relaxed);
		} else {
			machine_wait(&sem->state, c);
			c = atomic_load_explicit(&sem->state, memory_order_relaxed);
		}
	}
}

bool down_read_trylock(struct rw_semaphore *sem)
{
	unsigned c = atomic_load_explicit(&sem->state, memory_order_relaxed);

	while (!(c & WRITER))
		if (atomic_compare_exchange_weak_explicit(&sem->state, &c, c + 1, memory_order_acquire, memory_order_relaxed))
			return true;
	return false;
}

void up_read_slow(struct rw_semaphore *sem)
{
	unsigned c = atomic_load_explicit(&sem->state, memory_order_relaxed), new;

	do
		new = (c - 1) & ~RTURN;
	while (!atomic_compare_exchange_weak_explicit(&sem->state, &c, new, memory_order_release, memory_order_relaxed));
	if (unlikely(!(new & READERS) && (new & (WWAIT | RWAIT))))
		machine_wake(&sem->state, INT_MAX);
}

void down_write(struct rw_semaphore *sem)
{
	unsigned c = atomic_load_explicit(&sem->state, memory_order_relaxed);

	lock_assert_none_held();
	for (;;) {
		if (!(c & (WRITER | READERS | RTURN))) {
			/* The other writers that wait say so again when they wake up. */
			if (atomic_compare_exchange_weak_explicit(&sem->state, &c, (c & ~WWAIT) | WRITER, memory_order_acquire,
								  memory_order_relaxed))
				return;
		} else if (!(c & WWAIT)) {
			atomic_compare_exchange_weak_explicit(&sem->state, &c, c | WWAIT, memory_order_relaxed,
							      memory_order_relaxed);
		} else {
			machine_wait(&sem->state, c);
			c = atomic_load_explicit(&sem->state, memory_order_relaxed);
		}
	}
}

/* Leaves WWAIT: it belongs to a writer that sleeps and that only the readers' turn may delay. A writer that slept on
 * the word without WWAIT set (its bit was taken over by the one that unlocks now) is woken too and sets it again.
 * RWAIT is set only while a reader is on his way in, so that somebody will end the turn. */
void up_write(struct rw_semaphore *sem)
{
	unsigned c = atomic_load_explicit(&sem->state, memory_order_relaxed), new;

	do
		new = (c & ~(WRITER | RWAIT)) | (c & RWAIT ? RTURN : 0);
	while (!atomic_compare_exchange_weak_explicit(&sem->state, &c, new, memory_order_release, memory_order_relaxed));
	if (unlikely(c & (WWAIT | RWAIT)))
		machine_wake(&sem->state, INT_MAX);
}

bool rwsem_is_locked(struct rw_semaphore *sem)
{
	return atomic_load_explicit(&sem->state, memory_order_relaxed) & (WRITER | READERS);
}

bool rwsem_is_write_locked(struct rw_semaphore *sem)
{
	return atomic_load_explicit(&sem->state, memory_order_relaxed) & WRITER;
}

void mmap_read_lock(struct mm_struct *mm)
{
	down_read(&mm->mmap_lock);
}

void mmap_read_unlock(struct mm_struct *mm)
{
	up_read(&mm->mmap_lock);
}

void mmap_write_lock(struct mm_struct *mm)
{
	down_write(&mm->mmap_lock);
}

void mmap_write_unlock(struct mm_struct *mm)
{
	up_write(&mm->mmap_lock);
}

/* => the page is locked and the caller's, or only seen unlocked for a moment (take = false). */
static void page_wait(struct page *page, bool take)
{
	lock_assert_none_held();
	for (;;) {
		unsigned f = atomic_load_explicit(&page->flags, memory_order_relaxed);

		if (!(f & PG_locked)) {
			if (!take || trylock_page(page))
				return;
		} else if (!(f & PG_waiters)) {
			atomic_compare_exchange_weak(&page->flags, &f, f | PG_waiters);
		} else {
			machine_wait(&page->flags, f);
		}
	}
}

void __lock_page(struct page *page)
{
	page_wait(page, true);
}

void wait_on_page_locked(struct page *page)
{
	page_wait(page, false);
}

void unlock_page(struct page *page)
{
	unsigned f = atomic_fetch_and_explicit(&page->flags, ~(PG_locked | PG_waiters), memory_order_release);

	MM_DEBUG_ON(!(f & PG_locked));
	if (unlikely(f & PG_waiters))
		machine_wake(&page->flags, INT_MAX);
}
