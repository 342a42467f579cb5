/* SPDX-License-Identifier: MIT */
/*
 * mmu/split_vm_cache: MMU_META_VM_CACHE. What the external side needs beside the table's own page is
 * in a cache of the VM's, which others use as well. Between a top-up and the lock they may have
 * emptied it; so it is asked again under the lock, under which the split then takes from it.
 *
 * Held for writing, the lock makes the answer last. Held for reading it doesn't: two readers may both
 * hear that there is enough, and the one that takes second finds too little. The external side tells
 * that under its own lock: -EBUSY, and the split is tried again.
 */
#include <errno.h>

#include "mmu/split.h"

static bool is_ready(struct mmu_split *s, enum pg_level level)
{
	const struct mmu_config *cfg = &s->mmu->cfg;

	s->cache_is_short =
		!(bug_planted(&s->mmu->host->bugs, BUG_NO_RECHECK_AFTER_TOPUP) && s->has_got) &&
		s->root->mirror && cfg->external->split_cache_is_short &&
		cfg->external->split_cache_is_short(cfg->external_ctx, level);
	return s->nr_spare[level] && !s->cache_is_short;
}

static int get(struct mmu_split *s, enum pg_level level)
{
	const struct mmu_config *cfg = &s->mmu->cfg;

	if (!s->nr_spare[level] && mmu_split_add_spare(s, level))
		return -ENOMEM;
	if (!s->cache_is_short)
		return 0;
	return cfg->external->topup_split_cache(cfg->external_ctx, level);
}

const struct mmu_split_supply mmu_split_vm_cache = {
	.is_ready = is_ready,
	.get = get,
	.give_back = mmu_split_free_page,
};
