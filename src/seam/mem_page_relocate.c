/* SPDX-License-Identifier: MIT */
/* TDH.MEM.PAGE.RELOCATE: move a 4K page of the TD to another frame. */
#include "seam/checks.h"

static u64 check_pages(struct leaf_ctx *ctx, hpa_t old_pa, hpa_t new_pa, struct pamt_ref *old_page,
		       struct pamt_ref *new_page)
{
	u64 status;

	if (new_pa == old_pa)
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_R8);
	status = check_pamt_lock(ctx, old_pa, 0, old_page);
	if (!status)
		status = check_blocked_and_tracked(ctx, sync_load(&old_page->entry->bepoch));
	if (status)
		return status;
	return check_hpa(ctx, new_pa, TDX_OPERAND_R8, PT_NDA, 0, MODE_EXCLUSIVE, new_page);
}

static void copy_content(struct leaf_ctx *ctx, hpa_t to, hpa_t from)
{
	struct host *host = ctx->host;

	if (!host_frame_is_dirty(host, addr_to_fn(from))) {
		host_zero(host, addr_to_fn(to), PG_LEVEL_4K, ctx->tdr->hkid);
		return;
	}
	host_retag(host, addr_to_fn(to), PG_LEVEL_4K, ctx->tdr->hkid);
	host_frame_dirty(host, addr_to_fn(to));
	for (unsigned int i = 0; i < PTRS_PER_TABLE; i++)
		sync_store_quiet((u64 *)host_ptr(host, to) + i,
				 sync_load_quiet((const u64 *)host_ptr(host, from) + i));
}

u64 seam_tdh_mem_page_relocate(struct leaf_ctx *ctx)
{
	hpa_t new_pa = ctx->r->r8, old_pa;
	struct pamt_ref old_page, new_page;
	u64 status, hint;

	status = check_td_and_gpa(ctx, 0, 0, 0);
	if (!status)
		status = check_walk(ctx, MODE_SHARED);
	if (!status)
		status = check_entry(ctx);
	if (status)
		return status;
	old_pa = sept_hpa(ctx->value);
	status = check_pages(ctx, old_pa, new_pa, &old_page, &new_page);
	if (status)
		return status;

	if (!sept_is(ctx->state, SEPT_IS_PENDING))
		copy_content(ctx, new_pa, old_pa);
	/* The old page first: alone in its block it gives the hint even if the new one lies there. */
	hint = pamt_clear(ctx, &old_page);
	pamt_set(ctx, &new_page, PT_REG, ctx->tdr_pa);
	sept_set(ctx, sept_with_state((ctx->value & ~SEPT_HPA) | new_pa, 0, ctx->state->unblocked));
	ctx->r->rcx = old_pa | hint;
	return TDX_SUCCESS;
}
