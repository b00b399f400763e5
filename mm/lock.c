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
 * mmap_lock has the same flags, but counts its readers by processors (lock.h): faults of several threads have no line in common that they write to. A
 * writer pays for that with a look at all the counts.
 *
 * So writers in a loop and readers in a loop take turns. The turn begins in up_write() and ends when the first reader
 * leaves: those who come in until then share it, those who come later wait behind the writers.
 *
 * Every unlock that makes room while somebody waits wakes all of them; they compete anew. With the few threads of one process this
 * is cheaper than queues.
 */
#include "mm/lock.h"
#include "mm/percpu.h"

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

/* ---- mmap_lock ----------------------------------------------------------------------------------------------------- */

#define LOOK MMAP_LOOK
#define LEFT MMAP_LEFT

/* Who has come in before a flag was set is in the sum; who comes and goes again may be. */
static unsigned mmap_readers(struct mm_struct *mm)
{
	unsigned sum = 0;

	for_each_cpu(cpu)
		sum += atomic_load_explicit(&mm->percpu[cpu].readers, memory_order_seq_cst);
	return sum;
}

/* A writer may have seen one reader more than there is now. */
static void mmap_reader_left(struct mm_struct *mm, unsigned end_of_turn)
{
	unsigned c = atomic_load_explicit(&mm->mmap_lock.state, memory_order_relaxed), new;

	do
		new = (c & ~(LEFT | end_of_turn)) | ((c + 1) & LEFT);
	while (!atomic_compare_exchange_weak_explicit(&mm->mmap_lock.state, &c, new, memory_order_seq_cst, memory_order_relaxed));
	if (c & WWAIT)
		machine_wake(&mm->mmap_lock.state, INT_MAX);
}

void mmap_read_unlock_slow(struct mm_struct *mm)
{
	mmap_reader_left(mm, RTURN);
}

static bool mmap_readers_may(unsigned c)
{
	return !(c & (WRITER | LOOK)) && (!(c & WWAIT) || c & RTURN);
}

/* => percpu->readers has risen already */
void mmap_read_lock_slow(struct mm_struct *mm, struct mm_percpu *percpu)
{
	atomic_uint *state = &mm->mmap_lock.state;
	unsigned c;

	while (!mmap_readers_may(atomic_load_explicit(state, memory_order_seq_cst))) {
		atomic_fetch_sub_explicit(&percpu->readers, 1, memory_order_seq_cst);
		mmap_reader_left(mm, 0);
		while (!mmap_readers_may(c = atomic_load_explicit(state, memory_order_relaxed)))
			if (c & RWAIT || atomic_compare_exchange_strong_explicit(state, &c, c | RWAIT, memory_order_relaxed, memory_order_relaxed))
				machine_wait(state, c | RWAIT);
		atomic_fetch_add_explicit(&percpu->readers, 1, memory_order_seq_cst);
	}
}

bool mmap_read_trylock(struct mm_struct *mm)
{
	struct mm_percpu *percpu = this_percpu(mm);

	atomic_fetch_add_explicit(&percpu->readers, 1, memory_order_seq_cst);
	if (!(atomic_load_explicit(&mm->mmap_lock.state, memory_order_seq_cst) & (WRITER | LOOK)))
		return true;
	atomic_fetch_sub_explicit(&percpu->readers, 1, memory_order_seq_cst);
	mmap_reader_left(mm, 0);
	return false;
}

/* LOOK is set, with the value `then`. => true: the lock is ours. Otherwise somebody is in, and we have waited */
static bool mmap_write_look(struct mm_struct *mm, unsigned then)
{
	atomic_uint *state = &mm->mmap_lock.state;
	bool free = !mmap_readers(mm);
	unsigned c = then, new;

	do
		new = free ? (c & ~(LOOK | WWAIT)) | WRITER : (c & ~LOOK) | WWAIT;
	while (!atomic_compare_exchange_weak_explicit(state, &c, new, memory_order_seq_cst, memory_order_relaxed));
	/* The other writers that wait say so again when they wake up. They may sleep on a value with LOOK, of which nobody else knows. */
	if (free && c & WWAIT)
		machine_wake(state, INT_MAX);
	if (!free && !((c ^ then) & LEFT)) /* else one has left since */
		machine_wait(state, new);
	return free;
}

void mmap_write_lock(struct mm_struct *mm)
{
	atomic_uint *state = &mm->mmap_lock.state;
	unsigned c;

	lock_assert_none_held();
	for (;;) {
		c = atomic_load_explicit(state, memory_order_relaxed);
		if (!(c & (WRITER | LOOK | RTURN))) {
			if (atomic_compare_exchange_weak_explicit(state, &c, c | LOOK, memory_order_seq_cst, memory_order_relaxed) &&
			    mmap_write_look(mm, c | LOOK))
				return;
		} else if (c & WWAIT || atomic_compare_exchange_weak_explicit(state, &c, c | WWAIT, memory_order_relaxed, memory_order_relaxed)) {
			machine_wait(state, c | WWAIT);
		}
	}
}

void mmap_write_unlock(struct mm_struct *mm)
{
	up_write(&mm->mmap_lock);
}

void mmap_read_lock(struct mm_struct *mm)
{
	mmap_read_lock_on(mm, this_percpu(mm));
}

void mmap_read_unlock(struct mm_struct *mm)
{
	mmap_read_unlock_on(mm, this_percpu(mm));
}

bool mmap_is_locked(struct mm_struct *mm)
{
	return mmap_is_write_locked(mm) || mmap_readers(mm);
}

bool mmap_is_write_locked(struct mm_struct *mm)
{
	return atomic_load_explicit(&mm->mmap_lock.state, memory_order_relaxed) & WRITER;
}

/* ---- the page lock ------------------------------------------------------------------------------------------------- */

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
