/* SPDX-License-Identifier: MIT */
/*
 * Thread 001: one 4K page of a huge one is shared, and taken back. How folios are split, or that they
 * aren't, and by which rule leaves follow them: what each touches, and holds while the page is shared.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bench/debates.h"

/* A way to keep the books of one huge page with a shared page in it. */
struct way {
	enum pg_level page;
	enum gmem_folio_split split;
	enum gmem_folio_refs refs;
	enum gmem_mapping_form form;
};

static const struct way ways[] = {
	{PG_LEVEL_2M, GMEM_SPLIT_NONUNIFORM, GMEM_REFS_SPLIT, GMEM_FORM_ORIGINAL},
	{PG_LEVEL_2M, GMEM_SPLIT_NONUNIFORM, GMEM_REFS_SPLIT, GMEM_FORM_FOLIO},
	{PG_LEVEL_2M, GMEM_SPLIT_UNIFORM, GMEM_REFS_SPLIT, GMEM_FORM_ORIGINAL},
	{PG_LEVEL_2M, GMEM_SPLIT_UNIFORM, GMEM_REFS_SPLIT, GMEM_FORM_FOLIO},
	{PG_LEVEL_2M, GMEM_SPLIT_NONUNIFORM, GMEM_REFS_COUNTED, GMEM_FORM_ORIGINAL},
	{PG_LEVEL_2M, GMEM_SPLIT_NONUNIFORM, GMEM_REFS_COUNTED, GMEM_FORM_FOLIO},
	{PG_LEVEL_1G, GMEM_SPLIT_NONUNIFORM, GMEM_REFS_SPLIT, GMEM_FORM_ORIGINAL},
	{PG_LEVEL_1G, GMEM_SPLIT_NONUNIFORM, GMEM_REFS_SPLIT, GMEM_FORM_FOLIO},
	{PG_LEVEL_1G, GMEM_SPLIT_UNIFORM, GMEM_REFS_SPLIT, GMEM_FORM_ORIGINAL},
	{PG_LEVEL_1G, GMEM_SPLIT_UNIFORM, GMEM_REFS_SPLIT, GMEM_FORM_FOLIO},
	{PG_LEVEL_1G, GMEM_SPLIT_NONUNIFORM, GMEM_REFS_COUNTED, GMEM_FORM_ORIGINAL},
	{PG_LEVEL_1G, GMEM_SPLIT_NONUNIFORM, GMEM_REFS_COUNTED, GMEM_FORM_FOLIO},
};

/* Memory that the host holds for the TD, in KiB. */
struct held {
	u64 descriptors, tables, pairs;
};

/* What is the same in every run. */
struct counts {
	u64 folios[PG_LEVEL_1G + 1]; /* while it is shared */
	u64 leaves[PG_LEVEL_1G + 1];
	u64 restored, demotes, sept_tables, promotes, merges;
	struct held held, left; /* more than before: while it is shared, and when all is over */
};

struct outcome {
	struct counts n;
	double share_us, back_us, floor_us;
};

static struct held held_now(const struct debate_file *d)
{
	const struct mmu_stats *stats = mmu_stats(vm_mmu(d->td.vm[0]));

	return (struct held){
		.descriptors = 4 * sync_load(&d->td.m.host->used[FRAME_VMEMMAP]),
		.tables = 4 * (stats->mirror_tables + stats->external_tables),
		.pairs = 4 * tdx_dpamt_pages(d->td.m.tdx),
	};
}

static struct held more(const struct held *a, const struct held *b)
{
	return (struct held){
		.descriptors = a->descriptors - b->descriptors,
		.tables = a->tables - b->tables,
		.pairs = a->pairs - b->pairs,
	};
}

static u64 leaf_calls(const struct debate_file *d, enum tdh_leaf leaf)
{
	return tdx_leaf_stats(d->td.m.tdx, leaf).ok;
}

static int share(struct debate_file *d, u64 index, struct outcome *o)
{
	struct gmem_stats before = gmem_stats(d->file), after;
	u64 demotes = leaf_calls(d, TDH_MEM_PAGE_DEMOTE);
	u64 tables = mmu_stats(vm_mmu(d->td.vm[0]))->external_tables;
	struct held held = held_now(d), now;
	u64 start = host_now_ns();
	int err = gmem_convert(d->file, index, 1, false);

	o->share_us = (double)(host_now_ns() - start) / 1e3;
	after = gmem_stats(d->file);
	now = held_now(d);
	memcpy(o->n.folios, after.folios, sizeof(o->n.folios));
	for (enum pg_level l = PG_LEVEL_4K; l <= PG_LEVEL_1G; l++)
		o->n.leaves[l] = mmu_stats(vm_mmu(d->td.vm[0]))->pages[l];
	o->n.restored = after.vmemmap_restored - before.vmemmap_restored;
	o->n.demotes = leaf_calls(d, TDH_MEM_PAGE_DEMOTE) - demotes;
	o->n.sept_tables = mmu_stats(vm_mmu(d->td.vm[0]))->external_tables - tables;
	o->n.held = more(&now, &held);
	return err;
}

/* Private again, accepted by the guest, and promoted when it stops. */
static int take_back(struct debate_file *d, u64 index, struct outcome *o)
{
	u64 promotes = leaf_calls(d, TDH_MEM_PAGE_PROMOTE), start = host_now_ns();
	int err = gmem_convert(d->file, index, 1, true);

	if (!err)
		err = bench_guest_accept(&d->guest, &d->td.m, d->td.vm[0], index, index + 1,
					 PG_LEVEL_4K);
	o->back_us = (double)(host_now_ns() - start) / 1e3;
	o->n.promotes = leaf_calls(d, TDH_MEM_PAGE_PROMOTE) - promotes;
	o->n.merges = gmem_stats(d->file).folio_merges;
	sync_rcu_barrier(); /* tables are frames again */
	return err;
}

static int share_and_back(struct debate_file *d, const struct way *way, struct outcome *o)
{
	struct held before = held_now(d), after;
	/* In the middle, so that neither end of the huge page is an end of what splits. */
	u64 index = d->nr_pages / 2 + 5;
	int err = share(d, index, o);

	if (!err)
		err = take_back(d, index, o);
	if (err)
		return err;
	after = held_now(d);
	o->n.left = more(&after, &before);
	/* All is as it was, in one leaf. */
	if (mmu_stats(vm_mmu(d->td.vm[0]))->pages[way->page] != 1 || vm_why_dead(d->td.vm[0]))
		return -EIO;
	return 0;
}

static int run(const struct way *way, enum gmem_restructure restructure,
	       enum gmem_convert_order order, struct outcome *o)
{
	struct debate_file_config cfg = {
		.page = way->page,
		.huge_pages = 1,
		.file = {.folio_split = way->split,
			 .folio_refs = way->refs,
			 .mapping_form = way->form,
			 .restructure = restructure,
			 .convert_order = order},
		/* One order breaks the rule of folios for a moment: see the table of checks. */
		.check = VM_CHECK_TRUST,
		.promote = VM_PROMOTE_NOW,
	};
	struct debate_file d;
	int err;

	memset(o, 0, sizeof(*o));
	err = debate_file_up(&d, &cfg);
	if (!err)
		err = share_and_back(&d, way, o);
	debate_file_down(&d);
	return err;
}

static double least(double a, double b)
{
	return b > 0 && b < a ? b : a;
}

/*
 * In every order, and whenever things are allocated: the counts are the same, the fastest counts. Where
 * a split's table page comes from does depend on it, and whether the pair of that range is there.
 */
static int measure(const struct way *way, struct outcome *best)
{
	struct outcome o;
	int err = run(way, GMEM_RESTRUCTURE_PREALLOC, GMEM_ORDER_SPLIT_FOLIO_ZAP, best);

	for (u32 i = 1; i < 6 && !err; i++) {
		err = run(way, (enum gmem_restructure)(i / 3), (enum gmem_convert_order)(i % 3),
			  &o);
		o.n.held.pairs = best->n.held.pairs;
		if (!err && memcmp(&o.n, &best->n, sizeof(o.n)))
			err = -EIO;
		best->share_us = least(best->share_us, o.share_us);
		best->back_us = least(best->back_us, o.back_us);
	}
	/* A split's, once for each, and a store for each word of the descriptors. */
	best->floor_us = debate_floor_us((u32)(DEBATE_SPLIT_ATOMICS * best->n.demotes),
					 (u32)(DEBATE_SPLIT_STORES * best->n.demotes +
					       best->n.restored * PAGE_SIZE / sizeof(u64)),
					 0);
	return err;
}

static int print_way(FILE *out, const struct way *way)
{
	struct outcome o;
	int err = measure(way, &o);

	if (err)
		return err;
	fprintf(out,
		"| %s | %s | `%s` | %lu + %lu + %lu | %lu | %lu | %lu | %lu + %lu | %lu + %lu + "
		"%lu | "
		"%lu | %lu | ~%.1f | ~%.1f | ~%.1f |\n",
		way->page == PG_LEVEL_1G ? "1G" : "2M",
		way->refs == GMEM_REFS_COUNTED	   ? "`counted`"
		: way->split == GMEM_SPLIT_UNIFORM ? "`split`, `uniform`"
						   : "`split`, `nonuniform`",
		debate_form_word(way->form), o.n.folios[PG_LEVEL_1G], o.n.folios[PG_LEVEL_2M],
		o.n.folios[PG_LEVEL_4K], o.n.restored, o.n.demotes, o.n.sept_tables,
		o.n.leaves[PG_LEVEL_2M], o.n.leaves[PG_LEVEL_4K], o.n.held.descriptors,
		o.n.held.tables, o.n.held.pairs, o.n.promotes,
		o.n.left.descriptors + o.n.left.tables + o.n.left.pairs, o.share_us, o.back_us,
		o.floor_us);
	return 0;
}

/* ---- descriptors -----------------------------------------------------------------------------*/
#define ROUNDS 16

struct descriptor_times {
	struct debate_times get, restore, optimise;
};

static int restore_once(struct hugetlb_pool *pool, pfn_t pfn, struct descriptor_times *t)
{
	struct hugetlb_vmemmap pages;
	u64 start = host_now_ns(), got, restored;
	int err = hugetlb_vmemmap_prealloc(pool, &pages);

	if (err)
		return err;
	got = host_now_ns();
	hugetlb_vmemmap_restore(pool, pfn, &pages);
	restored = host_now_ns();
	hugetlb_vmemmap_optimise(pool, pfn);
	debate_note(&t->optimise, host_now_ns() - restored);
	debate_note(&t->restore, restored - got);
	debate_note(&t->get, got - start);
	return 0;
}

static int time_descriptors(struct host *host, enum pg_level level, struct descriptor_times *t)
{
	struct hugetlb_pool *pool;
	u64 missing;
	pfn_t pfn;
	int err = hugetlb_pool_create(host, level, 1, true, &pool, &missing);

	if (err)
		return err;
	err = hugetlb_take(pool, false, &pfn);
	for (u32 i = 0; i < ROUNDS && !err; i++)
		err = restore_once(pool, pfn, t);
	hugetlb_put(pool, pfn, false);
	hugetlb_pool_destroy(pool);
	return err;
}

static int print_descriptors(FILE *out, enum pg_level level)
{
	struct host_config hc = {.memory_bytes = 2 * SIZE_1G, .lps = 1};
	u64 pages = pages_per_level(level) / 64 - 1;
	struct descriptor_times t = {0};
	struct host *host;
	int err = host_create(&hc, &host);

	if (err)
		return err;
	err = time_descriptors(host, level, &t);
	host_destroy(host);
	if (!err)
		fprintf(out, "| %s | %lu | %lu | ~%.1f | ~%.1f | ~%.1f | ~%.1f |\n",
			level == PG_LEVEL_1G ? "1G" : "2M", pages, 4 * pages, debate_median(&t.get),
			debate_median(&t.restore), debate_median(&t.optimise),
			debate_floor_us(0, (u32)(pages * PAGE_SIZE / sizeof(u64)), 0));
	return err;
}

/* ---- the document ----------------------------------------------------------------------------*/
static const char text[] =
	"\n## 001: how are folios split, and what follows them?\n\n"
	"A page of 4K in the middle of a huge one becomes shared, and private again. "
	"`--folio-refs split` counts who\nholds shared pages on folios of 4K: `--folio-split "
	"uniform` makes all of the huge page such folios,\n`nonuniform` the 2M around the page; "
	"`counted` counts beside one folio. `--mapping-form`: a leaf may be as\nlarge as the "
	"`original` huge page, or as its `folio`. The TD is the one huge page, from a pool whose "
	"descriptors\nare optimised (`--vmemmap on`), with Dynamic PAMT and `--promote now`. "
	"Folios "
	"are 1G + 2M + 4K, leaves\n2M + 4K, while the page is shared. KiB held are what came on "
	"top "
	"meanwhile: descriptors + table pages (S-EPT\nand mirror) + pairs; KiB left are what of it "
	"is there in the end. But for pairs of table pages, which may be\nthere already, the same "
	"comes out for each `--convert-order` and `--restructure`, which is asserted. Times "
	"are\nin "
	"us, the fastest of the six: of the conversion, with the first touch of what it writes; "
	"and "
	"of the way back,\nACCEPT and promotion included. The floor is that of sharing.\n\n"
	"| page | references | rule | folios | descriptor pages | DEMOTEs | S-EPT tables | leaves "
	"| "
	"KiB held | PROMOTEs back | KiB left | time | back | floor |\n"
	"|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n";

static const char conclusion[] =
	"\nConclusion: by the rule of the original huge page two leaves are split at most, however "
	"folios are kept, and all\nelse stays mapped at 2M; by that of folios `uniform` takes a 1G "
	"leaf apart to the last page, with 513 DEMOTEs,\na table and a pair for each 2M. Of a 1G "
	"page `nonuniform` needs the descriptors as `uniform` does, and nothing\nelse of its "
	"price; "
	"`counted` needs none, so the huge page keeps what the optimisation saves.\n";

static const char descriptors_text[] =
	"\n### What do the descriptors of a huge page cost?\n\n"
	"An optimised page keeps one page of descriptors. To be several folios it needs all of "
	"them, got and written,\nand is optimised again when it is one folio. KiB is what that "
	"holds, and what `--vmemmap off` always\nholds, at no cost when folios change. The median "
	"of %d, in us; the floor are the stores.\n\n"
	"| page | descriptor pages | KiB | got | written | given back | floor |\n"
	"|---|---:|---:|---:|---:|---:|---:|\n";

static const char descriptors_conclusion[] =
	"\nConclusion: 1/64 of memory is what the optimisation saves, and the first shared page of "
	"a huge page costs\nthat much writing; `counted` never pays it.\n";

int debate_folio(FILE *out)
{
	int err = 0;

	fputs(text, out);
	for (u32 i = 0; i < ARRAY_SIZE(ways) && !err; i++)
		err = print_way(out, &ways[i]);
	fputs(conclusion, out);
	fprintf(out, descriptors_text, ROUNDS);
	if (!err)
		err = print_descriptors(out, PG_LEVEL_2M);
	if (!err)
		err = print_descriptors(out, PG_LEVEL_1G);
	fputs(descriptors_conclusion, out);
	return err;
}
