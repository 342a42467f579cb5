/* SPDX-License-Identifier: MIT */
/*
 * The specification: what operations do to pages, without a word of how. An operation in flight lets
 * both sides of its change be right; the change itself is seen when it happens (an attribute that has
 * flipped, a page that the module gave back), and must be one that somebody has asked for.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/sched_impl.h"
#include "explore/world.h"
#include "vm/internal.h"

static const char *const line_names[] = {
#define ORACLE(sym, name, sentence) [sym] = name,
#include "explore/oracle.def"
#undef ORACLE
};

/* ---- failing ---------------------------------------------------------------------------------*/
void oracle_fail(struct world *w, enum oracle_line line, const char *fmt, ...)
{
	va_list args;

	w->failed = true;
	snprintf(w->out->oracle, sizeof(w->out->oracle), "%s", line_names[line]);
	va_start(args, fmt);
	vsnprintf(w->out->text, sizeof(w->out->text), fmt, args);
	va_end(args);
	sched_fail("%s: %s", w->out->oracle, w->out->text);
}

struct sched *oracle_pause(void)
{
	struct sched *s = sync_sched;

	sync_sched = NULL;
	return s;
}

void oracle_resume(struct sched *s)
{
	sync_sched = s;
}

/* ---- runs ------------------------------------------------------------------------------------*/
static bool has_page(const struct program_op *op)
{
	switch (op->kind) {
	case OP_READ:
	case OP_WRITE:
	case OP_TOUCH:
	case OP_FAIL:
	case OP_HOST_WRITE:
	case OP_HOST_READ:
	case OP_PIN:
	case OP_UNPIN:
		return true;
	default:
		return false;
	}
}

u64 oracle_bytes_of(const struct program_op *op)
{
	if (has_page(op))
		return PAGE_SIZE;
	return op->kind == OP_ACCEPT || op->kind == OP_PROMOTE ? level_size(op->level) : op->size;
}

static void add_end(struct world_td *td, gfn_t gfn)
{
	u32 i = td->nr_runs;

	for (u32 j = 0; j < td->nr_runs; j++)
		if (td->run[j].gfn == gfn)
			return;
	for (; i && td->run[i - 1].gfn > gfn; i--)
		td->run[i] = td->run[i - 1];
	td->run[i] = (struct oracle_run){.gfn = gfn, .private = true};
	td->nr_runs++;
}

static void add_op(struct world *w, const struct program_op *op)
{
	struct world_td *td = &w->td[op->td];
	gfn_t end = addr_to_fn(op->gpa + oracle_bytes_of(op));

	if (!oracle_bytes_of(op))
		return;
	add_end(td, addr_to_fn(op->gpa));
	if (end < addr_to_fn(td->program->memory_bytes))
		add_end(td, end);
	/* A page of its own also where a 2M ACCEPT falls back to 4K. */
	if (op->kind == OP_ACCEPT &&
	    addr_to_fn(op->gpa) + 1 < addr_to_fn(td->program->memory_bytes))
		add_end(td, addr_to_fn(op->gpa) + 1);
}

static void name_op(struct world *w, const struct program_op *op)
{
	struct world_td *td = &w->td[op->td];

	if (has_page(op) || op->kind == OP_ACCEPT)
		td->run[oracle_run_at(td, addr_to_fn(op->gpa))].named = true;
}

static void each_op(struct world *w, void (*fn)(struct world *w, const struct program_op *op))
{
	const struct program *p = w->program;

	for (u32 i = 0; i < p->nr_setup; i++)
		fn(w, &p->setup[i]);
	for (u32 t = 0; t < p->nr_threads; t++)
		for (u32 i = 0; i < p->thread[t].nr_ops; i++)
			fn(w, &p->thread[t].op[i]);
	for (u32 i = 0; i < p->nr_finally; i++)
		fn(w, &p->finally[i]);
}

void oracle_plan(struct world *w)
{
	for (u32 i = 0; i < w->program->nr_tds; i++) {
		struct world_td *td = &w->td[i];

		td->run = w->runs[i];
		td->view = w->views[i];
		td->nr_runs = 0;
		add_end(td, 0);
	}
	each_op(w, add_op);
	for (u32 i = 0; i < w->program->nr_tds; i++) {
		struct world_td *td = &w->td[i];

		for (u32 r = 0; r < td->nr_runs; r++) {
			gfn_t end = r + 1 < td->nr_runs ? td->run[r + 1].gfn
							: addr_to_fn(td->program->memory_bytes);

			td->run[r].nr = end - td->run[r].gfn;
			td->view[r] = 0;
		}
	}
	each_op(w, name_op);
}

u32 oracle_run_at(const struct world_td *td, gfn_t gfn)
{
	u32 i = td->nr_runs - 1;

	while (td->run[i].gfn > gfn)
		i--;
	return i;
}

void oracle_runs(const struct world_td *td, gpa_t gpa, u64 size, u32 *first, u32 *end)
{
	*first = oracle_run_at(td, addr_to_fn(gpa));
	*end = oracle_run_at(td, addr_to_fn(gpa + size) - 1) + 1;
}

/* ---- operations ------------------------------------------------------------------------------*/
static bool converts(const struct program_op *op)
{
	return op->kind == OP_CONVERT || op->kind == OP_SHARE || op->kind == OP_UNSHARE;
}

static bool to_private(const struct program_op *op)
{
	return op->kind == OP_UNSHARE || (op->kind == OP_CONVERT && op->private);
}

static bool punches(const struct program_op *op)
{
	return op->kind == OP_PUNCH || op->kind == OP_DISCARD;
}

static bool removes(const struct program_op *op)
{
	return punches(op) || op->kind == OP_ZAP;
}

static void count_op(struct world *w, const struct program_op *op, bool begins)
{
	struct world_td *td = &w->td[op->td];
	u32 one = begins ? 1 : (u32)-1;
	u32 first, end;

	if (!converts(op) && !removes(op))
		return;
	if (converts(op))
		w->conversions += one;
	oracle_runs(td, op->gpa, op->size, &first, &end);
	for (u32 i = first; i < end; i++) {
		struct oracle_run *r = &td->run[i];

		if (punches(op)) {
			r->holes += one;
			r->holed_at = w->moment;
			r->lost = false;
		}
		if (removes(op))
			r->removing += one;
		else if (to_private(op))
			r->to_private += one;
		else
			r->to_shared += one;
		*(begins ? &r->asked_at : &r->settled_at) = w->moment;
	}
}

/* The page; where its leaf can't be split, as something was made to fail, all of the huge page goes. */
static void fail_pages(struct world *w, const struct program_op *op)
{
	struct world_td *td = &w->td[op->td];
	enum pg_level pool = program_pool_level(td->program), level = PG_LEVEL_4K;
	gfn_t gfn = addr_to_fn(op->gpa);

	if (w->setup.injection.fail_alloc || w->setup.injection.seamcall)
		level = pool ? pool : PG_LEVEL_2M;
	for (u32 i = 0; i < td->nr_runs; i++)
		if (fn_align_down(td->run[i].gfn, level) == fn_align_down(gfn, level))
			td->run[i].failed = true;
}

static void note_state(struct world *w)
{
	if (w->counting && w->out->nr_states < EXPLORE_MAX_STATES)
		w->out->state[w->out->nr_states++] = oracle_hash(w);
}

void oracle_begin(struct world_actor *a, const struct program_op *op)
{
	struct sched *s = oracle_pause();
	struct world *w = a->w;
	struct world_caller *c = &w->caller[sched_running() % WORLD_MAX_CALLERS];

	a->op = op;
	a->began = ++w->moment;
	c->actor = a;
	c->td = &w->td[op->td];
	count_op(w, op, true);
	oracle_leaves_begin(a, op);
	if (op->kind == OP_TEARDOWN)
		w->td[op->td].dying = true;
	if (op->kind == OP_FAIL)
		fail_pages(w, op);
	note_state(w);
	oracle_resume(s);
	sync_mark("begin", op->line);
}

/* What took the page away is over: it is gone, unless it has come back meanwhile. */
static void check_removed(struct world_actor *a, const struct world_td *td, struct oracle_run *r)
{
	if (punches(a->op) && oracle_is_pinned(r) && !r->pinning && r->pinned_at < a->began)
		oracle_fail(a->w, ORACLE_HELD,
			    "TD %s: gfn 0x%" PRIx64
			    " was taken by the hole of line %u, and somebody holds it",
			    td->program->name, r->gfn, a->op->line);
	if (r->private) {
		if (r->named && !r->failed && r->accepted && r->accepted_at < a->began)
			oracle_fail(a->w, ORACLE_KEPT,
				    "TD %s: gfn 0x%" PRIx64
				    " is still there after the operation of "
				    "line %u",
				    td->program->name, r->gfn, a->op->line);
		return;
	}
	/* A zap leaves what is shared as it is. */
	if (a->op->kind == OP_ZAP)
		return;
	if (r->written_at < a->began)
		oracle_set_value(a->w, r, 0);
	else
		oracle_add_alt(r, 0);
}

static void check_converted(struct world_actor *a, const struct world_td *td,
			    const struct oracle_run *r)
{
	bool others = r->asked_at > a->began || (to_private(a->op) ? r->to_shared : r->to_private);

	if (r->private != to_private(a->op) && r->flipped_at < a->began && !others)
		oracle_fail(a->w, ORACLE_ATTRIBUTE,
			    "TD %s: gfn 0x%" PRIx64 " is %s after the operation of line %u",
			    td->program->name, r->gfn, r->private ? "private" : "shared",
			    a->op->line);
}

/* Nobody else can have taken the page, so the failed operation has. */
static void check_untouched(struct world_actor *a, const struct world_td *td,
			    const struct oracle_run *r)
{
	bool others = r->asked_at > a->began || r->removing || r->to_private || r->to_shared;

	if (!others && (r->removed_at > a->began || r->flipped_at > a->began))
		oracle_fail(a->w, ORACLE_HALF_DONE,
			    "TD %s: the operation of line %u has failed, and gfn 0x%" PRIx64
			    " isn't what it was",
			    td->program->name, a->op->line, r->gfn);
}

static void check_range(struct world_actor *a, struct world_td *td, int err)
{
	u32 first, end;

	oracle_runs(td, a->op->gpa, a->op->size, &first, &end);
	for (u32 i = first; i < end; i++) {
		if (err)
			check_untouched(a, td, &td->run[i]);
		else if (removes(a->op))
			check_removed(a, td, &td->run[i]);
		else
			check_converted(a, td, &td->run[i]);
	}
}

/* Has somebody held a page of the range meanwhile? */
static bool was_pinned(const struct world_td *td, const struct program_op *op, u64 began)
{
	u32 first, end;

	oracle_runs(td, op->gpa, op->size, &first, &end);
	for (u32 i = first; i < end; i++)
		if (oracle_was_pinned(&td->run[i], began))
			return true;
	return false;
}

/* May the operation answer @err? */
static bool may_answer(const struct world *w, const struct world_td *td,
		       const struct program_op *op, u64 began, int err)
{
	if (!err || td->dead || (err == -EIO && td->may_die))
		return true;
	switch (op->kind) {
	case OP_PROMOTE:
		return err == -EAGAIN || err == -ENOENT;
	case OP_HOST_WRITE:
	case OP_HOST_READ:
	case OP_PIN:
		return true; /* oracle_host_end() has looked at it */
	case OP_CONVERT:
	case OP_PUNCH:
		if (err == -EAGAIN && was_pinned(td, op, began))
			return true;
		break;
	default:
		break;
	}
	return err == -ENOMEM && w->injected && w->setup.injection.fail_alloc;
}

void oracle_end(struct world_actor *a, int err)
{
	const struct program_op *op = a->op;
	struct sched *s = oracle_pause();
	struct world *w = a->w;
	struct world_td *td = &w->td[op->td];
	struct world_caller *c = &w->caller[sched_running() % WORLD_MAX_CALLERS];

	oracle_step(w);
	w->moment++;
	oracle_td_died(w, td);
	if (!may_answer(w, td, op, a->began, err))
		oracle_fail(w, ORACLE_REFUSED, "the operation of line %u has failed: %s", op->line,
			    strerror(-err));
	count_op(w, op, false);
	if (!td->dead) {
		oracle_nothing_open(w);
		oracle_leaves_end(a, err);
		if (converts(op) || removes(op))
			check_range(a, td, err);
	}
	c->open.leaf = 0;
	c->unwritten.left = 0;
	c->actor = NULL;
	c->td = NULL;
	w->out->operations++;
	a->op = NULL;
	note_state(w);
	oracle_resume(s);
	sync_mark("end", op->line);
}

/* ---- at every moment -------------------------------------------------------------------------*/
static void flip(struct world *w, struct world_td *td, struct oracle_run *r, bool private)
{
	if (!(private ? r->to_private : r->to_shared))
		oracle_fail(w, ORACLE_ATTRIBUTE,
			    "TD %s: gfn 0x%" PRIx64 " has become %s, which nobody asked for",
			    td->program->name, r->gfn, private ? "private" : "shared");
	if (private && oracle_is_pinned(r))
		oracle_fail(w, ORACLE_HELD,
			    "TD %s: gfn 0x%" PRIx64 " has become private, and somebody holds it",
			    td->program->name, r->gfn);
	if (!private && r->accepted && r->named)
		oracle_fail(w, ORACLE_KEPT,
			    "TD %s: gfn 0x%" PRIx64 " is shared while the guest still has it as "
			    "private memory",
			    td->program->name, r->gfn);
	r->private = private;
	r->accepted = false;
	r->flipped_at = w->moment;
	oracle_set_value(w, r, 0);
}

/* A TD that was stopped, or is going, may look like anything. */
static bool is_watched(const struct world_td *td)
{
	return td->vm && !td->dying && !vm_is_dead(td->vm);
}

void oracle_step(struct world *w)
{
	oracle_hold_off(w);
	if (w->nr_retired)
		oracle_readers(w);
	if (!w->conversions)
		return;
	for (u32 i = 0; i < w->program->nr_tds; i++) {
		struct world_td *td = &w->td[i];

		for (u32 r = 0; is_watched(td) && r < td->nr_runs; r++) {
			bool private = gmem_is_private(vm_file(td->vm), td->run[r].gfn);

			if (private != td->run[r].private) {
				w->moment++;
				flip(w, td, &td->run[r], private);
			}
		}
	}
}

bool oracle_td_died(struct world *w, struct world_td *td)
{
	if (!td->vm || !vm_is_dead(td->vm))
		return td->dead;
	/* Who stops it may not have come to say why. */
	if (!td->may_die)
		oracle_fail(w, ORACLE_DEAD, "TD %s was stopped: %s", td->program->name,
			    td->vm->why[0] ? td->vm->why : "just now");
	td->dead = true;
	return true;
}
