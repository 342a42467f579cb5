/* SPDX-License-Identifier: MIT */
/*
 * Little programs for tests of searches: a few threads, each with a few operations of base/sync over a
 * few words and locks, run by sched_run() directly.
 */
#ifndef TESTS_EXPLORE_LITTLE_H
#define TESTS_EXPLORE_LITTLE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "explore/search_impl.h"

#define LITTLE_OBJECTS 4
#define LITTLE_OPS 12
#define LITTLE_THREADS 4

enum little_kind {
	L_END,
	L_LOAD,	 /* into the thread's register */
	L_STORE, /* register + n into the word */
	L_ADD,	 /* n to the word, in one step */
	L_MANY,	 /* 1 to the word, n times */
	L_LOCK,	 /* mutex */
	L_UNLOCK,
	L_TRY,	  /* spins with sync_relax() until it has the mutex */
	L_RDLOCK, /* rwlock */
	L_RDUNLOCK,
	L_WRLOCK,
	L_WRUNLOCK,
	L_SHARE, /* spins until it holds the lock word, with others; in one step each time, */
	L_UNSHARE,
	L_ALONE, /* alone */
	L_UNALONE,
	L_HALF,	     /* register + n into the word's upper half */
	L_LOAD_HALF, /* the lower half into the register */
	L_WAIT,	     /* until the word is n or more */
	L_WAKE,
	L_RCU_LOCK,
	L_RCU_UNLOCK,
	L_RCU_CALL, /* a callback that adds 100 to the word */
	L_CRASH,    /* if the word is n */
	L_FAIL,	    /* if the register is n */
	L_SET,	    /* register to n */
	L_HANG,	    /* for ever, if the word is n */
};

struct little_op {
	enum little_kind kind;
	u32 object;
	u64 n;
};

struct little_callback {
	struct sync_rcu_head rcu;
	u64 *word;
};

struct little {
	u32 nr_threads;
	struct little_op op[LITTLE_THREADS][LITTLE_OPS];
	bool deadlock_is_fine; /* it counts as a final state */
	bool stray;	       /* does something else every time */

	/* Of one execution. */
	u64 word[LITTLE_OBJECTS], reg[LITTLE_THREADS];
	u16 held[LITTLE_OBJECTS]; /* lock words, as neighbours: 1 alone, 2 for each that shares */
	struct sync_mutex mutex[LITTLE_OBJECTS];
	struct sync_rwlock rwlock[LITTLE_OBJECTS];
	struct sync_waitq waitq;
	struct little_callback callback[LITTLE_THREADS][LITTLE_OPS];
	struct sched *sched;
	u64 executions;
};

/* As explore_execute(), of a struct little. */
int little_execute(void *ctx, const struct explore_setup *setup, const struct sched_policy *policy,
		   void *policy_ctx, struct sched_schedule *record, struct explore_outcome *out);
/** little_up - @l's scheduler, and the runner that executes it */
struct explore_runner little_up(struct little *l);
void little_down(struct little *l);
/** little_program - what searches see of @l: how many threads there are, and their names */
struct program *little_program(const struct little *l);

#endif
