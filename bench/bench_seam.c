/* SPDX-License-Identifier: MIT */
/*
 * Single SEAMCALLs on a TD that is RUNNABLE and runs nothing, with Dynamic PAMT off. What a sample
 * has changed is undone before the next one, so everything is as warm as it gets.
 */
#include <errno.h>

#include "bench/bench.h"
#include "vm/vm.h"

/*
 * What one call can't do without, counted in a build whose base/sync counts:
 *   AUG: locks of TDR, op_state, tree, entry and page (9, taken and released), entry, child count
 *   DEMOTE: likewise with two pages, and the new entries: 512 of the S-EPT, 512 of the PAMT
 *   SEPT.RD: locks of TDR, op_state, tree and entry
 */
#define AUG_ATOMICS 20
#define AUG_STORES 4
#define DEMOTE_ATOMICS 22
#define DEMOTE_STORES (512 + 1024 + 4)
#define RD_ATOMICS 12
#define RD_STORES 0

#define NR_PAGES 480 /* calls a sample, each on a page of its own */
#define NR_BLOCKS 8  /* DEMOTEs a sample */
#define BLOCKS_GPA SIZE_1G
#define PAGES_GPA 0

struct rig {
	struct machine m;
	struct td *td;
	struct td_vcpu *vcpu;
	pfn_t pages;		 /* a 2M block: pages that are mapped */
	pfn_t tables;		 /* another: S-EPT pages */
	pfn_t blocks[NR_BLOCKS]; /* 2M each */
	u64 refused;		 /* calls that didn't answer TDX_SUCCESS */
	struct bench_floor floor;
	u64 demote_stores[DEMOTE_STORES];
};

static u64 call(struct rig *rig, enum tdh_leaf leaf, u64 rcx, u64 rdx, u64 r8)
{
	struct tdx_regs r = {.rax = leaf, .rcx = rcx, .rdx = rdx, .r8 = r8};
	u64 status = seamcall(lp_current(), &r);

	rig->refused += status != TDX_SUCCESS;
	return r.rcx;
}

static u64 mem_call(struct rig *rig, enum tdh_leaf leaf, u64 rcx, u64 r8)
{
	return call(rig, leaf, rcx, td_tdr(rig->td), r8);
}

/* ---- the TD ----------------------------------------------------------------------------------*/
static int make_td(struct rig *rig)
{
	struct td_config tc = {.max_vcpus = 1, .gpaw = 48};
	int err = td_create(rig->m.tdx, &tc, &rig->td);

	if (!err)
		err = td_vcpu_create(rig->td, 0, &rig->vcpu);
	if (!err)
		err = td_finalize(rig->td);
	return err;
}

static int take_frames(struct rig *rig)
{
	struct host *host = rig->m.host;
	int err = host_alloc(host, PG_LEVEL_2M, FRAME_GUEST, &rig->pages);

	if (!err)
		err = host_alloc(host, PG_LEVEL_2M, FRAME_SEPT_TABLE, &rig->tables);
	for (u32 i = 0; i < NR_BLOCKS && !err; i++)
		err = host_alloc(host, PG_LEVEL_2M, FRAME_GUEST, &rig->blocks[i]);
	return err;
}

static hpa_t table(const struct rig *rig, u32 i)
{
	return fn_to_addr(rig->tables + i);
}

/* Tables down to the 4K leaves of the first 2M, and to the 2M leaves of the second gigabyte. */
static void make_tables(struct rig *rig)
{
	mem_call(rig, TDH_MEM_SEPT_ADD, tdx_page_info(0, 3), table(rig, NR_BLOCKS));
	mem_call(rig, TDH_MEM_SEPT_ADD, tdx_page_info(0, 2), table(rig, NR_BLOCKS + 1));
	mem_call(rig, TDH_MEM_SEPT_ADD, tdx_page_info(PAGES_GPA, 1), table(rig, NR_BLOCKS + 2));
	mem_call(rig, TDH_MEM_SEPT_ADD, tdx_page_info(BLOCKS_GPA, 2), table(rig, NR_BLOCKS + 3));
}

static int rig_create(struct rig *rig)
{
	struct machine_config mc = {
		.memory_bytes = SIZE_1G / 2, .lps = 1, .profile = seam_profile_at(0)};
	int err = machine_create(&mc, &rig->m);

	if (!err)
		err = make_td(rig);
	if (!err)
		err = take_frames(rig);
	if (!err)
		make_tables(rig);
	return err;
}

/* Pages that are still the TD's go with the host. */
static void rig_destroy(struct rig *rig)
{
	if (rig->td) {
		if (rig->vcpu)
			td_vcpu_flush(rig->vcpu);
		td_destroy(rig->td);
	}
	machine_destroy(&rig->m);
}

/* ---- samples ---------------------------------------------------------------------------------*/
static u64 page_gpa(u32 i)
{
	return tdx_page_info(PAGES_GPA + fn_to_addr(i), 0);
}

static u64 block_gpa(u32 i)
{
	return tdx_page_info(BLOCKS_GPA + i * SIZE_2M, 1);
}

static void floor_sample(struct rig *rig, struct bench_samples *out, u32 n, u32 atomics, u32 stores)
{
	bench_start(out);
	for (u32 i = 0; i < n; i++)
		bench_floor_once(&rig->floor, atomics, stores);
	bench_end_floor(out, n);
}

static void sample_aug(struct rig *rig, struct bench_samples *out)
{
	bench_start(out);
	for (u32 i = 0; i < NR_PAGES; i++)
		mem_call(rig, TDH_MEM_PAGE_AUG, page_gpa(i), fn_to_addr(rig->pages + i));
	bench_end_op(out, NR_PAGES);
	floor_sample(rig, out, NR_PAGES, AUG_ATOMICS, AUG_STORES);

	for (u32 i = 0; i < NR_PAGES; i++)
		mem_call(rig, TDH_MEM_RANGE_BLOCK, page_gpa(i), 0);
	call(rig, TDH_MEM_TRACK, td_tdr(rig->td), 0, 0);
	for (u32 i = 0; i < NR_PAGES; i++)
		mem_call(rig, TDH_MEM_PAGE_REMOVE, page_gpa(i), 0);
}

static void block_all(struct rig *rig)
{
	for (u32 i = 0; i < NR_BLOCKS; i++)
		mem_call(rig, TDH_MEM_RANGE_BLOCK, block_gpa(i), 0);
	call(rig, TDH_MEM_TRACK, td_tdr(rig->td), 0, 0);
}

static void demote_floor(struct rig *rig)
{
	bench_floor_once(&rig->floor, DEMOTE_ATOMICS, 0);
	for (u32 i = 0; i < DEMOTE_STORES; i++)
		sync_store(&rig->demote_stores[i], i);
}

static void sample_demote(struct rig *rig, struct bench_samples *out)
{
	block_all(rig);
	bench_start(out);
	for (u32 i = 0; i < NR_BLOCKS; i++)
		mem_call(rig, TDH_MEM_PAGE_DEMOTE, block_gpa(i), table(rig, i));
	bench_end_op(out, NR_BLOCKS);

	bench_start(out);
	for (u32 i = 0; i < NR_BLOCKS; i++)
		demote_floor(rig);
	bench_end_floor(out, NR_BLOCKS);

	block_all(rig);
	for (u32 i = 0; i < NR_BLOCKS; i++)
		mem_call(rig, TDH_MEM_PAGE_PROMOTE, block_gpa(i), 0);
}

static void sample_rd(struct rig *rig, struct bench_samples *out)
{
	bench_start(out);
	for (u32 i = 0; i < NR_PAGES; i++)
		mem_call(rig, TDH_MEM_SEPT_RD, page_gpa(i), 0);
	bench_end_op(out, NR_PAGES);
	floor_sample(rig, out, NR_PAGES, RD_ATOMICS, RD_STORES);
}

static void map_blocks(struct rig *rig)
{
	for (u32 i = 0; i < NR_BLOCKS; i++)
		mem_call(rig, TDH_MEM_PAGE_AUG, block_gpa(i), fn_to_addr(rig->blocks[i]));
}

static void map_pages(struct rig *rig)
{
	for (u32 i = 0; i < NR_PAGES; i++)
		mem_call(rig, TDH_MEM_PAGE_AUG, page_gpa(i), fn_to_addr(rig->pages + i));
}

static int run(struct bench_samples *out, void (*prepare)(struct rig *rig),
	       void (*sample)(struct rig *rig, struct bench_samples *out))
{
	struct lp *self = lp_current();
	struct rig rig = {0};
	int err = rig_create(&rig);

	if (!err) {
		if (prepare)
			prepare(&rig);
		sample(&rig, out); /* to warm up: the first one is taken again */
		do {
			sample(&rig, out);
		} while (bench_next(out));
		if (rig.refused)
			err = -EIO;
	}
	rig_destroy(&rig);
	lp_set_current(self);
	return err;
}

static int run_aug(struct bench_samples *out)
{
	return run(out, NULL, sample_aug);
}

static int run_demote(struct bench_samples *out)
{
	return run(out, map_blocks, sample_demote);
}

static int run_rd(struct bench_samples *out)
{
	return run(out, map_pages, sample_rd);
}

const struct benchmark bench_seamcall_aug_4k = {
	.name = "seamcall-aug-4k",
	.unit = "ns",
	.what = "TDH.MEM.PAGE.AUG of a 4K page",
	.floor = "20 compare-exchanges and 4 stores",
	.run = run_aug,
};

const struct benchmark bench_seamcall_demote_2m = {
	.name = "seamcall-demote-2m",
	.unit = "ns",
	.what = "TDH.MEM.PAGE.DEMOTE of a 2M page that is blocked and tracked",
	.floor = "22 compare-exchanges and 1540 stores to 12 KiB",
	.run = run_demote,
};

const struct benchmark bench_seamcall_sept_rd = {
	.name = "seamcall-sept-rd",
	.unit = "ns",
	.what = "TDH.MEM.SEPT.RD of a 4K leaf",
	.floor = "12 compare-exchanges",
	.run = run_rd,
};
