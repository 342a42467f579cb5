/* SPDX-License-Identifier: MIT */
/* septum explore: what its files share. */
#ifndef CLI_EXPLORE_H
#define CLI_EXPLORE_H

#include <jansson.h>

#include "cli/interrupt.h"
#include "cli/ranks.h"
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
	bool all, has_bound, pct;
	const char *bug;    /* NULL: none is planted */
	const char *inject; /* NULL: nothing is injected */
	const char *json;   /* NULL: none */
	u32 jobs;
	struct cli_ranks ranks;
};

struct explore_totals {
	u64 executions, states, switches, decisions, operations;
	u32 programs, failures;
	int status; /* worst of all, an exit status */
	double seconds;
};

struct explore_output {
	const struct explore_command *command;
	FILE *out;
	json_t *rows; /* NULL: no JSON is wanted */
	int name_width;
	bool shows_progress;
	struct interrupt interrupt;
	bool interrupted; /* there are programs without a row */
	/*
	 * A planted bug is looked for in several programs, by searches that take longer each time: the
	 * first failure ends that, and what finds nothing has no row before the last time.
	 */
	bool hunts, found, last;
	bool *done;	 /* by program: nothing more can come of it */
	u32 *program_of; /* by task */
	struct explore_totals totals;
};

void explore_output_begin(struct explore_output *o);
/** explore_output_report - a row, and all about its failure; as explore_crew.done */
void explore_output_report(void *ctx, u32 task, const struct explore_report *report);
void explore_output_progress(void *ctx, u32 tasks_done, u64 executions);
/** explore_output_end - totals, and JSON, of what has a row. Return: an exit status */
int explore_output_end(struct explore_output *o, double seconds);

#endif
