/* SPDX-License-Identifier: MIT */
/* Campaigns: the processes, what they say through shared memory, and making a failure small. */
#include "explore/campaign.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/sync.h"

#define DEFAULT_HANG_SECONDS 120
#define TICK_MS 20
#define PROGRESS_TICKS 10

/* One process's, in memory that it shares with the caller. */
struct worker {
	u64 seed;	/* at hand; UINT64_MAX: none any more */
	u64 operations; /* of the sequences that it has done */
	struct sequence_outcome outcome;
	/* The caller's. */
	pid_t pid;
	u64 seen_seed;
	double seen_at;
};

struct shared {
	u64 next; /* seed to take */
	struct worker worker[CAMPAIGN_MAX_JOBS];
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct shared *share(void)
{
	void *p = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* A child that ends with its parent. Return: as fork() */
static pid_t fork_bound(void)
{
	pid_t parent = getpid(), pid;

	fflush(NULL);
	pid = fork();
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	return 0;
}

/* A process that ended without saying why it failed. */
static void name_death(struct sequence_outcome *out, int status, bool hung)
{
	if (out->failed)
		return;
	out->failed = true;
	out->at = UINT32_MAX;
	out->operations = 0;
	if (hung)
		snprintf(out->text, sizeof(out->text), "hangs");
	else if (WIFSIGNALED(status))
		snprintf(out->text, sizeof(out->text), "crashes: %s", strsignal(WTERMSIG(status)));
	else
		snprintf(out->text, sizeof(out->text), "its process ends with status %d",
			 WEXITSTATUS(status));
}

/* ---- one sequence ----------------------------------------------------------------------------*/

/* Return: 0, or -ENOMEM */
static int run_once(const struct sequence *s, const struct bug_set *bugs,
		    struct sequence_outcome *out)
{
	struct sequence_machine *m = sequence_machine_create();
	int err = m ? sequence_run(m, s, bugs, out) : -ENOMEM;

	if (m)
		sequence_machine_destroy(m);
	return err;
}

static int try_in(struct shared *sh, const struct sequence *s, const struct bug_set *bugs,
		  u32 hang_seconds, struct sequence_outcome *out)
{
	struct worker *w = &sh->worker[0];
	int status;
	pid_t pid;

	memset(w, 0, sizeof(*w));
	pid = fork_bound();
	if (pid < 0)
		return -errno;
	if (!pid) {
		/* What a trial prints on its way down has been seen before. */
		if (!freopen("/dev/null", "w", stderr))
			_exit(1);
		alarm(hang_seconds ? hang_seconds : DEFAULT_HANG_SECONDS);
		_exit(run_once(s, bugs, &w->outcome) ? 1 : 0);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (status)
		name_death(&w->outcome, status, WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM);
	*out = w->outcome;
	return 0;
}

int campaign_try(const struct sequence *s, const struct bug_set *bugs, u32 hang_seconds,
		 struct sequence_outcome *out)
{
	struct shared *sh = share();
	int err;

	if (!sh)
		return -ENOMEM;
	err = try_in(sh, s, bugs, hang_seconds, out);
	munmap(sh, sizeof(*sh));
	return err;
}

/* ---- making it small -------------------------------------------------------------------------*/
struct trial {
	const struct campaign *c;
	struct shared *sh;
	const struct sequence_outcome *wanted;
};

/* Past a number, or the letter of a TD: what differs between two forms of one failure. */
static const char *skip_detail(const char *text, const char *start)
{
	if (text - start >= 3 && !strncmp(text - 3, "TD ", 3) && *text)
		return text + 1;
	return text + (*text >= '0' && *text <= '9' ? strspn(text, "0123456789abcdefxABCDEF") : 0);
}

/* The same sentence, whatever its numbers. */
static bool is_alike(const char *a, const char *b)
{
	const char *a_start = a, *b_start = b;

	for (;;) {
		a = skip_detail(a, a_start);
		b = skip_detail(b, b_start);
		if (*a != *b || !*a || *a == '\n')
			return *a == *b;
		a++;
		b++;
	}
}

static bool fails(void *ctx, const struct sequence *s)
{
	const struct trial *t = ctx;
	struct sequence_outcome out;

	return !try_in(t->sh, s, &t->c->planted_bugs, t->c->hang_seconds, &out) && out.failed &&
	       is_alike(out.text, t->wanted->text);
}

static int shrink(const struct campaign *c, struct shared *sh, struct campaign_result *result)
{
	struct trial t = {.c = c, .sh = sh, .wanted = &result->outcome};
	struct sequence *s = &result->smallest;
	int err = sequence_random(s, result->failed_seed, c->length);

	if (err)
		return err;
	if (result->outcome.at < s->nr)
		s->nr = result->outcome.at + 1;
	/* A failure that another process doesn't have is shown as it is. */
	if (fails(&t, s))
		sequence_shrink(s, fails, &t);
	return try_in(sh, s, &c->planted_bugs, c->hang_seconds, &result->smallest_outcome);
}

int campaign_shrink(const struct campaign *c, struct campaign_result *result)
{
	struct shared *sh = share();
	int err;

	if (!sh)
		return -ENOMEM;
	err = shrink(c, sh, result);
	munmap(sh, sizeof(*sh));
	return err;
}

/* ---- many ------------------------------------------------------------------------------------*/
static int work(const struct campaign *c, struct shared *sh, struct worker *w)
{
	struct sequence_machine *m = sequence_machine_create();
	struct sequence s;
	int err = m ? 0 : -ENOMEM;

	while (!err && !w->outcome.failed) {
		u64 seed = sync_fetch_add(&sh->next, 1);

		/* Pairs with the acquire in first_undone(). */
		sync_store_release(&w->seed, seed - c->seed < c->sequences ? seed : UINT64_MAX);
		if (seed - c->seed >= c->sequences)
			break;
		err = sequence_random(&s, seed, c->length);
		if (err)
			break;
		err = sequence_run(m, &s, &c->planted_bugs, &w->outcome);
		sequence_free(&s);
		sync_store_quiet(&w->operations, w->operations + w->outcome.operations);
	}
	return err;
}

static int start(const struct campaign *c, struct shared *sh)
{
	sh->next = c->seed;
	for (u32 i = 0; i < c->jobs; i++) {
		struct worker *w = &sh->worker[i];
		pid_t pid;

		w->seed = c->seed;
		w->seen_at = now();
		pid = fork_bound();
		if (pid < 0)
			return -errno;
		if (!pid)
			_exit(work(c, sh, w) || w->outcome.failed ? 1 : 0);
		w->pid = pid;
	}
	return 0;
}

/* One's process has ended, if that isn't good. Of several failures the first counts. */
static void take_end(struct worker *w, int status, bool hung, struct campaign_result *result)
{
	u64 seed = sync_load(&w->seed);

	w->pid = 0;
	if (!status && !hung)
		return;
	name_death(&w->outcome, status, hung);
	if (result->failed && result->failed_seed < seed)
		return;
	result->failed = true;
	result->failed_seed = seed;
	result->outcome = w->outcome;
}

/*
 * How many processes are still needed: after a failure, those that are before it. A process's seeds
 * only grow, and it shows one before it runs it: who shows a later one has nothing earlier left.
 */
static u32 look(const struct campaign *c, struct shared *sh, struct campaign_result *result)
{
	u32 needed = 0;

	for (u32 i = 0; i < c->jobs; i++) {
		struct worker *w = &sh->worker[i];
		u64 seed = sync_load(&w->seed);
		bool hung = false;
		int status = 0;

		if (w->pid <= 0)
			continue;
		if (seed != w->seen_seed) {
			w->seen_seed = seed;
			w->seen_at = now();
		}
		if (now() - w->seen_at >
		    (c->hang_seconds ? c->hang_seconds : DEFAULT_HANG_SECONDS)) {
			hung = true;
			kill(w->pid, SIGKILL);
		}
		if (waitpid(w->pid, &status, hung ? 0 : WNOHANG) == w->pid)
			take_end(w, status, hung, result);
		else
			needed += !result->failed || seed < result->failed_seed;
	}
	return needed;
}

static void stop(const struct campaign *c, struct shared *sh)
{
	for (u32 i = 0; i < c->jobs; i++) {
		if (sh->worker[i].pid <= 0)
			continue;
		kill(sh->worker[i].pid, SIGKILL);
		waitpid(sh->worker[i].pid, NULL, 0);
	}
}

static u64 first_undone(const struct campaign *c, struct shared *sh)
{
	u64 next = c->seed + c->sequences;

	for (u32 i = 0; i < c->jobs; i++) {
		/* Pairs with the release in work(). */
		u64 seed = sync_load_acquire(&sh->worker[i].seed);

		if (seed < next)
			next = seed;
	}
	return next;
}

/* With a failure: as if all had been done one after another. What died tells no number. */
static void total(const struct campaign *c, struct shared *sh, struct campaign_result *result)
{
	result->operations = 0;
	for (u32 i = 0; i < c->jobs; i++)
		result->operations += sync_load_quiet(&sh->worker[i].operations);
	result->next = first_undone(c, sh);
	if (result->failed) {
		result->next = result->failed_seed;
		result->operations =
			(result->next - c->seed) * c->length + result->outcome.operations;
	}
	if (c->progress)
		c->progress(c->ctx, result->next, result->operations);
}

int campaign_search(const struct campaign *c, struct campaign_result *result)
{
	struct shared *sh = share();
	double began = now();
	int err;

	memset(result, 0, sizeof(*result));
	if (!sh)
		return -ENOMEM;
	err = start(c, sh);
	for (u32 ticks = 1; !err && look(c, sh, result); ticks++) {
		poll(NULL, 0, TICK_MS);
		if (!(ticks % PROGRESS_TICKS) && !result->failed)
			total(c, sh, result);
	}
	stop(c, sh);
	total(c, sh, result);
	result->seconds = now() - began;
	munmap(sh, sizeof(*sh));
	return err;
}

int campaign_run(const struct campaign *c, struct campaign_result *result)
{
	int err = campaign_search(c, result);

	return err || !result->failed ? err : campaign_shrink(c, result);
}
