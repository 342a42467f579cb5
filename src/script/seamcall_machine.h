/* SPDX-License-Identifier: MIT */
/*
 * script: the machine that a seamcall script talks to: host, module, logical processors, and the
 * TDs that the tool brings up by SEAMCALLs. Driven by one thread, the script's; see
 * seamcall_vcpu.h for the others.
 */
#ifndef SCRIPT_SEAMCALL_MACHINE_H
#define SCRIPT_SEAMCALL_MACHINE_H

#include "cpu/lp.h"
#include "host/host.h"
#include "script/seamcall_hold.h"
#include "script/seamcall_script.h"
#include "script/seamcall_vcpu.h"
#include "seam/seam.h"

struct sc_machine {
	struct host *host;
	struct seam *seam;
	struct sc_cpu *cpus;
	u32 nr_cpus;
	bool dpamt;
	struct tdmr_info pamt; /* the one TDMR, and where its PAMT lies */
	struct sc_hold holds[SC_MAX_HOLDS];
	u32 nr_holds;
	/* A row a TD, SC_MAX_LPS vCPUs each. */
	struct sc_vcpu (*vcpus)[SC_MAX_LPS];
};

/* A call of the tool's own that wasn't answered with success. */
struct sc_refusal {
	const char *leaf; /* NULL: no call was refused */
	u64 status;
};

/**
 * sc_machine_create - the machine of @cfg, the module loaded, and initialised unless @cfg->raw
 *
 * Return: 0; -ENOMEM; -EINVAL when a call was refused, see @refusal.
 */
int sc_machine_create(const struct sc_host_config *cfg, struct sc_machine **out,
		      struct sc_refusal *refusal);
/** sc_machine_destroy - lets every vCPU exit first */
void sc_machine_destroy(struct sc_machine *m);

/**
 * sc_machine_add_td - bring TD number @td up to @cfg->state, calling from a processor that is free
 *
 * Return: 0; -EINVAL when a call was refused; -EBUSY when a vCPU is inside a processor that is
 * needed.
 */
int sc_machine_add_td(struct sc_machine *m, u32 td, const struct sc_td_config *cfg,
		      struct sc_refusal *refusal);
/** sc_machine_free_lp - a processor that no vCPU is inside of, or NULL */
struct lp *sc_machine_free_lp(const struct sc_machine *m);

#endif
