/* SPDX-License-Identifier: MIT */
/* The n-th SEAMCALL fails, for every n: the VM is healthy, or stopped with the reason. */
#include <errno.h>

#include "vm/internal.h"
#include "vm/rig.h"

#define MB (1ULL << 20)
#define NR(ops) (sizeof(ops) / sizeof((ops)[0]))

/* What the wrapper does; one machine at a time, one thread. */
static struct {
	u64 calls;   /* since the machine came up */
	u64 fail_at; /* 0: never */
	u64 status;
	u32 failed_leaf;
	bool failed;
	u64 warnings;
} injection;

static void on_warn(void *ctx, const char *what)
{
	(void)ctx;
	(void)what;
	injection.warnings++;
}

static u64 injecting_seamcall(struct lp *lp, struct tdx_regs *r)
{
	if (++injection.calls != injection.fail_at)
		return seamcall(lp, r);
	injection.failed = true;
	injection.failed_leaf = (u32)r->rax;
	r->rax = injection.status;
	return r->rax;
}

/* Both sizes, tables, removal of both, a page that comes back; a split, and a promotion at the end. */
static const struct op scenario[] = {
	ACCEPT_AT(2M, 4 * MB),
	WRITE_AT(4 * MB, 1),
	ACCEPT_AT(4K, 8 * MB),
	ACCEPT_AT(4K, 8 * MB + 0x1000),
	WRITE_AT(8 * MB, 2),
	DISCARD_AT(4 * MB, 2 * MB),
	ACCEPT_AT(2M, 4 * MB),
	READ_AT(4 * MB),
	DISCARD_AT(8 * MB, 2 * MB),
	WRITE_AT(5 * MB, 3),
	MAP_GPA_AT(BIT_ULL(47) | 4 * MB, 0x1000),
	WRITE_AT(BIT_ULL(47) | 4 * MB, 4),
	READ_AT(BIT_ULL(47) | 4 * MB),
	MAP_GPA_AT(4 * MB, 0x1000),
	ACCEPT_AT(4K, 4 * MB),
	READ_AT(4 * MB),
	READ_AT(5 * MB),
	STOP,
};

static const u64 scenario_results[] = {0, 1, 0, 0, 2, 0, 0, 0, 0, 3, 0, 4, 4, 0, 0, 0, 3};

struct outcome {
	bool fired;
	u32 leaf;
	int create, run;
	bool dead;
	bool right; /* all results as expected */
	u64 splits, promotes;
	u64 frames_leaked, pamt_leaked;
	char broken[200]; /* an invariant, when the guest had stopped */
};

static struct outcome run_with(u64 fail_at, u64 status, bool dynamic_pamt)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	u64 results[NR(scenario)], before;
	struct outcome o = {0};
	struct program p;
	struct machine m;
	struct vm *vm;

	mc.memory_bytes = 64 * MB;
	mc.lps = 1;
	mc.dynamic_pamt = dynamic_pamt;
	mc.seamcall = injecting_seamcall;
	mc.warn = on_warn;
	vc.memory_bytes = 16 * MB;
	vc.promote = VM_PROMOTE_NOW;
	injection.fail_at = 0;
	assert_int_equal(machine_create(&mc, &m), 0);
	before = host_frames_used(m.host);
	injection.calls = 0;
	injection.fail_at = fail_at;
	injection.status = status;
	injection.failed = false;
	injection.warnings = 0;
	o.create = vm_create(&m, &vc, &vm);
	if (!o.create) {
		o.run = program_run(vm, 0, scenario, &p, results);
		o.dead = vm_why_dead(vm) && vm_why_dead(vm)[0];
		o.right = !o.run && !memcmp(results, scenario_results, sizeof(scenario_results));
		o.splits = mmu_stats(vm_mmu(vm))->splits;
		o.promotes = mmu_stats(vm_mmu(vm))->promotes;
		/* A pair that the module kept, and tdx has warned of, is one user too many. */
		if (!injection.warnings)
			check_vm(&m, vm, o.broken, sizeof(o.broken));
		vm_destroy(vm);
	}
	o.fired = injection.failed;
	o.leaf = injection.failed_leaf;
	o.frames_leaked = host_frames_used(m.host) - before;
	o.pamt_leaked = seam_pamt_in_use(m.seam);
	machine_destroy(&m);
	return o;
}

/*
 * Rows 23 and 100, and the guarantee of tdx: one BUSY, at any call, is survived with nothing lost or
 * leaked, and afterwards both trees agree.
 */
static void test_busy_at_every_call(void **state)
{
	(void)state;
	for (int dynamic = 0; dynamic <= 1; dynamic++) {
		/* Every call once, but of a run of WBINVDs only some. */
		for (u64 n = 1;; n++) {
			struct outcome o = run_with(n, TDX_OPERAND_BUSY | TDX_OPERAND_RCX, dynamic);

			if (!o.fired) {
				assert_true(n > 100);
				assert_int_equal(o.splits, 1);
				assert_int_equal(o.promotes, 1);
				break;
			}
			if (o.create || !o.right || o.dead || o.frames_leaked || o.pamt_leaked)
				fail_msg("BUSY at call %llu (%s): create %d, run %d, %s",
					 (unsigned long long)n, tdh_leaf_name(o.leaf), o.create,
					 o.run, o.dead ? "dead" : "alive");
			assert_string_equal(o.broken, "");
			if (o.leaf == TDH_PHYMEM_PAGE_WBINVD)
				n += 101;
		}
	}
}

/*
 * Row 100: an unexpected status at any call: the VM isn't made, or is stopped with a reason, or
 * doesn't care, and then its trees agree. Only a page whose RECLAIM failed, and a TD whose way down failed, are lost.
 */
static void test_error_at_every_call(void **state)
{
	(void)state;
	for (int dynamic = 0; dynamic <= 1; dynamic++) {
		for (u64 n = 1;; n++) {
			struct outcome o = run_with(n, TDX_OPERAND_INVALID, dynamic);
			bool down;

			if (!o.fired) {
				assert_true(n > 100);
				break;
			}
			down = o.leaf == TDH_PHYMEM_PAGE_RECLAIM || o.leaf == TDH_VP_FLUSH ||
			       o.leaf == TDH_MNG_VPFLUSHDONE || o.leaf == TDH_PHYMEM_CACHE_WB ||
			       o.leaf == TDH_MNG_KEY_FREEID || o.leaf == TDH_PHYMEM_PAMT_REMOVE ||
			       o.leaf == TDH_PHYMEM_PAGE_WBINVD;
			if (!down && (o.frames_leaked || o.pamt_leaked))
				fail_msg("error at call %llu (%s): leaks", (unsigned long long)n,
					 tdh_leaf_name(o.leaf));
			if (o.create ? o.create != -EIO : !o.right && (o.run != -EIO || !o.dead))
				fail_msg("error at call %llu (%s): create %d, run %d, %s",
					 (unsigned long long)n, tdh_leaf_name(o.leaf), o.create,
					 o.run, o.dead ? "dead" : "alive");
			assert_string_equal(o.broken, "");
			if (o.leaf == TDH_PHYMEM_PAGE_WBINVD)
				n += 101;
		}
	}
}

/* ---- removal under BUSY ----------------------------------------------------------------------*/
static struct {
	enum tdh_leaf leaf;
	u32 times;
	u64 made;
	struct vm *vm;
	bool held_off;
} always;

/* Answers BUSY to one leaf, and looks at the hold-off meanwhile. */
static u64 busy_leaf(struct lp *lp, struct tdx_regs *r)
{
	if ((r->rax & 0xFFFF) != always.leaf)
		return seamcall(lp, r);
	always.made++;
	if (always.vm && td_entry_held_off(vm_td(always.vm)))
		always.held_off = true;
	if (always.made > always.times)
		return seamcall(lp, r);
	r->rax = TDX_OPERAND_BUSY | TDX_OPERAND_SEPT_TREE;
	return r->rax;
}

/*
 * Rows 23, 24, 25: a second try is made with vCPUs held off; a second BUSY stops the VM. For a whole
 * leaf, and for one that is split first.
 */
static void test_busy_twice_stops(void **state)
{
	static const enum tdh_leaf leaves[] = {TDH_MEM_RANGE_BLOCK, TDH_MEM_TRACK,
					       TDH_MEM_PAGE_REMOVE, TDH_MEM_PAGE_DEMOTE};
	const struct op whole[] = {ACCEPT_AT(4K, 4 * MB), DISCARD_AT(4 * MB, 2 * MB), STOP};
	const struct op part[] = {ACCEPT_AT(2M, 4 * MB), MAP_GPA_AT(BIT_ULL(47) | 4 * MB, 0x1000),
				  STOP};

	(void)state;
	for (size_t i = 0; i < NR(leaves) * 2; i++) {
		struct machine_config mc = rig_machine();
		struct vm_config vc = rig_vm();
		const struct op *ops = leaves[i / 2] == TDH_MEM_PAGE_DEMOTE ? part : whole;
		u64 results[NR(whole)];
		struct program p;
		struct rig r = {0};
		u32 times = 1 + (u32)(i & 1);

		mc.seamcall = busy_leaf;
		memset(&always, 0, sizeof(always));
		always.leaf = leaves[i / 2];
		always.times = times;
		rig_up(&r, &mc, &vc);
		always.vm = r.vm;
		assert_int_equal(rig_run(&r, ops, &p, results), times == 1 ? 0 : -EIO);
		assert_int_equal(always.made, 2);
		assert_true(always.held_off);
		assert_false(td_entry_held_off(vm_td(r.vm)));
		if (times == 1)
			assert_null(vm_why_dead(r.vm));
		else
			assert_non_null(strstr(vm_why_dead(r.vm), tdh_leaf_name(leaves[i / 2])));
		assert_int_equal(tdx_leaf_stats(r.m.tdx, leaves[i / 2]).busy, times);
		rig_down(&r);
	}
}

/* A module that is busy at AUG for a while is asked again, without the guest noticing. */
static void test_busy_aug_is_retried(void **state)
{
	const struct op ops[] = {ACCEPT_AT(4K, 4 * MB), STOP};
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	u64 results[NR(ops)];
	struct program p;
	struct rig r = {0};

	(void)state;
	mc.seamcall = busy_leaf;
	memset(&always, 0, sizeof(always));
	always.leaf = TDH_MEM_PAGE_AUG;
	always.times = 20;
	rig_up(&r, &mc, &vc);
	assert_int_equal(rig_run(&r, ops, &p, results), 0);
	assert_int_equal(results[0], TDX_SUCCESS);
	assert_int_equal(vm_stats(r.vm).exits_ept_violation, 1);
	assert_int_equal(tdx_leaf_stats(r.m.tdx, TDH_MEM_PAGE_AUG).busy, 20);
	assert_int_equal(mmu_stats(vm_mmu(r.vm))->faults_retry, 20);
	rig_down(&r);
}

static bool clobber;

/* VP.ENTER is BUSY every other time, and leaves nothing of the registers. */
static u64 busy_enter(struct lp *lp, struct tdx_regs *r)
{
	if ((r->rax & 0xFFFF) != TDH_VP_ENTER)
		return seamcall(lp, r);
	clobber = !clobber;
	if (!clobber)
		return seamcall(lp, r);
	memset(r, 0x5A, sizeof(*r));
	r->rax = TDX_OPERAND_BUSY | TDX_OPERAND_TD_EPOCH;
	return r->rax;
}

/* A vCPU that couldn't enter keeps the answer to its guest's hypercall until it can. */
static void test_busy_enter_keeps_answer(void **state)
{
	const struct op ops[] = {DISCARD_AT(4 * MB, 1), DISCARD_AT(4 * MB, 4096),
				 ACCEPT_AT(4K, 4 * MB), STOP};
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	u64 results[NR(ops)];
	struct program p;
	struct rig r = {0};

	(void)state;
	mc.seamcall = busy_enter;
	clobber = false;
	rig_up(&r, &mc, &vc);
	assert_int_equal(rig_run(&r, ops, &p, results), 0);
	assert_int_equal(results[0], (u64)-EINVAL);
	assert_int_equal(results[1], 0);
	assert_int_equal(results[2], TDX_SUCCESS);
	assert_int_equal(vm_stats(r.vm).exits_total, 4);
	assert_int_equal(tdx_leaf_stats(r.m.tdx, TDH_VP_ENTER).busy, 4);
	rig_down(&r);
}

/* ---- hold-off --------------------------------------------------------------------------------*/
static struct {
	enum tdh_leaf leaf;
	u32 times;     /* as often it is BUSY */
	struct vm *vm; /* NULL: don't interfere */
	u64 calls, enters;
	u64 enters_before; /* the second call */
	bool entered, held_off;
} hold;

/*
 * The second call is made with vCPUs held off. The one that was inside has been thrown out, and here
 * it has the time to try three times to get back.
 */
static void watch_second_call(void)
{
	const u32 *entries = &hold.vm->vcpus[1].entries;
	u32 before = sync_load(entries);

	hold.enters_before = sync_load(&hold.enters);
	hold.held_off = td_entry_held_off(vm_td(hold.vm));
	while (sync_load(entries) - before < 6)
		sync_relax();
	hold.entered = sync_load(&hold.enters) != hold.enters_before;
}

static u64 watch_enters(struct lp *lp, struct tdx_regs *r)
{
	u32 leaf = (u32)r->rax & 0xFFFF;

	if (leaf == TDH_VP_ENTER)
		sync_fetch_add(&hold.enters, 1);
	if (leaf != hold.leaf || !hold.vm)
		return seamcall(lp, r);
	if (++hold.calls == 2)
		watch_second_call();
	if (hold.calls > hold.times)
		return seamcall(lp, r);
	r->rax = TDX_OPERAND_BUSY | TDX_OPERAND_SEPT_TREE;
	return r->rax;
}

struct waiter {
	struct sync_thread thread;
	struct vm *vm;
	const struct op *ops;
	struct program program;
	u64 results[4];
	int ret;
};

static void waiter_main(void *arg)
{
	struct waiter *w = arg;

	w->ret = program_run(w->vm, 1, w->ops, &w->program, w->results);
}

/* vCPU 1 waits inside while vCPU 0 splits a leaf and takes a part of it away. Return: vCPU 0's. */
static int split_beside_a_vcpu(struct rig *r, enum tdh_leaf leaf, u32 times, struct waiter *w)
{
	static u64 inside, done;
	static const struct op waits[] = {{.kind = OP_SIGNAL, .flag = &inside, .value = 1},
					  {.kind = OP_WAIT, .flag = &done, .value = 1},
					  STOP};
	static const struct op splits[] = {{.kind = OP_WAIT, .flag = &inside, .value = 1},
					   ACCEPT_AT(2M, 4 * MB),
					   DISCARD_AT(4 * MB, PAGE_SIZE),
					   {.kind = OP_SIGNAL, .flag = &done, .value = 1},
					   STOP};
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	u64 results[NR(splits)];
	struct program p;
	int ret;

	inside = done = 0;
	mc.seamcall = watch_enters;
	vc.nr_vcpus = 2;
	memset(&hold, 0, sizeof(hold));
	hold.leaf = leaf;
	hold.times = times;
	rig_up(r, &mc, &vc);
	hold.vm = r->vm;
	*w = (struct waiter){.ops = waits, .vm = r->vm};
	assert_int_equal(sync_thread_create(&w->thread, waiter_main, w), 0);
	ret = program_run(r->vm, 0, splits, &p, results);
	sync_thread_join(&w->thread);
	assert_true(hold.calls >= 2);
	assert_true(hold.held_off);
	assert_false(hold.entered);
	assert_false(td_entry_held_off(vm_td(r->vm)));
	rig_quiet(r);
	return ret;
}

static const enum tdh_leaf split_leaves[] = {TDH_MEM_RANGE_BLOCK, TDH_MEM_PAGE_DEMOTE};

/*
 * Rows 23 and 25: BUSY while a vCPU is inside: it is thrown out, and while entries are held off the
 * number of VP.ENTERs stays the same, often as it tries; afterwards it is in again, and the VM is
 * healthy.
 */
static void test_hold_off(void **state)
{
	(void)state;
	for (size_t i = 0; i < NR(split_leaves); i++) {
		struct rig r = {0};
		struct waiter w;

		assert_int_equal(split_beside_a_vcpu(&r, split_leaves[i], 1, &w), 0);
		assert_int_equal(w.ret, 0);
		/* Inside before, and after. */
		assert_true(w.program.entries >= 2);
		assert_true(hold.enters > hold.enters_before);
		assert_null(vm_why_dead(r.vm));
		assert_int_equal(rig_ok(&r, TDH_MEM_PAGE_DEMOTE), 1);
		assert_int_equal(rig_pages(&r, PG_LEVEL_4K), 511);
		rig_down(&r);
	}
}

/* Row 24: a second BUSY stops the VM: every vCPU's run is -EIO, also of one that only waited inside. */
static void test_busy_twice_stops_every_vcpu(void **state)
{
	(void)state;
	for (size_t i = 0; i < NR(split_leaves); i++) {
		const struct op stop[] = {STOP};
		u64 results[1], enters;
		struct program p;
		struct rig r = {0};
		struct waiter w;

		assert_int_equal(split_beside_a_vcpu(&r, split_leaves[i], 2, &w), -EIO);
		assert_int_equal(w.ret, -EIO);
		assert_non_null(strstr(vm_why_dead(r.vm), tdh_leaf_name(split_leaves[i])));
		/* From now on, too, and without entering. */
		enters = hold.enters;
		for (u32 v = 0; v < 2; v++)
			assert_int_equal(program_run(r.vm, v, stop, &p, results), -EIO);
		assert_int_equal(hold.enters, enters);
		rig_down(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_busy_at_every_call),
		cmocka_unit_test(test_error_at_every_call),
		cmocka_unit_test(test_busy_twice_stops),
		cmocka_unit_test(test_busy_aug_is_retried),
		cmocka_unit_test(test_busy_enter_keeps_answer),
		cmocka_unit_test(test_hold_off),
		cmocka_unit_test(test_busy_twice_stops_every_vcpu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
