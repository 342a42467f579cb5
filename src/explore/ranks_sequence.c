/* SPDX-License-Identifier: MIT */
/* explore/ranks: ranges of seeds as tasks, and what came of each. */
#include "explore/ranks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct ranked {
	struct ranks *ranks;
	const struct campaign *c;
	void (*note)(void *ctx, u32 rank, const char *what);
	/* Of rank 0. */
	struct ranks_span whole;
	bool *there; /* by task */
	u32 nr;
	u32 undone;	/* the first task that isn't there */
	u32 needed;	/* tasks, the first so many: none after one that failed */
	u64 operations; /* of all tasks that are there */
	struct campaign_result *result;
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static u64 fingerprint(const struct campaign *asked)
{
	/* Reports go as they are in memory. */
	const u64 words[] = {asked->seed, asked->sequences, asked->length, asked->hang_seconds,
			     sizeof(struct ranks_seeds_report)};
	u64 hash = ranks_mix_build();

	ranks_mix(&hash, words, sizeof(words));
	ranks_mix(&hash, &asked->planted_bugs, sizeof(asked->planted_bugs));
	return hash;
}

/* ---- tasks -----------------------------------------------------------------------------------*/
static u64 divide_up(u64 n, u64 by)
{
	return n / by + (n % by != 0);
}

/* Sequences of a task: all ranks must come to the same. */
static u64 per_task(const struct ranks_span *whole, u32 length)
{
	u64 usual = length < RANKS_TASK_OPERATIONS ? RANKS_TASK_OPERATIONS / length : 1;
	u64 least = divide_up(whole->nr, RANKS_MOST_TASKS);

	return usual > least ? usual : least;
}

/* Its nr is 0: there is no such task. */
static struct ranks_span seeds_of(const struct ranks_span *whole, u32 length, u32 task)
{
	u64 per = per_task(whole, length), left;

	if (task >= divide_up(whole->nr, per))
		return (struct ranks_span){0, 0};
	left = whole->nr - task * per;
	return (struct ranks_span){whole->first + task * per, left < per ? left : per};
}

static void note(void *ctx, u32 rank, const char *what)
{
	const struct ranked *w = ctx;

	w->note(w->c->ctx, rank, what);
}

static void beat(void *ctx, u64 next, u64 operations)
{
	struct ranked *w = ctx;

	(void)next;
	ranks_beat_or_exit(w->ranks, operations, note, w);
}

static int run(void *ctx, u32 task, const struct ranks_span *whole, struct ranks_bytes *bytes)
{
	struct ranked *w = ctx;
	struct ranks_span seeds = seeds_of(whole, w->c->length, task);
	struct campaign c = *w->c;
	struct ranks_seeds_report report = {0};
	struct campaign_result result;
	int err;

	if (!seeds.nr)
		return -EINVAL;
	c.seed = seeds.first;
	c.sequences = seeds.nr;
	c.jobs = 1;
	c.progress = beat;
	c.ctx = w;
	err = campaign_search(&c, &result);
	if (err)
		return err;
	report.operations = result.operations;
	if (result.failed) {
		report.failed = 1;
		report.seed = result.failed_seed;
		report.at = result.outcome.at;
		report.outcome_operations = result.outcome.operations;
		memcpy(report.text, result.outcome.text, sizeof(report.text));
	}
	return ranks_put(bytes, &report, sizeof(report));
}

/* ---- rank 0 ----------------------------------------------------------------------------------*/
static bool is_report(const struct ranks_seeds_report *r, const struct ranks_span *seeds,
		      u32 length)
{
	if (!r->failed)
		return r->operations == seeds->nr * length;
	return r->failed == 1 && r->seed - seeds->first < seeds->nr && r->at <= UINT32_MAX &&
	       r->outcome_operations <= length &&
	       r->operations == (r->seed - seeds->first) * length + r->outcome_operations &&
	       memchr(r->text, '\0', sizeof(r->text));
}

static void take_failure(struct ranked *w, u32 task, const struct ranks_seeds_report *report)
{
	struct campaign_result *result = w->result;

	if (result->failed && result->failed_seed < report->seed)
		return;
	result->failed = true;
	result->failed_seed = report->seed;
	result->outcome = (struct sequence_outcome){
		.failed = true, .at = (u32)report->at, .operations = report->outcome_operations};
	memcpy(result->outcome.text, report->text, sizeof(report->text));
	w->needed = task + 1;
}

static int take(void *ctx, u32 task, const char *bytes, size_t nr)
{
	struct ranked *w = ctx;
	struct ranks_span seeds = seeds_of(&w->whole, w->c->length, task);
	struct ranks_seeds_report report;

	if (nr != sizeof(report))
		return -EINVAL;
	memcpy(&report, bytes, sizeof(report));
	if (!is_report(&report, &seeds, w->c->length))
		return -EINVAL;
	w->there[task] = true;
	while (w->undone < w->nr && w->there[w->undone])
		w->undone++;
	w->operations += report.operations;
	if (report.failed)
		take_failure(w, task, &report);
	return 0;
}

static u32 needed(void *ctx)
{
	const struct ranked *w = ctx;

	return w->needed;
}

/* What a campaign goes on with that is stopped now. */
static u64 first_undone(const struct ranked *w)
{
	u64 end = w->whole.first + w->whole.nr;
	u64 next = w->undone < w->nr ? seeds_of(&w->whole, w->c->length, w->undone).first : end;

	return w->result->failed && w->result->failed_seed < next ? w->result->failed_seed : next;
}

static void progress(void *ctx, u32 done, u64 operations)
{
	const struct ranked *w = ctx;

	(void)done;
	if (w->c->progress)
		w->c->progress(w->c->ctx, first_undone(w), w->operations + operations);
}

/* With a failure: as if all had been done one after another. */
static void total(struct ranked *w)
{
	struct campaign_result *result = w->result;

	result->operations = w->operations;
	if (result->failed)
		result->operations = (result->failed_seed - w->whole.first) * w->c->length +
				     result->outcome.operations;
	result->next = first_undone(w);
	if (w->c->progress)
		w->c->progress(w->c->ctx, result->next, result->operations);
}

static int hand_out(struct ranked *w, struct ranks_job *job)
{
	double began = now();
	int err;

	w->whole = (struct ranks_span){w->c->seed, w->c->sequences};
	w->nr = (u32)divide_up(w->whole.nr, per_task(&w->whole, w->c->length));
	w->needed = w->nr;
	w->there = calloc(w->nr ? w->nr : 1, sizeof(*w->there));
	if (!w->there)
		return -ENOMEM;
	job->nr = w->nr;
	job->whole = w->whole;
	err = ranks_hand_out(w->ranks, job);
	total(w);
	w->result->seconds = now() - began;
	free(w->there);
	return err;
}

int campaign_run_ranked(struct ranks *r, const struct campaign *asked, const struct campaign *c,
			void (*say)(void *ctx, u32 rank, const char *what),
			struct campaign_result *result)
{
	struct ranked w = {.ranks = r, .c = c, .note = say, .result = result};
	struct ranks_job job = {.fingerprint = fingerprint(asked),
				.nr = RANKS_MOST_TASKS,
				.ctx = &w,
				.run = run,
				.take = take,
				.needed = needed,
				.progress = progress,
				.note = note};
	int err;

	memset(result, 0, sizeof(*result));
	if (r->index)
		return ranks_serve(r, &job);
	err = hand_out(&w, &job);
	if (err || !result->failed)
		return err;
	ranks_leave(r);
	return campaign_shrink(c, result);
}
