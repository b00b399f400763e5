/* SPDX-License-Identifier: MIT
 *
 * scenario-host - scenarios as real system calls: the kernel of this host, or, under `minflt run`, the engine through
 * userfaultfd.
 */
#include <stdio.h>

#include "scenario/host.h"

int main(int argc, char **argv)
{
	struct scn_main_params params = { 0 };
	struct host *host = host_create();
	int status;

	if (!host) {
		perror("scenario-host");
		return 1;
	}
	params.machine = host_machine_here(host);
	params.ctx = host;
	params.name = params.machine->kernel == SCN_UFFD ? "uffd" : "host";
	status = scn_main(&params, argc, argv, 1);
	host_destroy(host);
	return status;
}
