/* SPDX-License-Identifier: MIT
 *
 * limits.c - RLIMIT_AS and RLIMIT_DATA that the program sets for itself count the program's memory.
 *
 * The host counts what the runtime has reserved as well, gigabytes of address space: a program that allows itself 1 GiB would get nothing any more. So the
 * host's limit is the program's and the reservation together; the program sees its own. What it executes gets the program's soft limit.
 *
 * Limits from before the start are as they were given: minflt can't raise them.
 */
#undef _FILE_OFFSET_BITS /* setrlimit and setrlimit64 are both defined here, under their own names */
#include <errno.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "lib/pager.h"
#include "machine/sys.h"
#include "machine/uffd/uffd.h"
#include "run/runtime.h"
#include "swap/swap.h"

struct limit {
	uint64_t soft, hard;
};

static struct shifted {
	atomic_bool is;      /* the program has set this limit */
	struct limit limit;  /* as the program knows it */
} shifted[2];            /* address space, data */
static uint64_t reserved; /* by the runtime, for good */

static struct shifted *shifted_of(long resource)
{
	return resource == RLIMIT_AS ? &shifted[0] : resource == RLIMIT_DATA ? &shifted[1] : NULL;
}

unsigned rt_own_ranges(struct uffd_own *own)
{
	unsigned n = uffd_own_ranges(own);

	pager_bell_range(&own[n].addr, &own[n].len);
	n++;
	swap_pool_range(&own[n].addr, &own[n].len);
	return n + 1;
}

void rt_limits_init(void)
{
	struct uffd_own own[RT_OWN_RANGES];
	unsigned n = rt_own_ranges(own);

	for (unsigned i = 0; i < n; i++)
		reserved += own[i].len;
}

static long host(long pid, long resource, const struct limit *set, struct limit *old)
{
	return sys_call4(SYS_prlimit64, pid, resource, (long)set, (long)old);
}

static uint64_t shift(long resource, uint64_t limit)
{
	uint64_t all = limit + reserved + (resource == RLIMIT_AS ? pager_file_mapped() : 0);

	return all < limit ? RLIM64_INFINITY : all;
}

/* Data is what is writable. (When the metadata area grows, the machine raises the soft limit.) */
static uint64_t shift_soft(long resource, uint64_t limit)
{
	uint64_t all = shift(resource, limit);

	return resource == RLIMIT_DATA && all != RLIM64_INFINITY ? all - uffd_meta_closed() : all;
}

/* A hard limit that stays as it is stays so on the host, too: nobody may raise it. */
static long set_shifted(long resource, struct shifted *s, struct limit set, struct limit *old)
{
	struct limit now, before;
	long r = host(0, resource, NULL, &now);

	before = atomic_load(&s->is) ? s->limit : now;
	if (r || set.soft > set.hard)
		return r ? r : -EINVAL;
	now.hard = set.hard == before.hard ? now.hard : set.hard < before.hard && shift(resource, set.hard) > now.hard ? now.hard : shift(resource, set.hard);
	now.soft = shift_soft(resource, set.soft) < now.hard ? shift_soft(resource, set.soft) : now.hard;
	r = host(0, resource, &now, NULL);
	if (r)
		return r;
	s->limit = set;
	atomic_store(&s->is, true);
	if (old)
		*old = before;
	return 0;
}

/* => as the system call prlimit64 */
long rt_prlimit(long pid, long resource, const void *set, void *old)
{
	struct shifted *s = shifted_of(resource);
	struct limit copy;

	if (!s || !reserved || (pid && pid != sys_getpid()))
		return host(pid, resource, set, old);
	if (set) {
		copy = *(const struct limit *)set;
		return set_shifted(resource, s, copy, old);
	}
	if (!atomic_load(&s->is))
		return host(0, resource, NULL, old);
	if (old)
		*(struct limit *)old = s->limit;
	return 0;
}

/* The program that is about to be executed gets the soft limits as this one knows them; when nothing came of it, they go back. */
void rt_limits_exec(bool begins)
{
	for (int i = 0; i < 2; i++) {
		long resource = i ? RLIMIT_DATA : RLIMIT_AS;
		struct limit now;

		if (!atomic_load(&shifted[i].is) || host(0, resource, NULL, &now))
			continue;
		now.soft = begins ? shifted[i].limit.soft : shift_soft(resource, shifted[i].limit.soft);
		now.soft = now.soft < now.hard ? now.soft : now.hard;
		host(0, resource, &now, NULL);
	}
}

EXPORT int prlimit(pid_t pid, enum __rlimit_resource resource, const struct rlimit *set, struct rlimit *old)
{
	return (int)rt_errno(rt_prlimit(pid, resource, set, old));
}

EXPORT int prlimit64(pid_t pid, enum __rlimit_resource resource, const struct rlimit64 *set, struct rlimit64 *old)
{
	return (int)rt_errno(rt_prlimit(pid, resource, set, old));
}

EXPORT int setrlimit(__rlimit_resource_t resource, const struct rlimit *set)
{
	return (int)rt_errno(rt_prlimit(0, resource, set, NULL));
}

EXPORT int setrlimit64(__rlimit_resource_t resource, const struct rlimit64 *set)
{
	return (int)rt_errno(rt_prlimit(0, resource, set, NULL));
}

EXPORT int getrlimit(__rlimit_resource_t resource, struct rlimit *old)
{
	return (int)rt_errno(rt_prlimit(0, resource, NULL, old));
}

EXPORT int getrlimit64(__rlimit_resource_t resource, struct rlimit64 *old)
{
	return (int)rt_errno(rt_prlimit(0, resource, NULL, old));
}
