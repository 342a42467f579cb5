/* SPDX-License-Identifier: MIT */
/*
 * mmu/slot: what a slot says about the size of mappings.
 *
 *   word of a block:  31      30               29 ............ 0
 *                     MIXED   GUEST_INHIBIT    reasons counted
 *
 * Races: GUEST_INHIBIT is read without a lock. It is set after what it promises is done, under mmu.lock
 * held for writing, so a reader that sees it may rely on it, and one that doesn't takes the lock and
 * looks again. Only a promotion takes it back, with a large leaf there: who has just relied on it
 * faults once more, and finds it clear. All changes of a word are read-modify-write atomics, since its
 * three parts have different owners.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/sparse.h"
#include "mmu/internal.h"

#define DISALLOW_MIXED (1U << 31)
#define DISALLOW_GUEST_INHIBIT (1U << 30)
#define DISALLOW_COUNT (DISALLOW_GUEST_INHIBIT - 1)

static u64 block_of(u64 fn, enum pg_level level)
{
	return fn >> (level_shift(level) - PAGE_SHIFT);
}

static u64 array_bytes(const struct mmu_slot *slot, enum pg_level level)
{
	u64 blocks = block_of(slot->base_gfn + slot->npages - 1, level) -
		     block_of(slot->base_gfn, level) + 1;

	return blocks * sizeof(u32);
}

static u32 *word_of(const struct mmu_slot *slot, gfn_t gfn, enum pg_level level)
{
	assert(gfn - slot->base_gfn < slot->npages);
	assert(level >= PG_LEVEL_2M && level <= PG_LEVEL_MAX_LEAF);
	return &slot->disallow_lpage[level][block_of(gfn, level) - block_of(slot->base_gfn, level)];
}

/* A block that sticks out of the slot can't be one leaf. */
static void disallow_ends(struct mmu_slot *slot, enum pg_level level)
{
	gfn_t end = slot->base_gfn + slot->npages;

	if (!IS_ALIGNED(slot->base_gfn, pages_per_level(level)))
		mmu_slot_update_disallow(slot, slot->base_gfn, level, 1);
	if (!IS_ALIGNED(end, pages_per_level(level)))
		mmu_slot_update_disallow(slot, end - 1, level, 1);
}

int mmu_slot_init(struct mmu_slot *slot, gfn_t base_gfn, u64 npages, u64 index)
{
	memset(slot, 0, sizeof(*slot));
	if (!npages || base_gfn + npages < base_gfn)
		return -EINVAL;
	slot->base_gfn = base_gfn;
	slot->npages = npages;
	slot->index = index;
	slot->max_level = PG_LEVEL_MAX_LEAF;
	while (!IS_ALIGNED(base_gfn ^ index, pages_per_level(slot->max_level)))
		slot->max_level--;
	for (enum pg_level level = PG_LEVEL_2M; level <= PG_LEVEL_MAX_LEAF; level++) {
		slot->disallow_lpage[level] = sparse_alloc(array_bytes(slot, level));
		if (!slot->disallow_lpage[level]) {
			mmu_slot_destroy(slot);
			return -ENOMEM;
		}
		disallow_ends(slot, level);
	}
	return 0;
}

void mmu_slot_destroy(struct mmu_slot *slot)
{
	for (enum pg_level level = PG_LEVEL_2M; level <= PG_LEVEL_MAX_LEAF; level++) {
		sparse_free(slot->disallow_lpage[level], array_bytes(slot, level));
		slot->disallow_lpage[level] = NULL;
	}
}

void mmu_slot_update_disallow(struct mmu_slot *slot, gfn_t gfn, enum pg_level level, int delta)
{
	u32 *word = word_of(slot, gfn, level);
	u32 old = sync_load(word);
	u32 reasons;

	do {
		reasons = (old & DISALLOW_COUNT) + (u32)delta;
		assert(reasons <=
		       DISALLOW_COUNT); /* or the caller took away a reason it never gave */
	} while (!sync_cmpxchg(word, &old, (old & ~DISALLOW_COUNT) | reasons));
}

void mmu_slot_set_mixed(struct mmu_slot *slot, gfn_t gfn, enum pg_level level, bool mixed)
{
	u32 *word = word_of(slot, gfn, level);

	if (mixed)
		sync_fetch_or(word, DISALLOW_MIXED);
	else
		sync_fetch_and(word, ~DISALLOW_MIXED);
}

void mmu_slot_clear_mixed(struct mmu_slot *slot, gfn_t start, gfn_t end, enum pg_level level)
{
	/* Most have never been set: then their memory stays untouched. */
	for (gfn_t gfn = start; gfn < end; gfn += pages_per_level(level))
		if (sync_load(word_of(slot, gfn, level)) & DISALLOW_MIXED)
			mmu_slot_set_mixed(slot, gfn, level, false);
}

bool mmu_slot_test_guest_inhibit(const struct mmu_slot *slot, gfn_t gfn, enum pg_level level)
{
	/* Pairs with the read-modify-write in mmu_slot_set_guest_inhibit(). */
	return sync_load_acquire(word_of(slot, gfn, level)) & DISALLOW_GUEST_INHIBIT;
}

void mmu_slot_set_guest_inhibit(struct mmu_slot *slot, gfn_t gfn, enum pg_level level)
{
	/* Pairs with the acquire in mmu_slot_test_guest_inhibit(). */
	sync_fetch_or(word_of(slot, gfn, level), DISALLOW_GUEST_INHIBIT);
}

void mmu_slot_clear_guest_inhibit(struct mmu_slot *slot, gfn_t gfn, enum pg_level level)
{
	sync_fetch_and(word_of(slot, gfn, level), ~DISALLOW_GUEST_INHIBIT);
}

bool mmu_slot_may_promote(const struct mmu_slot *slot, gfn_t gfn, enum pg_level level)
{
	return level <= slot->max_level &&
	       !(sync_load(word_of(slot, gfn, level)) & ~DISALLOW_GUEST_INHIBIT);
}

enum pg_level mmu_slot_max_level(const struct mmu_slot *slot, gfn_t gfn, enum pg_level max)
{
	enum pg_level level = max < slot->max_level ? max : slot->max_level;

	/* A huge leaf needs its own block free of reasons; what its parts say doesn't matter. */
	while (level > PG_LEVEL_4K && sync_load(word_of(slot, gfn, level)))
		level--;
	return level < PG_LEVEL_4K ? PG_LEVEL_4K : level;
}
