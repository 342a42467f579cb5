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

/*
 * One slot, and the client of its binding. Constant while the VM lives, but for the words of .mmu,
 * which are their own atomics, and for its deletion: who has found it before may go on looking.
 */
struct vm_slot {
	struct vm *vm;
	struct gmem_file *file; /* private memory */
	/*
	 * Shared memory, and the attributes of both: the same file; or one of the slot's own, with the
	 * same indexes, where attributes belong to the VM (machine_config.vm_memory_attributes).
	 */
	struct gmem_file *shared;
	struct mmu_slot mmu;
	bool bound, shared_bound; /* the latter to a file of its own */
	u32 deleted; /* by vm_delete_slot(), inside an invalidation of all of it; atomic */
};

struct vcpu {
	struct vm *vm;
	u32 index;
	struct vm_slot *slot; /* of the last fault */
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
	enum vm_promote policy;	 /* OFF, too, where nothing large may be mapped */
	enum pg_level max_level; /* the largest that is put back */
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
	struct gmem_file *own_file; /* NULL: files are the caller's */
	struct vm_slot *slots;	    /* by gfn */
	u32 nr_slots;
	enum pg_level max_level;
	u32 shared_bit;
	/*
	 * The key is gone, or about to go: leaves may go whole, none is split any more. Under
	 * mmu.lock; a file's other VMs may still come with conversions.
	 */
	bool leaving;
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
/** vm_discard - the guest gives [@gpa, @gpa + @size) back. Return: 0; -EINVAL; what the file says */
int vm_discard(struct vm *vm, gpa_t gpa, u64 size);
/**
 * vm_convert - [@gpa, @gpa + @size) becomes what the shared bit of @gpa says, slot by slot
 *
 * @done: out, bytes converted: all of it, or whole slots up to the one that failed.
 * Return: 0; -EINVAL, with nothing changed; -ENOMEM, -EAGAIN or -EIO with nothing changed beyond
 * @done.
 */
int vm_convert(struct vm *vm, gpa_t gpa, u64 size, u64 *done);
/** vm_zap_all - the key is released: every leaf goes */
void vm_zap_all(struct vm *vm);
/** vm_leaf_ok - vm_config.mapping_check asks: may a leaf above 4K be there? Any lock; ctx: the VM */
bool vm_leaf_ok(void *ctx, gfn_t gfn, pfn_t pfn, enum pg_level level, bool private);
/** vm_unbind_slot - no file comes to it any more */
void vm_unbind_slot(struct vm_slot *slot);
/** vm_load_image - PAGE.ADD of every page of @image; before td_finalize() */
int vm_load_image(struct vm *vm, const struct vm_image *image);

/* promote.c */
/** vm_promote_start - the TD is RUNNABLE. Return: 0 or -errno */
int vm_promote_start(struct vm *vm, const struct vm_config *cfg);
/** vm_promote_stop - no vCPU runs any more */
void vm_promote_stop(struct vm *vm);
/**
 * vm_promote_try - put a leaf of @level (2M, 1G) at @gfn, once; no lock is held
 *
 * Return: 0; -EAGAIN: not now; another error: never.
 */
int vm_promote_try(struct vm *vm, gfn_t gfn, enum pg_level level);
/** vm_promote_note - a fault has mapped private @gfn at @level at most, its memory allows @leaf */
void vm_promote_note(struct vm *vm, const struct vm_slot *slot, gfn_t gfn, enum pg_level level,
		     enum pg_level leaf);
/** vm_promote_at_exit - a vCPU has left the guest; no lock is held */
void vm_promote_at_exit(struct vm *vm);
/** vm_promote_finish - the last vCPU has stopped: returns when there is nothing left to promote */
void vm_promote_finish(struct vm *vm);

/* ---- slots -----------------------------------------------------------------------------------*/
static inline bool vm_slot_holds(const struct vm_slot *slot, gfn_t gfn)
{
	return gfn - slot->mmu.base_gfn < slot->mmu.npages && !sync_load(&slot->deleted);
}

/** vm_slot_file - what backs one side of it */
static inline struct gmem_file *vm_slot_file(const struct vm_slot *slot, bool private)
{
	return private ? slot->file : slot->shared;
}

/** vm_slot_index - index in the slot's file of @gfn, which the slot holds */
static inline u64 vm_slot_index(const struct vm_slot *slot, gfn_t gfn)
{
	return gfn - slot->mmu.base_gfn + slot->mmu.index;
}

static inline gfn_t vm_slot_end(const struct vm_slot *slot)
{
	return slot->mmu.base_gfn + slot->mmu.npages;
}

/** vm_find_slot - the slot that holds @gfn, or NULL */
struct vm_slot *vm_find_slot(const struct vm *vm, gfn_t gfn);
/** vm_slot_update_mixed - MIXED is what it is now, after [@start, @end) has become alike */
void vm_slot_update_mixed(struct vm_slot *slot, gfn_t start, gfn_t end);
/** vm_slot_read_attributes - MIXED of a new slot: others may have used its file before */
void vm_slot_read_attributes(struct vm_slot *slot);
/** vm_is_memory - every gfn of [@gfn, @gfn + @nr) is in a slot; false for an empty range */
bool vm_is_memory(const struct vm *vm, gfn_t gfn, u64 nr);

/* The same for faults, which come where the last one came. */
static inline struct vm_slot *vcpu_find_slot(struct vcpu *vcpu, gfn_t gfn)
{
	if (unlikely(!vm_slot_holds(vcpu->slot, gfn))) {
		struct vm_slot *slot = vm_find_slot(vcpu->vm, gfn);

		if (!slot)
			return NULL;
		vcpu->slot = slot;
	}
	return vcpu->slot;
}

#endif
