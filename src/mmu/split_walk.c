/* SPDX-License-Identifier: MIT */
/*
 * mmu/split_walk: MMU_SPLIT_WALK. One walk over all that the range has at 2M and up; a leaf that
 * sticks out of the range is split, and those of its parts that do, in turn.
 */
#include "mmu/split.h"

static bool sticks_out(const struct mmu_iter *it, gfn_t start, gfn_t end)
{
	return it->gfn < start || it->gfn + pages_per_level(it->level) > end;
}

int mmu_split_walk_part(struct mmu_split *s, gfn_t from, gfn_t to, gfn_t start, gfn_t end)
{
	struct mmu_iter it;
	int err;

	mmu_for_each_spte (it, s->mmu, s->root, PG_LEVEL_2M, from, to) {
		if (mmu_split_visit(s, &it) || !spte_is_leaf(it.old_spte, it.level) ||
		    !sticks_out(&it, start, end))
			continue;
		err = mmu_split_leaf(s, &it);
		if (err)
			return err;
	}
	return 0;
}

int mmu_split_walk(struct mmu_split *s, gfn_t start, gfn_t end)
{
	return mmu_split_walk_part(s, start, end, start, end);
}
