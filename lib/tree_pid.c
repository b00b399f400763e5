/* SPDX-License-Identifier: MIT
 * tree_pid.c - what the command calls a process of the tree. See tree_pid.h. */
#include "lib/tree_pid.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <time.h>

#include "machine/sys.h"
#include "mm/errno.h"

static struct flock byte_of(unsigned slot)
{
	return (struct flock){ .l_type = F_WRLCK, .l_whence = 0 /* SEEK_SET */, .l_start = slot, .l_len = 1 };
}

bool tree_child_is_home(const struct mf_tree *t, unsigned parent, long pid)
{
	/* In this order: while the parent lives, the slot is its own. */
	return atomic_load(&t->process[parent].home) && sys_call0(SYS_getppid) == pid;
}

void tree_hold_pid(const struct mf_tree *t, unsigned slot, int control_fd)
{
	const struct timespec moment = { 0, 1000000 };
	struct flock lock = byte_of(slot);

	if (atomic_load(&t->process[slot].home) || control_fd < 0)
		return;
	/* Who had the slot before has ended, but not yet quite. */
	for (int i = 0; i < 20 && sys_call3(SYS_fcntl, control_fd, F_SETLK, (long)&lock) == -EAGAIN; i++)
		sys_call2(SYS_nanosleep, (long)&moment, 0);
}

int tree_known_pid(const struct tree_process *p)
{
	const uint64_t host = atomic_load(&p->host_pid);
	const uint32_t pid = atomic_load(&p->pid);

	if (atomic_load(&p->home))
		return (int)pid;
	return (uint32_t)host == pid ? (int)(host >> 32) : 0; /* else: of the one who had the slot before */
}

int tree_host_pid(struct mf_tree *t, unsigned slot, int control_fd)
{
	struct tree_process *p = &t->process[slot];
	struct flock lock = byte_of(slot);
	const uint32_t pid = atomic_load(&p->pid);

	if (!atomic_load(&p->home) && control_fd >= 0 && sys_call3(SYS_fcntl, control_fd, F_GETLK, (long)&lock) == 0 && lock.l_type != F_UNLCK && lock.l_pid > 0)
		atomic_store(&p->host_pid, (uint64_t)(uint32_t)lock.l_pid << 32 | pid);
	return tree_known_pid(p);
}
