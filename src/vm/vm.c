/* SPDX-License-Identifier: MIT */
/*
 * Life and death of a VM.
 *
 * Up: file, TD, MMU, slots with their bindings, vCPUs (each on its LP), image, MR.FINALIZE, promoter.
 *
 * Down: promoter, vCPUs flushed on their LPs, key released, leaves reclaimed, bindings, MMU (its
 * tables are reclaimed), file, TD. The key goes before the leaves, so that nothing needs tracking any
 * more; the file goes after them, since a frame may only be freed when the module doesn't have it; the
 * TD's own pages go last, because the TDR must outlive all that it owns.
 *
 * Races: until a slot is unbound the file's other VMs may convert under it. With mmu.lock they either
 * find the key in place, and split and remove as always; or gone, and remove leaves whole.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "vm/internal.h"

/* ---- death -----------------------------------------------------------------------------------*/
void vm_bugged(struct vm *vm, const char *why)
{
	u32 alive = VM_ALIVE;

	/* A full barrier before the kicks look at the vCPUs; pairs with vcpu_enter(). */
	if (!sync_cmpxchg(&vm->life, &alive, VM_DYING))
		return;
	snprintf(vm->why, sizeof(vm->why), "%s", why);
	sync_store_release(&vm->life, VM_DEAD);
	for (u32 i = 0; i < vm->nr_vcpus; i++)
		vcpu_kick(&vm->vcpus[i]);
}

const char *vm_why_dead(const struct vm *vm)
{
	u32 life;

	/* Pairs with the release in vm_bugged(), which is a few instructions away. */
	while ((life = sync_load_acquire(&vm->life)) == VM_DYING)
		sync_relax();
	return life == VM_DEAD ? vm->why : NULL;
}

static void on_bugged(void *vm, const char *why)
{
	vm_bugged(vm, why);
}

static void on_warn(void *ctx, const char *what)
{
	const struct machine *m = ((struct vm *)ctx)->machine;

	if (m->warn)
		m->warn(m->warn_ctx, what);
}

static void on_kick_and_wait(void *vm)
{
	vm_kick_and_wait(vm);
}

/* ---- up --------------------------------------------------------------------------------------*/
/* The secure EPT has private leaves alone. */
static bool on_private_leaf_ok(void *vm, gfn_t gfn, pfn_t pfn, enum pg_level level)
{
	return vm_leaf_ok(vm, gfn, pfn, level, true);
}

static int make_td(struct vm *vm, const struct vm_config *cfg)
{
	struct td_config tc = {
		.max_vcpus = cfg->nr_vcpus,
		.gpaw = cfg->gpaw,
		.attributes = cfg->sept_ve_disable ? TD_ATTR_SEPT_VE_DISABLE : 0,
		.demote_lock = cfg->demote_lock,
		.ops = {.kick_and_wait = on_kick_and_wait,
			.vm_bugged = on_bugged,
			.leaf_ok = cfg->mapping_check == VM_CHECK_TDX ? on_private_leaf_ok : NULL,
			.vm = vm},
	};
	int err = td_create(vm->machine->tdx, &tc, &vm->td);

	if (!err)
		vm->shared_bit = td_shared_bit(vm->td);
	return err;
}

static int make_mmu(struct vm *vm, const struct vm_config *cfg)
{
	struct mmu_config mc = {
		.host = vm->host,
		.root_level = cfg->gpaw == 52 ? PG_LEVEL_256T : PG_LEVEL_512G,
		.shared_bit = vm->shared_bit,
		.split_where = cfg->split_where,
		.split_metadata = cfg->split_metadata,
		.split_under_read_lock = tdx_splits_unblocked(vm->machine->tdx),
		.cache_capacity = cfg->cache_capacity,
		.external = &td_external_ops,
		.external_ctx = vm->td,
		.vm_bugged = on_bugged,
		.leaf_ok = cfg->mapping_check == VM_CHECK_MMU ? vm_leaf_ok : NULL,
		.warn = on_warn,
		.vm_ctx = vm,
	};
	int err = mmu_create(&mc, &vm->mmu);

	if (!err)
		td_set_mmu(vm->td, vm->mmu);
	return err;
}

/*
 * Attributes are the VM's: those of a file that nobody else has, which holds its shared memory, too.
 * References are counted beside its folios, so it stays in large ones.
 */
static int make_shared_file(struct vm_slot *slot, const struct vm_slot_config *sc)
{
	const struct gmem_config fc = {.size = fn_to_addr(sc->index + sc->npages),
				       .backing = GMEM_THP,
				       .folio_refs = GMEM_REFS_COUNTED};
	struct gmem_file *shared;
	int err;

	/* A file of the other world: its folios follow its own attributes. */
	if (!gmem_is_private(sc->file, 0) || gmem_nr_ranges(sc->file) != 1)
		return -EINVAL;
	err = gmem_create(slot->vm->host, &fc, &shared);
	if (err)
		return err;
	slot->shared = shared;
	err = gmem_bind(shared, sc->index, sc->npages, &vm_gmem_ops, slot);
	slot->shared_bound = !err;
	return err;
}

static int make_slot(struct vm *vm, const struct vm_slot_config *sc)
{
	struct vm_slot *slot = &vm->slots[vm->nr_slots];
	int err = mmu_slot_init(&slot->mmu, sc->base_gfn, sc->npages, sc->index);

	if (err)
		return err;
	slot->vm = vm;
	slot->file = sc->file;
	slot->shared = sc->file;
	vm->nr_slots++;
	if (vm->host->vm_memory_attributes)
		err = make_shared_file(slot, sc);
	if (err)
		return err;
	err = gmem_bind(slot->file, sc->index, sc->npages, &vm_gmem_ops, slot);
	if (err)
		return err;
	slot->bound = true;
	vm_slot_read_attributes(slot);
	return 0;
}

static int make_own_file(struct vm *vm, const struct vm_config *cfg)
{
	struct gmem_config fc = cfg->file;

	if (cfg->nr_slots)
		return 0;
	fc.size = fn_to_addr(cfg->file_index) + cfg->memory_bytes;
	return gmem_create(vm->host, &fc, &vm->own_file);
}

static int make_memory(struct vm *vm, const struct vm_config *cfg)
{
	const struct vm_slot_config own = {
		.base_gfn = cfg->base_gfn,
		.npages = addr_to_fn(cfg->memory_bytes),
		.index = cfg->file_index,
		.file = vm->own_file,
	};
	const struct vm_slot_config *slots = cfg->nr_slots ? cfg->slots : &own;
	u32 nr = cfg->nr_slots ? cfg->nr_slots : 1;
	int err = 0;

	vm->slots = calloc(nr, sizeof(*vm->slots));
	if (!vm->slots)
		return -ENOMEM;
	for (u32 i = 0; i < nr && !err; i++)
		err = make_slot(vm, &slots[i]);
	return err;
}

static int make_vcpu(struct vm *vm, struct lp *lp)
{
	struct vcpu *vcpu = &vm->vcpus[vm->nr_vcpus];
	struct lp *self = lp_current();
	int err;

	*vcpu = (struct vcpu){.vm = vm, .index = vm->nr_vcpus, .slot = vm->slots, .lp = lp};
	lp_set_current(lp);
	err = td_vcpu_create(vm->td, vm->nr_vcpus, &vcpu->td_vcpu);
	lp_set_current(self);
	if (err)
		return err;
	mmu_cache_init(&vcpu->cache, vm->mmu);
	sync_waitq_init(&vcpu->left);
	vm->nr_vcpus++;
	return 0;
}

static int make_vcpus(struct vm *vm, const struct vm_config *cfg)
{
	void *memory;
	int err = 0;

	if (posix_memalign(&memory, _Alignof(struct vcpu), cfg->nr_vcpus * sizeof(struct vcpu)))
		return -ENOMEM;
	vm->vcpus = memory;
	for (u32 i = 0; i < cfg->nr_vcpus && !err; i++)
		err = make_vcpu(vm, vm->machine->lps[cfg->first_lp + i]);
	return err;
}

/* Gfns and indexes of a slot are below @limit; those of several ascend. */
static bool slots_fit(const struct vm_config *cfg, u64 limit)
{
	gfn_t next = 0;

	for (u32 i = 0; i < cfg->nr_slots; i++) {
		const struct vm_slot_config *s = &cfg->slots[i];

		if (!s->file || !s->npages || s->npages > limit || s->base_gfn < next ||
		    s->base_gfn > limit - s->npages || s->index > limit)
			return false;
		next = s->base_gfn + s->npages;
	}
	return true;
}

static bool memory_fits(const struct vm_config *cfg)
{
	u64 npages = addr_to_fn(cfg->memory_bytes);
	u64 limit = cfg->gpaw > PAGE_SHIFT ? BIT_ULL((cfg->gpaw & 63) - 1 - PAGE_SHIFT) : 0;

	if (cfg->nr_slots)
		return slots_fit(cfg, limit);
	return npages && IS_ALIGNED(cfg->memory_bytes, PAGE_SIZE) && npages <= limit &&
	       cfg->base_gfn <= limit - npages && cfg->file_index <= limit;
}

static bool config_fits(const struct machine *m, const struct vm_config *cfg)
{
	if (!memory_fits(cfg))
		return false;
	/* The last LP is the host thread's. */
	if (!cfg->nr_vcpus || cfg->nr_vcpus > VM_MAX_VCPUS || cfg->first_lp >= m->nr_lps ||
	    cfg->nr_vcpus >= m->nr_lps - cfg->first_lp)
		return false;
	return cfg->promote != VM_PROMOTE_IDLE ||
	       (cfg->promoter_lp < m->nr_lps - 1 &&
		cfg->promoter_lp - cfg->first_lp >= cfg->nr_vcpus);
}

static int build(struct vm *vm, const struct vm_config *cfg)
{
	int err = make_own_file(vm, cfg);

	if (!err)
		err = make_td(vm, cfg);
	if (!err)
		err = make_mmu(vm, cfg);
	if (!err)
		err = make_memory(vm, cfg);
	if (!err)
		err = make_vcpus(vm, cfg);
	if (!err && cfg->image)
		err = vm_load_image(vm, cfg->image);
	if (!err)
		err = td_finalize(vm->td);
	if (!err)
		err = vm_promote_start(vm, cfg);
	return err;
}

int vm_create(struct machine *m, const struct vm_config *cfg, struct vm **out)
{
	struct vm *vm;
	int err;

	if (!config_fits(m, cfg))
		return -EINVAL;
	vm = calloc(1, sizeof(*vm));
	if (!vm)
		return -ENOMEM;
	vm->machine = m;
	vm->host = m->host;
	vm->max_level = cfg->max_level;
	err = build(vm, cfg);
	if (err) {
		vm_destroy(vm);
		return err;
	}
	*out = vm;
	return 0;
}

/* ---- down ------------------------------------------------------------------------------------*/
static void destroy_vcpu(struct vcpu *vcpu)
{
	struct lp *self = lp_current();

	lp_set_current(vcpu->lp);
	td_vcpu_flush(vcpu->td_vcpu);
	mmu_cache_destroy(&vcpu->cache);
	lp_set_current(self);
	sync_waitq_destroy(&vcpu->left);
}

void vm_unbind_slot(struct vm_slot *slot)
{
	if (slot->bound)
		gmem_unbind(slot->file, slot);
	if (slot->shared_bound)
		gmem_unbind(slot->shared, slot);
	slot->bound = slot->shared_bound = false;
}

/* Nothing of the TD's memory is mapped afterwards, and no file comes to it any more. */
static void leave_memory(struct vm *vm)
{
	if (vm->mmu) {
		sync_write_lock(mmu_lock(vm->mmu));
		vm->leaving = true;
		td_release_key(vm->td);
		sync_write_unlock(mmu_lock(vm->mmu));
		vm_zap_all(vm);
	} else if (vm->td) {
		td_release_key(vm->td);
	}
	for (u32 i = 0; i < vm->nr_slots; i++)
		vm_unbind_slot(&vm->slots[i]);
	if (vm->mmu)
		mmu_destroy(vm->mmu);
}

static void destroy_slot(struct vm_slot *slot)
{
	mmu_slot_destroy(&slot->mmu);
	if (slot->shared != slot->file)
		gmem_release(slot->shared);
}

void vm_destroy(struct vm *vm)
{
	vm_promote_stop(vm);
	for (u32 i = 0; i < vm->nr_vcpus; i++)
		destroy_vcpu(&vm->vcpus[i]);
	vm->nr_vcpus = 0;
	leave_memory(vm);
	for (u32 i = 0; i < vm->nr_slots; i++)
		destroy_slot(&vm->slots[i]);
	if (vm->own_file)
		gmem_release(vm->own_file);
	if (vm->td)
		td_destroy(vm->td);
	free(vm->slots);
	free(vm->vcpus);
	free(vm);
}

/* ---- looking ---------------------------------------------------------------------------------*/
struct mmu *vm_mmu(struct vm *vm)
{
	return vm->mmu;
}

struct td *vm_td(struct vm *vm)
{
	return vm->td;
}

struct gmem_file *vm_file(struct vm *vm)
{
	return vm_file_at(vm, 0);
}

struct mmu_slot *vm_slot(struct vm *vm)
{
	return vm_slot_at(vm, 0);
}

u32 vm_nr_slots(const struct vm *vm)
{
	return vm->nr_slots;
}

struct mmu_slot *vm_slot_at(struct vm *vm, u32 i)
{
	return &vm->slots[i].mmu;
}

struct gmem_file *vm_file_at(struct vm *vm, u32 i)
{
	return vm->slots[i].file;
}

struct gmem_file *vm_shared_file_at(struct vm *vm, u32 i)
{
	return vm->slots[i].shared;
}

struct vcpu *vm_vcpu(struct vm *vm, u32 i)
{
	return &vm->vcpus[i];
}

struct vm_stats vm_stats(const struct vm *vm)
{
	struct vm_stats sum = {0};

	for (u32 i = 0; i < vm->nr_vcpus; i++) {
		const struct vm_stats *s = &vm->vcpus[i].stats;

		sum.exits_total += sync_load(&s->exits_total);
		sum.exits_ept_violation += sync_load(&s->exits_ept_violation);
		sum.exits_accept_violation += sync_load(&s->exits_accept_violation);
		sum.exits_interrupt += sync_load(&s->exits_interrupt);
		sum.exits_tdcall += sync_load(&s->exits_tdcall);
		sum.exits_map_gpa += sync_load(&s->exits_map_gpa);
		sum.conversions_to_shared += sync_load(&s->conversions_to_shared);
		sum.conversions_to_private += sync_load(&s->conversions_to_private);
		sum.pages_to_shared += sync_load(&s->pages_to_shared);
		sum.pages_to_private += sync_load(&s->pages_to_private);
		sum.outside_ns += sync_load(&s->outside_ns);
	}
	return sum;
}

gpa_t vcpu_fault_gpa(const struct vcpu *vcpu)
{
	return vcpu->fault_gpa;
}
