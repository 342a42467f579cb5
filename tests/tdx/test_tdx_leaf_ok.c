/* SPDX-License-Identifier: MIT */
/* TDX's half asks who may be a leaf before each call that takes a large one, and what no does. */
#include <errno.h>

#include "tdx/internal.h"
#include "tdx/rig.h"

#define GFN (4 * 512ULL)

static struct {
	u32 asked;
	bool refuse;
	gfn_t gfn;
	pfn_t pfn;
} leaf;

static bool leaf_ok(void *vm, gfn_t gfn, pfn_t pfn, enum pg_level level)
{
	(void)vm;
	assert_int_equal(level, PG_LEVEL_2M);
	leaf.asked++;
	leaf.gfn = gfn;
	leaf.pfn = pfn;
	return !leaf.refuse;
}

static void up(struct tdx_rig *r)
{
	tdx_rig_up(r, &(struct tdx_rig_config){.dynamic_pamt = true});
	r->td->ops.leaf_ok = leaf_ok;
	memset(&leaf, 0, sizeof(leaf));
}

static void expect_asked(u32 times, pfn_t pfn)
{
	assert_int_equal(leaf.asked, times);
	assert_int_equal(leaf.gfn, GFN);
	assert_int_equal(leaf.pfn, pfn);
	leaf.asked = 0;
}

static void expect_bugged(const struct tdx_rig *r, const char *leaf_name)
{
	assert_non_null(strstr(r->bugged, "mapping check before "));
	assert_non_null(strstr(r->bugged, leaf_name));
	assert_non_null(strstr(r->bugged, "gfn 0x800"));
}

/* AUG, DEMOTE, PROMOTE, REMOVE and RECLAIM of a 2M leaf ask once each; those of 4K never. */
static void test_when(void **state)
{
	struct tdx_rig r;
	pfn_t huge, small;

	(void)state;
	up(&r);
	assert_int_equal(tdx_rig_map(&r, GFN + 512, PG_LEVEL_4K, &small), MMU_RET_FIXED);
	tdx_rig_zap(&r, GFN + 512, 1);
	tdx_rig_free(&r, small, PG_LEVEL_4K);
	assert_int_equal(leaf.asked, 0);
	assert_int_equal(tdx_rig_map(&r, GFN, PG_LEVEL_2M, &huge), MMU_RET_FIXED);
	expect_asked(1, huge);
	assert_int_equal(tdx_rig_split(&r, GFN, PG_LEVEL_4K), 0);
	expect_asked(1, huge);
	assert_int_equal(tdx_rig_promote(&r, GFN, PG_LEVEL_2M), 0);
	expect_asked(1, huge);
	tdx_rig_zap(&r, GFN, 512);
	expect_asked(1, huge);
	tdx_rig_free(&r, huge, PG_LEVEL_2M);
	assert_int_equal(tdx_rig_map(&r, GFN, PG_LEVEL_2M, &huge), MMU_RET_FIXED);
	leaf.asked = 0;
	tdx_rig_td_down(&r);
	expect_asked(1, huge);
	tdx_rig_free(&r, huge, PG_LEVEL_2M);
	tdx_rig_down(&r);
}

/* A no before AUG, DEMOTE and PROMOTE: the module isn't called, and the VM stops with leaf and gfn. */
static void test_refused(void **state)
{
	struct tdx_rig r;
	pfn_t huge;

	(void)state;
	up(&r);
	leaf.refuse = true;
	assert_int_equal(tdx_rig_map(&r, GFN, PG_LEVEL_2M, &huge), -EIO);
	assert_int_equal(tdx_rig_logged(&r, TDH_MEM_PAGE_AUG), 0);
	expect_bugged(&r, "TDH.MEM.PAGE.AUG");
	tdx_rig_td_down(&r);
	tdx_rig_free(&r, huge, PG_LEVEL_2M);
	tdx_rig_down(&r);

	for (int promotes = 0; promotes < 2; promotes++) {
		up(&r);
		assert_int_equal(tdx_rig_map(&r, GFN, PG_LEVEL_2M, &huge), MMU_RET_FIXED);
		if (promotes)
			assert_int_equal(tdx_rig_split(&r, GFN, PG_LEVEL_4K), 0);
		r.nr_log = 0;
		leaf.refuse = true;
		assert_int_equal(promotes ? tdx_rig_promote(&r, GFN, PG_LEVEL_2M)
					  : tdx_rig_split(&r, GFN, PG_LEVEL_4K),
				 -EIO);
		assert_int_equal(r.nr_log, 0);
		expect_bugged(&r, promotes ? "TDH.MEM.PAGE.PROMOTE" : "TDH.MEM.PAGE.DEMOTE");
		assert_int_equal(tdx_rig_level(&r, GFN), promotes ? PG_LEVEL_4K : PG_LEVEL_2M);
		tdx_rig_td_down(&r);
		tdx_rig_free(&r, huge, PG_LEVEL_2M);
		tdx_rig_down(&r);
	}
}

/* Before REMOVE: the VM stops, and the module lets go of the page all the same. */
static void test_removed_all_the_same(void **state)
{
	struct tdx_rig r;
	pfn_t huge;

	(void)state;
	up(&r);
	assert_int_equal(tdx_rig_map(&r, GFN, PG_LEVEL_2M, &huge), MMU_RET_FIXED);
	leaf.refuse = true;
	tdx_rig_zap(&r, GFN, 512);
	expect_bugged(&r, "TDH.MEM.PAGE.REMOVE");
	assert_int_equal(tdx_rig_logged(&r, TDH_MEM_PAGE_REMOVE), 1);
	assert_int_equal(tdx_rig_level(&r, GFN), PG_LEVEL_NONE);
	tdx_rig_td_down(&r);
	tdx_rig_free(&r, huge, PG_LEVEL_2M);
	tdx_rig_down(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_when),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_removed_all_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
