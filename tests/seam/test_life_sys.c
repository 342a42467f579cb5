/* SPDX-License-Identifier: MIT */
/* The module's own life: dispatcher, SYS.INIT to SYS.SHUTDOWN, and what SYS.RD enumerates. */
#include "life.h"

#include <string.h>

#define INVALID(op) (TDX_OPERAND_INVALID | TDX_OPERAND_##op)

static void init_all_lps(struct life *l)
{
	life_must(l, 0, TDH_SYS_INIT, 0, 0, 0);
	for (unsigned int i = 0; i < FIXTURE_LPS; i++)
		life_must(l, i, TDH_SYS_LP_INIT, 0, 0, 0);
}

/* RAX is checked in order: reserved bits, version, module state, leaf number. */
static void test_dispatcher_order(void **state)
{
	struct life l;

	(void)state;
	life_create(&l, "1.5.05", false);
	life_expect(&l, 0, 1ULL << 24 | TDH_SYS_INIT, 0, 0, 0, 0xC000010000000000ULL);
	life_expect(&l, 0, 1ULL << 63 | TDH_SYS_INIT, 0, 0, 0, 0xC000010000000000ULL);
	/* a version that AUG doesn't have, before the module's state is looked at */
	life_expect(&l, 0, 1ULL << 16 | TDH_MEM_PAGE_AUG, 0, 0, 0, 0xC000010000000000ULL);
	life_expect(&l, 0, TDH_MEM_PAGE_AUG, 0, 0, 0, 0xC000050500000000ULL);
	/* no such leaf: the state comes first */
	life_expect(&l, 0, 42, 0, 0, 0, 0xC000050500000000ULL);
	life_expect(&l, 0, TDH_SYS_TDMR_INIT, 0, 0, 0, 0xC000050500000000ULL);
	life_expect(&l, 0, TDH_SYS_SHUTDOWN, 0, 0, 0, 0xC000050500000000ULL);
	life_module_up(&l);
	for (u64 leaf = 0; leaf < 0x10000; leaf++) {
		if (!tdh_leaf_name((unsigned int)leaf))
			life_expect(&l, 0, leaf, 0, 0, 0, 0xC000010000000000ULL);
	}
	/* 1.5.05 has no Dynamic PAMT: its leaves don't exist */
	life_expect(&l, 0, TDH_PHYMEM_PAMT_ADD, 0, 0, 0, 0xC000010000000000ULL);
	life_expect(&l, 0, TDH_PHYMEM_PAMT_REMOVE, 0, 0, 0, 0xC000010000000000ULL);
	life_must(&l, 0, TDH_SYS_SHUTDOWN, 0, 0, 0);
	life_expect(&l, 0, TDH_SYS_INFO, 0, 0, 0, 0xC000050600000000ULL);
	life_expect(&l, 0, TDH_MEM_PAGE_AUG, 0, 0, 0, 0xC000050600000000ULL);
	life_must(&l, 0, TDH_SYS_LP_SHUTDOWN, 0, 0, 0);
	life_destroy(&l);
}

/* Each step of bring-up is accepted in its own state and in no other. */
static void test_bring_up_order(void **state)
{
	struct tdmr_info info = life_tdmr_info(false);
	struct life l;

	(void)state;
	life_create(&l, NULL, false);
	life_offer_tdmrs(&l, &info, 1);
	life_expect(&l, 0, TDH_SYS_LP_INIT, 0, 0, 0, TDX_SYS_LP_INIT_NOT_PENDING);
	life_expect(&l, 0, TDH_SYS_CONFIG, LIFE_LIST_PA, 1, 32, TDX_SYS_CONFIG_NOT_PENDING);
	life_expect(&l, 0, TDH_SYS_KEY_CONFIG, 0, 0, 0, TDX_SYS_KEY_CONFIG_NOT_PENDING);
	life_must(&l, 0, TDH_SYS_INIT, 0, 0, 0);
	life_expect(&l, 0, TDH_SYS_INIT, 0, 0, 0, TDX_SYS_INIT_NOT_PENDING);
	for (unsigned int i = 0; i < FIXTURE_LPS; i++) {
		/* one LP is missing */
		life_expect(&l, 0, TDH_SYS_CONFIG, LIFE_LIST_PA, 1, 32, TDX_SYS_CONFIG_NOT_PENDING);
		life_must(&l, i, TDH_SYS_LP_INIT, 0, 0, 0);
		life_expect(&l, i, TDH_SYS_LP_INIT, 0, 0, 0, TDX_SYS_LP_INIT_DONE);
	}
	life_must(&l, 0, TDH_SYS_CONFIG, LIFE_LIST_PA, 1, 32);
	life_expect(&l, 0, TDH_SYS_CONFIG, LIFE_LIST_PA, 1, 32, TDX_SYS_CONFIG_NOT_PENDING);
	life_must(&l, PKG1_LP, TDH_SYS_KEY_CONFIG, 0, 0, 0);
	life_expect(&l, PKG1_LP, TDH_SYS_KEY_CONFIG, 0, 0, 0, TDX_KEY_CONFIGURED);
	life_expect(&l, 0, TDH_SYS_TDMR_INIT, TDMR_BASE, 0, 0, TDX_SYS_NOT_READY);
	life_must(&l, PKG0_LP, TDH_SYS_KEY_CONFIG, 0, 0, 0);
	life_expect(&l, PKG0_LP, TDH_SYS_KEY_CONFIG, 0, 0, 0, TDX_SYS_KEY_CONFIG_NOT_PENDING);
	life_destroy(&l);
}

/* SYS.CONFIG names the operand that it doesn't take, in the order RCX, RDX, R8. */
static void test_config_operands(void **state)
{
	struct tdmr_info info = life_tdmr_info(false);
	u64 bad_list[1] = {LIFE_INFO_PA + 8};
	struct life l;

	(void)state;
	life_create(&l, "1.5.05", false);
	init_all_lps(&l);
	life_offer_tdmrs(&l, &info, 1);
	life_expect(&l, 0, TDH_SYS_CONFIG, LIFE_LIST_PA + 256, 0, 0, INVALID(RCX));
	life_expect(&l, 0, TDH_SYS_CONFIG, LIFE_LIST_PA | 33ULL << 46, 0, 0, INVALID(RCX));
	life_expect(&l, 0, TDH_SYS_CONFIG, 1ULL << 52, 0, 0, INVALID(RCX));
	life_expect(&l, 0, TDH_SYS_CONFIG, LIFE_LIST_PA, 0, 0, INVALID(RDX));
	life_expect(&l, 0, TDH_SYS_CONFIG, LIFE_LIST_PA, 65, 0, INVALID(RDX));
	life_expect(&l, 0, TDH_SYS_CONFIG, LIFE_LIST_PA, 1, 31, INVALID(R8));
	life_expect(&l, 0, TDH_SYS_CONFIG, LIFE_LIST_PA, 1, 64, INVALID(R8));
	life_expect(&l, 0, TDH_SYS_CONFIG, LIFE_LIST_PA, 1, 32 | 1ULL << 17, INVALID(R8));
	/* this version can't have Dynamic PAMT */
	life_expect(&l, 0, TDH_SYS_CONFIG, LIFE_LIST_PA, 1, 32 | 1ULL << 16, INVALID(R8));
	life_write(&l, LIFE_LIST_PA, bad_list, sizeof(bad_list));
	life_expect(&l, 0, TDH_SYS_CONFIG, LIFE_LIST_PA, 1, 32, INVALID(TDMR_INFO_PA));
	life_destroy(&l);
}

static void reject(struct life *l, const struct tdmr_info *info, unsigned int count, u64 status)
{
	life_offer_tdmrs(l, info, count);
	life_expect(l, 0, TDH_SYS_CONFIG, LIFE_LIST_PA, count, 32 | (u64)l->dynamic_pamt << 16,
		    status);
}

/* A TDMR that breaks a rule is refused with its index, the area at fault, and the other TDMR. */
static void check_tdmr_rules(bool dynamic_pamt)
{
	const struct tdmr_info good = life_tdmr_info(dynamic_pamt);
	struct tdmr_info t[2];
	struct life l;

	life_create(&l, NULL, dynamic_pamt);
	init_all_lps(&l);
#define TRY(field, value, status)         \
	do {                              \
		t[0] = good;              \
		t[0].field = value;       \
		reject(&l, t, 1, status); \
	} while (0)
	TRY(base, TDMR_BASE + SIZE_2M, TDX_INVALID_TDMR);
	TRY(size, TDMR_SIZE + SIZE_2M, TDX_INVALID_TDMR);
	TRY(size, 0, TDX_INVALID_TDMR);
	TRY(base, 33ULL << 46, TDX_INVALID_TDMR);
	TRY(size, 4ULL << 30, TDX_TDMR_OUTSIDE_CMRS);
	TRY(pamt_4k_base, good.pamt_4k_base + 8, TDX_INVALID_PAMT);
	TRY(pamt_4k_size, good.pamt_4k_size - SIZE_4K, TDX_INVALID_PAMT);
	TRY(pamt_2m_size, good.pamt_2m_size - SIZE_4K, TDX_INVALID_PAMT | 0x100);
	TRY(pamt_1g_size, 0, TDX_INVALID_PAMT | 0x200);
	TRY(pamt_1g_base, 4ULL << 30, TDX_PAMT_OUTSIDE_CMRS | 0x200);
	TRY(pamt_2m_base, TDMR_BASE, TDX_PAMT_OVERLAP | 0x100);
	TRY(pamt_2m_base, good.pamt_4k_base, TDX_PAMT_OVERLAP | 0x100);
	TRY(reserved[0].size, SIZE_4K / 2, TDX_INVALID_RESERVED_IN_TDMR);
	TRY(reserved[0].size, TDMR_SIZE + SIZE_4K, TDX_INVALID_RESERVED_IN_TDMR);
	/* nothing follows an empty area */
	TRY(reserved[3].size, SIZE_4K, TDX_INVALID_RESERVED_IN_TDMR | 0x300);
#undef TRY
	t[0] = good;
	t[0].reserved[0].offset = SIZE_2M;
	t[0].reserved[0].size = SIZE_2M;
	t[0].reserved[1].offset = SIZE_2M + SIZE_4K;
	t[0].reserved[1].size = SIZE_2M;
	reject(&l, t, 1, TDX_NON_ORDERED_RESERVED_IN_TDMR | 0x100);

	/* two TDMRs: order, and areas of the second that lie in the first */
	t[0] = good;
	t[0].size = SIZE_1G;
	t[1] = t[0];
	reject(&l, t, 2, TDX_NON_ORDERED_TDMR | 1);
	t[1].base = 2ULL << 30;
	reject(&l, t, 2, TDX_PAMT_OVERLAP | 1 | 0 << 16);
	t[1].pamt_4k_base = t[1].base;
	reject(&l, t, 2, TDX_PAMT_OVERLAP | 1 | 1 << 16);
	/* an area inside a reserved one is fine */
	t[1].pamt_4k_base = t[1].base + 512 * SIZE_2M / 2;
	t[1].pamt_2m_base = t[1].pamt_4k_base + t[1].pamt_4k_size;
	t[1].pamt_1g_base = t[1].pamt_2m_base + t[1].pamt_2m_size;
	t[1].reserved[0].offset = 512 * SIZE_2M / 2;
	t[1].reserved[0].size = 16 * SIZE_2M;
	reject(&l, t, 2, TDX_SUCCESS);
	life_destroy(&l);
}

static void test_tdmr_rules(void **state)
{
	(void)state;
	check_tdmr_rules(false);
	check_tdmr_rules(true);
}

static void config_one_tdmr(struct life *l)
{
	struct tdmr_info info = life_tdmr_info(l->dynamic_pamt);

	init_all_lps(l);
	info.size = SIZE_1G;
	info.reserved[0].offset = SIZE_2M;
	info.reserved[0].size = 2 * SIZE_4K;
	life_offer_tdmrs(l, &info, 1);
	life_must(l, 0, TDH_SYS_CONFIG, LIFE_LIST_PA, 1, 32 | (u64)l->dynamic_pamt << 16);
	life_must(l, PKG0_LP, TDH_SYS_KEY_CONFIG, 0, 0, 0);
	life_must(l, PKG1_LP, TDH_SYS_KEY_CONFIG, 0, 0, 0);
}

/*
 * SYS.TDMR.INIT works through a 1G TDMR in 256 calls (64 with Dynamic PAMT), and nothing of the
 * block can be used before the last; memory that the host had dirtied counts as PT_NDA after it.
 */
static void check_tdmr_init(bool dynamic_pamt, unsigned int calls)
{
	u64 garbage[512];
	struct life l;

	memset(garbage, 0x5A, sizeof(garbage));
	life_create(&l, NULL, dynamic_pamt);
	life_write(&l, 0x01000000, garbage, sizeof(garbage));
	life_write(&l, 0x03000000, garbage, sizeof(garbage));
	config_one_tdmr(&l);
	life_expect(&l, 0, TDH_SYS_TDMR_INIT, TDMR_BASE + SIZE_4K, 0, 0, INVALID(RCX));
	life_expect(&l, 0, TDH_SYS_TDMR_INIT, 0, 0, 0, INVALID(RCX));
	for (unsigned int i = 0; i < calls; i++) {
		life_expect(&l, 0, TDH_MNG_CREATE, TDMR_BASE, 33, 0,
			    TDX_OPERAND_ADDR_RANGE_ERROR | TDX_OPERAND_RCX);
		life_must(&l, 0, TDH_SYS_TDMR_INIT, TDMR_BASE, 0, 0);
		assert_int_equal(l.r.rdx, i + 1 < calls ? TDMR_BASE : TDMR_BASE + SIZE_1G);
	}
	life_expect(&l, 0, TDH_SYS_TDMR_INIT, TDMR_BASE, 0, 0, 0x00000A0300000000ULL);
	assert_int_equal(seam_pamt_in_use(l.seam), 0);
	/* a reserved page isn't free */
	life_expect(&l, 0, TDH_PHYMEM_PAGE_WBINVD, TDMR_BASE + SIZE_2M + SIZE_4K, 0, 0,
		    TDX_PAGE_METADATA_INCORRECT | TDX_OPERAND_RCX);
	life_must(&l, 0, TDH_PHYMEM_PAGE_WBINVD, TDMR_BASE + SIZE_2M + 2 * SIZE_4K, 0, 0);
	life_destroy(&l);
}

static void test_tdmr_init(void **state)
{
	(void)state;
	check_tdmr_init(false, 256);
	check_tdmr_init(true, 64);
}

/* The bulk operation leaves every page as the calls do, reserved ones too. */
static void check_bulk_init(bool dynamic_pamt)
{
	struct life one, bulk;

	life_create(&one, NULL, dynamic_pamt);
	life_create(&bulk, NULL, dynamic_pamt);
	config_one_tdmr(&one);
	config_one_tdmr(&bulk);
	while (life_call(&one, 0, TDH_SYS_TDMR_INIT, TDMR_BASE, 0, 0) == TDX_SUCCESS)
		;
	seam_tdmr_init_all(bulk.seam);
	for (hpa_t hpa = TDMR_BASE; hpa < TDMR_BASE + SIZE_1G; hpa += SIZE_4K) {
		u64 status = life_call(&one, 0, TDH_PHYMEM_PAGE_WBINVD, hpa, 0, 0);

		life_expect(&bulk, 0, TDH_PHYMEM_PAGE_WBINVD, hpa, 0, 0, status);
	}
	life_expect(&bulk, 0, TDH_SYS_TDMR_INIT, TDMR_BASE, 0, 0, TDX_TDMR_ALREADY_INITIALIZED);
	life_destroy(&one);
	life_destroy(&bulk);
}

static void test_bulk_init(void **state)
{
	(void)state;
	check_bulk_init(false);
	check_bulk_init(true);
}

/* SYS.RD gives the values of the manual, and a walk by "next" visits each field once. */
static void test_sys_rd(void **state)
{
	static const struct {
		u64 id, value;
	} facts[] = {
		{0x9100000100000008, 64},    {0x9100000100000009, 16},	  {0x9100000100000010, 16},
		{0x9100000100000011, 16},    {0x9100000100000012, 16},	  {0x9100000000000013, 1},
		{0x9800000100000100, 24576}, {0x9800000100000200, 24576},
	};
	unsigned int found = 0;
	struct life l;
	u64 id;

	(void)state;
	life_create(&l, "1.5.28", false);
	life_expect(&l, 0, TDH_SYS_RD, 0, 0, 0, 0x00000C0B00000000ULL);
	id = l.r.rdx;
	for (unsigned int n = 0; id != UINT64_MAX; n++) {
		assert_true(n < 100);
		life_must(&l, 0, TDH_SYS_RD, 0, id, 0);
		for (unsigned int i = 0; i < ARRAY_SIZE(facts); i++) {
			if (facts[i].id == id) {
				assert_int_equal(l.r.r8, facts[i].value);
				found++;
			}
		}
		id = l.r.rdx;
	}
	assert_int_equal(found, ARRAY_SIZE(facts));
	life_must(&l, 0, TDH_SYS_RD, 0, 0x0A00000300000008ULL, 0);
	assert_true(l.r.r8 & 1ULL << 36);
	assert_true(l.r.r8 & 1ULL << 51);
	life_expect(&l, 0, TDH_SYS_RD, 0, 0x1234, 0, TDX_METADATA_FIELD_ID_INCORRECT);
	life_destroy(&l);

	/* a version without Dynamic PAMT doesn't have its fields */
	life_create(&l, "1.5.05", false);
	life_expect(&l, 0, TDH_SYS_RD, 0, 0x9100000000000013ULL, 0,
		    TDX_METADATA_FIELD_ID_INCORRECT);
	life_must(&l, 0, TDH_SYS_RD, 0, 0x0A00000300000008ULL, 0);
	assert_false(l.r.r8 & (1ULL << 36 | 1ULL << 51));
	life_destroy(&l);
}

/* SYS.RDALL writes the fields that SYS.RD enumerates; SYS.INFO the same numbers in its struct. */
static void test_sys_rdall_and_info(void **state)
{
	const hpa_t page = 0x00200000, cmrs = 0x00201000;
	u64 words[512] = {0};
	struct life l;
	u16 u16s[4];

	(void)state;
	life_create(&l, NULL, false);
	life_expect(&l, 0, TDH_SYS_RDALL, 0, page + 8, 0, INVALID(RDX));
	life_must(&l, 0, TDH_SYS_RDALL, 0, page, 0);
	assert_int_equal(host_read(l.host, page, 0, words, 512), 0);
	assert_true(words[0] >> 16);
	for (u64 i = 0; i < words[0] >> 16; i++) {
		life_must(&l, 0, TDH_SYS_RD, 0, words[1 + 2 * i], 0);
		assert_int_equal(l.r.r8, words[2 + 2 * i]);
	}
	assert_int_equal(l.r.rdx, UINT64_MAX);

	l.r = (struct tdx_regs){
		.rax = TDH_SYS_INFO, .rcx = page, .rdx = 1024, .r8 = cmrs, .r9 = 32};
	assert_int_equal(seamcall(l.lp[0], &l.r), TDX_SUCCESS);
	assert_int_equal(l.r.rdx, 1024);
	assert_int_equal(host_read(l.host, page, 0, words, 128), 0);
	memcpy(u16s, (u8 *)words + 32, sizeof(u16s));
	assert_int_equal(u16s[0], 64);
	assert_int_equal(u16s[1], 16);
	assert_int_equal(u16s[2], 16);
	assert_int_equal(host_read(l.host, cmrs, 0, words, 2), 0);
	assert_int_equal(words[0], 0);
	assert_int_equal(words[1], 4ULL << 30);
	life_expect(&l, 0, TDH_SYS_INFO, page + 512, 1024, cmrs, INVALID(RCX));
	life_expect(&l, 0, TDH_SYS_INFO, page, 1023, cmrs, INVALID(RDX));
	life_expect(&l, 0, TDH_SYS_INFO, page, 1024, cmrs + 8, INVALID(R8));
	life_expect(&l, 0, TDH_SYS_INFO, page, 1024, cmrs, INVALID(R9));
	life_expect(&l, 0, TDH_SYS_UPDATE, 0, 0, 0, TDX_SYS_STATE_INCORRECT);
	life_destroy(&l);
}

/* PAMT sizes: 16 bytes for each 4K, 2M and 1G; with Dynamic PAMT a bit for each 4K. */
static void test_pamt_bytes(void **state)
{
	struct life l;

	(void)state;
	life_create(&l, NULL, false);
	life_module_up(&l);
	assert_int_equal(seam_pamt_bytes(l.seam), TDMR_SIZE / 256 + 16384 + 4096);
	life_destroy(&l);
	life_create(&l, NULL, true);
	life_module_up(&l);
	assert_int_equal(seam_pamt_bytes(l.seam), TDMR_SIZE / 32768 + 16384 + 4096);
	life_destroy(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dispatcher_order), cmocka_unit_test(test_bring_up_order),
		cmocka_unit_test(test_config_operands),	 cmocka_unit_test(test_tdmr_rules),
		cmocka_unit_test(test_tdmr_init),	 cmocka_unit_test(test_bulk_init),
		cmocka_unit_test(test_sys_rd),		 cmocka_unit_test(test_sys_rdall_and_info),
		cmocka_unit_test(test_pamt_bytes),
	};

	return cmocka_run_group_tests_name("seam_life_sys", tests, NULL, NULL);
}
