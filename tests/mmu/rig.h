/* SPDX-License-Identifier: MIT */
/*
 * A host, an MMU with a mirror, and an external side that keeps a table of its own: it refuses and
 * reports whatever a secure page table would not allow (a change told twice, a leaf without its
 * table, a table taken back before what is below it), and fails or stops on demand.
 */
#ifndef TESTS_MMU_RIG_H
#define TESTS_MMU_RIG_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* cmocka needs those before it */
#include <cmocka.h>

#include "mmu/internal.h"

#define RIG_SHARED_BIT 47
#define RIG_GFN_BIT BIT_ULL(RIG_SHARED_BIT - 12)

/* One table of the external side. Entries are guarded by the MMU's own order, as TSan can tell. */
struct ext_table {
	enum pg_level level; /* of its entries */
	pfn_t page;
	pfn_t metadata[2]; /* came with a split */
	u32 nr_metadata;
	u64 live;		  /* entries in use; atomic */
	u64 leaf[PTRS_PER_TABLE]; /* pfn + 1, 0: none */
	struct ext_table *child[PTRS_PER_TABLE];
};

/* What one split of a 2M leaf takes beside the table's page, as two pairs of the real thing do. */
#define RIG_CACHE_MAX 4
#define RIG_SPLIT_METADATA 2

struct rig {
	struct host *host;
	struct mmu *mmu;
	struct mmu_vcpu_cache cache;
	struct ext_table *root;
	u64 ext_tables, ext_leafs; /* atomic */

	/* what was asked of the external side */
	u64 calls, maps, links, removes, reclaims, flushes; /* atomic */
	u64 splits, promotes, topups, gets; /* atomic; gets: allocations for splits */
	u64 metadata_out;		    /* like pages_out; atomic */
	pfn_t cached[RIG_CACHE_MAX];	    /* MMU_META_VM_CACHE */
	u32 nr_cached;			    /* cache_lock; read without as well */
	struct sync_mutex cache_lock;
	u64 warnings;
	u64 pages_out; /* external pages allocated and not freed; atomic */
	u64 wrongs;    /* what a secure page table wouldn't allow; atomic */
	const char *wrong;

	/* demands */
	u64 fail_at; /* the n-th set_external_spte from now on fails once, 0: none; atomic */
	int fail_with;
	u64 busy_every; /* of the calls under the read lock one in so many is busy, 0: none */
	bool fail_reclaim;
	bool fail_alloc;
	bool fail_topup;
	bool refuse_promote;
	bool others_run; /* other threads are about: no point is quiet */
	/* Runs in every allocation for a split: mmu.lock isn't held there. */
	void (*outside)(struct rig *r);
	u32 stop;    /* the next set_external_spte stops inside ... */
	u32 stopped; /* ... and says so, until stop is taken back */
	struct sync_waitq stop_wait;

	u64 bugs; /* vm_bugged calls */
	const char *why;
};

void rig_init(struct rig *r);
/* The same with the choices of @policy: split_where, split_metadata, split_under_read_lock. */
void rig_init_policy(struct rig *r, const struct mmu_config *policy);
/* Checks that mirror and external side agree, tears down, checks that every frame came back. */
void rig_exit(struct rig *r);
/* The same for a VM that was stopped on purpose: the sides may differ, the frames come back. */
void rig_exit_dead(struct rig *r);
/*
 * The invariants, with the external side in the module's place: both sides agree entry by entry,
 * nothing is FROZEN or being invalidated, every external page belongs to one table, counters are
 * right, and what was allocated is in trees and in caches. Nothing runs, and no cache is in use but
 * the rig's. A removal, a split and a promotion through the rig end with it, if they are the last
 * ones under way.
 */
void rig_check(struct rig *r);

struct mmu_fault rig_fault(struct rig *r, gfn_t gfn, pfn_t pfn, enum pg_level max_level);
/* Top up and map once, with pfn_of(gfn). */
int rig_map(struct rig *r, gfn_t gfn, enum pg_level max_level);
int rig_map_shared(struct rig *r, gfn_t gfn, enum pg_level max_level);
/* Take the write lock and zap. */
void rig_zap(struct rig *r, gfn_t start, gfn_t end, bool private);

/* Take the write lock, begin an invalidation, and split; or split to a level without one. */
int rig_split(struct rig *r, gfn_t start, gfn_t end, bool private);
int rig_split_to(struct rig *r, gfn_t start, gfn_t end, enum pg_level target, bool private);
int rig_promote(struct rig *r, gfn_t gfn, enum pg_level level);
/* All pairs of where a split looks and where its pages come from. */
#define RIG_POLICIES 9
static inline struct mmu_config rig_policy(unsigned int i)
{
	return (struct mmu_config){
		.split_where = (enum mmu_split_where)(i % 3),
		.split_metadata = (enum mmu_split_metadata)(i / 3),
	};
}

/* Fill the external side's cache; empty it. */
void rig_topup_split_cache(struct rig *r);
void rig_drain_split_cache(struct rig *r);

/* Takes all memory of the host but @left frames, and gives it back. */
struct hog {
	struct {
		pfn_t pfn;
		enum pg_level level;
	} block[2048];
	unsigned int n;
};
void rig_hog(struct rig *r, struct hog *hog, u64 left);
void rig_unhog(struct rig *r, struct hog *hog);

/* The frame that backs @gfn in tests: same offset in every huge block; no memory behind it. */
static inline pfn_t pfn_of(gfn_t gfn)
{
	return gfn + (1ULL << 20);
}

/* What mmu_lookup says of @gfn, level NONE if nothing. */
struct mmu_mapping rig_lookup(struct rig *r, gfn_t gfn, bool private);
u64 rig_pages(const struct rig *r, enum pg_level level);

/* xorshift: tests print their seed */
static inline u64 rig_rand(u64 *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

#endif
