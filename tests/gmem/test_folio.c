/* SPDX-License-Identifier: MIT */
/* Folios: what backs a file, which folios that is in, and what happens to memory that goes. */
#include "folio_rig.h"

static enum pg_level folio_at(struct folio_rig *r, u64 index)
{
	return gmem_folio_lookup(&r->f, index).folio;
}

/* Nothing is held until it is used; then a whole huge page is, with frames in a row. */
static void first_use(void **state)
{
	const struct gmem_config cfgs[] = {
		{.size = 4 * SIZE_2M, .backing = GMEM_THP},
		{.size = 4 * SIZE_2M, .backing = GMEM_HUGETLB_2M},
		{.size = 2 * SIZE_1G, .backing = GMEM_HUGETLB_1G},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cfgs); i++) {
		u64 n = pages_per_level(rig_unit(&cfgs[i])), first, nr;
		struct gmem_page page;
		struct folio_rig r;

		rig_make(&r, cfgs[i], 4 * SIZE_1G, 0, NO_BUGS);
		page = gmem_folio_lookup(&r.f, n + 7);
		assert_int_equal(page.folio, PG_LEVEL_NONE);
		assert_int_equal(rig_stats(&r).frames, 0);
		gmem_folio_unit(&r.f, n + 7, &first, &nr);
		assert_int_equal(first, n);
		assert_int_equal(nr, n);
		assert_int_equal(gmem_folio_get(&r.f, &r.attrs, n + 7, &page), 0);
		assert_int_equal(page.folio, rig_unit(&cfgs[i]));
		assert_int_equal(page.huge, rig_unit(&cfgs[i]));
		assert_false(page.failed);
		assert_int_equal(page.pfn % n, 7);
		assert_int_equal(gmem_folio_lookup(&r.f, 2 * n - 1).pfn, page.pfn + n - 8);
		assert_int_equal(folio_at(&r, n - 1), PG_LEVEL_NONE);
		assert_int_equal(folio_at(&r, n), rig_unit(&cfgs[i]));
		assert_int_equal(rig_stats(&r).frames, n);
		assert_int_equal(rig_stats(&r).huge_pages, 1);
		assert_int_equal(r.host->used[FRAME_GUEST], n);
		assert_int_equal(rig_get(&r, n), 0);
		assert_int_equal(rig_stats(&r).frames, n);
		rig_end(&r, 0);
	}
}

/* A file on 4K pages, the short end of a THP-like one, and one without a free 2M block get 4K pages. */
static void small_pages(void **state)
{
	struct gmem_config cfg = {.size = 2 * SIZE_2M + SIZE_4K, .backing = GMEM_THP};
	struct folio_rig r;
	u64 first, nr;
	pfn_t hog[511];

	(void)state;
	rig_make(&r, cfg, SIZE_1G, 0, NO_BUGS);
	assert_int_equal(rig_get(&r, 1024), 0);
	assert_int_equal(folio_at(&r, 1024), PG_LEVEL_4K);
	assert_int_equal(rig_get(&r, 600), 0);
	assert_int_equal(folio_at(&r, 600), PG_LEVEL_2M);
	/* One block is divided and one the file's: take the rest. */
	for (int i = 0; i < 510; i++)
		assert_int_equal(host_alloc(r.host, PG_LEVEL_2M, FRAME_OTHER, &hog[i]), 0);
	assert_int_equal(rig_get(&r, 3), 0);
	assert_int_equal(folio_at(&r, 3), PG_LEVEL_4K);
	assert_int_equal(gmem_folio_lookup(&r.f, 3).huge, PG_LEVEL_4K);
	assert_int_equal(folio_at(&r, 4), PG_LEVEL_NONE);
	gmem_folio_unit(&r.f, 3, &first, &nr);
	assert_int_equal(first, 3);
	assert_int_equal(nr, 1);
	assert_int_equal(rig_stats(&r).frames, 514);
	assert_int_equal(rig_stats(&r).huge_pages, 1);
	rig_expect_folios(&r, 2, 1, 0);
	/* A block in 4K pages stays that until all of it has gone. */
	host_free(r.host, hog[0], PG_LEVEL_2M, FRAME_OTHER);
	assert_int_equal(rig_get(&r, 4), 0);
	assert_int_equal(folio_at(&r, 4), PG_LEVEL_4K);
	gmem_folio_drop(&r.f, 0, 512);
	assert_int_equal(rig_get(&r, 4), 0);
	assert_int_equal(folio_at(&r, 4), PG_LEVEL_2M);
	for (int i = 1; i < 510; i++)
		host_free(r.host, hog[i], PG_LEVEL_2M, FRAME_OTHER);
	rig_end(&r, 0);

	cfg.backing = GMEM_4K;
	rig_make(&r, cfg, SIZE_1G, 0, NO_BUGS);
	assert_int_equal(rig_get(&r, 5), 0);
	assert_int_equal(folio_at(&r, 5), PG_LEVEL_4K);
	assert_int_equal(rig_stats(&r).huge_pages, 1);
	assert_int_equal(gmem_folio_lock_hash(&r.f, 0), gmem_folio_lock_hash(&r.f, 511));
	rig_end(&r, 0);
}

/* Row 88: share 4K of 1G. Uniform: 262,144 small folios at the cost of 4095 descriptor pages. */
static void share_4k_of_1g(void **state)
{
	struct gmem_config cfg = {.size = SIZE_1G, .backing = GMEM_HUGETLB_1G};
	struct folio_rig r;
	pfn_t pfn;

	(void)state;
	for (int uniform = 0; uniform < 2; uniform++) {
		cfg.folio_split = uniform ? GMEM_SPLIT_UNIFORM : GMEM_SPLIT_NONUNIFORM;
		rig_make(&r, cfg, 2 * SIZE_1G, 0, NO_BUGS);
		assert_int_equal(rig_get(&r, 0), 0);
		pfn = gmem_folio_lookup(&r.f, 0).pfn;
		assert_int_equal(rig_convert(&r, 5 * 512 + 9, 1, false), 0);
		if (uniform)
			rig_expect_folios(&r, 262144, 0, 0);
		else
			rig_expect_folios(&r, 512, 511, 0);
		assert_int_equal(folio_at(&r, 5 * 512), PG_LEVEL_4K);
		assert_int_equal(folio_at(&r, 5 * 512 + 511), PG_LEVEL_4K);
		assert_int_equal(folio_at(&r, 4 * 512), uniform ? PG_LEVEL_4K : PG_LEVEL_2M);
		assert_int_equal(folio_at(&r, 262143), uniform ? PG_LEVEL_4K : PG_LEVEL_2M);
		assert_int_equal(gmem_folio_lookup(&r.f, 5 * 512).huge, PG_LEVEL_1G);
		assert_int_equal(gmem_folio_lookup(&r.f, 262143).pfn, pfn + 262143);
		assert_int_equal(rig_stats(&r).folio_splits, 1);
		assert_int_equal(rig_stats(&r).vmemmap_restored, 4095);
		assert_int_equal(r.host->used[FRAME_VMEMMAP], 4095);
		assert_int_equal(rig_convert(&r, 5 * 512 + 9, 1, true), 0);
		rig_expect_folios(&r, 0, 0, 1);
		assert_int_equal(folio_at(&r, 5 * 512 + 9), PG_LEVEL_1G);
		assert_int_equal(rig_stats(&r).folio_merges, 1);
		assert_int_equal(r.host->used[FRAME_VMEMMAP], 0);
		rig_end(&r, 0);
	}
}

/* Row 90: of two shared pages one becomes private: no merge; the other too: merge. */
static void merge_only_when_none_shared(void **state)
{
	const struct gmem_config cfgs[] = {
		{.size = SIZE_2M, .backing = GMEM_THP},
		{.size = SIZE_2M, .backing = GMEM_HUGETLB_2M},
		{.size = SIZE_1G, .backing = GMEM_HUGETLB_1G, .folio_split = GMEM_SPLIT_UNIFORM},
		{.size = SIZE_1G, .backing = GMEM_HUGETLB_1G},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cfgs); i++) {
		u64 n = addr_to_fn(cfgs[i].size), a = 3, b = n - 2;
		enum pg_level level = rig_unit(&cfgs[i]);
		struct folio_rig r;

		rig_make(&r, cfgs[i], 2 * SIZE_1G, 0, NO_BUGS);
		assert_int_equal(rig_get(&r, 0), 0);
		assert_int_equal(rig_convert(&r, a, 1, false), 0);
		assert_int_equal(rig_convert(&r, b, 1, false), 0);
		assert_int_equal(folio_at(&r, a), PG_LEVEL_4K);
		assert_int_equal(folio_at(&r, b), PG_LEVEL_4K);
		assert_int_equal(rig_stats(&r).folio_splits, 1);
		assert_int_equal(rig_convert(&r, a, 1, true), 0);
		assert_int_equal(rig_stats(&r).folio_merges, 0);
		assert_int_equal(folio_at(&r, b), PG_LEVEL_4K);
		/* Nonuniform: its block has no shared page now. */
		assert_int_equal(folio_at(&r, a), i == 3 ? PG_LEVEL_2M : PG_LEVEL_4K);
		assert_int_equal(rig_convert(&r, b, 1, true), 0);
		assert_int_equal(rig_stats(&r).folio_merges, 1);
		assert_int_equal(folio_at(&r, a), level);
		assert_int_equal(folio_at(&r, b), level);
		rig_end(&r, 0);
	}
}

/* Sharing and taking back a whole file changes each huge page once, and costs 7 pages for each. */
static void all_at_once(void **state)
{
	struct gmem_config cfg = {.size = 8 * SIZE_2M, .backing = GMEM_HUGETLB_2M};
	struct folio_rig r;

	(void)state;
	rig_make(&r, cfg, SIZE_1G, 0, NO_BUGS);
	for (u64 i = 0; i < 8; i += 2)
		assert_int_equal(rig_get(&r, i * 512), 0);
	assert_int_equal(rig_convert(&r, 0, 8 * 512, false), 0);
	rig_expect_folios(&r, 4 * 512, 0, 0);
	assert_int_equal(rig_stats(&r).vmemmap_restored, 4 * 7);
	assert_int_equal(hugetlb_stats(r.pool).vmemmap_saved_bytes, 4 * 7 * 4096);
	assert_int_equal(rig_convert(&r, 0, 8 * 512, true), 0);
	rig_expect_folios(&r, 0, 4, 0);
	assert_int_equal(rig_stats(&r).folio_splits, 4);
	assert_int_equal(rig_stats(&r).folio_merges, 4);
	rig_end(&r, 0);
}

/* References that are counted beside folios leave these alone, whatever is shared. */
static void counted_never_splits(void **state)
{
	struct gmem_config cfg = {
		.size = SIZE_1G, .backing = GMEM_HUGETLB_1G, .folio_refs = GMEM_REFS_COUNTED};
	struct folio_rig r;

	(void)state;
	rig_make(&r, cfg, 2 * SIZE_1G, 0, NO_BUGS);
	assert_int_equal(rig_convert(&r, 77, 1, false), 0);
	assert_int_equal(rig_get(&r, 0), 0);
	assert_int_equal(rig_convert(&r, 1000, 5000, false), 0);
	rig_expect_folios(&r, 0, 0, 1);
	assert_int_equal(rig_stats(&r).folio_splits, 0);
	assert_int_equal(r.host->used[FRAME_VMEMMAP], 0);
	assert_int_equal(gmem_folio_ref(&r.f, 1000), 0);
	assert_int_equal(gmem_folio_first_ref(&r.f, 0, PAGES_1G), 1000);
	assert_false(gmem_folio_unref(&r.f, 1000));
	rig_end(&r, 0);
}

/* A huge page that is born where pages are shared is taken apart at once; these pages read as zero. */
static void born_shared(void **state)
{
	struct gmem_config cfg = {.size = SIZE_1G, .backing = GMEM_HUGETLB_1G};
	struct folio_rig r;

	(void)state;
	rig_make(&r, cfg, 2 * SIZE_1G, 0, NO_BUGS);
	assert_int_equal(rig_get(&r, 0), 0);
	for (u64 i = 0; i < 2048; i++)
		rig_write(&r, i, 1000 + i);
	gmem_folio_drop(&r.f, 0, PAGES_1G);
	assert_int_equal(rig_stats(&r).frames, 0);
	assert_int_equal(rig_convert(&r, 600, 2, false), 0);
	assert_int_equal(rig_get(&r, 9), 0);
	rig_expect_folios(&r, 512, 511, 0);
	assert_int_equal(rig_stats(&r).vmemmap_restored, 4095);
	assert_int_equal(rig_read(&r, 600), 0);
	assert_int_equal(rig_read(&r, 601), 0);
	/* Private pages are the guest's to zero. */
	assert_int_equal(rig_read(&r, 602), 1602);
	rig_end(&r, 0);
}

/* Limits name the runs of pages whose folios shrink, to what size, in the whole huge page. */
static void limits(void **state)
{
	struct gmem_config cfg = {.size = 2 * SIZE_1G, .backing = GMEM_HUGETLB_1G};
	const struct {
		u64 at, nr;
		enum pg_level level;
	} want[] = {{0, 5 * 512, PG_LEVEL_2M},
		    {5 * 512, 2 * 512, PG_LEVEL_4K},
		    {7 * 512, PAGES_1G - 7 * 512, PG_LEVEL_2M}};
	struct gmem_plan plan;
	struct folio_rig r;
	enum pg_level level;
	u64 at = 0, nr;

	(void)state;
	rig_make(&r, cfg, 4 * SIZE_1G, 0, NO_BUGS);
	assert_int_equal(rig_get(&r, 0), 0);
	plan = (struct gmem_plan){.f = &r.f, .index = 6 * 512 - 1, .end = 6 * 512 + 1};
	plan.next = gmem_attrs_prepare(&r.attrs, plan.index, 2, false);
	assert_true(gmem_plan_splits(&plan));
	for (size_t i = 0; i < ARRAY_SIZE(want); i++, at += nr) {
		assert_true(gmem_plan_limit(&plan, &at, &nr, &level));
		assert_int_equal(at, want[i].at);
		assert_int_equal(nr, want[i].nr);
		assert_int_equal(level, want[i].level);
	}
	assert_false(gmem_plan_limit(&plan, &at, &nr, &level));
	gmem_attrs_abort(plan.next);

	/* Of a page that is apart already only the next block shrinks; what grows isn't limited. */
	assert_int_equal(rig_convert(&r, 6 * 512 - 1, 2, false), 0);
	plan.index = 20 * 512;
	plan.end = plan.index + 1;
	plan.next = gmem_attrs_prepare(&r.attrs, plan.index, 1, false);
	at = 0;
	assert_true(gmem_plan_splits(&plan));
	assert_true(gmem_plan_limit(&plan, &at, &nr, &level));
	assert_int_equal(at, 20 * 512);
	assert_int_equal(nr, 512);
	assert_int_equal(level, PG_LEVEL_4K);
	at += nr;
	assert_false(gmem_plan_limit(&plan, &at, &nr, &level));
	gmem_attrs_abort(plan.next);
	plan.index = 6 * 512 - 1;
	plan.end = 6 * 512 + 1;
	plan.next = gmem_attrs_prepare(&r.attrs, plan.index, 2, true);
	at = 0;
	assert_false(gmem_plan_splits(&plan));
	assert_false(gmem_plan_limit(&plan, &at, &nr, &level));
	gmem_attrs_abort(plan.next);
	rig_end(&r, 0);
}

/* A plan that was run and is taken back leaves folios as they were, in both directions. */
static void undo(void **state)
{
	struct gmem_config cfg = {.size = SIZE_1G, .backing = GMEM_HUGETLB_1G};
	struct gmem_plan plan;
	struct folio_rig r;

	(void)state;
	rig_make(&r, cfg, 2 * SIZE_1G, 0, NO_BUGS);
	assert_int_equal(rig_get(&r, 0), 0);
	for (int shared = 0; shared < 2; shared++) {
		plan = (struct gmem_plan){.f = &r.f, .index = 0, .end = PAGES_1G};
		plan.next = gmem_attrs_prepare(&r.attrs, 0, PAGES_1G, shared);
		assert_int_equal(gmem_plan_prepare(&plan), 0);
		assert_int_equal(gmem_plan_run(&plan), 0);
		if (shared)
			rig_expect_folios(&r, 0, 0, 1);
		else
			rig_expect_folios(&r, 262144, 0, 0);
		gmem_plan_undo(&plan);
		gmem_plan_done(&plan);
		gmem_attrs_abort(plan.next);
		if (shared) {
			rig_expect_folios(&r, 1024, 510, 0);
			assert_int_equal(folio_at(&r, 700), PG_LEVEL_4K);
			assert_int_equal(folio_at(&r, 1500), PG_LEVEL_2M);
			assert_int_equal(r.host->used[FRAME_VMEMMAP], 4095);
			continue;
		}
		rig_expect_folios(&r, 0, 0, 1);
		assert_int_equal(r.host->used[FRAME_VMEMMAP], 0);
		assert_int_equal(rig_convert(&r, 600, 1, false), 0);
		assert_int_equal(rig_convert(&r, 100, 1, false), 0);
	}
	rig_end(&r, 0);
}

/* A plan that was prepared and not run has changed nothing, and gives everything back. */
static void prepared_and_dropped(void **state)
{
	struct gmem_config cfg = {.size = 3 * SIZE_2M, .backing = GMEM_HUGETLB_2M};
	struct gmem_plan plan;
	struct folio_rig r;
	u64 frames;

	(void)state;
	rig_make(&r, cfg, SIZE_1G, 0, NO_BUGS);
	for (u64 i = 0; i < 3; i++)
		assert_int_equal(rig_get(&r, i * 512), 0);
	frames = host_frames_used(r.host);
	plan = (struct gmem_plan){.f = &r.f, .index = 10, .end = 1400};
	plan.next = gmem_attrs_prepare(&r.attrs, 10, 1390, false);
	assert_int_equal(gmem_plan_prepare(&plan), 0);
	rig_expect_folios(&r, 0, 3, 0);
	assert_int_equal(host_frames_used(r.host), frames + 3 * 7);
	gmem_plan_done(&plan);
	gmem_attrs_abort(plan.next);
	assert_int_equal(host_frames_used(r.host), frames);
	rig_expect_folios(&r, 0, 3, 0);
	rig_end(&r, 0);
}

/* ---- allocations that fail -------------------------------------------------------------------*/
#ifdef SEPTUM_CHECK
static int convert_failing_at(struct folio_rig *r, u64 index, u64 nr, bool to_private, u64 n)
{
	int err;

	host_fail_alloc_at(r->host, n);
	err = rig_convert(r, index, nr, to_private);
	host_fail_alloc_at(r->host, 0);
	return err;
}

/*
 * Row 91: whichever allocation fails, at whichever huge page, before the change or in the middle of
 * it: folios, descriptors and contents are as before. With all of them there it succeeds.
 */
static void nth_allocation_fails(void **state)
{
	struct gmem_config cfgs[] = {
		{.size = 4 * SIZE_2M, .backing = GMEM_HUGETLB_2M},
		{.size = 4 * SIZE_2M, .backing = GMEM_THP},
	};

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_SIZE(cfgs); i++) {
		struct gmem_config cfg = cfgs[i / 2];
		struct folio_rig r;
		u64 n = 1, frames;

		cfg.restructure = i % 2 ? GMEM_RESTRUCTURE_LATE : GMEM_RESTRUCTURE_PREALLOC;
		rig_make(&r, cfg, SIZE_1G, 0, NO_BUGS);
		for (u64 unit = 0; unit < 4; unit++)
			assert_int_equal(rig_get(&r, unit * 512), 0);
		/* The second is apart already. */
		assert_int_equal(rig_convert(&r, 700, 1, false), 0);
		for (u64 at = 0; at < 2048; at += 100)
			rig_write(&r, at, at + 1);
		frames = host_frames_used(r.host);
		for (; convert_failing_at(&r, 200, 1700, false, n); n++) {
			rig_expect_folios(&r, 512, 3, 0);
			assert_int_equal(host_frames_used(r.host), frames);
			assert_int_equal(folio_at(&r, 700), PG_LEVEL_4K);
			assert_int_equal(folio_at(&r, 200), PG_LEVEL_2M);
			assert_int_equal(gmem_attrs_nr_ranges(&r.attrs), 3);
			for (u64 at = 0; at < 2048; at += 100)
				assert_int_equal(rig_read(&r, at), at + 1);
		}
		/* Counts for three huge pages at least, and where descriptors were saved 21 frames. */
		assert_true(n > (cfg.backing == GMEM_THP ? 3U : 24U));
		rig_expect_folios(&r, 2048, 0, 0);
		assert_int_equal(rig_read(&r, 200), 0);
		assert_int_equal(rig_read(&r, 100), 101);
		/* Putting together needs attributes alone: their failure is the last. */
		for (n = 1; convert_failing_at(&r, 200, 1700, true, n); n++)
			rig_expect_folios(&r, 2048, 0, 0);
		rig_expect_folios(&r, 0, 4, 0);
		rig_end(&r, 0);
	}
}

/* The same where a huge page is born in parts: -ENOMEM, and nothing is held. */
static void nth_allocation_fails_at_birth(void **state)
{
	const struct gmem_config cfgs[] = {
		{.size = SIZE_2M, .backing = GMEM_HUGETLB_2M, .init_shared = true},
		{.size = SIZE_2M, .backing = GMEM_4K, .init_shared = true},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cfgs); i++) {
		struct folio_rig r;
		u64 n = 1;

		rig_make(&r, cfgs[i], SIZE_1G, 0, NO_BUGS);
		for (;; n++) {
			int err;

			host_fail_alloc_at(r.host, n);
			err = rig_get(&r, 3);
			host_fail_alloc_at(r.host, 0);
			if (!err)
				break;
			assert_int_equal(err, -ENOMEM);
			assert_int_equal(rig_stats(&r).frames, 0);
			assert_int_equal(r.host->used[FRAME_GUEST], 0);
			assert_int_equal(r.host->used[FRAME_VMEMMAP], 0);
			if (r.pool)
				assert_int_equal(hugetlb_stats(r.pool).reserved, 1);
		}
		assert_int_equal(n, i ? 2 : 9); /* a frame; or counts and 7 descriptor pages */
		assert_int_equal(folio_at(&r, 3), PG_LEVEL_4K);
		rig_end(&r, 0);
	}
}

/* Planted: what was split before the failure stays split; without the bug it doesn't. */
static void planted_partial_split(void **state)
{
	struct gmem_config cfg = {.size = 3 * SIZE_2M,
				  .backing = GMEM_HUGETLB_2M,
				  .restructure = GMEM_RESTRUCTURE_LATE};
	struct folio_rig r;

	(void)state;
	for (int bug = 0; bug < 2; bug++) {
		rig_make(&r, cfg, SIZE_1G, 0, bug ? bug_set_of(BUG_GMEM_PARTIAL_SPLIT) : NO_BUGS);
		for (u64 i = 0; i < 3; i++)
			assert_int_equal(rig_get(&r, i * 512), 0);
		/* Attributes take three, each huge page one and seven: in the third. */
		assert_int_equal(convert_failing_at(&r, 0, 1536, false, 25), -ENOMEM);
		rig_expect_folios(&r, bug ? 1024 : 0, bug ? 1 : 3, 0);
		rig_end(&r, 0);
	}
}
#endif

/* ---- memory that goes ------------------------------------------------------------------------*/

/* Whole huge pages inside a hole go; of one that sticks out pages are zeroed, and stay. */
static void drop(void **state)
{
	struct gmem_config cfg = {.size = 4 * SIZE_2M, .backing = GMEM_HUGETLB_2M};
	struct folio_rig r;
	pfn_t pfn;

	(void)state;
	rig_make(&r, cfg, SIZE_1G, 0, NO_BUGS);
	for (u64 i = 0; i < 4; i++)
		assert_int_equal(rig_get(&r, i * 512), 0);
	for (u64 i = 0; i < 2048; i++)
		rig_write(&r, i, i + 1);
	assert_int_equal(rig_convert(&r, 700, 1, false), 0);
	pfn = gmem_folio_lookup(&r.f, 0).pfn;
	gmem_folio_drop(&r.f, 300, 1600);
	assert_int_equal(folio_at(&r, 600), PG_LEVEL_NONE);
	assert_int_equal(folio_at(&r, 1100), PG_LEVEL_NONE);
	assert_int_equal(folio_at(&r, 0), PG_LEVEL_2M);
	assert_int_equal(gmem_folio_lookup(&r.f, 0).pfn, pfn);
	assert_int_equal(rig_read(&r, 299), 300);
	assert_int_equal(rig_read(&r, 300), 0);
	assert_int_equal(rig_read(&r, 1599), 0);
	assert_int_equal(rig_read(&r, 1600), 1601);
	assert_int_equal(rig_stats(&r).huge_pages, 2);
	assert_int_equal(r.host->used[FRAME_VMEMMAP], 0);
	assert_int_equal(hugetlb_stats(r.pool).reserved, 2);
	/* What is shared is found apart again. */
	assert_int_equal(rig_get(&r, 512), 0);
	assert_int_equal(folio_at(&r, 512), PG_LEVEL_4K);
	rig_end(&r, 0);
}

/* A file that ends earlier needs less of the pool. */
static void truncate_unreserves(void **state)
{
	struct gmem_config cfg = {.size = 4 * SIZE_2M, .backing = GMEM_HUGETLB_2M};
	struct folio_rig r;

	(void)state;
	rig_make(&r, cfg, SIZE_1G, 0, NO_BUGS);
	assert_int_equal(rig_get(&r, 0), 0);
	assert_int_equal(rig_get(&r, 1536), 0);
	assert_int_equal(hugetlb_stats(r.pool).reserved, 2);
	gmem_folio_drop(&r.f, 1024, 2048);
	assert_int_equal(hugetlb_stats(r.pool).reserved, 3);
	gmem_folio_truncate(&r.f, 1024);
	assert_int_equal(hugetlb_stats(r.pool).reserved, 1);
	assert_int_equal(rig_get(&r, 512), 0);
	assert_int_equal(hugetlb_stats(r.pool).reserved, 0);
	rig_end(&r, 0);
}

/* A second file finds what the first hasn't reserved, and no more. */
static void exhaustion(void **state)
{
	struct gmem_config cfg = {.size = 4 * SIZE_2M, .backing = GMEM_HUGETLB_2M}, second;
	struct gmem_folios f;
	struct folio_rig r;

	(void)state;
	rig_make(&r, cfg, SIZE_1G, 3, NO_BUGS);
	second = r.cfg;
	assert_int_equal(gmem_folios_init(&f, r.host, &second), -ENOMEM);
	second.size = 3 * SIZE_2M;
	assert_int_equal(gmem_folios_init(&f, r.host, &second), 0);
	for (u64 i = 0; i < 4; i++)
		assert_int_equal(rig_get(&r, i * 512), 0);
	assert_int_equal(hugetlb_stats(r.pool).free, 3);
	assert_true(gmem_folio_release(&f));
	gmem_folios_destroy(&f);
	assert_int_equal(hugetlb_stats(r.pool).reserved, 0);
	rig_end(&r, 0);
}

/* No block around a page that failed is reported; the page is, and keeps its frame to itself. */
static void failure_limits_lookups(void **state)
{
	struct gmem_config cfg = {.size = SIZE_1G, .backing = GMEM_HUGETLB_1G};
	struct gmem_page page;
	struct folio_rig r;

	(void)state;
	rig_make(&r, cfg, 3 * SIZE_1G, 1, NO_BUGS);
	assert_int_equal(rig_get(&r, 0), 0);
	for (u64 i = 0; i < 2000; i++)
		rig_write(&r, i, i + 1);
	gmem_folio_fail(&r.f, 600, 1);
	page = gmem_folio_lookup(&r.f, 600);
	assert_true(page.failed);
	assert_int_equal(page.huge, PG_LEVEL_4K);
	page = gmem_folio_lookup(&r.f, 601);
	assert_false(page.failed);
	assert_int_equal(page.folio, PG_LEVEL_4K);
	assert_int_equal(page.huge, PG_LEVEL_4K);
	page = gmem_folio_lookup(&r.f, 1024);
	assert_int_equal(page.folio, PG_LEVEL_2M);
	assert_int_equal(page.huge, PG_LEVEL_2M);
	assert_int_equal(rig_stats(&r).failed_pages, 1);
	gmem_folio_fail(&r.f, 600, 1);
	assert_int_equal(rig_stats(&r).failed_pages, 1);
	/* Neighbours keep their bytes, and are zeroed as ever; the failed page isn't touched. */
	gmem_folio_zero(&r.f, 512, 601);
	assert_int_equal(rig_read(&r, 599), 0);
	assert_int_equal(rig_read(&r, 600), 601);
	assert_int_equal(rig_read(&r, 601), 602);
	/* Its page leaves the file: nobody gets it again, and the file takes another. */
	page = gmem_folio_lookup(&r.f, 0);
	gmem_folio_drop(&r.f, 0, PAGES_1G);
	assert_int_equal(hugetlb_stats(r.pool).broken, 1);
	assert_int_equal(rig_get(&r, 600), 0);
	assert_int_not_equal(gmem_folio_lookup(&r.f, 0).pfn, page.pfn);
	assert_false(gmem_folio_lookup(&r.f, 600).failed);
	gmem_folio_drop(&r.f, 0, PAGES_1G);
	rig_end(&r, PAGES_1G);
}

/* Of a THP-like page, and of 4K pages, only the frames that failed are lost to the host. */
static void failure_costs_frames(void **state)
{
	struct gmem_config cfg = {.size = 2 * SIZE_2M, .backing = GMEM_THP};
	struct folio_rig r;
	pfn_t pfn, bad, other;

	(void)state;
	rig_make(&r, cfg, SIZE_1G, 0, NO_BUGS);
	assert_int_equal(rig_get(&r, 0), 0);
	gmem_folio_fail(&r.f, 5, 3);
	gmem_folio_fail(&r.f, 600, 1); /* nothing is there */
	bad = gmem_folio_lookup(&r.f, 5).pfn;
	assert_int_equal(rig_stats(&r).frames, 512);
	gmem_folio_drop(&r.f, 0, 1024);
	assert_int_equal(rig_stats(&r).frames, 0);
	assert_int_equal(r.host->used[FRAME_FAILED], 3);
	/* New memory in its place doesn't inherit the failure, not even when a page of it fails. */
	assert_int_equal(rig_get(&r, 0), 0);
	assert_false(gmem_folio_lookup(&r.f, 5).failed);
	gmem_folio_fail(&r.f, 9, 1);
	assert_false(gmem_folio_lookup(&r.f, 5).failed);
	assert_int_equal(rig_stats(&r).failed_pages, 4);
	other = gmem_folio_lookup(&r.f, 9).pfn;
	gmem_folio_drop(&r.f, 0, 1024);
	assert_int_equal(r.host->used[FRAME_GUEST], 0);
	for (u64 i = 0; i < PAGES_1G - 4; i++) {
		assert_int_equal(host_alloc(r.host, PG_LEVEL_4K, FRAME_OTHER, &pfn), 0);
		assert_true((pfn < bad || pfn > bad + 2) && pfn != other);
	}
	assert_int_equal(host_alloc(r.host, PG_LEVEL_4K, FRAME_OTHER, &pfn), -ENOMEM);
	for (u64 i = 0; i < PAGES_1G; i++)
		if ((i < bad || i > bad + 2) && i != other)
			host_free(r.host, i, PG_LEVEL_4K, FRAME_OTHER);
	rig_end(&r, 4);

	cfg.backing = GMEM_4K;
	rig_make(&r, cfg, SIZE_1G, 0, NO_BUGS);
	assert_int_equal(rig_get(&r, 7), 0);
	assert_int_equal(rig_get(&r, 8), 0);
	gmem_folio_fail(&r.f, 0, 8);
	assert_true(gmem_folio_lookup(&r.f, 7).failed);
	assert_false(gmem_folio_lookup(&r.f, 8).failed);
	assert_int_equal(rig_stats(&r).failed_pages, 1);
	rig_end(&r, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_use),
		cmocka_unit_test(small_pages),
		cmocka_unit_test(share_4k_of_1g),
		cmocka_unit_test(merge_only_when_none_shared),
		cmocka_unit_test(all_at_once),
		cmocka_unit_test(counted_never_splits),
		cmocka_unit_test(born_shared),
		cmocka_unit_test(limits),
		cmocka_unit_test(undo),
		cmocka_unit_test(prepared_and_dropped),
#ifdef SEPTUM_CHECK
		cmocka_unit_test(nth_allocation_fails),
		cmocka_unit_test(nth_allocation_fails_at_birth),
		cmocka_unit_test(planted_partial_split),
#endif
		cmocka_unit_test(drop),
		cmocka_unit_test(truncate_unreserves),
		cmocka_unit_test(exhaustion),
		cmocka_unit_test(failure_limits_lookups),
		cmocka_unit_test(failure_costs_frames),
	};

	return cmocka_run_group_tests(tests, rig_setup, NULL);
}
