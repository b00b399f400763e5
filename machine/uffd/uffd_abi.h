/* SPDX-License-Identifier: MIT
 *
 * uffd_abi.h - the part of Linux's userfaultfd interface that minflt uses. Written out here because the headers of older
 * distributions (Debian 12: 6.1) lack UFFDIO_MOVE and UFFDIO_POISON. Numbers are the kernel's system-call ABI.
 */
#ifndef MF_UFFD_ABI_H
#define MF_UFFD_ABI_H

#include <stdint.h>

#define UFFD_IOC(dir, nr, size) (((unsigned long)(dir) << 30) | ((unsigned long)(size) << 16) | (0xAAUL << 8) | (nr))
#define UFFD_READ_WRITE 3u
#define UFFD_READ       2u

struct uffd_api { uint64_t api, features, ioctls; };
struct uffd_range { uint64_t start, len; };
struct uffd_register { struct uffd_range range; uint64_t mode, ioctls; };
struct uffd_copy { uint64_t dst, src, len, mode; int64_t copied; };
struct uffd_zeropage { struct uffd_range range; uint64_t mode; int64_t zeroed; };
struct uffd_writeprotect { struct uffd_range range; uint64_t mode; };
struct uffd_poison { struct uffd_range range; uint64_t mode; int64_t updated; };
struct uffd_move { uint64_t dst, src, len, mode; int64_t moved; };

/* Of /proc/self/pagemap (Linux 6.7): the ranges whose pages are of some kinds. */
struct page_region { uint64_t start, end, categories; };
struct pm_scan { uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, category_inverted, category_mask, category_anyof_mask, return_mask; };
#define PM_SCAN         0xC0606610UL
#define PM_IS_PRESENT   (1ULL << 3)
#define PM_IS_ZERO_PAGE (1ULL << 5)

#define UFFD_API_VERSION 0xAAULL

#define UFFD_API          UFFD_IOC(UFFD_READ_WRITE, 0x3F, sizeof(struct uffd_api))
#define UFFD_REGISTER     UFFD_IOC(UFFD_READ_WRITE, 0x00, sizeof(struct uffd_register))
#define UFFD_UNREGISTER   UFFD_IOC(UFFD_READ, 0x01, sizeof(struct uffd_range))
#define UFFD_WAKE         UFFD_IOC(UFFD_READ, 0x02, sizeof(struct uffd_range))
#define UFFD_COPY         UFFD_IOC(UFFD_READ_WRITE, 0x03, sizeof(struct uffd_copy))
#define UFFD_ZEROPAGE     UFFD_IOC(UFFD_READ_WRITE, 0x04, sizeof(struct uffd_zeropage))
#define UFFD_MOVE         UFFD_IOC(UFFD_READ_WRITE, 0x05, sizeof(struct uffd_move))
#define UFFD_WRITEPROTECT UFFD_IOC(UFFD_READ_WRITE, 0x06, sizeof(struct uffd_writeprotect))
#define UFFD_POISON       UFFD_IOC(UFFD_READ_WRITE, 0x08, sizeof(struct uffd_poison))
#define UFFD_DEV_NEW      0xAA00UL /* on /dev/userfaultfd */

#define UFFD_FEATURE_PAGEFAULT_WP (1ULL << 0)
#define UFFD_FEATURE_THREAD_ID    (1ULL << 8)
#define UFFD_FEATURE_POISON       (1ULL << 14)
#define UFFD_FEATURE_MOVE         (1ULL << 16)

#define UFFD_REGISTER_MISSING (1ULL << 0)
#define UFFD_REGISTER_WP      (1ULL << 1)

#define UFFD_DONTWAKE    (1ULL << 0) /* mode of COPY, ZEROPAGE, MOVE */
#define UFFD_COPY_WP     (1ULL << 1) /* mode of COPY */
#define UFFD_WP_PROTECT  (1ULL << 0) /* mode of WRITEPROTECT; 0 lifts it */
#define UFFD_WP_DONTWAKE (1ULL << 1)

#define UFFD_EVENT_PAGEFAULT 0x12
#define UFFD_PAGEFAULT_WRITE (1ULL << 0)
#define UFFD_PAGEFAULT_WP    (1ULL << 1)

struct uffd_msg {
	uint8_t event, reserved1;
	uint16_t reserved2;
	uint32_t reserved3;
	uint64_t flags;
	uint64_t address;
	uint32_t tid;
	uint32_t pad;
};
_Static_assert(sizeof(struct uffd_msg) == 32, "the kernel's messages have 32 bytes");

#endif
