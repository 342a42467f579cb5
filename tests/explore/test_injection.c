/* SPDX-License-Identifier: MIT */
/*
 * What goes wrong on purpose, at every place where it can: operations fail as documented with nothing
 * changed, or the VM is stopped with its reason, and nothing else.
 */
#include "explore/run.h"
#include "explore/search.h"
#include "septum/abi.h"

#define A "machine memory=1G\ntd a vcpus=2 memory=8M\n"
#ifdef __SANITIZE_THREAD__
#define SEEDS 1 /* each execution takes it ten times as long */
#else
#define SEEDS 3
#endif
#define ERROR_STATUS 0xC000010000000001ULL /* TDX_OPERAND_INVALID, of RCX */

static const char *const programs[] = {
	A "thread a.0\naccept 0x200000 4k\nwrite 0x200000\nthread a.1\naccept 0x201000 4k\n"
	  "finally\na.0: read 0x200000\n",
	A "setup\na.0: accept 0x200000 2m\na.0: write 0x202000\nthread a.0\nshare 0x201000 4K\n"
	  "write 0x201000\nthread a.1\nread 0x202000\nfinally\na.0: read 0x201000\n",
	A "setup\na.0: accept 0x200000 2m\na.0: write 0x202000\nhost: split a 0x200000 2M\n"
	  "thread host\npromote a 0x200000 2m\nthread host.2\nconvert a 0x201000 4K shared\n"
	  "finally\na.0: read 0x202000\n",
	A "thread host\npamt-get 0\npamt-put 0\nthread host.2\npamt-get 1\npamt-put 1\n",
	A "setup\na.0: accept 0x200000 2m\na.0: write 0x202000\nthread a.0\ndiscard 0x200000 4K\n"
	  "read 0x202000\nthread host\nfail a 0x201000\n",
	A "td b later\nthread a.0\naccept 0x200000 2m\nthread host\ncreate b\nfinally\n"
	  "b.0: accept 0x200000 2m\n",
};

static struct explore_outcome inject(struct explore_machine *m, u32 program, u64 seed,
				     struct explore_injection injection)
{
	const struct explore_setup s = {.injection = injection};
	struct sched_random random;
	struct explore_outcome out;

	sched_random_init(&random, seed, seed < SEEDS ? 6 : 80);
	out = run_text(m, programs[program], &s, seed ? &sched_random : NULL, &random);
	if (out.failed)
		fail_msg(
			"program %u, seed %u, allocation %llu, SEAMCALL %llu, interrupt %llu, kick "
			"%llu: %s: %s",
			program, (u32)seed, (unsigned long long)injection.fail_alloc,
			(unsigned long long)injection.seamcall,
			(unsigned long long)injection.interrupt,
			(unsigned long long)injection.delay_kick, out.oracle, out.text);
	return out;
}

#ifdef SEPTUM_CHECK
/* Whichever allocation fails: -ENOMEM with nothing changed, or a fault that is tried again. */
static void test_allocations(void **state)
{
	u64 nr = 0;

	for (u32 p = 0; p < ARRAY_SIZE(programs); p++) {
		for (u64 seed = 0; seed < SEEDS; seed++) {
			struct explore_outcome out =
				inject(*state, p, seed,
				       (struct explore_injection){
					       .fail_alloc = EXPLORE_COUNT_ALLOCATIONS});

			for (u64 n = 1; n <= out.allocations + 1; n++)
				inject(*state, p, seed,
				       (struct explore_injection){.fail_alloc = n});
			nr += out.allocations;
		}
	}
	assert_true(nr > 100);
}
#endif

/* A BUSY, whatever was asked, is survived; an error stops the VM at most. */
static void test_seamcalls(void **state)
{
	static const u64 statuses[] = {TDX_OPERAND_BUSY | TDX_OPERAND_RCX,
				       TDX_OPERAND_BUSY | TDX_OPERAND_SEPT_TREE, ERROR_STATUS};

	for (u32 p = 0; p < ARRAY_SIZE(programs); p++) {
		for (u64 seed = 0; seed < SEEDS; seed++) {
			u64 nr = inject(*state, p, seed, (struct explore_injection){0}).seamcalls;

			assert_true(nr > 0);
			for (u64 n = 1; n <= nr; n++)
				for (u32 i = 0; i < ARRAY_SIZE(statuses); i++)
					inject(*state, p, seed,
					       (struct explore_injection){.seamcall = n,
									  .seamcall_status =
										  statuses[i]});
		}
	}
}

/*
 * Whichever call of a removal fails, at whatever moment of the vCPU's: the VM dies, and nobody is inside
 * who still uses the frame when it goes to the host.
 */
static void test_nobody_is_inside(void **state)
{
	static const char *const removals[] = {
		A "setup\na.0: accept 0x200000 4k\nthread a.0\nread 0x200000\nread 0x200000\n"
		  "thread host\nzap a 0x200000 4K\n",
		A "setup\na.0: share 0x200000 4K\na.0: write 0x200000\n"
		  "thread a.0\nread 0x200000\nread 0x200000\nthread host\npunch a 0x200000 4K\n",
	};
	struct program *p = malloc(sizeof(*p));

	for (u32 i = 0; i < 2 * ARRAY_SIZE(removals); i++) {
		struct explore_options o = {
			.mode = EXPLORE_EXHAUSTIVE,
			.bound = 1,
			.runs = 40 * SEEDS,
			.injection = {.seamcall = i / 2 + 2, .seamcall_status = ERROR_STATUS},
		};
		struct explore_result r;

		run_parse(p, removals[i % 2]);
		assert_int_equal(explore_search(*state, p, &o, &r), 0);
		if (r.failed)
			fail_msg("removal %u, SEAMCALL %u: %s: %s", i % 2, i / 2 + 2,
				 r.failure.oracle, r.failure.text);
		explore_result_free(&r);
	}
	free(p);
}

/* An interrupt at any call, and a kick as late as it can be, change nothing. */
static void test_interrupts_and_kicks(void **state)
{
	u64 kicks = 0;

	for (u32 p = 0; p < ARRAY_SIZE(programs); p++) {
		for (u64 seed = 0; seed < 30; seed++) {
			struct explore_outcome out =
				inject(*state, p, seed, (struct explore_injection){0});

			for (u64 n = 1; seed < SEEDS && n <= out.seamcalls + 8; n++)
				inject(*state, p, seed, (struct explore_injection){.interrupt = n});
			for (u64 n = 1; n <= out.kicks; n++)
				inject(*state, p, seed,
				       (struct explore_injection){.delay_kick = n});
			kicks += out.kicks;
		}
	}
	assert_true(kicks > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#ifdef SEPTUM_CHECK
		cmocka_unit_test(test_allocations),
#endif
		cmocka_unit_test(test_seamcalls),
		cmocka_unit_test(test_nobody_is_inside),
		cmocka_unit_test(test_interrupts_and_kicks),
	};

	return cmocka_run_group_tests(tests, run_set_up, run_tear_down);
}
