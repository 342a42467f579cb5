/* SPDX-License-Identifier: MIT */
/*
 * mmu/roots: the list of roots and their users.
 *
 *   valid, users >= 1 ---- mmu_roots_invalidate() ----> invalid, users >= 1 ---- last put ----> freed
 *   (one of them is the MMU itself)                     (the MMU zaps it, then puts)    through RCU
 *
 * Races: a walk over all roots yields mmu.lock in the middle of one, and another thread may then
 * invalidate and put it: the walk's own reference keeps it.
 */
#include "mmu/internal.h"

struct mmu_page *mmu_root_create(struct mmu *mmu, bool mirror)
{
	struct mmu_page *root = mmu_page_alloc(mmu, mirror);

	if (!root)
		return NULL;
	mmu_page_use(root, 0, mmu->cfg.root_level);
	root->is_root = true;
	root->root_count = 1;
	sync_add_relaxed(mirror ? &mmu->stats.mirror_tables : &mmu->stats.direct_tables, 1);
	sync_mutex_lock(&mmu->roots_lock);
	root->next = mmu->roots;
	mmu->roots = root;
	sync_mutex_unlock(&mmu->roots_lock);
	return root;
}

/* Pairs with the decrement in mmu_root_put(): a count that reached 0 never rises again. */
bool mmu_root_get(struct mmu_page *root)
{
	u32 count = sync_load(&root->root_count);

	while (count)
		if (sync_cmpxchg(&root->root_count, &count, count + 1))
			return true;
	return false;
}

static void unlist(struct mmu *mmu, struct mmu_page *root)
{
	struct mmu_page **link = &mmu->roots;

	sync_mutex_lock(&mmu->roots_lock);
	while (*link != root)
		link = &(*link)->next;
	*link = root->next;
	sync_mutex_unlock(&mmu->roots_lock);
}

void mmu_root_put(struct mmu *mmu, struct mmu_page *root)
{
	u64 *tables = root->mirror ? &mmu->stats.mirror_tables : &mmu->stats.direct_tables;

	if (sync_fetch_sub(&root->root_count, 1) > 1)
		return;
	unlist(mmu, root);
	sync_fetch_sub(tables, 1);
	mmu_page_free_rcu(root);
}

struct mmu_page *mmu_root_next(struct mmu *mmu, struct mmu_page *prev, bool mirror)
{
	struct mmu_page *root;

	sync_mutex_lock(&mmu->roots_lock);
	for (root = prev ? prev->next : mmu->roots; root; root = root->next)
		if (root->mirror == mirror && mmu_root_get(root))
			break;
	sync_mutex_unlock(&mmu->roots_lock);
	if (prev)
		mmu_root_put(mmu, prev);
	return root;
}

void mmu_roots_invalidate(struct mmu *mmu)
{
	sync_rwlock_assert_write(&mmu->lock);
	sync_mutex_lock(&mmu->roots_lock);
	for (struct mmu_page *root = mmu->roots; root; root = root->next)
		root->invalid = true;
	sync_mutex_unlock(&mmu->roots_lock);
}
