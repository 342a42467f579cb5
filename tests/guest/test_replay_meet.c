/* SPDX-License-Identifier: MIT */
/* Meetings of the replay guest: memory that it gives back, and memory that it shares. */
#include <errno.h>

#include "replay_rig.h"
#include "vm/vm.h"

#define GFNS (8 * 512 + 37)

/* ---- discards --------------------------------------------------------------------------------*/

/* After a discard a page reads as zero until it is written, and then as what was written. */
static void test_discard_resets(void **state)
{
	static const struct event e[] = {{0, true, 9},	 {0, true, 9},	 {0, false, 9},
					 {0, false, 9},	 {0, true, 9},	 {0, false, 9},
					 {0, true, 600}, {0, false, 600}};
	static const struct replay_discard d = {.gpa = 0, .size = SIZE_2M, .event = 4};

	(void)state;
	for (u32 host_2m = 0; host_2m < 2; host_2m++) {
		struct world *w = world_make(GFNS, 1);
		struct trace *t = make_trace(e, 8, 1);
		struct replay_config cfg = config_of(t, w);
		struct replay_stats s;

		cfg.discards = &d;
		cfg.nr_discards = 1;
		w->host_2m = host_2m;
		s = run(w, &cfg);
		expect_clean(w, t, &s);
		assert_int_equal(w->discards, 1);
		assert_int_equal(s.discards, 1);
		assert_int_equal(s.accepts_2m, host_2m ? 3 : 0);
		assert_int_equal(s.accepts_4k, host_2m ? 0 : 3 * 512);
		free_trace(t);
		world_free(w);
	}
}

/* A value from before a discard is wrong after it, although as many writes were made since. */
static void test_old_value_is_wrong(void **state)
{
	static const struct event e[] = {{0, true, 9}, {0, false, 9}, {0, false, 9}};
	static const struct replay_discard d = {.gpa = 9 << 12, .size = 4096, .event = 3};
	struct world *w = world_make(GFNS, 1);
	struct trace *t = make_trace(e, 3, 1);
	struct replay_config cfg = config_of(t, w);
	struct replay_stats s;

	(void)state;
	cfg.discards = &d;
	cfg.nr_discards = 1;
	cfg.accept_level = PG_LEVEL_4K;
	w->fault = FAULT_NO_ZEROING;
	s = run(w, &cfg);
	assert_int_equal(s.errors, 1);
	assert_int_equal(s.checks, 2);
	free_trace(t);
	world_free(w);
}

/* A stale translation of memory that was discarded is an error, though the bytes are right. */
static void test_stale_translation(void **state)
{
	static const struct event e[] = {{0, true, 9}, {0, false, 9}, {0, true, 9}, {0, false, 9}};
	static const struct replay_discard d = {.gpa = 9 << 12, .size = 4096, .event = 3};
	struct world *w = world_make(GFNS, 1);
	struct trace *t = make_trace(e, 4, 1);
	struct replay_config cfg = config_of(t, w);
	struct replay_stats s;
	char report[512];

	(void)state;
	cfg.discards = &d;
	cfg.nr_discards = 1;
	cfg.accept_level = PG_LEVEL_4K;
	cfg.report = fmemopen(report, sizeof(report), "w");
	w->fault = FAULT_STALE;
	w->fault_gfn = 9;
	s = run(w, &cfg);
	fclose(cfg.report);
	assert_int_equal(s.errors, 1);
	assert_int_equal(s.checks, 2);
	assert_non_null(
		strstr(report, "event 4: vCPU 0 reads gfn 0x9 through a stale translation"));
	free_trace(t);
	world_free(w);
}

/* A discard that the host refuses is counted and said, and leaves every value right. */
static void test_refused_discard(void **state)
{
	static const struct event e[] = {{0, true, 9}, {0, false, 9}};
	static const struct replay_discard d = {.gpa = 0, .size = SIZE_2M, .event = 2};
	struct world *w = world_make(GFNS, 1);
	struct trace *t = make_trace(e, 2, 1);
	struct replay_config cfg = config_of(t, w);
	struct replay_stats s;
	char report[512];

	(void)state;
	cfg.discards = &d;
	cfg.nr_discards = 1;
	cfg.report = fmemopen(report, sizeof(report), "w");
	w->refuses_discards = true;
	s = run(w, &cfg);
	fclose(cfg.report);
	expect_clean(w, t, &s);
	assert_int_equal(s.discards, 0);
	assert_int_equal(s.discards_refused, 1);
	assert_non_null(strstr(
		report, "discard of gfns 0x0 to 0x1ff before event 2: refused by the host (0x1)"));
	free_trace(t);
	world_free(w);
}

/* Random discards in any order, beyond the last event, too, while many vCPUs run: no read is wrong. */
static void test_random_discards(void **state)
{
	(void)state;
	for (u64 seed = 1; seed <= 8; seed++) {
		u32 vcpus = 1 + seed % 4;
		struct world *w = world_make(GFNS, vcpus + 1);
		struct trace *t = random_trace(seed, 6000, vcpus, GFNS);
		struct replay_config cfg = config_of(t, w);
		struct replay_discard d[12];
		struct replay_stats s;
		struct rng rng;

		print_message("seed %llu\n", (unsigned long long)seed);
		rng_init(&rng, seed);
		for (u32 i = 0; i < 12; i++) {
			u64 block = rng_below(&rng, 9), end = min_u64(block * 512 + 512, GFNS);

			d[i] = (struct replay_discard){
				.gpa = block << 21,
				.size = fn_to_addr(end - block * 512),
				.event = 1 + rng_below(&rng, 6100),
			};
		}
		d[5].event = d[6].event;
		cfg.discards = d;
		cfg.nr_discards = 12;
		cfg.accept = (enum accept_mode)(seed % 3);
		cfg.accept_level = seed % 2 ? PG_LEVEL_2M : PG_LEVEL_4K;
		cfg.seed = seed;
		w->ve = cfg.accept == ACCEPT_TOUCH;
		w->host_2m = seed % 5;
		w->exit_one_in = 9;
		w->busy_one_in = 9;
		s = run(w, &cfg);
		expect_clean(w, t, &s);
		assert_int_equal(w->discards, 12);
		free_trace(t);
		world_free(w);
	}
}

/* ---- configurations --------------------------------------------------------------------------*/

/* ---- conversions -----------------------------------------------------------------------------*/

/* A conversion is one MapGPA a step; what was shared is accepted at once, and what a page held is gone. */
static void test_conversion(void **state)
{
	static const struct event e[] = {{0, true, 9},	{0, true, 10},	{1, false, 9}, {0, true, 9},
					 {1, false, 9}, {0, false, 10}, {1, false, 9}};
	static const struct replay_conversion c[] = {
		{.gpa = 8 << 12, .size = 2 << 12, .event = 3, .step = 4096},
		{.gpa = 8 << 12, .size = 2 << 12, .event = 6, .to_private = true}};

	(void)state;
	for (enum accept_mode mode = ACCEPT_LAZY; mode <= ACCEPT_TOUCH; mode++) {
		for (enum pg_level level = PG_LEVEL_4K; level <= PG_LEVEL_2M; level++) {
			struct trace *t = make_trace(e, ARRAY_SIZE(e), 2);
			struct world *w = world_make(512, 2);
			struct replay_config cfg = config_of(t, w);
			struct replay_stats s;

			w->host_2m = true;
			w->ve = true;
			cfg.accept = mode;
			cfg.accept_level = level;
			cfg.conversions = c;
			cfg.nr_conversions = 2;
			s = run(w, &cfg);
			expect_clean(w, t, &s);
			assert_int_equal(w->map_gpas, 3);
			assert_int_equal(w->converted, 4);
			assert_int_equal(s.conversions, 3);
			assert_int_equal(s.conversions_refused, 0);
			world_free(w);
			free_trace(t);
		}
	}
}

/* After a conversion there and back a page reads as zero; another's bytes on the shared side show. */
static void test_conversion_resets(void **state)
{
	static const struct event e[] = {{0, true, 9}, {0, false, 9}};
	static const struct replay_conversion c[] = {
		{.gpa = 9 << 12, .size = 4096, .event = 2},
		{.gpa = 9 << 12, .size = 4096, .event = 2, .to_private = true}};
	struct trace *t = make_trace(e, 2, 1);
	struct world *w = world_make(512, 1);
	struct replay_config cfg = config_of(t, w);
	struct replay_stats s;

	(void)state;
	cfg.conversions = c;
	cfg.nr_conversions = 2;
	s = run(w, &cfg);
	expect_clean(w, t, &s);
	world_free(w);

	w = world_make(512, 1);
	cfg = config_of(t, w);
	cfg.conversions = c;
	cfg.nr_conversions = 1;
	w->fault = FAULT_CROSSED_PAGES;
	w->fault_gfn = 9;
	sync_store(&w->words[10], 1234);
	s = run(w, &cfg);
	assert_int_equal(s.errors, 1);
	world_free(w);
	free_trace(t);
}

/* A host that asks for a retry is asked again: from where it says, and three times without progress. */
static void test_retries(void **state)
{
	static const struct event e[] = {{0, true, 9}, {0, false, 9}, {0, true, 300}};
	static const struct replay_conversion c[] = {
		{.gpa = 1 << 12, .size = 100 << 12, .event = 2, .step = 50 << 12},
		{.gpa = 1 << 12, .size = 100 << 12, .event = 3, .to_private = true}};
	struct trace *t = make_trace(e, 3, 1);

	(void)state;
	for (int kind = 0; kind < 4; kind++) {
		struct world *w = world_make(512, 1);
		struct replay_config cfg = config_of(t, w);
		struct replay_stats s;
		char report[512] = "";

		cfg.conversions = c;
		cfg.nr_conversions = 2;
		cfg.report = fmemopen(report, sizeof(report), "w");
		w->map_gpa_retries = kind == 0 ? 3 : kind == 1 ? 4 : 0;
		w->map_gpa_most = kind == 2 ? 7 : 0;
		w->map_gpa_refuses = kind == 3 ? VM_HC_INVALID_OPERAND : 0;
		s = run(w, &cfg);
		fclose(cfg.report);
		expect_clean(w, t, &s);
		switch (kind) {
		case 0:
			assert_int_equal(w->map_gpas, 3 + 3);
			assert_int_equal(s.conversions_refused, 0);
			assert_int_equal(w->converted, 200);
			break;
		case 1:
			/* The first plan is given up, the second has nothing to do and succeeds. */
			assert_int_equal(w->map_gpas, 4 + 1);
			assert_int_equal(s.conversions_refused, 1);
			assert_int_equal(w->converted, 0);
			assert_non_null(strstr(report,
					       "MapGPA of gfns 0x1 to 0x32 to shared before "
					       "event 2: refused by the host (0x1)"));
			break;
		case 2:
			assert_int_equal(w->converted, 200);
			assert_int_equal(s.conversions_refused, 0);
			break;
		default:
			assert_int_equal(s.conversions_refused, 2);
			assert_int_equal(w->converted, 0);
		}
		world_free(w);
	}
	free_trace(t);
}

/* Random conversions and discards, many at one event, with exits anywhere: every read is right. */
static void test_random_conversions(void **state)
{
	(void)state;
	for (u64 seed = 1; seed <= 12; seed++) {
		struct trace *t = random_trace(seed, 3000, 3, GFNS);
		struct world *w = world_make(GFNS, 3);
		struct replay_config cfg = config_of(t, w);
		struct replay_conversion c[24];
		struct replay_discard d[6];
		struct replay_stats s;
		struct rng rng;

		rng_init(&rng, seed);
		for (u32 i = 0; i < 24; i++) {
			u64 at = rng_below(&rng, GFNS);
			u64 nr = 1 + rng_below(&rng, min_u64(GFNS - at, 1500));

			c[i] = (struct replay_conversion){
				.gpa = fn_to_addr(at),
				.size = fn_to_addr(nr),
				.event = 1 + rng_below(&rng, 8) * 400,
				.step = rng_below(&rng, 2) ? 0 : (1 + rng_below(&rng, 200)) << 12,
				.to_private = rng_below(&rng, 2)};
		}
		for (u32 i = 0; i < 6; i++) {
			u64 at = rng_below(&rng, GFNS);

			d[i] = (struct replay_discard){
				.gpa = fn_to_addr(at),
				.size = fn_to_addr(1 + rng_below(&rng, GFNS - at)),
				.event = 1 + rng_below(&rng, 8) * 400};
		}
		cfg.conversions = c;
		cfg.nr_conversions = 24;
		cfg.discards = d;
		cfg.nr_discards = 6;
		cfg.accept = (enum accept_mode)(seed % 3);
		cfg.accept_level = seed & 1 ? PG_LEVEL_2M : PG_LEVEL_4K;
		cfg.report = stderr;
		w->ve = cfg.accept == ACCEPT_TOUCH;
		w->host_2m = seed & 2;
		w->exit_one_in = 50;
		w->busy_one_in = 20;
		w->map_gpa_most = seed & 4 ? 90 : 0;
		print_message("seed %llu\n", (unsigned long long)seed);
		s = run(w, &cfg);
		expect_clean(w, t, &s);
		assert_int_equal(s.conversions_refused, 0);
		assert_true(w->converted > 0);
		world_free(w);
		free_trace(t);
	}
}

/* Conversions that memory doesn't hold, unaligned ones, and those without a shared bit are refused. */
static void test_bad_conversions(void **state)
{
	static const struct event e[] = {{0, true, 9}};
	static const struct replay_conversion bad[] = {
		{.gpa = 0, .size = 4096, .event = 0},
		{.gpa = 0, .size = 0, .event = 1},
		{.gpa = 1, .size = 4096, .event = 1},
		{.gpa = 0, .size = 4097, .event = 1},
		{.gpa = 0, .size = 513 << 12, .event = 1},
		{.gpa = 512 << 12, .size = 4096, .event = 1},
		{.gpa = 0, .size = 4096, .event = 1, .step = 5},
	};
	static const struct replay_conversion good = {.size = 4096, .event = 1};
	struct trace *t = make_trace(e, 1, 1);
	struct world *w = world_make(512, 1);
	struct replay_config cfg = config_of(t, w);
	struct replay *r;

	(void)state;
	cfg.nr_conversions = 1;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		cfg.conversions = &bad[i];
		assert_int_equal(replay_create(&cfg, &r), -EINVAL);
	}
	cfg.conversions = &good;
	cfg.shared_bit = 0;
	assert_int_equal(replay_create(&cfg, &r), -EINVAL);
	cfg.shared_bit = 64;
	assert_int_equal(replay_create(&cfg, &r), -EINVAL);
	world_free(w);
	free_trace(t);
}

static int enter(void **state)
{
	(void)state;
	sync_thread_enter();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_discard_resets),
		cmocka_unit_test(test_old_value_is_wrong),
		cmocka_unit_test(test_stale_translation),
		cmocka_unit_test(test_refused_discard),
		cmocka_unit_test(test_random_discards),
		cmocka_unit_test(test_conversion),
		cmocka_unit_test(test_conversion_resets),
		cmocka_unit_test(test_retries),
		cmocka_unit_test(test_random_conversions),
		cmocka_unit_test(test_bad_conversions),
	};

	return cmocka_run_group_tests(tests, enter, NULL);
}
