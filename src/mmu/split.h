/* SPDX-License-Identifier: MIT */
/*
 * mmu/split: what the files of the splitter share. split.c splits one leaf and drops mmu.lock for
 * what that needs; a policy says where leaves are looked for (split_ends.c, split_walk.c,
 * split_two_walks.c), another where the pages come from (split_page.c, split_vm_cache.c,
 * split_prealloc.c). split_shared.c does it beside others, under the read lock.
 *
 *	find a leaf to split <-----------------------------+
 *	is_ready? --- no ---> unlock, get, lock, restart --+
 *	   | yes: under the same hold of the lock
 *	fill a spare table, link it, go on below it
 *
 * Races: while the lock is dropped, another thread may split the same leaf, or use up what was got.
 * So nothing that was seen before counts: the walk restarts from the root at the same gfn, finds the
 * leaf or a table, and asks is_ready again. What is left over at the end is given back.
 */
#ifndef MMU_SPLIT_H
#define MMU_SPLIT_H

#include "mmu/internal.h"

/* As many leaves of one level can cross the two ends of a range. */
#define SPLIT_SPARES 2

struct mmu_split {
	struct mmu *mmu;
	const struct mmu_page *root;
	const struct mmu_split_supply *supply;
	/* Pages that wait for a leaf, by its level. */
	struct mmu_page *spare[PG_LEVEL_MAX_LEAF + 1][SPLIT_SPARES];
	u32 nr_spare[PG_LEVEL_MAX_LEAF + 1];
	struct mmu_vcpu_cache *cache;	 /* whose table pages are taken; NULL: allocated */
	bool shared;			 /* mmu.lock is held for reading */
	bool has_got;			 /* since the last split: a further get() is a retry */
	u64 visited;			 /* entries looked at */
	u64 drops, retries;		 /* as in struct mmu_stats */
	bool keeps_lock;		 /* reserve() got all there is to get: no yields */
	bool cache_is_short;		 /* vm-cache: at the last is_ready() */
	u32 need[PG_LEVEL_MAX_LEAF + 1]; /* prealloc: pages that the range needs, by level */
};

/*
 * Where a split's pages come from. All are called with mmu.lock held, for reading if s->shared, but
 * for get(), and for give_back() of a shared split.
 */
struct mmu_split_supply {
	/* Before the first look for a leaf that crosses an end of [start, end); may drop the lock. NULL:
	 * nothing is got in advance. Return: 0, -ENOMEM, -EIO. */
	int (*reserve)(struct mmu_split *s, gfn_t start, gfn_t end);
	/* A leaf at @level can be split here and now, with a page from spare[]. */
	bool (*is_ready)(struct mmu_split *s, enum pg_level level);
	/* After is_ready() said no: without mmu.lock. Return: 0 or -ENOMEM. */
	int (*get)(struct mmu_split *s, enum pg_level level);
	/* @sp was got and not used. */
	void (*give_back)(struct mmu_split *s, struct mmu_page *sp);
};

extern const struct mmu_split_supply mmu_split_page;
extern const struct mmu_split_supply mmu_split_vm_cache;
extern const struct mmu_split_supply mmu_split_prealloc;

/* ---- split.c ---------------------------------------------------------------------------------*/
/** mmu_split_init - to split in @root's tables; nothing is got yet */
void mmu_split_init(struct mmu_split *s, struct mmu *mmu, const struct mmu_page *root);
/** mmu_split_exit - give back what is left over, and count */
void mmu_split_exit(struct mmu_split *s);
/**
 * mmu_split_leaf - split the leaf that @it stands at, to the level below
 *
 * Or let go of mmu.lock to get what that needs: then @it has yielded, and the caller continues.
 * Return: 0; -ENOMEM, -EIO, and under the read lock -EBUSY and -EOPNOTSUPP, with the leaf as it was.
 */
int mmu_split_leaf(struct mmu_split *s, struct mmu_iter *it);
/** mmu_split_visit - @it came to an entry; true if the walk yielded there and must continue */
bool mmu_split_visit(struct mmu_split *s, struct mmu_iter *it);
/** mmu_split_unlocked_get - drop mmu.lock for one call of @get. Return: as @get, or -EIO */
int mmu_split_unlocked_get(struct mmu_split *s, enum pg_level level,
			   int (*get)(struct mmu_split *s, enum pg_level level));
/** mmu_split_add_spare - add a table page, with an external one for the mirror. -ENOMEM without */
int mmu_split_add_spare(struct mmu_split *s, enum pg_level level);
/** mmu_split_free_page - give back a page of mmu_split_add_spare()'s that isn't in spare[] any more */
void mmu_split_free_page(struct mmu_split *s, struct mmu_page *sp);

/* ---- where leaves are looked for: no leaf crosses @start or @end afterwards --------------------*/
int mmu_split_ends(struct mmu_split *s, gfn_t start, gfn_t end);
int mmu_split_walk(struct mmu_split *s, gfn_t start, gfn_t end);
int mmu_split_two_walks(struct mmu_split *s, gfn_t start, gfn_t end);
/** mmu_split_walk_part - the walk, over [@from, @to) of [@start, @end) alone */
int mmu_split_walk_part(struct mmu_split *s, gfn_t from, gfn_t to, gfn_t start, gfn_t end);

/* ---- split_page.c ----------------------------------------------------------------------------*/
/** mmu_split_page_get - one page for a leaf at @level, with its metadata; -ENOMEM */
int mmu_split_page_get(struct mmu_split *s, enum pg_level level);
bool mmu_split_page_is_ready(struct mmu_split *s, enum pg_level level);
void mmu_split_page_give_back(struct mmu_split *s, struct mmu_page *sp);

#endif
