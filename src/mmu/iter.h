/* SPDX-License-Identifier: MIT */
/*
 * mmu/iter: a pre-order walk over the entries of one root that cover a range.
 *
 *	struct mmu_iter it;
 *
 *	mmu_for_each_spte (it, mmu, root, PG_LEVEL_4K, start, end) {
 *		if (mmu_iter_wants_yield(mmu, &it)) {
 *			... pay what is owed
 *			mmu_iter_yield(mmu, &it);
 *			continue;
 *		}
 *		... look at it.gfn, it.level, it.old_spte; change it by a setter of set.c
 *	}
 *
 * Guarantees:
 *  1. Every entry at min_level, and every leaf above it, that covers a gfn of the range is visited
 *     once; tables above come before what is below them.
 *  2. A table that the visitor, or another thread, puts at the current entry is walked next.
 *  3. After a yield the walk starts again from the root at the same gfn, since tables may have gone.
 *     It wants to yield only after at least one entry was passed since the last time, so it ends.
 *
 * The caller keeps the tables alive: by mmu.lock in either mode, or by an RCU section and then
 * without yields.
 */
#ifndef MMU_ITER_H
#define MMU_ITER_H

#include "base/sync.h"
#include "mmu/spte.h"

struct mmu;
struct mmu_page;

struct mmu_iter {
	/* First gfn of the range that isn't passed yet: all below is done. Where a restart resumes. */
	gfn_t next_gfn;
	/* next_gfn at the last (re)start; a yield needs next_gfn to be beyond it. */
	gfn_t yielded_gfn;
	/* First gfn after the range; at most what the root covers. */
	gfn_t end;
	/* First gfn that the current entry covers; at or below next_gfn, for a first entry that
	 * sticks out of the range. */
	gfn_t gfn;
	/* Table that the walk went through at each level from root_level down to level. */
	u64 *table[PG_LEVEL_NUM];
	/* The current entry: in table[level]. */
	u64 *sptep;
	/* Value of *sptep when the walk came here, or a failed setter's newer sight of it. */
	u64 old_spte;
	/* Host memory, to reach tables from entries. */
	u8 *memory;
	/* Level of the current entry; between min_level and root_level. */
	enum pg_level level;
	enum pg_level min_level;
	enum pg_level root_level;
	bool mirror;
	/* False when the range is done; nothing else holds then. */
	bool valid;
	/* The lock was dropped: nothing holds but next_gfn. The caller must continue at once. */
	bool yielded;
};

/* Makes the entry of next_gfn in table[level] the current one. */
static inline void mmu_iter_settle(struct mmu_iter *it)
{
	it->gfn = fn_align_down(it->next_gfn, it->level);
	it->sptep = it->table[it->level] + level_index(it->next_gfn, it->level);
	/* Pairs with the setters' compare-exchange and release: a linked table reads as filled. */
	it->old_spte = sync_load_acquire(it->sptep);
}

static inline void mmu_iter_restart(struct mmu_iter *it)
{
	it->yielded = false;
	it->yielded_gfn = it->next_gfn;
	it->level = it->root_level;
	mmu_iter_settle(it);
}

static inline void mmu_iter_next(struct mmu_iter *it)
{
	if (unlikely(it->yielded)) {
		mmu_iter_restart(it);
		return;
	}
	if (it->level > it->min_level) {
		/* Looked at again: the visit, or another thread, may have put a table here. */
		u64 spte = sync_load_acquire(it->sptep);

		if (spte_is_table(spte, it->level)) {
			it->level--;
			it->table[it->level] = (void *)(it->memory + (spte & SPTE_PFN_MASK));
			mmu_iter_settle(it);
			return;
		}
	}
	it->next_gfn = it->gfn + pages_per_level(it->level);
	if (it->next_gfn >= it->end) {
		it->valid = false;
		return;
	}
	/* Past a table's last entry: the next one is above. Ends, as end is inside the root. */
	while (!level_index(it->next_gfn, it->level))
		it->level++;
	mmu_iter_settle(it);
}

/** mmu_iter_start - begin at @start; root covers [0, limit of its level) */
void mmu_iter_start(struct mmu_iter *it, const struct mmu *mmu, const struct mmu_page *root,
		    enum pg_level min_level, gfn_t start, gfn_t end);

/** mmu_iter_wants_yield - somebody waits for mmu.lock, and the walk got somewhere since it had it */
bool mmu_iter_wants_yield(struct mmu *mmu, const struct mmu_iter *it);
/**
 * mmu_iter_yield - let go of mmu.lock, held for writing, and take it again; continue at once
 *
 * What the walk owes (flushes) is to be paid before: others see the tables now.
 */
void mmu_iter_yield(struct mmu *mmu, struct mmu_iter *it);

#define mmu_for_each_spte(it, mmu, root, min_level, start, end)                   \
	for (mmu_iter_start(&(it), mmu, root, min_level, start, end); (it).valid; \
	     mmu_iter_next(&(it)))

#endif
