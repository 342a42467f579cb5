/* SPDX-License-Identifier: MIT */
/* Delta debugging of sequences: what can go, goes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "explore/sequence_impl.h"

struct shrinker {
	struct sequence *s;
	struct sequence trial; /* room for all operations of *s */
	bool (*fails)(void *ctx, const struct sequence *s);
	void *ctx;
	int asked;
};

/* The trial becomes the sequence if it fails. */
static bool keep(struct shrinker *sh)
{
	sh->asked++;
	if (!sh->fails(sh->ctx, &sh->trial))
		return false;
	memcpy(sh->s->option, sh->trial.option, sizeof(sh->s->option));
	memcpy(sh->s->op, sh->trial.op, sh->trial.nr * sizeof(*sh->s->op));
	sh->s->nr = sh->trial.nr;
	return true;
}

static void copy(struct shrinker *sh)
{
	memcpy(sh->trial.option, sh->s->option, sizeof(sh->s->option));
	memcpy(sh->trial.op, sh->s->op, sh->s->nr * sizeof(*sh->s->op));
	sh->trial.nr = sh->s->nr;
}

static bool try_without(struct shrinker *sh, u32 first, u32 nr)
{
	copy(sh);
	memmove(&sh->trial.op[first], &sh->trial.op[first + nr],
		(sh->trial.nr - first - nr) * sizeof(*sh->trial.op));
	sh->trial.nr -= nr;
	return keep(sh);
}

/* From the back: what comes last has the fewest that depend on it. */
static bool drop_pieces(struct shrinker *sh, u32 piece)
{
	bool dropped = false;

	for (u32 end = sh->s->nr; end;) {
		u32 first = end > piece ? end - piece : 0;

		dropped |= try_without(sh, first, end - first);
		end = first;
	}
	return dropped;
}

static bool drop_operations(struct shrinker *sh)
{
	bool dropped = false;

	for (u32 piece = sh->s->nr / 2; piece > 1; piece /= 2)
		dropped |= drop_pieces(sh, piece);
	while (sh->s->nr && drop_pieces(sh, 1))
		dropped = true;
	return dropped;
}

static bool try_op(struct shrinker *sh, u32 i, const struct sequence_op *op)
{
	if (!memcmp(&sh->s->op[i], op, sizeof(*op)))
		return false;
	copy(sh);
	sh->trial.op[i] = *op;
	return keep(sh);
}

#define TRY(sh, i, field, number)                        \
	({                                               \
		struct sequence_op op_ = (sh)->s->op[i]; \
		op_.field = (number);                    \
		try_op(sh, i, &op_);                     \
	})

static void simplify_op(struct shrinker *sh, u32 i)
{
	const struct sequence_op *op = &sh->s->op[i];

	TRY(sh, i, alloc, 0);
	TRY(sh, i, busy, 0);
	TRY(sh, i, td, 0);
	TRY(sh, i, vcpu, 0);
	TRY(sh, i, level, 0);
	TRY(sh, i, private, 0);
	TRY(sh, i, page, 0);
	TRY(sh, i, page, op->page & 511);
	TRY(sh, i, page, op->page & (u16)~511);
	for (u16 nr = 1; nr < op->nr && !TRY(sh, i, nr, nr); nr = (u16)(nr * 2))
		;
}

static void simplify_options(struct shrinker *sh)
{
	for (u32 i = 0; i < SEQUENCE_OPTION_COUNT; i++) {
		if (!sh->s->option[i])
			continue;
		copy(sh);
		sh->trial.option[i] = 0;
		keep(sh);
	}
}

int sequence_shrink(struct sequence *s, bool (*fails)(void *ctx, const struct sequence *s),
		    void *ctx)
{
	struct shrinker sh = {.s = s, .fails = fails, .ctx = ctx};

	sh.trial.op = calloc(s->nr ? s->nr : 1, sizeof(*s->op));
	if (!sh.trial.op)
		return -ENOMEM;
	do {
		drop_operations(&sh);
		simplify_options(&sh);
		for (u32 i = 0; i < s->nr; i++)
			simplify_op(&sh, i);
	} while (drop_operations(&sh));
	free(sh.trial.op);
	return sh.asked;
}
