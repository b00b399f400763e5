/* SPDX-License-Identifier: MIT
 *
 * outsider.c - makes system calls that no interposed function sees.
 *
 *   outsider exec PROGRAM [ARGUMENT...]     executes it
 *   outsider limit BYTES PROGRAM [ARGUMENT...]   executes it, by libc, with so much address space
 *   outsider map MIB SECONDS                maps and touches so much memory, and keeps it for so long
 *
 * and one that does all by libc:
 *
 *   outsider fork TIMES                     forks so often; says how many pages, on the average, parent and child touched anew for it
 *   outsider fail TIMES                     fails so often to execute what is not there, in a process that has limited its address space; says how often
 *                                           another thread could map nothing meanwhile
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "machine/sys.h"

extern char **environ;

static long touched(int who)
{
	struct rusage u;

	getrusage(who, &u);
	return u.ru_minflt;
}

static int forks(int times)
{
	const long before = touched(RUSAGE_SELF);
	int status = 1;

	for (int i = 0; i < times; i++) {
		const pid_t pid = fork();

		if (pid == 0)
			_exit(0);
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
			return 1;
	}
	printf("%ld\n", (touched(RUSAGE_SELF) - before + touched(RUSAGE_CHILDREN)) / times);
	return 0;
}

static atomic_bool over;
static atomic_int refused;

static void *maps(void *arg)
{
	(void)arg;
	while (!atomic_load(&over)) {
		void *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED)
			atomic_fetch_add(&refused, 1);
		else
			munmap(p, 1 << 20);
	}
	return NULL;
}

static int fails(int times)
{
	char *argv[] = { (char[]){ "nothing" }, NULL };
	const struct rlimit limit = { 512 << 20, RLIM_INFINITY };
	pthread_t thread;

	if (setrlimit(RLIMIT_AS, &limit) || pthread_create(&thread, NULL, maps, NULL))
		return 1;
	for (int i = 0; i < times; i++)
		execve("/nowhere/nothing", argv, environ);
	atomic_store(&over, true);
	pthread_join(thread, NULL);
	printf("%d\n", atomic_load(&refused));
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 2 && strcmp(argv[1], "exec") == 0)
		sys_call3(SYS_execve, (long)argv[2], (long)(argv + 2), (long)environ);
	if (argc > 3 && strcmp(argv[1], "limit") == 0) {
		struct rlimit limit = { strtoul(argv[2], NULL, 10), RLIM_INFINITY };

		sys_call2(SYS_setrlimit, RLIMIT_AS, (long)&limit);
		execv(argv[3], argv + 3);
	}
	if (argc > 2 && strcmp(argv[1], "fork") == 0)
		return forks(atoi(argv[2]));
	if (argc > 2 && strcmp(argv[1], "fail") == 0)
		return fails(atoi(argv[2]));
	if (argc > 3 && strcmp(argv[1], "map") == 0) {
		size_t len = (size_t)atoi(argv[2]) << 20;
		long p = sys_mmap(0, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (sys_is_err(p))
			return 1;
		memset((char *)p, 1, len);
		usleep((useconds_t)(atof(argv[3]) * 1e6));
		return 0;
	}
	return 99;
}
