/* SPDX-License-Identifier: MIT
 *
 * linux_2_0.c - the fault path of doc 0.
 */
#include "mm/fault/fault.h"

const struct fault_path linux_2_0_path = { .name = "linux-2.0" };
