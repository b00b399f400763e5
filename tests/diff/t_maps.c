/* SPDX-License-Identifier: MIT
 *
 * t_maps - a program that reads whatever it has mapped, as conservative garbage collectors do and those that make an image of themselves: what it finds in
 * /proc/self/maps is read, minflt's own memory included, and everything goes on as before. Also while another thread has pages evicted and
 * brought back, and in a forked child.
 */
#include "common.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>

#define LEN   (2 * MB)
#define OTHER (12 * MB)

static char *area, *other;
static atomic_int walking;

/* As much of the file as there is; nothing is mapped meanwhile. */
static const char *read_maps(void)
{
	static char text[1 << 17];
	int fd = open("/proc/self/maps", O_RDONLY);
	size_t len = 0;
	ssize_t n;

	if (fd < 0)
		die("/proc/self/maps");
	while (len < sizeof(text) - 1 && (n = read(fd, text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	close(fd);
	text[len] = 0;
	return text;
}

static void walk(void)
{
	for (const char *line = read_maps(); line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
		unsigned long from, to;
		char rights[5], name[64] = "";

		if (sscanf(line, "%lx-%lx %4s %*s %*s %*s%63[^\n]", &from, &to, rights, name) < 3)
			die("a line of /proc/self/maps");
		if (rights[0] != 'r' || rights[3] != 'p' || strchr(name, '/') || strstr(name, "[v"))
			continue;
		for (unsigned long at = from; at < to; at += PAGE)
			(void)*(volatile char *)at;
	}
}

static void *walks(void *arg)
{
	(void)arg;
	walk();
	walk();
	atomic_store(&walking, 0);
	return NULL;
}

static void push_out(uint64_t seed)
{
	fill(other, OTHER, seed);
	if (!intact(other, OTHER, seed, 0))
		wrong("other memory");
}

static void walks_and_checks(void *arg)
{
	holds("area", area, LEN, 1);
	walk();
	push_out(6);
	holds("area", area, LEN, 1);
}

int main(void)
{
	pthread_t t;

	area = map(LEN);
	other = map(OTHER);
	fill(area, LEN, 1);
	push_out(2);
	walk();
	holds("area", area, LEN, 1);
	push_out(3);
	holds("area", area, LEN, 1);
	atomic_store(&walking, 1);
	if (pthread_create(&t, NULL, walks, NULL))
		die("pthread_create");
	for (uint64_t seed = 4; atomic_load(&walking); seed++)
		push_out(seed);
	pthread_join(t, NULL);
	holds("area", area, LEN, 1);
	in_child("child", walks_and_checks, NULL);
	push_out(5);
	holds("area", area, LEN, 1);
	return done();
}
