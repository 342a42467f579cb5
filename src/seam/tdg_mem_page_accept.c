/* SPDX-License-Identifier: MIT */
/* TDG.MEM.PAGE.ACCEPT: the guest takes a pending page, which is zeroed for it. */
#include "seam/checks.h"

#define KEY_MIXUP_EVERY 64
#define KEY_MIXUP_AT 5

/* No error to the guest: the host hears what was asked for, and what is there. */
static u64 exit_to_host(struct leaf_ctx *ctx)
{
	const struct sept_state *state = ctx->state;

	ctx->exit = (struct td_exit){
		.wanted = true,
		.reason = TDX_EXIT_EPT_VIOLATION,
		.qualification = TDX_EPT_VIOLATION_WRITE | (ctx->value & SEPT_RWX) << 3,
		.eeq = TDX_EEQ_ACCEPT | (u64)ctx->level << 32 | (u64)ctx->found_level << 35 |
		       (u64)state->public_number << 38 | (u64)sept_is(state, SEPT_IS_LEAF) << 46,
		.gpa = ctx->gpa,
	};
	return TDX_SUCCESS;
}

static u64 accepted_already(const struct leaf_ctx *ctx)
{
	return TDX_PAGE_ALREADY_ACCEPTED | ctx->found_level;
}

/*
 * Zeroes a 2M page, 4K at a time while there is something to zero. An interrupt leaves the number
 * of pages done in the entry, which stays PENDING; whoever blocks or splits it forgets the number.
 *
 * Return: false when interrupted.
 */
static bool zero_2m(struct leaf_ctx *ctx, pfn_t first)
{
	pfn_t end = first + PTRS_PER_TABLE;
	pfn_t pfn = first + ((ctx->value & SEPT_ACCEPT_COUNTER) >> SEPT_ACCEPT_COUNTER_SHIFT);

	while (pfn < end) {
		if (host_frame_is_dirty(ctx->host, pfn))
			host_zero(ctx->host, pfn, PG_LEVEL_4K, ctx->tdr->hkid);
		pfn++;
		if (pfn < end && lp_interrupted(ctx->lp)) {
			sept_set(ctx, (ctx->value & ~SEPT_ACCEPT_COUNTER) |
					      (pfn - first) << SEPT_ACCEPT_COUNTER_SHIFT);
			return false;
		}
		pfn = host_first_dirty(ctx->host, pfn, end);
	}
	host_zero(ctx->host, first, PG_LEVEL_2M, ctx->tdr->hkid);
	return true;
}

static u64 accept_pending(struct leaf_ctx *ctx)
{
	u64 value = sept_with_state(ctx->value, ctx->level, ctx->state->accepted);
	pfn_t pfn = addr_to_fn(sept_hpa(value));

	if (ctx->level == 0) {
		host_zero(ctx->host, pfn, PG_LEVEL_4K, ctx->tdr->hkid);
	} else if (!zero_2m(ctx, pfn)) {
		ctx->exit = (struct td_exit){
			.wanted = true,
			.reason = TDX_EXIT_EXTERNAL_INTERRUPT,
		};
		return TDX_SUCCESS;
	}
	if (bug_planted(&ctx->host->bugs, BUG_KEY_MIXUP) &&
	    (ctx->gpa >> (PAGE_SHIFT + 9 * ctx->level)) % KEY_MIXUP_EVERY == KEY_MIXUP_AT)
		value ^= BIT_ULL(TDX_HKID_START_BIT);
	sept_set(ctx, value);
	return TDX_SUCCESS;
}

u64 seam_tdg_mem_page_accept(struct leaf_ctx *ctx)
{
	u64 status = check_page_info(ctx, ctx->r->rcx, 0, 1);
	bool locked;

	if (status)
		return status;
	if (!check_gpa_private(ctx->tdcs, ctx->gpa))
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RCX);
	if (!sept_walk_and_lock_guest(ctx, &locked)) {
		if (sept_is(ctx->state, SEPT_IS_GUEST_ACCESSIBLE))
			return accepted_already(ctx);
		return exit_to_host(ctx);
	}
	if (!locked)
		return operand_status(TDX_OPERAND_BUSY, TDX_OPERAND_RCX);
	if (!sept_is(ctx->state, SEPT_IS_FREE) && !sept_is(ctx->state, SEPT_IS_LEAF))
		return TDX_PAGE_SIZE_MISMATCH | ctx->found_level;
	if (sept_is(ctx->state, SEPT_IS_GUEST_ACCESSIBLE))
		return accepted_already(ctx);
	if (!sept_is(ctx->state, SEPT_IS_ACCEPTABLE))
		return exit_to_host(ctx);
	return accept_pending(ctx);
}
