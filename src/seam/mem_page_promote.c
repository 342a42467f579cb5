/* SPDX-License-Identifier: MIT */
/* TDH.MEM.PAGE.PROMOTE: merge 512 pages that lie together into one; DEMOTE backwards. */
#include "seam/checks.h"

struct promote {
	hpa_t table_pa;
	u64 child; /* the first child, which becomes the entry */
	struct pamt_ref table, page;
};

/* Bits in which children may differ from the first, besides the place of their page. */
static u64 tolerated(const struct sept_state *state, u32 child_level)
{
	u64 bits = SEPT_ACCESSED | SEPT_DIRTY | SEPT_HOST_PRIORITY;

	if (child_level > 0 && sept_is(state, SEPT_IS_PENDING))
		bits |= SEPT_ACCEPT_COUNTER;
	return bits;
}

static bool children_are_one_page(struct leaf_ctx *ctx, struct promote *p)
{
	const u64 *table = host_ptr(ctx->host, p->table_pa);
	u64 size = sept_level_size(ctx->level - 1);
	const struct sept_state *state;
	unsigned int nr = PTRS_PER_TABLE;
	u64 first, ignored, expected;

	if (unlikely(!page_is_intact(ctx->host, p->table_pa, ctx->tdr->hkid)))
		return false;
	first = sync_load_acquire(&table[0]);
	state = sept_state_of(first);
	ignored = tolerated(state, ctx->level - 1);
	if (state->id != SEPT_MAPPED && state->id != SEPT_PENDING)
		return false;
	p->child = first & ~ignored;
	if (!IS_ALIGNED(sept_hpa(p->child), sept_level_size(ctx->level)))
		return false;
	expected = p->child;
	if (bug_planted(&ctx->host->bugs, BUG_PROMOTE_CHECKS_HALF))
		nr /= 2;
	for (unsigned int i = 0; i < nr; i++, expected += size) {
		if ((sync_load_acquire(&table[i]) & ~ignored) != expected)
			return false;
	}
	/* A first child whose lock somebody holds (PROMOTE under a shared tree lock) isn't stable. */
	return !(p->child & SEPT_LOCK);
}

static u64 check_children(struct leaf_ctx *ctx, struct promote *p)
{
	u64 status;

	p->table_pa = sept_hpa(ctx->value);
	status = check_pamt_lock(ctx, p->table_pa, 0, &p->table);
	if (!status)
		status = check_blocked_and_tracked(ctx, sync_load(&p->table.entry->bepoch));
	if (status)
		return status;
	if (children_are_one_page(ctx, p))
		return 0;
	sept_details(ctx);
	return operand_status(TDX_EPT_INVALID_PROMOTE_CONDITIONS, TDX_OPERAND_RCX);
}

static void commit(struct leaf_ctx *ctx, struct promote *p)
{
	struct tdx_regs *r = ctx->r;
	bool has_pair = ctx->seam->dynamic_pamt && ctx->level == 1;
	hpa_t pair[2];

	pamt_merge(ctx, &p->page, sept_hpa(p->child), has_pair ? pair : NULL);
	if (has_pair) {
		r->r12 = pair[0];
		r->r13 = pair[1];
	}
	sept_set(ctx, p->child);
	sync_add_relaxed(&ctx->tdr->chldcnt, -1ULL);
	r->rcx = p->table_pa | pamt_clear(ctx, &p->table);
}

u64 seam_tdh_mem_page_promote(struct leaf_ctx *ctx)
{
	struct tdx_regs *r = ctx->r;
	u64 rcx = r->rcx, rdx = r->rdx;
	bool exclusive = ctx->seam->profile->promote_tree_exclusive;
	struct promote p;
	u64 status;

	if (ctx->version > 0) {
		r->r9 = TDX_NULL_PA;
		r->r10 = TDX_NULL_PA;
		r->r11 = TDX_NULL_PA;
	}
	if (ctx->version > 1) {
		r->rcx = 0;
		r->rdx = 0;
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RAX);
	}
	status = check_td_and_gpa(ctx, 1, 2, 0);
	if (!status)
		status = check_walk(ctx, exclusive ? MODE_EXCLUSIVE : MODE_SHARED);
	if (!status)
		status = check_entry(ctx);
	if (!status)
		status = check_children(ctx, &p);
	if (!status)
		status = check_interrupted(ctx, rcx, rdx);
	if (!status)
		status = check_pamt_lock(ctx, sept_hpa(p.child), ctx->level, &p.page);
	if (status)
		return status;

	commit(ctx, &p);
	return TDX_SUCCESS;
}
