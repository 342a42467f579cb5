/* SPDX-License-Identifier: MIT */
/* A vCPU's life: VP.CREATE, ADDCX, INIT, FLUSH, association, VP.ENTER's checks, VP.RD and VP.WR. */
#include "life.h"

#define INVALID(op) (TDX_OPERAND_INVALID | TDX_OPERAND_##op)
#define METADATA(op) (TDX_PAGE_METADATA_INCORRECT | TDX_OPERAND_##op)
#define BUSY(op) (TDX_OPERAND_BUSY | TDX_OPERAND_##op)

#define FAR_PAGE 0x9FFFF000ULL
#define SHARED_EPT_POINTER 0x203CULL

static void leave_at_once(struct lp *lp, void *guest)
{
	(void)guest;
	lp->exit.kind = LP_EXIT_INTERRUPT;
}

static const struct guest_ops idle_guest = {.run = leave_at_once};

static u64 enter(struct life *l, unsigned int lp, hpa_t tdvpr)
{
	return life_enter(l, lp, tdvpr, &idle_guest, NULL);
}

/* VP.CREATE looks at the TD before the page; VP.ADDCX at the vCPU, the TD, the vCPU's state. */
static void test_create_and_addcx(void **state)
{
	struct life l;
	hpa_t young, tdr, tdvpr;

	(void)state;
	life_create(&l, NULL, false);
	life_module_up(&l);
	young = life_td(&l, 33, LIFE_TDCX);
	tdr = life_td(&l, 34, LIFE_INITIALIZED);
	life_expect(&l, 0, TDH_VP_CREATE, 1, FAR_PAGE, 0, METADATA(RDX));
	life_expect(&l, 0, TDH_VP_CREATE, 1, young, 0, TDX_OP_STATE_INCORRECT);
	life_expect(&l, 0, TDH_VP_CREATE, 1, tdr, 0, INVALID(RCX));
	life_expect(&l, 0, TDH_VP_CREATE, young, tdr, 0, METADATA(RCX));
	life_expect(&l, 0, TDH_VP_CREATE, tdr, tdr, 0, BUSY(RCX));
	tdvpr = life_vcpu(&l, tdr, 1, -1);

	life_expect(&l, 0, TDH_VP_ADDCX, 1, FAR_PAGE, 0, METADATA(RDX));
	life_expect(&l, 0, TDH_VP_ADDCX, 1, tdvpr, 0, INVALID(RCX));
	life_expect(&l, 0, TDH_VP_ADDCX, tdvpr, tdvpr, 0, BUSY(RCX));
	for (unsigned int i = 1; i < 15; i++)
		life_must(&l, 0, TDH_VP_ADDCX, life_page(&l), tdvpr, 0);
	/* the number before the page */
	life_expect(&l, 0, TDH_VP_ADDCX, 1, tdvpr, 0, TDX_TDCX_NUM_INCORRECT);
	life_must(&l, 0, TDH_VP_INIT, tdvpr, 0, 0);
	life_expect(&l, 0, TDH_VP_ADDCX, 1, tdvpr, 0, TDX_VCPU_STATE_INCORRECT | 2);
	life_must(&l, 0, TDH_MR_FINALIZE, tdr, 0, 0);
	life_expect(&l, 0, TDH_VP_ADDCX, 1, tdvpr, 0, TDX_OP_STATE_INCORRECT | 2);
	life_destroy(&l);
}

/* VP.INIT: version, page, pages, state, count, x2APIC id; version 1 wants the TD for itself. */
static void test_init(void **state)
{
	struct life l;
	hpa_t tdr, a, b, c;

	(void)state;
	life_create(&l, NULL, false);
	life_module_up(&l);
	tdr = life_td(&l, 33, LIFE_INITIALIZED);
	a = life_vcpu(&l, tdr, 5, -1);
	b = life_vcpu(&l, tdr, 6, -1);
	c = life_vcpu(&l, tdr, 6, -1);
	life_expect(&l, 0, TDH_VP_INIT | 2 << 16, a, 0, 0, INVALID(RAX));
	life_expect(&l, 0, TDH_VP_INIT, FAR_PAGE, 0, 0, METADATA(RCX));
	life_expect(&l, 0, TDH_VP_INIT, a, 0, 0, TDX_TDCX_NUM_INCORRECT);
	life_must(&l, 0, TDH_VP_ADDCX, life_page(&l), a, 0);
	life_must(&l, 0, TDH_VP_INIT | 1 << 16, a, 0, 7);
	life_expect(&l, 0, TDH_VP_INIT | 1 << 16, a, 0, 7, TDX_VCPU_STATE_INCORRECT | 2);
	life_expect(&l, 0, TDH_VP_INIT | 1 << 16, b, 0, 7, TDX_X2APIC_ID_NOT_UNIQUE);
	life_must(&l, 0, TDH_VP_INIT | 1 << 16, b, 0, 8);
	/* two are the most that this TD may have; that is said before the id is looked at */
	life_expect(&l, 0, TDH_VP_INIT | 1 << 16, c, 0, 7, TDX_MAX_VCPUS_EXCEEDED);
	life_expect(&l, 0, TDH_VP_INIT, c, 0, 0, TDX_MAX_VCPUS_EXCEEDED);
	life_destroy(&l);
}

/* VP.ENTER's checks, each hidden by the one before. */
static void test_enter_checks(void **state)
{
	struct life l;
	hpa_t tdr, half, fresh, v;

	(void)state;
	life_create(&l, NULL, false);
	life_module_up(&l);
	tdr = life_td(&l, 33, LIFE_INITIALIZED);
	v = life_vcpu(&l, tdr, 6, 1);
	half = life_vcpu(&l, tdr, 5, -1);
	fresh = life_vcpu(&l, tdr, 6, -1);
	assert_int_equal(enter(&l, 0, FAR_PAGE | 1), INVALID(RCX));
	assert_int_equal(enter(&l, 0, v | 1ULL << 54), INVALID(RCX));
	assert_int_equal(enter(&l, 0, v | 33ULL << 46), INVALID(RCX));
	assert_int_equal(enter(&l, 0, 0x1000), TDX_OPERAND_ADDR_RANGE_ERROR | 1);
	assert_int_equal(enter(&l, 0, FAR_PAGE), METADATA(RCX));
	assert_int_equal(enter(&l, 0, tdr), METADATA(RCX));
	/* the TD's state before the vCPU's */
	assert_int_equal(enter(&l, 0, half), TDX_OP_STATE_INCORRECT | 1);
	life_must(&l, 0, TDH_MR_FINALIZE, tdr, 0, 0);
	assert_int_equal(enter(&l, 0, half), TDX_TDCX_NUM_INCORRECT);
	assert_int_equal(enter(&l, 0, fresh), TDX_VCPU_STATE_INCORRECT);
	assert_int_equal(enter(&l, 0, v), TDX_VCPU_ASSOCIATED);
	/* bit 52 is a hint, bit 53 speaks of L2 */
	assert_int_equal(enter(&l, 1, v | 3ULL << 52), TDX_EXIT_EXTERNAL_INTERRUPT);
	life_must(&l, 1, TDH_VP_FLUSH, v, 0, 0);
	life_must(&l, 0, TDH_MNG_VPFLUSHDONE, tdr, 0, 0);
	assert_int_equal(enter(&l, 1, v), TDX_TD_KEYS_NOT_CONFIGURED);
	life_destroy(&l);
}

/*
 * A vCPU is tied to the LP of VP.INIT until VP.FLUSH there; then the next to enter has it. VPFLUSHDONE
 * waits for all of them.
 */
static void test_association(void **state)
{
	struct life l;
	hpa_t tdr, v, w;

	(void)state;
	life_create(&l, NULL, false);
	life_module_up(&l);
	tdr = life_td(&l, 33, LIFE_INITIALIZED);
	v = life_vcpu(&l, tdr, 6, 1);
	w = life_vcpu(&l, tdr, 6, 2);
	life_must(&l, 0, TDH_MR_FINALIZE, tdr, 0, 0);
	life_expect(&l, 0, TDH_VP_FLUSH, v, 0, 0, 0x8000070200000000ULL);
	assert_int_equal(enter(&l, 2, v), 0x8000070100000000ULL);
	assert_int_equal(enter(&l, 1, v), TDX_EXIT_EXTERNAL_INTERRUPT);
	life_must(&l, 1, TDH_VP_FLUSH, v, 0, 0);
	life_expect(&l, 1, TDH_VP_FLUSH, v, 0, 0, TDX_VCPU_NOT_ASSOCIATED);
	assert_int_equal(enter(&l, 3, v), TDX_EXIT_EXTERNAL_INTERRUPT);
	assert_int_equal(enter(&l, 1, v), TDX_VCPU_ASSOCIATED);
	life_expect(&l, 0, TDH_MNG_VPFLUSHDONE, tdr, 0, 0, 0x8000082400000000ULL);
	life_must(&l, 3, TDH_VP_FLUSH, v, 0, 0);
	/* VP.RD and VP.WR associate too */
	life_must(&l, 0, TDH_VP_RD, v, SHARED_EPT_POINTER, 0);
	life_expect(&l, 1, TDH_VP_RD, v, SHARED_EPT_POINTER, 0, TDX_VCPU_ASSOCIATED);
	life_must(&l, 0, TDH_VP_FLUSH, v, 0, 0);
	life_expect(&l, 0, TDH_MNG_VPFLUSHDONE, tdr, 0, 0, TDX_FLUSHVP_NOT_DONE);
	life_must(&l, 2, TDH_VP_FLUSH, w, 0, 0);
	life_must(&l, 0, TDH_MNG_VPFLUSHDONE, tdr, 0, 0);
	life_expect(&l, 2, TDH_VP_FLUSH, w, 0, 0, TDX_TD_KEYS_NOT_CONFIGURED);
	life_destroy(&l);
}

/* The shared EPT pointer is the host's to set, under a mask, to a page of its own. */
static void test_rd_wr(void **state)
{
	struct life l;
	hpa_t tdr, v, fresh;

	(void)state;
	life_create(&l, NULL, false);
	life_module_up(&l);
	tdr = life_td(&l, 33, LIFE_INITIALIZED);
	fresh = life_vcpu(&l, tdr, 6, -1);
	v = life_vcpu(&l, tdr, 6, 0);
	life_expect(&l, 0, TDH_VP_RD, fresh, SHARED_EPT_POINTER, 0, TDX_VCPU_STATE_INCORRECT);
	l.r = (struct tdx_regs){.rax = TDH_VP_WR,
				.rcx = v,
				.rdx = SHARED_EPT_POINTER,
				.r8 = 0x123456789000,
				.r9 = UINT64_MAX};
	assert_int_equal(seamcall(l.lp[0], &l.r), TDX_METADATA_FIELD_VALUE_NOT_VALID);
	l.r = (struct tdx_regs){.rax = TDH_VP_WR,
				.rcx = v,
				.rdx = SHARED_EPT_POINTER,
				.r8 = 0x5000,
				.r9 = UINT64_MAX};
	assert_int_equal(seamcall(l.lp[0], &l.r), TDX_SUCCESS);
	assert_int_equal(l.r.r8, 0);
	l.r = (struct tdx_regs){
		.rax = TDH_VP_WR, .rcx = v, .rdx = SHARED_EPT_POINTER, .r8 = 0x2000, .r9 = 0x3000};
	assert_int_equal(seamcall(l.lp[0], &l.r), TDX_SUCCESS);
	assert_int_equal(l.r.r8, 0x5000);
	life_must(&l, 0, TDH_VP_RD, v, SHARED_EPT_POINTER, 0);
	assert_int_equal(l.r.r8, 0x6000);
	life_expect(&l, 0, TDH_VP_RD, v, 0x1234, 0, TDX_METADATA_FIELD_ID_INCORRECT);
	life_expect(&l, 0, TDH_VP_WR, v, 0xA000000000000002ULL, 0, 0xC0000C0100000000ULL);
	life_expect(&l, 0, TDH_VP_RD | 2 << 16, v, 0, 0, INVALID(RAX));
	life_destroy(&l);
}

#define VCPU_STATE 0xA000000000000000ULL
#define VCPU_INDEX 0xA000000000000002ULL
#define ASSOC_LPID 0xA000000000000004ULL
#define VCPU_EPOCH 0xA000000000000006ULL

static u64 vp_rd(struct life *l, unsigned int lp, hpa_t v, u64 field)
{
	life_must(l, lp, TDH_VP_RD, v, field, 0);
	return l->r.r8;
}

/* VP.RD tells a vCPU's state, index, LP and epoch; version 1 goes through the fields, each once. */
static void test_rd_fields(void **state)
{
	u64 seen[8], id;
	unsigned int n = 0;
	struct life l;
	hpa_t tdr, v;

	(void)state;
	life_create(&l, NULL, false);
	life_module_up(&l);
	tdr = life_td(&l, 33, LIFE_INITIALIZED);
	life_vcpu(&l, tdr, 6, 0);
	v = life_vcpu(&l, tdr, 6, 2);
	life_must(&l, 0, TDH_MR_FINALIZE, tdr, 0, 0);
	assert_int_equal(vp_rd(&l, 2, v, VCPU_STATE), 2);
	assert_int_equal(vp_rd(&l, 2, v, VCPU_INDEX), 1);
	assert_int_equal(vp_rd(&l, 2, v, ASSOC_LPID), 2);
	/* of no epoch yet; the TD's first is 1 */
	assert_int_equal(vp_rd(&l, 2, v, VCPU_EPOCH), 0);
	assert_int_equal(enter(&l, 2, v), TDX_EXIT_EXTERNAL_INTERRUPT);
	assert_int_equal(vp_rd(&l, 2, v, VCPU_EPOCH), 1);

	life_expect(&l, 2, TDH_VP_RD | 1 << 16, v, UINT64_MAX, 0,
		    TDX_METADATA_FIRST_FIELD_ID_IN_CONTEXT);
	for (id = l.r.rdx; id != UINT64_MAX; id = l.r.rdx) {
		for (unsigned int i = 0; i < n; i++)
			assert_int_not_equal(seen[i], id);
		assert_true(n < ARRAY_SIZE(seen));
		seen[n++] = id;
		life_must(&l, 2, TDH_VP_RD | 1 << 16, v, id, 0);
	}
	assert_int_equal(n, 5);
	/* what is no field is followed by none */
	life_expect(&l, 2, TDH_VP_RD | 1 << 16, v, 0x1234, 0, TDX_METADATA_FIELD_ID_INCORRECT);
	assert_int_equal(l.r.rdx, UINT64_MAX);
	life_destroy(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_create_and_addcx),
		cmocka_unit_test(test_init),
		cmocka_unit_test(test_enter_checks),
		cmocka_unit_test(test_association),
		cmocka_unit_test(test_rd_wr),
		cmocka_unit_test(test_rd_fields),
	};

	return cmocka_run_group_tests_name("seam_life_vcpu", tests, NULL, NULL);
}
