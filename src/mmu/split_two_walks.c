/* SPDX-License-Identifier: MIT */
/*
 * mmu/split_two_walks: MMU_SPLIT_TWO_WALKS. The walk of split_walk.c at each end alone, as far as the
 * next boundary of the largest leaf: no leaf further inside can cross an end.
 *
 *	   1G          1G          1G          1G
 *	    |   start   |           |    end    |
 *	    |     [=====)           [=====)     |
 */
#include "mmu/split.h"

int mmu_split_two_walks(struct mmu_split *s, gfn_t start, gfn_t end)
{
	u64 largest = pages_per_level(PG_LEVEL_MAX_LEAF);
	gfn_t head_end = min_u64(ALIGN_UP(start, largest), end);
	gfn_t tail_start = max_u64(ALIGN_DOWN(end, largest), head_end);
	int err = mmu_split_walk_part(s, start, head_end, start, end);

	return err ? err : mmu_split_walk_part(s, tail_start, end, start, end);
}
