/* SPDX-License-Identifier: MIT
 *
 * json.h - what everything that prints JSON needs.
 */
#ifndef MF_CMD_JSON_H
#define MF_CMD_JSON_H

#include <stdio.h>

/* File names and arguments are bytes, JSON strings are Unicode: what is no UTF-8 becomes U+FFFD. */
void json_string(FILE *to, const char *text);

#endif
