/* SPDX-License-Identifier: MIT */
/*
 * Owns MNG.INIT: which TD_PARAMS make a TD. Nothing of the TD changes before all of them are
 * accepted.
 */
#include <string.h>

#include "seam/checks.h"
#include "seam/mr.h"

#define XFAM_AVX BIT_ULL(2)
#define XFAM_AVX512 GENMASK_ULL(7, 5)
#define XFAM_CET GENMASK_ULL(12, 11)
#define XFAM_AMX GENMASK_ULL(18, 17)

#define CONFIG_ALLOWED (TD_CONFIG_GPAW | TD_CONFIG_FLEXIBLE_PENDING_VE | TD_CONFIG_NO_RBP_MOD)

/* Page-walk length minus one. */
#define EPTP_PWL_4 3
#define EPTP_PWL_5 4
#define EPTP_PWL(eptp) ((eptp) >> TD_EPTP_PWL_SHIFT & 7)

/* In units of 25 MHz. */
#define TSC_FREQUENCY_MIN 4
#define TSC_FREQUENCY_MAX 400

static bool all_or_none(u64 value, u64 bits)
{
	return (value & bits) == 0 || (value & bits) == bits;
}

static bool xfam_is_valid(u64 xfam)
{
	if ((xfam & TD_XFAM_MUST) != TD_XFAM_MUST || xfam & ~TD_XFAM_ALLOWED)
		return false;
	if (xfam & XFAM_AVX512 && !(xfam & XFAM_AVX))
		return false;
	return all_or_none(xfam, XFAM_AVX512) && all_or_none(xfam, XFAM_CET) &&
	       all_or_none(xfam, XFAM_AMX);
}

static bool eptp_controls_are_valid(const struct td_params *p)
{
	u64 pwl = EPTP_PWL(p->eptp_controls);

	if (p->eptp_controls != (TD_EPTP_WB | pwl << TD_EPTP_PWL_SHIFT))
		return false;
	/* A 52-bit GPA needs the fifth level. */
	return pwl == EPTP_PWL_5 || (pwl == EPTP_PWL_4 && !(p->config_flags & TD_CONFIG_GPAW));
}

static bool is_zero(const void *bytes, size_t n)
{
	const u8 *b = bytes;

	return !n || (!b[0] && !memcmp(b, b + 1, n - 1));
}

static u64 check_params(const struct td_params *p)
{
	if (p->attributes & ~TD_ATTRIBUTES_ALLOWED)
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_ATTRIBUTES);
	if (!xfam_is_valid(p->xfam))
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_XFAM);
	if (!p->max_vcpus || p->max_vcpus > TD_MAX_VCPUS)
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_MAX_VCPUS);
	if (p->num_l2_vms)
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_NUM_L2_VMS);
	if (p->config_flags & ~CONFIG_ALLOWED)
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_EXEC_CONTROLS);
	if (!eptp_controls_are_valid(p))
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_EPTP_CONTROLS);
	if (p->tsc_frequency < TSC_FREQUENCY_MIN || p->tsc_frequency > TSC_FREQUENCY_MAX)
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_TSC_FREQUENCY);
	/* SYS.RD enumerates no configurable CPUID leaf and no configurable capability. */
	if (p->ia32_arch_capabilities_config)
		return operand_status(TDX_OPERAND_INVALID,
				      TDX_OPERAND_IA32_ARCH_CAPABILITIES_CONFIG);
	if (!is_zero(p->cpuid_config, sizeof(p->cpuid_config)))
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_CPUID_CONFIG);
	if (p->msr_config_ctls || p->reserved0 || !is_zero(p->reserved1, sizeof(p->reserved1)) ||
	    !is_zero(p->reserved2, sizeof(p->reserved2)))
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RDX);
	return 0;
}

static void set_params(struct tdcs *tdcs, const struct td_params *p)
{
	tdcs->attributes = p->attributes;
	tdcs->xfam = p->xfam;
	tdcs->config_flags = p->config_flags;
	tdcs->eptp_controls = p->eptp_controls;
	tdcs->max_vcpus = p->max_vcpus;
	tdcs->num_l2_vms = p->num_l2_vms;
	tdcs->sept_levels = (u32)EPTP_PWL(p->eptp_controls) + 1;
	tdcs->shared_bit = p->config_flags & TD_CONFIG_GPAW ? 51 : 47;
	tdcs->tsc_frequency = p->tsc_frequency;
	tdcs->td_ctls = p->attributes & TD_ATTR_SEPT_VE_DISABLE ? TD_CTLS_PENDING_VE_DISABLE : 0;
	tdcs->refcount[0] = 0;
	tdcs->refcount[1] = 0;
	tdcs->td_epoch = 1;
	tdcs->op_state = OP_INITIALIZED;
}

u64 seam_tdh_mng_init(struct leaf_ctx *ctx)
{
	u64 operand = ctx->r->rdx;
	struct td_params params;
	u64 status;

	status = check_tdr(ctx, ctx->r->rcx, TDX_OPERAND_RCX, MODE_EXCLUSIVE);
	if (!status)
		status = check_td_state_unlocked(ctx);
	if (!status)
		status = check_shared_hpa(ctx, operand, TDX_OPERAND_RDX, TDX_TD_PARAMS_SIZE);
	if (status)
		return status;
	/* Copied first: the host may change its page while we look. */
	if (leaf_read(ctx, operand & ~HPA_HKID_MASK, (u64 *)(void *)&params,
		      sizeof(params) / sizeof(u64)))
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RDX);
	status = check_params(&params);
	if (status)
		return status;

	set_params(ctx->tdcs, &params);
	mrtd_init(ctx->tdcs);
	return TDX_SUCCESS;
}
