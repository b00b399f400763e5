/* SPDX-License-Identifier: MIT
 *
 * progress.h - one live status line on standard error.
 */
#ifndef MF_CMD_PROGRESS_H
#define MF_CMD_PROGRESS_H

#include "run/control.h"

#define PROGRESS_MS 250

/* Write the line anew, if the last one is older than PROGRESS_MS. Never waits: what standard error doesn't take at once is left out. */
void progress_show(struct mf_control *c);
void progress_erase(void);

#endif
