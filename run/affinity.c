/* SPDX-License-Identifier: MIT
 *
 * affinity.c - calls that would show the program, or hand on to a child, the narrow affinity that lib/pin.c gives its thread for a while: they lift it
 * first. (fork, vfork, clone and their relatives do so in fork.c,
 * pthread_create in threads.c.)
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/pin.h"
#include "machine/sys.h"
#include "run/exec.h"
#include "run/runtime.h"

#define NEXT(name) ((__typeof__(&name))next(#name))

static void *next(const char *name)
{
	if (atomic_load_explicit(&rt_active, memory_order_relaxed))
		pin_lift();
	return dlsym(RTLD_NEXT, name);
}

EXPORT int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set)
{
	return NEXT(sched_getaffinity)(pid, size, set);
}

/* jemalloc counts the processors when the program first allocates. Of that the program sees nothing, so nothing is lifted: the faults of a start, which
 * are many, would go from one processor to another and back for 20 ms. */
HIDDEN int jem_sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set);
int jem_sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set)
{
	long n;

	if (pin_own_mask(set, size))
		return 0;
	n = sys_call3(SYS_sched_getaffinity, pid, (long)size, (long)set);
	if (n < 0)
		return (int)rt_errno(n);
	memset((char *)set + n, 0, size - (size_t)n);
	return 0;
}

EXPORT int sched_setaffinity(pid_t pid, size_t size, const cpu_set_t *set)
{
	return NEXT(sched_setaffinity)(pid, size, set);
}

EXPORT int pthread_getaffinity_np(pthread_t thread, size_t size, cpu_set_t *set)
{
	return NEXT(pthread_getaffinity_np)(thread, size, set);
}

EXPORT int pthread_setaffinity_np(pthread_t thread, size_t size, const cpu_set_t *set)
{
	return NEXT(pthread_setaffinity_np)(thread, size, set);
}

EXPORT int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attr,
		       char *const argv[], char *const envp[])
{
	return NEXT(posix_spawn)(pid, path, actions, attr, argv, envp);
}

EXPORT int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attr,
			char *const argv[], char *const envp[])
{
	return NEXT(posix_spawnp)(pid, file, actions, attr, argv, envp);
}

EXPORT int system(const char *command)
{
	return NEXT(system)(command);
}

EXPORT FILE *popen(const char *command, const char *mode)
{
	return NEXT(popen)(command, mode);
}

/* ---- exec: the mask is inherited; those of libc end in its execve, and that in rt_exec() (exec.c) ------------------------------------------------------------------------------------ */

EXPORT int execve(const char *path, char *const argv[], char *const envp[])
{
	if (!rt_exec_diverted)
		return (int)rt_errno(rt_exec(AT_FDCWD, path, argv, envp, 0));
	return NEXT(execve)(path, argv, envp);
}

EXPORT int execv(const char *path, char *const argv[])
{
	return NEXT(execv)(path, argv);
}

EXPORT int execvp(const char *file, char *const argv[])
{
	return NEXT(execvp)(file, argv);
}

EXPORT int execvpe(const char *file, char *const argv[], char *const envp[])
{
	return NEXT(execvpe)(file, argv, envp);
}

EXPORT int fexecve(int fd, char *const argv[], char *const envp[])
{
	return (int)rt_errno(rt_exec(fd, "", argv, envp, AT_EMPTY_PATH));
}

EXPORT int execveat(int fd, const char *path, char *const argv[], char *const envp[], int flags)
{
	return (int)rt_errno(rt_exec(fd, path, argv, envp, flags));
}

/* Collects `first` (which ends nothing: it is never NULL) and the arguments after it into an array on the caller's stack. */
#define COLLECT(argv, first, ap)                                                       \
	int nr = 1;                                                                    \
	va_start(ap, first);                                                           \
	while (va_arg(ap, char *))                                                     \
		nr++;                                                                  \
	va_end(ap);                                                                    \
	char *argv[nr + 1];                                                            \
	argv[0] = (char *)(uintptr_t)first;                                            \
	va_start(ap, first);                                                           \
	for (int i = 1; i <= nr; i++)                                                  \
		argv[i] = va_arg(ap, char *)

EXPORT int execl(const char *path, const char *arg, ...)
{
	va_list ap;

	COLLECT(argv, arg, ap);
	va_end(ap);
	return execv(path, argv);
}

EXPORT int execlp(const char *file, const char *arg, ...)
{
	va_list ap;

	COLLECT(argv, arg, ap);
	va_end(ap);
	return execvp(file, argv);
}

EXPORT int execle(const char *path, const char *arg, ...)
{
	va_list ap;
	char **envp;

	COLLECT(argv, arg, ap);
	envp = va_arg(ap, char **);
	va_end(ap);
	return execve(path, argv, envp);
}
