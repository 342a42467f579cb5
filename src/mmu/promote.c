/* SPDX-License-Identifier: MIT */
/*
 * mmu/promote: one leaf in place of 512 that map the same frames. What may not be lost meanwhile, and
 * who must not look, stands in set.c.
 */
#include <errno.h>

#include "mmu/internal.h"

/* Makes @it stand at the table that an entry at @level points to for @gfn. */
static bool find_table(struct mmu_iter *it, struct mmu *mmu, gfn_t gfn, enum pg_level level)
{
	mmu_for_each_spte (*it, mmu, mmu->mirror_root, level, gfn, gfn + 1)
		if (it->level == level)
			return spte_is_table(it->old_spte, level);
	return false;
}

static bool may_promote(struct mmu *mmu, gfn_t gfn, enum pg_level level)
{
	gfn_t start = fn_align_down(gfn, level);

	return mmu->mirror_root && gfn < mmu->gfn_limit &&
	       !mmu_invalidate_overlaps(mmu, start, start + pages_per_level(level));
}

static bool level_is_sound(enum pg_level level)
{
	return level > PG_LEVEL_4K && level <= PG_LEVEL_MAX_LEAF;
}

int mmu_promote(struct mmu *mmu, gfn_t gfn, enum pg_level level)
{
	const struct mmu_page *sp;
	struct mmu_iter it;
	u64 first;

	sync_rwlock_assert_write(&mmu->lock);
	if (!level_is_sound(level))
		return -EINVAL;
	if (unlikely(sync_load(&mmu->dead)))
		return -EIO;
	if (!may_promote(mmu, gfn, level) || !find_table(&it, mmu, gfn, level))
		return -EAGAIN;
	sp = mmu_spte_child(mmu, it.old_spte);
	first = sync_load(&sp->spt[0]);
	if (!spte_is_leaf(first, level - 1))
		return -EAGAIN;
	return mmu_set_spte(mmu, &it, spte_make_leaf(spte_pfn(first), level));
}

/*
 * From both ends inwards: a block that is being filled upwards or downwards shows its gap at the first
 * step, one that is filled at random after a few.
 */
static bool is_full(const u64 *table, enum pg_level level)
{
	u64 first = sync_load(&table[0]), step = spte_part_step(level);

	if (!spte_is_leaf(first, level - 1) || !IS_ALIGNED(spte_pfn(first), pages_per_level(level)))
		return false;
	for (unsigned int i = 0; i < PTRS_PER_TABLE / 2; i++) {
		unsigned int j = PTRS_PER_TABLE - 1 - i;

		if (sync_load_quiet(&table[j]) != first + j * step ||
		    sync_load_quiet(&table[i]) != first + i * step)
			return false;
	}
	return true;
}

bool mmu_next_table(struct mmu *mmu, gfn_t *gfn, enum pg_level level)
{
	struct mmu_iter it;
	bool found = false;

	if (!level_is_sound(level) || !mmu->mirror_root || *gfn >= mmu->gfn_limit)
		return false;
	/* As in mmu_is_promotable(). */
	sync_rcu_read_lock();
	mmu_for_each_spte (it, mmu, mmu->mirror_root, level, *gfn, mmu->gfn_limit) {
		if (it.level == level && spte_is_table(it.old_spte, level)) {
			*gfn = max_u64(it.gfn, *gfn);
			found = true;
			break;
		}
	}
	sync_rcu_read_unlock();
	return found;
}

bool mmu_is_promotable(struct mmu *mmu, gfn_t gfn, enum pg_level level)
{
	struct mmu_iter it;
	bool full;

	if (!level_is_sound(level) || !may_promote(mmu, gfn, level))
		return false;
	/* Keeps the tables; pairs with the RCU free of those that leave the tree meanwhile. */
	sync_rcu_read_lock();
	full = find_table(&it, mmu, gfn, level) &&
	       is_full((const void *)(it.memory + (it.old_spte & SPTE_PFN_MASK)), level);
	sync_rcu_read_unlock();
	return full;
}
