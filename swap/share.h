/* SPDX-License-Identifier: MIT
 *
 * share.h - who has what of the swap file: one table in memory that all processes of a run share.
 *
 * The file is cut into segments. After a fork, parent and child both name the segments that the parent had filled; a segment
 * is free when nobody names it any more.
 *
 *      refs[segment]     = members that name it
 *      names[member]     = a bit for each segment that it names; its own process writes it, and who buries it
 *      generation          a number for each writing of a segment, never used twice: the nonce of its encryption
 *
 * A member's life:   FREE --share_invite: parent, before the clone--> INVITED --share_enter: child's handler--> its thread id
 *                    --the kernel, when that thread is gone (a robust futex: SIGKILL, exec, exit alike)--> DIED --burial--> FREE
 *
 * An invitation that nobody takes (the clone failed, or the child was killed before its first step) is withdrawn after a minute; a
 * child that comes later still finds that out. Who is killed between two steps here leaves at most one segment or one member behind as taken.
 */
#ifndef MF_SWAP_SHARE_H
#define MF_SWAP_SHARE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "swap/robust.h"

#define SHARE_MEMBERS 1024u
#define SHARE_NOBODY  UINT32_MAX

#define MEMBER_FREE    0u
#define MEMBER_DIED    0x40000000u /* FUTEX_OWNER_DIED: the kernel writes it */
#define MEMBER_INVITED 0x3fffffffu /* no thread id */
#define MEMBER_BURIED  0x3ffffffeu /* somebody is at work on it */

struct share_member {
	struct robust_word link;
	_Atomic uint64_t since;      /* of the invitation, ns */
} __attribute__((aligned(64)));

struct share {
	_Atomic uint64_t generation; /* the last one given */
	_Atomic uint32_t used;       /* segments with refs */
	_Atomic uint32_t hand;       /* where to look for a free one */
	_Atomic uint32_t members;    /* below this one all that were ever used */
	struct share_member member[SHARE_MEMBERS];
	_Atomic uint32_t refs[];     /* nr_segments, then SHARE_MEMBERS times share_words() of 64 bits, see share_names() */
};

/* One process' view. The number of segments is its own copy: what lies in shared memory is believed for nothing that could lead astray. */
struct share_view {
	struct share *share;
	uint32_t nr_segments;        /* segment 0 is the file's head and never given */
	uint32_t me;                 /* SHARE_NOBODY: no member */
};

static inline size_t share_words(uint32_t nr_segments)
{
	return (nr_segments + 63) / 64;
}

static inline size_t share_bytes(uint32_t nr_segments)
{
	return (sizeof(struct share) + nr_segments * sizeof(uint32_t) + 63) / 64 * 64 + SHARE_MEMBERS * share_words(nr_segments) * 8;
}

/* For the first process and for a child about to be made, which names all that `v` names (v->me: nobody, nothing). => the member's number or
 * SHARE_NOBODY: there are too many. Nothing of v changes meanwhile. */
uint32_t share_invite(const struct share_view *v);
/* On the thread whose end is to be the member's. => false: the invitation was withdrawn; what was named may be somebody else's */
bool share_enter(struct share_view *v, uint32_t member);

/* The invitation is not needed: what it names, it names no more. */
void share_decline(const struct share_view *v, uint32_t member);

/* A segment that nobody names; v names it now. More than `keep` others stay free. => 0: none */
uint32_t share_take(const struct share_view *v, uint32_t keep);
void share_drop(const struct share_view *v, uint32_t segment);
/* Does only v name it? */
bool share_alone(const struct share_view *v, uint32_t segment);
uint32_t share_free(const struct share_view *v);
uint64_t share_generation(const struct share_view *v);

#endif
