/* SPDX-License-Identifier: MIT */
/* Zapping, and the iterator under it. */
#include "mmu/rig.h"

/*
 * Every leaf that overlaps the range goes whole, and no other; tables stay, and take new leaves.
 *
 *    4K 4K 4K |    2M    |    2M    | 4K
 *        [ ---- range ------ )
 */
static void whole_leafs_only(void **state)
{
	struct rig r;
	u64 tables;

	(void)state;
	rig_init(&r);
	for (gfn_t gfn = 0x1fd; gfn < 0x200; gfn++)
		assert_int_equal(rig_map(&r, gfn, PG_LEVEL_4K), MMU_RET_FIXED);
	assert_int_equal(rig_map(&r, 0x200, PG_LEVEL_2M), MMU_RET_FIXED);
	assert_int_equal(rig_map(&r, 0x400, PG_LEVEL_2M), MMU_RET_FIXED);
	assert_int_equal(rig_map(&r, 0x600, PG_LEVEL_4K), MMU_RET_FIXED);
	tables = mmu_stats(r.mmu)->mirror_tables;
	rig_zap(&r, 0x1fe, 0x410, true);
	assert_int_equal(rig_lookup(&r, 0x1fd, true).level, PG_LEVEL_4K);
	for (gfn_t gfn = 0x1fe; gfn < 0x600; gfn++)
		assert_int_equal(rig_lookup(&r, gfn, true).level, PG_LEVEL_NONE);
	assert_int_equal(rig_lookup(&r, 0x600, true).level, PG_LEVEL_4K);
	assert_int_equal(mmu_stats(r.mmu)->zaps, 4);
	assert_int_equal(mmu_stats(r.mmu)->mirror_tables, tables);
	assert_int_equal(r.removes, 4);
	assert_int_equal(rig_map(&r, 0x1fe, PG_LEVEL_4K), MMU_RET_FIXED);
	assert_int_equal(rig_map(&r, 0x400, PG_LEVEL_2M), MMU_RET_FIXED);
	rig_exit(&r);
}

/* Row 80: zapping everything brings the page counters of all levels back to 0. */
static void row80_counters(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	for (gfn_t gfn = 0; gfn < 600; gfn++)
		assert_int_equal(rig_map(&r, gfn, PG_LEVEL_4K), MMU_RET_FIXED);
	for (gfn_t gfn = 0x10000; gfn < 0x20000; gfn += 512)
		assert_int_equal(rig_map(&r, gfn, PG_LEVEL_2M), MMU_RET_FIXED);
	assert_int_equal(rig_map(&r, 0x40000, PG_LEVEL_1G), MMU_RET_FIXED);
	assert_int_equal(rig_map_shared(&r, 5, PG_LEVEL_4K), MMU_RET_FIXED);
	assert_int_equal(rig_pages(&r, PG_LEVEL_4K), 601);
	assert_int_equal(rig_pages(&r, PG_LEVEL_2M), 128);
	assert_int_equal(rig_pages(&r, PG_LEVEL_1G), 1);
	rig_zap(&r, 0, ~0ULL, true);
	assert_int_equal(rig_pages(&r, PG_LEVEL_4K), 1);
	rig_zap(&r, 0, ~0ULL, false);
	for (enum pg_level level = PG_LEVEL_4K; level < PG_LEVEL_NUM; level++)
		assert_int_equal(rig_pages(&r, level), 0);
	assert_int_equal(mmu_stats(r.mmu)->zaps, 730);
	rig_exit(&r);
}

/* An empty or reversed range, or one beyond the guest's memory, zaps nothing. */
static void empty_ranges(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	assert_int_equal(rig_map(&r, 0x200, PG_LEVEL_4K), MMU_RET_FIXED);
	assert_int_equal(rig_map_shared(&r, 0x200, PG_LEVEL_4K), MMU_RET_FIXED);
	for (int private = 0; private < 2; private ++) {
		rig_zap(&r, 0x200, 0x200, private);
		rig_zap(&r, 0x201, 0x200, private);
		rig_zap(&r, 0, 0x200, private);
		rig_zap(&r, 0x201, ~0ULL, private);
		rig_zap(&r, RIG_GFN_BIT, ~0ULL, private);
	}
	assert_int_equal(mmu_stats(r.mmu)->zaps, 0);
	rig_exit(&r);
}

/*
 * A zap of shared memory flushes once and only if it removed something; a zap of private memory
 * leaves nothing to flush. One side's zap doesn't touch the other.
 */
static void flush_if_owed(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	for (gfn_t gfn = 0x200; gfn < 0x210; gfn++) {
		assert_int_equal(rig_map(&r, gfn, PG_LEVEL_4K), MMU_RET_FIXED);
		assert_int_equal(rig_map_shared(&r, gfn, PG_LEVEL_4K), MMU_RET_FIXED);
	}
	rig_zap(&r, 0x200, 0x208, true);
	assert_int_equal(r.flushes, 0);
	assert_int_equal(rig_lookup(&r, 0x200, false).level, PG_LEVEL_4K);
	rig_zap(&r, 0x208, 0x210, false);
	assert_int_equal(r.flushes, 1);
	assert_int_equal(rig_lookup(&r, 0x208, true).level, PG_LEVEL_4K);
	assert_int_equal(rig_lookup(&r, 0x208, false).level, PG_LEVEL_NONE);
	rig_zap(&r, 0x208, 0x210, false);
	assert_int_equal(r.flushes, 1);
	rig_exit(&r);
}

/*
 * Row 54: a split of shared memory owes no flush, to whatever level; split and zap together make one.
 * Of private memory neither makes any: the external side has had everybody out.
 */
static void row54_one_flush(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	for (int private = 0; private < 2; private ++) {
		for (gfn_t gfn = 0x400; gfn < 0xa00; gfn += 512)
			assert_int_equal(private ? rig_map(&r, gfn, PG_LEVEL_2M)
						 : rig_map_shared(&r, gfn, PG_LEVEL_2M),
					 MMU_RET_FIXED);
		r.flushes = 0;
		assert_int_equal(rig_split_to(&r, 0x400, 0x401, PG_LEVEL_4K, private), 0);
		assert_int_equal(rig_split(&r, 0x605, 0x805, private), 0);
		assert_int_equal(mmu_stats(r.mmu)->splits, private ? 6 : 3);
		assert_int_equal(r.flushes, 0);
		rig_zap(&r, 0x605, 0x805, private);
		assert_int_equal(r.flushes, !private);
	}
	rig_exit(&r);
}

/* Makes every look at mmu.lock say that somebody waits. */
static void pretend_contended(struct rig *r, bool contended)
{
	if (contended)
		sync_fetch_add(&mmu_lock(r->mmu)->waiters, 1);
	else
		sync_fetch_sub(&mmu_lock(r->mmu)->waiters, 1);
}

/*
 * Row 53: a zap that yields at every step still removes each leaf once, and ends; what it owes is
 * flushed before each yield.
 */
static void row53_zap_yields(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	for (gfn_t gfn = 0x1f0; gfn < 0x210; gfn++) {
		assert_int_equal(rig_map(&r, gfn, PG_LEVEL_4K), MMU_RET_FIXED);
		assert_int_equal(rig_map_shared(&r, gfn, PG_LEVEL_4K), MMU_RET_FIXED);
	}
	pretend_contended(&r, true);
	rig_zap(&r, 0x1f0, 0x210, true);
	assert_int_equal(r.removes, 0x20);
	assert_int_equal(r.flushes, 0);
	rig_zap(&r, 0x1f0, 0x230, false);
	assert_int_equal(r.flushes, 0x20);
	pretend_contended(&r, false);
	assert_int_equal(rig_pages(&r, PG_LEVEL_4K), 0);
	rig_exit(&r);
}

struct visit {
	gfn_t gfn;
	enum pg_level level;
};

/* Walks and checks that exactly the leaves of the range come, in order, each once. */
static void check_walk(struct rig *r, gfn_t start, gfn_t end, bool yields)
{
	struct mmu_iter it;
	gfn_t expected = start;
	u64 steps = 0, yielded = 0, leaves = 0;

	sync_write_lock(mmu_lock(r->mmu));
	mmu_for_each_spte (it, r->mmu, r->mmu->mirror_root, PG_LEVEL_4K, start, end) {
		struct mmu_mapping m = {0};

		assert_true(steps++ < 40000);
		if (yields && mmu_iter_wants_yield(r->mmu, &it)) {
			mmu_iter_yield(r->mmu, &it);
			yielded++;
			continue;
		}
		assert_true(it.gfn < end && it.gfn + pages_per_level(it.level) > start);
		if (!spte_is_leaf(it.old_spte, it.level))
			continue;
		/* Nothing was left out since the last leaf. */
		for (; expected < it.gfn; expected++)
			assert_false(mmu_lookup(r->mmu, expected, true, &m));
		assert_true(expected >= it.gfn);
		assert_true(mmu_lookup(r->mmu, expected, true, &m));
		assert_int_equal(m.gfn, it.gfn);
		assert_int_equal(m.level, it.level);
		expected = it.gfn + pages_per_level(it.level);
		leaves++;
	}
	sync_write_unlock(mmu_lock(r->mmu));
	for (; expected < end; expected++)
		assert_int_equal(rig_lookup(r, expected, true).level, PG_LEVEL_NONE);
	/* Between any two leaves at least. */
	if (yields)
		assert_true(yielded + 1 >= leaves);
	if (yields && start + 1024 < end)
		assert_true(yielded > 0);
}

/*
 * Row 53: over random trees and ranges the iterator visits every leaf of the range once and in
 * order, and nothing outside it, whether it yields never or at every step.
 */
static void row53_iterator(void **state)
{
	(void)state;
	for (u64 seed = 1; seed <= 12; seed++) {
		u64 rand = seed * 0x9E3779B97F4A7C15ULL;
		gfn_t base = (1 << 18) - 2048; /* over a 1G boundary */
		struct rig r;

		rig_init(&r);
		for (int i = 0; i < 60; i++)
			rig_map(&r, base + rig_rand(&rand) % 4096,
				rig_rand(&rand) % 3 ? PG_LEVEL_4K : PG_LEVEL_2M);
		for (int i = 0; i < 6; i++) {
			gfn_t start = base + rig_rand(&rand) % 4096;
			gfn_t end = start + 1 + rig_rand(&rand) % 3000;

			check_walk(&r, start, end, false);
			pretend_contended(&r, true);
			check_walk(&r, start, end, true);
			pretend_contended(&r, false);
		}
		rig_exit(&r);
		if (r.bugs)
			print_message("seed %lu\n", seed);
	}
}

/* A table that another thread puts at the current entry, after it was looked at, is walked next. */
static void new_table_is_walked(void **state)
{
	struct mmu_iter it, other;
	struct mmu_page *sp;
	struct rig r;
	gfn_t seen = 0;

	(void)state;
	rig_init(&r);
	assert_int_equal(rig_map(&r, 0x200, PG_LEVEL_4K), MMU_RET_FIXED);
	sync_read_lock(mmu_lock(r.mmu));
	mmu_for_each_spte (it, r.mmu, r.mmu->mirror_root, PG_LEVEL_4K, 0x400, 0x600) {
		if (it.level == PG_LEVEL_4K)
			seen++;
		if (it.level != PG_LEVEL_2M || it.gfn != 0x400)
			continue;
		other = it;
		sp = mmu_cache_take(&r.cache, true);
		mmu_page_use(sp, 0x400, PG_LEVEL_4K);
		assert_int_equal(mmu_set_spte_atomic(r.mmu, &other, spte_make_table(sp->table)), 0);
		assert_int_equal(it.old_spte, SPTE_NONE);
	}
	sync_read_unlock(mmu_lock(r.mmu));
	assert_int_equal(seen, 512);
	rig_exit(&r);
}

struct reader {
	struct rig *r;
	u32 done;
	u64 turns;
};

static void read_on_and_on(void *arg)
{
	struct reader *reader = arg;

	while (!sync_load_acquire(&reader->done)) {
		sync_read_lock(mmu_lock(reader->r->mmu));
		reader->turns++;
		sync_read_unlock(mmu_lock(reader->r->mmu));
	}
}

/* A zap with real readers that want the lock all the time ends, and removes everything. */
static void zap_against_readers(void **state)
{
	struct reader reader = {0};
	struct sync_thread thread;
	struct rig r;

	(void)state;
	rig_init(&r);
	reader.r = &r;
	for (gfn_t gfn = 0; gfn < 2000; gfn++)
		assert_int_equal(rig_map(&r, gfn, PG_LEVEL_4K), MMU_RET_FIXED);
	assert_int_equal(sync_thread_create(&thread, read_on_and_on, &reader), 0);
	rig_zap(&r, 0, 2000, true);
	sync_store_release(&reader.done, 1);
	sync_thread_join(&thread);
	assert_int_equal(rig_pages(&r, PG_LEVEL_4K), 0);
	assert_int_equal(r.removes, 2000);
	rig_exit(&r);
}

/*
 * A removal that the external side refuses under the write lock stops the VM and leaves that entry,
 * whichever of the removals it is; the others go, nothing is FROZEN, and both sides agree.
 */
static void refused_removal(void **state)
{
	(void)state;
	for (u64 n = 1; n <= 8; n++) {
		struct rig r;

		rig_init(&r);
		for (gfn_t gfn = 0; gfn < 8; gfn++)
			assert_int_equal(rig_map(&r, gfn, PG_LEVEL_4K), MMU_RET_FIXED);
		r.fail_with = n % 2 ? -EBUSY : -EINVAL;
		r.fail_at = r.calls + n;
		rig_zap(&r, 0, 8, true);
		assert_int_equal(r.bugs, 1);
		assert_int_equal(rig_pages(&r, PG_LEVEL_4K), 1);
		assert_int_equal(rig_lookup(&r, n - 1, true).level, PG_LEVEL_4K);
		rig_check(&r);
		assert_int_equal(rig_map(&r, 0, PG_LEVEL_4K), -EIO);
		rig_exit_dead(&r);
	}
}

struct seen {
	struct mmu_mapping m[8];
	unsigned int n;
};

static void see(void *ctx, const struct mmu_mapping *m)
{
	struct seen *seen = ctx;

	assert_true(seen->n < ARRAY_SIZE(seen->m));
	seen->m[seen->n++] = *m;
}

/* mmu_for_each_leaf shows every leaf of one side once, in gfn order, without the shared bit. */
static void for_each_leaf(void **state)
{
	static const gfn_t gfns[] = {0x40000, 0x3fe00, 0x7fffffff, 0x3};
	struct rig r;

	(void)state;
	rig_init(&r);
	for (unsigned int i = 0; i < ARRAY_SIZE(gfns); i++) {
		assert_int_equal(rig_map(&r, gfns[i], i % 2 ? PG_LEVEL_2M : PG_LEVEL_4K),
				 MMU_RET_FIXED);
		assert_int_equal(rig_map_shared(&r, gfns[i], PG_LEVEL_4K), MMU_RET_FIXED);
	}
	for (int private = 0; private < 2; private ++) {
		struct seen seen = {.n = 0};

		mmu_for_each_leaf(r.mmu, private, see, &seen);
		assert_int_equal(seen.n, 4);
		assert_int_equal(seen.m[0].gfn, private ? 0 : 3);
		assert_int_equal(seen.m[1].gfn, 0x3fe00);
		assert_int_equal(seen.m[2].gfn, 0x40000);
		assert_int_equal(seen.m[3].gfn, 0x7fffffff);
		assert_int_equal(seen.m[1].level, private ? PG_LEVEL_2M : PG_LEVEL_4K);
		assert_int_equal(seen.m[3].pfn, pfn_of(0x7fffffff));
	}
	rig_exit(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_leafs_only),    cmocka_unit_test(row80_counters),
		cmocka_unit_test(empty_ranges),	       cmocka_unit_test(flush_if_owed),
		cmocka_unit_test(row54_one_flush),     cmocka_unit_test(row53_zap_yields),
		cmocka_unit_test(row53_iterator),      cmocka_unit_test(new_table_is_walked),
		cmocka_unit_test(zap_against_readers), cmocka_unit_test(refused_removal),
		cmocka_unit_test(for_each_leaf),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
