/* SPDX-License-Identifier: MIT */
/*
 * explore/ranks: one list of tasks worked off by processes on several machines, started by mpirun.
 *
 * Rank 0 hands out tasks, one at a time, to the other ranks as they ask, and takes their reports; it
 * does no task itself while anybody else can.
 *
 * 1. Each task's report is taken once. Tasks depend on nothing but their number and what rank 0 tells
 *    with each, so what comes out doesn't depend on how many ranks there are or on who did what.
 * 2. A rank that hasn't been heard for long counts as lost, and its task is handed out again. One that
 *    is heard again is one of us again. When nobody else is left, rank 0 does what remains.
 * 3. A rank that hasn't heard from rank 0 for long ends.
 * 4. Nothing here waits for one certain rank: each message is small and whole, sent without waiting.
 *
 *	rank			rank 0
 *	ASK ----------------->
 *	    <----------------- TASK n | WAIT | END
 *	BEAT (in a task) ---->
 *	    <----------------- GO_ON | END
 *	PART ... PART ------->			the report
 *	ASK ----------------->
 *
 * A start by mpirun is seen in the environment: without one, MPI is neither started nor looked for.
 */
#ifndef EXPLORE_RANKS_H
#define EXPLORE_RANKS_H

#include <stddef.h>

#include "base/types.h"
#include "explore/campaign.h"
#include "explore/worker.h"

/* ---- messages --------------------------------------------------------------------------------*/
enum ranks_kind {
	RANKS_ASK = 1, /* count: what ranks_job.fingerprint says */
	RANKS_BEAT,    /* task, count: how far it is */
	RANKS_PART,    /* task, count: bytes of the whole report, at, nr, bytes */
	RANKS_CANT,    /* the rank can work no more; its task is another's */
	RANKS_TASK,    /* task; count, at: ranks_job.whole */
	RANKS_WAIT,    /* all tasks are handed out: ask again */
	RANKS_GO_ON,
	RANKS_END, /* count: 1 if all ranks are there to end together */
};

/* Small enough to be sent whole before anybody receives it, by all of MPI's transports. */
#define RANKS_PART_BYTES 2048

struct ranks_message {
	u32 kind;
	u32 task;
	u64 count, at;
	u32 nr; /* of bytes */
	char bytes[RANKS_PART_BYTES];
};

/** struct ranks_link - how messages travel; MPI, or what a test has instead */
struct ranks_link {
	void *ctx;
	/* One that has come, if any; never waits. Those of one sender come in order. */
	bool (*receive)(void *ctx, u32 *from, struct ranks_message *m);
	/* Never waits for the receiver, who may be gone. Return: 0, -ENOMEM or -EIO */
	int (*send)(void *ctx, u32 to, const struct ranks_message *m);
	/* @together: all ranks do this now. */
	void (*close)(void *ctx, bool together);
};

/* ---- ranks -----------------------------------------------------------------------------------*/
struct ranks_span {
	u64 first, nr;
};

struct ranks {
	struct ranks_link link;
	u32 index, size;
	u32 silence;	 /* seconds without a word after which a rank counts as lost */
	u32 patience;	 /* seconds without a word after which rank 0 does */
	bool die_as_one; /* where one dies mpirun ends all: who isn't heard is only slow */
	bool left;
	/* Of ranks 1 and up. */
	bool over, together; /* as RANKS_END says */
	bool deserted;	     /* rank 0 is gone */
	double heard, beaten;
	u32 task;
	struct ranks_span whole; /* as the task came with */
	/* Of rank 0. */
	struct ranks_other *other; /* by rank; [0] is unused */
};

/**
 * ranks_expected - has mpirun started this process as one of several?
 * @index: its rank; may be NULL
 */
bool ranks_expected(u32 *index);

/**
 * ranks_join - become one of the ranks; every process that mpirun started must
 * @why: if not, the reason in a few words
 * Return: 0; -ENOSYS in a build without MPI; -EIO, -ENOMEM
 */
int ranks_join(struct ranks *r, char *why, size_t size);
/** ranks_begin - the same over any link; link, index and size are set. Return: 0, -ENOMEM */
int ranks_begin(struct ranks *r);
/**
 * ranks_leave - rank 0 tells all that it's over; the others wait for that, also who didn't work
 *
 * A second call does nothing.
 */
void ranks_leave(struct ranks *r);

struct ranks_bytes {
	char *at;
	size_t nr, room;
};
/** ranks_put - appends; 0 or -ENOMEM */
int ranks_put(struct ranks_bytes *b, const void *bytes, size_t n);

/* What tasks depend on, as a number: the build, then all else. */
u64 ranks_mix_build(void);
void ranks_mix(u64 *hash, const void *bytes, size_t n);

struct ranks_job {
	u64 fingerprint; /* of all that tasks depend on: who has another one gets no task */
	u32 nr;		 /* of tasks; others than rank 0 may have more than there are */
	/* What tasks are parts of, where only rank 0 can know it: it is told with each task. */
	struct ranks_span whole;
	void *ctx;
	/*
	 * Does a task of @whole, which is rank 0's, calling ranks_beat() several times a second.
	 * Return: 0; -errno: it can't here
	 */
	int (*run)(void *ctx, u32 task, const struct ranks_span *whole, struct ranks_bytes *report);
	/* Rank 0: once a task, in any order. Return: 0; -EINVAL: that's no report; -ENOMEM */
	int (*take)(void *ctx, u32 task, const char *bytes, size_t nr);
	/* Rank 0, after take(): only so many tasks, the first, need be done; never more than before.
	 * NULL: all. */
	u32 (*needed)(void *ctx);
	/* Rank 0, several times a second; may be NULL. */
	void (*progress)(void *ctx, u32 done, u64 count);
	/* Rank 0: a rank was lost, or can't be used. */
	void (*note)(void *ctx, u32 rank, const char *what);
};

/** ranks_hand_out - rank 0: until all tasks are done. Return: 0, or -errno of run() or take() */
int ranks_hand_out(struct ranks *r, const struct ranks_job *job);
/** ranks_serve - the others: until rank 0 says that it's over. Return: 0; -ETIMEDOUT: it's gone */
int ranks_serve(struct ranks *r, const struct ranks_job *job);
/** ranks_beat - tells rank 0 how far a task is. Return: 0; 1: it's over; -ETIMEDOUT: rank 0 is gone */
int ranks_beat(struct ranks *r, u64 count);
/** ranks_beat_or_exit - this process ends, and its children with it, where that says anything but 0 */
void ranks_beat_or_exit(struct ranks *r, u64 count,
			void (*note)(void *ctx, u32 rank, const char *what), void *ctx);

/* ---- exploration -----------------------------------------------------------------------------*/

/**
 * explore_work_ranked - explore_work() over ranks: the same calls of crew->done with the same reports
 * @note: as ranks_job.note, with crew->ctx
 *
 * Everybody calls it with the same tasks. In ranks 1 and up nothing is reported; it may end the process.
 */
int explore_work_ranked(struct ranks *r, const struct explore_task *tasks, u32 nr,
			const struct explore_crew *crew,
			void (*note)(void *ctx, u32 rank, const char *what));

/* ---- sequences -------------------------------------------------------------------------------*/

/* A task is about so many operations: a second's. A campaign has at most so many tasks. */
#define RANKS_TASK_OPERATIONS 32768
#define RANKS_MOST_TASKS (1U << 20)

/* What a task reports: numbers alone, since anything may come. */
struct ranks_seeds_report {
	u64 operations; /* as campaign_result's */
	u64 failed;	/* 0, 1 */
	u64 seed;	/* of what failed; 0 if nothing did, and so what follows */
	u64 at, outcome_operations;
	char text[sizeof(((struct sequence_outcome *)NULL)->text)];
};

/**
 * campaign_run_ranked - campaign_run() over ranks: the same result, but for the seconds
 * @asked: what all ranks were asked for: who was asked for something else gets no work
 * @c: rank 0: what is to be done of that, by all; jobs says nothing
 * @note: as ranks_job.note, with c->ctx
 *
 * In ranks 1 and up @result is empty; it may end the process. Before rank 0 makes a failure small it
 * leaves, as that may take longer than the others wait for a word.
 */
int campaign_run_ranked(struct ranks *r, const struct campaign *asked, const struct campaign *c,
			void (*note)(void *ctx, u32 rank, const char *what),
			struct campaign_result *result);

#endif
