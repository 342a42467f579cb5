/* SPDX-License-Identifier: MIT */
/* Promotion: who gets a huge leaf back, when, and what stands in the way. */
#include <errno.h>

#include "vm/internal.h"
#include "vm/runner.h"

#define MB (1ULL << 20)
#define NR(ops) (sizeof(ops) / sizeof((ops)[0]))
#define SHARED(a) (BIT_ULL(47) | (a))

static struct vm_config promoting_vm(enum vm_promote policy)
{
	struct vm_config vc = rig_vm();

	vc.promote = policy;
	vc.promoter_lp = RIG_LPS - 1;
	return vc;
}

/* Accepts the 512 pages of @gpa's block at 4K, and writes each. Return: ops used */
static u32 fill_block(struct op *ops, gpa_t gpa)
{
	u32 n = 0;

	for (u32 i = 0; i < 512; i++) {
		ops[n++] = (struct op)ACCEPT_AT(4K, gpa + i * PAGE_SIZE);
		ops[n++] = (struct op)WRITE_AT(gpa + i * PAGE_SIZE, gpa + i);
	}
	return n;
}

/*
 * Rows 98, 99: a block that the guest accepts 4K by 4K becomes one leaf again with NOW and IDLE,
 * its bytes kept, table page and pair returned, GUEST_INHIBIT clear at 2M and set at 1G; with OFF
 * nothing merges.
 */
static void test_accepted_block(void **state)
{
	static struct op ops[1100];
	static u64 results[1100];
	struct machine_config mc = rig_machine();

	(void)state;
	for (int policy = VM_PROMOTE_OFF; policy <= VM_PROMOTE_NOW; policy++) {
		struct vm_config vc = promoting_vm((enum vm_promote)policy);
		bool merges = policy != VM_PROMOTE_OFF;
		struct mmu_mapping m;
		struct program p;
		struct rig r = {0};
		u32 n = 0;

		mc.dynamic_pamt = true;
		ops[n++] = (struct op)ACCEPT_AT(2M, 8 * MB);
		n += fill_block(ops + n, 4 * MB);
		ops[n] = (struct op)STOP;
		rig_up(&r, &mc, &vc);
		assert_int_equal(rig_run(&r, ops, &p, results), 0);
		assert_null(vm_why_dead(r.vm));
		assert_int_equal(mmu_stats(vm_mmu(r.vm))->promotes, merges);
		assert_int_equal(rig_pages(&r, PG_LEVEL_2M), 1 + merges);
		assert_int_equal(rig_pages(&r, PG_LEVEL_4K), merges ? 0 : 512);
		assert_int_equal(rig_ok(&r, TDH_MEM_PAGE_PROMOTE), merges);
		assert_true(mmu_lookup(vm_mmu(r.vm), addr_to_fn(4 * MB), true, &m));
		assert_int_equal(tdx_pamt_refs(r.m.tdx, m.pfn), merges ? 0 : 512);
		assert_int_equal(mmu_slot_test_guest_inhibit(vm_slot(r.vm), 2 * 512, PG_LEVEL_2M),
				 !merges);
		assert_true(mmu_slot_test_guest_inhibit(vm_slot(r.vm), 2 * 512, PG_LEVEL_1G));
		n = 0;
		for (u32 i = 0; i < 512; i++)
			ops[n++] = (struct op)READ_AT(4 * MB + i * PAGE_SIZE);
		ops[n] = (struct op)STOP;
		assert_int_equal(rig_run(&r, ops, &p, results), 0);
		for (u32 i = 0; i < 512; i++)
			assert_int_equal(results[i], 4 * MB + i);
		assert_int_equal(p.mces, 0);
		rig_down(&r);
	}
}

/* With NOW the vCPU's own later exit does it, before the guest ends. */
static void test_now_is_now(void **state)
{
	static struct op ops[1100];
	struct machine_config mc = rig_machine();
	struct vm_config vc = promoting_vm(VM_PROMOTE_NOW);
	u64 go = 0, there = 0;
	struct runner *t;
	struct rig r = {0};
	u32 n;

	(void)state;
	n = fill_block(ops, 4 * MB);
	/* Any exit. */
	ops[n++] = (struct op)ACCEPT_AT(2M, 8 * MB);
	ops[n++] = (struct op){.kind = OP_SIGNAL, .flag = &there, .value = 1};
	ops[n++] = (struct op){.kind = OP_WAIT, .flag = &go, .value = 1};
	ops[n] = (struct op)STOP;
	rig_up(&r, &mc, &vc);
	t = start(&r, 0, ops);
	wait_for(&there, 1);
	assert_int_equal(sync_load(&mmu_stats(vm_mmu(r.vm))->promotes), 1);
	sync_store_release(&go, 1);
	assert_int_equal(finish(t), 0);
	rig_down(&r);
}

/* A page shared and made private again in the middle of a huge page: split, then whole again. */
static void test_after_conversion(void **state)
{
	struct machine_config mc = rig_machine();
	gpa_t page = 4 * MB + 0x7000;
	const struct op ops[] = {
		ACCEPT_AT(2M, 4 * MB),
		WRITE_AT(5 * MB, 5),
		MAP_GPA_AT(SHARED(page), 0x1000),
		WRITE_AT(SHARED(page), 1),
		MAP_GPA_AT(page, 0x1000),
		ACCEPT_AT(4K, page),
		READ_AT(page),
		WRITE_AT(page, 6),
		READ_AT(5 * MB),
		STOP,
	};
	static const u64 expected[] = {0, 5, 0, 1, 0, 0, 0, 6, 5};
	const struct op check[] = {READ_AT(page), READ_AT(5 * MB), STOP};

	(void)state;
	for (int policy = VM_PROMOTE_IDLE; policy <= VM_PROMOTE_NOW; policy++) {
		struct vm_config vc = promoting_vm((enum vm_promote)policy);
		u64 results[NR(ops)];
		struct program p;
		struct rig r = {0};

		mc.dynamic_pamt = true;
		rig_up(&r, &mc, &vc);
		assert_int_equal(rig_run(&r, ops, &p, results), 0);
		assert_memory_equal(results, expected, sizeof(expected));
		assert_int_equal(mmu_stats(vm_mmu(r.vm))->splits, 1);
		assert_int_equal(mmu_stats(vm_mmu(r.vm))->promotes, 1);
		assert_int_equal(rig_level_of(&r, 4 * MB), PG_LEVEL_2M);
		assert_int_equal(rig_run(&r, check, &p, results), 0);
		assert_int_equal(results[0], 6);
		assert_int_equal(results[1], 5);
		rig_down(&r);
	}
}

/* A block with a page that isn't accepted is refused by the module, stays as it was, and usable. */
static void test_one_page_pending(void **state)
{
	static struct op ops[1100];
	static u64 results[1100];
	struct machine_config mc = rig_machine();
	struct vm_config vc = promoting_vm(VM_PROMOTE_NOW);
	const struct op rest[] = {WRITE_AT(4 * MB, 9), READ_AT(4 * MB + 0x1000), STOP};
	struct program p;
	struct rig r = {0};
	u32 n = 0;

	(void)state;
	vc.sept_ve_disable = false;
	/* The first touch maps 2M, pending; the first ACCEPT splits; one page is left out. */
	for (u32 i = 1; i < 512; i++)
		ops[n++] = (struct op)WRITE_AT(4 * MB + i * PAGE_SIZE, 100 + i);
	ops[n] = (struct op)STOP;
	rig_up(&r, &mc, &vc);
	assert_int_equal(rig_run(&r, ops, &p, results), 0);
	assert_null(vm_why_dead(r.vm));
	assert_int_equal(rig_pages(&r, PG_LEVEL_4K), 512);
	assert_true(rig_calls(&r, TDH_MEM_PAGE_PROMOTE) >= 1);
	assert_int_equal(rig_ok(&r, TDH_MEM_PAGE_PROMOTE), 0);
	assert_int_equal(rig_ok(&r, TDH_MEM_RANGE_UNBLOCK), rig_calls(&r, TDH_MEM_PAGE_PROMOTE));
	assert_true(mmu_slot_test_guest_inhibit(vm_slot(r.vm), 2 * 512, PG_LEVEL_2M));
	/* Its ACCEPT completes the block, which the end of the next run then finds. */
	assert_int_equal(rig_run(&r, rest, &p, results), 0);
	assert_int_equal(results[1], 101);
	assert_int_equal(rig_level_of(&r, 4 * MB), PG_LEVEL_2M);
	rig_down(&r);
}

/* Refusals are bounded: a candidate that never gets complete is tried a few times, not at every exit. */
static void test_tries_are_bounded(void **state)
{
	static struct op ops[2048];
	static u64 results[2048];
	struct machine_config mc = rig_machine();
	struct vm_config vc = promoting_vm(VM_PROMOTE_NOW);
	struct program p;
	struct rig r = {0};
	u32 n = 0;

	(void)state;
	vc.sept_ve_disable = false;
	/* A hole in a 4K block whose last page is touched, and left pending by an ACCEPT at 2M only. */
	for (u32 i = 0; i < 511; i++)
		ops[n++] = (struct op)ACCEPT_AT(4K, 4 * MB + i * PAGE_SIZE);
	/* Maps the last page, and the guest's answer is that it is mapped smaller. */
	ops[n++] = (struct op)ACCEPT_AT(2M, 4 * MB);
	ops[n++] = (struct op)DISCARD_AT(4 * MB + 511 * PAGE_SIZE, PAGE_SIZE);
	for (u32 i = 0; i < 600; i++)
		ops[n++] = (struct op)DISCARD_AT(32 * MB, PAGE_SIZE);
	ops[n] = (struct op)STOP;
	rig_up(&r, &mc, &vc);
	assert_int_equal(rig_run(&r, ops, &p, results), 0);
	assert_true(rig_calls(&r, TDH_MEM_PAGE_PROMOTE) <= 9);
	assert_null(vm_why_dead(r.vm));
	rig_down(&r);
}

/* Nothing is merged beyond its folio, or where nothing large may be mapped at all. */
static void test_limits(void **state)
{
	static struct op ops[1100];
	static u64 results[1100];

	(void)state;
	for (int limit = 0; limit < 3; limit++) {
		struct machine_config mc = rig_machine();
		struct vm_config vc = promoting_vm(limit == 1 ? VM_PROMOTE_IDLE : VM_PROMOTE_NOW);
		struct program p;
		struct rig r = {0};

		if (limit == 0)
			vc.file.backing = GMEM_4K;
		else if (limit == 1)
			vc.max_level = PG_LEVEL_4K;
		else
			mc.profile = seam_profile_by_name("1.5.25");
		ops[fill_block(ops, 4 * MB)] = (struct op)STOP;
		rig_up(&r, &mc, &vc);
		assert_int_equal(rig_run(&r, ops, &p, results), 0);
		assert_int_equal(rig_calls(&r, TDH_MEM_PAGE_PROMOTE), 0);
		assert_int_equal(rig_pages(&r, PG_LEVEL_4K), 512);
		rig_down(&r);
	}
}

/* More candidates than there is room for: what finds none is promoted at the end. */
static void test_many_candidates(void **state)
{
	enum { BLOCKS = VM_CANDIDATES + 8 };
	static struct op ops[2 * BLOCKS + 2 * BLOCKS + 2];
	static u64 results[4 * BLOCKS + 2];
	struct machine_config mc = rig_machine();
	struct vm_config vc = promoting_vm(VM_PROMOTE_NOW);
	struct program p;
	struct rig r = {0};
	u32 n = 0;

	(void)state;
	mc.memory_bytes = 512 * MB;
	vc.memory_bytes = 2 * MB * (BLOCKS + 4);
	for (u32 b = 0; b < BLOCKS; b++)
		ops[n++] = (struct op)ACCEPT_AT(2M, b * 2 * MB);
	/* All are cut, then all are whole again, with one page of each still pending. */
	for (u32 b = 0; b < BLOCKS; b++)
		ops[n++] = (struct op)DISCARD_AT(b * 2 * MB, PAGE_SIZE);
	for (u32 b = 0; b < BLOCKS; b++)
		ops[n++] = (struct op)ACCEPT_AT(4K, b * 2 * MB);
	ops[n] = (struct op)STOP;
	rig_up(&r, &mc, &vc);
	assert_int_equal(rig_run(&r, ops, &p, results), 0);
	assert_int_equal(rig_pages(&r, PG_LEVEL_2M), BLOCKS);
	assert_int_equal(rig_pages(&r, PG_LEVEL_4K), 0);
	assert_int_equal(mmu_stats(vm_mmu(r.vm))->promotes, BLOCKS);
	rig_down(&r);
}

/* The promoter's LP can't be a vCPU's or the host thread's. */
static void test_bad_promoter_lp(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = promoting_vm(VM_PROMOTE_IDLE);
	struct rig r = {0};

	(void)state;
	assert_int_equal(machine_create(&mc, &r.m), 0);
	r.frames_before = host_frames_used(r.m.host);
	vc.promoter_lp = 0;
	assert_int_equal(vm_create(&r.m, &vc, &r.vm), -EINVAL);
	vc.promoter_lp = RIG_LPS;
	assert_int_equal(vm_create(&r.m, &vc, &r.vm), -EINVAL);
	rig_down(&r);
}

/* ---- threads ---------------------------------------------------------------------------------*/
#define ROUNDS 40

/* @vcpu converts its own pages of blocks that all share, there and back, and keeps bytes beside them. */
static void make_life(struct op *ops, u64 *expected, u32 vcpu)
{
	gpa_t own = 4 * MB + vcpu * 0x10000;
	u32 n = 0;

	for (u32 i = 0; i < ROUNDS; i++) {
		gpa_t page = own + (i % 8) * PAGE_SIZE, beside = own + (8 + i % 8) * PAGE_SIZE;
		u64 value = (u64)vcpu << 32 | (i + 1);

		expected[n] = value;
		ops[n++] = (struct op)WRITE_AT(beside, value);
		expected[n] = 0;
		ops[n++] = (struct op)MAP_GPA_AT(SHARED(page), PAGE_SIZE);
		expected[n] = value;
		ops[n++] = (struct op)WRITE_AT(SHARED(page), value);
		expected[n] = value;
		ops[n++] = (struct op)READ_AT(SHARED(page));
		expected[n] = 0;
		ops[n++] = (struct op)MAP_GPA_AT(page, PAGE_SIZE);
		expected[n] = 0;
		ops[n++] = (struct op)ACCEPT_AT(4K, page);
		expected[n] = 0;
		ops[n++] = (struct op)READ_AT(page);
		expected[n] = value;
		ops[n++] = (struct op)READ_AT(beside);
	}
	ops[n] = (struct op)STOP;
}

/* vCPUs that split and merge the same block at once lose no byte, whoever promotes. */
static void test_stress(void **state)
{
	static struct op ops[3][8 * ROUNDS + 1];
	static u64 expected[3][8 * ROUNDS + 1];
	const struct op whole[] = {ACCEPT_AT(2M, 4 * MB), STOP};
	struct machine_config mc = rig_machine();
	u64 results[NR(whole)];
	struct program p;

	(void)state;
	mc.dynamic_pamt = true;
	for (u32 v = 0; v < 3; v++)
		make_life(ops[v], expected[v], v);
	for (int policy = VM_PROMOTE_OFF; policy <= VM_PROMOTE_NOW; policy++) {
		struct vm_config vc = promoting_vm((enum vm_promote)policy);
		struct runner *t[3];
		struct rig r = {0};

		vc.nr_vcpus = 3;
		rig_up(&r, &mc, &vc);
		assert_int_equal(rig_run(&r, whole, &p, results), 0);
		for (u32 v = 0; v < 3; v++)
			t[v] = start(&r, v, ops[v]);
		for (u32 v = 0; v < 3; v++) {
			sync_thread_join(&t[v]->thread);
			if (t[v]->ret)
				fail_msg("vCPU %u: %d, %s", v, t[v]->ret,
					 vm_why_dead(r.vm) ? vm_why_dead(r.vm) : "alive");
			for (u32 i = 0; ops[v][i].kind != OP_STOP; i++)
				if (t[v]->results[i] != expected[v][i])
					fail_msg("policy %d vCPU %u op %u: 0x%llx", policy, v, i,
						 (unsigned long long)t[v]->results[i]);
			assert_int_equal(t[v]->program.mces, 0);
			free(t[v]);
		}
		assert_int_equal(rig_level_of(&r, 4 * MB),
				 policy == VM_PROMOTE_OFF ? PG_LEVEL_4K : PG_LEVEL_2M);
		rig_down(&r);
	}
}

/* ---- the end of a run ------------------------------------------------------------------------*/
static struct {
	struct vm *vm;
	u64 armed; /* by the guest: it needs no lock any more */
	u64 stalls, late;
} promoter_watch;

/* The promoter's next PROMOTE, once the guest has said so, lasts until the guest has stopped. */
static u64 stall_promote(struct lp *lp, struct tdx_regs *r)
{
	struct vm_promoter *p;

	if ((r->rax & 0xFFFF) != TDH_MEM_PAGE_PROMOTE || !sync_load_acquire(&promoter_watch.armed))
		return seamcall(lp, r);
	p = &promoter_watch.vm->promoter;
	if (!promoter_watch.stalls++)
		while (!sync_load_acquire(&p->asked))
			sync_relax();
	promoter_watch.late += sync_load_acquire(&p->finished) == 1;
	return seamcall(lp, r);
}

/*
 * With IDLE nothing is left to its thread when a run is over: what the last exits asked for came
 * before, though it was busy then; no try comes later, and the invariants hold.
 */
static void test_at_rest_after_a_run(void **state)
{
	enum { EXITS = 64 };
	static struct op ops[EXITS + 16];
	static u64 results[EXITS + 16];
	struct machine_config mc = rig_machine();
	struct vm_config vc = promoting_vm(VM_PROMOTE_IDLE);
	u32 n = 0;

	(void)state;
	mc.seamcall = stall_promote;
	vc.sept_ve_disable = false;
	/* Two blocks that are full, and never promoted: one page is accepted. */
	for (gpa_t gpa = 4 * MB; gpa <= 8 * MB; gpa += 4 * MB) {
		ops[n++] = (struct op)WRITE_AT(gpa, 1);
		ops[n++] = (struct op)DISCARD_AT(gpa + 0x1000, 0x1000);
		ops[n++] = (struct op)ACCEPT_AT(4K, gpa + 0x1000);
	}
	ops[n++] = (struct op){.kind = OP_SIGNAL, .flag = &promoter_watch.armed, .value = 1};
	/* Exits that come to nothing. */
	for (u32 i = 0; i < EXITS; i++)
		ops[n++] = (struct op)DISCARD_AT(0, 1);
	ops[n] = (struct op)STOP;
	for (u32 round = 0; round < 20; round++) {
		struct vm_promoter *p;
		struct program prog;
		struct rig r = {0};

		memset(&promoter_watch, 0, sizeof(promoter_watch));
		rig_up(&r, &mc, &vc);
		promoter_watch.vm = r.vm;
		p = &r.vm->promoter;
		assert_int_equal(rig_run(&r, ops, &prog, results), 0);
		assert_int_equal(p->seen, sync_load(&p->turn));
		/* Who could be late has had the time. */
		while (!sync_load(&p->wake.sleepers))
			sync_relax();
		assert_true(promoter_watch.stalls > 0);
		assert_int_equal(promoter_watch.late, 0);
		assert_int_equal(rig_pages(&r, PG_LEVEL_4K), 1024);
		rig_down(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accepted_block),
		cmocka_unit_test(test_now_is_now),
		cmocka_unit_test(test_after_conversion),
		cmocka_unit_test(test_one_page_pending),
		cmocka_unit_test(test_tries_are_bounded),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_many_candidates),
		cmocka_unit_test(test_bad_promoter_lp),
		cmocka_unit_test(test_stress),
		cmocka_unit_test(test_at_rest_after_a_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
