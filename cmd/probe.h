/* SPDX-License-Identifier: MIT
 *
 * probe.h - which userfaultfd can this user have?
 */
#ifndef MF_CMD_PROBE_H
#define MF_CMD_PROBE_H

#include <stdint.h>

struct probe {
	int source;           /* enum mf_uffd_source, or -1: none */
	int syscall_errno;    /* why the system call refused, 0: it didn't */
	int device_errno;     /* why /dev/userfaultfd refused; not tried when the system call worked */
	int user_mode_only;   /* the kind that serves no system calls would be given */
	uint64_t features;    /* what the kernel offers, when source >= 0 */
};

void probe_userfaultfd(struct probe *p);

/* What the runtime can't do without. MOVE is not among it: pages are copied then. => NULL: all there, else the name of what is missing */
const char *probe_missing_feature(const struct probe *p);

/* One line: what is wrong and what to do about it. */
const char *probe_explain(const struct probe *p, char *buf, int len);

#endif
