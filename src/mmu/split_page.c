/* SPDX-License-Identifier: MIT */
/*
 * mmu/split_page: MMU_META_PAGE. A table page is born with all that the external side needs to split
 * a leaf into it, and carries that on its descriptor; so one thing decides whether a split can go on:
 * a spare page.
 */
#include <errno.h>

#include "mmu/split.h"

bool mmu_split_page_is_ready(struct mmu_split *s, enum pg_level level)
{
	return s->nr_spare[level];
}

int mmu_split_page_get(struct mmu_split *s, enum pg_level level)
{
	const struct mmu_config *cfg = &s->mmu->cfg;
	struct mmu_page *sp;

	if (mmu_split_add_spare(s, level))
		return -ENOMEM;
	sp = s->spare[level][s->nr_spare[level] - 1];
	if (!sp->mirror || !cfg->external->alloc_split_metadata ||
	    !cfg->external->alloc_split_metadata(cfg->external_ctx, sp, level))
		return 0;
	s->nr_spare[level]--;
	mmu_split_free_page(s, sp);
	return -ENOMEM;
}

void mmu_split_page_give_back(struct mmu_split *s, struct mmu_page *sp)
{
	const struct mmu_config *cfg = &s->mmu->cfg;

	if (sp->mirror && cfg->external->free_split_metadata)
		cfg->external->free_split_metadata(cfg->external_ctx, sp);
	mmu_split_free_page(s, sp);
}

const struct mmu_split_supply mmu_split_page = {
	.is_ready = mmu_split_page_is_ready,
	.get = mmu_split_page_get,
	.give_back = mmu_split_page_give_back,
};
