/* SPDX-License-Identifier: MIT
 *
 * summary.h - what the user learns at the end.
 */
#ifndef MF_CMD_SUMMARY_H
#define MF_CMD_SUMMARY_H

#include <stdio.h>

#include "cmd/launch.h"
#include "cmd/options.h"

/* In the manner of time -v, to `to`. */
void summary_write(FILE *to, const struct run_options *o, const struct outcome *out, const struct mf_control *c);

/* The same as one JSON object; minflt-run(1) documents the keys. */
void json_write(FILE *to, const struct run_options *o, const struct outcome *out, const struct mf_control *c);

/* What a stored page has shrunk to: bytes of the pages in the pool over the bytes that keep them. 0: nothing is stored. */
double compression_ratio(const struct mf_control *c);
double timeval_seconds(struct timeval tv);

const char *codec_name(uint32_t codec);

#endif
