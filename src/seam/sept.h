/* SPDX-License-Identifier: MIT */
/*
 * seam/sept: secure EPT entries. What states there are, and which leaf may act in which, stands in
 * sept_states.def and nowhere else.
 *
 *                 PAGE.ADD
 *        +---------------------------+
 *        |                           v      BLOCK                      RELOCATE
 *      FREE --AUG--> PENDING --ACCEPT--> MAPPED <--UNBLOCK--> BLOCKED ----------> MAPPED
 *      ^ | ^            ^ BLOCK/UNBLOCK    |                     |
 *      | | |            v                  | REMOVE (build time) | REMOVE
 *      | | +--REMOVE-- PENDING_BLOCKED     v                     v
 *      | |                               FREE                   FREE
 *      | +--SEPT.ADD--> NL_MAPPED <--BLOCK/UNBLOCK--> NL_BLOCKED
 *      +--------------- SEPT.REMOVE ----------------------+
 *
 *   DEMOTE: a leaf becomes NL_MAPPED over 512 MAPPED or PENDING; PROMOTE the reverse.
 *
 * An entry is read by leaves and by the page walker while others change it: it is only ever loaded
 * with acquire and changed by one atomic, with everything it refers to written before.
 */
#ifndef SEAM_SEPT_H
#define SEAM_SEPT_H

#include "seam/internal.h"

#define SEPT_RWX (EPT_READ | EPT_WRITE | EPT_EXEC)
#define SEPT_MT GENMASK_ULL(5, 3)
#define SEPT_TDMEM BIT_ULL(6)
#define SEPT_LEAF BIT_ULL(7)
#define SEPT_ACCESSED BIT_ULL(8)
#define SEPT_DIRTY BIT_ULL(9)
#define SEPT_XU BIT_ULL(10)
#define SEPT_LOCK BIT_ULL(11)
#define SEPT_HPA GENMASK_ULL(TDX_HKID_START_BIT - 1, 12)
#define SEPT_HKID HPA_HKID_MASK
#define SEPT_ACCEPT_COUNTER GENMASK_ULL(20, 12)
#define SEPT_ACCEPT_COUNTER_SHIFT 12
#define SEPT_HOST_PRIORITY BIT_ULL(52)
#define SEPT_ALIASES GENMASK_ULL(60, 58)
#define SEPT_SUPPRESS_VE BIT_ULL(63)

enum sept_state_id {
#define SEPT_STATE(sym, ...) SEPT_##sym,
#include "seam/sept_states.def"
#undef SEPT_STATE
	SEPT_STATE_COUNT,
};

/* Predicates of a state. */
#define SEPT_IS_LEAF 0x01u
#define SEPT_IS_GUEST_ACCESSIBLE 0x02u
#define SEPT_IS_BLOCKED 0x04u
#define SEPT_IS_PENDING 0x08u
#define SEPT_NEEDS_TRACKING 0x10u
#define SEPT_IS_FREE 0x20u
#define SEPT_IS_ACCEPTABLE 0x40u

struct sept_state {
	const char *name;
	enum sept_state_id id;
	u32 is; /* SEPT_IS_* and SEPT_NEEDS_TRACKING */
	u8 encoding;
	u8 public_number;
	u64 raw;	  /* the entry without HPA, lock, host priority and A */
	u64 host_leaves;  /* a bit per leaf number that may act in this state */
	u64 guest_leaves; /* the same for TDCALL leaves */
	enum sept_state_id blocked, unblocked, accepted; /* result states; itself when none */
};

extern const struct sept_state sept_states[SEPT_STATE_COUNT];

/** sept_encoding - the seven state bits of entry @value: D, 53, 54, 55, 56, 6, 7 */
static inline unsigned int sept_encoding(u64 value)
{
	return (unsigned int)((value >> 9 & 1) | (value >> 52 & 0x1E) | (value >> 1 & 0x60));
}

/** sept_state_of - the state of entry @value */
const struct sept_state *sept_state_of(u64 value);

static inline bool sept_is(const struct sept_state *s, u32 predicate)
{
	return s->is & predicate;
}

static inline hpa_t sept_hpa(u64 value)
{
	return value & SEPT_HPA;
}

static inline u64 sept_level_size(u32 level)
{
	return 1ULL << (PAGE_SHIFT + 9 * level);
}

static inline u32 sept_index(gpa_t gpa, u32 level)
{
	return (u32)(gpa >> (PAGE_SHIFT + 9 * level)) & (PTRS_PER_TABLE - 1);
}

/** sept_make - an entry in state @id that refers to @hpa under @hkid; FREE and REMOVED have none */
u64 sept_make(enum sept_state_id id, hpa_t hpa, u16 hkid);
/**
 * sept_with_state - leaf or non-leaf @value at @level in another state of its kind
 *
 * HPA, key id, A and aliases stay; a leaf's accept counter goes.
 */
u64 sept_with_state(u64 value, u32 level, enum sept_state_id id);
/** sept_fill_free - make the table at @hpa, just given, 512 FREE entries under the TD's key id */
void sept_fill_free(struct leaf_ctx *ctx, hpa_t hpa);

/** sept_root - the root table of the TD in @ctx */
static inline u64 *sept_root(const struct leaf_ctx *ctx)
{
	return host_ptr(ctx->host, ctx->tdr->tdcx_pa[TDCS_PAGE_SEPT_ROOT]);
}

/**
 * sept_walk - from the root towards the entry of ctx->gpa at @level
 *
 * Stops at a leaf and where RWX are 0. Sets entry, value, state and found_level of @ctx.
 * Return: true when it got to @level.
 */
bool sept_walk(struct leaf_ctx *ctx, u32 level);

/** sept_walk_to_present - to the leaf of whatever size that maps ctx->gpa; false: none with RWX */
bool sept_walk_to_present(struct leaf_ctx *ctx);
/** sept_leaf_address - where the leaf that a walk ended at puts ctx->gpa */
hpa_t sept_leaf_address(const struct leaf_ctx *ctx);

/**
 * sept_lock_host / sept_lock_guest - try the entry's lock, re-read value and state
 *
 * A host that fails sets host priority; a guest fails while it is set.
 */
bool sept_lock_host(struct leaf_ctx *ctx);
bool sept_lock_guest(struct leaf_ctx *ctx);
/** sept_walk_in_step - likewise, as one step in the order of all calls */
static inline bool sept_walk_in_step(struct leaf_ctx *ctx, u32 level)
{
	bool reached;

	if (likely(!ctx->call))
		return sept_walk(ctx, level);
	trace_step_begin(ctx->call);
	reached = sept_walk(ctx, level);
	trace_step_end(ctx->call);
	return reached;
}

/**
 * sept_walk_and_lock_guest - sept_walk() to ctx->level, and there the guest's attempt at the entry
 *
 * Return: whether the walk got there; then @locked is the outcome of the attempt.
 */
bool sept_walk_and_lock_guest(struct leaf_ctx *ctx, bool *locked);
/** sept_unlock - before the leaf's end; leaf_end() does it otherwise */
void sept_unlock(struct leaf_ctx *ctx);
/** sept_set - publish @value in ctx's locked entry; keeps the lock and host priority */
void sept_set(struct leaf_ctx *ctx, u64 value);
/** sept_set_blocked - sept_set(), and then the TD's epoch into @bepoch of the page or table */
void sept_set_blocked(struct leaf_ctx *ctx, u64 value, u64 *bepoch);

/** sept_details - what SEPT.RD and error details show of ctx's entry, in RCX and RDX */
void sept_details(struct leaf_ctx *ctx);

#endif
