/* SPDX-License-Identifier: MIT */
/* Conversion in place: its argument, what clients hear, what pages hold, what a failure leaves. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/rng.h"
#include "base/sync.h"
#include "gmem/fake.h"

static struct host *host;

static int setup(void **state)
{
	struct host_config cfg = {.memory_bytes = SIZE_1G, .lps = 1};

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

static u64 *bytes_of(struct gmem_file *f, u64 index)
{
	enum pg_level level;
	pfn_t pfn;

	assert_int_equal(gmem_get_pfn(f, index, &pfn, &level), 0);
	return host_frame_ptr(host, pfn);
}

/* What a private page holds, without a guest: its frame is still the host's. */
static void fill(struct gmem_file *f, u64 index, u64 value)
{
	enum pg_level level;
	pfn_t pfn;

	assert_int_equal(gmem_get_pfn(f, index, &pfn, &level), 0);
	assert_int_equal(host_write(host, fn_to_addr(pfn), 0, &value, 1), 0);
}

/* ---- the argument ----------------------------------------------------------------------------*/

/* Row 84: every bad argument is -EINVAL, no client hears of it and nothing has changed. */
static void test_bad_arguments(void **state)
{
	static const struct gmem_set_attributes bad[] = {
		{.offset = 1, .size = PAGE_SIZE},
		{.offset = 0, .size = PAGE_SIZE + 8},
		{.offset = 0, .size = 1},
		{.offset = 0, .size = 0},
		{.offset = 64 * PAGE_SIZE, .size = 0},
		{.offset = 64 * PAGE_SIZE, .size = PAGE_SIZE},
		{.offset = 60 * PAGE_SIZE, .size = 5 * PAGE_SIZE},
		{.offset = 0, .size = 65 * PAGE_SIZE},
		{.offset = PAGE_SIZE, .size = 0 - PAGE_SIZE},
		{.offset = PAGE_SIZE, .size = 0 - 2 * PAGE_SIZE},
		{.offset = 0 - PAGE_SIZE, .size = PAGE_SIZE},
		{.offset = 0 - PAGE_SIZE, .size = 2 * PAGE_SIZE},
		{.size = PAGE_SIZE, .attributes = 1},
		{.size = PAGE_SIZE, .attributes = GMEM_ATTRIBUTE_PRIVATE | 1ULL << 63},
		{.size = PAGE_SIZE, .flags = 1},
		{.size = PAGE_SIZE, .reserved = {[0] = 1}},
		{.size = PAGE_SIZE, .reserved = {[10] = 1ULL << 63}},
	};
	struct fake_world w;

	(void)state;
	make(&w, 64);
	fake_bind(&w, "a", 0, 64, 32);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct gmem_set_attributes arg = bad[i];

		assert_int_equal(gmem_set_attributes(w.file, &arg), -EINVAL);
		arg.attributes ^= GMEM_ATTRIBUTE_PRIVATE;
		assert_int_equal(gmem_set_attributes(w.file, &arg), -EINVAL);
	}
	assert_string_equal(w.log, "");
	assert_int_equal(gmem_nr_ranges(w.file), 1);
	assert_true(gmem_is_private(w.file, 0));
	fake_world_exit(&w);
}

/* A good argument converts as gmem_convert() does, whose bad ranges are refused as well. */
static void test_good_arguments(void **state)
{
	static const struct {
		u64 index, nr;
	} bad[] = {{0, 0}, {64, 1}, {60, 5}, {1, UINT64_MAX}, {UINT64_MAX, 2}, {UINT64_MAX, 0}};
	struct gmem_set_attributes arg = {.offset = 8 * PAGE_SIZE, .size = 4 * PAGE_SIZE};
	struct fake_world w;

	(void)state;
	make(&w, 64);
	assert_int_equal(gmem_set_attributes(w.file, &arg), 0);
	assert_int_equal(gmem_nr_ranges(w.file), 3);
	assert_true(gmem_is_private(w.file, 7));
	assert_false(gmem_is_private(w.file, 8));
	assert_false(gmem_is_private(w.file, 11));
	arg.attributes = GMEM_ATTRIBUTE_PRIVATE;
	arg.offset = 0;
	arg.size = 64 * PAGE_SIZE;
	assert_int_equal(gmem_set_attributes(w.file, &arg), 0);
	assert_int_equal(gmem_nr_ranges(w.file), 1);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(gmem_convert(w.file, bad[i].index, bad[i].nr, false), -EINVAL);
		assert_int_equal(gmem_convert(w.file, bad[i].index, bad[i].nr, true), -EINVAL);
	}
	assert_int_equal(gmem_nr_ranges(w.file), 1);
	fake_world_exit(&w);
}

/* ---- parts and ranges ------------------------------------------------------------------------*/

/* Row 82: what is already so everywhere is 0, and no client hears of it. */
static void test_no_op(void **state)
{
	struct fake_world w;

	(void)state;
	make(&w, 2048);
	assert_int_equal(gmem_convert(w.file, 512, 512, false), 0);
	fake_bind(&w, "a", 0, 2048, 32);
	assert_int_equal(gmem_convert(w.file, 0, 512, true), 0);
	assert_int_equal(gmem_convert(w.file, 1024, 1024, true), 0);
	assert_int_equal(gmem_convert(w.file, 512, 512, false), 0);
	assert_int_equal(gmem_convert(w.file, 700, 1, false), 0);
	assert_string_equal(w.log, "");
	fake_world_exit(&w);
}

/* Pages on their side already keep their mappings: only the parts that change are unmapped. */
static void test_parts(void **state)
{
	struct fake_world w;

	(void)state;
	make(&w, 2048);
	assert_int_equal(gmem_convert(w.file, 100, 50, false), 0);
	assert_int_equal(gmem_convert(w.file, 300, 50, false), 0);
	fake_bind(&w, "a", 0, 2048, 32);
	assert_int_equal(gmem_convert(w.file, 120, 200, false), 0);
	assert_string_equal(w.log, "a.begin 0+512; a.prepare 150+150; a.commit 150+150; "
				   "a.shared 150+150; a.end 0+512; ");
	assert_int_equal(gmem_convert(w.file, 200, 10, true), 0);
	fake_log_clear(&w);
	assert_int_equal(gmem_convert(w.file, 0, 400, true), 0);
	assert_string_equal(w.log, "a.begin 0+512; a.prepare 100+100; a.prepare 210+140; "
				   "a.commit 100+100; a.commit 210+140; a.private 100+100; "
				   "a.private 210+140; a.end 0+512; ");
	assert_int_equal(gmem_nr_ranges(w.file), 1);
	fake_world_exit(&w);
}

/* A conversion with more parts than fit on the stack tells of each. */
static void test_many_parts(void **state)
{
	struct fake_world w;
	struct fake *c;

	(void)state;
	make(&w, 512);
	for (u64 i = 0; i < 512; i += 2)
		assert_int_equal(gmem_convert(w.file, i, 1, false), 0);
	w.keep_log = false;
	c = fake_bind(&w, "a", 128, 256, 32);
	for (u64 i = 128; i < 384; i++)
		assert_int_equal(fake_fault(c, i), 0);
	assert_int_equal(gmem_convert(w.file, 0, 512, false), 0);
	assert_int_equal(c->calls, 128);
	assert_int_equal(c->commits, 128);
	assert_int_equal(c->zapped, 128);
	fake_check(&w);
	fake_world_exit(&w);
}

/* Row 83: alternate conversions make a range each; unifying them leaves one. */
static void test_ranges_merge(void **state)
{
	struct fake_world w;

	(void)state;
	make(&w, 64);
	for (u64 i = 1; i < 64; i += 2)
		assert_int_equal(gmem_convert(w.file, i, 1, false), 0);
	assert_int_equal(gmem_nr_ranges(w.file), 64);
	for (u64 i = 0; i < 64; i += 2)
		assert_int_equal(gmem_convert(w.file, i, 1, false), 0);
	assert_int_equal(gmem_nr_ranges(w.file), 1);
	assert_int_equal(gmem_convert(w.file, 0, 64, true), 0);
	assert_int_equal(gmem_nr_ranges(w.file), 1);
	assert_true(gmem_is_private(w.file, 33));
	fake_world_exit(&w);
}

/* A file that starts shared is so everywhere, and the host may use it at once. */
static void test_init_shared(void **state)
{
	struct gmem_config cfg = {.size = 8 * PAGE_SIZE, .backing = GMEM_4K, .init_shared = true};
	struct gmem_file *f;

	(void)state;
	assert_int_equal(gmem_create(host, &cfg, &f), 0);
	assert_int_equal(gmem_nr_ranges(f), 1);
	assert_false(gmem_is_private(f, 0));
	assert_int_equal(gmem_host_write(f, 8, &(u64){5}, 1), 0);
	gmem_release(f);
}

/* ---- failures --------------------------------------------------------------------------------*/

/*
 * Row 48: whichever prepare fails, its error comes back, nothing was committed, and a retry works.
 */
static void test_prepare_fails(void **state)
{
	(void)state;
	for (u32 n = 1; n <= 2; n++) {
		struct gmem_set_attributes arg = {.size = SIZE_2M};
		struct fake_world w;
		struct fake *c;

		make(&w, 2048);
		assert_int_equal(gmem_convert(w.file, 100, 1, false), 0);
		c = fake_bind(&w, "a", 0, 2048, 32);
		assert_int_equal(fake_fault(c, 50), 0);
		fake_write(c, 50, 7);
		c->fail_call = n;
		assert_int_equal(gmem_set_attributes(w.file, &arg), -ENOMEM);
		assert_int_equal(arg.error_offset, 0);
		assert_null(strstr(w.log, "commit"));
		assert_non_null(strstr(w.log, "a.end 0+512"));
		assert_int_equal(gmem_nr_ranges(w.file), 3);
		assert_int_equal(fake_read(c, 50), 7);
		fake_check(&w);
		assert_int_equal(gmem_set_attributes(w.file, &arg), 0);
		assert_false(gmem_is_private(w.file, 0));
		assert_int_equal(*bytes_of(w.file, 50), 0);
		fake_world_exit(&w);
	}
}

#ifdef SEPTUM_CHECK
/* No room for the attributes is found out before any client hears of the conversion. */
static void test_no_room_for_attributes(void **state)
{
	struct gmem_set_attributes arg = {.offset = 3 * PAGE_SIZE, .size = PAGE_SIZE};
	struct fake_world w;

	(void)state;
	make(&w, 2048);
	fake_bind(&w, "a", 0, 2048, 32);
	host_fail_alloc_at(host, 1);
	assert_int_equal(gmem_set_attributes(w.file, &arg), -ENOMEM);
	assert_int_equal(arg.error_offset, 3 * PAGE_SIZE);
	assert_string_equal(w.log, "");
	assert_int_equal(gmem_nr_ranges(w.file), 1);
	assert_int_equal(gmem_set_attributes(w.file, &arg), 0);
	assert_int_equal(gmem_nr_ranges(w.file), 3);
	fake_world_exit(&w);
}
#endif

/* ---- contents --------------------------------------------------------------------------------*/

/*
 * What becomes shared reads as zero, from the same frame; pages beside it, and shared already,
 * stay.
 */
static void test_contents(void **state)
{
	struct fake_world w;
	u64 *frame;

	(void)state;
	make(&w, 1024);
	for (u64 i = 10; i < 20; i++)
		fill(w.file, i, i);
	frame = bytes_of(w.file, 12);
	assert_int_equal(gmem_convert(w.file, 14, 2, false), 0);
	fill(w.file, 14, 0xabc);
	assert_int_equal(gmem_convert(w.file, 12, 4, false), 0);
	for (u64 i = 10; i < 20; i++)
		assert_int_equal(*bytes_of(w.file, i),
				 i == 14 ? 0xabc : (i >= 12 && i < 16 ? 0 : i));
	assert_ptr_equal(frame, bytes_of(w.file, 12));
	/* A whole huge page. */
	fill(w.file, 512, 5);
	assert_int_equal(gmem_convert(w.file, 0, 1024, false), 0);
	assert_int_equal(*bytes_of(w.file, 512), 0);
	assert_int_equal(*bytes_of(w.file, 14), 0xabc);
	fake_world_exit(&w);
}

/* A file of 4K folios is zeroed folio by folio, and what was never used stays unused. */
static void test_small_folios(void **state)
{
	struct gmem_config cfg = {.size = 600 * PAGE_SIZE, .backing = GMEM_4K};
	struct gmem_file *f;

	(void)state;
	assert_int_equal(gmem_create(host, &cfg, &f), 0);
	fill(f, 3, 33);
	fill(f, 513, 44);
	assert_int_equal(gmem_convert(f, 0, 600, false), 0);
	assert_int_equal(gmem_frames(f), 2);
	assert_int_equal(*bytes_of(f, 3), 0);
	assert_int_equal(*bytes_of(f, 513), 0);
	gmem_release(f);
}

/* A folio that is new shows zeros on its shared side, whatever its frames held. */
static void test_new_folio_is_zero(void **state)
{
	static const u64 junk[2] = {0x1111, 0x2222};

	(void)state;
	for (int small = 0; small <= 1; small++) {
		struct gmem_config cfg = {.size = 1024 * PAGE_SIZE,
					  .backing = small ? GMEM_4K : GMEM_THP};
		struct gmem_file *f;
		pfn_t pfn;

		assert_int_equal(host_alloc(host, PG_LEVEL_1G, FRAME_OTHER, &pfn), 0);
		for (u64 i = 0; i < 4096; i++)
			host_write(host, fn_to_addr(pfn + i), 0, junk, 2);
		host_free(host, pfn, PG_LEVEL_1G, FRAME_OTHER);
		assert_int_equal(gmem_create(host, &cfg, &f), 0);
		assert_int_equal(gmem_convert(f, 100, 50, false), 0);
		for (u64 i = 100; i < 150; i++)
			assert_int_equal(*bytes_of(f, i), 0);
		assert_int_equal(gmem_convert(f, 0, 1024, false), 0);
		for (u64 i = 0; i < 1024; i++)
			assert_int_equal(*bytes_of(f, i), 0);
		gmem_release(f);
	}
}

/* Random conversions agree with a flat model of attributes and contents. */
static void test_against_model(void **state)
{
	enum { PAGES = 1200, STEPS = 1500 };
	const u64 seed = 21;
	static u64 value[PAGES];
	static bool private[PAGES];
	struct fake_world w;
	struct rng rng;

	(void)state;
	make(&w, PAGES);
	rng_init(&rng, seed);
	memset(private, 1, sizeof(private));
	for (u32 step = 0; step < STEPS; step++) {
		u64 at = rng_below(&rng, PAGES), nr = 1 + rng_below(&rng, PAGES - at);
		bool to_private = rng_below(&rng, 2);

		if (rng_below(&rng, 4))
			nr = min_u64(nr, 1 + rng_below(&rng, 8));
		value[at] = step + 1;
		fill(w.file, at, value[at]);
		assert_int_equal(gmem_convert(w.file, at, nr, to_private), 0);
		for (u64 i = at; i < at + nr; i++) {
			if (private[i] && !to_private)
				value[i] = 0;
			private[i] = to_private;
		}
		for (u64 i = 0; i < PAGES; i += 1 + rng_below(&rng, 5))
			if (gmem_is_private(w.file, i) != private[i] ||
			    (value[i] && *bytes_of(w.file, i) != value[i]))
				fail_msg("seed %llu step %u index %llu", (unsigned long long)seed,
					 step, (unsigned long long)i);
	}
	fake_world_exit(&w);
}

/* A TiB at once, of which two pages were ever used: nothing else is touched. */
static void test_sparse(void **state)
{
	struct gmem_config cfg = {.size = 1ULL << 40, .backing = GMEM_THP};
	u64 last = addr_to_fn(cfg.size) - 1;
	struct gmem_file *f;

	(void)state;
	assert_int_equal(gmem_create(host, &cfg, &f), 0);
	fill(f, 5, 55);
	fill(f, last, 66);
	assert_int_equal(gmem_convert(f, 0, last + 1, false), 0);
	assert_int_equal(*bytes_of(f, 5), 0);
	assert_int_equal(*bytes_of(f, last), 0);
	assert_int_equal(gmem_frames(f), 1024);
	assert_int_equal(gmem_convert(f, 0, last + 1, true), 0);
	assert_int_equal(gmem_frames(f), 1024);
	assert_int_equal(gmem_nr_ranges(f), 1);
	gmem_release(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_arguments),
		cmocka_unit_test(test_good_arguments),
		cmocka_unit_test(test_no_op),
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_many_parts),
		cmocka_unit_test(test_ranges_merge),
		cmocka_unit_test(test_init_shared),
		cmocka_unit_test(test_prepare_fails),
#ifdef SEPTUM_CHECK
		cmocka_unit_test(test_no_room_for_attributes),
#endif
		cmocka_unit_test(test_contents),
		cmocka_unit_test(test_small_folios),
		cmocka_unit_test(test_new_folio_is_zero),
		cmocka_unit_test(test_against_model),
		cmocka_unit_test(test_sparse),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
