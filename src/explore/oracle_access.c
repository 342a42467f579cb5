/* SPDX-License-Identifier: MIT */
/*
 * What the guest does and finds. An access is one moment: the step that it returns in has loaded or
 * stored the word, and no other thread has run since. An ACCEPT isn't: others may use the page before
 * its caller hears of the success.
 */
#include <errno.h>
#include <inttypes.h>

#include "cpu/tlb.h"
#include "explore/world.h"
#include "seam/sept.h"

/* ---- ACCEPT ----------------------------------------------------------------------------------*/
static void accept_runs(const struct world_td *td, gfn_t gfn, enum pg_level level, u32 *first,
			u32 *end)
{
	oracle_runs(td, fn_to_addr(gfn), level_size(level), first, end);
}

void oracle_accept_begin(struct world_td *td, gfn_t gfn, enum pg_level level)
{
	u32 first, end;

	accept_runs(td, gfn, level, &first, &end);
	for (u32 i = first; i < end; i++)
		td->run[i].accepting++;
}

static void become_accepted(struct world *w, struct oracle_run *r)
{
	r->accepted = true;
	r->accepted_at = w->moment;
	oracle_set_value(w, r, 0);
}

/* The guest uses the page, so it is accepted: by an ACCEPT that isn't back yet, if by none before. */
static bool is_accepted(struct world *w, struct oracle_run *r)
{
	if (!r->accepted && r->accepting && !r->accept_seen) {
		become_accepted(w, r);
		r->accept_seen = true;
	}
	return r->accepted;
}

static void accepted(struct world_actor *a, struct world_td *td, struct oracle_run *r)
{
	struct world *w = a->w;

	if (!r->private)
		oracle_fail(w, ORACLE_WRONG_SIDE,
			    "TD %s: gfn 0x%" PRIx64 " was accepted, and is shared",
			    td->program->name, r->gfn);
	if (r->lost)
		oracle_fail(w, ORACLE_FAILED,
			    "TD %s: gfn 0x%" PRIx64 " was accepted, and its memory has failed",
			    td->program->name, r->gfn);
	if (r->accept_seen) {
		r->accept_seen = false;
		return;
	}
	if (r->accepted && r->named)
		oracle_fail(w, ORACLE_ACCEPTED,
			    "TD %s: gfn 0x%" PRIx64
			    " was accepted a second time: its bytes are gone",
			    td->program->name, r->gfn);
	become_accepted(w, r);
}

void oracle_accept_end(struct world_actor *a, struct world_td *td, gfn_t gfn, enum pg_level level,
		       bool completed, u64 status)
{
	struct sched *s = oracle_pause();
	struct world *w = a->w;
	u32 first, end;

	w->moment++;
	accept_runs(td, gfn, level, &first, &end);
	for (u32 i = first; i < end; i++) {
		struct oracle_run *r = &td->run[i];

		if (completed && status == TDX_SUCCESS)
			accepted(a, td, r);
		r->accepting--;
	}
	if (completed && tdx_status_class(status) == TDX_PAGE_ALREADY_ACCEPTED &&
	    td->run[first].named && !is_accepted(w, &td->run[first]))
		oracle_fail(w, ORACLE_ACCEPTED,
			    "TD %s: the module says that gfn 0x%" PRIx64
			    " is accepted already, and it isn't",
			    td->program->name, gfn);
	oracle_resume(s);
}

/* ---- the translation that an access went through ---------------------------------------------*/
static void check_private_frame(struct world_actor *a, const struct world_td *td,
				const struct lp *lp, gfn_t gfn, const struct ept_translation *tr)
{
	struct world *w = a->w;
	enum pg_level level;
	u64 entry = oracle_sept(w, td, gfn, &level);
	const struct sept_state *state = sept_state_of(entry);
	bool is_theirs = state->id == SEPT_MAPPED || state->id == SEPT_BLOCKED;
	pfn_t pfn = addr_to_fn(ALIGN_DOWN(sept_hpa(entry), level_size(level))) +
		    (gfn & (pages_per_level(level) - 1));

	(void)lp;
	if (!is_theirs)
		oracle_fail(w, ORACLE_STALE,
			    "TD %s: an access to gfn 0x%" PRIx64 " went to frame 0x%" PRIx64
			    ", but the page is %s now",
			    td->program->name, gfn, tr->pfn, state->name);
	if (pfn != tr->pfn)
		oracle_fail(w, ORACLE_STALE,
			    "TD %s: an access to gfn 0x%" PRIx64 " went to frame 0x%" PRIx64
			    ", but the page is in frame 0x%" PRIx64 " now",
			    td->program->name, gfn, tr->pfn, pfn);
	if (level != tr->level && !seam_profile(w->m.seam)->demote_without_block)
		oracle_fail(w, ORACLE_STALE,
			    "TD %s: an access to gfn 0x%" PRIx64
			    " went through a translation of level %d, but the leaf is of level %d "
			    "now",
			    td->program->name, gfn, (int)tr->level, (int)level);
}

static void check_shared_frame(struct world_actor *a, const struct world_td *td, gfn_t gfn,
			       const struct ept_translation *tr)
{
	struct gmem_file *file = vm_file(td->vm);
	enum pg_level level;
	pfn_t pfn = 0;

	if (gmem_folio_level(file, gfn) == PG_LEVEL_NONE || gmem_get_pfn(file, gfn, &pfn, &level) ||
	    pfn != tr->pfn)
		oracle_fail(a->w, ORACLE_STALE,
			    "TD %s: a shared access to gfn 0x%" PRIx64 " went to frame 0x%" PRIx64
			    ", but the file has frame 0x%" PRIx64 " there now",
			    td->program->name, gfn, tr->pfn, pfn);
}

static void check_frame(struct world_actor *a, const struct world_td *td, const struct lp *lp,
			gpa_t gpa, bool private)
{
	gfn_t gfn = addr_to_fn(gpa & ~BIT_ULL(td->shared_bit));
	struct ept_translation tr;

	if (!tlb_lookup(lp, gpa, &tr))
		return;
	if (private)
		check_private_frame(a, td, lp, gfn, &tr);
	else
		check_shared_frame(a, td, gfn, &tr);
}

void oracle_access(struct world_actor *a, struct world_td *td, const struct lp *lp, gpa_t gpa,
		   bool write, u64 value)
{
	struct sched *s = oracle_pause();
	gfn_t gfn = addr_to_fn(gpa & ~BIT_ULL(td->shared_bit));
	struct oracle_run *r = &td->run[oracle_run_at(td, gfn)];
	bool private = !(gpa >> td->shared_bit & 1);
	struct world *w = a->w;

	w->moment++;
	oracle_visit(a, td);
	if (private != r->private)
		oracle_fail(w, ORACLE_WRONG_SIDE,
			    "TD %s: gfn 0x%" PRIx64 " was used as %s memory, and is %s",
			    td->program->name, gfn, private ? "private" : "shared",
			    r->private ? "private" : "shared");
	if (r->lost)
		oracle_fail(w, ORACLE_FAILED,
			    "TD %s: gfn 0x%" PRIx64 " was used, and its memory has failed",
			    td->program->name, gfn);
	check_frame(a, td, lp, gpa, private);
	if (private && !is_accepted(w, r))
		oracle_fail(w, ORACLE_ACCEPTED,
			    "TD %s: gfn 0x%" PRIx64 " was used, and the guest hasn't accepted it",
			    td->program->name, gfn);
	if (write) {
		oracle_set_value(w, r, value);
		r->written_at = w->moment;
		if (!private && r->removing)
			oracle_add_alt(r, 0);
	} else if (!oracle_find_value(w, r, value)) {
		oracle_fail(w, ORACLE_BYTES,
			    "TD %s: a read of gfn 0x%" PRIx64 " found 0x%" PRIx64
			    ", not 0x%" PRIx64,
			    td->program->name, gfn, value, r->value);
	}
	oracle_resume(s);
}

void oracle_machine_check(struct world_actor *a, struct world_td *td, gpa_t gpa)
{
	if (td->run[oracle_run_at(td, addr_to_fn(gpa & ~BIT_ULL(td->shared_bit)))].failed)
		return;
	oracle_fail(a->w, ORACLE_MACHINE_CHECK, "a guest access to GPA 0x%" PRIx64, gpa);
}

/* ---- why vcpu_run() has ended ----------------------------------------------------------------*/

/*
 * Did, or does, anybody change the side of the page that the operation is about? The guest hears of it
 * a while after it has happened.
 */
static bool sides_move(const struct world_actor *a, const struct world_td *td, gfn_t gfn)
{
	const struct oracle_run *r = &td->run[oracle_run_at(td, gfn)];

	return r->to_private || r->to_shared || r->settled_at >= a->began;
}

bool oracle_run_ended(struct world_actor *a, struct world_guest *g, int err)
{
	struct world_td *td = g->td;
	struct world *w = a->w;
	struct sched *s;
	gpa_t gpa;

	if (!err)
		return g->pc < g->nr_ops;
	s = oracle_pause();
	if (oracle_td_died(w, td)) {
		oracle_resume(s);
		return false;
	}
	gpa = vcpu_fault_gpa(vm_vcpu(td->vm, g->vcpu)) & ~BIT_ULL(td->shared_bit);
	if (err == -EFAULT && !sides_move(a, td, addr_to_fn(gpa)))
		oracle_fail(w, ORACLE_REFUSED,
			    "TD %s: an access to GPA 0x%" PRIx64
			    " was refused, and nobody changes sides there",
			    td->program->name, gpa);
	if (err == -EHWPOISON && td->run[oracle_run_at(td, addr_to_fn(gpa))].failed)
		g->lost = true;
	else if (err != -EFAULT && !(err == -ENOMEM && w->injected))
		oracle_fail(w, ORACLE_REFUSED, "TD %s: vCPU %u came back with %d",
			    td->program->name, g->vcpu, err);
	oracle_resume(s);
	return true;
}
