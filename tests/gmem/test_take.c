/* SPDX-License-Identifier: MIT */
/* Taking memory away: holes, the file's end, failing memory, and what refuses to move. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/sync.h"
#include "gmem/fake.h"

static struct host *host;

static int setup(void **state)
{
	struct host_config cfg = {.memory_bytes = 4 * SIZE_1G, .lps = 1};

	(void)state;
	sync_thread_enter();
	return host_create(&cfg, &host);
}

/* Frames that failed are never free again, so nothing is said of the others here. */
static int teardown(void **state)
{
	(void)state;
	host_destroy(host);
	sync_rcu_barrier();
	sync_thread_leave();
	return 0;
}

static void make(struct fake_world *w, u64 pages, enum gmem_failure_scope scope)
{
	struct gmem_config cfg = {
		.size = fn_to_addr(pages), .backing = GMEM_THP, .failure_scope = scope};

	fake_world_init(w, host, &cfg);
}

static struct fake *bind_and_fill(struct fake_world *w)
{
	struct fake *c = fake_bind(w, "a", 0, w->nr_pages, 32);

	for (u64 i = 0; i < w->nr_pages; i++) {
		assert_int_equal(fake_fault(c, i), 0);
		fake_write(c, i, 0x1000 + i);
	}
	return c;
}

/* ---- holes -----------------------------------------------------------------------------------*/

/*
 * Row 87: after a hole a page is what it was, private or shared, and its new memory reads as zero.
 */
static void test_status_survives(void **state)
{
	struct fake_world w;
	struct fake *c;
	u64 word;

	(void)state;
	make(&w, 1024, GMEM_FAILURE_PAGE);
	c = bind_and_fill(&w);
	assert_int_equal(gmem_convert(w.file, 100, 10, false), 0);
	assert_int_equal(gmem_host_write(w.file, fn_to_addr(105), &(u64){7}, 1), 0);
	assert_int_equal(gmem_stats(w.file).host_mapped, 1);
	/* A partial hole, then one of all there is. */
	assert_int_equal(gmem_punch_hole(w.file, 90, 30), 0);
	assert_int_equal(gmem_stats(w.file).host_mapped, 0);
	assert_int_equal(gmem_frames(w.file), 1024);
	assert_int_equal(gmem_host_read(w.file, fn_to_addr(105), &word, 1), 0);
	assert_int_equal(word, 0);
	assert_int_equal(fake_read(c, 89), 0x1000 + 89);
	assert_int_equal(fake_read(c, 120), 0x1000 + 120);
	assert_int_equal(fake_level(c, 95), PG_LEVEL_NONE);
	assert_int_equal(gmem_punch_hole(w.file, 0, 1024), 0);
	assert_int_equal(gmem_frames(w.file), 0);
	for (u64 i = 0; i < 1024; i++)
		assert_int_equal(gmem_is_private(w.file, i), i < 100 || i >= 110);
	assert_int_equal(gmem_nr_ranges(w.file), 3);
	assert_int_equal(gmem_host_read(w.file, fn_to_addr(105), &word, 1), 0);
	assert_int_equal(word, 0);
	assert_int_equal(gmem_host_read(w.file, fn_to_addr(99), &word, 1), -EFAULT);
	/* The block is laid out for its shared pages from the beginning. */
	assert_int_equal(gmem_folio_level(w.file, 105), PG_LEVEL_4K);
	assert_int_equal(fake_fault(c, 99), 0);
	assert_int_equal(fake_read(c, 99), 0);
	fake_check(&w);
	fake_world_exit(&w);
}

/* A hole of a whole huge page asks for no split; one that cuts it splits leaves once. */
static void test_whole_and_partial(void **state)
{
	struct fake_world w;
	struct fake *c;

	(void)state;
	make(&w, 2048, GMEM_FAILURE_PAGE);
	c = bind_and_fill(&w);
	assert_int_equal(gmem_punch_hole(w.file, 512, 512), 0);
	assert_int_equal(c->splits, 0);
	assert_int_equal(gmem_frames(w.file), 1536);
	assert_int_equal(gmem_punch_hole(w.file, 1030, 4), 0);
	assert_int_equal(c->splits, 1);
	assert_int_equal(gmem_frames(w.file), 1536);
	assert_int_equal(gmem_folio_level(w.file, 1030), PG_LEVEL_2M);
	fake_check(&w);
	fake_check_contents(&w, 1);
	fake_world_exit(&w);
}

/* Somebody holds a page: no hole there, however large, and no client hears of it. */
static void test_hole_and_pin(void **state)
{
	struct fake_world w;
	struct fake *c;

	(void)state;
	make(&w, 1024, GMEM_FAILURE_PAGE);
	assert_int_equal(gmem_convert(w.file, 100, 10, false), 0);
	c = fake_bind(&w, "a", 0, 1024, 32);
	assert_int_equal(gmem_pin(w.file, 105), 0);
	assert_int_equal(gmem_punch_hole(w.file, 0, 1024), -EAGAIN);
	assert_int_equal(gmem_punch_hole(w.file, 105, 1), -EAGAIN);
	assert_int_equal(gmem_truncate(w.file, 0), -EINVAL); /* bound */
	assert_int_equal(c->begins, 0);
	assert_int_equal(gmem_punch_hole(w.file, 106, 100), 0);
	gmem_unpin(w.file, 105);
	assert_int_equal(gmem_punch_hole(w.file, 0, 1024), 0);
	assert_int_equal(gmem_frames(w.file), 0);
	fake_world_exit(&w);
}

/* The file ends earlier: what was behind is gone and can't be had, what is before stays. */
static void test_truncate(void **state)
{
	struct gmem_config cfg = {.size = 4 * SIZE_2M, .backing = GMEM_HUGETLB_2M};
	struct fake_world w;
	struct fake *c;
	enum pg_level level;
	u64 missing;
	pfn_t pfn;

	(void)state;
	assert_int_equal(hugetlb_pool_create(host, PG_LEVEL_2M, 4, true, &cfg.pool, &missing), 0);
	fake_world_init(&w, host, &cfg);
	c = fake_bind(&w, "a", 0, 1024, 32);
	assert_int_equal(gmem_get_pfn(w.file, 1600, &pfn, &level), 0);
	assert_int_equal(fake_fault(c, 1023), 0);
	fake_write(c, 1023, 99);
	assert_int_equal(gmem_truncate(w.file, 3 * SIZE_2M + SIZE_4K), -EINVAL);
	assert_int_equal(gmem_truncate(w.file, 4 * SIZE_2M), -EINVAL);
	assert_int_equal(gmem_truncate(w.file, 5 * SIZE_2M), -EINVAL);
	assert_int_equal(gmem_truncate(w.file, SIZE_2M), -EINVAL); /* bound above */
	assert_int_equal(gmem_size(w.file), 4 * SIZE_2M);
	assert_int_equal(gmem_truncate(w.file, 2 * SIZE_2M), 0);
	assert_int_equal(gmem_size(w.file), 2 * SIZE_2M);
	assert_int_equal(gmem_frames(w.file), 512);
	assert_int_equal(gmem_get_pfn(w.file, 1600, &pfn, &level), -EINVAL);
	assert_int_equal(gmem_get_pfn(w.file, 1024, &pfn, &level), -EINVAL);
	assert_int_equal(gmem_convert(w.file, 1000, 100, false), -EINVAL);
	assert_int_equal(gmem_punch_hole(w.file, 1024, 1), -EINVAL);
	assert_false(gmem_is_private(w.file, 1024));
	assert_int_equal(gmem_folio_level(w.file, 1600), PG_LEVEL_NONE);
	assert_int_equal(fake_read(c, 1023), 99);
	/* What the tail had reserved is for others now. */
	assert_int_equal(hugetlb_reserve(cfg.pool, 2, &missing), 0);
	assert_int_equal(hugetlb_reserve(cfg.pool, 1, &missing), -ENOMEM);
	hugetlb_unreserve(cfg.pool, 2);
	w.nr_pages = 1024;
	fake_check_contents(&w, 1);
	fake_world_exit(&w);
	hugetlb_pool_destroy(cfg.pool);
}

/* ---- failing memory --------------------------------------------------------------------------*/

/*
 * Row 94, as wished: one page of a 2M leaf fails, one is lost, and its neighbours keep their
 * bytes.
 */
static void test_failure_page(void **state)
{
	struct fake_world w;
	struct fake *c;
	enum pg_level level;
	pfn_t pfn;
	u64 word;

	(void)state;
	make(&w, 1024, GMEM_FAILURE_PAGE);
	c = bind_and_fill(&w);
	assert_int_equal(gmem_memory_failure(w.file, 1024), -EINVAL);
	assert_int_equal(gmem_memory_failure(w.file, 700), 0);
	assert_int_equal(c->zapped, 1);
	assert_int_equal(c->splits, 1);
	assert_int_equal(gmem_stats(w.file).failed_pages, 1);
	assert_int_equal(fake_fault(c, 700), -EHWPOISON);
	assert_int_equal(gmem_leaf_level(w.file, 700), PG_LEVEL_NONE);
	assert_int_equal(gmem_get_pfn(w.file, 701, &pfn, &level), 0);
	assert_int_equal(level, PG_LEVEL_4K);
	assert_false(gmem_check_mapping(w.file, 512, pfn - 189, PG_LEVEL_2M));
	assert_true(gmem_check_mapping(w.file, 701, pfn, PG_LEVEL_4K));
	fake_check(&w);
	w.value[700] = 0;
	fake_check_contents(&w, 1);
	assert_int_equal(fake_level(c, 0), PG_LEVEL_2M);
	/* A second time nothing happens; nor does being shared bring it back. */
	assert_int_equal(gmem_memory_failure(w.file, 700), 0);
	assert_int_equal(gmem_stats(w.file).failed_pages, 1);
	assert_int_equal(gmem_convert(w.file, 512, 512, false), 0);
	assert_int_equal(gmem_host_read(w.file, fn_to_addr(700), &word, 1), -EHWPOISON);
	assert_int_equal(gmem_pin(w.file, 700), -EHWPOISON);
	assert_int_equal(gmem_host_read(w.file, fn_to_addr(701), &word, 1), 0);
	assert_int_equal(word, 0);
	assert_int_equal(gmem_convert(w.file, 512, 512, true), 0);
	assert_int_equal(fake_fault(c, 700), -EHWPOISON);
	fake_check(&w);
	fake_world_exit(&w);
}

/* Row 94, as it is today: the whole folio goes, without a split, and every page of it is poison. */
static void test_failure_folio(void **state)
{
	struct fake_world w;
	struct fake *c;

	(void)state;
	make(&w, 1024, GMEM_FAILURE_FOLIO);
	c = bind_and_fill(&w);
	assert_int_equal(gmem_memory_failure(w.file, 700), 0);
	assert_int_equal(c->zapped, 512);
	assert_int_equal(c->splits, 0);
	assert_int_equal(c->calls, 0);
	assert_int_equal(gmem_stats(w.file).failed_pages, 512);
	for (u64 i = 512; i < 1024; i++)
		assert_int_equal(fake_fault(c, i), -EHWPOISON);
	assert_int_equal(fake_read(c, 511), 0x1000 + 511);
	fake_check(&w);
	fake_world_exit(&w);
}

/*
 * The split for one page fails: the page can't stay, so its whole huge page is lost, and no other.
 */
static void test_failure_split_fails(void **state)
{
	struct fake_world w;
	struct fake *c;

	(void)state;
	make(&w, 1024, GMEM_FAILURE_PAGE);
	c = bind_and_fill(&w);
	c->fail_call = 1;
	assert_int_equal(gmem_memory_failure(w.file, 700), -ENOMEM);
	assert_int_equal(c->zapped, 512);
	for (u64 i = 512; i < 1024; i++)
		assert_int_equal(fake_fault(c, i), -EHWPOISON);
	assert_int_equal(fake_read(c, 511), 0x1000 + 511);
	fake_check(&w);
	fake_world_exit(&w);
}

/* A shared page that the host has mapped and somebody holds fails as any other. */
static void test_failure_of_held(void **state)
{
	struct fake_world w;
	u64 word;

	(void)state;
	make(&w, 512, GMEM_FAILURE_PAGE);
	assert_int_equal(gmem_convert(w.file, 5, 2, false), 0);
	assert_int_equal(gmem_host_write(w.file, fn_to_addr(5), &(u64){1}, 1), 0);
	assert_int_equal(gmem_host_write(w.file, fn_to_addr(6), &(u64){2}, 1), 0);
	assert_int_equal(gmem_pin(w.file, 5), 0);
	assert_int_equal(gmem_memory_failure(w.file, 5), 0);
	assert_int_equal(gmem_stats(w.file).host_mapped, 1);
	assert_int_equal(gmem_host_read(w.file, fn_to_addr(5), &word, 1), -EHWPOISON);
	assert_int_equal(gmem_host_read(w.file, fn_to_addr(6), &word, 1), 0);
	assert_int_equal(word, 2);
	gmem_unpin(w.file, 5);
	fake_world_exit(&w);
}

/* In a 1G page that fails as a page its 2M neighbours stay large. */
static void test_failure_in_1g(void **state)
{
	struct gmem_config cfg = {.size = SIZE_1G, .backing = GMEM_HUGETLB_1G};
	struct fake_world w;
	struct fake *c;
	u64 missing;

	(void)state;
	assert_int_equal(hugetlb_pool_create(host, PG_LEVEL_1G, 1, true, &cfg.pool, &missing), 0);
	fake_world_init(&w, host, &cfg);
	c = fake_bind(&w, "a", 0, 262144, 32);
	assert_int_equal(fake_fault(c, 0), 0);
	fake_write(c, 699, 1);
	fake_write(c, 2000, 2);
	assert_int_equal(gmem_memory_failure(w.file, 700), 0);
	assert_int_equal(c->splits, 2);
	assert_int_equal(c->zapped, 1);
	assert_int_equal(fake_read(c, 699), 1);
	assert_int_equal(fake_read(c, 2000), 2);
	assert_int_equal(gmem_leaf_level(w.file, 701), PG_LEVEL_4K);
	assert_int_equal(gmem_leaf_level(w.file, 2000), PG_LEVEL_2M);
	fake_check(&w);
	fake_world_exit(&w);
	assert_int_equal(hugetlb_stats(cfg.pool).broken, 1);
	hugetlb_pool_destroy(cfg.pool);
}

/* Row 95: migration is refused, and nothing has happened. */
static void test_migration(void **state)
{
	struct fake_world w;
	struct fake *c;

	(void)state;
	make(&w, 512, GMEM_FAILURE_PAGE);
	c = bind_and_fill(&w);
	assert_int_equal(gmem_migrate(w.file, 512), -EINVAL);
	assert_int_equal(gmem_migrate(w.file, 3), -EBUSY);
	assert_int_equal(c->begins, 0);
	assert_int_equal(fake_read(c, 3), 0x1003);
	fake_check(&w);
	fake_world_exit(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_status_survives),
		cmocka_unit_test(test_whole_and_partial),
		cmocka_unit_test(test_hole_and_pin),
		cmocka_unit_test(test_truncate),
		cmocka_unit_test(test_failure_page),
		cmocka_unit_test(test_failure_folio),
		cmocka_unit_test(test_failure_split_fails),
		cmocka_unit_test(test_failure_of_held),
		cmocka_unit_test(test_failure_in_1g),
		cmocka_unit_test(test_migration),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
