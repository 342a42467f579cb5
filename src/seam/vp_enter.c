/* SPDX-License-Identifier: MIT */
/*
 * Owns VP.ENTER: the way into a TD, what happens when guest code stops, and the registers that the
 * host finds after a TD exit.
 *
 *   checks -> epoch -> zero-step filter -> run guest code -> why did it stop?
 *                                            ^                 |
 *                                            +-- #VE ----------+--> TD exit
 *
 * Held from the checks to the TD exit: TDVPR's and TDR's PAMT entries, shared. The epoch lock and
 * the op_state lock are dropped before guest code runs; the S-EPT tree is locked by the zero-step
 * filter alone.
 */
#include "seam/checks.h"
#include "seam/vcpu.h"

#define ENTER_TDVPR GENMASK_ULL(51, 12)
#define ENTER_HOST_RECOVERABILITY BIT_ULL(52)
#define ENTER_RESUME_L1 BIT_ULL(53)
#define ENTER_OPERAND (ENTER_TDVPR | ENTER_HOST_RECOVERABILITY | ENTER_RESUME_L1)

/* Exit qualification bits 5:3: what the S-EPT entry would have allowed. */
#define EPT_VIOLATION_ENTRY_SHIFT 3

#define EXIT_REASON_NMI 0
#define EXIT_REASON_TRIPLE_FAULT 2
/* VM-exit interruption information: valid, type NMI, vector 2. */
#define INTERRUPTION_INFO_NMI 0x80000202ULL

enum ve_category {
	VE_PENDING = 1,
	VE_BEYOND_MAXPA = 2,
};

/* ---- in --------------------------------------------------------------------------------------*/

/* From the operand to a vCPU that this LP alone may enter. */
static u64 check_vcpu(struct leaf_ctx *ctx)
{
	u64 operand = ctx->r->rcx;
	struct pamt_ref ref;
	u64 status;
	u32 state;

	if (unlikely(operand & ~ENTER_OPERAND))
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RCX);
	status = check_hpa(ctx, operand & ENTER_TDVPR, TDX_OPERAND_RCX, PT_TDVPR, 0, MODE_SHARED,
			   &ref);
	if (unlikely(status))
		return status;
	status = vcpu_map_owned(ctx, operand & ENTER_TDVPR, &ref, MODE_SHARED);
	if (unlikely(status))
		return status;
	status = check_td_state(ctx);
	if (unlikely(status))
		return status;
	status = vcpu_has_all_pages(ctx->vcpu);
	if (unlikely(status))
		return status;
	state = sync_load(&ctx->vcpu->state);
	if (unlikely(state != VCPU_READY))
		return TDX_VCPU_STATE_INCORRECT | state;
	return vcpu_associate(ctx);
}

/*
 * Counts the vCPU into the current epoch, and drops translations of older ones. TRACK reads the
 * counter under the exclusive epoch lock: it sees this vCPU in this epoch or not at all.
 */
static u64 enter_epoch(struct leaf_ctx *ctx)
{
	struct tdcs *tdcs = ctx->tdcs;
	u64 epoch;

	if (unlikely(!plain_lock(&tdcs->epoch_lock, MODE_SHARED)))
		return operand_status(TDX_OPERAND_BUSY, TDX_OPERAND_TD_EPOCH);
	epoch = sync_load(&tdcs->td_epoch);
	sync_fetch_add(&tdcs->refcount[epoch & 1], 1);
	hp_unlock(&tdcs->epoch_lock, MODE_SHARED);

	if (epoch == ctx->vcpu->vcpu_epoch)
		return 0;
	ctx->vcpu->vcpu_epoch = epoch;
	if (!bug_planted(&ctx->host->bugs, BUG_STALE_TLB))
		lp_tlb_flush(ctx->lp, vcpu_asid(ctx));
	return 0;
}

/* Pairs with the load-acquire of the tracking check: the guest's last accesses come before. */
static void leave_epoch(struct leaf_ctx *ctx)
{
	sync_fetch_sub(&ctx->tdcs->refcount[ctx->vcpu->vcpu_epoch & 1], 1);
}

static void load_translation(struct leaf_ctx *ctx)
{
	struct ept_context *ept = &ctx->lp->ept;

	ept->asid = vcpu_asid(ctx);
	ept->sept_root = ctx->tdr->tdcx_pa[TDCS_PAGE_SEPT_ROOT];
	ept->shared_root = ctx->vcpu->shared_eptp & ~HPA_HKID_MASK;
	ept->levels = ctx->tdcs->sept_levels;
	ept->shared_bit = ctx->tdcs->shared_bit;
	ept->hkid = ctx->tdr->hkid;
}

/* The host's answer to the TDG.VP.VMCALL that is open: the registers that the guest exposed. */
static void answer_vmcall(struct leaf_ctx *ctx)
{
	struct tdx_regs *guest = ctx->vcpu->vmcall_regs;
	const struct tdx_regs *host = ctx->r;
	u64 mask = ctx->vcpu->vmcall_mask;

	ctx->vcpu->vmcall_regs = NULL;
	guest->rax = TDX_SUCCESS;
	for (unsigned int i = 0; i < VMCALL_NR_REGS; i++) {
		if (mask >> vmcall_regs[i].bit & 1)
			*vmcall_reg(guest, i) = *vmcall_reg_const(host, i);
	}
}

/* ---- out -------------------------------------------------------------------------------------*/

/* What the host finds in every register that an exit has no use for. */
static void clear_exit_registers(struct leaf_ctx *ctx)
{
	u64 rbp = ctx->tdcs->config_flags & TD_CONFIG_NO_RBP_MOD ? ctx->r->rbp : 0;

	*ctx->r = (struct tdx_regs){.rbp = rbp};
}

static u64 exit_to_host(struct leaf_ctx *ctx, const struct td_exit *exit)
{
	struct tdx_regs *r = ctx->r;

	clear_exit_registers(ctx);
	r->rcx = exit->qualification;
	r->rdx = exit->eeq;
	r->r8 = exit->gpa & ~(PAGE_SIZE - 1);
	return TDX_SUCCESS | exit->reason;
}

static u64 exit_by_interrupt(struct leaf_ctx *ctx)
{
	u32 pending = sync_load(&ctx->lp->pending);

	clear_exit_registers(ctx);
	if ((pending & LP_NMI) && !(pending & LP_INTR)) {
		if (unlikely(ctx->call))
			ctx->call->stop = TRACE_STOP_NMI;
		ctx->r->r9 = INTERRUPTION_INFO_NMI;
		return TDX_SUCCESS | EXIT_REASON_NMI;
	}
	return TDX_SUCCESS | TDX_EXIT_EXTERNAL_INTERRUPT;
}

static u64 exit_by_vmcall(struct leaf_ctx *ctx)
{
	const struct tdx_regs *guest = ctx->vcpu->vmcall_regs;
	u64 mask = ctx->vcpu->vmcall_mask;

	clear_exit_registers(ctx);
	for (unsigned int i = 0; i < VMCALL_NR_REGS; i++) {
		if (mask >> vmcall_regs[i].bit & 1)
			*vmcall_reg(ctx->r, i) = *vmcall_reg_const(guest, i);
	}
	ctx->r->rcx = mask;
	return TDX_SUCCESS | TDX_EXIT_TDCALL;
}

static u64 exit_by_tdcall(struct leaf_ctx *ctx)
{
	const struct td_exit *exit = &ctx->exit;

	if (exit->reason == TDX_EXIT_TDCALL)
		return exit_by_vmcall(ctx);
	if (exit->reason == TDX_EXIT_EXTERNAL_INTERRUPT)
		return exit_by_interrupt(ctx);
	return exit_to_host(ctx, exit);
}

/*
 * A #VE while VE_INFO still waits to be read is a #GP(0), and no guest of ours handles one: it ends
 * in a triple fault, and the vCPU is lost.
 */
static u64 exit_by_triple_fault(struct leaf_ctx *ctx)
{
	clear_exit_registers(ctx);
	sync_store(&ctx->vcpu->state, VCPU_DISABLED);
	return TDX_NON_RECOVERABLE_VCPU | EXIT_REASON_TRIPLE_FAULT;
}

/* ---- EPT violations --------------------------------------------------------------------------*/

/* Return: the guest goes on, with a #VE. */
static bool inject_ve(struct leaf_ctx *ctx, gpa_t gpa, u64 qualification, enum ve_category why)
{
	struct ve_info *ve = &ctx->vcpu->ve;

	if (ve->valid)
		return false;
	*ve = (struct ve_info){
		.valid = 1,
		.exit_reason = TDX_EXIT_EPT_VIOLATION,
		.category = why,
		.exit_qualification = qualification,
		.gla = gpa,
		.gpa = gpa,
	};
	ctx->lp->ve_pending = true;
	return true;
}

static bool pending_gives_ve(const struct tdcs *tdcs)
{
	return !(sync_load(&tdcs->td_ctls) & TD_CTLS_PENDING_VE_DISABLE);
}

/*
 * One more EPT violation on a private page. @gpa's page and the accesses that the TLB served so far
 * stand for the instruction: when both are what they were, the guest made no progress.
 */
static void log_zero_step(struct leaf_ctx *ctx, gpa_t gpa)
{
	struct zero_step *z = &ctx->vcpu->zero_step;

	if (z->gpa != gpa || z->accesses != ctx->lp->tlb_hits)
		*z = (struct zero_step){.gpa = gpa, .accesses = ctx->lp->tlb_hits};
	if (z->faults <= ZERO_STEP_THRESHOLD)
		z->faults++;
}

/*
 * What an access to private @gpa comes to, by a walk of the S-EPT as it is now. Table pages can't go
 * away under the walk: this vCPU is counted into an epoch.
 * Return: PENDING is where the walk ended.
 */
static bool walk_private(struct leaf_ctx *ctx, gpa_t gpa, struct td_exit *exit)
{
	bool pending;

	ctx->gpa = gpa & ~(PAGE_SIZE - 1);
	sept_walk(ctx, 0);
	pending = sept_is(ctx->state, SEPT_IS_ACCEPTABLE);
	exit->reason = TDX_EXIT_EPT_VIOLATION;
	exit->gpa = ctx->gpa;
	exit->qualification |= (ctx->value & SEPT_RWX) << EPT_VIOLATION_ENTRY_SHIFT;
	exit->eeq = pending ? TDX_EEQ_PENDING_EPT_VIOLATION : TDX_EEQ_NONE;
	return pending;
}

/* Return: TD exit with *@status; false: the guest goes on. */
static bool on_ept_violation(struct leaf_ctx *ctx, u64 *status)
{
	const struct tdcs *tdcs = ctx->tdcs;
	gpa_t gpa = ctx->lp->exit.gpa;
	struct td_exit exit = {
		.reason = TDX_EXIT_EPT_VIOLATION,
		.qualification =
			ctx->lp->exit.write ? TDX_EPT_VIOLATION_WRITE : TDX_EPT_VIOLATION_READ,
		.gpa = gpa,
	};
	enum ve_category why;

	if (unlikely(gpa >> tdcs->shared_bit >> 1)) {
		why = VE_BEYOND_MAXPA;
	} else if (gpa >> tdcs->shared_bit) {
		*status = exit_to_host(ctx, &exit);
		return true;
	} else if (walk_private(ctx, gpa, &exit) && pending_gives_ve(tdcs)) {
		why = VE_PENDING;
	} else {
		log_zero_step(ctx, exit.gpa);
		*status = exit_to_host(ctx, &exit);
		return true;
	}
	if (likely(inject_ve(ctx, gpa, exit.qualification, why)))
		return false;
	*status = exit_by_triple_fault(ctx);
	return true;
}

/*
 * A guest that keeps faulting at one place may be single-stepped by its host: before it is let in
 * again, the module looks whether the page is there now.
 * Return: 0 to enter; else BUSY, or the status of a TD exit without having been inside.
 */
static u64 filter_zero_step(struct leaf_ctx *ctx)
{
	struct zero_step *z = &ctx->vcpu->zero_step;
	struct td_exit exit = {.qualification = TDX_EPT_VIOLATION_READ};
	bool pending;

	if (likely(z->faults <= ZERO_STEP_THRESHOLD))
		return 0;
	if (!leaf_lock(ctx, &ctx->tdcs->sept_lock, MODE_SHARED))
		return operand_status(TDX_OPERAND_BUSY, TDX_OPERAND_SEPT_TREE);
	pending = walk_private(ctx, z->gpa, &exit);
	leaf_unlock_last(ctx); /* the tree's */
	if (sept_is(ctx->state, SEPT_IS_GUEST_ACCESSIBLE) ||
	    (pending && pending_gives_ve(ctx->tdcs))) {
		z->faults = 0;
		return 0;
	}
	return exit_to_host(ctx, &exit);
}

/* ---- for who listens -------------------------------------------------------------------------
 * One VP.ENTER is several calls in the order of all calls: the way in, each #VE, the way out.
 */

/* The vCPU is inside; @guest has the host's answer to its VP.VMCALL, or is NULL. */
static __attribute__((cold)) void trace_inside(struct leaf_ctx *ctx, const struct tdx_regs *guest)
{
	struct trace_seamcall event = {ctx->lp->id, TDH_VP_ENTER, ctx->r, guest, ctx->call};

	trace_fire(&ctx->host->tracer, TRACE_VP_ENTER, &event);
}

static __attribute__((cold)) void trace_ve(const struct leaf_ctx *ctx)
{
	struct trace_seamcall event = {.lp = ctx->lp->id, .leaf = TDH_VP_ENTER, .call = ctx->call};

	trace_fire(&ctx->host->tracer, TRACE_GUEST_VE, &event);
}

/* Guest code has stopped; what follows is one step. */
static __attribute__((cold)) void trace_stop(const struct leaf_ctx *ctx)
{
	const struct lp *lp = ctx->lp;
	struct trace_call *call = ctx->call;

	trace_call_begin(&ctx->host->tracer, call);
	call->served = lp->tlb_hits;
	if (lp->exit.kind == LP_EXIT_EPT_VIOLATION) {
		call->stop = lp->exit.write ? TRACE_STOP_WRITE : TRACE_STOP_READ;
		call->gpa = lp->exit.gpa;
	} else if (lp->exit.kind == LP_EXIT_TDCALL &&
		   ctx->exit.reason != TDX_EXIT_EXTERNAL_INTERRUPT) {
		call->stop = TRACE_STOP_TDCALL;
	} else {
		call->stop = TRACE_STOP_INTERRUPT;
	}
	trace_step_begin(call);
}

/* ---- the leaf --------------------------------------------------------------------------------*/

/*
 * From the way in until the guest can't go on. Ends inside a step that its caller ends: a walk's
 * outcome, and that the vCPU is outside, are one.
 */
static u64 run_guest(struct leaf_ctx *ctx)
{
	struct lp *lp = ctx->lp;
	u64 status;

	for (;;) {
		lp->exit.kind = LP_EXIT_NONE;
		if (likely(lp->guest_ops))
			lp->guest_ops->run(lp, lp->guest);
		lp->ve_pending = false;
		if (unlikely(ctx->call))
			trace_stop(ctx);
		switch (lp->exit.kind) {
		case LP_EXIT_EPT_VIOLATION:
			if (on_ept_violation(ctx, &status))
				return status;
			leaf_step_end(ctx);
			if (unlikely(ctx->call))
				trace_ve(ctx);
			break;
		case LP_EXIT_TDCALL:
			return exit_by_tdcall(ctx);
		case LP_EXIT_INTERRUPT:
		case LP_EXIT_NONE:
			return exit_by_interrupt(ctx);
		}
	}
}

static u64 pass_into_epoch(struct leaf_ctx *ctx)
{
	u64 status = enter_epoch(ctx);

	if (unlikely(status))
		return status;
	status = filter_zero_step(ctx);
	if (unlikely(status))
		leave_epoch(ctx);
	return status;
}

static __attribute__((cold)) u64 pass_in_step(struct leaf_ctx *ctx)
{
	u64 status;

	trace_step_begin(ctx->call);
	status = pass_into_epoch(ctx);
	trace_step_end(ctx->call);
	return status;
}

u64 seam_tdh_vp_enter(struct leaf_ctx *ctx)
{
	const struct tdx_regs *asked;
	struct tdvps *vcpu;
	u64 status;

	status = check_vcpu(ctx);
	if (unlikely(status))
		return status;
	vcpu = ctx->vcpu;
	status = likely(!ctx->call) ? pass_into_epoch(ctx) : pass_in_step(ctx);
	if (unlikely(status))
		return status;
	leaf_unlock_last(ctx); /* the op_state's */

	load_translation(ctx);
	asked = vcpu->vmcall_regs;
	if (asked)
		answer_vmcall(ctx);
	sync_store(&vcpu->state, VCPU_ACTIVE);
	ctx->lp->vcpu = ctx;
	if (unlikely(ctx->call))
		trace_inside(ctx, asked);

	status = run_guest(ctx);

	ctx->lp->vcpu = NULL;
	if (likely(sync_load(&vcpu->state) == VCPU_ACTIVE))
		sync_store(&vcpu->state, VCPU_READY);
	leave_epoch(ctx);
	leaf_step_end(ctx);
	return status;
}
