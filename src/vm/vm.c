/* SPDX-License-Identifier: MIT */
/*
 * Life and death of a VM.
 *
 * Up: file, TD, MMU, slot, binding, vCPUs (each on its LP), image, MR.FINALIZE, promoter.
 *
 * Down: promoter, vCPUs flushed on their LPs, key released, MMU (its leaves and tables are
 * reclaimed), file, TD. The key goes before the MMU, so that nothing needs tracking any more; the
 * file goes after it, since a frame may only be freed when the module doesn't have it; the TD's own
 * pages go last, because the TDR must outlive all that it owns.
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
static int make_td(struct vm *vm, const struct vm_config *cfg)
{
	struct td_config tc = {
		.max_vcpus = cfg->nr_vcpus,
		.gpaw = cfg->gpaw,
		.attributes = cfg->sept_ve_disable ? TD_ATTR_SEPT_VE_DISABLE : 0,
		.demote_lock = cfg->demote_lock,
		.ops = {.kick_and_wait = on_kick_and_wait, .vm_bugged = on_bugged, .vm = vm},
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
		.warn = on_warn,
		.vm_ctx = vm,
	};
	int err = mmu_create(&mc, &vm->mmu);

	if (!err)
		td_set_mmu(vm->td, vm->mmu);
	return err;
}

static int make_memory(struct vm *vm, const struct vm_config *cfg)
{
	u64 npages = addr_to_fn(cfg->memory_bytes);
	int err = mmu_slot_init(&vm->slot, cfg->base_gfn, npages, cfg->file_index);

	if (err)
		return err;
	vm->slot_made = true;
	return gmem_bind(vm->file, cfg->file_index, npages, &vm_gmem_ops, vm);
}

static int make_vcpu(struct vm *vm, struct lp *lp)
{
	struct vcpu *vcpu = &vm->vcpus[vm->nr_vcpus];
	struct lp *self = lp_current();
	int err;

	*vcpu = (struct vcpu){.vm = vm, .index = vm->nr_vcpus, .lp = lp};
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

static bool config_fits(const struct machine *m, const struct vm_config *cfg)
{
	u64 npages = addr_to_fn(cfg->memory_bytes);
	u64 limit = cfg->gpaw > PAGE_SHIFT ? BIT_ULL((cfg->gpaw & 63) - 1 - PAGE_SHIFT) : 0;

	if (!npages || !IS_ALIGNED(cfg->memory_bytes, PAGE_SIZE) || npages > limit ||
	    cfg->base_gfn > limit - npages || cfg->file_index > limit)
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
	int err = gmem_create(vm->host, fn_to_addr(cfg->file_index) + cfg->memory_bytes,
			      cfg->backing, &vm->file);

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

void vm_destroy(struct vm *vm)
{
	vm_promote_stop(vm);
	for (u32 i = 0; i < vm->nr_vcpus; i++)
		destroy_vcpu(&vm->vcpus[i]);
	vm->nr_vcpus = 0;
	if (vm->td)
		td_release_key(vm->td);
	if (vm->mmu)
		mmu_destroy(vm->mmu);
	if (vm->file) {
		gmem_unbind(vm->file, vm);
		gmem_destroy(vm->file);
	}
	if (vm->slot_made)
		mmu_slot_destroy(&vm->slot);
	if (vm->td)
		td_destroy(vm->td);
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
	return vm->file;
}

struct mmu_slot *vm_slot(struct vm *vm)
{
	return &vm->slot;
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
