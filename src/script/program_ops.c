/* SPDX-License-Identifier: MIT */
/* script/program: one operation, from words and back. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "script/program_impl.h"

static const struct op_row {
	const char *word;
	char who;
	const char *args;
} op_rows[] = {
#define G 'G'
#define H 'H'
#define PROGRAM_OP(sym, word, who, args) [sym] = {word, who, args},
	PROGRAM_OPS
#undef PROGRAM_OP
#undef G
#undef H
};

static const struct program_value side_words[] = {{"private", true}, {"shared", false}, {NULL, 0}};

bool program_find_vcpu(const struct program *p, const char *text, size_t length, u32 *td, u32 *vcpu)
{
	const char *dot = memchr(text, '.', length);
	struct program_word name = {text, dot ? (size_t)(dot - text) : length, 0};

	for (*td = 0; *td < p->nr_tds && !program_word_is(&name, p->td[*td].name);)
		++*td;
	if (*td == p->nr_tds || !dot || length != name.length + 2)
		return false;
	*vcpu = (u32)(dot[1] - '0');
	return dot[1] >= '0' && *vcpu < p->td[*td].nr_vcpus;
}

/* ---- arguments -------------------------------------------------------------------------------*/
static int parse_td_name(struct program_parser *ps, const struct program_word *w, u32 *td)
{
	const char *names[PROGRAM_MAX_TDS + 1] = {NULL};

	for (u32 i = 0; i < ps->p->nr_tds; i++) {
		names[i] = ps->p->td[i].name;
		if (program_word_is(w, names[i])) {
			*td = i;
			return 0;
		}
	}
	return program_unknown(ps, w, "TD", names);
}

/* Of this page at least, or with @size the range that begins there, inside the TD's memory. */
static int check_range(struct program_parser *ps, const struct program_word *w,
		       const struct program_op *op, u64 size)
{
	const struct program_td *td = &ps->p->td[op->td];
	char shown[64], memory[24];

	program_print_bytes(td->memory_bytes, memory, sizeof(memory));
	if (size && op->gpa < td->memory_bytes && size <= td->memory_bytes - op->gpa)
		return 0;
	return program_complain(ps, w, "%s: expected %s inside the %s of TD %s",
				program_show(w, shown, sizeof(shown)),
				size ? "memory" : "at least 4K", memory, td->name);
}

static int parse_level(struct program_parser *ps, const struct program_word *w,
		       struct program_op *op)
{
	char shown[64];
	int level, err = program_parse_value(ps, w, "level", program_levels, &level);

	if (err)
		return err;
	op->level = (enum pg_level)level;
	if (op->kind == OP_PROMOTE && op->level == PG_LEVEL_4K)
		return program_complain(ps, w, "%s: nothing is promoted to that: expected 2m or 1g",
					program_show(w, shown, sizeof(shown)));
	if (op->kind == OP_ACCEPT && op->level == PG_LEVEL_1G)
		return program_complain(ps, w, "%s: no ACCEPT is that large: expected 4k or 2m",
					program_show(w, shown, sizeof(shown)));
	if (!IS_ALIGNED(op->gpa, level_size(op->level)))
		return program_complain(ps, w, "%s: address 0x%llx isn't a multiple of that",
					program_show(w, shown, sizeof(shown)),
					(unsigned long long)op->gpa);
	return check_range(ps, w, op, level_size(op->level));
}

static int parse_vcpu(struct program_parser *ps, const struct program_word *w,
		      struct program_op *op)
{
	char shown[64];

	if (program_find_vcpu(ps->p, w->text, w->length, &op->td, &op->vcpu))
		return 0;
	return program_complain(ps, w, "%s: expected a vCPU, such as %s.0",
				program_show(w, shown, sizeof(shown)),
				ps->p->nr_tds ? ps->p->td[0].name : "a");
}

static int parse_page_number(struct program_parser *ps, const struct program_word *w,
			     struct program_op *op)
{
	char shown[64];
	int err = program_parse_number(ps, w, &op->number);

	if (!err && op->number >= PROGRAM_PAMT_PAGES)
		return program_complain(ps, w, "%s: expected a page from 0 to %d",
					program_show(w, shown, sizeof(shown)),
					PROGRAM_PAMT_PAGES - 1);
	return err;
}

static int parse_argument(struct program_parser *ps, const struct program_word *w, char what,
			  struct program_op *op)
{
	int side, err;

	switch (what) {
	case 't':
		return parse_td_name(ps, w, &op->td);
	case 'v':
		return parse_vcpu(ps, w, op);
	case 'g':
		err = program_parse_bytes(ps, w, "an address", &op->gpa);
		return err ? err : check_range(ps, w, op, PAGE_SIZE);
	case 'z':
		err = program_parse_bytes(ps, w, "a size", &op->size);
		return err ? err : check_range(ps, w, op, op->size);
	case 'l':
		return parse_level(ps, w, op);
	case 'n':
		return parse_page_number(ps, w, op);
	default:
		err = program_parse_value(ps, w, "side", side_words, &side);
		op->private = side;
		return err;
	}
}

/* ---- the operation ---------------------------------------------------------------------------*/
static const char *argument_name(char what)
{
	switch (what) {
	case 't':
		return "a TD's name";
	case 'v':
		return "a vCPU";
	case 'g':
		return "an address";
	case 'z':
		return "a size";
	case 'l':
		return "a level, 4k, 2m or 1g";
	case 'n':
		return "a page's number";
	default:
		return "private or shared";
	}
}

static int unknown_op(struct program_parser *ps, const struct program_word *w, char who)
{
	const char *words[PROGRAM_OP_COUNT + 1];
	char shown[64];
	u32 n = 0;

	for (u32 i = 0; i < PROGRAM_OP_COUNT; i++) {
		if (op_rows[i].who == who)
			words[n++] = op_rows[i].word;
		else if (program_word_is(w, op_rows[i].word))
			return program_complain(ps, w, "%s is %s: expected one of %s's",
						program_show(w, shown, sizeof(shown)),
						who == 'G' ? "for host threads" : "for vCPUs",
						who == 'G' ? "a vCPU" : "the host");
	}
	words[n] = NULL;
	return program_unknown(ps, w, "operation", words);
}

int program_parse_op(struct program_parser *ps, char who, u32 td, u32 vcpu, u32 first,
		     struct program_op *op)
{
	const struct program_word *w = &ps->word[first];
	const struct op_row *row;
	u32 kind = 0, nr_args;
	int err = 0;

	if (first >= ps->nr_words)
		return program_complain(ps, NULL, "expected an operation");
	while (kind < PROGRAM_OP_COUNT &&
	       (op_rows[kind].who != who || !program_word_is(w, op_rows[kind].word)))
		kind++;
	if (kind == PROGRAM_OP_COUNT)
		return unknown_op(ps, w, who);
	row = &op_rows[kind];
	memset(op, 0, sizeof(*op));
	op->kind = (enum program_op_kind)kind;
	op->line = ps->line;
	op->column = w->column;
	op->td = td;
	op->vcpu = vcpu;
	nr_args = (u32)strlen(row->args);
	for (u32 i = 0; i < nr_args && !err; i++) {
		if (first + 1 + i >= ps->nr_words)
			return program_complain(ps, NULL, "%s: expected %s", row->word,
						argument_name(row->args[i]));
		err = parse_argument(ps, &ps->word[first + 1 + i], row->args[i], op);
	}
	if (!err && ps->nr_words > first + 1 + nr_args)
		return program_complain(ps, &ps->word[first + 1 + nr_args],
					"%s: expected nothing after %u argument%s", row->word,
					nr_args, nr_args == 1 ? "" : "s");
	return err;
}

/* ---- and back --------------------------------------------------------------------------------*/
static const char *level_word(enum pg_level level)
{
	const struct program_value *v = program_levels;

	while (v->value != (int)level)
		v++;
	return v->word;
}

static size_t print_argument(const struct program *p, const struct program_op *op, char what,
			     char *text, size_t size)
{
	switch (what) {
	case 't':
		return (size_t)snprintf(text, size, "%s", p->td[op->td].name);
	case 'v':
		return (size_t)snprintf(text, size, "%s.%u", p->td[op->td].name, op->vcpu);
	case 'g':
		return (size_t)snprintf(text, size, "0x%llx", (unsigned long long)op->gpa);
	case 'z':
		return program_print_bytes(op->size, text, size);
	case 'l':
		return (size_t)snprintf(text, size, "%s", level_word(op->level));
	case 'n':
		return (size_t)snprintf(text, size, "%llu", (unsigned long long)op->number);
	default:
		return (size_t)snprintf(text, size, "%s", op->private ? "private" : "shared");
	}
}

size_t program_print_op(const struct program *p, const struct program_op *op, char *text,
			size_t size)
{
	const struct op_row *row = &op_rows[op->kind];
	size_t n = (size_t)snprintf(text, size, "%s", row->word);

	for (u32 i = 0; row->args[i]; i++) {
		char argument[32];

		print_argument(p, op, row->args[i], argument, sizeof(argument));
		n += (size_t)snprintf(n < size ? text + n : NULL, n < size ? size - n : 0, " %s",
				      argument);
	}
	return n;
}

struct printer {
	char *text;
	size_t size, n;
};

static void __printf(2, 3) put(struct printer *out, const char *fmt, ...)
{
	bool room = out->n < out->size;
	va_list args;

	va_start(args, fmt);
	out->n += (size_t)vsnprintf(room ? out->text + out->n : NULL, room ? out->size - out->n : 0,
				    fmt, args);
	va_end(args);
}

static void put_ops(struct printer *out, const struct program *p, const struct program_op *ops,
		    u32 nr, bool serial)
{
	for (u32 i = 0; i < nr; i++) {
		char op[128];

		program_print_op(p, &ops[i], op, sizeof(op));
		if (!serial)
			put(out, "\t%s\n", op);
		else if (op_rows[ops[i].kind].who == 'G')
			put(out, "\t%s.%u: %s\n", p->td[ops[i].td].name, ops[i].vcpu, op);
		else
			put(out, "\thost: %s\n", op);
	}
}

size_t program_print(const struct program *p, char *text, size_t size)
{
	struct printer out = {text, size, 0};
	char line[256];

	if (size)
		text[0] = '\0';
	program_print_machine(&p->machine, line, sizeof(line));
	put(&out, "machine%s\n", line);
	for (u32 i = 0; i < p->nr_tds; i++) {
		program_print_td(&p->td[i], line, sizeof(line));
		put(&out, "td %s%s\n", p->td[i].name, line);
	}
	if (p->nr_setup)
		put(&out, "setup\n");
	put_ops(&out, p, p->setup, p->nr_setup, true);
	for (u32 i = 0; i < p->nr_threads; i++) {
		put(&out, "thread %s\n", p->thread[i].name);
		put_ops(&out, p, p->thread[i].op, p->thread[i].nr_ops, false);
	}
	if (p->nr_finally)
		put(&out, "finally\n");
	put_ops(&out, p, p->finally, p->nr_finally, true);
	return out.n;
}
