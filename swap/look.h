/* SPDX-License-Identifier: MIT
 *
 * look.h - a read of the swap file that is waited for by looking, again and again, whether it is over.
 *
 * A fast disk takes 30 to 40 us for a page. Who sleeps meanwhile leaves his processor idle, and is woken 10 to 20 us late: the processor has to come back
 * from its halt, which for a virtual one is the hypervisor's work, and the disk's interrupt often arrives at another one.
 *
 * Not for files whose reads can't begin without waiting (tmpfs): the ring would have a thread of the kernel do it, which costs 6 us more than it takes.
 *
 * Looking takes nothing from anybody as long as nobody else wants the processor. Where a look comes late, somebody was at work in between; and where
 * the disk is slow, looking is waste. After either the next few reads sleep, and twice as many if the same is seen again.
 */
#ifndef MF_SWAP_LOOK_H
#define MF_SWAP_LOOK_H

#include <liburing.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct look {
	struct io_uring ring;    /* one read at a time */
	bool made;
	_Atomic bool taken;      /* by the thread that reads; it guards what follows */
	unsigned asleep;         /* so many reads are to sleep yet */
	unsigned slow, busy;     /* as many after the next one that takes long, or is looked for late */
	unsigned looks, calm;    /* reads that were looked for; since one was late */
};

/* For reads of this file. */
void look_open(struct look *l, int fd);
void look_close(struct look *l);
/* In a forked child: what was the parent's is not ours. */
void look_forget(struct look *l);
/* => bytes read, or -errno; -EAGAIN: it is to be read by a call that sleeps. *slept: ns added while this one slept after all */
long look_read(struct look *l, int fd, void *bytes, size_t len, uint64_t at, _Atomic uint64_t *slept);

#endif
