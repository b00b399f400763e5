/* SPDX-License-Identifier: MIT
 *
 * cmd.h - what the subcommands of `minflt` share.
 *
 * Whatever goes wrong before the program runs ends with one line on standard error, which names the thing and the remedy, and with a
 * status that means what it means for env(1).
 */
#ifndef MF_CMD_CMD_H
#define MF_CMD_CMD_H

#define EXIT_MINFLT   125 /* minflt itself could not do it */
#define EXIT_NOT_EXEC 126 /* the program is there and can't be executed */
#define EXIT_MISSING  127 /* there is no such program */

/* "minflt: <text>\n" on standard error in one write. => `status`, so that `return complain(EXIT_MINFLT, ...)` reads well. */
int complain(int status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The lowest number for minflt's own descriptors: above 0, 1 and 2, which belong to the program even when they are closed. */
int fd_raise(int fd); /* => the descriptor at a number above 2, close-on-exec; `fd` is closed if it moved. -errno: none free */

/* One function per subcommand: argv[0] is its name. => the exit status. */
int cmd_run(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_walk(int argc, char **argv);
int cmd_help(int argc, char **argv);

extern const char run_usage[];
extern const char doctor_usage[];
extern const char walk_usage[];

#endif
