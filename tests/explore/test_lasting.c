/* SPDX-License-Identifier: MIT */
/*
 * Executions lie in one memory, one after another. Whatever one did to it, to its end or not, the next
 * finds it as new.
 */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bug.h"
#include "explore/run.h"
#include "explore/shipped.h"
#include "host/as_new.h"
#include "septum/abi.h"

#ifdef __SANITIZE_THREAD__
#define EVERY 12 /* th program: each execution takes it ten times as long */
#else
#define EVERY 1
#endif

/* Random choices, up to a decision. */
struct cut {
	struct sched_random random;
	u64 at;
};

static int choose(void *ctx, const struct sched_view *v)
{
	struct cut *c = ctx;

	return v->decision == c->at ? SCHED_STOP : sched_random.choose(&c->random, v);
}

static const struct sched_policy cutting = {.choose = choose};

static struct explore_outcome run_cut(struct explore_machine *m, const struct program *p, u64 at,
				      struct explore_setup s)
{
	struct cut c = {.at = at};
	struct explore_outcome out;

	s.program = p;
	sched_random_init(&c.random, at, 5);
	assert_int_equal(explore_execute(m, &s, &cutting, &c, NULL, &out), 0);
	return out;
}

static void for_all(void (*fn)(struct explore_machine *m, const struct program *p), void **state)
{
	for (u32 i = 0; i < shipped_nr; i += EVERY) {
		struct program *p = malloc(sizeof(*p));
		struct program_error e;

		assert_int_equal(program_parse(shipped_programs[i].name, shipped_programs[i].text,
					       shipped_programs[i].length, p, &e),
				 0);
		fn(*state, p);
		free(p);
	}
}

/* AddressSanitizer's build has none, and each execution a mapping of its own. */
static void check(struct explore_machine *m)
{
	struct host_memory *memory = explore_world(m)->memory;

	if (memory)
		assert_as_new(memory);
}

static void to_the_end(struct explore_machine *m, const struct program *p)
{
	struct explore_outcome out = run_cut(m, p, UINT64_MAX, (struct explore_setup){0});

	assert_fine(&out);
	check(m);
}

/* An execution that ends. */
static void test_whole(void **state)
{
	for_all(to_the_end, state);
}

static void stop_early(struct explore_machine *m, const struct program *p)
{
	u64 decisions = run_cut(m, p, UINT64_MAX, (struct explore_setup){0}).decisions;

	for (u64 i = 1; i <= 8; i++) {
		run_cut(m, p, decisions * i / 9, (struct explore_setup){0});
		check(m);
	}
}

/* One that its policy ends in the middle, as a search does with what it knows. */
static void test_cut(void **state)
{
	for_all(stop_early, state);
}

static void fail_anywhere(struct explore_machine *m, const struct program *p)
{
	u64 steps = run_cut(m, p, UINT64_MAX, (struct explore_setup){0}).steps;

	for (u64 i = 1; i <= 12; i++) {
		const struct explore_setup s = {.max_steps = 1 + (steps - 2) * i / 13};

		assert_true(run_cut(m, p, UINT64_MAX, s).failed);
		check(m);
	}
}

/* One that fails at some step, of set-up and of the end too. */
static void test_failed(void **state)
{
	for_all(fail_anywhere, state);
}

static void inject(struct explore_machine *m, const struct program *p)
{
	const struct explore_setup count = {.injection = {.fail_alloc = EXPLORE_COUNT_ALLOCATIONS}};
	struct explore_outcome all = run_cut(m, p, UINT64_MAX, count);

	for (u64 i = 1; i <= 4; i++) {
		const struct explore_setup no_memory = {
			.injection = {.fail_alloc = 1 + all.allocations * i / 5}};
		const struct explore_setup refused = {
			.injection = {.seamcall = 1 + all.seamcalls * i / 5,
				      .seamcall_status = TDX_OPERAND_INVALID | TDX_OPERAND_RCX}};

		run_cut(m, p, UINT64_MAX, no_memory);
		check(m);
		run_cut(m, p, all.decisions * i / 5, no_memory);
		check(m);
		run_cut(m, p, UINT64_MAX, refused);
		check(m);
		run_cut(m, p, all.decisions * i / 5, refused);
		check(m);
	}
}

/* With allocations and SEAMCALLs that fail, whole and cut. */
static void test_injected(void **state)
{
	for_all(inject, state);
}

#ifdef SEPTUM_CHECK
/* In a process of its own, where a bug may lead astray whatever it likes. */
static void plant_one(struct explore_machine *m, const struct program *p, enum planted_bug bug)
{
	const struct explore_setup s = {.planted_bugs = bug_set_of(bug)};
	int status;
	pid_t pid;

	if (!explore_world(m)->memory)
		return;
	pid = fork();
	if (!pid) {
		/* The test's own handlers would go on with the next test here. */
		signal(SIGSEGV, SIG_DFL);
		signal(SIGBUS, SIG_DFL);
		signal(SIGABRT, SIG_DFL);
		run_cut(m, p, UINT64_MAX, s); /* the memory may be another then */
		_exit(left_behind(explore_world(m)->memory) != 0);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) || !WEXITSTATUS(status));
}

static void plant(struct explore_machine *m, const struct program *p)
{
	for (u32 bug = 0; bug < BUG_COUNT; bug += 7)
		plant_one(m, p, bug);
}

/* With bugs in the code: wherever it fails, and also what it then does wrong with memory. */
static void test_planted(void **state)
{
	for_all(plant, state);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole),	cmocka_unit_test(test_cut),
		cmocka_unit_test(test_failed),	cmocka_unit_test(test_injected),
#ifdef SEPTUM_CHECK
		cmocka_unit_test(test_planted),
#endif
	};

	return cmocka_run_group_tests(tests, run_set_up, run_tear_down);
}
