/* SPDX-License-Identifier: MIT
 *
 * there.c - see there.h.
 *
 * /proc/self/cgroup names the groups:   0::/user.slice/x        v2: memory.max              in /sys/fs/cgroup, or /sys/fs/cgroup/unified
 *                                       4:cpu,memory:/x         v1: memory.limit_in_bytes   in /sys/fs/cgroup/memory
 * A limit holds for all that is below it, so each folder up to the root is asked. In a container the path may be one of the host's: then only the root
 * is there, and it is the container's own.
 */
#include "cmd/there.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t read_limit(const char *folder, const char *path, const char *file)
{
	char name[PATH_MAX + 128], text[32] = "";
	uint64_t limit;
	FILE *f;

	snprintf(name, sizeof(name), "%s%s/%s", folder, path, file);
	f = fopen(name, "re");
	if (!f)
		return UINT64_MAX;
	limit = fgets(text, sizeof(text), f) && text[0] >= '0' && text[0] <= '9' ? strtoull(text, NULL, 10) : UINT64_MAX; /* "max" */
	fclose(f);
	return limit;
}

/* The least of path and all above it. */
static void ask(const char *folder, const char *path, const char *file, uint64_t least, uint64_t *most)
{
	char at[PATH_MAX];
	char *slash;

	snprintf(at, sizeof(at), "%s", path);
	do {
		const uint64_t limit = read_limit(folder, at, file);

		if (limit >= least && limit < *most)
			*most = limit;
		slash = strrchr(at, '/');
		if (slash)
			*slash = '\0';
	} while (slash);
}

/* "memory" among "cpu,memory" */
static int has_memory(const char *controllers)
{
	const char *at = strstr(controllers, "memory");

	return at && (at == controllers || at[-1] == ',') && (at[6] == ',' || !at[6]);
}

/* number:controllers:path */
static void one_line(char *line, uint64_t least, uint64_t *most)
{
	char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;

	if (!path)
		return;
	*path++ = '\0';
	path[strcspn(path, "\n")] = '\0';
	controllers++;
	if (!*controllers) {
		ask("/sys/fs/cgroup", path, "memory.max", least, most);
		ask("/sys/fs/cgroup/unified", path, "memory.max", least, most);
	} else if (has_memory(controllers)) {
		ask("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes", least, most);
	}
}

uint64_t memory_there(uint64_t least)
{
	uint64_t most = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	char line[PATH_MAX + 128];
	FILE *f = fopen("/proc/self/cgroup", "re");

	while (f && fgets(line, sizeof(line), f))
		one_line(line, least, &most);
	if (f)
		fclose(f);
	return most & ~4095ULL;
}
