/* SPDX-License-Identifier: MIT */
/* TDH.MEM.SEPT.ADD, TDH.MEM.SEPT.REMOVE, TDH.MEM.SEPT.RD: tables of the secure EPT. */
#include "seam/checks.h"

#define SEPT_ADD_ALLOW_EXISTING BIT_ULL(0)
#define SEPT_RD_L2_ATTRIBUTES BIT_ULL(0)
/* In a page operand of SEPT.ADD: ignored on the way in, "not used" on the way out of version 1. */
#define SEPT_PAGE_UNUSED BIT_ULL(63)
/* Bits of RDX that are neither address nor flag. */
#define TDR_RESERVED (GENMASK_ULL(11, 1) | GENMASK_ULL(63, 52))

/* Without L2 VMs no L2 page is ever used. */
static void mark_unused(u64 *page)
{
	if (*page != TDX_NULL_PA)
		*page |= SEPT_PAGE_UNUSED;
}

static u64 sept_add(struct leaf_ctx *ctx, bool *used)
{
	bool allow_existing = ctx->r->rdx & SEPT_ADD_ALLOW_EXISTING;
	u64 reserved = ctx->r->rdx & TDR_RESERVED;
	u64 page_operand = ctx->r->r8;
	struct pamt_ref page;
	hpa_t hpa;
	u64 status;

	if (reserved) {
		ctx->r->rcx = 0;
		ctx->r->rdx = 0;
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RDX);
	}
	status = check_td_and_gpa(ctx, 1, LEVEL_OF_ROOT, SEPT_ADD_ALLOW_EXISTING);
	if (!status)
		status = check_walk(ctx, MODE_SHARED);
	if (!status)
		status = check_entry(ctx);
	if (status)
		return status;
	if (page_operand == TDX_NULL_PA && (ctx->version == 0 || sept_is(ctx->state, SEPT_IS_FREE)))
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_R8);
	if (!sept_is(ctx->state, SEPT_IS_FREE))
		return allow_existing ? TDX_SUCCESS : entry_state_incorrect(ctx);
	hpa = page_operand & ~SEPT_PAGE_UNUSED;
	status = check_hpa(ctx, hpa, TDX_OPERAND_R8, PT_NDA, 0, MODE_EXCLUSIVE, &page);
	if (status)
		return status;

	sept_fill_free(ctx, hpa);
	pamt_set(ctx, &page, PT_EPT, ctx->tdr_pa);
	sync_add_relaxed(&ctx->tdr->chldcnt, 1);
	sept_set(ctx, sept_make(SEPT_NL_MAPPED, hpa, ctx->tdr->hkid));
	*used = true;
	return TDX_SUCCESS;
}

u64 seam_tdh_mem_sept_add(struct leaf_ctx *ctx)
{
	struct tdx_regs *r = ctx->r;
	bool used = false;
	u64 status;

	if (ctx->version > 1) {
		r->rcx = 0;
		r->rdx = 0;
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RAX);
	}
	status = sept_add(ctx, &used);
	if (ctx->version == 0)
		return status;
	if (used)
		r->r8 = TDX_NULL_PA;
	mark_unused(&r->r8);
	mark_unused(&r->r9);
	mark_unused(&r->r10);
	mark_unused(&r->r11);
	return status;
}

static bool children_are_free(const struct leaf_ctx *ctx, hpa_t table_pa)
{
	const u64 *table = host_ptr(ctx->host, table_pa);

	if (unlikely(!page_is_intact(ctx->host, table_pa, ctx->tdr->hkid)))
		return false;
	for (unsigned int i = 0; i < PTRS_PER_TABLE; i++) {
		if ((sync_load_acquire(&table[i]) & ~SEPT_HOST_PRIORITY) !=
		    sept_states[SEPT_FREE].raw)
			return false;
	}
	return true;
}

u64 seam_tdh_mem_sept_remove(struct leaf_ctx *ctx)
{
	struct tdx_regs *r = ctx->r;
	struct pamt_ref page;
	hpa_t hpa;
	u64 status;

	if (ctx->version > 0) {
		r->r9 = TDX_NULL_PA;
		r->r10 = TDX_NULL_PA;
		r->r11 = TDX_NULL_PA;
	}
	if (ctx->version > 1) {
		r->rcx = 0;
		r->rdx = 0;
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RAX);
	}
	status = check_td_and_gpa(ctx, 1, LEVEL_OF_ROOT, 0);
	if (!status)
		status = check_walk(ctx, MODE_EXCLUSIVE);
	if (!status)
		status = check_entry(ctx);
	if (status)
		return status;
	hpa = sept_hpa(ctx->value);
	status = check_pamt_lock(ctx, hpa, 0, &page);
	if (!status)
		status = check_blocked_and_tracked(ctx, sync_load(&page.entry->bepoch));
	if (status)
		return status;
	if (!children_are_free(ctx, hpa)) {
		sept_details(ctx);
		return operand_status(TDX_EPT_PAGE_NOT_FREE, TDX_OPERAND_RCX);
	}

	sept_set(ctx, sept_states[SEPT_FREE].raw);
	sync_add_relaxed(&ctx->tdr->chldcnt, -1ULL);
	r->rcx = hpa | pamt_clear(ctx, &page);
	return TDX_SUCCESS;
}

u64 seam_tdh_mem_sept_rd(struct leaf_ctx *ctx)
{
	u64 page_info = ctx->r->rcx, flags = ctx->r->rdx & SEPT_RD_L2_ATTRIBUTES;
	u64 tdr = ctx->r->rdx & ~SEPT_RD_L2_ATTRIBUTES;
	u64 status;

	ctx->r->rcx = 0;
	ctx->r->rdx = 0;
	status = check_tdr(ctx, tdr, TDX_OPERAND_RDX, MODE_SHARED);
	if (!status)
		status = check_td_state(ctx);
	if (status)
		return status;
	if (flags && !(ctx->tdcs->attributes & TD_ATTR_DEBUG))
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RDX);
	status = check_page_info(ctx, page_info, 0, ctx->tdcs->sept_levels - 1);
	if (!status)
		status = check_walk(ctx, MODE_SHARED);
	if (!status)
		status = check_entry_lock(ctx);
	if (status)
		return status;

	sept_details(ctx);
	if (flags)
		ctx->r->r8 = 0;
	return TDX_SUCCESS;
}
