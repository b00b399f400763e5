/* SPDX-License-Identifier: MIT
 *
 * outsider.c - makes system calls that no interposed function sees.
 *
 *   outsider exec PROGRAM [ARGUMENT...]     executes it
 *   outsider spawn PROGRAM [ARGUMENT...]    has a child do so that shares its memory until then, as Go's runtime does, and waits for it
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
 *   outsider beside MIB                     fills so much memory in a child, which makes another one that shares it; prints both ids. The second looks at all of it
 *                                           when the first has ended, says whether all is right, and waits
 *   outsider orphan MIB HOW                 the same, after 200 that end at once, made by `vfork`, `clone-vfork`, `syscall` (clone) or `syscall3` (clone3); prints the id of the first
 *   outsider held-spawn MIB FIFO            a child fills so much memory, prints its id, and executes a shell by posix_spawn(), which first opens FIFO for reading; the
 *                                           shell prints its argument and its environment
 *   outsider kill TIMES                     executes so often, by posix_spawn() and vfork() in turn, while a thread kills its children at random moments, and forks now and
 *                                           then
 *   outsider stream                         stores to 64 pages more for each line that it reads, and answers with a line
 *
 * and one that looks at what the command and its processes share:
 *
 *   outsider unmanaged MINFLT               bytes that the first program of the `minflt run` with this process id keeps, and its runtime knows nothing of
 */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
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
#include "run/control.h"

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

static char *memory_beside;
static size_t len_beside;

static int beside(void *maker)
{
	while (getppid() == (pid_t)(long)maker)
		usleep(10000);
	puts(check(memory_beside, len_beside, 0) ? "right" : "wrong");
	fflush(stdout);
	sleep(60);
	return 0;
}

static int two_beside(size_t len)
{
	char *stack = mmap(NULL, 256 << 10, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int status;
	pid_t pid;

	if (fork()) {
		wait(&status);
		usleep(500000);
		return 0;
	}
	memory_beside = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	len_beside = len;
	for (size_t at = 0; at < len; at += 4096)
		fill(memory_beside + at, at, 0);
	pid = clone(beside, stack + (256 << 10), CLONE_VM | SIGCHLD, (void *)(long)getpid());
	printf("%d %d\n", getpid(), pid);
	fflush(stdout);
	sleep(60);
	return pid < 0;
}

/* In a child, while the parent waits for its end and for others to have ended. */
static void go_on_in_child(size_t len)
{
	int status;

	if (fork()) {
		wait(&status);
		usleep(500000);
		exit(0);
	}
	memory_beside = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	len_beside = len;
	for (size_t at = 0; at < len; at += 4096)
		fill(memory_beside + at, at, 0);
	printf("%d\n", getpid());
	fflush(stdout);
}

/* No stdio: it may be in use by the maker. */
static int orphaned(void *maker)
{
	bool right;

	while (getppid() == (pid_t)(long)maker)
		usleep(10000);
	right = check(memory_beside, len_beside, 0);
	if (write(STDOUT_FILENO, right ? "right\n" : "wrong\n", 6) != 6)
		_exit(2);
	_exit(0);
}

#if defined(__x86_64__)
/* Where the child of a bare clone returns to: its stack holds this address, and the maker's id behind it. */
void orphan_begins(void);
__attribute__((used)) void orphan_runs(void *maker);
void orphan_runs(void *maker)
{
	orphaned(maker);
}
__asm__(".text\n"
	".globl orphan_begins\n"
	"orphan_begins:\n"
	"	pop %rdi\n"
	"	and $-16, %rsp\n"
	"	call orphan_runs\n");
#endif

static void by_vfork(void *maker)
{
	if (vfork() == 0) /* NOLINT */
		orphaned(maker); /* NOLINT: it does what it shouldn't */
}

/* Children that end before a thread of theirs has run: nothing that they were given may be lost to the next. */
static void short_lives(void)
{
	for (volatile int i = 0; i < 200; i++) {
		const pid_t pid = vfork(); /* NOLINT */

		if (pid == 0)
			_exit(0);
		waitpid(pid, NULL, 0);
	}
}

static int orphan(size_t len, const char *how)
{
	const size_t stack_len = 256 << 10;
	char *stack = mmap(NULL, stack_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void **top = (void **)(stack + stack_len) - 2, *maker;
	struct clone_args args = { .flags = CLONE_VM, .exit_signal = SIGCHLD, .stack = (unsigned long)stack, .stack_size = stack_len - 16 };
	long pid = -1;

	go_on_in_child(len);
	short_lives();
	maker = (void *)(long)getpid();
	top[0] = (void *)orphan_begins;
	top[1] = maker;
	if (strcmp(how, "vfork") == 0) {
		by_vfork(maker);
	} else if (strcmp(how, "clone-vfork") == 0) {
		pid = clone(orphaned, stack + stack_len, CLONE_VM | CLONE_VFORK | SIGCHLD, maker);
	} else if (strcmp(how, "syscall") == 0) {
		pid = syscall(SYS_clone, CLONE_VM | SIGCHLD, top, NULL, NULL, NULL);
	} else {
		pid = syscall(SYS_clone3, &args, sizeof(args));
	}
	sleep(60);
	return pid < 0;
}

static int spawned(size_t len, const char *fifo)
{
	char *text = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	static char shell[] = "sh", option[] = "-c", script[] = "echo \"$1 $WORD\"";
	char *argv[] = { shell, option, script, shell, text, NULL }, *envp[] = { text + 4096, NULL };
	posix_spawn_file_actions_t actions;
	pid_t pid;

	if (text == MAP_FAILED || posix_spawn_file_actions_init(&actions) || posix_spawn_file_actions_addopen(&actions, 9, fifo, O_RDONLY, 0))
		return 1;
	strcpy(text, "argument");
	strcpy(text + 4096, "WORD=environment");
	go_on_in_child(len);
	return posix_spawn(&pid, "/bin/sh", &actions, NULL, argv, envp);
}

static void *kills_children(void *arg)
{
	unsigned random = 1;
	char path[64];

	(void)arg;
	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	while (!atomic_load(&over)) {
		FILE *f = fopen(path, "r");

		for (int pid; f && fscanf(f, "%d", &pid) == 1; kill(pid, SIGKILL)) { /* NOLINT(cert-err34-c) */
			random = random * 1103515245 + 12345;
			usleep((random >> 8) % 600);
		}
		if (f)
			fclose(f);
	}
	return NULL;
}

static pid_t execute_by_vfork(char *const argv[])
{
	const pid_t pid = vfork(); /* NOLINT */

	if (pid == 0) {
		execv("/bin/true", argv);
		_exit(1);
	}
	return pid;
}

static int killed(int times)
{
	char *argv[] = { (char[]){ "true" }, NULL };
	pthread_t thread;
	int killed = 0;

	if (pthread_create(&thread, NULL, kills_children, NULL))
		return 1;
	for (int i = 0, status; i < times; i++) {
		pid_t pid = -1;

		if (i % 2 == 0)
			pid = execute_by_vfork(argv);
		else if (posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ))
			return 1;
		if (waitpid(pid, &status, 0) != pid)
			return 1;
		killed += WIFSIGNALED(status);
		if (i % 8)
			continue;
		pid = fork();
		if (pid == 0)
			_exit(0);
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			return 1;
	}
	atomic_store(&over, true);
	pthread_join(thread, NULL);
	puts(killed > times / 8 ? "killed" : "hardly any was killed");
	return 0;
}

static int stream(void)
{
	const size_t step = 64 * 4096, len = 64 << 20;
	char *memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t done = 0;

	if (memory == MAP_FAILED)
		return 1;
	for (int c; done < len && (c = getchar()) != EOF;) {
		if (c != '\n')
			continue;
		for (size_t end = done + step; done < end; done += 4096)
			fill(memory + done, done + 1, 0);
		puts("done");
		fflush(stdout);
	}
	return 0;
}

/* As long as the command has it open. */
static struct mf_control *control_of(const char *minflt)
{
	char folder[64], name[400], target[64] = "";
	struct mf_control *c = NULL;
	DIR *d;

	snprintf(folder, sizeof(folder), "/proc/%s/fd", minflt);
	d = opendir(folder);
	for (struct dirent *e; d && (e = readdir(d));) {
		int fd;

		snprintf(name, sizeof(name), "%s/%s", folder, e->d_name);
		if (readlink(name, target, sizeof(target) - 1) < 0 || strncmp(target, "/memfd:minflt-control", 21) != 0)
			continue;
		fd = open(name, O_RDONLY);
		c = mmap(NULL, MF_MAILBOX_AT, PROT_READ, MAP_SHARED, fd, 0);
		close(fd);
	}
	if (d)
		closedir(d);
	return c == MAP_FAILED ? NULL : c;
}

static int unmanaged(const char *minflt)
{
	struct mf_control *c = control_of(minflt);
	const struct tree_process *p = c ? &control_tree(c)->process[0] : NULL;
	unsigned long size, resident, shared;
	char name[64];
	FILE *f;

	if (!c)
		return 1;
	snprintf(name, sizeof(name), "/proc/%u/statm", p->pid);
	f = fopen(name, "r");
	if (!f || fscanf(f, "%lu %lu %lu", &size, &resident, &shared) != 3)
		return 1;
	printf("%ld\n", (long)((resident - shared) * 4096) - (long)(p->real_pages * 4096 + p->other_bytes + p->start_bytes));
	return 0;
}

/* The child runs on its parent's stack until it executes: the instruction stands here, so that nobody returns over the frame that the other one needs. */
static int spawn(char **argv)
{
	long pid = SYS_clone;
	int status = 1;

	__asm__ volatile("xor %%edx, %%edx; xor %%r10d, %%r10d; xor %%r8d, %%r8d; syscall"
			 : "+a"(pid) : "D"((long)(CLONE_VM | CLONE_VFORK | SIGCHLD)), "S"(0L) : "rcx", "r11", "rdx", "r10", "r8", "memory");
	if (pid == 0) {
		sys_call3(SYS_execve, (long)argv[0], (long)argv, (long)environ);
		_exit(99);
	}
	return waitpid((pid_t)pid, &status, 0) != pid || status;
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "stream") == 0)
		return stream();
	if (argc > 2 && strcmp(argv[1], "beside") == 0)
		return two_beside((size_t)atoi(argv[2]) << 20);
	if (argc > 2 && strcmp(argv[1], "kill") == 0)
		return killed(atoi(argv[2]));
	if (argc > 3 && strcmp(argv[1], "orphan") == 0)
		return orphan((size_t)atoi(argv[2]) << 20, argv[3]);
	if (argc > 3 && strcmp(argv[1], "held-spawn") == 0)
		return spawned((size_t)atoi(argv[2]) << 20, argv[3]);
	if (argc > 2 && strcmp(argv[1], "unmanaged") == 0)
		return unmanaged(argv[2]);
	if (argc > 2 && strcmp(argv[1], "exec") == 0)
		sys_call3(SYS_execve, (long)argv[2], (long)(argv + 2), (long)environ);
	if (argc > 2 && strcmp(argv[1], "spawn") == 0)
		return spawn(argv + 2);
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
