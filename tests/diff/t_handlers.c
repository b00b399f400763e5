/* SPDX-License-Identifier: MIT
 *
 * t_handlers - signals by the thousand while pages come and go: profilers' timers, handlers that store into evicted memory from a stack in evicted
 * memory, handlers that jump out of whatever was under way.
 */
#include "common.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>

#define LEN        (3 * MB)
#define NR_THREADS 8
#define STACK      (64UL * 1024)
#define SAMPLES    (MB / sizeof(struct sample))

struct sample {
	uint64_t nr, ip, check;
};

static struct sample *samples;
static atomic_ulong nr_samples;
static char *area;

static void install(int sig, void (*fn)(int, siginfo_t *, void *), int flags)
{
	struct sigaction act = { .sa_sigaction = fn, .sa_flags = SA_SIGINFO | flags };

	sigemptyset(&act.sa_mask);
	if (sigaction(sig, &act, NULL))
		die("sigaction");
}

static void on_own_stack(char *stack)
{
	stack_t ss = { .ss_sp = stack, .ss_size = STACK };

	if (sigaltstack(&ss, NULL))
		die("sigaltstack");
}

static void off_own_stack(void)
{
	stack_t ss = { .ss_flags = SS_DISABLE };

	if (sigaltstack(&ss, NULL))
		die("sigaltstack");
}

/* As a profiler does: where was it, and into a ring that is long out of memory when it comes round. Samples are strewn over its pages. */
static void take_sample(int sig, siginfo_t *info, void *context)
{
	uint64_t nr = atomic_fetch_add(&nr_samples, 1);
	struct sample *s = &samples[nr * 1021 % SAMPLES];
	volatile char deep[3 * PAGE];
	int saved = errno;

	for (size_t i = 0; i < sizeof(deep); i += 512)
		deep[i] = (char)(nr + i);
	s->nr = nr;
	s->ip = (uint64_t)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
	s->check = mix(s->nr ^ s->ip);
	for (size_t i = 0; i < sizeof(deep); i += 512)
		if (deep[i] != (char)(nr + i))
			wrong("the handler's own stack");
	errno = saved;
}

static void samples_hold(const char *name)
{
	size_t bad = 0;

	for (uint64_t nr = 0; nr < nr_samples && nr < SAMPLES; nr++) {
		const struct sample *s = &samples[nr * 1021 % SAMPLES];

		bad += s->nr != nr || s->check != mix(s->nr ^ s->ip);
	}
	say("%s: %zu bad samples", name, bad);
	memset(samples, 0, MB);
	nr_samples = 0;
}

/* A signal may cut a read of the device short. */
static int read_all(int fd, char *to, size_t len)
{
	while (len) {
		ssize_t n = read(fd, to, len);

		if (n <= 0)
			return 0;
		to += n;
		len -= (size_t)n;
	}
	return 1;
}

/* Touches, memory calls, and system calls that the kernel makes wait for a page. => what went wrong */
static size_t work(char *p, size_t len, uint64_t seed, int zero)
{
	size_t bad = 0;

	fill(p, len, seed);
	bad += !intact(p, len, seed, 0);
	bad += !read_all(zero, p + 100, len / 2) || !is_zero(p + 100, len / 2);
	bad += mprotect(p, len / 4, PROT_READ) != 0 || mprotect(p, len / 4, RW) != 0;
	bad += madvise(p + len / 4, len / 4, MADV_DONTNEED) != 0 || !is_zero(p + len / 4, len / 4);
	return bad;
}

static void by_setitimer(int which, int sig, int restart)
{
	struct itimerval on = { { 0, 1000 }, { 0, 1000 } }, off = { { 0, 0 }, { 0, 0 } };
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	char *stack = map(STACK);
	size_t bad = 0;

	on_own_stack(stack);
	install(sig, take_sample, SA_ONSTACK | restart);
	setitimer(which, &on, NULL);
	for (uint64_t round = 0; round < 200 && (nr_samples < 60 || round < 4); round++)
		bad += work(area, 2 * LEN, round, zero);
	setitimer(which, &off, NULL);
	say("setitimer: %zu bad, sampled %d", bad, nr_samples >= 40);
	samples_hold("setitimer");
	off_own_stack();
	munmap(stack, STACK);
	close(zero);
}

struct profiled {
	pthread_t thread;
	uint64_t id;
	size_t bad, mine, others;
};

static __thread struct profiled *self;

static void take_thread_sample(int sig, siginfo_t *info, void *context)
{
	take_sample(sig, info, context);
	if (info->si_value.sival_ptr == self)
		self->mine++;
	else
		self->others++;
}

static void *profiled(void *arg)
{
	struct itimerspec on = { { 0, 1000000 }, { 0, 1000000 } };
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGPROF };
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	char *stack = malloc(STACK), *p = map(MB);
	timer_t timer;

	self = arg;
	on_own_stack(stack);
	event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
	event.sigev_value.sival_ptr = self;
	if (timer_create(self->id % 2 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &event, &timer) || timer_settime(timer, 0, &on, NULL))
		die("timer");
	for (uint64_t round = 0; round < 200 && (self->mine < 20 || round < 2); round++)
		self->bad += work(p, MB, round * NR_THREADS + self->id, zero);
	timer_delete(timer);
	off_own_stack();
	free(stack);
	munmap(p, MB);
	close(zero);
	return NULL;
}

static void by_timers(void)
{
	struct profiled threads[NR_THREADS] = { 0 };
	size_t bad = 0, without = 0, others = 0;

	install(SIGPROF, take_thread_sample, SA_ONSTACK | SA_RESTART);
	for (uint64_t i = 0; i < NR_THREADS; i++) {
		threads[i].id = i;
		if (pthread_create(&threads[i].thread, NULL, profiled, &threads[i]))
			die("pthread_create");
	}
	for (int i = 0; i < NR_THREADS; i++) {
		pthread_join(threads[i].thread, NULL);
		bad += threads[i].bad;
		without += threads[i].mine < 10;
		others += threads[i].others;
	}
	say("timers: %zu bad, %zu threads without samples, %zu samples of others", bad, without, others);
	samples_hold("timers");
}

static sigjmp_buf out;
static volatile sig_atomic_t may_jump, jumped;

static void jumps(int sig, siginfo_t *info, void *context)
{
	if (!may_jump)
		return;
	may_jump = 0;
	jumped = jumped + 1;
	siglongjmp(out, 1);
}

/* Out of a wait for a page, of a system call that waits for one, of a memory call. */
static void out_of_everything(void)
{
	struct itimerval once = { { 0, 0 }, { 0, 0 } }, off = once;
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	char *stack = map(STACK);
	volatile size_t bad = 0;
	volatile uint64_t round;

	install(SIGALRM, jumps, SA_ONSTACK);
	on_own_stack(stack);
	for (round = 0; round < 160; round++) {
		fill(area + LEN, LEN, round);
		once.it_value.tv_usec = 1 + (suseconds_t)(mix(round) % 3000);
		if (sigsetjmp(out, 1) == 0) {
			may_jump = 1;
			setitimer(ITIMER_REAL, &once, NULL);
			switch (round % 4) {
			case 0:
				for (size_t i = 0; may_jump; i += 17)
					((volatile char *)area)[i * PAGE % LEN]++;
				break;
			case 1:
				while (may_jump)
					bad += read(zero, area, LEN) < 0 && errno != EINTR;
				break;
			case 2:
				while (may_jump)
					bad += mprotect(area, LEN, PROT_READ) || mprotect(area, LEN, RW);
				break;
			default:
				while (may_jump)
					memset(area + madvise(area, MB, MADV_DONTNEED), 5, MB);
				break;
			}
		}
		setitimer(ITIMER_REAL, &off, NULL);
		may_jump = 0;
		mprotect(area, LEN, RW);
		bad += !intact(area + LEN, LEN, round, 0);
	}
	say("jumps: %zu bad, all jumped %d", bad, jumped == 160);
	off_own_stack();
	munmap(stack, STACK);
	close(zero);
}

static void still_forks(void *arg)
{
	fill(area, LEN, 7);
	pressure();
	holds("in a child", area, LEN, 7);
}

int main(void)
{
	area = map(2 * LEN);
	samples = (struct sample *)map(MB);
	by_setitimer(ITIMER_PROF, SIGPROF, SA_RESTART);
	by_setitimer(ITIMER_REAL, SIGALRM, SA_RESTART);
	by_timers();
	out_of_everything();
	in_child("still forks", still_forks, NULL);
	return done();
}
