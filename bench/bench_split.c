/* SPDX-License-Identifier: MIT */
/*
 * Splitting and merging through MMU, tdx and module, in a TD that is RUNNABLE and has no vCPU
 * inside, with Dynamic PAMT off. Its leaves are pending: no guest has accepted them. What a sample
 * has changed is undone before the next one.
 */
#include <errno.h>
#include <stdlib.h>

#include "bench/bench.h"
#include "host/host.h"
#include "vm/vm.h"

/*
 * What one operation can't do without, counted in a build whose base/sync counts (the two of a
 * pthread lock and unlock included), and the stores that fill the mirror's new table:
 *   split:   mmu.lock, pages, entry and counters; locks, epoch and new entries of three calls
 *   host:    of these what isn't in the module
 *   promote: likewise, with the table's page given back
 *   convert: a split; BLOCK, TRACK and REMOVE of the page; attributes and the client's protocol
 *   punch:   two splits, with mmu.lock dropped for each
 */
#define SPLIT_ATOMICS 58
#define SPLIT_STORES 2063
#define HOST_ATOMICS 12
#define HOST_STORES 521
#define PROMOTE_ATOMICS 56
#define PROMOTE_STORES 1040
#define CONVERT_ATOMICS 132
#define CONVERT_STORES 2079
#define PUNCH_ATOMICS 113
#define PUNCH_STORES 4126

#define NR_BLOCKS 8 /* operations a sample, each on a 2M leaf of its own */
#define BLOCK_PAGES 512ULL
#define PAGE_IN_BLOCK 5 /* that convert-4k converts */

#define TIB_PAGES (1ULL << 28)
#define TD_PAGES (16 * TIB_PAGES)
#define HOLE_START (2 * TIB_PAGES + 5)
#define HOLE_END (14 * TIB_PAGES + BLOCK_PAGES + 511)
/* Entries that the split before this hole looks at: the path of three to each end, and once more
 * after the lock was dropped. bench_punch_split_12t.what says so, too. */
#define HOLE_ENTRIES 12

struct rig {
	struct machine m;
	struct vm *vm;
	struct mmu *mmu;
	struct mmu_vcpu_cache cache;
	u64 memory_bytes;
	u32 missed;	 /* operations that didn't do what they should */
	u64 seamcall_ns; /* spent in the module, where that is measured */
	struct bench_floor floor;
	u64 entries[4 * PTRS_PER_TABLE]; /* where the stores of a floor go: 16 KiB */
};

/* ---- the TD ----------------------------------------------------------------------------------*/
/* Runs no guest, so what the host thread's LP has for one is free: it leads to the rig. */
static u64 timed_seamcall(struct lp *lp, struct tdx_regs *r)
{
	struct rig *rig = lp->guest;
	u64 start = host_now_ns(), status = seamcall(lp, r);

	if (rig)
		rig->seamcall_ns += host_now_ns() - start;
	return status;
}

static int rig_create(struct rig *rig, bool timed)
{
	struct machine_config mc = {.memory_bytes = rig->memory_bytes + SIZE_1G,
				    .lps = 1,
				    .profile = seam_profile_at(0),
				    .seamcall = timed ? timed_seamcall : NULL};
	struct vm_config vc = {.memory_bytes = rig->memory_bytes,
			       .nr_vcpus = 1,
			       .file = {.backing = GMEM_THP},
			       .max_level = PG_LEVEL_2M,
			       .gpaw = 48,
			       .sept_ve_disable = true};
	int err = machine_create(&mc, &rig->m);

	if (err)
		return err;
	err = vm_create(&rig->m, &vc, &rig->vm);
	if (err) {
		machine_destroy(&rig->m);
		return err;
	}
	rig->mmu = vm_mmu(rig->vm);
	mmu_cache_init(&rig->cache, rig->mmu);
	if (timed)
		lp_current()->guest = rig;
	return 0;
}

static void rig_destroy(struct rig *rig)
{
	lp_current()->guest = NULL;
	mmu_cache_destroy(&rig->cache);
	vm_destroy(rig->vm);
	machine_destroy(&rig->m);
}

/* What a fault of the TD's would map, from the host thread. */
static void map(struct rig *rig, gfn_t gfn, enum pg_level level)
{
	struct mmu_fault fault = {.gfn = gfn,
				  .max_level = level,
				  .private = true,
				  .invalidate_seq = mmu_invalidate_seq(rig->mmu)};
	enum pg_level folio;

	if (gmem_get_pfn(vm_file(rig->vm), gfn, &fault.pfn, &folio) || folio < level ||
	    mmu_cache_topup(&rig->cache) || td_fault_topup(vm_td(rig->vm)) ||
	    mmu_map(rig->mmu, &rig->cache, &fault) != MMU_RET_FIXED)
		rig->missed++;
}

static gfn_t block_gfn(u32 i)
{
	return i * BLOCK_PAGES;
}

/* ---- operations ------------------------------------------------------------------------------*/
static void split(struct rig *rig, gfn_t gfn)
{
	sync_write_lock(mmu_lock(rig->mmu));
	rig->missed += mmu_split_to_level(rig->mmu, gfn, gfn + BLOCK_PAGES, PG_LEVEL_4K, true) != 0;
	sync_write_unlock(mmu_lock(rig->mmu));
}

static void promote(struct rig *rig, gfn_t gfn)
{
	sync_write_lock(mmu_lock(rig->mmu));
	rig->missed += mmu_promote(rig->mmu, gfn, PG_LEVEL_2M) != 0;
	sync_write_unlock(mmu_lock(rig->mmu));
}

static void split_all(struct rig *rig)
{
	for (u32 i = 0; i < NR_BLOCKS; i++)
		split(rig, block_gfn(i));
}

static void promote_all(struct rig *rig)
{
	for (u32 i = 0; i < NR_BLOCKS; i++)
		promote(rig, block_gfn(i));
}

static void expect_leaves(struct rig *rig, enum pg_level level, u64 nr)
{
	rig->missed += mmu_stats(rig->mmu)->pages[level] != nr;
}

static void floor_sample(struct rig *rig, struct bench_samples *out, u32 n, u32 atomics, u32 stores)
{
	bench_start(out);
	for (u32 i = 0; i < n; i++) {
		bench_floor_once(&rig->floor, atomics, 0);
		for (u32 j = 0; j < stores; j++)
			sync_store(&rig->entries[j % ARRAY_SIZE(rig->entries)], j);
	}
	bench_end_floor(out, n);
}

static void in_us(struct bench_samples *out)
{
	out->op[out->nr] /= 1e3;
	out->floor[out->nr] /= 1e3;
}

static void sample_split(struct rig *rig, struct bench_samples *out)
{
	bench_start(out);
	split_all(rig);
	bench_end_op(out, NR_BLOCKS);
	expect_leaves(rig, PG_LEVEL_2M, 0);
	floor_sample(rig, out, NR_BLOCKS, SPLIT_ATOMICS, SPLIT_STORES);
	promote_all(rig);
}

static void sample_split_host(struct rig *rig, struct bench_samples *out)
{
	rig->seamcall_ns = 0;
	bench_start(out);
	split_all(rig);
	bench_end_op(out, NR_BLOCKS);
	out->op[out->nr] -= (double)rig->seamcall_ns / NR_BLOCKS;
	expect_leaves(rig, PG_LEVEL_2M, 0);
	floor_sample(rig, out, NR_BLOCKS, HOST_ATOMICS, HOST_STORES);
	promote_all(rig);
}

static void sample_promote(struct rig *rig, struct bench_samples *out)
{
	split_all(rig);
	bench_start(out);
	promote_all(rig);
	bench_end_op(out, NR_BLOCKS);
	expect_leaves(rig, PG_LEVEL_2M, NR_BLOCKS);
	floor_sample(rig, out, NR_BLOCKS, PROMOTE_ATOMICS, PROMOTE_STORES);
}

static void convert(struct rig *rig, u32 i, bool to_private)
{
	rig->missed +=
		gmem_convert(vm_file(rig->vm), block_gfn(i) + PAGE_IN_BLOCK, 1, to_private) != 0;
}

static void sample_convert(struct rig *rig, struct bench_samples *out)
{
	bench_start(out);
	for (u32 i = 0; i < NR_BLOCKS; i++)
		convert(rig, i, false);
	bench_end_op(out, NR_BLOCKS);
	expect_leaves(rig, PG_LEVEL_2M, 0);
	expect_leaves(rig, PG_LEVEL_4K, NR_BLOCKS * (BLOCK_PAGES - 1));
	floor_sample(rig, out, NR_BLOCKS, CONVERT_ATOMICS, CONVERT_STORES);

	for (u32 i = 0; i < NR_BLOCKS; i++) {
		convert(rig, i, true);
		map(rig, block_gfn(i) + PAGE_IN_BLOCK, PG_LEVEL_4K);
	}
	promote_all(rig);
}

static void sample_punch(struct rig *rig, struct bench_samples *out)
{
	u64 visited = mmu_stats(rig->mmu)->split_entries_visited;
	u64 splits = mmu_stats(rig->mmu)->splits;

	sync_write_lock(mmu_lock(rig->mmu));
	mmu_invalidate_begin(rig->mmu);
	mmu_invalidate_range_add(rig->mmu, HOLE_START, HOLE_END);
	bench_start(out);
	rig->missed += mmu_split_boundaries(rig->mmu, HOLE_START, HOLE_END, true) != 0;
	bench_end_op(out, 1);
	mmu_invalidate_end(rig->mmu);
	sync_write_unlock(mmu_lock(rig->mmu));
	rig->missed += mmu_stats(rig->mmu)->splits - splits != 2;
	rig->missed += mmu_stats(rig->mmu)->split_entries_visited - visited != HOLE_ENTRIES;
	floor_sample(rig, out, 1, PUNCH_ATOMICS, PUNCH_STORES);

	promote(rig, HOLE_START);
	promote(rig, HOLE_END);
}

/* ---- runs ------------------------------------------------------------------------------------*/
static void map_blocks(struct rig *rig)
{
	for (u32 i = 0; i < NR_BLOCKS; i++)
		map(rig, block_gfn(i), PG_LEVEL_2M);
}

static void map_whole(struct rig *rig)
{
	for (gfn_t gfn = 0; gfn < TD_PAGES; gfn += BLOCK_PAGES)
		map(rig, gfn, PG_LEVEL_2M);
}

static int run_in(struct rig *rig, struct bench_samples *out, bool timed,
		  void (*prepare)(struct rig *rig),
		  void (*sample)(struct rig *rig, struct bench_samples *out))
{
	struct lp *self = lp_current();
	int err = rig_create(rig, timed);

	if (err)
		return err;
	prepare(rig);
	sample(rig, out); /* to warm up: the first one is taken again */
	do {
		sample(rig, out);
		in_us(out);
	} while (!rig->missed && bench_next(out));
	err = vm_why_dead(rig->vm) || rig->missed ? -EIO : 0;
	rig_destroy(rig);
	lp_set_current(self);
	return err;
}

static int run(struct bench_samples *out, u64 pages, bool timed, void (*prepare)(struct rig *rig),
	       void (*sample)(struct rig *rig, struct bench_samples *out))
{
	struct rig *rig = calloc(1, sizeof(*rig));
	int err;

	if (!rig)
		return -ENOMEM;
	rig->memory_bytes = fn_to_addr(pages);
	err = run_in(rig, out, timed, prepare, sample);
	free(rig);
	return err;
}

static int run_split(struct bench_samples *out)
{
	return run(out, NR_BLOCKS * BLOCK_PAGES, false, map_blocks, sample_split);
}

static int run_split_host(struct bench_samples *out)
{
	return run(out, NR_BLOCKS * BLOCK_PAGES, true, map_blocks, sample_split_host);
}

static int run_promote(struct bench_samples *out)
{
	return run(out, NR_BLOCKS * BLOCK_PAGES, false, map_blocks, sample_promote);
}

static int run_convert(struct bench_samples *out)
{
	return run(out, NR_BLOCKS * BLOCK_PAGES, false, map_blocks, sample_convert);
}

static int run_punch(struct bench_samples *out)
{
	return run(out, TD_PAGES, false, map_whole, sample_punch);
}

const struct benchmark bench_split_2m = {
	.name = "split-2m",
	.unit = "us",
	.what = "write lock, split of a private 2M leaf: MMU, BLOCK, TRACK, DEMOTE, unlock",
	.floor = "58 compare-exchanges and 2063 stores to 16 KiB",
	.run = run_split,
};

const struct benchmark bench_split_2m_host = {
	.name = "split-2m-host",
	.unit = "us",
	.what = "the same without the time inside the three SEAMCALLs: MMU and tdx alone",
	.floor = "12 compare-exchanges and 521 stores",
	.run = run_split_host,
};

const struct benchmark bench_promote_2m = {
	.name = "promote-2m",
	.unit = "us",
	.what = "write lock, promotion to a private 2M leaf: MMU, BLOCK, TRACK, PROMOTE, unlock",
	.floor = "56 compare-exchanges and 1040 stores",
	.run = run_promote,
};

const struct benchmark bench_convert_4k = {
	.name = "convert-4k",
	.unit = "us",
	.what = "gmem_convert to shared of a clean page in a private 2M leaf: split, removal, "
		"attribute",
	.floor = "132 compare-exchanges and 2079 stores to 16 KiB",
	.run = run_convert,
};

const struct benchmark bench_punch_split_12t = {
	.name = "punch-split-12t",
	.unit = "us",
	.what = "split before a 12 TiB hole, ends unaligned, in 16 TiB mapped at 2M: looks at 12 "
		"entries, splits 2",
	.floor = "113 compare-exchanges and 4126 stores to 16 KiB",
	.run = run_punch,
};
