/* SPDX-License-Identifier: MIT
 *
 * machine.c - the userfaultfd machine alone, without an engine: frames go in and out of real mappings of this process, with UFFDIO_MOVE and
 * without. The engine's questions (find_vma and friends) are answered by one mapping that the test describes.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "machine/uffd/uffd.h"
#include "machine/uffd/uffd_abi.h"
#include "mm/mm.h"

#define PAGE      4096UL
#define NR_FRAMES 1024UL
#define AREA      128UL /* pages under test */

/* ---- the engine's side, as far as the machine asks ---- */
struct vm_area_struct {
	unsigned long start, end, flags;
} the_vma;

struct vm_area_struct *find_vma(struct mm_struct *mm, unsigned long addr)
{
	return addr < the_vma.end ? &the_vma : NULL;
}

unsigned long vma_start(const struct vm_area_struct *vma)
{
	return vma->start;
}

unsigned long vma_end(const struct vm_area_struct *vma)
{
	return vma->end;
}

unsigned long vma_flags(const struct vm_area_struct *vma)
{
	return vma->flags;
}

static int uffd_fd;
static bool want_move;
static char *area;

static int setup(void **state)
{
	bool move = false;

	uffd_fd = uffd_open(0, -1, &move);
	if (uffd_fd < 0)
		uffd_fd = uffd_open(1, -1, &move);
	if (uffd_fd < 0 || (want_move && !move))
		return -1;
	memset(&uffd_stats, 0, sizeof(uffd_stats));
	assert_int_equal(uffd_machine_init(NR_FRAMES), 0);
	assert_int_equal(uffd_machine_attach(uffd_fd, want_move), 0);
	area = mmap(NULL, AREA * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	the_vma = (struct vm_area_struct){ (unsigned long)area, (unsigned long)area + AREA * PAGE, VM_READ | VM_WRITE };
	assert_int_equal(uffd_arm((unsigned long)area, AREA * PAGE), 0);
	return 0;
}

static int teardown(void **state)
{
	uffd_set_crowded(false);
	close(uffd_fd); /* missing pages read zero from here on; nothing is left armed */
	munmap(area, AREA * PAGE);
	return 0;
}

static bool resident(unsigned page)
{
	unsigned char vec;

	assert_int_equal(mincore(area + page * PAGE, PAGE, &vec), 0);
	return vec & 1;
}

static void in(unsigned page, unsigned nr, unsigned long pfn, unsigned how)
{
	assert_int_equal(machine_map(NULL, (unsigned long)area + page * PAGE, nr, pfn, how), nr);
}

/* => stuck | gone, which must not overlap */
static uint64_t out(unsigned page, unsigned nr, unsigned long pfn)
{
	uint64_t stuck, gone;

	machine_unmap(NULL, (unsigned long)area + page * PAGE, nr, pfn, &stuck, &gone);
	assert_int_equal(stuck & gone, 0);
	return stuck | gone;
}

static void release(unsigned page, unsigned nr, unsigned long pfn)
{
	const struct machine_range range = { (unsigned long)area + page * PAGE, pfn, nr };

	machine_release(NULL, &range, 1);
}

static void fill(unsigned page, unsigned nr, int value)
{
	for (unsigned i = 0; i < nr; i++)
		memset(area + (page + i) * PAGE, value + (int)i, PAGE);
}

static void assert_frames(unsigned long pfn, unsigned nr, int value)
{
	for (unsigned i = 0; i < nr; i++) {
		const unsigned char *p = machine_frame(pfn + i);

		for (unsigned k = 0; k < PAGE; k += 511)
			assert_int_equal(p[k], (unsigned char)(value + (int)i));
	}
}

static void test_zero_fill_then_out_and_in_again(void **state)
{
	in(0, 16, 64, MACHINE_MAP_WRITE | MACHINE_MAP_ZERO);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(area[i * PAGE + 5], 0);
	assert_int_equal(uffd_stats.real_pages, 16);
	fill(0, 16, 100);
	assert_int_equal(out(0, 16, 64), 0);
	assert_frames(64, 16, 100);
	assert_int_equal(machine_at_home(64), want_move);
	release(0, 16, 64);
	assert_false(resident(0));
	assert_false(resident(15));
	machine_frames_freed(64, 16);
	/* the same frames again, with new bytes, at other addresses */
	for (unsigned i = 0; i < 16; i++)
		memset(machine_frame(64 + i), 7 + (int)i, PAGE);
	in(32, 16, 64, MACHINE_MAP_WRITE);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(area[(32 + i) * PAGE + 4095], 7 + i);
	assert_int_equal(uffd_stats.real_pages, 16);
}

static void test_recycled_frames_read_zero(void **state)
{
	in(0, 4, 8, MACHINE_MAP_WRITE | MACHINE_MAP_ZERO);
	fill(0, 4, 0x55);
	assert_int_equal(out(0, 4, 8), 0);
	release(0, 4, 8);
	machine_frames_freed(8, 4);
	/* two of them recycled, two fresh ones */
	in(10, 2, 10, MACHINE_MAP_WRITE | MACHINE_MAP_ZERO);
	in(20, 4, 10 + 2, MACHINE_MAP_WRITE | MACHINE_MAP_ZERO);
	for (unsigned i = 0; i < PAGE; i++)
		assert_true(area[10 * PAGE + i] == 0 && area[11 * PAGE + i] == 0 && area[20 * PAGE + i] == 0);
}

static void test_put_back(void **state)
{
	in(3, 5, 40, MACHINE_MAP_WRITE | MACHINE_MAP_ZERO);
	fill(3, 5, 9);
	assert_int_equal(out(3, 5, 40), 0);
	in(3, 5, 40, MACHINE_MAP_WRITE);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(area[(3 + i) * PAGE + 77], 9 + i);
		area[(3 + i) * PAGE + 77] = 1; /* and it can be written */
	}
}

static void test_lost_pages_are_gone(void **state)
{
	in(0, 4, 0, MACHINE_MAP_WRITE | MACHINE_MAP_ZERO);
	fill(0, 4, 1);
	syscall(SYS_madvise, area + PAGE, PAGE, MADV_DONTNEED);
	assert_int_equal(out(0, 4, 0), 1 << 1);
	assert_frames(0, 1, 1);
	assert_frames(2, 2, 3);
}

/* What is one mapping to the engine can be several to the host. */
static void test_across_mappings_of_the_host(void **state)
{
	madvise(area + 3 * PAGE, PAGE, MADV_DONTDUMP);
	in(0, 16, 64, MACHINE_MAP_WRITE | MACHINE_MAP_ZERO);
	fill(0, 16, 100);
	assert_int_equal(out(0, 16, 64), 0);
	assert_frames(64, 16, 100);
	in(0, 16, 64, MACHINE_MAP_WRITE);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal((unsigned char)area[i * PAGE + 9], 100 + i);
}

static void test_discard(void **state)
{
	in(0, 8, 16, MACHINE_MAP_WRITE | MACHINE_MAP_ZERO);
	madvise(area, 8 * PAGE, MADV_DONTNEED);
	machine_discard(NULL, (unsigned long)area, 8, 16);
	machine_frames_freed(16, 8);
	assert_int_equal(uffd_stats.real_pages, 0);
	in(0, 8, 16, MACHINE_MAP_WRITE | MACHINE_MAP_ZERO);
	assert_int_equal(area[0], 0);
}

static void test_limit_gives_memory_back(void **state)
{
	in(0, 64, 0, MACHINE_MAP_WRITE | MACHINE_MAP_ZERO);
	uffd_set_real_limit(16);
	assert_int_equal(out(0, 64, 0), 0);
	release(0, 64, 0);
	machine_frames_freed(0, 64);
	assert_true(uffd_stats.real_pages <= 16);
}

static void test_read_only_mapping(void **state)
{
	in(0, 4, 4, MACHINE_MAP_WRITE | MACHINE_MAP_ZERO);
	fill(0, 4, 30);
	mprotect(area, AREA * PAGE, PROT_READ);
	the_vma.flags = VM_READ;
	assert_int_equal(out(0, 4, 4), 0);
	assert_frames(4, 4, 30);
	release(0, 4, 4);
	assert_false(resident(0));
	machine_frames_freed(4, 4);
	for (unsigned i = 0; i < 4; i++)
		memset(machine_frame(4 + i), 60 + (int)i, PAGE);
	in(0, 4, 4, 0);
	assert_int_equal(area[3 * PAGE], 63);
}

static void test_inaccessible_mapping(void **state)
{
	in(0, 4, 4, MACHINE_MAP_WRITE | MACHINE_MAP_ZERO);
	fill(0, 4, 30);
	mprotect(area, AREA * PAGE, PROT_NONE);
	the_vma.flags = 0;
	assert_int_equal(out(0, 4, 4), 0);
	assert_frames(4, 4, 30);
	release(0, 4, 4);
	assert_false(resident(0));
	machine_frames_freed(4, 4);
	for (unsigned i = 0; i < 4; i++)
		memset(machine_frame(4 + i), 60 + (int)i, PAGE);
	in(0, 4, 4, 0);
	mprotect(area, AREA * PAGE, PROT_READ);
	assert_int_equal(area[3 * PAGE], 63);
}

static void test_locked_mapping_stays_and_is_filled(void **state)
{
	in(0, 2, 4, MACHINE_MAP_WRITE | MACHINE_MAP_ZERO);
	fill(0, 2, 5);
	assert_int_equal(syscall(SYS_mlock2, area, AREA * PAGE, 1 /* MLOCK_ONFAULT */), 0);
	the_vma.flags |= VM_LOCKED;
	assert_int_equal(out(0, 2, 4), 3);
	assert_int_equal(area[PAGE], 6);
	memset(machine_frame(9), 77, PAGE);
	in(5, 1, 9, MACHINE_MAP_WRITE);
	assert_int_equal(area[5 * PAGE + 1], 77);
	/* a frame that was used before, and is at home */
	munlock(area, AREA * PAGE);
	the_vma.flags &= ~VM_LOCKED;
	assert_int_equal(out(5, 1, 9), 0);
	assert_int_equal(syscall(SYS_mlock2, area, AREA * PAGE, 1), 0);
	the_vma.flags |= VM_LOCKED;
	in(5, 1, 9, MACHINE_MAP_WRITE);
	assert_int_equal(area[5 * PAGE + 1], 77);
}

/* Pages that a child shares are made this process's own, and move. */
static void test_shared_since_a_fork(void **state)
{
	int status;
	pid_t pid;

	in(0, 16, 0, MACHINE_MAP_WRITE | MACHINE_MAP_ZERO);
	fill(0, 16, 20);
	pid = fork();
	if (!pid)
		_exit(area[15 * PAGE] == 35 ? 0 : 1);
	assert_int_equal(out(0, 16, 0), 0);
	assert_frames(0, 16, 20);
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
}

static int uring_with_buffer(void *buf, size_t len)
{
	struct io_uring_params p = { 0 };
	struct iovec iov = { buf, len };
	int fd = (int)syscall(SYS_io_uring_setup, 4, &p);

	if (fd >= 0 && syscall(SYS_io_uring_register, fd, IORING_REGISTER_BUFFERS, &iov, 1)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* A page that the kernel may write to at any time stays where it is. Only MOVE can tell. */
static void test_pinned_pages_stay(void **state)
{
	int ring;

	if (!want_move)
		return;
	in(0, 8, 0, MACHINE_MAP_WRITE | MACHINE_MAP_ZERO);
	fill(0, 8, 1);
	ring = uring_with_buffer(area + 2 * PAGE, 2 * PAGE);
	if (ring < 0) {
		print_message("io_uring is not available: skipped\n");
		skip();
	}
	assert_int_equal(out(0, 8, 0), 3 << 2);
	assert_int_equal(area[3 * PAGE], 4);
	assert_frames(4, 4, 5);
	close(ring);
}

/* While a page is on its way out without MOVE, a store waits. */
static void *storer(void *p)
{
	*(volatile char *)p = 99;
	return NULL;
}

static void test_frozen_pages_refuse_stores(void **state)
{
	pthread_t thread;
	struct uffd_msg msg;

	if (want_move)
		return;
	in(0, 1, 0, MACHINE_MAP_WRITE | MACHINE_MAP_ZERO);
	fill(0, 1, 50);
	assert_int_equal(out(0, 1, 0), 0);
	pthread_create(&thread, NULL, storer, area);
	assert_int_equal(read(uffd_fd, &msg, sizeof(msg)), sizeof(msg));
	assert_true(msg.flags & UFFD_PAGEFAULT_WP);
	assert_frames(0, 1, 50);
	assert_false(machine_at_home(0));
	assert_int_equal(((unsigned char *)machine_frame(0))[0], 50);
	in(0, 1, 0, MACHINE_MAP_WRITE); /* put back */
	uffd_wake((unsigned long)area);
	pthread_join(thread, NULL);
	assert_int_equal(area[0], 99);
}

/* While several processors run the program: what comes from the backend is watched for stores, and what nobody has stored to leaves where it stands. */
static void watched_in(unsigned page, unsigned nr, unsigned long pfn)
{
	uffd_set_crowded(true);
	for (unsigned i = 0; i < nr; i++)
		memset(machine_frame(pfn + i), 20 + (int)i, PAGE);
	in(page, nr, pfn, MACHINE_MAP_WRITE | MACHINE_MAP_LOOK);
}

static void test_unwritten_pages_are_dropped_together(void **state)
{
	const struct machine_range ranges[] = { { (unsigned long)area, 32, 3 }, { (unsigned long)area + 5 * PAGE, 37, 2 } };

	watched_in(0, 8, 32);
	assert_int_equal(area[7 * PAGE], 27);
	assert_int_equal(out(0, 3, 32), 0);
	assert_int_equal(out(5, 2, 37), 0);
	assert_int_equal(machine_unwritten(32, 3), 7);
	assert_int_equal(machine_unwritten(37, 2), 3);
	assert_frames(37, 2, 25);
	assert_false(machine_at_home(37)); /* its bytes are where the program has them */
	assert_int_equal(uffd_stats.real_pages, 8);
	machine_release(NULL, ranges, 2);
	assert_false(resident(2) || resident(5) || resident(6));
	assert_true(resident(3) && resident(4) && resident(7));
	assert_int_equal(uffd_stats.real_pages, 3);
	machine_frames_freed(32, 3);
	machine_frames_freed(37, 2);
}

static void test_unwritten_page_lost_behind_our_back_is_gone(void **state)
{
	watched_in(0, 3, 32);
	syscall(SYS_madvise, area + PAGE, PAGE, MADV_DONTNEED);
	assert_int_equal(out(0, 3, 32), 1 << 1);
	assert_int_equal(machine_unwritten(32, 1), 1);
}

/* Whoever has done it once may do it while a page is read on its way out, and that read would be a fault of the handler's own: it has the bytes elsewhere. */
static void test_after_a_loss_nothing_is_read_in_place(void **state)
{
	watched_in(0, 4, 32);
	assert_int_equal(out(0, 1, 32), 0);
	assert_true(machine_in_place(32));
	release(0, 1, 32);
	syscall(SYS_madvise, area + PAGE, PAGE, MADV_DONTNEED);
	assert_int_equal(out(1, 1, 33), 1);
	assert_int_equal(out(2, 2, 34), 0);
	assert_int_equal(machine_unwritten(34, 2), 3);
	assert_false(machine_in_place(34));
	syscall(SYS_madvise, area + 2 * PAGE, 2 * PAGE, MADV_DONTNEED);
	assert_int_equal(((unsigned char *)machine_frame(34))[0], 22);
	assert_int_equal(((unsigned char *)machine_frame(35))[PAGE - 1], 23);
	release(2, 2, 34);
}

static void test_store_to_a_watched_page_is_seen(void **state)
{
	pthread_t thread;
	struct uffd_msg msg;

	watched_in(0, 4, 32);
	pthread_create(&thread, NULL, storer, area + PAGE);
	assert_int_equal(read(uffd_fd, &msg, sizeof(msg)), sizeof(msg));
	assert_true(msg.flags & UFFD_PAGEFAULT_WP);
	machine_stored(NULL, (unsigned long)area + PAGE, 33);
	uffd_wake((unsigned long)area + PAGE);
	pthread_join(thread, NULL);
	assert_int_equal(out(0, 4, 32), 0);
	assert_int_equal(machine_unwritten(32, 4) & 2, 0);
	if (want_move)
		assert_int_equal(machine_unwritten(32, 4), 1 | 4 | 8);
	assert_int_equal(((unsigned char *)machine_frame(33))[0], 99);
	assert_int_equal(((unsigned char *)machine_frame(34))[0], 22);
}

/* It stands there again as before: a store is seen. */
static void test_unwritten_page_put_back_is_watched(void **state)
{
	pthread_t thread;
	struct uffd_msg msg;

	watched_in(0, 1, 32);
	assert_int_equal(out(0, 1, 32), 0);
	in(0, 1, 32, MACHINE_MAP_WRITE);
	pthread_create(&thread, NULL, storer, area);
	assert_int_equal(read(uffd_fd, &msg, sizeof(msg)), sizeof(msg));
	machine_stored(NULL, (unsigned long)area, 32);
	uffd_wake((unsigned long)area);
	pthread_join(thread, NULL);
	assert_int_equal(out(0, 1, 32), 0);
	assert_int_equal(machine_unwritten(32, 1), 0);
	assert_int_equal(((unsigned char *)machine_frame(32))[0], 99);
}

/* The mode may change while pages stand that came by the other one. */
static void test_modes_change_at_any_time(void **state)
{
	in(0, 4, 0, MACHINE_MAP_WRITE | MACHINE_MAP_ZERO);
	fill(0, 4, 1);
	watched_in(8, 4, 32);
	assert_int_equal(out(0, 4, 0), 0);
	assert_frames(0, 4, 1);
	assert_int_equal(machine_unwritten(0, 4), 0);
	uffd_set_crowded(false);
	assert_int_equal(out(8, 4, 32), 0);
	assert_frames(32, 4, 20);
	release(8, 4, 32);
	assert_false(resident(8) || resident(11));
	in(0, 4, 0, MACHINE_MAP_WRITE);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(area[i * PAGE + 1], 1 + i);
}

/* Who pins a page for I/O that writes to it makes a fault first. */
static void *pinner(void *ring)
{
	*(int *)ring = uring_with_buffer(area, PAGE);
	return NULL;
}

static void test_watched_page_that_is_pinned_stays(void **state)
{
	int ring = uring_with_buffer(&ring, sizeof(ring));
	pthread_t thread;
	struct uffd_msg msg;

	if (ring < 0) {
		print_message("io_uring is not available: skipped\n");
		skip();
	}
	close(ring);
	if (!want_move)
		return;
	watched_in(0, 1, 32);
	pthread_create(&thread, NULL, pinner, &ring);
	assert_int_equal(read(uffd_fd, &msg, sizeof(msg)), sizeof(msg));
	assert_true(msg.flags & UFFD_PAGEFAULT_WP);
	machine_stored(NULL, (unsigned long)area, 32);
	uffd_wake((unsigned long)area);
	pthread_join(thread, NULL);
	assert_true(ring >= 0);
	assert_int_equal(out(0, 1, 32), 1);
	close(ring);
}

static void test_poison(void **state)
{
	int status;
	pid_t pid;

	if (uffd_poison((unsigned long)area + 7 * PAGE)) {
		print_message("no UFFDIO_POISON in this kernel: skipped\n");
		skip();
	}
	pid = fork();
	if (!pid) {
		signal(SIGBUS, SIG_DFL);
		(void)*(volatile char *)(area + 7 * PAGE);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}

static void test_metadata_memory(void **state)
{
	char *a = machine_alloc(100), *b = machine_alloc(4096), *c = machine_alloc(3 * PAGE);

	assert_true(((uintptr_t)a & 63) == 0 && ((uintptr_t)b & 4095) == 0 && ((uintptr_t)c & 4095) == 0);
	memset(a, 1, 100);
	memset(b, 1, PAGE);
	memset(c, 1, 3 * PAGE);
	machine_free(a, 100);
	machine_free(b, PAGE);
	machine_free(c, 3 * PAGE);
	a = machine_alloc(128);
	b = machine_alloc(PAGE);
	c = machine_alloc(3 * PAGE);
	for (unsigned i = 0; i < 3 * PAGE; i++)
		assert_true(c[i] == 0 && (i >= PAGE || b[i] == 0) && (i >= 128 || a[i] == 0));
	assert_null(machine_alloc(0));
	assert_null(machine_alloc(~0UL));
	assert_null(machine_alloc(1UL << 50));
}

/* Small requests between pages are cut from pages: none of these is left half used where the next page begins. */
static void test_small_metadata_between_pages(void **state)
{
	size_t before;

	machine_alloc(64);
	before = uffd_meta_bytes(false);
	for (unsigned i = 0; i < 64; i++) {
		char *small = machine_alloc(512), *page = machine_alloc(PAGE);

		memset(small, 1, 512);
		assert_int_equal(page[0] | page[PAGE - 1], 0);
		memset(page, 2, PAGE);
		assert_int_equal(small[0] & small[511], 1);
	}
	assert_in_range(uffd_meta_bytes(true) - before, 72 * PAGE - PAGE, 72 * PAGE + PAGE);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(test_zero_fill_then_out_and_in_again), T(test_recycled_frames_read_zero), T(test_put_back),
		T(test_lost_pages_are_gone), T(test_across_mappings_of_the_host), T(test_discard), T(test_limit_gives_memory_back), T(test_read_only_mapping),
		T(test_inaccessible_mapping), T(test_locked_mapping_stays_and_is_filled), T(test_shared_since_a_fork),
		T(test_pinned_pages_stay), T(test_frozen_pages_refuse_stores), T(test_unwritten_pages_are_dropped_together),
		T(test_unwritten_page_lost_behind_our_back_is_gone), T(test_after_a_loss_nothing_is_read_in_place), T(test_store_to_a_watched_page_is_seen),
		T(test_unwritten_page_put_back_is_watched), T(test_modes_change_at_any_time), T(test_watched_page_that_is_pinned_stays), T(test_poison), T(test_metadata_memory), T(test_small_metadata_between_pages),
	};
	bool move = false;
	int fd = uffd_open(0, -1, &move);

	if (fd < 0)
		fd = uffd_open(1, -1, &move);
	want_move = argc < 2 || strcmp(argv[1], "--no-move") != 0;
	if (fd < 0) {
		printf("skipped: userfaultfd is not permitted or not there (error %d)\n", -fd);
		return 77;
	}
	close(fd);
	if (want_move && !move) {
		printf("skipped: this kernel has no UFFDIO_MOVE\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
