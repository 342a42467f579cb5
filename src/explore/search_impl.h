/* SPDX-License-Identifier: MIT */
/*
 * explore/search, inside: what one search consists of. Private to the search's files and their tests.
 *
 * All ways of searching make executions through search_once(), which counts, keeps the sets of
 * states, leaves the trail, and takes down the first failure. What an execution is, a runner says: the
 * real one is explore_execute() on a machine, tests have small programs of their own.
 */
#ifndef EXPLORE_SEARCH_IMPL_H
#define EXPLORE_SEARCH_IMPL_H

#include "explore/search.h"

struct explore_runner {
	/* As explore_execute(). */
	int (*execute)(void *ctx, const struct explore_setup *setup,
		       const struct sched_policy *policy, void *policy_ctx,
		       struct sched_schedule *record, struct explore_outcome *out);
	void *ctx;
	const struct sched *sched; /* names the objects of its last execution */
};

/* A set of hashes. */
struct search_states {
	u64 *slot; /* 0: free */
	u64 slots, nr;
	bool has_zero;
};

struct search {
	const struct explore_runner *runner;
	const struct explore_options *options;
	const struct program *program;
	struct explore_result *result;
	struct search_states states, final_states;
	struct sched_schedule record; /* of the last execution */
	struct explore_outcome out;   /* of the last execution */
	u32 preemptions;	      /* in the last execution */
	u64 max_steps; /* of an execution, by what the first one took; 0: not known yet */
	bool partial;  /* search_exhaust() has left out what it can't look at */
	bool cut;      /* its last call left something out for its bound's sake alone */
	bool apart;    /* executions are in other processes: a policy's state doesn't come back */
};

/** search_by - explore_search() on any runner */
int search_by(const struct explore_runner *runner, const struct program *program,
	      const struct explore_options *options, struct explore_result *result);

/**
 * search_once - one execution
 * @ended: it ran to its end, so its final state counts; NULL: always
 *
 * Return: 0, with s->out and s->record filled and s->result kept; -ENOMEM; -EIO.
 */
int search_once(struct search *s, const struct explore_injection *injection,
		const struct sched_policy *policy, void *policy_ctx, const bool *ended);

/** search_free_states - what search_once() has made the sets of */
void search_free_states(struct search *s);

/* May another execution be made? @limit: of all so far; 0: none */
static inline bool search_may_go_on(const struct search *s, u64 limit)
{
	return !s->result->failed && (!limit || s->result->executions < limit);
}

/**
 * search_exhaust - every schedule with at most @bound preemptions, up to commuting steps
 * @through: it came to its end; false too when a failure ended it
 *
 * s->partial becomes true where some were left out all the same. Where s->cut isn't true afterwards a
 * larger bound would make the same executions.
 */
int search_exhaust(struct search *s, u32 bound, u64 limit, bool *through);

/**
 * search_shrink - s->result->failure's schedule, shorter, failing in the same oracle line
 *
 * Executions that it makes aren't counted.
 */
int search_shrink(struct search *s);

/** search_picture - explore_picture() on any runner */
int search_picture(const struct explore_runner *runner, const struct program *program,
		   const struct explore_options *options, const struct sched_schedule *schedule,
		   FILE *out);

/* As sched_replay, but a choice that can't be made is passed over: for schedules that were cut. */
struct search_lenient {
	const struct sched_schedule *schedule;
	u32 next;
};
extern const struct sched_policy search_lenient;

static inline bool search_is_preemption(const struct sched_view *v, u32 choice)
{
	return choice != v->running && choice != SCHED_MAIN_THREAD &&
	       v->running != SCHED_MAIN_THREAD && v->thread[v->running].enabled;
}

#endif
