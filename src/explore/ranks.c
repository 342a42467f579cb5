/* SPDX-License-Identifier: MIT */
/* explore/ranks: what the ranks say to each other, whatever carries it. */
#include "explore/ranks.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SILENCE 10
#define PATIENCE 60
#define BEAT_SECONDS 1.0
#define PROGRESS_SECONDS 0.1
#define ASK_AGAIN_MS 50
#define NO_TASK UINT32_MAX

/* What rank 0 knows of another. */
struct ranks_other {
	double heard;
	bool lost;    /* not heard for long */
	bool useless; /* can't work, or has something else to work on */
	bool ended;   /* has been told that it's over */
	u32 task;
	u64 count; /* how far that is */
	struct ranks_bytes report;
};

enum task_state { TASK_OPEN, TASK_GIVEN, TASK_DONE };

struct queue {
	struct ranks *ranks;
	const struct ranks_job *job;
	enum task_state *state;
	u32 needed; /* tasks, the first so many */
	u32 done;   /* of those */
	u32 open;   /* none before it is */
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void nap(int ms)
{
	poll(NULL, 0, ms);
}

static unsigned long number_in(const char *variable)
{
	const char *text = getenv(variable);

	return text ? strtoul(text, NULL, 10) : 0;
}

bool ranks_expected(u32 *index)
{
	if (index)
		*index = (u32)number_in("OMPI_COMM_WORLD_RANK");
	return number_in("OMPI_COMM_WORLD_SIZE") > 1;
}

int ranks_put(struct ranks_bytes *b, const void *bytes, size_t n)
{
	if (b->room - b->nr < n) {
		size_t room = 2 * b->room > b->nr + n ? 2 * b->room : b->nr + n;
		char *more = realloc(b->at, room);

		if (!more)
			return -ENOMEM;
		b->at = more;
		b->room = room;
	}
	if (n)
		memcpy(b->at + b->nr, bytes, n);
	b->nr += n;
	return 0;
}

void ranks_mix(u64 *hash, const void *bytes, size_t n)
{
	const unsigned char *p = bytes;

	for (size_t i = 0; i < n; i++)
		*hash = (*hash ^ p[i]) * 0x100000001b3;
}

u64 ranks_mix_build(void)
{
#ifdef SEPTUM_CHECK
	const char build[] = SEPTUM_VERSION " check";
#else
	const char build[] = SEPTUM_VERSION;
#endif
	u64 hash = 0xcbf29ce484222325;

	ranks_mix(&hash, build, sizeof(build));
	return hash;
}

static int say(struct ranks *r, u32 to, enum ranks_kind kind, u32 task, u64 count)
{
	const struct ranks_message m = {.kind = kind, .task = task, .count = count};

	return r->link.send(r->link.ctx, to, &m);
}

int ranks_begin(struct ranks *r)
{
	r->silence = r->silence ? r->silence : SILENCE;
	r->patience = r->patience ? r->patience : PATIENCE;
	r->task = NO_TASK;
	if (r->index)
		return 0;
	r->other = calloc(r->size, sizeof(*r->other));
	for (u32 i = 0; r->other && i < r->size; i++)
		r->other[i] = (struct ranks_other){.heard = now(), .task = NO_TASK};
	return r->other ? 0 : -ENOMEM;
}

/* ---- rank 0: tasks ---------------------------------------------------------------------------*/
static void give_back(struct queue *q, struct ranks_other *o)
{
	if (o->task != NO_TASK && q->state[o->task] == TASK_GIVEN) {
		q->state[o->task] = TASK_OPEN;
		q->open = o->task < q->open ? o->task : q->open;
	}
	o->task = NO_TASK;
	o->count = 0;
	o->report.nr = 0;
}

static void drop(struct queue *q, u32 rank, const char *why)
{
	give_back(q, &q->ranks->other[rank]);
	q->ranks->other[rank].useless = true;
	q->job->note(q->job->ctx, rank, why);
}

static u32 first_open(struct queue *q)
{
	while (q->open < q->needed && q->state[q->open] != TASK_OPEN)
		q->open++;
	return q->open < q->needed ? q->open : NO_TASK;
}

static int give(struct queue *q, u32 rank, u32 task)
{
	const struct ranks_message m = {.kind = RANKS_TASK,
					.task = task,
					.count = q->job->whole.first,
					.at = q->job->whole.nr};

	q->state[task] = TASK_GIVEN;
	q->ranks->other[rank].task = task;
	return q->ranks->link.send(q->ranks->link.ctx, rank, &m);
}

static int answer_ask(struct queue *q, u32 rank, const struct ranks_message *m)
{
	struct ranks_other *o = &q->ranks->other[rank];
	u32 task;

	give_back(q, o);
	if (!o->useless && m->count != q->job->fingerprint)
		drop(q, rank, "was given other work, or is another septum: it gets none");
	/* Who can't be used is told with all others, so that they can end together. */
	task = o->useless ? NO_TASK : first_open(q);
	return task == NO_TASK ? say(q->ranks, rank, RANKS_WAIT, 0, 0) : give(q, rank, task);
}

/* After a report fewer tasks may be. */
static void ask_needed(struct queue *q)
{
	u32 needed = q->job->needed ? q->job->needed(q->job->ctx) : q->needed;

	for (; q->needed > needed; q->needed--)
		q->done -= q->state[q->needed - 1] == TASK_DONE;
}

static int take_report(struct queue *q, u32 task, const struct ranks_bytes *report)
{
	int err;

	if (q->state[task] == TASK_DONE)
		return 0;
	err = q->job->take(q->job->ctx, task, report->at, report->nr);
	if (err)
		return err;
	q->state[task] = TASK_DONE;
	q->done += task < q->needed;
	ask_needed(q);
	return 0;
}

static int take_part(struct queue *q, u32 rank, const struct ranks_message *m)
{
	struct ranks_other *o = &q->ranks->other[rank];
	int err;

	if (m->task >= q->job->nr || m->nr > m->count || m->count - m->nr < m->at ||
	    m->at != o->report.nr) {
		drop(q, rank, "sends what is no report: it gets no more work");
		return 0;
	}
	/* It may have been lost and come back: the task needn't be its own any more. */
	err = ranks_put(&o->report, m->bytes, m->nr);
	if (err || o->report.nr < m->count)
		return err;
	err = take_report(q, m->task, &o->report);
	o->report.nr = 0;
	if (err == -EINVAL) {
		drop(q, rank, "sends what is no report: it gets no more work");
		return 0;
	}
	if (o->task == m->task)
		o->task = NO_TASK;
	return err;
}

static int hear(struct queue *q, u32 rank, const struct ranks_message *m)
{
	struct ranks_other *o = &q->ranks->other[rank];

	o->heard = now();
	o->lost = false;
	switch (m->kind) {
	case RANKS_ASK:
		return answer_ask(q, rank, m);
	case RANKS_BEAT:
		o->count = m->count;
		return say(q->ranks, rank, RANKS_GO_ON, 0, 0);
	case RANKS_PART:
		return take_part(q, rank, m);
	default:
		drop(q, rank, "can't do its work: it gets no more");
		return 0;
	}
}

/* Return: how many may still be working. */
static u32 look_for_silence(struct queue *q)
{
	u32 at_work = 0;

	for (u32 i = 1; i < q->ranks->size; i++) {
		struct ranks_other *o = &q->ranks->other[i];

		if (!o->lost && now() - o->heard > q->ranks->silence) {
			o->lost = true;
			give_back(q, o);
			q->job->note(q->job->ctx, i, "isn't heard any more: others do its work");
		}
		at_work += !o->lost && !o->useless;
	}
	return at_work;
}

static void show(const struct queue *q)
{
	u64 count = 0;

	for (u32 i = 1; i < q->ranks->size; i++)
		count += q->ranks->other[i].count;
	if (q->job->progress)
		q->job->progress(q->job->ctx, q->done, count);
}

static int do_myself(struct queue *q, u32 task)
{
	struct ranks_bytes report = {0};
	int err = q->job->run(q->job->ctx, task, &q->job->whole, &report);

	if (!err)
		err = take_report(q, task, &report);
	free(report.at);
	return err;
}

int ranks_hand_out(struct ranks *r, const struct ranks_job *job)
{
	struct queue q = {.ranks = r, .job = job, .needed = job->nr};
	struct ranks_message m;
	double shown = now();
	int err = 0;

	q.state = calloc(job->nr ? job->nr : 1, sizeof(*q.state));
	if (!q.state)
		return -ENOMEM;
	while (!err && q.done < q.needed) {
		bool heard = false;
		u32 from;

		while (!err && q.done < q.needed && r->link.receive(r->link.ctx, &from, &m)) {
			heard = true;
			err = hear(&q, from, &m);
		}
		if (!err && !look_for_silence(&q) && q.done < q.needed)
			err = do_myself(&q, first_open(&q));
		if (now() - shown > PROGRESS_SECONDS) {
			shown = now();
			show(&q);
		}
		if (!heard)
			nap(1);
	}
	free(q.state);
	return err;
}

/* ---- rank 0: the end -------------------------------------------------------------------------*/

/* Who asks waits for an answer, who is at work looks for one. Return: have all been heard? */
static bool hear_all(struct ranks *r)
{
	u32 seconds = r->die_as_one ? r->patience : r->silence;
	double began = now();
	struct ranks_message m;
	u32 left, missing, from;

	do {
		while (r->link.receive(r->link.ctx, &from, &m)) {
			if (m.kind == RANKS_ASK || m.kind == RANKS_BEAT)
				r->other[from].ended = true;
		}
		left = missing = 0;
		for (u32 i = 1; i < r->size; i++) {
			missing += !r->other[i].ended;
			left += !r->other[i].ended && (!r->other[i].lost || r->die_as_one);
		}
		if (left)
			nap(1);
	} while (left && now() - began < seconds);
	return !missing;
}

static void end_all(struct ranks *r)
{
	bool together = hear_all(r);

	for (u32 i = 1; i < r->size; i++) {
		if (r->other[i].ended)
			say(r, i, RANKS_END, 0, together);
		free(r->other[i].report.at);
	}
	free(r->other);
	r->link.close(r->link.ctx, together);
}

/* ---- the others ------------------------------------------------------------------------------*/

/* The next answer; 0: none yet; -ETIMEDOUT: none for too long. */
static int next_answer(struct ranks *r, struct ranks_message *m)
{
	u32 from;

	if (r->link.receive(r->link.ctx, &from, m)) {
		r->heard = now();
		r->over = m->kind == RANKS_END;
		r->together = r->over && m->count;
		return (int)m->kind;
	}
	r->deserted = now() - r->heard > r->patience;
	return r->deserted ? -ETIMEDOUT : 0;
}

/* Return: RANKS_TASK, with r->task; RANKS_WAIT; RANKS_END; -errno */
static int ask(struct ranks *r, u64 fingerprint)
{
	struct ranks_message m;
	int answer = say(r, 0, RANKS_ASK, 0, fingerprint);

	while (!answer || answer == RANKS_GO_ON) {
		answer = next_answer(r, &m);
		if (!answer)
			nap(1);
	}
	if (answer == RANKS_TASK) {
		r->task = m.task;
		r->whole = (struct ranks_span){m.count, m.at};
	}
	return answer;
}

static int send_report(struct ranks *r, u32 task, const struct ranks_bytes *b)
{
	struct ranks_message m = {.kind = RANKS_PART, .task = task, .count = b->nr};
	int err = 0;

	for (size_t at = 0; !err && at < b->nr; at += m.nr) {
		size_t n = b->nr - at < sizeof(m.bytes) ? b->nr - at : sizeof(m.bytes);

		m.at = at;
		m.nr = (u32)n;
		memcpy(m.bytes, b->at + at, n);
		err = r->link.send(r->link.ctx, 0, &m);
	}
	return err;
}

static int do_task(struct ranks *r, const struct ranks_job *job, struct ranks_bytes *report)
{
	report->nr = 0;
	if (r->task < job->nr && !job->run(job->ctx, r->task, &r->whole, report))
		return send_report(r, r->task, report);
	return say(r, 0, RANKS_CANT, r->task, 0);
}

int ranks_serve(struct ranks *r, const struct ranks_job *job)
{
	struct ranks_bytes report = {0};
	int answer, err = 0;

	r->heard = now();
	while (!err && (answer = ask(r, job->fingerprint)) != RANKS_END) {
		if (answer == RANKS_TASK)
			err = do_task(r, job, &report);
		else if (answer == RANKS_WAIT)
			nap(ASK_AGAIN_MS);
		else
			err = answer;
	}
	free(report.at);
	return err;
}

int ranks_beat(struct ranks *r, u64 count)
{
	struct ranks_message m;
	int answer;

	if (!r->index)
		return 0;
	if (now() - r->beaten > BEAT_SECONDS) {
		r->beaten = now();
		if (say(r, 0, RANKS_BEAT, r->task, count))
			return -ETIMEDOUT;
	}
	do
		answer = next_answer(r, &m);
	while (answer > 0 && answer != RANKS_END);
	return answer < 0 ? answer : answer == RANKS_END;
}

void ranks_beat_or_exit(struct ranks *r, u64 count,
			void (*note)(void *ctx, u32 rank, const char *what), void *ctx)
{
	int over = ranks_beat(r, count);

	if (!over)
		return;
	if (over < 0)
		note(ctx, 0, "isn't heard any more: this rank ends");
	ranks_leave(r);
	_exit(over < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

/* ---- the end ---------------------------------------------------------------------------------*/
void ranks_leave(struct ranks *r)
{
	if (r->left)
		return;
	r->left = true;
	if (!r->index) {
		end_all(r);
		return;
	}
	if (!r->deserted)
		r->heard = now();
	while (!r->over && !r->deserted && ask(r, 0) == RANKS_WAIT)
		nap(ASK_AGAIN_MS);
	r->link.close(r->link.ctx, r->together);
}
