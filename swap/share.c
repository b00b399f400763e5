/* SPDX-License-Identifier: MIT
 *
 * share.c - see share.h. Atomic operations and no lock: a process may be killed at any instruction, and nobody else must wait for it.
 */
#include <linux/futex.h>
#include <time.h>

#include "swap/share.h"
#include "swap/robust.h"
#include "swap/sys.h"

#define INVITATION_NS 60000000000ULL

static uint64_t now_ns(void)
{
	struct timespec t = { 0, 0 };

	sys_call2(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static _Atomic uint64_t *share_names(const struct share_view *v, uint32_t member)
{
	size_t at = (sizeof(struct share) + v->nr_segments * sizeof(uint32_t) + 63) / 64 * 64;

	return (_Atomic uint64_t *)((char *)v->share + at) + member * share_words(v->nr_segments);
}

/* ---- segments ---------------------------------------------------------------------------------------------------- */

static void unref(const struct share_view *v, uint32_t segment)
{
	if (atomic_fetch_sub(&v->share->refs[segment], 1) == 1)
		atomic_fetch_sub(&v->share->used, 1);
}

uint32_t share_free(const struct share_view *v)
{
	uint32_t used = atomic_load_explicit(&v->share->used, memory_order_relaxed);

	return used < v->nr_segments - 1 ? v->nr_segments - 1 - used : 0;
}

static uint32_t take(const struct share_view *v)
{
	struct share *s = v->share;
	uint32_t at = atomic_load_explicit(&s->hand, memory_order_relaxed);

	for (uint32_t i = 0; i < v->nr_segments; i++) {
		uint32_t nobody = 0;

		at = at + 1 < v->nr_segments ? at + 1 : 1;
		if (atomic_load_explicit(&s->refs[at], memory_order_relaxed) || !atomic_compare_exchange_strong(&s->refs[at], &nobody, 1))
			continue;
		atomic_fetch_add(&s->used, 1);
		atomic_fetch_or(share_names(v, v->me) + at / 64, 1ULL << at % 64);
		atomic_store_explicit(&s->hand, at, memory_order_relaxed);
		return at;
	}
	return 0;
}

void share_drop(const struct share_view *v, uint32_t segment)
{
	if (v->me == SHARE_NOBODY || !segment || segment >= v->nr_segments)
		return;
	if (atomic_fetch_and(share_names(v, v->me) + segment / 64, ~(1ULL << segment % 64)) & 1ULL << segment % 64)
		unref(v, segment);
}

bool share_alone(const struct share_view *v, uint32_t segment)
{
	return atomic_load_explicit(&v->share->refs[segment], memory_order_relaxed) == 1;
}

uint64_t share_generation(const struct share_view *v)
{
	return atomic_fetch_add(&v->share->generation, 1) + 1;
}

/* ---- members ----------------------------------------------------------------------------------------------------- */

static bool is_over(const struct share_member *m, uint32_t word)
{
	if (word & MEMBER_DIED)
		return true;
	return word == MEMBER_INVITED && now_ns() - atomic_load(&m->since) > INVITATION_NS;
}

/* What a member that is no more has named is named by one less. */
static void bury(const struct share_view *v, uint32_t member)
{
	struct share_member *m = &v->share->member[member];
	_Atomic uint64_t *names = share_names(v, member);
	uint32_t word = atomic_load(&m->link.word);

	if (!is_over(m, word) || !atomic_compare_exchange_strong(&m->link.word, &word, MEMBER_BURIED))
		return;
	for (size_t i = 0; i < share_words(v->nr_segments); i++) {
		uint64_t bits = atomic_load_explicit(&names[i], memory_order_relaxed) ? atomic_exchange(&names[i], 0) : 0;

		for (; bits; bits &= bits - 1)
			unref(v, (uint32_t)(i * 64) + (uint32_t)__builtin_ctzll(bits));
	}
	atomic_store(&m->link.word, MEMBER_FREE);
}

static void bury_all(const struct share_view *v)
{
	uint32_t n = atomic_load(&v->share->members);

	for (uint32_t i = 0; i < n && i < SHARE_MEMBERS; i++)
		bury(v, i);
}

uint32_t share_take(const struct share_view *v, uint32_t keep)
{
	if (v->me == SHARE_NOBODY)
		return 0;
	if (share_free(v) <= keep)
		bury_all(v);
	return share_free(v) > keep ? take(v) : 0;
}

static uint32_t free_member(const struct share_view *v)
{
	struct share *s = v->share;

	for (uint32_t i = 0; i < SHARE_MEMBERS; i++) {
		uint32_t word = MEMBER_FREE;

		if (!atomic_compare_exchange_strong(&s->member[i].link.word, &word, MEMBER_BURIED))
			continue;
		for (uint32_t n = atomic_load(&s->members); n < i + 1 && !atomic_compare_exchange_weak(&s->members, &n, i + 1);)
			;
		return i;
	}
	return SHARE_NOBODY;
}

uint32_t share_invite(const struct share_view *v)
{
	uint32_t member = free_member(v);

	if (member == SHARE_NOBODY) {
		bury_all(v);
		member = free_member(v);
	}
	if (member == SHARE_NOBODY)
		return member;
	for (size_t i = 0; v->me != SHARE_NOBODY && i < share_words(v->nr_segments); i++) {
		uint64_t names = atomic_load_explicit(share_names(v, v->me) + i, memory_order_relaxed);

		for (uint64_t bits = names; bits; bits &= bits - 1)
			atomic_fetch_add(&v->share->refs[i * 64 + (unsigned)__builtin_ctzll(bits)], 1);
		if (names)
			atomic_store(share_names(v, member) + i, names);
	}
	atomic_store(&v->share->member[member].since, now_ns());
	atomic_store(&v->share->member[member].link.word, MEMBER_INVITED);
	return member;
}

void share_decline(const struct share_view *v, uint32_t member)
{
	uint32_t word = MEMBER_INVITED;

	if (member != SHARE_NOBODY)
		atomic_compare_exchange_strong(&v->share->member[member].link.word, &word, MEMBER_DIED);
}

bool share_enter(struct share_view *v, uint32_t member)
{
	struct share_member *m = &v->share->member[member];
	uint32_t word = MEMBER_INVITED;

	v->me = SHARE_NOBODY;
	if (!atomic_compare_exchange_strong(&m->link.word, &word, (uint32_t)sys_gettid()))
		return false;
	v->me = member;
	robust_hold(&m->link);
	return true;
}
