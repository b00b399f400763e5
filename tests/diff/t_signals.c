/* SPDX-License-Identifier: MIT
 *
 * t_signals - the program's own SIGSEGV and SIGBUS: address and code as the kernel gives them, handlers that repair and return, that jump out, and that
 * run on a stack in evicted memory.
 */
#include "common.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <sys/time.h>
#include <ucontext.h>

#define NR 64UL

static char *w;
static sigjmp_buf out;
static volatile int count;
static volatile sig_atomic_t ticks;

static void install(int sig, void (*fn)(int, siginfo_t *, void *), int flags)
{
	struct sigaction act = { .sa_sigaction = fn, .sa_flags = SA_SIGINFO | flags };

	sigemptyset(&act.sa_mask);
	if (sigaction(sig, &act, NULL))
		die("sigaction");
}

static void reports(int sig, siginfo_t *info, void *context)
{
	ptrdiff_t at = (char *)info->si_addr - w;
	int near = at >= 0 && at < (ptrdiff_t)(2 * NR * PAGE);

	say("signal %d code %d at %td%s", sig, info->si_code, near ? at : (ptrdiff_t)0, near ? "" : " elsewhere");
	siglongjmp(out, 1);
}

#define TOUCH(name, statement) do { if (sigsetjmp(out, 1) == 0) { statement; say("%s: went through", name); } \
		else say("%s: caught", name); } while (0)

static void own_faults(void)
{
	install(SIGSEGV, reports, 0);
	install(SIGBUS, reports, 0);
	fill(w, NR * PAGE, 1);
	mprotect(w + 8 * PAGE, 4 * PAGE, PROT_NONE);
	mprotect(w + 16 * PAGE, 4 * PAGE, PROT_READ);
	munmap(w + 24 * PAGE, 4 * PAGE);
	pressure();
	TOUCH("store to read-only", ((volatile char *)w)[17 * PAGE + 123] = 1);
	TOUCH("load from read-only", (void)((volatile char *)w)[17 * PAGE + 123]);
	TOUCH("store to none", ((volatile char *)w)[8 * PAGE] = 1);
	TOUCH("load from none", (void)((volatile char *)w)[12 * PAGE - 1]);
	TOUCH("load from a hole", (void)((volatile char *)w)[25 * PAGE + 77]);
	TOUCH("store to a hole", ((volatile char *)w)[24 * PAGE] = 1);
	TOUCH("across into a hole", *(volatile uint64_t *)(w + 24 * PAGE - 4) = 1);
	TOUCH("null", (void)*(volatile char *)(uintptr_t)count);
	TOUCH("not canonical", (void)*(volatile char *)((1UL << 63) + (uintptr_t)count));
	TOUCH("memset over the end", memset(w + 20 * PAGE, 7, 8 * PAGE));
	say_rights("all", w, 32);
	holds("below", w, 8 * PAGE, 1);
	TOUCH("executing data", ((void (*)(void))(uintptr_t)(w + 40 * PAGE))());
}

static void beyond_a_file(void)
{
	int fd = memfd_create("t_signals", MFD_CLOEXEC);
	char *p;

	if (ftruncate(fd, (off_t)PAGE))
		die("ftruncate");
	p = mmap(w, 4 * PAGE, RW, MAP_SHARED | MAP_FIXED, fd, 0);
	TOUCH("within the file", p[5] = 1);
	TOUCH("beyond the file", p[2 * PAGE + 5] = 1);
	ADDR("anonymous again", w, mmap(w, 4 * PAGE, RW, ANONFIXED, -1, 0));
	close(fd);
}

/* A write barrier, as garbage collectors build them: the handler gives the page back and the store is done again. */
static void repairs(int sig, siginfo_t *info, void *context)
{
	char *page = (char *)((uintptr_t)info->si_addr & -PAGE);

	count++;
	mprotect(page, PAGE, RW);
}

static void write_barrier(void)
{
	install(SIGSEGV, repairs, 0);
	mmap(w, NR * PAGE, RW, ANONFIXED, -1, 0);
	for (int round = 0; round < 3; round++) {
		fill(w, NR * PAGE, 10 + (uint64_t)round);
		count = 0;
		mprotect(w, NR * PAGE, round == 1 ? PROT_NONE : PROT_READ);
		pressure();
		for (size_t i = 0; i < NR; i += 2)
			w[i * PAGE + 4000] ^= 0x55;
		say("barrier took %d stores", count);
		for (size_t i = 0; i < NR; i += 2)
			w[i * PAGE + 4000] ^= 0x55;
		mprotect(w, NR * PAGE, RW);
		holds("behind the barrier", w, NR * PAGE, 10 + (uint64_t)round);
	}
}

static void maps_it(int sig, siginfo_t *info, void *context)
{
	count++;
	mmap((void *)((uintptr_t)info->si_addr & -PAGE), PAGE, RW, ANONFIXED, -1, 0);
}

static void mapped_on_demand(void)
{
	install(SIGSEGV, maps_it, 0);
	munmap(w, NR * PAGE);
	count = 0;
	for (size_t i = 0; i < NR; i++)
		fill_at(w + i * PAGE, PAGE, 20, i);
	say("mapped on demand: %d", count);
	pressure();
	holds("mapped on demand", w, NR * PAGE, 20);
}

static char *alternate;

static void on_the_other_stack(int sig, siginfo_t *info, void *context)
{
	volatile char local[8192];
	int inside = (char *)local >= alternate && (char *)local < alternate + 64 * 1024;

	fill((char *)local, sizeof(local), 30);
	pressure();
	say("on the alternate stack: %d, intact %d", inside, intact((char *)local, sizeof(local), 30, 0));
	if (sig == SIGSEGV)
		siglongjmp(out, 1);
}

/* The kernel itself stores the frame into the evicted stack. */
static void alternate_stack(int from_malloc)
{
	stack_t ss, old;

	alternate = from_malloc ? malloc(64 * 1024) : map(64 * 1024);
	memset(alternate, 0x77, 64 * 1024);
	ss = (stack_t){ .ss_sp = alternate, .ss_size = 64 * 1024 };
	RC("sigaltstack", sigaltstack(&ss, &old));
	install(SIGUSR1, on_the_other_stack, SA_ONSTACK);
	install(SIGSEGV, on_the_other_stack, SA_ONSTACK);
	for (int i = 0; i < 3; i++) {
		pressure();
		raise(SIGUSR1);
	}
	munmap(w + 24 * PAGE, PAGE);
	pressure();
	TOUCH("a fault on the alternate stack", ((volatile char *)w)[24 * PAGE] = 1);
	ss.ss_flags = SS_DISABLE;
	RC("no alternate stack", sigaltstack(&ss, NULL));
	if (from_malloc)
		free(alternate);
	else
		munmap(alternate, 64 * 1024);
}

static void ticks_on(int sig, siginfo_t *info, void *context)
{
	ticks = ticks + 1;
	w[(size_t)(ticks % 16) * PAGE + 8]++;
}

/* Signals that arrive in the middle of faults and memory calls. */
static void timer(void)
{
	struct itimerval on = { { 0, 700 }, { 0, 700 } }, off = { { 0, 0 }, { 0, 0 } };
	char *p = map(4 * MB);
	int bad = 0;

	install(SIGALRM, ticks_on, SA_RESTART);
	memset(w, 0, 16 * PAGE);
	setitimer(ITIMER_REAL, &on, NULL);
	for (uint64_t i = 0; i < 400 && (ticks < 200 || i < 8); i++) {
		fill(p, 4 * MB, i);
		bad += !intact(p, 4 * MB, i, 0);
		bad += mprotect(p, MB, PROT_READ) != 0 || mprotect(p, MB, RW) != 0;
		bad += madvise(p + MB, MB, MADV_DONTNEED) != 0 || !is_zero(p + MB, MB);
	}
	setitimer(ITIMER_REAL, &off, NULL);
	for (size_t i = 0; i < 16; i++)
		count += (unsigned char)w[i * PAGE + 8];
	say("timer: %d bad, ticked %d", bad, ticks >= 100);
	munmap(p, 4 * MB);
}

static void blocked(void *arg)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	fill(w, 16 * PAGE, 40);
	pressure();
	holds("with every signal blocked", w, 16 * PAGE, 40);
	signal(SIGSEGV, SIG_DFL);
	w[24 * PAGE] = 1;
	say("never reached");
}

static void killed(void *arg)
{
	signal(SIGSEGV, SIG_DFL);
	w[24 * PAGE] = 1;
	say("never reached");
}

static void ignored(void *arg)
{
	signal(SIGSEGV, SIG_IGN);
	w[24 * PAGE] = 1;
	say("never reached");
}

static void dies(const char *name, void (*fn)(void *))
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		fn(NULL);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	say_end(name, status & ~0x80);
}

static void *faults_in_thread(void *arg)
{
	count = 0;
	fill(w, 8 * PAGE, 50);
	mprotect(w, 8 * PAGE, PROT_READ);
	for (size_t i = 0; i < 8; i++)
		w[i * PAGE] ^= 1;
	for (size_t i = 0; i < 8; i++)
		w[i * PAGE] ^= 1;
	return (void *)(intptr_t)count;
}

int main(void)
{
	pthread_t thread;
	void *result;

	w = window(2 * NR * PAGE, RW);
	own_faults();
	beyond_a_file();
	write_barrier();
	mapped_on_demand();
	alternate_stack(0);
	mmap(w, NR * PAGE, RW, ANONFIXED, -1, 0);
	alternate_stack(1);
	timer();
	dies("blocked", blocked);
	dies("default", killed);
	dies("ignored", ignored);
	install(SIGSEGV, repairs, 0);
	pthread_create(&thread, NULL, faults_in_thread, NULL);
	pthread_join(thread, &result);
	say("faults of a thread: %d", (int)(intptr_t)result);
	holds("a thread's", w, 8 * PAGE, 50);
	return done();
}
