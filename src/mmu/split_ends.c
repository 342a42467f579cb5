/* SPDX-License-Identifier: MIT */
/*
 * mmu/split_ends: MMU_SPLIT_ENDS. Leaves are aligned to their size, so which leaf can cross an end
 * is arithmetic:
 *
 *	end aligned to 1G       none
 *	            to 2M       the 1G leaf that holds it
 *	            to 4K       that one, and of its parts (or as it is) the 2M leaf that holds it
 *
 * So an end costs the path from the root to its entry, and at most two splits, whatever lies between
 * the ends. Both in one block: the second path finds the first one's table there.
 */
#include "mmu/split.h"

static int split_end_at(struct mmu_split *s, gfn_t gfn)
{
	enum pg_level lowest = PG_LEVEL_2M;
	struct mmu_iter it;
	int err;

	while (lowest <= PG_LEVEL_MAX_LEAF && IS_ALIGNED(gfn, pages_per_level(lowest)))
		lowest++;
	if (lowest > PG_LEVEL_MAX_LEAF)
		return 0;
	mmu_for_each_spte (it, s->mmu, s->root, lowest, gfn, gfn + 1) {
		s->visited++;
		if (!spte_is_leaf(it.old_spte, it.level))
			continue;
		err = mmu_split_leaf(s, &it);
		if (err)
			return err;
	}
	return 0;
}

int mmu_split_ends(struct mmu_split *s, gfn_t start, gfn_t end)
{
	const struct bug_set *bugs = &s->mmu->host->bugs;
	int err = bug_planted(bugs, BUG_HEAD_NOT_SPLIT) ? 0 : split_end_at(s, start);

	return err || bug_planted(bugs, BUG_TAIL_NOT_SPLIT) ? err : split_end_at(s, end);
}
