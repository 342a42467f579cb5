/* SPDX-License-Identifier: MIT */
/* Who may be a leaf is asked, when, and what no does. */
#include "mmu/rig.h"

#define BASE (4 * 512ULL)

/* The only user of mmu_config.vm_ctx in these tests is the rig, so what is asked is kept here. */
static struct {
	u32 asked;
	u32 refuse_at; /* the n-th question from now on is answered no, 0: none */
	gfn_t gfn;
	pfn_t pfn;
	enum pg_level level;
	bool private;
} leaf;

static bool leaf_ok(void *ctx, gfn_t gfn, pfn_t pfn, enum pg_level level, bool private)
{
	(void)ctx;
	leaf.asked++;
	leaf.gfn = gfn;
	leaf.pfn = pfn;
	leaf.level = level;
	leaf.private = private;
	return leaf.asked != leaf.refuse_at;
}

static void up(struct rig *r)
{
	rig_init(r);
	r->mmu->cfg.leaf_ok = leaf_ok;
	memset(&leaf, 0, sizeof(leaf));
}

static void expect_asked(u32 times, gfn_t gfn, enum pg_level level, bool private)
{
	assert_int_equal(leaf.asked, times);
	assert_int_equal(leaf.gfn, gfn);
	assert_int_equal(leaf.pfn, pfn_of(gfn));
	assert_int_equal(leaf.level, level);
	assert_int_equal(leaf.private, private);
	leaf.asked = 0;
}

static void fill(struct rig *r)
{
	for (u64 i = 0; i < 512; i++)
		assert_int_equal(rig_map(r, BASE + i, PG_LEVEL_4K), MMU_RET_FIXED);
}

/*
 * One question each when a leaf above 4K is set, split, promoted or removed, in either root, about its
 * first gfn without the shared bit and its frame; none about 4K leaves.
 */
static void test_when(void **state)
{
	struct rig r;

	(void)state;
	up(&r);
	for (int private = 0; private < 2; private ++) {
		int (*map)(struct rig *, gfn_t, enum pg_level) = private ? rig_map : rig_map_shared;

		assert_int_equal(map(&r, BASE + 77, PG_LEVEL_2M), MMU_RET_FIXED);
		expect_asked(1, BASE, PG_LEVEL_2M, private);
		assert_int_equal(map(&r, BASE + 78, PG_LEVEL_2M), MMU_RET_SPURIOUS);
		assert_int_equal(leaf.asked, 0);
		rig_zap(&r, BASE, BASE + 512, private);
		expect_asked(1, BASE, PG_LEVEL_2M, private);
		assert_int_equal(map(&r, BASE, PG_LEVEL_2M), MMU_RET_FIXED);
		leaf.asked = 0;
		assert_int_equal(rig_split_to(&r, BASE, BASE + 1, PG_LEVEL_4K, private), 0);
		expect_asked(1, BASE, PG_LEVEL_2M, private);
		rig_zap(&r, BASE, BASE + 1, private);
		assert_int_equal(map(&r, BASE, PG_LEVEL_4K), MMU_RET_FIXED);
		assert_int_equal(leaf.asked, 0);
	}
	assert_int_equal(rig_promote(&r, BASE, PG_LEVEL_2M), 0);
	expect_asked(1, BASE, PG_LEVEL_2M, true);
	rig_exit(&r);
	/* Teardown removes it; the shared leaves are 4K. */
	expect_asked(1, BASE, PG_LEVEL_2M, true);
}

/* A leaf that may not be there isn't set: nothing is told to the external side, and the VM stops. */
static void test_not_set(void **state)
{
	struct rig r;

	(void)state;
	up(&r);
	leaf.refuse_at = 1;
	assert_int_equal(rig_map(&r, BASE, PG_LEVEL_2M), -EIO);
	assert_int_equal(r.bugs, 1);
	assert_int_equal(r.maps, 0);
	assert_int_equal(rig_pages(&r, PG_LEVEL_2M), 0);
	assert_int_equal(rig_map(&r, BASE, PG_LEVEL_4K), -EIO);
	rig_exit_dead(&r);
}

/* A leaf that isn't one piece of memory isn't split, and neither is one made of parts that aren't. */
static void test_not_changed(void **state)
{
	struct rig r;

	(void)state;
	up(&r);
	assert_int_equal(rig_map(&r, BASE, PG_LEVEL_2M), MMU_RET_FIXED);
	leaf.refuse_at = 2;
	assert_int_equal(rig_split_to(&r, BASE, BASE + 1, PG_LEVEL_4K, true), -EIO);
	assert_int_equal(r.bugs, 1);
	assert_int_equal(r.splits, 0);
	rig_check(&r);
	assert_int_equal(rig_pages(&r, PG_LEVEL_2M), 1);
	rig_exit_dead(&r);

	up(&r);
	fill(&r);
	leaf.refuse_at = 1;
	assert_int_equal(rig_promote(&r, BASE, PG_LEVEL_2M), -EIO);
	assert_int_equal(r.bugs, 1);
	assert_int_equal(r.promotes, 0);
	rig_check(&r);
	assert_int_equal(rig_pages(&r, PG_LEVEL_4K), 512);
	rig_exit_dead(&r);
}

/* A removal stops the VM, too, but goes on: its frame is about to be somebody else's. */
static void test_removed_all_the_same(void **state)
{
	struct rig r;

	(void)state;
	up(&r);
	assert_int_equal(rig_map(&r, BASE, PG_LEVEL_2M), MMU_RET_FIXED);
	leaf.refuse_at = 2;
	rig_zap(&r, BASE, BASE + 512, true);
	assert_int_equal(r.bugs, 1);
	assert_int_equal(r.removes, 1);
	assert_int_equal(rig_pages(&r, PG_LEVEL_2M), 0);
	rig_check(&r);
	rig_exit_dead(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_when),
		cmocka_unit_test(test_not_set),
		cmocka_unit_test(test_not_changed),
		cmocka_unit_test(test_removed_all_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
