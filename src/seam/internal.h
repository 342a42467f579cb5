/* SPDX-License-Identifier: MIT */
/*
 * seam/internal: the module as a whole, and the frame that every leaf runs in.
 *
 * A leaf is one function: it takes its operands from ctx->r, maps, locks and checks them by the
 * functions of checks.h, commits, and returns its status. It never unlocks: what it has locked is
 * noted in its leaf_ctx, and whoever called it ends with leaf_end(). It never writes r->rax.
 *
 * Levels in this room are the module's: 0 = 4K, 1 = 2M, 2 = 1G, 3 and 4 the entries above.
 */
#ifndef SEAM_INTERNAL_H
#define SEAM_INTERNAL_H

#include "cpu/lp.h"
#include "host/host.h"
#include "seam/locks.h"
#include "seam/seam.h"
#include "seam/td.h"

#define SEAM_MAX_PACKAGES 64
#define SEAM_NR_HKIDS (1u << TDX_HKID_BITS)

/* Bits of a physical address that carry the key id. */
#define HPA_HKID_MASK GENMASK_ULL(TDX_HKID_START_BIT + TDX_HKID_BITS - 1, TDX_HKID_START_BIT)
#define HPA_LIMIT BIT_ULL(52)

enum sys_state {
	SYS_INIT_PENDING,
	SYS_INIT_DONE,
	SYS_CONFIG_DONE,
	SYS_READY,
	SYS_SHUT_DOWN,
};

/* Key-id ownership table entry states. */
enum kot_state {
	KOT_FREE,
	KOT_ASSIGNED,
	KOT_FLUSHED,
	KOT_RESERVED,
};

struct kot_entry {
	u32 state;
	u64 wbinvd; /* a bit per package whose caches still have to be written back */
};

/* One TD memory region. Constant after SYS.CONFIG, but for the words of SYS.TDMR.INIT. */
struct seam_tdmr {
	hpa_t base;
	u64 size;
	hpa_t pamt_base[3]; /* by level; [0] is the page bitmap when Dynamic PAMT is on */
	u64 pamt_size[3];
	u32 nr_reserved;
	u32 init_mutex;
	struct {
		hpa_t base;
		u64 size;
	} reserved[TDX_MAX_RESERVED_PER_TDMR];
	/*
	 * Pages below it have their PAMT entries; SYS.TDMR.INIT moves it on under init_mutex. Only
	 * whole 1G blocks can be used: readers align it down. Store-release, pairs with the
	 * load-acquire in pamt_tdmr_of().
	 */
	hpa_t initialized_end;
};

struct seam_package {
	u32 key_configured; /* SYS.KEY.CONFIG is done here; guarded by sys_mutex */
	u32 ket_mutex;	    /* PCONFIG writes one key at a time */
	u32 wbcache_mutex;
	u32 wbcache_started; /* an interrupted PHYMEM.CACHE.WB can be resumed */
	u64 wbcache_hkids;   /* those that were FLUSHED at its start */
	u64 wbcache_progress;
};

struct seam {
	struct host *host;
	const struct seam_profile *profile;
	u32 sys_state; /* enum sys_state; atomic, changes under sys_mutex */
	u32 sys_mutex; /* SYS.INIT, SYS.CONFIG, SYS.KEY.CONFIG, ...: held else SYS_BUSY */
	u16 global_hkid;
	bool dynamic_pamt;
	u32 nr_tdmrs;
	struct seam_tdmr tdmr[TDX_MAX_TDMRS]; /* by ascending base */

	u16 kot_lock __attribute__((aligned(64))); /* no host priority */
	struct kot_entry kot[SEAM_NR_HKIDS];

	u32 lps_attached, lps_initialized;
	u64 *lp_initialized; /* a bit per LP that has done SYS.LP.INIT */
	struct seam_package package[SEAM_MAX_PACKAGES];
};

/* A TD exit that a guest leaf asks for; the dispatcher of tdcall() carries it out. */
struct td_exit {
	bool wanted;
	bool trap_like;	   /* the TDCALL has completed; else the guest repeats it */
	u32 reason;	   /* enum tdx_exit_reason */
	u64 qualification; /* RCX */
	u64 eeq;	   /* RDX */
	gpa_t gpa;	   /* R8, bits 11:0 clear */
};

struct held_lock {
	u16 *word;
	u16 units; /* lock_word_units() of the mode */
};

#define LEAF_MAX_LOCKS 20

struct sept_state;

/* One leaf while it runs, host's or guest's; on the stack of the dispatcher. */
struct leaf_ctx {
	struct seam *seam;
	struct host *host;
	struct lp *lp;
	struct tdx_regs *r;
	u32 leaf;
	u32 version;

	/* The TD: set by check_tdr() and check_td_state(), or by whoever has entered it. */
	hpa_t tdr_pa;
	struct tdr *tdr;
	struct tdcs *tdcs;
	struct tdvps *vcpu;

	/* What RCX asked for, and the S-EPT entry the walk ended at. */
	gpa_t gpa;
	u32 level;
	u32 found_level;
	u64 *entry;
	u64 value; /* of *entry, lock bit and host priority clear; exact while entry_locked */
	const struct sept_state *state;
	bool entry_locked;

	struct td_exit exit;
	struct trace_call *call; /* NULL: nobody listens, and the next has no meaning */
	bool has_place;		 /* its place stays, whatever it decides under the entry's lock */

	u32 nr_held;
	struct held_lock held[LEAF_MAX_LOCKS];
};

typedef u64 (*seam_leaf_fn)(struct leaf_ctx *ctx);

/** leaf_begin - a fresh frame; nothing is locked */
static inline void leaf_begin(struct leaf_ctx *ctx, struct seam *seam, struct lp *lp,
			      struct tdx_regs *r)
{
	ctx->seam = seam;
	ctx->host = seam->host;
	ctx->lp = lp;
	ctx->r = r;
	ctx->leaf = (u32)r->rax & 0xFFFF;
	ctx->version = (u32)r->rax >> 16 & 0xFF;
	ctx->tdr_pa = 0;
	ctx->tdr = NULL;
	ctx->tdcs = NULL;
	ctx->vcpu = NULL;
	ctx->entry = NULL;
	ctx->state = NULL;
	ctx->entry_locked = false;
	ctx->exit.wanted = false;
	ctx->call = NULL;
	ctx->nr_held = 0;
}

/*
 * Steps in which a call takes its place among all others, for who listens (base/trace.h): every look
 * at what may change without a lock, and every such change, is inside one. They keep nobody from
 * anything while nobody listens.
 */
static inline void leaf_step_begin(const struct leaf_ctx *ctx)
{
	if (unlikely(ctx->call))
		trace_step_begin(ctx->call);
}

static inline void leaf_step_end(const struct leaf_ctx *ctx)
{
	if (unlikely(ctx->call))
		trace_step_end(ctx->call);
}

/** leaf_end - unlock all that the leaf has locked, last first */
void leaf_end(struct leaf_ctx *ctx);

/** leaf_note_lock - @word has been locked in @mode */
static inline void leaf_note_lock(struct leaf_ctx *ctx, u16 *word, enum lock_mode mode)
{
	struct held_lock *held = &ctx->held[ctx->nr_held++];

	held->word = word;
	held->units = lock_word_units(mode);
}

/**
 * leaf_lock - a host's attempt at @word; noted in @ctx when it succeeds
 *
 * Return: true when locked.
 */
static inline bool leaf_lock(struct leaf_ctx *ctx, u16 *word, enum lock_mode mode)
{
	if (unlikely(!hp_lock_host(word, mode)))
		return false;
	leaf_note_lock(ctx, word, mode);
	return true;
}

/** leaf_lock_plain - leaf_lock() for a lock without host priority */
static inline bool leaf_lock_plain(struct leaf_ctx *ctx, u16 *word, enum lock_mode mode)
{
	if (unlikely(!plain_lock(word, mode)))
		return false;
	leaf_note_lock(ctx, word, mode);
	return true;
}

/** leaf_unlock_last - drop the lock that was taken last, before the leaf's end */
void leaf_unlock_last(struct leaf_ctx *ctx);

/**
 * page_is_intact - @hpa is a page of memory whose bytes are as the holder of @hkid left them
 *
 * A host's write to a page of the module's is a machine check for whoever reads it there; the model
 * must at least not believe the addresses that such a page holds.
 */
static inline bool page_is_intact(const struct host *host, hpa_t hpa, u16 hkid)
{
	if (unlikely(hpa >= host->memory_bytes))
		return false;
	return likely(!sync_load(&host->ever_poisoned)) || host_tag(host, addr_to_fn(hpa)) == hkid;
}

static inline u64 operand_status(u64 status, unsigned int operand)
{
	return status | operand;
}

/* ---- host leaves: memory ---------------------------------------------------------------------*/
u64 seam_tdh_mem_page_add(struct leaf_ctx *ctx);
u64 seam_tdh_mem_page_aug(struct leaf_ctx *ctx);
u64 seam_tdh_mem_page_demote(struct leaf_ctx *ctx);
u64 seam_tdh_mem_page_promote(struct leaf_ctx *ctx);
u64 seam_tdh_mem_page_relocate(struct leaf_ctx *ctx);
u64 seam_tdh_mem_page_remove(struct leaf_ctx *ctx);
u64 seam_tdh_mem_range_block(struct leaf_ctx *ctx);
u64 seam_tdh_mem_range_unblock(struct leaf_ctx *ctx);
u64 seam_tdh_mem_rd(struct leaf_ctx *ctx);
u64 seam_tdh_mem_wr(struct leaf_ctx *ctx);
u64 seam_tdh_mem_sept_add(struct leaf_ctx *ctx);
u64 seam_tdh_mem_sept_rd(struct leaf_ctx *ctx);
u64 seam_tdh_mem_sept_remove(struct leaf_ctx *ctx);
u64 seam_tdh_mem_track(struct leaf_ctx *ctx);
u64 seam_tdh_mr_extend(struct leaf_ctx *ctx);
u64 seam_tdh_mr_finalize(struct leaf_ctx *ctx);
u64 seam_tdh_phymem_page_rdmd(struct leaf_ctx *ctx);
u64 seam_tdh_phymem_pamt_add(struct leaf_ctx *ctx);
u64 seam_tdh_phymem_pamt_remove(struct leaf_ctx *ctx);

/* ---- host leaves: life cycle -----------------------------------------------------------------*/
u64 seam_tdh_sys_info(struct leaf_ctx *ctx);
u64 seam_tdh_sys_init(struct leaf_ctx *ctx);
u64 seam_tdh_sys_lp_init(struct leaf_ctx *ctx);
u64 seam_tdh_sys_config(struct leaf_ctx *ctx);
u64 seam_tdh_sys_key_config(struct leaf_ctx *ctx);
u64 seam_tdh_sys_tdmr_init(struct leaf_ctx *ctx);
u64 seam_tdh_sys_rd(struct leaf_ctx *ctx);
u64 seam_tdh_sys_rdall(struct leaf_ctx *ctx);
u64 seam_tdh_sys_lp_shutdown(struct leaf_ctx *ctx);
u64 seam_tdh_sys_shutdown(struct leaf_ctx *ctx);
u64 seam_tdh_sys_update(struct leaf_ctx *ctx);
u64 seam_tdh_mng_create(struct leaf_ctx *ctx);
u64 seam_tdh_mng_addcx(struct leaf_ctx *ctx);
u64 seam_tdh_mng_init(struct leaf_ctx *ctx);
u64 seam_tdh_mng_key_config(struct leaf_ctx *ctx);
u64 seam_tdh_mng_key_freeid(struct leaf_ctx *ctx);
u64 seam_tdh_mng_key_reclaimid(struct leaf_ctx *ctx);
u64 seam_tdh_mng_vpflushdone(struct leaf_ctx *ctx);
u64 seam_tdh_mng_rd(struct leaf_ctx *ctx);
u64 seam_tdh_mng_wr(struct leaf_ctx *ctx);
u64 seam_tdh_vp_create(struct leaf_ctx *ctx);
u64 seam_tdh_vp_addcx(struct leaf_ctx *ctx);
u64 seam_tdh_vp_init(struct leaf_ctx *ctx);
u64 seam_tdh_vp_enter(struct leaf_ctx *ctx);
u64 seam_tdh_vp_flush(struct leaf_ctx *ctx);
u64 seam_tdh_vp_rd(struct leaf_ctx *ctx);
u64 seam_tdh_vp_wr(struct leaf_ctx *ctx);
u64 seam_tdh_phymem_page_reclaim(struct leaf_ctx *ctx);
u64 seam_tdh_phymem_page_wbinvd(struct leaf_ctx *ctx);
u64 seam_tdh_phymem_cache_wb(struct leaf_ctx *ctx);

/* ---- guest leaves ----------------------------------------------------------------------------
 * A leaf that exits sets ctx->exit; its return value is then not used. tdr, tdcs and vcpu of the
 * frame are set before it is called.
 */
u64 seam_tdg_mem_page_accept(struct leaf_ctx *ctx);
u64 seam_tdg_mem_page_attr_rd(struct leaf_ctx *ctx);
u64 seam_tdg_mem_page_attr_wr(struct leaf_ctx *ctx);
u64 seam_tdg_vp_vmcall(struct leaf_ctx *ctx);
u64 seam_tdg_vp_info(struct leaf_ctx *ctx);
u64 seam_tdg_vp_veinfo_get(struct leaf_ctx *ctx);
u64 seam_tdg_vm_rd(struct leaf_ctx *ctx);
u64 seam_tdg_vm_wr(struct leaf_ctx *ctx);

#endif
