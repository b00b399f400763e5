/* SPDX-License-Identifier: MIT
 *
 * mangled.c - programs with some bytes of theirs replaced by nonsense, mostly in what is read of them: foreign_program() (lib/foreign.h) comes to an end,
 * touches nothing that isn't its own (this is built with sanitizers), and answers one of its answers.
 *
 *   mangled TIMES PROGRAM
 */
#include <elf.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/foreign.h"

static uint64_t state = 88172645463325252ULL;

static uint64_t draw(uint64_t below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state % below;
}

static size_t read_file(const char *path, char **to)
{
	int fd = open(path, O_RDONLY);
	off_t len = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);

	*to = malloc((size_t)len + 1);
	if (!*to || len <= 0 || pread(fd, *to, (size_t)len, 0) != len)
		exit(1);
	close(fd);
	return (size_t)len;
}

/* Where damage tells: in the headers, the dynamic section, and what it points to. */
static size_t place(const char *file, size_t len)
{
	static const int64_t tables[] = { DT_STRTAB, DT_SYMTAB, DT_GNU_HASH };
	Elf64_Ehdr eh;
	Elf64_Phdr ph;
	Elf64_Dyn d;
	const uint64_t kind = draw(6);

	if (kind == 0)
		return draw(len);
	memcpy(&eh, file, sizeof(eh));
	if (kind == 1)
		return draw(sizeof(eh) + eh.e_phnum * sizeof(ph));
	for (unsigned i = 0; i < eh.e_phnum; i++) {
		memcpy(&ph, file + eh.e_phoff + i * sizeof(ph), sizeof(ph));
		if (ph.p_type != PT_DYNAMIC)
			continue;
		if (kind == 2)
			return ph.p_offset + draw(ph.p_filesz);
		for (uint64_t k = 0; k < ph.p_filesz; k += sizeof(d)) {
			memcpy(&d, file + ph.p_offset + k, sizeof(d));
			if (d.d_tag == tables[kind - 3]) /* these lie in the first segment, where address and offset are the same */
				return (d.d_un.d_ptr + draw(256)) % len;
		}
	}
	return draw(len);
}

int main(int argc, char **argv)
{
	static const uint64_t values[] = { 0, 1, ~0ULL, 1ULL << 63, 0x7fffffffffffffffULL, 0xffffffffULL, 4096, DT_NEEDED, DT_GNU_HASH, DT_AUDIT };
	unsigned answers[3] = { 0 };
	char *file, *copy;
	size_t len;
	int fd;

	if (argc < 3)
		return 99;
	len = read_file(argv[2], &file);
	copy = malloc(len);
	fd = memfd_create("mangled", 0);
	if (!copy || fd < 0)
		exit(1);
	for (long n = atol(argv[1]); n > 0; n--) {
		const uint64_t times = draw(4);

		memcpy(copy, file, len);
		for (uint64_t i = 0; i < times; i++) {
			const uint64_t value = draw(2) ? values[draw(sizeof(values) / sizeof(values[0]))] : draw(~0ULL);
			const size_t at = place(file, len), width = (size_t)1 << draw(4);

			memcpy(copy + at, &value, at + width <= len ? width : len - at);
		}
		if (ftruncate(fd, 0) || pwrite(fd, copy, draw(8) ? len : draw(len), 0) < 0)
			exit(1);
		answers[foreign_program(fd)]++;
	}
	printf("%u not foreign, %u sanitizers, %u auditors\n", answers[FOREIGN_NOT], answers[FOREIGN_SANITIZER], answers[FOREIGN_AUDIT]);
	free(file);
	free(copy);
	return 0;
}
