/* SPDX-License-Identifier: MIT */
/* script: the words of a seamcall script, each with its place, and complaints about them. */
#ifndef SCRIPT_SEAMCALL_LEX_H
#define SCRIPT_SEAMCALL_LEX_H

#include "base/types.h"
#include "script/seamcall.h"

enum sc_token_kind {
	SC_TOK_END,    /* of the line; a comment counts as one */
	SC_TOK_WORD,   /* letter or _, then letters, digits, _ and . */
	SC_TOK_NUMBER, /* digit, then the same */
	SC_TOK_SYMBOL, /* $, then the same */
	SC_TOK_ARROW,  /* -> */
	SC_TOK_EQUALS,
	SC_TOK_PLUS,
	SC_TOK_SLASH,
	SC_TOK_COLON,
	SC_TOK_BAR,
	SC_TOK_OTHER, /* a byte that starts none of these */
};

struct sc_token {
	enum sc_token_kind kind;
	const char *text;
	size_t length;
	u32 column; /* from 1, in bytes */
};

struct sc_lexer {
	const char *at, *end, *line_start;
	u32 line; /* from 1 */
	struct sc_token token;
};

/** sc_lex_begin - stand before the first line; sc_lex_line() moves into it */
void sc_lex_begin(struct sc_lexer *lex, const char *text, size_t length);
/** sc_lex_line - move to the next line's first token; false at the end of the text */
bool sc_lex_line(struct sc_lexer *lex);
/** sc_lex_next - move to the next token; stays at SC_TOK_END */
void sc_lex_next(struct sc_lexer *lex);
/** sc_token_is - the token is exactly @word */
bool sc_token_is(const struct sc_token *token, const char *word);

/**
 * sc_complain - fill @error with "found 'TOKEN', " and the rest, at the current token's place
 *
 * Return: -EINVAL, for callers to pass on.
 */
int sc_complain(const struct sc_lexer *lex, struct seamcall_error *error, const char *fmt, ...)
	__printf(3, 4);

#endif
