/* SPDX-License-Identifier: MIT
 *
 * signals.h - numbers of signals, as Linux has them on all the architectures that are modelled. Not in fault.h, because libc has them too.
 */
#ifndef MF_MM_FAULT_SIGNALS_H
#define MF_MM_FAULT_SIGNALS_H

#define SIGBUS      7
#define SIGKILL     9
#define SIGSEGV     11
#define BUS_ADRERR  2
#define SEGV_MAPERR 1
#define SEGV_ACCERR 2
#define SI_KERNEL   0x80

#endif
