/* SPDX-License-Identifier: MIT */
/*
 * explore/campaign: many random sequences, in several processes, so that a crash or a loop without end
 * is a failure of the sequence that it came in. What fails is made small, each trial in a process of its
 * own.
 *
 * 1. Sequence i of a campaign is sequence_random(seed + i), and of several that fail the first counts,
 *    whichever process has it and whenever: the result doesn't depend on the processes.
 * 2. No process outlives the caller's.
 */
#ifndef EXPLORE_CAMPAIGN_H
#define EXPLORE_CAMPAIGN_H

#include "explore/sequence.h"

struct campaign {
	u64 seed, sequences;
	u32 length; /* operations of each */
	u32 jobs;   /* processes, 1 to CAMPAIGN_MAX_JOBS */
	struct bug_set planted_bugs;
	u32 hang_seconds; /* a sequence may take; 0: 120 */
	/* Several times a second: all sequences before seed @next are done. May be NULL. */
	void (*progress)(void *ctx, u64 next, u64 operations);
	void *ctx;
};
#define CAMPAIGN_MAX_JOBS 64

struct campaign_result {
	/* Of the sequences before what failed, and of that up to its failure, if its process lives. */
	u64 operations;
	u64 next; /* the first seed that isn't done; a failed one isn't */
	double seconds;
	bool failed;
	u64 failed_seed;
	struct sequence_outcome outcome; /* of the whole sequence; .at: UINT32_MAX after a crash */
	struct sequence smallest;	 /* what still fails like that; the caller's to free */
	struct sequence_outcome smallest_outcome;
};

/**
 * campaign_search - until all are done, or one has failed and all before it are done
 *
 * Return: 0, with nothing made small; -errno where processes can't be had
 */
int campaign_search(const struct campaign *c, struct campaign_result *result);
/** campaign_shrink - makes what failed small; likewise */
int campaign_shrink(const struct campaign *c, struct campaign_result *result);
/** campaign_run - both; likewise */
int campaign_run(const struct campaign *c, struct campaign_result *result);

/** campaign_try - sequence_run() in a process of its own, whatever becomes of that; likewise */
int campaign_try(const struct sequence *s, const struct bug_set *bugs, u32 hang_seconds,
		 struct sequence_outcome *out);

#endif
