/* SPDX-License-Identifier: MIT */
/* The protocol between a file and those who are bound to it. */
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

static int teardown(void **state)
{
	u64 used = host_frames_used(host);

	(void)state;
	host_destroy(host);
	sync_rcu_barrier();
	sync_thread_leave();
	return used != 0;
}

static void make(struct fake_world *w, u64 pages)
{
	struct gmem_config cfg = {.size = fn_to_addr(pages), .backing = GMEM_THP};

	fake_world_init(w, host, &cfg);
	w->keep_log = true;
}

static void map_and_fill(struct fake *c, u64 index, u64 nr)
{
	for (u64 i = index; i < index + nr; i++) {
		assert_int_equal(fake_fault(c, i), 0);
		fake_write(c, i, 0x1000 + i);
	}
}

/* A hole tells its client begin, prepare, commit and end; no attribute changes, so not changed. */
static void test_order_of_hole(void **state)
{
	struct fake_world w;
	struct fake *c;

	(void)state;
	make(&w, 2048);
	c = fake_bind(&w, "a", 0, 2048, 32);
	map_and_fill(c, 512, 512);
	assert_int_equal(gmem_punch_hole(w.file, 512, 512), 0);
	assert_string_equal(w.log, "a.begin 512+512; a.prepare 512+512; a.commit 512+512; "
				   "a.end 512+512; ");
	assert_int_equal(c->zapped, 512);
	assert_int_equal(gmem_frames(w.file), 0);
	fake_check(&w);
	fake_world_exit(&w);
}

/*
 * When prepare fails its error comes back, end is told, and the file is as it was; a retry works.
 */
static void test_prepare_fails(void **state)
{
	struct fake_world w;
	struct fake *c;

	(void)state;
	make(&w, 2048);
	c = fake_bind(&w, "a", 0, 2048, 32);
	map_and_fill(c, 512, 512);
	c->fail_call = 1;
	assert_int_equal(gmem_punch_hole(w.file, 512, 512), -ENOMEM);
	assert_string_equal(w.log, "a.begin 512+512; a.prepare 512+512; a.end 512+512; ");
	assert_int_equal(fake_read(c, 700), 0x1000 + 700);
	assert_int_equal(gmem_frames(w.file), 512);
	fake_check(&w);
	assert_int_equal(gmem_punch_hole(w.file, 512, 512), 0);
	assert_int_equal(gmem_frames(w.file), 0);
	fake_world_exit(&w);
}

/* What is refused for its range tells nobody. */
static void test_refused_is_silent(void **state)
{
	struct fake_world w;

	(void)state;
	make(&w, 2048);
	fake_bind(&w, "a", 0, 2048, 32);
	assert_int_equal(gmem_punch_hole(w.file, 513, 0), -EINVAL);
	assert_int_equal(gmem_punch_hole(w.file, 0, 5000), -EINVAL);
	assert_int_equal(gmem_memory_failure(w.file, 2048), -EINVAL);
	assert_int_equal(gmem_memory_failure(w.file, 3), 0); /* nothing backs it */
	assert_string_equal(w.log, "");
	fake_world_exit(&w);
}

/* A client hears of what it is bound to and of nothing outside; begin and end go as far. */
static void test_clipped(void **state)
{
	struct fake_world w;

	(void)state;
	make(&w, 2048);
	fake_bind(&w, "a", 600, 1000, 32);
	assert_int_equal(gmem_punch_hole(w.file, 0, 512), 0);
	assert_int_equal(gmem_convert(w.file, 100, 50, false), 0);
	assert_string_equal(w.log, "");
	assert_int_equal(gmem_convert(w.file, 300, 400, false), 0);
	assert_string_equal(w.log, "a.begin 600+424; a.prepare 600+100; a.commit 600+100; "
				   "a.shared 600+100; a.end 600+424; ");
	fake_log_clear(&w);
	/* Row 93: only its neighbours in the huge page change, yet it must wait. */
	assert_int_equal(gmem_convert(w.file, 1024 + 512, 1, false), 0);
	assert_int_equal(gmem_convert(w.file, 1700, 1, false), 0);
	assert_string_equal(w.log, "a.begin 1536+64; a.prepare 1536+1; a.commit 1536+1; "
				   "a.shared 1536+1; a.end 1536+64; "
				   "a.begin 1536+64; a.end 1536+64; ");
	fake_world_exit(&w);
}

/* Any number of clients, in the order they came, until they go; one has no index twice. */
static void test_bindings(void **state)
{
	struct fake_world w;
	struct fake *a, *b;
	static const struct gmem_client_ops none;

	(void)state;
	make(&w, 2048);
	assert_int_equal(gmem_bind(w.file, 0, 0, &none, &w), -EINVAL);
	assert_int_equal(gmem_bind(w.file, 2048, 1, &none, &w), -EINVAL);
	assert_int_equal(gmem_bind(w.file, 1, UINT64_MAX, &none, &w), -EINVAL);
	a = fake_bind(&w, "a", 0, 1024, 32);
	b = fake_bind(&w, "b", 0, 2048, 33);
	assert_int_equal(gmem_bind(w.file, 1023, 10, &none, a), -EBUSY);
	assert_int_equal(gmem_bind(w.file, 0, 2048, &none, b), -EBUSY);
	assert_int_equal(gmem_bind(w.file, 1024, 10, &none, a), 0);
	gmem_unbind(w.file, a);
	gmem_unbind(w.file, &w);
	assert_int_equal(gmem_bind(w.file, 0, 1, &none, a), 0);
	gmem_unbind(w.file, a);
	assert_int_equal(gmem_punch_hole(w.file, 0, 512), 0);
	assert_int_equal(a->begins, 0);
	assert_int_equal(b->begins, 1);
	fake_world_exit(&w);
}

/*
 * Two VMs hear of a conversion: every begin, every prepare, every commit, every changed, every
 * end.
 */
static void test_two_clients(void **state)
{
	struct fake_world w;

	(void)state;
	make(&w, 1024);
	fake_bind(&w, "a", 0, 1024, 32);
	fake_bind(&w, "b", 256, 512, 33);
	assert_int_equal(gmem_convert(w.file, 0, 8, false), 0);
	fake_log_clear(&w);
	assert_int_equal(gmem_convert(w.file, 4, 496, false), 0);
	assert_string_equal(w.log,
			    "a.begin 0+512; b.begin 256+256; a.prepare 8+492; b.prepare 256+244; "
			    "a.commit 8+492; b.commit 256+244; a.shared 8+492; b.shared 256+244; "
			    "a.end 0+512; b.end 256+256; ");
	fake_world_exit(&w);
}

/*
 * Row 96: two VMs on one file, and the second has no memory to split: the first isn't zapped, and
 * its contents stay. Either order of failure, of a conversion and a hole.
 */
static void test_second_vm_fails(void **state)
{
	(void)state;
	for (int hole = 0; hole <= 1; hole++) {
		struct fake_world w;
		struct fake *a, *b;

		make(&w, 1024);
		a = fake_bind(&w, "a", 0, 512, 32);
		b = fake_bind(&w, "b", 512, 512, 33);
		map_and_fill(a, 0, 512);
		map_and_fill(b, 512, 512);
		b->fail_call = 1;
		assert_int_equal(hole ? gmem_punch_hole(w.file, 500, 20)
				      : gmem_convert(w.file, 500, 20, false),
				 -ENOMEM);
		assert_int_equal(a->commits + b->commits, 0);
		assert_int_equal(a->calls, 1);
		assert_null(strstr(w.log, "commit"));
		assert_int_equal(gmem_nr_ranges(w.file), 1);
		fake_check(&w);
		fake_check_contents(&w, 1);
		assert_int_equal(hole ? gmem_punch_hole(w.file, 500, 20)
				      : gmem_convert(w.file, 500, 20, false),
				 0);
		assert_int_equal(a->zapped + b->zapped, 20);
		fake_check(&w);
		fake_world_exit(&w);
	}
}

/*
 * Row 93: a huge page stops as a whole while 4K of it convert. A conversion across two of them
 * stops both, and one of 4K pages stops just these.
 */
static void test_whole_huge_page_stops(void **state)
{
	struct gmem_config small = {.size = SIZE_2M, .backing = GMEM_4K};
	struct fake_world w;

	(void)state;
	make(&w, 2048);
	fake_bind(&w, "a", 0, 2048, 32);
	assert_int_equal(gmem_convert(w.file, 1023, 2, false), 0);
	assert_string_equal(w.log, "a.begin 512+1024; a.prepare 1023+2; a.commit 1023+2; "
				   "a.shared 1023+2; a.end 512+1024; ");
	fake_world_exit(&w);
	fake_world_init(&w, host, &small);
	w.keep_log = true;
	fake_bind(&w, "a", 0, 512, 32);
	assert_int_equal(gmem_convert(w.file, 100, 2, false), 0);
	assert_non_null(strstr(w.log, "a.begin 100+2; "));
	fake_world_exit(&w);
}

/* The same for 1G: one page of it stops 262144. */
static void test_1g_stops(void **state)
{
	struct gmem_config cfg = {.size = SIZE_1G, .backing = GMEM_HUGETLB_1G};
	struct fake_world w;
	u64 missing;

	(void)state;
	assert_int_equal(hugetlb_pool_create(host, PG_LEVEL_1G, 1, true, &cfg.pool, &missing), 0);
	fake_world_init(&w, host, &cfg);
	w.keep_log = true;
	fake_bind(&w, "a", 0, 262144, 32);
	assert_int_equal(gmem_convert(w.file, 4711, 1, false), 0);
	assert_non_null(strstr(w.log, "a.begin 0+262144; a.prepare 4711+1; "));
	fake_world_exit(&w);
	hugetlb_pool_destroy(cfg.pool);
}

/*
 * In the strict form clients are told how small folios become, and only where they do: all of the
 * 1G page is split to 4K, or in nonuniform mode to 2M but for one block.
 */
static void test_limits(void **state)
{
	(void)state;
	for (int uniform = 0; uniform <= 1; uniform++) {
		struct gmem_config cfg = {.size = 2 * SIZE_1G,
					  .backing = GMEM_HUGETLB_1G,
					  .mapping_form = GMEM_FORM_FOLIO,
					  .folio_split = uniform ? GMEM_SPLIT_UNIFORM
								 : GMEM_SPLIT_NONUNIFORM};
		struct fake_world w;
		struct fake *c;
		u64 missing;

		assert_int_equal(
			hugetlb_pool_create(host, PG_LEVEL_1G, 2, false, &cfg.pool, &missing), 0);
		fake_world_init(&w, host, &cfg);
		c = fake_bind(&w, "a", 0, 2 * 262144, 32);
		assert_int_equal(fake_fault(c, 0), 0);
		assert_int_equal(fake_fault(c, 262144), 0);
		assert_int_equal(fake_level(c, 5), PG_LEVEL_1G);
		fake_write(c, 600, 0x600);
		w.keep_log = true;
		assert_int_equal(gmem_convert(w.file, 512, 1, false), 0);
		w.keep_log = false;
		assert_string_equal(
			w.log, uniform ? "a.begin 0+262144; a.prepare 512+1; a.limit-4K 0+262144; "
					 "a.commit 512+1; a.shared 512+1; a.end 0+262144; "
				       : "a.begin 0+262144; a.prepare 512+1; a.limit-2M 0+512; "
					 "a.limit-4K 512+512; a.limit-2M 1024+261120; "
					 "a.commit 512+1; a.shared 512+1; a.end 0+262144; ");
		assert_int_equal(fake_level(c, 2000), uniform ? PG_LEVEL_4K : PG_LEVEL_2M);
		assert_int_equal(fake_level(c, 600), PG_LEVEL_4K);
		assert_int_equal(fake_read(c, 600), 0x600);
		/* The other 1G page is nobody's business; the second conversion shrinks nothing. */
		assert_int_equal(fake_level(c, 262144), PG_LEVEL_1G);
		fake_check(&w);
		fake_log_clear(&w);
		w.keep_log = true;
		assert_int_equal(gmem_convert(w.file, 514, 1, false), 0);
		assert_null(strstr(w.log, "limit"));
		fake_check(&w);
		fake_world_exit(&w);
		hugetlb_pool_destroy(cfg.pool);
	}
}

/* In the form of the original huge page no client hears of folios, and leaves stay large. */
static void test_original_form(void **state)
{
	struct gmem_config cfg = {.size = SIZE_1G,
				  .backing = GMEM_HUGETLB_1G,
				  .mapping_form = GMEM_FORM_ORIGINAL,
				  .folio_split = GMEM_SPLIT_UNIFORM};
	struct fake_world w;
	struct fake *c;
	u64 missing;

	(void)state;
	assert_int_equal(hugetlb_pool_create(host, PG_LEVEL_1G, 1, false, &cfg.pool, &missing), 0);
	fake_world_init(&w, host, &cfg);
	c = fake_bind(&w, "a", 0, 262144, 32);
	assert_int_equal(fake_fault(c, 0), 0);
	/* Row 88: 4K folios all over, and leaves of 2M away from the shared page. */
	assert_int_equal(gmem_convert(w.file, 600, 1, false), 0);
	assert_int_equal(c->splits, 2);
	assert_int_equal(gmem_folio_level(w.file, 9000), PG_LEVEL_4K);
	assert_int_equal(gmem_stats(w.file).folios[PG_LEVEL_4K], 262144);
	assert_int_equal(fake_level(c, 9000), PG_LEVEL_2M);
	fake_check(&w);
	assert_int_equal(gmem_convert(w.file, 600, 1, true), 0);
	assert_int_equal(gmem_stats(w.file).folios[PG_LEVEL_4K], 0);
	assert_int_equal(gmem_stats(w.file).folios[PG_LEVEL_1G], 1);
	fake_check(&w);
	fake_world_exit(&w);
	hugetlb_pool_destroy(cfg.pool);
}

/*
 * 1 GiB across two 1G pages, to shared and back, page by page and at once: at once only two leaves
 * at each end are split. Every page beside it keeps its bytes, and both 1G folios are whole again.
 */
static void test_a_gibibyte(void **state)
{
	const u64 at = 300, nr = 262144;
	struct gmem_config cfg = {.size = 2 * SIZE_1G, .backing = GMEM_HUGETLB_1G};
	u64 missing;

	(void)state;
	assert_int_equal(hugetlb_pool_create(host, PG_LEVEL_1G, 2, true, &cfg.pool, &missing), 0);
	for (int at_once = 0; at_once <= 1; at_once++) {
		u64 part = at_once ? nr : 1;
		struct fake_world w;
		struct fake *c;

		fake_world_init(&w, host, &cfg);
		c = fake_bind(&w, "a", 0, 2 * nr, 32);
		for (u64 i = 0; i < 2 * nr; i += 50) {
			assert_int_equal(fake_fault(c, i), 0);
			fake_write(c, i, 0x1000 + i);
		}
		assert_int_equal(c->begins, 0);
		for (u64 i = at; i < at + nr; i += part)
			assert_int_equal(gmem_convert(w.file, i, part, false), 0);
		assert_int_equal(c->zapped, nr);
		if (at_once)
			assert_int_equal(c->splits, 4);
		assert_int_equal(gmem_nr_ranges(w.file), 3);
		fake_check(&w);
		for (u64 i = at + nr; i > at; i -= part)
			assert_int_equal(gmem_convert(w.file, i - part, part, true), 0);
		assert_int_equal(gmem_stats(w.file).folios[PG_LEVEL_1G], 2);
		assert_int_equal(gmem_stats(w.file).folio_splits, 2);
		fake_check(&w);
		fake_check_contents(&w, 25);
		fake_world_exit(&w);
	}
	hugetlb_pool_destroy(cfg.pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_of_hole),
		cmocka_unit_test(test_prepare_fails),
		cmocka_unit_test(test_refused_is_silent),
		cmocka_unit_test(test_clipped),
		cmocka_unit_test(test_bindings),
		cmocka_unit_test(test_two_clients),
		cmocka_unit_test(test_second_vm_fails),
		cmocka_unit_test(test_whole_huge_page_stops),
		cmocka_unit_test(test_1g_stops),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_original_form),
		cmocka_unit_test(test_a_gibibyte),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
