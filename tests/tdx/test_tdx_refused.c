/* SPDX-License-Identifier: MIT */
/*
 * A module that refuses one call of a life cycle, and a host without memory for one page of it: the
 * step says so, and what had been given is taken back.
 */
#include <errno.h>

#include "tdx/rig.h"

#define REFUSED TDX_OPERAND_INVALID
/* 32 are shared, one is the module's. */
#define FIRST_KEY_ID 33
/* Only checking builds can make an allocation fail. */
#ifdef SEPTUM_CHECK
#define FAILING_MEMORY 1
#else
#define FAILING_MEMORY 0
#endif

/* The module of this test: tdx_rig_injecting(), and what these say. */
static struct {
	u64 fail_alloc; /* so many host allocations after SYS.INIT; 0: none */
	u64 field;	/* of SYS.RD; 0: none */
	u64 value;	/* that it reads as */
	u32 leaf;	/* whose success gives the next page in RCX; 0: none */
} lies;

static u64 lying_seamcall(struct lp *lp, struct tdx_regs *r)
{
	u32 leaf = (u32)r->rax & 0xFFFF;
	u64 field = r->rdx, status;

	if (leaf == TDH_SYS_INIT && lies.fail_alloc)
		host_fail_alloc_at(lp->host, lies.fail_alloc);
	status = tdx_rig_injecting(lp, r);
	if (leaf == TDH_SYS_RD && field == lies.field)
		r->r8 = lies.value;
	if (leaf == lies.leaf && status == TDX_SUCCESS)
		r->rcx += PAGE_SIZE;
	return status;
}

static int setup(void **state)
{
	(void)state;
	memset(&lies, 0, sizeof(lies));
	tdx_rig_inject_nothing();
	return 0;
}

/* ---- bring-up --------------------------------------------------------------------------------*/

/* Whichever call of bring-up the module refuses, bring-up fails with -EIO and keeps no frame. */
static void test_bring_up_refused(void **state)
{
	(void)state;
	for (int dynamic = 0; dynamic <= 1; dynamic++) {
		struct tdx_rig_config cfg = {.dynamic_pamt = dynamic,
					     .packages = 2,
					     /* 64 calls a GiB against 256 */
					     .init_by_loop = dynamic,
					     .seamcall = tdx_rig_injecting};
		struct tdx_rig r;
		u64 n = 0;
		int err;

		do {
			tdx_rig_inject(ANY_LEAF, ++n, 1, REFUSED);
			err = tdx_rig_module(&r, &cfg);
			assert_int_equal(err, tdx_rig_injection.seen >= n ? -EIO : 0);
			if (err)
				assert_int_equal(host_frames_used(r.host), 0);
			tdx_rig_down(&r);
		} while (err);
		assert_true(n > (dynamic ? 64 : 0) + 10);
	}
}

#if FAILING_MEMORY
/* Without the page that describes the memory bring-up is -ENOMEM, and keeps no frame. */
static void test_bring_up_without_memory(void **state)
{
	struct tdx_rig_config cfg = {.seamcall = lying_seamcall};
	struct tdx_rig r;

	(void)state;
	lies.fail_alloc = 1;
	assert_int_equal(tdx_rig_module(&r, &cfg), -ENOMEM);
	assert_int_equal(host_frames_used(r.host), 0);
	tdx_rig_down(&r);
}
#endif

/* The PAMT's place is the top of memory: who sits there makes it -EBUSY, before the module is asked. */
static void test_top_of_memory_in_use(void **state)
{
	struct tdx_rig_config cfg = {0};
	struct tdx_module_config mc;
	struct tdx_module *second;
	struct tdx_rig r;
	u32 calls;

	(void)state;
	assert_int_equal(tdx_rig_module(&r, &cfg), 0);
	mc = (struct tdx_module_config){
		.host = r.host, .lps = r.lps, .nr_lps = TDX_RIG_LPS, .seamcall = seamcall};
	calls = r.nr_log;
	assert_int_equal(tdx_bring_up(&mc, &second), -EBUSY);
	assert_int_equal(r.nr_log, calls);
	assert_int_equal(host_frames_used(r.host), r.frames_before);
	tdx_rig_down(&r);
}

/*
 * Sizes that we have as constants must be those that the module enumerates: 16 bytes a PAMT entry, six
 * pages of TDCS and of TDVPS. Of another module bring-up is -EIO.
 */
static void test_other_geometry(void **state)
{
	static const struct {
		u64 field, value;
	} others[] = {
		{0x9100000100000010, 32},
		{0x9800000100000100, 7 * 4096},
		{0x9800000100000200, 5 * 4096},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		struct tdx_rig_config cfg = {.seamcall = lying_seamcall};
		struct tdx_rig r;

		lies.field = others[i].field;
		lies.value = others[i].value;
		assert_int_equal(tdx_rig_module(&r, &cfg), -EIO);
		assert_int_equal(host_frames_used(r.host), 0);
		tdx_rig_down(&r);
	}
}

/* ---- a TD ------------------------------------------------------------------------------------*/

static const struct td_config td_config = {.max_vcpus = 1, .gpaw = 48};

/* The TD after a failed one gets the same key id: none is lost. */
static void check_key_came_back(struct tdx_rig *r)
{
	struct td *td;

	tdx_rig_inject_nothing();
	assert_int_equal(td_create(r->tdx, &td_config, &td), 0);
	assert_int_equal(td_hkid(td), FIRST_KEY_ID);
	assert_int_equal(td_release_key(td), 0);
	td_destroy(td);
}

/* Whichever call of a TD's making is refused, td_create() is -EIO, and module and host have it all back. */
static void test_td_refused(void **state)
{
	(void)state;
	for (int dynamic = 0; dynamic <= 1; dynamic++) {
		struct tdx_rig_config cfg = {
			.dynamic_pamt = dynamic, .packages = 2, .seamcall = tdx_rig_injecting};
		struct tdx_rig r;
		u64 n = 0;
		int err;

		assert_int_equal(tdx_rig_module(&r, &cfg), 0);
		do {
			struct td *td;

			tdx_rig_inject(ANY_LEAF, ++n, 1, REFUSED);
			err = td_create(r.tdx, &td_config, &td);
			assert_int_equal(err, tdx_rig_injection.seen >= n ? -EIO : 0);
			if (!err) {
				tdx_rig_inject_nothing();
				assert_int_equal(td_release_key(td), 0);
				td_destroy(td);
			}
			assert_int_equal(seam_pamt_in_use(r.seam), 0);
			assert_int_equal(host_frames_used(r.host), r.frames_before);
			check_key_came_back(&r);
		} while (err);
		/* CREATE, two KEY.CONFIGs, six ADDCXs, INIT */
		assert_true(n > 10);
		tdx_rig_down(&r);
	}
}

#if FAILING_MEMORY
/* The same for whichever page the host hasn't: -ENOMEM. */
static void test_td_without_memory(void **state)
{
	(void)state;
	for (int dynamic = 0; dynamic <= 1; dynamic++) {
		struct tdx_rig_config cfg = {.dynamic_pamt = dynamic};
		struct tdx_rig r;
		u64 n = 0;
		int err;

		assert_int_equal(tdx_rig_module(&r, &cfg), 0);
		do {
			struct td *td;

			host_fail_alloc_at(r.host, ++n);
			err = td_create(r.tdx, &td_config, &td);
			host_fail_alloc_at(r.host, 0);
			assert_true(err == 0 || err == -ENOMEM);
			if (!err) {
				assert_int_equal(td_release_key(td), 0);
				td_destroy(td);
			}
			assert_int_equal(seam_pamt_in_use(r.seam), 0);
			assert_int_equal(host_frames_used(r.host), r.frames_before);
			check_key_came_back(&r);
		} while (err);
		/* the TDR, six pages of TDCS, the page of parameters */
		assert_true(n > 8);
		tdx_rig_down(&r);
	}
}
#endif

/* A TD with an MMU and no vCPU yet. */
static void td_with_mmu(struct tdx_rig *r)
{
	struct mmu_config mc = {.host = r->host,
				.root_level = PG_LEVEL_512G,
				.shared_bit = 47,
				.external = &td_external_ops};

	assert_int_equal(td_create(r->tdx, &td_config, &r->td), 0);
	mc.external_ctx = r->td;
	assert_int_equal(mmu_create(&mc, &r->mmu), 0);
	td_set_mmu(r->td, r->mmu);
}

/*
 * A vCPU that is refused a call or a page isn't made, and its TD goes down without it, with all that
 * the module had been given.
 */
static void test_vcpu_refused(void **state)
{
	(void)state;
	for (int memory = 0; memory <= FAILING_MEMORY; memory++) {
		struct tdx_rig_config cfg = {.dynamic_pamt = true, .seamcall = tdx_rig_injecting};
		struct tdx_rig r;
		u64 n = 0;
		int err;

		assert_int_equal(tdx_rig_module(&r, &cfg), 0);
		do {
			td_with_mmu(&r);
			n++;
			if (memory)
				host_fail_alloc_at(r.host, n);
			else
				tdx_rig_inject(ANY_LEAF, n, 1, REFUSED);
			err = td_vcpu_create(r.td, 0, &r.vcpu);
			host_fail_alloc_at(r.host, 0);
			assert_true(err == 0 || err == (memory ? -ENOMEM : -EIO));
			tdx_rig_inject_nothing();
			if (!err)
				td_vcpu_flush(r.vcpu);
			assert_int_equal(td_release_key(r.td), 0);
			mmu_destroy(r.mmu);
			td_destroy(r.td);
			assert_int_equal(seam_pamt_in_use(r.seam), 0);
			assert_int_equal(host_frames_used(r.host), r.frames_before);
		} while (err);
		/* six pages; and VP.INIT, VP.WR */
		assert_true(n > (memory ? 6 : 8));
		r.td = NULL;
		tdx_rig_down(&r);
	}
}

/* A TD whose MR.FINALIZE was refused can't run, and can be finalized later. */
static void test_finalize_refused(void **state)
{
	struct tdx_rig_config cfg = {.seamcall = tdx_rig_injecting};
	struct tdx_rig r;

	(void)state;
	assert_int_equal(tdx_rig_module(&r, &cfg), 0);
	tdx_rig_td(&r);
	tdx_rig_inject(TDH_MR_FINALIZE, 1, 1, REFUSED);
	assert_int_equal(td_finalize(r.td), -EIO);
	assert_false(td_is_runnable(r.td));
	assert_int_equal(td_finalize(r.td), 0);
	assert_true(td_is_runnable(r.td));
	tdx_rig_td_down(&r);
	tdx_rig_down(&r);
}

/* ---- its end ---------------------------------------------------------------------------------*/

/* Interrupts come in the middle of the write-back of caches, which goes on where it was: START once. */
static u64 interrupted_seamcall(struct lp *lp, struct tdx_regs *r)
{
	u32 leaf = (u32)r->rax & 0xFFFF;

	if (leaf == TDH_PHYMEM_CACHE_WB) {
		assert_int_equal(r->rcx, lies.value ? 1 : 0);
		if (lies.value++ < 3)
			lp_interrupt(lp, LP_INTR);
	}
	return seamcall(lp, r);
}

/* A write-back of the caches that is interrupted again and again is resumed until it's done. */
static void test_cache_wb_interrupted(void **state)
{
	struct tdx_rig_config cfg = {.seamcall = interrupted_seamcall};
	struct tdx_leaf_stats s;
	struct tdx_rig r;

	(void)state;
	assert_int_equal(tdx_rig_module(&r, &cfg), 0);
	tdx_rig_td(&r);
	tdx_rig_td_down(&r);
	s = tdx_leaf_stats(r.tdx, TDH_PHYMEM_CACHE_WB);
	assert_int_equal(s.calls, 4);
	tdx_rig_down(&r);
}

/*
 * While the key isn't released nothing can be reclaimed: the module keeps the TD's pages, and none of
 * them comes back to the host, where somebody might write into it.
 */
static void test_release_refused(void **state)
{
	static const u32 leaves[] = {TDH_MNG_VPFLUSHDONE, TDH_PHYMEM_CACHE_WB, TDH_MNG_KEY_FREEID};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(leaves); i++) {
		struct tdx_rig_config cfg = {.seamcall = tdx_rig_injecting};
		struct tdx_rig r;
		struct td *td;

		assert_int_equal(tdx_rig_module(&r, &cfg), 0);
		assert_int_equal(td_create(r.tdx, &td_config, &td), 0);
		tdx_rig_inject(leaves[i], 1, 1, REFUSED);
		assert_int_equal(td_release_key(td), -EIO);
		td_destroy(td);
		/* TDR and six pages of TDCS */
		assert_int_equal(seam_pamt_in_use(r.seam), 7);
		assert_int_equal(host_frames_used(r.host), r.frames_before + 7);
		r.is_lossy = true;
		tdx_rig_down(&r);
	}
}

/* A page that the module doesn't give back isn't the host's again, and it is the only one that isn't. */
static void test_reclaim_refused(void **state)
{
	(void)state;
	for (u64 n = 1; n <= 8; n++) {
		struct tdx_rig_config cfg = {.seamcall = tdx_rig_injecting};
		struct tdx_rig r;
		struct td *td;
		/* The TDR counts what it has: no page of TDCS stays without it. */
		u64 lost = n < 7 ? 2 : 1;

		assert_int_equal(tdx_rig_module(&r, &cfg), 0);
		assert_int_equal(td_create(r.tdx, &td_config, &td), 0);
		assert_int_equal(td_release_key(td), 0);
		/* six pages of TDCS, the TDR; and its write-back */
		if (n <= 7)
			tdx_rig_inject(TDH_PHYMEM_PAGE_RECLAIM, n, 1, REFUSED);
		else
			tdx_rig_inject(TDH_PHYMEM_PAGE_WBINVD, 1, 1, REFUSED);
		td_destroy(td);
		assert_int_equal(host_frames_used(r.host), r.frames_before + lost);
		assert_int_equal(seam_pamt_in_use(r.seam), n == 8 ? 0 : lost);
		r.is_lossy = true;
		tdx_rig_down(&r);
	}
}

/* ---- what stops a VM -------------------------------------------------------------------------*/

/* Before a TD runs it has 4K pages alone: a huge one, which nobody may ask for, stops the VM. */
static void test_huge_page_while_built(void **state)
{
	struct tdx_rig_config cfg = {0};
	struct tdx_rig r;
	pfn_t pfn;

	(void)state;
	assert_int_equal(tdx_rig_module(&r, &cfg), 0);
	tdx_rig_td(&r);
	assert_int_equal(tdx_rig_map(&r, 512, PG_LEVEL_2M, &pfn), -EIO);
	assert_non_null(strstr(r.bugged, "while the TD is built"));
	assert_int_equal(tdx_rig_level(&r, 512), PG_LEVEL_NONE);
	assert_int_equal(tdx_rig_raw(&r, 512, PG_LEVEL_2M) >> 63, 1);
	assert_int_equal(tdx_rig_logged(&r, TDH_MEM_PAGE_ADD), 0);
	tdx_rig_td_down(&r);
	tdx_rig_free(&r, pfn, PG_LEVEL_2M);
	tdx_rig_down(&r);
}

/* A removal that gives back another page than was mapped stops the VM: somebody has lost a page. */
static void test_removal_of_another_page(void **state)
{
	struct tdx_rig_config cfg = {.seamcall = lying_seamcall};
	struct tdx_rig r;
	pfn_t pfn;

	(void)state;
	tdx_rig_up(&r, &cfg);
	assert_int_equal(tdx_rig_map(&r, 512, PG_LEVEL_4K, &pfn), MMU_RET_FIXED);
	lies.leaf = TDH_MEM_PAGE_REMOVE;
	tdx_rig_zap(&r, 512, 1);
	assert_non_null(strstr(r.bugged, "another page"));
	tdx_rig_td_down(&r);
	tdx_rig_free(&r, pfn, PG_LEVEL_4K);
	tdx_rig_down(&r);
}

/* A BLOCK or a TRACK that is refused for good in a promotion stops the VM, and the table stays. */
static void test_promotion_refused(void **state)
{
	static const u32 leaves[] = {TDH_MEM_RANGE_BLOCK, TDH_MEM_TRACK, TDH_MEM_PAGE_PROMOTE};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(leaves); i++) {
		struct tdx_rig_config cfg = {.seamcall = tdx_rig_injecting};
		struct tdx_rig r;
		pfn_t pfn;

		tdx_rig_up(&r, &cfg);
		assert_int_equal(tdx_rig_map(&r, 512, PG_LEVEL_2M, &pfn), MMU_RET_FIXED);
		assert_int_equal(tdx_rig_accept(&r, 512, PG_LEVEL_2M), TDX_SUCCESS);
		assert_int_equal(tdx_rig_split(&r, 512, PG_LEVEL_4K), 0);
		tdx_rig_inject(leaves[i], 1, 1, REFUSED);
		assert_int_equal(tdx_rig_promote(&r, 512, PG_LEVEL_2M), -EIO);
		assert_non_null(strstr(r.bugged, tdh_leaf_name(leaves[i])));
		assert_int_equal(tdx_rig_level(&r, 512), PG_LEVEL_4K);
		tdx_rig_td_down(&r);
		tdx_rig_free(&r, pfn, PG_LEVEL_2M);
		tdx_rig_down(&r);
	}
}

/* A TD whose key is gone has nothing to split or to promote: to ask for it stops the VM. */
static void test_resize_after_release(void **state)
{
	(void)state;
	for (int promote = 0; promote <= 1; promote++) {
		struct tdx_rig_config cfg = {0};
		struct tdx_rig r;
		pfn_t pfn;

		tdx_rig_up(&r, &cfg);
		assert_int_equal(tdx_rig_map(&r, 512, PG_LEVEL_2M, &pfn), MMU_RET_FIXED);
		assert_int_equal(tdx_rig_accept(&r, 512, PG_LEVEL_2M), TDX_SUCCESS);
		if (promote)
			assert_int_equal(tdx_rig_split(&r, 512, PG_LEVEL_4K), 0);
		td_vcpu_flush(r.vcpu);
		assert_int_equal(td_release_key(r.td), 0);
		r.nr_log = 0;
		if (promote)
			assert_int_equal(tdx_rig_promote(&r, 512, PG_LEVEL_2M), -EIO);
		else
			assert_int_equal(tdx_rig_split(&r, 512, PG_LEVEL_4K), -EIO);
		assert_non_null(strstr(r.bugged, "can't run"));
		assert_int_equal(r.nr_log, 0);
		mmu_cache_destroy(&r.cache);
		mmu_destroy(r.mmu);
		td_destroy(r.td);
		r.td = NULL;
		tdx_rig_free(&r, pfn, PG_LEVEL_2M);
		tdx_rig_down(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_bring_up_refused, setup),
#if FAILING_MEMORY
		cmocka_unit_test_setup(test_bring_up_without_memory, setup),
#endif
		cmocka_unit_test_setup(test_top_of_memory_in_use, setup),
		cmocka_unit_test_setup(test_other_geometry, setup),
		cmocka_unit_test_setup(test_td_refused, setup),
#if FAILING_MEMORY
		cmocka_unit_test_setup(test_td_without_memory, setup),
#endif
		cmocka_unit_test_setup(test_vcpu_refused, setup),
		cmocka_unit_test_setup(test_finalize_refused, setup),
		cmocka_unit_test_setup(test_cache_wb_interrupted, setup),
		cmocka_unit_test_setup(test_release_refused, setup),
		cmocka_unit_test_setup(test_reclaim_refused, setup),
		cmocka_unit_test_setup(test_huge_page_while_built, setup),
		cmocka_unit_test_setup(test_removal_of_another_page, setup),
		cmocka_unit_test_setup(test_promotion_refused, setup),
		cmocka_unit_test_setup(test_resize_after_release, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
