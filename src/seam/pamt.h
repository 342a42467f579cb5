/* SPDX-License-Identifier: MIT */
/*
 * seam/pamt: physical-address metadata. 16 bytes for every 1G block, 2M block and 4K page of the
 * TDMRs, in areas that the host has set aside; with Dynamic PAMT the 4K entries live in pairs of
 * pages that the host gives and takes back per 2M block, and a bit for every 4K page says that the
 * page is such a pair's half (or reserved).
 *
 * Walks are explicit (an operand of the leaf: shared locks on the way, the wanted mode at the end)
 * or implicit (a page the module itself knows to be in use: only its own entry is locked). An
 * implicit walk needs no lock above because the page isn't PT_NDA, and what holds its entry can't
 * go away before it is.
 */
#ifndef SEAM_PAMT_H
#define SEAM_PAMT_H

#include "seam/internal.h"

/*
 * A PAMT entry. As a leaf: owner is the TDR's frame number. As a Dynamic PAMT node (type PT_PAMT,
 * 2M only): bits 63:28 of the head are the first page's frame number, bits 127:92 the second's,
 * bits 73:64 count the 4K pages in use. Fields besides the lock are written under its exclusive
 * mode, the count by atomics; types are read without it to choose how to lock.
 */
struct pamt_entry {
	u16 lock;
	u8 type; /* enum pamt_type */
	u8 owner_lo;
	u32 owner_hi;
	u64 bepoch;
};

_Static_assert(sizeof(struct pamt_entry) == TDX_PAMT_ENTRY_SIZE, "16 bytes, the lock first");

#define PAMT_BEPOCH_MIGRATION BIT_ULL(63)
#define PAMT_NODE_COUNT GENMASK_ULL(9, 0)
#define PAMT_NODE_PAGE_SHIFT 28
#define PAMT_NODE_ENTRIES_PER_PAGE (PAGE_SIZE / TDX_PAMT_ENTRY_SIZE)

/* Where a walk ended. */
struct pamt_ref {
	struct pamt_entry *entry;
	struct pamt_entry *node; /* 2M node above a 4K entry (Dynamic PAMT), else NULL */
	u32 level;
};

static inline enum pamt_type pamt_type(const struct pamt_entry *e)
{
	return (enum pamt_type)sync_load(&e->type);
}

/** pamt_owner - HPA of the owning TDR; stale for a free page */
static inline hpa_t pamt_owner(const struct pamt_entry *e)
{
	return ((u64)sync_load(&e->owner_hi) << 8 | sync_load(&e->owner_lo)) << PAGE_SHIFT;
}

/** pamt_tdmr_of - the TDMR that @hpa lies in, in a 1G block already initialised; NULL if none */
const struct seam_tdmr *pamt_tdmr_of(const struct seam *seam, hpa_t hpa);

/** pamt_entry_1g / 2m / 4k_static - the entry of @hpa in the areas of @tdmr */
static inline struct pamt_entry *pamt_area_entry(const struct seam *seam,
						 const struct seam_tdmr *tdmr, hpa_t hpa, u32 level)
{
	u64 index = (hpa - tdmr->base) >> (PAGE_SHIFT + 9 * level);

	return (struct pamt_entry *)host_ptr(seam->host, tdmr->pamt_base[level]) + index;
}

#define PAMT_REAL_LEVEL 3u

/**
 * pamt_walk - explicit walk to the entry of @hpa at @level, or where it stops above
 *
 * @level is 0 to 2, or PAMT_REAL_LEVEL: to the leaf that describes the page, whatever its size
 * (a 4K page, or where Dynamic PAMT has no pair). Locks shared on the way, @mode at the end, noted
 * in @ctx. The caller has checked that @hpa lies in @tdmr.
 * Return: false when a lock couldn't be had.
 */
bool pamt_walk(struct leaf_ctx *ctx, const struct seam_tdmr *tdmr, hpa_t hpa, u32 level,
	       enum lock_mode mode, struct pamt_ref *out);

/**
 * pamt_find - implicit: the entry of @hpa, a page in use at @level; locks nothing
 *
 * Return: false when there is none: @hpa is in no TDMR, or a page of the block's pair isn't as the
 * module left it.
 */
bool pamt_find(const struct seam *seam, hpa_t hpa, u32 level, struct pamt_ref *out);
/** pamt_lock - leaf_lock() on @ref's entry; false: busy */
bool pamt_lock(struct leaf_ctx *ctx, const struct pamt_ref *ref, enum lock_mode mode);

/**
 * pamt_set - make a PT_NDA page, locked exclusive, one of @owner's (0: it is a TDR itself)
 *
 * BEPOCH becomes 0 for PT_REG and PT_EPT. pamt_set_keep_epoch() leaves it.
 */
void pamt_set(struct leaf_ctx *ctx, const struct pamt_ref *ref, enum pamt_type type, hpa_t owner);
void pamt_set_keep_epoch(struct leaf_ctx *ctx, const struct pamt_ref *ref, enum pamt_type type,
			 hpa_t owner);
/**
 * pamt_clear - make the page PT_NDA; owner and BEPOCH stay, as the module leaves them
 *
 * Return: TDX_PAMT_REMOVAL_HINT when its 2M block uses no 4K page any more, else 0.
 */
u64 pamt_clear(struct leaf_ctx *ctx, const struct pamt_ref *ref);

/** pamt_children_are_free - no 4K page of the 2M block at @hpa is used, reserved or a PAMT page */
bool pamt_children_are_free(const struct seam *seam, const struct seam_tdmr *tdmr, hpa_t hpa);

/* ---- Dynamic PAMT ----------------------------------------------------------------------------*/
/** pamt_node_page - HPA of the first (@i = 0) or second page of the pair in node @e */
hpa_t pamt_node_page(const struct pamt_entry *e, unsigned int i);
/** pamt_page_bit_is_set - @hpa is a page of a pair, or reserved */
bool pamt_page_bit_is_set(const struct seam *seam, const struct seam_tdmr *tdmr, hpa_t hpa);
/** pamt_bit_word - the word and the bit in it that stand for page @hpa in the page bitmap */
u64 pamt_bit_word(const struct seam *seam, const struct seam_tdmr *tdmr, hpa_t hpa, u64 **word);

/**
 * pamt_check_pair - check, and reserve by their bits, the pages @page[0], @page[1] of a new pair
 *
 * @operand names them. @block is the 2M block they shall describe when the caller holds its entry
 * and a page may lie inside (PAMT.ADD), else TDX_NULL_PA.
 * Return: 0, or BUSY, PAGE_NOT_FREE with the operand; bits set so far are cleared again.
 */
u64 pamt_check_pair(struct leaf_ctx *ctx, const hpa_t page[2], const unsigned int operand[2],
		    hpa_t block);
/** pamt_check_pair_format - alignment and key id of both, then TDMR range of both */
u64 pamt_check_pair_format(const struct leaf_ctx *ctx, const hpa_t page[2],
			   const unsigned int operand[2]);
/** pamt_attach_pair - zero the pair and make @e, PT_NDA and locked, their node; count 0 */
void pamt_attach_pair(struct leaf_ctx *ctx, struct pamt_entry *e, const hpa_t page[2]);
/** pamt_detach_pair - take the pair out of node @e, clear its bits; @e's type is the caller's */
void pamt_detach_pair(struct leaf_ctx *ctx, struct pamt_entry *e, hpa_t page[2]);

/* ---- split and merge -------------------------------------------------------------------------*/
/**
 * pamt_split - turn the leaf at @ref (locked exclusive) into 512 leaves of the level below
 *
 * @page: the new pair for a 2M leaf with Dynamic PAMT on, else NULL. Children have BEPOCH 0.
 */
void pamt_split(struct leaf_ctx *ctx, const struct pamt_ref *ref, hpa_t hpa, const hpa_t *page);
/**
 * pamt_merge - the way back: the entry of @hpa at @ref->level, locked exclusive, becomes the leaf
 *
 * @page takes the pair when a 2M leaf results with Dynamic PAMT on.
 */
void pamt_merge(struct leaf_ctx *ctx, const struct pamt_ref *ref, hpa_t hpa, hpa_t *page);

#endif
