/* SPDX-License-Identifier: MIT */
/*
 * Who is inside a guest, and who is inside an RCU section: what others must wait for, and whether
 * they have.
 */
#include <inttypes.h>

#include "base/sched_impl.h"
#include "explore/world.h"
#include "tdx/internal.h"
#include "vm/internal.h"

/* ---- visits ----------------------------------------------------------------------------------*/
static struct world_td *td_on(struct world *w, const struct lp *lp)
{
	for (u32 i = 0; i < w->program->nr_tds; i++) {
		struct world_td *td = &w->td[i];

		if (td->vm && lp->id - td->first_lp < td->program->nr_vcpus)
			return td;
	}
	return NULL;
}

static u32 entries_of(const struct world_td *td, u32 vcpu)
{
	return sync_load_quiet(&vm_vcpu(td->vm, vcpu)->entries);
}

/* Leaves that are called again when they were BUSY and vCPUs have been held out. */
static bool holds_out(u32 leaf)
{
	return leaf == TDH_MEM_RANGE_BLOCK || leaf == TDH_MEM_RANGE_UNBLOCK ||
	       leaf == TDH_MEM_PAGE_REMOVE || leaf == TDH_MEM_PAGE_DEMOTE ||
	       leaf == TDH_MEM_PAGE_PROMOTE || leaf == TDH_MEM_TRACK;
}

/* Only who holds vCPUs out makes such a call then: it has mmu.lock for writing. */
static void check_held_out(struct world *w, const struct tdx_regs *in)
{
	u32 leaf = (u32)(in->rax & 0xFFFF);

	for (u32 i = 0; i < w->program->nr_tds && holds_out(leaf); i++) {
		struct world_td *td = &w->td[i];
		hpa_t tdr = leaf == TDH_MEM_TRACK ? in->rcx : in->rdx;

		if (!td->vm || td->tdr != tdr || !sync_load_quiet(&vm_td(td->vm)->hold_off))
			continue;
		for (u32 v = 0; v < td->program->nr_vcpus; v++)
			if (td->visit[v].inside)
				oracle_fail(w, ORACLE_HELD_OUT,
					    "TD %s: vCPU %u is inside at a second %s",
					    td->program->name, v,
					    tdh_leaf_name((enum tdh_leaf)leaf));
	}
}

static void enters(struct world *w, struct world_td *td, u32 vcpu)
{
	struct world_visit *visit = &td->visit[vcpu];

	if (td->held_out && sync_load_quiet(&vm_td(td->vm)->hold_off) && !(visit->held_at & 1))
		oracle_fail(w, ORACLE_HELD_OUT,
			    "TD %s: vCPU %u goes in, though vCPUs were held out before it came",
			    td->program->name, vcpu);
	visit->inside = true;
}

void oracle_call_begin(struct world *w, const struct lp *lp, const struct tdx_regs *in)
{
	struct world_td *td = td_on(w, lp);

	if ((in->rax & 0xFFFF) != TDH_VP_ENTER)
		check_held_out(w, in);
	else if (td)
		enters(w, td, lp->id - td->first_lp);
}

void oracle_enter_end(struct world *w, const struct lp *lp)
{
	struct world_td *td = td_on(w, lp);

	if (td)
		td->visit[lp->id - td->first_lp].inside = false;
}

void oracle_hold_off(struct world *w)
{
	for (u32 i = 0; i < w->program->nr_tds; i++) {
		struct world_td *td = &w->td[i];
		bool held_out = td->vm && !td->dying && sync_load_quiet(&vm_td(td->vm)->hold_off);

		for (u32 v = 0; held_out && !td->held_out && v < td->program->nr_vcpus; v++)
			td->visit[v].held_at = entries_of(td, v);
		td->held_out = held_out;
	}
}

void oracle_kicked(struct world_td *td, u32 vcpu)
{
	struct world_visit *visit = &td->visit[vcpu];
	u32 entries = entries_of(td, vcpu);

	if (visit->kicked && visit->entries == entries)
		return;
	visit->kicked = entries & 1;
	visit->entries = entries;
	visit->accesses = 0;
}

void oracle_visit(struct world_actor *a, struct world_td *td)
{
	u32 vcpu = a->guest.vcpu;
	struct world_visit *visit = &td->visit[vcpu];

	if (!visit->kicked || visit->entries != entries_of(td, vcpu))
		return;
	/* One had looked for interrupts before. */
	if (++visit->accesses > 1)
		oracle_fail(a->w, ORACLE_KICKED,
			    "TD %s: vCPU %u has been kicked, and goes on in the guest",
			    td->program->name, vcpu);
}

/* ---- readers ---------------------------------------------------------------------------------*/
void oracle_retired(struct world *w, pfn_t table)
{
	if (w->nr_retired < WORLD_MAX_RETIRED)
		w->retired[w->nr_retired++] = (struct world_retired){table, w->sched->rcu_sections};
}

static bool may_be_read(const struct sched *s, const struct world_retired *r)
{
	for (u32 i = 0; i < s->nr_live; i++) {
		u64 section = s->coro[s->live[i]]->rcu_section;

		if (section && section <= r->section)
			return true;
	}
	return false;
}

void oracle_readers(struct world *w)
{
	for (u32 i = 0; i < w->nr_retired;) {
		const struct world_retired *r = &w->retired[i];

		if (w->m.host->private[r->table]) {
			i++;
			continue;
		}
		if (may_be_read(w->sched, r))
			oracle_fail(w, ORACLE_READERS,
				    "the table in frame 0x%" PRIx64
				    " was freed, and somebody who may be in it still reads",
				    r->table);
		w->retired[i] = w->retired[--w->nr_retired];
	}
}
