/* SPDX-License-Identifier: MIT */
/*
 * Thread 004, and what came of it: a DEMOTE that brings a pair, beside another TD's PAMT.ADD and
 * PAMT.REMOVE in the 2M range that the pair's pages lie in. The lock always, or for the second try?
 */
#include <errno.h>

#include "bench/debates.h"
#include "cli/run.h"

#define SPLITS 2000u
#define BLOCK_PAGES 512ULL
#define WAIT_NS 1000 /* a wait for the lock that is worth the name */

/* The other TD: maps and removes the only 4K page of a range. */
struct neighbour {
	struct sync_thread thread;
	struct debate_td *t;
	struct mmu_vcpu_cache cache; /* full before the range of @page is touched */
	pfn_t page;
	u32 stop;
	u64 rounds;
	bool wrong;
};

struct outcome {
	struct debate_times whole, wait;
	u64 busy, waits, rounds;
};

static void neighbour_round(struct neighbour *n)
{
	struct mmu *mmu = vm_mmu(n->t->vm[1]);

	n->wrong |= !debate_map_pfn(n->t->vm[1], &n->cache, 0, n->page, PG_LEVEL_4K);
	sync_write_lock(mmu_lock(mmu));
	mmu_zap_leafs(mmu, 0, 1, true);
	sync_write_unlock(mmu_lock(mmu));
	sync_store(&n->rounds, n->rounds + 1);
}

static void neighbour_main(void *arg)
{
	struct neighbour *n = arg;

	lp_set_current(n->t->m.lps[1]); /* its vCPU's, which runs nothing */
	while (!sync_load(&n->stop) && !n->wrong)
		neighbour_round(n);
	lp_set_current(NULL);
}

/*
 * Small frames come from one 2M range until it is full. Fills it but for four: two that the neighbour's
 * pair is made of, and two that a split takes for its table and its S-EPT page. So the split's pair
 * comes from the next range, where the neighbour's page lies.
 */
static int leave_four_frames(struct host *host, struct tdx_module *tdx, pfn_t *page)
{
	pfn_t first[4];
	u32 n = 0;
	int err;

	do {
		err = host_alloc(host, PG_LEVEL_4K, FRAME_OTHER, page);
		if (err)
			return err;
		if (n < ARRAY_SIZE(first))
			first[n] = *page;
	} while (++n && tdx_pamt_refs(tdx, *page));
	if (n <= ARRAY_SIZE(first))
		return -EIO;
	for (u32 i = 0; i < ARRAY_SIZE(first); i++)
		host_free(host, first[i], PG_LEVEL_4K, FRAME_OTHER);
	return 0;
}

static bool split_and_back(struct vm *vm, struct mmu_vcpu_cache *cache, struct outcome *o)
{
	struct debate_calls calls = {0};
	u64 start = host_now_ns(), retries = 0;
	bool fine;

	lp_current()->guest = &calls;
	fine = debate_split(vm, cache, 0, false, &retries);
	lp_current()->guest = NULL;
	debate_note(&o->whole, host_now_ns() - start);
	debate_note(&o->wait, calls.ns[PART_WAIT]);
	o->waits += calls.ns[PART_WAIT] > WAIT_NS;
	fine &= debate_promote(vm, 0);
	sync_rcu_barrier(); /* the table's frame is free again */
	return fine;
}

static int measure(struct debate_td *t, bool contended, struct outcome *o)
{
	struct neighbour n = {.t = t};
	struct mmu_vcpu_cache cache;
	bool fine;
	int err;

	mmu_cache_init(&cache, vm_mmu(t->vm[0]));
	fine = debate_map(t->vm[0], &cache, 0, PG_LEVEL_2M);
	mmu_cache_destroy(&cache);
	/* Links the tables that page 0 will need. */
	mmu_cache_init(&n.cache, vm_mmu(t->vm[1]));
	fine &= debate_map(t->vm[1], &n.cache, 1, PG_LEVEL_4K);
	err = leave_four_frames(t->m.host, t->m.tdx, &n.page);
	if (!err && contended)
		err = sync_thread_create(&n.thread, neighbour_main, &n);
	if (err)
		return err;
	while (contended && !sync_load(&n.rounds))
		sync_relax();
	for (u32 i = 0; i < SPLITS && fine; i++)
		fine = split_and_back(t->vm[0], &cache, o);
	sync_store(&n.stop, 1);
	if (contended)
		sync_thread_join(&n.thread);
	mmu_cache_destroy(&n.cache);
	o->rounds = n.rounds;
	o->busy = tdx_leaf_stats(t->m.tdx, TDH_MEM_PAGE_DEMOTE).busy;
	return fine && !n.wrong && !vm_why_dead(t->vm[0]) && !vm_why_dead(t->vm[1]) ? 0 : -EIO;
}

static int run(enum td_demote_lock lock, bool contended, struct outcome *o)
{
	struct debate_td_config cfg = {
		.profile = "1.5.28",
		.dynamic_pamt = true,
		.nr_vms = DEBATE_VMS,
		.lps = DEBATE_VMS,
		.host_bytes = SIZE_1G / 2,
		.vm = {.memory_bytes = 2 * SIZE_2M, .nr_vcpus = 1, .demote_lock = lock}};
	struct debate_td t;
	int err = debate_td_up(&t, &cfg);

	if (!err)
		err = measure(&t, contended, o);
	debate_td_down(&t);
	return err;
}

static const char text[] =
	"\n## 004: does DEMOTE hold the PAMT lock?\n\n"
	"With Dynamic PAMT a DEMOTE can meet another TD's PAMT.ADD or PAMT.REMOVE in the 2M range "
	"that its pair lies\nin, which makes it BUSY. `--demote-lock always` takes their lock for "
	"each DEMOTE; `retry` for the second try\nonly, after holding vCPUs out and a kick. One TD "
	"splits a leaf %u times; alone, or while another one maps\nand removes the only 4K page of "
	"that range as fast as it can. A wait is 1 us or more between TRACK and DEMOTE\n(or the "
	"two "
	"DEMOTEs). Times in us, medians.\n\n"
	"| beside | policy | splits | DEMOTE busy | holds and kicks for it | waits | wait | split "
	"| "
	"floor |\n|---|---|---:|---:|---:|---:|---:|---:|---:|\n";

static const char conclusion[] =
	"\nConclusion: both keep both TDs alive. With `always` no DEMOTE is ever BUSY, so the "
	"price "
	"is a wait for a lock\nthat is held for one call; with `retry` whoever meets another TD "
	"pays with a hold-off and a kick of all its\nvCPUs, which the table of steps above "
	"prices.\n";

int debate_demote_lock(FILE *out)
{
	int err = 0;

	fprintf(out, text, SPLITS);
	for (u32 i = 0; i < 4 && !err; i++) {
		enum td_demote_lock lock = (enum td_demote_lock)(i % 2);
		bool contended = i / 2, exact = !contended || lock == TD_DEMOTE_LOCK_ALWAYS;
		struct outcome o = {0};

		err = run(lock, contended, &o);
		if (!err)
			fprintf(out,
				"| %s | `%s` | %u | %s%lu | %s%lu | ~%lu | ~%.2f | ~%.2f | ~%.2f "
				"|\n",
				contended ? "another TD" : "nobody", run_demote_lock_word(lock),
				SPLITS, exact ? "" : "~", o.busy, exact ? "" : "~", o.busy, o.waits,
				debate_median(&o.wait), debate_median(&o.whole),
				debate_floor_us(DEBATE_SPLIT_ATOMICS, DEBATE_SPLIT_STORES, 0));
	}
	fputs(conclusion, out);
	return err;
}
