/* SPDX-License-Identifier: MIT */
/*
 * explore/search_race: the path of steps that an exhaustive search stands on, what happened before
 * what in it, and which of its steps race: conflict, with nothing else that orders them. Private to
 * the search.
 */
#ifndef EXPLORE_SEARCH_RACE_H
#define EXPLORE_SEARCH_RACE_H

#include "base/sched.h"

#define RACE_MAX_THREADS 32

/* One decision. Threads are bits of masks. */
struct race_node {
	u32 thread; /* chosen */
	u32 running;
	struct sched_op op; /* the chosen one's */
	u32 enabled;
	u32 asleep;	/* see search_exhaust.c */
	u32 todo;	/* not tried yet, if opened */
	u32 spent;	/* preemptions before this decision */
	u32 block;	/* the node with which the chosen thread's uninterrupted steps began */
	u32 own_before; /* the last node of the same thread, + 1 */
	u32 before; /* the last node of the same object, + 1; for those without one, of any such */
	u32 other_before; /* along `before`: the last one of another thread, + 1 */
	bool running_enabled;
	bool waited;	  /* main has waited for a thread */
	bool opened;	  /* what the first choice needs besides is known */
	bool raced;	  /* this step with a later one of another thread */
	bool block_raced; /* a step of the block that begins here */
};

struct race_path {
	struct race_node *node;
	u32 (*clock)[RACE_MAX_THREADS]; /* by node: of every thread, the last step before + 1 */
	u32 nr, room;
	u32 *head; /* by object: its last node + 1 */
	u32 heads;
	u32 last_special;	    /* the same of nodes without an object */
	u32 last[RACE_MAX_THREADS]; /* by thread: its last node + 1 */
	bool too_long;		    /* some step came too late to be looked at */
};

void race_path_free(struct race_path *p);
/** race_push - room for one more node, zeroed; NULL: no memory */
struct race_node *race_push(struct race_path *p);
/**
 * race_step - the last node makes its step: its place in the order, and whom it races with
 *
 * Return: 0 or -ENOMEM.
 */
int race_step(struct race_path *p);
/** race_pending - @thread would make a step @op now: marks whom that races with */
void race_pending(struct race_path *p, u32 thread, const struct sched_op *op);
/** race_pop - forget all nodes from @nr on */
void race_pop(struct race_path *p, u32 nr);

/**
 * race_conflict - sched_conflict(), and what a turn of a retry loop may have looked at
 *
 * Where racing atomics are steps, its looks are steps of their own, and the turn itself meets nothing;
 * elsewhere any write may be what it waits for.
 */
bool race_conflict(const struct sched_op *a, const struct sched_op *b);

#endif
