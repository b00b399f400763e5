/* SPDX-License-Identifier: MIT
 *
 * compressibility.c - how far would a program's memory compress, page by page?
 *
 *   compressibility PID                     a running process, now
 *   compressibility [-n PAGES] -- COMMAND   a command, sampled each time it grew by a twentieth; the largest counts
 *
 * The process is stopped, up to PAGES (default 4096) of its present private anonymous pages are read through
 * /proc/PID/mem, evenly spread, each is compressed alone with LZ4 and with zstd (level 1), and the process goes on.
 * What `minflt run` would need is then simple: of A bytes touched, F stay uncompressed, the rest takes (A - F) /
 * ratio.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <lz4.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

#define PAGE 4096u
#define MAX_AREAS 4096u

struct area {
	uint64_t start, end;
};

struct sample {
	uint64_t touched;                /* present private anonymous pages */
	uint64_t taken, same;            /* pages read; same-filled of these */
	uint64_t lz4, zstd;              /* compressed bytes of the others; a page that doesn't shrink counts whole */
};

static struct area areas[MAX_AREAS];

/* => number of private writable areas without a file, or -1 when the process is gone */
static int read_maps(int pid)
{
	char path[64], line[512], perms[8], name[256];
	unsigned n = 0;
	uint64_t start, end, inode;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	FILE *f = fopen(path, "re");
	if (!f)
		return -1;
	while (n < MAX_AREAS && fgets(line, sizeof(line), f)) {
		name[0] = 0;
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s %*x %*s %" SCNu64 " %255s", &start, &end, perms, &inode, name) < 4)
			continue;
		if (inode == 0 && perms[1] == 'w' && perms[3] == 'p' && strncmp(name, "[v", 2))
			areas[n++] = (struct area){ start, end };
	}
	fclose(f);
	return (int)n;
}

static bool same_filled(const uint64_t *page)
{
	for (unsigned i = 1; i < PAGE / 8; i++)
		if (page[i] != page[0])
			return false;
	return true;
}

static void take_page(int mem, uint64_t addr, struct sample *s)
{
	static _Alignas(4096) char page[PAGE], out[2 * PAGE];

	if (pread(mem, page, PAGE, (off_t)addr) != PAGE)
		return;
	s->taken++;
	if (same_filled((const uint64_t *)page)) {
		s->same++;
		return;
	}
	int len = LZ4_compress_default(page, out, PAGE, sizeof(out));
	s->lz4 += len > 0 && (unsigned)len < PAGE ? (unsigned)len : PAGE;
	size_t zlen = ZSTD_compress(out, sizeof(out), page, PAGE, 1);
	s->zstd += zlen < PAGE ? zlen : PAGE; /* errors are huge values */
}

/* Walks the present pages. every == 0: counts them; otherwise reads each `every`-th. */
static void walk_pages(int pagemap, int mem, int nr_areas, uint64_t every, struct sample *s)
{
	static uint64_t entries[65536];
	uint64_t seen = 0;

	for (int a = 0; a < nr_areas; a++)
		for (uint64_t at = areas[a].start; at < areas[a].end; ) {
			uint64_t want = (areas[a].end - at) / PAGE;
			ssize_t got = pread(pagemap, entries, (want < 65536 ? want : 65536) * 8, (off_t)(at / PAGE * 8));

			if (got <= 0)
				break;
			for (uint64_t i = 0; i < (uint64_t)got / 8; i++) {
				if (!(entries[i] >> 63))
					continue;
				if (!every)
					s->touched++;
				else if (seen++ % every == 0)
					take_page(mem, at + i * PAGE, s);
			}
			at += (uint64_t)got / 8 * PAGE;
		}
}

/* => 0, or -errno; the process is stopped meanwhile */
static int take_sample(int pid, uint64_t max_pages, struct sample *s)
{
	char path[64];
	int pagemap, mem, nr, err = 0;

	memset(s, 0, sizeof(*s));
	if (kill(pid, SIGSTOP))
		return -errno;
	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	pagemap = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	mem = open(path, O_RDONLY | O_CLOEXEC);
	nr = pagemap < 0 || mem < 0 ? -1 : read_maps(pid);
	if (nr < 0) {
		err = -errno;
	} else {
		walk_pages(pagemap, mem, nr, 0, s);
		walk_pages(pagemap, mem, nr, s->touched / max_pages + 1, s);
	}
	kill(pid, SIGCONT);
	close(pagemap);
	close(mem);
	return err;
}

static void report_codec(const char *name, const struct sample *s, uint64_t bytes)
{
	double mib = (double)s->touched * PAGE / (1 << 20);
	double ratio = s->taken ? (double)s->taken * PAGE / ((double)bytes + (double)s->same * 8 + 1) : 1;

	fprintf(stderr, "%s, page by page: %.2f : 1. Memory with so much of it uncompressed:", name, ratio);
	for (unsigned share = 5; share <= 50; share += share < 20 ? 5 : 15)
		fprintf(stderr, "  %u %%: %.0f MiB", share, mib * share / 100 + mib * (100 - share) / 100 / ratio);
	fprintf(stderr, "\n");
}

static void report(const struct sample *s)
{
	fprintf(stderr, "private anonymous memory: %.1f MiB (%" PRIu64 " pages sampled), same-filled %.1f %%\n",
		(double)s->touched * PAGE / (1 << 20), s->taken, s->taken ? 100.0 * (double)s->same / (double)s->taken : 0.0);
	report_codec("LZ4", s, s->lz4);
	report_codec("zstd", s, s->zstd);
}

static uint64_t resident_pages(int pid)
{
	char path[64];
	uint64_t resident = 0;

	snprintf(path, sizeof(path), "/proc/%d/statm", pid);
	FILE *f = fopen(path, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%*u %" SCNu64, &resident) != 1)
		resident = 0;
	fclose(f);
	return resident;
}

static int watch_command(char **argv, uint64_t max_pages)
{
	const struct timespec tick = { .tv_nsec = 20000000 };
	struct sample best = { 0 }, s;
	uint64_t peak = 0, now;
	int status, pid = fork();

	if (pid == 0) {
		execvp(argv[0], argv);
		fprintf(stderr, "compressibility: %s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	if (pid < 0)
		return -errno;
	while (waitpid(pid, &status, WNOHANG) == 0) {
		now = resident_pages(pid);
		if (now > peak + peak / 20 + 256) {
			peak = now;
			if (!take_sample(pid, max_pages, &s) && s.touched >= best.touched)
				best = s;
		}
		nanosleep(&tick, NULL);
	}
	report(&best);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv)
{
	uint64_t max_pages = 4096;
	struct sample s;
	int c, err;

	while ((c = getopt(argc, argv, "+n:")) != -1) {
		if (c != 'n' || !(max_pages = strtoull(optarg, NULL, 0)))
			goto usage;
	}
	if (optind < argc && !strcmp(argv[optind - 1], "--"))
		return watch_command(argv + optind, max_pages);
	if (optind + 1 != argc || atoi(argv[optind]) <= 0)
		goto usage;
	err = take_sample(atoi(argv[optind]), max_pages, &s);
	if (err) {
		fprintf(stderr, "compressibility: process %s: %s (its memory can be read by its owner, or by root)\n", argv[optind],
			strerror(-err));
		return 1;
	}
	report(&s);
	return 0;
usage:
	fprintf(stderr, "usage: compressibility [-n PAGES] PID | compressibility [-n PAGES] -- COMMAND\n");
	return 2;
}
