/* SPDX-License-Identifier: MIT
 *
 * elf.h - what kind of ELF file is this?
 */
#ifndef MF_CMD_ELF_H
#define MF_CMD_ELF_H

enum elf_kind {
	ELF_OK,         /* for this machine, 64 bits, with a dynamic linker */
	ELF_NOT,        /* no ELF file */
	ELF_BROKEN,     /* cut short, or no program */
	ELF_CLASS,      /* 32 bits */
	ELF_MACHINE,    /* another architecture */
	ELF_STATIC,     /* no dynamic linker is asked for: nothing can be preloaded */
	ELF_SANITIZER,  /* these two: see lib/foreign.h */
	ELF_AUDIT,
};

enum elf_kind elf_judge(int fd);

/* The same for a shared library, which names no dynamic linker. => ELF_OK, ELF_NOT, ELF_BROKEN, ELF_CLASS, ELF_MACHINE */
enum elf_kind elf_judge_library(int fd);

#endif
