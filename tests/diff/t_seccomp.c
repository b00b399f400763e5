/* SPDX-License-Identifier: MIT
 *
 * t_seccomp HOW NUMBER... - a program that puts itself under a filter that allows the system calls with these numbers and kills for all others, most of its
 * memory being evicted; then it goes on using it, allocates, has its threads fault, and forks. seccomp.py finds out by strace which calls a native
 * run makes, and gives those.
 *
 * HOW: all (everything is allowed: to be recorded), filter, tsync, prctl, late (installed by a thread), strict; violate: a call that isn't allowed at the end;
 * nofile, fsize: with no descriptor to be had any more, with files limited to 2 MiB.
 */
#include "common.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

#define LEN (5 * MB)

static char *area, *other;
static int ends[2]; /* of a pipe */
static atomic_int stage, started;

/* Other memory that is there already. */
static void push_out(uint64_t seed)
{
	fill(other, 2 * LEN, seed);
	if (!intact(other, 2 * LEN, seed, 0))
		wrong("other memory");
}

static void install(const char *how, char **numbers, int nr)
{
	struct sock_filter f[512];
	unsigned short n = 0;
	struct sock_fprog prog = { 0, f };

	f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
	f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
	f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL);
	f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	if (!strcmp(how, "odd")) {
		f[n] = f[n - 1];
		n++;
	}
	for (int i = 0; i < nr && n < 500; i++) {
		f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)atoi(numbers[i]), 0, 1);
		f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, strcmp(how, "all") ? SECCOMP_RET_KILL : SECCOMP_RET_ALLOW);
	prog.len = n;
	RC("no new privileges", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	if (!strcmp(how, "prctl"))
		RC("filter", prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog));
	else
		RC("filter", syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, strcmp(how, "tsync") ? 0 : SECCOMP_FILTER_FLAG_TSYNC, &prog));
}

static void allocates(void)
{
	void *block[400];

	for (uint64_t round = 0; round < 2; round++) {
		for (size_t i = 0; i < 400; i++) {
			block[i] = malloc(100 + i * 37 % 9000);
			if (!block[i])
				die("malloc");
			fill(block[i], 100 + i * 37 % 9000, round + i);
		}
		push_out(round);
		for (size_t i = 0; i < 400; i++) {
			if (!intact(block[i], 100 + i * 37 % 9000, round + i, 0))
				wrong("block %zu", i);
			free(block[i]);
		}
	}
	say("allocated");
}

static void uses_memory(void)
{
	holds("area", area, LEN, 1);
	fill(area, LEN, 2);
	push_out(9);
	holds("anew", area, LEN, 2);
	fill(area, LEN, 1);
}

static void splices(void)
{
	static char got[4 * PAGE];
	struct iovec v = { area, sizeof(got) };

	RC("vmsplice", vmsplice(ends[1], &v, 1, 0));
	fill(other, 2 * LEN, 11);
	RC("read", read(ends[0], got, sizeof(got)));
	holds("through the pipe", got, sizeof(got), 1);
}

static void limit(const char *how)
{
	struct rlimit r = { !strcmp(how, "fsize") ? 2 * MB : 0, !strcmp(how, "fsize") ? 2 * MB : 0 };

	if (!strcmp(how, "nofile") || !strcmp(how, "fsize"))
		RC("limit", setrlimit(!strcmp(how, "fsize") ? RLIMIT_FSIZE : RLIMIT_NOFILE, &r));
}

static void forks(int depth)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		uses_memory();
		allocates();
		splices();
		if (depth)
			forks(depth - 1);
		_exit(done());
	}
	waitpid(pid, &status, 0);
	say_end("child", status);
	uses_memory();
}

/* A thread from before, which has no filter unless it is synchronised. */
static void *waits_and_uses(void *arg)
{
	atomic_store(&started, 1);
	while (atomic_load(&stage) == 0)
		;
	for (size_t i = 0; i < LEN / PAGE; i++)
		if (!intact(area + i * PAGE, PAGE, 1, i))
			wrong("page %zu in a thread", i);
	return arg;
}

static void *installs(void *arg)
{
	char ***words = arg;

	install("filter", *words + 2, (int)(intptr_t)words[1]);
	atomic_store(&stage, 1);
	uses_memory();
	return arg;
}

static int strictly(void)
{
	char *block = malloc(100000);

	fill(block, 100000, 5);
	push_out(3);
	RC("strict", prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
	uses_memory();
	holds("block", block, 100000, 5);
	free(block);
	for (int i = 0; i < 50; i++)
		free(memset(malloc(1000), i, 1000));
	syscall(SYS_exit, done());
	return 1;
}

int main(int argc, char **argv)
{
	char **words[2] = { argv, (char **)(intptr_t)(argc - 2) };
	pthread_t t;
	void *result = NULL, *block;
	const char *how = argc > 1 ? argv[1] : "all";

	block = malloc(100000); /* malloc's own preparations */
	fill(block, 100000, 4);
	free(block);
	if (pipe(ends))
		die("pipe");
	area = map(LEN);
	other = map(2 * LEN);
	fill(area, LEN, 1);
	push_out(1);
	if (!strcmp(how, "strict"))
		return strictly();
	if (strcmp(how, "violate") && (pthread_create(&t, NULL, strcmp(how, "late") ? waits_and_uses : installs, strcmp(how, "late") ? (void *)area : (void *)words)))
		die("pthread_create");
	while (strcmp(how, "violate") && strcmp(how, "late") && !atomic_load(&started))
		;
	limit(how);
	if (strcmp(how, "late"))
		install(how, argv + 2, argc - 2);
	atomic_fetch_or(&stage, strcmp(how, "late") != 0);
	if (strcmp(how, "violate"))
		pthread_join(t, &result);
	uses_memory();
	allocates();
	splices();
	forks(1);
	if (!strcmp(how, "violate")) {
		say("and now %ld", syscall(SYS_getpriority, 0, 0));
	}
	return done();
}
