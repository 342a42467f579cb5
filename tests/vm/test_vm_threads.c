/* SPDX-License-Identifier: MIT */
/* Several vCPUs on threads: kicks, removal under load, hold-off, zero-step, death. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/rng.h"
#include "vm/runner.h"

#define MB (1ULL << 20)
#define NR(ops) (sizeof(ops) / sizeof((ops)[0]))

/*
 * A page is taken away while another vCPU, inside the guest, has its translation: that vCPU is
 * kicked out, and its next read faults and finds a page that isn't accepted: it never reads old
 * bytes.
 */
static void test_removal_reaches_a_running_vcpu(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	u64 ready = 0, gone = 0;
	const struct op reader[] = {
		ACCEPT_AT(2M, 4 * MB),
		WRITE_AT(4 * MB, 77),
		{.kind = OP_SIGNAL, .flag = &ready, .value = 1},
		{.kind = OP_WAIT, .flag = &gone, .value = 1},
		ACCEPT_AT(2M, 4 * MB),
		READ_AT(4 * MB),
		STOP,
	};
	const struct op discarder[] = {
		{.kind = OP_WAIT, .flag = &ready, .value = 1},
		DISCARD_AT(4 * MB, 2 * MB),
		{.kind = OP_SIGNAL, .flag = &gone, .value = 1},
		STOP,
	};
	struct runner *a, *b;
	struct rig r = {0};

	(void)state;
	vc.nr_vcpus = 2;
	rig_up(&r, &mc, &vc);
	a = start(&r, 0, reader);
	b = start(&r, 1, discarder);
	sync_thread_join(&b->thread);
	assert_int_equal(b->ret, 0);
	assert_int_equal(b->results[1], 0);
	free(b);
	sync_thread_join(&a->thread);
	assert_int_equal(a->ret, 0);
	assert_int_equal(a->results[4], TDX_SUCCESS);
	assert_int_equal(a->results[5], 0);
	free(a);
	assert_true(vm_stats(r.vm).exits_interrupt >= 1);
	assert_int_equal(rig_ok(&r, TDH_PHYMEM_PAGE_WBINVD), 512);
	rig_down(&r);
}

/* Row 75: vCPUs that fault on the same pages map each once; the losers find it done. */
static void test_same_pages(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	static struct op ops[MAX_VCPUS][514];
	struct runner *t[MAX_VCPUS];
	struct rig r = {0};

	(void)state;
	vc.nr_vcpus = MAX_VCPUS;
	vc.file.backing = GMEM_4K;
	for (u32 v = 0; v < MAX_VCPUS; v++) {
		for (u32 i = 0; i < 512; i++)
			ops[v][i] = (struct op)ACCEPT_AT(4K, 4 * MB + i * PAGE_SIZE);
		ops[v][512] = (struct op)STOP;
	}
	rig_up(&r, &mc, &vc);
	for (u32 v = 0; v < MAX_VCPUS; v++)
		t[v] = start(&r, v, ops[v]);
	for (u32 v = 0; v < MAX_VCPUS; v++)
		assert_int_equal(finish(t[v]), 0);
	assert_int_equal(rig_ok(&r, TDH_MEM_PAGE_AUG), 512);
	assert_int_equal(rig_pages(&r, PG_LEVEL_4K), 512);
	assert_int_equal(mmu_stats(vm_mmu(r.vm))->faults_fixed, 512);
	rig_down(&r);
}

/* Row 16: in a block that is inhibited already, accepts take mmu.lock for reading alone. */
static void test_inhibited_block_takes_no_write_lock(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	static struct op ops[520];
	u64 first = 0, go = 0, done = 0;
	struct rig r = {0};
	struct runner *t;

	(void)state;
	ops[0] = (struct op)ACCEPT_AT(4K, 4 * MB);
	ops[1] = (struct op){.kind = OP_SIGNAL, .flag = &first, .value = 1};
	ops[2] = (struct op){.kind = OP_WAIT, .flag = &go, .value = 1};
	for (u32 i = 1; i < 512; i++)
		ops[2 + i] = (struct op)ACCEPT_AT(4K, 4 * MB + i * PAGE_SIZE);
	ops[514] = (struct op){.kind = OP_SIGNAL, .flag = &done, .value = 1};
	ops[515] = (struct op)STOP;
	rig_up(&r, &mc, &vc);
	t = start(&r, 0, ops);
	wait_for(&first, 1);
	sync_read_lock(mmu_lock(vm_mmu(r.vm)));
	sync_store_release(&go, 1);
	/* A writer would wait for us, and we for it. */
	wait_for(&done, 1);
	sync_read_unlock(mmu_lock(vm_mmu(r.vm)));
	assert_int_equal(finish(t), 0);
	assert_int_equal(rig_pages(&r, PG_LEVEL_4K), 512);
	rig_down(&r);
}

/*
 * Row 76: while a private fault can only be retried the vCPU doesn't enter; a kick makes it try the
 * way through the guest once; the end of the invalidation, or the VM's death, ends it.
 */
static void test_zero_step(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	u64 ready = 0, go = 0;
	const struct op ops[] = {
		{.kind = OP_SIGNAL, .flag = &ready, .value = 1},
		{.kind = OP_WAIT, .flag = &go, .value = 1},
		ACCEPT_AT(2M, 4 * MB),
		STOP,
	};

	(void)state;
	for (int ends_by_death = 0; ends_by_death <= 1; ends_by_death++) {
		struct rig r = {0};
		struct runner *t;
		u64 enters, violations;
		struct mmu *mmu;

		ready = 0;
		go = 0;
		rig_up(&r, &mc, &vc);
		mmu = vm_mmu(r.vm);
		t = start(&r, 0, ops);
		wait_for(&ready, 1);
		sync_write_lock(mmu_lock(mmu));
		mmu_invalidate_begin(mmu);
		mmu_invalidate_range_add(mmu, 2 * 512, 3 * 512);
		sync_write_unlock(mmu_lock(mmu));
		sync_store_release(&go, 1);
		while (!vm_stats(r.vm).exits_accept_violation)
			sync_relax();
		enters = rig_calls(&r, TDH_VP_ENTER);
		for (int i = 0; i < 1000; i++)
			sync_relax();
		assert_int_equal(rig_calls(&r, TDH_VP_ENTER), enters);
		assert_int_equal(vm_stats(r.vm).exits_accept_violation, 1);

		violations = vm_stats(r.vm).exits_accept_violation;
		while (vm_stats(r.vm).exits_accept_violation == violations) {
			vcpu_kick(vm_vcpu(r.vm, 0));
			sync_relax();
		}
		if (ends_by_death) {
			vm_bugged(r.vm, "the test says so");
			assert_int_equal(finish(t), -EIO);
			assert_string_equal(vm_why_dead(r.vm), "the test says so");
		} else {
			sync_write_lock(mmu_lock(mmu));
			mmu_invalidate_end(mmu);
			sync_write_unlock(mmu_lock(mmu));
			assert_int_equal(finish(t), 0);
			assert_int_equal(rig_pages(&r, PG_LEVEL_2M), 1);
		}
		rig_down(&r);
	}
}

/* vm_bugged() gets vCPUs out that never leave the guest by themselves. */
static void test_death_reaches_everybody(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	u64 never = 0, ready[MAX_VCPUS] = {0};
	struct op ops[MAX_VCPUS][3];
	struct runner *t[MAX_VCPUS];
	struct rig r = {0};

	(void)state;
	vc.nr_vcpus = MAX_VCPUS;
	rig_up(&r, &mc, &vc);
	for (u32 v = 0; v < MAX_VCPUS; v++) {
		ops[v][0] = (struct op){.kind = OP_SIGNAL, .flag = &ready[v], .value = 1};
		ops[v][1] = (struct op){.kind = OP_WAIT, .flag = &never, .value = 1};
		ops[v][2] = (struct op)STOP;
		t[v] = start(&r, v, ops[v]);
	}
	for (u32 v = 0; v < MAX_VCPUS; v++)
		wait_for(&ready[v], 1);
	vm_bugged(r.vm, "first");
	vm_bugged(r.vm, "second");
	for (u32 v = 0; v < MAX_VCPUS; v++)
		assert_int_equal(finish(t[v]), -EIO);
	assert_string_equal(vm_why_dead(r.vm), "first");
	rig_down(&r);
}

/* vm_kick_and_wait() returns when all have been outside: each has begun a new run since. */
static void test_kick_and_wait(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	u64 end = 0, ready[2] = {0};
	struct op ops[2][3];
	struct runner *t[2];
	struct rig r = {0};

	(void)state;
	vc.nr_vcpus = 2;
	rig_up(&r, &mc, &vc);
	for (u32 v = 0; v < 2; v++) {
		ops[v][0] = (struct op){.kind = OP_SIGNAL, .flag = &ready[v], .value = 1};
		ops[v][1] = (struct op){.kind = OP_WAIT, .flag = &end, .value = 1};
		ops[v][2] = (struct op)STOP;
		t[v] = start(&r, v, ops[v]);
		wait_for(&ready[v], 1);
	}
	for (u32 i = 1; i <= 50; i++) {
		u64 before = vm_stats(r.vm).exits_total;

		/* Whoever is inside at the kick leaves; who was on its way in may enter again. */
		vm_kick_and_wait(r.vm);
		while (vm_stats(r.vm).exits_total == before)
			sync_relax();
	}
	sync_store_release(&end, 1);
	for (u32 v = 0; v < 2; v++)
		assert_int_equal(finish(t[v]), 0);
	rig_down(&r);
}

/* ---- stress ----------------------------------------------------------------------------------*/
#define STRESS_PAGES 48
#define STRESS_ROUNDS 120

/* Random life of @vcpu's own pages: accept, write, read what was written, give back. */
static u32 make_stress(struct op *ops, u64 *expected, u32 vcpu, u32 nr_vcpus, u64 unit, u64 seed)
{
	enum pg_level level = unit == SIZE_2M ? PG_LEVEL_2M : PG_LEVEL_4K;
	u64 value[STRESS_PAGES] = {0};
	bool there[STRESS_PAGES] = {0};
	u32 pages = unit == SIZE_2M ? 6 : STRESS_PAGES, n = 0;
	struct rng rng;

	rng_init(&rng, seed);
	for (u32 round = 0; round < STRESS_ROUNDS; round++) {
		u32 i = (u32)rng_below(&rng, pages);
		/* Neighbours belong to different vCPUs, so that all meet in the same blocks. */
		gpa_t gpa = 8 * MB + (i * nr_vcpus + vcpu) * unit;

		expected[n] = 0;
		if (!there[i]) {
			there[i] = true;
			value[i] = 0;
			expected[n] = TDX_SUCCESS;
			ops[n++] = (struct op){.kind = OP_ACCEPT, .level = level, .gpa = gpa};
		} else if (rng_below(&rng, 4) == 0) {
			there[i] = false;
			ops[n++] = (struct op)DISCARD_AT(gpa, unit);
		} else {
			expected[n] = value[i];
			ops[n++] = (struct op)READ_AT(gpa);
			value[i] = rng_u64(&rng);
			expected[n] = value[i];
			ops[n++] = (struct op)WRITE_AT(gpa, value[i]);
		}
	}
	ops[n] = (struct op)STOP;
	return n;
}

static void stress(u32 nr_vcpus, u64 unit, bool dynamic_pamt, u64 seed)
{
	static struct op ops[MAX_VCPUS][MAX_OPS];
	static u64 expected[MAX_VCPUS][MAX_OPS];
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	struct runner *t[MAX_VCPUS];
	u32 n[MAX_VCPUS];
	struct rig r = {0};

	mc.dynamic_pamt = dynamic_pamt;
	vc.nr_vcpus = nr_vcpus;
	vc.file.backing = unit == SIZE_2M ? GMEM_THP : GMEM_4K;
	rig_up(&r, &mc, &vc);
	for (u32 v = 0; v < nr_vcpus; v++) {
		n[v] = make_stress(ops[v], expected[v], v, nr_vcpus, unit, seed + v);
		t[v] = start(&r, v, ops[v]);
	}
	for (u32 v = 0; v < nr_vcpus; v++) {
		sync_thread_join(&t[v]->thread);
		if (t[v]->ret || vm_why_dead(r.vm))
			fail_msg("seed %" PRIu64 " vCPU %u: %d, %s", seed, v, t[v]->ret,
				 vm_why_dead(r.vm) ? vm_why_dead(r.vm) : "alive");
		for (u32 i = 0; i < n[v]; i++)
			if (t[v]->results[i] != expected[v][i])
				fail_msg("seed %" PRIu64 " vCPU %u op %u: 0x%" PRIx64
					 ", not 0x%" PRIx64,
					 seed, v, i, t[v]->results[i], expected[v][i]);
		assert_int_equal(t[v]->program.mces, 0);
		free(t[v]);
	}
	rig_down(&r);
}

/* 1, 2 and 4 vCPUs that map, use and give back pages of the same blocks see their own bytes alone. */
static void test_stress(void **state)
{
	static const u32 vcpus[] = {1, 2, 4};

	(void)state;
	for (size_t i = 0; i < NR(vcpus); i++)
		for (u64 seed = 1; seed <= 3; seed++) {
			stress(vcpus[i], SIZE_4K, false, seed);
			stress(vcpus[i], SIZE_4K, true, seed);
		}
	for (size_t i = 0; i < NR(vcpus); i++)
		stress(vcpus[i], SIZE_2M, i & 1, 10 + i);
}

#ifdef SEPTUM_CHECK
/* A planted bug shows: a vCPU that isn't kicked, or doesn't flush, reads through its old translation. */
static void test_planted_bugs_show(void **state)
{
	static const enum planted_bug bugs[] = {BUG_SKIP_KICK, BUG_SKIP_TRACK, BUG_STALE_TLB};

	(void)state;
	for (size_t i = 0; i < NR(bugs); i++) {
		struct machine_config mc = rig_machine();
		struct vm_config vc = rig_vm();
		u64 ready = 0, gone = 0;
		const struct op reader[] = {
			ACCEPT_AT(4K, 4 * MB),
			WRITE_AT(4 * MB, 77),
			{.kind = OP_SIGNAL, .flag = &ready, .value = 1},
			{.kind = OP_WAIT, .flag = &gone, .value = 1},
			READ_AT(4 * MB),
			STOP,
		};
		const struct op discarder[] = {
			{.kind = OP_WAIT, .flag = &ready, .value = 1},
			DISCARD_AT(4 * MB, 4096),
			{.kind = OP_SIGNAL, .flag = &gone, .value = 1},
			STOP,
		};
		struct runner *a, *b;
		struct rig r = {0};

		mc.planted_bugs = bug_set_of(bugs[i]);
		vc.nr_vcpus = 2;
		vc.file.backing = GMEM_4K;
		rig_up(&r, &mc, &vc);
		a = start(&r, 0, reader);
		b = start(&r, 1, discarder);
		assert_int_equal(finish(b), 0);
		sync_thread_join(&a->thread);
		/* Without the bug the read faults and dies: the page isn't accepted again. */
		assert_int_equal(a->ret, 0);
		assert_true(a->program.mces || a->results[4] != 0);
		free(a);
		rig_down(&r);
	}
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_removal_reaches_a_running_vcpu),
		cmocka_unit_test(test_same_pages),
		cmocka_unit_test(test_inhibited_block_takes_no_write_lock),
		cmocka_unit_test(test_zero_step),
		cmocka_unit_test(test_death_reaches_everybody),
		cmocka_unit_test(test_kick_and_wait),
		cmocka_unit_test(test_stress),
#ifdef SEPTUM_CHECK
		cmocka_unit_test(test_planted_bugs_show),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
