/* SPDX-License-Identifier: MIT */
/* TDG.VM.RD and TDG.VM.WR: what a guest may read of its TD, and TD_CTLS. */
#include "life.h"

#define ATTRIBUTES 0x1110000300000000ULL
#define XFAM 0x1110000300000001ULL
#define CONFIG_FLAGS 0x1110000300000016ULL
#define TD_CTLS 0x1110000300000017ULL
#define TD_EPOCH 0x9200000000000000ULL
#define LOCK (1ULL << 63)

struct call {
	struct tdx_regs r;
};

static void run_call(struct lp *lp, void *guest)
{
	struct call *c = guest;

	assert_true(tdcall(lp, &c->r));
	lp->exit.kind = LP_EXIT_INTERRUPT;
}

static const struct guest_ops one_call = {.run = run_call};

struct td {
	struct life l;
	hpa_t tdr, tdvpr;
};

static void create(struct td *t, u64 attributes, u64 config_flags)
{
	struct td_params params = life_td_params();
	hpa_t tdr;

	life_create(&t->l, NULL, false);
	life_module_up(&t->l);
	tdr = life_td(&t->l, 33, LIFE_TDCX);
	params.attributes = attributes;
	params.config_flags = config_flags;
	life_write(&t->l, LIFE_PARAMS_PA, &params, sizeof(params));
	life_must(&t->l, 0, TDH_MNG_INIT, tdr, LIFE_PARAMS_PA, 0);
	t->tdr = tdr;
	t->tdvpr = life_vcpu(&t->l, tdr, 6, 0);
	life_must(&t->l, 0, TDH_MR_FINALIZE, tdr, 0, 0);
}

static struct tdx_regs guest(struct td *t, struct tdx_regs r)
{
	struct call c = {r};

	assert_int_equal(life_enter(&t->l, 0, t->tdvpr, &one_call, &c),
			 TDX_EXIT_EXTERNAL_INTERRUPT);
	return c.r;
}

static u64 read_field(struct td *t, u64 id)
{
	struct tdx_regs r = guest(t, (struct tdx_regs){.rax = TDG_VM_RD, .rdx = id});

	assert_int_equal(r.rax, TDX_SUCCESS);
	return r.r8;
}

static u64 write_field(struct td *t, u64 id, u64 value, u64 mask)
{
	return guest(t, (struct tdx_regs){.rax = TDG_VM_WR, .rdx = id, .r8 = value, .r9 = mask})
		.rax;
}

/* A guest reads what its TD was built with; the epoch isn't for it. */
static void test_vm_rd(void **state)
{
	struct tdx_regs r;
	struct td t;

	(void)state;
	create(&t, TD_ATTR_SEPT_VE_DISABLE, TD_CONFIG_FLEXIBLE_PENDING_VE);
	assert_int_equal(read_field(&t, ATTRIBUTES), 1ULL << 28);
	assert_int_equal(read_field(&t, XFAM), 3);
	assert_int_equal(read_field(&t, CONFIG_FLAGS), 2);
	assert_int_equal(read_field(&t, TD_CTLS), 1);
	r = guest(&t, (struct tdx_regs){.rax = TDG_VM_RD, .rdx = TD_EPOCH, .r8 = 5});
	assert_int_equal(r.rax, 0xC0000C0200000000ULL);
	assert_int_equal(r.r8, 0);
	r = guest(&t, (struct tdx_regs){.rax = TDG_VM_RD, .rdx = 0x1234});
	assert_int_equal(r.rax, TDX_METADATA_FIELD_ID_INCORRECT);
	r = guest(&t, (struct tdx_regs){.rax = TDG_VM_RD, .rcx = 1, .rdx = ATTRIBUTES});
	assert_int_equal(r.rax, TDX_OPERAND_INVALID | TDX_OPERAND_RCX);
	/* version 1 walks the fields */
	r = guest(&t, (struct tdx_regs){.rax = TDG_VM_RD | 1 << 16, .rdx = UINT64_MAX});
	assert_int_equal(r.rax, TDX_METADATA_FIRST_FIELD_ID_IN_CONTEXT);
	for (unsigned int n = 0; r.rdx != UINT64_MAX; n++) {
		assert_true(n < 100);
		r = guest(&t, (struct tdx_regs){.rax = TDG_VM_RD | 1 << 16, .rdx = r.rdx});
		assert_int_equal(r.rax, TDX_SUCCESS);
	}
	assert_int_equal(write_field(&t, ATTRIBUTES, 0, UINT64_MAX), 0xC0000C0100000000ULL);
	life_destroy(&t.l);
}

/* PENDING_VE_DISABLE changes only in a TD built for it, and never once TD_CTLS is locked. */
static void test_td_ctls(void **state)
{
	struct tdx_regs r;
	struct td t;

	(void)state;
	create(&t, TD_ATTR_SEPT_VE_DISABLE, 0);
	assert_int_equal(write_field(&t, TD_CTLS, 0, 1), 0xC0000C0300000000ULL);
	/* no change is no offence */
	assert_int_equal(write_field(&t, TD_CTLS, 1, 1), TDX_SUCCESS);
	assert_int_equal(write_field(&t, TD_CTLS, 0, 0), TDX_SUCCESS);
	assert_int_equal(read_field(&t, TD_CTLS), 1);
	life_destroy(&t.l);

	create(&t, 0, TD_CONFIG_FLEXIBLE_PENDING_VE);
	assert_int_equal(read_field(&t, TD_CTLS), 0);
	r = guest(&t, (struct tdx_regs){.rax = TDG_VM_WR, .rdx = TD_CTLS, .r8 = 1, .r9 = 1});
	assert_int_equal(r.rax, TDX_SUCCESS);
	assert_int_equal(r.r8, 0);
	assert_int_equal(read_field(&t, TD_CTLS), 1);
	assert_int_equal(write_field(&t, TD_CTLS, 1ULL << 20, 1ULL << 20),
			 TDX_METADATA_FIELD_VALUE_NOT_VALID);
	assert_int_equal(write_field(&t, TD_CTLS, LOCK, LOCK), TDX_SUCCESS);
	assert_int_equal(write_field(&t, TD_CTLS, 0, 1), TDX_METADATA_FIELD_VALUE_NOT_VALID);
	assert_int_equal(write_field(&t, TD_CTLS, 0, LOCK), TDX_METADATA_FIELD_VALUE_NOT_VALID);
	assert_int_equal(read_field(&t, TD_CTLS), LOCK | 1);
	life_destroy(&t.l);
}

#define EPTP 0x1100000000000004ULL
#define NOT_READABLE 0xC0000C0200000000ULL

/*
 * Where the S-EPT's root is, and the epoch, the host may read of a debug TD alone. The root is the
 * fourth page of the TDCS, and the pages were given right after the TDR.
 */
static void test_debug_fields(void **state)
{
	struct td t;

	(void)state;
	create(&t, TD_ATTR_DEBUG, 0);
	life_must(&t.l, 0, TDH_MNG_RD, t.tdr, EPTP, 0);
	assert_int_equal(t.l.r.r8, (t.tdr + 4 * SIZE_4K) | 6 | 3 << 3);
	life_must(&t.l, 0, TDH_MNG_RD, t.tdr, TD_EPOCH, 0);
	assert_int_equal(t.l.r.r8, 1);
	life_must(&t.l, 0, TDH_MEM_TRACK, t.tdr, 0, 0);
	life_must(&t.l, 0, TDH_MNG_RD, t.tdr, TD_EPOCH, 0);
	assert_int_equal(t.l.r.r8, 2);
	life_destroy(&t.l);

	create(&t, 0, 0);
	life_expect(&t.l, 0, TDH_MNG_RD, t.tdr, EPTP, 0, NOT_READABLE);
	life_expect(&t.l, 0, TDH_MNG_RD, t.tdr, TD_EPOCH, 0, NOT_READABLE);
	life_destroy(&t.l);
}

#define NO_RBP_MOD (1ULL << 2)
#define RBP 5

static void leave(struct lp *lp, void *arg)
{
	(void)arg;
	lp->exit.kind = LP_EXIT_INTERRUPT;
}

/*
 * In a TD with NO_RBP_MOD a TD exit leaves the host's RBP alone, which it clears otherwise, and no
 * VMCALL may hand RBP over.
 */
static void test_no_rbp_mod(void **state)
{
	static const struct guest_ops leaves = {.run = leave};
	struct tdx_regs r;
	struct td t;

	(void)state;
	for (u64 flags = 0; flags <= NO_RBP_MOD; flags += NO_RBP_MOD) {
		create(&t, 0, flags);
		t.l.lp[0]->guest_ops = &leaves;
		r = (struct tdx_regs){.rax = TDH_VP_ENTER, .rcx = t.tdvpr, .rbp = 0x1234};
		assert_int_equal(seamcall(t.l.lp[0], &r), TDX_EXIT_EXTERNAL_INTERRUPT);
		assert_int_equal(r.rbp, flags ? 0x1234 : 0);
		if (flags) {
			r = guest(&t, (struct tdx_regs){.rax = TDG_VP_VMCALL, .rcx = 1ULL << RBP});
			assert_int_equal(r.rax, TDX_OPERAND_INVALID | TDX_OPERAND_RCX);
		}
		life_destroy(&t.l);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vm_rd),
		cmocka_unit_test(test_td_ctls),
		cmocka_unit_test(test_debug_fields),
		cmocka_unit_test(test_no_rbp_mod),
	};

	return cmocka_run_group_tests_name("seam_life_guest_md", tests, NULL, NULL);
}
