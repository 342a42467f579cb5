/* SPDX-License-Identifier: MIT */
/*
 * vm/internal: what the files of this room share.
 *
 * Locks: none of its own. A vCPU's fields belong to the thread that runs it, but for those marked
 * as shared; a VM's are constant once vm_create() has returned, but for its death.
 */
#ifndef VM_INTERNAL_H
#define VM_INTERNAL_H

#include "vm/vm.h"

struct vcpu {
	struct vm *vm;
	u32 index;
	struct lp *lp;
	struct td_vcpu *td_vcpu;
	struct mmu_vcpu_cache cache;

	const struct guest_ops *ops; /* what vcpu_run() was given */
	void *guest;
	struct tdx_regs regs; /* of the last exit; then the answer to it */
	gpa_t fault_gpa;
	bool stopped;	       /* by VM_HC_STOP; counted in vm->nr_stopped */
	u64 outside_since;     /* host_ticks() */
	u64 outside_ticks;     /* of this vcpu_run() outside guest code */
	struct vm_stats stats; /* written by its thread, read by anyone */

	/* ---- shared ----
	 * How often the vCPU has come and gone: odd while it is inside, or about to be. Its own
	 * thread counts, by full barriers, and looks at hold-off and death after it has counted
	 * itself in; whoever sets those looks here after a full barrier. One sees the other:
	 *
	 *   vcpu_enter():  entries++  ;  held off? dead?  ;  VP.ENTER  ;  entries++  ; wake
	 *   kick:          hold off, TRACK, die  ;  entries odd?  ;  interrupt  ;  wait
	 */
	u32 entries __attribute__((aligned(64)));
	u32 event; /* vcpu_kick(): stop retrying a fault */
	struct sync_waitq left;
};

enum vm_life {
	VM_ALIVE,
	VM_DYING, /* somebody is writing why */
	VM_DEAD,
};

#define VM_WHY_MAX 160

#define VM_CANDIDATES 64

/* Who puts huge leaves back (promote.c). Atomic but for what start and stop write. */
struct vm_promoter {
	enum vm_promote policy; /* OFF, too, where nothing large may be mapped */
	u64 candidate[VM_CANDIDATES];
	u32 nr;	  /* candidates; a hint */
	u32 turn; /* exits that found candidates */

	/* The thread of VM_PROMOTE_IDLE: woken by turns, by asked (to finish), and by quit. */
	struct sync_thread thread;
	struct lp *lp;
	struct sync_waitq wake, done;
	u32 seen; /* its own: last turn that it looked at */
	u32 asked, finished;
	u32 quit;
};

struct vm {
	struct host *host;
	struct machine *machine;
	struct td *td;
	struct mmu *mmu;
	struct gmem_file *file;
	struct mmu_slot slot;
	enum pg_level max_level;
	u32 shared_bit;
	bool slot_made;
	struct vcpu *vcpus;
	u32 nr_vcpus;	/* made so far */
	u32 nr_stopped; /* vCPUs whose guest has stopped; atomic */
	struct vm_promoter promoter;

	/*
	 * enum vm_life. Leaves ALIVE once, by a compare-exchange; becomes DEAD by a store-release after
	 * `why` is written, pairs with the acquire in vm_why_dead().
	 */
	u32 life;
	char why[VM_WHY_MAX];
};

static inline bool vm_is_dead(const struct vm *vm)
{
	return unlikely(sync_load(&vm->life) != VM_ALIVE);
}

/** vm_fault - an EPT-violation exit, its registers in @vcpu->regs. Return: 0 to go on, or -errno */
int vm_fault(struct vcpu *vcpu);

/* memory.c */
extern const struct gmem_client_ops vm_gmem_ops;
/** vm_discard - the guest gives [@gpa, @gpa + @size) back. Return: 0, -EINVAL */
int vm_discard(struct vm *vm, gpa_t gpa, u64 size);
/**
 * vm_convert - [@gpa, @gpa + @size) becomes what the shared bit of @gpa says
 *
 * Return: 0; -EINVAL, -ENOMEM or -EIO with nothing changed.
 */
int vm_convert(struct vm *vm, gpa_t gpa, u64 size);
/* Bar faults from the blocks that a range touches; and let those that came retry. */
void vm_invalidate_begin(struct vm *vm, gfn_t start, gfn_t end);
void vm_invalidate_end(struct vm *vm);
/** vm_load_image - PAGE.ADD of every page of @image; before td_finalize() */
int vm_load_image(struct vm *vm, const struct vm_image *image);

/* promote.c */
/** vm_promote_start - the TD is RUNNABLE. Return: 0 or -errno */
int vm_promote_start(struct vm *vm, const struct vm_config *cfg);
/** vm_promote_stop - no vCPU runs any more */
void vm_promote_stop(struct vm *vm);
/**
 * vm_promote_try - put a 2M leaf at @gfn, once; no lock is held
 *
 * Return: 0; -EAGAIN: not now; another error: never.
 */
int vm_promote_try(struct vm *vm, gfn_t gfn);
/** vm_promote_note - a fault has mapped @gfn smaller than its folio */
void vm_promote_note(struct vm *vm, gfn_t gfn);
/** vm_promote_at_exit - a vCPU has left the guest; no lock is held */
void vm_promote_at_exit(struct vm *vm);
/** vm_promote_finish - the last vCPU has stopped: returns when there is nothing left to promote */
void vm_promote_finish(struct vm *vm);

/** vm_slot_index - index in the file of @gfn; false outside the slot */
static inline bool vm_slot_index(const struct vm *vm, gfn_t gfn, u64 *index)
{
	u64 offset = gfn - vm->slot.base_gfn;

	*index = vm->slot.index + offset;
	return offset < vm->slot.npages;
}

#endif
