/* SPDX-License-Identifier: MIT */
/*
 * seam: the software TDX module. Reached only through seamcall() and tdcall(): registers in,
 * registers out. TDR, TDCS, TDVPS, S-EPT pages and PAMT live in host frames; what is here besides
 * is what the real module keeps in its own range: module state, TDMR table, key-id ownership table.
 *
 * Guarantees:
 *  1. No leaf waits for another: what it can't lock at once it answers BUSY with the operand's id.
 *  2. No leaf allocates.
 *  3. A leaf that fails leaves TD memory, S-EPT and PAMT as they were (the fact sheet's exceptions
 *     apart: host-priority bits, the content of a page offered for a table).
 */
#ifndef SEAM_SEAM_H
#define SEAM_SEAM_H

#include "base/types.h"
#include "septum/abi.h"

struct host;
struct lp;
struct seam;

/* What differs between module versions. Immutable, one table in profile.c. */
struct seam_profile {
	const char *name; /* "1.5.28" */
	bool is_real;	  /* false: offers what no module does; says so wherever it is shown */
	bool dynamic_pamt;
	bool enhanced_demote_interruptibility; /* feature bit 51 */
	bool interrupted_busy;		       /* DEMOTE/PROMOTE yield to a host-priority waiter */
	bool promote_tree_exclusive;
	bool pamt_removal_hint;
	bool demote_without_block;
	u64 features0;
};

const struct seam_profile *seam_profile_by_name(const char *name);
/** seam_profile_at - profile number @i, the default first; NULL past the end */
const struct seam_profile *seam_profile_at(unsigned int i);

/**
 * seam_create - load the module on @host
 *
 * The module starts in SYSINIT_PENDING. Every LP that shall call it is attached by
 * seam_attach_lp().
 */
int seam_create(struct host *host, const struct seam_profile *profile, struct seam **out);
void seam_destroy(struct seam *seam);
void seam_attach_lp(struct seam *seam, struct lp *lp);
const struct seam_profile *seam_profile(const struct seam *seam);

/**
 * seamcall - call host leaf @r->rax on @lp
 *
 * Fires TRACE_SEAMCALL. Return: the status, which is also in @r->rax.
 */
u64 seamcall(struct lp *lp, struct tdx_regs *r);

/**
 * tdcall - call guest leaf @r->rax from the TD that is inside @lp
 *
 * Return: true when the leaf has completed (status in @r->rax); false when it caused a TD exit:
 * guest code must return from run(), and repeat the call when it runs again unless the leaf is
 * trap-like (VP.VMCALL: then @r has been filled with the host's answer by the time run() is called
 * again).
 */
bool tdcall(struct lp *lp, struct tdx_regs *r);

/**
 * seam_tdmr_init_all - bring every TDMR to its end of SYS.TDMR.INIT at once
 *
 * The one bulk operation that has no SEAMCALL: a 16 TiB host would take four million calls. Its
 * result is that of the calls, since frames never written read as zero and an all-zero PAMT entry
 * is PT_NDA; reserved areas are written out.
 */
void seam_tdmr_init_all(struct seam *seam);

/* ---- audits: read-only, when nothing runs ----------------------------------------------------*/
/** seam_pamt_in_use - 4K units of the PAMT that aren't PT_NDA (PT_RSVD apart); 0 after teardown */
u64 seam_pamt_in_use(const struct seam *seam);
/** seam_sept_entry - raw S-EPT entry of @gpa at @level in the TD of @tdr; false: no table */
bool seam_sept_entry(const struct seam *seam, hpa_t tdr, gpa_t gpa, enum pg_level level,
		     u64 *entry);
/** seam_pamt_bytes - bytes of PAMT areas configured */
u64 seam_pamt_bytes(const struct seam *seam);
#endif
