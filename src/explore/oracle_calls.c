/* SPDX-License-Identifier: MIT */
/*
 * The two trees. A thread that changes the S-EPT has an entry open until the mirror has it too:
 *
 *	AUG, SEPT.ADD ----------------------.
 *	BLOCK --> REMOVE, DEMOTE, PROMOTE --+--> the mirror's entry changes: both are compared
 *	      '-> UNBLOCK                   '
 *
 * So what is compared is what has changed, when it has; the whole trees are when nothing runs.
 */
#include <inttypes.h>

#include "explore/world.h"
#include "mmu/spte.h"
#include "seam/pamt.h"
#include "seam/sept.h"
#include "tdx/internal.h"
#include "vm/internal.h"

static struct world_caller *caller(struct world *w)
{
	return &w->caller[sched_running() % WORLD_MAX_CALLERS];
}

static struct world_td *td_of(struct world *w, hpa_t tdr)
{
	for (u32 i = 0; i < w->program->nr_tds; i++)
		if (w->td[i].vm && w->td[i].tdr == tdr)
			return &w->td[i];
	return NULL;
}

/* ---- S-EPT -----------------------------------------------------------------------------------*/
void oracle_td_made(struct world *w, struct world_td *td)
{
	const struct tdr *tdr = host_ptr(w->m.host, td_tdr(vm_td(td->vm)));
	const struct tdcs *tdcs = host_ptr(w->m.host, tdr->tdcx_pa[TDCS_PAGE_FIELDS]);

	td->tdr = td_tdr(vm_td(td->vm));
	td->sept_root = host_ptr(w->m.host, tdr->tdcx_pa[TDCS_PAGE_SEPT_ROOT]);
	td->root_level = (enum pg_level)tdcs->sept_levels;
	td->shared_bit = td_shared_bit(vm_td(td->vm));
}

u64 oracle_sept(const struct world *w, const struct world_td *td, gfn_t gfn, enum pg_level *level)
{
	const u64 *table = td->sept_root;

	for (*level = td->root_level;; --*level) {
		u64 entry = sync_load_quiet(&table[level_index(gfn, *level)]);
		enum sept_state_id state = sept_state_of(entry)->id;

		if (*level == PG_LEVEL_4K || (state != SEPT_NL_MAPPED && state != SEPT_NL_BLOCKED))
			return entry;
		table = host_ptr(w->m.host, sept_hpa(entry));
	}
}

/* The entry of @gfn at @level, whatever leads there; false: no table. */
static bool sept_entry(const struct world *w, const struct world_td *td, gfn_t gfn,
		       enum pg_level level, u64 *entry)
{
	const u64 *table = td->sept_root;

	for (enum pg_level at = td->root_level;; at--) {
		*entry = sync_load_quiet(&table[level_index(gfn, at)]);
		if (at == level)
			return true;
		if (sept_state_of(*entry)->id != SEPT_NL_MAPPED &&
		    sept_state_of(*entry)->id != SEPT_NL_BLOCKED)
			return false;
		table = host_ptr(w->m.host, sept_hpa(*entry));
	}
}

/* ---- Dynamic PAMT ----------------------------------------------------------------------------*/
static bool has_pair(const struct world *w, pfn_t pfn)
{
	const struct seam_tdmr *tdmr = pamt_tdmr_of(w->m.seam, fn_to_addr(pfn));

	return tdmr && pamt_type(pamt_area_entry(w->m.seam, tdmr, fn_to_addr(pfn), 1)) == PT_PAMT;
}

static bool pairs_are_moving(const struct world *w)
{
	if (w->m.tdx->pamt_lock.owner)
		return true;
	for (u32 i = 0; i < WORLD_MAX_CALLERS; i++)
		if (w->caller[i].open.leaf == TDH_MEM_PAGE_DEMOTE ||
		    w->caller[i].open.leaf == TDH_MEM_PAGE_PROMOTE)
			return true;
	return false;
}

/* Of the 2M range whose page the call has taken; one that it took at 2M has none. */
static void check_pair(struct world *w, const struct tdx_regs *in)
{
	pfn_t pfn = addr_to_fn(in->r8);
	u32 refs = tdx_pamt_refs(w->m.tdx, pfn);

	if (!w->m.tdx->dynamic_pamt || has_pair(w, pfn) == !!refs || pairs_are_moving(w))
		return;
	oracle_fail(w, ORACLE_PAIR, "the 2M range of frame 0x%" PRIx64 " has %u users, and %s pair",
		    pfn, refs, refs ? "no" : "a");
}

/* ---- SEAMCALLs -------------------------------------------------------------------------------*/
static gfn_t call_gfn(const struct tdx_regs *in)
{
	return addr_to_fn(in->rcx & TDX_PAGE_INFO_GPA);
}

static enum pg_level call_level(const struct tdx_regs *in)
{
	return (enum pg_level)((in->rcx & TDX_PAGE_INFO_LEVEL) + PG_LEVEL_4K);
}

static void opened(struct world *w, struct world_td *td, u32 leaf, const struct tdx_regs *in)
{
	struct open_entry *open = &caller(w)->open;
	bool same = open->gfn == call_gfn(in) && open->level == call_level(in) && open->td == td;

	if (open->leaf && !(open->leaf == TDH_MEM_RANGE_BLOCK && same))
		oracle_fail(w, ORACLE_HOOK,
			    "TD %s: %s of gfn 0x%" PRIx64 " comes after %s of gfn 0x%" PRIx64
			    ", which the mirror doesn't have yet",
			    td->program->name, tdh_leaf_name((enum tdh_leaf)leaf), call_gfn(in),
			    tdh_leaf_name((enum tdh_leaf)open->leaf), open->gfn);
	*open = (struct open_entry){leaf, td, call_gfn(in), call_level(in)};
}

/* The guest's pages under a leaf that the module has given back. */
static void removed(struct world *w, struct world_td *td, gfn_t gfn, enum pg_level level)
{
	u32 first, end;

	w->moment++;
	first = oracle_run_at(td, gfn);
	end = oracle_run_at(td, gfn + pages_per_level(level) - 1) + 1;
	for (u32 i = first; i < end; i++) {
		struct oracle_run *r = &td->run[i];

		if (!r->removing && !r->failed && !(r->private && r->to_shared))
			oracle_fail(w, ORACLE_LOST,
				    "TD %s: gfn 0x%" PRIx64
				    " was taken away, which nobody asked for",
				    td->program->name, r->gfn);
		r->accepted = false;
		r->removed_at = w->moment;
	}
}

/* ---- written back ----------------------------------------------------------------------------*/
static void given_back(struct world *w, pfn_t first, u64 nr)
{
	struct world_unwritten *u = &caller(w)->unwritten;

	*u = (struct world_unwritten){.first = first, .left = (u32)nr};
	for (u64 i = 0; i < nr; i++)
		u->page[i / 64] |= BIT_ULL(i % 64);
}

static void written(struct world *w, pfn_t pfn)
{
	struct world_unwritten *u = &caller(w)->unwritten;
	u64 i = pfn - u->first;

	if (!u->left || i >= PTRS_PER_TABLE || !(u->page[i / 64] >> i % 64 & 1))
		return;
	u->page[i / 64] &= ~BIT_ULL(i % 64);
	u->left--;
}

void oracle_written_back(struct world *w)
{
	const struct world_unwritten *u = &caller(w)->unwritten;

	/* Where that failed the host doesn't get them. */
	if (u->left && !w->may_keep)
		oracle_fail(w, ORACLE_WRITTEN_BACK,
			    "%u pages from frame 0x%" PRIx64
			    " on go back to the host, and nobody has written their lines back",
			    u->left, u->first);
}

static void changed(struct world *w, struct world_td *td, u32 leaf, const struct tdx_regs *in,
		    const struct tdx_regs *out)
{
	switch (leaf) {
	case TDH_MEM_PAGE_REMOVE:
		opened(w, td, leaf, in);
		removed(w, td, call_gfn(in), call_level(in));
		given_back(w, addr_to_fn(out->rcx & ~TDX_PAMT_REMOVAL_HINT),
			   pages_per_level(call_level(in)));
		break;
	case TDH_MEM_PAGE_AUG:
	case TDH_MEM_SEPT_ADD:
	case TDH_MEM_RANGE_BLOCK:
	case TDH_MEM_PAGE_DEMOTE:
		opened(w, td, leaf, in);
		break;
	case TDH_MEM_PAGE_PROMOTE:
		opened(w, td, leaf, in);
		given_back(w, addr_to_fn(out->rcx & ~TDX_PAMT_REMOVAL_HINT), 1);
		break;
	case TDH_MEM_RANGE_UNBLOCK:
		caller(w)->open.leaf = 0;
		break;
	default:
		break;
	}
}

/* What a fault finds barred when it begins stays so, unless a promotion comes. */
static void note_exit(struct world *w, const struct tdx_regs *out)
{
	struct world_caller *c = caller(w);

	if ((u32)out->rax != TDX_EXIT_EPT_VIOLATION || !c->td || !c->td->vm)
		return;
	c->fault_gfn = addr_to_fn(out->r8 & ~BIT_ULL(c->td->shared_bit));
	c->was_inhibited =
		c->fault_gfn < addr_to_fn(c->td->program->memory_bytes) &&
		mmu_slot_test_guest_inhibit(vm_slot(c->td->vm), c->fault_gfn, PG_LEVEL_2M);
}

void oracle_seamcall(struct world *w, const struct tdx_regs *in, const struct tdx_regs *out)
{
	u32 leaf = (u32)(in->rax & 0xFFFF);
	struct world_td *td;

	if (tdx_status_class(out->rax) != TDX_SUCCESS)
		return;
	if (leaf == TDH_VP_ENTER)
		note_exit(w, out);
	if (leaf == TDH_PHYMEM_PAGE_WBINVD)
		written(w, addr_to_fn(in->rcx & GENMASK_ULL(TDX_HKID_START_BIT - 1, 0)));
	/* The TDR is the last that goes, and not under its own key. */
	if (leaf == TDH_PHYMEM_PAGE_RECLAIM && td_of(w, in->rcx))
		given_back(w, addr_to_fn(in->rcx), 1);
	if (leaf == TDH_MEM_PAGE_AUG || leaf == TDH_MEM_SEPT_ADD)
		check_pair(w, in);
	td = td_of(w, in->rdx);
	if (td && !td->dying && !vm_is_dead(td->vm))
		changed(w, td, leaf, in, out);
}

struct world_td *oracle_td_of_call(struct world *w, const struct tdx_regs *in)
{
	u32 leaf = (u32)(in->rax & 0xFFFF);
	/* TRACK has the TDR in RCX, other calls about memory in RDX. */
	hpa_t tdr = leaf == TDH_MEM_TRACK ? in->rcx : leaf == TDH_VP_ENTER ? 0 : in->rdx;
	struct world_td *td = td_of(w, tdr);

	return td ? td : caller(w)->td;
}

void oracle_nothing_open(struct world *w)
{
	const struct open_entry *open = &caller(w)->open;

	oracle_written_back(w);
	if (!open->leaf)
		return;
	if (open->leaf == TDH_MEM_RANGE_BLOCK)
		oracle_fail(w, ORACLE_BLOCKED,
			    "TD %s: gfn 0x%" PRIx64 " at level %d is left blocked",
			    open->td->program->name, open->gfn, (int)open->level);
	oracle_fail(w, ORACLE_MIRROR,
		    "TD %s: the mirror never heard of %s of gfn 0x%" PRIx64 " at level %d",
		    open->td->program->name, tdh_leaf_name((enum tdh_leaf)open->leaf), open->gfn,
		    (int)open->level);
}

/* ---- entries of the mirror and of the shared EPT ---------------------------------------------*/

/* The call that makes @old_spte into @new_spte. */
static u32 leaf_for(u64 old_spte, u64 new_spte, enum pg_level level)
{
	bool was_leaf = spte_is_leaf(old_spte, level), is_leaf = spte_is_leaf(new_spte, level);

	if (!spte_is_present(old_spte))
		return is_leaf ? TDH_MEM_PAGE_AUG : TDH_MEM_SEPT_ADD;
	if (!spte_is_present(new_spte))
		return TDH_MEM_PAGE_REMOVE;
	return was_leaf ? TDH_MEM_PAGE_DEMOTE : TDH_MEM_PAGE_PROMOTE;
}

static void compare(struct world *w, const struct world_td *td, const struct trace_spte *e)
{
	enum pg_level level = (enum pg_level)e->level;
	const struct sept_state *state;
	const char *wrong = NULL;
	u64 entry;

	if (!sept_entry(w, td, e->gfn, level, &entry))
		entry = sept_states[SEPT_FREE].raw;
	state = sept_state_of(entry);
	switch (spte_kind(e->new_spte, level)) {
	case SPTE_KIND_LEAF:
		if (!sept_is(state, SEPT_IS_LEAF) || sept_is(state, SEPT_IS_BLOCKED))
			wrong = "a leaf";
		else if (ALIGN_DOWN(sept_hpa(entry), level_size(level)) !=
			 fn_to_addr(spte_pfn(e->new_spte)))
			wrong = "another frame";
		break;
	case SPTE_KIND_TABLE:
		if (state->id != SEPT_NL_MAPPED)
			wrong = "a table";
		break;
	default:
		if (!sept_is(state, SEPT_IS_FREE))
			wrong = "nothing";
	}
	if (wrong)
		oracle_fail(w, ORACLE_MIRROR,
			    "TD %s: the mirror has %s at gfn 0x%" PRIx64
			    ", level %d, where the S-EPT is %s",
			    td->program->name, wrong, e->gfn, e->level, state->name);
}

static void mirror_changed(struct world *w, const struct world_td *td, const struct trace_spte *e)
{
	struct open_entry *open = &caller(w)->open;
	u32 leaf = leaf_for(e->old_spte, e->new_spte, (enum pg_level)e->level);

	if (open->leaf != leaf || open->gfn != e->gfn || (int)open->level != e->level)
		oracle_fail(w, ORACLE_HOOK,
			    "the mirror's entry of gfn 0x%" PRIx64
			    " at level %d has changed, and no "
			    "%s was made for it",
			    e->gfn, e->level, tdh_leaf_name((enum tdh_leaf)leaf));
	compare(w, td, e);
	if (leaf == TDH_MEM_PAGE_REMOVE || leaf == TDH_MEM_PAGE_PROMOTE)
		oracle_written_back(w);
	if (leaf == TDH_MEM_PAGE_PROMOTE)
		oracle_retired(w, spte_pfn(e->old_spte));
	open->leaf = 0;
}

/* A fault has made a leaf. */
static void check_leaf(struct world *w, struct world_td *td, const struct trace_spte *e)
{
	enum pg_level level = (enum pg_level)e->level;
	u32 first, end;

	if (level == PG_LEVEL_2M && e->mirror && caller(w)->was_inhibited &&
	    fn_align_down(caller(w)->fault_gfn, level) == e->gfn &&
	    mmu_slot_test_guest_inhibit(vm_slot(td->vm), e->gfn, level))
		oracle_fail(w, ORACLE_LEVEL,
			    "TD %s: a fault has mapped gfn 0x%" PRIx64
			    " at level %d, where the guest accepts at 4K",
			    td->program->name, e->gfn, e->level);
	first = oracle_run_at(td, e->gfn);
	end = oracle_run_at(td, e->gfn + pages_per_level(level) - 1) + 1;
	for (u32 i = first; i < end; i++) {
		if (td->run[i].lost)
			oracle_fail(w, ORACLE_FAILED,
				    "TD %s: gfn 0x%" PRIx64
				    " is mapped at level %d, and its memory has failed",
				    td->program->name, td->run[i].gfn, e->level);
		if (td->run[i].private != e->mirror)
			oracle_fail(w, end - first > 1 ? ORACLE_LEVEL : ORACLE_WRONG_SIDE,
				    "TD %s: gfn 0x%" PRIx64 " is %s, and mapped as %s at level %d",
				    td->program->name, td->run[i].gfn,
				    td->run[i].private ? "private" : "shared",
				    e->mirror ? "private" : "shared", e->level);
	}
}

static void entry_changed(struct world *w, const struct trace_spte *e)
{
	struct world_caller *c = caller(w);
	struct world_td *td = e->mirror && c->open.leaf ? c->open.td : c->td;
	bool is_leaf = spte_is_leaf(e->new_spte, (enum pg_level)e->level);

	if (!td || !td->vm || td->dying || vm_is_dead(td->vm))
		return;
	if (e->mirror)
		mirror_changed(w, td, e);
	oracle_leaf_changed(w, td, e);
	if (is_leaf && !spte_is_present(e->old_spte))
		check_leaf(w, td, e);
}

static void on_event(void *ctx, enum trace_point point, const void *event)
{
	struct sched *s;

	if (point != TRACE_SPTE_CHANGED)
		return;
	s = oracle_pause();
	entry_changed(ctx, event);
	oracle_resume(s);
	sync_mark("entry", ((const struct trace_spte *)event)->gfn);
}

void oracle_watch(struct world *w, struct host *host)
{
	const struct trace_listener l = {.fn = on_event, .ctx = w};

	trace_listen(&host->tracer, &l);
}

struct world *oracle_world_of(const struct host *host)
{
	const struct tracer *t = &host->tracer;

	for (u32 i = 0; i < t->count; i++)
		if (t->listener[i].fn == on_event)
			return t->listener[i].ctx;
	return NULL;
}
