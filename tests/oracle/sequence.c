/* SPDX-License-Identifier: MIT
 *
 * sequence.c - the generator. It keeps a rough model (which areas there are, how long they may be), so that most statements meet something;
 * what becomes of them is for the machines to say.
 */
#include "tests/oracle/sequence.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "scenario/soft.h"

#define MAX_AREAS     6
#define MAX_PROCESSES 5
#define MAX_FILES     2
#define CROWD         0x60000000
#define STACKS        0x90000000u /* far above the plan, and below the end of programs everywhere */
#define SIZEOF_ARRAY(a) (sizeof(a) / sizeof((a)[0]))

enum kind { ANON, STACK, HEAP, SHARED_ANON, FILE_PRIVATE, FILE_SHARED };

struct area {
	bool there;
	enum kind kind;
	unsigned file; /* behind it */
	unsigned pages; /* as far as it was ever made; holes are not followed */
	bool pieces; /* a part of it has been treated otherwise than the rest */
	bool locked; /* a part of it was, perhaps */
};

struct process {
	bool alive;
	char name[8];
	struct area areas[MAX_AREAS];
};

struct maker {
	struct sequence *q;
	uint64_t state;
	struct process processes[MAX_PROCESSES];
	unsigned nr_stacks, nr_processes, value, nr_files, file_size[MAX_FILES];
	bool zeroed_tail[MAX_FILES]; /* a truncation left zeros behind an end within a page */
};

static uint64_t next(struct maker *m)
{
	uint64_t z = m->state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

static unsigned below(struct maker *m, unsigned n)
{
	return n ? (unsigned)(next(m) % n) : 0;
}

static bool one_in(struct maker *m, unsigned n)
{
	return !below(m, n);
}

/* `in NAME:` is put before it unless the process is main. */
__attribute__((format(printf, 3, 4))) static void emit(struct maker *m, const struct process *p, const char *format, ...)
{
	char *line = m->q->lines[m->q->nr];
	int n = 0;
	va_list ap;

	if (m->q->nr == SEQ_MAX_LINES)
		return;
	if (p && strcmp(p->name, "main"))
		n = snprintf(line, SEQ_LINE_SIZE, "in %s: ", p->name);
	va_start(ap, format);
	vsnprintf(line + n, (size_t)(SEQ_LINE_SIZE - n), format, ap);
	va_end(ap);
	m->q->nr++;
}

static const char *name_of(const struct process *p, unsigned i)
{
	static const char *const names[] = { "A", "B", "C", "D", "E", "F" };

	return p->areas[i].kind == HEAP && p->areas[i].there ? "heap" : names[i];
}

static const char *random_prot(struct maker *m)
{
	static const char *const prots[] = { "rw", "rw", "rw", "r", "none", "w", "rwx" };

	return prots[below(m, SIZEOF_ARRAY(prots))];
}

static const char *random_file_prot(struct maker *m)
{
	static const char *const prots[] = { "rw", "r", "none", "w" };

	return prots[below(m, SIZEOF_ARRAY(prots))];
}

static unsigned char random_value(struct maker *m)
{
	return (unsigned char)(m->value = m->value % 255 + 1);
}

/* ---- areas ------------------------------------------------------------------------------------------------------- */

static enum kind random_kind(struct maker *m, unsigned i)
{
	bool old = m->q->parts & SEQ_OLD;
	unsigned k = below(m, 20);

	if (k == 0 && i == MAX_AREAS - 1)
		return old ? ANON : HEAP; /* 2.0 has no mapping there */
	if (k < 2)
		return m->q->parts & (SEQ_OLD | SEQ_SAME_CONTENTS) ? ANON : STACK;
	if (!(m->q->parts & SEQ_FILES) || k < 8)
		return ANON;
	if (k < 11)
		return old ? ANON : SHARED_ANON;
	return k < 16 ? FILE_PRIVATE : FILE_SHARED;
}

/* Now and then in a crowd, over and beside others: mappings are replaced, cut, become one. What becomes one and what doesn't, generations
 * answer each in its way, and mremap shows it. */
static void random_place(struct maker *m, char place[24])
{
	place[0] = 0;
	if (!(m->q->parts & (SEQ_ONE_BY_ONE | SEQ_OLD | SEQ_SAME_CONTENTS)) && one_in(m, 4))
		snprintf(place, 24, " at %#x", CROWD + below(m, 64) * 4096);
}

static void make_area(struct maker *m, struct process *p, unsigned i)
{
	struct area *a = &p->areas[i];
	const char *prot = one_in(m, 3) ? random_prot(m) : "rw", *name;
	const char *populate = one_in(m, 8) ? " populate" : "", *reserve = one_in(m, 8) ? " noreserve" : "";
	char place[24];

	*a = (struct area){ .there = true, .kind = random_kind(m, i), .pages = 1 + below(m, 24) };
	name = name_of(p, i);
	random_place(m, place);
	switch (a->kind) {
	case HEAP:
		emit(m, p, "brk %uP", a->pages);
		break;
	case STACK:
		/* Above a neighbour of whose guard gap some 40 pages are free, or nearly so. */
		m->nr_stacks++;
		emit(m, p, "mmap N%u 4P %s private anon at %#x", m->nr_stacks, one_in(m, 4) ? "none" : "rw", STACKS + m->nr_stacks * 0x1000000);
		emit(m, p, "mmap %s %uP rw private anon growsdown at %#x", name, a->pages,
		     STACKS + m->nr_stacks * 0x1000000 + (4 + 256 + below(m, 60)) * 4096);
		break;
	case ANON:
		emit(m, p, "mmap %s %uP %s private anon%s%s%s", name, a->pages, prot, populate, reserve, place);
		break;
	case SHARED_ANON:
		emit(m, p, "mmap %s %uP %s shared anon%s%s", name, a->pages, prot, populate, place);
		break;
	case FILE_PRIVATE:
	case FILE_SHARED:
		prot = one_in(m, 3) ? random_file_prot(m) : "rw"; /* readahead stays inside executable mappings since 6.16 */
		if (m->q->parts & SEQ_OLD && a->kind == FILE_SHARED)
			prot = "r";
		emit(m, p, "mmap %s %uP %s %s G%u %uP%s%s", name, a->pages, prot, a->kind == FILE_SHARED ? "shared" : "private",
		     a->file = below(m, m->nr_files), one_in(m, 2) ? below(m, 12) : 0, populate, place);
		break;
	}
}

/* A range in the area, now and then reaching out of it. */
static void range(struct maker *m, const struct area *a, int *off, unsigned *len)
{
	*off = (int)below(m, a->pages);
	*len = 1 + below(m, a->pages - (unsigned)*off);
	if (one_in(m, 12))
		*len += 1 + below(m, 3);
	if (a->kind == STACK && one_in(m, 3))
		*off -= (int)below(m, 40);
}

static void access(struct maker *m, struct process *p, unsigned i)
{
	unsigned len, within = one_in(m, 6) ? below(m, 4096) : 0;
	int off;

	range(m, &p->areas[i], &off, &len);
	if (one_in(m, 2))
		emit(m, p, "read %s %d %uP", name_of(p, i), off * 4096 + (int)within, len);
	else
		emit(m, p, "write %s %d %uP %u", name_of(p, i), off * 4096 + (int)within, len, random_value(m));
}

static void advise(struct maker *m, struct process *p, unsigned i)
{
	static const char *const advices[] = {
		"dontneed",   "dontneed", "dontneed",   "dontneed", "populate_read", "populate_write",
		"dontfork",   "dofork",   "wipeonfork", "keeponfork", "random",      "normal",
		"sequential", "free", "free",         "cold",
	};
	const char *advice = advices[below(m, SIZEOF_ARRAY(advices))];
	unsigned len;
	int off;

	range(m, &p->areas[i], &off, &len);
	if (m->q->parts & (SEQ_RECLAIM | SEQ_COLD) && !strcmp(advice, "free"))
		advice = "cold"; /* what is evicted afterwards may be gone or not: the host drops it, the engine keeps it */
	if (m->q->parts & SEQ_SAME_CONTENTS && p->areas[i].kind >= SHARED_ANON && strstr(advice, "fork"))
		advice = "dontneed"; /* a remapped page is of the old mapping for 2.6, whose advice holds for it */
	if ((p->areas[i].kind != ANON || m->q->parts & SEQ_FORKS) && !strcmp(advice, "populate_write"))
		advice = "populate_read"; /* the processor may still hold the read-only translation, and the next store is a spurious fault */
	if (one_in(m, 12) && p->areas[i].kind <= HEAP) {
		emit(m, p, "madvise %s %dP %uP willneed", name_of(p, i), off, len);
	} else if (one_in(m, 8) && m->q->parts & SEQ_COLD && p->areas[i].kind >= FILE_PRIVATE) {
		m->q->parts |= SEQ_UNCOUNTED;
		emit(m, p, "madvise %s %dP %uP pageout", name_of(p, i), off, len);
	} else {
		emit(m, p, "madvise %s %dP %uP %s", name_of(p, i), off, len, advice);
	}
}

static void move(struct maker *m, struct process *p, unsigned i)
{
	struct area *a = &p->areas[i];
	unsigned new_pages = 1 + below(m, 32);
	char place[24];

	random_place(m, place);
	if (*place && new_pages == a->pages)
		new_pages++; /* since 6.17 a move that changes no length takes several mappings along */
	if (a->kind == STACK || a->kind == HEAP)
		return;
	if (m->q->parts & SEQ_SAME_CONTENTS && (a->kind == SHARED_ANON || a->kind == FILE_SHARED))
		return; /* what has been remapped is one mapping for 2.6, and several since */
	if (m->q->parts & (SEQ_OLD | SEQ_SAME_CONTENTS) && a->pieces)
		return; /* which of them are one mapping again, generations answer each in its way (mremap-pieces.scn) */
	if (below(m, 3)) {
		emit(m, p, "mremap %s 0 %uP %uP%s%s", name_of(p, i), a->pages, new_pages, one_in(m, 2) ? " maymove" : "", place);
		a->pages = new_pages > a->pages ? new_pages : a->pages;
	} else {
		unsigned len;
		int off;

		range(m, a, &off, &len);
		a->pieces = true;
		if (*place && new_pages == len)
			new_pages++;
		emit(m, p, "mremap %s %dP %uP %uP%s", name_of(p, i), off, len, new_pages, place);
	}
}

static void resize_heap(struct maker *m, struct process *p, unsigned i)
{
	struct area *a = &p->areas[i];
	unsigned delta = 1 + below(m, 12);

	if (a->kind != HEAP)
		return;
	emit(m, p, "brk %s%uP", one_in(m, 2) ? "-" : "", delta);
	a->pages += delta; /* an upper bound */
}

static void lock(struct maker *m, struct process *p, unsigned i)
{
	unsigned len;
	int off;

	if (p->areas[i].kind == STACK)
		return;
	range(m, &p->areas[i], &off, &len);
	p->areas[i].locked = true;
	/* After a fork mlock takes over pages for writing that the processor may hold read-only: a spurious fault later, as after populate_write. */
	emit(m, p, "%s %s %dP %uP", one_in(m, 2) && m->nr_processes == 1 ? "mlock" : "munlock", name_of(p, i), off, len);
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

static unsigned random_size(struct maker *m)
{
	unsigned pages = below(m, 28), rest;

	/* Whoever makes a file longer may bring the page with its old end into memory. */
	rest = !(m->q->parts & SEQ_COLD) && one_in(m, 3) ? below(m, 4096) : 0;
	/* What is stored behind the end, in the last page, is lost when that is evicted, and the host evicts other pages than the engine. */
	return pages * 4096 + (m->q->parts & SEQ_RECLAIM ? 0 : rest);
}

/* What read(2) reads ahead is nobody's business here. */
__attribute__((format(printf, 4, 5))) static void emit_after_warm(struct maker *m, const struct process *p, unsigned file, const char *format, ...)
{
	char statement[SEQ_LINE_SIZE - 32];
	va_list ap;

	va_start(ap, format);
	vsnprintf(statement, sizeof(statement), format, ap);
	va_end(ap);
	emit(m, NULL, "warm G%u\n%s%s%s%s", file, p->name[0] == 'm' ? "" : "in ", p->name[0] == 'm' ? "" : p->name, p->name[0] == 'm' ? "" : ": ", statement);
}

/* On tmpfs a hole is not read: nothing to compare with. Between what is on the disk and what isn't, it is a matter of time what the next fault
 * finds. Files only get shorter there. */
static void truncate_file(struct maker *m, unsigned file)
{
	unsigned size = random_size(m);

	if (m->q->parts & (SEQ_TMPFS | SEQ_COLD) && size > m->file_size[file])
		size = m->file_size[file];
	if (size % 4096 || (size > m->file_size[file] && m->file_size[file] % 4096))
		m->zeroed_tail[file] = true;
	m->file_size[file] = size;
	/* A file system may leave the page with the new end in memory and not read. */
	emit(m, NULL, size % 4096 ? "truncate G%u %u\nwarm G%u" : "truncate G%u %u", file, size, file);
}

/* A file system with a journal (ext4, data=ordered) writes the zeros behind such an end before it commits, which any fsync makes it do: the page is
 * clean then, and the next store a fault. */
static bool would_commit_tail(const struct maker *m, int but)
{
	for (unsigned i = 0; i < m->nr_files; i++)
		if (m->zeroed_tail[i] && (int)i != but && !(m->q->parts & SEQ_TMPFS))
			return true;
	return false;
}

static void file_step(struct maker *m, struct process *p, unsigned i)
{
	unsigned file = below(m, m->nr_files), what = below(m, 12), len;
	const struct area *a = &p->areas[i];
	int off;

	if (m->q->parts & SEQ_OLD && what < 7)
		what = 7; /* 2.0: the kernel itself gets pages anywhere, and files have no end */
	if (what >= 3 && what < 7 && a->kind >= FILE_PRIVATE && a->file == file)
		what = 7; /* a file read into itself: nobody promises an order */
	range(m, a, &off, &len);
	if (what < 3)
		truncate_file(m, file);
	else if (what < 5)
		emit_after_warm(m, p, file, "pread %s %d %u G%u %u", name_of(p, i), off * 4096 + (int)below(m, 100), len * 4096 - below(m, 4000), file, below(m, 30000));
	else if (what < 7)
		emit_after_warm(m, p, file, "pwrite %s %d %u G%u %u", name_of(p, i), off * 4096 + (int)below(m, 100), len * 4096 - below(m, 4000), file, below(m, 30000));
	else if (what < 8 && would_commit_tail(m, -1))
		return;
	else if (what < 8)
		emit(m, p, "msync %s %dP %uP", name_of(p, i), off, len);
	else if (what < 9 && m->q->parts & SEQ_SAME_CONTENTS && a->locked)
		return; /* a child's mapping stays in pieces when the locks are gone: 5 goes on over them, 2.6 doesn't (nonlinear-pieces-after-fork.scn) */
	else if (what < 9 && a->kind == SHARED_ANON)
		emit(m, p, "remap_file_pages %s %dP %uP %u", name_of(p, i), off, len, below(m, 12));
	else if (what < 9 && a->kind == FILE_SHARED && !(m->q->parts & SEQ_SAME_CONTENTS))
		emit(m, p, "remap_file_pages %s %dP %uP %u", name_of(p, i), off, len, below(m, 12));
	else if (m->q->parts & SEQ_COLD && what < 11 && would_commit_tail(m, (int)file))
		return;
	else if (m->q->parts & SEQ_COLD && what < 11)
		emit(m, NULL, "cold G%u", file);
	else
		emit(m, NULL, "warm G%u", file);
}

static void make_files(struct maker *m)
{
	m->nr_files = 1 + below(m, MAX_FILES);
	for (unsigned i = 0; i < m->nr_files; i++) {
		const char *then = m->q->parts & SEQ_COLD ? "cold" : "warm";

		/* One line for those who shrink: a file that was just made is in memory for some machines and not for others. */
		m->file_size[i] = m->q->parts & SEQ_OLD ? 64 * 4096 : random_size(m) + 4096; /* 2.0 has zeros behind the end */
		emit(m, NULL, "file G%u %u\n%s G%u", i, m->file_size[i], then, i);
		if (m->q->parts & SEQ_COLD && one_in(m, 2))
			emit(m, NULL, "warm G%u", i);
	}
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

static void fork_or_exit(struct maker *m, struct process *p)
{
	struct process *c = &m->processes[m->nr_processes];

	if (!(m->q->parts & SEQ_FORKS))
		return;
	if (m->nr_processes < MAX_PROCESSES && below(m, 3)) {
		*c = *p;
		snprintf(c->name, sizeof(c->name), "p%u", m->nr_processes);
		emit(m, p, "fork %s", c->name);
		m->nr_processes++;
		return;
	}
	c = &m->processes[below(m, m->nr_processes)];
	if (c != &m->processes[0] && c->alive) {
		emit(m, NULL, "exit %s", c->name);
		c->alive = false;
	}
}

static void evict(struct maker *m, struct process *p, unsigned i)
{
	if (!(m->q->parts & SEQ_RECLAIM))
		return;
	if (one_in(m, 2))
		emit(m, NULL, "only 2.0 2.6 5 uffd\nreclaim %u", 1 + below(m, 200));
	else if (p == &m->processes[0])
		emit(m, NULL, "only 2.0 2.6 5 uffd\nmadvise %s 0 %uP pageout", name_of(p, i), p->areas[i].pages);
	else
		emit(m, NULL, "only 2.0 2.6 5 uffd\nin %s: madvise %s 0 %uP pageout", p->name, name_of(p, i), p->areas[i].pages);
}

static void step(struct maker *m)
{
	struct process *p = &m->processes[below(m, m->nr_processes)];
	unsigned i = below(m, MAX_AREAS), what = below(m, 100), len;
	int off;

	if (!p->alive)
		return;
	if (!p->areas[i].there) {
		make_area(m, p, i);
		return;
	}
	range(m, &p->areas[i], &off, &len);
	if ((what >= 48 && what < 71) || (what >= 76 && what < 80))
		p->areas[i].pieces = true;
	if (what < 48)
		access(m, p, i);
	else if (what < 57 && !(m->q->parts & SEQ_OLD && p->areas[i].kind == FILE_SHARED))
		emit(m, p, "mprotect %s %dP %uP %s", name_of(p, i), off, len, p->areas[i].kind >= FILE_PRIVATE ? random_file_prot(m) : random_prot(m));
	else if (what < 62)
		emit(m, p, "munmap %s %dP %uP", name_of(p, i), off, len);
	else if (what < 71)
		advise(m, p, i);
	else if (what < 76)
		move(m, p, i);
	else if (what < 80)
		lock(m, p, i);
	else if (what < 82)
		resize_heap(m, p, i);
	else if (what < 88)
		fork_or_exit(m, p);
	else if (m->q->parts & SEQ_FILES && what < 95)
		file_step(m, p, i);
	else if (what < 98)
		evict(m, p, i);
	else if (!(m->q->parts & (SEQ_ONE_BY_ONE | SEQ_RECLAIM | SEQ_COLD | SEQ_SAME_CONTENTS)))
		emit(m, p, "mincore %s %dP %uP", name_of(p, i), off, len);
}

/* Every page of every process: nothing that went wrong before may stay unseen. */
static void look_at_all(struct maker *m)
{
	for (unsigned i = 0; i < m->nr_processes; i++) {
		const struct process *p = &m->processes[i];

		for (unsigned k = 0; p->alive && k < MAX_AREAS; k++) {
			const struct area *a = &p->areas[k];

			if (!a->there)
				continue;
			if (!(m->q->parts & (SEQ_ONE_BY_ONE | SEQ_OLD)))
				emit(m, p, "sweep %s 0 %uP", name_of(p, k), a->pages);
			for (unsigned page = 0; m->q->parts & (SEQ_ONE_BY_ONE | SEQ_OLD) && page < a->pages; page++)
				emit(m, p, "read %s %uP", name_of(p, k), page);
		}
	}
}

static unsigned parts_by_seed(struct maker *m)
{
	unsigned parts = 0;

	if (below(m, 4))
		parts |= SEQ_FILES;
	if (below(m, 3))
		parts |= SEQ_FORKS;
	if (one_in(m, 4))
		parts |= SEQ_RECLAIM;
	else if (parts & SEQ_FILES && one_in(m, 10))
		parts |= SEQ_COLD;
	else if (parts & SEQ_FILES && one_in(m, 4))
		parts |= SEQ_TMPFS;
	return parts;
}

void sequence_generate(struct sequence *q, uint64_t seed, unsigned parts)
{
	static const char *const archs[] = { "x86_64", "i386", "arm", "x86_64-5", "sv39", "sv48" };
	struct maker m = { .q = q, .state = seed };
	unsigned steps;

	q->nr = 0;
	q->parts = parts_by_seed(&m);
	if (parts != SEQ_BY_SEED)
		q->parts = parts;
	q->arch = archs[below(&m, SIZEOF_ARRAY(archs))];
	if (q->parts & SEQ_FILES && !strcmp(q->arch, "i386"))
		q->arch = "x86_64"; /* its tables map 4 MiB: one may be there for another area, which is seen (file-around-one-page-left) */
	q->caps = SOFT_ALL_CAPS;
	if (q->parts & SEQ_RECLAIM && one_in(&m, 2))
		q->caps &= ~(unsigned)(MACHINE_YOUNG | MACHINE_DIRTY);
	m.processes[0] = (struct process){ .alive = true, .name = "main" };
	m.nr_processes = 1;
	if (q->parts & SEQ_FILES)
		make_files(&m);
	steps = 12 + below(&m, one_in(&m, 8) ? 100 : 40);
	for (unsigned i = 0; i < steps; i++)
		step(&m);
	look_at_all(&m);
}
