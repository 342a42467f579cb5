/* SPDX-License-Identifier: MIT */
/*
 * A bug in the removal path shows only when something is removed, and one of folios when something is
 * converted; a replay does neither by itself. So a run with a bug of the first kind, and no --discard
 * of its own, discards blocks where a stale translation would be used: those that vCPUs touch shortly
 * before and again shortly after, while their TLBs still hold them. One with a bug of the second kind,
 * and no --share or --unshare, shares a page of such a block.
 */
#include <stdlib.h>

#include "cli/run.h"

#define MEETINGS 4
#define MEETING_BLOCKS (RUN_MAX_DISCARDS / MEETINGS)
/* Events on either side: about what a TLB remembers. */
#define WINDOW 16384

struct block_use {
	u64 block; /* 2M block number */
	u64 before, after;
	u64 score;
};

static int by_score(const void *a, const void *b)
{
	const struct block_use *x = a, *y = b;

	return x->score < y->score ? 1 : x->score > y->score ? -1 : x->block < y->block ? -1 : 1;
}

/* Adds up vCPU @v's use of each block on either side of @event; what the weaker side has counts. */
static void score_vcpu(const struct trace *trace, u32 v, u64 event, struct block_use *use,
		       u64 blocks)
{
	for (u64 b = 0; b < blocks; b++)
		use[b].before = use[b].after = 0;
	for (u64 i = 0; i < trace->nr_vcpu_events[v]; i++) {
		const struct trace_access *a = &trace->events[v][i];
		struct block_use *u = &use[trace_access_gfn(a) >> 9];

		if (a->number < event)
			u->before += a->number + WINDOW >= event;
		else
			u->after += a->number < event + WINDOW;
	}
	for (u64 b = 0; b < blocks; b++)
		use[b].score += min_u64(use[b].before, use[b].after);
}

/* Sorts the blocks; the last one may be cut short by the end of memory, and is left out. */
static void score_blocks(const struct trace *trace, u64 event, struct block_use *use, u64 blocks)
{
	for (u64 b = 0; b <= blocks; b++)
		use[b] = (struct block_use){.block = b};
	for (u32 v = 0; v < trace->nr_vcpus; v++)
		score_vcpu(trace, v, event, use, blocks + 1);
	qsort(use, blocks, sizeof(*use), by_score);
}

/* The blocks that score best around @event are given back before it. */
static void plan_meeting(struct run_config *cfg, const struct trace *trace, u64 event,
			 struct block_use *use, u64 blocks)
{
	score_blocks(trace, event, use, blocks);
	for (u64 b = 0; b < min_u64(blocks, MEETING_BLOCKS) && use[b].score; b++)
		cfg->discards[cfg->nr_discards++] = (struct replay_discard){
			.gpa = use[b].block << 21, .size = SIZE_2M, .event = event};
}

/*
 * A folio that is taken apart under its leaf shows when a page of it changes sides and its neighbours
 * are used again: the first page of the block that is used most around the middle.
 */
static void plan_conversion(struct run_config *cfg, const struct trace *trace,
			    struct block_use *use, u64 blocks)
{
	u64 event = trace->nr_events / 2 + 1;

	score_blocks(trace, event, use, blocks);
	cfg->conversions[cfg->nr_conversions++] = (struct replay_conversion){
		.gpa = use[0].block << 21, .size = SIZE_4K, .event = event};
}

void run_plan_for_bugs(struct run_config *cfg, const struct trace *trace)
{
	const struct bug_set *bugs = &cfg->planted_bugs;
	bool removes = (bug_set_has(bugs, BUG_SKIP_KICK) || bug_set_has(bugs, BUG_SKIP_TRACK) ||
			bug_set_has(bugs, BUG_STALE_TLB)) &&
		       !cfg->nr_discards;
	bool converts = bug_set_has(bugs, BUG_GMEM_SPLITS_MAPPED_FOLIO) && !cfg->nr_conversions;
	u64 blocks = (trace->max_gfn + 1) >> 9;
	struct block_use *use;

	if (!removes && !converts)
		return;
	use = calloc(blocks + 1, sizeof(*use));
	if (!use)
		return;
	for (u64 m = 1; removes && m <= MEETINGS; m++)
		plan_meeting(cfg, trace, trace->nr_events * m / (MEETINGS + 1) + 1, use, blocks);
	if (converts && blocks)
		plan_conversion(cfg, trace, use, blocks);
	free(use);
}
