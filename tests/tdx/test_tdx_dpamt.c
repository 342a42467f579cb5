/* SPDX-License-Identifier: MIT */
/* Dynamic PAMT: which pages count, when pairs come and go, and the race of get against put. */
#include <errno.h>

#include "tdx/internal.h"
#include "tdx/rig.h"

#define GFN (4 * 512ULL)

static void up(struct tdx_rig *r)
{
	struct tdx_rig_config cfg = {.dynamic_pamt = true};

	assert_int_equal(tdx_rig_module(r, &cfg), 0);
}

/* A guest page mapped at 4K counts one and gets a pair; one mapped at 2M counts nothing. */
static void test_guest_pages(void **state)
{
	struct tdx_rig r;
	pfn_t huge, block, unused;

	(void)state;
	up(&r);
	tdx_rig_td(&r);
	assert_int_equal(td_finalize(r.td), 0);
	assert_int_equal(tdx_rig_map(&r, GFN, PG_LEVEL_2M, &huge), MMU_RET_FIXED);
	assert_int_equal(tdx_pamt_refs(r.tdx, huge), 0);

	/* Pages of a 2M frame of their own, mapped at 4K. */
	assert_int_equal(host_alloc(r.host, PG_LEVEL_2M, FRAME_GUEST, &block), 0);
	for (u64 i = 0; i < 3; i++) {
		struct mmu_fault fault = {.gfn = GFN + 512 + i,
					  .pfn = block + i,
					  .max_level = PG_LEVEL_4K,
					  .private = true,
					  .invalidate_seq = mmu_invalidate_seq(r.mmu)};

		assert_int_equal(mmu_cache_topup(&r.cache), 0);
		assert_int_equal(td_fault_topup(r.td), 0);
		assert_int_equal(mmu_map(r.mmu, &r.cache, &fault), MMU_RET_FIXED);
		assert_int_equal(tdx_pamt_refs(r.tdx, block), i + 1);
	}
	unused = tdx_leaf_stats(r.tdx, TDH_PHYMEM_PAMT_REMOVE).ok;
	tdx_rig_zap(&r, GFN + 512, 2);
	assert_int_equal(tdx_pamt_refs(r.tdx, block), 1);
	assert_int_equal(tdx_leaf_stats(r.tdx, TDH_PHYMEM_PAMT_REMOVE).ok, unused);
	tdx_rig_zap(&r, GFN + 514, 1);
	assert_int_equal(tdx_pamt_refs(r.tdx, block), 0);
	assert_int_equal(tdx_leaf_stats(r.tdx, TDH_PHYMEM_PAMT_REMOVE).ok, unused + 1);
	/* Without a leftover pair the range can be mapped at 2M again. */
	tdx_rig_free(&r, block, PG_LEVEL_2M);
	tdx_rig_zap(&r, GFN, 512);
	tdx_rig_free(&r, huge, PG_LEVEL_2M);
	assert_int_equal(tdx_rig_map(&r, GFN, PG_LEVEL_2M, &huge), MMU_RET_FIXED);
	tdx_rig_td_down(&r);
	tdx_rig_free(&r, huge, PG_LEVEL_2M);
	assert_int_equal(r.bugged[0], 0);
	tdx_rig_down(&r);
}

/* Table pages count from their allocation on, used or not, and all go back. */
static void test_table_pages(void **state)
{
	struct tdx_rig r;
	pfn_t spt[8];
	u32 before;

	(void)state;
	up(&r);
	tdx_rig_td(&r);
	before = tdx_pamt_refs(r.tdx, addr_to_fn(td_tdr(r.td)));
	/* TDR, 6 TDCX and 6 TDVPS pages, all from the first 2M of small frames. */
	assert_int_equal(before, 13);
	for (int i = 0; i < 8; i++)
		assert_int_equal(td_external_ops.alloc_external_spt(r.td, &spt[i]), 0);
	assert_int_equal(tdx_pamt_refs(r.tdx, spt[0]), before + 8);
	for (int i = 0; i < 8; i++)
		td_external_ops.free_external_spt(r.td, spt[i]);
	assert_int_equal(tdx_pamt_refs(r.tdx, addr_to_fn(td_tdr(r.td))), before);
	tdx_rig_td_down(&r);
	tdx_rig_down(&r);
}

static u64 all_refs(const struct tdx_rig *r, u64 *ranges)
{
	u64 sum = 0;

	*ranges = 0;
	for (pfn_t pfn = 0; pfn < r->host->nr_frames; pfn += 512) {
		sum += tdx_pamt_refs(r->tdx, pfn);
		*ranges += !!tdx_pamt_refs(r->tdx, pfn);
	}
	return sum;
}

/*
 * Row 70: a vCPU that tops up to 40 tables has 40 users more at once, in memory that is in pieces: a
 * pair for each range that they lie in, 40 at most. Unused, all of it goes back.
 */
static void test_topup_counts(void **state)
{
	enum { RANGES = 50 };
	static pfn_t filler[RANGES * 512];
	u64 users, pairs, ranges, used;
	struct tdx_rig r;

	(void)state;
	up(&r);
	tdx_rig_td(&r);
	for (u32 i = 0; i < RANGES * 512; i++)
		assert_int_equal(host_alloc(r.host, PG_LEVEL_4K, FRAME_OTHER, &filler[i]), 0);
	/* Four small holes in each range. */
	for (u32 i = 0; i < RANGES * 512; i += 128)
		host_free(r.host, filler[i], PG_LEVEL_4K, FRAME_OTHER);
	used = host_frames_used(r.host);
	users = all_refs(&r, &pairs);
	assert_int_equal(2 * pairs, tdx_dpamt_pages(r.tdx));
	assert_int_equal(mmu_cache_topup(&r.cache), 0);
	assert_int_equal(r.cache.nr_external, 40);
	assert_int_equal(all_refs(&r, &ranges), users + 40);
	assert_in_range(ranges, pairs + 2, pairs + 40);
	assert_int_equal(2 * ranges, tdx_dpamt_pages(r.tdx));
	tdx_rig_quiet(&r);
	mmu_cache_destroy(&r.cache);
	assert_int_equal(all_refs(&r, &ranges), users);
	assert_int_equal(2 * pairs, tdx_dpamt_pages(r.tdx));
	assert_int_equal(host_frames_used(r.host), used);
	mmu_cache_init(&r.cache, r.mmu);
	for (u32 i = 0; i < RANGES * 512; i++)
		if (i % 128)
			host_free(r.host, filler[i], PG_LEVEL_4K, FRAME_OTHER);
	tdx_rig_td_down(&r);
	tdx_rig_down(&r);
}

/* With no spare pages at hand a map that needs a pair is retried; topped up, it succeeds. */
static void test_no_spare_pair_is_a_retry(void **state)
{
	struct mmu_fault fault = {.gfn = GFN, .max_level = PG_LEVEL_4K, .private = true};
	struct tdx_rig r;
	pfn_t block;

	(void)state;
	up(&r);
	tdx_rig_td(&r);
	assert_int_equal(td_finalize(r.td), 0);
	assert_int_equal(host_alloc(r.host, PG_LEVEL_2M, FRAME_GUEST, &block), 0);
	fault.pfn = block;
	fault.invalidate_seq = mmu_invalidate_seq(r.mmu);
	assert_int_equal(mmu_cache_topup(&r.cache), 0);
	assert_int_equal(mmu_map(r.mmu, &r.cache, &fault), MMU_RET_RETRY);
	assert_int_equal(tdx_pamt_refs(r.tdx, block), 0);
	assert_int_equal(td_fault_topup(r.td), 0);
	assert_int_equal(mmu_map(r.mmu, &r.cache, &fault), MMU_RET_FIXED);
	tdx_rig_td_down(&r);
	tdx_rig_free(&r, block, PG_LEVEL_2M);
	assert_int_equal(r.bugged[0], 0);
	tdx_rig_down(&r);
}

/* ---- races -----------------------------------------------------------------------------------*/
#define RACERS 2
#define RACE_ROUNDS 2000

struct racer {
	struct sync_thread thread;
	struct tdx_rig *r;
	u32 lp;
	pfn_t page;
	u32 failures, no_pair;
};

/*
 * A thread that has got a reference finds the pair in place: MNG.CREATE's check of the page is
 * stood for by PHYMEM.PAGE.RDMD, which says whether a 4K entry is there.
 */
static bool pair_is_there(struct racer *t)
{
	struct tdx_regs regs = {.rax = TDH_PHYMEM_PAGE_RDMD,
				.rcx = fn_to_addr(fn_align_down(t->page, PG_LEVEL_2M)) | 1};
	u64 status = seamcall(t->r->lps[t->lp], &regs);

	/* BUSY says nothing; a node of pairs is type 15 with bit 63. */
	return tdx_status_class(status) == TDX_OPERAND_BUSY ||
	       (status == TDX_SUCCESS && (regs.rcx & 0xF) == PT_PAMT);
}

static void racer_main(void *arg)
{
	struct racer *t = arg;

	lp_set_current(t->r->lps[t->lp]);
	for (u32 i = 0; i < RACE_ROUNDS; i++) {
		if (tdx_pamt_get(t->r->tdx, t->page)) {
			t->failures++;
			continue;
		}
		if (!pair_is_there(t))
			t->no_pair++;
		tdx_pamt_put(t->r->tdx, t->page);
	}
}

/* Rows 67, 68: gets and puts at the edge of 0: no reference without a pair, one pair, none leaks. */
static void test_get_races_put(void **state)
{
	struct racer t[RACERS];
	struct tdx_rig r;
	pfn_t block;

	(void)state;
	up(&r);
	assert_int_equal(host_alloc(r.host, PG_LEVEL_2M, FRAME_GUEST, &block), 0);
	/* The log isn't for several threads. */
	r.host->tracer.count = 0;
	for (u32 i = 0; i < RACERS; i++) {
		t[i] = (struct racer){.r = &r, .lp = i, .page = block + i};
		assert_int_equal(sync_thread_create(&t[i].thread, racer_main, &t[i]), 0);
	}
	for (u32 i = 0; i < RACERS; i++) {
		sync_thread_join(&t[i].thread);
		assert_int_equal(t[i].failures, 0);
		assert_int_equal(t[i].no_pair, 0);
	}
	assert_int_equal(tdx_pamt_refs(r.tdx, block), 0);
	assert_int_equal(tdx_leaf_stats(r.tdx, TDH_PHYMEM_PAMT_ADD).ok,
			 tdx_leaf_stats(r.tdx, TDH_PHYMEM_PAMT_REMOVE).ok);
	assert_int_equal(tdx_leaf_stats(r.tdx, TDH_PHYMEM_PAMT_ADD).errors, 0);
	assert_int_equal(tdx_leaf_stats(r.tdx, TDH_PHYMEM_PAMT_REMOVE).errors, 0);
	tdx_rig_free(&r, block, PG_LEVEL_2M);
	tdx_rig_down(&r);
}

/* ---- failure ---------------------------------------------------------------------------------*/
static bool refuse_remove;

static u64 refusing(struct lp *lp, struct tdx_regs *r)
{
	if (!refuse_remove || (r->rax & 0xFFFF) != TDH_PHYMEM_PAMT_REMOVE)
		return seamcall(lp, r);
	r->rax = TDX_PAMT_PAGE_NOT_EMPTY;
	return r->rax;
}

/* Row 66: a pair that can't be removed stays counted: 4K in its range works. */
static void test_put_failure(void **state)
{
	struct tdx_rig_config cfg = {.dynamic_pamt = true, .seamcall = refusing};
	struct tdx_rig r;
	pfn_t block;

	(void)state;
	refuse_remove = false;
	assert_int_equal(tdx_rig_module(&r, &cfg), 0);
	assert_int_equal(host_alloc(r.host, PG_LEVEL_2M, FRAME_GUEST, &block), 0);
	assert_int_equal(tdx_pamt_get(r.tdx, block), 0);
	refuse_remove = true;
	tdx_pamt_put(r.tdx, block);
	assert_int_equal(tdx_pamt_refs(r.tdx, block), 1);
	assert_int_equal(tdx_pamt_get(r.tdx, block + 1), 0);
	assert_int_equal(tdx_pamt_refs(r.tdx, block), 2);
	refuse_remove = false;
	tdx_pamt_put(r.tdx, block + 1);
	tdx_pamt_put(r.tdx, block);
	assert_int_equal(tdx_pamt_refs(r.tdx, block), 0);
	tdx_rig_free(&r, block, PG_LEVEL_2M);
	tdx_rig_down(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_guest_pages),
		cmocka_unit_test(test_table_pages),
		cmocka_unit_test(test_topup_counts),
		cmocka_unit_test(test_no_spare_pair_is_a_retry),
		cmocka_unit_test(test_get_races_put),
		cmocka_unit_test(test_put_failure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
