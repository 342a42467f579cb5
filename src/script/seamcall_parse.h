/* SPDX-License-Identifier: MIT */
/* script: what the two halves of the seamcall parser share. All return 0, -EINVAL or -ENOMEM. */
#ifndef SCRIPT_SEAMCALL_PARSE_H
#define SCRIPT_SEAMCALL_PARSE_H

#include "script/seamcall_lex.h"
#include "script/seamcall_script.h"

struct sc_parser {
	struct sc_lexer lex;
	struct seamcall_script *script;
	struct seamcall_error *error;
	bool has_host;
};

/** sc_parse_value - NUMBER, SYMBOL, or a sum of them */
int sc_parse_value(struct sc_parser *p, u64 *value);
/** sc_parse_bounded - the same, less than @bound */
int sc_parse_bounded(struct sc_parser *p, u64 bound, const char *what, u64 *value);
/** sc_expect_token - step over a token of @kind, or complain that @what was expected */
int sc_expect_token(struct sc_parser *p, enum sc_token_kind kind, const char *what);
/** sc_parse_vcpu - TD.NUMBER into @st->td, @st->vcpu */
int sc_parse_vcpu(struct sc_parser *p, struct sc_statement *st);
/** sc_directive_name - name of directive @i, NULL past the last */
const char *sc_directive_name(unsigned int i);

/* The rest of a line that began with host or td. */
int sc_parse_host(struct sc_parser *p, struct sc_statement *st);
int sc_parse_td(struct sc_parser *p, struct sc_statement *st);

#endif
