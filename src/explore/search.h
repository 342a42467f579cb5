/* SPDX-License-Identifier: MIT */
/*
 * explore/search: which orders of a program's steps are tried.
 *
 *   exhaustive   every schedule with at most `bound` preemptions (a switch away from a thread that
 *                could have gone on), pruned by sleep sets: two steps that commute are tried in one
 *                order. Depth first; each execution begins anew and replays its prefix.
 *   pct          seeded random priorities, for what is too large
 *   replay       one schedule
 *   injection    the default schedule and `runs` random ones, once for every n of every kind of
 *                injection
 *
 * A failure is made short: the fewest preemptions first, then choices are taken out while the same
 * oracle line still fails.
 */
#ifndef EXPLORE_SEARCH_H
#define EXPLORE_SEARCH_H

#include <stdio.h>

#include "explore/execution.h"

enum explore_mode { EXPLORE_EXHAUSTIVE, EXPLORE_PCT, EXPLORE_REPLAY, EXPLORE_INJECT };

struct explore_options {
	enum explore_mode mode;
	u32 bound;	/* EXHAUSTIVE: preemptions */
	u64 runs;	/* PCT; EXHAUSTIVE: at most so many, 0 no limit */
	u64 seed;
	const struct sched_schedule *schedule; /* REPLAY */
	u64 planted_bugs;
	struct explore_injection injection; /* REPLAY of a failure that had one */
	void (*progress)(void *ctx, u64 executions, u64 states); /* now and then; may be NULL */
	void *progress_ctx;
};

struct explore_failure {
	char oracle[32];
	char text[512];
	struct sched_schedule schedule; /* the shortest found */
	struct explore_injection injection;
	u64 execution; /* the how-manieth found it */
};

struct explore_result {
	u64 executions, states; /* distinct final states */
	u64 switches, steps, operations;
	bool complete; /* EXHAUSTIVE: all within the bound were tried */
	bool failed;
	struct explore_failure failure; /* the first */
	bool left;	/* REPLAY: the schedule doesn't fit the program, */
	u64 left_choice; /* from this choice on */
};

/** explore_search - 0 with @result filled, found or not; -ENOMEM; -EIO when set-up fails */
int explore_search(struct explore_machine *m, const struct program *program,
		   const struct explore_options *options, struct explore_result *result);
void explore_result_free(struct explore_result *result);

/**
 * explore_picture - one execution as lanes: a column a thread, a line a step that matters
 *
 * Written by replaying @schedule with marks heard: operations begin and end, SEAMCALLs with their
 * answers, locks that had to be waited for, kicks, entry changes; the failing line last.
 * Return: 0, -ENOMEM, -EIO.
 */
int explore_picture(struct explore_machine *m, const struct program *program,
		    const struct explore_options *options, const struct sched_schedule *schedule,
		    FILE *out);

#endif
