/* SPDX-License-Identifier: MIT */
/*
 * cli: Ctrl-C for commands that have something to tell all the same. SIGINT and SIGTERM are held back
 * while they work, in the processes that they make too; they look now and then whether one has come, tell
 * what they have, and let it come: the command then dies by the signal, as its caller expects.
 */
#ifndef CLI_INTERRUPT_H
#define CLI_INTERRUPT_H

#include <signal.h>

#include "base/types.h"

struct interrupt {
	sigset_t held, before;
};

/** interrupt_hold - from now on; what the caller's caller has ignored stays ignored */
void interrupt_hold(struct interrupt *in);
bool interrupt_came(const struct interrupt *in);
/** interrupt_let - what came comes now, so it may not return */
void interrupt_let(struct interrupt *in);

#endif
