/* SPDX-License-Identifier: MIT */
/*
 * What the memory file does to a VM, in four steps, and what the VM asks of the file.
 *
 *   begin     faults in all blocks that the range touches retry from now on
 *   prepare   splits the leaves that cross an end, since leaves go whole; may fail
 *   commit    every leaf of the range goes
 *   end       the slot's MIXED words say what the attributes are now; faults find that, and what the
 *             file has
 *
 * Faults are barred from the range rounded out to whole blocks of the largest leaf: else one beside
 * it could map a leaf across its end after prepare has looked. For the same reason, and because
 * MIXED is looked at before mmu.lock is taken, nobody needs to mark the blocks at the ends before
 * the attributes change: what maps there looks again after end.
 */
#include <errno.h>
#include <string.h>

#include "vm/internal.h"

/* No folio is larger, so no leaf is. */
#define LARGEST_FOLIO PG_LEVEL_2M

static gfn_t index_to_gfn(const struct vm *vm, u64 index)
{
	return index - vm->slot.index + vm->slot.base_gfn;
}

static void client_begin(void *client, u64 index, u64 nr)
{
	struct vm *vm = client;
	gfn_t start = index_to_gfn(vm, index);

	vm_invalidate_begin(vm, start, start + nr);
}

static int client_prepare(void *client, u64 index, u64 nr)
{
	struct vm *vm = client;
	gfn_t start = index_to_gfn(vm, index), end = start + nr;
	int err;

	sync_write_lock(mmu_lock(vm->mmu));
	err = mmu_split_boundaries(vm->mmu, start, end, true);
	if (!err)
		err = mmu_split_boundaries(vm->mmu, start, end, false);
	sync_write_unlock(mmu_lock(vm->mmu));
	return err;
}

static void client_commit(void *client, u64 index, u64 nr)
{
	struct vm *vm = client;
	gfn_t start = index_to_gfn(vm, index);

	sync_write_lock(mmu_lock(vm->mmu));
	mmu_zap_leafs(vm->mmu, start, start + nr, true);
	mmu_zap_leafs(vm->mmu, start, start + nr, false);
	sync_write_unlock(mmu_lock(vm->mmu));
}

/* ---- MIXED -----------------------------------------------------------------------------------*/

/* Gfns of one block don't agree, as far as it lies in the slot. gmem.invalidate_lock is held. */
static bool is_mixed(const struct vm *vm, gfn_t gfn, enum pg_level level)
{
	gfn_t first = fn_align_down(gfn, level), end = first + pages_per_level(level);
	u64 index;

	first = max_u64(first, vm->slot.base_gfn);
	end = min_u64(end, vm->slot.base_gfn + vm->slot.npages);
	vm_slot_index(vm, first, &index);
	return !gmem_is_uniform(vm->file, index, end - first);
}

/*
 * The words of @level after [@start, @end) has become alike: a block inside agrees, one that sticks
 * out is asked. The words are their own atomics, and faults look at them under the protocol, so
 * this needs no MMU lock (with which nobody may ask the file).
 */
static void update_mixed(struct vm *vm, gfn_t start, gfn_t end, enum pg_level level)
{
	gfn_t last = fn_align_down(end - 1, level), gfn = fn_align_down(start, level);
	u64 block = pages_per_level(level);

	for (; gfn <= last; gfn += block) {
		gfn_t in_slot = max_u64(gfn, vm->slot.base_gfn);
		bool sticks_out = gfn < start || gfn + block > end;

		if (sticks_out)
			mmu_slot_set_mixed(&vm->slot, in_slot, level, is_mixed(vm, gfn, level));
		else if (mmu_slot_max_level(&vm->slot, gfn, level) < level)
			mmu_slot_set_mixed(&vm->slot, gfn, level, false);
	}
}

static void client_end(void *client, u64 index, u64 nr)
{
	struct vm *vm = client;
	gfn_t start = index_to_gfn(vm, index);
	/* Else it was a hole, or a conversion that failed: no attribute has changed. */
	bool alike = gmem_is_uniform(vm->file, index, nr);

	for (enum pg_level level = PG_LEVEL_2M; alike && level <= PG_LEVEL_MAX_LEAF; level++)
		update_mixed(vm, start, start + nr, level);
	vm_invalidate_end(vm);
}

const struct gmem_client_ops vm_gmem_ops = {
	.begin = client_begin,
	.prepare = client_prepare,
	.commit = client_commit,
	.end = client_end,
};

/* ---- what the VM asks for --------------------------------------------------------------------*/
void vm_invalidate_begin(struct vm *vm, gfn_t start, gfn_t end)
{
	u64 block = pages_per_level(LARGEST_FOLIO);

	sync_write_lock(mmu_lock(vm->mmu));
	mmu_invalidate_begin(vm->mmu);
	mmu_invalidate_range_add(vm->mmu, ALIGN_DOWN(start, block), ALIGN_UP(end, block));
	sync_write_unlock(mmu_lock(vm->mmu));
}

void vm_invalidate_end(struct vm *vm)
{
	sync_write_lock(mmu_lock(vm->mmu));
	mmu_invalidate_end(vm->mmu);
	sync_write_unlock(mmu_lock(vm->mmu));
}

/* A range of whole pages inside the slot, by its private GPA. */
static bool is_in_slot(const struct vm *vm, gpa_t gpa, u64 size, u64 *index, u64 *nr)
{
	*nr = addr_to_fn(size);
	return size && IS_ALIGNED(gpa | size, PAGE_SIZE) &&
	       vm_slot_index(vm, addr_to_fn(gpa), index) &&
	       *nr <= vm->slot.npages - (addr_to_fn(gpa) - vm->slot.base_gfn);
}

int vm_discard(struct vm *vm, gpa_t gpa, u64 size)
{
	u64 index, nr;

	if (!is_in_slot(vm, gpa, size, &index, &nr))
		return -EINVAL;
	return gmem_punch_hole(vm->file, index, nr);
}

int vm_convert(struct vm *vm, gpa_t gpa, u64 size)
{
	bool to_private = !(gpa >> vm->shared_bit & 1);
	u64 index, nr;

	if (!is_in_slot(vm, gpa & ~BIT_ULL(vm->shared_bit), size, &index, &nr))
		return -EINVAL;
	return gmem_convert(vm->file, index, nr, to_private);
}

int vm_track_dirty(struct vm *vm, gfn_t gfn, u64 nr)
{
	u64 index;
	int err;

	if (!nr || !vm_slot_index(vm, gfn, &index) ||
	    nr > vm->slot.npages - (gfn - vm->slot.base_gfn))
		return -EINVAL;
	/* A fault behind the walk could map a huge leaf where it has found nothing. */
	vm_invalidate_begin(vm, gfn, gfn + nr);
	sync_write_lock(mmu_lock(vm->mmu));
	err = mmu_split_to_level(vm->mmu, gfn, gfn + nr, PG_LEVEL_4K, true);
	if (!err)
		err = mmu_split_to_level(vm->mmu, gfn, gfn + nr, PG_LEVEL_4K, false);
	sync_write_unlock(mmu_lock(vm->mmu));
	vm_invalidate_end(vm);
	return err;
}

/* ---- the image -------------------------------------------------------------------------------*/
static int add_page(struct vm *vm, gfn_t gfn, u64 index)
{
	struct mmu_vcpu_cache *cache = &vm->vcpus[0].cache;
	struct mmu_fault fault = {.gfn = gfn, .private = true, .write = true};
	enum pg_level folio;
	int ret;

	do {
		ret = mmu_cache_topup(cache);
		if (!ret)
			ret = td_fault_topup(vm->td);
		if (!ret)
			ret = gmem_get_pfn(vm->file, index, &fault.pfn, &folio);
		if (ret)
			return ret;
		fault.invalidate_seq = mmu_invalidate_seq(vm->mmu);
		fault.max_level = td_max_level(vm->td, true);
		ret = mmu_map(vm->mmu, cache, &fault);
	} while (ret == MMU_RET_RETRY);
	return ret < 0 ? ret : 0;
}

int vm_load_image(struct vm *vm, const struct vm_image *image)
{
	const u8 *data = image->data;
	u64 index, nr;
	pfn_t source;
	int err;

	if (!is_in_slot(vm, image->gpa, image->bytes, &index, &nr))
		return -EINVAL;
	err = host_alloc(vm->host, PG_LEVEL_4K, FRAME_OTHER, &source);
	if (err)
		return err;
	td_set_add_source(vm->td, fn_to_addr(source));
	for (u64 i = 0; i < nr && !err; i++) {
		memcpy(host_frame_ptr(vm->host, source), data + fn_to_addr(i), PAGE_SIZE);
		host_frame_dirty(vm->host, source);
		err = add_page(vm, addr_to_fn(image->gpa) + i, index + i);
	}
	host_free(vm->host, source, PG_LEVEL_4K, FRAME_OTHER);
	return err;
}
