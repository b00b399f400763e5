/* SPDX-License-Identifier: MIT
 * robust.c - words by which others learn that a thread has ended. See robust.h. */
#include "swap/robust.h"

#include <linux/futex.h>
#include <stddef.h>

#include "machine/sys.h"

static struct robust_list_head head;
static long holder; /* in a forked child another thread begins a list anew */

void robust_hold(struct robust_word *w)
{
	if (holder != sys_gettid()) {
		holder = sys_gettid();
		head.list.next = &head.list;
		head.futex_offset = offsetof(struct robust_word, word);
		head.list_op_pending = NULL;
		sys_call2(SYS_set_robust_list, (long)&head, sizeof(head));
	}
	w->next = (uint64_t)(uintptr_t)head.list.next;
	head.list.next = (struct robust_list *)&w->next;
}

_Static_assert(sizeof(struct robust_list_head) == offsetof(struct robust_stay, before) && offsetof(struct robust_list_head, futex_offset) == offsetof(struct robust_stay, futex_offset) &&
		       offsetof(struct robust_list_head, list_op_pending) == offsetof(struct robust_stay, pending),
	       "as the kernel has it");

/* The kernel looks at the word of a lock that is just being taken or released as at those on the list. */
void robust_stay(struct robust_stay *s)
{
	size_t len = 0;

	if (sys_call3(SYS_get_robust_list, 0, (long)&s->before, (long)&len))
		s->before = 0;
	s->next = (uint64_t)(uintptr_t)s;
	s->futex_offset = offsetof(struct robust_word, word);
	atomic_store(&s->pending, 0);
	sys_call2(SYS_set_robust_list, (long)s, sizeof(struct robust_list_head));
}

void robust_leave(struct robust_stay *s)
{
	sys_call2(SYS_set_robust_list, (long)s->before, sizeof(struct robust_list_head));
}
