/* SPDX-License-Identifier: MIT */
/*
 * What is asked of leaves when an operation has ended: that a split for dirty tracking left none large,
 * that a promotion left one, that memory which has failed has none. Others go on meanwhile, so what
 * they did to leaves in the range is kept down, moment by moment:
 *
 *	dirty tracking   begins --- splits --- splits, for the last time --- ends
 *	                   none from here that is there at the end    any from here
 *
 * The rule for what is in between: faults are kept out until all of the range has been looked at, so
 * none maps a large leaf behind the walk while it still has something to split.
 */
#include <inttypes.h>

#include "explore/world.h"
#include "mmu/spte.h"
#include "vm/internal.h"

static bool touches(const struct program_op *op, gfn_t gfn, enum pg_level level)
{
	return gfn < addr_to_fn(op->gpa + oracle_bytes_of(op)) &&
	       gfn + pages_per_level(level) > addr_to_fn(op->gpa);
}

/* ---- while operations go on ------------------------------------------------------------------*/
static void note_large(struct world *w, struct world_actor *a, const struct trace_spte *e)
{
	struct world_leaves *l = &a->leaves;

	if (l->nr_large < WORLD_MAX_LARGE)
		l->large[l->nr_large] = (struct world_large){e->gfn, e->mirror, w->moment};
	l->nr_large++;
}

void oracle_leaf_changed(struct world *w, struct world_td *td, const struct trace_spte *e)
{
	enum pg_level level = (enum pg_level)e->level;
	bool was = level > PG_LEVEL_4K && spte_is_leaf(e->old_spte, level);
	bool is = level > PG_LEVEL_4K && spte_is_leaf(e->new_spte, level);
	struct world_actor *self = w->caller[sched_running() % WORLD_MAX_CALLERS].actor;

	if (!was && !is)
		return;
	w->moment++;
	for (u32 i = 0; i <= w->program->nr_threads; i++) {
		struct world_actor *a = &w->actor[i];

		if (!a->op || &w->td[a->op->td] != td || !touches(a->op, e->gfn, level))
			continue;
		a->leaves.taken |= was && !is;
		if (is)
			note_large(w, a, e);
	}
	if (self && was && spte_is_present(e->new_spte))
		self->leaves.split_at = w->moment;
}

void oracle_leaves_begin(struct world_actor *a, const struct program_op *op)
{
	const struct world_td *td = &a->w->td[op->td];

	a->leaves = (struct world_leaves){.nr_large = 0};
	if (op->kind == OP_FAIL && td->vm)
		a->leaves.was_backed =
			gmem_folio_level(vm_file(td->vm), addr_to_fn(op->gpa)) != PG_LEVEL_NONE;
}

/* ---- dirty tracking --------------------------------------------------------------------------*/

/* When the large leaf was made, if since the operation began; 0: before. */
static u64 made_at(const struct world_leaves *l, gfn_t gfn, bool private)
{
	u64 at = 0;

	for (u32 i = 0; i < l->nr_large; i++)
		if (l->large[i].gfn == gfn && l->large[i].private == private)
			at = l->large[i].made_at;
	return at;
}

static void check_small(struct world_actor *a, const struct world_td *td, gfn_t gfn, bool private)
{
	struct mmu_mapping m;
	u64 at;

	if (!mmu_lookup(vm_mmu(td->vm), gfn, private, &m) || m.level == PG_LEVEL_4K)
		return;
	at = made_at(&a->leaves, m.gfn, private);
	if (!at)
		oracle_fail(a->w, ORACLE_SPLIT,
			    "TD %s: gfn 0x%" PRIx64
			    " is still mapped at level %d after the operation of line %u",
			    td->program->name, gfn, (int)m.level, a->op->line);
	if (at < a->leaves.split_at)
		oracle_fail(a->w, ORACLE_SPLIT,
			    "TD %s: gfn 0x%" PRIx64
			    " was mapped at level %d while the operation of line %u still had "
			    "something to split",
			    td->program->name, gfn, (int)m.level, a->op->line);
}

static void check_split(struct world_actor *a, const struct world_td *td)
{
	gfn_t end = addr_to_fn(a->op->gpa + a->op->size), next;

	if (a->leaves.nr_large > WORLD_MAX_LARGE)
		return;
	for (gfn_t gfn = addr_to_fn(a->op->gpa); gfn < end; gfn = next) {
		next = fn_align_down(gfn, PG_LEVEL_2M) + pages_per_level(PG_LEVEL_2M);
		check_small(a, td, gfn, true);
		check_small(a, td, gfn, false);
	}
}

/* ---- promotion -------------------------------------------------------------------------------*/
static void check_promoted(struct world_actor *a, const struct world_td *td)
{
	gfn_t gfn = addr_to_fn(a->op->gpa);
	struct mmu_mapping m;

	if (!a->leaves.taken &&
	    (!mmu_lookup(vm_mmu(td->vm), gfn, true, &m) || m.level < a->op->level))
		oracle_fail(a->w, ORACLE_PROMOTED,
			    "TD %s: gfn 0x%" PRIx64
			    " isn't mapped at level %d after the operation of line %u",
			    td->program->name, gfn, (int)a->op->level, a->op->line);
}

/* ---- memory failure --------------------------------------------------------------------------*/
static void check_failed(struct world_actor *a, struct world_td *td)
{
	gfn_t gfn = addr_to_fn(a->op->gpa);
	struct oracle_run *r = &td->run[oracle_run_at(td, gfn)];
	struct mmu_mapping m;

	/* A hole may have taken the memory before it failed, or what has failed. */
	if (!a->leaves.was_backed || r->holes || r->holed_at >= a->began)
		return;
	if (mmu_lookup(vm_mmu(td->vm), gfn, true, &m) || mmu_lookup(vm_mmu(td->vm), gfn, false, &m))
		oracle_fail(a->w, ORACLE_FAILED,
			    "TD %s: gfn 0x%" PRIx64
			    " is still mapped after its memory has failed in line %u",
			    td->program->name, gfn, a->op->line);
	r->lost = true;
}

void oracle_leaves_end(struct world_actor *a, int err)
{
	struct world_td *td = &a->w->td[a->op->td];

	if (!td->vm || td->dying)
		return;
	if (a->op->kind == OP_SPLIT && !err)
		check_split(a, td);
	else if (a->op->kind == OP_PROMOTE && !err)
		check_promoted(a, td);
	else if (a->op->kind == OP_FAIL)
		check_failed(a, td);
}
