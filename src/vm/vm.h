/* SPDX-License-Identifier: MIT */
/*
 * vm: virtual machines. Joins a memory file, an MMU and a TD; slots, vCPU run loops, exits, kicks.
 *
 * Guarantees:
 *  1. vm_kick_and_wait() returns only when every vCPU that was inside the guest has left it.
 *  2. A vCPU never enters while the TD holds entries off.
 *  3. A VM that broke an invariant is dead: every run returns -EIO, and vm_why_dead() says why.
 *  4. After vm_destroy() the module and the host own nothing of it.
 */
#ifndef VM_VM_H
#define VM_VM_H

#include "base/types.h"
#include "cpu/lp.h"
#include "gmem/gmem.h"
#include "mmu/mmu.h"
#include "seam/seam.h"
#include "tdx/tdx.h"

/* ---- the machine: host, processors, module ----------------------------------------------------*/
struct machine {
	struct host *host;
	struct lp **lps; /* the last one is the host thread's own */
	u32 nr_lps;
	struct seam *seam;
	struct tdx_module *tdx;
};

struct machine_config {
	u64 memory_bytes; /* usable; PAMT comes on top */
	u32 lps;	  /* for vCPUs; one more is made for host threads */
	const struct seam_profile *profile;
	bool dynamic_pamt;
	u64 planted_bugs;
};

/** machine_create - Return: 0, -ENOMEM (no room for the reserved range), -EIO (module refused) */
int machine_create(const struct machine_config *cfg, struct machine *m);
void machine_destroy(struct machine *m);

/* ---- a VM -------------------------------------------------------------------------------------*/
struct vm;
struct vcpu;

struct vm_config {
	u64 memory_bytes;
	u32 nr_vcpus; /* vCPU i runs on LP first_lp + i */
	u32 first_lp;
	enum gmem_backing backing;
	enum pg_level max_level; /* --pages */
	unsigned int gpaw;
	bool sept_ve_disable;
};

struct vm_stats {
	u64 exits_total, exits_ept_violation, exits_accept_violation, exits_interrupt, exits_tdcall;
	u64 exits_map_gpa;
	u64 outside_ns; /* time of vcpu_run() outside guest code: exit, MMU, module, entry; all vCPUs */
};

int vm_create(struct machine *m, const struct vm_config *cfg, struct vm **out);
void vm_destroy(struct vm *vm);
struct mmu *vm_mmu(struct vm *vm);
struct td *vm_td(struct vm *vm);
struct gmem_file *vm_file(struct vm *vm);
struct vcpu *vm_vcpu(struct vm *vm, u32 i);
struct vm_stats vm_stats(const struct vm *vm);

void vm_bugged(struct vm *vm, const char *why);
/** vm_why_dead - reason of the first vm_bugged(), or NULL while the VM lives */
const char *vm_why_dead(const struct vm *vm);

/**
 * vcpu_run - run @vcpu on its LP until its guest stops; call on the vCPU's own thread
 *
 * Guest code is ops/guest, which asks for the end by the hypercall VM_HC_STOP.
 * Return: 0 when the guest stopped, -EIO when the VM is dead, -EFAULT for a fault that memory and
 * attributes don't allow (gpa in vcpu_fault_gpa()).
 */
int vcpu_run(struct vcpu *vcpu, const struct guest_ops *ops, void *guest);
gpa_t vcpu_fault_gpa(const struct vcpu *vcpu);
/** vcpu_kick - make @vcpu leave the guest soon */
void vcpu_kick(struct vcpu *vcpu);
void vm_kick_and_wait(struct vm *vm);

/* Hypercalls: TDG.VP.VMCALL with R10 = VM_HC_VENDOR, R11 = number; R10 of the answer is 0 or an error. */
#define VM_HC_VENDOR 0x5345505455ULL
#define VM_HC_STOP 1	/* the guest is done */
#define VM_HC_DISCARD 2 /* R12 = GPA, R13 = bytes: the guest gives memory back, contents and all */

#endif
