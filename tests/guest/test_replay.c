/* SPDX-License-Identifier: MIT */
/* The replay guest in a world of its own (world.h): it accepts as it should, and finds what is wrong. */
#include <errno.h>

#include "replay_rig.h"

static u64 open_pages_of(const struct world *w)
{
	u64 n = 0;

	for (u64 i = 0; i < w->nr_gfns; i++)
		n += w->state[i] == PAGE_OPEN;
	return n;
}

/* ---- accepting -------------------------------------------------------------------------------*/
#define GFNS (8 * 512 + 37)

/* Every way to accept, over every host, with exits anywhere, ends with every read right. */
static void test_every_mode(void **state)
{
	(void)state;
	for (u32 i = 0; i < 3 * 2 * 2 * 3; i++) {
		static const u32 vcpus[] = {1, 2, 4};
		struct world *w = world_make(GFNS, vcpus[i / 12]);
		struct trace *t = random_trace(i, 4000, w->nr_vcpus, GFNS);
		struct replay_config cfg = config_of(t, w);
		struct replay_stats s;

		cfg.accept = (enum accept_mode)(i % 3);
		cfg.accept_level = i / 3 % 2 ? PG_LEVEL_2M : PG_LEVEL_4K;
		w->host_2m = i / 6 % 2;
		w->ve = cfg.accept == ACCEPT_TOUCH;
		w->exit_one_in = 7;
		w->busy_one_in = 5;
		print_message("vcpus %u accept %u level %u host_2m %u\n", w->nr_vcpus, cfg.accept,
			      cfg.accept_level, w->host_2m);
		s = run(w, &cfg);
		expect_clean(w, t, &s);
		free_trace(t);
		world_free(w);
	}
}

/* Lazily, 2M over 2M: one accept for each block that is touched, and only those; the tail at 4K. */
static void test_lazy_2m(void **state)
{
	static const struct event e[] = {
		{0, true, 5}, {0, false, 511}, {0, true, 1024}, {0, true, 8 * 512 + 3}};
	struct world *w = world_make(GFNS, 1);
	struct trace *t = make_trace(e, 4, 1);
	struct replay_config cfg = config_of(t, w);
	struct replay_stats s;

	(void)state;
	w->host_2m = true;
	s = run(w, &cfg);
	expect_clean(w, t, &s);
	assert_int_equal(s.accepts_2m, 2);
	assert_int_equal(s.accepts_4k, 37);
	assert_int_equal(s.size_mismatches, 0);
	assert_int_equal(open_pages_of(w), 1024 + 37);
	free_trace(t);
	world_free(w);
}

/* A 2M accept of memory that is mapped at 4K falls back to 512 small ones, once for each block. */
static void test_size_mismatch(void **state)
{
	static const struct event e[] = {{0, true, 5}, {0, false, 7}, {0, true, 1024}};
	struct world *w = world_make(GFNS, 1);
	struct trace *t = make_trace(e, 3, 1);
	struct replay_config cfg = config_of(t, w);
	struct replay_stats s;

	(void)state;
	s = run(w, &cfg);
	expect_clean(w, t, &s);
	assert_int_equal(s.accepts_2m, 0);
	assert_int_equal(s.accepts_4k, 1024);
	assert_int_equal(s.size_mismatches, 2);
	free_trace(t);
	world_free(w);
}

/* A 4K accept touches the pages that are used and no others, even where the host maps 2M. */
static void test_lazy_4k(void **state)
{
	static const struct event e[] = {
		{0, true, 5}, {0, false, 7}, {0, true, 1024}, {0, true, 5}};

	(void)state;
	for (u32 host_2m = 0; host_2m < 2; host_2m++) {
		struct world *w = world_make(GFNS, 1);
		struct trace *t = make_trace(e, 4, 1);
		struct replay_config cfg = config_of(t, w);
		struct replay_stats s;

		cfg.accept_level = PG_LEVEL_4K;
		w->host_2m = host_2m;
		s = run(w, &cfg);
		expect_clean(w, t, &s);
		assert_int_equal(s.accepts_4k, 3);
		assert_int_equal(s.accepts_2m, 0);
		assert_int_equal(open_pages_of(w), 3);
		free_trace(t);
		world_free(w);
	}
}

/* Eagerly, all of memory is accepted before the first access, vCPUs without events helping. */
static void test_eager(void **state)
{
	static const struct event e[] = {{1, true, 5}};
	struct world *w = world_make(GFNS, 4);
	struct trace *t = make_trace(e, 1, 2);
	struct replay_config cfg = config_of(t, w);
	struct replay_stats s;

	(void)state;
	cfg.accept = ACCEPT_EAGER;
	w->host_2m = true;
	s = run(w, &cfg);
	expect_clean(w, t, &s);
	assert_int_equal(s.accepts_2m, 8);
	assert_int_equal(s.accepts_4k, 37);
	assert_int_equal(open_pages_of(w), GFNS);
	free_trace(t);
	world_free(w);
}

/* Touching first takes a #VE for each unit and accepts that unit, not more. */
static void test_touch(void **state)
{
	static const struct event e[] = {{0, true, 5}, {0, false, 5}, {0, true, 513}, {0, true, 6}};
	struct world *w = world_make(GFNS, 1);
	struct trace *t = make_trace(e, 4, 1);
	struct replay_config cfg = config_of(t, w);
	struct replay_stats s;

	(void)state;
	cfg.accept = ACCEPT_TOUCH;
	w->host_2m = true;
	w->ve = true;
	s = run(w, &cfg);
	expect_clean(w, t, &s);
	assert_int_equal(s.accepts_2m, 2);
	/* Each block: mapped at its first touch, then the #VE. */
	assert_int_equal(w->violations, 4);
	free_trace(t);
	world_free(w);
}

/* A vCPU that waits for another's accept leaves when it is kicked, and waits on at the next entry. */
static void test_wait_can_be_kicked(void **state)
{
	static const struct event e[] = {{0, true, 5}, {1, true, 6}};
	struct world *w = world_make(GFNS, 2);
	struct trace *t = make_trace(e, 2, 2);
	struct replay_config cfg = config_of(t, w);
	struct replay *r;

	(void)state;
	assert_int_equal(replay_create(&cfg, &r), 0);
	/* vCPU 0 claims the block and leaves: the host has no memory there yet. */
	world_enter(w, 0, r);
	assert_int_equal(w->vcpu[0].lp->exit.kind, LP_EXIT_EPT_VIOLATION);
	w->exit_one_in = 50;
	for (u32 i = 0; i < 3; i++) {
		world_enter(w, 1, r);
		assert_int_equal(w->vcpu[1].lp->exit.kind, LP_EXIT_INTERRUPT);
	}
	assert_int_equal(replay_stats(r).accepts_4k, 0);
	assert_int_equal(replay_events_done(r), 0);
	w->exit_one_in = 0;
	world_run(w, r);
	assert_int_equal(replay_events_done(r), 2);
	assert_int_equal(replay_stats(r).errors, 0);
	replay_destroy(r);
	free_trace(t);
	world_free(w);
}

/* ---- what goes wrong is found -------------------------------------------------------------------*/
static struct replay_stats run_faulty(enum world_fault fault, const struct event *e, u64 n,
				      char *report, size_t report_size)
{
	struct world *w = world_make(GFNS, 1);
	struct trace *t = make_trace(e, n, 1);
	struct replay_config cfg = config_of(t, w);
	struct replay_stats s;

	cfg.accept_level = PG_LEVEL_4K;
	cfg.report = fmemopen(report, report_size, "w");
	w->fault = fault;
	w->fault_gfn = e[0].gfn;
	s = run(w, &cfg);
	fclose(cfg.report);
	free_trace(t);
	world_free(w);
	return s;
}

/* A write that got lost shows at every later read, and the report says where. */
static void test_lost_write(void **state)
{
	static const struct event e[] = {{0, true, 9}, {0, false, 9}, {0, true, 9}, {0, false, 9}};
	char report[512];
	struct replay_stats s = run_faulty(FAULT_LOST_WRITE, e, 4, report, sizeof(report));

	(void)state;
	assert_int_equal(s.errors, 1);
	assert_int_equal(s.checks, 2);
	assert_non_null(strstr(report, "event 2: vCPU 0 reads gfn 0x9, slot 0: expected 0x"));
	assert_non_null(strstr(report, "found 0x0000000000000000\n"));
}

/* A read that reaches another page is found by what that page holds, or by what it lacks. */
static void test_crossed_pages(void **state)
{
	static const struct event e[] = {
		{0, false, 9}, {0, true, 10}, {0, false, 9}, {0, true, 9}, {0, false, 9}};
	char report[512];
	struct replay_stats s = run_faulty(FAULT_CROSSED_PAGES, e, 5, report, sizeof(report));

	(void)state;
	/* Event 1 can't tell: both pages are blank. */
	assert_int_equal(s.errors, 2);
	assert_int_equal(s.checks, 1);
	assert_null(strstr(report, "event 1: "));
	assert_non_null(strstr(report, "event 3: "));
	assert_non_null(strstr(report, "event 5: "));
	assert_non_null(strstr(report, "(through a stale translation)"));
}

/* What one vCPU has written another must find, once it was complete before the read. */
static void test_lost_for_another(void **state)
{
	static const struct event e[] = {{0, true, 9}, {1, false, 9}, {1, true, 9}, {0, false, 9}};
	/* Nothing there; but everybody meets, so the events are in order. */
	static const struct replay_discard meet[] = {
		{.gpa = SIZE_2M, .size = SIZE_2M, .event = 2},
		{.gpa = SIZE_2M, .size = SIZE_2M, .event = 4},
	};

	(void)state;
	for (u32 faulty = 0; faulty < 2; faulty++) {
		struct world *w = world_make(GFNS, 2);
		struct trace *t = make_trace(e, 4, 2);
		struct replay_config cfg = config_of(t, w);
		char report[512] = "";
		struct replay_stats s;

		cfg.discards = meet;
		cfg.nr_discards = 2;
		cfg.report = fmemopen(report, sizeof(report), "w");
		w->fault = faulty ? FAULT_LOST_WRITE : FAULT_NONE;
		w->fault_gfn = 9;
		s = run(w, &cfg);
		fclose(cfg.report);
		assert_int_equal(s.checks, 2);
		/* Both reads look at both slots; slot 0 never gets its value. */
		assert_int_equal(s.errors, faulty ? 2 : 0);
		if (faulty)
			assert_non_null(strstr(report, "event 2: vCPU 1 reads gfn 0x9, slot 0: "));
		free_trace(t);
		world_free(w);
	}
}

/* A machine check is one error for each access that meets it, and the guest goes on. */
static void test_machine_check(void **state)
{
	static const struct event e[] = {
		{0, true, 9}, {0, false, 9}, {0, false, 9}, {0, true, 11}, {0, false, 11}};
	char report[512];
	struct replay_stats s = run_faulty(FAULT_MACHINE_CHECK, e, 5, report, sizeof(report));

	(void)state;
	assert_int_equal(s.errors, 2);
	assert_int_equal(s.checks, 3);
	assert_int_equal(s.accesses, 5);
	assert_non_null(strstr(report, "event 2: vCPU 0 reads gfn 0x9: machine check\n"));
}

/* An ACCEPT that fails is an error with the status by its name. */
static void test_accept_error(void **state)
{
	static const struct event e[] = {{0, true, 9}, {0, false, 9}};
	char report[512];
	struct replay_stats s = run_faulty(FAULT_ACCEPT_ERROR, e, 2, report, sizeof(report));

	(void)state;
	assert_int_equal(s.errors, 1);
	assert_int_equal(s.accesses, 2);
	assert_non_null(
		strstr(report, "ACCEPT of gfn 0x9: TDX_OPERAND_INVALID (0xc000010000000001)"));
}

/* Memory that stays pending after its accept is an error, not a guest that never ends. */
static void test_stays_pending(void **state)
{
	static const struct event e[] = {{0, true, 9}, {0, true, 10}, {0, false, 10}};
	struct world *w = world_make(GFNS, 1);
	struct trace *t = make_trace(e, 3, 1);
	struct replay_config cfg = config_of(t, w);
	struct replay_stats s;

	(void)state;
	cfg.accept = ACCEPT_TOUCH;
	cfg.accept_level = PG_LEVEL_4K;
	w->ve = true;
	w->fault = FAULT_STAYS_PENDING;
	w->fault_gfn = 9;
	s = run(w, &cfg);
	assert_int_equal(s.errors, 1);
	assert_int_equal(s.accesses, 3);
	assert_int_equal(s.checks, 1);
	free_trace(t);
	world_free(w);
}

/* Only the first eight errors are described; all are counted. */
static void test_report_is_bounded(void **state)
{
	struct event e[21] = {{0, true, 9}};
	char report[4096];
	struct replay_stats s;
	u32 lines = 0;

	(void)state;
	for (u32 i = 1; i < 21; i++)
		e[i] = (struct event){0, false, 9};
	s = run_faulty(FAULT_MACHINE_CHECK, e, 21, report, sizeof(report));
	assert_int_equal(s.errors, 20);
	for (const char *p = report; *p; p++)
		lines += *p == '\n';
	assert_int_equal(lines, 8);
}

/* What the trace doesn't fit into is -EINVAL. */
static void test_bad_config(void **state)
{
	static const struct event e[] = {{1, true, 9}};
	static const struct replay_discard bad[] = {
		{.gpa = 0, .size = 0, .event = 1},
		{.gpa = 1, .size = 4096, .event = 1},
		{.gpa = 0, .size = 4097, .event = 1},
		{.gpa = 0, .size = 4096, .event = 0},
		{.gpa = GFNS * 4096ULL, .size = 4096, .event = 1},
		{.gpa = 4096, .size = UINT64_MAX - 4095, .event = 1},
	};
	struct world *w = world_make(GFNS, 2);
	struct trace *t = make_trace(e, 1, 2);
	struct replay_config good = config_of(t, w), cfg;
	struct replay *r;

	(void)state;
	assert_int_equal(replay_create(&good, &r), 0);
	replay_destroy(r);
	cfg = good;
	cfg.nr_vcpus = 1;
	assert_int_equal(replay_create(&cfg, &r), -EINVAL);
	cfg = good;
	cfg.nr_vcpus = 513;
	assert_int_equal(replay_create(&cfg, &r), -EINVAL);
	cfg = good;
	cfg.memory_bytes = 9 * 4096;
	assert_int_equal(replay_create(&cfg, &r), -EINVAL);
	cfg = good;
	cfg.memory_bytes += 1;
	assert_int_equal(replay_create(&cfg, &r), -EINVAL);
	cfg = good;
	cfg.accept_level = PG_LEVEL_1G;
	assert_int_equal(replay_create(&cfg, &r), -EINVAL);
	cfg = good;
	cfg.nr_discards = 1;
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		cfg.discards = &bad[i];
		assert_int_equal(replay_create(&cfg, &r), -EINVAL);
	}
	free_trace(t);
	world_free(w);
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
		cmocka_unit_test(test_every_mode),
		cmocka_unit_test(test_lazy_2m),
		cmocka_unit_test(test_size_mismatch),
		cmocka_unit_test(test_lazy_4k),
		cmocka_unit_test(test_eager),
		cmocka_unit_test(test_touch),
		cmocka_unit_test(test_wait_can_be_kicked),
		cmocka_unit_test(test_lost_write),
		cmocka_unit_test(test_crossed_pages),
		cmocka_unit_test(test_lost_for_another),
		cmocka_unit_test(test_machine_check),
		cmocka_unit_test(test_accept_error),
		cmocka_unit_test(test_stays_pending),
		cmocka_unit_test(test_report_is_bounded),
		cmocka_unit_test(test_bad_config),
	};

	return cmocka_run_group_tests(tests, enter, NULL);
}
