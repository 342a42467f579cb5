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
 *  3. A change under the write lock can't fail, but for a promotion, which may be refused: any other
 *     error of the hook stops the VM. The entry, and what is below it, is then as it was.
 *  4. A table page is freed only after every walker that could see it has left its RCU section.
 *  5. A fault that read its pfn before an invalidation began never maps after it ended.
 *  6. A leaf or table that is there is never replaced by a fault: no merging, no change of pfn.
 *  7. A table is taken back from the external side only when nothing is left below it, or when a
 *     promotion has put one leaf in its place.
 *  8. A split and a promotion change no translation: each gfn maps to the frame it did.
 *  9. Nothing is promoted in a range that is being invalidated: what was split for a removal stays so
 *     until that is done.
 *
 * Locks: mmu.lock (rwlock, struct mmu) guards the tree's shape. Under the read lock entries are only
 * added, and leaves split where the external side can do that; tables leave the tree under the write
 * lock alone. So mmu.lock in either mode keeps every table alive, and a walker without it
 * (mmu_lookup()) holds an RCU section. The hooks run under mmu.lock and outside any RCU section: they
 * may block. mmu.roots_lock guards the list of roots.
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
	 * links, leaf->none removes, leaf->table splits, table->leaf promotes. @level is the entry's,
	 * @gfn the first that the entry covers. A split's new table is full, and carries what
	 * alloc_split_metadata() put there. A promotion may be refused: -EAGAIN, with both sides as
	 * they were and the VM alive; after its success the child's external page is out of the
	 * external table, and mmu gives it to free_external_spt().
	 * Removal blocks, tracks and kicks by itself: the mirror owes no flush afterwards.
	 * @shared: the read lock is held and failure is allowed: -EBUSY asks for a retry, with what a
	 * split would have taken given back. Other errors stop the VM. The entry itself may be FROZEN
	 * while this runs: look at the arguments only.
	 */
	int (*set_external_spte)(void *ctx, gfn_t gfn, u64 old_spte, u64 new_spte,
				 enum pg_level level, bool shared);
	/*
	 * A table page left the mirror; nothing is left below it, on either side. Takes
	 * @sp->external_spt out of the external table. @gfn: first that the table maps; the entry that
	 * pointed to it is at @sp->level + 1. Return: 0, and mmu gives the page to
	 * free_external_spt(); an error stops the VM, and the page is lost.
	 */
	int (*reclaim_external_sp)(void *ctx, gfn_t gfn, struct mmu_page *sp);
	/*
	 * Pages for external tables: what the external side needs to know of them happens here.
	 * Called without mmu.lock (allocation), and with or without it (free). Return: 0 or -ENOMEM.
	 */
	int (*alloc_external_spt)(void *ctx, pfn_t *pfn);
	void (*free_external_spt)(void *ctx, pfn_t pfn);
	/*
	 * What the external side needs to split a leaf at @level into @sp, beside @sp->external_spt:
	 * put on the table page's descriptor (MMU_META_PAGE, MMU_META_PREALLOC), without mmu.lock.
	 * Return: 0 or -ENOMEM. The split's set_external_spte() takes it off; a page that no split used
	 * goes to free_split_metadata(), with or without mmu.lock, before free_external_spt(). Both NULL:
	 * a split needs nothing else.
	 */
	int (*alloc_split_metadata)(void *ctx, struct mmu_page *sp, enum pg_level level);
	void (*free_split_metadata)(void *ctx, struct mmu_page *sp);
	/*
	 * MMU_META_VM_CACHE: the same from a cache of the VM's. is_short: not enough there for one
	 * split at @level; mmu.lock held. topup: without mmu.lock; 0 or -ENOMEM, and is_short is asked
	 * again afterwards. Both NULL: a split needs nothing else. Under the read lock others may take
	 * from the cache after is_short said no: then the split is -EBUSY.
	 */
	bool (*split_cache_is_short)(void *ctx, enum pg_level level);
	int (*topup_split_cache)(void *ctx, enum pg_level level);
	/*
	 * No vCPU uses a translation of shared memory any more that is older than this call (write
	 * lock held): what the direct root owes after a removal. NULL: nothing caches its entries.
	 */
	void (*flush_external)(void *ctx);
};

/* A page table page: descriptor of one table of 512 entries. Shared data guarded by mmu.lock. */
struct mmu_page {
	u64 *spt;	    /* the entries, in a host frame */
	pfn_t table;	    /* that frame */
	pfn_t external_spt; /* mirror: the page given to the external side; 0 for the root and direct */
	pfn_t metadata
		[2]; /* mirror: pages that a split of the leaf above hands to the external side */
	u32 nr_metadata;     /* 0 or 2 */
	gfn_t gfn;	     /* first gfn that the table maps */
	enum pg_level level; /* of its entries */
	bool mirror;
	bool is_root;
	bool invalid;	/* root only: no new users; mmu.lock */
	u32 root_count; /* root only: users, and the MMU itself as long as it is valid; atomic */
	struct mmu *mmu;
	struct mmu_page *next; /* list of roots; mmu.roots_lock */
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
 * counts reasons. GUEST_INHIBIT may be read without a lock; nothing but a promotion clears it.
 */
struct mmu_slot {
	gfn_t base_gfn;
	u64 npages;
	u64 index;		 /* of base_gfn in the backing file */
	enum pg_level max_level; /* largest level modulo whose size base_gfn and index agree */
	u32 *disallow_lpage[PG_LEVEL_MAX_LEAF + 1]; /* by level, 2M and up; lazily populated */
};

/**
 * mmu_slot_init - describe [@base_gfn, @base_gfn + @npages), whose file offset starts at @index
 *
 * Costs the same for every size. Return: 0; -EINVAL (empty, or wraps); -ENOMEM.
 */
int mmu_slot_init(struct mmu_slot *slot, gfn_t base_gfn, u64 npages, u64 index);
void mmu_slot_destroy(struct mmu_slot *slot);
/**
 * mmu_slot_update_disallow - one reason more (@delta > 0) or less against huge leaves
 *
 * Concerns the block of @level (2M, 1G) that holds @gfn. Never touches MIXED and GUEST_INHIBIT.
 */
void mmu_slot_update_disallow(struct mmu_slot *slot, gfn_t gfn, enum pg_level level, int delta);
void mmu_slot_set_mixed(struct mmu_slot *slot, gfn_t gfn, enum pg_level level, bool mixed);
/** mmu_slot_clear_mixed - of all blocks in [@start, @end), which are whole ones; may be empty */
void mmu_slot_clear_mixed(struct mmu_slot *slot, gfn_t start, gfn_t end, enum pg_level level);
bool mmu_slot_test_guest_inhibit(const struct mmu_slot *slot, gfn_t gfn, enum pg_level level);
void mmu_slot_set_guest_inhibit(struct mmu_slot *slot, gfn_t gfn, enum pg_level level);
/** mmu_slot_clear_guest_inhibit - a promotion has put a leaf of @level there, mmu.lock still held */
void mmu_slot_clear_guest_inhibit(struct mmu_slot *slot, gfn_t gfn, enum pg_level level);
/** mmu_slot_may_promote - a leaf of @level may be there, but for GUEST_INHIBIT, which that lifts */
bool mmu_slot_may_promote(const struct mmu_slot *slot, gfn_t gfn, enum pg_level level);
/** mmu_slot_max_level - largest level at which @gfn may be mapped, @max at most */
enum pg_level mmu_slot_max_level(const struct mmu_slot *slot, gfn_t gfn, enum pg_level max);

/* ---- the MMU of one VM -----------------------------------------------------------------------*/
/* Where a split before a removal looks (threads of the series: head and tail, or the whole range). */
enum mmu_split_where {
	MMU_SPLIT_ENDS,	     /* by arithmetic, the leaves that cross the two ends: at most four */
	MMU_SPLIT_WALK,	     /* one walk over the whole range */
	MMU_SPLIT_TWO_WALKS, /* a walk at each end, up to the next 1G boundary */
};

/* Where a split's pages come from. */
enum mmu_split_metadata {
	MMU_META_PAGE,	   /* born with the table page, carried by its descriptor */
	MMU_META_VM_CACHE, /* a cache of the VM's, rechecked after every lock drop */
	MMU_META_PREALLOC, /* the bounded need of the ends, allocated in one go before the first split */
};

struct mmu_config {
	enum mmu_split_where split_where;
	enum mmu_split_metadata split_metadata;
	bool split_under_read_lock; /* the external side can; else such a split is -EOPNOTSUPP */
	u32 cache_capacity; /* of a vCPU's cache: MMU_CACHE_MIN to MMU_CACHE_MAX; 0: MMU_CACHE_CAPACITY */
	struct host *host;
	enum pg_level root_level;		 /* PG_LEVEL_512G (4 levels) or PG_LEVEL_256T (5) */
	unsigned int shared_bit;		 /* of a GPA; private gfns never carry it */
	const struct mmu_external_ops *external; /* NULL: no mirror root */
	void *external_ctx;
	/* The VM is dead: an invariant broke or a hook failed where it may not. Must not block. */
	void (*vm_bugged)(void *ctx, const char *why);
	/*
	 * A leaf above 4K may map @gfn (its first) to @pfn: contiguous memory of one kind. Asked when one
	 * is set, and before one is split or removed; no stops the VM. Any lock; must not block. NULL:
	 * not asked.
	 */
	bool (*leaf_ok)(void *ctx, gfn_t gfn, pfn_t pfn, enum pg_level level, bool private);
	/* Something that shouldn't happen did, and was refused: once for each kind. NULL: nobody hears. */
	void (*warn)(void *ctx, const char *what);
	void *vm_ctx;
};

struct mmu_stats {
	u64 pages[PG_LEVEL_NUM]; /* leaves now, by level: mirror and direct together; atomic */
	u64 mirror_tables, direct_tables; /* in the trees now, with the roots */
	u64 external_tables;		  /* given to the external side now, without its root */
	u64 faults_fixed, faults_retry, faults_spurious;
	u64 splits, split_entries_visited, promotes, zaps;
	u64 split_lock_drops; /* to get what a split needs */
	u64 split_retries; /* what was got was gone, or the external side was busy, or a race lost */
};

/** mmu_create - roots and nothing mapped. Return: 0, -EINVAL, -ENOMEM */
int mmu_create(const struct mmu_config *cfg, struct mmu **out);
/** mmu_destroy - nothing runs any more; zaps and frees what is left, waits for RCU */
void mmu_destroy(struct mmu *mmu);
const struct mmu_stats *mmu_stats(const struct mmu *mmu);
struct sync_rwlock *mmu_lock(struct mmu *mmu);
/** mmu_direct_root - table page of the direct root, for the shared EPT pointer */
hpa_t mmu_direct_root(const struct mmu *mmu);

/* Per-vCPU caches: topped up without locks, so that a fault allocates nothing under mmu.lock. */
#define MMU_CACHE_CAPACITY 40 /* unless configured */
#define MMU_CACHE_MIN 5
#define MMU_CACHE_MAX 80

struct mmu_vcpu_cache {
	struct mmu *mmu;
	u32 capacity;
	u32 nr_pages, nr_external, nr_direct_pages;
	struct mmu_page
		*direct_pages[MMU_CACHE_MIN];  /* for the direct root: descriptor and table */
	struct mmu_page *pages[MMU_CACHE_MAX]; /* the same for the mirror */
	pfn_t external[MMU_CACHE_MAX];
};

void mmu_cache_init(struct mmu_vcpu_cache *cache, struct mmu *mmu);
/**
 * mmu_cache_topup - have MMU_CACHE_MIN of each kind at least: more than any one fault takes
 *
 * Refills to capacity when there is less than that. Return: 0 or -ENOMEM; what was got stays.
 */
int mmu_cache_topup(struct mmu_vcpu_cache *cache);
void mmu_cache_destroy(struct mmu_vcpu_cache *cache);

/* ---- faults ----------------------------------------------------------------------------------*/
struct mmu_fault {
	gfn_t gfn;		 /* without the shared bit */
	pfn_t pfn;		 /* frame of gfn itself */
	enum pg_level max_level; /* from slot, attributes, folio, TD state and policy */
	bool private;
	bool write;	    /* not looked at: leaves are always writable */
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
 * Maps at the largest level that @fault->max_level and the alignment of gfn and pfn allow, and that
 * no table stands in the way of. RETRY: another thread got in between, the external side is busy, an
 * invalidation came, or the cache ran dry; top up and fault again. Takes mmu.lock for reading.
 * Return: an enum mmu_ret; -EIO when the VM is dead; -EINVAL for a gfn outside the tables, or a
 * private one without a mirror.
 */
int mmu_map(struct mmu *mmu, struct mmu_vcpu_cache *cache, const struct mmu_fault *fault);

/* ---- invalidation ----------------------------------------------------------------------------*/
/** mmu_invalidate_seq - take it before looking up the pfn of a fault; any lock mode */
u64 mmu_invalidate_seq(const struct mmu *mmu);
/** mmu_invalidate_begin/range_add/end - callers hold mmu.lock for writing */
void mmu_invalidate_begin(struct mmu *mmu);
void mmu_invalidate_range_add(struct mmu *mmu, gfn_t start, gfn_t end);
void mmu_invalidate_end(struct mmu *mmu);
/**
 * mmu_invalidate_retry - what was looked up for @gfn at @seq may be gone
 *
 * Exact under mmu.lock; without it a hint that saves taking the lock.
 */
bool mmu_invalidate_retry(const struct mmu *mmu, u64 seq, gfn_t gfn);

/* ---- zap -------------------------------------------------------------------------------------*/
/**
 * mmu_zap_leafs - remove every leaf that overlaps [@start, @end) from the private or shared tables
 *
 * mmu.lock held for writing; may yield it. Leaves that stick out of the range go whole: callers
 * split first, or pass ranges that no leaf crosses. Tables stay.
 * External removals happen here and now; the direct root's flush before a yield or the return.
 */
void mmu_zap_leafs(struct mmu *mmu, gfn_t start, gfn_t end, bool private);

/* ---- split and promote -----------------------------------------------------------------------*/
/**
 * mmu_split_boundaries - no leaf crosses @start or @end afterwards
 *
 * For what is to be removed next: mmu.lock held for writing, an invalidation of the range (rounded
 * out to the largest leaf) begun, so that no fault maps across again and nothing is promoted. May
 * drop and retake the lock to allocate, or to let others have it; with MMU_META_PREALLOC at most
 * once, before the first split. Flushes nothing: a split owes nothing that the external side hasn't done.
 * Where it looks is cfg->split_where; entries looked at count in split_entries_visited. All pairs of
 * split_where and split_metadata work: whoever looks, only leaves at the two ends are split.
 * Return: 0; -ENOMEM with nothing lost (leaves split on the way stay split); -EIO, the VM is dead.
 */
int mmu_split_boundaries(struct mmu *mmu, gfn_t start, gfn_t end, bool private);
/**
 * mmu_split_to_level - no leaf in [@start, @end) is above @target afterwards; likewise
 *
 * For an ACCEPT at a lower level, and dirty tracking (eager, to 4K). Its need isn't bounded, so it
 * may drop the lock for each leaf, also with MMU_META_PREALLOC; who doesn't invalidate the range, or
 * promotes meanwhile, may find new large leaves in what was passed then. One leaf and its parts are
 * final at the return, which is under the same hold of the lock as the last split.
 * Return: as above, and -EINVAL for a @target below 4K.
 */
int mmu_split_to_level(struct mmu *mmu, gfn_t start, gfn_t end, enum pg_level target, bool private);
/**
 * mmu_split_shared - no leaf maps @gfn above @target afterwards, and no fault will, beside others
 *
 * For an ACCEPT at @target, where the external side can split under the read lock: takes mmu.lock for
 * reading, and lets go of it to allocate. Private tables only. Table pages come from @cache; with
 * MMU_META_VM_CACHE what else a split needs comes from the VM's, where another reader may be faster.
 * GUEST_INHIBIT is set in @slot (NULL: nowhere) above @target, under the same hold of the lock that
 * found nothing left to split.
 * Return: MMU_RET_FIXED, this call has split; MMU_RET_SPURIOUS, there was nothing to split;
 * MMU_RET_RETRY, the external side was busy, or another thread at the entry: the leaf is as it was,
 * come again. -EOPNOTSUPP where the external side can't; -ENOMEM; -EIO; -EINVAL as
 * mmu_split_to_level(), and outside the tables.
 */
int mmu_split_shared(struct mmu *mmu, struct mmu_vcpu_cache *cache, struct mmu_slot *slot,
		     gfn_t gfn, enum pg_level target);
/**
 * mmu_promote - put one leaf at @level in place of the full, contiguous table that maps @gfn
 *
 * mmu.lock held for writing, private tables only. All parts must be leaves at @level - 1. While the
 * external side does it, who looks without mmu.lock finds no leaf there.
 * Return: 0; -EAGAIN when the table isn't there, not full, not contiguous or aligned, when it is being
 * invalidated, or the external side refuses: all as it was; -EINVAL for a @level that no leaf can get
 * by promotion; -EIO, the VM is dead.
 */
int mmu_promote(struct mmu *mmu, gfn_t gfn, enum pg_level level);
/**
 * mmu_is_promotable - the table below @gfn's entry at @level is full, contiguous, aligned
 *
 * And isn't being invalidated. Any lock mode; without mmu.lock a hint, whose answer no costs a few
 * loads for a block that is being filled in any usual order.
 */
bool mmu_is_promotable(struct mmu *mmu, gfn_t gfn, enum pg_level level);
/**
 * mmu_next_table - find the first private entry at @level, at or after @gfn, that points to a table
 *
 * Return: true, and the entry's first gfn in @gfn (or @gfn itself, in the middle of one). Any lock mode.
 */
bool mmu_next_table(struct mmu *mmu, gfn_t *gfn, enum pg_level level);

/* ---- looking (tests, audits, reports); any lock mode -----------------------------------------*/
struct mmu_mapping {
	gfn_t gfn;
	pfn_t pfn;
	enum pg_level level;
};

/** mmu_lookup - the leaf that maps @gfn; false if none, or without mmu.lock: if it is being changed */
bool mmu_lookup(struct mmu *mmu, gfn_t gfn, bool private, struct mmu_mapping *out);
/** mmu_for_each_leaf - call @fn for every leaf in gfn order; nothing else runs */
void mmu_for_each_leaf(struct mmu *mmu, bool private,
		       void (*fn)(void *ctx, const struct mmu_mapping *m), void *ctx);

#endif
