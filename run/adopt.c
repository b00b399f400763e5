/* SPDX-License-Identifier: MIT
 *
 * adopt.c - memory that was there before the runtime: what early allocations mapped, and large bss segments. The pages that already stand
 * there are taken over as they are.
 */
#include <elf.h>
#include <link.h>
#include <sys/mman.h>

#include "lib/pager.h"
#include "run/runtime.h"

#define NR_EARLY  128
#define LARGE_BSS (256UL << 10) /* smaller ones are not worth a mapping of their own */

static struct { unsigned long addr; size_t len; int prot; } early[NR_EARLY];
static unsigned nr_early;

void rt_note_early(unsigned long addr, size_t len, int prot)
{
	if (nr_early < NR_EARLY) {
		early[nr_early].addr = addr;
		early[nr_early].len = page_up(len);
		early[nr_early++].prot = prot;
	}
}

/* Only whole mappings and their ends are cut: what allocators do to align. A hole in the middle forgets the tail (it stays unmanaged). */
void rt_forget_early(unsigned long addr, size_t len)
{
	unsigned long end = addr + page_up(len);

	for (unsigned i = 0; i < nr_early; i++) {
		unsigned long from = early[i].addr, to = from + early[i].len;

		if (end <= from || addr >= to)
			continue;
		if (addr <= from && end >= to) {
			early[i--] = early[--nr_early];
		} else if (addr <= from) {
			early[i].addr = end;
			early[i].len = to - end;
		} else {
			early[i].len = addr - from;
		}
	}
}

void rt_adopt_early(void)
{
	mmap_write_lock(pager_mm);
	for (unsigned i = 0; i < nr_early; i++)
		if (rt_manage(early[i].addr, early[i].len, rt_prot_flags(early[i].prot), true))
			pager_die(MF_STATE_FAILED, "memory from before the start can't be taken over\n");
	mmap_write_unlock(pager_mm);
}

static int note_bss(struct dl_phdr_info *info, size_t size, void *data)
{
	unsigned long self = (unsigned long)&early;

	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		unsigned long start = info->dlpi_addr + ph->p_vaddr;
		unsigned long from = page_up(start + ph->p_filesz), to = page_up(start + ph->p_memsz);

		if (ph->p_type != PT_LOAD || !(ph->p_flags & PF_W) || ph->p_flags & PF_X || to < from + LARGE_BSS)
			continue;
		if (self >= start && self < to)
			continue; /* the runtime itself stays out */
		rt_note_early(from, to - from, PROT_READ | PROT_WRITE);
	}
	return 0;
}

void rt_note_bss(void)
{
	dl_iterate_phdr(note_bss, NULL);
}
