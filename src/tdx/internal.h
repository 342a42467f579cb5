/* SPDX-License-Identifier: MIT */
/*
 * tdx/internal: what the files of this room share: the module of a host, a TD, a vCPU of it.
 *
 * Life: a tdx_module lives from tdx_bring_up() to tdx_shut_down(), longer than every TD on it. A td
 * lives from td_create() to td_destroy(), its vCPUs with it.
 *
 * Locks: tdx.hkid_lock guards the key ids and orders what the module does with its key-ownership
 * table; tdx.pamt_lock orders the coming and going of Dynamic PAMT pairs, and keeps DEMOTE out of
 * its way. A TD's split_cache.lock is of pamt_lock's class: neither is taken inside the other.
 * Everything else of a TD changes while no vCPU runs, under mmu.lock held for writing, or is atomic
 * and says so.
 */
#ifndef TDX_INTERNAL_H
#define TDX_INTERNAL_H

#include "cpu/lp.h"
#include "tdx/tdx.h"

#define TDX_NR_LEAVES 64

/* The module's own key id; TDs get those after it. */
#define TDX_GLOBAL_HKID TDX_FIRST_PRIVATE_HKID

/* Calls of one leaf on one LP. Written by the thread that drives the LP, read by anyone. */
struct tdx_leaf_counts {
	u64 ok, busy, errors;
};

/* What belongs to one LP; its driver alone writes it, so nothing here is contended. */
struct tdx_lp {
	struct tdx_leaf_counts leaf[TDX_NR_LEAVES];
	pfn_t spare_pair[2]; /* pages for one Dynamic PAMT pair, taken before mmu.lock */
	u32 nr_spare;	     /* 0 or 2 */
} __attribute__((aligned(64)));

struct tdx_module {
	struct host *host;
	u64 (*seamcall)(struct lp *lp, struct tdx_regs *r);
	struct lp **lps;
	u32 nr_lps;
	struct tdx_lp *per_lp; /* by lp->id */
	u32 nr_per_lp;

	void (*warn)(void *ctx, const char *what);
	void *warn_ctx;

	u64 features0;
	bool dynamic_pamt;
	/* PAMT areas: one range at the top of memory. */
	pfn_t pamt_pfn;
	u64 pamt_frames;
	u64 pamt_bytes;

	struct sync_mutex hkid_lock;
	u64 hkids_used; /* a bit per key id; under hkid_lock */

	struct sync_mutex pamt_lock;
	u32 *pamt_refs;	 /* by 2M range of host memory; see dpamt.c. Atomic */
	u64 dpamt_pages; /* statistics, atomic */
};

struct td_vcpu {
	struct td *td;
	u32 index;
	pfn_t pages[TDX_TDVPS_PAGES]; /* [0] is the TDVPR */
	u32 nr_pages;		      /* given to the module so far */
};

/* The pair for the next split, if it doesn't come with the table page. */
struct td_split_cache {
	struct sync_mutex lock;
	pfn_t pair[2]; /* under lock */
	u32 nr;	       /* 0 or 2; changes under lock, read without */
};

struct td {
	struct tdx_module *module;
	struct host *host;
	struct td_ops ops;
	struct mmu *mmu;
	unsigned int shared_bit;
	u32 max_vcpus;
	u16 hkid;
	enum td_demote_lock demote_lock;
	bool created;	   /* the TDR is one: MNG.CREATE has succeeded */
	bool key_released; /* leaves and tables are reclaimed, not removed */
	u32 runnable;	   /* set once, before the first vCPU runs */

	pfn_t tdr;
	pfn_t tdcx[TDX_TDCS_PAGES];
	u32 nr_tdcx; /* given to the module so far */
	struct td_vcpu **vcpus;
	u32 nr_vcpus;

	hpa_t add_source; /* of the next PAGE.ADD; one thread builds a TD */
	struct td_split_cache split_cache;

	/*
	 * Entries are held off. Set by an exchange, a full barrier, after which kick_and_wait() looks
	 * at every vCPU's entry count; pairs with vcpu_enter() in vm, which counts itself in by a
	 * full barrier and then looks here. One of the two sees the other.
	 */
	u32 hold_off __attribute__((aligned(64)));
};

/* ---- pages for the module (dpamt.c) ----------------------------------------------------------*/
int tdx_dpamt_init(struct tdx_module *m);
void tdx_dpamt_exit(struct tdx_module *m);
/**
 * tdx_pamt_get - page @pfn will be used at 4K: its 2M range has a pair when this returns
 *
 * Return: 0, -ENOMEM, -EIO. Always 0 without Dynamic PAMT.
 */
int tdx_pamt_get(struct tdx_module *m, pfn_t pfn);
/**
 * tdx_pamt_get_locked - likewise with mmu.lock held: takes the pair from the LP's spare pages
 *
 * Return: 0, -EIO, or -EBUSY when the spare pages are gone: drop the lock, top up, retry.
 */
int tdx_pamt_get_locked(struct tdx_module *m, pfn_t pfn);
void tdx_pamt_put(struct tdx_module *m, pfn_t pfn);
int tdx_pamt_topup(struct tdx_module *m);
/* Gives the spare pages of the calling thread's LP back. */
void tdx_pamt_drain(struct tdx_module *m);

/**
 * tdx_pair_alloc / tdx_pair_free - two pages for a pair that the module doesn't have; 0 or -ENOMEM
 */
int tdx_pair_alloc(struct tdx_module *m, pfn_t pair[2]);
void tdx_pair_free(struct tdx_module *m, const pfn_t pair[2]);
/**
 * tdx_pamt_split - a DEMOTE has put a pair on the 2M range of @pfn: all its pages are used at 4K
 *
 * Their count was 0, since the range was mapped at 2M; warns if not.
 */
void tdx_pamt_split(struct tdx_module *m, pfn_t pfn);
/** tdx_pamt_merge - backwards: a PROMOTE gave @pair back, and none of its pages is used at 4K */
void tdx_pamt_merge(struct tdx_module *m, pfn_t pfn, const pfn_t pair[2]);

/** tdx_page_alloc - a 4K frame for @use that the module may be given (its pair is there) */
int tdx_page_alloc(struct tdx_module *m, enum frame_use use, pfn_t *pfn);
/** tdx_page_free - a frame that the module doesn't have (any more) */
void tdx_page_free(struct tdx_module *m, enum frame_use use, pfn_t pfn);

/* ---- the pair of a split (dpamt_split_page.c, dpamt_split_cache.c) ---------------------------*/
/** td_split_needs_pair - a split of a leaf at @level takes a pair along */
static inline bool td_split_needs_pair(const struct td *td, enum pg_level level)
{
	return td->module->dynamic_pamt && level == PG_LEVEL_2M;
}

int td_alloc_split_metadata(void *ctx, struct mmu_page *sp, enum pg_level level);
void td_free_split_metadata(void *ctx, struct mmu_page *sp);

void td_split_cache_init(struct td *td);
void td_split_cache_destroy(struct td *td);
bool td_split_cache_is_short(void *ctx, enum pg_level level);
int td_topup_split_cache(void *ctx, enum pg_level level);
/** td_split_cache_take - false when there is none */
bool td_split_cache_take(struct td *td, pfn_t pair[2]);
/** td_split_cache_put - put back what a failed split didn't use */
void td_split_cache_put(struct td *td, const pfn_t pair[2]);

/* ---- a leaf becomes a table, and backwards (split.c, promote.c) ------------------------------*/
/** td_split / td_promote - as set_external_spte(), for leaf to table, and for table to leaf */
int td_split(struct td *td, gfn_t gfn, enum pg_level level, u64 old_spte, u64 new_spte,
	     bool shared);
int td_promote(struct td *td, gfn_t gfn, enum pg_level level, u64 old_spte, u64 new_spte,
	       bool shared);

/* ---- tracking (track.c) ----------------------------------------------------------------------*/
struct td_mem_call {
	struct td *td;
	gfn_t gfn;
	enum pg_level level;
	pfn_t removed; /* out: PAGE.REMOVE, the page; PAGE.PROMOTE, the page of the table */
	pfn_t table;   /* PAGE.DEMOTE: page for the new table */
	pfn_t pair[2]; /* PAGE.DEMOTE, in if has_pair; PAGE.PROMOTE, out for 2M with Dynamic PAMT */
	bool has_pair;
	u32 tries; /* PAGE.DEMOTE so far */
};

/**
 * td_call_no_vcpus - make @call; if it is BUSY hold vCPUs out, kick them, and make it once more
 *
 * mmu.lock held for writing. Return: the status of the last call.
 */
u64 td_call_no_vcpus(u64 (*call)(struct td_mem_call *c), struct td_mem_call *c);
/**
 * td_track - no vCPU uses a translation blocked before
 *
 * mmu.lock held for writing: two TRACKs at once would meet vCPUs of the older epoch.
 * Return: 0 or -EIO.
 */
int td_track(struct td *td);

/* ---- the end ---------------------------------------------------------------------------------*/
/** td_bugged - stop the VM because @leaf answered @status; Return: -EIO */
int td_bugged(struct td *td, enum tdh_leaf leaf, u64 status);
/** td_illegal - stop the VM because of @what; Return: -EIO */
int td_illegal(struct td *td, const char *what);
/**
 * td_check_leaf - td_ops.leaf_ok, before @leaf is called for a leaf of the mirror
 *
 * Return: 0, or -EIO and the VM is dead.
 */
int td_check_leaf(struct td *td, enum tdh_leaf leaf, gfn_t gfn, enum pg_level level, pfn_t pfn);
/** td_block_and_track - no vCPU uses a translation through the entry any more; 0 or -EIO */
int td_block_and_track(struct td *td, struct td_mem_call *c);
/** tdx_warn - tell whoever listens that @what happened */
void tdx_warn(const struct tdx_module *m, const char *what);
/** td_reclaim - take a page of a TD whose key is released back; Return: 0 or -EIO */
int td_reclaim(struct tdx_module *m, pfn_t pfn, enum pg_level level);
/** tdx_control_page_reclaim - td_reclaim() a control page and free it; it is lost if that fails */
void tdx_control_page_reclaim(struct tdx_module *m, pfn_t pfn);

static inline hpa_t td_tdr_hpa(const struct td *td)
{
	return fn_to_addr(td->tdr);
}

#endif
