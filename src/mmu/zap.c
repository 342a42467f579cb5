/* SPDX-License-Identifier: MIT */
/*
 * mmu/zap: taking mappings away.
 *
 * Who owes a flush: the mirror owes none, since its removal hook has every vCPU out before it takes
 * the page. The direct root owes one after each leaf, paid before anybody else gets mmu.lock, so
 * that nobody who takes the lock finds an entry gone that a vCPU still uses.
 */
#include "mmu/internal.h"

static void flush_direct(struct mmu *mmu)
{
	if (mmu->cfg.external && mmu->cfg.external->flush_external)
		mmu->cfg.external->flush_external(mmu->cfg.external_ctx);
}

static u64 zap_leafs_of(struct mmu *mmu, struct mmu_page *root, gfn_t start, gfn_t end)
{
	struct mmu_iter it;
	bool flush = false;
	u64 zaps = 0;

	mmu_for_each_spte (it, mmu, root, PG_LEVEL_4K, start, end) {
		if (unlikely(mmu_iter_wants_yield(mmu, &it))) {
			if (flush && !bug_planted(&mmu->host->bugs, BUG_NO_FLUSH_BEFORE_YIELD))
				flush_direct(mmu);
			flush = false;
			mmu_iter_yield(mmu, &it);
			continue;
		}
		if (!spte_is_leaf(it.old_spte, it.level) || mmu_set_spte(mmu, &it, SPTE_NONE))
			continue;
		zaps++;
		flush = !root->mirror && !bug_planted(&mmu->host->bugs, BUG_NO_SHARED_FLUSH);
	}
	if (flush)
		flush_direct(mmu);
	return zaps;
}

void mmu_zap_leafs(struct mmu *mmu, gfn_t start, gfn_t end, bool private)
{
	struct mmu_page *root = NULL;
	u64 zaps = 0;

	sync_rwlock_assert_write(&mmu->lock);
	end = min_u64(end, mmu->gfn_limit);
	if (start >= end)
		return;
	while ((root = mmu_root_next(mmu, root, private)))
		zaps += zap_leafs_of(mmu, root, mmu_root_gfn(mmu, start, private),
				     mmu_root_gfn(mmu, end - 1, private) + 1);
	sync_add_relaxed(&mmu->stats.zaps, zaps);
}

void mmu_zap_root(struct mmu *mmu, struct mmu_page *root)
{
	struct mmu_iter it;

	mmu_for_each_spte (it, mmu, root, root->level, 0, pages_per_level(root->level + 1))
		if (spte_is_present(it.old_spte))
			mmu_set_spte(mmu, &it, SPTE_NONE);
}
