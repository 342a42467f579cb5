/* SPDX-License-Identifier: MIT */
/* mmu/iter: start and yield; the steps are inline. */
#include "mmu/iter.h"

#include "mmu/internal.h"

void mmu_iter_start(struct mmu_iter *it, const struct mmu *mmu, const struct mmu_page *root,
		    enum pg_level min_level, gfn_t start, gfn_t end)
{
	it->end = min_u64(end, pages_per_level(root->level + 1));
	it->valid = start < it->end;
	it->next_gfn = start;
	it->memory = mmu->host->memory;
	it->min_level = min_level;
	it->root_level = root->level;
	it->mirror = root->mirror;
	it->table[root->level] = root->spt;
	if (it->valid)
		mmu_iter_restart(it);
}

bool mmu_iter_wants_yield(struct mmu *mmu, const struct mmu_iter *it)
{
	return it->next_gfn != it->yielded_gfn && sync_rwlock_contended(&mmu->lock);
}

void mmu_iter_yield(struct mmu *mmu, struct mmu_iter *it)
{
	sync_write_unlock(&mmu->lock);
	sync_write_lock(&mmu->lock);
	it->yielded = !bug_planted(&mmu->host->bugs, BUG_ZAP_SKIPS_YIELDED);
}
