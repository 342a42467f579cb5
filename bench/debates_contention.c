/* SPDX-License-Identifier: MIT */
/*
 * Thread 002: where a split's pages come from, through tdx and the module, by one thread and by
 * several at once: lock drops, retries, PAMT calls.
 */
#include <errno.h>

#include "bench/debates.h"
#include "cli/run.h"

#define MAX_THREADS 4
#define SPLITS 512 /* all threads together */
#define BLOCK_PAGES 512ULL

struct scene {
	const char *module;
	bool shared;
	enum mmu_split_metadata metadata;
	enum td_demote_lock demote_lock;
	u32 threads;
};

struct outcome {
	u64 splits, drops, retries; /* retries: as the MMU counts them */
	u64 pairs, busy;
	double us;
};

struct splitter {
	struct sync_thread thread;
	struct debate_td *t;
	const struct scene *scene;
	u32 index;
	u32 *go;
	u64 retries;
	bool fine;
};

static void splitter_main(void *arg)
{
	struct splitter *s = arg;
	struct mmu_vcpu_cache cache;

	lp_set_current(s->t->m.lps[1 + s->index]);
	mmu_cache_init(&cache, vm_mmu(s->t->vm[0]));
	s->fine = !mmu_cache_topup(&cache);
	sync_fetch_sub(s->go, 1);
	while (sync_load_acquire(s->go))
		sync_relax();
	for (u32 i = s->index; i < SPLITS; i += s->scene->threads)
		s->fine &= debate_split(s->t->vm[0], &cache, i * BLOCK_PAGES, s->scene->shared,
					&s->retries);
	mmu_cache_destroy(&cache);
	lp_set_current(NULL);
}

static int split_at_once(struct debate_td *t, const struct scene *scene, struct outcome *o)
{
	struct splitter s[MAX_THREADS] = {0};
	u32 go = scene->threads + 1;
	u64 start;
	int err = 0;

	for (u32 i = 0; i < scene->threads && !err; i++) {
		s[i] = (struct splitter){.t = t, .scene = scene, .index = i, .go = &go};
		err = sync_thread_create(&s[i].thread, splitter_main, &s[i]);
	}
	if (err)
		return err; /* the others wait for ever; the process ends */
	while (sync_load_acquire(&go) > 1)
		sync_relax();
	start = host_now_ns();
	sync_store_release(&go, 0);
	for (u32 i = 0; i < scene->threads; i++) {
		sync_thread_join(&s[i].thread);
		err = s[i].fine ? err : -EIO;
	}
	o->us = (double)(host_now_ns() - start) / 1e3 / SPLITS;
	return err;
}

static int measure(struct debate_td *t, const struct scene *scene, struct outcome *o)
{
	struct mmu_vcpu_cache cache;
	struct vm *vm = t->vm[0];
	struct mmu_stats before;
	bool fine = true;
	u64 used;
	int err;

	mmu_cache_init(&cache, vm_mmu(vm));
	for (u32 i = 0; i < SPLITS; i++)
		fine &= debate_map(vm, &cache, i * BLOCK_PAGES, PG_LEVEL_2M);
	fine &= debate_warm_up(vm, &cache, SPLITS, scene->shared);
	mmu_cache_destroy(&cache);
	before = *mmu_stats(vm_mmu(vm));
	used = tdx_leaf_stats(t->m.tdx, TDH_PHYMEM_PAMT_ADD).ok;
	err = split_at_once(t, scene, o);
	o->splits = mmu_stats(vm_mmu(vm))->splits - before.splits;
	o->drops = mmu_stats(vm_mmu(vm))->split_lock_drops - before.split_lock_drops;
	o->retries = mmu_stats(vm_mmu(vm))->split_retries - before.split_retries;
	o->pairs = tdx_leaf_stats(t->m.tdx, TDH_PHYMEM_PAMT_ADD).ok - used;
	o->busy = tdx_leaf_stats(t->m.tdx, TDH_MEM_PAGE_DEMOTE).busy;
	return err ? err : fine && o->splits == SPLITS && !vm_why_dead(vm) ? 0 : -EIO;
}

static int run(const struct scene *scene, struct outcome *o)
{
	struct debate_td_config cfg = {.profile = scene->module,
				       .dynamic_pamt = true,
				       .nr_vms = 1,
				       .lps = 1 + MAX_THREADS,
				       .host_bytes = 2 * SIZE_1G,
				       .vm = {.memory_bytes = SPLITS * SIZE_2M,
					      .nr_vcpus = 1,
					      .split_metadata = scene->metadata,
					      .demote_lock = scene->demote_lock}};
	struct debate_td t;
	int err = debate_td_up(&t, &cfg);

	if (!err)
		err = measure(&t, scene, o);
	debate_td_down(&t);
	return err;
}

static void print_row(FILE *out, const struct scene *scene, const struct outcome *o)
{
	/* One thread meets nobody. */
	const char *mark = scene->threads > 1 ? "~" : "";

	fprintf(out,
		"| %u thread%s, %s, %s lock | `%s` | %lu | %s%lu | %s%lu | %s%lu | %s%lu | ~%.2f | "
		"~%.2f "
		"|\n",
		scene->threads, scene->threads > 1 ? "s" : "", scene->module,
		scene->shared ? "read" : "write", run_split_metadata_word(scene->metadata),
		o->splits, mark, o->pairs, mark, o->drops, mark, o->retries, mark, o->busy, o->us,
		debate_floor_us(DEBATE_SPLIT_ATOMICS, DEBATE_SPLIT_STORES, 0));
}

static const char text[] =
	"\n### Several threads at once, through the module, with Dynamic PAMT\n\n"
	"Each splits 2M leaves of its own, %d in all. A retry is a second try for one leaf: what "
	"was got was taken by\nanother thread, or the module was busy. On a real module splits "
	"hold "
	"the write lock; on `next` they go side\nby side under the read lock, and `vm-cache` is "
	"asked once more when the pages are taken (protocol b). Times\nare in us a split.\n\n"
	"| who | policy | splits | pairs made | lock drops | retries | DEMOTE busy | time | floor "
	"|\n"
	"|---|---|---:|---:|---:|---:|---:|---:|---:|\n";

static const char conclusion[] =
	"\nConclusion: alone, each policy drops the lock once for each split and retries nothing. "
	"What a page carries\nnobody can take from it; "
	"only `vm-cache` can find its pages gone.\n";

int debate_contention(FILE *out)
{
	static const u32 threads[] = {1, 2, 4};
	int err = 0;

	fprintf(out, text, SPLITS);
	for (u32 i = 0; i < 2 * ARRAY_SIZE(threads); i++) {
		struct scene scene = {.module = i % 2 ? "next" : "1.5.28",
				      .shared = i % 2,
				      .threads = threads[i / 2]};

		for (int m = MMU_META_PAGE; m <= MMU_META_PREALLOC && !err; m++) {
			struct outcome o = {0};

			scene.metadata = (enum mmu_split_metadata)m;
			err = run(&scene, &o);
			if (!err)
				print_row(out, &scene, &o);
		}
	}
	fputs(conclusion, out);
	return err;
}
