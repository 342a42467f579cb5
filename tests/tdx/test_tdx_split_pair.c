/* SPDX-License-Identifier: MIT */
/* The Dynamic PAMT pair of a split: where it comes from, who has it then, and how it comes back. */
#include <errno.h>

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

static int map_at(struct tdx_rig *r, gfn_t gfn, pfn_t pfn, enum pg_level level)
{
	struct mmu_fault fault = {.gfn = gfn,
				  .pfn = pfn,
				  .max_level = level,
				  .private = true,
				  .invalidate_seq = mmu_invalidate_seq(r->mmu)};

	assert_int_equal(mmu_cache_topup(&r->cache), 0);
	assert_int_equal(td_fault_topup(r->td), 0);
	return mmu_map(r->mmu, &r->cache, &fault);
}

/* ---- the count -------------------------------------------------------------------------------*/
/*
 * Rows 63, 71, for each source of pages: a 2M leaf counts 0 and costs no metadata page; split, it
 * counts 512 and costs two; each 4K that is removed counts one less, the last one gives the pair
 * back, and the range may be mapped at 2M again.
 */
static void test_count_of_a_split(void **state)
{
	(void)state;
	for (enum mmu_split_metadata m = MMU_META_PAGE; m <= MMU_META_PREALLOC; m++) {
		struct tdx_rig_config cfg = {.dynamic_pamt = true, .split_metadata = m};
		struct tdx_rig r;
		pfn_t huge = up_with_leaf(&r, &cfg);
		u64 pages = tdx_dpamt_pages(r.tdx);

		assert_int_equal(tdx_pamt_refs(r.tdx, huge), 0);
		assert_int_equal(tdx_rig_split(&r, GFN, PG_LEVEL_4K), 0);
		assert_int_equal(tdx_pamt_refs(r.tdx, huge), 512);
		assert_int_equal(tdx_dpamt_pages(r.tdx), pages + 2);
		tdx_rig_zap(&r, GFN + 17, 1);
		assert_int_equal(tdx_pamt_refs(r.tdx, huge), 511);
		assert_int_equal(tdx_dpamt_pages(r.tdx), pages + 2);
		/* The hole is filled by a fault, from the same frame. */
		assert_int_equal(map_at(&r, GFN + 17, huge + 17, PG_LEVEL_4K), MMU_RET_FIXED);
		assert_int_equal(tdx_pamt_refs(r.tdx, huge), 512);
		tdx_rig_zap(&r, GFN, 511);
		assert_int_equal(tdx_pamt_refs(r.tdx, huge), 1);
		assert_int_equal(tdx_leaf_stats(r.tdx, TDH_PHYMEM_PAMT_REMOVE).calls, 0);
		tdx_rig_zap(&r, GFN + 511, 1);
		assert_int_equal(tdx_pamt_refs(r.tdx, huge), 0);
		assert_int_equal(tdx_leaf_stats(r.tdx, TDH_PHYMEM_PAMT_REMOVE).ok, 1);
		assert_int_equal(tdx_dpamt_pages(r.tdx), pages);
		assert_int_equal(map_at(&r, GFN + 512, huge, PG_LEVEL_2M), MMU_RET_FIXED);
		assert_int_equal(r.warnings, 0);
		assert_int_equal(r.bugged[0], 0);
		down(&r, huge);
	}
}

/*
 * Row 71: what is mapped at 2M adds nothing to what the module was given; all of it at 4K adds 8 KiB for
 * each 2M.
 */
static void test_memory_of_either_size(void **state)
{
	enum { BLOCKS = 8 };
	struct tdx_rig_config cfg = {.dynamic_pamt = true};
	pfn_t block[BLOCKS];
	struct tdx_rig r;
	u64 pages;

	(void)state;
	tdx_rig_up(&r, &cfg);
	/* The tables' own pages have their pair. */
	assert_int_equal(mmu_cache_topup(&r.cache), 0);
	pages = tdx_dpamt_pages(r.tdx);
	for (u32 i = 0; i < BLOCKS; i++)
		assert_int_equal(tdx_rig_map(&r, GFN + i * 512, PG_LEVEL_2M, &block[i]),
				 MMU_RET_FIXED);
	assert_int_equal(tdx_dpamt_pages(r.tdx), pages);
	for (u32 i = 0; i < BLOCKS; i++)
		assert_int_equal(tdx_rig_split(&r, GFN + i * 512, PG_LEVEL_4K), 0);
	assert_int_equal(fn_to_addr(tdx_dpamt_pages(r.tdx) - pages), BLOCKS * 8192);
	tdx_rig_td_down(&r);
	for (u32 i = 0; i < BLOCKS; i++)
		tdx_rig_free(&r, block[i], PG_LEVEL_2M);
	tdx_rig_down(&r);
}

/*
 * Row 64: a count that wasn't 0 before a split is a warning, and no user of the range is forgotten.
 */
static void test_count_was_not_zero(void **state)
{
	struct tdx_rig_config cfg = {.dynamic_pamt = true};
	struct tdx_rig r;
	pfn_t huge = up_with_leaf(&r, &cfg);

	(void)state;
	r.tdx->pamt_refs[huge / 512] = 1;
	assert_int_equal(tdx_rig_split(&r, GFN, PG_LEVEL_4K), 0);
	assert_int_equal(r.warnings, 1);
	assert_int_equal(tdx_pamt_refs(r.tdx, huge), 513);
	/* Backwards the same: whose count is left has no pair any more. */
	assert_int_equal(tdx_rig_promote(&r, GFN, PG_LEVEL_2M), 0);
	assert_int_equal(r.warnings, 2);
	assert_int_equal(tdx_pamt_refs(r.tdx, huge), 1);
	r.tdx->pamt_refs[huge / 512] = 0;
	assert_int_equal(tdx_rig_split(&r, GFN, PG_LEVEL_4K), 0);
	assert_int_equal(r.warnings, 2);
	assert_int_equal(r.bugged[0], 0);
	down(&r, huge);
}

/* Row 65: AUG at 2M fails where a pair is, AUG at 4K where none is. */
static void test_2m_needs_no_pair(void **state)
{
	struct tdx_rig_config cfg = {.dynamic_pamt = true};
	struct tdx_regs regs = {.rax = TDH_MEM_PAGE_AUG};
	struct tdx_rig r;
	pfn_t huge = up_with_leaf(&r, &cfg), block;

	(void)state;
	assert_int_equal(host_alloc(r.host, PG_LEVEL_2M, FRAME_GUEST, &block), 0);
	/* Makes the table for 4K entries there, over another frame. */
	assert_int_equal(tdx_rig_split(&r, GFN, PG_LEVEL_4K), 0);
	tdx_rig_zap(&r, GFN, 1);
	regs.rcx = tdx_page_info(fn_to_addr(GFN), 0);
	regs.rdx = td_tdr(r.td);
	regs.r8 = fn_to_addr(block);
	assert_int_equal(seamcall(r.lps[0], &regs), TDX_MISSING_PAMT_PAGE_PAIR | TDX_OPERAND_R8);
	assert_int_equal(tdx_pamt_get(r.tdx, block), 0);
	assert_int_equal(map_at(&r, GFN + 512, block, PG_LEVEL_2M), -EIO);
	assert_non_null(strstr(r.bugged, "TDX_PAGE_METADATA_INCORRECT"));
	tdx_pamt_put(r.tdx, block);
	tdx_rig_free(&r, block, PG_LEVEL_2M);
	down(&r, huge);
}

/* An AUG at 2M by hand, past the mirror. */
static u64 raw_aug_2m(struct tdx_rig *r, gfn_t gfn, pfn_t pfn)
{
	struct tdx_regs regs = {.rax = TDH_MEM_PAGE_AUG,
				.rcx = tdx_page_info(fn_to_addr(gfn), 1),
				.rdx = td_tdr(r->td),
				.r8 = fn_to_addr(pfn)};

	return seamcall(r->lps[0], &regs);
}

/*
 * Row 66: a pair that can't be taken back is one warning for each try, and stays counted: 4K works in
 * its range, 2M is refused until a later try has succeeded.
 */
static void test_put_failure_is_loud(void **state)
{
	struct tdx_rig_config cfg = {.dynamic_pamt = true, .seamcall = tdx_rig_injecting};
	struct tdx_rig r;
	pfn_t huge = up_with_leaf(&r, &cfg);

	(void)state;
	assert_int_equal(tdx_rig_split(&r, GFN, PG_LEVEL_4K), 0);
	tdx_rig_inject(TDH_PHYMEM_PAMT_REMOVE, 1, 1, TDX_PAMT_PAGE_NOT_EMPTY);
	tdx_rig_zap(&r, GFN, 512);
	assert_int_equal(r.warnings, 1);
	assert_int_equal(tdx_pamt_refs(r.tdx, huge), 1);
	assert_int_equal(tdx_status_class(raw_aug_2m(&r, GFN + 512, huge)),
			 TDX_PAGE_METADATA_INCORRECT);
	/* 4K works there, and its removal is the next try. */
	assert_int_equal(map_at(&r, GFN, huge, PG_LEVEL_4K), MMU_RET_FIXED);
	tdx_rig_zap(&r, GFN, 1);
	assert_int_equal(tdx_pamt_refs(r.tdx, huge), 1);
	tdx_pamt_put(r.tdx, huge);
	assert_int_equal(tdx_pamt_refs(r.tdx, huge), 0);
	assert_int_equal(r.warnings, 1);
	assert_int_equal(map_at(&r, GFN + 512, huge, PG_LEVEL_2M), MMU_RET_FIXED);
	down(&r, huge);
}

/* ---- failure ---------------------------------------------------------------------------------*/
/*
 * Row 62: of a DEMOTE that fails all pages come back; the range counts 0 and is mapped at 2M. With
 * the cache the pair is in it again, and that is the only difference to before.
 */
static void test_guest_pair_after_failure(void **state)
{
	(void)state;
	for (enum mmu_split_metadata m = MMU_META_PAGE; m <= MMU_META_PREALLOC; m++) {
		struct tdx_rig_config cfg = {
			.dynamic_pamt = true, .split_metadata = m, .seamcall = tdx_rig_injecting};
		struct tdx_rig r;
		pfn_t huge = up_with_leaf(&r, &cfg);
		u64 used = host_frames_used(r.host), pages = tdx_dpamt_pages(r.tdx);
		u64 cached = m == MMU_META_VM_CACHE ? 2 : 0;

		tdx_rig_inject(TDH_MEM_PAGE_DEMOTE, 1, 2, BUSY_RCX);
		assert_int_equal(tdx_rig_split(&r, GFN, PG_LEVEL_4K), -EIO);
		assert_int_equal(tdx_pamt_refs(r.tdx, huge), 0);
		assert_int_equal(tdx_rig_level(&r, GFN), PG_LEVEL_2M);
		assert_int_equal(tdx_dpamt_pages(r.tdx), pages);
		assert_int_equal(host_frames_used(r.host), used + cached);
		down(&r, huge);
	}
}

static struct tdx_module *neighbour_of; /* the wrapper below has no other way to it */
static pfn_t neighbour;

/* While DEMOTE is on its way, a neighbour of the new S-EPT page comes into use; then it fails. */
static u64 with_neighbour(struct lp *lp, struct tdx_regs *r)
{
	if (r->rax != TDH_MEM_PAGE_DEMOTE)
		return seamcall(lp, r);
	neighbour = addr_to_fn(r->r8) ^ 1;
	assert_int_equal(tdx_pamt_get(neighbour_of, neighbour), 0);
	r->rax = TDX_EPT_WALK_FAILED;
	return r->rax;
}

/*
 * Row 61: the pair of the S-EPT page's own range is there for the page; when DEMOTE fails and the
 * page goes, it stays for the neighbour that has come to use it meanwhile: the count is the
 * neighbour's 1.
 */
static void test_table_pair_is_shared(void **state)
{
	struct tdx_rig_config cfg = {.dynamic_pamt = true, .seamcall = with_neighbour};
	pfn_t filler[512];
	struct tdx_rig r;
	pfn_t huge = up_with_leaf(&r, &cfg);
	u32 n = 0;

	(void)state;
	neighbour_of = r.tdx;
	/* Small frames come from one 2M block until it is full: use that up, to get a fresh one. */
	do {
		assert_true(n < 512);
		assert_int_equal(host_alloc(r.host, PG_LEVEL_4K, FRAME_OTHER, &filler[n]), 0);
	} while (tdx_pamt_refs(r.tdx, filler[n++]));
	assert_int_equal(tdx_rig_split(&r, GFN, PG_LEVEL_4K), -EIO);
	assert_int_equal(fn_align_down(neighbour, PG_LEVEL_2M),
			 fn_align_down(filler[n - 1], PG_LEVEL_2M));
	assert_int_equal(tdx_pamt_refs(r.tdx, neighbour), 1);
	assert_int_equal(tdx_leaf_stats(r.tdx, TDH_PHYMEM_PAMT_REMOVE).calls, 0);
	tdx_pamt_put(r.tdx, neighbour);
	assert_int_equal(tdx_pamt_refs(r.tdx, neighbour), 0);
	assert_int_equal(tdx_leaf_stats(r.tdx, TDH_PHYMEM_PAMT_REMOVE).ok, 1);
	while (n--)
		host_free(r.host, filler[n], PG_LEVEL_4K, FRAME_OTHER);
	down(&r, huge);
}

/* ---- the cache -------------------------------------------------------------------------------*/
/*
 * Rows 58 and 59: without Dynamic PAMT a split needs nothing of the cache; with it two pages at 2M
 * (the S-EPT page brings its own two), none at 1G; another level stops the VM. What is left in the
 * cache at the TD's end is freed.
 */
static void test_cache_minimum(void **state)
{
	const struct mmu_external_ops *ops = &td_external_ops;

	(void)state;
	for (int dynamic = 0; dynamic <= 1; dynamic++) {
		struct tdx_rig_config cfg = {.dynamic_pamt = dynamic};
		struct tdx_rig r;
		u64 used;

		tdx_rig_up(&r, &cfg);
		used = host_frames_used(r.host);
		assert_false(ops->split_cache_is_short(r.td, PG_LEVEL_1G));
		assert_int_equal(ops->topup_split_cache(r.td, PG_LEVEL_1G), 0);
		assert_int_equal(host_frames_used(r.host), used);
		assert_int_equal(ops->split_cache_is_short(r.td, PG_LEVEL_2M), dynamic);
		assert_int_equal(ops->topup_split_cache(r.td, PG_LEVEL_2M), 0);
		assert_false(ops->split_cache_is_short(r.td, PG_LEVEL_2M));
		assert_int_equal(host_frames_used(r.host), used + (dynamic ? 2 : 0));
		/* Full is full. */
		assert_int_equal(ops->topup_split_cache(r.td, PG_LEVEL_2M), 0);
		assert_int_equal(host_frames_used(r.host), used + (dynamic ? 2 : 0));
		assert_int_equal(r.bugged[0], 0);
		ops->split_cache_is_short(r.td, PG_LEVEL_4K);
		assert_int_not_equal(r.bugged[0], 0);
		/* tdx_rig_down() counts. */
		tdx_rig_td_down(&r);
		tdx_rig_down(&r);
	}
}

/*
 * Row 60: a thread without a vCPU splits from the TD's cache, and what its LP has for faults stays; a
 * fault takes what its LP has, and the TD's cache stays.
 */
static void test_cache_is_the_vms(void **state)
{
	struct tdx_rig_config cfg = {.dynamic_pamt = true, .split_metadata = MMU_META_VM_CACHE};
	struct tdx_rig r;
	pfn_t huge = up_with_leaf(&r, &cfg), block;

	(void)state;
	assert_int_equal(td_fault_topup(r.td), 0);
	assert_int_equal(r.tdx->per_lp[0].nr_spare, 2);
	lp_set_current(r.lps[2]);
	assert_int_equal(tdx_rig_split(&r, GFN, PG_LEVEL_4K), 0);
	assert_int_equal(r.tdx->per_lp[2].nr_spare, 0);
	assert_int_equal(r.tdx->per_lp[0].nr_spare, 2);
	assert_true(td_external_ops.split_cache_is_short(r.td, PG_LEVEL_2M));
	lp_set_current(r.lps[0]);

	assert_int_equal(td_external_ops.topup_split_cache(r.td, PG_LEVEL_2M), 0);
	assert_int_equal(host_alloc(r.host, PG_LEVEL_2M, FRAME_GUEST, &block), 0);
	assert_int_equal(map_at(&r, GFN + 512, block, PG_LEVEL_4K), MMU_RET_FIXED);
	assert_int_equal(tdx_pamt_refs(r.tdx, block), 1);
	assert_int_equal(r.tdx->per_lp[0].nr_spare, 0);
	assert_false(td_external_ops.split_cache_is_short(r.td, PG_LEVEL_2M));
	tdx_rig_zap(&r, GFN + 512, 1);
	tdx_rig_free(&r, block, PG_LEVEL_2M);
	down(&r, huge);
}

/* Row 56: of two that want the cache's one pair, one gets it, the other is told to come again. */
static void test_cache_runs_dry(void **state)
{
	struct tdx_rig_config cfg = {.dynamic_pamt = true};
	pfn_t first[2], second[2];
	struct tdx_rig r;

	(void)state;
	tdx_rig_up(&r, &cfg);
	assert_int_equal(td_external_ops.topup_split_cache(r.td, PG_LEVEL_2M), 0);
	assert_true(td_split_cache_take(r.td, first));
	assert_false(td_split_cache_take(r.td, second));
	assert_true(td_external_ops.split_cache_is_short(r.td, PG_LEVEL_2M));
	/* Somebody tops up before the first one gives its pair back: one too many is freed. */
	assert_int_equal(td_external_ops.topup_split_cache(r.td, PG_LEVEL_2M), 0);
	td_split_cache_put(r.td, first);
	assert_true(td_split_cache_take(r.td, second));
	assert_false(td_split_cache_take(r.td, first));
	td_split_cache_put(r.td, second);
	tdx_rig_td_down(&r);
	tdx_rig_down(&r);
}

/* A split that finds neither carried pages nor cached ones is the caller's bug: the VM stops. */
static void test_no_pair_at_all(void **state)
{
	struct tdx_rig_config cfg = {.dynamic_pamt = true};
	struct mmu_page sp = {.level = PG_LEVEL_4K, .mirror = true};
	struct tdx_rig r;
	pfn_t huge = up_with_leaf(&r, &cfg);

	(void)state;
	assert_int_equal(host_alloc(r.host, PG_LEVEL_4K, FRAME_OTHER, &sp.table), 0);
	r.host->private[sp.table] = &sp;
	sync_write_lock(mmu_lock(r.mmu));
	/* A leaf of 2M at @huge, and a table at @sp.table: present, RWX, large or not. */
	assert_int_equal(td_external_ops.set_external_spte(r.td, GFN, fn_to_addr(huge) | 0x887,
							   fn_to_addr(sp.table) | 0x807,
							   PG_LEVEL_2M, false),
			 -EIO);
	sync_write_unlock(mmu_lock(r.mmu));
	assert_non_null(strstr(r.bugged, "pair"));
	assert_int_equal(r.nr_log, 0);
	r.host->private[sp.table] = NULL;
	host_free(r.host, sp.table, PG_LEVEL_4K, FRAME_OTHER);
	down(&r, huge);
}

/* ---- DEMOTE and another TD's PAMT.ADD --------------------------------------------------------*/
static struct {
	struct tdx_rig *r;
	u32 demotes, locked, busy;
} demote_seen;

/* Lock word of the 2M entry of the PAMT that describes @hpa: after one page of 1G entries. */
static u16 *pamt_2m_lock(struct tdx_rig *r, hpa_t hpa)
{
	return host_ptr(r->host, fn_to_addr(r->tdx->pamt_pfn) + 0x1000 + (hpa >> 21) * 16);
}

/*
 * Another TD's PAMT.ADD, for the very range that R12 lies in, is in the module whenever it may:
 * while nobody has the PAMT lock.
 */
static u64 with_pamt_add(struct lp *lp, struct tdx_regs *r)
{
	struct sync_mutex *lock;
	u16 *word;
	u64 status;

	if (r->rax != TDH_MEM_PAGE_DEMOTE)
		return seamcall(lp, r);
	lock = &demote_seen.r->tdx->pamt_lock;
	demote_seen.demotes++;
	if (!sync_mutex_trylock(lock)) {
		demote_seen.locked++;
		return seamcall(lp, r);
	}
	word = pamt_2m_lock(demote_seen.r, r->r12);
	sync_fetch_or(word, (u16)1);
	status = seamcall(lp, r);
	sync_fetch_and(word, (u16)~1);
	sync_mutex_unlock(lock);
	demote_seen.busy += tdx_status_class(status) == TDX_OPERAND_BUSY;
	return status;
}

/*
 * Row 69: a DEMOTE without the PAMT lock is BUSY because of another TD's PAMT.ADD; one with it
 * never. Either policy keeps the VM alive, "second try" by asking twice.
 */
static void test_demote_lock(void **state)
{
	(void)state;
	for (enum td_demote_lock lock = TD_DEMOTE_LOCK_ALWAYS; lock <= TD_DEMOTE_LOCK_SECOND_TRY;
	     lock++) {
		struct tdx_rig_config cfg = {
			.dynamic_pamt = true, .demote_lock = lock, .seamcall = with_pamt_add};
		u32 extra = lock == TD_DEMOTE_LOCK_SECOND_TRY;
		struct tdx_rig r;
		pfn_t huge = up_with_leaf(&r, &cfg);

		memset(&demote_seen, 0, sizeof(demote_seen));
		demote_seen.r = &r;
		assert_int_equal(tdx_rig_split(&r, GFN, PG_LEVEL_4K), 0);
		assert_int_equal(demote_seen.locked, 1);
		assert_int_equal(demote_seen.busy, extra);
		assert_int_equal(demote_seen.demotes, 1 + extra);
		assert_int_equal(r.bugged[0], 0);
		assert_int_equal(tdx_pamt_refs(r.tdx, huge), 512);
		tdx_rig_check(&r, GFN, 512);
		down(&r, huge);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_count_of_a_split),
		cmocka_unit_test(test_memory_of_either_size),
		cmocka_unit_test(test_count_was_not_zero),
		cmocka_unit_test(test_2m_needs_no_pair),
		cmocka_unit_test(test_put_failure_is_loud),
		cmocka_unit_test(test_guest_pair_after_failure),
		cmocka_unit_test(test_table_pair_is_shared),
		cmocka_unit_test(test_cache_minimum),
		cmocka_unit_test(test_cache_is_the_vms),
		cmocka_unit_test(test_cache_runs_dry),
		cmocka_unit_test(test_no_pair_at_all),
		cmocka_unit_test(test_demote_lock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
