/* SPDX-License-Identifier: MIT */
/* Memory fails under a guest in a real TD: who gets a machine check, and what the others still hold. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "base/rng.h"
#include "check/invariants.h"
#include "guest/replay.h"
#include "vm/vm.h"

#define NR_VCPUS 2
#define BLOCKS 6
#define GFNS (BLOCKS * 512)
#define EVENTS 6000
#define SHARED_BIT 47

/* ---- a trace that goes everywhere, and all the time to a few pages of each block -----------------*/
static struct trace_access accesses[NR_VCPUS][EVENTS];
static struct trace_access *events[NR_VCPUS] = {accesses[0], accesses[1]};
static u64 nr_vcpu_events[NR_VCPUS];
static struct trace trace = {.nr_vcpus = NR_VCPUS,
			     .nr_events = EVENTS,
			     .max_gfn = GFNS - 1,
			     .events = events,
			     .nr_vcpu_events = nr_vcpu_events};

static int make_trace(void **state)
{
	static bool written[GFNS];
	struct rng rng;

	(void)state;
	sync_thread_enter();
	rng_init(&rng, 11);
	for (u32 i = 1; i <= EVENTS; i++) {
		u32 v = (u32)rng_below(&rng, NR_VCPUS);
		gfn_t gfn = rng_below(&rng, 3) ? rng_below(&rng, BLOCKS) * 512 + rng_below(&rng, 4)
					       : rng_below(&rng, GFNS);
		bool write = rng_below(&rng, 2);

		accesses[v][nr_vcpu_events[v]++] =
			(struct trace_access){.number = i,
					      .gfn_low = (u32)gfn,
					      .write = write,
					      .follows_write = !write && written[gfn]};
		written[gfn] |= write;
	}
	return 0;
}

/* From event @first on: accesses of both vCPUs to [@start, @end), and its pages that have any. */
static void count_uses(u64 first, gfn_t start, gfn_t end, u64 *uses, u64 *pages)
{
	static bool used[GFNS];

	memset(used, 0, sizeof(used));
	*uses = *pages = 0;
	for (u32 v = 0; v < NR_VCPUS; v++)
		for (u64 i = 0; i < nr_vcpu_events[v]; i++) {
			const struct trace_access *a = &accesses[v][i];
			gfn_t gfn = trace_access_gfn(a);

			if (a->number < first || gfn < start || gfn >= end)
				continue;
			++*uses;
			*pages += !used[gfn];
			used[gfn] = true;
		}
}

/* ---- one run ---------------------------------------------------------------------------------*/
enum lie { TRUTH, NOTHING_HAPPENS, NOTHING_IS_SAID };

struct setup {
	enum gmem_failure_scope scope;
	enum gmem_backing backing;
	enum accept_mode accept;
	enum vm_promote promote;
	enum lie lie;
};

struct outcome {
	struct replay_stats replay;
	u64 pages_failed, pages_4k, pages_2m;
};

struct failing {
	struct sync_thread thread;
	struct lp *lp;
	struct replay *replay;
	struct vm *vm;
	enum lie lie;
};

static struct replay_loss make_fail(void *ctx, const struct replay_failure *failure)
{
	struct failing *f = ctx;
	gfn_t gfn = addr_to_fn(failure->gpa);
	u64 before = gmem_stats(vm_file(f->vm)).failed_pages, lost;

	if (f->lie == NOTHING_HAPPENS)
		return (struct replay_loss){gfn, 1};
	assert_int_equal(vm_memory_failure(f->vm, failure->gpa), 0);
	lost = gmem_stats(vm_file(f->vm)).failed_pages - before;
	if (f->lie == NOTHING_IS_SAID)
		lost = 0;
	return lost > 1 ? (struct replay_loss){ALIGN_DOWN(gfn, 512), lost}
			: (struct replay_loss){gfn, lost};
}

static void failing_main(void *arg)
{
	struct failing *f = arg;

	lp_set_current(f->lp);
	replay_inject_failures(f->replay);
}

struct vcpu_thread {
	struct sync_thread thread;
	struct lp *lp;
	struct vcpu *vcpu;
	struct replay *replay;
	u32 index;
	int result;
};

static void vcpu_main(void *arg)
{
	struct vcpu_thread *t = arg;

	lp_set_current(t->lp);
	do
		t->result = vcpu_run(t->vcpu, &replay_guest_ops, replay_guest(t->replay, t->index));
	while (t->result == -EHWPOISON &&
	       replay_machine_check(t->replay, t->index, vcpu_fault_gpa(t->vcpu)));
}

static void run_threads(struct machine *m, struct failing *f)
{
	struct vcpu_thread t[NR_VCPUS];

	assert_int_equal(sync_thread_create(&f->thread, failing_main, f), 0);
	for (u32 i = 0; i < NR_VCPUS; i++) {
		t[i] = (struct vcpu_thread){.lp = m->lps[i],
					    .vcpu = vm_vcpu(f->vm, i),
					    .replay = f->replay,
					    .index = i};
		assert_int_equal(sync_thread_create(&t[i].thread, vcpu_main, &t[i]), 0);
	}
	for (u32 i = 0; i < NR_VCPUS; i++) {
		sync_thread_join(&t[i].thread);
		assert_int_equal(t[i].result, 0);
	}
	replay_stop_failures(f->replay);
	sync_thread_join(&f->thread);
}

static struct outcome run(struct replay_config cfg, const struct setup *s)
{
	const struct machine_config mc = {.memory_bytes = 256ULL << 20,
					  .lps = NR_VCPUS + 2,
					  .profile = seam_profile_at(0),
					  .dynamic_pamt = true};
	const struct vm_config vc = {.memory_bytes = fn_to_addr(GFNS),
				     .nr_vcpus = NR_VCPUS,
				     .file = {.backing = s->backing, .failure_scope = s->scope},
				     .max_level = PG_LEVEL_2M,
				     .promote = s->promote,
				     .promoter_lp = NR_VCPUS,
				     .gpaw = 48,
				     .sept_ve_disable = s->accept != ACCEPT_TOUCH};
	struct outcome o = {0};
	struct failing f = {.lie = s->lie};
	char why[200] = "";
	struct machine m;
	u64 frames;

	cfg.trace = &trace;
	cfg.memory_bytes = vc.memory_bytes;
	cfg.nr_vcpus = NR_VCPUS;
	cfg.accept = s->accept;
	cfg.accept_level = PG_LEVEL_2M;
	cfg.shared_bit = SHARED_BIT;
	cfg.fail = make_fail;
	cfg.fail_ctx = &f;
	cfg.report = s->lie ? NULL : stderr;
	assert_int_equal(machine_create(&mc, &m), 0);
	frames = host_frames_used(m.host);
	assert_int_equal(vm_create(&m, &vc, &f.vm), 0);
	assert_int_equal(replay_create(&cfg, &f.replay), 0);
	f.lp = m.lps[NR_VCPUS + 1];
	run_threads(&m, &f);
	assert_null(vm_why_dead(f.vm));
	o.replay = replay_stats(f.replay);
	o.pages_failed = gmem_stats(vm_file(f.vm)).failed_pages;
	o.pages_4k = mmu_stats(vm_mmu(f.vm))->pages[PG_LEVEL_4K];
	o.pages_2m = mmu_stats(vm_mmu(f.vm))->pages[PG_LEVEL_2M];
	assert_int_equal(check_vm(&m, f.vm, why, sizeof(why)), 0);
	replay_destroy(f.replay);
	vm_destroy(f.vm);
	/* What failed is never used again. */
	assert_int_equal(host_frames_used(m.host), frames + o.pages_failed);
	assert_int_equal(m.host->used[FRAME_FAILED], o.pages_failed);
	machine_destroy(&m);
	return o;
}

/* ---- tests -----------------------------------------------------------------------------------*/
#define HALF (EVENTS / 2)

/*
 * A page that is in use fails. Whoever comes to it next gets one machine check, and no later access is
 * made; that is the page alone, or each page of its 2M that is still used. All other reads are right.
 */
static void test_scopes(void **state)
{
	const gfn_t bad = 2 * 512 + 1;
	const struct replay_failure failure = {.gpa = fn_to_addr(bad) + 0x123, .event = HALF};
	const struct replay_config cfg = {.failures = &failure, .nr_failures = 1};

	(void)state;
	for (u32 i = 0; i < 2 * 2 * 3 * 3; i++) {
		const struct setup s = {.scope = (enum gmem_failure_scope)(i % 2),
					.backing = i / 2 % 2 ? GMEM_4K : GMEM_THP,
					.accept = (enum accept_mode)(i / 4 % 3),
					.promote = (enum vm_promote)(i / 12)};
		bool whole = s.scope == GMEM_FAILURE_FOLIO && s.backing == GMEM_THP;
		struct outcome o = run(cfg, &s);
		u64 uses, pages;

		count_uses(HALF, whole ? 2 * 512 : bad, whole ? 3 * 512 : bad + 1, &uses, &pages);
		assert_true(pages > (whole ? 100 : 0));
		assert_int_equal(o.replay.errors, 0);
		assert_int_equal(o.replay.accesses, EVENTS);
		assert_int_equal(o.replay.failures, 1);
		assert_int_equal(o.replay.pages_failed, whole ? 512 : 1);
		assert_int_equal(o.pages_failed, whole ? 512 : 1);
		assert_int_equal(o.replay.machine_checks, pages);
		assert_int_equal(o.replay.accesses_left_out, uses);
		if (s.backing == GMEM_THP) {
			assert_int_equal(o.pages_2m, BLOCKS - 1);
			assert_int_equal(o.pages_4k, whole ? 0 : 511);
		}
	}
}

/*
 * Pages fail that the guest has not accepted, that are shared, or about to be; that fail twice, that
 * nothing backs. What is given back, shared and made private again around them is whole but for them.
 */
static void test_every_state(void **state)
{
	const gfn_t bad = 3 * 512 + 2;
	const struct replay_failure failures[] = {
		{.gpa = 0, .event = 1},			 /* nothing backs it: nothing is lost */
		{.gpa = fn_to_addr(bad), .event = HALF}, /* private, and shared at this event */
		{.gpa = fn_to_addr(bad + 1), .event = HALF + 1}, /* shared */
		{.gpa = fn_to_addr(bad), .event = HALF + 2},	 /* again */
		{.gpa = fn_to_addr(512), .event = HALF / 2},	 /* and given back later */
	};
	const struct replay_conversion conversions[] = {
		{.gpa = 3 * SIZE_2M, .size = SIZE_2M, .event = HALF, .step = 0x40000},
		{.gpa = 3 * SIZE_2M, .size = SIZE_2M, .event = HALF + HALF / 2, .to_private = true},
	};
	const struct replay_discard discards[] = {
		{.gpa = SIZE_2M, .size = 0x3000, .event = HALF},
		{.gpa = SIZE_2M, .size = SIZE_2M, .event = HALF + HALF / 2},
	};
	const struct replay_config cfg = {.failures = failures,
					  .nr_failures = ARRAY_SIZE(failures),
					  .conversions = conversions,
					  .nr_conversions = ARRAY_SIZE(conversions),
					  .discards = discards,
					  .nr_discards = ARRAY_SIZE(discards)};

	(void)state;
	for (u32 i = 0; i < 2 * 2 * 3; i++) {
		const struct setup s = {.scope = (enum gmem_failure_scope)(i % 2),
					.backing = i / 2 % 2 ? GMEM_4K : GMEM_THP,
					.accept = (enum accept_mode)(i / 4)};
		bool whole = s.scope == GMEM_FAILURE_FOLIO && s.backing == GMEM_THP;
		struct outcome o;

		/* Eager, memory is backed before the first event. */
		o = run(cfg, &s);
		assert_int_equal(o.replay.errors, 0);
		assert_int_equal(o.replay.conversions_refused, 0);
		assert_int_equal(o.replay.discards_refused, 0);
		/* The second is part of what the first one takes, if that is the huge page. */
		assert_int_equal(o.replay.failures, (whole ? 2 : 3) + (s.accept == ACCEPT_EAGER));
		assert_true(o.replay.machine_checks >= 3);
		if (!whole)
			assert_int_equal(o.replay.machine_checks, 3 + (s.accept == ACCEPT_EAGER));
	}
}

/* The check can fail: a page that is said to have failed and works, one that fails and wasn't to. */
static void test_lies(void **state)
{
	const struct replay_failure failure = {.gpa = fn_to_addr(513), .event = HALF};
	const struct replay_config cfg = {.failures = &failure, .nr_failures = 1};
	struct setup s = {.lie = NOTHING_HAPPENS};
	struct outcome o = run(cfg, &s);
	u64 uses, pages;

	(void)state;
	count_uses(HALF, 513, 514, &uses, &pages);
	assert_true(uses > 1);
	assert_int_equal(o.replay.errors, uses);
	assert_int_equal(o.replay.machine_checks, 0);
	s.lie = NOTHING_IS_SAID;
	o = run(cfg, &s);
	assert_int_equal(o.replay.errors, 1);
	assert_int_equal(o.replay.machine_checks, 1);
	assert_int_equal(o.replay.accesses_left_out, uses);
}

/* A failure needs somebody who makes it happen, and a page of memory; without any, no answer. */
static void test_bad_configurations(void **state)
{
	struct replay_failure failure = {.gpa = fn_to_addr(GFNS - 1), .event = 1};
	struct replay_config cfg = {.trace = &trace,
				    .memory_bytes = fn_to_addr(GFNS),
				    .nr_vcpus = NR_VCPUS,
				    .accept_level = PG_LEVEL_2M,
				    .shared_bit = SHARED_BIT};
	struct replay *r;

	(void)state;
	assert_int_equal(replay_create(&cfg, &r), 0);
	assert_false(replay_machine_check(r, 0, 0));
	replay_destroy(r);
	cfg.failures = &failure;
	cfg.nr_failures = 1;
	assert_int_equal(replay_create(&cfg, &r), -EINVAL);
	cfg.fail = make_fail;
	assert_int_equal(replay_create(&cfg, &r), 0);
	assert_false(replay_machine_check(r, 0, fn_to_addr(GFNS)));
	assert_true(replay_machine_check(r, 0, fn_to_addr(1) | BIT_ULL(SHARED_BIT)));
	assert_int_equal(replay_stats(r).errors, 1);
	replay_destroy(r);
	failure.gpa += PAGE_SIZE;
	assert_int_equal(replay_create(&cfg, &r), -EINVAL);
	failure.gpa = 0;
	failure.event = 0;
	assert_int_equal(replay_create(&cfg, &r), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scopes),
		cmocka_unit_test(test_every_state),
		cmocka_unit_test(test_lies),
		cmocka_unit_test(test_bad_configurations),
	};

	return cmocka_run_group_tests(tests, make_trace, NULL);
}
