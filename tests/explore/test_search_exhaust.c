/* SPDX-License-Identifier: MIT */
/* explore/search: what is found at which bound, how many executions that takes, and that none is missing. */
#include <inttypes.h>

#include "explore/little.h"

#include "base/rng.h"

/* Random ones, each searched in several ways; switching is slow under a sanitizer. */
#if defined(__SANITIZE_THREAD__)
#define PROGRAMS 15
#elif defined(__SANITIZE_ADDRESS__)
#define PROGRAMS 60
#else
#define PROGRAMS 150
#endif

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

/* One search with at most @bound preemptions, without those with fewer before it. */
static struct explore_result search_one_bound(struct little *l, u32 bound)
{
	const struct explore_options options = {.mode = EXPLORE_EXHAUSTIVE};
	struct explore_runner runner = little_up(l);
	struct program *program = little_program(l);
	struct explore_result r = {0};
	struct search s = {
		.runner = &runner, .options = &options, .program = program, .result = &r};

	assert_int_equal(search_exhaust(&s, bound, 0, &r.complete), 0);
	search_free_states(&s);
	sched_schedule_free(&s.record);
	free(program);
	little_down(l);
	return r;
}

/* ---- every schedule, without leaving out any -------------------------------------------------------*/
#define MAX_DECISIONS 400
#define MAX_STATES 4096

struct naive {
	u32 chosen[MAX_DECISIONS], enabled[MAX_DECISIONS], running[MAX_DECISIONS];
	bool costs[MAX_DECISIONS]; /* leaving the running thread */
	u32 nr, fixed, bound;
	u64 state[MAX_STATES];
	u32 nr_states;
	u64 executions;
};

static u32 spent_before(const struct naive *n, u32 at)
{
	u32 spent = 0;

	for (u32 i = 0; i < at; i++)
		spent += n->costs[i] && n->chosen[i] != n->running[i];
	return spent;
}

static int choose_naive(void *ctx, const struct sched_view *v)
{
	struct naive *n = ctx;
	u32 at = (u32)v->decision;

	assert_true(at < MAX_DECISIONS);
	if (at < n->fixed)
		return (int)n->chosen[at];
	n->nr = at + 1;
	n->running[at] = v->running;
	n->costs[at] = v->running != SCHED_MAIN_THREAD && v->thread[v->running].enabled;
	n->enabled[at] = 0;
	for (u32 i = 0; i < v->nr_enabled; i++)
		n->enabled[at] |= 1U << v->enabled[i];
	n->chosen[at] = n->costs[at] ? v->running : v->enabled[0];
	return (int)n->chosen[at];
}

/* The next after @after that may be chosen at @at; 32: none. The running one comes first. */
static u32 next_choice(const struct naive *n, u32 at)
{
	u32 from = n->costs[at] && n->chosen[at] == n->running[at] ? 0 : n->chosen[at] + 1;

	if (n->costs[at] && spent_before(n, at) == n->bound)
		return 32;
	for (u32 t = from; t < 32; t++) {
		if (n->enabled[at] >> t & 1 && !(n->costs[at] && t == n->running[at]))
			return t;
	}
	return 32;
}

static bool naive_advance(struct naive *n)
{
	for (u32 at = n->nr; at-- > 0;) {
		u32 next = next_choice(n, at);

		if (next < 32) {
			n->chosen[at] = next;
			n->fixed = at + 1;
			return true;
		}
	}
	return false;
}

static void add_state(struct naive *n, u64 state)
{
	for (u32 i = 0; i < n->nr_states; i++) {
		if (n->state[i] == state)
			return;
	}
	assert_true(n->nr_states < MAX_STATES);
	n->state[n->nr_states++] = state;
}

static const struct sched_policy naive_policy = {.choose = choose_naive};

/* Return: it has looked at all; false: there are too many. */
static bool search_naively(struct little *l, u32 bound, struct naive *n)
{
	struct explore_runner runner = little_up(l);
	const struct explore_setup setup = {0};
	struct explore_outcome out;

	memset(n, 0, sizeof(*n));
	n->bound = bound;
	do {
		n->nr = 0;
		assert_int_equal(runner.execute(l, &setup, &naive_policy, n, NULL, &out), 0);
		if (n->nr < n->fixed)
			n->nr = n->fixed;
		add_state(n, out.final_state);
		n->executions++;
	} while (naive_advance(n) && n->executions < 60000);
	little_down(l);
	return n->executions < 60000;
}

/* ---- known races -------------------------------------------------------------------------------*/
static const struct little lost_update = {
	.nr_threads = 2,
	.op = {{{L_LOAD, 0, 0}, {L_STORE, 0, 1}, {L_ADD, 1, 1}, {L_WAKE, 0, 0}},
	       {{L_LOAD, 0, 0}, {L_STORE, 0, 1}, {L_WAIT, 1, 1}, {L_LOAD, 0, 0}, {L_FAIL, 0, 1}}},
};

/* A lost update takes one preemption: none is found with none, and the failure found has one. */
static void test_lost_update_at_one(void **state)
{
	struct little l = lost_update;
	struct explore_result r =
		search(&l, (struct explore_options){.mode = EXPLORE_EXHAUSTIVE, .bound = 0});

	(void)state;
	assert_false(r.failed);
	assert_true(r.complete);
	explore_result_free(&r);
	r = search(&l, (struct explore_options){.mode = EXPLORE_EXHAUSTIVE, .bound = 2});
	assert_true(r.failed);
	assert_false(r.complete);
	assert_string_equal(r.failure.oracle, "failed");
	assert_int_equal(r.failure.preemptions, 1);
	assert_int_equal(r.failure.schedule.nr, 1);
	explore_result_free(&r);
}

static const struct little locked_update = {
	.nr_threads = 2,
	.op = {{{L_LOCK, 0, 0}, {L_LOAD, 0, 0}, {L_STORE, 0, 1}, {L_UNLOCK, 0, 0}},
	       {{L_LOCK, 0, 0},
		{L_LOAD, 0, 0},
		{L_STORE, 0, 1},
		{L_UNLOCK, 0, 0},
		{L_LOCK, 0, 0},
		{L_LOAD, 0, 0},
		{L_UNLOCK, 0, 0},
		{L_FAIL, 0, 0}}},
};

/* The same under a lock is right whatever the order, and completes. */
static void test_locked_update_is_right(void **state)
{
	struct little l = locked_update;
	struct explore_result r =
		search(&l, (struct explore_options){.mode = EXPLORE_EXHAUSTIVE, .bound = 4});

	(void)state;
	assert_false(r.failed);
	assert_true(r.complete);
	explore_result_free(&r);
}

static const struct little crossed_locks = {
	.nr_threads = 2,
	.op = {{{L_LOCK, 0, 0}, {L_TRY, 1, 0}, {L_UNLOCK, 1, 0}, {L_UNLOCK, 0, 0}},
	       {{L_LOCK, 1, 0}, {L_TRY, 0, 0}, {L_UNLOCK, 0, 0}, {L_UNLOCK, 1, 0}}},
};

/* Two locks in two orders, spun for: found with one preemption, as nobody's loop can end. */
static void test_crossed_locks(void **state)
{
	struct little l = crossed_locks;
	struct explore_result r =
		search(&l, (struct explore_options){.mode = EXPLORE_EXHAUSTIVE, .bound = 2});

	(void)state;
	assert_true(r.failed);
	assert_string_equal(r.failure.oracle, "livelock");
	assert_int_equal(r.failure.preemptions, 1);
	explore_result_free(&r);
}

/* Threads that share nothing need one execution, whatever the bound. */
static void test_independent_threads_need_one(void **state)
{
	struct little l = {.nr_threads = 3,
			   .op = {{{L_LOAD, 0, 0}, {L_STORE, 0, 1}},
				  {{L_LOAD, 1, 0}, {L_STORE, 1, 1}},
				  {{L_LOCK, 2, 0}, {L_STORE, 2, 1}, {L_UNLOCK, 2, 0}}}};

	(void)state;
	for (u32 bound = 0; bound <= 3; bound++) {
		struct explore_result r = search_one_bound(&l, bound);

		assert_true(r.complete);
		assert_int_equal(r.executions, 1);
		assert_int_equal(r.final_states, 1);
	}
}

/*
 * Two stores to one word: by hand, "ab" and "ba". Without preemptions both come from who begins; with
 * one, the first thread is also stopped before its store, which gives "ba" once more.
 */
static void test_two_stores_by_hand(void **state)
{
	struct little l = {.nr_threads = 2,
			   .op = {{{L_SET, 0, 1}, {L_STORE, 0, 0}},
				  {{L_SET, 0, 2}, {L_STORE, 0, 0}}}};
	struct explore_result r = search_one_bound(&l, 0);

	(void)state;
	assert_int_equal(r.executions, 2);
	assert_int_equal(r.final_states, 2);
	r = search_one_bound(&l, 1);
	assert_true(r.complete);
	assert_int_equal(r.final_states, 2);
	/* ab; "ba" by preemption; ba by beginning with b, and "ab" by preemption there. */
	assert_int_equal(r.executions, 4);
}

/* A program that does something else at every execution is told so, and not searched on. */
static void test_not_repeatable(void **state)
{
	struct little l = {.nr_threads = 2,
			   .stray = true,
			   .op = {{{L_WAIT, 0, 1}, {L_ADD, 1, 1}, {L_LOAD, 1, 0}},
				  {{L_ADD, 1, 1}, {L_ADD, 0, 1}, {L_WAKE, 0, 0}}}};
	struct explore_result r =
		search(&l, (struct explore_options){.mode = EXPLORE_EXHAUSTIVE, .bound = 2});

	(void)state;
	assert_true(r.failed);
	assert_string_equal(r.failure.oracle, "not-repeatable");
	assert_false(r.complete);
	explore_result_free(&r);
}

/* A limit of executions is kept, and makes the search incomplete. */
static void test_limit_of_runs(void **state)
{
	struct little l = locked_update;
	struct explore_result r = search(
		&l, (struct explore_options){.mode = EXPLORE_EXHAUSTIVE, .bound = 2, .runs = 3});

	(void)state;
	assert_int_equal(r.executions, 3);
	assert_false(r.complete);
	assert_false(r.failed);
	explore_result_free(&r);
}

/*
 * Nothing is tried after the 20,000th step of an execution, so a search of longer ones isn't complete,
 * though it came to its end; it goes on by PCT. Short ones with the same threads are complete.
 */
static void test_long_executions_are_not_complete(void **state)
{
	struct little l = {.nr_threads = 2, .op = {{{L_MANY, 0, 20100}}, {{L_ADD, 1, 1}}}};
	const struct explore_options options = {
		.mode = EXPLORE_AUTO, .bound = 1, .runs = 6, .seed = 1};
	struct explore_result r;

	(void)state;
	r = search(&l, options);
	assert_false(r.complete);
	assert_int_equal(r.executions, 6);
	assert_in_range(r.pct_executions, 1, 5);
	explore_result_free(&r);
	l.op[0][0].n = 100;
	r = search(&l, options);
	assert_true(r.complete);
	assert_int_equal(r.pct_executions, 0);
	explore_result_free(&r);
}

/* ---- nothing is missing --------------------------------------------------------------------------*/

/* A bracket around what was made so far: nested as the order of locks wants it. */
static u32 random_bracket(struct rng *rng, struct little_op *op, u32 n)
{
	static const enum little_kind open[] = {L_LOCK,	    L_TRY,   L_RDLOCK, L_WRLOCK,
						L_RCU_LOCK, L_SHARE, L_ALONE};
	static const enum little_kind close[] = {L_UNLOCK,     L_UNLOCK,  L_RDUNLOCK, L_WRUNLOCK,
						 L_RCU_UNLOCK, L_UNSHARE, L_UNALONE};
	u32 which = (u32)rng_below(rng, ARRAY_SIZE(open)), object = (u32)rng_below(rng, 2);
	u32 inside = 1 + (u32)rng_below(rng, 2);

	op[n++] = (struct little_op){open[which], object, 0};
	while (inside--)
		op[n++] = (struct little_op){rng_below(rng, 2) ? L_LOAD : L_STORE,
					     (u32)rng_below(rng, 2), 1 + rng_below(rng, 2)};
	op[n++] = (struct little_op){close[which], object, 0};
	return n;
}

static void random_thread(struct rng *rng, struct little_op *op, u32 items)
{
	u32 n = 0;

	while (items--) {
		u64 what = rng_below(rng, 10);
		u32 object = (u32)rng_below(rng, 3);

		if (what < 4) {
			n = random_bracket(rng, op, n);
		} else if (what < 5) {
			op[n++] = (struct little_op){L_WAIT, object, 1};
		} else if (what < 6) {
			op[n++] = (struct little_op){L_ADD, object, 1};
			op[n++] = (struct little_op){L_WAKE, 0, 0};
		} else if (what < 7) {
			op[n++] = (struct little_op){L_RCU_CALL, object, 0};
		} else {
			static const enum little_kind plain[] = {L_LOAD, L_LOAD_HALF, L_STORE,
								 L_HALF};

			op[n++] = (struct little_op){plain[rng_below(rng, 4)], object, 1};
		}
	}
	op[n].kind = L_END;
}

static struct little random_program(u64 seed)
{
	struct little l = {.deadlock_is_fine = true};
	struct rng rng;

	rng_init(&rng, seed);
	l.nr_threads = 2 + (u32)rng_below(&rng, 2);
	for (u32 i = 0; i < l.nr_threads; i++)
		random_thread(&rng, l.op[i], 1 + (u32)rng_below(&rng, l.nr_threads == 2 ? 3 : 2));
	return l;
}

static struct naive naive;

/*
 * Leaving out loses no final state: on random programs the pruned search at every bound finds as many
 * as all schedules within that bound have, each of which is one of those.
 */
static void test_pruning_loses_nothing(void **state)
{
	u64 pruned = 0, all = 0, compared = 0;
	const char *programs = getenv("SEPTUM_SEARCH_PROGRAMS");
	u64 seeds = programs ? strtoull(programs, NULL, 10) : PROGRAMS;

	(void)state;
	for (u64 seed = 1; seed <= seeds; seed++) {
		for (u32 bound = 0; bound <= 2; bound++) {
			struct little l = random_program(seed);
			struct explore_result r;

			if (!search_naively(&l, bound, &naive))
				continue;
			r = search_one_bound(&l, bound);
			if (!r.complete || r.final_states != naive.nr_states)
				fail_msg("seed %" PRIu64 ", bound %u: %" PRIu64
					 " states, expected %u; %s: %s",
					 seed, bound, r.final_states, naive.nr_states,
					 r.failure.oracle, r.failure.text);
			assert_true(r.executions <= naive.executions);
			pruned += r.executions;
			all += naive.executions;
			compared++;
			explore_result_free(&r);
		}
	}
	print_message("%" PRIu64 " searches, %" PRIu64 " executions instead of %" PRIu64 "\n",
		      compared, pruned, all);
	assert_true(compared > seeds);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lost_update_at_one),
		cmocka_unit_test(test_locked_update_is_right),
		cmocka_unit_test(test_crossed_locks),
		cmocka_unit_test(test_independent_threads_need_one),
		cmocka_unit_test(test_two_stores_by_hand),
		cmocka_unit_test(test_not_repeatable),
		cmocka_unit_test(test_limit_of_runs),
		cmocka_unit_test(test_long_executions_are_not_complete),
		cmocka_unit_test(test_pruning_loses_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
