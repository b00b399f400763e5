/* SPDX-License-Identifier: MIT
 *
 * t_syscalls - system calls whose arguments stand in evicted memory: read into, written from, and structures both ways.
 */
#include "common.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <spawn.h>
#include <linux/futex.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <time.h>

#define LEN (2 * MB)

static char *from, *to;

static int a_file(void)
{
	int fd = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0)
		fd = memfd_create("t_syscalls", MFD_CLOEXEC);
	if (fd < 0)
		die("file");
	return fd;
}

static void evict(uint64_t seed)
{
	fill(from, LEN, seed);
	memset(to, 0xee, LEN);
	pressure();
}

static void files(void)
{
	int fd = a_file();
	struct iovec *v = (struct iovec *)(from + LEN);

	evict(1);
	RC("write", write(fd, from, LEN));
	pressure();
	RC("pread", pread(fd, to, LEN, 0));
	holds("pread", to, LEN, 1);
	evict(2);
	RC("pwrite", pwrite(fd, from, LEN, 0));
	lseek(fd, 0, SEEK_SET);
	pressure();
	RC("read", read(fd, to, LEN));
	holds("read", to, LEN, 2);
	evict(3);
	for (size_t i = 0; i < 16; i++)
		v[i] = (struct iovec){ from + i * (LEN / 16), LEN / 16 };
	pressure();
	RC("pwritev", pwritev(fd, v, 16, 0));
	for (size_t i = 0; i < 16; i++)
		v[i] = (struct iovec){ to + i * (LEN / 16), LEN / 16 };
	pressure();
	RC("preadv", preadv(fd, v, 16, 0));
	holds("preadv", to, LEN, 3);
	close(fd);
}

/* O_DIRECT pins the pages for as long as the device works on them. */
static void direct(void)
{
	int fd = a_file();

	if (fcntl(fd, F_SETFL, O_DIRECT)) {
		say("direct: not here");
		close(fd);
		return;
	}
	evict(4);
	RC("direct write", pwrite(fd, from, LEN, 0));
	pressure();
	RC("direct read", pread(fd, to, LEN, 0));
	holds("direct read", to, LEN, 4);
	close(fd);
}

static void *pump(void *arg)
{
	int fd = *(int *)arg;
	size_t done_bytes = 0;

	while (done_bytes < LEN) {
		ssize_t n = write(fd, from + done_bytes, LEN - done_bytes);

		if (n <= 0)
			return (void *)1;
		done_bytes += (size_t)n;
	}
	return NULL;
}

static void through(const char *name, int in, int out, uint64_t seed)
{
	pthread_t thread;
	size_t got = 0;
	void *result;

	evict(seed);
	pthread_create(&thread, NULL, pump, &in);
	while (got < LEN) {
		ssize_t n = read(out, to + got, LEN - got);

		if (n <= 0)
			break;
		got += (size_t)n;
	}
	pthread_join(thread, &result);
	say("%s: %zu bytes, writer %d", name, got, result != NULL);
	holds(name, to, LEN, seed);
	close(in);
	close(out);
}

static void pipes_and_sockets(void)
{
	int fds[2];

	if (pipe(fds))
		die("pipe");
	through("pipe", fds[1], fds[0], 5);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds))
		die("socketpair");
	through("socket", fds[1], fds[0], 6);
}

/* The message, its vector, its control data and the address all lie in evicted memory. */
static void messages(void)
{
	struct { struct msghdr msg; struct iovec v; char control[64]; char data[100]; } *m = (void *)(from + LEN);
	struct cmsghdr *c;
	int fds[2], got = -1;

	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, fds))
		die("socketpair");
	memset(m, 0, sizeof(*m));
	m->v = (struct iovec){ m->data, sizeof(m->data) };
	m->msg = (struct msghdr){ .msg_iov = &m->v, .msg_iovlen = 1, .msg_control = m->control, .msg_controllen = CMSG_SPACE(sizeof(int)) };
	strcpy(m->data, "a descriptor comes with this");
	c = CMSG_FIRSTHDR(&m->msg);
	*c = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int)) };
	memcpy(CMSG_DATA(c), &fds[0], sizeof(int));
	pressure();
	RC("sendmsg", sendmsg(fds[0], &m->msg, 0));
	memset(m->data, 0, sizeof(m->data));
	memset(m->control, 0, sizeof(m->control));
	pressure();
	RC("recvmsg", recvmsg(fds[1], &m->msg, 0));
	c = CMSG_FIRSTHDR(&m->msg);
	if (c)
		memcpy(&got, CMSG_DATA(c), sizeof(int));
	say("message: '%s', a descriptor %d", m->data, got > 2 && fcntl(got, F_GETFD) >= 0);
	close(got);
	close(fds[0]);
	close(fds[1]);
}

static void structures(void)
{
	struct stat *st = (struct stat *)(to + PAGE - 32);      /* across two pages */
	struct statx *stx = (struct statx *)(to + 3 * PAGE - 64);
	struct utsname *uts = (struct utsname *)(to + 5 * PAGE - 100), here;
	struct timespec *ts = (struct timespec *)(to + 7 * PAGE - 8), rest = { 0, 1 };
	char *path = from + 9 * PAGE - 3, *text = to + 9 * PAGE - 10;
	struct stat direct_st;

	evict(7);
	strcpy(path, "/proc/self/../../dev/null");
	stat("/dev/null", &direct_st);
	uname(&here);
	pressure();
	RC("stat", stat(path, st));
	say("stat: same %d", st->st_rdev == direct_st.st_rdev && st->st_ino == direct_st.st_ino);
	RC("statx", statx(AT_FDCWD, path, 0, STATX_BASIC_STATS, stx));
	say("statx: same %d", stx->stx_ino == direct_st.st_ino);
	RC("uname", uname(uts));
	say("uname: same %d", strcmp(uts->release, here.release) == 0 && strcmp(uts->machine, here.machine) == 0);
	RC("clock_gettime", clock_gettime(CLOCK_REALTIME, ts));
	say("clock: %d", ts->tv_sec > 1500000000);
	*ts = rest;
	pressure();
	RC("nanosleep", nanosleep(ts, ts));
	strcpy(path, "/proc/self/cwd");
	pressure();
	RC("readlink", readlink(path, text, 1000) > 0);
	say("readlink: %c", text[0]);
	RC("getcwd", getcwd(text, 1000) == text ? 0 : -1);
	RC("getrandom", getrandom(to + 20 * PAGE, 256, 0));
	say("getrandom wrote: %d", !is_zero(to + 20 * PAGE, 256) && to[20 * PAGE + 256] == (char)0xee);
}

static void directories(void)
{
	int fd = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	long n;

	evict(8);
	n = syscall(SYS_getdents64, fd, to, 4096);
	say("getdents64: %d, first is '.': %d", n > 0, strcmp(((struct dirent64 *)to)->d_name, ".") == 0);
	close(fd);
}

static void waiting(void)
{
	struct pollfd *p = (struct pollfd *)(to + PAGE - 4);
	struct epoll_event *ev = (struct epoll_event *)(to + 3 * PAGE - 6);
	fd_set *set = (fd_set *)(to + 5 * PAGE - 64);
	struct timeval *tv = (struct timeval *)(to + 7 * PAGE);
	int fds[2], nr, ep = epoll_create1(EPOLL_CLOEXEC);

	if (pipe(fds))
		die("pipe");
	evict(9);
	RC("write", write(fds[1], from, 77));
	*p = (struct pollfd){ .fd = fds[0], .events = POLLIN };
	*ev = (struct epoll_event){ .events = EPOLLIN, .data.u64 = 0x123456789abcdef };
	FD_ZERO(set);
	FD_SET(fds[0], set);
	*tv = (struct timeval){ 5, 0 };
	pressure();
	RC("poll", poll(p, 1, 1000));
	say("poll: %x", (unsigned)p->revents);
	RC("epoll_ctl", epoll_ctl(ep, EPOLL_CTL_ADD, fds[0], ev));
	memset(ev, 0, 12);
	pressure();
	RC("epoll_wait", epoll_wait(ep, ev, 1, 1000));
	say("epoll: %x %llx", ev->events, (unsigned long long)ev->data.u64);
	RC("select", select(fds[0] + 1, set, NULL, NULL, tv));
	say("select: %d", FD_ISSET(fds[0], set));
	pressure();
	RC("FIONREAD", ioctl(fds[0], FIONREAD, to + 9 * PAGE - 2));      /* across two pages */
	memcpy(&nr, to + 9 * PAGE - 2, sizeof(nr));
	say("FIONREAD: %d", nr);
	RC("TCGETS", ioctl(fds[0], TCGETS, to + 9 * PAGE));
	close(ep);
	close(fds[0]);
	close(fds[1]);
}

static void *waker(void *arg)
{
	int *word = arg;

	__atomic_store_n(word, 2, __ATOMIC_SEQ_CST);
	while (syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0) != 1)
		usleep(1000);
	return NULL;
}

static void futexes(void)
{
	int *word = (int *)(from + 4 * PAGE);
	struct timespec *ts = (struct timespec *)(from + 6 * PAGE);
	pthread_t thread;

	evict(10);
	*word = 1;
	*ts = (struct timespec){ 0, 1000000 };
	pressure();
	RC("wait for another value", syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, 7, NULL, NULL, 0));
	RC("wait times out", syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, 1, ts, NULL, 0));
	pressure();
	RC("wake nobody", syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
	*word = 2;
	pthread_create(&thread, NULL, waker, word);
	RC("wait", syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0));
	pthread_join(thread, NULL);
	/* A shared futex of an anonymous page is found by its mm and address, wherever its frame is. */
	*word = 5;
	pressure();
	RC("shared, another value", syscall(SYS_futex, word, FUTEX_WAIT, 7, NULL, NULL, 0));
	RC("shared, times out", syscall(SYS_futex, word, FUTEX_WAIT, 5, ts, NULL, 0));
}

static void other_ways_in(void)
{
	struct iovec *v = (struct iovec *)(from + LEN);

	evict(11);
	v[0] = (struct iovec){ to, LEN };
	v[1] = (struct iovec){ from, LEN };
	pressure();
	RC("process_vm_readv", process_vm_readv(getpid(), &v[0], 1, &v[1], 1, 0));
	holds("process_vm_readv", to, LEN, 11);
	evict(12);
	v[0] = (struct iovec){ from, LEN };
	v[1] = (struct iovec){ to, LEN };
	RC("process_vm_writev", process_vm_writev(getpid(), &v[0], 1, &v[1], 1, 0));
	holds("process_vm_writev", to, LEN, 12);
	/* Not here: /proc/self/mem, of which the kernel lets no userfaultfd resolve a fault (EIO; documented). */
}

static void read_by_child(void *arg)
{
	struct iovec local = { to, LEN }, remote = { from, LEN };

	memset(to, 0, LEN);
	memset(from, 1, LEN);
	RC("from the parent", process_vm_readv(getppid(), &local, 1, &remote, 1, 0));
	holds("from the parent", to, LEN, 15);
}

static void spawned(void)
{
	extern char **environ;
	char **argv = (char **)(from + 2 * PAGE - 8), *text = from + 8 * PAGE - 5;
	pid_t pid = -1;
	int status = -1, rc;

	evict(16);
	strcpy(text, "/bin/sh");
	strcpy(text + 10, "-c");
	strcpy(text + 20, "echo from the shell; exit 3");
	argv[0] = text;
	argv[1] = text + 10;
	argv[2] = text + 20;
	argv[3] = NULL;
	pressure();
	rc = posix_spawn(&pid, text, NULL, NULL, argv, environ);
	waitpid(pid, &status, 0);
	say("posix_spawn: %d", rc);
	say_end("spawned", status);
}

static void bad_pointers(void)
{
	char *w = window(16 * PAGE, RW);
	int fd = a_file();

	fill(w, 16 * PAGE, 17);
	munmap(w + 8 * PAGE, 8 * PAGE);
	pressure();
	RC("write past the end", write(fd, w + 6 * PAGE, 4 * PAGE));
	RC("write from beyond", write(fd, w + 8 * PAGE, PAGE));
	lseek(fd, 0, SEEK_SET);
	RC("read past the end", read(fd, w + 7 * PAGE, 2 * PAGE));
	RC("stat beyond", stat("/", (struct stat *)(w + 8 * PAGE)));
	RC("path beyond", open(w + 8 * PAGE, O_RDONLY));
	RC("pipe beyond", pipe((int *)(w + 8 * PAGE - 4)));
	holds("below", w, 7 * PAGE, 17);
	close(fd);
	munmap(w, 16 * PAGE);
}

/* Programs ask in this way whether there is such a call. */
static void probed(void)
{
	uint64_t words[8] = { 0 };

	RC("clone3 of nothing", syscall(SYS_clone3, NULL, 64));
	RC("clone3 of a bad address", syscall(SYS_clone3, 8L, 64));
	RC("clone3, too short", syscall(SYS_clone3, words, 4));
	RC("clone3, shorter than ever", syscall(SYS_clone3, words, 56));
}

int main(void)
{
	from = map(LEN + PAGE);
	to = map(LEN + PAGE);
	files();
	direct();
	pipes_and_sockets();
	messages();
	structures();
	directories();
	waiting();
	futexes();
	other_ways_in();
	evict(15);
	in_child("read by a child", read_by_child, NULL);
	spawned();
	bad_pointers();
	probed();
	return done();
}
