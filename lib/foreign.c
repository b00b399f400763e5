/* SPDX-License-Identifier: MIT
 *
 * foreign.c - see foreign.h. What the dynamic linker reads, read from the file:
 *
 *   PT_DYNAMIC   DT_NEEDED: names of libraries, in DT_STRTAB;  DT_AUDIT, DT_DEPAUDIT;  where tables are, as addresses: PT_LOAD says at which offset
 *   DT_GNU_HASH  symbols that the program itself defines: a sanitizer that is linked statically
 *
 * Whatever the file says may be nonsense: nothing is read but by pread(), and nothing is followed without an end.
 */
#include "lib/foreign.h"

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "machine/sys.h"

#define MOST_HEADERS 24 /* a program has a dozen */
#define MOST_ENTRIES 512u
#define MOST_CHAIN   256
#define NOWHERE      UINT64_MAX

/* Of libraries' names; gcc's, and clang's. */
static const char *const libraries[] = {
	"libasan.so", "libtsan.so", "liblsan.so", "libhwasan.so", "libclang_rt.asan", "libclang_rt.tsan", "libclang_rt.lsan", "libclang_rt.hwasan",
	"libclang_rt.msan",
};
/* What gcc links statically exports only what is libc's as well: all of them replace mcheck_pedantic along with malloc, and hardly anything else does. */
static const char *const symbols[] = { "__asan_init", "__tsan_init", "__msan_init", "__hwasan_init", "__lsan_init", "mcheck_pedantic" };

#define NR(a) (sizeof(a) / sizeof((a)[0]))

struct elf {
	int fd;
	unsigned nr;
	Elf64_Phdr header[MOST_HEADERS];
	uint64_t names, symbols, hash; /* offsets in the file */
};

static bool read_all(int fd, void *to, size_t len, uint64_t at)
{
	return at <= INT64_MAX && sys_pread(fd, to, len, at) == (long)len;
}

static bool begins(const char *text, const char *with)
{
	while (*with && *text == *with)
		text++, with++;
	return !*with;
}

static bool same(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

/* A library, with or without its folder. */
static bool is_sanitizer(const char *path)
{
	const char *name = path;

	for (; *path; path++)
		if (*path == '/')
			name = path + 1;
	for (size_t i = 0; i < NR(libraries); i++)
		if (begins(name, libraries[i]))
			return true;
	return false;
}

/* The text at an offset, as much of it as fits. */
static bool read_text(const struct elf *e, uint64_t at, char *to, size_t size)
{
	long n = at <= INT64_MAX ? sys_pread(e->fd, to, size - 1, at) : -1;

	to[n > 0 ? n : 0] = 0;
	return n > 0;
}

static uint64_t offset_of(const struct elf *e, uint64_t addr)
{
	for (unsigned i = 0; i < e->nr; i++) {
		const Elf64_Phdr *ph = &e->header[i];

		if (ph->p_type == PT_LOAD && addr >= ph->p_vaddr && addr - ph->p_vaddr < ph->p_filesz)
			return addr - ph->p_vaddr + ph->p_offset;
	}
	return NOWHERE;
}

/* ---- symbols --------------------------------------------------------------------------------------------------------- */

static uint32_t gnu_hash(const char *name)
{
	uint32_t hash = 5381;

	while (*name)
		hash = hash * 33 + (unsigned char)*name++;
	return hash;
}

static bool is_defined(const struct elf *e, uint32_t index, const char *name)
{
	char text[32];
	Elf64_Sym sym;

	return read_all(e->fd, &sym, sizeof(sym), e->symbols + index * sizeof(sym)) && sym.st_shndx != SHN_UNDEF &&
	       read_text(e, e->names + sym.st_name, text, sizeof(text)) && same(text, name);
}

/* By the filter of the table first, which says no to nearly all that is not there. */
static bool defines(const struct elf *e, const uint32_t table[4], const char *name)
{
	const uint32_t nr = table[0], first = table[1], words = table[2], shift = table[3] & 31, hash = gnu_hash(name);
	const uint64_t buckets = e->hash + 4 * sizeof(uint32_t) + (uint64_t)words * sizeof(uint64_t), chains = buckets + (uint64_t)nr * sizeof(uint32_t);
	uint64_t filter;
	uint32_t i, link;

	if (!nr || !words || !read_all(e->fd, &filter, sizeof(filter), e->hash + 4 * sizeof(uint32_t) + (uint64_t)(hash / 64 & (words - 1)) * sizeof(filter)))
		return false;
	if (!(filter >> (hash & 63) & 1) || !(filter >> (hash >> shift & 63) & 1))
		return false;
	if (!read_all(e->fd, &i, sizeof(i), buckets + (uint64_t)(hash % nr) * sizeof(i)) || i < first)
		return false;
	for (int steps = 0; steps < MOST_CHAIN; steps++, i++) {
		if (!read_all(e->fd, &link, sizeof(link), chains + (uint64_t)(i - first) * sizeof(link)))
			return false;
		if ((link | 1) == (hash | 1) && is_defined(e, i, name))
			return true;
		if (link & 1)
			return false;
	}
	return false;
}

static bool defines_any(const struct elf *e)
{
	uint32_t table[4];

	if (e->hash == NOWHERE || e->symbols == NOWHERE || e->names == NOWHERE || !read_all(e->fd, table, sizeof(table), e->hash))
		return false;
	for (size_t i = 0; i < NR(symbols); i++)
		if (defines(e, table, symbols[i]))
			return true;
	return false;
}

/* ---- the dynamic section --------------------------------------------------------------------------------------------- */

static bool needs_any(const struct elf *e, uint64_t name)
{
	char text[128];

	return e->names != NOWHERE && read_text(e, e->names + name, text, sizeof(text)) && is_sanitizer(text);
}

/* Tables are noted in the first round, names are looked up in the second: DT_STRTAB may stand behind them. */
static enum foreign judge_entry(struct elf *e, const Elf64_Dyn *d, bool second)
{
	switch (d->d_tag) {
	case DT_STRTAB:
		e->names = offset_of(e, d->d_un.d_ptr);
		return FOREIGN_NOT;
	case DT_SYMTAB:
		e->symbols = offset_of(e, d->d_un.d_ptr);
		return FOREIGN_NOT;
	case DT_GNU_HASH:
		e->hash = offset_of(e, d->d_un.d_ptr);
		return FOREIGN_NOT;
	case DT_AUDIT:
	case DT_DEPAUDIT:
		return FOREIGN_AUDIT;
	case DT_NEEDED:
		return second && needs_any(e, d->d_un.d_val) ? FOREIGN_SANITIZER : FOREIGN_NOT;
	default:
		return FOREIGN_NOT;
	}
}

static enum foreign judge_dynamic(struct elf *e, const Elf64_Phdr *ph, bool second)
{
	const uint64_t all = ph->p_filesz / sizeof(Elf64_Dyn);
	const unsigned nr = all < MOST_ENTRIES ? (unsigned)all : MOST_ENTRIES;
	enum foreign kind = FOREIGN_NOT;

	for (unsigned i = 0; i < nr && kind == FOREIGN_NOT;) {
		Elf64_Dyn d[16];
		long n = ph->p_offset <= INT64_MAX ? sys_pread(e->fd, d, sizeof(d), ph->p_offset + i * sizeof(d[0])) : -1;

		if (n < (long)sizeof(d[0]))
			break;
		n /= (long)sizeof(d[0]);
		for (long k = 0; k < n && i < nr && kind == FOREIGN_NOT; k++, i++) {
			if (d[k].d_tag == DT_NULL)
				return FOREIGN_NOT;
			kind = judge_entry(e, &d[k], second);
		}
	}
	return kind;
}

enum foreign foreign_program(int fd)
{
	struct elf e = { .fd = fd, .names = NOWHERE, .symbols = NOWHERE, .hash = NOWHERE };
	enum foreign kind = FOREIGN_NOT;
	Elf64_Ehdr eh;

	if (!read_all(fd, &eh, sizeof(eh), 0) || eh.e_phentsize != sizeof(Elf64_Phdr))
		return FOREIGN_NOT;
	e.nr = eh.e_phnum < MOST_HEADERS ? eh.e_phnum : MOST_HEADERS;
	if (!read_all(fd, e.header, e.nr * sizeof(e.header[0]), eh.e_phoff))
		return FOREIGN_NOT;
	for (int round = 0; round < 2; round++)
		for (unsigned i = 0; i < e.nr && kind == FOREIGN_NOT; i++)
			if (e.header[i].p_type == PT_DYNAMIC)
				kind = judge_dynamic(&e, &e.header[i], round > 0);
	return kind == FOREIGN_NOT && defines_any(&e) ? FOREIGN_SANITIZER : kind;
}

/* Names end at blanks and colons. */
enum foreign foreign_preload(const char *value)
{
	char name[128];

	while (*value) {
		size_t n = 0;

		for (; *value && *value != ':' && *value != ' '; value++) {
			if (*value == '/')
				n = 0;
			else if (n < sizeof(name) - 1)
				name[n++] = *value;
		}
		name[n] = 0;
		if (is_sanitizer(name))
			return FOREIGN_SANITIZER;
		while (*value == ':' || *value == ' ')
			value++;
	}
	return FOREIGN_NOT;
}
