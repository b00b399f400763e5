/* SPDX-License-Identifier: MIT
 *
 * init.c - start, address spaces as a whole, fork, and the counters.
 */
#include "mm/fault/fault.h"
#include "mm/filemap.h"
#include "mm/workingset.h"

struct mm_stats mm_gauges;
struct mm_cpu mm_cpus[MACHINE_MAX_CPUS];
unsigned nr_cpus;
struct mm_struct *mmlist;
spinlock_t mmlist_lock;
struct kmem_cache mm_cache, vma_cache, anon_vma_cache, avc_cache, ptdesc_cache;
_Atomic(mm_trace_fn_t *) mm_trace_fn;

#define RLIMIT_STACK_DEFAULT (8UL << 20)

const char *mm_trace_name(enum mm_trace_event event)
{
	static const char *const name[] = {
#define X(event) #event,
		MM_TRACE_EVENTS(X)
#undef X
	};

	return event < NR_TRACE_EVENTS ? name[event] : "?";
}

void mm_trace_call(enum mm_trace_event event, unsigned long a, unsigned long b, unsigned long c)
{
	mm_trace_fn_t *fn = atomic_load_explicit(&mm_trace_fn, memory_order_relaxed);

	if (fn)
		fn(event, a, b, c);
}

static void reinit_cpu_locks(void)
{
	for_each_cpu(cpu)
		spin_lock_init(&mm_cpus[cpu].lock, ORDER_CPU);
}

/* All fields are counters of 64 bits; a gauge may be a negative number on one processor, which the sum makes good. */
#define NR_EVENTS (sizeof(struct mm_stats) / sizeof(uint64_t))

void fold_events(struct mm_stats *sum)
{
	uint64_t *to = (uint64_t *)sum;

	for (size_t i = 0; i < NR_EVENTS; i++) {
		uint64_t n = __atomic_load_n((uint64_t *)&mm_gauges + i, __ATOMIC_RELAXED);

		for_each_cpu(cpu)
			n += __atomic_load_n((uint64_t *)&mm_cpus[cpu].events + i, __ATOMIC_RELAXED);
		__atomic_store_n(to + i, n, __ATOMIC_RELAXED);
	}
}

/* Several threads may fold at the same time: each writes what is true at about this moment. */
const struct mm_stats *mm_stats(void)
{
	static struct mm_stats folded;

	__atomic_store_n(&mm_gauges.frames_used, note_frames(), __ATOMIC_RELAXED);
	fold_events(&folded);
	return &folded;
}

uint64_t mm_evicted(void)
{
	uint64_t n = __atomic_load_n(&mm_gauges.evicted, __ATOMIC_RELAXED);

	for_each_cpu(cpu)
		n += __atomic_load_n(&mm_cpus[cpu].events.evicted, __ATOMIC_RELAXED);
	return n;
}

unsigned long mm_min_flt(const struct mm_struct *mm)
{
	unsigned long n = 0;

	for_each_cpu(cpu)
		n += atomic_load_explicit(&((struct mm_struct *)mm)->percpu[cpu].min_flt, memory_order_relaxed);
	return n;
}

unsigned long mm_maj_flt(const struct mm_struct *mm)
{
	unsigned long n = 0;

	for_each_cpu(cpu)
		n += atomic_load_explicit(&((struct mm_struct *)mm)->percpu[cpu].maj_flt, memory_order_relaxed);
	return n;
}

static void init_cpus(void)
{
	memset(&mm_gauges, 0, sizeof(mm_gauges));
	nr_cpus = machine_cpus();
	MM_BUG_ON(!nr_cpus || nr_cpus > MACHINE_MAX_CPUS);
	memset(mm_cpus, 0, nr_cpus * sizeof(mm_cpus[0]));
	for_each_cpu(cpu)
		mm_cpus[cpu].on_the_way = PG_swapbacked | (cpu + 1) << PG_CPU_SHIFT;
	reinit_cpu_locks();
}

static bool good_window(unsigned n)
{
	return n >= 1 && n <= MAX_AROUND && !(n & (n - 1));
}

static void init_caches(void)
{
	kmem_cache_init(&mm_cache, sizeof(struct mm_struct) + nr_cpus * sizeof(struct mm_percpu), offsetof(struct mm_struct, next), false);
	kmem_cache_init(&vma_cache, sizeof(struct vm_area_struct), 0, false);
	kmem_cache_init(&anon_vma_cache, sizeof(struct anon_vma), offsetof(struct anon_vma, next_free), true);
	kmem_cache_init(&avc_cache, sizeof(struct anon_vma_chain), 0, false);
	kmem_cache_init(&ptdesc_cache, sizeof(struct ptdesc), 0, false);
}

/* By what stands behind "linux-" in its name. */
static const struct fault_path *find_generation(const char *kernel)
{
	static const struct fault_path *const generations[] = { &linux_5_path, &linux_2_6_path, &linux_2_0_path };

	for (size_t i = 0; kernel && i < sizeof(generations) / sizeof(generations[0]); i++) {
		const char *a = generations[i]->name + sizeof("linux-") - 1, *b = kernel;

		while (*a && *a == *b)
			a++, b++;
		if (*a == *b)
			return generations[i];
	}
	return kernel ? NULL : &linux_5_path;
}

int mm_init(const struct mm_params *params)
{
	unsigned anon_around = params->anon_around ? params->anon_around : 1;
	unsigned swapin_around = params->swapin_around ? params->swapin_around : 1;
	unsigned fault_around = params->fault_around ? params->fault_around : 16;
	int err;

	if (!good_window(anon_around) || !good_window(swapin_around) || !good_window(fault_around))
		return -EINVAL;
	init_cpus();
	mmlist = NULL;
	spin_lock_init(&mmlist_lock, ORDER_LEAF);
	init_caches();
	filemap_init();
	pgtable_init(params->geometry);
	mm_anon_around = anon_around;
	mm_swapin_around = swapin_around;
	mm_fault_around = fault_around;
	mm_check_every = params->check_every;
	mm_reuse_rule = params->rules & MM_REUSE_5_4 ? REUSE_5_4 : params->rules & MM_REUSE_6 ? REUSE_6 : REUSE_5_15;
	mm_rules = params->rules;
	fault_path = find_generation(params->kernel);
	if (!fault_path)
		return -EINVAL;
	workingset_init();
	err = page_alloc_init(params->nr_frames, params->frame_limit);
	if (err)
		return err;
	vmscan_init();
	err = swap_init(params);
	return err || !fault_path->init ? err : fault_path->init();
}

/* ---- address spaces -------------------------------------------------------------------------------------------------------- */

static void init_mm_locks(struct mm_struct *mm)
{
	atomic_store(&mm->mmap_lock.state, 0);
	for_each_cpu(cpu)
		atomic_store(&mm->percpu[cpu].readers, 0);
	spin_lock_init(&mm->page_table_lock, ORDER_PAGE_TABLE);
	stream_table_init(&mm->anon_streams);
	stream_table_init(&mm->swap_streams);
}

struct mm_struct *mm_alloc(void)
{
	struct mm_struct *mm = kmem_cache_alloc(&mm_cache);

	if (!mm)
		return NULL;
	if (!pgd_alloc(mm)) {
		kmem_cache_free(&mm_cache, mm);
		return NULL;
	}
	atomic_init(&mm->mm_users, 1);
	mm->rlimit_stack = RLIMIT_STACK_DEFAULT;
	mm->rlimit_as = mm->rlimit_memlock = ~0UL;
	for_each_cpu(cpu) {
		mm->percpu[cpu].cpu = &mm_cpus[cpu];
		atomic_init(&mm->percpu[cpu].vmacache, &vma_nowhere);
	}
	init_mm_locks(mm);
	spin_lock(&mmlist_lock);
	mm->prev = NULL;
	mm->next = mmlist;
	if (mmlist)
		mmlist->prev = mm;
	mmlist = mm;
	spin_unlock(&mmlist_lock);
	return mm;
}

void mm_set_stack_pointer(struct mm_struct *mm, unsigned long sp)
{
	atomic_store_explicit(&mm->stack_pointer, sp, memory_order_relaxed);
}

void mm_set_signal_pending(struct mm_struct *mm, bool pending)
{
	atomic_store_explicit(&mm->signal_pending, pending, memory_order_relaxed);
}

void mm_set_executable(struct mm_struct *mm, struct address_space *mapping)
{
	struct address_space *old = mm->executable;

	mmap_assert_write_locked(mm);
	if (mapping)
		atomic_fetch_add(&mapping->refs, 1);
	mm->executable = mapping;
	if (old)
		address_space_put(old);
}

void mmput(struct mm_struct *mm)
{
	if (atomic_fetch_sub(&mm->mm_users, 1) != 1)
		return;
	mmap_write_lock(mm);
	exit_mmap(mm);
	mm_set_executable(mm, NULL);
	mmap_write_unlock(mm);
	spin_lock(&mmlist_lock);
	if (mm->prev)
		mm->prev->next = mm->next;
	else
		mmlist = mm->next;
	if (mm->next)
		mm->next->prev = mm->prev;
	spin_unlock(&mmlist_lock);
	kmem_cache_free(&mm_cache, mm);
}

/* ---- fork ------------------------------------------------------------------------------------------------------------------ */

static int dup_vma(struct mm_struct *mm, struct vm_area_struct *pvma)
{
	bool wipe = pvma->vm_flags & VM_WIPEONFORK;
	struct vm_area_struct *vma = vma_alloc(mm, pvma->vm_start, pvma->vm_end, pvma->vm_flags & ~VM_LOCKED, pvma->vm_pgoff);

	if (!vma)
		return -ENOMEM;
	vma_copy_backing(vma, pvma);
	if (!wipe && (fault_path->anon_vma_fork ? fault_path->anon_vma_fork : anon_vma_fork)(vma, pvma)) {
		vma_free(vma);
		return -ENOMEM;
	}
	if (vma->vm_ops && vma->vm_ops->open)
		vma->vm_ops->open(vma);
	vma_link(mm, vma);
	if (wipe)
		return 0;
	return (fault_path->copy_page_range ? fault_path->copy_page_range : copy_page_range)(vma, pvma);
}

struct mm_struct *dup_mm(struct mm_struct *src)
{
	struct mm_struct *mm = mm_alloc();
	int err = 0;

	mmap_assert_write_locked(src);
	if (!mm)
		return NULL;
	mm->rlimit_stack = src->rlimit_stack;
	mm->rlimit_as = src->rlimit_as;
	mm->rlimit_memlock = src->rlimit_memlock;
	mm_set_stack_pointer(mm, atomic_load(&src->stack_pointer));
	/* Nobody knows mm yet, but whoever walks the list of all must not see it half made. */
	mmap_write_lock(mm);
	mm_set_executable(mm, src->executable);
	for (struct vm_area_struct *vma = vma_first(src); vma && !err; vma = vma_next(src, vma))
		if (!(vma->vm_flags & VM_DONTCOPY))
			err = dup_vma(mm, vma);
	if (!err && fault_path->dup_mm)
		err = fault_path->dup_mm(mm, src);
	mmap_write_unlock(mm);
	if (err) {
		mmput(mm);
		return NULL;
	}
	return mm;
}

/* Locks may have been held by threads that don't exist in this process. */
static void reinit_locks(struct mm_struct *mm)
{
	struct kmem_cache *caches[] = { &mm_cache, &vma_cache, &anon_vma_cache, &avc_cache, &ptdesc_cache };
	struct ptdesc *table;

	for (unsigned i = 0; i < sizeof(caches) / sizeof(caches[0]); i++)
		spin_lock_init(&caches[i]->lock, ORDER_LEAF);
	spin_lock_init(&mmlist_lock, ORDER_LEAF);
	reinit_cpu_locks();
	page_alloc_reinit_locks();
	swap_reinit_locks();
	vmscan_reinit_locks();
	init_mm_locks(mm);
	for (struct vm_area_struct *vma = vma_first(mm); vma; vma = vma_next(mm, vma))
		for (struct anon_vma_chain *avc = vma->anon_vma_chain; avc; avc = avc->next)
			spin_lock_init(&atomic_load(&avc->anon_vma->root)->lock, ORDER_ANON_VMA);
	for (unsigned long addr = 0; (table = pte_table_next(mm, &addr, TASK_SIZE)); addr = pmd_addr_end(addr, TASK_SIZE))
		spin_lock_init(&table->ptl, ORDER_PTE);
}

void mm_after_host_fork(struct mm_struct *mm)
{
	struct vm_area_struct *vma, *next;

	reinit_locks(mm);
	mmap_write_lock(mm);
	for (vma = vma_first(mm); vma; vma = next) {
		next = vma_next(mm, vma);
		if (vma->vm_flags & VM_DONTCOPY) {
			do_munmap(mm, vma->vm_start, vma->vm_end - vma->vm_start);
			continue;
		}
		if (vma->vm_flags & VM_WIPEONFORK)
			unmap_region(vma, vma->vm_start, vma->vm_end);
	}
	/* Neighbours may become one by this; the loop is over the range, not over the vmas. */
	vma_modify_flags(mm, 0, TASK_SIZE & PAGE_MASK, 0, VM_LOCKED);
	mmap_write_unlock(mm);
	for_each_cpu(cpu) {
		atomic_store(&mm->percpu[cpu].min_flt, 0);
		atomic_store(&mm->percpu[cpu].maj_flt, 0);
	}
}
