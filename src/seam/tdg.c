/* SPDX-License-Identifier: MIT */
/*
 * Owns the guest's leaves that aren't about memory: VP.VMCALL, VP.INFO, VP.VEINFO.GET, VM.RD and
 * VM.WR. The frame's tdr, tdcs and vcpu are those of the TD that is inside.
 */
#include "seam/checks.h"
#include "seam/md.h"
#include "seam/vcpu.h"

#define VMCALL_MASK_RBP BIT_ULL(5)

#define VEINFO_GET_MAX_VERSION 2
#define VM_RD_MAX_VERSION 1

#define VMCALL_REG(bit, name)                             \
	{                                                 \
		bit, (u32)offsetof(struct tdx_regs, name) \
	}

const struct vmcall_reg vmcall_regs[VMCALL_NR_REGS] = {
	VMCALL_REG(2, rdx),  VMCALL_REG(3, rbx),  VMCALL_REG(5, rbp),  VMCALL_REG(6, rsi),
	VMCALL_REG(7, rdi),  VMCALL_REG(8, r8),	  VMCALL_REG(9, r9),   VMCALL_REG(10, r10),
	VMCALL_REG(11, r11), VMCALL_REG(12, r12), VMCALL_REG(13, r13), VMCALL_REG(14, r14),
	VMCALL_REG(15, r15),
};

/*
 * The host's answer comes with the next VP.ENTER, into the registers of this very call: the guest
 * keeps them until then.
 */
u64 seam_tdg_vp_vmcall(struct leaf_ctx *ctx)
{
	u64 mask = ctx->r->rcx;
	u64 reserved = VMCALL_MASK_RESERVED;

	if (ctx->tdcs->config_flags & TD_CONFIG_NO_RBP_MOD)
		reserved |= VMCALL_MASK_RBP;
	if (mask >> 32 || (mask & reserved))
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RCX);
	ctx->vcpu->vmcall_regs = ctx->r;
	ctx->vcpu->vmcall_mask = mask;
	ctx->exit.wanted = true;
	ctx->exit.trap_like = true;
	ctx->exit.reason = TDX_EXIT_TDCALL;
	return TDX_SUCCESS;
}

u64 seam_tdg_vp_info(struct leaf_ctx *ctx)
{
	const struct tdcs *tdcs = ctx->tdcs;
	struct tdx_regs *r = ctx->r;

	r->rcx = tdcs->shared_bit + 1;
	r->rdx = tdcs->attributes;
	r->r8 = sync_load(&tdcs->num_vcpus) | (u64)tdcs->max_vcpus << 32;
	r->r9 = ctx->vcpu->index;
	r->r10 = 1; /* TDG.SYS.RD can be called */
	r->r11 = 0;
	return TDX_SUCCESS;
}

u64 seam_tdg_vp_veinfo_get(struct leaf_ctx *ctx)
{
	struct ve_info *ve = &ctx->vcpu->ve;
	struct tdx_regs *r = ctx->r;

	if (ctx->version > VEINFO_GET_MAX_VERSION)
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RAX);
	if (!ve->valid)
		return TDX_NO_VALID_VE_INFO;
	r->rcx = ve->exit_reason;
	if (ctx->version >= 1)
		r->rcx |= (u64)ve->category << 32;
	r->rdx = ve->exit_qualification;
	r->r8 = ve->gla;
	r->r9 = ve->gpa;
	r->r10 = ve->instruction_length | (u64)ve->instruction_info << 32;
	if (ctx->version >= 2) {
		r->r11 = 0;
		r->r12 = 0;
	}
	ve->valid = 0;
	return TDX_SUCCESS;
}

/* ---- VM.RD, VM.WR ----------------------------------------------------------------------------*/

u64 seam_tdg_vm_rd(struct leaf_ctx *ctx)
{
	struct tdx_regs *r = ctx->r;
	u64 id = r->rdx, value = 0, status;

	if (ctx->version > VM_RD_MAX_VERSION)
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RAX);
	if (r->rcx)
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RCX);
	if (ctx->version == 1 && id == MD_NULL_ID) {
		r->rdx = md_td_next(0, MD_GUEST);
		r->r8 = 0;
		return TDX_METADATA_FIRST_FIELD_ID_IN_CONTEXT;
	}
	status = md_td_read(ctx, id, MD_GUEST, &value);
	if (ctx->version == 1)
		r->rdx = status ? MD_NULL_ID : md_td_next(id, MD_GUEST);
	r->r8 = value;
	return status;
}

/*
 * TD_CTLS from @old to @wanted: bit 0 only where the TD was built with a flexible #VE, and nothing
 * once the guest has locked the word.
 */
static bool td_ctls_may_become(const struct tdcs *tdcs, u64 old, u64 wanted)
{
	u64 changed = old ^ wanted;

	if (!changed)
		return true;
	if (old & TD_CTLS_LOCK || changed & ~(TD_CTLS_PENDING_VE_DISABLE | TD_CTLS_LOCK))
		return false;
	return !(changed & TD_CTLS_PENDING_VE_DISABLE) ||
	       tdcs->config_flags & TD_CONFIG_FLEXIBLE_PENDING_VE;
}

static u64 write_td_ctls(struct tdcs *tdcs, u64 data, u64 mask, u64 *previous)
{
	u64 old = sync_load(&tdcs->td_ctls), wanted;

	do {
		wanted = (old & ~mask) | (data & mask);
		*previous = old;
		if (!td_ctls_may_become(tdcs, old, wanted))
			return TDX_METADATA_FIELD_VALUE_NOT_VALID;
	} while (!sync_cmpxchg(&tdcs->td_ctls, &old, wanted));
	return TDX_SUCCESS;
}

u64 seam_tdg_vm_wr(struct leaf_ctx *ctx)
{
	struct tdx_regs *r = ctx->r;
	u64 id = r->rdx, data = r->r8, mask = r->r9, previous = 0, status;

	if (r->rcx)
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RCX);
	r->r8 = 0;
	if (MD_KEY(id) == MD_TDCS_TD_CTLS) {
		status = write_td_ctls(ctx->tdcs, data, mask, &previous);
		if (!status)
			r->r8 = previous;
		return status;
	}
	status = md_td_read(ctx, id, MD_GUEST, &previous);
	return status ? status : TDX_METADATA_FIELD_NOT_WRITABLE;
}
