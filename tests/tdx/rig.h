/* SPDX-License-Identifier: MIT */
/* The module brought up by tdx, a TD with an MMU, and a record of what is called and kicked. */
#ifndef TESTS_TDX_RIG_H
#define TESTS_TDX_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "check/invariants.h"
#include "cpu/lp.h"
#include "seam/seam.h"
#include "tdx/tdx.h"

#define TDX_RIG_LPS 4
#define LOG_MAX 4096
/* In the log beside leaf numbers. */
#define LOG_KICK 0x1000u

struct tdx_rig_config {
	const char *profile;
	u64 memory;
	u32 packages;
	bool dynamic_pamt;
	bool init_by_loop;
	u64 (*seamcall)(struct lp *lp, struct tdx_regs *r);
	enum td_demote_lock demote_lock;
	enum mmu_split_metadata split_metadata;
};

struct tdx_rig {
	struct host *host;
	struct lp *lps[TDX_RIG_LPS];
	struct seam *seam;
	struct tdx_module *tdx;
	u64 frames_before;

	struct td *td;
	struct mmu *mmu;
	struct mmu_vcpu_cache cache;
	struct td_vcpu *vcpu;

	u32 log[LOG_MAX];
	u32 nr_log;
	u32 kicks;
	bool kick_saw_hold_off;
	char bugged[160]; /* empty while the VM lives */
	u32 warnings;
	bool is_lossy;	 /* the module is made to keep pages: tdx_rig_down() doesn't count */
	bool others_run; /* other threads are about: no point is quiet */
	void (*on_kick)(struct tdx_rig *r); /* NULL, or what happens beside */
	struct tdx_rig_config cfg;
};

/** tdx_rig_module - host, LPs, module. Return: tdx_bring_up()'s */
int tdx_rig_module(struct tdx_rig *r, const struct tdx_rig_config *cfg);
/** tdx_rig_td - a TD with one vCPU (on LP 0) and an MMU; INITIALIZED */
void tdx_rig_td(struct tdx_rig *r);
void tdx_rig_td_down(struct tdx_rig *r);
/** tdx_rig_down - nothing of a TD is left in module or host */
void tdx_rig_down(struct tdx_rig *r);
/**
 * tdx_rig_quiet - nothing runs: asserts the invariants (check/invariants.h)
 *
 * Every other function here that is a whole operation of the host's or the guest's ends with it, and
 * tdx_rig_td_down() begins with it. A TD that was stopped may have broken any; so may a pair that
 * the module kept and tdx has warned of.
 */
void tdx_rig_quiet(struct tdx_rig *r);
/** tdx_rig_map - maps @gfn to a new frame of @level. Return: mmu_map()'s */
int tdx_rig_map(struct tdx_rig *r, gfn_t gfn, enum pg_level level, pfn_t *pfn);
void tdx_rig_zap(struct tdx_rig *r, gfn_t gfn, u64 nr);
void tdx_rig_free(struct tdx_rig *r, pfn_t pfn, enum pg_level level);
u32 tdx_rig_logged(const struct tdx_rig *r, u32 what);

/* ---- a module that says no -------------------------------------------------------------------*/
#define ANY_LEAF UINT32_MAX /* but VP.ENTER */

/* What tdx_rig_injecting() does; one module at a time. Atomic where several threads call. */
struct tdx_rig_injection {
	u32 leaf;   /* or ANY_LEAF */
	u64 from;   /* the from-th call of it, */
	u64 times;  /* and as many in all, */
	u64 status; /* are answered so */
	u64 seen;
	u32 last_leaf; /* that was answered so */
};

extern struct tdx_rig_injection tdx_rig_injection;
/** tdx_rig_injecting - for tdx_rig_config.seamcall */
u64 tdx_rig_injecting(struct lp *lp, struct tdx_regs *r);
void tdx_rig_inject(u32 leaf, u64 from, u64 times, u64 status);
static inline void tdx_rig_inject_nothing(void)
{
	tdx_rig_inject(ANY_LEAF, 0, 0, 0);
}

/* ---- splitting and promoting -----------------------------------------------------------------*/
/** tdx_rig_up - module and a RUNNABLE TD */
void tdx_rig_up(struct tdx_rig *r, const struct tdx_rig_config *cfg);
/** tdx_rig_split - mmu_split_to_level(4K) of the leaf at @gfn, or one level down from 1G */
int tdx_rig_split(struct tdx_rig *r, gfn_t gfn, enum pg_level target);
int tdx_rig_promote(struct tdx_rig *r, gfn_t gfn, enum pg_level level);
/** tdx_rig_raw - the raw S-EPT entry, 0 without a table */
u64 tdx_rig_raw(const struct tdx_rig *r, gfn_t gfn, enum pg_level level);
/** tdx_rig_level - level of the leaf that maps @gfn, PG_LEVEL_NONE for none */
enum pg_level tdx_rig_level(struct tdx_rig *r, gfn_t gfn);
/** tdx_rig_check - mirror and S-EPT agree on all of [@gfn, @gfn + @nr), and nothing is blocked */
void tdx_rig_check(struct tdx_rig *r, gfn_t gfn, u64 nr);

/* What a guest does in one stay, on LP 0. */
struct tdx_rig_guest {
	struct tdx_rig *r;
	void (*fn)(struct lp *lp, struct tdx_rig_guest *g);
	gfn_t gfn;
	enum pg_level level;
	u64 status; /* of the last TDCALL; ~0: it made the TD exit */
	u32 wrong;  /* words that weren't as written */
};

/**
 * tdx_rig_run - enter the guest, do @fn, leave. Return: RAX of VP.ENTER, exit registers in @regs
 */
u64 tdx_rig_run(struct tdx_rig *r, struct tdx_rig_guest *g, struct tdx_regs *regs);
/** tdx_rig_accept - the guest accepts at @level. Return: the status, ~0 for a TD exit */
u64 tdx_rig_accept(struct tdx_rig *r, gfn_t gfn, enum pg_level level);
/** tdx_rig_fill - the guest writes the number of each 4K page of the 2M at @gfn into it */
void tdx_rig_fill(struct tdx_rig *r, gfn_t gfn);
/** tdx_rig_wrong - how many of the 512 pages don't hold what tdx_rig_fill() wrote */
u32 tdx_rig_wrong(struct tdx_rig *r, gfn_t gfn);

#endif
