/* SPDX-License-Identifier: MIT */
/* explore/search on the real thing: executions of explore_execute(). */
#include <errno.h>

#include "explore/search_impl.h"
#include "explore/worker.h"

static int execute(void *ctx, const struct explore_setup *setup, const struct sched_policy *policy,
		   void *policy_ctx, struct sched_schedule *record, struct explore_outcome *out)
{
	return explore_execute(ctx, setup, policy, policy_ctx, record, out);
}

static struct explore_runner runner_of(struct explore_machine *m)
{
	return (struct explore_runner){.execute = execute, .ctx = m, .sched = explore_sched(m)};
}

int explore_search(struct explore_machine *m, const struct program *program,
		   const struct explore_options *options, struct explore_result *result)
{
	const struct explore_runner runner = runner_of(m);

	return search_by(&runner, program, options, result);
}

int explore_picture(struct explore_machine *m, const struct program *program,
		    const struct explore_options *options, const struct sched_schedule *schedule,
		    FILE *out)
{
	const struct explore_runner runner = runner_of(m);

	return search_picture(&runner, program, options, schedule, out);
}

static int open_machine(void *ctx, const struct program *program, struct explore_runner *runner)
{
	struct explore_machine *m = explore_machine_create();

	(void)ctx;
	(void)program;
	if (!m)
		return -ENOMEM;
	*runner = runner_of(m);
	return 0;
}

static void close_machine(struct explore_runner *runner)
{
	explore_machine_destroy(runner->ctx);
}

const struct explore_backend explore_backend_machine = {.open = open_machine,
							.close = close_machine};
