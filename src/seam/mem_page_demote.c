/* SPDX-License-Identifier: MIT */
/*
 * TDH.MEM.PAGE.DEMOTE: split a 1G or 2M page.
 *
 *   before                          after
 *   entry: leaf, HPA h       --->   entry: NL_MAPPED --> new table: 512 leaves h, h + size, ...
 *   PAMT h: PT_REG           --->   PAMT h: descend;     512 x PT_REG, BEPOCH 0
 *
 * The children have the unblocked form of the split entry.
 */
#include "seam/checks.h"

#define DEMOTE_L2_SPARSE BIT_ULL(0)
#define TDR_RESERVED (GENMASK_ULL(11, 1) | GENMASK_ULL(63, 52))

struct demote {
	hpa_t hpa;	/* of the page being split */
	hpa_t table_pa; /* of the new table */
	hpa_t pair[2];	/* Dynamic PAMT, 2M only */
	bool needs_pair;
	struct pamt_ref page, table;
};

static u64 check_split_entry(struct leaf_ctx *ctx, struct demote *d)
{
	u64 status = check_walk(ctx, MODE_SHARED);

	if (!status)
		status = check_entry(ctx);
	if (status)
		return status;
	d->hpa = sept_hpa(ctx->value) & ~(sept_level_size(ctx->level) - 1);
	d->needs_pair = ctx->seam->dynamic_pamt && ctx->level == 1;
	if (unlikely(!pamt_find(ctx->seam, d->hpa, ctx->level, &d->page)))
		return TDX_TD_FATAL;
	if (ctx->seam->profile->demote_without_block)
		return 0;
	return check_blocked_and_tracked(ctx, sync_load(&d->page.entry->bepoch));
}

static void write_children(struct leaf_ctx *ctx, const struct demote *d)
{
	u64 *table = host_ptr(ctx->host, d->table_pa);
	u64 size = sept_level_size(ctx->level - 1);
	enum sept_state_id state = bug_planted(&ctx->host->bugs, BUG_DEMOTE_DROPS_PENDING)
					   ? SEPT_MAPPED
					   : ctx->state->unblocked;
	u64 child = sept_with_state(ctx->value, ctx->level, state);

	host_retag(ctx->host, addr_to_fn(d->table_pa), PG_LEVEL_4K, ctx->tdr->hkid);
	host_frame_dirty(ctx->host, addr_to_fn(d->table_pa));
	for (unsigned int i = 0; i < PTRS_PER_TABLE; i++, child += size)
		sync_store_quiet(&table[i], child);
}

static u64 check_split_pamt(struct leaf_ctx *ctx, struct demote *d)
{
	static const unsigned int operand[2] = {TDX_OPERAND_R12, TDX_OPERAND_R13};
	u64 status;

	if (!pamt_lock(ctx, &d->page, MODE_EXCLUSIVE))
		return operand_status(TDX_OPERAND_BUSY, TDX_OPERAND_RCX);
	if (!d->needs_pair)
		return 0;
	status = pamt_check_pair_format(ctx, d->pair, operand);
	return status ? status : pamt_check_pair(ctx, d->pair, operand, TDX_NULL_PA);
}

u64 seam_tdh_mem_page_demote(struct leaf_ctx *ctx)
{
	struct tdx_regs *r = ctx->r;
	u64 rcx = r->rcx, rdx = r->rdx;
	struct demote d = {.table_pa = r->r8, .pair = {r->r12, r->r13}};
	u64 status;

	if (rdx & TDR_RESERVED) {
		r->rcx = 0;
		r->rdx = 0;
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RDX);
	}
	status = check_td_and_gpa(ctx, 1, 2, DEMOTE_L2_SPARSE);
	if (!status)
		status = check_split_entry(ctx, &d);
	if (!status)
		status = check_hpa(ctx, d.table_pa, TDX_OPERAND_R8, PT_NDA, 0, MODE_EXCLUSIVE,
				   &d.table);
	if (status)
		return status;
	/* Before the last checks: a page that was offered for a table may be overwritten. */
	write_children(ctx, &d);
	if (!ctx->seam->profile->enhanced_demote_interruptibility)
		status = check_interrupted(ctx, rcx, rdx);
	if (!status)
		status = check_split_pamt(ctx, &d);
	if (status)
		return status;

	pamt_split(ctx, &d.page, d.hpa, d.needs_pair ? d.pair : NULL);
	pamt_set_keep_epoch(ctx, &d.table, PT_EPT, ctx->tdr_pa);
	sync_add_relaxed(&ctx->tdr->chldcnt, 1);
	sept_set(ctx, sept_make(SEPT_NL_MAPPED, d.table_pa, ctx->tdr->hkid) |
			      (ctx->value & SEPT_ALIASES));
	return TDX_SUCCESS;
}
