/* SPDX-License-Identifier: MIT */
/*
 * Text to statements: numbers, symbols, registers, expectations, calls and directives. The options
 * of host and td are in seamcall_parse_machine.c.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "script/nearest.h"
#include "script/seamcall_parse.h"

/* "...: did you mean X?" after a complaint, when something is near. */
static int complain_near(struct sc_parser *p, const char *expected, const struct nearest *near)
{
	return sc_complain(&p->lex, p->error, "expected %s%s%s%s", expected,
			   near->found[0] ? "; did you mean '" : "", near->found,
			   near->found[0] ? "'?" : "");
}

/* ---- numbers and symbols ---------------------------------------------------------------------*/

static int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return 16;
}

static int parse_number(struct sc_parser *p, u64 *value)
{
	const struct sc_token *token = &p->lex.token;
	const char *at = token->text, *end = at + token->length;
	unsigned int base = 10;

	if (token->length > 2 && at[0] == '0' && (at[1] == 'x' || at[1] == 'X')) {
		base = 16;
		at += 2;
	}
	for (*value = 0; at < end; at++) {
		unsigned int digit = (unsigned int)digit_of(*at);

		if (digit >= base)
			return sc_complain(&p->lex, p->error, "expected a number: 0x1000 or 4096");
		if (__builtin_mul_overflow(*value, base, value) ||
		    __builtin_add_overflow(*value, digit, value))
			return sc_complain(&p->lex, p->error, "expected at most 64 bits");
	}
	return 0;
}

/* The number behind a one-letter or longer prefix, as in $p12 and t.1; false if it isn't one. */
static bool decimal_suffix(const char *text, size_t length, u64 *value)
{
	if (!length || length > 9)
		return false;
	for (*value = 0; length; text++, length--) {
		if (*text < '0' || *text > '9')
			return false;
		*value = *value * 10 + (u64)(*text - '0');
	}
	return true;
}

static int find_td(const struct sc_parser *p, const char *name, size_t length)
{
	for (u32 i = 0; i < p->script->nr_tds; i++) {
		const char *known = p->script->tds[i].name;

		if (strlen(known) == length && !memcmp(known, name, length))
			return (int)i;
	}
	return -1;
}

static int unknown_symbol(struct sc_parser *p)
{
	struct nearest near;
	char word[32];

	nearest_begin(&near, p->lex.token.text, p->lex.token.length);
	nearest_offer(&near, "$tdmrs");
	nearest_offer(&near, "$p0");
	for (u32 i = 0; i < p->script->nr_tds; i++) {
		const char *name = p->script->tds[i].name;

		snprintf(word, sizeof(word), "$%s", name);
		nearest_offer(&near, word);
		snprintf(word, sizeof(word), "$%s.0", name);
		nearest_offer(&near, word);
		snprintf(word, sizeof(word), "$%s.hkid", name);
		nearest_offer(&near, word);
		snprintf(word, sizeof(word), "$%s.params", name);
		nearest_offer(&near, word);
	}
	return complain_near(p, "a symbol: $TD, $TD.VCPU, $TD.hkid, $TD.params, $pN or $tdmrs",
			     &near);
}

/* $t, $t.1, $t.hkid, $t.params */
static int td_symbol(struct sc_parser *p, const char *name, size_t length, u64 *value)
{
	const char *dot = memchr(name, '.', length);
	size_t head = dot ? (size_t)(dot - name) : length, tail = dot ? length - head - 1 : 0;
	int td = find_td(p, name, head);
	u64 vcpu;

	if (td < 0)
		return unknown_symbol(p);
	if (!dot) {
		*value = sc_td_tdr((u32)td);
		return 0;
	}
	if (tail == 4 && !memcmp(dot + 1, "hkid", 4)) {
		*value = sc_td_hkid((u32)td);
		return 0;
	}
	if (tail == 6 && !memcmp(dot + 1, "params", 6)) {
		*value = sc_td_params((u32)td);
		return 0;
	}
	if (!decimal_suffix(dot + 1, tail, &vcpu))
		return unknown_symbol(p);
	if (vcpu >= p->script->tds[td].vcpus)
		return sc_complain(&p->lex, p->error, "expected a vCPU of %s, which has %u",
				   p->script->tds[td].name, p->script->tds[td].vcpus);
	*value = sc_td_tdvpr((u32)td, (u32)vcpu);
	return 0;
}

static int parse_symbol(struct sc_parser *p, u64 *value)
{
	const char *name = p->lex.token.text + 1;
	size_t length = p->lex.token.length - 1;
	u64 n;

	if (length > 1 && *name == 'p' && decimal_suffix(name + 1, length - 1, &n)) {
		if (n >= SC_NR_FREE_PAGES)
			return sc_complain(&p->lex, p->error, "expected $p0 to $p%u",
					   (unsigned int)SC_NR_FREE_PAGES - 1);
		*value = sc_free_page(n);
		return 0;
	}
	if (sc_token_is(&p->lex.token, "$tdmrs")) {
		*value = SC_TDMR_LIST;
		return 0;
	}
	return td_symbol(p, name, length, value);
}

static int parse_term(struct sc_parser *p, u64 *value)
{
	int err;

	if (p->lex.token.kind == SC_TOK_NUMBER)
		err = parse_number(p, value);
	else if (p->lex.token.kind == SC_TOK_SYMBOL)
		err = parse_symbol(p, value);
	else
		err = sc_complain(&p->lex, p->error, "expected a number or a $symbol");
	if (!err)
		sc_lex_next(&p->lex);
	return err;
}

int sc_parse_value(struct sc_parser *p, u64 *value)
{
	int err = parse_term(p, value);

	while (!err && p->lex.token.kind == SC_TOK_PLUS) {
		u64 more;

		sc_lex_next(&p->lex);
		err = parse_term(p, &more);
		if (!err && __builtin_add_overflow(*value, more, value))
			err = sc_complain(&p->lex, p->error,
					  "expected a sum of at most 64 bits before it");
	}
	return err;
}

int sc_parse_bounded(struct sc_parser *p, u64 bound, const char *what, u64 *value)
{
	struct sc_lexer start = p->lex;
	int err = sc_parse_value(p, value);

	if (err || *value < bound)
		return err;
	return sc_complain(&start, p->error, "expected %s: 0 to %llu", what,
			   (unsigned long long)bound - 1);
}

int sc_expect_token(struct sc_parser *p, enum sc_token_kind kind, const char *what)
{
	if (p->lex.token.kind != kind)
		return sc_complain(&p->lex, p->error, "expected %s", what);
	sc_lex_next(&p->lex);
	return 0;
}

/* ---- registers -------------------------------------------------------------------------------*/

static int add_assign(struct sc_parser *p, struct sc_assigns *list, const struct sc_assign *assign)
{
	struct seamcall_script *s = p->script;

	if (s->nr_assigns == s->max_assigns) {
		u32 max = s->max_assigns ? s->max_assigns * 2 : 64;
		struct sc_assign *more = reallocarray(s->assigns, max, sizeof(*more));

		if (!more)
			return -ENOMEM;
		s->assigns = more;
		s->max_assigns = max;
	}
	if (!list->count)
		list->first = s->nr_assigns;
	s->assigns[s->nr_assigns++] = *assign;
	list->count++;
	return 0;
}

static int find_reg(const struct sc_token *token)
{
	for (unsigned int i = 0; i < SC_REG_COUNT; i++)
		if (sc_token_is(token, sc_reg_name(i)))
			return (int)i;
	return -1;
}

static int unknown_reg(struct sc_parser *p, const char *others)
{
	struct nearest near;
	char expected[64];

	nearest_begin(&near, p->lex.token.text, p->lex.token.length);
	for (unsigned int i = 0; i < SC_REG_COUNT; i++)
		nearest_offer(&near, sc_reg_name(i));
	snprintf(expected, sizeof(expected), "a register (rax ... r15)%s", others);
	return complain_near(p, expected, &near);
}

static int parse_assign(struct sc_parser *p, struct sc_assigns *list, bool masks, u32 *seen,
			const char *others)
{
	struct sc_assign assign = {.mask = ~0ULL};
	int reg = find_reg(&p->lex.token), err;

	if (reg < 0)
		return unknown_reg(p, others);
	if (*seen >> reg & 1)
		return sc_complain(&p->lex, p->error, "expected each register once");
	*seen |= 1u << reg;
	assign.reg = (u8)reg;
	sc_lex_next(&p->lex);
	err = sc_expect_token(p, SC_TOK_EQUALS, "'='");
	if (!err)
		err = sc_parse_value(p, &assign.value);
	if (!err && masks && p->lex.token.kind == SC_TOK_SLASH) {
		sc_lex_next(&p->lex);
		err = sc_parse_value(p, &assign.mask);
	}
	return err ? err : add_assign(p, list, &assign);
}

/* ---- expectations ----------------------------------------------------------------------------*/

static const struct {
	const char *name;
	u64 value;
} statuses[] = {
#define TDX_STATUS(name, value) {"TDX_" #name, value},
#include "septum/statuses.def"
#undef TDX_STATUS
};

static int unknown_status(struct sc_parser *p, const char *expected)
{
	struct nearest near;

	nearest_begin(&near, p->lex.token.text, p->lex.token.length);
	for (size_t i = 0; i < ARRAY_SIZE(statuses); i++)
		nearest_offer(&near, statuses[i].name);
	return complain_near(p, expected, &near);
}

/* NAME or NAME|OPERAND, where OPERAND is a name of the manual or a number. */
static int parse_status_name(struct sc_parser *p, struct sc_expect *expect)
{
	size_t i = 0;
	u64 operand;
	int id, err;

	while (i < ARRAY_SIZE(statuses) && !sc_token_is(&p->lex.token, statuses[i].name))
		i++;
	if (i == ARRAY_SIZE(statuses))
		return unknown_status(p, "a status (TDX_...), a number or EXIT");
	expect->kind = SC_EXPECT_CLASS;
	expect->value = statuses[i].value;
	sc_lex_next(&p->lex);
	if (p->lex.token.kind != SC_TOK_BAR)
		return 0;
	sc_lex_next(&p->lex);
	expect->kind = SC_EXPECT_STATUS;
	id = sc_operand_id(p->lex.token.text, p->lex.token.length);
	if (id >= 0) {
		expect->value |= (u64)id;
		sc_lex_next(&p->lex);
		return 0;
	}
	if (p->lex.token.kind != SC_TOK_NUMBER)
		return sc_complain(&p->lex, p->error,
				   "expected an operand (RCX, R8, TDR, SEPT_TREE ...) or a number");
	err = sc_parse_bounded(p, 1ULL << 32, "32 bits", &operand);
	expect->value |= operand;
	return err;
}

/* What a guest's access may come to. */
static int parse_access_outcome(struct sc_parser *p, bool is_read, struct sc_expect *expect)
{
	const struct sc_token *token = &p->lex.token;

	if (is_read && (token->kind == SC_TOK_NUMBER || token->kind == SC_TOK_SYMBOL)) {
		expect->kind = SC_EXPECT_VALUE;
		return sc_parse_value(p, &expect->value);
	}
	if (sc_token_is(token, "OK"))
		expect->kind = SC_EXPECT_OK;
	else if (sc_token_is(token, "VE"))
		expect->kind = SC_EXPECT_VE;
	else if (sc_token_is(token, "MC"))
		expect->kind = SC_EXPECT_MC;
	else if (sc_token_is(token, "EXIT"))
		expect->kind = SC_EXPECT_EXIT;
	else
		return sc_complain(&p->lex, p->error, "expected OK, VE, MC%s or EXIT",
				   is_read ? ", a value" : "");
	sc_lex_next(&p->lex);
	return 0;
}

static int parse_call_outcome(struct sc_parser *p, struct sc_expect *expect)
{
	const struct sc_token *token = &p->lex.token;

	if (token->kind == SC_TOK_NUMBER) {
		expect->kind = SC_EXPECT_STATUS;
		return sc_parse_value(p, &expect->value);
	}
	if (sc_token_is(token, "EXIT")) {
		expect->kind = SC_EXPECT_EXIT;
		sc_lex_next(&p->lex);
		return 0;
	}
	if (token->kind == SC_TOK_WORD)
		return parse_status_name(p, expect);
	return sc_complain(&p->lex, p->error, "expected a status (TDX_...), a number or EXIT");
}

static int parse_outcome(struct sc_parser *p, struct sc_statement *st)
{
	struct sc_expect *expect = &st->expect;
	bool access = st->kind == SC_GUEST_READ || st->kind == SC_GUEST_WRITE;
	int err;

	if (st->kind == SC_ENTER && sc_token_is(&p->lex.token, "OK")) {
		expect->kind = SC_EXPECT_OK;
		sc_lex_next(&p->lex);
		return 0;
	}
	if (access || st->kind == SC_PEEK)
		err = parse_access_outcome(p, st->kind != SC_GUEST_WRITE, expect);
	else
		err = parse_call_outcome(p, expect);
	if (!err && st->kind == SC_EXIT && expect->kind != SC_EXPECT_EXIT)
		err = sc_complain(&p->lex, p->error, "expected '-> EXIT' for an exit");
	return err;
}

static int parse_expectation(struct sc_parser *p, struct sc_statement *st)
{
	u32 seen = 0;
	int err;

	if (p->lex.token.kind != SC_TOK_ARROW)
		return 0;
	sc_lex_next(&p->lex);
	st->expect.text = p->lex.token.text;
	err = parse_outcome(p, st);
	while (!err && p->lex.token.kind != SC_TOK_END)
		err = parse_assign(p, &st->expect.regs, true, &seen, " or the end of the line");
	st->expect.length = (size_t)(p->lex.at - st->expect.text);
	while (st->expect.length && strchr(" \t\r", st->expect.text[st->expect.length - 1]))
		st->expect.length--;
	return err;
}

/* ---- calls -----------------------------------------------------------------------------------*/

static int parse_call_operands(struct sc_parser *p, struct sc_statement *st, bool has_version)
{
	u32 seen = 0;
	u64 version;
	int err = 0;

	while (!err && p->lex.token.kind != SC_TOK_END && p->lex.token.kind != SC_TOK_ARROW) {
		if (!has_version || !sc_token_is(&p->lex.token, "version")) {
			err = parse_assign(p, &st->regs, false, &seen, ", version or '->'");
			continue;
		}
		sc_lex_next(&p->lex);
		err = sc_expect_token(p, SC_TOK_EQUALS, "'='");
		if (!err)
			err = sc_parse_bounded(p, 256, "a version", &version);
		st->version = err ? 0 : (u32)version;
	}
	if (!err && !st->leaf && has_version && !(seen & 1u << SC_RAX))
		err = sc_complain(&p->lex, p->error, "expected rax=, since no leaf is named");
	return err;
}

/* A leaf by name, or SEAMCALL / TDCALL with rax given. */
static int parse_call(struct sc_parser *p, struct sc_statement *st, bool guest)
{
	const struct sc_token *token = &p->lex.token;
	struct nearest near;

	st->kind = guest ? SC_GUEST_CALL : SC_CALL;
	st->leaf = sc_leaf_by_name(token->text, token->length);
	if (st->leaf && st->leaf->guest != guest)
		return sc_complain(&p->lex, p->error,
				   guest ? "expected a guest's leaf: TDG. ..."
					 : "expected a host's leaf: TDH. ...");
	if (st->leaf || sc_token_is(token, guest ? "TDCALL" : "SEAMCALL")) {
		sc_lex_next(&p->lex);
		return parse_call_operands(p, st, true);
	}
	nearest_begin(&near, token->text, token->length);
	nearest_offer(&near, guest ? "TDCALL" : "SEAMCALL");
	for (unsigned int i = 0; sc_leaf_at(i); i++)
		if (sc_leaf_at(i)->guest == guest)
			nearest_offer(&near, sc_leaf_at(i)->name);
	if (guest) {
		nearest_offer(&near, "read");
		nearest_offer(&near, "write");
		return complain_near(p, "a guest's leaf (TDG. ...), read or write", &near);
	}
	for (unsigned int i = 0; sc_directive_name(i); i++)
		nearest_offer(&near, sc_directive_name(i));
	return complain_near(p, "a leaf (TDH. ...), a directive or TD.VCPU:", &near);
}

/* ---- vCPUs and what they do ------------------------------------------------------------------*/

int sc_parse_vcpu(struct sc_parser *p, struct sc_statement *st)
{
	const struct sc_token *token = &p->lex.token;
	const char *dot = token->length ? memchr(token->text, '.', token->length) : NULL;
	size_t head = dot ? (size_t)(dot - token->text) : token->length;
	struct nearest near;
	u64 vcpu;
	int td = find_td(p, token->text, head);

	if (td < 0 || !dot || !decimal_suffix(dot + 1, token->length - head - 1, &vcpu)) {
		nearest_begin(&near, token->text, token->length);
		for (u32 i = 0; i < p->script->nr_tds; i++) {
			char word[32];

			snprintf(word, sizeof(word), "%s.0", p->script->tds[i].name);
			nearest_offer(&near, word);
		}
		return complain_near(p, "a vCPU: TD.NUMBER", &near);
	}
	if (vcpu >= p->script->tds[td].vcpus)
		return sc_complain(&p->lex, p->error, "expected a vCPU of %s, which has %u",
				   p->script->tds[td].name, p->script->tds[td].vcpus);
	st->td = (u16)td;
	st->vcpu = (u16)vcpu;
	sc_lex_next(&p->lex);
	return 0;
}

static int parse_address(struct sc_parser *p, u64 bound, const char *what, u64 *address)
{
	struct sc_lexer start = p->lex;
	int err = sc_parse_value(p, address);

	if (!err && (*address >= bound || !IS_ALIGNED(*address, 8)))
		return sc_complain(&start, p->error, "expected %s below 0x%llx, a multiple of 8",
				   what, (unsigned long long)bound);
	return err;
}

static int parse_guest(struct sc_parser *p, struct sc_statement *st)
{
	bool is_write = sc_token_is(&p->lex.token, "write");
	int err;

	if (!is_write && !sc_token_is(&p->lex.token, "read"))
		return parse_call(p, st, true);
	st->kind = is_write ? SC_GUEST_WRITE : SC_GUEST_READ;
	sc_lex_next(&p->lex);
	err = parse_address(p, BIT_ULL(52), "a guest address", &st->address);
	if (!err && is_write)
		err = sc_parse_value(p, &st->value);
	return err;
}

/* ---- directives ------------------------------------------------------------------------------*/

static int parse_lp_number(struct sc_parser *p, struct sc_statement *st)
{
	return sc_parse_bounded(p, p->script->host.lps, "a logical processor of this host",
				&st->value);
}

static int parse_vcpu_directive(struct sc_parser *p, struct sc_statement *st)
{
	int err = sc_parse_vcpu(p, st);

	/* Registers of VP.ENTER: what the host answers to a VP.VMCALL. */
	return err || st->kind != SC_ENTER ? err : parse_call_operands(p, st, false);
}

static int parse_sept(struct sc_parser *p, struct sc_statement *st)
{
	struct sc_lexer start = p->lex;
	u64 tdr;
	int err = sc_parse_value(p, &tdr);
	u32 td = 0;

	if (err)
		return err;
	while (td < p->script->nr_tds && sc_td_tdr(td) != tdr)
		td++;
	if (td == p->script->nr_tds)
		return sc_complain(&start, p->error, "expected a TD: $NAME");
	st->td = (u16)td;
	return sc_parse_bounded(p, BIT_ULL(52), "a guest address", &st->address);
}

static int parse_pamt(struct sc_parser *p, struct sc_statement *st)
{
	return sc_parse_bounded(p, p->script->host.memory, "a physical address of this host",
				&st->address);
}

static int parse_peek(struct sc_parser *p, struct sc_statement *st)
{
	int err = parse_address(p, p->script->host.memory, "a physical address", &st->address);

	return err || st->kind == SC_PEEK ? err : sc_parse_value(p, &st->value);
}

static int parse_hold(struct sc_parser *p, struct sc_statement *st)
{
	int err = parse_pamt(p, st);

	if (err || st->kind != SC_HOLD || !sc_token_is(&p->lex.token, "shared"))
		return err;
	st->value = 1;
	sc_lex_next(&p->lex);
	return 0;
}

static const struct {
	const char *name;
	enum sc_kind kind;
	int (*parse)(struct sc_parser *p, struct sc_statement *st);
} directives[] = {
	/* clang-format off: a row each */
	{"host", SC_HOST, sc_parse_host},	 {"td", SC_TD, sc_parse_td},
	{"lp", SC_LP, parse_lp_number},		 {"enter", SC_ENTER, parse_vcpu_directive},
	{"exit", SC_EXIT, parse_vcpu_directive}, {"interrupt", SC_INTERRUPT, parse_lp_number},
	{"nmi", SC_NMI, parse_lp_number},	 {"clear", SC_CLEAR, parse_lp_number},
	{"mask", SC_MASK, parse_lp_number},	 {"unmask", SC_UNMASK, parse_lp_number},
	{"sept", SC_SEPT, parse_sept},		 {"pamt", SC_PAMT, parse_pamt},
	{"peek", SC_PEEK, parse_peek},		 {"poke", SC_POKE, parse_peek},
	{"hold", SC_HOLD, parse_hold},		 {"release", SC_RELEASE, parse_hold},
	/* clang-format on */
};

const char *sc_directive_name(unsigned int i)
{
	return i < ARRAY_SIZE(directives) ? directives[i].name : NULL;
}

static bool takes_expectation(enum sc_kind kind)
{
	return kind == SC_CALL || kind == SC_GUEST_CALL || kind == SC_GUEST_READ ||
	       kind == SC_GUEST_WRITE || kind == SC_ENTER || kind == SC_EXIT || kind == SC_PEEK;
}

/* A word with a colon behind it names the vCPU that does the rest of the line. */
static bool is_guest_line(const struct sc_lexer *lex)
{
	struct sc_lexer ahead = *lex;

	if (ahead.token.kind != SC_TOK_WORD)
		return false;
	sc_lex_next(&ahead);
	return ahead.token.kind == SC_TOK_COLON;
}

static int parse_head(struct sc_parser *p, struct sc_statement *st)
{
	const struct sc_token *token = &p->lex.token;
	bool is_host = sc_token_is(token, "host");
	int err;

	if (!p->has_host && !is_host)
		return sc_complain(&p->lex, p->error,
				   "expected the machine first: host memory=4G dpamt=off lps=4");
	if (p->has_host && is_host)
		return sc_complain(&p->lex, p->error, "expected one host only");
	if (is_guest_line(&p->lex)) {
		err = sc_parse_vcpu(p, st);
		if (err)
			return err;
		sc_lex_next(&p->lex);
		return parse_guest(p, st);
	}
	for (size_t i = 0; i < ARRAY_SIZE(directives); i++) {
		if (!sc_token_is(token, directives[i].name))
			continue;
		st->kind = directives[i].kind;
		sc_lex_next(&p->lex);
		return directives[i].parse(p, st);
	}
	return parse_call(p, st, false);
}

static int parse_line(struct sc_parser *p, struct sc_statement *st)
{
	int err;

	*st = (struct sc_statement){.line = p->lex.line, .column = p->lex.token.column};
	err = parse_head(p, st);
	if (!err && takes_expectation(st->kind))
		err = parse_expectation(p, st);
	if (!err && p->lex.token.kind != SC_TOK_END)
		err = sc_complain(&p->lex, p->error, "expected the end of the line");
	return err;
}

static int add_statement(struct seamcall_script *s, const struct sc_statement *st)
{
	if (s->nr_statements == s->max_statements) {
		u32 max = s->max_statements ? s->max_statements * 2 : 64;
		struct sc_statement *more = reallocarray(s->statements, max, sizeof(*more));

		if (!more)
			return -ENOMEM;
		s->statements = more;
		s->max_statements = max;
	}
	s->statements[s->nr_statements++] = *st;
	return 0;
}

static int parse_all(struct sc_parser *p)
{
	while (sc_lex_line(&p->lex)) {
		struct sc_statement st;
		int err;

		if (p->lex.token.kind == SC_TOK_END)
			continue;
		err = parse_line(p, &st);
		if (!err)
			err = add_statement(p->script, &st);
		if (err)
			return err;
	}
	if (!p->has_host)
		return sc_complain(&p->lex, p->error, "expected at least: host memory=4G");
	return 0;
}

int seamcall_parse(const char *text, size_t length, struct seamcall_script **out,
		   struct seamcall_error *error)
{
	struct seamcall_script *script = calloc(1, sizeof(*script));
	struct sc_parser parser = {.script = script, .error = error};
	int err = -ENOMEM;

	*error = (struct seamcall_error){0};
	if (script)
		script->text = malloc(length + 1);
	if (script && script->text) {
		memcpy(script->text, text, length);
		script->text[length] = 0;
		sc_lex_begin(&parser.lex, script->text, length);
		err = parse_all(&parser);
	}
	if (!err) {
		*out = script;
		return 0;
	}
	if (err == -ENOMEM)
		snprintf(error->text, sizeof(error->text), "no memory for the script");
	seamcall_free(script);
	return err;
}

void seamcall_free(struct seamcall_script *script)
{
	if (!script)
		return;
	free(script->assigns);
	free(script->statements);
	free(script->text);
	free(script);
}
