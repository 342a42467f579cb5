/* SPDX-License-Identifier: MIT */
/*
 * TDH.MEM.RANGE.BLOCK, TDH.MEM.RANGE.UNBLOCK, TDH.MEM.TRACK: the way to a state in which no
 * translation of a range can be alive.
 *
 *   BLOCK   entry loses RWX, the page's BEPOCH = TD_EPOCH as it is after that
 *   TRACK   TD_EPOCH + 1, unless a vCPU is still inside since the epoch before
 *   kick    (the host's) every vCPU that was inside has left once
 */
#include "seam/checks.h"

/* BEPOCH of the page that the entry maps, or of the table that it points to. */
static u64 find_bepoch(const struct leaf_ctx *ctx, u64 **bepoch)
{
	bool is_leaf = sept_is(ctx->state, SEPT_IS_LEAF);
	struct pamt_ref ref;

	if (unlikely(!pamt_find(ctx->seam, sept_hpa(ctx->value), is_leaf ? ctx->level : 0, &ref)))
		return TDX_TD_FATAL;
	*bepoch = &ref.entry->bepoch;
	return 0;
}

static u64 check_can_block(struct leaf_ctx *ctx)
{
	u64 status = check_entry_lock(ctx);

	if (status)
		return status;
	if (sept_is(ctx->state, SEPT_IS_BLOCKED)) {
		sept_details(ctx);
		return operand_status(TDX_GPA_RANGE_ALREADY_BLOCKED, TDX_OPERAND_RCX);
	}
	if (!(ctx->state->host_leaves >> ctx->leaf & 1))
		return entry_state_incorrect(ctx);
	return 0;
}

u64 seam_tdh_mem_range_block(struct leaf_ctx *ctx)
{
	u64 *bepoch;
	u64 status;

	status = check_td_and_gpa(ctx, 0, LEVEL_OF_ROOT, 0);
	if (!status)
		status = check_walk(ctx, MODE_EXCLUSIVE);
	if (!status)
		status = check_can_block(ctx);
	if (!status)
		status = find_bepoch(ctx, &bepoch);
	if (status)
		return status;

	sept_set_blocked(ctx, sept_with_state(ctx->value, ctx->level, ctx->state->blocked), bepoch);
	return TDX_SUCCESS;
}

u64 seam_tdh_mem_range_unblock(struct leaf_ctx *ctx)
{
	u64 *bepoch;
	u64 status;

	status = check_td_and_gpa(ctx, 0, LEVEL_OF_ROOT, 0);
	if (!status)
		status = check_walk(ctx, MODE_EXCLUSIVE);
	if (!status)
		status = check_entry(ctx);
	if (!status)
		status = find_bepoch(ctx, &bepoch);
	if (!status)
		status = check_tracked(ctx, sync_load(bepoch));
	if (status)
		return status;

	sept_set(ctx, sept_with_state(ctx->value, ctx->level, ctx->state->unblocked));
	return TDX_SUCCESS;
}

u64 seam_tdh_mem_track(struct leaf_ctx *ctx)
{
	struct tdcs *tdcs;
	u64 epoch;
	u64 status;

	status = check_tdr(ctx, ctx->r->rcx, TDX_OPERAND_RCX, MODE_SHARED);
	if (!status)
		status = check_td_state(ctx);
	if (status)
		return status;
	tdcs = ctx->tdcs;
	if (!leaf_lock_plain(ctx, &tdcs->epoch_lock, MODE_EXCLUSIVE))
		return operand_status(TDX_OPERAND_BUSY, TDX_OPERAND_TD_EPOCH);
	epoch = sync_load(&tdcs->td_epoch);
	leaf_step_begin(ctx);
	/* Pairs with the decrement on the way out of the TD: its last access is before our answer. */
	if (sync_load_acquire(&tdcs->refcount[(epoch + 1) & 1]))
		status = TDX_PREVIOUS_TLB_EPOCH_BUSY;
	else
		sync_fetch_add(&tdcs->td_epoch, 1);
	leaf_step_end(ctx);
	return status;
}
