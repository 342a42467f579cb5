/* SPDX-License-Identifier: MIT */
/* Parsing of event streams. Words are separated by one blank each; nothing is skipped. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bug.h"
#include "observe/events.h"
#include "observe/text.h"
#include "script/events_read.h"
#include "script/trace_source.h"
#include "seam/seam.h"

#define MAX_LPS 1024
#define MAX_PACKAGES 64
#define MAX_MEMORY (1ULL << TDX_HKID_START_BIT)

struct events_reader {
	const char *path;
	char *err;
	size_t err_size;
	struct trace_source *source;
	struct events_head head;
	u64 line;
	/* The line: its current word, none at its end; where the next one begins, or NULL. */
	const char *word, *at, *end;
	size_t length;
	bool at_end;
};

/* ---- complaints ------------------------------------------------------------------------------*/

static void tell(struct events_reader *r, u64 line, const char *fmt, va_list args)
{
	int n = snprintf(r->err, r->err_size, "%s: line %" PRIu64 ": ", r->path, line);

	if (n >= 0 && (size_t)n < r->err_size)
		vsnprintf(r->err + n, r->err_size - (size_t)n, fmt, args);
}

int events_reader_refuse(struct events_reader *r, u64 line, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	tell(r, line, fmt, args);
	va_end(args);
	return -EINVAL;
}

/* The current word isn't @expected. */
static int unexpected(struct events_reader *r, const char *expected)
{
	char shown[48];
	size_t n = min_u64(r->length, sizeof(shown) - 1);

	for (size_t i = 0; i < n; i++)
		shown[i] = r->word[i] >= ' ' && r->word[i] <= '~' ? r->word[i] : '?';
	shown[n] = '\0';
	if (r->at_end)
		return events_reader_refuse(r, r->line, "the line ends, expected %s", expected);
	return events_reader_refuse(r, r->line, "found '%s', expected %s", shown, expected);
}

/* ---- words -----------------------------------------------------------------------------------*/

static void next_word(struct events_reader *r)
{
	const char *blank;

	r->word = r->at ? r->at : r->end;
	r->at_end = !r->at;
	blank = memchr(r->word, ' ', (size_t)(r->end - r->word));
	r->length = (size_t)((blank ? blank : r->end) - r->word);
	r->at = blank ? blank + 1 : NULL;
}

/* Return: 1 with a line whose first word is current, 0 at the end of the file, -errno. */
static int next_line(struct events_reader *r)
{
	const char *line;
	size_t length;
	int ret = trace_source_line(r->source, &line, &length);

	if (ret <= 0)
		return ret;
	r->line = trace_source_line_number(r->source);
	r->at = line;
	r->end = line + length;
	next_word(r);
	return 1;
}

static bool is_word(const struct events_reader *r, const char *word)
{
	size_t n = strlen(word);

	return r->length == n && !memcmp(r->word, word, n);
}

static bool has_prefix(const struct events_reader *r, const char *prefix)
{
	size_t n = strlen(prefix);

	return r->length > n && !memcmp(r->word, prefix, n);
}

/* At least 16 for what isn't a digit of either kind. */
static unsigned int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned int)(c - '0');
	return c >= 'a' && c <= 'f' ? (unsigned int)(c - 'a') + 10 : UINT_MAX;
}

static bool parse_digits(const char *s, size_t n, unsigned int base, u64 *value)
{
	*value = 0;
	if (!n)
		return false;
	for (size_t i = 0; i < n; i++) {
		unsigned int digit = digit_of(s[i]);

		if (digit >= base || *value > (UINT64_MAX - digit) / base)
			return false;
		*value = *value * base + digit;
	}
	return true;
}

/* 0x and hexadecimal digits, or decimal ones. */
static bool parse_number(const char *s, size_t n, u64 *value)
{
	if (n > 2 && s[0] == '0' && s[1] == 'x')
		return parse_digits(s + 2, n - 2, 16, value);
	return parse_digits(s, n, 10, value);
}

/* The current word is KEY=NUMBER, with a number up to @max; moves on. */
static int take_number(struct events_reader *r, const char *key, u64 max, u64 *value)
{
	size_t n = strlen(key);
	char expected[80];

	if (has_prefix(r, key) && parse_number(r->word + n, r->length - n, value) &&
	    *value <= max) {
		next_word(r);
		return 0;
	}
	snprintf(expected, sizeof(expected), "%s and a number up to 0x%" PRIx64, key, max);
	return unexpected(r, expected);
}

static int take_end(struct events_reader *r)
{
	return r->at_end ? 0 : unexpected(r, "the end of the line");
}

/* ---- leaves, registers, statuses -------------------------------------------------------------*/

struct name {
	const char *text;
	size_t length;
	u64 value;
};

#define NAME(text, value)                     \
	{                                     \
		text, sizeof(text) - 1, value \
	}

static const struct name host_leaves[] = {
#define TDH_LEAF(sym, number, name) NAME(name, number),
#include "septum/tdh_leaves.def"
#undef TDH_LEAF
};

static const struct name guest_leaves[] = {
#define TDG_LEAF(sym, number, name) NAME(name, number),
#include "septum/tdg_leaves.def"
#undef TDG_LEAF
};

static const struct name statuses[] = {
#define TDX_STATUS(name, value) NAME("TDX_" #name, value),
#include "septum/statuses.def"
#undef TDX_STATUS
};

static bool find(const struct name *names, size_t count, const char *s, size_t n, u64 *value)
{
	for (size_t i = 0; i < count; i++)
		if (names[i].length == n && !memcmp(names[i].text, s, n)) {
			*value = names[i].value;
			return true;
		}
	return false;
}

static int take_leaf(struct events_reader *r, bool guest, u64 *rax)
{
	const struct name *names = guest ? guest_leaves : host_leaves;
	size_t count = guest ? ARRAY_SIZE(guest_leaves) : ARRAY_SIZE(host_leaves);
	u64 version = 0;
	int err;

	if (is_word(r, guest ? "TDCALL" : "SEAMCALL")) {
		next_word(r);
		return take_number(r, "rax=", UINT64_MAX, rax);
	}
	if (!find(names, count, r->word, r->length, rax))
		return unexpected(r, guest ? "a guest's leaf, TDG...., or TDCALL"
					   : "a host's leaf, TDH...., or SEAMCALL");
	next_word(r);
	if (!has_prefix(r, "version="))
		return 0;
	err = take_number(r, "version=", 0xFF, &version);
	*rax |= version << 16;
	return err;
}

/* A register by name; RAX has its own place in a line. */
static u64 *find_register(const struct events_reader *r, size_t length, struct tdx_regs *regs)
{
	for (unsigned int i = 1; i < TEXT_NR_REGS; i++) {
		const char *name = text_reg_name(i);

		if (strlen(name) == length && !memcmp(name, r->word, length))
			return (u64 *)(void *)regs + i;
	}
	return NULL;
}

/* reg=value, as many as there are. */
static int take_registers(struct events_reader *r, struct tdx_regs *regs)
{
	for (;;) {
		const char *equals = memchr(r->word, '=', r->length);
		size_t length = equals ? (size_t)(equals - r->word) : 0;
		u64 *reg;

		if (!equals)
			return 0;
		reg = find_register(r, length, regs);
		if (!reg)
			return unexpected(r, "a register, rcx= to r15=");
		if (!parse_number(equals + 1, r->length - length - 1, reg))
			return unexpected(r, "a register's value of 64 bits");
		next_word(r);
	}
}

/* TDX_NAME, TDX_NAME|bits 31:0, or a number. */
static int take_status(struct events_reader *r, u64 *rax)
{
	const char *bar = memchr(r->word, '|', r->length);
	size_t length = bar ? (size_t)(bar - r->word) : r->length;
	u64 low = 0;

	if (find(statuses, ARRAY_SIZE(statuses), r->word, length, rax)) {
		if (bar && (!parse_number(bar + 1, r->length - length - 1, &low) || low >> 32))
			return unexpected(r, "bits 31:0 of the status after |");
		*rax |= low;
	} else if (!parse_number(r->word, r->length, rax)) {
		return unexpected(r, "a status, TDX_NAME, TDX_NAME|0x1 or a number");
	}
	next_word(r);
	return 0;
}

/* The answer behind an arrow; registers that it doesn't name are those of @base. */
static int take_answer(struct events_reader *r, struct tdx_regs *out, const struct tdx_regs *base)
{
	int err;

	*out = *base;
	err = take_status(r, &out->rax);
	if (!err)
		err = take_registers(r, out);
	return err ? err : take_end(r);
}

static int take_arrow(struct events_reader *r)
{
	if (!is_word(r, "->"))
		return unexpected(r, "a register or ->");
	next_word(r);
	return 0;
}

/* ---- records ---------------------------------------------------------------------------------*/

static const struct tdx_regs no_regs;

static bool take_flag(struct events_reader *r, const char *flag)
{
	bool is = is_word(r, flag);

	if (is)
		next_word(r);
	return is;
}

static int parse_call(struct events_reader *r, struct events_record *rec)
{
	int err;

	rec->interrupt = take_flag(r, "interrupt");
	err = take_leaf(r, rec->kind == EVENTS_GUEST, &rec->in.rax);
	if (!err)
		err = take_registers(r, &rec->in);
	if (!err)
		err = take_arrow(r);
	if (err)
		return err;
	if (rec->kind == EVENTS_GUEST && take_flag(r, "EXIT"))
		return take_end(r);
	rec->answers = true;
	return take_answer(r, &rec->out, &rec->in);
}

static int parse_enter(struct events_reader *r, struct events_record *rec)
{
	int err;

	if (!is_word(r, tdh_leaf_name(TDH_VP_ENTER)))
		return unexpected(r, "TDH.VP.ENTER");
	next_word(r);
	rec->in.rax = TDH_VP_ENTER;
	err = take_registers(r, &rec->in);
	if (err || r->at_end)
		return err;
	rec->answers = true;
	err = take_arrow(r);
	return err ? err : take_answer(r, &rec->out, &no_regs);
}

static int take_access(struct events_reader *r, struct events_record *rec)
{
	bool write = has_prefix(r, "write=");
	int err;

	rec->stop = write ? TRACE_STOP_WRITE : TRACE_STOP_READ;
	err = take_number(r, write ? "write=" : "read=", UINT64_MAX, &rec->gpa);
	return err ? err : take_number(r, "served=", UINT64_MAX, &rec->served);
}

static int parse_ve(struct events_reader *r, struct events_record *rec)
{
	int err = take_access(r, rec);

	return err ? err : take_end(r);
}

static int parse_exit(struct events_reader *r, struct events_record *rec)
{
	int err = 0;

	if (take_flag(r, "tdcall"))
		rec->stop = TRACE_STOP_TDCALL;
	else if (take_flag(r, "interrupt"))
		rec->stop = TRACE_STOP_INTERRUPT;
	else if (take_flag(r, "nmi"))
		rec->stop = TRACE_STOP_NMI;
	else if (has_prefix(r, "read=") || has_prefix(r, "write="))
		err = take_access(r, rec);
	else
		return unexpected(r, "tdcall, interrupt, nmi, read=GPA or write=GPA");
	if (!err)
		err = take_arrow(r);
	return err ? err : take_answer(r, &rec->out, &no_regs);
}

/* OFFSET:BYTES, a run of whole words. */
static int take_run(struct events_reader *r, struct events_record *rec)
{
	const char *colon = memchr(r->word, ':', r->length);
	u8 *bytes = (u8 *)rec->words;
	size_t digits;
	u64 offset;

	if (!colon || !parse_number(r->word, (size_t)(colon - r->word), &offset))
		return unexpected(r, "OFFSET:BYTES");
	digits = r->length - (size_t)(colon + 1 - r->word);
	if (!digits || digits % 16 || offset % 8 || offset > rec->size ||
	    digits / 2 > rec->size - offset)
		return unexpected(r, "whole words of 8 bytes inside the range");
	for (size_t i = 0; i < digits / 2; i++) {
		u64 byte;

		if (!parse_digits(colon + 1 + 2 * i, 2, 16, &byte))
			return unexpected(r, "OFFSET:BYTES");
		bytes[offset + i] = (u8)byte;
	}
	next_word(r);
	return 0;
}

static int parse_memory(struct events_reader *r, struct events_record *rec)
{
	u64 size;

	if (!parse_number(r->word, r->length, &rec->hpa) || rec->hpa % 8 ||
	    rec->hpa >= r->head.memory_bytes)
		return unexpected(r, "an address of host memory, a multiple of 8");
	next_word(r);
	if (!parse_number(r->word, r->length, &size) || !size || size % 8 ||
	    size > EVENTS_MEMORY_MAX || rec->hpa % PAGE_SIZE + size > PAGE_SIZE)
		return unexpected(r, "a number of bytes, a multiple of 8 up to 1024 inside a page");
	rec->size = (u32)size;
	memset(rec->words, 0, size);
	next_word(r);
	while (!r->at_end) {
		int err = take_run(r, rec);

		if (err)
			return err;
	}
	return take_end(r);
}

/* end N: as many lines as came before. */
static int parse_end(struct events_reader *r)
{
	u64 lines;
	int ret;

	if (!parse_number(r->word, r->length, &lines) || lines != r->line - 1)
		return unexpected(r, "the number of lines before this one");
	next_word(r);
	ret = take_end(r);
	if (!ret)
		ret = next_line(r);
	return ret > 0 ? unexpected(r, "nothing after the line 'end'") : ret;
}

static const struct {
	const char *word;
	int (*parse)(struct events_reader *r, struct events_record *rec);
	enum events_kind kind;
} kinds[] = {
	{"call", parse_call, EVENTS_CALL},    {"guest", parse_call, EVENTS_GUEST},
	{"enter", parse_enter, EVENTS_ENTER}, {"exit", parse_exit, EVENTS_EXIT},
	{"ve", parse_ve, EVENTS_VE},
};

/* Those that have a processor. */
static int parse_event(struct events_reader *r, struct events_record *rec)
{
	u64 lp;
	int err;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (!is_word(r, kinds[i].word))
			continue;
		next_word(r);
		rec->kind = kinds[i].kind;
		err = take_number(r, "lp=", r->head.nr_lps - 1, &lp);
		rec->lp = (u32)lp;
		if (!err && has_prefix(r, "overlap="))
			err = take_number(r, "overlap=", UINT64_MAX, &rec->overlap);
		return err ? err : kinds[i].parse(r, rec);
	}
	return unexpected(r, "call, enter, guest, ve, exit, mem, tdmr-init-all or end");
}

int events_reader_next(struct events_reader *r, struct events_record *rec)
{
	int ret = next_line(r);

	if (!ret)
		return events_reader_refuse(r, r->line + 1,
					    "the file ends, expected 'end': it is truncated");
	if (ret < 0)
		return ret;
	memset(rec, 0, offsetof(struct events_record, words));
	rec->line = r->line;
	if (take_flag(r, "end"))
		return parse_end(r);
	if (take_flag(r, "tdmr-init-all")) {
		rec->kind = EVENTS_TDMR_INIT_ALL;
		ret = take_end(r);
	} else if (take_flag(r, "mem")) {
		rec->kind = EVENTS_MEMORY;
		ret = parse_memory(r, rec);
	} else {
		ret = parse_event(r, rec);
	}
	return ret ? ret : 1;
}

/* ---- the head --------------------------------------------------------------------------------*/

static int head_line(struct events_reader *r, const char *word)
{
	int ret = next_line(r);
	char expected[64];

	if (ret < 0)
		return ret;
	if (!ret)
		return events_reader_refuse(r, r->line + 1, "the file ends, expected '%s'", word);
	if (take_flag(r, word))
		return 0;
	snprintf(expected, sizeof(expected), "'%s', the head of an event stream", word);
	return unexpected(r, expected);
}

static int parse_version(struct events_reader *r)
{
	u64 version;
	int err = head_line(r, "septum-events");

	if (err)
		return err;
	if (!parse_number(r->word, r->length, &version) || version != EVENTS_VERSION)
		return unexpected(r, "version 1");
	next_word(r);
	return take_end(r);
}

/* A number that this module has, too. */
static int take_fixed(struct events_reader *r, const char *key, u64 ours)
{
	char expected[64];
	u64 value;
	int err;

	snprintf(expected, sizeof(expected), "%s%" PRIu64 ", as this module has it", key, ours);
	if (has_prefix(r, key) &&
	    parse_number(r->word + strlen(key), r->length - strlen(key), &value) && value != ours)
		return unexpected(r, expected);
	err = take_number(r, key, UINT64_MAX, &value);
	return err;
}

static int take_profile(struct events_reader *r)
{
	char name[32] = "";

	if (has_prefix(r, "profile=") && r->length - 8 < sizeof(name))
		memcpy(name, r->word + 8, r->length - 8);
	r->head.profile = seam_profile_by_name(name);
	if (!r->head.profile)
		return unexpected(r, "profile= and a module profile that 'septum run' knows");
	next_word(r);
	return 0;
}

static int take_dpamt(struct events_reader *r)
{
	r->head.dynamic_pamt = is_word(r, "dpamt=on");
	if (!r->head.dynamic_pamt && !is_word(r, "dpamt=off"))
		return unexpected(r, "dpamt=on or dpamt=off");
	next_word(r);
	return 0;
}

static int take_bug(struct events_reader *r, const char *name, size_t length)
{
	char word[32] = "";
	int bug;

	if (length < sizeof(word))
		memcpy(word, name, length);
	bug = bug_by_name(word);
	if (bug < 0)
		return unexpected(r,
				  "planted bugs that this build knows (the checking build does)");
	bug_set_add(&r->head.planted_bugs, (enum planted_bug)bug);
	return 0;
}

/* bugs=NAME,NAME, if any were planted. */
static int take_bugs(struct events_reader *r)
{
	const char *at = r->word + 5, *end = r->word + r->length;

	if (!has_prefix(r, "bugs="))
		return 0;
	while (at < end) {
		const char *comma = memchr(at, ',', (size_t)(end - at));
		size_t length = (size_t)((comma ? comma : end) - at);
		int err = take_bug(r, at, length);

		if (err)
			return err;
		at += length + (comma != NULL);
	}
	next_word(r);
	return 0;
}

static int take_machine(struct events_reader *r)
{
	struct events_head *h = &r->head;
	u64 lps = 0, packages = 0;
	int err = take_number(r, "memory=", MAX_MEMORY, &h->memory_bytes);

	if (!err && (!h->memory_bytes || h->memory_bytes % SIZE_1G))
		return events_reader_refuse(r, r->line,
					    "found memory=0x%" PRIx64 ", expected whole GiBs",
					    h->memory_bytes);
	if (!err)
		err = take_number(r, "lps=", MAX_LPS, &lps);
	if (!err)
		err = take_number(r, "packages=", MAX_PACKAGES, &packages);
	if (!err && (!packages || packages > lps))
		return events_reader_refuse(r, r->line,
					    "found %" PRIu64 " LPs and %" PRIu64
					    " packages, expected an LP in each package",
					    lps, packages);
	h->nr_lps = (u32)lps;
	h->nr_packages = (u32)packages;
	return err;
}

static int parse_head(struct events_reader *r)
{
	int err = parse_version(r);

	if (!err)
		err = head_line(r, "machine");
	if (!err)
		err = take_machine(r);
	if (!err)
		err = take_profile(r);
	if (!err)
		err = take_dpamt(r);
	if (!err)
		err = take_fixed(r, "hkid-start=", TDX_HKID_START_BIT);
	if (!err)
		err = take_fixed(r, "hkid-bits=", TDX_HKID_BITS);
	if (!err)
		err = take_fixed(r, "private-hkid=", TDX_FIRST_PRIVATE_HKID);
	if (!err)
		err = take_bugs(r);
	return err ? err : take_end(r);
}

static const struct trace_source_form events_form = {"an event stream", "an event"};

int events_reader_open(const char *path, char *err, size_t err_size, struct events_head *head,
		       struct events_reader **out)
{
	struct events_reader *r = calloc(1, sizeof(*r));
	int ret;

	if (!r) {
		snprintf(err, err_size, "%s: out of memory", path);
		return -ENOMEM;
	}
	r->path = path;
	r->err = err;
	r->err_size = err_size;
	ret = trace_source_open(path, &events_form, err, err_size, &r->source);
	if (!ret)
		ret = parse_head(r);
	if (ret) {
		events_reader_close(r);
		return ret;
	}
	*head = r->head;
	*out = r;
	return 0;
}

void events_reader_close(struct events_reader *r)
{
	if (r->source)
		trace_source_close(r->source);
	free(r);
}
