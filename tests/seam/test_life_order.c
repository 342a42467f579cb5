/* SPDX-License-Identifier: MIT */
/*
 * The order of checks of the life cycle's leaves: the TDR or TDVPR operand and its locks, the TD's
 * state, and the locks that have no page. Later checks are wrong as well wherever they can be.
 */
#include "life.h"
#include "seam/pamt.h"

/* Free, in the TDMR, never used. */
#define FAR_PAGE 0x9FFFF000ULL
#define ELSEWHERE 0xC0000000ULL

static u16 *pamt_word(const struct life *l, hpa_t hpa)
{
	struct pamt_ref ref;

	assert_true(pamt_find(l->seam, hpa, 0, &ref));
	return &ref.entry->lock;
}

static struct tdr *tdr_at(const struct life *l, hpa_t tdr)
{
	return host_ptr(l->host, tdr);
}

static struct tdcs *tdcs_of(const struct life *l, hpa_t tdr)
{
	return host_ptr(l->host, tdr_at(l, tdr)->tdcx_pa[0]);
}

struct row {
	unsigned int leaf;
	bool in_rdx;	    /* where the page is */
	bool exclusive;	    /* how it is locked */
	bool state;	    /* all of the TD's state is looked at, ... */
	bool op_state_lock; /* ... under the lock on its op_state */
	unsigned int op_states;
};

#define S(n) (1u << (n))
#define ONE_TO_10 0x7FEu

/* Leaves that are given a TDR. */
static const struct row tdr_rows[] = {
	{TDH_MNG_ADDCX, true, true, false, false, 0},
	{TDH_MNG_KEY_CONFIG, false, true, false, false, 0},
	{TDH_MNG_INIT, false, true, true, false, S(0)},
	{TDH_MNG_VPFLUSHDONE, false, true, false, false, 0},
	{TDH_MNG_KEY_FREEID, false, true, false, false, 0},
	{TDH_MNG_RD, false, false, true, true, ONE_TO_10},
	{TDH_MNG_WR, false, false, true, true, ONE_TO_10},
	{TDH_VP_CREATE, true, false, true, true, S(1) | S(7)},
};

/* Leaves that are given a TDVPR. */
static const struct row tdvpr_rows[] = {
	{TDH_VP_ADDCX, true, true, true, true, S(1) | S(7)},
	{TDH_VP_INIT, false, true, true, true, S(1)},
	{TDH_VP_FLUSH, false, true, false, false, 0},
	{TDH_VP_RD, false, false, true, true, ONE_TO_10},
	{TDH_VP_WR, false, false, true, true, ONE_TO_10},
	{TDH_VP_ENTER, false, false, true, true, S(2) | S(3) | S(9)},
};

/* The leaf on @page, with a bad page or field in the other register. */
static u64 on_page(struct life *l, const struct row *row, u64 page)
{
	return life_call(l, 0, row->leaf, row->in_rdx ? 0x123 : page, row->in_rdx ? page : 0x123,
			 0x123);
}

static void check_operand(struct life *l, const struct row *row)
{
	static const u64 wrong_format[] = {FAR_PAGE | 8, FAR_PAGE | 33ULL << 46,
					   FAR_PAGE | 1ULL << 55, UINT64_MAX};
	unsigned int op = row->in_rdx ? 2 : 1;
	u16 *lock = pamt_word(l, FAR_PAGE);

	for (unsigned int i = 0; i < ARRAY_SIZE(wrong_format); i++)
		assert_int_equal(on_page(l, row, wrong_format[i]), TDX_OPERAND_INVALID | op);
	assert_int_equal(on_page(l, row, ELSEWHERE), TDX_OPERAND_ADDR_RANGE_ERROR | op);
	*lock = LOCK_WORD_EXCLUSIVE;
	assert_int_equal(on_page(l, row, FAR_PAGE), TDX_OPERAND_BUSY | op);
	*lock = LOCK_WORD_READER;
	assert_int_equal(on_page(l, row, FAR_PAGE),
			 (row->exclusive ? TDX_OPERAND_BUSY : TDX_PAGE_METADATA_INCORRECT) | op);
	*lock = 0;
	assert_int_equal(on_page(l, row, FAR_PAGE), TDX_PAGE_METADATA_INCORRECT | op);
}

/* Format, place, lock and type of the TDR or TDVPR that a leaf is given. */
static void test_page_operand(void **state)
{
	struct life l;

	(void)state;
	life_create(&l, NULL, false);
	life_module_up(&l);
	for (unsigned int i = 0; i < ARRAY_SIZE(tdr_rows); i++)
		check_operand(&l, &tdr_rows[i]);
	for (unsigned int i = 0; i < ARRAY_SIZE(tdvpr_rows); i++)
		check_operand(&l, &tdvpr_rows[i]);
	life_destroy(&l);
}

static void expect_td_state(struct life *l, const struct row *row, hpa_t tdr, hpa_t page)
{
	struct tdcs *tdcs = tdcs_of(l, tdr);

	tdcs->op_state = OP_STATE_COUNT;
	tdcs->op_state_lock = LOCK_WORD_EXCLUSIVE;
	tdr_at(l, tdr)->num_tdcx = 5;
	tdr_at(l, tdr)->lifecycle = TD_BLOCKED;
	tdr_at(l, tdr)->fatal = 1;
	assert_int_equal(on_page(l, row, page), TDX_TD_FATAL);
	tdr_at(l, tdr)->fatal = 0;
	assert_int_equal(on_page(l, row, page), TDX_TD_KEYS_NOT_CONFIGURED);
	tdr_at(l, tdr)->lifecycle = TD_KEYS_CONFIGURED;
	assert_int_equal(on_page(l, row, page), TDX_TDCS_NOT_ALLOCATED);
	tdr_at(l, tdr)->num_tdcx = 6;
	if (row->op_state_lock)
		assert_int_equal(on_page(l, row, page), TDX_OPERAND_BUSY | 172);
	tdcs->op_state_lock = 0;
	for (u32 op = 0; op < OP_STATE_COUNT; op++) {
		tdcs->op_state = op;
		if (!(row->op_states >> op & 1))
			assert_int_equal(on_page(l, row, page), TDX_OP_STATE_INCORRECT | op);
		else if (row->leaf != TDH_VP_INIT && row->leaf != TDH_VP_ENTER)
			assert_int_not_equal(tdx_status_class(on_page(l, row, page)),
					     TDX_OP_STATE_INCORRECT);
	}
	tdcs->op_state = OP_INITIALIZED;
}

/* The TD: fatal, keys, pages, the lock on op_state, op_state; a vCPU's after the TDR's own lock. */
static void test_td_state(void **state)
{
	struct life l;
	hpa_t tdr, tdvpr;
	u16 *lock;

	(void)state;
	life_create(&l, NULL, false);
	life_module_up(&l);
	tdr = life_td(&l, 33, LIFE_INITIALIZED);
	tdvpr = life_vcpu(&l, tdr, 6, -1);
	for (unsigned int i = 0; i < ARRAY_SIZE(tdr_rows); i++) {
		if (tdr_rows[i].state)
			expect_td_state(&l, &tdr_rows[i], tdr, tdr);
	}
	lock = pamt_word(&l, tdr);
	for (unsigned int i = 0; i < ARRAY_SIZE(tdvpr_rows); i++) {
		*lock = LOCK_WORD_EXCLUSIVE;
		assert_int_equal(on_page(&l, &tdvpr_rows[i], tdvpr), TDX_OPERAND_BUSY | 128);
		*lock = 0;
		if (tdvpr_rows[i].state)
			expect_td_state(&l, &tdvpr_rows[i], tdr, tdvpr);
	}
	/* version 1 of VP.INIT wants the TD for itself */
	*lock = LOCK_WORD_READER;
	life_expect(&l, 0, TDH_VP_INIT | 1 << 16, tdvpr, 0, 0, TDX_OPERAND_BUSY | 128);
	*lock = 0;
	life_destroy(&l);
}

/* VP.FLUSH doesn't look at fatal or op_state: keys, pages, the vCPU's pages, its LP. */
static void test_vp_flush(void **state)
{
	struct life l;
	hpa_t tdr, half, fresh;

	(void)state;
	life_create(&l, NULL, false);
	life_module_up(&l);
	tdr = life_td(&l, 33, LIFE_INITIALIZED);
	half = life_vcpu(&l, tdr, 5, -1);
	fresh = life_vcpu(&l, tdr, 6, -1);
	tdr_at(&l, tdr)->fatal = 1;
	tdcs_of(&l, tdr)->op_state = OP_UNINITIALIZED;
	tdr_at(&l, tdr)->lifecycle = TD_HKID_ASSIGNED;
	life_expect(&l, 0, TDH_VP_FLUSH, half, 0, 0, TDX_TD_KEYS_NOT_CONFIGURED);
	tdr_at(&l, tdr)->lifecycle = TD_KEYS_CONFIGURED;
	life_expect(&l, 0, TDH_VP_FLUSH, half, 0, 0, TDX_TDCX_NUM_INCORRECT);
	life_expect(&l, 0, TDH_VP_FLUSH, fresh, 0, 0, TDX_VCPU_NOT_ASSOCIATED);
	life_destroy(&l);
}

/* KEY.CONFIG: fatal, lifecycle, this package's turn is over, another TD's key is being written. */
static void test_key_config(void **state)
{
	struct life l;
	struct tdr *t;
	hpa_t tdr;

	(void)state;
	life_create(&l, NULL, false);
	life_module_up(&l);
	tdr = life_td(&l, 33, LIFE_CREATED);
	t = tdr_at(&l, tdr);
	t->fatal = 1;
	t->lifecycle = TD_TEARDOWN;
	t->packages_configured = 1;
	l.seam->package[0].ket_mutex = 1;
	life_expect(&l, 0, TDH_MNG_KEY_CONFIG, tdr, 0, 0, TDX_TD_FATAL);
	t->fatal = 0;
	life_expect(&l, 0, TDH_MNG_KEY_CONFIG, tdr, 0, 0, TDX_LIFECYCLE_STATE_INCORRECT);
	t->lifecycle = TD_HKID_ASSIGNED;
	life_expect(&l, 0, TDH_MNG_KEY_CONFIG, tdr, 0, 0, TDX_KEY_CONFIGURED);
	t->packages_configured = 0;
	life_expect(&l, 0, TDH_MNG_KEY_CONFIG, tdr, 0, 0, TDX_OPERAND_BUSY | 187);
	l.seam->package[0].ket_mutex = 0;
	life_must(&l, 0, TDH_MNG_KEY_CONFIG, tdr, 0, 0);
	life_destroy(&l);
}

/* ADDCX: fatal, keys, nine pages, the page, and only then the op_state. */
static void test_addcx(void **state)
{
	struct life l;
	struct tdr *t;
	hpa_t tdr;

	(void)state;
	life_create(&l, NULL, false);
	life_module_up(&l);
	tdr = life_td(&l, 33, LIFE_INITIALIZED);
	t = tdr_at(&l, tdr);
	t->fatal = 1;
	t->lifecycle = TD_BLOCKED;
	t->num_tdcx = 9;
	life_expect(&l, 0, TDH_MNG_ADDCX, 0x123, tdr, 0, TDX_TD_FATAL);
	t->fatal = 0;
	life_expect(&l, 0, TDH_MNG_ADDCX, 0x123, tdr, 0, TDX_TD_KEYS_NOT_CONFIGURED);
	t->lifecycle = TD_KEYS_CONFIGURED;
	life_expect(&l, 0, TDH_MNG_ADDCX, 0x123, tdr, 0, TDX_TDCX_NUM_INCORRECT);
	t->num_tdcx = 6;
	life_expect(&l, 0, TDH_MNG_ADDCX, 0x123, tdr, 0, TDX_OPERAND_INVALID | 1);
	life_expect(&l, 0, TDH_MNG_ADDCX, tdr, tdr, 0, TDX_OPERAND_BUSY | 1);
	life_expect(&l, 0, TDH_MNG_ADDCX, FAR_PAGE, tdr, 0, TDX_OP_STATE_INCORRECT | 1);
	life_destroy(&l);
}

/* The key-id table: VPFLUSHDONE asks for it before it looks at the TD, KEY.FREEID after. */
static void test_kot(void **state)
{
	struct life l;
	hpa_t tdr;

	(void)state;
	life_create(&l, NULL, false);
	life_module_up(&l);
	tdr = life_td(&l, 33, LIFE_INITIALIZED);
	l.seam->kot_lock = LOCK_WORD_EXCLUSIVE;
	life_expect(&l, 0, TDH_MNG_KEY_FREEID, tdr, 0, 0, TDX_LIFECYCLE_STATE_INCORRECT);
	tdr_at(&l, tdr)->lifecycle = TD_TEARDOWN;
	life_expect(&l, 0, TDH_MNG_VPFLUSHDONE, tdr, 0, 0, TDX_OPERAND_BUSY | 186);
	tdr_at(&l, tdr)->lifecycle = TD_KEYS_CONFIGURED;
	l.seam->kot_lock = 0;
	life_must(&l, 0, TDH_MNG_VPFLUSHDONE, tdr, 0, 0);
	l.seam->kot_lock = LOCK_WORD_EXCLUSIVE;
	life_expect(&l, 0, TDH_MNG_KEY_FREEID, tdr, 0, 0, TDX_OPERAND_BUSY | 186);
	l.seam->kot_lock = 0;
	life_expect(&l, 0, TDH_MNG_KEY_FREEID, tdr, 0, 0, TDX_WBCACHE_NOT_COMPLETE);
	life_destroy(&l);
}

/* CACHE.WB: the command, the package, the key-id table, and what there is to do. */
static void test_cache_wb(void **state)
{
	struct life l;

	(void)state;
	life_create(&l, NULL, false);
	life_module_up(&l);
	l.seam->package[0].wbcache_mutex = 1;
	l.seam->kot_lock = LOCK_WORD_EXCLUSIVE;
	life_expect(&l, 0, TDH_PHYMEM_CACHE_WB, 2, 0, 0, TDX_OPERAND_INVALID | 1);
	life_expect(&l, 0, TDH_PHYMEM_CACHE_WB, 1, 0, 0, TDX_OPERAND_BUSY | 188);
	/* the other package has its own */
	life_expect(&l, PKG1_LP, TDH_PHYMEM_CACHE_WB, 1, 0, 0, TDX_OPERAND_BUSY | 186);
	l.seam->package[0].wbcache_mutex = 0;
	l.seam->kot_lock = LOCK_WORD_READER;
	life_expect(&l, 0, TDH_PHYMEM_CACHE_WB, 1, 0, 0, TDX_WBCACHE_RESUME_ERROR);
	life_expect(&l, 0, TDH_PHYMEM_CACHE_WB, 0, 0, 0, TDX_NO_HKID_READY_TO_WBCACHE);
	l.seam->kot_lock = 0;
	life_destroy(&l);
}

/* SYS leaves: TDMR.INIT's base, its mutex, its end; UPDATE has nothing to take over. */
static void test_sys(void **state)
{
	struct life l;

	(void)state;
	life_create(&l, NULL, false);
	life_expect(&l, 0, TDH_SYS_UPDATE, 0, 0, 0, TDX_SYS_STATE_INCORRECT);
	life_expect(&l, 0, TDH_SYS_UPDATE | 2 << 16, 0, 0, 0, TDX_OPERAND_INVALID);
	life_module_up(&l);
	l.seam->tdmr[0].init_mutex = 1;
	life_expect(&l, 0, TDH_SYS_TDMR_INIT, TDMR_BASE + SIZE_1G, 0, 0, TDX_OPERAND_INVALID | 1);
	life_expect(&l, 0, TDH_SYS_TDMR_INIT, TDMR_BASE, 0, 0, TDX_OPERAND_BUSY | 1);
	l.seam->tdmr[0].init_mutex = 0;
	life_expect(&l, 0, TDH_SYS_TDMR_INIT, TDMR_BASE, 0, 0, TDX_TDMR_ALREADY_INITIALIZED);
	life_destroy(&l);
}

/* What each version enumerates in TDX_FEATURES0; Dynamic PAMT can be chosen where it says so. */
static void test_features_by_profile(void **state)
{
	static const struct {
		const char *profile;
		bool host_priority, dynamic_pamt, enhanced_demote;
	} rows[] = {
		{"1.5.05", false, false, false},
		{"1.5.25", true, true, false},
		{"1.5.28", true, true, true},
		{"next", true, true, true},
	};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		struct tdmr_info info = life_tdmr_info(rows[i].dynamic_pamt);
		struct life l;

		life_create(&l, rows[i].profile, rows[i].dynamic_pamt);
		life_must(&l, 0, TDH_SYS_RD, 0, 0x0A00000300000008ULL, 0);
		assert_int_equal(l.r.r8 >> 4 & 1, 1);
		assert_int_equal(l.r.r8 >> 18 & 1, 1);
		assert_int_equal(l.r.r8 >> 10 & 1, rows[i].host_priority);
		assert_int_equal(l.r.r8 >> 36 & 1, rows[i].dynamic_pamt);
		assert_int_equal(l.r.r8 >> 51 & 1, rows[i].enhanced_demote);
		/* nothing that isn't there: no migration, no partitioning, no PAGE.RELEASE */
		assert_int_equal(l.r.r8 & (1ULL << 0 | 1ULL << 7 | 1ULL << 38 | 1ULL << 41), 0);
		life_must(&l, 0, TDH_SYS_INIT, 0, 0, 0);
		for (unsigned int lp = 0; lp < FIXTURE_LPS; lp++)
			life_must(&l, lp, TDH_SYS_LP_INIT, 0, 0, 0);
		life_offer_tdmrs(&l, &info, 1);
		life_expect(&l, 0, TDH_SYS_CONFIG, LIFE_LIST_PA, 1, GLOBAL_HKID | 1 << 16,
			    rows[i].dynamic_pamt ? TDX_SUCCESS : TDX_OPERAND_INVALID | 8);
		life_destroy(&l);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_page_operand),
		cmocka_unit_test(test_td_state),
		cmocka_unit_test(test_vp_flush),
		cmocka_unit_test(test_key_config),
		cmocka_unit_test(test_addcx),
		cmocka_unit_test(test_kot),
		cmocka_unit_test(test_cache_wb),
		cmocka_unit_test(test_sys),
		cmocka_unit_test(test_features_by_profile),
	};

	return cmocka_run_group_tests_name("seam_life_order", tests, NULL, NULL);
}
