/* SPDX-License-Identifier: MIT */
/* A machine and a VM for a test, and what must hold when they are gone. */
#ifndef TESTS_VM_RIG_H
#define TESTS_VM_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "check/invariants.h"
#include "vm/program.h"

struct rig {
	struct machine m;
	struct vm *vm;
	u64 frames_before;
};

#define RIG_LPS 4

/* What tests change of these they change between the two calls. */
static inline struct machine_config rig_machine(void)
{
	return (struct machine_config){
		.memory_bytes = 256ULL << 20, .lps = RIG_LPS, .profile = seam_profile_at(0)};
}

static inline struct vm_config rig_vm(void)
{
	return (struct vm_config){.memory_bytes = 64ULL << 20,
				  .nr_vcpus = 1,
				  .file = {.backing = GMEM_THP},
				  .max_level = PG_LEVEL_2M,
				  .gpaw = 48,
				  .sept_ve_disable = true};
}

static inline void rig_up(struct rig *r, const struct machine_config *mc,
			  const struct vm_config *vc)
{
	assert_int_equal(machine_create(mc, &r->m), 0);
	r->frames_before = host_frames_used(r->m.host);
	assert_int_equal(vm_create(&r->m, vc, &r->vm), 0);
}

/*
 * Nothing runs: no vCPU, and no promoter that has something left. All invariants hold; a VM that was
 * stopped may have broken any.
 */
static inline void rig_quiet(struct rig *r)
{
	char why[200] = "";
	int broken;

	broken = check_vm(&r->m, r->vm, why, sizeof(why));
	assert_string_equal(why, "");
	assert_int_equal(broken, 0);
}

/* Runs @ops on vCPU 0 while no other runs; what that leaves is sound. Return: program_run()'s */
static inline int rig_run(struct rig *r, const struct op *ops, struct program *p, u64 *results)
{
	int ret = program_run(r->vm, 0, ops, p, results);

	rig_quiet(r);
	return ret;
}

/* Every test ends here: all is sound, and then nothing of the VM is left in the module or the host. */
static inline void rig_down(struct rig *r)
{
	if (r->vm) {
		rig_quiet(r);
		vm_destroy(r->vm);
	}
	assert_int_equal(seam_pamt_in_use(r->m.seam), 0);
	assert_int_equal(host_frames_used(r->m.host), r->frames_before);
	assert_int_equal(tdx_dpamt_pages(r->m.tdx), 0);
	machine_destroy(&r->m);
}

static inline u64 rig_calls(const struct rig *r, enum tdh_leaf leaf)
{
	return tdx_leaf_stats(r->m.tdx, leaf).calls;
}

static inline u64 rig_ok(const struct rig *r, enum tdh_leaf leaf)
{
	return tdx_leaf_stats(r->m.tdx, leaf).ok;
}

static inline u64 rig_pages(const struct rig *r, enum pg_level level)
{
	return mmu_stats(vm_mmu(r->vm))->pages[level];
}

static inline enum pg_level rig_level_of(const struct rig *r, gpa_t gpa)
{
	struct mmu_mapping m;

	return mmu_lookup(vm_mmu(r->vm), addr_to_fn(gpa), true, &m) ? m.level : PG_LEVEL_NONE;
}

#endif
