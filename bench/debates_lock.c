/* SPDX-License-Identifier: MIT */
/*
 * Thread 004: what the steps of a split cost, with vCPUs inside the guest, when the module is busy,
 * and on a module that needs none of them but DEMOTE.
 */
#include <errno.h>
#include <stdlib.h>

#include "bench/debates.h"

#define SPLITS 32
#define BLOCK_PAGES 512ULL
#define MAX_INSIDE 4

/* A guest that does nothing, and so leaves when it is kicked alone. */
struct idler {
	struct sync_thread thread;
	struct vm *vm;
	u32 index;
	u64 stays; /* how often it has come inside */
	u32 stop;
	int ret;
	struct tdx_regs call;
};

struct scene {
	const char *module;
	bool shared;
	u32 inside; /* vCPUs */
	u32 busy;   /* DEMOTEs of each split that are answered so */
};

static const struct scene scenes[] = {
	{"1.5.28", false, 0, 0}, {"1.5.28", false, 1, 0}, {"1.5.28", false, 2, 0},
	{"1.5.28", false, 4, 0}, {"1.5.28", false, 0, 1}, {"1.5.28", false, 1, 1},
	{"1.5.28", false, 2, 1}, {"next", false, 0, 0},	  {"next", false, 2, 0},
	{"next", true, 0, 0},	 {"next", true, 2, 0},	  {"next", true, 2, 1},
};

struct result {
	u64 block, track, demote; /* calls */
	u64 tries;		  /* DEMOTEs that went through our hands: as many */
	u64 exits, retries;
	struct debate_times part[DEBATE_PARTS], whole;
};

static void idler_run(struct lp *lp, void *guest)
{
	struct idler *idler = guest;

	sync_fetch_add(&idler->stays, 1);
	while (!sync_load_acquire(&idler->stop)) {
		if (lp_guest_poll(lp) != LP_ACCESS_OK)
			return;
		sync_relax();
	}
	idler->call = vm_hypercall(VM_HC_VENDOR, VM_HC_STOP, 0, 0);
	tdcall(lp, &idler->call);
}

static void idler_main(void *arg)
{
	static const struct guest_ops ops = {.run = idler_run};
	struct idler *idler = arg;

	idler->ret = vcpu_run(vm_vcpu(idler->vm, idler->index), &ops, idler);
}

static void note_stays(const struct idler *idler, u32 nr, u64 *stays)
{
	for (u32 i = 0; i < nr; i++)
		stays[i] = sync_load(&idler[i].stays);
}

static void wait_until_left_and_back(const struct idler *idler, u32 nr, const u64 *stays)
{
	for (u32 i = 0; i < nr; i++)
		while (sync_load_acquire(&idler[i].stays) == stays[i])
			sync_relax();
}

static int start(struct idler *idler, u32 nr, struct vm *vm)
{
	for (u32 i = 0; i < nr; i++) {
		int err;

		idler[i] = (struct idler){.vm = vm, .index = i};
		err = sync_thread_create(&idler[i].thread, idler_main, &idler[i]);
		if (err)
			return err;
	}
	wait_until_left_and_back(idler, nr, (const u64[MAX_INSIDE]){0});
	return 0;
}

static int stop(struct idler *idler, u32 nr)
{
	int err = 0;

	for (u32 i = 0; i < nr; i++) {
		sync_store_release(&idler[i].stop, 1);
		sync_thread_join(&idler[i].thread);
		err = idler[i].ret ? idler[i].ret : err;
	}
	return err;
}

static bool one_split(struct vm *vm, struct mmu_vcpu_cache *cache, const struct scene *scene,
		      gfn_t gfn, struct result *res)
{
	struct debate_calls calls = {.busy_first = scene->busy};
	u64 begin;
	bool done;

	lp_current()->guest = &calls;
	begin = host_now_ns();
	done = debate_split(vm, cache, gfn, scene->shared, &res->retries);
	debate_note(&res->whole, host_now_ns() - begin);
	lp_current()->guest = NULL;
	for (int part = 0; part < DEBATE_PARTS; part++)
		debate_note(&res->part[part], calls.ns[part]);
	res->tries += calls.demotes;
	return done;
}

/* Kicks of a split: after TRACK, and when vCPUs are held out after a BUSY under the write lock. */
static u32 kicks(const struct scene *scene, const struct result *res)
{
	return (u32)(res->track / SPLITS) + (scene->shared ? 0 : scene->busy);
}

/* Calls until now, less those until the last time. */
static void count_calls(const struct debate_td *t, struct result *res)
{
	const struct tdx_module *m = t->m.tdx;

	res->block = tdx_leaf_stats(m, TDH_MEM_RANGE_BLOCK).calls - res->block;
	res->track = tdx_leaf_stats(m, TDH_MEM_TRACK).calls - res->track;
	res->demote = tdx_leaf_stats(m, TDH_MEM_PAGE_DEMOTE).calls - res->demote;
}

static int split_all(struct debate_td *t, const struct scene *scene, struct result *res)
{
	struct idler idler[MAX_INSIDE];
	struct vm *vm = t->vm[0];
	struct mmu_vcpu_cache cache;
	bool fine = true;
	u64 exits;
	int err;

	mmu_cache_init(&cache, vm_mmu(vm));
	for (u32 i = 0; i < SPLITS; i++)
		fine &= debate_map(vm, &cache, i * BLOCK_PAGES, PG_LEVEL_2M);
	fine &= debate_warm_up(vm, &cache, SPLITS, scene->shared);
	err = start(idler, scene->inside, vm);
	if (err)
		return err;
	count_calls(t, res);
	exits = vm_stats(vm).exits_interrupt;
	for (u32 i = 0; i < SPLITS; i++) {
		u64 stays[MAX_INSIDE];

		note_stays(idler, scene->inside, stays);
		fine &= one_split(vm, &cache, scene, i * BLOCK_PAGES, res);
		/* A vCPU that was kicked is inside again before the next split. */
		if (!tdx_splits_unblocked(t->m.tdx))
			wait_until_left_and_back(idler, scene->inside, stays);
	}
	count_calls(t, res);
	res->exits = vm_stats(vm).exits_interrupt - exits;
	err = stop(idler, scene->inside);
	mmu_cache_destroy(&cache);
	return err ? err : fine && !vm_why_dead(vm) ? 0 : -EIO;
}

static int run(const struct scene *scene, struct result *res)
{
	struct debate_td_config cfg = {.profile = scene->module,
				       .nr_vms = 1,
				       .lps = MAX_INSIDE,
				       .host_bytes = SIZE_1G / 2,
				       .vm = {.memory_bytes = SPLITS * SIZE_2M,
					      .nr_vcpus = MAX_INSIDE}};
	struct debate_td t;
	int err = debate_td_up(&t, &cfg);

	if (!err)
		err = split_all(&t, scene, res);
	debate_td_down(&t);
	return err;
}

static void print_row(FILE *out, const struct scene *scene, struct result *res)
{
	/* How many came in again in time to be kicked a second time is a race. */
	bool exact = !scene->busy || !kicks(scene, res) || !scene->inside;

	fprintf(out, "| %s | %s | %u | %u | %lu | %lu | %lu | %u | %s%.1f ", scene->module,
		scene->shared ? "read" : "write", scene->inside, scene->busy, res->block / SPLITS,
		res->track / SPLITS, res->demote / SPLITS, kicks(scene, res), exact ? "" : "~",
		(double)res->exits / SPLITS);
	for (int part = 0; part < DEBATE_PARTS; part++)
		fprintf(out, "| ~%.2f ", debate_median(&res->part[part]));
	fprintf(out, "| ~%.2f | ~%.2f |\n", debate_median(&res->whole),
		debate_floor_us(DEBATE_SPLIT_ATOMICS, DEBATE_SPLIT_STORES, 0));
}

static const char text[] =
	"\n## 004: what do BLOCK, TRACK, kick and DEMOTE cost, and what would do without?\n\n"
	"A 2M leaf becomes 512 of 4K. A real module wants BLOCK, TRACK and a kick before DEMOTE, "
	"so all of it\nruns under the write lock; no UNBLOCK follows. BUSY is answered once by "
	"holding vCPUs out, a second kick,\nand a second DEMOTE. `next` isn't real: it wants "
	"DEMOTE "
	"alone, so the read lock will do, and a BUSY is the\nfault's to retry. Calls, kicks and "
	"exits are per split, times in us, the median of %d splits. 'Wait' is\nthe kick, and "
	"holding vCPUs out. The vCPUs are threads of this machine, so with more of them than\nit "
	"has processors the wait is its scheduler's. The floor is that of `septum bench "
	"split-2m`, with no vCPU.\n\n"
	"| module | lock | inside | BUSY | BLOCK | TRACK | DEMOTE | kicks | exits | in BLOCK | in "
	"TRACK | wait | in DEMOTE | whole | floor |\n"
	"|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n";

static const char conclusion[] = "\nConclusion: a real module needs three calls, one kick, and an "
				 "exit of every vCPU inside; "
				 "a BUSY adds a\nfourth call and a second kick. Without BLOCK it "
				 "is one call, no kick and no "
				 "exit, whatever is inside, and\na BUSY is one call more.\n";

int debate_split_lock(FILE *out)
{
	int err = 0;

	fprintf(out, text, SPLITS);
	for (u32 i = 0; i < ARRAY_SIZE(scenes) && !err; i++) {
		struct result *res = calloc(1, sizeof(*res));

		if (!res)
			return -ENOMEM;
		err = run(&scenes[i], res);
		/* The module's own counters see the DEMOTEs that were made BUSY, too. */
		if (!err && res->tries != res->demote)
			err = -EIO;
		if (!err)
			print_row(out, &scenes[i], res);
		free(res);
	}
	fputs(conclusion, out);
	return err;
}
