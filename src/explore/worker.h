/* SPDX-License-Identifier: MIT */
/*
 * explore/worker: each program is searched in a process of its own, several at a time, so that a
 * crash or a loop without end is a failure of that program, with the schedule that led to it, and the
 * others are searched on.
 *
 * 1. Reports come in the order of tasks, whichever ends first.
 * 2. A process that dies is a failure "crash", one whose execution makes no step for long is "hang".
 *    A crash's schedule is made short as any other's, each execution in a process of its own.
 * 3. No process outlives the caller's.
 * 4. Who wants to stop early gets the reports of all tasks that have ended, and no process is left.
 */
#ifndef EXPLORE_WORKER_H
#define EXPLORE_WORKER_H

#include "explore/search.h"

struct explore_task {
	const struct program *program;
	struct explore_options options; /* progress and trail are the worker's */
};

struct explore_report {
	int error; /* -ENOMEM, -EIO: the search couldn't be made */
	struct explore_result result;
	double seconds;
	char *picture; /* of the failure; NULL: there is none */
};

struct explore_runner;

/* Called in the process of a worker. */
struct explore_backend {
	/* Return: 0 or -ENOMEM */
	int (*open)(void *ctx, const struct program *program, struct explore_runner *runner);
	void (*close)(struct explore_runner *runner);
};
extern const struct explore_backend explore_backend_machine; /* explore_execute() */

struct explore_crew {
	const struct explore_backend *backend;
	void *backend_ctx;
	u32 jobs;	  /* processes at a time, at least 1 */
	u32 hang_seconds; /* without the end of an execution; 0: 60 */
	void *ctx;
	void (*done)(void *ctx, u32 task, const struct explore_report *report);
	/* Several times a second; may be NULL. */
	void (*progress)(void *ctx, u32 tasks_done, u64 executions);
	/* As often: is that enough? May be NULL. */
	bool (*stop)(void *ctx);
};

/** explore_work - 0 when every task has been reported; -EINTR: stop() said so; -ENOMEM, -EIO */
int explore_work(const struct explore_task *tasks, u32 nr, const struct explore_crew *crew);

/**
 * explore_order - numbers of the tasks in the order in which they are best begun
 *
 * Those of most threads first: a long search that begins last keeps everybody waiting.
 * Return: @nr numbers for free(), or NULL: no memory.
 */
u32 *explore_order(const struct explore_task *tasks, u32 nr);

#endif
