/* SPDX-License-Identifier: MIT
 *
 * t_stack - stacks that the program made itself, of managed memory, and the ones it was given.
 */
#include "common.h"

#include <limits.h>
#include <pthread.h>
#include <ucontext.h>

#define NR_COROUTINES 16
#define STACK         (128UL * 1024)

static ucontext_t main_context, contexts[NR_COROUTINES];
static unsigned long sums[NR_COROUTINES];

static void coroutine(int id)
{
	volatile char local[64 * 1024];

	for (int round = 0; round < 4; round++) {
		fill((char *)local, sizeof(local), (uint64_t)(id * 10 + round));
		swapcontext(&contexts[id], &main_context);
		if (!intact((char *)local, sizeof(local), (uint64_t)(id * 10 + round), 0))
			wrong("coroutine %d, round %d", id, round);
		sums[id] += (unsigned long)(id * round);
	}
}

static void coroutines(int from_malloc)
{
	char *stacks[NR_COROUTINES];
	static unsigned long sum;

	sum = 0;
	for (int i = 0; i < NR_COROUTINES; i++) {
		sums[i] = 0;
		stacks[i] = from_malloc ? malloc(STACK) : map(STACK);
		getcontext(&contexts[i]);
		contexts[i].uc_stack.ss_sp = stacks[i];
		contexts[i].uc_stack.ss_size = STACK;
		contexts[i].uc_link = &main_context;
		makecontext(&contexts[i], (void (*)(void))coroutine, 1, i);
	}
	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < NR_COROUTINES; i++)
			swapcontext(&main_context, &contexts[i]);
		pressure();
	}
	for (int i = 0; i < NR_COROUTINES; i++) {
		sum += sums[i];
		if (from_malloc)
			free(stacks[i]);
		else
			munmap(stacks[i], STACK);
	}
	say("coroutines: sum %lu", sum);
}

static unsigned long deep(unsigned long n)
{
	volatile char frame[512];

	frame[0] = (char)n;
	frame[511] = (char)(n >> 8);
	return n ? deep(n - 1) + (unsigned long)(frame[0] == (char)n && frame[511] == (char)(n >> 8)) : 0;
}

static void *recurses(void *arg)
{
	unsigned long *n = arg;

	*n = deep(*n);
	pressure();
	return arg;
}

static void thread_on_own_stack(void)
{
	pthread_attr_t attr;
	pthread_t thread;
	char *stack = map(2 * MB);
	unsigned long *n = malloc(sizeof(*n));

	*n = 2000;
	memset(stack, 0x33, 2 * MB);
	pressure();
	pthread_attr_init(&attr);
	RC("setstack", pthread_attr_setstack(&attr, stack, 2 * MB));
	RC("create", pthread_create(&thread, &attr, recurses, n));
	RC("join", pthread_join(thread, NULL));
	say("recursed: %lu", *n);
	say("lowest byte: %x", stack[0] & 0xff);
	RC("munmap", munmap(stack, 2 * MB));
	free(n);
	pthread_attr_destroy(&attr);
}

static void own_guard(void)
{
	pthread_attr_t attr;
	pthread_t thread;
	unsigned long n = 1000;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 1 * MB);
	pthread_attr_setguardsize(&attr, 64 * 1024);
	RC("create", pthread_create(&thread, &attr, recurses, &n));
	RC("join", pthread_join(thread, NULL));
	say("recursed: %lu", n);
	pthread_attr_destroy(&attr);
}

static void overflows(void *arg)
{
	/* Less than the limit of any host here; the guard gap must still be found. */
	say("never reached: %lu", deep(1UL << 40));
}

static void main_stack(void)
{
	int status = -1;
	pid_t pid;

	say("main stack: %lu", deep(8000));
	pid = fork();
	if (pid == 0) {
		overflows(NULL);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	say_end("overflow", status & ~0x80);
}

/* A stack whose lowest page is PROT_NONE, as language runtimes make them: the program's own SIGSEGV at the guard. */
static void guarded(void *arg)
{
	char *stack = map(STACK);

	mprotect(stack, PAGE, PROT_NONE);
	getcontext(&contexts[0]);
	contexts[0].uc_stack.ss_sp = stack;
	contexts[0].uc_stack.ss_size = STACK;
	contexts[0].uc_link = &main_context;
	makecontext(&contexts[0], (void (*)(void))overflows, 1, NULL);
	pressure();
	swapcontext(&main_context, &contexts[0]);
}

int main(void)
{
	int status = -1;
	pid_t pid;

	coroutines(0);
	coroutines(1);
	thread_on_own_stack();
	own_guard();
	main_stack();
	pid = fork();
	if (pid == 0) {
		guarded(NULL);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	say_end("guarded", status & ~0x80);
	return done();
}
