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

#include "cpu/lp.h"
#include "seam/seam.h"
#include "tdx/tdx.h"

#define TDX_RIG_LPS 3
#define LOG_MAX 4096
/* In the log beside leaf numbers. */
#define LOG_KICK 0x1000u

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
};

struct tdx_rig_config {
	const char *profile;
	u64 memory;
	u32 packages;
	bool dynamic_pamt;
	bool init_by_loop;
	u64 (*seamcall)(struct lp *lp, struct tdx_regs *r);
};

/** tdx_rig_module - host, LPs, module. Return: tdx_bring_up()'s */
int tdx_rig_module(struct tdx_rig *r, const struct tdx_rig_config *cfg);
/** tdx_rig_td - a TD with one vCPU (on LP 0) and an MMU; INITIALIZED */
void tdx_rig_td(struct tdx_rig *r);
void tdx_rig_td_down(struct tdx_rig *r);
/** tdx_rig_down - nothing of a TD is left in module or host */
void tdx_rig_down(struct tdx_rig *r);
/** tdx_rig_map - maps @gfn to a new frame of @level. Return: mmu_map()'s */
int tdx_rig_map(struct tdx_rig *r, gfn_t gfn, enum pg_level level, pfn_t *pfn);
void tdx_rig_zap(struct tdx_rig *r, gfn_t gfn, u64 nr);
void tdx_rig_free(struct tdx_rig *r, pfn_t pfn, enum pg_level level);
u32 tdx_rig_logged(const struct tdx_rig *r, u32 what);

#endif
