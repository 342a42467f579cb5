/* SPDX-License-Identifier: MIT */
/* PAMT: where entries are, walks, and what one page's entry says. The rest is in pamt_pair.c. */
#include "seam/pamt.h"

const struct seam_tdmr *pamt_tdmr_of(const struct seam *seam, hpa_t hpa)
{
	u32 low = 0, high = seam->nr_tdmrs;

	/* The last TDMR that starts at or below @hpa. */
	while (high - low > 1) {
		u32 middle = (low + high) / 2;

		if (seam->tdmr[middle].base <= hpa)
			low = middle;
		else
			high = middle;
	}
	if (low == high || hpa < seam->tdmr[low].base)
		return NULL;
	/* Pairs with the store-release of SYS.TDMR.INIT: entries below are initialised. */
	if (hpa >= ALIGN_DOWN(sync_load_acquire(&seam->tdmr[low].initialized_end), SIZE_1G))
		return NULL;
	return &seam->tdmr[low];
}

static pfn_t frame_of(const struct leaf_ctx *ctx, const struct pamt_entry *entry)
{
	return (pfn_t)((const u8 *)entry - ctx->host->memory) >> PAGE_SHIFT;
}

/* The host-priority bit stays: the frame no longer reads as zero. */
static __attribute__((cold)) void note_refused(const struct leaf_ctx *ctx,
					       const struct pamt_entry *entry)
{
	host_frame_dirty(ctx->host, frame_of(ctx, entry));
}

/* Inlined, as what follows: a leaf takes three of these for each page, with the mode known. */
static inline __attribute__((always_inline)) bool
lock_entry(struct leaf_ctx *ctx, struct pamt_entry *entry, enum lock_mode mode)
{
	if (likely(leaf_lock(ctx, &entry->lock, mode)))
		return true;
	note_refused(ctx, entry);
	return false;
}

/* An entry of this type at level 1 or 2 describes the whole block: a walk can't go below. */
static bool stops_walk(const struct seam *seam, enum pamt_type type, u32 level)
{
	if (level == 1 && seam->dynamic_pamt)
		return type != PT_PAMT;
	return type != PT_NDA;
}

/* NULL: @node's page isn't as the module left it. */
static struct pamt_entry *entry_4k(const struct seam *seam, const struct seam_tdmr *tdmr,
				   struct pamt_entry *node, hpa_t hpa)
{
	u64 index = addr_to_fn(hpa) % PTRS_PER_TABLE;
	hpa_t page;

	if (!seam->dynamic_pamt)
		return pamt_area_entry(seam, tdmr, hpa, 0);
	page = pamt_node_page(node, index >= PAMT_NODE_ENTRIES_PER_PAGE);
	if (unlikely(!page_is_intact(seam->host, page, seam->global_hkid)))
		return NULL;
	return (struct pamt_entry *)host_ptr(seam->host, page) + index % PAMT_NODE_ENTRIES_PER_PAGE;
}

enum walk_step {
	WALK_DOWN,
	WALK_ENDS,
	WALK_BUSY,
};

/* The entry at @at, 2 or 1, of a walk to @level. */
static inline __attribute__((always_inline)) enum walk_step
walk_block(struct leaf_ctx *ctx, const struct seam_tdmr *tdmr, hpa_t hpa, u32 at, u32 level,
	   enum lock_mode mode, struct pamt_ref *out)
{
	const struct seam *seam = ctx->seam;
	struct pamt_entry *entry = pamt_area_entry(seam, tdmr, hpa, at);
	bool stops;

	out->entry = entry;
	out->level = at;
	if (at == level)
		return lock_entry(ctx, entry, mode) ? WALK_ENDS : WALK_BUSY;
	stops = stops_walk(seam, pamt_type(entry), at);
	if (unlikely(stops && level == PAMT_REAL_LEVEL)) {
		if (!lock_entry(ctx, entry, mode))
			return WALK_BUSY;
	} else if (!lock_entry(ctx, entry, MODE_SHARED)) {
		return WALK_BUSY;
	}
	/* Changed before it was locked, and the mode fits no more: as good as busy. */
	if (unlikely(stops_walk(seam, pamt_type(entry), at) != stops))
		return WALK_BUSY;
	return unlikely(stops) ? WALK_ENDS : WALK_DOWN;
}

bool pamt_walk(struct leaf_ctx *ctx, const struct seam_tdmr *tdmr, hpa_t hpa, u32 level,
	       enum lock_mode mode, struct pamt_ref *out)
{
	const struct seam *seam = ctx->seam;
	struct pamt_entry *entry, *node;
	enum walk_step step;

	out->node = NULL;
	step = walk_block(ctx, tdmr, hpa, 2, level, mode, out);
	if (step == WALK_DOWN)
		step = walk_block(ctx, tdmr, hpa, 1, level, mode, out);
	if (step != WALK_DOWN)
		return step == WALK_ENDS;
	node = out->entry;
	entry = entry_4k(seam, tdmr, node, hpa);
	/* The caller sees a node where he wants a page. */
	if (unlikely(!entry))
		return true;
	out->node = seam->dynamic_pamt ? node : NULL;
	out->entry = entry;
	out->level = 0;
	return lock_entry(ctx, entry, mode);
}

bool pamt_find(const struct seam *seam, hpa_t hpa, u32 level, struct pamt_ref *out)
{
	const struct seam_tdmr *tdmr = pamt_tdmr_of(seam, hpa);
	struct pamt_entry *entry;

	if (unlikely(!tdmr || hpa >= seam->host->memory_bytes))
		return false;
	entry = pamt_area_entry(seam, tdmr, hpa, level ? level : 1);
	out->level = level;
	out->node = !level && seam->dynamic_pamt ? entry : NULL;
	out->entry = level ? entry : entry_4k(seam, tdmr, entry, hpa);
	return out->entry;
}

bool pamt_lock(struct leaf_ctx *ctx, const struct pamt_ref *ref, enum lock_mode mode)
{
	return lock_entry(ctx, ref->entry, mode);
}

void pamt_set_keep_epoch(struct leaf_ctx *ctx, const struct pamt_ref *ref, enum pamt_type type,
			 hpa_t owner)
{
	host_frame_dirty(ctx->host, frame_of(ctx, ref->entry));
	sync_store(&ref->entry->owner_lo, (u8)(owner >> PAGE_SHIFT));
	sync_store(&ref->entry->owner_hi, (u32)(owner >> (PAGE_SHIFT + 8)));
	if (ref->node)
		sync_fetch_add(&ref->node->bepoch, 1);
	sync_store_release(&ref->entry->type, (u8)type);
}

void pamt_set(struct leaf_ctx *ctx, const struct pamt_ref *ref, enum pamt_type type, hpa_t owner)
{
	if (type == PT_REG || type == PT_EPT)
		sync_store(&ref->entry->bepoch, 0);
	pamt_set_keep_epoch(ctx, ref, type, owner);
}

u64 pamt_clear(struct leaf_ctx *ctx, const struct pamt_ref *ref)
{
	u64 before;

	sync_store_release(&ref->entry->type, PT_NDA);
	if (!ref->node)
		return 0;
	before = sync_fetch_sub(&ref->node->bepoch, 1) & PAMT_NODE_COUNT;
	return before == 1 && ctx->seam->profile->pamt_removal_hint ? TDX_PAMT_REMOVAL_HINT : 0;
}

static bool static_children_are_free(const struct seam *seam, const struct seam_tdmr *tdmr,
				     hpa_t hpa)
{
	const struct pamt_entry *entry = pamt_area_entry(seam, tdmr, hpa, 0);
	pfn_t frame = (pfn_t)((const u8 *)entry - seam->host->memory) >> PAGE_SHIFT;

	/* No type was ever written in a clean frame; reading it would only populate it. */
	for (unsigned int half = 0; half < 2; half++, entry += PAMT_NODE_ENTRIES_PER_PAGE) {
		unsigned int used = 0;

		if (!host_frame_is_dirty(seam->host, frame + half))
			continue;
		for (unsigned int i = 0; i < PAMT_NODE_ENTRIES_PER_PAGE; i++)
			used |= pamt_type(&entry[i]);
		if (used != PT_NDA)
			return false;
	}
	return true;
}

/* The words of the page bitmap that hold the 512 bits of @hpa's 2M block. */
static u64 *block_bits(const struct seam *seam, const struct seam_tdmr *tdmr, hpa_t hpa)
{
	u64 *bits = host_ptr(seam->host, tdmr->pamt_base[0]);

	return bits + ((hpa - tdmr->base) >> 21) * (PTRS_PER_TABLE / 64);
}

bool pamt_children_are_free(const struct seam *seam, const struct seam_tdmr *tdmr, hpa_t hpa)
{
	const u64 *bits;
	u64 used = 0;

	if (!seam->dynamic_pamt)
		return static_children_are_free(seam, tdmr, hpa);
	bits = block_bits(seam, tdmr, hpa);
	for (unsigned int i = 0; i < PTRS_PER_TABLE / 64; i++)
		used |= sync_load(&bits[i]);
	return used == 0;
}

bool pamt_page_bit_is_set(const struct seam *seam, const struct seam_tdmr *tdmr, hpa_t hpa)
{
	u64 page = addr_to_fn(hpa) % PTRS_PER_TABLE;

	return sync_load(&block_bits(seam, tdmr, hpa)[page / 64]) >> page % 64 & 1;
}

u64 pamt_bit_word(const struct seam *seam, const struct seam_tdmr *tdmr, hpa_t hpa, u64 **word)
{
	u64 page = addr_to_fn(hpa) % PTRS_PER_TABLE;

	*word = &block_bits(seam, tdmr, hpa)[page / 64];
	return BIT_ULL(page % 64);
}
