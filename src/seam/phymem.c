/* SPDX-License-Identifier: MIT */
/*
 * Owns the host's way to get pages and caches back: PHYMEM.PAGE.RECLAIM, PHYMEM.PAGE.WBINVD,
 * PHYMEM.CACHE.WB.
 */
#include "seam/checks.h"

/* ---- PHYMEM.PAGE.RECLAIM ---------------------------------------------------------------------*/

static u64 reclaim_owned(struct leaf_ctx *ctx, const struct pamt_ref *ref)
{
	u64 status = check_owner_tdr(ctx, ref, MODE_SHARED);

	if (status)
		return status;
	if (ctx->tdr->lifecycle != TD_TEARDOWN)
		return TDX_LIFECYCLE_STATE_INCORRECT;
	sync_fetch_sub(&ctx->tdr->chldcnt, 1ULL << (9 * ref->level));
	return 0;
}

static u64 reclaim_tdr(const struct leaf_ctx *ctx, hpa_t hpa)
{
	const struct tdr *tdr = host_ptr(ctx->host, hpa);

	if (unlikely(!page_is_intact(ctx->host, hpa, ctx->seam->global_hkid)))
		return TDX_TD_FATAL;
	if (tdr->lifecycle != TD_TEARDOWN)
		return TDX_LIFECYCLE_STATE_INCORRECT;
	return sync_load(&tdr->chldcnt) ? TDX_TD_ASSOCIATED_PAGES_EXIST : 0;
}

u64 seam_tdh_phymem_page_reclaim(struct leaf_ctx *ctx)
{
	struct tdx_regs *r = ctx->r;
	hpa_t hpa = r->rcx;
	const struct seam_tdmr *tdmr;
	struct pamt_ref ref;
	enum pamt_type type;
	u64 status;

	r->rcx = r->rdx = r->r8 = r->r9 = r->r10 = r->r11 = 0;
	status = check_hpa_format(hpa, TDX_OPERAND_RCX, 0);
	if (status)
		return status;
	tdmr = pamt_tdmr_of(ctx->seam, hpa);
	if (!tdmr)
		return operand_status(TDX_OPERAND_ADDR_RANGE_ERROR, TDX_OPERAND_RCX);
	if (!pamt_walk(ctx, tdmr, hpa, PAMT_REAL_LEVEL, MODE_EXCLUSIVE, &ref))
		return operand_status(TDX_OPERAND_BUSY, TDX_OPERAND_RCX);
	type = pamt_type(ref.entry);
	if (type == PT_NDA || type == PT_RSVD || type == PT_PAMT)
		return operand_status(TDX_PAGE_METADATA_INCORRECT, TDX_OPERAND_RCX);

	/* From here on the caller is told what the page is, whether he gets it or not. */
	r->rcx = type;
	r->rdx = type == PT_TDR ? 0 : pamt_owner(ref.entry);
	r->r8 = ref.level;
	if (!IS_ALIGNED(hpa, sept_level_size(ref.level)))
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RCX);
	status = type == PT_TDR ? reclaim_tdr(ctx, hpa) : reclaim_owned(ctx, &ref);
	if (status)
		return status;
	r->r9 = pamt_clear(ctx, &ref);
	return TDX_SUCCESS;
}

/* ---- PHYMEM.PAGE.WBINVD ----------------------------------------------------------------------*/

/*
 * The checks are all there is to it: our caches are coherent. The operand carries the key id whose
 * lines are to be flushed.
 */
u64 seam_tdh_phymem_page_wbinvd(struct leaf_ctx *ctx)
{
	hpa_t hpa = ctx->r->rcx & ~HPA_HKID_MASK;
	const struct seam_tdmr *tdmr;
	struct pamt_ref ref;
	u64 status;

	status = check_hpa_format(hpa, TDX_OPERAND_RCX, 0);
	if (status)
		return status;
	tdmr = pamt_tdmr_of(ctx->seam, hpa);
	if (!tdmr)
		return operand_status(TDX_OPERAND_ADDR_RANGE_ERROR, TDX_OPERAND_RCX);
	if (!pamt_walk(ctx, tdmr, hpa, PAMT_REAL_LEVEL, MODE_SHARED, &ref))
		return operand_status(TDX_OPERAND_BUSY, TDX_OPERAND_RCX);
	if (pamt_type(ref.entry) != PT_NDA ||
	    (ctx->seam->dynamic_pamt && pamt_page_bit_is_set(ctx->seam, tdmr, hpa)))
		return operand_status(TDX_PAGE_METADATA_INCORRECT, TDX_OPERAND_RCX);
	return TDX_SUCCESS;
}

/* ---- PHYMEM.CACHE.WB -------------------------------------------------------------------------*/

enum wbcache_command {
	WBCACHE_START = 0,
	WBCACHE_RESUME = 1,
};

/* Write-back goes in so many steps, and may stop for an interrupt after each but the last. */
#define WBCACHE_STEPS 16

static u64 flushed_hkids(const struct seam *seam)
{
	u64 set = 0;

	for (unsigned int i = 0; i < SEAM_NR_HKIDS; i++) {
		if (seam->kot[i].state == KOT_FLUSHED)
			set |= BIT_ULL(i);
	}
	return set;
}

static u64 write_back(struct leaf_ctx *ctx, struct seam_package *package)
{
	u64 bit = BIT_ULL(ctx->lp->package);

	while (++package->wbcache_progress < WBCACHE_STEPS) {
		if (lp_interrupted(ctx->lp))
			return TDX_INTERRUPTED_RESUMABLE;
	}
	package->wbcache_started = 0;
	for (unsigned int i = 0; i < SEAM_NR_HKIDS; i++) {
		/* Another package clears its own bit at the same time. */
		if (package->wbcache_hkids >> i & 1)
			sync_fetch_and(&ctx->seam->kot[i].wbinvd, ~bit);
	}
	return TDX_SUCCESS;
}

static u64 cache_wb(struct leaf_ctx *ctx, struct seam_package *package, u64 command)
{
	if (!leaf_lock_plain(ctx, &ctx->seam->kot_lock, MODE_SHARED))
		return operand_status(TDX_OPERAND_BUSY, TDX_OPERAND_KOT);
	if (command == WBCACHE_RESUME)
		return package->wbcache_started ? write_back(ctx, package)
						: TDX_WBCACHE_RESUME_ERROR;
	package->wbcache_hkids = flushed_hkids(ctx->seam);
	package->wbcache_started = package->wbcache_hkids != 0;
	package->wbcache_progress = 0;
	return package->wbcache_started ? write_back(ctx, package) : TDX_NO_HKID_READY_TO_WBCACHE;
}

u64 seam_tdh_phymem_cache_wb(struct leaf_ctx *ctx)
{
	struct seam_package *package = &ctx->seam->package[ctx->lp->package];
	u64 command = ctx->r->rcx, status;

	if (command != WBCACHE_START && command != WBCACHE_RESUME)
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RCX);
	if (!try_mutex(&package->wbcache_mutex))
		return operand_status(TDX_OPERAND_BUSY, TDX_OPERAND_WBCACHE);
	status = cache_wb(ctx, package, command);
	try_mutex_release(&package->wbcache_mutex);
	return status;
}
