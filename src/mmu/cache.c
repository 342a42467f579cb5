/* SPDX-License-Identifier: MIT */
/*
 * mmu/cache: what a fault may need, allocated before it takes any lock. One vCPU's, used by its
 * thread alone.
 */
#include <errno.h>

#include "mmu/internal.h"

void mmu_cache_init(struct mmu_vcpu_cache *cache, struct mmu *mmu)
{
	cache->mmu = mmu;
	cache->capacity = mmu->cfg.cache_capacity ? mmu->cfg.cache_capacity : MMU_CACHE_CAPACITY;
	cache->nr_pages = 0;
	cache->nr_external = 0;
	cache->nr_direct_pages = 0;
}

static int topup_pages(struct mmu *mmu, bool mirror, struct mmu_page **pages, u32 *nr, u32 capacity)
{
	if (likely(*nr >= MMU_CACHE_MIN))
		return 0;
	while (*nr < capacity) {
		pages[*nr] = mmu_page_alloc(mmu, mirror);
		if (!pages[*nr])
			break;
		++*nr;
	}
	return *nr < MMU_CACHE_MIN ? -ENOMEM : 0;
}

static int topup_external(struct mmu_vcpu_cache *cache)
{
	const struct mmu_config *cfg = &cache->mmu->cfg;

	if (likely(cache->nr_external >= MMU_CACHE_MIN))
		return 0;
	while (cache->nr_external < cache->capacity) {
		if (cfg->external->alloc_external_spt(cfg->external_ctx,
						      &cache->external[cache->nr_external]))
			break;
		cache->nr_external++;
	}
	return cache->nr_external < MMU_CACHE_MIN ? -ENOMEM : 0;
}

int mmu_cache_topup(struct mmu_vcpu_cache *cache)
{
	struct mmu *mmu = cache->mmu;
	int err;

	err = topup_pages(mmu, false, cache->direct_pages, &cache->nr_direct_pages, MMU_CACHE_MIN);
	if (err || !mmu->mirror_root)
		return err;
	err = topup_pages(mmu, true, cache->pages, &cache->nr_pages, cache->capacity);
	return err ? err : topup_external(cache);
}

struct mmu_page *mmu_cache_take(struct mmu_vcpu_cache *cache, bool mirror)
{
	struct mmu_page *sp;

	if (!mirror)
		return cache->nr_direct_pages ? cache->direct_pages[--cache->nr_direct_pages]
					      : NULL;
	if (!cache->nr_pages || !cache->nr_external)
		return NULL;
	sp = cache->pages[--cache->nr_pages];
	sp->external_spt = cache->external[--cache->nr_external];
	return sp;
}

void mmu_cache_return(struct mmu_vcpu_cache *cache, struct mmu_page *sp)
{
	if (!sp->mirror) {
		cache->direct_pages[cache->nr_direct_pages++] = sp;
		return;
	}
	cache->external[cache->nr_external++] = sp->external_spt;
	sp->external_spt = 0;
	cache->pages[cache->nr_pages++] = sp;
}

void mmu_cache_destroy(struct mmu_vcpu_cache *cache)
{
	const struct mmu_config *cfg = &cache->mmu->cfg;

	while (cache->nr_pages)
		mmu_page_free(cache->pages[--cache->nr_pages]);
	while (cache->nr_direct_pages)
		mmu_page_free(cache->direct_pages[--cache->nr_direct_pages]);
	while (cache->nr_external)
		cfg->external->free_external_spt(cfg->external_ctx,
						 cache->external[--cache->nr_external]);
}
