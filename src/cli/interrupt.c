/* SPDX-License-Identifier: MIT */
/* SIGINT and SIGTERM, held back. */
#include "cli/interrupt.h"

#include <stdio.h>

static const int signals[] = {SIGINT, SIGTERM};

void interrupt_hold(struct interrupt *in)
{
	sigemptyset(&in->held);
	for (u32 i = 0; i < ARRAY_SIZE(signals); i++) {
		struct sigaction action;

		/* Linux keeps a signal that is held even where it is ignored. */
		if (!sigaction(signals[i], NULL, &action) && action.sa_handler != SIG_IGN)
			sigaddset(&in->held, signals[i]);
	}
	sigprocmask(SIG_BLOCK, &in->held, &in->before);
}

bool interrupt_came(const struct interrupt *in)
{
	sigset_t pending;

	if (sigpending(&pending))
		return false;
	for (u32 i = 0; i < ARRAY_SIZE(signals); i++)
		if (sigismember(&in->held, signals[i]) && sigismember(&pending, signals[i]))
			return true;
	return false;
}

void interrupt_let(struct interrupt *in)
{
	fflush(NULL);
	sigprocmask(SIG_SETMASK, &in->before, NULL);
}
