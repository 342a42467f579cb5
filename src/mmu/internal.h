/* SPDX-License-Identifier: MIT */
/*
 * mmu/internal: what the files of this room share. No other room includes it.
 */
#ifndef MMU_INTERNAL_H
#define MMU_INTERNAL_H

#include "mmu/iter.h"
#include "mmu/mmu.h"
#include "mmu/spte.h"

struct mmu {
	struct mmu_config cfg;
	struct host *host;
	gfn_t direct_bits; /* the shared bit: in every gfn of the direct root, as the hardware walks it */
	gfn_t gfn_limit;	      /* first gfn that is none of the guest's */
	struct mmu_page *mirror_root; /* NULL without an external side */
	struct mmu_page *direct_root;

	struct sync_mutex roots_lock;
	struct mmu_page *roots; /* all roots with users, invalid ones too */

	bool dead;	      /* vm_bugged was called; never cleared */
	bool warned_of_split; /* a split under the read lock was refused, and said so; atomic */

	/*
	 * Written under mmu.lock held for writing. in_progress counts overlapping invalidations, whose
	 * union is [invalidate_start, invalidate_end).
	 */
	u64 invalidate_seq;
	u32 invalidate_in_progress;
	gfn_t invalidate_start, invalidate_end;

	/* Lines of their own: every fault writes these two. */
	struct sync_rwlock lock __attribute__((aligned(64)));
	struct mmu_stats stats __attribute__((aligned(64)));
};

/** mmu_bug - an invariant broke: the VM is dead from here on. Return: -EIO */
int mmu_bug(struct mmu *mmu, const char *why);

/** mmu_gfn - a root's gfn as the guest knows it, without the shared bit */
static inline gfn_t mmu_gfn(const struct mmu *mmu, gfn_t gfn)
{
	return gfn & ~mmu->direct_bits;
}

/** mmu_root_gfn - the gfn that @gfn has in the tables of its root */
static inline gfn_t mmu_root_gfn(const struct mmu *mmu, gfn_t gfn, bool private)
{
	return private ? gfn : gfn | mmu->direct_bits;
}

/* ---- table.c: life of a table page -----------------------------------------------------------*/
/** mmu_page_alloc - a descriptor and a table that reads as zero, NULL without memory */
struct mmu_page *mmu_page_alloc(struct mmu *mmu, bool mirror);
/** mmu_page_alloc_unfilled - the same with undefined content, for who fills all of the table */
struct mmu_page *mmu_page_alloc_unfilled(struct mmu *mmu, bool mirror);
/** mmu_page_use - @sp will map from @gfn, with entries at @level: it may be written from now on */
void mmu_page_use(struct mmu_page *sp, gfn_t gfn, enum pg_level level);
/** mmu_page_free - give back a page that no tree ever held */
void mmu_page_free(struct mmu_page *sp);
/** mmu_page_free_rcu - the same when all walkers that may see it have gone */
void mmu_page_free_rcu(struct mmu_page *sp);

/* ---- roots.c ---------------------------------------------------------------------------------*/
/** mmu_root_create - a root with one user, the MMU itself; NULL without memory */
struct mmu_page *mmu_root_create(struct mmu *mmu, bool mirror);
/** mmu_root_get - become a user of @root; false when the last one has gone */
bool mmu_root_get(struct mmu_page *root);
/** mmu_root_put - the last one takes the root, empty by then, off the list and frees it through RCU */
void mmu_root_put(struct mmu *mmu, struct mmu_page *root);
/**
 * mmu_root_next - first root of the kind after @prev (NULL: of all), with a reference
 *
 * Drops the reference on @prev after it has the next, so that a walk over roots may yield mmu.lock.
 */
struct mmu_page *mmu_root_next(struct mmu *mmu, struct mmu_page *prev, bool mirror);
/** mmu_roots_invalidate - no fault maps into any root from here on. Write lock held. */
void mmu_roots_invalidate(struct mmu *mmu);

/* ---- invalidate.c ----------------------------------------------------------------------------*/
/** mmu_invalidate_overlaps - an invalidation runs that touches [@start, @end); exact under mmu.lock */
bool mmu_invalidate_overlaps(const struct mmu *mmu, gfn_t start, gfn_t end);

/* ---- set.c: every change of an entry ---------------------------------------------------------*/
/**
 * mmu_set_spte_atomic - change the current entry of @it under the read lock
 *
 * Return: 0, and @it->old_spte is @new_spte. -EBUSY when another thread was faster (then
 * @it->old_spte is what it put there) or the external side is busy (then the entry is as it was).
 * -EOPNOTSUPP: a split, which the external side can't do under the read lock. -EIO: the VM is dead.
 * The entry as it was after both.
 */
int mmu_set_spte_atomic(struct mmu *mmu, struct mmu_iter *it, u64 new_spte);
/**
 * mmu_set_spte - change the current entry of @it under the write lock
 *
 * A table that leaves the tree is emptied and freed with all below it; one that a leaf replaces must
 * hold all parts of that leaf. A table that comes in place of a leaf is filled by the caller.
 * Return: 0; -EAGAIN, for a leaf in place of a table only: a part is missing or differs, or the
 * external side refuses. -EIO: the VM is dead. The entry and what is below it as they were after both.
 */
int mmu_set_spte(struct mmu *mmu, struct mmu_iter *it, u64 new_spte);

/* ---- cache.c ---------------------------------------------------------------------------------*/
/** mmu_cache_take - a page, with an external one for the mirror; NULL when the cache is dry */
struct mmu_page *mmu_cache_take(struct mmu_vcpu_cache *cache, bool mirror);
/** mmu_cache_return - put back what mmu_cache_take() gave last and nobody has seen */
void mmu_cache_return(struct mmu_vcpu_cache *cache, struct mmu_page *sp);
/** mmu_cache_has_room - mmu_cache_return() of a mirror page that was taken some top-ups ago is fine */
static inline bool mmu_cache_has_room(const struct mmu_vcpu_cache *cache)
{
	return cache->nr_pages < cache->capacity && cache->nr_external < cache->capacity;
}

/* ---- zap.c -----------------------------------------------------------------------------------*/
/** mmu_zap_root - empty @root of leaves and tables. Write lock held; doesn't yield. */
void mmu_zap_root(struct mmu *mmu, struct mmu_page *root);

#endif
