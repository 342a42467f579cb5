/* SPDX-License-Identifier: MIT */
/*
 * The Dynamic PAMT pair of a split, from a cache of the TD's (MMU_META_VM_CACHE), for callers that
 * need not be a vCPU.
 *
 *	is_short?  mmu.lock    no ---> split takes the pair, under the same hold of mmu.lock
 *	   ^  | yes
 *	   |  +---> unlock, top up, lock ---+
 *	   +--------------------------------+
 *
 * Several threads may top up at once, and one may take what another brought: so the question is
 * asked again. One pair is enough, since a split drops mmu.lock for its table page anyway. is_short
 * reads the count without the cache's lock: only who holds mmu.lock makes it fall. Under the read lock
 * that may be several, so the answer holds no longer than until one of them takes: then take says no.
 */
#include "tdx/internal.h"

void td_split_cache_init(struct td *td)
{
	/* Waited for under mmu.lock or no lock, and let go before another is taken. */
	sync_mutex_init(&td->split_cache.lock, LOCK_SPLIT_CACHE);
}

bool td_split_cache_take(struct td *td, pfn_t pair[2])
{
	bool early = bug_planted(&td->host->bugs, BUG_PAIR_READ_AFTER_UNLOCK);
	struct td_split_cache *cache = &td->split_cache;
	bool any;

	sync_mutex_lock(&cache->lock);
	any = cache->nr;
	if (early)
		sync_mutex_unlock(&cache->lock);
	if (any) {
		pair[0] = cache->pair[0];
		pair[1] = cache->pair[1];
		sync_store(&cache->nr, 0);
	}
	if (!early)
		sync_mutex_unlock(&cache->lock);
	return any;
}

void td_split_cache_put(struct td *td, const pfn_t pair[2])
{
	struct td_split_cache *cache = &td->split_cache;
	bool full;

	sync_mutex_lock(&cache->lock);
	full = cache->nr;
	if (!full) {
		cache->pair[0] = pair[0];
		cache->pair[1] = pair[1];
		sync_store(&cache->nr, 2);
	}
	sync_mutex_unlock(&cache->lock);
	if (full)
		tdx_pair_free(td->module, pair);
}

bool td_split_cache_is_short(void *ctx, enum pg_level level)
{
	struct td *td = ctx;

	if (unlikely(level != PG_LEVEL_2M && level != PG_LEVEL_1G)) {
		td_illegal(td, "pages are wanted for a split at a level that has none");
		return false;
	}
	return td_split_needs_pair(td, level) && !sync_load(&td->split_cache.nr);
}

int td_topup_split_cache(void *ctx, enum pg_level level)
{
	struct td *td = ctx;
	pfn_t pair[2];
	int err;

	if (!td_split_needs_pair(td, level) || sync_load(&td->split_cache.nr))
		return 0;
	err = tdx_pair_alloc(td->module, pair);
	if (!err)
		td_split_cache_put(td, pair);
	return err;
}

void td_split_cache_destroy(struct td *td)
{
	pfn_t pair[2];

	if (td_split_cache_take(td, pair))
		tdx_pair_free(td->module, pair);
	sync_mutex_destroy(&td->split_cache.lock);
}
