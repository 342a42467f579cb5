/* SPDX-License-Identifier: MIT */
/* Bring-up, and the life cycle of a TD. */
#include <errno.h>

#include "tdx/rig.h"

#define GB (1ULL << 30)

/* A module is brought up for every profile, with 1 and with 3 packages, and leaves nothing behind. */
static void test_bring_up(void **state)
{
	static const char *const names[] = {"1.5.28", "1.5.25", "1.5.05", "next"};
	struct tdx_rig r;

	(void)state;
	for (int i = 0; i < 8; i++) {
		struct tdx_rig_config cfg = {.profile = names[i / 2], .packages = i & 1 ? 3 : 1};

		assert_int_equal(tdx_rig_module(&r, &cfg), 0);
		assert_int_equal(tdx_leaf_stats(r.tdx, TDH_SYS_INIT).ok, 1);
		assert_int_equal(tdx_leaf_stats(r.tdx, TDH_SYS_LP_INIT).ok, TDX_RIG_LPS);
		assert_int_equal(tdx_leaf_stats(r.tdx, TDH_SYS_KEY_CONFIG).ok, cfg.packages);
		tdx_rig_td(&r);
		assert_int_equal(tdx_leaf_stats(r.tdx, TDH_MNG_KEY_CONFIG).ok, cfg.packages);
		tdx_rig_td_down(&r);
		assert_int_equal(tdx_leaf_stats(r.tdx, TDH_PHYMEM_CACHE_WB).ok, cfg.packages);
		tdx_rig_down(&r);
	}
}

/* TDMR.INIT in a loop brings up the same module as the bulk function: 256 steps a GB, then the end. */
static void test_bring_up_by_loop(void **state)
{
	struct tdx_rig r;

	(void)state;
	for (int dynamic = 0; dynamic <= 1; dynamic++) {
		struct tdx_rig_config cfg = {
			.memory = 2 * GB, .dynamic_pamt = dynamic, .init_by_loop = true};

		assert_int_equal(tdx_rig_module(&r, &cfg), 0);
		assert_int_equal(tdx_leaf_stats(r.tdx, TDH_SYS_TDMR_INIT).ok,
				 2 * (dynamic ? 64 : 256) + 1);
		tdx_rig_td(&r);
		tdx_rig_td_down(&r);
		tdx_rig_down(&r);
	}
}

/* Dynamic PAMT of a module without it is refused, and the host gets everything back. */
static void test_no_dynamic_pamt_in_1_5_05(void **state)
{
	struct tdx_rig_config cfg = {.profile = "1.5.05", .dynamic_pamt = true};
	struct tdx_rig r;

	(void)state;
	assert_int_equal(tdx_rig_module(&r, &cfg), -EIO);
	r.tdx = NULL;
	tdx_rig_down(&r);
}

/*
 * Row 71: PAMT sizes are the fact sheet's: 4 GiB + 8 MiB + 16 KiB a TiB; 32 MiB + ... when dynamic.
 */
static void test_pamt_sizes(void **state)
{
	u64 tib = 1024 * GB;

	(void)state;
	assert_int_equal(tdx_overhead_bytes(tib, false), 4 * GB + (8 << 20) + (2 << 20));
	assert_int_equal(tdx_overhead_bytes(tib, true), (32 << 20) + (8 << 20) + (2 << 20));
	assert_int_equal(tdx_overhead_bytes(16 * tib, false) % SIZE_2M, 0);
	assert_true(tdx_overhead_bytes(GB, false) < GB / 128);
}

/* Bit 51 decides whether there are huge pages. */
static void test_huge_pages_ok(void **state)
{
	struct tdx_rig_config old = {.profile = "1.5.25"}, new = {.profile = "1.5.28"};
	struct tdx_rig r;

	(void)state;
	assert_int_equal(tdx_rig_module(&r, &old), 0);
	assert_false(tdx_huge_pages_ok(r.tdx));
	tdx_rig_down(&r);
	assert_int_equal(tdx_rig_module(&r, &new), 0);
	assert_true(tdx_huge_pages_ok(r.tdx));
	tdx_rig_td(&r);
	/* Not before it runs. */
	assert_int_equal(td_max_level(r.td, true), PG_LEVEL_4K);
	assert_int_equal(td_finalize(r.td), 0);
	assert_int_equal(td_max_level(r.td, true), PG_LEVEL_2M);
	tdx_rig_td_down(&r);
	tdx_rig_down(&r);
}

/* 64 key ids: 32 are shared, one is the module's: 31 TDs live at once, and ids come back. */
static void test_key_ids(void **state)
{
	struct tdx_rig_config cfg = {0};
	struct td_config tc = {.max_vcpus = 1, .gpaw = 48};
	struct td *tds[31], *extra;
	u64 seen = 0;
	struct tdx_rig r;

	(void)state;
	assert_int_equal(tdx_rig_module(&r, &cfg), 0);
	for (int i = 0; i < 31; i++) {
		assert_int_equal(td_create(r.tdx, &tc, &tds[i]), 0);
		assert_true(td_hkid(tds[i]) > 32 && td_hkid(tds[i]) < 64);
		assert_false(seen >> td_hkid(tds[i]) & 1);
		seen |= BIT_ULL(td_hkid(tds[i]));
	}
	assert_int_equal(td_create(r.tdx, &tc, &extra), -ENOSPC);
	assert_int_equal(td_release_key(tds[7]), 0);
	assert_int_equal(td_create(r.tdx, &tc, &extra), 0);
	assert_int_equal(td_hkid(extra), td_hkid(tds[7]));
	td_destroy(tds[7]);
	tds[7] = extra;
	for (int i = 0; i < 31; i++) {
		assert_int_equal(td_release_key(tds[i]), 0);
		td_destroy(tds[i]);
	}
	tdx_rig_down(&r);
}

/* Bad arguments are refused before anything is called. */
static void test_bad_arguments(void **state)
{
	struct td_config bad[] = {{.max_vcpus = 0, .gpaw = 48},
				  {.max_vcpus = 1, .gpaw = 50},
				  {.max_vcpus = 70000, .gpaw = 52}};
	struct tdx_rig_config cfg = {0};
	struct td_vcpu *vcpu;
	struct tdx_rig r;
	struct td *td;
	u64 calls;

	(void)state;
	assert_int_equal(tdx_rig_module(&r, &cfg), 0);
	calls = tdx_leaf_stats(r.tdx, TDH_MNG_CREATE).calls;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(td_create(r.tdx, &bad[i], &td), -EINVAL);
	assert_int_equal(tdx_leaf_stats(r.tdx, TDH_MNG_CREATE).calls, calls);
	tdx_rig_td(&r);
	assert_int_equal(td_vcpu_create(r.td, 0, &vcpu), -EINVAL);
	assert_int_equal(td_vcpu_create(r.td, 1, &vcpu), -EINVAL);
	tdx_rig_td_down(&r);
	tdx_rig_down(&r);
}

/* A key isn't released while a vCPU is associated with an LP; afterwards it is, and nothing is lost. */
static void test_release_waits_for_flush(void **state)
{
	struct tdx_rig_config cfg = {0};
	struct tdx_rig r;

	(void)state;
	assert_int_equal(tdx_rig_module(&r, &cfg), 0);
	tdx_rig_td(&r);
	assert_int_equal(td_release_key(r.td), -EIO);
	/* From another LP the flush has no effect. */
	lp_set_current(r.lps[1]);
	td_vcpu_flush(r.vcpu);
	assert_int_equal(td_release_key(r.td), -EIO);
	lp_set_current(r.lps[0]);
	tdx_rig_td_down(&r);
	tdx_rig_down(&r);
}

/* Teardown order: VP.FLUSH, VPFLUSHDONE, CACHE.WB, KEY.FREEID, RECLAIMs, the TDR's WBINVD at last. */
static void test_teardown_order(void **state)
{
	static const u32 expected[] = {TDH_VP_FLUSH, TDH_MNG_VPFLUSHDONE, TDH_PHYMEM_CACHE_WB,
				       TDH_MNG_KEY_FREEID};
	struct tdx_rig_config cfg = {0};
	struct tdx_rig r;

	(void)state;
	assert_int_equal(tdx_rig_module(&r, &cfg), 0);
	tdx_rig_td(&r);
	tdx_rig_td_down(&r);
	/* 6 TDVPS pages, 6 TDCS pages, the TDR; then its lines under the module's key. */
	assert_int_equal(r.nr_log, 4 + 13 + 1);
	for (u32 i = 0; i < 4; i++)
		assert_int_equal(r.log[i], expected[i]);
	for (u32 i = 4; i < 17; i++)
		assert_int_equal(r.log[i], TDH_PHYMEM_PAGE_RECLAIM);
	assert_int_equal(r.log[17], TDH_PHYMEM_PAGE_WBINVD);
	tdx_rig_down(&r);
}

/* calls = ok + busy + errors, summed over LPs; information statuses are ok. */
static void test_leaf_stats(void **state)
{
	struct tdx_rig_config cfg = {.init_by_loop = true};
	struct tdx_leaf_stats s;
	struct tdx_rig r;

	(void)state;
	assert_int_equal(tdx_rig_module(&r, &cfg), 0);
	for (unsigned int leaf = 0; leaf < 256; leaf++) {
		s = tdx_leaf_stats(r.tdx, leaf);
		assert_int_equal(s.calls, s.ok + s.busy + s.errors);
		assert_int_equal(s.calls, tdx_rig_logged(&r, leaf));
	}
	/* The last TDMR.INIT says ALREADY_INITIALIZED. */
	assert_int_equal(tdx_leaf_stats(r.tdx, TDH_SYS_TDMR_INIT).errors, 0);
	tdx_rig_down(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bring_up),
		cmocka_unit_test(test_bring_up_by_loop),
		cmocka_unit_test(test_no_dynamic_pamt_in_1_5_05),
		cmocka_unit_test(test_pamt_sizes),
		cmocka_unit_test(test_huge_pages_ok),
		cmocka_unit_test(test_key_ids),
		cmocka_unit_test(test_bad_arguments),
		cmocka_unit_test(test_release_waits_for_flush),
		cmocka_unit_test(test_teardown_order),
		cmocka_unit_test(test_leaf_stats),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
