/* SPDX-License-Identifier: MIT
 *
 * compressor.h - a thread that compresses what the program evicts, on a processor that the program leaves.
 */
#ifndef MF_CMD_COMPRESSOR_H
#define MF_CMD_COMPRESSOR_H

#include "run/control.h"

/* => how many pages may wait for it at once under this budget; 0: no compressor (one processor, nothing to compress) */
uint32_t compressor_entries(const struct mf_request *request);

/* From the start of the program to its end. Without a thread, the program compresses for itself. Signals that the
 * caller waits for are blocked. */
void compressor_start(struct mf_control *control);
void compressor_stop(void);

#endif
