/* SPDX-License-Identifier: MIT */
/*
 * explore/search_exhaust: depth first over all schedules with at most so many preemptions, leaving
 * out those that commuting steps make equal to one that is made.
 *
 * Two schedules are equal if one becomes the other by exchanging neighbouring steps of different
 * threads that don't conflict. The promise: for every schedule within the bound an equal one, within
 * the bound too, is made. Two things are left out, and why none of them breaks it:
 *
 * 1. A switch that nothing needs. At a decision where the running thread p could go on, p goes on
 *    first, by its step p1. When all schedules from there are done and none of them had a step of
 *    another thread that races with p1, nobody is let in before p1. For let s Q p1 ... be such a
 *    schedule, Q the steps of others. If no step of Q conflicts with p1, then s p1 Q ... is equal, has
 *    no more preemptions (the one at s is now after p1), and is done. If x is the first step in Q that
 *    does, and Q' those of Q before it, then s p1 Q' x is within the bound too (the same one
 *    preemption, after p1), is done as such or as its equal, and x races with p1 there.
 *    At a decision where the running thread could not go on, the same with the whole block of steps
 *    that the first thread t makes until it has to wait: nobody else comes first if nothing races with
 *    any step of the block. If x in Q conflicts with one of them, then s, t's whole block and Q up to
 *    the first such x is within the bound, as leaving t costs nothing where it has to wait.
 *
 * 2. Sleep. When p has been preempted at s, after all schedules with p1 first are done, p sleeps: p1
 *    isn't made before a step that conflicts with it, for s Q p1 ... would equal s p1 Q ..., which is
 *    done. Only a preempted thread sleeps: for others the equal schedule may cost one preemption
 *    more, as their block would be cut in two. One more case costs more: Q ends a block because its
 *    thread has to wait for what p1 makes possible; with p1 first, leaving it is a preemption. So p
 *    wakes, too, when a thread has to wait at a step that conflicts with p1; rule 1 counts such a
 *    step as x.
 *
 * Rule 1 relies on all schedules below being done, and sleepers leave out some whose equals are
 * elsewhere: so while anybody sleeps rule 1 isn't used.
 *
 * Main goes on whenever it can until it waits for threads, and from then on when nobody else goes on:
 * it sets up, creates threads, joins them and looks at the end. Its steps are tried in no other order,
 * and going to it and leaving it cost nothing.
 * An execution can be too long to look back over all of it; then the search isn't whole, and says so.
 * A thread that sched.h's guarantee 3 bars for turning in a loop without news is not offered; such a
 * turn isn't missing, it belongs to no schedule. But which turns those are depends on who went before,
 * and so can differ between schedules that are equal otherwise: of what the promise says that is the one
 * known exception, and rare (docs/verification.md).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "explore/search_impl.h"
#include "explore/search_race.h"

struct exhaust {
	struct race_path path;
	u32 fixed; /* decisions that this execution repeats */
	u32 bound;
	bool cut;   /* with more preemptions there would have been more to try */
	bool ended; /* the execution wasn't ended by choose() */
	int error;
	const char *strange; /* the program doesn't do the same twice */
};

static u32 bit(u32 thread)
{
	return 1U << thread;
}

static u32 first_of(u32 mask)
{
	return (u32)__builtin_ctz(mask);
}

static u32 enabled_mask(const struct sched_view *v)
{
	u32 mask = 0;

	for (u32 i = 0; i < v->nr_enabled; i++)
		mask |= bit(v->enabled[i]);
	return mask;
}

static int stop(struct exhaust *e, int error, const char *strange)
{
	e->ended = false;
	e->error = error;
	e->strange = strange;
	return SCHED_STOP;
}

static bool is_preemption(const struct race_node *n)
{
	return n->running_enabled && n->thread != n->running && n->thread != SCHED_MAIN_THREAD;
}

/* Who sleeps after the step of the last node: a sleeper's next step stays the same. */
static u32 still_asleep(const struct race_node *last, const struct sched_view *v)
{
	u32 asleep = last->asleep & ~bit(last->thread), left;
	const struct sched_thread *t = &v->thread[last->thread];

	if (is_preemption(last))
		asleep |= bit(last->running);
	for (left = asleep; left; left &= left - 1) {
		u32 z = first_of(left);

		if (race_conflict(&v->thread[z].op, &last->op) ||
		    (!t->enabled && !t->ended && race_conflict(&v->thread[z].op, &t->op)))
			asleep &= ~bit(z);
	}
	return asleep;
}

/* All that wait or sleep: an execution that ends here ends before their steps. */
static void note_pending(struct exhaust *e, const struct sched_view *v)
{
	for (u32 t = SCHED_RCU_THREAD; t < v->nr_threads; t++) {
		if (!v->thread[t].ended)
			race_pending(&e->path, t, &v->thread[t].op);
	}
}

static int repeat(struct exhaust *e, const struct sched_view *v)
{
	struct race_node *n = &e->path.node[v->decision];

	if (n->enabled != enabled_mask(v) || n->running != v->running)
		return stop(e, 0, "the same choices led to other steps than before");
	if (v->decision + 1 == e->fixed) {
		n->op = v->thread[n->thread].op;
		if (race_step(&e->path))
			return stop(e, -ENOMEM, NULL);
	}
	return (int)n->thread;
}

static int go_on(struct exhaust *e, const struct sched_view *v)
{
	struct race_node *n, *last;
	u32 may, def = sched_default(v);

	if (v->nr_threads > RACE_MAX_THREADS)
		return stop(e, -EIO, NULL);
	n = race_push(&e->path);
	if (!n)
		return stop(e, -ENOMEM, NULL);
	last = e->path.nr > 1 ? n - 1 : NULL;
	n->running = v->running;
	n->running_enabled = v->running != SCHED_MAIN_THREAD && v->thread[v->running].enabled;
	n->enabled = enabled_mask(v);
	if (last) {
		n->asleep = still_asleep(last, v);
		n->spent = last->spent + is_preemption(last);
	}
	n->waited = last && (last->waited || last->op.kind == SCHED_JOIN);
	may = n->enabled & ~n->asleep & ~bit(SCHED_MAIN_THREAD);
	if (n->enabled & bit(SCHED_MAIN_THREAD) && (!n->waited || !may)) {
		n->thread = SCHED_MAIN_THREAD;
		n->opened = true;
	} else if (!may) {
		e->path.nr--;
		note_pending(e, v);
		return stop(e, 0, NULL);
	} else {
		n->thread = may & bit(def) ? def : first_of(may);
	}
	n->op = v->thread[n->thread].op;
	if (race_step(&e->path))
		return stop(e, -ENOMEM, NULL);
	return (int)n->thread;
}

static int choose(void *ctx, const struct sched_view *v)
{
	struct exhaust *e = ctx;

	return v->decision < e->fixed ? repeat(e, v) : go_on(e, v);
}

static const struct sched_policy exhaust_policy = {.choose = choose};

/* The first choice of @n is done: who else must be tried? */
static u32 alternatives(struct exhaust *e, const struct race_node *n)
{
	u32 others = n->enabled & ~n->asleep & ~bit(n->thread) & ~bit(SCHED_MAIN_THREAD);

	if (n->running_enabled && n->spent >= e->bound) {
		e->cut |= others && (n->raced || n->asleep);
		return 0;
	}
	if (n->running_enabled)
		return n->raced || n->asleep ? others : 0;
	return n->block_raced || n->asleep ? others : 0;
}

/* The next path. Return: there is none. */
static bool backtrack(struct exhaust *e)
{
	while (e->path.nr) {
		u32 at = e->path.nr - 1;
		struct race_node *n = &e->path.node[at];

		if (!n->opened) {
			n->todo = alternatives(e, n);
			n->opened = true;
		}
		if (n->todo) {
			struct race_node kept = *n;

			race_pop(&e->path, at);
			kept.thread = first_of(kept.todo);
			kept.todo &= kept.todo - 1;
			e->path.node[e->path.nr++] = kept;
			e->fixed = e->path.nr;
			return false;
		}
		race_pop(&e->path, at);
	}
	return true;
}

static void fail_strange(struct search *s, const char *what)
{
	struct explore_failure *f = &s->result->failure;

	s->result->failed = true;
	f->execution = s->result->executions;
	snprintf(f->oracle, sizeof(f->oracle), "not-repeatable");
	snprintf(f->text, sizeof(f->text), "%s", what);
}

int search_exhaust(struct search *s, u32 bound, u64 limit, bool *through)
{
	struct exhaust e = {.bound = bound};
	bool done = false;
	int err = 0;

	while (!done && !err && search_may_go_on(s, limit)) {
		e.ended = true;
		err = search_once(s, &s->options->injection, &exhaust_policy, &e, &e.ended);
		if (!err)
			err = e.error;
		if (e.strange && !err)
			fail_strange(s, e.strange);
		/* A shorter repetition than expected: it ended before its last choice. */
		if (!err && !s->result->failed && e.ended && s->out.decisions < e.path.nr)
			fail_strange(s, "the same choices ended earlier than before");
		if (!err && !s->result->failed)
			done = backtrack(&e);
	}
	*through = done;
	s->partial |= e.path.too_long;
	s->cut = e.cut;
	race_path_free(&e.path);
	return err;
}
