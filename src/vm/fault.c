/* SPDX-License-Identifier: MIT */
/*
 * EPT violations: from the registers of an exit to a struct mmu_fault, and the guest's wish for a
 * page size on the way.
 *
 *   private, type ACCEPT   the guest accepts at a level: nothing larger may be mapped there
 *   private, type 6        access to a page that it has not accepted, without #VE: the VM dies
 *   private, else; shared  map what the file has, as large as all agree on
 */
#include <errno.h>
#include <stdio.h>

#include "vm/internal.h"

static inline void bump(u64 *counter)
{
	sync_store(counter, sync_load(counter) + 1); /* one writer */
}

static int die_before_accept(struct vm *vm, gpa_t gpa)
{
	char why[VM_WHY_MAX];

	snprintf(why, sizeof(why), "access before accept, of GPA 0x%llx", (unsigned long long)gpa);
	vm_bugged(vm, why);
	return -EIO;
}

static int die_split(struct vm *vm, gfn_t gfn, const struct mmu_mapping *m)
{
	char why[VM_WHY_MAX];

	snprintf(why, sizeof(why),
		 "the guest accepts 4K of GPA 0x%llx, which is mapped at %llu KiB and can't be "
		 "split",
		 (unsigned long long)fn_to_addr(gfn),
		 (unsigned long long)level_size(m->level) >> 10);
	vm_bugged(vm, why);
	return -EIO;
}

/*
 * The guest accepts at @level: from now on nothing larger is mapped there. The look without a lock is
 * safe since the bit is one-way, and is set after what it stands for is done, under the write lock:
 * it spares the other 511 accepts of a block that lock.
 */
static int limit_to_accept_level(struct vm *vm, gfn_t gfn, enum pg_level level)
{
	struct mmu_mapping m;
	int err = 0;

	if (level > PG_LEVEL_2M || mmu_slot_test_guest_inhibit(&vm->slot, gfn, level + 1))
		return 0;
	sync_write_lock(mmu_lock(vm->mmu));
	if (mmu_lookup(vm->mmu, gfn, true, &m) && m.level > level) {
		err = die_split(vm, gfn, &m);
	} else {
		for (enum pg_level l = level + 1; l <= PG_LEVEL_MAX_LEAF; l++)
			mmu_slot_set_guest_inhibit(&vm->slot, gfn, l);
	}
	sync_write_unlock(mmu_lock(vm->mmu));
	return err;
}

static enum pg_level min_level(enum pg_level a, enum pg_level b)
{
	return a < b ? a : b;
}

/* Largest level that policy, TD, folio, slot and attributes allow. */
static enum pg_level max_level(struct vm *vm, gfn_t gfn, u64 index, enum pg_level folio,
			       bool private)
{
	enum pg_level level = min_level(folio, td_max_level(vm->td, private));

	if (private)
		level = min_level(level, vm->max_level);
	level = mmu_slot_max_level(&vm->slot, gfn, level);
	/* The slot says so for blocks inside it, and gfn and index agree modulo their size. */
	while (level > PG_LEVEL_4K &&
	       !gmem_is_uniform(vm->file, fn_align_down(index, level), pages_per_level(level)))
		level--;
	return level;
}

static int map_once(struct vcpu *vcpu, gfn_t gfn, u64 index, bool private, bool write)
{
	struct vm *vm = vcpu->vm;
	struct mmu_fault fault = {.gfn = gfn, .private = private, .write = write};
	enum pg_level folio;
	int err = mmu_cache_topup(&vcpu->cache);

	if (!err)
		err = td_fault_topup(vm->td);
	if (unlikely(err))
		return err;
	/* Before attributes and frame are looked up: if either changes, the map is refused. */
	fault.invalidate_seq = mmu_invalidate_seq(vm->mmu);
	if (unlikely(gmem_is_private(vm->file, index) != private))
		return -EFAULT;
	if (mmu_invalidate_retry(vm->mmu, fault.invalidate_seq, gfn))
		return MMU_RET_RETRY;
	err = gmem_get_pfn(vm->file, index, &fault.pfn, &folio);
	if (unlikely(err))
		return err;
	fault.max_level = max_level(vm, gfn, index, folio, private);
	return mmu_map(vm->mmu, &vcpu->cache, &fault);
}

/*
 * A private fault is retried here and not by entering again: after a few entries without progress
 * the module takes the S-EPT lock at every entry, and everybody else finds it busy.
 */
static int map(struct vcpu *vcpu, gfn_t gfn, u64 index, bool private, bool write)
{
	for (;;) {
		int ret = map_once(vcpu, gfn, index, private, write);

		if (likely(ret != MMU_RET_RETRY))
			return ret < 0 ? ret : 0;
		if (vm_is_dead(vcpu->vm))
			return -EIO;
		if (!private || sync_load(&vcpu->event))
			return 0;
		sync_relax();
	}
}

int vm_fault(struct vcpu *vcpu)
{
	const struct tdx_regs *r = &vcpu->regs;
	struct vm *vm = vcpu->vm;
	bool private = !(r->r8 >> vm->shared_bit & 1);
	gfn_t gfn = addr_to_fn(r->r8 & ~BIT_ULL(vm->shared_bit));
	unsigned int type = TDX_EEQ_TYPE(r->rdx);
	u64 index;
	int err = -EFAULT;

	bump(&vcpu->stats.exits_ept_violation);
	if (type == TDX_EEQ_ACCEPT)
		bump(&vcpu->stats.exits_accept_violation);
	if (unlikely(type == TDX_EEQ_PENDING_EPT_VIOLATION))
		return die_before_accept(vm, r->r8);
	if (likely(vm_slot_index(vm, gfn, &index))) {
		err = 0;
		if (private && type == TDX_EEQ_ACCEPT)
			err = limit_to_accept_level(vm, gfn,
						    TDX_EEQ_REQ_LEVEL(r->rdx) + PG_LEVEL_4K);
		if (!err)
			err = map(vcpu, gfn, index, private, r->rcx & TDX_EPT_VIOLATION_WRITE);
	}
	if (unlikely(err == -EFAULT))
		vcpu->fault_gpa = r->r8;
	return err;
}
