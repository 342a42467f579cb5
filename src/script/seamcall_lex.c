/* SPDX-License-Identifier: MIT */
/* Bytes to tokens, one line at a time. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "script/seamcall_lex.h"

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_inner(char c)
{
	return is_letter(c) || is_digit(c) || c == '.';
}

void sc_lex_begin(struct sc_lexer *lex, const char *text, size_t length)
{
	*lex = (struct sc_lexer){.at = text, .end = text + length, .line_start = NULL};
}

bool sc_lex_line(struct sc_lexer *lex)
{
	if (lex->line_start) {
		const char *newline = memchr(lex->at, '\n', (size_t)(lex->end - lex->at));

		if (!newline)
			return false;
		lex->at = newline + 1;
	}
	if (lex->at == lex->end)
		return false;
	lex->line_start = lex->at;
	lex->line++;
	lex->token = (struct sc_token){.kind = SC_TOK_OTHER};
	sc_lex_next(lex);
	return true;
}

static enum sc_token_kind kind_of(const struct sc_lexer *lex)
{
	char c = *lex->at;

	if (is_letter(c))
		return SC_TOK_WORD;
	if (is_digit(c))
		return SC_TOK_NUMBER;
	switch (c) {
	case '$':
		return SC_TOK_SYMBOL;
	case '=':
		return SC_TOK_EQUALS;
	case '+':
		return SC_TOK_PLUS;
	case '/':
		return SC_TOK_SLASH;
	case ':':
		return SC_TOK_COLON;
	case '|':
		return SC_TOK_BAR;
	case '-':
		return lex->end - lex->at > 1 && lex->at[1] == '>' ? SC_TOK_ARROW : SC_TOK_OTHER;
	default:
		return SC_TOK_OTHER;
	}
}

void sc_lex_next(struct sc_lexer *lex)
{
	struct sc_token *token = &lex->token;

	if (token->kind == SC_TOK_END)
		return;
	while (lex->at < lex->end && (*lex->at == ' ' || *lex->at == '\t' || *lex->at == '\r'))
		lex->at++;
	token->text = lex->at;
	token->column = (u32)(lex->at - lex->line_start) + 1;
	token->length = 0;
	if (lex->at == lex->end || *lex->at == '\n' || *lex->at == '#') {
		token->kind = SC_TOK_END;
		return;
	}
	token->kind = kind_of(lex);
	lex->at += token->kind == SC_TOK_ARROW ? 2 : 1;
	if (token->kind == SC_TOK_WORD || token->kind == SC_TOK_NUMBER ||
	    token->kind == SC_TOK_SYMBOL)
		while (lex->at < lex->end && is_inner(*lex->at))
			lex->at++;
	token->length = (size_t)(lex->at - token->text);
}

bool sc_token_is(const struct sc_token *token, const char *word)
{
	return strlen(word) == token->length && !memcmp(word, token->text, token->length);
}

/* What was found, printable and short. */
static void show_token(const struct sc_token *token, char *buf, size_t size)
{
	unsigned char c = token->length ? (unsigned char)*token->text : 0;

	if (token->kind == SC_TOK_END)
		snprintf(buf, size, "the end of the line");
	else if (token->kind == SC_TOK_OTHER && (c < 0x20 || c >= 0x7F))
		snprintf(buf, size, "byte 0x%02x", c);
	else if (token->length > 40)
		snprintf(buf, size, "'%.37s...'", token->text);
	else
		snprintf(buf, size, "'%.*s'", (int)token->length, token->text);
}

int sc_complain(const struct sc_lexer *lex, struct seamcall_error *error, const char *fmt, ...)
{
	char found[64];
	va_list args;
	int used;

	show_token(&lex->token, found, sizeof(found));
	error->line = lex->line;
	error->column = lex->token.column;
	used = snprintf(error->text, sizeof(error->text), "found %s, ", found);
	va_start(args, fmt);
	vsnprintf(error->text + used, sizeof(error->text) - (size_t)used, fmt, args);
	va_end(args);
	return -EINVAL;
}
