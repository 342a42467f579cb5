/* SPDX-License-Identifier: MIT */
/*
 * The orders of a conversion's steps, what is allocated when, and what a failure loses: thread
 * 001's question, with a guest's leaves and bytes.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/sync.h"
#include "gmem/fake.h"

#define HUGE_PAGES 4
#define NR_PAGES (HUGE_PAGES * 512ULL)

static struct host *host;
static struct hugetlb_pool *pool;

/* A 2M pool with the vmemmap optimisation: taking a page apart needs 7 frames. */
static int setup(void **state)
{
	struct host_config cfg = {.memory_bytes = SIZE_1G, .lps = 1};
	u64 missing;

	(void)state;
	sync_thread_enter();
	return host_create(&cfg, &host) ||
	       hugetlb_pool_create(host, PG_LEVEL_2M, HUGE_PAGES, true, &pool, &missing);
}

static int teardown(void **state)
{
	u64 used;

	(void)state;
	hugetlb_pool_destroy(pool);
	used = host_frames_used(host);
	host_destroy(host);
	sync_rcu_barrier();
	sync_thread_leave();
	return used != 0;
}

static void make(struct fake_world *w, enum gmem_restructure restructure,
		 enum gmem_convert_order order, enum gmem_mapping_form form)
{
	struct gmem_config cfg = {.size = fn_to_addr(NR_PAGES),
				  .backing = GMEM_HUGETLB_2M,
				  .pool = pool,
				  .restructure = restructure,
				  .convert_order = order,
				  .mapping_form = form};

	fake_world_init(w, host, &cfg);
}

/* Maps everything as large as it goes, and writes each page. */
static struct fake *bind_and_fill(struct fake_world *w)
{
	struct fake *c = fake_bind(w, "a", 0, NR_PAGES, 32);

	for (u64 i = 0; i < NR_PAGES; i++) {
		assert_int_equal(fake_fault(c, i), 0);
		fake_write(c, i, 0x1000 + i);
	}
	return c;
}

/*
 * The three steps stand in the order that was asked for. Folios show what was done when commit
 * came.
 */
static void test_orders(void **state)
{
	(void)state;
	for (int order = 0; order <= GMEM_ORDER_FOLIO_ZAP; order++) {
		struct fake_world w;
		struct fake *c;

		make(&w, GMEM_RESTRUCTURE_PREALLOC, (enum gmem_convert_order)order,
		     GMEM_FORM_ORIGINAL);
		c = bind_and_fill(&w);
		w.watch_folio = true;
		w.keep_log = true;
		assert_int_equal(gmem_convert(w.file, 600, 1, false), 0);
		w.watch_folio = false;
		assert_string_equal(
			w.log,
			order == GMEM_ORDER_SPLIT_FOLIO_ZAP
				? "a.begin 512+512 2M; a.prepare 600+1 2M; "
				  "a.commit 600+1 4K; a.shared 600+1 4K; a.end 512+512 4K; "
			: order == GMEM_ORDER_ZAP_FOLIO
				? "a.begin 512+512 2M; a.prepare 600+1 2M; "
				  "a.commit 600+1 2M; a.shared 600+1 4K; a.end 512+512 4K; "
				: "a.begin 512+512 2M; a.prepare 600+1 4K; "
				  "a.commit 600+1 4K; a.shared 600+1 4K; a.end 512+512 4K; ");
		assert_int_equal(c->zapped, 1);
		fake_check(&w);
		fake_check_contents(&w, 1);
		fake_world_exit(&w);
	}
}

/* Row 89: the S-EPT split fails: the folio is as it was, in every order. */
static void test_split_fails(void **state)
{
	(void)state;
	for (int order = 0; order <= GMEM_ORDER_FOLIO_ZAP; order++) {
		for (u32 n = 1; n <= 2; n++) {
			struct fake_world w;
			struct fake *c;

			make(&w, GMEM_RESTRUCTURE_PREALLOC, (enum gmem_convert_order)order,
			     GMEM_FORM_FOLIO);
			c = bind_and_fill(&w);
			c->fail_call = n; /* prepare, then limit */
			assert_int_equal(gmem_convert(w.file, 600, 100, false), -ENOMEM);
			assert_int_equal(gmem_folio_level(w.file, 600), PG_LEVEL_2M);
			assert_int_equal(gmem_stats(w.file).folios[PG_LEVEL_2M], HUGE_PAGES);
			assert_int_equal(gmem_stats(w.file).folios[PG_LEVEL_4K], 0);
			assert_int_equal(c->zapped, 0);
			assert_int_equal(gmem_nr_ranges(w.file), 1);
			fake_check(&w);
			fake_check_contents(&w, 1);
			assert_int_equal(gmem_convert(w.file, 600, 100, false), 0);
			assert_int_equal(c->zapped, 100);
			fake_check(&w);
			fake_world_exit(&w);
		}
	}
}

#ifdef SEPTUM_CHECK
struct loss {
	u32 failures; /* conversions that failed */
	u32 lossy;    /* of those, after which pages of the guest were gone */
};

/* One conversion of [500, 1600), which takes four huge pages apart; its @n-th allocation fails. */
static bool convert_failing(struct fake_world *w, struct fake *c, u64 n, struct loss *loss)
{
	int err;

	host_fail_alloc_at(host, n);
	err = gmem_convert(w->file, 500, 1100, false);
	host_fail_alloc_at(host, 0);
	if (!err)
		return false;
	assert_int_equal(err, -ENOMEM);
	loss->failures++;
	loss->lossy += c->zapped != 0;
	/*
	 * Row 91: attributes, layout and every frame are as they were, whichever huge page failed.
	 */
	assert_int_equal(gmem_nr_ranges(w->file), 1);
	assert_int_equal(gmem_stats(w->file).folios[PG_LEVEL_2M], HUGE_PAGES);
	assert_int_equal(gmem_stats(w->file).folios[PG_LEVEL_4K], 0);
	fake_check(w);
	fake_check_contents(w, 1);
	return true;
}

static struct loss fail_each(enum gmem_restructure restructure, enum gmem_convert_order order)
{
	struct loss loss = {0};
	bool failed = true;

	for (u64 n = 1; failed; n++) {
		u64 before = hugetlb_stats(pool).vmemmap_saved_bytes;
		struct fake_world w;
		struct fake *c;
		u64 used;

		make(&w, restructure, order, n & 1 ? GMEM_FORM_FOLIO : GMEM_FORM_ORIGINAL);
		c = bind_and_fill(&w);
		used = host_frames_used(host);
		failed = convert_failing(&w, c, n, &loss);
		if (failed) {
			assert_int_equal(host_frames_used(host), used);
			assert_int_equal(hugetlb_stats(pool).vmemmap_saved_bytes, before);
			/* The same again works once there is memory. */
			for (u64 i = 0; i < NR_PAGES; i++)
				assert_int_equal(fake_fault(c, i), 0);
			assert_int_equal(gmem_convert(w.file, 500, 1100, false), 0);
			fake_check(&w);
		}
		fake_check_contents(&w, 1);
		fake_world_exit(&w);
	}
	return loss;
}

/* Fail the n-th allocation, n = 1, 2, ...: with preallocation no order ever loses anything. */
static void test_prealloc_loses_nothing(void **state)
{
	(void)state;
	for (int order = 0; order <= GMEM_ORDER_FOLIO_ZAP; order++) {
		struct loss loss =
			fail_each(GMEM_RESTRUCTURE_PREALLOC, (enum gmem_convert_order)order);

		/* The attributes, and four huge pages. */
		assert_true(loss.failures >= 1 + HUGE_PAGES);
		assert_int_equal(loss.lossy, 0);
	}
}

/*
 * Rows 89 and 91, when folios allocate as they go: zap, then folio loses what was zapped at each
 * failure of the folio step; the other two orders lose nothing.
 */
static void test_late_loses_by_order(void **state)
{
	struct loss split_folio_zap = fail_each(GMEM_RESTRUCTURE_LATE, GMEM_ORDER_SPLIT_FOLIO_ZAP);
	struct loss zap_folio = fail_each(GMEM_RESTRUCTURE_LATE, GMEM_ORDER_ZAP_FOLIO);
	struct loss folio_zap = fail_each(GMEM_RESTRUCTURE_LATE, GMEM_ORDER_FOLIO_ZAP);

	(void)state;
	assert_true(split_folio_zap.failures >= 1 + HUGE_PAGES);
	assert_true(zap_folio.failures >= 1 + HUGE_PAGES);
	assert_true(folio_zap.failures >= 1 + HUGE_PAGES);
	assert_int_equal(split_folio_zap.lossy, 0);
	assert_true(zap_folio.lossy >= HUGE_PAGES);
	assert_int_equal(folio_zap.lossy, 0);
}

/*
 * Row 89: a folio split that fails late leaves small leaves behind, and bytes as they were. The
 * first failure that comes after the client was asked is one.
 */
static void test_late_leaves_small_leaves(void **state)
{
	struct fake_world w;
	struct fake *c;
	u64 n = 1;

	(void)state;
	make(&w, GMEM_RESTRUCTURE_LATE, GMEM_ORDER_SPLIT_FOLIO_ZAP, GMEM_FORM_ORIGINAL);
	c = bind_and_fill(&w);
	for (; !c->calls; n++) {
		host_fail_alloc_at(host, n);
		assert_int_equal(gmem_convert(w.file, 600, 1, false), -ENOMEM);
		host_fail_alloc_at(host, 0);
	}
	assert_int_equal(fake_level(c, 600), PG_LEVEL_4K);
	assert_int_equal(fake_level(c, 0), PG_LEVEL_2M);
	assert_int_equal(gmem_folio_level(w.file, 600), PG_LEVEL_2M);
	assert_int_equal(c->zapped, 0);
	fake_check(&w);
	fake_check_contents(&w, 1);
	fake_world_exit(&w);
}

/*
 * The planted bug: no client is asked, so leaves lie across the new folios and the ends of the
 * zap.
 */
static void test_planted_bug(void **state)
{
	struct fake_world w;
	struct fake *c;

	(void)state;
	make(&w, GMEM_RESTRUCTURE_PREALLOC, GMEM_ORDER_SPLIT_FOLIO_ZAP, GMEM_FORM_FOLIO);
	c = bind_and_fill(&w);
	w.may_cross = true;
	bug_set_add(&host->bugs, BUG_GMEM_SPLITS_MAPPED_FOLIO);
	assert_int_equal(gmem_convert(w.file, 600, 1, false), 0);
	host->bugs = NO_BUGS;
	assert_int_equal(c->calls, 0);
	assert_int_equal(c->crossed, 2);
	assert_int_equal(fake_level(c, 601), PG_LEVEL_2M);
	assert_false(gmem_check_mapping(w.file, 512, c->pfn[512], PG_LEVEL_2M));
	fake_world_exit(&w);
}
#endif

/*
 * Row 90: of two shared pages one goes back: the folios stay small; with the second they are one.
 */
static void test_merge_when_none_shared(void **state)
{
	(void)state;
	for (int order = 0; order <= GMEM_ORDER_FOLIO_ZAP; order++) {
		struct fake_world w;

		make(&w, GMEM_RESTRUCTURE_PREALLOC, (enum gmem_convert_order)order,
		     GMEM_FORM_FOLIO);
		bind_and_fill(&w);
		assert_int_equal(gmem_convert(w.file, 520, 1, false), 0);
		assert_int_equal(gmem_convert(w.file, 1000, 1, false), 0);
		assert_int_equal(gmem_convert(w.file, 520, 1, true), 0);
		assert_int_equal(gmem_folio_level(w.file, 520), PG_LEVEL_4K);
		assert_int_equal(gmem_stats(w.file).folio_merges, 0);
		assert_int_equal(gmem_convert(w.file, 1000, 1, true), 0);
		assert_int_equal(gmem_folio_level(w.file, 520), PG_LEVEL_2M);
		assert_int_equal(gmem_stats(w.file).folio_splits, 1);
		assert_int_equal(gmem_stats(w.file).folio_merges, 1);
		fake_check(&w);
		fake_check_contents(&w, 1);
		fake_world_exit(&w);
	}
}

/*
 * References beside the folios: nothing is ever taken apart, so leaves may stay large even
 * strictly.
 */
static void test_counted(void **state)
{
	struct gmem_config cfg = {.size = fn_to_addr(NR_PAGES),
				  .backing = GMEM_HUGETLB_2M,
				  .pool = pool,
				  .folio_refs = GMEM_REFS_COUNTED,
				  .mapping_form = GMEM_FORM_FOLIO};
	struct fake_world w;
	struct fake *c;

	(void)state;
	fake_world_init(&w, host, &cfg);
	c = bind_and_fill(&w);
	assert_int_equal(gmem_convert(w.file, 600, 1, false), 0);
	assert_int_equal(gmem_folio_level(w.file, 600), PG_LEVEL_2M);
	assert_int_equal(gmem_stats(w.file).folio_splits, 0);
	assert_int_equal(c->calls, 1);
	fake_check(&w);
	fake_check_contents(&w, 1);
	fake_world_exit(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_orders),
		cmocka_unit_test(test_split_fails),
#ifdef SEPTUM_CHECK
		cmocka_unit_test(test_prealloc_loses_nothing),
		cmocka_unit_test(test_late_loses_by_order),
		cmocka_unit_test(test_late_leaves_small_leaves),
		cmocka_unit_test(test_planted_bug),
#endif
		cmocka_unit_test(test_merge_when_none_shared),
		cmocka_unit_test(test_counted),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
