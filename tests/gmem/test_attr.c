/* SPDX-License-Identifier: MIT */
/* Attributes of a file: they cover every index, equal neighbours are one range, errors change nothing. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "base/rng.h"
#include "base/sync.h"
#include "gmem/gmem.h"

#define SIZE_16T (16ULL << 40)

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
	(void)state;
	host_destroy(host);
	sync_rcu_barrier();
	sync_thread_leave();
	return 0;
}

static struct gmem_file *make_file(u64 pages)
{
	struct gmem_file *f;

	assert_int_equal(gmem_create(host, fn_to_addr(pages), GMEM_THP, &f), 0);
	return f;
}

/* A new file is private from end to end, in one range. */
static void test_starts_private(void **state)
{
	struct gmem_file *f = make_file(1000);

	(void)state;
	assert_int_equal(gmem_nr_ranges(f), 1);
	assert_true(gmem_is_private(f, 0));
	assert_true(gmem_is_private(f, 999));
	assert_false(gmem_is_private(f, 1000));
	assert_true(gmem_is_uniform(f, 0, 1000));
	gmem_destroy(f);
}

/* Alternating changes give a range each; making them all alike again leaves one. */
static void test_ranges_merge(void **state)
{
	struct gmem_file *f = make_file(64);

	(void)state;
	for (u64 i = 1; i < 64; i += 2)
		assert_int_equal(gmem_set_private(f, i, 1, false), 0);
	assert_int_equal(gmem_nr_ranges(f), 64);
	for (u64 i = 0; i < 64; i += 2)
		assert_int_equal(gmem_set_private(f, i, 1, false), 0);
	assert_int_equal(gmem_nr_ranges(f), 1);
	assert_false(gmem_is_private(f, 0));
	assert_int_equal(gmem_set_private(f, 0, 64, true), 0);
	assert_int_equal(gmem_nr_ranges(f), 1);
	gmem_destroy(f);
}

/* Changing an attribute to what it is changes nothing. */
static void test_no_change(void **state)
{
	struct gmem_file *f = make_file(64);

	(void)state;
	assert_int_equal(gmem_set_private(f, 8, 8, false), 0);
	assert_int_equal(gmem_nr_ranges(f), 3);
	assert_int_equal(gmem_set_private(f, 9, 3, false), 0);
	assert_int_equal(gmem_set_private(f, 0, 8, true), 0);
	assert_int_equal(gmem_nr_ranges(f), 3);
	gmem_destroy(f);
}

static u64 model_ranges(const u8 *model, u64 n)
{
	u64 ranges = 1;

	for (u64 i = 1; i < n; i++)
		ranges += model[i] != model[i - 1];
	return ranges;
}

/* Random changes agree with a flat array, in values, uniformity and the number of ranges. */
static void test_against_model(void **state)
{
	enum { PAGES = 300, STEPS = 3000 };
	const u64 seed = 11;
	struct gmem_file *f = make_file(PAGES);
	struct rng rng;
	u8 model[PAGES];

	(void)state;
	rng_init(&rng, seed);
	memset(model, 1, sizeof(model));
	for (u32 step = 0; step < STEPS; step++) {
		u64 at = rng_below(&rng, PAGES), nr = 1 + rng_below(&rng, PAGES - at);
		bool private = rng_below(&rng, 2), uniform = true;

		if (rng_below(&rng, 4))
			nr = min_u64(nr, 1 + rng_below(&rng, 8));
		assert_int_equal(gmem_set_private(f, at, nr, private), 0);
		memset(model + at, private, nr);
		at = rng_below(&rng, PAGES);
		nr = 1 + rng_below(&rng, PAGES - at);
		for (u64 i = at; i < at + nr; i++)
			uniform = uniform && model[i] == model[at];
		if (gmem_is_uniform(f, at, nr) != uniform ||
		    gmem_nr_ranges(f) != model_ranges(model, PAGES))
			fail_msg("seed %llu step %u", (unsigned long long)seed, step);
		for (u64 i = 0; i < PAGES; i++)
			if (gmem_is_private(f, i) != model[i])
				fail_msg("seed %llu step %u index %llu", (unsigned long long)seed,
					 step, (unsigned long long)i);
	}
	gmem_destroy(f);
}

/* An empty range, one past the end and one that overflows are -EINVAL, and nothing changed. */
static void test_bad_ranges(void **state)
{
	struct gmem_file *f = make_file(64);

	(void)state;
	assert_int_equal(gmem_set_private(f, 0, 0, false), -EINVAL);
	assert_int_equal(gmem_set_private(f, 64, 1, false), -EINVAL);
	assert_int_equal(gmem_set_private(f, 60, 5, false), -EINVAL);
	assert_int_equal(gmem_set_private(f, 1, UINT64_MAX, false), -EINVAL);
	assert_int_equal(gmem_set_private(f, UINT64_MAX, 2, false), -EINVAL);
	assert_false(gmem_is_uniform(f, 60, 5));
	assert_false(gmem_is_uniform(f, 0, 0));
	assert_int_equal(gmem_nr_ranges(f), 1);
	assert_true(gmem_is_private(f, 63));
	gmem_destroy(f);
}

/* The attribute of a page outlives its folio. */
static void test_survives_punch(void **state)
{
	struct gmem_file *f = make_file(1024);
	enum pg_level level;
	pfn_t pfn;

	(void)state;
	assert_int_equal(gmem_set_private(f, 0, 512, false), 0);
	assert_int_equal(gmem_get_pfn(f, 5, &pfn, &level), 0);
	assert_int_equal(gmem_punch_hole(f, 0, 1024), 0);
	assert_false(gmem_is_private(f, 5));
	assert_true(gmem_is_private(f, 512));
	assert_int_equal(gmem_nr_ranges(f), 2);
	gmem_destroy(f);
}

/* The last index of a 16 TiB file has an attribute like any other. */
static void test_huge_file(void **state)
{
	struct gmem_file *f = make_file(SIZE_16T / PAGE_SIZE);
	u64 last = SIZE_16T / PAGE_SIZE - 1;

	(void)state;
	assert_int_equal(gmem_set_private(f, last, 1, false), 0);
	assert_false(gmem_is_private(f, last));
	assert_true(gmem_is_private(f, last - 1));
	assert_true(gmem_is_uniform(f, 0, last));
	assert_false(gmem_is_uniform(f, 0, last + 1));
	gmem_destroy(f);
}

/* ---- readers and a writer --------------------------------------------------------------------*/
struct race {
	struct gmem_file *file;
	u32 stop, bad;
};

static void read_attributes(void *arg)
{
	struct race *r = arg;

	/* Indexes 0 and 99 never change; the ranges between come and go. */
	while (!sync_load(&r->stop))
		if (!gmem_is_private(r->file, 0) || !gmem_is_private(r->file, 99) ||
		    gmem_nr_ranges(r->file) < 1 || gmem_is_uniform(r->file, 0, 101))
			sync_fetch_add(&r->bad, 1);
}

/* Readers without a lock see one state or the next, never a half-made one. */
static void test_readers_see_whole_states(void **state)
{
	struct race r = {.file = make_file(100)};
	struct sync_thread reader;

	(void)state;
	assert_int_equal(sync_thread_create(&reader, read_attributes, &r), 0);
	for (u32 i = 0; i < 2000; i++)
		assert_int_equal(gmem_set_private(r.file, 1 + i % 97, 1, i / 97 & 1), 0);
	sync_store(&r.stop, 1);
	sync_thread_join(&reader);
	assert_int_equal(r.bad, 0);
	gmem_destroy(r.file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_starts_private),
		cmocka_unit_test(test_ranges_merge),
		cmocka_unit_test(test_no_change),
		cmocka_unit_test(test_against_model),
		cmocka_unit_test(test_bad_ranges),
		cmocka_unit_test(test_survives_punch),
		cmocka_unit_test(test_huge_file),
		cmocka_unit_test(test_readers_see_whole_states),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
