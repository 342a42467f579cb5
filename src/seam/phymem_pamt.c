/* SPDX-License-Identifier: MIT */
/* TDH.PHYMEM.PAMT.ADD, TDH.PHYMEM.PAMT.REMOVE, TDH.PHYMEM.PAGE.RDMD. */
#include "seam/checks.h"

#define PAMT_REGION_LEVEL 0x7ULL
#define PAMT_REGION_RESERVED GENMASK_ULL(11, 3)
#define RDMD_NON_LEAF BIT_ULL(63)

/* A PAMT region operand (RCX): HPA and level. */
static u64 check_region(u64 region, u32 max, u32 *level, hpa_t *hpa)
{
	*level = (u32)(region & PAMT_REGION_LEVEL);
	*hpa = region & ~PAMT_REGION_LEVEL;
	if ((region & PAMT_REGION_RESERVED) || *level > max)
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RCX);
	return check_hpa_format(*hpa, TDX_OPERAND_RCX, *level);
}

static u64 check_pair_region(const struct leaf_ctx *ctx, u64 region, hpa_t *hpa)
{
	u32 level;
	u64 status;

	if (!ctx->seam->dynamic_pamt)
		return operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RAX);
	status = check_region(region, 1, &level, hpa);
	if (!status && level != 1)
		status = operand_status(TDX_OPERAND_INVALID, TDX_OPERAND_RCX);
	return status;
}

static u64 check_pair_page(const struct leaf_ctx *ctx, hpa_t page, unsigned int operand)
{
	u64 status = check_hpa_format(page, operand, 0);

	if (!status && !pamt_tdmr_of(ctx->seam, page))
		status = operand_status(TDX_OPERAND_ADDR_RANGE_ERROR, operand);
	return status;
}

/* The entry of 2M block @hpa, exclusive; BUSY|RCX or OPERAND_ADDR_RANGE_ERROR|RCX. */
static u64 lock_block(struct leaf_ctx *ctx, hpa_t hpa, struct pamt_ref *ref)
{
	const struct seam_tdmr *tdmr = pamt_tdmr_of(ctx->seam, hpa);

	if (!tdmr)
		return operand_status(TDX_OPERAND_ADDR_RANGE_ERROR, TDX_OPERAND_RCX);
	if (!pamt_walk(ctx, tdmr, hpa, 1, MODE_EXCLUSIVE, ref))
		return operand_status(TDX_OPERAND_BUSY, TDX_OPERAND_RCX);
	return 0;
}

u64 seam_tdh_phymem_pamt_add(struct leaf_ctx *ctx)
{
	static const unsigned int operand[2] = {TDX_OPERAND_RDX, TDX_OPERAND_R8};
	const hpa_t page[2] = {ctx->r->rdx, ctx->r->r8};
	struct pamt_ref block;
	hpa_t hpa;
	u64 status;

	status = check_pair_region(ctx, ctx->r->rcx, &hpa);
	if (!status)
		status = check_pair_page(ctx, page[0], operand[0]);
	if (!status)
		status = check_pair_page(ctx, page[1], operand[1]);
	if (!status)
		status = lock_block(ctx, hpa, &block);
	if (status)
		return status;
	if (block.level != 1 || pamt_type(block.entry) != PT_NDA)
		return operand_status(TDX_HPA_RANGE_NOT_FREE, TDX_OPERAND_RCX);
	status = pamt_check_pair(ctx, page, operand, hpa);
	if (status)
		return status;

	pamt_attach_pair(ctx, block.entry, page);
	return TDX_SUCCESS;
}

/*
 * A page that isn't PT_NDA can still be found without the block's lock; one that was freed a moment
 * ago may still be locked by the leaf that frees it.
 */
static u64 check_page_is_empty(const struct leaf_ctx *ctx, hpa_t page, unsigned int i)
{
	const struct pamt_entry *entry = host_ptr(ctx->host, page);

	if (unlikely(!page_is_intact(ctx->host, page, ctx->seam->global_hkid)))
		return TDX_PAMT_PAGE_NOT_EMPTY | i;
	for (unsigned int j = 0; j < PAMT_NODE_ENTRIES_PER_PAGE; j++) {
		if (pamt_type(&entry[j]) != PT_NDA)
			return TDX_PAMT_PAGE_NOT_EMPTY | i;
		if (lock_word_is_held(
			    sync_load_acquire(&entry[j].lock))) /* pairs with hp_unlock() */
			return operand_status(TDX_OPERAND_BUSY, TDX_OPERAND_RCX);
	}
	return 0;
}

u64 seam_tdh_phymem_pamt_remove(struct leaf_ctx *ctx)
{
	struct pamt_ref block;
	hpa_t hpa, page[2];
	u64 status;

	status = check_pair_region(ctx, ctx->r->rcx, &hpa);
	if (!status)
		status = lock_block(ctx, hpa, &block);
	if (status)
		return status;
	if (block.level != 1 || pamt_type(block.entry) != PT_PAMT)
		return operand_status(TDX_NO_PAMT_PAGE_PAIR, TDX_OPERAND_RCX);
	for (unsigned int i = 0; i < 2; i++) {
		status = check_page_is_empty(ctx, pamt_node_page(block.entry, i), i);
		if (status)
			return status;
	}

	/* The type first: the pages are somebody else's as soon as their bits are clear. */
	sync_store_release(&block.entry->type, PT_NDA);
	pamt_detach_pair(ctx, block.entry, page);
	ctx->r->rdx = page[0];
	ctx->r->r8 = page[1];
	return TDX_SUCCESS;
}

static void report(struct tdx_regs *r, const struct pamt_ref *ref)
{
	enum pamt_type type = pamt_type(ref->entry);

	r->rcx = type;
	r->r8 = ref->level;
	if (type == PT_PAMT) {
		r->rcx |= RDMD_NON_LEAF;
		r->r10 = pamt_node_page(ref->entry, 0);
		r->r11 = pamt_node_page(ref->entry, 1);
		return;
	}
	r->rdx = pamt_owner(ref->entry);
	if (type == PT_REG || type == PT_EPT)
		r->r9 = sync_load(&ref->entry->bepoch);
}

u64 seam_tdh_phymem_page_rdmd(struct leaf_ctx *ctx)
{
	struct tdx_regs *r = ctx->r;
	u64 region = r->rcx;
	const struct seam_tdmr *tdmr;
	struct pamt_ref ref;
	u32 level;
	hpa_t hpa;
	u64 status;

	r->rcx = 0;
	r->rdx = 0;
	r->r8 = 0;
	r->r9 = 0;
	r->r10 = 0;
	r->r11 = 0;
	status = check_region(region, ctx->seam->dynamic_pamt ? 2 : 0, &level, &hpa);
	if (status)
		return status;
	tdmr = pamt_tdmr_of(ctx->seam, hpa);
	if (!tdmr)
		return operand_status(TDX_OPERAND_ADDR_RANGE_ERROR, TDX_OPERAND_RCX);
	if (!pamt_walk(ctx, tdmr, hpa, level ? level : PAMT_REAL_LEVEL, MODE_SHARED, &ref))
		return operand_status(TDX_OPERAND_BUSY, TDX_OPERAND_RCX);

	if (level == 0 && ctx->seam->dynamic_pamt && pamt_page_bit_is_set(ctx->seam, tdmr, hpa))
		r->rcx = PT_PAMT;
	else
		report(r, &ref);
	return TDX_SUCCESS;
}
