/* SPDX-License-Identifier: MIT */
/*
 * seam/td: what the module keeps of a TD in the TD's own control pages. All of these structures
 * lie in host frames that the host has given away: TDR in one page under the module's global key
 * id, TDCS over TDX_TDCS_PAGES TDCX pages and TDVPS over a TDVPR page and its TDCX pages under the
 * TD's.
 * All small fields of TDCS are in its page 0, those of TDVPS in the TDVPR page.
 *
 * Who guards what: the PAMT lock of the TDR page (shared or exclusive) guards TDR and TDCS as a
 * whole; the PAMT lock of the TDVPR page TDVPS. Fields that change under a shared lock are atomics
 * and say so.
 */
#ifndef SEAM_TD_H
#define SEAM_TD_H

#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

#include "base/types.h"
#include "septum/abi.h"

/* Index of a TDCX page. */
#define TDCS_PAGE_FIELDS 0
#define TDCS_PAGE_MSR_BITMAPS 2
#define TDCS_PAGE_SEPT_ROOT 3
#define TDCS_MAX_PAGES 9
#define TDVPS_MAX_PAGES 15

#define TD_MAX_VCPUS 576

/* What TD_PARAMS may set. Migration, TD partitioning and key locker aren't modelled. */
#define TD_ATTRIBUTES_ALLOWED                                              \
	(TD_ATTR_DEBUG | TD_ATTR_SEPT_VE_DISABLE | BIT_ULL(30) /* PKS */ | \
	 BIT_ULL(63) /* PERFMON */)
#define TD_XFAM_ALLOWED 0x6DBE7ULL
#define TD_XFAM_MUST 0x3ULL /* x87, SSE */
/* CONFIG_FLAGS: TD exits leave the host's RBP alone. */
#define TD_CONFIG_NO_RBP_MOD BIT_ULL(2)

#define TD_CTLS_PENDING_VE_DISABLE BIT_ULL(0)
#define TD_CTLS_LOCK BIT_ULL(63)

/* op_state: the number is part of TDX_OP_STATE_INCORRECT. */
enum op_state {
	OP_UNINITIALIZED,
	OP_INITIALIZED,
	OP_RUNNABLE,
	OP_LIVE_EXPORT,
	OP_PAUSED_EXPORT,
	OP_POST_EXPORT,
	OP_MEMORY_IMPORT,
	OP_STATE_IMPORT,
	OP_POST_IMPORT,
	OP_LIVE_IMPORT,
	OP_FAILED_IMPORT,
	OP_START_IMPORT,
	OP_STATE_COUNT,
};

/* TDR: one page, all of it. */
struct tdr {
	u32 fatal;
	u32 lifecycle; /* enum td_lifecycle; changes under the exclusive lock */
	u16 hkid;
	u16 num_tdcx; /* TDCX pages so far */
	u32 reserved;
	u64 packages_configured; /* a bit per package that MNG.KEY.CONFIG has done */
	hpa_t tdcx_pa[TDCS_MAX_PAGES];
	/* 4K units that belong to this TD. Atomic: changes under the shared lock. */
	u64 chldcnt __attribute__((aligned(64)));
};

/* TDCS, page 0. */
struct tdcs {
	/* Constant after MNG.INIT. */
	u64 attributes;
	u64 xfam;
	u64 config_flags;
	u64 eptp_controls;
	u32 max_vcpus;
	u32 num_l2_vms;
	u32 sept_levels; /* page-walk length, 4 or 5; entries of the root are level sept_levels - 1 */
	u32 shared_bit; /* 47 or 51: a private GPA is below 1 << shared_bit */
	u16 tsc_frequency;
	u16 reserved[3];

	u32 op_state;	     /* changes under the exclusive TDR lock */
	u32 num_vcpus;	     /* atomic: VP.INIT counts under the shared lock */
	u32 num_assoc_vcpus; /* atomic: VP.ENTER, VP.INIT and VP.FLUSH count under the shared lock */
	u32 reserved1;
	u64 td_ctls; /* TD_CTLS: bit 0 PENDING_VE_DISABLE, bit 63 LOCK; atomic, written by the guest */
	u32 x2apic_ids[TD_MAX_VCPUS]; /* by vCPU index, for the uniqueness check of VP.INIT */

	/* Lock words, each on its own line: they are what every leaf writes. */
	u16 op_state_lock __attribute__((aligned(64)));
	u16 sept_lock __attribute__((aligned(64)));

	/*
	 * TLB tracking. epoch_lock has no host priority. td_epoch changes under its exclusive mode,
	 * refcount[e & 1] is raised under its shared mode by a vCPU that enters in epoch e, and
	 * lowered with no lock at all on its way out.
	 */
	u16 epoch_lock __attribute__((aligned(64)));
	u16 refcount[2];
	u64 td_epoch;

	/* Measurement: the running hash until MR.FINALIZE, the value afterwards. */
	SHA512_CTX mrtd_hash __attribute__((aligned(64)));
	u8 mrtd[48];
};

enum vcpu_state {
	VCPU_UNINITIALIZED = 0,
	VCPU_READY = 2,
	VCPU_ACTIVE = 4,
	VCPU_DISABLED = 8,
};

#define VCPU_NOT_ASSOCIATED 0xFFFFFFFFu

/* What TDG.VP.VEINFO.GET hands to the guest. */
struct ve_info {
	u64 valid; /* 0: none */
	u32 exit_reason;
	u32 category; /* 1: PENDING, 2: GPA beyond the virtual MAXPA */
	u64 exit_qualification;
	u64 gla;
	u64 gpa;
	u32 instruction_length;
	u32 instruction_info;
};

/*
 * Zero-step detection: private EPT violations, one after the other, at one place of the guest. Our
 * guests' instructions touch one page each, so the place is that page and the number of accesses
 * that the TLB had served by then, and the list of pages that the module keeps has one member.
 */
#define ZERO_STEP_THRESHOLD 6

struct zero_step {
	gpa_t gpa;
	u64 accesses;
	u32 faults; /* above the threshold: VP.ENTER looks at gpa first */
	u32 reserved;
};

/* TDVPS, TDVPR page. The vCPU is inside: owned by that LP. */
struct tdvps {
	u32 state;     /* enum vcpu_state; atomic, read by whoever tries to enter */
	u32 num_pages; /* TDVPR included */
	hpa_t page_pa[TDVPS_MAX_PAGES];
	hpa_t tdr_pa; /* the owner, as PAMT has it */
	u32 index;    /* vCPU index in the TD */
	u32 x2apic_id;
	u32 assoc_lpid; /* lp->id, or VCPU_NOT_ASSOCIATED; atomic */
	u32 reserved;
	u64 vcpu_epoch;	   /* TD_EPOCH at the last VP.ENTER */
	hpa_t shared_eptp; /* VMCS field SHARED_EPT_POINTER, by VP.WR; 0: none */

	struct tdx_regs gprs; /* guest registers while it is outside */
	/*
	 * The register block of the guest code's own tdcall(TDG.VP.VMCALL) that is being answered:
	 * the next VP.ENTER copies the host's answer there. NULL when none is open.
	 */
	struct tdx_regs *vmcall_regs;
	u64 vmcall_mask; /* which GPRs the guest exposed */

	struct ve_info ve;
	struct zero_step zero_step;
};

_Static_assert(sizeof(struct tdr) <= PAGE_SIZE, "TDR is one page");
_Static_assert(sizeof(struct tdcs) <= PAGE_SIZE, "TDCS fields are in page 0");
_Static_assert(sizeof(struct tdvps) <= PAGE_SIZE, "TDVPS fields are in the TDVPR page");

#endif
