/* SPDX-License-Identifier: MIT */
/* A TD's life: MNG leaves, the way down, PHYMEM.PAGE.RECLAIM, PAGE.WBINVD and CACHE.WB. */
#include "life.h"

#include <string.h>

#define INVALID(op) (TDX_OPERAND_INVALID | TDX_OPERAND_##op)
#define RANGE(op) (TDX_OPERAND_ADDR_RANGE_ERROR | TDX_OPERAND_##op)
#define METADATA(op) (TDX_PAGE_METADATA_INCORRECT | TDX_OPERAND_##op)

/* A page that lies in the TDMR, is free, and is never used (with Dynamic PAMT: has no pair). */
#define FAR_PAGE 0x9FFFF000ULL

static u64 chldcnt(struct life *l, hpa_t tdr)
{
	life_must(l, 0, TDH_MNG_RD, tdr, 0x8010000300000004ULL, 0);
	return l->r.r8;
}

/* CB-HPA on operand @op of a leaf: every failure, a worse one never hidden by a later check. */
static void check_page_operand(struct life *l, u64 leaf, bool in_rcx, u64 other, u64 op)
{
	const struct {
		u64 hpa, status;
	} bad[] = {
		{FAR_PAGE + 8, TDX_OPERAND_INVALID | op},
		{FAR_PAGE | 33ULL << 46, TDX_OPERAND_INVALID | op},
		{1ULL << 52, TDX_OPERAND_INVALID | op},
		{UINT64_MAX, TDX_OPERAND_INVALID | op},
		{0x1000, TDX_OPERAND_ADDR_RANGE_ERROR | op},
		{0xC0000000, TDX_OPERAND_ADDR_RANGE_ERROR | op},
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++)
		life_expect(l, 0, leaf, in_rcx ? bad[i].hpa : other, in_rcx ? other : bad[i].hpa, 0,
			    bad[i].status);
}

/*
 * The whole way up and down, by leaves alone: CHLDCNT counts every page, each is reclaimed with its
 * type and owner, and at the end no PAMT entry is in use and the key id can be had again.
 */
static void check_whole_life(bool dynamic_pamt)
{
	struct life l;
	hpa_t tdr, page[64];
	unsigned int n = 0;

	life_create(&l, NULL, dynamic_pamt);
	life_module_up(&l);
	tdr = life_td(&l, 33, LIFE_INITIALIZED);
	life_vcpu(&l, tdr, 6, 1);
	assert_int_equal(chldcnt(&l, tdr), 6 + 6);
	life_must(&l, 0, TDH_MEM_SEPT_ADD, 3, tdr, life_page(&l));
	life_must(&l, 0, TDH_MEM_SEPT_ADD, 2, tdr, life_page(&l));
	life_must(&l, 0, TDH_MR_FINALIZE, tdr, 0, 0);
	life_must(&l, 0, TDH_MEM_PAGE_AUG, 1, tdr, 0x60000000);
	assert_int_equal(chldcnt(&l, tdr), 6 + 6 + 2 + 512);
	for (hpa_t hpa = tdr + SIZE_4K; hpa < l.next_page; hpa += SIZE_4K)
		page[n++] = hpa;
	page[n++] = 0x60000000;

	life_expect(&l, 0, TDH_PHYMEM_PAGE_RECLAIM, tdr, 0, 0, TDX_LIFECYCLE_STATE_INCORRECT);
	assert_int_equal(l.r.rcx, PT_TDR);
	assert_int_equal(l.r.rdx, 0);
	life_expect(&l, 0, TDH_MNG_VPFLUSHDONE, tdr, 0, 0, TDX_FLUSHVP_NOT_DONE);
	life_must(&l, 1, TDH_VP_FLUSH, tdr + 7 * SIZE_4K, 0, 0);
	life_expect(&l, 0, TDH_PHYMEM_PAGE_RECLAIM, page[0], 0, 0, TDX_LIFECYCLE_STATE_INCORRECT);
	life_release(&l, tdr);
	for (unsigned int i = 0; i < n; i++) {
		life_expect(&l, 0, TDH_PHYMEM_PAGE_RECLAIM, tdr, 0, 0,
			    TDX_TD_ASSOCIATED_PAGES_EXIST);
		life_must(&l, 0, TDH_PHYMEM_PAGE_RECLAIM, page[i], 0, 0);
		assert_int_equal(l.r.rdx, tdr);
		assert_int_equal(l.r.r8, page[i] == 0x60000000);
		assert_int_equal(l.r.r9, 0);
		life_must(&l, 0, TDH_PHYMEM_PAGE_WBINVD, page[i] | 33ULL << 46, 0, 0);
	}
	life_must(&l, 0, TDH_PHYMEM_PAGE_RECLAIM, tdr, 0, 0);
	assert_int_equal(l.r.rcx, PT_TDR);
	/* the last 4K page of its block: the pair isn't needed any more */
	assert_int_equal(l.r.r9, dynamic_pamt ? 1ULL << 62 : 0);
	if (dynamic_pamt) {
		assert_int_equal(seam_pamt_in_use(l.seam), 2);
		life_must(&l, 0, TDH_PHYMEM_PAMT_REMOVE, TDMR_BASE | 1, 0, 0);
	}
	assert_int_equal(seam_pamt_in_use(l.seam), 0);
	if (dynamic_pamt)
		life_must(&l, 0, TDH_PHYMEM_PAMT_ADD, TDMR_BASE | 1, PAIR_BASE,
			  PAIR_BASE + SIZE_4K);
	life_must(&l, 0, TDH_MNG_CREATE, tdr, 33, 0);
	life_destroy(&l);
}

static void test_whole_life(void **state)
{
	(void)state;
	check_whole_life(false);
	check_whole_life(true);
}

/* MNG.CREATE: key id, page, key id's owner, in that order. */
static void test_mng_create(void **state)
{
	struct life l;
	hpa_t tdr;

	(void)state;
	life_create(&l, NULL, false);
	life_module_up(&l);
	life_expect(&l, 0, TDH_MNG_CREATE, 1, 31, 0, INVALID(RDX));
	life_expect(&l, 0, TDH_MNG_CREATE, 1, 64, 0, INVALID(RDX));
	life_expect(&l, 0, TDH_MNG_CREATE, 1, 33 | 1ULL << 16, 0, INVALID(RDX));
	check_page_operand(&l, TDH_MNG_CREATE, true, 33, 1);
	tdr = life_td(&l, 33, LIFE_CREATED);
	life_expect(&l, 0, TDH_MNG_CREATE, tdr, 33, 0, METADATA(RCX));
	life_expect(&l, 0, TDH_MNG_CREATE, FAR_PAGE, 33, 0, TDX_HKID_NOT_FREE);
	/* the module's own */
	life_expect(&l, 0, TDH_MNG_CREATE, FAR_PAGE, GLOBAL_HKID, 0, TDX_HKID_NOT_FREE);
	life_must(&l, 0, TDH_MNG_CREATE, FAR_PAGE, 34, 0);
	life_destroy(&l);

	life_create(&l, NULL, true);
	life_module_up(&l);
	life_expect(&l, 0, TDH_MNG_CREATE, FAR_PAGE, 33, 0, 0x8000030800000001ULL);
	life_destroy(&l);
}

/* The key is written once a package; the TD has its keys when all packages are done. */
static void test_mng_key_config(void **state)
{
	struct life l;
	hpa_t tdr;

	(void)state;
	life_create(&l, NULL, false);
	life_module_up(&l);
	check_page_operand(&l, TDH_MNG_KEY_CONFIG, true, 0, 1);
	life_expect(&l, 0, TDH_MNG_KEY_CONFIG, FAR_PAGE, 0, 0, METADATA(RCX));
	tdr = life_td(&l, 33, LIFE_CREATED);
	life_expect(&l, 0, TDH_MNG_ADDCX, FAR_PAGE, tdr, 0, TDX_TD_KEYS_NOT_CONFIGURED);
	life_must(&l, PKG1_LP, TDH_MNG_KEY_CONFIG, tdr, 0, 0);
	life_expect(&l, PKG1_LP, TDH_MNG_KEY_CONFIG, tdr, 0, 0, 0x0000081500000000ULL);
	life_expect(&l, 0, TDH_MNG_ADDCX, FAR_PAGE, tdr, 0, TDX_TD_KEYS_NOT_CONFIGURED);
	life_must(&l, PKG0_LP, TDH_MNG_KEY_CONFIG, tdr, 0, 0);
	life_expect(&l, 0, TDH_MNG_KEY_CONFIG, tdr, 0, 0, TDX_LIFECYCLE_STATE_INCORRECT);
	life_must(&l, 0, TDH_MNG_ADDCX, FAR_PAGE, tdr, 0);
	life_destroy(&l);
}

/* TDCX pages: six are needed, nine fit; from the seventh on the TD must be UNINITIALIZED. */
static void test_mng_addcx(void **state)
{
	struct td_params params = life_td_params();
	struct life l;
	hpa_t a, b;

	(void)state;
	life_create(&l, NULL, false);
	life_module_up(&l);
	a = life_td(&l, 33, LIFE_KEYS);
	life_write(&l, LIFE_PARAMS_PA, &params, sizeof(params));
	check_page_operand(&l, TDH_MNG_ADDCX, false, FAR_PAGE, 2);
	check_page_operand(&l, TDH_MNG_ADDCX, true, a, 1);
	for (unsigned int i = 0; i < 6; i++) {
		life_expect(&l, 0, TDH_MNG_INIT, a, LIFE_PARAMS_PA, 0, TDX_TDCS_NOT_ALLOCATED);
		life_must(&l, 0, TDH_MNG_ADDCX, life_page(&l), a, 0);
	}
	for (unsigned int i = 6; i < 9; i++)
		life_must(&l, 0, TDH_MNG_ADDCX, life_page(&l), a, 0);
	/* the number is checked before the page */
	life_expect(&l, 0, TDH_MNG_ADDCX, 1, a, 0, TDX_TDCX_NUM_INCORRECT);

	b = life_td(&l, 34, LIFE_INITIALIZED);
	/* the page before the op_state */
	life_expect(&l, 0, TDH_MNG_ADDCX, b, b, 0, TDX_OPERAND_BUSY | TDX_OPERAND_RCX);
	life_expect(&l, 0, TDH_MNG_ADDCX, a, b, 0, METADATA(RCX));
	life_expect(&l, 0, TDH_MNG_ADDCX, FAR_PAGE, b, 0, TDX_OP_STATE_INCORRECT | 1);
	life_destroy(&l);
}

/* MNG.INIT says which of TD_PARAMS it doesn't take, and then leaves the TD as it was. */
static void test_mng_init(void **state)
{
	const struct td_params good = life_td_params();
	struct td_params p;
	struct life l;
	hpa_t tdr;

	(void)state;
	life_create(&l, NULL, false);
	life_module_up(&l);
	tdr = life_td(&l, 33, LIFE_TDCX);
	life_expect(&l, 0, TDH_MNG_INIT, tdr, LIFE_PARAMS_PA + 512, 0, INVALID(RDX));
	life_expect(&l, 0, TDH_MNG_INIT, tdr, LIFE_PARAMS_PA | 33ULL << 46, 0, INVALID(RDX));
#define TRY(field, value, id)                                                                \
	do {                                                                                 \
		p = good;                                                                    \
		p.field = value;                                                             \
		life_write(&l, LIFE_PARAMS_PA, &p, sizeof(p));                               \
		life_expect(&l, 0, TDH_MNG_INIT, tdr, LIFE_PARAMS_PA, 0,                     \
			    TDX_OPERAND_INVALID | (id));                                     \
		life_expect(&l, 0, TDH_VP_CREATE, FAR_PAGE, tdr, 0, TDX_OP_STATE_INCORRECT); \
	} while (0)
	TRY(attributes, 1ULL << 1, 64);
	TRY(attributes, 1ULL << 29, 64);
	TRY(xfam, 1, 65);
	TRY(xfam, 3 | 1ULL << 5, 65);
	TRY(xfam, 3 | 1ULL << 60, 65);
	/* AVX-512 in three parts, which want AVX; CET and AMX in two */
	TRY(xfam, 3 | 7ULL << 5, 65);
	TRY(xfam, 3 | 1ULL << 2 | 3ULL << 5, 65);
	TRY(xfam, 3 | 1ULL << 11, 65);
	TRY(xfam, 3 | 1ULL << 18, 65);
	TRY(max_vcpus, 0, 68);
	TRY(max_vcpus, 577, 68);
	TRY(num_l2_vms, 1, 71);
	TRY(config_flags, 1ULL << 40, 66);
	TRY(eptp_controls, 0, 67);
	TRY(eptp_controls, 6 | 2 << 3, 67);
	TRY(eptp_controls, 6 | 5 << 3, 67);
	TRY(eptp_controls, 6 | 3 << 3 | 1 << 6, 67);
	/* 52 bits of GPA need five levels */
	TRY(config_flags, 1, 67);
	TRY(tsc_frequency, 3, 70);
	TRY(tsc_frequency, 401, 70);
	TRY(cpuid_config[5], 1, 69);
	TRY(ia32_arch_capabilities_config, 1, 72);
	TRY(reserved1[0], 1, 2);
	TRY(reserved1[37], 1, 2);
	TRY(reserved0, 1, 2);
	TRY(reserved2[23], 1, 2);
	TRY(msr_config_ctls, 1, 2);
#undef TRY
	p = good;
	p.config_flags = 1;
	p.eptp_controls = 6 | 4 << 3;
	p.xfam = 3 | 1 << 2 | 7 << 5 | 3 << 11 | 3 << 17;
	life_write(&l, LIFE_PARAMS_PA, &p, sizeof(p));
	life_must(&l, 0, TDH_MNG_INIT, tdr, LIFE_PARAMS_PA, 0);
	life_expect(&l, 0, TDH_MNG_INIT, tdr, LIFE_PARAMS_PA, 0, TDX_OP_STATE_INCORRECT | 1);
	life_expect(&l, 0, TDH_MR_FINALIZE, tdr, 0, 0, TDX_NO_VCPUS);
	life_vcpu(&l, tdr, 6, 0);
	life_must(&l, 0, TDH_MR_FINALIZE, tdr, 0, 0);
	life_expect(&l, 0, TDH_MR_FINALIZE, tdr, 0, 0, TDX_OP_STATE_INCORRECT | 2);
	life_expect(&l, 0, TDH_VP_CREATE, FAR_PAGE, tdr, 0, TDX_OP_STATE_INCORRECT | 2);
	life_destroy(&l);
}

/* The way down has one order; KEY.FREEID waits for the write-back of every package. */
static void test_way_down(void **state)
{
	struct life l;
	hpa_t a, b;

	(void)state;
	life_create(&l, NULL, false);
	life_module_up(&l);
	life_expect(&l, 0, TDH_PHYMEM_CACHE_WB, 2, 0, 0, INVALID(RCX));
	life_expect(&l, 0, TDH_PHYMEM_CACHE_WB, 0, 0, 0, 0x0000082100000000ULL);
	life_expect(&l, 0, TDH_PHYMEM_CACHE_WB, 1, 0, 0, TDX_WBCACHE_RESUME_ERROR);
	a = life_td(&l, 33, LIFE_INITIALIZED);
	b = life_td(&l, 34, LIFE_CREATED);
	life_expect(&l, 0, TDH_MNG_KEY_FREEID, a, 0, 0, TDX_LIFECYCLE_STATE_INCORRECT);
	life_must(&l, 0, TDH_MNG_VPFLUSHDONE, a, 0, 0);
	life_expect(&l, 0, TDH_MNG_VPFLUSHDONE, a, 0, 0, TDX_LIFECYCLE_STATE_INCORRECT);
	life_expect(&l, 0, TDH_MEM_TRACK, a, 0, 0, TDX_TD_KEYS_NOT_CONFIGURED);
	life_expect(&l, 0, TDH_MNG_KEY_FREEID, a, 0, 0, TDX_WBCACHE_NOT_COMPLETE);
	life_must(&l, PKG1_LP, TDH_PHYMEM_CACHE_WB, 0, 0, 0);
	/* flushed after that: the other package's write-back covers both, the first's doesn't */
	life_must(&l, 0, TDH_MNG_VPFLUSHDONE, b, 0, 0);
	life_expect(&l, 0, TDH_MNG_KEY_FREEID, a, 0, 0, TDX_WBCACHE_NOT_COMPLETE);
	life_must(&l, PKG0_LP, TDH_PHYMEM_CACHE_WB, 0, 0, 0);
	life_must(&l, 0, TDH_MNG_KEY_FREEID, a, 0, 0);
	life_expect(&l, 0, TDH_MNG_KEY_FREEID, a, 0, 0, TDX_LIFECYCLE_STATE_INCORRECT);
	life_expect(&l, 0, TDH_MNG_KEY_FREEID, b, 0, 0, TDX_WBCACHE_NOT_COMPLETE);
	life_expect(&l, 0, TDH_PHYMEM_PAGE_RECLAIM, b, 0, 0, TDX_LIFECYCLE_STATE_INCORRECT);
	life_must(&l, 0, TDH_MNG_KEY_RECLAIMID, a, 0, 0);
	life_destroy(&l);
}

/* An interrupted write-back is resumed where it stopped, and gets on with every call. */
static void test_cache_wb_interrupted(void **state)
{
	struct life l;
	hpa_t tdr;
	unsigned int calls = 1;
	u64 status;

	(void)state;
	life_create(&l, NULL, false);
	life_module_up(&l);
	tdr = life_td(&l, 33, LIFE_CREATED);
	life_must(&l, 0, TDH_MNG_VPFLUSHDONE, tdr, 0, 0);
	life_must(&l, PKG1_LP, TDH_PHYMEM_CACHE_WB, 0, 0, 0);
	lp_interrupt(l.lp[0], LP_NMI);
	life_expect(&l, 0, TDH_PHYMEM_CACHE_WB, 0, 0, 0, TDX_INTERRUPTED_RESUMABLE);
	while ((status = life_call(&l, 0, TDH_PHYMEM_CACHE_WB, 1, 0, 0))) {
		assert_int_equal(status, TDX_INTERRUPTED_RESUMABLE);
		life_expect(&l, 0, TDH_MNG_KEY_FREEID, tdr, 0, 0, TDX_WBCACHE_NOT_COMPLETE);
		assert_true(++calls < 1000);
	}
	life_expect(&l, 0, TDH_PHYMEM_CACHE_WB, 1, 0, 0, TDX_WBCACHE_RESUME_ERROR);
	life_must(&l, 0, TDH_MNG_KEY_FREEID, tdr, 0, 0);
	life_destroy(&l);
}

/* RECLAIM tells type, owner and size of a page that it refuses, once it knows them. */
static void test_reclaim_failures(void **state)
{
	struct life l;
	hpa_t tdr;

	(void)state;
	life_create(&l, NULL, false);
	life_module_up(&l);
	check_page_operand(&l, TDH_PHYMEM_PAGE_RECLAIM, true, 7, 1);
	assert_int_equal(l.r.rcx | l.r.rdx | l.r.r8, 0);
	life_expect(&l, 0, TDH_PHYMEM_PAGE_RECLAIM, FAR_PAGE, 7, 7, METADATA(RCX));
	assert_int_equal(l.r.rcx | l.r.rdx | l.r.r8, 0);
	tdr = life_td(&l, 33, LIFE_INITIALIZED);
	life_must(&l, 0, TDH_MEM_SEPT_ADD, 3, tdr, life_page(&l));
	life_must(&l, 0, TDH_MEM_SEPT_ADD, 2, tdr, life_page(&l));
	life_must(&l, 0, TDH_MEM_PAGE_AUG, 1, tdr, 0x60000000);
	life_expect(&l, 0, TDH_PHYMEM_PAGE_RECLAIM, 0x60001000, 0, 0, INVALID(RCX));
	assert_int_equal(l.r.rcx, PT_REG);
	assert_int_equal(l.r.rdx, tdr);
	assert_int_equal(l.r.r8, 1);
	life_expect(&l, 0, TDH_PHYMEM_PAGE_RECLAIM, 0x60000000, 0, 0,
		    TDX_LIFECYCLE_STATE_INCORRECT);
	life_expect(&l, 0, TDH_PHYMEM_PAGE_RECLAIM, tdr + SIZE_4K, 0, 0,
		    TDX_LIFECYCLE_STATE_INCORRECT);
	assert_int_equal(l.r.rcx, PT_TDCX);
	life_destroy(&l);
}

/* WBINVD takes the key id in its operand, and flushes free pages only. */
static void test_wbinvd_failures(void **state)
{
	struct life l;
	hpa_t tdr;

	(void)state;
	life_create(&l, NULL, true);
	life_module_up(&l);
	tdr = life_td(&l, 33, LIFE_CREATED);
	life_expect(&l, 0, TDH_PHYMEM_PAGE_WBINVD, FAR_PAGE + 8, 0, 0, INVALID(RCX));
	life_expect(&l, 0, TDH_PHYMEM_PAGE_WBINVD, 1ULL << 52, 0, 0, INVALID(RCX));
	life_expect(&l, 0, TDH_PHYMEM_PAGE_WBINVD, 0x1000, 0, 0, RANGE(RCX));
	life_expect(&l, 0, TDH_PHYMEM_PAGE_WBINVD, tdr, 0, 0, METADATA(RCX));
	/* a page of a PAMT pair is PT_NDA, and yet the module's */
	life_expect(&l, 0, TDH_PHYMEM_PAGE_WBINVD, PAIR_BASE, 0, 0, METADATA(RCX));
	life_must(&l, 0, TDH_PHYMEM_PAGE_WBINVD, FAR_PAGE | 33ULL << 46, 0, 0);
	life_destroy(&l);
}

/* MNG.RD finds fields by class and code, and keeps what isn't the host's to see. */
static void test_mng_rd(void **state)
{
	struct life l;
	hpa_t tdr;

	(void)state;
	life_create(&l, NULL, false);
	life_module_up(&l);
	tdr = life_td(&l, 33, LIFE_INITIALIZED);
	life_must(&l, 0, TDH_MNG_RD, tdr, 0x1110000300000000ULL, 0);
	assert_int_equal(l.r.r8, 0);
	life_must(&l, 0, TDH_MNG_RD, tdr, 0x1110000300000001ULL, 0);
	assert_int_equal(l.r.r8, 3);
	life_must(&l, 0, TDH_MNG_RD, tdr, 0x1100000000000002ULL, 0);
	assert_int_equal(l.r.r8, 2);
	life_expect(&l, 0, TDH_MNG_RD, tdr, 0x9200000000000000ULL, 0, 0xC0000C0200000000ULL);
	life_expect(&l, 0, TDH_MNG_RD, tdr, 0x1234, 0, TDX_METADATA_FIELD_ID_INCORRECT);
	life_expect(&l, 0, TDH_MNG_RD | 2 << 16, tdr, 0, 0, INVALID(RAX));
	life_expect(&l, 0, TDH_MNG_WR, tdr, 0x1110000300000000ULL, 1, 0xC0000C0100000000ULL);
	/* version 1 walks the fields */
	life_expect(&l, 0, TDH_MNG_RD | 1 << 16, tdr, UINT64_MAX, 0,
		    TDX_METADATA_FIRST_FIELD_ID_IN_CONTEXT);
	for (unsigned int n = 0; l.r.rdx != UINT64_MAX; n++) {
		assert_true(n < 100);
		life_must(&l, 0, TDH_MNG_RD | 1 << 16, tdr, l.r.rdx, 0);
	}
	life_destroy(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole_life),
		cmocka_unit_test(test_mng_create),
		cmocka_unit_test(test_mng_key_config),
		cmocka_unit_test(test_mng_addcx),
		cmocka_unit_test(test_mng_init),
		cmocka_unit_test(test_way_down),
		cmocka_unit_test(test_cache_wb_interrupted),
		cmocka_unit_test(test_reclaim_failures),
		cmocka_unit_test(test_wbinvd_failures),
		cmocka_unit_test(test_mng_rd),
	};

	return cmocka_run_group_tests_name("seam_life_td", tests, NULL, NULL);
}
