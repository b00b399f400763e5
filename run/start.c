/* SPDX-License-Identifier: MIT
 *
 * start.c - reporting for duty. Runs before every other constructor of the program (the module is linked -z initfirst).
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/pager.h"
#include "lib/tree.h"
#include "machine/sys.h"
#include "run/exec.h"
#include "run/runtime.h"

static struct mf_control *control;

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

/* The last one: the one that the dynamic linker heeds. */
static char **find_last_env(char **envp, const char *name)
{
	char **last = NULL;

	while ((envp = find_env(envp, name)))
		last = envp++;
	return last;
}

/* "12" or "-1", and what stands behind it. */
static int parse_number(const char **s)
{
	int n = 0, sign = 1;

	if (**s == '-') {
		sign = -1;
		++*s;
	}
	while (**s >= '0' && **s <= '9' && n < 1 << 24)
		n = n * 10 + (*(*s)++ - '0');
	return sign * n;
}

/* What MINFLT_CONTROL says. */
struct told {
	struct lend fds;
	int slot;          /* -1: the program that the command started */
	bool had_preload;  /* slot >= 0 */
	const char *name;  /* the program's */
};

static bool parse(const char *s, struct told *told)
{
	*told = (struct told){ .fds = LEND_NOTHING, .slot = -1, .name = told->name };
	told->fds.fd[LEND_CONTROL] = parse_number(&s);
	if (*s++ != ':')
		return false;
	told->fds.fd[LEND_RUNTIME] = parse_number(&s);
	if (!*s)
		return true;
	if (*s++ != ':')
		return false;
	told->fds.fd[LEND_SWAP] = parse_number(&s);
	if (!*s)
		return true;
	if (*s++ != ':')
		return false;
	told->fds.fd[LEND_DEV] = parse_number(&s);
	if (*s++ != ':')
		return false;
	told->slot = parse_number(&s);
	told->had_preload = s[0] == ':' && s[1] == '1';
	return told->slot >= 0;
}

/* LD_PRELOAD=/proc/self/fd/R:REST -> LD_PRELOAD=REST, where it stands. */
static void cut_own_preload(char *text)
{
	char *to = text + strlen("LD_PRELOAD="), *from = to;

	while (*from && *from != ':')
		from++;
	if (*from)
		from++;
	while (*from)
		*to++ = *from++;
	while (to < from)
		*to++ = 0;
}

static void wipe(char *text)
{
	while (*text)
		*text++ = 0;
}

/* The environment as the program would have had it without us, also for those who look at it from outside. */
static void restore_env(char **envp, bool followed, bool had_preload)
{
	char **entry = followed ? find_last_env(envp, "LD_PRELOAD") : find_env(envp, "LD_PRELOAD");

	if (entry && had_preload) {
		cut_own_preload(*entry);
	} else if (entry) {
		wipe(*entry);
		drop_env(entry);
	}
	entry = find_last_env(envp, "MINFLT_CONTROL");
	if (!entry)
		return;
	wipe(*entry);
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

/* => false: this is no control memory of ours */
static bool map_control(int fd)
{
	struct mf_control *c;
	size_t len;
	long p = sys_mmap(0, page_up(sizeof(*control)), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (sys_is_err(p))
		return false;
	c = (struct mf_control *)p;
	len = c->magic == MF_CONTROL_MAGIC && c->version == MF_CONTROL_VERSION ? control_bytes(&c->request) : 0;
	sys_munmap((unsigned long)p, page_up(sizeof(*control)));
	p = len ? sys_mmap(0, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : -1;
	control = sys_is_err(p) ? NULL : (struct mf_control *)p;
	return control != NULL;
}

/* => the slot of this process, BUSY; or -errno */
static int take_slot(const struct told *told)
{
	uint32_t pid = (uint32_t)sys_getpid();
	int slot;

	if (told->slot < 0) {
		atomic_store(&control_tree(control)->process[TREE_MAIN].pid, pid);
		atomic_store(&control_tree(control)->process[TREE_MAIN].home, 1);
		return TREE_MAIN;
	}
	slot = tree_take_over(control, (unsigned)told->slot, pid);
	if (slot < 0)
		slot = tree_claim(control_tree(control), pid, false);
	if (slot >= 0)
		tree_set_name(&control_tree(control)->process[slot], told->name);
	return slot;
}

/* The runtime is there and can't serve. The first program is not run then; a later one runs without, and that is noted. */
static void not_started(const struct told *told, int slot, const char *what, int err)
{
	if (told->slot < 0)
		fail(what, err);
	if (slot >= 0)
		tree_leave(control, (unsigned)slot);
	tree_note(control_tree(control), told->name, TREE_WHY_START);
}

/* => true: the engine serves this process */
static bool start_engine(const struct told *told)
{
	struct pager_place place = { .fds = told->fds };
	const char *what = "";
	int slot = take_slot(told), err;

	if (slot < 0) {
		not_started(told, slot, "a slot", slot);
		return false;
	}
	place.slot = (unsigned)slot;
	err = pager_start(control, &place, &what);
	if (!err) {
		what = "stacks of the runtime";
		err = rt_calls_init();
	}
	if (err) {
		not_started(told, slot, what, err);
		return false;
	}
	rt_threads_init();
	rt_filter_init();
	rt_limits_init();
	atomic_fetch_add(&control_tree(control)->started, 1);
	if (told->slot >= 0)
		atomic_fetch_add(&control_tree(control)->execs, 1);
	return true;
}

__attribute__((constructor(101))) static void start(int argc, char **argv, char **envp)
{
	char **entry = find_last_env(envp, "MINFLT_CONTROL");
	uint64_t begin = tree_now_ns();
	struct told told;
	bool serves;

	told.name = argc > 0 ? argv[0] : "?";
	rt_fork_init();
	rt_brk_init();
	rt_zerocopy_init();
	if (!entry || !parse(*entry + strlen("MINFLT_CONTROL="), &told) || !map_control(told.fds.fd[LEND_CONTROL]))
		return;
	if (told.slot < 0 && atomic_load(&control->state) != MF_STATE_ASKED)
		return;
	restore_env(envp, told.slot >= 0, told.slot < 0 ? control->had_ld_preload : told.had_preload);
	serves = start_engine(&told);
	lend_close(&told.fds);
	if (!serves)
		return;
	rt_note_bss();
	rt_run(adopt, RT_REMOTE, RT_ARGS(0), NULL);
	if (!control->request.no_follow)
		rt_exec_init();
	atomic_store(&rt_active, true);
	pager_started();
	tree_counters(control, pager_slot())->started_ns = tree_now_ns() - begin;
	if (told.slot < 0)
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
