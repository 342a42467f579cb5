/* SPDX-License-Identifier: MIT */
/* The memory leaves against answers measured on the module's own code, step by step. */
#include "fixture.h"
#include "seam/internal.h"

#define PAGE_2M 0x60000000ULL
#define TABLES 0x40100000ULL /* pages for S-EPT tables: the 2M block of the TDR, which has a pair */
#define PAIR_A 0xB0100000ULL
#define PAIR_B 0xB0101000ULL

static u64 chldcnt(const struct fixture *f)
{
	return ((const struct tdr *)host_ptr(f->host, f->tdr))->chldcnt;
}

static u64 call2(struct fixture *f, unsigned int leaf, u64 rcx, u64 rdx, u64 r8)
{
	return fixture_mem(f, leaf, rcx, rdx, r8);
}

/* DEMOTE with the pair that Dynamic PAMT wants; static PAMT doesn't look at it. */
static u64 demote(struct fixture *f, u64 rcx, u64 r8, u64 r12, u64 r13)
{
	f->r = (struct tdx_regs){.rcx = rcx, .rdx = f->tdr, .r8 = r8, .r12 = r12, .r13 = r13};
	return fixture_call(f, TDH_MEM_PAGE_DEMOTE);
}

static void expect_regs(const struct fixture *f, u64 rcx, u64 rdx)
{
	assert_int_equal(f->r.rcx, rcx);
	assert_int_equal(f->r.rdx, rdx);
}

/* Maps 2M at 0x200000, with the answers of every step on the way. */
static void map_2m(struct fixture *f)
{
	u64 td = f->tdr;
	u64 entry;

	fixture_expect(f, TDH_MEM_PAGE_AUG, 0x200001, td, PAGE_2M, 0xC0000B0000000001,
		       0x8000000000000000, 3);
	fixture_expect(f, TDH_MEM_SEPT_ADD, 3, td, TABLES, 0, 0, 0);
	fixture_expect(f, TDH_MEM_SEPT_ADD, 2, td, TABLES + 0x1000, 0, 0, 0);
	fixture_expect(f, TDH_MEM_SEPT_ADD, 2, td, TABLES + 0x2000, 0xC0000B0D00000001, 0x407,
		       0x8402);
	fixture_expect(f, TDH_MEM_PAGE_AUG, 0x200001, td, PAGE_2M, 0, 0, 0);
	fixture_expect(f, TDH_MEM_SEPT_RD, 0x200001, td, 0, 0, 0x80000000600000F0, 0x201);
	assert_true(seam_sept_entry(f->seam, td, 0x200000, PG_LEVEL_2M, &entry));
	assert_int_equal(entry, 0x81084000600000F0);
	/* 4K asked for, 2M pending: type 1, level asked 0, found 1, state 2, a leaf. */
	assert_int_equal(fixture_accept_exits(f, 0x200000),
			 1 | 0ULL << 32 | 1ULL << 35 | 2ULL << 38 | 1ULL << 46);
	assert_int_equal(fixture_accept(f, 0x200001), 0);
	assert_int_equal(fixture_accept(f, 0x200001), 0x00000B0A00000001);
	assert_int_equal(fixture_accept(f, 0x205000), 0x00000B0A00000001);
	assert_int_equal(fixture_accept_exits(f, 0x400001),
			 1 | 1ULL << 32 | 1ULL << 35 | 0ULL << 38);
}

static void refused_before_block(struct fixture *f)
{
	u64 td = f->tdr;

	fixture_expect(f, TDH_MEM_PAGE_DEMOTE, 0x200001, td, TABLES + 0x2000, 0xC0000B0600000001,
		       0x80000000600004F7, 0x401);
	fixture_expect(f, TDH_MEM_PAGE_REMOVE, 0x200001, td, 0, 0xC0000B0600000001,
		       0x80000000600004F7, 0x401);
	fixture_expect(f, TDH_MEM_PAGE_REMOVE, 0x200000, td, 0, 0xC0000B0000000001,
		       0x80000000600004F7, 0x401);
	fixture_expect(f, TDH_MEM_RANGE_BLOCK, 0x200001, td, 0, 0, 0, 0);
	fixture_expect(f, TDH_MEM_RANGE_BLOCK, 0x200001, td, 0, 0x00000B0700000001,
		       0x80000000600000F0, 0x101);
	fixture_expect(f, TDH_MEM_RANGE_UNBLOCK, 0x200001, td, 0, 0xC0000B0800000001, 0, 0);
	assert_int_equal(demote(f, 0x200001, TABLES + 0x2000, PAIR_A, PAIR_B), 0xC0000B0800000001);
	expect_regs(f, 0, 0);
}

/* A vCPU is inside since the epoch of the BLOCK. */
static void track_with_vcpu_inside(struct fixture *f, struct lp *lp, void *arg)
{
	(void)lp;
	(void)arg;
	assert_int_equal(call2(f, TDH_MEM_TRACK, f->tdr, 0, 0), 0);
	assert_int_equal(demote(f, 0x200001, TABLES + 0x2000, PAIR_A, PAIR_B), 0xC0000B0800000001);
	expect_regs(f, 0, 0);
	assert_int_equal(call2(f, TDH_MEM_TRACK, f->tdr, 0, 0), 0x8000020100000000);
}

static void demote_2m(struct fixture *f)
{
	u64 td = f->tdr;

	lp_interrupt(f->lp[FIXTURE_HOST_LP], LP_NMI);
	assert_int_equal(demote(f, 0x200001, TABLES + 0x2000, PAIR_A, PAIR_B), 0x8000000400000000);
	expect_regs(f, 0x200001, td);
	lp_take_interrupts(f->lp[FIXTURE_HOST_LP]);
	assert_int_equal(demote(f, 0x200001, TABLES + 0x2000, PAIR_A, PAIR_B), 0);
	expect_regs(f, 0, 0);
	assert_int_equal(demote(f, 0x200001, TABLES + 0x3000, PAIR_A, PAIR_B), 0xC0000B0D00000001);
	expect_regs(f, 0x407, 0x8401);
	fixture_expect(f, TDH_MEM_SEPT_RD, 0x200001, td, 0, 0, 0x407, 0x8401);
	fixture_expect(f, TDH_MEM_SEPT_RD, 0x205000, td, 0, 0, 0x80000000600054F7, 0x400);
	assert_int_equal(fixture_accept(f, 0x200001), 0xC0000B0B00000001);
	assert_int_equal(fixture_accept(f, 0x205000), 0x00000B0A00000000);
}

static void promote_2m(struct fixture *f)
{
	u64 td = f->tdr;

	fixture_expect(f, TDH_MEM_PAGE_PROMOTE, 0x200001, td, 0, 0xC0000B0600000001, 0x407, 0x8401);
	fixture_expect(f, TDH_MEM_RANGE_BLOCK, 0x200001, td, 0, 0, 0, 0);
	fixture_expect(f, TDH_MEM_SEPT_RD, 0x200001, td, 0, 0, 0, 0x8101);
	fixture_expect(f, TDH_MEM_PAGE_REMOVE, 0x205000, td, 0, 0xC0000B0000000001, 0, 0x8101);
	fixture_expect(f, TDH_MEM_SEPT_REMOVE, 0x200001, td, 0, 0xC0000B0800000001, 0, 0);
	assert_int_equal(call2(f, TDH_MEM_TRACK, td, 0, 0), 0);
	fixture_expect(f, TDH_MEM_SEPT_REMOVE, 0x200001, td, 0, 0xC0000B0E00000001, 0, 0x8101);
	assert_int_equal(call2(f, TDH_MEM_PAGE_PROMOTE, 0x200001, td, 0), 0);
	expect_regs(f, TABLES + 0x2000, 0);
	if (f->dynamic_pamt) {
		assert_int_equal(f->r.r12, PAIR_A);
		assert_int_equal(f->r.r13, PAIR_B);
	}
	fixture_expect(f, TDH_MEM_SEPT_RD, 0x200001, td, 0, 0, 0x80000000600004F7, 0x401);
	/* 6 TDCX, 12 of two vCPUs, 2 tables, 512 of the page. */
	assert_int_equal(chldcnt(f), 6 + 12 + 2 + 512);
}

static void remove_2m(struct fixture *f)
{
	u64 td = f->tdr;

	fixture_expect(f, TDH_MEM_RANGE_BLOCK, 0x200001, td, 0, 0, 0, 0);
	assert_int_equal(call2(f, TDH_MEM_TRACK, td, 0, 0), 0);
	fixture_expect(f, TDH_MEM_PAGE_REMOVE, 0x200001, td, 0, 0, 0x60000000, 0);
	fixture_expect(f, TDH_MEM_SEPT_RD, 0x200001, td, 0, 0, 0x8000000000000000, 1);
	assert_int_equal(chldcnt(f), 6 + 12 + 2);
}

static void life_of_a_page(bool dynamic_pamt)
{
	struct fixture f;

	fixture_create(&f,
		       &(struct fixture_config){.profile = "1.5.25", .dynamic_pamt = dynamic_pamt});
	map_2m(&f);
	refused_before_block(&f);
	fixture_enter(&f, 0, track_with_vcpu_inside, NULL);
	demote_2m(&f);
	promote_2m(&f);
	remove_2m(&f);
	fixture_destroy(&f);
}

/* Mapped, split, merged and removed, a 2M page gives the measured answers: static PAMT. */
static void test_life_of_a_2m_page_static(void **state)
{
	(void)state;
	life_of_a_page(false);
}

/* The same with Dynamic PAMT, which adds the pair. */
static void test_life_of_a_2m_page_dynamic(void **state)
{
	(void)state;
	life_of_a_page(true);
}

/* Operands that no leaf takes give the measured statuses, RCX and RDX 0. */
static void test_operand_errors(void **state)
{
	struct fixture f;
	struct tdcs *tdcs;

	(void)state;
	fixture_create(&f, &(struct fixture_config){.profile = "1.5.25"});
	fixture_tables(&f);
	fixture_expect(&f, TDH_MEM_SEPT_RD, 1ULL << 47, f.tdr, 0, 0xC000010000000001, 0, 0);
	fixture_expect(&f, TDH_MEM_PAGE_AUG, 2, f.tdr, PAGE_2M, 0xC000010000000001, 0, 0);
	fixture_expect(&f, TDH_MEM_PAGE_DEMOTE, 0x200001, f.tdr | 2, 0, 0xC000010000000002, 0, 0);
	fixture_ok(&f, TDH_MEM_SEPT_ADD, 0x200001, TABLES);
	fixture_expect(&f, TDH_MEM_PAGE_AUG, 0x200001, f.tdr, PAGE_2M, 0xC0000B0D00000001, 0x407,
		       0x8401);
	fixture_expect(&f, TDH_PHYMEM_PAGE_RECLAIM, f.tdr, 0, 0, 0xC000060700000000, 4, 0);
	tdcs = host_ptr(f.host, ((struct tdr *)host_ptr(f.host, f.tdr))->tdcx_pa[0]);
	tdcs->op_state = OP_PAUSED_EXPORT;
	fixture_expect(&f, TDH_MEM_PAGE_AUG, 0x400001, f.tdr, PAGE_2M, 0xC000060800000004, 0, 0);
	fixture_destroy(&f);
}

/* One accepted child among 511 pending ones makes PROMOTE fail, with the parent's details. */
static void test_promote_of_a_mix(void **state)
{
	struct fixture f;

	(void)state;
	fixture_create(&f, NULL);
	fixture_tables(&f);
	fixture_ok(&f, TDH_MEM_SEPT_ADD, 0x200001, TABLES);
	for (u64 i = 0; i < 512; i++)
		fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x200000 + i * PAGE_SIZE, PAGE_2M + i * PAGE_SIZE);
	assert_int_equal(fixture_accept(&f, 0x207000), 0);
	fixture_ok(&f, TDH_MEM_RANGE_BLOCK, 0x200001, 0);
	assert_int_equal(call2(&f, TDH_MEM_TRACK, f.tdr, 0, 0), 0);
	fixture_expect(&f, TDH_MEM_PAGE_PROMOTE, 0x200001, f.tdr, 0, 0xC0000B0900000001, 0, 0x8101);
	fixture_destroy(&f);
}

/* Dynamic PAMT: when pairs are missed, refused, hinted at and given back. */
static void test_dynamic_pamt_pairs(void **state)
{
	const hpa_t block = 0x50000000, page = 0x50001000;
	struct fixture f;

	(void)state;
	fixture_create(&f, &(struct fixture_config){.profile = "1.5.25", .dynamic_pamt = true});
	assert_int_equal(call2(&f, TDH_MNG_CREATE, page, 40, 0), 0x8000030800000001);
	fixture_tables(&f);
	fixture_expect(&f, TDH_MEM_SEPT_ADD, 0x200001, f.tdr, page, 0x8000030800000008, 0, 0);
	fixture_ok(&f, TDH_MEM_SEPT_ADD, 0x200001, TABLES);
	fixture_expect(&f, TDH_MEM_PAGE_AUG, 0x200000, f.tdr, page, 0x8000030800000008, 0, 0);

	assert_int_equal(call2(&f, TDH_PHYMEM_PAMT_ADD, block | 1, PAIR_A, PAIR_A),
			 0xC000030300000008);
	assert_int_equal(call2(&f, TDH_PHYMEM_PAMT_ADD, block | 1, PAIR_A, PAIR_B), 0);
	assert_int_equal(call2(&f, TDH_PHYMEM_PAMT_ADD, block | 1, PAIR_A, PAIR_B),
			 0xC000030400000001);
	fixture_expect(&f, TDH_MEM_PAGE_AUG, 0x400001, f.tdr, block, 0xC000030000000008, 0, 0);
	fixture_expect(&f, TDH_MEM_PAGE_AUG, 0x400001, f.tdr, ALIGN_DOWN(f.tdr, SIZE_2M),
		       0x8000020000000008, 0, 0);

	fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x200000, page);
	fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x201000, page + PAGE_SIZE);
	assert_int_equal(call2(&f, TDH_PHYMEM_PAMT_REMOVE, block | 1, 0, 0), 0xC000030600000000);
	fixture_ok(&f, TDH_MEM_RANGE_BLOCK, 0x200000, 0);
	fixture_ok(&f, TDH_MEM_RANGE_BLOCK, 0x201000, 0);
	assert_int_equal(call2(&f, TDH_MEM_TRACK, f.tdr, 0, 0), 0);
	fixture_expect(&f, TDH_MEM_PAGE_REMOVE, 0x201000, f.tdr, 0, 0, page + PAGE_SIZE, 0);
	fixture_expect(&f, TDH_MEM_PAGE_REMOVE, 0x200000, f.tdr, 0, 0, page | 1ULL << 62, 0);
	assert_int_equal(call2(&f, TDH_PHYMEM_PAMT_REMOVE, block | 1, 0, 0), 0);
	assert_int_equal(f.r.rdx, PAIR_A);
	assert_int_equal(f.r.r8, PAIR_B);
	assert_int_equal(call2(&f, TDH_PHYMEM_PAMT_REMOVE, block | 1, 0, 0), 0xC000030500000001);
	fixture_destroy(&f);
}

/* Dynamic PAMT: DEMOTE checks the pair last; a PENDING_BLOCKED page splits into PENDING ones. */
static void test_dynamic_pamt_demote(void **state)
{
	struct fixture f;

	(void)state;
	fixture_create(&f, &(struct fixture_config){.profile = "1.5.25", .dynamic_pamt = true});
	fixture_tables(&f);
	fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x200001, PAGE_2M);
	fixture_ok(&f, TDH_MEM_RANGE_BLOCK, 0x200001, 0);
	assert_int_equal(call2(&f, TDH_MEM_TRACK, f.tdr, 0, 0), 0);

	assert_int_equal(demote(&f, 0x200001, 0x50001000, PAIR_A, PAIR_B), 0x8000030800000008);
	assert_int_equal(demote(&f, 0x200001, f.tdr, PAIR_A, PAIR_B), 0x8000020000000008);
	assert_int_equal(demote(&f, 0x200001, TABLES, PAIR_BASE, PAIR_B), 0xC00003030000000C);
	assert_int_equal(demote(&f, 0x200001, TABLES, PAIR_A, PAIR_B + 8), 0xC00001000000000D);
	assert_int_equal(demote(&f, 0x200001, TABLES, 0x1000, PAIR_B + 8), 0xC00001000000000D);
	assert_int_equal(demote(&f, 0x200001, TABLES, PAIR_A, PAIR_A), 0xC00003030000000D);
	assert_int_equal(demote(&f, 0x200001, TABLES, TABLES, PAIR_B), 0x800002000000000C);
	assert_int_equal(demote(&f, 0x200001, TABLES, PAIR_A, TABLES), 0x800002000000000D);
	assert_int_equal(demote(&f, 0x200001, TABLES, PAGE_2M, PAIR_B), 0x800002000000000C);
	expect_regs(&f, 0, 0);
	assert_int_equal(demote(&f, 0x200001, TABLES, PAIR_A, PAIR_B), 0);
	fixture_expect(&f, TDH_MEM_SEPT_RD, 0x201000, f.tdr, 0, 0, 0x80000000600010F0, 0x200);
	assert_int_equal(fixture_accept(&f, 0x201000), 0);
	fixture_destroy(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_life_of_a_2m_page_static),
		cmocka_unit_test(test_life_of_a_2m_page_dynamic),
		cmocka_unit_test(test_operand_errors),
		cmocka_unit_test(test_promote_of_a_mix),
		cmocka_unit_test(test_dynamic_pamt_pairs),
		cmocka_unit_test(test_dynamic_pamt_demote),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
