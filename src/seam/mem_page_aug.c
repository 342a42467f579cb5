/* SPDX-License-Identifier: MIT */
/* TDH.MEM.PAGE.AUG: map a page that the guest will have to accept. Its content isn't touched. */
#include "seam/checks.h"

static u64 check_new_page(struct leaf_ctx *ctx, hpa_t hpa, struct pamt_ref *ref)
{
	u64 status = check_hpa(ctx, hpa, TDX_OPERAND_R8, PT_NDA, ctx->level, MODE_EXCLUSIVE, ref);

	if (status || ctx->level == 0)
		return status;
	if (!pamt_children_are_free(ctx->seam, pamt_tdmr_of(ctx->seam, hpa), hpa))
		return operand_status(TDX_PAGE_METADATA_INCORRECT, TDX_OPERAND_R8);
	return 0;
}

u64 seam_tdh_mem_page_aug(struct leaf_ctx *ctx)
{
	hpa_t hpa = ctx->r->r8;
	struct pamt_ref page;
	u64 status;

	status = check_td_and_gpa(ctx, 0, 1, 0);
	if (!status)
		status = check_walk(ctx, MODE_SHARED);
	if (!status)
		status = check_entry(ctx);
	if (!status)
		status = check_new_page(ctx, hpa, &page);
	if (status)
		return status;

	pamt_set(ctx, &page, PT_REG, ctx->tdr_pa);
	sync_add_relaxed(&ctx->tdr->chldcnt, 1ULL << 9 * ctx->level);
	sept_set(ctx, sept_make(SEPT_PENDING, hpa, ctx->tdr->hkid));
	return TDX_SUCCESS;
}
