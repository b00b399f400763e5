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
 *   outsider share MIB WHO                  fills so much memory, forks, and has `child`, `parent` or `both` store to each page; prints the two process
 *                                           ids then, waits for a line, and says whether all is right
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

/* Half of each page compresses. */
static void fill(char *page, size_t at, char mark)
{
	unsigned long z = at;

	for (size_t i = 0; i < 4096; i += 8) {
		z = z * 6364136223846793005u + 1442695040888963407u;
		*(unsigned long *)(page + i) = i < 2048 ? z : at;
	}
	page[9] = mark;
}

static void store(char *memory, size_t len, char mark)
{
	for (size_t at = 0; mark && at < len; at += 4096)
		memory[at + 9] = mark;
}

static bool check(const char *memory, size_t len, char mark)
{
	char page[4096];
	bool right = true;

	for (size_t at = 0; at < len; at += 4096) {
		fill(page, at, mark);
		right &= memcmp(memory + at, page, 4096) == 0;
	}
	return right;
}

static int share(size_t len, const char *who)
{
	char *memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), c;
	const char child_mark = *who != 'p', parent_mark = *who != 'c' ? 2 : 0;
	int ready[2], go[2], status = 1;
	pid_t child;

	if (memory == MAP_FAILED || pipe(ready) || pipe(go))
		return 1;
	for (size_t at = 0; at < len; at += 4096)
		fill(memory + at, at, 0);
	child = fork();
	if (child == 0) {
		close(go[1]);
		store(memory, len, child_mark);
		_exit(write(ready[1], "x", 1) != 1 || read(go[0], &c, 1) || !check(memory, len, child_mark));
	}
	close(ready[1]);
	if (read(ready[0], &c, 1) != 1)
		return 1;
	store(memory, len, parent_mark);
	printf("%d %d\n", getpid(), child);
	fflush(stdout);
	status = read(STDIN_FILENO, &c, 1) != 1 || !check(memory, len, parent_mark);
	puts(status ? "wrong" : "right");
	close(go[1]);
	waitpid(child, &status, 0);
	puts(status ? "wrong" : "right");
	return status != 0;
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
	if (argc > 3 && strcmp(argv[1], "share") == 0)
		return share((size_t)atoi(argv[2]) << 20, argv[3]);
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
