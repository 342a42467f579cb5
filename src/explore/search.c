/* SPDX-License-Identifier: MIT */
/*
 * explore/search: what all ways of searching share, and those that are a loop: random priorities,
 * replay, injection.
 */
#include "explore/search_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "septum/abi.h"

/* What a program of more than two threads gets when nobody says how many. */
#define AUTO_EXHAUSTIVE_RUNS 20000
#define AUTO_PCT_RUNS 2000
#define PCT_DEPTH 3
/* An execution of so many times the steps of the first one doesn't end. */
#define MOST_TIMES_FIRST 20
#define LEAST_MAX_STEPS 50000

/* A random schedule of an injection leaves the default at one decision in so many. */
#define INJECT_ONE_IN 8

/* ---- a set of states -------------------------------------------------------------------------*/
static u64 *state_slot(const struct search_states *set, u64 state)
{
	u64 i = state * 0x9E3779B97F4A7C15ULL;

	while (set->slot[i & (set->slots - 1)] && set->slot[i & (set->slots - 1)] != state)
		i++;
	return &set->slot[i & (set->slots - 1)];
}

static int states_grow(struct search_states *set)
{
	struct search_states bigger = *set;

	bigger.slots = set->slots ? 2 * set->slots : 256;
	bigger.slot = calloc(bigger.slots, sizeof(*bigger.slot));
	if (!bigger.slot)
		return -ENOMEM;
	for (u64 i = 0; i < set->slots; i++) {
		if (set->slot[i])
			*state_slot(&bigger, set->slot[i]) = set->slot[i];
	}
	free(set->slot);
	*set = bigger;
	return 0;
}

static int states_add(struct search_states *set, u64 state)
{
	u64 *slot;

	if (!state) {
		set->nr += !set->has_zero;
		set->has_zero = true;
		return 0;
	}
	if (2 * (set->nr + 1) > set->slots && states_grow(set))
		return -ENOMEM;
	slot = state_slot(set, state);
	set->nr += !*slot;
	*slot = state;
	return 0;
}

static int add_final(struct search *s)
{
	int err = states_add(&s->final_states, s->out.final_state);

	return err ? err : states_add(&s->states, s->out.final_state);
}

void search_free_states(struct search *s)
{
	free(s->states.slot);
	free(s->final_states.slot);
}

/* ---- one execution ---------------------------------------------------------------------------*/

/* Writes down where an execution goes, for those who find it dead. */
struct trailing {
	const struct sched_policy *policy;
	void *ctx;
	struct explore_trail *trail;
	u32 preemptions;
};

static int choose_trailing(void *ctx, const struct sched_view *v)
{
	struct trailing *t = ctx;
	int choice = t->policy->choose(t->ctx, v);
	struct explore_trail *trail = t->trail;

	if (choice == SCHED_STOP || (u32)choice == sched_default(v))
		return choice;
	t->preemptions += search_is_preemption(v, (u32)choice);
	if (trail && trail->nr < EXPLORE_TRAIL_CHOICES)
		trail->choice[trail->nr++] = (struct sched_choice){v->decision, (u32)choice};
	if (trail)
		trail->preemptions = t->preemptions;
	return choice;
}

static void mark_trailing(void *ctx, u32 thread, const char *name, u64 arg)
{
	const struct trailing *t = ctx;

	if (t->policy->mark)
		t->policy->mark(t->ctx, thread, name, arg);
}

static const struct sched_policy trailing = {.choose = choose_trailing, .mark = mark_trailing};

static int copy_schedule(struct sched_schedule *to, const struct sched_schedule *from)
{
	to->nr = 0;
	for (u32 i = 0; i < from->nr; i++) {
		if (sched_schedule_add(to, from->choice[i].decision, from->choice[i].thread))
			return -ENOMEM;
	}
	return 0;
}

static int take_failure(struct search *s, const struct explore_injection *injection)
{
	struct explore_failure *f = &s->result->failure;

	s->result->failed = true;
	memcpy(f->oracle, s->out.oracle, sizeof(f->oracle));
	memcpy(f->text, s->out.text, sizeof(f->text));
	f->injection = *injection;
	f->preemptions = s->preemptions;
	f->execution = s->result->executions;
	return copy_schedule(&f->schedule, &s->record);
}

/* An execution that was cut short doesn't know its allocations. */
static void reach(struct explore_reach *r, const struct explore_outcome *out)
{
	r->allocations = max_u64(r->allocations, out->allocations);
	r->seamcalls = max_u64(r->seamcalls, out->seamcalls);
	r->calls = max_u64(r->calls, out->calls);
	r->kicks = max_u64(r->kicks, out->kicks);
}

int search_once(struct search *s, const struct explore_injection *injection,
		const struct sched_policy *policy, void *policy_ctx, const bool *ended)
{
	const struct explore_setup setup = {
		.program = s->program,
		.planted_bugs = s->options->planted_bugs,
		.injection = *injection,
		.max_steps = s->options->max_steps ? s->options->max_steps : s->max_steps};
	struct trailing t = {policy, policy_ctx, s->options->trail, 0};
	struct explore_result *r = s->result;
	int err;

	if (t.trail) {
		t.trail->nr = 0;
		t.trail->preemptions = 0;
		t.trail->injection = *injection;
	}
	err = s->runner->execute(s->runner->ctx, &setup, &trailing, &t, &s->record, &s->out);
	if (err)
		return err;
	s->preemptions = s->apart && t.trail ? t.trail->preemptions : t.preemptions;
	if (!s->max_steps)
		s->max_steps = max_u64(MOST_TIMES_FIRST * s->out.steps, LEAST_MAX_STEPS);
	r->executions++;
	r->steps += s->out.steps;
	r->switches += s->out.switches;
	r->decisions += s->out.decisions;
	r->operations += s->out.operations;
	reach(&r->reached, &s->out);
	if (s->out.failed && !r->failed)
		err = take_failure(s, injection);
	else if (!s->out.failed && (!ended || *ended))
		err = add_final(s);
	for (u32 i = 0; i < s->out.nr_states && !err; i++)
		err = states_add(&s->states, s->out.state[i]);
	r->states = s->states.nr;
	r->final_states = s->final_states.nr;
	if (t.trail) {
		t.trail->executions = r->executions;
		t.trail->states = r->states;
		t.trail->final_states = r->final_states;
		t.trail->steps = r->steps;
		t.trail->switches = r->switches;
		t.trail->decisions = r->decisions;
	}
	if (s->options->progress)
		s->options->progress(s->options->progress_ctx, r->executions, r->states);
	return err;
}

/* ---- ways of searching -----------------------------------------------------------------------*/
static int exhaustive(struct search *s, u64 limit)
{
	bool through = true;
	int err = 0;

	s->cut = true;
	for (u32 bound = 0; bound <= s->options->bound && through && s->cut && !err; bound++)
		err = search_exhaust(s, bound, limit, &through);
	s->result->complete = through && !err && !s->partial;
	return err;
}

static int pct(struct search *s, u64 runs)
{
	const struct explore_injection *injection = &s->options->injection;
	u64 before = s->result->executions, length;
	int err = search_once(s, injection, &sched_run_until_blocked, NULL, NULL);

	length = s->out.decisions;
	for (u64 i = 1; i < runs && !err && search_may_go_on(s, 0); i++) {
		struct sched_pct p;

		sched_pct_init(&p, s->options->seed + i, PCT_DEPTH, length);
		err = search_once(s, injection, &sched_pct, &p, NULL);
	}
	s->result->pct_executions = s->result->executions - before;
	return err;
}

static int automatic(struct search *s)
{
	const struct explore_result *r = s->result;
	u64 runs = s->options->runs, first = runs;
	int err;

	if (s->program->nr_threads > 2)
		first = runs ? min_u64(runs, AUTO_EXHAUSTIVE_RUNS) : AUTO_EXHAUSTIVE_RUNS;
	err = exhaustive(s, first);
	if (err || r->complete || r->failed || (runs && r->executions >= runs))
		return err;
	return pct(s, runs ? runs - r->executions : AUTO_PCT_RUNS);
}

/* sched_replay, and a note of where it stopped. */
struct replaying {
	struct sched_replay replay;
	u32 enabled;
};

static int choose_replaying(void *ctx, const struct sched_view *v)
{
	struct replaying *r = ctx;
	int choice = sched_replay.choose(&r->replay, v);

	for (u32 i = 0; r->replay.left && i < v->nr_enabled; i++)
		r->enabled |= 1U << v->enabled[i];
	return choice;
}

static const struct sched_policy replaying = {.choose = choose_replaying};

static int replay(struct search *s)
{
	struct explore_result *r = s->result;
	struct replaying p = {.enabled = 0};
	bool ended = true;
	int err;

	sched_replay_init(&p.replay, s->options->schedule);
	err = search_once(s, &s->options->injection, &replaying, &p, &ended);
	if (err || r->failed || p.replay.next == s->options->schedule->nr)
		return err;
	r->left = true;
	r->left_choice = p.replay.next;
	r->left_at = s->options->schedule->choice[p.replay.next];
	r->left_enabled = p.enabled;
	return 0;
}

/* The default schedule, then @runs random ones. */
static int inject_one(struct search *s, const struct explore_injection *injection, u64 runs)
{
	int err = search_once(s, injection, &sched_run_until_blocked, NULL, NULL);

	for (u64 i = 0; i < runs && !err && search_may_go_on(s, 0); i++) {
		struct sched_random r;

		sched_random_init(&r, s->options->seed + i, INJECT_ONE_IN);
		err = search_once(s, injection, &sched_random, &r, NULL);
	}
	return err;
}

static int inject(struct search *s, u64 runs)
{
	static const u64 statuses[] = {TDX_OPERAND_BUSY, TDX_INTERRUPTED_RESUMABLE,
				       TDX_OPERAND_INVALID};
	const struct explore_injection counting = {.fail_alloc = EXPLORE_COUNT_ALLOCATIONS};
	int err = search_once(s, &counting, &sched_run_until_blocked, NULL, NULL);
	const struct explore_outcome calm = s->out;

	/* Nothing has gone wrong on purpose. */
	if (s->result->failed)
		s->result->failure.injection.fail_alloc = 0;
#define EACH(most, ...)                                                     \
	for (u64 n = 1; n <= (most) && !err && search_may_go_on(s, 0); n++) \
	err = inject_one(s, &(struct explore_injection){__VA_ARGS__}, runs)

	EACH(calm.allocations, .fail_alloc = n);
	for (size_t i = 0; i < ARRAY_SIZE(statuses); i++)
		EACH(calm.seamcalls, .seamcall = n, .seamcall_status = statuses[i]);
	EACH(calm.seamcalls, .interrupt = n);
	EACH(calm.kicks, .delay_kick = n);
#undef EACH
	/* Of all orders of steps these are a few; what AUTO has tried before stays tried. */
	s->result->complete &= !err && !s->result->failed;
	return err;
}

int search_by(const struct explore_runner *runner, const struct program *program,
	      const struct explore_options *options, struct explore_result *result)
{
	struct search s = {
		.runner = runner, .options = options, .program = program, .result = result};
	int err = -EINVAL;

	memset(result, 0, sizeof(*result));
	switch (options->mode) {
	case EXPLORE_AUTO:
		err = automatic(&s);
		/* Some planted bugs are in what happens when memory runs out. */
		if (!err && !result->failed && !bug_set_is_empty(&options->planted_bugs) &&
		    !options->injected)
			err = inject(&s, 0);
		break;
	case EXPLORE_EXHAUSTIVE:
		err = exhaustive(&s, options->runs);
		break;
	case EXPLORE_PCT:
		err = pct(&s, options->runs);
		break;
	case EXPLORE_REPLAY:
		err = replay(&s);
		break;
	case EXPLORE_INJECT:
		err = inject(&s, options->runs);
		break;
	}
	if (!err && result->failed && options->mode != EXPLORE_REPLAY)
		err = search_shrink(&s);
	search_free_states(&s);
	sched_schedule_free(&s.record);
	return err;
}

void explore_result_free(struct explore_result *result)
{
	sched_schedule_free(&result->failure.schedule);
}

/* ---- injections as text ----------------------------------------------------------------------*/
static size_t append(char *text, size_t size, size_t n, const char *word, u64 value)
{
	return n + (size_t)snprintf(n < size ? text + n : NULL, n < size ? size - n : 0,
				    "%s%s=%" PRIu64, n ? "," : "", word, value);
}

size_t explore_injection_print(const struct explore_injection *in, char *text, size_t size)
{
	size_t n = 0;

	if (size)
		text[0] = '\0';
	if (in->fail_alloc)
		n = append(text, size, n, "alloc", in->fail_alloc);
	if (in->seamcall) {
		n = append(text, size, n, "seamcall", in->seamcall);
		n += (size_t)snprintf(n < size ? text + n : NULL, n < size ? size - n : 0,
				      ":0x%" PRIx64, in->seamcall_status);
	}
	if (in->interrupt)
		n = append(text, size, n, "interrupt", in->interrupt);
	if (in->delay_kick)
		n = append(text, size, n, "kick", in->delay_kick);
	return n;
}

static bool take_number(const char **p, u64 *out)
{
	char *end;

	if (**p < '0' || **p > '9')
		return false;
	errno = 0;
	*out = strtoull(*p, &end, 0);
	*p = end;
	return !errno;
}

static bool take_word(const char **p, const char *word)
{
	size_t n = strlen(word);

	if (strncmp(*p, word, n))
		return false;
	*p += n;
	return true;
}

/* A number; or a name, and what bits 31:0 hold: TDX_OPERAND_BUSY|0x1 */
static bool take_status(const char **p, u64 *status)
{
	size_t n = strcspn(*p, "|,");
	u64 operand = 0;

	if (take_number(p, status))
		return true;
	if (!tdx_status_value(*p, n, status))
		return false;
	*p += n;
	if (take_word(p, "|") && (!take_number(p, &operand) || operand > UINT32_MAX))
		return false;
	*status |= operand;
	return true;
}

/* One that isn't there already. */
static bool take_injection(const char **p, struct explore_injection *in)
{
	if (!in->fail_alloc && take_word(p, "alloc="))
		return take_number(p, &in->fail_alloc) && in->fail_alloc;
	if (!in->interrupt && take_word(p, "interrupt="))
		return take_number(p, &in->interrupt) && in->interrupt;
	if (!in->delay_kick && take_word(p, "kick="))
		return take_number(p, &in->delay_kick) && in->delay_kick;
	return !in->seamcall && take_word(p, "seamcall=") && take_number(p, &in->seamcall) &&
	       in->seamcall && take_word(p, ":") && take_status(p, &in->seamcall_status);
}

int explore_injection_parse(struct explore_injection *in, const char *text, size_t *bad)
{
	const char *p = text;

	memset(in, 0, sizeof(*in));
	do {
		if (!take_injection(&p, in) || (*p && *p != ',')) {
			*bad = (size_t)(p - text);
			return -EINVAL;
		}
	} while (*p++);
	return 0;
}
