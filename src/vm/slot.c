/* SPDX-License-Identifier: MIT */
/*
 * The slots of a VM: finding the one of a gfn, and the words in them that say which blocks have
 * attributes of both kinds (MIXED).
 *
 * The words change when attributes do, under gmem.invalidate_lock held for writing, between begin and
 * end of an invalidation. Faults look at them under its protocol, so this needs no MMU lock, with
 * which some of what is asked of the file may not be asked.
 */
#include "vm/internal.h"

struct vm_slot *vm_find_slot(const struct vm *vm, gfn_t gfn)
{
	u32 low = 0, high = vm->nr_slots;

	while (low < high) {
		u32 mid = low + (high - low) / 2;
		struct vm_slot *slot = &vm->slots[mid];

		if (vm_slot_holds(slot, gfn))
			return slot;
		if (gfn < slot->mmu.base_gfn)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}

bool vm_is_memory(const struct vm *vm, gfn_t gfn, u64 nr)
{
	if (!nr || nr > ~gfn)
		return false;
	for (gfn_t end = gfn + nr; gfn < end;) {
		const struct vm_slot *slot = vm_find_slot(vm, gfn);

		if (!slot)
			return false;
		gfn = vm_slot_end(slot);
	}
	return true;
}

/* ---- MIXED -----------------------------------------------------------------------------------*/

/* Gfns of one block don't agree, as far as it lies in the slot. */
static bool is_mixed(const struct vm_slot *slot, gfn_t gfn, enum pg_level level)
{
	gfn_t first = fn_align_down(gfn, level), end = first + pages_per_level(level);

	first = max_u64(first, slot->mmu.base_gfn);
	end = min_u64(end, vm_slot_end(slot));
	return !gmem_is_uniform(slot->shared, vm_slot_index(slot, first), end - first);
}

static void update_block(struct vm_slot *slot, gfn_t gfn, enum pg_level level)
{
	mmu_slot_set_mixed(&slot->mmu, max_u64(gfn, slot->mmu.base_gfn), level,
			   is_mixed(slot, gfn, level));
}

/* The words of @level: a block inside agrees, one that sticks out is asked. */
static void update_level(struct vm_slot *slot, gfn_t start, gfn_t end, enum pg_level level)
{
	gfn_t first = fn_align_down(start, level), last = fn_align_down(end - 1, level);
	gfn_t inside = fn_align_down(start + pages_per_level(level) - 1, level);

	if (first < inside)
		update_block(slot, first, level);
	mmu_slot_clear_mixed(&slot->mmu, inside, fn_align_down(end, level), level);
	if (last + pages_per_level(level) > end && last >= inside)
		update_block(slot, last, level);
}

void vm_slot_update_mixed(struct vm_slot *slot, gfn_t start, gfn_t end)
{
	for (enum pg_level level = PG_LEVEL_2M; level <= PG_LEVEL_MAX_LEAF; level++)
		update_level(slot, start, end, level);
}

/* The 2M words inside a block of @level that doesn't agree, and its own. */
static void read_mixed_block(struct vm_slot *slot, gfn_t gfn, gfn_t end, enum pg_level level)
{
	mmu_slot_set_mixed(&slot->mmu, gfn, level, true);
	if (level == PG_LEVEL_2M)
		return;
	end = min_u64(end, fn_align_down(gfn, level) + pages_per_level(level));
	for (; gfn < end; gfn = fn_align_down(gfn, level - 1) + pages_per_level(level - 1))
		if (is_mixed(slot, gfn, level - 1))
			read_mixed_block(slot, gfn, end, level - 1);
}

/*
 * After binding. Somebody who changes attributes meanwhile brings the words up to date, too; as this
 * only ever sets MIXED, and sets it for what was so, the worst is a block that stays small until its
 * attributes change again.
 */
void vm_slot_read_attributes(struct vm_slot *slot)
{
	gfn_t gfn = slot->mmu.base_gfn, end = vm_slot_end(slot);
	const enum pg_level top = PG_LEVEL_MAX_LEAF;

	if (gmem_is_uniform(slot->shared, slot->mmu.index, slot->mmu.npages))
		return;
	for (; gfn < end; gfn = fn_align_down(gfn, top) + pages_per_level(top))
		if (is_mixed(slot, gfn, top))
			read_mixed_block(slot, gfn, end, top);
}
