/* SPDX-License-Identifier: MIT */
/*
 * explore/shrink: a schedule that fails, made shorter while the same oracle line fails.
 *
 * Fewest preemptions first: what random priorities have found is searched for with 0, 1 and 2
 * preemptions. Then choices are taken out one by one, the last first; where the rest doesn't fit any
 * more, it is passed over, and what the execution has really chosen is what is looked at and kept.
 */
#include "explore/search_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Executions that the search for fewer preemptions may make, for each number of them. */
#define SHRINK_SEARCH_RUNS 3000
#define SHRINK_MOST_PREEMPTIONS 2
#define SHRINK_RUNS 5000 /* of taking out */
/* An execution that doesn't end is long: no more steps than this are spent on all of them. */
#define SHRINK_STEPS 4000000ULL

static int choose_lenient(void *ctx, const struct sched_view *v)
{
	struct search_lenient *l = ctx;
	u32 choice = sched_default(v);

	while (l->next < l->schedule->nr && l->schedule->choice[l->next].decision < v->decision)
		l->next++;
	if (l->next < l->schedule->nr && l->schedule->choice[l->next].decision == v->decision) {
		u32 thread = l->schedule->choice[l->next++].thread;

		if (thread < v->nr_threads && v->thread[thread].enabled)
			choice = thread;
	}
	return (int)choice;
}

const struct sched_policy search_lenient = {.choose = choose_lenient};

struct shrinker {
	struct search *s;
	struct search try; /* counts apart */
	struct explore_result result;
	struct explore_options options;
	u64 runs, steps; /* steps: of results that are cleared since */
};

static int copy(struct sched_schedule *to, const struct sched_schedule *from)
{
	to->nr = 0;
	for (u32 i = 0; i < from->nr; i++) {
		if (sched_schedule_add(to, from->choice[i].decision, from->choice[i].thread))
			return -ENOMEM;
	}
	return 0;
}

static bool same_failure(const struct shrinker *k)
{
	return k->try.out.failed && !strcmp(k->try.out.oracle, k->s->result->failure.oracle);
}

/* Executes @schedule, and makes what was chosen the failure's if it fails the same and is better. */
static int attempt(struct shrinker *k, const struct sched_schedule *schedule, bool any, bool *taken)
{
	struct explore_failure *f = &k->s->result->failure;
	struct search_lenient lenient = {.schedule = schedule};
	int err = search_once(&k->try, &f->injection, &search_lenient, &lenient, NULL);

	*taken = false;
	k->runs++;
	if (err || !same_failure(k))
		return err;
	*taken = any || k->try.preemptions < f->preemptions ||
		 (k->try.preemptions == f->preemptions && k->try.record.nr < f->schedule.nr);
	if (!*taken)
		return 0;
	f->preemptions = k->try.preemptions;
	memcpy(f->text, k->try.out.text, sizeof(f->text));
	return copy(&f->schedule, &k->try.record);
}

static bool may_go_on(const struct shrinker *k)
{
	return k->runs < SHRINK_RUNS && k->steps + k->result.steps < SHRINK_STEPS;
}

static int search_fewer(struct shrinker *k)
{
	struct explore_failure *f = &k->s->result->failure;
	int err = 0;

	for (u32 bound = 0;
	     bound < f->preemptions && bound <= SHRINK_MOST_PREEMPTIONS && !err && may_go_on(k);
	     bound++) {
		bool complete, taken = false;

		k->steps += k->result.steps;
		explore_result_free(&k->result);
		memset(&k->result, 0, sizeof(k->result));
		err = search_exhaust(&k->try, bound, SHRINK_SEARCH_RUNS, &complete);
		if (!err && k->result.failed)
			err = attempt(k, &k->result.failure.schedule, false, &taken);
		if (taken)
			break;
	}
	return err;
}

/* One pass over all choices. */
static int take_out(struct shrinker *k, bool *better)
{
	struct explore_failure *f = &k->s->result->failure;
	struct sched_schedule less = {0};
	int err = 0;

	*better = false;
	for (u32 i = f->schedule.nr; i-- > 0 && !err && may_go_on(k);) {
		bool taken = false;

		err = copy(&less, &f->schedule);
		if (err)
			break;
		less.nr--;
		memmove(&less.choice[i], &less.choice[i + 1],
			(less.nr - i) * sizeof(less.choice[0]));
		err = attempt(k, &less, false, &taken);
		*better |= taken;
		if (i > f->schedule.nr)
			i = f->schedule.nr;
	}
	sched_schedule_free(&less);
	return err;
}

int search_shrink(struct search *s)
{
	struct shrinker k = {.s = s, .options = *s->options};
	struct sched_schedule first = {0};
	bool better = false;
	int err;

	k.options.progress = NULL;
	k.options.injection = s->result->failure.injection;
	k.try = (struct search){.runner = s->runner,
				.options = &k.options,
				.program = s->program,
				.result = &k.result,
				.max_steps = s->max_steps,
				.apart = s->apart};
	err = copy(&first, &s->result->failure.schedule);
	if (!err)
		err = attempt(&k, &first, true, &better);
	/* It doesn't fail again: what was found stays as it is. */
	if (!err && better && !s->apart)
		err = search_fewer(&k);
	while (!err && better)
		err = take_out(&k, &better);
	sched_schedule_free(&first);
	explore_result_free(&k.result);
	search_free_states(&k.try);
	sched_schedule_free(&k.try.record);
	return err;
}
