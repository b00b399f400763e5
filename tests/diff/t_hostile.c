/* SPDX-License-Identifier: MIT
 *
 * t_hostile HABIT - a program that takes away from itself what minflt might have counted on, while most of its memory is evicted. Then its memory is used
 * as before, it maps and gives up, it forks, and so does its child: everything must go as natively, and no descriptor must have come or gone.
 */
#include "common.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#define LEN (6 * MB)

static char *area, *guarded;
static int fds_before;
static int have_proc = 1;

static int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	if (!d)
		return -1;
	while (readdir(d))
		n++;
	closedir(d);
	return n - 3; /* . and .. and the one it is read by */
}

static void memory_is_right(uint64_t seed)
{
	holds("area", area, LEN, seed);
	fill(area, LEN, seed + 1);
	pressure();
	holds("area anew", area, LEN, seed + 1);
	mprotect(guarded, 64 * PAGE, PROT_READ);
	holds("behind a guard", guarded, 64 * PAGE, 2);
	mprotect(guarded, 64 * PAGE, PROT_NONE);
	fill(area, LEN, seed);
}

/* The window is there already: nothing counts on more address space. */
static void calls_work(void)
{
	char *p = guarded + 128 * PAGE;
	void *blocks[100];

	ADDR("mmap", p, mmap(p, 64 * PAGE, RW, ANONFIXED, -1, 0));
	fill(p, 64 * PAGE, 3);
	RC("mprotect", mprotect(p, 16 * PAGE, PROT_READ));
	RC("madvise", madvise(p + 32 * PAGE, 8 * PAGE, MADV_DONTNEED));
	pressure();
	holds("mapped", p, 32 * PAGE, 3);
	zeroed("given up", p + 32 * PAGE, 8 * PAGE);
	ADDR("mremap", p, mremap(p + 16 * PAGE, 16 * PAGE, 16 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p + 64 * PAGE));
	pressure();
	holds_at("moved", p + 64 * PAGE, 16 * PAGE, 3, 16);
	say_rights("all", p, 84);
	RC("munmap", munmap(p, 32 * PAGE));
	for (size_t i = 0; i < 100; i++) {
		blocks[i] = malloc(2000 * (i % 7 + 1));
		if (blocks[i])
			fill(blocks[i], 2000 * (i % 7 + 1), i);
	}
	pressure();
	for (size_t i = 0; i < 100; i++) {
		if (!blocks[i] || !intact(blocks[i], 2000 * (i % 7 + 1), i, 0))
			wrong("block %zu", i);
		free(blocks[i]);
	}
}

static void *in_thread(void *arg)
{
	return intact(area, LEN, 1, 0) ? arg : NULL;
}

static void threads_work(void)
{
	pthread_t t;
	void *result = NULL;
	int rc = pthread_create(&t, NULL, in_thread, area);

	if (!rc)
		pthread_join(t, &result);
	say("thread: %s, %d", rc ? strerrorname_np(rc) : "-", result == area);
}

static void descriptors_are_its_own(void)
{
	int now = count_fds();

	if (have_proc)
		say("descriptors: %d", now < 0 ? -1 : now - fds_before);
	say("the next descriptor: %d", dup(1));
}

static void grandchild(void *arg)
{
	memory_is_right(1);
	calls_work();
}

static void child(void *arg)
{
	memory_is_right(1);
	calls_work();
	descriptors_are_its_own();
	threads_work();
	in_child("grandchild", grandchild, NULL);
	memory_is_right(1);
}

static void forks(const char *name, void (*fn)(void *))
{
	pid_t pid = fork();
	int status = -1;

	if (pid < 0) {
		say_rc("fork", pid);
		return;
	}
	if (pid == 0) {
		fn(NULL);
		_exit(done());
	}
	waitpid(pid, &status, 0);
	say_end(name, status);
}

/* ---- habits ------------------------------------------------------------------------------------------------------ */

static void limit(int which, rlim_t soft, rlim_t hard)
{
	struct rlimit r = { soft, hard };

	RC("setrlimit", setrlimit((__rlimit_resource_t)which, &r));
}

static void close_range_all(void)
{
	RC("close_range", syscall(SYS_close_range, 3, ~0U, 0));
}

static void closefrom_loop(void)
{
	int closed = 0;

	for (int fd = 3; fd < 70000; fd++)
		closed += close(fd) == 0;
	say("closed %d", closed);
	closefrom(3);
}

static void close_standard(void)
{
	close(0);
	close(2);
	close_range_all();
}

static void nofile_soft(void)
{
	struct rlimit r;

	getrlimit(RLIMIT_NOFILE, &r);
	limit(RLIMIT_NOFILE, 0, r.rlim_max);
	have_proc = 0;
}

static void nofile(void)
{
	limit(RLIMIT_NOFILE, 0, 0);
	have_proc = 0;
}

/* As programs do that know what they need: much less than what minflt reserves. */
static void little(int which)
{
	struct rlimit r = { 0, 0 };

	limit(which, 200 * MB, 300 * MB);
	ADDR("too much", area, mmap(NULL, 256 * MB, RW, ANON, -1, 0));
	RC("getrlimit", getrlimit((__rlimit_resource_t)which, &r));
	say("limits %lu %lu MiB", r.rlim_cur / MB, r.rlim_max / MB);
	limit(which, 300 * MB, 300 * MB);
	limit(which, 200 * MB, 100 * MB);
	RC("prlimit", prlimit(0, (__rlimit_resource_t)which, NULL, &r));
	say("limits %lu %lu MiB", r.rlim_cur / MB, r.rlim_max / MB);
	limit(which, 150 * MB, 250 * MB);
	ADDR("too much", area, mmap(NULL, 250 * MB, RW, ANON, -1, 0));
}

static void as(void)
{
	little(RLIMIT_AS);
}

static void data(void)
{
	little(RLIMIT_DATA);
}

static void nproc(void)
{
	limit(RLIMIT_NPROC, 0, 0);
}

static void nproc_user(void)
{
	if (is_root() && (setgroups(0, NULL) || setresgid(65533, 65533, 65533) || setresuid(65533, 65533, 65533)))
		die("setresuid");
	limit(RLIMIT_NPROC, 0, 0);
}

static void small_limits(void)
{
	limit(RLIMIT_STACK, 256 * 1024, 256 * 1024);
	limit(RLIMIT_MEMLOCK, 0, 0);
	limit(RLIMIT_FSIZE, 256 * 1024, 256 * 1024);
	limit(RLIMIT_CORE, 0, 0);
	limit(RLIMIT_SIGPENDING, 0, 0);
	limit(RLIMIT_MSGQUEUE, 0, 0);
	limit(RLIMIT_CPU, 100, 100);
}

static void drop_root(void)
{
	if (!is_root())
		return;
	RC("setgroups", setgroups(0, NULL));
	RC("setgid", setgid(65534));
	RC("setuid", setuid(65534));
	have_proc = 0; /* not dumpable: the folder belongs to root */
}

static void drop_capabilities(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct none[2] = { 0 };

	for (int cap = 0; cap < 64; cap++)
		prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
	RC("no new privileges", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	RC("capset", syscall(SYS_capset, &header, none));
	RC("dumpable", prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
}

static void chrooted(void)
{
	if (!is_root())
		return;
	RC("mkdir", mkdir("empty", 0700));
	RC("chroot", chroot("empty"));
	RC("chdir", chdir("/"));
	have_proc = 0;
}

static void everything(void)
{
	chrooted();
	drop_root();
	drop_capabilities();
	close_standard();
	small_limits();
	nofile();
}

static const struct { const char *name; void (*fn)(void); } habits[] = {
	{ "close_range", close_range_all }, { "closefrom", closefrom_loop }, { "close_standard", close_standard },
	{ "nofile_soft", nofile_soft }, { "nofile", nofile }, { "as", as }, { "data", data },
	{ "nproc", nproc }, { "nproc_user", nproc_user }, { "small_limits", small_limits },
	{ "drop_root", drop_root }, { "drop_capabilities", drop_capabilities }, { "chroot", chrooted }, { "everything", everything },
};

int main(int argc, char **argv)
{
	size_t i = 0;

	while (i < sizeof(habits) / sizeof(habits[0]) && argc > 1 && strcmp(argv[1], habits[i].name))
		i++;
	if (argc < 2 || i == sizeof(habits) / sizeof(habits[0])) {
		fprintf(stderr, "usage: t_hostile HABIT\n");
		return 2;
	}
	area = map(LEN);
	guarded = window(256 * PAGE, RW);
	fill(area, LEN, 1);
	fill(guarded, 64 * PAGE, 2);
	mprotect(guarded, 64 * PAGE, PROT_NONE);
	pressure();
	habits[i].fn();
	fds_before = count_fds();
	memory_is_right(1);
	calls_work();
	descriptors_are_its_own();
	threads_work();
	forks("child", child);
	memory_is_right(1);
	return done();
}
