/* SPDX-License-Identifier: MIT */
/*
 * TDG.MEM.PAGE.ATTR.RD, TDG.MEM.PAGE.ATTR.WR. Attributes belong to L2 VMs; without any, reading
 * tells the guest at what size a page is mapped and whether it is pending, and writing can only say
 * again what is so.
 */
#include "seam/checks.h"

#define ATTR_PENDING BIT_ULL(62)

static u64 exit_to_host(struct leaf_ctx *ctx, enum tdx_eeq_type type)
{
	const struct sept_state *state = ctx->state;

	ctx->exit = (struct td_exit){
		.wanted = true,
		.reason = TDX_EXIT_EPT_VIOLATION,
		.qualification = (ctx->value & SEPT_RWX) << 3,
		.gpa = ctx->gpa & ~(PAGE_SIZE - 1),
	};
	if (type == TDX_EEQ_ATTR_WR)
		ctx->exit.eeq = type | (u64)ctx->level << 32 | (u64)ctx->found_level << 35 |
				(u64)state->public_number << 38 |
				(u64)sept_is(state, SEPT_IS_LEAF) << 46;
	return TDX_SUCCESS;
}

static void report(struct leaf_ctx *ctx)
{
	gpa_t gpa = ctx->gpa & ~(sept_level_size(ctx->found_level) - 1);

	ctx->r->rcx =
		gpa | ctx->found_level | (sept_is(ctx->state, SEPT_IS_PENDING) ? ATTR_PENDING : 0);
	ctx->r->rdx = 0;
}

static bool may_act(const struct leaf_ctx *ctx)
{
	return ctx->state->guest_leaves >> ctx->leaf & 1;
}

u64 seam_tdg_mem_page_attr_rd(struct leaf_ctx *ctx)
{
	gpa_t gpa = ctx->r->rcx;

	if ((gpa & ~TDX_PAGE_INFO_GPA) || !check_gpa_private(ctx->tdcs, gpa))
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RCX);
	ctx->gpa = gpa;
	ctx->level = 0;
	sept_walk_in_step(ctx, 0);
	if (!may_act(ctx))
		return exit_to_host(ctx, TDX_EEQ_NONE);
	report(ctx);
	return TDX_SUCCESS;
}

u64 seam_tdg_mem_page_attr_wr(struct leaf_ctx *ctx)
{
	u64 attributes = ctx->r->rdx;
	u64 status = check_page_info(ctx, ctx->r->rcx, 0, 2);
	bool locked;

	if (status)
		return status;
	if (!check_gpa_private(ctx->tdcs, ctx->gpa))
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RCX);
	if (attributes)
		return operand_status(TDX_PAGE_ATTR_INVALID, TDX_OPERAND_RDX);
	if (!sept_walk_and_lock_guest(ctx, &locked))
		return exit_to_host(ctx, TDX_EEQ_ATTR_WR);
	if (!locked)
		return operand_status(TDX_OPERAND_BUSY, TDX_OPERAND_RCX);
	if (!sept_is(ctx->state, SEPT_IS_FREE) && !sept_is(ctx->state, SEPT_IS_LEAF))
		return TDX_PAGE_SIZE_MISMATCH | ctx->found_level;
	if (!may_act(ctx))
		return exit_to_host(ctx, TDX_EEQ_ATTR_WR);
	report(ctx);
	return TDX_SUCCESS;
}
