/* SPDX-License-Identifier: MIT */
/* One execution of a program given as text, for tests. */
#ifndef TESTS_EXPLORE_RUN_H
#define TESTS_EXPLORE_RUN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "explore/world.h"

/* A group's: its state is a machine. */
static inline int run_set_up(void **state)
{
	*state = explore_machine_create();
	return *state ? 0 : -1;
}

static inline int run_tear_down(void **state)
{
	explore_machine_destroy(*state);
	return 0;
}

static inline void run_parse(struct program *p, const char *text)
{
	struct program_error e;

	if (program_parse("test", text, strlen(text), p, &e))
		fail_msg("%s%u:%u: %s", text, e.line, e.column, e.what);
}

/* By @policy; NULL: each thread until it has to wait. */
static inline struct explore_outcome run_text(struct explore_machine *m, const char *text,
					      const struct explore_setup *setup,
					      const struct sched_policy *policy, void *ctx)
{
	struct program *p = malloc(sizeof(*p));
	struct explore_setup s = setup ? *setup : (struct explore_setup){0};
	struct explore_outcome out;

	run_parse(p, text);
	s.program = p;
	assert_int_equal(explore_execute(m, &s, policy ? policy : &sched_run_until_blocked, ctx,
					 NULL, &out),
			 0);
	free(p);
	return out;
}

static inline void assert_fine(const struct explore_outcome *out)
{
	if (out->failed)
		fail_msg("%s: %s", out->oracle, out->text);
}

#endif
