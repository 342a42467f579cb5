/* SPDX-License-Identifier: MIT */
/* explore/worker: the process that searches one program. */
#include "explore/worker_child.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

#include "base/sync.h"
#include "explore/search_impl.h"

/* ---- executions in processes of their own ----------------------------------------------------*/
struct apart {
	const struct explore_runner *runner;
	struct explore_trail *trail; /* shared */
	struct explore_outcome *out; /* shared */
};

static void crashed_by(int status, struct explore_outcome *out)
{
	memset(out, 0, sizeof(*out));
	out->failed = true;
	snprintf(out->oracle, sizeof(out->oracle), "crash");
	if (WIFSIGNALED(status))
		snprintf(out->text, sizeof(out->text), "killed by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else
		snprintf(out->text, sizeof(out->text), "ended with exit status %d",
			 WEXITSTATUS(status));
}

static int execute_apart(void *ctx, const struct explore_setup *setup,
			 const struct sched_policy *policy, void *policy_ctx,
			 struct sched_schedule *record, struct explore_outcome *out)
{
	const struct apart *a = ctx;
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return -ENOMEM;
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(a->runner->execute(a->runner->ctx, setup, policy, policy_ctx, NULL, a->out)
			      ? EXIT_FAILURE
			      : EXIT_SUCCESS);
	}
	if (waitpid(pid, &status, 0) < 0)
		return -EIO;
	if (status)
		crashed_by(status, out);
	else
		*out = *a->out;
	if (!record)
		return 0;
	record->nr = 0;
	for (u32 i = 0; i < a->trail->nr; i++) {
		if (sched_schedule_add(record, a->trail->choice[i].decision,
				       a->trail->choice[i].thread))
			return -ENOMEM;
	}
	return 0;
}

/* ---- the report ------------------------------------------------------------------------------*/
static bool put(int fd, const void *bytes, size_t n)
{
	const char *p = bytes;

	while (n) {
		ssize_t done = write(fd, p, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return false;
		p += done;
		n -= (size_t)done;
	}
	return true;
}

/* A file, since an execution that crashes writes its picture in a process of its own. */
static FILE *draw(const struct explore_runner *runner, const struct explore_task *task,
		  const struct explore_options *options, const struct explore_result *result)
{
	struct explore_options with = *options;
	const struct sched_schedule *schedule = options->schedule;
	FILE *f = tmpfile();

	if (result->failed) {
		with.injection = result->failure.injection;
		schedule = &result->failure.schedule;
	}
	if (f && search_picture(runner, task->program, &with, schedule, f)) {
		fclose(f);
		return NULL;
	}
	return f;
}

static void report(int fd, int error, const struct explore_result *result, FILE *picture)
{
	const struct sched_schedule *schedule = &result->failure.schedule;
	struct worker_head head = {.error = error, .result = *result, .nr = schedule->nr};
	char bytes[4096];
	size_t n;

	if (picture) {
		fseek(picture, 0, SEEK_END);
		head.picture = (u64)ftell(picture);
		rewind(picture);
	}
	if (!put(fd, &head, sizeof(head)) ||
	    !put(fd, schedule->choice, schedule->nr * sizeof(schedule->choice[0])))
		return;
	while (picture && (n = fread(bytes, 1, sizeof(bytes), picture)) > 0) {
		if (!put(fd, bytes, n))
			return;
	}
}

/* ---- the two jobs ----------------------------------------------------------------------------*/
static int shrink_crash(const struct explore_runner *runner, const struct explore_task *task,
			const struct explore_options *options,
			const struct explore_failure *crashed, struct explore_result *result)
{
	struct search s = {.runner = runner,
			   .options = options,
			   .program = task->program,
			   .result = result,
			   .apart = true};
	int err = 0;

	result->failed = true;
	result->failure = *crashed;
	memset(&result->failure.schedule, 0, sizeof(result->failure.schedule));
	for (u32 i = 0; i < crashed->schedule.nr && !err; i++)
		err = sched_schedule_add(&result->failure.schedule,
					 crashed->schedule.choice[i].decision,
					 crashed->schedule.choice[i].thread);
	return err ? err : search_shrink(&s);
}

void worker_child(const struct explore_crew *crew, const struct explore_task *task,
		  struct explore_trail *trail, const struct explore_failure *crashed, int fd)
{
	struct explore_options options = task->options;
	struct explore_outcome *out =
		mmap(NULL, sizeof(*out), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct explore_result result;
	struct explore_runner runner;
	struct apart apart = {&runner, trail, out};
	const struct explore_runner forking = {.execute = execute_apart, .ctx = &apart};
	const struct explore_runner *by = crashed ? &forking : &runner;
	FILE *picture = NULL;
	int err;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sync_thread_enter();
	memset(&result, 0, sizeof(result));
	options.progress = NULL;
	options.trail = trail;
	err = out == MAP_FAILED ? -ENOMEM
				: crew->backend->open(crew->backend_ctx, task->program, &runner);
	if (!err) {
		apart.runner = &runner;
		err = crashed ? shrink_crash(by, task, &options, crashed, &result)
			      : search_by(by, task->program, &options, &result);
	}
	if (!err && (result.failed || (options.mode == EXPLORE_REPLAY && !result.left)))
		picture = draw(by, task, &options, &result);
	report(fd, err, &result, picture);
	if (!err)
		crew->backend->close(&runner);
	_exit(EXIT_SUCCESS);
}
