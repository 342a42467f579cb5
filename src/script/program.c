/* SPDX-License-Identifier: MIT */
/* script/program: bytes to lines and words, sections, complaints. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "script/nearest.h"
#include "script/program_impl.h"

/* ---- complaints ------------------------------------------------------------------------------*/
const char *program_show(const struct program_word *w, char *text, size_t size)
{
	size_t n = 0;

	text[n++] = '\'';
	for (size_t i = 0; i < w->length && n + 5 < size && i < 40; i++) {
		char c = w->text[i];

		text[n++] = c > ' ' && c <= '~' ? c : '?';
	}
	if (w->length > 40)
		for (int i = 0; i < 3 && n + 2 < size; i++)
			text[n++] = '.';
	text[n++] = '\'';
	text[n] = '\0';
	return text;
}

int program_complain(struct program_parser *ps, const struct program_word *w, const char *fmt, ...)
{
	const struct program_word *last = &ps->word[ps->nr_words ? ps->nr_words - 1 : 0];
	va_list args;

	ps->error->line = ps->line;
	if (w)
		ps->error->column = w->column;
	else
		ps->error->column = ps->nr_words ? last->column + (u32)last->length : 1;
	va_start(args, fmt);
	vsnprintf(ps->error->what, sizeof(ps->error->what), fmt, args);
	va_end(args);
	return -EINVAL;
}

int program_unknown(struct program_parser *ps, const struct program_word *w, const char *what,
		    const char *const *words)
{
	char shown[64], list[100] = "";
	struct nearest near;
	size_t n = 0;

	program_show(w, shown, sizeof(shown));
	nearest_begin(&near, w->text, w->length);
	for (u32 i = 0; words[i]; i++)
		nearest_offer(&near, words[i]);
	if (near.found[0])
		return program_complain(ps, w, "unknown %s %s: did you mean '%s'?", what, shown,
					near.found);
	for (u32 i = 0; words[i] && n < sizeof(list); i++)
		n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%s",
				      !i ? "" : (words[i + 1] ? ", " : " or "), words[i]);
	return program_complain(ps, w, "unknown %s %s: expected %s", what, shown, list);
}

/* ---- numbers ---------------------------------------------------------------------------------*/
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

/* Digits of @w from @*at on; false: none, or too large. */
static bool read_digits(const struct program_word *w, size_t *at, u64 *value)
{
	bool hex = w->length > 2 && w->text[0] == '0' && w->text[1] == 'x';
	u64 base = hex ? 16 : 10;
	size_t first;

	*at = hex ? 2 : 0;
	*value = 0;
	for (first = *at; *at < w->length; ++*at) {
		u64 digit = (u64)digit_of(w->text[*at]);

		if (digit >= base)
			break;
		if (*value > (UINT64_MAX - digit) / base)
			return false;
		*value = *value * base + digit;
	}
	return *at > first;
}

int program_parse_number(struct program_parser *ps, const struct program_word *w, u64 *value)
{
	char shown[64];
	size_t at;

	if (read_digits(w, &at, value) && at == w->length)
		return 0;
	return program_complain(ps, w, "%s: expected a number, such as 7 or 0x200000",
				program_show(w, shown, sizeof(shown)));
}

int program_parse_bytes(struct program_parser *ps, const struct program_word *w, const char *what,
			u64 *value)
{
	static const char suffixes[] = "KMGT";
	char shown[64];
	const char *suffix;
	size_t at;

	program_show(w, shown, sizeof(shown));
	if (!read_digits(w, &at, value))
		return program_complain(ps, w, "%s: expected %s, such as 0x200000 or 4K", shown,
					what);
	if (at + 1 == w->length && w->text[at]) {
		suffix = strchr(suffixes, w->text[at]);
		if (suffix && *value <= UINT64_MAX >> 10 * (suffix - suffixes + 1)) {
			*value <<= 10 * (suffix - suffixes + 1);
			at++;
		}
	}
	if (at != w->length)
		return program_complain(ps, w, "%s: expected %s, such as 0x200000 or 4K", shown,
					what);
	if (!IS_ALIGNED(*value, PAGE_SIZE))
		return program_complain(ps, w, "%s: expected %s that is a multiple of 4K", shown,
					what);
	return 0;
}

int program_parse_value(struct program_parser *ps, const struct program_word *w, const char *what,
			const struct program_value *values, int *value)
{
	const char *words[16];
	u32 n = 0;

	for (; values[n].word; n++) {
		words[n] = values[n].word;
		if (program_word_is(w, values[n].word)) {
			*value = values[n].value;
			return 0;
		}
	}
	words[n] = NULL;
	return program_unknown(ps, w, what, words);
}

/* ---- lines and words -------------------------------------------------------------------------*/
static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* The next line's words; false at the end of the text, or after a complaint. */
static bool next_line(struct program_parser *ps, int *err)
{
	const char *start = ps->at, *end, *at;

	if (ps->at == ps->end)
		return false;
	end = memchr(start, '\n', (size_t)(ps->end - start));
	ps->at = end ? end + 1 : ps->end;
	end = end ? end : ps->end;
	ps->line++;
	ps->nr_words = 0;
	for (at = start; at < end && *at != '#';) {
		struct program_word *w = &ps->word[ps->nr_words];

		if (is_blank(*at)) {
			at++;
			continue;
		}
		if (ps->nr_words == PROGRAM_MAX_WORDS) {
			*err = program_complain(ps, NULL, "more than %d words: expected fewer",
						PROGRAM_MAX_WORDS);
			return false;
		}
		w->text = at;
		w->column = (u32)(at - start) + 1;
		while (at < end && *at != '#' && !is_blank(*at))
			at++;
		w->length = (size_t)(at - w->text);
		ps->nr_words++;
	}
	return true;
}

/* ---- sections --------------------------------------------------------------------------------*/
static int parse_td_line(struct program_parser *ps)
{
	struct program *p = ps->p;
	const struct program_word *w = &ps->word[1];
	struct program_td *td = &p->td[p->nr_tds];
	char shown[64];

	if (ps->section != SECTION_NONE)
		return program_complain(ps, &ps->word[0],
					"'td' after a section: expected TDs before 'setup' and "
					"threads");
	if (p->nr_tds == PROGRAM_MAX_TDS)
		return program_complain(ps, &ps->word[0], "expected at most %d TDs",
					PROGRAM_MAX_TDS);
	if (ps->nr_words < 2)
		return program_complain(ps, NULL, "expected a name, as in 'td a vcpus=2'");
	program_show(w, shown, sizeof(shown));
	for (size_t i = 0; i < w->length; i++) {
		char c = w->text[i];
		bool fine = (c >= 'a' && c <= 'z') || (i && c >= '0' && c <= '9');

		if (!fine || w->length >= sizeof(td->name))
			return program_complain(ps, w,
						"%s: expected a name of letters a to z and digits, "
						"%zu at most",
						shown, sizeof(td->name) - 1);
	}
	if (program_word_is(w, "host"))
		return program_complain(ps, w, "'host' is the host: expected another name");
	for (u32 i = 0; i < p->nr_tds; i++)
		if (program_word_is(w, p->td[i].name))
			return program_complain(ps, w, "%s: there is such a TD", shown);
	memset(td, 0, sizeof(*td));
	memcpy(td->name, w->text, w->length);
	program_default_td(td);
	p->nr_tds++;
	return program_parse_td(ps, td, 2);
}

static int parse_machine_line(struct program_parser *ps)
{
	if (ps->has_machine)
		return program_complain(ps, &ps->word[0], "expected one machine");
	ps->has_machine = true;
	return program_parse_machine(ps, 1);
}

/* "host" or "host.2" */
static bool is_host_name(const struct program_word *w)
{
	if (program_word_is(w, "host"))
		return true;
	for (size_t i = 5; i < w->length; i++)
		if (w->text[i] < '0' || w->text[i] > '9')
			return false;
	return w->length > 5 && w->length < 16 && !memcmp(w->text, "host.", 5);
}

static int unknown_who(struct program_parser *ps, const struct program_word *w, size_t length,
		       u32 td)
{
	struct program_word name = {w->text, length, w->column};
	char shown[64];

	program_show(&name, shown, sizeof(shown));
	if (td < ps->p->nr_tds)
		return program_complain(ps, w, "%s: TD %s has vCPUs %s.0 to %s.%u", shown,
					ps->p->td[td].name, ps->p->td[td].name, ps->p->td[td].name,
					ps->p->td[td].nr_vcpus - 1);
	return program_complain(ps, w, "%s: expected a vCPU, such as %s.0, or 'host'", shown,
				ps->p->nr_tds ? ps->p->td[0].name : "a");
}

static int parse_thread_line(struct program_parser *ps)
{
	struct program *p = ps->p;
	const struct program_word *w = &ps->word[1];
	struct program_thread *t = &p->thread[p->nr_threads];
	char shown[64];

	if (ps->section == SECTION_FINALLY)
		return program_complain(ps, &ps->word[0],
					"'thread' after 'finally': expected threads before it");
	if (ps->nr_words != 2)
		return program_complain(ps, ps->nr_words > 2 ? &ps->word[2] : NULL,
					"expected one name, as in 'thread a.0' or 'thread host'");
	if (p->nr_threads == PROGRAM_MAX_THREADS)
		return program_complain(ps, w, "expected at most %d threads", PROGRAM_MAX_THREADS);
	program_show(w, shown, sizeof(shown));
	memset(t, 0, sizeof(*t));
	t->line = ps->line;
	t->column = w->column;
	t->is_vcpu = !is_host_name(w);
	if (t->is_vcpu && !program_find_vcpu(p, w->text, w->length, &t->td, &t->vcpu))
		return unknown_who(ps, w, w->length, t->td);
	memcpy(t->name, w->text, min_u64(w->length, sizeof(t->name) - 1));
	for (u32 i = 0; i < p->nr_threads; i++)
		if (!strcmp(p->thread[i].name, t->name))
			return program_complain(
				ps, w, "there is a thread %s: expected another name", shown);
	if (t->is_vcpu && p->td[t->td].later)
		return program_complain(ps, w,
					"%s runs before its TD is made: expected 'create' "
					"first, and its vCPUs in 'finally'",
					shown);
	p->nr_threads++;
	ps->section = SECTION_THREAD;
	return 0;
}

static int begin_section(struct program_parser *ps)
{
	bool setup = program_word_is(&ps->word[0], "setup");

	if (ps->nr_words > 1)
		return program_complain(ps, &ps->word[1], "expected nothing after '%s'",
					setup ? "setup" : "finally");
	if (setup && ps->section != SECTION_NONE)
		return program_complain(ps, &ps->word[0], "expected 'setup' once, before threads");
	if (!setup && ps->section == SECTION_FINALLY)
		return program_complain(ps, &ps->word[0], "expected 'finally' once");
	ps->section = setup ? SECTION_SETUP : SECTION_FINALLY;
	return 0;
}

/* "a.0: accept ..." */
static int parse_serial_op(struct program_parser *ps, struct program_op *ops, u32 *nr)
{
	const struct program_word *w = &ps->word[0];
	struct program_word who = {w->text, w->length - 1, w->column};
	u32 td = 0, vcpu = 0;
	int err;

	if (w->text[w->length - 1] != ':')
		return program_complain(ps, w,
					"expected who does it, as in 'a.0: accept 0x200000 4k' or "
					"'host: punch a 0x200000 4K'");
	if (*nr == PROGRAM_MAX_OPS)
		return program_complain(ps, w, "expected at most %d operations", PROGRAM_MAX_OPS);
	if (is_host_name(&who))
		err = program_parse_op(ps, 'H', 0, 0, 1, &ops[*nr]);
	else if (program_find_vcpu(ps->p, who.text, who.length, &td, &vcpu))
		err = program_parse_op(ps, 'G', td, vcpu, 1, &ops[*nr]);
	else
		err = unknown_who(ps, w, who.length, td);
	*nr += !err;
	return err;
}

static int parse_thread_op(struct program_parser *ps)
{
	struct program_thread *t = &ps->p->thread[ps->p->nr_threads - 1];
	int err;

	if (t->nr_ops == PROGRAM_MAX_OPS)
		return program_complain(ps, &ps->word[0], "expected at most %d operations",
					PROGRAM_MAX_OPS);
	err = program_parse_op(ps, t->is_vcpu ? 'G' : 'H', t->td, t->vcpu, 0, &t->op[t->nr_ops]);
	t->nr_ops += !err;
	return err;
}

static int parse_line(struct program_parser *ps)
{
	const struct program_word *w = &ps->word[0];

	if (program_word_is(w, "machine"))
		return parse_machine_line(ps);
	if (!ps->has_machine) {
		char shown[64];

		return program_complain(ps, w,
					"%s: expected a machine first, as in 'machine memory=1G'",
					program_show(w, shown, sizeof(shown)));
	}
	if (program_word_is(w, "td"))
		return parse_td_line(ps);
	if (program_word_is(w, "thread"))
		return parse_thread_line(ps);
	if (program_word_is(w, "setup") || program_word_is(w, "finally"))
		return begin_section(ps);
	switch (ps->section) {
	case SECTION_SETUP:
		return parse_serial_op(ps, ps->p->setup, &ps->p->nr_setup);
	case SECTION_FINALLY:
		return parse_serial_op(ps, ps->p->finally, &ps->p->nr_finally);
	case SECTION_THREAD:
		return parse_thread_op(ps);
	case SECTION_NONE:
		break;
	}
	return program_unknown(ps, w, "line",
			       (const char *const[]){"td", "setup", "thread", "finally", NULL});
}

int program_parse(const char *name, const char *text, size_t length, struct program *p,
		  struct program_error *error)
{
	struct program_parser ps = {.p = p, .error = error, .at = text, .end = text + length};
	int err = 0;

	memset(p, 0, sizeof(*p));
	memset(error, 0, sizeof(*error));
	snprintf(p->name, sizeof(p->name), "%s", name);
	program_default_machine(&p->machine);
	while (!err && next_line(&ps, &err))
		if (ps.nr_words)
			err = parse_line(&ps);
	return err ? err : program_check(&ps);
}
