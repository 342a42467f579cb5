/* SPDX-License-Identifier: MIT */
/* A module whose DEMOTE needs no BLOCK ("next"): splits beside running vCPUs and beside each other. */
#include <errno.h>

#include "base/rng.h"
#include "mmu/spte.h"
#include "tdx/internal.h"
#include "tdx/rig.h"

#define GFN (4 * 512ULL)
#define BUSY_RCX (TDX_OPERAND_BUSY | TDX_OPERAND_RCX)

static pfn_t up_with_leaf(struct tdx_rig *r, const struct tdx_rig_config *cfg)
{
	pfn_t huge;

	tdx_rig_inject_nothing();
	tdx_rig_up(r, cfg);
	assert_int_equal(tdx_rig_map(r, GFN, PG_LEVEL_2M, &huge), MMU_RET_FIXED);
	r->nr_log = 0;
	return huge;
}

static void down(struct tdx_rig *r, pfn_t huge)
{
	tdx_rig_inject_nothing();
	tdx_rig_td_down(r);
	tdx_rig_free(r, huge, PG_LEVEL_2M);
	tdx_rig_down(r);
}

static int split(struct tdx_rig *r, gfn_t gfn)
{
	return mmu_split_shared(r->mmu, &r->cache, NULL, gfn, PG_LEVEL_4K);
}

/* No real module says that it can; "next" does. */
static void test_who_can(void **state)
{
	static const struct {
		const char *profile;
		bool can;
	} rows[] = {{"1.5.05", false}, {"1.5.25", false}, {"1.5.28", false}, {"next", true}};

	(void)state;
	for (u32 i = 0; i < ARRAY_SIZE(rows); i++) {
		struct tdx_rig_config cfg = {.profile = rows[i].profile};
		struct tdx_rig r;

		assert_int_equal(tdx_rig_module(&r, &cfg), 0);
		assert_int_equal(tdx_splits_unblocked(r.tdx), rows[i].can);
		tdx_rig_down(&r);
	}
}

/*
 * Rows 11, 21, 63: a split is one DEMOTE, with no BLOCK, TRACK or kick, for each source of pages; the
 * guest reads on what it wrote, whose range counts 512 users.
 */
static void test_one_demote(void **state)
{
	(void)state;
	for (enum mmu_split_metadata m = MMU_META_PAGE; m <= MMU_META_PREALLOC; m++) {
		struct tdx_rig_config cfg = {
			.profile = "next", .dynamic_pamt = true, .split_metadata = m};
		struct tdx_rig r;
		pfn_t huge = up_with_leaf(&r, &cfg);

		assert_int_equal(tdx_rig_accept(&r, GFN, PG_LEVEL_2M), TDX_SUCCESS);
		tdx_rig_fill(&r, GFN);
		r.nr_log = 0;
		assert_int_equal(split(&r, GFN + 5), MMU_RET_FIXED);
		assert_int_equal(tdx_rig_logged(&r, TDH_MEM_PAGE_DEMOTE), 1);
		for (u32 leaf = 0; leaf < TDX_NR_LEAVES; leaf++)
			if (leaf != TDH_MEM_PAGE_DEMOTE && leaf != TDH_PHYMEM_PAMT_ADD)
				assert_int_equal(tdx_rig_logged(&r, leaf), 0);
		assert_int_equal(r.kicks, 0);
		assert_int_equal(tdx_pamt_refs(r.tdx, huge), 512);
		tdx_rig_check(&r, GFN, 512);
		assert_int_equal(tdx_rig_wrong(&r, GFN), 0);
		assert_int_equal(split(&r, GFN), MMU_RET_SPURIOUS);
		assert_int_equal(r.bugged[0], 0);
		down(&r, huge);
	}
}

/*
 * Rows 30, 62: BUSY under the read lock is a retry: one call, no kick, no hold-off; the old leaf is
 * there in both trees, the pair is ours again, the VM lives, and the next try succeeds.
 */
static void test_busy_is_a_retry(void **state)
{
	(void)state;
	for (int i = 0; i < 6; i++) {
		struct tdx_rig_config cfg = {.profile = "next",
					     .dynamic_pamt = true,
					     .split_metadata = (enum mmu_split_metadata)(i / 2),
					     .demote_lock = (enum td_demote_lock)(i % 2),
					     .seamcall = tdx_rig_injecting};
		struct tdx_rig r;
		pfn_t huge = up_with_leaf(&r, &cfg);
		u64 pages = tdx_dpamt_pages(r.tdx), used = host_frames_used(r.host);
		u64 cached = cfg.split_metadata == MMU_META_VM_CACHE ? 2 : 0;

		tdx_rig_inject(TDH_MEM_PAGE_DEMOTE, 1, 2, BUSY_RCX);
		for (int k = 0; k < 2; k++)
			assert_int_equal(split(&r, GFN), MMU_RET_RETRY);
		assert_int_equal(tdx_rig_logged(&r, TDH_MEM_PAGE_DEMOTE), 0); /* never got there */
		assert_int_equal(r.kicks, 0);
		assert_int_equal(tdx_pamt_refs(r.tdx, huge), 0);
		assert_int_equal(tdx_dpamt_pages(r.tdx), pages);
		assert_int_equal(host_frames_used(r.host), used + cached);
		assert_int_equal(tdx_rig_level(&r, GFN), PG_LEVEL_2M);
		tdx_rig_check(&r, GFN, 512);
		assert_int_equal(split(&r, GFN), MMU_RET_FIXED);
		assert_int_equal(tdx_pamt_refs(r.tdx, huge), 512);
		assert_int_equal(r.bugged[0], 0);
		down(&r, huge);
	}
}

/* Row 26: any other status stops the VM with its name; the leaf is as it was. */
static void test_other_status(void **state)
{
	struct tdx_rig_config cfg = {
		.profile = "next", .dynamic_pamt = true, .seamcall = tdx_rig_injecting};
	struct tdx_rig r;
	pfn_t huge = up_with_leaf(&r, &cfg);

	(void)state;
	tdx_rig_inject(TDH_MEM_PAGE_DEMOTE, 1, 1, TDX_EPT_WALK_FAILED);
	assert_int_equal(split(&r, GFN), -EIO);
	assert_non_null(strstr(r.bugged, "TDH.MEM.PAGE.DEMOTE answered TDX_EPT_WALK_FAILED"));
	assert_int_equal(tdx_rig_level(&r, GFN), PG_LEVEL_2M);
	assert_int_equal(split(&r, GFN), -EIO);
	down(&r, huge);
}

/*
 * Rows 20, 23: under the write lock "next" is asked for a DEMOTE and nothing else, too; there a BUSY is
 * answered by holding vCPUs out, and asking once more.
 */
static void test_under_the_write_lock(void **state)
{
	struct tdx_rig_config cfg = {
		.profile = "next", .dynamic_pamt = true, .seamcall = tdx_rig_injecting};
	struct tdx_rig r;
	pfn_t huge = up_with_leaf(&r, &cfg);

	(void)state;
	tdx_rig_inject(TDH_MEM_PAGE_DEMOTE, 1, 1, BUSY_RCX);
	assert_int_equal(tdx_rig_split(&r, GFN, PG_LEVEL_4K), 0);
	assert_int_equal(tdx_leaf_stats(r.tdx, TDH_MEM_PAGE_DEMOTE).calls, 2);
	assert_int_equal(tdx_rig_logged(&r, TDH_MEM_RANGE_BLOCK), 0);
	assert_int_equal(tdx_rig_logged(&r, TDH_MEM_TRACK), 0);
	assert_int_equal(r.kicks, 1);
	assert_true(r.kick_saw_hold_off);
	tdx_rig_check(&r, GFN, 512);
	down(&r, huge);
}

/* A table page that the mirror doesn't have yet. */
static void make_page(struct tdx_rig *r, struct mmu_page *sp)
{
	*sp = (struct mmu_page){.level = PG_LEVEL_4K, .mirror = true};
	assert_int_equal(host_alloc(r->host, PG_LEVEL_4K, FRAME_OTHER, &sp->table), 0);
	r->host->private[sp->table] = sp;
	assert_int_equal(td_external_ops.alloc_external_spt(r->td, &sp->external_spt), 0);
}

static void free_page(struct tdx_rig *r, struct mmu_page *sp)
{
	r->host->private[sp->table] = NULL;
	host_free(r->host, sp->table, PG_LEVEL_4K, FRAME_OTHER);
}

static int hook(struct tdx_rig *r, gfn_t gfn, pfn_t pfn, const struct mmu_page *sp)
{
	return td_external_ops.set_external_spte(r->td, gfn, spte_make_leaf(pfn, PG_LEVEL_2M),
						 spte_make_table(sp->table), PG_LEVEL_2M, true);
}

/*
 * Row 56: two readers hear that the cache has the pages of a split; the first one gets them, the
 * second one is told to retry, without a call or a VM that dies, and succeeds after a top-up.
 */
static void test_two_consumers(void **state)
{
	struct tdx_rig_config cfg = {
		.profile = "next", .dynamic_pamt = true, .split_metadata = MMU_META_VM_CACHE};
	struct mmu_page sp[2];
	struct tdx_rig r;
	pfn_t huge[2];

	(void)state;
	huge[0] = up_with_leaf(&r, &cfg);
	assert_int_equal(tdx_rig_map(&r, GFN + 512, PG_LEVEL_2M, &huge[1]), MMU_RET_FIXED);
	for (int i = 0; i < 2; i++)
		make_page(&r, &sp[i]);
	sync_read_lock(mmu_lock(r.mmu));
	assert_true(td_external_ops.split_cache_is_short(r.td, PG_LEVEL_2M));
	sync_read_unlock(mmu_lock(r.mmu));
	assert_int_equal(td_external_ops.topup_split_cache(r.td, PG_LEVEL_2M), 0);
	sync_read_lock(mmu_lock(r.mmu));
	for (int i = 0; i < 2; i++)
		assert_false(td_external_ops.split_cache_is_short(r.td, PG_LEVEL_2M));
	r.nr_log = 0;
	assert_int_equal(hook(&r, GFN, huge[0], &sp[0]), 0);
	assert_int_equal(hook(&r, GFN + 512, huge[1], &sp[1]), -EBUSY);
	assert_int_equal(r.nr_log, 1);
	sync_read_unlock(mmu_lock(r.mmu));
	assert_int_equal(r.bugged[0], 0);
	assert_int_equal(td_external_ops.topup_split_cache(r.td, PG_LEVEL_2M), 0);
	sync_read_lock(mmu_lock(r.mmu));
	assert_int_equal(hook(&r, GFN + 512, huge[1], &sp[1]), 0);
	sync_read_unlock(mmu_lock(r.mmu));

	/* The mirror never heard of it, so the module has to take it back before the end. */
	for (u32 i = 0; i < 2; i++) {
		struct td_mem_call c = {.td = r.td, .gfn = GFN + 512 * i, .level = PG_LEVEL_2M};

		assert_int_equal(td_external_ops.set_external_spte(
					 r.td, c.gfn, spte_make_table(sp[i].table),
					 spte_make_leaf(huge[i], PG_LEVEL_2M), PG_LEVEL_2M, false),
				 0);
		td_external_ops.free_external_spt(r.td, sp[i].external_spt);
		free_page(&r, &sp[i]);
		tdx_rig_check(&r, c.gfn, 512);
	}
	tdx_rig_td_down(&r);
	for (int i = 0; i < 2; i++)
		tdx_rig_free(&r, huge[i], PG_LEVEL_2M);
	tdx_rig_down(&r);
}

/* ---- threads ---------------------------------------------------------------------------------*/
#define BLOCKS 16
#define SPLITTERS (TDX_RIG_LPS - 1)

struct splitter {
	struct sync_thread thread;
	struct tdx_rig *r;
	u32 index;
	u64 fixed, retries, failures;
};

/* Each goes over all blocks, in an order of its own: several meet at some, and not at others. */
static void splitter_main(void *arg)
{
	struct splitter *s = arg;
	struct mmu_vcpu_cache cache;

	lp_set_current(s->r->lps[1 + s->index]);
	mmu_cache_init(&cache, s->r->mmu);
	for (u32 i = 0; i < BLOCKS; i++) {
		gfn_t gfn = GFN + 512ULL * ((i * (2 * s->index + 1) + s->index) % BLOCKS);
		int ret;

		while ((ret = mmu_split_shared(s->r->mmu, &cache, NULL, gfn, PG_LEVEL_4K)) ==
		       MMU_RET_RETRY) {
			s->retries++;
			sync_relax();
		}
		s->fixed += ret == MMU_RET_FIXED;
		s->failures += ret < 0;
	}
	mmu_cache_destroy(&cache);
	lp_set_current(NULL);
}

/*
 * Rows 19, 21, 100: several threads split the same blocks at once while the guest reads them: each
 * block is split once, no word is wrong, the pairs are counted, and nobody was kicked or held out.
 */
static void test_many_at_once(void **state)
{
	(void)state;
	for (int i = 0; i < 6; i++) {
		struct tdx_rig_config cfg = {.profile = "next",
					     .dynamic_pamt = true,
					     .split_metadata = (enum mmu_split_metadata)(i / 2),
					     .demote_lock = (enum td_demote_lock)(i % 2)};
		struct splitter s[SPLITTERS] = {0};
		pfn_t huge[BLOCKS];
		struct tdx_rig r;
		u64 fixed = 0;

		tdx_rig_inject_nothing();
		tdx_rig_up(&r, &cfg);
		r.host->tracer.count = 0; /* the log isn't for several threads */
		r.others_run = true;
		for (u32 b = 0; b < BLOCKS; b++) {
			assert_int_equal(tdx_rig_map(&r, GFN + 512 * b, PG_LEVEL_2M, &huge[b]),
					 MMU_RET_FIXED);
			assert_int_equal(tdx_rig_accept(&r, GFN + 512 * b, PG_LEVEL_2M),
					 TDX_SUCCESS);
		}
		tdx_rig_fill(&r, GFN);
		for (u32 k = 0; k < SPLITTERS; k++) {
			s[k].r = &r;
			s[k].index = k;
			assert_int_equal(sync_thread_create(&s[k].thread, splitter_main, &s[k]), 0);
		}
		for (int k = 0; k < 8; k++)
			assert_int_equal(tdx_rig_wrong(&r, GFN), 0);
		for (u32 k = 0; k < SPLITTERS; k++) {
			sync_thread_join(&s[k].thread);
			assert_int_equal(s[k].failures, 0);
			fixed += s[k].fixed;
		}
		r.others_run = false;
		assert_int_equal(fixed, BLOCKS);
		assert_int_equal(mmu_stats(r.mmu)->splits, BLOCKS);
		assert_int_equal(tdx_leaf_stats(r.tdx, TDH_MEM_PAGE_DEMOTE).ok, BLOCKS);
		assert_int_equal(r.kicks, 0);
		assert_int_equal(tdx_rig_wrong(&r, GFN), 0);
		tdx_rig_check(&r, GFN, 512 * BLOCKS);
		for (u32 b = 0; b < BLOCKS; b++)
			assert_int_equal(tdx_pamt_refs(r.tdx, huge[b]), 512);
		assert_int_equal(r.warnings, 0);
		assert_int_equal(r.bugged[0], 0);
		tdx_rig_td_down(&r);
		for (u32 b = 0; b < BLOCKS; b++)
			tdx_rig_free(&r, huge[b], PG_LEVEL_2M);
		tdx_rig_down(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_who_can),
		cmocka_unit_test(test_one_demote),
		cmocka_unit_test(test_busy_is_a_retry),
		cmocka_unit_test(test_other_status),
		cmocka_unit_test(test_under_the_write_lock),
		cmocka_unit_test(test_two_consumers),
		cmocka_unit_test(test_many_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
