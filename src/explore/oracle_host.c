/* SPDX-License-Identifier: MIT */
/*
 * What a page holds, and what the host does to it. An access of the host's isn't over when its word is
 * moved, so its place among others' is only known to be between its begin and its end.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "explore/world.h"

/* ---- values ----------------------------------------------------------------------------------*/
void oracle_set_value(struct world *w, struct oracle_run *r, u64 value)
{
	u32 i = r->nr_was++ % ORACLE_VALUES;

	r->was[i] = r->value;
	r->was_until[i] = w->moment;
	r->value = value;
	r->nr_alt = 0;
}

static bool remove_value(u64 *values, u32 *nr, u64 value)
{
	for (u32 i = 0; i < *nr; i++) {
		if (values[i] == value) {
			values[i] = values[--*nr];
			return true;
		}
	}
	return false;
}

void oracle_add_alt(struct oracle_run *r, u64 value)
{
	if (r->nr_alt < ORACLE_VALUES)
		r->alt[r->nr_alt++] = value;
}

bool oracle_find_value(struct world *w, struct oracle_run *r, u64 value)
{
	if (value == r->value) {
		r->nr_alt = 0;
		return true;
	}
	if (!remove_value(r->alt, &r->nr_alt, value) &&
	    !remove_value(r->coming, &r->nr_coming, value) && (value || r->private || !r->removing))
		return false;
	oracle_set_value(w, r, value);
	return true;
}

/* Did the page hold @value at any moment from @since on? */
static bool held_since(const struct oracle_run *r, u64 value, u64 since)
{
	for (u32 i = 0; i < ORACLE_VALUES && i < r->nr_was; i++)
		if (r->was[i] == value && r->was_until[i] >= since)
			return true;
	return false;
}

bool oracle_was_pinned(const struct oracle_run *r, u64 since)
{
	return oracle_is_pinned(r) || r->pinning || r->pinned_at >= since;
}

bool oracle_is_pinned(const struct oracle_run *r)
{
	for (u32 i = 0; i < ARRAY_SIZE(r->pins); i++)
		if (r->pins[i])
			return true;
	return false;
}

/* ---- operations ------------------------------------------------------------------------------*/
static struct oracle_run *run_of(struct world_actor *a, const struct program_op *op)
{
	struct world_td *td = &a->w->td[op->td];

	return &td->run[oracle_run_at(td, addr_to_fn(op->gpa))];
}

void oracle_host_begin(struct world_actor *a, const struct program_op *op, u64 value)
{
	struct oracle_run *r = run_of(a, op);

	if (op->kind == OP_HOST_WRITE && r->nr_coming < ORACLE_VALUES)
		r->coming[r->nr_coming++] = value;
	if (op->kind == OP_PIN || op->kind == OP_UNPIN)
		r->pinning++;
	if (op->kind == OP_UNPIN && r->pins[a->index])
		r->pins[a->index]--;
}

static void written(struct world_actor *a, struct oracle_run *r, u64 value)
{
	struct world *w = a->w;

	/* Somebody has read it already, or has overwritten it after that. */
	if (!remove_value(r->coming, &r->nr_coming, value))
		return;
	if (r->flipped_at > a->began) {
		if (!r->private)
			oracle_add_alt(r, value);
		return;
	}
	if (r->written_at > a->began) {
		oracle_add_alt(r, value);
	} else {
		oracle_set_value(w, r, value);
		if (r->removing || r->asked_at > a->began)
			oracle_add_alt(r, 0);
	}
	r->written_at = w->moment;
}

static void check_read(struct world_actor *a, struct oracle_run *r, u64 value)
{
	bool may_be_zero = r->removing || r->asked_at > a->began || r->flipped_at > a->began;

	if (oracle_find_value(a->w, r, value) || held_since(r, value, a->began) ||
	    (!value && may_be_zero))
		return;
	oracle_fail(a->w, ORACLE_BYTES,
		    "the host read 0x%" PRIx64 " at gfn 0x%" PRIx64 ", not 0x%" PRIx64, value,
		    r->gfn, r->value);
}

/* A page is the host's while it is shared. */
static void check_answer(struct world_actor *a, const struct program_op *op,
			 const struct oracle_run *r, int err)
{
	bool moves = r->flipped_at >= a->began || r->to_private || r->to_shared;

	if (!err && r->private && !moves)
		oracle_fail(a->w, ORACLE_WRONG_SIDE,
			    "the host got at private gfn 0x%" PRIx64 " in line %u", r->gfn,
			    op->line);
	if (err == -EFAULT && !r->private && !moves)
		oracle_fail(a->w, ORACLE_REFUSED, "shared gfn 0x%" PRIx64 " was refused in line %u",
			    r->gfn, op->line);
	if (err && err != -EFAULT && !(err == -EHWPOISON && r->failed) &&
	    !(err == -ENOMEM && a->w->injected))
		oracle_fail(a->w, ORACLE_REFUSED, "the operation of line %u has failed: %s",
			    op->line, strerror(-err));
}

void oracle_host_end(struct world_actor *a, const struct program_op *op, int err, u64 value)
{
	struct sched *s = oracle_pause();
	struct oracle_run *r = run_of(a, op);

	oracle_step(a->w);
	a->w->moment++;
	if (op->kind != OP_UNPIN)
		check_answer(a, op, r, err);
	if (op->kind == OP_HOST_WRITE && err)
		remove_value(r->coming, &r->nr_coming, value);
	else if (op->kind == OP_HOST_WRITE)
		written(a, r, value);
	else if (op->kind == OP_HOST_READ && !err)
		check_read(a, r, value);
	else if (op->kind == OP_PIN && !err)
		r->pins[a->index]++;
	if (op->kind == OP_PIN || op->kind == OP_UNPIN) {
		r->pinning--;
		r->pinned_at = a->w->moment;
	}
	oracle_resume(s);
}
