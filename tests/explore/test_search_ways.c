/* SPDX-License-Identifier: MIT */
/*
 * explore/search besides the exhaustive one: random priorities, replay, shrinking, injections as text,
 * pictures, and processes that crash.
 */
#include <errno.h>
#include <inttypes.h>

#include "explore/little.h"
#include "explore/worker.h"
#include "septum/abi.h"

static struct explore_result search(struct little *l, struct explore_options options)
{
	struct explore_runner runner = little_up(l);
	struct program *program = little_program(l);
	struct explore_result r;

	assert_int_equal(search_by(&runner, program, &options, &r), 0);
	free(program);
	little_down(l);
	return r;
}

/*
 * Three constraints: the third thread fails if it sees word 1 before the second has seen word 0, which
 * it looks at twice: before and after the first has set it.
 */
static const struct little three_constraints = {
	.nr_threads = 4,
	.op = {{{L_ADD, 0, 1}, {L_ADD, 3, 1}, {L_ADD, 0, 1}},
	       {{L_LOAD, 0, 0}, {L_STORE, 1, 0}, {L_ADD, 3, 1}},
	       {{L_LOAD, 1, 0}, {L_STORE, 2, 4}, {L_ADD, 3, 1}},
	       {{L_LOAD, 2, 0}, {L_FAIL, 2, 5}}},
};

/* PCT finds a bug of three ordering constraints, with the seed deciding which run does. */
static void test_pct_finds(void **state)
{
	struct little l = three_constraints;
	const struct explore_options options = {.mode = EXPLORE_PCT, .runs = 2000, .seed = 1};
	struct explore_result a = search(&l, options), b;

	(void)state;
	assert_true(a.failed);
	assert_string_equal(a.failure.oracle, "failed");
	assert_int_equal(a.pct_executions, a.executions);
	l = three_constraints;
	b = search(&l, options);
	assert_int_equal(a.executions, b.executions);
	assert_int_equal(a.failure.schedule.nr, b.failure.schedule.nr);
	explore_result_free(&a);
	explore_result_free(&b);
}

/* What PCT has found is made as short as what the exhaustive search finds first. */
static void test_shrunk_to_fewest_preemptions(void **state)
{
	struct little l = three_constraints;
	struct explore_result a =
		search(&l, (struct explore_options){.mode = EXPLORE_PCT, .runs = 2000, .seed = 9});
	struct explore_result b;

	(void)state;
	l = three_constraints;
	b = search(&l, (struct explore_options){.mode = EXPLORE_EXHAUSTIVE, .bound = 2});
	assert_true(a.failed && b.failed);
	assert_int_equal(a.failure.preemptions, b.failure.preemptions);
	explore_result_free(&a);
	explore_result_free(&b);
}

/* A program of more than two threads that can't be tried out is searched on by PCT, and says so. */
static void test_auto_goes_on_by_pct(void **state)
{
	struct little l = {.nr_threads = 3};
	struct explore_result r;

	(void)state;
	for (u32 t = 0; t < 3; t++) {
		for (u32 i = 0; i < 6; i++)
			l.op[t][i] = (struct little_op){L_ADD, i % 2, 1};
	}
	r = search(&l, (struct explore_options){
			       .mode = EXPLORE_AUTO, .bound = 12, .runs = 20100, .seed = 1});
	assert_false(r.failed);
	assert_false(r.complete);
	assert_int_equal(r.executions, 20100);
	assert_int_equal(r.pct_executions, 100);
	explore_result_free(&r);
}

/* The schedule of a failure, replayed, fails in the same line; without its choices nothing does. */
static void test_replay_fails_again(void **state)
{
	struct little l = three_constraints;
	struct explore_result found =
		search(&l, (struct explore_options){.mode = EXPLORE_EXHAUSTIVE, .bound = 2});
	struct sched_schedule nothing = {0}, parsed;
	struct explore_result again;
	char text[200];
	size_t bad;

	(void)state;
	assert_true(found.failed);
	sched_schedule_print(&found.failure.schedule, text, sizeof(text));
	assert_int_equal(sched_schedule_parse(&parsed, text, &bad), 0);
	again = search(&l, (struct explore_options){.mode = EXPLORE_REPLAY, .schedule = &parsed});
	assert_true(again.failed);
	assert_false(again.left);
	assert_string_equal(again.failure.oracle, found.failure.oracle);
	explore_result_free(&again);
	again = search(&l, (struct explore_options){.mode = EXPLORE_REPLAY, .schedule = &nothing});
	assert_false(again.failed);
	assert_false(again.left);
	explore_result_free(&again);
	explore_result_free(&found);
	sched_schedule_free(&parsed);
}

/* A schedule of another program says which choice couldn't be made, and who could have gone on. */
static void test_replay_that_doesnt_fit(void **state)
{
	struct little l = {.nr_threads = 2, .op = {{{L_ADD, 0, 1}}, {{L_ADD, 0, 1}}}};
	struct sched_schedule s = {0};
	struct explore_result r;

	(void)state;
	sched_schedule_add(&s, 2, 9);
	r = search(&l, (struct explore_options){.mode = EXPLORE_REPLAY, .schedule = &s});
	assert_true(r.left);
	assert_int_equal(r.left_choice, 0);
	assert_int_equal(r.left_at.thread, 9);
	assert_int_equal(r.left_enabled, 1U << 2 | 1U << 3);
	s.choice[0] = (struct sched_choice){1000, 2};
	r = search(&l, (struct explore_options){.mode = EXPLORE_REPLAY, .schedule = &s});
	assert_true(r.left);
	assert_int_equal(r.left_enabled, 0);
	sched_schedule_free(&s);
}

/* Injections are printed and read back; what isn't one is refused where it begins to be wrong. */
static void test_injection_text(void **state)
{
	const struct explore_injection all = {.fail_alloc = 3,
					      .seamcall = 2,
					      .seamcall_status = 0x8000020000000000ULL,
					      .interrupt = 4,
					      .delay_kick = 1};
	const struct explore_injection named = {.seamcall = 3,
						.seamcall_status = TDX_OPERAND_BUSY | 1};
	const struct {
		const char *text;
		size_t bad;
	} wrong[] = {{"", 0},
		     {"alloc", 0},
		     {"alloc=", 6},
		     {"alloc=0", 7},
		     {"alloc=1,", 8},
		     {"alloc=1;kick=1", 7},
		     {"seamcall=3", 10},
		     {"seamcall=3:x", 11},
		     {"kick=-1", 5},
		     {"alloc=1,alloc=2", 8},
		     {"alloc=0kick=1", 7},
		     {"seamcall=3:TDX_BUSSY", 11},
		     {"seamcall=3:TDX_OPERAND_BUSY|x", 28}};
	struct explore_injection in;
	char text[200];
	size_t bad;

	(void)state;
	explore_injection_print(&all, text, sizeof(text));
	assert_string_equal(text, "alloc=3,seamcall=2:0x8000020000000000,interrupt=4,kick=1");
	assert_int_equal(explore_injection_parse(&in, text, &bad), 0);
	assert_memory_equal(&in, &all, sizeof(in));
	assert_int_equal(explore_injection_parse(&in, "seamcall=3:TDX_OPERAND_BUSY|0x1", &bad), 0);
	assert_memory_equal(&in, &named, sizeof(in));
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		assert_int_not_equal(explore_injection_parse(&in, wrong[i].text, &bad), 0);
		assert_int_equal(bad, wrong[i].bad);
	}
}

/* The lanes of a lost update: who was stopped before what, and the failure last. */
static void test_picture(void **state)
{
	struct little l = {.nr_threads = 2,
			   .op = {{{L_LOAD, 0, 0}, {L_STORE, 0, 1}}, {{L_ADD, 0, 5}}}};
	struct explore_runner runner = little_up(&l);
	struct program *program = little_program(&l);
	const struct explore_options options = {0};
	struct sched_schedule s = {0};
	char *text;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	(void)state;
	sched_schedule_add(&s, 3, 3);
	assert_int_equal(search_picture(&runner, program, &options, &s, f), 0);
	fclose(f);
	/* clang-format off */
	assert_string_equal(text,
		"  at  2 t0                                        3 t1                                        others: 0 main, 1 rcu\n"
		"   1  [ \n"
		"   2  [ \n"
		"   3  ...before store #1\n"
		"   3                                              [ \n"
		"   6                                              ends\n");
	/* clang-format on */
	free(text);
	sched_schedule_free(&s);
	free(program);
	little_down(&l);
}

/* A failure stands in the lane of the thread whose step failed, with the operation that it is in. */
static void test_picture_of_a_failure(void **state)
{
	struct little l = {.nr_threads = 2,
			   .op = {{{L_ADD, 0, 5}}, {{L_LOAD, 0, 0}, {L_FAIL, 0, 5}}}};
	struct explore_runner runner = little_up(&l);
	struct program *program = little_program(&l);
	const struct explore_options options = {0};
	const struct sched_schedule s = {0};
	char *text;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	(void)state;
	program->thread[1].nr_ops = 1;
	program->thread[1].op[0] = (struct program_op){.kind = OP_EXIT, .line = 102};
	assert_int_equal(search_picture(&runner, program, &options, &s, f), 0);
	fclose(f);
	/* clang-format off */
	assert_string_equal(text,
		"  at  2 t0                                        3 t1                                        others: 0 main, 1 rcu\n"
		"   1  [ \n"
		"   4  ends\n"
		"   4                                              [ \n"
		"   5                                              [ exit\n"
		"   5                                              ! in exit\n"
		"   !  failed: wrong\n");
	/* clang-format on */
	free(text);
	free(program);
	little_down(&l);
}

/* Where no bound has cut anything there is no larger one to try: one thread is one execution. */
static void test_bounds_end_where_nothing_was_cut(void **state)
{
	struct little one = {.nr_threads = 1, .op = {{{L_ADD, 0, 1}, {L_ADD, 0, 1}}}};
	struct little race = {.nr_threads = 2,
			      .op = {{{L_ADD, 0, 1}, {L_LOAD, 0, 0}}, {{L_ADD, 0, 1}}}};
	struct explore_result r;

	(void)state;
	r = search(&one, (struct explore_options){.mode = EXPLORE_EXHAUSTIVE, .bound = 9});
	assert_true(r.complete);
	assert_int_equal(r.executions, 1);
	explore_result_free(&r);
	/* Bound 0 shows two orders, and cuts the third. */
	r = search(&race, (struct explore_options){.mode = EXPLORE_EXHAUSTIVE, .bound = 0});
	assert_int_equal(r.states, 2);
	explore_result_free(&r);
	r = search(&race, (struct explore_options){.mode = EXPLORE_EXHAUSTIVE, .bound = 1});
	assert_int_equal(r.states, 2);
	assert_true(r.executions > 2);
	explore_result_free(&r);
}

/* Injection tries a few orders of steps alone, and never calls that complete. */
static void test_injection_is_not_complete(void **state)
{
	struct little l = {.nr_threads = 1, .op = {{{L_ADD, 0, 1}}}};
	struct explore_result r = search(&l, (struct explore_options){.mode = EXPLORE_INJECT});

	(void)state;
	assert_false(r.failed);
	assert_false(r.complete);
	explore_result_free(&r);
}

/* ---- processes ---------------------------------------------------------------------------------*/
struct reports {
	u32 nr;
	u32 task[8];
	bool failed[8];
	char oracle[8][32];
	char schedule[8][100];
	u64 executions[8];
	bool has_picture[8];
	u32 ended; /* that progress was told of */
};

static int open_little(void *ctx, const struct program *program, struct explore_runner *runner)
{
	struct little *programs = ctx;

	*runner = little_up(&programs[program->name[0] - '0']);
	return 0;
}

static void close_little(struct explore_runner *runner)
{
	little_down(runner->ctx);
}

static void take_report(void *ctx, u32 task, const struct explore_report *r)
{
	struct reports *all = ctx;
	u32 i = all->nr++;

	assert_int_equal(r->error, 0);
	all->task[i] = task;
	all->failed[i] = r->result.failed;
	all->executions[i] = r->result.executions;
	all->has_picture[i] = r->picture;
	snprintf(all->oracle[i], sizeof(all->oracle[i]), "%s", r->result.failure.oracle);
	sched_schedule_print(&r->result.failure.schedule, all->schedule[i],
			     sizeof(all->schedule[i]));
}

/*
 * Of four programs one crashes and one hangs: both are failures with the schedule that led there, the
 * others are searched all the same, and reports come in their order.
 */
static void test_crash_and_hang_are_contained(void **state)
{
	struct little l[4] = {
		{.nr_threads = 2, .op = {{{L_ADD, 0, 1}}, {{L_ADD, 0, 1}}}},
		{.nr_threads = 2,
		 .op = {{{L_ADD, 0, 1}, {L_ADD, 0, 1}}, {{L_ADD, 1, 1}, {L_CRASH, 0, 1}}}},
		{.nr_threads = 2, .op = {{{L_ADD, 0, 1}, {L_ADD, 0, 1}}, {{L_HANG, 0, 1}}}},
		{.nr_threads = 2, .op = {{{L_ADD, 2, 1}}, {{L_ADD, 3, 1}}}},
	};
	const struct explore_backend backend = {open_little, close_little};
	struct explore_task task[4];
	struct program *program[4];
	struct reports got = {0};
	const struct explore_crew crew = {.backend = &backend,
					  .backend_ctx = l,
					  .jobs = 2,
					  .hang_seconds = 1,
					  .ctx = &got,
					  .done = take_report};

	(void)state;
	for (u32 i = 0; i < 4; i++) {
		program[i] = little_program(&l[i]);
		snprintf(program[i]->name, sizeof(program[i]->name), "%u", i);
		task[i] =
			(struct explore_task){program[i], {.mode = EXPLORE_EXHAUSTIVE, .bound = 2}};
	}
	assert_int_equal(explore_work(task, 4, &crew), 0);
	assert_int_equal(got.nr, 4);
	for (u32 i = 0; i < 4; i++) {
		assert_int_equal(got.task[i], i);
		assert_int_equal(got.failed[i], i == 1 || i == 2);
		free(program[i]);
	}
	assert_string_equal(got.oracle[1], "crash");
	assert_true(got.has_picture[1]);
	/* By one choice, and the shrinker has kept it. */
	assert_null(strchr(got.schedule[1], ','));
	assert_non_null(strstr(got.schedule[1], "3@"));
	assert_string_equal(got.oracle[2], "hang");
	assert_non_null(strstr(got.schedule[2], "3@"));
	assert_int_equal(got.executions[3], 1);
}

static void count_ended(void *ctx, u32 tasks_done, u64 executions)
{
	struct reports *all = ctx;

	(void)executions;
	all->ended = tasks_done;
}

static bool enough(void *ctx)
{
	const struct reports *all = ctx;

	return all->ended == 2;
}

/* Who stops early has the reports of what has ended, also of what waited for a program before it. */
static void test_stop(void **state)
{
	struct little l[3] = {
		{.nr_threads = 1, .op = {{{L_HANG, 0, 0}}}},
		{.nr_threads = 1, .op = {{{L_ADD, 0, 1}}}},
		{.nr_threads = 1, .op = {{{L_ADD, 1, 1}}}},
	};
	const struct explore_backend backend = {open_little, close_little};
	struct explore_task task[3];
	struct program *program[3];
	struct reports got = {0};
	const struct explore_crew crew = {.backend = &backend,
					  .backend_ctx = l,
					  .jobs = 2,
					  .ctx = &got,
					  .done = take_report,
					  .progress = count_ended,
					  .stop = enough};

	(void)state;
	for (u32 i = 0; i < 3; i++) {
		program[i] = little_program(&l[i]);
		snprintf(program[i]->name, sizeof(program[i]->name), "%u", i);
		task[i] =
			(struct explore_task){program[i], {.mode = EXPLORE_EXHAUSTIVE, .bound = 2}};
	}
	assert_int_equal(explore_work(task, 3, &crew), -EINTR);
	assert_int_equal(got.nr, 2);
	assert_int_equal(got.task[0], 1);
	assert_int_equal(got.task[1], 2);
	for (u32 i = 0; i < 3; i++)
		free(program[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pct_finds),
		cmocka_unit_test(test_shrunk_to_fewest_preemptions),
		cmocka_unit_test(test_auto_goes_on_by_pct),
		cmocka_unit_test(test_replay_fails_again),
		cmocka_unit_test(test_replay_that_doesnt_fit),
		cmocka_unit_test(test_injection_text),
		cmocka_unit_test(test_picture),
		cmocka_unit_test(test_picture_of_a_failure),
		cmocka_unit_test(test_bounds_end_where_nothing_was_cut),
		cmocka_unit_test(test_injection_is_not_complete),
		cmocka_unit_test(test_crash_and_hang_are_contained),
		cmocka_unit_test(test_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
