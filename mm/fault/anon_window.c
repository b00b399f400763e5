/* SPDX-License-Identifier: MIT
 *
 * anon_window.c - an anonymous fault that continues a walk through memory (streams.c) fills several pages: one call of the machine for many.
 *
 * No kernel of the documents does this; mm_params.anon_around = 1 turns it off, and linux_5.c does the rest alone.
 *
 *      walk, upwards      ....FFFF|wwwwwwww........        F filled, w the window of this fault, doubling up to anon_around
 *      pages that stand   ....FFFF|wwSwwwww........        are left out; frames are taken for those without an entry alone
 *
 * Lock order: as linux_5.c; frames are taken before the pte lock, entries that stand are seen again under it.
 *
 * Considered and rejected: a window on both sides of the fault, as fault-around has. What was never touched is zeros for nobody, and takes
 * memory from what was.
 *
 * A page that came along is marked (_PAGE_AROUND), and old where the machine can say so.
 */
#include "mm/fault/linux_5.h"

unsigned window_max(unsigned max)
{
	unsigned long room = (nr_used_frames() + nr_free_frames()) / 16;

	while (max > 1 && max > room)
		max /= 2;
	return max;
}

/* Looks at one entry mostly, at 64 at most. */
void skip_standing(struct stream_table *streams, const struct vm_fault *vmf, const struct window *w, bool swapped)
{
	const struct vm_area_struct *vma = vmf->vma;
	const struct ptdesc *table = desc_load(&vmf->pmd->desc);
	unsigned long floor = max_ul(vma->vm_start, pmd_addr_start(vmf->address));
	unsigned long ceiling = pmd_addr_end(vmf->address, vma->vm_end);
	unsigned long end = vmf->address + (long)w->nr * w->stride * (long)PAGE_SIZE, next = end;

	if (w->stride != 1 && w->stride != -1)
		return;
	for (unsigned n = 0; n < MAX_AROUND && next >= floor && next < ceiling; n++, next += w->stride * (long)PAGE_SIZE) {
		pte_t pte = ptep_get(pte_offset(table, next));

		if (swapped ? is_swap_pte(pte) : pte_none(pte))
			break;
	}
	if (next != end)
		stream_reach(streams, w, vmf->address, next);
}

/* How many pages from the faulting one on, in direction *dir, this fault may fill: one; if it continues a stream,
 * more, up to the vma's or the table's end. *want: how many of these have no entry. Entries are read without a lock. */
static unsigned anon_window(struct vm_fault *vmf, int *dir, unsigned *want)
{
	const struct vm_area_struct *vma = vmf->vma;
	unsigned long room;
	struct window w;
	const pte_t *ptep;

	*dir = 1;
	*want = 1;
	if (mm_anon_around == 1 || vma->vm_flags & (VM_RAND_READ | VM_NOFAULTAROUND))
		return 1;
	w = stream_window(&vma->vm_mm->anon_streams, vmf->address, window_max(mm_anon_around),
			  vma->vm_flags & VM_SEQ_READ ? STREAM_SEQUENTIAL : STREAM_DENSE);
	if (!w.stream)
		return 1;
	skip_standing(&vma->vm_mm->anon_streams, vmf, &w, false);
	*dir = w.stride;
	if (w.stride > 0)
		room = (pmd_addr_end(vmf->address, vma->vm_end) - vmf->address) >> PAGE_SHIFT;
	else
		room = ((vmf->address - max_ul(vma->vm_start, pmd_addr_start(vmf->address))) >> PAGE_SHIFT) + 1;
	w.nr = min_ul(w.nr, room);
	ptep = pte_offset(desc_load(&vmf->pmd->desc), vmf->address);
	for (unsigned i = 1; i < w.nr; i++)
		*want += pte_none(ptep_get(ptep + (int)i * w.stride));
	trace(anon_window, vmf->address, w.nr, *want);
	return w.nr;
}

/* Frames for one fault, in pieces of neighbours. */
struct frames {
	unsigned nr, pieces, used; /* frames; pieces; frames of piece[0] that are taken */
	struct { uint32_t pfn, nr; } piece[MAX_AROUND];
};

/* Frames whose first contents are zeros; the machine sees to that (MACHINE_MAP_ZERO). When free memory is in small
 * pieces the window is put together from several: each costs a machine call, which is less than a fault. => false:
 * OOM */
static bool alloc_zeroed_frames(struct vm_fault *vmf, unsigned want, struct frames *f)
{
	unsigned got;
	unsigned long pfn = alloc_run_fault(want, want > 1, &got);

	trace(alloc_zeroed_user_highpage_movable, vmf->address, want, pfn);
	f->nr = f->pieces = f->used = 0;
	while (pfn != -1UL) {
		f->piece[f->pieces].pfn = pfn;
		f->piece[f->pieces++].nr = got;
		f->nr += got;
		if (f->nr == want || !nr_free_frames())
			break;
		pfn = alloc_run(want - f->nr, &got);
	}
	return f->nr;
}

static void free_frames(struct frames *f, unsigned piece)
{
	for (; piece < f->pieces; piece++, f->used = 0)
		free_run(f->piece[piece].pfn + f->used, f->piece[piece].nr - f->used);
}

/* An entry of a window that is not the faulting one. */
static pte_t mk_pte_around(pte_t pte)
{
	return pte_set(mm_caps & MACHINE_YOUNG ? pte_clear(pte, _PAGE_ACCESSED) : pte, _PAGE_AROUND);
}

/* Entries, reverse map, machine and LRU for n pages from addr on. => pte lock held; pages mapped (the rest is undone but not
 * freed), or -errno */
static int install_anon_run(struct vm_fault *vmf, unsigned long pfn, unsigned long addr, unsigned n)
{
	struct vm_area_struct *vma = vmf->vma;
	struct mm_struct *mm = vma->vm_mm;
	struct page *page = pfn_to_page(pfn);
	pte_t *ptep = vmf->pte + ((long)(addr - vmf->address) >> PAGE_SHIFT);
	unsigned how;
	pte_t pte = mk_pte(vma, pfn, &how), around = mk_pte_around(pte);
	int done;

	for (unsigned i = 0; i < n; i++) {
		pte_t this = addr + i * PAGE_SIZE == vmf->address ? pte : around;

		page_add_new_anon_rmap(page + i, vma, addr + i * PAGE_SIZE);
		set_pte(ptep + i, (pte_t){ this.val + ((pteval_t)i << PAGE_SHIFT) });
	}
	trace(set_pte_at, addr, n, pfn);
	done = map_run(mm, addr, n, pfn, how | MACHINE_MAP_ZERO);
	for (unsigned i = done < 0 ? 0 : done; i < n; i++) {
		set_pte(ptep + i, (pte_t){ 0 });
		page_remove_rmap(page + i);
	}
	if (done > 0) {
		add_mm_counter(mm, MM_ANONPAGES, done);
		lru_cache_add_run(page, done, vma->vm_flags & VM_LOCKED);
		count(zeroed, done);
	}
	return done;
}

/* Fills the first of the `span` pages from the faulting one on that have no entry, as far as the frames go. Starts
 * with the faulting one, and ends at the first that can't be mapped. => pte lock held; 0, or -errno of the faulting
 * page. Frames that are left over are freed. */
static int fill_window(struct vm_fault *vmf, struct frames *f, unsigned span, int dir)
{
	unsigned piece = 0, filled = 0;
	int done = 0;

	for (unsigned i = 0, n; i < span && piece < f->pieces; i += n) {
		unsigned left = f->piece[piece].nr - f->used;
		unsigned long addr;

		for (n = 0; i + n < span && n < left && pte_none(ptep_get(vmf->pte + (int)(i + n) * dir)); n++)
			;
		if (!n) {
			n = 1;
			continue;
		}
		addr = vmf->address + (long)(dir > 0 ? (int)i : -(int)(i + n - 1)) * (long)PAGE_SIZE;
		done = install_anon_run(vmf, f->piece[piece].pfn + f->used, addr, n);
		filled += done > 0 ? done : 0;
		f->used += done > 0 ? done : 0;
		if (unlikely(done < (int)n))
			break;
		if (f->used == f->piece[piece].nr) {
			f->used = 0;
			piece++;
		}
	}
	if (unlikely(piece < f->pieces))
		free_frames(f, piece);
	if (unlikely(pte_none(ptep_get(vmf->pte))))
		return done < 0 ? done : -ENOENT;
	if (filled > 1)
		count(anon_around_pages, filled - 1);
	return 0;
}

vm_fault_t do_anonymous_window(struct vm_fault *vmf)
{
	struct frames frames;
	unsigned span, want;
	int dir, err;

	span = anon_window(vmf, &dir, &want);
	if (!alloc_zeroed_frames(vmf, want, &frames))
		return VM_FAULT_OOM;
	vmf_lock_pte(vmf);
	if (!pte_none(ptep_get(vmf->pte))) { /* another thread was faster */
		vmf_unlock_pte(vmf);
		free_frames(&frames, 0);
		return 0;
	}
	err = fill_window(vmf, &frames, span, dir);
	vmf_unlock_pte(vmf);
	return likely(!err) ? 0 : map_error(err);
}
