/* SPDX-License-Identifier: MIT */
/*
 * mmu/invalidate: lets a fault that looked up its pfn without a lock find out, under mmu.lock, that
 * an invalidation got in between.
 *
 *   fault:         seq ... look up pfn ........................ lock, retry? , map
 *   invalidation:           begin, range, unlock ... zap ... end
 *
 * While it runs, faults inside its range retry; once it has ended, those that began before it do,
 * whatever their gfn, since the range is forgotten by then.
 */
#include "mmu/internal.h"

#define NO_GFN (~0ULL)

u64 mmu_invalidate_seq(const struct mmu *mmu)
{
	/* Pairs with the release in mmu_invalidate_end(): the look-up comes after, and sees what the
	 * invalidation left. */
	return sync_load_acquire(&mmu->invalidate_seq);
}

void mmu_invalidate_begin(struct mmu *mmu)
{
	u32 in_progress = sync_load(&mmu->invalidate_in_progress);

	sync_rwlock_assert_write(&mmu->lock);
	if (!in_progress || bug_planted(&mmu->host->bugs, BUG_NESTED_BEGIN_RESETS_RANGE)) {
		sync_store(&mmu->invalidate_start, NO_GFN);
		sync_store(&mmu->invalidate_end, 0);
	}
	sync_store(&mmu->invalidate_in_progress, in_progress + 1);
}

void mmu_invalidate_range_add(struct mmu *mmu, gfn_t start, gfn_t end)
{
	sync_rwlock_assert_write(&mmu->lock);
	sync_store(&mmu->invalidate_start, min_u64(start, sync_load(&mmu->invalidate_start)));
	sync_store(&mmu->invalidate_end, max_u64(end, sync_load(&mmu->invalidate_end)));
}

void mmu_invalidate_end(struct mmu *mmu)
{
	u32 others = sync_load(&mmu->invalidate_in_progress) - 1;

	sync_rwlock_assert_write(&mmu->lock);
	if (bug_planted(&mmu->host->bugs, BUG_END_OF_NESTED_TOO_EARLY))
		others = 0;
	/* Pairs with the acquire in mmu_invalidate_seq(). */
	if (!bug_planted(&mmu->host->bugs, BUG_NO_SEQUENCE_BUMP))
		sync_store_release(&mmu->invalidate_seq, sync_load(&mmu->invalidate_seq) + 1);
	/* Pairs with the acquire in mmu_invalidate_retry(): who no longer sees us in progress sees the
	 * new sequence. */
	sync_store_release(&mmu->invalidate_in_progress, others);
}

bool mmu_invalidate_retry(const struct mmu *mmu, u64 seq, gfn_t gfn)
{
	/* Pairs with the last release in mmu_invalidate_end(). */
	if (!bug_planted(&mmu->host->bugs, BUG_INVALIDATION_IGNORED) &&
	    sync_load_acquire(&mmu->invalidate_in_progress) &&
	    gfn >= sync_load(&mmu->invalidate_start) && gfn < sync_load(&mmu->invalidate_end))
		return true;
	return sync_load(&mmu->invalidate_seq) != seq;
}

bool mmu_invalidate_overlaps(const struct mmu *mmu, gfn_t start, gfn_t end)
{
	return !bug_planted(&mmu->host->bugs, BUG_PROMOTE_IGNORES_INVALIDATION) &&
	       sync_load(&mmu->invalidate_in_progress) && start < sync_load(&mmu->invalidate_end) &&
	       end > sync_load(&mmu->invalidate_start);
}
