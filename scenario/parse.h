/* SPDX-License-Identifier: MIT
 *
 * parse.h - the scenario language: text in, statements out. The language itself is described in minflt-scenario(5).
 *
 * The parser knows grammar and names, not machines: what a statement does, and whether a machine can do it, is up to
 * run.h. It needs libc alone, keeps no state between calls, and takes any bytes.
 */
#ifndef MF_SCENARIO_PARSE_H
#define MF_SCENARIO_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCN_PAGE     4096
#define SCN_MAX_TEXT (16u << 20) /* a longer file is refused: it is no scenario */

enum scn_verb {
	SCN_FILE,
	SCN_WARM,
	SCN_COLD,
	SCN_TRUNCATE,
	SCN_MMAP,
	SCN_MUNMAP,
	SCN_MPROTECT,
	SCN_MREMAP,
	SCN_MADVISE,
	SCN_MSYNC,
	SCN_MLOCK,
	SCN_MUNLOCK,
	SCN_REMAP_FILE_PAGES,
	SCN_BRK,
	SCN_PREAD,
	SCN_PWRITE,
	SCN_MINCORE,
	SCN_SWEEP,
	SCN_READ,
	SCN_WRITE,
	SCN_FORK,
	SCN_EXIT,
	SCN_RECLAIM,
	SCN_MARK,
	SCN_EXPECT,
};

/* For whom a statement counts: sets of these. 2.0, 2.6 and 5 are the engine's generations on the software machine;
 * `host` is the kernel of this machine; `uffd` is the engine under a real program, through userfaultfd. */
enum scn_kernel {
	SCN_2_0 = 1 << 0, SCN_2_6 = 1 << 1, SCN_5 = 1 << 2, SCN_HOST = 1 << 3, SCN_UFFD = 1 << 4,
	SCN_ALL_KERNELS = (1 << 5) - 1,
};

enum scn_prot { SCN_R = 1, SCN_W = 2, SCN_X = 4 };

enum scn_map_flag {
	SCN_SHARED = 1 << 0, SCN_GROWSDOWN = 1 << 1, SCN_POPULATE = 1 << 2, SCN_NORESERVE = 1 << 3,
	SCN_MAYMOVE = 1 << 4,
	SCN_AT = 1 << 5, /* `at` holds an address */
};

enum scn_advice {
	SCN_NORMAL, SCN_RANDOM, SCN_SEQUENTIAL, SCN_WILLNEED, SCN_DONTNEED, SCN_FREE, SCN_PAGEOUT, SCN_COLD_PAGES,
	SCN_POPULATE_READ, SCN_POPULATE_WRITE, SCN_DONTFORK, SCN_DOFORK, SCN_WIPEONFORK, SCN_KEEPONFORK,
	SCN_HUGEPAGE, SCN_NOHUGEPAGE,
};

enum scn_expect {
	SCN_EXPECT_BYTE,
	SCN_EXPECT_MINFLT,
	SCN_EXPECT_MAJFLT,
	SCN_EXPECT_RSS,
	SCN_EXPECT_SIGNAL,
	SCN_EXPECT_OK,
	SCN_EXPECT_ERROR,
	SCN_EXPECT_RESIDENT,
};

enum scn_signal { SCN_NO_SIGNAL, SCN_SEGV_MAPERR, SCN_SEGV_ACCERR, SCN_BUS_ADRERR, SCN_OOM, SCN_OTHER_SIGNAL };

struct scn_stmt {
	enum scn_verb verb;
	unsigned line;                   /* from 1 */
	unsigned only;                   /* set of scn_kernel for which it counts */
	/* Names belong to the scn; equal ones are the same pointer. Never NULL. */
	const char *process;             /* in which it runs */
	const char *name;                /* area, file or process that it speaks of, or "" */
	const char *file;                /* mmap: the file behind it, "" for anonymous memory; pread, pwrite: the file */
	int64_t off; /* offset in the area (may be negative); brk: the delta; mmap: offset in the file */
	int64_t len; /* bytes; mremap: the old length; reclaim, expect minflt/majflt/rss/resident: the number */
	int64_t new_len;                 /* mremap: the new length; remap_file_pages: the page offset; pread, pwrite: the offset in the file */
	uint64_t at;                     /* with SCN_AT */
	unsigned prot, flags;            /* sets of scn_prot, scn_map_flag */
	unsigned char value;             /* write, expect byte */
	enum scn_advice advice;
	enum scn_expect expect;
	enum scn_signal signal;
	int error;                       /* expect error: the errno value */
	const char *text; /* the statement as written, NUL-terminated, without comment and surrounding blanks */
};

struct scn {
	struct scn_stmt *stmts;
	size_t nr;
	unsigned kernels; /* set of scn_kernel that it is for */
	char *text; /* owned; stmts[].text point into it */
	void *names; /* owned; those of the statements */
};

struct scn_error {
	unsigned line, column; /* from 1 */
	char message[200];     /* "expected ..., not '...'" */
};

/* => 0: *out is to be released by scn_free(); -EINVAL: *err says what was expected where; -ENOMEM; -EFBIG (*err says so
 * too).
 * => on failure *out holds nothing. `text` need not be NUL-terminated and is not kept. */
int scn_parse(const char *text, size_t len, struct scn *out, struct scn_error *err);
void scn_free(struct scn *scn);

/* Names, for messages. NULL when there is none. */
const char *scn_kernel_name(enum scn_kernel kernel);
const char *scn_signal_name(enum scn_signal signal);
const char *scn_errno_name(int error);

#endif
