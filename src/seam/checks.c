/* SPDX-License-Identifier: MIT */
/* The checks that leaves share: operands, TD state, walk, entry, TLB tracking. */
#include "seam/checks.h"

#define OP(state) BIT_ULL(OP_##state)
#define OP_RUNNING (OP(RUNNABLE) | OP(LIVE_EXPORT) | OP(LIVE_IMPORT))
#define OP_EXPORT (OP(LIVE_EXPORT) | OP(PAUSED_EXPORT) | OP(POST_EXPORT))
#define OP_CHANGE (OP(INITIALIZED) | OP(RUNNABLE) | OP_EXPORT | OP(POST_IMPORT) | OP(LIVE_IMPORT))
#define OP_BUILT_UP_TO(last) (GENMASK_ULL(OP_##last, OP_INITIALIZED))
#define OP_ANY GENMASK_ULL(OP_STATE_COUNT - 1, 0)

/* By leaf: the op_states in which it may run. Leaves that don't look at op_state aren't here. */
static const u64 op_states_of[64] = {
	[TDH_VP_ENTER] = OP_RUNNING,
	[TDH_MEM_PAGE_ADD] = OP(INITIALIZED),
	[TDH_MEM_SEPT_ADD] = OP(INITIALIZED) | OP(RUNNABLE) | OP(LIVE_EXPORT) | OP(MEMORY_IMPORT) |
			     OP(STATE_IMPORT) | OP(POST_IMPORT) | OP(LIVE_IMPORT),
	[TDH_MEM_PAGE_RELOCATE] = OP_CHANGE,
	[TDH_MEM_RANGE_BLOCK] = OP_CHANGE,
	[TDH_MEM_RANGE_UNBLOCK] = OP_CHANGE,
	[TDH_MEM_PAGE_DEMOTE] = OP_CHANGE,
	[TDH_MEM_PAGE_PROMOTE] = OP_CHANGE,
	[TDH_MEM_PAGE_AUG] = OP(INITIALIZED) | OP_RUNNING,
	[TDH_MEM_PAGE_REMOVE] = OP_CHANGE | OP(FAILED_IMPORT),
	[TDH_MEM_SEPT_REMOVE] = OP_BUILT_UP_TO(FAILED_IMPORT),
	[TDH_MEM_SEPT_RD] = OP_BUILT_UP_TO(FAILED_IMPORT),
	[TDH_MEM_RD] = OP_BUILT_UP_TO(FAILED_IMPORT),
	[TDH_MEM_WR] = OP(INITIALIZED) | OP(RUNNABLE) | OP(LIVE_EXPORT) | OP(MEMORY_IMPORT) |
		       OP(STATE_IMPORT) | OP(POST_IMPORT) | OP(LIVE_IMPORT) | OP(FAILED_IMPORT),
	[TDH_MEM_TRACK] = OP_BUILT_UP_TO(LIVE_IMPORT),
	[TDH_MR_EXTEND] = OP(INITIALIZED),
	[TDH_MR_FINALIZE] = OP(INITIALIZED),
	[TDH_VP_CREATE] = OP(INITIALIZED) | OP(STATE_IMPORT),
	[TDH_VP_ADDCX] = OP(INITIALIZED) | OP(STATE_IMPORT),
	[TDH_VP_INIT] = OP(INITIALIZED),
	[TDH_MNG_INIT] = OP(UNINITIALIZED),
	[TDH_MNG_ADDCX] = OP(UNINITIALIZED),
	[TDH_VP_FLUSH] = OP_ANY,
	[TDH_MNG_RD] = OP_BUILT_UP_TO(FAILED_IMPORT),
	[TDH_MNG_WR] = OP_BUILT_UP_TO(FAILED_IMPORT),
	[TDH_VP_RD] = OP_BUILT_UP_TO(FAILED_IMPORT),
	[TDH_VP_WR] = OP_BUILT_UP_TO(FAILED_IMPORT),
};

bool op_state_allows(u32 leaf, enum op_state state)
{
	return leaf < ARRAY_SIZE(op_states_of) && op_states_of[leaf] >> state & 1;
}

bool op_state_needs_tracking(enum op_state state)
{
	return OP_RUNNING >> state & 1;
}

bool op_state_is_import(enum op_state state)
{
	return (OP(MEMORY_IMPORT) | OP(STATE_IMPORT) | OP(POST_IMPORT) | OP(LIVE_IMPORT)) >> state &
	       1;
}

/* ---- pages -----------------------------------------------------------------------------------*/

u64 check_hpa_format(hpa_t hpa, unsigned int operand, u32 level)
{
	if (!IS_ALIGNED(hpa, sept_level_size(level)) || (hpa & HPA_HKID_MASK) || hpa >= HPA_LIMIT)
		return operand_status(TDX_OPERAND_INVALID, operand);
	return 0;
}

static u64 wrong_metadata(const struct leaf_ctx *ctx, const struct pamt_ref *ref,
			  unsigned int operand, enum pamt_type wanted, u32 level)
{
	if (ctx->seam->dynamic_pamt && wanted == PT_NDA && level < ref->level && ref->level == 1 &&
	    pamt_type(ref->entry) == PT_NDA)
		return operand_status(TDX_MISSING_PAMT_PAGE_PAIR, operand);
	return operand_status(TDX_PAGE_METADATA_INCORRECT, operand);
}

u64 check_hpa(struct leaf_ctx *ctx, hpa_t hpa, unsigned int operand, enum pamt_type type, u32 level,
	      enum lock_mode mode, struct pamt_ref *ref)
{
	const struct seam_tdmr *tdmr;
	u64 status = check_hpa_format(hpa, operand, level);

	if (unlikely(status))
		return status;
	tdmr = pamt_tdmr_of(ctx->seam, hpa);
	if (unlikely(!tdmr))
		return operand_status(TDX_OPERAND_ADDR_RANGE_ERROR, operand);
	if (unlikely(!pamt_walk(ctx, tdmr, hpa, level, mode, ref)))
		return operand_status(TDX_OPERAND_BUSY, operand);
	if (unlikely(ref->level != level || pamt_type(ref->entry) != type))
		return wrong_metadata(ctx, ref, operand, type, level);
	if (type == PT_NDA && ctx->seam->dynamic_pamt &&
	    unlikely(pamt_page_bit_is_set(ctx->seam, tdmr, hpa)))
		return operand_status(TDX_PAGE_METADATA_INCORRECT, operand);
	return 0;
}

u64 check_shared_hpa_format(u64 hpa, unsigned int operand, u64 size)
{
	u64 hkid = (hpa & HPA_HKID_MASK) >> TDX_HKID_START_BIT;

	if (!IS_ALIGNED(hpa, size) || hpa >= HPA_LIMIT || hkid >= TDX_FIRST_PRIVATE_HKID)
		return operand_status(TDX_OPERAND_INVALID, operand);
	return 0;
}

u64 check_shared_hpa(const struct leaf_ctx *ctx, u64 hpa, unsigned int operand, u64 size)
{
	u64 status = check_shared_hpa_format(hpa, operand, size);

	if (!status && (hpa & ~HPA_HKID_MASK) >= ctx->host->memory_bytes)
		status = operand_status(TDX_OPERAND_INVALID, operand);
	return status;
}

int leaf_read(const struct leaf_ctx *ctx, hpa_t hpa, u64 *words, unsigned int n)
{
	struct trace_memory event = {ctx->lp->id, hpa, words, n * (u32)sizeof(*words)};
	int err = host_read(ctx->host, hpa, 0, words, n);

	/* What is private reads as a pattern, whatever it holds. */
	if (unlikely(ctx->call) && !err && !host_tag(ctx->host, addr_to_fn(hpa)))
		trace_fire(&ctx->host->tracer, TRACE_MODULE_READ, &event);
	return err;
}

/* ---- the TD ----------------------------------------------------------------------------------*/

u64 check_map_tdr(struct leaf_ctx *ctx, hpa_t hpa)
{
	if (unlikely(!page_is_intact(ctx->host, hpa, ctx->seam->global_hkid)))
		return TDX_TD_FATAL;
	ctx->tdr_pa = hpa;
	ctx->tdr = host_ptr(ctx->host, hpa);
	return 0;
}

u64 check_tdr(struct leaf_ctx *ctx, hpa_t hpa, unsigned int operand, enum lock_mode mode)
{
	struct pamt_ref ref;
	u64 status = check_hpa(ctx, hpa, operand, PT_TDR, 0, mode, &ref);

	if (unlikely(status))
		return status;
	return check_map_tdr(ctx, hpa);
}

u64 check_owner_tdr(struct leaf_ctx *ctx, const struct pamt_ref *ref, enum lock_mode mode)
{
	hpa_t owner = pamt_owner(ref->entry);
	struct pamt_ref tdr;

	if (unlikely(!pamt_find(ctx->seam, owner, 0, &tdr)))
		return TDX_TD_FATAL;
	if (!pamt_lock(ctx, &tdr, mode))
		return operand_status(TDX_OPERAND_BUSY, TDX_OPERAND_TDR);
	return check_map_tdr(ctx, owner);
}

u64 check_td_not_fatal(const struct leaf_ctx *ctx)
{
	return sync_load(&ctx->tdr->fatal) ? TDX_TD_FATAL : 0;
}

u64 check_td_keys(const struct leaf_ctx *ctx)
{
	return ctx->tdr->lifecycle == TD_KEYS_CONFIGURED ? 0 : TDX_TD_KEYS_NOT_CONFIGURED;
}

u64 check_td_allocated(struct leaf_ctx *ctx)
{
	const struct tdr *tdr = ctx->tdr;

	if (tdr->num_tdcx < TDX_TDCS_PAGES)
		return TDX_TDCS_NOT_ALLOCATED;
	if (unlikely(!page_is_intact(ctx->host, tdr->tdcx_pa[TDCS_PAGE_FIELDS], tdr->hkid) ||
		     !page_is_intact(ctx->host, tdr->tdcx_pa[TDCS_PAGE_SEPT_ROOT], tdr->hkid)))
		return TDX_TD_FATAL;
	ctx->tdcs = host_ptr(ctx->host, tdr->tdcx_pa[TDCS_PAGE_FIELDS]);
	return 0;
}

u64 check_op_state(const struct leaf_ctx *ctx)
{
	enum op_state state = (enum op_state)sync_load(&ctx->tdcs->op_state);

	return op_state_allows(ctx->leaf, state) ? 0 : TDX_OP_STATE_INCORRECT | state;
}

static u64 check_td_mapped(struct leaf_ctx *ctx)
{
	u64 status = check_td_not_fatal(ctx);

	if (!status)
		status = check_td_keys(ctx);
	if (!status)
		status = check_td_allocated(ctx);
	return status;
}

u64 check_td_state(struct leaf_ctx *ctx)
{
	u64 status = check_td_mapped(ctx);

	if (unlikely(status))
		return status;
	if (!leaf_lock(ctx, &ctx->tdcs->op_state_lock, MODE_SHARED))
		return operand_status(TDX_OPERAND_BUSY, TDX_OPERAND_OP_STATE);
	return check_op_state(ctx);
}

u64 check_td_state_unlocked(struct leaf_ctx *ctx)
{
	u64 status = check_td_mapped(ctx);

	return status ? status : check_op_state(ctx);
}

/* ---- the S-EPT -------------------------------------------------------------------------------*/

bool check_gpa_private(const struct tdcs *tdcs, gpa_t gpa)
{
	return !(gpa >> tdcs->shared_bit);
}

u64 check_page_info(struct leaf_ctx *ctx, u64 page_info, u32 min, u32 max)
{
	u32 level = (u32)(page_info & TDX_PAGE_INFO_LEVEL);
	gpa_t gpa = page_info & TDX_PAGE_INFO_GPA;

	if (unlikely((page_info & ~(TDX_PAGE_INFO_LEVEL | TDX_PAGE_INFO_GPA)) || level < min ||
		     level > max || !IS_ALIGNED(gpa, sept_level_size(level))))
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RCX);
	ctx->gpa = gpa;
	ctx->level = level;
	return 0;
}

u64 check_td_and_gpa(struct leaf_ctx *ctx, u32 min, u32 max, u64 flags)
{
	u64 page_info = ctx->r->rcx, tdr = ctx->r->rdx & ~flags;
	u64 status;

	ctx->r->rcx = 0;
	ctx->r->rdx = 0;
	status = check_tdr(ctx, tdr, TDX_OPERAND_RDX, MODE_SHARED);
	if (!status)
		status = check_td_state(ctx);
	if (unlikely(status))
		return status;
	return check_page_info(ctx, page_info, min,
			       max == LEVEL_OF_ROOT ? ctx->tdcs->sept_levels - 1 : max);
}

u64 check_pamt_lock(struct leaf_ctx *ctx, hpa_t hpa, u32 level, struct pamt_ref *ref)
{
	if (unlikely(!pamt_find(ctx->seam, hpa, level, ref)))
		return TDX_TD_FATAL;
	if (unlikely(!pamt_lock(ctx, ref, MODE_EXCLUSIVE)))
		return operand_status(TDX_OPERAND_BUSY, TDX_OPERAND_RCX);
	return 0;
}

u64 check_interrupted(struct leaf_ctx *ctx, u64 rcx, u64 rdx)
{
	u64 status = 0;

	if (lp_interrupted(ctx->lp))
		status = TDX_INTERRUPTED_RESTARTABLE;
	else if (ctx->seam->profile->interrupted_busy &&
		 (sync_load(&ctx->tdcs->sept_lock) & LOCK_WORD_HOST_PRIORITY))
		status = TDX_INTERRUPTED_BUSY;
	if (status) {
		ctx->r->rcx = rcx;
		ctx->r->rdx = rdx;
	}
	return status;
}

u64 check_walk(struct leaf_ctx *ctx, enum lock_mode mode)
{
	if (unlikely(!check_gpa_private(ctx->tdcs, ctx->gpa)))
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RCX);
	if (unlikely(!leaf_lock(ctx, &ctx->tdcs->sept_lock, mode)))
		return operand_status(TDX_OPERAND_BUSY, TDX_OPERAND_SEPT_TREE);
	if (likely(sept_walk_in_step(ctx, ctx->level)))
		return 0;
	sept_details(ctx);
	return operand_status(TDX_EPT_WALK_FAILED, TDX_OPERAND_RCX);
}

u64 check_entry_lock(struct leaf_ctx *ctx)
{
	if (likely(sept_lock_host(ctx)))
		return 0;
	sept_details(ctx);
	return operand_status(TDX_OPERAND_BUSY, TDX_OPERAND_RCX);
}

u64 entry_state_incorrect(struct leaf_ctx *ctx)
{
	sept_details(ctx);
	return operand_status(TDX_EPT_ENTRY_STATE_INCORRECT, TDX_OPERAND_RCX);
}

u64 check_entry(struct leaf_ctx *ctx)
{
	u64 status = check_entry_lock(ctx);

	if (unlikely(status))
		return status;
	if (unlikely(!(ctx->state->host_leaves >> ctx->leaf & 1)))
		return entry_state_incorrect(ctx);
	return 0;
}

/* ---- TLB tracking ----------------------------------------------------------------------------*/

bool check_epoch_is_tracked(const struct tdcs *tdcs, u64 bepoch)
{
	u64 epoch = sync_load_acquire(&tdcs->td_epoch);

	if (bepoch & PAMT_BEPOCH_MIGRATION)
		return false;
	for (;;) {
		u64 again;
		u16 inside;

		if (bepoch != epoch - 1)
			return bepoch < epoch - 1;
		inside = sync_load_acquire(&tdcs->refcount[bepoch & 1]);
		/*
		 * Epoch and count must be of one moment: a TRACK in between hands the counter to
		 * another epoch. It only ever goes up, so the same value means nothing happened.
		 */
		again = sync_load_acquire(&tdcs->td_epoch);
		if (likely(again == epoch))
			return inside == 0;
		epoch = again;
	}
}

static bool needs_tracking(const struct leaf_ctx *ctx)
{
	return sept_is(ctx->state, SEPT_NEEDS_TRACKING) &&
	       op_state_needs_tracking((enum op_state)sync_load(&ctx->tdcs->op_state));
}

static __attribute__((cold)) bool is_tracked_in_step(struct leaf_ctx *ctx, u64 bepoch)
{
	bool tracked;

	trace_step_begin(ctx->call);
	tracked = check_epoch_is_tracked(ctx->tdcs, bepoch);
	trace_step_end(ctx->call);
	ctx->has_place = !tracked;
	return tracked;
}

static bool is_tracked(struct leaf_ctx *ctx, u64 bepoch)
{
	return likely(!ctx->call) ? check_epoch_is_tracked(ctx->tdcs, bepoch)
				  : is_tracked_in_step(ctx, bepoch);
}

u64 check_tracked(struct leaf_ctx *ctx, u64 bepoch)
{
	if (!needs_tracking(ctx) || is_tracked(ctx, bepoch))
		return 0;
	if (bug_planted(&ctx->host->bugs, BUG_SKIP_TRACK) ||
	    bug_planted(&ctx->host->bugs, BUG_SKIP_KICK))
		return 0;
	return operand_status(TDX_TLB_TRACKING_NOT_DONE, TDX_OPERAND_RCX);
}

u64 check_blocked_and_tracked(struct leaf_ctx *ctx, u64 bepoch)
{
	if (needs_tracking(ctx) && !sept_is(ctx->state, SEPT_IS_BLOCKED)) {
		sept_details(ctx);
		return operand_status(TDX_GPA_RANGE_NOT_BLOCKED, TDX_OPERAND_RCX);
	}
	return check_tracked(ctx, bepoch);
}
