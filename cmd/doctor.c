/* SPDX-License-Identifier: MIT
 *
 * doctor.c - `minflt doctor`.
 */
#include <stdio.h>

#include "cmd/cmd.h"

const char doctor_usage[] =
	"usage: minflt doctor\n"
	"\n"
	"Say whether minflt can run programs on this machine for this user, and what to change if not.\n"
	"Exit status: 0 it can, 1 it can't.\n";

int cmd_doctor(int argc, char **argv)
{
	return 1;
}
