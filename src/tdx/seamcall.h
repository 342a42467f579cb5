/* SPDX-License-Identifier: MIT */
/*
 * tdx/seamcall: the one door to the module. Takes what the host's interrupts bring, makes the call
 * on the calling thread's LP, counts it. The typed calls speak frames and kernel levels.
 */
#ifndef TDX_SEAMCALL_H
#define TDX_SEAMCALL_H

#include "tdx/internal.h"

/** tdx_level - the module's number of a level: 0 = 4K */
static inline unsigned int tdx_level(enum pg_level level)
{
	return (unsigned int)level - PG_LEVEL_4K;
}

/** tdx_is_busy - class 2: the module found something taken (a lock, entropy) */
static inline bool tdx_is_busy(u64 status)
{
	return tdx_is_error(status) && (status >> 40 & 0xFF) == 2;
}

/*
 * A status that no module gives: the call wasn't made, for want of what it needs. Bits 47:40 all
 * ones mark errors of software's.
 */
#define TDX_SW_ERROR 0x8000FF0000000000ULL

/**
 * tdx_is_interrupted - the module gave way to something that is pending; start again from scratch
 */
static inline bool tdx_is_interrupted(u64 status)
{
	return tdx_status_class(status) == TDX_INTERRUPTED_RESTARTABLE ||
	       tdx_status_class(status) == TDX_INTERRUPTED_BUSY;
}

/** tdx_operand_is_busy - the BUSY that goes away when vCPUs are out */
static inline bool tdx_operand_is_busy(u64 status)
{
	return tdx_status_class(status) == TDX_OPERAND_BUSY;
}

/** tdx_seamcall - call @leaf with the operands in @r; Return: the status */
u64 tdx_seamcall(struct tdx_module *m, enum tdh_leaf leaf, struct tdx_regs *r);
/**
 * tdx_seamcall_enter - tdx_seamcall(TDH.VP.ENTER) with interrupts off
 *
 * What is pending stays pending, and makes the guest exit at once: a kick that came after the vCPU
 * had said "in guest" must not be lost here.
 */
u64 tdx_seamcall_enter(struct tdx_module *m, struct tdx_regs *r);
/**
 * tdx_seamcall_wait - tdx_seamcall(), again and again while the answer is "busy" or "interrupted"
 *
 * For life-cycle leaves, which contend with nothing that lasts. Gives up after a bounded number of
 * turns.
 */
u64 tdx_seamcall_wait(struct tdx_module *m, enum tdh_leaf leaf, struct tdx_regs *r);

/* Life-cycle calls with up to two operands and no result. */
u64 tdx_call(struct tdx_module *m, enum tdh_leaf leaf, u64 rcx, u64 rdx);

u64 tdh_mem_page_add(struct td *td, gfn_t gfn, pfn_t pfn, hpa_t source);
u64 tdh_mem_page_aug(struct td *td, gfn_t gfn, enum pg_level level, pfn_t pfn);
u64 tdh_mem_sept_add(struct td *td, gfn_t gfn, enum pg_level level, pfn_t table);
/* For td_call_no_vcpus(). */
u64 tdh_mem_range_block(struct td_mem_call *c);
u64 tdh_mem_track(struct td_mem_call *c);
u64 tdh_mem_page_remove(struct td_mem_call *c);
u64 tdh_mem_range_unblock(struct td_mem_call *c);
/*
 * Interrupted, these two are made again, a bounded number of times. DEMOTE isn't made at all
 * without feature bit 51 (TDX_SW_ERROR): such a module promises no progress between interrupts.
 */
u64 tdh_mem_page_demote(struct td_mem_call *c);
u64 tdh_mem_page_promote(struct td_mem_call *c);
/** tdh_phymem_page_wbinvd - write back the lines of one 4K page under @hkid; it is nobody's */
u64 tdh_phymem_page_wbinvd(struct tdx_module *m, u16 hkid, pfn_t pfn);

#endif
