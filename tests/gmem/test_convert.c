/* SPDX-License-Identifier: MIT */
/* Conversion in place: what the clients hear, what pages hold, what a failure leaves. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/rng.h"
#include "base/sync.h"
#include "gmem/gmem.h"

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

/* A client that writes down what it is told, and what the attribute of @watched was then. */
struct client {
	struct gmem_file *file;
	char log[1024];
	u64 watched;
	u32 prepares, fail_prepare; /* fail_prepare: number of the one that fails; 0: none */
};

static void note(struct client *c, const char *what, u64 index, u64 nr)
{
	size_t n = strlen(c->log);

	snprintf(c->log + n, sizeof(c->log) - n, "%s %llu+%llu %s; ", what,
		 (unsigned long long)index, (unsigned long long)nr,
		 gmem_is_private(c->file, c->watched) ? "private" : "shared");
}

static void on_begin(void *client, u64 index, u64 nr)
{
	note(client, "begin", index, nr);
}

static int on_prepare(void *client, u64 index, u64 nr)
{
	struct client *c = client;

	note(c, "prepare", index, nr);
	return ++c->prepares == c->fail_prepare ? -ENOMEM : 0;
}

static void on_commit(void *client, u64 index, u64 nr)
{
	note(client, "commit", index, nr);
}

static void on_end(void *client, u64 index, u64 nr)
{
	note(client, "end", index, nr);
}

static const struct gmem_client_ops ops = {
	.begin = on_begin, .prepare = on_prepare, .commit = on_commit, .end = on_end};

static void make(struct client *c, u64 pages, u64 watched)
{
	memset(c, 0, sizeof(*c));
	c->watched = watched;
	assert_int_equal(gmem_create(host, fn_to_addr(pages), GMEM_THP, &c->file), 0);
}

static void unmake(struct client *c)
{
	gmem_unbind(c->file, c);
	gmem_destroy(c->file);
}

static u64 *bytes_of(struct gmem_file *f, u64 index)
{
	enum pg_level level;
	pfn_t pfn;

	assert_int_equal(gmem_get_pfn(f, index, &pfn, &level), 0);
	return host_frame_ptr(host, pfn);
}

static void fill(struct gmem_file *f, u64 index, u64 value)
{
	enum pg_level level;
	pfn_t pfn;

	assert_int_equal(gmem_get_pfn(f, index, &pfn, &level), 0);
	assert_int_equal(host_write(host, fn_to_addr(pfn), 0, &value, 1), 0);
}

/* begin, prepare, commit, then the attribute changes, then end. */
static void test_order(void **state)
{
	struct client c;

	(void)state;
	make(&c, 2048, 600);
	assert_int_equal(gmem_bind(c.file, 0, 2048, &ops, &c), 0);
	assert_int_equal(gmem_convert(c.file, 600, 8, false), 0);
	assert_string_equal(c.log, "begin 600+8 private; prepare 600+8 private; "
				   "commit 600+8 private; end 600+8 shared; ");
	assert_int_equal(gmem_nr_ranges(c.file), 3);
	unmake(&c);
}

/* Row 82: what is already so everywhere is 0, and no client hears of it. */
static void test_no_op(void **state)
{
	struct client c;

	(void)state;
	make(&c, 2048, 0);
	assert_int_equal(gmem_set_private(c.file, 512, 512, false), 0);
	assert_int_equal(gmem_bind(c.file, 0, 2048, &ops, &c), 0);
	assert_int_equal(gmem_convert(c.file, 0, 512, true), 0);
	assert_int_equal(gmem_convert(c.file, 1024, 1024, true), 0);
	assert_int_equal(gmem_convert(c.file, 512, 512, false), 0);
	assert_int_equal(gmem_convert(c.file, 700, 1, false), 0);
	assert_string_equal(c.log, "");
	unmake(&c);
}

/* Pages on their side already keep their mappings: only the runs that change are unmapped. */
static void test_runs(void **state)
{
	struct client c;

	(void)state;
	make(&c, 2048, 100);
	assert_int_equal(gmem_set_private(c.file, 100, 50, false), 0);
	assert_int_equal(gmem_set_private(c.file, 300, 50, false), 0);
	assert_int_equal(gmem_bind(c.file, 0, 2048, &ops, &c), 0);
	assert_int_equal(gmem_convert(c.file, 120, 200, false), 0);
	assert_string_equal(c.log, "begin 120+200 shared; prepare 150+150 shared; "
				   "commit 150+150 shared; end 120+200 shared; ");
	c.log[0] = '\0';
	assert_int_equal(gmem_set_private(c.file, 0, 1, false), -EBUSY);
	assert_int_equal(gmem_convert(c.file, 200, 10, true), 0);
	c.log[0] = '\0';
	assert_int_equal(gmem_convert(c.file, 0, 400, true), 0);
	assert_string_equal(c.log, "begin 0+400 shared; prepare 100+100 shared; "
				   "prepare 210+140 shared; commit 100+100 shared; "
				   "commit 210+140 shared; end 0+400 private; ");
	assert_int_equal(gmem_nr_ranges(c.file), 1);
	unmake(&c);
}

/* A client hears of the part that it is bound to; the rest changes as well. */
static void test_clipped(void **state)
{
	struct client c;

	(void)state;
	make(&c, 2048, 0);
	assert_int_equal(gmem_bind(c.file, 600, 100, &ops, &c), 0);
	assert_int_equal(gmem_convert(c.file, 0, 100, false), 0);
	assert_string_equal(c.log, "");
	assert_int_equal(gmem_convert(c.file, 0, 650, false), 0);
	assert_string_equal(c.log, "begin 600+50 shared; prepare 600+50 shared; "
				   "commit 600+50 shared; end 600+50 shared; ");
	assert_true(gmem_is_uniform(c.file, 0, 650));
	unmake(&c);
}

/* Row 48: whichever prepare fails, its error comes back, nothing was committed, and a retry works. */
static void test_prepare_fails(void **state)
{
	(void)state;
	for (u32 n = 1; n <= 2; n++) {
		struct client c;

		make(&c, 2048, 0);
		assert_int_equal(gmem_set_private(c.file, 100, 1, false), 0);
		assert_int_equal(gmem_bind(c.file, 0, 2048, &ops, &c), 0);
		fill(c.file, 50, 7);
		c.fail_prepare = n;
		assert_int_equal(gmem_convert(c.file, 0, 512, false), -ENOMEM);
		assert_null(strstr(c.log, "commit"));
		assert_non_null(strstr(c.log, "end 0+512"));
		assert_int_equal(gmem_nr_ranges(c.file), 3);
		assert_int_equal(*bytes_of(c.file, 50), 7);
		assert_int_equal(gmem_convert(c.file, 0, 512, false), 0);
		assert_false(gmem_is_private(c.file, 0));
		assert_int_equal(*bytes_of(c.file, 50), 0);
		unmake(&c);
	}
}

#ifdef SEPTUM_CHECK
/* No room for the attributes is found out before any client hears of the conversion. */
static void test_no_room_for_attributes(void **state)
{
	struct client c;

	(void)state;
	make(&c, 2048, 0);
	assert_int_equal(gmem_bind(c.file, 0, 2048, &ops, &c), 0);
	host_fail_alloc_at(host, 1);
	assert_int_equal(gmem_convert(c.file, 0, 1, false), -ENOMEM);
	assert_string_equal(c.log, "");
	assert_int_equal(gmem_nr_ranges(c.file), 1);
	assert_int_equal(gmem_convert(c.file, 0, 1, false), 0);
	assert_int_equal(gmem_nr_ranges(c.file), 2);
	unmake(&c);
}
#endif

/* Row 83: alternate conversions make a range each; unifying them leaves one. */
static void test_ranges_merge(void **state)
{
	struct client c;

	(void)state;
	make(&c, 64, 0);
	assert_int_equal(gmem_bind(c.file, 0, 64, &ops, &c), 0);
	for (u64 i = 1; i < 64; i += 2) {
		assert_int_equal(gmem_convert(c.file, i, 1, false), 0);
		c.log[0] = '\0';
	}
	assert_int_equal(gmem_nr_ranges(c.file), 64);
	for (u64 i = 0; i < 64; i += 2) {
		assert_int_equal(gmem_convert(c.file, i, 1, false), 0);
		c.log[0] = '\0';
	}
	assert_int_equal(gmem_nr_ranges(c.file), 1);
	assert_int_equal(gmem_convert(c.file, 0, 64, true), 0);
	assert_int_equal(gmem_nr_ranges(c.file), 1);
	assert_true(gmem_is_private(c.file, 33));
	unmake(&c);
}

/* Row 84: an empty range, one past the end and one that overflows are -EINVAL, nothing changed. */
static void test_bad_ranges(void **state)
{
	static const struct {
		u64 index, nr;
	} bad[] = {{0, 0}, {64, 1}, {60, 5}, {1, UINT64_MAX}, {UINT64_MAX, 2}, {UINT64_MAX, 0}};
	struct client c;

	(void)state;
	make(&c, 64, 0);
	assert_int_equal(gmem_bind(c.file, 0, 64, &ops, &c), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(gmem_convert(c.file, bad[i].index, bad[i].nr, false), -EINVAL);
		assert_int_equal(gmem_convert(c.file, bad[i].index, bad[i].nr, true), -EINVAL);
	}
	assert_string_equal(c.log, "");
	assert_int_equal(gmem_nr_ranges(c.file), 1);
	unmake(&c);
}

/* What becomes shared reads as zero, from the same frame; pages beside it, and shared already, stay. */
static void test_contents(void **state)
{
	struct client c;
	u64 *frame;

	(void)state;
	make(&c, 1024, 0);
	for (u64 i = 10; i < 20; i++)
		fill(c.file, i, i);
	frame = bytes_of(c.file, 12);
	assert_int_equal(gmem_convert(c.file, 14, 2, false), 0);
	fill(c.file, 14, 0xabc);
	assert_int_equal(gmem_convert(c.file, 12, 4, false), 0);
	for (u64 i = 10; i < 20; i++)
		assert_int_equal(*bytes_of(c.file, i),
				 i == 14 ? 0xabc : (i >= 12 && i < 16 ? 0 : i));
	assert_ptr_equal(frame, bytes_of(c.file, 12));
	/* A whole folio, and one of 4K. */
	fill(c.file, 512, 5);
	assert_int_equal(gmem_convert(c.file, 0, 1024, false), 0);
	assert_int_equal(*bytes_of(c.file, 512), 0);
	assert_int_equal(*bytes_of(c.file, 14), 0xabc);
	unmake(&c);
}

/* A file of 4K folios is zeroed folio by folio, and what was never used stays unused. */
static void test_small_folios(void **state)
{
	struct gmem_file *f;

	(void)state;
	assert_int_equal(gmem_create(host, fn_to_addr(600), GMEM_4K, &f), 0);
	fill(f, 3, 33);
	fill(f, 513, 44);
	assert_int_equal(gmem_convert(f, 0, 600, false), 0);
	assert_int_equal(gmem_frames(f), 2);
	assert_int_equal(*bytes_of(f, 3), 0);
	assert_int_equal(*bytes_of(f, 513), 0);
	gmem_destroy(f);
}

/* A folio that is new shows zeros on its shared side, whatever its frames held. */
static void test_new_folio_is_zero(void **state)
{
	static const u64 junk[2] = {0x1111, 0x2222};

	(void)state;
	for (int small = 0; small <= 1; small++) {
		struct gmem_file *f;
		pfn_t pfn;

		assert_int_equal(host_alloc(host, PG_LEVEL_1G, FRAME_OTHER, &pfn), 0);
		for (u64 i = 0; i < 4096; i++)
			host_write(host, fn_to_addr(pfn + i), 0, junk, 2);
		host_free(host, pfn, PG_LEVEL_1G, FRAME_OTHER);
		assert_int_equal(
			gmem_create(host, fn_to_addr(1024), small ? GMEM_4K : GMEM_THP, &f), 0);
		assert_int_equal(gmem_set_private(f, 100, 50, false), 0);
		for (u64 i = 100; i < 150; i++)
			assert_int_equal(*bytes_of(f, i), 0);
		assert_int_equal(gmem_convert(f, 0, 1024, false), 0);
		for (u64 i = 0; i < 1024; i++)
			assert_int_equal(*bytes_of(f, i), 0);
		gmem_destroy(f);
	}
}

/* Random conversions agree with a flat model of attributes and contents. */
static void test_against_model(void **state)
{
	enum { PAGES = 1200, STEPS = 1500 };
	const u64 seed = 21;
	static u64 value[PAGES];
	static bool private[PAGES];
	struct client c;
	struct rng rng;

	(void)state;
	make(&c, PAGES, 0);
	assert_int_equal(gmem_bind(c.file, 0, PAGES, &ops, &c), 0);
	rng_init(&rng, seed);
	memset(private, 1, sizeof(private));
	for (u32 step = 0; step < STEPS; step++) {
		u64 at = rng_below(&rng, PAGES), nr = 1 + rng_below(&rng, PAGES - at);
		bool to_private = rng_below(&rng, 2);

		if (rng_below(&rng, 4))
			nr = min_u64(nr, 1 + rng_below(&rng, 8));
		value[at] = step + 1;
		fill(c.file, at, value[at]);
		c.log[0] = '\0';
		assert_int_equal(gmem_convert(c.file, at, nr, to_private), 0);
		for (u64 i = at; i < at + nr; i++) {
			if (private[i] && !to_private)
				value[i] = 0;
			private[i] = to_private;
		}
		for (u64 i = 0; i < PAGES; i += 1 + rng_below(&rng, 5))
			if (gmem_is_private(c.file, i) != private[i] ||
			    (value[i] && *bytes_of(c.file, i) != value[i]))
				fail_msg("seed %llu step %u index %llu", (unsigned long long)seed,
					 step, (unsigned long long)i);
	}
	unmake(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_no_op),
		cmocka_unit_test(test_runs),
		cmocka_unit_test(test_clipped),
		cmocka_unit_test(test_prepare_fails),
#ifdef SEPTUM_CHECK
		cmocka_unit_test(test_no_room_for_attributes),
#endif
		cmocka_unit_test(test_ranges_merge),
		cmocka_unit_test(test_bad_ranges),
		cmocka_unit_test(test_contents),
		cmocka_unit_test(test_small_folios),
		cmocka_unit_test(test_new_folio_is_zero),
		cmocka_unit_test(test_against_model),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
