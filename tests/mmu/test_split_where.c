/* SPDX-License-Identifier: MIT */
/* Which leaves a split before a removal hits, and what finding them costs. */
#include "mmu/rig.h"

#define K2M 512ULL
#define K1G 262144ULL
#define BASE (8 * K1G) /* a 1G boundary, for the ranges below */

struct ends_case {
	const char *what;
	enum pg_level leaf; /* what maps all of [BASE, BASE + 3 leaves) */
	gfn_t start, end;   /* from BASE on */
	u64 splits;
	u64 pages_4k, pages_2m, pages_1g; /* afterwards, of three leaves */
};

/*
 * Rows 38 to 41, 43 and 44.
 *
 *	   leaf     leaf     leaf
 *	|--------|--------|--------|
 *	   [=========)                head only, when the end is on a boundary
 *	|--------|--------|--------|
 *	 ^ split
 */
static const struct ends_case ends_cases[] = {
	{"38 inside one leaf", PG_LEVEL_2M, 5, 9, 1, 512, 2, 0},
	{"39 one whole leaf", PG_LEVEL_2M, 0, 512, 0, 0, 3, 0},
	{"39 two whole leaves", PG_LEVEL_2M, 0, 1024, 0, 0, 3, 0},
	{"39 all", PG_LEVEL_2M, 0, 1536, 0, 0, 3, 0},
	{"40 head only", PG_LEVEL_2M, 5, 1024, 1, 512, 2, 0},
	{"40 tail only", PG_LEVEL_2M, 512, 1029, 1, 512, 2, 0},
	{"40 both", PG_LEVEL_2M, 5, 1029, 2, 1024, 1, 0},
	{"41 head and tail in one block", PG_LEVEL_2M, 513, 1023, 1, 512, 2, 0},
	{"41 first page of a block", PG_LEVEL_2M, 512, 513, 1, 512, 2, 0},
	{"41 last page of a block", PG_LEVEL_2M, 1023, 1024, 1, 512, 2, 0},
	{"over a boundary", PG_LEVEL_2M, 511, 513, 2, 1024, 1, 0},
	{"43 one page of 1G", PG_LEVEL_1G, 5, 6, 2, 512, 511, 2},
	{"43 4K range in 1G", PG_LEVEL_1G, 5, 9, 2, 512, 511, 2},
	{"8K over a 2M boundary in 1G", PG_LEVEL_1G, 511, 513, 3, 1024, 510, 2},
	{"44 2M of 1G", PG_LEVEL_1G, K2M, 2 * K2M, 1, 0, 512, 2},
	{"44 1G and 2M", PG_LEVEL_1G, 0, K1G + K2M, 1, 0, 512, 2},
	{"whole 1G", PG_LEVEL_1G, 0, K1G, 0, 0, 0, 3},
	{"at most four", PG_LEVEL_1G, 5, 2 * K1G + 5, 4, 1024, 1022, 1},
	{"head to 4K, tail to 2M", PG_LEVEL_1G, 5, 2 * K1G + K2M, 3, 512, 1023, 1},
};

static void map_three(struct rig *r, enum pg_level level, bool private)
{
	for (u64 i = 0; i < 3; i++) {
		gfn_t gfn = BASE + i * pages_per_level(level);

		assert_int_equal(private ? rig_map(r, gfn, level) : rig_map_shared(r, gfn, level),
				 MMU_RET_FIXED);
	}
}

/* Every gfn of the three leaves maps to the frame it did. */
static void check_frames(struct rig *r, enum pg_level level, bool private)
{
	gfn_t gfn = BASE, end = BASE + 3 * pages_per_level(level);

	while (gfn < end) {
		struct mmu_mapping m = rig_lookup(r, gfn, private);

		assert_int_not_equal(m.level, PG_LEVEL_NONE);
		assert_int_equal(m.gfn, gfn);
		assert_int_equal(m.pfn, pfn_of(gfn));
		gfn += pages_per_level(m.level);
	}
	assert_int_equal(gfn, end);
}

static void check_ends(const struct ends_case *c, const struct mmu_config *policy, bool private)
{
	struct rig r;
	u64 calls;

	rig_init_policy(&r, policy);
	map_three(&r, c->leaf, private);
	calls = r.calls;
	r.gets = 0;
	for (int again = 0; again < 2; again++) {
		assert_int_equal(rig_split(&r, BASE + c->start, BASE + c->end, private), 0);
		if (mmu_stats(r.mmu)->splits != c->splits)
			fail_msg("row %s: %lu splits", c->what, mmu_stats(r.mmu)->splits);
		assert_int_equal(r.calls - calls, private ? c->splits : 0);
		/* External page and metadata; no more is got than is used. */
		if (policy->split_metadata != MMU_META_VM_CACHE)
			assert_int_equal(r.gets, private ? 2 * c->splits : 0);
		assert_int_equal(rig_pages(&r, PG_LEVEL_4K), c->pages_4k);
		assert_int_equal(rig_pages(&r, PG_LEVEL_2M), c->pages_2m);
		assert_int_equal(rig_pages(&r, PG_LEVEL_1G), c->pages_1g);
	}
	assert_int_equal(r.flushes, 0);
	check_frames(&r, c->leaf, private);
	rig_exit(&r);
}

/*
 * Rows 21, 33, 38 to 41, 43, 44, 54 and 80: only the leaves that cross an end are split, each once and
 * with one call of the hook, at most four; frames and counters are right, nobody is flushed, and
 * doing it again does nothing. For all policies, private and shared.
 */
static void row38_to_row44_ends(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(ends_cases); i++)
		for (unsigned int p = 0; p < RIG_POLICIES; p++)
			for (int private = 0; private < 2; private ++) {
				struct mmu_config policy = rig_policy(p);

				check_ends(&ends_cases[i], &policy, private);
			}
}

/* Rows 46 and 47, the mapping's part: split, then zap, and exactly the range is gone. */
static void row46_split_and_zap_is_precise(void **state)
{
	(void)state;
	for (unsigned int p = 0; p < RIG_POLICIES; p++) {
		struct mmu_config policy = rig_policy(p);
		struct rig r;

		rig_init_policy(&r, &policy);
		map_three(&r, PG_LEVEL_2M, true);
		assert_int_equal(rig_split(&r, BASE + 511, BASE + 513, true), 0);
		rig_zap(&r, BASE + 511, BASE + 513, true);
		for (gfn_t gfn = BASE; gfn < BASE + 1536; gfn++)
			assert_int_equal(!rig_lookup(&r, gfn, true).level,
					 gfn == BASE + 511 || gfn == BASE + 512);
		rig_exit(&r);
	}
}

/*
 * Row 42: in a TD of 16 TiB the split before a hole of 12 TiB looks at the entries of the two end
 * paths and no other, three levels each, at most three times each; the walk looks at every
 * 2M entry of the range, here of 4 GiB, which makes 6,291,456 for 12 TiB; two walks at those of the
 * first and the last GiB.
 */
static void row42_cost_of_a_huge_range(void **state)
{
	const gfn_t tib = 1ULL << 28;
	u64 visited[3];

	(void)state;
	for (unsigned int p = 0; p < RIG_POLICIES; p += 3) {
		struct mmu_config policy = rig_policy(p);
		gfn_t start = 2 * tib + 5, end = 14 * tib + 1023;
		struct rig r;

		rig_init_policy(&r, &policy);
		for (gfn_t gfn = 0; gfn < 16 * tib; gfn += tib / 8)
			assert_int_equal(rig_map(&r, gfn, PG_LEVEL_2M), MMU_RET_FIXED);
		assert_int_equal(rig_map(&r, end, PG_LEVEL_2M), MMU_RET_FIXED);
		assert_int_equal(rig_split(&r, start, end, true), 0);
		assert_int_equal(mmu_stats(r.mmu)->splits, 2);
		assert_in_range(mmu_stats(r.mmu)->split_entries_visited, 6, 18);
		rig_exit(&r);
	}
	for (unsigned int where = 0; where < 3; where++) {
		struct mmu_config policy = rig_policy(where);
		struct rig r;

		rig_init_policy(&r, &policy);
		for (gfn_t gfn = 0; gfn < 4 * K1G; gfn += K2M)
			assert_int_equal(rig_map(&r, gfn, PG_LEVEL_2M), MMU_RET_FIXED);
		assert_int_equal(rig_split(&r, 5, 4 * K1G - 5, true), 0);
		assert_int_equal(mmu_stats(r.mmu)->splits, 2);
		visited[where] = mmu_stats(r.mmu)->split_entries_visited;
		rig_exit(&r);
	}
	/* Beside those at 2M the entries above, and a path of three for each start. */
	assert_in_range(visited[MMU_SPLIT_ENDS], 6, 12);
	assert_in_range(visited[MMU_SPLIT_WALK], 4 * 512 + 5, 4 * 512 + 5 + 3 * 3);
	assert_in_range(visited[MMU_SPLIT_TWO_WALKS], 2 * 512 + 3, 2 * 512 + 3 + 3 * 3);
	assert_int_equal(12 * tib / (4 * K1G) * (4 * 512), 6291456);
}

/*
 * With the need prepared nobody else gets the lock once the walk has begun, much as others want it: a
 * walk that yielded would look at the path of three again at every step.
 */
static void prepared_walk_keeps_the_lock(void **state)
{
	(void)state;
	for (unsigned int where = 0; where < 3; where++) {
		struct mmu_config policy = {.split_where = (enum mmu_split_where)where,
					    .split_metadata = MMU_META_PREALLOC};
		struct rig r;

		rig_init_policy(&r, &policy);
		for (gfn_t gfn = 0; gfn < 2 * K1G; gfn += K2M)
			assert_int_equal(rig_map(&r, gfn, PG_LEVEL_2M), MMU_RET_FIXED);
		sync_fetch_add(&mmu_lock(r.mmu)->waiters, 1);
		assert_int_equal(rig_split(&r, 5, 2 * K1G - 5, true), 0);
		sync_fetch_sub(&mmu_lock(r.mmu)->waiters, 1);
		assert_int_equal(mmu_stats(r.mmu)->splits, 2);
		/* Two looks at two ends before. */
		assert_in_range(mmu_stats(r.mmu)->split_entries_visited, 0, 1024 + 4 + 4 * 3);
		rig_exit(&r);
	}
}

/* ---- row 45 --------------------------------------------------------------------------------- */

#define AREA (3 * K1G)
#define MAX_LEAFS 8192

struct tree {
	struct mmu_mapping m[MAX_LEAFS];
	unsigned int n;
};

static void note_leaf(void *ctx, const struct mmu_mapping *m)
{
	struct tree *tree = ctx;

	assert_true(tree->n < MAX_LEAFS);
	tree->m[tree->n++] = *m;
}

static void map_1g_at_random(struct rig *r, gfn_t gfn, u64 *rand)
{
	u64 kind = rig_rand(rand) % 4;

	if (kind == 0)
		assert_int_equal(rig_map(r, gfn, PG_LEVEL_1G), MMU_RET_FIXED);
	for (u64 i = 0; kind >= 2 && i < 512; i++) {
		u64 what = kind == 2 ? 0 : rig_rand(rand) % 16;

		if (what < 8)
			assert_int_equal(rig_map(r, gfn + i * K2M, PG_LEVEL_2M), MMU_RET_FIXED);
		else if (what == 8)
			assert_int_equal(rig_map(r, gfn + i * K2M + rig_rand(rand) % K2M,
						 PG_LEVEL_4K),
					 MMU_RET_FIXED);
	}
}

static gfn_t random_end(u64 *rand)
{
	gfn_t gfn = rig_rand(rand) % (AREA + 1);

	switch (rig_rand(rand) % 4) {
	case 0:
		return ALIGN_DOWN(gfn, K1G);
	case 1:
		return ALIGN_DOWN(gfn, K2M);
	default:
		return gfn;
	}
}

static bool has_inside(const struct mmu_mapping *m, gfn_t gfn)
{
	return m->gfn < gfn && gfn < m->gfn + pages_per_level(m->level);
}

/* What must become of one leaf: nothing, unless an end is inside; then each part in turn. */
static void expect_leaf(struct tree *tree, const struct mmu_mapping *m, gfn_t start, gfn_t end)
{
	if (!has_inside(m, start) && !has_inside(m, end)) {
		note_leaf(tree, m);
		return;
	}
	for (u64 i = 0; i < 512; i++) {
		u64 offset = i * pages_per_level(m->level - 1);
		struct mmu_mapping part = {
			.gfn = m->gfn + offset, .pfn = m->pfn + offset, .level = m->level - 1};

		expect_leaf(tree, &part, start, end);
	}
}

static bool is_same_tree(const struct tree *a, const struct tree *b)
{
	for (unsigned int i = 0; a->n == b->n && i < a->n; i++)
		if (a->m[i].gfn != b->m[i].gfn || a->m[i].pfn != b->m[i].pfn ||
		    a->m[i].level != b->m[i].level)
			return false;
	return a->n == b->n;
}

static void check_random(u64 seed, unsigned int p, gfn_t start, gfn_t end, bool contended)
{
	static struct tree before, expected, after;
	struct mmu_config policy = rig_policy(p);
	u64 rand = seed * 0x9E3779B97F4A7C15ULL;
	struct rig r;

	before.n = expected.n = after.n = 0;
	rig_init_policy(&r, &policy);
	for (gfn_t gfn = 0; gfn < AREA; gfn += K1G)
		map_1g_at_random(&r, gfn, &rand);
	mmu_for_each_leaf(r.mmu, true, note_leaf, &before);
	for (unsigned int i = 0; i < before.n; i++)
		expect_leaf(&expected, &before.m[i], start, end);
	/* Row 53: a walk that yields at every step finds the same. */
	if (contended)
		sync_fetch_add(&mmu_lock(r.mmu)->waiters, 1);
	assert_int_equal(rig_split(&r, start, end, true), 0);
	if (contended)
		sync_fetch_sub(&mmu_lock(r.mmu)->waiters, 1);
	mmu_for_each_leaf(r.mmu, true, note_leaf, &after);
	if (!is_same_tree(&after, &expected))
		fail_msg("seed %lu, policy %u, [%lx, %lx): another tree", seed, p, start, end);
	assert_in_range(mmu_stats(r.mmu)->splits, 0, 4);
	if (policy.split_where == MMU_SPLIT_ENDS)
		assert_in_range(mmu_stats(r.mmu)->split_entries_visited, 0, 6 + 4 * 3 + 6);
	rig_exit(&r);
}

/*
 * Row 45: for random layouts of 1G, 2M and 4K leaves and random ranges all policies give one and the
 * same tree, the one in which just the leaves that had an end inside are split as far as needed.
 */
static void row45_one_tree(void **state)
{
	(void)state;
	for (u64 seed = 1; seed <= 24; seed++) {
		u64 rand = seed * 0xD1342543DE82EF95ULL;
		gfn_t start = random_end(&rand);
		gfn_t end = rig_rand(&rand) % 2 ? random_end(&rand)
						: start + rig_rand(&rand) % 1024 + 1;

		if (start > end) {
			gfn_t swap = start;

			start = end;
			end = swap;
		}
		for (unsigned int p = 0; start < end && p < RIG_POLICIES; p++)
			check_random(seed, p, start, end, rig_rand(&rand) % 2);
	}
}

/* An empty range, one with nothing mapped and one beyond the guest's memory split nothing. */
static void nothing_to_split(void **state)
{
	(void)state;
	for (unsigned int p = 0; p < RIG_POLICIES; p++) {
		struct mmu_config policy = rig_policy(p);
		struct rig r;

		rig_init_policy(&r, &policy);
		map_three(&r, PG_LEVEL_2M, true);
		r.gets = 0;
		assert_int_equal(rig_split(&r, BASE + 5, BASE + 5, true), 0);
		assert_int_equal(rig_split(&r, BASE + 9, BASE + 5, true), 0);
		assert_int_equal(rig_split(&r, BASE + 5, BASE + 9, false), 0);
		assert_int_equal(rig_split(&r, 5, 9, true), 0);
		assert_int_equal(rig_split(&r, RIG_GFN_BIT + 5, RIG_GFN_BIT + 9, true), 0);
		assert_int_equal(rig_split(&r, 0, ~0ULL, true), 0);
		assert_int_equal(r.gets, 0);
		assert_int_equal(mmu_stats(r.mmu)->splits, 0);
		rig_exit(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(row38_to_row44_ends),
		cmocka_unit_test(row46_split_and_zap_is_precise),
		cmocka_unit_test(row42_cost_of_a_huge_range),
		cmocka_unit_test(prepared_walk_keeps_the_lock),
		cmocka_unit_test(row45_one_tree),
		cmocka_unit_test(nothing_to_split),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
