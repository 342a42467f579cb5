/* SPDX-License-Identifier: MIT */
/* Who asks for a split: an ACCEPT at a lower level, a hole, dirty tracking. What it leaves. */
#include <errno.h>

#include "vm/runner.h"

#define MB (1ULL << 20)
#define NR(ops) (sizeof(ops) / sizeof((ops)[0]))

/* What must hold whenever nothing runs: no invalidation going on, no vCPU held out, VM alive. */
static void expect_quiet(struct rig *r)
{
	struct mmu *mmu = vm_mmu(r->vm);

	assert_null(vm_why_dead(r->vm));
	assert_false(td_entry_held_off(vm_td(r->vm)));
	for (gfn_t gfn = 0; gfn < addr_to_fn(64 * MB); gfn += 512)
		assert_false(mmu_invalidate_retry(mmu, mmu_invalidate_seq(mmu), gfn));
	rig_quiet(r);
}

/*
 * Rows 11 and 54: access first: AUG 2M, then ACCEPT 4K is one BLOCK, one TRACK (the split's own; nothing
 * is flushed beside it), one DEMOTE, and succeeds.
 */
static void test_access_first(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	const struct op ops[] = {WRITE_AT(4 * MB, 1), READ_AT(4 * MB), STOP};
	u64 results[NR(ops)];

	(void)state;
	vc.sept_ve_disable = false;
	for (int dynamic = 0; dynamic <= 1; dynamic++) {
		struct rig r = {0};
		struct program p;

		mc.dynamic_pamt = dynamic;
		rig_up(&r, &mc, &vc);
		assert_int_equal(rig_run(&r, ops, &p, results), 0);
		assert_int_equal(results[1], 1);
		assert_int_equal(p.ves, 1);
		assert_int_equal(rig_ok(&r, TDH_MEM_PAGE_AUG), 1);
		assert_int_equal(rig_ok(&r, TDH_MEM_RANGE_BLOCK), 1);
		assert_int_equal(rig_ok(&r, TDH_MEM_TRACK), 1);
		assert_int_equal(rig_ok(&r, TDH_MEM_PAGE_DEMOTE), 1);
		assert_int_equal(rig_calls(&r, TDH_MEM_RANGE_UNBLOCK), 0);
		assert_int_equal(rig_pages(&r, PG_LEVEL_2M), 0);
		assert_int_equal(rig_pages(&r, PG_LEVEL_4K), 512);
		assert_true(mmu_slot_test_guest_inhibit(vm_slot(r.vm), 2 * 512, PG_LEVEL_2M));
		assert_true(mmu_slot_test_guest_inhibit(vm_slot(r.vm), 2 * 512, PG_LEVEL_1G));
		expect_quiet(&r);
		rig_down(&r);
	}
}

/*
 * Rows 12 and 16: 512 pages touched first and accepted at 4K one by one are one violation of the first
 * ACCEPT, one split, and no other exit that takes the write lock.
 */
static void test_no_repeat_storm(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	static struct op ops[513];
	static u64 results[513];
	struct program p;
	struct rig r = {0};

	(void)state;
	for (u32 i = 0; i < 512; i++)
		ops[i] = (struct op)WRITE_AT(4 * MB + i * PAGE_SIZE, i);
	ops[512] = (struct op)STOP;
	vc.sept_ve_disable = false;
	rig_up(&r, &mc, &vc);
	assert_int_equal(rig_run(&r, ops, &p, results), 0);
	assert_int_equal(p.ves, 512);
	assert_int_equal(vm_stats(r.vm).exits_accept_violation, 1);
	/* The access, the ACCEPT, the end. */
	assert_int_equal(vm_stats(r.vm).exits_ept_violation, 2);
	assert_int_equal(vm_stats(r.vm).exits_total, 3);
	assert_int_equal(mmu_stats(vm_mmu(r.vm))->splits, 1);
	rig_down(&r);
}

/* Row 14: after a split by ACCEPT the block stays 4K, though it is given back and accepted at 2M. */
static void test_inhibit_stays(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	const struct op ops[] = {WRITE_AT(4 * MB, 1), DISCARD_AT(4 * MB, 2 * MB),
				 ACCEPT_AT(2M, 4 * MB), ACCEPT_AT(4K, 4 * MB), STOP};
	u64 results[NR(ops)];
	struct program p;
	struct rig r = {0};

	(void)state;
	vc.sept_ve_disable = false;
	rig_up(&r, &mc, &vc);
	assert_int_equal(rig_run(&r, ops, &p, results), 0);
	assert_int_equal(tdx_status_class(results[2]), TDX_PAGE_SIZE_MISMATCH);
	assert_int_equal(results[3], TDX_SUCCESS);
	assert_int_equal(rig_pages(&r, PG_LEVEL_2M), 0);
	assert_int_equal(rig_pages(&r, PG_LEVEL_4K), 1);
	rig_down(&r);
}

#ifdef SEPTUM_CHECK
/*
 * Rows 17, 49: whichever allocation fails on the way, the error reaches user space, GUEST_INHIBIT
 * is set only where the split was done, nothing is half done, and running the vCPU again succeeds.
 */
static void test_oom_in_accept(void **state)
{
	const struct op ops[] = {WRITE_AT(4 * MB, 1), READ_AT(4 * MB), STOP};
	bool split_failed = false;

	(void)state;
	for (int meta = MMU_META_PAGE; meta <= MMU_META_PREALLOC; meta++) {
		for (u64 n = 1, left = 0; !left; n++) {
			struct machine_config mc = rig_machine();
			struct vm_config vc = rig_vm();
			u64 results[NR(ops)];
			struct program p = {.ops = ops, .results = results};
			struct rig r = {0};
			int ret;

			mc.dynamic_pamt = true;
			vc.sept_ve_disable = false;
			vc.split_metadata = (enum mmu_split_metadata)meta;
			rig_up(&r, &mc, &vc);
			host_fail_alloc_at(r.m.host, n);
			ret = vcpu_run(vm_vcpu(r.vm, 0), &program_ops, &p);
			/* Not all of the countdown was used: no such allocation. */
			left = sync_load(&r.m.host->fail_alloc_at);
			host_fail_alloc_at(r.m.host, 0);
			if (ret) {
				assert_int_equal(ret, -ENOMEM);
				split_failed |= rig_pages(&r, PG_LEVEL_2M);
				assert_false(mmu_slot_test_guest_inhibit(vm_slot(r.vm), 2 * 512,
									 PG_LEVEL_2M));
				expect_quiet(&r);
				assert_int_equal(vcpu_run(vm_vcpu(r.vm, 0), &program_ops, &p), 0);
			}
			assert_int_equal(results[1], 1);
			assert_int_equal(rig_pages(&r, PG_LEVEL_2M), 0);
			assert_true(rig_pages(&r, PG_LEVEL_4K) == 512 ||
				    gmem_frames(vm_file(r.vm)) == 1);
			expect_quiet(&r);
			rig_down(&r);
		}
	}
	assert_true(split_failed);
}
#endif

/* Row 19: one vCPU accepts 2M and another 4K of it at once: both get through, and each page is there. */
static void test_concurrent_levels(void **state)
{
	enum { BLOCKS = 16, A_OPS = BLOCKS + 1 };
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	static struct op a[A_OPS], b[2 * BLOCKS + 1], check[A_OPS];
	u64 results[A_OPS];
	struct program p;

	(void)state;
	vc.nr_vcpus = 2;
	for (u32 i = 0; i < BLOCKS; i++) {
		gpa_t gpa = 4 * MB + i * 2 * MB;

		a[i] = (struct op)ACCEPT_AT(2M, gpa);
		b[2 * i] = (struct op)ACCEPT_AT(4K, gpa + (i * 37 % 512) * PAGE_SIZE);
		b[2 * i + 1] = (struct op)WRITE_AT(gpa + (i * 37 % 512) * PAGE_SIZE, i + 1);
	}
	a[BLOCKS] = (struct op)STOP;
	b[2 * BLOCKS] = (struct op)STOP;
	for (u32 round = 0; round < 10; round++) {
		struct runner *t[2];
		struct rig r = {0};

		rig_up(&r, &mc, &vc);
		t[0] = start(&r, 0, a);
		t[1] = start(&r, 1, b);
		for (u32 v = 0; v < 2; v++) {
			sync_thread_join(&t[v]->thread);
			assert_int_equal(t[v]->ret, 0);
			assert_int_equal(t[v]->program.mces, 0);
		}
		for (u32 i = 0; i < BLOCKS; i++) {
			u64 whole = tdx_status_class(t[0]->results[i]);
			u64 page = tdx_status_class(t[1]->results[2 * i]);

			assert_true(whole == TDX_SUCCESS || whole == TDX_PAGE_ALREADY_ACCEPTED ||
				    whole == TDX_PAGE_SIZE_MISMATCH);
			assert_true(page == TDX_SUCCESS || page == TDX_PAGE_ALREADY_ACCEPTED);
			/* What was accepted whole may have been split after by the other's violation. */
			if (whole != TDX_SUCCESS)
				assert_int_equal(rig_level_of(&r, b[2 * i].gpa), PG_LEVEL_4K);
			check[i] = (struct op)READ_AT(b[2 * i].gpa);
		}
		check[BLOCKS] = (struct op)STOP;
		assert_int_equal(rig_run(&r, check, &p, results), 0);
		for (u32 i = 0; i < BLOCKS; i++)
			assert_int_equal(results[i], i + 1);
		/* The module answered into their last hypercalls just now. */
		free(t[0]);
		free(t[1]);
		expect_quiet(&r);
		rig_down(&r);
	}
}

/*
 * Row 46: a hole of 4K in an accepted 2M page: one split, the 511 neighbours keep their bytes with
 * no new ACCEPT, and the page itself comes back pending, and zero. Its folio stays.
 */
static void test_precise_hole(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	static struct op ops[1100];
	static u64 results[1100];
	struct program p;
	struct rig r = {0};
	u32 n = 0;

	(void)state;
	ops[n++] = (struct op)ACCEPT_AT(2M, 4 * MB);
	for (u32 i = 0; i < 512; i++)
		ops[n++] = (struct op)WRITE_AT(4 * MB + i * PAGE_SIZE, 1000 + i);
	ops[n++] = (struct op)DISCARD_AT(4 * MB + 100 * PAGE_SIZE, PAGE_SIZE);
	for (u32 i = 0; i < 512; i++)
		if (i != 100)
			ops[n++] = (struct op)READ_AT(4 * MB + i * PAGE_SIZE);
	ops[n++] = (struct op)ACCEPT_AT(4K, 4 * MB + 100 * PAGE_SIZE);
	ops[n++] = (struct op)READ_AT(4 * MB + 100 * PAGE_SIZE);
	ops[n] = (struct op)STOP;
	mc.dynamic_pamt = true;
	rig_up(&r, &mc, &vc);
	assert_int_equal(rig_run(&r, ops, &p, results), 0);
	assert_int_equal(results[513], 0);
	for (u32 i = 0; i < 511; i++)
		assert_int_equal(results[514 + i], 1000 + i + (i >= 100));
	assert_int_equal(results[514 + 511], TDX_SUCCESS);
	assert_int_equal(results[514 + 512], 0);
	assert_int_equal(p.mces, 0);
	assert_int_equal(rig_ok(&r, TDH_MEM_PAGE_DEMOTE), 1);
	assert_int_equal(rig_ok(&r, TDH_MEM_PAGE_REMOVE), 1);
	assert_int_equal(gmem_frames(vm_file(r.vm)), 512);
	assert_int_equal(rig_pages(&r, PG_LEVEL_4K), 512);
	expect_quiet(&r);
	rig_down(&r);
}

/*
 * Row 47, the negative control: the same zap without a split takes the 511 neighbours along; what they
 * held is gone, and each needs a new ACCEPT.
 */
static void test_over_zap(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	static struct op fill[514], look[514];
	static u64 results[514];
	struct program p;
	struct rig r = {0};

	(void)state;
	fill[0] = look[0] = (struct op)ACCEPT_AT(2M, 4 * MB);
	for (u32 i = 0; i < 512; i++) {
		fill[1 + i] = (struct op)WRITE_AT(4 * MB + i * PAGE_SIZE, 1000 + i);
		look[1 + i] = (struct op)READ_AT(4 * MB + i * PAGE_SIZE);
	}
	fill[513] = look[513] = (struct op)STOP;
	rig_up(&r, &mc, &vc);
	assert_int_equal(rig_run(&r, fill, &p, results), 0);
	sync_write_lock(mmu_lock(vm_mmu(r.vm)));
	mmu_zap_leafs(vm_mmu(r.vm), 2 * 512 + 100, 2 * 512 + 101, true);
	sync_write_unlock(mmu_lock(vm_mmu(r.vm)));
	rig_quiet(&r);
	assert_int_equal(rig_level_of(&r, 4 * MB), PG_LEVEL_NONE);
	assert_int_equal(rig_level_of(&r, 6 * MB - PAGE_SIZE), PG_LEVEL_NONE);
	assert_int_equal(rig_calls(&r, TDH_MEM_PAGE_DEMOTE), 0);
	assert_int_equal(rig_run(&r, look, &p, results), 0);
	/* Not ALREADY_ACCEPTED. */
	assert_int_equal(results[0], TDX_SUCCESS);
	for (u32 i = 0; i < 512; i++)
		assert_int_equal(results[1 + i], 0);
	assert_int_equal(p.mces, 0);
	rig_down(&r);
}

/* A hole over block boundaries splits at its two ends alone, and frees the folio that it covers. */
static void test_wide_hole(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	const struct op ops[] = {
		ACCEPT_AT(2M, 4 * MB),
		ACCEPT_AT(2M, 6 * MB),
		ACCEPT_AT(2M, 8 * MB),
		WRITE_AT(4 * MB, 1),
		WRITE_AT(10 * MB - 4096, 2),
		DISCARD_AT(5 * MB, 4 * MB),
		READ_AT(4 * MB),
		READ_AT(10 * MB - 4096),
		ACCEPT_AT(2M, 6 * MB),
		STOP,
	};
	u64 results[NR(ops)];
	struct program p;
	struct rig r = {0};

	(void)state;
	rig_up(&r, &mc, &vc);
	assert_int_equal(rig_run(&r, ops, &p, results), 0);
	assert_int_equal(results[5], 0);
	assert_int_equal(results[6], 1);
	assert_int_equal(results[7], 2);
	assert_int_equal(results[8], TDX_SUCCESS);
	assert_int_equal(rig_ok(&r, TDH_MEM_PAGE_DEMOTE), 2);
	assert_int_equal(rig_pages(&r, PG_LEVEL_4K), 512);
	assert_int_equal(rig_pages(&r, PG_LEVEL_2M), 1);
	rig_down(&r);
}

/* Dirty tracking splits what is mapped in its range to 4K, loses nothing, and refuses bad ranges. */
static void test_track_dirty(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	gpa_t shared = BIT_ULL(47) | 12 * MB;
	const struct op fill[] = {ACCEPT_AT(2M, 4 * MB),
				  ACCEPT_AT(2M, 6 * MB),
				  ACCEPT_AT(2M, 8 * MB),
				  WRITE_AT(7 * MB, 7),
				  MAP_GPA_AT(shared, 2 * MB),
				  WRITE_AT(shared, 8),
				  STOP};
	const struct op check[] = {READ_AT(7 * MB), READ_AT(shared), STOP};
	u64 results[NR(fill)];
	struct program p;
	struct rig r = {0};

	(void)state;
	rig_up(&r, &mc, &vc);
	assert_int_equal(rig_run(&r, fill, &p, results), 0);
	assert_int_equal(vm_track_dirty(r.vm, 0, 0), -EINVAL);
	assert_int_equal(vm_track_dirty(r.vm, 0, addr_to_fn(64 * MB) + 1), -EINVAL);
	assert_int_equal(vm_track_dirty(r.vm, addr_to_fn(64 * MB), 1), -EINVAL);
	assert_int_equal(vm_track_dirty(r.vm, 1, UINT64_MAX), -EINVAL);
#ifdef SEPTUM_CHECK
	host_fail_alloc_at(r.m.host, 1);
	assert_int_equal(vm_track_dirty(r.vm, 3 * 512, 512), -ENOMEM);
	assert_int_equal(rig_pages(&r, PG_LEVEL_2M), 4);
	expect_quiet(&r);
#endif
	assert_int_equal(vm_track_dirty(r.vm, 3 * 512 + 5, 4 * 512), 0);
	assert_int_equal(rig_level_of(&r, 4 * MB), PG_LEVEL_2M);
	assert_int_equal(rig_level_of(&r, 6 * MB), PG_LEVEL_4K);
	assert_int_equal(rig_level_of(&r, 8 * MB), PG_LEVEL_4K);
	assert_int_equal(rig_pages(&r, PG_LEVEL_2M), 1);
	assert_int_equal(rig_pages(&r, PG_LEVEL_4K), 3 * 512);
	assert_int_equal(rig_run(&r, check, &p, results), 0);
	assert_int_equal(results[0], 7);
	assert_int_equal(results[1], 8);
	expect_quiet(&r);
	rig_down(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_access_first),	  cmocka_unit_test(test_no_repeat_storm),
		cmocka_unit_test(test_inhibit_stays),
#ifdef SEPTUM_CHECK
		cmocka_unit_test(test_oom_in_accept),
#endif
		cmocka_unit_test(test_concurrent_levels), cmocka_unit_test(test_precise_hole),
		cmocka_unit_test(test_over_zap),	  cmocka_unit_test(test_wide_hole),
		cmocka_unit_test(test_track_dirty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
