/* SPDX-License-Identifier: MIT
 *
 * parse.c - one pass, line by line, word by word.
 *
 * A verb is a row of `verbs`: its word and the codes of its operands, each of which is one case of operand(). Names
 * have to be introduced before they are used, whatever process introduced them.
 */
#include "scenario/parse.h"

#include <errno.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZEOF_ARRAY(a) (sizeof(a) / sizeof((a)[0]))

/* Operand codes:  F file, to be made   f file    A area, to be made   a area    P process, to be made   p process
 *                 o offset   l length (len)   ? length, may be left out   L length (new_len)   n count   v byte value
 *                 r protection   s sharing   b backing   m options of mmap   M options of mremap   d advice
 *                 e what is expected   x file that is read or written   O offset in it, may be left out */
static const struct verb {
	const char *word;
	enum scn_verb verb;
	const char *operands;
} verbs[] = {
	{ "file", SCN_FILE, "Fl" },
	{ "warm", SCN_WARM, "f" },
	{ "cold", SCN_COLD, "f" },
	{ "truncate", SCN_TRUNCATE, "fl" },
	{ "mmap", SCN_MMAP, "Alrsbm" },
	{ "munmap", SCN_MUNMAP, "aol" },
	{ "mprotect", SCN_MPROTECT, "aolr" },
	{ "mremap", SCN_MREMAP, "aolLM" },
	{ "madvise", SCN_MADVISE, "aold" },
	{ "msync", SCN_MSYNC, "aol" },
	{ "mlock", SCN_MLOCK, "aol" },
	{ "munlock", SCN_MUNLOCK, "aol" },
	{ "remap_file_pages", SCN_REMAP_FILE_PAGES, "aolL" },
	{ "brk", SCN_BRK, "Do" },
	{ "pread", SCN_PREAD, "aolxO" },
	{ "pwrite", SCN_PWRITE, "aolxO" },
	{ "mincore", SCN_MINCORE, "aol" },
	{ "read", SCN_READ, "ao?" },
	{ "write", SCN_WRITE, "ao?v" },
	{ "sweep", SCN_SWEEP, "aol" },
	{ "fork", SCN_FORK, "P" },
	{ "exit", SCN_EXIT, "p" },
	{ "reclaim", SCN_RECLAIM, "n" },
	{ "mark", SCN_MARK, "" },
	{ "expect", SCN_EXPECT, "e" },
};

struct name_value {
	const char *word;
	unsigned value;
};

static const struct name_value kernels[] = {
	{ "2.0", SCN_2_0 }, { "2.6", SCN_2_6 }, { "5", SCN_5 }, { "host", SCN_HOST }, { "uffd", SCN_UFFD },
};

static const struct name_value advices[] = {
	{ "normal", SCN_NORMAL },
	{ "random", SCN_RANDOM },
	{ "sequential", SCN_SEQUENTIAL },
	{ "willneed", SCN_WILLNEED },
	{ "dontneed", SCN_DONTNEED },
	{ "free", SCN_FREE },
	{ "pageout", SCN_PAGEOUT },
	{ "cold", SCN_COLD_PAGES },
	{ "populate_read", SCN_POPULATE_READ },
	{ "populate_write", SCN_POPULATE_WRITE },
	{ "dontfork", SCN_DONTFORK },
	{ "dofork", SCN_DOFORK },
	{ "wipeonfork", SCN_WIPEONFORK },
	{ "keeponfork", SCN_KEEPONFORK },
	{ "hugepage", SCN_HUGEPAGE },
	{ "nohugepage", SCN_NOHUGEPAGE },
};

static const struct name_value map_options[] = {
	{ "growsdown", SCN_GROWSDOWN }, { "populate", SCN_POPULATE }, { "noreserve", SCN_NORESERVE },
};

static const struct name_value expectations[] = {
	{ "byte", SCN_EXPECT_BYTE },   { "minflt", SCN_EXPECT_MINFLT }, { "majflt", SCN_EXPECT_MAJFLT },
	{ "rss", SCN_EXPECT_RSS },     { "signal", SCN_EXPECT_SIGNAL }, { "ok", SCN_EXPECT_OK },
	{ "error", SCN_EXPECT_ERROR },   { "resident", SCN_EXPECT_RESIDENT },
};

static const struct name_value errors[] = {
	{ "EPERM", EPERM },         { "ENOENT", ENOENT },         { "EINTR", EINTR },   { "EIO", EIO },
	{ "EBADF", EBADF },         { "EAGAIN", EAGAIN },         { "ENOMEM", ENOMEM }, { "EACCES", EACCES },
	{ "EFAULT", EFAULT },       { "EBUSY", EBUSY },           { "EEXIST", EEXIST }, { "ENODEV", ENODEV },
	{ "EINVAL", EINVAL },       { "EFBIG", EFBIG },           { "ENOSPC", ENOSPC }, { "ENOSYS", ENOSYS },
	{ "EOVERFLOW", EOVERFLOW }, { "EOPNOTSUPP", EOPNOTSUPP },
};

enum kind { A_FILE = 1 << 0, AN_AREA = 1 << 1, A_PROCESS = 1 << 2 };

/* A name that has been introduced, in the tree at scn.names. */
struct name {
	unsigned kinds; /* set of enum kind: as what */
	size_t len;
	const char *s;  /* `text`; in a key for the search, the word itself */
	char text[];
};

struct parser {
	const char *line;      /* begin of the line, for columns */
	const char *pos, *end; /* what is left of it; the comment is cut off */
	unsigned line_nr;
	unsigned only;         /* from an `only` before; 0: none */
	unsigned only_line;
	unsigned kernels;      /* from `for` */
	void **names;          /* scn.names */
	struct scn_error *err;
	bool no_memory;
};

struct word {
	const char *s;
	size_t len;
};

/* ---- errors ------------------------------------------------------------------------------------------------------ */

/* => false, so that callers can return it */
static bool wrong(struct parser *p, struct word w, const char *expected)
{
	char shown[4 * 24 + 4];
	size_t n = 0;

	for (size_t i = 0; i < w.len && i < 24; i++) {
		unsigned char c = (unsigned char)w.s[i];

		if (c >= ' ' && c < 127 && c != '\\')
			shown[n++] = (char)c;
		else
			n += (size_t)snprintf(shown + n, 5, "\\x%02x", c);
	}
	snprintf(shown + n, 4, "%s", w.len > 24 ? "..." : "");
	p->err->line = p->line_nr;
	p->err->column = (unsigned)(w.s - p->line) + 1;
	if (w.len)
		snprintf(p->err->message, sizeof(p->err->message), "expected %s, not '%s'", expected, shown);
	else
		snprintf(p->err->message, sizeof(p->err->message), "expected %s, not the end of the line", expected);
	return false;
}

/* "expected one of a, b, c" */
static bool wrong_choice(struct parser *p, struct word w, const char *what, const struct name_value *of, size_t nr)
{
	char text[160];
	size_t n = (size_t)snprintf(text, sizeof(text), "%s", what);

	for (size_t i = 0; i < nr && n < sizeof(text); i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s", i ? " " : " (", of[i].word);
	if (n < sizeof(text))
		snprintf(text + n, sizeof(text) - n, ")");
	return wrong(p, w, text);
}

/* ---- words ------------------------------------------------------------------------------------------------------- */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* The next word without taking it; len 0 at the end of the line. */
static struct word peek_word(const struct parser *p)
{
	const char *s = p->pos, *e;

	while (s < p->end && is_blank(*s))
		s++;
	for (e = s; e < p->end && !is_blank(*e); e++)
		;
	return (struct word){ s, (size_t)(e - s) };
}

static struct word take_word(struct parser *p)
{
	struct word w = peek_word(p);

	p->pos = w.s + w.len;
	return w;
}

static bool is_word(struct word w, const char *s)
{
	return w.len == strlen(s) && !memcmp(w.s, s, w.len);
}

static bool find_choice(struct word w, const struct name_value *of, size_t nr, unsigned *value)
{
	for (size_t i = 0; i < nr; i++) {
		if (is_word(w, of[i].word)) {
			*value = of[i].value;
			return true;
		}
	}
	return false;
}

static bool is_name(struct word w)
{
	if (!w.len || (w.s[0] >= '0' && w.s[0] <= '9'))
		return false;
	for (size_t i = 0; i < w.len; i++) {
		char c = w.s[i];

		if (!(c == '_' || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')))
			return false;
	}
	return true;
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return 99;
}

/* Decimal or 0x hex, then K, M, G or P. Below 2^62, so that sums of two can't overflow. => false: *out is INT64_MAX if it is too large */
static bool to_number(struct word w, bool may_be_negative, int64_t *out)
{
	uint64_t v = 0, unit = 1;
	bool negative = may_be_negative && w.len && w.s[0] == '-';
	size_t i = negative ? 1 : 0, digits = 0;
	int base = 10;

	*out = 0;
	if (w.len > i + 2 && w.s[i] == '0' && w.s[i + 1] == 'x') {
		base = 16;
		i += 2;
	}
	for (; i < w.len && digit(w.s[i]) < base; i++, digits++) {
		v = v * (uint64_t)base + (uint64_t)digit(w.s[i]);
		if (v >= 1ULL << 62) {
			*out = INT64_MAX;
			return false;
		}
	}
	if (i + 1 == w.len) {
		char c = w.s[i++];

		unit = c == 'K' ? 1 << 10 : c == 'M' ? 1 << 20 : c == 'G' ? 1 << 30 : c == 'P' ? SCN_PAGE : 0;
	}
	if (!digits || i != w.len || !unit)
		return false;
	if (v > ((1ULL << 62) - 1) / unit) {
		*out = INT64_MAX;
		return false;
	}
	v *= unit;
	*out = negative ? -(int64_t)v : (int64_t)v;
	return true;
}

/* ---- names ------------------------------------------------------------------------------------------------------- */

static int compare_names(const void *a, const void *b)
{
	const struct name *x = a, *y = b;

	return x->len != y->len ? (x->len < y->len ? -1 : 1) : memcmp(x->s, y->s, x->len);
}

static struct name *find_name(const struct parser *p, struct word w)
{
	const struct name key = { .len = w.len, .s = w.s };
	struct name *const *found = tfind(&key, p->names, compare_names);

	return found ? *found : NULL;
}

static bool known(const struct parser *p, enum kind kind, struct word w)
{
	const struct name *n = find_name(p, w);

	return n && n->kinds & kind;
}

static bool introduce(struct parser *p, enum kind kind, struct word w, const char **to)
{
	struct name *n = find_name(p, w);

	if (!n) {
		n = malloc(sizeof(*n) + w.len + 1);
		if (n) {
			*n = (struct name){ .len = w.len, .s = n->text };
			memcpy(n->text, w.s, w.len);
			n->text[w.len] = 0;
		}
		if (!n || !tsearch(n, p->names, compare_names)) {
			free(n);
			p->no_memory = true;
			return false;
		}
	}
	n->kinds |= kind;
	*to = n->text;
	return true;
}

static bool new_name(struct parser *p, enum kind kind, const char *what, const char **to)
{
	struct word w = take_word(p);

	return is_name(w) ? introduce(p, kind, w, to) : wrong(p, w, what);
}

static bool old_name(struct parser *p, enum kind kind, const char *what, const char **to)
{
	struct word w = take_word(p);

	if (!known(p, kind, w))
		return wrong(p, w, what);
	*to = find_name(p, w)->text;
	return true;
}

/* ---- operands ---------------------------------------------------------------------------------------------------- */

static bool number(struct parser *p, const char *what, bool may_be_negative, int64_t *out)
{
	struct word w = take_word(p);
	char below[60];

	if (to_number(w, may_be_negative, out))
		return true;
	snprintf(below, sizeof(below), "%s below 2^62", what);
	return wrong(p, w, *out ? below : what);
}

static bool byte_value(struct parser *p, unsigned char *out)
{
	struct word w = take_word(p);
	int64_t v;

	if (!to_number(w, false, &v) || v > 255)
		return wrong(p, w, "a byte (0 to 255)");
	*out = (unsigned char)v;
	return true;
}

static bool protection(struct parser *p, unsigned *prot)
{
	struct word w = take_word(p);

	*prot = 0;
	if (is_word(w, "none"))
		return true;
	for (size_t i = 0; i < w.len; i++) {
		unsigned bit = w.s[i] == 'r' ? SCN_R : w.s[i] == 'w' ? SCN_W : w.s[i] == 'x' ? SCN_X : 0;

		if (!bit || *prot & bit)
			return wrong(p, w, "a protection (letters of rwx, or none)");
		*prot |= bit;
	}
	return w.len || wrong(p, w, "a protection (letters of rwx, or none)");
}

static bool sharing(struct parser *p, unsigned *flags)
{
	struct word w = take_word(p);

	if (is_word(w, "shared"))
		*flags |= SCN_SHARED;
	else if (!is_word(w, "private"))
		return wrong(p, w, "private or shared");
	return true;
}

static bool backing(struct parser *p, struct scn_stmt *s)
{
	struct word w = peek_word(p);

	if (is_word(w, "anon") && !known(p, A_FILE, w)) {
		take_word(p);
		return true;
	}
	if (!old_name(p, A_FILE, "anon or the name of a file made before", &s->file))
		return false;
	w = peek_word(p);
	if (w.len && w.s[0] >= '0' && w.s[0] <= '9')
		return number(p, "an offset in the file", false, &s->off);
	return true;
}

static bool address(struct parser *p, struct scn_stmt *s)
{
	int64_t at;

	if (!number(p, "an address", false, &at))
		return false;
	s->at = (uint64_t)at;
	s->flags |= SCN_AT;
	return true;
}

static bool mmap_options(struct parser *p, struct scn_stmt *s)
{
	while (peek_word(p).len) {
		struct word w = take_word(p);
		unsigned bit;

		if (is_word(w, "at") && !(s->flags & SCN_AT)) {
			if (!address(p, s))
				return false;
		} else if (find_choice(w, map_options, SIZEOF_ARRAY(map_options), &bit) && !(s->flags & bit)) {
			s->flags |= bit;
		} else {
			return wrong(p, w,
				     "at ADDR, growsdown, populate, noreserve (each once) or the end of the line");
		}
	}
	return true;
}

static bool mremap_options(struct parser *p, struct scn_stmt *s)
{
	while (peek_word(p).len) {
		struct word w = take_word(p);

		if (is_word(w, "maymove") && !(s->flags & SCN_MAYMOVE))
			s->flags |= SCN_MAYMOVE;
		else if (!is_word(w, "at") || s->flags & SCN_AT)
			return wrong(p, w, "maymove, at ADDR (each once) or the end of the line");
		else if (!address(p, s))
			return false;
	}
	return true;
}

static bool optional_length(struct parser *p, struct scn_stmt *s, bool value_follows)
{
	struct parser ahead = *p;

	s->len = 1;
	take_word(&ahead);
	if (!peek_word(value_follows ? &ahead : p).len)
		return true;
	return number(p, "a length", false, &s->len);
}

static bool expected_signal(struct parser *p, struct scn_stmt *s)
{
	struct word name = take_word(p), code;

	if (!is_word(name, "SIGSEGV") && !is_word(name, "SIGBUS"))
		return wrong(p, name, "SIGSEGV or SIGBUS");
	code = take_word(p);
	if (is_word(name, "SIGBUS")) {
		s->signal = SCN_BUS_ADRERR;
		return is_word(code, "ADRERR") || wrong(p, code, "ADRERR");
	}
	s->signal = is_word(code, "MAPERR") ? SCN_SEGV_MAPERR : SCN_SEGV_ACCERR;
	return is_word(code, "MAPERR") || is_word(code, "ACCERR") || wrong(p, code, "MAPERR or ACCERR");
}

static bool expected_error(struct parser *p, struct scn_stmt *s)
{
	struct word w = take_word(p);
	unsigned value;

	if (!find_choice(w, errors, SIZEOF_ARRAY(errors), &value))
		return wrong(p, w, "the name of an error, such as EINVAL");
	s->error = (int)value;
	return true;
}

static bool expectation(struct parser *p, struct scn_stmt *s)
{
	struct word w = take_word(p);
	unsigned kind;

	if (!find_choice(w, expectations, SIZEOF_ARRAY(expectations), &kind))
		return wrong_choice(p, w, "what to look at", expectations, SIZEOF_ARRAY(expectations));
	s->expect = kind;
	switch (s->expect) {
	case SCN_EXPECT_BYTE:
		return old_name(p, AN_AREA, "the name of an area made before", &s->name) &&
		       number(p, "an offset", true, &s->off) && byte_value(p, &s->value);
	case SCN_EXPECT_MINFLT:
	case SCN_EXPECT_MAJFLT:
		return number(p, "a number of faults", false, &s->len);
	case SCN_EXPECT_RESIDENT:
		return number(p, "a number of pages", false, &s->len);
	case SCN_EXPECT_RSS:
		return number(p, "a number of pages", true, &s->len);
	case SCN_EXPECT_SIGNAL:
		return expected_signal(p, s);
	case SCN_EXPECT_ERROR:
		return expected_error(p, s);
	case SCN_EXPECT_OK:
		break;
	}
	return true;
}

static bool advice(struct parser *p, struct scn_stmt *s)
{
	struct word w = take_word(p);
	unsigned value;

	if (!find_choice(w, advices, SIZEOF_ARRAY(advices), &value))
		return wrong_choice(p, w, "an advice", advices, SIZEOF_ARRAY(advices));
	s->advice = value;
	return true;
}

static bool operand(struct parser *p, struct scn_stmt *s, char code, bool last)
{
	static const struct word heap = { "heap", 4 };

	switch (code) {
	case 'F': return new_name(p, A_FILE, "a name for the file", &s->name);
	case 'f': return old_name(p, A_FILE, "the name of a file made before", &s->name);
	case 'A': return new_name(p, AN_AREA, "a name for the area", &s->name);
	case 'a': return old_name(p, AN_AREA, "the name of an area made before", &s->name);
	case 'P': return new_name(p, A_PROCESS, "a name for the child", &s->name);
	case 'p': return old_name(p, A_PROCESS, "the name of a process made before", &s->name);
	case 'D': return introduce(p, AN_AREA, heap, &s->name);
	case 'o': return number(p, "an offset", true, &s->off);
	case 'l': return number(p, "a length", false, &s->len);
	case 'L': return number(p, s->verb == SCN_MREMAP ? "a length" : "a page offset", false, &s->new_len);
	case 'n': return number(p, "a number of pages", false, &s->len);
	case '?': return optional_length(p, s, !last);
	case 'v': return byte_value(p, &s->value);
	case 'x': return old_name(p, A_FILE, "the name of a file made before", &s->file);
	case 'O': return !peek_word(p).len || number(p, "an offset in the file", false, &s->new_len);
	case 'r': return protection(p, &s->prot);
	case 's': return sharing(p, &s->flags);
	case 'b': return backing(p, s);
	case 'm': return mmap_options(p, s);
	case 'M': return mremap_options(p, s);
	case 'd': return advice(p, s);
	default: return expectation(p, s);
	}
}

/* ---- statements -------------------------------------------------------------------------------------------------- */

/* `in NAME:` before a statement. */
static bool where(struct parser *p, struct scn_stmt *s)
{
	struct word w = { "main", 4 };

	s->process = find_name(p, w)->text;
	if (!is_word(peek_word(p), "in"))
		return true;
	take_word(p);
	w = take_word(p);
	if (w.len < 2 || w.s[w.len - 1] != ':')
		return wrong(p, w, "the name of a process and a colon");
	w.len--;
	if (!known(p, A_PROCESS, w))
		return wrong(p, w, "the name of a process made before");
	s->process = find_name(p, w)->text;
	return true;
}

/* KERNEL... to the end of the line, after the word before it. */
static bool list_of_kernels(struct parser *p, unsigned *set)
{
	take_word(p);
	do {
		struct word w = take_word(p);
		unsigned bit;

		if (!find_choice(w, kernels, SIZEOF_ARRAY(kernels), &bit))
			return wrong_choice(p, w, "a kernel", kernels, SIZEOF_ARRAY(kernels));
		*set |= bit;
	} while (peek_word(p).len);
	return true;
}

/* `only KERNEL...`: the next statement. */
static bool only(struct parser *p)
{
	if (p->only)
		return wrong(p, peek_word(p), "a statement after `only`");
	p->only_line = p->line_nr;
	return list_of_kernels(p, &p->only);
}

/* `for KERNEL...`: the whole scenario; before the first statement. */
static bool for_kernels(struct parser *p, const struct scn *out)
{
	if (out->nr || p->only || p->kernels)
		return wrong(p, peek_word(p), "`for` once and before the first statement");
	return list_of_kernels(p, &p->kernels);
}

static bool statement(struct parser *p, struct scn_stmt *s)
{
	const struct verb *v = NULL;
	struct word w;

	*s = (struct scn_stmt){ .line = p->line_nr, .only = p->only ? p->only : SCN_ALL_KERNELS,
				.process = "", .name = "", .file = "" };
	if (!where(p, s))
		return false;
	w = take_word(p);
	for (size_t i = 0; i < SIZEOF_ARRAY(verbs) && !v; i++)
		if (is_word(w, verbs[i].word))
			v = &verbs[i];
	if (!v)
		return wrong(p, w, "a statement (mmap, read, write, expect, ...)");
	s->verb = v->verb;
	for (const char *code = v->operands; *code; code++)
		if (!operand(p, s, *code, !code[1]))
			return false;
	if (peek_word(p).len)
		return wrong(p, peek_word(p), "the end of the line");
	p->only = 0;
	return true;
}

static bool append(struct parser *p, struct scn *out, size_t *room, const struct scn_stmt *s)
{
	if (out->nr == *room) {
		size_t more = *room ? *room * 2 : 32;
		void *at = realloc(out->stmts, more * sizeof(*out->stmts));

		if (!at) {
			p->no_memory = true;
			return false;
		}
		out->stmts = at;
		*room = more;
	}
	out->stmts[out->nr++] = *s;
	return true;
}

/* One line, from p->line to p->end, which holds the newline or the NUL behind the text. */
static bool one_line(struct parser *p, struct scn *out, size_t *room)
{
	const char *comment = memchr(p->line, '#', (size_t)(p->end - p->line));
	struct scn_stmt s;
	struct word first;

	if (comment)
		p->end = comment;
	while (p->end > p->line && is_blank(p->end[-1]))
		p->end--;
	p->pos = p->line;
	first = peek_word(p);
	if (!first.len)
		return true;
	if (is_word(first, "only"))
		return only(p);
	if (is_word(first, "for"))
		return for_kernels(p, out);
	if (!statement(p, &s))
		return false;
	s.text = first.s;
	/* Blanks, the comment or the newline follow, or the NUL is there already: nobody reads them again. */
	*(char *)(out->text + (p->end - out->text)) = 0;
	return append(p, out, room, &s);
}

static bool all_lines(struct parser *p, struct scn *out, size_t len)
{
	static const struct word main_process = { "main", 4 };
	const char *s = out->text, *end = out->text + len, *unused;
	size_t room = 0;

	if (!introduce(p, A_PROCESS, main_process, &unused))
		return false;
	while (s < end) {
		const char *eol = memchr(s, '\n', (size_t)(end - s));

		if (!eol)
			eol = end;
		p->line_nr++;
		p->line = s;
		p->end = eol;
		if (!one_line(p, out, &room))
			return false;
		s = eol + 1;
	}
	if (p->only) {
		p->err->line = p->only_line;
		p->err->column = 1;
		strcpy(p->err->message, "expected a statement after `only`, not the end of the file");
		return false;
	}
	return true;
}

int scn_parse(const char *text, size_t len, struct scn *out, struct scn_error *err)
{
	struct parser p = { .err = err, .names = &out->names };
	bool done = false;

	*out = (struct scn){ 0 };
	*err = (struct scn_error){ 0 };
	if (len > SCN_MAX_TEXT) {
		*err = (struct scn_error){ 1, 1, "expected a scenario of at most 16 MiB" };
		return -EFBIG;
	}
	out->text = malloc(len + 1);
	if (out->text) {
		if (len)
			memcpy(out->text, text, len);
		out->text[len] = 0;
		done = all_lines(&p, out, len);
	}
	p.no_memory |= !out->text;
	out->kernels = p.kernels ? p.kernels : SCN_ALL_KERNELS;
	if (!done)
		scn_free(out);
	return done ? 0 : p.no_memory ? -ENOMEM : -EINVAL;
}

void scn_free(struct scn *scn)
{
	free(scn->stmts);
	free(scn->text);
	tdestroy(scn->names, free);
	*scn = (struct scn){ 0 };
}

/* ---- names for messages ------------------------------------------------------------------------------------------ */

const char *scn_kernel_name(enum scn_kernel kernel)
{
	for (size_t i = 0; i < SIZEOF_ARRAY(kernels); i++)
		if (kernels[i].value == (unsigned)kernel)
			return kernels[i].word;
	return NULL;
}

const char *scn_errno_name(int error)
{
	for (size_t i = 0; i < SIZEOF_ARRAY(errors); i++)
		if ((int)errors[i].value == error)
			return errors[i].word;
	return NULL;
}

const char *scn_signal_name(enum scn_signal signal)
{
	static const char *const names[] = {
		[SCN_NO_SIGNAL] = "no signal",        [SCN_SEGV_MAPERR] = "SIGSEGV MAPERR",
		[SCN_SEGV_ACCERR] = "SIGSEGV ACCERR", [SCN_BUS_ADRERR] = "SIGBUS ADRERR",
		[SCN_OOM] = "out of memory",          [SCN_OTHER_SIGNAL] = "another signal",
	};

	return (unsigned)signal < SIZEOF_ARRAY(names) ? names[signal] : NULL;
}
