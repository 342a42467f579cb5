/* SPDX-License-Identifier: MIT */
/* The door to the module, its counters, and the typed calls. */
#include "tdx/seamcall.h"

#define TDX_WAIT_TURNS 10000
/* An interrupt is taken before each try, so one that comes in every one of them is a storm. */
#define TDX_INTERRUPTED_TURNS 100

/* Bit 62 of an HPA that comes back is a hint, not an address bit. */
static pfn_t returned_pfn(u64 hpa)
{
	return addr_to_fn(hpa & ~TDX_PAMT_REMOVAL_HINT);
}

static inline void bump(u64 *counter)
{
	sync_store_quiet(counter, sync_load_quiet(counter) + 1); /* one writer: the LP's driver */
}

static inline u64 call_and_count(struct tdx_module *m, struct lp *lp, enum tdh_leaf leaf,
				 struct tdx_regs *r)
{
	struct tdx_leaf_counts *counts = &m->per_lp[lp->id].leaf[leaf];
	u64 status;

	r->rax = leaf;
	status = m->seamcall(lp, r);
	if (likely(!tdx_is_error(status)))
		bump(&counts->ok);
	else if (tdx_is_busy(status))
		bump(&counts->busy);
	else
		bump(&counts->errors);
	return status;
}

u64 tdx_seamcall(struct tdx_module *m, enum tdh_leaf leaf, struct tdx_regs *r)
{
	struct lp *lp = lp_current();

	/* Host code runs with interrupts on: what came is served before the next instruction. */
	if (unlikely(sync_load(&lp->pending)))
		lp_take_interrupts(lp);
	return call_and_count(m, lp, leaf, r);
}

u64 tdx_seamcall_enter(struct tdx_module *m, struct tdx_regs *r)
{
	return call_and_count(m, lp_current(), TDH_VP_ENTER, r);
}

u64 tdx_seamcall_wait(struct tdx_module *m, enum tdh_leaf leaf, struct tdx_regs *r)
{
	const struct tdx_regs in = *r;
	u64 status = tdx_seamcall(m, leaf, r);

	for (u32 turn = 0; turn < TDX_WAIT_TURNS; turn++) {
		if (likely(!tdx_is_busy(status)) &&
		    tdx_status_class(status) != TDX_INTERRUPTED_RESTARTABLE)
			break;
		sync_relax();
		*r = in;
		status = tdx_seamcall(m, leaf, r);
	}
	return status;
}

/* tdx_seamcall(), again while it is interrupted. */
static u64 seamcall_uninterrupted(struct tdx_module *m, enum tdh_leaf leaf, struct tdx_regs *r)
{
	const struct tdx_regs in = *r;
	u64 status = tdx_seamcall(m, leaf, r);

	for (u32 turn = 1; unlikely(tdx_is_interrupted(status)) && turn < TDX_INTERRUPTED_TURNS;
	     turn++) {
		*r = in;
		status = tdx_seamcall(m, leaf, r);
	}
	return status;
}

u64 tdx_call(struct tdx_module *m, enum tdh_leaf leaf, u64 rcx, u64 rdx)
{
	struct tdx_regs r = {.rcx = rcx, .rdx = rdx};

	return tdx_seamcall_wait(m, leaf, &r);
}

struct tdx_leaf_stats tdx_leaf_stats(const struct tdx_module *m, unsigned int leaf)
{
	struct tdx_leaf_stats sum = {0};

	if (leaf >= TDX_NR_LEAVES)
		return sum;
	for (u32 i = 0; i < m->nr_per_lp; i++) {
		const struct tdx_leaf_counts *c = &m->per_lp[i].leaf[leaf];

		sum.ok += sync_load(&c->ok);
		sum.busy += sync_load(&c->busy);
		sum.errors += sync_load(&c->errors);
	}
	sum.calls = sum.ok + sum.busy + sum.errors;
	return sum;
}

/* ---- memory leaves ---------------------------------------------------------------------------*/
static u64 page_info(gfn_t gfn, enum pg_level level)
{
	return tdx_page_info(fn_to_addr(fn_align_down(gfn, level)), tdx_level(level));
}

u64 tdh_mem_page_add(struct td *td, gfn_t gfn, pfn_t pfn, hpa_t source)
{
	struct tdx_regs r = {.rcx = page_info(gfn, PG_LEVEL_4K),
			     .rdx = td_tdr_hpa(td),
			     .r8 = fn_to_addr(pfn),
			     .r9 = source};

	return tdx_seamcall(td->module, TDH_MEM_PAGE_ADD, &r);
}

u64 tdh_mem_page_aug(struct td *td, gfn_t gfn, enum pg_level level, pfn_t pfn)
{
	struct tdx_regs r = {
		.rcx = page_info(gfn, level), .rdx = td_tdr_hpa(td), .r8 = fn_to_addr(pfn)};

	return tdx_seamcall(td->module, TDH_MEM_PAGE_AUG, &r);
}

u64 tdh_mem_sept_add(struct td *td, gfn_t gfn, enum pg_level level, pfn_t table)
{
	struct tdx_regs r = {
		.rcx = page_info(gfn, level), .rdx = td_tdr_hpa(td), .r8 = fn_to_addr(table)};

	return tdx_seamcall(td->module, TDH_MEM_SEPT_ADD, &r);
}

u64 tdh_mem_range_block(struct td_mem_call *c)
{
	struct tdx_regs r = {.rcx = page_info(c->gfn, c->level), .rdx = td_tdr_hpa(c->td)};

	return tdx_seamcall(c->td->module, TDH_MEM_RANGE_BLOCK, &r);
}

u64 tdh_mem_track(struct td_mem_call *c)
{
	struct tdx_regs r = {.rcx = td_tdr_hpa(c->td)};

	return tdx_seamcall(c->td->module, TDH_MEM_TRACK, &r);
}

u64 tdh_mem_page_remove(struct td_mem_call *c)
{
	struct tdx_regs r = {.rcx = page_info(c->gfn, c->level), .rdx = td_tdr_hpa(c->td)};
	u64 status = tdx_seamcall(c->td->module, TDH_MEM_PAGE_REMOVE, &r);

	c->removed = returned_pfn(r.rcx);
	return status;
}

u64 tdh_mem_range_unblock(struct td_mem_call *c)
{
	struct tdx_regs r = {.rcx = page_info(c->gfn, c->level), .rdx = td_tdr_hpa(c->td)};

	return tdx_seamcall(c->td->module, TDH_MEM_RANGE_UNBLOCK, &r);
}

u64 tdh_mem_page_demote(struct td_mem_call *c)
{
	struct tdx_module *m = c->td->module;
	struct tdx_regs r = {.rcx = page_info(c->gfn, c->level),
			     .rdx = td_tdr_hpa(c->td),
			     .r8 = fn_to_addr(c->table),
			     .r9 = TDX_NULL_PA,
			     .r10 = TDX_NULL_PA,
			     .r11 = TDX_NULL_PA};

	if (unlikely(!tdx_huge_pages_ok(m)))
		return TDX_SW_ERROR;
	if (c->has_pair) {
		r.r12 = fn_to_addr(c->pair[0]);
		r.r13 = fn_to_addr(c->pair[1]);
	}
	return seamcall_uninterrupted(m, TDH_MEM_PAGE_DEMOTE, &r);
}

u64 tdh_mem_page_promote(struct td_mem_call *c)
{
	struct tdx_regs r = {.rcx = page_info(c->gfn, c->level), .rdx = td_tdr_hpa(c->td)};
	u64 status = seamcall_uninterrupted(c->td->module, TDH_MEM_PAGE_PROMOTE, &r);

	c->removed = returned_pfn(r.rcx);
	c->pair[0] = addr_to_fn(r.r12);
	c->pair[1] = addr_to_fn(r.r13);
	return status;
}

u64 tdh_phymem_page_wbinvd(struct tdx_module *m, u16 hkid, pfn_t pfn)
{
	return tdx_call(m, TDH_PHYMEM_PAGE_WBINVD,
			fn_to_addr(pfn) | (u64)hkid << TDX_HKID_START_BIT, 0);
}
