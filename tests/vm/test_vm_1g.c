/* SPDX-License-Identifier: MIT */
/* 1G leaves: they come by promotion alone, and go by 2M to 4K; what the guest wrote stays. */
#include <errno.h>

#include "vm/files.h"
#include "vm/internal.h"

#define BLOCKS 512 /* of 2M in 1G */

static struct files_config one_gigabyte(enum vm_promote promote)
{
	struct files_config c = files_config(GMEM_HUGETLB_1G, GB);

	c.vm.promote = promote;
	c.dynamic_pamt = true;
	c.vmemmap = true;
	/* Room for what a conversion in uniform folios needs: a table and a pair for each 2M. */
	c.machine_bytes = GB + 512 * MB;
	return c;
}

/* A page of each 2M block, at another place in each. */
static gpa_t page_of(u32 block)
{
	return block * 2 * MB + block * 37 % 512 * PAGE_SIZE;
}

/* Accepts all of it at 2M. */
static void fill(struct files *f, u32 vm)
{
	static struct op ops[2 * BLOCKS + 1];
	static u64 results[2 * BLOCKS + 1];

	for (u32 i = 0; i < BLOCKS; i++) {
		ops[2 * i] = (struct op)ACCEPT_AT(2M, i * 2 * MB);
		ops[2 * i + 1] = (struct op)WRITE_AT(page_of(i), page_of(i) + 1);
	}
	ops[2 * BLOCKS] = (struct op)STOP;
	assert_int_equal(files_run(f, vm, ops, results), 0);
	for (u32 i = 0; i < 2 * BLOCKS; i += 2)
		assert_int_equal(results[i], TDX_SUCCESS);
}

/* Every block's word but that of block @lost is there. */
static void expect_words(struct files *f, u32 vm, u32 lost)
{
	static struct op ops[BLOCKS + 1];
	static u64 results[BLOCKS + 1];
	u32 n = 0;

	for (u32 i = 0; i < BLOCKS; i++)
		if (i != lost)
			ops[n++] = (struct op)READ_AT(page_of(i));
	ops[n] = (struct op)STOP;
	assert_int_equal(files_run(f, vm, ops, results), 0);
	assert_int_equal(f->program[vm][0].mces, 0);
	for (u32 i = 0; i < n; i++)
		assert_int_equal(results[i], ops[i].gpa + 1);
}

static void expect_pages(const struct files *f, u64 at_1g, u64 at_2m, u64 at_4k)
{
	assert_int_equal(files_pages(f, 0, PG_LEVEL_1G), at_1g);
	assert_int_equal(files_pages(f, 0, PG_LEVEL_2M), at_2m);
	assert_int_equal(files_pages(f, 0, PG_LEVEL_4K), at_4k);
}

static u64 hypercall(struct files *f, gpa_t gpa, u64 size)
{
	const struct op ops[] = {MAP_GPA_AT(gpa, size), STOP};
	u64 results[NR(ops)];

	assert_int_equal(files_run(f, 0, ops, results), 0);
	return results[0];
}

static void accept_pages(struct files *f, gpa_t gpa, u32 nr)
{
	static struct op ops[BLOCKS + 1];
	static u64 results[BLOCKS + 1];

	for (u32 i = 0; i < nr; i++)
		ops[i] = (struct op)ACCEPT_AT(4K, gpa + i * PAGE_SIZE);
	ops[nr] = (struct op)STOP;
	assert_int_equal(files_run(f, 0, ops, results), 0);
	for (u32 i = 0; i < nr; i++)
		assert_int_equal(results[i], TDX_SUCCESS);
}

/*
 * A fault never maps 1G: PAGE.AUG knows 2M at most. When the guest has accepted all of it one PROMOTE
 * puts the 1G leaf there, by NOW, by IDLE; with OFF, --pages 2m or memory in smaller pieces none.
 */
static void test_up(void **state)
{
	static const struct {
		enum vm_promote promote;
		enum pg_level max_level;
		enum gmem_backing backing;
		bool merges;
	} cases[] = {
		{VM_PROMOTE_NOW, PG_LEVEL_1G, GMEM_HUGETLB_1G, true},
		{VM_PROMOTE_IDLE, PG_LEVEL_1G, GMEM_HUGETLB_1G, true},
		{VM_PROMOTE_OFF, PG_LEVEL_1G, GMEM_HUGETLB_1G, false},
		{VM_PROMOTE_NOW, PG_LEVEL_2M, GMEM_HUGETLB_1G, false},
		{VM_PROMOTE_NOW, PG_LEVEL_1G, GMEM_HUGETLB_2M, false},
		{VM_PROMOTE_NOW, PG_LEVEL_1G, GMEM_THP, false},
	};

	(void)state;
	for (u32 i = 0; i < NR(cases); i++) {
		struct files_config c = one_gigabyte(cases[i].promote);
		const struct mmu_stats *s;
		struct files f;
		u64 tables;

		c.vm.max_level = cases[i].max_level;
		c.file.backing = cases[i].backing;
		files_up(&f, &c);
		s = mmu_stats(vm_mmu(f.vm[0]));
		fill(&f, 0);
		tables = s->external_tables;
		expect_pages(&f, cases[i].merges, cases[i].merges ? 0 : BLOCKS, 0);
		assert_int_equal(files_ok(&f, TDH_MEM_PAGE_PROMOTE), cases[i].merges);
		assert_int_equal(files_ok(&f, TDH_MEM_PAGE_AUG), BLOCKS);
		/* Two tables lie above 1G entries; the third one went back. */
		assert_int_equal(tables, cases[i].merges ? 1 : 2);
		expect_words(&f, 0, BLOCKS);
		expect_pages(&f, cases[i].merges, cases[i].merges ? 0 : BLOCKS, 0);
		files_down(&f);
	}
}

/*
 * Row 43: sharing a page inside a 1G leaf splits it to 2M and one of these to 4K, for every way to look
 * for leaves and to get pages. Private again, 4K become 2M and then 1G; every other page keeps its bytes
 * at each step, GUEST_INHIBIT clears level by level, and tables and pairs go back.
 */
static void test_down_and_up(void **state)
{
	const u32 block = 100;
	const gpa_t page = page_of(block);

	(void)state;
	for (int policy = 0; policy < 3; policy++) {
		struct files_config c = one_gigabyte(VM_PROMOTE_NOW);
		struct files f;
		u64 pairs;

		c.vm.split_where = (enum mmu_split_where)policy;
		c.vm.split_metadata = (enum mmu_split_metadata)policy;
		files_up(&f, &c);
		fill(&f, 0);
		expect_pages(&f, 1, 0, 0);
		pairs = tdx_dpamt_pages(f.m.tdx);
		assert_int_equal(hypercall(&f, SHARED(page), PAGE_SIZE), 0);
		assert_int_equal(files_ok(&f, TDH_MEM_PAGE_DEMOTE), 2);
		expect_pages(&f, 0, 511, 511);
		expect_words(&f, 0, block);
		assert_int_equal(hypercall(&f, page, PAGE_SIZE), 0);
		expect_pages(&f, 0, 511, 511);
		accept_pages(&f, page, 1);
		expect_pages(&f, 1, 0, 0);
		assert_int_equal(files_ok(&f, TDH_MEM_PAGE_PROMOTE), 3);
		assert_false(mmu_slot_test_guest_inhibit(vm_slot(f.vm[0]), addr_to_fn(page),
							 PG_LEVEL_2M));
		assert_false(mmu_slot_test_guest_inhibit(vm_slot(f.vm[0]), addr_to_fn(page),
							 PG_LEVEL_1G));
		assert_true(tdx_dpamt_pages(f.m.tdx) <= pairs + 2);
		expect_words(&f, 0, block);
		files_down(&f);
	}
}

/* Row 44: a hole of whole 2M blocks in a 1G leaf splits it to 2M alone. */
static void test_aligned_hole(void **state)
{
	struct files_config c = one_gigabyte(VM_PROMOTE_NOW);
	const struct op ops[] = {DISCARD_AT(100 * 2 * MB, 2 * MB), STOP};
	u64 results[NR(ops)];
	struct files f;

	(void)state;
	files_up(&f, &c);
	fill(&f, 0);
	assert_int_equal(files_run(&f, 0, ops, results), 0);
	assert_int_equal(results[0], 0);
	assert_int_equal(files_ok(&f, TDH_MEM_PAGE_DEMOTE), 1);
	expect_pages(&f, 0, 511, 0);
	expect_words(&f, 0, 100);
	files_down(&f);
}

/* A guest that accepted every 2M itself never sees a 1G leaf that isn't accepted: half of it refuses. */
static void test_half_accepted(void **state)
{
	struct files_config c = one_gigabyte(VM_PROMOTE_NOW);
	static struct op ops[2 * BLOCKS];
	static u64 results[2 * BLOCKS];
	struct files f;
	u32 n = 0;

	(void)state;
	/* Touched before it is accepted: pending, with a #VE that accepts 4K of it. */
	c.vm.sept_ve_disable = false;
	files_up(&f, &c);
	for (u32 i = 0; i < BLOCKS; i++)
		ops[n++] = i == 7 ? (struct op)WRITE_AT(i * 2 * MB, 5)
				  : (struct op)ACCEPT_AT(2M, i * 2 * MB);
	ops[n] = (struct op)STOP;
	assert_int_equal(files_run(&f, 0, ops, results), 0);
	assert_int_equal(f.program[0][0].ves, 1);
	expect_pages(&f, 0, BLOCKS - 1, 512);
	files_down(&f);
}

/*
 * Dirty tracking takes a 1G leaf to 4K where it looks and to 2M beside it; a promotion afterwards puts
 * it back.
 */
static void test_track_dirty(void **state)
{
	struct files_config c = one_gigabyte(VM_PROMOTE_NOW);
	const struct op stop[] = {STOP};
	u64 results[NR(stop)];
	struct files f;

	(void)state;
	files_up(&f, &c);
	fill(&f, 0);
	assert_int_equal(vm_track_dirty(f.vm[0], 700, 1), 0);
	expect_pages(&f, 0, 511, 512);
	expect_words(&f, 0, BLOCKS);
	assert_int_equal(files_run(&f, 0, stop, results), 0);
	expect_pages(&f, 1, 0, 0);
	expect_words(&f, 0, BLOCKS);
	files_down(&f);
}

/* An ACCEPT of 2M in a 1G leaf that nobody has accepted splits it to 2M and no further. */
static void test_accept_in_pending(void **state)
{
	struct files_config c = one_gigabyte(VM_PROMOTE_NOW);
	static struct op ops[BLOCKS + 2];
	static u64 results[BLOCKS + 2];
	struct files f;
	u32 n = 0;

	(void)state;
	files_up(&f, &c);
	/* Faults for all of it, as accesses that didn't come to anything make them. */
	for (u32 i = 0; i < BLOCKS; i++) {
		struct mmu_fault fault = {
			.gfn = i * 512, .private = true, .max_level = PG_LEVEL_2M};
		struct vcpu *vcpu = vm_vcpu(f.vm[0], 0);
		enum pg_level level;

		assert_int_equal(mmu_cache_topup(&vcpu->cache), 0);
		fault.invalidate_seq = mmu_invalidate_seq(vm_mmu(f.vm[0]));
		assert_int_equal(gmem_get_pfn(f.file, fault.gfn, &fault.pfn, &level), 0);
		assert_int_equal(level, PG_LEVEL_1G);
		assert_int_equal(mmu_map(vm_mmu(f.vm[0]), &vcpu->cache, &fault), MMU_RET_FIXED);
	}
	ops[n++] = (struct op)STOP;
	assert_int_equal(files_run(&f, 0, ops, results), 0);
	expect_pages(&f, 1, 0, 0);
	ops[0] = (struct op)ACCEPT_AT(2M, 10 * MB);
	ops[1] = (struct op)WRITE_AT(10 * MB, 3);
	ops[2] = (struct op)STOP;
	assert_int_equal(files_run(&f, 0, ops, results), 0);
	assert_int_equal(results[0], TDX_SUCCESS);
	expect_pages(&f, 0, BLOCKS, 0);
	assert_int_equal(files_ok(&f, TDH_MEM_PAGE_DEMOTE), 1);
	files_down(&f);
}

/*
 * Row 88: how far leaves are split follows the rule for mappings. By the original huge page only what
 * crosses the shared page; by folios all of the gigabyte where it is split uniformly, and one block
 * where it isn't. Made private again and accepted, 1G is back in each.
 */
static void test_folio_form(void **state)
{
	const gpa_t page = page_of(3);

	(void)state;
	for (int uniform = 0; uniform < 2; uniform++) {
		struct files_config c = one_gigabyte(VM_PROMOTE_NOW);
		struct files f;

		c.file.mapping_form = GMEM_FORM_FOLIO;
		c.file.folio_split = uniform ? GMEM_SPLIT_UNIFORM : GMEM_SPLIT_NONUNIFORM;
		c.vm.promote = uniform ? VM_PROMOTE_OFF : VM_PROMOTE_NOW;
		files_up(&f, &c);
		fill(&f, 0);
		assert_int_equal(hypercall(&f, SHARED(page), PAGE_SIZE), 0);
		expect_pages(&f, 0, uniform ? 0 : 511, uniform ? 512 * 512 - 1 : 511);
		assert_int_equal(files_ok(&f, TDH_MEM_PAGE_DEMOTE), uniform ? 512 : 2);
		assert_null(vm_why_dead(f.vm[0]));
		files_check(&f);
		expect_words(&f, 0, 3);
		assert_int_equal(hypercall(&f, page, PAGE_SIZE), 0);
		accept_pages(&f, page, 1);
		if (!uniform)
			expect_pages(&f, 1, 0, 0);
		expect_words(&f, 0, 3);
		files_down(&f);
	}
}

/*
 * Row 9: the shared side is mapped as large as the host's memory is, 1G at once; a page of it that
 * becomes private splits that, and the rest keeps its bytes.
 */
static void test_shared_1g(void **state)
{
	struct files_config c = one_gigabyte(VM_PROMOTE_OFF);
	const struct op ops[] = {WRITE_AT(SHARED(5 * MB), 9), READ_AT(SHARED(5 * MB)),
				 READ_AT(SHARED(500 * MB)), WRITE_AT(SHARED(6 * MB), 4), STOP};
	const struct op back[] = {MAP_GPA_AT(5 * MB, PAGE_SIZE), ACCEPT_AT(4K, 5 * MB),
				  READ_AT(5 * MB), READ_AT(SHARED(6 * MB)), STOP};
	static const u64 expected[] = {9, 9, 0, 4}, after[] = {0, 0, 0, 4};
	struct mmu_mapping m;
	u64 results[NR(ops)];
	struct files f;
	u64 word;

	(void)state;
	files_up(&f, &c);
	assert_int_equal(hypercall(&f, SHARED(0), GB), 0);
	assert_int_equal(files_run(&f, 0, ops, results), 0);
	assert_memory_equal(results, expected, sizeof(expected));
	expect_pages(&f, 1, 0, 0);
	assert_true(mmu_lookup(vm_mmu(f.vm[0]), addr_to_fn(5 * MB), false, &m));
	assert_int_equal(m.level, PG_LEVEL_1G);
	assert_int_equal(files_run(&f, 0, back, results), 0);
	assert_memory_equal(results, after, sizeof(after));
	assert_int_equal(gmem_host_read(f.file, 6 * MB, &word, 1), 0);
	assert_int_equal(word, 4);
	assert_int_equal(gmem_host_read(f.file, 5 * MB, &word, 1), -EFAULT);
	files_down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_up),	     cmocka_unit_test(test_down_and_up),
		cmocka_unit_test(test_aligned_hole), cmocka_unit_test(test_half_accepted),
		cmocka_unit_test(test_track_dirty),  cmocka_unit_test(test_accept_in_pending),
		cmocka_unit_test(test_folio_form),   cmocka_unit_test(test_shared_1g),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
