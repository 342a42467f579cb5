/* SPDX-License-Identifier: MIT */
/* Secure EPT: the state table in memory, the walk, the entry lock, and what the host may see. */
#include "seam/sept.h"

#define IS_LEAF SEPT_IS_LEAF
#define IS_ACCESSIBLE SEPT_IS_GUEST_ACCESSIBLE
#define IS_BLOCKED SEPT_IS_BLOCKED
#define IS_PENDING SEPT_IS_PENDING
#define IS_ACCEPTABLE SEPT_IS_ACCEPTABLE
#define IS_FREE SEPT_IS_FREE
#define TRACKING SEPT_NEEDS_TRACKING
#define H(leaf) BIT_ULL(TDH_MEM_##leaf)
#define EXTEND BIT_ULL(TDH_MR_EXTEND)
#define G(leaf) BIT_ULL(TDG_MEM_PAGE_##leaf)

const struct sept_state sept_states[SEPT_STATE_COUNT] = {
#define SEPT_STATE(sym, enc, pub, raw_value, predicates, host, guest, on_block, on_unblock, \
		   on_accept)                                                               \
	[SEPT_##sym] = {                                                                    \
		.name = #sym,                                                               \
		.id = SEPT_##sym,                                                           \
		.is = (predicates),                                                         \
		.encoding = (enc),                                                          \
		.public_number = (pub),                                                     \
		.raw = (raw_value),                                                         \
		.host_leaves = (host),                                                      \
		.guest_leaves = (guest),                                                    \
		.blocked = SEPT_##on_block,                                                 \
		.unblocked = SEPT_##on_unblock,                                             \
		.accepted = SEPT_##on_accept,                                               \
	},
#include "seam/sept_states.def"
#undef SEPT_STATE
};

/*
 * FREE for what is no state's encoding: only a table page that somebody wrote to under another key
 * id holds that.
 */
_Static_assert(SEPT_FREE == 0, "entries of the table that aren't named mean FREE");
static const u8 state_by_encoding[128] = {
#define SEPT_STATE(sym, enc, ...) [enc] = SEPT_##sym,
#include "seam/sept_states.def"
#undef SEPT_STATE
};

/* What RCX shows of an entry. */
#define DETAILS_NON_LEAF (SEPT_RWX | SEPT_XU | SEPT_LEAF)
#define DETAILS_LEAF (DETAILS_NON_LEAF | SEPT_MT | SEPT_TDMEM | SEPT_HPA | SEPT_SUPPRESS_VE)

const struct sept_state *sept_state_of(u64 value)
{
	return &sept_states[state_by_encoding[sept_encoding(value)]];
}

u64 sept_make(enum sept_state_id id, hpa_t hpa, u16 hkid)
{
	return sept_states[id].raw | hpa | (u64)hkid << TDX_HKID_START_BIT;
}

u64 sept_with_state(u64 value, u32 level, enum sept_state_id id)
{
	const struct sept_state *state = &sept_states[id];
	u64 kept = value & (SEPT_HPA | SEPT_HKID | SEPT_ACCESSED | SEPT_ALIASES);

	if (sept_is(state, SEPT_IS_LEAF))
		kept &= ~(SEPT_HPA & (sept_level_size(level) - 1));
	return state->raw | kept;
}

void sept_fill_free(struct leaf_ctx *ctx, hpa_t hpa)
{
	u64 *table = host_ptr(ctx->host, hpa);

	host_retag(ctx->host, addr_to_fn(hpa), PG_LEVEL_4K, ctx->tdr->hkid);
	host_frame_dirty(ctx->host, addr_to_fn(hpa));
	for (unsigned int i = 0; i < PTRS_PER_TABLE; i++)
		sync_store_quiet(&table[i], sept_states[SEPT_FREE].raw);
}

static void note_value(struct leaf_ctx *ctx, u64 value)
{
	ctx->value = value & ~(SEPT_LOCK | SEPT_HOST_PRIORITY);
	ctx->state = sept_state_of(value);
}

static bool leads_on(u64 value)
{
	return !(value & SEPT_LEAF) && (value & SEPT_RWX);
}

/* Where the walk found nothing that it may believe. */
static __attribute__((cold)) bool stop_before_root(struct leaf_ctx *ctx, u32 at)
{
	ctx->entry = NULL;
	ctx->found_level = at;
	note_value(ctx, sept_states[SEPT_FREE].raw);
	return false;
}

/*
 * A host leaf holds the tree lock, so no table goes away under it. ACCEPT holds nothing: a table
 * is only taken out once it is blocked and tracked, and a vCPU that entered after the BLOCK stops
 * at the blocked entry.
 */
bool sept_walk(struct leaf_ctx *ctx, u32 level)
{
	/* In variables, since each acquire would make the compiler load them anew. */
	const struct host *host = ctx->host;
	const gpa_t gpa = ctx->gpa;
	const u16 hkid = ctx->tdr->hkid;
	hpa_t table = ctx->tdr->tdcx_pa[TDCS_PAGE_SEPT_ROOT];
	u32 at = ctx->tdcs->sept_levels - 1;
	u64 *entry;
	u64 value;

	if (unlikely(!page_is_intact(host, table, hkid)))
		return stop_before_root(ctx, at);
	for (;;) {
		entry = (u64 *)host_ptr(host, table) + sept_index(gpa, at);
		value = sync_load_acquire(entry); /* pairs with sept_set() */
		if (at <= level || !leads_on(value))
			break;
		table = sept_hpa(value);
		/* Not a table as the module left it: the walk ends above. */
		if (unlikely(!page_is_intact(host, table, hkid)))
			break;
		at--;
	}
	ctx->entry = entry;
	ctx->found_level = at;
	note_value(ctx, value);
	return at == level;
}

bool sept_walk_to_present(struct leaf_ctx *ctx)
{
	sept_walk(ctx, 0);
	return (ctx->value & SEPT_RWX) && sept_is(ctx->state, SEPT_IS_LEAF);
}

hpa_t sept_leaf_address(const struct leaf_ctx *ctx)
{
	u64 offset = sept_level_size(ctx->found_level) - 1;

	return (sept_hpa(ctx->value) & ~offset) | (ctx->gpa & offset);
}

bool sept_lock_host(struct leaf_ctx *ctx)
{
	u64 old = sync_load(ctx->entry);

	for (;;) {
		if (unlikely(old & SEPT_LOCK)) {
			if (sync_cmpxchg(ctx->entry, &old, old | SEPT_HOST_PRIORITY))
				return false;
		} else if (likely(sync_cmpxchg(ctx->entry, &old,
					       (old | SEPT_LOCK) & ~SEPT_HOST_PRIORITY))) {
			break;
		}
	}
	ctx->entry_locked = true;
	note_value(ctx, old);
	return true;
}

bool sept_lock_guest(struct leaf_ctx *ctx)
{
	u64 old = sync_load(ctx->entry);

	do {
		if (unlikely(old & (SEPT_LOCK | SEPT_HOST_PRIORITY)) &&
		    !bug_planted(&ctx->host->bugs, BUG_ACCEPT_WITHOUT_LOCK))
			return false;
	} while (unlikely(!sync_cmpxchg(ctx->entry, &old, old | SEPT_LOCK)));
	ctx->entry_locked = true;
	note_value(ctx, old);
	return true;
}

bool sept_walk_and_lock_guest(struct leaf_ctx *ctx, bool *locked)
{
	bool reached;

	leaf_step_begin(ctx);
	reached = sept_walk(ctx, ctx->level);
	*locked = reached && sept_lock_guest(ctx);
	leaf_step_end(ctx);
	return reached;
}

void sept_unlock(struct leaf_ctx *ctx)
{
	sync_fetch_and(ctx->entry, ~SEPT_LOCK);
	ctx->entry_locked = false;
}

static void set_entry(const struct leaf_ctx *ctx, u64 value)
{
	u64 old = sync_load(ctx->entry);

	/* Another host may set host priority at any time; nobody else writes a locked entry. */
	while (unlikely(
		!sync_cmpxchg(ctx->entry, &old, value | SEPT_LOCK | (old & SEPT_HOST_PRIORITY))))
		;
}

/*
 * After the entry is set, which is a full barrier: were the epoch taken first, a TRACK in between
 * would make the page look tracked while vCPUs of the new epoch may have read the entry before it was
 * blocked.
 */
static void set_bepoch(const struct leaf_ctx *ctx, u64 *bepoch)
{
	sync_store(bepoch, sync_load_acquire(&ctx->tdcs->td_epoch));
}

/* The entry that a walk to the locked one ends at now: itself, unless one above it was blocked. */
static const u64 *walk_again(const struct leaf_ctx *ctx)
{
	struct leaf_ctx again = {
		.host = ctx->host, .tdr = ctx->tdr, .tdcs = ctx->tdcs, .gpa = ctx->gpa};

	sept_walk(&again, ctx->found_level);
	return again.entry;
}

/* @value ends all walks through the entry to the table below. */
static bool cuts_table_off(const struct leaf_ctx *ctx, u64 value)
{
	return ctx->found_level && (ctx->value & SEPT_RWX) && !(ctx->value & SEPT_LEAF) &&
	       !(value & SEPT_RWX);
}

/*
 * A guest has locked its entry but nothing above it. When a table above was blocked since then, the
 * guest's call has come before that: nobody has seen yet what it does.
 */
static void end_step_of_set(struct leaf_ctx *ctx, u64 value)
{
	const u64 *end = walk_again(ctx);

	if (end != ctx->entry)
		trace_step_end_before_cut(ctx->call, end);
	else if (cuts_table_off(ctx, value))
		trace_step_end_cut(ctx->call, ctx->entry);
	else
		trace_step_end(ctx->call);
	ctx->has_place = true;
}

static __attribute__((cold)) void set_in_step(struct leaf_ctx *ctx, u64 value, u64 *bepoch)
{
	trace_step_begin(ctx->call);
	set_entry(ctx, value);
	if (bepoch)
		set_bepoch(ctx, bepoch);
	end_step_of_set(ctx, value);
}

void sept_set(struct leaf_ctx *ctx, u64 value)
{
	if (likely(!ctx->call))
		set_entry(ctx, value);
	else
		set_in_step(ctx, value, NULL);
	note_value(ctx, value);
}

void sept_set_blocked(struct leaf_ctx *ctx, u64 value, u64 *bepoch)
{
	if (likely(!ctx->call)) {
		set_entry(ctx, value);
		set_bepoch(ctx, bepoch);
	} else {
		set_in_step(ctx, value, bepoch);
	}
	note_value(ctx, value);
}

void sept_details(struct leaf_ctx *ctx)
{
	if (sept_is(ctx->state, SEPT_IS_FREE))
		ctx->r->rcx = SEPT_SUPPRESS_VE;
	else if (sept_is(ctx->state, SEPT_IS_LEAF))
		ctx->r->rcx = ctx->value & DETAILS_LEAF;
	else
		ctx->r->rcx = ctx->value & DETAILS_NON_LEAF;
	ctx->r->rdx = ctx->found_level | (u64)ctx->state->public_number << 8;
}
