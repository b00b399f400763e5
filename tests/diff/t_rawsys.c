/* SPDX-License-Identifier: MIT
 *
 * t_rawsys - memory calls made with syscall(2) and with the instruction itself, which no interposed function sees: the program's memory must be
 * as natively all the same.
 */
#include "common.h"

#include <linux/futex.h>
#include <sys/syscall.h>

#define NR 64UL

#ifdef __x86_64__
static long instruction(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall" : "=a"(ret) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	if (ret < 0 && ret > -4096) {
		errno = (int)-ret;
		return -1;
	}
	return ret;
}
#endif

static long library(long nr, long a, long b, long c, long d, long e, long f)
{
	return syscall(nr, a, b, c, d, e, f);
}

typedef long (*call_fn)(long nr, long a, long b, long c, long d, long e, long f);

static void dontneed(call_fn call)
{
	char *w = window(NR * PAGE, RW);

	fill(w, NR * PAGE, 1);
	RC("resident: DONTNEED", call(SYS_madvise, (long)w, 8 * PAGE, MADV_DONTNEED, 0, 0, 0));
	zeroed("given up", w, 8 * PAGE);
	holds_at("rest", w + 8 * PAGE, 56 * PAGE, 1, 8);
	fill(w, NR * PAGE, 2);
	pressure();
	RC("evicted: DONTNEED", call(SYS_madvise, (long)(w + 16 * PAGE), 8 * PAGE, MADV_DONTNEED, 0, 0, 0));
	zeroed("given up", w + 16 * PAGE, 8 * PAGE);
	holds("below", w, 16 * PAGE, 2);
	holds_at("above", w + 24 * PAGE, 40 * PAGE, 2, 24);
	fill(w + 16 * PAGE, 8 * PAGE, 3);
	pressure();
	holds("rewritten", w + 16 * PAGE, 8 * PAGE, 3);
	munmap(w, NR * PAGE);
}

static void unmapped_and_mapped(call_fn call)
{
	char *w = window(NR * PAGE, RW), *p;

	fill(w, NR * PAGE, 4);
	pressure();
	RC("munmap", call(SYS_munmap, (long)(w + 8 * PAGE), 8 * PAGE, 0, 0, 0, 0));
	say_rights("hole", w, 24);
	p = (char *)call(SYS_mmap, (long)(w + 8 * PAGE), 8 * PAGE, RW, ANONFIXED, -1, 0);
	ADDR("mmap", w, p);
	zeroed("new", w + 8 * PAGE, 8 * PAGE);
	fill(w + 8 * PAGE, 8 * PAGE, 5);
	pressure();
	holds("new", w + 8 * PAGE, 8 * PAGE, 5);
	RC("munmap all", call(SYS_munmap, (long)w, NR * PAGE, 0, 0, 0, 0));
	say_rights("gone", w, NR);
	ADDR("mmap there again", w, mmap(w, NR * PAGE, RW, ANONFIXED, -1, 0));
	zeroed("new again", w, NR * PAGE);
	fill(w, NR * PAGE, 6);
	pressure();
	holds("new again", w, NR * PAGE, 6);
	munmap(w, NR * PAGE);
}

static void mapped_elsewhere(call_fn call)
{
	char *w = window(NR * PAGE, RW), *p;

	fill(w, NR * PAGE, 7);
	pressure();
	RC("munmap", call(SYS_munmap, (long)w, 32 * PAGE, 0, 0, 0, 0));
	p = (char *)call(SYS_mmap, 0, 32 * PAGE, RW, ANON, -1, 0);
	zeroed("elsewhere", p, 32 * PAGE);
	fill(p, 32 * PAGE, 8);
	pressure();
	holds("elsewhere", p, 32 * PAGE, 8);
	holds_at("what is left", w + 32 * PAGE, 32 * PAGE, 7, 32);
	RC("munmap", munmap(p, 32 * PAGE));
	munmap(w, NR * PAGE);
}

static void protected(call_fn call)
{
	char *w = window(NR * PAGE, RW);

	fill(w, NR * PAGE, 9);
	pressure();
	RC("mprotect read", call(SYS_mprotect, (long)w, 16 * PAGE, PROT_READ, 0, 0, 0));
	RC("mprotect none", call(SYS_mprotect, (long)(w + 16 * PAGE), 16 * PAGE, PROT_NONE, 0, 0, 0));
	say_rights("protected", w, NR);
	pressure();
	say_rights("protected, evicted", w, NR);
	RC("mprotect back", call(SYS_mprotect, (long)w, 32 * PAGE, RW, 0, 0, 0));
	holds("contents", w, NR * PAGE, 9);
	munmap(w, NR * PAGE);
}

static void moved(call_fn call)
{
	char *w = window(2 * NR * PAGE, RW);

	fill(w, NR * PAGE, 10);
	munmap(w + NR * PAGE, NR * PAGE);
	pressure();
	ADDR("mremap", w, call(SYS_mremap, (long)w, 16 * PAGE, 16 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, (long)(w + NR * PAGE), 0));
	holds("moved", w + NR * PAGE, 16 * PAGE, 10);
	say_rights("moved", w, 96);
	ADDR("grown", w, call(SYS_mremap, (long)(w + NR * PAGE), 16 * PAGE, 32 * PAGE, 0, 0, 0));
	holds("grown", w + NR * PAGE, 16 * PAGE, 10);
	zeroed("new", w + NR * PAGE + 16 * PAGE, 16 * PAGE);
	ADDR("shrunk", w, call(SYS_mremap, (long)(w + NR * PAGE), 32 * PAGE, 8 * PAGE, 0, 0, 0));
	pressure();
	holds("shrunk", w + NR * PAGE, 8 * PAGE, 10);
	holds_at("left", w + 16 * PAGE, 48 * PAGE, 10, 16);
	munmap(w, 2 * NR * PAGE);
}

static void broken(call_fn call)
{
	long start = (call(SYS_brk, 0, 0, 0, 0, 0, 0) + (long)PAGE - 1) & -(long)PAGE;

	say("brk: %ld", call(SYS_brk, start + 4 * (long)MB, 0, 0, 0, 0, 0) - start);
	zeroed("new", (char *)start, 4 * MB);
	fill((char *)start, 4 * MB, 11);
	pressure();
	holds("break", (char *)start, 4 * MB, 11);
	say("brk: %ld", call(SYS_brk, start, 0, 0, 0, 0, 0) - start);
	say_rights("after", (char *)start, 2);
}

static void forked(call_fn call)
{
	char *w = window(NR * PAGE, RW);
	int status = -1;
	long pid;

	fill(w, NR * PAGE, 12);
	pressure();
	pid = call(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0);
	if (pid == 0) {
		int good = intact(w, NR * PAGE, 12, 0);

		fill(w, NR * PAGE, 13);
		pressure();
		_exit(good && intact(w, NR * PAGE, 13, 0) ? 3 : 4);
	}
	waitpid((pid_t)pid, &status, 0);
	say_end("child", status);
	holds("parent", w, NR * PAGE, 12);
	munmap(w, NR * PAGE);
}

/* Operations that change the word, on words that have been evicted. (By the instruction itself they answer EFAULT then.) */
static void futexes(void)
{
	char *w = window(NR * PAGE, RW);
	int other = 0, *word = (int *)w, *second = (int *)(w + 32 * PAGE), *word3 = (int *)(w + 48 * PAGE);
	int add = FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_EQ, 0);

	fill(w, NR * PAGE, 14);
	*word = *second = *word3 = 0;
	pressure();
	RC("WAKE_OP", syscall(SYS_futex, &other, FUTEX_WAKE_OP_PRIVATE, 1, 1L, second, add));
	say("second word: %d", *second);
	pressure();
	RC("WAKE_OP, both evicted", syscall(SYS_futex, word, FUTEX_WAKE_OP_PRIVATE, 1, 1L, second, add));
	say("second word: %d", *second);
	pressure();
	RC("LOCK_PI", syscall(SYS_futex, word3, FUTEX_LOCK_PI_PRIVATE, 0, NULL));
	say("ours: %d", *word3 == (int)syscall(SYS_gettid));
	pressure();
	RC("UNLOCK_PI", syscall(SYS_futex, word3, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL));
	say("word: %d", *word3);
	pressure();
	RC("WAIT", syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, 1, NULL));
	RC("WAKE", syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1));
	mprotect(w + 32 * PAGE, PAGE, PROT_READ);
	RC("WAKE_OP of read-only", syscall(SYS_futex, word, FUTEX_WAKE_OP_PRIVATE, 1, 1L, second, add));
	mprotect(w + 32 * PAGE, PAGE, PROT_NONE);
	RC("WAKE_OP of PROT_NONE", syscall(SYS_futex, word, FUTEX_WAKE_OP_PRIVATE, 1, 1L, second, add));
	munmap(w + 32 * PAGE, PAGE);
	RC("WAKE_OP of nothing", syscall(SYS_futex, word, FUTEX_WAKE_OP_PRIVATE, 1, 1L, second, add));
	RC("WAKE_OP of nowhere", syscall(SYS_futex, word, FUTEX_WAKE_OP_PRIVATE, 1, 1L, 8L, add));
	RC("LOCK_PI of nothing", syscall(SYS_futex, second, FUTEX_LOCK_PI_PRIVATE, 0, NULL));
	munmap(w, NR * PAGE);
}

static void all(const char *name, call_fn call)
{
	say("%s", name);
	dontneed(call);
	unmapped_and_mapped(call);
	mapped_elsewhere(call);
	protected(call);
	moved(call);
	broken(call);
	forked(call);
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		all("syscall(2)", library);
		futexes();
		return done();
	}
#ifdef __x86_64__
	all("instruction", instruction);
	return done();
#else
	return 77;
#endif
}
