/* SPDX-License-Identifier: MIT */
/*
 * The MMU alone: a mirror whose external side says yes to everything, and no memory behind the
 * frames that it maps.
 */
#include <errno.h>

#include "bench/bench.h"
#include "mmu/mmu.h"

/*
 * What one operation can't do without, counted in a build whose base/sync counts (the two of a
 * pthread rwlock's lock and unlock included):
 *   map:  lock, FROZEN, leaf, two counters
 *   zap:  lock, roots lock twice (two each), references of the root, entry and counters
 *   split: lock twice (for the pages it is dropped), two pages, entry and counters; the new table
 *   merge: lock, entry and counters, the old table's entries, its page handed to RCU
 *   walk: four loads, two stores of an RCU section
 */
#define MAP_ATOMICS 5
#define MAP_STORES 1
#define ZAP_ATOMICS 9
#define ZAP_STORES 2
#define WALK_LOADS 4

#define SPLIT_ATOMICS 11
#define SPLIT_STORES 518
#define MERGE_ATOMICS 7
#define MERGE_STORES 518

#define NR_BLOCKS 64 /* 2M leaves that are split or merged a sample */
#define NR_PAGES 448 /* operations a sample, inside one 2M block or one gigabyte */

struct rig {
	struct host *host;
	struct mmu *mmu;
	struct mmu_vcpu_cache cache;
	bool dead;
	u32 missed; /* operations that didn't do what they should */
	struct bench_floor floor;
	u64 chain[WALK_LOADS][PTRS_PER_TABLE];
};

/* ---- the external side -----------------------------------------------------------------------*/
static int set_nothing(void *ctx, gfn_t gfn, u64 old_spte, u64 new_spte, enum pg_level level,
		       bool shared)
{
	(void)ctx, (void)gfn, (void)old_spte, (void)new_spte, (void)level, (void)shared;
	return 0;
}

static int reclaim_nothing(void *ctx, gfn_t gfn, struct mmu_page *sp)
{
	(void)ctx, (void)gfn, (void)sp;
	return 0;
}

static int alloc_table(void *ctx, pfn_t *pfn)
{
	struct rig *rig = ctx;

	return host_alloc(rig->host, PG_LEVEL_4K, FRAME_SEPT_TABLE, pfn);
}

static void free_table(void *ctx, pfn_t pfn)
{
	struct rig *rig = ctx;

	host_free(rig->host, pfn, PG_LEVEL_4K, FRAME_SEPT_TABLE);
}

static const struct mmu_external_ops external = {
	.set_external_spte = set_nothing,
	.reclaim_external_sp = reclaim_nothing,
	.alloc_external_spt = alloc_table,
	.free_external_spt = free_table,
};

static void on_bugged(void *ctx, const char *why)
{
	struct rig *rig = ctx;

	(void)why;
	rig->dead = true;
}

static int rig_create(struct rig *rig)
{
	struct host_config hc = {.memory_bytes = SIZE_1G, .lps = 1};
	struct mmu_config mc = {.root_level = PG_LEVEL_512G,
				.shared_bit = 47,
				.external = &external,
				.external_ctx = rig,
				.vm_bugged = on_bugged,
				.vm_ctx = rig};
	int err;

	sync_thread_enter();
	err = host_create(&hc, &rig->host);
	if (err)
		return err;
	mc.host = rig->host;
	err = mmu_create(&mc, &rig->mmu);
	if (err) {
		host_destroy(rig->host);
		return err;
	}
	mmu_cache_init(&rig->cache, rig->mmu);
	return 0;
}

static void rig_destroy(struct rig *rig)
{
	mmu_cache_destroy(&rig->cache);
	mmu_destroy(rig->mmu);
	host_destroy(rig->host);
}

/* ---- operations ------------------------------------------------------------------------------*/
static void map(struct rig *rig, gfn_t gfn, enum pg_level level)
{
	struct mmu_fault fault = {
		.gfn = gfn,
		.pfn = gfn,
		.max_level = level,
		.private = true,
		.invalidate_seq = mmu_invalidate_seq(rig->mmu),
	};

	rig->missed += mmu_cache_topup(&rig->cache) ||
		       mmu_map(rig->mmu, &rig->cache, &fault) != MMU_RET_FIXED;
}

static void zap(struct rig *rig, gfn_t start, gfn_t end)
{
	sync_write_lock(mmu_lock(rig->mmu));
	mmu_zap_leafs(rig->mmu, start, end, true);
	sync_write_unlock(mmu_lock(rig->mmu));
}

static void map_all(struct rig *rig, enum pg_level level)
{
	for (u32 i = 0; i < NR_PAGES; i++)
		map(rig, i * pages_per_level(level), level);
}

static void floor_sample(struct rig *rig, struct bench_samples *out, u32 atomics, u32 stores)
{
	bench_start(out);
	for (u32 i = 0; i < NR_PAGES; i++)
		bench_floor_once(&rig->floor, atomics, stores);
	bench_end_floor(out, NR_PAGES);
}

static void sample_map(struct rig *rig, struct bench_samples *out)
{
	bench_start(out);
	map_all(rig, PG_LEVEL_4K);
	bench_end_op(out, NR_PAGES);
	floor_sample(rig, out, MAP_ATOMICS, MAP_STORES);
	zap(rig, 0, NR_PAGES);
}

static void sample_zap(struct rig *rig, struct bench_samples *out)
{
	map_all(rig, PG_LEVEL_2M);
	bench_start(out);
	for (u32 i = 0; i < NR_PAGES; i++)
		zap(rig, i * pages_per_level(PG_LEVEL_2M), (i + 1) * pages_per_level(PG_LEVEL_2M));
	bench_end_op(out, NR_PAGES);
	floor_sample(rig, out, ZAP_ATOMICS, ZAP_STORES);
	rig->missed += mmu_stats(rig->mmu)->pages[PG_LEVEL_2M] != 0;
}

/* Every load's index comes from the one before it. */
static u64 floor_walk(struct rig *rig, u32 i)
{
	u64 at = i % PTRS_PER_TABLE;

	sync_store(&rig->floor.line[0].word, i + 1);
	for (u32 level = 0; level < WALK_LOADS; level++)
		at = sync_load_acquire(&rig->chain[level][at]);
	sync_store(&rig->floor.line[0].word, 0);
	return at;
}

static void sample_walk(struct rig *rig, struct bench_samples *out)
{
	u64 sum = 0;

	bench_start(out);
	for (u32 i = 0; i < NR_PAGES; i++) {
		struct mmu_mapping m;

		if (mmu_lookup(rig->mmu, i, true, &m))
			sum += m.pfn == i;
	}
	bench_end_op(out, NR_PAGES);
	rig->missed += sum != NR_PAGES;

	bench_start(out);
	for (u32 i = 0; i < NR_PAGES; i++)
		sum += floor_walk(rig, i);
	bench_end_floor(out, NR_PAGES);
	rig->missed += sum != NR_PAGES; /* the chain ends at 0 */
}

static void split_all(struct rig *rig)
{
	for (u32 i = 0; i < NR_BLOCKS; i++) {
		gfn_t gfn = i * pages_per_level(PG_LEVEL_2M);

		sync_write_lock(mmu_lock(rig->mmu));
		rig->missed += mmu_split_to_level(rig->mmu, gfn, gfn + 1, PG_LEVEL_4K, true) != 0;
		sync_write_unlock(mmu_lock(rig->mmu));
	}
}

static void merge_all(struct rig *rig)
{
	for (u32 i = 0; i < NR_BLOCKS; i++) {
		sync_write_lock(mmu_lock(rig->mmu));
		rig->missed +=
			mmu_promote(rig->mmu, i * pages_per_level(PG_LEVEL_2M), PG_LEVEL_2M) != 0;
		sync_write_unlock(mmu_lock(rig->mmu));
	}
}

static void split_floor_sample(struct rig *rig, struct bench_samples *out, u32 atomics, u32 stores)
{
	bench_start(out);
	for (u32 i = 0; i < NR_BLOCKS; i++) {
		bench_floor_once(&rig->floor, atomics, 0);
		for (u32 j = 0; j < stores; j++)
			sync_store(&rig->chain[j / PTRS_PER_TABLE][j % PTRS_PER_TABLE], j);
	}
	bench_end_floor(out, NR_BLOCKS);
}

static void sample_split(struct rig *rig, struct bench_samples *out)
{
	bench_start(out);
	split_all(rig);
	bench_end_op(out, NR_BLOCKS);
	rig->missed += mmu_stats(rig->mmu)->pages[PG_LEVEL_2M] != NR_PAGES - NR_BLOCKS;
	split_floor_sample(rig, out, SPLIT_ATOMICS, SPLIT_STORES);
	merge_all(rig);
}

static void sample_merge(struct rig *rig, struct bench_samples *out)
{
	split_all(rig);
	bench_start(out);
	merge_all(rig);
	bench_end_op(out, NR_BLOCKS);
	rig->missed += mmu_stats(rig->mmu)->pages[PG_LEVEL_2M] != NR_PAGES;
	split_floor_sample(rig, out, MERGE_ATOMICS, MERGE_STORES);
}

/* @mapped: level of the NR_PAGES leaves that are there before the first sample, or NONE */
static int run(struct bench_samples *out, enum pg_level mapped,
	       void (*sample)(struct rig *rig, struct bench_samples *out))
{
	struct rig rig = {0};
	int err = rig_create(&rig);

	if (err)
		return err;
	if (mapped)
		map_all(&rig, mapped);
	sample(&rig, out); /* to warm up: the first one is taken again */
	do {
		sample(&rig, out);
	} while (bench_next(out));
	err = rig.dead || rig.missed ? -EIO : 0;
	rig_destroy(&rig);
	return err;
}

static int run_map(struct bench_samples *out)
{
	return run(out, PG_LEVEL_NONE, sample_map);
}

static int run_zap(struct bench_samples *out)
{
	return run(out, PG_LEVEL_NONE, sample_zap);
}

static int run_walk(struct bench_samples *out)
{
	return run(out, PG_LEVEL_4K, sample_walk);
}

static int run_split(struct bench_samples *out)
{
	return run(out, PG_LEVEL_2M, sample_split);
}

static int run_merge(struct bench_samples *out)
{
	return run(out, PG_LEVEL_2M, sample_merge);
}

const struct benchmark bench_mmu_map_4k = {
	.name = "mmu-map-4k",
	.unit = "ns",
	.what = "mmu_map of a private 4K page under a table that stands; no external side",
	.floor = "5 compare-exchanges and a store",
	.run = run_map,
};

const struct benchmark bench_mmu_zap_2m = {
	.name = "mmu-zap-2m",
	.unit = "ns",
	.what = "write lock, mmu_zap_leafs of one private 2M leaf, unlock; no external side",
	.floor = "9 compare-exchanges and 2 stores",
	.run = run_zap,
};

const struct benchmark bench_mmu_walk = {
	.name = "mmu-walk",
	.unit = "ns",
	.what = "mmu_lookup of a private 4K leaf",
	.floor = "four loads, each from where the last one led, and two stores",
	.run = run_walk,
};

const struct benchmark bench_mmu_split_2m = {
	.name = "mmu-split-2m",
	.unit = "ns",
	.what = "write lock, mmu_split_to_level of one private 2M leaf, unlock; no external side",
	.floor = "11 compare-exchanges and 518 stores",
	.run = run_split,
};

const struct benchmark bench_mmu_merge_2m = {
	.name = "mmu-merge-2m",
	.unit = "ns",
	.what = "write lock, mmu_promote of 512 private 4K leaves, unlock; no external side",
	.floor = "7 compare-exchanges and 518 stores",
	.run = run_merge,
};
