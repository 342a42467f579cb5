/* SPDX-License-Identifier: MIT */
/* The replay guest inside a real TD: module, MMU, memory file, vCPU threads, discards, teardown. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/rng.h"
#include "check/invariants.h"
#include "guest/replay.h"
#include "vm/vm.h"

#define NR_VCPUS 2
#define GFNS (10 * 512 + 37)
#define EVENTS 8000

/* ---- a trace in which both vCPUs keep coming back to a few pages, and go everywhere else once */
static struct trace_access accesses[NR_VCPUS][EVENTS];
static struct trace_access *events[NR_VCPUS] = {accesses[0], accesses[1]};
static u64 nr_vcpu_events[NR_VCPUS];
static struct trace trace = {
	.nr_vcpus = NR_VCPUS, .events = events, .nr_vcpu_events = nr_vcpu_events};

static int make_trace(void **state)
{
	static bool touched[GFNS], written[GFNS];
	struct rng rng;

	(void)state;
	sync_thread_enter();
	rng_init(&rng, 5);
	for (u32 i = 1; i <= EVENTS; i++) {
		u32 v = (u32)rng_below(&rng, NR_VCPUS);
		gfn_t gfn = rng_below(&rng, 3) ? rng_below(&rng, 10) * 512 + rng_below(&rng, 4)
					       : rng_below(&rng, GFNS);
		bool write = rng_below(&rng, 2);

		accesses[v][nr_vcpu_events[v]++] =
			(struct trace_access){.number = i,
					      .gfn_low = (u32)gfn,
					      .write = write,
					      .follows_write = !write && written[gfn]};
		trace.reads_after_write += !write && written[gfn];
		trace.pages_touched += !touched[gfn];
		touched[gfn] = true;
		written[gfn] |= write;
		trace.max_gfn = max_u64(trace.max_gfn, gfn);
	}
	trace.nr_events = EVENTS;
	return 0;
}

/* ---- one run ---------------------------------------------------------------------------------*/
struct outcome {
	struct replay_stats replay;
	struct vm_stats vm;
	u64 pages_4k, pages_2m; /* at the end, before teardown */
	u64 aug_ok, splits, promotes;
	u64 refused; /* PROMOTEs */
};

struct vcpu_thread {
	struct sync_thread thread;
	struct lp *lp;
	struct vcpu *vcpu;
	void *guest;
	int result;
};

static void vcpu_main(void *arg)
{
	struct vcpu_thread *t = arg;

	lp_set_current(t->lp);
	t->result = vcpu_run(t->vcpu, &replay_guest_ops, t->guest);
}

static void run_vcpus(struct machine *m, struct vm *vm, struct replay *replay)
{
	struct vcpu_thread t[NR_VCPUS];

	for (u32 i = 0; i < NR_VCPUS; i++) {
		t[i] = (struct vcpu_thread){
			.lp = m->lps[i], .vcpu = vm_vcpu(vm, i), .guest = replay_guest(replay, i)};
		assert_int_equal(sync_thread_create(&t[i].thread, vcpu_main, &t[i]), 0);
	}
	for (u32 i = 0; i < NR_VCPUS; i++) {
		sync_thread_join(&t[i].thread);
		assert_int_equal(t[i].result, 0);
	}
}

static struct outcome run_with(struct replay_config cfg, enum pg_level pages,
			       struct bug_set planted_bugs, enum vm_promote promote)
{
	const struct machine_config mc = {.memory_bytes = 256ULL << 20,
					  .lps = NR_VCPUS + 1,
					  .profile = seam_profile_at(0),
					  .dynamic_pamt = true,
					  .planted_bugs = planted_bugs};
	const struct vm_config vc = {.memory_bytes = fn_to_addr(GFNS),
				     .nr_vcpus = NR_VCPUS,
				     .file = {.backing = GMEM_THP},
				     .max_level = pages,
				     .promote = promote,
				     .promoter_lp = NR_VCPUS,
				     .gpaw = 48,
				     .sept_ve_disable = cfg.accept != ACCEPT_TOUCH};
	struct outcome o = {0};
	struct replay *replay;
	struct machine m;
	struct vm *vm;
	char why[200] = "";
	int broken;
	u64 frames;

	cfg.trace = &trace;
	cfg.memory_bytes = vc.memory_bytes;
	cfg.nr_vcpus = NR_VCPUS;
	cfg.shared_bit = 47;
	cfg.report = bug_set_is_empty(&planted_bugs) ? stderr : NULL;
	assert_int_equal(machine_create(&mc, &m), 0);
	frames = host_frames_used(m.host);
	assert_int_equal(vm_create(&m, &vc, &vm), 0);
	assert_int_equal(replay_create(&cfg, &replay), 0);
	run_vcpus(&m, vm, replay);
	assert_null(vm_why_dead(vm));
	o.replay = replay_stats(replay);
	o.vm = vm_stats(vm);
	o.pages_4k = mmu_stats(vm_mmu(vm))->pages[PG_LEVEL_4K];
	o.pages_2m = mmu_stats(vm_mmu(vm))->pages[PG_LEVEL_2M];
	o.splits = mmu_stats(vm_mmu(vm))->splits;
	o.promotes = mmu_stats(vm_mmu(vm))->promotes;
	o.aug_ok = tdx_leaf_stats(m.tdx, TDH_MEM_PAGE_AUG).ok;
	o.refused = tdx_leaf_stats(m.tdx, TDH_MEM_PAGE_PROMOTE).errors;
	/* The guest has stopped, and nothing runs. */
	broken = check_vm(&m, vm, why, sizeof(why));
	assert_string_equal(why, "");
	assert_int_equal(broken, 0);
	replay_destroy(replay);
	vm_destroy(vm);
	assert_int_equal(host_frames_used(m.host), frames);
	assert_int_equal(seam_pamt_in_use(m.seam), 0);
	machine_destroy(&m);
	return o;
}

static struct outcome run(struct replay_config cfg, enum pg_level pages,
			  struct bug_set planted_bugs)
{
	return run_with(cfg, pages, planted_bugs, VM_PROMOTE_OFF);
}

static void expect_clean(const struct outcome *o)
{
	assert_int_equal(o->replay.errors, 0);
	assert_int_equal(o->replay.accesses, EVENTS);
	assert_int_equal(o->replay.checks, trace.reads_after_write);
}

/* ---- tests -----------------------------------------------------------------------------------*/

/* At 2M: one AUG, one exit and one accept for each whole block, and 37 of each for the tail. */
static void test_2m(void **state)
{
	struct outcome o =
		run((struct replay_config){.accept_level = PG_LEVEL_2M}, PG_LEVEL_2M, NO_BUGS);

	(void)state;
	expect_clean(&o);
	assert_int_equal(o.pages_2m, 10);
	assert_int_equal(o.pages_4k, 37);
	assert_int_equal(o.aug_ok, 47);
	assert_int_equal(o.replay.accepts_2m, 10);
	assert_int_equal(o.replay.accepts_4k, 37);
	assert_int_equal(o.replay.size_mismatches, 0);
	assert_int_equal(o.vm.exits_accept_violation, 47);
}

/* At 4K: one AUG and one accept for each page that is touched, and for no other. */
static void test_4k(void **state)
{
	struct outcome o =
		run((struct replay_config){.accept_level = PG_LEVEL_4K}, PG_LEVEL_4K, NO_BUGS);

	(void)state;
	expect_clean(&o);
	assert_int_equal(o.aug_ok, trace.pages_touched);
	assert_int_equal(o.replay.accepts_4k, trace.pages_touched);
	assert_int_equal(o.pages_4k, trace.pages_touched);
	assert_int_equal(o.pages_2m, 0);
}

/* Asking for 2M where the host maps 4K: one mismatch for each block, and every page accepted. */
static void test_4k_accepted_at_2m(void **state)
{
	struct outcome o =
		run((struct replay_config){.accept_level = PG_LEVEL_2M}, PG_LEVEL_4K, NO_BUGS);

	(void)state;
	expect_clean(&o);
	assert_int_equal(o.replay.size_mismatches, 10);
	assert_int_equal(o.replay.accepts_4k, GFNS);
	assert_int_equal(o.aug_ok, GFNS);
}

/* All at start, and at the first #VE: the same memory, the same values. */
static void test_eager_and_touch(void **state)
{
	(void)state;
	for (enum accept_mode mode = ACCEPT_EAGER; mode <= ACCEPT_TOUCH; mode++) {
		struct outcome o =
			run((struct replay_config){.accept = mode, .accept_level = PG_LEVEL_2M},
			    PG_LEVEL_2M, NO_BUGS);

		expect_clean(&o);
		assert_int_equal(o.replay.accepts_2m, 10);
		assert_int_equal(o.pages_2m, 10);
	}
}

static const struct replay_discard discards[] = {
	{.gpa = 4 * SIZE_2M, .size = 2 * SIZE_2M, .event = EVENTS / 2},
	{.gpa = 0, .size = SIZE_2M, .event = EVENTS / 2},
	{.gpa = 0, .size = GFNS * PAGE_SIZE, .event = EVENTS / 4},
	{.gpa = 9 * SIZE_2M, .size = SIZE_2M, .event = EVENTS},
};

/* Memory that was given back reads as zero until it is written again, at either size. */
static void test_discards(void **state)
{
	(void)state;
	for (enum pg_level pages = PG_LEVEL_4K; pages <= PG_LEVEL_2M; pages++) {
		struct outcome o = run((struct replay_config){.accept_level = pages,
							      .discards = discards,
							      .nr_discards = ARRAY_SIZE(discards)},
				       pages, NO_BUGS);

		expect_clean(&o);
		assert_int_equal(o.replay.discards, ARRAY_SIZE(discards));
		assert_int_equal(o.replay.discards_refused, 0);
	}
}

/* Touching first and accepting at 4K splits each block at its first accept, and no other time. */
static void test_touch_accepted_at_4k(void **state)
{
	struct outcome o =
		run((struct replay_config){.accept = ACCEPT_TOUCH, .accept_level = PG_LEVEL_4K},
		    PG_LEVEL_2M, NO_BUGS);

	(void)state;
	expect_clean(&o);
	assert_int_equal(o.splits, 10);
	assert_int_equal(o.pages_2m, 0);
	assert_int_equal(o.replay.accepts_4k, trace.pages_touched);
}

/* Shared and private again, at once and in steps, over block boundaries, with a discard on the way. */
static const struct replay_conversion conversions[] = {
	{.gpa = 0x3000, .size = 3 * SIZE_2M, .event = EVENTS / 4, .step = 0x40000},
	{.gpa = 5 * SIZE_2M + 0x1000, .size = 0x1000, .event = EVENTS / 4},
	{.gpa = 8 * SIZE_2M, .size = (GFNS - 8 * 512) * PAGE_SIZE, .event = EVENTS / 3},
	{.gpa = 0x3000, .size = 3 * SIZE_2M, .event = EVENTS / 2, .to_private = true},
	{.gpa = 5 * SIZE_2M + 0x1000, .size = 0x1000, .event = EVENTS / 2, .to_private = true},
	{.gpa = 0,
	 .size = GFNS * PAGE_SIZE,
	 .event = EVENTS / 4 * 3,
	 .step = 0x100000,
	 .to_private = true},
};

static const struct replay_discard hole = {
	.gpa = 2 * SIZE_2M - 0x2000, .size = SIZE_2M, .event = EVENTS / 2};

/* Every read is right on both sides, and with promotion every block is whole again at the end. */
static void test_conversions(void **state)
{
	(void)state;
	for (enum vm_promote promote = VM_PROMOTE_OFF; promote <= VM_PROMOTE_NOW; promote++) {
		struct outcome o =
			run_with((struct replay_config){.accept_level = PG_LEVEL_2M,
							.accept = ACCEPT_EAGER,
							.conversions = conversions,
							.nr_conversions = ARRAY_SIZE(conversions),
							.discards = &hole,
							.nr_discards = 1},
				 PG_LEVEL_2M, NO_BUGS, promote);

		expect_clean(&o);
		assert_int_equal(o.replay.conversions_refused, 0);
		assert_int_equal(o.replay.discards, 1);
		assert_int_equal(o.replay.conversions, o.vm.exits_map_gpa);
		assert_true(o.splits >= 4);
		assert_int_equal(o.pages_2m == 10, promote != VM_PROMOTE_OFF);
		assert_int_equal(o.promotes > 0, promote != VM_PROMOTE_OFF);
	}
}

/* Converting at either accept level, in either mode, over mappings of either size. */
static void test_conversions_in_every_mode(void **state)
{
	(void)state;
	for (enum accept_mode mode = ACCEPT_LAZY; mode <= ACCEPT_TOUCH; mode++)
		for (u32 sizes = 0; sizes < 4; sizes++) {
			struct outcome o = run_with(
				(struct replay_config){.accept_level = sizes & 1 ? PG_LEVEL_2M
										 : PG_LEVEL_4K,
						       .accept = mode,
						       .conversions = conversions,
						       .nr_conversions = ARRAY_SIZE(conversions)},
				sizes & 2 ? PG_LEVEL_2M : PG_LEVEL_4K, NO_BUGS, VM_PROMOTE_NOW);

			expect_clean(&o);
			assert_int_equal(o.replay.conversions_refused, 0);
		}
}

/*
 * A guest that touches 2M and accepts few of its pages leaves blocks that the module refuses to
 * promote; a page of each changes sides and comes back at the very end, so that all are candidates
 * then. When the run is over the promoter's thread, whatever the last exits left for it, has come to
 * rest: the invariants, looked at in run_with(), hold, and ThreadSanitizer sees nobody else there.
 */
static void test_idle_promoter_is_at_rest(void **state)
{
	struct replay_conversion c[20];

	(void)state;
	for (u32 i = 0; i < 10; i++) {
		gpa_t gpa = i * SIZE_2M + 0x1000;

		c[i] = (struct replay_conversion){.gpa = gpa, .size = 0x1000, .event = EVENTS - 20};
		c[10 + i] = (struct replay_conversion){
			.gpa = gpa, .size = 0x1000, .event = EVENTS - 9 + i, .to_private = true};
	}
	for (u32 round = 0; round < 20; round++) {
		struct outcome o = run_with((struct replay_config){.accept = ACCEPT_TOUCH,
								   .accept_level = PG_LEVEL_4K,
								   .conversions = c,
								   .nr_conversions = ARRAY_SIZE(c),
								   .seed = round},
					    PG_LEVEL_2M, NO_BUGS, VM_PROMOTE_IDLE);

		expect_clean(&o);
		assert_int_equal(o.splits, 10);
		assert_true(o.refused > 0);
		assert_int_equal(o.pages_2m, 0);
	}
}

#ifdef SEPTUM_CHECK
/* Each bug that is planted below the guest shows in what the guest reads. */
static void test_planted_bugs(void **state)
{
	static const enum planted_bug bugs[] = {BUG_SKIP_KICK, BUG_SKIP_TRACK, BUG_STALE_TLB};
	/* Many at once and out of order, so that frames change places. */
	struct replay_discard d[10];

	(void)state;
	for (u32 i = 0; i < 10; i++)
		d[i] = (struct replay_discard){
			.gpa = i * 7 % 10 * SIZE_2M, .size = SIZE_2M, .event = EVENTS / 2};
	for (u32 i = 0; i < ARRAY_SIZE(bugs); i++) {
		struct outcome o = run((struct replay_config){.accept_level = PG_LEVEL_2M,
							      .discards = d,
							      .nr_discards = 10},
				       PG_LEVEL_2M, bug_set_of(bugs[i]));

		print_message("%s: %llu errors\n", bug_name(bugs[i]),
			      (unsigned long long)o.replay.errors);
		assert_int_not_equal(o.replay.errors, 0);
	}
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_2m),
		cmocka_unit_test(test_4k),
		cmocka_unit_test(test_4k_accepted_at_2m),
		cmocka_unit_test(test_eager_and_touch),
		cmocka_unit_test(test_discards),
		cmocka_unit_test(test_touch_accepted_at_4k),
		cmocka_unit_test(test_conversions),
		cmocka_unit_test(test_conversions_in_every_mode),
		cmocka_unit_test(test_idle_promoter_is_at_rest),
#ifdef SEPTUM_CHECK
		cmocka_unit_test(test_planted_bugs),
#endif
	};

	return cmocka_run_group_tests(tests, make_trace, NULL);
}
