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
#include "gmem/attr.h"

#define PAGES_16T (1ULL << 32)
#define PAGES_256M 65536ULL

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
	sync_rcu_barrier();
	host_destroy(host);
	sync_thread_leave();
	return 0;
}

static struct gmem_attrs make_attrs(u64 pages)
{
	struct gmem_attrs attrs;

	assert_int_equal(gmem_attrs_init(&attrs, host, pages, true), 0);
	return attrs;
}

static void set_private(struct gmem_attrs *attrs, u64 index, u64 nr, bool private)
{
	struct gmem_attr_set *next = gmem_attrs_prepare(attrs, index, nr, private);

	assert_non_null(next);
	gmem_attrs_commit(attrs, next);
}

/* All indexes start alike, in one range, on either side. */
static void starts_uniform(void **state)
{
	struct gmem_attrs attrs = make_attrs(1000);

	(void)state;
	assert_int_equal(gmem_attrs_nr_ranges(&attrs), 1);
	assert_true(gmem_attrs_is_private(&attrs, 0));
	assert_true(gmem_attrs_is_private(&attrs, 999));
	assert_true(gmem_attrs_is_uniform(&attrs, 0, 1000));
	gmem_attrs_destroy(&attrs);

	assert_int_equal(gmem_attrs_init(&attrs, host, 10, false), 0);
	assert_int_equal(gmem_attrs_nr_ranges(&attrs), 1);
	assert_false(gmem_attrs_is_private(&attrs, 9));
	gmem_attrs_destroy(&attrs);
}

/* Row 83: alternating changes give a range each; making them all alike again leaves one. */
static void ranges_merge(void **state)
{
	struct gmem_attrs attrs = make_attrs(64);

	(void)state;
	for (u64 i = 1; i < 64; i += 2)
		set_private(&attrs, i, 1, false);
	assert_int_equal(gmem_attrs_nr_ranges(&attrs), 64);
	for (u64 i = 0; i < 64; i += 2)
		set_private(&attrs, i, 1, false);
	assert_int_equal(gmem_attrs_nr_ranges(&attrs), 1);
	assert_false(gmem_attrs_is_private(&attrs, 0));
	set_private(&attrs, 0, 64, true);
	assert_int_equal(gmem_attrs_nr_ranges(&attrs), 1);
	gmem_attrs_destroy(&attrs);
}

/* Changing an attribute to what it is changes nothing. */
static void no_change(void **state)
{
	struct gmem_attrs attrs = make_attrs(64);

	(void)state;
	set_private(&attrs, 8, 8, false);
	assert_int_equal(gmem_attrs_nr_ranges(&attrs), 3);
	set_private(&attrs, 9, 3, false);
	set_private(&attrs, 0, 8, true);
	set_private(&attrs, 16, 48, true);
	assert_int_equal(gmem_attrs_nr_ranges(&attrs), 3);
	assert_int_equal(gmem_attrs_run_end(&attrs, 0, 64), 8);
	assert_int_equal(gmem_attrs_run_end(&attrs, 8, 64), 16);
	assert_int_equal(gmem_attrs_run_end(&attrs, 8, 12), 12);
	assert_int_equal(gmem_attrs_run_end(&attrs, 16, 64), 64);
	gmem_attrs_destroy(&attrs);
}

static u64 model_ranges(const u8 *model, u64 n)
{
	u64 ranges = 1;

	for (u64 i = 1; i < n; i++)
		ranges += model[i] != model[i - 1];
	return ranges;
}

static u64 model_run_end(const u8 *model, u64 index, u64 end)
{
	u64 at = index;

	while (at < end && model[at] == model[index])
		at++;
	return at;
}

/* Random range of a file of @pages, more often a short one. */
static void pick(struct rng *rng, u64 pages, u64 *index, u64 *nr)
{
	*index = rng_below(rng, pages);
	*nr = 1 + rng_below(rng, pages - *index);
	if (rng_below(rng, 4))
		*nr = min_u64(*nr, 1 + rng_below(rng, 8));
}

#define MODEL_PAGES 300

static void expect_model(struct gmem_attrs *attrs, const u8 *model, u64 seed, u32 step)
{
	bool good = gmem_attrs_nr_ranges(attrs) == model_ranges(model, MODEL_PAGES);

	for (u64 i = 0; i < MODEL_PAGES && good; i++)
		good = gmem_attrs_is_private(attrs, i) == model[i] &&
		       gmem_attrs_run_end(attrs, i, MODEL_PAGES) ==
			       model_run_end(model, i, MODEL_PAGES);
	if (!good)
		fail_msg("seed %llu step %u", (unsigned long long)seed, step);
}

/*
 * Random changes agree with a flat array, in values, uniformity, ends and the number of ranges. Before
 * a change is published it answers for itself alone, and one that is given up has changed nothing.
 */
static void against_model(void **state)
{
	const u64 seed = 11;
	struct gmem_attrs attrs = make_attrs(MODEL_PAGES);
	struct rng rng;
	u8 model[MODEL_PAGES], will[MODEL_PAGES];

	(void)state;
	rng_init(&rng, seed);
	memset(model, 1, sizeof(model));
	for (u32 step = 0; step < 3000; step++) {
		struct gmem_attr_set *next;
		bool private = rng_below(&rng, 2), good = true;
		u64 at, nr;

		pick(&rng, MODEL_PAGES, &at, &nr);
		memcpy(will, model, sizeof(will));
		memset(will + at, private, nr);
		next = gmem_attrs_prepare(&attrs, at, nr, private);
		assert_non_null(next);
		expect_model(&attrs, model, seed, step);
		pick(&rng, MODEL_PAGES, &at, &nr);
		good = gmem_attr_set_is_private(next, at) == will[at] &&
		       gmem_attr_set_run_end(next, at, at + nr) ==
			       model_run_end(will, at, at + nr) &&
		       gmem_attr_set_all_private(next, at, nr) ==
			       (will[at] && model_run_end(will, at, at + nr) == at + nr) &&
		       gmem_attrs_is_uniform(&attrs, at, nr) ==
			       (model_run_end(model, at, at + nr) == at + nr);
		if (!good)
			fail_msg("seed %llu step %u", (unsigned long long)seed, step);
		if (rng_below(&rng, 8)) {
			gmem_attrs_commit(&attrs, next);
			memcpy(model, will, sizeof(model));
		} else {
			gmem_attrs_abort(next);
		}
		expect_model(&attrs, model, seed, step);
	}
	gmem_attrs_destroy(&attrs);
}

#ifdef SEPTUM_CHECK
/* Whichever allocation of a change fails, it is refused, and attributes are as they were. */
static void failed_allocations(void **state)
{
	const u64 seed = 5;
	struct gmem_attrs attrs = make_attrs(MODEL_PAGES);
	struct gmem_attr_set *next;
	u8 model[MODEL_PAGES];
	struct rng rng;
	u64 refused = 0;

	(void)state;
	rng_init(&rng, seed);
	memset(model, 1, sizeof(model));
	for (u32 step = 0; step < 200; step++) {
		bool private = rng_below(&rng, 2);
		u64 at, nr;

		pick(&rng, MODEL_PAGES, &at, &nr);
		for (u64 n = 1;; n++) {
			host_fail_alloc_at(host, n);
			next = gmem_attrs_prepare(&attrs, at, nr, private);
			host_fail_alloc_at(host, 0);
			expect_model(&attrs, model, seed, step);
			if (next)
				break;
			refused++;
		}
		gmem_attrs_commit(&attrs, next);
		memset(model + at, private, nr);
		expect_model(&attrs, model, seed, step);
	}
	assert_true(refused > 1000);
	gmem_attrs_destroy(&attrs);
}

/*
 * 256 MiB page by page on alternating sides is 65,536 ranges, in whatever order they come about; no
 * change makes more than 60 nodes, and making all alike again leaves one range.
 */
static void many_ranges(void **state)
{
	const u64 most = 1000000, changes = PAGES_256M / 2;
	/* Upwards, downwards, and in leaps that are prime to their number. */
	const u64 first[] = {0, changes - 1, 0}, step[] = {1, changes - 1, 12345};

	(void)state;
	for (int order = 0; order < 3; order++) {
		struct gmem_attrs attrs = make_attrs(PAGES_256M);
		u64 nodes = 0;

		for (u64 i = 0, at = first[order]; i < changes; i++) {
			host_fail_alloc_at(host, most);
			set_private(&attrs, 2 * at + 1, 1, false);
			nodes = max_u64(nodes, most - host->fail_alloc_at);
			at = (at + step[order]) % changes;
		}
		host_fail_alloc_at(host, 0);
		assert_in_range(nodes, 3, 60);
		assert_int_equal(gmem_attrs_nr_ranges(&attrs), PAGES_256M);
		for (u64 i = 0; i < PAGES_256M; i += 997)
			assert_int_equal(gmem_attrs_is_private(&attrs, i), i % 2 == 0);
		set_private(&attrs, 1, PAGES_256M - 1, true);
		assert_int_equal(gmem_attrs_nr_ranges(&attrs), 1);
		gmem_attrs_destroy(&attrs);
	}
}
#endif

/* The last index of a 16 TiB file has an attribute like any other. */
static void huge_file(void **state)
{
	struct gmem_attrs attrs = make_attrs(PAGES_16T);

	(void)state;
	set_private(&attrs, PAGES_16T - 1, 1, false);
	assert_false(gmem_attrs_is_private(&attrs, PAGES_16T - 1));
	assert_true(gmem_attrs_is_private(&attrs, PAGES_16T - 2));
	assert_true(gmem_attrs_is_uniform(&attrs, 0, PAGES_16T - 1));
	assert_false(gmem_attrs_is_uniform(&attrs, 0, PAGES_16T));
	gmem_attrs_destroy(&attrs);
}

/* ---- readers and a writer --------------------------------------------------------------------*/
struct race {
	struct gmem_attrs attrs;
	u32 stop, bad;
};

static void read_attributes(void *arg)
{
	struct race *r = arg;
	bool good;
	u64 end;

	/* 0 and 99 never change; 40 to 49 change together, and nothing beside them does. */
	while (!sync_load(&r->stop)) {
		end = gmem_attrs_run_end(&r->attrs, 40, 60);
		good = gmem_attrs_is_private(&r->attrs, 0) &&
		       gmem_attrs_is_private(&r->attrs, 99) &&
		       gmem_attrs_is_uniform(&r->attrs, 40, 10) && (end == 50 || end == 60);
		if (!good)
			sync_fetch_add(&r->bad, 1);
	}
}

/* Readers without a lock see one state or the next, never a half-made one. */
static void readers_see_whole_states(void **state)
{
	struct race r = {.attrs = make_attrs(100)};
	struct sync_thread reader;

	(void)state;
	assert_int_equal(sync_thread_create(&reader, read_attributes, &r), 0);
	for (u64 i = 0; i < 3000; i++) {
		if (i % 3)
			set_private(&r.attrs, 1 + i % 39, 1, i / 39 & 1);
		else
			set_private(&r.attrs, 40, 10, i & 1);
	}
	sync_store(&r.stop, 1);
	sync_thread_join(&reader);
	assert_int_equal(r.bad, 0);
	gmem_attrs_destroy(&r.attrs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(starts_uniform),     cmocka_unit_test(ranges_merge),
		cmocka_unit_test(no_change),	      cmocka_unit_test(against_model),
#ifdef SEPTUM_CHECK
		cmocka_unit_test(failed_allocations), cmocka_unit_test(many_ranges),
#endif
		cmocka_unit_test(huge_file),	      cmocka_unit_test(readers_see_whole_states),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
