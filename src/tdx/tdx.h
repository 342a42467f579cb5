/* SPDX-License-Identifier: MIT */
/*
 * tdx: KVM's TDX half. Brings the module up, gives a TD its life cycle, and says what one change of
 * a mirror entry means in SEAMCALLs. Of the module it knows the ABI alone.
 *
 * Guarantees:
 *  1. A BUSY from a change under the write lock is answered by holding vCPUs out, kicking them, and
 *     asking once more; any other unexpected status stops the VM (-EIO). A promotion is an offer:
 *     what the module refuses, or is busy for twice, is undone, and comes to -EAGAIN.
 *  2. A failed change leaves key, frames and references as they were; but a leaf that the module
 *     doesn't let go of has its frame's bytes taken back, since its owner frees it: the VM is dead.
 *  3. Every page given to the module is taken back: after td_destroy() the TD owns none. 4. With
 *  TD_DEMOTE_LOCK_ALWAYS no TD makes another TD's split BUSY, with TD_DEMOTE_LOCK_SECOND_TRY
 *     not its second try: a host that runs many TDs stops none of them.
 */
#ifndef TDX_TDX_H
#define TDX_TDX_H

#include "base/types.h"
#include "mmu/mmu.h"
#include "septum/abi.h"

struct lp;

/* ---- the module of one host -------------------------------------------------------------------*/
struct tdx_module;

struct tdx_leaf_stats {
	u64 calls, ok, busy, errors; /* calls = ok + busy + errors; information statuses are ok */
};

struct tdx_module_config {
	struct host *host;
	struct lp **lps;
	u32 nr_lps;
	bool dynamic_pamt;
	/* seamcall(): handed down, since tdx may not include seam */
	u64 (*seamcall)(struct lp *lp, struct tdx_regs *r);
	/* seam_tdmr_init_all(), NULL: loop over SYS.TDMR.INIT */
	void (*tdmr_init_all)(void *seam);
	void *seam;
	/*
	 * Something that shouldn't happen did, and memory is worse off for it: a 2M range of the
	 * host stays 4K-only, or its count of users was wrong. Each time; any lock held; must not
	 * block. NULL: nobody hears.
	 */
	void (*warn)(void *ctx, const char *what);
	void *warn_ctx;
};

/**
 * tdx_bring_up - SYS.INIT to the last SYS.TDMR.INIT: after it TDs can be made
 *
 * Covers all memory of the host by one TDMR, with PAMT areas taken from the top of memory and
 * reserved in it. Makes calls on every LP in turn; nobody else may drive one meanwhile. The arrays
 * of @cfg must outlive the module.
 * Return: 0; -ENOMEM; -EBUSY when the top of memory is in use; -EIO when the module refuses (a profile
 * without Dynamic PAMT that is asked for it, too).
 */
int tdx_bring_up(const struct tdx_module_config *cfg, struct tdx_module **out);
/** tdx_shut_down - free what bring-up took; no TD lives any more */
void tdx_shut_down(struct tdx_module *module);
/**
 * tdx_overhead_bytes - of a host with @host_bytes, how much bring-up takes for the PAMT
 *
 * A multiple of 2M. Grows with @host_bytes by less than 1/128.
 */
u64 tdx_overhead_bytes(u64 host_bytes, bool dynamic_pamt);
u64 tdx_pamt_static_bytes(const struct tdx_module *module);
/** tdx_dpamt_pages - 4K pages that sit in the module as Dynamic PAMT pairs now */
u64 tdx_dpamt_pages(const struct tdx_module *module);
/** tdx_pamt_refs - pages of the 2M range of @pfn that are used at 4K; 0 without Dynamic PAMT */
u32 tdx_pamt_refs(const struct tdx_module *module, pfn_t pfn);
/** tdx_huge_pages_ok - the module has feature bit 51, so private memory may be mapped at 2M */
bool tdx_huge_pages_ok(const struct tdx_module *module);
/** tdx_splits_unblocked - the module's DEMOTE wants neither BLOCK nor TRACK, so vCPUs may go on */
bool tdx_splits_unblocked(const struct tdx_module *module);
/** tdx_leaf_stats - calls of host leaf @leaf so far, all TDs and LPs together */
struct tdx_leaf_stats tdx_leaf_stats(const struct tdx_module *module, unsigned int leaf);

/* ---- a TD -------------------------------------------------------------------------------------*/
struct td;
struct td_vcpu;

struct td_ops {
	/* Makes every vCPU leave the guest, and returns when each has been outside once. */
	void (*kick_and_wait)(void *vm);
	void (*vm_bugged)(void *vm, const char *why);
	/*
	 * A private leaf above 4K may map @gfn (its first) to @pfn: contiguous memory of one kind. Asked
	 * before AUG, DEMOTE, PROMOTE, REMOVE and RECLAIM; no stops the VM. mmu.lock held; must not
	 * block. NULL: not asked.
	 */
	bool (*leaf_ok)(void *vm, gfn_t gfn, pfn_t pfn, enum pg_level level);
	void *vm;
};

/*
 * DEMOTE with a PAMT pair contends with another TD's PAMT.ADD, which locks the 2M range that the
 * pair's pages may lie in: when DEMOTE takes the PAMT lock.
 */
enum td_demote_lock {
	TD_DEMOTE_LOCK_ALWAYS,
	TD_DEMOTE_LOCK_SECOND_TRY, /* a BUSY costs a kick, but nobody waits here */
};

struct td_config {
	enum td_demote_lock demote_lock;
	u32 max_vcpus;
	unsigned int gpaw; /* 48 or 52 */
	u64 attributes;	   /* TD_ATTR_* */
	struct td_ops ops;
};

/*
 * ctx: the struct td. Splits are refused under the read lock (-EOPNOTSUPP, nothing called) where the
 * module wants BLOCK first, as all real ones do: only UNBLOCK takes that back, and may be BUSY. With
 * tdx_splits_unblocked() a split is one DEMOTE, under either lock. A split
 * and a promotion need a module with feature bit 51; without it a promotion is refused (-EAGAIN),
 * since the leaf could never be split again.
 */
extern const struct mmu_external_ops td_external_ops;

/**
 * td_create - a TD in op_state INITIALIZED, its key configured on every package
 *
 * Makes calls on the calling thread's LP, and on one LP of every other package, which nobody may
 * drive meanwhile.
 * Return: 0; -EINVAL (gpaw, max_vcpus); -ENOMEM; -ENOSPC without a free key id; -EIO when the module
 * refuses: what it had been given is taken back.
 */
int td_create(struct tdx_module *module, const struct td_config *cfg, struct td **out);
/** td_set_mmu - name the MMU whose mirror this TD's S-EPT is, before anything is mapped */
void td_set_mmu(struct td *td, struct mmu *mmu);
/**
 * td_vcpu_create - make vCPU @index; it is associated with the calling thread's LP
 *
 * After td_set_mmu(), before td_finalize(); in ascending order of @index.
 * Return: 0; -EINVAL for an index out of turn; -ENOMEM; -EIO.
 */
int td_vcpu_create(struct td *td, u32 index, struct td_vcpu **out);
/** td_set_add_source - host page (HPA) whose content the next page mapped gets, until td_finalize() */
void td_set_add_source(struct td *td, hpa_t source);
/** td_finalize - MR.FINALIZE: vCPUs may run, private memory is AUGed from now on */
int td_finalize(struct td *td);
bool td_is_runnable(const struct td *td);
u16 td_hkid(const struct td *td);
/** td_shared_bit - bit of a GPA that says shared: 47 or 51 */
unsigned int td_shared_bit(const struct td *td);
hpa_t td_tdr(const struct td *td);

/**
 * td_fault_topup - take what mapping one page may need of host memory, before mmu.lock
 *
 * Stays with the calling thread's LP; td_finalize(), td_vcpu_flush() and td_destroy() there give it
 * back.
 * Return: 0 or -ENOMEM.
 */
int td_fault_topup(struct td *td);
/** td_max_level - the vendor's limit for a mapping: 4K until RUNNABLE or without bit 51, else 2M */
enum pg_level td_max_level(const struct td *td, bool private);
/**
 * td_entry_held_off - vm asks between "in guest" and VP.ENTER, after a full barrier
 *
 * Pairs with the exchange before kick_and_wait() in tdx: either the vCPU sees the flag, or the kick
 * sees the vCPU inside.
 */
bool td_entry_held_off(const struct td *td);
/**
 * td_vcpu_enter - VP.ENTER on the calling thread's LP; runs guest code until a TD exit
 *
 * @r: in, the answer to an open TDG.VP.VMCALL (R10 and on); RCX is set here.
 * Takes no pending interrupt: a kick that came since "in guest" makes the guest leave at once.
 * Return: RAX; exit registers in @r.
 */
u64 td_vcpu_enter(struct td_vcpu *vcpu, struct tdx_regs *r);
/**
 * td_vcpu_flush - VP.FLUSH on the LP that the vCPU is associated with, which the caller drives
 *
 * Does nothing when the vCPU isn't associated with that LP.
 */
void td_vcpu_flush(struct td_vcpu *vcpu);

/**
 * td_release_key - VPFLUSHDONE, PHYMEM.CACHE.WB, KEY.FREEID; all vCPUs are flushed
 *
 * From here on leaves and tables are reclaimed, not removed.
 * Return: 0, or -EIO: the key stays, and what the TD still has is lost to the host.
 */
int td_release_key(struct td *td);
/** td_destroy - reclaim TDCX, TDVPR and at last TDR pages; the MMU has been destroyed */
void td_destroy(struct td *td);

#endif
