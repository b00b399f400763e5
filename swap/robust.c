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
