/* SPDX-License-Identifier: MIT
 *
 * t_pinned - more pages pinned at one time than the budget has frames: by one call of process_vm_writev, by one direct read, and for as long as buffers
 * are registered. The program goes on, every byte is right, and when the pins are gone it fits into its budget again.
 */
#include "common.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <liburing.h>
#include <sys/resource.h>
#include <sys/uio.h>

#include "run/control.h"

#define LEN (8 * MB)

static char *from, *area;

static int too_many(const struct mf_counters *(*counters)(void))
{
	const struct mf_counters *c = counters();

	return c && c->mm.frames_used > c->frame_limit + 64;
}

/* Under minflt: no more frames than there are otherwise, once others have been wanted for a while (the kernel may take its time to let a ring's pages go). */
static void fits_again(void)
{
	const struct mf_counters *(*counters)(void) = (const struct mf_counters *(*)(void))dlsym(RTLD_DEFAULT, "mf_run_counters");
	int rounds = 200;

	pressure();
	while (counters && rounds-- && too_many(counters))
		pressure();
	if (counters && too_many(counters))
		wrong("more frames in use than the limit says");
}

static void by_process_vm(void)
{
	struct iovec here = { from, LEN }, there = { area, LEN };

	fill(from, LEN, 1);
	memset(area, 7, LEN);
	RC("process_vm_writev", process_vm_writev(getpid(), &here, 1, &there, 1, 0));
	holds("written", area, LEN, 1);
	memset(area, 8, LEN);
	RC("process_vm_readv", process_vm_readv(getpid(), &there, 1, &here, 1, 0));
	fits_again();
}

static void by_read(void)
{
	int fd, plain = direct_file(area, LEN, 2, O_RDONLY, &fd);

	memset(area, 9, LEN);
	RC("pread", pread(fd, area, LEN, 0));
	holds("read", area, LEN, 2);
	close(plain);
	close(fd);
	fits_again();
}

/* As much as an unprivileged user may lock, mostly. */
static void by_registration(void)
{
	struct rlimit most = { 0, 0 };
	struct io_uring ring;
	struct iovec v = { area, LEN - MB };

	getrlimit(RLIMIT_MEMLOCK, &most);
	if (most.rlim_cur < LEN || io_uring_queue_init(4, &ring, 0)) {
		say("no ring, or no right to lock so much");
		return;
	}
	fill(area, LEN, 3);
	RC("registered", -io_uring_register_buffers(&ring, &v, 1));
	for (uint64_t i = 0; i < 2; i++) {
		holds("while it is registered", area, LEN, 3 + i);
		pressure();
		fill(area, LEN, 4 + i);
	}
	io_uring_queue_exit(&ring);
	holds("afterwards", area, LEN, 5);
	fits_again();
}

int main(void)
{
	from = map(LEN);
	area = map(LEN);
	by_process_vm();
	by_read();
	by_registration();
	return done();
}
