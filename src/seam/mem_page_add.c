/* SPDX-License-Identifier: MIT */
/* TDH.MEM.PAGE.ADD: a page with content, while the TD is built; measured. */
#include <string.h>

#include "seam/checks.h"
#include "seam/mr.h"

static u64 check_free_entry(struct leaf_ctx *ctx)
{
	/* No locks below: the TDR is held exclusive, so nobody else is in the tree. */
	if (!check_gpa_private(ctx->tdcs, ctx->gpa))
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RCX);
	if (!sept_walk(ctx, 0)) {
		sept_details(ctx);
		return operand_status(TDX_EPT_WALK_FAILED, TDX_OPERAND_RCX);
	}
	return sept_is(ctx->state, SEPT_IS_FREE) ? 0 : entry_state_incorrect(ctx);
}

static void copy_page(struct leaf_ctx *ctx, hpa_t to, hpa_t from)
{
	u64 words[PTRS_PER_TABLE] = {0};

	/*
	 * A private source gives the pattern; one whose integrity is lost stays zeros here. Where
	 * there is no memory, a bus gives ones.
	 */
	if (from < ctx->host->memory_bytes)
		(void)leaf_read(ctx, from, words, PTRS_PER_TABLE);
	else
		memset(words, 0xFF, sizeof(words));
	host_retag(ctx->host, addr_to_fn(to), PG_LEVEL_4K, ctx->tdr->hkid);
	(void)host_write(ctx->host, to, ctx->tdr->hkid, words, PTRS_PER_TABLE);
}

u64 seam_tdh_mem_page_add(struct leaf_ctx *ctx)
{
	u64 page_info = ctx->r->rcx, tdr = ctx->r->rdx;
	hpa_t hpa = ctx->r->r8, source = ctx->r->r9;
	struct pamt_ref page;
	u64 status;

	ctx->r->rcx = 0;
	ctx->r->rdx = 0;
	status = check_tdr(ctx, tdr, TDX_OPERAND_RDX, MODE_EXCLUSIVE);
	if (!status)
		status = check_td_state_unlocked(ctx);
	if (!status)
		status = check_page_info(ctx, page_info, 0, 0);
	if (!status)
		status = check_free_entry(ctx);
	if (!status)
		status = check_shared_hpa_format(source, TDX_OPERAND_R9, PAGE_SIZE);
	if (!status)
		status = check_hpa(ctx, hpa, TDX_OPERAND_R8, PT_NDA, 0, MODE_EXCLUSIVE, &page);
	if (status)
		return status;

	copy_page(ctx, hpa, source & ~HPA_HKID_MASK);
	mrtd_extend_page_add(ctx->tdcs, ctx->gpa);
	pamt_set(ctx, &page, PT_REG, ctx->tdr_pa);
	sync_add_relaxed(&ctx->tdr->chldcnt, 1);
	/* Unlocked, so sept_set() is not for it; the TDR is held exclusive. */
	sync_store_release(ctx->entry, sept_make(SEPT_MAPPED, hpa, ctx->tdr->hkid));
	return TDX_SUCCESS;
}
