/* SPDX-License-Identifier: MIT
 *
 * sys.h - the system calls that the swap pool makes, raw.
 *
 * The call sequence of each architecture is in machine/sys.h, the one place for it; this adds what only the pool needs.
 * PROT_, MAP_ and MADV_ are the header's numbers: nothing of libc is called.
 */
#ifndef MF_SWAP_SYS_H
#define MF_SWAP_SYS_H

#include <sys/mman.h>

#include "machine/sys.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif

static inline long sys_getrandom(void *buf, size_t len)
{
	return sys_call3(SYS_getrandom, (long)buf, (long)len, 0);
}

static inline void sys_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#endif
}

#endif
