/* SPDX-License-Identifier: MIT
 *
 * elf.c - what kind of ELF file is this?
 */
#include "cmd/elf.h"

#include <elf.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "lib/foreign.h"

#if defined(__x86_64__)
#define THIS_MACHINE EM_X86_64
#else
#error "cmd/elf.c: which e_machine is this?"
#endif

#define MOST_HEADERS 4096 /* a program has a dozen */

static enum elf_kind judge_header(int fd, Elf64_Ehdr *eh)
{
	const ssize_t n = pread(fd, eh, sizeof(*eh), 0);

	if (n < SELFMAG || memcmp(eh->e_ident, ELFMAG, SELFMAG) != 0)
		return ELF_NOT;
	if (n < (ssize_t)sizeof(Elf32_Ehdr))
		return ELF_BROKEN;
	if (eh->e_ident[EI_CLASS] == ELFCLASS32)
		return ELF_CLASS;
	/* e_type and e_machine stand at the same place in every class and are ours to read only in our byte order. */
	if (eh->e_ident[EI_CLASS] != ELFCLASS64 || n < (ssize_t)sizeof(*eh))
		return ELF_BROKEN;
	if (eh->e_ident[EI_DATA] != ELFDATA2LSB || eh->e_machine != THIS_MACHINE)
		return ELF_MACHINE;
	return ELF_OK;
}

static enum elf_kind judge_foreign(int fd)
{
	const enum foreign kind = foreign_program(fd);

	return kind == FOREIGN_SANITIZER ? ELF_SANITIZER : kind == FOREIGN_AUDIT ? ELF_AUDIT : ELF_OK;
}

enum elf_kind elf_judge(int fd)
{
	Elf64_Ehdr eh;
	enum elf_kind kind = judge_header(fd, &eh);

	if (kind != ELF_OK)
		return kind;
	if ((eh.e_type != ET_EXEC && eh.e_type != ET_DYN) || eh.e_phentsize != sizeof(Elf64_Phdr) || eh.e_phnum == 0 ||
	    eh.e_phnum > MOST_HEADERS)
		return ELF_BROKEN;
	for (unsigned i = 0; i < eh.e_phnum; i++) {
		Elf64_Phdr ph;

		if (pread(fd, &ph, sizeof(ph), (off_t)(eh.e_phoff + i * sizeof(ph))) != (ssize_t)sizeof(ph))
			return ELF_BROKEN;
		if (ph.p_type == PT_INTERP)
			return judge_foreign(fd);
	}
	return ELF_STATIC;
}

enum elf_kind elf_judge_library(int fd)
{
	Elf64_Ehdr eh;
	enum elf_kind kind = judge_header(fd, &eh);

	return kind == ELF_OK && eh.e_type != ET_DYN ? ELF_BROKEN : kind;
}
