/* SPDX-License-Identifier: MIT */
/*
 * Owns the life cycle of a vCPU: VP.CREATE, VP.ADDCX, VP.INIT, VP.FLUSH, and its association with a
 * logical processor.
 *
 *   VP.CREATE -> UNINITIALIZED --VP.INIT--> READY <--VP.ENTER / TD exit--> ACTIVE
 *                 ^ VP.ADDCX x5              |            |
 *                                            +- DISABLED <+ the guest can't go on
 */
#include "seam/checks.h"
#include "seam/vcpu.h"

#define VP_INIT_MAX_VERSION 1

u64 vcpu_map_owned(struct leaf_ctx *ctx, hpa_t tdvpr, const struct pamt_ref *ref,
		   enum lock_mode tdr_mode)
{
	u64 status = check_owner_tdr(ctx, ref, tdr_mode);

	if (unlikely(status))
		return status;
	if (unlikely(!page_is_intact(ctx->host, tdvpr, ctx->tdr->hkid)))
		return TDX_TD_FATAL;
	ctx->vcpu = host_ptr(ctx->host, tdvpr);
	return 0;
}

u64 vcpu_map(struct leaf_ctx *ctx, hpa_t tdvpr, unsigned int operand, enum lock_mode mode,
	     enum lock_mode tdr_mode)
{
	struct pamt_ref ref;
	u64 status = check_hpa(ctx, tdvpr, operand, PT_TDVPR, 0, mode, &ref);

	if (unlikely(status))
		return status;
	return vcpu_map_owned(ctx, tdvpr, &ref, tdr_mode);
}

u64 vcpu_has_all_pages(const struct tdvps *vcpu)
{
	return vcpu->num_pages < VCPU_MIN_PAGES ? TDX_TDCX_NUM_INCORRECT : 0;
}

u64 vcpu_associate(struct leaf_ctx *ctx)
{
	u32 none = VCPU_NOT_ASSOCIATED;

	if (likely(sync_load(&ctx->vcpu->assoc_lpid) == ctx->lp->id))
		return 0;
	/* Pairs with the release in VP.FLUSH: what the last LP wrote to TDVPS is seen. */
	if (!sync_cmpxchg(&ctx->vcpu->assoc_lpid, &none, ctx->lp->id))
		return TDX_VCPU_ASSOCIATED;
	sync_fetch_add(&ctx->tdcs->num_assoc_vcpus, 1);
	lp_tlb_flush(ctx->lp, vcpu_asid(ctx));
	return 0;
}

/* A page that becomes one of the vCPU's: zero, under the TD's key id. */
static void take_page(struct leaf_ctx *ctx, hpa_t hpa, const struct pamt_ref *ref,
		      enum pamt_type type)
{
	host_zero(ctx->host, addr_to_fn(hpa), PG_LEVEL_4K, ctx->tdr->hkid);
	pamt_set(ctx, ref, type, ctx->tdr_pa);
	sync_fetch_add(&ctx->tdr->chldcnt, 1);
}

u64 seam_tdh_vp_create(struct leaf_ctx *ctx)
{
	hpa_t page = ctx->r->rcx;
	struct tdvps *vcpu;
	struct pamt_ref ref;
	u64 status;

	status = check_tdr(ctx, ctx->r->rdx, TDX_OPERAND_RDX, MODE_SHARED);
	if (status)
		return status;
	status = check_td_state(ctx);
	if (status)
		return status;
	status = check_hpa(ctx, page, TDX_OPERAND_RCX, PT_NDA, 0, MODE_EXCLUSIVE, &ref);
	if (status)
		return status;

	take_page(ctx, page, &ref, PT_TDVPR);
	host_frame_dirty(ctx->host, addr_to_fn(page));
	vcpu = host_ptr(ctx->host, page);
	vcpu->num_pages = 1;
	vcpu->page_pa[0] = page;
	vcpu->tdr_pa = ctx->tdr_pa;
	sync_store(&vcpu->assoc_lpid, VCPU_NOT_ASSOCIATED);
	return TDX_SUCCESS;
}

static u64 check_uninitialized(const struct tdvps *vcpu)
{
	u32 state = sync_load(&vcpu->state);

	return state == VCPU_UNINITIALIZED ? 0 : TDX_VCPU_STATE_INCORRECT | state;
}

u64 seam_tdh_vp_addcx(struct leaf_ctx *ctx)
{
	hpa_t page = ctx->r->rcx;
	struct pamt_ref ref;
	u64 status;

	status = vcpu_map(ctx, ctx->r->rdx, TDX_OPERAND_RDX, MODE_EXCLUSIVE, MODE_SHARED);
	if (!status)
		status = check_td_state(ctx);
	if (!status)
		status = check_uninitialized(ctx->vcpu);
	if (status)
		return status;
	if (ctx->vcpu->num_pages >= TDVPS_MAX_PAGES)
		return TDX_TDCX_NUM_INCORRECT;
	status = check_hpa(ctx, page, TDX_OPERAND_RCX, PT_NDA, 0, MODE_EXCLUSIVE, &ref);
	if (status)
		return status;

	take_page(ctx, page, &ref, PT_TDCX);
	ctx->vcpu->page_pa[ctx->vcpu->num_pages++] = page;
	return TDX_SUCCESS;
}

/* No vCPU of the TD has @id yet; the TDR is held exclusive. */
static bool x2apic_id_is_unique(const struct tdcs *tdcs, u32 id)
{
	for (u32 i = 0; i < tdcs->num_vcpus; i++) {
		if (tdcs->x2apic_ids[i] == id)
			return false;
	}
	return true;
}

/* The next vCPU index, or max_vcpus when there is none. Callers may race under the shared lock. */
static u32 take_vcpu_index(struct tdcs *tdcs)
{
	u32 index = sync_load(&tdcs->num_vcpus);

	while (index < tdcs->max_vcpus && !sync_cmpxchg(&tdcs->num_vcpus, &index, index + 1))
		;
	return index;
}

static void init_guest_registers(struct leaf_ctx *ctx, u64 guest_rcx)
{
	struct tdx_regs *gprs = &ctx->vcpu->gprs;

	gprs->rbx = ctx->tdcs->shared_bit + 1;
	gprs->rcx = guest_rcx;
	gprs->r8 = guest_rcx;
	gprs->rsi = ctx->vcpu->index;
}

u64 seam_tdh_vp_init(struct leaf_ctx *ctx)
{
	bool names_x2apic = ctx->version == 1;
	u64 guest_rcx = ctx->r->rdx;
	u32 x2apic_id = (u32)ctx->r->r8;
	u64 status;
	u32 index;

	if (ctx->version > VP_INIT_MAX_VERSION)
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RAX);
	status = vcpu_map(ctx, ctx->r->rcx, TDX_OPERAND_RCX, MODE_EXCLUSIVE,
			  names_x2apic ? MODE_EXCLUSIVE : MODE_SHARED);
	if (!status)
		status = check_td_state(ctx);
	if (!status)
		status = vcpu_has_all_pages(ctx->vcpu);
	if (!status)
		status = check_uninitialized(ctx->vcpu);
	if (status)
		return status;
	if (sync_load(&ctx->tdcs->num_vcpus) >= ctx->tdcs->max_vcpus)
		return TDX_MAX_VCPUS_EXCEEDED;
	if (names_x2apic && !x2apic_id_is_unique(ctx->tdcs, x2apic_id))
		return TDX_X2APIC_ID_NOT_UNIQUE;
	index = take_vcpu_index(ctx->tdcs);
	if (index >= ctx->tdcs->max_vcpus)
		return TDX_MAX_VCPUS_EXCEEDED;

	ctx->vcpu->index = index;
	ctx->vcpu->x2apic_id = names_x2apic ? x2apic_id : index;
	ctx->tdcs->x2apic_ids[index] = ctx->vcpu->x2apic_id;
	init_guest_registers(ctx, guest_rcx);
	/* Below any epoch: the first VP.ENTER flushes. */
	ctx->vcpu->vcpu_epoch = 0;
	vcpu_associate(ctx);
	sync_store(&ctx->vcpu->state, VCPU_READY);
	return TDX_SUCCESS;
}

u64 seam_tdh_vp_flush(struct leaf_ctx *ctx)
{
	u64 status;

	status = vcpu_map(ctx, ctx->r->rcx, TDX_OPERAND_RCX, MODE_EXCLUSIVE, MODE_SHARED);
	if (!status)
		status = check_td_keys(ctx);
	if (!status)
		status = check_td_allocated(ctx);
	if (!status)
		status = vcpu_has_all_pages(ctx->vcpu);
	if (status)
		return status;
	if (sync_load(&ctx->vcpu->assoc_lpid) != ctx->lp->id)
		return TDX_VCPU_NOT_ASSOCIATED;

	lp_tlb_flush(ctx->lp, vcpu_asid(ctx));
	/* Pairs with the cmpxchg in vcpu_associate(). */
	sync_store_release(&ctx->vcpu->assoc_lpid, VCPU_NOT_ASSOCIATED);
	sync_fetch_sub(&ctx->tdcs->num_assoc_vcpus, 1);
	return TDX_SUCCESS;
}
