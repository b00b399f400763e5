/* SPDX-License-Identifier: MIT
 *
 * engine_disk.h - for the tests of files: a real file of this host behind an address_space, with injected errors; one program that maps
 * it; and the vm_operations called as a generation calls them.
 */
#ifndef MF_TESTS_UNIT_ENGINE_DISK_H
#define MF_TESTS_UNIT_ENGINE_DISK_H

#include "tests/unit/engine.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "mm/filemap.h"

#define SOME static __attribute__((unused)) /* not every test needs every helper */

#define B (1UL << 24)
#define N 64
#define NONE (~0UL)

/* ---- a file ----------------------------------------------------------------------------------------------------------------- */

struct disk {
	int fd;
	unsigned long read, written, calls, released;
	unsigned long bad_read, bad_write; /* page offsets that fail; NONE */
	int mkwrite;                       /* what page_mkwrite answers */
	size_t last_len;                   /* of the last writepage */
	void (*hook)(unsigned long pgoff); /* before a page is read */
};
static struct disk disk;

SOME int disk_readpages(void *host, unsigned long pgoff, unsigned nr, void *const pages[])
{
	struct disk *d = host;

	__atomic_fetch_add(&d->calls, 1, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < nr; i++) {
		ssize_t n;

		if (d->hook)
			d->hook(pgoff + i);
		if (pgoff + i == d->bad_read)
			return -EIO;
		n = pread(d->fd, pages[i], P, (off_t)((pgoff + i) * P));
		if (n < 0)
			return -EIO;
		memset((char *)pages[i] + n, 0, P - (size_t)n);
		__atomic_fetch_add(&d->read, 1, __ATOMIC_RELAXED);
	}
	return 0;
}

/* As a device reads: where dirty pages are not counted, programs may store to the page meanwhile (its entry is dirty again then, and it is written
 * once more). */
SOME int disk_writepage(void *host, unsigned long pgoff, const void *page, size_t len)
{
	struct disk *d = host;
	uint8_t bytes[P];

	if (pgoff == d->bad_write)
		return -EIO;
	for (size_t i = 0; i < len; i++)
		bytes[i] = __atomic_load_n((const uint8_t *)page + i, __ATOMIC_RELAXED);
	if (pwrite(d->fd, bytes, len, (off_t)(pgoff * P)) != (ssize_t)len)
		return -EIO;
	__atomic_store_n(&d->last_len, len, __ATOMIC_RELAXED);
	__atomic_fetch_add(&d->written, 1, __ATOMIC_RELAXED);
	return 0;
}

SOME int disk_mkwrite(void *host, unsigned long pgoff)
{
	return ((struct disk *)host)->mkwrite;
}

SOME void disk_release(void *host)
{
	((struct disk *)host)->released++;
}

static const struct address_space_operations disk_ops __attribute__((unused)) = {
	.readpages = disk_readpages,
	.writepage = disk_writepage,
	.release = disk_release,
}, disk_mkwrite_ops __attribute__((unused)) = {
	.readpages = disk_readpages,
	.writepage = disk_writepage,
	.page_mkwrite = disk_mkwrite,
	.release = disk_release,
};

SOME uint8_t byte_of(unsigned long page) { return page * 7 + 3; }

SOME void disk_make(unsigned long pages)
{
	char name[] = "/tmp/minflt-engine-file-XXXXXX";
	uint8_t bytes[P];

	if (disk.fd > 0)
		close(disk.fd); /* the last test may still have looked at it after finish() */
	memset(&disk, 0, sizeof(disk));
	disk.bad_read = disk.bad_write = NONE;
	disk.fd = mkstemp(name);
	assert_true(disk.fd >= 0);
	unlink(name);
	for (unsigned long i = 0; i < pages; i++) {
		memset(bytes, byte_of(i), P);
		assert_int_equal(pwrite(disk.fd, bytes, P, (off_t)(i * P)), P);
	}
}

SOME uint8_t on_disk(uint64_t offset)
{
	uint8_t v = 0xee;

	return pread(disk.fd, &v, 1, (off_t)offset) == 1 ? v : 0xee;
}

/* ---- an engine with one file and one program ----------------------------------------------------------------------------------- */

static struct mm_struct *mm;
static struct address_space *mapping;
static struct file *file;

SOME void start_engine(const struct engine *e, unsigned long pages, unsigned flags, const struct address_space_operations *ops)
{
	disk_make(pages);
	engine_start(e);
	if (!e->rules)
		mm_reuse_rule = REUSE_6; /* the rows of section 5 were measured there; 5.15 counts a store that was throttled as a major fault */
	mm = mm_alloc();
	mapping = address_space_alloc(ops, &disk, pages * P, flags);
	file = file_open(mapping, FILE_WRITE);
	faults();
}

SOME void start(unsigned long pages, unsigned flags)
{
	start_engine(&(struct engine){ .caps = CAPS_X86, .frames = 2048 }, pages, flags, &disk_ops);
}

SOME void finish(void)
{
	mm_check_invariants();
	mmput(mm);
	mm_check_invariants();
	fput(file);
	assert_int_equal(disk.released, 0);
	address_space_put(mapping);
	assert_int_equal(disk.released, 1);
	assert_null(mapping_list);
	mm_check_invariants();
	assert_int_equal(nr_used_frames(), 0);
	assert_int_equal(mm_stats()->swap_slots_used, 0);
	engine_stop();
}

#define SHARED (RW | VM_SHARED | VM_MAYSHARE)

SOME void map_file(struct mm_struct *m, unsigned long addr, unsigned long pages, unsigned long flags, unsigned long pgoff)
{
	mmap_write_lock(m);
	assert_int_equal(mmap_region_file(m, addr, pages * P, flags, file, pgoff), 0);
	mmap_write_unlock(m);
	mm_check_invariants();
}

SOME void map_shared_anon(struct mm_struct *m, unsigned long addr, unsigned long pages)
{
	mmap_write_lock(m);
	assert_int_equal(mmap_region_file(m, addr, pages * P, SHARED, NULL, 0), 0);
	mmap_write_unlock(m);
}

SOME unsigned long cached(unsigned long pages)
{
	unsigned long n = 0;

	for (unsigned long i = 0; i < pages; i++)
		n += filemap_cached(mapping, i);
	return n;
}

SOME unsigned page_flag(unsigned long index, unsigned flag)
{
	struct page *page = find_get_page(mapping, index, NULL);
	unsigned f;

	assert_non_null(page);
	f = page_flags(page) & flag;
	put_page(page);
	return f;
}

SOME pte_t entry(struct mm_struct *m, unsigned long addr)
{
	struct ptdesc *table = pte_table(m, addr);

	return table ? ptep_get(pte_offset(table, addr)) : (pte_t){ 0 };
}


/* The vm_operation as a generation calls it. mmap_lock is held for reading before and, without RETRY, after; released here. */
SOME vm_fault_t fault_at(unsigned long addr, unsigned flags, struct page **page)
{
	struct vm_area_struct *vma;
	struct vm_fault vmf;
	vm_fault_t ret;

	mmap_read_lock(mm);
	vma = find_vma(mm, addr);
	vmf = (struct vm_fault){ .vma = vma, .address = addr & ~(P - 1), .pgoff = linear_page_index(vma, addr), .flags = flags };
	ret = vma->vm_ops->fault(&vmf);
	assert_int_equal(!(ret & VM_FAULT_RETRY), mmap_is_locked(mm));
	if (!(ret & VM_FAULT_RETRY))
		mmap_read_unlock(mm);
	if (ret & VM_FAULT_LOCKED) {
		assert_true(page_flags(vmf.page) & PG_locked);
		assert_true(page_flags(vmf.page) & PG_uptodate);
		unlock_page(vmf.page);
		put_page(vmf.page);
	}
	if (page)
		*page = vmf.page;
	mm_check_invariants();
	return ret;
}

#define FIRST  FAULT_FLAG_ALLOW_RETRY
#define SECOND (FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_TRIED)

/* => pages of [first, last] mapped around addr; *hit: the answer was NOPAGE */
SOME unsigned map_around(unsigned long addr, unsigned long first, unsigned long last, bool *hit)
{
	struct vm_area_struct *vma;
	struct ptdesc *table;
	struct vm_fault vmf;
	unsigned n = 0;
	vm_fault_t ret;
	pmd_t pmd;

	mmap_read_lock(mm);
	vma = find_vma(mm, addr);
	table = pte_table_alloc(mm, addr);
	pmd.desc = table;
	vmf = (struct vm_fault){ .vma = vma, .address = addr & ~(P - 1), .pgoff = linear_page_index(vma, addr), .pmd = &pmd };
	for (unsigned long i = first; i <= last; i++)
		n -= pte_present(entry(mm, vma->vm_start + (i - vma->vm_pgoff) * P));
	ret = vma->vm_ops->map_pages(&vmf, first, last);
	for (unsigned long i = first; i <= last; i++)
		n += pte_present(entry(mm, vma->vm_start + (i - vma->vm_pgoff) * P));
	mmap_read_unlock(mm);
	*hit = ret == VM_FAULT_NOPAGE;
	assert_true(*hit || !ret);
	mm_check_invariants();
	return n;
}

#endif
