/* SPDX-License-Identifier: MIT */
/* What host threads do: a VMM's ioctls, the kernel's own works, and whole TDs. */
#include <errno.h>

#include "explore/world.h"
#include "tdx/internal.h"
#include "vm/internal.h"

void world_update_view(struct world_td *td, gpa_t gpa, u64 size)
{
	u32 first, end;

	oracle_runs(td, gpa, size, &first, &end);
	for (u32 i = first; i < end; i++) {
		struct gmem_file *file = vm_file(td->vm);
		bool shared;

		/* Until both agree: of two that convert the one that looks last sees what both did. */
		do {
			shared = !gmem_is_private(file, td->run[i].gfn);
			/* Pairs with the acquire in is_shared(). */
			sync_store_release(&td->view[i], (u64)shared);
		} while (shared == gmem_is_private(file, td->run[i].gfn));
	}
}

/* What a file does when it takes memory away, but that it keeps it: as when a slot is moved. */
static int zap(struct vm *vm, gfn_t gfn, u64 nr)
{
	struct vm_slot *slot = vm_find_slot(vm, gfn);
	u64 index = vm_slot_index(slot, gfn);
	u64 block = pages_per_level(PG_LEVEL_MAX_LEAF);
	u64 first = ALIGN_DOWN(index, block), end = ALIGN_UP(index + nr, block);
	int err;

	vm_gmem_ops.begin(slot, first, end - first);
	err = vm_gmem_ops.prepare(slot, index, nr);
	if (!err)
		vm_gmem_ops.commit(slot, index, nr);
	vm_gmem_ops.end(slot, first, end - first);
	return err;
}

static int convert(struct world_td *td, const struct program_op *op)
{
	int err = gmem_convert(vm_file(td->vm), addr_to_fn(op->gpa), addr_to_fn(op->size),
			       op->private);

	if (!err)
		world_update_view(td, op->gpa, op->size);
	return err;
}

/* By a host process. */
static int touch(struct world_actor *a, const struct program_op *op)
{
	struct world_td *td = &a->w->td[op->td];
	const struct oracle_run *r = &td->run[oracle_run_at(td, addr_to_fn(op->gpa))];
	struct gmem_file *file = vm_file(td->vm);
	bool holds = r->pins[a->index];
	u64 word = world_value(op);
	int err = 0;

	oracle_host_begin(a, op, word);
	if (op->kind == OP_HOST_WRITE)
		err = gmem_host_write(file, op->gpa, &word, 1);
	else if (op->kind == OP_HOST_READ)
		err = gmem_host_read(file, op->gpa, &word, 1);
	else if (op->kind == OP_PIN)
		err = gmem_pin(file, addr_to_fn(op->gpa));
	else if (holds)
		gmem_unpin(file, addr_to_fn(op->gpa));
	oracle_host_end(a, op, err, word);
	return err;
}

static int pamt_get(struct world *w, const struct program_op *op)
{
	int err = tdx_pamt_get(w->m.tdx, w->pamt_range + op->number);

	if (!err)
		w->held[op->number] = true;
	return err;
}

/* What an injected failure kept from being got can't be put. */
static int pamt_put(struct world *w, const struct program_op *op)
{
	if (w->held[op->number]) {
		w->held[op->number] = false;
		tdx_pamt_put(w->m.tdx, w->pamt_range + op->number);
	}
	return 0;
}

static int perform(struct world_actor *a, const struct program_op *op)
{
	struct world *w = a->w;
	struct world_td *td = &w->td[op->td];
	gfn_t gfn = addr_to_fn(op->gpa);
	u64 nr = addr_to_fn(op->size);

	switch (op->kind) {
	case OP_CONVERT:
		return convert(td, op);
	case OP_PUNCH:
		return gmem_punch_hole(vm_file(td->vm), gfn, nr);
	case OP_SPLIT:
		return vm_track_dirty(td->vm, gfn, nr);
	case OP_PROMOTE:
		return vm_promote_try(td->vm, gfn, op->level);
	case OP_ZAP:
		return zap(td->vm, gfn, nr);
	case OP_KICK:
		vcpu_kick(vm_vcpu(td->vm, op->vcpu));
		return 0;
	case OP_FAIL:
		return vm_memory_failure(td->vm, op->gpa);
	case OP_HOST_WRITE:
	case OP_HOST_READ:
	case OP_PIN:
	case OP_UNPIN:
		return touch(a, op);
	case OP_PAMT_GET:
		return pamt_get(w, op);
	case OP_PAMT_PUT:
		return pamt_put(w, op);
	case OP_CREATE:
		return world_make_td(w, op->td);
	default:
		world_end_td(w, op->td);
		return 0;
	}
}

/* The operation needs a TD, and there is none: one that an injected failure kept from being made. */
static bool lacks_td(const struct world *w, const struct program_op *op)
{
	return op->kind != OP_CREATE && op->kind != OP_PAMT_GET && op->kind != OP_PAMT_PUT &&
	       !w->td[op->td].vm;
}

void world_host_op(struct world_actor *a, const struct program_op *op)
{
	if (lacks_td(a->w, op))
		return;
	oracle_begin(a, op);
	oracle_end(a, perform(a, op));
}
