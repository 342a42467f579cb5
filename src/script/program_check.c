/* SPDX-License-Identifier: MIT */
/*
 * script/program: what no line alone can tell. A program must be right whatever the order of its
 * threads' steps, as far as words can say: a TD is used while it is there, and a Dynamic PAMT
 * reference is given back by who has it.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "script/program_impl.h"

static int complain_at(struct program_parser *ps, u32 line, u32 column, const char *word,
		       const char *what)
{
	const struct program_word at = {.column = column};

	ps->line = line;
	return program_complain(ps, &at, "'%s': %s", word, what);
}

/* @fmt: of what is wrong, with room for a TD's name */
static int __printf(3, 4)
	complain_op(struct program_parser *ps, const struct program_op *op, const char *fmt, ...)
{
	char word[64], what[128];
	va_list args;

	program_print_op(ps->p, op, word, sizeof(word));
	va_start(args, fmt);
	vsnprintf(what, sizeof(what), fmt, args);
	va_end(args);
	return complain_at(ps, op->line, op->column, word, what);
}

/* Does the operation name a TD? */
static bool uses_td(const struct program_op *op)
{
	return op->kind != OP_PAMT_GET && op->kind != OP_PAMT_PUT;
}

/* ---- the lives of TDs ------------------------------------------------------------------------*/
struct td_life {
	bool lives;
};

static int check_lives(struct program_parser *ps, const struct program_op *ops, u32 nr,
		       struct td_life *life)
{
	for (u32 i = 0; i < nr; i++) {
		const struct program_op *op = &ops[i];
		const char *name = ps->p->td[op->td].name;

		if (!uses_td(op))
			continue;
		if (op->kind == OP_CREATE) {
			if (!ps->p->td[op->td].later)
				return complain_op(ps, op,
						   "TD %s is made before set-up: expected 'later' "
						   "on its line",
						   name);
			if (life[op->td].lives)
				return complain_op(ps, op,
						   "TD %s is there already: expected 'teardown' "
						   "first",
						   name);
		} else if (!life[op->td].lives) {
			return complain_op(ps, op, "TD %s isn't there: expected 'create' first",
					   name);
		}
		life[op->td].lives = op->kind != OP_TEARDOWN;
	}
	return 0;
}

/* Who else uses a TD that thread @who creates or tears down? */
static int check_alone(struct program_parser *ps, const struct program_op *op, u32 who)
{
	const struct program *p = ps->p;

	for (u32 t = 0; t < p->nr_threads; t++) {
		if (t == who)
			continue;
		for (u32 i = 0; i < p->thread[t].nr_ops; i++) {
			const struct program_op *other = &p->thread[t].op[i];

			if (uses_td(other) && other->td == op->td)
				return complain_op(ps, other,
						   "another thread creates or tears down TD %s",
						   p->td[op->td].name);
		}
		if (p->thread[t].is_vcpu && p->thread[t].td == op->td)
			return complain_at(ps, p->thread[t].line, p->thread[t].column,
					   p->thread[t].name,
					   "another thread creates or tears down its TD");
	}
	return 0;
}

static int check_tds(struct program_parser *ps)
{
	const struct program *p = ps->p;
	struct td_life before[PROGRAM_MAX_TDS] = {0}, after[PROGRAM_MAX_TDS];
	int err;

	for (u32 i = 0; i < p->nr_tds; i++)
		before[i].lives = !p->td[i].later;
	err = check_lives(ps, p->setup, p->nr_setup, before);
	for (u32 i = 0; i < p->nr_tds; i++)
		after[i] = before[i];
	for (u32 t = 0; t < p->nr_threads && !err; t++) {
		const struct program_thread *thread = &p->thread[t];
		struct td_life life[PROGRAM_MAX_TDS];

		for (u32 i = 0; i < p->nr_tds; i++)
			life[i] = before[i];
		err = check_lives(ps, thread->op, thread->nr_ops, life);
		for (u32 i = 0; i < thread->nr_ops && !err; i++)
			if (thread->op[i].kind == OP_CREATE || thread->op[i].kind == OP_TEARDOWN)
				err = check_alone(ps, &thread->op[i], t);
		for (u32 i = 0; i < p->nr_tds; i++)
			if (life[i].lives != before[i].lives)
				after[i] = life[i];
	}
	return err ? err : check_lives(ps, p->finally, p->nr_finally, after);
}

/* ---- references ------------------------------------------------------------------------------*/
static int count_refs(struct program_parser *ps, const struct program_op *ops, u32 nr, u64 page,
		      int *refs)
{
	for (u32 i = 0; i < nr; i++) {
		if ((ops[i].kind != OP_PAMT_GET && ops[i].kind != OP_PAMT_PUT) ||
		    ops[i].number != page)
			continue;
		*refs += ops[i].kind == OP_PAMT_GET ? 1 : -1;
		if (*refs < 0 || *refs > 1)
			return complain_op(ps, &ops[i], "%s",
					   *refs < 0 ? "nobody holds that page: expected "
						       "'pamt-get' first"
						     : "that page is held already: expected "
						       "'pamt-put' first");
	}
	return 0;
}

/* Of each page: by turns, and by one thread alone, since threads have no order. */
static int check_refs_of(struct program_parser *ps, u64 page)
{
	const struct program *p = ps->p;
	int before = 0, after, users = 0;
	int err = count_refs(ps, p->setup, p->nr_setup, page, &before);

	after = before;
	for (u32 t = 0; t < p->nr_threads && !err; t++) {
		const struct program_thread *thread = &p->thread[t];
		int refs = before;

		for (u32 i = 0; i < thread->nr_ops; i++) {
			const struct program_op *op = &thread->op[i];

			if ((op->kind == OP_PAMT_GET || op->kind == OP_PAMT_PUT) &&
			    op->number == page) {
				if (++users > 1)
					return complain_op(ps, op,
							   "another thread uses that page: "
							   "expected one thread a page");
				break;
			}
		}
		err = count_refs(ps, thread->op, thread->nr_ops, page, &refs);
		if (refs != before)
			after = refs;
	}
	return err ? err : count_refs(ps, p->finally, p->nr_finally, page, &after);
}

static int check_refs_in(struct program_parser *ps, const struct program_op *ops, u32 nr)
{
	int err = 0;

	for (u32 i = 0; i < nr && !err; i++)
		if (ops[i].kind == OP_PAMT_GET || ops[i].kind == OP_PAMT_PUT)
			err = check_refs_of(ps, ops[i].number);
	return err;
}

static int check_refs(struct program_parser *ps)
{
	const struct program *p = ps->p;
	int err = check_refs_in(ps, p->setup, p->nr_setup);

	for (u32 t = 0; t < p->nr_threads && !err; t++)
		err = check_refs_in(ps, p->thread[t].op, p->thread[t].nr_ops);
	return err ? err : check_refs_in(ps, p->finally, p->nr_finally);
}

/* ---- the rest --------------------------------------------------------------------------------*/
/* Only a guest with #VE can end an access by one. */
static int check_touches(struct program_parser *ps, const struct program_op *ops, u32 nr)
{
	for (u32 i = 0; i < nr; i++)
		if (ops[i].kind == OP_TOUCH && !ps->p->td[ops[i].td].touch)
			return complain_op(ps, &ops[i],
					   "it ends in a #VE: expected accept=touch on the line "
					   "of TD %s",
					   ps->p->td[ops[i].td].name);
	return 0;
}

int program_check(struct program_parser *ps)
{
	const struct program *p = ps->p;
	int err;

	/* A text without an end of line is one line. */
	ps->nr_words = 0;
	ps->line = ps->line ? ps->line : 1;
	if (!ps->has_machine)
		return program_complain(ps, NULL,
					"nothing but blank lines and comments: expected a program: "
					"a machine first, as in 'machine memory=1G'");
	if (!p->nr_threads)
		return program_complain(ps, NULL,
					"the program ends without a thread: expected "
					"one, as in 'thread a.0'");
	err = check_tds(ps);
	if (!err)
		err = check_refs(ps);
	if (!err)
		err = check_touches(ps, p->setup, p->nr_setup);
	for (u32 t = 0; t < p->nr_threads && !err; t++)
		err = check_touches(ps, p->thread[t].op, p->thread[t].nr_ops);
	return err ? err : check_touches(ps, p->finally, p->nr_finally);
}
