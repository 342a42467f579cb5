/* SPDX-License-Identifier: MIT */
/*
 * explore/search_race: vector clocks over the path of an exhaustive search.
 *
 * A step's clock says which steps happened before it: those of its thread, and all that conflict with
 * one of those, transitively. A later step races with an earlier one of another thread if they
 * conflict and the earlier one isn't in the clock that the later one's thread had before. All races
 * are marked, not the last alone, since a bound on preemptions may keep the search from what would
 * lead it from the last to the others.
 *
 * Main doesn't take part: it creates and joins, and nothing that others do depends on when.
 */
#include "explore/search_race.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/sync.h"

void race_path_free(struct race_path *p)
{
	free(p->node);
	free(p->clock);
	free(p->head);
	memset(p, 0, sizeof(*p));
}

bool race_conflict(const struct sched_op *a, const struct sched_op *b)
{
	if (a->kind == SCHED_RELAX || b->kind == SCHED_RELAX)
		return !SYNC_ATOMICS_SWITCH && (a->write || b->write);
	return sched_conflict(a, b);
}

/*
 * An execution as long as this hardly ends: what else could have happened so far on is of little use,
 * and looking for it takes time as the square of the length.
 */
#define MOST_LOOKED_BACK 20000

/* Numbers of threads are no objects, and these conflict with what has another or none. */
static bool is_special(const struct sched_op *op)
{
	return !op->object || op->kind <= SCHED_JOIN || op->kind == SCHED_WAIT ||
	       op->kind >= SCHED_RCU_LOCK;
}

static bool looks_at_all(const struct sched_op *op)
{
	return op->kind == SCHED_WAIT || op->kind == SCHED_RELAX;
}

struct race_node *race_push(struct race_path *p)
{
	if (p->nr == p->room) {
		u32 room = p->room ? 2 * p->room : 1024;
		struct race_node *node = realloc(p->node, room * sizeof(*node));
		void *clock;

		if (!node)
			return NULL;
		p->node = node;
		clock = realloc(p->clock, room * sizeof(*p->clock));
		if (!clock)
			return NULL;
		p->clock = clock;
		p->room = room;
	}
	memset(&p->node[p->nr], 0, sizeof(p->node[0]));
	return &p->node[p->nr++];
}

static int need_head(struct race_path *p, u32 object)
{
	u32 heads = p->heads ? p->heads : 1024;
	u32 *head;

	if (object < p->heads)
		return 0;
	while (heads <= object)
		heads *= 2;
	head = realloc(p->head, heads * sizeof(*head));
	if (!head)
		return -ENOMEM;
	memset(head + p->heads, 0, (heads - p->heads) * sizeof(*head));
	p->head = head;
	p->heads = heads;
	return 0;
}

/* What one look back over earlier steps is about. */
struct look {
	const struct sched_op *op;
	u32 thread;
	const u32 *known; /* the thread's clock before */
	u32 *joined;	  /* becomes its clock after; NULL: nobody wants it */
};

static void look_at(struct race_path *p, const struct look *l, u32 i)
{
	struct race_node *n = &p->node[i];

	if (n->thread == l->thread || n->thread == SCHED_MAIN_THREAD || l->known[n->thread] > i ||
	    !race_conflict(&n->op, l->op))
		return;
	n->raced = true;
	p->node[n->block].block_raced = true;
	if (!l->joined)
		return;
	for (u32 t = 0; t < RACE_MAX_THREADS; t++) {
		if (p->clock[i][t] > l->joined[t])
			l->joined[t] = p->clock[i][t];
	}
}

/* What is known of a thread holds for all its earlier steps too. */
static void look_along(struct race_path *p, const struct look *l, u32 from)
{
	for (u32 i = from; i;) {
		const struct race_node *n = &p->node[i - 1];

		if (n->thread == l->thread || l->known[n->thread] >= i) {
			i = n->other_before;
			continue;
		}
		look_at(p, l, i - 1);
		i = n->before;
	}
}

static void look_back(struct race_path *p, const struct look *l, u32 from)
{
	if (looks_at_all(l->op)) {
		for (u32 i = from; i-- > 0;)
			look_at(p, l, i);
		return;
	}
	look_along(p, l, p->last_special);
	if (!is_special(l->op) && l->op->object < p->heads)
		look_along(p, l, p->head[l->op->object]);
}

static void enter(struct race_path *p, u32 at)
{
	struct race_node *n = &p->node[at];
	u32 *head = is_special(&n->op) ? &p->last_special : &p->head[n->op.object];

	n->before = *head;
	if (*head)
		n->other_before = p->node[*head - 1].thread != n->thread
					  ? *head
					  : p->node[*head - 1].other_before;
	*head = at + 1;
	n->own_before = p->last[n->thread];
	p->last[n->thread] = at + 1;
}

int race_step(struct race_path *p)
{
	static const u32 nothing[RACE_MAX_THREADS];
	u32 at = p->nr - 1;
	struct race_node *n = &p->node[at];
	const u32 *known = p->last[n->thread] ? p->clock[p->last[n->thread] - 1] : nothing;
	const struct look l = {&n->op, n->thread, known, p->clock[at]};

	if (!is_special(&n->op) && need_head(p, n->op.object))
		return -ENOMEM;
	n->block = at && n->running_enabled && n->thread == n->running ? n[-1].block : at;
	memcpy(p->clock[at], known, sizeof(p->clock[at]));
	p->too_long |= at >= MOST_LOOKED_BACK;
	if (n->thread != SCHED_MAIN_THREAD && at < MOST_LOOKED_BACK)
		look_back(p, &l, at);
	p->clock[at][n->thread] = at + 1;
	enter(p, at);
	return 0;
}

void race_pending(struct race_path *p, u32 thread, const struct sched_op *op)
{
	static const u32 nothing[RACE_MAX_THREADS];
	const struct look l = {op, thread,
			       p->last[thread] ? p->clock[p->last[thread] - 1] : nothing, NULL};

	look_back(p, &l, p->nr);
}

void race_pop(struct race_path *p, u32 nr)
{
	while (p->nr > nr) {
		struct race_node *n = &p->node[--p->nr];

		if (is_special(&n->op))
			p->last_special = n->before;
		else
			p->head[n->op.object] = n->before;
		p->last[n->thread] = n->own_before;
	}
}
