/* SPDX-License-Identifier: MIT */
/* TDH.MEM.PAGE.REMOVE: take a page of any size out of the TD. Its content stays as it is. */
#include "seam/checks.h"

u64 seam_tdh_mem_page_remove(struct leaf_ctx *ctx)
{
	struct pamt_ref page;
	enum op_state op_state;
	hpa_t hpa;
	u64 status;

	status = check_td_and_gpa(ctx, 0, 2, 0);
	if (!status)
		status = check_walk(ctx, MODE_SHARED);
	if (!status)
		status = check_entry(ctx);
	if (status)
		return status;
	hpa = sept_hpa(ctx->value) & ~(sept_level_size(ctx->level) - 1);
	status = check_pamt_lock(ctx, hpa, ctx->level, &page);
	if (!status)
		status = check_blocked_and_tracked(ctx, sync_load(&page.entry->bepoch));
	if (status)
		return status;

	op_state = (enum op_state)sync_load(&ctx->tdcs->op_state);
	sept_set(ctx, sept_states[op_state_is_import(op_state) ? SEPT_REMOVED : SEPT_FREE].raw);
	sync_add_relaxed(&ctx->tdr->chldcnt, -(1ULL << 9 * ctx->level));
	ctx->r->rcx = hpa | pamt_clear(ctx, &page);
	return TDX_SUCCESS;
}
