/* SPDX-License-Identifier: MIT */
/* What a change of a mirror entry becomes: which SEAMCALLs, in which order, and what stops the VM. */
#include <errno.h>

#include "mmu/spte.h"
#include "tdx/rig.h"

#define GFN (4 * 512ULL)

static void up(struct tdx_rig *r, bool finalize)
{
	struct tdx_rig_config cfg = {0};

	assert_int_equal(tdx_rig_module(r, &cfg), 0);
	tdx_rig_td(r);
	if (finalize)
		assert_int_equal(td_finalize(r->td), 0);
	r->nr_log = 0;
}

static void down(struct tdx_rig *r)
{
	tdx_rig_td_down(r);
	tdx_rig_down(r);
}

static u64 sept(const struct tdx_rig *r, gfn_t gfn, enum pg_level level)
{
	u64 entry = 0;

	seam_sept_entry(r->seam, td_tdr(r->td), fn_to_addr(gfn), level, &entry);
	return entry;
}

/* Row 32: none to table is SEPT.ADD from the top down, none to leaf is AUG at the leaf's level. */
static void test_map(void **state)
{
	struct tdx_rig r;
	pfn_t huge, small;

	(void)state;
	up(&r, true);
	assert_int_equal(tdx_rig_map(&r, GFN, PG_LEVEL_2M, &huge), MMU_RET_FIXED);
	assert_int_equal(r.nr_log, 3);
	assert_int_equal(r.log[0], TDH_MEM_SEPT_ADD);
	assert_int_equal(r.log[1], TDH_MEM_SEPT_ADD);
	assert_int_equal(r.log[2], TDH_MEM_PAGE_AUG);
	/* PENDING leaf with the TD's key id: 0x81000000000000F0 and the address. */
	assert_int_equal(sept(&r, GFN, PG_LEVEL_2M),
			 0x81000000000000F0ULL | fn_to_addr(huge) | (u64)td_hkid(r.td) << 46);
	r.nr_log = 0;
	assert_int_equal(tdx_rig_map(&r, GFN + 512, PG_LEVEL_4K, &small), MMU_RET_FIXED);
	assert_int_equal(r.nr_log, 2);
	assert_int_equal(r.log[0], TDH_MEM_SEPT_ADD);
	assert_int_equal(r.log[1], TDH_MEM_PAGE_AUG);
	assert_int_equal(r.kicks, 0);
	tdx_rig_zap(&r, GFN, 1024);
	tdx_rig_free(&r, huge, PG_LEVEL_2M);
	tdx_rig_free(&r, small, PG_LEVEL_4K);
	down(&r);
	assert_int_equal(r.bugged[0], 0);
}

/* Before MR.FINALIZE a leaf is PAGE.ADD, with the content of the source page, MAPPED at once. */
static void test_add(void **state)
{
	struct tdx_rig r;
	pfn_t pfn, source;

	(void)state;
	up(&r, false);
	assert_int_equal(host_alloc(r.host, PG_LEVEL_4K, FRAME_OTHER, &source), 0);
	host_frame_dirty(r.host, source);
	*(u64 *)host_frame_ptr(r.host, source) = 0x77;
	td_set_add_source(r.td, fn_to_addr(source));
	assert_int_equal(tdx_rig_map(&r, GFN, PG_LEVEL_4K, &pfn), MMU_RET_FIXED);
	assert_int_equal(tdx_rig_logged(&r, TDH_MEM_PAGE_ADD), 1);
	assert_int_equal(tdx_rig_logged(&r, TDH_MEM_PAGE_AUG), 0);
	assert_int_equal(sept(&r, GFN, PG_LEVEL_4K) & 0xFFF0000000000FFFULL, 0x80000000000004F7ULL);
	assert_int_equal(*(u64 *)host_frame_ptr(r.host, pfn), 0x77);
	assert_int_equal(host_tag(r.host, pfn), td_hkid(r.td));
	host_free(r.host, source, PG_LEVEL_4K, FRAME_OTHER);
	/* While the TD is built nothing is tracked, and nobody kicked. */
	r.nr_log = 0;
	tdx_rig_zap(&r, GFN, 1);
	assert_int_equal(r.nr_log, 3);
	assert_int_equal(r.log[0], TDH_MEM_RANGE_BLOCK);
	assert_int_equal(r.log[1], TDH_MEM_PAGE_REMOVE);
	assert_int_equal(r.log[2], TDH_PHYMEM_PAGE_WBINVD);
	assert_int_equal(host_tag(r.host, pfn), 0);
	tdx_rig_free(&r, pfn, PG_LEVEL_4K);
	down(&r);
}

/* Row 78: BLOCK, TRACK, kick, REMOVE, then WBINVD once for 4K and 512 times for 2M; the tag is 0. */
static void test_removal_order(void **state)
{
	static const u32 expected[] = {TDH_MEM_RANGE_BLOCK, TDH_MEM_TRACK, LOG_KICK,
				       TDH_MEM_PAGE_REMOVE};

	(void)state;
	for (enum pg_level level = PG_LEVEL_4K; level <= PG_LEVEL_2M; level++) {
		struct tdx_rig r;
		pfn_t pfn;

		up(&r, true);
		assert_int_equal(tdx_rig_map(&r, GFN, level, &pfn), MMU_RET_FIXED);
		host_retag(r.host, pfn, level, td_hkid(r.td));
		r.nr_log = 0;
		tdx_rig_zap(&r, GFN, pages_per_level(level));
		assert_int_equal(r.nr_log, 4 + pages_per_level(level));
		for (u32 i = 0; i < 4; i++)
			assert_int_equal(r.log[i], expected[i]);
		assert_int_equal(tdx_rig_logged(&r, TDH_PHYMEM_PAGE_WBINVD),
				 pages_per_level(level));
		assert_int_equal(host_tag(r.host, pfn), 0);
		assert_int_equal(host_tag(r.host, pfn + pages_per_level(level) - 1), 0);
		/* No blocked entry is left: FREE. */
		assert_int_equal(sept(&r, GFN, level), 0x80E0000000000000ULL);
		assert_false(td_entry_held_off(r.td));
		tdx_rig_free(&r, pfn, level);
		down(&r);
	}
}

/*
 * Row 78, Dynamic PAMT: the last 4K leaf of a range gives its pair back, as the last step, when its
 * lines are written back and its tag is the host's; a 2M leaf has none to give.
 */
static void test_put_comes_last(void **state)
{
	static const u32 expected[] = {
		TDH_MEM_RANGE_BLOCK, TDH_MEM_TRACK,	     LOG_KICK,
		TDH_MEM_PAGE_REMOVE, TDH_PHYMEM_PAGE_WBINVD, TDH_PHYMEM_PAMT_REMOVE};
	struct tdx_rig_config cfg = {.dynamic_pamt = true};
	struct mmu_fault fault = {.gfn = GFN, .max_level = PG_LEVEL_4K, .private = true};
	struct tdx_rig r;
	pfn_t block;

	(void)state;
	tdx_rig_up(&r, &cfg);
	assert_int_equal(host_alloc(r.host, PG_LEVEL_2M, FRAME_GUEST, &block), 0);
	fault.pfn = block;
	fault.invalidate_seq = mmu_invalidate_seq(r.mmu);
	assert_int_equal(mmu_cache_topup(&r.cache), 0);
	assert_int_equal(td_fault_topup(r.td), 0);
	assert_int_equal(mmu_map(r.mmu, &r.cache, &fault), MMU_RET_FIXED);
	assert_int_equal(tdx_pamt_refs(r.tdx, block), 1);
	r.nr_log = 0;
	tdx_rig_zap(&r, GFN, 1);
	assert_int_equal(r.nr_log, ARRAY_SIZE(expected));
	for (u32 i = 0; i < ARRAY_SIZE(expected); i++)
		assert_int_equal(r.log[i], expected[i]);
	assert_int_equal(tdx_pamt_refs(r.tdx, block), 0);
	assert_int_equal(host_tag(r.host, block), 0);

	fault.gfn = GFN + 512;
	fault.max_level = PG_LEVEL_2M;
	assert_int_equal(mmu_map(r.mmu, &r.cache, &fault), MMU_RET_FIXED);
	r.nr_log = 0;
	tdx_rig_zap(&r, GFN + 512, 512);
	assert_int_equal(tdx_rig_logged(&r, TDH_MEM_PAGE_REMOVE), 1);
	assert_int_equal(tdx_rig_logged(&r, TDH_PHYMEM_PAMT_REMOVE), 0);
	tdx_rig_free(&r, block, PG_LEVEL_2M);
	down(&r);
}

/* After the key is released leaves are reclaimed, at their size; nothing is blocked or tracked. */
static void test_reclaim_at_teardown(void **state)
{
	struct tdx_rig r;
	pfn_t huge, small;

	(void)state;
	up(&r, true);
	assert_int_equal(tdx_rig_map(&r, GFN, PG_LEVEL_2M, &huge), MMU_RET_FIXED);
	assert_int_equal(tdx_rig_map(&r, GFN + 512, PG_LEVEL_4K, &small), MMU_RET_FIXED);
	r.nr_log = 0;
	tdx_rig_td_down(&r);
	/* 2 leaves, 3 S-EPT pages, 6 + 6 + 1 control pages. */
	assert_int_equal(tdx_rig_logged(&r, TDH_PHYMEM_PAGE_RECLAIM), 2 + 3 + 13);
	assert_int_equal(tdx_rig_logged(&r, TDH_MEM_RANGE_BLOCK), 0);
	assert_int_equal(tdx_rig_logged(&r, TDH_MEM_TRACK), 0);
	tdx_rig_free(&r, huge, PG_LEVEL_2M);
	tdx_rig_free(&r, small, PG_LEVEL_4K);
	assert_int_equal(r.bugged[0], 0);
	tdx_rig_down(&r);
}

/* A page that comes back at another size than the mirror has stops the VM. */
static void test_reclaim_checks_size(void **state)
{
	u64 small;
	struct tdx_rig r;
	pfn_t huge;

	(void)state;
	up(&r, true);
	assert_int_equal(tdx_rig_map(&r, GFN, PG_LEVEL_2M, &huge), MMU_RET_FIXED);
	td_vcpu_flush(r.vcpu);
	assert_int_equal(td_release_key(r.td), 0);
	small = spte_make_leaf(huge, PG_LEVEL_4K);
	sync_write_lock(mmu_lock(r.mmu));
	assert_int_equal(td_external_ops.set_external_spte(r.td, GFN, small, SPTE_NONE, PG_LEVEL_4K,
							   false),
			 -EIO);
	sync_write_unlock(mmu_lock(r.mmu));
	assert_non_null(strstr(r.bugged, "RECLAIM of a leaf"));
	mmu_cache_destroy(&r.cache);
	mmu_destroy(r.mmu);
	td_destroy(r.td);
	tdx_rig_free(&r, huge, PG_LEVEL_2M);
	tdx_rig_down(&r);
}

/* Row 32: a pair of (old, new) with no call for it stops the VM, and makes no SEAMCALL. */
static void test_illegal_transitions(void **state)
{
	(void)state;
	for (int i = 0; i < 5; i++) {
		u64 leaf = spte_make_leaf(1024, PG_LEVEL_2M), other, table;
		u64 old_spte = SPTE_NONE, new_spte = SPTE_NONE;
		bool shared = false;
		struct tdx_rig r;

		up(&r, true);
		other = spte_make_leaf(2048, PG_LEVEL_2M);
		table = spte_make_table(7);
		switch (i) {
		case 0: /* nothing changes */
			break;
		case 1: /* leaf to leaf */
			old_spte = leaf;
			new_spte = other;
			break;
		case 2: /* table to table */
			old_spte = table;
			new_spte = spte_make_table(8);
			break;
		case 3: /* table to none has a hook of its own */
			old_spte = table;
			break;
		case 4: /* removal under the read lock */
			old_spte = leaf;
			shared = true;
			break;
		}
		sync_write_lock(mmu_lock(r.mmu));
		assert_int_equal(td_external_ops.set_external_spte(r.td, GFN, old_spte, new_spte,
								   PG_LEVEL_2M, shared),
				 -EIO);
		sync_write_unlock(mmu_lock(r.mmu));
		assert_int_equal(r.nr_log, 0);
		assert_true(r.bugged[0]);
		down(&r);
	}
}

/* Row 35: a table is reclaimed after the key is released, or the VM is bugged. */
static void test_no_reclaim_with_key(void **state)
{
	struct mmu_page sp = {.external_spt = 1};
	struct tdx_rig r;

	(void)state;
	up(&r, true);
	assert_int_equal(td_external_ops.reclaim_external_sp(r.td, 0, &sp), -EIO);
	assert_int_equal(r.nr_log, 0);
	assert_true(r.bugged[0]);
	down(&r);
}

/*
 * A status that isn't BUSY stops the VM, with leaf and status in the reason; the mirror keeps old, and
 * no vCPU is inside any more, as the frame is about to be somebody else's.
 */
static void test_unexpected_status(void **state)
{
	u64 huge = spte_make_leaf(1024, PG_LEVEL_2M);
	struct tdx_rig r;

	(void)state;
	up(&r, true);
	/* Nothing is mapped there: RANGE.BLOCK's walk fails. */
	sync_write_lock(mmu_lock(r.mmu));
	assert_int_equal(td_external_ops.set_external_spte(r.td, GFN, huge, SPTE_NONE, PG_LEVEL_2M,
							   false),
			 -EIO);
	sync_write_unlock(mmu_lock(r.mmu));
	assert_non_null(strstr(r.bugged, "TDH.MEM.RANGE.BLOCK"));
	assert_non_null(strstr(r.bugged, "TDX_EPT_WALK_FAILED"));
	assert_int_equal(r.nr_log, 2);
	assert_int_equal(r.log[1], LOG_KICK);
	down(&r);
}

/* From inside the guest of LP 0 another LP tracks. */
struct tracker {
	struct tdx_rig *r;
	u64 status[3];
};

static u64 raw_track(struct tdx_rig *r)
{
	struct tdx_regs regs = {.rax = TDH_MEM_TRACK, .rcx = td_tdr(r->td)};

	return seamcall(r->lps[1], &regs);
}

static void guest_while_tracked(struct lp *lp, void *guest)
{
	struct tracker *t = guest;

	t->status[0] = raw_track(t->r);
	t->status[1] = raw_track(t->r);
	lp_interrupt(lp, LP_INTR);
	lp_guest_poll(lp);
}

/*
 * Row 79, and what the kick is for: TRACK, with a vCPU inside that entered before the last one, answers
 * PREVIOUS_TLB_EPOCH_BUSY.
 */
static void test_epoch_rule(void **state)
{
	static const struct guest_ops ops = {.run = guest_while_tracked};
	struct tracker t = {0};
	struct tdx_regs regs = {0};
	struct tdx_rig r;

	(void)state;
	up(&r, true);
	t.r = &r;
	r.lps[0]->guest_ops = &ops;
	r.lps[0]->guest = &t;
	assert_int_equal(td_vcpu_enter(r.vcpu, &regs), TDX_EXIT_EXTERNAL_INTERRUPT);
	assert_int_equal(t.status[0], TDX_SUCCESS);
	assert_int_equal(t.status[1], TDX_PREVIOUS_TLB_EPOCH_BUSY);
	assert_int_equal(raw_track(&r), TDX_SUCCESS);
	down(&r);
}

/* An interrupt that is pending when the vCPU enters isn't lost: the guest leaves at once. */
static void guest_that_polls(struct lp *lp, void *guest)
{
	u32 *polls = guest;

	while (lp_guest_poll(lp) == LP_ACCESS_OK && *polls < 10)
		++*polls;
}

static void test_enter_keeps_pending_interrupt(void **state)
{
	static const struct guest_ops ops = {.run = guest_that_polls};
	struct tdx_regs regs = {0};
	struct tdx_rig r;
	u32 polls = 0;

	(void)state;
	up(&r, true);
	r.lps[0]->guest_ops = &ops;
	r.lps[0]->guest = &polls;
	lp_interrupt(r.lps[0], LP_INTR);
	assert_int_equal(td_vcpu_enter(r.vcpu, &regs), TDX_EXIT_EXTERNAL_INTERRUPT);
	assert_int_equal(polls, 0);
	/* Any other call is made with interrupts on, and takes it. */
	assert_true(lp_interrupted(r.lps[0]));
	tdx_rig_td_down(&r);
	assert_false(lp_interrupted(r.lps[0]));
	tdx_rig_down(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_map),
		cmocka_unit_test(test_add),
		cmocka_unit_test(test_removal_order),
		cmocka_unit_test(test_put_comes_last),
		cmocka_unit_test(test_reclaim_at_teardown),
		cmocka_unit_test(test_reclaim_checks_size),
		cmocka_unit_test(test_illegal_transitions),
		cmocka_unit_test(test_no_reclaim_with_key),
		cmocka_unit_test(test_unexpected_status),
		cmocka_unit_test(test_epoch_rule),
		cmocka_unit_test(test_enter_keeps_pending_interrupt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
