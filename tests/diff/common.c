/* SPDX-License-Identifier: MIT
 *
 * common.c - see common.h.
 */
#include "common.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>

static int nr_wrong;

static void put(const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = write(STDOUT_FILENO, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			_exit(99);
		text += n;
		len -= (size_t)n;
	}
}

static void put_line(const char *before, const char *fmt, va_list args)
{
	char line[1024];
	size_t n = (size_t)snprintf(line, sizeof(line), "%s", before);

	n += (size_t)vsnprintf(line + n, sizeof(line) - n - 1, fmt, args);
	if (n > sizeof(line) - 2)
		n = sizeof(line) - 2;
	line[n++] = '\n';
	put(line, n);
}

void say(const char *fmt, ...)
{
	int saved = errno;
	va_list args;

	va_start(args, fmt);
	put_line("", fmt, args);
	va_end(args);
	errno = saved;
}

void wrong(const char *fmt, ...)
{
	int saved = errno;
	va_list args;

	nr_wrong++;
	va_start(args, fmt);
	put_line("WRONG ", fmt, args);
	va_end(args);
	errno = saved;
}

static const char *error_name(int e)
{
	const char *name = e ? strerrorname_np(e) : "-";

	return name ? name : "?";
}

void say_rc(const char *name, long rc)
{
	int e = errno;

	say("%s: %ld %s", name, rc, rc < 0 ? error_name(e) : "-");
}

void say_addr(const char *name, const void *base, const void *at)
{
	int e = errno;
	ptrdiff_t off = (const char *)at - (const char *)base;

	if (at == MAP_FAILED)
		say("%s: failed %s", name, error_name(e));
	else if (base && off >= 0 && (size_t)off < 64 * MB)
		say("%s: +%td", name, off);
	else
		say("%s: elsewhere", name);
}

int done(void)
{
	say("end, %d wrong", nr_wrong);
	return nr_wrong ? 1 : 0;
}

void die(const char *what)
{
	wrong("%s: %s", what, error_name(errno));
	_exit(98);
}

uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ULL;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

static inline uint64_t word_of(uint64_t key, size_t i)
{
	switch (key & 7) {
	case 0:
		return 0;
	case 1:
		return ((key >> 8) & 0xff) * 0x0101010101010101ULL;
	case 2:
		return mix(key + i);
	default:
		return key ^ ((i & 31) * 0x0102040810204081ULL);
	}
}

static uint64_t key_of(uint64_t seed, size_t page)
{
	return mix(mix(seed) + page);
}

void fill_at(void *p, size_t len, uint64_t seed, size_t first)
{
	char *to = p;

	for (size_t off = 0; off < len; off += 8) {
		uint64_t word = word_of(key_of(seed, first + off / PAGE), off % PAGE / 8);

		memcpy(to + off, &word, len - off < 8 ? len - off : 8);
	}
}

void fill(void *p, size_t len, uint64_t seed)
{
	fill_at(p, len, seed, 0);
}

static ptrdiff_t first_wrong(const char *p, size_t len, uint64_t seed, size_t first)
{
	for (size_t off = 0; off < len; off += 8) {
		uint64_t word = word_of(key_of(seed, first + off / PAGE), off % PAGE / 8);
		size_t n = len - off < 8 ? len - off : 8;

		if (memcmp(p + off, &word, n) == 0)
			continue;
		for (size_t i = 0; i < n; i++)
			if (p[off + i] != ((char *)&word)[i])
				return (ptrdiff_t)(off + i);
	}
	return -1;
}

int intact(const void *p, size_t len, uint64_t seed, size_t first)
{
	return first_wrong(p, len, seed, first) < 0;
}

void holds_at(const char *name, const void *p, size_t len, uint64_t seed, size_t first)
{
	ptrdiff_t at = first_wrong(p, len, seed, first);

	if (at < 0)
		say("%s: holds", name);
	else
		wrong("%s: byte %td of %zu (page %td) is 0x%02x", name, at, len, at / (ptrdiff_t)PAGE,
		      ((const unsigned char *)p)[at]);
}

void holds(const char *name, const void *p, size_t len, uint64_t seed)
{
	holds_at(name, p, len, seed, 0);
}

int is_zero(const void *p, size_t len)
{
	const unsigned char *at = p;

	for (size_t i = 0; i < len; i++)
		if (at[i])
			return 0;
	return 1;
}

int direct_file(void *p, size_t len, uint64_t seed, int flags, int *direct)
{
	char name[] = "direct.XXXXXX";
	int plain = mkstemp(name);

	*direct = open(name, flags | O_DIRECT | O_CLOEXEC);
	if (*direct < 0)
		*direct = open(name, flags | O_CLOEXEC);
	if (plain < 0 || *direct < 0)
		die("file");
	unlink(name);
	fill(p, len, seed);
	if (pwrite(plain, p, len, 0) != (ssize_t)len || fsync(plain))
		die("write");
	return plain;
}

void zeroed(const char *name, const void *p, size_t len)
{
	const unsigned char *at = p;

	for (size_t i = 0; i < len; i++) {
		if (at[i]) {
			wrong("%s: byte %zu of %zu is 0x%02x, not zero", name, i, len, at[i]);
			return;
		}
	}
	say("%s: zero", name);
}

uint64_t digest(const void *p, size_t len)
{
	const unsigned char *at = p;
	uint64_t h = 0xcbf29ce484222325ULL;

	for (size_t i = 0; i < len; i++)
		h = (h ^ at[i]) * 0x100000001b3ULL;
	return h;
}

static size_t pressure_bytes(void)
{
	const char *text = getenv("MF_PRESSURE_MB");

	return (text ? strtoul(text, NULL, 10) : 4) * MB;
}

void pressure(void)
{
	static uint64_t round;
	size_t len = pressure_bytes();
	int saved = errno;
	uint64_t *p;

	if (!len)
		return;
	round++;
	p = mmap(NULL, len, RW, ANON, -1, 0);
	if (p == MAP_FAILED)
		die("pressure");
	for (size_t i = 0; i < len / 8; i++)
		p[i] = ((round << 40) + (i >> 9)) * 0x9e3779b97f4a7c15ULL ^ (i & 63);
	for (size_t i = 0; i < len / 8; i++) {
		if (p[i] == (((round << 40) + (i >> 9)) * 0x9e3779b97f4a7c15ULL ^ (i & 63)))
			continue;
		wrong("pressure %d: page %zu, word %zu", (int)round, i >> 9, i & 511);
		break;
	}
	munmap(p, len);
	errno = saved;
}

char *map(size_t len)
{
	char *p = mmap(NULL, len, RW, ANON, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

char *window(size_t len, int prot)
{
	size_t decoy = 32 * MB;
	char *p;

	len += 2 * PAGE;
	p = mmap(NULL, len + decoy, prot, ANON | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED || munmap(p + len, decoy) != 0)
		die("window");
	/* What is mapped below would merge with the window, and a few calls behave differently across two mappings. */
	if (mmap(p, PAGE, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		die("window guard");
	if (mmap(p + len - PAGE, PAGE, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		die("window guard");
	return p + PAGE;
}

static sigjmp_buf probe_out;
static volatile char probe_letter;

static void on_probe(int sig, siginfo_t *info, void *context)
{
	probe_letter = sig == SIGBUS ? 'b' : info->si_code == SEGV_MAPERR ? 'm' : 'a';
	siglongjmp(probe_out, 1);
}

char right_of(volatile char *p)
{
	struct sigaction act = { .sa_sigaction = on_probe, .sa_flags = SA_SIGINFO }, segv, bus;
	volatile char stage = 0, got = 0;

	sigemptyset(&act.sa_mask);
	sigaction(SIGSEGV, &act, &segv);
	sigaction(SIGBUS, &act, &bus);
	probe_letter = 'w';
	if (sigsetjmp(probe_out, 1) == 0) {
		got = *p;
		stage = 1;
		*p = got;
	} else if (stage == 1 && probe_letter == 'a') {
		probe_letter = 'r';
	}
	sigaction(SIGSEGV, &segv, NULL);
	sigaction(SIGBUS, &bus, NULL);
	return probe_letter;
}

void say_rights(const char *name, void *p, size_t nr_pages)
{
	char letters[257];

	if (nr_pages > 256)
		nr_pages = 256;
	for (size_t i = 0; i < nr_pages; i++)
		letters[i] = right_of((char *)p + i * PAGE);
	letters[nr_pages] = '\0';
	say("%s: %s", name, letters);
}

void say_end(const char *name, int status)
{
	if (WIFEXITED(status))
		say("%s: exit %d", name, WEXITSTATUS(status));
	else if (WIFSIGNALED(status))
		say("%s: signal %d", name, WTERMSIG(status));
	else
		say("%s: status %d", name, status);
}

void in_child(const char *name, void (*fn)(void *), void *arg)
{
	int status = -1;
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid == 0) {
		nr_wrong = 0;
		fn(arg);
		_exit(nr_wrong ? 1 : 0);
	}
	if (waitpid(pid, &status, 0) != pid)
		die("waitpid");
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		nr_wrong++;
	say_end(name, status);
}

int is_root(void)
{
	return geteuid() == 0;
}
