/* SPDX-License-Identifier: MIT */
/*
 * mmu/split_prealloc: MMU_META_PREALLOC. Only leaves that cross an end of the range are split, so at
 * most two at each end: how many is known before the first one, and got in one go.
 *
 * While the lock is dropped for that, the need can only shrink: the range is being invalidated, so
 * nothing is mapped or promoted there, and others may but split and remove. It is counted again all the
 * same, since a wrong promise of the caller's must cost a lap and nothing more. Where the walk looks
 * doesn't matter: it finds the same leaves.
 *
 * mmu_split_to_level() has no bounded need, and gets one page at a time, as MMU_META_PAGE does.
 */
#include <string.h>

#include "mmu/split.h"

/* Level of the leaf that holds @gfn, PG_LEVEL_NONE for none above 4K. */
static enum pg_level leaf_level(struct mmu_split *s, gfn_t gfn)
{
	struct mmu_iter it;

	mmu_for_each_spte (it, s->mmu, s->root, PG_LEVEL_2M, gfn, gfn + 1) {
		s->visited++;
		if (spte_is_leaf(it.old_spte, it.level))
			return it.level;
	}
	return PG_LEVEL_NONE;
}

static bool crosses(gfn_t gfn, enum pg_level level)
{
	return !IS_ALIGNED(gfn, pages_per_level(level));
}

/* Splits that it takes until no leaf crosses @gfn, but those that @counted has had already. */
static void count_end(struct mmu_split *s, gfn_t gfn, gfn_t counted)
{
	enum pg_level level;

	if (!crosses(gfn, PG_LEVEL_MAX_LEAF))
		return;
	for (level = leaf_level(s, gfn); level > PG_LEVEL_4K && crosses(gfn, level); level--)
		if (!crosses(counted, level) ||
		    fn_align_down(counted, level) != fn_align_down(gfn, level))
			s->need[level]++;
}

static bool need_is_met(const struct mmu_split *s)
{
	for (enum pg_level level = PG_LEVEL_2M; level <= PG_LEVEL_MAX_LEAF; level++)
		if (s->nr_spare[level] < s->need[level])
			return false;
	return true;
}

static int get_need(struct mmu_split *s, enum pg_level level)
{
	int err = 0;

	for (level = PG_LEVEL_2M; level <= PG_LEVEL_MAX_LEAF; level++)
		while (!err && s->nr_spare[level] < s->need[level])
			err = mmu_split_page_get(s, level);
	return err;
}

static int reserve(struct mmu_split *s, gfn_t start, gfn_t end)
{
	for (;;) {
		int err;

		memset(s->need, 0, sizeof(s->need));
		count_end(s, start, 0);
		count_end(s, end, start);
		if (need_is_met(s))
			break;
		err = mmu_split_unlocked_get(s, PG_LEVEL_NONE, get_need);
		if (err)
			return err;
	}
	s->keeps_lock = true;
	return 0;
}

const struct mmu_split_supply mmu_split_prealloc = {
	.reserve = reserve,
	.is_ready = mmu_split_page_is_ready,
	.get = mmu_split_page_get,
	.give_back = mmu_split_page_give_back,
};
