/* SPDX-License-Identifier: MIT */
/*
 * Owns the way into the module: what RAX of a SEAMCALL or TDCALL must look like, in which module
 * state which leaf may be called, and the frame that a leaf runs in.
 */
#include "seam/internal.h"
#include "seam/vcpu.h"

#define RAX_LEAF(rax) ((u32)(rax)&0xFFFF)
#define RAX_VERSION(rax) ((u32)((rax) >> 16) & 0xFF)
#define RAX_RESERVED GENMASK_ULL(63, 24)

#define NR_HOST_LEAVES 64
#define NR_GUEST_LEAVES 32

static const seam_leaf_fn host_leaves[NR_HOST_LEAVES] = {
	[TDH_VP_ENTER] = seam_tdh_vp_enter,
	[TDH_MNG_ADDCX] = seam_tdh_mng_addcx,
	[TDH_MEM_PAGE_ADD] = seam_tdh_mem_page_add,
	[TDH_MEM_SEPT_ADD] = seam_tdh_mem_sept_add,
	[TDH_VP_ADDCX] = seam_tdh_vp_addcx,
	[TDH_MEM_PAGE_RELOCATE] = seam_tdh_mem_page_relocate,
	[TDH_MEM_PAGE_AUG] = seam_tdh_mem_page_aug,
	[TDH_MEM_RANGE_BLOCK] = seam_tdh_mem_range_block,
	[TDH_MNG_KEY_CONFIG] = seam_tdh_mng_key_config,
	[TDH_MNG_CREATE] = seam_tdh_mng_create,
	[TDH_VP_CREATE] = seam_tdh_vp_create,
	[TDH_MNG_RD] = seam_tdh_mng_rd,
	[TDH_MEM_RD] = seam_tdh_mem_rd,
	[TDH_MNG_WR] = seam_tdh_mng_wr,
	[TDH_MEM_WR] = seam_tdh_mem_wr,
	[TDH_MEM_PAGE_DEMOTE] = seam_tdh_mem_page_demote,
	[TDH_MR_EXTEND] = seam_tdh_mr_extend,
	[TDH_MR_FINALIZE] = seam_tdh_mr_finalize,
	[TDH_VP_FLUSH] = seam_tdh_vp_flush,
	[TDH_MNG_VPFLUSHDONE] = seam_tdh_mng_vpflushdone,
	[TDH_MNG_KEY_FREEID] = seam_tdh_mng_key_freeid,
	[TDH_MNG_INIT] = seam_tdh_mng_init,
	[TDH_VP_INIT] = seam_tdh_vp_init,
	[TDH_MEM_PAGE_PROMOTE] = seam_tdh_mem_page_promote,
	[TDH_PHYMEM_PAGE_RDMD] = seam_tdh_phymem_page_rdmd,
	[TDH_MEM_SEPT_RD] = seam_tdh_mem_sept_rd,
	[TDH_VP_RD] = seam_tdh_vp_rd,
	[TDH_MNG_KEY_RECLAIMID] = seam_tdh_mng_key_reclaimid,
	[TDH_PHYMEM_PAGE_RECLAIM] = seam_tdh_phymem_page_reclaim,
	[TDH_MEM_PAGE_REMOVE] = seam_tdh_mem_page_remove,
	[TDH_MEM_SEPT_REMOVE] = seam_tdh_mem_sept_remove,
	[TDH_SYS_KEY_CONFIG] = seam_tdh_sys_key_config,
	[TDH_SYS_INFO] = seam_tdh_sys_info,
	[TDH_SYS_INIT] = seam_tdh_sys_init,
	[TDH_SYS_RD] = seam_tdh_sys_rd,
	[TDH_SYS_LP_INIT] = seam_tdh_sys_lp_init,
	[TDH_SYS_TDMR_INIT] = seam_tdh_sys_tdmr_init,
	[TDH_SYS_RDALL] = seam_tdh_sys_rdall,
	[TDH_MEM_TRACK] = seam_tdh_mem_track,
	[TDH_MEM_RANGE_UNBLOCK] = seam_tdh_mem_range_unblock,
	[TDH_PHYMEM_CACHE_WB] = seam_tdh_phymem_cache_wb,
	[TDH_PHYMEM_PAGE_WBINVD] = seam_tdh_phymem_page_wbinvd,
	[TDH_VP_WR] = seam_tdh_vp_wr,
	[TDH_SYS_LP_SHUTDOWN] = seam_tdh_sys_lp_shutdown,
	[TDH_SYS_CONFIG] = seam_tdh_sys_config,
	[TDH_SYS_SHUTDOWN] = seam_tdh_sys_shutdown,
	[TDH_SYS_UPDATE] = seam_tdh_sys_update,
	[TDH_PHYMEM_PAMT_ADD] = seam_tdh_phymem_pamt_add,
	[TDH_PHYMEM_PAMT_REMOVE] = seam_tdh_phymem_pamt_remove,
};

static const seam_leaf_fn guest_leaves[NR_GUEST_LEAVES] = {
	[TDG_VP_VMCALL] = seam_tdg_vp_vmcall,
	[TDG_VP_INFO] = seam_tdg_vp_info,
	[TDG_VP_VEINFO_GET] = seam_tdg_vp_veinfo_get,
	[TDG_MEM_PAGE_ACCEPT] = seam_tdg_mem_page_accept,
	[TDG_VM_RD] = seam_tdg_vm_rd,
	[TDG_VM_WR] = seam_tdg_vm_wr,
	[TDG_MEM_PAGE_ATTR_RD] = seam_tdg_mem_page_attr_rd,
	[TDG_MEM_PAGE_ATTR_WR] = seam_tdg_mem_page_attr_wr,
};

/* Leaves whose handler looks at the version itself; all others have version 0 alone. */
#define HOST_LEAVES_VERSIONED                                                       \
	(BIT_ULL(TDH_MEM_SEPT_ADD) | BIT_ULL(TDH_MEM_SEPT_REMOVE) |                 \
	 BIT_ULL(TDH_MEM_PAGE_PROMOTE) | BIT_ULL(TDH_MNG_RD) | BIT_ULL(TDH_VP_RD) | \
	 BIT_ULL(TDH_VP_INIT) | BIT_ULL(TDH_SYS_INIT) | BIT_ULL(TDH_SYS_UPDATE))
#define GUEST_LEAVES_VERSIONED (BIT_ULL(TDG_VM_RD) | BIT_ULL(TDG_VP_VEINFO_GET))

/* Leaves that may be called before the module is SYS_READY. */
#define HOST_LEAVES_EARLY                                                             \
	(BIT_ULL(TDH_SYS_INFO) | BIT_ULL(TDH_SYS_RD) | BIT_ULL(TDH_SYS_RDALL) |       \
	 BIT_ULL(TDH_SYS_INIT) | BIT_ULL(TDH_SYS_LP_INIT) | BIT_ULL(TDH_SYS_CONFIG) | \
	 BIT_ULL(TDH_SYS_KEY_CONFIG) | BIT_ULL(TDH_SYS_LP_SHUTDOWN) | BIT_ULL(TDH_SYS_UPDATE))

static bool leaf_in(u64 set, u32 leaf)
{
	return leaf < NR_HOST_LEAVES && set >> leaf & 1;
}

static seam_leaf_fn host_leaf(const struct seam *seam, u32 leaf)
{
	if (leaf >= NR_HOST_LEAVES)
		return NULL;
	if (!seam->profile->dynamic_pamt &&
	    (leaf == TDH_PHYMEM_PAMT_ADD || leaf == TDH_PHYMEM_PAMT_REMOVE))
		return NULL;
	return host_leaves[leaf];
}

/* May @leaf be called now? A module that runs is asked once. */
static u64 check_sys_state(const struct seam *seam, u32 leaf)
{
	u32 state = sync_load_acquire(&seam->sys_state); /* pairs with the release in sys.c */

	if (likely(state == SYS_READY))
		return TDX_SUCCESS;
	if (state == SYS_SHUT_DOWN)
		return leaf == TDH_SYS_LP_SHUTDOWN ? TDX_SUCCESS : TDX_SYS_SHUTDOWN;
	return leaf_in(HOST_LEAVES_EARLY, leaf) ? TDX_SUCCESS : TDX_SYS_NOT_READY;
}

/* A call that took its place in no step takes it at its end. */
static void take_place(struct trace_call *call)
{
	if (call->place)
		return;
	trace_step_begin(call);
	trace_step_end(call);
}

/*
 * Likewise before the leaf unlocks: what it has decided under the lock of an entry came after its
 * walk, so that the walk's place doesn't count.
 */
static void take_place_locked(const struct leaf_ctx *ctx)
{
	if (ctx->entry_locked && !ctx->has_place)
		ctx->call->place = 0;
	take_place(ctx->call);
}

/*
 * @call: NULL when nobody listens. Inlined into either case, as the one that nobody listens to should
 * cost nothing.
 */
static inline __attribute__((always_inline)) u64
host_call(struct seam *seam, struct lp *lp, struct tdx_regs *r, struct trace_call *call)
{
	u32 leaf = RAX_LEAF(r->rax);
	struct leaf_ctx ctx;
	seam_leaf_fn fn;
	u64 status;

	if (unlikely(r->rax & RAX_RESERVED))
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RAX);
	if (unlikely(RAX_VERSION(r->rax) && !leaf_in(HOST_LEAVES_VERSIONED, leaf)))
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RAX);
	status = check_sys_state(seam, leaf);
	if (unlikely(status))
		return status;
	fn = host_leaf(seam, leaf);
	if (unlikely(!fn))
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RAX);

	leaf_begin(&ctx, seam, lp, r);
	if (call) {
		ctx.call = call;
		ctx.has_place = false;
	}
	status = fn(&ctx);
	if (call)
		take_place_locked(&ctx);
	leaf_end(&ctx);
	return status;
}

static __attribute__((cold)) u64 traced_seamcall(struct lp *lp, struct tdx_regs *r)
{
	const struct tracer *tracer = &lp->host->tracer;
	struct tdx_regs in = *r;
	struct trace_call call;
	struct trace_seamcall event = {lp->id, RAX_LEAF(in.rax), &in, r, &call};

	trace_call_begin(tracer, &call);
	r->rax = host_call(lp->module, lp, r, &call);
	take_place(&call);
	trace_fire(tracer, TRACE_SEAMCALL, &event);
	return r->rax;
}

u64 seamcall(struct lp *lp, struct tdx_regs *r)
{
	if (unlikely(trace_enabled(&lp->host->tracer)))
		return traced_seamcall(lp, r);
	r->rax = host_call(lp->module, lp, r, NULL);
	return r->rax;
}

static enum trace_stop stop_of(const struct td_exit *exit)
{
	return exit->reason == TDX_EXIT_EXTERNAL_INTERRUPT ? TRACE_STOP_INTERRUPT
							   : TRACE_STOP_TDCALL;
}

/*
 * @call as in host_call(). Return: true when the leaf completed, false when VP.ENTER has to carry out
 * ctx->exit.
 */
static inline __attribute__((always_inline)) bool
guest_call(struct leaf_ctx *vcpu, struct lp *lp, struct tdx_regs *r, struct trace_call *call)
{
	u32 leaf = RAX_LEAF(r->rax);
	seam_leaf_fn fn = leaf < NR_GUEST_LEAVES ? guest_leaves[leaf] : NULL;
	struct leaf_ctx ctx;
	u64 status;

	if (unlikely(r->rax & RAX_RESERVED || !fn ||
		     (RAX_VERSION(r->rax) && !leaf_in(GUEST_LEAVES_VERSIONED, leaf)))) {
		r->rax = operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RAX);
		return true;
	}
	leaf_begin(&ctx, vcpu->seam, lp, r);
	ctx.tdr_pa = vcpu->tdr_pa;
	ctx.tdr = vcpu->tdr;
	ctx.tdcs = vcpu->tdcs;
	ctx.vcpu = vcpu->vcpu;
	ctx.call = call;
	status = fn(&ctx);
	if (call)
		take_place(call);
	leaf_end(&ctx);
	if (unlikely(ctx.exit.wanted)) {
		if (call)
			call->stop = stop_of(&ctx.exit);
		vcpu->exit = ctx.exit;
		lp->exit.kind = LP_EXIT_TDCALL;
		return false;
	}
	r->rax = status;
	return true;
}

static __attribute__((cold)) bool traced_tdcall(struct lp *lp, struct tdx_regs *r)
{
	const struct tracer *tracer = &lp->host->tracer;
	struct tdx_regs in = *r;
	struct trace_call call;
	struct trace_seamcall event = {lp->id, RAX_LEAF(in.rax), &in, r, &call};
	bool completed;

	trace_call_begin(tracer, &call);
	completed = guest_call(vcpu_inside(lp), lp, r, &call);
	take_place(&call);
	trace_fire(tracer, TRACE_TDCALL, &event);
	return completed;
}

bool tdcall(struct lp *lp, struct tdx_regs *r)
{
	if (unlikely(trace_enabled(&lp->host->tracer)))
		return traced_tdcall(lp, r);
	return guest_call(vcpu_inside(lp), lp, r, NULL);
}
