/* SPDX-License-Identifier: MIT */
/*
 * seam/checks: the checks that leaves have in common, in the order in which a leaf calls them. Each
 * returns a status, 0 to go on, and notes in the frame what it has found and locked.
 */
#ifndef SEAM_CHECKS_H
#define SEAM_CHECKS_H

#include "seam/internal.h"
#include "seam/pamt.h"
#include "seam/sept.h"

/** check_hpa_format - alignment to @level, key id 0, below 2^52: OPERAND_INVALID otherwise */
u64 check_hpa_format(hpa_t hpa, unsigned int operand, u32 level);
/**
 * check_hpa - explicit private page check: @hpa is a page of type @type and size @level
 *
 * Return: 0 with the entry locked in @mode and in @ref; OPERAND_INVALID, OPERAND_ADDR_RANGE_ERROR,
 * OPERAND_BUSY, MISSING_PAMT_PAGE_PAIR or PAGE_METADATA_INCORRECT, with @operand.
 */
u64 check_hpa(struct leaf_ctx *ctx, hpa_t hpa, unsigned int operand, enum pamt_type type, u32 level,
	      enum lock_mode mode, struct pamt_ref *ref);
/** check_shared_hpa_format - @size-aligned, below 2^52, no private key id; OPERAND_INVALID */
u64 check_shared_hpa_format(u64 hpa, unsigned int operand, u64 size);
/** check_shared_hpa - check_shared_hpa_format(), and in memory; OPERAND_INVALID */
u64 check_shared_hpa(const struct leaf_ctx *ctx, u64 hpa, unsigned int operand, u64 size);

/**
 * leaf_read - read @n words of host memory at @hpa that are input of the leaf
 *
 * Return: 0, or -EHWPOISON for a machine check.
 */
int leaf_read(const struct leaf_ctx *ctx, hpa_t hpa, u64 *words, unsigned int n);

/** check_tdr - check_hpa() for a TDR page; sets ctx->tdr_pa and ctx->tdr */
u64 check_tdr(struct leaf_ctx *ctx, hpa_t hpa, unsigned int operand, enum lock_mode mode);
/** check_map_tdr - set ctx->tdr_pa and ctx->tdr; TD_FATAL when the page's bytes aren't the module's */
u64 check_map_tdr(struct leaf_ctx *ctx, hpa_t hpa);
/**
 * check_owner_tdr - implicit: map and lock the TDR that owns the page at @ref
 *
 * Return: 0, OPERAND_BUSY|TDR, or TD_FATAL when there is no such TDR.
 */
u64 check_owner_tdr(struct leaf_ctx *ctx, const struct pamt_ref *ref, enum lock_mode mode);

/* The steps of check_td_state(), for leaves that need fewer. */
u64 check_td_not_fatal(const struct leaf_ctx *ctx);
u64 check_td_keys(const struct leaf_ctx *ctx);
/** check_td_allocated - all TDCX pages are there; sets ctx->tdcs */
u64 check_td_allocated(struct leaf_ctx *ctx);
/** check_op_state - the current leaf is allowed in the TD's op_state */
u64 check_op_state(const struct leaf_ctx *ctx);
/**
 * check_td_state - fatal, keys, TDCX pages, op_state; takes the op_state lock shared
 *
 * check_td_state_unlocked() doesn't, for leaves that hold the TDR exclusive.
 */
u64 check_td_state(struct leaf_ctx *ctx);
u64 check_td_state_unlocked(struct leaf_ctx *ctx);

/** op_state_allows - host leaf @leaf may run in @state */
bool op_state_allows(u32 leaf, enum op_state state);
/** op_state_needs_tracking - vCPUs may run: changes need BLOCK and TRACK */
bool op_state_needs_tracking(enum op_state state);
/** op_state_is_import - REMOVE leaves REMOVED instead of FREE */
bool op_state_is_import(enum op_state state);

/** check_page_info - decode RCX into ctx->gpa and ctx->level, @min to @max */
u64 check_page_info(struct leaf_ctx *ctx, u64 page_info, u32 min, u32 max);
/** check_gpa_private - private and inside the TD's width */
bool check_gpa_private(const struct tdcs *tdcs, gpa_t gpa);
#define LEVEL_OF_ROOT 0xFFu /* as max: the level of the root's entries */
/**
 * check_td_and_gpa - how most memory leaves begin: TDR in RDX, shared; TD state; page_info
 *
 * Takes both operands from the registers, and leaves RCX and RDX 0. @flags: bits of RDX that aren't
 * part of the address.
 */
u64 check_td_and_gpa(struct leaf_ctx *ctx, u32 min, u32 max, u64 flags);
/**
 * check_pamt_lock - implicit: exclusive lock on a page that the entry refers to
 *
 * Return: 0, OPERAND_BUSY|RCX, or TD_FATAL when the entry refers to no page that PAMT knows.
 */
u64 check_pamt_lock(struct leaf_ctx *ctx, hpa_t hpa, u32 level, struct pamt_ref *ref);
/** check_interrupted - DEMOTE and PROMOTE: INTERRUPTED_* with RCX and RDX as they were */
u64 check_interrupted(struct leaf_ctx *ctx, u64 rcx, u64 rdx);
/**
 * check_walk - lock the S-EPT tree in @mode and walk to the level asked for
 *
 * A walk that stops above gives EPT_WALK_FAILED|RCX and the stopping entry's details.
 */
u64 check_walk(struct leaf_ctx *ctx, enum lock_mode mode);
/** check_entry_lock - lock the entry, or OPERAND_BUSY|RCX with details */
u64 check_entry_lock(struct leaf_ctx *ctx);
/** check_entry - check_entry_lock(), and this leaf may act in the entry's state */
u64 check_entry(struct leaf_ctx *ctx);
/** entry_state_incorrect - the status for a state in which the leaf can't act; sets details */
u64 entry_state_incorrect(struct leaf_ctx *ctx);
/**
 * check_blocked_and_tracked - where the op_state and the entry ask for it, the entry is blocked and
 * no translation made before that can be alive
 *
 * @bepoch: of the page that the entry maps, or of its table page.
 */
u64 check_blocked_and_tracked(struct leaf_ctx *ctx, u64 bepoch);
/** check_tracked - the second half only (RANGE.UNBLOCK) */
u64 check_tracked(struct leaf_ctx *ctx, u64 bepoch);
/** check_epoch_is_tracked - the epoch rule alone */
bool check_epoch_is_tracked(const struct tdcs *tdcs, u64 bepoch);

#endif
