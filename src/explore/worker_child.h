/* SPDX-License-Identifier: MIT */
/* explore/worker, inside: what the process of a worker does, and how its report comes back. */
#ifndef EXPLORE_WORKER_CHILD_H
#define EXPLORE_WORKER_CHILD_H

#include "explore/worker.h"

/*
 * worker_child - search @task, or make @crashed's schedule short if it isn't NULL, and write the
 * report to @fd. In a process of its own.
 */
_Noreturn void worker_child(const struct explore_crew *crew, const struct explore_task *task,
			    struct explore_trail *trail, const struct explore_failure *crashed,
			    int fd);

/* What comes first through the pipe; then `nr` choices, then `picture` bytes. */
struct worker_head {
	int error;
	struct explore_result result; /* its schedule's pointer says nothing */
	u32 nr;
	u64 picture;
};

#endif
