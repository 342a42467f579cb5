/* SPDX-License-Identifier: MIT */
/* A table becomes a leaf, or stays what it was. */
#include <errno.h>

#include "tdx/internal.h"
#include "tdx/rig.h"

#define GFN (4 * 512ULL)
#define GFN_1G (2 * 512 * 512ULL)
#define BUSY_RCX (TDX_OPERAND_BUSY | TDX_OPERAND_RCX)

static const struct tdx_rig_config injectable = {.seamcall = tdx_rig_injecting,
						 .dynamic_pamt = true};

enum parts { PENDING, ACCEPTED };

/* A 2M frame mapped by a table of 512 parts, which the guest has accepted and filled, or not. */
static pfn_t up_with_table(struct tdx_rig *r, const struct tdx_rig_config *cfg, enum parts parts)
{
	pfn_t huge;

	tdx_rig_inject_nothing();
	tdx_rig_up(r, cfg);
	assert_int_equal(tdx_rig_map(r, GFN, PG_LEVEL_2M, &huge), MMU_RET_FIXED);
	if (parts == ACCEPTED) {
		assert_int_equal(tdx_rig_accept(r, GFN, PG_LEVEL_2M), TDX_SUCCESS);
		tdx_rig_fill(r, GFN);
	}
	assert_int_equal(tdx_rig_split(r, GFN, PG_LEVEL_4K), 0);
	r->nr_log = 0;
	r->kick_saw_hold_off = false;
	return huge;
}

static void down(struct tdx_rig *r, pfn_t huge)
{
	tdx_rig_inject_nothing();
	tdx_rig_td_down(r);
	tdx_rig_free(r, huge, PG_LEVEL_2M);
	tdx_rig_down(r);
}

/* The table is there, not blocked, with all its parts and what they hold. */
static void check_unchanged(struct tdx_rig *r, pfn_t huge, enum parts parts)
{
	assert_int_equal(tdx_rig_level(r, GFN), PG_LEVEL_4K);
	/* NL_MAPPED: 0x8000000000000407 and where the table is. */
	assert_int_equal(tdx_rig_raw(r, GFN, PG_LEVEL_2M) & ~(GENMASK_ULL(51, 12) | BIT_ULL(8)),
			 0x8000000000000407ULL);
	tdx_rig_check(r, GFN, 512);
	if (r->cfg.dynamic_pamt)
		assert_int_equal(tdx_pamt_refs(r->tdx, huge), 512);
	if (parts == ACCEPTED)
		assert_int_equal(tdx_rig_wrong(r, GFN), 0);
	assert_int_equal(r->warnings, 0);
}

/*
 * Row 99: BLOCK, TRACK, kick, PROMOTE, and the write-back of the table's page under the TD's key; the guest
 * finds every byte; table page, S-EPT page and pair are the host's again, the range counts 0.
 */
static void test_promote(void **state)
{
	static const u32 expected[] = {TDH_MEM_RANGE_BLOCK, TDH_MEM_TRACK, LOG_KICK,
				       TDH_MEM_PAGE_PROMOTE, TDH_PHYMEM_PAGE_WBINVD};

	(void)state;
	for (int i = 0; i < 4; i++) {
		struct tdx_rig_config cfg = {.dynamic_pamt = i & 1};
		enum parts parts = i & 2 ? ACCEPTED : PENDING;
		u64 sept, pamt, mirror;
		struct tdx_rig r;
		pfn_t huge = up_with_table(&r, &cfg, parts);

		sept = r.host->used[FRAME_SEPT_TABLE];
		mirror = r.host->used[FRAME_MIRROR_TABLE];
		pamt = r.host->used[FRAME_PAMT];
		assert_int_equal(tdx_rig_promote(&r, GFN + 77, PG_LEVEL_2M), 0);
		assert_int_equal(r.nr_log, 5);
		for (u32 k = 0; k < 5; k++)
			assert_int_equal(r.log[k], expected[k]);
		assert_int_equal(tdx_rig_level(&r, GFN), PG_LEVEL_2M);
		assert_int_equal(tdx_rig_raw(&r, GFN, PG_LEVEL_2M) & ~(BIT_ULL(8) | BIT_ULL(9)),
				 (parts == ACCEPTED ? 0x80000000000004F7ULL
						    : 0x81000000000000F0ULL) |
					 fn_to_addr(huge) | (u64)td_hkid(r.td) << 46);
		sync_rcu_barrier();
		assert_int_equal(r.host->used[FRAME_SEPT_TABLE], sept - 1);
		assert_int_equal(r.host->used[FRAME_MIRROR_TABLE], mirror - 1);
		assert_int_equal(r.host->used[FRAME_PAMT], pamt - (i & 1 ? 2 : 0));
		assert_int_equal(tdx_pamt_refs(r.tdx, huge), 0);
		assert_int_equal(tdx_leaf_stats(r.tdx, TDH_PHYMEM_PAMT_REMOVE).calls, 0);
		if (parts == ACCEPTED)
			assert_int_equal(tdx_rig_wrong(&r, GFN), 0);
		else
			assert_int_equal(tdx_rig_accept(&r, GFN, PG_LEVEL_2M), TDX_SUCCESS);
		/* And again: there is nothing that a round leaves behind. */
		assert_int_equal(tdx_rig_split(&r, GFN, PG_LEVEL_4K), 0);
		assert_int_equal(tdx_rig_promote(&r, GFN, PG_LEVEL_2M), 0);
		assert_int_equal(r.bugged[0], 0);
		assert_int_equal(r.warnings, 0);
		down(&r, huge);
	}
}

/*
 * Row 37: the table that a promotion takes out is freed while whoever took it out holds every lock
 * that such a thread may hold.
 */
static void test_free_needs_no_lock(void **state)
{
	struct tdx_rig r;
	pfn_t huge = up_with_table(&r, &injectable, ACCEPTED);
	u64 mirror = sync_load(&r.host->used[FRAME_MIRROR_TABLE]);

	(void)state;
	sync_write_lock(mmu_lock(r.mmu));
	assert_int_equal(mmu_promote(r.mmu, GFN, PG_LEVEL_2M), 0);
	sync_mutex_lock(&r.td->split_cache.lock);
	sync_mutex_lock(&r.tdx->pamt_lock);
	sync_mutex_lock(&r.tdx->hkid_lock);
	/* Not by a barrier of ours: nobody may wait for readers with a lock held. */
	while (sync_load(&r.host->used[FRAME_MIRROR_TABLE]) != mirror - 1)
		sync_relax();
	sync_mutex_unlock(&r.tdx->hkid_lock);
	sync_mutex_unlock(&r.tdx->pamt_lock);
	sync_mutex_unlock(&r.td->split_cache.lock);
	sync_write_unlock(mmu_lock(r.mmu));
	tdx_rig_quiet(&r);
	down(&r, huge);
}

/* Parts that were mapped one by one, over frames that lie together, are promoted as well. */
static void test_promote_what_was_mapped_small(void **state)
{
	struct tdx_rig r;
	pfn_t block;

	(void)state;
	tdx_rig_inject_nothing();
	tdx_rig_up(&r, &injectable);
	assert_int_equal(host_alloc(r.host, PG_LEVEL_2M, FRAME_GUEST, &block), 0);
	for (u64 i = 0; i < 512; i++) {
		struct mmu_fault fault = {.gfn = GFN + i,
					  .pfn = block + i,
					  .max_level = PG_LEVEL_4K,
					  .private = true,
					  .invalidate_seq = mmu_invalidate_seq(r.mmu)};

		assert_int_equal(tdx_rig_promote(&r, GFN, PG_LEVEL_2M), -EAGAIN);
		assert_int_equal(mmu_cache_topup(&r.cache), 0);
		assert_int_equal(td_fault_topup(r.td), 0);
		assert_int_equal(mmu_map(r.mmu, &r.cache, &fault), MMU_RET_FIXED);
		assert_int_equal(tdx_rig_accept(&r, GFN + i, PG_LEVEL_4K), TDX_SUCCESS);
	}
	tdx_rig_fill(&r, GFN);
	assert_int_equal(tdx_pamt_refs(r.tdx, block), 512);
	assert_int_equal(tdx_rig_promote(&r, GFN, PG_LEVEL_2M), 0);
	assert_int_equal(tdx_pamt_refs(r.tdx, block), 0);
	assert_int_equal(tdx_rig_wrong(&r, GFN), 0);
	tdx_rig_check(&r, GFN, 512);
	assert_int_equal(r.warnings, 0);
	down(&r, block);
}

/* Row 99: parts in different states: PROMOTE is refused, UNBLOCK undoes the BLOCK, all is as it was. */
static void test_mixed_is_refused(void **state)
{
	static const u32 expected[] = {TDH_MEM_RANGE_BLOCK, TDH_MEM_TRACK, LOG_KICK,
				       TDH_MEM_PAGE_PROMOTE, TDH_MEM_RANGE_UNBLOCK};

	(void)state;
	for (u64 odd = 0; odd < 512; odd += 511) {
		struct tdx_rig r;
		pfn_t huge = up_with_table(&r, &injectable, PENDING);

		assert_int_equal(tdx_rig_accept(&r, GFN + odd, PG_LEVEL_4K), TDX_SUCCESS);
		r.nr_log = 0;
		assert_int_equal(tdx_rig_promote(&r, GFN, PG_LEVEL_2M), -EAGAIN);
		assert_int_equal(r.nr_log, 5);
		for (u32 k = 0; k < 5; k++)
			assert_int_equal(r.log[k], expected[k]);
		check_unchanged(&r, huge, PENDING);
		/* With the rest accepted it works. */
		for (u64 i = 0; i < 512; i++)
			if (i != odd)
				assert_int_equal(tdx_rig_accept(&r, GFN + i, PG_LEVEL_4K),
						 TDX_SUCCESS);
		assert_int_equal(tdx_rig_promote(&r, GFN, PG_LEVEL_2M), 0);
		assert_int_equal(r.bugged[0], 0);
		down(&r, huge);
	}
}

/* ---- BUSY, interrupted -----------------------------------------------------------------------*/
/*
 * One BUSY of BLOCK, TRACK, PROMOTE or (after a refusal) UNBLOCK costs a kick with vCPUs held off.
 */
static void test_busy_once(void **state)
{
	static const u32 leaves[] = {TDH_MEM_RANGE_BLOCK, TDH_MEM_TRACK, TDH_MEM_PAGE_PROMOTE,
				     TDH_MEM_RANGE_UNBLOCK};

	(void)state;
	for (u32 i = 0; i < ARRAY_SIZE(leaves); i++) {
		bool refused = leaves[i] == TDH_MEM_RANGE_UNBLOCK;
		enum parts parts = refused ? PENDING : ACCEPTED;
		struct tdx_rig r;
		pfn_t huge = up_with_table(&r, &injectable, parts);

		if (refused)
			assert_int_equal(tdx_rig_accept(&r, GFN, PG_LEVEL_4K), TDX_SUCCESS);
		tdx_rig_inject(leaves[i], 1, 1, BUSY_RCX);
		assert_int_equal(tdx_rig_promote(&r, GFN, PG_LEVEL_2M), refused ? -EAGAIN : 0);
		assert_true(r.kick_saw_hold_off);
		assert_int_equal(tdx_rig_injection.seen, 2);
		assert_int_equal(r.bugged[0], 0);
		if (refused)
			check_unchanged(&r, huge, parts);
		tdx_rig_check(&r, GFN, 512);
		down(&r, huge);
	}
}

/* BUSY twice: PROMOTE is undone, BLOCK has nothing to undo: both -EAGAIN, all as it was. */
static void test_busy_twice_is_undone(void **state)
{
	(void)state;
	for (int promote = 0; promote <= 1; promote++) {
		struct tdx_rig r;
		pfn_t huge = up_with_table(&r, &injectable, ACCEPTED);

		tdx_rig_inject(promote ? TDH_MEM_PAGE_PROMOTE : TDH_MEM_RANGE_BLOCK, 1, 2,
			       BUSY_RCX);
		assert_int_equal(tdx_rig_promote(&r, GFN, PG_LEVEL_2M), -EAGAIN);
		assert_int_equal(tdx_rig_logged(&r, TDH_MEM_RANGE_UNBLOCK), promote);
		assert_int_equal(r.bugged[0], 0);
		check_unchanged(&r, huge, ACCEPTED);
		assert_int_equal(tdx_rig_promote(&r, GFN, PG_LEVEL_2M), 0);
		assert_int_equal(tdx_rig_wrong(&r, GFN), 0);
		down(&r, huge);
	}
}

/* What can't be undone, for TRACK or UNBLOCK being BUSY twice, stops the VM with the reason. */
static void test_busy_twice_without_a_way_back(void **state)
{
	static const u32 leaves[] = {TDH_MEM_TRACK, TDH_MEM_RANGE_UNBLOCK};

	(void)state;
	for (u32 i = 0; i < ARRAY_SIZE(leaves); i++) {
		struct tdx_rig r;
		pfn_t huge = up_with_table(&r, &injectable, PENDING);

		assert_int_equal(tdx_rig_accept(&r, GFN, PG_LEVEL_4K), TDX_SUCCESS);
		tdx_rig_inject(leaves[i], 1, 2, BUSY_RCX);
		assert_int_equal(tdx_rig_promote(&r, GFN, PG_LEVEL_2M), -EIO);
		assert_non_null(strstr(r.bugged, tdh_leaf_name(leaves[i])));
		assert_int_equal(tdx_rig_level(&r, GFN), PG_LEVEL_4K);
		assert_int_equal(tdx_pamt_refs(r.tdx, huge), 512);
		down(&r, huge);
	}
}

/* An interrupted PROMOTE is made again; one that is interrupted for ever is undone. */
static void test_interrupted(void **state)
{
	static const u64 statuses[] = {TDX_INTERRUPTED_RESTARTABLE, TDX_INTERRUPTED_BUSY};

	(void)state;
	for (u32 i = 0; i < ARRAY_SIZE(statuses); i++) {
		struct tdx_rig r;
		pfn_t huge = up_with_table(&r, &injectable, ACCEPTED);

		tdx_rig_inject(TDH_MEM_PAGE_PROMOTE, 1, ~0ULL >> 1, statuses[i]);
		assert_int_equal(tdx_rig_promote(&r, GFN, PG_LEVEL_2M), -EAGAIN);
		assert_true(tdx_rig_injection.seen < 1000);
		assert_int_equal(tdx_rig_logged(&r, TDH_MEM_RANGE_UNBLOCK), 1);
		assert_int_equal(r.bugged[0], 0);
		tdx_rig_inject(TDH_MEM_PAGE_PROMOTE, 1, 5, statuses[i]);
		check_unchanged(&r, huge, ACCEPTED);
		assert_int_equal(tdx_rig_promote(&r, GFN, PG_LEVEL_2M), 0);
		assert_int_equal(tdx_rig_injection.seen, 6);
		assert_int_equal(tdx_rig_wrong(&r, GFN), 0);
		down(&r, huge);
	}
}

static u32 nmis;

/* An NMI comes while PROMOTE is in the module, the first @nmis times. */
static u64 with_nmis(struct lp *lp, struct tdx_regs *r)
{
	if (r->rax == TDH_MEM_PAGE_PROMOTE && nmis) {
		nmis--;
		lp_interrupt(lp, LP_NMI);
	}
	return seamcall(lp, r);
}

/* The module itself gives way to an NMI; the host takes it, and the next try gets through. */
static void test_interrupted_by_an_nmi(void **state)
{
	struct tdx_rig_config cfg = {.seamcall = with_nmis};
	struct tdx_rig r;
	pfn_t huge;

	(void)state;
	nmis = 0;
	huge = up_with_table(&r, &cfg, ACCEPTED);
	nmis = 3;
	assert_int_equal(tdx_rig_promote(&r, GFN, PG_LEVEL_2M), 0);
	assert_int_equal(nmis, 0);
	assert_int_equal(tdx_rig_logged(&r, TDH_MEM_PAGE_PROMOTE), 4);
	assert_int_equal(tdx_rig_logged(&r, TDH_MEM_RANGE_UNBLOCK), 0);
	assert_int_equal(tdx_rig_wrong(&r, GFN), 0);
	down(&r, huge);
}

/* ---- other answers ---------------------------------------------------------------------------*/
/* Any other status stops the VM; nobody unblocks. */
static void test_other_status(void **state)
{
	struct tdx_rig r;
	pfn_t huge = up_with_table(&r, &injectable, ACCEPTED);

	(void)state;
	tdx_rig_inject(TDH_MEM_PAGE_PROMOTE, 1, 1, TDX_EPT_WALK_FAILED | TDX_OPERAND_RCX);
	assert_int_equal(tdx_rig_promote(&r, GFN, PG_LEVEL_2M), -EIO);
	assert_non_null(strstr(r.bugged, "TDH.MEM.PAGE.PROMOTE"));
	assert_int_equal(tdx_rig_logged(&r, TDH_MEM_RANGE_UNBLOCK), 0);
	down(&r, huge);
}

static u64 other_page(struct lp *lp, struct tdx_regs *r)
{
	bool promote = r->rax == TDH_MEM_PAGE_PROMOTE;
	u64 status = seamcall(lp, r);

	if (promote)
		r->rcx += 0x1000;
	return status;
}

/*
 * A module that gives back another page than the table's stops the VM, and that page isn't freed.
 */
static void test_other_page(void **state)
{
	struct tdx_rig_config cfg = {.seamcall = other_page};
	struct tdx_rig r;
	pfn_t huge = up_with_table(&r, &cfg, ACCEPTED);
	u64 used = host_frames_used(r.host);

	(void)state;
	assert_int_equal(tdx_rig_promote(&r, GFN, PG_LEVEL_2M), -EIO);
	assert_non_null(strstr(r.bugged, "another page"));
	assert_int_equal(host_frames_used(r.host), used);
	/* The two trees differ for good: what of it can't be reclaimed is lost, and no more. */
	tdx_rig_td_down(&r);
	assert_int_equal(r.host->used[FRAME_SEPT_TABLE], 1);
	tdx_rig_free(&r, huge, PG_LEVEL_2M);
	r.is_lossy = true;
	tdx_rig_down(&r);
}

/* Without feature bit 51 the leaf could never be split again: refused, with nothing called. */
static void test_without_bit_51(void **state)
{
	struct tdx_rig_config cfg = {.profile = "1.5.25"};
	struct tdx_rig r;
	pfn_t block;

	(void)state;
	tdx_rig_up(&r, &cfg);
	assert_int_equal(host_alloc(r.host, PG_LEVEL_2M, FRAME_GUEST, &block), 0);
	for (u64 i = 0; i < 512; i++) {
		struct mmu_fault fault = {.gfn = GFN + i,
					  .pfn = block + i,
					  .max_level = PG_LEVEL_4K,
					  .private = true,
					  .invalidate_seq = mmu_invalidate_seq(r.mmu)};

		assert_int_equal(mmu_cache_topup(&r.cache), 0);
		assert_int_equal(mmu_map(r.mmu, &r.cache, &fault), MMU_RET_FIXED);
	}
	r.nr_log = 0;
	assert_int_equal(tdx_rig_promote(&r, GFN, PG_LEVEL_2M), -EAGAIN);
	assert_int_equal(r.nr_log, 0);
	assert_int_equal(r.bugged[0], 0);
	down(&r, block);
}

/* ---- 1G --------------------------------------------------------------------------------------*/
/*
 * 512 accepted leaves at 2M, over one 1G frame, become one at 1G and are split again: no pair
 * moves, what the guest wrote stays, and a 4K end in it takes two splits.
 */
static void test_1g(void **state)
{
	(void)state;
	for (int dynamic = 0; dynamic <= 1; dynamic++) {
		struct tdx_rig_config cfg = {.memory = 4ULL << 30, .dynamic_pamt = dynamic};
		gfn_t probe = GFN_1G + 300 * 512;
		struct tdx_rig r;
		pfn_t block;
		u64 pamt;

		tdx_rig_up(&r, &cfg);
		assert_int_equal(host_alloc(r.host, PG_LEVEL_1G, FRAME_GUEST, &block), 0);
		for (u64 i = 0; i < 512; i++) {
			struct mmu_fault fault = {.gfn = GFN_1G + i * 512,
						  .pfn = block + i * 512,
						  .max_level = PG_LEVEL_2M,
						  .private = true,
						  .invalidate_seq = mmu_invalidate_seq(r.mmu)};

			assert_int_equal(mmu_cache_topup(&r.cache), 0);
			assert_int_equal(mmu_map(r.mmu, &r.cache, &fault), MMU_RET_FIXED);
			assert_int_equal(tdx_rig_accept(&r, fault.gfn, PG_LEVEL_2M), TDX_SUCCESS);
		}
		tdx_rig_fill(&r, probe);
		pamt = tdx_dpamt_pages(r.tdx);
		assert_int_equal(tdx_rig_promote(&r, GFN_1G, PG_LEVEL_1G), 0);
		assert_int_equal(tdx_rig_level(&r, probe), PG_LEVEL_1G);
		assert_int_equal(tdx_rig_wrong(&r, probe), 0);
		assert_int_equal(tdx_dpamt_pages(r.tdx), pamt);

		assert_int_equal(tdx_rig_split(&r, probe, PG_LEVEL_2M), 0);
		assert_int_equal(tdx_rig_level(&r, probe), PG_LEVEL_2M);
		assert_int_equal(tdx_dpamt_pages(r.tdx), pamt);
		assert_int_equal(tdx_rig_promote(&r, GFN_1G, PG_LEVEL_1G), 0);
		assert_int_equal(tdx_rig_split(&r, probe + 5, PG_LEVEL_4K), 0);
		assert_int_equal(tdx_rig_level(&r, probe), PG_LEVEL_4K);
		assert_int_equal(tdx_rig_level(&r, probe + 512), PG_LEVEL_2M);
		assert_int_equal(tdx_rig_wrong(&r, probe), 0);
		assert_int_equal(tdx_pamt_refs(r.tdx, block + 300 * 512), dynamic ? 512 : 0);
		assert_int_equal(tdx_pamt_refs(r.tdx, block + 301 * 512), 0);
		/* A table among the parts is in the way. */
		assert_int_equal(tdx_rig_promote(&r, GFN_1G, PG_LEVEL_1G), -EAGAIN);
		assert_int_equal(tdx_rig_promote(&r, probe, PG_LEVEL_2M), 0);
		assert_int_equal(tdx_rig_promote(&r, GFN_1G, PG_LEVEL_1G), 0);
		assert_int_equal(tdx_rig_wrong(&r, probe), 0);
		assert_int_equal(r.bugged[0], 0);
		tdx_rig_td_down(&r);
		tdx_rig_free(&r, block, PG_LEVEL_1G);
		tdx_rig_down(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_promote),
		cmocka_unit_test(test_free_needs_no_lock),
		cmocka_unit_test(test_promote_what_was_mapped_small),
		cmocka_unit_test(test_mixed_is_refused),
		cmocka_unit_test(test_busy_once),
		cmocka_unit_test(test_busy_twice_is_undone),
		cmocka_unit_test(test_busy_twice_without_a_way_back),
		cmocka_unit_test(test_interrupted),
		cmocka_unit_test(test_interrupted_by_an_nmi),
		cmocka_unit_test(test_other_status),
		cmocka_unit_test(test_other_page),
		cmocka_unit_test(test_without_bit_51),
		cmocka_unit_test(test_1g),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
