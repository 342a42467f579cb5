/* SPDX-License-Identifier: MIT */
/*
 * vm: virtual machines. Joins memory files, an MMU and a TD; slots, vCPU run loops, exits, kicks.
 *
 * Guarantees:
 *  1. vm_kick_and_wait() returns only when every vCPU that was inside the guest has left it.
 *  2. A vCPU never enters while the TD holds entries off.
 *  3. A VM that broke an invariant is dead: every run returns -EIO, and vm_why_dead() says why.
 *  4. After vm_destroy() the module and the host own nothing of it.
 *  5. VMs may share a file, and come and go while others use it; one that is dead keeps others from
 *     changing the part of the file that it is bound to until it goes.
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
	void (*warn)(void *ctx, const char *what); /* as configured */
	void *warn_ctx;
};

struct machine_config {
	u64 memory_bytes; /* usable; PAMT comes on top */
	u32 lps;	  /* for vCPUs; one more is made for host threads */
	const struct seam_profile *profile;
	bool dynamic_pamt;
	struct bug_set planted_bugs;
	/*
	 * As KVM's module parameter of that name. Off: private and shared memory and the attributes are in
	 * one file, converted in place by gmem_set_attributes(). On: a VM has attributes of its own, set by
	 * vm_set_memory_attributes(), its private memory in the file, shared memory in another of its own.
	 */
	bool vm_memory_attributes;
	struct host_memory *memory; /* as in struct host_config: machine_host_bytes() at least */
	/* Stands before seamcall(), which it calls: to inject failures, to record. NULL: nothing does */
	u64 (*seamcall)(struct lp *lp, struct tdx_regs *r);
	/* Called before the module is loaded, to listen from its first call on; 0 or -errno. May be NULL */
	int (*watch)(void *watcher, struct host *host);
	void *watcher;
	/*
	 * Something that shouldn't happen did, and was refused or made good: what mmu and tdx warn of,
	 * of any VM. Any lock held; must not block. NULL: nobody hears.
	 */
	void (*warn)(void *ctx, const char *what);
	void *warn_ctx;
};

/** machine_host_bytes - the host's memory: what is usable, and PAMT */
u64 machine_host_bytes(const struct machine_config *cfg);
/**
 * machine_create - host, LPs and a module that can make TDs
 *
 * The calling thread drives the last LP afterwards (lp_current()).
 * Return: 0, -EINVAL (no memory), -ENOMEM (no room for the reserved range), -EIO (module refused).
 */
int machine_create(const struct machine_config *cfg, struct machine *m);
void machine_destroy(struct machine *m);

/* ---- a VM -------------------------------------------------------------------------------------*/
struct vm;
struct vcpu;

#define VM_MAX_VCPUS 576

/* What the TD holds, measured, before it runs: whole pages inside the slot. */
struct vm_image {
	gpa_t gpa;
	u64 bytes;
	const void *data;
};

enum vm_promote {
	VM_PROMOTE_OFF,	 /* what KVM does */
	VM_PROMOTE_IDLE, /* by a thread of its own; a run ends when it has nothing left */
	VM_PROMOTE_NOW,	 /* by the vCPU whose exit finds a block complete, and at the end */
};

/* Who checks that a leaf maps what may be one leaf (gmem_check_mapping()); a leaf that may not stops the VM. */
enum vm_mapping_check {
	VM_CHECK_MMU, /* whenever a leaf is set, and before one is taken away */
	VM_CHECK_TDX, /* TDX's half, around AUG, DEMOTE, REMOVE and WBINVD */
	VM_CHECK_TRUST,
};

/* Gfns [@base_gfn, @base_gfn + @npages) are indexes @index and on of @file; the caller's own file. */
struct vm_slot_config {
	gfn_t base_gfn;
	u64 npages;
	u64 index;
	struct gmem_file *file;
};

struct vm_config {
	enum mmu_split_where split_where;
	enum mmu_split_metadata split_metadata;
	enum td_demote_lock demote_lock;
	u32 cache_capacity; /* as in struct mmu_config */
	enum vm_promote promote;
	u32 promoter_lp; /* VM_PROMOTE_IDLE: the LP of its thread, nobody else's while the VM lives */
	/*
	 * Either slots in files that the caller made and releases after the VM (sorted, they don't
	 * overlap), or, with nr_slots 0, one slot in a file of the VM's own.
	 */
	const struct vm_slot_config *slots;
	u32 nr_slots;
	u64 memory_bytes;	 /* multiple of 4K, of the huge page's size with a pool */
	gfn_t base_gfn;		 /* where the one slot begins, and */
	u64 file_index;		 /* which index of the file is there */
	struct gmem_config file; /* how its file is made; size is the VM's business */
	enum vm_mapping_check mapping_check;
	u32 nr_vcpus; /* 1 to VM_MAX_VCPUS; vCPU i runs on LP first_lp + i */
	u32 first_lp;
	enum pg_level max_level; /* --pages */
	unsigned int gpaw;
	bool sept_ve_disable;
	const struct vm_image *image; /* or NULL */
};

struct vm_stats {
	u64 exits_total, exits_ept_violation, exits_accept_violation, exits_interrupt, exits_tdcall;
	u64 exits_map_gpa;
	u64 conversions_to_shared, conversions_to_private; /* MapGPA calls that succeeded */
	u64 pages_to_shared, pages_to_private;
	/* Time of vcpu_run() outside guest code: exit, MMU, module, entry; all vCPUs. Of runs that ended */
	u64 outside_ns;
};

/**
 * vm_create - a TD that is RUNNABLE, with its memory private and unmapped but for the image
 *
 * Makes calls on the calling thread's LP and on those of the vCPUs, which nobody may drive
 * meanwhile.
 * Return: 0; -EINVAL for a configuration that doesn't fit; -ENOMEM; -ENOSPC without a free key id;
 * -EIO when the module refuses. Nothing is left behind on error.
 */
int vm_create(struct machine *m, const struct vm_config *cfg, struct vm **out);
/**
 * vm_destroy - no vCPU runs any more; the LPs of its vCPUs are free, as for vm_create()
 *
 * Other VMs on its files may go on meanwhile.
 */
void vm_destroy(struct vm *vm);
struct mmu *vm_mmu(struct vm *vm);
struct td *vm_td(struct vm *vm);
struct gmem_file *vm_file(struct vm *vm); /* of the first slot */
struct mmu_slot *vm_slot(struct vm *vm);  /* the first one */
u32 vm_nr_slots(const struct vm *vm);
struct mmu_slot *vm_slot_at(struct vm *vm, u32 i);
struct gmem_file *vm_file_at(struct vm *vm, u32 i);
/** vm_shared_file_at - shared memory of slot @i: the same file, unless attributes are the VM's */
struct gmem_file *vm_shared_file_at(struct vm *vm, u32 i);
struct vcpu *vm_vcpu(struct vm *vm, u32 i);
struct vm_stats vm_stats(const struct vm *vm);

/** vm_bugged - stop the VM for good; any thread, doesn't block. The first reason is kept (a copy). */
void vm_bugged(struct vm *vm, const char *why);
/** vm_why_dead - reason of the first vm_bugged(), or NULL while the VM lives */
const char *vm_why_dead(const struct vm *vm);

/**
 * vcpu_run - run @vcpu on its LP until its guest stops; call on the vCPU's own thread
 *
 * Guest code is ops/guest, which asks for the end by the hypercall VM_HC_STOP. It may be run again,
 * with other guest code; the registers of the last TDG.VP.VMCALL are answered then.
 * Return: 0 when the guest stopped; -EIO when the VM is dead; -EFAULT for a fault that memory and
 * attributes don't allow (see vcpu_fault_gpa()); -EHWPOISON where the memory behind
 * vcpu_fault_gpa() has failed: a machine check for the guest; -ENOMEM when the host can't back a
 * fault, or split what an ACCEPT asks for smaller. After the last three the vCPU can be run again,
 * and faults again.
 */
int vcpu_run(struct vcpu *vcpu, const struct guest_ops *ops, void *guest);
/** vcpu_fault_gpa - of the last -EFAULT; its shared bit says which side the guest wanted */
gpa_t vcpu_fault_gpa(const struct vcpu *vcpu);
/** vcpu_kick - make @vcpu leave the guest, or the retries of a fault, soon; it goes on afterwards */
void vcpu_kick(struct vcpu *vcpu);
/** vm_kick_and_wait - not from inside the guest; with any lock held, as no vCPU inside holds one */
void vm_kick_and_wait(struct vm *vm);

/**
 * vm_track_dirty - dirty logging of [@gfn, @gfn + @nr) begins: no leaf there is above 4K
 *
 * Eager, as KVM does it when logging is enabled. Bars no fault from mapping large where nothing was
 * mapped. Makes calls on the calling thread's LP.
 * Return: 0; -EINVAL for a range that isn't in memory; -ENOMEM (what was split stays split); -EIO.
 */
int vm_track_dirty(struct vm *vm, gfn_t gfn, u64 nr);

/**
 * vm_set_memory_attributes - [@gpa, @gpa + @size) is private or shared memory of @vm from now on
 *
 * @attributes: 0 or GMEM_ATTRIBUTE_PRIVATE. The call of machine_config.vm_memory_attributes: other VMs
 * on the file don't notice. Leaves across an end are split, the range is unmapped on both sides, the
 * attribute changes. What its pages held as private memory stays in the file until a hole is punched
 * there, but no guest sees it again.
 * Return: 0; -ENOTTY where attributes are the file's; -EINVAL: unaligned, empty, not memory, other
 * attributes; -ENOMEM or -EIO, with whole slots changed and nothing in the one that failed.
 */
int vm_set_memory_attributes(struct vm *vm, gpa_t gpa, u64 size, u64 attributes);

/**
 * vm_delete_slot - slot number @i of a living VM goes: nothing is mapped there, nor ever will be
 *
 * Whole leaves go, at their size, and none is split; other slots aren't touched. Later faults there end
 * vcpu_run() with -EFAULT. What the file holds, and its attributes, stay; the caller keeps the file
 * until the VM is gone, as before. Makes calls on the calling thread's LP. One at a time.
 * Return: 0; -EINVAL: there is no such slot (any more).
 */
int vm_delete_slot(struct vm *vm, u32 i);

/**
 * vm_memory_failure - the frame behind @gpa (a private GPA) has failed
 *
 * Its bytes are gone (a machine check to whoever reads them), it is unmapped, and later faults there
 * end vcpu_run() with -EHWPOISON. What else goes is the file's failure_scope.
 * Return: 0; -EINVAL outside memory; what gmem_memory_failure() says.
 */
int vm_memory_failure(struct vm *vm, gpa_t gpa);

/* Hypercalls: TDG.VP.VMCALL with R10 = VM_HC_VENDOR, R11 = number; R10 of the answer is 0 or an error. */
#define VM_HC_VENDOR 0x5345505455ULL
#define VM_HC_STOP 1 /* the guest is done */
/*
 * TDG.VP.VMCALL<MapGPA> (R10 = 0, R11 = 0x10001, R12 = GPA, R13 = bytes): converts the range to
 * what the SHARED bit of the GPA says. R10 of the answer: 0; VM_HC_RETRY with R11 = GPA to go on
 * from, where the host lacked memory or holds a page; VM_HC_INVALID_OPERAND for a range that is
 * unaligned, empty, overflowing or outside memory. Unless it is 0 nothing has changed from R11 on; what
 * lies before is converted, which is whole slots.
 */
#define VM_HC_MAP_GPA 0x10001
#define VM_HC_RETRY 1
#define VM_HC_INVALID_OPERAND 0x8000000000000000ULL
#define VM_HC_DISCARD 2 /* R12 = GPA, R13 = bytes: the guest gives memory back, contents and all */

/**
 * vm_hypercall - what guest code hands to tdcall() for one: @vendor is 0 or VM_HC_VENDOR
 *
 * The TDCALL ends the guest's stay. The answer is written to the registers given there when the vCPU
 * is run again, so they live as long as the VM.
 */
static inline struct tdx_regs vm_hypercall(u64 vendor, u64 number, u64 r12, u64 r13)
{
	return (struct tdx_regs){
		.rax = TDG_VP_VMCALL,
		.rcx = BIT_ULL(10) | BIT_ULL(11) | BIT_ULL(12) | BIT_ULL(13),
		.r10 = vendor,
		.r11 = number,
		.r12 = r12,
		.r13 = r13,
	};
}

#endif
