/* SPDX-License-Identifier: MIT */
/* References to pages: who holds what, and memory that outlives its file for them. */
#include "folio_rig.h"

static const struct gmem_config kinds[] = {
	{.size = 4 * SIZE_2M, .backing = GMEM_HUGETLB_2M, .init_shared = true},
	{.size = 4 * SIZE_2M,
	 .backing = GMEM_HUGETLB_2M,
	 .init_shared = true,
	 .folio_refs = GMEM_REFS_COUNTED},
	{.size = 4 * SIZE_2M, .backing = GMEM_THP, .init_shared = true},
	{.size = 4 * SIZE_2M, .backing = GMEM_4K, .init_shared = true},
	{.size = 4 * SIZE_1G, .backing = GMEM_HUGETLB_1G, .init_shared = true},
	{.size = 4 * SIZE_1G,
	 .backing = GMEM_HUGETLB_1G,
	 .init_shared = true,
	 .folio_refs = GMEM_REFS_COUNTED},
};

/* Row 81: the first page that somebody holds is found, once for each time it was held. */
static void first_ref(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		u64 n = addr_to_fn(kinds[i].size), held[] = {n / 4 + 3, n / 4 + 3, n - 1};
		struct folio_rig r;

		rig_make(&r, kinds[i], 6 * SIZE_1G, 0, NO_BUGS);
		assert_int_equal(gmem_folio_first_ref(&r.f, 0, n), n);
		for (size_t j = 0; j < ARRAY_SIZE(held); j++) {
			assert_int_equal(rig_get(&r, held[j]), 0);
			assert_int_equal(gmem_folio_ref(&r.f, held[j]), 0);
		}
		assert_int_equal(gmem_folio_first_ref(&r.f, 0, n), held[0]);
		assert_int_equal(gmem_folio_first_ref(&r.f, held[0], held[0] + 1), held[0]);
		assert_int_equal(gmem_folio_first_ref(&r.f, held[0] + 1, n), n - 1);
		assert_int_equal(gmem_folio_first_ref(&r.f, held[0] + 1, n - 1), n - 1);
		assert_false(gmem_folio_unref(&r.f, held[0]));
		assert_int_equal(gmem_folio_first_ref(&r.f, 0, n), held[0]);
		assert_false(gmem_folio_unref(&r.f, held[0]));
		assert_int_equal(gmem_folio_first_ref(&r.f, 0, n), n - 1);
		assert_false(gmem_folio_unref(&r.f, n - 1));
		assert_int_equal(gmem_folio_first_ref(&r.f, 0, n), n);
		rig_end(&r, 0);
	}
}

/*
 * Row 92: a file ends while pages of two huge pages are held. All else goes back at once, each of
 * these with its last reference, and the last of all says so.
 */
static void last_unref(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		u64 n = addr_to_fn(kinds[i].size), unit = n / 4;
		u64 piece = kinds[i].backing == GMEM_4K ? 1 : unit;
		struct folio_rig r;

		rig_make(&r, kinds[i], 6 * SIZE_1G, 0, NO_BUGS);
		for (u64 at = 0; at < n; at += unit)
			assert_int_equal(rig_get(&r, at + 3), 0);
		assert_int_equal(gmem_folio_ref(&r.f, 3), 0);
		assert_int_equal(gmem_folio_ref(&r.f, 3), 0);
		assert_int_equal(gmem_folio_ref(&r.f, 2 * unit + 3), 0);
		assert_false(gmem_folio_release(&r.f));
		assert_int_equal(rig_stats(&r).frames, 2 * piece);
		assert_int_equal(r.host->used[FRAME_GUEST], 2 * piece);
		assert_false(gmem_folio_unref(&r.f, 3));
		assert_int_equal(rig_stats(&r).frames, 2 * piece);
		if (r.pool)
			assert_int_equal(hugetlb_stats(r.pool).free, 2);
		assert_false(gmem_folio_unref(&r.f, 3));
		assert_int_equal(rig_stats(&r).frames, piece);
		assert_true(gmem_folio_unref(&r.f, 2 * unit + 3));
		assert_int_equal(host_frames_used(r.host), r.host->used[FRAME_HUGETLB]);
		gmem_folios_destroy(&r.f);
		gmem_attrs_destroy(&r.attrs);
		sync_rcu_barrier();
		if (r.pool) {
			assert_int_equal(hugetlb_stats(r.pool).free, 4);
			assert_int_equal(hugetlb_stats(r.pool).reserved, 0);
			hugetlb_pool_destroy(r.pool);
		}
		assert_int_equal(host_frames_used(r.host), 0);
		host_destroy(r.host);
	}
}

/* A huge page that is held past its file's end, and failed meanwhile, is broken when it comes back. */
static void failed_and_held(void **state)
{
	struct folio_rig r;

	(void)state;
	rig_make(&r, kinds[0], SIZE_1G, 0, NO_BUGS);
	assert_int_equal(rig_get(&r, 3), 0);
	assert_int_equal(gmem_folio_ref(&r.f, 3), 0);
	gmem_folio_fail(&r.f, 3, 1);
	assert_false(gmem_folio_release(&r.f));
	assert_int_equal(hugetlb_stats(r.pool).broken, 0);
	assert_true(gmem_folio_unref(&r.f, 3));
	assert_int_equal(hugetlb_stats(r.pool).broken, 1);
	gmem_folios_destroy(&r.f);
	gmem_attrs_destroy(&r.attrs);
	hugetlb_pool_destroy(r.pool);
	assert_int_equal(host_frames_used(r.host), PAGES_2M);
	host_destroy(r.host);
}

#ifdef SEPTUM_CHECK
/* A small folio has its count; a table beside the folios needs memory at the first reference. */
static void counts_need_memory(void **state)
{
	struct folio_rig r;

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		bool has_count =
			kinds[i].folio_refs == GMEM_REFS_SPLIT && kinds[i].backing != GMEM_4K;

		rig_make(&r, kinds[i], SIZE_1G, 0, NO_BUGS);
		assert_int_equal(rig_get(&r, 3), 0);
		assert_int_equal(rig_get(&r, 4), 0);
		host_fail_alloc_at(r.host, 1);
		assert_int_equal(gmem_folio_ref(&r.f, 3), has_count ? 0 : -ENOMEM);
		host_fail_alloc_at(r.host, 0);
		if (!has_count)
			assert_int_equal(gmem_folio_ref(&r.f, 3), 0);
		/* One table counts for the block. */
		host_fail_alloc_at(r.host, 1);
		assert_int_equal(gmem_folio_ref(&r.f, 4), 0);
		host_fail_alloc_at(r.host, 0);
		assert_false(gmem_folio_unref(&r.f, 3));
		assert_false(gmem_folio_unref(&r.f, 4));
		rig_end(&r, 0);
	}
}
#endif

/* ---- unrefs race with the release ------------------------------------------------------------*/
#define HOLDERS 3

struct holder {
	struct folio_rig *r;
	u64 first, nr, step;
	u32 *last; /* how often somebody heard that he was the last */
	u32 *go;
};

static void let_go(void *arg)
{
	struct holder *h = arg;

	while (!sync_load_acquire(h->go))
		sync_relax();
	for (u64 i = 0; i < h->nr; i++)
		if (gmem_folio_unref(&h->r->f, h->first + i * h->step)) {
			sync_fetch_add(h->last, 1);
			gmem_folios_destroy(&h->r->f);
		}
}

/* However unrefs and the release meet, exactly one is the last, and everything has gone back. */
static void unrefs_race_with_release(void **state)
{
	(void)state;
	for (u32 round = 0; round < 40 * 4; round++) {
		struct gmem_config cfg = kinds[round % 4];
		struct sync_thread thread[HOLDERS];
		struct holder h[HOLDERS];
		struct folio_rig r;
		u32 last = 0, go = 0;

		rig_make(&r, cfg, SIZE_1G, 0, NO_BUGS);
		for (u64 t = 0; t < HOLDERS; t++) {
			h[t] = (struct holder){.r = &r,
					       .first = t,
					       .nr = 8,
					       .step = 256,
					       .last = &last,
					       .go = &go};
			for (u64 i = 0; i < 8; i++) {
				assert_int_equal(rig_get(&r, t + i * 256), 0);
				assert_int_equal(gmem_folio_ref(&r.f, t + i * 256), 0);
			}
			assert_int_equal(sync_thread_create(&thread[t], let_go, &h[t]), 0);
		}
		sync_store_release(&go, 1); /* pairs with let_go() */
		if (gmem_folio_release(&r.f)) {
			sync_fetch_add(&last, 1);
			gmem_folios_destroy(&r.f);
		}
		for (u64 t = 0; t < HOLDERS; t++)
			sync_thread_join(&thread[t]);
		assert_int_equal(last, 1);
		assert_int_equal(r.host->used[FRAME_GUEST], 0);
		gmem_attrs_destroy(&r.attrs);
		if (r.pool)
			hugetlb_pool_destroy(r.pool);
		assert_int_equal(host_frames_used(r.host), 0);
		host_destroy(r.host);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_ref),
		cmocka_unit_test(last_unref),
		cmocka_unit_test(failed_and_held),
#ifdef SEPTUM_CHECK
		cmocka_unit_test(counts_need_memory),
#endif
		cmocka_unit_test(unrefs_race_with_release),
	};

	return cmocka_run_group_tests(tests, rig_setup, NULL);
}
