/* SPDX-License-Identifier: MIT */
/* Dynamic PAMT pairs, and the split and merge of one block's metadata. */
#include "seam/checks.h"

hpa_t pamt_node_page(const struct pamt_entry *e, unsigned int i)
{
	u64 frame;

	if (i == 0)
		frame = ((u64)sync_load(&e->owner_hi) << 8 | sync_load(&e->owner_lo)) >>
			(PAMT_NODE_PAGE_SHIFT - 24);
	else
		frame = sync_load(&e->bepoch) >> PAMT_NODE_PAGE_SHIFT;
	return fn_to_addr(frame);
}

u64 pamt_check_pair_format(const struct leaf_ctx *ctx, const hpa_t page[2],
			   const unsigned int operand[2])
{
	for (unsigned int i = 0; i < 2; i++) {
		u64 status = check_hpa_format(page[i], operand[i], 0);

		if (status)
			return status;
	}
	for (unsigned int i = 0; i < 2; i++) {
		if (!pamt_tdmr_of(ctx->seam, page[i]))
			return operand_status(TDX_OPERAND_ADDR_RANGE_ERROR, operand[i]);
	}
	return 0;
}

static void mark_area_dirty(const struct leaf_ctx *ctx, const void *at)
{
	host_frame_dirty(ctx->host, (pfn_t)((const u8 *)at - ctx->host->memory) >> PAGE_SHIFT);
}

static bool set_page_bit(const struct leaf_ctx *ctx, hpa_t page)
{
	u64 *word;
	u64 bit = pamt_bit_word(ctx->seam, pamt_tdmr_of(ctx->seam, page), page, &word);

	mark_area_dirty(ctx, word);
	return !(sync_fetch_or(word, bit) & bit);
}

static void clear_page_bit(const struct leaf_ctx *ctx, hpa_t page)
{
	u64 *word;
	u64 bit = pamt_bit_word(ctx->seam, pamt_tdmr_of(ctx->seam, page), page, &word);

	sync_fetch_and(word, ~bit);
}

u64 pamt_check_pair(struct leaf_ctx *ctx, const hpa_t page[2], const unsigned int operand[2],
		    hpa_t block)
{
	for (unsigned int i = 0; i < 2; i++) {
		struct pamt_ref ref;

		if (ALIGN_DOWN(page[i], SIZE_2M) == block)
			continue;
		if (!pamt_walk(ctx, pamt_tdmr_of(ctx->seam, page[i]), page[i], PAMT_REAL_LEVEL,
			       MODE_SHARED, &ref))
			return operand_status(TDX_OPERAND_BUSY, operand[i]);
		if (pamt_type(ref.entry) != PT_NDA)
			return operand_status(TDX_PAGE_NOT_FREE, operand[i]);
	}
	if (!set_page_bit(ctx, page[0]))
		return operand_status(TDX_PAGE_NOT_FREE, operand[0]);
	if (!set_page_bit(ctx, page[1])) {
		clear_page_bit(ctx, page[0]);
		return operand_status(TDX_PAGE_NOT_FREE, operand[1]);
	}
	return 0;
}

/* Writes the node's two page numbers and its count; the type is last, as whoever walks reads it. */
static void write_node(const struct leaf_ctx *ctx, struct pamt_entry *e, const hpa_t page[2],
		       u64 count)
{
	u64 head = addr_to_fn(page[0]) << (PAMT_NODE_PAGE_SHIFT - 24);

	mark_area_dirty(ctx, e);
	sync_store(&e->owner_lo, (u8)head);
	sync_store(&e->owner_hi, (u32)(head >> 8));
	sync_store(&e->bepoch, addr_to_fn(page[1]) << PAMT_NODE_PAGE_SHIFT | count);
	sync_store_release(&e->type, PT_PAMT);
}

void pamt_attach_pair(struct leaf_ctx *ctx, struct pamt_entry *e, const hpa_t page[2])
{
	for (unsigned int i = 0; i < 2; i++)
		host_zero(ctx->host, addr_to_fn(page[i]), PG_LEVEL_4K, ctx->seam->global_hkid);
	write_node(ctx, e, page, 0);
}

void pamt_detach_pair(struct leaf_ctx *ctx, struct pamt_entry *e, hpa_t page[2])
{
	for (unsigned int i = 0; i < 2; i++) {
		page[i] = pamt_node_page(e, i);
		clear_page_bit(ctx, page[i]);
	}
}

/* 512 PT_REG entries of one owner; nobody else can reach them while their parent is locked. */
static void fill_children(const struct leaf_ctx *ctx, struct pamt_entry *child, unsigned int count,
			  hpa_t owner)
{
	struct pamt_entry entry = {
		.type = PT_REG,
		.owner_lo = (u8)(owner >> PAGE_SHIFT),
		.owner_hi = (u32)(owner >> (PAGE_SHIFT + 8)),
	};
	u64 head;

	__builtin_memcpy(&head, &entry, sizeof(head));
	mark_area_dirty(ctx, child);
	mark_area_dirty(ctx, child + count - 1);
	for (unsigned int i = 0; i < count; i++) {
		sync_store_quiet((u64 *)(void *)&child[i], head);
		sync_store_quiet(&child[i].bepoch, 0);
	}
}

void pamt_split(struct leaf_ctx *ctx, const struct pamt_ref *ref, hpa_t hpa, const hpa_t *page)
{
	const struct seam_tdmr *tdmr = pamt_tdmr_of(ctx->seam, hpa);
	hpa_t owner = pamt_owner(ref->entry);

	if (!page) {
		fill_children(ctx, pamt_area_entry(ctx->seam, tdmr, hpa, ref->level - 1),
			      PTRS_PER_TABLE, owner);
		sync_store_release(&ref->entry->type, PT_NDA);
		return;
	}
	for (unsigned int i = 0; i < 2; i++) {
		host_retag(ctx->host, addr_to_fn(page[i]), PG_LEVEL_4K, ctx->seam->global_hkid);
		fill_children(ctx, host_ptr(ctx->host, page[i]), PAMT_NODE_ENTRIES_PER_PAGE, owner);
	}
	write_node(ctx, ref->entry, page, PTRS_PER_TABLE);
}

void pamt_merge(struct leaf_ctx *ctx, const struct pamt_ref *ref, hpa_t hpa, hpa_t *page)
{
	if (page) {
		pamt_detach_pair(ctx, ref->entry, page);
	} else {
		struct pamt_entry *child = pamt_area_entry(ctx->seam, pamt_tdmr_of(ctx->seam, hpa),
							   hpa, ref->level - 1);

		for (unsigned int i = 0; i < PTRS_PER_TABLE; i++)
			sync_store(&child[i].type, PT_NDA);
	}
	if (ctx->seam->dynamic_pamt)
		sync_store(&ref->entry->bepoch, 0);
	pamt_set_keep_epoch(ctx, ref, PT_REG, ctx->tdr_pa);
}
