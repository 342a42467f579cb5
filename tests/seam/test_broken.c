/* SPDX-License-Identifier: MIT */
/*
 * A host that writes into pages it has given away breaks its TD, and nothing else: the module follows
 * no address that such a page holds, and answers every call.
 */
#include "fixture.h"
#include "seam/internal.h"

#define PAGE_4K 0x50000000ULL
#define PAGE_2M 0x60000000ULL
#define TABLE 0x40100000ULL
#define PAMT_4K_AREA 0x01000000ULL
#define PAMT_2M_AREA 0x03000000ULL

static const u64 patterns[] = {
	0x0000000000000007, /* a table at 0 */
	0x80043FFFFFFFF407, /* a table in the last page of the address space */
	0x80084000FFFFF407, /* just below the end of memory */
	0xFFFFFFFFFFFFFFFF, 0x8000000000000007, 0x0F0F0F0F0F0F0F0F, 0x00000000DEADB00F,
};

static struct tdr *tdr_of(const struct fixture *f)
{
	return host_ptr(f->host, f->tdr);
}

static void setup(struct fixture *f, bool dynamic_pamt)
{
	fixture_create(f, &(struct fixture_config){.dynamic_pamt = dynamic_pamt,
						   .attributes = TD_ATTR_DEBUG});
	fixture_tables(f);
	fixture_ok(f, TDH_MEM_SEPT_ADD, 0x200001, TABLE);
	fixture_pair(f, PAGE_4K);
	fixture_ok(f, TDH_MEM_PAGE_AUG, 0x200000, PAGE_4K);
	fixture_ok(f, TDH_MEM_PAGE_AUG, 0x400001, PAGE_2M);
}

static void scribble(struct fixture *f, hpa_t page, u64 pattern)
{
	u64 words[512];

	for (unsigned int i = 0; i < ARRAY_SIZE(words); i++)
		words[i] = pattern;
	host_write(f->host, page, 0, words, ARRAY_SIZE(words));
}

static void accept_all(struct fixture *f, struct lp *lp, void *arg)
{
	static const unsigned int leaves[] = {TDG_MEM_PAGE_ACCEPT, TDG_MEM_PAGE_ATTR_RD,
					      TDG_MEM_PAGE_ATTR_WR, TDG_VM_RD, TDG_VP_INFO};
	u64 word;

	(void)f;
	(void)arg;
	for (unsigned int i = 0; i < ARRAY_SIZE(leaves); i++) {
		struct tdx_regs r = {.rax = leaves[i], .rcx = 0x200000};

		if (!tdcall(lp, &r))
			return;
	}
	(void)lp_guest_read(lp, 0x200000, &word, 1);
}

/* Every host leaf and the guest's, with operands that name the TD, its vCPU and its pages. */
static void call_everything(struct fixture *f)
{
	static const u64 gpas[] = {0x200000, 0x200001, 0x400001, 0x2, 0x3, 0x40000002};

	for (unsigned int leaf = 0; leaf < 64; leaf++) {
		/* those would end the module or the TD's life, and hide what follows */
		if (leaf == TDH_SYS_SHUTDOWN || leaf == TDH_VP_ENTER)
			continue;
		for (unsigned int i = 0; i < ARRAY_SIZE(gpas); i++) {
			fixture_mem(f, leaf, gpas[i], f->tdr, TABLE + 0x1000);
			fixture_mem(f, leaf, f->tdr, 0, 0);
			fixture_mem(f, leaf, f->tdvpr[0], 0x9000000000000004, 0);
			fixture_mem(f, leaf, PAGE_4K, f->tdvpr[0], 0);
			fixture_mem(f, leaf, PAGE_2M | 1, PAGE_4K, PAGE_4K + 0x1000);
		}
	}
	for (unsigned int vcpu = 0; vcpu < FIXTURE_VCPUS; vcpu++)
		fixture_enter(f, vcpu, accept_all, NULL);
}

/* The TDR, TDCS and its root, a vCPU's page: the TD is as good as lost, and so says every leaf. */
static void test_control_pages(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(patterns); i++) {
		for (unsigned int which = 0; which < 3; which++) {
			struct fixture f;
			hpa_t page;

			setup(&f, i & 1);
			page = which == 0   ? f.tdr
			       : which == 1 ? tdr_of(&f)->tdcx_pa[0]
					    : tdr_of(&f)->tdcx_pa[3];
			scribble(&f, page, patterns[i]);
			fixture_expect(&f, TDH_MEM_SEPT_RD, 0x200001, f.tdr, 0, TDX_TD_FATAL, 0, 0);
			assert_int_equal(fixture_mem(&f, TDH_VP_ENTER, f.tdvpr[0], 0, 0),
					 TDX_TD_FATAL);
			call_everything(&f);
			fixture_destroy(&f);
		}
	}
}

/* A vCPU's page: that vCPU is lost, the TD's memory isn't. */
static void test_vcpu_page(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(patterns); i++) {
		struct fixture f;

		setup(&f, i & 1);
		scribble(&f, f.tdvpr[0], patterns[i]);
		assert_int_equal(fixture_mem(&f, TDH_VP_ENTER, f.tdvpr[0], 0, 0), TDX_TD_FATAL);
		assert_int_equal(fixture_mem(&f, TDH_VP_FLUSH, f.tdvpr[0], 0, 0), TDX_TD_FATAL);
		fixture_expect(&f, TDH_MEM_SEPT_RD, 0x200001, f.tdr, 0, 0, 0x407, 0x8401);
		call_everything(&f);
		fixture_destroy(&f);
	}
}

/* A table of the S-EPT: a walk stops at the entry above, and shows that. */
static void test_tables(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(patterns); i++) {
		for (u64 level = 0; level < 3; level++) {
			struct fixture f;
			u64 above;

			setup(&f, i & 1);
			above = fixture_sept_entry(&f, 0x200000, (enum pg_level)(level + 2));
			scribble(&f, above & GENMASK_ULL(45, 12), patterns[i]);
			fixture_expect(&f, TDH_MEM_SEPT_RD, 0x200000, f.tdr, 0,
				       TDX_EPT_WALK_FAILED | 1, 0x407, 0x8400 | (level + 1));
			call_everything(&f);
			fixture_destroy(&f);
		}
	}
}

/* PAMT memory, and the pages of a pair: whatever is there, it is an answer. */
static void test_pamt_pages(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(patterns); i++) {
		struct fixture f;

		/* 2M entries of 512 MiB from PAGE_4K on, and the pair of the block that holds the TD */
		setup(&f, true);
		scribble(&f, PAMT_2M_AREA, patterns[i]);
		call_everything(&f);
		scribble(&f, PAIR_BASE, patterns[i]);
		call_everything(&f);
		fixture_destroy(&f);
		setup(&f, false);
		scribble(&f, PAMT_4K_AREA + (PAGE_4K - TDMR_BASE) / 256, patterns[i]);
		scribble(&f, PAMT_4K_AREA, patterns[i]);
		call_everything(&f);
		fixture_destroy(&f);
	}
}

/* A broken page of a pair is a page that isn't there: MISSING no, but not free either. */
static void test_broken_pair(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, true);
	/* the pair of PAGE_4K is the fixture's second */
	scribble(&f, PAIR_BASE + 2 * PAGE_SIZE, 0);
	fixture_expect(&f, TDH_MEM_PAGE_AUG, 0x201000, f.tdr, PAGE_4K + 0x1000,
		       TDX_PAGE_METADATA_INCORRECT | 8, 0, 0);
	assert_int_equal(fixture_mem(&f, TDH_PHYMEM_PAMT_REMOVE, PAGE_4K | 1, 0, 0),
			 TDX_PAMT_PAGE_NOT_EMPTY);
	fixture_expect(&f, TDH_MEM_RANGE_BLOCK, 0x200000, f.tdr, 0, TDX_TD_FATAL, 0, 0);
	fixture_expect(&f, TDH_MEM_SEPT_RD, 0x200000, f.tdr, 0, 0, 0x80000000000000F0 | PAGE_4K,
		       0x200);
	fixture_destroy(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_control_pages), cmocka_unit_test(test_vcpu_page),
		cmocka_unit_test(test_tables),	      cmocka_unit_test(test_pamt_pages),
		cmocka_unit_test(test_broken_pair),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
