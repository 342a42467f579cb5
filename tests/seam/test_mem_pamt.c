/* SPDX-License-Identifier: MIT */
/* PAMT: what the leaves read and write there, pairs, and the epoch rule. */
#include "fixture.h"
#include "seam/checks.h"

#define PAGE_4K 0x50000000ULL
#define PAGE_2M 0x60000000ULL
#define TABLE 0x40100000ULL
#define PAIR_A 0xB0100000ULL
#define PAIR_B 0xB0101000ULL

static u64 pamt_add(struct fixture *f, u64 region, u64 page0, u64 page1)
{
	return fixture_mem(f, TDH_PHYMEM_PAMT_ADD, region, page0, page1);
}

static void expect_rdmd(struct fixture *f, u64 region, u64 type, u64 owner, u64 level)
{
	assert_int_equal(fixture_mem(f, TDH_PHYMEM_PAGE_RDMD, region, 0, 0), 0);
	assert_int_equal(f->r.rcx, type);
	assert_int_equal(f->r.rdx, owner);
	assert_int_equal(f->r.r8, level);
}

static struct tdcs *tdcs_of(const struct fixture *f)
{
	return host_ptr(f->host, ((struct tdr *)host_ptr(f->host, f->tdr))->tdcx_pa[0]);
}

/* RDMD tells type, owner and size of every kind of page; a freed page keeps its owner. */
static void test_rdmd_static(void **state)
{
	struct fixture f;

	(void)state;
	fixture_create(&f, NULL);
	fixture_tables(&f);
	fixture_ok(&f, TDH_MEM_SEPT_ADD, 0x200001, TABLE);
	fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x200000, PAGE_4K);
	fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x400001, PAGE_2M);
	expect_rdmd(&f, f.tdr, 4, 0, 0);
	expect_rdmd(&f, f.tdr + PAGE_SIZE, 5, f.tdr, 0);
	expect_rdmd(&f, f.tdvpr[0], 6, f.tdr, 0);
	expect_rdmd(&f, TABLE, 8, f.tdr, 0);
	expect_rdmd(&f, PAGE_4K, 3, f.tdr, 0);
	expect_rdmd(&f, PAGE_2M + 0x7000, 3, f.tdr, 1);
	expect_rdmd(&f, PAGE_4K + PAGE_SIZE, 0, 0, 0);
	fixture_ok(&f, TDH_MEM_RANGE_BLOCK, 0x200000, 0);
	fixture_mem(&f, TDH_PHYMEM_PAGE_RDMD, PAGE_4K, 0, 0);
	assert_int_equal(f.r.r9, 1);
	fixture_mem(&f, TDH_MEM_TRACK, f.tdr, 0, 0);
	fixture_ok(&f, TDH_MEM_PAGE_REMOVE, 0x200000, 0);
	expect_rdmd(&f, PAGE_4K, 0, f.tdr, 0);
	assert_int_equal(f.r.r9, 0);
	assert_int_equal(fixture_mem(&f, TDH_PHYMEM_PAGE_RDMD, PAGE_2M | 1, 0, 0),
			 TDX_OPERAND_INVALID | 1);
	assert_int_equal(fixture_mem(&f, TDH_PHYMEM_PAGE_RDMD, PAGE_2M | 0x800, 0, 0),
			 TDX_OPERAND_INVALID | 1);
	assert_int_equal(fixture_mem(&f, TDH_PHYMEM_PAGE_RDMD, 0x1000, 0, 0),
			 TDX_OPERAND_ADDR_RANGE_ERROR | 1);
	fixture_destroy(&f);
}

/* With Dynamic PAMT RDMD shows nodes and their pair, and pages that are halves of one. */
static void test_rdmd_dynamic(void **state)
{
	struct fixture f;

	(void)state;
	fixture_create(&f, &(struct fixture_config){.dynamic_pamt = true});
	assert_int_equal(pamt_add(&f, PAGE_4K | 1, PAIR_A, PAGE_4K + 0x3000), 0);
	expect_rdmd(&f, PAGE_4K | 1, 15 | 1ULL << 63, 0, 1);
	assert_int_equal(f.r.r10, PAIR_A);
	assert_int_equal(f.r.r11, PAGE_4K + 0x3000);
	expect_rdmd(&f, PAIR_A, 15, 0, 0);
	expect_rdmd(&f, PAGE_4K + 0x3000, 15, 0, 0);
	expect_rdmd(&f, PAGE_4K, 0, 0, 0);
	expect_rdmd(&f, PAGE_2M, 0, 0, 1);
	assert_int_equal(fixture_mem(&f, TDH_PHYMEM_PAGE_RDMD, PAGE_4K | 3, 0, 0),
			 TDX_OPERAND_INVALID | 1);
	fixture_destroy(&f);
}

/* A 2M AUG needs 512 free children; a 4K AUG needs its 2M block not to be one page. */
static void test_sizes_exclude_each_other(void **state)
{
	struct fixture f;

	(void)state;
	fixture_create(&f, NULL);
	fixture_tables(&f);
	fixture_ok(&f, TDH_MEM_SEPT_ADD, 0x200001, TABLE);
	fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x200000, PAGE_2M + 0x1FF000);
	fixture_expect(&f, TDH_MEM_PAGE_AUG, 0x400001, f.tdr, PAGE_2M,
		       TDX_PAGE_METADATA_INCORRECT | 8, 0, 0);
	fixture_expect(&f, TDH_MEM_PAGE_AUG, 0x400001, f.tdr, PAGE_2M + PAGE_SIZE,
		       TDX_OPERAND_INVALID | 8, 0, 0);
	fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x400001, PAGE_2M + SIZE_2M);
	fixture_expect(&f, TDH_MEM_PAGE_AUG, 0x201000, f.tdr, PAGE_2M + SIZE_2M + 0x5000,
		       TDX_PAGE_METADATA_INCORRECT | 8, 0, 0);
	fixture_expect(&f, TDH_MEM_PAGE_AUG, 0x401000, f.tdr, PAGE_4K, TDX_EPT_WALK_FAILED | 1,
		       0x80000000000000F0 | (PAGE_2M + SIZE_2M), 0x201);
	fixture_destroy(&f);
}

/* A reserved page is never taken, alone or inside 2M; RDMD says so in each PAMT's own way. */
static void reserved_area(bool dynamic_pamt)
{
	struct fixture f;

	fixture_create(&f, &(struct fixture_config){.dynamic_pamt = dynamic_pamt,
						    .reserved_base = PAGE_2M + 0x5000,
						    .reserved_size = PAGE_SIZE});
	fixture_tables(&f);
	fixture_ok(&f, TDH_MEM_SEPT_ADD, 0x200001, TABLE);
	fixture_expect(&f, TDH_MEM_PAGE_AUG, 0x400001, f.tdr, PAGE_2M,
		       TDX_PAGE_METADATA_INCORRECT | 8, 0, 0);
	fixture_pair(&f, PAGE_2M);
	fixture_expect(&f, TDH_MEM_PAGE_AUG, 0x200000, f.tdr, PAGE_2M + 0x5000,
		       TDX_PAGE_METADATA_INCORRECT | 8, 0, 0);
	fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x200000, PAGE_2M + 0x4000);
	expect_rdmd(&f, PAGE_2M + 0x5000, dynamic_pamt ? 15 : 1, 0, 0);
	fixture_destroy(&f);
}

static void test_reserved_area_static(void **state)
{
	(void)state;
	reserved_area(false);
}

static void test_reserved_area_dynamic(void **state)
{
	(void)state;
	reserved_area(true);
}

/* PAMT.ADD: each check before the next; a refused pair leaves no bit behind. */
static void test_pamt_add_order(void **state)
{
	struct fixture f;
	struct pamt_ref block;

	(void)state;
	fixture_create(&f, &(struct fixture_config){.dynamic_pamt = true});
	assert_int_equal(pamt_add(&f, PAGE_4K, 0x123, 0x123), TDX_OPERAND_INVALID | 1);
	assert_int_equal(pamt_add(&f, PAGE_4K | 2, 0x123, 0x123), TDX_OPERAND_INVALID | 1);
	assert_int_equal(pamt_add(&f, PAGE_4K | 0x1001, 0x123, 0x123), TDX_OPERAND_INVALID | 1);
	assert_int_equal(pamt_add(&f, 0x100000000 | 1, 0x123, 0x123), TDX_OPERAND_INVALID | 2);
	assert_int_equal(pamt_add(&f, 0x100000000 | 1, 0x1000, 0x123),
			 TDX_OPERAND_ADDR_RANGE_ERROR | 2);
	assert_int_equal(pamt_add(&f, 0x100000000 | 1, PAIR_A, 0x123), TDX_OPERAND_INVALID | 8);
	assert_int_equal(pamt_add(&f, 0x100000000 | 1, PAIR_A, 0x1000),
			 TDX_OPERAND_ADDR_RANGE_ERROR | 8);
	assert_int_equal(pamt_add(&f, 0x100000000 | 1, PAIR_A, PAIR_B),
			 TDX_OPERAND_ADDR_RANGE_ERROR | 1);
	assert_int_equal(pamt_add(&f, f.tdr | 1, f.tdr, f.tdr), TDX_HPA_RANGE_NOT_FREE | 1);
	/* The TDR's page isn't free; the type of R8 before the bit of RDX. */
	assert_int_equal(pamt_add(&f, PAGE_4K | 1, f.tdr, PAIR_B), TDX_PAGE_NOT_FREE | 2);
	assert_int_equal(pamt_add(&f, PAGE_4K | 1, PAIR_BASE, f.tdr), TDX_PAGE_NOT_FREE | 8);
	assert_int_equal(pamt_add(&f, PAGE_4K | 1, PAIR_BASE, PAIR_B), TDX_PAGE_NOT_FREE | 2);
	assert_int_equal(pamt_add(&f, PAGE_4K | 1, PAIR_A, PAIR_BASE), TDX_PAGE_NOT_FREE | 8);
	expect_rdmd(&f, PAIR_A, 0, 0, 1);
	pamt_find(f.seam, PAGE_4K, 1, &block);
	block.entry->lock = LOCK_WORD_READER;
	assert_int_equal(pamt_add(&f, PAGE_4K | 1, PAIR_A, PAIR_B), TDX_OPERAND_BUSY | 1);
	block.entry->lock = 0;
	assert_int_equal(pamt_add(&f, PAGE_4K | 1, PAIR_A, PAIR_B), 0);
	fixture_destroy(&f);
}

/* Without Dynamic PAMT, or in a module without it, there is no such leaf. */
static void test_pamt_add_needs_dynamic_pamt(void **state)
{
	struct fixture f;

	(void)state;
	fixture_create(&f, NULL);
	assert_int_equal(pamt_add(&f, PAGE_4K | 1, PAIR_A, PAIR_B), TDX_OPERAND_INVALID);
	fixture_destroy(&f);
	fixture_create(&f, &(struct fixture_config){.profile = "1.5.05"});
	assert_int_equal(pamt_add(&f, PAGE_4K | 1, PAIR_A, PAIR_B), TDX_OPERAND_INVALID);
	fixture_destroy(&f);
}

/* PAMT.REMOVE names the page of the pair that has an entry in use: the second for page 256 on. */
static void test_pamt_remove_not_empty(void **state)
{
	struct fixture f;

	(void)state;
	fixture_create(&f, &(struct fixture_config){.dynamic_pamt = true});
	fixture_tables(&f);
	fixture_ok(&f, TDH_MEM_SEPT_ADD, 0x200001, TABLE);
	assert_int_equal(pamt_add(&f, PAGE_4K | 1, PAIR_A, PAIR_B), 0);
	fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x200000, PAGE_4K + 256 * PAGE_SIZE);
	assert_int_equal(fixture_mem(&f, TDH_PHYMEM_PAMT_REMOVE, PAGE_4K | 1, 0, 0),
			 TDX_PAMT_PAGE_NOT_EMPTY | 1);
	fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x201000, PAGE_4K + 255 * PAGE_SIZE);
	assert_int_equal(fixture_mem(&f, TDH_PHYMEM_PAMT_REMOVE, PAGE_4K | 1, 0, 0),
			 TDX_PAMT_PAGE_NOT_EMPTY | 0);
	/* A page of the pair can't be a page of the TD. */
	fixture_pair(&f, PAIR_A);
	fixture_expect(&f, TDH_MEM_PAGE_AUG, 0x202000, f.tdr, PAIR_A,
		       TDX_PAGE_METADATA_INCORRECT | 8, 0, 0);
	fixture_destroy(&f);
}

/* After DEMOTE all 512 pages of the block are in use: the 512th REMOVE gives the hint, no other. */
static void test_hint_after_demote(void **state)
{
	struct fixture f;

	(void)state;
	fixture_create(&f,
		       &(struct fixture_config){.dynamic_pamt = true, .initialized_only = true});
	fixture_tables(&f);
	fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x200001, PAGE_2M);
	f.r = (struct tdx_regs){
		.rcx = 0x200001, .rdx = f.tdr, .r8 = TABLE, .r12 = PAIR_A, .r13 = PAIR_B};
	assert_int_equal(fixture_call(&f, TDH_MEM_PAGE_DEMOTE), 0);
	for (u64 i = 0; i < 512; i++)
		fixture_expect(&f, TDH_MEM_PAGE_REMOVE, 0x200000 + i * PAGE_SIZE, f.tdr, 0, 0,
			       (PAGE_2M + i * PAGE_SIZE) | (i == 511 ? 1ULL << 62 : 0), 0);
	fixture_destroy(&f);
}

/* The only page of its block gives the hint when it moves within the block; of two, none does. */
static void test_hint_of_relocate(void **state)
{
	struct fixture f;

	(void)state;
	fixture_create(&f,
		       &(struct fixture_config){.dynamic_pamt = true, .initialized_only = true});
	fixture_tables(&f);
	fixture_ok(&f, TDH_MEM_SEPT_ADD, 0x200001, TABLE);
	fixture_pair(&f, PAGE_4K);
	fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x200000, PAGE_4K);
	fixture_expect(&f, TDH_MEM_PAGE_RELOCATE, 0x200000, f.tdr, PAGE_4K + 0x1000, 0,
		       PAGE_4K | 1ULL << 62, 0);
	fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x201000, PAGE_4K);
	fixture_expect(&f, TDH_MEM_PAGE_RELOCATE, 0x200000, f.tdr, PAGE_4K + 0x2000, 0,
		       PAGE_4K + 0x1000, 0);
	fixture_destroy(&f);
}

/* ---- epochs ----------------------------------------------------------------------------------*/

/* Tracked: not migration data, older than the epoch before, or of it with nobody left inside. */
static void test_epoch_rule(void **state)
{
	static const struct {
		u64 bepoch, epoch;
		u16 inside[2];
		bool tracked;
	} rows[] = {
		{0, 1, {0, 0}, true},  {0, 1, {1, 0}, false},	       {0, 1, {0, 1}, true},
		{1, 1, {0, 0}, false}, {1, 2, {0, 0}, true},	       {1, 2, {0, 1}, false},
		{1, 2, {1, 0}, true},  {1, 3, {1, 1}, true},	       {2, 3, {1, 0}, false},
		{4, 3, {0, 0}, false}, {1ULL << 63, 9, {0, 0}, false},
	};
	struct fixture f;

	(void)state;
	fixture_create(&f, NULL);
	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		struct tdcs *tdcs = tdcs_of(&f);

		tdcs->td_epoch = rows[i].epoch;
		tdcs->refcount[0] = rows[i].inside[0];
		tdcs->refcount[1] = rows[i].inside[1];
		assert_int_equal(check_epoch_is_tracked(tdcs, rows[i].bepoch), rows[i].tracked);
	}
	fixture_destroy(&f);
}

/* TRACK: epoch lock, then the older counter; it looks at no register but RCX, and changes none. */
static void test_track(void **state)
{
	struct fixture f;

	(void)state;
	fixture_create(&f, NULL);
	tdcs_of(&f)->refcount[0] = 1; /* epoch 1: a vCPU of epoch 0 would be here */
	tdcs_of(&f)->epoch_lock = LOCK_WORD_READER;
	fixture_expect(&f, TDH_MEM_TRACK, f.tdr, 7, 0, TDX_OPERAND_BUSY | 169, f.tdr, 7);
	assert_int_equal(tdcs_of(&f)->epoch_lock, LOCK_WORD_READER);
	tdcs_of(&f)->epoch_lock = 0;
	fixture_expect(&f, TDH_MEM_TRACK, f.tdr, 7, 0, TDX_PREVIOUS_TLB_EPOCH_BUSY, f.tdr, 7);
	assert_int_equal(tdcs_of(&f)->td_epoch, 1);
	tdcs_of(&f)->refcount[0] = 0;
	tdcs_of(&f)->refcount[1] = 1; /* the current epoch's doesn't matter */
	fixture_expect(&f, TDH_MEM_TRACK, f.tdr, 7, 0, 0, f.tdr, 7);
	assert_int_equal(tdcs_of(&f)->td_epoch, 2);
	fixture_destroy(&f);
}

/* In 1.5.25 a host that waits for the tree stops DEMOTE and PROMOTE with INTERRUPTED_BUSY. */
static void test_interrupted_busy(void **state)
{
	static const struct {
		const char *profile;
		u64 status;
	} rows[] = {{"1.5.25", TDX_INTERRUPTED_BUSY}, {"1.5.28", 0}, {"1.5.05", 0}};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		struct tdx_regs r = {.rax = TDH_MEM_PAGE_PROMOTE};
		struct leaf_ctx ctx;
		struct fixture f;

		fixture_create(&f, &(struct fixture_config){.profile = rows[i].profile});
		leaf_begin(&ctx, f.seam, f.lp[0], &r);
		ctx.tdcs = tdcs_of(&f);
		ctx.tdcs->sept_lock = LOCK_WORD_EXCLUSIVE | LOCK_WORD_HOST_PRIORITY;
		assert_int_equal(check_interrupted(&ctx, 1, 2), rows[i].status);
		assert_int_equal(r.rcx, rows[i].status ? 1 : 0);
		assert_int_equal(r.rdx, rows[i].status ? 2 : 0);
		fixture_destroy(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rdmd_static),
		cmocka_unit_test(test_rdmd_dynamic),
		cmocka_unit_test(test_sizes_exclude_each_other),
		cmocka_unit_test(test_reserved_area_static),
		cmocka_unit_test(test_reserved_area_dynamic),
		cmocka_unit_test(test_pamt_add_order),
		cmocka_unit_test(test_pamt_add_needs_dynamic_pamt),
		cmocka_unit_test(test_pamt_remove_not_empty),
		cmocka_unit_test(test_hint_after_demote),
		cmocka_unit_test(test_hint_of_relocate),
		cmocka_unit_test(test_epoch_rule),
		cmocka_unit_test(test_track),
		cmocka_unit_test(test_interrupted_busy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
