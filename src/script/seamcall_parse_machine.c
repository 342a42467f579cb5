/* SPDX-License-Identifier: MIT */
/* The two lines that make things: host and td, with their options. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "script/nearest.h"
#include "script/seamcall_parse.h"
#include "seam/seam.h"

#define MEMORY_MAX (16ULL << 40)

struct choice {
	const char *word;
	u32 value;
};

static const struct choice switches[] = {{"on", 1}, {"off", 0}, {"1", 1}, {"0", 0}, {NULL, 0}};
static const struct choice gpaws[] = {{"48", 48}, {"52", 52}, {NULL, 0}};
static const struct choice page_walks[] = {{"4", 4}, {"5", 5}, {NULL, 0}};
static const struct choice td_states[] = {
	{"runnable", SC_TD_RUNNABLE},	{"initialized", SC_TD_INITIALIZED},
	{"allocated", SC_TD_ALLOCATED}, {"keys", SC_TD_KEYS},
	{"created", SC_TD_CREATED},	{NULL, 0}};

/* One of a few words; the complaint lists them. */
static int parse_choice(struct sc_parser *p, const struct choice *choices, u32 *value)
{
	char list[96] = "";

	for (const struct choice *c = choices; c->word; c++) {
		size_t used = strlen(list);

		if (sc_token_is(&p->lex.token, c->word)) {
			*value = c->value;
			sc_lex_next(&p->lex);
			return 0;
		}
		snprintf(list + used, sizeof(list) - used, "%s%s", used ? ", " : "", c->word);
	}
	return sc_complain(&p->lex, p->error, "expected one of %s", list);
}

static int parse_switch(struct sc_parser *p, bool *value)
{
	u32 v = 0;
	int err = parse_choice(p, switches, &v);

	*value = v;
	return err;
}

/* 4G, 16T: whole gibibytes. */
static int parse_memory(struct sc_parser *p, u64 *bytes)
{
	const struct sc_token *token = &p->lex.token;
	u64 n = 0, unit = 0;
	size_t i = 0;

	while (i < token->length && i < 8 && token->text[i] >= '0' && token->text[i] <= '9')
		n = n * 10 + (u64)(token->text[i++] - '0');
	if (token->kind == SC_TOK_NUMBER && i + 1 == token->length) {
		if (token->text[i] == 'M')
			unit = 1ULL << 20;
		else if (token->text[i] == 'G')
			unit = 1ULL << 30;
		else if (token->text[i] == 'T')
			unit = 1ULL << 40;
	}
	if (!unit || !n || !IS_ALIGNED(n * unit, SIZE_1G) || n * unit > MEMORY_MAX)
		return sc_complain(&p->lex, p->error, "expected whole gibibytes: 1G to 16T");
	*bytes = n * unit;
	sc_lex_next(&p->lex);
	return 0;
}

static int parse_profile(struct sc_parser *p, const struct seam_profile **profile)
{
	char word[32], list[96] = "";

	snprintf(word, sizeof(word), "%.*s", (int)p->lex.token.length, p->lex.token.text);
	*profile = seam_profile_by_name(word);
	if (*profile) {
		sc_lex_next(&p->lex);
		return 0;
	}
	for (unsigned int i = 0; seam_profile_at(i); i++) {
		size_t used = strlen(list);

		snprintf(list + used, sizeof(list) - used, "%s%s", used ? ", " : "",
			 seam_profile_at(i)->name);
	}
	return sc_complain(&p->lex, p->error, "expected a module profile: %s", list);
}

/* Which of @names the token is, followed by '=' unless it is the first, a bare word; or complain. */
static int parse_option_name(struct sc_parser *p, const char *const *names, int *which)
{
	struct nearest near;
	char list[128] = "";

	for (int i = 0; names[i]; i++) {
		size_t used = strlen(list);

		if (sc_token_is(&p->lex.token, names[i])) {
			*which = i;
			sc_lex_next(&p->lex);
			return i ? sc_expect_token(p, SC_TOK_EQUALS, "'='") : 0;
		}
		snprintf(list + used, sizeof(list) - used, "%s%s", used ? ", " : "", names[i]);
	}
	nearest_begin(&near, p->lex.token.text, p->lex.token.length);
	for (int i = 0; names[i]; i++)
		nearest_offer(&near, names[i]);
	return sc_complain(&p->lex, p->error, "expected an option (%s)%s%s%s", list,
			   near.found[0] ? "; did you mean '" : "", near.found,
			   near.found[0] ? "'?" : "");
}

int sc_parse_host(struct sc_parser *p, struct sc_statement *st)
{
	static const char *const names[] = {"raw", "memory", "dpamt", "lps", "profile", NULL};
	struct sc_host_config *host = &p->script->host;
	struct sc_lexer start = p->lex;
	int which, err = 0;
	u64 lps = 4;

	(void)st;
	*host = (struct sc_host_config){.memory = 4 * SIZE_1G,
					.profile = seam_profile_by_name("1.5.25")};
	while (!err && p->lex.token.kind != SC_TOK_END) {
		err = parse_option_name(p, names, &which);
		if (err)
			break;
		if (which == 0)
			host->raw = true;
		else if (which == 1)
			err = parse_memory(p, &host->memory);
		else if (which == 2)
			err = parse_switch(p, &host->dpamt);
		else if (which == 3)
			err = sc_parse_bounded(p, SC_MAX_LPS + 1, "logical processors", &lps);
		else
			err = parse_profile(p, &host->profile);
	}
	if (!err && !lps)
		err = sc_complain(&start, p->error, "expected at least lps=1");
	if (!err && host->dpamt && !host->profile->dynamic_pamt)
		err = sc_complain(&start, p->error,
				  "expected dpamt=off: module %s has no Dynamic PAMT",
				  host->profile->name);
	host->lps = (u32)lps;
	p->has_host = true;
	return err;
}

/* A name that can't be taken for another symbol or a directive. */
static int parse_td_name(struct sc_parser *p, struct sc_td_config *td)
{
	const struct sc_token *token = &p->lex.token;
	bool like_page = token->length > 1 && *token->text == 'p' &&
			 strspn(token->text + 1, "0123456789") >= token->length - 1;

	if (token->kind != SC_TOK_WORD || memchr(token->text, '.', token->length) || like_page ||
	    sc_token_is(token, "tdmrs") || token->length >= sizeof(td->name))
		return sc_complain(
			&p->lex, p->error,
			"expected a name for the TD: letters and digits, not pN or tdmrs");
	memcpy(td->name, token->text, token->length);
	for (u32 i = 0; i < p->script->nr_tds; i++)
		if (!strcmp(p->script->tds[i].name, td->name))
			return sc_complain(&p->lex, p->error, "expected a new name: TD %s is there",
					   td->name);
	sc_lex_next(&p->lex);
	return 0;
}

static int parse_td_option(struct sc_parser *p, struct sc_td_config *td)
{
	static const char *const names[] = {
		"raw",	 "gpaw",  "levels",	     "vcpus",
		"state", "debug", "sept_ve_disable", "flexible_pending_ve",
		NULL};
	u32 value = 0;
	int which, err;
	u64 vcpus;

	err = parse_option_name(p, names, &which);
	if (err)
		return err;
	switch (which) {
	case 0:
		td->state = SC_TD_RAW;
		return 0;
	case 1:
		return parse_choice(p, gpaws, &td->gpaw);
	case 2:
		return parse_choice(p, page_walks, &td->levels);
	case 3:
		err = sc_parse_bounded(p, p->script->host.lps + 1, "vCPUs, one a logical processor",
				       &vcpus);
		td->vcpus = err ? 0 : (u32)vcpus;
		return err;
	case 4:
		err = parse_choice(p, td_states, &value);
		td->state = (enum sc_td_state)value;
		return err;
	case 5:
		return parse_switch(p, &td->debug);
	case 6:
		return parse_switch(p, &td->sept_ve_disable);
	default:
		return parse_switch(p, &td->flexible_pending_ve);
	}
}

int sc_parse_td(struct sc_parser *p, struct sc_statement *st)
{
	struct seamcall_script *s = p->script;
	struct sc_td_config td = {
		.state = SC_TD_RUNNABLE, .vcpus = 1, .gpaw = 48, .sept_ve_disable = true};
	int err;

	if (s->nr_tds == SC_MAX_TDS)
		return sc_complain(&p->lex, p->error, "expected at most %u TDs, a key id each",
				   (unsigned int)SC_MAX_TDS);
	err = parse_td_name(p, &td);
	while (!err && p->lex.token.kind != SC_TOK_END)
		err = parse_td_option(p, &td);
	if (!err && td.state == SC_TD_RUNNABLE && !td.vcpus)
		err = sc_complain(&p->lex, p->error,
				  "expected vcpus=1 or more for a TD that can run");
	if (err)
		return err;
	if (!td.levels)
		td.levels = td.gpaw == 52 ? 5 : 4;
	st->td = (u16)s->nr_tds;
	s->tds[s->nr_tds++] = td;
	return 0;
}
