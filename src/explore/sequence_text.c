/* SPDX-License-Identifier: MIT */
/* Sequences as one line of text. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "explore/sequence_impl.h"

#define G true
#define H false

static const struct {
	const char *name, *values;
} options[] = {
#define SEQUENCE_OPTION(sym, name, values) [sym] = {name, values},
	SEQUENCE_OPTIONS
#undef SEQUENCE_OPTION
};

static const struct {
	const char *word;
	bool guest;
	const char *args;
} kinds[] = {
#define SEQUENCE_OP(sym, word, who, args) [sym] = {word, who, args},
	SEQUENCE_OPS
#undef SEQUENCE_OP
};

/* ---- printing --------------------------------------------------------------------------------*/
struct printer {
	char *text;
	size_t size, at;
};

static void __printf(2, 3) print(struct printer *p, const char *fmt, ...)
{
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(p->at < p->size ? p->text + p->at : NULL,
		      p->at < p->size ? p->size - p->at : 0, fmt, args);
	va_end(args);
	p->at += n > 0 ? (size_t)n : 0;
}

/* The @n-th word of @words, and its length. */
static const char *nth_word(const char *words, u32 n, int *length)
{
	for (; n; n--)
		words = strchr(words, ' ') + 1;
	*length = (int)strcspn(words, " ");
	return words;
}

static void print_op(struct printer *p, const struct sequence_op *op)
{
	print(p, kinds[op->kind].guest ? " %c.%u %s" : " %c%.0u %s", 'a' + op->td,
	      kinds[op->kind].guest ? op->vcpu : 0, kinds[op->kind].word);
	for (const char *a = kinds[op->kind].args; *a; a++) {
		switch (*a) {
		case 'p':
			print(p, " 0x%x", op->page);
			break;
		case 'n':
			print(p, " %u", op->nr);
			break;
		case 'l':
			print(p, " %s", op->level ? "2m" : "4k");
			break;
		default:
			print(p, " %s", op->private ? "private" : "shared");
		}
	}
	if (op->kind == SEQ_KICK)
		print(p, " %u", op->vcpu);
	if (op->alloc)
		print(p, " alloc=%u", op->alloc);
	if (op->busy)
		print(p, " busy=%u", op->busy);
}

size_t sequence_print(const struct sequence *s, char *text, size_t size)
{
	struct printer p = {.text = text, .size = size};

	if (size)
		text[0] = 0;
	for (u32 i = 0; i < SEQUENCE_OPTION_COUNT; i++) {
		int length;
		const char *word = nth_word(options[i].values, s->option[i], &length);

		if (s->option[i])
			print(&p, "%s%s=%.*s", p.at ? " " : "", options[i].name, length, word);
	}
	print(&p, ":");
	for (u32 i = 0; i < s->nr; i++) {
		print(&p, i ? ";" : "");
		print_op(&p, &s->op[i]);
	}
	return p.at;
}

/* ---- parsing ---------------------------------------------------------------------------------*/
struct parser {
	const char *text, *at;
	const char *word; /* the last one */
	size_t length;
	char *why;
	size_t size;
};

/* Return: there is a word before the next `:`, `;` or end. */
static bool next_word(struct parser *p)
{
	p->at += strspn(p->at, " \t\n");
	p->word = p->at;
	p->length = strcspn(p->at, " \t\n:;");
	p->at += p->length;
	return p->length;
}

static bool is(const struct parser *p, const char *word, size_t length)
{
	return p->length == length && !strncmp(p->word, word, length);
}

static int __printf(2, 3) expected(struct parser *p, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(p->why, p->size, fmt, args);
	va_end(args);
	return -EINVAL;
}

static int parse_option(struct parser *p, struct sequence *s)
{
	size_t name = strcspn(p->word, "= \t\n:;");

	for (u32 i = 0; i < SEQUENCE_OPTION_COUNT; i++) {
		if (strlen(options[i].name) != name || strncmp(p->word, options[i].name, name))
			continue;
		for (u32 v = 0; v < seq_nr_values((enum sequence_option)i) && name < p->length;
		     v++) {
			int length;
			const char *value = nth_word(options[i].values, v, &length);

			if (p->length - name - 1 != (size_t)length ||
			    strncmp(p->word + name + 1, value, (size_t)length))
				continue;
			s->option[i] = (u8)v;
			return 0;
		}
		return expected(p, "expected %s=VALUE, one of: %s", options[i].name,
				options[i].values);
	}
	return expected(p, "expected an option, or ':' before the first operation");
}

static int parse_number(struct parser *p, u64 limit, u64 *value)
{
	char *end;

	if (p->length && *p->word >= '0' && *p->word <= '9') {
		*value = strtoull(p->word, &end, 0);
		if (end == p->word + p->length && *value <= limit)
			return 0;
	}
	return expected(p, "expected a number up to %llu", (unsigned long long)limit);
}

static int parse_arg(struct parser *p, struct sequence_op *op, char arg)
{
	u64 value = 0;
	int err;

	next_word(p);
	if (arg == 'l' || arg == 's') {
		const char *const words[2] = {arg == 'l' ? "4k" : "shared",
					      arg == 'l' ? "2m" : "private"};

		for (u8 i = 0; i < 2; i++) {
			if (!is(p, words[i], strlen(words[i])))
				continue;
			*(arg == 'l' ? &op->level : &op->private) = i;
			return 0;
		}
		return expected(p, "expected %s or %s", words[0], words[1]);
	}
	err = parse_number(p, arg == 'v' ? 1 : UINT16_MAX, &value);
	if (arg == 'p')
		op->page = (u16)value;
	else if (arg == 'n')
		op->nr = (u16)value;
	else
		op->vcpu = (u8)value;
	return err;
}

static int parse_failures(struct parser *p, struct sequence_op *op)
{
	int err = 0;

	while (!err && next_word(p)) {
		u8 *n = NULL;
		u64 value = 0;

		if (p->length > 6 && !strncmp(p->word, "alloc=", 6)) {
			n = &op->alloc;
			p->word += 6;
			p->length -= 6;
		} else if (p->length > 5 && !strncmp(p->word, "busy=", 5)) {
			n = &op->busy;
			p->word += 5;
			p->length -= 5;
		} else {
			return expected(p, "expected ';', alloc=N or busy=N");
		}
		err = parse_number(p, UINT8_MAX, &value);
		*n = (u8)value;
	}
	return err;
}

/* The words of one operation; its first one is read. */
static int parse_op(struct parser *p, struct sequence_op *op)
{
	bool guest = p->length == 3 && p->word[1] == '.';
	int err = 0;

	if ((!guest && p->length != 1) || (p->word[0] != 'a' && p->word[0] != 'b') ||
	    (guest && p->word[2] != '0' && p->word[2] != '1'))
		return expected(p, "expected who does it: a or b for the host, a.0 to b.1 for a "
				   "guest");
	op->td = (u8)(p->word[0] - 'a');
	if (guest)
		op->vcpu = (u8)(p->word[2] - '0');
	next_word(p);
	for (u32 i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (!is(p, kinds[i].word, strlen(kinds[i].word)) || kinds[i].guest != guest)
			continue;
		op->kind = (u8)i;
		for (const char *a = kinds[i].args; *a && !err; a++)
			err = parse_arg(p, op, *a);
		if (!err && op->kind == SEQ_KICK)
			err = parse_arg(p, op, 'v');
		return err ? err : parse_failures(p, op);
	}
	return expected(p, "expected an operation of the %s", guest ? "guest's" : "host's");
}

static int parse_ops(struct parser *p, struct sequence *s)
{
	u32 room = 1;

	for (const char *c = p->at; *c; c++)
		room += *c == ';';
	s->op = calloc(room, sizeof(*s->op));
	if (!s->op)
		return -ENOMEM;
	for (;;) {
		int err;

		if (next_word(p)) {
			err = parse_op(p, &s->op[s->nr]);
			if (err)
				return err;
			s->nr++;
		}
		if (!*p->at)
			return 0;
		if (*p->at != ';') {
			p->word = p->at;
			return expected(p, "expected ';' or the end");
		}
		p->at++;
	}
}

int sequence_parse(struct sequence *s, const char *text, size_t *bad, char *why, size_t size)
{
	struct parser p = {.text = text, .at = text, .why = why, .size = size};
	int err = 0;

	memset(s, 0, sizeof(*s));
	while (!err && next_word(&p))
		err = parse_option(&p, s);
	if (!err && *p.at != ':')
		err = expected(&p, "expected ':' before the first operation");
	if (!err) {
		p.at++;
		err = parse_ops(&p, s);
	}
	*bad = (size_t)(p.word - text);
	if (err)
		sequence_free(s);
	return err;
}
