/* SPDX-License-Identifier: MIT */
/*
 * `septum bench debates`: docs/debates.md. For each debate the question, the choices, and what they
 * cost: the MMU alone, in a mirror whose external side says yes, and gets its pages from a host.
 */
#include <errno.h>
#include <stdlib.h>

#include "bench/bench.h"
#include "bench/debates.h"
#include "cli/run.h"
#include "host/host.h"
#include "mmu/mmu.h"

#define PAGES_2M (1ULL << 9)
#define PAGES_1G (1ULL << 18)
#define PAGES_1T (1ULL << 28)
#define SPLIT_PAGES 2 /* what a split takes beside the table's own page */
#define CACHE_MAX 8

/* What is mapped, and the range that is to be removed from it. */
struct debate_range {
	const char *what;
	enum pg_level level; /* of the leaves that map [0, mapped) */
	gfn_t mapped;
	gfn_t start, end;
	u32 runs; /* the fastest counts */
};

static const struct debate_range ranges[] = {
	{"8 KiB, 1G leaves", PG_LEVEL_1G, PAGES_1G, 5, 7, 9},
	{"8 KiB over a 2M boundary, 1G leaves", PG_LEVEL_1G, PAGES_1G, 511, 513, 9},
	{"1 MiB, 2M leaves", PG_LEVEL_2M, PAGES_1G, 100, 356, 9},
	{"600 MiB, 2M leaves", PG_LEVEL_2M, PAGES_1G, 5, 300 * PAGES_2M + 7, 9},
	{"12 TiB, 1G leaves", PG_LEVEL_1G, 16 * PAGES_1T, 2 * PAGES_1T + 5, 14 * PAGES_1T + 7, 5},
	{"12 TiB, 2M leaves", PG_LEVEL_2M, 16 * PAGES_1T, 2 * PAGES_1T + 5, 14 * PAGES_1T + 7, 2},
};

struct debate_rig {
	struct host *host;
	struct mmu *mmu;
	struct mmu_vcpu_cache cache;
	pfn_t cached[CACHE_MAX]; /* MMU_META_VM_CACHE */
	u32 nr_cached;
	u32 rivals; /* so many top-ups are taken by somebody else at once */
	u32 calls;  /* of the hook that changes an entry */
	u32 drops;  /* of mmu.lock */
	bool is_outside;
	bool wrong;
};

struct debate_cost {
	u64 visited, splits;
	u32 calls, drops;
	u64 retries;
	double us, floor_us;
};

/* ---- the external side -----------------------------------------------------------------------*/
/* Pages are got without mmu.lock: the first one since something happened under it shows a drop. */
static void note_outside(struct debate_rig *rig)
{
	rig->drops += !rig->is_outside;
	rig->is_outside = true;
}

static int get_page(struct debate_rig *rig, pfn_t *pfn)
{
	note_outside(rig);
	return host_alloc(rig->host, PG_LEVEL_4K, FRAME_SEPT_TABLE, pfn);
}

static void put_page(void *ctx, pfn_t pfn)
{
	struct debate_rig *rig = ctx;

	host_free(rig->host, pfn, PG_LEVEL_4K, FRAME_SEPT_TABLE);
}

static int get_table(void *ctx, pfn_t *pfn)
{
	return get_page(ctx, pfn);
}

static void put_metadata(void *ctx, struct mmu_page *sp)
{
	while (sp->nr_metadata)
		put_page(ctx, sp->metadata[--sp->nr_metadata]);
}

static int get_metadata(void *ctx, struct mmu_page *sp, enum pg_level level)
{
	(void)level;
	for (; sp->nr_metadata < SPLIT_PAGES; sp->nr_metadata++)
		if (get_page(ctx, &sp->metadata[sp->nr_metadata])) {
			put_metadata(ctx, sp);
			return -ENOMEM;
		}
	return 0;
}

static bool cache_is_short(void *ctx, enum pg_level level)
{
	struct debate_rig *rig = ctx;

	(void)level;
	rig->is_outside = false;
	return rig->nr_cached < SPLIT_PAGES;
}

static int topup_cache(void *ctx, enum pg_level level)
{
	struct debate_rig *rig = ctx;

	(void)level;
	for (; rig->nr_cached < SPLIT_PAGES; rig->nr_cached++)
		if (get_page(rig, &rig->cached[rig->nr_cached]))
			return -ENOMEM;
	if (rig->rivals) {
		rig->rivals--;
		while (rig->nr_cached)
			put_page(rig, rig->cached[--rig->nr_cached]);
	}
	return 0;
}

static int set_entry(void *ctx, gfn_t gfn, u64 old_spte, u64 new_spte, enum pg_level level,
		     bool shared)
{
	struct debate_rig *rig = ctx;
	struct mmu_page *sp;

	(void)gfn, (void)shared;
	rig->is_outside = false;
	rig->calls++;
	if (!mmu_spte_is_present(old_spte) || !mmu_spte_is_leaf(old_spte, level) ||
	    !mmu_spte_is_present(new_spte))
		return 0;
	sp = mmu_spte_child(rig->mmu, new_spte);
	if (sp->nr_metadata) {
		put_metadata(rig, sp);
		return 0;
	}
	for (u32 i = 0; i < SPLIT_PAGES; i++)
		put_page(rig, rig->cached[--rig->nr_cached]);
	return 0;
}

static int reclaim(void *ctx, gfn_t gfn, struct mmu_page *sp)
{
	(void)ctx, (void)gfn, (void)sp;
	return 0;
}

static const struct mmu_external_ops external = {
	.set_external_spte = set_entry,
	.reclaim_external_sp = reclaim,
	.alloc_external_spt = get_table,
	.free_external_spt = put_page,
	.alloc_split_metadata = get_metadata,
	.free_split_metadata = put_metadata,
	.split_cache_is_short = cache_is_short,
	.topup_split_cache = topup_cache,
};

static void on_bugged(void *ctx, const char *why)
{
	struct debate_rig *rig = ctx;

	(void)why;
	rig->wrong = true;
}

static int rig_create(struct debate_rig *rig, struct mmu_config mc)
{
	struct host_config hc = {.memory_bytes = SIZE_1G, .lps = 1};
	int err;

	sync_thread_enter();
	err = host_create(&hc, &rig->host);
	if (err)
		return err;
	mc.host = rig->host;
	mc.root_level = PG_LEVEL_512G;
	mc.shared_bit = 47;
	mc.external = &external;
	mc.external_ctx = rig;
	mc.vm_bugged = on_bugged;
	mc.vm_ctx = rig;
	err = mmu_create(&mc, &rig->mmu);
	if (err) {
		host_destroy(rig->host);
		return err;
	}
	mmu_cache_init(&rig->cache, rig->mmu);
	return 0;
}

static void rig_destroy(struct debate_rig *rig)
{
	mmu_cache_destroy(&rig->cache);
	mmu_destroy(rig->mmu);
	host_destroy(rig->host);
}

/* ---- one split -------------------------------------------------------------------------------*/
static void map_range(struct debate_rig *rig, const struct debate_range *range)
{
	for (gfn_t gfn = 0; gfn < range->mapped; gfn += pages_per_level(range->level)) {
		struct mmu_fault fault = {.gfn = gfn,
					  .pfn = gfn,
					  .max_level = range->level,
					  .private = true,
					  .invalidate_seq = mmu_invalidate_seq(rig->mmu)};

		rig->wrong |= mmu_cache_topup(&rig->cache) ||
			      mmu_map(rig->mmu, &rig->cache, &fault) != MMU_RET_FIXED;
	}
}

static void split(struct debate_rig *rig, const struct debate_range *range,
		  struct debate_cost *cost)
{
	u64 start_ns;

	rig->calls = rig->drops = 0;
	rig->is_outside = false;
	sync_write_lock(mmu_lock(rig->mmu));
	mmu_invalidate_begin(rig->mmu);
	mmu_invalidate_range_add(rig->mmu, ALIGN_DOWN(range->start, PAGES_1G),
				 ALIGN_UP(range->end, PAGES_1G));
	start_ns = host_now_ns();
	rig->wrong |= mmu_split_boundaries(rig->mmu, range->start, range->end, true) != 0;
	cost->us = (double)(host_now_ns() - start_ns) / 1e3;
	mmu_invalidate_end(rig->mmu);
	sync_write_unlock(mmu_lock(rig->mmu));
	cost->visited = mmu_stats(rig->mmu)->split_entries_visited;
	cost->splits = mmu_stats(rig->mmu)->splits;
	cost->calls = rig->calls;
	cost->drops = rig->drops;
	cost->retries = mmu_stats(rig->mmu)->split_retries;
	/* Two compare-exchanges a lock, two locks an allocation, three pages a split; a table's stores. */
	cost->floor_us = debate_floor_us((u32)(4 * cost->drops + 12 * cost->splits),
					 (u32)(PTRS_PER_TABLE * cost->splits), cost->visited);
}

static int measure(const struct debate_range *range, const struct mmu_config *policy, u32 rivals,
		   struct debate_cost *best)
{
	for (u32 i = 0; i < range->runs; i++) {
		struct debate_rig rig = {0};
		struct debate_cost cost;
		int err = rig_create(&rig, *policy);

		if (err)
			return err;
		map_range(&rig, range);
		rig.rivals = rivals;
		split(&rig, range, &cost);
		rig_destroy(&rig);
		if (rig.wrong)
			return -EIO;
		if (!i || cost.us < best->us)
			*best = cost;
	}
	return 0;
}

/* ---- the document ----------------------------------------------------------------------------*/
static int print_where(FILE *out, const struct debate_range *range)
{
	for (enum mmu_split_where w = MMU_SPLIT_ENDS; w <= MMU_SPLIT_TWO_WALKS; w++) {
		struct mmu_config policy = {.split_where = w};
		struct debate_cost cost;
		int err = measure(range, &policy, 0, &cost);

		if (err)
			return err;
		fprintf(out, "| %s | `%s` | %lu | %lu | %u | %u | ~%.1f | ~%.1f |\n", range->what,
			run_split_where_word(w), cost.visited, cost.splits, cost.calls, cost.drops,
			cost.us, cost.floor_us);
	}
	return 0;
}

static int print_metadata(FILE *out, const struct debate_range *range)
{
	for (enum mmu_split_metadata m = MMU_META_PAGE; m <= MMU_META_PREALLOC; m++) {
		struct mmu_config policy = {.split_metadata = m};
		struct debate_cost cost;
		int err = measure(range, &policy, 0, &cost);

		if (err)
			return err;
		fprintf(out, "| %s | `%s` | %lu | %u | %lu | ~%.1f | ~%.1f |\n", range->what,
			run_split_metadata_word(m), cost.splits, cost.drops, cost.visited, cost.us,
			cost.floor_us);
	}
	return 0;
}

static int print_rivals(FILE *out, u32 rivals)
{
	static const struct debate_range one = {"", PG_LEVEL_2M, PAGES_1G, 100, 356, 1};

	for (enum mmu_split_metadata m = MMU_META_PAGE; m <= MMU_META_PREALLOC; m++) {
		struct mmu_config policy = {.split_metadata = m};
		struct debate_cost cost;
		int err = measure(&one, &policy, rivals, &cost);

		if (err)
			return err;
		fprintf(out, "| %u top-ups taken | `%s` | %lu | %u | %lu |\n", rivals,
			run_split_metadata_word(m), cost.splits, cost.drops, cost.retries);
	}
	return 0;
}

static const char intro[] =
	"# Debates\n\n"
	"Questions that the mail threads on TDX huge pages argue about, the choices, and what each "
	"costs here.\nWritten by `septum bench debates > docs/debates.md`. A number behind a \"~\" "
	"was measured, on the machine and\nin the run that wrote this page; any other is exact. "
	"Each time has its floor beside it: the stores, loads\nand atomic operations that the work "
	"can't do without, in a loop of their own.\n";

static const char where_text[] =
	"\n## 000: where does a split before a removal look?\n\n"
	"Only a leaf that crosses an end of the range has to be split. `--split-range`: `ends` "
	"finds those by\narithmetic; `walk` looks at every entry of the range; `two-walks` walks "
	"from each end to the next 1G\nboundary. All give the same tree. Both ends of every range "
	"below are off the 2M boundaries; the last two are\na hole of 12 TiB in 16 TiB. The MMU "
	"alone, whose external side does nothing but get and free pages; times\nin us, the fastest "
	"of a few.\n\n"
	"| range | policy | entries visited | splits | hook calls | lock drops | time | floor |\n"
	"|---|---|---:|---:|---:|---:|---:|---:|\n";

static const char where_conclusion[] =
	"\nConclusion: splits and lock drops are the same, so only the looking differs. Under 2M "
	"and for an 8 KiB range\ninside a 1G leaf all look at a handful, the walks at a few less; "
	"from some hundred MiB on a walk looks at\nwhat lies between the ends, and at 12 TiB of 2M "
	"leaves at six million entries where `ends` needs 12.\nTwo walks never look at more than "
	"two blocks of 1G.\n";

static const char metadata_text[] =
	"\n## 000, 002: where do a split's pages come from?\n\n"
	"`--split-metadata`: `page` carries them on the new table's descriptor; `vm-cache` tops up "
	"a cache of the\nVM's and asks it again under the lock; `prealloc` gets what both ends "
	"need "
	"in one go, before the first\nsplit. A drop is one release of mmu.lock to allocate; after "
	"it the path is looked at again.\nAs `ends` finds the leaves, the MMU alone:\n\n"
	"| range | policy | splits | lock drops | entries visited | time | floor |\n"
	"|---|---|---:|---:|---:|---:|---:|\n";

static const char rivals_text[] =
	"\nConclusion: `prealloc` drops the lock once for a range, the others once for each split; "
	"alone, topping up\nand carrying cost the same.\n"
	"\n### And when somebody else takes what was got?\n\n"
	"One split, while a rival takes all that is in the VM's cache right after each top-up, so "
	"many times:\n\n"
	"| beside | policy | splits | lock drops | retries |\n|---|---|---:|---:|---:|\n";

static const char rivals_conclusion[] =
	"\nConclusion: each rival costs `vm-cache` a further lock drop and a further try, with no "
	"bound but the number of\nrivals; what a page carries, or was got for this split, no rival "
	"can take.\n";

static const char hook_text[] =
	"\n## 003: many hooks or one?\n\n"
	"One hook hears (old, new, level) of every change of a mirror entry. Is each change told "
	"once? In the first\ntable its calls are as many as the splits. The form with many hooks "
	"isn't built.\n\n"
	"Conclusion: one hook, called once for each split, is enough for all that this page "
	"measures.\n";

static int debate_where(FILE *out)
{
	int err = 0;

	fputs(where_text, out);
	for (u32 i = 0; i < ARRAY_SIZE(ranges) && !err; i++)
		err = print_where(out, &ranges[i]);
	fputs(where_conclusion, out);
	return err;
}

static int debate_metadata(FILE *out)
{
	static const u32 rivals[] = {0, 1, 2, 5};
	int err = 0;

	fputs(metadata_text, out);
	for (u32 i = 0; i < ARRAY_SIZE(ranges) - 1 && !err; i++)
		err = print_metadata(out, &ranges[i]);
	fputs(rivals_text, out);
	for (u32 i = 0; i < ARRAY_SIZE(rivals) && !err; i++)
		err = print_rivals(out, rivals[i]);
	fputs(rivals_conclusion, out);
	return err;
}

int bench_debates(FILE *out)
{
	int (*const questions[])(FILE * out) = {debate_where,	debate_folio,	 debate_loss,
						debate_mapping, debate_metadata, debate_contention,
						debate_cache};
	int (*const last[])(FILE * out) = {debate_split_lock, debate_interrupts,
					   debate_demote_lock};
	int err = 0;

	fputs(intro, out);
	for (u32 i = 0; i < ARRAY_SIZE(questions) && !err; i++)
		err = questions[i](out);
	fputs(hook_text, out);
	for (u32 i = 0; i < ARRAY_SIZE(last) && !err; i++)
		err = last[i](out);
	return err;
}
