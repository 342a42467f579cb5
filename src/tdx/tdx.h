/* SPDX-License-Identifier: MIT */
/*
 * tdx: KVM's TDX half. Brings the module up, gives a TD its life cycle, and says what one change of
 * a mirror entry means in SEAMCALLs. Of the module it knows the ABI alone.
 *
 * Guarantees:
 *  1. A BUSY from a change under the write lock is answered by holding vCPUs out, kicking them, and
 *     asking once more; any other unexpected status stops the VM (-EIO).
 *  2. A failed change leaves key, frames and references as they were.
 *  3. Every page given to the module is taken back: after td_destroy() the TD owns none.
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
};

/**
 * tdx_bring_up - SYS.INIT to the last SYS.TDMR.INIT: after it TDs can be made
 *
 * Covers all memory of the host by TDMRs, with PAMT areas taken from the top of memory.
 */
int tdx_bring_up(const struct tdx_module_config *cfg, struct tdx_module **out);
/** tdx_shut_down - free what bring-up took; no TD lives any more */
void tdx_shut_down(struct tdx_module *module);
/** tdx_memory_bytes - host memory that bring-up leaves for use */
u64 tdx_overhead_bytes(u64 host_bytes, bool dynamic_pamt);
u64 tdx_pamt_static_bytes(const struct tdx_module *module);
/** tdx_huge_pages_ok - the module has feature bit 51, so private memory may be mapped at 2M */
bool tdx_huge_pages_ok(const struct tdx_module *module);
/** tdx_leaf_stats - calls of host leaf @leaf so far, all TDs and LPs together */
struct tdx_leaf_stats tdx_leaf_stats(const struct tdx_module *module, unsigned int leaf);

/* ---- a TD -------------------------------------------------------------------------------------*/
struct td;
struct td_vcpu;

struct td_ops {
	/* Makes every vCPU leave the guest, and returns when each has been outside once. */
	void (*kick_and_wait)(void *vm);
	void (*vm_bugged)(void *vm, const char *why);
	void *vm;
};

struct td_config {
	u32 max_vcpus;
	unsigned int gpaw; /* 48 or 52 */
	u64 attributes;	   /* TD_ATTR_* */
	struct td_ops ops;
};

extern const struct mmu_external_ops td_external_ops; /* ctx: the struct td */

int td_create(struct tdx_module *module, const struct td_config *cfg, struct td **out);
/** td_set_mmu - name the MMU whose mirror this TD's S-EPT is, before anything is mapped */
void td_set_mmu(struct td *td, struct mmu *mmu);
int td_vcpu_create(struct td *td, u32 index, struct td_vcpu **out);
/** td_finalize - MR.FINALIZE: vCPUs may run, private memory is AUGed from now on */
int td_finalize(struct td *td);
bool td_is_runnable(const struct td *td);
u16 td_hkid(const struct td *td);
/** td_shared_bit - bit of a GPA that says shared: 47 or 51 */
unsigned int td_shared_bit(const struct td *td);
hpa_t td_tdr(const struct td *td);

/** td_max_level - the vendor's limit for a mapping: 4K until RUNNABLE or without bit 51, else 2M */
enum pg_level td_max_level(const struct td *td, bool private);
/** td_entry_held_off - vm asks between "in guest" and VP.ENTER; pairs with the flag's store in tdx */
bool td_entry_held_off(const struct td *td);
/**
 * td_vcpu_enter - VP.ENTER on the calling thread's LP; runs guest code until a TD exit
 *
 * Return: RAX; exit registers in @r.
 */
u64 td_vcpu_enter(struct td_vcpu *vcpu, struct tdx_regs *r);
/** td_vcpu_flush - VP.FLUSH on the LP that the vCPU is associated with, which the caller drives */
void td_vcpu_flush(struct td_vcpu *vcpu);

/**
 * td_release_key - VPFLUSHDONE, PHYMEM.CACHE.WB, KEY.FREEID; all vCPUs are flushed
 *
 * From here on leaves and tables are reclaimed, not removed.
 */
int td_release_key(struct td *td);
/** td_destroy - reclaim TDCX, TDVPR and at last TDR pages; the MMU has been destroyed */
void td_destroy(struct td *td);

#endif
