/* SPDX-License-Identifier: MIT */
/*
 * mmu/map: the fault path. Allocates nothing: tables come from the vCPU's cache.
 */
#include <errno.h>

#include "mmu/internal.h"

/* A leaf covers whole blocks of gfns and of frames: at most the level at which both agree. */
static enum pg_level goal_level(const struct mmu_fault *fault)
{
	u64 differ = fault->gfn ^ fault->pfn;
	enum pg_level level = fault->max_level;

	if (level > PG_LEVEL_MAX_LEAF)
		level = PG_LEVEL_MAX_LEAF;
	while (level > PG_LEVEL_4K && !IS_ALIGNED(differ, pages_per_level(level)))
		level--;
	return level < PG_LEVEL_4K ? PG_LEVEL_4K : level;
}

/* The entry is where the leaf belongs, or is a leaf already. */
static int map_leaf(struct mmu *mmu, struct mmu_iter *it, const struct mmu_fault *fault)
{
	pfn_t pfn = fault->pfn - (it->next_gfn - it->gfn);
	int err;

	if (spte_is_present(it->old_spte)) {
		if (spte_pfn(it->old_spte) == pfn)
			return MMU_RET_SPURIOUS;
		return mmu_bug(mmu, "a fault would change the frame of a present leaf");
	}
	err = mmu_set_spte_atomic(mmu, it, spte_make_leaf(pfn, it->level));
	if (err == -EBUSY)
		return MMU_RET_RETRY;
	return err ? err : MMU_RET_FIXED;
}

/* The entry is empty, and the leaf belongs further down. */
static int link_table(struct mmu *mmu, struct mmu_vcpu_cache *cache, struct mmu_iter *it)
{
	struct mmu_page *sp = mmu_cache_take(cache, it->mirror);
	int err;

	if (!sp)
		return -EBUSY;
	mmu_page_use(sp, mmu_gfn(mmu, it->gfn), it->level - 1);
	err = mmu_set_spte_atomic(mmu, it, spte_make_table(sp->table));
	if (err && !bug_planted(&mmu->host->bugs, BUG_LOSER_DROPS_PAGE))
		mmu_cache_return(cache, sp);
	return err;
}

static int map_locked(struct mmu *mmu, struct mmu_vcpu_cache *cache, const struct mmu_page *root,
		      const struct mmu_fault *fault, enum pg_level goal)
{
	gfn_t gfn = mmu_root_gfn(mmu, fault->gfn, root->mirror);
	struct mmu_iter it;
	int err;

	mmu_for_each_spte (it, mmu, root, PG_LEVEL_4K, gfn, gfn + 1) {
		if (spte_is_frozen(it.old_spte))
			return MMU_RET_RETRY;
		if (spte_is_table(it.old_spte, it.level)) {
			/* No merging: what is below stays, so the leaf must go below as well. */
			if (it.level == goal)
				goal--;
			continue;
		}
		if (it.level == goal || spte_is_present(it.old_spte))
			return map_leaf(mmu, &it, fault);
		err = link_table(mmu, cache, &it);
		if (err)
			return err == -EBUSY ? (int)MMU_RET_RETRY : err;
	}
	/* Only a table that went while it was walked ends here, and none does under the read lock. */
	return MMU_RET_RETRY;
}

static void count_result(struct mmu *mmu, int ret)
{
	switch (ret) {
	case MMU_RET_FIXED:
		sync_add_relaxed(&mmu->stats.faults_fixed, 1);
		break;
	case MMU_RET_RETRY:
		sync_add_relaxed(&mmu->stats.faults_retry, 1);
		break;
	case MMU_RET_SPURIOUS:
		sync_add_relaxed(&mmu->stats.faults_spurious, 1);
		break;
	}
}

int mmu_map(struct mmu *mmu, struct mmu_vcpu_cache *cache, const struct mmu_fault *fault)
{
	const struct mmu_page *root = fault->private ? mmu->mirror_root : mmu->direct_root;
	enum pg_level goal = goal_level(fault);
	int ret;

	if (!root || fault->gfn >= mmu->gfn_limit)
		return -EINVAL;
	sync_read_lock(&mmu->lock);
	if (unlikely(sync_load(&mmu->dead)))
		ret = -EIO;
	else if (root->invalid || mmu_invalidate_retry(mmu, fault->invalidate_seq, fault->gfn))
		ret = MMU_RET_RETRY;
	else
		ret = map_locked(mmu, cache, root, fault, goal);
	sync_read_unlock(&mmu->lock);
	count_result(mmu, ret);
	return ret;
}
