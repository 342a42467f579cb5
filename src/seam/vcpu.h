/* SPDX-License-Identifier: MIT */
/*
 * What the leaves of a vCPU share: association with a logical processor, and what is inside one.
 */
#ifndef SEAM_VCPU_H
#define SEAM_VCPU_H

#include "seam/internal.h"

struct pamt_ref;

/* TDVPS pages without which a vCPU can't be initialised. */
#define VCPU_MIN_PAGES TDX_TDVPS_PAGES

/** vcpu_inside - the VP.ENTER that @lp is inside of: its frame names TDR, TDCS and TDVPS */
static inline struct leaf_ctx *vcpu_inside(const struct lp *lp)
{
	return lp->vcpu;
}

/** vcpu_asid - the TLB tag of the TD in @ctx; a TDR page is one TD's until all vCPUs are flushed */
static inline u64 vcpu_asid(const struct leaf_ctx *ctx)
{
	return ctx->tdr_pa | 1;
}

/**
 * vcpu_map - the TDVPR page of operand RCX, explicit, and the TD that owns it
 *
 * Sets vcpu, tdr and tdr_pa of the frame. Return: 0, check_hpa()'s statuses, check_owner_tdr()'s,
 * or TD_FATAL when the page's bytes aren't the module's.
 */
u64 vcpu_map(struct leaf_ctx *ctx, hpa_t tdvpr, unsigned int operand, enum lock_mode mode,
	     enum lock_mode tdr_mode);
/** vcpu_map_owned - vcpu_map() from where the TDVPR page's PAMT entry @ref is locked */
u64 vcpu_map_owned(struct leaf_ctx *ctx, hpa_t tdvpr, const struct pamt_ref *ref,
		   enum lock_mode tdr_mode);
/** vcpu_has_all_pages - TDX_TDCX_NUM_INCORRECT unless the TDVPX pages are there */
u64 vcpu_has_all_pages(const struct tdvps *vcpu);

/**
 * vcpu_associate - tie the vCPU to the calling LP, unless it is
 *
 * Two LPs may race for it under shared locks: one wins. A new association drops what that LP's TLB
 * holds of the TD: another vCPU of the same TD may have left translations of an older epoch there.
 * Return: 0 or TDX_VCPU_ASSOCIATED.
 */
u64 vcpu_associate(struct leaf_ctx *ctx);

/* ---- TDG.VP.VMCALL: registers that a guest may expose -----------------------------------------*/
struct vmcall_reg {
	u32 bit;    /* in the selector mask */
	u32 offset; /* in struct tdx_regs */
};

#define VMCALL_NR_REGS 13
extern const struct vmcall_reg vmcall_regs[VMCALL_NR_REGS];

/* Selector bits 15:0 that name none of them: RAX, RCX and RSP. */
#define VMCALL_MASK_RESERVED 0x13ULL

static inline u64 *vmcall_reg(struct tdx_regs *r, unsigned int i)
{
	return (u64 *)(void *)((u8 *)r + vmcall_regs[i].offset);
}

static inline const u64 *vmcall_reg_const(const struct tdx_regs *r, unsigned int i)
{
	return (const u64 *)(const void *)((const u8 *)r + vmcall_regs[i].offset);
}

#endif
