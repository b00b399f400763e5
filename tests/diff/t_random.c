/* SPDX-License-Identifier: MIT
 *
 * t_random - random memory calls on a window of 256 pages, beside a model of what each page must hold. The model follows the return codes, and the
 * return codes are compared with a native run's, so the two together leave nothing open.
 *
 *     t_random [SEED [STEPS]]          or MF_RANDOM_SEED, MF_RANDOM_STEPS
 *     MF_RANDOM_ONLY=3,17,18 t_random  only these steps: what a step does depends on the seed and its number alone, so that
 *                                      steps can be left out; shrink.py does
 */
#include "common.h"

#define NR        256UL
#define FILE_SEED 77777UL

enum kind { HOLE, PRIVATE, SHARED, FILED };

static struct page_model {
	enum kind kind;
	int prot;
	uint64_t seed;          /* 0: zero; else fill_at(page, PAGE, seed, index) */
	size_t index;
	size_t file_page;       /* FILED: what it reads when its own copy is given up */
	int loose;              /* MADV_FREE: may read zero until it is written */
} model[NR];

static char *w;
static int file;
static uint64_t seed = 1, step, draws;

static uint64_t draw(uint64_t below)
{
	return mix(mix(seed) ^ mix(step * 64 + draws++)) % below;
}

static void reset(size_t at, enum kind kind, int prot, size_t file_page)
{
	model[at] = (struct page_model){ .kind = kind, .prot = prot };
	if (kind == FILED) {
		model[at].seed = FILE_SEED;
		model[at].index = model[at].file_page = file_page;
	}
}

static void give_up(struct page_model *m)
{
	if (m->kind == SHARED || m->kind == HOLE)
		return;
	m->loose = 0;
	m->seed = m->kind == FILED ? FILE_SEED : 0;
	m->index = m->file_page;
}

static int page_good(size_t at)
{
	const struct page_model *m = &model[at];
	const char *p = w + at * PAGE;

	if (m->kind == HOLE || !(m->prot & PROT_READ))
		return 1;
	if (m->loose && is_zero(p, PAGE))
		return 1;
	return m->seed ? intact(p, PAGE, m->seed, m->index) : is_zero(p, PAGE);
}

static void verify(size_t from, size_t to)
{
	for (size_t at = from; at < to; at++) {
		if (page_good(at))
			continue;
		wrong("seed %llu step %llu: page %zu: kind %d, rights %d, should be %llu.%zu%s", (unsigned long long)seed,
		      (unsigned long long)step, at, model[at].kind, model[at].prot, (unsigned long long)model[at].seed,
		      model[at].index, model[at].loose ? ", or zero" : "");
		_exit(done());
	}
}

static int random_prot(void)
{
	static const int prots[] = { RW, RW, RW, PROT_READ, PROT_NONE, RW };

	return prots[draw(6)];
}

static void write_pages(size_t from, size_t to, uint64_t id)
{
	for (size_t at = from; at < to; at++) {
		if (model[at].kind == HOLE || !(model[at].prot & PROT_WRITE))
			continue;
		fill_at(w + at * PAGE, PAGE, id, at);
		model[at].seed = id;
		model[at].index = at;
		model[at].loose = 0;
	}
}

static void do_map(size_t from, size_t to)
{
	static const enum kind kinds[] = { PRIVATE, PRIVATE, PRIVATE, PRIVATE, SHARED, FILED };
	enum kind kind = kinds[draw(6)];
	int prot = random_prot();
	int flags = MAP_FIXED | (kind == SHARED ? MAP_SHARED : MAP_PRIVATE) | (kind == FILED ? 0 : MAP_ANONYMOUS) |
		    (draw(8) == 0 ? MAP_POPULATE : 0) | (draw(8) == 0 ? MAP_NORESERVE : 0);
	size_t first = kind == FILED ? draw(NR - (to - from) + 1) : 0;
	char *p;

	errno = 0;
	p = mmap(w + from * PAGE, (to - from) * PAGE, prot, flags, kind == FILED ? file : -1, (off_t)(first * PAGE));
	say("%llu map %zu..%zu kind %d rights %d: %s", (unsigned long long)step, from, to, kind, prot,
	    p == MAP_FAILED ? strerrorname_np(errno) : "-");
	for (size_t at = from; p != MAP_FAILED && at < to; at++)
		reset(at, kind, prot, first + at - from);
}

static void do_unmap(size_t from, size_t to)
{
	int rc = munmap(w + from * PAGE, (to - from) * PAGE);

	say("%llu unmap %zu..%zu: %d", (unsigned long long)step, from, to, rc);
	for (size_t at = from; rc == 0 && at < to; at++)
		reset(at, HOLE, 0, 0);
}

/* Up to the first hole the rights change even when the call fails. */
static void do_protect(size_t from, size_t to)
{
	int prot = random_prot(), rc;

	errno = 0;
	rc = mprotect(w + from * PAGE, (to - from) * PAGE, prot);
	say("%llu protect %zu..%zu %d: %d %d", (unsigned long long)step, from, to, prot, rc, errno);
	for (size_t at = from; at < to && model[at].kind != HOLE; at++)
		model[at].prot = prot;
}

static void do_advise(size_t from, size_t to)
{
	static const int list[] = { MADV_DONTNEED, MADV_DONTNEED, MADV_DONTNEED, MADV_FREE, MADV_WILLNEED, MADV_COLD, MADV_PAGEOUT,
				    MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_RANDOM, MADV_NORMAL, MADV_SEQUENTIAL };
	int advice = list[draw(sizeof(list) / sizeof(list[0]))], rc;

	errno = 0;
	rc = madvise(w + from * PAGE, (to - from) * PAGE, advice);
	say("%llu advise %zu..%zu %d: %d %d", (unsigned long long)step, from, to, advice, rc, errno);
	for (size_t at = from; at < to; at++) {
		if (advice == MADV_DONTNEED)
			give_up(&model[at]);
		if (advice != MADV_FREE)
			continue;
		if (model[at].kind == SHARED || model[at].kind == FILED)
			break;          /* EINVAL, and the walk ends there */
		model[at].loose = model[at].kind == PRIVATE;
	}
}

/* A page of any kind, or a block that was just made: a longer range could be one mapping or two, depending on what merges. */
static void do_move(size_t from, size_t to)
{
	size_t nr = to - from, new_nr = nr, target;
	int dontunmap = 0, flags = MREMAP_MAYMOVE | MREMAP_FIXED;
	char *p;

	if (draw(2)) {
		nr = new_nr = 1;
	} else {
		if (mmap(w + from * PAGE, nr * PAGE, RW, ANONFIXED, -1, 0) == MAP_FAILED)
			return;
		for (size_t at = from; at < to; at++)
			reset(at, PRIVATE, RW, 0);
		write_pages(from, to, step * 4 + 1);
		new_nr = 1 + draw(nr + 4);
	}
	/* Whether the target is gone by the time that the source turns out to be a hole is not the same in every kernel. */
	if (model[from].kind == HOLE)
		return;
	dontunmap = draw(4) == 0 && nr == new_nr && model[from].kind == PRIVATE;
	target = draw(NR - new_nr + 1);
	errno = 0;
	p = mremap(w + from * PAGE, nr * PAGE, new_nr * PAGE, flags | (dontunmap ? MREMAP_DONTUNMAP : 0), w + target * PAGE);
	say("%llu move %zu+%zu to %zu+%zu%s: %s", (unsigned long long)step, from, nr, target, new_nr, dontunmap ? " dontunmap" : "",
	    p == MAP_FAILED ? strerrorname_np(errno) : "-");
	if (p == MAP_FAILED)
		return;
	for (size_t i = 0; i < new_nr; i++) {
		model[target + i] = model[from + (i < nr ? i : 0)];
		if (i >= nr)
			reset(target + i, PRIVATE, RW, 0);
	}
	for (size_t i = 0; i < nr; i++)
		reset(from + i, dontunmap ? PRIVATE : HOLE, dontunmap ? model[target + i].prot : 0, 0);
}

static void do_resize(size_t from, size_t to)
{
	size_t nr = to - from, new_nr = 1 + draw(2 * nr), room = 0;
	char *p;

	if (mmap(w + from * PAGE, nr * PAGE, RW, ANONFIXED, -1, 0) == MAP_FAILED)
		return;
	for (size_t at = from; at < to; at++)
		reset(at, PRIVATE, RW, 0);
	write_pages(from, to, step * 4 + 2);
	while (to + room < NR && model[to + room].kind == HOLE)
		room++;
	errno = 0;
	p = mremap(w + from * PAGE, nr * PAGE, new_nr * PAGE, 0);
	say("%llu resize %zu+%zu to %zu: %s", (unsigned long long)step, from, nr, new_nr,
	    p == MAP_FAILED ? strerrorname_np(errno) : "-");
	if ((p != MAP_FAILED) != (new_nr <= nr + room))
		wrong("seed %llu step %llu: resize with room for %zu", (unsigned long long)seed, (unsigned long long)step, room);
	for (size_t i = 0; p != MAP_FAILED && i < (new_nr > nr ? new_nr : nr); i++) {
		if (i >= new_nr)
			reset(from + i, HOLE, 0, 0);
		else if (i >= nr)
			reset(from + i, PRIVATE, RW, 0);
	}
}

static void write_in_child(void)
{
	verify(0, NR);
	for (size_t at = 0; at < NR; at++)
		if (model[at].kind != SHARED && draw(2))
			write_pages(at, at + 1, step * 4 + 3);
	if (draw(2))
		pressure();
	verify(0, NR);
}

static void do_fork(size_t from, size_t to)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		write_in_child();
		_exit(0);
	}
	for (size_t at = from; at < to; at++)
		if (model[at].kind != SHARED)   /* the child is looking at those */
			write_pages(at, at + 1, step * 4);
	waitpid(pid, &status, 0);
	say("%llu fork: %d", (unsigned long long)step, status);
	if (status)
		wrong("seed %llu step %llu: child", (unsigned long long)seed, (unsigned long long)step);
	verify(0, NR);
}

static void do_probe(size_t at)
{
	char letter = right_of(w + at * PAGE), want;

	if (model[at].kind == HOLE)
		want = 'm';
	else
		want = model[at].prot & PROT_WRITE ? 'w' : model[at].prot ? 'r' : 'a';
	if (letter != want)
		wrong("seed %llu step %llu: page %zu is '%c', not '%c'", (unsigned long long)seed, (unsigned long long)step, at, letter,
		      want);
}

static void one_step(void)
{
	size_t from, to;

	draws = 0;
	from = draw(NR);
	to = from + 1 + draw(draw(4) ? 16 : NR - from);
	if (to > NR)
		to = NR;
	switch (draw(20)) {
	case 0: case 1: case 2:
		do_map(from, to);
		break;
	case 3:
		do_unmap(from, to);
		break;
	case 4: case 5: case 6:
		do_protect(from, to);
		break;
	case 7: case 8: case 9:
		do_advise(from, to);
		break;
	case 10: case 11:
		do_move(from, to);
		break;
	case 12:
		do_resize(from, to);
		break;
	case 13:
		if (draw(4) == 0)
			do_fork(from, to);
		break;
	case 14:
		if (draw(3) == 0)
			pressure();
		break;
	case 15:
		do_probe(from);
		break;
	default:
		write_pages(from, to, step * 4);
		break;
	}
	verify(from, to);
}

static int wanted(const char *only)
{
	char number[32];
	int n = snprintf(number, sizeof(number), ",%llu,", (unsigned long long)step);

	/* MF_RANDOM_ONLY may lack the commas at its ends. */
	for (const char *at = only; at && *at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
		if (strncmp(at, number + 1, (size_t)n - 2) == 0 && (at[n - 2] == ',' || !at[n - 2]))
			return 1;
	return !only;
}

static unsigned long number_of(int argc, char **argv, int at, const char *name, unsigned long otherwise)
{
	const char *text = argc > at ? argv[at] : getenv(name);

	return text ? strtoul(text, NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
	const char *only = getenv("MF_RANDOM_ONLY");
	unsigned long steps;
	char *p;

	seed = number_of(argc, argv, 1, "MF_RANDOM_SEED", 1);
	steps = number_of(argc, argv, 2, "MF_RANDOM_STEPS", 2000);
	file = memfd_create("t_random", MFD_CLOEXEC);
	if (file < 0 || ftruncate(file, (off_t)(NR * PAGE)))
		die("memfd");
	p = mmap(NULL, NR * PAGE, RW, MAP_SHARED, file, 0);
	fill(p, NR * PAGE, FILE_SEED);
	munmap(p, NR * PAGE);
	w = window(NR * PAGE, RW);
	for (size_t at = 0; at < NR; at++)
		reset(at, PRIVATE, RW, 0);
	for (step = 1; step <= steps; step++) {
		if (!wanted(only))
			continue;
		one_step();
		if (step % 50 == 0)
			verify(0, NR);
	}
	verify(0, NR);
	return done();
}
