/* SPDX-License-Identifier: MIT */
/*
 * mmu/set: the one place where entries change.
 *
 * Under the read lock, mirror:
 *
 *      old --cmpxchg--> FROZEN --hook--> new
 *       ^                  |
 *       +---- hook says no-+
 *
 * A faulting thread that meets FROZEN retries; nobody else writes a frozen entry, so the thread that
 * froze it may store plainly. The direct root has no hook: one compare-exchange from old to new.
 *
 * Under the write lock nobody else changes entries, but walkers in RCU sections look. A leaf goes
 * from the external side first and from the mirror after. A table goes from the mirror first, so
 * that no walker enters it any more; then what is below it, then the table itself, go from the
 * external side; walkers still inside end at FROZEN, and RCU keeps the memory for them.
 *
 * A leaf becomes a table (a split) in one step for walkers: the table is full before it is linked. A
 * table becomes a leaf (a promotion) like this:
 *
 *      table: 512 parts --check, freeze--> table: 512 FROZEN --hook--> leaf; table to RCU
 *                  ^                              |
 *                  +------- hook says no ---------+
 *
 * The check makes the parts computable from the leaf, so nothing is saved for the way back.
 */
#include <errno.h>
#include <stdio.h>

#include "mmu/internal.h"

static const unsigned char changes[SPTE_KINDS][SPTE_KINDS] = {
#define SPTE_CHANGE(from, to, flags) [SPTE_KIND_##from][SPTE_KIND_##to] = (flags),
#include "mmu/spte_changes.def"
#undef SPTE_CHANGE
};

static inline unsigned int change_of(u64 old_spte, u64 new_spte, enum pg_level level)
{
	return changes[spte_kind(old_spte, level)][spte_kind(new_spte, level)];
}

/* ---- what a leaf maps ------------------------------------------------------------------------*/
static bool ask_leaf(struct mmu *mmu, bool mirror, gfn_t gfn, u64 spte, enum pg_level level,
		     const char *when)
{
	char why[128];

	gfn = mmu_gfn(mmu, gfn);
	if (likely(mmu->cfg.leaf_ok(mmu->cfg.vm_ctx, gfn, spte_pfn(spte), level, mirror)))
		return true;
	snprintf(why, sizeof(why),
		 "mapping check of the MMU: a leaf of level %d at gfn 0x%llx isn't one piece of "
		 "memory "
		 "when it is %s",
		 (int)level, (unsigned long long)gfn, when);
	mmu_bug(mmu, why);
	return false;
}

/*
 * The leaf that comes or goes maps what may be one leaf. At 4K it can't but be contiguous and of one
 * kind, which keeps the check off the path of 4K faults.
 */
static inline bool leaf_is_ok(struct mmu *mmu, bool mirror, gfn_t gfn, u64 old_spte, u64 new_spte,
			      enum pg_level level)
{
	if (likely(level == PG_LEVEL_4K || level > PG_LEVEL_MAX_LEAF || !mmu->cfg.leaf_ok))
		return true;
	if (spte_is_leaf(old_spte, level))
		return ask_leaf(mmu, mirror, gfn, old_spte, level,
				spte_is_present(new_spte) ? "split" : "removed");
	if (spte_is_leaf(new_spte, level))
		return ask_leaf(mmu, mirror, gfn, new_spte, level,
				spte_is_present(old_spte) ? "promoted" : "set");
	return true;
}

/* ---- changes ---------------------------------------------------------------------------------*/
/* The hook's only caller. */
static inline int tell_external(struct mmu *mmu, gfn_t gfn, u64 old_spte, u64 new_spte,
				enum pg_level level, bool shared)
{
	int err = mmu->cfg.external->set_external_spte(mmu->cfg.external_ctx, gfn, old_spte,
						       new_spte, level, shared);

	if (likely(!err))
		return 0;
	/* Busy is an answer where others may hold what it needs, no is one where nothing is owed yet. */
	if (shared ? err == -EBUSY : err == -EAGAIN && spte_is_table(old_spte, level))
		return err;
	return mmu_bug(mmu, "the external page table refused a change");
}

/* Under the write lock nobody else counts; under the read lock everybody may. */
static inline void count(u64 *counter, u64 n, bool shared)
{
	if (shared)
		sync_add_relaxed(counter, n);
	else
		sync_store_quiet(counter, sync_load_quiet(counter) + n);
}

static inline void count_tables(struct mmu *mmu, bool mirror, u64 n, bool shared)
{
	if (mirror) {
		count(&mmu->stats.mirror_tables, n, shared);
		count(&mmu->stats.external_tables, n, shared);
	} else {
		count(&mmu->stats.direct_tables, n, shared);
	}
}

/* The parts of a leaf at @level came or went, all at once. */
static inline void count_parts(struct mmu *mmu, u64 *event, enum pg_level level, u64 n, bool shared)
{
	count(&mmu->stats.pages[level - 1], n, shared);
	count(event, 1, shared);
}

static inline void count_change(struct mmu *mmu, bool mirror, u64 old_spte, u64 new_spte,
				enum pg_level level, bool shared)
{
	if (spte_is_leaf(old_spte, level)) {
		count(&mmu->stats.pages[level], (u64)-1, shared);
		if (spte_is_table(new_spte, level))
			count_parts(mmu, &mmu->stats.splits, level, PTRS_PER_TABLE, shared);
	} else if (spte_is_table(old_spte, level)) {
		count_tables(mmu, mirror, (u64)-1, shared);
		if (spte_is_leaf(new_spte, level))
			count_parts(mmu, &mmu->stats.promotes, level, (u64)-PTRS_PER_TABLE, shared);
	}
	if (spte_is_leaf(new_spte, level))
		count(&mmu->stats.pages[level], 1, shared);
	else if (spte_is_table(new_spte, level))
		count_tables(mmu, mirror, 1, shared);
}

static inline void fire(struct mmu *mmu, bool mirror, gfn_t gfn, u64 old_spte, u64 new_spte,
			enum pg_level level)
{
	if (trace_enabled(&mmu->host->tracer)) {
		struct trace_spte event = {
			.gfn = mmu_gfn(mmu, gfn),
			.old_spte = old_spte,
			.new_spte = new_spte,
			.level = (int)level,
			.mirror = mirror,
		};

		trace_fire(&mmu->host->tracer, TRACE_SPTE_CHANGED, &event);
	}
}

/* A change has succeeded: counters, and whoever listens. */
static inline void account(struct mmu *mmu, bool mirror, gfn_t gfn, u64 old_spte, u64 new_spte,
			   enum pg_level level, bool shared)
{
	count_change(mmu, mirror, old_spte, new_spte, level, shared);
	fire(mmu, mirror, gfn, old_spte, new_spte, level);
}

/* For the external side a split may mean to stop every vCPU, which nobody may do beside others. */
static int refuse_shared_split(struct mmu *mmu)
{
	if (!sync_xchg(&mmu->warned_of_split, true) && mmu->cfg.warn)
		mmu->cfg.warn(mmu->cfg.vm_ctx,
			      "a split under the read lock of the MMU was refused");
	return -EOPNOTSUPP;
}

int mmu_set_spte_atomic(struct mmu *mmu, struct mmu_iter *it, u64 new_spte)
{
	u64 old_spte = it->old_spte;
	unsigned int change = change_of(old_spte, new_spte, it->level);
	bool counted = bug_planted(&mmu->host->bugs, BUG_STAT_BEFORE_SUCCESS);
	int err;

	if (unlikely(!(change & CHANGE_SHARED)))
		return mmu_bug(mmu, "no legal change of an entry under the read lock");
	if (unlikely((change & CHANGE_SPLIT) && it->mirror && !mmu->cfg.split_under_read_lock))
		return refuse_shared_split(mmu);
	if (!leaf_is_ok(mmu, it->mirror, it->gfn, old_spte, new_spte, it->level))
		return -EIO;
	if (counted)
		count_change(mmu, it->mirror, old_spte, new_spte, it->level, true);
	if (!it->mirror) {
		if (bug_planted(&mmu->host->bugs, BUG_PLAIN_STORE_UNDER_READ_LOCK))
			sync_store_release(it->sptep, new_spte);
		else if (!sync_cmpxchg(it->sptep, &it->old_spte, new_spte))
			return -EBUSY;
	} else {
		while (!sync_cmpxchg(it->sptep, &it->old_spte, SPTE_FROZEN))
			if (!bug_planted(&mmu->host->bugs, BUG_STALE_SNAPSHOT))
				return -EBUSY;
		err = tell_external(mmu, it->gfn, old_spte, new_spte, it->level, true);
		if (bug_planted(&mmu->host->bugs, BUG_HOOK_TWICE) && !err)
			err = tell_external(mmu, it->gfn, old_spte, new_spte, it->level, true);
		if (unlikely(err)) {
			if (!bug_planted(&mmu->host->bugs, BUG_FROZEN_LEFT))
				sync_store_release(it->sptep, old_spte);
			return err;
		}
		/* Pairs with the iterator's acquire: who sees the entry sees what it points to. */
		sync_store_release(it->sptep, new_spte);
	}
	it->old_spte = new_spte;
	if (!counted)
		count_change(mmu, it->mirror, old_spte, new_spte, it->level, true);
	fire(mmu, it->mirror, it->gfn, old_spte, new_spte, it->level);
	return 0;
}

static void remove_table(struct mmu *mmu, struct mmu_page *sp);

/* One entry of a table that has left the tree. */
static void remove_child(struct mmu *mmu, struct mmu_page *sp, unsigned int i)
{
	gfn_t gfn = sp->gfn + i * pages_per_level(sp->level);
	u64 old_spte = sync_load(&sp->spt[i]);

	sync_store(&sp->spt[i], SPTE_FROZEN);
	if (!spte_is_present(old_spte))
		return;
	/* A refusal has stopped the VM; the rest goes all the same, so that the host gets it back. */
	leaf_is_ok(mmu, sp->mirror, gfn, old_spte, SPTE_NONE, sp->level);
	if (sp->mirror && spte_is_leaf(old_spte, sp->level))
		tell_external(mmu, gfn, old_spte, SPTE_NONE, sp->level, false);
	account(mmu, sp->mirror, gfn, old_spte, SPTE_NONE, sp->level, false);
	if (spte_is_table(old_spte, sp->level))
		remove_table(mmu, mmu_spte_child(mmu, old_spte));
}

/* As deep as the tree has levels. */
static void remove_table(struct mmu *mmu, struct mmu_page *sp)
{
	const struct mmu_external_ops *ops = mmu->cfg.external;

	for (unsigned int i = 0; i < PTRS_PER_TABLE; i++)
		remove_child(mmu, sp, i);
	if (sp->mirror) {
		/* Refused, the page stays the external side's: lost to us, and never used again. */
		if (ops->reclaim_external_sp(mmu->cfg.external_ctx, sp->gfn, sp))
			mmu_bug(mmu, "the external page table kept a table");
		else
			ops->free_external_spt(mmu->cfg.external_ctx, sp->external_spt);
		sp->external_spt = 0;
	}
	mmu_page_free_rcu(sp);
}

/* The entries of @sp are all parts of @leaf, in order. Write lock held: nobody writes them. */
static bool holds_all_parts(const struct mmu_page *sp, u64 leaf, enum pg_level level)
{
	u64 first = spte_make_part(leaf, level, 0), step = spte_part_step(level);
	u64 differ = 0;

	for (unsigned int i = 0; i < PTRS_PER_TABLE; i++)
		differ |= sp->spt[i] ^ (first + i * step);
	return !differ && IS_ALIGNED(spte_pfn(leaf), pages_per_level(level));
}

static void freeze_parts(struct mmu_page *sp)
{
	for (unsigned int i = 0; i < PTRS_PER_TABLE; i++)
		sync_store(&sp->spt[i], SPTE_FROZEN);
}

static void restore_parts(struct mmu_page *sp, u64 leaf, enum pg_level level)
{
	u64 first = spte_make_part(leaf, level, 0), step = spte_part_step(level);

	for (unsigned int i = 0; i < PTRS_PER_TABLE; i++)
		sync_store(&sp->spt[i], first + i * step);
}

/* A leaf took the place of @sp, on both sides; its entries stay FROZEN for who is still inside. */
static void retire_table(struct mmu *mmu, struct mmu_page *sp)
{
	mmu->cfg.external->free_external_spt(mmu->cfg.external_ctx, sp->external_spt);
	sp->external_spt = 0;
	mmu_page_free_rcu(sp);
}

static int promote(struct mmu *mmu, struct mmu_iter *it, u64 leaf)
{
	u64 old_spte = it->old_spte;
	struct mmu_page *sp = mmu_spte_child(mmu, old_spte);
	int err;

	if (!holds_all_parts(sp, leaf, it->level))
		return -EAGAIN;
	if (!leaf_is_ok(mmu, true, it->gfn, old_spte, leaf, it->level))
		return -EIO;
	freeze_parts(sp);
	err = tell_external(mmu, it->gfn, old_spte, leaf, it->level, false);
	if (err) {
		restore_parts(sp, leaf, it->level);
		return err;
	}
	/* Pairs with the iterator's acquire. */
	sync_store_release(it->sptep, leaf);
	it->old_spte = leaf;
	account(mmu, true, it->gfn, old_spte, leaf, it->level, false);
	retire_table(mmu, sp);
	return 0;
}

int mmu_set_spte(struct mmu *mmu, struct mmu_iter *it, u64 new_spte)
{
	u64 old_spte = it->old_spte;
	unsigned int change = change_of(old_spte, new_spte, it->level);

	sync_rwlock_assert_write(&mmu->lock);
	if (unlikely(!change || ((change & CHANGE_PROMOTE) && !it->mirror)))
		return mmu_bug(mmu, "no legal change of an entry");
	if (change & CHANGE_PROMOTE)
		return promote(mmu, it, new_spte);
	/* A removal goes on: its frame is about to be somebody else's. */
	if (!leaf_is_ok(mmu, it->mirror, it->gfn, old_spte, new_spte, it->level) && new_spte)
		return -EIO;
	if (it->mirror && (change & CHANGE_HOOK) &&
	    unlikely(tell_external(mmu, it->gfn, old_spte, new_spte, it->level, false)))
		return -EIO;
	/* Pairs with the iterator's acquire. */
	sync_store_release(it->sptep, new_spte);
	it->old_spte = new_spte;
	account(mmu, it->mirror, it->gfn, old_spte, new_spte, it->level, false);
	if (spte_is_table(old_spte, it->level))
		remove_table(mmu, mmu_spte_child(mmu, old_spte));
	return 0;
}
