/* SPDX-License-Identifier: MIT */
/* TDH.MEM.RD, TDH.MEM.WR: the host looks into a debug TD, 8 bytes at a time. */
#include "seam/checks.h"

static u64 check_debug_td(struct leaf_ctx *ctx, hpa_t tdr)
{
	u64 status = check_tdr(ctx, tdr, TDX_OPERAND_RDX, MODE_SHARED);

	if (!status)
		status = check_td_state(ctx);
	if (!status && !(ctx->tdcs->attributes & TD_ATTR_DEBUG))
		status = TDX_TD_NON_DEBUG;
	return status;
}

static u64 check_present_leaf(struct leaf_ctx *ctx, gpa_t gpa)
{
	if (!IS_ALIGNED(gpa, sizeof(u64)) || !check_gpa_private(ctx->tdcs, gpa))
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RCX);
	if (!leaf_lock(ctx, &ctx->tdcs->sept_lock, MODE_SHARED))
		return operand_status(TDX_OPERAND_BUSY, TDX_OPERAND_SEPT_TREE);
	ctx->gpa = gpa;
	if (!sept_walk_to_present(ctx)) {
		sept_details(ctx);
		return operand_status(TDX_EPT_ENTRY_NOT_PRESENT, TDX_OPERAND_RCX);
	}
	return check_entry(ctx);
}

static u64 mem_access(struct leaf_ctx *ctx, const u64 *new_value)
{
	gpa_t gpa = ctx->r->rcx;
	u64 tdr = ctx->r->rdx;
	u64 old = 0;
	u64 status;

	ctx->r->rcx = 0;
	ctx->r->rdx = 0;
	ctx->r->r8 = 0;
	status = check_debug_td(ctx, tdr);
	if (!status)
		status = check_present_leaf(ctx, gpa);
	if (status)
		return status;

	/* A page whose integrity is lost reads as 0: the model doesn't stop the host's machine. */
	if (!host_read(ctx->host, sept_leaf_address(ctx), ctx->tdr->hkid, &old, 1))
		ctx->r->r8 = old;
	if (new_value)
		(void)host_write(ctx->host, sept_leaf_address(ctx), ctx->tdr->hkid, new_value, 1);
	return TDX_SUCCESS;
}

u64 seam_tdh_mem_rd(struct leaf_ctx *ctx)
{
	return mem_access(ctx, NULL);
}

u64 seam_tdh_mem_wr(struct leaf_ctx *ctx)
{
	u64 value = ctx->r->r8;

	return mem_access(ctx, &value);
}
