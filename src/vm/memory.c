/* SPDX-License-Identifier: MIT */
/*
 * What memory files do to a VM, step by step, and what the VM asks of them. A client is one slot.
 *
 *   begin     faults in the huge pages that the range touches retry from now on
 *   prepare   splits the leaves that cross an end, since leaves go whole; may fail
 *   limit     splits the leaves that would be larger than their folios; likewise
 *   commit    every leaf of the range goes
 *   changed   the slot's MIXED words say what the attributes are now
 *   end       faults find that, and what the file has
 *
 * Faults are barred from whole huge pages: else one beside the range could map a leaf across its end
 * after prepare has looked. For the same reason, and because MIXED is looked at before mmu.lock is
 * taken, nobody needs to mark the blocks at the ends before the attributes change: what maps there
 * looks again after end.
 *
 * The file's other VMs come here, too, on their vCPUs' threads.
 */
#include <errno.h>
#include <string.h>

#include "vm/internal.h"

static gfn_t index_to_gfn(const struct vm_slot *slot, u64 index)
{
	return index - slot->mmu.index + slot->mmu.base_gfn;
}

static void invalidate_begin(struct vm *vm, gfn_t start, gfn_t end)
{
	sync_write_lock(mmu_lock(vm->mmu));
	mmu_invalidate_begin(vm->mmu);
	mmu_invalidate_range_add(vm->mmu, start, end);
	sync_write_unlock(mmu_lock(vm->mmu));
}

static void invalidate_end(struct vm *vm)
{
	sync_write_lock(mmu_lock(vm->mmu));
	mmu_invalidate_end(vm->mmu);
	sync_write_unlock(mmu_lock(vm->mmu));
}

static int split_boundaries(struct mmu *mmu, gfn_t start, gfn_t end)
{
	int err = mmu_split_boundaries(mmu, start, end, true);

	return err ? err : mmu_split_boundaries(mmu, start, end, false);
}

static int split_to_level(struct mmu *mmu, gfn_t start, gfn_t end, enum pg_level level)
{
	int err = mmu_split_to_level(mmu, start, end, level, true);

	return err ? err : mmu_split_to_level(mmu, start, end, level, false);
}

/* ---- the client ------------------------------------------------------------------------------*/
static void client_begin(void *client, u64 index, u64 nr)
{
	struct vm_slot *slot = client;
	gfn_t start = index_to_gfn(slot, index);

	invalidate_begin(slot->vm, start, start + nr);
}

static int client_prepare(void *client, u64 index, u64 nr)
{
	const struct vm_slot *slot = client;
	struct vm *vm = slot->vm;
	gfn_t start = index_to_gfn(slot, index);
	int err;

	sync_write_lock(mmu_lock(vm->mmu));
	err = vm->leaving || bug_planted(&vm->host->bugs, BUG_OVER_ZAP)
		      ? 0
		      : split_boundaries(vm->mmu, start, start + nr);
	/* It may have begun to leave while the lock was dropped to allocate. */
	if (vm->leaving)
		err = 0;
	sync_write_unlock(mmu_lock(vm->mmu));
	return err;
}

static int client_limit(void *client, u64 index, u64 nr, enum pg_level level)
{
	const struct vm_slot *slot = client;
	struct vm *vm = slot->vm;
	gfn_t start = index_to_gfn(slot, index);
	int err;

	/* As in client_prepare(). */
	sync_write_lock(mmu_lock(vm->mmu));
	err = vm->leaving ? 0 : split_to_level(vm->mmu, start, start + nr, level);
	if (vm->leaving)
		err = 0;
	sync_write_unlock(mmu_lock(vm->mmu));
	return err;
}

static void client_commit(void *client, u64 index, u64 nr)
{
	struct vm_slot *slot = client;
	struct mmu *mmu = slot->vm->mmu;
	gfn_t start = index_to_gfn(slot, index);

	sync_write_lock(mmu_lock(mmu));
	mmu_zap_leafs(mmu, start, start + nr, true);
	mmu_zap_leafs(mmu, start, start + nr, false);
	sync_write_unlock(mmu_lock(mmu));
}

static void client_changed(void *client, u64 index, u64 nr)
{
	struct vm_slot *slot = client;
	gfn_t start = index_to_gfn(slot, index);

	if (bug_planted(&slot->vm->host->bugs, BUG_MIXED_WITHOUT_LAST_PAGE) && nr > 1)
		nr--;
	if (!bug_planted(&slot->vm->host->bugs, BUG_MIXED_NOT_UPDATED))
		vm_slot_update_mixed(slot, start, start + nr);
}

static void client_end(void *client, u64 index, u64 nr)
{
	const struct vm_slot *slot = client;

	(void)index;
	(void)nr;
	invalidate_end(slot->vm);
}

const struct gmem_client_ops vm_gmem_ops = {
	.begin = client_begin,
	.prepare = client_prepare,
	.limit = client_limit,
	.commit = client_commit,
	.changed = client_changed,
	.end = client_end,
};

void vm_zap_all(struct vm *vm)
{
	gfn_t limit = addr_to_fn(BIT_ULL(vm->shared_bit));

	sync_write_lock(mmu_lock(vm->mmu));
	mmu_zap_leafs(vm->mmu, 0, limit, true);
	mmu_zap_leafs(vm->mmu, 0, limit, false);
	sync_write_unlock(mmu_lock(vm->mmu));
}

/*
 * Everything goes inside one invalidation. A fault that looked the slot up before that is refused; one
 * that takes its sequence number after it finds the mark. Conversions may come until it is unbound, and
 * find nothing mapped.
 */
int vm_delete_slot(struct vm *vm, u32 i)
{
	struct vm_slot *slot = i < vm->nr_slots ? &vm->slots[i] : NULL;
	gfn_t start, end;

	if (!slot || sync_load(&slot->deleted))
		return -EINVAL;
	start = slot->mmu.base_gfn;
	end = vm_slot_end(slot);
	invalidate_begin(vm, start, end);
	sync_write_lock(mmu_lock(vm->mmu));
	mmu_zap_leafs(vm->mmu, start, end, true);
	mmu_zap_leafs(vm->mmu, start, end, false);
	/* After the leaves: who checks these looks for their slot. */
	sync_store(&slot->deleted, 1);
	sync_write_unlock(mmu_lock(vm->mmu));
	invalidate_end(vm);
	vm_unbind_slot(slot);
	return 0;
}

/* ---- what may be a leaf ----------------------------------------------------------------------*/
bool vm_leaf_ok(void *ctx, gfn_t gfn, pfn_t pfn, enum pg_level level, bool private)
{
	const struct vm_slot *slot = vm_find_slot(ctx, gfn);
	u64 nr = pages_per_level(level), index;

	if (!slot || nr > vm_slot_end(slot) - gfn)
		return false;
	index = vm_slot_index(slot, gfn);
	return gmem_check_mapping(vm_slot_file(slot, private), index, pfn, level) &&
	       gmem_is_uniform(slot->shared, index, nr);
}

/* ---- what the VM asks for --------------------------------------------------------------------*/
/* A range of whole pages of memory, by its private GPA. */
static bool is_memory(const struct vm *vm, gpa_t gpa, u64 size)
{
	return IS_ALIGNED(gpa | size, PAGE_SIZE) &&
	       vm_is_memory(vm, addr_to_fn(gpa), addr_to_fn(size));
}

/*
 * The first part of [@gfn, @gfn + @nr), memory, that lies in one slot; NULL where it has been deleted
 * since.
 */
static const struct vm_slot *first_part(const struct vm *vm, gfn_t gfn, u64 nr, u64 *part)
{
	const struct vm_slot *slot = vm_find_slot(vm, gfn);

	*part = slot ? min_u64(nr, vm_slot_end(slot) - gfn) : 0;
	return slot;
}

/* Both backing stores, where there are two. */
static int punch(const struct vm_slot *slot, gfn_t gfn, u64 nr)
{
	u64 index = vm_slot_index(slot, gfn);
	int err = 0;

	if (slot->shared != slot->file)
		err = gmem_punch_hole(slot->shared, index, nr);
	return err ? err : gmem_punch_hole(slot->file, index, nr);
}

int vm_discard(struct vm *vm, gpa_t gpa, u64 size)
{
	gfn_t gfn = addr_to_fn(gpa);
	u64 part;
	int err = 0;

	if (!is_memory(vm, gpa, size))
		return -EINVAL;
	for (u64 nr = addr_to_fn(size); nr && !err; gfn += part, nr -= part) {
		const struct vm_slot *slot = first_part(vm, gfn, nr, &part);

		err = slot ? punch(slot, gfn, part) : -EINVAL;
	}
	return err;
}

int vm_convert(struct vm *vm, gpa_t gpa, u64 size, u64 *done)
{
	bool to_private = !(gpa >> vm->shared_bit & 1);
	gpa_t private_gpa = gpa & ~BIT_ULL(vm->shared_bit);
	u64 part;

	*done = 0;
	if (!is_memory(vm, private_gpa, size))
		return -EINVAL;
	for (; *done < size; *done += fn_to_addr(part)) {
		gfn_t gfn = addr_to_fn(private_gpa + *done);
		const struct vm_slot *slot = first_part(vm, gfn, addr_to_fn(size - *done), &part);
		int err;

		if (!slot)
			return -EINVAL;
		err = gmem_convert(slot->shared, vm_slot_index(slot, gfn), part, to_private);
		if (err)
			return err;
	}
	return 0;
}

int vm_set_memory_attributes(struct vm *vm, gpa_t gpa, u64 size, u64 attributes)
{
	u64 done;

	if (!vm->host->vm_memory_attributes)
		return -ENOTTY;
	if (attributes & ~GMEM_ATTRIBUTE_PRIVATE || gpa >> vm->shared_bit)
		return -EINVAL;
	return vm_convert(vm, attributes ? gpa : gpa | BIT_ULL(vm->shared_bit), size, &done);
}

int vm_track_dirty(struct vm *vm, gfn_t gfn, u64 nr)
{
	const struct bug_set *bugs = &vm->host->bugs;
	bool alone = bug_planted(bugs, BUG_DIRTY_WITHOUT_INVALIDATION);
	u64 block = pages_per_level(PG_LEVEL_MAX_LEAF);
	int err = 0;

	if (!vm_is_memory(vm, gfn, nr))
		return -EINVAL;
	/* A fault behind the walk could map a huge leaf where it has found nothing. */
	if (!alone)
		invalidate_begin(vm, ALIGN_DOWN(gfn, block), ALIGN_UP(gfn + nr, block));
	sync_write_lock(mmu_lock(vm->mmu));
	if (!bug_planted(bugs, BUG_DIRTY_SPLITS_NOTHING))
		err = split_to_level(vm->mmu, gfn, gfn + nr, PG_LEVEL_4K);
	sync_write_unlock(mmu_lock(vm->mmu));
	if (!alone)
		invalidate_end(vm);
	return err;
}

/*
 * The frame fails, and then the host hears of it. What is unmapped gets the host's key, which makes
 * its content whole; so it fails once more when nobody has it any more.
 */
int vm_memory_failure(struct vm *vm, gpa_t gpa)
{
	const struct vm_slot *slot = vm_find_slot(vm, addr_to_fn(gpa));
	enum pg_level level;
	bool is_backed;
	u64 index;
	pfn_t pfn;
	int err;

	if (!slot)
		return -EINVAL;
	index = vm_slot_index(slot, addr_to_fn(gpa));
	is_backed = gmem_folio_level(slot->file, index) != PG_LEVEL_NONE &&
		    !gmem_get_pfn(slot->file, index, &pfn, &level);
	if (is_backed)
		host_poison(vm->host, pfn);
	err = gmem_memory_failure(slot->file, index);
	if (is_backed)
		host_poison(vm->host, pfn);
	return err;
}

/* ---- the image -------------------------------------------------------------------------------*/
static int add_page(struct vm *vm, gfn_t gfn)
{
	const struct vm_slot *slot = vm_find_slot(vm, gfn);
	struct mmu_vcpu_cache *cache = &vm->vcpus[0].cache;
	struct mmu_fault fault = {.gfn = gfn, .private = true, .write = true};
	enum pg_level leaf;
	int ret;

	do {
		ret = mmu_cache_topup(cache);
		if (!ret)
			ret = td_fault_topup(vm->td);
		if (ret)
			return ret;
		fault.invalidate_seq = mmu_invalidate_seq(vm->mmu);
		if (!gmem_is_private(slot->shared, vm_slot_index(slot, gfn)))
			return -EINVAL;
		ret = gmem_get_pfn(slot->file, vm_slot_index(slot, gfn), &fault.pfn, &leaf);
		if (ret)
			return ret;
		fault.max_level = td_max_level(vm->td, true);
		ret = mmu_map(vm->mmu, cache, &fault);
	} while (ret == MMU_RET_RETRY);
	return ret < 0 ? ret : 0;
}

int vm_load_image(struct vm *vm, const struct vm_image *image)
{
	const u8 *data = image->data;
	pfn_t source;
	int err;

	if (!is_memory(vm, image->gpa, image->bytes))
		return -EINVAL;
	err = host_alloc(vm->host, PG_LEVEL_4K, FRAME_OTHER, &source);
	if (err)
		return err;
	td_set_add_source(vm->td, fn_to_addr(source));
	for (u64 at = 0; at < image->bytes && !err; at += PAGE_SIZE) {
		memcpy(host_frame_ptr(vm->host, source), data + at, PAGE_SIZE);
		host_frame_dirty(vm->host, source);
		err = add_page(vm, addr_to_fn(image->gpa + at));
	}
	host_free(vm->host, source, PG_LEVEL_4K, FRAME_OTHER);
	return err;
}
