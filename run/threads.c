/* SPDX-License-Identifier: MIT
 *
 * threads.c - the end of a thread.
 *
 * A thread that ends with robust mutexes locked leaves it to the kernel to mark them (FUTEX_OWNER_DIED) and to wake who waits. The kernel does so when the
 * thread is past the point where it may wait for a page, so mutexes that are evicted would stay locked for good. The thread therefore does the kernel's
 * part itself, as the last of its destructors: of the list that the kernel has of it, what is left over is nothing, or what belongs to the kernel
 * alone (priority inheritance) and has just been touched.
 */
#include <dlfcn.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdlib.h>
#include <threads.h>

#include "lib/pin.h"
#include "machine/sys.h"
#include "run/runtime.h"

#define MOST 2048 /* entries that the kernel looks at */

static pthread_key_t key;
static atomic_bool have_key;

/* As the kernel's handle_futex_death. */
static void bury(atomic_uint *word, long tid)
{
	unsigned seen = atomic_load(word);

	while ((seen & FUTEX_TID_MASK) == (unsigned)tid)
		if (atomic_compare_exchange_weak(word, &seen, (seen & FUTEX_WAITERS) | FUTEX_OWNER_DIED)) {
			if (seen & FUTEX_WAITERS)
				sys_call3(SYS_futex, (long)word, FUTEX_WAKE, 1);
			return;
		}
}

/* The lowest bit of a link tells that the mutex behind it inherits priority. */
static struct robust_list *entry_of(uintptr_t link)
{
	return (struct robust_list *)(link & ~1UL);
}

static void bury_all(void)
{
	struct robust_list_head *head = NULL;
	struct robust_list **last;
	size_t len = 0;
	long tid = sys_gettid();

	if (sys_call3(SYS_get_robust_list, 0, (long)&head, (long)&len) || !head || len != sizeof(*head))
		return;
	last = &head->list.next;
	for (unsigned i = 0; i < MOST && entry_of((uintptr_t)*last) != &head->list; i++) {
		uintptr_t link = (uintptr_t)*last;
		atomic_uint *word = (atomic_uint *)((char *)entry_of(link) + head->futex_offset);

		if (link & 1) {
			(void)atomic_load(word);
			last = &entry_of(link)->next;
		} else {
			*last = entry_of(link)->next;
			bury(word, tid);
		}
	}
}

/* After the others: each round of destructors but the last one asks for another. */
static void at_end(void *rounds)
{
	if ((uintptr_t)rounds < PTHREAD_DESTRUCTOR_ITERATIONS)
		pthread_setspecific(key, (void *)((uintptr_t)rounds + 1));
	else
		bury_all();
}

static void watch_end(void)
{
	if (atomic_load_explicit(&have_key, memory_order_relaxed))
		pthread_setspecific(key, (void *)1UL);
}

void rt_threads_init(void)
{
	atomic_store(&have_key, pthread_key_create(&key, at_end) == 0);
	watch_end();
}

struct start {
	void *(*fn)(void *);
	thrd_start_t fn11;
	void *arg;
};

static void *begin(void *arg)
{
	struct start s = *(struct start *)arg;

	free(arg);
	watch_end();
	return s.fn(s.arg);
}

static int begin11(void *arg)
{
	struct start s = *(struct start *)arg;

	free(arg);
	watch_end();
	return s.fn11(s.arg);
}

static struct start *start_of(struct start s)
{
	struct start *p = atomic_load_explicit(&have_key, memory_order_relaxed) ? malloc(sizeof(*p)) : NULL;

	if (atomic_load_explicit(&rt_active, memory_order_relaxed))
		pin_lift();
	if (p)
		*p = s;
	return p;
}

EXPORT int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	__typeof__(&pthread_create) next = (__typeof__(&pthread_create))dlsym(RTLD_NEXT, "pthread_create");
	struct start *s = start_of((struct start){ .fn = fn, .arg = arg });
	int r = next(thread, attr, s ? begin : fn, s ? s : arg);

	if (r)
		free(s);
	return r;
}

EXPORT int thrd_create(thrd_t *thread, thrd_start_t fn, void *arg)
{
	__typeof__(&thrd_create) next = (__typeof__(&thrd_create))dlsym(RTLD_NEXT, "thrd_create");
	struct start *s = start_of((struct start){ .fn11 = fn, .arg = arg });
	int r = next(thread, s ? begin11 : fn, s ? s : arg);

	if (r != thrd_success)
		free(s);
	return r;
}
