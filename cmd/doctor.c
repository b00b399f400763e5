/* SPDX-License-Identifier: MIT
 *
 * doctor.c - `minflt doctor`: can this machine run programs under minflt, for this user? Every line begins with ok, note or FAIL; what is
 * needed after a FAIL (and useful after some notes) is in lines that begin with remedy:, as commands to copy.
 */
#include <errno.h>
#include <inttypes.h>
#include <liburing.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/launch.h"
#include "cmd/probe.h"
#include "cmd/program.h"
#include "cmd/runtime.h"
#include "cmd/size.h"
#include "machine/uffd/uffd_abi.h"

#define TRIAL_MEMORY (16ULL << 20)

const char doctor_usage[] =
	"usage: minflt doctor\n"
	"\n"
	"Say whether minflt can run programs on this machine for this user, and what to change if not.\n"
	"Exit status: 0 it can, 1 it can't.\n";

static unsigned nr_failed;

static void __attribute__((format(printf, 2, 3))) line(const char *tag, const char *fmt, ...)
{
	va_list ap;

	if (strcmp(tag, "FAIL") == 0)
		nr_failed++;
	printf("%-7s ", tag);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

/* The first word of a small file of /proc or /sys. => false: not readable */
static bool read_text(const char *path, char *buf, int len)
{
	FILE *f = fopen(path, "re");
	bool ok = f && fgets(buf, len, f);

	if (f)
		fclose(f);
	if (ok)
		buf[strcspn(buf, "\n")] = '\0';
	return ok;
}

static bool read_number(const char *path, unsigned long *value)
{
	char text[64];

	if (!read_text(path, text, sizeof(text)))
		return false;
	*value = strtoul(text, NULL, 10);
	return true;
}

static void check_kernel(void)
{
	struct utsname u;
	unsigned major = 0, minor = 0;
	char *end;

	if (uname(&u))
		return;
	major = (unsigned)strtoul(u.release, &end, 10);
	if (*end == '.')
		minor = (unsigned)strtoul(end + 1, NULL, 10);
	if (major < 5 || (major == 5 && minor < 7)) {
		line("FAIL", "kernel: Linux %s is too old", u.release);
		line("remedy:", "use Linux 5.7 or newer; from 6.8 on pages are moved instead of copied");
	} else {
		line("ok", "kernel: Linux %s on %s", u.release, u.machine);
	}
}

/* A filter that a container or a sandbox has put over this process. */
static bool under_seccomp(void)
{
	char text[128];
	FILE *f = fopen("/proc/self/status", "re");
	bool found = false;

	while (f && !found && fgets(text, sizeof(text), f))
		found = strncmp(text, "Seccomp:\t2", 10) == 0;
	if (f)
		fclose(f);
	return found;
}

static void remedy_permission(const struct probe *p)
{
	const struct passwd *pw = getpwuid(getuid());
	struct stat st;

	if (!p->user_mode_only && under_seccomp()) {
		line("remedy:", "a seccomp filter (a container?) forbids userfaultfd: allow the call in its profile, or hand in /dev/userfaultfd");
		return;
	}
	line("remedy:", "until the next boot, for every user, as root:");
	line("remedy:", "  sysctl vm.unprivileged_userfaultfd=1");
	line("remedy:", "for good, for every user, as root:");
	line("remedy:", "  echo 'vm.unprivileged_userfaultfd = 1' > /etc/sysctl.d/60-minflt.conf && sysctl --system");
	if (stat("/dev/userfaultfd", &st))
		return; /* a kernel before 6.1, or a container without the device */
	line("remedy:", "or for good, for one group only, as root (you then have to log in again):");
	line("remedy:", "  groupadd -f userfaultfd && usermod -aG userfaultfd %s", pw ? pw->pw_name : "YOUR-NAME");
	line("remedy:", "  echo 'KERNEL==\"userfaultfd\", GROUP=\"userfaultfd\", MODE=\"0660\"' > /etc/udev/rules.d/60-userfaultfd.rules");
	line("remedy:", "  udevadm control --reload && udevadm trigger --name-match=userfaultfd");
}

/* => true: this user gets a userfaultfd that minflt can use */
static bool check_userfaultfd(struct probe *p)
{
	const char *missing;

	probe_userfaultfd(p);
	if (p->source < 0) {
		if (p->syscall_errno == ENOSYS) {
			line("FAIL", "userfaultfd: this kernel has none, or a seccomp filter hides it");
			line("remedy:", "use a kernel with CONFIG_USERFAULTFD=y%s", under_seccomp() ? "; or allow userfaultfd in the seccomp profile" : "");
		} else {
			line("FAIL", "userfaultfd: the system call says '%s', /dev/userfaultfd says '%s'%s", strerror(p->syscall_errno),
			     strerror(p->device_errno), p->user_mode_only ?
			     "; the user-mode-only kind is there, but system calls on managed memory would fail with it" : "");
			remedy_permission(p);
		}
		return false;
	}
	line("ok", "userfaultfd: given by %s", p->source == MF_UFFD_DEV ? "/dev/userfaultfd" : "the system call");
	missing = probe_missing_feature(p);
	if (missing) {
		line("FAIL", "userfaultfd: lacks %s", missing);
		line("remedy:", "use a newer kernel");
		return false;
	}
	line("ok", "features: write protection, thread ids");
	if (p->features & UFFD_FEATURE_MOVE)
		line("ok", "features: UFFDIO_MOVE, pages are moved");
	else
		line("note", "features: no UFFDIO_MOVE (Linux 6.8): works, slower, by copying");
	if (p->features & UFFD_FEATURE_POISON)
		line("ok", "features: UFFDIO_POISON, a damaged page is a SIGBUS for who touches it");
	else
		line("note", "features: no UFFDIO_POISON (Linux 6.6): a damaged page ends the program");
	return true;
}

/* => 1 when there was something to say */
static unsigned check_limit(const char *name, int resource, rlim_t least, const char *why, const char *remedy)
{
	struct rlimit r;
	char now[SIZE_TEXT];

	if (getrlimit(resource, &r) || r.rlim_cur == RLIM_INFINITY || r.rlim_cur >= least)
		return 0;
	if (resource == RLIMIT_NOFILE)
		snprintf(now, sizeof(now), "%" PRIu64, (uint64_t)r.rlim_cur);
	else
		size_format(now, (uint64_t)r.rlim_cur);
	line("note", "limits: %s is %s: %s", name, now, why);
	line("remedy:", "%s", remedy);
	return 1;
}

static void check_limits(void)
{
	unsigned said = 0;
	unsigned long n;

	said += check_limit("address space (RLIMIT_AS)", RLIMIT_AS, RLIM_INFINITY,
		    "minflt reserves more address space than the budget and may not get it", "ulimit -v unlimited");
	said += check_limit("open files (RLIMIT_NOFILE)", RLIMIT_NOFILE, 64, "the program may run out of descriptors", "ulimit -n 1024");
	said += check_limit("locked memory (RLIMIT_MEMLOCK)", RLIMIT_MEMLOCK, 64 << 10, "programs that lock memory may fail", "ulimit -l 65536");
	if (read_number("/proc/sys/vm/max_map_count", &n) && n < 65530) {
		line("note", "limits: vm.max_map_count is %lu: a program with much memory may run out of mappings", n);
		said++;
		line("remedy:", "as root: sysctl vm.max_map_count=65530");
	}
	if (read_number("/proc/sys/vm/overcommit_memory", &n) && n == 2) {
		line("note", "limits: vm.overcommit_memory is 2: what minflt reserves counts as used, and big programs may get no memory");
		said++;
		line("remedy:", "as root: sysctl vm.overcommit_memory=0");
	}
	if (!said)
		line("ok", "limits: none in the way");
}

static void check_huge_pages(void)
{
	char text[128];

	if (!read_text("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof(text)))
		return;
	if (strstr(text, "[always]"))
		line("note", "huge pages: 'always' here; memory under minflt is in small pages all the same");
	else
		line("ok", "huge pages: %s", text);
}

/* For --swap. */
static void check_io_uring(void)
{
	struct io_uring ring;
	int err = io_uring_queue_init(2, &ring, 0);

	if (!err) {
		io_uring_queue_exit(&ring);
		line("ok", "io_uring: the swap file is written while the program runs");
		return;
	}
	line("note", "io_uring: refused (%s): with --swap, programs wait for each write", strerror(-err));
	line("remedy:", "as root: sysctl kernel.io_uring_disabled=0; in a container: a seccomp profile that lets io_uring_setup and io_uring_enter through");
}

/* The gate before the program (see minflt-run(1)) stops it by ptrace(2). */
static void check_ptrace(void)
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0)
		_exit(ptrace(PTRACE_TRACEME, 0, NULL, NULL) ? 1 : 0);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return;
	if (WEXITSTATUS(status) == 0)
		line("ok", "ptrace: programs are held until the runtime has reported for duty");
	else
		line("note", "ptrace: forbidden here: a program into which the runtime is not loaded is killed, but only after it has started");
}

/* The whole way: this very command, asked for its version, under the runtime. */
static void try_runtime(int runtime_fd, const struct probe *p)
{
	const struct mf_request request = { .memory = TRIAL_MEMORY, .codec = SWAP_LZ4, .uffd_source = (uint32_t)p->source };
	char *argv[] = { (char[]){ "minflt" }, (char[]){ "--version" }, NULL };
	static struct outcome out;
	struct launch l = { .path = "/proc/self/exe", .argv = argv, .name = "a trial program", .runtime_fd = runtime_fd, .swap_fd = -1, .silent = true };

	l.control = control_create(&l.control_fd, &request);
	if (!l.control) {
		line("FAIL", "runtime: no shared memory for it: %s", strerror(errno));
		line("remedy:", "raise the limits of this process: ulimit -n 1024; ulimit -v unlimited");
		return;
	}
	launch(&l, &out);
	close(l.control_fd);
	if (out.ran && out.status == 0) {
		line("ok", "runtime: a trial program ran under it (start %.1f ms)", (double)l.control->counters.started_ns / 1e6);
		return;
	}
	line("FAIL", "runtime: %s", out.ran ? "a trial program failed under it" : out.why);
	if (out.ran)
		line("remedy:", "status %d %.200s", out.status, l.control->message);
	else
		line("remedy:", "see the line above; if it names nothing to change, build or install minflt anew");
}

static void check_runtime(bool usable, const struct probe *p)
{
	char path[PATH_MAX], why[PATH_MAX + 256];
	int fd = runtime_open(path, why);
	const char *remedy, *fault = program_environment_fault(&remedy);
	char *semicolon;

	if (fd < 0) {
		/* "what is wrong; what to do" */
		semicolon = strrchr(why, ';');
		if (semicolon)
			*semicolon = '\0';
		line("FAIL", "runtime: %s", why);
		line("remedy:", "%s", semicolon ? semicolon + 2 : "build or install minflt anew");
		return;
	}
	line("ok", "runtime: %s", path);
	if (fault) {
		line("FAIL", "environment: %s", fault);
		line("remedy:", "%s", remedy);
	} else if (usable) {
		try_runtime(fd, p);
	} else {
		line("note", "runtime: not tried out without userfaultfd");
	}
	close(fd);
}

int cmd_doctor(int argc, char **argv)
{
	struct probe p;
	bool usable;

	if (argc > 1 && strcmp(argv[1], "--help") == 0) {
		fputs(doctor_usage, stdout);
		return fflush(stdout) ? complain(EXIT_MINFLT, "cannot write to standard output") : 0;
	}
	if (argc > 1)
		return complain(EXIT_MINFLT, "doctor takes no arguments, and there is '%s'; 'minflt help doctor' tells more", argv[1]);
	check_kernel();
	usable = check_userfaultfd(&p);
	check_limits();
	check_huge_pages();
	check_ptrace();
	check_io_uring();
	fflush(stdout); /* before the trial forks */
	check_runtime(usable, &p);
	puts(nr_failed ? "\nThis machine cannot run programs under minflt yet." : "\nThis machine can run programs under minflt.");
	if (fflush(stdout) || ferror(stdout))
		return complain(EXIT_MINFLT, "cannot write to standard output");
	return nr_failed ? 1 : 0;
}
