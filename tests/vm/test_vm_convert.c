/* SPDX-License-Identifier: MIT */
/* MapGPA: what converts, what is refused, what a failure leaves, and who races with it. */
#include <errno.h>

#include "base/rng.h"
#include "vm/internal.h"
#include "vm/runner.h"

#define MB (1ULL << 20)
#define NR(ops) (sizeof(ops) / sizeof((ops)[0]))
#define SHARED(a) (BIT_ULL(47) | (a))

static void expect_quiet(struct rig *r)
{
	struct mmu *mmu = vm_mmu(r->vm);

	assert_null(vm_why_dead(r->vm));
	assert_false(td_entry_held_off(vm_td(r->vm)));
	for (gfn_t gfn = 0; gfn < addr_to_fn(64 * MB); gfn += 512)
		assert_false(mmu_invalidate_retry(mmu, mmu_invalidate_seq(mmu), gfn));
	rig_quiet(r);
}

struct walk {
	const struct rig *rig;
	bool private;
};

static void leaf_is_legal(void *ctx, const struct mmu_mapping *m)
{
	const struct walk *w = ctx;
	u64 nr = pages_per_level(m->level);

	assert_true(gmem_is_uniform(vm_file(w->rig->vm), m->gfn, nr));
	assert_int_equal(gmem_is_private(vm_file(w->rig->vm), m->gfn), w->private);
	assert_true(gmem_folio_level(vm_file(w->rig->vm), m->gfn) >= m->level);
}

/* Invariant 4: no leaf maps gfns of mixed attributes, of the other side, or beyond its folio. */
static void expect_legal_leaves(const struct rig *r)
{
	for (int private = 0; private <= 1; private ++) {
		struct walk w = {r, private};

		mmu_for_each_leaf(vm_mmu(r->vm), private, leaf_is_legal, &w);
	}
}

static bool is_mixed(const struct rig *r, gpa_t gpa, enum pg_level level)
{
	return mmu_slot_max_level(vm_slot(r->vm), addr_to_fn(gpa), level) < level;
}

/* ---- what converts ---------------------------------------------------------------------------*/

/*
 * A page inside a 2M leaf is shared and made private again: one split; its bytes are gone both
 * times and those beside it stay; the shared side is reached through the alias.
 */
static void test_there_and_back(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	gpa_t page = 4 * MB + 0x5000;
	const struct op ops[] = {
		ACCEPT_AT(2M, 4 * MB),
		WRITE_AT(page - 0x1000, 1),
		WRITE_AT(page, 2),
		WRITE_AT(page + 0x1000, 3),
		MAP_GPA_AT(SHARED(page), 0x1000),
		READ_AT(SHARED(page)),
		WRITE_AT(SHARED(page), 4),
		READ_AT(SHARED(page)),
		READ_AT(page - 0x1000),
		READ_AT(page + 0x1000),
		MAP_GPA_AT(page, 0x1000),
		ACCEPT_AT(4K, page),
		READ_AT(page),
		READ_AT(page - 0x1000),
		STOP,
	};
	static const u64 expected[] = {0, 1, 2, 3, 0, 0, 4, 4, 1, 3, 0, 0, 0, 1};
	u64 results[NR(ops)];
	struct vm_stats s;
	struct program p;

	(void)state;
	for (int meta = MMU_META_PAGE; meta <= MMU_META_PREALLOC; meta++) {
		struct rig r = {0};

		mc.dynamic_pamt = meta != MMU_META_PREALLOC;
		vc.split_metadata = (enum mmu_split_metadata)meta;
		vc.split_where = (enum mmu_split_where)meta;
		rig_up(&r, &mc, &vc);
		assert_int_equal(rig_run(&r, ops, &p, results), 0);
		assert_memory_equal(results, expected, sizeof(expected));
		assert_int_equal(p.mces, 0);
		assert_int_equal(rig_ok(&r, TDH_MEM_PAGE_DEMOTE), 1);
		assert_int_equal(mmu_stats(vm_mmu(r.vm))->splits, 1);
		assert_int_equal(gmem_nr_ranges(vm_file(r.vm)), 1);
		s = vm_stats(r.vm);
		assert_int_equal(s.exits_map_gpa, 2);
		assert_int_equal(s.conversions_to_shared, 1);
		assert_int_equal(s.conversions_to_private, 1);
		assert_int_equal(s.pages_to_shared, 1);
		assert_int_equal(s.pages_to_private, 1);
		expect_quiet(&r);
		expect_legal_leaves(&r);
		rig_down(&r);
	}
}

/* Row 7: with one page of a block shared, faults in the rest of it stay 4K; back again, MIXED clears. */
static void test_mixed_block(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	gpa_t page = 4 * MB + 0x5000;
	const struct op mixed[] = {MAP_GPA_AT(SHARED(page), 0x1000), ACCEPT_AT(2M, 4 * MB),
				   ACCEPT_AT(2M, 6 * MB), STOP};
	const struct op back[] = {MAP_GPA_AT(page, 0x1000), MAP_GPA_AT(SHARED(8 * MB), 0x1000),
				  MAP_GPA_AT(8 * MB, 0x1000), ACCEPT_AT(2M, 8 * MB), STOP};
	u64 results[NR(back)];
	struct program p;
	struct rig r = {0};

	(void)state;
	rig_up(&r, &mc, &vc);
	assert_int_equal(rig_run(&r, mixed, &p, results), 0);
	assert_int_equal(tdx_status_class(results[1]), TDX_PAGE_SIZE_MISMATCH);
	assert_int_equal(results[2], TDX_SUCCESS);
	assert_true(is_mixed(&r, 4 * MB, PG_LEVEL_2M));
	assert_true(is_mixed(&r, 4 * MB, PG_LEVEL_1G));
	assert_false(is_mixed(&r, 6 * MB, PG_LEVEL_2M));
	assert_int_equal(rig_level_of(&r, 4 * MB), PG_LEVEL_4K);
	assert_int_equal(rig_level_of(&r, 6 * MB), PG_LEVEL_2M);
	expect_legal_leaves(&r);
	assert_int_equal(rig_run(&r, back, &p, results), 0);
	assert_false(is_mixed(&r, 4 * MB, PG_LEVEL_2M));
	assert_false(is_mixed(&r, 8 * MB, PG_LEVEL_2M));
	/* Where no table was made meanwhile the block is mapped as one. */
	assert_int_equal(results[3], TDX_SUCCESS);
	assert_int_equal(rig_level_of(&r, 8 * MB), PG_LEVEL_2M);
	rig_down(&r);
}

/*
 * Row 7: every other page of such a block is touched, and each is mapped at 4K by itself; MIXED, and
 * it alone, goes when the page comes back.
 */
static void test_touch_all_of_a_mixed_block(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	static struct op ops[513];
	static u64 results[513];
	const u32 *word;
	gpa_t page = 4 * MB + 0x5000;
	const struct op back[] = {MAP_GPA_AT(page, 0x1000), STOP};
	struct program p;
	struct rig r = {0};
	u32 n = 0;

	(void)state;
	ops[n++] = (struct op)MAP_GPA_AT(SHARED(page), 0x1000);
	for (u32 i = 0; i < 512; i++)
		if (i != 5)
			ops[n++] = (struct op)WRITE_AT(4 * MB + i * PAGE_SIZE, i);
	ops[n] = (struct op)STOP;
	vc.sept_ve_disable = false;
	rig_up(&r, &mc, &vc);
	assert_int_equal(rig_run(&r, ops, &p, results), 0);
	/* No fault mapped more than its own page, and nothing had to be split. */
	assert_int_equal(rig_ok(&r, TDH_MEM_PAGE_AUG), 511);
	assert_int_equal(rig_calls(&r, TDH_MEM_PAGE_DEMOTE), 0);
	for (u32 i = 0; i < 512; i++)
		assert_int_equal(rig_level_of(&r, 4 * MB + i * PAGE_SIZE),
				 i == 5 ? PG_LEVEL_NONE : PG_LEVEL_4K);
	word = &vm_slot(r.vm)->disallow_lpage[PG_LEVEL_2M][2];
	/* Bit 31 is MIXED. No ACCEPT met a larger leaf, so bit 30, GUEST_INHIBIT, isn't set. */
	assert_int_equal(sync_load(word), 0x80000000);
	assert_int_equal(rig_run(&r, back, &p, results), 0);
	assert_int_equal(sync_load(word), 0);
	rig_down(&r);
}

/* Random conversions, and holes, keep the MIXED words of every block what the attributes say. */
static void test_mixed_words(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	struct rig r = {0};
	struct rng rng;

	(void)state;
	vc.memory_bytes = 64 * MB;
	rig_up(&r, &mc, &vc);
	rng_init(&rng, 3);
	for (u32 step = 0; step < 400; step++) {
		u64 at = rng_below(&rng, 32 * 512), nr = 1 + rng_below(&rng, 32 * 512 - at);

		if (step & 1)
			nr = min_u64(nr, 1 + rng_below(&rng, 700));
		if (step % 5)
			assert_int_equal(gmem_convert(vm_file(r.vm), at, nr, rng_below(&rng, 2)),
					 0);
		else
			assert_int_equal(gmem_punch_hole(vm_file(r.vm), at, nr), 0);
		for (u64 b = 0; b < 32; b++)
			if (is_mixed(&r, b * 2 * MB, PG_LEVEL_2M) ==
			    gmem_is_uniform(vm_file(r.vm), b * 512, 512))
				fail_msg("step %u block %llu", step, (unsigned long long)b);
	}
	rig_down(&r);
}

/* Pages that are private already keep mapping and bytes when a range around them is made private. */
static void test_mixed_range(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	const struct op ops[] = {
		ACCEPT_AT(2M, 4 * MB),
		WRITE_AT(4 * MB, 7),
		MAP_GPA_AT(SHARED(6 * MB), 2 * MB),
		WRITE_AT(SHARED(6 * MB), 8),
		MAP_GPA_AT(SHARED(5 * MB), 3 * MB),
		READ_AT(SHARED(6 * MB)),
		READ_AT(SHARED(5 * MB)),
		MAP_GPA_AT(4 * MB, 4 * MB),
		READ_AT(4 * MB),
		ACCEPT_AT(2M, 6 * MB),
		READ_AT(6 * MB),
		STOP,
	};
	static const u64 expected[] = {0, 7, 0, 8, 0, 8, 0, 0, 7, 0, 0};
	u64 results[NR(ops)];
	struct program p;
	struct rig r = {0};

	(void)state;
	rig_up(&r, &mc, &vc);
	assert_int_equal(rig_run(&r, ops, &p, results), 0);
	assert_memory_equal(results, expected, sizeof(expected));
	assert_int_equal(p.mces, 0);
	expect_legal_leaves(&r);
	rig_down(&r);
}

/* Row 82: a MapGPA to what is already so succeeds, and touches neither mappings nor faults. */
static void test_no_op(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	const struct op ops[] = {ACCEPT_AT(2M, 4 * MB), WRITE_AT(4 * MB, 7), MAP_GPA_AT(0, 64 * MB),
				 READ_AT(4 * MB), STOP};
	u64 results[NR(ops)], seq;
	struct program p;
	struct rig r = {0};

	(void)state;
	rig_up(&r, &mc, &vc);
	seq = mmu_invalidate_seq(vm_mmu(r.vm));
	assert_int_equal(rig_run(&r, ops, &p, results), 0);
	assert_int_equal(results[2], 0);
	assert_int_equal(results[3], 7);
	assert_int_equal(mmu_invalidate_seq(vm_mmu(r.vm)), seq);
	assert_int_equal(rig_calls(&r, TDH_MEM_RANGE_BLOCK), 0);
	rig_down(&r);
}

/* Row 84: unaligned, empty, overflowing and outside: INVALID_OPERAND, nothing changed, not counted. */
static void test_bad_requests(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	const struct op ops[] = {
		ACCEPT_AT(2M, 4 * MB),
		WRITE_AT(4 * MB, 11),
		MAP_GPA_AT(SHARED(4 * MB + 1), 0x1000),
		MAP_GPA_AT(SHARED(4 * MB), 0),
		MAP_GPA_AT(SHARED(4 * MB), 0xfff),
		MAP_GPA_AT(SHARED(4 * MB), 0x1001),
		MAP_GPA_AT(SHARED(62 * MB), 4 * MB),
		MAP_GPA_AT(SHARED(64 * MB), 0x1000),
		MAP_GPA_AT(SHARED(4 * MB), -0x1000ULL),
		MAP_GPA_AT(-0x1000ULL, 0x1000),
		MAP_GPA_AT(-0x1000ULL, 0x2000),
		MAP_GPA_AT(BIT_ULL(48) | 4 * MB, 0x1000),
		MAP_GPA_AT(BIT_ULL(63) | SHARED(4 * MB), 0x1000),
		MAP_GPA_AT(BIT_ULL(46), 0x1000),
		READ_AT(4 * MB),
		STOP,
	};
	u64 results[NR(ops)];
	struct program p;
	struct rig r = {0};
	u64 seq;

	(void)state;
	rig_up(&r, &mc, &vc);
	seq = mmu_invalidate_seq(vm_mmu(r.vm));
	assert_int_equal(rig_run(&r, ops, &p, results), 0);
	for (u32 i = 2; i < 14; i++)
		assert_int_equal(results[i], 0x8000000000000000ULL);
	assert_int_equal(results[14], 11);
	assert_int_equal(vm_stats(r.vm).exits_map_gpa, 12);
	assert_int_equal(vm_stats(r.vm).conversions_to_shared, 0);
	assert_int_equal(vm_stats(r.vm).conversions_to_private, 0);
	assert_int_equal(mmu_invalidate_seq(vm_mmu(r.vm)), seq);
	assert_int_equal(gmem_nr_ranges(vm_file(r.vm)), 1);
	rig_down(&r);
}

/* Row 74: either alias of memory on the other side exits to user space, and says which was wanted. */
static void test_mismatch(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	const struct op share[] = {MAP_GPA_AT(SHARED(4 * MB), 0x1000), STOP};
	const struct op wrong[][2] = {{READ_AT(4 * MB), STOP},
				      {WRITE_AT(4 * MB, 1), STOP},
				      {ACCEPT_AT(4K, 4 * MB), STOP},
				      {READ_AT(SHARED(4 * MB + 0x1000)), STOP}};
	const struct op right[] = {READ_AT(SHARED(4 * MB)), ACCEPT_AT(4K, 4 * MB + 0x1000), STOP};
	u64 results[NR(right)];
	struct program p;
	struct rig r = {0};

	(void)state;
	rig_up(&r, &mc, &vc);
	assert_int_equal(rig_run(&r, share, &p, results), 0);
	for (u32 i = 0; i < NR(wrong); i++) {
		assert_int_equal(rig_run(&r, wrong[i], &p, results), -EFAULT);
		assert_int_equal(vcpu_fault_gpa(vm_vcpu(r.vm, 0)), wrong[i][0].gpa);
	}
	assert_int_equal(rig_run(&r, right, &p, results), 0);
	assert_int_equal(results[1], TDX_SUCCESS);
	expect_quiet(&r);
	rig_down(&r);
}

/* ---- failures --------------------------------------------------------------------------------*/
#ifdef SEPTUM_CHECK
#define MAX_LEAVES 4096

struct picture {
	struct mmu_mapping leaf[MAX_LEAVES];
	u32 nr;
};

static void draw(void *ctx, const struct mmu_mapping *m)
{
	struct picture *p = ctx;

	/* By 4K pages: splits may stay. */
	for (u64 i = 0; i < pages_per_level(m->level) && p->nr < MAX_LEAVES; i++)
		p->leaf[p->nr++] = (struct mmu_mapping){m->gfn + i, m->pfn + i, PG_LEVEL_4K};
}

/* Three blocks in use: 4M and 8M are private, with a shared page in 6M to make two runs of a range. */
static const struct op before_oom[] = {
	ACCEPT_AT(2M, 4 * MB),	       ACCEPT_AT(2M, 8 * MB),
	WRITE_AT(4 * MB + 0x5000, 45), WRITE_AT(5 * MB, 50),
	WRITE_AT(9 * MB, 90),	       MAP_GPA_AT(SHARED(6 * MB), 0x1000),
	WRITE_AT(SHARED(6 * MB), 60),  STOP,
};

/* What is converted or punched: from inside the first block to inside the last. */
#define OOM_START (4 * MB + 0x5000)
#define OOM_BYTES (9 * MB + 0x1000 - OOM_START)

static const struct op after_oom[] = {
	READ_AT(4 * MB + 0x5000), READ_AT(5 * MB),	 READ_AT(9 * MB),
	READ_AT(SHARED(6 * MB)),  ACCEPT_AT(4K, 7 * MB), STOP,
};

static const u64 kept[] = {45, 50, 90, 60, 0};

/*
 * @request fails at the @n-th allocation, if there is one. Counts in @after_first when it had split for
 * its first run by then. Return: there is.
 */
static bool fail_at(const struct op *request, u64 refused, u64 n, enum mmu_split_metadata meta,
		    enum mmu_split_where where, u32 *after_first)
{
	static struct picture before, after;
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	u64 results[NR(before_oom)], ranges, frames;
	struct program p;
	struct rig r = {0};
	bool fired;

	mc.dynamic_pamt = true;
	vc.split_metadata = meta;
	vc.split_where = where;
	rig_up(&r, &mc, &vc);
	assert_int_equal(rig_run(&r, before_oom, &p, results), 0);
	ranges = gmem_nr_ranges(vm_file(r.vm));
	frames = gmem_frames(vm_file(r.vm));
	before.nr = after.nr = 0;
	mmu_for_each_leaf(vm_mmu(r.vm), true, draw, &before);
	host_fail_alloc_at(r.m.host, n);
	assert_int_equal(rig_run(&r, request, &p, results), 0);
	fired = !sync_load(&r.m.host->fail_alloc_at);
	host_fail_alloc_at(r.m.host, 0);
	if (fired) {
		*after_first += mmu_stats(vm_mmu(r.vm))->splits == 1;
		assert_true(is_mixed(&r, 6 * MB, PG_LEVEL_2M));
		/* Row 50: the failure reaches the caller as what it is. */
		assert_int_equal(results[0], refused);
		if (request->kind == OP_MAP_GPA)
			assert_int_equal(p.r11, request->gpa);
		mmu_for_each_leaf(vm_mmu(r.vm), true, draw, &after);
		assert_int_equal(after.nr, before.nr);
		assert_memory_equal(after.leaf, before.leaf, before.nr * sizeof(before.leaf[0]));
		assert_int_equal(gmem_nr_ranges(vm_file(r.vm)), ranges);
		assert_int_equal(gmem_frames(vm_file(r.vm)), frames);
		assert_int_equal(vm_stats(r.vm).conversions_to_shared, 1);
		assert_int_equal(rig_calls(&r, TDH_MEM_PAGE_REMOVE), 0);
		expect_quiet(&r);
		expect_legal_leaves(&r);
		assert_int_equal(rig_run(&r, after_oom, &p, results), 0);
		assert_memory_equal(results, kept, sizeof(kept));
		assert_int_equal(p.mces, 0);
		assert_int_equal(rig_run(&r, request, &p, results), 0);
	}
	assert_int_equal(results[0], 0);
	assert_int_equal(rig_level_of(&r, 4 * MB + 0x4000), PG_LEVEL_4K);
	assert_int_equal(rig_level_of(&r, 4 * MB + 0x5000), PG_LEVEL_NONE);
	assert_int_equal(rig_level_of(&r, 9 * MB), PG_LEVEL_NONE);
	assert_int_equal(rig_level_of(&r, 9 * MB + 0x1000), PG_LEVEL_4K);
	expect_quiet(&r);
	expect_legal_leaves(&r);
	rig_down(&r);
	return fired;
}

/*
 * Rows 48 to 51: a conversion, or a hole, of several runs and blocks fails at its n-th allocation,
 * for every n: contents, attributes and what is mapped are as they were (also of the run that was
 * split before the one that failed: nothing is removed until all are), the guest runs on, and the
 * same request succeeds afterwards.
 */
static void test_oom_everywhere(void **state)
{
	const struct op requests[][2] = {{MAP_GPA_AT(SHARED(OOM_START), OOM_BYTES), STOP},
					 {DISCARD_AT(OOM_START, OOM_BYTES), STOP}};
	static const u64 refused[] = {1, (u64)-ENOMEM};

	(void)state;
	for (u32 i = 0; i < NR(requests); i++)
		for (int meta = MMU_META_PAGE; meta <= MMU_META_PREALLOC; meta++)
			for (int where = MMU_SPLIT_ENDS; where <= MMU_SPLIT_TWO_WALKS; where++) {
				u32 after_first = 0;
				u64 n = 1;

				while (fail_at(requests[i], refused[i], n,
					       (enum mmu_split_metadata)meta,
					       (enum mmu_split_where)where, &after_first))
					n++;
				/* Two tables with what belongs to them, at least. */
				assert_true(n > 4);
				/* A hole is one run, whose need may have been prepared before. */
				if (i == 0)
					assert_true(after_first > 0);
			}
}
#endif

/* ---- races -----------------------------------------------------------------------------------*/

/* Row 73: of two overlapping invalidations the union is barred until both have ended. */
static void test_nested_invalidations(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	struct rig r = {0};
	struct mmu *mmu;

	(void)state;
	rig_up(&r, &mc, &vc);
	mmu = vm_mmu(r.vm);
	vm_gmem_ops.begin(&r.vm->slots[0], 3 * 512, 512);
	vm_gmem_ops.begin(&r.vm->slots[0], 4 * 512, 512);
	for (int ended = 0; ended < 2; ended++) {
		u64 seq = mmu_invalidate_seq(mmu);

		assert_false(mmu_invalidate_retry(mmu, seq, 3 * 512 - 1));
		assert_true(mmu_invalidate_retry(mmu, seq, 3 * 512));
		assert_true(mmu_invalidate_retry(mmu, seq, 5 * 512 - 1));
		assert_false(mmu_invalidate_retry(mmu, seq, 5 * 512));
		vm_gmem_ops.end(&r.vm->slots[0], (3 + (u64)ended) * 512, 512);
		assert_true(mmu_invalidate_retry(mmu, seq, 0));
	}
	expect_quiet(&r);
	rig_down(&r);
}

#define RACE_BLOCKS 4
#define RACE_ROUNDS 150

struct hammer {
	struct sync_thread thread;
	struct rig *rig;
	u32 vcpu;
	u32 *stop;
	u64 faults, runs;
	int wrong;
};

/* Accepts and touches either side of random pages, and takes "it's the other side" for an answer. */
static void hammer_main(void *arg)
{
	struct hammer *h = arg;
	struct program p;
	u64 results[4];
	struct rng rng;

	rng_init(&rng, 77 + h->vcpu);
	while (!sync_load_acquire(h->stop) && !h->wrong) {
		gpa_t gpa = 4 * MB + rng_below(&rng, RACE_BLOCKS * 512) * PAGE_SIZE;
		const struct op ops[][4] = {
			{ACCEPT_AT(4K, gpa), READ_AT(gpa), STOP},
			{ACCEPT_AT(2M, ALIGN_DOWN(gpa, SIZE_2M)), STOP},
			{WRITE_AT(SHARED(gpa), gpa), READ_AT(SHARED(gpa)), STOP},
		};
		int ret = program_run(h->rig->vm, h->vcpu, ops[rng_below(&rng, NR(ops))], &p,
				      results);

		h->runs++;
		h->faults += ret == -EFAULT;
		h->wrong = ret && ret != -EFAULT ? ret : (int)p.mces;
	}
}

/*
 * Row 72: while vCPUs fault on both sides of a range that keeps being converted, after each
 * conversion nothing of the side that it was is mapped, then or later, and every leaf is legal.
 */
static void test_faults_against_conversions(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	struct hammer h[3];
	struct rig r = {0};
	struct rng rng;
	u32 stop = 0;

	(void)state;
	vc.nr_vcpus = NR(h);
	vc.sept_ve_disable = false;
	vc.promote = VM_PROMOTE_NOW;
	rig_up(&r, &mc, &vc);
	for (u32 i = 0; i < NR(h); i++) {
		h[i] = (struct hammer){.rig = &r, .vcpu = i, .stop = &stop};
		assert_int_equal(sync_thread_create(&h[i].thread, hammer_main, &h[i]), 0);
	}
	rng_init(&rng, 5);
	for (u32 round = 0; round < RACE_ROUNDS && !vm_why_dead(r.vm); round++) {
		u64 at = 2 * 512 + rng_below(&rng, RACE_BLOCKS * 512);
		u64 nr = 1 + rng_below(&rng, 2 * 512 + RACE_BLOCKS * 512 - at);
		bool to_private = round & 1;

		assert_int_equal(gmem_convert(vm_file(r.vm), at, nr, to_private), 0);
		for (u64 delay = rng_below(&rng, 50); delay; delay--)
			sync_relax();
		for (u64 gfn = at; gfn < at + nr; gfn++) {
			struct mmu_mapping m;

			if (mmu_lookup(vm_mmu(r.vm), gfn, !to_private, &m))
				fail_msg("round %u: gfn 0x%llx", round, (unsigned long long)gfn);
		}
	}
	sync_store_release(&stop, 1);
	for (u32 i = 0; i < NR(h); i++) {
		sync_thread_join(&h[i].thread);
		assert_int_equal(h[i].wrong, 0);
		assert_true(h[i].runs > 0);
	}
	expect_quiet(&r);
	expect_legal_leaves(&r);
	rig_down(&r);
}

/* A conversion reaches a vCPU that runs with a translation of the page: it never reads the other side. */
static void test_conversion_reaches_a_running_vcpu(void **state)
{
	struct machine_config mc = rig_machine();
	struct vm_config vc = rig_vm();
	u64 ready = 0, gone = 0;
	const struct op reader[] = {
		MAP_GPA_AT(SHARED(4 * MB), 2 * MB),
		WRITE_AT(SHARED(4 * MB), 77),
		{.kind = OP_SIGNAL, .flag = &ready, .value = 1},
		{.kind = OP_WAIT, .flag = &gone, .value = 1},
		READ_AT(SHARED(4 * MB)),
		STOP,
	};
	const struct op converter[] = {
		{.kind = OP_WAIT, .flag = &ready, .value = 1},
		MAP_GPA_AT(4 * MB, 2 * MB),
		{.kind = OP_SIGNAL, .flag = &gone, .value = 1},
		STOP,
	};
	struct runner *a, *b;
	struct rig r = {0};

	(void)state;
	vc.nr_vcpus = 2;
	rig_up(&r, &mc, &vc);
	a = start(&r, 0, reader);
	b = start(&r, 1, converter);
	assert_int_equal(finish(b), 0);
	/* The shared side is gone: an exit to user space, not old bytes. */
	assert_int_equal(finish(a), -EFAULT);
	assert_int_equal(vcpu_fault_gpa(vm_vcpu(r.vm, 0)), SHARED(4 * MB));
	rig_down(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_mixed_block),
		cmocka_unit_test(test_touch_all_of_a_mixed_block),
		cmocka_unit_test(test_mixed_words),
		cmocka_unit_test(test_mixed_range),
		cmocka_unit_test(test_no_op),
		cmocka_unit_test(test_bad_requests),
		cmocka_unit_test(test_mismatch),
#ifdef SEPTUM_CHECK
		cmocka_unit_test(test_oom_everywhere),
#endif
		cmocka_unit_test(test_nested_invalidations),
		cmocka_unit_test(test_faults_against_conversions),
		cmocka_unit_test(test_conversion_reaches_a_running_vcpu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
