/* SPDX-License-Identifier: MIT */
/* An ACCEPT below a leaf, whole path, where a split stops nobody ("next") and where it stops all. */
#include <errno.h>

#include "vm/runner.h"

#define MB (1ULL << 20)
#define NR(ops) (sizeof(ops) / sizeof((ops)[0]))
#define BLOCKS 24

static struct machine_config machine_of(const char *profile)
{
	struct machine_config mc = rig_machine();

	mc.profile = seam_profile_by_name(profile);
	mc.dynamic_pamt = true;
	return mc;
}

/*
 * Rows 11, 28: access first, then ACCEPT 4K. "next" is asked for one DEMOTE; real profiles, which
 * refuse a split under the read lock, for BLOCK, TRACK and DEMOTE under the write lock. The tree, the
 * inhibit bits and the guest's bytes are the same.
 */
static void test_access_first(void **state)
{
	static const struct {
		const char *profile;
		u32 blocks;
	} rows[] = {{"1.5.28", 1}, {"next", 0}};
	const struct op ops[] = {WRITE_AT(4 * MB, 1), READ_AT(4 * MB), STOP};
	u64 results[NR(ops)];

	(void)state;
	for (u32 i = 0; i < NR(rows) * 3; i++) {
		struct machine_config mc = machine_of(rows[i / 3].profile);
		struct vm_config vc = rig_vm();
		struct program p;
		struct rig r = {0};

		vc.split_metadata = (enum mmu_split_metadata)(i % 3);
		vc.sept_ve_disable = false;
		rig_up(&r, &mc, &vc);
		assert_int_equal(program_run(r.vm, 0, ops, &p, results), 0);
		assert_int_equal(results[1], 1);
		assert_int_equal(rig_calls(&r, TDH_MEM_RANGE_BLOCK), rows[i / 3].blocks);
		assert_int_equal(rig_calls(&r, TDH_MEM_TRACK), rows[i / 3].blocks);
		assert_int_equal(rig_calls(&r, TDH_MEM_PAGE_DEMOTE), 1);
		assert_int_equal(rig_pages(&r, PG_LEVEL_4K), 512);
		assert_true(mmu_slot_test_guest_inhibit(vm_slot(r.vm), 2 * 512, PG_LEVEL_2M));
		assert_true(mmu_slot_test_guest_inhibit(vm_slot(r.vm), 2 * 512, PG_LEVEL_1G));
		rig_down(&r);
	}
}

/*
 * Rows 19, 56: four vCPUs touch and accept in the same blocks at once, each in an order of its own.
 * Each block is split once at most, nobody is kicked, all ends well, whatever pays for the splits.
 */
static void test_vcpus_at_once(void **state)
{
	static struct op ops[MAX_VCPUS][2 * BLOCKS + 1];

	(void)state;
	for (int i = 0; i < 6; i++) {
		struct machine_config mc = machine_of("next");
		struct vm_config vc = rig_vm();
		struct runner *t[MAX_VCPUS];
		struct rig r = {0};

		vc.nr_vcpus = MAX_VCPUS;
		vc.sept_ve_disable = false;
		vc.split_metadata = (enum mmu_split_metadata)(i / 2);
		vc.demote_lock = (enum td_demote_lock)(i % 2);
		for (u32 v = 0; v < MAX_VCPUS; v++) {
			for (u32 b = 0; b < BLOCKS; b++) {
				gpa_t gpa = 4 * MB + (b * (2 * v + 1) + v) % BLOCKS * SIZE_2M +
					    v * PAGE_SIZE;

				ops[v][2 * b] = (struct op)WRITE_AT(gpa, gpa | v);
				ops[v][2 * b + 1] = (struct op)READ_AT(gpa);
			}
			ops[v][2 * BLOCKS] = (struct op)STOP;
		}
		rig_up(&r, &mc, &vc);
		for (u32 v = 0; v < MAX_VCPUS; v++)
			t[v] = start(&r, v, ops[v]);
		for (u32 v = 0; v < MAX_VCPUS; v++) {
			sync_thread_join(&t[v]->thread);
			for (u32 b = 0; b < BLOCKS; b++)
				assert_int_equal(t[v]->results[2 * b + 1], ops[v][2 * b].value);
			assert_int_equal(t[v]->ret, 0);
			free(t[v]);
		}
		assert_null(vm_why_dead(r.vm));
		assert_true(mmu_stats(vm_mmu(r.vm))->splits > 0);
		assert_int_equal(rig_ok(&r, TDH_MEM_PAGE_DEMOTE), mmu_stats(vm_mmu(r.vm))->splits);
		assert_int_equal(rig_calls(&r, TDH_MEM_RANGE_BLOCK), 0);
		assert_int_equal(rig_calls(&r, TDH_MEM_TRACK), 0);
		assert_int_equal(vm_stats(r.vm).exits_interrupt, 0);
		rig_down(&r);
	}
}

/*
 * Rows 12, 19: a fault that looked for GUEST_INHIBIT before it was set, and mapped large after that,
 * doesn't leave the guest with an ACCEPT that never succeeds.
 */
static void test_large_leaf_below_the_inhibit(void **state)
{
	static const char *const profiles[] = {"1.5.28", "next"};
	const struct op accept[] = {ACCEPT_AT(4K, 4 * MB + 0x3000), STOP};
	u64 results[NR(accept)];

	(void)state;
	for (u32 i = 0; i < NR(profiles); i++) {
		struct machine_config mc = machine_of(profiles[i]);
		struct vm_config vc = rig_vm();
		struct mmu_vcpu_cache cache;
		struct program p;
		struct rig r = {0};
		struct mmu_fault fault = {
			.gfn = 2 * 512, .max_level = PG_LEVEL_2M, .private = true};
		enum pg_level folio;

		rig_up(&r, &mc, &vc);
		/* What that fault found, and what it does after the bit is set. */
		assert_int_equal(gmem_get_pfn(vm_file(r.vm), fault.gfn, &fault.pfn, &folio), 0);
		fault.invalidate_seq = mmu_invalidate_seq(vm_mmu(r.vm));
		for (enum pg_level l = PG_LEVEL_2M; l <= PG_LEVEL_1G; l++)
			mmu_slot_set_guest_inhibit(vm_slot(r.vm), fault.gfn, l);
		mmu_cache_init(&cache, vm_mmu(r.vm));
		assert_int_equal(mmu_cache_topup(&cache), 0);
		assert_int_equal(mmu_map(vm_mmu(r.vm), &cache, &fault), MMU_RET_FIXED);
		mmu_cache_destroy(&cache);

		assert_int_equal(program_run(r.vm, 0, accept, &p, results), 0);
		assert_int_equal(results[0], TDX_SUCCESS);
		assert_int_equal(mmu_stats(vm_mmu(r.vm))->splits, 1);
		assert_int_equal(rig_pages(&r, PG_LEVEL_4K), 512);
		rig_down(&r);
	}
}

#ifdef SEPTUM_CHECK
/* Rows 17, 49: as under the write lock: whichever allocation fails, running the vCPU again succeeds. */
static void test_no_memory(void **state)
{
	const struct op ops[] = {WRITE_AT(4 * MB, 1), READ_AT(4 * MB), STOP};

	(void)state;
	for (int meta = MMU_META_PAGE; meta <= MMU_META_PREALLOC; meta++) {
		u32 in_split = 0;

		for (u64 n = 1; n < 60; n++) {
			struct machine_config mc = machine_of("next");
			struct vm_config vc = rig_vm();
			u64 results[NR(ops)];
			struct program p = {.ops = ops, .results = results};
			struct rig r = {0};
			int ret;

			vc.sept_ve_disable = false;
			vc.cache_capacity = 5; /* three tables later it is refilled */
			vc.split_metadata = (enum mmu_split_metadata)meta;
			rig_up(&r, &mc, &vc);
			host_fail_alloc_at(r.m.host, n);
			ret = vcpu_run(vm_vcpu(r.vm, 0), &program_ops, &p);
			host_fail_alloc_at(r.m.host, 0);
			if (ret) {
				assert_int_equal(ret, -ENOMEM);
				assert_null(vm_why_dead(r.vm));
				in_split += rig_pages(&r, PG_LEVEL_2M) == 1;
				assert_int_equal(vcpu_run(vm_vcpu(r.vm, 0), &program_ops, &p), 0);
			}
			assert_int_equal(results[1], 1);
			rig_down(&r);
		}
		assert_true(in_split > 2);
	}
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_access_first),
		cmocka_unit_test(test_vcpus_at_once),
		cmocka_unit_test(test_large_leaf_below_the_inhibit),
#ifdef SEPTUM_CHECK
		cmocka_unit_test(test_no_memory),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
