/* SPDX-License-Identifier: MIT */
/* explore/ranks: programs as tasks, reports as bytes. */
#include "explore/ranks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "explore/worker_child.h"

struct ranked {
	struct ranks *ranks;
	const struct explore_task *task;
	u32 nr, handed_in;
	const struct explore_crew *crew;
	void (*note)(void *ctx, u32 rank, const char *what);
	u32 *order; /* explore_order(): what is handed out as task n is program order[n] */
	struct explore_report *report; /* rank 0: by task, until handed in */
	bool *there;
	u64 executions; /* rank 0: of the tasks that are done */
};

/* ---- what all must agree on ------------------------------------------------------------------*/
static void mix_u64(u64 *hash, u64 value)
{
	ranks_mix(hash, &value, sizeof(value));
}

static void mix_options(u64 *hash, const struct explore_options *o)
{
	const struct explore_injection *in = &o->injection;
	const u64 words[] = {o->mode,
			     o->bound,
			     o->runs,
			     o->seed,
			     o->max_steps,
			     in->fail_alloc,
			     in->seamcall,
			     in->seamcall_status,
			     in->interrupt,
			     in->delay_kick,
			     o->schedule ? o->schedule->nr : 0};

	ranks_mix(hash, words, sizeof(words));
	ranks_mix(hash, &o->planted_bugs, sizeof(o->planted_bugs));
	for (u32 i = 0; o->schedule && i < o->schedule->nr; i++) {
		mix_u64(hash, o->schedule->choice[i].decision);
		mix_u64(hash, o->schedule->choice[i].thread);
	}
}

/* Of version and build, programs and options. Return: 0 or -ENOMEM */
static int fingerprint(const struct explore_task *tasks, u32 nr, u64 *hash)
{
	*hash = ranks_mix_build();
	/* Heads of reports go as they are in memory. */
	mix_u64(hash, sizeof(struct worker_head));
	for (u32 i = 0; i < nr; i++) {
		size_t n = program_print(tasks[i].program, NULL, 0) + 1;
		char *text = malloc(n);

		if (!text)
			return -ENOMEM;
		program_print(tasks[i].program, text, n);
		ranks_mix(hash, text, n);
		free(text);
		ranks_mix(hash, tasks[i].program->name, strlen(tasks[i].program->name) + 1);
		mix_options(hash, &tasks[i].options);
	}
	return 0;
}

/* ---- reports ---------------------------------------------------------------------------------*/

/* `head`, then the seconds, `head.nr` choices, and `head.picture` bytes. */
static int pack(const struct explore_report *r, struct ranks_bytes *b)
{
	const struct sched_schedule *s = &r->result.failure.schedule;
	struct worker_head head = {.error = r->error,
				   .result = r->result,
				   .nr = s->nr,
				   .picture = r->picture ? strlen(r->picture) : 0};
	int err;

	memset(&head.result.failure.schedule, 0, sizeof(head.result.failure.schedule));
	err = ranks_put(b, &head, sizeof(head));
	if (!err)
		err = ranks_put(b, &r->seconds, sizeof(r->seconds));
	if (!err)
		err = ranks_put(b, s->choice, s->nr * sizeof(s->choice[0]));
	return err ? err : ranks_put(b, r->picture, head.picture);
}

static int unpack(struct explore_report *r, const char *bytes, size_t nr)
{
	struct worker_head head;
	struct sched_choice choice;
	size_t room;

	if (nr < sizeof(head) + sizeof(r->seconds))
		return -EINVAL;
	memcpy(&head, bytes, sizeof(head));
	bytes += sizeof(head);
	memcpy(&r->seconds, bytes, sizeof(r->seconds));
	bytes += sizeof(r->seconds);
	room = nr - sizeof(head) - sizeof(r->seconds);
	if (head.nr > room / sizeof(choice) || head.picture != room - head.nr * sizeof(choice))
		return -EINVAL;
	r->error = head.error;
	r->result = head.result;
	memset(&r->result.failure.schedule, 0, sizeof(r->result.failure.schedule));
	for (u32 i = 0; i < head.nr; i++, bytes += sizeof(choice)) {
		memcpy(&choice, bytes, sizeof(choice));
		if (sched_schedule_add(&r->result.failure.schedule, choice.decision, choice.thread))
			return -ENOMEM;
	}
	r->picture = head.picture ? strndup(bytes, head.picture) : NULL;
	return 0;
}

static void forget(struct explore_report *r)
{
	explore_result_free(&r->result);
	free(r->picture);
	r->picture = NULL;
}

/* ---- a task ----------------------------------------------------------------------------------*/
struct errand {
	struct ranked *ranked;
	struct ranks_bytes *bytes;
	int err;
};

static void errand_done(void *ctx, u32 task, const struct explore_report *report)
{
	struct errand *e = ctx;

	(void)task;
	e->err = pack(report, e->bytes);
}

static void note(void *ctx, u32 rank, const char *what)
{
	const struct ranked *w = ctx;

	w->note(w->crew->ctx, rank, what);
}

/* A search can't be broken off but by the end of the process, which its children end with. */
static void errand_progress(void *ctx, u32 done, u64 executions)
{
	const struct errand *e = ctx;

	(void)done;
	ranks_beat_or_exit(e->ranked->ranks, executions, note, e->ranked);
}

static int run(void *ctx, u32 task, const struct ranks_span *whole, struct ranks_bytes *report)
{
	struct ranked *w = ctx;
	struct errand e = {w, report, 0};
	struct explore_crew crew = *w->crew;
	int err;

	(void)whole;
	crew.jobs = 1;
	crew.ctx = &e;
	crew.done = errand_done;
	crew.progress = errand_progress;
	err = explore_work(&w->task[w->order[task]], 1, &crew);
	return err ? err : e.err;
}

/* ---- rank 0 ----------------------------------------------------------------------------------*/
static int take(void *ctx, u32 handed_out, const char *bytes, size_t nr)
{
	struct ranked *w = ctx;
	u32 task = w->order[handed_out];
	int err = unpack(&w->report[task], bytes, nr);

	if (err) {
		forget(&w->report[task]);
		return err;
	}
	w->there[task] = true;
	w->executions += w->report[task].result.executions;
	while (w->handed_in < w->nr && w->there[w->handed_in]) {
		struct explore_report *r = &w->report[w->handed_in];

		w->crew->done(w->crew->ctx, w->handed_in++, r);
		forget(r);
	}
	return 0;
}

static void progress(void *ctx, u32 done, u64 executions)
{
	const struct ranked *w = ctx;

	if (w->crew->progress)
		w->crew->progress(w->crew->ctx, done, w->executions + executions);
}

static int hand_out(struct ranked *w, const struct ranks_job *job)
{
	int err;

	w->report = calloc(w->nr ? w->nr : 1, sizeof(*w->report));
	w->there = calloc(w->nr ? w->nr : 1, sizeof(*w->there));
	err = w->report && w->there ? ranks_hand_out(w->ranks, job) : -ENOMEM;
	for (u32 i = w->handed_in; w->report && i < w->nr; i++)
		forget(&w->report[i]);
	free(w->report);
	free(w->there);
	return err;
}

int explore_work_ranked(struct ranks *r, const struct explore_task *tasks, u32 nr,
			const struct explore_crew *crew,
			void (*say)(void *ctx, u32 rank, const char *what))
{
	struct ranked w = {.ranks = r, .task = tasks, .nr = nr, .crew = crew, .note = say};
	struct ranks_job job = {
		.nr = nr, .ctx = &w, .run = run, .take = take, .progress = progress, .note = note};
	int err = fingerprint(tasks, nr, &job.fingerprint);

	w.order = explore_order(tasks, nr);
	if (!err && !w.order)
		err = -ENOMEM;
	if (!err)
		err = r->index ? ranks_serve(r, &job) : hand_out(&w, &job);
	free(w.order);
	return err;
}
