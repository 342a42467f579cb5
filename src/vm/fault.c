/* SPDX-License-Identifier: MIT */
/*
 * EPT violations: from the registers of an exit to a struct mmu_fault, and the guest's wish for a
 * page size on the way.
 *
 *   private, type ACCEPT   the guest accepts at a level: what is mapped larger there is split, and
 *                          nothing larger is mapped any more
 *   private, type 6        access to a page that it has not accepted, without #VE: the VM dies
 *   private, else; shared  map what the file has, as large as all agree on
 */
#include <errno.h>
#include <stdio.h>

#include "vm/internal.h"

static inline void bump(u64 *counter)
{
	sync_store_quiet(counter, sync_load_quiet(counter) + 1); /* one writer */
}

static int die_before_accept(struct vm *vm, gpa_t gpa)
{
	char why[VM_WHY_MAX];

	snprintf(why, sizeof(why), "access before accept, of GPA 0x%llx", (unsigned long long)gpa);
	vm_bugged(vm, why);
	return -EIO;
}

/*
 * The guest accepts at @level: what maps the gfn above it is split, and from now on no fault maps
 * anything larger there. The look without a lock is safe since the bit is set after the split,
 * inside the same section of the write lock: it spares the other 511 accepts of a block that lock.
 * Promotion alone takes the bit back, together with putting the large leaf there; who relied on the
 * bit just before that faults once more, and finds it clear.
 *
 * No flush is owed: a split has had every vCPU out.
 */
static int split_and_inhibit(struct vm *vm, struct vm_slot *slot, gfn_t gfn, enum pg_level level)
{
	int err;

	sync_write_lock(mmu_lock(vm->mmu));
	err = mmu_split_to_level(vm->mmu, gfn, gfn + 1, level, true);
	for (enum pg_level l = level + 1; !err && l <= PG_LEVEL_MAX_LEAF; l++)
		mmu_slot_set_guest_inhibit(&slot->mmu, gfn, l);
	sync_write_unlock(mmu_lock(vm->mmu));
	return err;
}

static int limit_alone(struct vm *vm, struct vm_slot *slot, gfn_t gfn, enum pg_level level)
{
	return mmu_slot_test_guest_inhibit(&slot->mmu, gfn, level + 1)
		       ? 0
		       : split_and_inhibit(vm, slot, gfn, level);
}

/*
 * A fault that had looked for the bit before it was set may map larger after that. Whoever accepts at
 * @level finds that leaf, and a bit that says there is none; without this it would do so for ever.
 */
static int split_what_slipped_in(struct vm *vm, struct vm_slot *slot, gfn_t gfn,
				 enum pg_level level)
{
	struct mmu_mapping m;

	return mmu_lookup(vm->mmu, gfn, true, &m) && m.level > level
		       ? split_and_inhibit(vm, slot, gfn, level)
		       : 0;
}

/* The same where a split stops nobody: under the read lock, which nothing has to be spared. */
static int limit_beside_others(struct vcpu *vcpu, struct vm_slot *slot, gfn_t gfn,
			       enum pg_level level)
{
	struct vm *vm = vcpu->vm;

	for (;;) {
		int ret = mmu_split_shared(vm->mmu, &vcpu->cache, &slot->mmu, gfn, level);

		if (likely(ret != MMU_RET_RETRY))
			return ret < 0 ? ret : 0;
		if (vm_is_dead(vm))
			return -EIO;
		if (sync_load(&vcpu->event))
			return 0;
		sync_relax();
	}
}

static int limit_to_accept_level(struct vcpu *vcpu, struct vm_slot *slot, gfn_t gfn,
				 enum pg_level level)
{
	if (level > PG_LEVEL_2M)
		return 0;
	return tdx_splits_unblocked(vcpu->vm->machine->tdx)
		       ? limit_beside_others(vcpu, slot, gfn, level)
		       : limit_alone(vcpu->vm, slot, gfn, level);
}

static enum pg_level min_level(enum pg_level a, enum pg_level b)
{
	return a < b ? a : b;
}

/* Largest level that policy, TD, memory and slot (attributes among them: MIXED) allow. */
static enum pg_level max_level(const struct vm *vm, const struct vm_slot *slot, gfn_t gfn,
			       enum pg_level leaf, bool private)
{
	enum pg_level level = min_level(leaf, td_max_level(vm->td, private));

	if (private)
		level = min_level(level, vm->max_level);
	return mmu_slot_max_level(&slot->mmu, gfn, level);
}

static int map_once(struct vcpu *vcpu, const struct vm_slot *slot, gfn_t gfn, bool private,
		    bool write)
{
	struct vm *vm = vcpu->vm;
	struct mmu_fault fault = {.gfn = gfn, .private = private, .write = write};
	u64 index = vm_slot_index(slot, gfn);
	enum pg_level leaf;
	int ret = mmu_cache_topup(&vcpu->cache);

	if (!ret)
		ret = td_fault_topup(vm->td);
	if (unlikely(ret))
		return ret;
	/* Before attributes and frame are looked up: if either changes, the map is refused. */
	fault.invalidate_seq = mmu_invalidate_seq(vm->mmu);
	if (unlikely(sync_load(&slot->deleted) || gmem_is_private(slot->shared, index) != private))
		return -EFAULT;
	if (bug_planted(&vm->host->bugs, BUG_ATTRIBUTE_BEFORE_SEQUENCE))
		fault.invalidate_seq = mmu_invalidate_seq(vm->mmu);
	if (mmu_invalidate_retry(vm->mmu, fault.invalidate_seq, gfn))
		return MMU_RET_RETRY;
	ret = gmem_get_pfn(vm_slot_file(slot, private), index, &fault.pfn, &leaf);
	if (unlikely(ret))
		return ret;
	if (bug_planted(&vm->host->bugs, BUG_FRAME_BEFORE_SEQUENCE))
		fault.invalidate_seq = mmu_invalidate_seq(vm->mmu);
	fault.max_level = max_level(vm, slot, gfn, leaf, private);
	ret = mmu_map(vm->mmu, &vcpu->cache, &fault);
	if (unlikely(vm->promoter.policy) && ret == MMU_RET_FIXED && private)
		vm_promote_note(vm, slot, gfn, fault.max_level, leaf);
	return ret;
}

/*
 * A private fault is retried here and not by entering again: after a few entries without progress
 * the module takes the S-EPT lock at every entry, and everybody else finds it busy.
 * Return: an enum mmu_ret, or -errno.
 */
static int map(struct vcpu *vcpu, const struct vm_slot *slot, gfn_t gfn, bool private, bool write)
{
	for (;;) {
		int ret = map_once(vcpu, slot, gfn, private, write);

		if (likely(ret != MMU_RET_RETRY))
			return ret;
		if (vm_is_dead(vcpu->vm))
			return -EIO;
		if (private && sync_load(&vcpu->event))
			return ret;
		/* Who invalidates, or has lost us the race, must get on before either comes again. */
		sync_relax();
		if (!private)
			return ret;
	}
}

/* The guest's ACCEPT at @level found no leaf of that level; likewise. */
static int map_for_accept(struct vcpu *vcpu, struct vm_slot *slot, gfn_t gfn, enum pg_level level,
			  bool write)
{
	int ret = limit_to_accept_level(vcpu, slot, gfn, level);

	if (likely(!ret))
		ret = map(vcpu, slot, gfn, true, write);
	if (bug_planted(&vcpu->vm->host->bugs, BUG_SLIPPED_IN_FORGOTTEN))
		return ret;
	return unlikely(ret == MMU_RET_SPURIOUS) ? split_what_slipped_in(vcpu->vm, slot, gfn, level)
						 : ret;
}

int vm_fault(struct vcpu *vcpu)
{
	const struct tdx_regs *r = &vcpu->regs;
	struct vm *vm = vcpu->vm;
	bool private = !(r->r8 >> vm->shared_bit & 1);
	gfn_t gfn = addr_to_fn(r->r8 & ~BIT_ULL(vm->shared_bit));
	bool write = r->rcx & TDX_EPT_VIOLATION_WRITE;
	unsigned int type = TDX_EEQ_TYPE(r->rdx);
	struct vm_slot *slot;
	int err = -EFAULT;

	bump(&vcpu->stats.exits_ept_violation);
	if (type == TDX_EEQ_ACCEPT)
		bump(&vcpu->stats.exits_accept_violation);
	if (unlikely(type == TDX_EEQ_PENDING_EPT_VIOLATION))
		return die_before_accept(vm, r->r8);
	slot = vcpu_find_slot(vcpu, gfn);
	if (likely(slot))
		err = private && type == TDX_EEQ_ACCEPT
			      ? map_for_accept(vcpu, slot, gfn,
					       TDX_EEQ_REQ_LEVEL(r->rdx) + PG_LEVEL_4K, write)
			      : map(vcpu, slot, gfn, private, write);
	if (unlikely(err == -EFAULT || err == -EHWPOISON))
		vcpu->fault_gpa = r->r8;
	return err < 0 ? err : 0;
}
