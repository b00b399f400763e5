/* SPDX-License-Identifier: MIT
 *
 * compressor.c - the other side of the mailbox: takes pages in the order in which they were posted.
 */
#include <string.h>
#include <time.h>

#include "mm/errno.h"
#include "swap/codec.h"
#include "swap/mailbox.h"

#define SPIN_NS 50000ULL /* the next page of a burst comes within a few us; a sleep and its end cost the pool 3 us */
#define SPIN_LOOKS 64
#define CPU_WORDS  16 /* 1024 processors */

struct compressor {
	struct mailbox *box;
	uint32_t nr, next; /* the position to look at */
	uint32_t cpu;      /* kept away from; + 1 */
	uint64_t cpus[CPU_WORDS];
	struct codec codec;
	unsigned char page[ZPAGE] __attribute__((aligned(64)));
};

static uint64_t now_ns(void)
{
	struct timespec t = { 0, 0 };

	sys_call2(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void pack_one(struct compressor *c, uint32_t entry)
{
	struct mail_line *line = &c->box->line[entry];
	struct mail_bytes *bytes = &c->box->bytes[entry];
	uint32_t ready = MAIL_READY, len;
	struct codec_state *st;

	/* Not ready: the pool took it back. */
	if (!atomic_compare_exchange_strong(&line->state, &ready, MAIL_BUSY))
		return;
	/* A copy, because a codec may trip over bytes that change while it looks. */
	memcpy(c->page, bytes->in, ZPAGE);
	st = codec_get(&c->codec);
	len = codec_pack(&c->codec, st, c->page);
	memcpy(bytes->out, st->out, len);
	codec_put(st);
	atomic_store_explicit(&line->length, len, memory_order_relaxed);
	atomic_store_explicit(&line->state, MAIL_DONE, memory_order_release);
}

/* On the pool's own processor each page would push the handler aside, which is what the mailbox is there to avoid: even a busy
 * processor elsewhere is better, and when it is too busy the pool compresses for itself. */
static void keep_away(struct compressor *c)
{
	uint32_t cpu = atomic_load_explicit(&c->box->cpu, memory_order_relaxed);
	uint64_t mask[CPU_WORDS];

	if (cpu == c->cpu || cpu == 0 || cpu > CPU_WORDS * 64)
		return;
	c->cpu = cpu;
	memcpy(mask, c->cpus, sizeof(mask));
	mask[(cpu - 1) / 64] &= ~(1ULL << (cpu - 1) % 64);
	/* An empty mask is refused: fine, it stays where it is. */
	sys_call3(SYS_sched_setaffinity, 0, sizeof(mask), (long)mask);
}

/* => some were there */
static bool pack_posted(struct compressor *c, const atomic_bool *stop)
{
	bool some = false;
	uint32_t head;

	while ((head = atomic_load_explicit(&c->box->head, memory_order_acquire)) != c->next && !atomic_load(stop)) {
		if (head - c->next > c->nr) /* while it slept, entries were taken back and filled anew; or nonsense */
			c->next = head - c->nr;
		keep_away(c);
		pack_one(c, c->next++ % c->nr);
		some = true;
	}
	return some;
}

static void rest(struct compressor *c)
{
	struct timespec second = { 1, 0 };

	atomic_store(&c->box->sleeping, 1);
	/* The pool writes head, then reads sleeping. */
	if (atomic_load(&c->box->head) == c->next)
		sys_call4(SYS_futex, (long)&c->box->sleeping, 0 /* FUTEX_WAIT */, 1, (long)&second);
	atomic_store(&c->box->sleeping, 0);
}

static void work(struct compressor *c, const atomic_bool *stop)
{
	uint64_t idle = now_ns();

	while (!atomic_load(stop)) {
		if (pack_posted(c, stop)) {
			idle = now_ns();
			continue;
		}
		for (int i = 0; i < SPIN_LOOKS && atomic_load_explicit(&c->box->head, memory_order_relaxed) == c->next; i++)
			sys_relax();
		if (now_ns() - idle > SPIN_NS) {
			rest(c);
			idle = now_ns();
		}
	}
}

int mailbox_compress(struct mailbox *box, uint32_t nr, enum swap_codec codec, int level, const atomic_bool *stop)
{
	size_t state = codec_bytes(codec, level), len = state + sizeof(struct compressor);
	struct compressor *c;
	long at;
	int err;

	if (!nr || nr > MAILBOX_MAX || !state || codec == SWAP_NONE)
		return -EINVAL;
	at = sys_mmap(0, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (sys_is_err(at))
		return (int)at;
	c = (struct compressor *)(at + (long)state);
	c->box = box;
	c->nr = nr;
	err = codec_init(&c->codec, codec, level, (char *)at);
	sys_call3(SYS_sched_getaffinity, 0, sizeof(c->cpus), (long)c->cpus);
	if (!err)
		work(c, stop);
	sys_munmap((unsigned long)at, len);
	return err;
}

void mailbox_wake(struct mailbox *box)
{
	atomic_store(&box->sleeping, 0);
	sys_call3(SYS_futex, (long)&box->sleeping, 1 /* FUTEX_WAKE */, 1);
}
