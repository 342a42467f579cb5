/* SPDX-License-Identifier: MIT */
/* The shipped programs: right in every order tried here, and the same again by the same choices. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>

#include "explore/run.h"
#include "script/source_dir.h"

#ifdef __SANITIZE_THREAD__
#define SEEDS 1 /* each execution takes it ten times as long */
#else
#define SEEDS 20
#endif

static struct program *load(const char *name)
{
	struct program *p = malloc(sizeof(*p));
	char path[600], text[1 << 14];
	struct program_error e;
	FILE *f;

	snprintf(path, sizeof(path), SEPTUM_SOURCE_DIR "/programs/%s", name);
	f = fopen(path, "r");
	assert_non_null(f);
	if (program_parse(name, text, fread(text, 1, sizeof(text), f), p, &e))
		fail_msg("%s:%u:%u: %s", name, e.line, e.column, e.what);
	fclose(f);
	return p;
}

static void for_each_program(struct explore_machine *m,
			     void (*fn)(struct explore_machine *m, const struct program *p))
{
	DIR *dir = opendir(SEPTUM_SOURCE_DIR "/programs");
	struct dirent *d;

	assert_non_null(dir);
	while ((d = readdir(dir))) {
		struct program *p;

		if (!strstr(d->d_name, ".prog"))
			continue;
		p = load(d->d_name);
		fn(m, p);
		free(p);
	}
	closedir(dir);
}

static void finds_nothing(struct explore_machine *m, const struct explore_setup *s,
			  const struct sched_policy *policy, void *ctx, const char *by, u64 seed,
			  struct explore_outcome *out)
{
	struct sched_schedule record = {0};
	char text[2000];

	assert_int_equal(explore_execute(m, s, policy, ctx, &record, out), 0);
	if (out->failed) {
		sched_schedule_print(&record, text, sizeof(text));
		fail_msg("%s, %s %llu: %s: %s\n%s", s->program->name, by, (unsigned long long)seed,
			 out->oracle, out->text, text);
	}
	sched_schedule_free(&record);
}

static void try_orders(struct explore_machine *m, const struct program *p)
{
	const struct explore_setup s = {.program = p};
	struct sched_round_robin robin = {.quantum = 1};
	struct explore_outcome out;
	struct sched_random random;

	finds_nothing(m, &s, &sched_run_until_blocked, NULL, "run until blocked", 0, &out);
	assert_true(out.operations > 0 && out.steps > 0 && out.decisions > 0);
	finds_nothing(m, &s, &sched_round_robin, &robin, "round robin", 0, &out);
	for (u64 seed = 1; seed <= SEEDS; seed++) {
		sched_random_init(&random, seed, seed % 2 ? 4 : 40);
		finds_nothing(m, &s, &sched_random, &random, "seed", seed, &out);
	}
}

/* No shipped program finds anything, whoever runs when. */
static void test_orders(void **state)
{
	for_each_program(*state, try_orders);
}

/* What the machine does, as a number. */
struct events {
	u64 hash, nr;
};

static void fold(struct events *e, u64 word)
{
	e->hash = (e->hash ^ word) * 0x9E3779B97F4A7C15ULL;
	e->hash ^= e->hash >> 29;
	e->nr++;
}

static void on_event(void *ctx, enum trace_point point, const void *event)
{
	struct events *e = ctx;

	fold(e, point);
	if (point == TRACE_SPTE_CHANGED) {
		const struct trace_spte *t = event;

		fold(e, t->gfn);
		fold(e, t->new_spte);
	} else if (point <= TRACE_TDCALL) {
		const struct trace_seamcall *t = event;

		fold(e, (u64)t->lp << 32 | t->leaf);
		fold(e, t->in->rcx);
		fold(e, t->out ? t->out->rax : 0);
	}
}

static void run_twice(struct explore_machine *m, const struct program *p)
{
	for (u64 seed = 100; seed < 103; seed++) {
		struct events e[2] = {{0}};
		struct explore_outcome out[2];

		for (int i = 0; i < 2; i++) {
			const struct trace_listener l = {.fn = on_event, .ctx = &e[i]};
			const struct explore_setup s = {.program = p, .listener = &l};
			struct sched_random random;
			void *noise = malloc(7777 * (size_t)(i + 1));

			sched_random_init(&random, seed, 5);
			finds_nothing(m, &s, &sched_random, &random, "seed", seed, &out[i]);
			free(noise);
		}
		assert_int_equal(e[0].hash, e[1].hash);
		assert_int_equal(e[0].nr, e[1].nr);
		assert_int_equal(out[0].final_state, out[1].final_state);
		assert_int_equal(out[0].steps, out[1].steps);
		assert_int_equal(out[0].decisions, out[1].decisions);
	}
}

/* The same seed gives the same events, steps and end, bit for bit. */
static void test_same_seed_same_events(void **state)
{
	for_each_program(*state, run_twice);
}

/* A recorded schedule makes the same execution again. */
static void test_replay(void **state)
{
	struct program *p = load("everything.prog");
	const struct explore_setup s = {.program = p};
	struct sched_schedule record = {0};
	struct explore_outcome first, again;
	struct sched_random random;
	struct sched_replay replay;

	sched_random_init(&random, 77, 3);
	assert_int_equal(explore_execute(*state, &s, &sched_random, &random, &record, &first), 0);
	sched_replay_init(&replay, &record);
	assert_int_equal(explore_execute(*state, &s, &sched_replay, &replay, NULL, &again), 0);
	assert_false(replay.left);
	assert_false(again.failed);
	assert_int_equal(first.final_state, again.final_state);
	assert_int_equal(first.steps, again.steps);
	sched_schedule_free(&record);
	free(p);
}

/* A policy that stops ends the execution, which then has neither failed nor left anything wrong. */
static int stop_at(void *ctx, const struct sched_view *v)
{
	return v->decision == *(u64 *)ctx ? SCHED_STOP : (int)sched_default(v);
}

static void test_stopped(void **state)
{
	static const struct sched_policy stopping = {.choose = stop_at};
	struct program *p = load("convert-inside-2m-ends.prog");
	const struct explore_setup s = {.program = p};
	struct explore_outcome out;

	for (u64 at = 0; at < 400; at += 7) {
		assert_int_equal(explore_execute(*state, &s, &stopping, &at, NULL, &out), 0);
		assert_false(out.failed);
		assert_string_equal(out.oracle, "");
	}
	assert_int_equal(explore_execute(*state, &s, &sched_run_until_blocked, NULL, NULL, &out),
			 0);
	assert_fine(&out);
	free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_orders),
		cmocka_unit_test(test_same_seed_same_events),
		cmocka_unit_test(test_replay),
		cmocka_unit_test(test_stopped),
	};

	return cmocka_run_group_tests(tests, run_set_up, run_tear_down);
}
