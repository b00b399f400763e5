/* SPDX-License-Identifier: MIT
 *
 * start.c - reporting for duty. Runs before every other constructor of the program (the module is linked -z initfirst).
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "lib/pager.h"
#include "machine/sys.h"
#include "run/runtime.h"

static struct mf_control *control;

static uint64_t now_ns(void)
{
	struct timespec t = { 0, 0 };

	sys_call2(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static char **find_env(char **envp, const char *name)
{
	size_t n = strlen(name);

	for (; *envp; envp++)
		if (!strncmp(*envp, name, n) && (*envp)[n] == '=')
			return envp;
	return NULL;
}

static void drop_env(char **entry)
{
	do
		entry[0] = entry[1];
	while (*entry++);
}

static int parse_fd(const char **s)
{
	int fd = 0;

	if (**s < '0' || **s > '9')
		return -1;
	while (**s >= '0' && **s <= '9' && fd < 1 << 24)
		fd = fd * 10 + (*(*s)++ - '0');
	return fd;
}

/* The environment as the program would have had it without us. */
static void restore_env(char **envp)
{
	char **entry = find_env(envp, "LD_PRELOAD");
	static const char name[] = "LD_PRELOAD=";
	static char text[sizeof(name) + sizeof(control->ld_preload)];

	if (entry && control->had_ld_preload) {
		memcpy(text, name, sizeof(name) - 1);
		memcpy(text + sizeof(name) - 1, control->ld_preload, sizeof(control->ld_preload) - 1);
		*entry = text;
	} else if (entry) {
		drop_env(entry);
	}
	entry = find_env(envp, "MINFLT_CONTROL");
	if (entry)
		drop_env(entry);
}

static size_t append(char *text, size_t n, const char *s)
{
	while (*s && n < 200)
		text[n++] = *s++;
	return n;
}

static _Noreturn void fail(const char *what, int err)
{
	char text[256];
	size_t n;

	err = err < 0 ? -err : err;
	n = append(text, 0, what);
	n = append(text, n, ": error ");
	if (err >= 100)
		text[n++] = (char)('0' + err / 100);
	if (err >= 10)
		text[n++] = (char)('0' + err / 10 % 10);
	text[n++] = (char)('0' + err % 10);
	if (err == ENOMEM)
		n = append(text, n, ", no room to reserve it; raise the limits (ulimit -v, ulimit -d) or give a smaller budget");
	text[n++] = '\n';
	text[n] = 0;
	pager_message(text);
	for (size_t i = 0; !control->message[0] && i < n; i++)
		control->message[i] = text[i];
	atomic_store(&control->state, MF_STATE_FAILED);
	sys_exit_group(125);
}

static long adopt(struct rt_call *c)
{
	rt_adopt_early();
	return 0;
}

/* The whole anew, with what lies behind the control page. Without the mailbox the program compresses for itself; without the table of the swap file
 * it can't start. */
static void map_rest(int fd)
{
	const struct mf_request *q = &control->request;
	long p;

	if (!q->mailbox_entries && !q->swap_bytes)
		return;
	p = sys_mmap(0, control_bytes(q), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (sys_is_err(p)) {
		if (q->swap_bytes)
			fail("the table of the swap file", (int)p);
		control->request.mailbox_entries = 0;
		return;
	}
	sys_munmap((unsigned long)control, page_up(sizeof(*control)));
	control = (struct mf_control *)p;
}

__attribute__((constructor(101))) static void start(int argc, char **argv, char **envp)
{
	char **entry = find_env(envp, "MINFLT_CONTROL");
	uint64_t begin = now_ns();
	const char *s, *what = "";
	int fd, runtime_fd, swap_fd = -1;
	long p;
	int err;

	rt_fork_init();
	rt_brk_init();
	if (!entry)
		return;
	s = *entry + strlen("MINFLT_CONTROL=");
	fd = parse_fd(&s);
	if (fd < 0 || *s++ != ':')
		return;
	runtime_fd = parse_fd(&s);
	if (*s++ == ':')
		swap_fd = parse_fd(&s);
	p = sys_mmap(0, page_up(sizeof(*control)), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (sys_is_err(p))
		return;
	control = (struct mf_control *)p;
	if (control->magic != MF_CONTROL_MAGIC || control->version != MF_CONTROL_VERSION ||
	    atomic_load(&control->state) != MF_STATE_ASKED)
		return;
	map_rest(fd);
	sys_close(fd);
	if (runtime_fd >= 0)
		sys_close(runtime_fd);
	restore_env(envp);
	err = pager_start(control, swap_fd, &what);
	if (swap_fd >= 0)
		sys_close(swap_fd);
	if (!err) {
		what = "stacks of the runtime";
		err = rt_calls_init();
	}
	if (err)
		fail(what, err);
	rt_threads_init();
	rt_filter_init();
	rt_note_bss();
	rt_run(adopt, RT_REMOTE, RT_ARGS(0), NULL);
	atomic_store(&rt_active, true);
	control->counters.started_ns = now_ns() - begin;
	atomic_store(&control->state, MF_STATE_RUNNING);
}

/* The last counters, when the program ends by itself. */
__attribute__((destructor)) static void end(void)
{
	if (atomic_load(&rt_active))
		pager_publish();
}

/* For tests that run under `minflt run` and want to look at their own engine. */
EXPORT const struct mf_counters *mf_run_counters(void);
EXPORT const struct mf_counters *mf_run_counters(void)
{
	if (!atomic_load(&rt_active))
		return NULL;
	pager_publish();
	return pager_counters();
}

static long do_reclaim(struct rt_call *c)
{
	long n;

	mmap_write_lock(pager_mm);
	n = (long)try_to_free_pages((unsigned long)c->a[0]);
	mmap_write_unlock(pager_mm);
	return n;
}

EXPORT unsigned long mf_run_reclaim(unsigned long nr);
EXPORT unsigned long mf_run_reclaim(unsigned long nr)
{
	return atomic_load(&rt_active) ? (unsigned long)rt_run(do_reclaim, RT_REMOTE, RT_ARGS((long)nr), NULL) : 0;
}

static long do_residency(struct rt_call *c)
{
	long there;

	mmap_read_lock(pager_mm);
	there = (long)mm_residency(pager_mm, (unsigned long)c->a[0] & ~(PAGE - 1));
	mmap_read_unlock(pager_mm);
	return there;
}

EXPORT int mf_run_residency(const void *addr);
EXPORT int mf_run_residency(const void *addr)
{
	return atomic_load(&rt_active) ? (int)rt_run(do_residency, RT_HERE, RT_ARGS((long)addr), NULL) : -1;
}
