/* SPDX-License-Identifier: MIT */
/*
 * What the memory file does to a VM: it takes ranges away, in four steps.
 *
 *   begin     faults in the range retry from now on
 *   prepare   may refuse: no leaf may cross an end, since leaves go whole
 *   commit    every leaf of the range goes
 *   end       faults find what the file has now
 *
 * Faults are barred from all blocks that the range touches, not from the range alone: else one
 * beside it could map a leaf across its end after prepare has looked.
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
	u64 block = pages_per_level(LARGEST_FOLIO);

	sync_write_lock(mmu_lock(vm->mmu));
	mmu_invalidate_begin(vm->mmu);
	mmu_invalidate_range_add(vm->mmu, ALIGN_DOWN(start, block), ALIGN_UP(start + nr, block));
	sync_write_unlock(mmu_lock(vm->mmu));
}

static bool leaf_crosses(struct vm *vm, gfn_t gfn, bool private, gfn_t start, gfn_t end)
{
	struct mmu_mapping m;

	return mmu_lookup(vm->mmu, gfn, private, &m) &&
	       (m.gfn < start || m.gfn + pages_per_level(m.level) > end);
}

static int client_prepare(void *client, u64 index, u64 nr)
{
	struct vm *vm = client;
	gfn_t start = index_to_gfn(vm, index), end = start + nr;
	bool crosses = false;

	sync_write_lock(mmu_lock(vm->mmu));
	for (int private = 0; private <= 1; private ++)
		crosses |= leaf_crosses(vm, start, private, start, end) ||
			   leaf_crosses(vm, end - 1, private, start, end);
	sync_write_unlock(mmu_lock(vm->mmu));
	return crosses ? -EINVAL : 0;
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

static void client_end(void *client, u64 index, u64 nr)
{
	struct vm *vm = client;

	(void)index;
	(void)nr;
	sync_write_lock(mmu_lock(vm->mmu));
	mmu_invalidate_end(vm->mmu);
	sync_write_unlock(mmu_lock(vm->mmu));
}

const struct gmem_client_ops vm_gmem_ops = {
	.begin = client_begin,
	.prepare = client_prepare,
	.commit = client_commit,
	.end = client_end,
};

/* A range of whole pages inside the slot, private. */
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
