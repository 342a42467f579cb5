/* SPDX-License-Identifier: MIT */
/* Inside a TD and out again: exits and their registers, #VE, VMCALL, epochs, zero-step filter. */
#include "fixture.h"

#include <string.h>

#include "seam/internal.h"

#define BUSY(op) (TDX_OPERAND_BUSY | TDX_OPERAND_##op)

static struct tdx_regs all_garbage(void)
{
	struct tdx_regs r;

	memset(&r, 0xA5, sizeof(r));
	return r;
}

struct guest {
	void (*fn)(struct fixture *f, struct lp *lp, void *arg);
	struct fixture *f;
	void *arg;
};

static void run_guest(struct lp *lp, void *guest)
{
	struct guest *g = guest;

	g->fn(g->f, lp, g->arg);
	if (lp->exit.kind == LP_EXIT_NONE)
		lp->exit.kind = LP_EXIT_INTERRUPT;
}

static const struct guest_ops guest_ops = {.run = run_guest};

/* VP.ENTER of vCPU 0 with registers @r of the host's; the exit's are in @r afterwards. */
static u64 enter_with(struct fixture *f, struct tdx_regs *r,
		      void (*fn)(struct fixture *f, struct lp *lp, void *arg), void *arg)
{
	struct guest guest = {fn, f, arg};

	f->lp[0]->guest_ops = &guest_ops;
	f->lp[0]->guest = &guest;
	r->rax = TDH_VP_ENTER;
	r->rcx = f->tdvpr[0];
	return seamcall(f->lp[0], r);
}

static void expect_regs(const struct tdx_regs *r, u64 rax, u64 rcx, u64 rdx, u64 r8, u64 r9)
{
	const struct tdx_regs want = {.rax = rax, .rcx = rcx, .rdx = rdx, .r8 = r8, .r9 = r9};

	assert_memory_equal(r, &want, sizeof(want));
}

/* ---- exits -----------------------------------------------------------------------------------*/

static void touch(struct fixture *f, struct lp *lp, void *arg)
{
	gpa_t gpa = *(gpa_t *)arg & ~1ULL;
	u64 word = 1;

	(void)f;
	if (*(gpa_t *)arg & 1)
		lp_guest_write(lp, gpa, &word, 1);
	else
		lp_guest_read(lp, gpa, &word, 1);
}

/* An access by vCPU 0 that exits: @gpa's bit 0 says write. */
static struct tdx_regs fault(struct fixture *f, gpa_t gpa)
{
	struct tdx_regs r = all_garbage();

	enter_with(f, &r, touch, &gpa);
	return r;
}

static void poll(struct fixture *f, struct lp *lp, void *arg)
{
	(void)f;
	(void)arg;
	lp_guest_poll(lp);
}

/* An interrupt exits with reason 1, an NMI with reason 0 and its vector; nothing else is told. */
static void test_interrupt_exits(void **state)
{
	struct tdx_regs r = all_garbage();
	struct fixture f;

	(void)state;
	fixture_create(&f, NULL);
	lp_interrupt(f.lp[0], LP_INTR);
	enter_with(&f, &r, poll, NULL);
	expect_regs(&r, 1, 0, 0, 0, 0);
	lp_take_interrupts(f.lp[0]);
	r = all_garbage();
	lp_interrupt(f.lp[0], LP_NMI);
	enter_with(&f, &r, poll, NULL);
	expect_regs(&r, 0, 0, 0, 0, 0x80000202);
	fixture_destroy(&f);
}

/*
 * A private access that the S-EPT doesn't allow exits with reason 48: RCX says read or write and what
 * the entry allows, R8 the page; on a page that is PENDING, and #VE is disabled, EEQ type 6.
 */
static void test_private_violation_exits(void **state)
{
	const struct fixture_config cfg = {.attributes = TD_ATTR_SEPT_VE_DISABLE};
	struct tdx_regs r;
	struct fixture f;

	(void)state;
	fixture_create(&f, &cfg);
	r = fault(&f, 0x123456);
	expect_regs(&r, 48, 1, 0, 0x123000, 0);
	r = fault(&f, 0x123458 | 1);
	expect_regs(&r, 48, 2, 0, 0x123000, 0);
	fixture_tables(&f);
	r = fault(&f, 0x200008);
	expect_regs(&r, 48, 1, 0, 0x200000, 0);
	fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x200001, 0x60000000);
	r = fault(&f, 0x3FF008 | 1);
	expect_regs(&r, 48, 2, 6, 0x3FF000, 0);
	fixture_ok(&f, TDH_MEM_RANGE_BLOCK, 0x200001, 0);
	r = fault(&f, 0x3FF008 | 1);
	expect_regs(&r, 48, 2, 0, 0x3FF000, 0);
	fixture_destroy(&f);
}

/* A shared access exits plainly, and R8 carries the SHARED bit. */
static void test_shared_violation_exits(void **state)
{
	const struct fixture_config wide = {.wide = true};
	struct tdx_regs r;
	struct fixture f;

	(void)state;
	fixture_create(&f, NULL);
	r = fault(&f, 1ULL << 47 | 0x5010 | 1);
	expect_regs(&r, 48, 2, 0, 1ULL << 47 | 0x5000, 0);
	fixture_destroy(&f);
	fixture_create(&f, &wide);
	r = fault(&f, 1ULL << 51 | 0x5010);
	expect_regs(&r, 48, 1, 0, 1ULL << 51 | 0x5000, 0);
	fixture_destroy(&f);
}

static void accept(struct fixture *f, struct lp *lp, void *arg)
{
	(void)f;
	assert_false(tdcall(lp, arg));
}

/* An ACCEPT that exits is a write violation with EEQ type 1; the guest's registers are untouched. */
static void test_accept_exits(void **state)
{
	struct tdx_regs guest = {.rax = TDG_MEM_PAGE_ACCEPT, .rcx = 0x400001}, was = guest;
	struct tdx_regs r = all_garbage();
	struct fixture f;

	(void)state;
	fixture_create(&f, NULL);
	fixture_tables(&f);
	enter_with(&f, &r, accept, &guest);
	/* type 1, requested level 1, found at level 1, state FREE, no leaf */
	expect_regs(&r, 48, 2, 1 | 1ULL << 32 | 1ULL << 35, 0x400000, 0);
	assert_memory_equal(&guest, &was, sizeof(was));
	fixture_destroy(&f);
}

/* ---- #VE -------------------------------------------------------------------------------------*/

struct ve_guest {
	u32 version;
	unsigned int runs;
	bool read_info;
	struct tdx_regs info;
};

/* Touches a PENDING page; delivered a #VE, asks for its information. */
static void touch_pending(struct fixture *f, struct lp *lp, void *arg)
{
	struct ve_guest *g = arg;
	u64 word = 0;

	(void)f;
	if (g->runs++ == 0 || !g->read_info) {
		assert_int_equal(lp->ve_pending, g->runs > 1);
		lp_guest_write(lp, 0x200010, &word, 1);
		return;
	}
	assert_true(lp->ve_pending);
	g->info = all_garbage();
	g->info.rax = TDG_VP_VEINFO_GET | (u64)g->version << 16;
	assert_true(tdcall(lp, &g->info));
}

static void create_pending(struct fixture *f)
{
	fixture_create(f, NULL);
	fixture_tables(f);
	fixture_ok(f, TDH_MEM_PAGE_AUG, 0x200001, 0x60000000);
}

/* With #VE enabled a PENDING page gives one, and no exit; its information can be read once. */
static void test_ve(void **state)
{
	struct fixture f;

	(void)state;
	create_pending(&f);
	for (u32 version = 0; version <= 2; version++) {
		struct ve_guest g = {.version = version, .read_info = true};
		struct tdx_regs r = all_garbage(), again = {.rax = TDG_VP_VEINFO_GET};

		enter_with(&f, &r, touch_pending, &g);
		expect_regs(&r, 1, 0, 0, 0, 0);
		assert_int_equal(g.runs, 2);
		assert_int_equal(g.info.rax, TDX_SUCCESS);
		assert_int_equal(g.info.rcx, 48 | (version ? 1ULL << 32 : 0));
		assert_int_equal(g.info.rdx & 7, 2);
		assert_int_equal(g.info.r9, 0x200010);
		assert_int_equal(g.info.r10, 0);
		assert_int_equal(g.info.r11, version == 2 ? 0 : 0xA5A5A5A5A5A5A5A5);
		assert_true(fixture_tdcall(&f, 0, &again));
		assert_int_equal(again.rax, 0xC000070400000000ULL);
	}
	fixture_destroy(&f);
}

static void check_version(struct fixture *f, u64 rax)
{
	struct tdx_regs r = {.rax = rax};

	assert_true(fixture_tdcall(f, 0, &r));
	assert_int_equal(r.rax, 0xC000010000000000ULL);
}

/* A TDCALL's RAX is as strict as a SEAMCALL's. */
static void test_tdcall_rax(void **state)
{
	struct fixture f;

	(void)state;
	fixture_create(&f, NULL);
	check_version(&f, TDG_VP_VEINFO_GET | 3 << 16);
	check_version(&f, TDG_VM_RD | 2 << 16);
	check_version(&f, TDG_VP_INFO | 1 << 16);
	check_version(&f, TDG_MEM_PAGE_ACCEPT | 1 << 16);
	check_version(&f, TDG_VP_INFO | 1ULL << 24);
	check_version(&f, TDG_VP_INFO | 1ULL << 63);
	check_version(&f, 30);
	check_version(&f, 0xFFFF);
	fixture_destroy(&f);
}

/* A #VE on top of one whose information wasn't read is the vCPU's end, and it stays out. */
static void test_ve_twice(void **state)
{
	struct ve_guest g = {.read_info = false};
	struct tdx_regs r = all_garbage();
	struct fixture f;

	(void)state;
	create_pending(&f);
	enter_with(&f, &r, touch_pending, &g);
	expect_regs(&r, 0x4000000100000002ULL, 0, 0, 0, 0);
	assert_int_equal(g.runs, 2);
	enter_with(&f, &r, touch_pending, &g);
	assert_int_equal(r.rax, 0xC000070000000008ULL);
	assert_int_equal(g.runs, 2);
	/* and it doesn't hold up TRACK */
	fixture_expect(&f, TDH_MEM_TRACK, f.tdr, 0, 0, 0, f.tdr, 0);
	fixture_expect(&f, TDH_MEM_TRACK, f.tdr, 0, 0, 0, f.tdr, 0);
	fixture_destroy(&f);
}

/* ---- VMCALL ----------------------------------------------------------------------------------*/

static void vmcall(struct fixture *f, struct lp *lp, void *arg)
{
	struct tdx_regs *r = arg;

	(void)f;
	if (r)
		assert_false(tdcall(lp, r));
}

/*
 * VMCALL shows the host the registers of its mask and no others; the next entry that succeeds brings
 * the host's answer into those, and leaves the rest of the guest's alone.
 */
static void test_vmcall(void **state)
{
	const u64 mask = 1 << 2 | 1 << 10 | 1 << 15 | 3ULL << 16;
	struct tdx_regs guest = all_garbage(), host = all_garbage();
	struct fixture f;

	(void)state;
	fixture_create(&f, NULL);
	guest.rax = TDG_VP_VMCALL;
	guest.rcx = mask;
	guest.rdx = 0x22;
	guest.r10 = 0x1010;
	guest.r15 = 0x1515;
	enter_with(&f, &host, vmcall, &guest);
	assert_int_equal(host.rdx, 0x22);
	assert_int_equal(host.r10, 0x1010);
	assert_int_equal(host.r15, 0x1515);
	host.r10 = host.r15 = 0;
	expect_regs(&host, 77, mask, 0x22, 0, 0);
	assert_int_equal(guest.rdx, 0x22);

	/* an entry that fails brings nothing */
	host = (struct tdx_regs){.rax = TDH_VP_ENTER, .rcx = f.tdvpr[0], .rdx = 7};
	assert_int_equal(seamcall(f.lp[1], &host), TDX_VCPU_ASSOCIATED);
	assert_int_equal(guest.rdx, 0x22);

	host = all_garbage();
	host.rdx = 0x222;
	host.r10 = 0;
	host.r15 = 0x151515;
	host.r11 = 0x999;
	enter_with(&f, &host, vmcall, NULL);
	assert_int_equal(guest.rax, TDX_SUCCESS);
	assert_int_equal(guest.rcx, mask);
	assert_int_equal(guest.rdx, 0x222);
	assert_int_equal(guest.r10, 0);
	assert_int_equal(guest.r15, 0x151515);
	assert_int_equal(guest.r11, 0xA5A5A5A5A5A5A5A5);
	fixture_destroy(&f);
}

/* The mask can't name RAX, RCX or RSP, nor bits 63:32. */
static void test_vmcall_mask(void **state)
{
	const u64 bad[] = {1, 2, 16, 1ULL << 32, 1ULL << 63};
	struct fixture f;

	(void)state;
	fixture_create(&f, NULL);
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		struct tdx_regs r = {.rax = TDG_VP_VMCALL, .rcx = bad[i]};

		assert_true(fixture_tdcall(&f, 0, &r));
		assert_int_equal(r.rax, TDX_OPERAND_INVALID | TDX_OPERAND_RCX);
	}
	fixture_destroy(&f);
}

/* VP.INFO describes the TD and the vCPU. */
static void test_vp_info(void **state)
{
	const struct fixture_config cfg = {.wide = true, .attributes = TD_ATTR_SEPT_VE_DISABLE};
	struct tdx_regs r = all_garbage();
	struct fixture f;

	(void)state;
	fixture_create(&f, &cfg);
	r.rax = TDG_VP_INFO;
	assert_true(fixture_tdcall(&f, 1, &r));
	assert_int_equal(r.rax, 0);
	assert_int_equal(r.rcx, 52);
	assert_int_equal(r.rdx, 1ULL << 28);
	assert_int_equal(r.r8, 2 | 2ULL << 32);
	assert_int_equal(r.r9, 1);
	assert_int_equal(r.r10, 1);
	assert_int_equal(r.r11, 0);
	fixture_destroy(&f);
}

/* ---- epochs ----------------------------------------------------------------------------------*/

struct epoch_guest {
	bool expect_stale; /* the last read gives the old page's bytes, else it faults */
};

#define VALUE 0x1122334455667788ULL

/* Inside: the page is blocked and tracked, and still read: only the way in drops translations. */
static void keep_translation(struct fixture *f, struct lp *lp, void *arg)
{
	u64 word = VALUE;

	(void)arg;
	assert_int_equal(lp_guest_write(lp, 0x200000, &word, 1), LP_ACCESS_OK);
	fixture_ok(f, TDH_MEM_RANGE_BLOCK, 0x200001, 0);
	/* no TRACK yet; then a vCPU is still inside since the epoch of the BLOCK */
	fixture_expect(f, TDH_MEM_PAGE_REMOVE, 0x200001, f->tdr, 0,
		       TDX_TLB_TRACKING_NOT_DONE | TDX_OPERAND_RCX, 0, 0);
	fixture_expect(f, TDH_MEM_TRACK, f->tdr, 0, 0, TDX_SUCCESS, f->tdr, 0);
	fixture_expect(f, TDH_MEM_TRACK, f->tdr, 0, 0, 0x8000020100000000ULL, f->tdr, 0);
	fixture_expect(f, TDH_MEM_PAGE_REMOVE, 0x200001, f->tdr, 0,
		       TDX_TLB_TRACKING_NOT_DONE | TDX_OPERAND_RCX, 0, 0);
	word = 0;
	assert_int_equal(lp_guest_read(lp, 0x200000, &word, 1), LP_ACCESS_OK);
	assert_int_equal(word, VALUE);
}

static void read_again(struct fixture *f, struct lp *lp, void *arg)
{
	struct epoch_guest *g = arg;
	u64 word = 0;

	(void)f;
	assert_int_equal(lp_guest_read(lp, 0x200000, &word, 1),
			 g->expect_stale ? LP_ACCESS_OK : LP_ACCESS_EXIT);
}

static void check_epochs(struct bug_set planted_bugs)
{
	const struct fixture_config cfg = {.planted_bugs = planted_bugs};
	struct epoch_guest g = {.expect_stale = !bug_set_is_empty(&planted_bugs)};
	struct fixture f;

	fixture_create(&f, &cfg);
	fixture_tables(&f);
	fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x200001, 0x60000000);
	assert_int_equal(fixture_accept(&f, 0x200001), 0);
	fixture_enter(&f, 0, keep_translation, NULL);
	/* out: now nobody is inside since that epoch */
	fixture_expect(&f, TDH_MEM_TRACK, f.tdr, 0, 0, TDX_SUCCESS, f.tdr, 0);
	assert_int_equal(lp_tlb_is_stale(f.lp[0], 0x200000), true);
	assert_int_equal(fixture_enter(&f, 0, read_again, &g),
			 g.expect_stale ? TDX_EXIT_EXTERNAL_INTERRUPT : TDX_EXIT_EPT_VIOLATION);
	fixture_expect(&f, TDH_MEM_PAGE_REMOVE, 0x200001, f.tdr, 0, TDX_SUCCESS, 0x60000000, 0);
	fixture_destroy(&f);
}

/*
 * A vCPU that is inside keeps a translation through BLOCK and TRACK, and loses it when it enters in
 * the new epoch; until it has left, TRACK can't be done twice and nothing counts as tracked.
 */
static void test_epochs(void **state)
{
	(void)state;
	check_epochs(NO_BUGS);
}

#ifdef SEPTUM_CHECK
/* The planted bug: VP.ENTER keeps the TLB, and the removed translation is still used. */
static void test_stale_tlb_bug(void **state)
{
	(void)state;
	check_epochs(bug_set_of(BUG_STALE_TLB));
}
#endif

static void migrate_read(struct fixture *f, struct lp *lp, void *arg)
{
	u64 word = 0;

	(void)f;
	*(enum lp_access *)arg = lp_guest_read(lp, 0x200000, &word, 1);
}

/*
 * A vCPU newly tied to an LP doesn't use what another vCPU of its TD, in an older epoch, has left in
 * that LP's TLB.
 */
static void test_new_association_flushes(void **state)
{
	enum lp_access got = LP_ACCESS_EXIT;
	struct fixture f;

	(void)state;
	fixture_create(&f, NULL);
	fixture_tables(&f);
	fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x200001, 0x60000000);
	assert_int_equal(fixture_accept(&f, 0x200001), 0);
	fixture_enter(&f, 0, migrate_read, &got);
	assert_int_equal(got, LP_ACCESS_OK);
	fixture_ok(&f, TDH_MEM_RANGE_BLOCK, 0x200001, 0);
	fixture_expect(&f, TDH_MEM_TRACK, f.tdr, 0, 0, TDX_SUCCESS, f.tdr, 0);
	/* vCPU 1 gets to the new epoch on its own LP, then moves to LP 0 */
	fixture_enter(&f, 1, migrate_read, &got);
	f.r = (struct tdx_regs){.rax = TDH_VP_FLUSH, .rcx = f.tdvpr[1]};
	assert_int_equal(seamcall(f.lp[1], &f.r), TDX_SUCCESS);
	f.tdvpr[0] = f.tdvpr[1];
	assert_int_equal(fixture_enter(&f, 0, migrate_read, &got), TDX_EXIT_EPT_VIOLATION);
	assert_int_equal(got, LP_ACCESS_EXIT);
	fixture_destroy(&f);
}

/* ---- locks of a vCPU that is inside ------------------------------------------------------------*/

static void try_leaves(struct fixture *f, struct lp *lp, void *arg)
{
	struct tdx_regs r = {.rax = TDH_VP_ENTER, .rcx = f->tdvpr[0]};

	(void)lp;
	(void)arg;
	/* the TDR is held shared: whoever wants it alone is turned away */
	assert_int_equal(fixture_mem(f, TDH_MNG_KEY_CONFIG, f->tdr, 0, 0), BUSY(RCX));
	assert_int_equal(fixture_mem(f, TDH_MNG_VPFLUSHDONE, f->tdr, 0, 0), BUSY(RCX));
	assert_int_equal(fixture_mem(f, TDH_MNG_KEY_FREEID, f->tdr, 0, 0), BUSY(RCX));
	assert_int_equal(fixture_mem(f, TDH_MNG_INIT, f->tdr, 0, 0), BUSY(RCX));
	assert_int_equal(fixture_mem(f, TDH_MR_FINALIZE, f->tdr, 0, 0), BUSY(RCX));
	assert_int_equal(fixture_mem(f, TDH_MNG_ADDCX, 1, f->tdr, 0), BUSY(RDX));
	assert_int_equal(fixture_mem(f, TDH_MEM_PAGE_ADD, 0, f->tdr, 0), BUSY(RDX));
	assert_int_equal(fixture_mem(f, TDH_PHYMEM_PAGE_RECLAIM, f->tdr, 0, 0), BUSY(RCX));
	/* and so is this vCPU's TDVPR, but not the other's */
	assert_int_equal(fixture_mem(f, TDH_VP_FLUSH, f->tdvpr[0], 0, 0), BUSY(RCX));
	assert_int_equal(fixture_mem(f, TDH_VP_ADDCX, 1, f->tdvpr[0], 0), BUSY(RDX));
	assert_int_equal(fixture_mem(f, TDH_VP_INIT, f->tdvpr[0], 0, 0), BUSY(RCX));
	assert_int_equal(fixture_mem(f, TDH_VP_FLUSH, f->tdvpr[1], 0, 0), TDX_VCPU_NOT_ASSOCIATED);
	assert_int_equal(fixture_mem(f, TDH_VP_INIT | 1 << 16, f->tdvpr[1], 0, 0), BUSY(TDR));
	/* its state comes before its association */
	assert_int_equal(seamcall(f->lp[1], &r), TDX_VCPU_STATE_INCORRECT | 4);
	assert_int_equal(fixture_mem(f, TDH_VP_RD, f->tdvpr[0], 0x203C, 0), TDX_VCPU_ASSOCIATED);
	/* who shares gets in */
	assert_int_equal(fixture_mem(f, TDH_MEM_SEPT_RD, 3, f->tdr, 0), TDX_SUCCESS);
	assert_int_equal(fixture_mem(f, TDH_MNG_RD, f->tdr, 0x1100000000000002, 0), TDX_SUCCESS);
	r = (struct tdx_regs){.rax = TDH_VP_ENTER, .rcx = f->tdvpr[1]};
	f->lp[1]->guest_ops = NULL;
	assert_int_equal(seamcall(f->lp[1], &r), TDX_EXIT_EXTERNAL_INTERRUPT);
}

/* While a vCPU runs the TDR and its TDVPR are held shared; after its exit nothing is held. */
static void check_locks_inside(bool dynamic_pamt)
{
	const struct fixture_config cfg = {.dynamic_pamt = dynamic_pamt};
	struct fixture f;

	fixture_create(&f, &cfg);
	assert_int_equal(fixture_enter(&f, 0, try_leaves, NULL), TDX_EXIT_EXTERNAL_INTERRUPT);
	assert_int_equal(fixture_mem(&f, TDH_MNG_KEY_CONFIG, f.tdr, 0, 0),
			 TDX_LIFECYCLE_STATE_INCORRECT);
	assert_int_equal(fixture_mem(&f, TDH_VP_FLUSH, f.tdvpr[0], 0, 0), TDX_VCPU_NOT_ASSOCIATED);
	fixture_destroy(&f);
}

static void test_locks_inside(void **state)
{
	(void)state;
	check_locks_inside(false);
	check_locks_inside(true);
}

/* ---- zero-step filter --------------------------------------------------------------------------*/

static void touch_counting(struct fixture *f, struct lp *lp, void *arg)
{
	u64 word;

	(void)f;
	++*(unsigned int *)arg;
	lp_guest_read(lp, 0x200000, &word, 1);
}

/*
 * After more than six faults at one place VP.ENTER looks at the page itself: while it is missing the
 * guest doesn't run at all and the exit is told again; once it is there the guest goes on.
 */
static void test_zero_step(void **state)
{
	const struct fixture_config cfg = {.attributes = TD_ATTR_SEPT_VE_DISABLE};
	unsigned int runs = 0;
	struct tdx_regs r;
	const struct tdr *tdr;
	struct fixture f;
	u16 *tree;

	(void)state;
	fixture_create(&f, &cfg);
	fixture_tables(&f);
	for (unsigned int i = 1; i <= 7; i++) {
		assert_int_equal(fixture_enter(&f, 0, touch_counting, &runs), 48);
		assert_int_equal(runs, i);
	}
	/* that look needs the tree, which somebody else may have to himself */
	tdr = host_ptr(f.host, f.tdr);
	tree = &((struct tdcs *)host_ptr(f.host, tdr->tdcx_pa[0]))->sept_lock;
	*tree = LOCK_WORD_EXCLUSIVE;
	assert_int_equal(fixture_enter(&f, 0, touch_counting, &runs),
			 TDX_OPERAND_BUSY | TDX_OPERAND_SEPT_TREE);
	*tree = 0;
	for (unsigned int i = 0; i < 3; i++) {
		r = all_garbage();
		enter_with(&f, &r, touch_counting, &runs);
		expect_regs(&r, 48, 1, 0, 0x200000, 0);
		assert_int_equal(runs, 7);
	}
	/* a PENDING page still faults for this TD */
	fixture_ok(&f, TDH_MEM_PAGE_AUG, 0x200001, 0x60000000);
	enter_with(&f, &r, touch_counting, &runs);
	expect_regs(&r, 48, 1, 6, 0x200000, 0);
	assert_int_equal(runs, 7);
	/* accepted by the other vCPU */
	r = (struct tdx_regs){.rax = TDG_MEM_PAGE_ACCEPT, .rcx = 0x200001};
	assert_true(fixture_tdcall(&f, 1, &r));
	assert_int_equal(fixture_enter(&f, 0, touch_counting, &runs), TDX_EXIT_EXTERNAL_INTERRUPT);
	assert_int_equal(runs, 8);
	/* not entered means not counted: nobody is inside */
	fixture_expect(&f, TDH_MEM_TRACK, f.tdr, 0, 0, TDX_SUCCESS, f.tdr, 0);
	fixture_expect(&f, TDH_MEM_TRACK, f.tdr, 0, 0, TDX_SUCCESS, f.tdr, 0);
	fixture_destroy(&f);
}

/* Exits that an ACCEPT causes don't feed the filter. */
static void test_zero_step_accept(void **state)
{
	unsigned int runs = 0;
	struct fixture f;

	(void)state;
	fixture_create(&f, NULL);
	fixture_tables(&f);
	for (unsigned int i = 0; i < 20; i++)
		fixture_accept_exits(&f, 0x200001);
	assert_int_equal(fixture_enter(&f, 0, touch_counting, &runs), 48);
	assert_int_equal(runs, 1);
	fixture_destroy(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_interrupt_exits),
		cmocka_unit_test(test_private_violation_exits),
		cmocka_unit_test(test_shared_violation_exits),
		cmocka_unit_test(test_accept_exits),
		cmocka_unit_test(test_ve),
		cmocka_unit_test(test_ve_twice),
		cmocka_unit_test(test_tdcall_rax),
		cmocka_unit_test(test_vmcall),
		cmocka_unit_test(test_vmcall_mask),
		cmocka_unit_test(test_vp_info),
		cmocka_unit_test(test_epochs),
#ifdef SEPTUM_CHECK
		cmocka_unit_test(test_stale_tlb_bug),
#endif
		cmocka_unit_test(test_new_association_flushes),
		cmocka_unit_test(test_locks_inside),
		cmocka_unit_test(test_zero_step),
		cmocka_unit_test(test_zero_step_accept),
	};

	return cmocka_run_group_tests_name("seam_life_enter", tests, NULL, NULL);
}
