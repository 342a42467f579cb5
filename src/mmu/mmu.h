/* SPDX-License-Identifier: MIT */
/*
 * mmu: the TDP MMU. Page tables of one VM: a direct root for shared GPAs and, for a TD, a mirror
 * root for private ones, whose entries follow an external page table behind one table of hooks.
 * Knows no TDX.
 *
 * Guarantees:
 *  1. Every change of a mirror entry goes through one function with (old, new, level) and calls the
 *     external hook exactly once; counters and trace points come after its success.
 *  2. A change under the read lock is a compare-exchange; a lost one is a retry. While the hook
 *     runs the entry is FROZEN; if it fails the old value is back.
 *  3. A change under the write lock can't fail: a hook's error there stops the VM.
 *  4. A table page is freed only after every walker that could see it has left its RCU section.
 *  5. A fault that read its pfn before an invalidation began never maps after it ended.
 *
 * Locks: mmu.lock (rwlock, struct mmu) guards the tree's shape; walkers also hold an RCU section.
 */
#ifndef MMU_MMU_H
#define MMU_MMU_H

#include "base/sync.h"
#include "base/types.h"
#include "host/host.h"

struct mmu;
struct mmu_page;

/* ---- the external page table ------------------------------------------------------------------
 * Called with mmu.lock held (read or write); never under a lock of the callee's that is held while
 * somebody waits for mmu.lock. Hook input is read through the mmu_spte_* accessors.
 */
struct mmu_external_ops {
	/*
	 * One entry of the mirror changes from @old_spte to @new_spte: none->leaf maps, none->table
	 * links, leaf->none removes, leaf->table splits (comes with splitting). @shared: the read lock
	 * is held and failure is allowed: -EBUSY asks for a retry. Other errors stop the VM.
	 */
	int (*set_external_spte)(void *ctx, gfn_t gfn, u64 old_spte, u64 new_spte,
				 enum pg_level level, bool shared);
	/* A table page left the mirror; all its leaves are gone. Takes the external page back. */
	int (*reclaim_external_sp)(void *ctx, gfn_t gfn, struct mmu_page *sp);
	/* Pages for external tables: what the external side needs to know of them happens here. */
	int (*alloc_external_spt)(void *ctx, pfn_t *pfn);
	void (*free_external_spt)(void *ctx, pfn_t pfn);
	/* No stale translation may be used after this returns (write lock held). */
	void (*flush_external)(void *ctx);
};

/* A page table page: descriptor of one table of 512 entries. Shared data guarded by mmu.lock. */
struct mmu_page {
	u64 *spt;	    /* the entries, in a host frame */
	pfn_t table;	    /* that frame */
	pfn_t external_spt; /* mirror: the page given to the external side; 0 for the root and direct */
	gfn_t gfn;	    /* first gfn that the table maps */
	enum pg_level level;
	bool mirror;
	bool is_root;
	bool invalid;	/* root only: no new users */
	u32 root_count; /* root only; atomic */
	struct mmu *mmu;
	struct mmu_page *next; /* list of roots; or of pages waiting to be freed */
	struct sync_rcu_head rcu;
};

/* ---- entries ---------------------------------------------------------------------------------
 * Mirror entries use the EPT format with a software bit for "present", since the external page
 * table may hide RWX.
 */
bool mmu_spte_is_present(u64 spte);
bool mmu_spte_is_frozen(u64 spte);
bool mmu_spte_is_leaf(u64 spte, enum pg_level level);
pfn_t mmu_spte_pfn(u64 spte);
/** mmu_spte_child - descriptor of the table that a present non-leaf @spte points to */
struct mmu_page *mmu_spte_child(const struct mmu *mmu, u64 spte);

/* ---- slots: what limits the size of a mapping -------------------------------------------------
 * disallow_lpage: per block of each huge level a word; bit 31 MIXED, bit 30 GUEST_INHIBIT, the rest
 * counts reasons. GUEST_INHIBIT is one-way and may be read without a lock.
 */
struct mmu_slot {
	gfn_t base_gfn;
	u64 npages;
	u64 index;				    /* of base_gfn in the backing file */
	u32 *disallow_lpage[PG_LEVEL_MAX_LEAF + 1]; /* by level, 2M and up; lazily populated */
};

int mmu_slot_init(struct mmu_slot *slot, gfn_t base_gfn, u64 npages, u64 index);
void mmu_slot_destroy(struct mmu_slot *slot);
void mmu_slot_update_disallow(struct mmu_slot *slot, gfn_t gfn, enum pg_level level, int delta);
void mmu_slot_set_mixed(struct mmu_slot *slot, gfn_t gfn, enum pg_level level, bool mixed);
bool mmu_slot_test_guest_inhibit(const struct mmu_slot *slot, gfn_t gfn, enum pg_level level);
void mmu_slot_set_guest_inhibit(struct mmu_slot *slot, gfn_t gfn, enum pg_level level);
/** mmu_slot_max_level - largest level at which @gfn may be mapped, @max at most */
enum pg_level mmu_slot_max_level(const struct mmu_slot *slot, gfn_t gfn, enum pg_level max);

/* ---- the MMU of one VM -----------------------------------------------------------------------*/
struct mmu_config {
	struct host *host;
	enum pg_level root_level;		 /* PG_LEVEL_512G (4 levels) or PG_LEVEL_256T (5) */
	unsigned int shared_bit;		 /* of a GPA; private gfns never carry it */
	const struct mmu_external_ops *external; /* NULL: no mirror root */
	void *external_ctx;
	/* The VM is dead: an invariant broke or a hook failed where it may not. Must not block. */
	void (*vm_bugged)(void *ctx, const char *why);
	void *vm_ctx;
};

struct mmu_stats {
	u64 pages[PG_LEVEL_NUM]; /* leaves now, by level: mirror and direct together; atomic */
	u64 mirror_tables, external_tables, direct_tables; /* pages now */
	u64 faults_fixed, faults_retry, faults_spurious;
	u64 splits, split_entries_visited, promotes, zaps;
};

int mmu_create(const struct mmu_config *cfg, struct mmu **out);
/** mmu_destroy - nothing runs any more; zaps and frees what is left, waits for RCU */
void mmu_destroy(struct mmu *mmu);
const struct mmu_stats *mmu_stats(const struct mmu *mmu);
struct sync_rwlock *mmu_lock(struct mmu *mmu);
/** mmu_root_hpa - table page of the direct root, for the shared EPT pointer */
hpa_t mmu_direct_root(const struct mmu *mmu);

/* Per-vCPU caches: topped up without locks, so that a fault allocates nothing under mmu.lock. */
#define MMU_CACHE_CAPACITY 40
#define MMU_CACHE_MIN 5

struct mmu_vcpu_cache {
	struct mmu *mmu;
	struct mmu_page *pages[MMU_CACHE_CAPACITY]; /* descriptor and table */
	u32 nr_pages;
	pfn_t external[MMU_CACHE_CAPACITY];
	u32 nr_external;
};

void mmu_cache_init(struct mmu_vcpu_cache *cache, struct mmu *mmu);
int mmu_cache_topup(struct mmu_vcpu_cache *cache);
void mmu_cache_destroy(struct mmu_vcpu_cache *cache);

/* ---- faults ----------------------------------------------------------------------------------*/
struct mmu_fault {
	gfn_t gfn;		 /* without the shared bit */
	pfn_t pfn;		 /* frame of gfn itself */
	enum pg_level max_level; /* from slot, attributes, folio, TD state and policy */
	bool private;
	bool write;
	u64 invalidate_seq; /* mmu_invalidate_seq() from before pfn was looked up */
};

enum mmu_ret {
	MMU_RET_RETRY,
	MMU_RET_FIXED,
	MMU_RET_SPURIOUS,
};

/**
 * mmu_map - install the translation of @fault
 *
 * Takes mmu.lock for reading. Return: an enum mmu_ret, or -EIO when the VM is dead.
 */
int mmu_map(struct mmu *mmu, struct mmu_vcpu_cache *cache, const struct mmu_fault *fault);

/* ---- invalidation ----------------------------------------------------------------------------*/
u64 mmu_invalidate_seq(const struct mmu *mmu);
/** mmu_invalidate_begin/range_add/end - callers hold mmu.lock for writing */
void mmu_invalidate_begin(struct mmu *mmu);
void mmu_invalidate_range_add(struct mmu *mmu, gfn_t start, gfn_t end);
void mmu_invalidate_end(struct mmu *mmu);
bool mmu_invalidate_retry(const struct mmu *mmu, u64 seq, gfn_t gfn);

/* ---- zap -------------------------------------------------------------------------------------*/
/**
 * mmu_zap_leafs - remove every leaf that overlaps [@start, @end) from the private or shared tables
 *
 * mmu.lock held for writing; may yield it. Leaves that stick out of the range go whole: callers
 * split first, or pass ranges that no leaf crosses. Flushes before it returns.
 */
void mmu_zap_leafs(struct mmu *mmu, gfn_t start, gfn_t end, bool private);

/* ---- looking (tests, audits, reports); any lock mode -----------------------------------------*/
struct mmu_mapping {
	gfn_t gfn;
	pfn_t pfn;
	enum pg_level level;
};

/** mmu_lookup - the leaf that maps @gfn; false if none */
bool mmu_lookup(struct mmu *mmu, gfn_t gfn, bool private, struct mmu_mapping *out);
/** mmu_for_each_leaf - call @fn for every leaf in gfn order; nothing else runs */
void mmu_for_each_leaf(struct mmu *mmu, bool private,
		       void (*fn)(void *ctx, const struct mmu_mapping *m), void *ctx);

#endif
