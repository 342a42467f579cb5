/* SPDX-License-Identifier: MIT */
/*
 * Context switches of the explorer: how many a second its scheduler makes while two vCPUs of a small
 * program fault and accept, and how many are left of that in whole executions, with a machine made and
 * ended for each. The floor is a switch alone: registers and stack, to a coroutine or back.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sched_impl.h"
#include "bench/bench.h"
#include "explore/search.h"

#define FLOOR_ROUNDS 10000 /* there and back, a sample */
#define SEARCH_RUNS 50	   /* a sample */
#define PAGES 24	   /* of each vCPU */
#define TEXT_MAX 2048

struct rig {
	struct bench_samples *out;
	struct program program;
	struct explore_machine *machine;
	struct sched_context outside, coroutine;

	/* Of the execution at hand. */
	struct sched_round_robin turns;
	u64 switches;
};

/* ---- the floor -------------------------------------------------------------------------------*/
static void switch_back(void)
{
	/* A coroutine is entered with nothing but the word that sync keeps for its caller. */
	struct rig *rig = sync_local();

	sched_context_entered(&rig->outside);
	for (;;)
		sched_context_switch(&rig->coroutine, &rig->outside, false);
}

static void sample_floor(struct rig *rig)
{
	bench_start(rig->out);
	for (u32 i = 0; i < FLOOR_ROUNDS; i++)
		sched_context_switch(&rig->outside, &rig->coroutine, false);
	bench_end_floor(rig->out, 2 * FLOOR_ROUNDS);
}

/* ---- threads alone ---------------------------------------------------------------------------*/
static int choose(void *ctx, const struct sched_view *v)
{
	struct rig *rig = ctx;
	int choice = sched_round_robin.choose(&rig->turns, v);

	/* Set-up asks nobody: this is the first time that there are two threads. */
	if (!v->decision)
		bench_start(rig->out);
	rig->switches += (u32)choice != v->running;
	return choice;
}

static void mark(void *ctx, u32 thread, const char *name, u64 arg)
{
	struct rig *rig = ctx;

	(void)thread;
	(void)arg;
	if (!strcmp(name, EXPLORE_MARK_REST))
		bench_end_op(rig->out, (u32)rig->switches);
}

static const struct sched_policy turns = {.choose = choose, .mark = mark};

static int sample_threads(struct rig *rig)
{
	const struct explore_setup setup = {.program = &rig->program};
	struct explore_outcome outcome;
	int err;

	rig->turns = (struct sched_round_robin){.quantum = 1};
	rig->switches = 0;
	err = explore_execute(rig->machine, &setup, &turns, rig, NULL, &outcome);
	return err || !outcome.failed ? err : -EIO;
}

/* ---- whole executions ------------------------------------------------------------------------*/
static int sample_search(struct rig *rig)
{
	const struct explore_options options = {
		.mode = EXPLORE_EXHAUSTIVE, .bound = 2, .runs = SEARCH_RUNS};
	struct explore_result result;
	int err;

	bench_start(rig->out);
	err = explore_search(rig->machine, &rig->program, &options, &result);
	if (err)
		return err;
	bench_end_op(rig->out, (u32)result.switches);
	err = result.failed ? -EIO : 0;
	explore_result_free(&result);
	return err;
}

/* ---- both ------------------------------------------------------------------------------------*/

/* Two vCPUs that accept pages of one block, @pages each, by turns. */
static int make_program(struct rig *rig, u32 pages)
{
	struct program_error error;
	char text[TEXT_MAX];
	size_t n = (size_t)snprintf(text, sizeof(text),
				    "machine memory=1G\n"
				    "td a vcpus=2 memory=8M pages=4k\n");

	for (u32 vcpu = 0; vcpu < 2; vcpu++) {
		n += (size_t)snprintf(text + n, sizeof(text) - n, "thread a.%u\n", vcpu);
		for (u32 i = 0; i < pages; i++)
			n += (size_t)snprintf(text + n, sizeof(text) - n, "accept 0x%x 4k\n",
					      0x200000 + 0x1000 * (2 * i + vcpu));
	}
	return program_parse("bench", text, n, &rig->program, &error);
}

static int open_rig(struct rig *rig, u32 pages)
{
	int err = make_program(rig, pages);

	if (err)
		return err;
	rig->machine = explore_machine_create();
	if (!rig->machine)
		return -ENOMEM;
	sched_context_here(&rig->outside);
	err = sched_context_create(&rig->coroutine);
	if (err) {
		explore_machine_destroy(rig->machine);
		return err;
	}
	sched_context_start(&rig->coroutine, switch_back);
	return 0;
}

static int run(struct bench_samples *out, u32 pages, int (*sample)(struct rig *rig))
{
	struct rig *rig = calloc(1, sizeof(*rig));
	void *before = sync_local();
	int err;

	if (!rig)
		return -ENOMEM;
	rig->out = out;
	err = open_rig(rig, pages);
	if (!err) {
		err = sample(rig); /* to warm up: the first one is taken again */
		do {
			if (!err)
				err = sample(rig);
			sync_set_local(rig);
			sample_floor(rig);
			sync_set_local(before);
			/* Switches a second. */
			out->op[out->nr] = 1e9 / out->op[out->nr];
			out->floor[out->nr] = 1e9 / out->floor[out->nr];
		} while (!err && bench_next(out));
		sched_context_destroy(&rig->coroutine);
		explore_machine_destroy(rig->machine);
	}
	free(rig);
	return err;
}

static int run_threads(struct bench_samples *out)
{
	return run(out, PAGES, sample_threads);
}

static int run_search(struct bench_samples *out)
{
	return run(out, 1, sample_search);
}

const struct benchmark bench_explore_switch = {
	.name = "explore-switch",
	.unit = "switches/s",
	.what = "context switches of the explorer while two vCPUs fault and accept by turns, its "
		"oracle included",
	.floor = "to a coroutine, or back, with nobody asked",
	.more_is_better = true,
	.run = run_threads,
};

const struct benchmark bench_explore_search = {
	.name = "explore-search",
	.unit = "switches/s",
	.what = "context switches in a search's executions, a machine and a TD made and ended for "
		"each",
	.floor = "to a coroutine, or back, with nobody asked",
	.more_is_better = true,
	.run = run_search,
};
