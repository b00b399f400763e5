/* SPDX-License-Identifier: MIT
 *
 * strangers.c - programs in the tree that nobody knows. See strangers.h.
 *
 * Who is executed through the runtime has a slot before, and until it has ended. A child without one that has executed nothing yet (it forks, or shares its
 * maker's memory for a moment) has its stack where its parent has it; another place of the stack tells that it runs a program of its own. A program that
 * ends between two looks is not seen.
 */
#include "cmd/strangers.h"

#include <dirent.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/tree.h"
#include "lib/tree_pid.h"

#define PARENTS 32u  /* looked at in one go */
#define MET     256u /* remembered, so that each is noted once */

struct stat_of {
	char name[64];
	unsigned long long born, stack; /* stack: 0: not to be had, or it has none any more */
};

static struct { pid_t pid; unsigned long long born; } met[MET];
static unsigned nr_met;

/* => false: there is no such process, or it has ended */
static bool read_stat(pid_t pid, struct stat_of *s)
{
	char path[64], text[1024], *at;
	size_t n, len;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	*s = (struct stat_of){ .born = 0 };
	at = strrchr(text, ')');
	if (!at || !strchr(text, '(') || at[1] != ' ' || at[2] == 'Z' || at[2] == 'X')
		return false;
	len = (size_t)(at - strchr(text, '(')) - 1;
	memcpy(s->name, strchr(text, '(') + 1, len < sizeof(s->name) ? len : sizeof(s->name) - 1);
	for (int field = 2; field <= 28 && (at = strchr(at + (field == 2), ' ')); field++, at++) {
		if (field + 1 == 22)
			s->born = strtoull(at, NULL, 10);
		else if (field + 1 == 28)
			s->stack = strtoull(at, NULL, 10);
	}
	return true;
}

static bool was_met(pid_t pid, unsigned long long born)
{
	for (unsigned i = 0; i < MET; i++)
		if (met[i].pid == pid && met[i].born == born)
			return true;
	return false;
}

static void meet(pid_t pid, unsigned long long born)
{
	met[nr_met].pid = pid;
	met[nr_met].born = born;
	nr_met = (nr_met + 1) % MET;
}

void strangers_met(pid_t pid)
{
	struct stat_of s;

	if (read_stat(pid, &s))
		meet(pid, s.born);
}

/* It has a slot; or nobody can say, because there are processes whose number here isn't known. */
static bool is_known(struct mf_tree *t, pid_t pid, int control_fd)
{
	const unsigned top = atomic_load(&t->top);

	for (unsigned i = 0; i < top && i < TREE_SLOTS; i++) {
		pid_t own;

		if (atomic_load(&t->process[i].state) == TREE_FREE)
			continue;
		own = tree_host_pid(t, i, control_fd);
		if (own <= 0 || own == pid)
			return true;
	}
	return false;
}

static void look_at_child(struct mf_tree *t, pid_t pid, unsigned long long parents_stack, int control_fd)
{
	struct stat_of s;

	if (!read_stat(pid, &s) || !s.stack || s.stack == parents_stack || was_met(pid, s.born) || is_known(t, pid, control_fd))
		return;
	/* A slot is free when its process has ended: that must not have happened meanwhile. */
	if (!read_stat(pid, &s) || !s.stack)
		return;
	meet(pid, s.born);
	tree_note(t, s.name, TREE_WHY_BARE);
}

/* Numbers with a space behind each. */
static void look_at_list(struct mf_tree *t, FILE *f, unsigned long long parents_stack, int control_fd)
{
	long pid = 0;

	for (int c; (c = fgetc(f)) != EOF;) {
		if (c >= '0' && c <= '9') {
			pid = pid * 10 + c - '0';
		} else if (pid) {
			look_at_child(t, (pid_t)pid, parents_stack, control_fd);
			pid = 0;
		}
	}
}

static void look_at_children(struct mf_tree *t, pid_t parent, int control_fd)
{
	struct stat_of s;
	struct dirent *e;
	char path[64];
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)parent);
	if (!read_stat(parent, &s) || !s.stack || !(d = opendir(path)))
		return;
	while ((e = readdir(d))) {
		char name[400];
		FILE *f;

		snprintf(name, sizeof(name), "%s/%s/children", path, e->d_name);
		f = *e->d_name != '.' ? fopen(name, "re") : NULL;
		if (f) {
			look_at_list(t, f, s.stack, control_fd);
			fclose(f);
		}
	}
	closedir(d);
}

void strangers_look(struct mf_control *c, int control_fd)
{
	static unsigned next;
	struct mf_tree *t = control_tree(c);
	const unsigned top = atomic_load(&t->top) < TREE_SLOTS ? atomic_load(&t->top) : TREE_SLOTS;

	if (c->request.no_follow)
		return;
	for (unsigned i = 0, looked = 0; i < top && looked < PARENTS; i++, next++) {
		const unsigned slot = next % top;
		pid_t pid;

		if (atomic_load(&t->process[slot].state) != TREE_RUNNING || !tree_is_alive(&t->process[slot]))
			continue;
		pid = tree_host_pid(t, slot, control_fd);
		if (pid > 0)
			look_at_children(t, pid, control_fd);
		looked++;
	}
}
