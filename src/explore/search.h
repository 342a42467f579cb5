/* SPDX-License-Identifier: MIT */
/*
 * explore/search: which orders of a program's steps are tried.
 *
 *   exhaustive   every schedule with at most `bound` preemptions (a switch away from a thread that
 *                could have gone on), up to the order of steps that commute. Depth first; each
 *                execution begins anew and replays its prefix. Bounds 0, 1, ... one after another,
 *                so that what fails first has the fewest preemptions.
 *   pct          seeded random priorities, for what is too large
 *   auto         exhaustive for two threads; for more, exhaustive up to a number of executions,
 *                and what doesn't end by then is searched on by pct
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

enum explore_mode {
	EXPLORE_AUTO,
	EXPLORE_EXHAUSTIVE,
	EXPLORE_PCT,
	EXPLORE_REPLAY,
	EXPLORE_INJECT,
};

struct explore_options {
	enum explore_mode mode;
	u32 bound; /* AUTO, EXHAUSTIVE: preemptions */
	u64 runs; /* PCT; INJECT: random ones for each n; AUTO, EXHAUSTIVE: at most so many, 0 no limit */
	u64 seed;
	const struct sched_schedule *schedule; /* REPLAY */
	struct bug_set planted_bugs;
	struct explore_injection injection; /* goes wrong in every execution; INJECT has its own */
	u64 max_steps;			    /* of one execution; 0: as explore_setup */
	bool injected; /* AUTO with a bug: that something fails besides has been tried before */
	void (*progress)(void *ctx, u64 executions, u64 states); /* now and then; may be NULL */
	void *progress_ctx;
	struct explore_trail *trail; /* may be NULL */
};

struct explore_failure {
	char oracle[32];
	char text[512];
	struct sched_schedule schedule; /* the shortest found */
	struct explore_injection injection;
	u32 preemptions; /* in it */
	u64 execution;	 /* the how-manieth found it */
};

/* How far injections could count: the most of any execution. */
struct explore_reach {
	u64 allocations; /* 0 where none was to fail */
	u64 seamcalls, calls, kicks;
};

struct explore_result {
	u64 executions;
	u64 states;	  /* distinct, whenever an operation began or ended, and at rest */
	u64 final_states; /* distinct, at rest */
	u64 switches, decisions, steps, operations;
	u64 pct_executions; /* among them */
	bool complete;	    /* all within the bound were tried; never of PCT, REPLAY, INJECT */
	struct explore_reach reached;
	bool failed;
	struct explore_failure failure; /* the first */
	bool left;			/* REPLAY: the schedule doesn't fit the program: */
	struct sched_choice left_at;	/* that choice, */
	u32 left_choice;		/* the how-manieth (from 0), */
	u64 left_enabled; /* and who could have gone on there, a bit a thread; 0: the end */
};

/*
 * Where an execution has got to, in memory that outlives a crash: what it chose that sched_default()
 * would not have.
 */
#define EXPLORE_TRAIL_CHOICES 1024
struct explore_trail {
	u64 executions, states, final_states, steps, switches, decisions;
	struct explore_injection injection;
	u32 preemptions;
	u32 nr; /* more choices than there is room for aren't kept */
	struct sched_choice choice[EXPLORE_TRAIL_CHOICES];
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

/**
 * explore_injection_print - "alloc=3", "seamcall=2:0x8000020000000000", "interrupt=4", "kick=1",
 * joined by commas; "" for none; as snprintf()
 */
size_t explore_injection_print(const struct explore_injection *in, char *text, size_t size);
/**
 * explore_injection_parse - what that prints, with a status by name too: "seamcall=2:TDX_OPERAND_BUSY"
 *
 * Each kind once. Return: 0, or -EINVAL with @bad: where in @text it isn't one.
 */
int explore_injection_parse(struct explore_injection *in, const char *text, size_t *bad);

#endif
