/* SPDX-License-Identifier: MIT
 *
 * t_exec - programs that the program executes, by every way there is: each finds the arguments, the environment and the descriptors that it was given,
 * and nothing else; and its memory is right under pressure, as is its parent's.
 *
 * The program executes itself: `t_exec show ...` says what it finds.
 */
#include "common.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <pty.h>
#include <sched.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#define LEN (5 * MB)

extern char **environ;
static char self[4096];
static char *area;

/* ---- what the executed program does ------------------------------------------------------------------------------------- */

static void show_descriptors(void)
{
	char line[256] = "";
	DIR *dir = opendir("/proc/self/fd");
	int open_fds[256] = { 0 };

	if (!dir)
		die("opendir");
	for (struct dirent *e; (e = readdir(dir));)
		if (e->d_name[0] != '.' && atoi(e->d_name) != dirfd(dir) && atoi(e->d_name) < 256)
			open_fds[atoi(e->d_name)] = 1;
	closedir(dir);
	for (int i = 3; i < 256; i++)
		if (open_fds[i])
			snprintf(line + strlen(line), sizeof(line) - strlen(line), " %d", i);
	say("descriptors:%s", line);
}

static void show_environment(void)
{
	uint64_t hash = 0;
	int nr = 0;

	for (; environ[nr]; nr++) {
		hash = mix(hash ^ digest(environ[nr], strlen(environ[nr])));
		if (nr < 8)
			say("  %s", environ[nr]);
	}
	say("environment: %d, %016llx", nr, (unsigned long long)hash);
}

static int show(int argc, char **argv)
{
	char *mine = map(LEN);

	for (int i = 2; i < argc; i++)
		say("argument: %s", argv[i]);
	show_descriptors();
	show_environment();
	fill(mine, LEN, 50);
	pressure();
	holds("executed program", mine, LEN, 50);
	return done() ? 1 : 33;
}

/* Executes itself `depth` times, with a fork and memory of its own each time. */
static int chain(int depth)
{
	char number[16];
	char *mine = map(MB);
	int status = -1;
	pid_t pid;

	fill(mine, MB, (uint64_t)depth);
	pid = fork();
	if (pid == 0)
		_exit(intact(mine, MB, (uint64_t)depth, 0) ? 4 : 1);
	waitpid(pid, &status, 0);
	say_end("child of the chain", status);
	if (depth == 0)
		return 34;
	snprintf(number, sizeof(number), "%d", depth - 1);
	execl(self, "t_exec", "chain", number, NULL);
	return 1;
}

/* ---- the ways ----------------------------------------------------------------------------------------------------------- */

static char *show_argv[] = { "t_exec", "show", "one", "", "three three", NULL };
static char *few[] = { "A=1", "B=", "C=with spaces", NULL };

static void wait_for(const char *name, pid_t pid)
{
	int status = -1;

	if (pid < 0)
		wrong("%s: no child", name);
	else if (waitpid(pid, &status, 0) != pid)
		wrong("%s: lost", name);
	say_end(name, status);
}

enum how { EXECVE, EXECV, EXECVP, EXECVPE, EXECL, EXECLP, EXECLE, EXECVEAT, EXECVEAT_EMPTY, FEXECVE, RAW, RAW_AT, NR_HOW };
static const char *const how_names[] = { "execve", "execv", "execvp", "execvpe", "execl", "execlp", "execle", "execveat", "execveat, empty path",
					 "fexecve", "syscall(execve)", "syscall(execveat)" };

static void run_exec(enum how how, char **envp)
{
	int fd;

	switch (how) {
	case EXECVE:
		execve(self, show_argv, envp);
		break;
	case EXECV:
		execv(self, show_argv);
		break;
	case EXECVP:
		execvp("t_exec", show_argv);
		break;
	case EXECVPE:
		execvpe("t_exec", show_argv, envp);
		break;
	case EXECL:
		execl(self, "t_exec", "show", "a", "b", NULL);
		break;
	case EXECLP:
		execlp("t_exec", "t_exec", "show", "c", NULL);
		break;
	case EXECLE:
		execle(self, "t_exec", "show", "d", NULL, envp);
		break;
	case EXECVEAT:
		syscall(SYS_execveat, AT_FDCWD, self, show_argv, envp, 0);
		break;
	case EXECVEAT_EMPTY:
		fd = open(self, O_PATH | O_CLOEXEC);
		execveat(fd, "", show_argv, envp, AT_EMPTY_PATH);
		break;
	case FEXECVE:
		fd = open(self, O_RDONLY | O_CLOEXEC);
		fexecve(fd, show_argv, envp);
		break;
	case RAW:
		syscall(SYS_execve, self, show_argv, envp);
		break;
	case RAW_AT:
		fd = open("/", O_PATH | O_CLOEXEC | O_DIRECTORY);
		syscall(SYS_execveat, fd, self, show_argv, envp, 0);
		break;
	default:
		break;
	}
}

static void after_fork(void)
{
	for (int how = 0; how < NR_HOW; how++) {
		pid_t pid = fork();

		if (pid == 0) {
			run_exec((enum how)how, few);
			_exit(99);
		}
		wait_for(how_names[how], pid);
	}
}

static void after_vfork(void)
{
	for (int how = 0; how < NR_HOW; how++) {
		pid_t pid;

		if (how == EXECVEAT_EMPTY || how == FEXECVE || how == RAW_AT)
			continue; /* they open, for the child's table alone; execve does for them all */
		pid = vfork();
		if (pid == 0) {
			run_exec((enum how)how, few);
			_exit(99);
		}
		wait_for(how_names[how], pid);
	}
}

static void environments(void)
{
	static char *nothing[] = { NULL };
	static char *preload[] = { "X=1", "LD_PRELOAD=libm.so.6", "Y=2", NULL };
	static char *empty[] = { "LD_PRELOAD=", "Y=2", NULL };
	static char *twice[] = { "LD_PRELOAD=libm.so.6", "X=1", "LD_PRELOAD=libdl.so.2 libm.so.6", NULL };
	static char *liar[] = { "MINFLT_CONTROL=x", "X=1", NULL };
	static char *many[3001], words[3000][24];
	char **all[] = { nothing, NULL, preload, empty, twice, liar, many };

	for (int i = 0; i < 3000; i++) {
		snprintf(words[i], sizeof(words[i]), "VARIABLE_%d=%d", i, i * i);
		many[i] = words[i];
	}
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		pid_t pid = fork();

		if (pid == 0) {
			execve(self, show_argv, all[i]);
			_exit(99);
		}
		wait_for("fork, environment", pid);
		pid = vfork();
		if (pid == 0) {
			execve(self, show_argv, all[i]);
			_exit(99);
		}
		wait_for("vfork, environment", pid);
	}
}

static void refused(void)
{
	static char *no_argv[] = { "x", NULL };
	char text[] = "t_exec.not-a-program", bad[] = "t_exec.script";
	const char *volatile unmapped = (const char *)8;
	int fd = open(text, O_CREAT | O_WRONLY | O_TRUNC, 0755);

	if (fd < 0 || write(fd, "hello\n", 6) != 6)
		die(text);
	close(fd);
	fd = open(bad, O_CREAT | O_WRONLY | O_TRUNC, 0755);
	if (fd < 0 || write(fd, "#!/nowhere/interpreter\n", 23) != 23)
		die(bad);
	close(fd);
	RC("missing", execve("/nowhere", no_argv, few));
	RC("folder", execve("/tmp", no_argv, few));
	RC("not executable", execve("/etc/passwd", no_argv, few));
	RC("no program", execve(text, no_argv, few));
	RC("no interpreter", execve(bad, no_argv, few));
	RC("no such descriptor", fexecve(1000, no_argv, few));
	RC("bad path", execve(unmapped, no_argv, few));
	RC("missing in PATH", execvp("t_exec.missing", no_argv));
	unlink(text);
	unlink(bad);
	show_descriptors();
	holds("after refusals", area, LEN, 1);
}

static void by_spawn(void)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t set;
	pid_t pid = -1;
	int rc;

	rc = posix_spawn(&pid, self, NULL, NULL, show_argv, few);
	wait_for("posix_spawn", pid);
	say_rc("posix_spawn", rc);
	rc = posix_spawnp(&pid, "t_exec", NULL, NULL, show_argv, few);
	wait_for("posix_spawnp", pid);
	say_rc("posix_spawnp", rc);
	RC("posix_spawn of nothing", posix_spawn(&pid, "/nowhere", NULL, NULL, show_argv, few));
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 7, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, 7, 20);
	posix_spawn_file_actions_addclose(&actions, 0);
	posix_spawn_file_actions_addchdir_np(&actions, "/");
	posix_spawnattr_init(&attr);
	sigemptyset(&set);
	posix_spawnattr_setsigmask(&attr, &set);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_RESETIDS);
	rc = posix_spawn(&pid, self, &actions, &attr, show_argv, few);
	wait_for("posix_spawn with actions", pid);
	say_rc("posix_spawn with actions", rc);
	posix_spawn_file_actions_addclosefrom_np(&actions, 3);
	rc = posix_spawn(&pid, self, &actions, &attr, show_argv, few);
	wait_for("posix_spawn that closes all", pid);
	say_rc("posix_spawn that closes all", rc);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	show_descriptors();
}

static void by_shell(void)
{
	char command[sizeof(self) + 64], line[256];
	FILE *f;

	snprintf(command, sizeof(command), "env -i '%s' show by system", self);
	say_end("system", system(command));
	snprintf(command, sizeof(command), "'%s' show by popen", self);
	f = popen(command, "r");
	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, "argument", 8) == 0 || strncmp(line, "executed", 8) == 0)
			say("popen: %.*s", (int)strcspn(line, "\n"), line);
	say_end("popen", f ? pclose(f) : -1);
	show_descriptors();
}

static int cloned(void *arg)
{
	execve(self, show_argv, few);
	return 99;
}

static void by_clone(void)
{
	char *stack = mmap(NULL, 128 * 1024, RW, ANON | MAP_STACK, -1, 0);

	wait_for("clone", clone(cloned, stack + 128 * 1024, SIGCHLD, NULL));
	wait_for("clone, same memory", clone(cloned, stack + 128 * 1024, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL));
	munmap(stack, 128 * 1024);
}

static void *exec_in_thread(void *arg)
{
	execve(self, show_argv, few);
	return NULL;
}

static void from_thread(void)
{
	pid_t pid = fork();
	pthread_t t;

	if (pid == 0) {
		pthread_create(&t, NULL, exec_in_thread, NULL);
		pthread_join(t, NULL);
		_exit(99);
	}
	wait_for("from a thread", pid);
}

/* Closed descriptors, low limits, other rights: what a daemon does before it executes its worker. */
static void stripped(void *arg)
{
	struct rlimit few_files = { 16, 16 };

	syscall(SYS_close_range, 3, ~0U, 0);
	setrlimit(RLIMIT_NOFILE, &few_files);
	if (is_root() && (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534)))
		die("setresuid");
	if (arg && vfork() != 0) {
		int status = -1;

		wait(&status);
		say_end("vfork child with other rights", status);
		_exit(WEXITSTATUS(status));
	}
	execve("/bin/sh", (char *[]){ "sh", "-c", "exec /bin/sh -c 'read a b < /proc/self/comm; echo $a; ls /proc/self/fd'", NULL }, few);
	_exit(99);
}

static void closed_streams(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		close(0);
		execl(self, "t_exec", "show", "without standard input", NULL);
		_exit(99);
	}
	wait_for("closed input", pid);
}

static void on_terminal(void)
{
	char text[512];
	int master = -1;
	pid_t pid = forkpty(&master, NULL, NULL, NULL);
	ssize_t n;

	if (pid == 0) {
		if (!intact(area, LEN, 1, 0))
			_exit(1);
		execl("/bin/sh", "sh", "-c", "tty >/dev/null && exit 17", NULL);
		_exit(99);
	}
	while ((n = read(master, text, sizeof(text))) > 0)
		;
	wait_for("forkpty", pid);
	close(master);
}

static void chained(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(chain(4));
	wait_for("chain", pid);
}

static void many(void)
{
	static int bad, i;

	for (i = 0; i < 40; i++) {
		int status = -1;
		pid_t pid = i % 2 ? vfork() : fork();

		if (pid == 0) {
			execl("/bin/true", "true", NULL);
			_exit(99);
		}
		waitpid(pid, &status, 0);
		bad += status != 0;
	}
	say("many: %d bad", bad);
}

int main(int argc, char **argv)
{
	char path[sizeof(self) + 64];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0)
		die("readlink");
	if (argc > 1 && strcmp(argv[1], "show") == 0)
		return show(argc, argv);
	if (argc > 2 && strcmp(argv[1], "chain") == 0)
		return chain(atoi(argv[2]));
	snprintf(path, sizeof(path), "/nowhere:/etc:%.*s:/usr/bin:/bin", (int)(strrchr(self, '/') - self), self);
	clearenv();
	setenv("PATH", path, 1);
	setenv("MF_PRESSURE_MB", "6", 1);
	area = map(LEN);
	fill(area, LEN, 1);
	pressure();
	after_fork();
	after_vfork();
	environments();
	refused();
	by_spawn();
	by_shell();
	by_clone();
	from_thread();
	in_child("stripped", stripped, NULL);
	in_child("stripped, vfork", stripped, "yes");
	closed_streams();
	on_terminal();
	chained();
	many();
	holds("parent", area, LEN, 1);
	return done();
}
