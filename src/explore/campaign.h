/* SPDX-License-Identifier: MIT */
/*
 * explore/campaign: many random sequences, in several processes, so that a crash or a loop without end
 * is a failure of the sequence that it came in. What fails is made small, each trial in a process of its
 * own.
 *
 * 1. Sequence i of a campaign is sequence_random(seed + i): what fails doesn't depend on the processes.
 * 2. No process outlives the caller's.
 */
#ifndef EXPLORE_CAMPAIGN_H
#define EXPLORE_CAMPAIGN_H

#include "explore/sequence.h"

struct campaign {
	u64 seed, sequences;
	u32 length; /* operations of each */
	u32 jobs;   /* processes, 1 to CAMPAIGN_MAX_JOBS */
	u64 planted_bugs;
	u32 hang_seconds; /* a sequence may take; 0: 120 */
	/* Every now and then: all sequences before seed @next are done. May be NULL. */
	void (*progress)(void *ctx, u64 next, u64 operations);
	void *ctx;
};
#define CAMPAIGN_MAX_JOBS 64

struct campaign_result {
	u64 operations;
	u64 next; /* the first seed that isn't done; a failed one isn't */
	double seconds;
	bool failed;
	u64 failed_seed;
	struct sequence_outcome outcome; /* of the whole sequence; .at: UINT32_MAX after a crash */
	struct sequence smallest;	 /* what still fails like that; the caller's to free */
	struct sequence_outcome smallest_outcome;
};

/** campaign_run - until all are done or one has failed. Return: 0; -errno where processes can't be had */
int campaign_run(const struct campaign *c, struct campaign_result *result);

/** campaign_try - sequence_run() in a process of its own, whatever becomes of that; likewise */
int campaign_try(const struct sequence *s, u64 planted_bugs, u32 hang_seconds,
		 struct sequence_outcome *out);

#endif
