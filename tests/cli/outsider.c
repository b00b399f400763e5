/* SPDX-License-Identifier: MIT
 *
 * outsider.c - makes system calls that no interposed function sees.
 *
 *   outsider exec PROGRAM [ARGUMENT...]     executes it
 *   outsider limit BYTES PROGRAM [ARGUMENT...]   executes it, by libc, with so much address space
 *   outsider map MIB SECONDS                maps and touches so much memory, and keeps it for so long
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "machine/sys.h"

extern char **environ;

int main(int argc, char **argv)
{
	if (argc > 2 && strcmp(argv[1], "exec") == 0)
		sys_call3(SYS_execve, (long)argv[2], (long)(argv + 2), (long)environ);
	if (argc > 3 && strcmp(argv[1], "limit") == 0) {
		struct rlimit limit = { strtoul(argv[2], NULL, 10), RLIM_INFINITY };

		sys_call2(SYS_setrlimit, RLIMIT_AS, (long)&limit);
		execv(argv[3], argv + 3);
	}
	if (argc > 3 && strcmp(argv[1], "map") == 0) {
		size_t len = (size_t)atoi(argv[2]) << 20;
		long p = sys_mmap(0, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (sys_is_err(p))
			return 1;
		memset((char *)p, 1, len);
		usleep((useconds_t)(atof(argv[3]) * 1e6));
		return 0;
	}
	return 99;
}
