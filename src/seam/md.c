/* SPDX-License-Identifier: MIT */
/*
 * Owns the metadata fields of a TD and a vCPU that we model, and the host's leaves that read and
 * write them: MNG.RD, MNG.WR, VP.RD, VP.WR.
 */
#include "seam/checks.h"
#include "seam/md.h"
#include "seam/vcpu.h"

#define MD_MAX_VERSION 1

/* Who may read a field: a bit per enum md_reader. */
#define BY_HOST (BIT_ULL(MD_HOST) | BIT_ULL(MD_HOST_OF_DEBUG_TD))
#define BY_DEBUG_HOST BIT_ULL(MD_HOST_OF_DEBUG_TD)
#define BY_GUEST BIT_ULL(MD_GUEST)

struct md_field {
	u64 key;
	u64 readers;
};

/* In the order in which they are enumerated. */
static const struct md_field td_fields[] = {
	{MD_TDR_FATAL, BY_HOST},
	{MD_TDR_NUM_TDCX, BY_HOST},
	{MD_TDR_CHLDCNT, BY_HOST},
	{MD_TDR_LIFECYCLE, BY_HOST},
	{MD_TDR_HKID, BY_HOST},
	{MD_TDCS_NUM_VCPUS, BY_HOST | BY_GUEST},
	{MD_TDCS_NUM_ASSOC_VCPUS, BY_HOST},
	{MD_TDCS_OP_STATE, BY_HOST},
	{MD_TDCS_ATTRIBUTES, BY_HOST | BY_GUEST},
	{MD_TDCS_XFAM, BY_HOST | BY_GUEST},
	{MD_TDCS_MAX_VCPUS, BY_HOST | BY_GUEST},
	{MD_TDCS_GPAW, BY_HOST | BY_GUEST},
	{MD_TDCS_EPTP, BY_DEBUG_HOST},
	{MD_TDCS_TSC_FREQUENCY, BY_HOST | BY_GUEST},
	{MD_TDCS_CONFIG_FLAGS, BY_HOST | BY_GUEST},
	{MD_TDCS_TD_CTLS, BY_DEBUG_HOST | BY_GUEST},
	{MD_TDCS_TD_EPOCH, BY_DEBUG_HOST},
};

static const struct md_field *td_field(u64 id)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(td_fields); i++) {
		if (td_fields[i].key == MD_KEY(id))
			return &td_fields[i];
	}
	return NULL;
}

static u64 td_field_value(const struct leaf_ctx *ctx, u64 key)
{
	const struct tdr *tdr = ctx->tdr;
	const struct tdcs *tdcs = ctx->tdcs;

	switch (key) {
	case MD_TDR_FATAL:
		return sync_load(&tdr->fatal);
	case MD_TDR_NUM_TDCX:
		return tdr->num_tdcx;
	case MD_TDR_CHLDCNT:
		return sync_load(&tdr->chldcnt);
	case MD_TDR_LIFECYCLE:
		return tdr->lifecycle;
	case MD_TDR_HKID:
		return tdr->hkid;
	case MD_TDCS_NUM_VCPUS:
		return sync_load(&tdcs->num_vcpus);
	case MD_TDCS_NUM_ASSOC_VCPUS:
		return sync_load(&tdcs->num_assoc_vcpus);
	case MD_TDCS_OP_STATE:
		return sync_load(&tdcs->op_state);
	case MD_TDCS_ATTRIBUTES:
		return tdcs->attributes;
	case MD_TDCS_XFAM:
		return tdcs->xfam;
	case MD_TDCS_MAX_VCPUS:
		return tdcs->max_vcpus;
	case MD_TDCS_GPAW:
		return tdcs->config_flags & TD_CONFIG_GPAW;
	case MD_TDCS_EPTP:
		return tdcs->eptp_controls | tdr->tdcx_pa[TDCS_PAGE_SEPT_ROOT];
	case MD_TDCS_TSC_FREQUENCY:
		return tdcs->tsc_frequency;
	case MD_TDCS_CONFIG_FLAGS:
		return tdcs->config_flags;
	case MD_TDCS_TD_CTLS:
		return sync_load(&tdcs->td_ctls);
	default:
		return sync_load(&tdcs->td_epoch);
	}
}

u64 md_td_read(const struct leaf_ctx *ctx, u64 id, enum md_reader reader, u64 *value)
{
	const struct md_field *f = td_field(id);

	*value = 0;
	if (!f)
		return TDX_METADATA_FIELD_ID_INCORRECT;
	if (!(f->readers >> reader & 1))
		return TDX_METADATA_FIELD_NOT_READABLE;
	*value = td_field_value(ctx, f->key);
	return TDX_SUCCESS;
}

u64 md_td_next(u64 id, enum md_reader reader)
{
	const struct md_field *f = td_field(id), *end = td_fields + ARRAY_SIZE(td_fields);

	for (f = f ? f + 1 : td_fields; f < end; f++) {
		if (f->readers >> reader & 1)
			return f->key;
	}
	return MD_NULL_ID;
}

/* ---- MNG.RD, MNG.WR --------------------------------------------------------------------------*/

static enum md_reader host_reader(const struct leaf_ctx *ctx)
{
	return ctx->tdcs->attributes & TD_ATTR_DEBUG ? MD_HOST_OF_DEBUG_TD : MD_HOST;
}

static u64 mng_begin(struct leaf_ctx *ctx)
{
	u64 status;

	if (ctx->version > MD_MAX_VERSION)
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RAX);
	status = check_tdr(ctx, ctx->r->rcx, TDX_OPERAND_RCX, MODE_SHARED);
	return status ? status : check_td_state(ctx);
}

u64 seam_tdh_mng_rd(struct leaf_ctx *ctx)
{
	struct tdx_regs *r = ctx->r;
	u64 id = r->rdx, value, status;

	r->r8 = 0;
	status = mng_begin(ctx);
	if (status)
		return status;
	if (ctx->version == 1 && id == MD_NULL_ID) {
		r->rdx = md_td_next(0, host_reader(ctx));
		return TDX_METADATA_FIRST_FIELD_ID_IN_CONTEXT;
	}
	status = md_td_read(ctx, id, host_reader(ctx), &value);
	if (ctx->version == 1)
		r->rdx = status ? MD_NULL_ID : md_td_next(id, host_reader(ctx));
	r->r8 = value;
	return status;
}

/* None of the fields that we model is the host's to write. */
u64 seam_tdh_mng_wr(struct leaf_ctx *ctx)
{
	u64 id = ctx->r->rdx, status;

	ctx->r->r8 = 0;
	status = mng_begin(ctx);
	if (status)
		return status;
	return td_field(id) ? TDX_METADATA_FIELD_NOT_WRITABLE : TDX_METADATA_FIELD_ID_INCORRECT;
}

/* ---- VP.RD, VP.WR ----------------------------------------------------------------------------*/

/* As VP.ENTER: a vCPU that runs, or is tied to another LP, isn't ours to look at. */
static u64 vp_begin(struct leaf_ctx *ctx)
{
	u64 status;
	u32 state;

	if (ctx->version > MD_MAX_VERSION)
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RAX);
	status = vcpu_map(ctx, ctx->r->rcx, TDX_OPERAND_RCX, MODE_SHARED, MODE_SHARED);
	if (!status)
		status = check_td_state(ctx);
	if (!status)
		status = vcpu_has_all_pages(ctx->vcpu);
	if (status)
		return status;
	state = sync_load(&ctx->vcpu->state);
	if (state == VCPU_UNINITIALIZED)
		return TDX_VCPU_STATE_INCORRECT | state;
	return vcpu_associate(ctx);
}

static u64 vp_field_value(const struct leaf_ctx *ctx, u64 key, u64 *value)
{
	const struct tdvps *vcpu = ctx->vcpu;

	switch (key) {
	case MD_VMCS_SHARED_EPT_POINTER:
		*value = vcpu->shared_eptp;
		return TDX_SUCCESS;
	case MD_TDVPS_VCPU_STATE:
		*value = sync_load(&vcpu->state);
		return TDX_SUCCESS;
	case MD_TDVPS_VCPU_INDEX:
		*value = vcpu->index;
		return TDX_SUCCESS;
	case MD_TDVPS_ASSOC_LPID:
		*value = sync_load(&vcpu->assoc_lpid);
		return TDX_SUCCESS;
	case MD_TDVPS_VCPU_EPOCH:
		*value = vcpu->vcpu_epoch;
		return TDX_SUCCESS;
	default:
		*value = 0;
		return TDX_METADATA_FIELD_ID_INCORRECT;
	}
}

static const u64 vp_fields[] = {
	MD_VMCS_SHARED_EPT_POINTER, MD_TDVPS_VCPU_STATE, MD_TDVPS_VCPU_INDEX,
	MD_TDVPS_ASSOC_LPID,	    MD_TDVPS_VCPU_EPOCH,
};

static u64 vp_next(u64 id)
{
	for (unsigned int i = 0; i + 1 < ARRAY_SIZE(vp_fields); i++) {
		if (vp_fields[i] == MD_KEY(id))
			return vp_fields[i + 1];
	}
	return MD_NULL_ID;
}

u64 seam_tdh_vp_rd(struct leaf_ctx *ctx)
{
	struct tdx_regs *r = ctx->r;
	u64 id = r->rdx, value, status;

	r->r8 = 0;
	status = vp_begin(ctx);
	if (status)
		return status;
	if (ctx->version == 1 && id == MD_NULL_ID) {
		r->rdx = vp_fields[0];
		return TDX_METADATA_FIRST_FIELD_ID_IN_CONTEXT;
	}
	status = vp_field_value(ctx, MD_KEY(id), &value);
	if (ctx->version == 1)
		r->rdx = status ? MD_NULL_ID : vp_next(id);
	r->r8 = value;
	return status;
}

u64 seam_tdh_vp_wr(struct leaf_ctx *ctx)
{
	struct tdx_regs *r = ctx->r;
	u64 id = r->rdx, data = r->r8, mask = r->r9, previous, wanted, status;

	r->r8 = 0;
	status = vp_begin(ctx);
	if (status)
		return status;
	status = vp_field_value(ctx, MD_KEY(id), &previous);
	if (status)
		return status;
	if (MD_KEY(id) != MD_VMCS_SHARED_EPT_POINTER)
		return TDX_METADATA_FIELD_NOT_WRITABLE;
	wanted = (previous & ~mask) | (data & mask);
	if (check_shared_hpa(ctx, wanted, TDX_OPERAND_R8, SIZE_4K))
		return TDX_METADATA_FIELD_VALUE_NOT_VALID;
	ctx->vcpu->shared_eptp = wanted;
	r->r8 = previous;
	return TDX_SUCCESS;
}
