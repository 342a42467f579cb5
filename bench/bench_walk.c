/* SPDX-License-Identifier: MIT */
/* The page walk of the hardware: four levels of tables down to a 4K leaf. */
#include <errno.h>

#include "bench/bench.h"
#include "cpu/lp.h"

#define LEVELS 4
#define WALKS 4096 /* a sample; they cycle through the leaves of one table */

struct rig {
	struct host *host;
	struct lp *lp;
	pfn_t tables[LEVELS]; /* [0] is the root */
};

/* What a walk does: a load in each level, each from where the one before it led; no store. */
static u64 floor_walk(const struct rig *rig, gpa_t gpa)
{
	u64 entry = fn_to_addr(rig->tables[0]);

	for (enum pg_level level = LEVELS; level >= PG_LEVEL_4K; level--) {
		const u64 *table = host_ptr(rig->host, entry & EPT_PFN_MASK);

		entry = sync_load_acquire(&table[level_index(addr_to_fn(gpa), level)]);
	}
	return entry;
}

static int make_tables(struct rig *rig)
{
	/* The root last: at frame 0 it would be no root. */
	for (u32 i = LEVELS; i-- > 0;) {
		int err = host_alloc(rig->host, PG_LEVEL_4K, FRAME_DIRECT_TABLE, &rig->tables[i]);

		if (err)
			return err;
		host_frame_dirty(rig->host, rig->tables[i]);
	}
	for (u32 i = 0; i + 1 < LEVELS; i++)
		*(u64 *)host_frame_ptr(rig->host, rig->tables[i]) =
			fn_to_addr(rig->tables[i + 1]) | EPT_RWX;
	for (u32 i = 0; i < PTRS_PER_TABLE; i++)
		((u64 *)host_frame_ptr(rig->host, rig->tables[LEVELS - 1]))[i] =
			fn_to_addr(i) | EPT_RWX;
	rig->lp->ept = (struct ept_context){.asid = 1,
					    .sept_root = fn_to_addr(rig->tables[0]),
					    .levels = LEVELS,
					    .shared_bit = 47};
	return 0;
}

static gpa_t gpa_of(u32 i)
{
	return fn_to_addr(i % PTRS_PER_TABLE);
}

static int sample(const struct rig *rig, struct bench_samples *out)
{
	struct ept_translation tr;
	u64 sum = 0, expected = 0;

	bench_start(out);
	for (u32 i = 0; i < WALKS; i++)
		if (ept_walk(rig->lp, gpa_of(i), true, &tr))
			sum += tr.pfn;
	bench_end_op(out, WALKS);

	bench_start(out);
	for (u32 i = 0; i < WALKS; i++)
		expected += addr_to_fn(floor_walk(rig, gpa_of(i)));
	bench_end_floor(out, WALKS);
	return sum == expected ? 0 : -EIO;
}

static int run_walk(struct bench_samples *out)
{
	struct host_config cfg = {.memory_bytes = SIZE_1G, .lps = 1};
	struct rig rig = {0};
	int err = host_create(&cfg, &rig.host);

	if (err)
		return err;
	err = lp_create(rig.host, 0, &rig.lp);
	if (!err)
		err = make_tables(&rig);
	if (!err)
		err = sample(&rig, out); /* to warm up: the first one is taken again */
	while (!err) {
		err = sample(&rig, out);
		if (!bench_next(out))
			break;
	}
	if (rig.lp)
		lp_destroy(rig.lp);
	host_destroy(rig.host);
	return err;
}

const struct benchmark bench_walk = {
	.name = "walk",
	.unit = "ns",
	.what = "page walk of the hardware to a 4K leaf, with no TLB",
	.floor = "four loads, each from where the last one led",
	.run = run_walk,
};
