/* SPDX-License-Identifier: MIT
 *
 * t_vmsplice - pages that the kernel holds a reference to: what was in them at the time of vmsplice is what the reader gets, however much memory has
 * come and gone in between. (Natively a later store to the buffer would show in the pipe as well; under minflt the bytes are copied, which is documented.)
 */
#include "common.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define NR 8UL

static void spliced(int gift, int by_number)
{
	char *w = map(64 * PAGE), *got = map(64 * PAGE);
	struct iovec v = { w, NR * PAGE };
	int fds[2];

	if (pipe(fds))
		die("pipe");
	fill(w, 64 * PAGE, 1);
	pressure();
	say("gift %d", gift);
	if (by_number)
		RC("vmsplice", syscall(SYS_vmsplice, fds[1], &v, 1, gift ? SPLICE_F_GIFT : 0));
	else
		RC("vmsplice", vmsplice(fds[1], &v, 1, gift ? SPLICE_F_GIFT : 0));
	pressure();
	pressure();
	RC("read", read(fds[0], got, NR * PAGE));
	holds("through the pipe", got, NR * PAGE, 1);
	holds("source", w, NR * PAGE, 1);
	pressure();
	holds_at("rest", w + NR * PAGE, (64 - NR) * PAGE, 1, NR);
	close(fds[0]);
	close(fds[1]);
	munmap(w, 64 * PAGE);
	munmap(got, 64 * PAGE);
}

/* The mapping goes, the pipe keeps its pages. */
static void unmapped(void)
{
	char *w = map(64 * PAGE), *got = map(64 * PAGE);
	struct iovec v = { w, NR * PAGE };
	int fds[2];

	if (pipe(fds))
		die("pipe");
	fill(w, 64 * PAGE, 3);
	pressure();
	RC("vmsplice", vmsplice(fds[1], &v, 1, 0));
	munmap(w, 64 * PAGE);
	pressure();
	w = map(64 * PAGE);
	fill(w, 64 * PAGE, 4);
	pressure();
	RC("read", read(fds[0], got, NR * PAGE));
	holds("through the pipe", got, NR * PAGE, 3);
	holds("new mapping", w, 64 * PAGE, 4);
	close(fds[0]);
	close(fds[1]);
	munmap(w, 64 * PAGE);
	munmap(got, 64 * PAGE);
}

static void to_a_file(void)
{
	int fds[2], fd = memfd_create("t_vmsplice", MFD_CLOEXEC);
	char *w = map(64 * PAGE), *got = map(64 * PAGE);
	struct iovec v = { w, NR * PAGE };

	if (pipe(fds) || fd < 0)
		die("pipe");
	fill(w, 64 * PAGE, 5);
	pressure();
	RC("vmsplice", vmsplice(fds[1], &v, 1, 0));
	pressure();
	RC("splice", splice(fds[0], NULL, fd, NULL, NR * PAGE, 0));
	pressure();
	RC("pread", pread(fd, got, NR * PAGE, 0));
	holds("in the file", got, NR * PAGE, 5);
	close(fd);
	close(fds[0]);
	close(fds[1]);
}

int main(void)
{
	spliced(0, 0);
	spliced(0, 1);
	spliced(1, 0);
	spliced(1, 1);
	unmapped();
	to_a_file();
	return done();
}
