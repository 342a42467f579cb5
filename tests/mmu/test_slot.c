/* SPDX-License-Identifier: MIT */
/* Slots: how large a mapping may be. And the caches, and invalidation. */
#include "mmu/rig.h"

/* Row 5: a slot that begins or ends inside a block has no huge leaf in that block, but elsewhere. */
static void row5_slot_alignment(void **state)
{
	struct mmu_slot slot;

	(void)state;
	assert_int_equal(mmu_slot_init(&slot, 0x40001, 0x80000 - 2, 0x40001), 0);
	assert_int_equal(mmu_slot_max_level(&slot, 0x40001, PG_LEVEL_1G), PG_LEVEL_4K);
	assert_int_equal(mmu_slot_max_level(&slot, 0x401ff, PG_LEVEL_1G), PG_LEVEL_4K);
	assert_int_equal(mmu_slot_max_level(&slot, 0x40200, PG_LEVEL_1G), PG_LEVEL_2M);
	assert_int_equal(mmu_slot_max_level(&slot, 0x7ffff, PG_LEVEL_1G), PG_LEVEL_2M);
	assert_int_equal(mmu_slot_max_level(&slot, 0xbfdff, PG_LEVEL_1G), PG_LEVEL_2M);
	assert_int_equal(mmu_slot_max_level(&slot, 0xbfe00, PG_LEVEL_1G), PG_LEVEL_4K);
	mmu_slot_destroy(&slot);
	assert_int_equal(mmu_slot_init(&slot, 0x40000, 0x80000, 0), 0);
	assert_int_equal(mmu_slot_max_level(&slot, 0x40000, PG_LEVEL_512G), PG_LEVEL_1G);
	assert_int_equal(mmu_slot_max_level(&slot, 0xbffff, PG_LEVEL_2M), PG_LEVEL_2M);
	assert_int_equal(mmu_slot_max_level(&slot, 0xbffff, PG_LEVEL_4K), PG_LEVEL_4K);
	mmu_slot_destroy(&slot);
}

/* Row 6: gfn and file offset that differ modulo a huge page allow none of that size anywhere. */
static void row6_offset_mismatch(void **state)
{
	struct mmu_slot slot;

	(void)state;
	assert_int_equal(mmu_slot_init(&slot, 0x40000, 0x80000, 1), 0);
	assert_int_equal(mmu_slot_max_level(&slot, 0x50000, PG_LEVEL_1G), PG_LEVEL_4K);
	mmu_slot_destroy(&slot);
	assert_int_equal(mmu_slot_init(&slot, 0x40000, 0x80000, 0x200), 0);
	assert_int_equal(mmu_slot_max_level(&slot, 0x50000, PG_LEVEL_1G), PG_LEVEL_2M);
	mmu_slot_destroy(&slot);
}

static void count_up_and_down(void *arg)
{
	for (int i = 0; i < 20000; i++) {
		mmu_slot_update_disallow(arg, 0x200, PG_LEVEL_2M, 1);
		mmu_slot_update_disallow(arg, 0x200, PG_LEVEL_2M, -1);
	}
}

/* Row 15: counting reasons up and down, from several threads, never touches MIXED and GUEST_INHIBIT. */
static void row15_bits_survive(void **state)
{
	struct sync_thread threads[2];
	struct mmu_slot slot;

	(void)state;
	assert_int_equal(mmu_slot_init(&slot, 0, 0x400, 0), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(sync_thread_create(&threads[i], count_up_and_down, &slot), 0);
	mmu_slot_set_guest_inhibit(&slot, 0x2ff, PG_LEVEL_2M);
	mmu_slot_set_mixed(&slot, 0x2ff, PG_LEVEL_2M, true);
	for (int i = 0; i < 2; i++)
		sync_thread_join(&threads[i]);
	assert_int_equal(slot.disallow_lpage[PG_LEVEL_2M][1], 0xC0000000);
	assert_int_equal(slot.disallow_lpage[PG_LEVEL_2M][0], 0);
	/* The end of the slot lies inside a 1G block: one reason, of which nobody else takes care. */
	assert_int_equal(slot.disallow_lpage[PG_LEVEL_1G][0], 1);
	mmu_slot_set_mixed(&slot, 0x200, PG_LEVEL_2M, false);
	assert_int_equal(slot.disallow_lpage[PG_LEVEL_2M][1], 0x40000000);
	assert_true(mmu_slot_test_guest_inhibit(&slot, 0x200, PG_LEVEL_2M));
	assert_false(mmu_slot_test_guest_inhibit(&slot, 0x1ff, PG_LEVEL_2M));
	mmu_slot_destroy(&slot);
}

/* Row 14: after the guest inhibited a block, it maps at 4K from then on, zapped or not. */
static void row14_inhibit_is_one_way(void **state)
{
	struct mmu_slot slot;
	struct rig r;

	(void)state;
	rig_init(&r);
	assert_int_equal(mmu_slot_init(&slot, 0, 0x40000, 0), 0);
	mmu_slot_set_guest_inhibit(&slot, 0x400, PG_LEVEL_2M);
	for (int i = 0; i < 2; i++) {
		enum pg_level level = mmu_slot_max_level(&slot, 0x5ff, PG_LEVEL_2M);

		assert_int_equal(rig_map(&r, 0x5ff, level), MMU_RET_FIXED);
		assert_int_equal(rig_lookup(&r, 0x5ff, true).level, PG_LEVEL_4K);
		rig_zap(&r, 0x400, 0x600, true);
	}
	assert_int_equal(mmu_slot_max_level(&slot, 0x600, PG_LEVEL_2M), PG_LEVEL_2M);
	/* Inhibited at 2M only: a 1G leaf is another block's business, and the level below is free. */
	assert_int_equal(mmu_slot_max_level(&slot, 0x5ff, PG_LEVEL_1G), PG_LEVEL_1G);
	mmu_slot_destroy(&slot);
	rig_exit(&r);
}

/* What a promotion takes back is GUEST_INHIBIT of that block and level, and nothing else. */
static void promotion_clears_inhibit(void **state)
{
	struct mmu_slot slot;

	(void)state;
	assert_int_equal(mmu_slot_init(&slot, 0, 0x40000, 0), 0);
	for (enum pg_level level = PG_LEVEL_2M; level <= PG_LEVEL_1G; level++)
		mmu_slot_set_guest_inhibit(&slot, 0x400, level);
	mmu_slot_set_guest_inhibit(&slot, 0x600, PG_LEVEL_2M);
	mmu_slot_set_mixed(&slot, 0x400, PG_LEVEL_2M, true);
	mmu_slot_update_disallow(&slot, 0x400, PG_LEVEL_2M, 3);
	mmu_slot_clear_guest_inhibit(&slot, 0x5ff, PG_LEVEL_2M);
	assert_false(mmu_slot_test_guest_inhibit(&slot, 0x400, PG_LEVEL_2M));
	assert_true(mmu_slot_test_guest_inhibit(&slot, 0x400, PG_LEVEL_1G));
	assert_true(mmu_slot_test_guest_inhibit(&slot, 0x600, PG_LEVEL_2M));
	assert_int_equal(slot.disallow_lpage[PG_LEVEL_2M][2], 0x80000003);
	mmu_slot_destroy(&slot);
}

/* A slot of 16 TiB is made at once, costs nothing where nobody writes, and counts at its far end. */
static void huge_slot(void **state)
{
	struct mmu_slot slot;
	u64 npages = 1ULL << 32;

	(void)state;
	assert_int_equal(mmu_slot_init(&slot, 1ULL << 20, npages, 0), 0);
	mmu_slot_update_disallow(&slot, (1ULL << 20) + npages - 1, PG_LEVEL_1G, 2);
	assert_int_equal(slot.disallow_lpage[PG_LEVEL_1G][(1 << 14) - 1], 2);
	assert_int_equal(mmu_slot_max_level(&slot, npages, PG_LEVEL_1G), PG_LEVEL_1G);
	assert_int_equal(mmu_slot_max_level(&slot, (1ULL << 20) + npages - 1, PG_LEVEL_1G),
			 PG_LEVEL_2M);
	mmu_slot_destroy(&slot);
	assert_int_equal(mmu_slot_init(&slot, 0, 0, 0), -EINVAL);
	assert_int_equal(mmu_slot_init(&slot, ~0ULL, 2, 0), -EINVAL);
}

/*
 * A top-up that runs out of memory, of either kind, says -ENOMEM, keeps what it got, and works later;
 * with enough for one fault in the cache it doesn't fail.
 */
static void topup_failure(void **state)
{
	static pfn_t taken[512];
	struct rig r;
	unsigned int n = 0;
	pfn_t pfn;

	(void)state;
	rig_init(&r);
	r.fail_alloc = true;
	assert_int_equal(mmu_cache_topup(&r.cache), -ENOMEM);
	assert_int_equal(r.cache.nr_external, 0);
	r.fail_alloc = false;
	/* Leave three frames. */
	while (!host_alloc(r.host, PG_LEVEL_2M, FRAME_OTHER, &pfn))
		;
	while (n < ARRAY_SIZE(taken) && !host_alloc(r.host, PG_LEVEL_4K, FRAME_OTHER, &taken[n]))
		n++;
	for (int i = 0; i < 3; i++)
		host_free(r.host, taken[--n], PG_LEVEL_4K, FRAME_OTHER);
	assert_int_equal(mmu_cache_topup(&r.cache), -ENOMEM);
	assert_int_equal(r.cache.nr_external, 3);
	for (int i = 0; i < 2; i++)
		host_free(r.host, taken[--n], PG_LEVEL_4K, FRAME_OTHER);
	assert_int_equal(mmu_cache_topup(&r.cache), 0);
	assert_int_equal(r.cache.nr_external, MMU_CACHE_MIN);
	assert_int_equal(rig_map(&r, 0x200, PG_LEVEL_2M), MMU_RET_FIXED);
	mmu_cache_destroy(&r.cache);
	rig_check(&r);
	mmu_destroy(r.mmu);
	/* All came back: only what this test took is in use. */
	assert_int_equal(host_frames_used(r.host), r.host->used[FRAME_OTHER]);
	assert_int_equal(r.pages_out, 0);
	assert_int_equal(r.bugs, 0);
	sync_waitq_destroy(&r.stop_wait);
	host_destroy(r.host);
	free(r.root);
}

/* Tables come out of a used cache as zeros, though their frames were tables of another root before. */
static void recycled_tables_are_zero(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r);
	for (int round = 0; round < 3; round++) {
		struct mmu_iter it;

		for (gfn_t block = 0; block < 100; block++)
			assert_int_equal(rig_map(&r, block * 512 + block, PG_LEVEL_4K),
					 MMU_RET_FIXED);
		rig_check(&r);
		sync_write_lock(mmu_lock(r.mmu));
		mmu_for_each_spte (it, r.mmu, r.mmu->mirror_root, PG_LEVEL_2M, 0, 100 * 512)
			if (it.level == PG_LEVEL_2M)
				assert_int_equal(mmu_set_spte(r.mmu, &it, SPTE_NONE), 0);
		sync_write_unlock(mmu_lock(r.mmu));
		assert_int_equal(rig_pages(&r, PG_LEVEL_4K), 0);
		sync_rcu_barrier();
	}
	assert_int_equal(r.reclaims, 300);
	rig_exit(&r);
}

/* ---- invalidation --------------------------------------------------------------------------- */

static void begin(struct rig *r, gfn_t start, gfn_t end)
{
	sync_write_lock(mmu_lock(r->mmu));
	mmu_invalidate_begin(r->mmu);
	mmu_invalidate_range_add(r->mmu, start, end);
	sync_write_unlock(mmu_lock(r->mmu));
}

static void end(struct rig *r)
{
	sync_write_lock(mmu_lock(r->mmu));
	mmu_invalidate_end(r->mmu);
	sync_write_unlock(mmu_lock(r->mmu));
}

/*
 * Row 72: a fault that looked up its pfn before an invalidation began maps neither while it runs nor
 * after; one that began during it maps after it only with a new look-up; others aren't held up.
 */
static void row72_invalidate(void **state)
{
	struct rig r;
	struct mmu_fault before, during;

	(void)state;
	rig_init(&r);
	assert_int_equal(mmu_cache_topup(&r.cache), 0);
	before = rig_fault(&r, 0x210, pfn_of(0x210), PG_LEVEL_4K);
	begin(&r, 0x200, 0x300);
	assert_int_equal(mmu_map(r.mmu, &r.cache, &before), MMU_RET_RETRY);
	during = rig_fault(&r, 0x2ff, pfn_of(0x2ff), PG_LEVEL_4K);
	assert_int_equal(mmu_map(r.mmu, &r.cache, &during), MMU_RET_RETRY);
	assert_int_equal(rig_map(&r, 0x1ff, PG_LEVEL_4K), MMU_RET_FIXED);
	assert_int_equal(rig_map(&r, 0x300, PG_LEVEL_4K), MMU_RET_FIXED);
	end(&r);
	assert_int_equal(mmu_map(r.mmu, &r.cache, &before), MMU_RET_RETRY);
	assert_int_equal(mmu_map(r.mmu, &r.cache, &during), MMU_RET_RETRY);
	assert_int_equal(rig_pages(&r, PG_LEVEL_4K), 2);
	assert_int_equal(rig_map(&r, 0x210, PG_LEVEL_4K), MMU_RET_FIXED);
	rig_exit(&r);
}

/* Row 73: overlapping invalidations hold up the union of their ranges until the last one ends. */
static void row73_nested(void **state)
{
	struct rig r;
	u64 seq;

	(void)state;
	rig_init(&r);
	begin(&r, 0x200, 0x300);
	begin(&r, 0x500, 0x600);
	seq = mmu_invalidate_seq(r.mmu);
	assert_true(mmu_invalidate_retry(r.mmu, seq, 0x200));
	assert_true(mmu_invalidate_retry(r.mmu, seq, 0x400));
	assert_true(mmu_invalidate_retry(r.mmu, seq, 0x5ff));
	assert_false(mmu_invalidate_retry(r.mmu, seq, 0x1ff));
	assert_false(mmu_invalidate_retry(r.mmu, seq, 0x600));
	end(&r);
	seq = mmu_invalidate_seq(r.mmu);
	assert_true(mmu_invalidate_retry(r.mmu, seq, 0x200));
	end(&r);
	assert_true(mmu_invalidate_retry(r.mmu, seq, 0x9999));
	seq = mmu_invalidate_seq(r.mmu);
	assert_false(mmu_invalidate_retry(r.mmu, seq, 0x200));
	assert_int_equal(r.mmu->invalidate_in_progress, 0);
	/* The next one starts from an empty range. */
	begin(&r, 0x800, 0x900);
	assert_false(mmu_invalidate_retry(r.mmu, seq, 0x200));
	assert_true(mmu_invalidate_retry(r.mmu, seq, 0x800));
	end(&r);
	rig_exit(&r);
}

/* A promotion may lift GUEST_INHIBIT, and no other reason; MIXED clears for whole blocks, nothing else. */
static void may_promote(void **state)
{
	struct mmu_slot slot;

	(void)state;
	assert_int_equal(mmu_slot_init(&slot, 512, 5 * 512 + 1, 512), 0);
	assert_true(mmu_slot_may_promote(&slot, 512, PG_LEVEL_2M));
	assert_false(mmu_slot_may_promote(&slot, 512, PG_LEVEL_1G));
	/* Sticks out of the slot. */
	assert_false(mmu_slot_may_promote(&slot, 6 * 512, PG_LEVEL_2M));
	mmu_slot_set_guest_inhibit(&slot, 512, PG_LEVEL_2M);
	assert_true(mmu_slot_may_promote(&slot, 512, PG_LEVEL_2M));
	for (gfn_t gfn = 512; gfn < 6 * 512; gfn += 512)
		mmu_slot_set_mixed(&slot, gfn, PG_LEVEL_2M, true);
	mmu_slot_update_disallow(&slot, 3 * 512, PG_LEVEL_2M, 1);
	assert_false(mmu_slot_may_promote(&slot, 512, PG_LEVEL_2M));
	mmu_slot_clear_mixed(&slot, 512, 512, PG_LEVEL_2M);
	assert_false(mmu_slot_may_promote(&slot, 512, PG_LEVEL_2M));
	mmu_slot_clear_mixed(&slot, 512, 4 * 512, PG_LEVEL_2M);
	for (gfn_t gfn = 512; gfn < 6 * 512; gfn += 512)
		assert_int_equal(mmu_slot_may_promote(&slot, gfn, PG_LEVEL_2M), gfn < 3 * 512);
	assert_true(mmu_slot_test_guest_inhibit(&slot, 512, PG_LEVEL_2M));
	mmu_slot_destroy(&slot);
	/* Gfns and indexes that differ modulo 1G allow 2M. */
	assert_int_equal(mmu_slot_init(&slot, 0, 2 * 512 * 512, 512), 0);
	assert_true(mmu_slot_may_promote(&slot, 0, PG_LEVEL_2M));
	assert_false(mmu_slot_may_promote(&slot, 0, PG_LEVEL_1G));
	mmu_slot_destroy(&slot);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(row5_slot_alignment),
		cmocka_unit_test(row6_offset_mismatch),
		cmocka_unit_test(row15_bits_survive),
		cmocka_unit_test(row14_inhibit_is_one_way),
		cmocka_unit_test(promotion_clears_inhibit),
		cmocka_unit_test(may_promote),
		cmocka_unit_test(huge_slot),
		cmocka_unit_test(topup_failure),
		cmocka_unit_test(recycled_tables_are_zero),
		cmocka_unit_test(row72_invalidate),
		cmocka_unit_test(row73_nested),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
