/* SPDX-License-Identifier: MIT
 * host.c - the userfaultfd itself: opening it, arming ranges, waking, and how this machine waits and dies. */
#include <fcntl.h>
#include <sys/mman.h>

#include "machine/sys.h"
#include "machine/uffd/internal.h"
#include "mm/errno.h"

unsigned machine_caps(void)
{
	return 0;
}

/* One fault is resolved at a time, mostly: nothing is shared, and nothing lies idle for another one. */
unsigned machine_cpus(void)
{
	return 1;
}

unsigned machine_cpu(void)
{
	return 0;
}

static long new_uffd(int source, int kept)
{
	long dev, fd;

	if (kept >= 0)
		return sys_ioctl(kept, UFFD_DEV_NEW, (void *)(long)O_CLOEXEC);
	if (source == 0)
		return sys_call1(SYS_userfaultfd, O_CLOEXEC);
	dev = sys_open("/dev/userfaultfd", O_RDONLY | O_CLOEXEC);
	if (dev < 0)
		return dev;
	fd = sys_ioctl((int)dev, UFFD_DEV_NEW, (void *)(long)O_CLOEXEC);
	sys_close((int)dev);
	return fd;
}

/* A userfaultfd speaks UFFDIO_API once; what it can do is found out with a first one. */
int uffd_open(int source, int kept, bool *move)
{
	const uint64_t need = UFFD_FEATURE_THREAD_ID | UFFD_FEATURE_PAGEFAULT_WP;
	struct uffd_api ask = { .api = UFFD_API_VERSION };
	long fd = new_uffd(source, kept);
	uint64_t have;
	long r;

	if (fd < 0)
		return (int)fd;
	r = sys_ioctl((int)fd, UFFD_API, &ask);
	sys_close((int)fd);
	if (r < 0)
		return (int)r;
	have = ask.features;
	if ((have & need) != need)
		return -ENOSYS;
	ask = (struct uffd_api){ .api = UFFD_API_VERSION,
				 .features = have & (need | UFFD_FEATURE_POISON | UFFD_FEATURE_MOVE) };
	fd = new_uffd(source, kept);
	if (fd < 0)
		return (int)fd;
	r = sys_ioctl((int)fd, UFFD_API, &ask);
	if (r < 0) {
		sys_close((int)fd);
		return (int)r;
	}
	*move = (have & UFFD_FEATURE_MOVE) != 0;
	return (int)fd;
}

int uffd_machine_attach(int fd, bool move)
{
	uffd.fd = fd;
	uffd.move = move;
	uffd.pidfd = (int)sys_call2(SYS_pidfd_open, sys_getpid(), O_EXCL /* PIDFD_THREAD, as elsewhere: what filters of the program let pass */);
	atomic_store(&uffd.watching, 0);
	atomic_store(&uffd.looks, 0);
	return move ? uffd_arm(uffd.arena, uffd.nr_frames * PAGE) : 0;
}

int uffd_arm(unsigned long addr, size_t len)
{
	struct uffd_register r = { .range = { addr, len }, .mode = UFFD_REGISTER_MISSING | UFFD_REGISTER_WP };

	return (int)sys_ioctl(uffd.fd, UFFD_REGISTER, &r);
}

void uffd_set_crowded(bool crowded)
{
	atomic_store_explicit(&uffd.crowded, crowded, memory_order_relaxed);
}

void uffd_pages_are_lent(void)
{
	if (!atomic_load_explicit(&uffd.lent, memory_order_relaxed))
		atomic_store(&uffd.lent, true);
}

int uffd_disarm(unsigned long addr, size_t len)
{
	struct uffd_range r = { addr, len };

	return (int)sys_ioctl(uffd.fd, UFFD_UNREGISTER, &r);
}

void uffd_wake(unsigned long addr)
{
	struct uffd_range r = { addr & ~(PAGE - 1), PAGE };

	sys_ioctl(uffd.fd, UFFD_WAKE, &r);
}

void uffd_wake_all(void)
{
	struct uffd_range r = { 1UL << 20, (1UL << 47) - (2UL << 20) };

	sys_ioctl(uffd.fd, UFFD_WAKE, &r);
}

int uffd_poison(unsigned long addr)
{
	struct uffd_poison p = { .range = { addr & ~(PAGE - 1), PAGE } };

	return (int)sys_ioctl(uffd.fd, UFFD_POISON, &p);
}

/* Opened anew at each call: descriptors kept open would stand in the program's table. */
int read_protected(unsigned long addr, void *to)
{
	long fd = sys_open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	long r;

	if (fd < 0)
		return (int)fd;
	r = sys_pread((int)fd, to, PAGE, addr);
	sys_close((int)fd);
	return r == (long)PAGE ? 0 : -EIO;
}

bool in_host_swap(unsigned long addr)
{
	long fd = sys_open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;

	if (fd < 0)
		return false;
	sys_pread((int)fd, &entry, sizeof(entry), addr / PAGE * sizeof(entry));
	sys_close((int)fd);
	return entry >> 62 & 1;
}

/* ---- waiting and dying ------------------------------------------------------------------------------------------- */

void machine_wait(atomic_uint *word, unsigned val)
{
	sys_futex_wait(word, val);
}

void machine_wake(atomic_uint *word, int n)
{
	sys_futex_wake(word, n);
}

void machine_relax(void)
{
	__builtin_ia32_pause();
}

static size_t append(char *to, size_t at, size_t size, const char *s)
{
	while (*s && at + 1 < size)
		to[at++] = *s++;
	to[at] = 0;
	return at;
}

void uffd_last_words(const char *text);
__attribute__((weak)) void uffd_last_words(const char *text)
{
	size_t n = 0;

	while (text[n])
		n++;
	sys_write(2, text, n);
}

_Noreturn void machine_bug(const char *file, int line, const char *what)
{
	char text[512], digits[12];
	size_t at = 0, d = sizeof(digits) - 1;

	digits[d] = 0;
	do
		digits[--d] = (char)('0' + line % 10);
	while ((line /= 10) && d);
	at = append(text, at, sizeof(text), "internal error: ");
	at = append(text, at, sizeof(text), what);
	at = append(text, at, sizeof(text), " (");
	at = append(text, at, sizeof(text), file);
	at = append(text, at, sizeof(text), ":");
	at = append(text, at, sizeof(text), digits + d);
	append(text, at, sizeof(text), ")\n");
	uffd_last_words(text);
	sys_call2(SYS_kill, sys_getpid(), 9);
	sys_exit_group(137);
}
