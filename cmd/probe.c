/* SPDX-License-Identifier: MIT
 *
 * probe.c - which userfaultfd can this user have?
 *
 * The kernel gives the full kind through the system call to those with CAP_SYS_PTRACE or when vm.unprivileged_userfaultfd is 1, and through
 * /dev/userfaultfd (Linux 6.1) to whoever may open it. Everybody else gets the kind that serves user mode only: there, read() into a page that
 * is not at home fails with EFAULT, which no program expects. So that kind is refused.
 */
#include "cmd/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "machine/uffd/uffd_abi.h"
#include "run/control.h"

#define USER_MODE_ONLY 1 /* UFFD_USER_MODE_ONLY, Linux 5.11 */

static int by_syscall(int flags)
{
	return fd_raise((int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | flags));
}

static int by_device(void)
{
	int dev = fd_raise(open("/dev/userfaultfd", O_RDWR | O_CLOEXEC));
	int fd;

	if (dev < 0)
		return dev;
	fd = fd_raise(ioctl(dev, UFFD_DEV_NEW, O_CLOEXEC | O_NONBLOCK));
	close(dev);
	return fd;
}

void probe_userfaultfd(struct probe *p)
{
	struct uffd_api api = { .api = UFFD_API_VERSION };
	int fd = by_syscall(0);

	memset(p, 0, sizeof(*p));
	p->source = MF_UFFD_SYSCALL;
	if (fd < 0) {
		p->syscall_errno = -fd;
		p->source = MF_UFFD_DEV;
		fd = by_device();
	}
	if (fd < 0) {
		p->device_errno = -fd;
		p->source = -1;
		fd = by_syscall(USER_MODE_ONLY);
		p->user_mode_only = fd >= 0;
	} else if (ioctl(fd, UFFD_API, &api) == 0) {
		p->features = api.features;
	} else {
		p->syscall_errno = errno;
		p->source = -1;
	}
	if (fd >= 0)
		close(fd);
}

const char *probe_missing_feature(const struct probe *p)
{
	if (!(p->features & UFFD_FEATURE_PAGEFAULT_WP))
		return "write protection (Linux 5.7)";
	if (!(p->features & UFFD_FEATURE_THREAD_ID))
		return "thread ids (Linux 4.14)";
	return NULL;
}

const char *probe_explain(const struct probe *p, char *buf, int len)
{
	const char *missing;

	if (p->source >= 0) {
		missing = probe_missing_feature(p);
		snprintf(buf, (size_t)len, "userfaultfd of this kernel lacks %s; use a newer kernel", missing ? missing : "nothing");
	} else if (p->syscall_errno == ENOSYS) {
		snprintf(buf, (size_t)len, "this kernel has no userfaultfd (CONFIG_USERFAULTFD), or a container's filter hides it; use another kernel, or allow the call in the container's seccomp profile");
	} else if (p->syscall_errno == EPERM && p->user_mode_only) {
		snprintf(buf, (size_t)len, "no permission for userfaultfd (user mode only is not enough: system calls on managed memory would fail); as root: sysctl vm.unprivileged_userfaultfd=1, or see 'minflt doctor'");
	} else if (p->syscall_errno == EPERM) {
		snprintf(buf, (size_t)len, "no permission for userfaultfd, not even for user mode only, as in a container whose seccomp profile forbids it; allow userfaultfd there, or see 'minflt doctor'");
	} else {
		snprintf(buf, (size_t)len, "userfaultfd cannot be had: %s; see 'minflt doctor'", strerror(p->syscall_errno));
	}
	return buf;
}
