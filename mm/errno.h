/* SPDX-License-Identifier: MIT */
/* Linux's error numbers, for code that has no libc. Values are part of the system-call ABI (asm-generic). */
#ifndef MF_MM_ERRNO_H
#define MF_MM_ERRNO_H

#ifndef EPERM
#define EPERM    1
#define ENOENT   2
#define ESRCH    3
#define EINTR    4
#define EIO      5
#define EAGAIN  11
#define ENOMEM  12
#define EACCES  13
#define EFAULT  14
#define EBUSY   16
#define EEXIST  17
#define EINVAL  22
#define ENOSPC  28
#define EFBIG   27
#define ENOSYS  38
#define EOVERFLOW  75
#define EOPNOTSUPP 95
#define ECANCELED 125
#endif

#endif
