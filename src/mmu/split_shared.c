/* SPDX-License-Identifier: MIT */
/*
 * mmu/split_shared: a split in the fault path, under the read lock, where the external side can do one
 * while vCPUs run. Several vCPUs may be at it at once, and others fault and map beside them.
 *
 *	leaf --cmpxchg--> FROZEN --hook--> table: mine
 *	 ^                  | busy
 *	 +------------------+ retry
 *
 * Who meets FROZEN, or loses the compare-exchange, comes again: another thread splits the leaf, or
 * has put it back because the external side was busy. Zaps and promotions need the write lock, so
 * what is a table here stays one until the lock is let go.
 *
 * GUEST_INHIBIT is set in that same section. A fault that looked for it before, and maps large after,
 * where nothing was mapped, makes the guest's ACCEPT come back here: so nobody may take the bit, seen
 * without a lock, for a reason to stay away.
 */
#include <errno.h>

#include "mmu/split.h"

/* Return: FIXED, SPURIOUS, RETRY, or -errno */
static int split_path(struct mmu_split *s, gfn_t gfn, enum pg_level target)
{
	int ret = MMU_RET_SPURIOUS, err;
	struct mmu_iter it;

	mmu_for_each_spte (it, s->mmu, s->root, target + 1, gfn, gfn + 1) {
		s->visited++;
		if (spte_is_frozen(it.old_spte)) {
			s->retries++;
			return MMU_RET_RETRY;
		}
		if (!spte_is_leaf(it.old_spte, it.level))
			continue;
		err = mmu_split_leaf(s, &it);
		if (err)
			return err == -EBUSY ? (int)MMU_RET_RETRY : err;
		if (!it.yielded)
			ret = MMU_RET_FIXED;
	}
	return ret;
}

int mmu_split_shared(struct mmu *mmu, struct mmu_vcpu_cache *cache, struct mmu_slot *slot,
		     gfn_t gfn, enum pg_level target)
{
	struct mmu_split s;
	int ret;

	if (!mmu->mirror_root || gfn >= mmu->gfn_limit || target < PG_LEVEL_4K)
		return -EINVAL;
	mmu_split_init(&s, mmu, mmu->mirror_root);
	s.cache = cache;
	s.shared = true;
	sync_read_lock(&mmu->lock);
	ret = unlikely(sync_load(&mmu->dead)) ? -EIO : split_path(&s, gfn, target);
	if (slot && (ret == MMU_RET_FIXED || ret == MMU_RET_SPURIOUS))
		for (enum pg_level level = target + 1; level <= PG_LEVEL_MAX_LEAF; level++)
			mmu_slot_set_guest_inhibit(slot, gfn, level);
	sync_read_unlock(&mmu->lock);
	mmu_split_exit(&s);
	return ret;
}
