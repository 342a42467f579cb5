/* SPDX-License-Identifier: MIT */
/*
 * Thread 002: a table page that is born with its Dynamic PAMT reference waits in a vCPU's cache. What
 * lies idle there, for each capacity of the cache, on a host whose free memory is in one piece, and on
 * one where every free page is alone in its 2M range.
 */
#include <errno.h>
#include <stdlib.h>

#include "bench/debates.h"

#define VCPUS 4
#define BLOCKS \
	16 /* of each vCPU: one 2M block gets a page at 4K, the next one a leaf that is split */
#define BLOCK_PAGES 512ULL
#define PAGES (VCPUS * BLOCKS * 2 * BLOCK_PAGES)
#define HOST_BYTES (5 * SIZE_1G)

struct waste {
	u64 idle;	/* table pages in the caches */
	u64 idle_pairs; /* pairs that are there for them alone */
	u64 gets;	/* pages that took a reference */
	u64 pairs;	/* PAMT.ADDs: references that were the first of their range */
	u64 refills;
	struct mmu_stats mmu;
	double us; /* of a fault or a split, refills among them */
};

/* Takes all memory, and gives back what stands first in each range. */
static int scatter(struct host *host)
{
	pfn_t pfn, *kept = calloc(host->nr_frames / BLOCK_PAGES, sizeof(*kept));
	u32 nr = 0;

	if (!kept)
		return -ENOMEM;
	while (!host_alloc(host, PG_LEVEL_4K, FRAME_OTHER, &pfn))
		if (IS_ALIGNED(pfn, BLOCK_PAGES))
			kept[nr++] = pfn;
	while (nr)
		host_free(host, kept[--nr], PG_LEVEL_4K, FRAME_OTHER);
	free(kept);
	return 0;
}

static bool map_counted(struct vm *vm, struct mmu_vcpu_cache *cache, gfn_t gfn, enum pg_level level,
			struct waste *w)
{
	w->refills += cache->nr_external < MMU_CACHE_MIN;
	return debate_map(vm, cache, gfn, level);
}

static bool use(struct vm *vm, struct mmu_vcpu_cache *cache, u32 vcpu, bool can_split,
		struct waste *w)
{
	u64 retries = 0;
	bool fine = true;

	for (u32 b = 0; b < BLOCKS; b++) {
		gfn_t gfn = (vcpu * BLOCKS + b) * 2 * BLOCK_PAGES;

		fine &= map_counted(vm, cache, gfn, PG_LEVEL_4K, w);
		if (!can_split)
			continue;
		fine &= map_counted(vm, cache, gfn + BLOCK_PAGES, PG_LEVEL_2M, w);
		w->refills += cache->nr_external < MMU_CACHE_MIN;
		fine &= debate_split(vm, cache, gfn + BLOCK_PAGES, true, &retries);
	}
	return fine;
}

static int measure(struct debate_td *t, bool scattered, struct waste *w)
{
	struct mmu_vcpu_cache cache[VCPUS];
	struct vm *vm = t->vm[0];
	u64 used = t->m.host->used[FRAME_SEPT_TABLE];
	u64 adds = tdx_leaf_stats(t->m.tdx, TDH_PHYMEM_PAMT_ADD).ok;
	u64 start = host_now_ns(), pages;
	bool fine = true;

	for (u32 v = 0; v < VCPUS; v++)
		mmu_cache_init(&cache[v], vm_mmu(vm));
	for (u32 v = 0; v < VCPUS; v++)
		fine &= use(vm, &cache[v], v, !scattered, w);
	w->mmu = *mmu_stats(vm_mmu(vm));
	w->us = (double)(host_now_ns() - start) / 1e3 / (VCPUS * BLOCKS * (scattered ? 1 : 3));
	w->gets = t->m.host->used[FRAME_SEPT_TABLE] - used + VCPUS * BLOCKS;
	w->pairs = tdx_leaf_stats(t->m.tdx, TDH_PHYMEM_PAMT_ADD).ok - adds;
	pages = tdx_dpamt_pages(t->m.tdx);
	for (u32 v = 0; v < VCPUS; v++) {
		w->idle += cache[v].nr_external;
		mmu_cache_destroy(&cache[v]);
	}
	w->idle_pairs = (pages - tdx_dpamt_pages(t->m.tdx)) / 2;
	return fine && !vm_why_dead(vm) ? 0 : -EIO;
}

static int run(u32 capacity, bool scattered, struct waste *w)
{
	struct debate_td_config cfg = {.profile = "next",
				       .dynamic_pamt = true,
				       .nr_vms = 1,
				       .lps = 1,
				       .host_bytes = HOST_BYTES,
				       .vm = {.memory_bytes = fn_to_addr(PAGES),
					      .nr_vcpus = 1,
					      .cache_capacity = capacity,
					      .file = {.backing = scattered ? GMEM_4K : GMEM_THP}}};
	struct debate_td t;
	int err = debate_td_machine(&t, &cfg);

	if (!err && scattered)
		err = scatter(t.m.host);
	if (!err)
		err = debate_td_vms(&t, &cfg);
	if (!err)
		err = measure(&t, scattered, w);
	debate_td_down(&t);
	return err;
}

static const char text[] =
	"\n### What does a vCPU's cache waste?\n\n"
	"A table page takes its PAMT reference when the cache is filled, so idle pages may hold "
	"pairs that nothing\nelse needs: at most the capacity, for each vCPU. %d vCPUs map %d "
	"pages "
	"at 4K each, in 2M blocks of their\nown; where free memory is whole they map and split as "
	"many 2M leaves as well, on `next`, whose splits take\ntheir tables from the cache. "
	"'Scattered' is the worst host: every free page is alone in its 2M range. A\nget is a page "
	"that took a reference; a pair is one whose range had none. Floor: as a split's where one "
	"is "
	"in\nit, times in us for each fault or split.\n\n"
	"| free memory | capacity | idle pages | unused pairs | unused KiB | gets | pairs made | "
	"refills | lock drops | retries | time | floor |\n"
	"|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n";

static const char conclusion[] =
	"\nConclusion: where free memory is whole, neighbours share their pairs, and no capacity "
	"leaves one unused: a\nreference is all that an idle page costs. On the worst host each "
	"idle page keeps a pair, and the waste is as\nfeared, at most the capacity for each vCPU. "
	"A "
	"small cache costs refills, before any lock; lock drops and\nretries don't depend on it.\n";

int debate_cache(FILE *out)
{
	static const u32 capacities[] = {5, 10, 20, 40, 80};
	int err = 0;

	fprintf(out, text, VCPUS, BLOCKS);
	for (u32 i = 0; i < 2 * ARRAY_SIZE(capacities) && !err; i++) {
		bool scattered = i >= ARRAY_SIZE(capacities);
		u32 capacity = capacities[i % ARRAY_SIZE(capacities)];
		struct waste w = {0};

		err = run(capacity, scattered, &w);
		if (err)
			break;
		fprintf(out,
			"| %s | %u | %lu | %lu | %lu | %lu | %lu | %lu | %lu | %lu | ~%.2f | "
			"~%.2f |\n",
			scattered ? "scattered" : "whole", capacity, w.idle, w.idle_pairs,
			(w.idle + 2 * w.idle_pairs) * 4, w.gets, w.pairs, w.refills,
			w.mmu.split_lock_drops, w.mmu.split_retries + w.mmu.faults_retry, w.us,
			scattered ? debate_floor_us(20, 4, 0)
				  : debate_floor_us(DEBATE_SPLIT_ATOMICS / 3 + 14,
						    DEBATE_SPLIT_STORES / 3, 0));
	}
	fputs(conclusion, out);
	return err;
}
