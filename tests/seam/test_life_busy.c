/* SPDX-License-Identifier: MIT */
/*
 * Real threads whose leaves collide on one lock: one of them is BUSY, neither waits, and the lock
 * comes out whole. A pair of lock modes a test; a call repeats until it has met the other, so what a
 * run needs is bounded by how the two threads happen to overlap.
 */
#include "life.h"

/* So many calls without meeting the other thread would mean that BUSY never comes. */
#define MAX_CALLS 200000000ULL

struct caller {
	struct life *l;
	struct lp *lp;
	struct tdx_regs r;
	u64 allowed, busy; /* the statuses that may come */
	u64 also;	   /* another that may: counts as neither */
	bool expects_busy;
	u32 *done; /* set by the first that is satisfied */
	u64 nr_allowed, nr_busy, nr_other;
	struct sync_thread thread;
};

static bool is_satisfied(const struct caller *c)
{
	return c->expects_busy ? c->nr_busy && c->nr_allowed : c->nr_allowed >= 20000;
}

static void call_until_met(void *arg)
{
	struct caller *c = arg;

	for (u64 i = 0; i < MAX_CALLS && !sync_load(c->done); i++) {
		struct tdx_regs r = c->r;
		u64 status = seamcall(c->lp, &r);

		if (status == c->allowed)
			c->nr_allowed++;
		else if (status == c->busy)
			c->nr_busy++;
		else if (status != c->also)
			c->nr_other++;
		if (is_satisfied(c))
			sync_store(c->done, 1);
	}
}

/*
 * Two threads call @a and @b until one of them was BUSY at least once (or, if @expects_busy is false,
 * until one has succeeded often).
 */
static void collide(struct life *l, struct caller *a, struct caller *b)
{
	u32 done = 0;

	a->l = b->l = l;
	a->lp = l->lp[0];
	b->lp = l->lp[1];
	a->done = b->done = &done;
	assert_int_equal(sync_thread_create(&a->thread, call_until_met, a), 0);
	assert_int_equal(sync_thread_create(&b->thread, call_until_met, b), 0);
	sync_thread_join(&a->thread);
	sync_thread_join(&b->thread);
	assert_int_equal(a->nr_other, 0);
	assert_int_equal(b->nr_other, 0);
	assert_true(is_satisfied(a) || is_satisfied(b));
	if (!a->expects_busy) {
		assert_int_equal(a->nr_busy, 0);
		assert_int_equal(b->nr_busy, 0);
	}
}

/* A leaf that takes the TDR in the mode wanted, and changes nothing. */
static struct caller tdr_caller(hpa_t tdr, bool exclusive, bool expects_busy)
{
	struct caller c = {.expects_busy = expects_busy};

	if (exclusive) {
		c.r = (struct tdx_regs){.rax = TDH_MNG_KEY_CONFIG, .rcx = tdr};
		c.allowed = TDX_LIFECYCLE_STATE_INCORRECT;
		c.busy = TDX_OPERAND_BUSY | TDX_OPERAND_RCX;
	} else {
		c.r = (struct tdx_regs){.rax = TDH_MEM_SEPT_RD, .rcx = 3, .rdx = tdr};
		c.allowed = TDX_SUCCESS;
		c.busy = TDX_OPERAND_BUSY | TDX_OPERAND_RDX;
	}
	return c;
}

static void check_tdr_modes(bool exclusive_a, bool exclusive_b)
{
	bool conflict = exclusive_a || exclusive_b;
	struct caller a, b;
	struct life l;
	hpa_t tdr;

	life_create(&l, NULL, false);
	life_module_up(&l);
	tdr = life_td(&l, 33, LIFE_INITIALIZED);
	a = tdr_caller(tdr, exclusive_a, conflict);
	b = tdr_caller(tdr, exclusive_b, conflict);
	if (!conflict) {
		/* two walks of one entry collide on its own lock: look at different ones */
		b.r = (struct tdx_regs){.rax = TDH_MEM_TRACK, .rcx = tdr};
		b.busy = TDX_OPERAND_BUSY | TDX_OPERAND_RCX;
	}
	collide(&l, &a, &b);
	/* nothing stayed locked */
	life_expect(&l, 2, TDH_MNG_KEY_CONFIG, tdr, 0, 0, TDX_LIFECYCLE_STATE_INCORRECT);
	life_destroy(&l);
}

/* Two that share the TDR never meet. */
static void test_shared_shared(void **state)
{
	(void)state;
	check_tdr_modes(false, false);
}

/* One that shares and one that wants it alone: the later is BUSY. */
static void test_shared_exclusive(void **state)
{
	(void)state;
	check_tdr_modes(false, true);
}

/* Two that want it alone: the later is BUSY. */
static void test_exclusive_exclusive(void **state)
{
	(void)state;
	check_tdr_modes(true, true);
}

/* The S-EPT tree, shared by SEPT.RD and alone for BLOCK (of an entry that it refuses). */
static void test_tree(void **state)
{
	struct caller a = {.expects_busy = true}, b = {.expects_busy = true};
	struct life l;
	hpa_t tdr;

	(void)state;
	life_create(&l, NULL, false);
	life_module_up(&l);
	tdr = life_td(&l, 33, LIFE_INITIALIZED);
	life_must(&l, 0, TDH_MEM_SEPT_ADD, 3, tdr, life_page(&l));
	a.r = (struct tdx_regs){.rax = TDH_MEM_SEPT_RD, .rcx = 3, .rdx = tdr};
	a.allowed = TDX_SUCCESS;
	a.busy = TDX_OPERAND_BUSY | TDX_OPERAND_SEPT_TREE;
	b.r = (struct tdx_regs){.rax = TDH_MEM_RANGE_BLOCK, .rcx = 2, .rdx = tdr};
	b.allowed = TDX_EPT_ENTRY_STATE_INCORRECT | TDX_OPERAND_RCX;
	b.busy = TDX_OPERAND_BUSY | TDX_OPERAND_SEPT_TREE;
	collide(&l, &a, &b);
	life_destroy(&l);
}

/* The key-id table: VPFLUSHDONE of one TD and of another exclude each other. */
static void test_kot(void **state)
{
	struct caller a = {.expects_busy = true}, b = {.expects_busy = true};
	struct life l;

	(void)state;
	life_create(&l, NULL, false);
	life_module_up(&l);
	a.r = (struct tdx_regs){.rax = TDH_MNG_VPFLUSHDONE, .rcx = life_td(&l, 33, LIFE_CREATED)};
	b.r = (struct tdx_regs){.rax = TDH_MNG_VPFLUSHDONE, .rcx = life_td(&l, 34, LIFE_CREATED)};
	life_must(&l, 0, TDH_MNG_VPFLUSHDONE, a.r.rcx, 0, 0);
	life_must(&l, 0, TDH_MNG_VPFLUSHDONE, b.r.rcx, 0, 0);
	a.allowed = b.allowed = TDX_LIFECYCLE_STATE_INCORRECT;
	a.busy = b.busy = TDX_OPERAND_BUSY | TDX_OPERAND_KOT;
	collide(&l, &a, &b);
	life_destroy(&l);
}

/* One package writes its caches back once at a time. */
static void test_wbcache(void **state)
{
	struct caller a = {.expects_busy = true}, b = {.expects_busy = true};
	struct life l;

	(void)state;
	life_create(&l, NULL, false);
	life_module_up(&l);
	a.r = b.r = (struct tdx_regs){.rax = TDH_PHYMEM_CACHE_WB};
	a.allowed = b.allowed = TDX_NO_HKID_READY_TO_WBCACHE;
	a.busy = b.busy = TDX_OPERAND_BUSY | TDX_OPERAND_WBCACHE;
	collide(&l, &a, &b);
	life_destroy(&l);
}

/* The module's own lock gives SYS_BUSY. */
static void test_sys(void **state)
{
	struct caller a = {.expects_busy = true}, b = {.expects_busy = true};
	struct life l;

	(void)state;
	life_create(&l, NULL, false);
	a.r = b.r = (struct tdx_regs){.rax = TDH_SYS_KEY_CONFIG};
	a.allowed = b.allowed = TDX_SYS_KEY_CONFIG_NOT_PENDING;
	a.busy = b.busy = TDX_SYS_BUSY;
	collide(&l, &a, &b);
	life_destroy(&l);
}

static void leave_at_once(struct lp *lp, void *guest)
{
	(void)guest;
	lp->exit.kind = LP_EXIT_INTERRUPT;
}

/*
 * TRACK has the epoch to itself, VP.ENTER shares it: both may be BUSY, nobody waits, and however they
 * mix, no vCPU is counted twice or left over.
 */
static void test_epoch(void **state)
{
	static const struct guest_ops idle = {.run = leave_at_once};
	struct caller a = {.expects_busy = true}, b = {.expects_busy = true};
	struct life l;
	hpa_t tdr, tdvpr;

	(void)state;
	life_create(&l, NULL, false);
	life_module_up(&l);
	tdr = life_td(&l, 33, LIFE_INITIALIZED);
	tdvpr = life_vcpu(&l, tdr, 6, 0);
	life_must(&l, 0, TDH_MR_FINALIZE, tdr, 0, 0);
	l.lp[0]->guest_ops = &idle;
	a.r = (struct tdx_regs){.rax = TDH_VP_ENTER, .rcx = tdvpr};
	a.allowed = TDX_EXIT_EXTERNAL_INTERRUPT;
	a.busy = TDX_OPERAND_BUSY | TDX_OPERAND_TD_EPOCH;
	b.r = (struct tdx_regs){.rax = TDH_MEM_TRACK, .rcx = tdr};
	b.allowed = TDX_SUCCESS;
	b.busy = TDX_OPERAND_BUSY | TDX_OPERAND_TD_EPOCH;
	/* twice while the vCPU is inside */
	b.also = TDX_PREVIOUS_TLB_EPOCH_BUSY;
	collide(&l, &a, &b);
	life_must(&l, 1, TDH_MEM_TRACK, tdr, 0, 0);
	life_must(&l, 1, TDH_MEM_TRACK, tdr, 0, 0);
	life_destroy(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shared_shared),
		cmocka_unit_test(test_shared_exclusive),
		cmocka_unit_test(test_exclusive_exclusive),
		cmocka_unit_test(test_tree),
		cmocka_unit_test(test_kot),
		cmocka_unit_test(test_wbcache),
		cmocka_unit_test(test_sys),
		cmocka_unit_test(test_epoch),
	};

	return cmocka_run_group_tests_name("seam_life_busy", tests, NULL, NULL);
}
