/* SPDX-License-Identifier: MIT */
/* script/program, inside: words of a line, and what parser and printer know of options. */
#ifndef SCRIPT_PROGRAM_IMPL_H
#define SCRIPT_PROGRAM_IMPL_H

#include "script/program.h"

#define PROGRAM_MAX_WORDS 24 /* of one line */

struct program_word {
	const char *text;
	size_t length;
	u32 column; /* from 1, in bytes */
};

struct program_parser {
	struct program *p;
	struct program_error *error;
	const char *at, *end;
	u32 line;
	struct program_word word[PROGRAM_MAX_WORDS];
	u32 nr_words;

	bool has_machine;
	enum { SECTION_NONE, SECTION_SETUP, SECTION_THREAD, SECTION_FINALLY } section;
};

/* A word and what it stands for; a list ends with word NULL. */
struct program_value {
	const char *word;
	int value;
};

extern const struct program_value program_levels[];

static inline bool program_word_is(const struct program_word *w, const char *text)
{
	size_t i = 0;

	for (; i < w->length && text[i]; i++)
		if (w->text[i] != text[i])
			return false;
	return i == w->length && !text[i];
}

/* program.c */
/** program_complain - fill the error at @w (NULL: after the line's last word). Return: -EINVAL */
int program_complain(struct program_parser *ps, const struct program_word *w, const char *fmt, ...)
	__printf(3, 4);
/** program_show - @w printable and short, in quotes */
const char *program_show(const struct program_word *w, char *text, size_t size);
/** program_unknown - @w is none of @words: the nearest, or all of them. Return: -EINVAL */
int program_unknown(struct program_parser *ps, const struct program_word *w, const char *what,
		    const char *const *words);
int program_parse_number(struct program_parser *ps, const struct program_word *w, u64 *value);
/** program_parse_bytes - a number, or a size (4K); a multiple of 4K */
int program_parse_bytes(struct program_parser *ps, const struct program_word *w, const char *what,
			u64 *value);
int program_parse_value(struct program_parser *ps, const struct program_word *w, const char *what,
			const struct program_value *values, int *value);

/* program_options.c: words from number @first on, "name=value" each. Return: 0 or -EINVAL */
void program_default_machine(struct machine_config *m);
void program_default_td(struct program_td *td);
int program_parse_machine(struct program_parser *ps, u32 first);
int program_parse_td(struct program_parser *ps, struct program_td *td, u32 first);
/* What differs from the defaults, each after a blank; as snprintf() */
size_t program_print_machine(const struct machine_config *m, char *text, size_t size);
size_t program_print_td(const struct program_td *td, char *text, size_t size);

/* program_ops.c */
/** program_parse_op - words from number @first on; @who: 'G' of vCPU @td.@vcpu, or 'H' */
int program_parse_op(struct program_parser *ps, char who, u32 td, u32 vcpu, u32 first,
		     struct program_op *op);
/** program_find_vcpu - "a.0"; false: not the name of one, and *@td is nr_tds if the TD isn't known */
bool program_find_vcpu(const struct program *p, const char *text, size_t length, u32 *td,
		       u32 *vcpu);

/* program_check.c: the program as a whole, once all lines are read. Return: 0 or -EINVAL */
int program_check(struct program_parser *ps);

/* A number for people: sizes as such where that is exact; as snprintf() */
size_t program_print_bytes(u64 bytes, char *text, size_t size);

#endif
