/* SPDX-License-Identifier: MIT */
/*
 * mmu/split: one leaf becomes a table of 512 that map the same frames. See split.h.
 */
#include <errno.h>
#include <string.h>

#include "mmu/split.h"

typedef int (*split_where_fn)(struct mmu_split *s, gfn_t start, gfn_t end);

static const split_where_fn split_where[] = {
	[MMU_SPLIT_ENDS] = mmu_split_ends,
	[MMU_SPLIT_WALK] = mmu_split_walk,
	[MMU_SPLIT_TWO_WALKS] = mmu_split_two_walks,
};

static const struct mmu_split_supply *const split_supply[] = {
	[MMU_META_PAGE] = &mmu_split_page,
	[MMU_META_VM_CACHE] = &mmu_split_vm_cache,
	[MMU_META_PREALLOC] = &mmu_split_prealloc,
};

/* ---- pages -----------------------------------------------------------------------------------*/
static struct mmu_page *alloc_page(struct mmu_split *s)
{
	const struct mmu_config *cfg = &s->mmu->cfg;
	struct mmu_page *sp = mmu_page_alloc_unfilled(s->mmu, s->root->mirror);

	if (!sp)
		return NULL;
	if (sp->mirror && cfg->external->alloc_external_spt(cfg->external_ctx, &sp->external_spt)) {
		mmu_page_free(sp);
		return NULL;
	}
	return sp;
}

static struct mmu_page *take_cached_page(struct mmu_vcpu_cache *cache, bool mirror)
{
	return mmu_cache_topup(cache) ? NULL : mmu_cache_take(cache, mirror);
}

int mmu_split_add_spare(struct mmu_split *s, enum pg_level level)
{
	struct mmu_page *sp =
		s->cache ? take_cached_page(s->cache, s->root->mirror) : alloc_page(s);

	if (!sp)
		return -ENOMEM;
	s->spare[level][s->nr_spare[level]++] = sp;
	return 0;
}

void mmu_split_free_page(struct mmu_split *s, struct mmu_page *sp)
{
	const struct mmu_config *cfg = &s->mmu->cfg;

	if (s->cache && mmu_cache_has_room(s->cache)) {
		/* Who takes it next may link it without filling it. */
		memset(sp->spt, 0, PAGE_SIZE);
		mmu_cache_return(s->cache, sp);
		return;
	}
	if (sp->mirror)
		cfg->external->free_external_spt(cfg->external_ctx, sp->external_spt);
	mmu_page_free(sp);
}

static void give_back_spares(struct mmu_split *s)
{
	for (enum pg_level level = PG_LEVEL_2M; level <= PG_LEVEL_MAX_LEAF; level++)
		while (s->nr_spare[level])
			s->supply->give_back(s, s->spare[level][--s->nr_spare[level]]);
}

int mmu_split_unlocked_get(struct mmu_split *s, enum pg_level level,
			   int (*get)(struct mmu_split *s, enum pg_level level))
{
	struct mmu *mmu = s->mmu;
	int err;

	s->drops++;
	s->retries += s->has_got;
	s->has_got = true;
	if (s->shared)
		sync_read_unlock(&mmu->lock);
	else
		sync_write_unlock(&mmu->lock);
	err = get(s, level);
	if (s->shared)
		sync_read_lock(&mmu->lock);
	else
		sync_write_lock(&mmu->lock);
	if (!err && unlikely(sync_load(&mmu->dead)))
		return -EIO;
	return err;
}

/* ---- one leaf --------------------------------------------------------------------------------*/

/* Plain stores: nobody sees the table until the setter's release links it. */
static void fill_table(u64 *spt, u64 leaf, enum pg_level level)
{
	u64 first = spte_make_part(leaf, level, 0), step = spte_part_step(level);

	for (unsigned int i = 0; i < PTRS_PER_TABLE; i++)
		spt[i] = first + i * step;
}

/* The planted mistake's: others see each of them come. */
static void fill_linked_table(u64 *spt, u64 leaf, enum pg_level level)
{
	u64 first = spte_make_part(leaf, level, 0), step = spte_part_step(level);

	for (unsigned int i = 0; i < PTRS_PER_TABLE; i++)
		sync_store(&spt[i], first + i * step);
}

int mmu_split_leaf(struct mmu_split *s, struct mmu_iter *it)
{
	bool linked = bug_planted(&s->mmu->host->bugs, BUG_LINK_BEFORE_FILL);
	enum pg_level level = it->level;
	u64 leaf = it->old_spte;
	struct mmu_page *sp;
	int err;

	if (!s->supply->is_ready(s, level)) {
		it->yielded = true;
		return mmu_split_unlocked_get(s, level, s->supply->get);
	}
	sp = s->spare[level][s->nr_spare[level] - 1];
	mmu_page_use(sp, mmu_gfn(s->mmu, it->gfn), level - 1);
	if (!linked)
		fill_table(sp->spt, leaf, level);
	err = s->shared ? mmu_set_spte_atomic(s->mmu, it, spte_make_table(sp->table))
			: mmu_set_spte(s->mmu, it, spte_make_table(sp->table));
	s->retries += err == -EBUSY;
	if (linked && !err)
		fill_linked_table(sp->spt, leaf, level);
	if (likely(!err)) {
		s->nr_spare[level]--;
		s->has_got = false;
	}
	return err;
}

bool mmu_split_visit(struct mmu_split *s, struct mmu_iter *it)
{
	s->visited++;
	if (likely(s->keeps_lock || !mmu_iter_wants_yield(s->mmu, it)))
		return false;
	mmu_iter_yield(s->mmu, it);
	return true;
}

/* ---- a range ---------------------------------------------------------------------------------*/

void mmu_split_init(struct mmu_split *s, struct mmu *mmu, const struct mmu_page *root)
{
	*s = (struct mmu_split){
		.mmu = mmu,
		.root = root,
		.supply = split_supply[mmu->cfg.split_metadata],
	};
}

void mmu_split_exit(struct mmu_split *s)
{
	struct mmu_stats *stats = &s->mmu->stats;

	give_back_spares(s);
	sync_add_relaxed(&stats->split_entries_visited, s->visited);
	if (s->drops)
		sync_add_relaxed(&stats->split_lock_drops, s->drops);
	if (s->retries)
		sync_add_relaxed(&stats->split_retries, s->retries);
}

/* Makes [*start, *end) gfns of the root's; false when there is nothing to look for. */
static bool split_begin(struct mmu_split *s, struct mmu *mmu, gfn_t *start, gfn_t *end,
			bool private)
{
	sync_rwlock_assert_write(&mmu->lock);
	mmu_split_init(s, mmu, private ? mmu->mirror_root : mmu->direct_root);
	*end = min_u64(*end, mmu->gfn_limit);
	if (!s->root || *start >= *end)
		return false;
	*start = mmu_root_gfn(mmu, *start, private);
	*end = mmu_root_gfn(mmu, *end - 1, private) + 1;
	return true;
}

int mmu_split_boundaries(struct mmu *mmu, gfn_t start, gfn_t end, bool private)
{
	struct mmu_split s;
	int err = 0;

	if (!split_begin(&s, mmu, &start, &end, private))
		return 0;
	if (unlikely(sync_load(&mmu->dead)))
		return -EIO;
	if (s.supply->reserve)
		err = s.supply->reserve(&s, start, end);
	if (!err)
		err = split_where[mmu->cfg.split_where](&s, start, end);
	mmu_split_exit(&s);
	return bug_planted(&mmu->host->bugs, BUG_ENOMEM_BECOMES_ONE) ? !!err : err;
}

static int split_all(struct mmu_split *s, gfn_t start, gfn_t end, enum pg_level target)
{
	struct mmu_iter it;
	int err;

	mmu_for_each_spte (it, s->mmu, s->root, target + 1, start, end) {
		if (mmu_split_visit(s, &it) || !spte_is_leaf(it.old_spte, it.level))
			continue;
		err = mmu_split_leaf(s, &it);
		if (err)
			return err;
	}
	return 0;
}

int mmu_split_to_level(struct mmu *mmu, gfn_t start, gfn_t end, enum pg_level target, bool private)
{
	struct mmu_split s;
	int err;

	if (target < PG_LEVEL_4K)
		return -EINVAL;
	if (!split_begin(&s, mmu, &start, &end, private) || target >= PG_LEVEL_MAX_LEAF)
		return 0;
	if (unlikely(sync_load(&mmu->dead)))
		return -EIO;
	err = split_all(&s, start, end, target);
	mmu_split_exit(&s);
	return err;
}
