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
 * A vfork child shares its parent's memory and must leave nothing behind: no malloc; the copy of the environment lies in one of a few
 * buffers, and the kernel says when it is free again (set_tid_address: the word is cleared when the child has executed or ended).
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
#include "machine/sys.h"

#define NR_BUFFERS 16
#define SMALL      4096
#define PRELOAD    "LD_PRELOAD="
#define AUDIT      "LD_AUDIT="
#define HIGH       200
#define LISTS      "LD_TRACE_LOADED_OBJECTS=" /* the program's libraries are listed, and it doesn't run: ldd */
#define SELF_FD    "/proc/self/fd/"
#define CONTROL    "MINFLT_CONTROL="
#define NUMBERS    128 /* bytes, for the numbers that go into both */

bool rt_exec_diverted;

/* ---- memory for the environment ---------------------------------------------------------------------------------------- */

struct buffer {
	_Atomic uint32_t busy; /* the kernel clears it when a vfork child has gone */
	unsigned long addr;
	size_t len;
};
static struct buffer buffers[NR_BUFFERS];
static char first[NR_BUFFERS][SMALL] __attribute__((aligned(16))); /* most environments fit, and no limit of address space is in the way */

static struct buffer *buffer_get(size_t len)
{
	struct buffer *b = NULL;

	for (unsigned i = 0; !b; i = (i + 1) % NR_BUFFERS) {
		uint32_t free = 0;

		if (atomic_compare_exchange_strong(&buffers[i].busy, &free, 1))
			b = &buffers[i];
		else if (i == NR_BUFFERS - 1)
			sys_call0(SYS_sched_yield);
	}
	if (!b->len) {
		b->addr = (unsigned long)first[b - buffers];
		b->len = SMALL;
	}
	if (b->len >= len)
		return b;
	len = page_up(len);
	if (b->len > SMALL)
		sys_munmap(b->addr, b->len);
	b->addr = (unsigned long)sys_mmap(0, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	b->len = sys_is_err((long)b->addr) ? 0 : len;
	if (b->len)
		return b;
	atomic_store(&b->busy, 0);
	return NULL;
}

void rt_exec_forked(void)
{
	for (unsigned i = 0; i < NR_BUFFERS; i++)
		atomic_store(&buffers[i].busy, 0);
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

/* The copy in a buffer. The last LD_PRELOAD is the one that the dynamic linker heeds. => NULL: no memory */
static struct buffer *make_env(char *const envp[], const struct lend *fds, unsigned slot)
{
	const char *preload = NULL;
	size_t nr = 0, at = 0;
	struct buffer *b;
	char **env, *text;

	for (; envp && envp[nr]; nr++)
		if (begins(envp[nr], PRELOAD)) {
			preload = envp[nr] + sizeof(PRELOAD) - 1;
			at = nr;
		}
	b = buffer_get((nr + 3) * sizeof(char *) + 2 * NUMBERS + (preload ? length(preload) : 0));
	if (!b)
		return NULL;
	env = (char **)b->addr;
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
	return b;
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

static bool is_vfork_child(void)
{
	return sys_getpid() != pager_pid();
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

static void on_handler(void (*fn)(void *), void *arg)
{
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
static bool borrow(struct lend *fds)
{
	if (!pager_lend(fds, false, on_handler))
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

/* The word of the buffer is cleared when this vfork child has gone; what stood there before comes back when it stays. */
static long exec_over(struct buffer *b, bool vforked, int dirfd, const char *path, char *const argv[], int flags)
{
	long before = 0, r;

	if (vforked) {
		sys_call5(SYS_prctl, PR_GET_TID_ADDRESS, (long)&before, 0, 0, 0);
		sys_call1(SYS_set_tid_address, (long)&b->busy);
	}
	r = plain(dirfd, path, argv, (char *const *)b->addr, flags);
	if (vforked)
		sys_call1(SYS_set_tid_address, before);
	return r;
}

static long follow(int dirfd, const char *path, char *const argv[], char *const envp[], int flags)
{
	struct mf_tree *t = control_tree(pager_control());
	bool vforked = is_vfork_child();
	struct lend fds;
	struct buffer *b;
	long r;
	int slot;

	if (!borrow(&fds))
		return run_alone(dirfd, path, argv, envp, flags, TREE_WHY_NO_FD);
	if (!linker_finds(&fds)) {
		lend_close(&fds);
		return run_alone(dirfd, path, argv, envp, flags, TREE_WHY_NO_PROC);
	}
	slot = enter_slot(t, vforked, *path ? path : argv && argv[0] ? argv[0] : "?");
	b = slot < 0 ? NULL : make_env(envp, &fds, (unsigned)slot);
	if (!b) {
		if (slot >= 0)
			leave_slot(t, vforked, (unsigned)slot);
		lend_close(&fds);
		return run_alone(dirfd, path, argv, envp, flags, TREE_WHY_FULL);
	}
	r = exec_over(b, vforked, dirfd, path, argv, flags);
	atomic_store(&b->busy, 0);
	leave_slot(t, vforked, (unsigned)slot);
	lend_close(&fds);
	return r == -E2BIG ? run_alone(dirfd, path, argv, envp, flags, TREE_WHY_TOO_LONG) : r;
}

long rt_exec(int dirfd, const char *path, char *const argv[], char *const envp[], int flags)
{
	int why;

	if (!atomic_load(&rt_active))
		return with_own_limits(dirfd, path, argv, envp, flags);
	pin_lift();
	if (pager_control()->request.no_follow)
		return run_alone(dirfd, path, argv, envp, flags, RT_UNNOTED);
	if (rt_filtered)
		return run_alone(dirfd, path, argv, envp, flags, TREE_WHY_FILTER);
	why = rt_judge(dirfd, path, flags, 0);
	if (why == RT_FOLLOW)
		why = judge_environment(envp);
	if (why == RT_PLAIN)
		return plain(dirfd, path, argv, envp, flags);
	if (why != RT_FOLLOW)
		return run_alone(dirfd, path, argv, envp, flags, why);
	return follow(dirfd, path, argv, envp, flags);
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
