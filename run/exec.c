/* SPDX-License-Identifier: MIT
 *
 * exec.c - a program that the program executes gets an engine of its own.
 *
 *   judge      can the runtime be preloaded into it? Else it is executed as it is, and noted
 *   lend       the control memory's descriptor and the runtime's, inheritable, in this thread's table
 *   slot       this process's own; a vfork child takes a new one. State EXEC: who doesn't report afterwards is noted
 *   environ    a copy with LD_PRELOAD and MINFLT_CONTROL; run/start.c of the new program restores it and closes the descriptors
 *
 * All that happens where execve() is called: in the thread, in the vfork child, in the child of posix_spawn after its file actions, whatever has been closed,
 * whoever it has become. For that, libc's execve() is diverted: the functions inside of libc that execute programs (posix_spawn,
 * system, popen, wordexp, execvp ...) all end in its few instructions, by calls that can't be interposed.
 *
 * A vfork child shares its parent's memory and must leave nothing behind: no malloc, no lock, for it may be killed at any moment. All that it needs is one of a
 * few places, and the kernel says when that is free again (set_tid_address: the word is cleared when the child has executed or ended).
 *
 * Its parent may be killed as well, and then nobody brings back what is evicted: it would execute with zeros for arguments. So path, arguments and environment
 * are copied into its place first, and if the parent's handler lives when that is done, all that was read is right (pager_orphaned()).
 */
#include "run/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "lib/pager.h"
#include "lib/pin.h"
#include "lib/tree.h"
#include "lib/tree_pid.h"
#include "lib/witness.h"
#include "machine/sys.h"

#define NR_PLACES  PAGER_NR_PLACES
#define SMALL      4096
#define SMALL_CALL 16384
#define PRELOAD    "LD_PRELOAD="
#define AUDIT      "LD_AUDIT="
#define HIGH       200
#define LISTS      "LD_TRACE_LOADED_OBJECTS=" /* the program's libraries are listed, and it doesn't run: ldd */
#define SELF_FD    "/proc/self/fd/"
#define CONTROL    "MINFLT_CONTROL="
#define NUMBERS    128 /* bytes, for the numbers that go into both */

bool rt_exec_diverted;

/* ---- places ------------------------------------------------------------------------------------------------------------ */

struct memory {
	unsigned long addr;
	_Atomic size_t len;
};

struct place {
	_Atomic uint32_t busy; /* whose it is; the kernel clears it when a vfork child has gone */
	bool vforked;
	long cleared_before;   /* what the kernel would have cleared instead */
	struct memory env, call;
	struct lend_post post;
};
static struct place places[NR_PLACES];
/* Most environments fit, and no limit of address space is in the way. */
static char first_env[NR_PLACES][SMALL] __attribute__((aligned(16))), first_call[NR_PLACES][SMALL_CALL] __attribute__((aligned(16)));

static bool is_vfork_child(void)
{
	return sys_getpid() != pager_pid();
}

/* Killed before the kernel knew of the word, or when it did so no more. */
static void free_of_killed(void)
{
	for (unsigned i = 0; i < NR_PLACES; i++) {
		uint32_t holder = atomic_load(&places[i].busy);

		if (holder && sys_call2(SYS_kill, (long)holder, 0) == -ESRCH)
			atomic_compare_exchange_strong(&places[i].busy, &holder, 0);
	}
}

static struct place *place_get(void)
{
	struct place *p = NULL;

	for (unsigned i = 0; !p; i = (i + 1) % NR_PLACES) {
		uint32_t holder = 0;

		if (atomic_compare_exchange_strong(&places[i].busy, &holder, (uint32_t)sys_getpid())) {
			p = &places[i];
		} else if (i == NR_PLACES - 1) {
			pager_orphan_ends();
			free_of_killed();
			sys_call0(SYS_sched_yield);
		}
	}
	p->vforked = is_vfork_child();
	if (p->vforked) {
		sys_call5(SYS_prctl, PR_GET_TID_ADDRESS, (long)&p->cleared_before, 0, 0, 0);
		sys_call1(SYS_set_tid_address, (long)&p->busy);
	}
	return p;
}

static void place_give(struct place *p)
{
	if (p->vforked)
		sys_call1(SYS_set_tid_address, p->cleared_before);
	atomic_store(&p->busy, 0);
}

/* => false: no address space */
static bool memory_room(struct memory *m, char *first, size_t first_len, size_t len)
{
	size_t had;

	if (!m->len) {
		m->addr = (unsigned long)first;
		m->len = first_len;
	}
	if (m->len >= len)
		return true;
	len = page_up(len);
	had = m->len;
	atomic_store(&m->len, 0); /* whoever is killed from here on leaves a place without memory */
	if (m->addr != (unsigned long)first)
		sys_munmap(m->addr, had);
	m->addr = (unsigned long)sys_mmap(0, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	atomic_store(&m->len, sys_is_err((long)m->addr) ? 0 : len);
	return m->len != 0;
}

void rt_exec_forked(void)
{
	for (unsigned i = 0; i < NR_PLACES; i++)
		atomic_store(&places[i].busy, 0);
}

/* ---- the environment --------------------------------------------------------------------------------------------------- */

static bool begins(const char *text, const char *with)
{
	while (*with && *text == *with)
		text++, with++;
	return !*with;
}

static size_t length(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

static char *put(char *to, const char *text)
{
	while (*text)
		*to++ = *text++;
	*to = 0;
	return to;
}

static char *put_number(char *to, long n)
{
	char digits[24];
	int i = 0;

	if (n < 0) {
		*to++ = '-';
		n = -n;
	}
	do
		digits[i++] = (char)('0' + n % 10);
	while (n /= 10);
	while (i)
		*to++ = digits[--i];
	*to = 0;
	return to;
}

/* The copy in this place. The last LD_PRELOAD is the one that the dynamic linker heeds. => NULL: no memory */
static char **make_env(struct place *p, char *const envp[], const struct lend *fds, unsigned slot)
{
	const char *preload = NULL;
	size_t nr = 0, at = 0;
	char **env, *text;

	for (; envp && envp[nr]; nr++)
		if (begins(envp[nr], PRELOAD)) {
			preload = envp[nr] + sizeof(PRELOAD) - 1;
			at = nr;
		}
	if (!memory_room(&p->env, first_env[p - places], SMALL, (nr + 3) * sizeof(char *) + 2 * NUMBERS + (preload ? length(preload) : 0)))
		return NULL;
	env = (char **)p->env.addr;
	text = (char *)(env + nr + 3);
	for (size_t i = 0; i < nr; i++)
		env[i] = envp[i];
	if (!preload)
		at = nr++;
	env[at] = text;
	text = put_number(put(put(text, PRELOAD), SELF_FD), fds->fd[LEND_RUNTIME]);
	if (preload && *preload)
		text = put(put(text, ":"), preload);
	env[nr++] = ++text;
	text = put_number(put(put_number(put(text, CONTROL), fds->fd[LEND_CONTROL]), ":"), fds->fd[LEND_RUNTIME]);
	text = put_number(put(put_number(put(text, ":"), fds->fd[LEND_SWAP]), ":"), fds->fd[LEND_DEV]);
	text = put_number(put(text, ":"), slot);
	put(text, preload ? ":1" : ":0");
	env[nr] = NULL;
	return env;
}

/* What the environment tells the dynamic linker. => as rt_judge() */
static int judge_environment(char *const envp[])
{
	const char *preload = NULL;

	for (size_t i = 0; envp && envp[i]; i++) {
		if (begins(envp[i], AUDIT) && envp[i][sizeof(AUDIT) - 1])
			return TREE_WHY_AUDIT;
		if (begins(envp[i], LISTS))
			return RT_UNNOTED;
		if (begins(envp[i], PRELOAD))
			preload = envp[i] + sizeof(PRELOAD) - 1;
	}
	return preload ? rt_judge_foreign(foreign_preload(preload)) : RT_FOLLOW;
}

/* ---- what a vfork child executes, copied ----------------------------------------------------------------------------------- */

#define NO_PAGE 1UL

/* What execve() was given. */
struct call {
	const char *path;
	char *const *argv, *const *envp;
};

/* The page at `at` can be read, or was found to be before. `known`: the last one of which that is known */
static bool can_read(const void *at, unsigned long *known)
{
	if (page_down((unsigned long)at) == *known)
		return true;
	if (!rt_word_readable((const char *)((unsigned long)at & ~7UL)))
		return false;
	*known = page_down((unsigned long)at);
	return true;
}

/* Adds to *len what the text takes. => false: it can't be read, and execve() will say so */
static bool add_text(const char *text, size_t *len, unsigned long *known)
{
	const char *end = text;

	if (!can_read(end, known))
		return false;
	while (*end)
		if (!((unsigned long)++end % PAGE) && !can_read(end, known))
			return false;
	*len += (size_t)(end - text) + 1;
	return true;
}

static bool add_list(char *const list[], size_t *len, unsigned long *known)
{
	unsigned long known_here = NO_PAGE;
	size_t nr = 0;

	for (; list; nr++) {
		if (!can_read(&list[nr], &known_here))
			return false;
		if (!list[nr])
			break;
		if (!add_text(list[nr], len, known))
			return false;
	}
	*len += (nr + 1) * sizeof(char *);
	return true;
}

/* `end`: of the room. Where the maker has ended meanwhile, there are zeros instead of what was counted, and less of it. => NULL: no room */
static char *put_text(char *to, const char *end, const char *text)
{
	while (to < end)
		if (!(*to++ = *text++))
			return to;
	return NULL;
}

static char *put_list(char *text, const char *end, char **to, char *const list[], size_t nr)
{
	for (size_t i = 0; i < nr && text; i++) {
		to[i] = text;
		text = put_text(text, end, list[i]);
	}
	to[nr] = NULL;
	return text;
}

static size_t list_length(char *const list[])
{
	size_t nr = 0;

	while (list && list[nr])
		nr++;
	return nr;
}

/* What can't be read or copied stays as it is, for execve() to refuse. */
static void copy_call(struct place *p, struct call *c)
{
	unsigned long known = NO_PAGE;
	size_t len = 0, nr_argv, nr_envp;
	struct call copy;
	const char *end;
	char **list, *text;

	if (!add_text(c->path, &len, &known) || !add_list(c->argv, &len, &known) || !add_list(c->envp, &len, &known) ||
	    !memory_room(&p->call, first_call[p - places], SMALL_CALL, len))
		return;
	nr_argv = list_length(c->argv);
	nr_envp = list_length(c->envp);
	if ((nr_argv + nr_envp + 2) * sizeof(char *) >= len)
		return; /* another thread has made them longer meanwhile */
	list = (char **)p->call.addr;
	end = (const char *)list + len;
	text = (char *)(list + nr_argv + nr_envp + 2);
	copy = (struct call){ text, c->argv ? list : NULL, c->envp ? list + nr_argv + 1 : NULL };
	text = put_text(text, end, c->path);
	text = text ? put_list(text, end, list, c->argv, nr_argv) : NULL;
	text = text ? put_list(text, end, list + nr_argv + 1, c->envp, nr_envp) : NULL;
	if (text)
		*c = copy;
}

/* ---- execution --------------------------------------------------------------------------------------------------------- */

static long plain(int dirfd, const char *path, char *const argv[], char *const envp[], int flags)
{
	if (dirfd == AT_FDCWD && !flags)
		return sys_call3(SYS_execve, (long)path, (long)argv, (long)envp);
	return sys_call5(SYS_execveat, dirfd, (long)path, (long)argv, (long)envp, flags);
}

/* A program that is not followed gets the soft limits as this one knows them (limits.c); the others' runtimes need room as this one did. If nothing comes of
 * it, other threads may have had less room meanwhile: not for what can be known not to be executable. */
static long with_own_limits(int dirfd, const char *path, char *const argv[], char *const envp[], int flags)
{
	long r;

	rt_limits_exec(true);
	r = plain(dirfd, path, argv, envp, flags);
	rt_limits_exec(false);
	return r;
}

/* This process's own slot, or a new one. => or -ENOSPC */
static int slot_for(struct mf_tree *t, bool vforked)
{
	return vforked ? tree_claim(t, (uint32_t)sys_getpid(), tree_child_is_home(t, pager_slot(), pager_pid())) : (int)pager_slot();
}

static void leave_slot(struct mf_tree *t, bool vforked, unsigned slot)
{
	if (vforked)
		tree_unexec(t, slot, (uint32_t)sys_getpid());
	else
		atomic_store(&t->process[slot].state, TREE_RUNNING);
}

static void enter_alone(struct mf_tree *t, int slot)
{
	if (slot < 0)
		return;
	atomic_store(&t->process[slot].since_ns, tree_now_ns());
	atomic_store(&t->process[slot].state, TREE_ALONE);
}

/* It runs without the runtime. why: enum tree_why, or negative: the user wants it so */
static long run_alone(int dirfd, const char *path, char *const argv[], char *const envp[], int flags, int why)
{
	struct mf_tree *t = control_tree(pager_control());
	bool vforked = is_vfork_child();
	int note = -1, slot;
	long r;

	if (!rt_filtered && sys_call4(SYS_faccessat2, dirfd, (long)path, X_OK, flags | AT_EACCESS))
		return plain(dirfd, path, argv, envp, flags);
	if (vforked)
		witness_dismiss();
	if (why >= 0)
		note = tree_note(t, *path ? path : argv && argv[0] ? argv[0] : "?", (enum tree_why)why);
	slot = slot_for(t, vforked);
	enter_alone(t, slot);
	r = with_own_limits(dirfd, path, argv, envp, flags);
	if (slot >= 0)
		leave_slot(t, vforked, (unsigned)slot);
	if (why >= 0)
		tree_take_back_note(t, note);
	return r;
}

static long run_fn(struct rt_call *c)
{
	((void (*)(void *))c->a[0])((void *)c->a[1]);
	return 0;
}

/* arg: the post of a place. A vfork child takes nothing that its maker waits for. */
static void on_handler(void (*fn)(void *), void *arg)
{
	const size_t place = (size_t)((char *)arg - (char *)places) / sizeof(places[0]);

	if (is_vfork_child())
		pager_call_from((unsigned)place, fn, arg);
	else
		rt_run(run_fn, RT_REMOTE, RT_ARGS((long)fn, (long)arg), NULL);
}

/* A debugger of the new program looks for the library by its name, which means a descriptor of the debugger's own there: at a low number perhaps a pipe, from
 * which it would read for good. */
static void raise_number(int *fd)
{
	const long high = *fd < HIGH ? sys_call3(SYS_fcntl, *fd, F_DUPFD, HIGH) : -1;

	if (high < 0) /* RLIMIT_NOFILE is lower */
		return;
	sys_close(*fd);
	*fd = (int)high;
}

/* => true, with descriptors that survive an exec */
static bool borrow(struct place *p, struct lend *fds)
{
	if (!pager_lend(fds, false, &p->post, on_handler))
		return false;
	raise_number(&fds->fd[LEND_RUNTIME]);
	for (int i = 0; i < LEND_NR; i++)
		if (fds->fd[i] >= 0)
			sys_call3(SYS_fcntl, fds->fd[i], F_SETFD, 0);
	if (fds->fd[LEND_CONTROL] >= 0 && fds->fd[LEND_RUNTIME] >= 0)
		return true;
	lend_close(fds);
	return false;
}

/* The dynamic linker of the new program finds the runtime there, if /proc is where it looks. */
static bool linker_finds(const struct lend *fds)
{
	char name[64];

	put_number(put(name, SELF_FD), fds->fd[LEND_RUNTIME]);
	return sys_call4(SYS_faccessat, AT_FDCWD, (long)name, R_OK, 0) == 0;
}

static int enter_slot(struct mf_tree *t, bool vforked, const char *path)
{
	struct tree_process *p;
	int slot = slot_for(t, vforked);

	if (slot < 0)
		return slot;
	p = &t->process[slot];
	tree_set_name(p, path);
	atomic_store(&p->since_ns, tree_now_ns());
	atomic_store(&p->state, TREE_EXEC);
	return slot;
}

static long follow(struct place *p, int dirfd, const char *path, char *const argv[], char *const envp[], int flags)
{
	struct mf_tree *t = control_tree(pager_control());
	bool vforked = is_vfork_child();
	struct lend fds;
	char **env;
	long r;
	int slot;

	if (vforked)
		witness_dismiss();
	if (!borrow(p, &fds))
		return run_alone(dirfd, path, argv, envp, flags, TREE_WHY_NO_FD);
	if (!linker_finds(&fds)) {
		lend_close(&fds);
		return run_alone(dirfd, path, argv, envp, flags, TREE_WHY_NO_PROC);
	}
	slot = enter_slot(t, vforked, *path ? path : argv && argv[0] ? argv[0] : "?");
	env = slot < 0 ? NULL : make_env(p, envp, &fds, (unsigned)slot);
	if (!env) {
		if (slot >= 0)
			leave_slot(t, vforked, (unsigned)slot);
		lend_close(&fds);
		return run_alone(dirfd, path, argv, envp, flags, TREE_WHY_FULL);
	}
	r = plain(dirfd, path, argv, env, flags);
	leave_slot(t, vforked, (unsigned)slot);
	lend_close(&fds);
	return r == -E2BIG ? run_alone(dirfd, path, argv, envp, flags, TREE_WHY_TOO_LONG) : r;
}

static long execute(struct place *p, int dirfd, const char *path, char *const argv[], char *const envp[], int flags)
{
	int why;

	if (pager_control()->request.no_follow)
		return run_alone(dirfd, path, argv, envp, flags, RT_UNNOTED);
	why = rt_judge(dirfd, path, flags, 0);
	if (why == RT_FOLLOW)
		why = judge_environment(envp);
	if (why == RT_PLAIN)
		return plain(dirfd, path, argv, envp, flags);
	if (why != RT_FOLLOW)
		return run_alone(dirfd, path, argv, envp, flags, why);
	return follow(p, dirfd, path, argv, envp, flags);
}

long rt_exec(int dirfd, const char *path, char *const argv[], char *const envp[], int flags)
{
	struct call c = { path, argv, envp };
	struct place *p;
	long r;

	if (!atomic_load(&rt_active))
		return with_own_limits(dirfd, path, argv, envp, flags);
	pin_lift();
	if (rt_filtered) { /* which may forbid the vfork child what a place needs */
		pager_orphan_ends();
		return run_alone(dirfd, path, argv, envp, flags, pager_control()->request.no_follow ? RT_UNNOTED : TREE_WHY_FILTER);
	}
	p = place_get();
	if (p->vforked)
		copy_call(p, &c);
	pager_orphan_ends();
	r = execute(p, dirfd, c.path, c.argv, c.envp, flags);
	place_give(p);
	return r;
}

/* ---- diverting libc's execve -------------------------------------------------------------------------------------------- */

static int from_libc(const char *path, char *const argv[], char *const envp[])
{
	return (int)rt_errno(rt_exec(AT_FDCWD, path, argv, envp, 0));
}

#if defined(__x86_64__)
/* mov $59, %eax; syscall; cmp $-4095, %rax; the jump to the error's path begins behind */
static const unsigned char execve_code[] = { 0xb8, 0x3b, 0, 0, 0, 0x0f, 0x05, 0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff };
static const unsigned char landing[] = { 0xf3, 0x0f, 0x1e, 0xfa }; /* endbr64, in some builds */

#ifndef PR_GET_MDWE
#define PR_GET_MDWE 66
#endif

/* After PR_SET_MDWE, what has been writable never becomes executable: the kernel writes then, as for a debugger, and the rights stay as they are. */
static bool patch_by_kernel(unsigned char *at, const unsigned char *code, size_t len)
{
	long fd = sys_open("/proc/self/mem", O_WRONLY | O_CLOEXEC), n;

	if (fd < 0)
		return false;
	n = sys_call4(SYS_pwrite64, fd, (long)code, (long)len, (long)at);
	sys_close((int)fd);
	return n == (long)len;
}

static bool patch(unsigned char *at, const unsigned char *code, size_t len)
{
	unsigned long page = page_down((unsigned long)at);
	size_t pages = page_up((unsigned long)at + len) - page;

	if (sys_call5(SYS_prctl, PR_GET_MDWE, 0, 0, 0, 0) > 0)
		return patch_by_kernel(at, code, len);
	if (sys_mprotect(page, pages, PROT_READ | PROT_WRITE))
		return false;
	for (size_t i = 0; i < len; i++)
		at[i] = code[i];
	if (sys_mprotect(page, pages, PROT_READ | PROT_EXEC))
		sys_exit_group(125); /* libc can't be executed any more */
	return true;
}

/* movabs $from_libc, %rax; jmp *%rax: 12 bytes over 13, which nobody jumps into */
static void divert(unsigned char *at)
{
	const unsigned long target = (unsigned long)from_libc;
	unsigned char code[12] = { 0x48, 0xb8, [10] = 0xff, 0xe0 };

	for (size_t i = 0; i < sizeof(landing) && at[i] == landing[i]; i++)
		if (i + 1 == sizeof(landing)) {
			at += sizeof(landing);
			break;
		}
	for (size_t i = 0; i < sizeof(execve_code); i++)
		if (at[i] != execve_code[i])
			return;
	for (int i = 0; i < 8; i++)
		code[2 + i] = (unsigned char)(target >> 8 * i);
	rt_exec_diverted = patch(at, code, sizeof(code));
}
#endif

/* execve in this library's table of exported symbols (GNU hash), or NULL. dlopen() and its handle are not to be had here: it would run the constructors of
 * libc, which the dynamic linker runs after ours, without arguments and environment; and dlsym(RTLD_NEXT) may find another preloaded library's. */
static unsigned char *exported_execve(unsigned long base, const ElfW(Dyn) *dyn)
{
	const ElfW(Sym) *symbols = NULL;
	const char *names = NULL;
	const uint32_t *table = NULL;
	uint32_t hash = 5381, i;

	for (; dyn->d_tag != DT_NULL; dyn++) {
		unsigned long at = dyn->d_un.d_ptr < base ? dyn->d_un.d_ptr + base : dyn->d_un.d_ptr;

		if (dyn->d_tag == DT_SYMTAB)
			symbols = (const ElfW(Sym) *)at;
		else if (dyn->d_tag == DT_STRTAB)
			names = (const char *)at;
		else if (dyn->d_tag == DT_GNU_HASH)
			table = (const uint32_t *)at;
	}
	if (!symbols || !names || !table)
		return NULL;
	for (const char *c = "execve"; *c; c++)
		hash = hash * 33 + (unsigned char)*c;
	const uint32_t nr = table[0], first = table[1], *buckets = table + 4 + table[2] * (sizeof(ElfW(Addr)) / 4), *chain = buckets + nr;

	i = buckets[hash % nr];
	if (i < first)
		return NULL;
	do {
		if ((chain[i - first] | 1) == (hash | 1) && begins(names + symbols[i].st_name, "execve") && !names[symbols[i].st_name + 6])
			return (unsigned char *)(base + symbols[i].st_value);
	} while (!(chain[i++ - first] & 1));
	return NULL;
}

static int divert_in(struct dl_phdr_info *info, size_t size, void *data)
{
	size_t len = length(info->dlpi_name);
	unsigned char *at = NULL;

	if (len < 10 || !begins(info->dlpi_name + len - 10, "/libc.so.6"))
		return 0;
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_DYNAMIC)
			at = exported_execve(info->dlpi_addr, (const ElfW(Dyn) *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr));
	if (at)
		divert(at);
	return 1;
}

void rt_exec_init(void)
{
	dl_iterate_phdr(divert_in, NULL);
	if (!rt_exec_diverted)
		pager_message("libc's execve is not what it is known to be, or may not be changed here: programs started by posix_spawn, system and popen "
			      "run without minflt\n");
}
