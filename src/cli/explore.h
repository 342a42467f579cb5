/* SPDX-License-Identifier: MIT */
/* septum explore: what its files share. */
#ifndef CLI_EXPLORE_H
#define CLI_EXPLORE_H

#include <jansson.h>

#include "explore/ranks.h"
#include "explore/worker.h"

struct explore_program {
	const char *word; /* as on the command line: what replays it */
	struct program program;
};

struct explore_command {
	struct explore_program **program;
	u32 nr, room;
	struct explore_options options;
	struct sched_schedule schedule;
	const char *bug;  /* NULL: none is planted */
	const char *json; /* NULL: none */
	u32 jobs;
	struct ranks *ranks; /* NULL: mpirun didn't start us */
};

struct explore_totals {
	u64 executions, states, switches, decisions, operations;
	u32 failures;
	int status; /* worst of all, an exit status */
	double seconds;
};

struct explore_output {
	const struct explore_command *command;
	FILE *out;
	json_t *rows; /* NULL: no JSON is wanted */
	int name_width;
	bool shows_progress;
	struct explore_totals totals;
};

void explore_output_begin(struct explore_output *o);
/** explore_output_report - a row, and all about its failure; as explore_crew.done */
void explore_output_report(void *ctx, u32 task, const struct explore_report *report);
void explore_output_progress(void *ctx, u32 tasks_done, u64 executions);
/** explore_output_end - totals. Return: an exit status */
int explore_output_end(struct explore_output *o, double seconds);

/**
 * explore_ranks_join - c->ranks, if mpirun started us
 *
 * Return: 0; an exit status, with the reason told; -1: rank 0 tells it
 */
int explore_ranks_join(struct explore_command *c, struct ranks *ranks);
/**
 * explore_ranks_hush - ranks 1 and up say nothing of a command line that rank 0 reads too
 *
 * Return: for explore_ranks_speak(), which gives standard error back; their standard output is gone
 */
int explore_ranks_hush(const struct explore_command *c);
void explore_ranks_speak(int kept);
void explore_ranks_note(void *ctx, u32 rank, const char *what);
/** explore_ranks_leave - Return: this process's exit status, if rank 0's is @status */
int explore_ranks_leave(const struct explore_command *c, int status);

#endif
