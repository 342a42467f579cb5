/* SPDX-License-Identifier: MIT */
/* explore/worker: hands out programs to processes, and takes their reports. */
#include "explore/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "explore/worker_child.h"

#define LOOK_EVERY_MS 100
#define HANG_SECONDS 60
#define MOST_KILLS 3

enum desk_state { DESK_FREE, DESK_SEARCHES, DESK_SHRINKS };

/* A place for one process. */
struct desk {
	enum desk_state state;
	u32 task;
	pid_t pid;
	int fd;
	struct explore_trail *trail; /* shared with the process */
	char *bytes;		     /* of its report, so far */
	size_t nr, room;
	double began, moved; /* moved: when it was seen to have ended another execution */
	u64 seen;
	bool killed; /* for making no step */
	u32 kills;   /* of this task's processes, by somebody else */
	struct explore_failure crashed;
	struct explore_result before; /* the crash */
};

struct work {
	const struct explore_crew *crew;
	const struct explore_task *task;
	u32 nr, started, reported;
	u32 *order; /* explore_order() */
	struct explore_report *report;
	bool *ended;
	struct desk *desk;
	struct pollfd *poll;
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- processes -------------------------------------------------------------------------------*/
static int start(struct work *w, struct desk *d, enum desk_state what)
{
	int fd[2];

	if (pipe2(fd, O_CLOEXEC))
		return -EIO;
	fflush(NULL);
	d->pid = fork();
	if (d->pid < 0) {
		close(fd[0]);
		close(fd[1]);
		return -ENOMEM;
	}
	if (!d->pid) {
		for (u32 i = 0; i < w->crew->jobs; i++) {
			if (w->desk[i].state != DESK_FREE && &w->desk[i] != d)
				close(w->desk[i].fd);
		}
		close(fd[0]);
		worker_child(w->crew, &w->task[d->task], d->trail,
			     what == DESK_SHRINKS ? &d->crashed : NULL, fd[1]);
	}
	close(fd[1]);
	d->fd = fd[0];
	d->state = what;
	d->nr = 0;
	d->killed = false;
	d->moved = now();
	return 0;
}

static int begin(struct work *w, struct desk *d)
{
	memset(d->trail, 0, sizeof(*d->trail));
	memset(&d->crashed, 0, sizeof(d->crashed));
	d->seen = 0;
	d->began = now();
	return start(w, d, DESK_SEARCHES);
}

static int start_next(struct work *w, struct desk *d)
{
	d->task = w->order[w->started++];
	d->kills = 0;
	return begin(w, d);
}

/* ---- reports ---------------------------------------------------------------------------------*/
static bool unpack(const struct desk *d, struct explore_report *r)
{
	struct worker_head head;
	size_t choices;
	const char *at = d->bytes;

	if (d->nr < sizeof(head))
		return false;
	memcpy(&head, at, sizeof(head));
	choices = head.nr * sizeof(struct sched_choice);
	if (d->nr != sizeof(head) + choices + head.picture)
		return false;
	r->error = head.error;
	r->result = head.result;
	memset(&r->result.failure.schedule, 0, sizeof(r->result.failure.schedule));
	at += sizeof(head);
	for (u32 i = 0; i < head.nr; i++, at += sizeof(struct sched_choice)) {
		struct sched_choice choice;

		memcpy(&choice, at, sizeof(choice));
		if (sched_schedule_add(&r->result.failure.schedule, choice.decision, choice.thread))
			r->error = -ENOMEM;
	}
	r->picture = head.picture ? strndup(at, head.picture) : NULL;
	return true;
}

/* The process is gone and hasn't said what it found: its trail says where it was. */
static int take_crash(struct desk *d, int status)
{
	struct explore_failure *f = &d->crashed;

	snprintf(f->oracle, sizeof(f->oracle), d->killed ? "hang" : "crash");
	if (d->killed)
		snprintf(f->text, sizeof(f->text),
			 "an execution neither ended nor came to its limit of steps");
	else if (WIFSIGNALED(status))
		snprintf(f->text, sizeof(f->text), "killed by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else
		snprintf(f->text, sizeof(f->text), "ended with exit status %d",
			 WEXITSTATUS(status));
	f->injection = d->trail->injection;
	f->execution = d->trail->executions + 1;
	f->preemptions = d->trail->preemptions;
	memset(&d->before, 0, sizeof(d->before));
	d->before.executions = d->trail->executions + 1;
	d->before.states = d->trail->states;
	d->before.final_states = d->trail->final_states;
	d->before.steps = d->trail->steps;
	d->before.switches = d->trail->switches;
	d->before.decisions = d->trail->decisions;
	d->before.failed = true;
	for (u32 i = 0; i < d->trail->nr; i++) {
		if (sched_schedule_add(&f->schedule, d->trail->choice[i].decision,
				       d->trail->choice[i].thread))
			return -ENOMEM;
	}
	return 0;
}

static void forget(struct explore_report *r)
{
	explore_result_free(&r->result);
	free(r->picture);
	r->picture = NULL;
}

static void hand_in(struct work *w)
{
	while (w->reported < w->nr && w->ended[w->reported]) {
		struct explore_report *r = &w->report[w->reported];

		w->crew->done(w->crew->ctx, w->reported++, r);
		forget(r);
	}
}

/* What waits for tasks before it that won't end any more. */
static void hand_in_rest(struct work *w)
{
	for (u32 i = w->reported; i < w->nr; i++) {
		if (!w->ended[i])
			continue;
		w->crew->done(w->crew->ctx, i, &w->report[i]);
		forget(&w->report[i]);
	}
}

static void finish(struct work *w, struct desk *d)
{
	struct explore_report *r = &w->report[d->task];

	r->seconds = now() - d->began;
	w->ended[d->task] = true;
	d->state = DESK_FREE;
	hand_in(w);
}

/* The pipe of @d has come to its end. */
static int take(struct work *w, struct desk *d)
{
	struct explore_report *r = &w->report[d->task];
	bool shrinks = d->state == DESK_SHRINKS, whole;
	int status, err;

	close(d->fd);
	d->state = DESK_FREE;
	while (waitpid(d->pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -EIO;
	}
	whole = !status && unpack(d, r);
	/* No program does that to itself: a user, or a machine that is short of memory. */
	if (!shrinks && !d->killed && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL &&
	    ++d->kills < MOST_KILLS)
		return begin(w, d);
	if (!whole && !shrinks) {
		err = take_crash(d, status);
		if (err || !d->killed)
			return err ? err : start(w, d, DESK_SHRINKS);
	}
	if (shrinks || !whole) {
		struct explore_failure shorter = r->result.failure;

		r->result = d->before;
		if (whole) {
			r->result.failure = shorter;
			sched_schedule_free(&d->crashed.schedule);
		} else {
			r->result.failure = d->crashed;
			memset(&d->crashed.schedule, 0, sizeof(d->crashed.schedule));
		}
	}
	finish(w, d);
	return 0;
}

static int read_some(struct work *w, struct desk *d)
{
	ssize_t n;

	if (d->room - d->nr < 4096) {
		size_t room = d->room ? 2 * d->room : 1 << 14;
		char *more = realloc(d->bytes, room);

		if (!more)
			return -ENOMEM;
		d->bytes = more;
		d->room = room;
	}
	n = read(d->fd, d->bytes + d->nr, d->room - d->nr);
	if (n < 0)
		return errno == EINTR ? 0 : -EIO;
	d->nr += (size_t)n;
	return n ? 0 : take(w, d);
}

/* ---- the loop --------------------------------------------------------------------------------*/
static void look_for_hangs(const struct work *w, struct desk *d)
{
	u32 seconds = w->crew->hang_seconds ? w->crew->hang_seconds : HANG_SECONDS;
	const volatile struct explore_trail *trail = d->trail;

	if (trail->executions != d->seen) {
		d->seen = trail->executions;
		d->moved = now();
	} else if (!d->killed && now() - d->moved > seconds) {
		d->killed = true;
		kill(d->pid, SIGKILL);
	}
}

static void show_progress(const struct work *w)
{
	u64 executions = 0;
	u32 done = 0;

	if (!w->crew->progress)
		return;
	for (u32 i = 0; i < w->nr; i++) {
		done += w->ended[i];
		executions += w->ended[i] ? w->report[i].result.executions : 0;
	}
	for (u32 i = 0; i < w->crew->jobs; i++)
		executions += w->desk[i].state == DESK_FREE ? 0 : w->desk[i].trail->executions;
	w->crew->progress(w->crew->ctx, done, executions);
}

static int turn(struct work *w)
{
	u32 busy = 0;
	int err = 0;

	for (u32 i = 0; i < w->crew->jobs && !err; i++) {
		struct desk *d = &w->desk[i];

		if (d->state == DESK_FREE && w->started < w->nr)
			err = start_next(w, d);
		busy += d->state != DESK_FREE;
		/* poll() passes over what is negative. */
		w->poll[i] =
			(struct pollfd){.fd = d->state == DESK_FREE ? -1 : d->fd, .events = POLLIN};
	}
	if (err || !busy)
		return err;
	if (poll(w->poll, w->crew->jobs, LOOK_EVERY_MS) < 0 && errno != EINTR)
		return -EIO;
	for (u32 i = 0; i < w->crew->jobs && !err; i++) {
		if (w->poll[i].fd < 0)
			continue;
		if (w->poll[i].revents)
			err = read_some(w, &w->desk[i]);
		if (w->desk[i].state != DESK_FREE)
			look_for_hangs(w, &w->desk[i]);
	}
	show_progress(w);
	return err;
}

u32 *explore_order(const struct explore_task *tasks, u32 nr)
{
	u32 *order = calloc(nr ? nr : 1, sizeof(*order));
	u32 n = 0;

	for (u32 threads = PROGRAM_MAX_THREADS + 1; order && threads-- > 0;) {
		for (u32 i = 0; i < nr; i++)
			if (tasks[i].program->nr_threads == threads)
				order[n++] = i;
	}
	return order;
}

static int prepare(struct work *w)
{
	w->order = explore_order(w->task, w->nr);
	w->report = calloc(w->nr ? w->nr : 1, sizeof(*w->report));
	w->ended = calloc(w->nr ? w->nr : 1, sizeof(*w->ended));
	w->desk = calloc(w->crew->jobs, sizeof(*w->desk));
	w->poll = calloc(w->crew->jobs, sizeof(*w->poll));
	if (!w->order || !w->report || !w->ended || !w->desk || !w->poll)
		return -ENOMEM;
	for (u32 i = 0; i < w->crew->jobs; i++) {
		void *p = mmap(NULL, sizeof(struct explore_trail), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED)
			return -ENOMEM;
		w->desk[i].trail = p;
	}
	return 0;
}

static void clean_up(struct work *w)
{
	for (u32 i = 0; w->desk && i < w->crew->jobs; i++) {
		struct desk *d = &w->desk[i];

		if (d->state != DESK_FREE) {
			kill(d->pid, SIGKILL);
			waitpid(d->pid, NULL, 0);
			close(d->fd);
		}
		if (d->trail)
			munmap(d->trail, sizeof(*d->trail));
		sched_schedule_free(&d->crashed.schedule);
		free(d->bytes);
	}
	for (u32 i = w->reported; w->report && i < w->nr; i++)
		forget(&w->report[i]);
	free(w->order);
	free(w->report);
	free(w->ended);
	free(w->desk);
	free(w->poll);
}

int explore_work(const struct explore_task *tasks, u32 nr, const struct explore_crew *crew)
{
	struct work w = {.crew = crew, .task = tasks, .nr = nr};
	int err = prepare(&w);

	while (!err && w.reported < nr) {
		if (crew->stop && crew->stop(crew->ctx))
			err = -EINTR;
		else
			err = turn(&w);
	}
	if (err == -EINTR)
		hand_in_rest(&w);
	clean_up(&w);
	return err;
}
