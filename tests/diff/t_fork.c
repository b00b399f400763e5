/* SPDX-License-Identifier: MIT
 *
 * t_fork - a child has the right memory, whichever way it came about and whatever parent and child then write.
 */
#include "common.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <sys/syscall.h>

#define LEN (6 * MB)

static char *area;
static char bss[1 * MB];

static int loaded(const volatile char *p)
{
	(void)*p;
	return 1;
}

static void reads_all(void *arg)
{
	holds("child reads", area, LEN, 1);
	holds("child reads bss", bss, sizeof(bss), 2);
}

static void writes_all(void *arg)
{
	fill(area, LEN, 3);
	fill(bss, sizeof(bss), 4);
	pressure();
	holds("child wrote", area, LEN, 3);
	holds("child wrote bss", bss, sizeof(bss), 4);
}

static void writes_some(void *arg)
{
	for (size_t i = 0; i < LEN / PAGE; i += 3)
		fill_at(area + i * PAGE, PAGE, 5, i);
	pressure();
	for (size_t i = 0; i < LEN / PAGE; i++)
		if (!intact(area + i * PAGE, PAGE, i % 3 ? 1 : 5, i))
			wrong("child's page %zu", i);
	say("child wrote some");
}

static void maps_and_unmaps(void *arg)
{
	char *p = map(2 * MB);

	fill(p, 2 * MB, 6);
	munmap(area + MB, MB);
	mprotect(area + 3 * MB, MB, PROT_READ);
	madvise(area + 4 * MB, MB, MADV_DONTNEED);
	pressure();
	holds("child mapped", p, 2 * MB, 6);
	say_rights("child", area + MB - 2 * PAGE, 4);
	holds("child's first", area, MB, 1);
	holds_at("child's fourth", area + 3 * MB, MB, 1, 3 * MB / PAGE);
	zeroed("child's fifth", area + 4 * MB, MB);
}

static void chain(void *arg)
{
	intptr_t depth = (intptr_t)arg;

	fill(area + (size_t)depth * MB, MB, 100 + (uint64_t)depth);
	if (depth < 5)
		in_child("chain", chain, (void *)(depth + 1));
	for (intptr_t i = 0; i <= depth; i++)
		holds("of the chain", area + (size_t)i * MB, MB, 100 + (uint64_t)i);
	for (intptr_t i = depth + 1; i < 6; i++)
		holds_at("of the origin", area + (size_t)i * MB, MB, 1, (size_t)i * MB / PAGE);
}

/* Both write at once, to the same pages, and each must see its own. */
static void at_once(void)
{
	int status;
	pid_t pid = fork();
	uint64_t seed = pid ? 7 : 8;

	for (int round = 0; round < 3; round++) {
		fill(area, LEN, seed + (uint64_t)round * 10);
		if (!intact(area, LEN, seed + (uint64_t)round * 10, 0)) {
			wrong("at once");
			break;
		}
	}
	if (pid == 0)
		_exit(done() & 1);
	waitpid(pid, &status, 0);
	say_end("at once", status);
	fill(area, LEN, 1);
}

/* Several children at a time, each with its own idea of the same memory. */
static void siblings(void)
{
	pid_t pids[6];

	for (uint64_t i = 0; i < 6; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			int good = intact(area, LEN, 1, 0);

			fill(area, LEN, 20 + i);
			pressure();
			_exit(good && intact(area, LEN, 20 + i, 0) ? 40 + (int)i : 1);
		}
	}
	for (int i = 0; i < 6; i++) {
		int status = -1;

		waitpid(pids[i], &status, 0);
		say_end("sibling", status);
	}
	holds("parent after siblings", area, LEN, 1);
}

static void other_calls(void)
{
	extern char **environ;
	char *argv[] = { "sh", "-c", "exit 7", NULL };
	int status = -1;
	char line[64] = "";
	FILE *f;
	pid_t pid;

	pid = vfork();
	if (pid == 0)
		_exit(loaded(area) ? 9 : 1);
	waitpid(pid, &status, 0);
	say_end("vfork", status);
	pid = vfork();
	if (pid == 0) {
		execv("/bin/sh", argv);
		_exit(127);
	}
	waitpid(pid, &status, 0);
	say_end("vfork and exec", status);
	RC("posix_spawnp", posix_spawnp(&pid, "sh", NULL, NULL, argv, environ));
	waitpid(pid, &status, 0);
	say_end("posix_spawnp", status);
	say_end("system", system("echo from system; exit 5"));
	f = popen("echo from popen; cat /dev/null", "r");
	if (!f || !fgets(line, sizeof(line), f))
		wrong("popen");
	say("popen: %.10s, %d", line, f ? pclose(f) : -1);
	pid = _Fork();
	if (pid == 0)
		_exit(intact(area, LEN, 1, 0) ? 11 : 1);
	waitpid(pid, &status, 0);
	say_end("_Fork", status);
	pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
	if (pid == 0)
		_exit(intact(area, LEN, 1, 0) ? 12 : 1);
	waitpid(pid, &status, 0);
	say_end("raw clone", status);
	holds("parent after all that", area, LEN, 1);
}

static int cloned(void *arg)
{
	int good = intact(area, LEN, 1, 0);

	fill(area, LEN, 9);
	return good && intact(area, LEN, 9, 0) ? 13 : 1;
}

static int cloned_vm(void *arg)
{
	fill(area, MB, 10);
	return 14;
}

static void by_clone(void)
{
	char *stack = map(256 * 1024);
	int status = -1;
	pid_t pid;

	pid = clone(cloned, stack + 256 * 1024, SIGCHLD, NULL);
	waitpid(pid, &status, 0);
	say_end("clone", status);
	holds("parent after clone", area, LEN, 1);
	pid = clone(cloned_vm, stack + 256 * 1024, SIGCHLD | CLONE_VM, NULL);
	waitpid(pid, &status, 0);
	say_end("clone with the same memory", status);
	holds("stored by it", area, MB, 10);
	fill(area, MB, 1);
	munmap(stack, 256 * 1024);
}

/* The program closes every descriptor that it doesn't know, leaves its session and its directory; twice over. */
static void daemonised(void *arg)
{
	int fds[2], status = 0;
	char verdict = '?';

	if (pipe(fds))
		die("pipe");
	if (fork() == 0) {
		setsid();
		if (fork() == 0) {
			for (int fd = 0; fd < 1024; fd++)
				if (fd != fds[1])
					close(fd);
			if (chdir("/"))
				_exit(1);
			verdict = intact(area, LEN, 1, 0) ? 'y' : 'n';
			fill(area, LEN, 11);
			pressure();
			verdict = verdict == 'y' && intact(area, LEN, 11, 0) ? 'y' : 'n';
			if (write(fds[1], &verdict, 1) != 1)
				_exit(1);
		}
		_exit(0);
	}
	wait(&status);
	close(fds[1]);
	RC("daemon's verdict", read(fds[0], &verdict, 1));
	say("daemon: %c", verdict);
}

static void unprivileged(void *arg)
{
	if (is_root() && (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534)))
		die("setresuid");
	holds("after setuid", area, LEN, 1);
	in_child("child of an unprivileged one", writes_all, NULL);
	holds("after its child", area, LEN, 1);
}

static void closes_all(void *arg)
{
	int out = dup2(1, 200);

	syscall(SYS_close_range, 3, 199, 0);
	syscall(SYS_close_range, 201, ~0U, 0);
	holds("after close_range", area, LEN, 1);
	in_child("child after close_range", writes_some, NULL);
	say("descriptor is still there: %d", fcntl(out, F_GETFD) >= 0);
}

static void *forks(void *arg)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		int good = intact(area, LEN, 1, 0);

		fill(area, LEN, 12);
		_exit(good && intact(area, LEN, 12, 0) ? 21 : 1);
	}
	waitpid(pid, &status, 0);
	return (void *)(intptr_t)WEXITSTATUS(status);
}

static volatile int stop;

static void *stores(void *arg)
{
	char *mine = arg;
	size_t bad = 0;

	for (uint64_t i = 0; !stop; i++) {
		fill(mine, 256 * 1024, i);
		bad += !intact(mine, 256 * 1024, i, 0);
	}
	return (void *)bad;
}

/* While one thread stores, two others fork. */
static void from_threads(void)
{
	pthread_t storing, forking[2];
	char *mine = map(256 * 1024);
	void *result;

	pthread_create(&storing, NULL, stores, mine);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 2; i++)
			pthread_create(&forking[i], NULL, forks, NULL);
		for (int i = 0; i < 2; i++) {
			pthread_join(forking[i], &result);
			say("forked by a thread: exit %d", (int)(intptr_t)result);
		}
	}
	stop = 1;
	pthread_join(storing, &result);
	say("storing meanwhile: %zu bad", (size_t)result);
	munmap(mine, 256 * 1024);
}

static void *short_thread(void *arg)
{
	return intact(area, LEN, 1, 0) ? arg : NULL;
}

static void starts_threads(void *arg)
{
	pthread_t t;
	void *result;

	for (int i = 0; i < 3; i++) {
		pthread_create(&t, NULL, short_thread, area);
		pthread_join(t, &result);
		say("thread of a child: %d", result == area);
	}
}

static int hooks;

static void hook(void)
{
	hooks += loaded(area);
}

static void many(void)
{
	int bad = 0;

	for (int i = 0; i < 60; i++) {
		int status = -1;
		pid_t pid = fork();

		if (pid == 0) {
			area[(size_t)i * 4 * PAGE] ^= 1;
			_exit(loaded(bss) ? 0 : 1);
		}
		waitpid(pid, &status, 0);
		bad += status != 0;
	}
	say("many: %d bad", bad);
}

int main(void)
{
	area = map(LEN);
	fill(area, LEN, 1);
	fill(bss, sizeof(bss), 2);
	pthread_atfork(hook, hook, hook);
	in_child("reads", reads_all, NULL);
	pressure();
	in_child("reads evicted", reads_all, NULL);
	in_child("writes", writes_all, NULL);
	holds("parent", area, LEN, 1);
	in_child("some", writes_some, NULL);
	in_child("calls", maps_and_unmaps, NULL);
	in_child("chain", chain, NULL);
	at_once();
	siblings();
	other_calls();
	by_clone();
	in_child("daemon", daemonised, NULL);
	in_child("unprivileged", unprivileged, NULL);
	in_child("closes all", closes_all, NULL);
	in_child("starts threads", starts_threads, NULL);
	from_threads();
	many();
	say("hooks ran: %d", hooks > 0);
	holds("parent", area, LEN, 1);
	holds("parent's bss", bss, sizeof(bss), 2);
	return done();
}
