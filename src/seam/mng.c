/* SPDX-License-Identifier: MIT */
/*
 * Owns the life cycle of a TD: from MNG.CREATE to its control pages, and from VPFLUSHDONE to a free
 * key id. (MNG.INIT: mng_init.c.)
 *
 *   MNG.CREATE -> HKID_ASSIGNED --KEY.CONFIG on every package--> KEYS_CONFIGURED
 *                      |                                              |
 *                      +--------------- VPFLUSHDONE ------------------+--> BLOCKED
 *                                                                            |
 *                   PHYMEM.CACHE.WB on every package, then KEY.FREEID        v
 *                                                            TEARDOWN <------+
 *
 * The key-id ownership table follows: FREE, ASSIGNED, FLUSHED, FREE again.
 */
#include <string.h>

#include "seam/checks.h"

static u64 kot_lock(struct leaf_ctx *ctx)
{
	if (!leaf_lock_plain(ctx, &ctx->seam->kot_lock, MODE_EXCLUSIVE))
		return operand_status(TDX_OPERAND_BUSY, TDX_OPERAND_KOT);
	return 0;
}

static u64 all_packages(const struct seam *seam)
{
	return GENMASK_ULL(seam->host->nr_packages - 1, 0);
}

u64 seam_tdh_mng_create(struct leaf_ctx *ctx)
{
	hpa_t page = ctx->r->rcx;
	u64 hkid = ctx->r->rdx;
	struct kot_entry *kot;
	struct pamt_ref ref;
	struct tdr *tdr;
	u64 status;

	if (hkid < TDX_FIRST_PRIVATE_HKID || hkid >= SEAM_NR_HKIDS)
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RDX);
	status = check_hpa(ctx, page, TDX_OPERAND_RCX, PT_NDA, 0, MODE_EXCLUSIVE, &ref);
	if (!status)
		status = kot_lock(ctx);
	if (status)
		return status;
	kot = &ctx->seam->kot[hkid];
	if (kot->state != KOT_FREE)
		return TDX_HKID_NOT_FREE;

	host_zero(ctx->host, addr_to_fn(page), PG_LEVEL_4K, ctx->seam->global_hkid);
	host_frame_dirty(ctx->host, addr_to_fn(page));
	tdr = host_ptr(ctx->host, page);
	tdr->lifecycle = TD_HKID_ASSIGNED;
	tdr->hkid = (u16)hkid;
	kot->state = KOT_ASSIGNED;
	pamt_set(ctx, &ref, PT_TDR, 0);
	return TDX_SUCCESS;
}

u64 seam_tdh_mng_key_config(struct leaf_ctx *ctx)
{
	struct seam_package *package = &ctx->seam->package[ctx->lp->package];
	u64 status;

	status = check_tdr(ctx, ctx->r->rcx, TDX_OPERAND_RCX, MODE_EXCLUSIVE);
	if (!status)
		status = check_td_not_fatal(ctx);
	if (status)
		return status;
	if (ctx->tdr->lifecycle != TD_HKID_ASSIGNED)
		return TDX_LIFECYCLE_STATE_INCORRECT;
	if (ctx->tdr->packages_configured >> ctx->lp->package & 1)
		return TDX_KEY_CONFIGURED;
	/* Another TD's key is being written on this package. */
	if (!try_mutex(&package->ket_mutex))
		return operand_status(TDX_OPERAND_BUSY, TDX_OPERAND_KET);
	ctx->tdr->packages_configured |= BIT_ULL(ctx->lp->package);
	try_mutex_release(&package->ket_mutex);
	if (ctx->tdr->packages_configured == all_packages(ctx->seam))
		ctx->tdr->lifecycle = TD_KEYS_CONFIGURED;
	return TDX_SUCCESS;
}

/* The content that TDCX page number @index starts with. */
static void fill_tdcx(struct leaf_ctx *ctx, hpa_t page, unsigned int index)
{
	pfn_t pfn = addr_to_fn(page);

	if (index == TDCS_PAGE_SEPT_ROOT) {
		sept_fill_free(ctx, page);
		return;
	}
	host_zero(ctx->host, pfn, PG_LEVEL_4K, ctx->tdr->hkid);
	if (index == TDCS_PAGE_MSR_BITMAPS || index == TDCS_PAGE_FIELDS)
		host_frame_dirty(ctx->host, pfn);
	if (index == TDCS_PAGE_MSR_BITMAPS)
		memset(host_frame_ptr(ctx->host, pfn), 0xFF, PAGE_SIZE);
}

u64 seam_tdh_mng_addcx(struct leaf_ctx *ctx)
{
	hpa_t page = ctx->r->rcx;
	struct pamt_ref ref;
	u64 status;

	status = check_tdr(ctx, ctx->r->rdx, TDX_OPERAND_RDX, MODE_EXCLUSIVE);
	if (!status)
		status = check_td_not_fatal(ctx);
	if (!status)
		status = check_td_keys(ctx);
	if (status)
		return status;
	if (ctx->tdr->num_tdcx >= TDCS_MAX_PAGES)
		return TDX_TDCX_NUM_INCORRECT;
	status = check_hpa(ctx, page, TDX_OPERAND_RCX, PT_NDA, 0, MODE_EXCLUSIVE, &ref);
	/* With the base pages there the TD has an op_state, and must not have been built yet. */
	if (!status && !check_td_allocated(ctx))
		status = check_op_state(ctx);
	if (status)
		return status;

	fill_tdcx(ctx, page, ctx->tdr->num_tdcx);
	pamt_set(ctx, &ref, PT_TDCX, ctx->tdr_pa);
	ctx->tdr->tdcx_pa[ctx->tdr->num_tdcx++] = page;
	sync_fetch_add(&ctx->tdr->chldcnt, 1);
	return TDX_SUCCESS;
}

/* ---- the way down ----------------------------------------------------------------------------*/

u64 seam_tdh_mng_vpflushdone(struct leaf_ctx *ctx)
{
	struct kot_entry *kot;
	u64 status;

	status = check_tdr(ctx, ctx->r->rcx, TDX_OPERAND_RCX, MODE_EXCLUSIVE);
	if (!status)
		status = kot_lock(ctx);
	if (status)
		return status;
	if (ctx->tdr->lifecycle != TD_KEYS_CONFIGURED && ctx->tdr->lifecycle != TD_HKID_ASSIGNED)
		return TDX_LIFECYCLE_STATE_INCORRECT;
	if (!check_td_allocated(ctx) && sync_load(&ctx->tdcs->num_assoc_vcpus))
		return TDX_FLUSHVP_NOT_DONE;

	kot = &ctx->seam->kot[ctx->tdr->hkid];
	kot->wbinvd = all_packages(ctx->seam);
	kot->state = KOT_FLUSHED;
	ctx->tdr->lifecycle = TD_BLOCKED;
	return TDX_SUCCESS;
}

u64 seam_tdh_mng_key_freeid(struct leaf_ctx *ctx)
{
	struct kot_entry *kot;
	u64 status;

	status = check_tdr(ctx, ctx->r->rcx, TDX_OPERAND_RCX, MODE_EXCLUSIVE);
	if (status)
		return status;
	if (ctx->tdr->lifecycle != TD_BLOCKED)
		return TDX_LIFECYCLE_STATE_INCORRECT;
	status = kot_lock(ctx);
	if (status)
		return status;
	kot = &ctx->seam->kot[ctx->tdr->hkid];
	/* PHYMEM.CACHE.WB clears bits under the shared lock. */
	if (sync_load(&kot->wbinvd))
		return TDX_WBCACHE_NOT_COMPLETE;

	kot->state = KOT_FREE;
	ctx->tdr->lifecycle = TD_TEARDOWN;
	return TDX_SUCCESS;
}

u64 seam_tdh_mng_key_reclaimid(struct leaf_ctx *ctx)
{
	(void)ctx;
	return TDX_SUCCESS;
}
