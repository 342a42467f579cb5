/* SPDX-License-Identifier: MIT */
/* mmu/mmu: life of the MMU of one VM, and looking at what it maps. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mmu/internal.h"

int mmu_bug(struct mmu *mmu, const char *why)
{
	sync_store(&mmu->dead, true);
	if (mmu->cfg.vm_bugged)
		mmu->cfg.vm_bugged(mmu->cfg.vm_ctx, why);
	return -EIO;
}

static bool config_is_sound(const struct mmu_config *cfg)
{
	unsigned int width;

	if (cfg->root_level != PG_LEVEL_512G && cfg->root_level != PG_LEVEL_256T)
		return false;
	width = level_shift(cfg->root_level + 1);
	if (cfg->shared_bit && (cfg->shared_bit < PAGE_SHIFT || cfg->shared_bit >= width))
		return false;
	if ((unsigned int)cfg->split_where > MMU_SPLIT_TWO_WALKS ||
	    (unsigned int)cfg->split_metadata > MMU_META_PREALLOC)
		return false;
	if (cfg->cache_capacity &&
	    (cfg->cache_capacity < MMU_CACHE_MIN || cfg->cache_capacity > MMU_CACHE_MAX))
		return false;
	return cfg->host && !(cfg->external && !cfg->shared_bit);
}

static void free_roots(struct mmu *mmu)
{
	sync_write_lock(&mmu->lock);
	mmu_roots_invalidate(mmu);
	if (mmu->mirror_root)
		mmu_zap_root(mmu, mmu->mirror_root);
	if (mmu->direct_root)
		mmu_zap_root(mmu, mmu->direct_root);
	sync_write_unlock(&mmu->lock);

	if (mmu->mirror_root)
		mmu_root_put(mmu, mmu->mirror_root);
	if (mmu->direct_root)
		mmu_root_put(mmu, mmu->direct_root);
}

int mmu_create(const struct mmu_config *cfg, struct mmu **out)
{
	struct mmu *mmu;

	if (!config_is_sound(cfg))
		return -EINVAL;
	if (posix_memalign((void **)&mmu, _Alignof(struct mmu), sizeof(*mmu)))
		return -ENOMEM;
	memset(mmu, 0, sizeof(*mmu));
	mmu->cfg = *cfg;
	mmu->host = cfg->host;
	if (cfg->shared_bit) {
		mmu->direct_bits = addr_to_fn(BIT_ULL(cfg->shared_bit));
		mmu->gfn_limit = mmu->direct_bits;
	} else {
		mmu->gfn_limit = pages_per_level(cfg->root_level + 1);
	}
	sync_rwlock_init(&mmu->lock, LOCK_MMU);
	sync_mutex_init(&mmu->roots_lock, LOCK_MMU_ROOTS);

	mmu->direct_root = mmu_root_create(mmu, false);
	if (cfg->external)
		mmu->mirror_root = mmu_root_create(mmu, true);
	if (!mmu->direct_root || (cfg->external && !mmu->mirror_root)) {
		mmu_destroy(mmu);
		return -ENOMEM;
	}
	*out = mmu;
	return 0;
}

void mmu_destroy(struct mmu *mmu)
{
	free_roots(mmu);
	/* The callbacks reach the MMU and its host through the descriptors. */
	sync_rcu_barrier();
	sync_rwlock_destroy(&mmu->lock);
	sync_mutex_destroy(&mmu->roots_lock);
	free(mmu);
}

const struct mmu_stats *mmu_stats(const struct mmu *mmu)
{
	return &mmu->stats;
}

struct sync_rwlock *mmu_lock(struct mmu *mmu)
{
	return &mmu->lock;
}

hpa_t mmu_direct_root(const struct mmu *mmu)
{
	return fn_to_addr(mmu->direct_root->table);
}

bool mmu_lookup(struct mmu *mmu, gfn_t gfn, bool private, struct mmu_mapping *out)
{
	const struct mmu_page *root = private ? mmu->mirror_root : mmu->direct_root;
	gfn_t key = mmu_root_gfn(mmu, gfn, private);
	struct mmu_iter it;
	bool found = false;

	if (!root || gfn >= mmu->gfn_limit)
		return false;
	/* Keeps the tables; pairs with the RCU free of those that leave the tree meanwhile. */
	sync_rcu_read_lock();
	mmu_for_each_spte (it, mmu, root, PG_LEVEL_4K, key, key + 1) {
		if (!spte_is_leaf(it.old_spte, it.level))
			continue;
		*out = (struct mmu_mapping){
			.gfn = mmu_gfn(mmu, it.gfn),
			.pfn = spte_pfn(it.old_spte),
			.level = it.level,
		};
		found = true;
		break;
	}
	sync_rcu_read_unlock();
	return found;
}

void mmu_for_each_leaf(struct mmu *mmu, bool private,
		       void (*fn)(void *ctx, const struct mmu_mapping *m), void *ctx)
{
	const struct mmu_page *root = private ? mmu->mirror_root : mmu->direct_root;
	struct mmu_iter it;

	if (!root)
		return;
	mmu_for_each_spte (it, mmu, root, PG_LEVEL_4K, 0, pages_per_level(root->level + 1)) {
		struct mmu_mapping m = {
			.gfn = mmu_gfn(mmu, it.gfn),
			.pfn = spte_pfn(it.old_spte),
			.level = it.level,
		};

		if (spte_is_leaf(it.old_spte, it.level))
			fn(ctx, &m);
	}
}
